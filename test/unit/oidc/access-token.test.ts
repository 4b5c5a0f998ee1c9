import fc from 'fast-check'
import { CompactEncrypt, generateKeyPair, generateSecret } from 'jose'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { fromBase64url, toBase64url, utf8 } from '../../../src/bytes.ts'
import { sealBox } from '../../../src/keys/sealed-box.ts'
import {
  ACCESS_TOKEN_SECONDS,
  type AccessTokenContent,
  openAccessToken,
  sealAccessToken,
} from '../../../src/oidc/access-token.ts'
import { sealRefreshToken } from '../../../src/oidc/refresh-token.ts'
import { resourceError, tokenError, tooManyRequests } from '../../../src/oidc/token-error.ts'
import { secretOf } from '../keys/secrets.ts'

const master = secretOf([1, 1])
const random12 = new Uint8Array(12).map((_, i) => i)
const now = 1_705_312_800
const content: AccessTokenContent = {
  grantId: 'AAAAAAAAAAAAAAAAAAAAAA',
  clientId: 'bar-le-central',
  tokenId: '11111111-2222-4333-8444-555555555555',
  enrollmentId: 'enr_1',
  sub: 'pairwise-sub',
  scope: 'openid identity:name',
  claims: { given_name: 'Ana', age_over_18: true, trust_level: 2 },
  trustLevel: 2,
  authTime: now - 5,
  iat: now,
  exp: now + ACCESS_TOKEN_SECONDS,
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe('the access token', () => {
  test('91 gives back what was sealed, to its last second and not after', async () => {
    const token = await sealAccessToken(master, content, random12)
    expect(await openAccessToken(master, token, now)).toEqual(content)
    expect(await openAccessToken(master, token, now + 3599)).toEqual(content)
    expect(await openAccessToken(master, token, now + 3600)).toBeUndefined()
  })

  test('80 nobody without the secret reads a tokenId or a name in it', async () => {
    const token = await sealAccessToken(master, content, random12)
    const inside = Buffer.from(token.slice(2), 'base64url').toString('latin1')
    for (const word of [content.tokenId, 'Ana', 'openid', 'bar-le-central'])
      expect(inside).not.toContain(word)
  })

  test('seals no member that its type does not name', async () => {
    const more = { ...content, sid: 's' }
    const token = await sealAccessToken(master, more, random12)
    expect(await openAccessToken(master, token, now)).toEqual(content)
  })

  test('86 one bit altered in any byte is refused', async () => {
    const token = await sealAccessToken(master, { ...content, claims: {} }, random12)
    const bytes = fromBase64url(token.slice(2)) ?? new Uint8Array()
    expect(bytes.length).toBeGreaterThan(100)
    for (let at = 0; at < bytes.length; at++) {
      const flipped = bytes.map((byte, i) => (i === at ? byte ^ (1 << (at & 7)) : byte))
      expect(await openAccessToken(master, `1.${toBase64url(flipped)}`, now)).toBeUndefined()
    }
  })

  test('86 garbage is refused and never throws', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.string(),
          fc.base64String().map((text) => `1.${text}`),
        ),
        async (text) => {
          expect(await openAccessToken(master, text, now)).toBeUndefined()
        },
      ),
    )
  })

  test('86 what another version of us sealed and we do not understand is refused', async () => {
    for (const other of [
      { ...content, audience: 'x' },
      { ...content, exp: '9999999999' },
      [],
      null,
    ]) {
      const box = await sealBox(
        master,
        'token',
        JSON.stringify(other),
        'oidc access token',
        random12,
      )
      expect(await openAccessToken(master, box, now)).toBeUndefined()
    }
  })

  test('115 no other thing of ours passes for an access token', async () => {
    const plain = JSON.stringify(content)
    const code = await sealBox(master, 'token', plain, 'oidc code sess_1', random12)
    const cookie = await sealBox(master, 'cookie', plain, 'oidc access token', random12)
    const kind = await sealBox(master, 'token', plain, 'oidc refresh token', random12)
    const refresh = await sealRefreshToken(
      master,
      {
        familyId: 'f',
        generation: 0,
        grant: { ...content, sid: 's' },
        issuedAt: now,
      },
      random12,
    )
    for (const box of [code, cookie, kind, refresh])
      expect(await openAccessToken(master, box, now)).toBeUndefined()
  })

  test('116 a token of more than 16 KiB is refused without any work', async () => {
    const decrypt = vi.spyOn(crypto.subtle, 'decrypt')
    const token = await sealAccessToken(
      master,
      { ...content, claims: { picture: 'p'.repeat(20_000) } },
      random12,
    )
    expect(await openAccessToken(master, token, now)).toBeUndefined()
    expect(decrypt).not.toHaveBeenCalled()
  })

  test('116 the largest portrait that a seal can hold fits', async () => {
    const claims = { picture: `data:image/webp;base64,${'A'.repeat(5464)}`, name: 'n'.repeat(200) }
    const token = await sealAccessToken(master, { ...content, claims }, random12)
    expect((await openAccessToken(master, token, now))?.claims).toEqual(claims)
  })

  test('123 JWE of five parts, whatever it asks for, is refused before any key is touched', async () => {
    const header = (members: object) => toBase64url(utf8(JSON.stringify(members)))
    const made = (members: object) => `${header(members)}.AAAA.${'A'.repeat(16)}.AAAA.AAAA`
    const { publicKey } = await generateKeyPair('RSA-OAEP-256')
    const dir = await generateSecret('A256GCM')
    const genuine = await new CompactEncrypt(utf8(JSON.stringify(content)))
      .setProtectedHeader({ alg: 'RSA-OAEP-256', enc: 'A256GCM' })
      .encrypt(publicKey)
    const direct = await new CompactEncrypt(utf8(JSON.stringify(content)))
      .setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
      .encrypt(dir)
    const attacks = [
      genuine,
      direct,
      made({ alg: 'RSA-OAEP', enc: 'A256GCM', zip: 'DEF' }),
      made({ alg: 'PBES2-HS512+A256KW', enc: 'A256GCM', p2s: 'AAAA', p2c: 1_000_000_000 }),
      made({ alg: 'dir', enc: 'A256GCM' }),
      made({ alg: 'RSA1_5', enc: 'A128CBC-HS256' }),
      `1.${'A'.repeat(40)}.AAAA.AAAA.AAAA`,
    ]
    const { subtle } = crypto
    const work = (['decrypt', 'deriveBits', 'importKey', 'unwrapKey'] as const).map((name) =>
      vi.spyOn(subtle, name),
    )
    for (const jwe of attacks) expect(await openAccessToken(master, jwe, now)).toBeUndefined()
    for (const spy of work) expect(spy).not.toHaveBeenCalled()
  })
})

describe('the answers of userinfo', () => {
  test('85 without a token: the scheme, and no error', async () => {
    const answer = resourceError({ error: 'missing', scheme: 'Bearer' })
    expect(answer.status).toBe(401)
    expect(answer.headers.get('WWW-Authenticate')).toMatch(/^Bearer realm="[a-z]+"$/)
    expect(await answer.text()).toBe('')
  })

  test.each([
    ['86', 'invalid_token', 401],
    ['87', 'invalid_request', 400],
    ['90', 'insufficient_scope', 403],
    ['81', 'invalid_dpop_proof', 401],
    ['81', 'use_dpop_nonce', 401],
    ['step-up', 'insufficient_user_authentication', 401],
  ] as const)('%s %s is %i, in header and body', async (_case, error, status) => {
    const answer = resourceError({ error, scheme: 'Bearer' })
    expect(answer.status).toBe(status)
    expect(answer.headers.get('WWW-Authenticate')).toContain(`error="${error}"`)
    expect(answer.headers.get('Cache-Control')).toBe('no-store')
    const body = (await answer.json()) as Record<string, string>
    expect(body.error).toBe(error)
    expect(body.error_description).toMatch(/^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/)
  })

  test('82 who uses DPoP is told its algorithms', () => {
    const answer = resourceError({ error: 'invalid_token', scheme: 'DPoP' })
    expect(answer.headers.get('WWW-Authenticate')).toMatch(
      /^DPoP realm="userinfo", algs="ES256 PS256 EdDSA", error="invalid_token", /,
    )
  })

  test('step-up: what repairs it is part of the challenge', () => {
    const repair = { acr_values: 'urn:idtokenseal:acr:face-oob-high', max_age: '60' }
    const error = 'insufficient_user_authentication'
    const answer = resourceError({ error, scheme: 'Bearer', repair })
    expect(answer.headers.get('WWW-Authenticate')).toMatch(
      /, acr_values="urn:idtokenseal:acr:face-oob-high", max_age="60"$/,
    )
  })
})

describe('the answers of the token endpoint', () => {
  const codes = [
    ['invalid_request', 400],
    ['invalid_client', 401],
    ['invalid_grant', 400],
    ['unauthorized_client', 400],
    ['unsupported_grant_type', 400],
    ['invalid_scope', 400],
    ['invalid_target', 400],
    ['invalid_dpop_proof', 400],
    ['use_dpop_nonce', 400],
  ] as const

  test.each(codes)(
    '20 %s is %i, JSON that nobody stores, in permitted characters',
    async (code, status) => {
      const answer = tokenError(code)
      expect(answer.status).toBe(status)
      expect(answer.headers.get('Content-Type')).toBe('application/json')
      expect(answer.headers.get('Cache-Control')).toBe('no-store')
      const body = (await answer.json()) as Record<string, string>
      expect(Object.keys(body)).toEqual(['error', 'error_description'])
      expect(body.error).toBe(code)
      expect(body.error_description).toMatch(/^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/)
    },
  )

  test('57 the Basic scheme is named when Basic was used and the client is not known, and the body is the same', async () => {
    const basic = tokenError('invalid_client', { basic: true })
    const post = tokenError('invalid_client')
    expect(basic.headers.get('WWW-Authenticate')).toMatch(/^Basic realm="[a-z]+"$/)
    expect(post.headers.has('WWW-Authenticate')).toBe(false)
    expect(await basic.text()).toBe(await post.text())
    expect(tokenError('invalid_grant', { basic: true }).headers.has('WWW-Authenticate')).toBe(false)
  })

  test('66 too many tries: 429 with whole seconds to wait', async () => {
    const answer = tooManyRequests(12.5)
    expect(answer.status).toBe(429)
    expect(answer.headers.get('Retry-After')).toBe('13')
    expect(answer.headers.get('Cache-Control')).toBe('no-store')
    expect(await answer.json()).toMatchObject({ error: 'temporarily_unavailable' })
  })
})
