/** A login by QR on our own pages: its attempts, who signs in, and what a flood can't take away (5-security 4.14, 4.16). */
import { evictDurableObject } from 'cloudflare:test'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { expectAuthz, expectPage, mistype, wait } from './hosted.ts'
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
import { beginScan, claimVia, proofAt, scan, shownIn, showQr } from './scan.ts'
import {
  type Answer,
  type Bar,
  enrolled,
  eventually,
  freshAddress,
  initiate,
  loginAudit,
  loginObject,
  openBar,
  Person,
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

const STMT = [401, 'invalid_statement']

/** The next attempt of a page, with a number or by QR; from another address each time. */
function next(page: Answer, tokenId: string | null): Promise<Answer> {
  if (tokenId === null) return showQr(tab, page)
  const form = { ...formIn(page.body, '/login/address'), tokenId }
  return tab.send('POST', '/login/address', form, { 'CF-Connecting-IP': freshAddress() })
}

/** Back to the first page, as by "Use another number". */
function startOver(page: Answer): Promise<Answer> {
  const { ticket = '' } = formIn(page.body, '/login/cancel')
  return tab.send('POST', '/login/address', { ticket, tokenId: '' })
}

/** The phone scans the page and approves. */
async function approveByScan(by: Person, page: Answer): Promise<void> {
  const { sessionId, qr } = shownIn(page)
  const claimed = await scan(by, qr)
  expect(claimed.status, JSON.stringify(claimed.body)).toBe(200)
  expect((await by.approve(sessionId, claimed.body)).status).toBe(200)
}

describe('whoever scans', () => {
  test('230 scan: a typed login: the addressed phone; another by push; another by the QR; unsigned', async () => {
    const other = await enrolled({ push: false })
    const page = await tab.begin(person.tokenId)
    const { sessionId, qr } = shownIn(page)
    const { code } = waitingIn(page)
    expect(qr.key).toMatch(/^[\w-]{43}$/)
    const before = await storedLogin(sessionId)
    expect(codeOf(await other.claim(sessionId))).toEqual([404, 'session_not_found'])
    const { keyPair } = await Person.make({ push: false })
    const unsigned = await claimVia(other, sessionId, 'camera', await proofAt(qr), {
      key: keyPair.privateKey,
    })
    expect(codeOf(unsigned)).toEqual(STMT)
    expect(await storedLogin(sessionId)).toEqual(before)

    const socket = await tab.socket(page)
    expect((await socket.event('otp_ready')).autoPassword).toBe(code)
    const claimed = await scan(other, qr)
    expect(claimed).toMatchObject({ status: 200, body: { service: { name: 'Bar le Central' } } })
    // The page shows the code of who has claimed; that of the number is worth nothing now.
    await socket.event('claimed')
    await vi.waitFor(() =>
      expect(socket.events.findLast(({ type }) => type === 'otp_ready')?.autoPassword).toBe(
        claimed.body.otp,
      ),
    )
    expect(codeOf(await person.claim(sessionId))).toEqual([409, 'already_claimed'])
    expect((await other.approve(sessionId, claimed.body)).status).toBe(200)
    expectPage(await tab.press(page, '/login/continue'), 200, 'login-confirm')
  })

  test('230 scan: the addressed phone by push, and by the QR after that, is one phone', async () => {
    const page = await tab.begin(person.tokenId)
    const { sessionId, qr } = shownIn(page)
    const claimed = await person.claim(sessionId)
    expect(claimed.status).toBe(200)
    const again = await scan(person, qr)
    expect(again).toMatchObject({ status: 200, body: claimed.body })
    const stranger = await enrolled({ push: false })
    expect(codeOf(await scan(stranger, qr))).toEqual([409, 'already_claimed'])
  })

  test('230 scan: a number that can’t log in: nobody is told, and a phone that scans signs in', async () => {
    const page = await tab.begin(crypto.randomUUID())
    await approveByScan(person, page)
    const confirm = await tab.press(page, '/login/continue')
    const { parameters } = landingOf(await tab.press(confirm, '/login/continue'))
    const { body } = await redeem(client, parameters.code)
    expect(claimsOf(body.id_token).sub).toBe(person.tokenId)
  })
})

describe('attempts', () => {
  test('357 scan: a new QR: key, nonce, salt and minute are new, and the last one is worth nothing', async () => {
    const first = await beginScan(tab)
    const { sessionId, qr } = shownIn(first)
    const { body: old } = await scan(person, qr)
    const { attempt: one } = (await storedLogin(sessionId)) ?? {}
    wait(50)
    const second = await showQr(tab, first)
    expectPage(second, 200, 'login-scan')
    expect(shownIn(second).sessionId).toBe(sessionId)
    expect(shownIn(second).qr.key).not.toBe(qr.key)
    expect(shownIn(second).link).not.toBe(shownIn(first).link)
    const stored = await storedLogin(sessionId)
    expect(stored).toMatchObject({
      ...{ state: 'pending', addressee: null, via: null, claimedAt: null },
      attempt: { number: 2, invited: null, deadline: Date.now() + 60_000 },
    })
    for (const member of ['nonce', 'salt'] as const) {
      expect(stored?.attempt[member]).not.toBe(one?.[member])
    }
    for (const refused of [
      await person.approve(sessionId, old),
      await person.deny(sessionId, old.nonce),
      // 192: the proof of another attempt, however fresh.
      await scan(person, qr),
      await claimVia(person, sessionId, 'link', shownIn(first).link.split('.').at(-2)),
    ]) {
      expect(codeOf(refused)).toEqual(STMT)
    }
    expect(await storedLogin(sessionId)).toEqual(stored)
    await approveByScan(person, second)
    const confirm = await tab.press(second, '/login/continue')
    const { parameters } = landingOf(await tab.press(confirm, '/login/continue'))
    expect((await redeem(client, parameters.code)).status).toBe(200)
  })

  test('357 scan: a number typed after the QR closes it, and a QR after the number', async () => {
    const other = await enrolled({ push: false })
    const byQr = await beginScan(tab)
    const { sessionId, qr } = shownIn(byQr)
    const { body: scanned } = await scan(other, qr)
    const start = await startOver(byQr)
    expectPage(start, 200, 'login-start')
    const typed = await next(start, person.tokenId)
    expectPage(typed, 200, 'login-pushing')
    expect(shownIn(typed).sessionId).toBe(sessionId)
    expect(codeOf(await other.approve(sessionId, scanned))).toEqual(STMT)
    expect(codeOf(await scan(other, qr))).toEqual(STMT)
    const { body: claimed } = await person.claim(sessionId)

    const again = await next(await startOver(typed), null)
    expect(codeOf(await person.approve(sessionId, claimed))).toEqual(STMT)
    expect(codeOf(await person.claim(sessionId))).toEqual([404, 'session_not_found'])
    expect((await storedLogin(sessionId))?.attempt.number).toBe(3)
    await approveByScan(other, again)
    const confirm = await tab.press(again, '/login/continue')
    const { parameters } = landingOf(await tab.press(confirm, '/login/continue'))
    const { body } = await redeem(client, parameters.code)
    expect(claimsOf(body.id_token).sub).toBe(other.tokenId)
    expect(await eventually(() => loginAudit(sessionId))).toMatchObject([{ outcome: 'approved' }])
  })

  test('357 scan: a form that is sent twice shows one QR', async () => {
    const start = await tab.authorize()
    const [one, two, three] = await Promise.all([1, 2, 3].map(() => next(start, null)))
    if (one === undefined || two === undefined || three === undefined) throw new Error('no page')
    expect(new Set([one, two, three].map((page) => shownIn(page).qr.key)).size).toBe(1)
    expect((await storedLogin(shownIn(one).sessionId))?.attempt.number).toBe(1)
    await approveByScan(person, two)
    expectPage(await tab.press(three, '/login/continue'), 200, 'login-confirm')
  })

  test('357 scan: the first and ten more, then the page refuses', async () => {
    let page = await beginScan(tab)
    const { sessionId } = shownIn(page)
    const keys = new Set([shownIn(page).qr.key])
    for (let number = 2; number <= 11; number++) {
      page = await next(page, null)
      expectPage(page, 200, 'login-scan')
      keys.add(shownIn(page).qr.key)
    }
    expect(keys.size).toBe(11)
    const login = await storedLogin(sessionId)
    expect(login?.attempt.number).toBe(11)
    expectPage(await next(page, null), 400, 'login-over')
    expectPage(await next(page, person.tokenId), 400, 'login-over')
    expect(await storedLogin(sessionId)).toEqual(login)
    await approveByScan(person, page)
    expectPage(await tab.press(page, '/login/continue'), 200, 'login-confirm')
  })

  test('357 scan: none after ten minutes, and after the minute the page offers the next', async () => {
    const start = await tab.authorize()
    const first = await next(start, null)
    wait(60)
    const expired = await tab.press(first, '/login/continue')
    expectPage(expired, 200, 'login-expired')
    const second = await next(expired, null)
    expectPage(second, 200, 'login-scan')
    wait(539)
    const last = await next(second, null)
    expectPage(last, 200, 'login-scan')
    wait(1)
    expectPage(await next(last, null), 400, 'login-over')
    expectPage(await next(start, null), 400, 'login-over')
    await approveByScan(person, last)
    expectPage(await tab.press(last, '/login/continue'), 200, 'login-confirm')
  })

  test('357 scan: three wrong codes of whoever scanned cost the attempt, not the login', async () => {
    const page = await beginScan(tab)
    await scan(person, shownIn(page).qr)
    // The page is asked again for its code: it has one now.
    const waiting = await tab.press(page, '/login/continue')
    expectPage(waiting, 200, 'login-pushing')
    expect(waitingIn(waiting).code).toMatch(/^\d{6}$/)
    // Who began without a number gets a new QR, and not the field for one.
    expect(formIn(waiting.body, '/login/scan')).toMatchObject({ after: '1' })
    const stranger = await enrolled({ push: false })
    expect(codeOf(await scan(stranger, shownIn(waiting).qr))).toEqual([409, 'already_claimed'])
    const { sessionId, qr } = shownIn(waiting)
    const { body: claimed } = await scan(person, qr)
    const otp = claimed.otp === '123456' ? '654321' : '123456'
    for (let i = 0; i < 3; i++) {
      const wrong = await person.approve(sessionId, { ...claimed, otp })
      expect(codeOf(wrong)).toEqual([401, 'invalid_otp'])
    }
    const failed = await tab.press(page, '/login/continue')
    expectPage(failed, 200, 'login-failed')
    await approveByScan(stranger, await next(failed, null))
    expect(await storedLogin(sessionId)).toMatchObject({
      state: 'approved',
      attempt: { number: 2 },
    })
  })
})

describe('who signs in', () => {
  /** A page that a phone has scanned and approved, and what it leads to. */
  async function confirmed(by = person): Promise<{ page: Answer; confirm: Answer }> {
    const page = await beginScan(tab, { prompt: 'login' })
    await approveByScan(by, page)
    return { page, confirm: await tab.press(page, '/login/continue') }
  }

  test('360 scan: this browser doesn’t know the person: no code before Continue', async () => {
    const { page, confirm } = await confirmed()
    expectPage(confirm, 200, 'login-confirm')
    expect(confirm.body).toContain(`You are signing in as ••••${person.tokenId.slice(-4)}`)
    expect(confirm.body).not.toContain(person.tokenId)
    expect(confirm.body).not.toMatch(/[?&]code=/)
    expect(confirm.headers.has('Set-Cookie')).toBe(false)
    // Looking again is no word either.
    const again = await tab.press(page, '/login/continue')
    expectPage(again, 200, 'login-confirm')
    const { sessionId } = shownIn(page)
    expect((await storedLogin(sessionId))?.continuedAt).toBeNull()

    const onward = await tab.press(confirm, '/login/continue')
    expect(onward.status).toBe(303)
    const { parameters } = landingOf(onward)
    expect((await redeem(client, parameters.code)).status).toBe(200)
    expectPage(await tab.press(again, '/login/continue'), 409, 'login-completed')
  })

  test('360 scan: "Not me" goes back without a grant', async () => {
    const { page, confirm } = await confirmed()
    expectAuthz(await tab.press(confirm, '/login/cancel'), 'access_denied')
    const stored = await storedLogin(shownIn(page).sessionId)
    expect([stored?.result, stored?.codeHash, stored?.continuedAt]).toEqual([null, null, null])
    expectPage(await tab.press(confirm, '/login/continue'), 409, 'login-completed')
    expectPage(await tab.press(page, '/login/continue'), 409, 'login-completed')
    // Nobody is remembered who was not let in.
    expect(tab.cookies.has('__Host-known')).toBe(false)
    expectPage((await confirmed()).confirm, 200, 'login-confirm')
  })

  test('360 scan: a person whom this browser knows goes straight on, anybody else is asked about', async () => {
    const { confirm } = await confirmed()
    await tab.press(confirm, '/login/continue')
    const second = await beginScan(tab, { prompt: 'login' })
    await approveByScan(person, second)
    expect(landingOf(await tab.press(second, '/login/continue')).parameters.code).toBeDefined()

    const other = await enrolled({ push: false })
    const third = await beginScan(tab, { prompt: 'login' })
    await approveByScan(other, third)
    expectPage(await tab.press(third, '/login/continue'), 200, 'login-confirm')
  })

  test('360 scan: who signed in by number is known as well; the mark is worth nothing elsewhere', async () => {
    await tab.login(person)
    const known = tab.cookies.get('__Host-known') ?? ''
    expect(known).toMatch(/^[\w-]{16}$/)
    expect(known).not.toContain(person.tokenId.slice(0, 8))
    const page = await beginScan(tab, { prompt: 'login' })
    await approveByScan(person, page)
    expect((await tab.press(page, '/login/continue')).status).toBe(303)

    const elsewhere = new Tab(new Map([['__Host-known', known]]))
    const copied = await beginScan(elsewhere)
    await approveByScan(person, copied)
    expectPage(await elsewhere.press(copied, '/login/continue'), 200, 'login-confirm')
  })

  test('360 scan: the page’s own script asks at once, by the word of the socket', async () => {
    const page = await beginScan(tab)
    const { sessionId } = shownIn(page)
    const socket = await tab.socket(page)
    await approveByScan(person, page)
    const approved = await socket.event('approved')
    expect(approved.confirm).toBe(person.tokenId.slice(-4))
    expect((await socket.closed).code).toBe(1000)
    // Who comes back is asked the same; nothing was taken on yet.
    expect(await (await tab.socket(page)).event('approved')).toEqual(approved)
    expect((await storedLogin(sessionId))?.continuedAt).toBeNull()
    const form = { ...formIn(page.body, '/login/continue'), confirmed: 'yes' }
    const { parameters } = landingOf(await tab.send('POST', '/login/continue', form))
    expect((await redeem(client, parameters.code)).status).toBe(200)

    // From now on this browser knows him, and its socket says so.
    const second = await beginScan(tab, { prompt: 'login' })
    const known = await tab.socket(second)
    await approveByScan(person, second)
    expect(await known.event('approved')).not.toHaveProperty('confirm')
    expect(await (await tab.socket(second)).event('approved')).not.toHaveProperty('confirm')
    // Another person is asked about, also where the isolate has slept in between.
    const other = await enrolled({ push: false })
    const third = await beginScan(tab, { prompt: 'login' })
    const foreign = await tab.socket(third)
    await evictDurableObject(loginObject(shownIn(third).sessionId))
    await approveByScan(other, third)
    expect((await foreign.event('approved')).confirm).toBe(other.tokenId.slice(-4))
  })

  test('360 scan: the word is about an approval: before it nothing is confirmed', async () => {
    const page = await beginScan(tab)
    const form = { ...formIn(page.body, '/login/continue'), confirmed: 'yes' }
    expectPage(await tab.send('POST', '/login/continue', form), 200, 'login-scan')
    await approveByScan(person, page)
    expectPage(await tab.press(page, '/login/continue'), 200, 'login-confirm')
  })

  test('243 scan: Continue pressed twice at once: one code, one winner', async () => {
    const { confirm } = await confirmed()
    const answers = await Promise.all([1, 2, 3].map(() => tab.press(confirm, '/login/continue')))
    const winners = answers.filter(({ status }) => status === 303)
    const losers = answers.filter(({ status }) => status !== 303)
    expect([winners.length, losers.length]).toEqual([1, 2])
    for (const loser of losers) expectPage(loser, 409, 'login-completed')
    for (const winner of winners) {
      expect((await redeem(client, landingOf(winner).parameters.code)).status).toBe(200)
    }
  })

  test('243 360 scan: Continue and "Not me" at once: one of them', async () => {
    for (let round = 0; round < 5; round++) {
      const { confirm } = await confirmed(await enrolled({ push: false }))
      const [go, no] = await Promise.all([
        tab.press(confirm, '/login/continue'),
        tab.press(confirm, '/login/cancel'),
      ])
      const codes = [go, no].filter(
        ({ status, headers }) => status === 303 && headers.get('Location')?.includes('code='),
      )
      const denied = [go, no].filter(({ headers }) =>
        headers.get('Location')?.includes('error=access_denied'),
      )
      expect(codes.length + denied.length).toBe(1)
    }
  })
})

describe('a flood', () => {
  let bar: Bar
  let victim: Person
  beforeEach(async () => {
    bar = await openBar({}, 'a-bar')
    victim = await enrolled()
  })

  /** Pushes that the victim's phone got, once all that goes on has gone on. */
  async function pushes(): Promise<number> {
    await scheduler.wait(150)
    return (await victim.pushes()).length
  }

  /** The pushes of ten minutes, spent by somebody who lets each one end. */
  async function spend(): Promise<void> {
    wait(0)
    for (let i = 0; i < 3; i++) {
      expect((await initiate(bar, victim.tokenId)).status).toBe(200)
      await eventually(async () => (await victim.pushes()).length > i)
      wait(121)
    }
    expect(await pushes()).toBe(3)
    await initiate(bar, victim.tokenId)
    expect(await pushes()).toBe(3)
  }

  /** The victim's phone says "not me". */
  async function quieten(): Promise<void> {
    const { body } = await initiate(bar, victim.tokenId)
    const { body: claimed } = await victim.claim(body.sessionId)
    expect((await victim.deny(body.sessionId, claimed.nonce, 'not_me')).status).toBe(200)
  }

  /** The victim signs in by scan in a browser of his own. */
  async function signIn(): Promise<void> {
    const own = new Tab()
    const page = await beginScan(own)
    await approveByScan(victim, page)
    const confirm = await own.press(page, '/login/continue')
    const { parameters } = landingOf(await own.press(confirm, '/login/continue'))
    const { body } = await redeem(client, parameters.code)
    expect(claimsOf(body.id_token).sub).toBe(victim.tokenId)
  }

  test('184 193 scan: budget spent, phone quiet, addresses used up: the victim’s own login works', async () => {
    await spend()
    await quieten()
    const attacker = new Tab()
    const start = await attacker.authorize()
    const floods: Answer[] = []
    for (let i = 0; i < 12; i++) floods.push(await attacker.type(start, victim.tokenId))
    expectPage(floods.at(-1) as Answer, 429, 'login-limited')
    const before = await pushes()
    await signIn()
    expect(await pushes()).toBe(before)
  })

  test('193 scan: a typed login of a quiet phone looks the same, rings nobody, and can be scanned', async () => {
    await quieten()
    const before = await pushes()
    const page = await tab.begin(victim.tokenId)
    expectPage(page, 200, 'login-pushing')
    expect(waitingIn(page).code).toMatch(/^\d{6}$/)
    expect(await pushes()).toBe(before)
    await approveByScan(victim, page)
    expectPage(await tab.press(page, '/login/continue'), 200, 'login-confirm')
  })

  test('184 scan: 105 open logins that name the victim don’t keep his own out', async () => {
    for (let i = 0; i < 7; i++) {
      await Promise.all(Array.from({ length: 15 }, () => initiate(bar, victim.tokenId)))
    }
    await signIn()
  }, 20_000)

  // Whoever has a phone of his own could else ring the victim's as often as he likes.
  test('184 scan: another phone’s approval of a login typed for the victim gives no push back', async () => {
    const mallory = await enrolled({ push: false })
    await spend()
    const page = await tab.begin(victim.tokenId)
    await approveByScan(mallory, page)
    await scheduler.wait(100)
    wait(121)
    await tab.begin(victim.tokenId)
    expect(await pushes()).toBe(3)
  })

  test('193 scan: nor does it end the quiet that the victim asked for', async () => {
    const mallory = await enrolled({ push: false })
    await quieten()
    const before = await pushes()
    await approveByScan(mallory, await tab.begin(victim.tokenId))
    await scheduler.wait(100)
    await tab.begin(victim.tokenId)
    expect(await pushes()).toBe(before)
  })

  test('183 184 scan: nor does his refusal let the next push ring at once', async () => {
    const mallory = await enrolled({ push: false })
    for (let i = 0; i < 3; i++) {
      const page = await tab.begin(victim.tokenId)
      await eventually(() => victim.pushes())
      const { sessionId, qr } = shownIn(page)
      const { body: claimed } = await scan(mallory, qr)
      expect((await mallory.deny(sessionId, claimed.nonce)).status).toBe(200)
    }
    expect(await pushes()).toBe(1)
  })

  test('256 scan: the victim’s own success by scan does give his pushes back', async () => {
    await spend()
    await signIn()
    await scheduler.wait(100)
    wait(121)
    await initiate(bar, victim.tokenId)
    expect(await pushes()).toBe(4)
  })
})

test('360 scan: three wrong codes by number, then a scan: nothing of the first is left', async () => {
  const page = await tab.begin(person.tokenId)
  await mistype(person, page)
  const failed = await tab.press(page, '/login/continue')
  const other = await enrolled({ push: false })
  const again = await next(await startOver(failed), null)
  await approveByScan(other, again)
  const confirm = await tab.press(again, '/login/continue')
  expect(confirm.body).toContain(other.tokenId.slice(-4))
  expect(confirm.body).not.toContain(person.tokenId.slice(-4))
})

test('360 scan: a typed and approved login needs no confirmation', async () => {
  const page = await tab.begin(person.tokenId)
  await approve(person, page)
  expect((await tab.press(page, '/login/continue')).status).toBe(303)
})
