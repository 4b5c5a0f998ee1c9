import { describe, expect, test } from 'vitest'
import { sha256, toBase64url, utf8 } from '../../../src/bytes.ts'
import { makeRevocationList, makeTrustList } from '../../../src/seal/make.ts'
import { readRevocationList } from '../../../src/seal/revocation-list.ts'
import { content, DAY, listKey, NOW, newKey } from './world.ts'

const fingerprints = (
  await Promise.all(['a', 'b', 'c'].map(async (text) => toBase64url(await sha256(text))))
).sort()
const list = { sequence: 7, issuedAt: NOW, nextUpdate: NOW + DAY, fingerprints }

async function reasonFor(payload: object): Promise<string> {
  const head = { alg: 'ES256', typ: 'revocationlist+jwt', kid: listKey.kid }
  const text = [head, payload].map((part) => toBase64url(utf8(JSON.stringify(part)))).join('.')
  const jws = `${text}.${toBase64url(await listKey.sign(utf8(text)))}`
  const read = await readRevocationList(jws, [listKey.jwk])
  return read.ok ? 'ok' : read.reason
}

test('3-seal 3.3: a list is read as it was made, sorted and each once', async () => {
  const shuffled = [...fingerprints].reverse().concat(fingerprints)
  const jws = await makeRevocationList({ ...list, fingerprints: shuffled }, listKey)
  expect(await readRevocationList(jws, [listKey.jwk])).toStrictEqual({ ok: true, value: list })
})

test('an empty list is a list', async () => {
  expect(await reasonFor({ ...list, fingerprints: [] })).toBe('ok')
})

test('another key and another typ are refused', async () => {
  const other = await newKey()
  const foreign = await makeRevocationList(list, other)
  expect(await readRevocationList(foreign, [listKey.jwk])).toMatchObject({ reason: 'unknown_key' })
  const trust = await makeTrustList(content(), listKey)
  expect(await readRevocationList(trust, [listKey.jwk])).toMatchObject({ reason: 'bad_header' })
})

describe('the payload is exact', () => {
  const [first = '', second = ''] = fingerprints
  test.each<[string, object]>([
    ['unsorted', { fingerprints: [second, first] }],
    ['twice the same', { fingerprints: [first, first] }],
    ['a short fingerprint', { fingerprints: [first.slice(1)] }],
    ['hex', { fingerprints: ['ab'.repeat(32)] }],
    ['padding', { fingerprints: [`${first}=`] }],
    ['a number', { fingerprints: [1] }],
    ['an unknown member', { extra: true }],
    ['no next update', { nextUpdate: undefined }],
    ['a next update before the issue', { nextUpdate: NOW - 1 }],
  ])('%s is refused', async (_, change) => {
    expect(await reasonFor({ ...list, ...change })).toBe('bad_payload')
  })
})
