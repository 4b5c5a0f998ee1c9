import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Parameters, parametersOf } from '../../../src/http/parameters.ts'
import { AUTHORIZATION_ERRORS } from '../../../src/oidc/authorization-error.ts'
import {
  type AuthorizationRequest,
  clientIdOf,
  MULTILINE_PARAMETERS,
  type RequestFault,
  readAuthorizationRequest,
} from '../../../src/oidc/authorization-request.ts'
import { matchesRedirectUri, type OidcClient } from '../../../src/services/oidc-client.ts'
import { ceilingOf, type Service } from '../../../src/services/service.ts'

const CALLBACK = 'https://bar.example/cb'
// RFC 7636 appendix B.
const CHALLENGE = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
const [LOW, SUBSTANTIAL, HIGH] = ['low', 'substantial', 'high'].map(
  (level) => `urn:idtokenseal:acr:face-oob-${level}`,
)

const client: OidcClient = {
  redirect_uris: [CALLBACK, 'https://bar.example/cb?tenant=a%2Fb'],
  application_type: 'web',
  token_endpoint_auth_method: 'client_secret_basic',
  id_token_signed_response_alg: 'ES256',
  id_token_ttl: 3600,
  require_pkce: true,
  claims_in_id_token: true,
  offline_access: false,
  post_logout_redirect_uris: [],
  min_trust_level: 1,
}
const bar: Service = {
  serviceId: 'bar-le-central',
  enabled: true,
  secretHashes: [],
  name: 'Bar le Central',
  url: 'https://bar.example',
  origins: [],
  allowedScopes: [
    'identity:basic',
    'identity:age_over_18',
    'identity:photo',
    'identity:given_name',
  ],
  defaultScopes: [],
  requiredScopes: [],
  // The photo is allowed but was never granted: it is above the ceiling.
  restrictedScopes: [],
  subjectType: 'public',
  tokenLifetimeSeconds: 3600,
  oidc: client,
}
const registered = (change: Partial<OidcClient>): Service => ({
  ...bar,
  oidc: { ...client, ...change },
})

const GOOD = {
  response_type: 'code',
  client_id: 'bar-le-central',
  redirect_uri: CALLBACK,
  scope: 'openid identity:name identity:age_over_18',
  state: 'random-csrf-token',
  nonce: 'random-replay-protection',
  code_challenge: CHALLENGE,
  code_challenge_method: 'S256',
}

type Change = Readonly<Record<string, string | undefined>>

/** The good request with some parameters changed, or (`undefined`) left out. */
function parameters(change: Change = {}, repeated: readonly string[] = []): Parameters {
  const values = new Map<string, string>()
  for (const [name, value] of Object.entries({ ...GOOD, ...change })) {
    if (value !== undefined) values.set(name, value)
  }
  return { values, repeated: new Set(repeated) }
}

function read(change: Change = {}, service: Service | undefined = bar) {
  return readAuthorizationRequest(parameters(change), service)
}

function asked(change: Change = {}, service: Service = bar): AuthorizationRequest {
  const answer = read(change, service)
  if (!answer.ok) throw new Error(JSON.stringify(answer.reason))
  return answer.value
}

const page = (name: string) => ({ ok: false, reason: { kind: 'page', page: name } })
const authz = (error: string, more: Partial<Extract<RequestFault, { kind: 'redirect' }>> = {}) => ({
  ok: false,
  reason: {
    kind: 'redirect',
    parameter: expect.toSatisfy((name: unknown) => name === null || typeof name === 'string'),
    error,
    redirectUri: CALLBACK,
    responseMode: 'query',
    state: GOOD.state,
    ...more,
  },
})

it('the request of the source document is read whole', () => {
  expect(asked()).toEqual({
    clientId: 'bar-le-central',
    redirectUri: CALLBACK,
    responseMode: 'query',
    state: 'random-csrf-token',
    nonce: 'random-replay-protection',
    requestedScopes: ['openid', 'identity:name', 'identity:age_over_18'],
    scopes: ['identity:age_over_18', 'identity:name'],
    offlineAccess: false,
    email: false,
    prompts: [],
    maxAge: null,
    codeChallenge: CHALLENGE,
    dpopJkt: null,
    resource: null,
    minTrustLevel: 1,
    idTokenClaims: [],
    expectedSubject: null,
    idTokenHint: null,
    loginHint: null,
  })
})

it('state and nonce may be missing', () => {
  expect(asked({ state: undefined, nonce: undefined })).toEqual({
    ...asked(),
    state: null,
    nonce: null,
  })
  expect(read({ state: undefined, scope: undefined })).toEqual(
    authz('invalid_scope', { state: null }),
  )
})

describe('a client that must push its requests', () => {
  const pushing = registered({ require_pushed_authorization_requests: true })

  it('349 gets a page for a request that a browser brings, before anything else is looked at', () => {
    expect(read({}, pushing)).toEqual(page('error-request'))
    expect(read({ redirect_uri: 'https://evil.example/' }, pushing)).toEqual(page('error-request'))
  })

  it('349 is held to the same list when it pushes', () => {
    const pushed = (change: Change) =>
      readAuthorizationRequest(parameters(change), pushing, 'pushed')
    expect(pushed({})).toEqual({ ok: true, value: asked() })
    expect(pushed({ prompt: 'nonsense' })).toEqual(authz('invalid_request'))
    expect(pushed({ redirect_uri: undefined })).toEqual(page('error-redirect-uri'))
    expect(pushed({ request_uri: 'urn:x' })).toEqual(authz('request_uri_not_supported'))
  })
})

describe('dpop_jkt', () => {
  it('081 is a thumbprint: base64url of 32 bytes', () => {
    expect(asked({ dpop_jkt: CHALLENGE }).dpopJkt).toBe(CHALLENGE)
    for (const jkt of [CHALLENGE.slice(1), `${CHALLENGE}A`, `${CHALLENGE}=`, 'x']) {
      expect(read({ dpop_jkt: jkt })).toEqual(authz('invalid_request', { parameter: 'dpop_jkt' }))
    }
  })
})

describe('resource', () => {
  const API = 'https://api.example/v1'
  const reaching = registered({ resources: [API] })

  it('is a registered one, to the byte (RFC 8707 section 2)', () => {
    expect(asked({ resource: API }, reaching).resource).toBe(API)
    expect(asked({}, reaching).resource).toBe(null)
    for (const resource of [`${API}/`, 'https://other.example/', 'not a uri']) {
      const refused = authz('invalid_target', { parameter: 'resource' })
      expect(read({ resource }, reaching)).toEqual(refused)
    }
  })

  it('comes once: a token is for one resource', () => {
    const twice = readAuthorizationRequest(parameters({ resource: API }, ['resource']), reaching)
    expect(twice).toEqual(authz('invalid_target', { parameter: 'resource' }))
  })

  it('has no meaning for a client without resources, to whom products send it unasked', () => {
    expect(asked({ resource: API }).resource).toBe(null)
    const twice = readAuthorizationRequest(parameters({ resource: API }, ['resource']), bar)
    expect(twice.ok).toBe(true)
  })
})

describe('the client', () => {
  it.each([
    [undefined],
    ['Bar-le-central'],
    ['bar-le-central '],
    ['bar\0'],
    ['__proto__'],
    ['a'.repeat(65)],
  ])('021 authorize: client_id %j', (client_id) => {
    // A store that ignores case or blanks would still find the service: the reading does not rest on it.
    expect(read({ client_id })).toEqual(page('error-client'))
    expect(readAuthorizationRequest(parameters({ client_id }), undefined)).toEqual(
      page('error-client'),
    )
  })

  it('021 authorize: client_id twice, even with equal values', () => {
    expect(readAuthorizationRequest(parameters({}, ['client_id']), bar)).toEqual(
      page('error-request'),
    )
    expect(clientIdOf(parameters({}, ['client_id']))).toBeUndefined()
  })

  it('021 authorize: unknown, disabled, or no client of this door', () => {
    const { oidc: _, ...direct } = bar
    expect(readAuthorizationRequest(parameters(), undefined)).toEqual(page('error-client'))
    expect(read({}, { ...bar, enabled: false })).toEqual(page('error-client'))
    expect(read({}, direct)).toEqual(page('error-client'))
  })

  it('its id is named only when it could be one', () => {
    expect(clientIdOf(parameters())).toBe('bar-le-central')
    for (const client_id of [undefined, 'Bar', 'bar ', '-bar', 'bär', '../bar', 'bar\n']) {
      expect(clientIdOf(parameters({ client_id }))).toBeUndefined()
    }
  })
})

describe('the redirect URI', () => {
  it('022 authorize: missing, one or several registered', () => {
    const one = registered({ redirect_uris: [CALLBACK] })
    expect(read({ redirect_uri: undefined })).toEqual(page('error-redirect-uri'))
    expect(read({ redirect_uri: undefined }, one)).toEqual(page('error-redirect-uri'))
  })

  it.each([
    ['HTTPS://bar.example/cb'],
    ['https://Bar.example/cb'],
    ['https://bar.example/CB'],
    ['https://bar.example/cb/'],
    ['https://bar.example:443/cb'],
    ['https://bar.example:8443/cb'],
    ['https://bar.example/cb?x=1'],
    ['https://bar.example/cb?'],
    ['https://bar.example/cb?tenant=a/b'],
    ['https://bar.example/cb#f'],
    ['https://www.bar.example/cb'],
    ['https://example/cb'],
    ['https://bar.example/cbevil'],
    ['https://bar.example/cb/../cb'],
    ['https://bar.example@evil.example/cb'],
    ['https://bar.example\\@evil.example/cb'],
    ['http://bar.example/cb'],
    [' https://bar.example/cb'],
    ['//bar.example/cb'],
    ['javascript:alert(1)'],
  ])('023 authorize: %s is not the registered one', (redirect_uri) => {
    expect(read({ redirect_uri })).toEqual(page('error-redirect-uri'))
  })

  it('its registered query is kept', () => {
    const redirect_uri = 'https://bar.example/cb?tenant=a%2Fb'
    expect(asked({ redirect_uri }).redirectUri).toBe(redirect_uri)
  })

  it('025 authorize: any port of the loopback literal, for public native clients only', () => {
    const native = {
      redirect_uris: ['http://127.0.0.1/cb'],
      application_type: 'native',
      token_endpoint_auth_method: 'none',
    } as const
    const redirect_uri = 'http://127.0.0.1:51004/cb'
    expect(asked({ redirect_uri }, registered(native)).redirectUri).toBe(redirect_uri)
    for (const [uri, service] of [
      ['http://localhost:51004/cb', registered(native)],
      ['http://127.0.0.1:51004/other', registered(native)],
      [redirect_uri, registered({ ...native, application_type: 'web' })],
    ] as const) {
      expect(read({ redirect_uri: uri }, service)).toEqual(page('error-redirect-uri'))
    }
  })

  it('038 authorize: twice, even with equal values', () => {
    expect(readAuthorizationRequest(parameters({}, ['redirect_uri']), bar)).toEqual(
      page('error-request'),
    )
  })

  it('a private-use scheme is answered by redirect as any other', () => {
    const redirect_uri = 'com.example.bar:/cb'
    const service = registered({ redirect_uris: [redirect_uri] })
    expect(asked({ redirect_uri }, service).redirectUri).toBe(redirect_uri)
    expect(read({ redirect_uri, scope: 'profile' }, service)).toEqual(
      authz('invalid_scope', { redirectUri: redirect_uri }),
    )
  })
})

describe('response_type and response_mode', () => {
  it.each([
    [undefined, 'invalid_request'],
    ...['token', 'id_token', 'code id_token', 'none', 'CODE', 'code  ', ' code', 'code code'].map(
      (type): [string, string] => [type, 'unsupported_response_type'],
    ),
  ])('026 authorize: response_type %j', (response_type, error) => {
    expect(read({ response_type })).toEqual(authz(error))
    expect(read({ response_type, response_mode: 'form_post' })).toEqual(
      authz(error, { responseMode: 'form_post' }),
    )
  })

  it.each([['fragment'], ['web_message'], ['jwt'], ['Query'], ['query ']])(
    '027 authorize: response_mode %s is refused in query mode',
    (response_mode) => {
      expect(read({ response_mode })).toEqual(authz('invalid_request'))
    },
  )

  it('query and form_post are read', () => {
    expect(asked({ response_mode: 'query' }).responseMode).toBe('query')
    expect(asked({ response_mode: 'form_post' }).responseMode).toBe('form_post')
  })
})

describe('what is asked', () => {
  it.each([
    ['no openid', 'identity:name'],
    ['nothing', undefined],
    ['an unknown identity scope', 'openid identity:shoe_size'],
    ['a scope beyond the ceiling', 'openid identity:nationality'],
    ['a restricted scope that was not granted', 'openid identity:photo'],
    ['a composite that goes beyond', 'openid identity:full'],
  ])('028 authorize: %s', (_name, scope) => {
    expect(read({ scope })).toEqual(authz('invalid_scope'))
  })

  it('028 authorize: an unknown scope is ignored', () => {
    const scope = 'openid address groups profile phone'
    expect(asked({ scope }).requestedScopes).toEqual(['openid', 'profile'])
  })

  it('030 authorize: order, duplicates and double spaces', () => {
    const scope = ' identity:age_over_18  identity:name openid identity:name '
    expect(asked({ scope })).toEqual(asked())
  })

  it('offline_access only for a client that may have it', () => {
    const scope = 'openid offline_access'
    expect(asked({ scope })).toMatchObject({ offlineAccess: false, requestedScopes: ['openid'] })
    expect(asked({ scope }, registered({ offline_access: true }))).toMatchObject({
      offlineAccess: true,
      requestedScopes: ['openid', 'offline_access'],
    })
  })

  it('email, by scope or by claim, gives something only with an alias domain', () => {
    const aliased = registered({ alias_domain: 'alias.example' })
    const byClaim = { claims: '{"userinfo":{"email_verified":null}}' }
    const byScope = { scope: 'openid email' }
    expect([asked(byClaim).email, asked(byScope).email]).toEqual([false, false])
    expect([asked(byClaim, aliased).email, asked(byScope, aliased).email]).toEqual([true, true])
    expect(asked({}, aliased).email).toBe(false)
    expect(asked(byScope).requestedScopes).toEqual(['openid', 'email'])
  })

  it('035 authorize: a claim asks for its scope, and above the ceiling for nothing', () => {
    const claims = JSON.stringify({
      userinfo: { given_name: { essential: true }, picture: null, document_number: null },
      id_token: { trust_level: null, nationality: { essential: true } },
    })
    expect(asked({ scope: 'openid', claims })).toMatchObject({
      requestedScopes: ['openid'],
      scopes: ['identity:given_name', 'identity:trust_level'],
      idTokenClaims: ['nationality', 'trust_level'],
    })
    expect(asked({ claims }).scopes).toEqual([
      'identity:age_over_18',
      'identity:given_name',
      'identity:name',
      'identity:trust_level',
    ])
  })

  it.each([['{'], ['[]'], ['{"userinfo":[]}'], ['{"id_token":{"name":1}}'], [' '.repeat(4097)]])(
    '035 authorize: malformed claims %j',
    (claims) => {
      expect(read({ claims })).toEqual(authz('invalid_request'))
    },
  )

  it('a sub asked by value is the one expected person', () => {
    const claims = '{"id_token":{"sub":{"value":"person"}}}'
    expect(asked({ claims }).expectedSubject).toBe('person')
  })
})

describe('033 authorize: the level asked at least', () => {
  it.each([
    [undefined, 1],
    [HIGH, 3],
    [`${HIGH} ${SUBSTANTIAL}`, 2],
    [`${LOW} ${SUBSTANTIAL} ${HIGH}`, 1],
    [`1 2  ${SUBSTANTIAL}`, 2],
    ['1 2', 1],
    ['constructor', 1],
  ])('acr_values %j: %i', (acr_values, level) => {
    expect(asked({ acr_values }).minTrustLevel).toBe(level)
  })

  it('is the highest of client, acr_values and acr claim', () => {
    const claims = (acr: unknown) => JSON.stringify({ id_token: { acr } })
    const strict = registered({ min_trust_level: 2 })
    const level = (change: Change, service = bar) => asked(change, service).minTrustLevel
    expect(level({}, strict)).toBe(2)
    expect(level({ acr_values: LOW }, strict)).toBe(2)
    expect(level({ acr_values: HIGH }, strict)).toBe(3)
    expect(level({ claims: claims({ essential: true, value: HIGH }), acr_values: LOW })).toBe(3)
    expect(level({ claims: claims({ values: [LOW, HIGH] }), acr_values: SUBSTANTIAL })).toBe(2)
  })

  it('an essential acr claim that nobody can meet', () => {
    const claims = '{"id_token":{"acr":{"essential":true,"values":["urn:mace:gold"]}}}'
    expect(read({ claims })).toEqual(authz('unmet_authentication_requirements'))
    // A value of acr_values that is known does not make up for it.
    expect(read({ claims, acr_values: HIGH })).toEqual(authz('unmet_authentication_requirements'))
  })
})

describe('prompt and max_age', () => {
  it.each([
    ['none', ['none']],
    ['login', ['login']],
    ['select_account consent  login login', ['login', 'consent', 'select_account']],
  ])('031 authorize: prompt %j', (prompt, prompts) => {
    expect(asked({ prompt }).prompts).toEqual(prompts)
  })

  it.each([['none login'], ['login none'], ['banana'], ['login banana'], ['None'], ['create']])(
    '031 authorize: prompt %j is refused',
    (prompt) => {
      expect(read({ prompt })).toEqual(authz('invalid_request'))
    },
  )

  it.each([
    ['0', 0],
    ['15000', 15_000],
    ['999999999', 999_999_999],
  ])('032 authorize: max_age %s', (max_age, seconds) => {
    expect(asked({ max_age }).maxAge).toBe(seconds)
  })

  it.each([['-1'], ['abc'], ['1e99'], ['1.5'], [' 1'], ['0x10'], ['٣'], ['1000000000'], ['1\n']])(
    '032 authorize: max_age %j is refused',
    (max_age) => {
      expect(read({ max_age })).toEqual(authz('invalid_request'))
    },
  )
})

describe('requests by reference', () => {
  it.each([
    ['request', 'request_not_supported'],
    ['request_uri', 'request_uri_not_supported'],
    ['registration', 'registration_not_supported'],
  ])('034 authorize: %s', (name, error) => {
    expect(read({ [name]: 'https://bar.example/r.jwt' })).toEqual(authz(error))
    // What stands inside it is never looked at, so nothing else need be in order.
    expect(read({ [name]: '{}', response_type: undefined, scope: undefined })).toEqual(authz(error))
  })

  it('034 authorize: a redirect_uri outside that is not registered is a page all the same', () => {
    const inside = btoa(JSON.stringify({ redirect_uri: CALLBACK }))
    const request = `eyJhbGciOiJub25lIn0.${inside}.`
    expect(read({ request, redirect_uri: 'https://bar.example/cb/x' })).toEqual(
      page('error-redirect-uri'),
    )
    expect(read({ request, redirect_uri: undefined })).toEqual(page('error-redirect-uri'))
  })
})

describe('state and nonce', () => {
  it('036 authorize: a state of 1 KiB with anything in it is kept as it is', () => {
    const state = '&=%+<>"é\u202e𐐀'.repeat(128).slice(0, 1024)
    expect(asked({ state }).state).toBe(state)
    expect(read({ state, prompt: 'banana' })).toEqual(authz('invalid_request', { state }))
  })

  it('336 authorize: line breaks in them are kept too, elsewhere they make no request', () => {
    const opaque = '\r\nSet-Cookie: a=b\t&%41+'
    const sent = (change: Change) =>
      parametersOf(
        new URLSearchParams([...parameters(change).values]).toString(),
        MULTILINE_PARAMETERS,
      )
    const both = sent({ state: opaque, nonce: opaque, claims: '{\r\n\t"userinfo": {}\n}' })
    expect(both && readAuthorizationRequest(both, bar)).toMatchObject({
      ok: true,
      value: { state: opaque, nonce: opaque },
    })
    expect(sent({ scope: 'openid\nprofile' })).toBeUndefined()
  })

  it.each([10, 43, 64, 384, 1024])('037 authorize: a nonce of %i characters', (length) => {
    expect(asked({ nonce: 'n'.repeat(length) }).nonce).toBe('n'.repeat(length))
  })

  it('037 authorize: long ones are accepted whole or refused, and never come back cut', () => {
    const whole = 's'.repeat(4096)
    expect(asked({ state: whole }).state).toBe(whole)
    for (const state of [`${whole}s`, `${'s'.repeat(4095)}é`, 's'.repeat(8192)]) {
      expect(read({ state })).toEqual(authz('invalid_request', { state: null }))
    }
    for (const nonce of ['n'.repeat(1025), 'é'.repeat(513), 'n'.repeat(4096)]) {
      expect(read({ nonce })).toEqual(authz('invalid_request'))
    }
    expect(asked({ nonce: 'é'.repeat(512) }).nonce).toBe('é'.repeat(512))
  })
})

describe('parameters that come twice', () => {
  it.each(
    [
      ...[
        'response_type',
        'scope',
        'nonce',
        'prompt',
        'max_age',
        'claims',
        'acr_values',
        'request',
      ],
      ...['code_challenge', 'code_challenge_method', 'id_token_hint', 'login_hint', 'request_uri'],
      ...['display', 'ui_locales', 'claims_locales', 'registration'],
    ].map((name) => [name]),
  )('038 authorize: %s', (name) => {
    expect(readAuthorizationRequest(parameters({}, [name]), bar)).toEqual(authz('invalid_request'))
  })

  it('038 authorize: state, of which none comes back', () => {
    expect(readAuthorizationRequest(parameters({}, ['state']), bar)).toEqual(
      authz('invalid_request', { state: null }),
    )
  })

  it('038 authorize: response_mode, answered in query mode', () => {
    const twice = parameters({ response_mode: 'form_post' }, ['response_mode'])
    expect(readAuthorizationRequest(twice, bar)).toEqual(authz('invalid_request'))
  })

  it('012 authorize: unknown ones, once or twice, are ignored', () => {
    const extra = parameters({ extra: 'foobar', resource: 'x', __proto__x: 'y' }, ['extra'])
    expect(readAuthorizationRequest(extra, bar)).toEqual(read())
  })
})

describe('PKCE', () => {
  const optional = registered({ require_pkce: false })
  const without = { code_challenge: undefined, code_challenge_method: undefined }

  it('049 authorize: the challenge is missing where PKCE is required', () => {
    expect(read(without)).toEqual(authz('invalid_request'))
    expect(read({ code_challenge: undefined })).toEqual(authz('invalid_request'))
    expect(asked(without, optional).codeChallenge).toBeNull()
  })

  it.each([['plain'], [undefined], ['s256'], ['S256 '], ['S512']])(
    '050 authorize: code_challenge_method %j, whether PKCE is required or not',
    (code_challenge_method) => {
      expect(read({ code_challenge_method })).toEqual(authz('invalid_request'))
      expect(read({ code_challenge_method }, optional)).toEqual(authz('invalid_request'))
    },
  )

  it('050 authorize: a method without a challenge', () => {
    expect(read({ code_challenge: undefined }, optional)).toEqual(authz('invalid_request'))
  })

  it.each([
    [CHALLENGE.slice(0, 42)],
    [`${CHALLENGE}A`],
    [`${CHALLENGE}=`],
    [`${CHALLENGE.slice(0, 42)}=`],
    [CHALLENGE.replace('-', '+')],
    [CHALLENGE.replace('-', '/')],
    [CHALLENGE.replace('-', ' ')],
    [`${CHALLENGE.slice(0, 42)}N`],
    [`${CHALLENGE}\n`],
  ])('051 authorize: the challenge %j', (code_challenge) => {
    expect(read({ code_challenge })).toEqual(authz('invalid_request'))
    expect(read({ code_challenge }, optional)).toEqual(authz('invalid_request'))
  })

  it('a good challenge is kept, whether PKCE is required or not', () => {
    expect(asked().codeChallenge).toBe(CHALLENGE)
    expect(asked({}, optional).codeChallenge).toBe(CHALLENGE)
  })
})

describe('hints', () => {
  it('046 authorize: an id_token_hint of the shape of a signed token is kept for checking', () => {
    expect(asked({ id_token_hint: 'eyJh.eyJp.c2ln' }).idTokenHint).toBe('eyJh.eyJp.c2ln')
  })

  it.each([['x'], ['a.b'], ['a.b.'], ['.b.c'], ['a.b.c.d.e'], ['a.b.c='], ['a.b.c\n'], ['a. b.c']])(
    '046 authorize: the id_token_hint %j is none',
    (id_token_hint) => {
      expect(read({ id_token_hint })).toEqual(authz('invalid_request'))
    },
  )

  it('login_hint, locales and display are never an error', () => {
    const unlike = { display: 'hologram', claims_locales: '!!', ui_locales: 'se  x_y fr-CA <b>' }
    expect(asked({ ...unlike, login_hint: 'nobody@example.com' })).toEqual({
      ...asked(),
      loginHint: 'nobody@example.com',
    })
  })

  it('a login_hint that could not be an id is ignored', () => {
    expect(asked({ login_hint: 'x'.repeat(256) }).loginHint).toHaveLength(256)
    expect(asked({ login_hint: 'x'.repeat(257) }).loginHint).toBeNull()
    expect(asked({ login_hint: 'a\u0085b' }).loginHint).toBeNull()
  })
})

describe('the order of the checks', () => {
  /** Each with one fault more than the next; the first fault is the one that is named. */
  const faults: readonly (readonly [Change, unknown])[] = [
    [{ client_id: 'x' }, page('error-client')],
    [{ redirect_uri: 'x' }, page('error-redirect-uri')],
    [{ request: 'x' }, authz('request_not_supported')],
    [{ response_type: 'token' }, authz('unsupported_response_type')],
    [{ response_mode: 'fragment' }, authz('invalid_request')],
    [{ scope: 'profile' }, authz('invalid_scope')],
    [{ code_challenge: undefined }, authz('invalid_request')],
    [
      { claims: '{"id_token":{"acr":{"essential":true,"value":"x"}}}' },
      authz('unmet_authentication_requirements'),
    ],
    [{ id_token_hint: 'x' }, authz('invalid_request')],
  ]

  it.each(faults.map((_, index) => [index]))('fault %i comes before those after it', (index) => {
    const change = Object.assign({}, ...faults.slice(index).map(([one]) => one))
    expect(read(change)).toEqual(faults[index]?.[1])
  })
})

describe('whatever is sent', () => {
  const wild = fc.oneof(
    fc.string({ unit: fc.constantFrom(...'&=%+<>"\\#?/\0\r\n éß\u202e𐐀aZ09.:') }),
    fc.json(),
    fc.constantFrom('', ' ', '\0'),
  )
  const oneOf = (...good: readonly string[]) =>
    fc.oneof(fc.constantFrom<string | undefined>(...good), wild)
  const requests = fc.record(
    {
      client_id: oneOf(GOOD.client_id, GOOD.client_id, 'other'),
      redirect_uri: oneOf(CALLBACK, CALLBACK, 'https://evil.example/cb'),
      response_type: oneOf('code', 'token'),
      response_mode: oneOf('query', 'form_post', 'fragment'),
      scope: oneOf('openid', 'openid profile', 'openid identity:photo'),
      state: fc.oneof(wild, fc.constant('s'.repeat(5000))),
      nonce: fc.oneof(wild, fc.constant('n'.repeat(2000))),
      claims: oneOf('{}', '{"userinfo":{"picture":null,"name":null}}'),
      prompt: oneOf('none', 'login', 'none login'),
      max_age: oneOf('0', '-1'),
      acr_values: oneOf(`${HIGH}`, 'x'),
      code_challenge: oneOf(CHALLENGE),
      code_challenge_method: oneOf('S256', 'plain'),
      id_token_hint: oneOf('a.b.c'),
      login_hint: wild,
      ui_locales: wild,
    },
    { requiredKeys: [] },
  )
  const sent = fc.record({
    change: fc.oneof(requests, fc.dictionary(wild, wild)),
    repeated: fc.oneof(
      { weight: 3, arbitrary: fc.constant<string[]>([]) },
      { weight: 1, arbitrary: fc.subarray(Object.keys(GOOD)) },
    ),
  })
  const ceiling = ceilingOf(bar)

  it('021 authorize: no redirect before client and redirect URI are proven', () => {
    fc.assert(
      fc.property(sent, ({ change, repeated }) => {
        const request = parameters(change, repeated)
        const answer = readAuthorizationRequest(request, bar)
        const { values } = request
        const proven =
          values.get('client_id') === bar.serviceId &&
          matchesRedirectUri(client, values.get('redirect_uri') ?? '') &&
          !repeated.some((name) => name === 'client_id' || name === 'redirect_uri')
        expect(!answer.ok && answer.reason.kind === 'page').toBe(!proven)
      }),
    )
  })

  it('every fault that is redirected goes to the registered address with the state as sent', () => {
    fc.assert(
      fc.property(sent, ({ change, repeated }) => {
        const { values } = parameters(change, repeated)
        const answer = readAuthorizationRequest(parameters(change, repeated), bar)
        if (answer.ok || answer.reason.kind === 'page') return
        const { error, redirectUri, responseMode, state } = answer.reason
        expect(AUTHORIZATION_ERRORS).toContain(error)
        expect(client.redirect_uris).toContain(redirectUri)
        expect([null, values.get('state')]).toContain(state)
        expect(new TextEncoder().encode(state ?? '').length).toBeLessThanOrEqual(4096)
        if (responseMode === 'form_post') expect(values.get('response_mode')).toBe('form_post')
      }),
    )
  })

  it('what is accepted stays under the ceiling and has its challenge', () => {
    let accepted = 0
    fc.assert(
      fc.property(sent, ({ change, repeated }) => {
        const answer = readAuthorizationRequest(parameters(change, repeated), bar)
        if (!answer.ok) return
        accepted++
        const request = answer.value
        expect(ceiling).toEqual(expect.arrayContaining([...request.scopes]))
        expect(request.scopes).not.toContain('openid')
        expect(request.requestedScopes[0]).toBe('openid')
        expect(request.codeChallenge).toBe(CHALLENGE)
        expect(JSON.parse(JSON.stringify(request))).toEqual(request)
      }),
      { numRuns: 500 },
    )
    expect(accepted).toBeGreaterThan(5)
  })

  it('a client id is given only when it is one', () => {
    fc.assert(
      fc.property(wild, (client_id) => {
        const id = clientIdOf(parameters({ client_id }))
        expect(id === undefined || (id === client_id && /^[a-z0-9._-]{1,64}$/.test(id))).toBe(true)
      }),
    )
  })
})

describe('the parameter at fault is named', () => {
  const named: [string, Record<string, string | undefined>, string | null][] = [
    ['no challenge', { code_challenge: undefined }, 'code_challenge'],
    ['no response_type', { response_type: undefined }, 'response_type'],
    ['a long state', { state: 'x'.repeat(4097) }, 'state'],
    ['a long nonce', { nonce: 'x'.repeat(1025) }, 'nonce'],
    ['another response_mode', { response_mode: 'fragment' }, 'response_mode'],
    ['two prompts', { prompt: 'none login' }, 'prompt'],
    ['a negative max_age', { max_age: '-1' }, 'max_age'],
    ['claims that are none', { claims: '[' }, 'claims'],
    ['a hint that is none', { id_token_hint: 'x' }, 'id_token_hint'],
    ['no openid, which says enough', { scope: 'profile' }, null],
  ]
  it.each(named)('%s', (_what, changes, parameter) => {
    expect(read(changes)).toMatchObject({ ok: false, reason: { kind: 'redirect', parameter } })
  })
})
