/**
 * A fake back-channel logout receiver: the back ends of services under `RECEIVER_ORIGIN`, as the worker tests' Worker reaches
 * them. Its hands are HTTP as well, under `/control`: `POST /control/script` `{path, script}` says how a path answers, one
 * script per request, the last one for all that follow; `GET /control/received?path=` lists what came there.
 */

/** Where the services of the worker tests are; the address exists only for the Worker under test. */
export const RECEIVER_ORIGIN = 'http://127.0.0.1:8790'

/** A status; silence; another address to go to; or 200 and a body that doesn't end. */
export type ReceiverScript = number | 'hang' | 'redirect' | 'endless'

/** A request as it came. */
export interface Received {
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** How long `hang` and `endless` go on: longer than the Worker waits, and no longer than a test run may take to close. */
const PATIENCE_MILLISECONDS = 7000

/** The receiver as a function of requests. Every path answers 200 until it has a script. */
export function backChannelReceiver(): (request: Request) => Promise<Response> {
  const scripts = new Map<string, readonly ReceiverScript[]>()
  const received = new Map<string, Received[]>()

  async function control(request: Request, { pathname, searchParams }: URL): Promise<Response> {
    if (pathname === '/control/received') {
      return Response.json(received.get(searchParams.get('path') ?? '') ?? [])
    }
    if (pathname !== '/control/script') return new Response(null, { status: 404 })
    const { path, script } = (await request.json()) as { path: string; script: ReceiverScript[] }
    scripts.set(path, script)
    return new Response(null, { status: 204 })
  }

  return async (request) => {
    const url = new URL(request.url)
    const { pathname } = url
    if (pathname.startsWith('/control/')) return control(request, url)
    const { method, headers } = request
    const one = { method, headers: Object.fromEntries(headers), body: await request.text() }
    const before = received.get(pathname) ?? []
    received.set(pathname, [...before, one])
    const script = scripts.get(pathname) ?? [200]
    return scripted(script[before.length] ?? script.at(-1) ?? 200, url)
  }
}

async function scripted(script: ReceiverScript, url: URL): Promise<Response> {
  switch (script) {
    case 'hang':
      await wait(PATIENCE_MILLISECONDS)
      return new Response(null, { status: 503 })
    case 'redirect':
      // 307 asks for the same request once more, body and all.
      return new Response(null, { status: 307, headers: { Location: `${url.href}/moved` } })
    case 'endless':
      return new Response(endless())
    default:
      return new Response(script === 204 ? null : 'as scripted', { status: script })
  }
}

function wait(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}

function endless(): ReadableStream<Uint8Array> {
  const end = Date.now() + PATIENCE_MILLISECONDS
  return new ReadableStream({
    async pull(controller) {
      await wait(5)
      if (Date.now() < end) controller.enqueue(new Uint8Array(1024))
      else controller.error(new Error('broken off'))
    },
  })
}
