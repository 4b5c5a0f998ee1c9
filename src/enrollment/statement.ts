/**
 * Device statements: the signed messages of the phone (2-protocol section 2). One format and one verifier for every act.
 * A statement is read in two steps, because the key that must have signed it is found by what it says.
 */
import * as v from 'valibot'
import { fromBase64url, utf8 } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'
import { type DeviceKey, importVerifyKey } from './device-key.ts'

export const TokenId = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/),
)
export const SessionId = v.pipe(v.string(), v.regex(/^sess_[0-9a-f]{64}$/))
const digest = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/))
const opaque = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_.-]{1,256}$/))
// Seconds. Milliseconds would be a date in the year 56000, and mean a client that misread the protocol.
const issuedAt = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(99_999_999_999))

/** A device's own name for itself, any text without controls: shown, escaped, and never trusted (5-security 13, 152). */
export const DeviceId = v.pipe(v.string(), v.regex(/^[^\p{Cc}\p{Cs}]{1,128}$/u))

const proof = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{22}$/))
const ofLogin = { tokenId: TokenId, sessionId: SessionId }
const always = { aud: v.pipe(v.string(), v.maxLength(512)), iat: issuedAt }

/** Payloads by `typ`: exactly these members and no others. */
const PAYLOADS = {
  'idtoken-enroll+jwt': v.strictObject({
    ...always,
    // Not a fault of the statement: whoever leaves it out has not asked for one yet (5-security 138).
    challenge: v.optional(opaque),
    seal: digest,
    deviceId: DeviceId,
    fcm: v.optional(digest),
    enc: v.optional(digest),
  }),
  'idtoken-pending+jwt': v.strictObject({ ...always, tokenId: TokenId }),
  // What was rung needs no proof; who scanned or followed a link has one (2-protocol section 4).
  'idtoken-claim+jwt': v.variant('via', [
    v.strictObject({ ...always, ...ofLogin, via: v.literal('push') }),
    v.strictObject({ ...always, ...ofLogin, via: v.picklist(['camera', 'link']), proof }),
  ]),
  'idtoken-approve+jwt': v.strictObject({
    ...always,
    tokenId: TokenId,
    sessionId: SessionId,
    nonce: opaque,
    otp: v.pipe(v.string(), v.regex(/^[0-9]{6}$/)),
    service: opaque,
    origin: v.pipe(v.string(), v.maxLength(512)),
    grantedScopes: v.pipe(
      v.array(v.pipe(v.string(), v.maxLength(64))),
      v.maxLength(32),
      v.check((scopes) => scopes.every((scope, i) => i === 0 || (scopes[i - 1] ?? '') < scope)),
    ),
    seal: digest,
  }),
  'idtoken-deny+jwt': v.strictObject({
    ...always,
    tokenId: TokenId,
    sessionId: SessionId,
    nonce: opaque,
    reason: v.picklist(['declined', 'not_me']),
  }),
  'idtoken-trust+jwt': v.strictObject({
    ...always,
    tokenId: TokenId,
    service: opaque,
    vds: digest,
    trusted: v.boolean(),
    sessionId: v.optional(SessionId),
  }),
  'idtoken-update+jwt': v.strictObject({
    ...always,
    tokenId: TokenId,
    fcm: v.optional(digest),
    enc: v.optional(digest),
  }),
} as const

export type StatementType = keyof typeof PAYLOADS
export type Payload<T extends StatementType> = v.InferOutput<(typeof PAYLOADS)[T]>

/** A statement that has the right form; nothing is known yet of who signed it. */
export interface Statement<T extends StatementType> {
  readonly kid: string
  readonly payload: Payload<T>
  readonly signed: Uint8Array<ArrayBuffer>
  readonly signature: Uint8Array<ArrayBuffer>
}

const Header = v.strictObject({
  alg: v.literal('ES256'),
  typ: v.string(),
  kid: digest,
})

/** The largest statement we look at, in characters (5-security 116). */
export const STATEMENT_LIMIT = 8 * 1024

/**
 * The statement in the compact JWS `jws`, if it is one of `typ` for `issuer`. The header holds `alg`, `typ` and `kid` and
 * nothing else: no key, address or `crit` of the sender's is ever considered (5-security 109 to 118, 136).
 */
export function readStatement<T extends StatementType>(
  jws: string,
  typ: T,
  issuer: string,
): Result<Statement<T>, 'invalid_statement'> {
  if (jws.length > STATEMENT_LIMIT) return refuse('invalid_statement')
  const parts = jws.split('.')
  const [head = '', body = '', tail = ''] = parts
  const signature = fromBase64url(tail)
  const header = v.safeParse(Header, parseSegment(head))
  const payload = v.safeParse(PAYLOADS[typ], parseSegment(body))
  if (
    parts.length !== 3 ||
    signature?.length !== 64 ||
    !header.success ||
    header.output.typ !== typ ||
    !payload.success ||
    payload.output.aud !== issuer
  ) {
    return refuse('invalid_statement')
  }
  return ok({
    kid: header.output.kid,
    payload: payload.output as Payload<T>,
    signed: utf8(`${head}.${body}`),
    signature,
  })
}

/** Whether `key` is the key that `statement` names and has signed it. */
export async function isSignedBy(
  statement: Statement<StatementType>,
  key: DeviceKey,
): Promise<boolean> {
  if (statement.kid !== key.thumbprint) return false
  return crypto.subtle.verify(
    { name: 'ECDSA', hash: 'SHA-256' },
    await importVerifyKey(key.jwk),
    statement.signature,
    statement.signed,
  )
}

/** Whether `iat` is within 30 s of `now` (Unix seconds): the rule for acts that no login deadline guards. */
export function isFresh(iat: number, now: number): boolean {
  return Math.abs(now - iat) <= 30
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
