/** The revocation endpoint (RFC 7009): a client gives back what a person granted it, and touches nothing of anybody else. */
import { env } from 'cloudflare:workers'
import { beforeEach, describe, expect, test } from 'vitest'
import { GRACE_SECONDS } from '../../src/oidc/refresh-token.ts'
import { asserted, makeKey, proven, registerKeyed, sendForm } from './high-security.ts'
import { workerWith } from './other-worker.ts'
import { type About, type LoggedIn, landedAt, loggedIn, rowsIn } from './redeemed.ts'
import { type Client, RP_ORIGIN, redeem, registerClient, token, userinfo } from './relying-party.ts'
import {
  API,
  AT_HOME,
  exchange,
  freshKeys,
  introspect,
  refresh,
  registerApi,
  revoke,
} from './resource-tokens.ts'
import { later } from './sessions.ts'
import { breakD1, dumpD1, watchObjects } from './storage.ts'
import { type Answer, freshAddress, send } from './world.ts'

/** Rounds of a race; the nightly run may take twenty times as many. */
const ROUNDS = 10
const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' }

beforeEach(freshKeys)

function expectDone(answer: Answer): void {
  expect([answer.status, answer.body]).toEqual([200, ''])
  expect(answer.headers.get('Cache-Control')).toBe('no-store')
}

function expectInvalidClient(answer: Answer): void {
  expect([answer.status, answer.body.error]).toEqual([401, 'invalid_client'])
}

/** Every token of one login; all of one grant. */
interface Kinds extends LoggedIn {
  readonly kinds: {
    readonly access: string
    readonly signed: string
    readonly refresh: string
    readonly old: string
  }
}

async function everyKind(about: About = AT_HOME): Promise<Kinds> {
  const login = await loggedIn(about)
  const { client, tokens } = login
  const again = await refresh(client, tokens.refresh_token, { resource: API })
  const kinds = {
    access: tokens.access_token,
    signed: again.body.access_token,
    refresh: again.body.refresh_token,
    old: tokens.refresh_token,
  }
  return { ...login, kinds }
}

/** Whether each token still gives something. */
async function alive({ client, kinds }: Kinds) {
  const [access, signed, refreshed] = await Promise.all([
    userinfo(kinds.access),
    introspect(client, kinds.signed),
    introspect(client, kinds.refresh),
  ])
  return [access.status === 200, signed.body.active, refreshed.body.active]
}

async function endings(): Promise<Record<string, unknown>[]> {
  const rows = await env.DB.prepare("SELECT detail FROM audit WHERE event = 'grant_ended'").all<{
    detail: string
  }>()
  return rows.results.map(({ detail }) => JSON.parse(detail))
}

describe('a token of its own', () => {
  test.each(['access', 'signed', 'refresh', 'old'] as const)(
    '105 revocation: by the %s token the whole grant ends, everywhere at once',
    async (kind) => {
      const login = await everyKind()
      const { client, kinds, person } = login
      const other = await loggedInAgain(login)
      expect(await alive(login)).toEqual([true, true, true])
      expectDone(await revoke(client, kinds[kind]))
      expect(await alive(login)).toEqual([false, false, false])
      const info = await workerWith().send('GET', '/oidc/userinfo', null, {
        Authorization: `Bearer ${kinds.access}`,
      })
      expect([info.status, info.body.error]).toEqual([401, 'invalid_token'])
      for (const text of [kinds.refresh, kinds.old]) {
        const answer = await refresh(client, text)
        expect([answer.status, answer.body.error]).toEqual([400, 'invalid_grant'])
      }
      const exchanged = await exchange(client, kinds.access)
      expect([exchanged.status, exchanged.body.error]).toEqual([400, 'invalid_request'])
      expect(await rowsIn('dead_grant')).toBe(1)
      // Another login of the same person at the same client is another grant.
      expect(await alive(other)).toEqual([true, true, true])
      expect(await rowsIn('refresh_family')).toBe(1)
      // And the person may come again.
      expect((await landedAt(client, person, AT_HOME)).code).toEqual(expect.any(String))
    },
  )

  async function loggedInAgain({ client, person }: Kinds): Promise<Kinds> {
    const landing = await landedAt(client, person, AT_HOME)
    const tokens = (await redeem(client, landing.code)).body
    const again = await refresh(client, tokens.refresh_token, { resource: API })
    const kinds = {
      access: tokens.access_token,
      signed: again.body.access_token,
      refresh: again.body.refresh_token,
      old: tokens.refresh_token,
    }
    return { ...landing, tokens, kinds }
  }

  test('105 revocation: twice, and each token once more, is 200; it is noted once, without the person', async () => {
    const login = await everyKind()
    const { client, kinds, person } = login
    for (const text of [kinds.refresh, kinds.refresh, ...Object.values(kinds)]) {
      expectDone(await revoke(client, text))
    }
    expect(await endings()).toEqual([
      {
        service: client.clientId,
        grant: expect.stringMatching(/^[\w-]{22}$/),
        requestId: expect.any(String),
      },
    ])
    expect(JSON.stringify(await endings())).not.toContain(person.tokenId)
    expect(await rowsIn('dead_grant')).toBe(1)
    expect(await alive(login)).toEqual([false, false, false])
  })

  test.each(['access_token', 'refresh_token', 'id_token', 'nonsense', '', '../../x'])(
    '108 revocation: the hint "%s" is ignored, the token found',
    async (hint) => {
      const login = await everyKind()
      const more = { token_type_hint: hint }
      expectDone(await revoke(login.client, 'nonsense', more))
      expect(await alive(login)).toEqual([true, true, true])
      expectDone(await revoke(login.client, login.kinds.refresh, more))
      expect(await alive(login)).toEqual([false, false, false])
    },
  )

  test('105 revocation: an id_token is nothing that could be given back', async () => {
    const login = await everyKind()
    const hints = [{}, { token_type_hint: 'id_token' }]
    for (const more of hints) expectDone(await revoke(login.client, login.tokens.id_token, more))
    expect(await alive(login)).toEqual([true, true, true])
    expect([await rowsIn('dead_grant'), await endings()]).toEqual([0, []])
  })

  test('105 revocation: what is unknown, ended, or of another kind is 200, and nothing happens', async () => {
    const login = await everyKind()
    const { client, kinds, tab, person } = login
    const { code } = await landedAt(client, person, AT_HOME)
    const sso = [...tab.cookies].find(([name]) => name.startsWith('__Host-sso-'))?.[1] ?? ''
    const before = await dumpD1()
    const calls = watchObjects()
    for (const text of [
      ...['nonsense', '.', 'a.b.c', '1.', '1.AAAA', 'null', 'é', '%00', `${kinds.access}A`],
      ...[kinds.signed.slice(0, -1), kinds.refresh.toUpperCase(), code, sso, client.secret],
    ]) {
      expectDone(await revoke(client, text))
    }
    expect(calls).toEqual([])
    expect(await dumpD1()).toEqual(before)
    expect((await redeem(client, code)).status).toBe(200)
    later(601)
    expectDone(await revoke(client, kinds.signed))
    expect(await rowsIn('dead_grant')).toBe(0)
  })

  test('105 revocation: a bound token by its client without a proof: who gives back needs no key', async () => {
    const key = await makeKey()
    const login = await loggedIn(AT_HOME)
    const { client, person } = login
    const { code } = await landedAt(client, person, AT_HOME)
    const { body } = await redeem(client, code, {}, { ...client.basic, ...(await proven(key)) })
    expect(body.token_type).toBe('DPoP')
    expectDone(await revoke(client, body.access_token))
    expect((await introspect(client, body.refresh_token)).body).toEqual({ active: false })
    expect((await introspect(client, login.tokens.access_token)).body.active).toBe(true)
  })

  test('105 revocation: a public client gives back its own', async () => {
    const oidc = { ...AT_HOME.oidc, token_endpoint_auth_method: 'none' }
    const { client, tokens } = await loggedIn({ ...AT_HOME, oidc })
    const mine = await everyKind({ ...AT_HOME, clientId: 'other-bar' })
    const form = { client_id: client.clientId }
    expectDone(await sendForm('/oidc/revoke', { ...form, token: mine.kinds.refresh }))
    expect(await alive(mine)).toEqual([true, true, true])
    expectDone(await sendForm('/oidc/revoke', { ...form, token: tokens.refresh_token }))
    expect((await userinfo(tokens.access_token)).status).toBe(401)
    const answer = await token({
      ...{ grant_type: 'refresh_token', refresh_token: tokens.refresh_token },
      client_id: client.clientId,
    })
    expect([answer.status, answer.body.error]).toEqual([400, 'invalid_grant'])
  })

  test('105 revocation: a client with a key', async () => {
    const keyed = await registerKeyed({ offline_access: true }, {}, 'keyed-bar')
    expectDone(await sendForm('/oidc/revoke', { token: 'nonsense', ...(await asserted(keyed)) }))
    const assertion = await asserted(keyed, { payload: { aud: 'https://evil.example' } })
    expectInvalidClient(await sendForm('/oidc/revoke', { token: 'nonsense', ...assertion }))
  })

  test('105 revocation: of a person who was revoked, or at a client that lost what it had', async () => {
    const login = await everyKind()
    await env.DB.prepare("UPDATE enrollment SET status = 'revoked'").run()
    await registerClient({ resources: [API] })
    expectDone(await revoke(login.client, login.kinds.signed))
    expect(await rowsIn('refresh_family')).toBe(0)
  })
})

describe('of somebody else', () => {
  test('106 revocation: the token of another client is 200 and goes on working', async () => {
    const login = await everyKind()
    const other = await registerClient(AT_HOME.oidc, {}, 'other-bar')
    const before = await dumpD1()
    for (const text of Object.values(login.kinds)) expectDone(await revoke(other, text))
    expect(await dumpD1()).toEqual(before)
    expect(await alive(login)).toEqual([true, true, true])
    expect((await refresh(login.client, login.kinds.refresh)).status).toBe(200)
  })

  test('106 revocation: nor does the resource end what a client lent it', async () => {
    const login = await everyKind()
    const api = await registerApi()
    expect((await introspect(api, login.kinds.signed)).body.active).toBe(true)
    expectDone(await revoke(api, login.kinds.signed))
    expect(await alive(login)).toEqual([true, true, true])
    expect(await endings()).toEqual([])
  })

  test('106 revocation: nor by calling back what it got in exchange', async () => {
    const login = await everyKind()
    const api = await registerApi()
    const { body } = await exchange(api, login.kinds.signed)
    expectDone(await revoke(api, body.access_token))
    // The grant is the other client's, and the person may not even know the API.
    expect(await alive(login)).toEqual([true, true, true])
    expect(await rowsIn('refresh_family')).toBe(1)
    // But the client ends with its grant what came of it.
    const before = await introspect(api, body.access_token)
    expect(before.body.active).toBe(true)
    expectDone(await revoke(login.client, login.kinds.refresh))
    const after = await introspect(api, body.access_token)
    expect(after.body).toEqual({ active: false })
  })

  test('106 revocation: without the client nothing is given back', async () => {
    const login = await everyKind()
    const { client, kinds } = login
    const before = await dumpD1()
    for (const headers of [
      {},
      { Authorization: `Basic ${btoa(`${client.clientId}:wrong`)}` },
      { Authorization: `Basic ${btoa(`nobody:${client.secret}`)}` },
      { Authorization: `Bearer ${kinds.access}` },
    ]) {
      for (const text of Object.values(kinds)) {
        expectInvalidClient(await sendForm('/oidc/revoke', { token: text }, headers))
      }
    }
    // A confidential client is not one because somebody names it.
    const form = { token: kinds.refresh, client_id: client.clientId }
    expectInvalidClient(await sendForm('/oidc/revoke', form))
    expect(await dumpD1()).toEqual(before)
    expect(await alive(login)).toEqual([true, true, true])
  })
})

describe('at the same time', () => {
  test('105 revocation: and a refresh: never a live branch afterwards', async () => {
    const { client, person } = await loggedIn(AT_HOME)
    for (let round = 0; round < ROUNDS; round++) {
      const { code } = await landedAt(client, person, AT_HOME)
      const { body } = await redeem(client, code)
      const calls = [
        ...Array.from({ length: 3 }, () => refresh(client, body.refresh_token)),
        revoke(client, round % 2 === 0 ? body.access_token : body.refresh_token),
        ...Array.from({ length: 3 }, () => refresh(client, body.refresh_token)),
      ]
      // The order of sending is another one each time.
      const answers = await Promise.all([...calls.slice(round % 7), ...calls.slice(0, round % 7)])
      const won = answers.filter(({ body: { access_token } }) => access_token !== undefined)
      for (const { body: given } of [{ body }, ...won]) {
        expect((await userinfo(given.access_token)).status).toBe(401)
        const again = await refresh(client, given.refresh_token)
        expect([again.status, again.body.error]).toEqual([400, 'invalid_grant'])
      }
    }
    // That of the first login, which nobody gave back.
    expect(await rowsIn('refresh_family')).toBe(1)
  }, 60_000)

  test('105 revocation: and the same from two Workers, with refreshes of successors', async () => {
    const { client, person } = await loggedIn(AT_HOME)
    const workers = [workerWith(), workerWith()] as const
    const post = (worker: number, path: string, form: Record<string, string>) =>
      workers[worker === 0 ? 0 : 1].send('POST', path, new URLSearchParams(form).toString(), {
        ...client.basic,
        ...FORM,
        'CF-Connecting-IP': freshAddress(),
      })
    for (let round = 0; round < ROUNDS; round++) {
      const { code } = await landedAt(client, person, AT_HOME)
      const { body } = await redeem(client, code)
      // A client that refreshes again and again; somewhere on the way it gives everything back.
      let revoked: Promise<Answer> | undefined
      const given: Answer['body'][] = [body]
      for (let text = body.refresh_token; text !== undefined && given.length < 50; ) {
        if (given.length === 1 + (round % 4)) {
          revoked = post(1, '/oidc/revoke', { token: body.access_token })
        }
        const form = { grant_type: 'refresh_token', refresh_token: text }
        const answer = await post(0, '/oidc/token', form)
        text = answer.body.refresh_token
        if (text !== undefined) given.push(answer.body)
      }
      expect([(await revoked)?.status, given.length < 50]).toEqual([200, true])
      for (const each of given) {
        expect((await userinfo(each.access_token)).status).toBe(401)
        expect((await introspect(client, each.refresh_token)).body).toEqual({ active: false })
      }
    }
  }, 60_000)

  test('105 revocation: and a replayed code, a replayed refresh token: dead is dead', async () => {
    const { client, code, tokens } = await loggedIn(AT_HOME)
    const { body } = await refresh(client, tokens.refresh_token)
    later(GRACE_SECONDS + 1)
    await Promise.all([
      revoke(client, body.refresh_token),
      refresh(client, tokens.refresh_token),
      redeem(client, code),
    ])
    expect([await rowsIn('dead_grant'), await rowsIn('refresh_family')]).toEqual([1, 0])
    expect((await userinfo(body.access_token)).status).toBe(401)
  })

  test('105 revocation: what is dead stays dead until the last token that came of it has ended', async () => {
    const login = await everyKind()
    const { client, kinds, person } = login
    later(0)
    expectDone(await revoke(client, kinds.access))
    for (const seconds of [599, 2400, 590]) {
      later(seconds)
      // Another grant that dies sweeps what is over.
      const { code } = await landedAt(client, person, AT_HOME)
      const { body } = await redeem(client, code)
      expectDone(await revoke(client, body.access_token))
      expect(await alive(login)).toEqual([false, false, false])
    }
  })
})

describe('the endpoint', () => {
  test('001 revocation: POST with a form and one token', async () => {
    const { client, kinds } = await everyKind()
    for (const method of ['GET', 'PUT', 'DELETE', 'PATCH', 'HEAD']) {
      const answer = await send(
        method,
        `/oidc/revoke?token=${kinds.access}`,
        undefined,
        client.basic,
      )
      expect([answer.status, answer.headers.get('Allow')]).toEqual([405, 'POST'])
    }
    for (const [path, body, type] of [
      ['/oidc/revoke', '', FORM['Content-Type']],
      [`/oidc/revoke?token=${kinds.access}`, '', FORM['Content-Type']],
      ['/oidc/revoke', `token=${kinds.access}&token=${kinds.refresh}`, FORM['Content-Type']],
      ['/oidc/revoke', JSON.stringify({ token: kinds.access }), 'application/json'],
    ] as const) {
      const headers = { ...client.basic, 'Content-Type': type }
      const answer = await send('POST', path, body, headers)
      expect([answer.status, answer.body.error], body).toEqual([400, 'invalid_request'])
    }
    expect((await userinfo(kinds.access)).status).toBe(200)
  })

  test('338 revocation: a page of a registered origin may, another learns nothing', async () => {
    const oidc = { ...AT_HOME.oidc, token_endpoint_auth_method: 'none' }
    const { client, tokens } = await loggedIn({ ...AT_HOME, oidc })
    const form = { client_id: client.clientId, token: tokens.refresh_token }
    const evil = await sendForm('/oidc/revoke', form, { Origin: 'https://evil.example' })
    expect(evil.headers.get('Access-Control-Allow-Origin')).toBeNull()
    const page = await sendForm('/oidc/revoke', form, { Origin: RP_ORIGIN })
    expectDone(page)
    expect(page.headers.get('Access-Control-Allow-Origin')).toBe(RP_ORIGIN)
    expect(page.headers.get('Access-Control-Allow-Credentials')).toBeNull()
  })

  test('302 revocation: without D1 it is 503 and not done, and the same call succeeds later', async () => {
    const login = await everyKind()
    const { client, kinds } = login
    for (const hit of [/./, /INSERT OR IGNORE INTO dead_grant/]) {
      const heal = breakD1((sql) => hit.test(sql))
      const answer = await revoke(client, kinds.refresh)
      expect(answer.status).toBe(503)
      expect(answer.headers.get('Retry-After')).toMatch(/^\d+$/)
      heal()
      expect(await alive(login)).toEqual([true, true, true])
    }
    expectDone(await revoke(client, kinds.refresh))
    expect(await alive(login)).toEqual([false, false, false])
  })

  test('101 revocation: a client that was switched off', async () => {
    const login: Kinds = await everyKind()
    const { client, kinds }: { client: Client; kinds: Kinds['kinds'] } = login
    await registerClient(AT_HOME.oidc, { enabled: false })
    expectInvalidClient(await revoke(client, kinds.refresh))
    await registerClient(AT_HOME.oidc)
    expect(await alive(login)).toEqual([true, true, true])
  })
})
