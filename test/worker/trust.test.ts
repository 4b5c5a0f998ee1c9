/** A person says once which services he trusts, and a service or a deployment may ask for it (5-security 352; 2-protocol 4). */
import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { toBase64url, utf8 } from '../../src/bytes.ts'
import { untouched, wait } from './hosted.ts'
import { workerWith } from './other-worker.ts'
import { registerClient, Tab } from './relying-party.ts'
import { beginScan, claimVia, proofAt, sayTrust, scan, shownIn, trustBody } from './scan.ts'
import { changeBar, currentVds, reissue, withdraw } from './service-texts.ts'
import { dumpD1 } from './storage.ts'
import {
  type Answer,
  BAR_ORIGIN,
  type Bar,
  connect,
  enrolled,
  eventually,
  freshAddress,
  ISSUER,
  inboxObject,
  loginAudit,
  now,
  openBar,
  operator,
  Person,
  post,
  send,
  storedLogin,
} from './world.ts'

let bar: Bar
let person: Person
/** The Service VDS of the bar. */
let text: string
beforeEach(async () => {
  bar = await openBar()
  person = await enrolled({ push: false })
  text = await currentVds()
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

function codeOf({ status, body }: Answer): [number, string] {
  return [status, body.code]
}

const STMT = [401, 'invalid_statement']
const TRUST_FIRST = [403, 'trust_required']

/** What is stored of whom `by` trusts. */
async function trustOf(by = person): Promise<Record<string, unknown>[]> {
  const { results } = await env.DB.prepare(
    'SELECT service_id, trusted, said_at FROM service_trust WHERE token_id = ? ORDER BY service_id',
  )
    .bind(by.tokenId)
    .all()
  return results
}

/** The person says it of the bar. */
function say(trusted: boolean, bend: Parameters<typeof sayTrust>[2] = {}): Promise<Answer> {
  return sayTrust(person, { service: bar.serviceId, text, trusted }, bend)
}

/** A statement whose `iat` is `seconds` from now. */
function at(seconds: number): { payload: { iat: number } } {
  return { payload: { iat: now() + seconds } }
}

describe('said and taken back', () => {
  test('trust: said, seen, taken back, and said again', async () => {
    const first = await say(true, at(-3))
    expect([first.status, first.body]).toEqual([200, { trusted: true }])
    expect(await trustOf()).toMatchObject([{ service_id: 'bar-le-central', trusted: 1 }])
    const second = await say(false, at(-2))
    expect([second.status, second.body]).toEqual([200, { trusted: false }])
    expect(await trustOf()).toMatchObject([{ trusted: 0 }])
    expect((await say(true, at(-1))).body).toEqual({ trusted: true })
    expect(await trustOf()).toMatchObject([{ trusted: 1 }])
    const { audit = '' } = await dumpD1()
    // Each word once an hour: nobody fills the table by saying it again.
    expect(audit.match(/trust_said/g)).toHaveLength(2)
  })

  test('trust: of each service and person by itself', async () => {
    await openBar({}, 'cinema')
    const other = await enrolled({ push: false })
    await say(true)
    await sayTrust(other, { service: 'cinema', text: await currentVds('cinema') })
    expect(await trustOf()).toMatchObject([{ service_id: 'bar-le-central' }])
    expect(await trustOf(other)).toMatchObject([{ service_id: 'cinema' }])
  })

  test('trust: the text may come along; it must be the one that is meant', async () => {
    const body = await trustBody(person, { service: bar.serviceId, text }, at(-2))
    const wrong = await untouched(() => post('/device/trust', { ...body, serviceVds: `${text}A` }))
    expect(codeOf(wrong)).toEqual(STMT)
    expect(await post('/device/trust', { ...body, serviceVds: text })).toMatchObject({
      status: 200,
      body: { trusted: true },
    })
  })

  test('012 trust: an unknown member, another act, nothing', async () => {
    const body = await trustBody(person, { service: bar.serviceId, text })
    for (const wrong of [{ ...body, trusted: true }, {}, { statement: 7 }]) {
      expect(codeOf(await untouched(() => post('/device/trust', wrong)))).toEqual([
        400,
        'invalid_request',
      ])
    }
    expect((await send('GET', '/device/trust')).status).toBe(405)
  })
})

describe('what does not count', () => {
  test('352 trust: another text’s hash: none, of another service, of the one before', async () => {
    await openBar({}, 'cinema')
    const texts = ['', 'HC1:6BF', text.toLowerCase(), `${text} `, await currentVds('cinema')]
    for (const other of texts) {
      const refused = await untouched(() =>
        sayTrust(person, { service: bar.serviceId, text: other }),
      )
      expect(codeOf(refused)).toEqual(STMT)
    }
    await reissue()
    expect(codeOf(await untouched(() => say(true)))).toEqual(STMT)
    const next = { service: bar.serviceId, text: await currentVds() }
    expect((await sayTrust(person, next)).status).toBe(200)
  })

  test('352 trust: withdrawn or unknown', async () => {
    await withdraw()
    expect(codeOf(await untouched(() => say(true)))).toEqual(STMT)
    const nobody = { service: 'nobody', text }
    expect(codeOf(await untouched(() => sayTrust(person, nobody)))).toEqual(STMT)
  })

  test('352 trust: a disabled service', async () => {
    await changeBar({ enabled: false })
    expect(codeOf(await untouched(() => say(true)))).toEqual([403, 'service_disabled'])
    // Not to whoever can't sign.
    const { keyPair } = await Person.make({ push: false })
    const unsigned = await untouched(() => say(true, { key: keyPair.privateKey }))
    expect(codeOf(unsigned)).toEqual(STMT)
  })

  test('352 trust: not younger than what was said: the newer stands', async () => {
    wait(0)
    await say(true, at(-5))
    const stands = await trustOf()
    for (const seconds of [-5, -6, -29]) {
      expect(codeOf(await untouched(() => say(false, at(seconds))))).toEqual(STMT)
      expect(await trustOf()).toEqual(stands)
    }
    expect((await say(false, at(-4))).status).toBe(200)
    // Taken back, the statement that gave it can't be played again.
    expect(codeOf(await say(true, at(-5)))).toEqual(STMT)
    expect(await trustOf()).toMatchObject([{ trusted: 0 }])
  })

  test('352 trust: of ten at the same second one counts', async () => {
    wait(0)
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, i) => say(i % 2 === 0, at(-1))),
    )
    const counted = answers.filter(({ status }) => status === 200)
    expect(counted).toHaveLength(1)
    expect(await trustOf()).toMatchObject([{ trusted: counted[0]?.body.trusted ? 1 : 0 }])
    const { audit = '' } = await dumpD1()
    expect(audit.match(/trust_said/g)).toHaveLength(1)
  })

  test.each([-31, 31])('220 trust: %i s off', async (seconds) => {
    wait(0)
    expect(codeOf(await untouched(() => say(true, at(seconds))))).toEqual(STMT)
  })

  test.each([-29, 29])('220 trust: %i s off is accepted', async (seconds) => {
    wait(0)
    expect((await say(true, at(seconds))).status).toBe(200)
  })

  test('352 trust: not signed by the enrolled key, or not about us', async () => {
    const stranger = await enrolled({ push: false })
    const bends = [
      { key: stranger.keyPair.privateKey },
      { header: { kid: stranger.thumbprint } },
      { header: { typ: 'idtoken-update+jwt' } },
      { payload: { aud: 'https://id.other.example' } },
      { payload: { tokenId: stranger.tokenId } },
      { payload: { trusted: 'true' } },
      { payload: { trusted: undefined } },
      { payload: { extra: 1 } },
      { payload: { vds: toBase64url(utf8('short')) } },
      { payload: { service: undefined } },
      { payload: { sessionId: 'sess_1' } },
    ]
    const nobody = await Person.make({ push: false })
    await untouched(async () => {
      for (const bend of bends) {
        expect(codeOf(await say(true, bend)), JSON.stringify(bend)).toEqual(STMT)
      }
      const unknown = await sayTrust(nobody, { service: bar.serviceId, text })
      expect(codeOf(unknown)).toEqual(STMT)
    })
  })

  test('352 trust: by somebody whose binding has ended', async () => {
    await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
    expect(codeOf(await untouched(() => say(true)))).toEqual(STMT)
  })

  test('309 trust: what a revoked person has said is forgotten', async () => {
    const other = await enrolled({ push: false })
    for (const each of [person, other]) {
      await sayTrust(each, { service: bar.serviceId, text })
    }
    await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
    expect([await trustOf(person), (await trustOf(other)).length]).toEqual([[], 1])
  })

  test.each([
    ['a disabled service', () => changeBar({ enabled: false })],
    ['a withdrawn text', () => withdraw()],
    ['a text that was followed by another', () => reissue()],
  ])('352 trust: it can be taken back whatever happened: %s', async (_what, happen) => {
    await say(true, at(-1))
    await happen()
    expect((await say(false)).status).toBe(200)
    expect(await trustOf()).toMatchObject([{ trusted: 0 }])
  })
})

describe('a page that waits for it', () => {
  /** The bar's back end, or its page, begins a registration. */
  function begin(more: object = {}, headers: Record<string, string> = bar.basic): Promise<Answer> {
    return post(
      '/auth/initiate',
      { serviceId: bar.serviceId, purpose: 'register', ...more },
      headers,
    )
  }

  function page(): Record<string, string> {
    return { Origin: BAR_ORIGIN, 'CF-Connecting-IP': freshAddress() }
  }

  test.each(['back end', 'page'])(
    'register trust: begun by a %s: QR, `trusted`, and that is all',
    async (caller) => {
      const started = await begin({}, caller === 'page' ? page() : bar.basic)
      expect(started.status).toBe(200)
      const { sessionId, wsToken, random, expiresAt, ...shown } = started.body
      expect(shown).toEqual({
        serviceVds: text,
        qr: { url: `${ISSUER}/l#${sessionId}.${text}` },
      })
      expect([typeof wsToken, typeof random]).toEqual(['string', 'string'])
      expect(Date.parse(expiresAt)).toBeGreaterThan(Date.now())
      const browser = await connect(started.body)
      const said = { service: bar.serviceId, text, sessionId }
      expect(await sayTrust(person, said)).toMatchObject({ status: 200, body: { trusted: true } })
      expect(await browser.event('trusted')).toEqual({ type: 'trusted' })
      expect((await browser.closed).code).toBe(1000)
      expect(browser.events).toEqual([{ type: 'trusted' }])
      expect(await trustOf()).toMatchObject([{ service_id: bar.serviceId, trusted: 1 }])
      // 201: whoever missed it is told once more.
      const late = await connect(started.body)
      expect((await late.closed).code).toBe(1000)
      expect(late.events).toEqual([{ type: 'trusted' }])
    },
  )

  test('register trust: with the Service VDS itself, and for nobody by name', async () => {
    const byText = await post(
      '/auth/initiate',
      { serviceVds: text, purpose: 'register' },
      bar.basic,
    )
    expect(byText.status).toBe(200)
    expect(byText.body.serviceVds).toBe(text)
    const named = await untouched(() => begin({ tokenId: person.tokenId }))
    expect(codeOf(named)).toEqual([400, 'invalid_request'])
    const other = await untouched(() => begin({ purpose: 'trust' }))
    expect(codeOf(other)).toEqual([400, 'invalid_request'])
  })

  test('register trust: a service without a text has nothing to trust', async () => {
    await withdraw()
    for (const headers of [bar.basic, page()]) {
      expect(codeOf(await untouched(() => begin({}, headers)))).toEqual([
        403,
        'service_vds_required',
      ])
    }
  })

  test('register trust: it is no login: nobody claims or approves it', async () => {
    const { body } = await begin()
    const { sessionId } = body
    const before = await storedLogin(sessionId)
    expect(codeOf(await person.claim(sessionId))).toEqual([404, 'session_not_found'])
    for (const via of ['camera', 'link'] as const) {
      const claimed = await claimVia(person, sessionId, via, 'A'.repeat(22))
      expect(claimed.status).toBeGreaterThanOrEqual(400)
    }
    expect(await storedLogin(sessionId)).toEqual(before)
    expect((await person.pending()).body).toEqual([])
  })

  test('register trust: it is no success of a login: quiet mode stays, and the audit tells it apart', async () => {
    const login = await post('/auth/initiate', { serviceId: bar.serviceId }, bar.basic)
    const { body: opened } = await scan(person, login.body.qr)
    expect((await person.deny(login.body.sessionId, opened.nonce, 'not_me')).status).toBe(200)
    const inbox = await inboxObject(person.tokenId)
    const quiet = () =>
      runInDurableObject(inbox, (_, { storage }) => {
        const { book } = storage.sql.exec('SELECT book FROM inbox').one()
        return JSON.parse(String(book)).quietUntil
      })
    await vi.waitFor(async () => expect(await quiet()).toBeGreaterThan(Date.now()))
    const { body } = await begin()
    const said = { service: bar.serviceId, text, sessionId: body.sessionId }
    expect((await sayTrust(person, said)).status).toBe(200)
    const rows = await eventually(() => loginAudit(body.sessionId))
    expect(rows).toMatchObject([{ outcome: 'approved', purpose: 'register', scopes: [] }])
    expect(await quiet()).toBeGreaterThan(Date.now())
  })

  test('register trust: the session of another service hears nothing', async () => {
    await openBar({}, 'cinema')
    const { body } = await begin()
    const browser = await connect(body)
    const before = await storedLogin(body.sessionId)
    const wrong = {
      ...{ service: 'cinema', text: await currentVds('cinema') },
      sessionId: body.sessionId,
    }
    await sayTrust(person, wrong, at(-2))
    expect(browser.events).toEqual([])
    expect(await storedLogin(body.sessionId)).toEqual(before)
    // It still waits for its own.
    const right = { service: bar.serviceId, text, sessionId: body.sessionId }
    expect((await sayTrust(person, right, at(-1))).status).toBe(200)
    await browser.event('trusted')
  })

  test('register trust: a login hears nothing of it', async () => {
    const { body } = await post('/auth/initiate', { serviceId: bar.serviceId }, bar.basic)
    const browser = await connect(body)
    await sayTrust(person, { service: bar.serviceId, text, sessionId: body.sessionId })
    expect(browser.events).toEqual([])
    expect(await storedLogin(body.sessionId)).toMatchObject({ state: 'pending', addressee: null })
    expect((await scan(person, body.qr)).status).toBe(200)
  })

  test('register trust: trust that is taken back completes nothing', async () => {
    const { body } = await begin()
    const browser = await connect(body)
    const said = { service: bar.serviceId, text, sessionId: body.sessionId, trusted: false }
    const refused = await untouched(() => sayTrust(person, said))
    expect(codeOf(refused)).toEqual([404, 'session_not_found'])
    expect(browser.events).toEqual([])
  })

  test('355 register trust: a session that never was', async () => {
    const said = { service: bar.serviceId, text, sessionId: `sess_${'0'.repeat(64)}` }
    expect(codeOf(await untouched(() => sayTrust(person, said)))).toEqual([
      404,
      'session_not_found',
    ])
  })

  test('register trust: what is refused completes nothing', async () => {
    const { body } = await begin()
    const browser = await connect(body)
    const said = { service: bar.serviceId, text, sessionId: body.sessionId }
    const { keyPair } = await Person.make({ push: false })
    for (const bend of [
      { key: keyPair.privateKey },
      at(-31),
      { payload: { vds: 'A'.repeat(43) } },
    ]) {
      expect(codeOf(await sayTrust(person, said, bend))).toEqual(STMT)
    }
    expect(browser.events).toEqual([])
    expect(await storedLogin(body.sessionId)).toMatchObject({ state: 'pending' })
  })

  test('register trust: the first phone is the one; a second is not told of on the page', async () => {
    const { body } = await begin()
    const said = { service: bar.serviceId, text, sessionId: body.sessionId }
    await sayTrust(person, said)
    const stored = await storedLogin(body.sessionId)
    expect(stored).toMatchObject({ state: 'approved', device: person.thumbprint })
    const other = await enrolled({ push: false })
    // What he says stands all the same.
    expect((await sayTrust(other, said)).status).toBe(200)
    expect(await storedLogin(body.sessionId)).toEqual(stored)
    expect(await trustOf(other)).toHaveLength(1)
  })

  test('register trust: after the minute the trust stands, and the page has heard its end', async () => {
    wait(0)
    const { body } = await begin()
    wait(61)
    const said = { service: bar.serviceId, text, sessionId: body.sessionId }
    expect((await sayTrust(person, said)).status).toBe(200)
    const browser = await connect(body)
    await browser.closed
    expect(browser.events.map(({ type }) => type)).not.toContain('trusted')
    expect(await trustOf()).toHaveLength(1)
  })
})

describe('trust before a login', () => {
  /** A login by scan and one by name, of a bar that demands trust. */
  async function logins(): Promise<{ scanned: Answer['body']; named: Answer['body'] }> {
    const { body: scanned } = await post('/auth/initiate', { serviceId: bar.serviceId }, bar.basic)
    const { body: named } = await post(
      '/auth/initiate',
      { serviceId: bar.serviceId, tokenId: person.tokenId },
      bar.basic,
    )
    return { scanned, named }
  }

  test('trust required: by the service: no claim before, and the same login after it', async () => {
    await changeBar({ trustRequired: true })
    const { scanned, named } = await logins()
    const before = await storedLogin(scanned.sessionId)
    const refused = await scan(person, scanned.qr)
    expect(codeOf(refused)).toEqual(TRUST_FIRST)
    expect(JSON.stringify(refused.body)).not.toContain('Bar')
    expect(codeOf(await person.claim(named.sessionId))).toEqual(TRUST_FIRST)
    expect(await storedLogin(scanned.sessionId)).toEqual(before)
    // Another's trust is not his, nor is his of another service.
    const other = await enrolled({ push: false })
    await sayTrust(other, { service: bar.serviceId, text })
    await openBar({}, 'cinema')
    await sayTrust(person, { service: 'cinema', text: await currentVds('cinema') })
    expect(codeOf(await scan(person, scanned.qr))).toEqual(TRUST_FIRST)

    expect((await say(true)).status).toBe(200)
    for (const claimed of [await scan(person, scanned.qr), await person.claim(named.sessionId)]) {
      expect(claimed.status).toBe(200)
    }
    const { body: claimed } = await scan(person, scanned.qr)
    expect((await person.approve(scanned.sessionId, claimed)).status).toBe(200)
  })

  test('trust required: taken back between claim and approval', async () => {
    await changeBar({ trustRequired: true })
    await say(true, at(-3))
    const { scanned } = await logins()
    const { body: claimed } = await scan(person, scanned.qr)
    await say(false, at(-2))
    const refused = await person.approve(scanned.sessionId, claimed)
    expect(codeOf(refused)).toEqual(TRUST_FIRST)
    expect(await storedLogin(scanned.sessionId)).toMatchObject({ state: 'claimed' })
    await say(true, at(-1))
    expect((await person.approve(scanned.sessionId, claimed)).status).toBe(200)
  })

  test('trust required: without a word of it nobody needs to have said anything', async () => {
    const { scanned } = await logins()
    expect((await scan(person, scanned.qr)).status).toBe(200)
  })

  test('trust required: by the deployment, unless the service is set otherwise', async () => {
    const strict = workerWith({ TRUST_REQUIRED: 'yes' })
    const begin = async () =>
      (await strict.post('/auth/initiate', { serviceId: bar.serviceId }, bar.basic)).body
    expect(codeOf(await scan(person, (await begin()).qr))).toEqual(TRUST_FIRST)
    await changeBar({ trustRequired: false })
    expect((await scan(person, (await begin()).qr)).status).toBe(200)
    await changeBar()
    const login = await begin()
    await say(true)
    expect((await scan(person, login.qr)).status).toBe(200)
  })

  test('trust required: on our own pages as well', async () => {
    await registerClient({}, { trustRequired: true }, 'a-client')
    const page = await beginScan(new Tab(), { client_id: 'a-client' })
    const { qr, sessionId } = shownIn(page)
    expect(codeOf(await scan(person, qr))).toEqual(TRUST_FIRST)
    await sayTrust(person, { service: 'a-client', text: await currentVds('a-client') })
    expect((await claimVia(person, sessionId, 'camera', await proofAt(qr))).status).toBe(200)
  })

  test('trust required: a new text leaves the trust that was said', async () => {
    await changeBar({ trustRequired: true })
    await say(true)
    await changeBar({ trustRequired: true, name: 'Bar du Nord' })
    const { scanned } = await logins()
    expect((await scan(person, scanned.qr)).status).toBe(200)
  })
})

test('309 331 trust: the tables hold the number, the service and no more', async () => {
  await say(true)
  const rows = await eventually(
    async () => JSON.parse((await dumpD1()).service_trust ?? '[]') as Record<string, unknown>[],
  )
  expect(rows).toEqual([
    {
      token_id: person.tokenId,
      service_id: bar.serviceId,
      trusted: 1,
      vds: expect.stringMatching(/^[\w-]{43}$/),
      device: person.thumbprint,
      said_at: expect.any(Number),
    },
  ])
  expect((await dumpD1()).audit).not.toContain(person.tokenId)
})
