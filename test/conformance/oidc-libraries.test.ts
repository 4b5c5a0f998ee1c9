/**
 * The OpenID Connect door as independent relying-party libraries see it: openid-client 6, oauth4webapi, and openid-client 5,
 * which takes RS256 unless it is told otherwise. They judge; the tests only lead them to the provider.
 */
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { decodeProtectedHeader, exportJWK, generateKeyPair } from 'jose'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'
import { Issuer } from 'openid-client-5'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Browser, type Landing } from './oidc/browser.ts'
import { answerLogin, type Decision, expectLanding, expectPage, randomText } from './oidc/party.ts'
import { type Client, type Person, startOidcWorld, type World } from './oidc/world.ts'

let world: World
let camille: Person
let suryani: Person

beforeAll(async () => {
  world = await startOidcWorld()
  camille = await world.enroll('camille')
  suryani = await world.enroll('suryani')
})

afterAll(() => world?.stop())

let clients = 0

/** A client of its own for each test, with the defaults of the product: PKCE demanded, claims in the id_token. */
function register(
  oidc: Readonly<Record<string, unknown>> = {},
  changes: Readonly<Record<string, unknown>> = {},
): Promise<Client> {
  clients += 1
  const clientId = `library-${clients}`
  // openid-client 6 takes the whole query of the address for the answer.
  const redirect_uris = [`${world.party}/${clientId}/cb`]
  return world.register(clientId, { redirect_uris, ...oidc }, changes)
}

/** A browser follows `url`, and the person answers on the phone. */
async function logIn(
  url: string | URL,
  { person = camille, browser = new Browser(world.issuer), ...decision }: LogInOptions = {},
): Promise<Landing> {
  return answerLogin(browser, person, await browser.open(url), decision)
}

type LogInOptions = Decision & { readonly person?: Person; readonly browser?: Browser }

const SCOPE = 'openid profile identity:age_over_18'
const CAMILLE = {
  given_name: 'Camille',
  family_name: 'Martin',
  name: 'Camille Martin',
  age_over_18: true,
}

describe('openid-client 6', () => {
  type Checks = Required<
    Pick<
      openid.AuthorizationCodeGrantChecks,
      'expectedNonce' | 'expectedState' | 'pkceCodeVerifier'
    >
  >

  async function configure(
    client: Client,
    metadata: Partial<openid.ClientMetadata> = {},
  ): Promise<openid.Configuration> {
    const authentication = {
      client_secret_basic: openid.ClientSecretBasic(client.secret),
      client_secret_post: openid.ClientSecretPost(client.secret),
      none: openid.None(),
    }[client.method]
    return openid.discovery(new URL(world.issuer), client.clientId, metadata, authentication, {
      execute: [openid.allowInsecureRequests],
    })
  }

  /** An authorization request of the library, and what its answer must fit. */
  async function plan(
    config: openid.Configuration,
    client: Client,
    more: Readonly<Record<string, string>> = {},
  ): Promise<{ readonly url: URL; readonly checks: Checks }> {
    const pkceCodeVerifier = openid.randomPKCECodeVerifier()
    const expectedNonce = openid.randomNonce()
    const expectedState = openid.randomState()
    const url = openid.buildAuthorizationUrl(config, {
      redirect_uri: client.redirectUri,
      scope: SCOPE,
      state: expectedState,
      nonce: expectedNonce,
      code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
      code_challenge_method: 'S256',
      ...more,
    })
    return { url, checks: { pkceCodeVerifier, expectedNonce, expectedState } }
  }

  /** Request, login and redemption. */
  async function signIn(
    config: openid.Configuration,
    client: Client,
    more: Readonly<Record<string, string>> = {},
    options: LogInOptions = {},
  ) {
    const { url, checks } = await plan(config, client, more)
    const landing = await logIn(url, options)
    return openid.authorizationCodeGrant(config, new URL(landing.url), checks)
  }

  test('code, PKCE and userinfo', async () => {
    const client = await register()
    const config = await configure(client)
    const tokens = await signIn(config, client)
    const claims = tokens.claims()
    expect(claims).toMatchObject({ ...CAMILLE, sub: camille.tokenId })
    expect(tokens.expiresIn()).toBeGreaterThan(3500)
    const userinfo = await openid.fetchUserInfo(config, tokens.access_token, String(claims?.sub))
    expect(userinfo).toEqual({ ...CAMILLE, sub: camille.tokenId })
  })

  test('RS256 for a client that is registered with it', async () => {
    const client = await register({ id_token_signed_response_alg: 'RS256' })
    const config = await configure(client, { id_token_signed_response_alg: 'RS256' })
    const { id_token } = await signIn(config, client)
    expect(decodeProtectedHeader(id_token ?? '').alg).toBe('RS256')
  })

  test('client_secret_post', async () => {
    const client = await register({ token_endpoint_auth_method: 'client_secret_post' })
    const tokens = await signIn(await configure(client), client)
    expect(tokens.claims()?.aud).toBe(client.clientId)
  })

  test('a public native client on a loopback port that nobody registered', async () => {
    const native = await register({
      redirect_uris: ['http://127.0.0.1:1/cb'],
      application_type: 'native',
      token_endpoint_auth_method: 'none',
    })
    const client = { ...native, redirectUri: 'http://127.0.0.1:49152/cb' }
    const tokens = await signIn(await configure(client), client)
    expect(tokens.claims()?.sub).toBe(camille.tokenId)
  })

  test('refresh: again the same person, no nonce, and what was granted', async () => {
    const client = await register({ offline_access: true })
    const config = await configure(client)
    const more = { scope: `${SCOPE} offline_access`, prompt: 'consent' }
    const first = await signIn(config, client, more)
    const second = await openid.refreshTokenGrant(config, first.refresh_token ?? '')
    expect(second.claims()).toMatchObject({
      ...CAMILLE,
      auth_time: first.claims()?.auth_time,
      sub: camille.tokenId,
    })
    expect(second.claims()).not.toHaveProperty('nonce')
    expect(second.refresh_token).not.toBe(first.refresh_token)
    const third = await openid.refreshTokenGrant(config, second.refresh_token ?? '')
    const userinfo = await openid.fetchUserInfo(config, third.access_token, camille.tokenId)
    expect(userinfo).toMatchObject(CAMILLE)
  })

  test('end session: back to the client with its state, and signed out', async () => {
    const client = await register()
    const config = await configure(client)
    const browser = new Browser(world.issuer)
    const { id_token } = await signIn(config, client, {}, { browser })
    const landing = expectLanding(
      await browser.open(
        openid.buildEndSessionUrl(config, {
          id_token_hint: id_token ?? '',
          post_logout_redirect_uri: client.returnUri,
          state: 'bye',
        }),
      ),
    )
    expect(landing).toMatchObject({ url: `${client.returnUri}?state=bye` })
    const { url, checks } = await plan(config, client, { prompt: 'none' })
    const silent = expectLanding(await browser.open(url))
    await expect(
      openid.authorizationCodeGrant(config, new URL(silent.url), checks),
    ).rejects.toMatchObject({ error: 'login_required' })
  })

  test.each([
    ['ECDH-ES', 'A256GCM'],
    ['ECDH-ES+A256KW', 'A128CBC-HS256'],
    ['RSA-OAEP', 'A128CBC-HS256'],
    ['RSA-OAEP-256', 'A256GCM'],
  ])('an encrypted id_token: %s with %s', async (alg, enc) => {
    const { publicKey, privateKey } = await generateKeyPair(alg)
    const kid = 'key-of-the-client'
    const client = await register({
      id_token_encrypted_response_alg: alg,
      id_token_encrypted_response_enc: enc,
      jwks: { keys: [{ ...(await exportJWK(publicKey)), kid, use: 'enc' }] },
    })
    const config = await configure(client)
    openid.enableDecryptingResponses(config, [enc], { key: privateKey, kid })
    const tokens = await signIn(config, client)
    expect(decodeProtectedHeader(tokens.id_token ?? '')).toMatchObject({ alg, enc, kid })
    expect(tokens.claims()).toMatchObject(CAMILLE)
  })

  test('form_post: the answer is a POST to the client', async () => {
    const client = await register()
    const config = await configure(client)
    const { url, checks } = await plan(config, client, { response_mode: 'form_post' })
    const { url: address, parameters } = await logIn(url)
    const posted = new Request(address, { method: 'POST', body: new URLSearchParams(parameters) })
    const tokens = await openid.authorizationCodeGrant(config, posted, checks)
    expect(tokens.claims()).toMatchObject(CAMILLE)
  })

  test('declined on the phone: access_denied', async () => {
    const client = await register()
    const config = await configure(client)
    const { url, checks } = await plan(config, client)
    const landing = await logIn(url, { declined: true })
    await expect(
      openid.authorizationCodeGrant(config, new URL(landing.url), checks),
    ).rejects.toMatchObject({ error: 'access_denied' })
  })

  test('less is granted than asked: the scope says so, and the claim is absent', async () => {
    const client = await register()
    const config = await configure(client)
    const tokens = await signIn(config, client, {}, { grantedScopes: ['identity:age_over_18'] })
    expect(tokens.scope).toBe('openid identity:age_over_18')
    expect(tokens.claims()).toMatchObject({ age_over_18: true })
    expect(tokens.claims()).not.toHaveProperty('name')
    const userinfo = await openid.fetchUserInfo(config, tokens.access_token, camille.tokenId)
    expect(userinfo).toEqual({ sub: camille.tokenId, age_over_18: true })
  })

  test('prompt=none and max_age: the second answer comes without a phone, with the same auth_time', async () => {
    const client = await register()
    const config = await configure(client)
    const browser = new Browser(world.issuer)
    const first = await signIn(config, client, {}, { browser })
    await wait(1100)
    for (const more of [{ prompt: 'none' }, { max_age: '600' }]) {
      const { url, checks } = await plan(config, client, more)
      const silent = expectLanding(await browser.open(url))
      const second = await openid.authorizationCodeGrant(config, new URL(silent.url), {
        ...checks,
        maxAge: 600,
      })
      expect(second.claims()).toMatchObject({
        auth_time: first.claims()?.auth_time,
        sid: first.claims()?.sid,
      })
    }
  })

  test('a person with one name, a birth year only and no known age', async () => {
    const client = await register()
    const config = await configure(client)
    const scope = `${SCOPE} identity:date_of_birth`
    const tokens = await signIn(config, client, { scope }, { person: suryani })
    expect(tokens.claims()).toMatchObject({
      family_name: 'Suryani',
      name: 'Suryani',
      birthdate: '1987',
    })
    expect(tokens.claims()).not.toHaveProperty('given_name')
  })

  test('pairwise: two sectors know two persons, each always the same one', async () => {
    const subs: unknown[] = []
    for (const sectorIdentifier of ['one.example', 'two.example', 'one.example']) {
      const client = await register({}, { subjectType: 'pairwise', sectorIdentifier })
      const tokens = await signIn(await configure(client), client)
      subs.push(tokens.claims()?.sub)
    }
    expect(subs[0]).toBe(subs[2])
    expect(new Set([...subs, camille.tokenId]).size).toBe(3)
  })

  test.each([10, 64, 384])(
    'a nonce of %i characters and a state of 2048 come back whole',
    async (length) => {
      const client = await register()
      const config = await configure(client)
      const { url, checks } = await plan(config, client)
      const expectedNonce = randomText(length)
      const expectedState = randomText(2048)
      url.searchParams.set('nonce', expectedNonce)
      url.searchParams.set('state', expectedState)
      const landing = await logIn(url)
      const tokens = await openid.authorizationCodeGrant(config, new URL(landing.url), {
        ...checks,
        expectedNonce,
        expectedState,
      })
      expect(tokens.claims()?.nonce).toBe(expectedNonce)
    },
  )

  test('a code of another client is refused, and stays good for its own', async () => {
    const mine = await register()
    const config = await configure(mine)
    const other = await configure(await register())
    const { url, checks } = await plan(config, mine)
    const landing = new URL((await logIn(url)).url)
    const stolen = new URL(`${mine.redirectUri}${landing.search}`)
    await expect(openid.authorizationCodeGrant(other, stolen, checks)).rejects.toMatchObject({
      error: 'invalid_grant',
    })
    const tokens = await openid.authorizationCodeGrant(config, landing, checks)
    expect(tokens.claims()?.sub).toBe(camille.tokenId)
  })

  test('a wrong verifier is refused', async () => {
    const client = await register()
    const config = await configure(client)
    const { url, checks } = await plan(config, client)
    const landing = await logIn(url)
    await expect(
      openid.authorizationCodeGrant(config, new URL(landing.url), {
        ...checks,
        pkceCodeVerifier: openid.randomPKCECodeVerifier(),
      }),
    ).rejects.toMatchObject({ error: 'invalid_grant' })
  })
})

describe('oauth4webapi', () => {
  const insecure = { [oauth.allowInsecureRequests]: true } as const

  async function discover(): Promise<oauth.AuthorizationServer> {
    const issuer = new URL(world.issuer)
    return oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure))
  }

  /** From the request to the answer, which the library has validated, `iss` included. */
  async function obtainCode(
    as: oauth.AuthorizationServer,
    client: Client,
    more: Readonly<Record<string, string>> = {},
    options: LogInOptions = {},
  ) {
    const [verifier, nonce, state] = [
      oauth.generateRandomCodeVerifier(),
      oauth.generateRandomNonce(),
      oauth.generateRandomState(),
    ]
    const url = new URL(as.authorization_endpoint ?? '')
    url.search = new URLSearchParams({
      response_type: 'code',
      client_id: client.clientId,
      redirect_uri: client.redirectUri,
      scope: SCOPE,
      ...{ state, nonce, code_challenge: await oauth.calculatePKCECodeChallenge(verifier) },
      code_challenge_method: 'S256',
      ...more,
    }).toString()
    const landing = await logIn(url, options)
    const rp: oauth.Client = { client_id: client.clientId }
    const parameters = oauth.validateAuthResponse(as, rp, new URL(landing.url), state)
    return { rp, parameters, verifier, nonce }
  }

  type Obtained = Awaited<ReturnType<typeof obtainCode>>

  async function redeem(
    as: oauth.AuthorizationServer,
    client: Client,
    { rp, parameters, verifier, nonce }: Obtained,
    authentication = oauth.ClientSecretBasic(client.secret),
  ) {
    const response = await oauth.authorizationCodeGrantRequest(
      as,
      rp,
      authentication,
      parameters,
      client.redirectUri,
      verifier,
      insecure,
    )
    return oauth.processAuthorizationCodeResponse(as, rp, response, {
      expectedNonce: nonce,
      requireIdToken: true,
    })
  }

  test('code with iss, PKCE, nonce, signature and userinfo', async () => {
    const as = await discover()
    expect(as.authorization_response_iss_parameter_supported).toBe(true)
    const client = await register()
    const obtained = await obtainCode(as, client)
    const tokens = await redeem(as, client, obtained)
    const claims = oauth.getValidatedIdTokenClaims(tokens)
    expect(claims).toMatchObject({ ...CAMILLE, sub: camille.tokenId })
    const answer = await oauth.userInfoRequest(as, obtained.rp, tokens.access_token, insecure)
    const userinfo = await oauth.processUserInfoResponse(as, obtained.rp, camille.tokenId, answer)
    expect(userinfo).toMatchObject(CAMILLE)
  })

  test('the signature of an id_token, against the JWKS', async () => {
    const as = await discover()
    const client = await register({ id_token_signed_response_alg: 'RS256' })
    const { rp, parameters, verifier, nonce } = await obtainCode(as, client)
    const response = await oauth.authorizationCodeGrantRequest(
      as,
      rp,
      oauth.ClientSecretBasic(client.secret),
      parameters,
      client.redirectUri,
      verifier,
      insecure,
    )
    await oauth.processAuthorizationCodeResponse(as, rp, response, { expectedNonce: nonce })
    const verdict = oauth.validateApplicationLevelSignature(as, response, insecure)
    await expect(verdict).resolves.toBeUndefined()
  })

  test('a code comes twice: invalid_grant, and the first tokens are dead', async () => {
    const as = await discover()
    const client = await register()
    const obtained = await obtainCode(as, client)
    const tokens = await redeem(as, client, obtained)
    await expect(redeem(as, client, obtained)).rejects.toMatchObject({
      code: oauth.RESPONSE_BODY_ERROR,
      error: 'invalid_grant',
    })
    const answer = await oauth.userInfoRequest(as, obtained.rp, tokens.access_token, insecure)
    await expect(
      oauth.processUserInfoResponse(as, obtained.rp, camille.tokenId, answer),
    ).rejects.toMatchObject({ code: oauth.WWW_AUTHENTICATE_CHALLENGE })
  })

  test('a wrong secret: 401 with a challenge', async () => {
    const as = await discover()
    const client = await register()
    const obtained = await obtainCode(as, client)
    const guess = oauth.ClientSecretBasic('not-the-secret')
    await expect(redeem(as, client, obtained, guess)).rejects.toMatchObject({
      code: oauth.WWW_AUTHENTICATE_CHALLENGE,
      status: 401,
    })
  })

  test('refresh: the token before the last one still works for a while', async () => {
    const as = await discover()
    const client = await register({ offline_access: true })
    const more = { scope: 'openid offline_access', prompt: 'consent' }
    const obtained = await obtainCode(as, client, more)
    const { refresh_token = '' } = await redeem(as, client, obtained)
    for (const _ of [1, 2]) {
      const response = await oauth.refreshTokenGrantRequest(
        as,
        obtained.rp,
        oauth.ClientSecretBasic(client.secret),
        refresh_token,
        insecure,
      )
      const tokens = await oauth.processRefreshTokenResponse(as, obtained.rp, response)
      expect(oauth.getValidatedIdTokenClaims(tokens)?.sub).toBe(camille.tokenId)
    }
  })

  test('an error answer is one of the protocol', async () => {
    const as = await discover()
    const client = await register()
    await expect(obtainCode(as, client, {}, { declined: true })).rejects.toMatchObject({
      code: oauth.AUTHORIZATION_RESPONSE_ERROR,
      error: 'access_denied',
    })
  })
})

describe('openid-client 5', () => {
  async function configure(client: Client, metadata: Readonly<Record<string, string>> = {}) {
    const issuer = await Issuer.discover(world.issuer)
    return new issuer.Client({
      client_id: client.clientId,
      client_secret: client.secret,
      redirect_uris: [client.redirectUri],
      response_types: ['code'],
      ...metadata,
    })
  }

  const checks = { state: 'a-state', nonce: 'a-nonce', code_verifier: 'v'.repeat(43) }

  async function urlOf(
    rp: Awaited<ReturnType<typeof configure>>,
    more: Readonly<Record<string, string>> = {},
  ): Promise<string> {
    const { state, nonce, code_verifier } = checks
    const code_challenge = await oauth.calculatePKCECodeChallenge(code_verifier)
    const challenge = { code_challenge, code_challenge_method: 'S256' }
    return rp.authorizationUrl({ scope: SCOPE, state, nonce, ...challenge, ...more })
  }

  test('as it comes, with RS256: code, PKCE, nonce, userinfo', async () => {
    const client = await register({ id_token_signed_response_alg: 'RS256' })
    const rp = await configure(client)
    const landing = await logIn(await urlOf(rp))
    const tokens = await rp.callback(client.redirectUri, rp.callbackParams(landing.url), checks)
    expect(tokens.claims()).toMatchObject({ ...CAMILLE, sub: camille.tokenId })
    expect(await rp.userinfo(tokens)).toMatchObject(CAMILLE)
  })

  test('as it comes, for a client with ES256: it refuses, until it is told', async () => {
    const client = await register()
    const rp = await configure(client)
    const landing = await logIn(await urlOf(rp))
    await expect(
      rp.callback(client.redirectUri, rp.callbackParams(landing.url), checks),
    ).rejects.toThrow('unexpected JWT alg received, expected RS256, got: ES256')

    const told = await configure(client, { id_token_signed_response_alg: 'ES256' })
    const again = await logIn(await urlOf(told))
    const tokens = await told.callback(client.redirectUri, told.callbackParams(again.url), checks)
    expect(tokens.claims().sub).toBe(camille.tokenId)
  })

  test('form_post, read from the request of a Node server', async () => {
    const client = await register({ id_token_signed_response_alg: 'RS256' })
    const rp = await configure(client)
    const landing = await logIn(await urlOf(rp, { response_mode: 'form_post' }))
    const request = Object.assign(new IncomingMessage(new Socket()), {
      method: landing.method,
      body: new URLSearchParams(landing.parameters).toString(),
    })
    const tokens = await rp.callback(client.redirectUri, rp.callbackParams(request), checks)
    expect(tokens.claims()).toMatchObject(CAMILLE)
  })

  test('refresh and end session', async () => {
    const client = await register({
      id_token_signed_response_alg: 'RS256',
      offline_access: true,
    })
    const rp = await configure(client)
    const browser = new Browser(world.issuer)
    const more = { scope: `${SCOPE} offline_access`, prompt: 'consent' }
    const landing = await logIn(await urlOf(rp, more), { browser })
    const first = await rp.callback(client.redirectUri, rp.callbackParams(landing.url), checks)
    const second = await rp.refresh(first)
    expect(second.claims()).toMatchObject(CAMILLE)
    const end = rp.endSessionUrl({ id_token_hint: second, client_id: client.clientId })
    expectPage(await browser.open(end), 'logout-done', 'You are signed out.')
  })
})
