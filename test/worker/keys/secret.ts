import { type MasterSecret, parseMasterSecret } from '../../../src/keys/master-secret.ts'

/** A parsed secret of its own for each `seed`. */
export function secretOf(seed: number): MasterSecret {
  const bytes = Uint8Array.from({ length: 32 }, (_, i) => (i * 37 + seed * 101 + 11) % 256)
  const parsed = parseMasterSecret(btoa(String.fromCharCode(...bytes)))
  if (!parsed.ok) throw new Error(parsed.reason)
  return parsed.value
}
