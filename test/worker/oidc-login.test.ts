/** The first whole login by OpenID Connect, as seed 003 tells it. */
import { createLocalJWKSet, jwtVerify } from 'jose'
import { expect, test } from 'vitest'
import { claimsOf, redeem, registerClient, Tab, userinfo } from './relying-party.ts'
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
