import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import { claimsFor } from '../../../src/disclosure/claims.ts'
import { ATOMIC_SCOPES } from '../../../src/disclosure/scopes.ts'
import { sealBox } from '../../../src/keys/sealed-box.ts'
import {
  allowedNow,
  claimsWithin,
  type Grant,
  grantSchema,
  openContent,
  sessionSid,
} from '../../../src/oidc/grant.ts'
import type { Service } from '../../../src/services/service.ts'
import { secretOf } from '../keys/secrets.ts'

const master = secretOf([1, 1])
const random12 = new Uint8Array(12).fill(7)
const grant: Grant = {
  grantId: 'AAAAAAAAAAAAAAAAAAAAAA',
  clientId: 'bar-le-central',
  tokenId: '11111111-2222-4333-8444-555555555555',
  enrollmentId: 'enr_1',
  sub: '11111111-2222-4333-8444-555555555555',
  scope: 'openid identity:name',
  claims: { given_name: 'Ana', age_over_18: true, trust_level: 2 },
  trustLevel: 2,
  authTime: 1_705_312_800,
  sid: 'abcdefghijklmnopqrstuv',
}

async function reopen(content: unknown): Promise<unknown> {
  const text = typeof content === 'string' ? content : JSON.stringify(content)
  const box = await sealBox(master, 'token', text, 'ctx', random12)
  return openContent(master, 'token', box, 'ctx', grantSchema)
}

describe('what is read from a box', () => {
  test('a grant comes back whole, as a fresh object', async () => {
    expect(await reopen(grant)).toEqual(grant)
  })

  test('content that this version does not understand is refused', async () => {
    expect(await reopen({ ...grant, jkt: 'a-key-of-a-later-version' })).toBeUndefined()
    const { sid: _sid, ...older } = grant
    expect(await reopen(older)).toBeUndefined()
    expect(await reopen({ ...grant, trustLevel: 4 })).toBeUndefined()
    expect(await reopen({ ...grant, authTime: -1 })).toBeUndefined()
    expect(await reopen({ ...grant, authTime: 1.5 })).toBeUndefined()
    expect(await reopen({ ...grant, claims: { given_name: null } })).toBeUndefined()
    expect(await reopen({ ...grant, sub: '' })).toBeUndefined()
    expect(await reopen('no json')).toBeUndefined()
  })

  test('a claim called __proto__ does not become one', async () => {
    const hostile = JSON.stringify(grant).replace('"given_name":"Ana"', '"__proto__":"Ana"')
    const opened = (await reopen(hostile)) as Grant
    expect(Object.keys(opened.claims)).toEqual(['age_over_18', 'trust_level'])
  })

  test('whatever JSON or text was sealed, reading never throws', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.json(), fc.string()), async (text) => {
        expect(await reopen(text)).toBeUndefined()
      }),
    )
  })

  test('one byte that is not UTF-8 is refused', async () => {
    const text = new TextEncoder().encode('{"a":"x"}').map((byte) => (byte === 120 ? 255 : byte))
    const box = await sealBox(master, 'token', text, 'ctx', random12)
    const schema = v.object({ a: v.string() })
    expect(await openContent(master, 'token', box, 'ctx', schema)).toBeUndefined()
  })
})

describe('claims of fewer scopes', () => {
  const everything = claimsFor(
    {
      givenNames: 'Ana María',
      familyName: 'García',
      dateOfBirth: '1985-06-15',
      nationality: 'ESP',
      documentNumber: 'X1',
      photo: new Uint8Array([1, 2, 3]),
    },
    ATOMIC_SCOPES,
    { today: '2026-11-21', trustLevel: 3 },
  )

  test('exactly the claims of the scopes stay', () => {
    expect(claimsWithin(everything, ['openid'], true)).toEqual({})
    expect(claimsWithin(everything, ATOMIC_SCOPES, false)).toEqual(everything)
    expect(claimsWithin(everything, ['identity:given_name', 'openid'], false)).toEqual({
      given_name: 'Ana María',
    })
    expect(Object.keys(claimsWithin(everything, ['identity:name'], false)).sort()).toEqual([
      'family_name',
      'given_name',
      'name',
    ])
  })

  test('the alias stays only when e-mail is wanted', () => {
    const claims = { email: 'a@b.example', email_verified: false, given_name: 'Ana' }
    expect(claimsWithin(claims, ['openid'], true)).toEqual({
      email: 'a@b.example',
      email_verified: false,
    })
    expect(claimsWithin(claims, ['openid'], false)).toEqual({})
  })
})

test('347 sid: 132 bits of a digest, another for every login, and it names no object', async () => {
  const sessionId = `sess_${'0123456789abcdef'.repeat(4)}`
  const sid = await sessionSid(sessionId)
  expect(sid).toMatch(/^[A-Za-z0-9_-]{22}$/)
  const { createHash } = await import('node:crypto')
  expect(sid).toBe(createHash('sha256').update(sessionId).digest('base64url').slice(0, 22))
  expect(await sessionSid(`sess_${'f'.repeat(64)}`)).not.toBe(sid)
})

describe('what a client may have now', () => {
  const granted = {
    scope: 'openid profile identity:basic identity:age_over_18 email offline_access',
    claims: {
      ...{ given_name: 'Jean', family_name: 'Dupont', name: 'Jean Dupont', trust_level: 2 },
      ...{ age_over_18: true, email: 'a@alias.example', email_verified: false },
    },
  }
  const service = (allowedScopes: string[], alias_domain?: string): Service => ({
    ...{ serviceId: 'bar', name: 'Bar', url: 'https://bar.example/', enabled: true },
    ...{ origins: [], defaultScopes: [], requiredScopes: [], restrictedScopes: [], allowedScopes },
    ...{ subjectType: 'public', tokenLifetimeSeconds: 3600, secretHashes: [] },
    oidc: {
      ...{ redirect_uris: ['https://bar.example/cb'], application_type: 'web' },
      ...{ token_endpoint_auth_method: 'client_secret_basic', id_token_ttl: 3600 },
      ...{ id_token_signed_response_alg: 'ES256', require_pkce: true, claims_in_id_token: true },
      ...{ offline_access: true, post_logout_redirect_uris: [], min_trust_level: 1 },
      ...(alias_domain === undefined ? {} : { alias_domain }),
    },
  })

  test('175 all of it while nothing was withdrawn', () => {
    const all = service(['profile', 'identity:basic', 'identity:age_over_18'], 'alias.example')
    expect(allowedNow(granted, all)).toEqual(granted)
  })

  test('175 of a composite that is no longer whole, what is left is named', () => {
    expect(allowedNow(granted, service(['identity:trust_level']))).toEqual({
      scope: 'openid identity:trust_level offline_access',
      claims: { trust_level: 2 },
    })
  })
})
