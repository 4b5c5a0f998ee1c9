/** The modules of RP-initiated logout (4-oidc section 5.3) and of back-channel logout (5.5). */
import { setTimeout as wait } from 'node:timers/promises'
import { compactVerify, decodeProtectedHeader, generateKeyPair, importJWK, SignJWT } from 'jose'
import { expect } from 'vitest'
import type { Module } from './basic.ts'
import type { Arrival, Browser } from './browser.ts'
import { checkError } from './checks.ts'
import { ask, begin, type Run, type SignedIn, signIn } from './flow.ts'
import {
  type Changes,
  type Context,
  endpoint,
  expectLanding,
  expectPage,
  type Parameters,
  presentIn,
  randomText,
  urlWith,
} from './party.ts'

/** A login, and the logout request that most modules send, changed. */
interface Leaving {
  readonly run: Run
  readonly signedIn: SignedIn
  readonly request: Parameters
  readonly arrival: Arrival
}

export const LOGOUT: Readonly<Record<string, Module>> = {
  async 'oidcc-rp-initiated-logout-discovery-endpoint-verification'(context) {
    const { metadata } = (await begin(context)).provider
    const address = endpoint(metadata, 'end_session_endpoint')
    expect(new URL(address).origin, 'discovery: end_session_endpoint').toBe(context.issuer)
  },

  async 'oidcc-rp-initiated-logout'(context) {
    const { run, request, arrival } = await leave(context)
    expectReturn(context, request, arrival)
    await expectSignedOut(run)
  },

  async 'oidcc-rp-initiated-logout-bad-post-logout-redirect-uri'(context) {
    const bad = `${context.first.returnUri}/${randomText(10)}`
    const { arrival } = await leave(context, () => ({ post_logout_redirect_uri: bad }))
    expectLogoutError(arrival)
  },

  async 'oidcc-rp-initiated-logout-modified-id-token-hint'(context) {
    const { arrival } = await leave(context, ({ idToken }) => {
      const header = Buffer.from('{"alg":"none"}').toString('base64url')
      return { id_token_hint: `${header}.${idToken.split('.')[1]}.` }
    })
    expectLogoutError(arrival)
  },

  async 'oidcc-rp-initiated-logout-bad-id-token-hint'(context) {
    const { privateKey } = await generateKeyPair('ES256')
    const { arrival } = await leave(context, async ({ idToken, claims }) => {
      const header = { ...decodeProtectedHeader(idToken), alg: 'ES256' }
      const forged = await new SignJWT({ ...claims }).setProtectedHeader(header).sign(privateKey)
      return { id_token_hint: forged }
    })
    expectLogoutError(arrival)
  },

  async 'oidcc-rp-initiated-logout-no-id-token-hint'(context) {
    const { arrival } = await leave(context, () => ({ id_token_hint: undefined }))
    expectLogoutError(arrival)
  },

  async 'oidcc-rp-initiated-logout-no-params'(context) {
    const { run, arrival } = await leave(context, () => ({
      ...{ id_token_hint: undefined, post_logout_redirect_uri: undefined, state: undefined },
    }))
    expectDone(await confirmed(run.browser, arrival))
    await expectSignedOut(run)
  },

  async 'oidcc-rp-initiated-logout-only-state'(context) {
    const { run, arrival } = await leave(context, () => ({
      ...{ id_token_hint: undefined, post_logout_redirect_uri: undefined },
    }))
    expectDone(await confirmed(run.browser, arrival))
    await expectSignedOut(run)
  },

  async 'oidcc-rp-initiated-logout-no-post-logout-redirect-uri'(context) {
    const { run, arrival } = await leave(context, () => ({ post_logout_redirect_uri: undefined }))
    expectDone(arrival)
    await expectSignedOut(run)
  },

  async 'oidcc-rp-initiated-logout-no-state'(context) {
    const { run, request, arrival } = await leave(context, () => ({ state: undefined }))
    expectReturn(context, request, arrival)
    await expectSignedOut(run)
  },

  async 'oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri'(context) {
    const longer = `${context.first.returnUri}?foo=bar`
    const { arrival } = await leave(context, () => ({ post_logout_redirect_uri: longer }))
    expectLogoutError(arrival)
  },
}

export const BACK_CHANNEL: Readonly<Record<string, Module>> = {
  async 'oidcc-backchannel-logout-discovery-endpoint-verification'(context) {
    const { metadata } = (await begin(context)).provider
    endpoint(metadata, 'end_session_endpoint')
    expect(metadata, 'discovery: back-channel logout, with sessions').toMatchObject({
      backchannel_logout_supported: true,
      backchannel_logout_session_supported: true,
    })
  },

  async 'oidcc-backchannel-rp-initiated-logout'(context) {
    const seen = context.received.length
    const { run, signedIn, request, arrival } = await leave(context)
    expectReturn(context, request, arrival)
    await checkLogoutToken(run, signedIn, await logoutCall(context, seen))
    await expectSignedOut(run)
  },
}

/** A login, then the end-session endpoint with what the module changes. */
async function leave(
  context: Context,
  changes: (signedIn: SignedIn) => Changes | Promise<Changes> = () => ({}),
): Promise<Leaving> {
  const run = await begin(context)
  const signedIn = await signIn(run)
  const request = presentIn({
    id_token_hint: signedIn.idToken,
    post_logout_redirect_uri: context.first.returnUri,
    state: randomText(128),
    ...(await changes(signedIn)),
  })
  const address = endpoint(run.provider.metadata, 'end_session_endpoint')
  const arrival = await run.browser.open(
    Object.keys(request).length === 0 ? address : urlWith(address, request),
  )
  return { run, signedIn, request, arrival }
}

/** The person says yes on the page that asks. */
function confirmed(browser: Browser, arrival: Arrival): Promise<Arrival> {
  const page = expectPage(arrival, 'logout-confirm', 'Do you want to sign out?')
  return browser.submit(page, new URL(page.url).pathname)
}

function expectReturn({ first }: Context, { state }: Parameters, arrival: Arrival): void {
  const { url, parameters } = expectLanding(arrival)
  expect(url.split('?')[0], 'logout: the registered address').toBe(first.returnUri)
  expect(parameters, 'logout: state comes back, and nothing else').toEqual(
    state === undefined ? {} : { state },
  )
}

function expectLogoutError(arrival: Arrival): void {
  const page = expectPage(arrival, 'error-logout', 'We could not return you to the service.')
  expect(page.status, 'page error-logout: status').toBe(400)
  expect(page.html, 'page error-logout: final').not.toMatch(/<script|<form|http-equiv/)
}

function expectDone(arrival: Arrival): void {
  const page = expectPage(arrival, 'logout-done', 'You are signed out.')
  expect(page.html, 'page logout-done: final').not.toMatch(/<script|<form|http-equiv/)
}

/** Nobody is signed in at this client in this browser any more. */
async function expectSignedOut(run: Run): Promise<void> {
  const { request, arrival } = await ask(run, { prompt: 'none' })
  checkError(run.context, request, expectLanding(arrival), ['login_required'])
}

/** The logout token that reaches the client's address after `seen` other requests; it comes beside the answer. */
async function logoutCall({ received, first }: Context, seen: number): Promise<string> {
  const patience = Date.now() + 5000
  const path = `/${first.clientId}/logout`
  const find = () => received.slice(seen).find((one) => one.path === path)
  while (find() === undefined && Date.now() < patience) await wait(20)
  const call = find()
  expect(call, 'logout token: it is sent').toMatchObject({
    method: 'POST',
    type: 'application/x-www-form-urlencoded',
  })
  const form = new URLSearchParams(call?.body)
  expect([...form.keys()], 'logout token: alone in its form').toEqual(['logout_token'])
  return form.get('logout_token') ?? ''
}

async function checkLogoutToken(
  { provider, context, client }: Run,
  { claims: { sub, sid } }: SignedIn,
  token: string,
): Promise<void> {
  const { typ, kid, alg } = decodeProtectedHeader(token)
  expect(typ, 'logout token: typ').toBe('logout+jwt')
  const key = provider.keys.find((one) => one.kid === kid) ?? {}
  const verified = await compactVerify(token, await importJWK(key, alg)).catch(() => undefined)
  expect(verified, 'logout token: signature').toBeDefined()
  const claims = JSON.parse(new TextDecoder().decode(verified?.payload))
  expect(claims, 'logout token: issuer, audience, person and session').toMatchObject({
    ...{ iss: context.issuer, aud: client.clientId, sub, sid },
    events: { 'http://schemas.openid.net/event/backchannel-logout': {} },
  })
  const now = Date.now() / 1000
  expect(Math.abs(claims.iat - now), 'logout token: iat').toBeLessThan(60)
  expect(claims.exp, 'logout token: exp').toBeGreaterThan(now)
  expect(claims.jti, 'logout token: jti').toMatch(/.{16}/)
  expect(claims, 'logout token: no nonce').not.toHaveProperty('nonce')
}
