/**
 * One signing key: made, wrapped for storage, and opened again with every check that must hold before it may sign or
 * be published (5-security 318).
 */
import { calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose'
import { fromBase64url, utf8 } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'
import type { MasterSecret } from './master-secret.ts'
import { openBox, sealBox } from './sealed-box.ts'

/** What a key may sign: tokens for services, or what is pushed to phones. Never both. */
export type KeyPurpose = 'token' | 'push'

export type KeyStatus = 'active' | 'retired'

/** The public half as the JWKS shows it: these members and no others. */
export interface PublicJwk {
  readonly kty: 'EC'
  readonly crv: 'P-256'
  readonly x: string
  readonly y: string
  readonly kid: string
  readonly use: 'sig'
  readonly alg: 'ES256'
}

/** A key as it is stored; nothing in here is trusted before `openSigningKey` has looked at it. */
export interface StoredKey {
  /** RFC 7638 thumbprint of the public half. */
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
export interface SigningKey {
  readonly purpose: KeyPurpose
  readonly status: KeyStatus
  readonly publicJwk: PublicJwk
  readonly privateKey: CryptoKey
}

export type KeyFault =
  | 'unwrap_failed'
  | 'not_p256'
  | 'kid_mismatch'
  | 'halves_differ'
  | 'kid_twice'
  | 'no_active_key'

const ES256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }

/** A new ES256 key, active, its private half wrapped. `random12`: twelve fresh bytes; `now`: Unix seconds. */
export async function makeSigningKey(
  master: MasterSecret,
  purpose: KeyPurpose,
  random12: Uint8Array,
  now: number,
): Promise<StoredKey> {
  const pair = await generateKeyPair('ES256', { extractable: true })
  const privateJwk = await exportJWK(pair.privateKey)
  const publicJwk = await exportJWK(pair.publicKey)
  const kid = await calculateJwkThumbprint(publicJwk)
  return {
    kid,
    purpose,
    alg: 'ES256',
    status: 'active',
    publicJwk: JSON.stringify(publicJwk),
    wrappedPrivateKey: await wrapPrivateJwk(master, purpose, kid, privateJwk, random12),
    createdAt: now,
  }
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
  const opened = await openBox(master, 'wrap', stored.wrappedPrivateKey, contextOf(purpose, kid))
  if (opened === undefined) return refuse('unwrap_failed')

  const privateHalf = p256Members(parseJson(new TextDecoder().decode(opened)))
  const publicHalf = p256Members(parseJson(stored.publicJwk))
  if (stored.alg !== 'ES256' || privateHalf?.d === undefined || publicHalf === undefined) {
    return refuse('not_p256')
  }

  const { kty, crv, x, y } = publicHalf
  if ((await calculateJwkThumbprint({ kty, crv, x, y })) !== kid) return refuse('kid_mismatch')

  const keys = await importHalves({ kty, crv, x, y }, privateHalf)
  if (keys === undefined) return refuse('not_p256')
  // Equal coordinates beside `d` would prove nothing about `d`: only a signature does.
  const probe = utf8(kid)
  const signature = await crypto.subtle.sign(ES256, keys.privateKey, probe)
  const matches = await crypto.subtle.verify(ES256, keys.publicKey, signature, probe)
  if (!matches) return refuse('halves_differ')

  const publicJwk: PublicJwk = { kty, crv, x, y, kid, use: 'sig', alg: 'ES256' }
  return ok({ purpose, status, publicJwk, privateKey: keys.privateKey })
}

interface P256Members {
  readonly kty: 'EC'
  readonly crv: 'P-256'
  readonly x: string
  readonly y: string
  readonly d?: string
}

function p256Members(value: unknown): P256Members | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { kty, crv, x, y, d } = value as Readonly<Record<string, unknown>>
  if (kty !== 'EC' || crv !== 'P-256' || !isCoordinate(x) || !isCoordinate(y)) return undefined
  return { kty, crv, x, y, ...(isCoordinate(d) && { d }) }
}

function isCoordinate(value: unknown): value is string {
  return typeof value === 'string' && fromBase64url(value)?.length === 32
}

async function importHalves(
  publicHalf: P256Members,
  privateHalf: P256Members,
): Promise<{ publicKey: CryptoKey; privateKey: CryptoKey } | undefined> {
  try {
    return {
      publicKey: await crypto.subtle.importKey('jwk', { ...publicHalf }, ES256, false, ['verify']),
      privateKey: await crypto.subtle.importKey('jwk', { ...privateHalf }, ES256, false, ['sign']),
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
