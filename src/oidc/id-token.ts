/** The id_token (OpenID Connect Core section 2): its claims, and the JWE around it for clients that registered for one. */
import { CompactEncrypt, importJWK } from 'jose'
import { toBase64url, utf8 } from '../bytes.ts'
import { AMR, acrOf } from '../disclosure/acr.ts'
import { ok, type Result, refuse } from '../result.ts'
import { idTokenEncryptionOf, type OidcClient } from '../services/oidc-client.ts'
import type { Grant } from './grant.ts'

type SigningAlg = OidcClient['id_token_signed_response_alg']

/** The hash inside each signature algorithm: the one that `at_hash` is made with. */
const HASH: Readonly<Record<SigningAlg, string>> = { ES256: 'SHA-256', RS256: 'SHA-256' }
/** Case 80: whatever a record says. */
const LONGEST_TTL = 3600

export interface IdTokenAbout {
  readonly issuer: string
  readonly client: Pick<OidcClient, 'id_token_ttl' | 'claims_in_id_token'>
  readonly grant: Grant
  /** As sent; absent or null when there was none, and in a refreshed id_token (OpenID Connect Core section 12.2). */
  readonly nonce?: string | null
  /** The access token that goes with it, for `at_hash`. */
  readonly accessToken?: string
  /** What the id_token will be signed with. */
  readonly alg: SigningAlg
  /** The claims that the request's `claims` parameter named for the id_token. */
  readonly idTokenClaims: readonly string[]
  /** For a client that may exchange its id_token; see `TokenReference`. */
  readonly jti?: string | null
}

/**
 * The claims of an id_token; `now` in Unix seconds. Granted claims are inside when the client record says so (4-oidc trap
 * 8), else only those asked for the id_token by name. A claim that wasn't granted is absent, and no granted claim can take
 * the place of one that the protocol sets.
 */
export async function idTokenClaims(
  about: IdTokenAbout,
  now: number,
): Promise<Record<string, unknown>> {
  const { issuer, client, grant, nonce, accessToken, alg, jti } = about
  const granted = Object.entries(grant.claims).filter(
    ([name]) => client.claims_in_id_token || about.idTokenClaims.includes(name),
  )
  return {
    ...Object.fromEntries(granted),
    iss: issuer,
    sub: grant.sub,
    aud: grant.clientId,
    exp: now + Math.min(client.id_token_ttl, LONGEST_TTL),
    iat: now,
    ...(typeof nonce === 'string' && { nonce }),
    auth_time: grant.authTime,
    acr: acrOf(grant.trustLevel),
    amr: AMR,
    ...(accessToken !== undefined && { at_hash: await leftHalf(accessToken, alg) }),
    sid: grant.sid,
    ...(typeof jti === 'string' && { jti }),
  }
}

/** The left half of the hash of `text` (OpenID Connect Core section 3.1.3.6). */
async function leftHalf(text: string, alg: SigningAlg): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest(HASH[alg], utf8(text)))
  return toBase64url(digest.subarray(0, digest.length / 2))
}

/**
 * The signed id_token `jws` as its client wants it: as it is, or inside a JWE to the client's key (RFC 7519 section 5.2).
 * A client that registered for encryption never gets a plain one: without a usable key the token is refused.
 */
export async function encryptIdToken(
  jws: string,
  client: OidcClient,
): Promise<Result<string, 'unusable_key'>> {
  if (client.id_token_encrypted_response_alg === undefined) return ok(jws)
  const encryption = idTokenEncryptionOf(client)
  if (encryption === undefined) return refuse('unusable_key')
  const { alg, enc, jwk } = encryption
  try {
    const recipient = await importJWK({ ...jwk }, alg)
    const jwe = new CompactEncrypt(utf8(jws)).setProtectedHeader({
      alg,
      enc,
      kid: jwk.kid,
      cty: 'JWT',
    })
    return ok(await jwe.encrypt(recipient))
  } catch {
    return refuse('unusable_key')
  }
}
