import { CompactSign, type JWK } from 'jose'
import { describe, expect, test } from 'vitest'
import { toBase64url, utf8 } from '../../../src/bytes.ts'
import { makeTrustList } from '../../../src/seal/make.ts'
import { IDENTITY_MANIFEST } from '../../../src/seal/manifest.ts'
import {
  grantKey as findGrantKey,
  listFreshness,
  readTrustList,
  signerOf,
} from '../../../src/seal/trust-list.ts'
import { content, DAY, entry, grantKey, listKey, NOW, newKey, sealKey, trustList } from './world.ts'

const jws = await makeTrustList(content(), listKey)
const header = { alg: 'ES256', typ: 'trustlist+jwt', kid: listKey.kid }

async function reasonFor(text: string, pinned: JWK[] = [listKey.jwk]): Promise<string> {
  const list = await readTrustList(text, pinned)
  return list.ok ? 'ok' : list.reason
}

/** A rightly signed JWS with any header and payload text; jose's own header rules are bypassed. */
async function signed(head: object, payload: string, key = listKey): Promise<string> {
  const text = `${toBase64url(utf8(JSON.stringify(head)))}.${toBase64url(utf8(payload))}`
  return `${text}.${toBase64url(await key.sign(utf8(text)))}`
}

const payloadWith = (change: object) => signed(header, JSON.stringify({ ...content(), ...change }))
const entryWith = (change: object) => payloadWith({ entries: [{ ...entry(sealKey), ...change }] })

test('a list is read as it was made, with a thumbprint for each key', async () => {
  const revocationList = 'https://list.example/revocations'
  const manifests = [IDENTITY_MANIFEST] as unknown as [{ id: string; version: number }]
  const list = await trustList({ revocationList, manifests })
  expect(list).toMatchObject({ sequence: 1, nextUpdate: NOW + DAY, revocationList, manifests })
  expect(list.entries.map((each) => each.kid)).toEqual([sealKey.kid, grantKey.kid])
})

test('both pinned keys are accepted, by their own kid too', async () => {
  const next = await newKey()
  expect(await reasonFor(jws, [next.jwk, listKey.jwk])).toBe('ok')
  const named = await makeTrustList(content(), { key: listKey.key, kid: 'list-2026' })
  expect(await reasonFor(named, [{ ...listKey.jwk, kid: 'list-2026' }])).toBe('ok')
  expect(await reasonFor(named)).toBe('unknown_key')
})

describe('a list that is not of a pinned key is refused', () => {
  test('another key', async () => {
    const other = await newKey()
    expect(await reasonFor(await makeTrustList(content(), other))).toBe('unknown_key')
    const claimed = await makeTrustList(content(), { key: other.key, kid: listKey.kid })
    expect(await reasonFor(claimed)).toBe('bad_signature')
    expect(await reasonFor(jws, [])).toBe('unknown_key')
  })
  test('a private or foreign key is never a pinned key', async () => {
    const rsa: JWK = { kty: 'RSA', n: 'AQAB', e: 'AQAB', kid: listKey.kid }
    expect(await reasonFor(jws, [rsa, { ...listKey.jwk, d: 'A'.repeat(43) }])).toBe('unknown_key')
  })
  test('an altered payload or signature', async () => {
    const [head = '', body = '', tail = ''] = jws.split('.')
    const altered = toBase64url(utf8(JSON.stringify(content({ sequence: 2 }))))
    expect(await reasonFor(`${head}.${altered}.${tail}`)).toBe('bad_signature')
    expect(await reasonFor(`${head}.${body}.${toBase64url(new Uint8Array(64))}`)).toBe(
      'bad_signature',
    )
    expect(await reasonFor(`${head}.${body}.`)).toBe('bad_signature')
  })
})

describe('the header is exact', () => {
  test.each<[string, object]>([
    ['another typ', { typ: 'revocationlist+jwt' }],
    ['typ JWT', { typ: 'JWT' }],
    ['no typ', { typ: undefined }],
    ['alg none', { alg: 'none' }],
    ['alg HS256', { alg: 'HS256' }],
    ['alg ES384', { alg: 'ES384' }],
    ['no kid', { kid: undefined }],
    ['an empty kid', { kid: '' }],
    ['kid as a number', { kid: 1 }],
    ['crit', { crit: ['exp'] }],
    ['b64', { b64: true }],
    ['jwk', { jwk: listKey.jwk }],
    ['jku', { jku: 'https://evil.example' }],
    ['x5c', { x5c: [] }],
    ['cty', { cty: 'json' }],
  ])('%s is refused', async (_, change) => {
    const text = await signed({ ...header, ...change }, JSON.stringify(content()))
    expect(await reasonFor(text)).toBe('bad_header')
  })

  test('alg none without a signature is refused', async () => {
    const text = await signed({ ...header, alg: 'none' }, JSON.stringify(content()))
    expect(await reasonFor(`${text.split('.').slice(0, 2).join('.')}.`)).toBe('bad_header')
  })
})

describe('the form is exact', () => {
  test.each([
    ['two parts', () => jws.split('.').slice(0, 2).join('.')],
    ['four parts', () => `${jws}.AA`],
    ['padding', () => `${jws}=`],
    ['a blank', () => ` ${jws}`],
    ['JSON serialization', () => JSON.stringify({ payload: 'e30' })],
    ['nothing', () => ''],
  ])('%s is refused', async (_, text) => {
    expect(await reasonFor(text())).toBe('bad_form')
  })

  test('a header that is no JSON is refused', async () => {
    expect(await reasonFor('AAAA.AAAA.AAAA')).toBe('bad_header')
  })

  test('a payload that is no JSON, or no UTF-8, is refused', async () => {
    expect(await reasonFor(await signed(header, '{'))).toBe('bad_payload')
    const manifests = [{ id: '0A0001', version: 1, name: '\x80' }]
    const bytes = Buffer.from(JSON.stringify(content({ manifests })), 'latin1')
    const broken = await new CompactSign(bytes).setProtectedHeader(header).sign(listKey.key)
    expect(await reasonFor(broken)).toBe('bad_payload')
  })

  test('a list above 1 MiB is refused', async () => {
    expect(await reasonFor('A'.repeat(1024 * 1024 + 1))).toBe('too_long')
  })
})

describe('the payload is exact', () => {
  test.each<[string, object]>([
    ['an unknown member', { extra: 1 }],
    ['no sequence', { sequence: undefined }],
    ['a negative sequence', { sequence: -1 }],
    ['a sequence as text', { sequence: '1' }],
    ['a fraction of a second', { nextUpdate: NOW + 0.5 }],
    ['a next update before the issue', { nextUpdate: NOW - 2 * DAY }],
    ['no entries', { entries: undefined }],
    ['entries as an object', { entries: {} }],
    ['an entry that is null', { entries: [null] }],
    ['a manifest without id', { manifests: [{}] }],
    ['a plain http revocation list', { revocationList: 'http://list.example' }],
  ])('%s is refused', async (_, change) => {
    expect(await reasonFor(await payloadWith(change))).toBe('bad_payload')
  })

  test.each<[string, object]>([
    ['an unknown member', { name: 'x' }],
    ['a lower-case CA id', { caId: 'idt1' }],
    ['a certificate id of 5 characters', { certId: '00001' }],
    ['no purpose', { purposes: [] }],
    ['an unknown purpose', { purposes: ['identity-seal', 'everything'] }],
    ['trust level 4', { maxTrustLevel: 4 }],
    ['no trust level', { maxTrustLevel: undefined }],
    ['an unknown status', { status: 'suspended' }],
    ['no validity', { validity: undefined }],
    ['a private key', { key: { ...sealKey.jwk, d: 'A'.repeat(43) } }],
    ['a key of another curve', { key: { ...sealKey.jwk, crv: 'P-384' } }],
    ['a symmetric key', { key: { kty: 'oct', k: 'AAAA' } }],
    ['no key', { key: undefined }],
  ])('an entry with %s is refused', async (_, change) => {
    expect(await reasonFor(await entryWith(change))).toBe('bad_payload')
  })

  test('an entry with a certificate is refused by name, not skipped', async () => {
    const text = await entryWith({ key: undefined, certificate: 'MIIB' })
    expect(await reasonFor(text)).toBe('certificate_unsupported')
  })

  test('a signer reference and a key occur once each', async () => {
    const other = await newKey()
    const list = (entries: object[]) => payloadWith({ entries })
    expect(await reasonFor(await list([entry(sealKey), entry(other)]))).toBe('duplicate_entry')
    const twice = [entry(sealKey), entry(sealKey, { certId: '0002' })]
    expect(await reasonFor(await list(twice))).toBe('duplicate_entry')
    const both = [entry(sealKey), entry(other, { certId: '0002' })]
    expect(await reasonFor(await list(both))).toBe('ok')
  })
})

test('a signer is found by its 4 + 4 characters', async () => {
  const list = await trustList()
  expect(signerOf(list, { caId: 'IDT1', certId: '0001' })?.kid).toBe(sealKey.kid)
  expect(signerOf(list, { caId: 'IDT1', certId: '0002' })).toBeUndefined()
})

test('a grant key is found by CA and thumbprint', async () => {
  const list = await trustList()
  expect(findGrantKey(list, 'IDT1', grantKey.kid, NOW)?.certId).toBe('G001')
  expect(findGrantKey(list, 'IDT1', sealKey.kid, NOW)).toBeUndefined()
  expect(findGrantKey(list, 'IDT2', grantKey.kid, NOW)).toBeUndefined()
})

test.each([
  [0, 'fresh'],
  [1, 'grace'],
  [60, 'grace'],
  [61, 'stale'],
])('%i s past its next update a list is %s', (past, expected) => {
  expect(listFreshness({ nextUpdate: NOW }, NOW + past, 60)).toBe(expected)
})
