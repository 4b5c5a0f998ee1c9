/** Tokens for one resource (RFC 8707): where a resource is asked for, and the JWT that comes of it (RFC 9068). */
import { decodeProtectedHeader } from 'jose'
import { beforeEach, describe, expect, test } from 'vitest'
import { makeKey, proven, sendForm } from './high-security.ts'
import { type About, DESCRIPTION, landed, landedAt, loggedIn, rowsIn } from './redeemed.ts'
import {
  claimsOf,
  landingOf,
  REDIRECT_URI,
  redeem,
  registerClient,
  Tab,
  userinfo,
} from './relying-party.ts'
import {
  API,
  AT_API,
  AT_HOME,
  freshKeys,
  introspect,
  LEDGER,
  ourRing,
  refresh,
  SCOPE,
  verifiedAccess,
} from './resource-tokens.ts'
import { later } from './sessions.ts'
import { type Answer, enrolled, ISSUER, now, send } from './world.ts'

const CLAIMS = [
  ...['acr', 'aud', 'auth_time', 'client_id', 'exp', 'iat', 'iss', 'jti', 'scope', 'sub'],
] as const

/** What is registered nowhere, or only nearly. */
const FOREIGN = [
  'https://other.example/v1',
  'https://api.example/v1/',
  'https://api.example/V1',
  'https://API.example/v1',
  'https://api.example',
  'https://api.example/v1?a=b',
  'https://api.example/v1#part',
  'https://api.example/v1#',
  ' https://api.example/v1',
  'api.example',
  'bar-le-central',
  `${API} ${LEDGER}`,
  `["${API}"]`,
  '*',
]

beforeEach(freshKeys)

function expectTarget(answer: Answer): void {
  expect([answer.status, answer.body]).toEqual([
    400,
    { error: 'invalid_target', error_description: expect.stringMatching(DESCRIPTION) },
  ])
  expect(answer.headers.get('Cache-Control')).toBe('no-store')
}

/** The token endpoint with `resource` as often as `resources` has it. */
function twice(client: { basic: Record<string, string> }, form: object, resources: string[]) {
  const body = new URLSearchParams({ ...form } as Record<string, string>)
  for (const resource of resources) body.append('resource', resource)
  return send('POST', '/oidc/token', body.toString(), {
    'Content-Type': 'application/x-www-form-urlencoded',
    ...client.basic,
  })
}

describe('the token', () => {
  test.each(['ES256', 'RS256'] as const)(
    'resource: an RFC 9068 token by %s, verified from the JWKS alone; these claims and no others',
    async (alg) => {
      const at = now()
      const { tokens, person, landing } = await loggedIn({
        ...AT_API,
        oidc: { ...AT_API.oidc, id_token_signed_response_alg: alg },
      })
      expect(landing.parameters).not.toHaveProperty('resource')
      expect(tokens).toEqual({
        access_token: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
        token_type: 'Bearer',
        expires_in: 600,
        id_token: expect.any(String),
        refresh_token: expect.any(String),
        scope: `${SCOPE} offline_access`,
      })
      const { payload, protectedHeader } = await verifiedAccess(tokens.access_token, API, alg)
      expect(protectedHeader).toEqual({ alg, kid: expect.any(String), typ: 'at+jwt' })
      expect(protectedHeader.kid).toBe(decodeProtectedHeader(tokens.id_token).kid)
      expect(payload).toEqual({
        iss: ISSUER,
        sub: person.tokenId,
        aud: API,
        client_id: 'bar-le-central',
        scope: tokens.scope,
        iat: expect.any(Number),
        exp: Number(payload.iat) + 600,
        auth_time: claimsOf(tokens.id_token).auth_time,
        acr: 'urn:idtokenseal:acr:face-oob-substantial',
        jti: expect.stringMatching(/^1\.[\w-]+$/),
      })
      expect(Number(payload.iat) - at).toBeGreaterThanOrEqual(0)
      expect(Number(payload.iat) - at).toBeLessThan(60)
      const idToken = claimsOf(tokens.id_token)
      expect(idToken).toHaveProperty('at_hash')
      expect(idToken.jti).not.toBe(payload.jti)
    },
  )

  test('resource: it ends after ten minutes, and no two have one jti', async () => {
    const { client, tokens } = await loggedIn(AT_API)
    const fresh = await refresh(client, tokens.refresh_token)
    const [one, other] = [claimsOf(tokens.access_token), claimsOf(fresh.body.access_token)]
    expect(one.jti).not.toBe(other.jti)
    later(595)
    await verifiedAccess(tokens.access_token)
    later(10)
    await expect(verifiedAccess(tokens.access_token)).rejects.toThrow(/"exp"/)
  })

  test.each([
    ['another audience', LEDGER, 'ES256', 'aud'],
    ['another algorithm', API, 'RS256', 'alg'],
  ])('resource: a gateway for %s does not take it', async (_, audience, alg, what) => {
    const { tokens } = await loggedIn(AT_API)
    await expect(verifiedAccess(tokens.access_token, audience, alg)).rejects.toThrow(what)
  })

  test('resource: claims of the person only for clients that are registered for it, and only granted ones', async () => {
    const granted = ['identity:age_over_18']
    const { client, person, tokens } = await loggedIn({ ...AT_API, granted })
    expect(Object.keys(claimsOf(tokens.access_token)).sort()).toEqual(CLAIMS)

    const oidc = { ...AT_API.oidc, claims_in_access_token: true }
    await registerClient(oidc)
    const open = await landedAt(client, person, { ...AT_API, granted })
    const some = claimsOf((await redeem(client, open.code)).body.access_token)
    expect(Object.keys(some).sort()).toEqual([...CLAIMS, 'age_over_18'].sort())
    expect(some).toMatchObject({
      age_over_18: true,
      scope: 'openid identity:age_over_18 offline_access',
    })

    const whole = await landedAt(client, person, AT_API)
    const all = await redeem(client, whole.code)
    expect(claimsOf(all.body.access_token)).toMatchObject({
      ...{ name: 'Jean Dupont', given_name: 'Jean', family_name: 'Dupont', age_over_18: true },
      ...{ iss: ISSUER, aud: API },
    })
    // Less is asked: less is said. And what the operator took away is gone at the next token.
    const narrow = { scope: 'openid identity:age_over_18' }
    const { body } = await refresh(client, all.body.refresh_token, narrow)
    expect(Object.keys(claimsOf(body.access_token)).sort()).toEqual(
      [...CLAIMS, 'age_over_18'].sort(),
    )
    await registerClient(oidc, { allowedScopes: ['identity:age_over_18'] })
    const lowered = await refresh(client, body.refresh_token)
    expect(claimsOf(lowered.body.access_token)).not.toHaveProperty('name')
    expect(claimsOf(lowered.body.access_token)).toHaveProperty('age_over_18', true)
  })

  test('080 resource: pairwise: the tokenId stands nowhere, in no part of any token', async () => {
    const { tokens, person } = await loggedIn({
      ...AT_API,
      oidc: { ...AT_API.oidc, claims_in_access_token: true },
      service: { subjectType: 'pairwise' },
    })
    const { sub } = claimsOf(tokens.id_token)
    expect(sub).not.toBe(person.tokenId)
    expect(claimsOf(tokens.access_token).sub).toBe(sub)
    const open = [tokens.access_token, tokens.id_token].flatMap((jwt: string) =>
      jwt.split('.').map((part) => atob(part.replaceAll('-', '+').replaceAll('_', '/'))),
    )
    const jti = String(claimsOf(tokens.access_token).jti)
    const box = atob((jti.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/'))
    for (const text of [...open, box, JSON.stringify(tokens)]) {
      expect(text).not.toContain(person.tokenId)
      expect(text).not.toContain(person.tokenId.replaceAll('-', ''))
    }
  })

  test('080 resource: two clients of one person give a resource two names for him', async () => {
    const pairwise = { subjectType: 'pairwise' }
    const one = await loggedIn({
      ...AT_API,
      service: { ...pairwise, sectorIdentifier: 'a.example' },
    })
    const other = await loggedIn({
      ...AT_API,
      service: { ...pairwise, sectorIdentifier: 'b.example' },
      clientId: 'other-bar',
      person: one.person,
    })
    const subs = [one, other].map(({ tokens }) => claimsOf(tokens.access_token).sub)
    expect(new Set(subs).size).toBe(2)
  })

  test('resource: a key that was proved is bound into it', async () => {
    const key = await makeKey()
    const { client, code } = await landed(AT_API)
    const { body } = await redeem(client, code, {}, { ...client.basic, ...(await proven(key)) })
    expect(body.token_type).toBe('DPoP')
    const { payload } = await verifiedAccess(body.access_token)
    expect(payload.cnf).toEqual({ jkt: key.thumbprint })
    expect(Object.keys(payload).sort()).toEqual([...CLAIMS, 'cnf'].sort())
  })

  test('resource: without one the token is for us, as ever', async () => {
    const { tokens } = await loggedIn(AT_HOME)
    expect(tokens.expires_in).toBe(3600)
    expect(tokens.access_token).toMatch(/^1\.[\w-]+$/)
    expect((await userinfo(tokens.access_token)).status).toBe(200)
  })
})

describe('who asks where', () => {
  test('resource: named at authorize it is fixed: repeated or not at the token endpoint and at refresh', async () => {
    const { client, code } = await landed(AT_API)
    const first = await redeem(client, code, { resource: API })
    expect(claimsOf(first.body.access_token).aud).toBe(API)
    const second = await refresh(client, first.body.refresh_token)
    expect(claimsOf(second.body.access_token).aud).toBe(API)
    const third = await refresh(client, second.body.refresh_token, { resource: API })
    expect(claimsOf(third.body.access_token).aud).toBe(API)
    expectTarget(await refresh(client, third.body.refresh_token, { resource: LEDGER }))
    expect((await refresh(client, third.body.refresh_token)).status).toBe(200)
  })

  test('resource: named at the token endpoint only, each refresh may name another', async () => {
    const { client, code } = await landed(AT_HOME)
    const first = await redeem(client, code, { resource: LEDGER })
    expect(claimsOf(first.body.access_token).aud).toBe(LEDGER)
    const second = await refresh(client, first.body.refresh_token, { resource: API })
    expect(claimsOf(second.body.access_token).aud).toBe(API)
    const third = await refresh(client, second.body.refresh_token)
    expect(third.body.access_token).toMatch(/^1\./)
    expect((await userinfo(third.body.access_token)).status).toBe(200)
  })

  test.each(FOREIGN)(
    'resource: "%s" at authorize is invalid_target, by redirect',
    async (resource) => {
      await registerClient(AT_API.oidc)
      const answer = await new Tab().authorize({ resource })
      expect(answer.status).toBe(303)
      expect(landingOf(answer)).toEqual({
        address: REDIRECT_URI,
        parameters: {
          error: 'invalid_target',
          error_description: expect.stringMatching(DESCRIPTION),
          state: 'random-csrf-token',
          iss: ISSUER,
        },
      })
    },
  )

  test('resource: two at authorize are one too many, even the same twice', async () => {
    await registerClient(AT_API.oidc)
    for (const second of [API, LEDGER]) {
      const tab = new Tab()
      const query = new URLSearchParams({
        ...{ response_type: 'code', client_id: 'bar-le-central', redirect_uri: REDIRECT_URI },
        ...{ scope: 'openid', state: 's', code_challenge_method: 'S256' },
        code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
      })
      for (const resource of [API, second]) query.append('resource', resource)
      const { parameters } = landingOf(await tab.send('GET', `/oidc/authorize?${query}`))
      expect(parameters).toMatchObject({ error: 'invalid_target', state: 's', iss: ISSUER })
    }
  })

  test('resource: refused at the token endpoint nothing is spent', async () => {
    const { client, code } = await landed(AT_API)
    for (const resource of [...FOREIGN, LEDGER]) {
      expectTarget(await redeem(client, code, { resource }))
    }
    const form = {
      ...{ grant_type: 'authorization_code', code, redirect_uri: REDIRECT_URI },
      code_verifier: 'a-verifier-of-the-worker-tests-that-is-long-enough',
    }
    expectTarget(await twice(client, form, [API, API]))
    expectTarget(await twice(client, form, [API, LEDGER]))
    expect(await rowsIn('dead_grant')).toBe(0)
    const answer = await redeem(client, code)
    expect(claimsOf(answer.body.access_token).aud).toBe(API)
  })

  test('resource: refused at refresh the token is not rotated', async () => {
    const { client, tokens } = await loggedIn(AT_HOME)
    for (const resource of FOREIGN) {
      expectTarget(await refresh(client, tokens.refresh_token, { resource }))
    }
    const form = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token }
    expectTarget(await twice(client, form, [API, API]))
    later(120)
    expect((await refresh(client, tokens.refresh_token, { resource: API })).status).toBe(200)
  })

  test('resource: what the operator took away is refused, at the code and at the refresh token', async () => {
    const { client, person, tokens } = await loggedIn(AT_API)
    const open = await landedAt(client, person, AT_API)
    await registerClient({ ...AT_API.oidc, resources: [LEDGER] })
    expectTarget(await redeem(client, open.code))
    expectTarget(await refresh(client, tokens.refresh_token))
    expectTarget(await refresh(client, tokens.refresh_token, { resource: API }))
    // Nor is what was granted for one resource good for another, or for us.
    expectTarget(await refresh(client, tokens.refresh_token, { resource: LEDGER }))
    await registerClient({ offline_access: true })
    expectTarget(await refresh(client, tokens.refresh_token))
    expect((await introspect(client, tokens.refresh_token)).body.active).toBe(true)
    await registerClient(AT_API.oidc)
    const again = await refresh(client, tokens.refresh_token)
    expect(claimsOf(again.body.access_token).aud).toBe(API)
    expect((await redeem(client, open.code)).status).toBe(200)
  })

  test('resource: to a client without any the parameter means nothing', async () => {
    const about: About = {
      oidc: { offline_access: true },
      request: { ...AT_API.request, resource: 'https://graph.example#x' },
    }
    const { client, code } = await landed(about)
    const { body } = await redeem(client, code, { resource: 'anything at all' })
    expect((await userinfo(body.access_token)).status).toBe(200)
    const form = { grant_type: 'refresh_token', refresh_token: body.refresh_token }
    const again = await twice(client, form, [API, LEDGER])
    expect([again.status, again.body.expires_in]).toEqual([200, 3600])
    expect((await userinfo(again.body.access_token)).status).toBe(200)
  })

  test('resource: pushed (RFC 9126) it is checked when it is pushed', async () => {
    const { basic } = await registerClient(AT_API.oidc)
    const form = {
      ...{ response_type: 'code', redirect_uri: REDIRECT_URI, scope: 'openid' },
      code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
      code_challenge_method: 'S256',
    }
    for (const resource of FOREIGN) {
      expectTarget(await sendForm('/oidc/par', { ...form, resource }, basic))
    }
    expect((await sendForm('/oidc/par', { ...form, resource: API }, basic)).status).toBe(201)
  })

  test('348 resource: a silent answer is for the resource of its own request', async () => {
    const { client, tab } = await loggedIn(AT_API)
    const scope = AT_API.request.scope
    const silent = landingOf(await tab.authorize({ scope, resource: LEDGER, prompt: 'none' }))
    const { body } = await redeem(client, silent.parameters.code)
    expect(claimsOf(body.access_token).aud).toBe(LEDGER)
    const plain = landingOf(await tab.authorize({ scope, prompt: 'none' }))
    expect((await redeem(client, plain.parameters.code)).body.access_token).toMatch(/^1\./)
  })
})

describe('in the wrong place', () => {
  test('115 resource: userinfo does not take it, bound or not', async () => {
    const { tokens, client, person } = await loggedIn(AT_API)
    const answer = await userinfo(tokens.access_token)
    expect([answer.status, answer.body.error]).toEqual([401, 'invalid_token'])
    expect(answer.headers.get('WWW-Authenticate')).toContain('error="invalid_token"')
    const key = await makeKey()
    const { code } = await landedAt(client, person, AT_API)
    const { body } = await redeem(client, code, {}, { ...client.basic, ...(await proven(key)) })
    const about = { method: 'GET', path: '/oidc/userinfo', accessToken: body.access_token }
    const bound = await send('GET', '/oidc/userinfo', undefined, {
      Authorization: `DPoP ${body.access_token}`,
      ...(await proven(key, about)),
    })
    expect([bound.status, bound.body.error]).toEqual([401, 'invalid_token'])
  })

  test('115 resource: it is no hint, no code, no refresh token, no client assertion', async () => {
    const { tokens, client, tab } = await loggedIn(AT_API)
    const { access_token: jwt } = tokens
    const hinted = landingOf(await tab.authorize({ prompt: 'none', id_token_hint: jwt }))
    expect(hinted.parameters.error).toBe('invalid_request')
    const logout = await send('GET', `/oidc/end-session?id_token_hint=${jwt}`)
    expect(logout.status).toBe(400)
    for (const answer of [await redeem(client, jwt), await refresh(client, jwt)]) {
      expect([answer.status, answer.body.error]).toEqual([400, 'invalid_grant'])
    }
    const asserted = await sendForm('/oidc/token', {
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      ...{ client_assertion: jwt, grant_type: 'refresh_token' },
      refresh_token: tokens.refresh_token,
    })
    expect([asserted.status, asserted.body.error]).toEqual([401, 'invalid_client'])
    const operator = await send('POST', '/revoke', '{}', { Authorization: `Bearer ${jwt}` })
    expect(operator.status).toBe(401)
  })

  test('115 resource: nothing else that we sign passes for one at introspection', async () => {
    const { tokens, client, person } = await loggedIn(AT_API)
    const ring = ourRing()
    const claims = claimsOf(tokens.access_token)
    // The same claims, and a genuine signature: only the type of the token differs.
    const others = {
      'id token': await ring.signIdToken(claims, 'ES256'),
      'logout token': await ring.signLogoutToken(claims, 'ES256'),
      push: await ring.signPush(claims),
      'direct token': await ring.signToken(claims),
      'device statement': await person.sign('idtoken-pending+jwt', claims),
      'at+jwt of a stranger': await person.sign('at+jwt', claims),
      'its own id_token': tokens.id_token,
    }
    for (const [name, text] of Object.entries(others)) {
      const { status, body } = await introspect(client, text)
      expect([status, body], name).toEqual([200, { active: false }])
    }
    const same = await introspect(client, await ring.signAccessToken(claims, 'ES256'))
    expect(same.body.active).toBe(true)
  })

  test('resource: each of two people has a token of his own', async () => {
    const client = await registerClient(AT_API.oidc)
    const people = await Promise.all([enrolled({ push: false }), enrolled({ push: false })])
    for (const person of people) {
      const { code } = await landedAt(client, person, AT_API)
      const { body } = await redeem(client, code)
      expect(claimsOf(body.access_token).sub).toBe(person.tokenId)
    }
  })
})
