/**
 * `private_key_jwt`: a client proves who it is with a JWT that its registered key signed (RFC 7523 sections 2.2 and 3,
 * FAPI 2.0 section 5.3.2.1). That an assertion is used only once is for the caller, who has the store, to see to.
 */
import * as v from 'valibot'
import { ok, type Result, refuse } from '../result.ts'
import { type ClientSigningJwk, signingAlgOf } from './client-keys.ts'
import { isSignedBy, readCompactJws } from './compact-jws.ts'

/** The one `client_assertion_type` there is. */
export const CLIENT_ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/** How far ahead `exp` may be, in seconds. */
const LONGEST_LIFE = 300
/** What `exp` may be further ahead, and how much longer a `jti` is remembered: two clocks are never the same. */
const LEEWAY = 10
/** How far ahead `iat` and `nbf` may be, in seconds (5-security 62, 121). */
const AHEAD = 30
/** Seconds. Milliseconds would be a date in the year 56000. */
const LAST_SECOND = 99_999_999_999

/** What is wrong with an assertion: for the log. The client always reads `invalid_client`. */
export type AssertionFault =
  | 'malformed'
  | 'wrong_alg'
  | 'unknown_key'
  | 'wrong_signature'
  | 'wrong_claims'
  | 'wrong_client'
  | 'wrong_audience'
  | 'expired'
  | 'expires_too_late'
  | 'from_the_future'

const name = v.pipe(v.string(), v.minLength(1), v.maxLength(256))
// A fraction is a NumericDate too (RFC 7519 section 2).
const seconds = v.pipe(v.number(), v.finite(), v.minValue(0), v.maxValue(LAST_SECOND))

/** The header: these members and no others. The two hashes of a certificate are what some libraries add; nobody looks. */
const Header = v.strictObject({
  alg: v.string(),
  kid: name,
  typ: v.exactOptional(v.picklist(['JWT', 'client-authentication+jwt'])),
  x5t: v.exactOptional(name),
  'x5t#S256': v.exactOptional(name),
})

/** Unknown claims are ignored (RFC 7523 section 3). */
const Claims = v.object({
  iss: v.string(),
  sub: v.string(),
  // One string: a list could name us beside others, and who receives it there could use it here (FAPI 2.0).
  aud: v.string(),
  exp: seconds,
  iat: v.exactOptional(seconds),
  nbf: v.exactOptional(seconds),
  jti: name,
})

/**
 * The client that `assertion` claims to come from, for a form without `client_id` (RFC 7521 section 4.2), or
 * `undefined`. Nothing is proven by it; 1 to 256 characters of any kind.
 */
export function clientOfAssertion(assertion: string): string | undefined {
  const sub = v.safeParse(name, readCompactJws(assertion)?.payload.sub)
  return sub.success ? sub.output : undefined
}

/**
 * Whether `assertion` proves at `now` (Unix seconds) that its sender is `client`: signed by the key of `keys` that it
 * names, with the algorithm of that key, for `issuer` and nobody else. The answer is
 * what the caller has to remember, and until when (Unix seconds), so that the assertion can't be used again.
 */
export async function verifyClientAssertion(
  assertion: string,
  client: { readonly clientId: string; readonly keys: readonly ClientSigningJwk[] },
  issuer: string,
  now: number,
): Promise<Result<{ readonly jti: string; readonly expiresAt: number }, AssertionFault>> {
  const jws = readCompactJws(assertion)
  const header = v.safeParse(Header, jws?.header)
  if (jws === undefined || !header.success) return refuse('malformed')

  const { alg, kid } = header.output
  const key = client.keys.find((each) => each.kid === kid)
  if (key === undefined) return refuse('unknown_key')
  if (alg !== signingAlgOf(key)) return refuse('wrong_alg')
  if (!(await isSignedBy(jws, key))) return refuse('wrong_signature')

  const read = v.safeParse(Claims, jws.payload)
  if (!read.success) return refuse('wrong_claims')
  const { iss, sub, aud, exp, iat = 0, nbf = 0, jti } = read.output
  if (iss !== client.clientId || sub !== client.clientId) return refuse('wrong_client')
  if (aud !== issuer) return refuse('wrong_audience')
  if (exp <= now) return refuse('expired')
  if (exp > now + LONGEST_LIFE + LEEWAY) return refuse('expires_too_late')
  if (Math.max(iat, nbf) > now + AHEAD) return refuse('from_the_future')
  return ok({ jti, expiresAt: Math.ceil(exp) + LEEWAY })
}
