/** What a login by scan costs, counted where it passes (1-architecture section 5): no more than one by push. */
import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type Client, formIn, landingOf, redeem, registerClient, Tab } from './relying-party.ts'
import { beginScan, follow, sayTrust, scan, shownIn } from './scan.ts'
import { dumpObject } from './storage.ts'
import { totals, type Watch, watchEverything } from './watch.ts'
import {
  BAR_ORIGIN,
  type Bar,
  connect,
  enrolled,
  freshAddress,
  loginObject,
  openBar,
  type Person,
  post,
  send,
} from './world.ts'

const TIME_TO_DECIDE = 8000

let bar: Bar
let client: Client
let person: Person

beforeEach(async () => {
  bar = await openBar()
  client = await registerClient({}, {}, 'a-client')
  person = await enrolled({ push: false })
  // The isolate is warm, and so is the person's inbox: the day's first login pays for both.
  await readKeys()
  await LOGINS.page()
})

afterEach(() => {
  vi.useRealTimers()
})

/** Reads the signing keys, which an isolate does once a minute and these tests' clock would at any time. */
async function readKeys(): Promise<void> {
  expect((await send('GET', '/health')).status).toBeLessThan(600)
}

function decide(): void {
  if (!vi.isFakeTimers()) vi.useFakeTimers({ toFake: ['Date'] })
  vi.setSystemTime(Date.now() + TIME_TO_DECIDE)
}

/** The push that isn't, the word to the inbox and the audit row come after the answers; then the alarms that are due. */
async function settle(sessionId: string): Promise<void> {
  await scheduler.wait(150)
  const stub = loginObject(sessionId)
  for (;;) {
    const due = await runInDurableObject(stub, (_, { storage }) => storage.getAlarm())
    if (due === null) break
    if (!vi.isFakeTimers()) vi.useFakeTimers({ toFake: ['Date'] })
    vi.setSystemTime(Math.max(Date.now(), due))
    await runDurableObjectAlarm(stub)
  }
  expect(await dumpObject(stub)).toBe('')
}

async function direct(headers: Record<string, string>): Promise<void> {
  const { body } = await post('/auth/initiate', { serviceId: bar.serviceId }, headers)
  const browser = await connect(body)
  const claimed = await scan(person, body.qr)
  decide()
  expect((await person.approve(body.sessionId, claimed.body)).status).toBe(200)
  const { code } = await browser.event('approved')
  if (code !== undefined) {
    const redeemed = await post('/auth/result', { sessionId: body.sessionId, code }, bar.basic)
    expect(redeemed.status).toBe(200)
  }
  await browser.closed
  await settle(body.sessionId)
}

/** On our own pages, in a browser that knows the person or asks who he is; with our script or without. */
async function hosted(tab: Tab, script = true): Promise<void> {
  const page = await beginScan(tab, { client_id: client.clientId, prompt: 'login' })
  const { sessionId, qr } = shownIn(page)
  const browser = script ? await tab.socket(page) : undefined
  const claimed = await scan(person, qr)
  decide()
  expect((await person.approve(sessionId, claimed.body)).status).toBe(200)
  const confirm = (await browser?.event('approved'))?.confirm
  const form = formIn(page.body, '/login/continue')
  let answer = await tab.send(
    'POST',
    '/login/continue',
    confirm ? { ...form, confirmed: 'yes' } : form,
  )
  if (!script) answer = await tab.press(answer, '/login/continue')
  const { parameters } = landingOf(answer)
  expect((await redeem(client, parameters.code)).status).toBe(200)
  await browser?.closed
  await settle(sessionId)
}

async function sameDevice(): Promise<void> {
  const tab = new Tab()
  const page = await beginScan(tab, { client_id: client.clientId })
  const { sessionId, link } = shownIn(page)
  const browser = await tab.socket(page)
  const claimed = await follow(person, link)
  decide()
  const { body } = await person.approve(sessionId, claimed.body)
  await browser.closed
  const completion = new URL(body.returnTo).hash.slice(`#${sessionId}.`.length)
  expect((await tab.send('GET', '/login/return')).status).toBe(200)
  const fields = { sessionId, completion, confirmed: 'yes' }
  const onward = await tab.send('POST', '/login/return', fields)
  expect((await redeem(client, landingOf(onward).parameters.code)).status).toBe(200)
  await settle(sessionId)
}

const familiar = new Tab()

const LOGINS = {
  page: () => direct({ Origin: BAR_ORIGIN, 'CF-Connecting-IP': freshAddress() }),
  'back end': () => direct(bar.basic),
  'page of ours that knows the person': () => hosted(familiar),
  'page of ours that asks who it is': () => hosted(new Tab()),
  'page of ours that asks who it is, without script': () => hosted(new Tab(), false),
  'link on the same device': () => sameDevice(),
}

async function costOf(title: string, act: () => Promise<unknown>): Promise<Watch> {
  await readKeys()
  const watch = await watchEverything()
  await act()
  const counts = Object.entries(totals(watch)).map(([name, n]) => `${name} ${n}`)
  console.info(`cost of a login (scan, ${title}): ${counts.join(', ')}`)
  return watch
}

test.each(Object.keys(LOGINS) as (keyof typeof LOGINS)[])(
  'budget: a login by scan, %s, costs no more than the architecture allows',
  async (how) => {
    // The isolate knows the client, and the browser perhaps the person.
    await LOGINS[how]()
    const watch = await costOf(how, LOGINS[how])
    const counted = totals(watch)
    expect.soft(counted.workerRequests, watch.workerRequests.join(' ')).toBeLessThanOrEqual(8)
    expect.soft(counted.objectRequests, watch.objectRequests.join(' ')).toBeLessThanOrEqual(8)
    expect.soft(counted.objectRows, JSON.stringify(watch.objectWrites)).toBeLessThanOrEqual(11)
    expect.soft(counted.d1Queries, JSON.stringify(watch.d1)).toBeLessThanOrEqual(5)
    expect.soft(counted.d1Rows, JSON.stringify(watch.d1)).toBeLessThanOrEqual(2)
  },
)

test('budget: while the phone scans and the person decides, the moving QR asks nobody', async () => {
  const { body } = await post('/auth/initiate', { serviceId: bar.serviceId }, bar.basic)
  const browser = await connect(body)
  const watch = await watchEverything()
  decide()
  await scheduler.wait(200)
  expect(totals(watch)).toMatchObject({ workerRequests: 0, objectRequests: 0, d1Queries: 0 })
  // The page draws a new proof by itself, and that is good.
  expect((await scan(person, body.qr)).status).toBe(200)
  await browser.event('otp_ready')
  const before = [watch.d1.length, watch.objectRequests.length]
  decide()
  await scheduler.wait(200)
  expect([watch.d1.length, watch.objectRequests.length]).toEqual(before)
})

test('budget: a QR page that nobody scans costs one object, and no inbox', async () => {
  const watch = await costOf('nobody scans', async () => {
    const { body } = await post('/auth/initiate', { serviceId: bar.serviceId }, bar.basic)
    await settle(body.sessionId)
  })
  expect(watch.objectRequests.filter((name) => name.startsWith('inbox.'))).toEqual([])
  const counted = totals(watch)
  expect(counted.objectRequests, watch.objectRequests.join(' ')).toBeLessThanOrEqual(3)
  expect(counted.objectRows, JSON.stringify(watch.objectWrites)).toBeLessThanOrEqual(9)
  // The service asked about, and the audit row.
  expect(counted.d1Queries, JSON.stringify(watch.d1)).toBe(2)
})

// No login, so no budget of the architecture: written down so that it can't grow unseen.
test('budget: trusting a service once', async () => {
  const text = (await send('GET', `/services/${bar.serviceId}/vds`)).body.serviceVds
  const watch = await costOf('register', async () => {
    const register = { serviceId: bar.serviceId, purpose: 'register' }
    const { body } = await post('/auth/initiate', register, bar.basic)
    const browser = await connect(body)
    await sayTrust(person, { service: bar.serviceId, text, sessionId: body.sessionId })
    await browser.event('trusted')
    await settle(body.sessionId)
  })
  const counted = totals(watch)
  expect(counted.workerRequests, watch.workerRequests.join(' ')).toBe(3)
  expect(counted.objectRequests, watch.objectRequests.join(' ')).toBeLessThanOrEqual(5)
  expect(counted.objectRows, JSON.stringify(watch.objectWrites)).toBeLessThanOrEqual(9)
  expect(counted.d1Queries, JSON.stringify(watch.d1)).toBeLessThanOrEqual(6)
})
