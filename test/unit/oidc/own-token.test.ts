import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { fromBase64url, toBase64url } from '../../../src/bytes.ts'
import { ACCESS_TOKEN_SECONDS, sealAccessToken } from '../../../src/oidc/access-token.ts'
import type { Grant } from '../../../src/oidc/grant.ts'
import {
  JWT_ACCESS_TOKEN_SECONDS,
  jwtAccessTokenClaims,
} from '../../../src/oidc/jwt-access-token.ts'
import {
  type OwnTokenHouse,
  readOwnAccessToken,
  readOwnRefreshToken,
  referenceOf,
  scopeNow,
} from '../../../src/oidc/own-token.ts'
import { sealRefreshToken } from '../../../src/oidc/refresh-token.ts'
import { sealReference } from '../../../src/oidc/token-reference.ts'
import type { OidcClient } from '../../../src/services/oidc-client.ts'
import type { Service } from '../../../src/services/service.ts'
import { ISSUER, house as keysOf, master, NOW, p256Key, random12, rsaKey } from '../keys/house.ts'

const { ring, state } = keysOf([await p256Key(), await rsaKey(), await p256Key('active', 'push')])
const house: OwnTokenHouse = {
  master,
  readAccessToken: ring.readAccessToken,
  now: () => state.time,
}
const API = 'https://api.example/v1'
const grant: Grant = {
  grantId: 'AAAAAAAAAAAAAAAAAAAAAA',
  clientId: 'bar-le-central',
  tokenId: '11111111-2222-4333-8444-555555555555',
  enrollmentId: 'enr_1',
  sub: 'pairwise-sub',
  scope: 'openid identity:name',
  claims: { name: 'Ana' },
  trustLevel: 2,
  authTime: NOW - 5,
  sid: 'sid',
}
const reference = referenceOf(grant)
const common = { ...reference, sub: grant.sub, authTime: NOW - 5, iat: NOW }

function opaque(jkt?: string): Promise<string> {
  const { sid: _, ...rest } = grant
  const times = { iat: NOW, exp: NOW + ACCESS_TOKEN_SECONDS }
  return sealAccessToken(master, { ...rest, ...times, ...(jkt && { jkt }) }, random12())
}

async function claims(changes: object = {}): Promise<Record<string, unknown>> {
  const about = {
    ...{ issuer: ISSUER, resource: API, jkt: null, act: null },
    ...grant,
    jti: await sealReference(master, reference, random12()),
    exp: NOW + JWT_ACCESS_TOKEN_SECONDS,
    ...changes,
  }
  return { ...jwtAccessTokenClaims(about, NOW) }
}

async function signed(changes: object = {}): Promise<string> {
  return ring.signAccessToken(await claims(changes), 'ES256')
}

function refreshToken(more: object = {}): Promise<string> {
  const content = { familyId: 'F', generation: 3, grant, issuedAt: NOW, ...more }
  return sealRefreshToken(master, content, random12())
}

describe('an access token of ours', () => {
  test('sealed: whose it is, for nobody but us, and none of its claims', async () => {
    const token = { ...common, exp: NOW + 3600, audience: null, jkt: null, act: null }
    expect(await readOwnAccessToken(house, await opaque())).toEqual(token)
    expect(await readOwnAccessToken(house, await opaque('k'))).toEqual({ ...token, jkt: 'k' })
  })

  test('signed: whose it is, and the resource that it is for', async () => {
    const token = { ...common, exp: NOW + 600, audience: API, jkt: null, act: null }
    expect(await readOwnAccessToken(house, await signed())).toEqual(token)
    const act = { sub: 'b', act: { sub: 'a' } }
    expect(await readOwnAccessToken(house, await signed({ jkt: 'k', act }))).toEqual({
      ...token,
      ...{ jkt: 'k', act },
    })
    const rs256 = await ring.signAccessToken(await claims(), 'RS256')
    expect(await readOwnAccessToken(house, rs256)).toEqual(token)
  })

  test('signed: whom the person approved, where its client has it by exchange', async () => {
    const lent = { ...reference, clientId: 'api', grantedTo: 'bar-le-central' }
    const act = { sub: 'api' }
    const jti = await sealReference(master, lent, random12())
    expect(await readOwnAccessToken(house, await signed({ clientId: 'api', act, jti }))).toEqual({
      ...{ ...common, ...lent, act },
      ...{ exp: NOW + 600, audience: API, jkt: null },
    })
  })

  test('082 signed: its key is the one that everybody reads in it', async () => {
    const jti = await sealReference(master, { ...reference, jkt: 'another' }, random12())
    expect((await readOwnAccessToken(house, await signed({ jkt: 'k', jti })))?.jkt).toBe('k')
  })

  test('091 each to its last second', async () => {
    const tokens = [
      [await opaque(), 3600],
      [await signed(), 600],
    ] as const
    for (const [text, seconds] of tokens) {
      state.time = NOW + seconds - 1
      expect(await readOwnAccessToken(house, text)).toBeDefined()
      state.time = NOW + seconds
      expect(await readOwnAccessToken(house, text)).toBeUndefined()
      state.time = NOW
    }
  })

  test('325 signed by a key that was removed it is none', async () => {
    const text = await signed()
    const { kid } = JSON.parse(Buffer.from(text.split('.')[0] ?? '', 'base64url').toString())
    state.removed.push(kid)
    expect(await readOwnAccessToken(house, text)).toBeUndefined()
    state.removed.pop()
    expect(await readOwnAccessToken(house, text)).toBeDefined()
  })

  test('115 signed, but without a reference of ours it is none', async () => {
    for (const jti of ['', 'x', await opaque(), await refreshToken()]) {
      expect(await readOwnAccessToken(house, await signed({ jti }))).toBeUndefined()
    }
  })

  test('115 what else we sign or seal is none', async () => {
    const said = await claims()
    for (const text of [
      await ring.signIdToken(said, 'ES256'),
      await ring.signLogoutToken(said, 'ES256'),
      await ring.signToken(said),
      await ring.signPush(said),
      await refreshToken(),
      await sealReference(master, reference, random12()),
    ]) {
      expect(await readOwnAccessToken(house, text)).toBeUndefined()
    }
  })

  test('086 118 any mutated byte gives undefined', async () => {
    const [head, body, tail] = (await signed()).split('.')
    const sealed = (await opaque()).slice(2)
    const targets = [
      { text: sealed, of: (part: string) => `1.${part}` },
      { text: head ?? '', of: (part: string) => `${part}.${body}.${tail}` },
      { text: body ?? '', of: (part: string) => `${head}.${part}.${tail}` },
      { text: tail ?? '', of: (part: string) => `${head}.${body}.${part}` },
    ]
    const where = fc.record({
      target: fc.constantFrom(...targets),
      at: fc.nat(10_000),
      bits: fc.integer({ min: 1, max: 255 }),
    })
    await fc.assert(
      fc.asyncProperty(where, async ({ target, at, bits }) => {
        const bytes = fromBase64url(target.text) ?? new Uint8Array()
        const bent = bytes.map((byte, i) => (i === at % bytes.length ? byte ^ bits : byte))
        const text = target.of(toBase64url(bent))
        expect(await readOwnAccessToken(house, text)).toBeUndefined()
        expect(await readOwnRefreshToken(house, text)).toBeUndefined()
      }),
      { numRuns: 200 },
    )
  })
})

describe('a refresh token of ours', () => {
  test('whose it is; its line and place in it', async () => {
    const token = { ...common, familyId: 'F', generation: 3, audience: null, jkt: null, act: null }
    expect(await readOwnRefreshToken(house, await refreshToken())).toEqual(token)
    const bound = await refreshToken({ jkt: 'k', resource: API })
    expect(await readOwnRefreshToken(house, bound)).toEqual({ ...token, jkt: 'k', audience: API })
  })

  test('115 an access token is none, nor the reverse', async () => {
    for (const text of [await opaque(), await signed()]) {
      expect(await readOwnRefreshToken(house, text)).toBeUndefined()
    }
    expect(await readOwnAccessToken(house, await refreshToken())).toBeUndefined()
  })
})

describe('the scope by now', () => {
  const service = (serviceId: string, allowedScopes: string[], more: object = {}): Service => ({
    ...{ serviceId, enabled: true, secretHashes: [], name: 'Bar', url: 'https://bar.example' },
    ...{ origins: [], allowedScopes, defaultScopes: [], requiredScopes: [], restrictedScopes: [] },
    ...{ subjectType: 'public', tokenLifetimeSeconds: 3600 },
    oidc: { min_trust_level: 1 } as OidcClient,
    ...more,
  })
  const own = (allowed: string[], more?: object) => service('bar-le-central', allowed, more)
  const storeOf = (found: Service | undefined) => ({
    standing: vi.fn(async (_tokenId: string, _clientId: string) => ({ service: found })),
  })
  const token = { ...common, audience: API, jkt: null, act: null }

  test('of its own client, without asking again', async () => {
    const store = storeOf(undefined)
    expect(await scopeNow(store, token, own(['identity:name']))).toBe('openid identity:name')
    expect(await scopeNow(store, token, own([]))).toBe('openid')
    expect(store.standing).not.toHaveBeenCalled()
  })

  test('of another client: what that one may have, and nothing when it is none', async () => {
    const caller = service('api', [])
    const store = storeOf(own(['identity:name']))
    expect(await scopeNow(store, token, caller)).toBe('openid identity:name')
    expect(store.standing.mock.calls).toEqual([['', 'bar-le-central']])
    expect(await scopeNow(storeOf(own([])), token, caller)).toBe('openid')
    const { oidc: _, ...simple } = own([])
    for (const found of [undefined, own([], { enabled: false }), simple]) {
      expect(await scopeNow(storeOf(found), token, caller)).toBeUndefined()
    }
  })
})

test('any text at all gives undefined and never throws', async () => {
  const genuine = await signed()
  const parts = [...genuine.split('.'), (await opaque()).slice(2), '', 'AAAA']
  const part = fc.oneof(fc.constantFrom(...parts), fc.base64String(), fc.string())
  const text = fc.oneof(
    fc.string(),
    fc.string({ unit: 'binary' }),
    fc.base64String().map((each) => `1.${each}`),
    fc.array(part, { maxLength: 6 }).map((each) => each.join('.')),
  )
  await fc.assert(
    fc.asyncProperty(text, async (each) => {
      fc.pre(each !== genuine)
      expect(await readOwnAccessToken(house, each)).toBeUndefined()
      expect(await readOwnRefreshToken(house, each)).toBeUndefined()
    }),
  )
})
