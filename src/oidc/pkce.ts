import { equalText, sha256, toBase64url } from '../bytes.ts'

/** Whether `verifier` is well formed (RFC 7636 section 4.1) and `challenge` is its S256; compared in constant time. */
export async function isVerifierOf(verifier: string, challenge: string): Promise<boolean> {
  if (!/^[A-Za-z0-9._~-]{43,128}$/.test(verifier)) return false
  return equalText(challenge, toBase64url(await sha256(verifier)))
}

/**
 * Whether what came with a code keeps what its authorization request promised. A missing verifier is never a pass, and
 * neither is a verifier without a challenge: that is how PKCE is talked away (RFC 9700 section 2.1.1).
 */
export async function keepsPromise(
  challenge: string | null,
  verifier: string | undefined,
): Promise<boolean> {
  if (challenge === null) return verifier === undefined
  return verifier !== undefined && (await isVerifierOf(verifier, challenge))
}
