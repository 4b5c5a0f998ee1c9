/** The first whole login by OpenID Connect, as seed 003 tells it. */
import { createLocalJWKSet, jwtVerify } from 'jose'
import { expect, test } from 'vitest'
import {
  approve,
  claimsOf,
  landingOf,
  redeem,
  registerClient,
  Tab,
  userinfo,
} from './relying-party.ts'
import { enrolled, ISSUER, send } from './world.ts'

test('oidc: a login with the request and answers of the seed', async () => {
  const client = await registerClient()
  const person = await enrolled()
  const tab = new Tab()
  const { address, parameters } = await tab.login(person)
  expect(address).toBe('http://127.0.0.1:8790/cb')
  expect(parameters).toEqual({
    code: expect.any(String),
    state: 'random-csrf-token',
    iss: ISSUER,
  })
  const tokens = await redeem(client, parameters.code)
  expect(tokens.status, JSON.stringify(tokens.body)).toBe(200)
  expect(tokens.body).toEqual({
    access_token: expect.any(String),
    token_type: 'Bearer',
    expires_in: 3600,
    id_token: expect.any(String),
    scope: 'openid identity:name identity:age_over_18',
  })
  const jwks = createLocalJWKSet((await send('GET', '/jwks')).body)
  const { payload } = await jwtVerify(tokens.body.id_token, jwks, {
    issuer: ISSUER,
    audience: 'bar-le-central',
    algorithms: ['ES256'],
  })
  expect(payload).toMatchObject({
    sub: person.tokenId,
    nonce: 'random-replay-protection',
    given_name: 'Jean',
    family_name: 'Dupont',
    name: 'Jean Dupont',
    age_over_18: true,
    acr: 'urn:idtokenseal:acr:face-oob-substantial',
  })
  const info = await userinfo(tokens.body.access_token)
  expect(info.body).toEqual({
    sub: claimsOf(tokens.body.id_token).sub,
    given_name: 'Jean',
    family_name: 'Dupont',
    name: 'Jean Dupont',
    age_over_18: true,
  })
})

test('003 seed: the request as it is written there, of a client that may leave PKCE out', async () => {
  const redirect_uri = 'https://bar-le-central.fr/callback'
  const client = await registerClient({ redirect_uris: [redirect_uri], require_pkce: false })
  const person = await enrolled({ push: false })
  const tab = new Tab()
  const page = await tab.send(
    'GET',
    '/oidc/authorize?response_type=code&client_id=bar-le-central&redirect_uri=https://bar-le-central.fr/callback&scope=openid%20identity:name%20identity:age_over_18&state=random-csrf-token&nonce=random-replay-protection',
  )
  const waiting = await tab.type(page, person.tokenId)
  await approve(person, waiting)
  const { address, parameters } = landingOf(await tab.press(waiting, '/login/continue'))
  expect([address, parameters.state]).toEqual([redirect_uri, 'random-csrf-token'])
  const { status, body } = await redeem(client, parameters.code, {
    redirect_uri,
    code_verifier: undefined,
  })
  expect([status, body.scope]).toEqual([200, 'openid identity:name identity:age_over_18'])
})

test('003 seed: discovery says everything that is written there', async () => {
  const { body } = await send('GET', '/.well-known/openid-configuration')
  expect(body).toMatchObject({
    issuer: ISSUER,
    authorization_endpoint: `${ISSUER}/oidc/authorize`,
    token_endpoint: `${ISSUER}/oidc/token`,
    userinfo_endpoint: `${ISSUER}/oidc/userinfo`,
    jwks_uri: `${ISSUER}/.well-known/jwks.json`,
    end_session_endpoint: `${ISSUER}/oidc/end-session`,
    response_types_supported: ['code'],
  })
  const listed = {
    scopes_supported:
      'openid profile email identity:name identity:date_of_birth identity:nationality identity:age_over_18 identity:age_over_21 identity:trust_level',
    grant_types_supported: 'authorization_code',
    subject_types_supported: 'public pairwise',
    id_token_signing_alg_values_supported: 'ES256',
    token_endpoint_auth_methods_supported: 'client_secret_basic client_secret_post',
    claims_supported:
      'sub name given_name family_name birthdate nationality age_over_18 age_over_21 trust_level',
  }
  for (const [member, values] of Object.entries(listed)) {
    expect(body[member], member).toEqual(expect.arrayContaining(values.split(' ')))
  }
})
