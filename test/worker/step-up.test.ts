/**
 * Step-up (RFC 9470): a token that is not enough any more, the challenge that says what would be, and the one way back: the
 * client sends the person with exactly these parameters, and the new token is enough.
 */
import { beforeEach, describe, expect, test } from 'vitest'
import {
  makeKey,
  proven,
  redeemKeyed,
  registerKeyed,
  userinfoKeyed,
  visit,
} from './high-security.ts'
import { DESCRIPTION, landedAt, loggedIn } from './redeemed.ts'
import {
  claimsOf,
  landingOf,
  RP_ORIGIN,
  redeem,
  registerClient,
  Tab,
  userinfo,
} from './relying-party.ts'
import {
  API,
  exchange,
  freshKeys,
  introspect,
  LEDGER,
  refresh,
  registerApi,
} from './resource-tokens.ts'
import { granted, later, refusal, silently } from './sessions.ts'
import { type Answer, enrolled, freshAddress, ISSUER, now, operator, Person } from './world.ts'

const ACR = (word: 'low' | 'substantial' | 'high') => `urn:idtokenseal:acr:face-oob-${word}`

beforeEach(freshKeys)

/** The parameters of a challenge; they must be as RFC 9110 section 11.2 and RFC 9470 section 3 want them. */
function challengeOf(answer: Answer, scheme = 'Bearer'): Record<string, string> {
  expect(answer.status).toBe(401)
  expect(answer.headers.get('Cache-Control')).toBe('no-store')
  const header = answer.headers.get('WWW-Authenticate') ?? ''
  expect(header.startsWith(`${scheme} `)).toBe(true)
  const parameters = [...header.matchAll(/[ ,]([a-z_]+)="([^"]*)"/g)].map(
    ([, name = '', value = '']) => [name, value],
  )
  expect(new Set(parameters.map(([name]) => name)).size).toBe(parameters.length)
  return Object.fromEntries(parameters)
}

/** What the client sends the person back with: the repair in a challenge, and nothing else of it. */
function repairIn(answer: Answer, scheme?: string): Record<string, string> {
  const {
    realm,
    algs: _,
    error,
    error_description: description,
    ...repair
  } = challengeOf(answer, scheme)
  expect([realm, error]).toEqual(['userinfo', 'insufficient_user_authentication'])
  expect(description).toMatch(DESCRIPTION)
  expect(answer.body).toEqual({ error, error_description: description })
  return repair
}

describe('userinfo asks for more', () => {
  test('step-up: no challenge while the token is enough', async () => {
    const { tokens } = await loggedIn({ oidc: { min_trust_level: 2, default_max_age: 300 } })
    later(290)
    const { status, body } = await userinfo(tokens.access_token)
    expect([status, body.name]).toEqual([200, 'Jean Dupont'])
  })

  test('step-up: the operator demands a higher level: acr_values, and a new login with them is enough', async () => {
    const { client, person, tokens } = await loggedIn({ identity: { identity: { trustLevel: 1 } } })
    expect(claimsOf(tokens.id_token).acr).toBe(ACR('low'))
    await registerClient({ min_trust_level: 3 })
    const refused = await userinfo(tokens.access_token)
    const repair = repairIn(refused)
    expect(repair).toEqual({ acr_values: ACR('high') })
    expect(JSON.stringify(refused.body)).not.toContain('Jean')

    // With the seal that the person has the level can't be reached.
    const tab = new Tab()
    const waiting = await tab.begin(person.tokenId, repair)
    expect(landingOf(await unmet(person, tab, waiting)).parameters).toMatchObject({
      error: 'unmet_authentication_requirements',
      iss: ISSUER,
    })
    // The issuer has read the chip since.
    const better = await enrolled({ push: false, identity: { trustLevel: 3 } })
    const { code } = await landedAt(client, better, { request: repair })
    const { body } = await redeem(client, code)
    expect(claimsOf(body.id_token).acr).toBe(repair.acr_values)
    expect((await userinfo(body.access_token)).status).toBe(200)
    // The old token has not become better.
    expect(repairIn(await userinfo(tokens.access_token))).toEqual(repair)
    await registerClient({ min_trust_level: 1 })
    expect((await userinfo(tokens.access_token)).status).toBe(200)
  })

  test('step-up: the same person with a better seal', async () => {
    const { client, person, tokens } = await loggedIn({ identity: { identity: { trustLevel: 1 } } })
    await registerClient({ min_trust_level: 2 })
    const repair = repairIn(await userinfo(tokens.access_token))
    expect(repair).toEqual({ acr_values: ACR('substantial') })
    // A seal that is newer than the one before, whatever second this is.
    const better = await Person.make({
      ...{ tokenId: person.tokenId, push: false, createdAt: now() - 60 },
    })
    const again = new Person(
      ...([person.tokenId, person.keyPair, person.agreement, person.thumbprint] as const),
      better.seal,
      undefined,
    )
    const bound = await again.enroll({ 'CF-Connecting-IP': freshAddress() })
    expect(bound.status, JSON.stringify(bound.body)).toBe(200)
    const { code } = await landedAt(client, again, { request: repair })
    const { body } = await redeem(client, code)
    expect((await userinfo(body.access_token)).body.sub).toBe(person.tokenId)
    expect(claimsOf(body.id_token).acr).toBe(ACR('substantial'))
  })

  test('step-up: the sign-in is older than the client takes: max_age, and a new login with it is enough', async () => {
    const { client, person, tab, tokens } = await loggedIn()
    const { auth_time: before } = claimsOf(tokens.id_token)
    await registerClient({ default_max_age: 300 })
    expect((await userinfo(tokens.access_token)).status).toBe(200)
    later(300 + Number(before) - Math.floor(Date.now() / 1000))
    expect((await userinfo(tokens.access_token)).status).toBe(200)
    later(1)
    const repair = repairIn(await userinfo(tokens.access_token))
    expect(repair).toEqual({ max_age: '300' })

    // The same browser: its cookie is as old as the token, so the phone is asked.
    const waiting = await tab.authorize(repair)
    expect([waiting.status, String(waiting.body).includes('id="login-start"')]).toEqual([200, true])
    const landing = await tab.login(person, repair)
    const { body } = await redeem(client, landing.parameters.code)
    expect(Number(claimsOf(body.id_token).auth_time)).toBeGreaterThan(Number(before) + 300)
    expect((await userinfo(body.access_token)).status).toBe(200)
    expect(repairIn(await userinfo(tokens.access_token))).toEqual(repair)
  })

  test('step-up: both at once, in one challenge', async () => {
    const { client, tokens } = await loggedIn({ identity: { identity: { trustLevel: 1 } } })
    await registerClient({ min_trust_level: 2, default_max_age: 60 })
    later(62)
    const repair = repairIn(await userinfo(tokens.access_token))
    expect(repair).toEqual({ acr_values: ACR('substantial'), max_age: '60' })
    const better = await enrolled({ push: false })
    const { code } = await landedAt(client, better, { request: repair })
    const { body } = await redeem(client, code)
    expect((await userinfo(body.access_token)).status).toBe(200)
  })

  test('step-up: a page of a registered origin may read it', async () => {
    const { tokens } = await loggedIn()
    await registerClient({ min_trust_level: 3 })
    const page = await userinfo(tokens.access_token, { Origin: RP_ORIGIN })
    expect(repairIn(page)).toEqual({ acr_values: ACR('high') })
    expect(page.headers.get('Access-Control-Expose-Headers')).toContain('WWW-Authenticate')
  })

  test('step-up: a bound token is told under its own scheme, after its key was proved', async () => {
    const client = await registerKeyed()
    const person = await enrolled({ push: false })
    const { code } = await visit(client, person)
    const { body } = await redeemKeyed(client, code)
    expect((await userinfoKeyed(client.dpop, body.access_token)).status).toBe(200)
    await registerKeyed({ profile: 'fapi2', min_trust_level: 3 }, {}, client.clientId, client.key)
    const refused = await userinfoKeyed(client.dpop, body.access_token)
    expect(repairIn(refused, 'DPoP')).toEqual({ acr_values: ACR('high') })
    expect(refused.headers.get('DPoP-Nonce')).toEqual(expect.any(String))
    // Who has the token and not the key learns nothing of it.
    const thief = await userinfoKeyed(await makeKey(), body.access_token)
    expect(challengeOf(thief, 'DPoP').error).toBe('invalid_token')
    const bearer = await userinfo(body.access_token)
    expect([bearer.status, bearer.body.error]).toEqual([401, 'invalid_token'])
  })

  test('103 step-up: a person who was revoked is not sent to sign in once more', async () => {
    const { tokens, person } = await loggedIn()
    await registerClient({ min_trust_level: 3 })
    await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
    const challenge = challengeOf(await userinfo(tokens.access_token))
    expect(challenge).toMatchObject({ error: 'invalid_token' })
    expect(challenge).not.toHaveProperty('acr_values')
  })

  test('step-up: a refreshed token is as old as its sign-in', async () => {
    const about = {
      oidc: { offline_access: true },
      request: { scope: 'openid identity:name offline_access' },
    }
    const { client, tokens } = await loggedIn(about)
    await registerClient({ offline_access: true, default_max_age: 60 })
    later(62)
    const { body } = await refresh(client, tokens.refresh_token)
    expect(repairIn(await userinfo(body.access_token))).toEqual({ max_age: '60' })
    // Of a level that is too low not even that: the grant is over until the person comes.
    await registerClient({ offline_access: true, min_trust_level: 3 })
    const refused = await refresh(client, body.refresh_token)
    expect([refused.status, refused.body.error]).toEqual([400, 'invalid_grant'])
  })

  async function unmet(person: Person, tab: Tab, waiting: Answer): Promise<Answer> {
    const sessionId = /data-session="([^"]*)"/.exec(waiting.body)?.[1] ?? ''
    const claimed = await person.claim(sessionId)
    const approved = await person.approve(sessionId, claimed.body)
    expect(approved.status).not.toBe(200)
    return tab.press(waiting, '/login/continue')
  }
})

describe('a resource asks for more', () => {
  test('step-up: acr and auth_time are in the JWT and at introspection, the same everywhere', async () => {
    const { client, tokens } = await loggedIn({
      oidc: { resources: [API, LEDGER] },
      request: { resource: API },
    })
    const api = await registerApi()
    const { acr, auth_time: authTime } = claimsOf(tokens.id_token)
    expect(acr).toBe(ACR('substantial'))
    expect(claimsOf(tokens.access_token)).toMatchObject({ acr, auth_time: authTime })
    for (const caller of [client, api]) {
      const { body } = await introspect(caller, tokens.access_token)
      expect(body).toMatchObject({ active: true, acr, auth_time: authTime })
    }
    later(100)
    const exchanged = await exchange(api, tokens.access_token)
    expect(claimsOf(exchanged.body.access_token)).toMatchObject({ acr, auth_time: authTime })
  })

  test('step-up: the whole repair: the client sends the person back with what the resource named', async () => {
    const about = { oidc: { resources: [API] }, request: { resource: API } }
    const { client, person, tab, tokens } = await loggedIn(about)
    const api = await registerApi()
    // What a resource of its own accord holds a token to (RFC 9470 section 3).
    const isEnough = async (text: string) => {
      const { body } = await introspect(api, text)
      return body.active && body.acr === ACR('substantial') && now() - body.auth_time <= 60
    }
    expect(await isEnough(tokens.access_token)).toBe(true)
    later(120)
    expect(await isEnough(tokens.access_token)).toBe(false)
    const repair = { max_age: '60', acr_values: ACR('substantial'), resource: API }
    const landing = await tab.login(person, repair)
    const { body } = await redeem(client, landing.parameters.code)
    expect(await isEnough(body.access_token)).toBe(true)
    expect(await isEnough(tokens.access_token)).toBe(false)
  })
})

describe('at authorize', () => {
  test('step-up: default_max_age counts for a silent answer as max_age does', async () => {
    const { tab } = await loggedIn({ oidc: { default_max_age: 60 } })
    expect(await silently(tab)).toEqual(granted())
    later(62)
    expect(await silently(tab)).toEqual(refusal('login_required'))
    // What the request says itself goes before, in both directions.
    expect(await silently(tab, { max_age: '3600' })).toEqual(granted())
    expect(await silently(tab, { max_age: '10' })).toEqual(refusal('login_required'))
    await registerClient()
    expect(await silently(tab)).toEqual(granted())
  })

  test('step-up: default_max_age alone is no reason to answer without the phone', async () => {
    const { tab } = await loggedIn({ oidc: { default_max_age: 3600 } })
    const page = await tab.authorize()
    expect([page.status, String(page.body).includes('id="login-start"')]).toEqual([200, true])
    expect(landingOf(await tab.authorize({ max_age: '3600' })).parameters).toHaveProperty('code')
  })

  test('033 step-up: no value of acr_values can be met by this seal', async () => {
    const client = await registerClient()
    const low = await enrolled({ push: false, identity: { trustLevel: 1 } })
    const tab = new Tab()
    const waiting = await tab.begin(low.tokenId, { acr_values: `${ACR('high')} urn:unknown` })
    const sessionId = /data-session="([^"]*)"/.exec(waiting.body)?.[1] ?? ''
    const claimed = await low.claim(sessionId)
    expect((await low.approve(sessionId, claimed.body)).status).toBe(403)
    const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
    expect(parameters).toEqual({
      error: 'unmet_authentication_requirements',
      error_description: expect.stringMatching(DESCRIPTION),
      state: 'random-csrf-token',
      iss: ISSUER,
    })
    // The lowest that is known counts: this one can be met.
    const { code } = await landedAt(client, low, {
      request: { acr_values: `${ACR('high')} ${ACR('low')}` },
    })
    expect(claimsOf((await redeem(client, code)).body.id_token).acr).toBe(ACR('low'))
  })

  test('033 step-up: the cookie of a lower level, asked silently', async () => {
    const { tab } = await loggedIn()
    expect(await silently(tab, { acr_values: ACR('substantial') })).toEqual(granted())
    expect(await silently(tab, { acr_values: ACR('high') })).toEqual(
      refusal('unmet_authentication_requirements'),
    )
    await registerClient({ min_trust_level: 3 })
    expect(await silently(tab)).toEqual(refusal('unmet_authentication_requirements'))
    // And both: who must sign in again anyway is told that first.
    later(100)
    expect(await silently(tab, { max_age: '60' })).toEqual(refusal('login_required'))
  })

  test('step-up: the level that the operator demands counts, whatever less the request asks', async () => {
    await registerClient({ min_trust_level: 3 })
    const person = await enrolled({ push: false })
    const tab = new Tab()
    const waiting = await tab.begin(person.tokenId, { acr_values: ACR('low') })
    const sessionId = /data-session="([^"]*)"/.exec(waiting.body)?.[1] ?? ''
    const claimed = await person.claim(sessionId)
    expect((await person.approve(sessionId, claimed.body)).status).toBe(403)
    const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
    expect(parameters.error).toBe('unmet_authentication_requirements')
  })

  test('step-up: a code from before the operator asked for more buys nothing', async () => {
    const client = await registerClient()
    const person = await enrolled({ push: false })
    const { code } = await landedAt(client, person)
    await registerClient({ min_trust_level: 3 })
    const answer = await redeem(client, code)
    expect([answer.status, answer.body.error]).toEqual([400, 'invalid_grant'])
    await registerClient()
    expect((await redeem(client, code)).status).toBe(200)
  })

  test('step-up: a simple client that proves a key is challenged under DPoP', async () => {
    const key = await makeKey()
    const client = await registerClient()
    const { code } = await landedAt(client, await enrolled({ push: false }))
    const { body } = await redeem(client, code, {}, { ...client.basic, ...(await proven(key)) })
    await registerClient({ min_trust_level: 3 })
    expect(repairIn(await userinfoKeyed(key, body.access_token), 'DPoP')).toEqual({
      acr_values: ACR('high'),
    })
  })
})
