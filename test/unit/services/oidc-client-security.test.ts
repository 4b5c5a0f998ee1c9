import { ED25519_TORSION_SUBGROUP } from '@noble/curves/ed25519.js'
import fc from 'fast-check'
import { exportJWK, generateKeyPair, type JWK } from 'jose'
import { beforeAll, describe, expect, it } from 'vitest'
import type { OidcClient } from '../../../src/services/oidc-client.ts'
import {
  CLIENT_AUTH_METHODS,
  CLIENT_SIGNING_ALGS,
  idTokenEncryptionOf,
  signingAlgOf,
  signingKeysOf,
} from '../../../src/services/oidc-client.ts'
import { clientOf, verdict } from './clients.ts'

let ec: JWK
let rsa: JWK
let ed: JWK
let secretEd: JWK

beforeAll(async () => {
  const [ecPair, rsaPair, edPair] = await Promise.all([
    generateKeyPair('ES256', { extractable: true }),
    generateKeyPair('PS256', { extractable: true }),
    generateKeyPair('EdDSA', { extractable: true }),
  ])
  ec = { ...(await exportJWK(ecPair.publicKey)), kid: 'ec' }
  rsa = { ...(await exportJWK(rsaPair.publicKey)), kid: 'rsa' }
  ed = { ...(await exportJWK(edPair.publicKey)), kid: 'ed' }
  secretEd = { ...(await exportJWK(edPair.privateKey)), kid: 'ed' }
})

const jwks = (...keys: object[]) => ({ jwks: { keys } })
const signed = (...keys: object[]) => ({
  token_endpoint_auth_method: 'private_key_jwt',
  ...(keys.length > 0 ? jwks(...keys) : {}),
})
const kidsOf = (client: OidcClient) => signingKeysOf(client).map(({ kid }) => kid)

it('062 the methods and algorithms that a client may register', () => {
  expect(CLIENT_AUTH_METHODS).toEqual([
    'client_secret_basic',
    'client_secret_post',
    'private_key_jwt',
    'none',
  ])
  expect(CLIENT_SIGNING_ALGS).toEqual(['ES256', 'PS256', 'EdDSA'])
})

describe('062 the keys that a client signs with', () => {
  it('062 each kind of key has one algorithm', async () => {
    const keys = signingKeysOf(await clientOf(signed(ec, rsa, ed)))
    expect(keys).toEqual([ec, rsa, ed])
    expect(keys.map(signingAlgOf)).toEqual(['ES256', 'PS256', 'EdDSA'])
  })

  it('062 use and alg are kept, and other members dropped', async () => {
    const noise = { x5t: 'x', key_ops: ['verify'], use: 'sig' }
    const { jwks: kept } = await clientOf(
      signed(
        { ...ec, ...noise, alg: 'ES256' },
        { ...rsa, ...noise, alg: 'PS256' },
        { ...ed, ...noise, alg: 'EdDSA' },
      ),
    )
    expect(kept?.keys).toEqual([
      { ...ec, use: 'sig', alg: 'ES256' },
      { ...rsa, use: 'sig', alg: 'PS256' },
      { ...ed, use: 'sig', alg: 'EdDSA' },
    ])
  })

  it('062 a registered algorithm leaves only the keys of its kind', async () => {
    const keys: Record<string, JWK> = { ES256: ec, PS256: rsa, EdDSA: ed }
    for (const alg of CLIENT_SIGNING_ALGS) {
      const asked = { token_endpoint_auth_signing_alg: alg }
      const client = await clientOf({ ...signed(ec, rsa, ed), ...asked })
      expect(client.token_endpoint_auth_signing_alg).toBe(alg)
      expect(signingKeysOf(client)).toEqual([keys[alg]])
      const others = [ec, rsa, ed].filter((key) => key !== keys[alg])
      expect(await verdict({ ...signed(...others), ...asked })).toBe('oidc.jwks')
    }
  })

  it('062 private_key_jwt without a key that signs is refused', async () => {
    expect(await verdict(signed())).toBe('oidc.jwks')
    for (const key of [
      { ...ec, use: 'enc' },
      { ...ec, alg: 'ECDH-ES' },
      { ...ec, alg: 'ECDH-ES+A256KW' },
      { ...rsa, use: 'enc' },
      { ...rsa, alg: 'RSA-OAEP' },
      { ...rsa, alg: 'RSA-OAEP-256' },
    ]) {
      expect(await verdict(jwks(key))).toBe('accepted')
      expect([await verdict(signed(key)), key]).toEqual(['oidc.jwks', key])
      expect(kidsOf(await clientOf(signed(key, ed)))).toEqual(['ed'])
    }
  })

  it('062 one that could not be used is refused', async () => {
    const ed448 = { kty: 'OKP', crv: 'Ed448', x: ed.x, kid: 'ed448' }
    for (const key of [
      secretEd,
      ed448,
      { ...ed, crv: 'X25519' },
      { ...ed, x: `${ed.x}=` },
      { ...ed, x: 'AA' },
      { ...ed, x: undefined },
      { ...ed, use: 'enc' },
      { ...ed, alg: 'ES256' },
      { ...ed, alg: 'HS256' },
      { ...ec, use: 'enc', alg: 'ES256' },
      { ...ec, use: 'sig', alg: 'ECDH-ES' },
      { ...rsa, use: 'enc', alg: 'PS256' },
      { ...rsa, use: 'sig', alg: 'RSA-OAEP-256' },
      { ...rsa, use: 'sig', alg: 'RS256' },
      { ...rsa, use: 'sig', alg: 'HS256' },
      { ...rsa, use: 'sig', alg: 'none' },
      { ...ec, use: 'sig', alg: 'PS256' },
      { ...ec, use: 'sig', y: ec.x },
    ]) {
      expect([await verdict(signed({ ...ec, kid: 'good' }, key)), key]).toEqual(['oidc.jwks', key])
    }
    expect(await verdict(signed(ec, { ...ed, kid: 'ec' }))).toBe('oidc.jwks')
  })

  it('062 an Ed25519 point under which anybody could sign is refused', async () => {
    // Also the two that are written with a number that is none below the prime: 2^255 - 19 and the next.
    const aliases = ['ed', 'ee'].map((first) => `${first}${'ff'.repeat(30)}7f`)
    for (const hex of [...ED25519_TORSION_SUBGROUP, ...aliases]) {
      const point = Buffer.from(hex, 'hex')
      for (const sign of [0, 0x80]) {
        point[31] = ((point[31] ?? 0) & 0x7f) | sign
        const key = { ...ed, x: point.toString('base64url') }
        expect([await verdict(signed({ ...ec, kid: 'good' }, key)), key]).toEqual([
          'oidc.jwks',
          key,
        ])
      }
    }
  })

  it('062 an algorithm without private_key_jwt is refused', async () => {
    for (const method of [undefined, 'client_secret_basic', 'client_secret_post', 'none']) {
      const oidc = {
        ...(method === undefined ? {} : { token_endpoint_auth_method: method }),
        token_endpoint_auth_signing_alg: 'ES256',
        ...jwks(ec),
      }
      expect(await verdict(oidc)).toBe('oidc.token_endpoint_auth_signing_alg')
    }
    const shape = { ...signed(ec), token_endpoint_auth_signing_alg: 'RS256' }
    expect(await verdict(shape)).toBe('shape')
  })

  it('a key serves both ends only when it names neither', async () => {
    const encrypted = { id_token_encrypted_response_alg: 'ECDH-ES' }
    const both = await clientOf({ ...signed(ec), ...encrypted })
    expect(kidsOf(both)).toEqual(['ec'])
    expect(idTokenEncryptionOf(both)?.jwk).toEqual(ec)
    for (const half of [{ use: 'sig' }, { alg: 'ES256' }]) {
      expect(await verdict({ ...signed({ ...ec, ...half }), ...encrypted })).toBe('oidc.jwks')
    }
    const signer = { ...ec, use: 'sig', kid: 'signer' }
    const two = await clientOf({ ...signed(signer, { ...ec, use: 'enc' }), ...encrypted })
    expect(kidsOf(two)).toEqual(['signer'])
    expect(idTokenEncryptionOf(two)?.jwk.kid).toBe('ec')
  })

  it('062 property: no key for encryption verifies, none for signing is encrypted to', async () => {
    const key = fc.record({
      base: fc.constantFrom('ec', 'rsa', 'ed'),
      use: fc.constantFrom(undefined, 'enc', 'sig', 'other'),
      alg: fc.constantFrom(undefined, 'ES256', 'PS256', 'EdDSA', 'RSA-OAEP', 'ECDH-ES', 'RS256'),
    })
    const wanted = fc.constantFrom(undefined, ...CLIENT_SIGNING_ALGS)
    await fc.assert(
      fc.asyncProperty(
        fc.array(key, { minLength: 1, maxLength: 4 }),
        wanted,
        async (kinds, alg) => {
          const keys = kinds.map(({ base, use, alg: keyAlg }, index) => ({
            ...{ ec, rsa, ed }[base],
            kid: `${index}`,
            ...(use === undefined ? {} : { use }),
            ...(keyAlg === undefined ? {} : { alg: keyAlg }),
          }))
          const oidc = {
            ...signed(...keys),
            ...(alg === undefined ? {} : { token_endpoint_auth_signing_alg: alg }),
          }
          if ((await verdict(oidc)) !== 'accepted') return
          const signing = signingKeysOf(await clientOf(oidc))
          expect(signing.length).toBeGreaterThan(0)
          for (const chosen of signing) {
            expect(chosen.use).not.toBe('enc')
            expect([undefined, signingAlgOf(chosen)]).toContain(chosen.alg)
            if (alg !== undefined) expect(signingAlgOf(chosen)).toBe(alg)
          }
        },
      ),
      { numRuns: 150 },
    )
  })
})

describe('the profile fapi2', () => {
  const fapi = (...keys: object[]) => ({ profile: 'fapi2', ...jwks(...keys) })
  const FILLED = {
    profile: 'fapi2',
    application_type: 'web',
    token_endpoint_auth_method: 'private_key_jwt',
    id_token_signed_response_alg: 'ES256',
    require_pkce: true,
    require_pushed_authorization_requests: true,
    dpop_bound_access_tokens: true,
  }

  it('fills in what it stands for', async () => {
    expect(await clientOf(fapi(ec))).toMatchObject({ ...FILLED, jwks: { keys: [ec] } })
  })

  it('is the same when all of it is written out, and when its own record is registered', async () => {
    const { profile: _profile, ...flags } = FILLED
    const short = await clientOf(fapi(ec))
    expect(await clientOf({ ...fapi(ec), ...flags })).toEqual(short)
    expect(await clientOf(short)).toEqual(short)
    const { profile: _name, ...same } = short
    expect(await clientOf({ ...flags, ...jwks(ec) })).toEqual(same)
  })

  it.each<[string, object]>([
    ['application_type', { application_type: 'native' }],
    ['token_endpoint_auth_method', { token_endpoint_auth_method: 'client_secret_basic' }],
    ['token_endpoint_auth_method', { token_endpoint_auth_method: 'client_secret_post' }],
    ['token_endpoint_auth_method', { token_endpoint_auth_method: 'none' }],
    ['id_token_signed_response_alg', { id_token_signed_response_alg: 'RS256' }],
    ['require_pkce', { require_pkce: false }],
    ['require_pushed_authorization_requests', { require_pushed_authorization_requests: false }],
    ['dpop_bound_access_tokens', { dpop_bound_access_tokens: false }],
    ['redirect_uris', { redirect_uris: ['com.example.bar:/cb'] }],
    ['redirect_uris', { redirect_uris: ['http://127.0.0.1/cb'] }],
    ['redirect_uris', { redirect_uris: ['http://bar.example/cb'] }],
    ['jwks', { jwks: { keys: [] } }],
  ])('refuses a contradiction by its name: %s %j', async (member, change) => {
    const expected = member === 'jwks' ? 'shape' : `oidc.${member}`
    expect(await verdict({ ...fapi(ec), ...change })).toBe(expected)
  })

  it('needs a key, and takes loopback http only under such an issuer', async () => {
    expect(await verdict({ profile: 'fapi2' })).toBe('oidc.jwks')
    expect(await verdict(fapi({ ...ec, use: 'enc' }))).toBe('oidc.jwks')
    expect(await verdict({ ...fapi(ec), profile: 'fapi1' })).toBe('shape')
    const local = { ...fapi(ec), redirect_uris: ['http://localhost:3000/cb'] }
    expect(await verdict(local)).toBe('oidc.redirect_uris')
    expect(await verdict(local, { loopback: true })).toBe('accepted')
    const app = { ...fapi(ec), redirect_uris: ['com.example.bar:/cb'] }
    expect(await verdict(app, { loopback: true })).toBe('oidc.redirect_uris')
  })

  it('property: whatever is said beside it, it is refused or whole', async () => {
    const flags = fc.record(
      {
        application_type: fc.constantFrom('web', 'native'),
        token_endpoint_auth_method: fc.constantFrom(...CLIENT_AUTH_METHODS),
        token_endpoint_auth_signing_alg: fc.constantFrom(...CLIENT_SIGNING_ALGS),
        id_token_signed_response_alg: fc.constantFrom('ES256', 'RS256'),
        require_pkce: fc.boolean(),
        require_pushed_authorization_requests: fc.boolean(),
        dpop_bound_access_tokens: fc.boolean(),
        claims_in_access_token: fc.boolean(),
      },
      { requiredKeys: [] },
    )
    await fc.assert(
      fc.asyncProperty(flags, async (said) => {
        const oidc = { ...fapi(ec, rsa, ed), ...said }
        const contradicts = Object.entries(FILLED).some(
          ([member, value]) =>
            (oidc as Record<string, unknown>)[member] !== undefined &&
            (oidc as Record<string, unknown>)[member] !== value,
        )
        expect(await verdict(oidc)).toSatisfy((text) => (text === 'accepted') !== contradicts)
        if (contradicts) return
        const client = await clientOf(oidc)
        expect(client).toMatchObject({ ...FILLED, ...said })
        expect(signingKeysOf(client).length).toBeGreaterThan(0)
      }),
      { numRuns: 150 },
    )
  })
})

describe('the members for tokens of APIs', () => {
  it('are absent unless they are registered', async () => {
    const client = await clientOf({})
    for (const member of [
      'profile',
      'token_endpoint_auth_signing_alg',
      'require_pushed_authorization_requests',
      'dpop_bound_access_tokens',
      'default_max_age',
      'resources',
      'resource',
      'claims_in_access_token',
    ]) {
      expect(client).not.toHaveProperty(member)
    }
  })

  it('come back as they were registered', async () => {
    const members = {
      require_pushed_authorization_requests: false,
      dpop_bound_access_tokens: true,
      default_max_age: 0,
      resources: ['https://api.bar.example', 'urn:bar:orders', 'https://api.bar.example/'],
      resource: 'https://bar.example/me',
      claims_in_access_token: true,
    }
    expect(await clientOf(members)).toMatchObject(members)
    expect(await verdict({ default_max_age: 31_536_000 })).toBe('accepted')
  })

  it.each<[string, object]>([
    ['a max age below zero', { default_max_age: -1 }],
    ['a max age of more than a year', { default_max_age: 31_536_001 }],
    ['half a second', { default_max_age: 0.5 }],
    ['a max age as text', { default_max_age: '300' }],
    ['a list of no resources', { resources: [] }],
    ['21 resources', { resources: Array.from({ length: 21 }, (_, i) => `urn:bar:${i}`) }],
    ['a resource list as text', { resources: 'urn:bar:a' }],
    ['a resource as list', { resource: ['urn:bar:a'] }],
    ['a resource of 513 characters', { resource: 'urn:bar:'.padEnd(513, 'x') }],
    ['null', { resource: null }],
    ['a flag as text', { claims_in_access_token: 'true' }],
    ['a flag as number', { dpop_bound_access_tokens: 1 }],
  ])('%s has not the shape', async (_, oidc) => {
    expect(await verdict(oidc)).toBe('shape')
  })

  it.each([
    'https://api.bar.example',
    'https://api.bar.example/',
    'https://api.bar.example:8443/v1?tenant=a%20b',
    'https://api.internal/v1',
    'https://10.0.0.1/',
    'urn:bar:orders',
    'urn:ietf:params:x',
    'urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6',
    'urn:bar:'.padEnd(512, 'x'),
  ])('166 the resource %s is accepted', async (name) => {
    expect(await verdict({ resources: [name] })).toBe('accepted')
    expect(await verdict({ resource: name })).toBe('accepted')
  })

  it.each([
    '',
    'api',
    '/v1',
    '//api.bar.example/',
    'api.bar.example',
    'https:',
    'https://',
    'https:api.bar.example',
    'https:/api.bar.example',
    'https:\\\\api.bar.example',
    'HTTPS://api.bar.example',
    'https://api.bar.example/#',
    'https://api.bar.example/#a',
    'https://user@api.bar.example/',
    'https://@api.bar.example/',
    'https://api.bar.example:65536/',
    'https://*.bar.example/',
    'https://api.bar.example/*',
    'https://api.bar.example/"',
    'https://api.bar.example/<a>',
    'https://api.bar.example/a b',
    ' https://api.bar.example/',
    'https://api.bar.example/\n',
    'https://api.bar.exa\tmple/',
    'https://bär.example/',
    'https://api.bar.example/é',
    'https://api.bar.example/\u0000',
    'http://api.bar.example/',
    'http://10.0.0.1/',
    'http://localhost.bar.example/',
    'urn:',
    'urn:bar',
    'urn:bar:',
    'urn:b:orders',
    'urn:-bar:orders',
    'urn:bar-:orders',
    `urn:${'b'.repeat(33)}:orders`,
    'urn:bar:a#b',
    'urn:bar:a b',
    'urn:bar:[a]',
    'URN:bar:orders',
    'javascript:alert(1)',
    'data:text/plain,a',
    'ftp://api.bar.example/',
    'com.example.bar:/api',
    'bar-le-central',
  ])('166 %j names no resource', async (name) => {
    for (const loopback of [false, true]) {
      const list = ['https://api.bar.example', name]
      expect(await verdict({ resources: list }, { loopback })).toBe('oidc.resources')
      expect(await verdict({ resource: name }, { loopback })).toBe('oidc.resource')
    }
  })

  it('166 loopback http is a resource only under such an issuer', async () => {
    for (const name of ['http://localhost:4000', 'http://127.0.0.1:4000/v1', 'http://[::1]/']) {
      expect(await verdict({ resources: [name] })).toBe('oidc.resources')
      expect(await verdict({ resource: name })).toBe('oidc.resource')
      expect(await verdict({ resources: [name], resource: name }, { loopback: true })).toBe(
        'accepted',
      )
    }
  })

  it('166 property: an accepted resource is an absolute URI without fragment, as it was written', async () => {
    const pieces = fc.constantFrom(
      '#',
      '%23',
      '@',
      '\\',
      '/',
      ':',
      ' ',
      '\n',
      '\u0000',
      '*',
      'é',
      '?',
    )
    const base = fc.constantFrom('https://api.bar.example/v1', 'urn:bar:orders', 'http://localhost')
    const name = fc.tuple(base, fc.nat(26), fc.oneof(pieces, fc.string({ maxLength: 2 })))
    await fc.assert(
      fc.asyncProperty(name, async ([text, at, piece]) => {
        const edited = text.slice(0, at) + piece + text.slice(at)
        if ((await verdict({ resource: edited })) !== 'accepted') return
        expect(edited).toMatch(/^(?:https:\/\/[^/@#?]+|urn:[^#]+:)[\x21\x22\x24-\x7e]*$/)
        expect(new URL(edited).hash).toBe('')
        expect((await clientOf({ resource: edited })).resource).toBe(edited)
      }),
      { numRuns: 300 },
    )
  })

  it('101 a public client is no resource, but may ask tokens for one', async () => {
    const isPublic = { token_endpoint_auth_method: 'none' }
    expect(await verdict({ ...isPublic, resource: 'https://bar.example/me' })).toBe('oidc.resource')
    expect(await verdict({ ...isPublic, resources: ['https://api.bar.example'] })).toBe('accepted')
  })

  it('survive their JSON, which is how they are stored', async () => {
    const client = await clientOf({
      profile: 'fapi2',
      ...jwks(ec, ed),
      default_max_age: 300,
      resources: ['https://api.bar.example'],
    })
    expect(JSON.parse(JSON.stringify(client))).toEqual(client)
  })
})
