import { type KeyRing, type KeySnapshot, keyRing } from '../../../src/keys/key-ring.ts'
import type { MasterSecret } from '../../../src/keys/master-secret.ts'
import {
  isOfKind,
  type KeyKind,
  type KeyPurpose,
  type KeyStatus,
  makeSigningKey,
  type StoredKey,
  wrapPrivateJwk,
} from '../../../src/keys/signing-key.ts'
import { secretOf } from './secrets.ts'

export const ISSUER = 'https://id.example.com'
export const NOW = 1_000_000
export const master = secretOf([1, 1])

let drawn = 0

/** Never the same twelve bytes twice. */
export function random12(): Uint8Array {
  drawn += 1
  return new Uint8Array(12).fill(drawn % 256).with(0, drawn >> 8)
}

/** A table of keys in memory with the rule of the unique index, and a ring over it. */
export function house(stored: StoredKey[] = []) {
  const state = { time: NOW, loads: 0, fail: false, removed: [] as string[] }
  const memory = new Map<string, KeySnapshot>()
  const ringOf = (of: MasterSecret): KeyRing =>
    keyRing({
      master: of,
      issuer: ISSUER,
      now: () => state.time,
      load: async () => {
        state.loads += 1
        if (state.fail) throw new Error('D1 is away')
        return [...stored]
      },
      insert: async (key) => {
        const taken = stored.some(
          (each) => isOfKind(each, key as KeyKind) && each.status === 'active',
        )
        if (!taken) stored.push(key)
      },
      isRemoved: async (kid) => state.removed.includes(kid),
      random12,
      memory,
    })
  return { state, stored, ring: ringOf(master), ringOf }
}

/** A new ES256 key as it is stored. */
export async function p256Key(
  status: KeyStatus = 'active',
  purpose: KeyPurpose = 'token',
): Promise<StoredKey> {
  const kind = { purpose, alg: 'ES256' } as const
  return { ...(await makeSigningKey(master, kind, random12(), 1)), status }
}

/** A new RS256 token key as it is stored. Slow: a file makes few and uses them often. */
export function rsaKey(): Promise<StoredKey> {
  return makeSigningKey(master, { purpose: 'token', alg: 'RS256' }, random12(), 1)
}

/** A key whose private half was replaced; the box is as genuine as any. */
export async function withPrivateJwk(key: StoredKey, privateJwk: object): Promise<StoredKey> {
  const { purpose, kid } = key
  const wrappedPrivateKey = await wrapPrivateJwk(master, purpose, kid, privateJwk, random12())
  return { ...key, wrappedPrivateKey }
}
