/** The fake on a real port: Google's paths and the control's, over Node's HTTP server. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { control, isControlPath } from './control.ts'
import type { FakeFcm } from './fake-fcm.ts'

export type FcmServer = { readonly origin: string; readonly close: () => Promise<void> }

/** Listens on loopback; port 0 takes any free one. */
export async function serveFakeFcm(fake: FakeFcm, port: number): Promise<FcmServer> {
  const server = createServer((incoming, outgoing) => {
    answer(fake, incoming, outgoing).catch(() => incoming.socket.destroy())
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
  fake: FakeFcm,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const gone = new AbortController()
  outgoing.once('close', () => gone.abort())
  const { method = 'GET', url = '/' } = incoming
  const hasBody = method !== 'GET' && method !== 'HEAD'
  const request = new Request(new URL(url, 'http://127.0.0.1'), {
    method,
    headers: Object.entries(incoming.headers).map(([name, value]) => [name, String(value)]),
    ...(hasBody ? { body: await readBody(incoming) } : {}),
    signal: gone.signal,
  })
  const { pathname } = new URL(request.url)
  const response = isControlPath(pathname)
    ? await control(fake, request)
    : await fake.handle(request)
  outgoing.writeHead(response.status, Object.fromEntries(response.headers))
  if (!response.body) return void outgoing.end()
  // A client that leaves ends the pipeline, and with it the body's source.
  await pipeline(Readable.fromWeb(response.body as never), outgoing).catch(() => {})
}

async function readBody(incoming: IncomingMessage): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = []
  for await (const part of incoming) parts.push(part)
  return new Uint8Array(Buffer.concat(parts))
}
