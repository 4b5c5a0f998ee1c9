/** MessagePack values end to end, as a seal's payload holds them: no enclosing array, meaning by position. */
import { decodeMulti, Encoder } from '@msgpack/msgpack'
import { type Bytes, concat } from '../bytes.ts'

/** A payload inside a text of 4 KiB needs no more; a claimed length above it is refused before memory is taken. */
const LIMIT = 4096
const limits = {
  maxStrLength: LIMIT,
  maxBinLength: LIMIT,
  maxArrayLength: 64,
  maxMapLength: 64,
  maxExtLength: LIMIT,
}

/** The values of `payload` in order, or `undefined` when it is not well-formed MessagePack to its last byte. */
export function decodeValues(payload: Uint8Array): readonly unknown[] | undefined {
  try {
    return [...decodeMulti(payload, limits)]
  } catch {
    return undefined
  }
}

/** The shortest MessagePack of each value, joined. */
export function encodeValues(values: readonly (string | number | Uint8Array | null)[]): Bytes {
  const encoder = new Encoder()
  return concat(...values.map((value) => encoder.encode(value)))
}
