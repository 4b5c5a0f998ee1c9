import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fromBase64url, toBase64url, utf8 } from '../../../src/bytes.ts'
import { openBox, sealBox } from '../../../src/keys/sealed-box.ts'
import { secretOf } from './secrets.ts'

const master = secretOf([1, 1])
const nonce = new Uint8Array(12).map((_, i) => i)

describe('sealed box', () => {
  it('gives back what went in, for the same label and context only', async () => {
    const box = await sealBox(master, 'token', 'Ana María', 'ctx', nonce)
    expect(await openBox(master, 'token', box, 'ctx')).toEqual(utf8('Ana María'))
    expect(await openBox(master, 'cookie', box, 'ctx')).toBeUndefined()
    expect(await openBox(master, 'token', box, 'ctx2')).toBeUndefined()
    expect(await openBox(secretOf([1, 2]), 'token', box, 'ctx')).toBeUndefined()
  })

  it('shows nothing of its content', async () => {
    const box = await sealBox(master, 'token', 'Ana', 'ctx', nonce)
    expect(Buffer.from(box.slice(2), 'base64url').includes('Ana')).toBe(false)
  })

  it('every flipped bit is refused', async () => {
    const box = await sealBox(master, 'wrap', 'x', 'ctx', nonce)
    const bytes = fromBase64url(box.slice(2)) ?? new Uint8Array()
    expect(bytes.length).toBe(12 + 1 + 16)
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte))
      expect(await openBox(master, 'wrap', `1.${toBase64url(flipped)}`, 'ctx')).toBeUndefined()
    }
  })

  it('321 opens after a rotation while the old version is listed; new boxes carry the new one', async () => {
    const rotated = secretOf([2, 2], [1, 1])
    const old = await sealBox(master, 'cookie', 'old', '', nonce)
    const fresh = await sealBox(rotated, 'cookie', 'new', '', nonce)
    expect([old.slice(0, 2), fresh.slice(0, 2)]).toEqual(['1.', '2.'])
    expect(await openBox(rotated, 'cookie', old, '')).toEqual(utf8('old'))
    expect(await openBox(secretOf([2, 2]), 'cookie', old, '')).toBeUndefined()
    expect(await openBox(rotated, 'cookie', `2.${old.slice(2)}`, '')).toBeUndefined()
  })

  it('never throws on garbage', async () => {
    const near = fc.tuple(
      fc.constantFrom('1.', '2.', '01.', '1..', '', '-1.', '1e0.'),
      fc.base64String(),
    )
    const garbage = fc.oneof(
      fc.string(),
      near.map((parts) => parts.join('')),
    )
    await fc.assert(
      fc.asyncProperty(garbage, async (text) => {
        expect(await openBox(master, 'wrap', text, 'ctx')).toBeUndefined()
      }),
    )
  })

  it('needs a nonce of twelve bytes', async () => {
    await expect(sealBox(master, 'wrap', 'x', '', nonce.slice(1))).rejects.toThrow(RangeError)
  })
})
