import { sha256, toBase64url, utf8 } from '../bytes.ts'

/** A proof that is good for one use: `id` names it among all proofs, `expiresAt` (Unix seconds) is when it ends anyway. */
export interface OneTimeProof {
  readonly id: string
  readonly expiresAt: number
}

/**
 * How a client assertion or a DPoP proof is remembered. `owner` is who signed it, by client id or key thumbprint: two of
 * them may choose the same `jti`. The id is a hash, so that what is stored can't be used for anything.
 */
export async function oneTimeProof(
  kind: 'assertion' | 'dpop',
  owner: string,
  { jti, expiresAt }: { readonly jti: string; readonly expiresAt: number },
): Promise<OneTimeProof> {
  return { id: toBase64url(await sha256(utf8(JSON.stringify([kind, owner, jti])))), expiresAt }
}
