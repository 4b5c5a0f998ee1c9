/**
 * The reading of an authorization request: one ordered list of checks, from parameters and the client's record to what is
 * asked, or to the one fault that is named. It stores nothing and asks nobody; whether a cookie may answer or the phone
 * must be asked is decided after it, and who sent the parameters (a browser, or a client that pushed them) before it.
 */
import * as v from 'valibot'
import { fromBase64url, utf8 } from '../bytes.ts'
import { lowestLevelOf, type TrustLevel } from '../disclosure/acr.ts'
import type { AtomicScope } from '../disclosure/scopes.ts'
import type { Parameters } from '../http/parameters.ts'
import { ok, type Result, refuse } from '../result.ts'
import { isJkt } from '../services/dpop.ts'
import { matchesRedirectUri, type OidcClient } from '../services/oidc-client.ts'
import { ceilingOf, type Service, ServiceId } from '../services/service.ts'
import type { AuthorizationError } from './authorization-error.ts'
import { type ClaimsRequest, readClaimsParameter } from './claims-parameter.ts'
import { readScope, type ScopeRequest } from './scope.ts'
import { readTarget } from './target.ts'

export const RESPONSE_MODES = ['query', 'form_post'] as const
export type ResponseMode = (typeof RESPONSE_MODES)[number]

const PROMPTS = ['none', 'login', 'consent', 'select_account'] as const
export type Prompt = (typeof PROMPTS)[number]

/** A request that may be answered: everything in it was checked against the client's record. */
export interface AuthorizationRequest {
  readonly clientId: string
  /** As it was sent: the port of a loopback address may differ from the registered one (RFC 8252 section 7.3). */
  readonly redirectUri: string
  readonly responseMode: ResponseMode
  readonly state: string | null
  readonly nonce: string | null
  /** The scopes that were named and are known, canonical order; `offline_access` only when the client may have it. */
  readonly requestedScopes: readonly string[]
  /** The disclosures asked by `scope` and by `claims`, inside the service's ceiling, sorted, without `openid`. */
  readonly scopes: readonly AtomicScope[]
  readonly offlineAccess: boolean
  /** Asked by scope or claim, by a client that has an alias domain. */
  readonly email: boolean
  readonly prompts: readonly Prompt[]
  /** Seconds. */
  readonly maxAge: number | null
  /** S256: 43 characters. */
  readonly codeChallenge: string | null
  /** The thumbprint of the key that the code will be bound to (RFC 9449 section 10). */
  readonly dpopJkt: string | null
  /** The one resource that the access token is for (RFC 8707); always a registered one. */
  readonly resource: string | null
  readonly minTrustLevel: TrustLevel
  /** The known claims that `claims` asks under `id_token`, sorted. */
  readonly idTokenClaims: readonly string[]
  /** The one `sub` that may be answered (OIDC Core section 5.5.1). */
  readonly expectedSubject: string | null
  /** Of the shape of a signed JWT; whether it is genuine is not known yet. */
  readonly idTokenHint: string | null
  readonly loginHint: string | null
}

/** Before the redirect URI is proven a page at the provider, after it a redirect (1-architecture decision 14). */
export type RequestFault =
  | {
      readonly kind: 'page'
      readonly page: 'error-client' | 'error-redirect-uri' | 'error-request'
    }
  | {
      readonly kind: 'redirect'
      readonly error: AuthorizationError
      /** The parameter at fault, where one can be named. */
      readonly parameter: string | null
      readonly redirectUri: string
      readonly responseMode: ResponseMode
      readonly state: string | null
    }

/** In UTF-8; a longer value is refused, never cut (5-security 37). */
const MAX_STATE = 4096
const MAX_NONCE = 1024
const MAX_LOGIN_HINT = 256

/** What this door reads, besides `client_id` and `redirect_uri`; of these, none may come twice (RFC 6749 section 3.1). */
const KNOWN_PARAMETERS = [
  ...['response_type', 'response_mode', 'scope', 'state', 'nonce', 'prompt', 'max_age', 'claims'],
  ...['code_challenge', 'code_challenge_method', 'acr_values', 'id_token_hint', 'login_hint'],
  ...['ui_locales', 'claims_locales', 'display', 'request', 'request_uri', 'registration'],
  'dpop_jkt',
]

/** JSON may be indented, and opaque values only have to come back as they went; no other may hold a control. */
export const MULTILINE_PARAMETERS: readonly string[] = ['claims', 'state', 'nonce']

/** What a check looks at. */
interface Question {
  readonly parameters: Parameters
  readonly service: Service
  readonly client: OidcClient
}
type Reading<T> = Result<T, AuthorizationError>

/** The list. Each check reads its own parameters; the first that refuses names the fault. */
const CHECKS = {
  repeated: refuseRepeated,
  requestObject: refuseRequestObject,
  state: readState,
  nonce: readNonce,
  responseType: checkResponseType,
  responseMode: readResponseMode,
  scope: readScopeParameter,
  codeChallenge: readCodeChallenge,
  dpopJkt: readDpopJkt,
  resource: readResource,
  prompts: readPrompts,
  maxAge: readMaxAge,
  claims: readClaims,
  idTokenHint: readIdTokenHint,
} satisfies Readonly<Record<string, (question: Question) => Reading<unknown>>>

/** The parameter that each check reads; the others name no single one. */
const PARAMETERS: Readonly<Record<string, string>> = {
  state: 'state',
  nonce: 'nonce',
  responseType: 'response_type',
  responseMode: 'response_mode',
  codeChallenge: 'code_challenge',
  dpopJkt: 'dpop_jkt',
  resource: 'resource',
  prompts: 'prompt',
  maxAge: 'max_age',
  claims: 'claims',
  idTokenHint: 'id_token_hint',
} satisfies Partial<Readonly<Record<keyof typeof CHECKS, string>>>

type Read = {
  readonly [Check in keyof typeof CHECKS]: Extract<
    ReturnType<(typeof CHECKS)[Check]>,
    { readonly ok: true }
  >['value']
}

/** The client that a request names: `undefined` when missing, repeated, or not of the form of a service id. */
export function clientIdOf({ values, repeated }: Parameters): string | undefined {
  const clientId = values.get('client_id')
  return !repeated.has('client_id') && v.is(ServiceId, clientId) ? clientId : undefined
}

/**
 * Reads the authorization request in `parameters`. `service` is what is registered under its `client_id`, `undefined` when
 * nothing is. `way`: whether a browser brought it, or the client pushed it itself (RFC 9126), which some clients must.
 * @returns a `page` fault until the redirect URI is proven, from then on a `redirect` fault to it
 */
export function readAuthorizationRequest(
  parameters: Parameters,
  service: Service | undefined,
  way: 'browser' | 'pushed' = 'browser',
): Result<AuthorizationRequest, RequestFault> {
  const { values, repeated } = parameters
  if (repeated.has('client_id')) return refuse({ kind: 'page', page: 'error-request' })
  const client = service?.oidc
  if (client === undefined || !service?.enabled || service.serviceId !== clientIdOf(parameters)) {
    return refuse({ kind: 'page', page: 'error-client' })
  }
  if (client.require_pushed_authorization_requests && way === 'browser') {
    return refuse({ kind: 'page', page: 'error-request' })
  }
  if (repeated.has('redirect_uri')) return refuse({ kind: 'page', page: 'error-request' })
  const redirectUri = values.get('redirect_uri')
  if (redirectUri === undefined || !matchesRedirectUri(client, redirectUri)) {
    return refuse({ kind: 'page', page: 'error-redirect-uri' })
  }

  const question = { parameters, service, client }
  const read = readInOrder(question)
  if (!read.ok) {
    return refuse({ kind: 'redirect', ...read.reason, redirectUri, ...wayBack(question) })
  }
  return ok(requestOf(question, redirectUri, read.value))
}

function readInOrder(
  question: Question,
): Result<Read, { readonly error: AuthorizationError; readonly parameter: string | null }> {
  const read = new Map<string, unknown>()
  for (const [name, check] of Object.entries(CHECKS)) {
    const result: Reading<unknown> = check(question)
    if (!result.ok) return refuse({ error: result.reason, parameter: parameterOf(name, question) })
    read.set(name, result.value)
  }
  return ok(Object.fromEntries(read) as Read)
}

/** The parameter that a check is about; of those that came twice, the first we know. */
function parameterOf(check: string, { parameters: { repeated } }: Question): string | null {
  if (check === 'repeated') return KNOWN_PARAMETERS.find((name) => repeated.has(name)) ?? null
  return PARAMETERS[check] ?? null
}

function requestOf(
  { parameters: { values }, service, client }: Question,
  redirectUri: string,
  { scope, claims, ...read }: Read,
): AuthorizationRequest {
  const ceiling = ceilingOf(service)
  const byClaims = claims.disclosures.filter((disclosure) => ceiling.includes(disclosure))
  return {
    clientId: service.serviceId,
    redirectUri,
    responseMode: read.responseMode,
    state: read.state,
    nonce: read.nonce,
    requestedScopes: scope.requestedScopes,
    scopes: [...new Set([...scope.disclosures, ...byClaims])].sort(),
    offlineAccess: scope.offlineAccess,
    email: (scope.email || claims.email) && client.alias_domain !== undefined,
    prompts: read.prompts,
    maxAge: read.maxAge,
    codeChallenge: read.codeChallenge,
    dpopJkt: read.dpopJkt,
    resource: read.resource,
    minTrustLevel: highest([
      client.min_trust_level,
      lowestLevelOf(listIn(values.get('acr_values'))) ?? 1,
      claims.minTrustLevel ?? 1,
    ]),
    idTokenClaims: claims.idTokenClaims,
    expectedSubject: claims.expectedSubject,
    idTokenHint: read.idTokenHint,
    loginHint: loginHintIn(values.get('login_hint')),
  }
}

/** How a fault travels: in the mode and with the state of the request, as far as these two are in order. */
function wayBack(question: Question): { responseMode: ResponseMode; state: string | null } {
  const { repeated } = question.parameters
  const mode = readResponseMode(question)
  const state = readState(question)
  return {
    responseMode: mode.ok && !repeated.has('response_mode') ? mode.value : 'query',
    state: state.ok && !repeated.has('state') ? state.value : null,
  }
}

function refuseRepeated({ parameters: { repeated } }: Question): Reading<null> {
  return KNOWN_PARAMETERS.some((name) => repeated.has(name)) ? refuse('invalid_request') : ok(null)
}

/** OIDC Core sections 6.1, 6.2 and 7.2.1: never ignored, and nothing is fetched (5-security 34). */
function refuseRequestObject({ parameters: { values } }: Question): Reading<null> {
  if (values.has('request')) return refuse('request_not_supported')
  if (values.has('request_uri')) return refuse('request_uri_not_supported')
  if (values.has('registration')) return refuse('registration_not_supported')
  return ok(null)
}

function readState({ parameters }: Question): Reading<string | null> {
  return readOpaque(parameters, 'state', MAX_STATE)
}

function readNonce({ parameters }: Question): Reading<string | null> {
  return readOpaque(parameters, 'nonce', MAX_NONCE)
}

function readOpaque({ values }: Parameters, name: string, max: number): Reading<string | null> {
  const value = values.get(name) ?? null
  if (value === null) return ok(null)
  // A character is at least one byte: this spares encoding what is too long anyway.
  const fits = value.length <= max && utf8(value).length <= max
  return fits ? ok(value) : refuse('invalid_request')
}

function checkResponseType({ parameters: { values } }: Question): Reading<'code'> {
  const responseType = values.get('response_type')
  if (responseType === undefined) return refuse('invalid_request')
  return responseType === 'code' ? ok('code') : refuse('unsupported_response_type')
}

function readResponseMode({ parameters: { values } }: Question): Reading<ResponseMode> {
  const asked = values.get('response_mode') ?? 'query'
  const mode = RESPONSE_MODES.find((one) => one === asked)
  return mode === undefined ? refuse('invalid_request') : ok(mode)
}

function readScopeParameter({ parameters, service, client }: Question): Reading<ScopeRequest> {
  return readScope(parameters.values.get('scope'), {
    ceiling: ceilingOf(service),
    offlineAccess: client.offline_access,
  })
}

/**
 * RFC 7636 with S256 only. A client that need not send a challenge is held to one it sends. A challenge that is not the
 * base64url of 32 bytes in its one spelling could never be met by a verifier.
 */
function readCodeChallenge({ parameters: { values }, client }: Question): Reading<string | null> {
  const challenge = values.get('code_challenge')
  const method = values.get('code_challenge_method')
  if (challenge === undefined) {
    return client.require_pkce || method !== undefined ? refuse('invalid_request') : ok(null)
  }
  const meetable = method === 'S256' && fromBase64url(challenge)?.length === 32
  return meetable ? ok(challenge) : refuse('invalid_request')
}

function readDpopJkt({ parameters: { values } }: Question): Reading<string | null> {
  const jkt = values.get('dpop_jkt')
  if (jkt === undefined) return ok(null)
  return isJkt(jkt) ? ok(jkt) : refuse('invalid_request')
}

function readResource({ parameters, client }: Question): Reading<string | null> {
  return readTarget(parameters, client)
}

/** OIDC Core section 3.1.2.1: `none` stands alone. */
function readPrompts({ parameters: { values } }: Question): Reading<readonly Prompt[]> {
  const asked = listIn(values.get('prompt'))
  const prompts = PROMPTS.filter((prompt) => asked.includes(prompt))
  const known = asked.every((word) => PROMPTS.some((prompt) => prompt === word))
  const contradicts = prompts.includes('none') && prompts.length > 1
  return known && !contradicts ? ok(prompts) : refuse('invalid_request')
}

function readMaxAge({ parameters: { values } }: Question): Reading<number | null> {
  const seconds = values.get('max_age')
  if (seconds === undefined) return ok(null)
  return /^\d{1,9}$/.test(seconds) ? ok(Number(seconds)) : refuse('invalid_request')
}

function readClaims({ parameters: { values } }: Question): Reading<ClaimsRequest> {
  return readClaimsParameter(values.get('claims'))
}

/** Three parts, none of them empty: unsigned tokens, and encrypted ones that only the client can open, are no hints. */
function readIdTokenHint({ parameters: { values } }: Question): Reading<string | null> {
  const hint = values.get('id_token_hint')
  if (hint === undefined) return ok(null)
  const isJws = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/.test(hint)
  return isJws ? ok(hint) : refuse('invalid_request')
}

/** A hint is never an error; one that could not be an id is none. */
function loginHintIn(hint: string | undefined): string | null {
  if (hint === undefined || hint.length > MAX_LOGIN_HINT || /\p{Cc}/u.test(hint)) return null
  return hint
}

/** The words of a space-delimited list (RFC 6749 section 3.3). */
function listIn(text: string | undefined): readonly string[] {
  return text === undefined ? [] : text.split(' ').filter((word) => word !== '')
}

function highest(levels: readonly TrustLevel[]): TrustLevel {
  return levels.reduce((one, other) => (other > one ? other : one), 1)
}
