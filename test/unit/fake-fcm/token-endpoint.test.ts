import { SignJWT } from 'jose'
import { describe, expect, test } from 'vitest'
import { type AssertionChanges, assertionOf, newFake, now, origin, tokenRequest } from './world.ts'

const grant_type = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

async function exchange(assertion: string, fake = newFake()) {
  const answer = await fake.handle(tokenRequest({ grant_type, assertion }))
  const body: { error?: string; access_token?: string } = await answer.json()
  return { status: answer.status, ...body }
}

describe("the fake's token endpoint", () => {
  test('gives an opaque token for a good assertion, and counts', async () => {
    const fake = newFake()
    fake.tokenEndpoint.expiresIn = 1200
    expect(await exchange(await assertionOf(), fake)).toEqual({
      status: 200,
      access_token: expect.stringMatching(/^ya29\./),
      expires_in: 1200,
      token_type: 'Bearer',
    })
    expect(fake.stats.exchanges).toBe(1)
  })

  test.each<[string, AssertionChanges, string]>([
    ['another issuer', { claims: { iss: 'push@other.iam.gserviceaccount.com' } }, 'invalid_grant'],
    [
      'another audience',
      { claims: { aud: 'https://oauth2.googleapis.com/token' } },
      'invalid_grant',
    ],
    ['an audience with a slash more', { claims: { aud: `${origin}/token/` } }, 'invalid_grant'],
    ['audiences in a list', { claims: { aud: [`${origin}/token`] } }, 'invalid_grant'],
    [
      'another scope',
      { claims: { scope: 'https://www.googleapis.com/auth/cloud-platform' } },
      'invalid_scope',
    ],
    ['a life over an hour', { claims: { exp: now + 3601 } }, 'invalid_grant'],
    [
      'an iat over five minutes ahead',
      { claims: { iat: now + 301, exp: now + 900 } },
      'invalid_grant',
    ],
    ['an iat over five minutes ago', { claims: { iat: now - 301 } }, 'invalid_grant'],
    ['an unknown key', { header: { kid: 'other' } }, 'invalid_grant'],
  ])('refuses %s', async (_name, changes, error) => {
    expect(await exchange(await assertionOf(changes))).toMatchObject({ status: 400, error })
  })

  test('refuses another algorithm, a flipped signature, no JWT at all', async () => {
    const assertion = await assertionOf()
    const [header = '', payload = '', signature = ''] = assertion.split('.')
    const kid = JSON.parse(Buffer.from(header, 'base64url').toString()).kid
    const none = Buffer.from(JSON.stringify({ alg: 'none', kid })).toString('base64url')
    const symmetric = await new SignJWT({})
      .setProtectedHeader({ alg: 'HS256', kid })
      .sign(new TextEncoder().encode('a secret that is long enough for HS256'))
    const flipped = `${signature[0] === 'A' ? 'B' : 'A'}${signature.slice(1)}`
    const bad = [`${none}.${payload}.`, symmetric, `${header}.${payload}.${flipped}`, 'x', '']
    for (const one of bad) {
      expect(await exchange(one)).toMatchObject({ status: 400, error: 'invalid_grant' })
    }
  })

  test('refuses another method, content type or grant type', async () => {
    const fake = newFake()
    expect((await fake.handle(new Request(`${origin}/token`))).status).toBe(405)
    const json = tokenRequest({}, { body: '{}', headers: { 'content-type': 'application/json' } })
    expect(await (await fake.handle(json)).json()).toMatchObject({ error: 'invalid_request' })
    for (const other of ['client_credentials', grant_type.toUpperCase(), '']) {
      const request = tokenRequest({ grant_type: other, assertion: await assertionOf() })
      expect(await (await fake.handle(request)).json()).toMatchObject({
        error: 'unsupported_grant_type',
      })
    }
  })

  test.each(['down', 'garbage', 'rejecting'] as const)(
    'can be made to fail: %s',
    async (script) => {
      const fake = newFake()
      fake.tokenEndpoint.script = script
      const answer = await fake.handle(tokenRequest({ grant_type, assertion: await assertionOf() }))
      expect(answer.status).toBe({ down: 503, garbage: 200, rejecting: 400 }[script])
      expect(await answer.text()).not.toContain('access_token')
    },
  )
})
