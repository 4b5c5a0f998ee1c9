import { toBase64url } from '../bytes.ts'
import type { MasterSecret } from '../keys/master-secret.ts'
import { openBox, sealBox } from '../keys/sealed-box.ts'

/** What a result code says to us, and to nobody else: what must still stand when it is redeemed. */
export interface CodeContent {
  readonly tokenId: string
  readonly enrollmentId: string
  /** The Service VDS by which the login was begun; a code of the version before says nothing of it. */
  readonly vds?: string | null
}

/**
 * A code that a page carries to its back end. It is sealed to ourselves, so that redemption can ask D1 about the person in
 * the same query as about the service, without the page learning a tokenId. `random` is 12 + 16 bytes.
 */
export async function makeCode(
  master: MasterSecret,
  sessionId: string,
  content: CodeContent,
  random: Uint8Array,
): Promise<string> {
  const { tokenId, enrollmentId, vds } = content
  const unique = toBase64url(random.slice(12))
  const plaintext = JSON.stringify({ tokenId, enrollmentId, vds, unique })
  return sealBox(master, 'token', plaintext, contextOf(sessionId), random.slice(0, 12))
}

/** The content of a code of `sessionId`, or `undefined` when it is none of ours. */
export async function readCode(
  master: MasterSecret,
  sessionId: string,
  code: string,
): Promise<CodeContent | undefined> {
  const opened = await openBox(master, 'token', code, contextOf(sessionId))
  return opened && JSON.parse(new TextDecoder().decode(opened))
}

function contextOf(sessionId: string): string {
  return `direct code ${sessionId}`
}
