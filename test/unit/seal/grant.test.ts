import { describe, expect, test } from 'vitest'
import { toBase64url, utf8 } from '../../../src/bytes.ts'
import { type GrantBinding, verifyGrant } from '../../../src/seal/grant.ts'
import { makeGrant } from '../../../src/seal/make.ts'
import {
  DAY,
  type Entry,
  entry,
  grantKey,
  ISSUER,
  NOW,
  newKey,
  parsed,
  sealKey,
  sealText,
  trustList,
} from './world.ts'

const device = await newKey()
const { fingerprint } = await parsed(await sealText())
const order = {
  caId: 'IDT1',
  issuer: ISSUER,
  fingerprint,
  deviceThumbprint: device.kid,
  expiresAt: NOW + 600,
}
const binding: GrantBinding = { ...order, trust: await trustList(), now: NOW }

async function reasonFor(jws: string, change: Partial<GrantBinding> = {}): Promise<string> {
  const grant = await verifyGrant(jws, { ...binding, ...change })
  return grant.ok ? 'ok' : grant.reason
}

async function withEntry(change: Partial<Entry>) {
  const base = { certId: 'G001', purposes: ['enrollment-grant'] as Entry['purposes'] }
  return { trust: await trustList({ entries: [entry(grantKey, { ...base, ...change })] }) }
}

async function signed(head: object, payload: object): Promise<string> {
  const text = [head, payload].map((part) => toBase64url(utf8(JSON.stringify(part)))).join('.')
  return `${text}.${toBase64url(await grantKey.sign(utf8(text)))}`
}

const header = { alg: 'ES256', typ: 'idtoken-grant+jwt', kid: grantKey.kid }
const payload = { iss: 'IDT1', aud: ISSUER, sub: fingerprint, jkt: device.kid, exp: NOW + 60 }

test('141 a grant of the CA for this seal, device and deployment is accepted', async () => {
  expect(await verifyGrant(await makeGrant(order, grantKey), binding)).toStrictEqual({
    ok: true,
    value: { kid: grantKey.kid, expiresAt: NOW + 600 },
  })
  expect(await reasonFor(await signed(header, { ...payload, iat: NOW, jti: 'x' }))).toBe('ok')
})

describe('141 a grant bound to something else counts as none', () => {
  test.each([
    ['another CA', { caId: 'IDT2' }, 'other_issuer'],
    ['another deployment', { issuer: 'https://other.example' }, 'other_audience'],
    ['another seal', { fingerprint: 'A'.repeat(43) }, 'other_seal'],
    ["the attacker's device", { deviceThumbprint: 'A'.repeat(43) }, 'other_device'],
    ['already expired', { expiresAt: NOW }, 'expired'],
    ['11 minutes ahead', { expiresAt: NOW + 660 }, 'too_long_lived'],
    ['one second too long', { expiresAt: NOW + 601 }, 'too_long_lived'],
  ])('%s', async (_, change, reason) => {
    expect(await reasonFor(await makeGrant({ ...order, ...change }, grantKey))).toBe(reason)
  })

  test('the seal is of another CA', async () => {
    expect(await reasonFor(await makeGrant(order, grantKey), { caId: 'IDT2' })).toBe('unknown_key')
  })
})

describe('141 a grant of an untrusted key counts as none', () => {
  test('a foreign key, also under a trusted kid', async () => {
    const foreign = await newKey()
    expect(await reasonFor(await makeGrant(order, foreign))).toBe('unknown_key')
    const claimed = { key: foreign.key, kid: grantKey.kid }
    expect(await reasonFor(await makeGrant(order, claimed))).toBe('bad_signature')
  })
  test('the key that signs seals, and the device key itself', async () => {
    expect(await reasonFor(await makeGrant(order, sealKey))).toBe('unknown_key')
    expect(await reasonFor(await makeGrant(order, device))).toBe('unknown_key')
  })
  test.each<[string, Partial<Entry>]>([
    ['another purpose', { purposes: ['identity-seal', 'issuer-ca'] }],
    ['another CA', { caId: 'IDT2' }],
    ['revoked', { status: 'revoked' }],
    ['expired', { validity: { from: NOW - DAY, to: NOW - 1 } }],
    ['not valid yet', { validity: { from: NOW + 1, to: NOW + DAY } }],
  ])('the list says: %s', async (_, change) => {
    const grant = await makeGrant(order, grantKey)
    expect(await reasonFor(grant, await withEntry({}))).toBe('ok')
    expect(await reasonFor(grant, await withEntry(change))).toBe('unknown_key')
  })
})

describe('141 a malformed grant counts as none', () => {
  test.each<[string, object]>([
    ['typ JWT', { typ: 'JWT' }],
    ['typ of a list', { typ: 'trustlist+jwt' }],
    ['alg none', { alg: 'none' }],
    ['a key of its own', { jwk: device.jwk }],
    ['crit', { crit: ['exp'] }],
  ])('%s', async (_, change) => {
    expect(await reasonFor(await signed({ ...header, ...change }, payload))).toBe('bad_header')
  })
  test.each<[string, object]>([
    ['no expiry', { exp: undefined }],
    ['expiry as text', { exp: `${NOW + 60}` }],
    ['audience as a list', { aud: [ISSUER] }],
    ['no device', { jkt: undefined }],
    ['an unknown member', { nbf: NOW + 60 }],
  ])('%s', async (_, change) => {
    expect(await reasonFor(await signed(header, { ...payload, ...change }))).toBe('bad_payload')
  })
  test.each(['', '..', 'x', 'A'.repeat(4097), '\u{1f600}.\u{1f600}.\u{1f600}'])(
    'text %#',
    async (text) => {
      expect(await reasonFor(text)).not.toBe('ok')
    },
  )
})
