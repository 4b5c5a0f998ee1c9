/** What was found by attacking services that prove themselves and login by scan, each as the request that found it. */

import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { CBORTag } from '@levischuck/tiny-cbor'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { standingOf } from '../../src/login/store.ts'
import { encodeCbor } from '../../src/seal/cose-sign1.ts'
import { trustListsOf } from '../../src/seal/store.ts'
import { expectAuthz, expectPage, untouched, wait } from './hosted.ts'
import {
  approve,
  type Client,
  claimsOf,
  formIn,
  landingOf,
  redeem,
  registerClient,
  Tab,
  waitingIn,
} from './relying-party.ts'
import { beginScan, follow, sayTrust, scan, shownIn, showQr, trustBody } from './scan.ts'
import { changeBar, codeOf, currentVds, pack, showVds } from './service-texts.ts'
import { dumpD1 } from './storage.ts'
import {
  type Answer,
  BAR_REGISTRATION,
  enrolled,
  eventually,
  freshAddress,
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

let client: Client
beforeEach(async () => {
  client = await registerClient({}, {}, 'a-client')
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

/** The phone scans the page and approves. */
async function approveByScan(by: Person, page: Answer): Promise<void> {
  const { sessionId, qr } = shownIn(page)
  const claimed = await scan(by, qr)
  expect((await by.approve(sessionId, claimed.body)).status).toBe(200)
}

/** A login with `changes` at the client of these tests, begun by QR. */
function scanPage(tab: Tab, changes: Record<string, string> = {}): Promise<Answer> {
  return beginScan(tab, { client_id: 'a-client', ...changes })
}

describe('the word of who was rung', () => {
  const CLOSED = ['declines', 'approves', 'approves and redeems'] as const

  test.each(CLOSED)(
    '225 abuse: "not me" counts although who rang %s with a phone of his own',
    async (how) => {
      const victim = await enrolled()
      const mallory = await enrolled({ push: false })
      const tab = new Tab()
      const page = await tab.begin(victim.tokenId, { client_id: 'a-client' })
      await eventually(() => victim.pushes())
      const { sessionId } = waitingIn(page)
      const nonce = (await storedLogin(sessionId))?.attempt.nonce ?? ''
      if (how === 'declines') {
        const { body } = await scan(mallory, shownIn(page).qr)
        expect((await mallory.deny(sessionId, body.nonce)).status).toBe(200)
      } else {
        await approveByScan(mallory, page)
      }
      if (how === 'approves and redeems') {
        const onward = await tab.press(await tab.press(page, '/login/continue'), '/login/continue')
        expect((await redeem(client, landingOf(onward).parameters.code)).status).toBe(200)
      }
      await eventually(() => loginAudit(sessionId))

      expect((await victim.deny(sessionId, nonce, 'not_me')).status).toBe(200)
      wait(121)
      await new Tab().begin(victim.tokenId, { client_id: 'a-client' })
      await scheduler.wait(150)
      expect(await victim.pushes()).toHaveLength(1)
    },
  )

  test('225 abuse: a login that is gone can be reported by who was rung only, and by nothing but "not me"', async () => {
    const victim = await enrolled({ push: false })
    const other = await enrolled({ push: false })
    const tab = new Tab()
    const page = await tab.begin(victim.tokenId, { client_id: 'a-client' })
    const { sessionId } = waitingIn(page)
    const nonce = (await storedLogin(sessionId))?.attempt.nonce ?? ''
    await approveByScan(other, page)
    const onward = await tab.press(await tab.press(page, '/login/continue'), '/login/continue')
    await redeem(client, landingOf(onward).parameters.code)
    const stranger = await enrolled({ push: false })
    for (const refused of [
      await stranger.deny(sessionId, nonce, 'not_me'),
      await victim.deny(sessionId, nonce),
      await victim.deny(`sess_${'0'.repeat(64)}`, nonce, 'not_me'),
    ]) {
      expect(codeOf(refused)).toEqual([404, 'session_not_found'])
    }
    const quiet = await runInDurableObject(await inboxObject(victim.tokenId), (_, { storage }) => {
      return JSON.parse(String(storage.sql.exec('SELECT book FROM inbox').one().book)).quietUntil
    })
    expect(quiet).toBe(0)
  })
})

describe('the word of who was rung, again', () => {
  test('225 abuse: "not me" about the ring before ends the login that rings again', async () => {
    const victim = await enrolled()
    const tab = new Tab()
    const page = await tab.begin(victim.tokenId, { client_id: 'a-client' })
    const { sessionId } = waitingIn(page)
    const nonce = (await storedLogin(sessionId))?.attempt.nonce ?? ''
    const again = { ...formIn(page.body, '/login/continue'), after: '1' }
    expectPage(await tab.send('POST', '/login/address', again), 200, 'login-pushing')
    const { attempt } = (await storedLogin(sessionId)) ?? {}
    expect(attempt?.number).toBe(2)
    expect((await victim.deny(sessionId, nonce, 'not_me')).status).toBe(200)
    expect(await storedLogin(sessionId)).toMatchObject({ state: 'rejected', rejection: 'not_me' })
    expect((await victim.pending()).body).toEqual([])
  })

  test('225 abuse: and leaves a login that another phone has claimed since to that phone', async () => {
    const victim = await enrolled()
    const other = await enrolled({ push: false })
    const tab = new Tab()
    const page = await tab.begin(victim.tokenId, { client_id: 'a-client' })
    const { sessionId } = waitingIn(page)
    const nonce = (await storedLogin(sessionId))?.attempt.nonce ?? ''
    const { body } = await scan(other, shownIn(page).qr)
    expect((await victim.deny(sessionId, nonce, 'not_me')).status).toBe(200)
    expect((await other.approve(sessionId, body)).status).toBe(200)
  })

  test('225 abuse: it counts although who rang has begun another login meanwhile', async () => {
    const victim = await enrolled()
    const mallory = await enrolled({ push: false })
    const tab = new Tab()
    const page = await tab.begin(victim.tokenId, { client_id: 'a-client' })
    await eventually(() => victim.pushes())
    const { sessionId } = waitingIn(page)
    const nonce = (await storedLogin(sessionId))?.attempt.nonce ?? ''
    await approveByScan(mallory, page)
    const onward = await tab.press(await tab.press(page, '/login/continue'), '/login/continue')
    await redeem(client, landingOf(onward).parameters.code)
    await eventually(() => loginAudit(sessionId))
    wait(61)
    await new Tab().begin(victim.tokenId, { client_id: 'a-client' })
    expect((await victim.deny(sessionId, nonce, 'not_me')).status).toBe(200)
  })
})

describe('trust', () => {
  test('352 abuse: what a thief has said does not count for the holder who takes his place', async () => {
    const bar = await openBar({ trustRequired: true })
    const thief = await Person.make({ push: false })
    const address = { 'CF-Connecting-IP': freshAddress() }
    await post('/enroll', await thief.enrollBody({ grant: false }), address)
    const said = { service: bar.serviceId, text: await currentVds() }
    expect((await sayTrust(thief, said)).status).toBe(200)
    const holder = await Person.make({ tokenId: thief.tokenId, push: false })
    holder.seal = thief.seal
    expect((await holder.enroll({ 'CF-Connecting-IP': freshAddress() })).status).toBe(200)
    const { body } = await post('/auth/initiate', { serviceId: bar.serviceId }, bar.basic)
    expect(codeOf(await scan(holder, body.qr))).toEqual([403, 'trust_required'])
    wait(1)
    expect((await sayTrust(holder, said)).status).toBe(200)
    expect((await scan(holder, body.qr)).status).toBe(200)
  })

  test('303 abuse: a word and its audit row are stored both or neither', async () => {
    const bar = await openBar()
    const person = await enrolled({ push: false })
    const body = await trustBody(person, { service: bar.serviceId, text: await currentVds() })
    await env.DB.prepare(
      "CREATE TRIGGER fault BEFORE INSERT ON audit WHEN NEW.event = 'trust_said' BEGIN SELECT RAISE(ABORT, 'no'); END",
    ).run()
    expect((await post('/device/trust', body)).status).toBe(503)
    await env.DB.prepare('DROP TRIGGER fault').run()
    expect((await post('/device/trust', body)).status).toBe(200)
    const { audit = '', service_trust: trust = '' } = await dumpD1()
    expect([audit.match(/trust_said/g)?.length, JSON.parse(trust).length]).toEqual([1, 1])
  })

  test('238 abuse: a word that a revocation overtakes leaves nothing', async () => {
    const bar = await openBar()
    const person = await enrolled({ push: false })
    const body = await trustBody(person, { service: bar.serviceId, text: await currentVds() })
    const batch = env.DB.batch.bind(env.DB)
    vi.spyOn(env.DB, 'batch').mockImplementationOnce(async (statements) => {
      await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
      return batch(statements)
    })
    expect(codeOf(await post('/device/trust', body))).toEqual([401, 'invalid_statement'])
    vi.restoreAllMocks()
    const { audit = '', service_trust: trust = '[]' } = await dumpD1()
    expect([audit.match(/trust_said/g), trust]).toEqual([null, '[]'])
  })
})

describe('a link', () => {
  test('358 abuse: a link that is followed after the push: nothing for who sent it', async () => {
    const victim = await enrolled({ push: false })
    const attacker = new Tab()
    const page = await attacker.begin(victim.tokenId, { client_id: 'a-client' })
    const socket = await attacker.socket(page)
    const { sessionId, link } = shownIn(page)
    expect((await victim.claim(sessionId)).status).toBe(200)
    const followed = await follow(victim, link)
    expect(followed.status).toBe(200)
    const approved = await victim.approve(sessionId, followed.body)
    expect(approved.body.returnTo).toMatch(/\/login\/return#sess_/)
    expect((await socket.closed).code).toBe(1000)
    // The word of a claim comes once.
    const types = socket.events.map(({ type }) => type)
    expect(types.filter((type) => type === 'claimed')).toHaveLength(1)
    expect(types).not.toContain('approved')
    expectPage(await attacker.press(page, '/login/continue'), 200, 'login-other-window')
  })

  test('358 abuse: a link that is followed while the approval is on its way never lacks its way back', async () => {
    const person = await enrolled({ push: false })
    for (let round = 0; round < 6; round++) {
      const tab = new Tab()
      const page = await tab.begin(person.tokenId, { client_id: 'a-client' })
      const { sessionId, link } = shownIn(page)
      const { body } = await person.claim(sessionId)
      const approval = await person.approval(sessionId, body)
      const late = scheduler.wait(round).then(() => follow(person, link))
      const [approved] = await Promise.all([post('/auth/verify', approval), late])
      const { state, via } = (await storedLogin(sessionId)) ?? {}
      expect([approved.status, state]).toEqual([200, 'approved'])
      expect(approved.body.returnTo !== undefined, `round ${round}`).toBe(via === 'link')
      expect(String(approved.body.returnTo)).not.toMatch(/null$/)
    }
  })

  /** Somebody follows the link of `page` and approves: what his app is to open. */
  async function followed(by: Person, page: Answer): Promise<Record<string, string>> {
    const { sessionId, link } = shownIn(page)
    const { body } = await by.approve(sessionId, (await follow(by, link)).body)
    const { hash } = new URL(body.returnTo)
    return { sessionId, completion: hash.slice(`#${sessionId}.`.length) }
  }

  test('360 abuse: who held the link of another’s page signs that browser in as himself: it asks', async () => {
    const mallory = await enrolled({ push: false })
    const own = new Tab()
    const page = await scanPage(own)
    const fields = await followed(mallory, page)
    const confirm = await own.send('POST', '/login/return', fields)
    expectPage(confirm, 200, 'login-confirm')
    expect(confirm.body).toContain(`••••${mallory.tokenId.slice(-4)}`)
    expect(confirm.body).not.toContain(mallory.tokenId)
    expect(confirm.headers.has('Set-Cookie')).toBe(false)
    const no = { ...fields, confirmed: 'no' }
    expectAuthz(await own.send('POST', '/login/return', no), 'access_denied')
    expectPage(
      await own.send('POST', '/login/return', { ...fields, confirmed: 'yes' }),
      409,
      'login-completed',
    )
    expect(own.cookies.has('__Host-known')).toBe(false)
  })

  test('360 abuse: a completion code that somebody made up or bent asks nothing and wakes nothing', async () => {
    const person = await enrolled({ push: false })
    const own = new Tab()
    const fields = await followed(person, await scanPage(own))
    const { completion = '' } = fields
    const other = await followed(person, await scanPage(own, { prompt: 'login' }))
    for (const bent of [
      '',
      'x',
      completion.slice(0, -2),
      `${completion}A`,
      other.completion ?? '',
    ]) {
      const answer = await untouched(() =>
        own.send('POST', '/login/return', { ...fields, completion: bent, confirmed: 'yes' }),
      )
      expectPage(answer, 403, 'login-foreign')
    }
  })
})

describe('a number that stood in the page', () => {
  test('360 abuse: login_hint of somebody whom this browser does not know: it asks', async () => {
    const mallory = await enrolled({ push: false })
    const own = new Tab()
    const start = await own.authorize({ client_id: 'a-client', login_hint: mallory.tokenId })
    const page = await own.press(start, '/login/address')
    const socket = await own.socket(page)
    await approve(mallory, page)
    expect((await socket.event('approved')).confirm).toBe(mallory.tokenId.slice(-4))
    const confirm = await own.press(page, '/login/continue')
    expectPage(confirm, 200, 'login-confirm')
    const { parameters } = landingOf(await own.press(confirm, '/login/continue'))
    const { body } = await redeem(client, parameters.code)
    expect(claimsOf(body.id_token).sub).toBe(mallory.tokenId)

    // Now he is known here.
    const second = { client_id: 'a-client', login_hint: mallory.tokenId, prompt: 'login' }
    const again = await own.press(await own.authorize(second), '/login/address')
    await approve(mallory, again)
    expect(landingOf(await own.press(again, '/login/continue')).parameters.code).toBeDefined()
  })

  test('360 abuse: another number than the hint was typed: nothing is asked', async () => {
    const person = await enrolled({ push: false })
    const hint = { client_id: 'a-client', login_hint: crypto.randomUUID() }
    const tab = new Tab()
    const page = await tab.begin(person.tokenId, hint)
    await approve(person, page)
    expect(landingOf(await tab.press(page, '/login/continue')).parameters.code).toBeDefined()
  })
})

describe('the registry of the moment', () => {
  test.each([
    ['trust', { trustRequired: true }],
    ['transfer', { confirmation: 'transfer' }],
  ] as const)(
    '170 abuse: %s that is demanded now binds a page that was open',
    async (what, change) => {
      const person = await enrolled({ push: false })
      const tab = new Tab()
      const start = await tab.authorize({ client_id: 'a-client' })
      const open = await tab.send('POST', '/login/scan', formIn(start.body, '/login/scan'))
      await registerClient({}, change, 'a-client')
      // The attempt that is open was asked before; the next one, and a page that began nothing, are asked now.
      for (const page of [await showQr(tab, open), await showQr(tab, start)]) {
        const claimed = await scan(person, shownIn(page).qr)
        if (what === 'trust') expect(codeOf(claimed)).toEqual([403, 'trust_required'])
        else expect([claimed.status, claimed.body.otp]).toEqual([200, undefined])
      }
    },
  )
})

describe('what costs more than it should', () => {
  test('176 abuse: a short text of 65,000 empty items is refused before they are decoded', async () => {
    await openBar()
    const empty = (items: number) =>
      new Uint8Array([0x99, items >> 8, items & 255, ...new Array(items).fill(0x60)])
    const head = encodeCbor(
      new Map<number, number | Uint8Array>([
        [1, -7],
        [4, new Uint8Array(8)],
      ]),
    )
    const wrapped = encodeCbor(
      new CBORTag(18, [head, new Map(), empty(60_000), new Uint8Array(64)]),
    )
    for (const bytes of [empty(65_000), wrapped]) {
      const serviceVds = await pack(bytes)
      expect(serviceVds.length).toBeLessThan(400)
      const decoded = vi.spyOn(TextDecoder.prototype, 'decode')
      const answer = await untouched(() => post('/auth/initiate', { serviceVds }))
      expect(codeOf(answer)).toEqual([400, 'invalid_service_vds'])
      expect(decoded.mock.calls.length).toBeLessThan(1000)
      decoded.mockRestore()
    }
  })

  test('309 abuse: one phone that says the same every second leaves each word once an hour', async () => {
    await openBar()
    const person = await enrolled({ push: false })
    const text = await currentVds()
    for (let i = -20; i <= 20; i++) {
      const said = { service: 'bar-le-central', text, trusted: i % 3 !== 0 }
      const { status } = await sayTrust(person, said, { payload: { iat: now() + i } })
      expect(status).toBe(200)
    }
    const { results } = await env.DB.prepare(
      "SELECT detail FROM audit WHERE event = 'trust_said'",
    ).all<{ detail: string }>()
    expect(results.map(({ detail }) => JSON.parse(detail).trusted).sort()).toEqual([false, true])
  })
})

describe('a key that leaked, or cannot be used', () => {
  test('325 abuse: what a removed service-seal key signed is shown, registered and trusted no more', async () => {
    await send('GET', '/health')
    const bar = await openBar()
    await operator('POST', '/operator/services/bar-le-central/vds', { withdrawOthers: true })
    const person = await enrolled({ push: false })
    const text = await currentVds()
    const { keys } = (await send('GET', '/.well-known/device-jwks.json')).body
    const { kid } = keys.find((key: { kid: string }) => key.kid.length === 11)
    await operator('POST', `/operator/keys/${kid}/remove`, { reason: 'leaked' })
    expect(codeOf(await showVds())).toEqual([404, 'not_found'])
    const register = { serviceId: bar.serviceId, purpose: 'register' }
    const registering = await post('/auth/initiate', register, bar.basic)
    expect(codeOf(registering)).toEqual([403, 'service_vds_required'])
    const said = { service: bar.serviceId, text }
    expect(codeOf(await sayTrust(person, said))).toEqual([401, 'invalid_statement'])
    await changeBar()
    expect((await sayTrust(person, { ...said, text: await currentVds() })).status).toBe(200)
  })

  test('325 abuse: a text that was signed as its key was removed never comes into force', async () => {
    await send('GET', '/health')
    await openBar()
    await operator('POST', '/operator/services/bar-le-central/vds', { withdrawOthers: true })
    const { keys } = (await send('GET', '/.well-known/device-jwks.json')).body
    const { kid } = keys.find((key: { kid: string }) => key.kid.length === 11)
    const batch = env.DB.batch.bind(env.DB)
    vi.spyOn(env.DB, 'batch').mockImplementationOnce(async (statements) => {
      await operator('POST', `/operator/keys/${kid}/remove`, { reason: 'leaked' })
      return batch(statements)
    })
    await changeBar({ name: 'Bar du Nord' })
    vi.restoreAllMocks()
    expect(codeOf(await showVds())).toEqual([404, 'not_found'])
    await changeBar({ name: 'Bar du Nord' })
    expect((await showVds()).status).toBe(200)
  })

  test('170 abuse: what was withdrawn hours ago is no part of every login', async () => {
    await openBar()
    await operator('POST', '/operator/services/bar-le-central/vds/withdraw', {})
    const trust = trustListsOf(env.DB, [])
    expect((await standingOf(env.DB, trust, 'x')).withdrawnVds).toHaveLength(1)
    await env.DB.prepare('UPDATE service_vds SET withdrawn_at = withdrawn_at - 7200').run()
    expect((await standingOf(env.DB, trust, 'x')).withdrawnVds).toEqual([])
  })

  test('170 abuse: a service can be switched off while no Service VDS can be made for it', async () => {
    await openBar()
    // The isolate may remember keys of an earlier test, which this database doesn't hold.
    await send('GET', '/health')
    await env.DB.prepare(
      "UPDATE signing_key SET wrapped_private_key = 'broken' WHERE purpose = 'service'",
    ).run()
    await send('GET', '/health')
    const registration = { ...BAR_REGISTRATION, name: 'Bar du Nord' }
    const path = '/operator/services/bar-le-central'
    expect((await operator('PUT', path, registration)).status).toBe(503)
    const off = await operator('PUT', path, { ...registration, enabled: false })
    expect([off.status, off.body.enabled]).toEqual([200, false])
    // Nor is what the isolate remembers of it for the tests that follow.
    await env.DB.prepare("DELETE FROM signing_key WHERE purpose = 'service'").run()
    expect((await send('GET', '/health')).body.checks.signingKeys).toBe('ok')
  })
})

test('197 abuse: a cookie of any length opens the socket', async () => {
  const person = await enrolled({ push: false })
  const tab = new Tab()
  const page = await scanPage(tab)
  const cookie = `${tab.cookieHeader}; __Host-known=${'A'.repeat(17_000)}.${'B'.repeat(16)}`
  const socket = await tab.socket(page, { cookie })
  await approveByScan(person, page)
  expect((await socket.event('approved')).confirm).toBe(person.tokenId.slice(-4))
})

test('360 abuse: login-confirm comes up with no button in focus', async () => {
  const person = await enrolled({ push: false })
  const tab = new Tab()
  const page = await scanPage(tab)
  await approveByScan(person, page)
  const confirm = await tab.press(page, '/login/continue')
  expect(confirm.body).not.toMatch(/<button[^>]*autofocus/)
})
