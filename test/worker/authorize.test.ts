/**
 * The authorization endpoint over HTTP (5-security 4.2, 4.3). Whole tables of inputs are unit tests of the reading; here
 * each case goes through the Worker, and what must not happen besides is looked up in storage.
 */
import { exports } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { expectAuthz, expectErrorPage, expectLoginPage, untouched } from './hosted.ts'
import {
  approve,
  authorizationParameters,
  type Client,
  challengeOf,
  claimsOf,
  landingOf,
  REDIRECT_URI,
  redeem,
  registerClient,
  Tab,
  userinfo,
  VERIFIER,
  waitingIn,
} from './relying-party.ts'
import { type Answer, answerOf, enrolled, ISSUER, operator } from './world.ts'

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

describe('before the address is proven', () => {
  test.each([
    ['client_id', '%ff'],
    ['client_id', 'bar%C0%AF'],
    ['client_id', '%ED%A0%80'],
    ['client_id', 'bar-le-central%00'],
    ['state', '%ff'],
    ['state', 'a%00b'],
    ['scope', 'openid%0Aprofile'],
    ['login_hint', '%1B%5B2J'],
    ['%ff', 'x'],
    ['unknown', '%E2%28%A1'],
    ['state', '%'],
  ])('013 authorize: %s=%s is no text', async (name, value) => {
    const good = await queryWith(`${name}=${value}`, { [name]: undefined })
    expectErrorPage(await untouched(() => ask(good)), 'error-request')
    expectErrorPage(await untouched(() => postText(good)), 'error-request')
  })

  test.each([
    ['missing', undefined],
    ['empty', ''],
    ['unknown', 'nobody'],
    ['in another case', 'Bar-le-central'],
    ['with a space behind', 'bar-le-central '],
    ['with a slash behind', 'bar-le-central/'],
    ['a pattern', 'bar-%'],
    ['of the prototype', '__proto__'],
  ])('021 authorize: a client_id that is %s', async (_name, client_id) => {
    expectErrorPage(await untouched(() => tab.authorize({ client_id })), 'error-client')
  })

  test('021 authorize: a client that is disabled, at once; one that is none of this door', async () => {
    expectLoginPage(await tab.authorize())
    await registerClient({}, { enabled: false })
    expectErrorPage(await untouched(() => tab.authorize()), 'error-client')
    await operator('PUT', '/operator/services/direct-bar', {
      name: 'Direct',
      url: 'http://127.0.0.1:8790/',
      origins: [],
      allowedScopes: [],
      defaultScopes: [],
    })
    const direct = () => tab.authorize({ client_id: 'direct-bar' })
    expectErrorPage(await untouched(direct), 'error-client')
  })

  test('021 038 authorize: client_id or redirect_uri twice, alike or not', async () => {
    for (const more of [
      'client_id=bar-le-central',
      'client_id=other',
      `redirect_uri=${encodeURIComponent(REDIRECT_URI)}`,
      'redirect_uri=https://evil.example/cb',
    ]) {
      const query = await queryWith(more)
      expectErrorPage(await untouched(() => ask(query)), 'error-request')
    }
  })

  test('022 authorize: no redirect_uri, whether one or several are registered', async () => {
    const ask = () => tab.authorize({ redirect_uri: undefined })
    expectErrorPage(await untouched(ask), 'error-redirect-uri')
    await registerClient({ redirect_uris: [REDIRECT_URI, `${REDIRECT_URI}/two`] })
    expectErrorPage(await untouched(ask), 'error-redirect-uri')
  })

  test.each([
    'HTTP://127.0.0.1:8790/cb',
    'http://127.0.0.1:8790/CB',
    'http://127.0.0.1:8790/cb/',
    'http://127.0.0.1:443/cb',
    'http://127.0.0.1/cb',
    'http://127.0.0.1:8790/cb?x=1',
    'http://127.0.0.1:8790/cb?',
    'http://127.0.0.1:8790/cb#f',
    'http://127.0.0.1:8790/cb#',
    'http://sub.127.0.0.1:8790/cb',
    'http://0.0.1:8790/cb',
    'http://127.0.0.1:8790/cbevil',
    'http://127.0.0.1:8790/%63b',
    'http://127.0.0.1:8790/x/../cb',
    'http://127.0.0.1:8790\\@evil.example/cb',
    'http://127.0.0.1:8790@evil.example/cb',
    'http://localhost:8790/cb',
    'https://127.0.0.1:8790/cb',
    '//127.0.0.1:8790/cb',
    'javascript:alert(1)//http://127.0.0.1:8790/cb',
    ' http://127.0.0.1:8790/cb',
  ])('023 authorize: %s is not what is registered', async (redirect_uri) => {
    expectErrorPage(await untouched(() => tab.authorize({ redirect_uri })), 'error-redirect-uri')
  })

  test('025 authorize: a public native client at 127.0.0.1 has any port, and nothing else', async () => {
    const registered = 'http://127.0.0.1/cb'
    const native = { application_type: 'native', token_endpoint_auth_method: 'none' }
    await registerClient({ redirect_uris: [registered], ...native }, {}, 'native')
    await registerClient({ redirect_uris: [registered] }, {}, 'web')
    const go = (client_id: string, redirect_uri: string) =>
      tab.authorize({ client_id, redirect_uri })
    for (const port of ['', ':51004', ':1']) {
      expectLoginPage(await go('native', `http://127.0.0.1${port}/cb`))
    }
    for (const [client, address] of [
      ['native', 'http://localhost:51004/cb'],
      ['native', 'http://127.0.0.1:51004/other'],
      ['native', 'http://127.0.0.1:0/cb'],
      ['native', 'http://[::1]:51004/cb'],
      ['web', 'http://127.0.0.1:51004/cb'],
    ] as const) {
      expectErrorPage(await untouched(() => go(client, address)), 'error-redirect-uri')
    }
    const tooWide = await go('native', 'http://127.0.0.1:51004/cb')
    expect(tooWide.headers.get('Content-Security-Policy')).toContain(
      "form-action 'self' http://127.0.0.1:51004;",
    )
  })

  test('034 authorize: the address inside a request object proves nothing', async () => {
    const inside = btoa(JSON.stringify({ redirect_uri: REDIRECT_URI, client_id: 'bar-le-central' }))
    const request = `eyJhbGciOiJub25lIn0.${inside.replaceAll('=', '')}.`
    const redirect_uri = 'http://127.0.0.1:8790/unregistered'
    expectErrorPage(
      await untouched(() => tab.authorize({ request, redirect_uri })),
      'error-redirect-uri',
    )
    expectErrorPage(
      await untouched(() => tab.authorize({ request, redirect_uri: undefined })),
      'error-redirect-uri',
    )
  })

  test('337 authorize: an error page shows nothing of the request and leads nowhere', async () => {
    const marker = '"><script>marker</script>'
    for (const changes of [
      { client_id: marker },
      { redirect_uri: `https://evil.example/${marker}` },
      { redirect_uri: undefined, state: marker, login_hint: marker, scope: marker },
    ]) {
      const page = await untouched(() => tab.authorize(changes))
      expect(page.status).toBe(400)
      expect(page.body).not.toMatch(/marker|evil|https?:|href|action=/)
    }
  })

  test('019 authorize: an address of 20 KiB is refused, and the next one is answered', async () => {
    const long = await ask(await queryWith(`extra=${'x'.repeat(20 * 1024)}`))
    expect(long.status).toBe(400)
    expectLoginPage(await tab.authorize())
  })
})

describe('once the address is proven', () => {
  test.each([
    [undefined, 'invalid_request'],
    ['', 'invalid_request'],
    ['token', 'unsupported_response_type'],
    ['id_token', 'unsupported_response_type'],
    ['code id_token', 'unsupported_response_type'],
    ['none', 'unsupported_response_type'],
    ['CODE', 'unsupported_response_type'],
    ['code  ', 'unsupported_response_type'],
  ])('026 authorize: response_type %j', async (response_type, error) => {
    expectAuthz(await untouched(() => tab.authorize({ response_type })), error)
  })

  test.each(['fragment', 'web_message', 'nonsense', 'query.jwt'])(
    '027 authorize: response_mode %s is answered in the query',
    async (response_mode) => {
      const answer = await untouched(() => tab.authorize({ response_mode }))
      expectAuthz(answer, 'invalid_request')
    },
  )

  test.each([
    ['no openid', 'identity:name'],
    ['no scope', undefined],
    ['an unknown identity scope', 'openid identity:shoe_size'],
    ['beyond the ceiling', 'openid identity:document'],
    ['a restricted one', 'openid identity:photo'],
  ])('028 authorize: %s', async (_name, scope) => {
    expectAuthz(await untouched(() => tab.authorize({ scope })), 'invalid_scope')
  })

  test('028 030 authorize: order, duplicates, blanks and strangers among the scopes', async () => {
    const person = await enrolled({ push: false })
    const spellings = [
      'openid identity:name identity:age_over_18',
      'identity:age_over_18  identity:name   openid identity:name address groups',
    ]
    for (const scope of spellings) {
      const { parameters } = await new Tab().login(person, { scope })
      const { body } = await redeem(client, parameters.code)
      expect(body.scope).toBe('openid identity:name identity:age_over_18')
    }
  })

  test('031 authorize: prompt=none without a session, and prompts that contradict', async () => {
    for (const [prompt, error] of [
      ['none', 'login_required'],
      ['none login', 'invalid_request'],
      ['banana', 'invalid_request'],
    ] as const) {
      expectAuthz(await untouched(() => tab.authorize({ prompt })), error)
    }
    expect(tab.cookies.size).toBe(0)
  })

  test('032 authorize: max_age that is no number', async () => {
    for (const max_age of ['-1', 'abc', '1e99', '1.5', ' 1']) {
      expectAuthz(await untouched(() => tab.authorize({ max_age })), 'invalid_request')
    }
  })

  test('032 authorize: max_age=0 asks the phone whatever the cookie knows, and tells the time', async () => {
    const person = await enrolled({ push: false })
    await tab.login(person)
    const page = await untouched(() => tab.authorize({ max_age: '0' }))
    expectLoginPage(page)
    const waiting = await tab.type(page, person.tokenId)
    const before = Math.floor(Date.now() / 1000)
    await approve(person, waiting)
    const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
    const { body } = await redeem(client, parameters.code)
    expect(claimsOf(body.id_token).auth_time).toBeGreaterThanOrEqual(before)
  })

  test('033 authorize: an essential acr that nobody reaches is told at once', async () => {
    const acr = { essential: true, values: ['urn:mace:incommon:iap:gold'] }
    const claims = JSON.stringify({ id_token: { acr } })
    expectAuthz(
      await untouched(() => tab.authorize({ claims })),
      'unmet_authentication_requirements',
    )
  })

  test.each([
    ['request', 'eyJhbGciOiJub25lIn0.e30.', 'request_not_supported'],
    ['request_uri', 'https://rp.example/request.jwt', 'request_uri_not_supported'],
    ['request_uri', 'urn:ietf:params:oauth:request_uri', 'request_uri_not_supported'],
    ['registration', '{}', 'registration_not_supported'],
  ])('034 authorize: %s=%s is neither ignored nor fetched', async (name, value, error) => {
    expectAuthz(await untouched(() => tab.authorize({ [name]: value })), error)
  })

  test.each(['none', '', 'AAAA', `${'A'.repeat(9000)}`])(
    '034 349 authorize: a reference that we never gave to a pushed request is a page (%#)',
    async (box) => {
      const request_uri = `urn:ietf:params:oauth:request_uri:${box}`
      const answer = await untouched(() => tab.authorize({ request_uri }))
      expectErrorPage(answer, 'error-request-uri')
    },
  )

  test('035 authorize: claims that are no JSON', async () => {
    for (const claims of ['{', '[]', 'null', '{"userinfo":1}', '{"userinfo":{"name":1}}']) {
      expectAuthz(await untouched(() => tab.authorize({ claims })), 'invalid_request')
    }
  })

  test('035 authorize: claims outside the ceiling are neither asked of the person nor given', async () => {
    const person = await enrolled({ push: false })
    const claims = JSON.stringify({
      userinfo: { picture: { essential: true }, document_number: null, nationality: null },
    })
    const waiting = await tab.begin(person.tokenId, { scope: 'openid', claims })
    const { sessionId } = waitingIn(waiting)
    const { body: claimed } = await person.claim(sessionId)
    expect(claimed.scopes).toEqual(['identity:nationality'])
    expect((await person.approve(sessionId, claimed)).status).toBe(200)
    const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
    const { body: tokens } = await redeem(client, parameters.code)
    const { body: info } = await userinfo(tokens.access_token)
    expect(info).toEqual({ sub: person.tokenId, nationality: 'FRA' })
    for (const name of ['picture', 'document_number']) {
      expect(claimsOf(tokens.id_token)).not.toHaveProperty(name)
    }
  })

  test.each(['state', 'scope', 'nonce', 'prompt', 'response_type', 'code_challenge', 'claims'])(
    '038 authorize: %s twice',
    async (name) => {
      const query = await queryWith(`${name}=x&${name}=x`)
      const state = name === 'state' ? null : 'random-csrf-token'
      expectAuthz(await untouched(() => ask(query)), 'invalid_request', { state })
    },
  )

  test('012 authorize: unknown parameters, once or twice, change nothing', async () => {
    const query = await queryWith('extra=foobar&extra=x&resource=y&__proto__=z')
    const page = await untouched(() => ask(query))
    expectLoginPage(page)
    expect(page.body).not.toContain('foobar')
  })

  test('049 authorize: no code_challenge, also from a client with a secret', async () => {
    for (const code_challenge of [undefined, '']) {
      expectAuthz(await untouched(() => tab.authorize({ code_challenge })), 'invalid_request')
    }
    const neither = { code_challenge: undefined, code_challenge_method: undefined }
    expectAuthz(await untouched(() => tab.authorize(neither)), 'invalid_request')
    await registerClient({ require_pkce: false })
    expectLoginPage(await tab.authorize(neither))
  })

  test.each(['plain', undefined, 's256'])(
    '050 authorize: code_challenge_method %s',
    async (code_challenge_method) => {
      expectAuthz(
        await untouched(() => tab.authorize({ code_challenge_method })),
        'invalid_request',
      )
    },
  )

  test('051 authorize: a challenge of another length or alphabet', async () => {
    const good = await challengeOf(VERIFIER)
    for (const code_challenge of [
      good.slice(0, 42),
      `${good}A`,
      `${good.slice(0, 42)}=`,
      `+${good.slice(1)}`,
      `/${good.slice(1)}`,
    ]) {
      expectAuthz(await untouched(() => tab.authorize({ code_challenge })), 'invalid_request')
    }
  })
})
