import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { concat, utf8 } from '../../../src/bytes.ts'
import { readIdentity, type StatedIdentity, writeIdentity } from '../../../src/seal/payload.ts'
import { decodeValues, encodeValues } from '../../../src/seal/values.ts'
import { ada, adaInFull, face, photo } from './world.ts'

const TODAY = '2026-11-21'
type Value = string | number | Uint8Array | null

/** The reason for a payload of Ada's values with some replaced by position. */
function faultWith(change: Record<number, Value>, from: StatedIdentity = adaInFull): string {
  const values = [...(decodeValues(writeIdentity(from)) ?? [])] as Value[]
  for (const [position, value] of Object.entries(change)) values[Number(position)] = value
  const read = readIdentity(encodeValues(values), TODAY)
  return read.ok ? 'ok' : read.reason
}

test('3-seal 1.2: nine values, byte for byte', () => {
  expect(Buffer.from(writeIdentity(ada)).toString('hex')).toBe(
    [
      `a3${Buffer.from('Ada').toString('hex')}`,
      `a8${Buffer.from('Lovelace').toString('hex')}`,
      `aa${Buffer.from('1990-12-10').toString('hex')}`,
      `a3${Buffer.from('GBR').toString('hex')}`,
      `a9${Buffer.from('C01X00T47').toString('hex')}`,
      'c4107f3d2a105b6c8d7e9f80a1b2c3d4e5f6',
      `aa${Buffer.from('2027-11-21').toString('hex')}`,
      'c0c0',
    ].join(''),
  )
})

test('an identity without tail, and one in full, are read as they were written', () => {
  const expiresAt = Date.parse('2027-11-21T23:59:59Z') / 1000
  expect(readIdentity(writeIdentity(ada), TODAY)).toStrictEqual({
    ok: true,
    value: { ...ada, expiresAt },
  })
  expect(readIdentity(writeIdentity(adaInFull), TODAY)).toStrictEqual({
    ok: true,
    value: { ...adaInFull, expiresAt },
  })
})

test('a person with one name has an empty given name, but never an empty family name', () => {
  expect(faultWith({ 0: '' })).toBe('ok')
  expect(faultWith({ 0: ' ' })).toBe('bad_gn')
  expect(faultWith({ 1: '' })).toBe('bad_fn')
  expect(faultWith({ 0: '', 1: ' ' })).toBe('bad_fn')
})

test('names are written in NFC', () => {
  const read = readIdentity(writeIdentity({ ...ada, givenNames: 'Zoe\u0308' }), TODAY)
  expect(read.ok && read.value.givenNames).toBe('Zo\u00eb')
})

test('a partial birth date is carried as the document has it', () => {
  expect(faultWith({ 2: '1990' })).toBe('ok')
  expect(faultWith({ 2: '1990-12' })).toBe('ok')
  expect(faultWith({ 2: TODAY })).toBe('ok')
  expect(faultWith({ 2: '2026-11' })).toBe('ok')
  expect(faultWith({ 2: '2026' })).toBe('ok')
})

describe('161 wrong values are refused', () => {
  test.each<[string, number, Value]>([
    ['a birth date that does not exist', 2, '2023-02-30'],
    ['29 February of a common year', 2, '2023-02-29'],
    ['a month that does not exist', 2, '2023-13'],
    ['month zero', 2, '2023-00-10'],
    ['a birth date in the future', 2, '2026-11-22'],
    ['a birth month in the future', 2, '2026-12'],
    ['a birth year in the future', 2, '2027'],
    ['the year 0000', 2, '0000'],
    ['another date form', 2, '10.12.1990'],
    ['a birth date as a number', 2, 7648],
    ['a lower-case nationality of two letters', 3, 'fr'],
    ['an MRZ nationality D', 3, 'D'],
    ['no nationality', 3, null],
    ['a given name of 40 characters', 0, 'a'.repeat(40)],
    ['a family name of 40 emoji', 1, '\u{1f600}'.repeat(40)],
    ['a name as bytes', 0, utf8('Ada')],
    ['no name', 0, null],
    ['a document number with MRZ fillers', 4, 'C01X00T4<'],
    ['an empty document number', 4, ''],
    ['a document number of 23 characters', 4, 'A'.repeat(23)],
    ['a tokenId of 15 bytes', 5, new Uint8Array(15)],
    ['a tokenId as text', 5, ada.tokenId],
    ['a partial expiry', 6, '2027-11'],
    ['an expiry that does not exist', 6, '2027-11-31'],
    ['a photo that is no WebP', 7, utf8('<svg onload=alert(1)>')],
    ['a photo above the limit', 7, concat(photo, new Uint8Array(2048))],
    ['a photo as text', 7, 'RIFF....WEBP'],
    ['a face of 139 bytes', 8, face.subarray(0, 139)],
    ['a face that begins otherwise', 8, new Uint8Array(140)],
    ['trust level 0', 9, 0],
    ['trust level 4', 9, 4],
    ['trust level as text', 9, '3'],
    ['trust level 2.5', 9, 2.5],
    ['trust level NaN', 9, Number.NaN],
    ['no trust level', 9, null],
    ['an issuing state of two letters', 10, 'GB'],
    ['another sex', 11, 'f'],
    ['a document type with a filler', 12, 'P<'],
    ['no document type', 12, null],
    ['a source hash of 31 bytes', 13, new Uint8Array(31)],
  ])('%s', (_, position, value) => {
    const names = 'gn fn dob nat doc tid exp photo face level state sex type source'.split(' ')
    expect(faultWith({ [position]: value })).toBe(`bad_${names[position]}`)
  })

  test('a given name as an array', () => {
    const rest = writeIdentity(ada).subarray(4)
    const read = readIdentity(concat(new Uint8Array([0x91, 0xa3]), utf8('Ada'), rest), TODAY)
    expect(read).toEqual({ ok: false, reason: 'bad_gn' })
  })

  test('39 characters pass, also when each takes two UTF-16 units', () => {
    expect(faultWith({ 0: 'a'.repeat(39), 1: '\u{1f600}'.repeat(39) })).toBe('ok')
  })

  test('the optional values may be absent', () => {
    expect(faultWith({ 7: null, 8: null, 11: null, 13: null })).toBe('ok')
  })
})

describe('162 hostile names', () => {
  test.each([
    ['RTL override', '\u202eevil\u202c'],
    ['zero width', 'A\u200bd\u200da\ufeff'],
    ['script', '<script>alert(1)</script>'],
    ['emoji', '\u{1f468}\u200d\u{1f469}\u200d\u{1f467}'],
    ['39 combining marks', '\u0301'.repeat(39)],
    ['prototype', '__proto__'],
    ['a leading byte order mark', '\ufeffAda'],
    ['not NFC', 'Zoe\u0308'],
  ])('%s is carried unchanged', (_, name) => {
    const values = [...(decodeValues(writeIdentity(ada)) ?? [])] as Value[]
    values[0] = name
    values[1] = name
    const read = readIdentity(encodeValues(values), TODAY)
    expect(read.ok && [read.value.givenNames, read.value.familyName]).toEqual([name, name])
  })

  test.each([
    ['NUL', 'A\0da'],
    ['line feed', 'A\nda'],
    ['escape', 'A\x1bda'],
    ['delete', 'A\x7fda'],
    ['C1 control', 'A\x85da'],
    ['noncharacter', 'A\uffffda'],
    ['lone surrogate', 'A\ud800da'],
  ])('%s is refused', (_, name) => {
    expect(faultWith({ 0: name })).toBe('bad_gn')
    expect(faultWith({ 1: name })).toBe('bad_fn')
  })
})

describe('3-seal 9, identity VDS: number and encoding of the values', () => {
  const values = decodeValues(writeIdentity({ ...adaInFull })) as Value[]

  test.each([0, 8, 10, 13, 15])('%i values are refused', (count) => {
    const payload = encodeValues([...values, null].slice(0, count))
    expect(readIdentity(payload, TODAY)).toEqual({ ok: false, reason: 'value_count' })
  })

  test('the same values in one array are refused', () => {
    const payload = concat(new Uint8Array([0x99]), writeIdentity(ada))
    expect(readIdentity(payload, TODAY)).toEqual({ ok: false, reason: 'value_count' })
  })

  const wider: [string, number, number[]][] = [
    ['str8 for a short text', 0, [0xd9, 3, ...utf8('Ada')]],
    ['str16', 0, [0xda, 0, 3, ...utf8('Ada')]],
    ['str32', 0, [0xdb, 0, 0, 0, 3, ...utf8('Ada')]],
    ['bin16 for 16 bytes', 5, [0xc5, 0, 16, ...new Uint8Array(16)]],
    ['uint8 for 3', 9, [0xcc, 3]],
    ['uint32 for 3', 9, [0xce, 0, 0, 0, 3]],
    ['int8 for 3', 9, [0xd0, 3]],
    ['float for 3', 9, [0xcb, 0x40, 8, 0, 0, 0, 0, 0, 0]],
    ['overlong UTF-8', 0, [0xa4, 0xc1, 0x81, 0x64, 0x61]],
    ['a byte that is no UTF-8', 0, [0xa3, 0x41, 0xff, 0x61]],
    ['surrogates in UTF-8', 0, [0xa6, 0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]],
  ]
  test.each(wider)('%s is refused', (_, position, bytes) => {
    const payload = concat(
      encodeValues(values.slice(0, position)),
      new Uint8Array(bytes),
      encodeValues(values.slice(position + 1)),
    )
    expect(readIdentity(payload, TODAY)).toEqual({ ok: false, reason: 'not_minimal' })
  })

  test('undefined, timestamps and cut values are refused', () => {
    const rest = writeIdentity(ada).subarray(4)
    const timestamp = new Uint8Array([0xd6, 0xff, 0, 0, 0, 1])
    expect(readIdentity(concat(timestamp, rest), TODAY)).toMatchObject({ reason: 'bad_gn' })
    expect(readIdentity(concat(new Uint8Array([0xc1]), rest), TODAY)).toMatchObject({
      reason: 'not_messagepack',
    })
    expect(readIdentity(writeIdentity(ada).slice(0, -10), TODAY).ok).toBe(false)
  })
})

test('any stated identity survives the round trip', () => {
  const name = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 8 })
    .map((text) =>
      `N${text.replaceAll(/[\p{Cc}\p{Noncharacter_Code_Point}]/gu, '')}`.normalize('NFC'),
    )
    .filter((text) => [...text].length <= 39)
  const state = fc.constantFrom('DEU', 'FRA', 'UTO')
  const date = fc.date({
    min: new Date('1900-01-01T00:00:00Z'),
    max: new Date('2026-11-21T00:00:00Z'),
    noInvalidDate: true,
  })
  const identity: fc.Arbitrary<StatedIdentity> = fc.record(
    {
      givenNames: fc.oneof(fc.constant(''), name),
      familyName: name,
      dateOfBirth: date.map((day) => day.toISOString().slice(0, 10)),
      nationality: state,
      documentNumber: fc.stringMatching(/^[A-Z0-9]{1,22}$/),
      tokenId: fc.uuid(),
      expiresOn: date.map((day) => day.toISOString().slice(0, 10)),
      trustLevel: fc.constantFrom(1, 2, 3),
      issuingState: state,
      documentType: fc.constantFrom('P', 'I', 'AC'),
      photo: fc.uint8Array({ maxLength: 400 }).map((rest) => concat(photo, rest)),
      face: fc.constant(face),
      sex: fc.constantFrom('M', 'F', 'X'),
      sourceHash: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((hash) => concat(hash)),
    },
    {
      requiredKeys: [
        'givenNames',
        'familyName',
        'dateOfBirth',
        'nationality',
        'documentNumber',
        'tokenId',
        'expiresOn',
        'trustLevel',
        'issuingState',
        'documentType',
      ],
    },
  )
  fc.assert(
    fc.property(identity, (stated) => {
      const read = readIdentity(writeIdentity(stated), TODAY)
      expect(read).toEqual({
        ok: true,
        value: { ...stated, expiresAt: Date.parse(`${stated.expiresOn}T23:59:59Z`) / 1000 },
      })
    }),
  )
})

test('any bytes give a Result, and what is read is what would be written', () => {
  const written = writeIdentity(adaInFull)
  const position = fc.nat({ max: written.length - 1 })
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(readIdentity(concat(bytes), TODAY).ok).toBe(false)
    }),
  )
  fc.assert(
    fc.property(position, fc.nat({ max: 255 }), (at, byte) => {
      const payload = concat(written)
      payload[at] = byte
      const read = readIdentity(payload, TODAY)
      if (read.ok) expect(encodeValues(decodeValues(payload) as Value[])).toEqual(payload)
    }),
    { numRuns: 500 },
  )
})

test('deeply nested and vast lengths give a Result', () => {
  const nested = new Uint8Array(3000).fill(0x91)
  const vast = new Uint8Array([0xdd, 0xff, 0xff, 0xff, 0xff])
  const map = new Uint8Array([0xdf, 0xff, 0xff, 0xff, 0xff])
  for (const payload of [nested, vast, map]) {
    expect(readIdentity(payload, TODAY)).toEqual({ ok: false, reason: 'not_messagepack' })
  }
})

test('the writer refuses half a tail and a tokenId that is no UUID', () => {
  expect(() => writeIdentity({ ...ada, trustLevel: 2 })).toThrow('come together')
  expect(() => writeIdentity({ ...ada, tokenId: ada.tokenId.toUpperCase() })).toThrow('UUID')
})
