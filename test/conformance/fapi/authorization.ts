/** The modules about discovery, the happy flow and what an authorization request may say (4-oidc section 5.6). */

import { decodeJwt } from 'jose'
import { expect } from 'vitest'
import type { Arrival } from '../oidc/browser.ts'
import { checkError } from '../oidc/checks.ts'
import {
  answerLogin,
  type Changes,
  call,
  endpoint,
  expectPage,
  randomText,
  urlWith,
} from '../oidc/party.ts'
import { checkRefusedAccess, GOOD_ALGS } from './checks.ts'
import {
  approve,
  ask,
  authorize,
  begin,
  finish,
  open,
  orderOf,
  pushed,
  type Run,
  redeem,
  signIn,
  use,
} from './flow.ts'
import { type FapiModule, proofOf } from './party.ts'
import { expectRefused } from './pushed.ts'

export const AUTHORIZATION: Readonly<Record<string, FapiModule>> = {
  async 'discovery-end-point-verification'(context) {
    const { metadata } = (await begin(context)).provider
    expect(metadata.response_types_supported, 'discovery: code').toContain('code')
    expect(metadata.authorization_response_iss_parameter_supported, 'discovery: iss').toBe(true)
    for (const name of ['pushed_authorization_request_endpoint', 'token_endpoint']) {
      expect(new URL(endpoint(metadata, name)).origin, `discovery: ${name}`).toBe(
        new URL(context.issuer).origin,
      )
    }
    for (const name of [
      'dpop_signing_alg_values_supported',
      'token_endpoint_auth_signing_alg_values_supported',
    ]) {
      expect(metadata[name], `discovery: ${name} holds good ones only`).toEqual(
        expect.toSatisfy(
          (algs: unknown) =>
            Array.isArray(algs) && algs.length > 0 && algs.every((alg) => GOOD_ALGS.includes(alg)),
        ),
      )
    }
    const { id_token_signing_alg_values_supported: algs } = metadata
    // RS256 stands there too, for clients that don't follow the profile.
    expect(
      (algs as string[]).some((alg) => GOOD_ALGS.includes(alg)),
      'discovery: a good algorithm for id_tokens',
    ).toBe(true)
    expect(metadata.code_challenge_methods_supported, 'discovery: S256 only').toEqual(['S256'])
    expect(metadata.scopes_supported, 'discovery: openid').toContain('openid')
  },

  async 'happy-flow'(context) {
    const one = await begin(context)
    const first = await signIn(one, {}, { proof: {} })
    for (const accept of ['application/json', '*/*', 'application/json;q=0.9, text/html;q=0.1']) {
      await use(one, first, { accept })
    }
    const address = endpoint(one.provider.metadata, 'userinfo_endpoint')
    const { accessToken } = first
    const nonce = one.jar.value
    const inQuery = await call(`${address}?${new URLSearchParams({ access_token: accessToken })}`, {
      headers: { DPoP: proofOf(one.key, { method: 'GET', address, accessToken, nonce }) },
    })
    checkRefusedAccess(inQuery, 'userinfo: a token in the query')

    const two = await begin(context, context.second)
    const second = await signIn(two, { dpop_jkt: two.key.thumbprint })
    expect(second.claims.aud, 'second client: its own id_token').toBe(context.second.clientId)
    const stolen = await ask(two, second.accessToken, {}, one.key)
    checkRefusedAccess(stolen, 'userinfo: a token of client 2 with the key of client 1')
    await use(two, second)
  },

  async 'user-rejects-authentication'(context) {
    const run = await begin(context)
    const order = await pushed(run)
    const arrival = await open(run, order)
    const answer = await answerLogin(run.browser, context.person, arrival, { declined: true })
    checkError(context, order.request, answer, ['access_denied'])
  },

  async 'ensure-authorization-request-without-state-success'(context) {
    const { claims } = await signIn(await begin(context), { state: undefined })
    expect(claims, 'id_token: no s_hash').not.toHaveProperty('s_hash')
  },

  async 'ensure-authorization-request-without-nonce-success'(context) {
    const { claims } = await signIn(await begin(context), { nonce: undefined })
    expect(claims, 'id_token: no nonce').not.toHaveProperty('nonce')
  },

  async 'ensure-authorization-request-with-64-char-nonce-success'(context) {
    await signIn(await begin(context), { nonce: randomText(64) })
  },

  // They may be refused; here they come back whole, as the checks of every answer and id_token see.
  async 'ensure-authorization-request-with-long-nonce'(context) {
    await signIn(await begin(context), { nonce: randomText(384) })
  },
  async 'ensure-authorization-request-with-long-state'(context) {
    await signIn(await begin(context), { state: randomText(384) })
  },

  async 'ensure-other-scope-order-succeeds'(context) {
    const { userinfo, scope } = await signIn(await begin(context), { scope: 'profile openid' })
    expect(scope.split(' ').toSorted(), 'token: the granted scope').toEqual(['openid', 'profile'])
    expect(userinfo.name, 'userinfo: name').toBe('Camille Martin')
  },

  async 'test-claims-parameter-identity-claims'(context) {
    const run = await begin(context)
    const names = run.provider.metadata.claims_supported as string[]
    const shapes = [null, { essential: true }, { essential: false }, {}]
    const asked = {
      ...Object.fromEntries(names.map((name, i) => [name, shapes[i % shapes.length]])),
      // Of these the shape matters to the answer: a level is asked for, not told.
      ...{ acr: null, auth_time: { essential: true } },
      ...{ unheard_of: null, unknown_too: { essential: true, value: 'x' } },
    }
    const claims = JSON.stringify({ userinfo: asked, id_token: asked })
    const approved = await authorize(run, { claims })
    const { status, body } = await redeem(run, approved)
    expect(status, 'token: status 200').toBe(200)
    const told = decodeJwt(String(body?.id_token))
    const userinfo = await use(run, { accessToken: String(body?.access_token), claims: told })
    for (const [where, claims] of [
      ['id_token', told],
      ['userinfo', userinfo],
    ] as const) {
      expect(claims, `${where}: the claims that were asked`).toMatchObject({
        ...{ given_name: 'Camille', family_name: 'Martin', name: 'Camille Martin' },
        ...{ birthdate: expect.any(String), nationality: expect.any(String) },
        ...{ age_over_18: true, trust_level: expect.any(Number) },
      })
      expect(claims, `${where}: no unknown claim`).not.toHaveProperty('unheard_of')
      expect(claims, `${where}: nothing unknown`).not.toHaveProperty('unknown_too')
    }
  },

  async 'ensure-different-nonce-inside-and-outside-request-object'(context) {
    const run = await begin(context)
    const order = await pushed(run)
    const arrival = await open(run, order, { nonce: randomText(43) })
    // The checks look for the pushed one in the id_token.
    await finish(run, await approve(run, order, arrival))
  },

  async 'ensure-different-state-inside-and-outside-request-object'(context) {
    const run = await begin(context)
    const order = await pushed(run)
    const arrival = await open(run, order, { state: randomText(43) })
    await finish(run, await approve(run, order, arrival))
  },

  async 'state-only-outside-request-object-not-used'(context) {
    const run = await begin(context)
    const order = await pushed(run, { state: undefined })
    const arrival = await open(run, order, { state: randomText(43) })
    const { answer } = await approve(run, order, arrival)
    expect(answer.parameters, 'answer: no state that was not pushed').not.toHaveProperty('state')
  },

  async 'ensure-request-object-without-redirect-uri-fails'(context) {
    await expectRefused(await begin(context), { redirect_uri: undefined }, ['invalid_request'])
  },

  async 'plain-fapi-tolerate-unregistered-redirect-uri'(context) {
    const redirect_uri = `${context.first.redirectUri}/${randomText(10)}`
    await expectRefused(await begin(context), { redirect_uri }, [
      'invalid_request',
      'invalid_redirect_uri',
    ])
  },

  async 'ensure-unsigned-authorization-request-without-using-par-fails'(context) {
    const run = await begin(context)
    expectRequestPage(await openPlain(run))
    // Nor is a reference enough that is none of ours.
    const foreign = { request_uri: `${context.first.redirectUri}/request.jwt` }
    const arrival = await openPlain(run, foreign)
    expect(arrival.at, 'page: the browser stays at the provider').toBe('page')
  },

  async 'ensure-redirect-uri-in-authorization-request'(context) {
    expectRequestPage(await openPlain(await begin(context), { redirect_uri: undefined }))
  },

  async 'ensure-response-type-code-idtoken-fails'(context) {
    await expectRefused(await begin(context), { response_type: 'code id_token' }, [
      'unsupported_response_type',
      'invalid_request',
    ])
  },

  async 'ensure-response-type-token-fails'(context) {
    await expectRefused(await begin(context), { response_type: 'token' }, [
      'unsupported_response_type',
      'invalid_request',
    ])
  },
}

/** A request as it would be without the profile, all of it in the address. */
function openPlain(run: Run, changes: Changes = {}): Promise<Arrival> {
  const { request } = orderOf(run, changes)
  const address = endpoint(run.provider.metadata, 'authorization_endpoint')
  return run.browser.open(urlWith(address, request))
}

function expectRequestPage(arrival: Arrival): void {
  const page = expectPage(arrival, 'error-request', 'This sign-in request is not valid.')
  expect(page.status, 'page error-request: status').toBe(400)
  expect(page.html, 'page error-request: final').not.toMatch(/<script|<form|http-equiv/)
}
