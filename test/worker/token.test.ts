/** The token endpoint and authorization codes from outside (5-security 4.1, 4.3, 4.5). */
import { runDurableObjectAlarm } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { toBase64url } from '../../src/bytes.ts'
import { AUTHORIZATION_ERRORS, descriptionOf } from '../../src/oidc/authorization-error.ts'
import { oidcStore } from '../../src/oidc/store.ts'
import { trustListsOf } from '../../src/seal/store.ts'
import { workerWith } from './other-worker.ts'
import { DESCRIPTION, landed, landedAt, loggedIn, redeemAs, rowsIn } from './redeemed.ts'
import {
  approve,
  type Client,
  claimsOf,
  REDIRECT_URI,
  redeem,
  registerClient,
  Tab,
  token,
  userinfo,
  VERIFIER,
  waitingIn,
} from './relying-party.ts'
import { breakD1, dumpD1, dumpObject, watchObjects } from './storage.ts'
import { type Answer, enrolled, freshAddress, ISSUER, loginObject, now, send } from './world.ts'

const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' }
/** Rounds of a race; the nightly run may take twenty times as many. */
const ROUNDS = 10
const OFFLINE = {
  oidc: { offline_access: true },
  request: { scope: 'openid identity:name offline_access' },
}

/** Moves the clock of Worker and objects; the test's end sets it right. */
function later(seconds: number): void {
  onTestFinished(() => {
    vi.useRealTimers()
  })
  vi.setSystemTime(Date.now() + seconds * 1000)
}

function expectRefusal(answer: Answer, error: string, status = 400): void {
  expect({ status: answer.status, error: answer.body.error }).toEqual({ status, error })
  expect(Object.keys(answer.body).sort()).toEqual(['error', 'error_description'])
  expect(answer.body.error_description).toMatch(DESCRIPTION)
  expect(answer.headers.get('Content-Type')).toBe('application/json')
  expect(answer.headers.get('Cache-Control')).toBe('no-store')
  expect(answer.headers.get('X-Request-Id')).toMatch(/./)
}

/** The code still buys tokens: nothing before has spent it. */
async function expectUnspent(client: Client, code: string): Promise<void> {
  expect((await redeem(client, code)).status).toBe(200)
}

/** Sends the raw text of a form. */
function raw(body: BodyInit, headers: Record<string, string> = {}): Promise<Answer> {
  return send('POST', '/oidc/token', body, { 'CF-Connecting-IP': freshAddress(), ...headers })
}

function formOf(code: string, more: Record<string, string> = {}): string {
  return new URLSearchParams({
    grant_type: 'authorization_code',
    code,
    redirect_uri: REDIRECT_URI,
    code_verifier: VERIFIER,
    ...more,
  }).toString()
}

describe('the request', () => {
  test('001 token: every other method is 405, and nothing is read', async () => {
    const { client, code } = await landed()
    const before = await dumpD1()
    for (const method of ['GET', 'PUT', 'DELETE', 'PATCH', 'HEAD']) {
      const body = method === 'GET' || method === 'HEAD' ? undefined : formOf(code)
      const headers = { ...client.basic, ...FORM }
      const answer = await send(method, '/oidc/token', body, headers)
      expect(answer.status, method).toBe(405)
      expect(answer.headers.get('Allow'), method).toBe('POST')
    }
    // A query is no body: what stands in it is not looked at.
    const query = await send('GET', `/oidc/token?${formOf(code)}`, undefined, client.basic)
    expect(query.status).toBe(405)
    expect(await dumpD1()).toEqual(before)
    await expectUnspent(client, code)
  })

  test.each([
    ['JSON', 'application/json', (code: string) => JSON.stringify({ code })],
    ['a multipart form', 'multipart/form-data; boundary=x', formOf],
    ['text', 'text/plain', formOf],
    ['nothing that says what it is', '', formOf],
  ])('003 token: %s is invalid_request and spends nothing', async (_, type, body) => {
    const { client, code } = await landed()
    // Without a type of its own, `fetch` would name one for a text.
    const bytes = new TextEncoder().encode(body(code))
    const answer = await raw(bytes, { ...client.basic, ...(type ? { 'Content-Type': type } : {}) })
    expectRefusal(answer, 'invalid_request')
    await expectUnspent(client, code)
  })

  test('003 token: a form is a form with any letters and parameters of its type', async () => {
    const { client, code } = await landed()
    const type = 'Application/X-WWW-Form-URLEncoded;charset=UTF-8'
    const answer = await raw(formOf(code), { ...client.basic, 'Content-Type': type })
    expect(answer.status).toBe(200)
  })

  test.each([
    'grant_type',
    'code',
    'client_id',
    'redirect_uri',
    'code_verifier',
    'client_secret',
    'scope',
    'refresh_token',
  ])('011 token: %s twice is invalid_request and spends nothing', async (name) => {
    const { client, code } = await landed()
    const known: Record<string, string> = { client_id: client.clientId, client_secret: 'x' }
    const form = new URLSearchParams(formOf(code))
    const value = form.get(name) ?? known[name] ?? 'openid'
    for (const second of [value, `${value}x`]) {
      form.delete(name)
      form.append(name, value)
      form.append(name, second)
      expectRefusal(await raw(form.toString(), { ...client.basic, ...FORM }), 'invalid_request')
    }
    await expectUnspent(client, code)
  })

  test('012 token: parameters that mean nothing here are ignored, even twice, and not told again', async () => {
    const { client, code } = await landed()
    const text = `${formOf(code, { resource: 'https://api.example', domain_hint: 'x' })}&extra=foobar&extra=foobar&nonce=other`
    const answer = await raw(text, { ...client.basic, ...FORM })
    expect(answer.status).toBe(200)
    expect(Object.keys(answer.body).sort()).toEqual(
      'access_token expires_in id_token scope token_type'.split(' '),
    )
    expect(JSON.stringify([answer.body, claimsOf(answer.body.id_token)])).not.toContain('foobar')
    expect(claimsOf(answer.body.id_token).nonce).toBe('random-replay-protection')
    expect(Object.values(await dumpD1()).join()).not.toContain('foobar')
  })

  test.each([
    ['an overlong form', 'client_id=%C0%AF'],
    ['half a character', 'client_id=%E2%82'],
    ['a surrogate', 'client_id=%ED%A0%80'],
    ['NUL', 'client_id=bar%00le-central'],
    ['a control', 'scope=openid%0Aidentity:name'],
    ['a broken escape', 'code_verifier=%zz'],
    ['raw bytes that are no UTF-8', new Uint8Array([...new TextEncoder().encode('x='), 0xff])],
  ])('013 token: %s is invalid_request', async (_, text) => {
    const { client, code } = await landed()
    const head = new TextEncoder().encode(`${formOf(code)}&`)
    const tail = typeof text === 'string' ? new TextEncoder().encode(text) : text
    const answer = await raw(new Uint8Array([...head, ...tail]), { ...client.basic, ...FORM })
    expectRefusal(answer, 'invalid_request')
    expect(JSON.stringify(answer.body)).not.toContain('\ufffd')
    await expectUnspent(client, code)
  })

  test('017 token: a compressed form is 415 and never opened', async () => {
    const { client, code } = await landed()
    const squeezed = await new Response(
      new Response(formOf(code)).body?.pipeThrough(new CompressionStream('gzip')),
    ).arrayBuffer()
    for (const encoding of ['gzip', 'br', 'deflate', 'identity']) {
      const answer = await workerWith().send('POST', '/oidc/token', squeezed, {
        ...client.basic,
        ...FORM,
        'Content-Encoding': encoding,
      })
      expectRefusal(answer, 'invalid_request', 415)
    }
    await expectUnspent(client, code)
  })

  test('token: a form of more than 16 KiB is 413 and read no further', async () => {
    const { client, code } = await landed()
    const answer = await raw(formOf(code, { filler: 'x'.repeat(17 * 1024) }), {
      ...client.basic,
      ...FORM,
    })
    expectRefusal(answer, 'invalid_request', 413)
    await expectUnspent(client, code)
  })

  test('068 token: grant types that are not offered', async () => {
    const { client, code } = await landed()
    const asked = (grantType: string | undefined) =>
      redeem(client, code, { grant_type: grantType, username: 'a', password: 'b' })
    expectRefusal(await asked(undefined), 'invalid_request')
    for (const type of [
      ...['password', 'implicit', 'client_credentials', 'AUTHORIZATION_CODE', 'code', '__proto__'],
      ...['constructor', 'authorization_code ', 'urn:ietf:params:oauth:grant-type:jwt-bearer'],
      ...['urn:ietf:params:oauth:grant-type:device_code', 'urn:openid:params:grant-type:ciba'],
      'urn:ietf:params:oauth:grant-type:saml2-bearer',
    ]) {
      expectRefusal(await asked(type), 'unsupported_grant_type')
    }
    await expectUnspent(client, code)
  })

  test('068 token: a grant type without what it presents is invalid_request', async () => {
    const { client, code } = await landed()
    expectRefusal(await redeem(client, undefined), 'invalid_request')
    for (const type of ['refresh_token', 'urn:ietf:params:oauth:grant-type:token-exchange']) {
      expectRefusal(await redeem(client, code, { grant_type: type }), 'invalid_request')
    }
    await expectUnspent(client, code)
  })

  test('020 token: every error says fixed words in the characters of OAuth', async () => {
    const marker = 'marker"\\é'
    const { client, tokens } = await loggedIn(OFFLINE)
    const refresh = (more: Record<string, string>) =>
      token({ grant_type: 'refresh_token', ...more }, client.basic)
    const answers = [
      await redeem(client, marker, { grant_type: undefined }),
      await redeem(client, marker),
      await redeem(client, marker, { grant_type: marker }),
      await redeem(client, marker, {}, { Authorization: `Basic ${btoa('marker:marker')}` }),
      await refresh({ refresh_token: marker }),
      await refresh({ refresh_token: tokens.refresh_token, scope: marker }),
    ]
    await registerClient({}, {})
    answers.push(await refresh({ refresh_token: tokens.refresh_token }))
    const seen = answers.map(({ body }) => body.error).sort()
    expect([...new Set(seen)]).toEqual([
      ...['invalid_client', 'invalid_grant', 'invalid_request', 'invalid_scope'],
      ...['unauthorized_client', 'unsupported_grant_type'],
    ])
    const bearer = [
      await userinfo('marker'),
      await send('GET', '/oidc/userinfo?access_token=marker'),
    ]
    for (const { body, headers } of [...answers, ...bearer]) {
      expect(body.error_description).toMatch(DESCRIPTION)
      expect(JSON.stringify(body)).not.toContain('marker')
      const challenge = headers.get('WWW-Authenticate') ?? ''
      expect(challenge).not.toContain('marker')
      const said = /error_description="([^"]*)"/.exec(challenge)?.[1]
      if (said !== undefined) expect(said).toMatch(DESCRIPTION)
    }
    for (const error of AUTHORIZATION_ERRORS) expect(descriptionOf(error)).toMatch(DESCRIPTION)
  })
})

describe('the verifier', () => {
  test.each([
    ['052', 'missing', undefined],
    ['053', 'wrong', `${VERIFIER}x`],
    ['053', 'in other letters', VERIFIER.toUpperCase()],
    ['055', 'of 42 characters', 'v'.repeat(42)],
    ['055', 'of 129 characters', 'v'.repeat(129)],
    ['055', 'with a blank', `${VERIFIER} x`],
    ['055', 'with letters that are not of ASCII', `${VERIFIER}é`],
    ['055', 'that is the challenge itself', 'challenge'],
  ])(
    '%s token: a verifier that is %s is invalid_grant; the right one works afterwards',
    async (_, __, verifier) => {
      const { client, code } = await landed()
      const challenge = new TextEncoder().encode(VERIFIER)
      const given =
        verifier === 'challenge'
          ? toBase64url(new Uint8Array(await crypto.subtle.digest('SHA-256', challenge)))
          : verifier
      expectRefusal(await redeem(client, code, { code_verifier: given }), 'invalid_grant')
      await expectUnspent(client, code)
      expect(await rowsIn('dead_grant')).toBe(0)
    },
  )

  test('052 token: a verifier without a challenge in the request is refused too', async () => {
    const about = {
      oidc: { require_pkce: false },
      request: { code_challenge: undefined, code_challenge_method: undefined },
    }
    const { client, code } = await landed(about)
    expectRefusal(await redeem(client, code), 'invalid_grant')
    expect((await redeem(client, code, { code_verifier: undefined })).status).toBe(200)
  })

  test('052 token: a code without a challenge is worth nothing once its client must send one', async () => {
    const { client, code } = await landed({
      oidc: { require_pkce: false },
      request: { code_challenge: undefined, code_challenge_method: undefined },
    })
    await registerClient()
    expectRefusal(await redeem(client, code, { code_verifier: undefined }), 'invalid_grant')
    await registerClient({ require_pkce: false })
    expect((await redeem(client, code, { code_verifier: undefined })).status).toBe(200)
  })

  test('052 token: who may do without a challenge and sent one is held to it', async () => {
    const { client, code } = await landed({ oidc: { require_pkce: false } })
    expectRefusal(await redeem(client, code, { code_verifier: undefined }), 'invalid_grant')
    await expectUnspent(client, code)
  })
})

describe('the code', () => {
  test('067 token: the answer of a success', async () => {
    const { client, code } = await landed()
    const { status, headers, body } = await redeem(client, code)
    expect(status).toBe(200)
    expect(headers.get('Content-Type')).toBe('application/json')
    expect(headers.get('Cache-Control')).toBe('no-store')
    expect(headers.get('Set-Cookie')).toBeNull()
    expect(headers.get('Access-Control-Allow-Origin')).toBeNull()
    expect(body).toEqual({
      access_token: expect.any(String),
      token_type: 'Bearer',
      expires_in: 3600,
      id_token: expect.any(String),
      scope: 'openid identity:name identity:age_over_18',
    })
    expect(await dumpObject(loginObject(sessionOf(code)))).toBe('')
  })

  test('069 token: what is none of our codes is invalid_grant and wakes no object', async () => {
    const { client, code } = await landed()
    const [id = '', version = '', box = ''] = code.split('.')
    const other = (await landedAt(client, await enrolled({ push: false }))).code
    const middle = Math.floor(box.length / 2)
    const letter = box[middle] === 'A' ? 'B' : 'A'
    const never = env.LOGIN_SESSION.newUniqueId().toString()
    const neverText = toBase64url(
      Uint8Array.from(never.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16)),
    )
    const swapped = [...box].map((c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase()))
    const calls = watchObjects()
    const standing = await dumpD1()
    for (const forged of [
      'unknown',
      '.',
      '..',
      id,
      `${id}.${version}.`,
      code.slice(0, -1),
      code.slice(1),
      `${code}A`,
      `${code}=`,
      ` ${code}`,
      `${id}.${version}.${box.slice(0, middle)}${letter}${box.slice(middle + 1)}`,
      `${id}.${version}.${swapped.join('')}`,
      `${id.toLowerCase()}.${version}.${box}`,
      `${id}.9.${box}`,
      `${id}.01.${box}`,
      // The id of a login that somebody else has, and one that nobody ever had.
      `${other.split('.')[0]}.${version}.${box}`,
      `${neverText}.${version}.${box}`,
      `${id}.${version}.${toBase64url(crypto.getRandomValues(new Uint8Array(300)))}`,
      'x'.repeat(9000),
    ]) {
      expectRefusal(await redeem(client, forged), 'invalid_grant')
    }
    expect(calls).toEqual([])
    expect(await dumpD1()).toEqual(standing)
    await expectUnspent(client, code)
    await expectUnspent(client, other)
  })

  test.each([
    ['missing', undefined],
    ['another registered one', `${REDIRECT_URI}/two`],
    ['with a slash more', `${REDIRECT_URI}/`],
    ['with a query more', `${REDIRECT_URI}?a=b`],
    ['in other letters', REDIRECT_URI.toUpperCase()],
    ['percent-encoded twice', encodeURIComponent(REDIRECT_URI)],
    ['not registered', 'https://evil.example/cb'],
  ])('071 token: a redirect_uri that is %s is invalid_grant', async (_, redirectUri) => {
    const { client, code } = await landed({
      oidc: { redirect_uris: [REDIRECT_URI, `${REDIRECT_URI}/two`] },
    })
    expectRefusal(await redeem(client, code, { redirect_uri: redirectUri }), 'invalid_grant')
    await expectUnspent(client, code)
  })

  test('071 token: the port of a loopback address is that of the request', async () => {
    const native = {
      redirect_uris: ['http://127.0.0.1/cb'],
      application_type: 'native',
      token_endpoint_auth_method: 'none',
    }
    const request = { redirect_uri: 'http://127.0.0.1:50001/cb' }
    const { client, code } = await landed({ oidc: native, request })
    for (const redirectUri of ['http://127.0.0.1:50002/cb', 'http://127.0.0.1/cb']) {
      const other = await redeemAs(client, code, {
        oidc: native,
        request: { redirect_uri: redirectUri },
      })
      expectRefusal(other, 'invalid_grant')
    }
    expect((await redeemAs(client, code, { oidc: native, request })).status).toBe(200)
  })

  test('071 token: an address that is no longer registered takes no code', async () => {
    const { client, code } = await landed({ oidc: { redirect_uris: [REDIRECT_URI] } })
    await registerClient({ redirect_uris: [`${REDIRECT_URI}/two`] })
    expectRefusal(await redeem(client, code), 'invalid_grant')
  })

  test('071 token: a code of another client is invalid_grant and stays good for its own', async () => {
    const { client, code } = await landed()
    const other = await registerClient({}, {}, 'other-bar')
    expectRefusal(await redeem(other, code), 'invalid_grant')
    await expectUnspent(client, code)
  })

  test('072 token: good for 59 s; after 62 s nothing is left of the claims', async () => {
    // The clock stands still but for the steps below: a slow run takes no second of the sixty.
    later(0)
    const { client, code, person } = await landed()
    const second = await landedAt(client, person)
    later(59)
    await expectUnspent(client, code)
    later(3)
    const object = loginObject(sessionOf(second.code))
    const calls = watchObjects()
    expectRefusal(await redeem(client, second.code), 'invalid_grant')
    expect(calls).toEqual([])
    await runDurableObjectAlarm(object)
    expect(await dumpObject(object)).toBe('')
  })

  test.each([1, 30])(
    '073 token: a code again after %d s ends all that came of it',
    async (pause) => {
      const { client, code, tokens } = await loggedIn(OFFLINE)
      expect((await userinfo(tokens.access_token)).status).toBe(200)
      expect([await rowsIn('dead_grant'), await rowsIn('refresh_family')]).toEqual([0, 1])
      later(pause)
      expectRefusal(await redeem(client, code), 'invalid_grant')
      expect((await userinfo(tokens.access_token)).status).toBe(401)
      const refreshed = await token(
        { grant_type: 'refresh_token', refresh_token: tokens.refresh_token },
        client.basic,
      )
      expectRefusal(refreshed, 'invalid_grant')
      expect([await rowsIn('dead_grant'), await rowsIn('refresh_family')]).toEqual([1, 0])
      // Once more changes nothing, in the audit neither: who holds an old code can't fill it.
      const settled = await dumpD1()
      expectRefusal(await redeem(client, code), 'invalid_grant')
      expect(await dumpD1()).toEqual(settled)
      const { results } = await env.DB.prepare(
        "SELECT detail FROM audit WHERE event = 'replayed'",
      ).all<{ detail: string }>()
      expect(results).toHaveLength(1)
      expect(JSON.parse(results[0]?.detail ?? '')).toMatchObject({
        service: 'bar-le-central',
        what: 'code',
      })
    },
  )

  test('073 token: the row of a dead grant outlives its tokens and goes with the next', async () => {
    const { client, code, tokens } = await loggedIn()
    const at = now()
    await redeem(client, code)
    const row = await env.DB.prepare('SELECT expires_at FROM dead_grant').first<{
      expires_at: number
    }>()
    expect(row?.expires_at).toBeGreaterThanOrEqual(at + 3600)
    expect(row?.expires_at).toBeLessThanOrEqual(now() + 3600 + 120)
    later(3599)
    expect((await userinfo(tokens.access_token)).status).toBe(401)
    later(180)
    const next = await landedAt(client, await enrolled({ push: false }))
    await redeem(client, next.code)
    await redeem(client, next.code)
    expect(await rowsIn('dead_grant')).toBe(1)
  })

  test('073 token: a code that comes again after hours ends what was refreshed in between', async () => {
    const { client, code, tokens } = await loggedIn(OFFLINE)
    later(2 * 3600)
    const refreshed = await token(
      { grant_type: 'refresh_token', refresh_token: tokens.refresh_token },
      client.basic,
    )
    expect((await userinfo(refreshed.body.access_token)).status).toBe(200)
    expectRefusal(await redeem(client, code), 'invalid_grant')
    expect((await userinfo(refreshed.body.access_token)).status).toBe(401)
    const again = await token(
      { grant_type: 'refresh_token', refresh_token: refreshed.body.refresh_token },
      client.basic,
    )
    expectRefusal(again, 'invalid_grant')
  })

  test('073 token: a grant that died first begins no family of refresh tokens', async () => {
    const store = oidcStore(env.DB, trustListsOf(env.DB, []))
    const family = { familyId: 'family', grantId: 'grant', startedAt: 1, expiresAt: now() + 100 }
    await store.kill('grant', now() + 100, now())
    await store.beginFamily(family)
    expect(await store.findFamily('family')).toBeUndefined()
    await store.beginFamily({ ...family, grantId: 'living' })
    expect(await store.findFamily('family')).toMatchObject({ generation: 0 })
  })

  test('074 token: 20 uses at once: one has tokens, and they live no longer than the others lose', async () => {
    const { client, code, person } = await landed(OFFLINE)
    for (let round = 0; round < ROUNDS; round++) {
      const used = round === 0 ? code : (await landedAt(client, person, OFFLINE)).code
      const answers = await Promise.all(Array.from({ length: 20 }, () => redeem(client, used)))
      const won = answers.filter(({ status }) => status === 200)
      const lost = answers.filter(({ status }) => status !== 200)
      expect([won.length, lost.length], `round ${round}`).toEqual([1, 19])
      for (const answer of lost) expectRefusal(answer, 'invalid_grant')
      const { access_token, refresh_token } = won[0]?.body ?? {}
      expect((await userinfo(access_token)).status).toBe(401)
      const refreshed = await token({ grant_type: 'refresh_token', refresh_token }, client.basic)
      expectRefusal(refreshed, 'invalid_grant')
      expect([await rowsIn('dead_grant'), await rowsIn('refresh_family')]).toEqual([round + 1, 0])
    }
  }, 60_000)
})

describe('what was granted', () => {
  test('077 token: a wider scope at the token endpoint is ignored', async () => {
    const { client, code } = await landed()
    const scope = 'openid identity:name identity:date_of_birth identity:photo offline_access'
    const { body } = await redeem(client, code, { scope })
    expect(body.scope).toBe('openid identity:name identity:age_over_18')
    expect(body).not.toHaveProperty('refresh_token')
    const info = await userinfo(body.access_token)
    expect(Object.keys(info.body).sort()).toEqual(
      'age_over_18 family_name given_name name sub'.split(' '),
    )
  })

  test('078 token: what the person switched off is absent everywhere', async () => {
    const { tokens } = await loggedIn({
      request: { scope: 'openid identity:name identity:age_over_18 identity:nationality' },
      granted: ['identity:age_over_18'],
    })
    expect(tokens.scope).toBe('openid identity:age_over_18')
    const info = (await userinfo(tokens.access_token)).body
    expect(info).toEqual({ sub: expect.any(String), age_over_18: true })
    const claims = claimsOf(tokens.id_token)
    for (const name of ['given_name', 'family_name', 'name', 'nationality', 'birthdate']) {
      expect(claims).not.toHaveProperty(name)
    }
    expect(JSON.stringify([claims, info])).not.toMatch(/"(Jean|Dupont|FRA)|null[,}\]]/)
  })

  test('078 token: a composite is named when all of it was granted, else what is left of it', async () => {
    const about = {
      service: { allowedScopes: ['identity:basic', 'identity:age_verification'] },
      request: { scope: 'openid identity:basic identity:age_verification' },
    }
    const { client, person, tokens } = await loggedIn({
      ...about,
      granted: ['identity:age_over_18', 'identity:name'],
    })
    expect(tokens.scope).toBe('openid identity:age_verification')
    const other = await landedAt(client, person, { ...about, granted: ['identity:name'] })
    expect((await redeem(client, other.code)).body.scope).toBe('openid identity:name')
  })

  test('079 token: who switches everything off is a sub and nothing else', async () => {
    const { tokens, person } = await loggedIn({ granted: [] })
    expect(tokens.scope).toBe('openid')
    expect((await userinfo(tokens.access_token)).body).toEqual({ sub: person.tokenId })
  })
})

describe('the Worker fails on the way', () => {
  test.each([
    ['the refresh family', /INTO refresh_family/],
    ['the session of a client that hears of logouts', /INTO client_session/],
  ])('084 token: it dies between the code and its answer, at %s', async (_, hit) => {
    const about = {
      ...OFFLINE,
      oidc: { offline_access: true, backchannel_logout_uri: 'http://127.0.0.1:8790/logout' },
    }
    const { client, code, person } = await landed(about)
    const heal = breakD1((sql) => hit.test(sql))
    const died = await redeem(client, code)
    expect(died.status).toBe(503)
    expect(died.headers.get('Retry-After')).toMatch(/^\d+$/)
    heal()
    expectRefusal(await redeem(client, code), 'invalid_grant')
    // Nothing lives that could not be revoked: nobody has a token, and no family waits for one.
    expect(await rowsIn('refresh_family')).toBe(0)
    const anew = await landedAt(client, person, about)
    expect((await redeem(client, anew.code)).status).toBe(200)
  })

  test('084 token: an object that is evicted before the code comes keeps it', async () => {
    const client = await registerClient()
    const person = await enrolled({ push: false })
    const tab = new Tab()
    const waiting = await tab.begin(person.tokenId)
    await approve(person, waiting)
    const { evictDurableObject } = await import('cloudflare:test')
    await evictDurableObject(loginObject(waitingIn(waiting).sessionId))
    const page = await tab.press(waiting, '/login/continue')
    const code = new URL(page.headers.get('Location') ?? '').searchParams.get('code') ?? ''
    await evictDurableObject(loginObject(sessionOf(code)))
    expect((await redeem(client, code)).status).toBe(200)
    expectRefusal(await redeem(client, code), 'invalid_grant')
  })
})

/** The login that a code names: its first part is the object's id. */
function sessionOf(code: string): string {
  const [id = ''] = code.split('.')
  const bytes = Uint8Array.from(atob(id.replaceAll('-', '+').replaceAll('_', '/')), (c) =>
    c.charCodeAt(0),
  )
  return `sess_${[...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`
}

test('the issuer of these tests is the one that they compare with', () => {
  expect(env.ISSUER).toBe(ISSUER)
})
