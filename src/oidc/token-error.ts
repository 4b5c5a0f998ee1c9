/** Refusals of the endpoints that a service calls itself: the token endpoint and its kin, and userinfo. */
import { json } from '../http/problem.ts'
import { CLIENT_SIGNING_ALGS } from '../services/oidc-client.ts'

/**
 * The closed set of errors of RFC 6749 section 5.2 and its extensions with status and text. Texts are fixed, tell nothing of the reason (that
 * is for the log) and stay inside %x20-21 / %x23-5B / %x5D-7E (5-security 20).
 */
const TOKEN_ERROR = {
  invalid_request: [
    400,
    'The request is malformed, a parameter is missing or repeated, or the subject_token is not valid here.',
  ],
  invalid_client: [401, 'The client could not be authenticated.'],
  invalid_grant: [400, 'The code or refresh token is not valid here, has ended or was used.'],
  unauthorized_client: [400, 'The client may not use this grant type.'],
  unsupported_grant_type: [400, 'This grant type is not supported.'],
  invalid_scope: [400, 'A scope is not known, was not granted, or is not for this client.'],
  // RFC 8707 section 2
  invalid_target: [
    400,
    'The resource is missing, not registered for this client, or not the one granted.',
  ],
  // RFC 9449 sections 5 and 8
  invalid_dpop_proof: [400, 'The DPoP proof is missing or not valid here.'],
  use_dpop_nonce: [400, 'The DPoP proof must hold the nonce of the header DPoP-Nonce.'],
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

const RESOURCE_ERROR = {
  invalid_request: [
    400,
    'The request is malformed, or the token was sent in a wrong way or twice.',
  ],
  invalid_token: [401, 'The access token is not valid or has ended.'],
  insufficient_scope: [403, 'The access token does not reach this.'],
  insufficient_user_authentication: [401, 'The person must sign in once more, as said here.'],
  invalid_dpop_proof: [401, 'The DPoP proof is missing or not valid here.'],
  use_dpop_nonce: [401, 'The DPoP proof must hold the nonce of the header DPoP-Nonce.'],
} as const

export type ResourceErrorCode = keyof typeof RESOURCE_ERROR

/** Why a protected resource of ours refuses: `error` is the answer, `why` is for the log, in words of ours. */
export interface ResourceFault {
  /** `missing`: no token was sent at all. */
  readonly error: 'missing' | ResourceErrorCode
  readonly why: string
  /** `DPoP` for who sent a proof or a bound token (RFC 9449 section 7.1), else `Bearer`. */
  readonly scheme: 'Bearer' | 'DPoP'
  /** What a client needs to repair it: parameters of the challenge (RFC 9470 section 3). */
  readonly repair?: Readonly<Record<string, string>>
}

/**
 * The answer of userinfo (RFC 6750 section 3). Who sent no token learns the scheme and nothing else (5-security 85). The
 * realm is there because that section demands at least one parameter after the scheme.
 */
export function resourceError({
  error,
  scheme,
  repair = {},
}: Omit<ResourceFault, 'why'>): Response {
  const algs = scheme === 'DPoP' ? `, algs="${CLIENT_SIGNING_ALGS.join(' ')}"` : ''
  const challenge = `${scheme} realm="userinfo"${algs}`
  if (error === 'missing') {
    const headers = { 'WWW-Authenticate': challenge, 'Cache-Control': 'no-store' }
    return new Response(null, { status: 401, headers })
  }
  const [status, description] = RESOURCE_ERROR[error]
  const scope = error === 'insufficient_scope' ? { scope: 'openid' } : {}
  const parameters = { error, error_description: description, ...scope, ...repair }
  const answer = json({ error, error_description: description }, status)
  const said = Object.entries(parameters).map(([name, value]) => `, ${name}="${value}"`)
  answer.headers.set('WWW-Authenticate', `${challenge}${said.join('')}`)
  return answer
}
