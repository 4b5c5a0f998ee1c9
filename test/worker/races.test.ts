/** Contested logins (5-security 4.17): whatever comes at once, a login has one outcome and tells it. */
import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type Answer,
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
  operator,
  type Person,
  post,
  storedLogin,
} from './world.ts'

let bar: Bar
let person: Person
beforeEach(async () => {
  bar = await openBar()
  person = await enrolled({ push: false })
})
afterEach(() => {
  vi.restoreAllMocks()
})

interface Open {
  readonly started: { readonly sessionId: string; readonly wsToken: string }
  readonly sessionId: string
  readonly claimed: Answer['body']
}

async function claimedLogin(): Promise<Open> {
  const started = (await initiate(bar, person.tokenId)).body
  const { sessionId } = started
  return { started, sessionId, claimed: (await person.claim(sessionId)).body }
}

function types({ events }: Browser): (string | undefined)[] {
  return events.map(({ type }) => type).filter((type) => type !== 'push_failed')
}

/** `db` in which every query takes `milliseconds` longer. */
function slowed(db: D1Database, milliseconds: number): D1Database {
  const slow = <T extends object>(target: T): T =>
    new Proxy(target, {
      get(from, name) {
        const member = Reflect.get(from, name)
        if (typeof member !== 'function') return member
        if (['first', 'all', 'run', 'raw', 'batch'].includes(String(name))) {
          return async (...parameters: unknown[]) => {
            await scheduler.wait(milliseconds)
            return Reflect.apply(member, from, parameters)
          }
        }
        // A batch needs the statements themselves.
        return (...parameters: unknown[]) => slow(Reflect.apply(member, from, parameters))
      },
    })
  return slow(db)
}

/**
 * Makes every signature of this isolate take `milliseconds` longer, the token's inside the object too: while a timer runs
 * an object lets other events in, as it does whenever the signing keys are read from D1.
 */
function slowSigning(milliseconds: number): void {
  const sign = crypto.subtle.sign.bind(crypto.subtle)
  vi.spyOn(crypto.subtle, 'sign').mockImplementation(async (...parameters) => {
    await scheduler.wait(milliseconds)
    return sign(...parameters)
  })
}

/**
 * Holds the next derivation of the code of `sessionId` until `released`; `reached` says that it has begun. Plain values
 * and not promises: a promise of one request must not be settled by another.
 */
function holdNextCode(sessionId: string): { reached: boolean; released: boolean } {
  const hold = { reached: false, released: false }
  const derive = crypto.subtle.deriveBits.bind(crypto.subtle)
  vi.spyOn(crypto.subtle, 'deriveBits').mockImplementation(async (algorithm, key, length) => {
    const { info } = algorithm as { readonly info?: Uint8Array }
    if (!hold.reached && new TextDecoder().decode(info).endsWith(sessionId)) {
      hold.reached = true
      while (!hold.released) await scheduler.wait(10)
    }
    return derive(algorithm, key, length)
  })
  return hold
}

describe('approvals at once', () => {
  test('233 race: twenty identical approvals over a slow database: one transition, one token, one row', {
    timeout: 20_000,
  }, async () => {
    const login = await claimedLogin()
    const browser = await connect(login.started)
    const approval = await person.approval(login.sessionId, login.claimed)
    const call = deployment({ DB: slowed(env.DB, 50) })
    slowSigning(20)
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => call('/auth/verify', approval)),
    )
    for (const { status, body } of answers) {
      expect([status, body]).toEqual([200, { status: 'approved' }])
    }
    await browser.closed
    expect(types(browser)).toEqual(['otp_ready', 'claimed', 'approved'])
    expect(await eventually(() => loginAudit(login.sessionId))).toHaveLength(1)
    const again = await connect(login.started)
    expect(await again.event('approved')).toEqual(browser.events.at(-1))
  })

  test('233 race: twenty different approvals: the first stands, the others are told so', {
    timeout: 20_000,
  }, async () => {
    const login = await claimedLogin()
    const browser = await connect(login.started)
    const call = deployment({ DB: slowed(env.DB, 20) })
    const approvals = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        person.approval(login.sessionId, login.claimed, {
          payload: {
            grantedScopes:
              i % 2 === 0
                ? ['identity:age_over_18']
                : ['identity:age_over_18', 'identity:given_name'],
          },
        }),
      ),
    )
    slowSigning(20)
    const answers = await Promise.all(approvals.map((each) => call('/auth/verify', each)))
    const won = answers.map(({ status }) => status === 200)
    // Even and odd ones are two decisions; one of them won in all its repetitions.
    expect(new Set(won.filter((_, i) => i % 2 === 0)).size).toBe(1)
    expect(won.filter(Boolean)).toHaveLength(10)
    for (const { status, body } of answers.filter(({ status }) => status !== 200)) {
      expect([status, body.code]).toEqual([409, 'session_resolved'])
    }
    await browser.closed
    expect(types(browser).filter((type) => type === 'approved')).toHaveLength(1)
  })

  test('215 race: ten wrong codes at once end the login at the third, whichever they are', async () => {
    const login = await claimedLogin()
    const otp = login.claimed.otp === '000000' ? '000001' : '000000'
    const wrong = await person.approval(login.sessionId, { ...login.claimed, otp })
    const answers = await Promise.all(Array.from({ length: 10 }, () => post('/auth/verify', wrong)))
    const codes = answers.map(({ body }) => body.code).sort()
    expect(codes).toEqual([
      ...Array<string>(3).fill('invalid_otp'),
      ...Array<string>(7).fill('session_resolved'),
    ])
    expect(await storedLogin(login.sessionId)).toMatchObject({
      state: 'rejected',
      attempt: { wrongCodes: 3 },
    })
    expect(await eventually(() => loginAudit(login.sessionId))).toHaveLength(1)
  })

  test('234 race: approve beside deny, fifty rounds: answer, event, row and store agree', {
    timeout: 30_000,
  }, async () => {
    const outcomes = { approved: 0, rejected: 0 }
    for (let round = 0; round < 50; round++) {
      const login = await claimedLogin()
      const browser = await connect(login.started)
      const approval = await person.approval(login.sessionId, login.claimed)
      // In some rounds the approval waits inside the object, and the denial comes while it does.
      if (round % 4 === 0) slowSigning(10)
      const approve = () => post('/auth/verify', approval)
      const deny = () => person.deny(login.sessionId, login.claimed.nonce)
      // Who comes first changes from round to round, and by how much.
      const [first, second] = round % 2 === 0 ? [approve, deny] : [deny, approve]
      const racing: Promise<Answer>[] = [first(), later(round % 5, second)]
      const answers = await Promise.all(racing)
      vi.restoreAllMocks()
      const [approved, denied] = round % 2 === 0 ? answers : [answers[1], answers[0]]

      const statuses = [approved?.status, denied?.status]
      expect([
        [200, 409],
        [409, 200],
      ]).toContainEqual(statuses)
      const outcome = approved?.status === 200 ? 'approved' : 'rejected'
      outcomes[outcome] += 1
      await browser.closed
      expect(types(browser)).toEqual(['otp_ready', 'claimed', outcome])
      const stored = await storedLogin(login.sessionId)
      expect(stored?.state).toBe(outcome)
      expect(stored?.result === null).toBe(outcome === 'rejected')
      expect(await eventually(() => loginAudit(login.sessionId))).toMatchObject([{ outcome }])
    }
    // Each began half of the rounds, so each has won some.
    expect(Math.min(outcomes.approved, outcomes.rejected)).toBeGreaterThan(0)
  })

  test('244 race: approve beside revoke: no token after the revocation is acknowledged', {
    timeout: 20_000,
  }, async () => {
    for (let round = 0; round < 8; round++) {
      person = await enrolled({ push: false })
      const login = await claimedLogin()
      const approval = await person.approval(login.sessionId, login.claimed)
      const [approved, revoked] = await Promise.all([
        later(round, () => post('/auth/verify', approval)),
        operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' }),
      ])
      expect(revoked.status).toBe(200)
      const stored = await storedLogin(login.sessionId)
      expect(stored?.state).toBe(approved.status === 200 ? 'approved' : 'rejected')
      expect((await post('/auth/verify', approval)).status).toBe(
        approved.status === 200 ? 200 : 409,
      )
    }
  })
})

describe('an approval and a socket at once', () => {
  test('202 race: a socket that connects while the approval is decided hears of it', async () => {
    const login = await claimedLogin()
    const approval = await person.approval(login.sessionId, login.claimed)
    // A handshake that wakes the object reads the open login and derives its code; the approval overtakes it there.
    await evictDurableObject(loginObject(login.sessionId))
    const handshake = holdNextCode(login.sessionId)
    const connecting = connect(login.started)
    await eventually(async () => handshake.reached)
    expect((await post('/auth/verify', approval)).status).toBe(200)
    expect((await storedLogin(login.sessionId))?.state).toBe('approved')
    handshake.released = true
    const browser = await connecting
    expect(await browser.closed).toMatchObject({ code: 1000 })
    expect(types(browser)).toEqual(['approved'])
  })

  test('202 race: a page may connect at any moment of an approval, and hears of it once', {
    timeout: 20_000,
  }, async () => {
    for (let round = 0; round < 24; round++) {
      const login = await claimedLogin()
      const approval = await person.approval(login.sessionId, login.claimed)
      const [browser, approved] = await Promise.all([
        later(round % 12, () => connect(login.started)),
        later(round < 12 ? 0 : 4, () => post('/auth/verify', approval)),
      ])
      expect(approved.status).toBe(200)
      expect(await browser.closed).toMatchObject({ code: 1000 })
      expect(types(browser).filter((type) => type === 'approved')).toHaveLength(1)
      expect(types(browser).at(-1)).toBe('approved')
    }
  })

  test('198 race: of sockets that connect at once one stays, and hears of the approval', async () => {
    const login = await claimedLogin()
    const browsers = await Promise.all(Array.from({ length: 8 }, () => connect(login.started)))
    await person.approve(login.sessionId, login.claimed)
    const codes = (await Promise.all(browsers.map(({ closed }) => closed))).map(({ code }) => code)
    expect(codes.sort()).toEqual([1000, ...Array<number>(7).fill(4009)])
    const heard = browsers.filter((browser) => types(browser).includes('approved'))
    expect(heard).toHaveLength(1)
  })
})

describe('starts at once', () => {
  test('237 race: twenty starts of one tokenId: one push, ten shown, the budget spent once', {
    timeout: 20_000,
  }, async () => {
    const victim = await enrolled()
    const answers = await Promise.all(
      Array.from({ length: 20 }, () =>
        deployment({})(
          '/auth/initiate',
          { serviceId: bar.serviceId, tokenId: victim.tokenId },
          { Origin: BAR_ORIGIN, 'CF-Connecting-IP': freshAddress() },
        ),
      ),
    )
    expect(answers.every(({ status }) => status === 200)).toBe(true)
    expect(new Set(answers.map(({ body }) => body.sessionId)).size).toBe(20)
    expect(await victim.pushes()).toHaveLength(1)
    const book = await runInDurableObject(await inboxObject(victim.tokenId), (_o, { storage }) =>
      JSON.parse(String(storage.sql.exec('SELECT book FROM inbox').one().book)),
    )
    expect(book.pushes).toHaveLength(1)
    expect(book.open).toHaveLength(20)
    expect((await victim.pending()).body).toHaveLength(10)
    expect(book.open.filter(({ pushed }: { pushed: boolean }) => pushed)).toHaveLength(1)
  })

  test('245 race: a login that begins while a revocation runs is not forgotten by the inbox', async () => {
    const victim = await enrolled({ push: false })
    const from = { 'CF-Connecting-IP': freshAddress() }
    const first = (await initiateFromPage(victim.tokenId, {}, from)).body
    await eventually(async () => (await victim.pending()).body)
    const inbox = await inboxObject(victim.tokenId)
    const second = {
      sessionId: `sess_${'0'.repeat(64)}`,
      deadline: Date.now() + 60_000,
      begunBy: 'page',
      pushable: false,
    } as const
    // The inbox waits for the first login's object to end it, and takes in the second meanwhile.
    await Promise.all([inbox.revoke(), inbox.start(second)])
    expect(await storedLogin(first.sessionId)).toMatchObject({ state: 'rejected' })
    expect((await inbox.pending()).map(({ sessionId }) => sessionId)).toEqual([second.sessionId])
  })
})

async function later<T>(milliseconds: number, act: () => Promise<T>): Promise<T> {
  if (milliseconds > 0) await scheduler.wait(milliseconds)
  return act()
}
