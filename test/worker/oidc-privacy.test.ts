/**
 * "No user database" at the OpenID Connect door (1-architecture section 2): a person with unmistakable data goes through all
 * that can happen there; then everything that is stored, logged and sent is searched for that person and for every secret.
 */
import { expect, onTestFinished, test, vi } from 'vitest'
import { toBase64url, utf8 } from '../../src/bytes.ts'
import { landedAt, rowsIn } from './redeemed.ts'
import {
  approve,
  type Client,
  claimsOf,
  landingOf,
  RP_ORIGIN,
  redeem,
  registerClient,
  Tab,
  token,
  userinfo,
  VERIFIER,
  waitingIn,
} from './relying-party.ts'
import { sayTrust } from './scan.ts'
import { currentVds } from './service-texts.ts'
import { dumpD1, dumpObject, dumpObjects, knownObjects } from './storage.ts'
import { enrolled, loginObject, operator, type Person } from './world.ts'

/** A tiny WebP whose picture bytes are found nowhere else. */
const FACE = new Uint8Array([
  ...utf8('RIFF'),
  ...[44, 0, 0, 0],
  ...utf8('WEBPVP8 '),
  ...[32, 0, 0, 0],
  ...utf8('a-face-like-no-other-4711-ABCDEF'),
])
const WHO = {
  givenNames: 'Xanthippe',
  familyName: 'Quetzalcoatl',
  dateOfBirth: '1931-07-13',
  nationality: 'LIE',
  documentNumber: 'ZZ9QX7K42',
  photo: FACE,
}
const SCOPE = 'openid identity:full_with_photo identity:age_over_18 email offline_access'
const STATE = 'a-state-that-nobody-else-has-0815'
const NONCE = 'a-nonce-that-nobody-else-has-0816'

/** What nothing may hold, by what it is. */
type Secrets = Record<string, readonly string[]>

/** How `text` may stand in something written: as it is, inside JSON, hexadecimal, or within Base64 at any alignment. */
function spellings(text: string | Uint8Array): string[] {
  const bytes = typeof text === 'string' ? utf8(text) : text
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  const inBase64 = [0, 1, 2].flatMap((offset) => {
    const encoded = toBase64url(new Uint8Array([...new Uint8Array(offset), ...bytes]))
    // The first and last characters also depend on the neighbours.
    const steady = encoded.slice(offset === 0 ? 0 : offset + 1, -2)
    return [steady, steady.replaceAll('-', '+').replaceAll('_', '/')]
  })
  return [...(typeof text === 'string' ? [text] : []), hex, hex.toUpperCase(), ...inBase64]
}

/** Three letters stand in any long text; as a value of JSON they mean the nationality. */
const PERSON: Secrets = {
  'given names': spellings(WHO.givenNames),
  'family name': spellings(WHO.familyName),
  'birth date': [...spellings(WHO.dateOfBirth), '19310713', '310713'],
  nationality: ['"LIE"', '\\"LIE\\"'],
  document: spellings(WHO.documentNumber),
  face: spellings(FACE.slice(20)),
}

/** The names of the secrets that `text` holds. */
function found(text: string, secrets: Secrets): string[] {
  return Object.entries(secrets)
    .filter(([, ways]) => ways.some((way) => way.length > 0 && text.includes(way)))
    .map(([name]) => name)
}

/** Everything written to the console and every request that left, from now on. */
function overhear(): { readonly lines: string[]; readonly requests: string[] } {
  const lines: string[] = []
  const requests: string[] = []
  for (const name of ['log', 'info', 'warn', 'error', 'debug'] as const) {
    const spy = vi.spyOn(console, name).mockImplementation((...parts) => {
      lines.push(parts.map(String).join(' '))
    })
    onTestFinished(() => spy.mockRestore())
  }
  const real = fetch
  const spy = vi.spyOn(globalThis, 'fetch').mockImplementation((input, init) => {
    requests.push(`${String(input)} ${String(init?.body)}`)
    return real(input, init)
  })
  onTestFinished(() => spy.mockRestore())
  return { lines, requests }
}

async function curiousClient(): Promise<Client> {
  return registerClient(
    {
      offline_access: true,
      alias_domain: 'alias.example',
      backchannel_logout_uri: `${RP_ORIGIN}/logout`,
      post_logout_redirect_uris: [`${RP_ORIGIN}/bye`],
    },
    {
      allowedScopes: ['identity:full_with_photo', 'identity:age_over_18'],
      restrictedScopes: ['identity:document', 'identity:photo'],
    },
  )
}

/** What a text that is only ever shown to one party looks like. */
function partsOf(text: string | undefined): string[] {
  const whole = text ?? ''
  expect(whole.length).toBeGreaterThan(20)
  return [whole, whole.slice(-40), encodeURIComponent(whole)]
}

test('309 330 331 oidc privacy: nothing that is stored, logged or sent out holds the person or a secret', async () => {
  const known = await knownObjects()
  const client = await curiousClient()
  const person = await enrolled({ push: false, identity: WHO })
  const { lines, requests } = overhear()
  const tab = new Tab()
  const request = { scope: SCOPE, state: STATE, nonce: NONCE }
  const secrets: Secrets = {
    ...PERSON,
    'seal text': [person.seal.base64url.slice(0, 60), person.seal.base64url.slice(-60)],
    'seal in Base45': [person.seal.base45.slice(10, 60)],
    'client secret': [client.secret, client.basic.Authorization ?? ''],
    verifier: [VERIFIER],
  }

  // Approved and not yet redeemed: the one moment at which the claims are kept at all.
  const waiting = await tab.begin(person.tokenId, request)
  const { sessionId } = waitingIn(waiting)
  await approve(person, waiting)
  const approved = await dumpObject(loginObject(sessionId))
  expect(approved).toContain('"approved')
  expect(found(approved, secrets)).toEqual([])
  expect(approved).not.toMatch(/eyJ[\w-]+\.eyJ/)
  const { code } = landingOf(await tab.press(waiting, '/login/continue')).parameters
  expect(await dumpObject(loginObject(sessionId))).not.toContain(code)

  const { body: tokens } = await redeem(client, code)
  const info = await userinfo(tokens.access_token)
  // The search itself is able to find: what the client got holds everything.
  const everything = Object.keys(PERSON).filter((name) => name !== 'face')
  expect(found(JSON.stringify(info.body), PERSON)).toEqual(expect.arrayContaining(everything))
  expect(atob(String(info.body.picture).split(',')[1] ?? '')).toContain('no-other-4711')
  expect(found(tokens.id_token, PERSON)).toEqual(
    expect.arrayContaining(['given names', 'family name', 'birth date', 'document']),
  )

  const refresh = (refreshToken: string) =>
    token({ grant_type: 'refresh_token', refresh_token: refreshToken }, client.basic)
  const { body: refreshed } = await refresh(tokens.refresh_token)
  const again = await refresh(refreshed.refresh_token)
  const silent = landingOf(await tab.authorize({ ...request, scope: 'openid', prompt: 'none' }))
  const resumed = (await redeem(client, silent.parameters.code)).body
  const sso = [...tab.cookies].find(([name]) => name.startsWith('__Host-sso-'))?.[1]

  // Everything that a token endpoint refuses, with what it refuses.
  await redeem(client, code)
  await refresh(tokens.refresh_token)
  await redeem(client, silent.parameters.code, { code_verifier: `${VERIFIER}x` })
  await redeem(client, code, {}, { Authorization: 'Basic !' })
  await token({ grant_type: 'password', username: WHO.familyName, password: WHO.documentNumber })
  await userinfo(`${tokens.access_token}x`)
  // Denied, cancelled, and left alone.
  const denied = await tab.begin(person.tokenId, request)
  const claimed = await person.claim(waitingIn(denied).sessionId)
  await person.deny(waitingIn(denied).sessionId, claimed.body.nonce)
  await tab.press(denied, '/login/continue')
  const cancelled = await tab.begin(person.tokenId, request)
  await tab.press(cancelled, '/login/cancel')
  await tab.begin(person.tokenId, request)
  const logout = new URLSearchParams({
    id_token_hint: tokens.id_token,
    post_logout_redirect_uri: `${RP_ORIGIN}/bye`,
    state: STATE,
  })
  expect((await tab.send('GET', `/oidc/end-session?${logout}`)).status).toBe(303)
  // A second session, so that the table of sessions isn't empty when it is searched.
  await redeem(client, (await landedAt(client, person, { request })).code)
  await scheduler.wait(200)

  const spoken: Secrets = {
    code: partsOf(code),
    'silent code': partsOf(silent.parameters.code),
    'access token': partsOf(tokens.access_token),
    'refresh token': partsOf(tokens.refresh_token),
    'second refresh token': partsOf(again.body.refresh_token),
    'id token': partsOf(tokens.id_token),
    'silent access token': partsOf(resumed.access_token),
    'session cookie': partsOf(sso),
    'browser cookie': partsOf(tab.cookies.get('__Host-browser')),
    alias: [`${person.tokenId}@`],
  }
  const stored = { ...(await dumpD1()), ...(await dumpObjects(known)) }
  for (const [place, text] of Object.entries(stored)) {
    expect(found(text, { ...secrets, ...spoken }), place).toEqual([])
    // The one signed text that is kept says nothing of people.
    if (place !== 'trust_list') expect(text, place).not.toMatch(/eyJ[\w-]+\.eyJ/)
    const mayKnow = ['enrollment', 'client_session'].includes(place) || place.startsWith('login ')
    if (!mayKnow) expect(text, place).not.toContain(person.tokenId)
  }
  // The dump does see: families, sessions and dead grants are there, and say what they must.
  expect(await rowsIn('refresh_family')).toBe(1)
  expect(await rowsIn('dead_grant')).toBe(1)
  expect(stored.client_session).toContain(person.tokenId)
  expect(stored.client_session).toContain(String(claimsOf(tokens.id_token).aud))

  const log = lines.join('\n')
  expect(lines.filter((line) => line.includes('"event":"login"')).length).toBeGreaterThanOrEqual(4)
  expect(log).toContain('"event":"service_told"')
  const unlogged = { state: [STATE], nonce: [NONCE], tokenId: [person.tokenId] }
  expect(found(log, { ...secrets, ...spoken, ...unlogged })).toEqual([])
  // What went out is the word to the client that a session has ended, and that is all it says.
  expect(requests.map((request) => request.split(' ')[0])).toEqual([`${RP_ORIGIN}/logout`])
  const told = new URLSearchParams(requests[0]?.split(' ')[1]).get('logout_token') ?? ''
  expect(Object.keys(claimsOf(told)).sort()).toEqual(
    'aud events exp iat iss jti sid sub'.split(' '),
  )
  expect(found(requests.join('\n'), { ...secrets, ...spoken })).toEqual([])
}, 30_000)

test('309 oidc privacy: when the person is revoked, no table but the enrollment knows the number', async () => {
  const client = await curiousClient()
  const person: Person = await enrolled({ push: false, identity: WHO })
  const { code } = await landedAt(client, person, { request: { scope: SCOPE } })
  await redeem(client, code)
  const service = 'bar-le-central'
  const said = { service, text: await currentVds(service) }
  expect((await sayTrust(person, said)).status).toBe(200)
  const { client_session: sessions, service_trust: trust } = await dumpD1()
  for (const table of [sessions, trust]) expect(table).toContain(person.tokenId)
  await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
  await scheduler.wait(200)
  for (const [table, text] of Object.entries(await dumpD1())) {
    expect(found(text, PERSON), table).toEqual([])
    if (table !== 'enrollment') expect(text, table).not.toContain(person.tokenId)
  }
})

test('334 oidc privacy: a cookie shows nothing, and holds no portrait', async () => {
  const client = await curiousClient()
  const person = await enrolled({ push: false, identity: WHO })
  const { tab } = await landedAt(client, person, { request: { scope: SCOPE } })
  for (const [name, value] of tab.cookies) {
    expect(found(value, PERSON), name).toEqual([])
    expect(value, name).not.toContain(person.tokenId)
  }
  // A request for the portrait can't be answered from it.
  const photo = await tab.authorize({ scope: 'openid identity:photo', prompt: 'none' })
  expect(landingOf(photo).parameters.error).toBe('login_required')
  const name = landingOf(await tab.authorize({ scope: 'openid identity:name', prompt: 'none' }))
  const { body } = await redeem(client, name.parameters.code)
  expect((await userinfo(body.access_token)).body).not.toHaveProperty('picture')
})
