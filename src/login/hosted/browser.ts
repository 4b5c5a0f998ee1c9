/** The cookie that ties a hosted login to the browser that began it. It logs nobody in (2-protocol section 4). */
import { fromBase64url, sha256, toBase64url } from '../../bytes.ts'
import { cookie, readCookie } from '../../http/cookies.ts'

const NAME = '__Host-browser'
/** Kept across logins: 400 days is the longest that browsers allow (RFC 6265bis section 5.5). */
const MAX_AGE = 400 * 24 * 3600

export interface Browser {
  /** SHA-256 of the cookie, base64url: the form in which it is stored and compared. */
  readonly hash: string
  /** The `Set-Cookie` header for a browser that had none. */
  readonly setCookie: string | null
}

/** The SHA-256 of the cookie that names this browser, base64url; `undefined` without one (5-security 48). */
export async function browserHashOf(cookieHeader: string | null): Promise<string | undefined> {
  const value = readCookie(cookieHeader, NAME)
  const bytes = value === undefined ? undefined : fromBase64url(value)
  return bytes?.length === 16 ? toBase64url(await sha256(bytes)) : undefined
}

/** This browser, with a new cookie if it has none. `random16`: 128 fresh bits. */
export async function browserOf(
  cookieHeader: string | null,
  random16: Uint8Array<ArrayBuffer>,
): Promise<Browser> {
  const known = await browserHashOf(cookieHeader)
  if (known !== undefined) return { hash: known, setCookie: null }
  return {
    hash: toBase64url(await sha256(random16)),
    setCookie: cookie(NAME, toBase64url(random16), { maxAge: MAX_AGE }),
  }
}

const DONE = '__Host-done'
const DONE_MAX_AGE = 15 * 60
const DONE_MOST = 8

/**
 * The `Set-Cookie` header by which a browser remembers that it has taken the result of `sessionId` on. The object may be
 * gone by then; this keeps the back button from beginning the same login again (5-security 43). It only ever refuses.
 */
export async function rememberDone(
  cookieHeader: string | null,
  sessionId: string,
): Promise<string> {
  const names = new Set([await doneName(sessionId), ...doneNames(cookieHeader)])
  return cookie(DONE, [...names].slice(0, DONE_MOST).join('.'), { maxAge: DONE_MAX_AGE })
}

/** Whether this browser has taken the result of `sessionId` on. */
export async function isDone(cookieHeader: string | null, sessionId: string): Promise<boolean> {
  return doneNames(cookieHeader).includes(await doneName(sessionId))
}

function doneNames(cookieHeader: string | null): readonly string[] {
  return (readCookie(cookieHeader, DONE) ?? '').split('.').filter((name) => name !== '')
}

async function doneName(sessionId: string): Promise<string> {
  return toBase64url(await sha256(sessionId)).slice(0, 16)
}

const KNOWN = '__Host-known'
const KNOWN_MOST = 8

/** How a browser knows a person again: nobody else can tell from it who that is. */
export async function personMark(browserHash: string, tokenId: string): Promise<string> {
  return toBase64url(await sha256(`${browserHash} ${tokenId}`)).slice(0, 16)
}

/** The marks of those who have signed in in this browser. */
export function knownPeople(cookieHeader: string | null): readonly string[] {
  const marks = (readCookie(cookieHeader, KNOWN) ?? '').split('.')
  return marks.filter((mark) => /^[\w-]{16}$/.test(mark)).slice(0, KNOWN_MOST)
}

/** The `Set-Cookie` header by which a browser remembers who signed in in it; the eight latest (5-security 3.13). */
export async function rememberPerson(
  cookieHeader: string | null,
  browserHash: string,
  tokenId: string,
): Promise<string> {
  const marks = new Set([await personMark(browserHash, tokenId), ...knownPeople(cookieHeader)])
  return cookie(KNOWN, [...marks].slice(0, KNOWN_MOST).join('.'), { maxAge: MAX_AGE })
}
