import { toBase64url } from '../bytes.ts'
import type { MasterSecret } from '../keys/master-secret.ts'
import { openBox, sealBox } from '../keys/sealed-box.ts'
import { personMark } from './hosted/browser.ts'

/**
 * What a completion code says to us, and to nobody else: enough to ask who looks at the window that the app opened, before
 * the login's object is asked.
 */
export interface CompletionContent {
  /** SHA-256 of the cookie of the browser that began, base64url. */
  readonly browser: string
  /** Who has approved. */
  readonly tokenId: string
  /** Where he signs in, as it is shown. */
  readonly service: string
  readonly origin: string
}

/**
 * The code that an app brings back to the browser that began the login `sessionId` (2-protocol section 4): the end of the
 * number and the mark of its person, by which the page that reads it knows what to ask, and a sealed box. `random` is
 * 12 + 16 bytes: the sixteen make it a secret that is compared as a whole, whatever it says.
 */
export async function makeCompletion(
  master: MasterSecret,
  sessionId: string,
  { browser, tokenId, service, origin }: CompletionContent,
  random: Uint8Array<ArrayBuffer>,
): Promise<string> {
  const unique = toBase64url(random.slice(12))
  const plaintext = JSON.stringify({ browser, tokenId, service, origin, unique })
  const context = contextOf(sessionId)
  const sealed = await sealBox(master, 'session', plaintext, context, random.slice(0, 12))
  return [tokenId.slice(-4), await personMark(browser, tokenId), sealed].join('.')
}

/** The content of a completion code of `sessionId`, or `undefined` when it is none of ours. */
export async function readCompletion(
  master: MasterSecret,
  sessionId: string,
  completion: string,
): Promise<CompletionContent | undefined> {
  const [, shown, sealed = ''] = /^([^.]{4})\.[^.]{16}\.(.+)$/.exec(completion) ?? []
  const opened = await openBox(master, 'session', sealed, contextOf(sessionId))
  if (opened === undefined) return undefined
  const content: CompletionContent = JSON.parse(new TextDecoder().decode(opened))
  // What the page has shown to whoever pressed its button.
  return content.tokenId.slice(-4) === shown ? content : undefined
}

function contextOf(sessionId: string): string {
  return `completion ${sessionId}`
}
