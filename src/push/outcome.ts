/**
 * What FCM's answer means (6-operations 1.3): first the `errorCode` of FCM, then the `status` of Google's API, then the HTTP
 * code. Answers of proxies on the way may be HTML, cut off or empty: then only the HTTP code speaks.
 */
import * as v from 'valibot'

/**
 * `accepted` means taken, not delivered. `misconfigured` needs a person: `message` is our bug, `platform` one kind of phone (the APNs
 * key), `project` everybody. `retryAfter` in seconds. `unknown` is counted, never repeated.
 */
export type SendAnswer =
  | { readonly kind: 'accepted' | 'dead-token' | 'sender-mismatch' | 'unauthenticated' | 'unknown' }
  | { readonly kind: 'misconfigured'; readonly reach: 'message' | 'platform' | 'project' }
  | { readonly kind: 'quota'; readonly retryAfter: number }
  | { readonly kind: 'retry'; readonly retryAfter?: number }

const QUOTA_REST = 60
const LONGEST_REST = 3600

const acceptedShape = v.object({ name: v.pipe(v.string(), v.startsWith('projects/')) })

const errorShape = v.object({
  error: v.object({
    status: v.fallback(v.string(), ''),
    details: v.fallback(v.array(v.unknown()), []),
  }),
})

const fcmErrorShape = v.object({
  '@type': v.pipe(v.string(), v.endsWith('google.firebase.fcm.v1.FcmError')),
  errorCode: v.string(),
})

const badRequestShape = v.object({
  '@type': v.pipe(v.string(), v.endsWith('google.rpc.BadRequest')),
  fieldViolations: v.array(v.object({ field: v.string() })),
})

type Fault = { readonly code: string; readonly status: string; readonly fields: readonly string[] }

/**
 * Reads one answer of `messages:send`. `headers` is asked only for `Retry-After` (seconds or an HTTP date, hence `now` in Unix
 * seconds); `bodyText` may be anything.
 */
export function readSendAnswer(
  status: number,
  headers: { get(name: string): string | null },
  bodyText: string,
  now: number,
): SendAnswer {
  const body = parseJson(bodyText)
  if (status >= 200 && status < 300) {
    return { kind: v.is(acceptedShape, body) ? 'accepted' : 'unknown' }
  }
  const fault = readFault(body)
  const wait = readRetryAfter(headers.get('retry-after'), now)
  return (
    byErrorCode(fault, wait) ??
    byStatus(fault, wait) ??
    byHttpCode(status, wait) ?? { kind: 'unknown' }
  )
}

function byErrorCode(fault: Fault, wait: number | undefined): SendAnswer | undefined {
  switch (fault.code) {
    case 'UNREGISTERED':
      return { kind: 'dead-token' }
    case 'SENDER_ID_MISMATCH':
      return { kind: 'sender-mismatch' }
    case 'THIRD_PARTY_AUTH_ERROR':
      return { kind: 'misconfigured', reach: 'platform' }
    case 'INVALID_ARGUMENT':
      return invalidArgument(fault)
    case 'QUOTA_EXCEEDED':
      return quota(wait)
    case 'UNAVAILABLE':
    case 'INTERNAL':
      return retry(wait)
    case 'UNSPECIFIED_ERROR':
      return { kind: 'unknown' }
    default:
      return undefined
  }
}

function byStatus(fault: Fault, wait: number | undefined): SendAnswer | undefined {
  switch (fault.status) {
    case 'INVALID_ARGUMENT':
      return invalidArgument(fault)
    case 'UNAUTHENTICATED':
      return { kind: 'unauthenticated' }
    case 'PERMISSION_DENIED':
      return { kind: 'misconfigured', reach: 'project' }
    case 'NOT_FOUND':
      // Without UNREGISTERED nothing was said about the token: clearing it would let a wrong address silence every phone.
      return { kind: 'misconfigured', reach: 'message' }
    case 'RESOURCE_EXHAUSTED':
      return quota(wait)
    case 'UNAVAILABLE':
    case 'INTERNAL':
      return retry(wait)
    case 'UNSPECIFIED_ERROR':
      return { kind: 'unknown' }
    default:
      return undefined
  }
}

function byHttpCode(status: number, wait: number | undefined): SendAnswer | undefined {
  switch (status) {
    case 400:
    case 404:
      return { kind: 'misconfigured', reach: 'message' }
    case 401:
      return { kind: 'unauthenticated' }
    case 403:
      return { kind: 'misconfigured', reach: 'project' }
    case 429:
      return quota(wait)
    case 500:
    case 502:
    case 503:
    case 504:
      return retry(wait)
    default:
      return undefined
  }
}

function invalidArgument(fault: Fault): SendAnswer {
  return fault.fields.includes('message.token')
    ? { kind: 'dead-token' }
    : { kind: 'misconfigured', reach: 'message' }
}

function quota(wait: number | undefined): SendAnswer {
  return { kind: 'quota', retryAfter: wait ?? QUOTA_REST }
}

function retry(wait: number | undefined): SendAnswer {
  return wait === undefined ? { kind: 'retry' } : { kind: 'retry', retryAfter: wait }
}

function readFault(body: unknown): Fault {
  const parsed = v.safeParse(errorShape, body)
  if (!parsed.success) return { code: '', status: '', fields: [] }
  const { status, details } = parsed.output.error
  let code = ''
  const fields: string[] = []
  for (const detail of details) {
    if (v.is(fcmErrorShape, detail)) code = detail.errorCode
    if (v.is(badRequestShape, detail))
      fields.push(...detail.fieldViolations.map((one) => one.field))
  }
  return { code, status, fields }
}

/** RFC 9110 section 10.2.3: seconds, or a date. Nonsense is as good as nothing; a rest is never longer than an hour. */
function readRetryAfter(value: string | null, now: number): number | undefined {
  if (value === null) return undefined
  const text = value.trim()
  const date = /^[A-Z][a-z]{2}, .* GMT$/.test(text) ? Date.parse(text) / 1000 - now : Number.NaN
  const seconds = /^\d{1,9}$/.test(text) ? Number(text) : Math.ceil(date)
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), LONGEST_REST) : undefined
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
