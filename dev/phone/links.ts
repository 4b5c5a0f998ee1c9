/** The texts that a phone scans, is pasted, or is opened with (2-protocol section 4), taken apart. */

/** How a phone came by a login, as its claim says it. */
export type Way =
  | { readonly via: 'push' }
  | { readonly via: 'camera' | 'link'; readonly proof: string }

/** What a text asks of the phone. `vds`: the text of a Service VDS, verified by nobody yet. */
export type Scanned =
  | { readonly kind: 'login'; readonly sessionId: string; readonly way: Way }
  | { readonly kind: 'service'; readonly vds: string; readonly sessionId: string | undefined }

/** camera_only: who sends somebody the QR of his own screen as a link must not have it taken for a look at that screen. */
export type TextFault = 'not_ours' | 'other_provider' | 'camera_only'

const LOGIN = /^(sess_[0-9a-f]{64})\.([A-Za-z0-9_-]{22})(\.link)?\s*$/
/** A Service VDS may well end with a blank. */
const SERVICE = /^(?:(sess_[0-9a-f]{64})\.)?(HC1:[^\r\n]+)[\r\n]*$/

/**
 * What `text` asks. `homes` are the beginnings of the addresses that are ours, up to and with their `#`. `opened`: the phone
 * was opened with it, so that nobody can have looked at a screen.
 */
export function readText(
  text: string,
  homes: readonly string[],
  opened = false,
): Scanned | TextFault {
  const start = text.trimStart()
  const home = homes.find((one) => start.startsWith(one))
  if (home === undefined && /^https?:/i.test(start)) {
    return /\/l#sess_/.test(start) ? 'other_provider' : 'not_ours'
  }
  const rest = start.slice(home?.length ?? 0)
  const [, sessionId, vds] = SERVICE.exec(rest) ?? []
  if (vds !== undefined) return { kind: 'service', vds, sessionId }
  const [, login, proof, link] = LOGIN.exec(rest) ?? []
  if (login === undefined || proof === undefined) return 'not_ours'
  if (link !== undefined) return { kind: 'login', sessionId: login, way: { via: 'link', proof } }
  if (opened) return 'camera_only'
  return { kind: 'login', sessionId: login, way: { via: 'camera', proof } }
}

/**
 * The text in the fragment `hash` of an address. A browser that is given the text of a QR as an address escapes the blanks of a
 * Service VDS and leaves its `%` as they are; who makes a link escapes both, and the colon of `HC1:` too.
 */
export function textOfFragment(hash: string): string {
  const fragment = hash.replace(/^#/, '')
  if (fragment.includes('HC1:')) return fragment.replaceAll('%20', ' ')
  try {
    return decodeURIComponent(fragment)
  } catch {
    return fragment
  }
}
