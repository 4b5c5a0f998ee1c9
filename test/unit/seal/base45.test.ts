import fc from 'fast-check'
import { expect, test } from 'vitest'
import { utf8 } from '../../../src/bytes.ts'
import { decodeBase45, encodeBase45 } from '../../../src/seal/base45.ts'

test.each([
  ['AB', 'BB8'],
  ['Hello!!', '%69 VD92EX0'],
  ['base-45', 'UJCLQE7W581'],
  ['ietf!', 'QED8WEX0'],
  ['', ''],
])('RFC 9285 section 4.3: %j', (plain, text) => {
  expect(encodeBase45(utf8(plain))).toBe(text)
  expect(decodeBase45(text)).toEqual(utf8(plain))
})

test('any bytes survive the round trip', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      expect(decodeBase45(encodeBase45(bytes))).toEqual(new Uint8Array(bytes))
    }),
  )
})

test('159 one byte string has one spelling: what decodes encodes back to the same text', () => {
  const character = fc.constantFrom(...'0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:')
  fc.assert(
    fc.property(fc.string({ unit: character, maxLength: 12 }), (text) => {
      const bytes = decodeBase45(text)
      if (bytes !== undefined) expect(encodeBase45(bytes)).toBe(text)
    }),
    { numRuns: 500 },
  )
})

test.each([
  ['overflow 65536', 'GGW'],
  ['overflow 91124', ':::'],
  ['overflow of the last byte, 2024', '::'],
  ['overflow of the last byte, 256', 'V5'],
  ['overflow after a good group', 'BB8GGW'],
  ['length 1 modulo 3', 'BB8B'],
  ['one character', '0'],
  ['lower case', 'bb8'],
  ['a character outside', 'BB_'],
  ['beyond ASCII', 'B\u{1f600}'],
  ['a line end', 'BB8\n0'],
])('refuses %s', (_, text) => {
  expect(decodeBase45(text)).toBeUndefined()
})

test('the highest values fit', () => {
  expect(decodeBase45('FGW')).toEqual(new Uint8Array([0xff, 0xff]))
  expect(decodeBase45('U5')).toEqual(new Uint8Array([0xff]))
})
