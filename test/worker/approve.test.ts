/** A phone approves (5-security 4.16): what is checked, in which order, and what a fault leaves behind. */
import { evictDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { createLocalJWKSet, decodeJwt, jwtVerify } from 'jose'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type Bar,
  connect,
  enrolled,
  eventually,
  freshAddress,
  ISSUER,
  initiate,
  initiateFromPage,
  loginAudit,
  loginObject,
  now,
  openBar,
  operator,
  type Person,
  post,
  send,
  specimen,
  storedLogin,
  trustList,
  type Watched,
} from './world.ts'

let bar: Bar
beforeEach(async () => {
  bar = await openBar()
})
afterEach(() => {
  vi.useRealTimers()
})

/** A login that is watched by a page and claimed. */
async function opened(person: Person, more: object = {}): Promise<Watched> {
  const started = await initiate(bar, person.tokenId, more)
  const { sessionId } = started.body
  const browser = await connect(started.body)
  await browser.event('otp_ready')
  return { sessionId, browser, claimed: (await person.claim(sessionId)).body }
}

function wrongCode({ claimed }: Watched): string {
  return claimed.otp === '000000' ? '000001' : '000000'
}

/** That `login` is as open as it was, and nobody was told anything. */
async function expectUntouched(login: Watched, wrongCodes = 0): Promise<void> {
  expect(await storedLogin(login.sessionId)).toMatchObject({
    state: 'claimed',
    decision: null,
    result: null,
    attempt: { wrongCodes },
  })
  const told = login.browser.events.map(({ type }) => type)
  expect(told.filter((type) => type !== 'push_failed')).toEqual(['otp_ready', 'claimed'])
  expect(await loginAudit(login.sessionId)).toEqual([])
}

describe('a valid approval', () => {
  test('213 approve: the row of the audit names device, service and scopes, and no person', async () => {
    const person = await enrolled({ push: false })
    const login = await opened(person)
    const approved = await person.approve(login.sessionId, login.claimed)
    expect([approved.status, approved.body]).toEqual([200, { status: 'approved' }])
    const rows = await eventually(() => loginAudit(login.sessionId))
    expect(rows).toHaveLength(1)
    expect(rows[0]).toMatchObject({
      outcome: 'approved',
      service: bar.serviceId,
      door: 'direct',
      device: person.thumbprint,
      scopes: ['identity:age_over_18', 'identity:given_name'],
    })
    expect(JSON.stringify(rows)).not.toMatch(/Jean|Dupont|1988/)
    expect(JSON.stringify(rows)).not.toContain(person.tokenId)
    expect(JSON.stringify(rows)).not.toContain(login.sessionId)
  })

  test('213 approve: sharing nothing gives `sub` and nothing else, if the service requires nothing', async () => {
    await openBar({ requiredScopes: [] })
    const person = await enrolled({ push: false })
    const login = await opened(person)
    const bend = { payload: { grantedScopes: [] } }
    expect((await person.approve(login.sessionId, login.claimed, bend)).status).toBe(200)
    const { jwt } = await login.browser.event('approved')
    const claims = decodeJwt(String(jwt))
    for (const absent of ['given_name', 'family_name', 'name', 'age_over_18', 'birthdate']) {
      expect(claims).not.toHaveProperty(absent)
    }
    expect(claims).toMatchObject({ scope: '' })
  })

  test('213 approve: a page that began by its origin gets a code and never the token', async () => {
    const person = await enrolled({ push: false })
    const started = await initiateFromPage(
      person.tokenId,
      {},
      { 'CF-Connecting-IP': freshAddress() },
    )
    const browser = await connect(started.body)
    await browser.event('otp_ready')
    const claimed = (await person.claim(started.body.sessionId)).body
    const approved = await person.approve(started.body.sessionId, claimed)
    expect(approved.body).toEqual({ status: 'approved' })
    const event = await browser.event('approved')
    expect(Object.keys(event).sort()).toEqual(['code', 'type'])
    await browser.closed
    expect(browser.events.map(({ type }) => type)).toEqual(['otp_ready', 'claimed', 'approved'])
    expect(JSON.stringify(browser.events)).not.toContain('eyJ')
  })

  test('222 approve: the same again gets the same answer: one token, one event, one row', async () => {
    const person = await enrolled({ push: false })
    const login = await opened(person)
    expect((await person.approve(login.sessionId, login.claimed)).status).toBe(200)
    const stored = await storedLogin(login.sessionId)
    for (let i = 0; i < 3; i++) {
      // Signed anew and later each time: what counts is what was decided.
      const later = { payload: { iat: now() + 1 + i } }
      const again = await person.approve(login.sessionId, login.claimed, later)
      expect([again.status, again.body]).toEqual([200, { status: 'approved' }])
    }
    expect(await storedLogin(login.sessionId)).toEqual(stored)
    await login.browser.closed
    expect(login.browser.events.filter(({ type }) => type === 'approved')).toHaveLength(1)
    expect(await eventually(() => loginAudit(login.sessionId))).toHaveLength(1)

    const other = await person.approve(login.sessionId, login.claimed, {
      payload: { grantedScopes: ['identity:age_over_18'] },
    })
    expect([other.status, other.body.code]).toEqual([409, 'session_resolved'])
    expect(await storedLogin(login.sessionId)).toEqual(stored)
  })

  test('231 approve: the phone that never heard the answer asks again after a restart and gets it', async () => {
    const person = await enrolled({ push: false })
    const login = await opened(person)
    const approval = await person.approval(login.sessionId, login.claimed)
    expect((await post('/auth/verify', approval)).status).toBe(200)
    const stored = await storedLogin(login.sessionId)
    await evictDurableObject(loginObject(login.sessionId))
    expect((await post('/auth/verify', approval)).body).toEqual({ status: 'approved' })
    expect(await storedLogin(login.sessionId)).toEqual(stored)
    expect(await eventually(() => loginAudit(login.sessionId))).toHaveLength(1)
  })

  test('242 approve: the token verifies with the keys that are served', async () => {
    const person = await enrolled({ push: false })
    const login = await opened(person)
    await person.approve(login.sessionId, login.claimed)
    const { jwt } = await login.browser.event('approved')
    const { body } = await send('GET', '/.well-known/jwks.json')
    const { payload } = await jwtVerify(String(jwt), createLocalJWKSet(body), { issuer: ISSUER })
    expect(payload).not.toHaveProperty('nbf')
    expect(payload.exp).toBeLessThanOrEqual((payload.iat ?? 0) + 3600)
    expect(JSON.stringify(payload)).not.toContain(person.tokenId)
  })
})

describe('who signs', () => {
  test('214 approve: a hundred bad signatures count nothing', { timeout: 20_000 }, async () => {
    const person = await enrolled({ push: false })
    const stranger = await enrolled({ push: false })
    const login = await opened(person)
    const good = await person.approval(login.sessionId, login.claimed)
    const [head, body, signature = ''] = String(good.statement).split('.')
    const { vdsData } = good
    const flipped = `${signature[0] === 'A' ? 'B' : 'A'}${signature.slice(1)}`
    const bad = [
      { vdsData, statement: `${head}.${body}.` },
      { vdsData, statement: `${head}.${body}.${'A'.repeat(86)}` },
      { vdsData, statement: `${head}.${body}.${flipped}` },
      await person.approval(login.sessionId, login.claimed, { key: stranger.keyPair.privateKey }),
      await stranger.approval(login.sessionId, login.claimed),
    ]
    for (let i = 0; i < 20; i++) {
      const answers = await Promise.all(bad.map((each) => post('/auth/verify', each)))
      for (const { status, body } of answers) {
        expect([status, body.code]).toEqual([401, 'invalid_statement'])
      }
    }
    await expectUntouched(login)
    expect((await post('/auth/verify', good)).status).toBe(200)
  })

  test.each([
    ['nonce', 'AAAAAAAAAAAAAAAAAAAAAA'],
    ['service', 'another-service'],
    ['origin', 'https://evil.example'],
  ])('226 approve: another %s than the login has', async (member, value) => {
    const person = await enrolled({ push: false })
    const login = await opened(person)
    const refused = await person.approve(login.sessionId, login.claimed, {
      payload: { [member]: value },
    })
    expect([refused.status, refused.body.code]).toEqual([401, 'invalid_statement'])
    await expectUntouched(login)
  })

  test('226 approve: of two open logins each has its own nonce', async () => {
    const person = await enrolled({ push: false })
    const a = await opened(person)
    const b = await opened(person)
    const refused = await person.approve(b.sessionId, { ...b.claimed, nonce: a.claimed.nonce })
    expect([refused.status, refused.body.code]).toEqual([401, 'invalid_statement'])
    await expectUntouched(a)
    await expectUntouched(b)
  })
})

describe('the code', () => {
  test('187 approve: the code of one login is wrong in the other', async () => {
    const person = await enrolled({ push: false })
    const a = await opened(person)
    const b = await opened(person)
    expect(a.claimed.otp).not.toBe(b.claimed.otp)
    const refused = await person.approve(b.sessionId, { ...b.claimed, otp: a.claimed.otp })
    expect([refused.status, refused.body.code]).toEqual([401, 'invalid_otp'])
    await expectUntouched(b, 1)
    await expectUntouched(a)
    expect((await person.approve(a.sessionId, a.claimed)).status).toBe(200)
  })

  test('215 approve: the third wrong code ends the login, across a restart of the object', async () => {
    const person = await enrolled({ push: false })
    const login = await opened(person)
    const wrong = { ...login.claimed, otp: wrongCode(login) }
    for (let i = 1; i <= 3; i++) {
      const refused = await person.approve(login.sessionId, wrong)
      expect([refused.status, refused.body.code]).toEqual([401, 'invalid_otp'])
      if (i === 2) await expectUntouched(login, 2)
      if (i < 3) await evictDurableObject(loginObject(login.sessionId))
    }
    expect(await login.browser.event('rejected')).toEqual({
      type: 'rejected',
      reason: 'wrong_code',
    })
    expect(await login.browser.closed).toMatchObject({ code: 1000 })
    const late = await person.approve(login.sessionId, login.claimed)
    expect([late.status, late.body.code]).toEqual([409, 'session_resolved'])
    expect(await storedLogin(login.sessionId)).toMatchObject({ state: 'rejected', result: null })
    expect(await eventually(() => loginAudit(login.sessionId))).toMatchObject([
      { outcome: 'rejected', reason: 'wrong_code' },
    ])
  })
})

describe('what is granted', () => {
  test.each([
    ['that was not asked', ['identity:age_over_18', 'identity:nationality']],
    ['above the ceiling', ['identity:age_over_18', 'identity:photo']],
    ['that does not exist', ['identity:age_over_18', 'identity:shoe_size']],
    ['that is composite', ['identity:age_over_18', 'identity:basic']],
  ])('217 approve: a scope %s', async (_name, grantedScopes) => {
    const person = await enrolled({ push: false })
    const login = await opened(person)
    const refused = await person.approve(login.sessionId, login.claimed, {
      payload: { grantedScopes },
    })
    expect([refused.status, refused.body.code]).toEqual([422, 'invalid_scope'])
    await expectUntouched(login)
    expect((await person.approve(login.sessionId, login.claimed)).status).toBe(200)
  })

  test('217 approve: a required scope that is held back', async () => {
    const person = await enrolled({ push: false })
    const login = await opened(person)
    const refused = await person.approve(login.sessionId, login.claimed, {
      payload: { grantedScopes: ['identity:given_name'] },
    })
    expect([refused.status, refused.body.code]).toEqual([422, 'invalid_scope'])
    await expectUntouched(login)
  })

  test.each([
    ['in disorder', ['identity:given_name', 'identity:age_over_18']],
    ['twice', ['identity:age_over_18', 'identity:age_over_18']],
    ['in a string', 'identity:age_over_18'],
  ])('217 approve: scopes %s are no statement', async (_name, grantedScopes) => {
    const person = await enrolled({ push: false })
    const login = await opened(person)
    const refused = await person.approve(login.sessionId, login.claimed, {
      payload: { grantedScopes },
    })
    expect([refused.status, refused.body.code]).toEqual([401, 'invalid_statement'])
    await expectUntouched(login)
  })

  test.each(['face', 'liveness', 'trustLevel', 'acr', '__proto__'])(
    '228 approve: %s in the body or the statement has no say',
    async (member) => {
      const person = await enrolled({ push: false })
      const login = await opened(person)
      const good = JSON.stringify(await person.approval(login.sessionId, login.claimed))
      const body = `${good.slice(0, -1)},${JSON.stringify(member)}:true}`
      const refused = await send('POST', '/auth/verify', body, {
        'Content-Type': 'application/json',
      })
      expect([refused.status, refused.body.code]).toEqual([400, 'invalid_request'])
      if (member !== '__proto__') {
        const signed = await person.approve(login.sessionId, login.claimed, {
          payload: { [member]: 3 },
        })
        expect([signed.status, signed.body.code]).toEqual([401, 'invalid_statement'])
      }
      await expectUntouched(login)
    },
  )

  test('033 approve: a trust level below the one that was asked ends the login, and the page is told', async () => {
    const person = await enrolled({ push: false })
    const login = await opened(person, { minTrustLevel: 3 })
    const refused = await person.approve(login.sessionId, login.claimed)
    expect([refused.status, refused.body.code]).toEqual([403, 'insufficient_trust_level'])
    expect(await storedLogin(login.sessionId)).toMatchObject({
      state: 'rejected',
      rejection: 'insufficient_trust_level',
      result: null,
    })
    expect(await login.browser.event('rejected')).toMatchObject({ reason: 'declined' })
  })
})

describe('the person and the seal', () => {
  test('229 approve: revoked after the push: refused, and the page is told', async () => {
    const person = await enrolled({ push: false })
    const login = await opened(person)
    await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
    const refused = await person.approve(login.sessionId, login.claimed)
    expect(refused.status).toBe(409)
    expect(['token_revoked', 'session_resolved']).toContain(refused.body.code)
    expect(await login.browser.event('rejected')).toEqual({ type: 'rejected', reason: 'declined' })
    expect(await storedLogin(login.sessionId)).toMatchObject({ state: 'rejected', result: null })
  })

  test('229 approve: revoked without a word to the login: the approval itself finds out', async () => {
    const person = await enrolled({ push: false })
    const login = await opened(person)
    await env.DB.prepare(
      "UPDATE enrollment SET status = 'revoked', revoked_at = 1 WHERE token_id = ?",
    )
      .bind(person.tokenId)
      .run()
    const refused = await person.approve(login.sessionId, login.claimed)
    expect([refused.status, refused.body.code]).toEqual([409, 'token_revoked'])
    expect(await login.browser.event('rejected')).toEqual({ type: 'rejected', reason: 'declined' })
    expect(await storedLogin(login.sessionId)).toMatchObject({ state: 'rejected', result: null })
    expect(await eventually(() => loginAudit(login.sessionId))).toMatchObject([
      { outcome: 'rejected', reason: 'revoked' },
    ])
  })

  test('229 approve: a seal that expires between push and approval', async () => {
    // Three days ahead, so that alarms lie in the future; and a list of its own, because isolates remember lists.
    const expiry = new Date(Date.now() + 3 * 86_400_000).toISOString().slice(0, 10)
    const lastSecond = Date.parse(`${expiry}T23:59:59Z`)
    vi.useFakeTimers({ toFake: ['Date'] })
    vi.setSystemTime(lastSecond - 30_000)
    await operator('PUT', '/operator/trust-list', { trustList: await trustList({ sequence: 229 }) })
    const person = await enrolled({ push: false, identity: { expiresOn: expiry } })
    const login = await opened(person)
    vi.setSystemTime(lastSecond + 2_000)
    const refused = await person.approve(login.sessionId, login.claimed)
    expect([refused.status, refused.body.code]).toEqual([403, 'vds_expired'])
    expect(await storedLogin(login.sessionId)).toMatchObject({ state: 'rejected', result: null })
    expect(login.browser.events.at(-1)).toMatchObject({ type: 'rejected' })
  })

  test('217 approve: another seal than the enrolled one, even of the same person', async () => {
    const person = await enrolled({ push: false })
    const login = await opened(person)
    const own = person.seal
    const newer = await specimen(person.tokenId, { identity: { nationality: 'DEU' } })
    const good = await person.approval(login.sessionId, login.claimed)
    for (const [fingerprint, vdsData] of [
      [newer.fingerprint, newer.base64url],
      [own.fingerprint, newer.base64url],
      [newer.fingerprint, own.base64url],
    ]) {
      const { statement } = await person.approval(login.sessionId, login.claimed, {
        payload: { seal: fingerprint },
      })
      const refused = await post('/auth/verify', { statement, vdsData })
      expect([refused.status, refused.body.code]).toEqual([403, 'credential_mismatch'])
    }
    const garbage = await post('/auth/verify', { ...good, vdsData: 'AAAA' })
    expect([garbage.status, garbage.body.code]).toEqual([400, 'invalid_vds'])
    await expectUntouched(login)
  })
})

describe('after the deadline', () => {
  test('232 approve: everything right and too late, however slow the clock of the phone', async () => {
    const person = await enrolled({ push: false })
    const start = Date.now()
    vi.useFakeTimers({ toFake: ['Date'] })
    vi.setSystemTime(start)
    const login = await opened(person)
    const approval = await person.approval(login.sessionId, login.claimed, {
      payload: { iat: Math.floor(start / 1000) - 300 },
    })
    vi.setSystemTime(start + 60_000)
    for (const answer of [
      await post('/auth/verify', approval),
      await person.deny(login.sessionId, login.claimed.nonce),
      await person.claim(login.sessionId),
    ]) {
      expect([answer.status, answer.body.code]).toEqual([404, 'session_not_found'])
    }
    expect(await storedLogin(login.sessionId)).toMatchObject({ decision: null, result: null })
  })
})
