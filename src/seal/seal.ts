/**
 * The identity seal as a structure: its two text forms, its header, its values, its signature. This file says what a seal
 * *is*; whether it is true is said by `verify.ts`, who a trusted signer is by `trust-list.ts`, and who is enrolled with
 * it by the enrollment room. The room owns seals, their trust list and their grants; it keeps nothing and fetches nothing.
 */
import { type Bytes, concat, fromBase64url, sha256, toBase64url } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'
import { decodeBase45 } from './base45.ts'
import { decodeC40 } from './c40.ts'
import { decodeValues } from './values.ts'

const MARKER = 0xde
const VERSION = 2
const HEADER_LENGTH = 17
const SIGNATURE_LENGTH = 64
const MAX_TEXT_LENGTH = 4096
const MAX_AUX_LENGTH = 512

/** A seal taken apart, of any manifest, trusted by nobody yet. */
export interface Seal {
  /** 4 characters: the certificate authority. */
  readonly caId: string
  /** 4 characters: the signer certificate of that authority. */
  readonly certId: string
  /** 6 upper-case hex digits; `0A0001` is an IDToken identity. */
  readonly manifest: string
  /** Unix seconds. */
  readonly createdAt: number
  readonly payload: Bytes
  readonly values: readonly unknown[]
  /** Raw r‖s, 64 bytes. */
  readonly signature: Bytes
  /** Header and SHA-256 of the payload, 49 bytes: what the signature is over. */
  readonly signedBytes: Bytes
  /** SHA-256 of header and payload, base64url: one seal has one, whatever its text or signature form. */
  readonly fingerprint: string
}

export type SealFault =
  | 'too_long'
  | 'unknown_form'
  | 'unknown_version'
  | 'bad_length'
  | 'bad_signer'
  | 'bad_payload'

/**
 * The structure of the seal in `text` (Base45 or base64url, at most 4 KiB), or what is wrong with it; any text gives a
 * `Result`. Bytes after the signature (AuxData, unsigned) are skipped and never read. 3-seal 1.1, 1.3 and 1.4 step 1.
 */
export async function parseSeal(text: string): Promise<Result<Seal, SealFault>> {
  if (text.length > MAX_TEXT_LENGTH) return refuse('too_long')
  const bytes = decodeText(text)
  if (bytes === undefined) return refuse('unknown_form')
  // The header with an issuing agency code (ISO 22376:2023) has another version number and is not public.
  if (bytes[1] !== VERSION) return refuse('unknown_version')
  if (bytes.length < HEADER_LENGTH + SIGNATURE_LENGTH) return refuse('bad_length')

  const header = bytes.slice(0, HEADER_LENGTH)
  const view = new DataView(header.buffer)
  const payloadEnd = HEADER_LENGTH + view.getUint16(15)
  const auxLength = bytes.length - payloadEnd - SIGNATURE_LENGTH
  if (auxLength < 0 || auxLength > MAX_AUX_LENGTH) return refuse('bad_length')

  const signer = decodeC40(header.subarray(2, 8))
  if (!signer?.endsWith('0')) return refuse('bad_signer')

  const payload = bytes.slice(HEADER_LENGTH, payloadEnd)
  const values = decodeValues(payload)
  if (values === undefined) return refuse('bad_payload')

  return ok({
    caId: signer.slice(0, 4),
    certId: signer.slice(4, 8),
    manifest: manifestText(header.subarray(8, 11)),
    createdAt: view.getUint32(11),
    payload,
    values,
    signature: bytes.slice(payloadEnd, payloadEnd + SIGNATURE_LENGTH),
    signedBytes: concat(header, await sha256(payload)),
    fingerprint: toBase64url(await sha256(concat(header, payload))),
  })
}

/** The bytes of the one text form that fits and begins with the marker. */
function decodeText(text: string): Bytes | undefined {
  const readings = [decodeBase45(text), fromBase64url(text)].filter(
    (bytes) => bytes !== undefined && bytes[0] === MARKER,
  )
  return readings.length === 1 ? readings[0] : undefined
}

function manifestText(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0').toUpperCase()).join('')
}
