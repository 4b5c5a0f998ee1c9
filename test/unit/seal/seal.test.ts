import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { p256 } from '@noble/curves/nist.js'
import { sha256 as nobleSha256 } from '@noble/hashes/sha2.js'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { concat, fromBase64url, toBase64url, utf8 } from '../../../src/bytes.ts'
import { encodeBase45 } from '../../../src/seal/base45.ts'
import { makeSeal, sealHeader } from '../../../src/seal/make.ts'
import { writeIdentity } from '../../../src/seal/payload.ts'
import { parseSeal } from '../../../src/seal/seal.ts'
import { verifySeal } from '../../../src/seal/verify.ts'
import {
  ada,
  adaInFull,
  against,
  DAY,
  malleated,
  NOW,
  parsed,
  sealKey,
  sealOver,
  sealText,
} from './world.ts'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex').toUpperCase()
const bytesOf = (text: string) => fromBase64url(text) ?? new Uint8Array()
const made = await makeSeal({
  caId: 'IDT1',
  certId: '0001',
  createdAt: NOW,
  identity: ada,
  sign: sealKey.sign,
})

async function reasonFor(text: string): Promise<string> {
  const seal = await parseSeal(text)
  return seal.ok ? 'ok' : seal.reason
}

/** What a caller learns about `text` from parsing and verifying it. */
async function verdict(text: string): Promise<string> {
  const seal = await parseSeal(text)
  if (!seal.ok) return 'invalid_vds'
  const verified = await verifySeal(seal.value, await cachedAgainst)
  return verified.ok ? 'ok' : verified.reason.code
}
const cachedAgainst = against()

test('3-seal 1.1: the header of IDT1 0001 at 1795219200 with 99 bytes', () => {
  const header = sealHeader({ caId: 'IDT1', certId: '0001', createdAt: 1795219200 }, 99)
  expect(hex(header)).toBe('DE028C4A1FE519CD0A00016B00DF000063')
})

test('3-seal 1.1 and 1.3: a seal is taken apart the same from both text forms', async () => {
  expect(made.base45).toMatch(/^:2S/)
  expect(made.base64url).toMatch(/^3g[I-L]/)
  const seal = await parsed(made.base64url)
  expect(await parsed(made.base45)).toEqual(seal)
  expect(seal).toMatchObject({
    caId: 'IDT1',
    certId: '0001',
    manifest: '0A0001',
    createdAt: NOW,
    fingerprint: made.fingerprint,
  })
  expect(seal.payload).toEqual(writeIdentity(ada))
  expect(seal.values).toHaveLength(9)
  expect(seal.signature).toEqual(made.bytes.slice(-64))
  const header = made.bytes.slice(0, 17)
  expect(seal.signedBytes).toEqual(concat(header, nobleSha256(seal.payload)))
  expect(seal.fingerprint).toBe(toBase64url(nobleSha256(made.bytes.slice(0, -64))))
})

describe('153 identity seal: every flipped bit is refused', () => {
  const { photo, face, sourceHash, ...withTail } = adaInFull
  test.each([
    ['9 values', ada],
    ['14 values', withTail],
  ])('%s', async (_, identity) => {
    const text = await sealText(identity)
    expect(await verdict(text)).toBe('ok')
    const bytes = bytesOf(text)
    const verdicts = await Promise.all(
      Array.from({ length: bytes.length * 8 }, (_, bit) => {
        const flipped = concat(bytes)
        flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
        return verdict(toBase64url(flipped))
      }),
    )
    expect(verdicts.length).toBeGreaterThan(8 * (17 + 64))
    expect(new Set(verdicts)).toEqual(new Set(['invalid_vds']))
  })
})

describe('159 only Base45 and unpadded base64url are read', () => {
  const buffer = Buffer.from(made.bytes)
  test.each([
    ['lower-case hex', buffer.toString('hex')],
    ['upper-case hex', buffer.toString('hex').toUpperCase()],
    ['padded base64url', `${made.base64url}=`],
    ['plain Base64', buffer.toString('base64')],
    ['Base32', '3YBIYSQ74UM42CQAAFVQBXYAABRQ===='],
    ['a lower-case Base45', made.base45.toLowerCase()],
    ['a leading blank', ` ${made.base64url}`],
    ['a trailing line end', `${made.base64url}\n`],
    ['a trailing blank in Base45', `${made.base45} `],
    ['a link around it', `https://id.example/#${made.base64url}`],
    ['the empty text', ''],
    ['another marker', toBase64url(concat(new Uint8Array([0xdc]), made.bytes.subarray(1)))],
  ])('%s', async (_, text) => {
    expect(await reasonFor(text)).not.toBe('ok')
    expect(await verdict(text)).toBe('invalid_vds')
  })

  test('non-zero trailing bits of base64url are refused', async () => {
    const bytes = concat(made.bytes, new Uint8Array(made.bytes.length % 3 === 0 ? 1 : 0))
    const text = toBase64url(bytes)
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const next = alphabet.charAt(alphabet.indexOf(text.slice(-1)) + 1)
    expect(await reasonFor(text)).toBe('ok')
    expect(await reasonFor(text.slice(0, -1) + next)).toBe('unknown_form')
  })

  test('a text in both alphabets never has two readings that begin with the marker', async () => {
    const both = fc.constantFrom(...'0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-')
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: both, minLength: 3, maxLength: 200 }), async (tail) => {
        const bytes = fromBase64url(`3${tail}`)
        expect(bytes?.[0]).not.toBe(0xde)
        await parseSeal(`:2S${tail}`)
      }),
    )
  })

  test('at most 4 KiB of text', async () => {
    expect(await reasonFor(made.base64url.padEnd(4097, 'A'))).toBe('too_long')
    expect(await reasonFor(made.base64url.padEnd(4096, 'A'))).toBe('bad_length')
  })
})

describe('3-seal 9, identity VDS: structure', () => {
  const payload = writeIdentity(ada)

  test.each([0, 1, 3, 4, 255])('header version %i is refused', async (version) => {
    const text = await sealOver(payload, (header) => {
      header[1] = version
    })
    expect(await reasonFor(text)).toBe('unknown_version')
  })

  test.each([
    ['one less', -1],
    ['one more', 1],
  ])('a length field off by one is refused: %s', async (_, by) => {
    const text = await sealOver(payload, (header) => {
      header[16] = (header[16] ?? 0) + by
    })
    expect(await verdict(text)).toBe('invalid_vds')
  })

  test('a filler other than 0 is refused', async () => {
    const text = await sealOver(payload, (header) => {
      header[7] = (header[7] ?? 0) + 1
    })
    expect(await reasonFor(text)).toBe('bad_signer')
  })

  test('AuxData of 512 bytes is skipped, of 513 refused; it is not in the fingerprint', async () => {
    const within = toBase64url(concat(made.bytes, new Uint8Array(512)))
    const seal = await parsed(within)
    expect(seal.fingerprint).toBe(made.fingerprint)
    expect(seal).toEqual(await parsed(made.base64url))
    expect(await reasonFor(toBase64url(concat(made.bytes, new Uint8Array(513))))).toBe('bad_length')
  })

  test('a payload that is no MessagePack is refused', async () => {
    expect(await reasonFor(await sealOver(new Uint8Array([0xc1])))).toBe('bad_payload')
    expect(await reasonFor(await sealOver(payload.slice(0, -11)))).toBe('bad_payload')
  })

  test('a foreign manifest has a structure but no verdict', async () => {
    const text = await sealOver(utf8('{"a"'), (header) => {
      header[8] = 0x0b
    })
    expect((await parsed(text)).manifest).toBe('0B0001')
    expect(await verdict(text)).toBe('invalid_vds')
  })
})

describe('165 signature length or algorithm altered', () => {
  test.each([0, 1, 32, 63])('%i signature bytes are refused', async (length) => {
    const text = toBase64url(made.bytes.slice(0, made.bytes.length - 64 + length))
    expect(await reasonFor(text)).toBe('bad_length')
  })

  test('P-384 and P-521 signatures are refused', async () => {
    const signed = (await parsed(made.base64url)).signedBytes
    for (const [namedCurve, hash] of [
      ['P-384', 'SHA-384'],
      ['P-521', 'SHA-512'],
    ] as const) {
      const algorithm = { name: 'ECDSA', namedCurve }
      const pair = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
      const digest = { name: 'ECDSA', hash }
      const signature = await crypto.subtle.sign(digest, pair.privateKey, signed)
      const bytes = concat(made.bytes.slice(0, -64), new Uint8Array(signature))
      expect(await verdict(toBase64url(bytes))).toBe('invalid_vds')
    }
  })

  test('zero, order-sized and DER signatures are refused', async () => {
    const unsigned = made.bytes.slice(0, -64)
    const der = p256.Signature.fromBytes(made.bytes.slice(-64)).toBytes('der')
    for (const signature of [new Uint8Array(64), new Uint8Array(64).fill(0xff), der]) {
      expect(await verdict(toBase64url(concat(unsigned, signature)))).toBe('invalid_vds')
    }
  })

  test('a signature over SHA-256 of the signed bytes, hashed once more, is refused', async () => {
    const signed = (await parsed(made.base64url)).signedBytes
    const signature = await sealKey.sign(nobleSha256(signed) as Uint8Array<ArrayBuffer>)
    const bytes = concat(made.bytes.slice(0, -64), signature)
    expect(await verdict(toBase64url(bytes))).toBe('invalid_vds')
  })
})

test('164 (r, n−s) is the same seal: accepted, same fingerprint', async () => {
  const other = concat(made.bytes.slice(0, -64), malleated(made.bytes.slice(-64)))
  expect(other).not.toEqual(made.bytes)
  expect((await parsed(toBase64url(other))).fingerprint).toBe(made.fingerprint)
  expect(await verdict(toBase64url(other))).toBe('ok')
})

test('164 a re-issued seal of the same document has another fingerprint', async () => {
  const [first, second] = await Promise.all([
    sealText(ada, { createdAt: NOW - DAY }),
    sealText(ada, { createdAt: NOW - DAY + 1 }),
  ])
  expect((await parsed(first)).fingerprint).not.toBe((await parsed(second)).fingerprint)
})

test('any text and any bytes give a Result', async () => {
  await fc.assert(fc.asyncProperty(fc.string(), async (text) => void (await parseSeal(text))))
  const head = made.bytes.slice(0, 2)
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (rest) => {
      const bytes = concat(head, rest)
      const [a, b] = await Promise.all([
        parseSeal(toBase64url(bytes)),
        parseSeal(encodeBase45(bytes)),
      ])
      expect(a).toEqual(b)
    }),
  )
})

describe('independent implementations accept the signature', () => {
  test('noble: ECDSA over SHA-256 of the 49 bytes', async () => {
    const { signedBytes, signature } = await parsed(made.base64url)
    const point = new Uint8Array(await crypto.subtle.exportKey('raw', sealKey.publicKey))
    const options = { lowS: false, prehash: false }
    expect(p256.verify(signature, nobleSha256(signedBytes), point, options)).toBe(true)
    signedBytes[16] = (signedBytes[16] ?? 0) ^ 1
    expect(p256.verify(signature, nobleSha256(signedBytes), point, options)).toBe(false)
  })

  const hasOpenssl = spawnSync('openssl', ['version']).status === 0
  test.skipIf(!hasOpenssl)('openssl dgst -sha256 over the 49 bytes', async () => {
    const { signedBytes, signature } = await parsed(made.base64url)
    const spki = Buffer.from(await crypto.subtle.exportKey('spki', sealKey.publicKey))
    const folder = mkdtempSync(join(tmpdir(), 'seal-'))
    try {
      const file = (name: string, data: string | Uint8Array) => {
        writeFileSync(join(folder, name), data)
        return join(folder, name)
      }
      const pem = spki.toString('base64').replaceAll(/.{64}/g, '$&\n')
      const args = [
        'dgst',
        '-sha256',
        '-verify',
        file('key.pem', `-----BEGIN PUBLIC KEY-----\n${pem}\n-----END PUBLIC KEY-----\n`),
        '-signature',
        file('signature.der', p256.Signature.fromBytes(signature).toBytes('der')),
        file('signed', signedBytes),
      ]
      expect(execFileSync('openssl', args, { encoding: 'utf8' })).toContain('Verified OK')
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe('the maker throws for an order that has no such seal', () => {
  const order = { caId: 'IDT1', certId: '0001', createdAt: NOW, identity: ada, sign: sealKey.sign }
  test.each([
    ['short CA id', { caId: 'ID' }],
    ['lengths that only add up', { caId: 'IDT10', certId: '001' }],
    ['lower-case id', { certId: 'abcd' }],
    ['time beyond 32 bits', { createdAt: 2 ** 32 }],
    ['time with a fraction', { createdAt: 1.5 }],
    ['signature of 63 bytes', { sign: async () => new Uint8Array(63) }],
  ])('%s', async (_, change) => {
    await expect(makeSeal({ ...order, ...change })).rejects.toThrow(RangeError)
  })
})
