/** Single sign-on end to end: what the cookie of a client may answer, and that it never widens what a person approved. */
import { listDurableObjectIds, runDurableObjectAlarm } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, test } from 'vitest'
import { fromBase64url } from '../../src/bytes.ts'
import {
  approve,
  claimsOf,
  formIn,
  landingOf,
  pageId,
  redeem,
  registerClient,
  Tab,
  userinfo,
} from './relying-party.ts'
import { CINEMA, granted, idTokenOf, later, refusal, signedIn, silently } from './sessions.ts'
import { dumpObject, watchObjects } from './storage.ts'
import {
  enrolled,
  eventually,
  ISSUER,
  loginAudit,
  loginObject,
  operator,
  revocationList,
  send,
} from './world.ts'

const START = 'login-start'

/** The login that a code names. */
function loginOf(code: string | undefined): string {
  const bytes = fromBase64url((code ?? '').split('.')[0] ?? '') ?? new Uint8Array()
  return `sess_${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`
}

/* ---- prompt=none ---- */

describe('348 single sign-on: prompt=none', () => {
  test('348 single sign-on: the same client and scopes: a code without page and push, same sub and auth_time', async () => {
    const client = await registerClient()
    const person = await enrolled()
    const tab = new Tab()
    const first = await idTokenOf(client, await tab.login(person))
    const pushes = await eventually(() => person.pushes())
    const requests = watchObjects()
    later(30)
    const landing = await silently(tab, { state: 'the second', nonce: 'another' })
    expect(landing).toEqual(granted('the second'))
    // One object that was approved as it began: no inbox was asked, so no phone was told.
    expect(requests).toEqual(['login.resume'])
    const second = await idTokenOf(client, landing)
    expect(second).toEqual({
      ...first,
      nonce: 'another',
      iat: expect.any(Number),
      exp: expect.any(Number),
      at_hash: expect.any(String),
      ...(first.jti ? { jti: expect.any(String) } : {}),
    })
    expect(Number(second.iat)).toBeGreaterThanOrEqual(Number(first.iat) + 30)
    expect(await person.pushes()).toHaveLength(pushes.length)
    expect((await person.pending()).body.sessions ?? (await person.pending()).body).toEqual([])
  })

  test('348 single sign-on: fewer scopes: only their claims, in every token', async () => {
    const { client, tab } = await signedIn()
    const landing = await silently(tab, { scope: 'openid identity:age_over_18' })
    const { body } = await redeem(client, landing.parameters.code)
    expect(body.scope).toBe('openid identity:age_over_18')
    const claims = claimsOf(body.id_token)
    expect(claims.age_over_18).toBe(true)
    for (const name of ['name', 'given_name', 'family_name'])
      expect(claims).not.toHaveProperty(name)
    const info = await userinfo(body.access_token)
    expect(info.body).toEqual({ sub: claims.sub, age_over_18: true })
    // The cookie is as it was: what was granted can still be asked.
    expect(await silently(tab)).toEqual(granted())
  })

  test('348 single sign-on: only openid: nothing but who it is', async () => {
    const { client, person, tab } = await signedIn()
    const { body } = await redeem(
      client,
      (await silently(tab, { scope: 'openid' })).parameters.code,
    )
    expect((await userinfo(body.access_token)).body).toEqual({ sub: person.tokenId })
  })

  test.each([
    ['one more', 'openid identity:name identity:age_over_18 identity:nationality'],
    ['another instead', 'openid identity:date_of_birth'],
    ['what follows from one that was granted', 'openid identity:age_over_21'],
  ])(
    '348 single sign-on: the same client, more scopes (%s): consent_required',
    async (_, scope) => {
      const { tab } = await signedIn()
      const requests = watchObjects()
      expect(await silently(tab, { scope })).toEqual(refusal('consent_required'))
      expect(requests).toEqual([])
    },
  )

  test('348 single sign-on: more by the claims parameter is more: consent_required', async () => {
    const { tab } = await signedIn({ scope: 'openid identity:age_over_18' })
    const claims = JSON.stringify({ userinfo: { name: { essential: true } } })
    const asked = { scope: 'openid identity:age_over_18', claims }
    expect(await silently(tab, asked)).toEqual(refusal('consent_required'))
  })

  test('348 single sign-on: what the person took out stays out: consent_required', async () => {
    const { client, tab } = await signedIn({}, {}, ['identity:age_over_18'])
    expect(await silently(tab)).toEqual(refusal('consent_required'))
    const less = await silently(tab, { scope: 'openid identity:age_over_18' })
    expect(await idTokenOf(client, less)).not.toHaveProperty('name')
  })

  test('348 single sign-on: offline_access that was not granted: consent_required', async () => {
    const { tab } = await signedIn({}, { offline_access: true })
    const asked = { scope: 'openid identity:name offline_access' }
    expect(await silently(tab, asked)).toEqual(refusal('consent_required'))
  })

  test('348 single sign-on: offline_access that was granted: a line of refresh tokens of its own', async () => {
    const scope = 'openid identity:name offline_access'
    const { client, tab } = await signedIn({ scope }, { offline_access: true })
    const { body } = await redeem(client, (await silently(tab, { scope })).parameters.code)
    expect(body.refresh_token).toEqual(expect.any(String))
    const { n } = (await env.DB.prepare('SELECT count(*) AS n FROM refresh_family').first()) ?? {}
    expect(n).toBe(2)
  })

  test('348 single sign-on: another client: login_required, and the first goes on', async () => {
    const { tab } = await signedIn()
    await registerClient({}, { name: 'Cinema' }, CINEMA)
    const requests = watchObjects()
    expect(await silently(tab, { client_id: CINEMA })).toEqual(refusal('login_required'))
    expect(requests).toEqual([])
    expect(await silently(tab)).toEqual(granted())
  })

  test('348, 031 single sign-on: without a session: login_required, nothing is stored, a state of 128 characters comes back', async () => {
    await registerClient()
    const state = 'x'.repeat(128)
    const objects = await listDurableObjectIds(env.LOGIN_SESSION)
    const requests = watchObjects()
    expect(await silently(new Tab(), { state })).toEqual(refusal('login_required', state))
    expect(requests).toEqual([])
    expect(await listDurableObjectIds(env.LOGIN_SESSION)).toHaveLength(objects.length)
  })

  test('348, 244 single sign-on: after revocation: login_required at once', async () => {
    const { person, tab } = await signedIn()
    const revoked = await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
    expect(revoked.status).toBe(200)
    const requests = watchObjects()
    expect(await silently(tab)).toEqual(refusal('login_required'))
    expect(requests).toEqual([])
  })

  test('348 single sign-on: after the seal was revoked by its issuer: login_required', async () => {
    const { person, tab } = await signedIn()
    const list = await revocationList(1, [person.seal.fingerprint])
    const put = await operator('PUT', '/operator/revocation-list', { revocationList: list })
    expect(put.status, JSON.stringify(put.body)).toBe(200)
    expect(await silently(tab)).toEqual(refusal('login_required'))
  })

  test('348 single sign-on: after the seal has expired: login_required', async () => {
    const { person, tab } = await signedIn()
    await env.DB.prepare('UPDATE enrollment SET expires_at = ? WHERE token_id = ?')
      .bind(Math.floor(Date.now() / 1000) - 1, person.tokenId)
      .run()
    expect(await silently(tab)).toEqual(refusal('login_required'))
  })

  test('348 single sign-on: after the person enrolled a new phone: the old approval is no longer good', async () => {
    const { person, tab } = await signedIn()
    await env.DB.prepare("UPDATE enrollment SET enrollment_id = 'another' WHERE token_id = ?")
      .bind(person.tokenId)
      .run()
    expect(await silently(tab)).toEqual(refusal('login_required'))
  })

  test('348 single sign-on: after the service was disabled: no redirect here, and login_required where its registration is remembered', async () => {
    const { tab } = await signedIn()
    // As another isolate would do it: this one goes on remembering the registration for a minute.
    await env.DB.prepare('UPDATE service SET enabled = 0').run()
    expect(await silently(tab)).toEqual(refusal('login_required'))
    await registerClient({}, { enabled: false })
    const answer = await tab.authorize({ prompt: 'none' })
    expect([answer.status, pageId(answer)]).toEqual([400, 'error-client'])
    expect(answer.headers.has('Location')).toBe(false)
  })

  test('033 single sign-on: a level that the session does not reach: unmet_authentication_requirements', async () => {
    const { tab } = await signedIn()
    await registerClient({ min_trust_level: 3 })
    expect(await silently(tab)).toEqual(refusal('unmet_authentication_requirements'))
  })

  test('031 single sign-on: prompt=none is the only answer: a session does not make "none login" good', async () => {
    const { tab } = await signedIn()
    expect(await silently(tab, { prompt: 'none login' })).toEqual(refusal('invalid_request'))
  })

  test('the answer by form_post: a code, and an error', async () => {
    const { client, tab } = await signedIn()
    const post = { prompt: 'none', response_mode: 'form_post' }
    const page = await tab.authorize(post)
    expect(page.status).toBe(200)
    const fields = formIn(page.body, 'http://127.0.0.1:8790/cb')
    expect(fields).toEqual({ code: expect.any(String), state: 'random-csrf-token', iss: ISSUER })
    expect((await redeem(client, fields.code)).status).toBe(200)

    const error = await new Tab().authorize(post)
    expect(formIn(error.body, 'http://127.0.0.1:8790/cb')).toMatchObject({
      error: 'login_required',
      state: 'random-csrf-token',
      iss: ISSUER,
    })
    expect(formIn(error.body, 'http://127.0.0.1:8790/cb')).not.toHaveProperty('code')
  })
})

/* ---- what a code from the cookie is ---- */

describe('348 single sign-on: a code from the cookie', () => {
  test('070, 073 single sign-on: is redeemed once; a replay kills what came of it, and not the session or the first login', async () => {
    const { client, tab } = await signedIn()
    const { code } = (await silently(tab)).parameters
    const { body: tokens } = await redeem(client, code)
    expect((await userinfo(tokens.access_token)).status).toBe(200)
    const again = await redeem(client, code)
    expect([again.status, again.body.error]).toEqual([400, 'invalid_grant'])
    expect((await userinfo(tokens.access_token)).status).toBe(401)
    expect(await idTokenOf(client, await silently(tab))).toMatchObject({ name: 'Jean Dupont' })
  })

  test('two at the same time are two codes, each good once', async () => {
    const { client, tab } = await signedIn()
    const [one, other] = await Promise.all([silently(tab), silently(tab)])
    expect(one.parameters.code).not.toBe(other.parameters.code)
    const answers = await Promise.all(
      [one, other].map(({ parameters }) => redeem(client, parameters.code)),
    )
    expect(answers.map(({ status }) => status)).toEqual([200, 200])
  })

  test('is bound to verifier, address and client like any other, and spent by nobody else', async () => {
    const { client, tab } = await signedIn()
    const cinema = await registerClient({}, {}, CINEMA)
    const { code } = (await silently(tab)).parameters
    const wrong = [
      redeem(client, code, { code_verifier: 'another-verifier-that-is-long-enough-for-the-rfc' }),
      redeem(client, code, { redirect_uri: 'http://127.0.0.1:8790/other' }),
      redeem(cinema, code),
    ]
    for (const { body } of await Promise.all(wrong)) expect(body.error).toBe('invalid_grant')
    expect((await redeem(client, code)).status).toBe(200)
  })

  test('is worth nothing once the person was revoked', async () => {
    const { client, person, tab } = await signedIn()
    const { code } = (await silently(tab)).parameters
    await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
    expect((await redeem(client, code)).body.error).toBe('invalid_grant')
  })

  test('is dead after a minute, and its object empties itself', async () => {
    const { client, tab } = await signedIn()
    const { code } = (await silently(tab)).parameters
    later(61)
    expect((await redeem(client, code)).body.error).toBe('invalid_grant')
    const object = loginObject(loginOf(code))
    await runDurableObjectAlarm(object)
    expect(await dumpObject(object)).toBe('')
  })

  test('048 single sign-on: no phone can do anything with the object of an answer from the cookie', async () => {
    const { client, tab, person } = await signedIn()
    const { code } = (await silently(tab)).parameters
    const { status, body } = await person.claim(loginOf(code))
    expect([status, body.code]).toEqual([409, 'session_resolved'])
    expect((await redeem(client, code)).status).toBe(200)
  })

  test('332 single sign-on: is audited with one row, which says that no phone was asked', async () => {
    const { client, tab } = await signedIn()
    const { code } = (await silently(tab, { scope: 'openid identity:age_over_18' })).parameters
    const rows = () => loginAudit(loginOf(code))
    await eventually(rows)
    await redeem(client, code)
    await runDurableObjectAlarm(loginObject(loginOf(code)))
    expect(await rows()).toEqual([
      expect.objectContaining({
        outcome: 'approved',
        door: 'oidc',
        service: 'bar-le-central',
        device: null,
        claimedAt: null,
        scopes: ['identity:age_over_18'],
        subject: expect.any(String),
      }),
    ])
    const { n } =
      (await env.DB.prepare("SELECT count(*) AS n FROM audit WHERE event = 'login'").first()) ?? {}
    expect(n).toBe(2)
    expect(await dumpObject(loginObject(loginOf(code)))).toBe('')
  })
})

/* ---- hints and age ---- */

describe('id_token_hint with prompt=none', () => {
  test('046 single sign-on: the right person: a code', async () => {
    const { client, tab, idToken } = await signedIn()
    const landing = await silently(tab, { id_token_hint: idToken })
    expect(await idTokenOf(client, landing)).toMatchObject({ sub: claimsOf(idToken).sub })
  })

  test('046 single sign-on: another person: login_required', async () => {
    const { client, tab } = await signedIn()
    const other = new Tab()
    const { parameters } = await other.login(await enrolled({ push: false }))
    const { body } = await redeem(client, parameters.code)
    const hinted = await silently(tab, { id_token_hint: body.id_token })
    expect(hinted).toEqual(refusal('login_required'))
  })

  test('046 single sign-on: expired but genuine: counts', async () => {
    // The isolate may remember keys of an earlier test; this makes those of this one.
    await send('GET', '/health')
    const { tab, idToken } = await signedIn({}, { id_token_ttl: 60 })
    later(3600)
    expect(Number(claimsOf(idToken).exp) * 1000).toBeLessThan(Date.now())
    expect(await silently(tab, { id_token_hint: idToken })).toEqual(granted())
  })

  test('046 single sign-on: nobody is logged in by the hint alone', async () => {
    const { idToken } = await signedIn()
    const alone = await silently(new Tab(), { id_token_hint: idToken })
    expect(alone).toEqual(refusal('login_required'))
  })

  test('046 single sign-on: of another client, or altered: invalid_request', async () => {
    const { tab, idToken } = await signedIn()
    await registerClient({}, {}, CINEMA)
    const foreign = await silently(tab, { client_id: CINEMA, id_token_hint: idToken })
    expect(foreign).toEqual(refusal('invalid_request'))
    const altered = `${idToken.slice(0, -6)}AAAAAA`
    expect(await silently(tab, { id_token_hint: altered })).toEqual(refusal('invalid_request'))
  })

  test('046 single sign-on: with max_age and another person in the cookie: the phone is asked', async () => {
    const { client, tab } = await signedIn()
    const { parameters } = await new Tab().login(await enrolled({ push: false }))
    const { body } = await redeem(client, parameters.code)
    const page = await tab.authorize({ max_age: '10000', id_token_hint: body.id_token })
    expect(pageId(page)).toBe(START)
  })
})

describe('max_age', () => {
  test('032 single sign-on: 10000: no second login, the same sub and auth_time', async () => {
    const client = await registerClient()
    const person = await enrolled({ push: false })
    const tab = new Tab()
    const first = await idTokenOf(client, await tab.login(person, { max_age: '15000' }))
    later(120)
    const requests = watchObjects()
    const answer = await tab.authorize({ max_age: '10000' })
    expect(answer.status).toBe(303)
    expect(requests).toEqual(['login.resume'])
    const second = await idTokenOf(client, landingOf(answer))
    expect([second.sub, second.auth_time]).toEqual([first.sub, first.auth_time])
    expect(first.auth_time).toEqual(expect.any(Number))
  })

  test('032 single sign-on: 1, two seconds later: the phone is asked, auth_time is later', async () => {
    const { client, person, tab, idToken } = await signedIn()
    later(2)
    expect(pageId(await tab.authorize({ max_age: '1' }))).toBe(START)
    const second = await idTokenOf(client, await tab.login(person, { max_age: '1' }))
    expect(Number(second.auth_time)).toBeGreaterThanOrEqual(Number(claimsOf(idToken).auth_time) + 2)
  })

  test('032 single sign-on: 0: the phone is asked even in the second of the approval', async () => {
    const { client, person, tab, idToken } = await signedIn()
    expect(pageId(await tab.authorize({ max_age: '0' }))).toBe(START)
    expect(await silently(tab, { max_age: '0' })).toEqual(refusal('login_required'))
    later(1)
    const second = await idTokenOf(client, await tab.login(person, { max_age: '0' }))
    expect(Number(second.auth_time)).toBeGreaterThan(Number(claimsOf(idToken).auth_time))
  })

  test('032 single sign-on: with prompt=none: to the second', async () => {
    const { tab, idToken } = await signedIn()
    later(100 - (Math.floor(Date.now() / 1000) - Number(claimsOf(idToken).auth_time)))
    expect(await silently(tab, { max_age: '100' })).toEqual(granted())
    later(1)
    expect(await silently(tab, { max_age: '100' })).toEqual(refusal('login_required'))
  })

  test.each([
    ['wider scopes', { scope: 'openid identity:nationality' }],
    ['another client', { client_id: CINEMA }],
    ['prompt=login', { prompt: 'login' }],
    ['prompt=consent', { prompt: 'consent' }],
  ])('348 single sign-on: young enough, but %s: the phone is asked', async (_, changes) => {
    const { tab } = await signedIn()
    await registerClient({}, {}, CINEMA)
    expect(pageId(await tab.authorize({ max_age: '10000', ...changes }))).toBe(START)
  })

  test('348 single sign-on: an answer from the cookie does not begin its eight hours again', async () => {
    const { tab } = await signedIn()
    later(4 * 3600)
    expect(await silently(tab)).toEqual(granted())
    later(4 * 3600 - 60)
    expect(await silently(tab)).toEqual(granted())
    later(61)
    expect(await silently(tab)).toEqual(refusal('login_required'))
    expect(pageId(await tab.authorize({ max_age: '99999' }))).toBe(START)
  })
})

describe('prompt that asks', () => {
  test.each(['login', 'consent', 'select_account', 'login consent'])(
    '348 single sign-on: %s: always the phone, and a new auth_time',
    async (prompt) => {
      const { client, person, tab, idToken } = await signedIn()
      later(5)
      expect(pageId(await tab.authorize({ prompt }))).toBe(START)
      const second = await idTokenOf(client, await tab.login(person, { prompt }))
      const first = claimsOf(idToken)
      expect(second.sub).toBe(first.sub)
      expect(Number(second.auth_time)).toBeGreaterThanOrEqual(Number(first.auth_time) + 5)
      expect(second.sid).not.toBe(first.sid)
      // From here on the new login is what the cookie answers with.
      expect(await idTokenOf(client, await silently(tab))).toMatchObject({
        auth_time: second.auth_time,
        sid: second.sid,
      })
    },
  )

  test('348 single sign-on: nothing of these: the phone is asked, whatever the cookie holds', async () => {
    const { tab } = await signedIn()
    expect(pageId(await tab.authorize())).toBe(START)
  })
})

describe('042 single sign-on: two clients in one browser', () => {
  test('042 single sign-on: interleaved, each with its own session: no mix of address, scopes, client', async () => {
    const bar = await registerClient()
    const cinema = await registerClient(
      { redirect_uris: ['http://127.0.0.1:8790/cinema'] },
      { name: 'Cinema' },
      CINEMA,
    )
    const person = await enrolled({ push: false })
    const tab = new Tab()
    const toCinema = {
      client_id: CINEMA,
      redirect_uri: 'http://127.0.0.1:8790/cinema',
      scope: 'openid identity:nationality',
      state: 'at the cinema',
      nonce: 'the nonce of the cinema',
    }
    const atBar = await tab.begin(person.tokenId)
    const atCinema = await tab.begin(person.tokenId, toCinema)
    await approve(person, atCinema)
    await approve(person, atBar)
    const landings = [
      landingOf(await tab.press(atBar, '/login/continue')),
      landingOf(await tab.press(atCinema, '/login/continue')),
    ]
    const silent = await Promise.all([silently(tab), silently(tab, toCinema)])
    for (const [barLanding, cinemaLanding] of [landings, silent]) {
      if (barLanding === undefined || cinemaLanding === undefined) throw new Error('two landings')
      expect(barLanding).toEqual(granted())
      expect(cinemaLanding).toEqual({
        ...granted('at the cinema'),
        address: 'http://127.0.0.1:8790/cinema',
      })
      const barToken = await idTokenOf(bar, barLanding)
      expect(barToken).toMatchObject({ aud: 'bar-le-central', nonce: 'random-replay-protection' })
      expect(barToken).not.toHaveProperty('nationality')
      const { status, body } = await redeem(cinema, cinemaLanding.parameters.code, {
        redirect_uri: 'http://127.0.0.1:8790/cinema',
      })
      expect(status).toBe(200)
      const cinemaToken = claimsOf(body.id_token)
      expect(cinemaToken).toMatchObject({
        aud: CINEMA,
        nonce: 'the nonce of the cinema',
        nationality: 'FRA',
      })
      expect(cinemaToken).not.toHaveProperty('name')
      expect(cinemaToken.sid).not.toBe(barToken.sid)
    }
    const wider = await silently(tab, { scope: 'openid identity:nationality' })
    expect(wider).toEqual(refusal('consent_required'))
  })
})
