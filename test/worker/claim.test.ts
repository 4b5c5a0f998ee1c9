/** A phone opens a login (5-security 4.16, 4.14, 4.24). */
import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  BAR_ORIGIN,
  type Bar,
  connect,
  enrolled,
  initiate,
  loginObject,
  now,
  openBar,
  operator,
  Person,
  post,
  revocationList,
  storedLogin,
} from './world.ts'

let bar: Bar
beforeEach(async () => {
  bar = await openBar()
})
afterEach(() => {
  vi.useRealTimers()
})

/** Moves the clock of Worker and objects to `seconds` after `start`. */
function clockAt(start: number, seconds: number): void {
  vi.useFakeTimers({ toFake: ['Date'] })
  vi.setSystemTime(start + seconds * 1000)
}

describe('who may claim', () => {
  test('230 claim: the addressed device learns service, context, scopes and code', async () => {
    const person = await enrolled({ push: false })
    const started = await initiate(bar, person.tokenId)
    const { status, body } = await person.claim(started.body.sessionId)
    expect(status).toBe(200)
    expect(body).toEqual({
      nonce: expect.stringMatching(/^[\w-]{22}$/),
      service: {
        id: bar.serviceId,
        name: 'Bar le Central',
        url: `${BAR_ORIGIN}/`,
        logo: null,
      },
      origin: BAR_ORIGIN,
      scopes: ['identity:age_over_18', 'identity:given_name'],
      requiredScopes: ['identity:age_over_18'],
      otp: started.body.autoPassword,
      context: { browser: null, country: null, startedAt: expect.any(String) },
      expiresAt: expect.any(String),
    })
  })

  test('230 claim: another enrolled device is told that there is no such login', async () => {
    const person = await enrolled({ push: false })
    const stranger = await enrolled({ push: false })
    const { sessionId } = (await initiate(bar, person.tokenId)).body
    const refused = await stranger.claim(sessionId)
    expect([refused.status, refused.body.code]).toEqual([404, 'session_not_found'])
    expect(JSON.stringify(refused.body)).not.toContain('Bar')
    // Nor does it help to name the addressed tokenId.
    const forged = await stranger.claim(sessionId, { payload: { tokenId: person.tokenId } })
    expect([forged.status, forged.body.code]).toEqual([401, 'invalid_statement'])
    expect(await storedLogin(sessionId)).toMatchObject({ state: 'pending', claimedAt: null })
  })

  test('230 claim: an unsigned caller learns nothing and changes nothing', async () => {
    const person = await enrolled({ push: false })
    const { sessionId } = (await initiate(bar, person.tokenId)).body
    const other = await Person.make({ push: false })
    const statement = await person.sign('idtoken-claim+jwt', {
      tokenId: person.tokenId,
      sessionId,
      via: 'push',
    })
    const [head, body] = statement.split('.')
    for (const refused of [
      await person.claim(sessionId, { key: other.keyPair.privateKey }),
      await post('/auth/claim', { statement: `${head}.${body}.` }),
      await post('/auth/claim', { statement: `${head}.${body}.${'A'.repeat(86)}` }),
      await person.claim(sessionId, { header: { typ: 'idtoken-deny+jwt' } }),
      await person.claim(sessionId, { payload: { via: 'camera' } }),
      await person.claim(sessionId, { payload: { proof: 'AAAA' } }),
    ]) {
      expect([refused.status, refused.body.code]).toEqual([401, 'invalid_statement'])
    }
    expect(await storedLogin(sessionId)).toMatchObject({ state: 'pending', claimedAt: null })
  })

  test('230 claim: a revoked person and a service that is switched off are named', async () => {
    const person = await enrolled({ push: false })
    const { sessionId } = (await initiate(bar, person.tokenId)).body
    await openBar({ enabled: false })
    const disabled = await person.claim(sessionId)
    expect([disabled.status, disabled.body.code]).toEqual([403, 'service_disabled'])
    await openBar({ enabled: true })
    await env.DB.prepare(
      "UPDATE enrollment SET status = 'revoked', revoked_at = 1 WHERE token_id = ?",
    )
      .bind(person.tokenId)
      .run()
    const revoked = await person.claim(sessionId)
    expect([revoked.status, revoked.body.code]).toEqual([409, 'token_revoked'])
    expect(await storedLogin(sessionId)).toMatchObject({ state: 'pending' })
  })

  test('157 claim: a seal that was revoked by list, or has expired, opens nothing any more', async () => {
    const person = await enrolled({ push: false })
    const { sessionId } = (await initiate(bar, person.tokenId)).body
    const list = await revocationList(1, [person.seal.fingerprint])
    await operator('PUT', '/operator/revocation-list', { revocationList: list })
    const listed = await person.claim(sessionId)
    expect([listed.status, listed.body.code]).toEqual([400, 'invalid_vds'])

    const other = await enrolled({ push: false })
    const started = (await initiate(bar, other.tokenId)).body
    await env.DB.prepare('UPDATE enrollment SET expires_at = ? WHERE token_id = ?')
      .bind(now() - 1, other.tokenId)
      .run()
    const expired = await other.claim(started.sessionId)
    expect([expired.status, expired.body.code]).toEqual([403, 'vds_expired'])
    expect(await storedLogin(started.sessionId)).toMatchObject({ state: 'pending' })
  })

  test('245 claim: revocation ends the logins that are open, and tells their pages', async () => {
    const person = await enrolled({ push: false })
    const { body } = await initiate(bar, person.tokenId)
    const browser = await connect(body)
    await browser.event('otp_ready')
    await vi.waitFor(async () => expect((await person.pending()).body).toHaveLength(1))
    expect(
      await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' }),
    ).toMatchObject({ status: 200 })
    expect(await storedLogin(body.sessionId)).toMatchObject({
      state: 'rejected',
      rejection: 'revoked',
    })
    expect(await browser.event('rejected')).toEqual({ type: 'rejected', reason: 'declined' })
  })
})

describe('the clock', () => {
  test('354 claim: 60 s from the first claim; the second gets the same answer and moves nothing', async () => {
    const person = await enrolled({ push: false })
    const start = Date.now()
    clockAt(start, 0)
    const { sessionId } = (await initiate(bar, person.tokenId)).body
    clockAt(start, 59)
    const first = await person.claim(sessionId)
    expect(first.status).toBe(200)
    expect(Date.parse(first.body.expiresAt) - start).toBe(119_000)
    clockAt(start, 100)
    const second = await person.claim(sessionId)
    expect(second.body).toEqual(first.body)
    clockAt(start, 118)
    expect((await person.approve(sessionId, second.body)).status).toBe(200)
  })

  test('354 claim: at 60 s nobody can claim any more', async () => {
    const person = await enrolled({ push: false })
    const start = Date.now()
    clockAt(start, 0)
    const { sessionId } = (await initiate(bar, person.tokenId)).body
    clockAt(start, 60)
    const late = await person.claim(sessionId)
    expect([late.status, late.body.code]).toEqual([404, 'session_not_found'])
  })

  test.each([-600, -31, -29, 29, 31, 600])(
    '312 claim: a phone whose clock is off by %i s can claim, approve and deny',
    async (skew) => {
      const person = await enrolled({ push: false })
      const bend = { payload: { iat: now() + skew } }
      const a = (await initiate(bar, person.tokenId)).body
      const claimed = await person.claim(a.sessionId, bend)
      expect(claimed.status).toBe(200)
      expect((await person.approve(a.sessionId, claimed.body, bend)).status).toBe(200)
      const b = (await initiate(bar, person.tokenId)).body
      const { nonce } = (await person.claim(b.sessionId, bend)).body
      expect((await person.deny(b.sessionId, nonce, 'declined', bend)).status).toBe(200)
    },
  )
})

describe('logins that never were', () => {
  const forged = `sess_${'0123456789abcdef'.repeat(4)}`

  test.each(['forged', 'genuine but never begun'])(
    '355 claim: a %s sessionId is answered 404 and 4004 everywhere, and leaves nothing',
    async (kind) => {
      const sessionId =
        kind === 'forged' ? forged : `sess_${env.LOGIN_SESSION.newUniqueId().toString()}`
      const person = await enrolled({ push: false })
      const like = {
        nonce: 'AAAAAAAAAAAAAAAAAAAAAA',
        otp: '000000',
        service: { id: bar.serviceId },
      }
      const claimed = { ...like, origin: BAR_ORIGIN, scopes: ['identity:age_over_18'] }
      for (const refused of [
        await person.claim(sessionId),
        await person.approve(sessionId, claimed),
        await person.deny(sessionId, claimed.nonce),
        await post('/auth/result', { sessionId, code: 'abc' }, bar.basic),
      ]) {
        expect([refused.status, refused.body.code]).toEqual([404, 'session_not_found'])
      }
      const { wsToken } = (await initiate(bar, person.tokenId)).body
      const browser = await connect({ sessionId, wsToken })
      expect(await browser.closed).toMatchObject({ code: kind === 'forged' ? 4004 : 4001 })
      expect(browser.events).toEqual([])

      if (kind === 'forged') {
        expect(() => env.LOGIN_SESSION.idFromString(sessionId.slice(5))).toThrow()
        return
      }
      const tables = await runInDurableObject(loginObject(sessionId), (_object, { storage }) =>
        storage.sql
          .exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_%' ESCAPE '\\'")
          .toArray(),
      )
      expect(tables).toEqual([])
    },
  )

  test.each([
    'sess_',
    `sess_${'0'.repeat(63)}`,
    `sess_${'A'.repeat(64)}`,
    `${forged} `,
    `${forged}\n`,
  ])('355 claim: %j is no sessionId', async (sessionId) => {
    const person = await enrolled({ push: false })
    const refused = await person.claim(sessionId)
    expect([refused.status, refused.body.code]).toEqual([401, 'invalid_statement'])
    const result = await post('/auth/result', { sessionId, code: 'abc' }, bar.basic)
    expect([result.status, result.body.code]).toEqual([400, 'invalid_request'])
  })
})
