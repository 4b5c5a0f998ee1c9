/** Google's answers, as FCM HTTP v1 and its OAuth token endpoint shape them. */

/** A fault of a message: the field as Google names it, and what is wrong with it. */
export type FieldFault = { readonly field: string; readonly description: string }

const FCM_ERROR = 'type.googleapis.com/google.firebase.fcm.v1.FcmError'
const BAD_REQUEST = 'type.googleapis.com/google.rpc.BadRequest'
const QUOTA_FAILURE = 'type.googleapis.com/google.rpc.QuotaFailure'

const statuses: Readonly<Record<number, string>> = {
  400: 'INVALID_ARGUMENT',
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  404: 'NOT_FOUND',
  405: 'METHOD_NOT_ALLOWED',
  429: 'RESOURCE_EXHAUSTED',
  500: 'INTERNAL',
  503: 'UNAVAILABLE',
}

type Parts = {
  readonly errorCode?: string
  readonly details?: readonly object[]
  readonly headers?: Readonly<Record<string, string>>
}

/** An error of Google's API; `errorCode` is FCM's own word for it. */
export function googleError(code: number, message: string, parts: Parts = {}): Response {
  const { errorCode, details = [], headers = {} } = parts
  const fcmError = errorCode === undefined ? [] : [{ '@type': FCM_ERROR, errorCode }]
  const error = {
    code,
    message,
    status: statuses[code] ?? 'UNKNOWN',
    details: [...fcmError, ...details],
  }
  return Response.json({ error }, { status: code, headers })
}

/** 400 that names every faulty field. */
export function invalidArgument(faults: readonly FieldFault[]): Response {
  const message = faults.map(
    ({ field, description }) => `Invalid value at '${field}': ${description}`,
  )
  return googleError(400, message.join('\n'), {
    errorCode: 'INVALID_ARGUMENT',
    details: [{ '@type': BAD_REQUEST, fieldViolations: faults }],
  })
}

/** 401; `scheme` stands in `WWW-Authenticate`. */
export function unauthenticated(scheme: string): Response {
  return googleError(401, 'Request had invalid authentication credentials.', {
    headers: { 'www-authenticate': scheme },
  })
}

/** 429 for `subject` (a project or a device). */
export function quotaExceeded(subject: string, retryAfter: number): Response {
  return googleError(429, 'Quota exceeded.', {
    errorCode: 'QUOTA_EXCEEDED',
    details: [
      { '@type': QUOTA_FAILURE, violations: [{ subject, description: 'Message rate exceeded.' }] },
    ],
    headers: { 'retry-after': String(retryAfter) },
  })
}

/** An error of the token endpoint (RFC 6749 section 5.2). */
export function oauthError(error: string, description: string, status = 400): Response {
  return Response.json({ error, error_description: description }, { status })
}
