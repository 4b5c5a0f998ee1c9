/** What the clock, the alarm and a restart do to a login (5-security 4.17, 4.23). */
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  BAR_ORIGIN,
  type Bar,
  type Browser,
  connect,
  deployment,
  enrolled,
  eventually,
  freshAddress,
  inboxObject,
  initiate,
  initiateFromPage,
  loginAudit,
  loginObject,
  openBar,
  type Person,
  post,
  storedLogin,
} from './world.ts'

let bar: Bar
let person: Person
let start: number
beforeEach(async () => {
  bar = await openBar()
  person = await enrolled({ push: false })
  start = Date.now()
  vi.useFakeTimers({ toFake: ['Date'] })
  vi.setSystemTime(start)
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

/** Moves the clock of Worker and objects to `seconds` after the start of the test. */
function clockAt(seconds: number): void {
  vi.setSystemTime(start + seconds * 1000)
}

function types({ events }: Browser): (string | undefined)[] {
  return events.map(({ type }) => type).filter((type) => type !== 'push_failed')
}

/** Everything the object of a login stores, as text. */
function dump(sessionId: string): Promise<string> {
  return runInDurableObject(loginObject(sessionId), async (_object, { storage }) => {
    const tables = storage.sql
      .exec<{ name: string }>("SELECT name FROM sqlite_master WHERE type = 'table'")
      .toArray()
      .map(({ name }) => name)
      .filter((name) => !name.startsWith('_cf_'))
    const rows = tables.map((name) => storage.sql.exec(`SELECT * FROM "${name}"`).toArray())
    const values = [...(await storage.list())]
    const alarm = await storage.getAlarm()
    return tables.length + values.length === 0 && alarm === null
      ? ''
      : JSON.stringify({ tables, rows, values, alarm })
  })
}

/** Runs the alarm of a login as often as it asks to, the clock moving along; at most until `seconds`. */
async function sweepUntil(sessionId: string, seconds: number): Promise<void> {
  for (;;) {
    const due = await runInDurableObject(loginObject(sessionId), (_o, { storage }) =>
      storage.getAlarm(),
    )
    if (due === null || due > start + seconds * 1000) break
    vi.setSystemTime(Math.max(Date.now(), due))
    await runDurableObjectAlarm(loginObject(sessionId))
  }
  clockAt(seconds)
}

/** How often the alarm throws when it is run four times. */
async function faults(object: { alarm(): Promise<void> }): Promise<number> {
  let thrown = 0
  for (let i = 0; i < 4; i++) {
    await object.alarm().catch(() => {
      thrown += 1
    })
  }
  return thrown
}

describe('expiry', () => {
  test('210 expiry: the alarm tells the page once, and closes', async () => {
    const { body } = await initiate(bar, person.tokenId)
    const browser = await connect(body)
    await browser.event('otp_ready')
    clockAt(60)
    expect(await runDurableObjectAlarm(loginObject(body.sessionId))).toBe(true)
    expect(await browser.closed).toEqual({ code: 1000, reason: 'resolved' })
    expect(types(browser)).toEqual(['otp_ready', 'expired'])
    expect(await eventually(() => loginAudit(body.sessionId))).toMatchObject([
      { outcome: 'expired', reason: null, endedAt: start + 60_000 },
    ])
  })

  test('210 expiry: the alarm of the first deadline leaves a claimed login alone', async () => {
    const { body } = await initiate(bar, person.tokenId)
    clockAt(50)
    const claimed = (await person.claim(body.sessionId)).body
    clockAt(60)
    await runDurableObjectAlarm(loginObject(body.sessionId))
    expect(await storedLogin(body.sessionId)).toMatchObject({ state: 'claimed' })
    clockAt(109)
    expect((await person.approve(body.sessionId, claimed)).status).toBe(200)
  })

  test('239 expiry: five minutes without the alarm, and nothing is accepted', async () => {
    const { body } = await initiate(bar, person.tokenId)
    const claimed = (await person.claim(body.sessionId)).body
    const approval = await person.approval(body.sessionId, claimed)
    clockAt(360)
    for (const late of [
      await post('/auth/verify', approval),
      await person.claim(body.sessionId),
      await person.deny(body.sessionId, claimed.nonce),
      await post('/auth/result', { sessionId: body.sessionId, code: 'abc' }, bar.basic),
    ]) {
      expect([late.status, late.body.code]).toEqual([404, 'session_not_found'])
    }
    const browser = await connect(body)
    expect(await browser.closed).toMatchObject({ code: 4004 })
    expect(browser.events).toEqual([])
    expect((await person.pending()).body).toEqual([])
    expect(await storedLogin(body.sessionId)).toMatchObject({ state: 'claimed', decision: null })
  })

  test('239 expiry: a late alarm settles at the deadline, not at its own time', async () => {
    const { body } = await initiate(bar, person.tokenId)
    clockAt(360)
    await runDurableObjectAlarm(loginObject(body.sessionId))
    expect(await eventually(() => loginAudit(body.sessionId))).toMatchObject([
      { outcome: 'expired', endedAt: start + 60_000 },
    ])
    expect(await dump(body.sessionId)).toBe('')
  })

  test('240 expiry: the alarm twice at once and again: one event, one row', async () => {
    const { body } = await initiate(bar, person.tokenId)
    const browser = await connect(body)
    await browser.event('otp_ready')
    clockAt(60)
    await runInDurableObject(loginObject(body.sessionId), async (object) => {
      await Promise.all([object.alarm(), object.alarm()])
      await object.alarm()
    })
    await browser.closed
    expect(types(browser)).toEqual(['otp_ready', 'expired'])
    await eventually(() => loginAudit(body.sessionId))
    await evictDurableObject(loginObject(body.sessionId))
    clockAt(125)
    await runDurableObjectAlarm(loginObject(body.sessionId))
    expect(await loginAudit(body.sessionId)).toHaveLength(1)
    expect(await dump(body.sessionId)).toBe('')
  })

  test('240 expiry: an alarm that throws four times succeeds the fifth, and storage is empty', async () => {
    const { body } = await initiate(bar, person.tokenId)
    const browser = await connect(body)
    await browser.event('otp_ready')
    clockAt(60)
    // First the clock is away and nothing has happened yet; later the emptying fails half-way.
    const early = await runInDurableObject(loginObject(body.sessionId), (object) => {
      vi.spyOn(Date, 'now').mockImplementation(() => {
        throw new Error('away')
      })
      return faults(object)
    })
    vi.restoreAllMocks()
    expect(early).toBe(4)
    expect(await storedLogin(body.sessionId)).toMatchObject({ state: 'pending' })
    await runDurableObjectAlarm(loginObject(body.sessionId))
    await browser.closed
    expect(types(browser)).toEqual(['otp_ready', 'expired'])
    await eventually(() => loginAudit(body.sessionId))

    clockAt(120)
    const late = await runInDurableObject(loginObject(body.sessionId), (object, { storage }) => {
      vi.spyOn(storage, 'deleteAll').mockImplementation(() => Promise.reject(new Error('away')))
      return faults(object)
    })
    vi.restoreAllMocks()
    expect(late).toBe(4)
    await runInDurableObject(loginObject(body.sessionId), (object) => object.alarm())
    expect(await loginAudit(body.sessionId)).toHaveLength(1)
    expect(await dump(body.sessionId)).toBe('')
    // No alarm is left, so nothing runs for ever.
    expect(await runDurableObjectAlarm(loginObject(body.sessionId))).toBe(false)
  })
})

describe('a login across restarts', () => {
  test('306 restart: the object is evicted between each pair of steps, and the login goes on', async () => {
    const { body } = await initiate(bar, person.tokenId)
    const { sessionId } = body
    const restart = () => evictDurableObject(loginObject(sessionId))
    await restart()
    const browser = await connect(body)
    expect((await browser.event('otp_ready')).autoPassword).toBe(body.autoPassword)
    await restart()
    const claimed = (await person.claim(sessionId)).body
    expect(claimed.otp).toBe(body.autoPassword)
    await browser.event('claimed')
    await restart()
    expect((await person.claim(sessionId)).body).toEqual(claimed)
    await restart()
    expect((await person.approve(sessionId, claimed)).status).toBe(200)
    const { jwt } = await browser.event('approved')
    expect(await browser.closed).toMatchObject({ code: 1000 })
    await restart()
    expect((await person.approve(sessionId, claimed)).status).toBe(200)
    await restart()
    const again = await connect(body)
    expect((await again.event('approved')).jwt).toBe(jwt)
    await restart()
    expect(await eventually(() => loginAudit(sessionId))).toHaveLength(1)
    await sweepUntil(sessionId, 300)
    expect(await dump(sessionId)).toBe('')
    expect(await loginAudit(sessionId)).toHaveLength(1)
  })

  test('306 restart: a login that a page began is redeemed by an object that has just woken', async () => {
    const from = { 'CF-Connecting-IP': freshAddress() }
    const { body } = await initiateFromPage(person.tokenId, {}, from)
    const browser = await connect(body)
    const claimed = (await person.claim(body.sessionId)).body
    await evictDurableObject(loginObject(body.sessionId))
    await person.approve(body.sessionId, claimed)
    const { code } = await browser.event('approved')
    await evictDurableObject(loginObject(body.sessionId))
    const redeem = () => post('/auth/result', { sessionId: body.sessionId, code }, bar.basic)
    expect((await redeem()).status).toBe(200)
    await evictDurableObject(loginObject(body.sessionId))
    expect((await redeem()).status).toBe(404)
  })

  test('306 restart: the inbox keeps its budget', async () => {
    const victim = await enrolled()
    const begin = () =>
      deployment({})(
        '/auth/initiate',
        { serviceId: bar.serviceId, tokenId: victim.tokenId },
        { Origin: BAR_ORIGIN, 'CF-Connecting-IP': freshAddress() },
      )
    await begin()
    await evictDurableObject(await inboxObject(victim.tokenId))
    await begin()
    expect(await victim.pushes()).toHaveLength(1)
    expect((await victim.pending()).body).toHaveLength(2)
  })
})

describe('what remains', () => {
  const endings: [string, (sessionId: string) => Promise<unknown>][] = [
    ['nobody answered', async () => {}],
    ['it was claimed and left', (sessionId) => person.claim(sessionId)],
    [
      'it was approved',
      async (sessionId) => person.approve(sessionId, (await person.claim(sessionId)).body),
    ],
    [
      'it was denied',
      async (sessionId) => person.deny(sessionId, (await person.claim(sessionId)).body.nonce),
    ],
  ]
  test.each(endings)(
    '309 storage: 15 min after the start it is empty when %s',
    async (_name, finish) => {
      const { body } = await initiate(bar, person.tokenId)
      clockAt(55)
      await finish(body.sessionId)
      expect(await dump(body.sessionId)).not.toBe('')
      await sweepUntil(body.sessionId, 900)
      expect(await dump(body.sessionId)).toBe('')
      expect(await loginAudit(body.sessionId)).toHaveLength(1)
      // To ask an empty object grows nothing.
      expect((await person.claim(body.sessionId)).body.code).toBe('session_not_found')
      expect(await dump(body.sessionId)).toBe('')
    },
  )

  test('309 storage: it is empty after 15 min even when D1 never takes the audit row', async () => {
    const { body } = await initiate(bar, person.tokenId)
    const claimed = (await person.claim(body.sessionId)).body
    await person.approve(body.sessionId, claimed)
    // The row of the approval itself may be stored already; this object has never seen that.
    await eventually(() => loginAudit(body.sessionId))
    await evictDurableObject(loginObject(body.sessionId))
    vi.spyOn(env.DB, 'prepare').mockImplementation(() => {
      throw new Error('D1_ERROR: away')
    })
    await sweepUntil(body.sessionId, 600)
    expect(await dump(body.sessionId)).not.toBe('')
    await sweepUntil(body.sessionId, 900)
    expect(await dump(body.sessionId)).toBe('')
  })

  test('309 storage: an audit row that D1 refused is written by the alarm', async () => {
    const { body } = await initiate(bar, person.tokenId)
    const claimed = (await person.claim(body.sessionId)).body
    const prepare = env.DB.prepare.bind(env.DB)
    const refusing = vi.spyOn(env.DB, 'prepare').mockImplementation((query) => {
      if (query.includes('INTO audit')) throw new Error('D1_ERROR: away')
      return prepare(query)
    })
    expect((await person.approve(body.sessionId, claimed)).status).toBe(200)
    await vi.waitFor(() =>
      expect(refusing.mock.calls.flat().some((query) => query.includes('INTO audit'))).toBe(true),
    )
    refusing.mockRestore()
    expect(await loginAudit(body.sessionId)).toEqual([])
    await sweepUntil(body.sessionId, 180)
    expect(await loginAudit(body.sessionId)).toMatchObject([{ outcome: 'approved' }])
    expect(await dump(body.sessionId)).toBe('')
  })

  test('309 storage: an inbox is empty two days after the last login', async () => {
    const { body } = await initiate(bar, person.tokenId)
    await eventually(async () => (await person.pending()).body)
    const inbox = await inboxObject(person.tokenId)
    const { nonce } = (await person.claim(body.sessionId)).body
    await person.deny(body.sessionId, nonce, 'not_me')
    const alarms: number[] = []
    for (;;) {
      const due = await runInDurableObject(inbox, (_o, { storage }) => storage.getAlarm())
      if (due === null || alarms.length > 5) break
      alarms.push(due - start)
      vi.setSystemTime(due)
      await runDurableObjectAlarm(inbox)
    }
    expect(alarms.length).toBeGreaterThan(0)
    expect(alarms.at(-1)).toBeLessThan(50 * 3_600_000)
    const tables = await runInDurableObject(inbox, (_o, { storage }) =>
      storage.sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'inbox'").toArray(),
    )
    expect(tables).toEqual([])
  })
})
