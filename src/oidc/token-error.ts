/** Refusals of the endpoints that a service calls itself: the token endpoint and its kin, and userinfo. */
import { json } from '../http/problem.ts'

/**
 * The closed set of errors of RFC 6749 section 5.2 with status and text. Texts are fixed, tell nothing of the reason (that
 * is for the log) and stay inside %x20-21 / %x23-5B / %x5D-7E (5-security 20).
 */
const TOKEN_ERROR = {
  invalid_request: [400, 'The request is malformed, or a parameter is missing or repeated.'],
  invalid_client: [401, 'The client could not be authenticated.'],
  invalid_grant: [400, 'The code or refresh token is not valid here, has ended or was used.'],
  unauthorized_client: [400, 'The client may not use this grant type.'],
  unsupported_grant_type: [400, 'This grant type is not supported.'],
  invalid_scope: [400, 'A scope is not known or was not granted.'],
} as const

export type TokenErrorCode = keyof typeof TOKEN_ERROR

/** Why a token request is refused: `error` is the answer, `why` is for the log, in words of ours. */
export interface TokenFault {
  readonly error: TokenErrorCode
  readonly why: string
}

/** The fault for `error`. */
export function tokenFault(error: TokenErrorCode, why: string): TokenFault {
  return { error, why }
}

/**
 * The answer for `code`. `basic`: the client used HTTP Basic, so a 401 must name that scheme (RFC 6749 section 5.2);
 * otherwise the body is the same for every way to fail (5-security 57). `status` overrides the usual one, for a body that
 * is not even read.
 */
export function tokenError(
  code: TokenErrorCode,
  options: { readonly basic?: boolean; readonly status?: 413 | 415 } = {},
): Response {
  const [status, description] = TOKEN_ERROR[code]
  const body = { error: code, error_description: description }
  const answer = json(body, options.status ?? status)
  if (status === 401 && options.basic === true) {
    answer.headers.set('WWW-Authenticate', 'Basic realm="client"')
  }
  return answer
}

/** 429: too many tries of this client from this address (5-security 66). `retryAfter` in seconds. */
export function tooManyRequests(retryAfter = 60): Response {
  const description = 'Too many requests. Please wait before trying again.'
  const answer = json({ error: 'temporarily_unavailable', error_description: description }, 429)
  answer.headers.set('Retry-After', String(Math.ceil(retryAfter)))
  return answer
}

const BEARER_ERROR = {
  invalid_request: [
    400,
    'The request is malformed, or the token was sent in a wrong way or twice.',
  ],
  invalid_token: [401, 'The access token is not valid or has ended.'],
  insufficient_scope: [403, 'The access token does not reach this.'],
} as const

export type BearerErrorKind = 'missing' | keyof typeof BEARER_ERROR

/**
 * The answer of userinfo (RFC 6750 section 3). Who sent no token learns the scheme and nothing else (5-security 85). The
 * realm is there because that section demands at least one parameter after the scheme.
 */
export function bearerError(kind: BearerErrorKind): Response {
  const challenge = 'Bearer realm="userinfo"'
  if (kind === 'missing') {
    const headers = { 'WWW-Authenticate': challenge, 'Cache-Control': 'no-store' }
    return new Response(null, { status: 401, headers })
  }
  const [status, description] = BEARER_ERROR[kind]
  const scope = kind === 'insufficient_scope' ? ', scope="openid"' : ''
  const answer = json({ error: kind, error_description: description }, status)
  answer.headers.set(
    'WWW-Authenticate',
    `${challenge}, error="${kind}", error_description="${description}"${scope}`,
  )
  return answer
}
