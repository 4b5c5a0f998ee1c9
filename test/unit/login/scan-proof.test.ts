import { createHmac, hkdfSync } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Bytes } from '../../../src/bytes.ts'
import { deriveKey, type KeyLabel } from '../../../src/keys/derive.ts'
import type { MasterSecret } from '../../../src/keys/master-secret.ts'
import { judgeProof, linkOf, qrOf, type Screen } from '../../../src/login/scan-proof.ts'

const ISSUER = 'https://id.example.com'
const NOW = 1_800_000_000_000
const screen: Screen = { sessionId: `sess_${'0123456789abcdef'.repeat(4)}`, attempt: 1 }
const OTHERS: readonly [string, Screen][] = [
  ['login', { ...screen, sessionId: `sess_${'f'.repeat(64)}` }],
  ['attempt', { ...screen, attempt: 2 }],
]

const secretOf = (byte: number): Bytes => Uint8Array.from({ length: 32 }, (_, i) => byte + i)
const master: MasterSecret = { current: 1, versions: new Map([[1, secretOf(1)]]) }

/** The proof that a page shows at `at` (Unix ms): by node's own HMAC, from what the page gets. */
async function proofAt(at: number, from: MasterSecret = master, of: Screen = screen) {
  const { key } = await qrOf(from, ISSUER, of, NOW)
  const mac = createHmac('sha256', Buffer.from(key, 'base64url'))
  return mac
    .update(String(Math.floor(at / 2000)))
    .digest()
    .subarray(0, 16)
    .toString('base64url')
}

/** HMAC over the framed parts of `screen`, by node's own HKDF and HMAC. */
function macByNode(label: string): Buffer {
  const parts = [screen.sessionId, String(screen.attempt)].map((part) => {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(part.length)
    return Buffer.concat([length, Buffer.from(part)])
  })
  const key = hkdfSync('sha256', secretOf(1), '', `idtoken-edge/1/${label}`, 32)
  return createHmac('sha256', Buffer.from(key)).update(Buffer.concat(parts)).digest()
}

async function linkProof(from: MasterSecret = master, of: Screen = screen) {
  return /\.([\w-]{22})\.link$/.exec(await linkOf(from, ISSUER, of))?.[1] ?? ''
}

const camera = (proof: string | null, now = NOW, from = master, of = screen) =>
  judgeProof(from, of, 'camera', proof, now)
const link = (proof: string | null, from = master, of = screen) =>
  judgeProof(from, of, 'link', proof, NOW)

describe('what a page gets', () => {
  test('the address that opens the app, the key of this attempt and the clock', async () => {
    const { url, key, now } = await qrOf(master, ISSUER, screen, NOW)
    expect(url).toBe(`${ISSUER}/l#${screen.sessionId}.`)
    expect(now).toBe(NOW)
    expect(key).toBe(macByNode('qr').toString('base64url'))
  })

  test('a link with a proof of its own', async () => {
    expect(await linkOf(master, ISSUER, screen)).toMatch(
      /^https:\/\/id\.example\.com\/l#sess_[0-9a-f]{64}\.[A-Za-z0-9_-]{22}\.link$/,
    )
    expect(await linkProof()).toBe(macByNode('link').subarray(0, 16).toString('base64url'))
  })

  test.each(OTHERS)('another %s has another key and another link', async (_name, other) => {
    const [mine, its] = await Promise.all(
      [screen, other].map((of) => qrOf(master, ISSUER, of, NOW)),
    )
    expect(mine?.key).not.toBe(its?.key)
    expect(await linkProof()).not.toBe(await linkProof(master, other))
  })

  test('344 the keys of QR and link are keys of their own', async () => {
    const labels: KeyLabel[] = ['qr', 'link', 'socket', 'session', 'challenge']
    const keys = await Promise.all(labels.map((label) => deriveKey(master, label)))
    expect(new Set(keys.map((key) => key.join())).size).toBe(labels.length)
  })
})

describe('192 QR proof', () => {
  // NOW is the start of a step: a proof of `age` has begun that long ago.
  test.each([
    [0, 'fresh'],
    [2_000, 'fresh'],
    [10_000, 'fresh'],
    [12_000, 'expired'],
    [60_000, 'expired'],
    [180_000, 'expired'],
    [182_000, 'forged'],
    [3_600_000, 'forged'],
    // A page whose clock another machine of ours has set.
    [-2_000, 'fresh'],
    [-4_000, 'forged'],
    [-60_000, 'forged'],
  ])('192 of a step that began %d ms ago is %s', async (age, verdict) => {
    expect(await camera(await proofAt(NOW - age))).toBe(verdict)
  })

  test('192 the ten seconds end to the millisecond', async () => {
    const proof = await proofAt(NOW)
    expect(await camera(proof, NOW + 10_000)).toBe('fresh')
    expect(await camera(proof, NOW + 10_001)).toBe('expired')
    expect(await camera(proof, NOW + 180_000)).toBe('expired')
    expect(await camera(proof, NOW + 180_001)).toBe('forged')
    expect(await camera(proof, NOW - 2_000)).toBe('fresh')
    expect(await camera(proof, NOW - 2_001)).toBe('forged')
  })

  test('192 at any time it is fresh for ten seconds, then expired, then forged', async () => {
    const age = fc.oneof(
      fc.integer({ min: -20_000, max: 20_000 }),
      fc.integer({ min: 170_000, max: 190_000 }),
    )
    await fc.assert(
      fc.asyncProperty(fc.nat(2_000_000_000_000), age, async (at, later) => {
        const now = at + later
        const begun = Math.floor(at / 2000) * 2000
        const ahead = begun > now && Math.floor(begun / 2000) > Math.floor(now / 2000) + 1
        const old = now - begun
        const verdict = ahead || old > 180_000 ? 'forged' : old > 10_000 ? 'expired' : 'fresh'
        expect(await camera(await proofAt(at), now)).toBe(verdict)
      }),
      { numRuns: 60 },
    )
  })

  test.each(OTHERS)('192 of another %s is forged, fresh or old', async (_name, other) => {
    expect(await camera(await proofAt(NOW, master, other))).toBe('forged')
    expect(await camera(await proofAt(NOW - 30_000, master, other))).toBe('forged')
    expect(await link(await linkProof(master, other))).toBe('forged')
  })

  test('192 a link proof sent as camera, and the reverse', async () => {
    expect(await link(await linkProof())).toBe('fresh')
    expect(await camera(await proofAt(NOW))).toBe('fresh')
    expect(await camera(await linkProof())).toBe('forged')
    expect(await link(await proofAt(NOW))).toBe('forged')
  })

  test('192 altered', async () => {
    const genuine = [await proofAt(NOW), await linkProof()] as const
    const letter = fc.constantFrom(...'ABCXYZabcxyz0189-_')
    await fc.assert(
      fc.asyncProperty(fc.nat(21), letter, async (at, other) => {
        for (const [proof, judge] of [
          [genuine[0], camera],
          [genuine[1], link],
        ] as const) {
          fc.pre(proof[at] !== other)
          const altered = proof.slice(0, at) + other + proof.slice(at + 1)
          expect(await judge(altered)).toBe('forged')
        }
      }),
      { numRuns: 60 },
    )
  })

  test('192 absent, or in another form', async () => {
    for (const [proof, judge] of [
      [await proofAt(NOW), camera],
      [await linkProof(), link],
    ] as const) {
      const hex = Buffer.from(proof, 'base64url').toString('hex')
      const others = [null, '', proof.slice(1), `${proof}A`, `${proof}==`, ` ${proof}`, hex]
      for (const other of others) expect(await judge(other)).toBe('forged')
    }
  })

  test('192 any text is judged and nearly none is genuine', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary', maxLength: 60 }), async (text) => {
        expect(await camera(text)).toBe('forged')
        expect(await link(text)).toBe('forged')
      }),
      { numRuns: 10 },
    )
  })
})

describe('321 after a rotation of the master secret', () => {
  const both = {
    current: 2,
    versions: new Map([
      [2, secretOf(101)],
      [1, secretOf(1)],
    ]),
  }
  const gone = { current: 2, versions: new Map([[2, secretOf(101)]]) }

  test('321 what a page shows that began before it goes on working', async () => {
    expect(await camera(await proofAt(NOW), NOW, both)).toBe('fresh')
    expect(await camera(await proofAt(NOW - 30_000), NOW, both)).toBe('expired')
    expect(await link(await linkProof(), both)).toBe('fresh')
  })

  test('321 new pages use the new version, and a version that is gone proves nothing', async () => {
    expect(await proofAt(NOW, both)).toBe(await proofAt(NOW, gone))
    expect(await linkProof(both)).toBe(await linkProof(gone))
    expect(await camera(await proofAt(NOW, both), NOW, both)).toBe('fresh')
    expect(await camera(await proofAt(NOW), NOW, gone)).toBe('forged')
    expect(await link(await linkProof(), gone)).toBe('forged')
  })
})
