/** The browser's socket (5-security 4.15). */
import { evictDurableObject, listDurableObjectIds, runDurableObjectAlarm } from 'cloudflare:test'
import { env, exports } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  BAR_ORIGIN,
  type Bar,
  Browser,
  connect,
  enrolled,
  freshAddress,
  ISSUER,
  initiate,
  initiateFromPage,
  loginObject,
  openBar,
  operator,
  type Person,
  storedLogin,
} from './world.ts'

let bar: Bar
let person: Person
beforeEach(async () => {
  bar = await openBar()
  person = await enrolled()
})
afterEach(() => {
  vi.useRealTimers()
})

interface Started {
  readonly sessionId: string
  readonly wsToken: string
  readonly expiresAt: string
  readonly autoPassword: string
}

async function begun(): Promise<Started> {
  return (await initiate(bar, person.tokenId)).body
}

async function begunByPage(): Promise<Started> {
  const from = { 'CF-Connecting-IP': freshAddress() }
  return (await initiateFromPage(person.tokenId, {}, from)).body
}

/** A browser that has its first event. */
async function watching(login: Started): Promise<Browser> {
  const browser = await connect(login)
  await browser.event('otp_ready')
  return browser
}

function types({ events }: Browser): (string | undefined)[] {
  return events.map(({ type }) => type)
}

/** That the handshake ended at once with `code`, and not a word was said. */
async function expectTurnedAway(browser: Browser, code: number): Promise<void> {
  expect((await browser.closed).code).toBe(code)
  expect(browser.events).toEqual([])
}

describe('who may connect', () => {
  test('194 socket: no token, the token of another login, an altered one', async () => {
    const login = await begun()
    const other = await begun()
    const last = login.wsToken.slice(-1)
    for (const token of [
      null,
      '',
      other.wsToken,
      `${login.wsToken.slice(0, -1)}${last === 'A' ? 'E' : 'A'}`,
      `${login.wsToken}=`,
      login.wsToken.slice(0, -1),
      login.sessionId,
    ]) {
      await expectTurnedAway(await connect(login, { token }), 4001)
    }
  })

  test('194 socket: only `idtoken.v1` is spoken, and only it is echoed', async () => {
    const login = await begun()
    const open = (protocol?: string) =>
      exports.default.fetch(`${ISSUER}/ws/session/${login.sessionId}`, {
        headers: {
          Upgrade: 'websocket',
          Origin: BAR_ORIGIN,
          'CF-Connecting-IP': freshAddress(),
          ...(protocol && { 'Sec-WebSocket-Protocol': protocol }),
        },
      })
    for (const protocol of [`${login.wsToken}, idtoken.v1`, `idtoken.v2, ${login.wsToken}`]) {
      const { webSocket } = await open(protocol)
      if (webSocket === null) throw new Error('no socket')
      await expectTurnedAway(new Browser(webSocket), 4001)
    }
    const welcome = await open(`idtoken.v1, ${login.wsToken}`)
    expect(welcome.status).toBe(101)
    expect(welcome.headers.get('Sec-WebSocket-Protocol')).toBe('idtoken.v1')
    expect(JSON.stringify([...welcome.headers])).not.toContain(login.wsToken)
    // RFC 6455 section 4.1: a browser fails a handshake whose answer names a protocol that it didn't offer.
    expect((await open()).headers.has('Sec-WebSocket-Protocol')).toBe(false)
  })

  test('195 socket: an unknown login', async () => {
    const login = await begun()
    const objects = await listDurableObjectIds(env.LOGIN_SESSION)
    for (const sessionId of [`sess_${'0'.repeat(64)}`, 'sess_', 'nonsense', '..%2Fhealth']) {
      await expectTurnedAway(await connect({ ...login, sessionId }), 4004)
    }
    expect(await listDurableObjectIds(env.LOGIN_SESSION)).toHaveLength(objects.length)
  })

  test.each([
    ['null', 'null'],
    ['of somebody else', 'https://evil.example'],
    ['with ours as a prefix', `${BAR_ORIGIN}.evil.example`],
    ['of another port', 'http://127.0.0.1:8790'],
    ['of another scheme', 'https://127.0.0.1:8789'],
    ['with a slash', `${BAR_ORIGIN}/`],
    ['of another service', 'https://other.example'],
  ])('196 socket: an origin %s is turned away, whoever began', async (_name, origin) => {
    await openBar({ origins: ['https://other.example'] }, 'other')
    for (const login of [await begun(), await begunByPage()]) {
      await expectTurnedAway(await connect(login, { origin }), 4001)
    }
  })

  test('196 socket: without origin only a login that a back end began; the own page always', async () => {
    await expectTurnedAway(await connect(await begunByPage(), { origin: null }), 4001)
    const fromBackEnd = await connect(await begun(), { origin: null })
    expect(await fromBackEnd.event('otp_ready')).toBeDefined()
    const fromIssuer = await connect(await begunByPage(), { origin: new URL(ISSUER).origin })
    expect(await fromIssuer.event('otp_ready')).toBeDefined()
  })

  test('212 socket: a cookie changes nothing about the origin', async () => {
    const login = await begunByPage()
    const response = await exports.default.fetch(`${ISSUER}/ws/session/${login.sessionId}`, {
      headers: {
        Upgrade: 'websocket',
        Origin: 'https://evil.example',
        Cookie: '__Host-browser=AAAAAAAAAAAAAAAAAAAAAA',
        'Sec-WebSocket-Protocol': `idtoken.v1, ${login.wsToken}`,
        'CF-Connecting-IP': freshAddress(),
      },
    })
    if (response.webSocket === null) throw new Error('no socket')
    await expectTurnedAway(new Browser(response.webSocket), 4001)
  })

  test('197 socket: a token in the query is no token, and is not logged', async () => {
    const login = await begun()
    const log = vi.spyOn(console, 'log')
    const path = `/ws/session/${login.sessionId}?token=${login.wsToken}&wsToken=${login.wsToken}`
    try {
      await expectTurnedAway(await connect(login, { token: null, path }), 4001)
      expect(JSON.stringify(log.mock.calls)).not.toContain(login.wsToken)
    } finally {
      log.mockRestore()
    }
  })

  test('207 socket: the fifty-first of one address waits', { timeout: 20_000 }, async () => {
    const login = await begun()
    const from = freshAddress()
    const open = () =>
      exports.default.fetch(`${ISSUER}/ws/session/${login.sessionId}`, {
        headers: { Upgrade: 'websocket', Origin: BAR_ORIGIN, 'CF-Connecting-IP': from },
      })
    // The platform counts in windows of ten seconds, and one may end on the way: then fifty more fit, and no more.
    let accepted = 0
    let refused = await open()
    for (; refused.status === 101 && accepted < 101; accepted += 1) {
      refused.webSocket?.accept()
      refused = await open()
    }
    expect(accepted).toBeGreaterThanOrEqual(50)
    expect(accepted).toBeLessThanOrEqual(100)
    expect(refused.status).toBe(429)
    expect(refused.webSocket).toBeNull()
    expect(refused.headers.get('Retry-After')).toMatch(/^\d+$/)
  })

  test('195 socket: without an upgrade it is no socket', async () => {
    const { sessionId } = await begun()
    const plain = await exports.default.fetch(`${ISSUER}/ws/session/${sessionId}`)
    expect(plain.status).toBe(400)
    const posted = await exports.default.fetch(`${ISSUER}/ws/session/${sessionId}`, {
      method: 'POST',
    })
    expect([posted.status, posted.headers.get('Allow')]).toEqual([405, 'GET, HEAD'])
  })
})

describe('what is told, and when', () => {
  test('213 socket: code, claim, approval, in this order and once each, then the end', async () => {
    const login = await begun()
    const browser = await watching(login)
    expect(browser.events).toEqual([
      { type: 'otp_ready', autoPassword: login.autoPassword, expiresAt: login.expiresAt },
    ])
    const claimed = (await person.claim(login.sessionId)).body
    await browser.event('claimed')
    await person.claim(login.sessionId)
    await person.approve(login.sessionId, claimed)
    expect(await browser.closed).toEqual({ code: 1000, reason: 'resolved' })
    expect(types(browser)).toEqual(['otp_ready', 'claimed', 'approved'])
  })

  test('198 socket: a newer socket of the same browser takes the place of the older', async () => {
    const login = await begun()
    const first = await watching(login)
    const second = await watching(login)
    expect(await first.closed).toMatchObject({ code: 4009 })
    const claimed = (await person.claim(login.sessionId)).body
    await person.approve(login.sessionId, claimed)
    await second.closed
    expect(types(first)).toEqual(['otp_ready'])
    expect(types(second)).toEqual(['otp_ready', 'claimed', 'approved'])
  })

  test('200 socket: a reconnect gets the state again, and moves no deadline', async () => {
    const login = await begun()
    const first = await watching(login)
    first.socket.close(1000, 'gone')
    await first.closed
    const second = await watching(login)
    expect(second.events).toEqual(first.events)
    const claimed = (await person.claim(login.sessionId)).body
    const { deadline } = (await storedLogin(login.sessionId))?.attempt ?? {}
    const third = await connect(login)
    await third.event('claimed')
    expect(types(third)).toEqual(['otp_ready', 'claimed'])
    expect(third.events[0]).toMatchObject({
      autoPassword: login.autoPassword,
      expiresAt: claimed.expiresAt,
    })
    expect((await storedLogin(login.sessionId))?.attempt.deadline).toBe(deadline)
  })

  test('201 socket: after the end it is told once more; after the object is empty there is no login', async () => {
    const login = await begun()
    const { nonce } = (await person.claim(login.sessionId)).body
    await person.deny(login.sessionId, nonce)
    const late = await connect(login)
    expect(await late.closed).toEqual({ code: 1000, reason: 'resolved' })
    expect(late.events).toEqual([{ type: 'rejected', reason: 'declined' }])

    const endedAt = (await storedLogin(login.sessionId))?.endedAt ?? 0
    vi.useFakeTimers({ toFake: ['Date'] })
    vi.setSystemTime(endedAt + 60_000)
    await expectTurnedAway(await connect(login), 4004)
    await runDurableObjectAlarm(loginObject(login.sessionId))
    expect(await storedLogin(login.sessionId)).toBeUndefined()
    await expectTurnedAway(await connect(login), 4004)
    expect(await storedLogin(login.sessionId)).toBeUndefined()
  })

  test('201 socket: after the deadline it is told of the expiry, alarm or no alarm', async () => {
    const login = await begunByPage()
    vi.useFakeTimers({ toFake: ['Date'] })
    vi.setSystemTime(Date.parse(login.expiresAt))
    const late = await connect(login)
    expect(await late.closed).toMatchObject({ code: 1000 })
    expect(late.events).toEqual([{ type: 'expired' }])
  })

  test('202 socket: the result waits a minute for a page that was away, and stays the same', async () => {
    const login = await begun()
    const claimed = (await person.claim(login.sessionId)).body
    await person.approve(login.sessionId, claimed)
    const first = await connect(login)
    const second = await connect(login)
    const approved = await first.event('approved')
    expect(approved.jwt).toEqual(expect.stringMatching(/^eyJ/))
    expect(await second.event('approved')).toEqual(approved)
    expect(types(second)).toEqual(['approved'])

    const endedAt = (await storedLogin(login.sessionId))?.endedAt ?? 0
    vi.useFakeTimers({ toFake: ['Date'] })
    vi.setSystemTime(endedAt + 60_000)
    await expectTurnedAway(await connect(login), 4004)
  })

  test('211 socket: a hibernated object still tells the open socket of claim and approval', async () => {
    const login = await begun()
    const browser = await watching(login)
    await evictDurableObject(loginObject(login.sessionId))
    const claimed = (await person.claim(login.sessionId)).body
    await browser.event('claimed')
    await evictDurableObject(loginObject(login.sessionId))
    browser.socket.send('ping')
    await person.approve(login.sessionId, claimed)
    expect(await browser.closed).toMatchObject({ code: 1000 })
    expect(types(browser)).toEqual(['otp_ready', 'claimed', 'approved'])
  })

  test('211 socket: a hibernated object still replaces the older socket', async () => {
    const login = await begun()
    const first = await watching(login)
    await evictDurableObject(loginObject(login.sessionId))
    await watching(login)
    expect(await first.closed).toMatchObject({ code: 4009 })
  })

  test('306 socket: a socket that a reset has cut comes back to the same login', async () => {
    const login = await begun()
    const first = await watching(login)
    await evictDurableObject(loginObject(login.sessionId), { webSockets: 'close' })
    await first.closed
    const claimed = (await person.claim(login.sessionId)).body
    const second = await connect(login)
    await second.event('claimed')
    await person.approve(login.sessionId, claimed)
    await second.closed
    expect(types(second)).toEqual(['otp_ready', 'claimed', 'approved'])
  })
})

describe('what a browser may say', () => {
  /** That the login goes on as if the frame had never come. */
  async function expectUnmoved(login: Started): Promise<void> {
    expect(await storedLogin(login.sessionId)).toMatchObject({
      state: 'pending',
      attempt: { wrongCodes: 0 },
    })
    const next = await watching(login)
    const claimed = (await person.claim(login.sessionId)).body
    expect((await person.approve(login.sessionId, claimed)).status).toBe(200)
    await next.closed
    expect(types(next)).toEqual(['otp_ready', 'claimed', 'approved'])
  }

  test('205 socket: a ping is answered, also by a hibernated object', async () => {
    const login = await begun()
    const browser = await watching(login)
    const pongs: unknown[] = []
    browser.socket.addEventListener('message', ({ data }) => {
      pongs.push(data)
    })
    browser.socket.send('ping')
    await vi.waitFor(() => expect(pongs).toEqual(['pong']))
    await evictDurableObject(loginObject(login.sessionId))
    browser.socket.send('ping')
    await vi.waitFor(() => expect(pongs).toEqual(['pong', 'pong']))
  })

  test.each([
    ['of 4 KiB and one', 'x'.repeat(4097)],
    ['of 4 KiB and more in two-byte letters', 'é'.repeat(2049)],
    ['of 1 MiB', 'x'.repeat(1024 * 1024)],
  ])('203 socket: a frame %s', async (_name, frame) => {
    const login = await begun()
    const browser = await watching(login)
    browser.socket.send(frame)
    expect(await browser.closed).toMatchObject({ code: 1009 })
    await expectUnmoved(login)
  })

  test.each([
    ['binary', new Uint8Array([112, 105, 110, 103]), 1003],
    ['empty', '', 1008],
    ['of 4 KiB exactly', 'x'.repeat(4096), 1008],
    ['that almost is a ping', 'ping ', 1008],
    ['that is no JSON', '{', 1008],
    ['approved', '{"type":"approved"}', 1008],
    ['otp_ready', '{"type":"otp_ready"}', 1008],
    ['__proto__', '{"__proto__":{"state":"approved"}}', 1008],
  ])('206 socket: a frame %s', async (_name, frame, code) => {
    const login = await begun()
    const other = await watching(await begun())
    const browser = await watching(login)
    browser.socket.send(frame)
    expect(await browser.closed).toMatchObject({ code })
    expect(types(browser)).toEqual(['otp_ready'])
    await expectUnmoved(login)
    expect(types(other)).toEqual(['otp_ready'])
  })

  test('204 socket: two hundred messages end the socket at the first, and the login goes on', {
    timeout: 20_000,
  }, async () => {
    const login = await begun()
    const browser = await watching(login)
    for (let i = 0; i < 200; i++) browser.socket.send(`message ${i}`)
    expect(await browser.closed).toMatchObject({ code: 1008 })
    await expectUnmoved(login)
  })

  test.each([
    [1000, 1000],
    [1001, 1001],
    [3001, 3001],
    [undefined, 1000],
  ])(
    '209 socket: a browser that closes with %s is answered %i, never 1005, 1006 or 1015',
    async (code, answer) => {
      const login = await begun()
      const browser = await watching(login)
      if (code === undefined) browser.socket.close()
      else browser.socket.close(code, 'bye')
      const closed = await browser.closed
      expect([1005, 1006, 1015]).not.toContain(closed.code)
      expect([answer, 1000]).toContain(closed.code)
      await expectUnmoved(login)
    },
  )

  test('210 socket: sockets of one login tell nothing of another', async () => {
    const [a, b] = [await begun(), await begun()]
    const [browserA, browserB] = [await watching(a), await watching(b)]
    const claimed = (await person.claim(a.sessionId)).body
    await person.approve(a.sessionId, claimed)
    await browserA.closed
    expect(types(browserB)).toEqual(['otp_ready'])
    expect(await storedLogin(b.sessionId)).toMatchObject({ state: 'pending' })
  })
})

describe('what was withdrawn after the approval', () => {
  test.each([
    [
      'the person was revoked',
      (tokenId: string) => operator('POST', '/revoke', { tokenId, reason: 'lost' }),
    ],
    ['the service was switched off', () => openBar({ enabled: false })],
  ])(
    '202 244 socket: %s: a browser that comes back for the token gets none',
    async (_, withdraw) => {
      const person = await enrolled({ push: false })
      const { body } = await initiate(bar, person.tokenId)
      const claimed = (await person.claim(body.sessionId)).body
      expect((await person.approve(body.sessionId, claimed)).status).toBe(200)
      const before = await connect(body)
      expect(await before.event('approved')).toHaveProperty('jwt')
      await withdraw(person.tokenId)
      const after = await connect(body)
      expect(await after.closed).toMatchObject({ code: 4004 })
      expect(after.events).toEqual([])
    },
  )
})
