/**
 * Byte strings, their one text form in JSON (base64url without padding, RFC 4648 section 5), SHA-256, and equality that
 * does not tell where two values differ.
 */
import { base64url } from 'jose'

export type Bytes = Uint8Array<ArrayBuffer>

const encoder = new TextEncoder()

/** UTF-8 bytes of `text`. */
export function utf8(text: string): Bytes {
  return new Uint8Array(encoder.encode(text))
}

/** All `parts` in order, in one new array. */
export function concat(...parts: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let offset = 0
  for (const part of parts) {
    whole.set(part, offset)
    offset += part.length
  }
  return whole
}

/** Base64url text of `bytes`, no padding. */
export function toBase64url(bytes: Uint8Array): string {
  return base64url.encode(bytes)
}

/**
 * The bytes of canonical base64url `text`, or `undefined`. `atob` forgives white space, padding and non-zero trailing
 * bits; here one byte string has one spelling, so the text is checked, decoded, and encoded again.
 */
export function fromBase64url(text: string): Bytes | undefined {
  if (!/^[A-Za-z0-9_-]*$/.test(text) || text.length % 4 === 1) return undefined
  const bytes = new Uint8Array(base64url.decode(text))
  return base64url.encode(bytes) === text ? bytes : undefined
}

/** SHA-256 of `data`, 32 bytes. */
export async function sha256(data: Uint8Array | string): Promise<Bytes> {
  const bytes = typeof data === 'string' ? utf8(data) : new Uint8Array(data)
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
}

/** Whether two strings are equal, in time that depends only on the length of `a`. */
export function equalText(a: string, b: string): boolean {
  const left = utf8(a)
  const right = utf8(b)
  let difference = left.length ^ right.length
  for (let i = 0; i < left.length; i++)
    difference |= (left[i] ?? 0) ^ (right[i % (right.length || 1)] ?? 0)
  return difference === 0
}
