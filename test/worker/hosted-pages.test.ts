/** The pages of a login over HTTP: what each is, what it shows, and the number that is typed (5-security 4.14, 4.28). */
import { exports } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { expectAuthz, expectPage, mistype, objectIds, wait } from './hosted.ts'
import {
  approve,
  type Client,
  formIn,
  landingOf,
  pageId,
  REDIRECT_URI,
  RP_ORIGIN,
  registerClient,
  Tab,
  waitingIn,
} from './relying-party.ts'
import {
  type Answer,
  answerOf,
  enrolled,
  ISSUER,
  operator,
  type Person,
  storedLogin,
} from './world.ts'

let _client: Client
let person: Person
let tab: Tab
let before: readonly string[]
beforeEach(async () => {
  _client = await registerClient()
  person = await enrolled({ push: false })
  tab = new Tab()
  before = await objectIds()
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const STEPS = ['/login/scan', '/login/address', '/login/continue', '/login/cancel'] as const

describe('what every page is', () => {
  /** The policy as a table; scripts, styles and nothing else bear the nonce. */
  function expectPolicy(
    { headers, body }: Answer,
    targets: readonly string[] | 'anywhere' = [],
  ): string {
    const policy = headers.get('Content-Security-Policy') ?? ''
    const nonce = /style-src 'nonce-([\w-]{22,})'/.exec(policy)?.[1] ?? ''
    const scripted = String(body).includes('<script')
    const directives = [
      "default-src 'none'",
      `style-src 'nonce-${nonce}'`,
      ...(scripted ? [`script-src 'nonce-${nonce}'`] : []),
      ...(scripted ? [expect.stringMatching(/^connect-src 'self'( ws:\/\/localhost:8787)?$/)] : []),
      ...(targets === 'anywhere' ? [] : [["form-action 'self'", ...targets].join(' ')]),
      "base-uri 'none'",
      "frame-ancestors 'none'",
    ]
    expect(policy.split('; ')).toEqual(directives)
    expect(Object.fromEntries(headers)).toMatchObject({
      'cache-control': 'no-store',
      'content-type': 'text/html; charset=utf-8',
      'cross-origin-opener-policy': 'same-origin',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      'strict-transport-security': expect.stringContaining('max-age='),
      'x-request-id': expect.any(String),
    })
    const tags = String(body).match(/<(?:script|style)\b[^>]*>/g) ?? []
    for (const tag of tags) expect(tag).toContain(`nonce="${nonce}"`)
    // 5-security 341: nothing is loaded from anywhere; and nothing that the policy would stop.
    expect(body).not.toMatch(
      /<(?:link|img|iframe|base|object)\b|\ssrc=|\sstyle=|\son\w+=|@import|url\(/,
    )
    return nonce
  }

  test('333 341 pages: policy and headers of each, wherever the login stands', async () => {
    const to = [RP_ORIGIN]
    const start = await tab.authorize()
    const waiting = await tab.type(start, person.tokenId)
    const early = await tab.press(waiting, '/login/continue')
    const scanning = await tab.press(await tab.authorize(), '/login/scan')
    expect(pageId(scanning)).toBe('login-scan')
    const nonces = [
      expectPolicy(start, to),
      expectPolicy(scanning, to),
      expectPolicy(await tab.send('GET', '/l')),
      // Where it leads only the login knows, and Chromium follows redirects with the policy of the page.
      expectPolicy(await tab.send('GET', '/login/return'), 'anywhere'),
      expectPolicy(await tab.type(start, 'nonsense'), to),
      expectPolicy(waiting, to),
      expectPolicy(early, to),
    ]
    await mistype(person, waiting)
    const failed = await tab.press(waiting, '/login/continue')
    expect(pageId(failed)).toBe('login-failed')
    nonces.push(expectPolicy(failed, to))
    const again = await tab.press(failed, '/login/address')
    wait(61)
    const expired = await tab.press(again, '/login/continue')
    expect(pageId(expired)).toBe('login-expired')
    nonces.push(expectPolicy(expired, to))

    const posted = await tab.begin(person.tokenId, { response_mode: 'form_post' })
    await approve(person, posted)
    const back = await tab.press(posted, '/login/continue')
    expect(pageId(back)).toBe('login-return')
    nonces.push(expectPolicy(back, to))
    const completed = await tab.press(posted, '/login/continue')
    expectPage(completed, 409, 'login-completed')
    nonces.push(expectPolicy(completed))
    const foreign = await new Tab().press(posted, '/login/continue')
    expectPage(foreign, 403, 'login-browser')
    nonces.push(expectPolicy(foreign))
    const old = await tab.authorize()
    wait(601)
    const over = await tab.type(old, person.tokenId)
    expectPage(over, 400, 'login-over')
    nonces.push(expectPolicy(over))
    for (const changes of [
      { client_id: 'x' },
      { redirect_uri: 'http://127.0.0.1:8790/x' },
      { scope: 'a\nb' },
    ]) {
      const page = await tab.authorize(changes)
      expect(page.status).toBe(400)
      nonces.push(expectPolicy(page))
    }
    expect(new Set(nonces).size).toBe(nonces.length)
  })

  test('333 pages: an app’s own scheme, and no other service’s address', async () => {
    const redirect_uri = 'com.example.bar:/cb'
    await registerClient({
      redirect_uris: [redirect_uri, 'http://127.0.0.1/cb'],
      application_type: 'native',
      token_endpoint_auth_method: 'none',
    })
    const start = await tab.authorize({ redirect_uri })
    expectPolicy(start, ['com.example.bar:'])
    // The phone is shown the service's own domain: a scheme has none.
    expect(start.body).toContain('127.0.0.1:8790')
    const cancelled = await tab.press(start, '/login/cancel')
    expect(cancelled.headers.get('Location')).toMatch(
      /^com\.example\.bar:\/cb\?error=access_denied&/,
    )
    expectPolicy(await tab.authorize({ redirect_uri: 'http://127.0.0.1:4711/cb' }), [
      'http://127.0.0.1:4711',
    ])
  })

  test('340 pages: nothing is kept for the back button, and no address holds a code', async () => {
    const waiting = await tab.begin(person.tokenId)
    const { code } = waitingIn(waiting)
    expect(code).toMatch(/^\d{6}$/)
    await approve(person, waiting)
    const done = await tab.press(waiting, '/login/continue')
    for (const { headers } of [waiting, done]) expect(headers.get('Cache-Control')).toBe('no-store')
    expect(done.headers.get('Location')).not.toContain(code)
    expect(done.body).toBe('')
    // The pages of a login come by POST only: history has nothing that could be opened again.
    for (const path of STEPS) {
      const opened = await tab.send('GET', path)
      expect([opened.status, opened.headers.get('Allow')]).toEqual([405, 'POST'])
    }
  })

  test('162 pages: a name with markup is text on every page', async () => {
    const name = 'Bar <script>alert(1)</script> & "Söhne" \'\u202egnp</title>'
    await registerClient({}, { name })
    const start = await tab.authorize()
    const waiting = await tab.type(start, person.tokenId)
    wait(61)
    const expired = await tab.press(waiting, '/login/continue')
    const posted = await tab.authorize({ response_mode: 'form_post', prompt: 'none' })
    for (const { body } of [start, waiting, expired, posted]) {
      expect(body).toContain('Bar &lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;Söhne&quot;')
      expect(body).toContain('\u202egnp&lt;/title&gt;')
      expect(body).not.toContain('<script>alert')
    }
    expect(landingOf(await tab.press(expired, '/login/cancel')).address).toBe(REDIRECT_URI)
  })

  test('339 pages: framed, fetched or from another site, a step does nothing', async () => {
    const start = await tab.authorize()
    const waiting = await tab.type(start, person.tokenId)
    const { sessionId } = waitingIn(waiting)
    const login = await storedLogin(sessionId)
    for (const headers of [
      { 'Sec-Fetch-Site': 'cross-site', Origin: 'https://evil.example' },
      { 'Sec-Fetch-Site': 'cross-site', Origin: 'null' },
      { 'Sec-Fetch-Site': 'same-site', Origin: 'null' },
      { 'Sec-Fetch-Site': 'none' },
      { Origin: 'https://evil.example' },
      { Origin: RP_ORIGIN },
      { Origin: `${ISSUER}.evil.example` },
      { 'Sec-Fetch-Site': 'same-origin', 'Sec-Fetch-Dest': 'iframe' },
      { 'Sec-Fetch-Site': 'same-origin', 'Sec-Fetch-Dest': 'empty' },
      { 'Sec-Purpose': 'prefetch' },
    ] as Record<string, string>[]) {
      for (const path of STEPS) {
        const { ticket = '' } = formIn(waiting.body, '/login/continue')
        const form = { ticket, after: '1', tokenId: person.tokenId }
        const answer = await tab.send('POST', path, form, headers)
        expectPage(answer, 403, 'login-browser')
        expect(answer.body).not.toMatch(/ticket|data-session|\d{3}<\/span>/)
      }
    }
    expect(await storedLogin(sessionId)).toEqual(login)
    // What a browser sends for a form of ours.
    const headers = {
      'Sec-Fetch-Site': 'same-origin',
      'Sec-Fetch-Dest': 'document',
      Origin: 'null',
    }
    const form = formIn(waiting.body, '/login/cancel')
    expectAuthz(await tab.send('POST', '/login/cancel', form, headers), 'access_denied')
  })
})

describe('the number that is typed', () => {
  test.each(['   ', 'nonsense', '1'.repeat(200), '"><script>alert(1)</script>', 'é'.repeat(32)])(
    '181 hosted: %j is none: the same page, nothing begun',
    async (typed) => {
      const start = await tab.authorize()
      const answer = await tab.type(start, typed)
      expectPage(answer, 400, 'login-start')
      expect(answer.body).toContain('role="alert"')
      expect(answer.body).not.toContain('<script>')
      expect(await objectIds()).toEqual(before)
      // What was typed stays in its field, and the right number may follow.
      expect(formIn(answer.body, '/login/address').tokenId).toBe(typed)
      expect(pageId(await tab.type(answer, person.tokenId))).toBe('login-pushing')
    },
  )

  test('357 hosted: who mistyped may type another number, on the waiting page and on the next', async () => {
    const waiting = await tab.begin(crypto.randomUUID())
    const { sessionId } = waitingIn(waiting)
    const form = /<form method="post" action="([^"]*)" id="other-number">/.exec(waiting.body)
    expect(form?.[1]).toBe('/login/address')
    const { ticket = '' } = formIn(waiting.body, '/login/cancel')
    const start = await tab.send('POST', '/login/address', { ticket, tokenId: '' })
    expectPage(start, 200, 'login-start')
    expect(start.body).not.toContain('role="alert"')
    const second = await tab.type(start, person.tokenId)
    expectPage(second, 200, 'login-pushing')
    expect(await storedLogin(sessionId)).toMatchObject({
      attempt: { number: 2 },
      addressee: { tokenId: person.tokenId },
    })
  })

  test('181 hosted: look-alike letters, trailing dots and controls are no number', async () => {
    const start = await tab.authorize()
    const { tokenId } = person
    for (const typed of [
      `${tokenId}.`,
      tokenId.replace(/\d/, '\u0660'),
      tokenId.replace(/\d/, '\uff11'),
      tokenId.replaceAll('-', '\u2010'),
      `${tokenId}0`,
    ]) {
      expectPage(await tab.type(start, typed), 400, 'login-start')
    }
    expect(await objectIds()).toEqual(before)
  })

  test.each(['%ff', '%C0%AF', 'a%00b', '%ED%A0%80', 'a%0Db'])(
    '013 hosted: a form with %s is none',
    async (text) => {
      const start = await tab.authorize()
      const { ticket = '' } = formIn(start.body, '/login/address')
      const response = await answerOf(
        await exports.default.fetch(`${ISSUER}/login/address`, {
          method: 'POST',
          headers: {
            'Content-Type': 'application/x-www-form-urlencoded',
            'CF-Connecting-IP': tab.address,
            Cookie: tab.cookieHeader,
          },
          body: `ticket=${encodeURIComponent(ticket)}&after=0&tokenId=${text}`,
        }),
      )
      expect(response.status).toBe(400)
      expect(response.body).not.toMatch(/\ufffd/)
      expect(await objectIds()).toEqual(before)
    },
  )

  test('hosted: blanks, dashes and capitals are the person’s own', async () => {
    const bare = person.tokenId.replaceAll('-', '').toUpperCase()
    const typed = ` ${bare.replace(/.{4}/g, '$& ')}`
    const waiting = await tab.begin(typed)
    await approve(person, waiting)
    expect(landingOf(await tab.press(waiting, '/login/continue')).parameters.code).toBeDefined()
  })

  test('hosted: a login_hint stands in the field and starts nothing', async () => {
    const start = await tab.authorize({ login_hint: person.tokenId })
    expect(formIn(start.body, '/login/address').tokenId).toBe(person.tokenId)
    const stranger = await tab.authorize({ login_hint: '"><script>x</script>' })
    expect(formIn(stranger.body, '/login/address').tokenId).toBe('')
    expect(stranger.body).not.toContain('<script>x')
    expect(await objectIds()).toEqual(before)
    expect((await person.pending()).body).toEqual([])
  })

  test('180 hosted: a number that can’t log in gets pages of the same shape', async () => {
    const revoked = await enrolled({ push: false })
    const pushed = await enrolled()
    await operator('POST', '/revoke', { tokenId: revoked.tokenId, reason: 'lost' })
    const numbers = [pushed.tokenId, revoked.tokenId, crypto.randomUUID()]
    /** Pages, answers and events of a login that nobody answers, without what is random in them. */
    const seen = async (tokenId: string) => {
      const own = new Tab()
      const waiting = await own.begin(tokenId)
      const socket = await own.socket(waiting)
      await socket.event('otp_ready')
      const early = await own.press(waiting, '/login/continue')
      const more = await own.press(early, '/login/address')
      expect((await socket.closed).code).toBe(1000)
      wait(61)
      const expired = await own.press(more, '/login/continue')
      const cancelled = await own.press(expired, '/login/cancel')
      const pages = [waiting, early, more, expired, cancelled].map(({ status, headers, body }) => [
        status,
        [...headers.keys()].sort(),
        landless(String(body), tokenId),
      ])
      return [pages, socket.events.map(({ type }) => type)]
    }
    const first = await seen(person.tokenId)
    for (const tokenId of numbers) expect(await seen(tokenId)).toEqual(first)
  })

  /** `body` without nonces, tickets, ids and digits. */
  function landless(body: string, tokenId: string): string {
    return body
      .replaceAll(tokenId, 'TOKEN')
      .replace(/(nonce|data-session|data-token|data-qr-(?:url|key)|href)="[^"]*"/g, '$1')
      .replace(/(name="ticket" value=)"([^"]*)"/g, (_, name, ticket) => `${name}${ticket.length}`)
      .replace(/\d/g, '0')
  }

  test('178 hosted: nobody can claim, approve or deny the login of an unknown number', async () => {
    const stranger = await enrolled({ push: false })
    const waiting = await tab.begin(crypto.randomUUID())
    const { sessionId } = waitingIn(waiting)
    expect((await stranger.claim(sessionId)).body.code).toBe('session_not_found')
    expect((await stranger.deny(sessionId, 'nonce')).body.code).toBe('invalid_statement')
    expect(await storedLogin(sessionId)).toMatchObject({
      state: 'pending',
      addressee: { thumbprint: null },
    })
  })

  test('185 hosted: the eleventh start of one address waits; the others go on', async () => {
    const start = await tab.authorize()
    const other = new Tab()
    const waiting = await other.begin(person.tokenId)
    let limited = await tab.type(start, crypto.randomUUID())
    let begun = 0
    // The platform counts in windows of a minute, and one may end on the way: then ten more fit, and no more.
    for (; limited.status !== 429 && begun < 21; begun += 1) {
      limited = await tab.type(await tab.authorize(), crypto.randomUUID())
    }
    expect(begun).toBeGreaterThanOrEqual(9)
    expect(begun).toBeLessThanOrEqual(20)
    expectPage(limited, 429, 'login-limited')
    expect(limited.headers.get('Retry-After')).toMatch(/^\d+$/)
    expect(limited.body).not.toMatch(/address|number|service/i)
    const objects = await objectIds()
    await tab.type(start, person.tokenId)
    expect(await objectIds()).toEqual(objects)
    expect(pageId(await other.press(waiting, '/login/address'))).toBe('login-pushing')
  })
})
