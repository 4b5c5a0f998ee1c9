/** The modules about how a client proves who it is: assertions, and whose code it brings (4-oidc section 5.6). */
import { expect } from 'vitest'
import { endpoint } from '../oidc/party.ts'
import { checkPushed, checkRefusal } from './checks.ts'
import { authorize, begin, finish, orderOf, push, type Run, redeem, signIn } from './flow.ts'
import {
  type AssertionChanges,
  assertionOf,
  byAssertion,
  type FapiModule,
  secondsNow,
} from './party.ts'

const INVALID_CLIENT = ['invalid_client']

export const CLIENTS: Readonly<Record<string, FapiModule>> = {
  async 'ensure-client-id-in-token-endpoint'(context) {
    const run = await begin(context)
    const approved = await authorize(run)
    const answer = await redeem(run, approved, { client_id: context.second.clientId })
    checkRefusal(answer, 'token: an assertion of client 1 for client 2', [
      'invalid_client',
      'invalid_grant',
    ])
    await finish(run, approved)
  },

  async 'ensure-authorization-code-is-bound-to-client'(context) {
    const run = await begin(context)
    const approved = await authorize(run)
    const thief = { ...run, client: context.second }
    checkRefusal(await redeem(thief, approved), 'token: a code of another client', [
      'invalid_grant',
    ])
    await finish(run, approved)
  },

  async 'ensure-signed-client-assertion-with-RS256-fails'(context) {
    // The very key that is registered, and a good signature of it: only the algorithm is wrong.
    const run = await begin(context, context.ps256)
    await expectNoClient(run, { header: { alg: 'RS256' }, alg: 'RS256' })
  },

  async 'ensure-client-assertion-in-token-endpoint'(context) {
    const run = await begin(context)
    const approved = await authorize(run)
    const { clientId } = run.client
    const answer = await redeem(run, approved, { client_id: clientId }, { assertion: null })
    checkRefusal(answer, 'token: without an assertion', ['invalid_client', 'invalid_request'])
    const nobody = await redeem(run, approved, {}, { assertion: null })
    checkRefusal(nobody, 'token: without any client', ['invalid_client', 'invalid_request'])
    await finish(run, approved)
  },

  async 'ensure-client-assertion-with-exp-is-5-minutes-in-past-fails'(context) {
    const exp = secondsNow() - 300
    await expectNoClient(await begin(context), { claims: { exp, iat: exp - 60 } })
  },

  async 'ensure-client-assertion-with-wrong-aud-fails'(context) {
    const claims = { aud: 'https://other.example.com' }
    await expectNoClient(await begin(context), { claims })
  },

  async 'ensure-client-assertion-with-no-sub-fails'(context) {
    await expectNoClient(await begin(context), { claims: { sub: undefined } })
  },

  async 'par-test-array-as-audience-fails'(context) {
    await expectNotTakenByPar(await begin(context), { claims: { aud: [context.issuer] } })
  },

  async 'par-test-par-endpoint-url-as-audience-fails'(context) {
    const run = await begin(context)
    const aud = endpoint(run.provider.metadata, 'pushed_authorization_request_endpoint')
    await expectNotTakenByPar(run, { claims: { aud } })
  },

  async 'par-test-token-endpoint-url-as-audience-fails'(context) {
    const run = await begin(context)
    await expectNotTakenByPar(run, {
      claims: { aud: endpoint(run.provider.metadata, 'token_endpoint') },
    })
  },

  async 'par-ensure-jwt-client-assertions-nbf-8-seconds-in-the-future-is-accepted'(context) {
    const run = await begin(context)
    const soon = secondsNow() + 8
    const assertion = { claims: { nbf: soon, iat: soon } }
    checkPushed(await push(run, orderOf(run).request, { assertion }))
  },

  async 'par-ensure-jwt-client-assertions-nbf-over-60-seconds-in-the-future-fails'(context) {
    const later = secondsNow() + 65
    const claims = { nbf: later, iat: later, exp: later + 60 }
    await expectNotTakenByPar(await begin(context), { claims })
  },
}

/** What the plan doesn't send, and the profile or its standards say of the same assertions. */
export const MORE_CLIENTS: Readonly<Record<string, FapiModule>> = {
  async 'an assertion is good once, also at another endpoint'(context) {
    const run = await begin(context)
    const approved = await authorize(run)
    const { client } = run
    const assertion = byAssertion(assertionOf(client, context.issuer))
    checkPushed(await push(run, { ...orderOf(run).request, ...assertion }, { assertion: null }))
    const again = await push(run, { ...orderOf(run).request, ...assertion }, { assertion: null })
    checkRefusal(again, 'par: an assertion for the second time', INVALID_CLIENT)
    const elsewhere = await redeem(run, approved, assertion, { assertion: null })
    checkRefusal(elsewhere, 'token: an assertion that was used at par', INVALID_CLIENT)
    await finish(run, approved)
  },

  async 'an assertion of nobody we know, or of a key that is not registered'(context) {
    const run = await begin(context)
    const { key, kid } = context.second
    for (const [what, client] of Object.entries({
      'a foreign key under the right kid': { ...run.client, key },
      'the kid of another client': { ...run.client, kid },
      'the key and kid of another client': { ...run.client, key, kid },
    })) {
      const answer = await push({ ...run, client }, orderOf(run).request)
      checkRefusal(answer, `par: ${what}`, INVALID_CLIENT)
    }
  },

  async 'keys for PS256: the whole way'(context) {
    await signIn(await begin(context, context.ps256), {}, { proof: {} })
  },

  async 'keys for EdDSA: the whole way'(context) {
    await signIn(await begin(context, context.eddsa), {}, { proof: {} })
  },

  async 'a secret is nothing to a client with keys'(context) {
    const run = await begin(context)
    const { clientId, secret } = run.client
    const form = { ...orderOf(run).request, client_id: clientId, client_secret: secret }
    checkRefusal(await push(run, form, { assertion: null }), 'par: a secret', INVALID_CLIENT)
  },
}

/** An assertion that is refused at the token endpoint, where the code survives it, and with a pushed request. */
async function expectNoClient(run: Run, assertion: AssertionChanges): Promise<void> {
  await expectNotTakenByPar(run, assertion)
  const approved = await authorize(run)
  const answer = await redeem(run, approved, {}, { assertion })
  checkRefusal(answer, 'token: the assertion', INVALID_CLIENT)
  await finish(run, approved)
}

async function expectNotTakenByPar(run: Run, assertion: AssertionChanges): Promise<void> {
  const answer = await push(run, orderOf(run).request, { assertion })
  checkRefusal(answer, 'par: the assertion', [...INVALID_CLIENT, 'invalid_request'])
  expect(answer.headers.get('Location'), 'par: no redirect').toBeNull()
}
