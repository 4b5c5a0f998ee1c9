import { createHash } from 'node:crypto'
import {
  compactDecrypt,
  decodeProtectedHeader,
  exportJWK,
  generateKeyPair,
  type JWK,
  jwtDecrypt,
} from 'jose'
import { describe, expect, test } from 'vitest'
import type { Grant } from '../../../src/oidc/grant.ts'
import { encryptIdToken, type IdTokenAbout, idTokenClaims } from '../../../src/oidc/id-token.ts'
import type { ClientJwk, OidcClient } from '../../../src/services/oidc-client.ts'

const issuer = 'https://auth.idtokenseal.id3.eu'
const now = 1_705_312_800
const grant: Grant = {
  grantId: 'AAAAAAAAAAAAAAAAAAAAAA',
  clientId: 'bar-le-central',
  tokenId: 'vds-token-uuid',
  enrollmentId: 'enr_1',
  sub: 'vds-token-uuid',
  scope: 'openid identity:name identity:age_over_18 identity:trust_level',
  claims: {
    given_name: 'Jean',
    family_name: 'Dupont',
    name: 'Jean Dupont',
    age_over_18: true,
    trust_level: 3,
  },
  trustLevel: 3,
  authTime: now - 5,
  sid: 'abcdefghijklmnopqrstuv',
}
const about: IdTokenAbout = {
  issuer,
  client: { id_token_ttl: 3600, claims_in_id_token: true },
  grant,
  nonce: 'random-replay-protection',
  alg: 'ES256',
  idTokenClaims: [],
}

describe('the claims of an id_token', () => {
  test('80 the example of the seed, with what was decided on top', async () => {
    expect(await idTokenClaims(about, now)).toEqual({
      iss: 'https://auth.idtokenseal.id3.eu',
      sub: 'vds-token-uuid',
      aud: 'bar-le-central',
      exp: 1705316400,
      iat: 1705312800,
      nonce: 'random-replay-protection',
      given_name: 'Jean',
      family_name: 'Dupont',
      name: 'Jean Dupont',
      age_over_18: true,
      trust_level: 3,
      acr: 'urn:idtokenseal:acr:face-oob-high',
      auth_time: 1705312795,
      amr: ['pop', 'user', 'mca'],
      sid: 'abcdefghijklmnopqrstuv',
    })
  })

  test.each([
    [10, '!"#$%&\'()*'],
    [43, 'n'.repeat(43)],
    [64, 'é'.repeat(64)],
    [384, 'n'.repeat(384)],
  ])('80 a nonce of %i characters comes back as sent', async (_length, nonce) => {
    expect((await idTokenClaims({ ...about, nonce }, now)).nonce).toBe(nonce)
  })

  test('80 no nonce when none was sent, and none in a refreshed one', async () => {
    const { nonce: _nonce, ...without } = about
    expect(await idTokenClaims(without, now)).not.toHaveProperty('nonce')
    expect(await idTokenClaims({ ...about, nonce: null }, now)).not.toHaveProperty('nonce')
  })

  test('80 exp is iat and the time of the client record, never more than an hour', async () => {
    for (const [ttl, life] of [
      [60, 60],
      [900, 900],
      [3600, 3600],
      [86_400, 3600],
    ] as const) {
      const client = { id_token_ttl: ttl, claims_in_id_token: true }
      expect((await idTokenClaims({ ...about, client }, now)).exp).toBe(now + life)
    }
  })

  test('80 pairwise: no tokenId anywhere', async () => {
    const pairwise = { ...grant, tokenId: 'secret-token-id', sub: 'pairwise-sub' }
    const claims = await idTokenClaims({ ...about, grant: pairwise }, now)
    expect(JSON.stringify(claims)).not.toContain('secret-token-id')
    expect(claims.sub).toBe('pairwise-sub')
  })

  test('80 acr is that of the level, and amr names no face', async () => {
    const acrs = await Promise.all(
      ([1, 2, 3] as const).map(
        async (trustLevel) =>
          (await idTokenClaims({ ...about, grant: { ...grant, trustLevel } }, now)).acr,
      ),
    )
    expect(acrs.map((acr) => String(acr).split('-').at(-1))).toEqual(['low', 'substantial', 'high'])
    expect((await idTokenClaims(about, now)).amr).not.toContain('face')
  })

  test('78 claims that were not granted are absent, not null', async () => {
    const claims = await idTokenClaims({ ...about, grant: { ...grant, claims: {} } }, now)
    expect(Object.keys(claims).sort()).toEqual(
      ['acr', 'amr', 'aud', 'auth_time', 'exp', 'iat', 'iss', 'nonce', 'sid', 'sub'].sort(),
    )
    expect(Object.values(claims)).not.toContain(null)
    expect(Object.values(claims)).not.toContain(undefined)
  })

  test('trap 8: a client may have them in userinfo only, but for those it names for the id_token', async () => {
    const client = { id_token_ttl: 3600, claims_in_id_token: false }
    const none = await idTokenClaims({ ...about, client }, now)
    for (const name of Object.keys(grant.claims)) expect(none).not.toHaveProperty(name)
    const named = await idTokenClaims(
      { ...about, client, idTokenClaims: ['name', 'birthdate', 'constructor'] },
      now,
    )
    expect(named.name).toBe('Jean Dupont')
    expect(named).not.toHaveProperty('given_name')
    expect(Object.hasOwn(named, 'birthdate')).toBe(false)
    expect(Object.hasOwn(named, 'constructor')).toBe(false)
  })

  test('the e-mail alias is a claim like the others', async () => {
    const claims = { email: 'x@alias.example', email_verified: false }
    const withAlias = { ...about, grant: { ...grant, claims } }
    expect(await idTokenClaims(withAlias, now)).toMatchObject(claims)
    const client = { id_token_ttl: 3600, claims_in_id_token: false }
    expect(await idTokenClaims({ ...withAlias, client }, now)).not.toHaveProperty('email')
  })

  test('no granted claim takes the place of one that the protocol sets', async () => {
    const claims = { iss: 'evil', sub: 'evil', aud: 'evil', exp: 9e9, acr: 'evil', sid: 'evil' }
    const made = await idTokenClaims({ ...about, grant: { ...grant, claims } }, now)
    expect(made).toEqual(await idTokenClaims({ ...about, grant: { ...grant, claims: {} } }, now))
  })

  test.each(['ES256', 'RS256'] as const)('at_hash with %s: left half of SHA-256', async (alg) => {
    const claims = await idTokenClaims({ ...about, alg, accessToken: '1.abc' }, now)
    const digest = createHash('sha256').update('1.abc').digest()
    expect(claims.at_hash).toBe(digest.subarray(0, 16).toString('base64url'))
    // OpenID Connect Core appendix A.3.
    const example = 'jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y'
    const known = await idTokenClaims({ ...about, alg, accessToken: example }, now)
    expect(known.at_hash).toBe('77QmUPtjPfzWtF2AnpK9RQ')
  })
})

describe('the JWE around it', () => {
  const jws = 'eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln'
  const plain: OidcClient = {
    redirect_uris: ['https://bar-le-central.fr/callback'],
    application_type: 'web',
    token_endpoint_auth_method: 'client_secret_basic',
    id_token_signed_response_alg: 'ES256',
    id_token_ttl: 3600,
    require_pkce: true,
    claims_in_id_token: true,
    offline_access: false,
    post_logout_redirect_uris: [],
    min_trust_level: 1,
  }

  async function clientWith(
    alg: NonNullable<OidcClient['id_token_encrypted_response_alg']>,
    enc: NonNullable<OidcClient['id_token_encrypted_response_enc']>,
  ) {
    const pair = await generateKeyPair(alg, { extractable: true })
    const jwk: JWK = { ...(await exportJWK(pair.publicKey)), kid: 'client-key' }
    const client: OidcClient = {
      ...plain,
      id_token_encrypted_response_alg: alg,
      id_token_encrypted_response_enc: enc,
      jwks: { keys: [jwk as ClientJwk] },
    }
    return { client, privateKey: pair.privateKey }
  }

  const algs = ['ECDH-ES', 'ECDH-ES+A256KW', 'RSA-OAEP', 'RSA-OAEP-256'] as const
  const encs = ['A256GCM', 'A128CBC-HS256'] as const
  test.each(algs.flatMap((alg) => encs.map((enc) => [alg, enc] as const)))(
    '%s with %s opens with the key of the client',
    async (alg, enc) => {
      const { client, privateKey } = await clientWith(alg, enc)
      const made = await encryptIdToken(jws, client)
      if (!made.ok) throw new Error(made.reason)
      expect(decodeProtectedHeader(made.value)).toMatchObject({
        ...{ alg, enc, kid: 'client-key', cty: 'JWT' },
      })
      const opened = await compactDecrypt(made.value, privateKey, {
        keyManagementAlgorithms: [alg],
        contentEncryptionAlgorithms: [enc],
      })
      expect(new TextDecoder().decode(opened.plaintext)).toBe(jws)
      const stranger = await generateKeyPair(alg)
      await expect(jwtDecrypt(made.value, stranger.privateKey)).rejects.toThrow()
    },
  )

  test('a client that registered for none gets the JWS', async () => {
    expect(await encryptIdToken(jws, plain)).toEqual({ ok: true, value: jws })
  })

  test('P5: a client that registered for one never gets the JWS, whatever is wrong with its key', async () => {
    const { client } = await clientWith('ECDH-ES', 'A256GCM')
    const { jwks: _jwks, ...keyless } = client
    const off: ClientJwk = { kty: 'EC', crv: 'P-256', x: 'AAAA', y: 'AAAA', kid: 'k' }
    const short = await crypto.subtle.generateKey(
      {
        name: 'RSA-OAEP',
        modulusLength: 1024,
        publicExponent: new Uint8Array([1, 0, 1]),
        hash: 'SHA-256',
      },
      true,
      ['encrypt', 'decrypt'],
    )
    const weak = { ...(await exportJWK(short.publicKey)), kid: 'k', alg: 'RSA-OAEP-256' }
    const broken: OidcClient[] = [
      keyless,
      { ...client, jwks: { keys: [] } },
      { ...client, jwks: { keys: [off] } },
      {
        ...client,
        id_token_encrypted_response_alg: 'RSA-OAEP-256',
        jwks: { keys: [weak as ClientJwk] },
      },
    ]
    const { id_token_encrypted_response_enc: _enc, ...withoutEnc } = client
    for (const each of [...broken, withoutEnc])
      expect(await encryptIdToken(jws, each)).toEqual({ ok: false, reason: 'unusable_key' })
  })
})
