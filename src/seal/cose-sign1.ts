/**
 * COSE_Sign1 (RFC 9052) in the one shape a Service VDS uses: tagged, ES256, `alg` and `kid` protected, nothing
 * unprotected. Beside it the strict CBOR that its parts and its claims are read with.
 */
import { CBORTag, type CBORType, decodeCBOR, encodeCBOR } from '@levischuck/tiny-cbor'
import * as v from 'valibot'
import { type Bytes, utf8 } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'

const SIGN1_TAG = 18
const ES256 = -7
/** Levels below the outermost item: neither the envelope nor the claims have more than three. */
const MAX_DEPTH = 4
/** Items in one text: a Service VDS has some eighty. Empty ones cost a sender next to nothing, and us the decoding of each. */
const MAX_ITEMS = 256

/** A signed message taken apart, trusted by nobody yet. */
export interface CoseSign1 {
  /** 8 bytes. */
  readonly kid: Bytes
  readonly payload: Bytes
  /** Raw r‖s, 64 bytes. */
  readonly signature: Bytes
  /** The Sig_structure of RFC 9052 section 4.4: what the signature is over. */
  readonly signedBytes: Bytes
}

export type CoseFault =
  | 'not_cbor'
  | 'not_sign1'
  | 'bad_protected'
  | 'bad_unprotected'
  | 'bad_signature'

export const byteString = v.instance(Uint8Array<ArrayBuffer>)

const protectedHeader = integerMap({
  1: v.literal(ES256),
  4: v.pipe(byteString, v.length(8)),
})
const unprotectedHeader = integerMap({})
const envelope = v.strictTuple([byteString, v.unknown(), byteString, byteString])

/** The message in `bytes`, or what is wrong with its form; any bytes give a `Result`. 3-seal 2.2, steps 2 and 3. */
export function readCoseSign1(bytes: Bytes): Result<CoseSign1, CoseFault> {
  const item = decodeCbor(bytes)
  if (item === undefined) return refuse('not_cbor')
  if (!(item instanceof CBORTag) || item.tag !== SIGN1_TAG) return refuse('not_sign1')
  const parts = v.safeParse(envelope, item.value)
  if (!parts.success) return refuse('not_sign1')

  const [head, unprotected, payload, signature] = parts.output
  const header = v.safeParse(protectedHeader, decodeCbor(head))
  if (!header.success) return refuse('bad_protected')
  if (!v.is(unprotectedHeader, unprotected)) return refuse('bad_unprotected')
  if (signature.length !== 64) return refuse('bad_signature')
  return ok({
    kid: header.output[4],
    payload,
    signature,
    signedBytes: sigStructure(head, payload),
  })
}

/** Signs a Sig_structure: ECDSA, P-256, SHA-256, 64 bytes r‖s. */
export type CoseSigner = (signedBytes: Bytes) => Promise<Bytes>

/** The message over `payload`, signed under the key that `kid` (8 bytes) names. */
export async function makeCoseSign1(payload: Bytes, kid: Bytes, sign: CoseSigner): Promise<Bytes> {
  const head = encodeCbor(
    new Map<number, CBORType>([
      [1, ES256],
      [4, kid],
    ]),
  )
  const signature = await sign(sigStructure(head, payload))
  return encodeCbor(new CBORTag(SIGN1_TAG, [head, new Map(), payload, signature]))
}

function sigStructure(head: Bytes, payload: Bytes): Bytes {
  return encodeCbor(['Signature1', head, utf8(''), payload])
}

/* ---- strict CBOR (RFC 8949) ---- */

/**
 * The CBOR item that is the whole of `bytes`, or `undefined`: also for duplicate keys, more than four levels or 256 items, and whatever
 * has a second spelling. The decoder lets some over-long integers, broken UTF-8 and a byte order mark pass, and runs out
 * of stack when items nest deep; hence the look ahead and the comparison.
 */
export function decodeCbor(bytes: Uint8Array): CBORType | undefined {
  if (endOfItem(bytes, 0, MAX_DEPTH, { items: MAX_ITEMS }) !== bytes.length) return undefined
  try {
    const item = decodeCBOR(bytes)
    const again = encodeCBOR(item)
    return again.length === bytes.length && again.every((byte, i) => byte === bytes[i])
      ? item
      : undefined
  } catch {
    return undefined
  }
}

/** The CBOR of `item`; a map is written in its own order. */
export function encodeCbor(item: CBORType): Bytes {
  return new Uint8Array(encodeCBOR(item))
}

/** A CBOR map with exactly these integer keys, as an object: `1` the number is a key, `"1"` the text is not. */
export function integerMap<const Entries extends v.ObjectEntries>(entries: Entries) {
  return v.pipe(
    v.instance(Map<unknown, unknown>),
    v.check((map) => [...map.keys()].every(Number.isInteger)),
    v.transform((map): unknown => Object.fromEntries(map)),
    v.strictObject(entries),
  )
}

/**
 * Where the item at `start` ends; `undefined` when it nests deeper than `depth`, is indefinite, breaks off, or is more than
 * what is `left`.
 */
function endOfItem(
  bytes: Uint8Array,
  start: number,
  depth: number,
  left: { items: number },
): number | undefined {
  const head = bytes[start]
  if (head === undefined || depth < 0 || left.items-- === 0) return undefined
  const short = head & 0x1f
  if (short > 27) return undefined
  const width = short < 24 ? 0 : 2 ** (short - 24)
  let argument = width === 0 ? short : 0
  for (let i = 1; i <= width; i++) argument = argument * 256 + (bytes[start + i] ?? 0)

  let end = start + 1 + width
  const major = head >> 5
  if (major === 2 || major === 3) return end + argument
  const items = [0, 0, 0, 0, argument, argument * 2, 1, 0][major] ?? 0
  for (let i = 0; i < items; i++) {
    const next = endOfItem(bytes, end, depth - 1, left)
    if (next === undefined) return undefined
    end = next
  }
  return end
}
