/** What was found by attacking the OpenID Connect door, each as the request that found it. */
import { env } from 'cloudflare:workers'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { workerWith } from './other-worker.ts'
import { landed, loggedIn, rowsIn } from './redeemed.ts'
import {
  approve,
  authorizationParameters,
  type Client,
  formIn,
  landingOf,
  pageId,
  REDIRECT_URI,
  RP_ORIGIN,
  redeem,
  registerClient,
  Tab,
  token,
  userinfo,
  waitingIn,
} from './relying-party.ts'
import {
  enrolled,
  eventually,
  freshAddress,
  loginAudit,
  operator,
  type Person,
  send,
  storedLogin,
  trustList,
} from './world.ts'

afterEach(() => {
  vi.useRealTimers()
})

/** Changes the registration of the client without taking a scope away. */
async function change(oidc: Record<string, unknown> | null, more: object = {}): Promise<void> {
  const registration = {
    ...{ name: 'Bar le Central', url: `${RP_ORIGIN}/`, origins: [RP_ORIGIN], defaultScopes: [] },
    ...{ allowedScopes: ['identity:name', 'identity:age_over_18'], subjectType: 'public' },
    ...(oidc === null ? {} : { oidc: { redirect_uris: [REDIRECT_URI], ...oidc } }),
    ...more,
  }
  const { status } = await operator('PUT', '/operator/services/bar-le-central', registration)
  expect(status).toBe(200)
}

/* ---- ringing somebody's phone ---- */

/** Rings the person's phone from a fresh browser: the waiting page, and the nonce that the push told. */
async function ring(person: Person, rung: number) {
  const tab = new Tab()
  const waiting = await tab.begin(person.tokenId)
  await eventually(async () => (await person.pushes()).length >= rung)
  const { sessionId } = waitingIn(waiting)
  return { tab, waiting, sessionId, nonce: (await storedLogin(sessionId))?.attempt.nonce ?? '' }
}

test.each<[string, (tab: Tab, waiting: Awaited<ReturnType<Tab['begin']>>) => Promise<unknown>]>([
  ['cancelled the login', (tab, waiting) => tab.press(waiting, '/login/cancel')],
  [
    'typed another number',
    (tab, waiting) =>
      tab.send('POST', '/login/address', {
        ...formIn(waiting.body, '/login/address'),
        tokenId: crypto.randomUUID(),
      }),
  ],
])('225 abuse: "not me" counts although the one who rang %s meanwhile', async (_, getAway) => {
  await registerClient()
  const person = await enrolled()
  const { tab, waiting, sessionId, nonce } = await ring(person, 1)
  await getAway(tab, waiting)
  const denied = await person.deny(sessionId, nonce, 'not_me')
  expect([denied.status, denied.body]).toEqual([200, { status: 'rejected' }])
  // Quiet from now on, after the push that rang has lost its place too.
  vi.setSystemTime(Date.now() + 121_000)
  await new Tab().begin(person.tokenId)
  await scheduler.wait(300)
  expect(await person.pushes()).toHaveLength(1)
})

test('225 abuse: nobody else has a word about the login, and an approval stands', async () => {
  await registerClient()
  const person = await enrolled({ push: false })
  const other = await enrolled({ push: false })
  const tab = new Tab()
  const waiting = await tab.begin(person.tokenId)
  const { sessionId } = waitingIn(waiting)
  const nonce = (await storedLogin(sessionId))?.attempt.nonce ?? ''
  expect((await other.deny(sessionId, nonce, 'not_me')).status).toBe(401)
  expect((await person.deny(sessionId, 'another', 'not_me')).status).toBe(401)
  await approve(person, waiting)
  const late = await person.deny(sessionId, nonce, 'not_me')
  expect([late.status, late.body.code]).toEqual([409, 'session_resolved'])
})

test('183 abuse: a login that was cancelled keeps its place: the phone does not ring again at once', async () => {
  await registerClient()
  const person = await enrolled()
  const { tab, waiting } = await ring(person, 1)
  await tab.press(waiting, '/login/cancel')
  await scheduler.wait(100)
  expect((await person.pending()).body).toEqual([])
  await new Tab().begin(person.tokenId)
  await scheduler.wait(300)
  expect(await person.pushes()).toHaveLength(1)
})

/* ---- cookies ---- */

test('334 abuse: a cookie with a name that is none costs nobody the login', async () => {
  const client = await registerClient()
  const person = await enrolled({ push: false })
  const tab = new Tab()
  const waiting = await tab.begin(person.tokenId)
  await approve(person, waiting)
  const odd = `${tab.cookieHeader}; __Host-sso-(x)=1; __Host-sso-tooshort1=1; __Host-sso-=1`
  const answer = await tab.send(
    'POST',
    '/login/continue',
    formIn(waiting.body, '/login/continue'),
    {
      Cookie: odd,
    },
  )
  expect(answer.status).toBe(303)
  expect((await redeem(client, landingOf(answer).parameters.code)).status).toBe(200)
})

test('334 abuse: eight clients of a person with a long name do not lock the browser out', async () => {
  const scopes = ['identity:name', 'identity:date_of_birth', 'identity:nationality'].join(' ')
  await registerClient()
  const identity = { givenNames: 'ก'.repeat(39), familyName: 'ข'.repeat(39) }
  const person = await enrolled({ push: false, identity })
  const tab = new Tab()
  for (let i = 0; i < 8; i++) {
    const client_id = `a-service-of-some-length-${i}`
    await registerClient({ alias_domain: 'id.example.org' }, {}, client_id)
    await tab.login(person, { client_id, scope: `openid email ${scopes}` })
  }
  const sessions = [...tab.cookies].filter(([name]) => name.startsWith('__Host-sso-'))
  expect(sessions.length).toBeGreaterThan(2)
  expect(sessions.join('').length).toBeLessThan(10 * 1024)
  const newest = await tab.authorize({
    client_id: 'a-service-of-some-length-7',
    scope: 'openid',
    prompt: 'none',
  })
  expect(landingOf(newest).parameters.code).toBeTruthy()
})

test('019 abuse: long cookies of a neighbour do not shut a person out', async () => {
  const cookie = Array.from({ length: 12 }, (_, i) => `neighbour${i}=${'x'.repeat(3900)}`).join(
    '; ',
  )
  const answer = await send('GET', '/oidc/end-session', undefined, { Cookie: cookie })
  expect(answer.status).toBe(200)
  const longer = await send('GET', '/oidc/end-session', undefined, { Cookie: cookie.repeat(2) })
  expect(longer.status).toBe(400)
})

test('334 abuse: of hundreds of session cookies few are looked at', async () => {
  const decrypt = vi.spyOn(crypto.subtle, 'decrypt')
  onTestFinished(() => decrypt.mockRestore())
  const cookie = Array.from(
    { length: 280 },
    (_, i) => `__Host-sso-${String(i).padStart(8, 'a')}=1.${'A'.repeat(40)}`,
  ).join('; ')
  const answer = await send('GET', '/oidc/end-session', undefined, { Cookie: cookie })
  expect(answer.status).toBe(200)
  expect(decrypt.mock.calls.length).toBeLessThanOrEqual(16)
})

/* ---- what was withdrawn ---- */

test('154 abuse: a CA that was withdrawn takes refresh, userinfo and silent answers with it', async () => {
  const { client, tab, tokens } = await loggedIn({
    oidc: { offline_access: true },
    request: { scope: 'openid identity:name offline_access' },
  })
  const list = await trustList({ sequence: 2, entries: [] })
  expect((await operator('PUT', '/operator/trust-list', { trustList: list })).status).toBe(200)
  const refreshed = await token(
    { grant_type: 'refresh_token', refresh_token: tokens.refresh_token },
    client.basic,
  )
  expect([refreshed.status, refreshed.body.error]).toEqual([400, 'invalid_grant'])
  expect((await userinfo(tokens.access_token)).status).toBe(401)
  const silent = landingOf(await tab.authorize({ prompt: 'none', scope: 'openid' }))
  expect(silent.parameters.error).toBe('login_required')
})

test('033 abuse: a level that was raised binds open pages and codes that are out', async () => {
  const { client, tab, code, person } = await landed()
  const page = await tab.authorize()
  await change({ min_trust_level: 3 })
  expect(pageId(await tab.type(page, person.tokenId))).toBe('error-client')
  const redeemed = await redeem(client, code)
  expect([redeemed.status, redeemed.body.error]).toEqual([400, 'invalid_grant'])
})

test('023 abuse: an address that was taken away gets nothing more from an open page', async () => {
  const old = `${RP_ORIGIN}/old`
  await registerClient({ redirect_uris: [REDIRECT_URI, old] })
  const person = await enrolled({ push: false })
  const tab = new Tab()
  const page = await tab.authorize({ redirect_uri: old })
  await change({})
  expect(pageId(await tab.type(page, person.tokenId))).toBe('error-client')
  const cancelled = await tab.press(page, '/login/cancel')
  expect([cancelled.headers.get('Location'), pageId(cancelled)]).toEqual([null, 'login-over'])
})

test('348 abuse: a silent answer keeps to the registry of now, whatever its isolate remembers', async () => {
  const { tab } = await loggedIn()
  const other = workerWith()
  const query = new URLSearchParams(await authorizationParameters({ prompt: 'none' }))
  const silent = async () => {
    const headers = { Cookie: tab.cookieHeader }
    return landingOf(await other.send('GET', `/oidc/authorize?${query}`, null, headers)).parameters
  }
  expect(await silent()).toHaveProperty('code')
  // Told to one isolate; the other goes on remembering the client for a minute.
  await change({ redirect_uris: [`${RP_ORIGIN}/new`] })
  expect(await silent()).toMatchObject({ error: 'login_required' })
})

test('086 abuse: a service that is no client any more has no use for its access tokens', async () => {
  const { tokens } = await loggedIn()
  await change(null)
  expect((await userinfo(tokens.access_token)).status).toBe(401)
})

test('077 abuse: of a scope that was withdrawn nothing can be refreshed', async () => {
  const { client, tokens } = await loggedIn({
    oidc: { offline_access: true },
    request: { scope: 'openid identity:name identity:age_over_18 offline_access' },
  })
  await change({ offline_access: true }, { allowedScopes: ['identity:age_over_18'] })
  const refresh = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token }
  const refused = await token({ ...refresh, scope: 'identity:name' }, client.basic)
  expect([refused.status, refused.body.error]).toEqual([400, 'invalid_scope'])
  // Nothing was spent by that.
  const narrowed = await token(refresh, client.basic)
  expect(narrowed.body.scope).toBe('openid identity:age_over_18 offline_access')
})

/* ---- too much of something ---- */

test('252 abuse: silent answers of one session have a limit; each is an object and a row', async () => {
  const { tab } = await loggedIn()
  const before = await rowsIn('audit')
  const errors: (string | undefined)[] = []
  for (let i = 0; i < 25; i++) {
    errors.push(landingOf(await tab.authorize({ prompt: 'none' })).parameters.error)
  }
  expect(errors).toContain('temporarily_unavailable')
  await scheduler.wait(200)
  // Twice the limit at most: a window of the platform may end on the way.
  expect((await rowsIn('audit')) - before).toBeLessThanOrEqual(20)
})

test('066 abuse: another client_id with each guess is no way around the limit', async () => {
  const address = { 'CF-Connecting-IP': freshAddress() }
  const statuses: number[] = []
  for (let i = 0; i < 25; i++) {
    const basic = { Authorization: `Basic ${btoa(`nobody-${i}:guess`)}` }
    statuses.push((await token({ grant_type: 'refresh_token' }, { ...basic, ...address })).status)
  }
  expect(statuses).toContain(429)
})

test('037 abuse: a state that no form could carry back is refused before anybody types', async () => {
  await registerClient()
  const page = await new Tab().authorize({ state: '\u0001'.repeat(4000) })
  expect([page.status, pageId(page)]).toEqual([400, 'error-request'])
})

/* ---- a request that was on its way ---- */

/** Holds the answer of the next question about a login until `go`. */
function holdStanding() {
  let prototype = Object.getPrototypeOf(Reflect.get(env.DB, 'alwaysPrimarySession'))
  while (!Object.hasOwn(prototype, '_send')) prototype = Object.getPrototypeOf(prototype)
  const real = prototype._send
  const state = { held: false, go: false }
  prototype._send = async function (endpoint: string, sql: string, ...rest: unknown[]) {
    const answer = await Reflect.apply(real, this, [endpoint, sql, ...rest])
    if (!state.held && String(sql).includes('login_ended')) {
      state.held = true
      // Each request may wait for its own timers only.
      for (let i = 0; i < 500 && !state.go; i++) await scheduler.wait(10)
    }
    return answer
  }
  onTestFinished(() => {
    prototype._send = real
  })
  return state
}

test('043 abuse: a number typed before the login ended does not begin it again after', async () => {
  const client: Client = await registerClient()
  const person = await enrolled({ push: false })
  const mallory = await enrolled({ push: false })
  const tab = new Tab()
  const page = await tab.authorize()
  const waiting = await tab.type(page, person.tokenId)
  const { sessionId } = waitingIn(waiting)
  const gate = holdStanding()
  const late = tab.send('POST', '/login/address', {
    ...formIn(page.body, '/login/address'),
    tokenId: mallory.tokenId,
  })
  while (!gate.held) await scheduler.wait(5)
  await approve(person, waiting)
  await eventually(() => loginAudit(sessionId))
  const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
  expect((await redeem(client, parameters.code)).status).toBe(200)
  expect(await storedLogin(sessionId)).toBeUndefined()
  gate.go = true
  expect(pageId(await late)).toBe('login-completed')
  expect(await storedLogin(sessionId)).toBeUndefined()
})
