/**
 * The attempts of one login on our own pages: each closes the last, ten minutes and eleven attempts at most, one push and
 * one audit row (5-security 357, 210, 309).
 */
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { expectAuthz, expectPage, mistype, wait } from './hosted.ts'
import {
  approve,
  type Client,
  formIn,
  landingOf,
  pageId,
  redeem,
  registerClient,
  Tab,
  waitingIn,
} from './relying-party.ts'
import { dumpObject, watchObjects } from './storage.ts'
import {
  type Answer,
  enrolled,
  eventually,
  freshAddress,
  loginAudit,
  loginObject,
  type Person,
  scriptPush,
  storedLogin,
} from './world.ts'

let client: Client
let person: Person
let tab: Tab
beforeEach(async () => {
  client = await registerClient()
  person = await enrolled({ push: false })
  tab = new Tab()
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

/** Asks for the next code; each time from another address, for the limit of one is the subject of its own test. */
function again(page: Answer, tokenId?: string): Promise<Answer> {
  const form = { ...formIn(page.body, '/login/address'), ...(tokenId && { tokenId }) }
  return tab.send('POST', '/login/address', form, { 'CF-Connecting-IP': freshAddress() })
}

/** Runs the alarm of a login whenever it is due, until `seconds` from now, and leaves the clock there. */
async function sweep(sessionId: string, seconds: number): Promise<void> {
  wait(0)
  const end = Date.now() + seconds * 1000
  for (;;) {
    const due = await runInDurableObject(loginObject(sessionId), (_object, { storage }) =>
      storage.getAlarm(),
    )
    if (due === null || due > end) break
    vi.setSystemTime(Math.max(Date.now(), due))
    await runDurableObjectAlarm(loginObject(sessionId))
  }
  vi.setSystemTime(end)
}

function contents(sessionId: string): Promise<string> {
  return dumpObject(loginObject(sessionId))
}

describe('the next attempt', () => {
  test('357 attempts: a new code, nonce and minute; the closed attempt is worth nothing', async () => {
    const first = await tab.begin(person.tokenId)
    const { sessionId } = waitingIn(first)
    const { body: old } = await person.claim(sessionId)
    const { attempt: one } = (await storedLogin(sessionId)) ?? {}
    wait(50)
    const second = await again(first)
    expectPage(second, 200, 'login-pushing')
    expect(waitingIn(second).sessionId).toBe(sessionId)
    const stored = await storedLogin(sessionId)
    expect(stored).toMatchObject({ state: 'pending', claimedAt: null, attempt: { number: 2 } })
    expect(stored?.attempt.deadline).toBe(Date.now() + 60_000)
    for (const member of ['nonce', 'salt'] as const) {
      expect(stored?.attempt[member]).not.toBe(one?.[member])
    }
    // STMT, nothing counted, nothing changed.
    const { code } = waitingIn(second)
    for (const statement of [
      await person.approve(sessionId, old),
      await person.approve(sessionId, { ...old, otp: code }),
      await person.deny(sessionId, old.nonce),
    ]) {
      expect([statement.status, statement.body.code]).toEqual([401, 'invalid_statement'])
    }
    expect(await storedLogin(sessionId)).toEqual(stored)
    // The new nonce with the old code is a wrong code.
    const { body: claimed } = await person.claim(sessionId)
    expect(claimed.otp).toBe(code)
    if (old.otp !== code) {
      const mixed = await person.approve(sessionId, { ...claimed, otp: old.otp })
      expect(mixed.body.code).toBe('invalid_otp')
    }
    expect((await person.approve(sessionId, claimed)).status).toBe(200)
    const { parameters } = landingOf(await tab.press(second, '/login/continue'))
    expect((await redeem(client, parameters.code)).status).toBe(200)
  })

  test('357 attempts: another number closes the login of the first', async () => {
    const start = await tab.authorize()
    const other = await enrolled({ push: false })
    const first = await tab.type(start, other.tokenId)
    const { sessionId } = waitingIn(first)
    const { body: claimed } = await other.claim(sessionId)
    const second = await tab.type(start, person.tokenId)
    expect(waitingIn(second).sessionId).toBe(sessionId)
    expect((await other.approve(sessionId, claimed)).body.code).toBe('invalid_statement')
    expect((await other.claim(sessionId)).body.code).toBe('session_not_found')
    await approve(person, second)
    const { parameters } = landingOf(await tab.press(second, '/login/continue'))
    const { body } = await redeem(client, parameters.code)
    expect(JSON.parse(atob(body.id_token.split('.')[1])).sub).toBe(person.tokenId)
  })

  test('357 attempts: after three wrong codes, and after the minute', async () => {
    const first = await tab.begin(person.tokenId)
    const { sessionId } = waitingIn(first)
    await mistype(person, first)
    const failed = await tab.press(first, '/login/continue')
    expectPage(failed, 200, 'login-failed')
    const second = await again(failed)
    expect(await storedLogin(sessionId)).toMatchObject({
      state: 'pending',
      rejection: null,
      attempt: { number: 2, wrongCodes: 0 },
    })
    wait(60)
    const expired = await tab.press(second, '/login/continue')
    expectPage(expired, 200, 'login-expired')
    const third = await again(expired)
    await approve(person, third)
    expect(landingOf(await tab.press(third, '/login/continue')).parameters.code).toBeDefined()
    expect(await eventually(() => loginAudit(sessionId))).toMatchObject([{ outcome: 'approved' }])
  })

  test('357 attempts: the socket of the closed attempt ends, the next one has the new code', async () => {
    const first = await tab.begin(person.tokenId)
    const socket = await tab.socket(first)
    await socket.event('otp_ready')
    const second = await again(first)
    expect((await socket.closed).code).toBe(1000)
    expect(socket.events.map(({ type }) => type)).toEqual(['otp_ready'])
    const next = await tab.socket(second)
    expect((await next.event('otp_ready')).autoPassword).toBe(waitingIn(second).code)
  })

  test('357 attempts: the first and ten more, then the page refuses', async () => {
    let page = await tab.begin(person.tokenId)
    const { sessionId } = waitingIn(page)
    const codes = new Set([waitingIn(page).code])
    for (let number = 2; number <= 11; number++) {
      page = await again(page)
      expectPage(page, 200, 'login-pushing')
      codes.add(waitingIn(page).code)
    }
    expect(codes.size).toBeGreaterThan(9)
    const login = await storedLogin(sessionId)
    expect(login?.attempt.number).toBe(11)
    expectPage(await again(page), 400, 'login-over')
    expectPage(await again(page, crypto.randomUUID()), 400, 'login-over')
    expect(await storedLogin(sessionId)).toEqual(login)
    // The last one is as good as any.
    await approve(person, page)
    expect(landingOf(await tab.press(page, '/login/continue')).parameters.code).toBeDefined()
  })

  test('357 attempts: none after ten minutes from the request, however late the last began', async () => {
    const start = await tab.authorize()
    wait(599)
    const late = await tab.type(start, person.tokenId)
    expectPage(late, 200, 'login-pushing')
    wait(1)
    expectPage(await again(late), 400, 'login-over')
    expectPage(await tab.type(start, person.tokenId), 400, 'login-over')
    // The one that is open may still be answered.
    await approve(person, late)
    expect(landingOf(await tab.press(late, '/login/continue')).parameters.code).toBeDefined()
  })

  test('357 attempts: a first page that is ten minutes old begins nothing', async () => {
    const start = await tab.authorize()
    wait(600)
    const requests = watchObjects()
    expectPage(await tab.type(start, person.tokenId), 400, 'login-over')
    expect(requests).toEqual([])
    expectAuthz(await tab.press(start, '/login/cancel'), 'access_denied')
  })
})

describe('a form that is sent twice', () => {
  test('357 attempts: one attempt and one push, from the first page and from the second', async () => {
    const pushed = await enrolled()
    const start = await tab.authorize()
    const sent = await Promise.all([1, 2, 3].map(() => tab.type(start, pushed.tokenId)))
    const [first] = sent
    if (first === undefined) throw new Error('no page')
    for (const page of sent) expect(waitingIn(page)).toEqual(waitingIn(first))
    await eventually(() => pushed.pushes())
    await scheduler.wait(100)
    expect(await pushed.pushes()).toHaveLength(1)
    expect((await pushed.pending()).body).toHaveLength(1)

    const more = await Promise.all([again(first), again(first)])
    expect(new Set(more.map((page) => waitingIn(page).code)).size).toBe(1)
    expect((await storedLogin(waitingIn(first).sessionId))?.attempt.number).toBe(2)
    await eventually(async () => (await pushed.pushes()).length > 1)
    await scheduler.wait(100)
    expect(await pushed.pushes()).toHaveLength(2)
    expect((await pushed.pending()).body).toHaveLength(1)
  })

  test('183 184 attempts: a fourth push in ten minutes stays away; the page is the same', async () => {
    const pushed = await enrolled()
    let page = await tab.begin(pushed.tokenId)
    for (let number = 2; number <= 5; number++) {
      // Each push is on its way before the next attempt.
      await eventually(async () => (await pushed.pushes()).length >= Math.min(number - 1, 3))
      page = await again(page)
      expectPage(page, 200, 'login-pushing')
    }
    await scheduler.wait(200)
    expect(await pushed.pushes()).toHaveLength(3)
    // The phone finds the login without a push.
    const { sessionId } = waitingIn(page)
    expect((await pushed.pending()).body).toMatchObject([{ sessionId }])
    await approve(pushed, page)
    expect(landingOf(await tab.press(page, '/login/continue')).parameters.code).toBeDefined()
  })

  test('290 attempts: a push that fails is not told to the page', async () => {
    const pushed = await enrolled()
    await scriptPush(pushed.fcmToken ?? '', [{ status: 404 }])
    const page = await tab.begin(pushed.tokenId)
    const socket = await tab.socket(page)
    await socket.event('otp_ready')
    await scheduler.wait(200)
    expect(socket.events.map(({ type }) => type)).toEqual(['otp_ready'])
  })
})

describe('what remains', () => {
  const endings: [string, object, (page: Answer) => Promise<unknown>][] = [
    ['nobody answered', { outcome: 'expired' }, async () => {}],
    [
      'three codes were wrong',
      { outcome: 'rejected', reason: 'wrong_code' },
      (page) => mistype(person, page),
    ],
    ['it was approved and left', { outcome: 'approved' }, (page) => approve(person, page)],
    [
      'it was approved and continued, but never redeemed',
      { outcome: 'approved' },
      async (page) => {
        await approve(person, page)
        await tab.press(page, '/login/continue')
      },
    ],
    [
      'it was declined',
      { outcome: 'rejected', reason: 'declined' },
      async (page) => {
        const { sessionId } = waitingIn(page)
        await person.deny(sessionId, (await person.claim(sessionId)).body.nonce)
      },
    ],
    [
      'the browser cancelled',
      { outcome: 'rejected', reason: 'cancelled' },
      (page) => tab.press(page, '/login/cancel'),
    ],
    [
      'the level was not met',
      { outcome: 'rejected', reason: 'insufficient_trust_level' },
      async (page) => {
        const { sessionId } = waitingIn(page)
        await person.approve(sessionId, (await person.claim(sessionId)).body)
      },
    ],
  ]
  test.each(endings)(
    '309 332 attempts: %s, after several attempts: one audit row, and storage empty in 15 minutes',
    async (name, outcome, finish) => {
      const acr_values =
        name === 'the level was not met' ? 'urn:idtokenseal:acr:face-oob-high' : undefined
      wait(0)
      const began = Date.now()
      let page = await tab.begin(person.tokenId, { acr_values })
      const { sessionId } = waitingIn(page)
      page = await again(page)
      await sweep(sessionId, 61)
      page = await again(await tab.press(page, '/login/continue'))
      await mistype(person, page)
      page = await again(await tab.press(page, '/login/continue'))
      expect(await loginAudit(sessionId)).toEqual([])
      await finish(page)
      expect(await contents(sessionId)).not.toBe('')
      await sweep(sessionId, (began + 15 * 60_000 - Date.now()) / 1000)
      expect(await contents(sessionId)).toBe('')
      expect(await loginAudit(sessionId)).toMatchObject([outcome])
      expect(await runDurableObjectAlarm(loginObject(sessionId))).toBe(false)
    },
  )

  test('309 attempts: the last attempt at the last second, claimed: empty in 15 minutes', async () => {
    wait(0)
    const began = Date.now()
    const start = await tab.authorize()
    wait(599)
    const page = await tab.type(start, person.tokenId)
    const { sessionId } = waitingIn(page)
    wait(59)
    const { body: claimed } = await person.claim(sessionId)
    wait(59)
    expect((await person.approve(sessionId, claimed)).status).toBe(200)
    await sweep(sessionId, (began + 15 * 60_000 - Date.now()) / 1000)
    expect(await contents(sessionId)).toBe('')
    expect(await loginAudit(sessionId)).toHaveLength(1)
  })

  test('210 attempts: each attempt tells its socket once that it expired', async () => {
    wait(0)
    let page = await tab.begin(person.tokenId)
    const { sessionId } = waitingIn(page)
    for (let number = 1; number <= 3; number++) {
      const socket = await tab.socket(page)
      await socket.event('otp_ready')
      wait(60)
      await runDurableObjectAlarm(loginObject(sessionId))
      expect((await socket.closed).code).toBe(1000)
      expect(socket.events.map(({ type }) => type)).toEqual(['otp_ready', 'expired'])
      const late = await tab.socket(page)
      await late.event('expired')
      expect((await late.closed).code).toBe(1000)
      page = await again(await tab.press(page, '/login/continue'))
    }
    expect(await loginAudit(sessionId)).toEqual([])
  })

  test('239 attempts: while the alarm is late, no result is given that is worth nothing', async () => {
    const approved = await tab.begin(person.tokenId)
    await approve(person, approved)
    const open = await tab.begin(person.tokenId)
    wait(60)
    expectPage(await tab.press(approved, '/login/continue'), 400, 'login-over')
    expectPage(await tab.press(open, '/login/continue'), 200, 'login-expired')
    wait(540)
    // No more attempts: nothing is offered that would be refused.
    expectPage(await tab.press(open, '/login/continue'), 400, 'login-over')
    expectPage(await again(open), 400, 'login-over')
    expectAuthz(await tab.press(open, '/login/cancel'), 'access_denied')
  })

  test('306 attempts: the object is evicted between each pair of steps', async () => {
    const restart = (sessionId: string) => evictDurableObject(loginObject(sessionId))
    const first = await tab.begin(person.tokenId)
    const { sessionId } = waitingIn(first)
    await restart(sessionId)
    const second = await again(first)
    expect(waitingIn(second).sessionId).toBe(sessionId)
    await restart(sessionId)
    expect(waitingIn(await tab.press(second, '/login/continue'))).toEqual(waitingIn(second))
    await restart(sessionId)
    await approve(person, second)
    await restart(sessionId)
    const { parameters } = landingOf(await tab.press(second, '/login/continue'))
    await restart(sessionId)
    expectPage(await tab.press(second, '/login/continue'), 409, 'login-completed')
    expect((await redeem(client, parameters.code)).status).toBe(200)
    expect(await eventually(() => loginAudit(sessionId))).toHaveLength(1)
  })

  const ended: [string, (page: Answer) => Promise<unknown>][] = [
    [
      'redeemed',
      async (page) => {
        await approve(person, page)
        const { parameters } = landingOf(await tab.press(page, '/login/continue'))
        expect((await redeem(client, parameters.code)).status).toBe(200)
      },
    ],
    [
      'declined and forgotten',
      async (page) => {
        const { sessionId } = waitingIn(page)
        await person.deny(sessionId, (await person.claim(sessionId)).body.nonce)
        await sweep(sessionId, 120)
      },
    ],
    [
      'cancelled and forgotten',
      async (page) => {
        await tab.press(page, '/login/cancel')
        await sweep(waitingIn(page).sessionId, 120)
      },
    ],
  ]
  test.each(ended)(
    '044 332 attempts: %s, a login never begins again, whatever the browser forgets',
    async (_name, finish) => {
      const page = await tab.begin(person.tokenId)
      const { sessionId } = waitingIn(page)
      await finish(page)
      await eventually(() => loginAudit(sessionId))
      expect(await contents(sessionId)).toBe('')
      tab.cookies.delete('__Host-done')
      const answer = await again(page)
      expect([answer.status, pageId(answer)]).not.toEqual([200, 'login-pushing'])
      expect(await contents(sessionId)).toBe('')
    },
  )
})
