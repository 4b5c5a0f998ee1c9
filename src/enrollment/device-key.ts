import { calculateJwkThumbprint, type JWK } from 'jose'
import { type Bytes, fromBase64url, toBase64url } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'

/** A public P-256 key and its RFC 7638 thumbprint: the one name under which a key is stored and compared. */
export interface DeviceKey {
  readonly jwk: {
    readonly kty: 'EC'
    readonly crv: 'P-256'
    readonly x: string
    readonly y: string
  }
  readonly thumbprint: string
}

/** The DER bytes that precede the point in the SubjectPublicKeyInfo of an uncompressed P-256 key (RFC 5480). */
const SPKI_PREFIX = [
  0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
  0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
]

/**
 * X coordinates of keys that everyone holds the private half of: the base point G (private key 1), and the keys printed
 * in RFC 7515 A.3, RFC 7517 A.1, RFC 6979 A.2.5 and RFC 8152 (5-security 130).
 */
const PUBLISHED_X: ReadonlySet<string> = new Set([
  'axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY',
  'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
  'MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4',
  'YP7UuiVanTHJYet0xjVtaMBJuJI7Yfps5mliLmDyn7Y',
  'usWxHK2PmfnHKwXPS54m0kTcGJ90UiglWiGahtagnv8',
  'Ze2loSV3wrroKUN_4zhwGhCqo3Xhu1td4QjeQ5wIVR0',
])

/**
 * The key in one SPKI PEM block with an uncompressed P-256 point. The label is upper case, lines end in LF or CRLF, a
 * final newline may be missing, and nothing may stand before, between or after (5-security 126 to 130).
 */
export async function readDeviceKey(pem: string): Promise<Result<DeviceKey, 'invalid_key'>> {
  const base64 =
    /^-----BEGIN PUBLIC KEY-----\r?\n((?:[A-Za-z0-9+/=]{1,76}\r?\n){1,4})-----END PUBLIC KEY-----(?:\r?\n)?$/
      .exec(pem)?.[1]
      ?.replace(/[\r\n]/g, '')
  if (base64 === undefined) return refuse('invalid_key')
  const der = decodeBase64(base64)
  if (der?.length !== 91 || SPKI_PREFIX.some((byte, i) => der[i] !== byte))
    return refuse('invalid_key')
  const point = der.slice(SPKI_PREFIX.length)
  return readPublicJwk({
    kty: 'EC',
    crv: 'P-256',
    x: toBase64url(point.slice(0, 32)),
    y: toBase64url(point.slice(32)),
  })
}

/**
 * The public P-256 key in `jwk`. Private members, another curve or a point that isn't on it are refused; members that a
 * public key may carry besides (`kid`, `use`, `alg`) are dropped.
 */
export async function readPublicJwk(jwk: JWK): Promise<Result<DeviceKey, 'invalid_key'>> {
  const { kty, crv, x, y } = jwk
  if (kty !== 'EC' || crv !== 'P-256' || 'd' in jwk) return refuse('invalid_key')
  if (!isCoordinate(x) || !isCoordinate(y) || PUBLISHED_X.has(x)) return refuse('invalid_key')
  const bare = { kty: 'EC', crv: 'P-256', x, y } as const
  try {
    // The import checks that the point is on the curve and not the point at infinity.
    await importVerifyKey(bare)
    return ok({ jwk: bare, thumbprint: await calculateJwkThumbprint(bare) })
  } catch {
    return refuse('invalid_key')
  }
}

/** `jwk` as a WebCrypto key for ES256 verification. Throws when it is no point of the curve. */
export function importVerifyKey(jwk: DeviceKey['jwk']): Promise<CryptoKey> {
  return crypto.subtle.importKey('jwk', jwk, { name: 'ECDSA', namedCurve: 'P-256' }, false, [
    'verify',
  ])
}

/** Whether `value` is 32 bytes in their one spelling: an import forgives others, and each would be another thumbprint. */
function isCoordinate(value: unknown): value is string {
  return typeof value === 'string' && fromBase64url(value)?.length === 32
}

function decodeBase64(text: string): Bytes | undefined {
  try {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
    return btoa(String.fromCharCode(...bytes)) === text ? bytes : undefined
  } catch {
    return undefined
  }
}
