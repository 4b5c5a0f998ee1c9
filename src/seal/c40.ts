/** C40 in the one shape a seal header uses: nine characters (space, digits, A-Z) in six bytes. */
import type { Bytes } from '../bytes.ts'

/** A character's index is its C40 value; 0 to 2 are shifts, which a header never uses. */
const CHARACTERS = '\0\0\0 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ'

/** The 6 bytes of 9 characters, or `undefined` for another length or a character C40 cannot write unshifted. */
export function encodeC40(text: string): Bytes | undefined {
  if (!/^[ 0-9A-Z]{9}$/.test(text)) return undefined
  const bytes = new Uint8Array(6)
  for (let pair = 0; pair < 3; pair++) {
    const [a = 0, b = 0, c = 0] = [...text.slice(pair * 3, pair * 3 + 3)].map((character) =>
      CHARACTERS.indexOf(character),
    )
    const value = 1600 * a + 40 * b + c + 1
    bytes[pair * 2] = value >> 8
    bytes[pair * 2 + 1] = value & 0xff
  }
  return bytes
}

/** The 9 characters of 6 bytes, or `undefined` for another length, a shift value or a pair that is no C40. */
export function decodeC40(bytes: Uint8Array): string | undefined {
  if (bytes.length !== 6) return undefined
  let text = ''
  for (let i = 0; i < 6; i += 2) {
    const value = (bytes[i] ?? 0) * 256 + (bytes[i + 1] ?? 0) - 1
    const indexes = [Math.floor(value / 1600), Math.floor(value / 40) % 40, value % 40]
    if (value < 0 || indexes.some((index) => index < 3 || index >= CHARACTERS.length)) {
      return undefined
    }
    text += indexes.map((index) => CHARACTERS.charAt(index)).join('')
  }
  return text
}
