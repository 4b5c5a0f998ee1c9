/**
 * The authorization code: `<base64url of the object's 32 id bytes>.<sealed box>`. The box says whom the code belongs to and
 * what must be proven for it, so that the token endpoint can check everything before it wakes the object; that the code
 * is spent once, only the object decides (5-security 4.5).
 */
import * as v from 'valibot'
import { fromBase64url, toBase64url } from '../bytes.ts'
import type { MasterSecret } from '../keys/master-secret.ts'
import { sealBox } from '../keys/sealed-box.ts'
import { openContent, sealedNumber, sealedText } from './grant.ts'

/** How long a code is good for after its issue. */
export const CODE_SECONDS = 60
/** How many random bytes `makeCode` takes: a nonce of 12, and a secret of 128 bits. */
export const CODE_RANDOM_BYTES = 28

const NONCE_BYTES = 12
const ID_BYTES = 32
const MAX_LENGTH = 8 * 1024

export interface CodeContent {
  readonly tokenId: string
  readonly enrollmentId: string
  readonly grantId: string
  readonly clientId: string
  readonly trustLevel: 1 | 2 | 3
  /** As it stood in the authorization request, character by character. */
  readonly redirectUri: string
  /** Null when the request had none. */
  readonly codeChallenge: string | null
  /** The thumbprint of the key that must be proved at the token endpoint (RFC 9449 section 10); null: none was named. */
  readonly dpopJkt: string | null
  /** The resource that was asked for (RFC 8707); null: none. */
  readonly resource: string | null
  /** Unix seconds. */
  readonly issuedAt: number
}

export interface ReadCode extends CodeContent {
  readonly sessionId: string
}

const contentSchema = v.strictObject({
  tokenId: sealedText,
  enrollmentId: sealedText,
  grantId: sealedText,
  clientId: sealedText,
  trustLevel: v.picklist([1, 2, 3]),
  redirectUri: sealedText,
  codeChallenge: v.nullable(sealedText),
  dpopJkt: v.nullable(sealedText),
  resource: v.nullable(sealedText),
  issuedAt: sealedNumber,
  secret: sealedText,
})

/**
 * The code of the approved login `sessionId` (`sess_` and 64 hexadecimal digits). `random28`: fresh random bytes.
 * @throws RangeError for another sessionId or too few random bytes: both are faults of the caller
 */
export async function makeCode(
  master: MasterSecret,
  sessionId: string,
  content: CodeContent,
  random28: Uint8Array,
): Promise<string> {
  const hex = /^sess_([0-9a-f]{64})$/.exec(sessionId)?.[1]
  if (hex === undefined) throw new RangeError('a code needs the id of a login')
  if (random28.length !== CODE_RANDOM_BYTES) throw new RangeError('a code needs 28 random bytes')
  const { tokenId, enrollmentId, grantId, clientId, trustLevel } = content
  const { redirectUri, codeChallenge, dpopJkt, resource, issuedAt } = content
  const plaintext = JSON.stringify({
    tokenId,
    enrollmentId,
    grantId,
    clientId,
    trustLevel,
    redirectUri,
    codeChallenge,
    dpopJkt,
    resource,
    issuedAt,
    secret: toBase64url(random28.slice(NONCE_BYTES)),
  })
  const nonce = random28.slice(0, NONCE_BYTES)
  const box = await sealBox(master, 'token', plaintext, contextOf(sessionId), nonce)
  return `${toBase64url(bytesOfHex(hex))}.${box}`
}

/**
 * What a code says, or `undefined` when it is none of ours: unknown, truncated, extended, with letters of another case, or
 * with the id of another login (5-security 69). Its age is not judged here, see `isAlive`: a genuine code that comes too
 * late or again still names the grant that must die for it (5-security 73).
 */
export async function readCode(master: MasterSecret, code: string): Promise<ReadCode | undefined> {
  if (code.length > MAX_LENGTH) return undefined
  const [, id, box] = /^([A-Za-z0-9_-]{43})\.([A-Za-z0-9_.-]+)$/.exec(code) ?? []
  const bytes = fromBase64url(id ?? '')
  if (box === undefined || bytes?.length !== ID_BYTES) return undefined
  const sessionId = `sess_${hexOfBytes(bytes)}`
  const opened = await openContent(master, 'token', box, contextOf(sessionId), contentSchema)
  if (opened === undefined) return undefined
  const { secret: _secret, ...content } = opened
  return { sessionId, ...content }
}

/** Whether a code issued at `issuedAt` may still be spent at `now`; both in Unix seconds. */
export function isAlive({ issuedAt }: Pick<CodeContent, 'issuedAt'>, now: number): boolean {
  return now - issuedAt < CODE_SECONDS
}

function contextOf(sessionId: string): string {
  return `oidc code ${sessionId}`
}

function bytesOfHex(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) =>
    Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16),
  )
}

function hexOfBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
