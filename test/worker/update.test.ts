import { env } from 'cloudflare:workers'
import { calculateJwkThumbprint, exportJWK } from 'jose'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { sha256, toBase64url } from '../../src/bytes.ts'
import {
  type Answer,
  type Bar,
  enrolled,
  initiate,
  newPushToken,
  now,
  openBar,
  operator,
  Person,
  post,
  type Statement,
} from './world.ts'

interface Row {
  readonly fcm_token: string | null
  readonly encryption_key: string | null
  readonly statement_iat: number
}

async function rowOf(person: Person): Promise<Row | null> {
  return env.DB.prepare('SELECT * FROM enrollment WHERE token_id = ?')
    .bind(person.tokenId)
    .first<Row>()
}

async function audited(event: string): Promise<number> {
  const row = await env.DB.prepare('SELECT count(*) AS n FROM audit WHERE event = ?')
    .bind(event)
    .first<{ n: number }>()
  return row?.n ?? -1
}

interface Change {
  readonly fcmToken?: string
  readonly encryptionKey?: object
}

/** The body of an update that is right, but for `bend`. */
async function updateBody(person: Person, change: Change, bend: Statement = {}) {
  const { fcmToken, encryptionKey } = change
  const statement = await person.sign(
    'idtoken-update+jwt',
    {
      tokenId: person.tokenId,
      ...(fcmToken !== undefined && { fcm: toBase64url(await sha256(fcmToken)) }),
      ...(encryptionKey && { enc: await calculateJwkThumbprint(encryptionKey) }),
    },
    bend,
  )
  return { statement, ...change }
}

async function update(person: Person, change: Change, bend: Statement = {}): Promise<Answer> {
  return post('/device/update', await updateBody(person, change, bend))
}

function expectStatementRefused(answer: Answer): void {
  expect(answer.body).toMatchObject({ status: 401, code: 'invalid_statement' })
}

let bar: Bar
let person: Person
let before: Row | null

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  bar = await openBar()
  person = await enrolled()
  before = await rowOf(person)
  vi.setSystemTime(Date.now() + 2000)
})

afterEach(() => {
  vi.useRealTimers()
})

test('update: a new push token and a new agreement key, each alone or both', async () => {
  const encryptionKey = await (await Person.make({ push: false })).agreementJwk()
  const answer = await update(person, { encryptionKey })
  expect(answer.status).toBe(200)
  expect(answer.body).toEqual({ updated: true })
  expect(await rowOf(person)).toMatchObject({
    encryption_key: JSON.stringify(encryptionKey),
    fcm_token: person.fcmToken,
    statement_iat: now(),
  })
  vi.setSystemTime(Date.now() + 1000)
  expect((await update(person, { fcmToken: 'second-token' })).status).toBe(200)
  expect(await rowOf(person)).toMatchObject({
    encryption_key: JSON.stringify(encryptionKey),
    fcm_token: 'second-token',
  })
  vi.setSystemTime(Date.now() + 1000)
  const own = await person.agreementJwk()
  expect((await update(person, { fcmToken: 'third-token', encryptionKey: own })).status).toBe(200)
  expect(await rowOf(person)).toMatchObject({
    encryption_key: JSON.stringify(own),
    fcm_token: 'third-token',
  })
  expect(await audited('device_updated')).toBe(3)
})

test('update: the next push goes to the new token', async () => {
  const fcmToken = await newPushToken()
  const old = person.fcmToken
  expect((await update(person, { fcmToken })).status).toBe(200)
  vi.useRealTimers()
  expect((await initiate(bar, person.tokenId)).status).toBe(200)
  person.fcmToken = fcmToken
  await vi.waitFor(async () => expect(await person.pushes()).toHaveLength(1), 2000)
  person.fcmToken = old
  expect(await person.pushes()).toEqual([])
})

describe('352 update: iat must exceed the stored one', () => {
  test('the enrollment’s own, the same again, and an older one are refused', async () => {
    const enrolledAt = before?.statement_iat ?? 0
    for (const iat of [enrolledAt, enrolledAt - 1]) {
      expectStatementRefused(await update(person, { fcmToken: 'late' }, { payload: { iat } }))
    }
    expect(await rowOf(person)).toEqual(before)
    const first = await updateBody(person, { fcmToken: 'first' })
    expect((await post('/device/update', first)).status).toBe(200)
    vi.setSystemTime(Date.now() + 1000)
    expect((await update(person, { fcmToken: 'second' })).status).toBe(200)
    // A replay of the first, well inside its 30 seconds.
    expectStatementRefused(await post('/device/update', first))
    expect((await rowOf(person))?.fcm_token).toBe('second')
    expect(await audited('device_updated')).toBe(2)
  })

  test('of ten at the same second one is stored', async () => {
    const tokens = Array.from({ length: 10 }, (_, i) => `token-${i}`)
    const bodies = await Promise.all(tokens.map((fcmToken) => updateBody(person, { fcmToken })))
    const answers = await Promise.all(bodies.map((body) => post('/device/update', body)))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
    const winner = answers.findIndex(({ status }) => status === 200)
    expect((await rowOf(person))?.fcm_token).toBe(`token-${winner}`)
    expect(await audited('device_updated')).toBe(1)
  })

  test('a refused one takes no push token from anybody', async () => {
    const victim = await enrolled()
    const fcmToken = victim.fcmToken ?? ''
    const iat = before?.statement_iat ?? 0
    expectStatementRefused(await update(person, { fcmToken }, { payload: { iat } }))
    expect((await rowOf(victim))?.fcm_token).toBe(victim.fcmToken)
  })
})

describe('148 update: a push token that another tokenId had', () => {
  test('goes to the new one, and the replay of the old one’s statement does not fetch it back', async () => {
    const shared = 'shared-token'
    const old = await updateBody(person, { fcmToken: shared })
    expect((await post('/device/update', old)).status).toBe(200)
    const next = await enrolled({ push: false })
    vi.setSystemTime(Date.now() + 2000)
    expect((await update(next, { fcmToken: shared })).status).toBe(200)
    expect((await rowOf(next))?.fcm_token).toBe(shared)
    expect((await rowOf(person))?.fcm_token).toBeNull()
    expect(await audited('push_token_moved')).toBe(1)
    expectStatementRefused(await post('/device/update', old))
    expect((await rowOf(next))?.fcm_token).toBe(shared)
  })
})

describe('220 update: iat', () => {
  test.each([-31, 31])('%i s off is refused', async (off) => {
    vi.setSystemTime(Date.now() + 60_000)
    const bend = { payload: { iat: now() + off } }
    expectStatementRefused(await update(person, { fcmToken: 'new' }, bend))
    expect(await rowOf(person)).toEqual(before)
  })
  test.each([-29, 29])('%i s off is accepted', async (off) => {
    vi.setSystemTime(Date.now() + 60_000)
    const bend = { payload: { iat: now() + off } }
    expect((await update(person, { fcmToken: 'new' }, bend)).status).toBe(200)
  })
  test.each([-600, 600])('312 a clock %i s off is refused', async (off) => {
    vi.setSystemTime(Date.now() + 700_000)
    expectStatementRefused(
      await update(person, { fcmToken: 'new' }, { payload: { iat: now() + off } }),
    )
  })
})

describe('update: the statement binds what is sent beside it', () => {
  const bends: [string, (body: Record<string, unknown>) => Promise<object>][] = [
    ['another push token', async () => ({ fcmToken: 'another' })],
    ['no push token', async () => ({ fcmToken: undefined })],
    [
      'another agreement key',
      async () => ({ encryptionKey: await (await Person.make({ push: false })).agreementJwk() }),
    ],
    ['no agreement key', async () => ({ encryptionKey: undefined })],
  ]
  test.each(bends)('139 %s', async (_, bend) => {
    const good = await updateBody(person, {
      fcmToken: 'new',
      encryptionKey: await person.agreementJwk(),
    })
    expectStatementRefused(await post('/device/update', { ...good, ...(await bend(good)) }))
    expect(await rowOf(person)).toEqual(before)
  })

  test('139 what it names must be sent', async () => {
    const bend = { payload: { enc: await calculateJwkThumbprint(await person.agreementJwk()) } }
    expectStatementRefused(await update(person, { fcmToken: 'new' }, bend))
    expect(await rowOf(person)).toEqual(before)
  })
})

describe('update: who may', () => {
  test('another person’s key changes nothing', async () => {
    const other = await enrolled({ push: false })
    vi.setSystemTime(Date.now() + 2000)
    const key = other.keyPair.privateKey
    const change = { fcmToken: 'new' }
    expectStatementRefused(await update(person, change, { key }))
    expectStatementRefused(await update(person, change, { key, header: { kid: other.thumbprint } }))
    expectStatementRefused(await update(other, change, { payload: { tokenId: person.tokenId } }))
    expect(await rowOf(person)).toEqual(before)
  })

  test('an unknown tokenId, and a revoked one', async () => {
    const stranger = await Person.make({ push: false })
    expectStatementRefused(await update(stranger, { fcmToken: 'new' }))
    await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
    expectStatementRefused(await update(person, { fcmToken: 'new' }))
    expect((await rowOf(person))?.fcm_token).toBeNull()
  })

  test('115 a pending statement is no update', async () => {
    const statement = await person.sign('idtoken-pending+jwt', { tokenId: person.tokenId })
    expectStatementRefused(await post('/device/update', { statement, fcmToken: 'new' }))
  })
})

describe('350 update: the agreement key', () => {
  test('the signing key, a private key and no key at all are refused', async () => {
    const { kty, crv, x, y } = await exportJWK(person.keyPair.publicKey)
    const { d, ...agreement } = await exportJWK(person.agreement.privateKey)
    expect(d).toBeTruthy()
    for (const encryptionKey of [{ kty, crv, x, y }, { ...agreement, d }, {}]) {
      const { statement } = await updateBody(person, { fcmToken: 'new' })
      const answer = await post('/device/update', { statement, fcmToken: 'new', encryptionKey })
      expect(answer.body).toMatchObject({ status: 400, code: 'invalid_key' })
    }
    expect(await rowOf(person)).toEqual(before)
  })
})

describe('update: the body', () => {
  test('with nothing to change', async () => {
    const answer = await update(person, {})
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_request' })
  })

  test('012 an unknown member', async () => {
    const good = await updateBody(person, { fcmToken: 'new' })
    const answer = await post('/device/update', { ...good, deviceId: 'x' })
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_request' })
    expect(answer.body).not.toHaveProperty('member')
    expect(await rowOf(person)).toEqual(before)
  })

  test.each(['', '../../x', 'a b', 't'.repeat(4097), 7, null, []])(
    '301 fcmToken %j',
    async (fcmToken) => {
      const good = await updateBody(person, { fcmToken: 'new' })
      const answer = await post('/device/update', { ...good, fcmToken })
      expect(answer.body).toMatchObject({
        status: 400,
        code: 'invalid_request',
        member: 'fcmToken',
      })
      expect(await rowOf(person)).toEqual(before)
    },
  )
})
