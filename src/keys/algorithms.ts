/**
 * The two algorithms this server signs with: what Web Crypto calls each, and which members a key of it has. The
 * algorithm always comes from the record of the key, never from a token (5-security 111).
 */
import { fromBase64url } from '../bytes.ts'

export type SigningAlg = 'ES256' | 'RS256'

/** A public P-256 key: what is published of it, without `kid` and `use`. */
export interface P256Half {
  readonly kty: 'EC'
  readonly crv: 'P-256'
  readonly x: string
  readonly y: string
  readonly alg: 'ES256'
}

/** A public RSA key of 2048 bits or more with the exponent 65537, likewise. */
export interface RsaHalf {
  readonly kty: 'RSA'
  readonly n: string
  readonly e: 'AQAB'
  readonly alg: 'RS256'
}

export type PublicHalf = P256Half | RsaHalf

/** For import, signing and verifying alike: Web Crypto takes of it what each act needs. */
export const WEB_CRYPTO = {
  ES256: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  RS256: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
} as const satisfies Readonly<Record<SigningAlg, object>>

/** RFC 7518 sections 6.2.2 and 6.3.2. `oth` is missing: a key of more than two primes is not made here. */
const PRIVATE_MEMBERS: Readonly<Record<SigningAlg, readonly string[]>> = {
  ES256: ['d'],
  RS256: ['d', 'p', 'q', 'dp', 'dq', 'qi'],
}

const RSA_MIN_BITS = 2048

/** The public members in `jwk`, any others dropped; `undefined` if it is no key for `alg`. */
export function publicHalf(alg: SigningAlg, jwk: unknown): PublicHalf | undefined {
  if (typeof jwk !== 'object' || jwk === null) return undefined
  const { kty, crv, x, y, n, e } = jwk as Readonly<Record<string, unknown>>
  if (alg === 'ES256') {
    if (kty !== 'EC' || crv !== 'P-256' || !isCoordinate(x) || !isCoordinate(y)) return undefined
    return { kty, crv, x, y, alg }
  }
  if (kty !== 'RSA' || e !== 'AQAB' || !isModulus(n)) return undefined
  return { kty, n, e, alg }
}

/** The public and private members in `jwk`, any others dropped; `undefined` if one of them is missing. */
export function privateHalf(alg: SigningAlg, jwk: unknown): JsonWebKey | undefined {
  const half = publicHalf(alg, jwk)
  if (half === undefined) return undefined
  const members = Object.entries(jwk as Readonly<Record<string, unknown>>)
  const secret = members.filter(([name]) => PRIVATE_MEMBERS[alg].includes(name))
  const complete = secret.length === PRIVATE_MEMBERS[alg].length
  if (!complete || secret.some(([, value]) => typeof value !== 'string')) return undefined
  return { ...half, ...Object.fromEntries(secret) }
}

function isCoordinate(value: unknown): value is string {
  return typeof value === 'string' && fromBase64url(value)?.length === 32
}

/** Whether `value` is a number of enough bits in the fewest bytes: one key has one spelling, so one thumbprint. */
function isModulus(value: unknown): value is string {
  const bytes = typeof value === 'string' ? fromBase64url(value) : undefined
  const [first] = bytes ?? []
  if (bytes === undefined || first === undefined || first === 0) return false
  return bytes.length * 8 - Math.clz32(first) + 24 >= RSA_MIN_BITS
}
