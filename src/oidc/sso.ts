/**
 * Single sign-on (1-architecture decision 9): one sealed cookie per client remembers what a person granted to that client,
 * and may answer the same client again, for no more than that. It never widens what the person approved, and it is no
 * proof that the enrollment still stands: the caller asks D1 afresh before it answers.
 */
import * as v from 'valibot'
import { sha256, toBase64url } from '../bytes.ts'
import { ATOMIC_SCOPES, type AtomicScope, isSubset } from '../disclosure/scopes.ts'
import { type HostCookieName, readCookies } from '../http/cookies.ts'
import type { MasterSecret } from '../keys/master-secret.ts'
import { sealBox } from '../keys/sealed-box.ts'
import { type Grant, grantSchema, openContent, sealedNumber } from './grant.ts'

/** How long after the person's approval the cookie answers. */
export const SSO_SECONDS = 8 * 3600
/** How many such cookies a browser keeps, the newest. */
export const SSO_COOKIES = 8
/** Name and value together; browsers promise 4096 with the attributes (RFC 6265 section 6.1). */
export const SSO_COOKIE_BYTES = 3500
/** All of them together: servers and proxies on the way refuse long headers. */
export const SSO_COOKIES_BYTES = 10 * 1024
/** How many cookies of that name are looked at: whoever sends more has not got them from us. */
const SSO_COOKIES_READ = 2 * SSO_COOKIES
const SSO_COOKIE_PREFIX = '__Host-sso-'
const SSO_COOKIE_NAME = /^__Host-sso-[A-Za-z0-9_-]{8}$/

export interface SsoSession {
  /** `claims` without `picture`; `sid` is that of the login. */
  readonly grant: Grant
  /** The atoms that were granted. */
  readonly scopes: readonly AtomicScope[]
  /** Whether `offline_access` was granted. */
  readonly offlineAccess: boolean
  /** Whether `email` was granted. */
  readonly email: boolean
  /** Unix seconds: when this cookie was made, which is later than the login when it was renewed. */
  readonly issuedAt: number
}

const sessionSchema = v.strictObject({
  grant: grantSchema,
  scopes: v.array(v.picklist(ATOMIC_SCOPES)),
  offlineAccess: v.boolean(),
  email: v.boolean(),
  issuedAt: sealedNumber,
}) satisfies v.GenericSchema<unknown, SsoSession>

/** The cookie's name for a client. Eight characters may collide: whose cookie it is, the content says. */
export async function ssoCookieName(clientId: string): Promise<HostCookieName> {
  return `${SSO_COOKIE_PREFIX}${toBase64url(await sha256(clientId)).slice(0, 8)}`
}

/**
 * The cookie of `session`, or `undefined` when it would be too long for a browser: then this client simply has no single
 * sign-on. The portrait is left out, whoever put it in. `random12`: twelve fresh random bytes.
 */
export async function sealSso(
  master: MasterSecret,
  session: SsoSession,
  random12: Uint8Array,
): Promise<{ readonly name: HostCookieName; readonly value: string } | undefined> {
  const { scopes, offlineAccess, email, issuedAt } = session
  const { picture: _picture, ...claims } = session.grant.claims
  const grant = { ...session.grant, claims }
  const plaintext = JSON.stringify({ grant, scopes, offlineAccess, email, issuedAt })
  const name = await ssoCookieName(grant.clientId)
  const value = await sealBox(master, 'cookie', plaintext, contextOf(name), random12)
  return name.length + value.length > SSO_COOKIE_BYTES ? undefined : { name, value }
}

/**
 * The session in the cookie `name`, or `undefined` when it is none of ours, was another cookie's value, or is over at
 * `now` (Unix seconds).
 */
export async function openSso(
  master: MasterSecret,
  name: string,
  value: string,
  now: number,
): Promise<SsoSession | undefined> {
  if (name.length + value.length > SSO_COOKIE_BYTES) return undefined
  const session = await openContent(master, 'cookie', value, contextOf(name), sessionSchema)
  return session !== undefined && now - session.grant.authTime < SSO_SECONDS ? session : undefined
}

/** A cookie of a session, and what is in it; `undefined` when it means nothing any more. */
export interface SsoCookie {
  readonly name: HostCookieName
  readonly bytes: number
  readonly session: SsoSession | undefined
}

/** The session cookies in a `Cookie` header. */
export async function ssoCookiesIn(
  master: MasterSecret,
  cookieHeader: string | null,
  now: number,
): Promise<readonly SsoCookie[]> {
  const named = [...readCookies(cookieHeader, SSO_COOKIE_PREFIX)]
    .filter((entry): entry is [HostCookieName, string] => SSO_COOKIE_NAME.test(entry[0]))
    .slice(0, SSO_COOKIES_READ)
  return Promise.all(
    named.map(async ([name, value]) => ({
      name,
      bytes: name.length + value.length,
      session: await openSso(master, name, value, now),
    })),
  )
}

/** What of an authorization request decides whether a session may answer it. */
export interface SsoRequest {
  readonly clientId: string
  readonly scopes: readonly AtomicScope[]
  readonly offlineAccess: boolean
  readonly email: boolean
  /** The highest of what the request and the client record demand. */
  readonly minTrustLevel: 1 | 2 | 3
  /** Seconds; null when not sent. */
  readonly maxAge: number | null
  /** Who must answer, by hint or `claims`; every one has to be the person. Empty: anybody. */
  readonly expectedSubs: readonly string[]
}

/** `yes`, or the OAuth error that says what only the phone can give. */
export type SsoVerdict =
  | 'yes'
  | 'login_required'
  | 'consent_required'
  | 'unmet_authentication_requirements'

/**
 * Whether `session` may answer `request` at `now` (4-oidc section 3.2). When to ask this at all (`prompt=none`, or
 * `max_age` without `prompt`) is the caller's matter.
 */
export function mayAnswer(session: SsoSession, request: SsoRequest, now: number): SsoVerdict {
  const { grant } = session
  if (request.clientId !== grant.clientId) return 'login_required'
  if (!request.expectedSubs.every((sub) => sub === grant.sub)) return 'login_required'
  if (request.maxAge !== null && !isYoungEnough(grant.authTime, request.maxAge, now)) {
    return 'login_required'
  }
  if (grant.trustLevel < request.minTrustLevel) return 'unmet_authentication_requirements'
  const isWider =
    !isSubset(request.scopes, session.scopes) ||
    (request.offlineAccess && !session.offlineAccess) ||
    (request.email && !session.email)
  if (isWider) return 'consent_required'
  // Granted or not, the portrait is not in the cookie: only a new login brings it.
  return request.scopes.includes('identity:photo') ? 'login_required' : 'yes'
}

/** `max_age=0` asks the phone even in the second of the approval. */
function isYoungEnough(authTime: number, maxAge: number, now: number): boolean {
  return maxAge > 0 && now - authTime <= maxAge
}

/** The names of the cookies to expire, so that the newest stay: eight of them, and as many as fit together. */
export function overflow(
  cookies: readonly {
    readonly name: HostCookieName
    readonly bytes: number
    readonly session: Pick<SsoSession, 'issuedAt'>
  }[],
): readonly HostCookieName[] {
  const newestFirst = cookies.toSorted(
    (one, other) => other.session.issuedAt - one.session.issuedAt,
  )
  let bytes = 0
  return newestFirst
    .filter((cookie, place) => {
      bytes += cookie.bytes
      return place >= SSO_COOKIES || bytes > SSO_COOKIES_BYTES
    })
    .map(({ name }) => name)
}

function contextOf(cookieName: string): string {
  return `oidc sso ${cookieName}`
}
