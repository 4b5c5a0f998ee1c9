import { hkdfSync } from 'node:crypto'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { type Bytes, utf8 } from '../../../src/bytes.ts'
import { deriveKey } from '../../../src/keys/derive.ts'
import type { MasterSecret } from '../../../src/keys/master-secret.ts'
import { type CodeBinding, deriveCode } from '../../../src/login/otp.ts'

const KEY = Uint8Array.from({ length: 32 }, (_, i) => i + 1)
const binding: CodeBinding = {
  salt: Uint8Array.from({ length: 16 }, (_, i) => 255 - i),
  tokenId: '11111111-2222-4333-8444-555555555555',
  serviceId: 'bar-le-central',
  sessionId: `sess_${'0123456789abcdef'.repeat(4)}`,
}

/** The code by another road: node's own HKDF, and arithmetic on the first block alone. */
function codeByNode(key: Uint8Array, { salt, tokenId, serviceId, sessionId }: CodeBinding): string {
  const info = Buffer.from(`otp${tokenId}${serviceId}${sessionId}`)
  const output = Buffer.from(hkdfSync('sha256', key, salt, info, 64))
  return (output.readBigUInt64BE(0) % 1_000_000n).toString().padStart(6, '0')
}

/** The code when HKDF gives `blocks`. */
function codeOf(...blocks: readonly bigint[]): Promise<string> {
  const output = new DataView(new ArrayBuffer(64))
  blocks.forEach((block, i) => {
    output.setBigUint64(i * 8, block)
  })
  vi.spyOn(crypto.subtle, 'deriveBits').mockResolvedValue(output.buffer)
  return deriveCode(KEY, binding)
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe('the derivation', () => {
  test('343 code: known answers', async () => {
    expect(await deriveCode(KEY, binding)).toBe(codeByNode(KEY, binding))
    expect(await deriveCode(KEY, binding)).toBe('766728')
    for (let i = 0; i < 50; i++) {
      const other = { ...binding, salt: crypto.getRandomValues(new Uint8Array(16)) }
      expect(await deriveCode(KEY, other)).toBe(codeByNode(KEY, other))
    }
  })

  test.each<[string, Partial<CodeBinding>]>([
    ['salt', { salt: new Uint8Array(16) }],
    ['tokenId', { tokenId: '11111111-2222-4333-8444-555555555556' }],
    ['serviceId', { serviceId: 'bar-le-centra1' }],
    ['sessionId', { sessionId: `sess_${'f'.repeat(64)}` }],
  ])('343 code: another %s gives another code', async (_name, change) => {
    expect(await deriveCode(KEY, { ...binding, ...change })).not.toBe(
      await deriveCode(KEY, binding),
    )
  })

  test('343 code: another version of the secret gives another code', async () => {
    const secret = (byte: number): Bytes => Uint8Array.from({ length: 32 }, (_, i) => byte + i)
    const versions = new Map([
      [1, secret(1)],
      [2, secret(101)],
    ])
    const master: MasterSecret = { current: 2, versions }
    const codes = [1, 2].map(async (version) =>
      deriveCode(await deriveKey(master, 'otp', version), binding),
    )
    const [old, current] = await Promise.all(codes)
    expect(old).not.toBe(current)
  })

  test('135 code: the parts of a binding can not run into each other', async () => {
    // Both outer parts have a fixed length, so moving a character between any two changes the bytes or the form.
    const infos: string[] = []
    const derive = crypto.subtle.deriveBits.bind(crypto.subtle)
    vi.spyOn(crypto.subtle, 'deriveBits').mockImplementation((algorithm, key, length) => {
      if ('info' in Object(algorithm)) {
        infos.push(new TextDecoder().decode(Reflect.get(Object(algorithm), 'info')))
      }
      return derive(algorithm, key, length)
    })
    await deriveCode(KEY, binding)
    await deriveCode(KEY, { ...binding, serviceId: 'bar-le-central2' })
    expect(infos).toEqual([
      `otp${binding.tokenId}bar-le-central${binding.sessionId}`,
      `otp${binding.tokenId}bar-le-central2${binding.sessionId}`,
    ])
    expect(utf8(binding.tokenId)).toHaveLength(36)
    expect(utf8(binding.sessionId)).toHaveLength(69)
  })
})

describe('the reduction', () => {
  const LIMIT = 2n ** 64n - (2n ** 64n % 1_000_000n)

  test('186 code: leading zeros stay', async () => {
    expect(await codeOf(7n)).toBe('000007')
    expect(await codeOf(0n)).toBe('000000')
    expect(await codeOf(12_345_000_042n)).toBe('000042')
  })

  test('186 code: a block above the last whole multiple of a million is skipped', async () => {
    expect(await codeOf(LIMIT - 1n)).toBe('999999')
    expect(await codeOf(LIMIT, 123_456n)).toBe('123456')
    expect(await codeOf(2n ** 64n - 1n, LIMIT, LIMIT + 1n, 654_321n)).toBe('654321')
    expect(await codeOf(...Array(8).fill(2n ** 64n - 1n))).toMatch(/^\d{6}$/)
  })

  test('186 code: twenty thousand codes are even, by every digit', async () => {
    // Salts are counted, not drawn, so that this test gives the same verdict every time.
    const count = 20_000
    const digits = Array.from({ length: 6 }, () => Array<number>(10).fill(0))
    const thousands = Array<number>(1000).fill(0)
    for (let done = 0; done < count; done += 500) {
      const codes = await Promise.all(
        Array.from({ length: 500 }, (_, i) => {
          const salt = new Uint8Array(16)
          new DataView(salt.buffer).setUint32(0, done + i)
          return deriveCode(KEY, { ...binding, salt })
        }),
      )
      for (const code of codes) {
        if (!/^\d{6}$/.test(code)) expect.fail(code)
        for (const [place, digit] of [...code].entries()) bump(digits[place] ?? [], Number(digit))
        bump(thousands, Math.floor(Number(code) / 1000))
      }
    }
    // Critical values for p = 0.001 with 9 and 999 degrees of freedom.
    for (const place of digits) expect(chiSquare(place, count)).toBeLessThan(27.9)
    expect(chiSquare(thousands, count)).toBeLessThan(1143.9)
    expect(digits[0]?.[0]).toBeGreaterThan(0)
  })
})

function bump(counts: number[], index: number): void {
  counts[index] = (counts[index] ?? 0) + 1
}

function chiSquare(counts: readonly number[], total: number): number {
  const expected = total / counts.length
  return counts.reduce((sum, seen) => sum + (seen - expected) ** 2 / expected, 0)
}
