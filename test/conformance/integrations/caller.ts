/** An app that calls an API: a client of its own that signs a person in for a resource, with openid-client. */

import * as oidc from 'openid-client'
import { expect } from 'vitest'
import type { Phone } from '../../../dev/phone/phone.ts'
import type { World } from '../../../dev/world.ts'
import { Browser } from './browser.ts'
import { type Decision, logIn } from './person.ts'

export interface Caller {
  /** Of a fresh approval: for `resource` a JWT, without one opaque. */
  readonly signIn: (phone: Phone, resource?: string, decision?: Decision) => Promise<Tokens>
  /** Calls the API with `token`; a bound one with a proof of its key. */
  readonly call: (token: string, method: 'GET' | 'POST', url: string) => Promise<Response>
  /** Sends the last call once more to `url`, as somebody who has copied it. */
  readonly copy: (url: string) => Promise<Response>
  readonly revoke: (token: string) => Promise<void>
}

export type Tokens = Readonly<Record<'access_token' | 'id_token', string>>

/** Registers `clientId` as a client of the API at `api`, and lies `changes` over its record. */
export async function registerCaller(
  world: World,
  clientId: string,
  api: string,
  changes: Readonly<Record<string, unknown>> = {},
): Promise<Caller> {
  // Nobody listens there but the API itself, to which the address means nothing.
  const redirectUri = `${api}/callback-of-${clientId}`
  const { secret } = await world.operator.put(`/operator/services/${clientId}`, {
    name: 'An app',
    url: `${api}/`,
    origins: [],
    allowedScopes: ['identity:name', 'identity:age_over_18'],
    defaultScopes: [],
    subjectType: 'pairwise',
    oidc: {
      redirect_uris: [redirectUri],
      resources: [api],
      claims_in_access_token: true,
      ...changes,
    },
  })
  const config = await oidc.discovery(
    new URL(world.product),
    clientId,
    { id_token_signed_response_alg: 'ES256' },
    oidc.ClientSecretBasic(String(secret)),
    { execute: [oidc.allowInsecureRequests] },
  )
  const isBound = changes.dpop_bound_access_tokens === true
  const DPoP = isBound ? oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair('ES256')) : null
  const options = DPoP === null ? {} : { DPoP }
  let last: RequestInit = {}
  config[oidc.customFetch] = (url, init) => {
    last = init as RequestInit
    return fetch(url, last)
  }

  return {
    async signIn(phone, resource, decision) {
      const pkceCodeVerifier = oidc.randomPKCECodeVerifier()
      const expectedState = oidc.randomState()
      const url = oidc.buildAuthorizationUrl(config, {
        redirect_uri: redirectUri,
        scope: 'openid identity:age_over_18',
        state: expectedState,
        code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
        code_challenge_method: 'S256',
        ...(resource === undefined ? {} : { resource }),
      })
      const browser = new Browser()
      const landed = await logIn(browser, await browser.open(url.href), phone, decision)
      const checks = { pkceCodeVerifier, expectedState }
      const answer = new URL(landed.url)
      const tokens = await oidc.authorizationCodeGrant(config, answer, checks, {}, options)
      expect(tokens.token_type).toBe(isBound ? 'dpop' : 'bearer')
      return { access_token: tokens.access_token, id_token: tokens.id_token ?? '' }
    },
    async call(token, method, url) {
      if (DPoP === null) {
        return fetch(url, { method, headers: { Authorization: `Bearer ${token}` } })
      }
      return oidc
        .fetchProtectedResource(config, token, new URL(url), method, undefined, undefined, options)
        .catch((fault) => fault.response ?? Promise.reject(fault))
    },
    copy: (url) => fetch(url, last),
    revoke: (token) => oidc.tokenRevocation(config, token),
  }
}
