import { hkdf } from '@noble/hashes/hkdf.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concat, toBase64url, utf8 } from '../../../src/bytes.ts'
import {
  deriveKey,
  hmacSha256,
  type KeyLabel,
  stableVersion,
  verifyHmac,
  verifyHmacOfAnyVersion,
} from '../../../src/keys/derive.ts'
import { secretOf } from './secrets.ts'

const LABELS: Readonly<Record<KeyLabel, true>> = {
  otp: true,
  cookie: true,
  token: true,
  wrap: true,
  pairwise: true,
  socket: true,
  session: true,
  inbox: true,
  challenge: true,
  audit: true,
  address: true,
  dpop: true,
  qr: true,
  link: true,
}
const labels = Object.keys(LABELS) as KeyLabel[]
const master = secretOf([2, 2], [1, 1])

describe('344 derived keys', () => {
  it('are distinct for every label and version', async () => {
    const keys = await Promise.all(
      labels.flatMap((label) => [deriveKey(master, label), deriveKey(master, label, 1)]),
    )
    expect(keys.every((key) => key.length === 32)).toBe(true)
    expect(new Set(keys.map(toBase64url)).size).toBe(labels.length * 2)
  })

  it('are HKDF-SHA256 with empty salt and the label as info (RFC 5869, independent implementation)', async () => {
    for (const label of labels) {
      const secret = master.versions.get(1) ?? new Uint8Array()
      const expected = hkdf(sha256, secret, undefined, utf8(`idtoken-edge/1/${label}`), 32)
      expect(await deriveKey(master, label, 1)).toEqual(new Uint8Array(expected))
    }
  })

  it('have known values: an upgrade that changes one breaks every deployment', async () => {
    expect(toBase64url(await deriveKey(secretOf([1, 1]), 'pairwise'))).toBe(
      'TlWmZyeQBlcBz3gjDE4BQYUHbixT5bV0BPKQet4CyAE',
    )
    expect(toBase64url(await deriveKey(secretOf([1, 1]), 'otp'))).toBe(
      'BkfDjqBJlM5IQ_a9hYWroQvM8nBTSbTR__k5sOa4PRs',
    )
  })

  it("are the caller's own: changing one changes nobody else's", async () => {
    const secret = secretOf([1, 1])
    const mine = await deriveKey(secret, 'otp')
    mine.fill(0)
    expect(await deriveKey(secret, 'otp')).toEqual(await deriveKey(secretOf([1, 1]), 'otp'))
  })

  it('of a version that is not listed do not exist', async () => {
    await expect(deriveKey(master, 'otp', 3)).rejects.toThrow(RangeError)
  })
})

describe('321 rotation of the secret', () => {
  it('new things use the first listed version, stable things the lowest', async () => {
    const before = secretOf([1, 1])
    const after = secretOf([2, 2], [1, 1])
    expect(await deriveKey(after, 'otp')).toEqual(await deriveKey(secretOf([2, 2]), 'otp'))
    expect(await deriveKey(after, 'otp')).not.toEqual(await deriveKey(before, 'otp'))
    expect(await deriveKey(after, 'pairwise', stableVersion(after))).toEqual(
      await deriveKey(before, 'pairwise', stableVersion(before)),
    )
  })

  it('the lowest version is the smallest number, not the last in the list or in text order', () => {
    expect(stableVersion(secretOf([10, 1], [9, 2], [11, 3]))).toBe(9)
  })

  it('a mac made before it still verifies while the old version is listed, and not after', async () => {
    const mac = await hmacSha256(await deriveKey(secretOf([1, 1]), 'socket'), 'sess_1')
    const verify = (of: typeof master) => verifyHmacOfAnyVersion(of, 'socket', mac, 'sess_1')
    expect(await verify(secretOf([2, 2], [1, 1]))).toBe(true)
    expect(await verify(secretOf([2, 2]))).toBe(false)
    expect(await verifyHmacOfAnyVersion(master, 'cookie', mac, 'sess_1')).toBe(false)
  })
})

describe('HMAC over parts', () => {
  const key = utf8('k'.repeat(32))

  it('135 joined inputs that shift differ', async () => {
    expect(await hmacSha256(key, 'ab', 'c')).not.toEqual(await hmacSha256(key, 'a', 'bc'))
    expect(await hmacSha256(key, 'ab')).not.toEqual(await hmacSha256(key, 'ab', ''))
  })

  it('135 the same parts, and only they, give the same value', async () => {
    const parts = fc.array(fc.string({ maxLength: 3, unit: fc.constantFrom('a', 'b', '\u0000') }), {
      maxLength: 4,
    })
    await fc.assert(
      fc.asyncProperty(parts, parts, async (left, right) => {
        const equal =
          (await hmacSha256(key, ...left)).join() === (await hmacSha256(key, ...right)).join()
        expect(equal).toBe(JSON.stringify(left) === JSON.stringify(right))
      }),
      { numRuns: 200 },
    )
  })

  it('is HMAC-SHA256 over four-byte lengths and parts (independent implementation)', async () => {
    const framed = concat(new Uint8Array([0, 0, 0, 3]), utf8('é1'), new Uint8Array([0, 0, 0, 1, 9]))
    const expected = new Uint8Array(hmac(sha256, key, framed))
    expect(await hmacSha256(key, 'é1', new Uint8Array([9]))).toEqual(expected)
  })

  it('344 a changed, shortened, lengthened or empty value does not verify', async () => {
    const mac = await hmacSha256(key, 'sess_1')
    expect(await verifyHmac(key, mac, 'sess_1')).toBe(true)
    expect(await verifyHmac(key, mac, 'sess_2')).toBe(false)
    for (let i = 0; i < mac.length; i++) {
      const changed = mac.map((byte, at) => (at === i ? byte ^ 1 : byte))
      expect(await verifyHmac(key, changed, 'sess_1')).toBe(false)
    }
    for (const other of [mac.slice(0, 31), concat(mac, new Uint8Array(1)), new Uint8Array()]) {
      expect(await verifyHmac(key, other, 'sess_1')).toBe(false)
    }
  })
})
