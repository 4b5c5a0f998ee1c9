import { fromBase64url, toBase64url } from '../bytes.ts'
import { deriveKey, hmacSha256, verifyHmacOfAnyVersion } from '../keys/derive.ts'
import type { MasterSecret } from '../keys/master-secret.ts'

/** How many minutes a nonce is good for after the one it was made in. */
const MINUTES = 5

/**
 * The nonce of the minute that `now` (Unix seconds) is in, for the `DPoP-Nonce` header (RFC 9449 section 8): the minute
 * and a MAC over it, so that nothing is stored and nobody can make the nonce of a minute to come. It is the same for
 * everyone; what makes a proof single is its `jti`.
 */
export async function dpopNonce(master: MasterSecret, now: number): Promise<string> {
  const minute = String(minuteOf(now))
  return `${minute}.${toBase64url(await hmacSha256(await deriveKey(master, 'dpop'), minute))}`
}

/**
 * Whether `text` is a nonce of ours, made with any listed version of the secret in this minute or one of the five before
 * it: good for five minutes at least, and less than six. One of the next minute comes from an isolate whose clock is ahead.
 */
export async function isDpopNonce(
  master: MasterSecret,
  text: string,
  now: number,
): Promise<boolean> {
  const [, minute = '', tail = ''] = /^([0-9]{1,10})\.([A-Za-z0-9_-]{43})$/.exec(text) ?? []
  const age = minuteOf(now) - Number(minute)
  // The MAC is asked last: a text that is too old for us costs nothing.
  if (minute === '' || age < -1 || age > MINUTES) return false
  const mac = fromBase64url(tail)
  return mac !== undefined && verifyHmacOfAnyVersion(master, 'dpop', mac, minute)
}

function minuteOf(now: number): number {
  return Math.floor(now / 60)
}
