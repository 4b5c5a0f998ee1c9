/** What was found by attacking clients with keys, pushed requests and tokens for APIs, each as the request that found it. */
import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import {
  credentialsBy,
  keySet,
  makeKey,
  open,
  proven,
  sendForm,
  userinfoKeyed,
} from './high-security.ts'
import { expectPage, untouched } from './hosted.ts'
import { workerWith } from './other-worker.ts'
import { landedAt, loggedIn, rowsIn } from './redeemed.ts'
import {
  approve,
  authorizationParameters,
  type Client,
  landingOf,
  pageId,
  REDIRECT_URI,
  RP_ORIGIN,
  redeem,
  registerClient,
  Tab,
  token,
  userinfo,
  VERIFIER,
} from './relying-party.ts'
import {
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
} from './resource-tokens.ts'
import { later } from './sessions.ts'
import {
  type Answer,
  connect,
  enrolled,
  freshAddress,
  operator,
  type Person,
  post,
} from './world.ts'

beforeEach(freshKeys)
afterEach(() => {
  vi.useRealTimers()
})

/** What is refused from now on, as the log tells it. */
function refusals(): string[] {
  const reasons: string[] = []
  const log = vi.spyOn(console, 'log').mockImplementation((line) => {
    const { event, reason } = JSON.parse(String(line))
    if (event === 'refused') reasons.push(reason)
  })
  onTestFinished(() => log.mockRestore())
  return reasons
}

/** The details of all audit rows of that kind. */
async function audited(event: string): Promise<Record<string, unknown>[]> {
  const { results } = await env.DB.prepare(
    'SELECT detail FROM audit WHERE event = ? ORDER BY rowid',
  )
    .bind(event)
    .all<{ detail: string }>()
  return results.map(({ detail }) => JSON.parse(detail))
}

function errorOf({ status, body }: Answer): unknown[] {
  return [status, body.error]
}

/* ---- the other door ---- */

const key = await makeKey('ES256', 'client-key')

/** What a simple client is changed to; it keeps the secret that it was given at first. */
const STRICTER: readonly [string, Record<string, unknown>][] = [
  ['a key', { token_endpoint_auth_method: 'private_key_jwt', jwks: keySet(key) }],
  ['bound tokens', { dpop_bound_access_tokens: true }],
  ['pushed requests', { require_pushed_authorization_requests: true }],
]

describe.each(STRICTER)('a client that is registered for %s by now', (_, oidc) => {
  const initiate = (person: Person, headers: Record<string, string>) =>
    post(
      '/auth/initiate',
      { serviceId: 'bar-le-central', tokenId: person.tokenId, scopes: ['identity:name'] },
      { 'CF-Connecting-IP': freshAddress(), ...headers },
    )

  // A page of a client with a key gets a code that only the key redeems (direct-key.test.ts).
  const callers = 'jwks' in oidc ? [] : ['page']
  test.each([...callers, 'back end', 'back end of a page'])(
    '062 abuse: its %s begins no login at the direct door',
    async (who) => {
      const client = await registerClient()
      const page = { Origin: RP_ORIGIN }
      const headers = {
        'back end': client.basic,
        page,
        'back end of a page': { ...client.basic, ...page },
      }[who]
      // Before: it could, so that it isn't another reason that keeps it out.
      const simple = await initiate(await enrolled({ push: false }), headers ?? {})
      expect(simple.status, JSON.stringify(simple.body)).toBe(200)

      await registerClient(oidc)
      const person = await enrolled()
      const answer = await untouched(() => initiate(person, headers ?? {}))
      expect([answer.status, answer.body.code]).toEqual([401, 'invalid_client'])
      expect(await person.pushes()).toEqual([])
      expect((await person.pending()).body).toEqual([])
    },
  )

  test('062 abuse: its old secret fetches no result of a login that a page began before', async () => {
    const client = await registerClient()
    const person = await enrolled({ push: false })
    const { body } = await initiate(person, { Origin: RP_ORIGIN })
    const browser = await connect(body, { origin: RP_ORIGIN })
    const claimed = (await person.claim(body.sessionId)).body
    expect((await person.approve(body.sessionId, claimed)).status).toBe(200)
    const { code = '' } = await browser.event('approved')
    const result = { sessionId: body.sessionId, code }

    await registerClient(oidc)
    const refused = await post('/auth/result', result, client.basic)
    expect([refused.status, refused.body.code]).toEqual([401, 'invalid_client'])
    expect(refused.body).not.toHaveProperty('jwt')
    // Nor was it spent by that.
    await registerClient()
    expect((await post('/auth/result', result, client.basic)).body).toHaveProperty('jwt')
  })
})

test('062 abuse: a client that proves itself with a key gets no new secret', async () => {
  const client = await registerClient()
  await registerClient({ token_endpoint_auth_method: 'private_key_jwt', jwks: keySet(key) })
  for (const body of [{}, { endOthers: true }]) {
    const rotate = () => operator('POST', '/operator/services/bar-le-central/secret', body)
    const answer = await untouched(rotate)
    expect(answer.status).toBe(400)
    expect(answer.body).toMatchObject({
      ...{ code: 'invalid_request', member: 'oidc.token_endpoint_auth_method' },
    })
    expect(answer.body).not.toHaveProperty('secret')
  }
  // A simple one does, and so does it when it is one again.
  await registerClient()
  const again = await operator('POST', '/operator/services/bar-le-central/secret', {})
  expect([again.status, again.body.secret]).toEqual([200, expect.any(String)])
  expect(again.body.secret).not.toBe(client.secret)
})

/* ---- filling the table of proofs ---- */

describe('proofs of a public client', () => {
  const record = { token_endpoint_auth_method: 'none', offline_access: true }
  const request = { scope: 'openid offline_access' }
  const about = { client_id: 'public-bar' }
  let client: Client
  let person: Person

  beforeEach(async () => {
    client = await registerClient(record, {}, about.client_id)
    person = await enrolled({ push: false })
  })

  const redemption = (code: string, more: Record<string, string> = {}) => ({
    ...{ ...about, grant_type: 'authorization_code', code },
    ...{ redirect_uri: REDIRECT_URI, code_verifier: VERIFIER, ...more },
  })
  const freshCode = async () => (await landedAt(client, person, { request })).code

  test('081 abuse: what a stranger makes up leaves no row, at no endpoint', async () => {
    const foreign = await loggedIn({
      ...{ oidc: { offline_access: true }, request, clientId: 'cinema', person },
    })
    const other = await landedAt(foreign.client, person, { request })
    const forms: Record<string, string>[] = [
      ...['junk', '1.junk', other.code, foreign.code, `${other.code}x`].map((code) =>
        redemption(code),
      ),
      ...['junk', foreign.tokens.refresh_token, foreign.tokens.access_token].map(
        (refresh_token) => ({ ...about, grant_type: 'refresh_token', refresh_token }),
      ),
      { ...about, grant_type: EXCHANGE, subject_token: foreign.tokens.access_token },
      ...['authorization_code', 'refresh_token', 'password', ''].map((grant_type) => ({
        ...{ ...about, grant_type },
      })),
    ]
    const refused: number[] = []
    for (const form of forms) {
      refused.push((await sendForm('/oidc/token', form, await proven(await makeKey()))).status)
    }
    expect(refused).toEqual(forms.map(() => 400))
    const path = '/oidc/par'
    const pushes: number[] = []
    for (const changes of [{}, {}, { redirect_uri: 'https://evil.example/cb' }]) {
      const form = await authorizationParameters({ ...about, ...changes })
      pushes.push((await sendForm(path, form, await proven(await makeKey(), { path }))).status)
    }
    expect(pushes).toEqual([201, 201, 400])
    expect(await rowsIn('used_proof')).toBe(0)
    // The foreign code was not spent by it.
    const { status } = await redeem(foreign.client, other.code)
    expect(status).toBe(200)
  })

  test('081 abuse: with a genuine code its proof is used up, and a second code is not spent by it', async () => {
    const [first, second] = [await freshCode(), await freshCode()]
    const dpop = await makeKey()
    const used = await proven(dpop)
    const { status, body } = await sendForm('/oidc/token', redemption(first), used)
    expect([status, body.token_type]).toEqual([200, 'DPoP'])
    expect(await rowsIn('used_proof')).toBe(1)

    const again = await untouched(() => sendForm('/oidc/token', redemption(second), used))
    expect(errorOf(again)).toEqual([400, 'invalid_dpop_proof'])
    const right = await sendForm('/oidc/token', redemption(second), await proven(dpop))
    expect(right.status).toBe(200)
    expect(await rowsIn('used_proof')).toBe(2)
  })

  test('081 abuse: the same with its refresh token, which is not rotated by it', async () => {
    const dpop = await makeKey()
    const used = await proven(dpop)
    const { body } = await sendForm('/oidc/token', redemption(await freshCode()), used)
    const form = {
      ...{ ...about, grant_type: 'refresh_token', refresh_token: body.refresh_token },
    }
    const again = await untouched(() => sendForm('/oidc/token', form, used))
    expect(errorOf(again)).toEqual([400, 'invalid_dpop_proof'])
    const next = await proven(dpop)
    expect((await sendForm('/oidc/token', form, next)).status).toBe(200)
    expect(errorOf(await sendForm('/oidc/token', form, next))).toEqual([400, 'invalid_dpop_proof'])
  })

  test('081 abuse: one proof at the same time with two codes buys tokens for one', async () => {
    const codes = [await freshCode(), await freshCode()]
    const used = await proven(await makeKey())
    const answers = await Promise.all(
      codes.map((code) => sendForm('/oidc/token', redemption(code), used)),
    )
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 400])
  })

  test.each(['client_secret_basic', 'client_secret_post', 'private_key_jwt'])(
    '081 abuse: that of a client with %s is used up whatever it came with',
    async (method) => {
      const keys = method === 'private_key_jwt' ? { jwks: keySet(key) } : {}
      const service = await registerClient({ token_endpoint_auth_method: method, ...keys })
      const { form, headers } = await credentialsBy(method, { ...service, key })
      const dpop = await makeKey()
      const junk = { ...form, grant_type: 'authorization_code', code: 'junk' }
      const used = await proven(dpop)
      const answer = await sendForm('/oidc/token', junk, { ...headers, ...used })
      expect(errorOf(answer)).toEqual([400, 'invalid_grant'])
      const fresh = (await credentialsBy(method, { ...service, key })).form
      const again = await sendForm('/oidc/token', { ...junk, ...fresh }, { ...headers, ...used })
      expect(errorOf(again)).toEqual([400, 'invalid_dpop_proof'])
    },
  )
})

/* ---- filling the audit ---- */

test('252 abuse: exchanges without end leave one row for each grant, service and resource', async () => {
  const { client, person, tokens } = await loggedIn(AT_API)
  const api = await registerApi({ resources: [LEDGER, 'urn:example:mail'] })
  const jwt = tokens.access_token
  for (const scope of ['openid', 'identity:name', undefined, undefined]) {
    expect((await exchange(api, jwt, { scope })).status).toBe(200)
  }
  // Another token of the same grant is nothing new either.
  const refreshed = await refresh(client, tokens.refresh_token)
  expect((await exchange(api, refreshed.body.access_token)).status).toBe(200)
  const row = {
    ...{ service: 'api', from: 'bar-le-central', resource: LEDGER },
    ...{ grant: expect.stringMatching(/^[\w-]{22}$/), requestId: expect.any(String) },
  }
  expect(await audited('token_exchanged')).toEqual([row])

  const mail = { resource: 'urn:example:mail' }
  for (let i = 0; i < 3; i++) expect((await exchange(api, jwt, mail)).status).toBe(200)
  expect(await audited('token_exchanged')).toEqual([row, { ...row, ...mail }])
  // Who else exchanges it, and another approval of the same person, are told apart.
  for (let i = 0; i < 2; i++) expect((await exchange(client, jwt)).status).toBe(200)
  const { code } = await landedAt(client, person, AT_API)
  const later = (await redeem(client, code)).body.access_token
  for (let i = 0; i < 2; i++) expect((await exchange(api, later)).status).toBe(200)
  const rows = await audited('token_exchanged')
  expect(rows.slice(2)).toEqual([{ ...row, service: 'bar-le-central' }, row])
  expect(new Set(rows.map(({ grant }) => grant)).size).toBe(2)
})

test('252 abuse: an end is written down once for each grant, however often it comes again', async () => {
  later(0)
  const { client, person, tokens } = await loggedIn(AT_HOME)
  const giveBack = async (text: string) => {
    expect((await revoke(client, text)).status).toBe(200)
  }
  const all = [tokens.access_token, tokens.refresh_token]
  await Promise.all([...all, ...all].map(giveBack))
  for (const text of all) await giveBack(text)
  expect(await audited('grant_ended')).toHaveLength(1)

  // Another end sweeps what is over: that the first grant is dead is known no more, its refresh token is still ours.
  later(3602)
  const { code } = await landedAt(client, person, AT_HOME)
  await giveBack((await redeem(client, code)).body.access_token)
  expect(await rowsIn('dead_grant')).toBe(1)
  const grants = (await audited('grant_ended')).map(({ grant }) => grant)
  expect(new Set(grants).size).toBe(2)
  for (let i = 0; i < 3; i++) await giveBack(tokens.refresh_token)
  expect((await audited('grant_ended')).map(({ grant }) => grant)).toEqual(grants)
})

/* ---- around the key ---- */

/** Exchanges `subjectToken` without a proof, with that of another key, and with `dpop`, which alone may do. */
async function expectBound(
  client: Client,
  subjectToken: string,
  dpop: Awaited<ReturnType<typeof makeKey>>,
  more: Record<string, string> = {},
): Promise<void> {
  const reasons = refusals()
  const without = await exchange(client, subjectToken, more)
  expect(errorOf(without)).toEqual([400, 'invalid_request'])
  const other = await exchange(client, subjectToken, more, await proven(await makeKey()))
  expect(errorOf(other)).toEqual([400, 'invalid_request'])
  const mine = reasons.filter((reason) => reason.includes('subject_token'))
  expect(mine).toEqual(Array(2).fill('invalid_request subject_token bound to another key'))
  const right = await exchange(client, subjectToken, more, await proven(dpop))
  expect([right.status, right.body.token_type]).toEqual([200, 'DPoP'])
}

test('082 abuse: an id_token that came with bound tokens is exchanged with their key only', async () => {
  const { client, person, tokens: unbound } = await loggedIn(AT_HOME)
  const dpop = await makeKey()
  const asIdToken = { subject_token_type: ID_TOKEN }
  const { code } = await landedAt(client, person, AT_HOME)
  const bound = await redeem(client, code, {}, { ...client.basic, ...(await proven(dpop)) })
  expect(bound.body.token_type).toBe('DPoP')
  await expectBound(client, bound.body.id_token, dpop, asIdToken)

  const form = { grant_type: 'refresh_token', refresh_token: bound.body.refresh_token }
  const refreshed = await token(form, { ...client.basic, ...(await proven(dpop)) })
  await expectBound(client, refreshed.body.id_token, dpop, asIdToken)
  // One that came with bearer tokens is what it was, with a proof or without.
  expect((await exchange(client, unbound.id_token, asIdToken)).body.token_type).toBe('Bearer')
  const proved = await exchange(client, unbound.id_token, asIdToken, await proven(dpop))
  expect(proved.body.token_type).toBe('DPoP')
})

test('082 abuse: a client that is its own resource needs the key of its own token, not that of others', async () => {
  const dpop = await makeKey()
  const api = await registerApi({ resources: [API, LEDGER] })
  const person = await enrolled({ push: false })
  const boundAt = async (client: Client): Promise<string> => {
    const { code } = await landedAt(client, person, { request: { resource: API } })
    const answer = await redeem(client, code, {}, { ...client.basic, ...(await proven(dpop)) })
    expect(answer.body.token_type).toBe('DPoP')
    return answer.body.access_token
  }
  await expectBound(api, await boundAt(api), dpop)

  const foreign = await boundAt(await registerClient({ resources: [API] }))
  const exchanged = await exchange(api, foreign)
  expect([exchanged.status, exchanged.body.token_type]).toEqual([200, 'Bearer'])
})

test('082 abuse: a token from before its client had to bind them is worth nothing at userinfo', async () => {
  const { client, person, tokens } = await loggedIn()
  expect((await userinfo(tokens.access_token)).status).toBe(200)
  const bound = { dpop_bound_access_tokens: true }
  await registerClient(bound)
  const dpop = await makeKey()
  for (const refused of [
    await userinfo(tokens.access_token),
    await userinfoKeyed(dpop, tokens.access_token),
    await userinfoKeyed(dpop, tokens.access_token, {}, { scheme: 'Bearer' }),
    await sendForm('/oidc/userinfo', { access_token: tokens.access_token }),
  ]) {
    expect(errorOf(refused)).toEqual([401, 'invalid_token'])
    expect(refused.headers.get('WWW-Authenticate')).toContain('error="invalid_token"')
  }
  // A new sign-in with a proof is all that it takes.
  const { code } = await landedAt(client, person)
  const { body } = await redeem(client, code, {}, { ...client.basic, ...(await proven(dpop)) })
  expect((await userinfoKeyed(dpop, body.access_token)).status).toBe(200)
})

/* ---- around a stricter record ---- */

/** Stricter than the plain record by that, and a request that lacks it. */
const DEMANDS: readonly [string, Record<string, unknown>, Record<string, undefined>][] = [
  ['PAR', { require_pushed_authorization_requests: true }, {}],
  ['PKCE', { require_pkce: true }, { code_challenge: undefined, code_challenge_method: undefined }],
]

const LAX = { require_pkce: false }

/** Pushes the plain request of a simple client with `changes`: the path that opens it. */
async function pushedBy(
  client: Client,
  changes: Record<string, string | undefined> = {},
): Promise<string> {
  const form = await authorizationParameters(changes)
  const { status, body } = await sendForm('/oidc/par', form, client.basic)
  expect(status, JSON.stringify(body)).toBe(201)
  return body.request_uri
}

describe.each(DEMANDS)('a client that is registered to demand %s by now', (name, oidc, lacking) => {
  test('067 abuse: a page that was open without it leads nowhere', async () => {
    await registerClient(LAX)
    const person = await enrolled()
    const tab = new Tab()
    const page = await tab.authorize(lacking)
    expectPage(page, 200, 'login-start')
    await registerClient({ ...LAX, ...oidc })
    const next = await untouched(() => tab.type(page, person.tokenId))
    expectPage(next, 400, 'error-client')
    expect(await person.pushes()).toEqual([])
    const cancelled = await tab.press(page, '/login/cancel')
    expect([cancelled.headers.get('Location'), pageId(cancelled)]).toEqual([null, 'login-over'])
    // What was open is all that was wrong with it.
    await registerClient(LAX)
    expectPage(await tab.type(page, person.tokenId), 200, 'login-pushing')
  })

  test('067 abuse: a page that was pushed goes on, if nothing else is missing', async () => {
    const client = await registerClient(LAX)
    const person = await enrolled({ push: false })
    const tab = new Tab()
    const page = await open(tab, client.clientId, await pushedBy(client))
    await registerClient({ ...LAX, ...oidc })
    const waiting = await tab.type(page, person.tokenId)
    await approve(person, waiting)
    const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
    expect((await redeem(client, parameters.code)).status).toBe(200)
  })

  test('348 067 abuse: it gets no silent answer without it, though its isolate remembers the old record', async () => {
    const { tab } = await loggedIn({ oidc: LAX })
    const other = workerWith()
    const query = new URLSearchParams(await authorizationParameters({ prompt: 'none', ...lacking }))
    const silent = async () => {
      const headers = { Cookie: tab.cookieHeader }
      return landingOf(await other.send('GET', `/oidc/authorize?${query}`, null, headers))
        .parameters
    }
    expect(await silent()).toHaveProperty('code')
    await registerClient({ ...LAX, ...oidc })
    const refused = await silent()
    expect(refused).toMatchObject({ error: 'login_required' })
    expect(refused).not.toHaveProperty('code')
  })

  test('348 067 abuse: nor one to what it pushed, unless it is all there', async () => {
    const { client, tab } = await loggedIn({ oidc: LAX })
    const whole = await pushedBy(client, { prompt: 'none' })
    const part = await pushedBy(client, { prompt: 'none', ...lacking })
    await registerClient({ ...LAX, ...oidc })
    const answered = landingOf(await open(tab, client.clientId, whole)).parameters
    expect(answered).toHaveProperty('code')
    const { error } = landingOf(await open(tab, client.clientId, part)).parameters
    expect(error).toBe(name === 'PKCE' ? 'login_required' : undefined)
  })
})

/* ---- what was lent ---- */

describe('a token that was got by exchange', () => {
  /** The client that the person approved, whose token went to the API, which exchanged it for the ledger, and so on. */
  async function lent() {
    const { client, tokens } = await loggedIn(AT_API)
    const api = await registerApi()
    const ledger = await registerClient({ resource: LEDGER, resources: [API] }, {}, 'ledger')
    const first = (await exchange(api, tokens.access_token)).body.access_token
    const second = (await exchange(ledger, first, { resource: API })).body.access_token
    const active = async () => {
      const asked = [
        ...[introspect(api, first), introspect(ledger, first)],
        ...[introspect(ledger, second), introspect(api, second)],
      ]
      return (await Promise.all(asked)).map(({ body }) => body)
    }
    const exchanges = async () => {
      const asked = [
        ...[exchange(api, first), exchange(ledger, first, { resource: API })],
        ...[exchange(ledger, second, { resource: API }), exchange(api, second)],
      ]
      return (await Promise.all(asked)).map(({ status }) => status)
    }
    return { client, active, exchanges }
  }

  test('170 abuse: ends when the client is switched off that the person approved', async () => {
    const { active, exchanges } = await lent()
    expect((await active()).map((each) => each.active)).toEqual([true, true, true, true])
    expect(await exchanges()).toEqual([200, 200, 200, 200])
    await registerClient(AT_API.oidc, { enabled: false })
    expect(await active()).toEqual(Array(4).fill({ active: false }))
    expect(await exchanges()).toEqual([400, 400, 400, 400])
    // Switched on again, what has not ended by itself is good again.
    await registerClient(AT_API.oidc)
    expect((await active()).map((each) => each.active)).toEqual([true, true, true, true])
  })

  test('170 abuse: ends when the client that the person approved is no client any more', async () => {
    const { client, active, exchanges } = await lent()
    await endClient(client)
    expect(await active()).toEqual(Array(4).fill({ active: false }))
    expect(await exchanges()).toEqual([400, 400, 400, 400])
  })

  test('170 abuse: and only that whose it is when one in between is', async () => {
    const { active } = await lent()
    await registerApi({}, { enabled: false })
    const [first, atLedger, second] = await active()
    // The API itself is no client now; what it got is of no use to the ledger either.
    expect([first.error, atLedger, second.active]).toEqual([
      ...['invalid_client', { active: false }, true],
    ])
  })
})
