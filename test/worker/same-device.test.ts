/**
 * A login whose app is opened by a link on the same device: its result goes to the browser that began, whoever followed
 * the link (5-security 358, 3.1). The one form that resists relay.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { expectAuthz, expectPage, wait } from './hosted.ts'
import {
  type Client,
  claimsOf,
  formIn,
  landingOf,
  REDIRECT_URI,
  redeem,
  registerClient,
  Tab,
} from './relying-party.ts'
import { beginScan, claimVia, follow, proofAt, readAddress, scan, shownIn, showQr } from './scan.ts'
import {
  type Answer,
  type Browser,
  enrolled,
  eventually,
  freshAddress,
  ISSUER,
  loginAudit,
  type Person,
  send,
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
})

function codeOf({ status, body }: Answer): [number, string] {
  return [status, body.code]
}

function types({ events }: Browser): (string | undefined)[] {
  return events.map(({ type }) => type)
}

/** What the window posts that the app has opened. */
interface Completion {
  readonly sessionId: string
  readonly completion: string
}

function readReturn(returnTo: string): Completion {
  const url = new URL(returnTo)
  expect([url.origin, url.pathname, url.search]).toEqual([ISSUER, '/login/return', ''])
  const [, sessionId = '', completion = ''] = /^#(sess_\w+)\.(.*)$/.exec(url.hash) ?? []
  expect(completion).toMatch(/^[0-9a-f]{4}\.[\w-]{16}\.1\.[\w-]+$/)
  return { sessionId, completion }
}

/** The window of `browser` posts what stood behind the `#`, as its script does when "Continue" is pressed. */
function complete(
  browser: Tab,
  { sessionId, completion }: Completion,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const fields = { sessionId, completion, confirmed: 'yes' }
  return browser.send('POST', '/login/return', fields, headers)
}

/** A login whose link `by` has followed and approved. */
interface Followed extends Completion {
  readonly page: Answer
  readonly returnTo: string
  /** The body of the approval that was sent. */
  readonly approval: Record<string, string>
  readonly claimed: Answer['body']
}

async function followed(page: Answer, by = person): Promise<Followed> {
  const { sessionId, link } = shownIn(page)
  const claim = await follow(by, link)
  expect(claim.status, JSON.stringify(claim.body)).toBe(200)
  const approval = await by.approval(sessionId, claim.body)
  const approved = await send('POST', '/auth/verify', JSON.stringify(approval), {
    'Content-Type': 'application/json',
  })
  expect(approved).toMatchObject({ status: 200, body: { status: 'approved' } })
  const { returnTo } = approved.body
  return { ...readReturn(returnTo), page, returnTo, approval, claimed: claim.body }
}

function verify(body: object): Promise<Answer> {
  return send('POST', '/auth/verify', JSON.stringify(body), { 'Content-Type': 'application/json' })
}

/** That the result has not been taken on. */
async function expectWaiting(sessionId: string): Promise<void> {
  const login = await storedLogin(sessionId)
  expect(login).toMatchObject({ state: 'approved', via: 'link', continuedAt: null })
  expect(login?.result).toEqual(expect.any(String))
}

describe('the browser that began', () => {
  test('358 same device: the app’s window goes on, once', async () => {
    const { sessionId, completion } = await followed(await beginScan(tab))
    const onward = await complete(tab, { sessionId, completion })
    expect(onward.status).toBe(303)
    const { address, parameters } = landingOf(onward)
    expect([address, parameters.state]).toEqual([REDIRECT_URI, 'random-csrf-token'])
    expectPage(await complete(tab, { sessionId, completion }), 409, 'login-completed')
    const { status, body } = await redeem(client, parameters.code)
    expect(status).toBe(200)
    expect(claimsOf(body.id_token)).toMatchObject({ sub: person.tokenId, age_over_18: true })
    // The object is gone with its code.
    expectPage(await complete(tab, { sessionId, completion }), 409, 'login-completed')
    expect(await storedLogin(sessionId)).toBeUndefined()
    expect(await eventually(() => loginAudit(sessionId))).toMatchObject([{ outcome: 'approved' }])
  })

  test('358 243 same device: posted three times at once, one goes on', async () => {
    const { sessionId, completion } = await followed(await beginScan(tab))
    const answers = await Promise.all([1, 2, 3].map(() => complete(tab, { sessionId, completion })))
    const winners = answers.filter(({ status }) => status === 303)
    const losers = answers.filter(({ status }) => status !== 303)
    expect([winners.length, losers.length]).toEqual([1, 2])
    for (const loser of losers) expectPage(loser, 409, 'login-completed')
    for (const winner of winners) {
      expect((await redeem(client, landingOf(winner).parameters.code)).status).toBe(200)
    }
  })

  test('358 same device: its window shows nothing of the login, and posts what stands behind the #', async () => {
    const { sessionId, completion } = await followed(await beginScan(tab))
    const page = await tab.send('GET', '/login/return')
    expectPage(page, 200, 'login-finish')
    expect(page.body).not.toContain(sessionId)
    expect(page.body).not.toContain(completion)
    expect(Object.keys(formIn(page.body, '/login/return')).sort()).toEqual([
      'completion',
      'sessionId',
    ])
    await expectWaiting(sessionId)
  })

  test('358 same device: after a typed number as well, and then it knows the person', async () => {
    const page = await tab.begin(person.tokenId)
    const { sessionId, completion } = await followed(page)
    expect((await complete(tab, { sessionId, completion })).status).toBe(303)
    const second = await beginScan(tab, { prompt: 'login' })
    const { qr, sessionId: next } = shownIn(second)
    const { body: claimed } = await scan(person, qr)
    expect((await person.approve(next, claimed)).status).toBe(200)
    // No question: who came back by the link is remembered.
    expect((await tab.press(second, '/login/continue')).status).toBe(303)
  })

  test('358 same device: the old tab is told to go on elsewhere, and gets no code', async () => {
    const { page, sessionId, completion } = await followed(await beginScan(tab))
    const old = await tab.press(page, '/login/continue')
    expectPage(old, 200, 'login-other-window')
    expect(old.body).not.toContain('code=')
    expect(old.body).not.toContain(completion)
    // Saying that it is he helps nobody: the window that the app opens goes on.
    const form = { ...formIn(page.body, '/login/continue'), confirmed: 'yes' }
    expectPage(await tab.send('POST', '/login/continue', form), 200, 'login-other-window')
    await expectWaiting(sessionId)
    expect((await complete(tab, { sessionId, completion })).status).toBe(303)
    expectPage(await tab.press(page, '/login/continue'), 409, 'login-completed')
  })

  test('358 same device: the form of a posted answer as well', async () => {
    const page = await beginScan(tab, { response_mode: 'form_post' })
    const { sessionId, completion } = await followed(page)
    const onward = await complete(tab, { sessionId, completion })
    expect(onward.status).toBe(200)
    const { code } = formIn(onward.body, REDIRECT_URI)
    expect((await redeem(client, code)).status).toBe(200)
  })
})

describe('the sockets', () => {
  test('358 same device: claimed and code, then closed: no `approved`, nor for one that comes back', async () => {
    const page = await beginScan(tab)
    const socket = await tab.socket(page)
    const { claimed, completion } = await followed(page)
    expect((await socket.closed).code).toBe(1000)
    expect(types(socket)).toEqual(['claimed', 'otp_ready'])
    expect(socket.events[1]?.autoPassword).toBe(claimed.otp)
    for (let i = 0; i < 2; i++) {
      const late = await tab.socket(page)
      expect((await late.closed).code).toBe(1000)
      expect(late.events).toEqual([])
    }
    expect(JSON.stringify(socket.events)).not.toContain(completion)
  })

  test('358 same device: a person who declines ends it for all to see', async () => {
    const page = await beginScan(tab)
    const socket = await tab.socket(page)
    const { sessionId, link } = shownIn(page)
    const { body: claimed } = await follow(person, link)
    expect(await person.deny(sessionId, claimed.nonce)).toMatchObject({
      status: 200,
      body: { status: 'rejected' },
    })
    expect(await socket.event('rejected')).toEqual({ type: 'rejected', reason: 'declined' })
    expectAuthz(await tab.press(page, '/login/continue'), 'access_denied')
  })
})

describe('another browser', () => {
  test('358 same device: a link that an attacker sent gives him nothing', async () => {
    // He begins at the service in his browser, and sends the link of his page to his victim.
    const attacker = tab
    const page = await beginScan(attacker)
    const socket = await attacker.socket(page)
    const victim = person
    const victims = new Tab()
    await victims.authorize()
    const { sessionId, completion, returnTo } = await followed(page, victim)

    // The victim's phone opens its own browser: which did not begin, so nobody is signed in there either.
    const cookies = new Map(victims.cookies)
    const opened = await complete(victims, { sessionId, completion })
    expectPage(opened, 403, 'login-foreign')
    expect(opened.headers.has('Set-Cookie')).toBe(false)
    expect(victims.cookies).toEqual(cookies)
    await expectWaiting(sessionId)

    // The attacker tries all that he has.
    expect((await socket.closed).code).toBe(1000)
    const again = await attacker.socket(page)
    await again.closed
    const seen: Answer[] = [
      await attacker.press(page, '/login/continue'),
      await attacker.send('POST', '/login/continue', {
        ...formIn(page.body, '/login/continue'),
        confirmed: 'yes',
        tokenId: victim.tokenId,
      }),
      await showQr(attacker, page),
      await attacker.type(page, victim.tokenId),
      await attacker.send('GET', '/login/return'),
      await complete(attacker, { sessionId, completion: '' }),
      await complete(attacker, { sessionId, completion: 'A'.repeat(22) }),
      await complete(attacker, { sessionId, completion: readAddress(shownIn(page).link).proof }),
      await attacker.send('POST', '/login/return', { sessionId }),
    ]
    for (const { status, headers } of seen) {
      expect(status).not.toBe(303)
      expect(headers.has('Location')).toBe(false)
    }
    const all = JSON.stringify([seen.map(({ body }) => body), socket.events, again.events])
    expect(all).not.toContain(completion)
    expect(all).not.toContain(returnTo)
    expect(all).not.toMatch(/[?&]code=/)
    expect(types(socket)).not.toContain('approved')
    expect(types(again)).not.toContain('approved')
    expect([...attacker.cookies.keys()].filter((name) => name.startsWith('__Host-sso'))).toEqual([])
    await expectWaiting(sessionId)
    expectAuthz(await attacker.press(page, '/login/cancel'), 'access_denied')
  })

  test('358 same device: who leaves the link’s mark away has no camera', async () => {
    const page = await beginScan(tab)
    const { sessionId, qr, link } = shownIn(page)
    const { proof } = readAddress(link)
    expect(codeOf(await claimVia(person, sessionId, 'camera', proof))).toEqual([
      401,
      'invalid_statement',
    ])
    // An address of the QR, sent as a link: the app signs how it was opened.
    const moving = await proofAt(qr)
    expect(codeOf(await claimVia(person, sessionId, 'link', moving))).toEqual([
      401,
      'invalid_statement',
    ])
    expect(await storedLogin(sessionId)).toMatchObject({ state: 'pending', via: null })
  })

  test('358 same device: claimed by link it stays so, whatever the same phone scans after it', async () => {
    const page = await beginScan(tab)
    const { sessionId, qr, link } = shownIn(page)
    expect((await follow(person, link)).status).toBe(200)
    const { body: claimed } = await scan(person, qr)
    const { body } = await person.approve(sessionId, claimed)
    expect(body).toEqual({ status: 'approved', returnTo: expect.any(String) })
    expectPage(await tab.press(page, '/login/continue'), 200, 'login-other-window')
  })

  test('358 same device: no cookie, an edited one, another site, a frame', async () => {
    const { sessionId, completion } = await followed(await beginScan(tab))
    const own = tab.cookies.get('__Host-browser') ?? ''
    const flipped = `${own[0] === 'A' ? 'B' : 'A'}${own.slice(1)}`
    const browsers = [
      new Tab(),
      new Tab(new Map([['__Host-browser', flipped]])),
      new Tab(new Map([['__host-browser', own]])),
      new Tab(new Map([['__Host-browser', 'AAAAAAAAAAAAAAAAAAAAAA']])),
    ]
    for (const browser of browsers) {
      expectPage(await complete(browser, { sessionId, completion }), 403, 'login-foreign')
    }
    const headers = [
      { 'Sec-Fetch-Site': 'cross-site' },
      { Origin: 'https://evil.example' },
      { 'Sec-Fetch-Dest': 'iframe' },
      { 'Sec-Purpose': 'prefetch' },
    ]
    for (const each of headers) {
      const refused = await complete(tab, { sessionId, completion }, each)
      expectPage(refused, 403, 'login-foreign')
    }
    await expectWaiting(sessionId)
    expect((await complete(tab, { sessionId, completion })).status).toBe(303)
  })

  test('358 same device: a completion of another login, altered, cut, absent', async () => {
    const { sessionId, completion } = await followed(await beginScan(tab))
    const other = await followed(await beginScan(tab, { prompt: 'login' }))
    const wrong = [
      other.completion,
      `${completion[0] === 'A' ? 'B' : 'A'}${completion.slice(1)}`,
      completion.slice(0, -1),
      `${completion}A`,
      '',
    ]
    for (const each of wrong) {
      const refused = await complete(tab, { sessionId, completion: each })
      expectPage(refused, 403, 'login-foreign')
    }
    await expectWaiting(sessionId)
    expect((await complete(tab, { sessionId, completion })).status).toBe(303)
    expect((await complete(tab, other)).status).toBe(303)
  })

  test('358 same device: a login that was scanned, or not approved yet, has no completion', async () => {
    const page = await beginScan(tab)
    const { sessionId, qr } = shownIn(page)
    const guess = { sessionId, completion: 'A'.repeat(22) }
    expectPage(await complete(tab, guess), 403, 'login-foreign')
    const { body: claimed } = await scan(person, qr)
    expect((await person.approve(sessionId, claimed)).body).toEqual({ status: 'approved' })
    expectPage(await complete(tab, guess), 403, 'login-foreign')
    expect(await storedLogin(sessionId)).toMatchObject({ state: 'approved', continuedAt: null })
    expectPage(await tab.press(page, '/login/continue'), 200, 'login-confirm')
  })

  test('355 same device: a login that never was', async () => {
    await beginScan(tab)
    for (const sessionId of [`sess_${'0'.repeat(64)}`, 'sess_', '', '../..']) {
      const answer = await complete(tab, { sessionId, completion: 'A'.repeat(22) })
      expectPage(answer, 400, 'login-over')
    }
  })
})

describe('the same approval again', () => {
  test('358 222 same device: gets the same returnTo, also signed anew', async () => {
    const { approval, claimed, sessionId, returnTo } = await followed(await beginScan(tab))
    const again = await Promise.all([verify(approval), verify(approval), verify(approval)])
    for (const { status, body } of again) {
      expect([status, body]).toEqual([200, { status: 'approved', returnTo }])
    }
    const signedAnew = await person.approve(sessionId, claimed, {
      payload: { iat: Math.floor(Date.now() / 1000) + 5 },
    })
    expect(signedAnew).toMatchObject({ status: 200, body: { status: 'approved', returnTo } })
    // Another decision is none any more.
    const other = await person.approve(sessionId, claimed, {
      payload: { grantedScopes: ['identity:age_over_18'] },
    })
    expect(codeOf(other)).toEqual([409, 'session_resolved'])
    expect((await complete(tab, readReturn(returnTo))).status).toBe(303)
    // Until its code is redeemed.
    expect((await verify(approval)).body).toEqual({ status: 'approved', returnTo })
    expect(await eventually(() => loginAudit(sessionId))).toHaveLength(1)
  })

  test('358 233 same device: ten at once: one completion', async () => {
    const page = await beginScan(tab)
    const { sessionId, link } = shownIn(page)
    const { body: claimed } = await follow(person, link)
    const approval = await person.approval(sessionId, claimed)
    const answers = await Promise.all(Array.from({ length: 10 }, () => verify(approval)))
    const [first] = answers
    for (const { status, body } of answers) expect([status, body]).toEqual([200, first?.body])
    expect((await complete(tab, readReturn(first?.body.returnTo))).status).toBe(303)
  })
})

describe('cancelled meanwhile', () => {
  test('358 same device: before the approval, which then comes too late', async () => {
    const page = await beginScan(tab)
    const { sessionId, link } = shownIn(page)
    const { body: claimed } = await follow(person, link)
    expectAuthz(await tab.press(page, '/login/cancel'), 'access_denied')
    const late = await person.approve(sessionId, claimed)
    expect(codeOf(late)).toEqual([409, 'session_resolved'])
    expect(late.body).not.toHaveProperty('returnTo')
  })

  test('358 same device: after it: the grant is thrown away, and nothing goes on', async () => {
    const { page, sessionId, completion } = await followed(await beginScan(tab))
    expectAuthz(await tab.press(page, '/login/cancel'), 'access_denied')
    const stored = await storedLogin(sessionId)
    expect([stored?.result, stored?.codeHash]).toEqual([null, null])
    // It was this browser's own login: nobody tells it that it was another's.
    expectPage(await complete(tab, { sessionId, completion }), 409, 'login-completed')
    expectPage(await complete(new Tab(), { sessionId, completion }), 403, 'login-foreign')
    expectPage(await tab.press(page, '/login/continue'), 409, 'login-completed')
  })

  test('358 243 same device: cancelled and completed at once: one of them', async () => {
    for (let round = 0; round < 5; round++) {
      const { page, sessionId, completion } = await followed(
        await beginScan(tab, { prompt: 'login' }),
      )
      const answers = await Promise.all([
        complete(tab, { sessionId, completion }),
        tab.press(page, '/login/cancel'),
      ])
      const locations = answers.map(({ headers }) => headers.get('Location') ?? '')
      const ways = locations.filter((location) => /[?&](code|error)=/.test(location))
      expect(ways).toHaveLength(1)
    }
  })
})

describe('its time', () => {
  test('358 same device: the link is good as long as its attempt', async () => {
    wait(0)
    const page = await beginScan(tab)
    wait(59)
    expect((await follow(person, shownIn(page).link)).status).toBe(200)

    const other = await beginScan(tab)
    wait(60)
    expect(codeOf(await follow(person, shownIn(other).link))).toEqual([404, 'session_not_found'])
    const next = await showQr(tab, other)
    const { sessionId } = shownIn(next)
    const { proof } = readAddress(shownIn(other).link)
    expect(codeOf(await claimVia(person, sessionId, 'link', proof))).toEqual([
      401,
      'invalid_statement',
    ])
    expect((await follow(person, shownIn(next).link)).status).toBe(200)
  })

  test('358 same device: a completion is good for a minute', async () => {
    wait(0)
    const { sessionId, completion } = await followed(await beginScan(tab))
    const other = await followed(await beginScan(tab, { prompt: 'login' }))
    wait(59)
    expect((await complete(tab, { sessionId, completion })).status).toBe(303)
    wait(1)
    expectPage(await complete(tab, other), 400, 'login-over')
  })

  test('198 same device: another phone that follows the link is late', async () => {
    const page = await beginScan(tab)
    const { link } = shownIn(page)
    expect((await follow(person, link)).status).toBe(200)
    const second = await enrolled({ push: false })
    expect(codeOf(await follow(second, link))).toEqual([409, 'already_claimed'])
  })
})

describe('what a phone or a browser opens', () => {
  test('358 same device: /l says what it is for, and nothing of who came', async () => {
    const answer = await send('GET', '/l', undefined, { 'CF-Connecting-IP': freshAddress() })
    expectPage(answer, 200, 'login-app')
    expect(answer.headers.has('Set-Cookie')).toBe(false)
    expect(answer.body).not.toContain('<script')
    for (const path of ['/l', '/login/return', '/login/qr.js']) {
      const wrong = await send('DELETE', path)
      expect(wrong.status).toBe(405)
    }
  })

  test('192 same device: the page’s encoder is one file for all, without a secret', async () => {
    const answer = await send('GET', '/login/qr.js')
    expect(answer.status).toBe(200)
    expect(answer.headers.get('Content-Type')).toBe('text/javascript; charset=utf-8')
    expect(answer.body).toContain('qrPath')
  })
})
