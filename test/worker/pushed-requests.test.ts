/** Pushed authorization requests (RFC 9126) from outside: what is pushed, what the browser makes of it, and how often. */
import { runDurableObjectAlarm } from 'cloudflare:test'
import fc from 'fast-check'
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { fromBase64url, toBase64url } from '../../src/bytes.ts'
import { PUSHED_SECONDS } from '../../src/oidc/pushed-request.ts'
import {
  freshNonce,
  type KeyedClient,
  makeKey,
  open,
  proven,
  push,
  pushed,
  redeemKeyed,
  registerKeyed,
  sendForm,
  userinfoKeyed,
  visit,
} from './high-security.ts'
import { expectErrorPage, expectLoginPage, expectPage, untouched, wait } from './hosted.ts'
import { workerWith } from './other-worker.ts'
import { landedAt, rowsIn } from './redeemed.ts'
import {
  approve,
  authorizationParameters,
  type Client,
  claimsOf,
  formIn,
  landingOf,
  pageId,
  REDIRECT_URI,
  redeem,
  registerClient,
  Tab,
  token,
  VERIFIER,
  waitingIn,
} from './relying-party.ts'
import { breakD1, dumpD1, dumpObject, watchObjects } from './storage.ts'
import {
  type Answer,
  enrolled,
  eventually,
  freshAddress,
  ISSUER,
  loginAudit,
  loginObject,
  operator,
  type Person,
  send,
} from './world.ts'

const URN = 'urn:ietf:params:oauth:request_uri:'

/** A simple client with a secret: it may push, and need not. */
let client: Client
let tab: Tab

beforeEach(async () => {
  client = await registerClient({ offline_access: true })
  tab = new Tab()
  onTestFinished(() => {
    vi.useRealTimers()
  })
})

/** Pushes the good request with `changes` as the simple client. */
async function pushAs(
  who: Client,
  changes: Record<string, string | undefined> = {},
): Promise<Answer> {
  const parameters = await authorizationParameters({ client_id: who.clientId, ...changes })
  return sendForm('/oidc/par', parameters, who.basic)
}

async function uriOf(changes: Record<string, string | undefined> = {}): Promise<string> {
  const { status, body } = await pushAs(client, changes)
  expect(status, JSON.stringify(body)).toBe(201)
  return body.request_uri
}

function opened(requestUri: string, more: Record<string, string> = {}, by = tab): Promise<Answer> {
  return open(by, client.clientId, requestUri, more)
}

/** A whole login from the pushed request to the code. */
async function loggedInBy(requestUri: string, person: Person, by = tab): Promise<Answer> {
  const waiting = await by.type(await opened(requestUri, {}, by), person.tokenId)
  await approve(person, waiting)
  return by.press(waiting, '/login/continue')
}

function expectFault(
  { status, headers, body }: Answer,
  error: string,
  parameter?: string | null,
): void {
  expect([status, body.error]).toEqual([400, error])
  expect(Object.keys(body).sort()).toEqual(['error', 'error_description'])
  expect(body.error_description).toMatch(/^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/)
  if (parameter) expect(body.error_description).toContain(parameter)
  expect(headers.get('Content-Type')).toBe('application/json')
  expect(headers.get('Cache-Control')).toBe('no-store')
  expect(headers.has('Location')).toBe(false)
}

/** Pushes the raw text of a form. */
function raw(text: string): Promise<Answer> {
  return send('POST', '/oidc/par', text, {
    ...client.basic,
    'Content-Type': 'application/x-www-form-urlencoded',
    'CF-Connecting-IP': freshAddress(),
  })
}

describe('pushing', () => {
  test('par: a reference of ours for a minute or so, and nothing stored', async () => {
    const { status, headers, body } = await untouched(() => pushAs(client))
    expect(status).toBe(201)
    expect(body).toEqual({ request_uri: expect.any(String), expires_in: PUSHED_SECONDS })
    // 4-oidc section 3.1.
    expect([PUSHED_SECONDS >= 60, PUSHED_SECONDS <= 90]).toEqual([true, true])
    expect(headers.get('Content-Type')).toBe('application/json')
    expect(headers.get('Cache-Control')).toBe('no-store')
    expect(headers.has('Set-Cookie')).toBe(false)
    expect(body.request_uri).toMatch(/^urn:ietf:params:oauth:request_uri:[\w.~-]+$/)
    // Sealed: neither who asks nor what.
    const parts: string[] = body.request_uri.slice(URN.length).split('.')
    const clear = parts.map((part) => String.fromCharCode(...(fromBase64url(part) ?? [])))
    for (const text of ['bar-le-central', 'random-csrf-token', 'identity', REDIRECT_URI]) {
      expect(`${body.request_uri} ${clear}`).not.toContain(text)
    }
    expect((await pushAs(client)).body.request_uri).not.toBe(body.request_uri)
  })

  test('par: of a client with a key, the row of its assertion and nothing else', async () => {
    const keyed = await registerKeyed({}, {}, 'keyed-bar')
    const { used_proof: none, ...before } = await dumpD1()
    const calls = watchObjects()
    expect((await push(keyed)).status).toBe(201)
    const { used_proof: rows, ...after } = await dumpD1()
    expect([after, calls]).toEqual([before, []])
    expect([JSON.parse(none ?? '').length, JSON.parse(rows ?? '').length]).toEqual([0, 1])
  })

  test.each(['GET', 'PUT', 'DELETE', 'PATCH', 'HEAD'])('001 par: %s', async (method) => {
    const { status, headers } = await untouched(() => send(method, '/oidc/par'))
    expect([status, headers.get('Allow')]).toEqual([405, 'POST'])
  })

  test('003 017 par: no form, JSON, compressed, too long', async () => {
    const parameters = await authorizationParameters()
    const text = new URLSearchParams(parameters).toString()
    const ask = async (body: string, headers: Record<string, string>) => {
      const all = { ...client.basic, 'CF-Connecting-IP': freshAddress(), ...headers }
      const answer = await workerWith().send('POST', '/oidc/par', body, all)
      return [answer.status, answer.body.error]
    }
    const form = { 'Content-Type': 'application/x-www-form-urlencoded' }
    const json = { 'Content-Type': 'application/json' }
    expect(await ask(JSON.stringify(parameters), json)).toEqual([400, 'invalid_request'])
    expect(await ask(text, {})).toEqual([400, 'invalid_request'])
    expect(await ask(text, { ...form, 'Content-Encoding': 'gzip' })).toEqual([
      415,
      'invalid_request',
    ])
    const filler = `&filler=${'x'.repeat(16 * 1024)}`
    expect(await ask(text + filler, form)).toEqual([413, 'invalid_request'])
    expect(await ask(`${text}&state=%ff`, form)).toEqual([400, 'invalid_request'])
    expect(await ask(text, form)).toEqual([201, undefined])
  })

  test('057 par: whoever is not the client learns nothing of the request', async () => {
    const parameters = await authorizationParameters({ redirect_uri: 'https://evil.example/' })
    const wrong = { Authorization: `Basic ${btoa('bar-le-central:wrong')}` }
    for (const [form, headers] of [
      [parameters, {}],
      [parameters, wrong],
      [{ ...parameters, client_secret: 'wrong' }, {}],
      [{ ...parameters, client_id: 'nobody' }, {}],
    ] as const) {
      const answer = await untouched(() => sendForm('/oidc/par', form, headers))
      expect([answer.status, answer.body.error]).toEqual([401, 'invalid_client'])
    }
    await registerClient({}, { enabled: false })
    expect((await pushAs(client)).status).toBe(401)
  })

  test('par: a public client, by its name alone, up to its tokens', async () => {
    client = await registerClient({ token_endpoint_auth_method: 'none' }, {}, 'public-bar')
    const parameters = await authorizationParameters({ client_id: client.clientId })
    const key = await makeKey()
    const headers = await proven(key, { path: '/oidc/par' })
    const answer = await sendForm('/oidc/par', parameters, headers)
    expect(answer.status).toBe(201)
    const landing = await loggedInBy(answer.body.request_uri, await enrolled({ push: false }))
    const { code } = landingOf(landing).parameters
    const form = {
      ...{ grant_type: 'authorization_code', code, client_id: client.clientId },
      ...{ redirect_uri: REDIRECT_URI, code_verifier: VERIFIER },
    }
    expect((await token(form, {})).body.error).toBe('invalid_grant')
    const { body } = await token(form, await proven(key))
    expect(body.token_type).toBe('DPoP')
    expect((await userinfoKeyed(key, body.access_token)).status).toBe(200)
  })

  test('par: the client_id need not be in the form when the credentials name it', async () => {
    const requestUri = await uriOf({ client_id: undefined })
    expectLoginPage(await opened(requestUri))
    const keyed = await registerKeyed({}, {}, 'keyed-bar')
    expect((await push(keyed, { client_id: undefined })).status).toBe(201)
    expect((await push(keyed, { client_id: client.clientId })).status).toBe(401)
    const other = await pushAs(client, { client_id: 'keyed-bar' })
    expect([other.status, other.body.error]).toEqual([400, 'invalid_request'])
  })

  test('302 par: D1 that fails is 503', async () => {
    const heal = breakD1()
    const { status, headers } = await pushAs(client)
    heal()
    expect([status, headers.get('Retry-After')]).toEqual([503, expect.stringMatching(/^\d+$/)])
    expect((await pushAs(client)).status).toBe(201)
  })

  test('330 par: neither request nor reference is logged, and a fault is, by its name', async () => {
    const lines: string[] = []
    for (const name of ['log', 'info', 'warn', 'error'] as const) {
      const spy = vi.spyOn(console, name).mockImplementation((...parts) => {
        lines.push(parts.map(String).join(' '))
      })
      onTestFinished(() => spy.mockRestore())
    }
    const state = 'a-state-that-nobody-else-has'
    const requestUri = await uriOf({ state })
    await opened(requestUri)
    expect((await pushAs(client, { state, prompt: 'banana' })).status).toBe(400)
    expect((await pushAs(client, { state, redirect_uri: 'https://evil.example/' })).status).toBe(
      400,
    )
    await opened(`${requestUri}x`)
    const text = lines.join('\n')
    for (const secret of [state, requestUri.slice(0, 80), 'evil.example']) {
      expect(text).not.toContain(secret)
    }
    const refused = lines.map((line) => JSON.parse(line)).filter(({ event }) => event === 'refused')
    expect(refused.map(({ where, reason }) => `${where}: ${reason}`)).toEqual([
      'par: invalid_request prompt',
      'par: invalid_request redirect_uri',
      'authorize: error-request-uri ended or foreign',
    ])
  })
})

describe('the same checks as at authorize', () => {
  /** What authorize says to `query`: its error with its text, the page, or that it would go on. */
  async function atAuthorize(query: string): Promise<unknown> {
    const answer = await new Tab().send('GET', `/oidc/authorize?${query}`)
    if (pageId(answer) === 'login-start') return 'goes on'
    const posts = pageId(answer) === 'login-return'
    if (!posts && answer.status !== 303) return pageId(answer)
    const fields = posts ? formIn(answer.body, REDIRECT_URI) : landingOf(answer).parameters
    const { error, error_description: description } = fields
    // Without a cookie this is where a silent request that is in order ends.
    return error === 'login_required' ? 'goes on' : { error, description }
  }

  async function atPar(text: string): Promise<unknown> {
    const answer = await raw(text)
    if (answer.status === 201) return 'goes on'
    expectFault(answer, answer.body.error)
    const { error, error_description: description } = answer.body
    if (description.includes('redirect_uri is missing')) return 'error-redirect-uri'
    return { error, description }
  }

  const hint = 'eyJhbGciOiJFUzI1NiJ9.e30.AAAA'
  const long = 'x'.repeat(5000)
  const TABLE: readonly (readonly [string, string | undefined])[] = [
    ...[undefined, 'token', 'id_token', 'code id_token', 'none', 'CODE', 'code '].map(
      (value) => ['response_type', value] as const,
    ),
    ...['query', 'form_post', 'fragment', 'query.jwt', 'nonsense'].map(
      (value) => ['response_mode', value] as const,
    ),
    ...[undefined, 'openid', 'profile', 'openid identity:unknown', 'openid address'].map(
      (value) => ['scope', value] as const,
    ),
    ...['openid identity:photo', 'openid  openid', 'openid offline_access'].map(
      (value) => ['scope', value] as const,
    ),
    ...['none', 'login', 'consent select_account', 'none login', 'banana', 'None'].map(
      (value) => ['prompt', value] as const,
    ),
    ...['0', '3600', '-1', 'abc', '1e99', '9999999999'].map((value) => ['max_age', value] as const),
    ...[undefined, 'x'.repeat(42), 'x'.repeat(44), `${'x'.repeat(42)}=`].map(
      (value) => ['code_challenge', value] as const,
    ),
    ...[undefined, 'plain', 's256'].map((value) => ['code_challenge_method', value] as const),
    ...['{', '[]', 'null', '{"userinfo":1}', '{"id_token":{"name":null}}'].map(
      (value) => ['claims', value] as const,
    ),
    ['claims', '{"id_token":{"acr":{"essential":true,"values":["gold"]}}}'],
    ['claims', '{"id_token":{"sub":{"value":"somebody"}}}'],
    ['acr_values', 'urn:idtokenseal:acr:face-oob-high gold'],
    ...[undefined, 'x', long].map((value) => ['state', value] as const),
    ...[undefined, 'x', long].map((value) => ['nonce', value] as const),
    ...['x', 'a.b', 'a.b.c', '..', 'a.b.c.d.e', hint].map(
      (value) => ['id_token_hint', value] as const,
    ),
    ...['somebody', 'x'.repeat(300)].map((value) => ['login_hint', value] as const),
    ...['x', 'A'.repeat(43)].map((value) => ['dpop_jkt', value] as const),
    ...['fr', 'xx'].map((value) => ['ui_locales', value] as const),
    ['display', 'banana'],
    ['request', 'eyJhbGciOiJub25lIn0.e30.'],
    ['registration', '{}'],
    ['request_uri', 'https://127.0.0.1:8790/request'],
    ['resource', 'https://api.example/'],
    ['unknown', 'x'],
    ...[undefined, `${REDIRECT_URI}/`, 'https://evil.example/', REDIRECT_URI.toUpperCase()].map(
      (value) => ['redirect_uri', value] as const,
    ),
  ]

  test.each(TABLE)('028 038 par: %s=%s is judged as at authorize', async (name, value) => {
    const parameters = await authorizationParameters({ [name]: value })
    const text = new URLSearchParams(parameters).toString()
    expect(await atPar(text)).toEqual(await atAuthorize(text))
  })

  test.each([
    ...['response_type', 'response_mode', 'scope', 'state', 'nonce', 'prompt', 'max_age', 'claims'],
    ...['code_challenge', 'code_challenge_method', 'acr_values', 'id_token_hint', 'login_hint'],
    ...['ui_locales', 'display', 'dpop_jkt', 'request', 'unknown'],
  ])('038 par: %s twice is judged as at authorize', async (name) => {
    const text = new URLSearchParams(await authorizationParameters({ [name]: 'x' })).toString()
    for (const value of ['x', 'y']) {
      const twice = `${text}&${name}=${value}`
      expect(await atPar(twice), value).toEqual(await atAuthorize(twice))
    }
  })

  test('038 par: client_id or redirect_uri twice', async () => {
    const text = new URLSearchParams(await authorizationParameters()).toString()
    for (const more of ['client_id=bar-le-central', `redirect_uri=${REDIRECT_URI}`]) {
      expectFault(await raw(`${text}&${more}`), 'invalid_request')
    }
  })

  test('028 035 par: with resources, a target that is not registered', async () => {
    const resource = 'https://api.example/'
    client = await registerClient({ resources: [resource] }, {}, 'api-bar')
    const good = await pushAs(client, { resource })
    expect(good.status).toBe(201)
    expectFault(await pushAs(client, { resource: 'https://other.example/' }), 'invalid_target')
    const about = await authorizationParameters({ client_id: 'api-bar', resource })
    expectFault(await raw(`${new URLSearchParams(about)}&resource=x`), 'invalid_target')
  })

  test('038 par: any mixture of parameters is judged as at authorize', async () => {
    const changes = fc.uniqueArray(fc.constantFrom(...TABLE), {
      maxLength: 4,
      selector: ([name]) => name,
    })
    const twice = fc.option(fc.constantFrom('state=x', 'scope=openid', 'prompt=none', 'nonce=y'))
    await fc.assert(
      fc.asyncProperty(changes, twice, async (pairs, more) => {
        const parameters = await authorizationParameters(Object.fromEntries(pairs))
        const text = `${new URLSearchParams(parameters)}${more === null ? '' : `&${more}`}`
        expect(await atPar(text), text).toEqual(await atAuthorize(text))
      }),
      { numRuns: 80 },
    )
  }, 30_000)

  test('034 par: a request_uri in the form is refused, also one of ours; nothing is fetched', async () => {
    for (const request_uri of [
      await uriOf(),
      `${URN}x`,
      'https://127.0.0.1:8790/request',
      'http://169.254.169.254/latest/meta-data',
    ]) {
      const answer = await untouched(() => pushAs(client, { request_uri }))
      expectFault(answer, 'request_uri_not_supported')
      const alone = { request_uri, client_id: client.clientId }
      const { status } = await untouched(() => sendForm('/oidc/par', alone, client.basic))
      expect(status).toBe(400)
    }
  })
})

describe('opening', () => {
  test('par: the pushed request counts, and nothing that stands beside it', async () => {
    const person = await enrolled({ push: false })
    const requestUri = await uriOf({ state: 'pushed', nonce: 'pushed', scope: 'openid' })
    const page = await opened(requestUri, {
      ...{ state: 'beside', nonce: 'beside', scope: 'openid identity:name', prompt: 'none' },
      ...{ redirect_uri: 'https://evil.example/', response_type: 'token', request: 'x' },
      ...{ response_mode: 'form_post', code_challenge: 'x', max_age: 'x', login_hint: 'beside' },
      ...{ claims: '{', dpop_jkt: 'x', resource: 'x', id_token_hint: 'x', registration: 'x' },
    })
    expectLoginPage(page)
    expect(page.body).not.toContain('beside')
    const waiting = await tab.type(page, person.tokenId)
    await approve(person, waiting)
    const { address, parameters } = landingOf(await tab.press(waiting, '/login/continue'))
    expect(address).toBe(REDIRECT_URI)
    expect(parameters).toEqual({ code: expect.any(String), state: 'pushed', iss: ISSUER })
    const { body } = await redeem(client, parameters.code)
    expect(body.scope).toBe('openid')
    expect(claimsOf(body.id_token)).toMatchObject({ nonce: 'pushed' })
  })

  test('par: without state and nonce, none come back, whatever the address says', async () => {
    const requestUri = await uriOf({ state: undefined, nonce: undefined })
    const person = await enrolled({ push: false })
    const page = await opened(requestUri, { state: 'beside', nonce: 'beside' })
    const waiting = await tab.type(page, person.tokenId)
    await approve(person, waiting)
    const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
    expect(parameters).toEqual({ code: expect.any(String), iss: ISSUER })
    const { body } = await redeem(client, parameters.code)
    expect(claimsOf(body.id_token)).not.toHaveProperty('nonce')
  })

  test('037 par: a state of 4 KiB and a nonce of 1 KiB come back whole, by GET and by POST', async () => {
    const state = '%&=+<>" \u00e9\u2603'.repeat(292).slice(0, 2900)
    const nonce = 'n'.repeat(1024)
    const requestUri = await uriOf({ state, nonce })
    const person = await enrolled({ push: false })
    const form = { client_id: client.clientId, request_uri: requestUri }
    const moved = await tab.send('POST', '/oidc/authorize', form)
    expect(moved.status).toBe(303)
    const page = await tab.send('GET', (moved.headers.get('Location') ?? '').slice(ISSUER.length))
    expectLoginPage(page)
    const waiting = await tab.type(page, person.tokenId)
    await approve(person, waiting)
    const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
    expect(parameters.state).toBe(state)
    const { body } = await redeem(client, parameters.code)
    expect(claimsOf(body.id_token).nonce).toBe(nonce)
  })

  test('037 par: what would make an address too long is refused when it is pushed', async () => {
    // Allowed characters, each of which JSON writes with six.
    const text = new URLSearchParams(await authorizationParameters({ state: undefined }))
    expectFault(await raw(`${text}&state=${'%01'.repeat(4000)}`), 'invalid_request')
  })

  test('048 par: a POST of another site goes by an address of ours', async () => {
    const form = { client_id: client.clientId, request_uri: await uriOf(), state: 'beside' }
    const moved = await tab.send('POST', '/oidc/authorize', form, { Origin: 'http://127.0.0.1' })
    const location = new URL(moved.headers.get('Location') ?? '')
    expect([moved.status, `${location.origin}${location.pathname}`]).toEqual([
      ...[303, `${ISSUER}/oidc/authorize`],
    ])
    expect(location.searchParams.get('request_uri')).toBe(form.request_uri)
    expectLoginPage(await tab.send('GET', `${location.pathname}${location.search}`))
  })

  test('333 par: the page may lead to the pushed address', async () => {
    const page = await opened(await uriOf())
    expect(page.headers.get('Content-Security-Policy')).toContain('form-action')
    expect(page.headers.get('Content-Security-Policy')).toContain(new URL(REDIRECT_URI).origin)
  })

  test('021 349 par: another client, none, an unknown one, or two', async () => {
    await registerClient({}, {}, 'other-bar')
    const requestUri = await uriOf()
    for (const clientId of ['other-bar', 'nobody', '', 'Bar-Le-Central', '__proto__']) {
      const answer = await untouched(() => open(tab, clientId, requestUri))
      expectErrorPage(answer, 'error-request-uri')
    }
    const query = new URLSearchParams({ request_uri: requestUri })
    const ask = (more: string) =>
      untouched(() => tab.send('GET', `/oidc/authorize?${query}${more}`))
    expectErrorPage(await ask(''), 'error-request-uri')
    const twice = '&client_id=bar-le-central'
    expectErrorPage(await ask(`${twice}${twice}`), 'error-request-uri')
    expectLoginPage(await ask(twice))
  })

  test('038 par: request_uri twice is no pushed request', async () => {
    const requestUri = await uriOf()
    const query = new URLSearchParams({ ...(await authorizationParameters()) })
    for (const _ of [1, 2]) query.append('request_uri', requestUri)
    const answer = await tab.send('GET', `/oidc/authorize?${query}`)
    expect(landingOf(answer).parameters.error).toBe('invalid_request')
    const bare = new URLSearchParams({ client_id: client.clientId, request_uri: requestUri })
    bare.append('request_uri', requestUri)
    const none = await tab.send('GET', `/oidc/authorize?${bare}`)
    expectErrorPage(none, 'error-redirect-uri')
  })

  test('349 par: altered in any part, cut, longer, of another kind, of another deployment', async () => {
    const requestUri = await uriOf()
    const { code } = await landedAt(client, await enrolled({ push: false }))
    const MASTER_SECRET = toBase64url(crypto.getRandomValues(new Uint8Array(32)))
    const elsewhere = workerWith({ MASTER_SECRET })
    const parameters = new URLSearchParams(await authorizationParameters()).toString()
    const foreign = await elsewhere.send('POST', '/oidc/par', parameters, {
      ...client.basic,
      'Content-Type': 'application/x-www-form-urlencoded',
    })
    expect(foreign.status).toBe(201)
    const box = requestUri.slice(URN.length)
    const bent = (at: number) =>
      `${box.slice(0, at)}${box[at] === 'A' ? 'B' : 'A'}${box.slice(at + 1)}`
    const boxes = [
      ...Array.from({ length: 24 }, (_, i) => bent(Math.floor((i * (box.length - 1)) / 23))),
      ...[box.slice(0, -1), `${box}A`, `${box}=`, box.slice(1), '', code, 'A'.repeat(12_000)],
      foreign.body.request_uri.slice(URN.length),
    ]
    for (const wrong of boxes) {
      const answer = await untouched(() => opened(`${URN}${wrong}`))
      expectErrorPage(answer, 'error-request-uri')
    }
    expectLoginPage(await opened(requestUri))
  })

  test('349 par: it ends on the second that was said, and the login that began lasts as any', async () => {
    const person = await enrolled({ push: false })
    const requestUri = await uriOf()
    wait(PUSHED_SECONDS - 3)
    const page = await opened(requestUri)
    expectLoginPage(page)
    wait(4)
    expectErrorPage(await untouched(() => opened(requestUri)), 'error-request-uri')
    wait(400)
    const waiting = await tab.type(page, person.tokenId)
    await approve(person, waiting)
    const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
    expect((await redeem(client, parameters.code)).status).toBe(200)
  })

  test('115 par: the reference is no token and no code', async () => {
    const requestUri = await uriOf()
    for (const text of [requestUri, requestUri.slice(URN.length)]) {
      expect((await redeem(client, text)).body.error).toBe('invalid_grant')
      const form = { grant_type: 'refresh_token', refresh_token: text }
      expect((await token(form, client.basic)).body.error).toBe('invalid_grant')
      const asked = await sendForm('/oidc/introspect', { token: text }, client.basic)
      expect(asked.body).toEqual({ active: false })
      const header = { Authorization: `Bearer ${text}` }
      expect((await send('GET', '/oidc/userinfo', undefined, header)).status).toBe(401)
    }
    expectLoginPage(await opened(requestUri))
  })
})

describe('a client that must push', () => {
  let keyed: KeyedClient

  beforeEach(async () => {
    keyed = await registerKeyed({ profile: 'fapi2' }, {}, 'fapi-bar')
  })

  test('par: a whole login, and what the browser is shown of it', async () => {
    const login = await visit(keyed, await enrolled({ push: false }))
    const { status, body } = await redeemKeyed(keyed, login.code)
    expect([status, body.token_type]).toEqual([200, 'DPoP'])
    expect((await userinfoKeyed(keyed.dpop, body.access_token)).status).toBe(200)
  })

  test('par: a request of the browser is the page, whatever it says', async () => {
    const about = { client_id: keyed.clientId }
    for (const changes of [
      {},
      { redirect_uri: 'https://evil.example/' },
      { request_uri: 'https://127.0.0.1:8790/request' },
      { request: 'eyJhbGciOiJub25lIn0.e30.' },
      { prompt: 'none' },
      { response_type: 'token' },
    ]) {
      const answer = await untouched(() => tab.authorize({ ...about, ...changes }))
      expectErrorPage(answer, 'error-request')
    }
    const form = await authorizationParameters(about)
    const moved = await tab.send('POST', '/oidc/authorize', form)
    const { search } = new URL(moved.headers.get('Location') ?? '')
    expectErrorPage(await tab.send('GET', `/oidc/authorize${search}`), 'error-request')
    const silent = await visit(keyed, await enrolled({ push: false }))
    // Not even a cookie of this client answers.
    const again = await silent.tab.authorize({ ...about, prompt: 'none' })
    expectErrorPage(again, 'error-request')
  })

  test('par: from the moment it is registered', async () => {
    expectLoginPage(await tab.authorize())
    await registerClient({ require_pushed_authorization_requests: true })
    expectErrorPage(await untouched(() => tab.authorize()), 'error-request')
    expectLoginPage(await opened(await uriOf()))
  })

  test('056 059 par: it is its key that pushes', async () => {
    const parameters = await authorizationParameters({ client_id: keyed.clientId })
    const answer = await sendForm('/oidc/par', parameters)
    expect([answer.status, answer.body.error]).toEqual([401, 'invalid_client'])
  })
})

describe('349 once', () => {
  test('349 par: opened twice before it is completed, in one browser', async () => {
    const person = await enrolled({ push: false })
    const requestUri = await uriOf()
    expectLoginPage(await opened(requestUri))
    const landing = landingOf(await loggedInBy(requestUri, person))
    expect((await redeem(client, landing.parameters.code)).status).toBe(200)
  })

  test('349 par: two tabs of one browser are one login', async () => {
    const person = await enrolled({ push: false })
    const requestUri = await uriOf()
    const [first, second] = [await opened(requestUri), await opened(requestUri)]
    const one = await tab.type(first, person.tokenId)
    const two = await tab.type(second, person.tokenId)
    expect(waitingIn(two).sessionId).toBe(waitingIn(one).sessionId)
    expect(waitingIn(two).code).toBe(waitingIn(one).code)
    // Opened once more while it waits.
    expectLoginPage(await opened(requestUri))
    await approve(person, one)
    const { parameters } = landingOf(await tab.press(one, '/login/continue'))
    expectPage(await tab.press(two, '/login/continue'), 409, 'login-completed')
    expect((await redeem(client, parameters.code)).status).toBe(200)
  })

  test('349 par: in another browser, before anybody typed a number, it is as good', async () => {
    const person = await enrolled({ push: false })
    const requestUri = await uriOf()
    const page = await opened(requestUri)
    expectLoginPage(page)
    const other = new Tab()
    const landing = landingOf(await loggedInBy(requestUri, person, other))
    expect((await redeem(client, landing.parameters.code)).status).toBe(200)
    // The first one comes too late.
    const late = await tab.type(page, person.tokenId)
    expectPage(late, 409, 'login-completed')
    expect(await rowsIn('dead_grant')).toBe(0)
  })

  test('349 par: in another browser, while the first one waits, it gets nowhere and disturbs nobody', async () => {
    const person = await enrolled({ push: false })
    const requestUri = await uriOf()
    const waiting = await tab.type(await opened(requestUri), person.tokenId)
    const other = new Tab()
    const page = await opened(requestUri, {}, other)
    expectLoginPage(page)
    expectPage(await other.type(page, person.tokenId), 400, 'login-over')
    expectPage(await other.type(page, crypto.randomUUID()), 400, 'login-over')
    // Nor does it end the login of the first by cancelling.
    await other.press(page, '/login/cancel')
    await approve(person, waiting)
    // And after the approval it can't take the result.
    expectPage(await other.type(page, person.tokenId), 409, 'login-completed')
    const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
    expect((await redeem(client, parameters.code)).status).toBe(200)
  })

  test('349 par: after a completed login, in any browser, before and after the code is redeemed', async () => {
    const person = await enrolled({ push: false })
    const requestUri = await uriOf()
    const page = await opened(requestUri)
    const waiting = await tab.type(page, person.tokenId)
    await approve(person, waiting)
    const { sessionId } = waitingIn(waiting)
    expect(await eventually(() => loginAudit(sessionId))).toHaveLength(1)
    const expectUsed = async () => {
      for (const by of [tab, new Tab()]) {
        const answer = await untouched(() => opened(requestUri, {}, by))
        expectErrorPage(answer, 'error-request-uri')
      }
    }
    await expectUsed()
    const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
    await expectUsed()
    expect((await redeem(client, parameters.code)).status).toBe(200)
    await expectUsed()
    await runDurableObjectAlarm(loginObject(sessionId))
    expect(await dumpObject(loginObject(sessionId))).toBe('')
    await expectUsed()
    // A page of it that was opened before begins nothing either, whatever the browser forgot.
    tab.cookies.delete('__Host-done')
    expectPage(await tab.type(page, person.tokenId), 409, 'login-completed')
    expect(await dumpObject(loginObject(sessionId))).toBe('')
  })

  test('349 par: after a denied login', async () => {
    const person = await enrolled({ push: false })
    const requestUri = await uriOf()
    const waiting = await tab.type(await opened(requestUri), person.tokenId)
    const { sessionId } = waitingIn(waiting)
    const { body } = await person.claim(sessionId)
    expect((await person.deny(sessionId, body.nonce)).status).toBe(200)
    const landing = landingOf(await tab.press(waiting, '/login/continue'))
    expect(landing.parameters).toMatchObject({ error: 'access_denied', state: 'random-csrf-token' })
    expect(await eventually(() => loginAudit(sessionId))).toHaveLength(1)
    expectErrorPage(await untouched(() => opened(requestUri)), 'error-request-uri')
  })

  test('349 par: after one that was cancelled while the phone rang', async () => {
    const person = await enrolled({ push: false })
    const requestUri = await uriOf()
    const waiting = await tab.type(await opened(requestUri), person.tokenId)
    const landing = landingOf(await tab.press(waiting, '/login/cancel'))
    expect(landing.parameters.error).toBe('access_denied')
    expect(await eventually(() => loginAudit(waitingIn(waiting).sessionId))).toHaveLength(1)
    expectErrorPage(await opened(requestUri), 'error-request-uri')
  })

  test('349 par: cancelled before it began, nothing was used up until its time ends', async () => {
    const requestUri = await uriOf()
    const page = await opened(requestUri)
    const landing = landingOf(await tab.press(page, '/login/cancel'))
    expect(landing.parameters.error).toBe('access_denied')
    expectLoginPage(await opened(requestUri, {}, new Tab()))
    wait(PUSHED_SECONDS + 1)
    expectErrorPage(await opened(requestUri), 'error-request-uri')
  })

  test('349 par: of ten browsers at the same moment one logs in', async () => {
    const person = await enrolled({ push: false })
    const requestUri = await uriOf()
    const tabs = Array.from({ length: 10 }, () => new Tab())
    const pages = await Promise.all(
      tabs.map(async (by) => ({ by, page: await opened(requestUri, {}, by) })),
    )
    const typed = await Promise.all(
      pages.map(async ({ by, page }) => ({ by, answer: await by.type(page, person.tokenId) })),
    )
    const waiting = typed.filter(({ answer }) => pageId(answer) === 'login-pushing')
    expect(waiting).toHaveLength(1)
    const [only] = waiting
    if (only === undefined) throw new Error('nobody waits')
    await approve(person, only.answer)
    const { parameters } = landingOf(await only.by.press(only.answer, '/login/continue'))
    expect((await redeem(client, parameters.code)).status).toBe(200)
  })
})

describe('without asking the phone', () => {
  test('348 349 par: prompt=none without a cookie is told, and uses nothing up', async () => {
    const requestUri = await uriOf({ prompt: 'none' })
    for (const _ of [1, 2]) {
      const answer = await untouched(() => opened(requestUri))
      expect(landingOf(answer).parameters).toEqual({
        ...{ error: 'login_required', error_description: expect.any(String) },
        ...{ state: 'random-csrf-token', iss: ISSUER },
      })
    }
  })

  test('348 349 par: prompt=none with the cookie is a code, once', async () => {
    const person = await enrolled({ push: false })
    const first = landingOf(await loggedInBy(await uriOf(), person))
    const { body: before } = await redeem(client, first.parameters.code)
    const requestUri = await uriOf({ prompt: 'none', state: 'silent', nonce: 'silent' })
    const calls = watchObjects()
    const landing = landingOf(await opened(requestUri, { prompt: 'login' }))
    expect(calls).toEqual(['login.resume'])
    expect(landing.parameters).toMatchObject({ code: expect.any(String), state: 'silent' })
    const { body } = await redeem(client, landing.parameters.code)
    const [one, two] = [claimsOf(before.id_token), claimsOf(body.id_token)]
    expect([two.sub, two.auth_time, two.nonce]).toEqual([one.sub, one.auth_time, 'silent'])
    const audited = async () => (await rowsIn('audit')) > 0 && (await isUsed(requestUri))
    expect(await eventually(audited)).toBe(true)
    expectErrorPage(await untouched(() => opened(requestUri)), 'error-request-uri')
  })

  test('348 349 par: opened ten times at the same moment it is one code', async () => {
    const person = await enrolled({ push: false })
    await loggedInBy(await uriOf(), person)
    const requestUri = await uriOf({ prompt: 'none' })
    const answers = await Promise.all(Array.from({ length: 10 }, () => opened(requestUri)))
    const codes = answers.filter(
      (answer) => answer.status === 303 && landingOf(answer).parameters.code !== undefined,
    )
    expect(codes).toHaveLength(1)
    for (const answer of answers) expect(answer.status).toBeLessThan(500)
  })

  test('348 par: no cookie answers a pushed request that another browser waits for', async () => {
    const person = await enrolled({ push: false })
    await loggedInBy(await uriOf(), person)
    const requestUri = await uriOf({ max_age: '3600' })
    const other = new Tab()
    const waiting = await other.type(await opened(requestUri, {}, other), person.tokenId)
    const page = await opened(requestUri)
    expectLoginPage(page)
    expectPage(await tab.type(page, person.tokenId), 400, 'login-over')
    await approve(person, waiting)
    const { parameters } = landingOf(await other.press(waiting, '/login/continue'))
    expect((await redeem(client, parameters.code)).status).toBe(200)
  })

  test('032 348 par: max_age asks the cookie or the phone', async () => {
    const person = await enrolled({ push: false })
    await loggedInBy(await uriOf(), person)
    const young = landingOf(await opened(await uriOf({ max_age: '600' })))
    expect(young.parameters.code).toEqual(expect.any(String))
    expectLoginPage(await opened(await uriOf({ max_age: '0' })))
    expectLoginPage(await opened(await uriOf({ max_age: '600', prompt: 'login' })))
    wait(700)
    expectLoginPage(await opened(await uriOf({ max_age: '600' })))
    const silent = landingOf(await opened(await uriOf({ max_age: '600', prompt: 'none' })))
    expect(silent.parameters.error).toBe('login_required')
  })

  test('081 348 par: a silent code is bound to the key of the pushed request', async () => {
    const keyed = await registerKeyed({ profile: 'fapi2' }, {}, 'fapi-bar')
    const login = await visit(keyed, await enrolled({ push: false }))
    const headers = await proven(keyed.dpop, { path: '/oidc/par' })
    const requestUri = await pushed(keyed, { prompt: 'none' }, headers)
    const { parameters } = landingOf(await open(login.tab, keyed.clientId, requestUri))
    const other = await proven(await makeKey())
    const refused = await redeemKeyed(keyed, parameters.code, {}, other)
    expect(refused.body.error).toBe('invalid_grant')
    expect((await redeemKeyed(keyed, parameters.code)).status).toBe(200)
  })

  async function isUsed(requestUri: string): Promise<boolean> {
    return pageId(await opened(requestUri)) === 'error-request-uri'
  }
})

describe('who must answer', () => {
  test('046 par: the person of a pushed hint, and nobody else', async () => {
    const [person, other] = [await enrolled({ push: false }), await enrolled({ push: false })]
    const { code } = await landedAt(client, person)
    const { body } = await redeem(client, code)
    const changes = { id_token_hint: body.id_token }
    const wrong = landingOf(await loggedInBy(await uriOf(changes), other, new Tab()))
    expect(wrong.parameters).toMatchObject({ error: 'login_required', state: 'random-csrf-token' })
    const right = landingOf(await loggedInBy(await uriOf(changes), person, new Tab()))
    expect((await redeem(client, right.parameters.code)).status).toBe(200)
    // The hint itself, with what it says of the person, isn't carried along.
    expect((await uriOf(changes)).length).toBeLessThan((await uriOf()).length + 200)
  })

  test('046 par: a hint that is forged, or of another client', async () => {
    const person = await enrolled({ push: false })
    const { code } = await landedAt(client, person)
    const { body } = await redeem(client, code)
    const hint: string = body.id_token
    const [head = '', claims = ''] = hint.split('.')
    const other = await registerClient({}, {}, 'other-bar')
    for (const [who, id_token_hint] of [
      [other, hint],
      [client, `${head}.${claims}.${'A'.repeat(86)}`],
      [client, `${hint.slice(0, -4)}AAAA`],
      [client, body.access_token],
    ] as const) {
      const answer = await untouched(() => pushAs(who, { id_token_hint }))
      expectFault(answer, 'invalid_request', 'id_token_hint')
    }
  })

  test('046 par: a silent answer for another person than the pushed one', async () => {
    const [person, other] = [await enrolled({ push: false }), await enrolled({ push: false })]
    const { code } = await landedAt(client, other)
    const { body } = await redeem(client, code)
    await loggedInBy(await uriOf(), person)
    const requestUri = await uriOf({ prompt: 'none', id_token_hint: body.id_token })
    expect(landingOf(await opened(requestUri)).parameters.error).toBe('login_required')
  })
})

describe('what was changed since it was pushed', () => {
  test('021 par: the client is switched off, or gone from this door', async () => {
    const requestUri = await uriOf()
    await registerClient({}, { enabled: false })
    expectErrorPage(await untouched(() => opened(requestUri)), 'error-client')
    await operator('PUT', '/operator/services/bar-le-central', {
      ...{ name: 'Bar', url: 'http://127.0.0.1:8790/', origins: [] },
      ...{ allowedScopes: [], defaultScopes: [] },
    })
    expectErrorPage(await untouched(() => opened(requestUri)), 'error-client')
  })

  test('023 par: the address is not registered any more: nobody is sent there', async () => {
    const person = await enrolled({ push: false })
    await loggedInBy(await uriOf(), person)
    const requestUri = await uriOf()
    const silent = await uriOf({ prompt: 'none' })
    await registerClient({ redirect_uris: ['http://127.0.0.1:8790/other'] })
    for (const by of [tab, new Tab()]) {
      for (const uri of [requestUri, silent]) {
        expectErrorPage(await untouched(() => opened(uri, {}, by)), 'error-redirect-uri')
      }
    }
  })

  test('175 par: a scope was withdrawn: no login begins', async () => {
    const person = await enrolled({ push: false })
    const requestUri = await uriOf()
    await registerClient({}, { allowedScopes: ['identity:age_over_18'] })
    const page = await opened(requestUri)
    expectPage(await tab.type(page, person.tokenId), 400, 'error-client')
  })

  test('081 par: the nonce of a proof at PAR comes back with every answer', async () => {
    const keyed = await registerKeyed({ profile: 'fapi2' }, {}, 'fapi-bar')
    const headers = await proven(keyed.dpop, { path: '/oidc/par' })
    const answer = await push(keyed, {}, headers)
    expect(answer.headers.get('DPoP-Nonce')).toBe(await freshNonce())
    const refused = await push(keyed, { scope: 'x' }, { DPoP: 'x' })
    expect(refused.headers.get('DPoP-Nonce')).toMatch(/./)
  })
})
