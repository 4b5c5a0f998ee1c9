/** Logout at the provider: who is asked first, where the browser may be sent, and what ends. */
import { exports } from 'cloudflare:workers'
import { CompactSign, decodeProtectedHeader, generateKeyPair } from 'jose'
import { describe, expect, test } from 'vitest'
import { toBase64url, utf8 } from '../../src/bytes.ts'
import {
  claimsOf,
  formIn,
  landingOf,
  pageId,
  REDIRECT_URI,
  redeem,
  registerClient,
  Tab,
} from './relying-party.ts'
import { CINEMA, later, type SignedIn, signedIn as signedInAt, signIn } from './sessions.ts'
import { type Answer, answerOf, enrolled, ISSUER, send } from './world.ts'

const END = '/oidc/end-session'
const OUT = 'http://127.0.0.1:8790/out'
const ASKED = 'logout-confirm'
const REFUSED = 'error-logout'

/** A person who has signed in to the bar, which wants him back at `OUT`. */
function signedIn(oidc: Record<string, unknown> = {}): Promise<SignedIn> {
  return signedInAt({}, { post_logout_redirect_uris: [OUT], ...oidc })
}

/** The browser comes to the end-session endpoint; pairs may name a parameter twice. */
function leave(
  tab: Tab,
  parameters: Record<string, string> | string[][] = {},
  headers: Record<string, string> = {},
): Promise<Answer> {
  const query = new URLSearchParams(parameters).toString()
  return tab.send('GET', query === '' ? END : `${END}?${query}`, null, headers)
}

/** Whether the browser is signed in to a client: what `prompt=none` says. */
async function isSignedIn(tab: Tab, clientId = 'bar-le-central'): Promise<boolean> {
  const { parameters } = landingOf(await tab.authorize({ prompt: 'none', client_id: clientId }))
  if (parameters.code === undefined) expect(parameters.error).toBe('login_required')
  return parameters.code !== undefined
}

/** The person says yes. */
function confirm(tab: Tab, page: Answer): Promise<Answer> {
  return tab.press(page, END)
}

/** A page at the provider, and no way on from it. */
function expectPage(answer: Answer, id: string, status: number): void {
  expect([pageId(answer), answer.status]).toEqual([id, status])
  expect(answer.headers.has('Location')).toBe(false)
}

/* ---- by hint ---- */

describe('094 logout: with the id_token of the person who is here', () => {
  test('094 logout: 303 to the registered address with state and nothing else; the cookie goes; login_required', async () => {
    const { tab, idToken } = await signedIn()
    const name = [...tab.cookies.keys()].find((cookie) => cookie.startsWith('__Host-sso-'))
    const state = 's'.repeat(128)
    const answer = await leave(tab, {
      id_token_hint: idToken,
      post_logout_redirect_uri: OUT,
      state,
    })
    expect(answer.status).toBe(303)
    expect(answer.headers.get('Location')).toBe(`${OUT}?state=${state}`)
    expect(answer.headers.get('Cache-Control')).toBe('no-store')
    expect(answer.headers.getSetCookie()).toEqual([
      `${name}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0`,
    ])
    expect(answer.body).toBe('')
    expect(await isSignedIn(tab)).toBe(false)
  })

  test('094 logout: without state: the address alone', async () => {
    const { tab, idToken } = await signedIn()
    const answer = await leave(tab, { id_token_hint: idToken, post_logout_redirect_uri: OUT })
    expect([answer.status, answer.headers.get('Location')]).toEqual([303, OUT])
    expect(await isSignedIn(tab)).toBe(false)
  })

  test('094 logout: without address: the last page, state or not', async () => {
    const { tab, idToken } = await signedIn()
    const answer = await leave(tab, { id_token_hint: idToken, state: 'kept to ourselves' })
    expectPage(answer, 'logout-done', 200)
    expect(answer.body).toContain('<h1>You are signed out.</h1>')
    expect(answer.body).not.toContain('kept to ourselves')
    expect(await isSignedIn(tab)).toBe(false)
  })

  test('094 logout: a registered query stays, and an app is reached by its own scheme', async () => {
    const address = `${OUT}?tenant=1`
    const { tab, idToken } = await signedIn({ post_logout_redirect_uris: [address] })
    const answer = await leave(tab, {
      id_token_hint: idToken,
      post_logout_redirect_uri: address,
      state: 'a',
    })
    expect(answer.headers.get('Location')).toBe(`${address}&state=a`)
  })

  test('094 logout: a native app: its private-use scheme', async () => {
    const app = 'com.example.bar:/out'
    const oidc = { application_type: 'native', token_endpoint_auth_method: 'none' }
    const client = await registerClient({ ...oidc, post_logout_redirect_uris: [app] })
    const tab = new Tab()
    const { parameters } = await tab.login(await enrolled({ push: false }))
    const { body } = await redeem(client, parameters.code, { client_id: client.clientId }, {})
    const asked = { post_logout_redirect_uri: app, state: 'a' }
    const page = await leave(tab, { client_id: client.clientId, ...asked })
    expect(page.headers.get('Content-Security-Policy')).toContain(
      "form-action 'self' com.example.bar:;",
    )
    const answer = await leave(tab, { id_token_hint: body.id_token, ...asked })
    expect([answer.status, answer.headers.get('Location')]).toEqual([303, `${app}?state=a`])
    expect(await isSignedIn(tab)).toBe(false)
  })

  test.each([
    ['every sort of character', 'a&b=c%d+e<f>"g\'h#i?j/k\\l é 日本 🍷'],
    ['a line that would be a header', 'a\r\nSet-Cookie: x=y\r\n\r\n<script>'],
    ['4 KiB', 's'.repeat(4096)],
    ['4 KiB of Unicode', `${'€'.repeat(1365)}s`],
  ])('094, 336 logout: the state as it came: %s', async (_, state) => {
    const { tab, client, idToken } = await signedIn()
    const back = { post_logout_redirect_uri: OUT, state }
    const page = await leave(tab, { client_id: client.clientId, ...back })
    for (const answer of [
      await leave(tab, { id_token_hint: idToken, ...back }),
      await confirm(tab, page),
    ]) {
      expect(answer.status).toBe(303)
      expect(landingOf(answer)).toEqual({ address: OUT, parameters: { state } })
      expect(answer.headers.get('Location')).toMatch(/^[\x21-\x7e]+$/)
    }
  })

  test('094, 037 logout: a state of more than 4 KiB: a page, and nothing ends', async () => {
    const { tab, idToken } = await signedIn()
    for (const state of ['s'.repeat(4097), '€'.repeat(1366)]) {
      const asked = { id_token_hint: idToken, post_logout_redirect_uri: OUT, state }
      expectPage(await leave(tab, asked), REFUSED, 400)
    }
    expect(await isSignedIn(tab)).toBe(true)
  })

  test('097 logout: expired but genuine: accepted', async () => {
    // The isolate may remember keys of an earlier test; this makes those of this one.
    await send('GET', '/health')
    const { tab, idToken } = await signedIn({ id_token_ttl: 60 })
    later(7200)
    expect(Number(claimsOf(idToken).exp) * 1000).toBeLessThan(Date.now())
    expect(await isSignedIn(tab)).toBe(true)
    const answer = await leave(tab, { id_token_hint: idToken, post_logout_redirect_uri: OUT })
    expect(answer.headers.get('Location')).toBe(OUT)
    expect(await isSignedIn(tab)).toBe(false)
  })

  test('097 logout: of an earlier login of the same person: accepted', async () => {
    const { client, person, tab, idToken } = await signedIn()
    await signIn(client, person, tab)
    const answer = await leave(tab, { id_token_hint: idToken, post_logout_redirect_uri: OUT })
    expect(answer.headers.get('Location')).toBe(OUT)
    expect(await isSignedIn(tab)).toBe(false)
  })

  test('094 logout: with client_id that says the same; the session of another client goes on', async () => {
    const { client, person, tab, idToken } = await signedIn()
    const cinema = await registerClient({}, {}, CINEMA)
    await signIn(cinema, person, tab)
    await leave(tab, { id_token_hint: idToken, client_id: client.clientId })
    expect(await isSignedIn(tab)).toBe(false)
    expect(await isSignedIn(tab, CINEMA)).toBe(true)
  })

  test('094 logout: where nobody is signed in: back to the service all the same, without asking', async () => {
    const { idToken } = await signedIn()
    const answer = await leave(new Tab(), {
      id_token_hint: idToken,
      post_logout_redirect_uri: OUT,
    })
    expect([answer.status, answer.headers.get('Location')]).toEqual([303, OUT])
  })
})

describe('098 logout: with the id_token of somebody else', () => {
  test('098 logout: the page names the client only; who is here stays until he confirms', async () => {
    const { client, person: a, tab } = await signedIn()
    const b = await enrolled({ push: false, identity: { givenNames: 'Berthe' } })
    const other = new Tab()
    const hint = await signIn(client, b, other)
    const asked = { id_token_hint: hint, post_logout_redirect_uri: OUT, state: 'x' }
    const page = await leave(tab, asked)
    expectPage(page, ASKED, 200)
    expect(page.headers.getSetCookie()).toEqual([])
    expect(page.body).toContain('You came from <strong>Bar le Central</strong>.')
    for (const secret of [a.tokenId, b.tokenId, 'Jean', 'Dupont', 'Berthe', hint]) {
      expect(page.body).not.toContain(secret)
    }
    expect(await isSignedIn(tab)).toBe(true)

    const answer = await confirm(tab, page)
    expect([answer.status, answer.headers.get('Location')]).toEqual([303, `${OUT}?state=x`])
    expect(await isSignedIn(tab)).toBe(false)
    // The other browser was not meant.
    expect(await isSignedIn(other)).toBe(true)
  })

  test('098 logout: the yes ends the session of that client and of no other', async () => {
    const { client, person, tab } = await signedIn()
    const cinema = await registerClient({}, {}, CINEMA)
    await signIn(cinema, person, tab)
    const hint = await signIn(client, await enrolled({ push: false }), new Tab())
    await confirm(tab, await leave(tab, { id_token_hint: hint }))
    expect(await isSignedIn(tab)).toBe(false)
    expect(await isSignedIn(tab, CINEMA)).toBe(true)
  })
})

/* ---- without a hint ---- */

describe('093 logout: without a hint', () => {
  test.each<[string, Record<string, string>]>([
    ['no parameters', {}],
    ['only state', { state: 'alone' }],
    ['only client_id', { client_id: 'bar-le-central' }],
    ['the client_id of nobody', { client_id: 'nobody' }],
    ['languages and a hint of who', { ui_locales: 'se', logout_hint: 'somebody' }],
  ])('093 logout: %s: 200 and the question; alive until confirmed', async (_, parameters) => {
    const { tab } = await signedIn()
    const page = await leave(tab, parameters)
    expectPage(page, ASKED, 200)
    expect(page.body).toContain('<h1>Do you want to sign out?</h1>')
    expect(await isSignedIn(tab)).toBe(true)
    expectPage(await confirm(tab, page), 'logout-done', 200)
    expect(await isSignedIn(tab)).toBe(false)
  })

  test('093 logout: the yes ends every session of this browser, and none of another', async () => {
    const { client, person, tab } = await signedIn()
    const cinema = await registerClient({}, {}, CINEMA)
    await signIn(cinema, person, tab)
    const elsewhere = new Tab()
    await signIn(client, person, elsewhere)
    const answer = await confirm(tab, await leave(tab))
    expect(answer.headers.getSetCookie()).toHaveLength(2)
    expect([...tab.cookies.keys()].filter((name) => name.startsWith('__Host-sso-'))).toEqual([])
    expect(await isSignedIn(tab)).toBe(false)
    expect(await isSignedIn(tab, CINEMA)).toBe(false)
    expect(await isSignedIn(elsewhere)).toBe(true)
    // It says who the browser is and logs nobody in: it is kept.
    expect(tab.cookies.has('__Host-browser')).toBe(true)
  })

  test('093 logout: a browser that nobody knows is asked as well, and gets what binds the answer to it', async () => {
    await registerClient()
    const tab = new Tab()
    const page = await leave(tab)
    expect(page.headers.getSetCookie()).toEqual([
      expect.stringMatching(/^__Host-browser=[\w-]{22}; Path=\/; Secure; HttpOnly; SameSite=Lax;/),
    ])
    expectPage(await confirm(tab, page), 'logout-done', 200)
  })

  test('093 logout: client_id and its registered address: asked, then sent back with state; every session ends', async () => {
    const { client, person, tab } = await signedIn()
    await signIn(await registerClient({}, {}, CINEMA), person, tab)
    const asked = { client_id: client.clientId, post_logout_redirect_uri: OUT, state: 'x' }
    const page = await leave(tab, asked)
    expectPage(page, ASKED, 200)
    expect(page.body).toContain('You came from <strong>Bar le Central</strong>.')
    expect(page.body).not.toContain(OUT)
    const answer = await confirm(tab, page)
    expect([answer.status, answer.headers.get('Location')]).toEqual([303, `${OUT}?state=x`])
    expect(await isSignedIn(tab)).toBe(false)
    expect(await isSignedIn(tab, CINEMA)).toBe(false)
  })

  test('093 logout: the name of a service is text', async () => {
    await registerClient({}, { name: '<img src=x onerror=alert(1)>' })
    const page = await leave(new Tab(), { client_id: 'bar-le-central' })
    expect(page.body).toContain('&lt;img src=x onerror=alert(1)&gt;')
    expect(page.body).not.toContain('<img')
  })
})

/* ---- what is refused ---- */

describe('095 logout: no redirect', () => {
  test.each([
    ['unregistered', 'https://evil.example/'],
    ['with a query added', `${OUT}?foo=bar`],
    ['with a fragment', `${OUT}#top`],
    ['with a slash more', `${OUT}/`],
    ['in another case', 'http://127.0.0.1:8790/OUT'],
    ['of another port', 'http://127.0.0.1:8791/out'],
    ['of another scheme', 'https://127.0.0.1:8790/out'],
    ['that is only the beginning', 'http://127.0.0.1:8790/'],
    ['a redirect_uri', REDIRECT_URI],
    ['of another client', 'http://127.0.0.1:8790/cinema'],
    ['relative', '/out'],
    ['without scheme', '//127.0.0.1:8790/out'],
    ['javascript:', 'javascript:alert(1)'],
    ['no address at all', 'not an address'],
    ['with a blank before', ` ${OUT}`],
    ['encoded twice', encodeURIComponent(OUT)],
  ])('095 logout: address %s: a page, nothing ends, nothing reflected', async (_, address) => {
    const { client, tab, idToken } = await signedIn()
    await registerClient(
      { post_logout_redirect_uris: ['http://127.0.0.1:8790/cinema'] },
      {},
      CINEMA,
    )
    const back = { post_logout_redirect_uri: address, state: 'reflect-me' }
    for (const who of [{ id_token_hint: idToken }, { client_id: client.clientId }]) {
      const answer = await leave(tab, { ...who, ...back })
      expectPage(answer, REFUSED, 400)
      expect(answer.body).toContain('We could not return you to the service.')
      expect(answer.body).not.toContain('reflect-me')
      expect(answer.body).not.toContain(address)
      expect(answer.body).not.toContain('href')
    }
    expect(await isSignedIn(tab)).toBe(true)
  })

  test('095 logout: an address without hint and client_id, with a client_id of nobody, or of a disabled service', async () => {
    const { tab, idToken } = await signedIn()
    const back = { post_logout_redirect_uri: OUT }
    expectPage(await leave(tab, back), REFUSED, 400)
    expectPage(await leave(tab, { ...back, client_id: 'nobody' }), REFUSED, 400)
    expect(await isSignedIn(tab)).toBe(true)
    await registerClient({ post_logout_redirect_uris: [OUT] }, { enabled: false })
    expectPage(await leave(tab, { ...back, client_id: 'bar-le-central' }), REFUSED, 400)
    expectPage(await leave(tab, { ...back, id_token_hint: idToken }), REFUSED, 400)
  })

  test('095, 038 logout: parameters that come twice, or hold what no text holds', async () => {
    const { tab, idToken } = await signedIn()
    const good = [
      ['id_token_hint', idToken],
      ['post_logout_redirect_uri', OUT],
      ['state', 'a'],
      ['client_id', 'bar-le-central'],
    ]
    for (const pair of good) expectPage(await leave(tab, [...good, pair]), REFUSED, 400)
    for (const query of ['client_id=%00', 'client_id=%ff', 'state=%00', 'state=%zz']) {
      expectPage(await tab.send('GET', `${END}?${query}`), REFUSED, 400)
    }
    expect(await isSignedIn(tab)).toBe(true)
  })

  test('095 logout: hint and client_id that contradict each other', async () => {
    const { tab, idToken } = await signedIn()
    await registerClient({ post_logout_redirect_uris: [OUT] }, {}, CINEMA)
    const asked = { id_token_hint: idToken, client_id: CINEMA, post_logout_redirect_uri: OUT }
    expectPage(await leave(tab, asked), REFUSED, 400)
    expect(await isSignedIn(tab)).toBe(true)
  })

  test.each<[string, (hint: string) => string | Promise<string>]>([
    ['its payload altered', (hint) => withPayload(hint, { sub: 'somebody-else' })],
    ['its signature altered', (hint) => `${hint.slice(0, -4)}AAAA`],
    ['its signature cut off', (hint) => hint.replace(/[^.]*$/, '')],
    ['made anew with alg none', (hint) => unsigned(hint, 'none')],
    ['made anew with alg None', (hint) => unsigned(hint, 'None')],
    ['signed by a foreign key under our kid', resigned],
    ['an access token', () => '1.AAAA'],
    ['of five parts', (hint) => `${hint}.AAAA.AAAA`],
    ['no token', () => 'no-token-at-all'],
    ['of 12 KiB', (hint) => hint + 'A'.repeat(12_000)],
  ])('095, 109 logout: a hint %s: a page, nothing ends', async (_, alter) => {
    const { tab, idToken } = await signedIn()
    const hint = await alter(idToken)
    expect(hint).not.toBe(idToken)
    for (const more of [{ post_logout_redirect_uri: OUT, state: 'a' }, {}]) {
      const answer = await leave(tab, { id_token_hint: hint, ...more })
      expectPage(answer, REFUSED, 400)
      expect(answer.body).not.toContain(hint)
    }
    expect(await isSignedIn(tab)).toBe(true)
  })

  test('095, 115 logout: a logout-confirmation, a code or an access token is no hint', async () => {
    const { client, person, tab } = await signedIn()
    const { confirmation = '' } = formIn((await leave(tab)).body, END)
    const { code = '' } = (await tab.login(person)).parameters
    const { body } = await redeem(client, (await tab.login(person)).parameters.code)
    for (const hint of [confirmation, code, body.access_token]) {
      expectPage(await leave(tab, { id_token_hint: hint }), REFUSED, 400)
    }
    expect(await isSignedIn(tab)).toBe(true)
  })

  test('001 logout: other methods: 405 with Allow', async () => {
    for (const method of ['PUT', 'DELETE', 'PATCH']) {
      const { status, headers } = await new Tab().send(method, END)
      expect([status, headers.get('Allow')]).toEqual([405, 'GET, HEAD, POST'])
    }
  })
})

/* ---- who pressed the button ---- */

const CROSS_SITE = { Origin: 'https://evil.example', 'Sec-Fetch-Site': 'cross-site' }

describe('099 logout: what another site can do', () => {
  test.each([
    ['image', { 'Sec-Fetch-Dest': 'image', 'Sec-Fetch-Mode': 'no-cors' }],
    ['iframe', { 'Sec-Fetch-Dest': 'iframe', 'Sec-Fetch-Mode': 'navigate' }],
    ['script', { 'Sec-Fetch-Dest': 'script' }],
    ['fetch', { 'Sec-Fetch-Dest': 'empty', 'Sec-Fetch-Mode': 'cors' }],
    ['prefetch', { 'Sec-Fetch-Dest': 'document', 'Sec-Purpose': 'prefetch' }],
    ['prerender', { 'Sec-Fetch-Dest': 'document', 'Sec-Purpose': 'prefetch;prerender' }],
  ])('099 logout: %s, even with a genuine hint: 403, the session is intact', async (_, headers) => {
    const { tab, idToken } = await signedIn()
    for (const asked of [{}, { id_token_hint: idToken, post_logout_redirect_uri: OUT }]) {
      const answer = await leave(tab, asked, { 'Sec-Fetch-Site': 'cross-site', ...headers })
      expectPage(answer, REFUSED, 403)
      expect(answer.headers.getSetCookie()).toEqual([])
    }
    expect(await isSignedIn(tab)).toBe(true)
  })

  test('099 logout: a cross-site link: the question, the session is intact', async () => {
    const { tab } = await signedIn()
    const headers = { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Dest': 'document' }
    expectPage(await leave(tab, {}, headers), ASKED, 200)
    expect(await isSignedIn(tab)).toBe(true)
  })

  test('099 logout: a cross-site POST: by an address of ours to the question, the session is intact', async () => {
    const { tab } = await signedIn()
    // Without cookies, as `SameSite=Lax` sends it.
    const stranger = new Tab()
    const headers = { ...CROSS_SITE, 'Sec-Fetch-Dest': 'document' }
    const answer = await stranger.send('POST', END, { state: 'a b' }, headers)
    expect([answer.status, answer.headers.get('Location')]).toEqual([
      303,
      'http://localhost:8787/oidc/end-session?state=a+b',
    ])
    expect(answer.headers.getSetCookie()).toEqual([])
    const { pathname, search } = new URL(answer.headers.get('Location') ?? '')
    expectPage(await tab.send('GET', pathname + search), ASKED, 200)
    expect(await isSignedIn(tab)).toBe(true)
  })

  test('094 logout: a service may post its request: the session ends though the form brought no cookie', async () => {
    const { tab, idToken } = await signedIn()
    const state = 'a&b=c é\r\n'
    const form = { id_token_hint: idToken, post_logout_redirect_uri: OUT, state }
    const posted = await new Tab().send('POST', END, form, CROSS_SITE)
    expect(posted.status).toBe(303)
    const { pathname, search } = new URL(posted.headers.get('Location') ?? '')
    const answer = await tab.send('GET', pathname + search)
    expect(landingOf(answer)).toEqual({ address: OUT, parameters: { state } })
    expect(await isSignedIn(tab)).toBe(false)
  })

  test('099, 002 logout: a POST that is no form, is too long, or says things twice: a page', async () => {
    const { tab, idToken } = await signedIn()
    const json = await send('POST', END, '{}', { 'Content-Type': 'application/json' })
    expectPage(json, REFUSED, 400)
    expectPage(await tab.send('POST', END, { state: 's'.repeat(20_000) }), REFUSED, 400)
    expectPage(await tab.send('POST', END, { state: 's'.repeat(14_000) }), REFUSED, 400)
    const hint = `id_token_hint=${idToken}`
    const form = { 'Content-Type': 'application/x-www-form-urlencoded' }
    const twice = await answerOf(
      await exports.default.fetch(`${ISSUER}${END}`, {
        method: 'POST',
        redirect: 'manual',
        headers: form,
        body: `${hint}&${hint}`,
      }),
    )
    const { pathname, search } = new URL(twice.headers.get('Location') ?? '')
    expectPage(await tab.send('GET', pathname + search), REFUSED, 400)
    expect(await isSignedIn(tab)).toBe(true)
  })
})

describe('099 logout: the confirmation', () => {
  test.each<[string, Record<string, string>]>([
    ['cross-site', CROSS_SITE],
    ['from a sandboxed frame', { Origin: 'null', 'Sec-Fetch-Site': 'cross-site' }],
    ['from a neighbour of the site', { 'Sec-Fetch-Site': 'same-site' }],
    ['by a browser that says only Origin', { Origin: 'https://evil.example' }],
    ['inside a frame', { 'Sec-Fetch-Site': 'same-origin', 'Sec-Fetch-Dest': 'iframe' }],
    ['by a script', { 'Sec-Fetch-Site': 'same-origin', 'Sec-Fetch-Dest': 'empty' }],
  ])('099 logout: posted %s: 403, the session is intact', async (_, headers) => {
    const { tab } = await signedIn()
    const form = formIn((await leave(tab)).body, END)
    expectPage(await tab.send('POST', END, form, headers), REFUSED, 403)
    expect(await isSignedIn(tab)).toBe(true)
  })

  test('099 logout: as our own page posts it: it counts', async () => {
    const { tab } = await signedIn()
    const form = formIn((await leave(tab)).body, END)
    const headers = {
      Origin: 'null',
      'Sec-Fetch-Site': 'same-origin',
      'Sec-Fetch-Dest': 'document',
    }
    expectPage(await tab.send('POST', END, form, headers), 'logout-done', 200)
    expect(await isSignedIn(tab)).toBe(false)
  })

  test('099 logout: is bound to the browser that was asked', async () => {
    const { client, person, tab } = await signedIn()
    const other = new Tab()
    await signIn(client, person, other)
    const form = formIn((await leave(tab)).body, END)
    expectPage(await other.send('POST', END, form), REFUSED, 403)
    const nameless = new Tab(
      new Map([...tab.cookies].filter(([name]) => name !== '__Host-browser')),
    )
    expectPage(await nameless.send('POST', END, form), REFUSED, 403)
    expect(await isSignedIn(other)).toBe(true)
    expect(await isSignedIn(tab)).toBe(true)
  })

  test('099 logout: is good for ten minutes, and not when it was altered', async () => {
    const { tab } = await signedIn()
    const { confirmation = '' } = formIn((await leave(tab)).body, END)
    const last = confirmation.endsWith('A') ? 'B' : 'A'
    for (const text of ['x', '1.AAAA', confirmation.slice(0, -1) + last]) {
      expectPage(await tab.send('POST', END, { confirmation: text }), REFUSED, 403)
    }
    expect(await isSignedIn(tab)).toBe(true)
    later(600)
    expectPage(await tab.send('POST', END, { confirmation }), REFUSED, 403)
    expect(await isSignedIn(tab)).toBe(true)
  })

  test('099 logout: no other box of ours is one: the ticket of a login, the cookie of single sign-on', async () => {
    const { tab } = await signedIn()
    const { ticket = '' } = formIn((await tab.authorize()).body, '/login/address')
    const sso = [...tab.cookies].find(([name]) => name.startsWith('__Host-sso-'))?.[1] ?? ''
    for (const confirmation of [ticket, sso]) {
      expectPage(await tab.send('POST', END, { confirmation }), REFUSED, 403)
    }
    expect(await isSignedIn(tab)).toBe(true)
  })

  test('099 logout: what the form says beside it does not count', async () => {
    const { client, tab } = await signedIn()
    const page = await leave(tab, { client_id: client.clientId, post_logout_redirect_uri: OUT })
    const answer = await tab.send('POST', END, {
      ...formIn(page.body, END),
      post_logout_redirect_uri: 'https://evil.example/',
      state: 'another',
    })
    expect(answer.headers.get('Location')).toBe(OUT)
  })
})

/* ---- the pages ---- */

describe('333 logout: the pages', () => {
  test('333, 337, 341 logout: each with its policy, without script, links and third parties', async () => {
    const { client, tab } = await signedIn()
    const back = { client_id: client.clientId, post_logout_redirect_uri: OUT }
    const asked = await leave(tab, back)
    const pages: [Answer, string][] = [
      [await leave(tab), "'self'"],
      [asked, "'self' http://127.0.0.1:8790"],
      [await confirm(tab, await leave(tab)), "'self'"],
      [await leave(tab, { ...back, client_id: 'nobody' }), "'self'"],
      [await leave(tab, {}, { 'Sec-Fetch-Dest': 'iframe' }), "'self'"],
    ]
    const nonces = new Set<string>()
    for (const [page, formAction] of pages) {
      const { headers, body } = page
      const policy = headers.get('Content-Security-Policy') ?? ''
      const [, nonce = ''] = /style-src 'nonce-([\w-]{22})'/.exec(policy) ?? []
      nonces.add(nonce)
      expect(policy).toBe(
        `default-src 'none'; style-src 'nonce-${nonce}'; form-action ${formAction}; base-uri 'none'; frame-ancestors 'none'`,
      )
      expect(Object.fromEntries(headers)).toMatchObject({
        'content-type': 'text/html; charset=utf-8',
        'cache-control': 'no-store',
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
        'cross-origin-opener-policy': 'same-origin',
        'strict-transport-security': expect.stringContaining('max-age='),
        'x-request-id': expect.any(String),
      })
      expect(body).toContain('<html lang="en">')
      expect(body).not.toMatch(/<script|href=|src=|http-equiv|url\(/i)
      expect(body).not.toContain(OUT)
    }
    expect(nonces.size).toBe(pages.length)
    expect(pages.map(([page]) => pageId(page))).toEqual([
      ASKED,
      ASKED,
      'logout-done',
      REFUSED,
      REFUSED,
    ])
  })
})

/* ---- hints that are none ---- */

function withPayload(jws: string, changes: object): string {
  const [head, , tail] = jws.split('.')
  const payload = toBase64url(utf8(JSON.stringify({ ...claimsOf(jws), ...changes })))
  return `${head}.${payload}.${tail}`
}

function unsigned(jws: string, alg: string): string {
  const head = toBase64url(utf8(JSON.stringify({ ...decodeProtectedHeader(jws), alg })))
  return `${head}.${jws.split('.')[1]}.`
}

async function resigned(jws: string): Promise<string> {
  const { privateKey } = await generateKeyPair('ES256')
  const { alg = '', ...header } = decodeProtectedHeader(jws)
  return new CompactSign(utf8(JSON.stringify(claimsOf(jws))))
    .setProtectedHeader({ ...header, alg })
    .sign(privateKey)
}
