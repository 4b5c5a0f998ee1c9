import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { dpopNonce, isDpopNonce } from '../../../src/services/dpop-nonce.ts'
import { secretOf } from '../keys/secrets.ts'
import { anyText, mutationsOf } from './jws.ts'

const MINUTE = 29_916_666
const START = MINUTE * 60
const master = secretOf([1, 1])

describe('081 the nonce of DPoP', () => {
  test('has the characters of RFC 9449 and is the same within a minute', async () => {
    const nonce = await dpopNonce(master, START)
    expect(nonce).toMatch(/^[\x21\x23-\x5b\x5d-\x7e]{1,64}$/)
    expect(await dpopNonce(master, START + 59)).toBe(nonce)
    expect(await dpopNonce(master, START + 59.9)).toBe(nonce)
    expect(await dpopNonce(master, START + 60)).not.toBe(nonce)
  })

  test('is good for five minutes wherever in its minute it was made, and not for six', async () => {
    for (const second of [0, 30, 59]) {
      const nonce = await dpopNonce(master, START + second)
      const good = (later: number) => isDpopNonce(master, nonce, START + second + later)
      expect(await Promise.all([0, 60, 240, 300].map(good))).toEqual([true, true, true, true])
      expect(await Promise.all([360, 600, 86_400].map(good))).toEqual([false, false, false])
    }
    const last = START + 5 * 60 + 59
    const nonce = await dpopNonce(master, START)
    expect(await isDpopNonce(master, nonce, last)).toBe(true)
    expect(await isDpopNonce(master, nonce, last + 1)).toBe(false)
  })

  test('of an isolate whose clock is a little ahead is good, of the minute after that not', async () => {
    const nonce = await dpopNonce(master, START)
    expect(await isDpopNonce(master, nonce, START - 1)).toBe(true)
    expect(await isDpopNonce(master, nonce, START - 60)).toBe(true)
    expect(await isDpopNonce(master, nonce, START - 61)).toBe(false)
  })

  test('321 outlives a rotation of the secret while the old version is listed', async () => {
    const nonce = await dpopNonce(master, START)
    expect(await isDpopNonce(secretOf([2, 2], [1, 1]), nonce, START)).toBe(true)
    expect(await isDpopNonce(secretOf([2, 2]), nonce, START)).toBe(false)
    const fresh = await dpopNonce(secretOf([2, 2], [1, 1]), START)
    expect(fresh).not.toBe(nonce)
    expect(await isDpopNonce(secretOf([2, 2]), fresh, START)).toBe(true)
  })

  test('cannot be moved to another minute', async () => {
    const mac = (await dpopNonce(master, START)).split('.')[1]
    expect(await isDpopNonce(master, `${MINUTE}.${mac}`, START)).toBe(true)
    for (const minute of [MINUTE + 1, MINUTE - 1, MINUTE - 5]) {
      expect(await isDpopNonce(master, `${minute}.${mac}`, START)).toBe(false)
    }
  })

  test('has one spelling', async () => {
    const nonce = await dpopNonce(master, START)
    const [minute, mac] = nonce.split('.')
    const others = [
      `0${nonce}`,
      `+${nonce}`,
      ` ${nonce}`,
      `${nonce} `,
      `${nonce}\n`,
      `${nonce}=`,
      `${nonce}.`,
      `${minute}.0.${mac}`,
      `${minute}e0.${mac}`,
      `${minute}.`,
      `.${mac}`,
      `${mac}`,
      `0x${MINUTE.toString(16)}.${mac}`,
      nonce.toUpperCase(),
    ]
    for (const other of others) expect(await isDpopNonce(master, other, START)).toBe(false)
    for (const bent of mutationsOf(nonce)) {
      expect(await isDpopNonce(master, bent, START)).toBe(false)
    }
  })

  test('is no other text, and none throws', async () => {
    const text = fc.oneof(
      anyText,
      fc
        .tuple(fc.integer({ min: -6, max: 2 }), fc.uint8Array({ minLength: 32, maxLength: 32 }))
        .map(([off, mac]) => `${MINUTE + off}.${Buffer.from(mac).toString('base64url')}`),
    )
    await fc.assert(
      fc.asyncProperty(text, async (each) => {
        expect(await isDpopNonce(master, each, START)).toBe(false)
      }),
      { numRuns: 100 },
    )
    for (const long of ['9'.repeat(1 << 20), `${MINUTE}.${'A'.repeat(1 << 20)}`]) {
      expect(await isDpopNonce(master, long, START)).toBe(false)
    }
  })
})
