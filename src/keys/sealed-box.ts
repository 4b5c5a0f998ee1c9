/**
 * A sealed box: bytes that only this server can read again, and only for the label and context they were sealed for.
 * AES-256-GCM under the derived key of the label; text form `<version of the secret>.<base64url(iv ‖ ciphertext)>`.
 * One key must seal fewer than 2^32 boxes (NIST SP 800-38D section 8.3, random nonces); rotating the secret starts over.
 */
import { type Bytes, concat, fromBase64url, toBase64url, utf8 } from '../bytes.ts'
import { deriveKey, type KeyLabel } from './derive.ts'
import type { MasterSecret } from './master-secret.ts'

const NONCE_BYTES = 12
const TAG_BYTES = 16

/**
 * Seals `plaintext` with the current version.
 * @param context what the box belongs to; authenticated, not stored
 * @param random12 twelve fresh random bytes; using them twice under one label breaks both boxes
 */
export async function sealBox(
  master: MasterSecret,
  label: KeyLabel,
  plaintext: Uint8Array | string,
  context: string,
  random12: Uint8Array,
): Promise<string> {
  if (random12.length !== NONCE_BYTES) throw new RangeError('a sealed box needs 12 random bytes')
  const key = await boxKey(master, label, master.current, 'encrypt')
  const bytes = typeof plaintext === 'string' ? utf8(plaintext) : new Uint8Array(plaintext)
  const ciphertext = await crypto.subtle.encrypt(algorithm(random12, context), key, bytes)
  return `${master.current}.${toBase64url(concat(random12, new Uint8Array(ciphertext)))}`
}

/** The content of a box, or `undefined` for any text that this server did not seal for `label` and `context`. */
export async function openBox(
  master: MasterSecret,
  label: KeyLabel,
  text: string,
  context: string,
): Promise<Bytes | undefined> {
  const [, digits, body] = /^([1-9]\d{0,3})\.([A-Za-z0-9_-]+)$/.exec(text) ?? []
  const version = Number(digits)
  const box = fromBase64url(body ?? '')
  if (box === undefined || box.length < NONCE_BYTES + TAG_BYTES) return undefined
  if (!master.versions.has(version)) return undefined

  const key = await boxKey(master, label, version, 'decrypt')
  const nonce = box.subarray(0, NONCE_BYTES)
  try {
    const ciphertext = box.subarray(NONCE_BYTES)
    const plaintext = await crypto.subtle.decrypt(algorithm(nonce, context), key, ciphertext)
    return new Uint8Array(plaintext)
  } catch {
    return undefined
  }
}

/** Keys that were made already, by version, label and use: plain values, not to be exported, gone with their secret. */
const boxKeys = new WeakMap<MasterSecret, Map<string, CryptoKey>>()

async function boxKey(
  master: MasterSecret,
  label: KeyLabel,
  version: number,
  usage: 'encrypt' | 'decrypt',
): Promise<CryptoKey> {
  const known = boxKeys.get(master) ?? new Map<string, CryptoKey>()
  const name = `${version} ${label} ${usage}`
  const key = known.get(name) ?? (await makeBoxKey(master, label, version, usage))
  boxKeys.set(master, known.set(name, key))
  return key
}

async function makeBoxKey(
  master: MasterSecret,
  label: KeyLabel,
  version: number,
  usage: 'encrypt' | 'decrypt',
): Promise<CryptoKey> {
  const bytes = await deriveKey(master, label, version)
  return crypto.subtle.importKey('raw', bytes, 'AES-GCM', false, [usage])
}

function algorithm(nonce: Uint8Array, context: string) {
  return { name: 'AES-GCM', iv: new Uint8Array(nonce), additionalData: utf8(context) }
}
