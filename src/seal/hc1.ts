/** The text form of a Service VDS: `HC1:`, then Base45 of a zlib stream (RFC 9285, RFC 1950; 3-seal 2.1). */
import { type Bytes, concat } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'
import { decodeBase45, encodeBase45 } from './base45.ts'

const PREFIX = 'HC1:'
const MAX_TEXT_LENGTH = 4096
/** Bytes that a text may inflate to. */
const MAX_LENGTH = 64 * 1024
/** CMF of RFC 1950: deflate with the largest window. */
const ZLIB = 0x78

export type Hc1Fault =
  | 'too_long'
  | 'bad_prefix'
  | 'bad_base45'
  | 'not_compressed'
  | 'bad_compression'
  | 'too_large'

/**
 * The bytes inside `text` (at most 4 KiB), or what is wrong with it; any text gives a `Result`. Inflating stops as soon as
 * more than 64 KiB have come out. A stream that is cut short, altered or followed by anything is `bad_compression`.
 */
export async function readHc1(text: string): Promise<Result<Bytes, Hc1Fault>> {
  if (text.length > MAX_TEXT_LENGTH) return refuse('too_long')
  if (!text.startsWith(PREFIX)) return refuse('bad_prefix')
  const packed = decodeBase45(text.slice(PREFIX.length))
  if (packed === undefined) return refuse('bad_base45')
  if (packed[0] !== ZLIB) return refuse('not_compressed')
  return inflate(packed)
}

/**
 * The text of `bytes`. It is `readHc1` that knows whether a text is too long, so who writes one reads it back.
 */
export async function writeHc1(bytes: Bytes): Promise<string> {
  const chunks: Uint8Array[] = []
  const packing = new Blob([bytes]).stream().pipeThrough(new CompressionStream('deflate'))
  for await (const chunk of packing) chunks.push(chunk)
  return PREFIX + encodeBase45(concat(...chunks))
}

async function inflate(packed: Bytes): Promise<Result<Bytes, Hc1Fault>> {
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    const opening = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'))
    // Leaving the loop cancels the stream: what a bomb still holds is never inflated.
    for await (const chunk of opening) {
      length += chunk.length
      if (length > MAX_LENGTH) return refuse('too_large')
      chunks.push(chunk)
    }
  } catch {
    return refuse('bad_compression')
  }
  return ok(concat(...chunks))
}
