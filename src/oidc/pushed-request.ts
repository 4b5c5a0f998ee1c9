/**
 * The reference to a pushed authorization request (RFC 9126): the whole request, sealed to ourselves inside the
 * `request_uri`. It was read and checked when it was pushed, so what the browser brings can't be changed by anybody, and a
 * request that nobody opens leaves nothing behind. It names the login it begins, which is what makes it good for one.
 */
import type { MasterSecret } from '../keys/master-secret.ts'
import { openBox, sealBox } from '../keys/sealed-box.ts'
import type { AuthorizationRequest } from './authorization-request.ts'

/** How long a pushed request may be opened. */
export const PUSHED_SECONDS = 60
/** RFC 9126 section 2.2. */
const URN = 'urn:ietf:params:oauth:request_uri:'
/** In characters: with it the address of the browser stays inside what we read ourselves, also after a POST. */
const MAX_LENGTH = 10 * 1024
/** The number changes with the shape of a request: one that another version of the code read is none of ours. */
const CONTEXT = 'oidc pushed request 1'

export interface PushedRequest {
  readonly request: AuthorizationRequest
  /** Who must answer; see `OidcState`. */
  readonly expectedSubs: readonly string[]
  /** The login that this request begins. */
  readonly sessionId: string
  /** Unix seconds. */
  readonly pushedAt: number
}

/** Whether `requestUri` has the form of a reference of ours, which says nothing of its worth. */
export function isPushedReference(requestUri: string | undefined): requestUri is string {
  return requestUri?.startsWith(URN) === true
}

/** The `request_uri` for `pushed`, `undefined` when it would be too long. `random12`: twelve fresh random bytes. */
export async function sealPushedRequest(
  master: MasterSecret,
  pushed: PushedRequest,
  random12: Uint8Array,
): Promise<string | undefined> {
  const box = await sealBox(master, 'token', JSON.stringify(pushed), CONTEXT, random12)
  return box.length <= MAX_LENGTH ? `${URN}${box}` : undefined
}

/** The request behind `requestUri`, or `undefined` when it is none of ours or may not be opened any more at `now`. */
export async function openPushedRequest(
  master: MasterSecret,
  requestUri: string,
  now: number,
): Promise<PushedRequest | undefined> {
  if (!isPushedReference(requestUri) || requestUri.length > URN.length + MAX_LENGTH)
    return undefined
  const opened = await openBox(master, 'token', requestUri.slice(URN.length), CONTEXT)
  if (opened === undefined) return undefined
  const pushed: PushedRequest = JSON.parse(new TextDecoder().decode(opened))
  return now < pushed.pushedAt + PUSHED_SECONDS ? pushed : undefined
}
