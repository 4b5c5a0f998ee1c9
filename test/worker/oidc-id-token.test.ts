/** What the id_token and userinfo say of a person: contents, signatures, encryption, subjects, and the answers of seed 003. */
import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import {
  calculateJwkThumbprint,
  compactDecrypt,
  compactVerify,
  createLocalJWKSet,
  decodeProtectedHeader,
  exportJWK,
  generateKeyPair,
} from 'jose'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { buildHouse } from '../../src/app.ts'
import { sha256, toBase64url, utf8 } from '../../src/bytes.ts'
import { ENCRYPTION_ALGS, ENCRYPTION_ENCS } from '../../src/services/oidc-client.ts'
import { workerWith } from './other-worker.ts'
import { landed, landedAt, loggedIn, verified } from './redeemed.ts'
import {
  approve,
  claimsOf,
  landingOf,
  REDIRECT_URI,
  redeem,
  registerClient,
  Tab,
  userinfo,
  VERIFIER,
  waitingIn,
} from './relying-party.ts'
import { enrolled, ISSUER, loginObject, now, send } from './world.ts'

const ACR = 'urn:idtokenseal:acr:face-oob-'

describe('the answers of seed 003', () => {
  const SCOPE = 'openid identity:name identity:age_over_18'

  test('003 seed: the id_token for name and age; the level only to who asked for it', async () => {
    const { tokens, person } = await loggedIn({
      request: { scope: `${SCOPE} identity:trust_level` },
      identity: { identity: { trustLevel: 3 } },
    })
    expect(tokens).toMatchObject({
      token_type: 'Bearer',
      expires_in: 3600,
      scope: 'openid identity:name identity:trust_level identity:age_over_18',
    })
    const claims = claimsOf(tokens.id_token)
    expect(claims).toMatchObject({
      iss: ISSUER,
      sub: person.tokenId,
      aud: 'bar-le-central',
      exp: Number(claims.iat) + 3600,
      nonce: 'random-replay-protection',
      given_name: 'Jean',
      family_name: 'Dupont',
      name: 'Jean Dupont',
      age_over_18: true,
      trust_level: 3,
      acr: `${ACR}high`,
    })
  })

  test('003 seed: the level is not among what was not asked', async () => {
    const { tokens } = await loggedIn({
      request: { scope: SCOPE },
      identity: { identity: { trustLevel: 3 } },
    })
    expect(tokens.scope).toBe(SCOPE)
    expect(claimsOf(tokens.id_token)).not.toHaveProperty('trust_level')
    expect(claimsOf(tokens.id_token).acr).toBe(`${ACR}high`)
  })

  test('003 seed: userinfo of all that it names', async () => {
    const { tokens, person } = await loggedIn({
      request: {
        scope: `${SCOPE} identity:date_of_birth identity:nationality identity:trust_level`,
      },
      identity: { identity: { trustLevel: 3, dateOfBirth: '1985-06-15' } },
    })
    expect((await userinfo(tokens.access_token)).body).toEqual({
      sub: person.tokenId,
      given_name: 'Jean',
      family_name: 'Dupont',
      name: 'Jean Dupont',
      birthdate: '1985-06-15',
      nationality: 'FRA',
      age_over_18: true,
      trust_level: 3,
    })
  })
})

describe('the id_token', () => {
  test('080 id_token: exactly what was decided, no more', async () => {
    const before = now()
    const { client, code, person } = await landed({ request: { scope: 'openid identity:name' } })
    onTestFinished(() => {
      vi.useRealTimers()
    })
    vi.setSystemTime(Date.now() + 20_000)
    const { body: tokens } = await redeem(client, code)
    const { payload, protectedHeader } = await verified(tokens.id_token)
    expect(payload).toEqual({
      iss: ISSUER,
      sub: person.tokenId,
      aud: 'bar-le-central',
      exp: Number(payload.iat) + 3600,
      iat: expect.any(Number),
      nonce: 'random-replay-protection',
      auth_time: expect.any(Number),
      acr: `${ACR}substantial`,
      amr: ['pop', 'user', 'mca'],
      at_hash: toBase64url((await sha256(tokens.access_token)).subarray(0, 16)),
      sid: expect.stringMatching(/^[\w-]{22}$/),
      given_name: 'Jean',
      family_name: 'Dupont',
      name: 'Jean Dupont',
    })
    expect(Number(payload.iat)).toBeGreaterThanOrEqual(before + 20)
    // The approval, not the redemption, is when the person was authenticated.
    expect(Number(payload.auth_time)).toBeGreaterThanOrEqual(before)
    expect(Number(payload.auth_time)).toBeLessThan(before + 10)
    const jwks = (await send('GET', '/jwks')).body
    const key = jwks.keys.find(({ alg }: { alg: string }) => alg === 'ES256')
    expect(protectedHeader).toEqual({ alg: 'ES256', kid: key.kid, typ: 'JWT' })
  })

  test('080 id_token: the nonce as it was sent, and none where none was', async () => {
    const client = await registerClient()
    const person = await enrolled({ push: false })
    const nonces = [
      ...['n'.repeat(10), 'n'.repeat(43), 'n'.repeat(64), 'n'.repeat(384)],
      ...['a b+c%20&=#"\\é☃', ' ', '0'],
    ]
    for (const nonce of [...nonces, undefined]) {
      const { code } = await landedAt(client, person, { request: { nonce } })
      const claims = claimsOf((await redeem(client, code)).body.id_token)
      expect(claims.nonce).toBe(nonce)
      expect('nonce' in claims).toBe(nonce !== undefined)
    }
  }, 30_000)

  test.each([60, 900, 3600])(
    '080 id_token: lives %d s when the client is registered so',
    async (ttl) => {
      const { tokens } = await loggedIn({ oidc: { id_token_ttl: ttl } })
      const { iat, exp } = claimsOf(tokens.id_token)
      expect(Number(exp) - Number(iat)).toBe(ttl)
      expect(tokens.expires_in).toBe(3600)
    },
  )

  test.each([
    [1, 'low'],
    [2, 'substantial'],
    [3, 'high'],
  ] as const)('080 id_token: the level %d of the seal is the acr %s', async (trustLevel, acr) => {
    const { tokens } = await loggedIn({
      request: { scope: 'openid identity:trust_level' },
      identity: { identity: { trustLevel } },
    })
    expect(claimsOf(tokens.id_token)).toMatchObject({ acr: ACR + acr, trust_level: trustLevel })
  })

  test('080 id_token: who registers RS256 gets RS256, with the same words', async () => {
    const { tokens, person } = await loggedIn({ oidc: { id_token_signed_response_alg: 'RS256' } })
    const { payload, protectedHeader } = await verified(tokens.id_token, undefined, 'RS256')
    expect(protectedHeader).toEqual({ alg: 'RS256', kid: expect.any(String), typ: 'JWT' })
    expect(payload).toMatchObject({
      sub: person.tokenId,
      at_hash: toBase64url((await sha256(tokens.access_token)).subarray(0, 16)),
      name: 'Jean Dupont',
    })
    const jwks = (await send('GET', '/jwks')).body
    const key = jwks.keys.find(({ kid }: { kid: string }) => kid === protectedHeader.kid)
    expect([key.alg, key.kty, key.use]).toEqual(['RS256', 'RSA', 'sig'])
    await expect(verified(tokens.id_token, undefined, 'ES256')).rejects.toThrow()
  })

  test("080 id_token: the algorithm is the client's, whatever the request says", async () => {
    const { tokens } = await loggedIn({
      request: { id_token_signed_response_alg: 'RS256', alg: 'none' },
    })
    expect(decodeProtectedHeader(tokens.id_token).alg).toBe('ES256')
  })

  test('080 id_token: a client that wants its claims from userinfo gets them there alone', async () => {
    const { tokens } = await loggedIn({ oidc: { claims_in_id_token: false } })
    expect(Object.keys(claimsOf(tokens.id_token)).sort()).toEqual(
      'acr amr at_hash aud auth_time exp iat iss nonce sid sub'.split(' '),
    )
    expect(Object.keys((await userinfo(tokens.access_token)).body).sort()).toEqual(
      'age_over_18 family_name given_name name sub'.split(' '),
    )
  })

  test('080 id_token: a person with one name, a birth date known by its year, an age that is not', async () => {
    const { tokens } = await loggedIn({
      request: {
        scope: 'openid profile identity:date_of_birth identity:age_over_18 identity:age_over_21',
      },
      identity: {
        identity: {
          givenNames: '',
          familyName: 'Suharto',
          dateOfBirth: String(new Date().getUTCFullYear() - 18),
        },
      },
    })
    const info = (await userinfo(tokens.access_token)).body
    expect(info).toMatchObject({ family_name: 'Suharto', name: 'Suharto', age_over_21: false })
    expect(info.birthdate).toMatch(/^\d{4}$/)
    expect(info).not.toHaveProperty('given_name')
    // Whether he is of age depends on the day, except on the last one of the year.
    if (new Date().toISOString().slice(5, 10) !== '12-31') {
      expect(info).not.toHaveProperty('age_over_18')
    }
    expect(Object.values({ ...info, ...claimsOf(tokens.id_token) })).not.toContain('')
  })

  test('080 id_token: the largest portrait travels through code, tokens and refresh', async () => {
    const photo = new Uint8Array(2048)
    crypto.getRandomValues(photo)
    photo.set(utf8('RIFF'))
    new DataView(photo.buffer).setUint32(4, 2040, true)
    photo.set(utf8('WEBPVP8 '), 8)
    new DataView(photo.buffer).setUint32(16, 2028, true)
    const { client, tokens } = await loggedIn({
      oidc: { offline_access: true },
      service: { allowedScopes: ['identity:photo'], restrictedScopes: ['identity:photo'] },
      request: { scope: 'openid identity:photo offline_access' },
      identity: { identity: { photo } },
    })
    const picture = `data:image/webp;base64,${btoa(String.fromCharCode(...photo))}`
    expect((await userinfo(tokens.access_token)).body.picture).toBe(picture)
    expect(claimsOf(tokens.id_token).picture).toBe(picture)
    const form = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token }
    const refreshed = await send('POST', '/oidc/token', new URLSearchParams(form).toString(), {
      ...client.basic,
      'Content-Type': 'application/x-www-form-urlencoded',
    })
    expect((await userinfo(refreshed.body.access_token)).body.picture).toBe(picture)
  })
})

describe('encrypted', () => {
  const RSA_ALGS = ENCRYPTION_ALGS.filter((alg) => alg.startsWith('RSA'))

  test.each(ENCRYPTION_ALGS.flatMap((alg) => ENCRYPTION_ENCS.map((enc) => [alg, enc] as const)))(
    '080 id_token: %s with %s: the client opens it, and finds the signed one',
    async (alg, enc) => {
      const isRsa = RSA_ALGS.includes(alg)
      const pair = await generateKeyPair(alg, {
        ...(isRsa ? {} : { crv: 'P-256' }),
        extractable: true,
      })
      const jwk = { ...(await exportJWK(pair.publicKey)), kid: 'key-of-the-client', use: 'enc' }
      const { tokens, person } = await loggedIn({
        oidc: {
          id_token_encrypted_response_alg: alg,
          id_token_encrypted_response_enc: enc,
          jwks: { keys: [jwk] },
        },
      })
      expect(tokens.id_token.split('.')).toHaveLength(5)
      expect(tokens.id_token).not.toContain(person.tokenId)
      const opened = await compactDecrypt(tokens.id_token, pair.privateKey, {
        keyManagementAlgorithms: [alg],
        contentEncryptionAlgorithms: [enc],
      })
      expect(opened.protectedHeader).toMatchObject({ alg, enc, kid: jwk.kid, cty: 'JWT' })
      expect(opened.protectedHeader).not.toHaveProperty('zip')
      const signed = new TextDecoder().decode(opened.plaintext)
      const { payload } = await verified(signed)
      expect(payload).toMatchObject({
        sub: person.tokenId,
        name: 'Jean Dupont',
        nonce: 'random-replay-protection',
        at_hash: toBase64url((await sha256(tokens.access_token)).subarray(0, 16)),
      })
      // Userinfo is plain JSON all the same.
      expect((await userinfo(tokens.access_token)).body.sub).toBe(person.tokenId)
    },
  )

  test('080 id_token: RS256 inside; and a refreshed one is encrypted too', async () => {
    const pair = await generateKeyPair('ECDH-ES', { crv: 'P-256', extractable: true })
    const jwk = { ...(await exportJWK(pair.publicKey)), kid: 'k' }
    const { client, tokens, tab } = await loggedIn({
      oidc: {
        offline_access: true,
        id_token_signed_response_alg: 'RS256',
        id_token_encrypted_response_alg: 'ECDH-ES',
        jwks: { keys: [jwk] },
      },
      request: { scope: 'openid offline_access' },
    })
    const open = async (jwe: string) =>
      new TextDecoder().decode((await compactDecrypt(jwe, pair.privateKey)).plaintext)
    const signed = await open(tokens.id_token)
    await verified(signed, undefined, 'RS256')
    const form = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token }
    const refreshed = await send('POST', '/oidc/token', new URLSearchParams(form).toString(), {
      ...client.basic,
      'Content-Type': 'application/x-www-form-urlencoded',
    })
    await verified(await open(refreshed.body.id_token), undefined, 'RS256')
    // As a hint the client sends what was inside; the JWE itself is none that we could read.
    const hinted = await tab.authorize({ prompt: 'none', scope: 'openid', id_token_hint: signed })
    expect(hinted.headers.get('Location')).toContain('code=')
    const sealed = await tab.authorize({
      ...{ prompt: 'none', scope: 'openid', id_token_hint: tokens.id_token },
    })
    expect(sealed.headers.get('Location')).toContain('error=invalid_request')
  })
})

describe('subjects', () => {
  const SECTOR = 'sector.example'

  function pairwise(clientId: string, sectorIdentifier: string) {
    return registerClient({}, { subjectType: 'pairwise', sectorIdentifier }, clientId)
  }

  async function subOf(
    client: Awaited<ReturnType<typeof registerClient>>,
    person: Awaited<ReturnType<typeof enrolled>>,
  ): Promise<unknown> {
    const { code } = await landedAt(client, person)
    const { body } = await redeem(client, code)
    const info = await userinfo(body.access_token)
    expect(info.body.sub).toBe(claimsOf(body.id_token).sub)
    return info.body.sub
  }

  test('345 subject: one for a sector, another for another, the same again; public is the tokenId', async () => {
    const one = await pairwise('one', SECTOR)
    const two = await pairwise('two', SECTOR)
    const foreign = await pairwise('foreign', 'other.example')
    const open = await registerClient({}, {}, 'open')
    const [ada, bob] = [await enrolled({ push: false }), await enrolled({ push: false })]
    const ofAda = await subOf(one, ada)
    expect(ofAda).toMatch(/^[\w-]{43}$/)
    expect(await subOf(two, ada)).toBe(ofAda)
    expect(await subOf(one, ada)).toBe(ofAda)
    const all = [ofAda, await subOf(foreign, ada), await subOf(one, bob), await subOf(foreign, bob)]
    expect(new Set(all).size).toBe(4)
    expect(await subOf(open, ada)).toBe(ada.tokenId)
  }, 30_000)

  test('345 subject: without a sector of its own it is the host of the service', async () => {
    const shop = (clientId: string, host: string) =>
      registerClient({}, { subjectType: 'pairwise', url: `https://${host}/` }, clientId)
    const person = await enrolledAfter(shop('one', 'shop.example'))
    const subs = [
      await subOf(await shop('two', 'shop.example'), person),
      await subOf(await shop('three', 'shop.example'), person),
      await subOf(await shop('four', 'other.example'), person),
      await subOf(await pairwise('five', 'shop.example'), person),
    ]
    expect(subs[0]).toBe(subs[1])
    expect(subs[2]).not.toBe(subs[0])
    expect(subs[3]).toBe(subs[0])
  })

  test('080 345 subject: pairwise, and no tokenId in anything that the client ever sees', async () => {
    const { client, tokens, person, landing, tab } = await loggedIn({
      oidc: { offline_access: true, alias_domain: 'alias.example' },
      service: { subjectType: 'pairwise', sectorIdentifier: SECTOR },
      request: { scope: 'openid identity:name email offline_access' },
    })
    const info = await userinfo(tokens.access_token)
    const form = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token }
    const refreshed = await send('POST', '/oidc/token', new URLSearchParams(form).toString(), {
      ...client.basic,
      'Content-Type': 'application/x-www-form-urlencoded',
    })
    const hint = await tab.authorize({ prompt: 'none', id_token_hint: tokens.id_token })
    const refused = await redeem(client, landing.parameters.code)
    const seen = [
      ...[landing, tokens, claimsOf(tokens.id_token), info.body, refreshed.body, refused.body],
      ...[claimsOf(refreshed.body.id_token), [...hint.headers], [...info.headers]],
    ].map((part) => JSON.stringify(part))
    const bytes = utf8(person.tokenId)
    const ways = [0, 1, 2].map((offset) =>
      toBase64url(new Uint8Array([...new Uint8Array(offset), ...bytes])).slice(offset + 1, -2),
    )
    for (const text of seen) {
      expect(text).not.toContain(person.tokenId)
      expect(text).not.toContain(person.tokenId.replaceAll('-', ''))
      for (const way of ways) expect(text).not.toContain(way)
    }
    expect(info.body.email).toBe(`${info.body.sub}@alias.example`)
  })

  test('345 subject: unchanged after the master secret was rotated', async () => {
    const client = await pairwise('one', SECTOR)
    const person = await enrolled({ push: false })
    const before = await subOf(client, person)
    const secret = toBase64url(crypto.getRandomValues(new Uint8Array(32)))
    const MASTER_SECRET = `2:${secret},1:${env.MASTER_SECRET}`
    const house = buildHouse({ ...env, MASTER_SECRET })
    if (!house.ok) throw new Error(house.reason)
    // The object of this login lives under the new secret from its approval on, as after a deployment.
    const tab = new Tab()
    const waiting = await tab.begin(person.tokenId, { client_id: 'one' })
    await runInDurableObject(loginObject(waitingIn(waiting).sessionId), (object) => {
      Reflect.set(object, 'house', house.value.login)
    })
    await approve(person, waiting)
    const { code = '' } = landingOf(await tab.press(waiting, '/login/continue')).parameters
    expect(code).toMatch(/^[\w-]{43}\.2\./)
    const answer = await workerWith({ MASTER_SECRET }).send(
      'POST',
      '/oidc/token',
      new URLSearchParams({
        grant_type: 'authorization_code',
        code,
        redirect_uri: REDIRECT_URI,
        code_verifier: VERIFIER,
      }).toString(),
      { ...client.basic, 'Content-Type': 'application/x-www-form-urlencoded' },
    )
    expect(claimsOf(answer.body.id_token).sub).toBe(before)
  })

  /** A person after the first client, whose registration puts the trust list in force. */
  async function enrolledAfter(registered: Promise<unknown>) {
    await registered
    return enrolled({ push: false })
  }
})

describe('the alias', () => {
  test("email: a pairwise name at the client's domain, which nobody has verified", async () => {
    const { tokens } = await loggedIn({
      oidc: { alias_domain: 'mail.shop.example' },
      service: { subjectType: 'pairwise' },
      request: { scope: 'openid email' },
    })
    const { sub } = claimsOf(tokens.id_token)
    expect(tokens.scope).toBe('openid email')
    const email = { email: `${sub}@mail.shop.example`, email_verified: false }
    expect((await userinfo(tokens.access_token)).body).toEqual({ sub, ...email })
    expect(claimsOf(tokens.id_token)).toMatchObject(email)
  })

  test('email: nothing where it was not asked, where there is no domain, or in the id_token of who wants it from userinfo', async () => {
    const quiet = await loggedIn({ oidc: { alias_domain: 'shop.example' } })
    expect(JSON.stringify((await userinfo(quiet.tokens.access_token)).body)).not.toContain('email')
    const none = await loggedIn({ request: { scope: 'openid email' }, clientId: 'none' })
    expect(none.tokens.scope).toBe('openid')
    expect(Object.keys((await userinfo(none.tokens.access_token)).body)).toEqual(['sub'])
    expect(claimsOf(none.tokens.id_token)).not.toHaveProperty('email')
    const apart = await loggedIn({
      oidc: { alias_domain: 'shop.example', claims_in_id_token: false },
      request: { scope: 'openid email' },
      clientId: 'apart',
    })
    expect(claimsOf(apart.tokens.id_token)).not.toHaveProperty('email')
    expect((await userinfo(apart.tokens.access_token)).body.email_verified).toBe(false)
  })
})

describe('the claims parameter', () => {
  const asked = (claims: object, more: Record<string, string> = {}) => ({
    request: { scope: 'openid', claims: JSON.stringify(claims), ...more },
  })

  test('claims: a claim asks its scope; in the id_token only by name when the client wants it so', async () => {
    const { tokens } = await loggedIn({
      oidc: { claims_in_id_token: false },
      service: {
        allowedScopes: ['identity:date_of_birth', 'identity:given_name', 'identity:nationality'],
      },
      ...asked({
        userinfo: { birthdate: null, given_name: { essential: true } },
        id_token: { nationality: { essential: true }, acr: null },
      }),
    })
    expect(tokens.scope).toBe(
      'openid identity:given_name identity:date_of_birth identity:nationality',
    )
    const claims = claimsOf(tokens.id_token)
    expect(claims.nationality).toBe('FRA')
    expect(claims).not.toHaveProperty('birthdate')
    expect(claims).not.toHaveProperty('given_name')
    expect((await userinfo(tokens.access_token)).body).toMatchObject({
      birthdate: '1988-02-29',
      given_name: 'Jean',
      nationality: 'FRA',
    })
  })

  test('claims: what the person declines is absent', async () => {
    const { tokens } = await loggedIn({
      ...asked({ userinfo: { birthdate: { essential: true }, nationality: null } }),
      granted: ['identity:nationality'],
    })
    expect(tokens.scope).toBe('openid identity:nationality')
    const info = (await userinfo(tokens.access_token)).body
    expect(Object.keys(info).sort()).toEqual(['nationality', 'sub'])
  })

  test('035 claims: what is beyond the ceiling or unknown is left out, and the login goes on', async () => {
    const { tokens } = await loggedIn(
      asked({
        userinfo: {
          document_number: { essential: true },
          picture: null,
          phone_number: null,
          nationality: null,
          verified_claims: { verification: { trust_framework: null }, claims: { name: null } },
        },
        id_token: { picture: null, aud: null },
        surprise: { name: null },
      }),
    )
    expect(tokens.scope).toBe('openid identity:nationality')
    expect(Object.keys((await userinfo(tokens.access_token)).body).sort()).toEqual([
      'nationality',
      'sub',
    ])
  })

  test('claims: the alias by its name', async () => {
    const about = {
      oidc: { alias_domain: 'shop.example', claims_in_id_token: false },
      ...asked({ id_token: { email: null } }),
    }
    const { tokens, person } = await loggedIn(about)
    expect(tokens.scope).toBe('openid email')
    expect(claimsOf(tokens.id_token)).toMatchObject({ email: `${person.tokenId}@shop.example` })
    expect((await userinfo(tokens.access_token)).body.email_verified).toBe(false)
  })

  test("claims: an essential level that the seal hasn't, and another person than the one named", async () => {
    const { client, person } = await loggedIn()
    const other = await enrolled({ push: false })
    const landingFor = async (claims: object) =>
      new Tab().login(person, { scope: 'openid', claims: JSON.stringify(claims) })
    const named = (sub: string) => ({ id_token: { sub: { value: sub } } })
    expect((await landingFor(named(other.tokenId))).parameters.error).toBe('login_required')
    const { code } = (await landingFor(named(person.tokenId))).parameters
    expect(claimsOf((await redeem(client, code)).body.id_token).sub).toBe(person.tokenId)
    const waiting = await new Tab().begin(person.tokenId, {
      claims: JSON.stringify({ id_token: { acr: { essential: true, value: `${ACR}high` } } }),
    })
    await expect(approve(person, waiting)).rejects.toThrow('insufficient_trust_level')
  })

  test('claims: no claim takes the place of one that the protocol sets', async () => {
    const { tokens, person } = await loggedIn(
      asked({
        id_token: { sub: null, iss: { value: 'https://evil.example' }, acr: { values: [] } },
        userinfo: { sub: { value: undefined } },
      }),
    )
    expect(claimsOf(tokens.id_token)).toMatchObject({ iss: ISSUER, sub: person.tokenId })
  })
})

test('id_token: verifies with nothing but the JWKS that was served before the login', async () => {
  const jwks = createLocalJWKSet((await send('GET', '/jwks')).body)
  const { tokens } = await loggedIn()
  const { protectedHeader } = await compactVerify(tokens.id_token, jwks)
  const { keys } = (await send('GET', '/.well-known/jwks.json')).body
  const key = keys.find(({ kid }: { kid: string }) => kid === protectedHeader.kid)
  expect(await calculateJwkThumbprint(key)).toBe(protectedHeader.kid)
})
