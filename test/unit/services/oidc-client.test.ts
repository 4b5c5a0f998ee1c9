import fc from 'fast-check'
import { exportJWK, generateKeyPair, type JWK } from 'jose'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  idTokenEncryptionOf,
  isPostLogoutRedirectUri,
  matchesRedirectUri,
} from '../../../src/services/oidc-client.ts'
import { CALLBACK, clientOf, register, verdict } from './clients.ts'

const PUBLIC_NATIVE = { application_type: 'native', token_endpoint_auth_method: 'none' }
const CONFIDENTIAL_NATIVE = { application_type: 'native' }

describe('a client record', () => {
  it('has the defaults of 4-oidc 2.6', async () => {
    expect(await clientOf({})).toEqual({
      redirect_uris: [CALLBACK],
      application_type: 'web',
      token_endpoint_auth_method: 'client_secret_basic',
      id_token_signed_response_alg: 'ES256',
      id_token_ttl: 3600,
      require_pkce: true,
      claims_in_id_token: true,
      offline_access: false,
      post_logout_redirect_uris: [],
      min_trust_level: 1,
    })
  })

  it('survives its JSON, which is how it is stored', async () => {
    const client = await clientOf({ backchannel_logout_uri: 'https://bar.example/out' })
    expect(JSON.parse(JSON.stringify(client))).toEqual(client)
  })

  it.each<[string, object]>([
    ['21 of them', { redirect_uris: Array.from({ length: 21 }, (_, i) => `${CALLBACK}${i}`) }],
    ['one of 513 characters', { redirect_uris: [CALLBACK.padEnd(513, 'x')] }],
    ['a redirect address as number', { redirect_uris: [7] }],
    ['an unknown method', { token_endpoint_auth_method: 'client_secret_jwt' }],
    ['alg none', { id_token_signed_response_alg: 'none' }],
    ['an unknown JWE alg', { id_token_encrypted_response_alg: 'RSA1_5' }],
    ['an unknown JWE enc', { id_token_encrypted_response_enc: 'A128GCM' }],
    ['a token of 59 seconds', { id_token_ttl: 59 }],
    ['a token of 3601 seconds', { id_token_ttl: 3601 }],
    ['a level of 4', { min_trust_level: 4 }],
    ['an unknown member', { grant_types: ['implicit'] }],
    ['a key set without keys', { jwks: { keys: [] } }],
    ['a key set with another member', { jwks: { keys: [{ kty: 'EC', kid: '1' }], uri: 'x' } }],
  ])('%s has not the shape', async (_, oidc) => {
    expect(await verdict(oidc)).toBe('shape')
  })

  it('without a redirect address is an API that only asks about tokens', async () => {
    expect(await verdict({ redirect_uris: [] })).toBe('oidc.redirect_uris')
    const api = { redirect_uris: [], resource: 'https://api.example/' }
    expect(await verdict(api)).toBe('accepted')
  })

  it('a public client can not go without PKCE', async () => {
    expect(await verdict({ require_pkce: false })).toBe('accepted')
    const isPublic = { token_endpoint_auth_method: 'none', require_pkce: false }
    expect(await verdict(isPublic)).toBe('oidc.require_pkce')
  })

  it.each(['bar.example', 'a-1.bar.example', 'xn--br-xka.example'])('alias %s', async (domain) => {
    expect(await verdict({ alias_domain: domain })).toBe('accepted')
  })

  it.each([
    '',
    'bar',
    'Bar.example',
    'bar.example.',
    '.bar.example',
    'bar..example',
    '-bar.example',
    'bar.example:25',
    'a@bar.example',
    'bar.example\n',
    '127.0.0.1',
    'b r.example',
    `${'b'.repeat(64)}.example`,
  ])('the alias domain %j is none', async (domain) => {
    expect(await verdict({ alias_domain: domain })).toBe('oidc.alias_domain')
  })
})

describe('the subject type of a client', () => {
  it('is public unless the operator says otherwise, and never transient', async () => {
    expect(await register({})).toMatchObject({ value: { subjectType: 'public' } })
    expect(await register({}, { subjectType: 'pairwise' })).toMatchObject({
      value: { subjectType: 'pairwise' },
    })
    expect(await verdict({}, { subjectType: 'transient' })).toBe('subjectType')
    expect(await register(undefined)).toMatchObject({ value: { subjectType: 'transient' } })
  })

  it('pairwise over several hosts needs a sector (OIDC Core 8.1)', async () => {
    const split = { redirect_uris: [CALLBACK, 'https://shop.example/cb'] }
    expect(await verdict(split)).toBe('accepted')
    expect(await verdict(split, { subjectType: 'pairwise' })).toBe('sectorIdentifier')
    const sector = { subjectType: 'pairwise', sectorIdentifier: 'bar.example' }
    expect(await verdict(split, sector)).toBe('accepted')
    const one = { redirect_uris: [CALLBACK, 'https://BAR.example:8443/cb?x=1'] }
    expect(await verdict(one, { subjectType: 'pairwise' })).toBe('accepted')
    const mixed = { ...PUBLIC_NATIVE, redirect_uris: [CALLBACK, 'com.example.bar:/cb'] }
    expect(await verdict(mixed, { subjectType: 'pairwise' })).toBe('sectorIdentifier')
  })
})

/** No address of any client, under any issuer. */
const NEVER = [
  '',
  'https://',
  '/cb',
  '//bar.example/cb',
  'https:bar.example/cb',
  'https:/bar.example/cb',
  'https:\\\\bar.example/cb',
  'https://bar.example\\cb',
  'HTTPS://bar.example/cb',
  'https://bar.example/cb#',
  'https://bar.example/cb#x',
  'https://user@bar.example/cb',
  'https://user:pass@bar.example/cb',
  'https://@bar.example/cb',
  'https://*.bar.example/cb',
  'https://bar.example/*',
  'https://bar.example:*/cb',
  'https://bar.example:65536/cb',
  'https://bar;evil.example/cb',
  'https://bar%2eexample/cb',
  ' https://bar.example/cb',
  'https://bar.example/cb ',
  'https://bar.example/c b',
  'https://bar.example/cb\n',
  'https://bar.exa\tmple/cb',
  'https://bär.example/cb',
  'https://bar.example/"<script>',
  'https://bar/cb',
  'https://bar.example./cb',
  'https://localhost/cb',
  'https://app.localhost/cb',
  'https://bar.local/cb',
  'https://bar.internal/cb',
  'https://10.0.0.1/cb',
  'https://192.168.1.1/cb',
  'https://169.254.169.254/cb',
  'https://127.1/cb',
  'https://2130706433/cb',
  'https://0x7f.1/cb',
  'https://[::1]/cb',
  'https://[fe80::1]/cb',
  'https://8.8.8.8/cb',
  'http://bar.example/cb',
  'http://10.0.0.1/cb',
  'http://localhost.bar.example/cb',
  'http://127.0.0.1.bar.example/cb',
  'http://127.0.0.1@bar.example/cb',
  'ws://bar.example/cb',
  'wss://bar.example/cb',
  'ftp://bar.example/cb',
  'javascript:alert(1)',
  'javascript://bar.example/%0aalert(1)',
  'JavaScript:/alert(1)',
  'data:text/html,x',
  'data:/text.html',
  'file:///etc/passwd',
  'blob:https://bar.example/x',
  'about:blank',
  'filesystem:https://bar.example/x',
  'view-source:https://bar.example/',
  'intent://bar.example/',
  'myapp:/cb',
  'myapp://cb',
  'Com.example.bar:/cb',
  'com.example.Bar:/cb',
  'com.example.bar:cb',
  'com.example.bar:',
  'com..bar:/cb',
  '.com.bar:/cb',
  'com.example.bar:/cb#x',
  'com.example.bar://user@host/cb',
  'com.example.bar:/*',
]

/** Only of a public native client: nobody else is on the same machine, or owns the scheme. */
const APP_ADDRESSES = [
  'com.example.bar:/oauth2redirect',
  'com.example.bar:/oauth2redirect/idtoken?x=1',
  'com.example.bar://cb',
  'http://127.0.0.1/cb',
  'http://127.0.0.1:8400/cb',
  'http://127.0.0.1',
  'http://[::1]/cb',
  'http://[::1]:65535/cb?x=1',
]

const WEB_ADDRESSES = [
  'https://bar.example/cb',
  'https://bar.example',
  'https://bar.example:8443/cb?tenant=a%20b&x=(1)',
  'https://xn--br-xka.example/cb',
  'https://my_app.bar.example/cb/@me',
]

describe('166 the addresses of a client', () => {
  const fits = async (address: string, oidc: object, loopback = false): Promise<boolean> => {
    const verdicts = [
      await verdict({ ...oidc, redirect_uris: [CALLBACK, address] }, { loopback }),
      await verdict({ ...oidc, post_logout_redirect_uris: [address] }, { loopback }),
    ]
    // One rule for both.
    const refused = ['oidc.redirect_uris', 'oidc.post_logout_redirect_uris']
    expect([['accepted', 'accepted'], refused]).toContainEqual(verdicts)
    return verdicts[0] === 'accepted'
  }

  it.each(NEVER)('166 %j is never accepted', async (address) => {
    for (const oidc of [{}, PUBLIC_NATIVE, CONFIDENTIAL_NATIVE]) {
      expect(await fits(address, oidc)).toBe(false)
      expect(await fits(address, oidc, true)).toBe(false)
    }
    for (const loopback of [false, true]) {
      expect(await verdict({ backchannel_logout_uri: address }, { loopback })).toBe(
        'oidc.backchannel_logout_uri',
      )
    }
  })

  it.each(WEB_ADDRESSES)('166 %s is accepted', async (address) => {
    for (const oidc of [{}, PUBLIC_NATIVE]) expect(await fits(address, oidc)).toBe(true)
    expect(await verdict({ backchannel_logout_uri: address })).toBe('accepted')
  })

  it.each(APP_ADDRESSES)('166 %s is for public native clients only', async (address) => {
    expect(await fits(address, PUBLIC_NATIVE)).toBe(true)
    expect(await fits(address, CONFIDENTIAL_NATIVE)).toBe(false)
    expect(await fits(address, {})).toBe(false)
    expect(await fits(address, { token_endpoint_auth_method: 'none' })).toBe(false)
    // Our own server is not on the app's machine.
    expect(await verdict({ ...PUBLIC_NATIVE, backchannel_logout_uri: address })).toBe(
      'oidc.backchannel_logout_uri',
    )
  })

  it.each(['http://127.0.0.1:0/cb', 'http://127.0.0.1:65536/cb', 'http://127.0.0.1:080/cb'])(
    '166 the port of %s is none',
    async (address) => expect(await fits(address, PUBLIC_NATIVE)).toBe(false),
  )

  it.each(['http://localhost:3000/cb', 'http://localhost/cb', 'http://127.0.0.1:3000/cb'])(
    '166, 100 %s is accepted of any client when the issuer is loopback http',
    async (address) => {
      for (const oidc of [{}, PUBLIC_NATIVE]) expect(await fits(address, oidc, true)).toBe(true)
      expect(await verdict({ backchannel_logout_uri: address }, { loopback: true })).toBe(
        'accepted',
      )
    },
  )

  it.each([{}, PUBLIC_NATIVE])('166 localhost is none under another issuer: %j', async (oidc) => {
    expect(await fits('http://localhost/cb', oidc)).toBe(false)
  })
})

describe('023 which address an answer may go to', () => {
  const REGISTERED = 'https://bar.example/cb?x=1'

  it.each([
    'HTTPS://bar.example/cb?x=1',
    'https://Bar.example/cb?x=1',
    'https://bar.example/CB?x=1',
    'https://bar.example/cb/?x=1',
    'https://bar.example:443/cb?x=1',
    'https://bar.example:8443/cb?x=1',
    'https://bar.example/cb',
    'https://bar.example/cb?x=1&y=2',
    'https://bar.example/cb?x=1#',
    'https://bar.example/cb?x=1#f',
    'https://bar.example/cbevil?x=1',
    'https://bar.example/a/../cb?x=1',
    'https://bar.example/%63b?x=1',
    'https://a.bar.example/cb?x=1',
    'https://example/cb?x=1',
    'https://bar.example.evil.example/cb?x=1',
    'https://bar.example@evil.example/cb?x=1',
    'https:\\\\bar.example\\cb?x=1',
    'http://bar.example/cb?x=1',
    ' https://bar.example/cb?x=1',
    'https://bar.example/cb?x=1\n',
    '',
  ])('023 not %j', async (requested) => {
    const client = await clientOf({ redirect_uris: [REGISTERED, 'https://bar.example/other'] })
    expect(matchesRedirectUri(client, REGISTERED)).toBe(true)
    expect(matchesRedirectUri(client, requested)).toBe(false)
    const native = await clientOf({ ...PUBLIC_NATIVE, redirect_uris: [REGISTERED] })
    expect(matchesRedirectUri(native, requested)).toBe(false)
  })

  it('023 nothing but the registered text matches, however little it differs', async () => {
    const web = await clientOf({
      redirect_uris: [REGISTERED],
      post_logout_redirect_uris: [CALLBACK],
    })
    fc.assert(
      fc.property(edited(REGISTERED), edited(CALLBACK), (requested, afterLogout) => {
        expect(matchesRedirectUri(web, requested)).toBe(requested === REGISTERED)
        expect(isPostLogoutRedirectUri(web, afterLogout)).toBe(afterLogout === CALLBACK)
      }),
      { numRuns: 500 },
    )
  })

  const HOSTS = ['127.0.0.1', '[::1]']
  const native = (...redirect_uris: string[]) => clientOf({ ...PUBLIC_NATIVE, redirect_uris })

  it('025 any port of a loopback literal, for a public native client', async () => {
    for (const host of HOSTS) {
      for (const registered of [`http://${host}/cb?x=1`, `http://${host}:8400/cb?x=1`]) {
        const client = await native(registered)
        fc.assert(
          fc.property(fc.integer({ min: 1, max: 65_535 }), (port) =>
            matchesRedirectUri(client, `http://${host}:${port}/cb?x=1`),
          ),
        )
        expect(matchesRedirectUri(client, `http://${host}/cb?x=1`)).toBe(true)
      }
    }
    expect(matchesRedirectUri(await native('http://127.0.0.1'), 'http://127.0.0.1:1')).toBe(true)
  })

  it.each([
    'http://localhost:8400/cb',
    'http://localhost/cb',
    'http://[::1]:8400/cb',
    'http://127.0.0.2:8400/cb',
    'http://127.1:8400/cb',
    'http://127.0.0.1:8400/other',
    'http://127.0.0.1:8400/cb/',
    'http://127.0.0.1:8400/cb?x',
    'http://127.0.0.1:8400/cb#x',
    'http://127.0.0.1:8400/cb\n',
    'http://127.0.0.1:8400/\ncb',
    'http://127.0.0.1:/cb',
    'http://127.0.0.1:0/cb',
    'http://127.0.0.1:00080/cb',
    'http://127.0.0.1:65536/cb',
    'http://127.0.0.1:99999/cb',
    'http://127.0.0.1:+80/cb',
    'http://127.0.0.1:8e3/cb',
    'http://127.0.0.1:80:80/cb',
    'http://127.0.0.1: 80/cb',
    'http://127.0.0.1:٨٠/cb',
    'http://127.0.0.1:80@evil.example/cb',
    'http://user@127.0.0.1:80/cb',
    'http://127.0.0.1.evil.example:80/cb',
    'https://127.0.0.1:8400/cb',
    'HTTP://127.0.0.1:8400/cb',
    'http:/127.0.0.1:8400/cb',
    'http://127.0.0.1:8400',
  ])('025 not %j', async (requested) => {
    const client = await native('http://127.0.0.1/cb')
    expect(matchesRedirectUri(client, requested)).toBe(false)
  })

  it('025 the port of a web or confidential client, of localhost and of https is fixed', async () => {
    const redirect_uris = ['http://127.0.0.1:3000/cb', 'http://[::1]/cb', 'http://localhost/cb']
    for (const oidc of [{}, CONFIDENTIAL_NATIVE, { token_endpoint_auth_method: 'none' }]) {
      const client = await clientOf({ ...oidc, redirect_uris }, true)
      expect(redirect_uris.every((each) => matchesRedirectUri(client, each))).toBe(true)
      expect(matchesRedirectUri(client, 'http://127.0.0.1:3001/cb')).toBe(false)
      expect(matchesRedirectUri(client, 'http://[::1]:3001/cb')).toBe(false)
    }
    const client = await clientOf({ ...PUBLIC_NATIVE, redirect_uris }, true)
    expect(matchesRedirectUri(client, 'http://localhost/cb')).toBe(true)
    expect(matchesRedirectUri(client, 'http://localhost:3001/cb')).toBe(false)
  })

  it('025 of all texts near a registered one, only its port variants match', async () => {
    const registered = 'http://127.0.0.1:8400/cb'
    const client = await native(registered, 'com.example.bar:/cb')
    fc.assert(
      fc.property(edited(registered), edited('com.example.bar:/cb'), (loopback, scheme) => {
        const port = /^http:\/\/127\.0\.0\.1(?::([1-9]\d{0,4}))?\/cb$/.exec(loopback)
        const variant = port !== null && Number(port[1] ?? 80) <= 65_535
        expect(matchesRedirectUri(client, loopback)).toBe(variant)
        expect(matchesRedirectUri(client, scheme)).toBe(scheme === 'com.example.bar:/cb')
      }),
      { numRuns: 1000 },
    )
  })

  it('095 the address after logout is exact, the port too', async () => {
    const address = 'http://127.0.0.1:8400/out'
    const client = await clientOf({ ...PUBLIC_NATIVE, post_logout_redirect_uris: [address] })
    expect(isPostLogoutRedirectUri(client, address)).toBe(true)
    expect(isPostLogoutRedirectUri(client, 'http://127.0.0.1:8401/out')).toBe(false)
    expect(isPostLogoutRedirectUri(client, CALLBACK)).toBe(false)
    expect(matchesRedirectUri(client, address)).toBe(false)
  })
})

/** `text` with one stretch of it replaced, often by nothing, a digit or a character that addresses are made of. */
function edited(text: string): fc.Arbitrary<string> {
  const at = fc.integer({ min: 0, max: text.length })
  const insert = fc.oneof(
    fc.constantFrom('', '/', ':', '#', '?', '@', '.', '\\', '%2f', ' ', '\n', '0', '1', '80'),
    fc.string({ maxLength: 2 }),
  )
  return fc.tuple(at, fc.integer({ min: 0, max: 3 }), insert).map(([from, length, replacement]) => {
    return text.slice(0, from) + replacement + text.slice(from + length)
  })
}

describe('the keys of a client', () => {
  let ec: JWK
  let rsa: JWK
  let secretEc: JWK
  let secretRsa: JWK

  beforeAll(async () => {
    const ecPair = await generateKeyPair('ECDH-ES', { extractable: true })
    const rsaPair = await generateKeyPair('RSA-OAEP-256', { extractable: true })
    ec = { ...(await exportJWK(ecPair.publicKey)), kid: 'ec' }
    rsa = { ...(await exportJWK(rsaPair.publicKey)), kid: 'rsa' }
    secretEc = { ...(await exportJWK(ecPair.privateKey)), kid: 'ec' }
    secretRsa = { ...(await exportJWK(rsaPair.privateKey)), kid: 'rsa' }
  })

  const jwks = (...keys: object[]) => ({ jwks: { keys } })

  it('are kept without members that nobody needs', async () => {
    const noise = { x5t: 'x', key_ops: ['deriveKey'], use: 'enc', alg: 'ECDH-ES' }
    const { jwks: kept } = await clientOf(jwks({ ...ec, ...noise }, rsa))
    expect(kept).toEqual({ keys: [{ ...ec, use: 'enc', alg: 'ECDH-ES' }, rsa] })
  })

  it('none is private or shared', async () => {
    expect(await verdict(jwks(secretEc))).toBe('oidc.jwks')
    expect(await verdict(jwks(secretRsa))).toBe('oidc.jwks')
    for (const member of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']) {
      expect(await verdict(jwks(ec, { ...rsa, [member]: 'AQAB' }))).toBe('oidc.jwks')
      expect(await verdict(jwks({ ...ec, [member]: '' }))).toBe('oidc.jwks')
    }
    expect(await verdict(jwks({ kty: 'oct', kid: 'k', k: 'AQAB' }))).toBe('oidc.jwks')
  })

  it('one that could not be used is refused', async () => {
    const weak = await exportJWK(
      (
        await crypto.subtle.generateKey(
          {
            name: 'RSA-OAEP',
            modulusLength: 1024,
            publicExponent: new Uint8Array([1, 0, 1]),
            hash: 'SHA-256',
          },
          true,
          ['encrypt', 'decrypt'],
        )
      ).publicKey,
    )
    const p384 = await generateKeyPair('ECDH-ES', { crv: 'P-384', extractable: true })
    const broken = [
      { ...weak, kid: 'weak' },
      { ...(await exportJWK(p384.publicKey)), kid: 'p384' },
      { kty: 'OKP', crv: 'X25519', x: ec.x, kid: 'okp' },
      { ...ec, y: ec.x },
      { ...ec, x: `${ec.x}=` },
      { ...ec, x: 'AA' },
      { ...ec, crv: 'P-384' },
      { ...rsa, e: 'Aw' },
      { ...rsa, n: `A${rsa.n}` },
      { ...rsa, n: `${rsa.n}AAAA`.repeat(3) },
      { ...ec, use: 'verify' },
      { ...ec, alg: 'RSA-OAEP' },
      { ...rsa, alg: 'RSA1_5' },
      { ...ec, kid: '' },
      { ...ec, kid: 'a\nb' },
      { ...ec, kid: 'k'.repeat(129) },
    ]
    for (const key of broken) expect([await verdict(jwks(key)), key]).toEqual(['oidc.jwks', key])
    expect(await verdict(jwks(ec, { ...rsa, kid: 'ec' }))).toBe('oidc.jwks')
    expect(await verdict(jwks({ ...ec, kid: undefined }))).toBe('shape')
    expect(await verdict(jwks(...['1', '2', '3', '4', '5'].map((kid) => ({ ...ec, kid }))))).toBe(
      'shape',
    )
  })

  it('encryption needs alg, and a key that fits it', async () => {
    const ask = (alg: string, ...keys: object[]) =>
      verdict({ id_token_encrypted_response_alg: alg, ...(keys.length > 0 ? jwks(...keys) : {}) })
    expect(await verdict({ id_token_encrypted_response_enc: 'A256GCM', ...jwks(ec) })).toBe(
      'oidc.id_token_encrypted_response_enc',
    )
    for (const [alg, right, wrong] of [
      ['ECDH-ES', ec, rsa],
      ['ECDH-ES+A256KW', ec, rsa],
      ['RSA-OAEP', rsa, ec],
      ['RSA-OAEP-256', rsa, ec],
    ] as const) {
      expect(await ask(alg, wrong, right)).toBe('accepted')
      expect(await ask(alg, wrong)).toBe('oidc.jwks')
      expect(await ask(alg)).toBe('oidc.jwks')
    }
    expect(await ask('RSA-OAEP', { ...rsa, alg: 'RSA-OAEP-256' })).toBe('oidc.jwks')
  })

  it('the one that the id_token goes to is the first that fits', async () => {
    expect(idTokenEncryptionOf(await clientOf(jwks(ec)))).toBeUndefined()
    const second = { ...rsa, kid: 'second', alg: 'RSA-OAEP' }
    const client = await clientOf({
      id_token_encrypted_response_alg: 'RSA-OAEP',
      ...jwks(ec, { ...rsa, alg: 'RSA-OAEP-256' }, second),
    })
    expect(idTokenEncryptionOf(client)).toEqual({ alg: 'RSA-OAEP', enc: 'A256GCM', jwk: second })
  })
})
