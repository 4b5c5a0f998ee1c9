import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parametersOf } from '../../../src/http/parameters.ts'

/** Any UTF-16 unit, half a surrogate pair too. */
const anyUnit = fc.oneof(fc.nat(0xff), fc.nat(0xffff)).map((code) => String.fromCharCode(code))

function read(text: string, multiline?: readonly string[]) {
  const got = parametersOf(text, multiline)
  return got && { values: [...got.values], repeated: [...got.repeated] }
}

/** Text that a form may hold: no control, no lone surrogate. */
const clean = fc
  .string({ unit: 'grapheme', maxLength: 20 })
  .filter((text) => !hasControl(text) && text.isWellFormed())

function hasControl(text: string): boolean {
  return [...text].some((one) => one < ' ' || one === '\x7f')
}

describe('parametersOf', () => {
  it('reads names and values in order', () => {
    expect(read('scope=openid+email&state=a%20b%2Bc%26d%3De&x=1=2')).toEqual({
      values: [
        ['scope', 'openid email'],
        ['state', 'a b+c&d=e'],
        ['x', '1=2'],
      ],
      repeated: [],
    })
  })

  it('036 a state of every awkward character comes through whole', () => {
    const state = `&=%+<>"'#?/\\;,{}|^~\`é名🎫\u2028`
    expect(read(`state=${encodeURIComponent(state)}`)?.values).toEqual([['state', state]])
    expect(read(new URLSearchParams({ state }).toString())?.values).toEqual([['state', state]])
  })

  it('a parameter without a value counts as omitted', () => {
    const nothing = { values: [], repeated: [] }
    for (const text of ['', '&', '&&', 'a', 'a=', 'a&a=&b', '=']) {
      expect([text, read(text)]).toEqual([text, nothing])
    }
    expect(read('a=&a=1')).toEqual({ values: [['a', '1']], repeated: [] })
  })

  it('011 038 a parameter sent twice is named, equal values or not, encoded or not', () => {
    expect(read('a=1&b=2&a=3')).toEqual({
      values: [
        ['a', '1'],
        ['b', '2'],
      ],
      repeated: ['a'],
    })
    expect(read('a=1&a=1')?.repeated).toEqual(['a'])
    expect(read('client_id=1&client%5Fid=1')?.repeated).toEqual(['client_id'])
    expect(read('A=1&a=1')?.repeated).toEqual([])
  })

  it.each([
    ['a stray percent', 'a=100%'],
    ['half an escape', 'a=%2'],
    ['no hexadecimal', 'a=%zz'],
    ['a stray byte', 'a=%ff'],
    ['an overlong slash', 'a=%c0%af'],
    ['an overlong NUL', 'a=%c0%80'],
    ['half a surrogate', 'a=%ed%a0%80'],
    ['a cut sequence', 'a=%e2%82'],
    ['beyond Unicode', 'a=%f4%90%80%80'],
    ['Latin-1', 'a=caf%e9'],
    ['NUL', 'a=1%00'],
    ['a line break', 'a=1%0d%0aSet-Cookie:x'],
    ['a tab', 'a=%09'],
    ['DEL', 'a=%7f'],
    ['a raw line break', 'a=1\n'],
    ['a raw lone surrogate', 'a=\ud800'],
    ['a bad name', 'a%00=1'],
    ['a bad name without value', '%ff'],
    ['a bad value behind a good one', 'b=2&a=1&a=%ff'],
  ])('013 %s is refused', (_, text) => {
    expect(parametersOf(text)).toBeUndefined()
    expect(parametersOf(`good=1&${text}&more=1`)).toBeUndefined()
  })

  it('336 controls pass only in values of the names that may span lines, NUL never', () => {
    const text = 'state=1%0d%0aSet-Cookie:%20x%3D1&claims=%7B%0a%09%7D'
    expect(read(text, ['state', 'claims'])?.values).toEqual([
      ['state', '1\r\nSet-Cookie: x=1'],
      ['claims', '{\n\t}'],
    ])
    expect(read(text, ['state'])).toBeUndefined()
    expect(read('state%0d=1', ['state', 'state\r'])).toBeUndefined()
    expect(read('state=%00', ['state'])).toBeUndefined()
  })

  it('012 names of Object are names like any other', () => {
    const got = parametersOf('__proto__=1&constructor=2&toString=3')
    expect(got?.values.get('__proto__')).toBe('1')
    expect(got?.values.get('hasOwnProperty')).toBeUndefined()
    expect(Object.getPrototypeOf({})).toBe(Object.prototype)
    expect('1' in {}).toBe(false)
  })

  it('reads what URLSearchParams writes, for every clean text', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(clean, clean), { maxLength: 6 }), (pairs) => {
        const got = parametersOf(new URLSearchParams(pairs).toString())
        const first = new Map<string, string>()
        const again = new Set<string>()
        for (const [name, value] of pairs) {
          if (value === '') continue
          if (first.has(name)) again.add(name)
          else first.set(name, value)
        }
        expect(got).toEqual({ values: first, repeated: again })
      }),
    )
  })

  it('013 never throws and never makes a replacement character', () => {
    const piece = fc.oneof(
      fc.constantFrom('%', '%e', '%ff', '%00', '&', '=', '+', 'a', '\ud800', '%ed%a0%80'),
      fc.string({ unit: anyUnit, maxLength: 3 }).filter((text) => !text.includes('\ufffd')),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const got = parametersOf(pieces.join(''))
        const texts = [...(got?.values ?? [])].flat()
        const isDoubtful = (text: string) =>
          hasControl(text) || text.includes('\ufffd') || !text.isWellFormed()
        expect(texts.filter(isDoubtful)).toEqual([])
      }),
    )
  })
})
