/**
 * A service as an OpenID Connect client: what the operator registers under the names of RFC 7591, the rules for it, and
 * which addresses an answer may be sent to. `client_id`, secrets, scopes and subject type are those of the service.
 */
import { importJWK } from 'jose'
import * as v from 'valibot'
import { fromBase64url } from '../bytes.ts'
import type { SigningAlg } from '../keys/algorithms.ts'
import { ok, type Result, refuse } from '../result.ts'

/** What a client may be registered with, which is what the discovery document lists. */
export const CLIENT_AUTH_METHODS = ['client_secret_basic', 'client_secret_post', 'none'] as const
export const SIGNING_ALGS = ['ES256', 'RS256'] as const satisfies readonly SigningAlg[]
export const ENCRYPTION_ALGS = ['ECDH-ES', 'ECDH-ES+A256KW', 'RSA-OAEP', 'RSA-OAEP-256'] as const
export const ENCRYPTION_ENCS = ['A256GCM', 'A128CBC-HS256'] as const

export type ClientAuthMethod = (typeof CLIENT_AUTH_METHODS)[number]
export type IdTokenEncryptionAlg = (typeof ENCRYPTION_ALGS)[number]
export type IdTokenEncryptionEnc = (typeof ENCRYPTION_ENCS)[number]

/** A public key of a client to encrypt to. It holds no member but these. */
export type ClientJwk = (
  | { readonly kty: 'EC'; readonly crv: 'P-256'; readonly x: string; readonly y: string }
  | { readonly kty: 'RSA'; readonly n: string; readonly e: string }
) & { readonly kid: string; readonly use?: 'enc'; readonly alg?: IdTokenEncryptionAlg }

/** The OpenID Connect half of a service, all defaults filled in. */
export interface OidcClient {
  /** The texts as registered: compared byte for byte, never parsed first. */
  readonly redirect_uris: readonly string[]
  readonly application_type: 'web' | 'native'
  readonly token_endpoint_auth_method: ClientAuthMethod
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
}

const addressText = v.pipe(v.string(), v.maxLength(512))

/** The shape of the member `oidc` of a registration. What its texts may say is the work of `readOidcClient`. */
export const OidcRegistration = v.strictObject({
  redirect_uris: v.pipe(v.array(addressText), v.minLength(1), v.maxLength(20)),
  application_type: v.optional(v.picklist(['web', 'native']), 'web'),
  token_endpoint_auth_method: v.optional(v.picklist(CLIENT_AUTH_METHODS), 'client_secret_basic'),
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
  const { jwks, id_token_encrypted_response_enc: enc, ...rest } = registration
  const isPublicNative = isPublicNativeClient(registration)
  const mayReturnTo = (address: string) =>
    isWebAddress(address, isPublicUrl) || (isPublicNative && isAppAddress(address))
  if (!rest.redirect_uris.every(mayReturnTo)) return refuse('redirect_uris')
  if (!rest.post_logout_redirect_uris.every(mayReturnTo)) return refuse('post_logout_redirect_uris')
  const logout = rest.backchannel_logout_uri
  if (logout !== undefined && !isWebAddress(logout, isPublicUrl)) {
    return refuse('backchannel_logout_uri')
  }
  // Nothing but the verifier ties the code of a public client to the one who asked for it.
  if (rest.token_endpoint_auth_method === 'none' && !rest.require_pkce) {
    return refuse('require_pkce')
  }
  if (rest.alias_domain !== undefined && !HOST_NAME.test(rest.alias_domain)) {
    return refuse('alias_domain')
  }

  const keys = jwks === undefined ? [] : await readKeys(jwks.keys)
  if (keys === undefined) return refuse('jwks')
  const alg = rest.id_token_encrypted_response_alg
  if (alg === undefined && enc !== undefined) return refuse('id_token_encrypted_response_enc')
  if (alg !== undefined && !keys.some((key) => isKeyFor(key, alg))) return refuse('jwks')
  return ok({
    ...rest,
    ...(alg === undefined ? {} : { id_token_encrypted_response_enc: enc ?? 'A256GCM' }),
    ...(jwks === undefined ? {} : { jwks: { keys } }),
  })
}

/** What the id_token of `client` is encrypted with and to, or `undefined` when it is only signed. */
export function idTokenEncryptionOf(client: OidcClient):
  | {
      readonly alg: IdTokenEncryptionAlg
      readonly enc: IdTokenEncryptionEnc
      readonly jwk: ClientJwk
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

/* ---- keys ---- */

/** The members that only a private or a shared key has (RFC 7518 section 6). */
const SECRET_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']

/** The public keys in `jwks`, each with no member but those we know, or `undefined` when one can't be used. */
async function readKeys(
  jwks: readonly Readonly<Record<string, unknown>>[],
): Promise<readonly ClientJwk[] | undefined> {
  const keys = await Promise.all(jwks.map(readKey))
  const good = keys.filter((key) => key !== undefined)
  const distinct = new Set(good.map(({ kid }) => kid)).size
  return good.length === jwks.length && distinct === jwks.length ? good : undefined
}

const keyNames = {
  kid: v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,128}$/)),
  use: v.exactOptional(v.literal('enc')),
}
const bytesOf = (least: number, most: number) =>
  v.pipe(
    v.string(),
    v.maxLength(1024),
    v.check((text) => {
      const length = fromBase64url(text)?.length ?? -1
      return length >= least && length <= most
    }),
  )

const ClientKey = v.variant('kty', [
  v.object({
    kty: v.literal('EC'),
    crv: v.literal('P-256'),
    x: bytesOf(32, 32),
    y: bytesOf(32, 32),
    alg: v.exactOptional(v.picklist(['ECDH-ES', 'ECDH-ES+A256KW'])),
    ...keyNames,
  }),
  v.object({
    kty: v.literal('RSA'),
    // 2048 to 4096 bits: the first bit of a modulus is set. A longer one, or a long exponent, is work for us to do.
    n: v.pipe(bytesOf(256, 512), v.regex(/^[g-z0-9_-]/)),
    e: v.literal('AQAB'),
    alg: v.exactOptional(v.picklist(['RSA-OAEP', 'RSA-OAEP-256'])),
    ...keyNames,
  }),
])

async function readKey(jwk: Readonly<Record<string, unknown>>): Promise<ClientJwk | undefined> {
  if (SECRET_MEMBERS.some((member) => Object.hasOwn(jwk, member))) return undefined
  const key = v.safeParse(ClientKey, jwk)
  if (!key.success) return undefined
  const { kty, alg } = key.output
  try {
    // Only the import tells a point of the curve from two numbers.
    await importJWK({ ...key.output }, alg ?? (kty === 'EC' ? 'ECDH-ES' : 'RSA-OAEP-256'))
  } catch {
    return undefined
  }
  return key.output
}

function isKeyFor(key: ClientJwk, alg: IdTokenEncryptionAlg): boolean {
  const fits = alg.startsWith('ECDH-ES') ? key.kty === 'EC' : key.kty === 'RSA'
  return fits && (key.alg === undefined || key.alg === alg)
}
