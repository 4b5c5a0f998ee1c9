/**
 * Reading back an id token of our own: what a service sends as `id_token_hint` (OpenID Connect RP-Initiated Logout
 * section 2). It says who was meant and never logs anybody in.
 */
import * as v from 'valibot'
import { fromBase64url, toBase64url, utf8 } from '../bytes.ts'
import { WEB_CRYPTO } from './algorithms.ts'
import { headerOf, type SigningKey } from './signing-key.ts'

/** The `typ` of tokens for services. */
export const TOKEN_TYP = 'JWT'

/** The longest token that is looked at, in characters (5-security 116). */
const LIMIT = 16 * 1024
/** How far the clock of another isolate may be ahead, in seconds. */
const LEEWAY = 60
/** Seconds. Milliseconds would be a date in the year 56000. */
const LAST_SECOND = 99_999_999_999

const seconds = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(LAST_SECOND))

export interface ReadIdToken {
  readonly payload: Readonly<Record<string, unknown>>
  /** The key that signed it. */
  readonly kid: string
}

/**
 * The payload of `jws` and its signer if one of `keys` signed it as an id token of `issuer`, else `undefined`. `aud` is one string, and
 * whether it is the client at hand is for the caller to compare. An expired one counts: its `exp` is not compared.
 * @param now Unix seconds
 */
export async function readIdToken(
  jws: string,
  keys: readonly SigningKey[],
  issuer: string,
  now: number,
): Promise<ReadIdToken | undefined> {
  if (jws.length > LIMIT) return undefined
  const [head = '', body = '', tail = '', ...more] = jws.split('.')
  // A sender's header is never parsed. Ours has one spelling per key, so nothing in it can be chosen by the sender: no
  // algorithm, key, address or `crit` (5-security 109 to 115).
  const key = keys.find((each) => head === headerText(each))
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

function headerText(key: SigningKey): string {
  return toBase64url(utf8(JSON.stringify(headerOf(key, TOKEN_TYP))))
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
