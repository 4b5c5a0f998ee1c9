import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Actor,
  JWT_ACCESS_TOKEN_SECONDS,
  type JwtAccessTokenAbout,
  jwtAccessTokenClaims,
  readJwtAccessToken,
} from '../../../src/oidc/jwt-access-token.ts'

const now = 1_705_312_800
const about: JwtAccessTokenAbout = {
  issuer: 'https://id.example.com',
  resource: 'https://api.example/v1',
  clientId: 'bar-le-central',
  sub: 'pairwise-sub',
  scope: 'openid identity:name',
  trustLevel: 2,
  authTime: now - 5,
  jti: '1.AAAA',
  claims: {},
  jkt: null,
  act: null,
  exp: now + JWT_ACCESS_TOKEN_SECONDS,
}

describe('the claims of an access token for a resource', () => {
  test('exactly those of RFC 9068 section 2.2', () => {
    expect(jwtAccessTokenClaims(about, now)).toEqual({
      iss: 'https://id.example.com',
      sub: 'pairwise-sub',
      aud: 'https://api.example/v1',
      client_id: 'bar-le-central',
      scope: 'openid identity:name',
      iat: now,
      exp: now + 600,
      auth_time: now - 5,
      acr: 'urn:idtokenseal:acr:face-oob-substantial',
      jti: '1.AAAA',
    })
  })

  test('a bound key and actors, where there are any', () => {
    const act = { sub: 'ledger', act: { sub: 'api' } }
    expect(jwtAccessTokenClaims({ ...about, jkt: 'thumbprint', act }, now)).toMatchObject({
      cnf: { jkt: 'thumbprint' },
      act,
    })
  })

  test('no granted claim takes the place of one of the protocol', () => {
    const plain = jwtAccessTokenClaims(about, now)
    const evil = Object.fromEntries(Object.keys(plain).map((name) => [name, 'evil']))
    const claims = { ...evil, given_name: 'Ana' }
    expect(jwtAccessTokenClaims({ ...about, claims }, now)).toEqual({ ...plain, given_name: 'Ana' })
  })
})

describe('read back', () => {
  const payload = jwtAccessTokenClaims(about, now)

  test('what it was made of', () => {
    const { issuer: _, claims: __, ...rest } = about
    expect(readJwtAccessToken(payload)).toEqual({ ...rest, iat: now })
    const claims = { given_name: 'Ana' }
    const more = { ...about, claims, jkt: 'thumbprint', act: { sub: 'a', act: { sub: 'b' } } }
    const { issuer: ___, claims: ____, ...bound } = more
    expect(readJwtAccessToken(jwtAccessTokenClaims(more, now))).toEqual({ ...bound, iat: now })
  })

  test('any content', () => {
    const text = fc.string()
    const { actor } = fc.letrec<{ actor: Actor }>((tie) => ({
      actor: fc.oneof(
        { maxDepth: 5 },
        fc.record({ sub: text }),
        fc.record({ sub: text, act: tie('actor') }),
      ),
    }))
    const content = fc.record({
      ...{ resource: text, clientId: text, sub: text, scope: text, jti: text },
      ...{ authTime: fc.nat(), exp: fc.nat() },
      trustLevel: fc.constantFrom(1 as const, 2 as const, 3 as const),
      jkt: fc.option(text, { nil: null }),
      act: fc.option(actor, { nil: null }),
    })
    fc.assert(
      fc.property(content, fc.nat(), (made, iat) => {
        const claims = jwtAccessTokenClaims({ ...about, ...made }, iat)
        expect(readJwtAccessToken(JSON.parse(JSON.stringify(claims)))).toEqual({ ...made, iat })
      }),
    )
  })

  const REQUIRED = [
    ...['sub', 'aud', 'client_id', 'scope', 'iat', 'exp', 'auth_time', 'acr', 'jti'],
  ] as const

  test.each(REQUIRED)('115 without %s, or with another kind of value, it is none', (name) => {
    for (const value of [undefined, null, [], {}, true, [payload[name]]]) {
      expect(readJwtAccessToken({ ...payload, [name]: value })).toBeUndefined()
    }
    const other = typeof payload[name] === 'string' ? 1 : String(payload[name])
    expect(readJwtAccessToken({ ...payload, [name]: other })).toBeUndefined()
  })

  test.each([
    { acr: 'urn:idtokenseal:acr:face-oob' },
    { acr: 'constructor' },
    { acr: '2' },
    { cnf: null },
    { cnf: {} },
    { cnf: { jkt: 1 } },
    { cnf: 'thumbprint' },
    { act: null },
    { act: {} },
    { act: 'api' },
    { act: { sub: 1 } },
    { act: { sub: 'a', act: null } },
    { act: { sub: 'a', act: { sub: 'b', act: {} } } },
    { aud: ['https://api.example/v1'] },
  ])('115 122 %j is none', (bent) => {
    expect(readJwtAccessToken({ ...payload, ...bent })).toBeUndefined()
  })

  test('any other value gives undefined and never throws', () => {
    fc.assert(
      fc.property(fc.oneof(fc.anything(), fc.jsonValue()), (value) => {
        expect(readJwtAccessToken(value)).toBeUndefined()
      }),
    )
    fc.assert(
      fc.property(fc.constantFrom(...REQUIRED), fc.anything(), (name, value) => {
        const kind = typeof payload[name]
        fc.pre(kind !== typeof value || (name === 'acr' && value !== payload.acr))
        expect(readJwtAccessToken({ ...payload, [name]: value })).toBeUndefined()
      }),
    )
  })
})
