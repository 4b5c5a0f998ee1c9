/** The cookie of single sign-on: how it is set, which are kept, and that nothing else passes for it. */
import { env } from 'cloudflare:workers'
import { describe, expect, test } from 'vitest'
import { fromBase64url, utf8 } from '../../src/bytes.ts'
import { parseMasterSecret } from '../../src/keys/master-secret.ts'
import { openSso } from '../../src/oidc/sso.ts'
import {
  approve,
  authorizationParameters,
  formIn,
  landingOf,
  pageId,
  redeem,
  registerClient,
  Tab,
  waitingIn,
} from './relying-party.ts'
import { CINEMA, granted, idTokenOf, later, refusal, signedIn, silently } from './sessions.ts'
import { type Answer, enrolled, operator } from './world.ts'

/** `__Host-sso-` and the first eight characters of the Base64url SHA-256 of `bar-le-central`. */
const BAR_COOKIE = '__Host-sso-eo-vsOcH'
const START = 'login-start'

async function openCookie(tab: Tab, name = BAR_COOKIE) {
  const master = parseMasterSecret(env.MASTER_SECRET)
  if (!master.ok) throw new Error(master.reason)
  return openSso(master.value, name, tab.cookies.get(name) ?? '', Math.floor(Date.now() / 1000))
}

describe('334 single sign-on: the cookie', () => {
  test('334 single sign-on: its name, attributes and nothing else; new after each login; nothing readable', async () => {
    const client = await registerClient()
    const person = await enrolled({ push: false })
    const tab = new Tab()
    const values: string[] = []
    const browsers: string[] = []
    for (const _ of [1, 2]) {
      const waiting = await tab.begin(person.tokenId)
      await approve(person, waiting)
      const answer = await tab.press(waiting, '/login/continue')
      const set = answer.headers.getSetCookie().filter((line) => line.startsWith('__Host-sso-'))
      expect(set).toHaveLength(1)
      const [, value = ''] =
        /^__Host-sso-eo-vsOcH=([\w.-]+); Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=28800$/.exec(
          set[0] ?? '',
        ) ?? []
      expect(value.length, set[0]).toBeGreaterThan(100)
      expect(`${BAR_COOKIE}=${value}`.length).toBeLessThanOrEqual(3500)
      values.push(value)
      browsers.push(tab.cookies.get('__Host-browser') ?? '')
      await redeem(client, landingOf(answer).parameters.code)
    }
    expect(values[0]).not.toBe(values[1])
    expect(browsers[0]).toBe(browsers[1])
    expect(fromBase64url(browsers[0] ?? '')).toHaveLength(16)
    const [version = '', box = ''] = (values[0] ?? '').split('.')
    expect(version).toBe('1')
    const bytes = new TextDecoder('latin1').decode(fromBase64url(box))
    for (const secret of ['Jean', 'Dupont', 'bar-le-central', person.tokenId, 'identity:', '"']) {
      if (secret !== '"') expect(bytes).not.toContain(secret)
      expect(values[0]).not.toContain(secret)
    }
  })

  test('334 single sign-on: a login that failed or was cancelled sets none', async () => {
    await registerClient()
    const person = await enrolled({ push: false })
    const tab = new Tab()
    const waiting = await tab.begin(person.tokenId)
    const { sessionId } = waitingIn(waiting)
    const { body } = await person.claim(sessionId)
    await person.deny(sessionId, body.nonce)
    const denied = await tab.press(waiting, '/login/continue')
    expect(landingOf(denied)).toEqual(refusal('access_denied'))
    expect([...tab.cookies.keys()].filter((name) => name.startsWith('__Host-sso-'))).toEqual([])
    expect(await silently(tab)).toEqual(refusal('login_required'))
  })

  test('046 single sign-on: the phone of another person than was expected sets none', async () => {
    const { client, person, idToken } = await signedIn()
    const tab = new Tab()
    const other = await enrolled({ push: false })
    const landing = await tab.login(other, { id_token_hint: idToken })
    expect(landing).toEqual(refusal('login_required'))
    expect(tab.cookies.has(BAR_COOKIE)).toBe(false)
    expect(await idTokenOf(client, await tab.login(person))).toMatchObject({ sub: person.tokenId })
  })

  test('334 single sign-on: of nine clients the eight newest keep theirs', async () => {
    await registerClient()
    const person = await enrolled({ push: false })
    const tab = new Tab()
    const ids = Array.from({ length: 9 }, (_, i) => `client-${i + 1}`)
    for (const id of ids) {
      await registerClient({}, {}, id)
      later(1)
      await tab.login(person, { client_id: id })
    }
    const kept = [...tab.cookies.keys()].filter((name) => name.startsWith('__Host-sso-'))
    expect(kept).toHaveLength(8)
    for (const id of ids) {
      const landing = await silently(tab, { client_id: id })
      expect(landing).toEqual(id === 'client-1' ? refusal('login_required') : granted())
    }
    // Whoever signs in again is the newest, and the next to go is the second.
    later(1)
    await tab.login(person, { client_id: 'client-1' })
    expect(await silently(tab, { client_id: 'client-1' })).toEqual(granted())
    expect(await silently(tab, { client_id: 'client-2' })).toEqual(refusal('login_required'))
    expect(await silently(tab, { client_id: 'client-3' })).toEqual(granted())
  })

  test('334 single sign-on: what means nothing any more is let go at the next login', async () => {
    const client = await registerClient()
    const person = await enrolled({ push: false })
    const tab = new Tab(new Map([['__Host-sso-AAAAAAAA', '1.nonsense']]))
    await idTokenOf(client, await tab.login(person))
    expect([...tab.cookies.keys()].filter((name) => name.startsWith('__Host-sso-'))).toEqual([
      BAR_COOKIE,
    ])
  })

  test('334 single sign-on: the longest names, every scope and the longest alias still fit', async () => {
    const domain = `${['a'.repeat(63), 'b'.repeat(63), 'c'.repeat(63), 'd'.repeat(57)].join('.')}.ex`
    const scopes = ['identity:full', 'identity:age_over_18', 'identity:age_over_21']
    const more = ['identity:age_over_25', 'identity:age_range', 'identity:is_eu_citizen']
    const allowedScopes = [...scopes, ...more, 'identity:name_initial']
    const clientId = `c${'-long'.repeat(12)}`
    const client = await registerClient(
      { alias_domain: domain, offline_access: true },
      { allowedScopes, restrictedScopes: ['identity:document'] },
      clientId,
    )
    const identity = { givenNames: '𝒜'.repeat(39), familyName: '𝒵'.repeat(39) }
    const person = await enrolled({ push: false, identity })
    const tab = new Tab()
    const scope = `openid profile email offline_access ${allowedScopes.join(' ')}`
    const first = await idTokenOf(client, await tab.login(person, { client_id: clientId, scope }))
    const [cookie] = [...tab.cookies].filter(([name]) => name.startsWith('__Host-sso-'))
    expect((cookie ?? []).join('=').length).toBeGreaterThan(1500)
    expect((cookie ?? []).join('=').length).toBeLessThanOrEqual(3500)
    const landing = await silently(tab, { client_id: clientId, scope })
    expect(await idTokenOf(client, landing)).toMatchObject({
      name: first.name,
      email: first.email,
    })
  })

  test('334, 348 single sign-on: never the photo: it is given at the login, and asked of the phone again', async () => {
    const photo = new Uint8Array([
      ...utf8('RIFF'),
      ...[44, 0, 0, 0],
      ...utf8('WEBPVP8 '),
      ...[32, 0, 0, 0],
      ...utf8('a-face-like-no-other-0815-ABCDEF'),
    ])
    const client = await registerClient(
      {},
      {
        allowedScopes: ['identity:name', 'identity:photo'],
        restrictedScopes: ['identity:photo'],
      },
    )
    const person = await enrolled({ push: false, identity: { photo } })
    const tab = new Tab()
    const scope = 'openid identity:name identity:photo'
    const first = await idTokenOf(client, await tab.login(person, { scope }))
    expect(first.picture).toMatch(/^data:image\/webp;base64,/)
    const { grant } = (await openCookie(tab)) ?? {}
    expect(Object.keys(grant?.claims ?? {}).sort()).toEqual(['family_name', 'given_name', 'name'])

    expect(await silently(tab, { scope })).toEqual(refusal('login_required'))
    expect(pageId(await tab.authorize({ scope, max_age: '10000' }))).toBe(START)
    const less = await silently(tab, { scope: 'openid identity:name' })
    const second = await idTokenOf(client, less)
    expect(second).toMatchObject({ name: 'Jean Dupont' })
    expect(second).not.toHaveProperty('picture')
  })

  test('348 single sign-on: under the name of another client it is nothing', async () => {
    const { person, tab } = await signedIn()
    await registerClient({}, {}, CINEMA)
    await tab.login(person, { client_id: CINEMA, scope: 'openid identity:age_over_18' })
    const [first = ['', ''], second = ['', '']] = [...tab.cookies].filter(([name]) =>
      name.startsWith('__Host-sso-'),
    )
    const swapped = new Tab(new Map([...tab.cookies, [first[0], second[1]], [second[0], first[1]]]))
    expect(await silently(swapped)).toEqual(refusal('login_required'))
    expect(await silently(swapped, { client_id: CINEMA })).toEqual(refusal('login_required'))
    expect(await silently(tab)).toEqual(granted())
    expect(await silently(tab, { client_id: CINEMA, scope: 'openid' })).toEqual(granted())
  })

  test.each<[string, (value: string) => string]>([
    ['one character changed', (value) => value.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'))],
    [
      'one at the front',
      (value) => value.replace(/^1\.(.)/, (_, a) => `1.${a === 'A' ? 'B' : 'A'}`),
    ],
    ['cut', (value) => value.slice(0, -8)],
    ['longer', (value) => `${value}AAAA`],
    ['another version', (value) => value.replace(/^1\./, '2.')],
    ['empty', () => ''],
    ['of 8 KiB', (value) => value + 'A'.repeat(8192)],
  ])('334 single sign-on: altered (%s): nothing', async (_, alter) => {
    const { tab } = await signedIn()
    const value = alter(tab.cookies.get(BAR_COOKIE) ?? '')
    const altered = new Tab(new Map([...tab.cookies, [BAR_COOKIE, value]]))
    expect(await silently(altered)).toEqual(refusal('login_required'))
    expect(pageId(await altered.authorize({ max_age: '10000' }))).toBe(START)
  })

  test('334 single sign-on: sent twice, it is nothing: somebody has set one of them', async () => {
    const { tab } = await signedIn()
    const value = tab.cookies.get(BAR_COOKIE)
    const query = new URLSearchParams(await authorizationParameters({ prompt: 'none' }))
    const answer: Answer = await tab.send('GET', `/oidc/authorize?${query}`, null, {
      Cookie: `${tab.cookieHeader}; ${BAR_COOKIE}=${value}`,
    })
    expect(landingOf(answer)).toEqual(refusal('login_required'))
  })

  test('334 single sign-on: no other box of ours passes for it: the cookie of the pages, a ticket, a code', async () => {
    const { tab } = await signedIn()
    const ticket = formIn((await tab.authorize()).body, '/login/address').ticket ?? ''
    const { code = '' } = (await silently(tab)).parameters
    const others = [
      tab.cookies.get('__Host-browser') ?? '',
      ticket,
      code.split('.').slice(1).join('.'),
    ]
    for (const other of others) {
      const tried = new Tab(new Map([...tab.cookies, [BAR_COOKIE, other]]))
      expect(await silently(tried)).toEqual(refusal('login_required'))
    }
  })

  test('348 single sign-on: it is a bearer value: whoever holds it has the session, for its client and scopes and no longer', async () => {
    const { client, tab, person } = await signedIn()
    const stolen = tab.cookies.get(BAR_COOKIE) ?? ''
    const thief = new Tab(new Map([[BAR_COOKIE, stolen]]))
    expect(await idTokenOf(client, await silently(thief))).toMatchObject({ sub: person.tokenId })
    // A code is all it gives; the page of a login that is under way is another browser's.
    const wider = await silently(thief, { scope: 'openid identity:nationality' })
    expect(wider).toEqual(refusal('consent_required'))
    await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'stolen' })
    expect(await silently(thief)).toEqual(refusal('login_required'))
  })
})
