/** Starting a login through the direct door (5-security 4.14). */
import { listDurableObjectIds } from 'cloudflare:test'
import { env, exports } from 'cloudflare:workers'
import { compactDecrypt, decodeJwt } from 'jose'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type Answer,
  BAR_ORIGIN,
  BAR_REGISTRATION,
  type Bar,
  connect,
  deployment,
  enrolled,
  freshAddress,
  ISSUER,
  inboxObject,
  initiate,
  initiateFromPage,
  loginAudit,
  openBar,
  operator,
  type Person,
  post,
  send,
  storedLogin,
} from './world.ts'

const NOBODY = '00000000-0000-4000-8000-000000000000'

/** A page of the bar in a browser of its own begins a login. */
function page(tokenId: string, more: object = {}, headers: Record<string, string> = {}) {
  return initiateFromPage(tokenId, more, { 'CF-Connecting-IP': freshAddress(), ...headers })
}

/** A start that returns when what follows the answer is done too. */
function settledStart(
  body: Record<string, unknown>,
  headers: Record<string, string>,
): Promise<Answer> {
  return deployment({})('/auth/initiate', { serviceId: 'bar-le-central', ...body }, headers)
}

function settledPage(tokenId: string, more: object = {}): Promise<Answer> {
  const headers = { Origin: BAR_ORIGIN, 'CF-Connecting-IP': freshAddress() }
  return settledStart({ tokenId, ...more }, headers)
}

/** Objects that the test before has left behind: a reset empties them, their names stay. */
let before = { logins: 0, inboxes: 0 }

async function objects(): Promise<typeof before> {
  const logins = await listDurableObjectIds(env.LOGIN_SESSION)
  const inboxes = await listDurableObjectIds(env.PHONE_INBOX)
  return { logins: logins.length, inboxes: inboxes.length }
}

/** Logins that this test has begun. */
async function logins(): Promise<number> {
  return (await objects()).logins - before.logins
}

async function inboxes(): Promise<number> {
  return (await objects()).inboxes - before.inboxes
}

/** What the last push of `person` says, once opened. */
async function openedPush(person: Person): Promise<Record<string, unknown>> {
  const jwe = (await person.pushes()).at(-1)?.data.jwe ?? ''
  const { plaintext } = await compactDecrypt(jwe, person.agreement.privateKey)
  return decodeJwt(new TextDecoder().decode(plaintext))
}

let bar: Bar
beforeEach(async () => {
  before = await objects()
  bar = await openBar()
})

describe('who begins', () => {
  test('178 initiate: a registered page gets everything but the code', async () => {
    const person = await enrolled({ push: false })
    const started = await page(person.tokenId)
    expect(started.status).toBe(200)
    expect(Object.keys(started.body).sort()).toEqual([
      'expiresAt',
      'qr',
      'random',
      'sessionId',
      'wsToken',
    ])
    expect(started.body.qr).toEqual({
      url: `${ISSUER}/l#${started.body.sessionId}.`,
      key: expect.stringMatching(/^[\w-]{43}$/),
      now: expect.any(Number),
    })
    expect(Math.abs(started.body.qr.now - Date.now())).toBeLessThan(5000)
    expect(started.headers.get('Cache-Control')).toBe('no-store')
    expect(started.headers.get('Access-Control-Allow-Origin')).toBe(BAR_ORIGIN)
    expect(started.headers.get('Vary')).toBe('Origin')
    expect(started.headers.get('X-Request-Id')).toMatch(/^[0-9a-f-]{36}$/)
    const left = Date.parse(started.body.expiresAt) - Date.now()
    expect(left).toBeGreaterThan(58_000)
    expect(left).toBeLessThanOrEqual(60_000)
    expect(await logins()).toBe(1)
    expect(await loginAudit(started.body.sessionId)).toEqual([])
  })

  test('178 initiate: an authenticated back end gets the code too', async () => {
    const person = await enrolled({ push: false })
    const started = await initiate(bar, person.tokenId)
    expect(started.status).toBe(200)
    expect(Object.keys(started.body).sort()).toEqual([
      'autoPassword',
      'expiresAt',
      'qr',
      'random',
      'sessionId',
      'wsToken',
    ])
    expect(started.body.autoPassword).toMatch(/^\d{6}$/)
    expect(started.headers.get('Cache-Control')).toBe('no-store')
    expect(await logins()).toBe(1)
  })

  test('180 initiate: an authenticated service learns that a tokenId is unknown, revoked or expired', async () => {
    const unknown = await initiate(bar, NOBODY)
    expect([unknown.status, unknown.body.code]).toEqual([404, 'not_found'])

    const revoked = await enrolled({ push: false })
    await operator('POST', '/revoke', { tokenId: revoked.tokenId, reason: 'lost' })
    const refused = await initiate(bar, revoked.tokenId)
    expect([refused.status, refused.body.code]).toEqual([403, 'enrollment_revoked'])

    const expired = await enrolled({ push: false })
    await env.DB.prepare('UPDATE enrollment SET expires_at = 1 WHERE token_id = ?')
      .bind(expired.tokenId)
      .run()
    const late = await initiate(bar, expired.tokenId)
    expect([late.status, late.body.code]).toEqual([403, 'vds_expired'])
    expect(await logins()).toBe(0)
  })

  test('189 initiate: a page of an unregistered origin begins nothing', async () => {
    const person = await enrolled({ push: false })
    await openBar({ origins: ['https://other.example'] }, 'other')
    for (const origin of [
      'https://evil.example',
      'null',
      'http://127.0.0.1:8789/',
      'https://other.example',
      'http://localhost:8789',
    ]) {
      const refused = await page(person.tokenId, {}, { Origin: origin })
      expect([refused.status, refused.body.code]).toEqual([401, 'invalid_client'])
      expect(refused.headers.has('Access-Control-Allow-Origin')).toBe(false)
      // Nor does a back end name an origin that isn't its service's: the phone would show it as verified.
      const lent = await post(
        '/auth/initiate',
        { serviceId: bar.serviceId, tokenId: person.tokenId },
        { ...bar.basic, Origin: origin },
      )
      expect([lent.status, lent.body.code]).toEqual([401, 'invalid_client'])
    }
    const anonymous = await post('/auth/initiate', {
      serviceId: bar.serviceId,
      tokenId: person.tokenId,
    })
    expect([anonymous.status, anonymous.body.code]).toEqual([401, 'invalid_client'])
    expect(await logins()).toBe(0)
  })

  test('189 initiate: the preflight of an unregistered origin is refused', async () => {
    const preflight = (origin: string) =>
      send('OPTIONS', '/auth/initiate', null, {
        Origin: origin,
        'Access-Control-Request-Method': 'POST',
        'Access-Control-Request-Headers': 'content-type',
      })
    const refused = await preflight('https://evil.example')
    expect(refused.status).toBe(403)
    const granted = await preflight(BAR_ORIGIN)
    expect(granted.status).toBe(204)
    expect(granted.headers.get('Access-Control-Allow-Origin')).toBe(BAR_ORIGIN)
    for (const name of ['Allow-Origin', 'Allow-Methods', 'Allow-Headers', 'Allow-Credentials']) {
      expect(refused.headers.has(`Access-Control-${name}`)).toBe(false)
    }
    expect(granted.headers.has('Access-Control-Allow-Credentials')).toBe(false)
  })

  test('185 initiate: the eleventh page of one address in a minute waits; a back end has its own quota', async () => {
    const person = await enrolled({ push: false })
    const from = { 'CF-Connecting-IP': freshAddress() }
    // The platform counts in windows of a minute, and one may end on the way: then ten more fit, and no more.
    let accepted = 0
    let refused = await page(person.tokenId, {}, from)
    for (; refused.status === 200 && accepted < 21; accepted += 1) {
      refused = await page(person.tokenId, {}, from)
    }
    expect(accepted).toBeGreaterThanOrEqual(10)
    expect(accepted).toBeLessThanOrEqual(20)
    expect([refused.status, refused.body.code]).toEqual([429, 'too_many_requests'])
    expect(refused.headers.get('Retry-After')).toMatch(/^\d+$/)
    expect(await logins()).toBe(accepted)
    const backEnd = await post(
      '/auth/initiate',
      { serviceId: bar.serviceId, tokenId: person.tokenId },
      { ...bar.basic, ...from },
    )
    expect(backEnd.status).toBe(200)
  })
})

describe('what is asked', () => {
  test.each([
    ['empty', ''],
    ['of 257 characters', 'a'.repeat(257)],
    ['with a Cyrillic letter', '1111111а-2222-4333-8444-555555555555'],
    ['in full-width digits', '１1111111-2222-4333-8444-555555555555'],
    ['in capitals', '1111111A-2222-4333-8444-555555555555'],
    ['with a trailing dot', '11111111-2222-4333-8444-555555555555.'],
    ['with a trailing space', '11111111-2222-4333-8444-555555555555 '],
    ['with a line end', '11111111-2222-4333-8444-555555555555\n'],
    ['with a null', '11111111-2222-4333-8444-55555555555\u0000'],
    ['that is a number', 11111111],
    ['that is null', null],
  ])(
    '181 initiate: a tokenId %s is refused before anything is asked of D1',
    async (_name, tokenId) => {
      const query = vi.spyOn(env.DB, 'prepare')
      try {
        for (const headers of [bar.basic, { Origin: BAR_ORIGIN, 'CF-Connecting-IP': '::1' }]) {
          const refused = await post(
            '/auth/initiate',
            { serviceId: bar.serviceId, tokenId },
            headers as Record<string, string>,
          )
          expect([refused.status, refused.body.code]).toEqual([400, 'invalid_request'])
        }
        expect(query).not.toHaveBeenCalled()
      } finally {
        query.mockRestore()
      }
      expect(await logins()).toBe(0)
      expect(await inboxes()).toBe(0)
    },
  )

  test('178 initiate: without a tokenId it is for whoever scans it: no code, no inbox, no push', async () => {
    for (const started of [
      await post('/auth/initiate', { serviceId: bar.serviceId }, bar.basic),
      await post(
        '/auth/initiate',
        { serviceId: bar.serviceId },
        { Origin: BAR_ORIGIN, 'CF-Connecting-IP': freshAddress() },
      ),
    ]) {
      expect(started.status).toBe(200)
      expect(Object.keys(started.body).sort()).toEqual([
        ...['expiresAt', 'qr', 'random', 'sessionId', 'wsToken'],
      ])
      expect(await storedLogin(started.body.sessionId)).toMatchObject({
        ...{ state: 'pending', addressee: null, via: null, attempt: { invited: null } },
      })
      const browser = await connect(started.body)
      await scheduler.wait(50)
      expect(browser.events).toEqual([])
    }
    expect([await logins(), await inboxes()]).toEqual([2, 0])
  })

  test.each([
    ['neither service nor Service VDS', { tokenId: NOBODY }],
    ['a registration of somebody named', { purpose: 'register', tokenId: NOBODY }],
  ])('172 initiate: %s is no request', async (_name, body) => {
    const service = 'purpose' in body ? { serviceId: bar.serviceId } : {}
    const refused = await post('/auth/initiate', { ...service, ...body }, bar.basic)
    expect([refused.status, refused.body.code]).toEqual([400, 'invalid_request'])
    expect(await logins()).toBe(0)
  })

  test('182 initiate: scopes absent or empty are the defaults; what the service requires is asked along', async () => {
    const person = await enrolled({ push: false })
    for (const more of [{}, { scopes: [] }, { scopes: ['identity:given_name'] }]) {
      const started = await initiate(bar, person.tokenId, more)
      const { asked } = (await storedLogin(started.body.sessionId)) ?? {}
      expect(asked?.scopes).toEqual(['identity:age_over_18', 'identity:given_name'])
      expect(asked?.requiredScopes).toEqual(['identity:age_over_18'])
    }
  })

  test.each([
    ['unknown', { scopes: ['identity:shoe_size'] }],
    ['above the ceiling', { scopes: ['identity:date_of_birth'] }],
    ['above the ceiling, as a composite', { scopes: ['identity:full'] }],
    ['restricted', { scopes: ['identity:photo'] }],
    ['required and above the ceiling', { requiredScopes: ['identity:document'] }],
  ])('182 initiate: a scope that is %s is refused', async (_name, more) => {
    const person = await enrolled()
    for (const start of [
      await settledStart({ tokenId: person.tokenId, ...more }, bar.basic),
      await settledPage(person.tokenId, more),
    ]) {
      expect([start.status, start.body.code]).toEqual([422, 'invalid_scope'])
    }
    expect(await logins()).toBe(0)
    expect(await person.pushes()).toEqual([])
  })

  test.each([
    ['sessionId', `sess_${'0'.repeat(64)}`],
    ['otp', '000000'],
    ['autoPassword', '000000'],
    ['random', 'AAAAAAAAAAAAAAAAAAAAAA'],
    ['expiresAt', '2099-01-01T00:00:00Z'],
    ['nonce', 'mine'],
    ['begunBy', 'back-end'],
    ['qr', { key: 'mine' }],
    ['trustRequired', false],
    ['vdsRequired', false],
    ['__proto__', { begunBy: 'back-end' }],
  ])('188 initiate: a caller who sends %s is refused', async (member, value) => {
    const person = await enrolled({ push: false })
    const body = `{"serviceId":"bar-le-central","tokenId":"${person.tokenId}","${member}":${JSON.stringify(value)}}`
    const refused = await send('POST', '/auth/initiate', body, {
      'Content-Type': 'application/json',
      ...bar.basic,
    })
    expect([refused.status, refused.body.code]).toEqual([400, 'invalid_request'])
    expect(await logins()).toBe(0)
  })

  test('190 initiate: of the browser the phone learns a family, a system and a country, never a header', async () => {
    const person = await enrolled()
    const agent =
      'Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0 <img src=x onerror=alert(1)>'
    const response = await exports.default.fetch(`${ISSUER}/auth/initiate`, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        Origin: BAR_ORIGIN,
        Referer: `${BAR_ORIGIN}/<script>`,
        'User-Agent': agent,
        'CF-Connecting-IP': freshAddress(),
      },
      body: JSON.stringify({ serviceId: bar.serviceId, tokenId: person.tokenId }),
      cf: { country: 'FR' },
    })
    const { sessionId } = await response.json<{ sessionId: string }>()
    const { body } = await person.claim(sessionId)
    expect(body.context).toEqual({
      browser: 'Firefox on Windows',
      country: 'FR',
      startedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    })
    await vi.waitFor(async () => expect(await person.pushes()).toHaveLength(1))
    expect(await openedPush(person)).toMatchObject({ browser: 'Firefox on Windows', country: 'FR' })
    const said = JSON.stringify([body, await storedLogin(sessionId), await openedPush(person)])
    expect(said).not.toMatch(/onerror|script|Gecko|140\.0/)
  })

  test('190 initiate: 8 KiB of user agent, or none, say nothing', async () => {
    const person = await enrolled({ push: false })
    for (const agent of ['A'.repeat(8192), '<b>"\'&</b>']) {
      const started = await page(person.tokenId, {}, { 'User-Agent': agent })
      const { body } = await person.claim(started.body.sessionId)
      expect(body.context).toMatchObject({ browser: null, country: null })
    }
  })

  test('353 initiate: in transfer mode the code is in the browser only', async () => {
    const person = await enrolled()
    const fromPage = await settledPage(person.tokenId, { confirmation: 'transfer' })
    const browser = await connect(fromPage.body)
    const { autoPassword: code = '' } = await browser.event('otp_ready')
    expect(code).toMatch(/^\d{6}$/)

    const push = await openedPush(person)
    expect(push).toMatchObject({ sessionId: fromPage.body.sessionId })
    const pending = await person.pending()
    expect(pending.body).toEqual([
      { sessionId: fromPage.body.sessionId, expiresAt: fromPage.body.expiresAt },
    ])
    const claimed = await person.claim(fromPage.body.sessionId)
    for (const said of [push, pending.body, claimed.body]) {
      expect(JSON.stringify(said)).not.toContain(code)
      expect(JSON.stringify(said)).not.toContain('otp')
    }
    const wrong = await person.approve(fromPage.body.sessionId, {
      ...claimed.body,
      otp: code === '000000' ? '000001' : '000000',
    })
    expect(wrong.body.code).toBe('invalid_otp')
    const approved = await person.approve(fromPage.body.sessionId, { ...claimed.body, otp: code })
    expect(approved.body).toEqual({ status: 'approved' })
  })

  test('353 initiate: a request can ask for more care than the service is set to, never for less', async () => {
    const person = await enrolled({ push: false })
    const backEnd = await initiate(bar, person.tokenId, { confirmation: 'transfer' })
    expect(backEnd.body.autoPassword).toMatch(/^\d{6}$/)
    expect((await person.claim(backEnd.body.sessionId)).body).not.toHaveProperty('otp')

    const careful = await openBar({ ...BAR_REGISTRATION, confirmation: 'transfer' }, 'careful')
    const asked = await initiate(careful, person.tokenId, { confirmation: 'compare' })
    expect((await person.claim(asked.body.sessionId)).body).not.toHaveProperty('otp')
  })
})

describe('pushes', () => {
  test('183 initiate: a second start while one is pending is not pushed, and the first stays alive', async () => {
    const person = await enrolled()
    const first = await settledPage(person.tokenId)
    const second = await settledPage(person.tokenId)
    expect([first.status, second.status]).toEqual([200, 200])
    expect(Object.keys(second.body)).toEqual(Object.keys(first.body))
    expect(await person.pushes()).toHaveLength(1)
    expect(await openedPush(person)).toMatchObject({ sessionId: first.body.sessionId })
    expect((await person.claim(first.body.sessionId)).status).toBe(200)
    const listed = (await person.pending()).body.map(({ sessionId }: never) => sessionId)
    expect(listed).toEqual([first.body.sessionId, second.body.sessionId])
  })

  test('193 initiate: in quiet mode the outward answer is the same, and nothing is pushed', async () => {
    const person = await enrolled()
    const loud = await settledPage(person.tokenId)
    const { body } = await person.claim(loud.body.sessionId)
    await person.deny(loud.body.sessionId, body.nonce, 'not_me')

    const quiet = await settledPage(person.tokenId)
    expect(quiet.status).toBe(200)
    expect(Object.keys(quiet.body)).toEqual(Object.keys(loud.body))
    expect([...quiet.headers.keys()]).toEqual([...loud.headers.keys()])
    expect(await person.pushes()).toHaveLength(1)
    const browser = await connect(quiet.body)
    await browser.event('otp_ready')
    expect(browser.events.map(({ type }) => type)).toEqual(['otp_ready'])
    // Silence isn't blindness: the phone finds the login when the person looks for it.
    expect((await person.pending()).body).toHaveLength(1)
  })

  test('184 initiate: a flood from many addresses and services brings one push; others are not touched', {
    timeout: 20_000,
  }, async () => {
    const victim = await enrolled()
    const other = await enrolled()
    const services = ['bar-le-central', 'second', 'third']
    for (const serviceId of services.slice(1)) await openBar({}, serviceId)
    const flood = Array.from({ length: 60 }, (_, i) => {
      const headers = { Origin: BAR_ORIGIN, 'CF-Connecting-IP': freshAddress() }
      const serviceId = services[i % 3]
      return deployment({})('/auth/initiate', { serviceId, tokenId: victim.tokenId }, headers)
    })
    const answers = await Promise.all(flood)
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
    expect(await victim.pushes()).toHaveLength(1)
    expect((await victim.pending()).body).toHaveLength(10)

    // The login that the phone was shown is still the victim's to answer.
    const { sessionId } = (await openedPush(victim)) as { sessionId: string }
    const { body } = await victim.claim(sessionId)
    expect((await victim.approve(sessionId, body)).body).toEqual({ status: 'approved' })
    await settledPage(other.tokenId)
    expect(await other.pushes()).toHaveLength(1)
  })

  test('184 initiate: three pushes in ten minutes, however the logins end', async () => {
    const person = await enrolled()
    for (let i = 0; i < 5; i++) {
      const { body } = await settledPage(person.tokenId)
      const claimed = await person.claim(body.sessionId)
      expect((await person.deny(body.sessionId, claimed.body.nonce)).status).toBe(200)
      await vi.waitFor(async () => expect((await person.pending()).body).toEqual([]))
    }
    expect(await person.pushes()).toHaveLength(3)
  })

  test('184 inbox: ten pushes a day, counted in the object', async () => {
    const inbox = await inboxObject(crypto.randomUUID())
    let pushed = 0
    vi.useFakeTimers({ toFake: ['Date'] })
    try {
      for (let i = 0; i < 40; i++) {
        vi.setSystemTime(Date.now() + 20 * 60_000)
        const sessionId = `sess_${String(i).padStart(64, '0')}`
        const login = {
          sessionId,
          deadline: Date.now() + 60_000,
          begunBy: 'page',
          pushable: true,
        } as const
        if (await inbox.start(login)) pushed += 1
      }
    } finally {
      vi.useRealTimers()
    }
    expect(pushed).toBe(10)
  })
})

describe('decoys', () => {
  /** All that a page sees of a login for `tokenId`, the values that are random by design aside. */
  async function outside(tokenId: string) {
    const started = await settledPage(tokenId)
    const browser = await connect(started.body)
    const ready = await browser.event('otp_ready')
    const { sessionId, wsToken, random, expiresAt, qr } = started.body
    return {
      status: started.status,
      headers: [...started.headers].filter(([name]) => name !== 'x-request-id'),
      members: Object.keys(started.body),
      lengths: [sessionId, wsToken, random, expiresAt, ready.autoPassword, qr.url, qr.key].map(
        (value) => String(value).length,
      ),
      sameDeadline: ready.expiresAt === expiresAt,
      ready: Object.keys(ready),
      events: browser.events.map(({ type }) => type),
    }
  }

  test('178 initiate: to a page an unknown, a revoked and an enrolled tokenId look the same', async () => {
    const real = await enrolled()
    const revoked = await enrolled()
    await operator('POST', '/revoke', { tokenId: revoked.tokenId, reason: 'lost' })
    const seen = await outside(real.tokenId)
    expect(seen.status).toBe(200)
    expect(seen.events).toEqual(['otp_ready'])
    expect(await outside(crypto.randomUUID())).toEqual(seen)
    expect(await outside(revoked.tokenId)).toEqual(seen)
    expect(await revoked.pushes()).toEqual([])
    // Work behind the door is alike, too: each has an object and an inbox.
    expect(await logins()).toBe(3)
    expect(await inboxes()).toBe(3)
  })

  test('229 initiate: a page that begins for an expired enrollment gets a decoy, and no phone rings', async () => {
    const person = await enrolled()
    await env.DB.prepare('UPDATE enrollment SET expires_at = 1 WHERE token_id = ?')
      .bind(person.tokenId)
      .run()
    const started = await settledPage(person.tokenId)
    expect(started.status).toBe(200)
    expect(await person.pushes()).toEqual([])
    const claimed = await person.claim(started.body.sessionId)
    expect([claimed.status, claimed.body.code]).toEqual([404, 'session_not_found'])
  })

  test('178 initiate: nobody can claim or approve a decoy, not even whoever enrolls that tokenId now', async () => {
    const started = await page(NOBODY)
    const late = await enrolled({ tokenId: NOBODY, push: false })
    const claimed = await late.claim(started.body.sessionId)
    expect([claimed.status, claimed.body.code]).toEqual([404, 'session_not_found'])
    const stored = await storedLogin(started.body.sessionId)
    const approved = await late.approve(started.body.sessionId, {
      nonce: stored?.attempt.nonce ?? '',
      otp: '000000',
      service: { id: bar.serviceId },
      origin: BAR_ORIGIN,
      scopes: ['identity:age_over_18'],
    })
    expect([approved.status, approved.body.code]).toEqual([401, 'invalid_statement'])
    expect((await storedLogin(started.body.sessionId))?.attempt.wrongCodes).toBe(0)
  })
})

describe('identifiers', () => {
  test('347 initiate: every identifier holds 128 random bits at least, and none comes twice', async () => {
    const person = await enrolled({ push: false })
    const seen = new Set<string>()
    const count = 12
    for (let i = 0; i < count; i++) {
      const { body } = await initiate(bar, person.tokenId)
      const { attempt } = (await storedLogin(body.sessionId)) ?? {}
      expect(body.sessionId).toMatch(/^sess_[0-9a-f]{64}$/)
      expect(body.wsToken).toMatch(/^[\w-]{43}$/)
      expect(body.qr.key).toMatch(/^[\w-]{43}$/)
      for (const value of [body.random, attempt?.nonce, attempt?.salt]) {
        expect(value).toMatch(/^[\w-]{22}$/)
      }
      for (const value of [
        body.sessionId,
        body.wsToken,
        body.qr.key,
        body.random,
        attempt?.nonce,
        attempt?.salt,
      ]) {
        seen.add(String(value))
      }
    }
    expect(seen.size).toBe(count * 6)
  })
})

test('182 initiate: a page can not drop what the service requires', async () => {
  const person = await enrolled({ push: false })
  const from = { 'CF-Connecting-IP': freshAddress() }
  const asked = { scopes: ['identity:given_name'], requiredScopes: [] }
  const { body } = await initiateFromPage(person.tokenId, asked, from)
  const { body: claimed } = await person.claim(body.sessionId)
  expect(claimed.requiredScopes).toEqual(['identity:age_over_18'])
  const bend = { payload: { grantedScopes: ['identity:given_name'] } }
  const approved = await person.approve(body.sessionId, claimed, bend)
  expect([approved.status, approved.body.code]).toEqual([422, 'invalid_scope'])
})
