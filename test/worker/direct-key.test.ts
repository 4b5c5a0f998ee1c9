/** A back end that proves itself at the direct door with its key (RFC 7523; 3-seal 2.3: the key in `cnf` counts). */
import { beforeEach, describe, expect, test, vi } from 'vitest'
import {
  assertion,
  type Bend,
  type KeyedClient,
  makeKey,
  registerKeyed,
  sendForm,
} from './high-security.ts'
import { untouched } from './hosted.ts'
import { RP_ORIGIN, registerClient } from './relying-party.ts'
import { freshKeys } from './resource-tokens.ts'
import { scan } from './scan.ts'
import { currentVds, read } from './service-texts.ts'
import {
  type Answer,
  connect,
  enrolled,
  freshAddress,
  ISSUER,
  now,
  type Person,
  post,
} from './world.ts'

const STRANGER = [401, 'invalid_client']

let client: KeyedClient
let person: Person
beforeEach(async () => {
  await freshKeys()
  client = await registerKeyed({})
  person = await enrolled({ push: false })
})

function codeOf({ status, body }: Answer): [number, string] {
  return [status, body.code]
}

/** The back end begins a login with an assertion of its own, or with the members and headers of `more`. */
async function initiate(more: object = {}, headers: Record<string, string> = {}): Promise<Answer> {
  const body = { clientAssertion: await assertion(client), serviceId: client.clientId, ...more }
  return post('/auth/initiate', body, headers)
}

/** A login that a page has begun and a person has approved: what the page hands to its back end. */
async function approvedPage(): Promise<{ sessionId: string; code: string }> {
  const page = { Origin: RP_ORIGIN, 'CF-Connecting-IP': freshAddress() }
  const { body } = await post('/auth/initiate', { serviceId: client.clientId }, page)
  const browser = await connect(body, { origin: RP_ORIGIN })
  const claimed = (await scan(person, body.qr)).body
  expect((await person.approve(body.sessionId, claimed)).status).toBe(200)
  const { code = '' } = await browser.event('approved')
  return { sessionId: body.sessionId, code }
}

/** Reasons of refusals that the log gets while `act` runs. */
async function refusals(act: () => Promise<unknown>): Promise<string[]> {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {})
  await act()
  const lines = log.mock.calls.map(([line]) => JSON.parse(String(line)))
  log.mockRestore()
  return lines.filter(({ event }) => event === 'refused').map(({ reason }) => reason)
}

test('171 key: an assertion begins a login, and its socket brings the JWT', async () => {
  const { status, body } = await initiate({ tokenId: person.tokenId })
  expect(status, JSON.stringify(body)).toBe(200)
  expect(body.autoPassword).toMatch(/^\d{6}$/)
  const socket = await connect(body, { origin: RP_ORIGIN })
  const claimed = (await person.claim(body.sessionId)).body
  expect((await person.approve(body.sessionId, claimed)).status).toBe(200)
  expect(await socket.event('approved')).toHaveProperty('jwt')
})

test('171 key: the key in the Service VDS is the one that counts; a copy of the text is worth nothing', async () => {
  const serviceVds = await currentVds(client.clientId)
  const { key } = (await read(serviceVds)).content
  expect(key).toMatchObject({ x: client.key.publicJwk.x, y: client.key.publicJwk.y })
  expect((await initiate({ serviceId: undefined, serviceVds })).status).toBe(200)
  const own = await makeKey('ES256', client.key.kid)
  const copied = { serviceVds, clientAssertion: await assertion({ ...client, key: own }) }
  expect(codeOf(await untouched(() => initiate(copied)))).toEqual(STRANGER)
  const none = { serviceVds, clientAssertion: undefined }
  expect(codeOf(await untouched(() => initiate(none)))).toEqual(STRANGER)
})

test('063 key: an assertion is good once, here and at the token endpoint together', async () => {
  const clientAssertion = await assertion(client)
  const answers = await Promise.all([1, 2, 3].map(() => initiate({ clientAssertion })))
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 401, 401])
  const form = {
    ...{ grant_type: 'refresh_token', refresh_token: 'x', client_assertion: clientAssertion },
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
  }
  const atToken = await sendForm('/oidc/token', form)
  expect([atToken.status, atToken.body.error]).toEqual([401, 'invalid_client'])
  const told = await refusals(() => initiate({ clientAssertion }))
  expect(told).toEqual(['assertion jti used'])
})

describe('what proves nothing', () => {
  test.each<[string, Bend]>([
    ['for the token endpoint', { payload: { aud: `${ISSUER}/oidc/token` } }],
    ['for a list', { payload: { aud: [ISSUER] } }],
    ['over', { payload: { exp: now() - 1 } }],
    ['of another service', { payload: { iss: 'cinema', sub: 'cinema' } }],
    ['of a key that is not registered', { header: { kid: 'other' } }],
    ['of another kind', { header: { typ: 'dpop+jwt' } }],
  ])('062 key: an assertion %s', async (_, bend) => {
    const clientAssertion = await assertion(client, bend)
    expect(codeOf(await untouched(() => initiate({ clientAssertion })))).toEqual(STRANGER)
  })

  test.each(['', 'x', 'a.b.c', 'e30.e30.'])('062 key: %j is none', async (clientAssertion) => {
    expect(codeOf(await untouched(() => initiate({ clientAssertion })))).toEqual(STRANGER)
    const fetched = { ...(await approvedPage()), clientAssertion }
    expect(codeOf(await post('/auth/result', fetched))).toEqual(STRANGER)
  })

  test('056 key: an assertion and a header at once, though both were right', async () => {
    const both = await untouched(() => initiate({}, client.basic))
    expect(codeOf(both)).toEqual([400, 'invalid_request'])
  })

  test('058 key: the way that it is not registered for: a secret, or a key', async () => {
    const simple = await registerClient({}, {}, 'cinema')
    const body = { serviceId: 'cinema' }
    expect((await post('/auth/initiate', body, simple.basic)).status).toBe(200)
    const own = { ...simple, key: await makeKey() }
    const clientAssertion = await assertion(own)
    const byKey = () => post('/auth/initiate', { ...body, clientAssertion })
    expect(codeOf(await untouched(byKey))).toEqual(STRANGER)
    // Its secret was right until it chose a key.
    const keyed = await registerKeyed({}, {}, 'cinema', own.key)
    expect(codeOf(await untouched(() => post('/auth/initiate', body, simple.basic)))).toEqual(
      STRANGER,
    )
    const byAssertion = { ...body, clientAssertion: await assertion(keyed) }
    expect((await post('/auth/initiate', byAssertion)).status).toBe(200)
  })

  test.each(['require_pushed_authorization_requests', 'dpop_bound_access_tokens'])(
    '062 key: a client with %s has no business here',
    async (more) => {
      const page = await approvedPage()
      client = await registerKeyed({ [more]: true }, {}, client.clientId, client.key)
      expect(codeOf(await untouched(() => initiate()))).toEqual(STRANGER)
      const fetched = { ...page, clientAssertion: await assertion(client) }
      expect(codeOf(await untouched(() => post('/auth/result', fetched)))).toEqual(STRANGER)
    },
  )
})

test('359 key: a page’s code is redeemed by an assertion, once; a used assertion leaves the code', async () => {
  const page = await approvedPage()
  const used = await assertion(client)
  expect((await initiate({ clientAssertion: used })).status).toBe(200)
  const replayed = await untouched(() => post('/auth/result', { ...page, clientAssertion: used }))
  expect(codeOf(replayed)).toEqual(STRANGER)
  const other = await registerKeyed({}, {}, 'cinema')
  const foreign = { ...page, clientAssertion: await assertion(other) }
  expect(codeOf(await post('/auth/result', foreign))).toEqual([404, 'session_not_found'])

  const fetch = async () =>
    post('/auth/result', { ...page, clientAssertion: await assertion(client) })
  expect((await fetch()).body).toHaveProperty('jwt')
  expect(codeOf(await fetch())).toEqual([404, 'session_not_found'])
})
