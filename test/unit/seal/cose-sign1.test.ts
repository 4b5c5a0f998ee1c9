import { Sign1 } from '@auth0/cose'
import { decode, encode, Tagged } from 'cborg'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Bytes, concat, utf8 } from '../../../src/bytes.ts'
import {
  decodeCbor,
  encodeCbor,
  makeCoseSign1,
  readCoseSign1,
} from '../../../src/seal/cose-sign1.ts'
import { type PublicJwk, verifyP256 } from '../../../src/seal/p256.ts'
import { newKey } from './world.ts'

const signer = await newKey()
const publicJwk = signer.jwk as PublicJwk
const kid = hex('0102030405060708')
const payload = hex('a1016161')
const message = await makeCoseSign1(payload, kid, signer.sign)

function hex(text: string): Bytes {
  return new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'))
}

const head = new Map<number, unknown>([
  [1, -7],
  [4, kid],
])

/** A message that another encoder wrote, some of its parts changed. */
function forged(change: Readonly<Record<string, unknown>> = {}): Bytes {
  const usual = {
    head: encode(head),
    unprotected: new Map(),
    payload,
    signature: new Uint8Array(64),
  }
  return encode(new Tagged(18, Object.values({ ...usual, ...change })))
}

function faultOf(bytes: Bytes): string {
  const read = readCoseSign1(bytes)
  return read.ok ? 'none' : read.reason
}

test('the bytes are those of RFC 9052, laid out by hand', async () => {
  const head = hex('a2 01 26 04 48 0102030405060708')
  const signedBytes = concat(
    hex('84 6a'),
    utf8('Signature1'),
    hex('4d'),
    head,
    hex('40 44'),
    payload,
  )
  let signed: Bytes = hex('')
  const made = await makeCoseSign1(payload, kid, async (bytes) => {
    signed = bytes
    return new Uint8Array(64).fill(9)
  })
  expect(signed).toEqual(signedBytes)
  const signature = new Uint8Array(64).fill(9)
  expect(made).toEqual(
    concat(hex('d2 84 4d'), head, hex('a0 44'), payload, hex('58 40'), signature),
  )
  expect(readCoseSign1(made)).toEqual({ ok: true, value: { kid, payload, signature, signedBytes } })
})

describe('an independent implementation agrees', () => {
  test('@auth0/cose verifies what we sign', async () => {
    const theirs = Sign1.decode(message.slice())
    await expect(theirs.verify(signer.publicKey)).resolves.toBeUndefined()
    expect(new Uint8Array(theirs.payload)).toEqual(payload)
    await expect(theirs.verify((await newKey()).publicKey)).rejects.toThrow()
  })

  test('we verify what @auth0/cose signs', async () => {
    const theirs = await Sign1.sign(
      [
        [1, -7],
        [4, kid],
      ],
      undefined,
      payload,
      signer.key,
    )
    const read = readCoseSign1(new Uint8Array(theirs.encode()))
    if (!read.ok) throw new Error(read.reason)
    expect(read.value).toMatchObject({ kid, payload })
    const { signature, signedBytes } = read.value
    expect(await verifyP256(publicJwk, signature, signedBytes)).toBe(true)
  })

  test('cborg reads what we write and writes what we read', () => {
    const strict = { strict: true, rejectDuplicateMapKeys: true, useMaps: true }
    const parts: unknown = decode(message, { ...strict, tags: Tagged.preserve(18) })
    expect(parts).toMatchObject({ tag: 18 })
    expect(encode(parts)).toEqual(message)
    expect(faultOf(forged())).toBe('none')
  })
})

test('169 every single flipped bit of a message is refused', async () => {
  for (let bit = 0; bit < message.length * 8; bit++) {
    const flipped = message.slice()
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    const read = readCoseSign1(flipped)
    if (!read.ok) continue
    const sameKey = Buffer.compare(read.value.kid, kid) === 0
    const { signature, signedBytes } = read.value
    const verifies = sameKey && (await verifyP256(publicJwk, signature, signedBytes))
    expect(verifies, `bit ${bit}`).toBe(false)
  }
})

describe('what is no message of ours', () => {
  test.each<[string, Bytes, string]>([
    ['nothing', hex(''), 'not_cbor'],
    ['a byte too many', concat(message, hex('00')), 'not_cbor'],
    ['a byte too few', message.slice(0, -1), 'not_cbor'],
    ['a number', hex('18 2a'), 'not_sign1'],
    ['no tag', message.slice(1), 'not_sign1'],
    ['tag 61 around it', concat(hex('d8 3d'), message), 'not_sign1'],
    ['tag 18 around it', concat(hex('d2'), message), 'not_sign1'],
    ['tag 17, a MAC', concat(hex('d1'), message.slice(1)), 'not_sign1'],
    ['tag 18 in two bytes', concat(hex('d8 12'), message.slice(1)), 'not_cbor'],
    ['an indefinite array', concat(hex('d2 9f'), message.slice(2), hex('ff')), 'not_cbor'],
    ['three parts', encode(new Tagged(18, [kid, new Map(), kid])), 'not_sign1'],
    ['five parts', forged({ more: kid }), 'not_sign1'],
    ['a map of parts', encode(new Tagged(18, new Map([[0, kid]]))), 'not_sign1'],
    ['a detached payload', forged({ payload: null }), 'not_sign1'],
    ['a payload that is text', forged({ payload: 'text' }), 'not_sign1'],
    ['a protected header that is a map', forged({ head }), 'not_sign1'],
    ['an empty protected header', forged({ head: hex('') }), 'bad_protected'],
    ['a protected header that is a list', forged({ head: hex('80') }), 'bad_protected'],
    ['`kid` missing', forged({ head: hex('a1 01 26') }), 'bad_protected'],
    ['`alg` missing', forged({ head: hex('a1 04 48 0102030405060708') }), 'bad_protected'],
    ['`kid` of 7 bytes', forged({ head: hex('a2 01 26 04 47 01020304050607') }), 'bad_protected'],
    [
      '`kid` that is text',
      forged({ head: hex('a2 01 26 04 68 3132333435363738') }),
      'bad_protected',
    ],
    ['PS256', forged({ head: hex('a2 01 38 24 04 48 0102030405060708') }), 'bad_protected'],
    ['HMAC 256', forged({ head: hex('a2 01 05 04 48 0102030405060708') }), 'bad_protected'],
    [
      '`alg` by name',
      forged({ head: hex('a2 01 65 4553323536 04 48 0102030405060708') }),
      'bad_protected',
    ],
    [
      '`alg` under the text "1"',
      forged({ head: hex('a2 61 31 26 04 48 0102030405060708') }),
      'bad_protected',
    ],
    [
      '`alg` under 1 and "1"',
      forged({ head: hex('a3 01 26 61 31 26 04 48 0102030405060708') }),
      'bad_protected',
    ],
    [
      '`alg` twice',
      forged({ head: hex('a3 01 26 01 26 04 48 0102030405060708') }),
      'bad_protected',
    ],
    ['`crit`', forged({ head: hex('a3 01 26 02 81 04 04 48 0102030405060708') }), 'bad_protected'],
    [
      'a key brought along',
      forged({ head: encode(new Map([...head, [33, kid]])) }),
      'bad_protected',
    ],
    ['a byte after the header', forged({ head: concat(encode(head), hex('00')) }), 'bad_protected'],
    [
      '`kid` over-long',
      forged({ head: hex('a2 01 26 04 58 08 0102030405060708') }),
      'bad_protected',
    ],
    ['`kid` unprotected', forged({ unprotected: new Map([[4, kid]]) }), 'bad_unprotected'],
    ['an unprotected list', forged({ unprotected: [] }), 'bad_unprotected'],
    ['an empty signature', forged({ signature: hex('') }), 'bad_signature'],
    ['a signature of 63 bytes', forged({ signature: new Uint8Array(63) }), 'bad_signature'],
    ['a signature of 65 bytes', forged({ signature: new Uint8Array(65) }), 'bad_signature'],
  ])('%s', (_, bytes, fault) => {
    expect(faultOf(bytes)).toBe(fault)
  })
})

describe('CBOR has one spelling', () => {
  test.each([
    ['an integer in two bytes that fits one', '18 17'],
    ['an integer in three bytes that fits two', '19 00ff'],
    ['an integer in five bytes that fits three', '1a 0000ffff'],
    ['an integer in nine bytes that fits two', '1b 0000000000000018'],
    ['an integer in nine bytes that fits five', '1b 00000000ffffffff'],
    ['a negative integer too long', '38 06'],
    ['a length too long', '58 01 00'],
    ['a float that is an integer', 'fb 3ff0000000000000'],
    ['a float as a key', 'a1 f9 3c00 01'],
    ['NaN in nine bytes', 'fb 7ff8000000000000'],
    ['an indefinite byte string', '5f 41 00 ff'],
    ['an indefinite text', '7f 61 61 ff'],
    ['an indefinite list', '9f 01 ff'],
    ['an indefinite map', 'bf 01 02 ff'],
    ['the same key twice', 'a2 01 02 01 02'],
    ['the same text key twice', 'a2 61 61 01 61 61 01'],
    ['text that is not UTF-8', '62 c3 28'],
    ['text with a surrogate', '63 ed a0 80'],
    ['text with a byte order mark', '64 ef bb bf 61'],
    ['a byte after the item', '01 00'],
    ['a list that breaks off', '82 01'],
    ['bytes that break off', '42 01'],
    ['more bytes than there are', '5b 7fffffffffffffff'],
    ['more items than there are', '9b ffffffffffffffff'],
    ['more pairs than there are', 'bb ffffffffffffffff'],
    ['a head that breaks off', '19 01'],
    ['a reserved head', '1c'],
    ['a break', 'ff'],
    ['a simple value in two bytes', 'f8 20'],
    ['five levels', '81 81 81 81 81 01'],
  ])('%s', (_, item) => {
    expect(decodeCbor(hex(item))).toBeUndefined()
  })

  test('176 nothing that nests deep reaches the decoder', () => {
    const chain = (item: Bytes) =>
      new Uint8Array(64 * 1024).map((_, i) => item[i % item.length] ?? 0)
    for (const item of ['81', 'c6', 'a1 01', 'd2', '9b 00000000ffffffff', 'a1 81']) {
      expect(decodeCbor(chain(hex(item))), item).toBeUndefined()
    }
  })

  test('any bytes give an item that is written back the same, or nothing', () => {
    const structured = fc
      .array(
        fc.constantFrom(
          ...hex('00 01 17 18 20 26 40 41 58 60 61 80 81 82 98 a0 a1 a2 d2 d8 f4 f6 fb ff'),
        ),
        { maxLength: 24 },
      )
      .map((bytes) => new Uint8Array(bytes))
    const hostile = fc.oneof(
      structured,
      fc.uint8Array({ maxLength: 40 }).map((bytes) => new Uint8Array(bytes)),
    )
    fc.assert(
      fc.property(hostile, (bytes) => {
        const item = decodeCbor(bytes)
        if (item !== undefined) expect(encodeCbor(item)).toEqual(bytes)
        expect(readCoseSign1(bytes)).toHaveProperty('ok')
      }),
      { numRuns: 2000 },
    )
  })

  test('what we take for CBOR, cborg in its strictest mode takes for CBOR too, and means the same', () => {
    const leaf = fc.oneof(
      fc.integer({ min: -100_000, max: 100_000 }),
      fc.maxSafeNat(),
      fc.string({ unit: 'grapheme', maxLength: 30 }),
      fc.uint8Array({ maxLength: 40 }),
      fc.boolean(),
      fc.constant(null),
    )
    const key = fc.oneof(fc.integer({ min: -70_000, max: 70_000 }), fc.string({ maxLength: 3 }))
    const tree = fc.letrec((tie) => ({
      item: fc.oneof(
        { maxDepth: 3 },
        leaf,
        fc.array(tie('item'), { maxLength: 4 }),
        fc
          .uniqueArray(fc.tuple(key, tie('item')), { maxLength: 4, selector: ([one]) => one })
          .map((entries) => new Map(entries)),
      ),
    })).item
    fc.assert(
      fc.property(tree, (item) => {
        const theirs = encode(item)
        const ours = decodeCbor(new Uint8Array(theirs))
        expect(ours).toEqual(item)
        const strict = { strict: true, rejectDuplicateMapKeys: true, useMaps: true }
        expect(decode(encodeCbor(ours), strict)).toEqual(item)
      }),
      { numRuns: 300 },
    )
  })
})
