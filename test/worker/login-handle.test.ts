/** Services with a user table that know people by pairwise subjects only (issue of seed 002; 5-security 180, 181). */
import { decodeJwt } from 'jose'
import { beforeEach, expect, test } from 'vitest'
import { untouched } from './hosted.ts'
import { scan } from './scan.ts'
import {
  type Answer,
  BAR_ORIGIN,
  type Bar,
  connect,
  enrolled,
  eventually,
  freshAddress,
  openBar,
  operator,
  type Person,
  post,
} from './world.ts'

let bar: Bar
let person: Person
beforeEach(async () => {
  bar = await openBar({ subjectType: 'pairwise' })
  person = await enrolled()
})

function codeOf({ status, body }: Answer): unknown[] {
  return [status, body.code]
}

function page(): Record<string, string> {
  return { Origin: BAR_ORIGIN, 'CF-Connecting-IP': freshAddress() }
}

/** The claims of a token that `service` gets when the person scans. */
async function scanned(service = bar): Promise<Record<string, unknown>> {
  const { body } = await post('/auth/initiate', { serviceId: service.serviceId }, service.basic)
  const socket = await connect(body)
  await person.approve(body.sessionId, (await scan(person, body.qr)).body)
  return decodeJwt((await socket.event('approved')).jwt ?? '')
}

/** The bar's back end has the person rung by `loginHandle`. */
function ring(loginHandle: unknown, more: object = {}, headers = bar.basic): Promise<Answer> {
  return post('/auth/initiate', { serviceId: bar.serviceId, loginHandle, ...more }, headers)
}

test('180 handle: whom it knows by a pairwise subject it has rung again, and it is the same person', async () => {
  const first = await scanned()
  expect(first.login_handle).toMatch(/^1\.[\w-]+$/)
  const { status, body } = await ring(first.login_handle)
  expect([status, body.autoPassword?.length]).toEqual([200, 6])
  await eventually(() => person.pushes())
  expect(await person.pushes()).toHaveLength(1)
  const socket = await connect(body)
  await person.approve(body.sessionId, (await person.claim(body.sessionId)).body)
  const second = decodeJwt((await socket.event('approved')).jwt ?? '')
  expect(second.sub).toBe(first.sub)
  // Two tokens can't be told to be of one person by it.
  expect(second.login_handle).not.toBe(first.login_handle)
  const told = JSON.stringify([first, second, body])
  expect(told).not.toContain(person.tokenId)
})

test('180 handle: a page rings by it, and learns nothing of whether the person still is enrolled', async () => {
  const { login_handle: handle } = await scanned()
  const standing = await ring(handle, {}, page())
  await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
  const revoked = await ring(handle, {}, page())
  expect([standing.status, revoked.status]).toEqual([200, 200])
  expect(Object.keys(revoked.body)).toEqual(Object.keys(standing.body))
  expect(codeOf(await untouched(() => ring(handle)))).toEqual([403, 'enrollment_revoked'])
})

test('180 handle: rings nobody for a service of its sector that is to know nobody again', async () => {
  const { login_handle: handle } = await scanned()
  const cinema = await openBar({ subjectType: 'transient' }, 'cinema')
  const body = { serviceId: 'cinema', loginHandle: handle }
  const answer = await untouched(() => post('/auth/initiate', body, cinema.basic))
  expect(codeOf(answer)).toEqual([400, 'invalid_request'])
})

test('181 handle: of another sector, bent, made up, or beside a tokenId', async () => {
  const cinema = await openBar({ subjectType: 'pairwise', url: 'https://cinema.example' }, 'cinema')
  const { login_handle: handle } = await scanned()
  const { login_handle: foreign } = await scanned(cinema)
  for (const headers of [bar.basic, page()]) {
    const answer = await untouched(() => ring(foreign, {}, headers))
    expect([...codeOf(answer), answer.body.member]).toEqual([400, 'invalid_request', 'loginHandle'])
  }
  const bent = [`${handle}A`, String(handle).replace(/^1/, '2'), 'x', '', 7, 'A'.repeat(1025)]
  for (const each of bent) {
    expect(codeOf(await untouched(() => ring(each)))).toEqual([400, 'invalid_request'])
  }
  for (const more of [{ tokenId: person.tokenId }, { purpose: 'register' }]) {
    expect(codeOf(await untouched(() => ring(handle, more)))).toEqual([400, 'invalid_request'])
  }
})

test.each(['public', 'transient'])('180 handle: none for %s subjects', async (subjectType) => {
  const other = await openBar({ subjectType }, 'cinema')
  expect(await scanned(other)).not.toHaveProperty('login_handle')
})
