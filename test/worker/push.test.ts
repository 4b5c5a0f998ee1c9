/**
 * Push as the whole product does it (5-security 4.22): what each answer of FCM leads to, who is told, what the message
 * shows on the wire. Each test has a Firebase project of its own, because an isolate remembers that a channel is down.
 */
import { env } from 'cloudflare:workers'
import { type CryptoKey, compactDecrypt, createLocalJWKSet, decodeJwt, jwtVerify } from 'jose'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { toBase64url } from '../../src/bytes.ts'
import { type OtherWorker, workerWith } from './other-worker.ts'
import {
  type Answer,
  BAR_ORIGIN,
  type Bar,
  type Browser,
  connect,
  enrolled,
  freshAddress,
  ISSUER,
  openBar,
  type Person,
  scriptPush,
  send,
} from './world.ts'

interface Sent {
  readonly url: string
  readonly body: string
  readonly milliseconds: number
}

/** A Worker with a push channel of its own, and every request that it made to Google. */
class Channel {
  readonly sends: Sent[] = []
  readonly exchanges: Sent[] = []
  readonly worker: OtherWorker
  /** What the token endpoint answers instead of the fake's own answer. */
  exchange: (() => Promise<Response>) | undefined
  /** What stands in for the next answers of FCM: a network that breaks. */
  readonly broken: ((init: RequestInit | undefined) => Promise<Response>)[] = []

  constructor() {
    const account = JSON.parse(env.FCM_SERVICE_ACCOUNT)
    const project = `own-${crypto.randomUUID().slice(0, 8)}`
    this.worker = workerWith({
      FCM_SERVICE_ACCOUNT: JSON.stringify({ ...account, project_id: project }),
    })
    const real = fetch
    const spy = vi.spyOn(globalThis, 'fetch').mockImplementation(async (input, init) => {
      const url = String(input)
      const sent = { url, body: String(init?.body), milliseconds: Date.now() }
      if (url === account.token_uri) {
        this.exchanges.push(sent)
        return this.exchange ? this.exchange() : real(url, init)
      }
      if (!url.includes(`/v1/projects/${project}/`)) return real(input, init)
      this.sends.push(sent)
      const broken = this.broken.shift()
      // The fake knows one project; what differs is only the name under which this isolate remembers it.
      return broken ? broken(init) : real(url.replace(project, account.project_id), init)
    })
    onTestFinished(() => spy.mockRestore())
  }

  initiate(tokenId: string, more: object = {}): Promise<Answer> {
    return this.worker.post(
      '/auth/initiate',
      { serviceId: bar.serviceId, tokenId, ...more },
      bar.basic,
    )
  }

  initiateFromPage(tokenId: string): Promise<Answer> {
    const headers = { Origin: BAR_ORIGIN, 'CF-Connecting-IP': freshAddress() }
    return this.worker.post('/auth/initiate', { serviceId: bar.serviceId, tokenId }, headers)
  }

  /** The last message sent, as FCM got it. */
  message(): Record<string, unknown> & { data: Record<string, string> } {
    return JSON.parse(this.sends.at(-1)?.body ?? '').message
  }
}

/** The two ways to begin, with a socket that listens. */
async function begin(channel: Channel, tokenId: string, from: 'back-end' | 'page') {
  const started =
    from === 'page' ? await channel.initiateFromPage(tokenId) : await channel.initiate(tokenId)
  expect(started.status).toBe(200)
  const browser = await connect(started.body)
  await browser.event('otp_ready')
  await channel.worker.settled()
  return { ...started.body, browser } as { sessionId: string; browser: Browser }
}

/** What a socket was told, once everything that follows a start is over. */
async function told(
  channel: Channel,
  tokenId: string,
  from: 'back-end' | 'page',
): Promise<string[]> {
  const { browser } = await begin(channel, tokenId, from)
  await scheduler.wait(50)
  return browser.events.map((event) => String(event.type))
}

async function enrollmentOf(person: Person): Promise<Record<string, unknown> | null> {
  return env.DB.prepare('SELECT * FROM enrollment WHERE token_id = ?').bind(person.tokenId).first()
}

/** Time-outs and pauses of the product pass twenty times as fast; the answer holds what was asked for. */
function hurry(): number[] {
  const asked: number[] = []
  const real = setTimeout
  const spy = vi.spyOn(globalThis, 'setTimeout').mockImplementation(((
    callback: () => void,
    milliseconds = 0,
  ) => {
    asked.push(milliseconds)
    return real(callback, milliseconds / 20)
  }) as typeof setTimeout)
  onTestFinished(() => spy.mockRestore())
  return asked
}

const DECOY = '00000000-0000-4000-8000-000000000000'
const NEXT = ['otp_ready', 'push_failed']

let bar: Bar
let channel: Channel

beforeEach(async () => {
  bar = await openBar()
  channel = new Channel()
})
afterEach(() => {
  vi.useRealTimers()
})

describe('who is told', () => {
  test.each(['unregistered', 'invalid-token', 'sender-mismatch'])(
    '290 292 push: FCM knows the token no more (%s): the back end is told, no retry, the token goes, the binding stays',
    async (script) => {
      const person = await enrolled()
      const { fcm_token: _gone, ...before } = (await enrollmentOf(person)) ?? {}
      await scriptPush(person.fcmToken ?? '', script)
      expect(await told(channel, person.tokenId, 'back-end')).toEqual(NEXT)
      expect(channel.sends).toHaveLength(1)
      expect(await enrollmentOf(person)).toEqual({ ...before, fcm_token: null })
      // Without a token there is nothing to send to; the back end still learns it, the phone can still pull.
      const again = await begin(channel, person.tokenId, 'back-end')
      await again.browser.event('push_failed')
      expect(channel.sends).toHaveLength(1)
      const pending = await person.pending()
      expect(pending.body.map((login: { sessionId: string }) => login.sessionId)).toContain(
        again.sessionId,
      )
    },
  )

  test.each([
    'unregistered',
    'invalid-token',
    'sender-mismatch',
    'invalid-argument',
    'unspecified',
  ])(
    '290 292 push: a page learns nothing of %s and looks like one with a decoy',
    async (script) => {
      const person = await enrolled()
      await scriptPush(person.fcmToken ?? '', script)
      expect(await told(channel, person.tokenId, 'page')).toEqual(['otp_ready'])
      expect(channel.sends).toHaveLength(1)
      expect(await told(channel, person.tokenId, 'page')).toEqual(['otp_ready'])
      expect(await told(channel, DECOY, 'page')).toEqual(['otp_ready'])
    },
  )

  test('290 push: a fault of another field is ours: the operator is told, the token stays', async () => {
    const person = await enrolled()
    const before = await enrollmentOf(person)
    const log = vi.spyOn(console, 'log')
    onTestFinished(() => log.mockRestore())
    await scriptPush(person.fcmToken ?? '', 'invalid-argument')
    expect(await told(channel, person.tokenId, 'back-end')).toEqual(NEXT)
    expect(channel.sends).toHaveLength(1)
    expect(await enrollmentOf(person)).toEqual(before)
    const lines = log.mock.calls.map(([line]) => JSON.parse(String(line)))
    expect(lines).toContainEqual(
      expect.objectContaining({ event: 'push_failed', reason: 'misconfigured_message' }),
    )
  })

  test('a back end whose person has no push token is told at once', async () => {
    const person = await enrolled({ push: false })
    expect(await told(channel, person.tokenId, 'back-end')).toEqual(NEXT)
    expect(await told(channel, person.tokenId, 'page')).toEqual(['otp_ready'])
    expect(channel.sends).toEqual([])
  })

  test('a push that arrives is told to nobody, and a login that has ended hears of no failure', async () => {
    const person = await enrolled()
    expect(await told(channel, person.tokenId, 'back-end')).toEqual(['otp_ready'])
    expect(await person.pushes()).toHaveLength(1)
  })
})

describe('the whole channel', () => {
  test('291 push: 401: one fresh access token, one retry, then the channel is down for all, decoys too', async () => {
    const person = await enrolled()
    await scriptPush(person.fcmToken ?? '', 'unauthenticated')
    // Only an enrolled phone's push can find out, so whoever's it was is told nothing.
    expect(await told(channel, person.tokenId, 'page')).toEqual(['otp_ready'])
    expect([channel.sends.length, channel.exchanges.length]).toEqual([2, 2])
    expect(await told(channel, DECOY, 'page')).toEqual(NEXT)
    expect(await told(channel, (await enrolled()).tokenId, 'back-end')).toEqual(NEXT)
    // No loop: while it is down nothing is sent.
    expect([channel.sends.length, channel.exchanges.length]).toEqual([2, 2])
  })

  test.each(['quota(60)', 'forbidden'])(
    '294 push: %s: no retry, the channel is down for a minute, then rings again',
    async (script) => {
      const person = await enrolled()
      await scriptPush(person.fcmToken ?? '', script)
      expect(await told(channel, person.tokenId, 'page')).toEqual(['otp_ready'])
      expect(channel.sends).toHaveLength(1)
      const other = await enrolled()
      expect(await told(channel, other.tokenId, 'page')).toEqual(NEXT)
      expect(await told(channel, DECOY, 'page')).toEqual(NEXT)
      expect(channel.sends).toHaveLength(1)

      vi.setSystemTime(Date.now() + 61_000)
      expect(await told(channel, other.tokenId, 'page')).toEqual(['otp_ready'])
      expect(channel.sends).toHaveLength(2)
      expect(await told(channel, DECOY, 'page')).toEqual(['otp_ready'])
    },
  )

  test.each([
    ['down', async () => new Response('', { status: 503 })],
    ['garbage', async () => new Response('<html>')],
    ['refuses the key', async () => Response.json({ error: 'invalid_grant' }, { status: 400 })],
    ['cut off', () => Promise.reject(new TypeError('network'))],
  ])(
    '298 push: the token endpoint is %s: one look, channel down, no key in the log',
    async (_, answer) => {
      const lines = ['log', 'info', 'warn', 'error'].map((name) => vi.spyOn(console, name as 'log'))
      onTestFinished(() => {
        for (const line of lines) line.mockRestore()
      })
      channel.exchange = answer as () => Promise<Response>
      const person = await enrolled()
      expect(await told(channel, person.tokenId, 'page')).toEqual(['otp_ready'])
      expect(await told(channel, person.tokenId, 'page')).toEqual(NEXT)
      expect(await told(channel, DECOY, 'page')).toEqual(NEXT)
      expect([channel.exchanges.length, channel.sends.length]).toEqual([1, 0])
      const written = JSON.stringify(lines.flatMap((line) => line.mock.calls))
      const { private_key: key, private_key_id: kid } = JSON.parse(env.FCM_SERVICE_ACCOUNT)
      expect(written).not.toContain(key.split('\n')[2])
      expect(written).not.toContain(kid)
      expect(written).not.toContain('eyJ')
    },
  )
})

describe('a bad way to FCM', () => {
  const network = () => Promise.reject(new TypeError('Network connection lost.'))

  test.each([
    ['unavailable', 'unavailable', []],
    ['internal', 'internal', []],
    ['an HTML 502', 'html502', []],
    ['a cut connection', 'ok', [network, network]],
  ])(
    '295 push: %s: one retry after 1.5 to 3 s, then push_failed for the back end',
    async (_, script, broken) => {
      const pauses = hurry()
      const person = await enrolled()
      await scriptPush(person.fcmToken ?? '', script)
      channel.broken.push(...broken)
      expect(await told(channel, person.tokenId, 'back-end')).toEqual(NEXT)
      expect(channel.sends).toHaveLength(2)
      const [pause] = pauses.filter((asked) => asked >= 1000 && asked < 4000)
      expect(pause).toBeGreaterThanOrEqual(1500)
      expect(pause).toBeLessThanOrEqual(3000)
      expect((await enrollmentOf(person))?.fcm_token).toBe(person.fcmToken)
    },
  )

  test('295 push: the retry arrives: one prompt, and nobody hears of a failure', async () => {
    hurry()
    const person = await enrolled()
    channel.broken.push(network)
    expect(await told(channel, person.tokenId, 'back-end')).toEqual(['otp_ready'])
    expect(channel.sends).toHaveLength(2)
    expect(await person.pushes()).toHaveLength(1)
  })

  test('295 push: a second prompt of one login is the same login: it is claimed once', async () => {
    const person = await enrolled()
    await scriptPush(person.fcmToken ?? '', 'duplicate')
    const { sessionId } = await begin(channel, person.tokenId, 'back-end')
    expect(await person.pushes()).toHaveLength(2)
    const [first, second] = [await person.claim(sessionId), await person.claim(sessionId)]
    expect(second).toMatchObject({ status: 200, body: first.body })
  })

  test('296 push: FCM hangs: the answer to the browser is long out, the login goes on, each try is cut at 4 s', async () => {
    const asked = hurry()
    const person = await enrolled()
    channel.broken.push(hangs, hangs)
    const before = performance.now()
    const started = await channel.initiate(person.tokenId)
    expect(started.status).toBe(200)
    expect(performance.now() - before).toBeLessThan(1500)
    const claimed = await person.claim(started.body.sessionId)
    expect(claimed.status).toBe(200)
    const browser = await connect(started.body)
    await channel.worker.settled()
    await browser.event('push_failed')
    expect(channel.sends).toHaveLength(2)
    // The exchange and two sends; two of them were cut.
    expect(asked.filter((milliseconds) => milliseconds === 4000)).toHaveLength(3)
    expect((await person.approve(started.body.sessionId, claimed.body)).status).toBe(200)
  })

  test.each(['html200', 'empty200', 'huge200'])(
    '297 push: an answer of 200 with %s ends in no retry and no crash',
    async (script) => {
      const person = await enrolled()
      await scriptPush(person.fcmToken ?? '', script)
      const events = await told(channel, person.tokenId, 'back-end')
      expect(events[0]).toBe('otp_ready')
      expect(channel.sends).toHaveLength(1)
      expect((await enrollmentOf(person))?.fcm_token).toBe(person.fcmToken)
    },
  )

  test('296 push: an endless body is cut at 4 s and sent to no second time', async () => {
    hurry()
    const person = await enrolled()
    await scriptPush(person.fcmToken ?? '', 'endless')
    expect(await told(channel, person.tokenId, 'back-end')).toEqual(NEXT)
    expect(channel.sends).toHaveLength(1)
  })

  /** Never answers; ends when its caller gives up. */
  function hangs(init: RequestInit | undefined): Promise<Response> {
    return new Promise((_, reject) => {
      init?.signal?.addEventListener('abort', () => reject(new TypeError('aborted')))
    })
  }
})

describe('the message', () => {
  const EXTRA = { name: 'Bar „Zur Ewigen Lampe“', subjectType: 'public' }

  /** Opens a prompt as the phone does: its own agreement key, then the server's device keys. */
  async function openPrompt(person: Person, jwe: string) {
    const { plaintext, protectedHeader } = await compactDecrypt(
      jwe,
      person.agreement.privateKey as CryptoKey,
      { keyManagementAlgorithms: ['ECDH-ES'], contentEncryptionAlgorithms: ['A256GCM'] },
    )
    const jws = new TextDecoder().decode(plaintext)
    const jwks = await send('GET', '/.well-known/device-jwks.json')
    const verified = await jwtVerify(jws, createLocalJWKSet(jwks.body), {
      typ: 'idtoken-push+jwt',
      audience: person.thumbprint,
      issuer: ISSUER,
      algorithms: ['ES256'],
    })
    return { ...verified, jweHeader: protectedHeader, jws }
  }

  test('299 push: opens with the key of the phone alone, and holds what a 6-digit prompt needs and no more', async () => {
    await openBar(EXTRA)
    const person = await enrolled()
    const { sessionId, browser } = await begin(channel, person.tokenId, 'back-end')
    const { autoPassword } = await browser.event('otp_ready')
    const [pushed] = await person.pushes()
    const { payload, protectedHeader, jweHeader } = await openPrompt(person, pushed?.data.jwe ?? '')
    expect(jweHeader).toMatchObject({ alg: 'ECDH-ES', enc: 'A256GCM', cty: 'JWT' })
    expect(Object.keys(protectedHeader).sort()).toEqual(['alg', 'kid', 'typ'])
    const claimed = await person.claim(sessionId)
    expect(payload).toEqual({
      iss: ISSUER,
      aud: person.thumbprint,
      sessionId,
      nonce: claimed.body.nonce,
      otp: autoPassword,
      service: { id: 'bar-le-central', name: EXTRA.name, domain: '127.0.0.1:8789' },
      scopes: ['identity:age_over_18', 'identity:given_name'],
      browser: null,
      country: null,
      iat: expect.any(Number),
      exp: Math.floor(Date.parse(String(browser.events[0]?.expiresAt)) / 1000),
    })
    const stranger = await enrolled()
    await expect(openPrompt(stranger, pushed?.data.jwe ?? '')).rejects.toThrow()
  })

  test('299 push: the token keys never vouch for a push', async () => {
    const person = await enrolled()
    await begin(channel, person.tokenId, 'back-end')
    const { jws } = await openPrompt(person, channel.message().data.jwe ?? '')
    const tokenKeys = await send('GET', '/.well-known/jwks.json')
    await expect(jwtVerify(jws, createLocalJWKSet(tokenKeys.body))).rejects.toThrow()
  })

  test('299 push: on the wire data-only, short-lived, small, and nothing of the login readable', async () => {
    await openBar(EXTRA)
    const person = await enrolled()
    const { sessionId, browser } = await begin(channel, person.tokenId, 'back-end')
    const { autoPassword, expiresAt } = await browser.event('otp_ready')
    const { payload } = await openPrompt(person, channel.message().data.jwe ?? '')
    const [sent] = channel.sends
    const wire = sent?.body ?? ''
    const message = channel.message()
    expect(Object.keys(message.data).sort()).toEqual(['jwe', 't', 'v'])
    expect(message.data).toMatchObject({ v: '1', t: 'login' })
    expect(wire).not.toMatch(/collapse_key|notification"|"title"|"body"/)
    expect(wire.length).toBeLessThan(4096)
    const left = (Date.parse(String(expiresAt)) - (sent?.milliseconds ?? 0)) / 1000
    const { ttl } = message.android as { ttl: string }
    expect(Number.parseInt(ttl, 10)).toBeLessThanOrEqual(left - 4)
    expect(Number.parseInt(ttl, 10)).toBeGreaterThan(45)
    const secrets = [String(autoPassword), person.tokenId, person.thumbprint, sessionId]
    secrets.push(String(payload.nonce), EXTRA.name, 'Lampe', 'identity:', 'given_name', 'bar-le')
    for (const secret of secrets) expect(wire, secret).not.toContain(secret)
    // The address in a push service's hands names no person either.
    expect(sent?.url).not.toContain(person.tokenId)
  })

  test('299 push: two pushes of one person share no bytes of the sealed prompt', async () => {
    const person = await enrolled()
    const first = await begin(channel, person.tokenId, 'back-end')
    const { nonce } = (await person.claim(first.sessionId)).body
    await person.deny(first.sessionId, nonce)
    await scheduler.wait(100)
    await begin(channel, person.tokenId, 'back-end')
    const [one = '', two = ''] = (await person.pushes()).map(({ data }) => data.jwe)
    const parts = (jwe: string) => jwe.split('.').slice(2)
    for (const [i, part] of parts(one).entries()) expect(parts(two)[i]).not.toBe(part)
    const header = (jwe: string) => jwe.split('.')[0]
    expect(header(one)).not.toBe(header(two))
  })

  test('299 push: in transfer mode the code is in no push and in no claim', async () => {
    await openBar({ confirmation: 'transfer' })
    const person = await enrolled()
    const { sessionId, browser } = await begin(channel, person.tokenId, 'back-end')
    const { autoPassword } = await browser.event('otp_ready')
    const { payload, jws } = await openPrompt(person, channel.message().data.jwe ?? '')
    expect(payload).not.toHaveProperty('otp')
    expect(JSON.stringify(decodeJwt(jws))).not.toContain(autoPassword)
    const claimed = await person.claim(sessionId)
    expect(JSON.stringify(claimed.body)).not.toContain(autoPassword)
  })

  test('a phone without an agreement key is only woken', async () => {
    const person = await enrolled()
    await env.DB.prepare('UPDATE enrollment SET encryption_key = NULL').run()
    await begin(channel, person.tokenId, 'back-end')
    expect(channel.message().data).toEqual({ v: '1', t: 'login' })
  })

  test('300 push: one that arrives after the end opens nothing', async () => {
    const person = await enrolled()
    const { sessionId } = await begin(channel, person.tokenId, 'back-end')
    vi.setSystemTime(Date.now() + 60_001)
    const claimed = await person.claim(sessionId)
    expect(claimed).toMatchObject({ status: 404, body: { code: 'session_not_found' } })
    const pending = await person.pending({ payload: { iat: Math.floor(Date.now() / 1000) } })
    expect(pending.body).toEqual([])
  })
})

describe('the budget of a person', () => {
  test('one pending push: a second login waits in the list, and nobody can see the difference', async () => {
    const person = await enrolled()
    const first = await begin(channel, person.tokenId, 'page')
    expect(await told(channel, person.tokenId, 'page')).toEqual(['otp_ready'])
    expect(channel.sends).toHaveLength(1)
    // The first ends: the way is free again.
    const { nonce } = (await person.claim(first.sessionId)).body
    await person.deny(first.sessionId, nonce)
    await scheduler.wait(100)
    await begin(channel, person.tokenId, 'page')
    expect(channel.sends).toHaveLength(2)
  })

  test('three pushes in ten minutes without a success; a success pays them back', async () => {
    const person = await enrolled()
    const round = async () => {
      const { sessionId } = await begin(channel, person.tokenId, 'page')
      return { sessionId, claimed: (await person.claim(sessionId)).body }
    }
    for (let i = 0; i < 4; i++) {
      const { sessionId, claimed } = await round()
      await person.deny(sessionId, claimed.nonce)
      await scheduler.wait(50)
    }
    expect(channel.sends).toHaveLength(3)
    const { sessionId, claimed } = await round()
    expect((await person.approve(sessionId, claimed)).status).toBe(200)
    await scheduler.wait(50)
    await round()
    expect(channel.sends).toHaveLength(4)
  })

  test('the message of a push names no login twice: its hash is not the login', async () => {
    const person = await enrolled()
    const { sessionId } = await begin(channel, person.tokenId, 'back-end')
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(sessionId))
    const { apns } = channel.message() as unknown as {
      apns: { headers: Record<string, string> }
    }
    expect(apns.headers['apns-collapse-id']).toBe(toBase64url(new Uint8Array(digest)))
  })
})
