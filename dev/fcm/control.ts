/**
 * The hands of tests and pages on the fake, over HTTP, under paths that Google doesn't have:
 * `GET /inbox?token=` (list), `GET /inbox/stream?token=` (server-sent events), `POST /device` `{token?}` (registers, answers the
 * token), `POST /script` `{token, script}`, `GET /stats`.
 */
import type { Delivery } from './devices.ts'
import type { FakeFcm } from './fake-fcm.ts'
import { isObject } from './message-check.ts'
import { isScript } from './scripts.ts'

/** Whether `pathname` is one of the control's. */
export function isControlPath(pathname: string): boolean {
  return ['/inbox', '/inbox/stream', '/device', '/script', '/stats'].includes(pathname)
}

/** Answers a control request to `fake`; 404 for any other path, 405 for another method. */
export async function control(fake: FakeFcm, request: Request): Promise<Response> {
  const { pathname, searchParams } = new URL(request.url)
  if (!isControlPath(pathname)) return problem(404, 'no such control')
  const reads = ['/inbox', '/inbox/stream', '/stats'].includes(pathname)
  if (request.method !== (reads ? 'GET' : 'POST')) return problem(405, 'wrong method')
  if (pathname === '/stats') return Response.json({ ...fake.stats, violations: fake.violations })
  const body = reads ? {} : await readObject(request)
  const token = reads ? searchParams.get('token') : body.token
  if (pathname === '/device') {
    if (typeof token !== 'string' || token === '')
      return Response.json({ token: fake.createDevice() })
    // A phone that outlived a restart of the fake brings the token it has.
    fake.registerDevice(token)
    return Response.json({ token })
  }
  if (typeof token !== 'string' || token === '') return problem(400, 'token is missing')
  if (pathname === '/inbox') return Response.json(fake.messages(token))
  if (pathname === '/inbox/stream') return stream(fake, token, request.signal)
  const scripts = Array.isArray(body.script) ? body.script : [body.script]
  if (!scripts.every(isScript) || scripts.length === 0) return problem(400, 'unknown script')
  fake.setScript(token, scripts)
  return Response.json({ token, script: scripts })
}

/** Every message so far, then each new one, as an event whose data is the delivery in JSON. */
function stream(fake: FakeFcm, token: string, signal: AbortSignal): Response {
  const encoder = new TextEncoder()
  let stop = () => {}
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => {
      const hand = (delivery: Delivery) =>
        controller.enqueue(
          encoder.encode(`id: ${delivery.messageId}\ndata: ${JSON.stringify(delivery)}\n\n`),
        )
      controller.enqueue(encoder.encode(': listening\n\n'))
      for (const delivery of fake.messages(token)) hand(delivery)
      stop = fake.subscribe(token, hand)
      signal.addEventListener('abort', () => stop(), { once: true })
    },
    cancel: () => stop(),
  })
  return new Response(body, {
    headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store' },
  })
}

async function readObject(request: Request): Promise<Readonly<Record<string, unknown>>> {
  try {
    const body: unknown = await request.json()
    return isObject(body) ? body : {}
  } catch {
    return {}
  }
}

function problem(status: number, title: string): Response {
  return Response.json({ title, status }, { status })
}
