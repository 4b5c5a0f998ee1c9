/**
 * What proves that a phone has seen the screen of a login (2-protocol section 4): the moving proof of its QR, which the
 * page computes anew every two seconds, and the standing proof of its app link. Their keys differ, so that nobody turns a
 * link that was sent to him into a camera that looked (5-security 358). All times here are Unix milliseconds.
 */
import { type Bytes, equalText, toBase64url, utf8 } from '../bytes.ts'
import { deriveKey, hmacSha256 } from '../keys/derive.ts'
import type { MasterSecret } from '../keys/master-secret.ts'

/** The attempt that a proof is of. */
export interface Screen {
  readonly sessionId: string
  readonly attempt: number
}

/** What a page draws the QR of a login from: the text is `url` and behind it the proof of the moment. */
export interface MovingQr {
  readonly url: string
  /** The key of this attempt's proofs, base64url. Whoever holds it may draw the QR, which is the page alone. */
  readonly key: string
  /** The server's clock, Unix milliseconds: the page counts the steps from it and not from a clock of its own. */
  readonly now: number
}

/** expired: the QR did show it, but longer ago than `FRESH_MS`. */
export type ProofVerdict = 'fresh' | 'expired' | 'forged'

const STEP_MS = 2_000
const FRESH_MS = 10_000
/** No attempt lives longer than 120 s, so that whatever is older than this is none of its proofs anyway. */
const LOOK_BACK_MS = 180_000
/** HMAC-SHA256, cut to half: 128 bits that have to be guessed within ten seconds. */
const PROOF_BYTES = 16

/** What the page of this attempt needs for its moving QR. `issuer`: the configured URL, without a slash at its end. */
export async function qrOf(
  master: MasterSecret,
  issuer: string,
  screen: Screen,
  now: number,
): Promise<MovingQr> {
  const key = await keyOf(master, 'qr', master.current, screen)
  return { url: urlOf(issuer, screen), key: toBase64url(key), now }
}

/**
 * The app link of this attempt, `{issuer}/l#{sessionId}.{proof}.link`. It does not move: it is good as long as the attempt
 * is open, which the session knows and not the link.
 */
export async function linkOf(
  master: MasterSecret,
  issuer: string,
  screen: Screen,
): Promise<string> {
  const proof = await linkProofOf(master, master.current, screen)
  return `${urlOf(issuer, screen)}${proof}.link`
}

/**
 * What `proof` is worth: whether it was on the screen of this attempt within the last ten seconds of the server's clock, or
 * one step ahead of it, since the page may have its time from another machine of ours. A link's proof has no age, it is
 * `fresh` or `forged`; and the proof of one way is forged on the other. Proofs made with an older listed secret go on
 * working (5-security 321).
 *
 * Constant time: every step of a window is compared, whichever is equal. Whether the second window had to be searched, the
 * answer tells as well.
 */
export async function judgeProof(
  master: MasterSecret,
  screen: Screen,
  via: 'camera' | 'link',
  proof: string | null,
  now: number,
): Promise<ProofVerdict> {
  if (proof === null) return 'forged'
  const versions = [...master.versions.keys()]
  if (via === 'link') {
    const proofs = versions.map((version) => linkProofOf(master, version, screen))
    return (await isAnyOf(proofs, proof)) ? 'fresh' : 'forged'
  }
  const ahead = Math.floor(now / STEP_MS) + 1
  const firstFresh = Math.ceil((now - FRESH_MS) / STEP_MS)
  const firstKnown = Math.ceil((now - LOOK_BACK_MS) / STEP_MS)
  const keys = await Promise.all(
    versions.map(async (version) => importProofKey(await keyOf(master, 'qr', version, screen))),
  )
  const isOfSteps = (first: number, last: number) =>
    isAnyOf(
      keys.flatMap((key) => stepsOf(first, last).map((step) => proofOf(key, String(step)))),
      proof,
    )
  if (await isOfSteps(firstFresh, ahead)) return 'fresh'
  return (await isOfSteps(firstKnown, firstFresh - 1)) ? 'expired' : 'forged'
}

function urlOf(issuer: string, { sessionId }: Screen): string {
  return `${issuer}/l#${sessionId}.`
}

async function keyOf(
  master: MasterSecret,
  label: 'qr' | 'link',
  version: number,
  { sessionId, attempt }: Screen,
): Promise<Bytes> {
  return hmacSha256(await deriveKey(master, label, version), sessionId, String(attempt))
}

async function linkProofOf(master: MasterSecret, version: number, screen: Screen): Promise<string> {
  const mac = await keyOf(master, 'link', version, screen)
  return toBase64url(mac.subarray(0, PROOF_BYTES))
}

function importProofKey(key: Bytes): Promise<CryptoKey> {
  return crypto.subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
}

/** What the page computes as well, in `hosted/scan-script.ts`: nothing but the step in decimal digits goes into it. */
async function proofOf(key: CryptoKey, step: string): Promise<string> {
  const mac = new Uint8Array(await crypto.subtle.sign('HMAC', key, utf8(step)))
  return toBase64url(mac.subarray(0, PROOF_BYTES))
}

function stepsOf(first: number, last: number): number[] {
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i)
}

/** Whether `proof` is one of `proofs`; all of them are compared. */
async function isAnyOf(proofs: readonly Promise<string>[], proof: string): Promise<boolean> {
  let found = false
  for (const one of await Promise.all(proofs)) found = equalText(one, proof) || found
  return found
}
