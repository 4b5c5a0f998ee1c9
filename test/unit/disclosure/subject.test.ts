import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { subjectFor } from '../../../src/disclosure/subject.ts'
import { deriveKey, stableVersion } from '../../../src/keys/derive.ts'
import { secretOf } from '../keys/secrets.ts'

const tokenId = '0b5c1e1e-2f6a-4a7d-9a3c-6f0e5d4c3b2a'
const pairwiseKey = new Uint8Array(32).map((_, i) => i)

function pairwise(sector: string, of: string = tokenId, key: Uint8Array = pairwiseKey) {
  return subjectFor({ type: 'pairwise', sector, tokenId: of, pairwiseKey: key })
}

describe('sub (decision 8)', () => {
  it('public is the tokenId, transient the random bytes', async () => {
    expect(await subjectFor({ type: 'public', tokenId })).toBe(tokenId)
    const random = new Uint8Array(16).fill(255)
    expect(await subjectFor({ type: 'transient', tokenId, random })).toBe('_____________________w')
  })

  it('347 a transient sub has at least 128 random bits', async () => {
    const random = new Uint8Array(15)
    await expect(subjectFor({ type: 'transient', random })).rejects.toThrow(RangeError)
  })

  it('345 pairwise: the same in one sector, different in two, for two people and under two keys', async () => {
    const sub = await pairwise('shop.example')
    expect(sub).toMatch(/^[A-Za-z0-9_-]{43}$/)
    expect(await pairwise('shop.example')).toBe(sub)
    expect(await pairwise('bank.example')).not.toBe(sub)
    expect(await pairwise('shop.example', tokenId.replace('0', '1'))).not.toBe(sub)
    expect(await pairwise('shop.example', tokenId, pairwiseKey.with(0, 9))).not.toBe(sub)
    expect(Buffer.from(sub, 'base64url').toString('latin1')).not.toContain(tokenId)
  })

  it('345 pairwise is unchanged after a rotation of the master secret that keeps the old version', async () => {
    const subs = [secretOf([1, 1]), secretOf([2, 2], [1, 1]), secretOf([3, 3], [2, 2], [1, 1])].map(
      async (master) =>
        pairwise(
          'shop.example',
          tokenId,
          await deriveKey(master, 'pairwise', stableVersion(master)),
        ),
    )
    expect(new Set(await Promise.all(subs)).size).toBe(1)
  })

  it('345 has a known value: no release may rename everybody', async () => {
    expect(await pairwise('shop.example')).toBe('svA6REdrBvqOIk7T5edt-toKIc3itO4BuXzR5kuC9wE')
  })

  it('135 sector and tokenId do not run into each other', async () => {
    expect(await pairwise('ab', 'c')).not.toBe(await pairwise('a', 'bc'))
    await fc.assert(
      fc.asyncProperty(fc.string({ maxLength: 8 }), fc.nat(8), fc.nat(8), async (text, a, b) => {
        const [left, right] = [Math.min(a, text.length), Math.min(b, text.length)]
        const subs = [left, right].map((at) => pairwise(text.slice(0, at), text.slice(at)))
        expect((await subs[0]) === (await subs[1])).toBe(left === right)
      }),
    )
  })
})
