import { type MasterSecret, parseMasterSecret } from '../../../src/keys/master-secret.ts'

/** A reproducible secret text of 32 bytes; `seed` makes it another one. */
export function secretText(seed: number): string {
  const bytes = Uint8Array.from({ length: 32 }, (_, i) => (i * 37 + seed * 101 + 11) % 256)
  return Buffer.from(bytes).toString('base64url')
}

/** The parsed secret of versions like `2:1` for version 2 made of seed 1; the first is current. */
export function secretOf(
  ...versions: readonly (readonly [version: number, seed: number])[]
): MasterSecret {
  const parsed = parseMasterSecret(
    versions.map(([v, seed]) => `${v}:${secretText(seed)}`).join(','),
  )
  if (!parsed.ok) throw new Error(parsed.reason)
  return parsed.value
}
