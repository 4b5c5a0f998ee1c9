/** What a person and a service see while D1 or an object fails, and that nothing happens twice or by halves (5-security 4.23). */
import {
  evictDurableObject,
  listDurableObjectIds,
  runDurableObjectAlarm,
  runInDurableObject,
} from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { LoginSessionObject } from '../../src/login/object.ts'
import { workerWith } from './other-worker.ts'
import { registerClient, Tab, waitingIn } from './relying-party.ts'
import { silently } from './sessions.ts'
import { breakD1, type D1Fault, dumpD1, dumpObject, watchObjects } from './storage.ts'
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
  send,
  storedLogin,
} from './world.ts'

let bar: Bar
let person: Person

beforeEach(async () => {
  bar = await openBar()
  person = await enrolled()
})
afterEach(() => {
  vi.useRealTimers()
})

function expectUnavailable(answer: Answer): void {
  expect(answer.status).toBe(503)
  expect(answer.body).toMatchObject({ code: 'unavailable', status: 503 })
  expect(answer.headers.get('Retry-After')).toMatch(/^\d+$/)
  expect(answer.headers.get('X-Request-Id')).toBeTruthy()
  expect(JSON.stringify(answer.body)).not.toMatch(/D1|SQL|storage|Network/i)
}

/** Waits until the push that follows an answer is over. */
async function rung(times: number): Promise<void> {
  await eventually(async () => (await person.pushes()).length === times)
}

async function claimedLogin() {
  const { body } = await initiate(bar, person.tokenId)
  await rung(1)
  const claimed = await person.claim(body.sessionId)
  expect(claimed.status).toBe(200)
  return { started: body, sessionId: String(body.sessionId), claimed: claimed.body }
}

const FAULTS: D1Fault[] = ['error', 'disconnected']

describe('D1 away', () => {
  test.each(FAULTS)('302 initiate: 503 without a login and without a push (%s)', async (fault) => {
    const ids = async () => [
      ...(await listDurableObjectIds(env.LOGIN_SESSION)).map(String),
      ...(await listDurableObjectIds(env.PHONE_INBOX)).map(String),
    ]
    const before = await ids()
    const heal = breakD1(undefined, fault)
    const requests = watchObjects()
    expectUnavailable(await initiate(bar, person.tokenId))
    const address = { 'CF-Connecting-IP': freshAddress() }
    expectUnavailable(await initiateFromPage(person.tokenId, {}, address))
    heal()
    await scheduler.wait(50)
    expect(requests).toEqual([])
    expect(await ids()).toEqual(before)
    expect(await person.pushes()).toEqual([])
    expect((await initiate(bar, person.tokenId)).status).toBe(200)
    await rung(1)
  })

  test.each(FAULTS)('302 every act that asks D1 is 503 and changes nothing (%s)', async (fault) => {
    const { sessionId, claimed } = await claimedLogin()
    const newcomer = await Person.make()
    const enrollment = await newcomer.enrollBody()
    const before = [await dumpD1(), await storedLogin(sessionId)]
    const heal = breakD1(undefined, fault)
    expectUnavailable(await person.claim(sessionId))
    expectUnavailable(await person.approve(sessionId, claimed))
    expectUnavailable(await person.deny(sessionId, claimed.nonce))
    expectUnavailable(await person.pending())
    expectUnavailable(await post('/enroll', enrollment, { 'CF-Connecting-IP': freshAddress() }))
    expectUnavailable(await post('/auth/result', { sessionId, code: 'x' }, bar.basic))
    expectUnavailable(
      await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' }),
    )
    expectUnavailable(await send('GET', '/.well-known/trust-list'))
    const health = await send('GET', '/health')
    expect(health.status).toBe(503)
    heal()
    expect([await dumpD1(), await storedLogin(sessionId)]).toEqual(before)
  })

  test.each(FAULTS)(
    '303 verify: 503, the attempt is not counted, and the same approval succeeds later (%s)',
    async (fault) => {
      const { sessionId, claimed } = await claimedLogin()
      const approval = await person.approval(sessionId, claimed)
      const wrong = await person.approval(sessionId, claimed, {
        payload: { otp: claimed.otp === '111111' ? '111112' : '111111' },
      })
      const heal = breakD1(undefined, fault)
      for (let i = 0; i < 4; i++) expectUnavailable(await post('/auth/verify', approval))
      // Not even a wrong code counts: nothing is known of who signed it.
      for (let i = 0; i < 4; i++) expectUnavailable(await post('/auth/verify', wrong))
      heal()
      expect(await storedLogin(sessionId)).toMatchObject({
        state: 'claimed',
        attempt: { number: 1, wrongCodes: 0 },
      })
      const approved = await post('/auth/verify', approval)
      expect(approved).toMatchObject({ status: 200, body: { status: 'approved' } })
    },
  )

  test('303 verify: the deadline does not wait for D1', async () => {
    const { sessionId, claimed } = await claimedLogin()
    const approval = await person.approval(sessionId, claimed)
    const heal = breakD1()
    expectUnavailable(await post('/auth/verify', approval))
    heal()
    vi.setSystemTime(Date.now() + 60_001)
    expect(await post('/auth/verify', approval)).toMatchObject({
      status: 404,
      body: { code: 'session_not_found' },
    })
  })

  test('a browser that only listens needs no D1', async () => {
    const { started } = await claimedLogin()
    breakD1()
    const browser = await connect(started)
    await browser.event('claimed')
  })
})

describe('the audit row of a login', () => {
  const intoAudit = (sql: string) => sql.includes('INTO audit')

  test('D1 down at the transition: the outcome stands, and the alarm writes the row, exactly one', async () => {
    const { sessionId, claimed } = await claimedLogin()
    const heal = breakD1(intoAudit)
    expect((await person.approve(sessionId, claimed)).status).toBe(200)
    await scheduler.wait(100)
    const object = loginObject(sessionId)

    // Still down when the object would be emptied: it keeps the row's facts and looks again a minute later.
    vi.setSystemTime(Date.now() + 60_001)
    expect(await runDurableObjectAlarm(object)).toBe(true)
    expect(await dumpObject(object)).not.toBe('')
    heal()
    expect(await loginAudit(sessionId)).toEqual([])

    vi.setSystemTime(Date.now() + 60_001)
    expect(await runDurableObjectAlarm(object)).toBe(true)
    expect(await loginAudit(sessionId)).toEqual([
      expect.objectContaining({ outcome: 'approved', service: 'bar-le-central' }),
    ])
    expect(await dumpObject(object)).toBe('')
    expect(await runDurableObjectAlarm(object)).toBe(false)
  })

  test('an object that forgot having written it writes it again: the row stays one, and so does the line', async () => {
    const { sessionId, claimed } = await claimedLogin()
    const log = vi.spyOn(console, 'log')
    onTestFinished(() => log.mockRestore())
    await person.approve(sessionId, claimed)
    await eventually(async () => (await loginAudit(sessionId)).length > 0)
    const [row] = await loginAudit(sessionId)
    await evictDurableObject(loginObject(sessionId))
    vi.setSystemTime(Date.now() + 60_001)
    await runDurableObjectAlarm(loginObject(sessionId))
    expect(await loginAudit(sessionId)).toEqual([row])
    expect(
      log.mock.calls.filter(([line]) => String(line).includes('"event":"login"')),
    ).toHaveLength(1)
    expect(await dumpObject(loginObject(sessionId))).toBe('')
  })

  /** Rings the alarm of `object` as the platform does: in its time, and saying which time that is. */
  async function ringInTime(object: ReturnType<typeof loginObject>): Promise<void> {
    await runInDurableObject(object, async (instance, { storage }) => {
      const scheduledTime = await storage.getAlarm()
      if (scheduledTime === null) throw new Error('no alarm is set')
      await storage.deleteAlarm()
      vi.setSystemTime(scheduledTime)
      await instance.alarm({ isRetry: false, retryCount: 0, scheduledTime })
    })
    await scheduler.wait(50)
  }

  test.each([false, true])(
    'a page login that nobody answers is written down at its end (evicted: %s)',
    async (evicted) => {
      await registerClient()
      const waiting = await new Tab().begin(person.tokenId)
      const { sessionId } = waitingIn(waiting)
      const object = loginObject(sessionId)
      for (let look = 0; (await dumpObject(object)) !== ''; look++) {
        expect(look).toBeLessThan(4)
        if (evicted) await evictDurableObject(object)
        await ringInTime(object)
      }
      expect(await loginAudit(sessionId)).toEqual([expect.objectContaining({ outcome: 'expired' })])
    },
  )

  test.each([false, true])(
    'a login that nobody answers is written down at its end (evicted: %s)',
    async (evicted) => {
      const { sessionId } = await claimedLogin()
      const object = loginObject(sessionId)
      for (let look = 0; (await dumpObject(object)) !== ''; look++) {
        expect(look).toBeLessThan(4)
        if (evicted) await evictDurableObject(object)
        await ringInTime(object)
      }
      expect(await loginAudit(sessionId)).toEqual([expect.objectContaining({ outcome: 'expired' })])
    },
  )

  test('a silent answer whose row D1 would not take is written down by its sweep', async () => {
    await registerClient()
    const tab = new Tab()
    await tab.login(await enrolled({ push: false }))
    const before = new Set((await listDurableObjectIds(env.LOGIN_SESSION)).map(String))
    const heal = breakD1(intoAudit)
    expect((await silently(tab)).parameters.code).toBeDefined()
    heal()
    const ids = await listDurableObjectIds(env.LOGIN_SESSION)
    const [id] = ids.filter((each) => !before.has(String(each)))
    if (id === undefined) throw new Error('a silent answer has an object')
    const sessionId = `sess_${id}`
    expect(await loginAudit(sessionId)).toEqual([])
    await evictDurableObject(loginObject(sessionId))
    await ringInTime(loginObject(sessionId))
    expect(await loginAudit(sessionId)).toEqual([expect.objectContaining({ outcome: 'approved' })])
  })

  test('the time of the last look says that the row is stored, also to an object that was evicted', async () => {
    for (const [down, asks] of [
      [false, 0],
      [true, 1],
    ] as const) {
      const { sessionId, claimed } = await claimedLogin()
      const heal = down ? breakD1(intoAudit) : () => {}
      await person.approve(sessionId, claimed)
      await scheduler.wait(150)
      heal()
      const object = loginObject(sessionId)
      await evictDurableObject(object)
      const asked = vi.spyOn(env.DB, 'prepare')
      await ringInTime(object)
      expect(asked.mock.calls.filter(([sql]) => intoAudit(sql))).toHaveLength(asks)
      asked.mockRestore()
      expect(await loginAudit(sessionId)).toHaveLength(1)
      expect(await dumpObject(object)).toBe('')
    }
  })

  test('309 D1 down for long: after a quarter of an hour the object is empty all the same', async () => {
    const { sessionId, claimed } = await claimedLogin()
    breakD1(intoAudit)
    await person.approve(sessionId, claimed)
    await scheduler.wait(100)
    const begun = Date.now()
    const object = loginObject(sessionId)
    for (let minute = 1; minute <= 15; minute++) {
      vi.setSystemTime(begun + minute * 60_001)
      await runDurableObjectAlarm(object)
    }
    expect(await dumpObject(object)).toBe('')
  })
})

describe('a batch that fails half-way', () => {
  /** From now on `table` takes no row. */
  async function refuseRowsOf(table: string): Promise<void> {
    await env.DB.prepare(
      `CREATE TRIGGER fault BEFORE INSERT ON ${table} BEGIN SELECT RAISE(ABORT, 'fault'); END`,
    ).run()
  }

  test('305 enrollment: nothing is bound when its last statement fails', async () => {
    const newcomer = await Person.make()
    const body = await newcomer.enrollBody()
    await refuseRowsOf('enrollment_by_address')
    const before = await dumpD1()
    const address = { 'CF-Connecting-IP': freshAddress() }
    expectUnavailable(await post('/enroll', body, address))
    expect(await dumpD1()).toEqual(before)
    await env.DB.prepare('DROP TRIGGER fault').run()
    expect((await post('/enroll', body, address)).status).toBe(200)
  })

  test('305 revocation: without its audit row there is none, and its logins go on', async () => {
    const { sessionId, claimed } = await claimedLogin()
    await refuseRowsOf('audit')
    const before = await dumpD1()
    expectUnavailable(
      await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' }),
    )
    expect(await dumpD1()).toEqual(before)
    await env.DB.prepare('DROP TRIGGER fault').run()
    expect((await person.approve(sessionId, claimed)).status).toBe(200)
  })

  test('305 one device key, two people at once: one is bound, the other gets 409 and no row', async () => {
    const one = await Person.make({ push: false })
    const twin = await Person.make({ push: false })
    const other = new Person(
      twin.tokenId,
      one.keyPair,
      twin.agreement,
      one.thumbprint,
      twin.seal,
      undefined,
    )
    const bodies = [await one.enrollBody(), await other.enrollBody()]
    const answers = await Promise.all(
      bodies.map((body) => post('/enroll', body, { 'CF-Connecting-IP': freshAddress() })),
    )
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409])
    expect(answers.find(({ status }) => status === 409)?.body.code).toBe('key_in_use')
    const rows = await env.DB.prepare('SELECT token_id FROM enrollment WHERE device_thumbprint = ?')
      .bind(one.thumbprint)
      .all()
    expect(rows.results).toHaveLength(1)
  })
})

describe('an object away', () => {
  const FLAGS = ['overloaded', 'retryable', 'durableObjectReset'] as const

  /** A Worker whose LoginSession objects fail with `flag`; the calls that reached for them. */
  function withFailingObjects(flag: (typeof FLAGS)[number]) {
    const calls: string[] = []
    const fail = (name: string) => async () => {
      calls.push(name)
      throw Object.assign(new Error('Durable Object is away.'), { [flag]: true })
    }
    const stub = Object.fromEntries(
      ['create', 'claim', 'approve', 'deny', 'redeem', 'fetch'].map((name) => [name, fail(name)]),
    )
    const real = env.LOGIN_SESSION
    const LOGIN_SESSION = {
      newUniqueId: () => real.newUniqueId(),
      idFromString: (id: string) => real.idFromString(id),
      get: () => stub,
    }
    return { calls, worker: workerWith({ LOGIN_SESSION }) }
  }

  test.each(FLAGS)(
    '307 each act is 503, asked once, and nothing has happened (%s)',
    async (flag) => {
      const { started, sessionId, claimed } = await claimedLogin()
      const { calls, worker } = withFailingObjects(flag)
      const statement = async (typ: string, payload: object) => ({
        statement: await person.sign(typ, { tokenId: person.tokenId, sessionId, ...payload }),
      })
      const { nonce } = claimed
      expectUnavailable(
        await worker.post('/auth/claim', await statement('idtoken-claim+jwt', { via: 'push' })),
      )
      expectUnavailable(
        await worker.post('/auth/verify', await person.approval(sessionId, claimed)),
      )
      const denial = await statement('idtoken-deny+jwt', { nonce, reason: 'declined' })
      expectUnavailable(await worker.post('/auth/reject', denial))
      const initiated = { serviceId: bar.serviceId, tokenId: person.tokenId }
      expectUnavailable(await worker.post('/auth/initiate', initiated, bar.basic))
      expectUnavailable(
        await worker.send('GET', `/ws/session/${sessionId}`, undefined, {
          Upgrade: 'websocket',
          'Sec-WebSocket-Protocol': `idtoken.v1, ${started.wsToken}`,
          'CF-Connecting-IP': freshAddress(),
        }),
      )
      expect(calls).toEqual(['claim', 'approve', 'deny', 'create', 'fetch'])
      expect((await person.approve(sessionId, claimed)).status).toBe(200)
    },
  )

  test('307 an object that broke after it had decided: the identical retry gets the answer, nothing happens twice', async () => {
    const { sessionId, claimed } = await claimedLogin()
    const approval = await person.approval(sessionId, claimed)
    const spy = vi.spyOn(LoginSessionObject.prototype, 'approve')
    onTestFinished(() => spy.mockRestore())
    const stub = loginObject(sessionId)
    const { worker } = answersLost(stub)
    expectUnavailable(await worker.post('/auth/verify', approval))
    expect(spy).toHaveBeenCalledTimes(1)
    const decided = await storedLogin(sessionId)
    expect(decided?.state).toBe('approved')
    expect(await post('/auth/verify', approval)).toMatchObject({ status: 200 })
    expect(await storedLogin(sessionId)).toEqual(decided)
    await eventually(async () => (await loginAudit(sessionId)).length > 0)
    expect(await loginAudit(sessionId)).toHaveLength(1)
  })

  /** A Worker that never gets the answer of the object, though the object has acted. */
  function answersLost(stub: ReturnType<typeof loginObject>) {
    const lost = {
      approve: async (...args: Parameters<typeof stub.approve>) => {
        await stub.approve(...args)
        throw Object.assign(new Error('Network connection lost.'), { retryable: true })
      },
    }
    const LOGIN_SESSION = {
      idFromString: (id: string) => env.LOGIN_SESSION.idFromString(id),
      get: () => lost,
    }
    return { worker: workerWith({ LOGIN_SESSION }) }
  }
})

describe('306 eviction', () => {
  test('306 between any two steps: the login goes on, and its socket with it', async () => {
    const { body } = await initiate(bar, person.tokenId)
    const browser = await connect(body)
    await evictDurableObject(loginObject(body.sessionId))
    const claimed = await person.claim(body.sessionId)
    await browser.event('claimed')
    await evictDurableObject(loginObject(body.sessionId))
    await person.approve(body.sessionId, claimed.body)
    expect(await browser.event('approved')).toMatchObject({ random: body.random })
  })
})

describe('schema', () => {
  /** Makes of the login `sessionId` what the version of the code before this one would have stored. */
  async function asStoredBefore(sessionId: string): Promise<void> {
    await runInDurableObject(loginObject(sessionId), (_object, { storage }) => {
      const row = storage.sql.exec('SELECT session FROM login').one()
      const { via: _via, ...session } = JSON.parse(String(row.session))
      const { purpose: _purpose, trustRequired: _trust, ...asked } = session.asked
      const { invited: _invited, ...attempt } = session.attempt
      const old = JSON.stringify({ ...session, asked, attempt })
      storage.sql.exec('UPDATE login SET schema = 2, session = ?', old)
    })
    await evictDurableObject(loginObject(sessionId))
  }

  test('306 a login that began under the version before goes on, by push and to its end', async () => {
    const { body } = await initiate(bar, person.tokenId)
    const browser = await connect(body)
    await asStoredBefore(body.sessionId)
    const stranger = await enrolled({ push: false })
    expect((await stranger.claim(body.sessionId)).body.code).toBe('session_not_found')
    const claimed = await person.claim(body.sessionId)
    expect(claimed.status).toBe(200)
    await asStoredBefore(body.sessionId)
    expect((await person.approve(body.sessionId, claimed.body)).status).toBe(200)
    expect(await browser.event('approved')).toMatchObject({ random: body.random })
    expect(await eventually(() => loginAudit(body.sessionId))).toMatchObject([
      { outcome: 'approved' },
    ])
  })

  test('311 health is 503 while the newest migration is not applied, and says no more', async () => {
    expect((await send('GET', '/health')).status).toBe(200)
    await env.DB.prepare('DELETE FROM d1_migrations').run()
    const health = await send('GET', '/health')
    expect(health).toMatchObject({
      status: 503,
      body: { status: 'failing', checks: { schema: 'failing' } },
    })
    await env.DB.prepare('DROP TABLE d1_migrations').run()
    expect((await send('GET', '/health')).status).toBe(503)
  })

  test('311 no traffic is served by a database without tables', async () => {
    await env.DB.prepare('DROP TABLE service_origin').run()
    await env.DB.prepare('DROP TABLE service_vds').run()
    await env.DB.prepare('DROP TABLE service').run()
    expectUnavailable(await initiate(bar, person.tokenId))
    expectUnavailable(await person.claim(`sess_${env.LOGIN_SESSION.newUniqueId()}`))
  })
})
