/**
 * The strict compact JWS of the trust list, the revocation list and the enrollment grant: ES256, a header of exactly
 * `alg`, `typ` and `kid`, canonical base64url, a JSON payload. Because the header is exact, nothing in it can change what
 * is verified or bring a key along (`crit`, `b64`, `jwk`, `jku`, `x5c`: RFC 7515 section 4.1, RFC 8725 section 3).
 */
import * as v from 'valibot'
import { type Bytes, fromBase64url, utf8 } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'
import { type PublicJwk, verifyP256 } from './p256.ts'

export type JwsFault =
  | 'too_long'
  | 'bad_form'
  | 'bad_header'
  | 'unknown_key'
  | 'bad_signature'
  | 'bad_payload'

/** What a compact JWS must be: its `typ`, its most characters, and the key behind a `kid`, if that kid is accepted. */
export interface JwsRule {
  readonly typ: string
  readonly maxLength: number
  readonly keyOf: (kid: string) => Promise<PublicJwk | undefined>
}

/** The JSON payload of `jws` when it keeps `rule` and its signature verifies; any text gives a `Result`. */
export async function openJws(jws: string, rule: JwsRule): Promise<Result<unknown, JwsFault>> {
  if (jws.length > rule.maxLength) return refuse('too_long')
  const parts = jws.split('.', 4)
  const [head = '', body = '', tail = ''] = parts
  const header = fromBase64url(head)
  const payload = fromBase64url(body)
  const signature = fromBase64url(tail)
  if (parts.length !== 3 || !header || !payload || !signature) return refuse('bad_form')

  const schema = v.strictObject({
    alg: v.literal('ES256'),
    typ: v.literal(rule.typ),
    kid: v.pipe(v.string(), v.minLength(1), v.maxLength(200)),
  })
  const parsed = v.safeParse(schema, readJson(header))
  if (!parsed.success) return refuse('bad_header')

  const key = await rule.keyOf(parsed.output.kid)
  if (key === undefined) return refuse('unknown_key')
  if (!(await verifyP256(key, signature, utf8(`${head}.${body}`)))) return refuse('bad_signature')

  const content = readJson(payload)
  return content === undefined ? refuse('bad_payload') : ok(content)
}

/** The JSON value of UTF-8 `bytes`, or `undefined`. */
function readJson(bytes: Bytes): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch {
    return undefined
  }
}
