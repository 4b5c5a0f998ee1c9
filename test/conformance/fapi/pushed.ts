/** The modules about pushed requests and their references, and about PKCE (4-oidc section 5.6, RFC 9126, RFC 7636). */
import { setTimeout as wait } from 'node:timers/promises'
import { expect } from 'vitest'
import type { Arrival, Page } from '../oidc/browser.ts'
import { checkAnswer } from '../oidc/checks.ts'
import {
  answerLogin,
  type Changes,
  challengeOf,
  expectLanding,
  expectLoginPage,
  expectPage,
  randomText,
} from '../oidc/party.ts'
import { checkRefusal } from './checks.ts'
import {
  approve,
  authorize,
  begin,
  finish,
  open,
  orderOf,
  push,
  pushed,
  type Run,
  redeem,
} from './flow.ts'
import { callByMethod, type FapiModule } from './party.ts'

export const PUSHED: Readonly<Record<string, FapiModule>> = {
  async 'par-ensure-reused-request-uri-prior-to-auth-completion-succeeds'(context) {
    const run = await begin(context)
    const order = await pushed(run)
    expectLoginPage(await open(run, order))
    await finish(run, await approve(run, order, await open(run, order)))
  },

  async 'par-attempt-reuse-request_uri'(context) {
    const run = await begin(context)
    const order = await pushed(run)
    await finish(run, await approve(run, order, await open(run, order)))
    expectReferencePage(await open(run, order))
    // Nor in another browser.
    expectReferencePage(await open(await begin(context), order))
  },

  async 'par-attempt-to-use-expired-request_uri'(context) {
    const run = await begin(context)
    const order = await pushed(run)
    await wait((order.expiresIn + 1) * 1000)
    expectReferencePage(await open(run, order))
  },

  async 'par-attempt-to-use-request_uri-for-different-client'(context) {
    const run = await begin(context)
    const order = await pushed(run)
    expectReferencePage(await open({ ...run, client: context.second }, order))
    await finish(run, await approve(run, order, await open(run, order)))
  },

  async 'par-authorization-request-containing-request_uri-form-param'(context) {
    const run = await begin(context)
    const { requestUri } = await pushed(run)
    for (const request_uri of [requestUri, 'urn:ietf:params:oauth:request_uri:4711']) {
      await expectRefused(run, { request_uri }, [
        'invalid_request',
        'invalid_request_object',
        'request_uri_not_supported',
      ])
    }
  },

  async 'par-attempt-invalid-http-method'(context) {
    const { metadata } = (await begin(context)).provider
    for (const method of ['GET', 'PUT', 'DELETE', 'PATCH']) {
      const name = 'pushed_authorization_request_endpoint'
      const { status, headers } = await callByMethod(metadata, name, method)
      expect(status, `par: ${method} is 405`).toBe(405)
      expect(headers.get('Allow'), `par: ${method} is told what is allowed`).toContain('POST')
    }
  },

  async 'par-ensure-pkce-required'(context) {
    const run = await begin(context)
    const none = { code_challenge: undefined, code_challenge_method: undefined }
    await expectRefused(run, none, ['invalid_request'])
    await expectRefused(run, { code_challenge: undefined }, ['invalid_request'])
  },

  async 'par-plain-pkce-rejected'(context) {
    const run = await begin(context)
    const plain = { code_challenge: randomText(64), code_challenge_method: 'plain' }
    await expectRefused(run, plain, ['invalid_request'])
    // Without a method it would be plain (RFC 7636 section 4.3).
    await expectRefused(run, { code_challenge_method: undefined }, ['invalid_request'])
  },

  async 'ensure-pkce-code-verifier-required'(context) {
    await expectVerifier(await begin(context), undefined)
  },

  async 'incorrect-pkce-code-verifier-rejected'(context) {
    await expectVerifier(await begin(context), randomText(64))
  },

  async 'par-without-duplicate-parameters'(context) {
    const run = await begin(context)
    const order = await pushed(run)
    // Everything once more in the address, and then nothing but the reference.
    const { client_id: _, ...rest } = order.request
    expectLoginPage(await open(run, order, rest))
    await finish(run, await approve(run, order, await open(run, order)))
  },
}

/** What the plan doesn't send, and RFC 9126 says of references. */
export const MORE_PUSHED: Readonly<Record<string, FapiModule>> = {
  async 'two references of one request are two'(context) {
    const run = await begin(context)
    const order = orderOf(run)
    const push = async () => ({ ...(await pushed(run, order.request)), verifier: order.verifier })
    const first = await push()
    const second = await push()
    expect(first.requestUri, 'par: another reference').not.toBe(second.requestUri)
    await finish(run, await approve(run, first, await open(run, first)))
    await finish(run, await approve(run, second, await open(run, second)))
  },

  async 'a reference that was changed, cut or made up'(context) {
    const run = await begin(context)
    const { requestUri } = await pushed(run)
    const middle = Math.floor(requestUri.length / 2) + 10
    const flipped = requestUri[middle] === 'A' ? 'B' : 'A'
    for (const bad of [
      requestUri.slice(0, middle) + flipped + requestUri.slice(middle + 1),
      requestUri.slice(0, -4),
      `urn:ietf:params:oauth:request_uri:${randomText(300)}`,
    ]) {
      expectReferencePage(await open(run, { requestUri: bad, expiresIn: 60 }))
    }
  },

  async 'a reference opened again after the number was typed'(context) {
    const run = await begin(context)
    const order = await pushed(run)
    await typeNumber(run, await open(run, order))
    await finish(run, await approve(run, order, await open(run, order)))
  },

  async 'a login belongs to the browser that began it, whoever else has its reference'(context) {
    const run = await begin(context)
    const order = await pushed(run)
    const waiting = await typeNumber(run, await open(run, order))
    const other = await begin(context)
    const start = expectLoginPage(await open(other, order))
    const { tokenId } = context.person
    const refused = await other.browser.submit(start, '/login/address', { tokenId })
    expectPage(refused, 'login-over', /This sign-in has ended/)
    await context.person.approve(/data-session="([^"]*)"/.exec(waiting.html)?.[1] ?? '')
    const answer = expectLanding(await run.browser.submit(waiting, '/login/continue'))
    const { request, verifier } = order
    await finish(run, { request, verifier, answer, code: checkAnswer(context, request, answer) })
  },

  async 'a login that was declined has used up its reference'(context) {
    const run = await begin(context)
    const order = await pushed(run)
    const arrival = await open(run, order)
    await answerLogin(run.browser, context.person, arrival, { declined: true })
    expectReferencePage(await open(run, order))
  },

  async 'a challenge is held to in the code, whatever the token request says'(context) {
    const run = await begin(context)
    const approved = await authorize(run)
    const verifier = randomText(64)
    const answer = await redeem(run, approved, {
      ...{ code_verifier: verifier, code_challenge: challengeOf(verifier) },
    })
    checkRefusal(answer, 'token: a challenge of its own', ['invalid_grant'])
    await finish(run, approved)
  },
}

/** A pushed request that must be refused. */
export async function expectRefused(
  run: Run,
  changes: Changes,
  errors: readonly string[],
): Promise<void> {
  const { request } = orderOf(run, changes)
  checkRefusal(await push(run, request), 'par: the request', errors)
}

/** `verifier` is refused with a code that the right one redeems afterwards. */
async function expectVerifier(run: Run, verifier: string | undefined): Promise<void> {
  const approved = await authorize(run)
  const answer = await redeem(run, approved, { code_verifier: verifier })
  checkRefusal(answer, 'token: the verifier', ['invalid_grant'])
  await finish(run, approved)
}

/** The person types the number; the login waits for the phone. */
async function typeNumber({ browser, context }: Run, arrival: Arrival): Promise<Page> {
  const { tokenId } = context.person
  const waiting = await browser.submit(expectLoginPage(arrival), '/login/address', { tokenId })
  return expectPage(waiting, 'login-pushing', /Approve on your phone/)
}

function expectReferencePage(arrival: Arrival): void {
  const sentence = 'This sign-in request has expired or was already used.'
  const page = expectPage(arrival, 'error-request-uri', sentence)
  expect(page.status, 'page error-request-uri: status').toBe(400)
  expect(page.html, 'page error-request-uri: final').not.toMatch(/<script|<form|http-equiv/)
}
