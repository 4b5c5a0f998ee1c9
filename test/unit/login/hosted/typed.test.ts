import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readTypedTokenId } from '../../../../src/login/hosted/typed.ts'

/** Any UTF-16 unit, half a surrogate pair too. */
const anyUnit = fc.oneof(fc.nat(0xff), fc.nat(0xffff)).map((code) => String.fromCharCode(code))

const TOKEN_ID = '0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d'
const SHAPE = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const tokenIds = fc
  .array(fc.constantFrom(...'0123456789abcdef'), { minLength: 32, maxLength: 32 })
  .map((digits) => digits.join('').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'))

describe('a number that a person typed', () => {
  test.each([
    TOKEN_ID,
    TOKEN_ID.toUpperCase(),
    TOKEN_ID.replaceAll('-', ''),
    ` ${TOKEN_ID} `,
    TOKEN_ID.replaceAll('-', ' - '),
    '0a1b 2c3d 4e5f 4a6b 8c7d 9e0f 1a2b 3c4d',
    '0A1B2C3D4E5F4A6B8C7D9E0F1A2B3C4D',
  ])('%j is read', (typed) => {
    expect(readTypedTokenId(typed)).toBe(TOKEN_ID)
  })

  test.each([
    '',
    ' ',
    '-',
    TOKEN_ID.slice(0, -1),
    `${TOKEN_ID}0`,
    `${TOKEN_ID}.`,
    `{${TOKEN_ID}}`,
    `urn:uuid:${TOKEN_ID}`,
    `${TOKEN_ID}\n`,
    `${TOKEN_ID}\u0000`,
    TOKEN_ID.replace('0', 'O'),
    TOKEN_ID.replace('1', 'l'),
    TOKEN_ID.replace('0', '\uff10'),
    TOKEN_ID.replace('0', '\u0660'),
    TOKEN_ID.replace('a', '\u0430'),
    TOKEN_ID.replaceAll('-', '\u2010'),
    TOKEN_ID.replaceAll('-', '\u2013'),
    TOKEN_ID.replaceAll('-', '\u00a0'),
    TOKEN_ID.replace('-', '_'),
    'constructor',
  ])('181 typed: %j is none', (typed) => {
    expect(readTypedTokenId(typed)).toBeUndefined()
  })

  test('181 typed: blanks, dashes and capitals never matter, anything else always does', () => {
    const noise = fc.array(fc.constantFrom('', '', ' ', '-', ' - '), {
      minLength: 32,
      maxLength: 32,
    })
    fc.assert(
      fc.property(tokenIds, noise, fc.boolean(), (tokenId, gaps, upper) => {
        const spread = [...tokenId.replaceAll('-', '')]
          .map((digit, i) => `${gaps[i]}${digit}`)
          .join('')
        expect(readTypedTokenId(upper ? spread.toUpperCase() : spread)).toBe(tokenId)
      }),
    )
    const stranger = anyUnit.filter((one) => !/[-0-9a-fA-F ]/.test(one))
    fc.assert(
      fc.property(tokenIds, fc.nat(36), stranger, (tokenId, at, one) => {
        expect(
          readTypedTokenId(`${tokenId.slice(0, at)}${one}${tokenId.slice(at)}`),
        ).toBeUndefined()
      }),
    )
  })

  test('181 typed: whatever is typed gives an id in its one spelling, or none', () => {
    const text = fc.oneof(
      fc.string({ unit: anyUnit, maxLength: 80 }),
      fc.string({ unit: fc.constantFrom(...'0123456789abcdefABCDEF- '), maxLength: 80 }),
    )
    fc.assert(
      fc.property(text, (typed) => {
        const read = readTypedTokenId(typed)
        if (read !== undefined) {
          expect(read).toMatch(SHAPE)
          expect(readTypedTokenId(read)).toBe(read)
        }
      }),
    )
  })
})
