/** A service's back end fetches the result of a login that its page began (5-security 359). */
import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type Answer,
  type Bar,
  connect,
  enrolled,
  freshAddress,
  ISSUER,
  initiate,
  initiateFromPage,
  loginObject,
  openBar,
  operator,
  type Person,
  post,
  send,
  storedLogin,
} from './world.ts'

let bar: Bar
beforeEach(async () => {
  bar = await openBar()
})
afterEach(() => {
  vi.useRealTimers()
})

interface Approved {
  readonly sessionId: string
  readonly code: string
  readonly random: string
  readonly wsToken: string
}

/** A login that a page began and `person` approved. */
async function approvedFromPage(person: Person): Promise<Approved> {
  const { body } = await initiateFromPage(
    person.tokenId,
    {},
    { 'CF-Connecting-IP': freshAddress() },
  )
  const browser = await connect(body)
  const claimed = (await person.claim(body.sessionId)).body
  expect((await person.approve(body.sessionId, claimed)).status).toBe(200)
  const { code = '' } = await browser.event('approved')
  return { ...body, code }
}

function fetchResult(
  { sessionId, code }: Pick<Approved, 'sessionId' | 'code'>,
  headers: Record<string, string> = bar.basic,
): Promise<Answer> {
  return post('/auth/result', { sessionId, code }, headers)
}

function codeOf({ status, body }: Answer): [number, string] {
  return [status, body.code]
}

const NOT_FOUND = [404, 'session_not_found']

describe('the right back end', () => {
  test('359 result: gets the token once', async () => {
    const person = await enrolled({ push: false })
    const login = await approvedFromPage(person)
    const got = await fetchResult(login)
    expect(got.status).toBe(200)
    expect(got.headers.get('Cache-Control')).toBe('no-store')
    expect(Object.keys(got.body).sort()).toEqual(['expiresAt', 'jwt', 'random'])
    expect(got.body.random).toBe(login.random)
    const jwks = createLocalJWKSet((await send('GET', '/.well-known/jwks.json')).body)
    const { payload } = await jwtVerify(got.body.jwt, jwks, {
      issuer: ISSUER,
      audience: bar.serviceId,
      algorithms: ['ES256'],
      typ: 'JWT',
    })
    expect(decodeProtectedHeader(got.body.jwt).kid).toEqual(expect.any(String))
    expect(payload).toMatchObject({
      nonce: login.random,
      given_name: 'Jean',
      age_over_18: true,
      scope: 'identity:age_over_18 identity:given_name',
    })
    expect(payload).not.toHaveProperty('family_name')
    expect(Date.parse(got.body.expiresAt)).toBe((payload.exp ?? 0) * 1000)

    expect(codeOf(await fetchResult(login))).toEqual(NOT_FOUND)
  })

  test('359 result: of twenty requests at once one wins', async () => {
    const person = await enrolled({ push: false })
    const login = await approvedFromPage(person)
    const answers = await Promise.all(Array.from({ length: 20 }, () => fetchResult(login)))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
    for (const answer of answers.filter(({ status }) => status !== 200)) {
      expect(codeOf(answer)).toEqual(NOT_FOUND)
    }
  })

  test('359 result: sixty seconds after the approval it is too late', async () => {
    const person = await enrolled({ push: false })
    const [early, late] = [await approvedFromPage(person), await approvedFromPage(person)]
    const approvedAt = (await storedLogin(late.sessionId))?.endedAt ?? 0
    vi.useFakeTimers({ toFake: ['Date'] })
    const earlyAt = (await storedLogin(early.sessionId))?.endedAt ?? 0
    vi.setSystemTime(earlyAt + 59_999)
    expect((await fetchResult(early)).status).toBe(200)
    vi.setSystemTime(approvedAt + 60_000)
    expect(codeOf(await fetchResult(late))).toEqual(NOT_FOUND)
  })

  test('359 result: once fetched, nothing of it is left, and the page learns no more', async () => {
    const person = await enrolled({ push: false })
    const login = await approvedFromPage(person)
    const before = await storedLogin(login.sessionId)
    expect(JSON.stringify(before)).not.toMatch(/"Jean|eyJ[\w-]+\.eyJ/)
    expect(before?.codeHash).not.toBe(login.code)
    await fetchResult(login)
    // The object is empty once its audit row is stored, which happens beside the redemption.
    const after = await storedLogin(login.sessionId)
    expect([after?.result ?? null, after?.codeHash ?? null]).toEqual([null, null])
    const browser = await connect(login)
    expect(await browser.closed).toMatchObject({ code: 4004 })
    expect(browser.events).toEqual([])
  })

  test('202 result: a page that lost its socket gets the same code again, and one token exists', async () => {
    const person = await enrolled({ push: false })
    const login = await approvedFromPage(person)
    const browser = await connect(login)
    expect(await browser.event('approved')).toEqual({ type: 'approved', code: login.code })
    expect((await fetchResult(login)).status).toBe(200)
    expect(codeOf(await fetchResult(login))).toEqual(NOT_FOUND)
  })
})

describe('everybody else', () => {
  test('359 result: another service with the right code', async () => {
    const person = await enrolled({ push: false })
    const login = await approvedFromPage(person)
    const other = await openBar({}, 'other')
    expect(codeOf(await fetchResult(login, other.basic))).toEqual(NOT_FOUND)
    // The attempt spends nothing.
    expect((await fetchResult(login)).status).toBe(200)
  })

  test('359 result: no authentication, a wrong secret, another scheme', async () => {
    const person = await enrolled({ push: false })
    const login = await approvedFromPage(person)
    const wrong = btoa(`${bar.serviceId}:wrong`)
    const nobody = btoa('nobody:secret')
    for (const headers of [
      {},
      { Origin: 'http://127.0.0.1:8789' },
      { Authorization: `Basic ${wrong}` },
      { Authorization: `Basic ${nobody}` },
      { Authorization: `Bearer ${bar.secret}` },
      { Authorization: 'Basic' },
      { Authorization: `Basic ${btoa(bar.serviceId)}` },
    ] as Record<string, string>[]) {
      const refused = await fetchResult(login, headers)
      expect(codeOf(refused)).toEqual([401, 'invalid_client'])
      expect(refused.headers.get('WWW-Authenticate')).toBe('Basic')
    }
    expect((await fetchResult(login)).status).toBe(200)
  })

  test('359 result: a code that is altered, of another login, or no code at all', async () => {
    const person = await enrolled({ push: false })
    const a = await approvedFromPage(person)
    const b = await approvedFromPage(person)
    const last = a.code.slice(-2, -1) === 'A' ? 'B' : 'A'
    const altered = `${a.code.slice(0, -2)}${last}${a.code.slice(-1)}`
    for (const code of [b.code, altered, 'abc', '1.', a.code.slice(0, -4), `${a.code}AAAA`]) {
      expect(codeOf(await fetchResult({ sessionId: a.sessionId, code }))).toEqual(NOT_FOUND)
    }
    expect(codeOf(await fetchResult({ sessionId: b.sessionId, code: a.code }))).toEqual(NOT_FOUND)
    for (const code of ['', 'a b', 'a'.repeat(513), 7]) {
      const refused = await post('/auth/result', { sessionId: a.sessionId, code }, bar.basic)
      expect(codeOf(refused)).toEqual([400, 'invalid_request'])
    }
    expect((await fetchResult(a)).status).toBe(200)
    expect((await fetchResult(b)).status).toBe(200)
  })

  test('359 result: before the approval there is nothing to fetch', async () => {
    const person = await enrolled({ push: false })
    const { body } = await initiateFromPage(
      person.tokenId,
      {},
      { 'CF-Connecting-IP': freshAddress() },
    )
    expect(codeOf(await fetchResult({ sessionId: body.sessionId, code: 'abc' }))).toEqual(NOT_FOUND)
  })

  test('359 result: a login that a back end began has no code to fetch', async () => {
    const person = await enrolled({ push: false })
    const { body } = await initiate(bar, person.tokenId)
    const claimed = (await person.claim(body.sessionId)).body
    await person.approve(body.sessionId, claimed)
    expect(await storedLogin(body.sessionId)).toMatchObject({ state: 'approved', codeHash: null })
    expect(codeOf(await fetchResult({ sessionId: body.sessionId, code: 'abc' }))).toEqual(NOT_FOUND)
  })
})

describe('what was withdrawn meanwhile', () => {
  test('244 result: a person who was revoked after the approval', async () => {
    const person = await enrolled({ push: false })
    const login = await approvedFromPage(person)
    await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
    expect(codeOf(await fetchResult(login))).toEqual(NOT_FOUND)
  })

  test('244 result: an enrollment that gave way to another', async () => {
    const person = await enrolled({ push: false })
    const login = await approvedFromPage(person)
    await env.DB.prepare("UPDATE enrollment SET enrollment_id = 'another' WHERE token_id = ?")
      .bind(person.tokenId)
      .run()
    expect(codeOf(await fetchResult(login))).toEqual(NOT_FOUND)
  })

  test('244 result: a service that was switched off', async () => {
    const person = await enrolled({ push: false })
    const login = await approvedFromPage(person)
    await openBar({ enabled: false })
    expect(codeOf(await fetchResult(login))).toEqual([403, 'service_disabled'])
    await openBar({ enabled: true })
    expect((await fetchResult(login)).status).toBe(200)
  })

  test('309 result: the object stores the result encrypted, and no name in the clear', async () => {
    const person = await enrolled({ push: false })
    const login = await approvedFromPage(person)
    const dump = await runInDurableObject(loginObject(login.sessionId), (_o, { storage }) =>
      JSON.stringify(storage.sql.exec('SELECT * FROM login').toArray()),
    )
    for (const secret of ['Jean', 'Dupont', '1988', login.code, 'eyJ']) {
      expect(dump).not.toContain(secret)
    }
  })
})
