/** Logins that an earlier version of the code began, and that are open when this one takes over. */
import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import { sealBox } from '../../src/keys/sealed-box.ts'
import {
  type Bar,
  connect,
  enrolled,
  eventually,
  initiate,
  loginObject,
  masterSecret,
  openBar,
  type Person,
  storedLogin,
} from './world.ts'

let bar: Bar
let person: Person
beforeEach(async () => {
  bar = await openBar()
  person = await enrolled({ push: false })
})

/** Stores the login as schema 2 did, without what schema 3 has brought. `result`: a sealed one of then. */
async function asSchema2(sessionId: string, result?: string): Promise<void> {
  const object = loginObject(sessionId)
  // The phone can't be rung, which is the last that is written of a start.
  await eventually(async () => (await storedLogin(sessionId))?.pushFailed)
  await runInDurableObject(object, (_object, { storage }) => {
    const { via: _via, ...rest } = JSON.parse(
      String(storage.sql.exec('SELECT session FROM login').one().session),
    )
    const { purpose: _purpose, trustRequired: _trustRequired, vds: _vds, ...asked } = rest.asked
    const { invited: _invited, hinted: _hinted, ...attempt } = rest.attempt
    const session = JSON.stringify({ ...rest, asked, attempt, result: result ?? rest.result })
    storage.sql.exec('UPDATE login SET schema = 2, session = ?', session)
  })
  await evictDurableObject(object)
}

describe('306 a login of schema 2', () => {
  test('306 that waits is claimed and approved', async () => {
    const { body: login } = await initiate(bar, person.tokenId)
    await asSchema2(login.sessionId)
    const browser = await connect(login)
    const claimed = await person.claim(login.sessionId)
    expect(claimed).toMatchObject({ status: 200, body: { otp: login.autoPassword } })
    expect((await person.approve(login.sessionId, claimed.body)).status).toBe(200)
    expect(await browser.event('approved')).toMatchObject({ random: login.random })
  })

  test('306 that is claimed is claimed again and approved', async () => {
    const { body: login } = await initiate(bar, person.tokenId)
    const claimed = await person.claim(login.sessionId)
    await asSchema2(login.sessionId)
    expect((await person.claim(login.sessionId)).body).toEqual(claimed.body)
    expect((await person.approve(login.sessionId, claimed.body)).status).toBe(200)
  })

  test('306 that is approved tells the socket that comes back, whose result knows no completion code', async () => {
    const { body: login } = await initiate(bar, person.tokenId)
    const claimed = await person.claim(login.sessionId)
    expect((await person.approve(login.sessionId, claimed.body)).status).toBe(200)
    const delivery = { jwt: 'a.jwt.of-then' }
    const kept = JSON.stringify({ delivery, redeemable: null, onward: null })
    const { sessionId } = login
    const box = await sealBox(
      masterSecret(),
      'session',
      kept,
      sessionId,
      new Uint8Array(12).fill(5),
    )
    await asSchema2(sessionId, box)
    const back = await connect(login)
    expect(await back.event('approved')).toEqual({ type: 'approved', ...delivery })
  })

  test('306 is nobody else’s', async () => {
    const { body: login } = await initiate(bar, person.tokenId)
    await asSchema2(login.sessionId)
    const other = await enrolled({ push: false })
    expect(await other.claim(login.sessionId)).toMatchObject({
      status: 404,
      body: { code: 'session_not_found' },
    })
  })
})
