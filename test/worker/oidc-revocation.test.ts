/** A person who was revoked, and D1 that doesn't answer, as the OpenID Connect door meets them (5-security 244, 302, 303). */
import { env } from 'cloudflare:workers'
import { describe, expect, test } from 'vitest'
import { workerWith } from './other-worker.ts'
import { type LoggedIn, landed, landedAt, loggedIn, rowsIn } from './redeemed.ts'
import {
  approve,
  authorizationParameters,
  landingOf,
  REDIRECT_URI,
  RP_ORIGIN,
  redeem,
  registerClient,
  Tab,
  token,
  userinfo,
  VERIFIER,
} from './relying-party.ts'
import { breakD1, type D1Fault, dumpD1, dumpObject } from './storage.ts'
import {
  type Answer,
  enrolled,
  freshAddress,
  ISSUER,
  loginObject,
  operator,
  revocationList,
} from './world.ts'

const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' }
const OFFLINE = {
  oidc: { offline_access: true },
  request: { scope: 'openid identity:name offline_access' },
}

/** Every way in which somebody could still get something of a person, from a Worker of its own. */
async function everyWay(login: LoggedIn, openCode: string, from = workerWith()) {
  const { client, tab, tokens } = login
  const post = (form: Record<string, string>) =>
    from.send('POST', '/oidc/token', new URLSearchParams(form).toString(), {
      ...client.basic,
      ...FORM,
      'CF-Connecting-IP': freshAddress(),
    })
  const silently = async (more: Record<string, string>) => {
    const query = new URLSearchParams(
      await authorizationParameters({ ...OFFLINE.request, ...more }),
    )
    const answer = await from.fetch(`${ISSUER}/oidc/authorize?${query}`, {
      redirect: 'manual',
      headers: { Cookie: tab.cookieHeader },
    })
    return { status: answer.status, headers: answer.headers, body: await answer.text() }
  }
  return {
    code: await post({
      grant_type: 'authorization_code',
      code: openCode,
      redirect_uri: REDIRECT_URI,
      code_verifier: VERIFIER,
    }),
    refresh: await post({ grant_type: 'refresh_token', refresh_token: tokens.refresh_token }),
    userinfo: await from.send('GET', '/oidc/userinfo', null, {
      Authorization: `Bearer ${tokens.access_token}`,
    }),
    none: await silently({ prompt: 'none' }),
    maxAge: await silently({ max_age: '10000' }),
  }
}

function expectNothing(ways: Awaited<ReturnType<typeof everyWay>>): void {
  expect([ways.code.status, ways.code.body.error]).toEqual([400, 'invalid_grant'])
  expect([ways.refresh.status, ways.refresh.body.error]).toEqual([400, 'invalid_grant'])
  expect([ways.userinfo.status, ways.userinfo.body.error]).toEqual([401, 'invalid_token'])
  expect(landingOf(ways.none).parameters).toMatchObject({ error: 'login_required', iss: ISSUER })
  expect(landingOf(ways.none).parameters).not.toHaveProperty('code')
  // `max_age` alone may ask the phone, which is no answer.
  expect(ways.maxAge.status).toBe(200)
  expect(ways.maxAge.body).toContain('id="login-start"')
}

describe('after the acknowledgement', () => {
  test('244 oidc: a revoked person gives nothing more to anybody, from another Worker at once', async () => {
    const login = await loggedIn(OFFLINE)
    const open = await landedAt(login.client, login.person, OFFLINE)
    const before = await everyWay(login, open.code)
    // The ways are ways: all of them gave something until now.
    expect([before.code.status, before.refresh.status, before.userinfo.status]).toEqual([
      200, 200, 200,
    ])
    expect(landingOf(before.none).parameters).toHaveProperty('code')
    expect(landingOf(before.maxAge).parameters).toHaveProperty('code')

    const last = await landedAt(login.client, login.person, OFFLINE)
    const waiting = new Tab()
    const page = await waiting.begin(login.person.tokenId)
    const revoked = await operator('POST', '/revoke', {
      tokenId: login.person.tokenId,
      reason: 'lost',
    })
    expect(revoked.status).toBe(200)
    expectNothing(await everyWay(login, last.code))
    expectNothing(await everyWay(login, last.code, workerWith()))
    // The login that was under way goes back to the client without a grant.
    const ended = landingOf(await waiting.press(page, '/login/continue'))
    expect(ended.parameters).toMatchObject({ error: 'access_denied' })
    expect(ended.parameters).not.toHaveProperty('code')
  }, 30_000)

  test('244 oidc: an approval whose browser has not gone on yet is worth nothing', async () => {
    const client = await registerClient()
    const person = await enrolled({ push: false })
    const tab = new Tab()
    const waiting = await tab.begin(person.tokenId)
    await approve(person, waiting)
    await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
    const onward = await tab.press(waiting, '/login/continue')
    const { parameters } = landingOf(onward)
    const answer = await redeem(client, parameters.code)
    expect([answer.status, answer.body.error]).toEqual([400, 'invalid_grant'])
    const silent = landingOf(await tab.authorize({ prompt: 'none' }))
    expect(silent.parameters.error).toBe('login_required')
  })

  test("244 oidc: what a revoked person's code would have bought is not kept longer than any other", async () => {
    const { client, code, person } = await landed()
    await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
    expect((await redeem(client, code)).status).toBe(400)
    expect(await rowsIn('dead_grant')).toBe(0)
  })

  test('244 oidc: a seal on the revocation list of its issuer is enough', async () => {
    const login = await loggedIn(OFFLINE)
    const open = await landedAt(login.client, login.person, OFFLINE)
    const list = await revocationList(1, [login.person.seal.fingerprint])
    const { status } = await operator('PUT', '/operator/revocation-list', { revocationList: list })
    expect(status).toBe(200)
    expectNothing(await everyWay(login, open.code))
  })

  test('170 oidc: a client that was switched off gets nothing, from another Worker at once', async () => {
    const login = await loggedIn(OFFLINE)
    const open = await landedAt(login.client, login.person, OFFLINE)
    const elsewhere = workerWith()
    // It has the client in its memory.
    await everyWay(login, 'nonsense', elsewhere)
    await registerClient({ offline_access: true }, { enabled: false })
    const ways = await everyWay(login, open.code, elsewhere)
    expect([ways.code.status, ways.refresh.status, ways.userinfo.status]).toEqual([401, 401, 401])
    for (const way of [ways.none, ways.maxAge]) {
      expect(way.headers.get('Location') ?? '').not.toContain('code=')
    }
  })
})

describe('while D1 is away', () => {
  const FAULTS: readonly D1Fault[] = ['error', 'disconnected']

  function expectUnavailable(answer: Answer): void {
    expect(answer.status).toBe(503)
    expect(answer.headers.get('Retry-After')).toMatch(/^\d+$/)
    expect(answer.headers.get('X-Request-Id')).toMatch(/./)
    expect(answer.headers.get('Location')).toBeNull()
    expect(JSON.stringify(answer.body)).not.toMatch(/D1|SQL|storage operation/)
  }

  test.each(FAULTS)('302 oidc: token is 503 (%s), and the code works afterwards', async (fault) => {
    const { client, code } = await landed(OFFLINE)
    const before = [await dumpD1(), await dumpLogin(code)]
    const heal = breakD1(() => true, fault)
    for (let i = 0; i < 3; i++) expectUnavailable(await redeem(client, code))
    heal()
    expect([await dumpD1(), await dumpLogin(code)]).toEqual(before)
    expect((await redeem(client, code)).status).toBe(200)
  })

  test.each(FAULTS)(
    "302 oidc: a page whose origin can't be looked up is 503 (%s), and the code works afterwards",
    async (fault) => {
      const { client, code } = await landed({ oidc: { token_endpoint_auth_method: 'none' } })
      const byPage = () =>
        redeem(client, code, { client_id: client.clientId }, { Origin: RP_ORIGIN })
      const heal = breakD1((sql) => /service_origin/.test(sql), fault)
      expectUnavailable(await byPage())
      heal()
      const answer = await byPage()
      expect(answer.status).toBe(200)
      expect(answer.headers.get('Access-Control-Allow-Origin')).toBe(RP_ORIGIN)
    },
  )

  test.each(FAULTS)(
    '302 oidc: refresh is 503 (%s), and the token works afterwards',
    async (fault) => {
      const { client, tokens } = await loggedIn(OFFLINE)
      const refresh = () =>
        token({ grant_type: 'refresh_token', refresh_token: tokens.refresh_token }, client.basic)
      const before = await dumpD1()
      for (const hit of [
        /./,
        /LEFT JOIN enrollment/,
        /FROM refresh_family/,
        /UPDATE refresh_family/,
      ]) {
        const heal = breakD1((sql) => hit.test(sql), fault)
        expectUnavailable(await refresh())
        heal()
      }
      expect(await dumpD1()).toEqual(before)
      expect((await refresh()).status).toBe(200)
    },
  )

  test.each(FAULTS)(
    "302 oidc: a refresh that can't learn of a dead grant gives nothing (%s)",
    async (fault) => {
      const { client, tokens } = await loggedIn(OFFLINE)
      const heal = breakD1((sql) => /dead_grant/.test(sql), fault)
      expectUnavailable(
        await token(
          { grant_type: 'refresh_token', refresh_token: tokens.refresh_token },
          client.basic,
        ),
      )
      expectUnavailable(await userinfo(tokens.access_token))
      heal()
      expect((await userinfo(tokens.access_token)).status).toBe(200)
    },
  )

  test.each(FAULTS)('302 oidc: userinfo is 503 and tells nothing (%s)', async (fault) => {
    const { tokens } = await loggedIn()
    const heal = breakD1(() => true, fault)
    const answer = await userinfo(tokens.access_token)
    expectUnavailable(answer)
    expect(JSON.stringify(answer.body)).not.toContain('Jean')
    // What is none of ours needs no question.
    expect((await userinfo('nonsense')).status).toBe(401)
    heal()
    expect((await userinfo(tokens.access_token)).status).toBe(200)
  })

  test.each(FAULTS)('302 oidc: a first request is 503, nothing is begun (%s)', async (fault) => {
    await registerClient()
    const tab = new Tab()
    const heal = breakD1(() => true, fault)
    expectUnavailable(await tab.authorize())
    expectUnavailable(await tab.authorize({ prompt: 'none' }))
    heal()
    expect((await tab.authorize()).body).toContain('id="login-start"')
  })

  test.each(FAULTS)('302 oidc: a cookie is not believed without D1 (%s)', async (fault) => {
    const { tab } = await loggedIn()
    // The client is remembered; whether the person still stands is not.
    const heal = breakD1((sql) => /LEFT JOIN enrollment/.test(sql), fault)
    expectUnavailable(await tab.authorize({ prompt: 'none' }))
    heal()
    expect(landingOf(await tab.authorize({ prompt: 'none' })).parameters).toHaveProperty('code')
  })

  test.each(FAULTS)(
    '302 oidc: typing a number is 503, and the same page works afterwards (%s)',
    async (fault) => {
      const client = await registerClient()
      const person = await enrolled({ push: false })
      const tab = new Tab()
      const page = await tab.authorize()
      const heal = breakD1(() => true, fault)
      expectUnavailable(await tab.type(page, person.tokenId))
      heal()
      const waiting = await tab.type(page, person.tokenId)
      await approve(person, waiting)
      const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
      expect((await redeem(client, parameters.code)).status).toBe(200)
    },
  )

  test.each(FAULTS)(
    '303 oidc: an approval is 503, and the same one succeeds later (%s)',
    async (fault) => {
      const client = await registerClient()
      const person = await enrolled({ push: false })
      const tab = new Tab()
      const waiting = await tab.begin(person.tokenId)
      const sessionId = /data-session="([^"]*)"/.exec(waiting.body)?.[1] ?? ''
      const claimed = await person.claim(sessionId)
      const heal = breakD1(() => true, fault)
      expect((await person.approve(sessionId, claimed.body)).status).toBe(503)
      heal()
      expect((await person.approve(sessionId, claimed.body)).status).toBe(200)
      const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
      expect((await redeem(client, parameters.code)).status).toBe(200)
    },
  )

  test('307 oidc: an object that does not answer is 503, and the code works afterwards', async () => {
    const { client, code } = await landed()
    const gone = () => Promise.reject(Object.assign(new Error('overloaded'), { overloaded: true }))
    const broken = workerWith({
      LOGIN_SESSION: {
        idFromString: (id: string) => env.LOGIN_SESSION.idFromString(id),
        newUniqueId: () => env.LOGIN_SESSION.newUniqueId(),
        get: () => ({ redeem: gone }),
      },
    })
    const form = new URLSearchParams({
      grant_type: 'authorization_code',
      code,
      redirect_uri: REDIRECT_URI,
      code_verifier: VERIFIER,
    }).toString()
    const answer = await broken.send('POST', '/oidc/token', form, { ...client.basic, ...FORM })
    expectUnavailable(answer)
    expect(await rowsIn('dead_grant')).toBe(0)
    expect((await redeem(client, code)).status).toBe(200)
  })

  /** What the object of the login behind `code` holds. */
  function dumpLogin(code: string): Promise<string> {
    const text = (code.split('.')[0] ?? '').replaceAll('-', '+').replaceAll('_', '/')
    const hex = [...atob(text)].map((c) => c.charCodeAt(0).toString(16).padStart(2, '0')).join('')
    return dumpObject(loginObject(`sess_${hex}`))
  }
})
