import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fromBase64url, toBase64url } from '../../../src/bytes.ts'
import { sealBox } from '../../../src/keys/sealed-box.ts'
import { openAccessToken, sealAccessToken } from '../../../src/oidc/access-token.ts'
import {
  FAMILY_IDLE_SECONDS,
  FAMILY_LONGEST_SECONDS,
  familyEnd,
  GRACE_SECONDS,
  judgeRefresh,
  openRefreshToken,
  type RefreshFamily,
  type RefreshTokenContent,
  sealRefreshToken,
} from '../../../src/oidc/refresh-token.ts'
import { secretOf } from '../keys/secrets.ts'

const master = secretOf([1, 1])
const random12 = new Uint8Array(12).map((_, i) => i)
const now = 1_705_312_800
const day = 86_400
const content: RefreshTokenContent = {
  familyId: 'AAAAAAAAAAAAAAAAAAAAAA',
  generation: 3,
  grant: {
    grantId: 'BBBBBBBBBBBBBBBBBBBBBB',
    clientId: 'bar-le-central',
    tokenId: '11111111-2222-4333-8444-555555555555',
    enrollmentId: 'enr_1',
    sub: 'sub',
    scope: 'openid identity:name offline_access',
    claims: { given_name: 'Ana' },
    trustLevel: 3,
    authTime: now - 10,
    sid: 'sid',
  },
  issuedAt: now,
}

describe('the refresh token', () => {
  test('gives back what was sealed', async () => {
    const token = await sealRefreshToken(master, content, random12)
    expect(await openRefreshToken(master, token)).toEqual(content)
    expect(Buffer.from(token.slice(2), 'base64url').includes('Ana')).toBe(false)
  })

  test('every flipped bit is refused', async () => {
    const token = await sealRefreshToken(master, content, random12)
    const bytes = fromBase64url(token.slice(2)) ?? new Uint8Array()
    for (let at = 0; at < bytes.length; at++) {
      const flipped = bytes.map((byte, i) => (i === at ? byte ^ (1 << (at & 7)) : byte))
      expect(await openRefreshToken(master, `1.${toBase64url(flipped)}`)).toBeUndefined()
    }
  })

  test('115 an access token is no refresh token, nor the reverse', async () => {
    const { grant } = content
    const { sid: _sid, ...given } = grant
    const access = await sealAccessToken(
      master,
      {
        ...given,
        iat: now,
        exp: now + 3600,
      },
      random12,
    )
    expect(await openRefreshToken(master, access)).toBeUndefined()
    const kind = await sealBox(
      master,
      'token',
      JSON.stringify(content),
      'oidc access token',
      random12,
    )
    expect(await openRefreshToken(master, kind)).toBeUndefined()
    const refresh = await sealRefreshToken(master, content, random12)
    expect(await openAccessToken(master, refresh, now)).toBeUndefined()
  })

  test('116 garbage, and a token of more than 16 KiB, is refused', async () => {
    const long = { ...content, familyId: 'x'.repeat(20_000) }
    const token = await sealRefreshToken(master, long, random12)
    expect(await openRefreshToken(master, token)).toBeUndefined()
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.string(), fc.base64String()), async (text) => {
        expect(await openRefreshToken(master, text)).toBeUndefined()
        expect(await openRefreshToken(master, `1.${text}`)).toBeUndefined()
      }),
    )
  })
})

describe('the rotation', () => {
  const family: RefreshFamily = { generation: 3, rotatedAt: now, expiresAt: now + day }
  const judge = (generation: number, at: number) => judgeRefresh({ generation }, family, at)

  test('83 the present token rotates, however old it is', () => {
    expect(judge(3, now)).toBe('rotate')
    expect(judge(3, now + day - 1)).toBe('rotate')
  })

  test('83 the previous token gets the one successor again inside its grace, and kills the family after it', () => {
    expect(judge(2, now)).toBe('repeat')
    expect(judge(2, now + 30)).toBe('repeat')
    expect(judge(2, now + GRACE_SECONDS)).toBe('repeat')
    expect(judge(2, now + GRACE_SECONDS + 1)).toBe('replay')
  })

  test('83 older tokens, and newer than any we gave, kill the family at once', () => {
    expect(judge(1, now)).toBe('replay')
    expect(judge(0, now)).toBe('replay')
    expect(judge(4, now)).toBe('replay')
  })

  test('nothing is good in a family whose time is over', () => {
    for (const generation of [1, 2, 3, 4]) expect(judge(generation, now + day)).toBe('expired')
  })

  test('83 two parallel uses lead to one successor: whoever loses the write finds a repeat', () => {
    const before: RefreshFamily = { generation: 0, rotatedAt: now - 100, expiresAt: now + day }
    const presented = { generation: 0 }
    expect(judgeRefresh(presented, before, now)).toBe('rotate')
    const after: RefreshFamily = { ...before, generation: 1, rotatedAt: now }
    expect(judgeRefresh(presented, after, now + 1)).toBe('repeat')
  })

  test('83 no order of uses leaves two live branches', () => {
    const use = fc.record({ back: fc.nat(3), wait: fc.nat(100) })
    fc.assert(
      fc.property(fc.array(use, { maxLength: 30 }), (uses) => {
        let state: RefreshFamily = { generation: 0, rotatedAt: 0, expiresAt: 1_000_000 }
        let at = 0
        for (const { back, wait } of uses) {
          at += wait
          const presented = Math.max(0, state.generation - back)
          const verdict = judgeRefresh({ generation: presented }, state, at)
          if (verdict === 'replay') return
          // Every answer that gives a token gives one of the newest generation.
          if (verdict === 'rotate') {
            expect(presented).toBe(state.generation)
            state = { ...state, generation: state.generation + 1, rotatedAt: at }
          } else {
            expect(verdict).toBe('repeat')
            expect(presented).toBe(state.generation - 1)
            expect(at - state.rotatedAt).toBeLessThanOrEqual(GRACE_SECONDS)
          }
        }
      }),
    )
  })

  test('a family ends 30 days after its last use and 180 days after its first', () => {
    expect(familyEnd(now, now)).toBe(now + 30 * day)
    expect(familyEnd(now, now + 100 * day)).toBe(now + 130 * day)
    expect(familyEnd(now, now + 160 * day)).toBe(now + 180 * day)
    expect([FAMILY_IDLE_SECONDS, FAMILY_LONGEST_SECONDS]).toEqual([30 * day, 180 * day])
  })
})
