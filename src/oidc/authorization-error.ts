/**
 * What goes back to a client's redirect URI: the closed set of errors with their fixed texts, the parameters of an
 * answer, and the address that carries them in its query. It does not decide which error a request earns.
 */

/** Texts in the characters of RFC 6749 section 4.1.2.1; nothing of a request is ever inside (5-security 20). */
const DESCRIPTIONS = {
  // RFC 6749 section 4.1.2.1
  invalid_request: 'The request lacks a parameter, repeats one, or has one that is malformed.',
  unauthorized_client: 'The client may not ask in this way.',
  access_denied: 'The person or this provider declined.',
  unsupported_response_type: 'The only response type here is code.',
  invalid_scope: 'The scope lacks openid, is not known here, or exceeds what the client may ask.',
  server_error: 'Something went wrong here.',
  temporarily_unavailable: 'This provider cannot answer right now. Try again later.',
  // RFC 8707 section 2
  invalid_target: 'The resource is not registered for this client.',
  // OpenID Connect Core section 3.1.2.6
  interaction_required: 'The person would have to act, and the request forbids asking.',
  login_required: 'The person would have to sign in.',
  account_selection_required: 'The person would have to choose an account.',
  consent_required: 'The person would have to approve what is asked.',
  invalid_request_uri: 'The request_uri cannot be used.',
  invalid_request_object: 'The request object is not valid.',
  request_not_supported: 'The parameter request is not supported.',
  request_uri_not_supported: 'The parameter request_uri is not supported.',
  registration_not_supported: 'The parameter registration is not supported.',
  // OpenID Connect Core Error Code unmet_authentication_requirements, as RFC 9470 section 4 uses it
  unmet_authentication_requirements: 'The sign-in cannot reach the level that the request demands.',
} as const

export type AuthorizationError = keyof typeof DESCRIPTIONS

export const AUTHORIZATION_ERRORS = Object.keys(DESCRIPTIONS) as readonly AuthorizationError[]

/** A success or an error of the authorization endpoint. */
export type AuthorizationAnswer =
  | { readonly code: string }
  | {
      readonly error: AuthorizationError
      /** The parameter at fault: a name of ours, never a text of the request. */
      readonly parameter?: string | null
    }

/** The text of `error_description` for `error`, and for the `parameter` at fault where one can be named. */
export function descriptionOf(error: AuthorizationError, parameter: string | null = null): string {
  return error === 'invalid_request' && parameter !== null
    ? `The parameter ${parameter} is missing, repeated or malformed.`
    : DESCRIPTIONS[error]
}

/**
 * The parameters that carry `answer` to the client, in a query or in a form: always with `iss` (RFC 9207), with `state`
 * exactly as it came, and without when there was none (RFC 6749 section 4.1.2).
 */
export function authorizationParameters(
  answer: AuthorizationAnswer,
  { issuer, state }: { readonly issuer: string; readonly state: string | null },
): Readonly<Record<string, string>> {
  const result =
    'code' in answer
      ? { code: answer.code }
      : { error: answer.error, error_description: descriptionOf(answer.error, answer.parameter) }
  return { ...result, ...(state === null ? {} : { state }), iss: issuer }
}

/**
 * `redirectUri` (registered: no fragment) with `parameters` added to its query, each percent-encoded once. The address is
 * not parsed, because writing it again would change what was registered: its own query stays byte for byte (RFC 6749
 * section 3.1.2), and a private-use scheme without authority (`com.example:/cb`) works as any other.
 */
export function redirectAddress(
  redirectUri: string,
  parameters: Readonly<Record<string, string>>,
): string {
  const added = Object.entries(parameters)
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .join('&')
  if (added === '') return redirectUri
  if (!redirectUri.includes('?')) return `${redirectUri}?${added}`
  return /[?&]$/.test(redirectUri) ? `${redirectUri}${added}` : `${redirectUri}&${added}`
}

function encode(text: string): string {
  // `encodeURIComponent` throws for a lone surrogate.
  return encodeURIComponent(text.toWellFormed())
}
