/** A phone declines, and what the person's inbox is told of every end (5-security 4.16). */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  BAR_ORIGIN,
  type Bar,
  connect,
  deployment,
  enrolled,
  eventually,
  freshAddress,
  loginAudit,
  now,
  openBar,
  type Person,
  storedLogin,
  type Watched,
} from './world.ts'

let bar: Bar
beforeEach(async () => {
  bar = await openBar()
})
afterEach(() => {
  vi.useRealTimers()
})

/** A login that is pushed, registered, watched by a page and claimed. */
async function opened(person: Person): Promise<Watched> {
  const started = await deployment({})(
    '/auth/initiate',
    { serviceId: bar.serviceId, tokenId: person.tokenId },
    { ...bar.basic, 'CF-Connecting-IP': freshAddress() },
  )
  const { sessionId } = started.body
  const browser = await connect(started.body)
  await browser.event('otp_ready')
  const claimed = (await person.claim(sessionId)).body
  await browser.event('claimed')
  return { sessionId, browser, claimed }
}

function types({ browser }: Watched): (string | undefined)[] {
  return browser.events.map(({ type }) => type)
}

async function listed(person: Person): Promise<string[]> {
  const { body } = await person.pending()
  return body.map(({ sessionId }: { sessionId: string }) => sessionId)
}

/** Whether a new login of `person` is pushed. */
async function isPushed(person: Person): Promise<boolean> {
  const pushed = (await person.pushes()).length
  await deployment({})(
    '/auth/initiate',
    { serviceId: bar.serviceId, tokenId: person.tokenId },
    bar.basic,
  )
  return (await person.pushes()).length > pushed
}

describe('a denial', () => {
  test('224 deny: signed, it ends the login and tells the page once', async () => {
    const person = await enrolled()
    const login = await opened(person)
    const denied = await person.deny(login.sessionId, login.claimed.nonce)
    expect([denied.status, denied.body]).toEqual([200, { status: 'rejected' }])
    expect(await login.browser.closed).toMatchObject({ code: 1000 })
    expect(types(login)).toEqual(['otp_ready', 'claimed', 'rejected'])
    expect(login.browser.events.at(-1)).toEqual({ type: 'rejected', reason: 'declined' })
    const rows = await eventually(() => loginAudit(login.sessionId))
    expect(rows).toMatchObject([
      { outcome: 'rejected', reason: 'declined', device: person.thumbprint, scopes: [] },
    ])
  })

  test('224 deny: unsigned, misaddressed or of another nonce, it changes nothing', async () => {
    const person = await enrolled({ push: false })
    const stranger = await enrolled({ push: false })
    const login = await opened(person)
    const { sessionId } = login
    const { nonce } = login.claimed
    for (const refused of [
      await person.deny(sessionId, nonce, 'declined', { key: stranger.keyPair.privateKey }),
      await stranger.deny(sessionId, nonce),
      await stranger.deny(sessionId, nonce, 'not_me', { payload: { tokenId: person.tokenId } }),
      await person.deny(sessionId, 'AAAAAAAAAAAAAAAAAAAAAA'),
      await person.deny(sessionId, nonce, 'bored'),
    ]) {
      expect([refused.status, refused.body.code]).toEqual([401, 'invalid_statement'])
    }
    expect(await storedLogin(sessionId)).toMatchObject({ state: 'claimed', rejection: null })
    expect((await person.approve(sessionId, login.claimed)).status).toBe(200)
    expect(types(login)).not.toContain('rejected')
  })

  test('223 deny: after an approval it is too late, and the other way round', async () => {
    const person = await enrolled()
    const a = await opened(person)
    expect((await person.approve(a.sessionId, a.claimed)).status).toBe(200)
    const late = await person.deny(a.sessionId, a.claimed.nonce)
    expect([late.status, late.body.code]).toEqual([409, 'session_resolved'])
    expect(await storedLogin(a.sessionId)).toMatchObject({ state: 'approved', rejection: null })

    const b = await opened(person)
    expect((await person.deny(b.sessionId, b.claimed.nonce)).status).toBe(200)
    const approved = await person.approve(b.sessionId, b.claimed)
    expect([approved.status, approved.body.code]).toEqual([409, 'session_resolved'])
    expect(await storedLogin(b.sessionId)).toMatchObject({ state: 'rejected', result: null })
    await b.browser.closed
    expect(types(b)).toEqual(['otp_ready', 'claimed', 'rejected'])
  })

  test('222 deny: the identical denial again gets the identical answer, another one does not', async () => {
    const person = await enrolled({ push: false })
    const { sessionId, claimed, browser } = await opened(person)
    for (let i = 0; i < 3; i++) {
      // Signed anew and later each time: what counts is what was decided.
      const later = { payload: { iat: now() + i } }
      const denied = await person.deny(sessionId, claimed.nonce, 'declined', later)
      expect([denied.status, denied.body]).toEqual([200, { status: 'rejected' }])
    }
    const other = await person.deny(sessionId, claimed.nonce, 'not_me')
    expect([other.status, other.body.code]).toEqual([409, 'session_resolved'])
    await browser.closed
    expect(browser.events.filter(({ type }) => type === 'rejected')).toHaveLength(1)
    expect(await eventually(() => loginAudit(sessionId))).toHaveLength(1)
  })
})

describe('"not me"', () => {
  test('225 deny: it is audited, silences pushes at once, and the page learns no more than of a denial', async () => {
    const person = await enrolled()
    const login = await opened(person)
    expect(await person.pushes()).toHaveLength(1)
    const denied = await person.deny(login.sessionId, login.claimed.nonce, 'not_me')
    expect([denied.status, denied.body]).toEqual([200, { status: 'rejected' }])
    expect(await login.browser.event('rejected')).toEqual({ type: 'rejected', reason: 'declined' })
    expect(await isPushed(person)).toBe(false)
    expect(await eventually(() => loginAudit(login.sessionId))).toMatchObject([
      { outcome: 'rejected', reason: 'not_me' },
    ])
  })

  test('225 deny: it ends the pushed login of the same person, and takes it out of the inbox', async () => {
    const person = await enrolled()
    const pushed = await opened(person)
    const second = await opened(person)
    const bystander = await enrolled()
    const elsewhere = await opened(bystander)
    expect(await person.pushes()).toHaveLength(1)

    await person.deny(second.sessionId, second.claimed.nonce, 'not_me')
    // Answered means in force: nothing is waited for here.
    expect(await storedLogin(pushed.sessionId)).toMatchObject({
      state: 'rejected',
      rejection: 'not_me',
    })
    await pushed.browser.closed
    expect(types(pushed)).toEqual(['otp_ready', 'claimed', 'rejected'])
    const late = await person.approve(pushed.sessionId, pushed.claimed)
    expect([late.status, late.body.code]).toEqual([409, 'session_resolved'])
    expect(await listed(person)).toEqual([])
    expect((await bystander.approve(elsewhere.sessionId, elsewhere.claimed)).status).toBe(200)
  })

  test('225 deny: a success ends the silence', async () => {
    const person = await enrolled()
    const first = await opened(person)
    await person.deny(first.sessionId, first.claimed.nonce, 'not_me')
    const own = await opened(person)
    expect((await person.approve(own.sessionId, own.claimed)).status).toBe(200)
    await eventually(async () => !(await listed(person)).includes(own.sessionId))
    expect(await isPushed(person)).toBe(true)
  })
})

describe('the inbox is told of every end', () => {
  const ends: [string, (person: Person, login: Watched) => Promise<unknown>][] = [
    ['an approval', (person, { sessionId, claimed }) => person.approve(sessionId, claimed)],
    ['a denial', (person, { sessionId, claimed }) => person.deny(sessionId, claimed.nonce)],
    [
      'a third wrong code',
      async (person, { sessionId, claimed }) => {
        const otp = claimed.otp === '000000' ? '000001' : '000000'
        for (let i = 0; i < 3; i++) await person.approve(sessionId, { ...claimed, otp })
      },
    ],
    [
      'a service that was switched off',
      async (person, { sessionId, claimed }) => {
        await openBar({ enabled: false })
        expect((await person.approve(sessionId, claimed)).body.code).toBe('service_disabled')
        await openBar({ enabled: true })
      },
    ],
  ]
  test.each(ends)(
    '183 deny: after %s the login is off the list and the next one is pushed',
    async (_name, finish) => {
      const person = await enrolled()
      const login = await opened(person)
      expect(await listed(person)).toEqual([login.sessionId])
      expect(await person.pushes()).toHaveLength(1)
      await finish(person, login)
      await login.browser.closed
      await eventually(async () => (await listed(person)).length === 0)
      expect(await listed(person)).toEqual([])
      expect(await isPushed(person)).toBe(true)
    },
  )

  test('183 deny: an unanswered login makes room when its time is over', async () => {
    const person = await enrolled()
    const start = Date.now()
    await deployment({})(
      '/auth/initiate',
      { serviceId: bar.serviceId, tokenId: person.tokenId },
      { Origin: BAR_ORIGIN, 'CF-Connecting-IP': freshAddress() },
    )
    vi.useFakeTimers({ toFake: ['Date'] })
    vi.setSystemTime(start + 59_000)
    expect(await isPushed(person)).toBe(false)
    vi.setSystemTime(start + 61_000)
    expect(await isPushed(person)).toBe(true)
  })

  test('354 deny: a claimed login still blocks the next push after its first minute', async () => {
    const person = await enrolled()
    const start = Date.now()
    vi.useFakeTimers({ toFake: ['Date'] })
    vi.setSystemTime(start)
    const started = await deployment({})(
      '/auth/initiate',
      { serviceId: bar.serviceId, tokenId: person.tokenId },
      bar.basic,
    )
    vi.setSystemTime(start + 50_000)
    await person.claim(started.body.sessionId)
    vi.setSystemTime(start + 100_000)
    expect(await isPushed(person)).toBe(false)
    vi.setSystemTime(start + 111_000)
    expect(await isPushed(person)).toBe(true)
  })
})
