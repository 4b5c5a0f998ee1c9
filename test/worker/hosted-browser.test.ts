/** A login belongs to the browser that began it: pages, forms and socket (5-security 48, 4.15). */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { expectPage, objectIds } from './hosted.ts'
import {
  approve,
  type Client,
  formIn,
  landingOf,
  pageId,
  REDIRECT_URI,
  RP_ORIGIN,
  redeem,
  registerClient,
  Tab,
  waitingIn,
} from './relying-party.ts'
import { type Browser, enrolled, ISSUER, type Person, storedLogin } from './world.ts'

let client: Client
let person: Person
let tab: Tab
let before: readonly string[]
beforeEach(async () => {
  client = await registerClient()
  person = await enrolled({ push: false })
  tab = new Tab()
  before = await objectIds()
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const STEPS = ['/login/scan', '/login/address', '/login/continue', '/login/cancel'] as const

describe('whose login it is', () => {
  /** Browsers that aren't the one that began. */
  function intruders(): [string, Tab][] {
    const own = tab.cookies.get('__Host-browser') ?? ''
    const flipped = `${own[0] === 'A' ? 'B' : 'A'}${own.slice(1)}`
    const other = new Tab(new Map([['__Host-browser', 'AAAAAAAAAAAAAAAAAAAAAA']]))
    const cut = new Tab(new Map([['__Host-browser', own.slice(0, -1)]]))
    const renamed = new Tab(new Map([['__host-browser', own]]))
    const twice = new Tab(new Map([['__Host-browser', `${own}; __Host-browser=${own}`]]))
    return [
      ['no cookie', new Tab()],
      ['an edited cookie', new Tab(new Map([['__Host-browser', flipped]]))],
      ['a shortened cookie', cut],
      ['another name', renamed],
      ['the cookie twice', twice],
      ['another browser', other],
    ]
  }

  test('048 hosted: no step of another browser does anything', async () => {
    const waiting = await tab.begin(person.tokenId)
    const { sessionId } = waitingIn(waiting)
    const login = await storedLogin(sessionId)
    const objects = await objectIds()
    for (const [name, intruder] of intruders()) {
      for (const path of STEPS) {
        const { ticket = '' } = formIn(waiting.body, '/login/continue')
        const form = { ticket, after: '1', tokenId: person.tokenId, confirmed: 'yes' }
        const answer = await intruder.send('POST', path, form)
        expect([name, path, answer.status, pageId(answer)]).toEqual([
          name,
          path,
          403,
          'login-browser',
        ])
        expect(answer.headers.has('Location')).toBe(false)
        expect(answer.headers.has('Set-Cookie')).toBe(false)
      }
    }
    expect(await storedLogin(sessionId)).toEqual(login)
    expect(await objectIds()).toEqual(objects)
    // Nor after the approval: the code waits for the browser that began.
    await approve(person, waiting)
    for (const [, intruder] of intruders()) {
      expectPage(await intruder.press(waiting, '/login/continue'), 403, 'login-browser')
      expectPage(await intruder.press(waiting, '/login/cancel'), 403, 'login-browser')
    }
    const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
    expect((await redeem(client, parameters.code)).status).toBe(200)
  })

  test('048 hosted: the first page of one browser begins nothing in another', async () => {
    const start = await tab.authorize()
    const other = new Tab()
    await other.authorize()
    expectPage(await other.type(start, person.tokenId), 403, 'login-browser')
    expectPage(await other.press(start, '/login/scan'), 403, 'login-browser')
    expectPage(await other.press(start, '/login/cancel'), 403, 'login-browser')
    expect(await objectIds()).toEqual(before)
  })

  test('048 hosted: a ticket that was touched is none, nor is another box of ours', async () => {
    const waiting = await tab.begin(person.tokenId)
    const { ticket = '' } = formIn(waiting.body, '/login/continue')
    await approve(person, waiting)
    const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
    const sso = [...tab.cookies].find(([name]) => name.startsWith('__Host-sso-'))?.[1]
    const middle = Math.floor(ticket.length / 2)
    const flip = (at: number) =>
      `${ticket.slice(0, at)}${ticket[at] === 'A' ? 'B' : 'A'}${ticket.slice(at + 1)}`
    for (const edited of [
      '',
      flip(2),
      flip(middle),
      flip(ticket.length - 3),
      ticket.slice(0, -4),
      `${ticket}AAAA`,
      ticket.replace(/^\d+/, '2'),
      sso ?? 'none',
      parameters.code ?? 'none',
    ]) {
      for (const path of STEPS) {
        const form = { ticket: edited, tokenId: person.tokenId, after: '0' }
        expectPage(await tab.send('POST', path, form), 403, 'login-browser')
      }
    }
  })

  test('048 hosted: what a form adds is ignored; the request is what the server sealed', async () => {
    const start = await tab.authorize()
    const added = {
      redirect_uri: 'https://evil.example/cb',
      client_id: 'other',
      state: 'other',
      scope: 'openid identity:date_of_birth',
      response_mode: 'fragment',
      sessionId: `sess_${'0'.repeat(64)}`,
    }
    const form = { ...formIn(start.body, '/login/address'), ...added, tokenId: person.tokenId }
    const waiting = await tab.send('POST', '/login/address', form)
    const { body: claimed } = await person.claim(waitingIn(waiting).sessionId)
    expect(claimed.scopes).toEqual(['identity:age_over_18', 'identity:name'])
    expect(claimed.service.id).toBe('bar-le-central')
    await person.approve(waitingIn(waiting).sessionId, claimed)
    const done = await tab.send('POST', '/login/continue', {
      ...formIn(waiting.body, '/login/continue'),
      ...added,
    })
    expect(landingOf(done)).toEqual({
      address: REDIRECT_URI,
      parameters: { code: expect.any(String), state: 'random-csrf-token', iss: ISSUER },
    })
  })

  /** The socket was closed with `code`, and nothing was said. */
  async function expectTurnedAway(socket: Promise<Browser>, code: number): Promise<void> {
    const { closed, events } = await socket
    expect((await closed).code).toBe(code)
    expect(events).toEqual([])
  }

  test('048 194 hosted: the socket needs the cookie of the browser that began', async () => {
    const waiting = await tab.begin(person.tokenId)
    for (const [, intruder] of intruders()) {
      await expectTurnedAway(intruder.socket(waiting), 4001)
    }
    const other = await tab.begin(person.tokenId)
    const swapped = { body: String(waiting.body).replace(/data-token="[^"]*"/, '') }
    await expectTurnedAway(tab.socket({ ...waiting, ...swapped }), 4001)
    const { wsToken } = waitingIn(other)
    const crossed = String(waiting.body).replace(/data-token="[^"]*"/, `data-token="${wsToken}"`)
    await expectTurnedAway(tab.socket({ ...waiting, body: crossed }), 4001)
    const socket = await tab.socket(waiting)
    expect(await socket.event('otp_ready')).toMatchObject({
      autoPassword: waitingIn(waiting).code,
    })
  })

  test.each([
    ['null', 'null'],
    ['of somebody else', 'https://evil.example'],
    ['with ours as a prefix', `${ISSUER}.evil.example`],
    ['of another scheme', 'https://localhost:8787'],
    ['of the service', RP_ORIGIN],
    ['with a slash', `${ISSUER}/`],
  ])('196 212 hosted: with the cookie, but an origin %s', async (_name, origin) => {
    const waiting = await tab.begin(person.tokenId)
    await expectTurnedAway(tab.socket(waiting, { origin }), 4001)
  })

  test('198 hosted: a second socket of the same browser takes over, one of another does not', async () => {
    const waiting = await tab.begin(person.tokenId)
    const first = await tab.socket(waiting)
    await first.event('otp_ready')
    await expectTurnedAway(new Tab().socket(waiting), 4001)
    const other = new Tab()
    await other.authorize()
    await expectTurnedAway(other.socket(waiting), 4001)

    const { sessionId } = waitingIn(waiting)
    await person.claim(sessionId)
    await first.event('claimed')
    const second = await tab.socket(waiting)
    expect((await first.closed).code).toBe(4009)
    await second.event('claimed')
    const { body: claimed } = await person.claim(sessionId)
    await person.approve(sessionId, claimed)
    expect(await second.event('approved')).toEqual({
      type: 'approved',
      continue: '/login/continue',
    })
    expect(first.events.map(({ type }) => type)).toEqual(['otp_ready', 'claimed'])
    // The result isn't on the socket: neither code nor address.
    expect(JSON.stringify(second.events)).not.toMatch(/code|http|state/)
  })

  test('202 hosted: a socket that comes after the approval, or after the end, hears of it', async () => {
    const waiting = await tab.begin(person.tokenId)
    await approve(person, waiting)
    const late = await tab.socket(waiting)
    expect((await late.event('approved')).continue).toBe('/login/continue')
    await tab.press(waiting, '/login/continue')
    const declined = await tab.begin(person.tokenId)
    const { sessionId } = waitingIn(declined)
    await person.deny(sessionId, (await person.claim(sessionId)).body.nonce)
    const socket = await tab.socket(declined)
    expect(await socket.event('rejected')).toEqual({ type: 'rejected', reason: 'declined' })
    expect((await socket.closed).code).toBe(1000)
  })
})
