/** A login that nobody was named for: whoever scans it claims it (5-security 4.14, 4.16). */
import { runDurableObjectAlarm } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { decodeJwt } from 'jose'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { parseMasterSecret } from '../../src/keys/master-secret.ts'
import { linkOf } from '../../src/login/scan-proof.ts'
import { objectIds } from './hosted.ts'
import { claimsOf, landingOf, redeem, registerClient, Tab, waitingIn } from './relying-party.ts'
import {
  beginScan,
  claimVia,
  follow,
  proofAt,
  type Qr,
  readAddress,
  scan,
  shownIn,
  showQr,
} from './scan.ts'
import { dumpD1 } from './storage.ts'
import {
  type Answer,
  BAR_ORIGIN,
  type Bar,
  type Browser,
  connect,
  enrolled,
  eventually,
  freshAddress,
  ISSUER,
  loginAudit,
  loginObject,
  openBar,
  operator,
  Person,
  post,
  storedLogin,
} from './world.ts'

type Caller = 'page' | 'back-end'
const CALLERS: Caller[] = ['page', 'back-end']

let bar: Bar
let person: Person
beforeEach(async () => {
  bar = await openBar()
  person = await enrolled({ push: false })
})
afterEach(() => {
  vi.useRealTimers()
})

/** A login of the bar; without a tokenId it is for whoever scans it. */
function begin(caller: Caller, more: object = {}): Promise<Answer> {
  const headers: Record<string, string> =
    caller === 'page'
      ? { Origin: BAR_ORIGIN, 'CF-Connecting-IP': freshAddress() }
      : { ...bar.basic }
  return post('/auth/initiate', { serviceId: bar.serviceId, ...more }, headers)
}

interface Screen {
  readonly sessionId: string
  readonly qr: Qr
  /** The genuine link proof, whether or not the screen shows it. */
  readonly link: string
}

/** A screen with a QR: of a service's own page, or of ours. */
const SCREENS = {
  direct: async (): Promise<Screen> => {
    const { body } = await begin('page')
    const master = parseMasterSecret(env.MASTER_SECRET)
    if (!master.ok) throw new Error(master.reason)
    const link = await linkOf(master.value, ISSUER, { sessionId: body.sessionId, attempt: 1 })
    return { sessionId: body.sessionId, qr: body.qr, link }
  },
  hosted: async (): Promise<Screen> => {
    await registerClient({}, {}, 'a-client')
    return shownIn(await beginScan(new Tab(), { client_id: 'a-client' }))
  },
}
const KINDS = Object.keys(SCREENS) as (keyof typeof SCREENS)[]

function codeOf({ status, body }: Answer): [number, string] {
  return [status, body.code]
}

const STMT = [401, 'invalid_statement']

function types({ events }: Browser): (string | undefined)[] {
  return events.map(({ type }) => type)
}

/** Moves the clock of Worker and objects on by that many milliseconds. */
function tick(ms: number): void {
  const now = Date.now()
  if (!vi.isFakeTimers()) vi.useFakeTimers({ toFake: ['Date'] })
  vi.setSystemTime(now + ms)
}

/** Stops the clock where the QR changes, so that it doesn't between here and an answer. */
function stopAtStep(): void {
  tick(2000 - (Date.now() % 2000))
}

/** A real proof with another letter at its end: of other bits, all of them meaningful. */
function altered(proof: string): string {
  return `${proof[0] === 'A' ? 'B' : 'A'}${proof.slice(1)}`
}

describe('the answer that begins it', () => {
  test.each(CALLERS)(
    '178 scan: the QR is in the answer to a %s, the code is not',
    async (caller) => {
      const before = Date.now()
      const { status, headers, body } = await begin(caller)
      expect(status).toBe(200)
      expect(headers.get('Cache-Control')).toBe('no-store')
      const members = ['expiresAt', 'qr', 'random', 'sessionId', 'wsToken']
      // Nobody was named, so there is no code yet, for a back end neither.
      expect(Object.keys(body).sort()).toEqual(members)
      expect(body.qr).toEqual({
        url: `${ISSUER}/l#${body.sessionId}.`,
        key: expect.stringMatching(/^[\w-]{43}$/),
        now: expect.any(Number),
      })
      expect(Math.abs(body.qr.now - before)).toBeLessThan(2000)
      expect(await storedLogin(body.sessionId)).toMatchObject({
        state: 'pending',
        addressee: null,
        attempt: { invited: null },
      })
      // Each has a key of its own.
      expect((await begin(caller)).body.qr.key).not.toBe(body.qr.key)
    },
  )

  test.each(CALLERS)('178 scan: a named login has its QR too for a %s', async (caller) => {
    const { body } = await begin(caller, { tokenId: person.tokenId })
    const members = ['expiresAt', 'qr', 'random', 'sessionId', 'wsToken']
    const code = caller === 'back-end' ? ['autoPassword'] : []
    expect(Object.keys(body).sort()).toEqual([...code, ...members])
    const claimed = await scan(person, body.qr)
    expect(claimed.status).toBe(200)
    if (caller === 'back-end') expect(claimed.body.otp).toBe(body.autoPassword)
  })

  test('178 scan: one object and nothing else: no row and no inbox', async () => {
    const [rows, objects] = [await dumpD1(), await objectIds()]
    const { body } = await begin('page')
    await scheduler.wait(50)
    expect(await dumpD1()).toEqual(rows)
    const id = body.sessionId.slice('sess_'.length)
    expect((await objectIds()).filter((each) => !objects.includes(each))).toEqual([id])
  })
})

describe('a whole login without a number', () => {
  test('178 scan: a back end’s page sees the claim, the code, and the token', async () => {
    const { body: started } = await begin('back-end', { scopes: ['identity:age_over_18'] })
    const browser = await connect(started)
    const claimed = await scan(person, started.qr)
    expect(claimed.status).toBe(200)
    expect(claimed.body).toMatchObject({
      service: { id: bar.serviceId, name: 'Bar le Central' },
      origin: BAR_ORIGIN,
      scopes: ['identity:age_over_18'],
      otp: expect.stringMatching(/^\d{6}$/),
    })
    const shown = await browser.event('otp_ready')
    expect(shown).toEqual({
      type: 'otp_ready',
      autoPassword: claimed.body.otp,
      expiresAt: claimed.body.expiresAt,
    })
    expect(await person.approve(started.sessionId, claimed.body)).toMatchObject({
      status: 200,
      body: { status: 'approved' },
    })
    const { jwt = '', random } = await browser.event('approved')
    expect(types(browser)).toEqual(['claimed', 'otp_ready', 'approved'])
    expect(random).toBe(started.random)
    const claims = decodeJwt(jwt)
    expect(claims).toMatchObject({ aud: bar.serviceId, nonce: started.random, age_over_18: true })
    // A service without users learns no name to know the person by.
    expect(claims.sub).not.toBe(person.tokenId)
    expect(claims).not.toHaveProperty('given_name')
    const [row] = await eventually(() => loginAudit(started.sessionId))
    expect(row).toMatchObject({ outcome: 'approved', device: person.thumbprint })
  })

  test('178 171 scan: a page gets a code, and its back end the token', async () => {
    const { body: started } = await begin('page')
    const browser = await connect(started)
    const claimed = await scan(person, started.qr)
    await person.approve(started.sessionId, claimed.body)
    const approved = await browser.event('approved')
    expect(Object.keys(approved).sort()).toEqual(['code', 'type'])
    const result = await post(
      '/auth/result',
      { sessionId: started.sessionId, code: approved.code },
      bar.basic,
    )
    expect(result.status).toBe(200)
    expect(decodeJwt(result.body.jwt)).toMatchObject({ nonce: started.random, given_name: 'Jean' })
  })

  test('178 scan: on our own pages, by OpenID Connect', async () => {
    const client = await registerClient({}, {}, 'a-client')
    const tab = new Tab()
    const page = await beginScan(tab, { client_id: client.clientId })
    expect(page.body).toContain('<main id="login-scan">')
    expect(waitingIn(page).code).toBe('')
    const { sessionId, qr, link } = shownIn(page)
    expect(qr.url).toBe(`${ISSUER}/l#${sessionId}.`)
    expect(readAddress(link)).toMatchObject({ sessionId, kind: 'link' })
    const browser = await tab.socket(page)
    const claimed = await scan(person, qr)
    expect((await browser.event('otp_ready')).autoPassword).toBe(claimed.body.otp)
    await person.approve(sessionId, claimed.body)
    expect(await browser.event('approved')).toEqual({
      type: 'approved',
      continue: '/login/continue',
      confirm: person.tokenId.slice(-4),
    })
    const confirm = await tab.press(page, '/login/continue')
    const { parameters } = landingOf(await tab.press(confirm, '/login/continue'))
    const { body } = await redeem(client, parameters.code)
    expect(claimsOf(body.id_token)).toMatchObject({ sub: person.tokenId, age_over_18: true })
  })
})

test('230 scan: who has scanned finds the login in his list, and comes back to it by that', async () => {
  const { body } = await post('/auth/initiate', { serviceId: bar.serviceId }, bar.basic)
  const claimed = await scan(person, body.qr)
  const [listed] = (await person.pending()).body
  expect(listed.sessionId).toBe(body.sessionId)
  expect(await person.claim(body.sessionId)).toMatchObject({ status: 200, body: claimed.body })
  expect((await storedLogin(body.sessionId))?.via).toBe('camera')
  const other = await enrolled({ push: false })
  expect(codeOf(await other.claim(body.sessionId))).toEqual([404, 'session_not_found'])
})

describe.each(KINDS)('the proof of a %s screen', (kind) => {
  const faults: [string, unknown[], (screen: Screen) => Promise<Answer>][] = [
    [
      'older than ten seconds',
      [410, 'qr_expired'],
      async ({ qr, sessionId }) =>
        claimVia(person, sessionId, 'camera', await proofAt(qr, Date.now() - 12_001)),
    ],
    [
      'of two minutes ago',
      [410, 'qr_expired'],
      async ({ qr, sessionId }) =>
        claimVia(person, sessionId, 'camera', await proofAt(qr, Date.now() - 120_000)),
    ],
    [
      'of a time to come',
      STMT,
      async ({ qr, sessionId }) =>
        claimVia(person, sessionId, 'camera', await proofAt(qr, Date.now() + 4000)),
    ],
    [
      'of another login',
      STMT,
      async ({ sessionId }) =>
        claimVia(person, sessionId, 'camera', await proofAt((await begin('page')).body.qr)),
    ],
    [
      'altered',
      STMT,
      async ({ qr, sessionId }) =>
        claimVia(person, sessionId, 'camera', altered(await proofAt(qr))),
    ],
    [
      'cut',
      STMT,
      async ({ qr, sessionId }) =>
        claimVia(person, sessionId, 'camera', (await proofAt(qr)).slice(0, -1)),
    ],
    ['absent', STMT, ({ sessionId }) => claimVia(person, sessionId, 'camera', undefined)],
    ['absent of a link', STMT, ({ sessionId }) => claimVia(person, sessionId, 'link', undefined)],
    [
      'of the link, sent as camera',
      STMT,
      ({ sessionId, link }) => claimVia(person, sessionId, 'camera', readAddress(link).proof),
    ],
    [
      'of the QR, sent as link',
      STMT,
      async ({ qr, sessionId }) => claimVia(person, sessionId, 'link', await proofAt(qr)),
    ],
    [
      'of the QR, sent with a push',
      STMT,
      async ({ qr, sessionId }) =>
        person.claim(sessionId, { payload: { proof: await proofAt(qr) } }),
    ],
    [
      'genuine, of a signature that isn’t',
      STMT,
      async ({ qr, sessionId }) => {
        const { keyPair } = await Person.make({ push: false })
        const key = keyPair.privateKey
        return claimVia(person, sessionId, 'camera', await proofAt(qr), { key })
      },
    ],
    // Nobody was rung, so a claim without any proof is about a login that there isn't.
    ['none, as if pushed', [404, 'session_not_found'], ({ sessionId }) => person.claim(sessionId)],
  ]
  test.each(faults)(`192 scan: ${kind}: %s`, async (_name, expected, attempt) => {
    stopAtStep()
    const screen = await SCREENS[kind]()
    const before = await storedLogin(screen.sessionId)
    const refused = await attempt(screen)
    expect(codeOf(refused)).toEqual(expected)
    expect(JSON.stringify(refused.body)).not.toContain('Bar')
    expect(await storedLogin(screen.sessionId)).toEqual(before)
    expect((await person.pending()).body).toEqual([])
    // It can still be claimed with a fresh one.
    expect((await scan(person, screen.qr)).status).toBe(200)
  })

  test(`192 scan: ${kind}: the ten seconds, to the millisecond`, async () => {
    stopAtStep()
    const { qr, sessionId } = await SCREENS[kind]()
    const proof = await proofAt(qr)
    tick(10_001)
    const late = await claimVia(person, sessionId, 'camera', proof)
    expect(codeOf(late)).toEqual([410, 'qr_expired'])
    tick(-1)
    expect((await claimVia(person, sessionId, 'camera', proof)).status).toBe(200)
  })

  test(`192 scan: ${kind}: a page whose clock is one step ahead`, async () => {
    const { qr, sessionId } = await SCREENS[kind]()
    const ahead = await proofAt(qr, Date.now() + 2000)
    expect((await claimVia(person, sessionId, 'camera', ahead)).status).toBe(200)
  })

  test(`230 scan: ${kind}: the first signed claim binds; of five at once one wins`, async () => {
    const { qr, sessionId } = await SCREENS[kind]()
    const people = [person]
    for (let i = 0; i < 4; i++) people.push(await enrolled({ push: false }))
    const claims = await Promise.all(people.map((each) => scan(each, qr)))
    const winners = people.filter((_, i) => claims[i]?.status === 200)
    expect(winners).toHaveLength(1)
    const losers = claims.filter(({ status }) => status !== 200)
    for (const loser of losers) {
      expect(codeOf(loser)).toEqual([409, 'already_claimed'])
      expect(JSON.stringify(loser.body)).not.toContain('Bar')
    }
    const [winner] = winners
    expect(await storedLogin(sessionId)).toMatchObject({
      state: 'claimed',
      addressee: { tokenId: winner?.tokenId, thumbprint: winner?.thumbprint },
    })
    // A second phone that comes late, without any proof or with an old one, learns less still.
    const [loser] = people.filter((each) => each !== winner)
    if (loser === undefined || winner === undefined) throw new Error('nobody')
    expect(codeOf(await loser.claim(sessionId))).toEqual([404, 'session_not_found'])
    const old = await proofAt(qr, Date.now() - 30_000)
    expect(codeOf(await claimVia(loser, sessionId, 'camera', old))).toEqual([410, 'qr_expired'])
    // And what it signs decides nothing.
    const { body: claimed } = await scan(winner, qr)
    expect(codeOf(await loser.approve(sessionId, claimed))).toEqual(STMT)
    expect(codeOf(await loser.deny(sessionId, claimed.nonce))).toEqual(STMT)
    expect((await winner.approve(sessionId, claimed)).status).toBe(200)
  })

  test(`354 scan: ${kind}: a claim at 59 s has a minute; again at 100 s nothing moves`, async () => {
    tick(0)
    const { qr, sessionId } = await SCREENS[kind]()
    const began = Date.now()
    tick(59_000)
    const proof = await proofAt(qr)
    const first = await claimVia(person, sessionId, 'camera', proof)
    expect(first.status).toBe(200)
    expect(Date.parse(first.body.expiresAt)).toBe(began + 119_000)
    const claimed = await storedLogin(sessionId)
    tick(41_000)
    // The same proof is long past its ten seconds: who has claimed needs no other.
    const again = await claimVia(person, sessionId, 'camera', proof)
    expect(again).toMatchObject({ status: 200, body: first.body })
    expect(await storedLogin(sessionId)).toEqual(claimed)
    tick(18_999)
    expect((await person.approve(sessionId, first.body)).status).toBe(200)
  })

  test(`354 scan: ${kind}: nothing after the minute, and never past two`, async () => {
    tick(0)
    const { qr } = await SCREENS[kind]()
    const other = await SCREENS[kind]()
    const began = Date.now()
    tick(59_999)
    const { body: claimed } = await scan(person, other.qr)
    expect(Date.parse(claimed.expiresAt)).toBe(began + 119_999)
    tick(1)
    expect(codeOf(await scan(person, qr))).toEqual([404, 'session_not_found'])
    tick(59_999)
    const late = await person.approve(other.sessionId, claimed)
    expect(codeOf(late)).toEqual([404, 'session_not_found'])
  })
})

describe('who may claim', () => {
  test('230 scan: a direct login that names a person is nobody else’s, whatever he scans', async () => {
    const stranger = await enrolled({ push: false })
    for (const caller of CALLERS) {
      const { body } = await begin(caller, { tokenId: person.tokenId })
      const refused = await scan(stranger, body.qr)
      expect(codeOf(refused)).toEqual([404, 'session_not_found'])
      expect(JSON.stringify(refused.body)).not.toContain('Bar')
      expect(await storedLogin(body.sessionId)).toMatchObject({
        ...{ state: 'pending', via: null, claimedAt: null },
        addressee: { tokenId: person.tokenId },
      })
      expect((await scan(person, body.qr)).status).toBe(200)
    }
  })

  test('230 358 scan: a link leads back to a page of ours, so a direct login has none', async () => {
    const { sessionId, link, qr } = await SCREENS.direct()
    expect(codeOf(await follow(person, link))).toEqual([404, 'session_not_found'])
    expect(await storedLogin(sessionId)).toMatchObject({ state: 'pending', via: null })
    expect((await scan(person, qr)).status).toBe(200)
  })

  test('157 229 scan: whose binding has ended, or whose seal, opens nothing', async () => {
    const { sessionId, qr } = await SCREENS.direct()
    const before = await storedLogin(sessionId)
    const lapsed = await enrolled({ push: false })
    await env.DB.prepare('UPDATE enrollment SET expires_at = 1 WHERE token_id = ?')
      .bind(lapsed.tokenId)
      .run()
    expect(codeOf(await scan(lapsed, qr))).toEqual([403, 'vds_expired'])
    await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
    expect(codeOf(await scan(person, qr))).toEqual([409, 'token_revoked'])
    const nobody = await Person.make({ push: false })
    expect(codeOf(await scan(nobody, qr))).toEqual(STMT)
    expect(await storedLogin(sessionId)).toEqual(before)
  })

  test('245 scan: a revocation finds the login that was scanned', async () => {
    const { body: started } = await begin('back-end')
    const browser = await connect(started)
    const { body: claimed } = await scan(person, started.qr)
    expect((await person.pending()).body).toMatchObject([{ sessionId: started.sessionId }])
    await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
    expect(await browser.event('rejected')).toMatchObject({ reason: 'declined' })
    expect((await browser.closed).code).toBe(1000)
    const late = await person.approve(started.sessionId, claimed)
    expect(late.status).toBe(409)
    expect(types(browser)).not.toContain('approved')
  })

  test('355 scan: a login that was never begun', async () => {
    const { qr } = await SCREENS.direct()
    const proof = await proofAt(qr)
    for (const via of ['camera', 'link'] as const) {
      const claimed = await claimVia(person, `sess_${'0'.repeat(64)}`, via, proof)
      expect(codeOf(claimed)).toEqual([404, 'session_not_found'])
    }
  })

  test('224 225 scan: who scanned says "not me"; that is the end of it', async () => {
    const { sessionId, qr } = await SCREENS.direct()
    const { body: claimed } = await scan(person, qr)
    expect(await person.deny(sessionId, claimed.nonce, 'not_me')).toMatchObject({ status: 200 })
    expect(codeOf(await person.approve(sessionId, claimed))).toEqual([409, 'session_resolved'])
    expect((await person.pending()).body).toEqual([])
  })

  test('215 scan: three wrong codes end it', async () => {
    const { sessionId, qr } = await SCREENS.direct()
    const { body: claimed } = await scan(person, qr)
    const otp = claimed.otp === '123456' ? '654321' : '123456'
    for (let i = 0; i < 3; i++) {
      const wrong = await person.approve(sessionId, { ...claimed, otp })
      expect(codeOf(wrong)).toEqual([401, 'invalid_otp'])
    }
    expect(codeOf(await person.approve(sessionId, claimed))).toEqual([409, 'session_resolved'])
  })
})

describe('the code in the browser only', () => {
  test.each(CALLERS)(
    '353 scan: transfer: not in the claim, nor in what is pending (%s)',
    async (caller) => {
      const { body: started } = await begin(caller, { confirmation: 'transfer' })
      expect(started).not.toHaveProperty('autoPassword')
      const browser = await connect(started)
      const claimed = await scan(person, started.qr)
      expect(claimed.status).toBe(200)
      expect(claimed.body).not.toHaveProperty('otp')
      const { autoPassword: code = '' } = await browser.event('otp_ready')
      expect(code).toMatch(/^\d{6}$/)
      const told = JSON.stringify([claimed.body, (await person.pending()).body])
      expect(told).not.toContain(code)
      expect(JSON.stringify(await storedLogin(started.sessionId))).not.toContain(`"${code}"`)
      // Claimed again: still not.
      expect((await scan(person, started.qr)).body).not.toHaveProperty('otp')

      const guess = code === '123456' ? '654321' : '123456'
      const wrong = await person.approve(started.sessionId, { ...claimed.body, otp: guess })
      expect(codeOf(wrong)).toEqual([401, 'invalid_otp'])
      // The person brings it over.
      const right = await person.approve(started.sessionId, { ...claimed.body, otp: code })
      expect(right.status).toBe(200)
      await browser.event('approved')
    },
  )

  test('353 scan: transfer on our own pages', async () => {
    const client = await registerClient({}, { confirmation: 'transfer' }, 'a-client')
    const tab = new Tab()
    const page = await beginScan(tab, { client_id: client.clientId })
    expect(page.body).toContain('Type this code into your phone:')
    const browser = await tab.socket(page)
    const { sessionId, qr } = shownIn(page)
    const { body: claimed } = await scan(person, qr)
    expect(claimed).not.toHaveProperty('otp')
    const { autoPassword: otp = '' } = await browser.event('otp_ready')
    expect((await person.approve(sessionId, { ...claimed, otp })).status).toBe(200)
  })
})

describe('the socket', () => {
  test('198 200 scan: nothing before the claim, and the state again after it', async () => {
    const { body: started } = await begin('back-end')
    const first = await connect(started)
    await scheduler.wait(50)
    expect(first.events).toEqual([])
    const second = await connect(started)
    expect((await first.closed).code).toBe(4009)
    const { body: claimed } = await scan(person, started.qr)
    await second.event('otp_ready')
    expect(types(second)).toEqual(['claimed', 'otp_ready'])
    const third = await connect(started)
    expect((await second.closed).code).toBe(4009)
    expect((await third.event('otp_ready')).autoPassword).toBe(claimed.otp)
    await third.event('claimed')
    // A claim that is repeated is told once.
    await scan(person, started.qr)
    await scheduler.wait(50)
    expect(types(third).sort()).toEqual(['claimed', 'otp_ready'])
    expect(first.events).toEqual([])
  })

  test('198 scan: hosted: another browser with the page’s token sees neither claim nor code', async () => {
    await registerClient({}, {}, 'a-client')
    const tab = new Tab()
    const page = await beginScan(tab, { client_id: 'a-client' })
    const own = await tab.socket(page)
    const intruders = ['', '__Host-browser=AAAAAAAAAAAAAAAAAAAAAA']
    for (const cookie of intruders) {
      const other = await tab.socket(page, { cookie })
      expect((await other.closed).code).toBe(4001)
      expect(other.events).toEqual([])
    }
    await scan(person, shownIn(page).qr)
    await own.event('otp_ready')
    for (const cookie of intruders) {
      const other = await tab.socket(page, { cookie })
      expect((await other.closed).code).toBe(4001)
      expect(other.events).toEqual([])
    }
    const again = await tab.socket(page)
    expect((await own.closed).code).toBe(4009)
    await again.event('claimed')
    expect(types(again).sort()).toEqual(['claimed', 'otp_ready'])
  })

  test('210 309 scan: nobody scans: one `expired`, one audit row that names nobody, nothing left', async () => {
    tick(0)
    const { body: started } = await begin('page')
    const browser = await connect(started)
    tick(60_000)
    await runDurableObjectAlarm(loginObject(started.sessionId))
    expect((await browser.closed).code).toBe(1000)
    expect(types(browser)).toEqual(['expired'])
    const [row] = await eventually(() => loginAudit(started.sessionId))
    expect(row).toMatchObject({ outcome: 'expired', device: null })
    expect(row).not.toHaveProperty('tokenId')
    tick(60_000)
    await runDurableObjectAlarm(loginObject(started.sessionId))
    expect(await storedLogin(started.sessionId)).toBeUndefined()
    expect(await loginAudit(started.sessionId)).toHaveLength(1)
  })

  test('357 scan: a closed attempt’s page sees no claim of the next', async () => {
    await registerClient({}, {}, 'a-client')
    const tab = new Tab()
    const page = await beginScan(tab, { client_id: 'a-client' })
    const socket = await tab.socket(page)
    const next = await showQr(tab, page)
    expect((await socket.closed).code).toBe(1000)
    await scan(person, shownIn(next).qr)
    expect(socket.events).toEqual([])
  })
})
