/** The modules about codes that come again or late, and about refresh tokens (4-oidc section 5.6). */
import { setTimeout as wait } from 'node:timers/promises'
import { expect } from 'vitest'
import { checkBoundTokens, checkRefusal, checkRefusedAccess } from './checks.ts'
import { ask, authorize, begin, type Run, redeem, refresh, signIn, use } from './flow.ts'
import { makeKey } from './keys.ts'
import type { FapiModule } from './party.ts'

export const TOKENS: Readonly<Record<string, FapiModule>> = {
  async 'attempt-reuse-authorization-code-after-one-second'(context) {
    const run = await begin(context)
    const signedIn = await signIn(run, { scope: 'openid offline_access', prompt: 'consent' })
    await wait(1000)
    checkRefusal(await redeem(run, signedIn), 'token: a code for the second time', [
      'invalid_grant',
    ])
    const answer = await ask(run, signedIn.accessToken)
    checkRefusedAccess(answer, 'userinfo: after the second use of its code')
    checkRefusal(await refresh(run, signedIn.refreshToken), 'refresh: after that', [
      'invalid_grant',
    ])
  },

  async 'ensure-token-endpoint-fails-with-expired-auth-code'(context) {
    const run = await begin(context)
    const approved = await authorize(run)
    await wait(62_000)
    checkRefusal(await redeem(run, approved), 'token: a code of 62 seconds', ['invalid_grant'])
  },

  async 'refresh-token'(context) {
    const one = await begin(context)
    const two = await begin(context, context.second)
    const [first, second] = await Promise.all([refreshTwice(one), refreshTwice(two)])
    const late = ['invalid_client', 'invalid_request', 'invalid_grant', 'invalid_dpop_proof']
    const { clientId } = context.first
    const anonymous = await refresh(one, first, { assertion: null }, { client_id: clientId })
    checkRefusal(anonymous, 'refresh: without client authentication', late)
    checkRefusal(await refresh(one, first, { proof: null }), 'refresh: without a proof', late)
    checkRefusal(await refresh(one, first, { key: makeKey() }), 'refresh: another key', late)
    checkRefusal(await refresh(one, second), 'refresh: a token of another client', [
      'invalid_grant',
    ])
    const borrowed = { ...one, key: two.key }
    checkRefusal(await refresh(borrowed, second), 'refresh: that, with its key', ['invalid_grant'])
    // None of these spent or killed anything.
    expect((await refresh(one, first)).status, 'refresh: afterwards').toBe(200)
    expect((await refresh(two, second)).status, 'refresh: afterwards, client 2').toBe(200)
  },
}

/**
 * Refreshes, and half a minute later once more with the token before: its answer may have been lost (FAPI 2.0 Security
 * Profile section 5.3.2.1). Gives the newest refresh token.
 */
async function refreshTwice(run: Run): Promise<string> {
  const { context, client, provider } = run
  expect(provider.metadata.grant_types_supported, 'discovery: refresh_token').toContain(
    'refresh_token',
  )
  const first = await signIn(run, { scope: 'openid offline_access', prompt: 'consent' })
  expect(first.refreshToken, 'token: a refresh token').toBeDefined()
  const again = async () => {
    const answer = await refresh(run, first.refreshToken)
    const tokens = await checkBoundTokens(answer, provider, context, client, undefined)
    for (const name of ['iss', 'sub', 'aud', 'auth_time', 'acr']) {
      expect(tokens.claims[name], `refreshed id_token: same ${name}`).toEqual(first.claims[name])
    }
    await use(run, tokens)
    return tokens.refreshToken ?? first.refreshToken ?? ''
  }
  await again()
  await wait(30_000)
  return again()
}
