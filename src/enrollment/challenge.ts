import { fromBase64url, toBase64url } from '../bytes.ts'
import { deriveKey, hmacSha256, verifyHmacOfAnyVersion } from '../keys/derive.ts'
import type { MasterSecret } from '../keys/master-secret.ts'

/** How long a challenge is good for, in seconds. */
export const CHALLENGE_SECONDS = 120

/**
 * A challenge that keeps no state: its expiry, 16 random bytes, and a MAC over both and the issuer, so that another
 * deployment's challenge is worth nothing here (5-security 138).
 */
export async function makeChallenge(
  master: MasterSecret,
  issuer: string,
  expiresAt: number,
  random16: Uint8Array,
): Promise<string> {
  const body = `${expiresAt}.${toBase64url(random16)}`
  const mac = await hmacSha256(await deriveKey(master, 'challenge'), issuer, body)
  return `${body}.${toBase64url(mac)}`
}

/** Whether `challenge` is one of ours and not over at `now` (Unix seconds). */
export async function isChallengeGood(
  master: MasterSecret,
  issuer: string,
  challenge: string,
  now: number,
): Promise<boolean> {
  const [expiresAt = '', random = '', tail = '', ...rest] = challenge.split('.')
  const mac = fromBase64url(tail)
  if (mac === undefined || rest.length > 0) return false
  const ours = await verifyHmacOfAnyVersion(
    master,
    'challenge',
    mac,
    issuer,
    `${expiresAt}.${random}`,
  )
  return ours && now <= Number(expiresAt)
}
