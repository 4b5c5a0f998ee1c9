/** Where a login on our own pages leads, as a browser without script goes through it (5-security 4.2, 4.5). */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { expectAuthz, expectPage, objectIds, wait } from './hosted.ts'
import {
  approve,
  type Client,
  claimsOf,
  formIn,
  landingOf,
  pageId,
  REDIRECT_URI,
  RP_ORIGIN,
  redeem,
  registerClient,
  Tab,
  userinfo,
  waitingIn,
} from './relying-party.ts'
import { dumpD1, dumpObject } from './storage.ts'
import {
  enrolled,
  eventually,
  loginAudit,
  loginObject,
  operator,
  type Person,
  storedLogin,
} from './world.ts'

let client: Client
let person: Person
let tab: Tab
let before: readonly string[]
beforeEach(async () => {
  client = await registerClient()
  person = await enrolled({ push: false })
  tab = new Tab()
  before = await objectIds()
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

describe('where it leads', () => {
  test('040 hosted: every way from a posted page is a 303, without the form', async () => {
    const waiting = await tab.begin(person.tokenId)
    await approve(person, waiting)
    const done = await tab.press(waiting, '/login/continue')
    const cancelled = await tab.press(await tab.authorize(), '/login/cancel')
    for (const { status, headers, body } of [done, cancelled]) {
      expect(status).toBe(303)
      expect(body).toBe('')
      expect(headers.get('Location')).not.toMatch(/ticket|tokenId/)
    }
    expect(done.headers.get('Location')).not.toContain(person.tokenId)
  })

  test('042 hosted: two tabs, two clients, one browser, interleaved', async () => {
    const addresses = [REDIRECT_URI, `${RP_ORIGIN}/other/cb`] as const
    const second = await registerClient({ redirect_uris: [addresses[1]] }, {}, 'second')
    const [one, two] = [new Tab(tab.cookies), new Tab(tab.cookies)]
    const startOne = await one.authorize({ state: 'one', nonce: 'nonce-one' })
    const startTwo = await two.authorize({
      ...{ client_id: 'second', redirect_uri: addresses[1], scope: 'openid' },
      ...{ state: 'two', nonce: 'nonce-two' },
    })
    const waitOne = await one.type(startOne, person.tokenId)
    const waitTwo = await two.type(startTwo, person.tokenId)
    expect(waitingIn(waitOne).sessionId).not.toBe(waitingIn(waitTwo).sessionId)
    await approve(person, waitTwo)
    expect(pageId(await one.press(waitOne, '/login/continue'))).toBe('login-pushing')
    const landedTwo = landingOf(await two.press(waitTwo, '/login/continue'))
    await approve(person, waitOne)
    const landedOne = landingOf(await one.press(waitOne, '/login/continue'))

    expect([landedOne.address, landedOne.parameters.state]).toEqual([addresses[0], 'one'])
    expect([landedTwo.address, landedTwo.parameters.state]).toEqual([addresses[1], 'two'])
    const toTwo = { redirect_uri: addresses[1] }
    const crossed = await redeem(client, landedTwo.parameters.code, toTwo)
    expect(crossed.body.error).toBe('invalid_grant')
    const { body: ofOne } = await redeem(client, landedOne.parameters.code)
    const { body: ofTwo } = await redeem(second, landedTwo.parameters.code, toTwo)
    expect(claimsOf(ofOne.id_token)).toMatchObject({
      aud: 'bar-le-central',
      nonce: 'nonce-one',
      age_over_18: true,
    })
    expect(claimsOf(ofTwo.id_token)).toMatchObject({ aud: 'second', nonce: 'nonce-two' })
    expect(ofTwo.scope).toBe('openid')
    expect(claimsOf(ofTwo.id_token)).not.toHaveProperty('name')
  })

  test('043 hosted: going back and sending again finds the login completed', async () => {
    const start = await tab.authorize()
    const waiting = await tab.type(start, person.tokenId)
    await approve(person, waiting)
    const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
    const resend = async () => {
      expectPage(await tab.press(waiting, '/login/continue'), 409, 'login-completed')
      expectPage(await tab.press(waiting, '/login/address'), 409, 'login-completed')
      expectPage(await tab.press(waiting, '/login/cancel'), 409, 'login-completed')
      expectPage(await tab.type(start, person.tokenId), 409, 'login-completed')
    }
    await resend()
    expect((await redeem(client, parameters.code)).status).toBe(200)
    // The object is gone with its code.
    expect(await storedLogin(waitingIn(waiting).sessionId)).toBeUndefined()
    await resend()
    expect(await storedLogin(waitingIn(waiting).sessionId)).toBeUndefined()
  })

  test('243 hosted: continued twice at once, one gets the code', async () => {
    const waiting = await tab.begin(person.tokenId)
    await approve(person, waiting)
    const twice = () => tab.press(waiting, '/login/continue')
    const answers = await Promise.all([twice(), twice(), twice()])
    const winners = answers.filter(({ status }) => status === 303)
    const losers = answers.filter(({ status }) => status !== 303)
    expect([winners.length, losers.length]).toEqual([1, 2])
    for (const loser of losers) expectPage(loser, 409, 'login-completed')
    for (const winner of winners) {
      expect((await redeem(client, landingOf(winner).parameters.code)).status).toBe(200)
    }
  })

  test('044 hosted: the person declines; the login is over for good', async () => {
    const waiting = await tab.begin(person.tokenId)
    const { sessionId } = waitingIn(waiting)
    const socket = await tab.socket(waiting)
    const { body: claimed } = await person.claim(sessionId)
    expect((await person.deny(sessionId, claimed.nonce)).status).toBe(200)
    expect(await socket.event('rejected')).toEqual({ type: 'rejected', reason: 'declined' })
    // Whoever asks for a new code instead has no more luck.
    expectPage(await tab.press(waiting, '/login/address'), 409, 'login-completed')
    expectAuthz(await tab.press(waiting, '/login/continue'), 'access_denied')
    expect((await person.approve(sessionId, claimed)).body.code).toBe('session_resolved')
    expect(await eventually(() => loginAudit(sessionId))).toMatchObject([
      { outcome: 'rejected', reason: 'declined', door: 'oidc' },
    ])
  })

  test('044 hosted: it expires: a page to try again, and access_denied on cancel', async () => {
    const waiting = await tab.begin(person.tokenId)
    wait(60)
    const expired = await tab.press(waiting, '/login/continue')
    expectPage(expired, 200, 'login-expired')
    expect(expired.body).toContain('Nothing is lost')
    expect(Object.keys(formIn(expired.body, '/login/address'))).toContain('ticket')
    expectAuthz(await tab.press(expired, '/login/cancel'), 'access_denied')
    const { sessionId } = waitingIn(waiting)
    expect((await person.claim(sessionId)).body.code).toBe('session_resolved')
    expect(await eventually(() => loginAudit(sessionId))).toMatchObject([
      { outcome: 'rejected', reason: 'cancelled' },
    ])
  })

  test('225 hosted: "not me" ends it the same way for the service', async () => {
    const waiting = await tab.begin(person.tokenId)
    const { sessionId } = waitingIn(waiting)
    await person.deny(sessionId, (await person.claim(sessionId)).body.nonce, 'not_me')
    expectAuthz(await tab.press(waiting, '/login/continue'), 'access_denied')
  })

  test('044 hosted: cancelled on the first page: nothing was stored, nothing is', async () => {
    const start = await tab.authorize()
    const rows = await dumpD1()
    expectAuthz(await tab.press(start, '/login/cancel'), 'access_denied')
    expect(await dumpD1()).toEqual(rows)
    // Going back and typing a number after all begins nothing.
    expectPage(await tab.type(start, person.tokenId), 409, 'login-completed')
    for (const id of (await objectIds()).filter((id) => !before.includes(id))) {
      expect(await dumpObject(loginObject(`sess_${id}`))).toBe('')
    }
    expect((await person.pending()).body).toEqual([])
  })

  test('044 hosted: cancelled while the phone is asked: it can’t approve any more', async () => {
    const waiting = await tab.begin(person.tokenId)
    const { sessionId } = waitingIn(waiting)
    const socket = await tab.socket(waiting)
    const { body: claimed } = await person.claim(sessionId)
    await socket.event('claimed')
    expectAuthz(await tab.press(waiting, '/login/cancel'), 'access_denied')
    expect((await socket.closed).code).toBe(1000)
    expect((await person.approve(sessionId, claimed)).body.code).toBe('session_resolved')
    expect((await person.pending()).body).toEqual([])
    // Going back says the same again, and no more.
    expectAuthz(await tab.press(waiting, '/login/continue'), 'access_denied')
    expectPage(await tab.press(waiting, '/login/address'), 409, 'login-completed')
  })

  test('043 hosted: cancelled after the approval: the grant is thrown away', async () => {
    const waiting = await tab.begin(person.tokenId)
    await approve(person, waiting)
    expectAuthz(await tab.press(waiting, '/login/cancel'), 'access_denied')
    expectPage(await tab.press(waiting, '/login/continue'), 409, 'login-completed')
    const stored = await storedLogin(waitingIn(waiting).sessionId)
    expect([stored?.result, stored?.codeHash]).toEqual([null, null])
    expect([...tab.cookies.keys()].filter((name) => name.startsWith('__Host-sso-'))).toEqual([])
  })

  test('hosted: without script, "I have approved, continue" too early, then in time', async () => {
    const waiting = await tab.begin(person.tokenId)
    expect(waiting.body).not.toContain('login-early')
    const early = await tab.press(waiting, '/login/continue')
    expectPage(early, 200, 'login-pushing')
    expect(early.body).toContain('Your phone has not answered yet.')
    expect(waitingIn(early)).toEqual(waitingIn(waiting))
    const { body: claimed } = await person.claim(waitingIn(waiting).sessionId)
    const claimedOnly = await tab.press(early, '/login/continue')
    expect(claimedOnly.body).toContain('login-early')
    await person.approve(waitingIn(waiting).sessionId, claimed)
    const { parameters } = landingOf(await tab.press(claimedOnly, '/login/continue'))
    expect((await redeem(client, parameters.code)).status).toBe(200)
  })

  test('033 hosted: a seal that can’t meet the level: refused on the phone, told to the service', async () => {
    const acr_values = 'urn:idtokenseal:acr:face-oob-high'
    const waiting = await tab.begin(person.tokenId, { acr_values })
    const { sessionId } = waitingIn(waiting)
    const socket = await tab.socket(waiting)
    const { body: claimed } = await person.claim(sessionId)
    const refused = await person.approve(sessionId, claimed)
    expect([refused.status, refused.body.code]).toEqual([403, 'insufficient_trust_level'])
    await socket.event('rejected')
    expectAuthz(await tab.press(waiting, '/login/continue'), 'unmet_authentication_requirements')
    expect(await eventually(() => loginAudit(sessionId))).toMatchObject([
      { outcome: 'rejected', reason: 'insufficient_trust_level', scopes: [] },
    ])
  })

  test('033 hosted: the acr is what the seal is worth, not what was asked', async () => {
    const acr_values = 'urn:idtokenseal:acr:face-oob-low urn:idtokenseal:acr:face-oob-high'
    const { parameters } = await tab.login(person, { acr_values })
    const { body } = await redeem(client, parameters.code)
    expect(claimsOf(body.id_token).acr).toBe('urn:idtokenseal:acr:face-oob-substantial')
  })

  test('078 hosted: scopes that were switched off are absent', async () => {
    const scope = 'openid identity:name identity:age_over_18 identity:nationality'
    const { parameters } = await tab.login(person, { scope }, ['identity:nationality'])
    const { body } = await redeem(client, parameters.code)
    expect(body.scope).toBe('openid identity:nationality')
    const given = { ...claimsOf(body.id_token), ...(await userinfo(body.access_token)).body }
    expect(given.nationality).toBe('FRA')
    for (const name of ['name', 'given_name', 'family_name', 'age_over_18']) {
      expect(given).not.toHaveProperty(name)
    }
  })

  test('079 hosted: all switched off: sub only', async () => {
    const { parameters } = await tab.login(person, {}, [])
    const { body } = await redeem(client, parameters.code)
    expect(body.scope).toBe('openid')
    expect((await userinfo(body.access_token)).body).toEqual({ sub: person.tokenId })
  })

  test('079 hosted: a scope that the service needs can’t be switched off, only the login declined', async () => {
    await registerClient({}, { requiredScopes: ['identity:age_over_18'] })
    // Whoever holds the request can't leave it out either.
    const waiting = await tab.begin(person.tokenId, { scope: 'openid identity:name' })
    const { sessionId } = waitingIn(waiting)
    const { body: claimed } = await person.claim(sessionId)
    expect(claimed.requiredScopes).toEqual(['identity:age_over_18'])
    expect(claimed.scopes).toEqual(['identity:age_over_18', 'identity:name'])
    const without = { payload: { grantedScopes: ['identity:name'] } }
    const refused = await person.approve(sessionId, claimed, without)
    expect([refused.status, refused.body.code]).toEqual([422, 'invalid_scope'])
    expect((await person.deny(sessionId, claimed.nonce)).status).toBe(200)
    expectAuthz(await tab.press(waiting, '/login/continue'), 'access_denied')
  })

  test('353 hosted: with transfer the code is in the browser only', async () => {
    await registerClient({}, { confirmation: 'transfer' })
    const waiting = await tab.begin(person.tokenId)
    expect(waiting.body).toContain('Type this code into your phone:')
    const { sessionId, code } = waitingIn(waiting)
    const { body: claimed } = await person.claim(sessionId)
    expect(claimed).not.toHaveProperty('otp')
    expect(JSON.stringify([claimed, (await person.pending()).body])).not.toContain(code)
    const blind = await person.approve(sessionId, claimed)
    expect(blind.status).toBe(401)
    expect((await person.approve(sessionId, { ...claimed, otp: code })).status).toBe(200)
    const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
    expect((await redeem(client, parameters.code)).status).toBe(200)
  })

  test('353 hosted: with compare both screens show the same', async () => {
    const waiting = await tab.begin(person.tokenId)
    expect(waiting.body).toContain('Approve on your phone only if it shows this code:')
    const { body: claimed } = await person.claim(waitingIn(waiting).sessionId)
    expect(claimed.otp).toBe(waitingIn(waiting).code)
  })

  test('170 hosted: a service that is switched off on the way', async () => {
    const start = await tab.authorize()
    const other = new Tab()
    const waiting = await other.begin(person.tokenId)
    const { sessionId } = waitingIn(waiting)
    const { body: claimed } = await person.claim(sessionId)
    await registerClient({}, { enabled: false })
    const objects = await objectIds()
    expectPage(await tab.type(start, person.tokenId), 400, 'error-client')
    expect(await objectIds()).toEqual(objects)
    expect((await person.approve(sessionId, claimed)).body.code).toBe('service_disabled')
    expectAuthz(await other.press(waiting, '/login/continue'), 'unauthorized_client')
  })

  test('175 hosted: a ceiling that was lowered since the request applies at once', async () => {
    const start = await tab.authorize()
    await registerClient({}, { allowedScopes: ['identity:name'] })
    expectPage(await tab.type(start, person.tokenId), 400, 'error-client')
    expect(await objectIds()).toEqual(before)
  })

  test('245 hosted: the number is revoked while the browser waits', async () => {
    const waiting = await tab.begin(person.tokenId)
    const socket = await tab.socket(waiting)
    await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
    expect(await socket.event('rejected')).toEqual({ type: 'rejected', reason: 'declined' })
    expectAuthz(await tab.press(waiting, '/login/continue'), 'access_denied')
  })

  test('330 hosted: neither request nor ticket nor number is logged', async () => {
    const log = vi.spyOn(console, 'log')
    const state = 'a-state-to-look-for'
    const waiting = await tab.begin(person.tokenId, { state })
    await approve(person, waiting)
    const done = landingOf(await tab.press(waiting, '/login/continue'))
    await eventually(() => loginAudit(waitingIn(waiting).sessionId))
    const logged = JSON.stringify(log.mock.calls)
    const { ticket = 'x' } = formIn(waiting.body, '/login/continue')
    for (const secret of [state, ticket, person.tokenId, done.parameters.code ?? 'x']) {
      expect(logged).not.toContain(secret)
    }
    expect(logged).not.toContain(waitingIn(waiting).sessionId)
    expect(logged).toContain('"door\\":\\"oidc')
  })
})
