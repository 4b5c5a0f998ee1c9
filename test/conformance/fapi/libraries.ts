/** The profile as independent relying-party libraries see it. They judge; what is here only leads them to the provider. */
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'
import { expect } from 'vitest'
import { Browser, type Landing } from '../oidc/browser.ts'
import { answerLogin } from '../oidc/party.ts'
import { cryptoKeysOf, makeKey } from './keys.ts'
import type { FapiClient, FapiContext, FapiModule } from './party.ts'

const SCOPE = 'openid profile identity:age_over_18 offline_access'
const CAMILLE = {
  given_name: 'Camille',
  family_name: 'Martin',
  name: 'Camille Martin',
  age_over_18: true,
}

/** A browser follows `url`, and the person answers on the phone. */
async function logIn({ issuer, person }: FapiContext, url: URL): Promise<Landing> {
  const browser = new Browser(issuer)
  return answerLogin(browser, person, await browser.open(url))
}

/** The key that a library signs assertions with. */
async function signerOf({ key, kid }: FapiClient) {
  return { key: (await cryptoKeysOf(key)).privateKey, kid }
}

const OPENID_CLIENT: Readonly<Record<string, FapiModule>> = {
  async 'PAR, private_key_jwt and DPoP, with ES256'(context) {
    const { config, tokens, sub, DPoP } = await signInByOpenid(context, context.library)
    expect(await openid.fetchUserInfo(config, tokens.access_token, sub, { DPoP })).toEqual({
      ...CAMILLE,
      sub,
    })
  },

  async 'PAR, private_key_jwt and DPoP, with PS256'(context) {
    const { config, tokens, sub, DPoP } = await signInByOpenid(context, context.ps256)
    const userinfo = await openid.fetchUserInfo(config, tokens.access_token, sub, { DPoP })
    expect(userinfo).toMatchObject(CAMILLE)
  },

  async 'refresh: the same key, the same person'(context) {
    const { config, tokens, sub, DPoP } = await signInByOpenid(context, context.library)
    const { refresh_token = '' } = tokens
    const again = await openid.refreshTokenGrant(config, refresh_token, {}, { DPoP })
    expect(again.token_type).toBe('dpop')
    expect(again.claims()?.sub).toBe(sub)
    const userinfo = await openid.fetchUserInfo(config, again.access_token, sub, { DPoP })
    expect(userinfo).toMatchObject(CAMILLE)
  },

  async 'the token of one key is nothing with another, or with none'(context) {
    const { config, tokens, sub } = await signInByOpenid(context, context.library)
    const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair('ES256'))
    for (const options of [{ DPoP }, {}]) {
      await expect(
        openid.fetchUserInfo(config, tokens.access_token, sub, options),
      ).rejects.toMatchObject({ code: oauth.WWW_AUTHENTICATE_CHALLENGE, status: 401 })
    }
  },
}

/** Pushed request, login and redemption, as the library makes them; it answers challenges for a nonce by itself. */
async function signInByOpenid(context: FapiContext, client: FapiClient) {
  const config = await openid.discovery(
    new URL(context.issuer),
    client.clientId,
    {},
    openid.PrivateKeyJwt(await signerOf(client)),
    { execute: [openid.allowInsecureRequests] },
  )
  const DPoP = openid.getDPoPHandle(config, await cryptoKeysOf(makeKey(client.key.alg)))
  const pkceCodeVerifier = openid.randomPKCECodeVerifier()
  const expectedNonce = openid.randomNonce()
  const expectedState = openid.randomState()
  const order = {
    redirect_uri: client.redirectUri,
    scope: SCOPE,
    prompt: 'consent',
    state: expectedState,
    nonce: expectedNonce,
    code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
  }
  const url = await openid.buildAuthorizationUrlWithPAR(config, order, { DPoP })
  expect([...url.searchParams.keys()].toSorted()).toEqual(['client_id', 'request_uri'])
  const landing = await logIn(context, url)
  const checks = { pkceCodeVerifier, expectedNonce, expectedState, idTokenExpected: true }
  const answer = new URL(landing.url)
  const tokens = await openid.authorizationCodeGrant(config, answer, checks, {}, { DPoP })
  expect(tokens.token_type).toBe('dpop')
  const sub = tokens.claims()?.sub ?? ''
  expect(sub).toBe(context.person.tokenId)
  return { config, tokens, sub, DPoP }
}

const insecure = { [oauth.allowInsecureRequests]: true } as const

const OAUTH4WEBAPI: Readonly<Record<string, FapiModule>> = {
  async 'PAR, private_key_jwt and DPoP: each endpoint asks for its nonce once'(context) {
    const { as, rp, DPoP, tokens } = await signInByOauth(context, context.library)
    const { person } = context
    const answer = await oauth.userInfoRequest(as, rp, tokens.access_token, { ...insecure, DPoP })
    const userinfo = await oauth.processUserInfoResponse(as, rp, person.tokenId, answer)
    expect(userinfo).toMatchObject(CAMILLE)
  },

  async 'dpop_jkt in place of a proof binds the code'(context) {
    const { tokens } = await signInByOauth(context, context.library, 'dpop_jkt')
    expect(oauth.getValidatedIdTokenClaims(tokens)?.sub).toBe(context.person.tokenId)
  },

  async 'a pushed request without a challenge: an error of the protocol'(context) {
    const { as, rp, authentication } = await partyByOauth(context, context.library)
    const order = { redirect_uri: context.library.redirectUri, response_type: 'code', scope: SCOPE }
    const answer = await oauth.pushedAuthorizationRequest(as, rp, authentication, order, insecure)
    await expect(oauth.processPushedAuthorizationResponse(as, rp, answer)).rejects.toMatchObject({
      code: oauth.RESPONSE_BODY_ERROR,
      error: 'invalid_request',
    })
  },
}

async function partyByOauth({ issuer }: FapiContext, client: FapiClient) {
  const address = new URL(issuer)
  const discovery = await oauth.discoveryRequest(address, insecure)
  const as = await oauth.processDiscoveryResponse(address, discovery)
  const rp: oauth.Client = { client_id: client.clientId }
  return { as, rp, authentication: oauth.PrivateKeyJwt(await signerOf(client)) }
}

/** The same, step by step: this library leaves the second try to its caller. */
async function signInByOauth(
  context: FapiContext,
  client: FapiClient,
  bound: 'proof' | 'dpop_jkt' = 'proof',
) {
  const { as, rp, authentication } = await partyByOauth(context, client)
  const DPoP = oauth.DPoP(rp, await cryptoKeysOf(makeKey()))
  const [verifier, nonce, state] = [
    oauth.generateRandomCodeVerifier(),
    oauth.generateRandomNonce(),
    oauth.generateRandomState(),
  ]
  const order = {
    ...{ response_type: 'code', client_id: client.clientId, redirect_uri: client.redirectUri },
    ...{ scope: SCOPE, state, nonce },
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...(bound === 'proof' ? {} : { dpop_jkt: await DPoP.calculateThumbprint() }),
  }
  const { request_uri } = await withNonce(async () => {
    const options = bound === 'proof' ? { ...insecure, DPoP } : insecure
    return oauth.processPushedAuthorizationResponse(
      as,
      rp,
      await oauth.pushedAuthorizationRequest(as, rp, authentication, order, options),
    )
  })
  const url = new URL(as.authorization_endpoint ?? '')
  url.search = new URLSearchParams({ client_id: client.clientId, request_uri }).toString()
  const landing = await logIn(context, url)
  const parameters = oauth.validateAuthResponse(as, rp, new URL(landing.url), state)
  const tokens = await withNonce(async () =>
    oauth.processAuthorizationCodeResponse(
      as,
      rp,
      await oauth.authorizationCodeGrantRequest(
        ...([as, rp, authentication, parameters, client.redirectUri, verifier] as const),
        { ...insecure, DPoP },
      ),
      { expectedNonce: nonce, requireIdToken: true },
    ),
  )
  expect(tokens.token_type).toBe('dpop')
  return { as, rp, DPoP, tokens }
}

/** Once more when the provider wants its nonce, which the library has kept by then. */
async function withNonce<T>(send: () => Promise<T>): Promise<T> {
  try {
    return await send()
  } catch (fault) {
    if (!oauth.isDPoPNonceError(fault)) throw fault
    return send()
  }
}

export const LIBRARIES: Readonly<Record<string, Readonly<Record<string, FapiModule>>>> = {
  'openid-client 6': OPENID_CLIENT,
  oauth4webapi: OAUTH4WEBAPI,
}
