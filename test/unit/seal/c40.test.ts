import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeC40, encodeC40 } from '../../../src/seal/c40.ts'

const hex = (text: string) => new Uint8Array(Buffer.from(text, 'hex'))

test('3-seal 1.1: IDT1 0001 0', () => {
  expect(encodeC40('IDT100010')).toEqual(hex('8c4a1fe519cd'))
  expect(decodeC40(hex('8c4a1fe519cd'))).toBe('IDT100010')
})

test('any nine characters survive the round trip', () => {
  const unit = fc.constantFrom(...' 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ')
  fc.assert(
    fc.property(fc.string({ unit, minLength: 9, maxLength: 9 }), (text) => {
      expect(decodeC40(encodeC40(text) ?? new Uint8Array())).toBe(text)
    }),
  )
})

test('six bytes give nine characters that encode back to them, or nothing', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
      const text = decodeC40(bytes)
      if (text !== undefined) expect(encodeC40(text)).toEqual(new Uint8Array(bytes))
    }),
    { numRuns: 500 },
  )
})

test.each([
  ['zero', '000019cd19cd'],
  ['a shift value', '000119cd19cd'],
  ['a pair above 64000', 'ffff19cd19cd'],
  ['five bytes', '8c4a1fe519'],
  ['seven bytes', '8c4a1fe519cd00'],
])('refuses %s', (_, bytes) => {
  expect(decodeC40(hex(bytes))).toBeUndefined()
})

test.each(['IDT10001', 'IDT1000100', 'idt100010', 'IDT1-0010', 'IDT1\0\0\0\0\0'])(
  'does not write %j',
  (text) => {
    expect(encodeC40(text)).toBeUndefined()
  },
)
