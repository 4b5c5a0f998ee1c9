/** What the authorization endpoint answers, whom a hint names, and how a request may come (5-security 4.2, 4.28). */
import { exports } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { expectAuthz, expectErrorPage, expectLoginPage, untouched } from './hosted.ts'
import {
  approve,
  authorizationParameters,
  type Client,
  claimsOf,
  formIn,
  landingOf,
  pageId,
  REDIRECT_URI,
  redeem,
  registerClient,
  Tab,
} from './relying-party.ts'
import { type Answer, answerOf, enrolled, ISSUER, send } from './world.ts'

type Change = Record<string, string | undefined>

let client: Client
let tab: Tab
beforeEach(async () => {
  client = await registerClient()
  tab = new Tab()
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

/** A request whose query is `text`, as it stands. */
function ask(text: string): Promise<Answer> {
  return tab.send('GET', `/oidc/authorize?${text}`)
}

/** The same as a form, which another site may post. */
async function postText(text: string, type = 'application/x-www-form-urlencoded'): Promise<Answer> {
  return answerOf(
    await exports.default.fetch(`${ISSUER}/oidc/authorize`, {
      method: 'POST',
      redirect: 'manual',
      headers: { 'Content-Type': type },
      body: text,
    }),
  )
}

/** The good query with something appended. */
async function queryWith(more: string, changes: Change = {}): Promise<string> {
  return `${new URLSearchParams(await authorizationParameters(changes))}&${more}`
}

describe('what travels back', () => {
  const WILD = `${'&=%+<>"\'#?;\r\n\t é\u202e𐐀%0d%0a'.repeat(40)}the-end`

  test('036 authorize: a state of 1 KiB comes back the same, encoded once, from error and success', async () => {
    expect(new TextEncoder().encode(WILD).length).toBeGreaterThan(1024)
    const log = vi.spyOn(console, 'log')
    const refused = await tab.authorize({ state: WILD, prompt: 'none' })
    expectAuthz(refused, 'login_required', { state: WILD })
    const person = await enrolled({ push: false })
    const { parameters } = await tab.login(person, { state: WILD })
    expect(parameters).toEqual({ code: expect.any(String), state: WILD, iss: ISSUER })
    const location = refused.headers.get('Location') ?? ''
    expect(location).toMatch(/^[\x21-\x7e]+$/)
    expect(location.split('state=')).toHaveLength(2)
    const logged = JSON.stringify(log.mock.calls)
    expect(logged).not.toContain('the-end')
    expect(logged).not.toContain(encodeURIComponent(WILD).slice(0, 40))
  })

  test('036 authorize: in a form it is escaped, and comes back the same', async () => {
    const page = await tab.authorize({
      state: WILD,
      prompt: 'none',
      response_mode: 'form_post',
    })
    expect([page.status, pageId(page)]).toEqual([200, 'login-return'])
    expect(page.headers.has('Location')).toBe(false)
    expect(formIn(page.body, REDIRECT_URI)).toMatchObject({
      error: 'login_required',
      iss: ISSUER,
      // A browser makes every line break of a form value CRLF when it sends it: no HTML can prevent that.
      state: WILD,
    })
    expect(page.body).not.toContain('<>"')
  })

  test('037 authorize: a state of 8 KiB and a nonce of 4 KiB are refused, not cut', async () => {
    const state = 's'.repeat(8192)
    expectAuthz(await untouched(() => tab.authorize({ state })), 'invalid_request', {
      state: null,
    })
    const nonce = 'n'.repeat(4096)
    const answer = await untouched(() => tab.authorize({ nonce }))
    expectAuthz(answer, 'invalid_request')
    expect(answer.headers.get('Location')).not.toContain('nnnn')
  })

  test('037 authorize: a state of 4 KiB and a nonce of 1 KiB come back whole', async () => {
    const person = await enrolled({ push: false })
    const [state, nonce] = ['s'.repeat(4096), 'n'.repeat(1024)]
    const { parameters } = await tab.login(person, { state, nonce })
    expect(parameters.state).toBe(state)
    const { body } = await redeem(client, parameters.code)
    expect(claimsOf(body.id_token).nonce).toBe(nonce)
  })

  test('336 authorize: a state with a header in it makes no header', async () => {
    const query = await queryWith('state=x%0d%0aSet-Cookie:%20a=b%0d%0a%0d%0a<html>&prompt=none', {
      state: undefined,
    })
    const answer = await untouched(() => ask(query))
    expectAuthz(answer, 'login_required', { state: 'x\r\nSet-Cookie: a=b\r\n\r\n<html>' })
    expect(answer.headers.get('Location')).toContain('state=x%0D%0ASet-Cookie%3A%20a%3Db%0D%0A')
    expect([...answer.headers.keys()].sort()).toEqual([
      'cache-control',
      'content-security-policy',
      'cross-origin-opener-policy',
      'location',
      'referrer-policy',
      'strict-transport-security',
      'x-content-type-options',
      'x-request-id',
    ])
    expect(answer.body).toBe('')
  })

  test('039 authorize: iss, as discovery names it, in every answer', async () => {
    const { body: metadata } = await send('GET', '/.well-known/openid-configuration')
    expect(metadata.authorization_response_iss_parameter_supported).toBe(true)
    const person = await enrolled({ push: false })
    const success = await tab.login(person)
    const error = landingOf(await tab.authorize({ scope: 'profile' }))
    const posted = await tab.authorize({ scope: 'profile', response_mode: 'form_post' })
    const cancelled = await tab.press(await tab.authorize(), '/login/cancel')
    for (const { iss } of [
      success.parameters,
      error.parameters,
      formIn(posted.body, REDIRECT_URI),
      landingOf(cancelled).parameters,
    ]) {
      expect(iss).toBe(metadata.issuer)
    }
  })

  test('a registered query stays, and the answer joins it', async () => {
    const redirect_uri = `${REDIRECT_URI}?tenant=a%2Fb`
    await registerClient({ redirect_uris: [redirect_uri] })
    const answer = await tab.authorize({ redirect_uri, prompt: 'none' })
    expect(answer.headers.get('Location')).toMatch(
      /^http:\/\/127\.0\.0\.1:8790\/cb\?tenant=a%2Fb&error=login_required&/,
    )
  })
})

describe('the id_token_hint', () => {
  test('046 authorize: the hinted person may log in, another may not', async () => {
    const [anna, bruno] = [await enrolled({ push: false }), await enrolled({ push: false })]
    const { parameters } = await new Tab().login(anna)
    const id_token_hint = (await redeem(client, parameters.code)).body.id_token

    const other = await new Tab().login(bruno, { id_token_hint })
    expect(other.parameters).toMatchObject({ error: 'login_required', iss: ISSUER })
    expect(other.parameters).not.toHaveProperty('code')
    const own = await new Tab().login(anna, { id_token_hint })
    expect((await redeem(client, own.parameters.code)).status).toBe(200)
  })

  test('046 authorize: one that is expired but genuine counts', async () => {
    await registerClient({ id_token_ttl: 60 })
    // The isolate looks at its signing keys every five minutes; those it remembers may be another test's.
    const start = Date.now() + 301_000
    vi.useFakeTimers({ toFake: ['Date'], now: start })
    const [anna, bruno] = [await enrolled({ push: false }), await enrolled({ push: false })]
    const { parameters } = await new Tab().login(anna)
    const id_token_hint = (await redeem(client, parameters.code)).body.id_token
    vi.setSystemTime(start + 120_000)
    expect(claimsOf(id_token_hint).exp).toBeLessThan(Date.now() / 1000)
    expect((await new Tab().login(anna, { id_token_hint })).parameters.code).toBeDefined()
    const other = await new Tab().login(bruno, { id_token_hint })
    expect(other.parameters.error).toBe('login_required')
  })

  test('046 authorize: a forged one, another client’s, or another kind of token', async () => {
    const second = await registerClient({}, {}, 'second')
    const person = await enrolled({ push: false })
    const { parameters } = await tab.login(person)
    const { body } = await redeem(client, parameters.code)
    const landing = await tab.login(person, { client_id: 'second' })
    const foreign = (await redeem(second, landing.parameters.code)).body.id_token
    const [head, payload, signature] = body.id_token.split('.')
    const forged = btoa(JSON.stringify({ ...claimsOf(body.id_token), sub: 'somebody' }))
    for (const id_token_hint of [
      `${head}.${forged.replaceAll('=', '').replaceAll('+', '-').replaceAll('/', '_')}.${signature}`,
      `${head}.${payload}.${signature.slice(0, -2)}AA`,
      `eyJhbGciOiJub25lIn0.${payload}.AA`,
      `${head}.${payload}.`,
      foreign,
      body.access_token,
      'nonsense',
    ]) {
      expectAuthz(await untouched(() => tab.authorize({ id_token_hint })), 'invalid_request')
    }
  })

  test('046 authorize: nobody is logged in by a hint alone', async () => {
    const person = await enrolled({ push: false })
    const { parameters } = await new Tab().login(person)
    const id_token_hint = (await redeem(client, parameters.code)).body.id_token
    const answer = await untouched(() => tab.authorize({ id_token_hint, prompt: 'none' }))
    expectAuthz(answer, 'login_required')
    expectLoginPage(await untouched(() => tab.authorize({ id_token_hint })))
  })
})

describe('how the request comes', () => {
  test('040 authorize: a posted request goes on as a GET of ours, parameters and all', async () => {
    const form = await authorizationParameters({ state: 'a b&c=d\r\né' })
    const answer = await untouched(() => tab.send('POST', '/oidc/authorize', form))
    expect(answer.status).toBe(303)
    const location = new URL(answer.headers.get('Location') ?? '')
    expect(location.origin + location.pathname).toBe(`${ISSUER}/oidc/authorize`)
    expect(Object.fromEntries(location.searchParams)).toEqual(form)
    expectLoginPage(await tab.send('GET', `${location.pathname}${location.search}`))
  })

  test('038 authorize: what was posted twice is still twice', async () => {
    const post = async (more: string) => {
      const { headers } = await postText(await queryWith(more))
      const { pathname, search } = new URL(headers.get('Location') ?? '')
      return tab.send('GET', `${pathname}${search}`)
    }
    expectErrorPage(await post('client_id=bar-le-central'), 'error-request')
    expectAuthz(await post('nonce=x'), 'invalid_request')
  })

  test('002 authorize: a POST that is no form, or too long', async () => {
    const good = await queryWith('')
    for (const type of ['text/plain', 'application/json', 'multipart/form-data; boundary=x']) {
      expectErrorPage(await untouched(() => postText(good, type)), 'error-request')
    }
    expectErrorPage(
      await untouched(() => postText(`${good}&x=${'x'.repeat(17_000)}`)),
      'error-request',
    )
  })

  test('001 authorize: other methods', async () => {
    for (const method of ['PUT', 'DELETE', 'PATCH']) {
      const answer = await untouched(() => send(method, '/oidc/authorize'))
      expect([answer.status, answer.headers.get('Allow')]).toEqual([405, 'GET, HEAD, POST'])
    }
  })

  test('015 authorize: addresses are built from the configuration, whatever the request says', async () => {
    const person = await enrolled({ push: false })
    const evil = {
      'X-Forwarded-Host': 'evil.example',
      'X-Forwarded-Proto': 'http',
      Forwarded: 'host=evil.example;proto=http',
    }
    const far = async (method: string, path: string, form?: Record<string, string>) => {
      const response = await exports.default.fetch(`http://evil.example${path}`, {
        method,
        redirect: 'manual',
        headers: {
          ...evil,
          'CF-Connecting-IP': tab.address,
          Cookie: tab.cookieHeader,
          ...(form && { 'Content-Type': 'application/x-www-form-urlencoded' }),
        },
        ...(form && { body: new URLSearchParams(form).toString() }),
      })
      for (const line of response.headers.getSetCookie()) {
        expect(line).toMatch(/^__Host-/)
        expect(line).not.toMatch(/domain/i)
        const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
        tab.cookies.set(name, value)
      }
      return answerOf(response)
    }
    const query = new URLSearchParams(await authorizationParameters())
    const posted = await far('POST', '/oidc/authorize', Object.fromEntries(query))
    expect(posted.headers.get('Location')).toMatch(/^http:\/\/localhost:8787\/oidc\/authorize\?/)
    const start = await far('GET', `/oidc/authorize?${query}`)
    const waiting = await far('POST', '/login/address', {
      ...formIn(start.body, '/login/address'),
      tokenId: person.tokenId,
    })
    expect(waiting.headers.get('Content-Security-Policy')).toContain(
      "connect-src 'self' ws://localhost:8787;",
    )
    await approve(person, waiting)
    const done = await far('POST', '/login/continue', formIn(waiting.body, '/login/continue'))
    expect(landingOf(done)).toMatchObject({
      address: REDIRECT_URI,
      parameters: { iss: ISSUER, code: expect.any(String) },
    })
    for (const { body } of [start, waiting]) expect(body).not.toContain('evil')
  })

  test('338 authorize: no page of another origin may read an answer', async () => {
    for (const origin of ['null', 'http://127.0.0.1:8790', 'https://evil.example']) {
      for (const answer of [
        await tab.send('GET', `/oidc/authorize?${await queryWith('')}`, null, { Origin: origin }),
        await send('OPTIONS', '/oidc/authorize', undefined, {
          Origin: origin,
          'Access-Control-Request-Method': 'GET',
        }),
      ]) {
        const cors = [...answer.headers.keys()].filter((name) => name.startsWith('access-control'))
        expect(cors).toEqual([])
      }
    }
  })

  test.each([
    ['framed', { 'Sec-Fetch-Dest': 'iframe', 'Sec-Fetch-Mode': 'navigate' }],
    ['fetched', { 'Sec-Fetch-Dest': 'empty', 'Sec-Fetch-Mode': 'cors' }],
    ['loaded as an image', { 'Sec-Fetch-Dest': 'image' }],
    ['loaded ahead', { 'Sec-Fetch-Dest': 'document', 'Sec-Purpose': 'prefetch;prerender' }],
    ['loaded ahead by an old browser', { Purpose: 'prefetch' }],
  ])('339 authorize: %s, the first page is not shown', async (_name, headers) => {
    const page = await untouched(async () =>
      tab.send('GET', `/oidc/authorize?${await queryWith('')}`, null, headers),
    )
    expect([page.status, pageId(page)]).toEqual([403, 'login-browser'])
    expect(page.body).not.toContain('ticket')
    expect(tab.cookies.size).toBe(0)
  })

  test('the first page costs nothing: only a ticket and a cookie go out', async () => {
    const page = await untouched(() => tab.authorize())
    expectLoginPage(page)
    expect([...tab.cookies.keys()]).toEqual(['__Host-browser'])
    const kept = tab.cookies.get('__Host-browser')
    await untouched(() => tab.authorize())
    expect(tab.cookies.get('__Host-browser')).toBe(kept)
  })
})
