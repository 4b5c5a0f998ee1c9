import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concat, equalText, fromBase64url, sha256, toBase64url, utf8 } from '../../src/bytes.ts'

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

describe('base64url', () => {
  it('every byte string has one text, and it reads back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const text = toBase64url(bytes)
        expect(text).toMatch(/^[A-Za-z0-9_-]*$/)
        expect(text).toBe(Buffer.from(bytes).toString('base64url'))
        expect(fromBase64url(text)).toEqual(new Uint8Array(bytes))
      }),
    )
  })

  it('of all texts only the one that the bytes are written as is read', () => {
    const texts = fc.string({ unit: fc.constantFrom(...ALPHABET), maxLength: 12 })
    fc.assert(
      fc.property(texts, (text) => {
        const bytes = fromBase64url(text)
        if (bytes !== undefined) expect(toBase64url(bytes)).toBe(text)
        else expect(Buffer.from(text, 'base64url').toString('base64url')).not.toBe(text)
      }),
      { numRuns: 1000 },
    )
  })

  it('any text at all is read as its own bytes or not at all', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 20 }), (text) => {
        const bytes = fromBase64url(text)
        if (bytes !== undefined) expect(toBase64url(bytes)).toBe(text)
      }),
      { numRuns: 1000 },
    )
  })

  it('a text with one foreign character in it is refused', () => {
    const place = fc.record({
      bytes: fc.uint8Array({ minLength: 1 }),
      at: fc.nat(),
      c: fc.nat(0xffff).map((unit) => String.fromCharCode(unit)),
    })
    fc.assert(
      fc.property(place, ({ bytes, at, c }) => {
        fc.pre(!ALPHABET.includes(c))
        const text = toBase64url(bytes)
        const cut = at % (text.length + 1)
        expect(fromBase64url(text.slice(0, cut) + c + text.slice(cut))).toBeUndefined()
      }),
    )
  })

  it.each([
    ['padding', 'AA=='],
    ['padding without need', 'AAAA='],
    ['plain Base64', '+/+/'],
    ['white space', 'AA AA'],
    ['white space before', ' AAAA'],
    ['a line feed at the end', 'AAAA\n'],
    ['a carriage return', 'AAAA\r\n'],
    ['a tab', 'AA\tAA'],
    ['NUL', 'AAAA\0'],
    ['one character', 'A'],
    ['five characters', 'AAAAA'],
    ['trailing bits of one byte', 'AB'],
    ['trailing bits of two bytes', 'AAB'],
    ['the last of sixteen spellings', 'A_'],
    ['full-width letters', '\uff21\uff21\uff21\uff21'],
    ['percent-encoding', 'AA%3D'],
  ])('refuses %s: %j', (_, text) => {
    expect(fromBase64url(text)).toBeUndefined()
  })

  it('exactly one of the spellings that atob takes for one byte is read', () => {
    const read = [...ALPHABET].filter((last) => fromBase64url(`A${last}`) !== undefined)
    expect(read).toEqual(['A', 'Q', 'g', 'w'])
  })

  it('the empty text is no bytes', () => {
    expect(fromBase64url('')).toEqual(new Uint8Array())
  })
})

describe('equalText', () => {
  const text = fc.string({ unit: 'binary', maxLength: 40 })

  it('is equality', () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(equalText(a, a)).toBe(true)
        // Lone surrogates have no UTF-8: they are compared as what they are written as.
        fc.pre(a.isWellFormed() && b.isWellFormed())
        expect(equalText(a, b)).toBe(a === b)
      }),
    )
  })

  it('sees one changed character wherever it is', () => {
    const changed = fc.record({ a: fc.string({ minLength: 1 }), at: fc.nat() })
    fc.assert(
      fc.property(changed, ({ a, at }) => {
        const i = at % a.length
        const other = a[i] === 'x' ? 'y' : 'x'
        expect(equalText(a, a.slice(0, i) + other + a.slice(i + 1))).toBe(false)
      }),
    )
  })

  it.each([
    ['', 'a'],
    ['a', ''],
    ['a', 'aa'],
    ['aa', 'a'],
    ['ab', 'abab'],
    ['abab', 'ab'],
    ['123456', '1234560'],
    ['123456', '12345'],
    ['123456', '１２３４５６'],
    ['\u00e9', 'e\u0301'],
    ['\0', ''],
    ['', '\0'],
    ['\0\0', '\0'],
    ['\0', '\0\0'],
  ])('%j is not %j', (a, b) => {
    expect(equalText(a, b)).toBe(false)
  })

  it('the empty text equals itself', () => {
    expect(equalText('', '')).toBe(true)
  })
})

describe('concat, utf8, sha256', () => {
  it('joins in order and shares no memory with its parts', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 5 }), (parts) => {
        const whole = concat(...parts)
        expect([...whole]).toEqual(parts.flatMap((part) => [...part]))
        const before = [...whole]
        for (const part of parts) part.fill(0xaa)
        expect([...whole]).toEqual(before)
      }),
    )
  })

  it('hashes text as its UTF-8', async () => {
    const expected = 'ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0'
    expect(toBase64url(await sha256('abc'))).toBe(expected)
    expect(toBase64url(await sha256(utf8('abc')))).toBe(expected)
    const part = new Uint8Array([0, 97, 98, 99, 0]).subarray(1, 4)
    expect(toBase64url(await sha256(part))).toBe(expected)
  })
})
