/** What a test can make FCM do with the sends to one device, and the answers that go with it. */
import { googleError, invalidArgument, quotaExceeded } from './answers.ts'

const plainScripts = [
  'ok',
  'unregistered',
  'sender-mismatch',
  'invalid-token',
  'invalid-argument',
  'unauthenticated',
  'forbidden',
  'third-party-auth',
  'unspecified',
  'unavailable',
  'internal',
  'html502',
  'html200',
  'empty200',
  'huge200',
  'endless',
  'hang',
  'reset',
  'duplicate',
  'drop',
  'late',
] as const

/** `quota` and `unavailable` take `Retry-After` in seconds, `slow` milliseconds, `late` the seconds until delivery. */
export type Script =
  | (typeof plainScripts)[number]
  | `quota(${number})`
  | `unavailable(${number})`
  | `slow(${number})`
  | `late(${number})`

/** Whether `text` is a script, for those that come over HTTP. */
export function isScript(text: unknown): text is Script {
  if (typeof text !== 'string') return false
  return (
    plainScripts.some((one) => one === text) ||
    /^(quota|unavailable|slow|late)\(\d{1,6}\)$/.test(text)
  )
}

/** `['quota', 60]` of `quota(60)`; the number is `undefined` without parentheses. */
export function readScript(script: string): readonly [name: string, amount: number | undefined] {
  const [, name = script, amount] = /^([a-z-]+)\((\d+)\)$/.exec(script) ?? []
  return [name, amount === undefined ? undefined : Number(amount)]
}

/** Thrown to the server in place of an answer: it cuts the connection. */
export class ConnectionReset extends Error {}

/** How long `hang` hangs when the client doesn't give up. */
const HANG_MILLISECONDS = 30_000

/**
 * The answer that `script` puts in place of FCM's own, or `undefined` when FCM goes on as usual (`ok`, `slow`, `duplicate`, `drop`,
 * `late`). `signal` ends a hang.
 */
export async function scriptedAnswer(
  script: Script,
  token: string,
  signal: AbortSignal,
): Promise<Response | undefined> {
  const [name, amount] = readScript(script)
  const html = (status: number) =>
    new Response('<!DOCTYPE html><title>Error</title>', {
      status,
      headers: { 'content-type': 'text/html; charset=UTF-8' },
    })
  switch (name) {
    case 'unregistered':
      return googleError(404, 'Requested entity was not found.', { errorCode: 'UNREGISTERED' })
    case 'sender-mismatch':
      return googleError(403, 'SenderId mismatch', { errorCode: 'SENDER_ID_MISMATCH' })
    case 'invalid-token':
      return invalidToken()
    case 'invalid-argument':
      return invalidArgument([{ field: 'message.android.ttl', description: 'Scripted.' }])
    case 'unauthenticated':
      return googleError(401, 'Request had invalid authentication credentials.')
    case 'forbidden':
      return googleError(403, 'Firebase Cloud Messaging API has not been used in this project.')
    case 'third-party-auth':
      return googleError(401, 'Auth error from APNS or Web Push Service', {
        errorCode: 'THIRD_PARTY_AUTH_ERROR',
      })
    case 'unspecified':
      return googleError(400, 'Unspecified.', { errorCode: 'UNSPECIFIED_ERROR' })
    case 'quota':
      return quotaExceeded(`device:${token}`, amount ?? 60)
    case 'unavailable':
      return googleError(503, 'The service is currently unavailable.', {
        errorCode: 'UNAVAILABLE',
        headers: amount === undefined ? {} : { 'retry-after': String(amount) },
      })
    case 'internal':
      return googleError(500, 'Internal error encountered.', { errorCode: 'INTERNAL' })
    case 'html502':
      return html(502)
    case 'html200':
      return html(200)
    case 'empty200':
      return new Response('', { status: 200 })
    case 'huge200':
      return Response.json({ name: 'projects/huge/messages/1', padding: 'x'.repeat(1_000_000) })
    case 'endless':
      return new Response(endlessBody(), { headers: { 'content-type': 'application/json' } })
    case 'hang':
      await wait(HANG_MILLISECONDS, signal)
      return googleError(503, 'Deadline exceeded.', { errorCode: 'UNAVAILABLE' })
    case 'reset':
      throw new ConnectionReset()
    case 'slow':
      await wait(amount ?? 0, signal)
      return undefined
    default:
      return undefined
  }
}

/** What FCM says of a token that it never gave out. */
export function invalidToken(): Response {
  const description = 'The registration token is not a valid FCM registration token'
  return invalidArgument([{ field: 'message.token', description }])
}

/** Resolves after `milliseconds`, or at once when the client has gone. */
export function wait(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((wake) => {
    const timer = setTimeout(wake, milliseconds)
    const stop = () => {
      clearTimeout(timer)
      wake()
    }
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop, { once: true })
  })
}

/** A blank every few milliseconds, past the patience of any client: valid JSON so far. It breaks off by itself in the end. */
function endlessBody(): ReadableStream<Uint8Array> {
  const blank = new TextEncoder().encode(' ')
  let timer: NodeJS.Timeout
  let left = 8_000 / 5
  return new ReadableStream({
    start: (controller) => {
      timer = setInterval(() => {
        left -= 1
        if (left > 0) return controller.enqueue(blank)
        clearInterval(timer)
        controller.error(new ConnectionReset())
      }, 5)
    },
    cancel: () => clearInterval(timer),
  })
}
