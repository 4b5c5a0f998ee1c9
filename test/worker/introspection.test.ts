/** Introspection (RFC 7662): who may ask about which token, what is said, and that every other answer is the same one. */
import { env } from 'cloudflare:workers'
import { decodeProtectedHeader } from 'jose'
import { beforeEach, describe, expect, test } from 'vitest'
import { toBase64url } from '../../src/bytes.ts'
import { GRACE_SECONDS } from '../../src/oidc/refresh-token.ts'
import { asserted, makeKey, proven, registerKeyed, sendForm } from './high-security.ts'
import { workerWith } from './other-worker.ts'
import { type LoggedIn, landed, landedAt, loggedIn, rowsIn } from './redeemed.ts'
import { type Client, claimsOf, RP_ORIGIN, redeem, registerClient } from './relying-party.ts'
import {
  API,
  AT_API,
  AT_HOME,
  endClient,
  freshKeys,
  introspect,
  LEDGER,
  refresh,
  registerApi,
  revoke,
} from './resource-tokens.ts'
import { later } from './sessions.ts'
import { breakD1, dumpD1, watchObjects } from './storage.ts'
import {
  type Answer,
  enrolled,
  freshAddress,
  ISSUER,
  now,
  operator,
  revocationList,
  send,
  trustList,
} from './world.ts'

const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' }
const ACR = 'urn:idtokenseal:acr:face-oob-substantial'

beforeEach(freshKeys)

/** The answer letter by letter, from the Worker under test or another one; what differs between any two is left out. */
async function raw(
  { basic }: Pick<Client, 'basic'>,
  text: string,
  worker = workerWith(),
): Promise<{ status: number; headers: string[][]; text: string }> {
  const body = new URLSearchParams({ token: text }).toString()
  const headers = { ...basic, ...FORM, 'CF-Connecting-IP': freshAddress() }
  const answer = await worker.fetch('/oidc/introspect', { method: 'POST', headers, body })
  return {
    status: answer.status,
    headers: [...answer.headers].filter(([name]) => name !== 'x-request-id'),
    text: await answer.text(),
  }
}

async function expectInactive(client: Pick<Client, 'basic'>, text: string): Promise<void> {
  const answer = await introspect(client, text)
  expect([answer.status, answer.body]).toEqual([200, { active: false }])
}

function expectInvalidClient(answer: Answer): void {
  expect([answer.status, answer.body.error]).toEqual([401, 'invalid_client'])
  expect(answer.headers.get('Cache-Control')).toBe('no-store')
  expect(JSON.stringify(answer.body)).not.toContain('active')
}

/** One login with a token of every kind. */
interface Kinds extends LoggedIn {
  readonly api: Client
  readonly kinds: { readonly access: string; readonly signed: string; readonly refresh: string }
}

async function everyKind(): Promise<Kinds> {
  const login = await loggedIn(AT_HOME)
  const { client, tokens } = login
  const again = await refresh(client, tokens.refresh_token, { resource: API })
  const kinds = {
    access: tokens.access_token,
    signed: again.body.access_token,
    refresh: again.body.refresh_token,
  }
  return { ...login, kinds, api: await registerApi() }
}

describe('what is said', () => {
  test('introspection: of each kind of token exactly this', async () => {
    const { client, tokens, person, kinds } = await everyKind()
    const about = {
      active: true,
      iss: ISSUER,
      sub: person.tokenId,
      client_id: client.clientId,
      scope: tokens.scope,
      token_type: 'Bearer',
      iat: expect.any(Number),
      auth_time: claimsOf(tokens.id_token).auth_time,
      acr: ACR,
      exp: expect.any(Number),
    }
    const access = await introspect(client, kinds.access)
    expect(access.status).toBe(200)
    expect(access.headers.get('Content-Type')).toBe('application/json')
    expect(access.headers.get('Cache-Control')).toBe('no-store')
    expect(access.body).toEqual(about)
    expect(access.body.exp - access.body.iat).toBe(3600)

    const signed = await introspect(client, kinds.signed)
    const claims = claimsOf(kinds.signed)
    expect(signed.body).toEqual({ ...about, aud: API, iat: claims.iat, exp: claims.exp })
    expect(signed.body.exp - signed.body.iat).toBe(600)

    const refreshed = await introspect(client, kinds.refresh)
    expect(refreshed.body).toEqual(about)
    expect(refreshed.body.exp - refreshed.body.iat).toBe(30 * 86_400)
    // Never who the person is.
    expect(JSON.stringify([access.body, signed.body, refreshed.body])).not.toMatch(/Jean|Dupont/)
  })

  test('introspection: pairwise: the name of the client, and never the tokenId', async () => {
    const { client, tokens, person } = await loggedIn({
      ...AT_API,
      service: { subjectType: 'pairwise' },
    })
    const api = await registerApi({}, { subjectType: 'pairwise', sectorIdentifier: 'api.example' })
    for (const caller of [client, api]) {
      const { body } = await introspect(caller, tokens.access_token)
      expect(body.sub).toBe(claimsOf(tokens.id_token).sub)
      expect(JSON.stringify(body)).not.toContain(person.tokenId)
    }
  })

  test('introspection: a bound token names its key', async () => {
    const key = await makeKey()
    const { client, code, person } = await landed(AT_HOME)
    const { body } = await redeem(client, code, {}, { ...client.basic, ...(await proven(key)) })
    for (const text of [body.access_token, body.refresh_token]) {
      expect((await introspect(client, text)).body).toMatchObject({
        active: true,
        token_type: 'DPoP',
        cnf: { jkt: key.thumbprint },
      })
    }
    const other = await landedAt(client, person, AT_API)
    const proof = await proven(key)
    const signed = (await redeem(client, other.code, {}, { ...client.basic, ...proof })).body
    const api = await registerApi()
    expect((await introspect(api, signed.access_token)).body).toMatchObject({
      ...{ active: true, token_type: 'DPoP', aud: API, cnf: { jkt: key.thumbprint } },
    })
  })

  test('introspection: the level of the seal, of 1 and 3 too', async () => {
    const client = await registerClient(AT_API.oidc)
    for (const [trustLevel, word] of [
      [1, 'low'],
      [3, 'high'],
    ] as const) {
      const person = await enrolled({ push: false, identity: { trustLevel } })
      const { code } = await landedAt(client, person, AT_API)
      const { body } = await redeem(client, code)
      const { acr } = (await introspect(client, body.access_token)).body
      expect(acr).toBe(`urn:idtokenseal:acr:face-oob-${word}`)
      expect(acr).toBe(claimsOf(body.access_token).acr)
    }
  })

  test.each([
    ...['access_token', 'refresh_token', 'id_token', 'nonsense', ''],
    'urn:ietf:params:oauth:token-type:access_token',
  ])('108 introspection: the hint "%s" is ignored, the token found', async (hint) => {
    const { client, kinds } = await everyKind()
    for (const text of Object.values(kinds)) {
      const { body } = await introspect(client, text, { token_type_hint: hint })
      expect(body.active).toBe(true)
    }
    const unknown = await introspect(client, 'nonsense', { token_type_hint: hint })
    expect(unknown.body).toEqual({ active: false })
  })

  test('175 introspection: what the operator took from the client is not in its tokens any more', async () => {
    const { client, api, kinds } = await everyKind()
    await registerClient(AT_API.oidc, { allowedScopes: ['identity:age_over_18'] })
    for (const text of Object.values(kinds)) {
      const { scope } = (await introspect(client, text)).body
      expect(scope).toBe('openid identity:age_over_18 offline_access')
    }
    // Nor for the resource that the token was made for, whatever the resource itself may have.
    const said = await introspect(api, kinds.signed)
    expect(said.body.scope).toBe('openid identity:age_over_18 offline_access')
    await registerApi({}, { allowedScopes: [] })
    expect((await introspect(api, kinds.signed)).body.scope).toBe(said.body.scope)
    await registerClient(AT_API.oidc)
    expect((await introspect(client, kinds.access)).body.scope).toContain('identity:name')
  })

  test('introspection: asks, and changes nothing', async () => {
    const { client, api, kinds } = await everyKind()
    const before = await dumpD1()
    const calls = watchObjects()
    for (const text of [...Object.values(kinds), 'nonsense']) {
      await introspect(client, text)
      await introspect(api, text)
    }
    expect(calls).toEqual([])
    expect(await dumpD1()).toEqual(before)
    expect((await refresh(client, kinds.refresh)).status).toBe(200)
  })
})

describe('who may ask', () => {
  test('101 introspection: without credentials, with wrong ones, or as nobody', async () => {
    const { client, kinds } = await everyKind()
    const wrong = (id: string, secret: string) => ({
      basic: { Authorization: `Basic ${btoa(`${id}:${secret}`)}` },
    })
    const callers = [
      { basic: {} as Record<string, string> },
      wrong(client.clientId, 'wrong'),
      wrong('nobody', client.secret),
      wrong('api', client.secret),
      { basic: { Authorization: `Bearer ${kinds.access}` } },
      { basic: { Authorization: 'Basic !' } },
    ]
    for (const caller of callers) {
      for (const text of [...Object.values(kinds), 'nonsense', '']) {
        expectInvalidClient(await introspect(caller, text))
      }
    }
    await registerClient(AT_API.oidc, { enabled: false })
    expectInvalidClient(await introspect(client, kinds.access))
  })

  test('101 introspection: a public client, even about its own token', async () => {
    const about = { ...AT_HOME, oidc: { ...AT_HOME.oidc, token_endpoint_auth_method: 'none' } }
    const { client, tokens } = await loggedIn(about)
    for (const text of [tokens.access_token, tokens.refresh_token, 'nonsense', '']) {
      const form = { token: text, client_id: client.clientId }
      expectInvalidClient(await sendForm('/oidc/introspect', form))
    }
  })

  test('101 introspection: in each confidential way, and in no other than the registered one', async () => {
    const about = {
      ...AT_HOME,
      oidc: { ...AT_HOME.oidc, token_endpoint_auth_method: 'client_secret_post' },
    }
    const { client, tokens } = await loggedIn(about)
    const form = { token: tokens.access_token }
    const inForm = { client_id: client.clientId, client_secret: client.secret }
    const posted = await sendForm('/oidc/introspect', { ...form, ...inForm })
    expect(posted.body.active).toBe(true)
    expectInvalidClient(await introspect(client, tokens.access_token))
    const both = await sendForm('/oidc/introspect', { ...form, ...inForm }, client.basic)
    expect([both.status, both.body.error]).toEqual([400, 'invalid_request'])

    const keyed = await registerKeyed({ resource: API }, {}, 'keyed-api')
    const assertion = await asserted(keyed)
    const asked = await sendForm('/oidc/introspect', { ...form, ...assertion })
    expect([asked.status, asked.body]).toEqual([200, { active: false }])
    // 063: once.
    expectInvalidClient(await sendForm('/oidc/introspect', { ...form, ...assertion }))
  })

  test('102 introspection: a resource, about the tokens that were made for it and no others', async () => {
    const { client, api, kinds } = await everyKind()
    const { body } = await introspect(api, kinds.signed)
    expect(body).toMatchObject({ active: true, client_id: client.clientId, aud: API })
    await expectInactive(api, kinds.access)
    await expectInactive(api, kinds.refresh)
    const ledger = await registerClient({ resource: LEDGER }, {}, 'ledger')
    const none = await registerClient({ resources: [API, LEDGER] }, {}, 'none')
    for (const other of [ledger, none]) {
      for (const text of Object.values(kinds)) await expectInactive(other, text)
    }
    // A refresh token for a resource is nothing for the resource.
    const { tokens } = await loggedIn({ ...AT_API, clientId: 'other-bar' })
    await expectInactive(api, tokens.refresh_token)
    expect((await introspect(api, tokens.access_token)).body.client_id).toBe('other-bar')
    // What it is called is the operator's word.
    await registerApi({ resource: 'https://api.example/v2' })
    await expectInactive(api, kinds.signed)
  })

  test('001 introspection: POST with a form, one token, and for no page', async () => {
    const { client, kinds } = await everyKind()
    for (const method of ['GET', 'PUT', 'DELETE', 'PATCH', 'HEAD']) {
      const answer = await send(
        method,
        `/oidc/introspect?token=${kinds.access}`,
        undefined,
        client.basic,
      )
      expect([answer.status, answer.headers.get('Allow')]).toEqual([405, 'POST'])
    }
    const without = await sendForm('/oidc/introspect', {}, client.basic)
    expect([without.status, without.body.error]).toEqual([400, 'invalid_request'])
    const inQuery = await sendForm(`/oidc/introspect?token=${kinds.access}`, {}, client.basic)
    expect([inQuery.status, inQuery.body.error]).toEqual([400, 'invalid_request'])
    for (const [body, type] of [
      [`token=${kinds.access}&token=${kinds.access}`, FORM['Content-Type']],
      [`token=${kinds.access}&token_type_hint=a&token_type_hint=b`, FORM['Content-Type']],
      [JSON.stringify({ token: kinds.access }), 'application/json'],
      [`token=%ff`, FORM['Content-Type']],
    ] as const) {
      const answer = await send('POST', '/oidc/introspect', body, {
        ...client.basic,
        'Content-Type': type,
      })
      expect([answer.status, answer.body.error], body).toEqual([400, 'invalid_request'])
    }
    const page = { ...client.basic, Origin: RP_ORIGIN }
    const answer = await sendForm('/oidc/introspect', { token: kinds.access }, page)
    expect(answer.headers.get('Access-Control-Allow-Origin')).toBeNull()
    const preflight = await send('OPTIONS', '/oidc/introspect', undefined, { Origin: RP_ORIGIN })
    expect(preflight.status).toBe(405)
    expect(preflight.headers.get('Access-Control-Allow-Origin')).toBeNull()
  })
})

type End = readonly [
  what: string,
  end: (login: Kinds) => Promise<unknown>,
  ended: readonly (keyof Kinds['kinds'])[],
]
const ALL: End[2] = ['access', 'signed', 'refresh']

/** What ends a token, and the kinds of which it does. */
const ENDS: readonly End[] = [
  [
    'the enrolment was revoked',
    ({ person }) => operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' }),
    ALL,
  ],
  [
    'the seal is on the list of its issuer',
    async ({ person }) => {
      const list = await revocationList(1, [person.seal.fingerprint])
      return operator('PUT', '/operator/revocation-list', { revocationList: list })
    },
    ALL,
  ],
  [
    'the CA is trusted no longer',
    async () => {
      const list = await trustList({ sequence: 2, entries: [] })
      return operator('PUT', '/operator/trust-list', { trustList: list })
    },
    ALL,
  ],
  [
    'the person has a new phone',
    () => env.DB.prepare("UPDATE enrollment SET enrollment_id = 'another'").run(),
    ALL,
  ],
  ['the seal has ended', () => env.DB.prepare('UPDATE enrollment SET expires_at = 1').run(), ALL],
  ['the person is gone', () => env.DB.prepare('DELETE FROM enrollment').run(), ALL],
  ['the code came twice', ({ client, code }) => redeem(client, code), ALL],
  ['the client called it back', ({ client, kinds }) => revoke(client, kinds.access), ALL],
  [
    'the client called the signed one back',
    ({ client, kinds }) => revoke(client, kinds.signed),
    ALL,
  ],
  [
    'an old refresh token came again',
    ({ client, tokens }) => {
      later(GRACE_SECONDS + 1)
      return refresh(client, tokens.refresh_token)
    },
    ALL,
  ],
  [
    'the signing key was removed',
    async ({ kinds }) => {
      const header = JSON.parse(atob(kinds.signed.split('.')[0] ?? ''))
      return operator('POST', `/operator/keys/${header.kid}/remove`, { reason: 'leaked' })
    },
    ['signed'],
  ],
  ['its ten minutes are over', async () => later(601), ['signed']],
  ['its hour is over', async () => later(3601), ['access', 'signed']],
  ['nobody came for a month', async () => later(31 * 86_400), ALL],
]

describe('what is over', () => {
  test.each(ENDS)(
    '103 introspection: %s: inactive at once, from any isolate, for client and resource',
    async (_, end, ended) => {
      const login = await everyKind()
      const { client, api, kinds } = login
      const workers = [workerWith(), workerWith()]
      const ask = async () => {
        const asked = workers.flatMap((worker) => [
          ...Object.values(kinds).map((text) => raw(client, text, worker)),
          raw(api, kinds.signed, worker),
        ])
        return (await Promise.all(asked)).map(({ text }) => JSON.parse(text).active)
      }
      expect(await ask()).toEqual(Array(8).fill(true))
      await end(login)
      const left = ([...ALL, 'signed'] as const).map((kind) => !ended.includes(kind))
      expect(await ask()).toEqual([...left, ...left])
    },
  )

  test('325 251 introspection: a key that leaked, also where it is still remembered', async () => {
    const { client, kinds } = await everyKind()
    // Another list of secrets is another memory of keys: this Worker doesn't hear of the removal.
    const second = toBase64url(crypto.getRandomValues(new Uint8Array(32)))
    const warm = workerWith({ MASTER_SECRET: `1:${env.MASTER_SECRET},2:${second}` })
    expect(JSON.parse((await raw(client, kinds.signed, warm)).text).active).toBe(true)
    const { kid } = decodeProtectedHeader(kinds.signed)
    await operator('POST', `/operator/keys/${kid}/remove`, { reason: 'leaked' })
    expect((await raw(client, kinds.signed, warm)).text).toBe('{"active":false}')
  })

  test('170 introspection: a client that was switched off: nothing of it is known to the resource', async () => {
    const { client, api, kinds } = await everyKind()
    expect((await introspect(api, kinds.signed)).body.active).toBe(true)
    await registerClient(AT_API.oidc, { enabled: false })
    expect(JSON.parse((await raw(api, kinds.signed)).text)).toEqual({ active: false })
    expect((await raw(client, kinds.signed)).status).toBe(401)
    await registerClient(AT_API.oidc)
    expect((await introspect(api, kinds.signed)).body.active).toBe(true)
  })

  test('170 introspection: a service that is no client any more: nothing of it is known to the resource', async () => {
    const { client, api, kinds } = await everyKind()
    expect((await introspect(api, kinds.signed)).body.active).toBe(true)
    expect((await endClient(client)).status).toBe(200)
    await expectInactive(api, kinds.signed)
    expectInvalidClient(await introspect(client, kinds.signed))
    await registerClient(AT_API.oidc)
    expect((await introspect(api, kinds.signed)).body.active).toBe(true)
    // Nor does a resource learn anything that is none.
    await endClient(api)
    expectInvalidClient(await introspect(api, kinds.signed))
  })

  test('083 introspection: a rotated refresh token is active inside its grace, then not; asking kills nothing', async () => {
    later(0)
    const { client, tokens } = await loggedIn(AT_HOME)
    const { body } = await refresh(client, tokens.refresh_token)
    const before = await dumpD1()
    expect((await introspect(client, tokens.refresh_token)).body.active).toBe(true)
    later(GRACE_SECONDS)
    expect((await introspect(client, tokens.refresh_token)).body.active).toBe(true)
    later(1)
    await expectInactive(client, tokens.refresh_token)
    expect((await introspect(client, body.refresh_token)).body.active).toBe(true)
    expect(await dumpD1()).toEqual(before)
    expect(await rowsIn('dead_grant')).toBe(0)
    const next = await refresh(client, body.refresh_token)
    expect(next.status).toBe(200)
    // Used twice since: the first is not even a previous one.
    await expectInactive(client, tokens.refresh_token)
  })

  test('091 introspection: good to its last second', async () => {
    const { client, tokens } = await loggedIn(AT_API)
    const { exp } = claimsOf(tokens.access_token)
    later(Number(exp) - 1 - now())
    expect((await introspect(client, tokens.access_token)).body.active).toBe(true)
    later(1)
    await expectInactive(client, tokens.access_token)
  })

  test('102 introspection: every reason has one and the same answer, byte for byte', async () => {
    const { client, api, kinds, tab, tokens, person } = await everyKind()
    const foreign = await loggedIn({ ...AT_API, clientId: 'other-bar' })
    const gone = await loggedIn({ ...AT_API, clientId: 'gone-bar' })
    await operator('POST', '/revoke', { tokenId: gone.person.tokenId, reason: 'lost' })
    const mine = await loggedIn({ ...AT_HOME, clientId: 'my-bar' })
    await operator('POST', '/revoke', { tokenId: mine.person.tokenId, reason: 'lost' })
    const { code } = await landedAt(client, person, AT_HOME)
    const sso = [...tab.cookies].find(([name]) => name.startsWith('__Host-sso-'))?.[1] ?? ''
    const answers = await Promise.all([
      ...[
        ...['nonsense', '.', '..', 'a.b.c', '1.', '1.AAAA', 'null', '{}', 'é', '%00', ' ', '0'],
        ...[`${kinds.access}A`, kinds.access.slice(0, -1), kinds.access.toLowerCase()],
        ...[`${kinds.signed}A`, kinds.signed.slice(0, -1), ` ${kinds.signed}`, `${kinds.signed}.`],
        ...[kinds.refresh.toUpperCase(), tokens.id_token, code, sso, client.secret],
        ...[foreign.tokens.access_token, foreign.tokens.refresh_token, foreign.tokens.id_token],
        ...[gone.tokens.access_token, mine.tokens.access_token],
        await person.sign('idtoken-pending+jwt', { tokenId: person.tokenId }),
      ].map((text) => raw(client, text)),
      ...[kinds.access, kinds.refresh, gone.tokens.access_token].map((text) => raw(api, text)),
      ...[mine.tokens.access_token, mine.tokens.refresh_token].map((text) =>
        raw(mine.client, text),
      ),
    ])
    expect(answers[0]).toMatchObject({ status: 200, text: '{"active":false}' })
    for (const answer of answers) expect(answer).toEqual(answers[0])
    const { text } = await raw(client, kinds.access)
    expect(JSON.parse(text).active).toBe(true)
  })

  test('302 introspection: without D1 nothing is said, neither yes nor no', async () => {
    const { client, kinds } = await everyKind()
    for (const hit of [/./, /LEFT JOIN enrollment/, /dead_grant/]) {
      const heal = breakD1((sql) => hit.test(sql))
      for (const text of Object.values(kinds)) {
        const answer = await introspect(client, text)
        expect([answer.status, answer.body.active]).toEqual([503, undefined])
        expect(answer.headers.get('Retry-After')).toMatch(/^\d+$/)
      }
      heal()
    }
    expect((await introspect(client, kinds.access)).body.active).toBe(true)
  })

  test('086 introspection: tokens of another deployment', async () => {
    const { client, kinds } = await everyKind()
    const elsewhere = workerWith({ MASTER_SECRET: btoa('another secret of exactly 32 byt') })
    for (const text of [kinds.access, kinds.refresh]) {
      expect((await raw(client, text, elsewhere)).text).toBe('{"active":false}')
    }
  })
})
