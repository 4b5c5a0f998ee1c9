/**
 * DPoP proofs: who sends one holds the private half of the key inside, now and for this request (RFC 9449). Whether that
 * is the key a token is bound to, and that a proof is used only once, is for the caller to see to.
 */
import { calculateJwkThumbprint } from 'jose'
import * as v from 'valibot'
import { fromBase64url, sha256, toBase64url } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'
import { type ClientSigningJwk, isSigningKey, readKeys } from './client-keys.ts'
import { isSignedBy, readCompactJws } from './compact-jws.ts'

/** How long after `iat` a proof is good, and how far ahead `iat` may be; in seconds (5-security 81). */
const OLDEST = 60
const AHEAD = 30
/** How much longer its `jti` is remembered: the clock that forgets it may be another than the one that reads it. */
const LEEWAY = 10
/** Seconds. Milliseconds would be a date in the year 56000. */
const LAST_SECOND = 99_999_999_999

/** What is wrong with a proof: for the log. */
export type ProofFault =
  | 'malformed'
  | 'wrong_key'
  | 'wrong_signature'
  | 'wrong_claims'
  | 'wrong_method'
  | 'wrong_url'
  | 'wrong_time'
  | 'wrong_token'

/** `error` is for the sender, `why` for the log. */
export type ProofRefusal =
  | { readonly error: 'invalid_dpop_proof'; readonly why: ProofFault }
  | { readonly error: 'use_dpop_nonce'; readonly why: 'no_nonce' | 'old_nonce' }

/** What a proof must say to count for the request it came with. */
export interface ExpectedProof {
  /** As in the request: methods are upper or lower case for a reason. */
  readonly method: string
  /** The address of the request under the issuer; query and fragment don't matter. */
  readonly url: string
  /** Unix seconds. */
  readonly now: number
  /** The token that came beside the proof, if one did. */
  readonly accessToken?: string
  /** Whether a nonce is ours and young enough. */
  readonly isNonce: (nonce: string) => Promise<boolean>
}

export interface Proof {
  /** The RFC 7638 thumbprint of the key: what a token is bound to. */
  readonly jkt: string
  /** 1 to 256 characters of any kind. */
  readonly jti: string
  /** Until when `jti` has to be remembered, Unix seconds. */
  readonly expiresAt: number
}

/** Unknown members are ignored here, as RFC 9449 section 4.2 lets both header and claims be extended. */
const Header = v.object({
  typ: v.literal('dpop+jwt'),
  alg: v.string(),
  jwk: v.record(v.string(), v.unknown()),
})

const Claims = v.object({
  jti: v.pipe(v.string(), v.minLength(1), v.maxLength(256)),
  htm: v.string(),
  htu: v.string(),
  // A fraction is a NumericDate too (RFC 7519 section 2).
  iat: v.pipe(v.number(), v.finite(), v.minValue(0), v.maxValue(LAST_SECOND)),
  ath: v.exactOptional(v.string()),
  nonce: v.exactOptional(v.string()),
})

/** Whether `text` can be the thumbprint of a key, 32 bytes: the form of the parameter `dpop_jkt` (RFC 9449 section 10). */
export function isJkt(text: string): boolean {
  return fromBase64url(text)?.length === 32
}

/**
 * Whether `proof`, the value of the one `DPoP` header of a request, is what section 4.3 of RFC 9449 demands. Two headers
 * arrive joined by a comma and are no JWT any more. A missing or old nonce is only reported when nothing else is wrong:
 * whoever can't send a right proof has no use for a nonce.
 */
export async function verifyDpopProof(
  proof: string,
  expected: ExpectedProof,
): Promise<Result<Proof, ProofRefusal>> {
  const { now } = expected
  const jws = readCompactJws(proof)
  const header = v.safeParse(Header, jws?.header)
  if (jws === undefined || !header.success) return invalid('malformed')

  const key = await readPublicKey(header.output.jwk, header.output.alg)
  if (key === undefined) return invalid('wrong_key')
  if (!(await isSignedBy(jws, key))) return invalid('wrong_signature')

  const claims = v.safeParse(Claims, jws.payload)
  if (!claims.success) return invalid('wrong_claims')
  const { jti, htm, htu, iat, ath, nonce } = claims.output
  if (htm !== expected.method) return invalid('wrong_method')
  if (!isSameAddress(htu, expected.url)) return invalid('wrong_url')
  if (iat < now - OLDEST || iat > now + AHEAD) return invalid('wrong_time')
  if (expected.accessToken !== undefined) {
    const hash = toBase64url(await sha256(expected.accessToken))
    if (ath !== hash) return invalid('wrong_token')
  }

  if (nonce === undefined) return refuse({ error: 'use_dpop_nonce', why: 'no_nonce' })
  if (!(await expected.isNonce(nonce))) {
    return refuse({ error: 'use_dpop_nonce', why: 'old_nonce' })
  }
  const jkt = await calculateJwkThumbprint({ ...key })
  return ok({ jkt, jti, expiresAt: Math.ceil(iat) + OLDEST + LEEWAY })
}

function invalid(why: ProofFault): Result<never, ProofRefusal> {
  return refuse({ error: 'invalid_dpop_proof', why })
}

/**
 * The key in a proof, under the rules for keys that a client registers: nothing secret in it, every member in its one
 * spelling (one key has one thumbprint), no RSA key that is work for us, and none of another algorithm than `alg`.
 */
async function readPublicKey(
  jwk: Readonly<Record<string, unknown>>,
  alg: string,
): Promise<ClientSigningJwk | undefined> {
  // What it says of its own use or name doesn't matter, and a name is what a registered key must have.
  const [key] = (await readKeys([{ ...jwk, kid: 'proof', use: 'sig', alg }])) ?? []
  return key !== undefined && isSigningKey(key) ? key : undefined
}

// Without `@` and, anywhere, without blanks, controls and backslashes: `URL` would drop or turn them.
const HTTP_ADDRESS = /^https?:\/\/[A-Za-z0-9._~:[\]-]+(?:[/?#][\x21-\x5b\x5d-\x7e]*)?$/i

/** Whether two addresses are the same but for query, fragment and what RFC 3986 section 6.2 calls normal. */
function isSameAddress(htu: string, url: string): boolean {
  const address = withoutQuery(htu)
  return address !== undefined && address === withoutQuery(url)
}

/** Scheme and host in lower case, no default port, no dot segments; `undefined` when it is no http address. */
function withoutQuery(text: string): string | undefined {
  if (!HTTP_ADDRESS.test(text) || !URL.canParse(text)) return undefined
  const { origin, pathname } = new URL(text)
  return `${origin}${pathname}`
}
