/**
 * Token exchange (RFC 8693): a service that was called with a token of a person calls on. What it gets is never more scope,
 * never longer, says who acts, and stands and falls with the grant that it comes from.
 */
import { env } from 'cloudflare:workers'
import fc from 'fast-check'
import { compactDecrypt, decodeProtectedHeader } from 'jose'
import { beforeEach, describe, expect, test } from 'vitest'
import {
  asserted,
  makeKey,
  proven,
  redeemKeyed,
  registerKeyed,
  sendForm,
  visit,
} from './high-security.ts'
import { DESCRIPTION, type LoggedIn, landedAt, loggedIn, rowsIn } from './redeemed.ts'
import { type Client, claimsOf, redeem, registerClient, userinfo } from './relying-party.ts'
import {
  ACCESS_TOKEN,
  API,
  AT_API,
  AT_HOME,
  EXCHANGE,
  endClient,
  exchange,
  freshKeys,
  ID_TOKEN,
  introspect,
  LEDGER,
  refresh,
  registerApi,
  revoke,
  SCOPE,
  verifiedAccess,
} from './resource-tokens.ts'
import { later } from './sessions.ts'
import { type Answer, enrolled, ISSUER, now, operator, send, trustList } from './world.ts'

const URN = 'urn:ietf:params:oauth:token-type'

beforeEach(freshKeys)

function expectRefused(answer: Answer, error = 'invalid_request', what = ''): void {
  expect([answer.status, answer.body], what).toEqual([
    error === 'invalid_client' ? 401 : 400,
    { error, error_description: expect.stringMatching(DESCRIPTION) },
  ])
  expect(answer.headers.get('Cache-Control')).toBe('no-store')
}

/** A login whose token goes to the API, and the API. */
interface Called extends LoggedIn {
  readonly api: Client
  readonly jwt: string
}

async function called(about: Parameters<typeof loggedIn>[0] = AT_API): Promise<Called> {
  const login = await loggedIn(about)
  return { ...login, api: await registerApi(), jwt: login.tokens.access_token }
}

describe('what comes of it', () => {
  test('exchange: the JWT that a client called with: these claims and no others, and who acts', async () => {
    const { client, person, tokens, api, jwt } = await called()
    const answer = await exchange(api, jwt)
    expect(answer.status).toBe(200)
    expect(answer.headers.get('Cache-Control')).toBe('no-store')
    expect(answer.body).toEqual({
      access_token: expect.any(String),
      issued_token_type: ACCESS_TOKEN,
      token_type: 'Bearer',
      expires_in: expect.any(Number),
      scope: SCOPE,
    })
    const { payload, protectedHeader } = await verifiedAccess(answer.body.access_token, LEDGER)
    expect(protectedHeader).toEqual({ alg: 'ES256', kid: expect.any(String), typ: 'at+jwt' })
    const subject = claimsOf(jwt)
    expect(payload).toEqual({
      iss: ISSUER,
      sub: person.tokenId,
      aud: LEDGER,
      client_id: 'api',
      scope: SCOPE,
      iat: expect.any(Number),
      exp: Number(payload.iat) + answer.body.expires_in,
      auth_time: subject.auth_time,
      acr: subject.acr,
      jti: expect.any(String),
      act: { sub: 'api' },
    })
    expect(Number(payload.exp)).toBeLessThanOrEqual(Number(subject.exp))
    expect(payload.jti).not.toBe(subject.jti)
    // Neither here nor there it says more of the person.
    expect(
      atob(
        (answer.body.access_token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/'),
      ),
    ).not.toContain('Jean')
    const ledger = await registerClient({ resource: LEDGER }, {}, 'ledger')
    expect((await introspect(ledger, answer.body.access_token)).body).toMatchObject({
      ...{ active: true, client_id: 'api', aud: LEDGER, act: { sub: 'api' }, scope: SCOPE },
      exp: payload.exp,
    })
    expect((await introspect(client, answer.body.access_token)).body).toEqual({ active: false })
    const info = await userinfo(answer.body.access_token)
    expect([info.status, info.body.error]).toEqual([401, 'invalid_token'])
    // The one that was exchanged is not used up.
    expect((await exchange(api, jwt)).status).toBe(200)
    expect(tokens.scope).toContain('offline_access')
  })

  test('exchange: it is noted, without the person', async () => {
    const { api, jwt, person } = await called()
    await exchange(api, jwt)
    const { results } = await env.DB.prepare(
      "SELECT detail FROM audit WHERE event = 'token_exchanged'",
    ).all<{ detail: string }>()
    expect(results.map(({ detail }) => JSON.parse(detail))).toEqual([
      {
        ...{ service: 'api', from: 'bar-le-central', resource: LEDGER },
        grant: expect.stringMatching(/^[\w-]{22}$/),
        requestId: expect.any(String),
      },
    ])
    expect(JSON.stringify(results)).not.toContain(person.tokenId)
  })

  test('exchange: its own opaque access token', async () => {
    const { client, tokens } = await loggedIn(AT_HOME)
    const { body } = await exchange(client, tokens.access_token, { resource: API })
    expect(body).toMatchObject({ issued_token_type: ACCESS_TOKEN, expires_in: 600, scope: SCOPE })
    const { payload } = await verifiedAccess(body.access_token)
    expect(payload).toMatchObject({ client_id: client.clientId, act: { sub: client.clientId } })
    expect(body).not.toHaveProperty('refresh_token')
    expect(body).not.toHaveProperty('id_token')
    expect(await rowsIn('refresh_family')).toBe(1)
  })

  test.each(['ES256', 'RS256'] as const)('exchange: its own id_token by %s', async (alg) => {
    const oidc = { ...AT_HOME.oidc, id_token_signed_response_alg: alg }
    const { client, tokens, person } = await loggedIn({ ...AT_HOME, oidc })
    const more = { subject_token_type: ID_TOKEN, resource: API }
    const { body } = await exchange(client, tokens.id_token, more)
    const { payload } = await verifiedAccess(body.access_token, API, alg)
    expect(payload).toMatchObject({
      sub: person.tokenId,
      scope: SCOPE,
      act: { sub: client.clientId },
      auth_time: claimsOf(tokens.id_token).auth_time,
    })
    // Under its own name only.
    for (const type of [ACCESS_TOKEN, `${URN}:jwt`, `${URN}:refresh_token`, undefined]) {
      const wrong = { ...more, subject_token_type: type }
      expectRefused(await exchange(client, tokens.id_token, wrong), 'invalid_request', type)
    }
    expectRefused(await exchange(client, tokens.access_token, more))
  })

  test('exchange: an id_token from inside its JWE; the JWE itself is nothing', async () => {
    const { publicKey, privateKey } = (await crypto.subtle.generateKey(
      { name: 'ECDH', namedCurve: 'P-256' },
      true,
      ['deriveBits'],
    )) as CryptoKeyPair
    const { kty, crv, x, y } = (await crypto.subtle.exportKey('jwk', publicKey)) as JsonWebKey
    const oidc = {
      ...AT_HOME.oidc,
      id_token_encrypted_response_alg: 'ECDH-ES',
      jwks: { keys: [{ kty, crv, x, y, kid: 'enc', use: 'enc' }] },
    }
    const { client, tokens } = await loggedIn({ ...AT_HOME, oidc })
    expect(decodeProtectedHeader(tokens.id_token)).toMatchObject({ alg: 'ECDH-ES' })
    const more = { subject_token_type: ID_TOKEN, resource: API }
    expectRefused(await exchange(client, tokens.id_token, more))
    const opened = await compactDecrypt(tokens.id_token, privateKey)
    const jws = new TextDecoder().decode(opened.plaintext)
    expect((await exchange(client, jws, more)).status).toBe(200)
  })

  test('exchange: only clients that may exchange get an id_token that names its grant', async () => {
    const { tokens } = await loggedIn({ oidc: { offline_access: true } })
    expect(claimsOf(tokens.id_token)).not.toHaveProperty('jti')
    const other = await loggedIn({
      oidc: { resources: [API], token_endpoint_auth_method: 'none' },
      clientId: 'public-bar',
    })
    expect(claimsOf(other.tokens.id_token)).not.toHaveProperty('jti')
  })

  test('exchange: audience says the same as resource; together they must agree', async () => {
    const { api, jwt } = await called()
    await registerApi({ resources: [LEDGER, 'urn:example:other'] })
    const byAudience = await exchange(api, jwt, { resource: undefined, audience: LEDGER })
    expect(claimsOf(byAudience.body.access_token).aud).toBe(LEDGER)
    const both = await exchange(api, jwt, { audience: LEDGER })
    expect(claimsOf(both.body.access_token).aud).toBe(LEDGER)
    expectRefused(await exchange(api, jwt, { audience: 'urn:example:other' }), 'invalid_target')
    for (const bad of ['ledger', 'api', API, `${LEDGER}#x`, 'https://other.example']) {
      const more = { resource: undefined, audience: bad }
      expectRefused(await exchange(api, jwt, more), 'invalid_target', bad)
      expectRefused(await exchange(api, jwt, { resource: bad }), 'invalid_target', bad)
    }
    expectRefused(await exchange(api, jwt, { resource: undefined }), 'invalid_target')
    for (const name of ['resource', 'audience']) {
      const body = new URLSearchParams({
        ...{ grant_type: EXCHANGE, subject_token: jwt, subject_token_type: ACCESS_TOKEN },
      })
      body.append(name, LEDGER)
      body.append(name, LEDGER)
      const answer = await send('POST', '/oidc/token', body.toString(), {
        ...api.basic,
        'Content-Type': 'application/x-www-form-urlencoded',
      })
      expectRefused(answer, 'invalid_target', name)
    }
    await registerClient({ resource: API }, {}, 'api')
    expectRefused(await exchange(api, jwt), 'invalid_target')
  })

  test('exchange: requested_token_type: an access token, which is a JWT', async () => {
    const { api, jwt } = await called()
    for (const type of [ACCESS_TOKEN, `${URN}:jwt`, undefined]) {
      const { body } = await exchange(api, jwt, { requested_token_type: type })
      expect(body.issued_token_type).toBe(ACCESS_TOKEN)
    }
    for (const type of ['refresh_token', 'id_token', 'saml1', 'saml2'].map((t) => `${URN}:${t}`)) {
      expectRefused(await exchange(api, jwt, { requested_token_type: type }))
    }
    expectRefused(await exchange(api, jwt, { requested_token_type: 'jwt' }))
  })
})

describe('never more', () => {
  test('exchange: a part of the scope, and never beyond', async () => {
    const { api, jwt } = await called()
    const part = await exchange(api, jwt, { scope: 'identity:age_over_18' })
    expect(part.body.scope).toBe('identity:age_over_18')
    expect(claimsOf(part.body.access_token).scope).toBe('identity:age_over_18')
    const turned = await exchange(api, jwt, { scope: SCOPE.split(' ').reverse().join('  ') })
    expect(turned.body.scope).toBe(SCOPE)
    for (const scope of [
      ...['identity:nationality', 'offline_access', `${SCOPE} offline_access`, 'profile', 'email'],
      ...['OPENID', 'unknown', `${SCOPE} unknown`, 'identity:name,openid'],
    ]) {
      expectRefused(await exchange(api, jwt, { scope }), 'invalid_scope', scope)
    }
  })

  test('175 exchange: nor beyond what the caller itself may have, and never a token for nothing', async () => {
    const { api, jwt } = await called()
    await registerApi({}, { allowedScopes: ['identity:age_over_18'] })
    const { body } = await exchange(api, jwt)
    expect(body.scope).toBe('openid identity:age_over_18')
    expect(claimsOf(body.access_token).scope).toBe('openid identity:age_over_18')
    expectRefused(await exchange(api, jwt, { scope: 'identity:name' }), 'invalid_scope')
    expectRefused(await exchange(api, jwt, { scope: 'openid identity:name' }), 'invalid_scope')
  })

  test('exchange: a token that is only good for refreshing gives nothing', async () => {
    const { client, tokens, api } = await called()
    const narrow = await refresh(client, tokens.refresh_token, { scope: 'offline_access' })
    expect(narrow.body.scope).toBe('offline_access')
    expectRefused(await exchange(api, narrow.body.access_token), 'invalid_scope')
  })

  test('175 exchange: nor beyond what the client that lent it may have by now', async () => {
    const { api, jwt } = await called()
    await registerClient(AT_API.oidc, { allowedScopes: ['identity:age_over_18'] })
    const { body } = await exchange(api, jwt)
    expect(body.scope).toBe('openid identity:age_over_18')
    expectRefused(await exchange(api, jwt, { scope: 'identity:name' }), 'invalid_scope')
  })

  test('exchange: claims of the person are never in it, whoever is registered to have them', async () => {
    const { api, jwt } = await called({
      ...AT_API,
      oidc: { ...AT_API.oidc, claims_in_access_token: true },
    })
    expect(claimsOf(jwt)).toHaveProperty('name', 'Jean Dupont')
    await registerApi({ claims_in_access_token: true })
    const { body } = await exchange(api, jwt)
    for (const name of ['name', 'given_name', 'family_name', 'age_over_18']) {
      expect(claimsOf(body.access_token)).not.toHaveProperty(name)
    }
  })

  test('exchange: no longer than the one before, to the second', async () => {
    const { api, jwt } = await called()
    const { exp } = claimsOf(jwt)
    later(Number(exp) - 5 - now())
    const { body } = await exchange(api, jwt)
    expect(body.expires_in).toBe(5)
    expect(claimsOf(body.access_token).exp).toBe(exp)
    later(5)
    expectRefused(await exchange(api, jwt))
  })

  test('exchange: an id_token that ended buys nothing, though it is a hint for ever', async () => {
    const oidc = { ...AT_HOME.oidc, id_token_ttl: 60 }
    const { client, tokens } = await loggedIn({ ...AT_HOME, oidc })
    const more = { subject_token_type: ID_TOKEN, resource: API }
    later(0)
    const { exp } = claimsOf(tokens.id_token)
    later(Number(exp) - 1 - now())
    expect((await exchange(client, tokens.id_token, more)).body.expires_in).toBe(1)
    later(1)
    expectRefused(await exchange(client, tokens.id_token, more))
  })

  test('exchange: property: from any token of any age with any scope: never wider, never longer, always whose it was', async () => {
    const { client, tokens, person, api } = await called()
    const home = await landedAt(client, person, AT_HOME)
    const opaque = (await redeem(client, home.code)).body
    const names = SCOPE.split(' ')
    later(0)
    const begun = Date.now()
    const sources = [
      { by: api, text: tokens.access_token, type: ACCESS_TOKEN, to: LEDGER },
      { by: client, text: tokens.access_token, type: ACCESS_TOKEN, to: LEDGER },
      { by: client, text: opaque.access_token, type: ACCESS_TOKEN, to: API },
      { by: client, text: opaque.id_token, type: ID_TOKEN, to: API },
    ]
    const ends = sources.map(({ text }, i) =>
      i === 2 ? Math.floor(begun / 1000) + 3600 : Number(claimsOf(text).exp),
    )
    const arbitrary = fc.record({
      source: fc.nat(sources.length - 1),
      age: fc.oneof(fc.nat(620), fc.nat(3700)),
      asked: fc.option(
        fc.array(fc.constantFrom(...names, 'offline_access', 'identity:nationality', 'email', ''), {
          maxLength: 4,
        }),
        { nil: undefined },
      ),
    })
    let given = 0
    const property = fc.asyncProperty(arbitrary, async ({ source, age, asked }) => {
      const { by, text, type, to } = sources[source] ?? sources[0] ?? { by: api }
      const end = ends[source] ?? 0
      later((begun - Date.now()) / 1000 + age)
      const scope = asked?.join(' ')
      const { status, body } = await exchange(by, text ?? '', {
        ...{ subject_token_type: type, resource: to, scope },
      })
      if (status !== 200) {
        const isOver = now() >= end
        const isWider = scope?.trim() === '' || asked?.some((n) => n !== '' && !names.includes(n))
        expect([isOver, isWider]).toContain(true)
        return
      }
      given += 1
      const claims = claimsOf(body.access_token)
      expect(Number(claims.exp)).toBeLessThanOrEqual(end)
      expect(Number(claims.exp) - now()).toBe(body.expires_in)
      expect(body.expires_in).toBeGreaterThan(0)
      expect(body.expires_in).toBeLessThanOrEqual(600)
      const wanted = asked?.filter((name) => name !== '') ?? names
      for (const name of body.scope.split(' ')) {
        expect(names).toContain(name)
        if (wanted.length > 0) expect(wanted).toContain(name)
      }
      expect(claims).toMatchObject({ aud: to, sub: person.tokenId, scope: body.scope })
    })
    await fc.assert(property, { numRuns: 80 })
    expect(given).toBeGreaterThan(10)
  }, 60_000)
})

describe('who acts', () => {
  test('exchange: the chain tells everybody, the latest first', async () => {
    const { jwt, api } = await called()
    const ledger = await registerClient(
      { resource: LEDGER, resources: ['urn:example:archive'] },
      {},
      'ledger',
    )
    const first = await exchange(api, jwt)
    const second = await exchange(ledger, first.body.access_token, {
      resource: 'urn:example:archive',
    })
    const claims = claimsOf(second.body.access_token)
    expect(claims.act).toEqual({ sub: 'ledger', act: { sub: 'api' } })
    expect(claims).toMatchObject({ client_id: 'ledger', aud: 'urn:example:archive' })
    expect(Number(claims.exp)).toBeLessThanOrEqual(Number(claimsOf(jwt).exp))
    const archive = await registerClient({ resource: 'urn:example:archive' }, {}, 'archive')
    const said = await introspect(archive, second.body.access_token)
    expect(said.body.act).toEqual(claims.act)
    // Who comes first in the chain is not who may exchange it again.
    expectRefused(await exchange(api, second.body.access_token))
  })

  test('exchange: five may act one for another, not six', async () => {
    const { client, tokens } = await loggedIn(AT_API)
    let text: string = tokens.access_token
    let act: object | undefined
    for (let length = 1; length <= 5; length++) {
      const { status, body } = await exchange(client, text)
      expect(status, `${length}`).toBe(200)
      act = { sub: client.clientId, ...(act && { act }) }
      expect(claimsOf(body.access_token).act).toEqual(act)
      text = body.access_token
    }
    expectRefused(await exchange(client, text))
    expect((await introspect(client, text)).body.active).toBe(true)
  })

  test('exchange: nobody else is brought along: actor_token is refused', async () => {
    const { api, jwt } = await called()
    expectRefused(await exchange(api, jwt, { actor_token: jwt, actor_token_type: ACCESS_TOKEN }))
    expectRefused(await exchange(api, jwt, { actor_token: jwt }))
    expectRefused(await exchange(api, jwt, { actor_token_type: ACCESS_TOKEN }))
  })
})

describe('who may not', () => {
  test('exchange: a token of another client that was not made for the caller', async () => {
    const { client, tokens, jwt, api } = await called()
    const opaque = await landedAt(client, await enrolled({ push: false }), AT_HOME)
    const home = (await redeem(client, opaque.code)).body
    const ledger = await registerClient({ resource: LEDGER, resources: [API] }, {}, 'ledger')
    const none = await registerClient({ resources: [API] }, {}, 'none')
    for (const caller of [ledger, none]) {
      for (const text of [jwt, home.access_token, tokens.refresh_token]) {
        expectRefused(await exchange(caller, text, { resource: API }))
      }
      const asId = { resource: API, subject_token_type: ID_TOKEN }
      expectRefused(await exchange(caller, home.id_token, asId))
    }
    // The API may exchange what was made for it, and neither the opaque token nor the id_token.
    expectRefused(await exchange(api, home.access_token))
    expectRefused(await exchange(api, home.id_token, { subject_token_type: ID_TOKEN }))
    expect((await exchange(api, jwt)).status).toBe(200)
  })

  test('exchange: a public client, and who is no client at all', async () => {
    const oidc = { ...AT_API.oidc, token_endpoint_auth_method: 'none' }
    const { client, tokens } = await loggedIn({ ...AT_API, oidc })
    const form = {
      ...{ grant_type: EXCHANGE, subject_token: tokens.access_token, resource: LEDGER },
      ...{ subject_token_type: ACCESS_TOKEN, client_id: client.clientId },
    }
    expectRefused(await sendForm('/oidc/token', form), 'unauthorized_client')
    const { api, jwt } = await called({ ...AT_API, clientId: 'other-bar' })
    const wrong = { basic: { Authorization: `Basic ${btoa('api:wrong')}` } }
    expectRefused(await exchange(wrong, jwt), 'invalid_client')
    expectRefused(await exchange({ basic: {} }, jwt), 'invalid_client')
    expect((await exchange(api, jwt)).status).toBe(200)
  })

  test('exchange: what is no subject token', async () => {
    const { client, api, jwt, tokens, person } = await called()
    const { code } = await landedAt(client, person, AT_API)
    for (const text of [
      ...['x', 'a.b.c', '1.AAAA', `${jwt}A`, jwt.slice(0, -1), tokens.refresh_token, code],
      ...[client.secret, api.secret, await person.sign('at+jwt', claimsOf(jwt))],
    ]) {
      expectRefused(await exchange(client, text))
      expectRefused(await exchange(api, text, { subject_token_type: ID_TOKEN }))
    }
    expectRefused(await exchange(api, jwt, { subject_token: undefined }))
    for (const type of [undefined, 'access_token', `${URN}:jwt`, `${URN}:refresh_token`, 'x']) {
      expectRefused(await exchange(api, jwt, { subject_token_type: type }), 'invalid_request', type)
    }
    expect(await rowsIn('dead_grant')).toBe(0)
    expect((await redeem(client, code)).status).toBe(200)
  })

  test.each<[string, (login: Called) => Promise<unknown>]>([
    [
      'a person who was revoked',
      ({ person }) => operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' }),
    ],
    [
      'a CA that is trusted no longer',
      async () => {
        const list = await trustList({ sequence: 2, entries: [] })
        return operator('PUT', '/operator/trust-list', { trustList: list })
      },
    ],
    [
      'a person with a new phone',
      () => env.DB.prepare("UPDATE enrollment SET enrollment_id = 'another'").run(),
    ],
    ['a grant that was called back', ({ client, tokens }) => revoke(client, tokens.refresh_token)],
    ['a code that came twice', ({ client, code }) => redeem(client, code)],
    ['a client that was switched off', () => registerClient(AT_API.oidc, { enabled: false })],
    ['a service that is no client any more', ({ client }) => endClient(client)],
    ['a token that has ended', async () => later(601)],
    [
      'a signing key that was removed',
      ({ jwt }) =>
        operator('POST', `/operator/keys/${decodeProtectedHeader(jwt).kid}/remove`, {
          reason: 'leaked',
        }),
    ],
    ['a level that the caller demands by now', () => registerApi({ min_trust_level: 3 })],
    ['a resource that has another name now', () => registerApi({ resource: `${API}/2` })],
  ])('103 exchange: the token of %s', async (_, end) => {
    const login = await called()
    expect((await exchange(login.api, login.jwt)).status).toBe(200)
    await end(login)
    expectRefused(await exchange(login.api, login.jwt))
  })

  test('101 exchange: a caller that was switched off, or is no client any more', async () => {
    const { api, jwt } = await called()
    await registerApi({}, { enabled: false })
    expectRefused(await exchange(api, jwt), 'invalid_client')
    await registerApi()
    await endClient(api)
    expectRefused(await exchange(api, jwt), 'invalid_client')
  })

  test('103 exchange: what was exchanged ends with the grant that it comes from', async () => {
    const { client, tokens, api, jwt } = await called()
    const { body } = await exchange(api, jwt)
    const ledger = await registerClient({ resource: LEDGER, resources: [API] }, {}, 'ledger')
    const active = async () => (await introspect(ledger, body.access_token)).body.active
    expect(await active()).toBe(true)
    await revoke(client, tokens.refresh_token)
    expect(await active()).toBe(false)
    expectRefused(await exchange(ledger, body.access_token, { resource: API }))
  })

  test('11 exchange: a parameter twice', async () => {
    const { api, jwt } = await called()
    for (const name of ['subject_token', 'subject_token_type', 'requested_token_type', 'scope']) {
      const body = new URLSearchParams({
        ...{ grant_type: EXCHANGE, subject_token: jwt, subject_token_type: ACCESS_TOKEN },
        ...{ resource: LEDGER, requested_token_type: ACCESS_TOKEN, scope: 'openid' },
      })
      body.append(name, body.get(name) ?? '')
      const answer = await send('POST', '/oidc/token', body.toString(), {
        ...api.basic,
        'Content-Type': 'application/x-www-form-urlencoded',
      })
      expectRefused(answer, 'invalid_request', name)
    }
  })
})

describe('keys', () => {
  test('082 exchange: its own bound token only with that key, and the new one is bound to it', async () => {
    const key = await makeKey()
    const { client, person } = await loggedIn(AT_HOME)
    const about = { resource: API }
    for (const request of [AT_HOME, AT_API]) {
      const { code } = await landedAt(client, person, request)
      const proof = await proven(key)
      const { body } = await redeem(client, code, {}, { ...client.basic, ...proof })
      expectRefused(await exchange(client, body.access_token, about))
      const other = await proven(await makeKey())
      expectRefused(await exchange(client, body.access_token, about, other))
      const right = await exchange(client, body.access_token, about, await proven(key))
      expect(right.body.token_type).toBe('DPoP')
      expect(claimsOf(right.body.access_token).cnf).toEqual({ jkt: key.thumbprint })
    }
  })

  test('exchange: the resource can prove no key of its caller; the new token is bound to its own, or to none', async () => {
    const key = await makeKey()
    const { client, person, api } = await called()
    const { code } = await landedAt(client, person, AT_API)
    const proof = await proven(await makeKey())
    const { body } = await redeem(client, code, {}, { ...client.basic, ...proof })
    expect(claimsOf(body.access_token)).toHaveProperty('cnf')
    const plain = await exchange(api, body.access_token)
    expect(plain.body.token_type).toBe('Bearer')
    expect(claimsOf(plain.body.access_token)).not.toHaveProperty('cnf')
    const bound = await exchange(api, body.access_token, {}, await proven(key))
    expect(bound.body.token_type).toBe('DPoP')
    expect(claimsOf(bound.body.access_token).cnf).toEqual({ jkt: key.thumbprint })
    // And nobody exchanges what is bound to the API without its key.
    const ledger = await registerClient({ resource: LEDGER, resources: [API] }, {}, 'ledger')
    await registerApi({ resources: [LEDGER], resource: API })
    expectRefused(await exchange(api, bound.body.access_token))
    const onward = await exchange(ledger, bound.body.access_token, { resource: API })
    expect(onward.status).toBe(200)
  })

  test('081 exchange: a client of the high profile: assertion, proof, and nothing without', async () => {
    const keyed = await registerKeyed({ profile: 'fapi2', resources: [API], resource: LEDGER })
    const person = await enrolled({ push: false })
    const { code } = await visit(keyed, person, { resource: API })
    const { body } = await redeemKeyed(keyed, code)
    expect(body.token_type).toBe('DPoP')
    const form = {
      ...{ grant_type: EXCHANGE, subject_token: body.access_token, resource: API },
      subject_token_type: ACCESS_TOKEN,
    }
    const without = await sendForm('/oidc/token', { ...form, ...(await asserted(keyed)) })
    expect(without.status).toBe(400)
    const nonce = await sendForm(
      '/oidc/token',
      { ...form, ...(await asserted(keyed)) },
      await proven(keyed.dpop, { nonce: undefined }),
    )
    expect([nonce.status, nonce.body.error]).toEqual([400, 'use_dpop_nonce'])
    expect(nonce.headers.get('DPoP-Nonce')).toEqual(expect.any(String))
    const whole = { ...form, ...(await asserted(keyed)) }
    const answer = await sendForm('/oidc/token', whole, await proven(keyed.dpop))
    expect(answer.body).toMatchObject({ token_type: 'DPoP', issued_token_type: ACCESS_TOKEN })
    const { payload } = await verifiedAccess(answer.body.access_token)
    expect(payload.cnf).toEqual({ jkt: keyed.dpop.thumbprint })
  })

  test('exchange: a refresh afterwards is what it was: nothing of it is rotated or spent', async () => {
    const { client, tokens, api, jwt } = await called()
    await exchange(api, jwt)
    await exchange(client, jwt)
    const again = await refresh(client, tokens.refresh_token)
    expect(claimsOf(again.body.access_token)).not.toHaveProperty('act')
  })
})
