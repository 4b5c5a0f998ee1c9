import { env } from 'cloudflare:workers'
import { CompactSign, decodeJwt, type JWK } from 'jose'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { toBase64url, utf8 } from '../../src/bytes.ts'
import { type Enrollment, judge } from '../../src/enrollment/enroll.ts'
import { bind, findBinding } from '../../src/enrollment/store.ts'
import type { TestKey } from './bindings.ts'
import {
  type Answer,
  type Bar,
  connect,
  deployment,
  enrolled,
  freshAddress,
  ISSUER,
  initiate,
  now,
  openBar,
  operator,
  Person,
  post,
  revocationList,
  send,
  specimen,
  trustList,
} from './world.ts'

const issuerKeys: Record<'seal' | 'grant' | 'other', TestKey> = JSON.parse(env.TEST_ISSUER)

/** Trust lists of these tests are all different, so each has a number of its own. */
let sequence = 411_000

interface Row {
  readonly token_id: string
  readonly status: string
  readonly device_thumbprint: string
  readonly device_id: string
  readonly trust_level: number
  readonly granted: number
  readonly fcm_token: string | null
  readonly encryption_key: string | null
  readonly seal_fingerprint: string
}

async function rows(): Promise<Row[]> {
  return (await env.DB.prepare('SELECT * FROM enrollment').all<Row>()).results
}

async function rowOf(person: Person): Promise<Row | undefined> {
  return (await rows()).find((row) => row.token_id === person.tokenId)
}

/** The details of all audit rows of `event`. */
async function audits(event: string): Promise<Record<string, unknown>[]> {
  const { results } = await env.DB.prepare('SELECT detail FROM audit WHERE event = ? ORDER BY id')
    .bind(event)
    .all<{ detail: string }>()
  return results.map(({ detail }) => JSON.parse(detail))
}

/** Posts an enrollment from an address that has none yet. */
function enroll(body: unknown, address = freshAddress()): Promise<Answer> {
  return post('/enroll', body, { 'CF-Connecting-IP': address })
}

function revoke(tokenId: string): Promise<Answer> {
  return operator('POST', '/revoke', { tokenId, reason: 'lost' })
}

/** A person whom the CA of `person` gives another phone, or another seal, or both. */
async function again(person: Person, options: Parameters<typeof Person.make>[0] = {}) {
  return Person.make({ push: false, ...options, tokenId: person.tokenId })
}

async function expectRefusal(answer: Answer, status: number, code: string): Promise<void> {
  expect(answer.body).toMatchObject({ status, code })
  expect(answer.status).toBe(status)
  expect(answer.headers.get('Content-Type')).toBe('application/problem+json')
  expect(answer.headers.get('X-Request-Id')).toBeTruthy()
}

beforeEach(async () => {
  await operator('PUT', '/operator/trust-list', { trustList: await trustList() })
})

afterEach(() => {
  vi.useRealTimers()
})

describe('a good enrollment', () => {
  test('137 enroll: the same request twice by the same key is one binding and one answer', async () => {
    const person = await Person.make()
    const body = await person.enrollBody()
    const first = await enroll(body)
    expect(first.status).toBe(200)
    expect(first.body).toEqual({
      enrolled: true,
      tokenId: person.tokenId,
      expiresAt: '2034-05-31T23:59:59.000Z',
    })
    expect(first.headers.get('Cache-Control')).toBe('no-store')
    const second = await enroll(body)
    expect(second.status).toBe(200)
    expect(second.body).toEqual(first.body)
    // And a retry with a new challenge and a new statement.
    const third = await enroll(await person.enrollBody())
    expect(third.body).toEqual(first.body)
    expect(await rows()).toHaveLength(1)
    expect(await audits('enrolled')).toHaveLength(1)
    expect(await rowOf(person)).toMatchObject({
      status: 'active',
      device_thumbprint: person.thumbprint,
      device_id: 'test-phone',
      trust_level: 2,
      granted: 1,
      fcm_token: person.fcmToken,
      seal_fingerprint: person.seal.fingerprint,
    })
  })

  test('137 enroll: the Base45 text of the same seal is the same request', async () => {
    const person = await Person.make({ push: false })
    const body = await person.enrollBody()
    expect((await enroll(body)).status).toBe(200)
    expect((await enroll({ ...body, vdsData: person.seal.base45 })).status).toBe(200)
    expect(await rows()).toHaveLength(1)
  })

  test.each([undefined, ''])(
    '146 enroll: fcmToken %o makes a device without push',
    async (sent) => {
      const bar = await openBar()
      const person = await Person.make({ push: false })
      const body = { ...(await person.enrollBody()), ...(sent === '' && { fcmToken: '' }) }
      expect((await enroll(body)).status).toBe(200)
      expect((await rowOf(person))?.fcm_token).toBeNull()
      const started = await initiate(bar, person.tokenId)
      expect(started.status).toBe(200)
      expect((await person.pending()).body).toHaveLength(1)
    },
  )

  test('350 enroll: without an agreement key there is no secret push, and the phone is enrolled', async () => {
    const person = await Person.make({ push: false })
    const body = await person.enrollBody({ payload: { enc: undefined } })
    delete body.encryptionKey
    expect((await enroll(body)).status).toBe(200)
    expect((await rowOf(person))?.encryption_key).toBeNull()
  })
})

describe('138 enroll: the challenge', () => {
  async function expectNothing(answer: Answer, status: number, code: string): Promise<void> {
    await expectRefusal(answer, status, code)
    expect(await rows()).toEqual([])
  }

  test('missing', async () => {
    const person = await Person.make({ push: false })
    const body = await person.enrollBody({ payload: { challenge: undefined } })
    await expectNothing(await enroll(body), 400, 'invalid_request')
  })

  test('older than 120 s; at 119 s it is good', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const person = await Person.make({ push: false })
    const { body } = await post('/enroll/challenge', {})
    const { challenge, expiresAt } = body
    expect(Date.parse(expiresAt)).toBe((now() + 120) * 1000)
    const start = Date.now()
    vi.setSystemTime(start + 121_000)
    const late = await enroll(await person.enrollBody({ payload: { challenge } }))
    await expectNothing(late, 401, 'invalid_statement')
    vi.setSystemTime(start + 119_000)
    expect((await enroll(await person.enrollBody({ payload: { challenge } }))).status).toBe(200)
  })

  test('altered', async () => {
    const person = await Person.make({ push: false })
    const { challenge } = (await post('/enroll/challenge', {})).body
    const later = challenge.replace(/^\d+/, (seconds: string) => String(Number(seconds) + 600))
    const flipped =
      challenge.slice(0, -2) + (challenge.at(-2) === 'A' ? 'B' : 'A') + challenge.at(-1)
    for (const bent of [later, flipped, `${challenge}.x`, 'challenge']) {
      const body = await person.enrollBody({ payload: { challenge: bent } })
      await expectNothing(await enroll(body), 401, 'invalid_statement')
    }
  })

  test('of another deployment', async () => {
    const person = await Person.make({ push: false })
    const others = [
      { ISSUER: 'http://localhost:9999' },
      { MASTER_SECRET: toBase64url(crypto.getRandomValues(new Uint8Array(32))) },
    ]
    for (const changes of others) {
      const other = await deployment(changes)('/enroll/challenge', {})
      expect(other.status).toBe(200)
      const body = await person.enrollBody({ payload: { challenge: other.body.challenge } })
      await expectNothing(await enroll(body), 401, 'invalid_statement')
    }
  })
})

describe('139 enroll: the statement binds everything beside it', () => {
  const others: [string, (person: Person, body: Record<string, unknown>) => Promise<object>][] = [
    ['another device', async () => ({ deviceId: 'other-phone' })],
    ['another FCM token', async () => ({ fcmToken: 'another-token' })],
    ['no FCM token', async () => ({ fcmToken: undefined })],
    ['an empty FCM token', async () => ({ fcmToken: '' })],
    ['no agreement key', async () => ({ encryptionKey: undefined })],
    [
      'another agreement key',
      async () => ({ encryptionKey: await (await Person.make({ push: false })).agreementJwk() }),
    ],
    [
      'another seal of the same person',
      async (person) => ({
        vdsData: (await specimen(person.tokenId, { createdAt: now() - 60 })).base64url,
      }),
    ],
    [
      "another person's seal",
      async () => ({ vdsData: (await Person.make({ push: false })).seal.base64url }),
    ],
    [
      'another key',
      async () => ({ publicKeyPem: await (await Person.make({ push: false })).publicKeyPem() }),
    ],
  ]
  test.each(others)('%s', async (_, change) => {
    const person = await Person.make()
    const body = await person.enrollBody()
    const answer = await enroll({ ...body, ...(await change(person, body)) })
    await expectRefusal(answer, 401, 'invalid_statement')
    expect(await rows()).toEqual([])
  })

  test('signed by another key than publicKeyPem, under either name', async () => {
    const person = await Person.make({ push: false })
    const thief = await Person.make({ push: false })
    const key = thief.keyPair.privateKey
    for (const bend of [{ key }, { key, header: { kid: thief.thumbprint } }]) {
      const answer = await enroll(await person.enrollBody(bend))
      await expectRefusal(answer, 401, 'invalid_statement')
    }
    expect(await rows()).toEqual([])
  })

  test('220 enroll: iat 31 s off is refused, 29 s off accepted', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    for (const off of [-31, 31]) {
      const person = await Person.make({ push: false })
      const answer = await enroll(await person.enrollBody({ payload: { iat: now() + off } }))
      await expectRefusal(answer, 401, 'invalid_statement')
    }
    expect(await rows()).toEqual([])
    for (const off of [-29, 29]) {
      const person = await Person.make({ push: false })
      const answer = await enroll(await person.enrollBody({ payload: { iat: now() + off } }))
      expect(answer.status).toBe(200)
    }
  })
})

describe('141 enroll: the grant', () => {
  /** A grant with the right words under the key of `signer`. */
  async function grantOf(person: Person, { kid, privateJwk }: TestKey, changes: object = {}) {
    const words = {
      iss: 'IDT1',
      aud: ISSUER,
      sub: person.seal.fingerprint,
      jkt: person.thumbprint,
      exp: now() + 300,
      ...changes,
    }
    return new CompactSign(utf8(JSON.stringify(words)))
      .setProtectedHeader({ alg: 'ES256', typ: 'idtoken-grant+jwt', kid })
      .sign(privateJwk as JWK)
  }

  const none: [string, (person: Person) => Promise<string | undefined>][] = [
    ['absent', async () => undefined],
    ['empty', async () => ''],
    ['garbage', async () => 'a.b.c'],
    ['expired', (person) => person.grant({ expiresAt: now() - 1 })],
    ['more than 10 minutes ahead', (person) => person.grant({ expiresAt: now() + 700 })],
    ['of another seal', (person) => person.grant({ fingerprint: 'A'.repeat(43) })],
    ['of another device', (person) => person.grant({ deviceThumbprint: 'A'.repeat(43) })],
    ['of another deployment', (person) => person.grant({ issuer: 'https://id.example.net' })],
    ['of another CA', (person) => person.grant({ caId: 'IDT2' })],
    ['of an unknown key', (person) => grantOf(person, issuerKeys.other)],
    [
      'of an unknown key under a trusted name',
      (person) => grantOf(person, { ...issuerKeys.other, kid: issuerKeys.grant.kid }),
    ],
    ['of a key that signs seals only', (person) => grantOf(person, issuerKeys.seal)],
  ]

  test.each(none)('required: %s counts as none', async (_, makeGrant) => {
    const strict = deployment({ ENROLLMENT_GRANT: 'required' })
    const person = await Person.make({ push: false })
    const body = { ...(await person.enrollBody()), enrollmentGrant: await makeGrant(person) }
    await expectRefusal(await strict('/enroll', body), 403, 'enrollment_grant_required')
    expect(await rows()).toEqual([])
    expect(await audits('enrollment_refused')).toMatchObject([
      { reason: 'enrollment_grant_required' },
    ])
  })

  test('required: with the right grant the level is the issuer’s', async () => {
    const strict = deployment({ ENROLLMENT_GRANT: 'required' })
    const person = await Person.make({ push: false, identity: { trustLevel: 3 } })
    expect((await strict('/enroll', await person.enrollBody())).status).toBe(200)
    expect(await rowOf(person)).toMatchObject({ trust_level: 3, granted: 1 })
  })

  test.each(none)('optional: %s caps the level at 1', async (_, makeGrant) => {
    const person = await Person.make({ push: false, identity: { trustLevel: 3 } })
    const body = { ...(await person.enrollBody()), enrollmentGrant: await makeGrant(person) }
    expect((await enroll(body)).status).toBe(200)
    expect(await rowOf(person)).toMatchObject({ trust_level: 1, granted: 0 })
    expect(await audits('enrolled')).toMatchObject([{ granted: false, replaced: false }])
  })

  test('the holder with a grant takes the place of a photographed seal', async () => {
    const bar = await openBar()
    const holder = await Person.make({ push: false })
    const thief = await again(holder)
    thief.seal = holder.seal
    expect((await enroll(await thief.enrollBody({ grant: false }))).status).toBe(200)
    const stolen = await initiate(bar, holder.tokenId)
    expect((await thief.claim(stolen.body.sessionId)).status).toBe(200)

    expect((await enroll(await holder.enrollBody())).status).toBe(200)
    expect(await rows()).toMatchObject([
      { device_thumbprint: holder.thumbprint, granted: 1, trust_level: 2 },
    ])
    expect(await audits('enrolled')).toMatchObject([
      { device: thief.thumbprint, granted: false, replaced: false },
      { device: holder.thumbprint, granted: true, replaced: true },
    ])
    // The login that the thief had open is his no more, and he doesn't get back in.
    const late = await thief.claim(stolen.body.sessionId)
    await expectRefusal(late, 401, 'invalid_statement')
    const back = await enroll(await thief.enrollBody({ grant: false }))
    await expectRefusal(back, 409, 'already_enrolled')
  })
})

describe('142 enroll: a tokenId that is active with another key', () => {
  test.each([
    ['bound with a grant, the new one has one too', true, true],
    ['bound with a grant, the new one has none', true, false],
    ['bound without, the new one has none', false, false],
  ])('%s', async (_, oldGrant, newGrant) => {
    const bar = await openBar()
    const person = await Person.make({ push: false })
    expect((await enroll(await person.enrollBody({ grant: oldGrant }))).status).toBe(200)
    const before = await rows()

    const other = await again(person, { createdAt: now() - 10 })
    const answer = await enroll(await other.enrollBody({ grant: newGrant }))
    await expectRefusal(answer, 409, 'already_enrolled')
    expect(await rows()).toEqual(before)
    expect(await audits('enrollment_refused')).toMatchObject([{ reason: 'already_enrolled' }])
    const started = await initiate(bar, person.tokenId)
    expect((await person.claim(started.body.sessionId)).status).toBe(200)
  })
})

test('enroll: a key that is enrolled for another tokenId is refused', async () => {
  const person = await enrolled({ push: false })
  const body = await sameKeyOf(person, await Person.make({ push: false })).enrollBody()
  await expectRefusal(await enroll(body), 409, 'key_in_use')
  expect(await rows()).toHaveLength(1)
})

function sameKeyOf(person: Person, other: Person): Person {
  const { tokenId, agreement, seal, fcmToken } = other
  return new Person(tokenId, person.keyPair, agreement, person.thumbprint, seal, fcmToken)
}

describe('144 enroll: after a revocation', () => {
  test('the same seal is refused, by the old key and by a new one', async () => {
    const person = await enrolled({ push: false })
    expect((await revoke(person.tokenId)).status).toBe(200)
    const other = await again(person)
    other.seal = person.seal
    for (const each of [person, other]) {
      await expectRefusal(await enroll(await each.enrollBody()), 409, 'token_revoked')
    }
    expect(await rows()).toMatchObject([
      { status: 'revoked', device_thumbprint: person.thumbprint },
    ])
  })

  test('a seal that was issued before it is refused too', async () => {
    const person = await enrolled({ push: false })
    await revoke(person.tokenId)
    const other = await again(person, { createdAt: now() - 60 })
    await expectRefusal(await enroll(await other.enrollBody()), 409, 'token_revoked')
  })

  test('the revoked seal stays so though its issuer’s clock ran ahead', async () => {
    const person = await enrolled({ push: false, createdAt: now() + 200 })
    await revoke(person.tokenId)
    await expectRefusal(await enroll(await person.enrollBody()), 409, 'token_revoked')
    expect(await rows()).toMatchObject([{ status: 'revoked' }])
  })

  test('nor does it come back with a grant when a binding without one has followed', async () => {
    const person = await enrolled({ push: false, createdAt: now() + 200 })
    await revoke(person.tokenId)
    const phone = await again(person, { createdAt: now() + 250 })
    expect((await enroll(await phone.enrollBody({ grant: false }))).status).toBe(200)
    await expectRefusal(await enroll(await person.enrollBody()), 409, 'token_revoked')
    expect((await rowOf(person))?.device_thumbprint).toBe(phone.thumbprint)
  })

  test('351 a seal issued after it, on a new phone, is the same person at every service', async () => {
    const bars = [
      await openBar({ subjectType: 'pairwise' }),
      await openBar({ subjectType: 'pairwise', url: 'http://localhost:8790/' }, 'cafe-de-la-gare'),
    ]
    const person = await enrolled({ push: false })
    const subs = await Promise.all(bars.map((bar) => subjectAt(bar, person)))
    await revoke(person.tokenId)

    const phone = await again(person, { createdAt: now() + 2 })
    const answer = await enroll(await phone.enrollBody())
    expect(answer.status).toBe(200)
    expect(answer.body.tokenId).toBe(person.tokenId)
    expect(await Promise.all(bars.map((bar) => subjectAt(bar, phone)))).toEqual(subs)
    expect(new Set(subs).size).toBe(2)

    const stale = await again(person)
    stale.seal = person.seal
    await expectRefusal(await enroll(await stale.enrollBody()), 409, 'already_enrolled')
    const started = await initiate(bars[0] as Bar, person.tokenId)
    await expectRefusal(await person.claim(started.body.sessionId), 401, 'invalid_statement')
    // Nor does the old seal come back once the new binding is revoked as well.
    await revoke(person.tokenId)
    await expectRefusal(await enroll(await stale.enrollBody()), 409, 'token_revoked')
  })
})

/** The `sub` that `bar` gets when `person` signs in. */
async function subjectAt(bar: Bar, person: Person): Promise<string | undefined> {
  const started = await initiate(bar, person.tokenId)
  const browser = await connect(started.body)
  const claimed = await person.claim(started.body.sessionId)
  expect((await person.approve(started.body.sessionId, claimed.body)).status).toBe(200)
  const { jwt } = await browser.event('approved')
  return decodeJwt(String(jwt)).sub
}

describe('356 enroll: a tokenId of another CA', () => {
  beforeEach(async () => {
    const at = now()
    const both = (caId: string, key: TestKey, grant: TestKey | undefined) =>
      [key, grant].flatMap((each, i) =>
        each === undefined
          ? []
          : [
              {
                caId,
                certId: i === 0 ? '0001' : 'G001',
                key: each.publicJwk as JWK & { kty: 'EC'; crv: 'P-256'; x: string; y: string },
                purposes: [i === 0 ? ('identity-seal' as const) : ('enrollment-grant' as const)],
                manifests: i === 0 ? ['0A0001'] : [],
                status: 'active' as const,
                maxTrustLevel: 3 as const,
                validity: { from: at - 86_400, to: at + 86_400 },
              },
            ],
      )
    sequence += 1
    const entries = [
      ...both('IDT1', issuerKeys.seal, issuerKeys.grant),
      ...both('IDT2', issuerKeys.other, undefined),
    ]
    const { status } = await operator('PUT', '/operator/trust-list', {
      trustList: await trustList({ sequence, entries }),
    })
    expect(status).toBe(200)
  })

  test('the second CA is trusted for people of its own', async () => {
    const own = await Person.make({ push: false, signedBy: 'other', caId: 'IDT2' })
    expect((await enroll(await own.enrollBody({ grant: false }))).status).toBe(200)
  })

  test.each(['active', 'revoked'])('the binding is %s', async (status) => {
    const person = await Person.make({ push: false })
    // Without grant, so that nothing but its CA protects it.
    expect((await enroll(await person.enrollBody({ grant: false }))).status).toBe(200)
    if (status === 'revoked') await revoke(person.tokenId)
    const before = await rows()
    const other = await again(person, { signedBy: 'other', caId: 'IDT2', createdAt: now() + 5 })
    const answer = await enroll(await other.enrollBody({ grant: false }))
    await expectRefusal(answer, 409, 'already_enrolled')
    expect(await rows()).toEqual(before)
    expect(await audits('enrollment_refused')).toMatchObject([{ reason: 'already_enrolled' }])
  })
})

test('148 enroll: a push token that another tokenId had goes to the new one', async () => {
  const bar = await openBar()
  const old = await enrolled()
  const next = await Person.make({ push: false })
  next.fcmToken = old.fcmToken
  expect((await enroll(await next.enrollBody())).status).toBe(200)
  expect((await rowOf(old))?.fcm_token).toBeNull()
  expect((await rowOf(next))?.fcm_token).toBe(old.fcmToken)
  expect(await audits('push_token_moved')).toHaveLength(1)

  expect((await initiate(bar, old.tokenId)).status).toBe(200)
  expect((await initiate(bar, next.tokenId)).status).toBe(200)
  await vi.waitFor(async () => expect(await next.pushes()).toHaveLength(1), 2000)
  await scheduler.wait(100)
  expect(await next.pushes()).toHaveLength(1)

  // A replay of the old enrollment doesn't fetch it back.
  expect((await enroll(await old.enrollBody())).status).toBe(200)
  expect((await rowOf(next))?.fcm_token).toBe(old.fcmToken)
})

describe('148 enroll: a refused enrollment', () => {
  test('moves no push token', async () => {
    const person = await enrolled()
    const victim = await enrolled()
    const other = await again(person)
    other.fcmToken = victim.fcmToken
    await expectRefusal(await enroll(await other.enrollBody()), 409, 'already_enrolled')
    expect((await rowOf(victim))?.fcm_token).toBe(victim.fcmToken)
  })
})

describe('149 enroll: five in an hour from one address', () => {
  async function fill(address: string): Promise<void> {
    for (let i = 0; i < 5; i++) {
      const person = await Person.make({ push: false })
      expect((await enroll(await person.enrollBody(), address)).status).toBe(200)
    }
  }

  test('an issuance station on the list has a limit of its own', async () => {
    const address = freshAddress()
    const post = deployment({
      KIOSK_ADDRESSES: `192.0.2.1,${address}`,
      KIOSK_ENROLLMENTS_PER_HOUR: '7',
    })
    const from = { 'CF-Connecting-IP': address }
    for (let i = 0; i < 7; i++) {
      const person = await Person.make({ push: false })
      expect((await post('/enroll', await person.enrollBody(), from)).status).toBe(200)
    }
    const eighth = await Person.make({ push: false })
    expect((await post('/enroll', await eighth.enrollBody(), from)).status).toBe(429)
  })

  test('the sixth is refused before its seal is parsed; an hour later it is accepted', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const address = freshAddress()
    const refused = await Person.make({ push: false })
    await expectRefusal(
      await enroll(
        await refused.enrollBody({ key: (await Person.make()).keyPair.privateKey }),
        address,
      ),
      401,
      'invalid_statement',
    )
    await fill(address)
    const sixth = await enroll(await refused.enrollBody(), address)
    await expectRefusal(sixth, 429, 'too_many_requests')
    expect(sixth.headers.get('Retry-After')).toMatch(/^[1-9]\d*$/)
    for (const vdsData of ['garbage', 7]) {
      const bad = await enroll({ ...(await refused.enrollBody()), vdsData }, address)
      expect(bad.status).toBe(429)
    }
    expect(await rows()).toHaveLength(5)
    // Elsewhere nobody is held up.
    expect((await enroll(await refused.enrollBody())).status).toBe(200)

    vi.setSystemTime(Date.now() + 3_601_000)
    const later = await Person.make({ push: false })
    expect((await enroll(await later.enrollBody(), address)).status).toBe(200)
  })

  test('255 the addresses of one /64 are one, and an IPv4 address is one in both forms', async () => {
    await fill('2001:db8:1:2::1')
    const person = await Person.make({ push: false })
    expect((await enroll(await person.enrollBody(), '2001:db8:1:2:ffff::9')).status).toBe(429)
    expect((await enroll(await person.enrollBody(), '2001:db8:1:3::1')).status).toBe(200)
    await fill('203.0.113.7')
    const other = await Person.make({ push: false })
    expect((await enroll(await other.enrollBody(), '::ffff:203.0.113.7')).status).toBe(429)
  })

  test('016 without a trusted source, invented addresses are one', async () => {
    const nowhere = deployment({ CLIENT_ADDRESS_HEADER: '' })
    for (let i = 0; i < 6; i++) {
      const person = await Person.make({ push: false })
      const headers = {
        'CF-Connecting-IP': freshAddress(),
        'X-Forwarded-For': freshAddress(),
        'True-Client-IP': freshAddress(),
      }
      const answer = await nowhere('/enroll', await person.enrollBody(), headers)
      expect(answer.status).toBe(i < 5 ? 200 : 429)
    }
  })

  test('the address itself is stored nowhere', async () => {
    const person = await Person.make({ push: false })
    await enroll(await person.enrollBody(), '203.0.113.99')
    const { results } = await env.DB.prepare('SELECT * FROM enrollment_by_address').all()
    expect(results).toHaveLength(1)
    expect(JSON.stringify(results)).not.toContain('203.0.113')
  })

  test('254 twelve at once are five', async () => {
    const address = freshAddress()
    const people = await Promise.all(Array.from({ length: 12 }, () => Person.make({ push: false })))
    const bodies = await Promise.all(people.map((person) => person.enrollBody()))
    const answers = await Promise.all(bodies.map((body) => enroll(body, address)))
    expect(answers.map(({ status }) => status).sort()).toEqual([
      ...Array(5).fill(200),
      ...Array(7).fill(429),
    ])
    expect(await rows()).toHaveLength(5)
  })
})

describe('145 enroll: what only the seal may say', () => {
  test.each<[string, unknown]>([
    ['tokenId', crypto.randomUUID()],
    ['trustLevel', 3],
    ['expiresAt', '2099-01-01T00:00:00Z'],
    ['granted', true],
    ['signatureBase64', 'AAAA'],
    ['__proto__', { granted: true }],
    ['constructor', {}],
  ])('member %s', async (name, value) => {
    const person = await Person.make({ push: false })
    const text = JSON.stringify(await person.enrollBody())
    const body = text.replace('{', `{${JSON.stringify(name)}:${JSON.stringify(value)},`)
    const answer = await send('POST', '/enroll', body, { 'Content-Type': 'application/json' })
    await expectRefusal(answer, 400, 'invalid_request')
    // An unknown member is the caller's text and isn't echoed.
    expect(JSON.stringify(answer.body)).not.toContain(name)
    expect(await rows()).toEqual([])
  })
})

describe('152 enroll: deviceId', () => {
  test('10 KiB is refused', async () => {
    const person = await Person.make({ push: false })
    const deviceId = 'd'.repeat(10_240)
    const body = { ...(await person.enrollBody({ payload: { deviceId: 'd' } })), deviceId }
    const answer = await enroll(body)
    await expectRefusal(answer, 400, 'invalid_request')
    expect(answer.body.member).toBe('deviceId')
  })

  test.each(['<script>alert(1)</script>', 'Jean’s phone', '日本語', "' OR 1=1--"])(
    '%s is stored as it is',
    async (deviceId) => {
      const person = await Person.make({ push: false })
      const body = await person.enrollBody({ payload: { deviceId } })
      expect((await enroll({ ...body, deviceId })).status).toBe(200)
      expect((await rowOf(person))?.device_id).toBe(deviceId)
    },
  )

  test('of another device gives no authority over it', async () => {
    const person = await enrolled({ push: false })
    const other = await enrolled({ push: false })
    expect((await rowOf(person))?.device_id).toBe((await rowOf(other))?.device_id)
    const statement = await other.sign('idtoken-pending+jwt', { tokenId: person.tokenId })
    await expectRefusal(await post('/device/pending', { statement }), 401, 'invalid_statement')
  })
})

describe('151 enroll: D1 is down', () => {
  test('503, no half binding, and the same challenge works when it is back', async () => {
    const person = await Person.make({ push: false })
    const body = await person.enrollBody()
    const down = deployment({ DB: faultyDb(() => 'before') })
    const answer = await down('/enroll', body)
    await expectRefusal(answer, 503, 'unavailable')
    expect(answer.headers.get('Retry-After')).toMatch(/^\d+$/)
    expect(JSON.stringify(answer.body)).not.toMatch(/D1|SQL|connection/i)
    expect((await down('/enroll/challenge', {})).status).toBe(200)
    expect(await rows()).toEqual([])
    expect((await enroll(body)).status).toBe(200)
  })
})

test.each(['before', 'after'] as const)(
  '150 enroll: cut at each step, %s it was done: the row is absent or complete, and the retry ends in one',
  async (when) => {
    for (let step = 1; ; step++) {
      const person = await Person.make({ push: false })
      const body = await person.enrollBody()
      let calls = 0
      const cut = deployment({
        DB: faultyDb(() => {
          calls += 1
          return calls === step ? when : undefined
        }),
      })
      const answer = await cut('/enroll', body, { 'CF-Connecting-IP': freshAddress() })
      const before = await rowOf(person)
      if (before !== undefined) {
        expect(before).toMatchObject({ status: 'active', device_thumbprint: person.thumbprint })
      }
      expect((await enroll(body)).status).toBe(200)
      expect((await rows()).filter((row) => row.token_id === person.tokenId)).toHaveLength(1)
      if (answer.status === 200) {
        // Nothing was cut: all steps have been tried.
        expect(step).toBeGreaterThan(4)
        return
      }
      await expectRefusal(answer, 503, 'unavailable')
    }
  },
)

type Call = 'statement' | 'batch'
type Fault = 'before' | 'after' | undefined

/** D1 whose every call first asks `fault` whether it is lost: before it is done, or after, when only the answer is. */
function faultyDb(fault: (call: Call) => Fault | Promise<Fault>): D1Database {
  const behind = new WeakMap<object, D1PreparedStatement>()
  async function guard<T>(call: Call, act: () => Promise<T>): Promise<T> {
    const when = await fault(call)
    if (when === undefined) return act()
    if (when === 'after') await act()
    throw new Error('D1_ERROR: Network connection lost.')
  }
  function wrap(statement: D1PreparedStatement): D1PreparedStatement {
    const wrapped = {
      bind: (...values: unknown[]) => wrap(statement.bind(...values)),
      first: () => guard('statement', () => statement.first()),
      all: () => guard('statement', () => statement.all()),
      run: () => guard('statement', () => statement.run()),
    } as D1PreparedStatement
    behind.set(wrapped, statement)
    return wrapped
  }
  return {
    prepare: (sql: string) => wrap(env.DB.prepare(sql)),
    batch: (statements: D1PreparedStatement[]) =>
      guard('batch', () => env.DB.batch(statements.map((each) => behind.get(each) ?? each))),
  } as D1Database
}

/** The answer to an enrollment that has looked everything up, and whose write comes after `meanwhile`. */
async function overtaken(
  body: unknown,
  meanwhile: () => Promise<unknown>,
  address = freshAddress(),
): Promise<Answer> {
  const looked = Promise.withResolvers<void>()
  const done = Promise.withResolvers<void>()
  const slow = deployment({
    DB: faultyDb(async (call) => {
      if (call === 'batch') {
        looked.resolve()
        await done.promise
      }
      return undefined
    }),
  })
  const answer = slow('/enroll', body, { 'CF-Connecting-IP': address })
  await looked.promise
  await meanwhile()
  done.resolve()
  return answer
}

describe('150 enroll: overtaken between look-up and write', () => {
  test('142 by another key, which stands; no push token moves', async () => {
    const victim = await enrolled()
    const person = await Person.make({ push: false })
    const other = await again(person)
    person.fcmToken = victim.fcmToken
    const late = await overtaken(await person.enrollBody(), async () =>
      expect((await enroll(await other.enrollBody())).status).toBe(200),
    )
    await expectRefusal(late, 409, 'already_enrolled')
    expect((await rowOf(person))?.device_thumbprint).toBe(other.thumbprint)
    expect((await rowOf(victim))?.fcm_token).toBe(victim.fcmToken)
    expect(await audits('enrolled')).toHaveLength(2)
  })

  test('by its own key for another tokenId', async () => {
    const person = await Person.make({ push: false })
    const other = sameKeyOf(person, await Person.make({ push: false }))
    const late = await overtaken(await person.enrollBody(), async () =>
      expect((await enroll(await other.enrollBody())).status).toBe(200),
    )
    await expectRefusal(late, 409, 'key_in_use')
    expect(await rows()).toMatchObject([{ token_id: other.tokenId }])
  })

  test('137 by its own retry: the same answer', async () => {
    const person = await Person.make({ push: false })
    const body = await person.enrollBody()
    let retried: Answer | undefined
    const late = await overtaken(body, async () => {
      retried = await enroll(body)
    })
    expect(late.status).toBe(200)
    expect(late.body).toEqual(retried?.body)
    expect(await rows()).toHaveLength(1)
    expect(await audits('enrolled')).toHaveLength(1)
  })

  test('141 by a key without grant: the one with a grant stands', async () => {
    const person = await Person.make({ push: false })
    const thief = await again(person)
    thief.seal = person.seal
    const late = await overtaken(await person.enrollBody(), async () =>
      expect((await enroll(await thief.enrollBody({ grant: false }))).status).toBe(200),
    )
    expect(late.status).toBe(200)
    expect(await rows()).toMatchObject([{ device_thumbprint: person.thumbprint, granted: 1 }])
  })

  test('141 without grant, by a key with one', async () => {
    const person = await Person.make({ push: false })
    const thief = await again(person)
    thief.seal = person.seal
    const late = await overtaken(await thief.enrollBody({ grant: false }), async () =>
      expect((await enroll(await person.enrollBody())).status).toBe(200),
    )
    await expectRefusal(late, 409, 'already_enrolled')
    expect((await rowOf(person))?.device_thumbprint).toBe(person.thumbprint)
  })

  test('238 by a revocation', async () => {
    const person = await enrolled({ push: false })
    person.seal = await specimen(person.tokenId, { createdAt: now() - 5 })
    const late = await overtaken(await person.enrollBody(), async () =>
      expect((await revoke(person.tokenId)).status).toBe(200),
    )
    await expectRefusal(late, 409, 'token_revoked')
    expect(await rows()).toMatchObject([{ status: 'revoked' }])
  })

  test('157 by an import of the revocation list', async () => {
    const person = await Person.make({ push: false })
    const late = await overtaken(await person.enrollBody(), async () => {
      const list = await revocationList(1, [person.seal.fingerprint])
      await operator('PUT', '/operator/revocation-list', { revocationList: list })
    })
    await expectRefusal(late, 400, 'invalid_vds')
    expect(await rows()).toEqual([])
  })

  test('149 by five others from its address', async () => {
    const address = freshAddress()
    const person = await Person.make({ push: false })
    const late = await overtaken(
      await person.enrollBody(),
      async () => {
        for (let i = 0; i < 5; i++) {
          const other = await Person.make({ push: false })
          expect((await enroll(await other.enrollBody(), address)).status).toBe(200)
        }
      },
      address,
    )
    await expectRefusal(late, 429, 'too_many_requests')
    expect(await rowOf(person)).toBeUndefined()
  })
})

describe('150 enroll: at the same time', () => {
  const ROUNDS = 5

  test('two keys for one tokenId: one is bound', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const person = await Person.make({ push: false })
      const other = await again(person)
      other.seal = person.seal
      const answers = await enrollTogether([person, other], true)
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 409])
      expect(answers.find(({ status }) => status === 409)?.body.code).toBe('already_enrolled')
      const winner = answers[0]?.status === 200 ? person : other
      expect((await rowOf(person))?.device_thumbprint).toBe(winner.thumbprint)
    }
    expect(await audits('enrolled')).toHaveLength(ROUNDS)
    expect(await rows()).toHaveLength(ROUNDS)
  })

  test('the same request ten times: one binding, the same answer', async () => {
    const person = await Person.make({ push: false })
    const body = await person.enrollBody()
    const answers = await Promise.all(Array.from({ length: 10 }, () => enroll(body)))
    expect(
      new Set(answers.map((answer) => JSON.stringify([answer.status, answer.body]))).size,
    ).toBe(1)
    expect(answers[0]?.status).toBe(200)
    expect(await rows()).toHaveLength(1)
    expect(await audits('enrolled')).toHaveLength(1)
  })

  async function enrollTogether(people: Person[], grant: boolean): Promise<Answer[]> {
    const bodies = await Promise.all(people.map((each) => each.enrollBody({ grant })))
    return Promise.all(bodies.map((body) => enroll(body)))
  }
})

describe('238 enroll ∥ revoke', () => {
  test('when the revocation was acknowledged, no binding of a seal from before it is active', async () => {
    for (let round = 0; round < 8; round++) {
      const person = await Person.make({ push: false })
      const body = await person.enrollBody()
      // Half of the rounds: enrolled already, and the same key brings a newer seal.
      if (round % 2 === 1) {
        expect((await enroll(body)).status).toBe(200)
        person.seal = await specimen(person.tokenId, { createdAt: now() - 5 })
      }
      const next = await person.enrollBody()
      const [enrolling, revoking] = await Promise.all([enroll(next), revoke(person.tokenId)])
      const row = await rowOf(person)
      if (revoking.status === 200) {
        expect(row?.status).toBe('revoked')
        await expectRefusal(await enroll(await person.enrollBody()), 409, 'token_revoked')
      } else {
        expect(revoking.status).toBe(404)
        expect(enrolling.status).toBe(200)
        expect(row?.status).toBe('active')
      }
    }
  })

  test('the conditional insert and the judgement agree in every state', async () => {
    const jwk = { kty: 'EC', crv: 'P-256', x: 'x', y: 'y' } as const
    const base: Enrollment = {
      tokenId: 'T',
      enrollmentId: 'old',
      status: 'active',
      caId: 'IDT1',
      sealFingerprint: 'old seal',
      sealIssuedAt: 2000,
      expiresAt: 9000,
      trustLevel: 1,
      granted: true,
      deviceId: 'phone',
      deviceKey: { jwk, thumbprint: 'old key' },
      encryptionKey: null,
      fcmToken: null,
      statementIat: 1,
      enrolledAt: 1,
      revokedAt: null,
    }
    const presents = [
      undefined,
      ...[true, false].flatMap((granted) => [
        { ...base, granted },
        { ...base, granted, revokedAt: 1000 },
        { ...base, granted, status: 'revoked' as const, revokedAt: 1000 },
        { ...base, granted, status: 'revoked' as const, revokedAt: 2200 },
      ]),
    ]
    const seals = [
      ['old seal', 2000],
      ...[500, 1500, 2000, 2500].map((at) => ['new seal', at] as const),
    ] as const
    let checked = 0
    for (const present of presents) {
      for (const [sealFingerprint, sealIssuedAt] of seals) {
        // The eight states of one CA, and another CA at its strongest.
        for (const bits of [0, 1, 4, 5, 8, 9, 12, 13, 7]) {
          const next: Enrollment = {
            ...base,
            enrollmentId: 'next',
            sealFingerprint,
            sealIssuedAt,
            granted: (bits & 1) > 0,
            caId: (bits & 2) > 0 ? 'IDT2' : 'IDT1',
            deviceKey: { jwk, thumbprint: (bits & 4) > 0 ? 'old key' : 'new key' },
          }
          const sealRevoked = (bits & 8) > 0
          await putState(present, sealRevoked ? sealFingerprint : undefined)
          const { thumbprint } = next.deviceKey
          const asked = { tokenId: 'T', thumbprint, fingerprint: sealFingerprint }
          const judgement = judge({ ...next, thumbprint }, await findBinding(env.DB, asked))
          const [inserted] = await env.DB.batch([...bind(env.DB, next, 'address', 5)])
          const state = JSON.stringify({ present, next, sealRevoked })
          expect(inserted?.results.length === 1, state).toBe(judgement.act === 'bind')
          checked += 1
        }
      }
    }
    expect(checked).toBe(9 * 5 * 9)
  }, 20_000)

  async function putState(present: Enrollment | undefined, revoked: string | undefined) {
    const statements = ['enrollment', 'revoked_seal', 'enrollment_by_address'].map((table) =>
      env.DB.prepare(`DELETE FROM ${table}`),
    )
    if (revoked !== undefined) {
      const sql = "INSERT INTO revoked_seal VALUES (?, 'list', 1)"
      statements.push(env.DB.prepare(sql).bind(revoked))
    }
    if (present !== undefined) {
      const { status, granted, revokedAt } = present
      const sql = `INSERT INTO enrollment VALUES ('T', 'old', ?, 'IDT1', 'old seal', 2000, 9000, 1, ?, 'phone', '{}',
        'old key', NULL, NULL, 1, 1, ?)`
      statements.push(env.DB.prepare(sql).bind(status, granted ? 1 : 0, revokedAt))
    }
    await env.DB.batch(statements)
  }
})

describe('157 enroll: the imported revocation list', () => {
  test('a seal on it is refused, and audited', async () => {
    const person = await Person.make({ push: false })
    const list = await revocationList(1, [person.seal.fingerprint])
    await operator('PUT', '/operator/revocation-list', { revocationList: list })
    await expectRefusal(await enroll(await person.enrollBody()), 400, 'invalid_vds')
    expect(await rows()).toEqual([])
    expect(await audits('enrollment_refused')).toMatchObject([{ reason: 'invalid_vds' }])
  })

  test('144 on it because of a revocation here, the answer stays token_revoked', async () => {
    const person = await enrolled({ push: false })
    await revoke(person.tokenId)
    const list = await revocationList(1, [person.seal.fingerprint])
    await operator('PUT', '/operator/revocation-list', { revocationList: list })
    await expectRefusal(await enroll(await person.enrollBody()), 409, 'token_revoked')
  })
})

describe.each(['/enroll', '/enroll/challenge', '/device/update'])('%s', (path) => {
  test.each(['GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])('001 http: %s', async (method) => {
    const body = method === 'GET' ? undefined : '{"not json'
    const answer = await send(method, path, body)
    await expectRefusal(answer, 405, 'method_not_allowed')
    expect(answer.headers.get('Allow')).toBe('POST')
  })

  test.each([
    ['text/plain', { 'Content-Type': 'text/plain' }],
    ['multipart/form-data', { 'Content-Type': 'multipart/form-data; boundary=x' }],
    ['a form', { 'Content-Type': 'application/x-www-form-urlencoded' }],
    ['application/jsonp', { 'Content-Type': 'application/jsonp' }],
    ['no Content-Type', {}],
    ['017 gzip', { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' }],
    ['017 br', { 'Content-Type': 'application/json', 'Content-Encoding': 'br' }],
  ])('002 http: %s', async (_, headers) => {
    const person = await Person.make({ push: false })
    const body = path === '/enroll' ? await person.enrollBody() : {}
    // Bytes carry no Content-Type of their own.
    const answer = await send('POST', path, utf8(JSON.stringify(body)), headers)
    await expectRefusal(answer, 415, 'unsupported_media_type')
    expect(await rows()).toEqual([])
  })

  test.each([
    ['empty', ''],
    ['truncated', '{"statement":"x'],
    ['doubled', '{}{}'],
    ['NaN', '{"statement":NaN}'],
    ['an array', '[{}]'],
    ['an empty array', '[]'],
    ['a string', '"{}"'],
    ['null', 'null'],
    ['a comment', '{}//'],
    ['a byte order mark', '\ufeff{}'],
    ['006 nested 10,000 deep', `${'['.repeat(5000)}${']'.repeat(5000)}`],
  ])('004 http: %s', async (_, body) => {
    const answer = await send('POST', path, body, { 'Content-Type': 'application/json' })
    await expectRefusal(answer, 400, 'invalid_request')
    expect(answer.body).not.toHaveProperty('detail')
  })

  test('013 http: invalid UTF-8', async () => {
    const bytes = new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])
    const answer = await send('POST', path, bytes, { 'Content-Type': 'application/json' })
    await expectRefusal(answer, 400, 'invalid_request')
  })
})

describe('/enroll', () => {
  const members = [
    'vdsData',
    'publicKeyPem',
    'deviceId',
    'fcmToken',
    'encryptionKey',
    'enrollmentGrant',
    'statement',
  ]
  const wrong = [7, true, null, [], ['x']]

  test.each(members)('009 http: %s of a wrong type is named and nothing more', async (member) => {
    const person = await Person.make()
    const good = await person.enrollBody()
    // An object is the right type for a key, whatever is in it.
    const values = member === 'encryptionKey' ? [...wrong, 'text'] : [...wrong, { a: 'b' }]
    for (const value of values) {
      const answer = await enroll({ ...good, [member]: value })
      await expectRefusal(answer, 400, 'invalid_request')
      expect(answer.body.member, JSON.stringify(value)).toBe(member)
    }
    expect(await rows()).toEqual([])
  })

  test('008 http: of a member sent twice the last one is checked and used', async () => {
    const person = await Person.make({ push: false })
    const other = await Person.make({ push: false })
    const text = JSON.stringify(await person.enrollBody())
    const twice = text.replace('{', `{"vdsData":${JSON.stringify(other.seal.base64url)},`)
    const headers = { 'Content-Type': 'application/json', 'CF-Connecting-IP': freshAddress() }
    const answer = await send('POST', '/enroll', twice, headers)
    expect(answer.body).toMatchObject({ enrolled: true, tokenId: person.tokenId })
    const turned = text.replace(/}$/, `,"vdsData":${JSON.stringify(other.seal.base64url)}}`)
    await expectRefusal(await send('POST', '/enroll', turned, headers), 401, 'invalid_statement')
    expect(await rows()).toHaveLength(1)
  })

  test.each(['a\0b', 'a\u0001', 'a\nb', 'a\u007f', '', '\ud800'])(
    '013 http: deviceId %j',
    async (deviceId) => {
      const person = await Person.make({ push: false })
      const body = await person.enrollBody()
      const answer = await enroll({ ...body, deviceId })
      await expectRefusal(answer, 400, 'invalid_request')
      expect(answer.body.member).toBe('deviceId')
      const signed = await person.enrollBody({ payload: { deviceId } })
      await expectRefusal(await enroll(signed), 401, 'invalid_statement')
      expect(await rows()).toEqual([])
    },
  )

  test('more than 64 KiB is refused while it is read', async () => {
    const person = await Person.make({ push: false })
    const body = { ...(await person.enrollBody()), enrollmentGrant: 'g'.repeat(70_000) }
    await expectRefusal(await enroll(body), 413, 'payload_too_large')
  })

  test.each(['../../x', 'a b', 'a\nb', 't'.repeat(4097), 'é'])(
    '301 enroll: fcmToken %j',
    async (fcmToken) => {
      const person = await Person.make({ push: false })
      const answer = await enroll({ ...(await person.enrollBody()), fcmToken })
      await expectRefusal(answer, 400, 'invalid_request')
      expect(answer.body.member).toBe('fcmToken')
    },
  )
})
