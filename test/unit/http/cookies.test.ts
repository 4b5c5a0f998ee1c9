import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { cookie, expiredCookie, readCookie, readCookies } from '../../../src/http/cookies.ts'

/** Any UTF-16 unit, half a surrogate pair too. */
const anyUnit = fc.oneof(fc.nat(0xff), fc.nat(0xffff)).map((code) => String.fromCharCode(code))

/** Every character that RFC 6265 section 4.1.1 lets a cookie hold. */
const octets = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i)).filter(
  (one) => !'",;\\'.includes(one),
)

describe('readCookie', () => {
  it('reads one of several', () => {
    const header = 'a=1; __Host-browser=x-_y; b=2'
    expect(readCookie(header, '__Host-browser')).toBe('x-_y')
    expect(readCookie(header, 'a')).toBe('1')
    expect(readCookie(header, 'b')).toBe('2')
    expect(readCookie('a=1;b=2;\t c=3 ', 'c')).toBe('3')
    expect(readCookie('a=1=2==', 'a')).toBe('1=2==')
    expect(readCookie('a=', 'a')).toBe('')
    expect(readCookie(`a=${octets.join('')}`, 'a')).toBe(octets.join(''))
  })

  it('048 what is not there is not found', () => {
    for (const header of [null, '', ';', 'a', '=1', 'A=1', 'aa=1', ' a =1', 'b="a=1"']) {
      expect([header, readCookie(header, 'a')]).toEqual([header, undefined])
    }
    expect(readCookie('__host-browser=1', '__Host-browser')).toBeUndefined()
    for (const name of ['__proto__', 'constructor', '']) {
      expect(readCookie('a=1', name)).toBeUndefined()
    }
  })

  it('048 a cookie sent twice is nobody’s, however often and whatever it holds', () => {
    for (const header of ['a=1; a=2', 'a=1; a=1', 'a=1; b=2; a=3; a=1', 'a="x"; a=1', 'a=1; a=']) {
      expect([header, readCookie(header, 'a')]).toEqual([header, undefined])
    }
    expect(readCookie('a=1; a=2; b=3', 'b')).toBe('3')
  })

  it.each(['"1"', '1 2', '1,2', '1\\2', 'é', '1\u0000', '1\n', '1\x7f', '1, b=2'])(
    '048 the value %j is not made of cookie octets',
    (value) => {
      expect(readCookie(`a=${value}; c=3`, 'a')).toBeUndefined()
      expect(readCookie(`a=${value}; c=3`, 'c')).toBe('3')
    },
  )

  it('never throws', () => {
    fc.assert(
      fc.property(fc.string({ unit: anyUnit, maxLength: 40 }), (header) => {
        readCookie(header, 'a')
        const values = [...readCookies(header, '').values()].join('')
        expect([...values].filter((one) => !octets.includes(one))).toEqual([])
      }),
    )
  })
})

describe('readCookies', () => {
  it('gives those of a prefix by their full names, without the doubtful ones', () => {
    const header = '__Host-sso-a=1; __Host-sso-b=2; other=3; __Host-sso-a=4; __Host-sso-c=x y'
    expect([...readCookies(header, '__Host-sso-')]).toEqual([['__Host-sso-b', '2']])
    expect(readCookies(null, '__Host-sso-').size).toBe(0)
  })
})

describe('cookie', () => {
  it('334 is of this host alone, over TLS, and out of reach of scripts and other sites', () => {
    expect(cookie('__Host-browser', 'abc', { maxAge: 600 })).toBe(
      '__Host-browser=abc; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600',
    )
    expect(expiredCookie('__Host-browser')).toBe(
      '__Host-browser=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0',
    )
    expect(cookie('__Host-browser', 'abc', { maxAge: -5 })).toMatch(/; Max-Age=0$/)
  })

  it('336 holds no character that begins something else', () => {
    const value = fc.string({ unit: fc.constantFrom(...octets), maxLength: 30 })
    fc.assert(
      fc.property(value, (text) => {
        const header = cookie('__Host-a', text, { maxAge: 1 }).split('; ')[0] ?? ''
        expect(readCookie(header, '__Host-a')).toBe(text)
      }),
    )
    for (const bad of ['a;b', 'a b', 'a,b', 'a"b', 'a\\b', 'a\r\nb', 'é', '\0']) {
      expect(() => cookie('__Host-a', bad, { maxAge: 1 })).toThrow(TypeError)
      expect(() => cookie(`__Host-${bad}`, 'a', { maxAge: 1 })).toThrow(TypeError)
    }
    expect(() => cookie('__Host-', 'a', { maxAge: 1 })).toThrow(TypeError)
    expect(() => cookie('__Host-a', 'a', { maxAge: Number.NaN })).toThrow(TypeError)
    expect(() => cookie('__Host-a', 'a', { maxAge: 0.5 })).toThrow(TypeError)
  })

  it('has a name that begins with __Host-', () => {
    // @ts-expect-error: the type says so
    expect(() => cookie('browser', 'a', { maxAge: 1 })).toThrow(TypeError)
  })
})
