/**
 * Base45 (RFC 9285), strict: one byte string has one spelling. Published packages accept values that overflow two bytes
 * (or one byte at the end), which would give one seal several texts.
 */
import type { Bytes } from '../bytes.ts'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:'

/** Base45 text of `bytes`: three characters for two bytes, two for a last odd one. */
export function encodeBase45(bytes: Uint8Array): string {
  let text = ''
  for (let i = 0; i < bytes.length; i += 2) {
    const low = bytes[i + 1]
    const high = bytes[i] ?? 0
    const value = low === undefined ? high : high * 256 + low
    text += ALPHABET.charAt(value % 45) + ALPHABET.charAt(Math.floor(value / 45) % 45)
    if (low !== undefined) text += ALPHABET.charAt(Math.floor(value / 2025))
  }
  return text
}

/**
 * The bytes of Base45 `text`, or `undefined` for a character outside the alphabet, a length of 1 modulo 3, or a group
 * that overflows: above 65535 for three characters (`GGW`), above 255 for two (`::`). RFC 9285 section 6.
 */
export function decodeBase45(text: string): Bytes | undefined {
  if (text.length % 3 === 1) return undefined
  const bytes = new Uint8Array(Math.floor(text.length / 3) * 2 + (text.length % 3 === 2 ? 1 : 0))
  let offset = 0
  for (let i = 0; i < text.length; i += 3) {
    const group = [...text.slice(i, i + 3)].map((character) => ALPHABET.indexOf(character))
    if (group.includes(-1)) return undefined
    const [first = 0, second = 0, third] = group
    const value = first + 45 * second + 2025 * (third ?? 0)
    if (value > (third === undefined ? 0xff : 0xffff)) return undefined
    if (third !== undefined) bytes[offset++] = value >> 8
    bytes[offset++] = value & 0xff
  }
  return bytes
}
