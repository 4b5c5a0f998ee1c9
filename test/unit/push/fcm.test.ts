import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Script } from '../../../dev/fcm/scripts.ts'
import { isChannelDown, type PushFault, type PushWorld, sendPush } from '../../../src/push/fcm.ts'
import { messageFor, open, startWorld, type World } from './world.ts'

let world: World
let skipped = 0
let slept: number[] = []
let faults: PushFault[] = []

/** The clock of product and fake alike; `skip` moves both. */
const now = () => Date.now() / 1000 + skipped

beforeEach(async () => {
  skipped = 0
  slept = []
  faults = []
  world = await startWorld({ now })
})
afterEach(() => world.close())

/** Waits for nothing and remembers that it was asked to. */
const hasty: Partial<PushWorld> = {
  now,
  sleep: async (milliseconds) => void slept.push(milliseconds),
  report: (fault) => void faults.push(fault),
}
/** Really waits, for tests in which one push waits for another. */
const patient: Partial<PushWorld> = { now, report: (fault) => void faults.push(fault) }

function newPhone(script: Script | Script[] = 'ok'): string {
  const token = world.fake.createDevice({ open })
  world.fake.setScript(token, script)
  return token
}

async function push(token: string, deps: Partial<PushWorld> = hasty) {
  return sendPush(world.account, await messageFor(token, now()), deps)
}

function isDown(): boolean {
  return isChannelDown(world.account, now())
}

describe('a push', () => {
  test('299 reaches the phone, keeps every promise, and exchanges once for many', async () => {
    const token = newPhone()
    expect(await push(token)).toBe('accepted')
    expect(await push(token)).toBe('accepted')
    expect(world.fake.violations).toEqual([])
    const [delivery] = world.fake.messages(token)
    expect(await open(delivery?.data.jwe ?? '')).toMatchObject({ otp: '042137' })
    expect(delivery?.priority).toBe('HIGH')
    expect(delivery?.ttl).toBeGreaterThan(50)
    expect(delivery?.ttl).toBeLessThanOrEqual(55)
    expect(world.fake.stats).toMatchObject({ exchanges: 1, sends: 2, delivered: 2 })
  })

  test.each([
    ['290', 'invalid-token', 'dead-token', []],
    ['290', 'invalid-argument', 'failed', ['misconfigured_message']],
    ['', 'unregistered', 'dead-token', []],
    ['292', 'sender-mismatch', 'sender-mismatch', []],
    ['', 'third-party-auth', 'failed', ['misconfigured_platform']],
    ['', 'unspecified', 'failed', ['unknown_answer']],
    ['297', 'html200', 'failed', ['unknown_answer']],
    ['297', 'empty200', 'failed', ['unknown_answer']],
    ['297', 'huge200', 'failed', ['unknown_answer']],
  ] as const)(
    '%s %s: %s, one send, the channel stays up',
    async (_case, script, outcome, reported) => {
      expect(await push(newPhone(script))).toBe(outcome)
      expect(world.fake.stats.sends).toBe(1)
      expect(faults).toEqual(reported)
      expect(isDown()).toBe(false)
      expect(await push(newPhone())).toBe('accepted')
    },
  )

  test('a project that may not send: the channel is down, an operator hears of it', async () => {
    expect(await push(newPhone('forbidden'))).toBe('channel-down')
    expect(faults).toEqual(['misconfigured_project'])
    expect(isDown()).toBe(true)
  })
})

describe('291 the access token is refused', () => {
  test('a token revoked by Google is fetched anew, once', async () => {
    const token = newPhone()
    await push(token)
    world.fake.revokeAccessTokens()
    expect(await push(token)).toBe('accepted')
    expect(world.fake.stats).toMatchObject({ exchanges: 2, sends: 3, delivered: 2 })
    expect(faults).toEqual([])
  })

  test('refused again: the channel is down, no loop, and up again a minute later', async () => {
    expect(await push(newPhone('unauthenticated'))).toBe('channel-down')
    expect(world.fake.stats).toMatchObject({ exchanges: 2, sends: 2 })
    expect(faults).toEqual(['unauthenticated'])
    expect(await push(newPhone())).toBe('channel-down')
    expect(world.fake.stats.sends).toBe(2)
    skipped += 61
    expect(isDown()).toBe(false)
    expect(await push(newPhone())).toBe('accepted')
  })

  test('refused to many at once: one exchange for all', async () => {
    const token = newPhone()
    await push(token)
    world.fake.revokeAccessTokens()
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => push(token, patient)))
    expect(new Set(outcomes)).toEqual(new Set(['accepted']))
    expect(world.fake.stats.exchanges).toBe(2)
  })
})

describe('294 the quota', () => {
  test.each([
    ['quota(60)', 60],
    ['quota(7)', 7],
  ] as const)('%s: nothing is sent until then', async (script, rest) => {
    expect(await push(newPhone(script))).toBe('channel-down')
    expect(slept).toEqual([])
    expect(faults).toEqual(['quota'])
    skipped += rest - 1
    expect(await push(newPhone())).toBe('channel-down')
    expect(world.fake.stats.sends).toBe(1)
    skipped += 2
    expect(await push(newPhone())).toBe('accepted')
  })
})

describe('295 FCM or the way to it fails', () => {
  test.each(['unavailable', 'internal', 'html502', 'reset'] as const)(
    '%s: one retry after 1.5 to 3 s',
    async (script) => {
      const token = newPhone([script, 'ok'])
      expect(await push(token)).toBe('accepted')
      expect(slept).toHaveLength(1)
      expect(slept[0]).toBeGreaterThanOrEqual(1500)
      expect(slept[0]).toBeLessThanOrEqual(3000)
      expect(await push(newPhone(script))).toBe('failed')
      expect(world.fake.stats).toMatchObject({ sends: 4, delivered: 1 })
      expect(isDown()).toBe(false)
    },
  )

  test('Retry-After is kept when it is short, and ends the push when it is long', async () => {
    expect(await push(newPhone(['unavailable(9)', 'ok']))).toBe('accepted')
    expect(slept).toEqual([9000])
    expect(await push(newPhone('unavailable(11)'))).toBe('failed')
    expect(world.fake.stats.sends).toBe(3)
  })

  test('the second send lives shorter, and is not made after the deadline', async () => {
    const sleep = (seconds: number) => async () => {
      skipped += seconds
    }
    const token = newPhone(['unavailable', 'ok'])
    expect(await push(token, { ...hasty, sleep: sleep(9) })).toBe('accepted')
    expect(world.fake.messages(token)[0]?.ttl).toBeLessThanOrEqual(46)
    expect(world.fake.violations).toEqual([])
    expect(await push(newPhone('unavailable'), { ...hasty, sleep: sleep(70) })).toBe('failed')
    expect(world.fake.stats.sends).toBe(3)
  })

  test('never more than two sends, whatever FCM answers in turn', async () => {
    const turns: Script[][] = [
      ['unavailable', 'unauthenticated', 'ok'],
      ['unauthenticated', 'unavailable', 'ok'],
      ['unavailable', 'unavailable', 'ok'],
      ['reset', 'hang', 'ok'],
    ]
    for (const turn of turns) {
      const before = world.fake.stats.sends
      expect(await push(newPhone(turn), { ...hasty, tryMilliseconds: 200 })).toBe('failed')
      expect(world.fake.stats.sends - before).toBe(2)
    }
  })
})

describe('296 FCM is slow', () => {
  test('a hang is aborted in time and tried once more', async () => {
    await push(newPhone())
    const start = performance.now()
    expect(await push(newPhone('hang'), { ...hasty, tryMilliseconds: 60 })).toBe('failed')
    expect(performance.now() - start).toBeLessThan(1000)
    expect(world.fake.stats.sends).toBe(3)
  })

  test('an endless body is cut off, and not sent twice since it may have been taken', async () => {
    await push(newPhone())
    expect(await push(newPhone('endless'), { ...hasty, tryMilliseconds: 60 })).toBe('failed')
    expect(world.fake.stats.sends).toBe(2)
    expect(faults).toEqual(['unknown_answer'])
  })

  test('an answer within the limit counts', async () => {
    expect(await push(newPhone('slow(30)'))).toBe('accepted')
  })
})

describe('298 the token endpoint', () => {
  const many = (count: number, token: string) =>
    Promise.all(Array.from({ length: count }, () => push(token, patient)))

  test('200 starts on a cold isolate: one exchange, the others wait for it', async () => {
    world.fake.tokenEndpoint.script = 'slow(80)'
    expect(new Set(await many(200, newPhone()))).toEqual(new Set(['accepted']))
    expect(world.fake.stats.exchanges).toBe(1)
  })

  test.each(['down', 'garbage', 'rejecting'] as const)(
    '%s at 200 starts: one exchange, the channel is down, later it is tried again',
    async (script) => {
      world.fake.tokenEndpoint.script = script
      const token = newPhone()
      expect(new Set(await many(200, token))).toEqual(new Set(['channel-down']))
      expect(new Set(await many(50, token))).toEqual(new Set(['channel-down']))
      expect(world.fake.stats).toMatchObject({ exchanges: 1, sends: 0 })
      expect(isDown()).toBe(true)
      expect(faults).toEqual([
        script === 'rejecting' ? 'exchange_rejected' : 'exchange_unreachable',
      ])
      skipped += 16
      world.fake.tokenEndpoint.script = 'ok'
      expect(await push(token)).toBe('accepted')
    },
  )

  test('a hanging exchange holds nobody longer than the limit', async () => {
    world.fake.tokenEndpoint.script = 'hang'
    const start = performance.now()
    const token = newPhone()
    const outcomes = await Promise.all(
      [1, 2, 3].map(() => push(token, { ...patient, tryMilliseconds: 60 })),
    )
    expect(outcomes).toEqual(['channel-down', 'channel-down', 'channel-down'])
    expect(performance.now() - start).toBeLessThan(1500)
  })

  test('a clock that is off is refused there, and the channel is down', async () => {
    world.fake.advanceClock(400)
    expect(await push(newPhone())).toBe('channel-down')
    expect(faults).toEqual(['exchange_rejected'])
  })

  test('near its end the old token serves while one request refreshes', async () => {
    const token = newPhone()
    await push(token)
    skipped += 3599 * 0.7
    await push(token)
    expect(world.fake.stats.exchanges).toBe(1)
    skipped += 3599 * 0.22
    world.fake.tokenEndpoint.script = 'slow(500)'
    let refreshed = false
    const first = push(token, patient).then((outcome) => {
      refreshed = true
      return outcome
    })
    await vi.waitFor(() => expect(world.fake.stats.exchanges).toBe(2), { interval: 5 })
    expect(new Set(await many(10, token))).toEqual(new Set(['accepted']))
    expect(refreshed).toBe(false)
    expect(await first).toBe('accepted')
    expect(world.fake.stats.exchanges).toBe(2)
  })

  test('while it is down the cached token serves until it expires', async () => {
    const token = newPhone()
    await push(token)
    world.fake.tokenEndpoint.script = 'down'
    skipped += 3599 * 0.92
    expect(new Set(await many(20, token))).toEqual(new Set(['accepted']))
    expect(await push(token)).toBe('accepted')
    expect(world.fake.stats.exchanges).toBe(2)
    expect(isDown()).toBe(false)
    skipped += 3599 * 0.1
    expect(await push(token)).toBe('channel-down')
  })

  test('nothing of the key is written anywhere', async () => {
    const written: unknown[] = []
    for (const method of ['log', 'info', 'warn', 'error', 'debug'] as const) {
      vi.spyOn(console, method).mockImplementation((...values) => void written.push(...values))
    }
    world.fake.tokenEndpoint.script = 'rejecting'
    await push(newPhone())
    vi.restoreAllMocks()
    expect(written).toEqual([])
    expect(faults).toEqual(['exchange_rejected'])
  })
})

describe('301 host and path', () => {
  test('are constant, whatever the device token is', async () => {
    const asked = vi.spyOn(globalThis, 'fetch')
    for (const token of [
      '../../../x',
      'a\r\nHost: evil.example',
      'https://evil.example/',
      '?x=1#y',
    ]) {
      expect(await push(token)).toBe('dead-token')
      expect(world.fake.records.at(-1)).toMatchObject({
        projectId: 'idtoken-dev',
        token,
        status: 400,
      })
    }
    const urls = new Set(asked.mock.calls.map(([url]) => String(url)))
    const { messagingEndpoint, tokenEndpoint } = world.account
    vi.restoreAllMocks()
    expect(urls).toEqual(
      new Set([tokenEndpoint, `${messagingEndpoint}/v1/projects/idtoken-dev/messages:send`]),
    )
  })

  test('an unreachable host fails, it does not throw', async () => {
    await world.close()
    expect(await push(newPhone())).toBe('channel-down')
  })
})
