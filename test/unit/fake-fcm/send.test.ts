import { describe, expect, test } from 'vitest'
import type { Script } from '../../../dev/fcm/scripts.ts'
import { makeServiceAccount } from '../../../dev/fcm/service-account.ts'
import { accessToken, goodMessage, newFake, now, origin, send } from './world.ts'

type Message = ReturnType<typeof goodMessage>

async function sendChanged(change: (message: Message) => void) {
  const fake = newFake()
  const message = goodMessage(fake.createDevice())
  change(message)
  return { answer: await send(fake, { message }), fake }
}

describe('the envelope', () => {
  test('a good message is accepted and delivered', async () => {
    const fake = newFake()
    const token = fake.createDevice()
    const heard: unknown[] = []
    fake.subscribe(token, (delivery) => heard.push(delivery.data))
    const answer = await send(fake, { message: goodMessage(token) })
    expect(answer).toMatchObject({
      http: 200,
      name: expect.stringMatching(/^projects\/idtoken-dev\/messages\//),
    })
    expect(heard).toEqual([{ v: '1', t: 'login' }])
    expect(fake.messages(token)).toHaveLength(1)
    expect(fake.violations).toEqual([])
  })

  test('401 with WWW-Authenticate for no, unknown and expired token', async () => {
    let time = now
    const fake = newFake({ now: () => time })
    const message = goodMessage(fake.createDevice())
    const bearer = await accessToken(fake)
    const none = await send(
      fake,
      { message },
      { init: { headers: { 'content-type': 'application/json' } } },
    )
    const unknown = await send(fake, { message }, { bearer: 'ya29.other' })
    time += 3600
    const expired = await send(fake, { message }, { bearer })
    for (const answer of [none, unknown, expired]) {
      expect(answer).toMatchObject({ http: 401, status: 'UNAUTHENTICATED' })
      expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer /)
    }
  })

  test('404 for an unknown project, 403 for an account of another one', async () => {
    const fake = newFake()
    fake.useServiceAccount(await makeServiceAccount(origin, 'other-project'))
    const message = goodMessage(fake.createDevice())
    expect(await send(fake, { message }, { project: 'nobody' })).toMatchObject({
      http: 404,
      status: 'NOT_FOUND',
    })
    expect(await send(fake, { message }, { project: 'other-project' })).toMatchObject({
      http: 403,
      status: 'PERMISSION_DENIED',
    })
  })

  test('400 for an unknown member, another content type, no JSON; 404 elsewhere; 405 for GET', async () => {
    const fake = newFake()
    const message = goodMessage(fake.createDevice())
    expect(await send(fake, { message, extra: 1 })).toMatchObject({
      http: 400,
      status: 'INVALID_ARGUMENT',
    })
    expect(await send(fake, [])).toMatchObject({ http: 400 })
    const bearer = await accessToken(fake)
    const authorization = `Bearer ${bearer}`
    expect(await send(fake, {}, { init: { headers: { authorization } } })).toMatchObject({
      http: 400,
    })
    const path = `${origin}/v1/projects/idtoken-dev/messages:send`
    expect((await fake.handle(new Request(path, { headers: { authorization } }))).status).toBe(405)
    expect((await fake.handle(new Request(`${origin}/v2/x`))).status).toBe(404)
  })

  test('exactly one of token, topic, condition', async () => {
    const none = await sendChanged((message) => Reflect.deleteProperty(message, 'token'))
    expect(none.answer).toMatchObject({ http: 400, fields: ['message'] })
    const two = await sendChanged((message) => Object.assign(message, { topic: 'news' }))
    expect(two.answer).toMatchObject({ http: 400, fields: ['message'] })
  })
})

describe('the content', () => {
  const apnsHeader = (name: string, value: unknown) => (message: Message) => {
    message.apns.headers[name] = value
  }
  const android = (name: string, value: unknown) => (message: Message) => {
    message.android[name] = value
  }
  const data = (name: string, value: unknown) => (message: Message) => {
    message.data[name] = value
  }

  test.each<[string, (message: Message) => void, string]>([
    ['a number in data', data('n', 1), 'message.data[2].value'],
    ['a reserved key', data('from', 'x'), 'message.data[2].key'],
    ['a reserved prefix', data('google.x', 'x'), 'message.data[2].key'],
    ['too much data', data('jwe', 'x'.repeat(4090)), 'message.data'],
    ['a ttl without s', android('ttl', '55'), 'message.android.ttl'],
    ['a ttl as a number', android('ttl', 55), 'message.android.ttl'],
    ['a negative ttl', android('ttl', '-1s'), 'message.android.ttl'],
    ['a ttl over four weeks', android('ttl', '2419201s'), 'message.android.ttl'],
    ['another priority', android('priority', 'URGENT'), 'message.android.priority'],
    ['an unknown member', android('time_to_live', '5s'), 'message.android'],
    [
      'a header that is a number',
      apnsHeader('apns-priority', 10),
      'message.apns.headers[apns-priority]',
    ],
    [
      'background for an alert',
      apnsHeader('apns-push-type', 'background'),
      'message.apns.headers[apns-push-type]',
    ],
    [
      'a past expiration',
      apnsHeader('apns-expiration', String(now)),
      'message.apns.headers[apns-expiration]',
    ],
    [
      'a long collapse id',
      apnsHeader('apns-collapse-id', 'x'.repeat(65)),
      'message.apns.headers[apns-collapse-id]',
    ],
    [
      'an aps that is a text',
      (message) => {
        message.apns.payload.aps = 'alert'
      },
      'message.apns.payload.aps',
    ],
    [
      'a webpush TTL in words',
      (message) => Object.assign(message, { webpush: { headers: { TTL: 'soon' } } }),
      'message.webpush.headers[TTL]',
    ],
  ])('%s is refused by name', async (_name, change, field) => {
    const { answer } = await sendChanged(change)
    expect(answer).toMatchObject({ http: 400, errorCode: 'INVALID_ARGUMENT', fields: [field] })
  })

  test('both spellings of Google are taken', async () => {
    const change = (message: Message) => {
      message.android = { priority: 'high', ttl: '55s', restrictedPackageName: 'org.x' }
    }
    expect((await sendChanged(change)).answer.http).toBe(200)
  })
})

describe('our policy: recorded, not refused', () => {
  test.each<[string, (message: Message) => void, RegExp]>([
    [
      'a ttl beyond the deadline',
      (message) => Object.assign(message.android, { ttl: '61s' }),
      /ttl of 61 s with 60 s left/,
    ],
    ['no ttl', (message) => Reflect.deleteProperty(message.android, 'ttl'), /four weeks/],
    [
      'normal priority',
      (message) => Object.assign(message.android, { priority: 'NORMAL' }),
      /not HIGH/,
    ],
    [
      'a collapse key',
      (message) => Object.assign(message.android, { collapseKey: 'login' }),
      /collapse_key/,
    ],
    [
      'a notification',
      (message) => Object.assign(message, { notification: { title: 'x' } }),
      /notification block/,
    ],
    ['a code in clear', (message) => Object.assign(message.data, { v: '042137' }), /six digits/],
    [
      'a claim in clear',
      (message) => Object.assign(message.data, { name: 'Jo' }),
      /"name" in clear/,
    ],
    [
      'an alert with text',
      (message) => Object.assign(message.apns.payload, { aps: { alert: { body: 'Hi' } } }),
      /"body" in clear/,
    ],
    [
      'a jwe that is none',
      (message) => Object.assign(message.data, { jwe: 'x' }),
      /not a compact JWE/,
    ],
  ])('%s', async (_name, change, sentence) => {
    const { answer, fake } = await sendChanged(change)
    expect(answer.http).toBe(200)
    expect(fake.violations.join('\n')).toMatch(sentence)
  })

  test('a jwe that the device cannot open, and a prompt that also stands in clear', async () => {
    const fake = newFake()
    const closed = fake.createDevice({
      open: async () => {
        throw new Error('decryption failed')
      },
    })
    const opened = fake.createDevice({ open: async () => ({ service: { name: 'Banque' } }) })
    for (const [token, leak] of [
      [closed, ''],
      [opened, 'Banque'],
    ] as const) {
      const message = goodMessage(token)
      message.data.jwe = 'aa..bb.cc.dd'
      message.apns.headers['apns-collapse-id'] = leak
      await send(fake, { message })
    }
    expect(fake.violations).toEqual([
      'jwe does not open: decryption failed',
      '"Banque" of the prompt stands in clear',
    ])
  })
})

describe('scripts', () => {
  test.each<[Script, number, string | undefined]>([
    ['unregistered', 404, 'UNREGISTERED'],
    ['sender-mismatch', 403, 'SENDER_ID_MISMATCH'],
    ['invalid-token', 400, 'INVALID_ARGUMENT'],
    ['unavailable', 503, 'UNAVAILABLE'],
    ['internal', 500, 'INTERNAL'],
    ['third-party-auth', 401, 'THIRD_PARTY_AUTH_ERROR'],
    ['html502', 502, undefined],
  ])('%s answers %i %s and delivers nothing', async (script, http, errorCode) => {
    const fake = newFake()
    const token = fake.createDevice()
    fake.setScript(token, script)
    const answer = await send(fake, { message: goodMessage(token) })
    expect([answer.http, answer.errorCode]).toEqual([http, errorCode])
    expect(fake.messages(token)).toEqual([])
  })

  test('quota names its wait; hang ends when the client leaves; reset cuts', async () => {
    const fake = newFake()
    const token = fake.createDevice()
    const body = { message: goodMessage(token) }
    fake.setScript(token, ['quota(9)', 'hang', 'reset'])
    expect((await send(fake, body)).headers.get('retry-after')).toBe('9')
    expect((await send(fake, body, { init: { signal: AbortSignal.timeout(20) } })).http).toBe(503)
    await expect(send(fake, body)).rejects.toThrow()
    expect(fake.records.map((record) => record.status)).toEqual([429, 503, 0])
  })

  test('duplicate delivers twice, drop never, late only inside its time to live', async () => {
    const fake = newFake()
    const counts: number[] = []
    for (const script of ['duplicate', 'drop', 'late', 'late(50)'] as const) {
      const token = fake.createDevice()
      fake.setScript(token, script)
      expect((await send(fake, { message: goodMessage(token) })).http).toBe(200)
      counts.push(fake.messages(token).length)
    }
    expect(counts).toEqual([2, 0, 0, 1])
    expect(fake.stats).toMatchObject({ accepted: 4, delivered: 3, dropped: 2 })
  })

  test('unknown tokens, removed apps and devices of another project', async () => {
    const fake = newFake()
    expect(await send(fake, { message: goodMessage('never-made') })).toMatchObject({
      http: 400,
      fields: ['message.token'],
    })
    const removed = fake.createDevice()
    fake.unregisterDevice(removed)
    expect(await send(fake, { message: goodMessage(removed) })).toMatchObject({
      errorCode: 'UNREGISTERED',
    })
    const foreign = fake.createDevice({ projectId: 'other-project' })
    expect(await send(fake, { message: goodMessage(foreign) })).toMatchObject({
      errorCode: 'SENDER_ID_MISMATCH',
    })
  })
})

describe('quotas and dry runs', () => {
  test('a project has a bucket; 4xx count, 429 do not', async () => {
    let time = now
    const fake = newFake({ now: () => time, quotas: { projectPerMinute: 2 } })
    const bearer = await accessToken(fake)
    const codes: number[] = []
    for (const token of ['never-made', fake.createDevice(), fake.createDevice()]) {
      codes.push((await send(fake, { message: goodMessage(token) }, { bearer })).http)
    }
    expect(codes).toEqual([400, 200, 429])
    time += 60
    const message = goodMessage(fake.createDevice())
    message.apns.headers['apns-expiration'] = String(time + 60)
    expect((await send(fake, { message }, { bearer })).http).toBe(200)
  })

  test('a device has limits, and tighter ones for collapsible messages', async () => {
    const fake = newFake({ quotas: { devicePerMinute: 2, collapsibleBurst: 1 } })
    const [plain, collapsible] = [
      goodMessage(fake.createDevice()),
      goodMessage(fake.createDevice()),
    ]
    collapsible.android.collapse_key = 'login'
    const codes: number[] = []
    for (const message of [plain, plain, plain, collapsible, collapsible]) {
      const answer = await send(fake, { message })
      codes.push(answer.http)
      if (answer.http === 429) expect(answer.errorCode).toBe('QUOTA_EXCEEDED')
    }
    expect(codes).toEqual([200, 200, 429, 200, 429])
  })

  test('validate_only checks and delivers nothing', async () => {
    const fake = newFake()
    const token = fake.createDevice()
    expect((await send(fake, { message: goodMessage(token), validate_only: true })).http).toBe(200)
    expect((await send(fake, { message: {}, validateOnly: true })).http).toBe(400)
    expect(fake.messages(token)).toEqual([])
  })

  test('deliveries come in any order when told so', async () => {
    const fake = newFake({ deliverySpread: 20 })
    const token = fake.createDevice()
    await send(fake, { message: goodMessage(token) })
    expect(fake.stats).toMatchObject({ accepted: 1 })
    await expect.poll(() => fake.messages(token).length, { interval: 5 }).toBe(1)
  })
})
