/**
 * A service as an OpenID Connect client: what the operator registers under the names of RFC 7591, the rules for it, and
 * which addresses an answer may be sent to. `client_id`, secrets, scopes and subject type are those of the service.
 */
import * as v from 'valibot'
import type { SigningAlg } from '../keys/algorithms.ts'
import { ok, type Result, refuse } from '../result.ts'
import {
  CLIENT_SIGNING_ALGS,
  type ClientEncryptionJwk,
  type ClientJwk,
  type ClientSigningAlg,
  type ClientSigningJwk,
  ENCRYPTION_ALGS,
  type IdTokenEncryptionAlg,
  isKeyFor,
  isSigningKey,
  readKeys,
  signingAlgOf,
} from './client-keys.ts'

export {
  CLIENT_SIGNING_ALGS,
  type ClientJwk,
  type ClientSigningAlg,
  type ClientSigningJwk,
  ENCRYPTION_ALGS,
  signingAlgOf,
}

/** What a client may be registered with, which is what the discovery document lists. */
export const CLIENT_AUTH_METHODS = [
  'client_secret_basic',
  'client_secret_post',
  'private_key_jwt',
  'none',
] as const
export const SIGNING_ALGS = ['ES256', 'RS256'] as const satisfies readonly SigningAlg[]
export const ENCRYPTION_ENCS = ['A256GCM', 'A128CBC-HS256'] as const

export type ClientAuthMethod = (typeof CLIENT_AUTH_METHODS)[number]
export type IdTokenEncryptionEnc = (typeof ENCRYPTION_ENCS)[number]

/**
 * The OpenID Connect half of a service, all defaults and all that its `profile` demands filled in: who enforces a rule
 * reads the member of that rule, never `profile`.
 */
export interface OidcClient {
  /** What the operator asked for as a whole. */
  readonly profile?: 'fapi2'
  /** The texts as registered: compared byte for byte, never parsed first. */
  readonly redirect_uris: readonly string[]
  readonly application_type: 'web' | 'native'
  readonly token_endpoint_auth_method: ClientAuthMethod
  /** Only with `private_key_jwt`; absent: whichever fits the key. */
  readonly token_endpoint_auth_signing_alg?: ClientSigningAlg
  readonly id_token_signed_response_alg: SigningAlg
  readonly id_token_encrypted_response_alg?: IdTokenEncryptionAlg
  /** Present exactly when `id_token_encrypted_response_alg` is. */
  readonly id_token_encrypted_response_enc?: IdTokenEncryptionEnc
  readonly jwks?: { readonly keys: readonly ClientJwk[] }
  /** Seconds, 60 to 3600. */
  readonly id_token_ttl: number
  readonly require_pkce: boolean
  readonly claims_in_id_token: boolean
  readonly offline_access: boolean
  readonly post_logout_redirect_uris: readonly string[]
  readonly backchannel_logout_uri?: string
  /** The domain of the alias that answers `email`. */
  readonly alias_domain?: string
  readonly min_trust_level: 1 | 2 | 3
  /** RFC 9126; absent: no. */
  readonly require_pushed_authorization_requests?: boolean
  /** RFC 9449: no token of this client without a proof; absent: no. */
  readonly dpop_bound_access_tokens?: boolean
  /** Seconds: counts as `max_age` where a request has none. */
  readonly default_max_age?: number
  /** The audiences it may ask tokens for (RFC 8707), 1 to 20, compared byte for byte. */
  readonly resources?: readonly string[]
  /** The audience that it is itself, as a protected resource. Never of a public client. */
  readonly resource?: string
  /** Whether granted claims stand in JWT access tokens too; absent: no. */
  readonly claims_in_access_token?: boolean
}

const addressText = v.pipe(v.string(), v.maxLength(512))

/** The shape of the member `oidc` of a registration. What its texts may say is the work of `readOidcClient`. */
export const OidcRegistration = v.strictObject({
  profile: v.exactOptional(v.literal('fapi2')),
  redirect_uris: v.pipe(v.array(addressText), v.maxLength(20)),
  application_type: v.optional(v.picklist(['web', 'native']), 'web'),
  // Its default is not the same with a profile.
  token_endpoint_auth_method: v.exactOptional(v.picklist(CLIENT_AUTH_METHODS)),
  token_endpoint_auth_signing_alg: v.exactOptional(v.picklist(CLIENT_SIGNING_ALGS)),
  id_token_signed_response_alg: v.optional(v.picklist(SIGNING_ALGS), 'ES256'),
  id_token_encrypted_response_alg: v.exactOptional(v.picklist(ENCRYPTION_ALGS)),
  id_token_encrypted_response_enc: v.exactOptional(v.picklist(ENCRYPTION_ENCS)),
  jwks: v.exactOptional(
    v.strictObject({
      // Loose, since key sets come with `x5t`, `key_ops` and the like; only what is known here is kept.
      keys: v.pipe(
        v.array(v.looseObject({ kty: v.string(), kid: v.string() })),
        v.minLength(1),
        v.maxLength(4),
      ),
    }),
  ),
  id_token_ttl: v.optional(v.pipe(v.number(), v.integer(), v.minValue(60), v.maxValue(3600)), 3600),
  require_pkce: v.optional(v.boolean(), true),
  claims_in_id_token: v.optional(v.boolean(), true),
  offline_access: v.optional(v.boolean(), false),
  post_logout_redirect_uris: v.optional(v.pipe(v.array(addressText), v.maxLength(20)), []),
  backchannel_logout_uri: v.exactOptional(addressText),
  alias_domain: v.exactOptional(v.pipe(v.string(), v.maxLength(253))),
  min_trust_level: v.optional(v.picklist([1, 2, 3]), 1),
  require_pushed_authorization_requests: v.exactOptional(v.boolean()),
  dpop_bound_access_tokens: v.exactOptional(v.boolean()),
  default_max_age: v.exactOptional(
    v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(31_536_000)),
  ),
  // None at all is said by leaving it out, so that nobody has to tell the two apart.
  resources: v.exactOptional(v.pipe(v.array(addressText), v.minLength(1), v.maxLength(20))),
  resource: v.exactOptional(addressText),
  claims_in_access_token: v.exactOptional(v.boolean()),
})

type Registration = v.InferOutput<typeof OidcRegistration>

/**
 * The client in a registration that has the right shape, or the member at fault. `isPublicUrl` is the room's rule for
 * the address of a service: https at a public host, or loopback http where the issuer is loopback http.
 */
export async function readOidcClient(
  registration: Registration,
  isPublicUrl: (url: string) => boolean,
): Promise<Result<OidcClient, keyof OidcClient>> {
  const settled = settle(registration)
  if (!settled.ok) return settled
  const { jwks, id_token_encrypted_response_enc: enc, ...rest } = settled.value
  const isPublicNative = isPublicNativeClient(rest)
  const mayReturnTo = (address: string) =>
    isWebAddress(address, isPublicUrl) || (isPublicNative && isAppAddress(address))
  // An API that only asks about tokens sends nobody here.
  if (rest.redirect_uris.length === 0 && rest.resource === undefined) return refuse('redirect_uris')
  if (!rest.redirect_uris.every(mayReturnTo)) return refuse('redirect_uris')
  if (!rest.post_logout_redirect_uris.every(mayReturnTo)) return refuse('post_logout_redirect_uris')
  const logout = rest.backchannel_logout_uri
  if (logout !== undefined && !isWebAddress(logout, isPublicUrl)) {
    return refuse('backchannel_logout_uri')
  }
  const isPublic = rest.token_endpoint_auth_method === 'none'
  // Nothing but the verifier ties the code of a public client to the one who asked for it.
  if (isPublic && !rest.require_pkce) return refuse('require_pkce')
  if (rest.alias_domain !== undefined && !HOST_NAME.test(rest.alias_domain)) {
    return refuse('alias_domain')
  }
  const isName = (text: string) => isResourceName(text, isPublicUrl)
  if (rest.resources !== undefined && !rest.resources.every(isName)) return refuse('resources')
  // Who can't prove to be the resource is told nothing about its tokens.
  if (rest.resource !== undefined && (isPublic || !isName(rest.resource))) return refuse('resource')

  const keys = jwks === undefined ? [] : await readKeys(jwks.keys)
  if (keys === undefined) return refuse('jwks')
  const alg = rest.id_token_encrypted_response_alg
  if (alg === undefined && enc !== undefined) return refuse('id_token_encrypted_response_enc')
  if (alg !== undefined && !keys.some((key) => isKeyFor(key, alg))) return refuse('jwks')
  const client: OidcClient = {
    ...rest,
    ...(alg === undefined ? {} : { id_token_encrypted_response_enc: enc ?? 'A256GCM' }),
    ...(jwks === undefined ? {} : { jwks: { keys } }),
  }
  if (rest.token_endpoint_auth_method === 'private_key_jwt') {
    if (signingKeysOf(client).length === 0) return refuse('jwks')
  } else if (rest.token_endpoint_auth_signing_alg !== undefined) {
    return refuse('token_endpoint_auth_signing_alg')
  }
  return ok(client)
}

type Settled = Registration & Pick<OidcClient, 'token_endpoint_auth_method'>

/** `registration` with what its profile demands, or the first member that contradicts the profile. */
function settle(registration: Registration): Result<Settled, keyof OidcClient> {
  const { profile, redirect_uris, application_type, token_endpoint_auth_method, ...rest } =
    registration
  const method =
    token_endpoint_auth_method ?? (profile === 'fapi2' ? 'private_key_jwt' : 'client_secret_basic')
  const first = { redirect_uris, application_type, token_endpoint_auth_method: method }
  if (profile === undefined) return ok({ ...first, ...rest })

  if (application_type !== 'web') return refuse('application_type')
  if (method !== 'private_key_jwt') return refuse('token_endpoint_auth_method')
  if (rest.id_token_signed_response_alg !== 'ES256') return refuse('id_token_signed_response_alg')
  const demanded = [
    'require_pkce',
    'require_pushed_authorization_requests',
    'dpop_bound_access_tokens',
  ] as const
  const denied = demanded.find((member) => rest[member] === false)
  if (denied !== undefined) return refuse(denied)
  return ok({
    profile,
    ...first,
    ...rest,
    require_pushed_authorization_requests: true,
    dpop_bound_access_tokens: true,
  })
}

/**
 * The keys that an assertion of `client` may be signed with: none that is for encryption, and, where the client registered
 * an algorithm for it, none of another.
 */
export function signingKeysOf(client: OidcClient): readonly ClientSigningJwk[] {
  const alg = client.token_endpoint_auth_signing_alg
  const keys = client.jwks?.keys.filter(isSigningKey) ?? []
  return alg === undefined ? keys : keys.filter((key) => signingAlgOf(key) === alg)
}

/** What the id_token of `client` is encrypted with and to, or `undefined` when it is only signed. */
export function idTokenEncryptionOf(client: OidcClient):
  | {
      readonly alg: IdTokenEncryptionAlg
      readonly enc: IdTokenEncryptionEnc
      readonly jwk: ClientEncryptionJwk
    }
  | undefined {
  const { id_token_encrypted_response_alg: alg, id_token_encrypted_response_enc: enc } = client
  if (alg === undefined || enc === undefined) return undefined
  const jwk = client.jwks?.keys.find((key) => isKeyFor(key, alg))
  return jwk === undefined ? undefined : { alg, enc, jwk }
}

/**
 * Whether `requested` is an address that an answer to `client` may go to: byte for byte a registered one (5-security 23).
 * The one exception is the port of a loopback literal of a public native client, which the system gives it anew each
 * time (RFC 8252 section 7.3, 5-security 25).
 */
export function matchesRedirectUri(client: OidcClient, requested: string): boolean {
  if (client.redirect_uris.includes(requested)) return true
  if (!isPublicNativeClient(client)) return false
  const wanted = withoutPort(requested)
  return (
    wanted !== undefined &&
    client.redirect_uris.some((registered) => withoutPort(registered) === wanted)
  )
}

/** Whether `requested` is byte for byte a registered address to return to after logout (5-security 95). */
export function isPostLogoutRedirectUri(client: OidcClient, requested: string): boolean {
  return client.post_logout_redirect_uris.includes(requested)
}

/** The hosts of the redirect addresses, lower case; a private-use scheme stands for itself (OIDC Core section 8.1). */
export function redirectHosts(client: OidcClient): ReadonlySet<string> {
  return new Set(
    client.redirect_uris.map((address) => {
      const { protocol, hostname } = new URL(address)
      return protocol === 'https:' || protocol === 'http:' ? hostname : protocol
    }),
  )
}

/* ---- addresses ---- */

const HOST_NAME = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/

// The characters of RFC 3986 without `#` and `*`. `URL` would drop, turn or escape others, and the text is used as it is.
const ADDRESS_TEXT = /^[A-Za-z0-9._~:/?[\]@!$&'()+,;=%-]+$/
// The authority is read from the raw text: to `URL`, `https:bar` and `https://@bar` mean `https://bar` too.
const WEB_ADDRESS = /^https?:\/\/(?:[A-Za-z0-9._-]+|\[::1\])(?::[0-9]{1,5})?(?:[/?]|$)/
// A reversed domain name of the app's maker (RFC 8252 section 7.1): `javascript:` and its like have no dot.
const APP_ADDRESS = /^[a-z][a-z0-9-]*(?:\.[a-z0-9][a-z0-9-]*)+:\/[^@]*$/
// RFC 8141: a namespace, and a name in it.
const URN = /^urn:[A-Za-z0-9][A-Za-z0-9-]{0,30}[A-Za-z0-9]:[^[\]]+$/
const LOOPBACK_LITERAL = /^(http:\/\/(?:127\.0\.0\.1|\[::1\]))(?::([1-9][0-9]{0,4}))?((?:[/?].*)?)$/

function isPublicNativeClient(
  client: Pick<OidcClient, 'application_type' | 'token_endpoint_auth_method'>,
): boolean {
  return client.application_type === 'native' && client.token_endpoint_auth_method === 'none'
}

function isWebAddress(text: string, isPublicUrl: (url: string) => boolean): boolean {
  return (
    ADDRESS_TEXT.test(text) && WEB_ADDRESS.test(text) && URL.canParse(text) && isPublicUrl(text)
  )
}

/**
 * Whether `text` may name a protected resource: an absolute URI without fragment. It is a name that is compared, never
 * called, so https at any host will do; http is for loopback, where `isPublicUrl` lets it.
 */
function isResourceName(text: string, isPublicUrl: (url: string) => boolean): boolean {
  if (!ADDRESS_TEXT.test(text) || !URL.canParse(text)) return false
  if (URN.test(text)) return true
  return WEB_ADDRESS.test(text) && (text.startsWith('https:') || isPublicUrl(text))
}

/** Whether an app of its own may be reached at `text`: a private-use scheme, or a loopback literal over http. */
function isAppAddress(text: string): boolean {
  if (!ADDRESS_TEXT.test(text) || !URL.canParse(text)) return false
  return APP_ADDRESS.test(text) || withoutPort(text) !== undefined
}

/** `text` without its port when it is an http address of a loopback literal, else `undefined`. */
function withoutPort(text: string): string | undefined {
  const [whole, host, port = '1', rest] = LOOPBACK_LITERAL.exec(text) ?? []
  return whole === undefined || Number(port) > 65_535 ? undefined : `${host}${rest}`
}
