/**
 * The modules of the Basic plan (4-oidc section 5.2), and of Form Post with `responseMode: 'form_post'`. Each sends what its module of
 * the certification suite sends and looks at the answer and at what it did.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { expect } from 'vitest'
import type { Arrival } from './browser.ts'
import { checkError, checkTokens, checkUserinfo } from './checks.ts'
import { ask, askSilently, begin, finishLogin, signIn } from './flow.ts'
import {
  type Answer,
  type Context,
  call,
  callToken,
  callUserinfo,
  challengeOf,
  endpoint,
  expectLanding,
  expectLoginPage,
  expectPage,
  type Parameters,
  randomText,
  requestOf,
  urlWith,
} from './party.ts'

export type Module = (context: Context) => Promise<void>

/** Seconds in `auth_time` differ after this. */
const NEXT_SECOND_MS = 1100

export const BASIC: Readonly<Record<string, Module>> = {
  async 'oidcc-server'(context) {
    const { userinfo, claims } = await signIn(await begin(context))
    expect(Object.keys(userinfo), 'userinfo: no claim that nobody asked for').toEqual(['sub'])
    expect(claims.at_hash, 'id_token: at_hash is there').toBeTypeOf('string')
  },

  async 'oidcc-response-type-missing'(context) {
    const run = await begin(context)
    const { request, arrival } = await ask(run, { response_type: undefined })
    const errors = ['invalid_request', 'unsupported_response_type']
    checkError(context, request, expectLanding(arrival), errors)
  },

  async 'oidcc-idtoken-signature'(context) {
    const { metadata, keys } = (await begin(context)).provider
    expect(metadata, 'no dynamic registration').not.toHaveProperty('registration_endpoint')
    // What the module looks at: RS256 for a client that has it, and a key id.
    expect(
      keys.map(({ alg }) => alg),
      'jwks: a key for RS256',
    ).toContain('RS256')
  },

  async 'oidcc-idtoken-unsigned'(context) {
    const { metadata } = (await begin(context)).provider
    expect(metadata, 'no dynamic registration').not.toHaveProperty('registration_endpoint')
    expect(metadata.id_token_signing_alg_values_supported, 'discovery: not none').not.toContain(
      'none',
    )
  },

  async 'oidcc-userinfo-get'(context) {
    const run = await begin(context)
    const { accessToken, claims } = await signIn(run)
    await checkUserinfo(await callUserinfo(run.provider.metadata, accessToken), claims.sub)
  },

  async 'oidcc-userinfo-post-header'(context) {
    const run = await begin(context)
    const { accessToken, claims } = await signIn(run)
    const answer = await call(endpoint(run.provider.metadata, 'userinfo_endpoint'), {
      method: 'POST',
      headers: { Authorization: `Bearer ${accessToken}` },
    })
    await checkUserinfo(answer, claims.sub)
  },

  async 'oidcc-userinfo-post-body'(context) {
    const run = await begin(context)
    const { accessToken, claims } = await signIn(run)
    const answer = await call(endpoint(run.provider.metadata, 'userinfo_endpoint'), {
      method: 'POST',
      body: new URLSearchParams({ access_token: accessToken }),
    })
    await checkUserinfo(answer, claims.sub)
  },

  async 'oidcc-ensure-request-without-nonce-succeeds-for-code-flow'(context) {
    const { claims } = await signIn(await begin(context), { nonce: undefined })
    expect(claims, 'id_token: no nonce').not.toHaveProperty('nonce')
  },

  async 'oidcc-scope-profile'(context) {
    const run = await begin(context)
    expect(run.provider.metadata.scopes_supported, 'discovery: profile').toContain('profile')
    const { userinfo, scope } = await signIn(run, { scope: 'openid profile' })
    expect(userinfo, 'userinfo: the names').toMatchObject({
      given_name: 'Camille',
      family_name: 'Martin',
      name: 'Camille Martin',
    })
    expect(scope, 'token: the granted scope').toBe('openid profile')
  },

  async 'oidcc-scope-email'(context) {
    const run = await begin(context)
    expect(run.provider.metadata.scopes_supported, 'discovery: email').toContain('email')
    await signInForEmail(context, 'openid email')
  },

  async 'oidcc-scope-address'(context) {
    await expectUnsupported(context, 'address')
  },
  async 'oidcc-scope-phone'(context) {
    await expectUnsupported(context, 'phone')
  },
  async 'oidcc-scope-all'(context) {
    // The module needs all five standard scopes listed.
    const { scopes_supported: scopes } = (await begin(context)).provider.metadata
    const standard = ['openid', 'profile', 'email', 'address', 'phone']
    expect(
      standard.filter((scope) => (scopes as string[]).includes(scope)),
      'discovery: standard scopes',
    ).toEqual(['openid', 'profile', 'email'])
  },

  async 'oidcc-alternate-happy-flow'(context) {
    await signInForEmail(context, 'email openid', (request) =>
      Object.fromEntries(Object.entries(request).reverse()),
    )
  },

  async 'oidcc-display-page'(context) {
    await signIn(await begin(context), { display: 'page' })
  },

  async 'oidcc-display-popup'(context) {
    await signIn(await begin(context), { display: 'popup' })
  },

  async 'oidcc-prompt-login'(context) {
    const run = await begin(context)
    const first = await signIn(run)
    await wait(NEXT_SECOND_MS)
    const again = await ask(run, { prompt: 'login' })
    expectLoginPage(again.arrival)
    const second = await finishLogin(run, again)
    expect(second.claims.sub, 'second login: same sub').toBe(first.claims.sub)
    expect(second.claims.auth_time, 'second login: later auth_time').toBeGreaterThan(
      Number(first.claims.auth_time),
    )
  },

  async 'oidcc-prompt-none-not-logged-in'(context) {
    const run = await begin(context)
    const { request, arrival } = await ask(run, { prompt: 'none', state: randomText(128) })
    checkError(context, request, expectLanding(arrival), [
      ...['login_required', 'interaction_required'],
      ...['account_selection_required', 'consent_required'],
    ])
  },

  async 'oidcc-prompt-none-logged-in'(context) {
    const run = await begin(context)
    const first = await signIn(run)
    await wait(NEXT_SECOND_MS)
    const second = await askSilently(run, { prompt: 'none' })
    expectSameLogin(second.claims, first.claims)
  },

  async 'oidcc-max-age-1'(context) {
    const run = await begin(context)
    const first = await signIn(run)
    await wait(2100)
    const again = await ask(run, { max_age: '1' })
    expectLoginPage(again.arrival)
    const second = await finishLogin(run, again)
    expect(second.claims.sub, 'second login: same sub').toBe(first.claims.sub)
    expect(second.claims.auth_time, 'second login: later auth_time').toBeGreaterThan(
      Number(first.claims.auth_time),
    )
  },

  async 'oidcc-max-age-10000'(context) {
    const run = await begin(context)
    const first = await signIn(run, { max_age: '15000' })
    await wait(NEXT_SECOND_MS)
    const second = await askSilently(run, { max_age: '10000' })
    expectSameLogin(second.claims, first.claims)
  },

  async 'oidcc-ensure-request-with-unknown-parameter-succeeds'(context) {
    await signIn(await begin(context), { extra: 'foobar' })
  },

  async 'oidcc-id-token-hint'(context) {
    const run = await begin(context)
    const first = await signIn(run)
    const second = await askSilently(run, { prompt: 'none', id_token_hint: first.idToken })
    expect(second.claims.sub, 'second answer: same sub').toBe(first.claims.sub)
  },

  async 'oidcc-login-hint'(context) {
    await signIn(await begin(context), { login_hint: 'nobody@party.example' })
  },

  async 'oidcc-ui-locales'(context) {
    // A language that the pages lack: they stay English, as `expectLoginPage` sees.
    await signIn(await begin(context), { ui_locales: 'se' })
  },

  async 'oidcc-claims-locales'(context) {
    await signIn(await begin(context), { claims_locales: 'se' })
  },

  async 'oidcc-ensure-request-with-acr-values-succeeds'(context) {
    const run = await begin(context)
    const { acr_values_supported: supported } = run.provider.metadata
    const { claims } = await signIn(run, { acr_values: (supported as string[]).join(' ') })
    expect(supported, 'id_token: acr is one of those asked').toContain(claims.acr)
  },

  async 'oidcc-codereuse'(context) {
    const run = await begin(context)
    const { request, code } = await signIn(run)
    expectInvalidGrant(await redeemAgain(run.provider.metadata, context, request, code))
  },

  async 'oidcc-codereuse-30seconds'(context) {
    const run = await begin(context)
    const { metadata } = run.provider
    const { request, code, accessToken } = await signIn(run)
    // Thirty seconds in the suite: here the object forgets the code at its first use, whatever the time.
    await wait(2000)
    expectInvalidGrant(await redeemAgain(metadata, context, request, code))
    const { status } = await callUserinfo(metadata, accessToken)
    expect(status, 'code: its access token dies with the second use').toBe(401)
  },

  async 'oidcc-ensure-registered-redirect-uri'(context) {
    const run = await begin(context)
    const { first } = context
    const { arrival } = await ask(run, { redirect_uri: `${first.redirectUri}/${randomText(10)}` })
    expectRedirectUriPage(arrival)
  },

  async 'oidcc-ensure-post-request-succeeds'(context) {
    const run = await begin(context)
    const request = requestOf(context, context.first)
    const { origin } = new URL(context.first.redirectUri)
    const address = endpoint(run.provider.metadata, 'authorization_endpoint')
    const arrival = await run.browser.postFrom(origin, address, request)
    await finishLogin(run, { request, arrival })
    // The cookies of the browser count for such a request too: it comes again by an address of the provider.
    const again = { ...requestOf(context, context.first), prompt: 'none' }
    expectLanding(await run.browser.postFrom(origin, address, again))
  },

  async 'oidcc-server-client-secret-post'(context) {
    await signIn(await begin(context, context.post))
  },

  async 'oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported'(context) {
    const run = await begin(context)
    const { metadata } = run.provider
    expect(metadata, 'no dynamic registration').not.toHaveProperty('registration_endpoint')
    expect(metadata.request_uri_parameter_supported, 'discovery: no request_uri').toBe(false)
    const seen = context.received.length
    const { origin } = new URL(context.first.redirectUri)
    const { request, arrival } = await ask(run, { request_uri: `${origin}/request.jwt` })
    checkError(context, request, expectLanding(arrival), ['request_uri_not_supported'])
    expect(context.received.length, 'request_uri: nothing is fetched').toBe(seen)
  },

  async 'oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported'(context) {
    const run = await begin(context)
    expect(run.provider.metadata.request_parameter_supported, 'discovery: no request').toBe(false)
    const object = unsigned(requestOf(context, context.first))
    const { request, arrival } = await ask(run, { request: object })
    checkError(context, request, expectLanding(arrival), ['request_not_supported'])
  },

  async 'oidcc-claims-essential'(context) {
    const run = await begin(context)
    const claims = JSON.stringify({ userinfo: { name: { essential: true } } })
    const { userinfo } = await signIn(run, { claims })
    expect(userinfo.name, 'userinfo: name').toBe('Camille Martin')
  },

  async 'oidcc-ensure-request-object-with-redirect-uri'(context) {
    const run = await begin(context)
    const { first } = context
    const { arrival } = await ask(run, {
      request: unsigned(requestOf(context, first)),
      redirect_uri: `${first.redirectUri}/${randomText(10)}`,
    })
    expectRedirectUriPage(arrival)
  },

  async 'oidcc-refresh-token'(context) {
    const one = await refreshFor(context, context.first)
    const two = await refreshFor(context, context.second)
    const answer = await callToken(one.metadata, context.first, {
      grant_type: 'refresh_token',
      refresh_token: two.refreshToken,
    })
    expectInvalidGrant(answer)
  },

  async 'oidcc-ensure-request-with-valid-pkce-succeeds'(context) {
    const run = await begin(context)
    expect(run.provider.metadata.code_challenge_methods_supported, 'discovery: S256').toContain(
      'S256',
    )
    const verifier = randomText(64)
    const challenge = {
      code_challenge: challengeOf(verifier),
      code_challenge_method: 'S256',
    }
    await signIn(run, challenge, { verifier })
  },
}

async function signInForEmail(
  context: Context,
  scope: string,
  rearranged: (request: Parameters) => Parameters = (request) => request,
): Promise<void> {
  const run = await begin(context)
  const request = rearranged(requestOf(context, context.first, { scope }))
  const address = endpoint(run.provider.metadata, 'authorization_endpoint')
  const arrival = await run.browser.open(urlWith(address, request))
  const { userinfo } = await finishLogin(run, { request, arrival })
  expect(userinfo, 'userinfo: an alias, and no word that it is verified').toMatchObject({
    email: `${userinfo.sub}@people.example`,
    email_verified: false,
  })
  expect(userinfo, 'userinfo: no name that nobody asked for').not.toHaveProperty('name')
}

async function expectUnsupported(context: Context, scope: string): Promise<void> {
  const run = await begin(context)
  expect(run.provider.metadata.scopes_supported, `discovery: no ${scope}`).not.toContain(scope)
  // A scope of the standard that isn't known here is ignored.
  const { userinfo } = await signIn(run, { scope: `openid ${scope}` })
  expect(Object.keys(userinfo), 'userinfo: no claim of it').toEqual(['sub'])
}

function redeemAgain(
  metadata: Readonly<Record<string, unknown>>,
  { first }: Context,
  request: Parameters,
  code: string,
): Promise<Answer> {
  const { redirect_uri } = request
  return callToken(metadata, first, { grant_type: 'authorization_code', code, redirect_uri })
}

function expectInvalidGrant({ status, body }: Answer): void {
  expect({ status, error: body?.error }, 'token: refused as invalid_grant').toEqual({
    status: 400,
    error: 'invalid_grant',
  })
}

function expectSameLogin(
  second: Readonly<Record<string, unknown>>,
  first: Readonly<Record<string, unknown>>,
): void {
  expect(second.sub, 'second answer: same sub').toBe(first.sub)
  expect(second.auth_time, 'second answer: same auth_time').toBe(first.auth_time)
}

function expectRedirectUriPage(arrival: Arrival): void {
  const sentence = 'The address to return to is not registered for this service.'
  const page = expectPage(arrival, 'error-redirect-uri', sentence)
  expect(page.status, 'page error-redirect-uri: status').toBe(400)
  expect(page.html, 'page error-redirect-uri: final').not.toMatch(/<script|<form|http-equiv/)
}

/** A request object with `alg: none`. */
function unsigned(claims: Parameters): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'none' })}.${part({ ...claims, iss: claims.client_id })}.`
}

/** A login with `offline_access`, and a refresh that must bring the same person and a working token. */
async function refreshFor(context: Context, client: Context['first']) {
  const run = await begin(context, client)
  const { metadata, keys } = run.provider
  expect(metadata.grant_types_supported, 'discovery: refresh_token').toContain('refresh_token')
  const first = await signIn(run, { scope: 'openid offline_access', prompt: 'consent' })
  expect(first.refreshToken, 'token: a refresh token').toBeDefined()
  const answer = await callToken(metadata, client, {
    grant_type: 'refresh_token',
    refresh_token: first.refreshToken,
  })
  const expected = { issuer: context.issuer, client, nonce: undefined }
  const second = await checkTokens(answer, keys, expected)
  for (const name of ['iss', 'sub', 'aud', 'auth_time', 'acr']) {
    expect(second.claims[name], `refreshed id_token: same ${name}`).toEqual(first.claims[name])
  }
  await checkUserinfo(await callUserinfo(metadata, second.accessToken), first.claims.sub)
  return { metadata, refreshToken: second.refreshToken ?? first.refreshToken }
}
