/**
 * http/ owns what every answer of our own API has in common: problem details, body limits, method rules, security
 * headers and the caller's address. It knows no route and no capability; rooms above hand it a reason and get a response.
 */

/** The closed set of error codes of our own API with their HTTP status (2-protocol section 7). */
const STATUS = {
  invalid_request: 400,
  invalid_vds: 400,
  invalid_service_vds: 400,
  invalid_key: 400,
  vds_expired: 400,
  invalid_statement: 401,
  invalid_otp: 401,
  invalid_client: 401,
  invalid_token: 401,
  insufficient_trust_level: 403,
  credential_mismatch: 403,
  enrollment_revoked: 403,
  service_disabled: 403,
  service_vds_required: 403,
  trust_required: 403,
  enrollment_grant_required: 403,
  not_found: 404,
  session_not_found: 404,
  method_not_allowed: 405,
  already_enrolled: 409,
  token_revoked: 409,
  key_in_use: 409,
  already_claimed: 409,
  session_resolved: 409,
  stale_list: 409,
  qr_expired: 410,
  payload_too_large: 413,
  unsupported_media_type: 415,
  invalid_scope: 422,
  too_many_requests: 429,
  internal: 500,
  unavailable: 503,
} as const

export type ProblemCode = keyof typeof STATUS

export interface ProblemOptions {
  /** Overrides the code's usual status (`vds_expired` is 400 at enrollment and 403 at a login). */
  readonly status?: 400 | 403
  /** A sentence for the operator of a deployment that can't serve. */
  readonly detail?: string
  /** The member at fault, named and never quoted. */
  readonly member?: string
  /** The id of the service that it is about. */
  readonly service?: string
  /** Seconds for `Retry-After`. */
  readonly retryAfter?: number
  /** For 405: the methods that exist. */
  readonly allow?: string
  /** For 401: the challenge of RFC 9110 section 11.6.1. */
  readonly authenticate?: string
}

const TITLE: Readonly<Record<ProblemCode, string>> = {
  invalid_request: 'The request is malformed.',
  invalid_vds: 'The seal is not accepted.',
  invalid_service_vds: 'The Service VDS is not accepted.',
  invalid_key: 'The key is not accepted.',
  vds_expired: 'The seal has expired.',
  invalid_statement: 'The statement is not accepted.',
  invalid_otp: 'The code is wrong.',
  invalid_client: 'The service could not be authenticated.',
  invalid_token: 'The token is missing or not accepted.',
  insufficient_trust_level:
    'The credential does not reach the trust level that the service asks for.',
  credential_mismatch: 'The seal is not the enrolled one.',
  enrollment_revoked: 'This enrollment has been revoked.',
  service_disabled: 'The service is switched off.',
  service_vds_required: 'A Service VDS is needed: none is in force, or none was presented.',
  trust_required: 'The person must trust this service first.',
  enrollment_grant_required: 'Enrollment needs a grant of the issuer.',
  not_found: 'There is nothing here.',
  session_not_found: 'There is no such login, or its time has run out.',
  method_not_allowed: 'This method is not allowed here.',
  already_enrolled: 'This tokenId is enrolled already.',
  token_revoked: 'This tokenId was revoked after the seal was issued.',
  key_in_use: 'This device key is enrolled for another tokenId.',
  already_claimed: 'Another phone has opened this login.',
  session_resolved: 'This login has ended.',
  stale_list: 'A newer list is in force.',
  qr_expired: 'This QR code is no longer valid. Scan it again.',
  payload_too_large: 'The request is too large.',
  unsupported_media_type: 'The request must be application/json without content encoding.',
  invalid_scope: 'A scope is not known or not allowed here.',
  too_many_requests: 'Too many requests.',
  internal: 'Something went wrong on our side.',
  unavailable: 'The service is unavailable for the moment.',
}

/** An RFC 9457 problem details answer for `code`. */
export function problem(code: ProblemCode, options: ProblemOptions = {}): Response {
  const status = options.status ?? STATUS[code]
  const headers = new Headers({
    'Content-Type': 'application/problem+json',
    'Cache-Control': 'no-store',
  })
  const retryAfter = options.retryAfter ?? (status === 503 ? 5 : status === 429 ? 60 : undefined)
  if (retryAfter !== undefined) headers.set('Retry-After', String(Math.ceil(retryAfter)))
  if (options.allow !== undefined) headers.set('Allow', options.allow)
  if (options.authenticate !== undefined) headers.set('WWW-Authenticate', options.authenticate)
  const body = {
    type: 'about:blank',
    title: TITLE[code],
    status,
    code,
    ...(options.detail === undefined ? {} : { detail: options.detail }),
    ...(options.member === undefined ? {} : { member: options.member }),
    ...(options.service === undefined ? {} : { service: options.service }),
  }
  return new Response(JSON.stringify(body), { status, headers })
}

/** A JSON answer that nobody may store. */
export function json(body: unknown, status = 200): Response {
  return new Response(JSON.stringify(body), {
    status,
    headers: { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' },
  })
}
