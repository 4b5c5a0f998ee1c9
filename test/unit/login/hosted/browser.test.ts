import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { sha256, toBase64url } from '../../../../src/bytes.ts'
import {
  browserHashOf,
  browserOf,
  isDone,
  knownPeople,
  personMark,
  rememberDone,
  rememberPerson,
} from '../../../../src/login/hosted/browser.ts'

/** Any UTF-16 unit, half a surrogate pair too. */
const anyUnit = fc.oneof(fc.nat(0xff), fc.nat(0xffff)).map((code) => String.fromCharCode(code))

const RANDOM = Uint8Array.from({ length: 16 }, (_, i) => i * 13)
const VALUE = toBase64url(RANDOM)

/** `name=value` of a `Set-Cookie` header, as a browser sends it back. */
function sentBack(setCookie: string): string {
  return setCookie.split(';')[0] ?? ''
}

describe('the cookie that names a browser', () => {
  test('334 browser: 128 random bits, only for this host, unseen by scripts, kept across logins', async () => {
    const { hash, setCookie } = await browserOf(null, RANDOM)
    expect(hash).toBe(toBase64url(await sha256(RANDOM)))
    expect(setCookie).toBe(
      `__Host-browser=${VALUE}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=34560000`,
    )
    const again = await browserOf(`a=b; ${sentBack(setCookie ?? '')}`, new Uint8Array(16))
    expect(again).toEqual({ hash, setCookie: null })
  })

  test('048 browser: what isn’t 16 bytes in their one spelling is no browser, and gets a new cookie', async () => {
    for (const header of [
      null,
      '',
      '__Host-browser=',
      `__Host-browser=${VALUE.slice(0, -1)}`,
      `__Host-browser=${VALUE}A`,
      `__Host-browser=${VALUE}==`,
      `__Host-browser=${VALUE.slice(0, -1)}B`,
      `__Host-browser=${toBase64url(new Uint8Array(15))}`,
      `__Host-browser=${toBase64url(new Uint8Array(17))}`,
      `__Host-browser="${VALUE}"`,
      `__host-browser=${VALUE}`,
      `browser=${VALUE}`,
      `__Host-browser=${VALUE}; __Host-browser=${VALUE}`,
    ]) {
      expect([header, await browserHashOf(header)]).toEqual([header, undefined])
      expect((await browserOf(header, RANDOM)).setCookie).toContain(VALUE)
    }
    expect(await browserHashOf(`__Host-browser=${VALUE}`)).toBe(toBase64url(await sha256(RANDOM)))
  })
})

describe('what a browser remembers of logins that are over', () => {
  test('043 browser: the eight newest, each once, for a quarter of an hour', async () => {
    let header: string | null = null
    const sessions = Array.from({ length: 10 }, (_, i) => `sess_${i}`)
    for (const session of sessions) {
      expect(await isDone(header, session)).toBe(false)
      const line = await rememberDone(header, session)
      expect(line).toMatch(
        /^__Host-done=[\w.-]+; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=900$/,
      )
      expect(line).not.toContain(session)
      header = sentBack(line)
    }
    const known = await Promise.all(sessions.map((session) => isDone(header, session)))
    expect(known).toEqual([false, false, ...Array(8).fill(true)])
    // The same one again and again drives no other out.
    for (let i = 0; i < 9; i++) header = sentBack(await rememberDone(header, 'sess_9'))
    expect(await isDone(header, 'sess_2')).toBe(true)
  })

  test('360 browser: the eight people who signed in last, each once, and nobody else can tell who they are', async () => {
    const hash = toBase64url(await sha256(RANDOM))
    const people = Array.from({ length: 10 }, (_, i) => `0000000${i}-2222-4333-8444-555555555555`)
    const marks = await Promise.all(people.map((tokenId) => personMark(hash, tokenId)))
    expect(new Set(marks).size).toBe(10)
    let header: string | null = null
    expect(knownPeople(header)).toEqual([])
    for (const tokenId of people) {
      const line = await rememberPerson(header, hash, tokenId)
      expect(line).toMatch(
        /^__Host-known=[\w.-]+; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=34560000$/,
      )
      expect(line).not.toContain(tokenId.slice(0, 8))
      header = sentBack(line)
    }
    // The latest first.
    expect(knownPeople(header)).toEqual(marks.slice(2).reverse())
    for (let i = 0; i < 9; i++) {
      header = sentBack(await rememberPerson(header, hash, people[4] ?? ''))
    }
    expect(knownPeople(header)).toEqual([
      ...[marks[4], ...marks.slice(5).reverse()],
      ...[marks[3], marks[2]],
    ])
    // In another browser the same person leaves another mark: the cookie of one is worth nothing in the other.
    expect(marks).not.toContain(await personMark(VALUE, people[4] ?? ''))
  })

  test('048 browser: whatever stands in the header, it is read and written without a fault', async () => {
    const text = fc.oneof(
      fc.string({ unit: anyUnit }),
      fc.string().map((value) => `__Host-done=${value}`),
      fc.string().map((value) => `__Host-known=${value}`),
    )
    await fc.assert(
      fc.asyncProperty(text, async (header) => {
        expect(await isDone(header, 'sess_1')).toBe(false)
        const line = await rememberDone(header, 'sess_1')
        expect(await isDone(sentBack(line), 'sess_1')).toBe(true)
        await browserHashOf(header)
        const known = sentBack(await rememberPerson(header, 'browser', 'anna'))
        expect(knownPeople(known)).toContain(await personMark('browser', 'anna'))
      }),
      { numRuns: 50 },
    )
  })
})
