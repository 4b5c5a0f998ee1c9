/**
 * Somebody else's compact JWS: the client assertion and the DPoP proof are read and verified here, and nowhere is a
 * member of the header acted upon that the sender could choose a key, an address or a rule by (5-security 109 to 123).
 */
import { type Bytes, fromBase64url, utf8 } from '../bytes.ts'
import { type ClientSigningAlg, type ClientSigningJwk, signingAlgOf } from './client-keys.ts'

/** The longest text that is looked at, in characters (5-security 116): a proof with a 4096-bit key needs 3,000. */
const JWS_LIMIT = 8 * 1024

type JsonObject = Readonly<Record<string, unknown>>

/** A text of the right form; nothing is known yet of who signed it. */
export interface CompactJws {
  readonly header: JsonObject
  readonly payload: JsonObject
  readonly signed: Bytes
  readonly signature: Bytes
}

/**
 * Members that change what a signature means or say where a key is. Whoever must understand them (`crit`) would have to
 * refuse them, whoever follows the others would let the sender choose the key.
 */
const FORBIDDEN_MEMBERS = ['crit', 'b64', 'jku', 'x5u', 'x5c']

/**
 * The parts of `text` if it is three parts of canonical base64url, the first two of them JSON objects, and its header
 * has none of the forbidden members; else `undefined`. Which other members it may have, and what they say, is for the
 * caller to check. Five parts are a JWE, and none is ever decrypted (5-security 123).
 */
export function readCompactJws(text: string): CompactJws | undefined {
  if (text.length > JWS_LIMIT) return undefined
  const parts = text.split('.')
  const [head = '', body = '', tail = ''] = parts
  const header = parseObject(head)
  const payload = parseObject(body)
  const signature = fromBase64url(tail)
  if (parts.length !== 3 || header === undefined || payload === undefined) return undefined
  if (signature === undefined) return undefined
  if (FORBIDDEN_MEMBERS.some((name) => Object.hasOwn(header, name))) return undefined
  return { header, payload, signed: utf8(`${head}.${body}`), signature }
}

/**
 * Whether `jwk` signed `jws`, with the one algorithm such a key signs with. What its header says of that is for the caller
 * to compare. Numbers that are no key have signed nothing.
 */
export async function isSignedBy(jws: CompactJws, jwk: ClientSigningJwk): Promise<boolean> {
  const alg = signingAlgOf(jwk)
  // Not every platform's Web Crypto promises to refuse another length, or DER (5-security 118).
  if (alg !== 'PS256' && jws.signature.length !== 64) return false
  const algorithm = WEB_CRYPTO[alg]
  try {
    const key = await crypto.subtle.importKey('jwk', { ...jwk }, algorithm, false, ['verify'])
    return await crypto.subtle.verify(algorithm, key, jws.signature, jws.signed)
  } catch {
    return false
  }
}

/** For import and verifying alike: Web Crypto takes of it what each act needs. */
const WEB_CRYPTO = {
  ES256: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  PS256: { name: 'RSA-PSS', hash: 'SHA-256', saltLength: 32 },
  EdDSA: { name: 'Ed25519' },
} as const satisfies Readonly<Record<ClientSigningAlg, object>>

function parseObject(segment: string): JsonObject | undefined {
  const bytes = fromBase64url(segment)
  if (bytes === undefined) return undefined
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
