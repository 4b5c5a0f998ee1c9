/** The phone pulls its open logins (2-protocol section 4; 5-security 4.10, 4.24). */
import { runInDurableObject } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import {
  BAR_ORIGIN,
  type Bar,
  deployment,
  enrolled,
  freshAddress,
  inboxObject,
  now,
  openBar,
  operator,
  Person,
  post,
} from './world.ts'

let bar: Bar
beforeEach(async () => {
  bar = await openBar()
})

/** A login that stands in the inbox when this returns. */
async function begun(tokenId: string): Promise<{ sessionId: string; expiresAt: string }> {
  const { body } = await deployment({})(
    '/auth/initiate',
    { serviceId: bar.serviceId, tokenId },
    { Origin: BAR_ORIGIN, 'CF-Connecting-IP': freshAddress() },
  )
  return { sessionId: body.sessionId, expiresAt: body.expiresAt }
}

describe('what is listed', () => {
  test('353 pending: ids and deadlines of the own logins, and nothing else', async () => {
    const person = await enrolled({ push: false })
    const other = await enrolled({ push: false })
    expect((await person.pending()).body).toEqual([])
    const first = await begun(person.tokenId)
    const foreign = await begun(other.tokenId)
    const second = await begun(person.tokenId)
    const listed = await person.pending()
    expect([listed.status, listed.body]).toEqual([200, [first, second]])
    expect(listed.headers.get('Cache-Control')).toBe('no-store')
    expect((await other.pending()).body).toEqual([foreign])
  })

  test('178 pending: a decoy can be listed and never opened', async () => {
    const tokenId = crypto.randomUUID()
    await begun(tokenId)
    const person = await enrolled({ tokenId, push: false })
    // Whoever enrolls later finds the id, and can't open it: it was never addressed to this phone.
    const [decoy] = (await person.pending()).body
    expect((await person.claim(decoy.sessionId)).body.code).toBe('session_not_found')
  })
})

describe('who may ask', () => {
  test.each([-29, 0, 29])('220 pending: a clock off by %i s is accepted', async (skew) => {
    const person = await enrolled({ push: false })
    expect((await person.pending({ payload: { iat: now() + skew } })).status).toBe(200)
  })

  // 32, because the second may turn between signing and reading.
  test.each([-600, -31, 32, 600])('312 pending: a clock off by %i s is refused', async (skew) => {
    const person = await enrolled({ push: false })
    const refused = await person.pending({ payload: { iat: now() + skew } })
    expect([refused.status, refused.body.code]).toEqual([401, 'invalid_statement'])
  })

  test('230 pending: an unknown or revoked person and a foreign signature are all told the same', async () => {
    const person = await enrolled({ push: false })
    const stranger = await enrolled({ push: false })
    const unknown = await Person.make({ push: false })
    const revoked = await enrolled({ push: false })
    await operator('POST', '/revoke', { tokenId: revoked.tokenId, reason: 'lost' })
    await begun(person.tokenId)
    const answers = [
      await unknown.pending(),
      await revoked.pending(),
      await stranger.pending({ payload: { tokenId: person.tokenId } }),
      await person.pending({ key: stranger.keyPair.privateKey }),
      await person.pending({ header: { typ: 'idtoken-claim+jwt' } }),
      await person.pending({ payload: { sessionId: `sess_${'0'.repeat(64)}` } }),
      await person.pending({ payload: { aud: 'https://other.example' } }),
    ]
    for (const { status, body } of answers) {
      expect([status, body]).toEqual([401, answers[0]?.body])
      expect(body.code).toBe('invalid_statement')
    }
  })

  test.each([
    ['no statement', {}],
    ['a member too many', { statement: 'a.b.c', tokenId: 'x' }],
    ['a number', { statement: 1 }],
    ['a list', []],
  ])('230 pending: %s is no request', async (_name, body) => {
    const refused = await post('/device/pending', body)
    expect([refused.status, refused.body.code]).toEqual([400, 'invalid_request'])
  })

  test('309 pending: to ask creates nothing', async () => {
    const person = await enrolled({ push: false })
    await person.pending()
    const rows = await runInDurableObject(await inboxObject(person.tokenId), (_o, { storage }) =>
      storage.sql.exec("SELECT name FROM sqlite_master WHERE name = 'inbox'").toArray(),
    )
    expect(rows).toEqual([])
  })
})
