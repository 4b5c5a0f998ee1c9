/** A fetch-style handler on a loopback port, over Node's HTTP server; answers may stream. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

export type Handler = (request: Request) => Promise<Response>
export type Server = { readonly origin: string; readonly close: () => Promise<void> }

const LARGEST_BODY = 256 * 1024

/** Listens on 127.0.0.1; port 0 takes any free one. A handler that throws cuts the connection. */
export async function serve(handler: Handler, port: number): Promise<Server> {
  const server = createServer((incoming, outgoing) => {
    answer(handler, incoming, outgoing).catch(() => incoming.socket.destroy())
  })
  await new Promise<void>((listening, failed) => {
    server.once('error', failed)
    server.listen(port, '127.0.0.1', listening)
  })
  const address = server.address()
  const taken = typeof address === 'object' && address !== null ? address.port : port
  const close = () =>
    new Promise<void>((closed) => {
      server.close(() => closed())
      server.closeAllConnections()
    })
  return { origin: `http://127.0.0.1:${taken}`, close }
}

async function answer(
  handler: Handler,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const gone = new AbortController()
  outgoing.once('close', () => gone.abort())
  const { method = 'GET', url = '/', headers } = incoming
  const hasBody = method !== 'GET' && method !== 'HEAD'
  const request = new Request(new URL(url, `http://${headers.host ?? '127.0.0.1'}`), {
    method,
    headers: Object.entries(headers).map(([name, value]) => [name, String(value)]),
    ...(hasBody ? { body: await readBody(incoming) } : {}),
    signal: gone.signal,
  })
  const response = await handler(request)
  outgoing.writeHead(response.status, Object.fromEntries(response.headers))
  if (!response.body) return void outgoing.end()
  // A client that leaves ends the pipeline, and with it the body's source.
  await pipeline(Readable.fromWeb(response.body as never), outgoing).catch(() => {})
}

async function readBody(incoming: IncomingMessage): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of incoming) {
    size += part.length
    if (size > LARGEST_BODY) throw new RangeError('body too large')
    parts.push(part)
  }
  return new Uint8Array(Buffer.concat(parts))
}
