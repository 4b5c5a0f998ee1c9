import { makeSigningKey, type StoredKey } from '../../../src/keys/signing-key.ts'
import { secretOf } from './secret.ts'

let made: StoredKey | undefined

/** An RS256 token key under `secretOf(1)`: made once, because it takes long, and stored where a ring would make another. */
export async function rsaKey(): Promise<StoredKey> {
  const kind = { purpose: 'token', alg: 'RS256' } as const
  const random12 = crypto.getRandomValues(new Uint8Array(12))
  made ??= await makeSigningKey(secretOf(1), kind, random12, 999_999)
  return made
}
