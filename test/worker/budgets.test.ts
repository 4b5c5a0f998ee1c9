/** What one login costs, counted where it passes (1-architecture section 5, 6-operations 7.2). */
import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import {
  freshNonce,
  type KeyedClient,
  open,
  proof,
  pushed,
  redeemKeyed,
  registerKeyed,
} from './high-security.ts'
import { type Client, landingOf, redeem, registerClient, Tab, waitingIn } from './relying-party.ts'
import { dumpObject } from './storage.ts'
import { totals, type Watch, watchEverything } from './watch.ts'
import {
  BAR_ORIGIN,
  type Bar,
  connect,
  enrolled,
  freshAddress,
  inboxObject,
  initiate,
  initiateFromPage,
  loginObject,
  openBar,
  type Person,
  post,
  send,
} from './world.ts'

type Door = 'back-end' | 'page' | 'oidc'

const TIME_TO_DECIDE = 8000

let bar: Bar
let client: Client

beforeEach(async () => {
  bar = await openBar()
  client = await registerClient({}, {}, 'a-client')
  // What the isolate remembers of its keys may be from a database that is gone: this looks again, and makes what is missing.
  await send('GET', '/health')
  // The isolate is warm: keys, trust list and push token are in memory, as after any first login.
  await login('back-end', await enrolled())
})

afterEach(() => {
  vi.useRealTimers()
})

/** One login from its first request until its object is empty. `whileDeciding` runs between claim and approval. */
async function login(door: Door, person: Person, whileDeciding = async () => {}): Promise<void> {
  if (door === 'oidc') return oidcLogin(person, whileDeciding)
  const address = { 'CF-Connecting-IP': freshAddress() }
  const { body } =
    door === 'page'
      ? await initiateFromPage(person.tokenId, {}, address)
      : await initiate(bar, person.tokenId)
  const browser = await connect(body)
  const claimed = await person.claim(body.sessionId)
  await whileDeciding()
  vi.setSystemTime(Date.now() + TIME_TO_DECIDE)
  expect((await person.approve(body.sessionId, claimed.body)).status).toBe(200)
  const { code } = await browser.event('approved')
  if (door === 'page') {
    const redeemed = await post('/auth/result', { sessionId: body.sessionId, code }, bar.basic)
    expect(redeemed.status).toBe(200)
  }
  await browser.closed
  // The push, the word to the inbox and the audit row come after the answers.
  await scheduler.wait(150)
  await ringAlarms(loginObject(body.sessionId), 5)
  expect(await dumpObject(loginObject(body.sessionId))).toBe('')
}

/** The same by OpenID Connect: a page of ours with its socket, a code, tokens, userinfo. */
async function oidcLogin(person: Person, whileDeciding: () => Promise<void>): Promise<void> {
  const tab = new Tab()
  const waiting = await tab.begin(person.tokenId, { client_id: client.clientId })
  const { sessionId } = waitingIn(waiting)
  const browser = await tab.socket(waiting)
  const claimed = await person.claim(sessionId)
  await whileDeciding()
  vi.setSystemTime(Date.now() + TIME_TO_DECIDE)
  expect((await person.approve(sessionId, claimed.body)).status).toBe(200)
  await browser.event('approved')
  const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
  const tokens = await redeem(client, parameters.code)
  expect(tokens.status).toBe(200)
  await browser.closed
  await scheduler.wait(150)
  await ringAlarms(loginObject(sessionId), 5)
  expect(await dumpObject(loginObject(sessionId))).toBe('')
}

/** Lets the clock go on for `minutes`, and rings the alarms of an object when they are due. */
async function ringAlarms(
  stub: ReturnType<typeof loginObject> | Awaited<ReturnType<typeof inboxObject>>,
  minutes: number,
): Promise<void> {
  const end = Date.now() + minutes * 60_000
  for (;;) {
    const due = await runInDurableObject(stub as DurableObjectStub, (_, { storage }) =>
      storage.getAlarm(),
    )
    if (due === null || due > end) return
    vi.setSystemTime(due)
    await runDurableObjectAlarm(stub)
  }
}

function report(title: string, watch: Watch): void {
  const counts = Object.entries(totals(watch)).map(([name, n]) => `${name} ${n}`)
  console.info(`cost of a login (${title}): ${counts.join(', ')}`)
}

test.each<Door>(['back-end', 'page', 'oidc'])(
  'budget: a login by the door %s costs no more than the architecture allows',
  async (door) => {
    const person = await enrolled()
    await login('back-end', person)
    // The isolate knows the client, as it knows its keys.
    await login(door, person)
    const watch = await watchEverything()
    await login(door, person)
    report(door, watch)
    const counted = totals(watch)
    expect.soft(counted.workerRequests, watch.workerRequests.join(' ')).toBeLessThanOrEqual(8)
    expect.soft(counted.objectRequests, watch.objectRequests.join(' ')).toBeLessThanOrEqual(8)
    expect.soft(counted.objectRows, JSON.stringify(watch.objectWrites)).toBeLessThanOrEqual(11)
    expect.soft(counted.d1Queries, JSON.stringify(watch.d1)).toBeLessThanOrEqual(5)
    expect.soft(counted.d1Rows, JSON.stringify(watch.d1)).toBeLessThanOrEqual(2)
    const bindings = Object.values(env).map((binding) => Object(binding).constructor.name)
    expect(bindings).toContain('D1Database')
    expect(bindings).not.toContain('KvNamespace')
  },
)

/** The same by the high profile, as often as it happens once the client knows a nonce. */
async function fapiLogin(keyed: KeyedClient, person: Person, nonce: string): Promise<void> {
  const tab = new Tab()
  const proofFor = async (path: string) => ({ DPoP: await proof(keyed.dpop, { path, nonce }) })
  const requestUri = await pushed(keyed, {}, await proofFor('/oidc/par'))
  const waiting = await tab.type(await open(tab, keyed.clientId, requestUri), person.tokenId)
  const { sessionId } = waitingIn(waiting)
  const browser = await tab.socket(waiting)
  const claimed = await person.claim(sessionId)
  vi.setSystemTime(Date.now() + TIME_TO_DECIDE)
  expect((await person.approve(sessionId, claimed.body)).status).toBe(200)
  await browser.event('approved')
  const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
  const proofed = await proofFor('/oidc/token')
  expect((await redeemKeyed(keyed, parameters.code, {}, proofed)).status).toBe(200)
  await browser.closed
  await scheduler.wait(150)
  await ringAlarms(loginObject(sessionId), 5)
  expect(await dumpObject(loginObject(sessionId))).toBe('')
}

// No budget of the architecture: what the high profile adds, written down so that it can't grow unseen.
test('budget: a login of the high profile adds a request, and pays for each proof in D1', async () => {
  const person = await enrolled()
  const keyed = await registerKeyed({ profile: 'fapi2' }, {}, 'a-fapi-client')
  const nonce = await freshNonce()
  await fapiLogin(keyed, person, nonce)
  // What it used up has ended by now: the next one sweeps it.
  vi.setSystemTime(Date.now() + 120_000)
  const watch = await watchEverything()
  await fapiLogin(keyed, person, nonce)
  report('oidc, high profile', watch)
  const counted = totals(watch)
  // The push; the rest is as in any login.
  expect(counted.workerRequests, watch.workerRequests.join(' ')).toBe(8)
  expect(counted.objectRequests, watch.objectRequests.join(' ')).toBeLessThanOrEqual(8)
  expect(counted.objectRows, JSON.stringify(watch.objectWrites)).toBeLessThanOrEqual(11)
  // A question more at PAR and one at authorize; there and at the token endpoint two statements for what is good for one use;
  // and the look at the signing keys, which is due once a minute.
  expect(counted.d1Queries, JSON.stringify(watch.d1)).toBeLessThanOrEqual(12)
  // Beside the audit row, an assertion and a proof, twice, each written with its index, and swept.
  expect(counted.d1Rows, JSON.stringify(watch.d1)).toBeLessThanOrEqual(14)
})

test('budget: while the person decides nothing is asked of D1 and of no object', async () => {
  const person = await enrolled()
  const watch = await watchEverything()
  await login('page', person, async () => {
    const before = [watch.d1.length, watch.objectRequests.length]
    await scheduler.wait(200)
    expect([watch.d1.length, watch.objectRequests.length]).toEqual(before)
  })
})

test("budget: a person's first login of the day pays for the inbox as well", async () => {
  const person = await enrolled()
  const watch = await watchEverything()
  await login('back-end', person)
  await ringAlarms(await inboxObject(person.tokenId), 25 * 60)
  expect(await dumpObject(await inboxObject(person.tokenId))).toBe('')
  report('back-end, first of the day, inbox swept', watch)
  const counted = totals(watch)
  expect(counted.objectRequests, watch.objectRequests.join(' ')).toBeLessThanOrEqual(8)
  expect(counted.objectRows, JSON.stringify(watch.objectWrites)).toBeLessThanOrEqual(14)
})

test('budget: a preflight costs one request and one query, and a browser keeps it for two hours', async () => {
  const watch = await watchEverything()
  const preflight = await send('OPTIONS', '/auth/initiate', undefined, {
    Origin: BAR_ORIGIN,
    'Access-Control-Request-Method': 'POST',
    'Access-Control-Request-Headers': 'content-type',
  })
  expect(preflight.headers.get('Access-Control-Max-Age')).toBe('7200')
  expect(totals(watch)).toMatchObject({ workerRequests: 1, objectRequests: 0, d1Queries: 1 })
})
