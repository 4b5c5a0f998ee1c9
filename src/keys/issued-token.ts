/**
 * Reading back a token that this server signed itself: an id_token that a service sends as a hint or to exchange it, an
 * access token that a gateway asks about. It says what was signed; whether that still counts is for the caller to ask.
 */
import * as v from 'valibot'
import { fromBase64url, toBase64url, utf8 } from '../bytes.ts'
import { WEB_CRYPTO } from './algorithms.ts'
import { headerOf, type SigningKey } from './signing-key.ts'

/** The `typ` of each kind of token for services; one is never read in place of another (5-security 115). */
export const TOKEN_TYP = { token: 'JWT', access: 'at+jwt', logout: 'logout+jwt' } as const
export type TokenTyp = (typeof TOKEN_TYP)[keyof typeof TOKEN_TYP]

/** The longest token that is looked at, in characters (5-security 116). */
const LIMIT = 16 * 1024
/** How far the clock of another isolate may be ahead, in seconds. */
const LEEWAY = 60
/** Seconds. Milliseconds would be a date in the year 56000. */
const LAST_SECOND = 99_999_999_999

const seconds = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(LAST_SECOND))

export interface IssuedToken {
  readonly payload: Readonly<Record<string, unknown>>
  /** The key that signed it. */
  readonly kid: string
}

/**
 * The payload of `jws` and its signer if one of `keys` signed it as a token of type `typ` of `issuer`, else `undefined`.
 * `aud` is one string, and whether it is the one at hand is for the caller to compare. An expired one counts: its `exp` is
 * not compared.
 * @param now Unix seconds
 */
export async function readIssuedToken(
  jws: string,
  typ: TokenTyp,
  keys: readonly SigningKey[],
  issuer: string,
  now: number,
): Promise<IssuedToken | undefined> {
  if (jws.length > LIMIT) return undefined
  const [head = '', body = '', tail = '', ...more] = jws.split('.')
  // A sender's header is never parsed. Ours has one spelling per key, so nothing in it can be chosen by the sender: no
  // algorithm, key, address or `crit` (5-security 109 to 115).
  const key = keys.find((each) => head === headerText(each, typ))
  const signature = fromBase64url(tail)
  if (key === undefined || signature === undefined || more.length > 0) return undefined

  const signed = utf8(`${head}.${body}`)
  const algorithm = WEB_CRYPTO[key.alg]
  if (!(await crypto.subtle.verify(algorithm, key.publicKey, signature, signed))) return undefined

  const notAhead = v.pipe(seconds, v.maxValue(now + LEEWAY))
  const payload = v.looseObject({
    iss: v.literal(issuer),
    sub: v.pipe(v.string(), v.minLength(1)),
    aud: v.pipe(v.string(), v.minLength(1)),
    exp: seconds,
    iat: notAhead,
    nbf: v.optional(notAhead),
  })
  const read = v.safeParse(payload, parseSegment(body))
  return read.success ? { payload: read.output, kid: key.publicJwk.kid } : undefined
}

function headerText(key: SigningKey, typ: TokenTyp): string {
  return toBase64url(utf8(JSON.stringify(headerOf(key, typ))))
}

function parseSegment(segment: string): unknown {
  const bytes = fromBase64url(segment)
  if (bytes === undefined) return undefined
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch {
    return undefined
  }
}
