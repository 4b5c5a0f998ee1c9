import { fromBase64url, toBase64url } from '../bytes.ts'
import { deriveKey, hmacSha256, verifyHmacOfAnyVersion } from '../keys/derive.ts'
import type { MasterSecret } from '../keys/master-secret.ts'

/** The bearer value that opens the socket of `sessionId`: base64url of an HMAC over it. */
export async function socketToken(master: MasterSecret, sessionId: string): Promise<string> {
  return toBase64url(await hmacSha256(await deriveKey(master, 'socket'), sessionId))
}

/** Whether `token` opens the socket of `sessionId`; tokens of an older listed secret go on working (5-security 321). */
export async function isSocketToken(
  master: MasterSecret,
  sessionId: string,
  token: string,
): Promise<boolean> {
  const mac = fromBase64url(token)
  return mac !== undefined && verifyHmacOfAnyVersion(master, 'socket', mac, sessionId)
}
