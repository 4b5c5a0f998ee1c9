/**
 * Keys and the JWTs signed with them: client assertions and DPoP proofs. Headers and claims are written as they come, also
 * those that no library would make, because half of the modules are about them.
 */
import {
  constants,
  createHash,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  sign,
} from 'node:crypto'
import { importJWK, type JWK } from 'jose'

/** What the profile lets a client sign with (FAPI 2.0 Security Profile section 5.4). */
export type ClientAlg = 'ES256' | 'PS256' | 'EdDSA'

export interface SigningKey {
  readonly alg: ClientAlg
  readonly privateKey: KeyObject
  /** Its public half, without `kid`, `use` and `alg`. */
  readonly jwk: JsonWebKey
  /** RFC 7638. */
  readonly thumbprint: string
}

/** A member that is `undefined` is left out. */
export type Members = Readonly<Record<string, unknown>>

export function makeKey(alg: ClientAlg = 'ES256'): SigningKey {
  const { privateKey, publicKey } = keyPairFor(alg)
  const jwk = publicKey.export({ format: 'jwk' })
  return { alg, privateKey, jwk, thumbprint: thumbprintOf(jwk) }
}

function keyPairFor(alg: ClientAlg) {
  switch (alg) {
    case 'ES256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' })
    case 'PS256':
      return generateKeyPairSync('rsa', { modulusLength: 2048 })
    case 'EdDSA':
      return generateKeyPairSync('ed25519')
  }
}

/** The pair of `key` as a library wants it. */
export async function cryptoKeysOf({ alg, privateKey, jwk }: SigningKey): Promise<CryptoKeyPair> {
  const [ours, theirs] = await Promise.all([
    importJWK(privateKey.export({ format: 'jwk' }) as JWK, alg),
    // A proof shows it.
    importJWK(jwk as JWK, alg, { extractable: true }),
  ])
  return { privateKey: ours as CryptoKey, publicKey: theirs as CryptoKey }
}

/** A compact JWS. What `header` says of the algorithm is only said: `alg` signs, with the key's own unless told otherwise. */
export function signed(
  header: Members,
  claims: Members,
  { privateKey, ...key }: SigningKey,
  alg: ClientAlg | 'RS256' | 'none' = key.alg,
): string {
  const input = `${partOf(header)}.${partOf(claims)}`
  return `${input}.${signatureOf(alg, privateKey, Buffer.from(input)).toString('base64url')}`
}

function partOf(members: Members): string {
  return Buffer.from(JSON.stringify(members)).toString('base64url')
}

function signatureOf(alg: ClientAlg | 'RS256' | 'none', key: KeyObject, input: Buffer): Buffer {
  switch (alg) {
    case 'ES256':
      return sign('sha256', input, { key, dsaEncoding: 'ieee-p1363' })
    case 'PS256':
      return sign('sha256', input, {
        key,
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
      })
    case 'RS256':
      return sign('sha256', input, key)
    case 'EdDSA':
      return sign(null, input, key)
    case 'none':
      return Buffer.alloc(0)
  }
}

/** The members of RFC 7638 in their order, whatever kind of key. */
function thumbprintOf({ crv, e, kty, n, x, y }: JsonWebKey): string {
  return hashOf(JSON.stringify({ crv, e, kty, n, x, y }))
}

/** SHA-256 of `text`, as `ath`, `jkt` and S256 have it. */
export function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}
