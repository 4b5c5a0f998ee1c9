/**
 * Keys derived from the master secret, one per label, and HMAC over parts that cannot run into each other. Knowing the
 * key of one label tells nothing of another's (5-security 344).
 */
import { type Bytes, concat, utf8 } from '../bytes.ts'
import type { MasterSecret } from './master-secret.ts'

/** What a derived key may be for. A closed list, so that a typing slip cannot make a new key. */
export type KeyLabel =
  | 'otp'
  | 'cookie'
  | 'token'
  | 'wrap'
  | 'pairwise'
  | 'socket'
  | 'session'
  | 'inbox'
  | 'challenge'
  | 'audit'
  | 'address'
  | 'dpop'
  | 'qr'
  | 'link'

/**
 * What was derived already, by version and label: an isolate needs the same dozen keys some twenty times in each login.
 * Plain values beside the secret that they come from, and gone with it.
 */
const derived = new WeakMap<MasterSecret, Map<string, ArrayBuffer>>()

/**
 * The 32-byte key of `label`: HKDF-SHA256 with empty salt and `idtoken-edge/1/<label>` as info.
 * @throws RangeError for a version that is not listed: that is a fault of the caller, who took it from `master`
 */
export async function deriveKey(
  master: MasterSecret,
  label: KeyLabel,
  version: number = master.current,
): Promise<Bytes> {
  const secret = master.versions.get(version)
  if (secret === undefined) throw new RangeError('no such version of the master secret')
  const known = derived.get(master) ?? new Map<string, ArrayBuffer>()
  const name = `${version} ${label}`
  const bits = known.get(name) ?? (await deriveBits(secret, label))
  derived.set(master, known.set(name, bits))
  // Whoever gets a copy may do with it what he likes.
  return new Uint8Array(bits.slice(0))
}

async function deriveBits(secret: Bytes, label: KeyLabel): Promise<ArrayBuffer> {
  const input = await crypto.subtle.importKey('raw', secret, 'HKDF', false, ['deriveBits'])
  return crypto.subtle.deriveBits(
    {
      name: 'HKDF',
      hash: 'SHA-256',
      salt: new Uint8Array(),
      info: utf8(`idtoken-edge/1/${label}`),
    },
    input,
    256,
  )
}

/**
 * The lowest listed version: for `pairwise`, `inbox`, `audit` and `address`, whose results are compared with results of
 * years ago. A rotation that lists the old secret last leaves them unchanged: the `sub` that a service knows a person
 * by (5-security 345), the name of the object that holds a person's limits, the pseudonym in the audit. Dropping the
 * lowest version changes them all at once, so that it is an act of its own and never a side effect of a rotation.
 */
export function stableVersion(master: MasterSecret): number {
  return Math.min(...master.versions.keys())
}

/**
 * HMAC-SHA256 over `parts`, each preceded by its length in four bytes: `ab`, `c` and `a`, `bc` are different inputs
 * (5-security 135).
 */
export async function hmacSha256(
  key: Uint8Array,
  ...parts: readonly (Uint8Array | string)[]
): Promise<Bytes> {
  const imported = await importHmacKey(key, 'sign')
  return new Uint8Array(await crypto.subtle.sign('HMAC', imported, framed(parts)))
}

/** Whether `mac` is the HMAC of `parts`; in constant time, and `false` for a value of any other length. */
export async function verifyHmac(
  key: Uint8Array,
  mac: Uint8Array,
  ...parts: readonly (Uint8Array | string)[]
): Promise<boolean> {
  const imported = await importHmacKey(key, 'verify')
  return crypto.subtle.verify('HMAC', imported, new Uint8Array(mac), framed(parts))
}

/**
 * Whether `mac` was made with the key of `label` of any listed version, so that a rotation of the secret does not end
 * what was begun before it (5-security 321).
 */
export async function verifyHmacOfAnyVersion(
  master: MasterSecret,
  label: KeyLabel,
  mac: Uint8Array,
  ...parts: readonly (Uint8Array | string)[]
): Promise<boolean> {
  for (const version of master.versions.keys()) {
    const key = await deriveKey(master, label, version)
    if (await verifyHmac(key, mac, ...parts)) return true
  }
  return false
}

function importHmacKey(key: Uint8Array, usage: 'sign' | 'verify'): Promise<CryptoKey> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' }
  return crypto.subtle.importKey('raw', new Uint8Array(key), algorithm, false, [usage])
}

function framed(parts: readonly (Uint8Array | string)[]): Bytes {
  return concat(
    ...parts.flatMap((part) => {
      const bytes = typeof part === 'string' ? utf8(part) : part
      const length = new Uint8Array(4)
      new DataView(length.buffer).setUint32(0, bytes.length)
      return [length, bytes]
    }),
  )
}
