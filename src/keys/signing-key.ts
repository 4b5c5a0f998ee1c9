/**
 * One signing key: made, wrapped for storage, and opened again with every check that must hold before it may sign or
 * be published (5-security 318).
 */
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK } from 'jose'
import { fromBase64url, toBase64url, utf8 } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'
import {
  type P256Half,
  type PublicHalf,
  privateHalf,
  publicHalf,
  type RsaHalf,
  type SigningAlg,
  WEB_CRYPTO,
} from './algorithms.ts'
import type { MasterSecret } from './master-secret.ts'
import { openBox, sealBox } from './sealed-box.ts'

/** What a key may sign: tokens for services, what is pushed to phones, or Service VDS. Never two of them. */
export type KeyPurpose = 'token' | 'push' | 'service'

export type KeyStatus = 'active' | 'retired'

/** One active key of each kind is what the ring needs. */
export interface KeyKind {
  readonly purpose: KeyPurpose
  readonly alg: SigningAlg
}

/** Every kind there is, in the order in which the JWKS shows their keys. */
export const KEY_KINDS: readonly KeyKind[] = [
  { purpose: 'token', alg: 'ES256' },
  // For the services that can't verify anything else (1-architecture decision 11).
  { purpose: 'token', alg: 'RS256' },
  { purpose: 'push', alg: 'ES256' },
  { purpose: 'service', alg: 'ES256' },
]

/** The public half as the JWKS shows it: these members and no others. */
export type PublicJwk = (P256Half | RsaHalf) & { readonly kid: string; readonly use: 'sig' }

/** A key as it is stored; nothing in here is trusted before `openSigningKey` has looked at it. */
export interface StoredKey {
  /** Of the public half, see `kidOf`. */
  readonly kid: string
  readonly purpose: KeyPurpose
  readonly alg: string
  readonly status: KeyStatus
  /** JSON. */
  readonly publicJwk: string
  /** A sealed box. */
  readonly wrappedPrivateKey: string
  /** Unix seconds. */
  readonly createdAt: number
}

/** A key whose private half is at hand and known to belong to the public one. */
export interface SigningKey extends KeyKind {
  readonly status: KeyStatus
  readonly publicJwk: PublicJwk
  readonly publicKey: CryptoKey
  readonly privateKey: CryptoKey
}

export type KeyFault =
  | 'unknown_kind'
  | 'unwrap_failed'
  | 'not_p256'
  | 'not_rsa'
  | 'kid_mismatch'
  | 'halves_differ'
  | 'kid_twice'
  | 'no_active_key'

/** Of a made RSA key; the exponent is 65537. */
const RSA_BITS = 2048

/**
 * A new active key of `kind`, its private half wrapped. An RSA key takes a tenth of a second and more.
 * `random12`: twelve fresh bytes; `now`: Unix seconds.
 */
export async function makeSigningKey(
  master: MasterSecret,
  { purpose, alg }: KeyKind,
  random12: Uint8Array,
  now: number,
): Promise<StoredKey> {
  const pair = await generateKeyPair(alg, { extractable: true, modulusLength: RSA_BITS })
  const privateJwk = await exportJWK(pair.privateKey)
  const publicJwk = await exportJWK(pair.publicKey)
  const kid = await kidOf(purpose, publicJwk)
  return {
    kid,
    purpose,
    alg,
    status: 'active',
    publicJwk: JSON.stringify(publicJwk),
    wrappedPrivateKey: await wrapPrivateJwk(master, purpose, kid, privateJwk, random12),
    createdAt: now,
  }
}

/** How many bytes name a service-seal key in a Service VDS (3-seal section 2.1). */
const SERVICE_KID_BYTES = 8

/** The name of a public key: its RFC 7638 thumbprint, of which a Service VDS has room for the first eight bytes only. */
async function kidOf(purpose: KeyPurpose, publicJwk: JWK): Promise<string> {
  const thumbprint = await calculateJwkThumbprint(publicJwk)
  if (purpose !== 'service') return thumbprint
  return toBase64url((fromBase64url(thumbprint) ?? new Uint8Array()).slice(0, SERVICE_KID_BYTES))
}

/** The sealed box of a private JWK; it opens only for this `kid` and `purpose`. */
export function wrapPrivateJwk(
  master: MasterSecret,
  purpose: KeyPurpose,
  kid: string,
  privateJwk: object,
  random12: Uint8Array,
): Promise<string> {
  return sealBox(master, 'wrap', JSON.stringify(privateJwk), contextOf(purpose, kid), random12)
}

/**
 * Opens a stored key. Retired keys go through the same checks: were the public half published on the word of the
 * database alone, whoever can write a row could have a key of his own trusted.
 */
export async function openSigningKey(
  master: MasterSecret,
  stored: StoredKey,
): Promise<Result<SigningKey, KeyFault>> {
  const { kid, purpose, status } = stored
  const alg = KEY_KINDS.find((kind) => isOfKind(stored, kind))?.alg
  if (alg === undefined) return refuse('unknown_kind')
  const otherKey = alg === 'ES256' ? 'not_p256' : 'not_rsa'

  const opened = await openBox(master, 'wrap', stored.wrappedPrivateKey, contextOf(purpose, kid))
  if (opened === undefined) return refuse('unwrap_failed')

  const secret = privateHalf(alg, parseJson(new TextDecoder().decode(opened)))
  const half = publicHalf(alg, parseJson(stored.publicJwk))
  if (secret === undefined || half === undefined) return refuse(otherKey)

  if ((await kidOf(purpose, { ...half })) !== kid) return refuse('kid_mismatch')

  const keys = await importHalves(half, secret)
  if (keys === undefined) return refuse(otherKey)
  // Equal public members beside `d` would prove nothing about `d`: only a signature does.
  const probe = utf8(kid)
  const signature = await crypto.subtle.sign(WEB_CRYPTO[alg], keys.privateKey, probe)
  const matches = await crypto.subtle.verify(WEB_CRYPTO[alg], keys.publicKey, signature, probe)
  if (!matches) return refuse('halves_differ')

  return ok({ purpose, alg, status, publicJwk: { ...half, kid, use: 'sig' }, ...keys })
}

/** Whether `key` is of `kind`. */
export function isOfKind(
  key: { readonly purpose: KeyPurpose; readonly alg: string },
  { purpose, alg }: KeyKind,
): boolean {
  return key.purpose === purpose && key.alg === alg
}

/** The one protected header of what `key` signs as `typ`. */
export function headerOf(key: SigningKey, typ: string) {
  return { alg: key.alg, kid: key.publicJwk.kid, typ }
}

async function importHalves(
  half: PublicHalf,
  secret: JsonWebKey,
): Promise<{ publicKey: CryptoKey; privateKey: CryptoKey } | undefined> {
  const algorithm = WEB_CRYPTO[half.alg]
  try {
    return {
      publicKey: await crypto.subtle.importKey('jwk', { ...half }, algorithm, false, ['verify']),
      privateKey: await crypto.subtle.importKey('jwk', secret, algorithm, false, ['sign']),
    }
  } catch {
    return undefined
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function contextOf(purpose: KeyPurpose, kid: string): string {
  return `signing-key/${purpose}/${kid}`
}
