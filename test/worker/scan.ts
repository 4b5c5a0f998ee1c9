/** A phone in front of a screen: it reads the moving QR and the app link of a login as the wire says, and answers them. */
import { fromBase64url, toBase64url, utf8 } from '../../src/bytes.ts'
import { formIn, type Tab, waitingIn } from './relying-party.ts'
import { type Answer, freshAddress, type Person, post, type Statement } from './world.ts'

/** What a page draws its QR from. */
export interface Qr {
  readonly url: string
  readonly key: string
  readonly now: number
}

/** What a page of ours that waits for a phone shows of its login. */
export interface Shown {
  readonly sessionId: string
  readonly qr: Qr
  readonly link: string
}

/** The QR and the link of a waiting page. */
export function shownIn(page: Answer): Shown {
  const member = (name: string) =>
    new RegExp(`data-qr-${name}="([^"]*)"`).exec(String(page.body))?.[1] ?? ''
  return {
    sessionId: waitingIn(page).sessionId,
    qr: { url: member('url'), key: member('key'), now: Number(member('now')) },
    link: /<a id="qr-link" href="([^"]*)"/.exec(String(page.body))?.[1] ?? '',
  }
}

/** The proof that the QR shows at `at`: half an HMAC over the number of the two seconds (2-protocol section 4). */
export async function proofAt({ key }: Pick<Qr, 'key'>, at = Date.now()): Promise<string> {
  const hmac = { name: 'HMAC', hash: 'SHA-256' }
  const raw = fromBase64url(key) ?? new Uint8Array()
  const imported = await crypto.subtle.importKey('raw', raw, hmac, false, ['sign'])
  const mac = await crypto.subtle.sign('HMAC', imported, utf8(String(Math.floor(at / 2000))))
  return toBase64url(new Uint8Array(mac).slice(0, 16))
}

/** What stands behind the `#` of an address that a QR or a link opens. */
export function readAddress(url: string): {
  readonly sessionId: string
  readonly proof: string
  readonly kind: string
} {
  const [sessionId = '', proof = '', kind = ''] = new URL(url).hash.slice(1).split('.')
  return { sessionId, proof, kind }
}

/** The claim of a phone that came by the login `via` a screen with `proof`. */
export function claimVia(
  person: Person,
  sessionId: string,
  via: 'camera' | 'link',
  proof: string | undefined,
  bend: Statement = {},
): Promise<Answer> {
  return person.claim(sessionId, { ...bend, payload: { via, proof, ...bend.payload } })
}

/** The phone scans what the screen shows at `at`. */
export async function scan(person: Person, qr: Qr, at = Date.now()): Promise<Answer> {
  return claimVia(person, readAddress(qr.url).sessionId, 'camera', await proofAt(qr, at))
}

/** The app is opened by the link. */
export function follow(person: Person, link: string): Promise<Answer> {
  const { sessionId, proof } = readAddress(link)
  return claimVia(person, sessionId, 'link', proof)
}

/** From the request to the page that shows a QR. */
export async function beginScan(
  tab: Tab,
  changes: Record<string, string | undefined> = {},
): Promise<Answer> {
  return showQr(tab, await tab.authorize(changes))
}

/** Presses "Show a QR code", or the button for the next one; from another address, whose limit is the subject of its own test. */
export function showQr(tab: Tab, page: Answer): Promise<Answer> {
  const form = formIn(page.body, '/login/scan')
  return tab.send('POST', '/login/scan', form, { 'CF-Connecting-IP': freshAddress() })
}

/** What a person says of a service. */
export interface Said {
  readonly service: string
  /** The text of the Service VDS that it is about. */
  readonly text: string
  readonly trusted?: boolean
  readonly sessionId?: string
}

/** The body of `/device/trust`, whole and right, but for `bend`. */
export async function trustBody(
  person: Person,
  { service, text, trusted = true, sessionId }: Said,
  bend: Statement = {},
): Promise<{ statement: string }> {
  const vds = toBase64url(new Uint8Array(await crypto.subtle.digest('SHA-256', utf8(text))))
  const { tokenId } = person
  const said = { tokenId, service, vds, trusted, ...(sessionId && { sessionId }) }
  return { statement: await person.sign('idtoken-trust+jwt', said, bend) }
}

/** A person says that he trusts a service, or no longer does. */
export async function sayTrust(person: Person, said: Said, bend: Statement = {}): Promise<Answer> {
  return post('/device/trust', await trustBody(person, said, bend))
}
