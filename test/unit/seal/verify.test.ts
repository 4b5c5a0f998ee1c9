import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { TrustLevel } from '../../../src/seal/payload.ts'
import { faultsOf, type Verification, verifySeal } from '../../../src/seal/verify.ts'
import {
  ada,
  adaInFull,
  against,
  DAY,
  type Entry,
  entry,
  NOW,
  newKey,
  parsed,
  sealKey,
  sealOver,
  sealText,
  trustList,
} from './world.ts'

const seal = await parsed(await sealText())
const fullSeal = await parsed(await sealText(adaInFull))

/** The code and the facts that do not hold, or `ok`. */
async function outcome(change: Partial<Verification> = {}, of = seal) {
  const verified = await verifySeal(of, await against(change))
  if (verified.ok) return 'ok'
  return [verified.reason.code, ...faultsOf(verified.reason)]
}

async function withEntry(change: Partial<Entry>) {
  return { trust: await trustList({ entries: [entry(sealKey, change)] }) }
}

const outside = vi.fn()
beforeEach(() => void vi.stubGlobal('fetch', outside))
afterEach(() => {
  expect(outside).not.toHaveBeenCalled()
  vi.unstubAllGlobals()
})

test('a seal that holds gives the identity and its level', async () => {
  const expiresAt = Date.parse('2027-11-21T23:59:59Z') / 1000
  expect(await verifySeal(seal, await against())).toStrictEqual({
    ok: true,
    value: {
      fingerprint: seal.fingerprint,
      caId: 'IDT1',
      identity: { ...ada, expiresAt },
      trustLevel: 3,
      issuedAt: NOW - DAY,
      expiresAt,
      listFreshness: 'fresh',
    },
  })
})

describe('154 the signer must be known, active, valid and meant for it', () => {
  test('unknown certificate reference', async () => {
    expect(await outcome(await withEntry({ certId: '0002' }))).toContain('signer')
    expect(await outcome(await withEntry({ caId: 'IDT2' }))).toContain('signer')
    expect(await outcome({ trust: await trustList({ entries: [] }) })).toContain('invalid_vds')
  })
  test('revoked certificate', async () => {
    expect(await outcome(await withEntry({ status: 'revoked' }))).toEqual([
      'invalid_vds',
      'signerActive',
    ])
  })
  test('expired certificate, and one not valid yet', async () => {
    const refused = ['invalid_vds', 'signerValidity']
    const valid = (from: number, to: number) => withEntry({ validity: { from, to } })
    expect(await outcome(await valid(NOW - 9, NOW - 1))).toEqual(refused)
    expect(await outcome(await valid(NOW + 1, NOW + 9))).toEqual(refused)
    expect(await outcome(await valid(NOW, NOW))).toBe('ok')
  })
  test('outside its usage', async () => {
    expect(await outcome(await withEntry({ purposes: ['enrollment-grant', 'issuer-ca'] }))).toEqual(
      ['invalid_vds', 'usage'],
    )
  })
  test('certificate without the manifest', async () => {
    expect(await outcome(await withEntry({ manifests: ['0A0002'] }))).toEqual([
      'invalid_vds',
      'manifest',
    ])
    expect(await outcome(await withEntry({ manifests: [] }))).toEqual(['invalid_vds', 'manifest'])
  })
  test('a manifest we do not read, though the list allows it', async () => {
    const text = await sealOver(seal.payload, (header) => {
      header[8] = 0x0b
    })
    expect(await outcome(await withEntry({ manifests: ['0B0001'] }), await parsed(text))).toEqual([
      'invalid_vds',
      'profile',
      'expiry',
    ])
  })
  test('another key under the same reference', async () => {
    const trust = await trustList({ entries: [entry(await newKey())] })
    expect(await outcome({ trust })).toEqual(['invalid_vds', 'signature'])
  })
  test('a key off the curve', async () => {
    const key = { ...entry(sealKey).key, y: 'A'.repeat(43) }
    expect(await outcome(await withEntry({ key }))).toEqual(['invalid_vds', 'signature'])
  })
})

describe('155 creation time', () => {
  test.each([
    [301, ['invalid_vds', 'creationTime']],
    [300, 'ok'],
    [299, 'ok'],
  ])('%i s ahead', async (ahead, expected) => {
    const early = await parsed(await sealText(ada, { createdAt: NOW + ahead }))
    expect(await outcome({}, early)).toEqual(expected)
  })
})

describe('156 expiry', () => {
  const lastSecond = Date.parse('2027-11-21T23:59:59Z') / 1000
  const lists = async (now: number, change: Partial<Entry> = {}) => ({
    now,
    trust: await trustList({
      nextUpdate: now + 1,
      entries: [entry(sealKey, { validity: { from: 0, to: now + 1 }, ...change })],
    }),
  })

  test('holds to the last second of the day and is vds_expired after it', async () => {
    expect(await outcome(await lists(lastSecond))).toBe('ok')
    expect(await outcome(await lists(lastSecond + 1))).toEqual(['vds_expired', 'expiry'])
  })
  test('is vds_expired only when it is the sole fault', async () => {
    const revoked = await lists(lastSecond + 1, { status: 'revoked' })
    expect(await outcome(revoked)).toEqual(['invalid_vds', 'signerActive', 'expiry'])
    expect(await outcome({ ...(await lists(lastSecond + 1)), revoked: true })).toEqual([
      'invalid_vds',
      'notRevoked',
      'expiry',
    ])
    const forged = { ...seal, signature: new Uint8Array(64) }
    expect(await outcome(await lists(lastSecond + 1), forged)).toContain('invalid_vds')
  })
})

test('157 a fingerprint on the revocation list', async () => {
  for (const use of ['enrollment', 'login'] as const) {
    expect(await outcome({ revoked: true, use })).toEqual(['invalid_vds', 'notRevoked'])
  }
})

test('161 a payload outside its profile', async () => {
  const wrong = await parsed(await sealText({ ...ada, dateOfBirth: '2023-02-30' }))
  expect(await outcome({}, wrong)).toEqual(['invalid_vds', 'profile', 'expiry'])
  const unborn = await parsed(await sealText({ ...ada, dateOfBirth: '2026-11-22' }))
  expect(await outcome({}, unborn)).toContain('profile')
  const bornToday = await parsed(await sealText({ ...ada, dateOfBirth: '2026-11-21' }))
  expect(await outcome({}, bornToday)).toBe('ok')
})

describe('3-seal 9: a stale list', () => {
  test.each([
    [0, 'enrollment', 'ok'],
    [1, 'enrollment', ['invalid_vds', 'listFreshness']],
    [0, 'login', 'ok'],
    [3600, 'login', 'ok'],
    [3601, 'login', ['invalid_vds', 'listFreshness']],
  ] as const)('%i s past its next update, %s', async (past, use, expected) => {
    const trust = await trustList({ nextUpdate: NOW - past })
    expect(await outcome({ trust, use })).toEqual(expected)
  })
  test('the grace is told to the caller', async () => {
    const trust = await trustList({ nextUpdate: NOW - 1 })
    const verified = await verifySeal(seal, await against({ trust, use: 'login' }))
    expect(verified).toMatchObject({ ok: true, value: { listFreshness: 'grace' } })
  })
})

describe('3-seal 1.2 and 3.1: the effective level is the lower of seal and list', () => {
  test.each<[TrustLevel | undefined, TrustLevel, TrustLevel]>([
    [undefined, 1, 1],
    [undefined, 2, 2],
    [undefined, 3, 3],
    [1, 3, 1],
    [3, 1, 1],
    [2, 3, 2],
    [3, 2, 2],
    [3, 3, 3],
  ])('seal %s, list %i: %i', async (stated, maxTrustLevel, expected) => {
    const identity = stated === undefined ? ada : { ...adaInFull, trustLevel: stated }
    const trust = await trustList({ entries: [entry(sealKey, { maxTrustLevel })] })
    const verified = await verifySeal(
      await parsed(await sealText(identity)),
      await against({ trust }),
    )
    expect(verified.ok && verified.value.trustLevel).toBe(expected)
  })
})

test('356 the CA is told with the tokenId, so that another CA cannot take it over', async () => {
  const otherKey = await newKey()
  const trust = await trustList({ entries: [entry(sealKey), entry(otherKey, { caId: 'EVIL' })] })
  const other = await parsed(await sealText(ada, { caId: 'EVIL', key: otherKey }))
  const [first, second] = await Promise.all([
    verifySeal(seal, await against({ trust })),
    verifySeal(other, await against({ trust })),
  ])
  expect(first).toMatchObject({ value: { caId: 'IDT1', identity: { tokenId: ada.tokenId } } })
  expect(second).toMatchObject({ value: { caId: 'EVIL', identity: { tokenId: ada.tokenId } } })
  const borrowed = await parsed(await sealText(ada, { caId: 'EVIL', key: sealKey }))
  expect(await outcome({ trust }, borrowed)).toEqual(['invalid_vds', 'signature'])
})

test('the facts of a refusal hold nothing of the person', async () => {
  const verified = await verifySeal(fullSeal, await against({ revoked: true }))
  expect(JSON.stringify(verified)).not.toMatch(/Ada|Lovelace|1990|C01X/)
})
