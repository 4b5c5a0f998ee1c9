/** What the Service VDS of a registered service says, and when another one is due. */
import { exportJWK, generateKeyPair } from 'jose'
import { describe, expect, test } from 'vitest'
import { MAX_SERVICE_VDS_LIFE } from '../../../src/seal/service-vds.ts'
import type { Service } from '../../../src/services/service.ts'
import { isUpToDate, vdsContentOf } from '../../../src/services/vds.ts'
import { serviceOf } from './clients.ts'

const DAY = 86_400
const NOW = 1_795_000_000
const issuance = { issuer: 'https://id.example.com', now: NOW, cti: 'AAAAAAAAAAAAAAAAAAAAAA' }

function contentOf(service: Service, more: Partial<typeof issuance> = {}) {
  return vdsContentOf(service, { ...issuance, ...more })
}

const bar = await serviceOf(undefined, {
  allowedScopes: ['identity:name', 'identity:age_over_18'],
  origins: ['https://bar.example'],
})
const { kty, crv, x, y } = await exportJWK((await generateKeyPair('ES256')).publicKey)
const ownKey = { kty, crv, x, y, kid: 'own', alg: 'ES256' }

describe('what it says', () => {
  test('174 vds: who the service is and the most it may ask, for a year', () => {
    expect(contentOf(bar)).toEqual({
      ...{ issuer: issuance.issuer, serviceId: 'bar', cti: issuance.cti, key: null },
      ...{ issuedAt: NOW, expiresAt: NOW + 365 * DAY },
      ...{ name: 'Bar le Central', url: 'https://bar.example/' },
      scopes: ['identity:age_over_18', 'identity:name'],
      origins: ['https://bar.example'],
    })
    expect(365 * DAY).toBeLessThanOrEqual(MAX_SERVICE_VDS_LIFE)
  })

  test('vds: its logo and its privacy policy, where it has them', () => {
    const addresses = {
      logoUri: 'https://bar.example/logo.svg',
      policyUri: 'https://bar.example/privacy',
    }
    expect(contentOf({ ...bar, ...addresses })).toMatchObject(addresses)
    expect(contentOf(bar)).not.toHaveProperty('logoUri')
    expect(contentOf(bar)).not.toHaveProperty('policyUri')
  })

  test('vds: the key that the service signs with, public members only, and none that it decrypts with', async () => {
    const client = (keys: object[]) =>
      serviceOf({ token_endpoint_auth_method: 'private_key_jwt', jwks: { keys } })
    const { publicKey } = await generateKeyPair('ES256')
    const other = { ...(await exportJWK(publicKey)), kid: 'other' }
    for (const purpose of [{ use: 'enc' }, { alg: 'ECDH-ES' }]) {
      const first = [{ ...other, ...purpose }, ownKey]
      expect(contentOf(await client(first)).key).toEqual({ kty, crv, x, y })
    }
    const key = contentOf(await client([ownKey])).key
    expect(key).toEqual({ kty, crv, x, y })
    const rsa = await exportJWK((await generateKeyPair('RS256', { extractable: true })).publicKey)
    const both = [{ ...rsa, kid: 'rsa', alg: 'PS256' }, ownKey]
    expect(contentOf(await client(both)).key).toEqual({ kty, crv, x, y })
    expect(contentOf(await client(both.slice(0, 1))).key).toBeNull()
  })
})

describe('when another one is due', () => {
  const later = { now: NOW + DAY, cti: 'BBBBBBBBBBBBBBBBBBBBBA' }

  test.each<[string, Partial<Service>]>([
    ['its name', { name: 'Bar du Coin' }],
    ['its address', { url: 'https://bar.example/de' }],
    ['its logo', { logoUri: 'https://bar.example/logo.svg' }],
    ['its policy', { policyUri: 'https://bar.example/privacy' }],
    ['a scope less', { allowedScopes: ['identity:name'] }],
    [
      'a scope more',
      { allowedScopes: ['identity:name', 'identity:age_over_18', 'identity:nationality'] },
    ],
    ['an origin less', { origins: [] }],
    ['an origin more', { origins: ['https://bar.example', 'https://shop.bar.example'] }],
  ])('175 vds: %s', (_name, change) => {
    expect(isUpToDate(contentOf(bar), contentOf({ ...bar, ...change }, later))).toBe(false)
    expect(isUpToDate(contentOf({ ...bar, ...change }), contentOf(bar, later))).toBe(false)
  })

  test('175 vds: its key', async () => {
    const one = { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [ownKey] } }
    const other = await exportJWK((await generateKeyPair('ES256')).publicKey)
    const two = { ...one, jwks: { keys: [{ ...other, kid: 'other', alg: 'ES256' }] } }
    const [first, second] = [contentOf(await serviceOf(one)), contentOf(await serviceOf(two))]
    expect(first.key).not.toBeNull()
    expect(isUpToDate(first, second)).toBe(false)
    expect(isUpToDate(first, contentOf(await serviceOf(one), later))).toBe(true)
  })

  test.each<[string, Partial<Service>]>([
    ['nothing', {}],
    ['what it asks by default', { defaultScopes: ['identity:name'] }],
    ['how it confirms', { confirmation: 'transfer' }],
    ['whom it takes', { trustRequired: true, vdsRequired: true }],
    ['its secrets', { secretHashes: [{ hash: 'x' }] }],
  ])('vds: not for %s', (_name, change) => {
    expect(isUpToDate(contentOf(bar), contentOf({ ...bar, ...change }, later))).toBe(true)
  })

  test('vds: sixty days before it ends', () => {
    const next = (days: number) => contentOf(bar, { ...later, now: NOW + days * DAY })
    expect(isUpToDate(contentOf(bar), next(304))).toBe(true)
    expect(isUpToDate(contentOf(bar), next(305))).toBe(false)
  })
})
