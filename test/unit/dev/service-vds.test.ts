/** The phone's own reading of a Service VDS, against what the product makes. */
import { describe, expect, test } from 'vitest'
import { verifyServiceVds } from '../../../dev/phone/service-vds.ts'
import { toBase64url } from '../../../src/bytes.ts'
import { makeServiceVds, type ServiceVdsContent } from '../../../src/seal/service-vds.ts'
import { DAY, ISSUER, NOW, newKey } from '../seal/world.ts'

const key = await newKey()
const kid = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8])
const keys = [{ ...key.jwk, kid: toBase64url(kid) }]
const world = { issuer: ISSUER, keys, now: NOW }

const content: ServiceVdsContent = {
  issuer: ISSUER,
  serviceId: 'bar',
  issuedAt: NOW - DAY,
  expiresAt: NOW + DAY,
  cti: toBase64url(new Uint8Array(16)),
  key: null,
  name: 'Bar “le Central”',
  url: 'https://bar.example/',
  scopes: ['identity:age_over_18', 'identity:given_name'],
  origins: ['https://bar.example'],
  policyUri: 'https://bar.example/privacy',
}

async function sealed(changes: Partial<ServiceVdsContent> = {}): Promise<string> {
  const made = await makeServiceVds({ ...content, ...changes }, key.sign, kid)
  if (!made.ok) throw new Error(made.reason)
  return made.value
}

describe('a Service VDS on the phone', () => {
  test('says who it is and the most it may ask', async () => {
    const { serviceId, name, url, scopes, policyUri, expiresAt } = content
    const card = { serviceId, name, url, scopes, policyUri, expiresAt }
    expect(await verifyServiceVds(await sealed(), world)).toEqual(card)
  })

  test('169 altered in any character it proves nothing', async () => {
    const text = await sealed()
    for (let at = 4; at < text.length; at += 7) {
      const other = text.charAt(at) === 'A' ? 'B' : 'A'
      const altered = `${text.slice(0, at)}${other}${text.slice(at + 1)}`
      expect(await verifyServiceVds(altered, world), `at ${at}`).toBe('invalid_service_vds')
    }
  })

  test('by a key that the provider does not show it proves nothing', async () => {
    const other = { ...(await newKey()).jwk, kid: toBase64url(kid) }
    const text = await sealed()
    expect(await verifyServiceVds(text, { ...world, keys: [] })).toBe('invalid_service_vds')
    expect(await verifyServiceVds(text, { ...world, keys: [other] })).toBe('invalid_service_vds')
  })

  test('of another provider, or too old, it is told apart', async () => {
    const issuer = 'https://other.example'
    expect(await verifyServiceVds(await sealed({ issuer }), world)).toBe('other_provider')
    const later = { ...world, now: content.expiresAt + 61 }
    expect(await verifyServiceVds(await sealed(), later)).toBe('service_vds_expired')
  })

  test.each(['', 'HC1:', 'HC1:A', 'HC1:6BF', 'HC1:::::', 'hello'])('%j is none', async (text) => {
    expect(await verifyServiceVds(text, world)).toBe('invalid_service_vds')
  })
})
