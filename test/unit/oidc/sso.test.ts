import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { fromBase64url, toBase64url } from '../../../src/bytes.ts'
import { ATOMIC_SCOPES } from '../../../src/disclosure/scopes.ts'
import { sealBox } from '../../../src/keys/sealed-box.ts'
import type { Grant } from '../../../src/oidc/grant.ts'
import {
  mayAnswer,
  openSso,
  overflow,
  type SsoRequest,
  type SsoSession,
  sealSso,
  ssoCookieName,
} from '../../../src/oidc/sso.ts'
import { secretOf } from '../keys/secrets.ts'

const master = secretOf([1, 1])
const random12 = new Uint8Array(12).map((_, i) => i)
const now = 1_705_312_800
const grant: Grant = {
  grantId: 'AAAAAAAAAAAAAAAAAAAAAA',
  clientId: 'bar-le-central',
  tokenId: '11111111-2222-4333-8444-555555555555',
  enrollmentId: 'enr_1',
  sub: 'the-sub',
  scope: 'openid identity:name offline_access',
  claims: { given_name: 'Ana', family_name: 'García', name: 'Ana García' },
  trustLevel: 2,
  authTime: now,
  sid: 'abcdefghijklmnopqrstuv',
}
const session: SsoSession = {
  grant,
  scopes: ['identity:name', 'identity:photo', 'openid'],
  offlineAccess: true,
  email: false,
  issuedAt: now,
}

async function cookieOf(of: SsoSession) {
  const cookie = await sealSso(master, of, random12)
  if (cookie === undefined) throw new Error('too long')
  return cookie
}

describe('the cookie', () => {
  test('334 its name: prefix and eight characters of SHA-256(client_id)', async () => {
    const digest = createHash('sha256').update('bar-le-central').digest('base64url')
    expect(await ssoCookieName('bar-le-central')).toBe(`__Host-sso-${digest.slice(0, 8)}`)
    expect(await ssoCookieName('bar-le-centra1')).not.toBe(await ssoCookieName('bar-le-central'))
  })

  test('334 gives back what was sealed, and shows nothing of it', async () => {
    const { name, value } = await cookieOf(session)
    expect(name).toBe(await ssoCookieName('bar-le-central'))
    expect(await openSso(master, name, value, now)).toEqual(session)
    expect(value).toMatch(/^[A-Za-z0-9._-]+$/)
    expect(Buffer.from(value.slice(2), 'base64url').includes('Ana')).toBe(false)
  })

  test('334 never the portrait, and another value after each login', async () => {
    const claims = { ...grant.claims, picture: 'data:image/webp;base64,AAAA' }
    const { name, value } = await cookieOf({ ...session, grant: { ...grant, claims } })
    expect((await openSso(master, name, value, now))?.grant.claims).toEqual(grant.claims)
    const again = await sealSso(master, session, random12.with(0, 9))
    expect(again?.value).not.toBe((await cookieOf(session)).value)
  })

  test('334 at most 3,500 bytes with its name, else there is none', async () => {
    const withName = (length: number): SsoSession => ({
      ...session,
      grant: { ...grant, claims: { name: 'n'.repeat(length) } },
    })
    let longest = 0
    for (let length = 1500; length < 2600; length++) {
      const cookie = await sealSso(master, withName(length), random12)
      if (cookie === undefined) break
      longest = cookie.name.length + cookie.value.length
      expect(longest).toBeLessThanOrEqual(3500)
    }
    expect(longest).toBeGreaterThan(3490)
    expect(await sealSso(master, withName(10_000), random12)).toBeUndefined()
  })

  test('334 eight hours from the approval, also when it was renewed since', async () => {
    const { name, value } = await cookieOf({ ...session, issuedAt: now + 7 * 3600 })
    expect(await openSso(master, name, value, now + 8 * 3600 - 1)).toBeDefined()
    expect(await openSso(master, name, value, now + 8 * 3600)).toBeUndefined()
  })

  test('348 the value of one cookie under the name of another is none', async () => {
    const { value } = await cookieOf(session)
    expect(await openSso(master, await ssoCookieName('other'), value, now)).toBeUndefined()
    expect(await openSso(master, '', value, now)).toBeUndefined()
  })

  test('every flipped bit is refused', async () => {
    const { name, value } = await cookieOf(session)
    const bytes = fromBase64url(value.slice(2)) ?? new Uint8Array()
    for (let at = 0; at < bytes.length; at++) {
      const flipped = bytes.map((byte, i) => (i === at ? byte ^ (1 << (at & 7)) : byte))
      expect(await openSso(master, name, `1.${toBase64url(flipped)}`, now)).toBeUndefined()
    }
  })

  test('garbage, another kind of box and content we do not understand are none', async () => {
    const { name } = await cookieOf(session)
    const context = `oidc sso ${name}`
    const plain = JSON.stringify(session)
    const token = await sealBox(master, 'token', plain, context, random12)
    const other = await sealBox(master, 'cookie', plain, 'oidc access token', random12)
    const unknown = JSON.stringify({ ...session, scopes: ['identity:gone'] })
    const older = await sealBox(master, 'cookie', unknown, context, random12)
    for (const box of [token, other, older])
      expect(await openSso(master, name, box, now)).toBeUndefined()
    const right = await sealBox(master, 'cookie', plain, context, random12)
    expect(await openSso(master, name, right, now)).toBeDefined()
    await fc.assert(
      fc.asyncProperty(fc.string(), fc.oneof(fc.string(), fc.base64String()), async (n, text) => {
        expect(await openSso(master, n, text, now)).toBeUndefined()
        expect(await openSso(master, name, `1.${text}`, now)).toBeUndefined()
      }),
    )
  })

  test('116 a value longer than any we set is refused without any work', async () => {
    const { name, value } = await cookieOf(session)
    const decrypt = vi.spyOn(crypto.subtle, 'decrypt')
    expect(await openSso(master, name, value.padEnd(5000, 'A'), now)).toBeUndefined()
    expect(decrypt).not.toHaveBeenCalled()
    decrypt.mockRestore()
  })
})

describe('what it may answer', () => {
  const request: SsoRequest = {
    clientId: 'bar-le-central',
    scopes: ['identity:name', 'openid'],
    offlineAccess: false,
    email: false,
    minTrustLevel: 1,
    maxAge: null,
    expectedSubs: [],
  }
  const verdict = (change: Partial<SsoRequest>, at = now + 10) =>
    mayAnswer(session, { ...request, ...change }, at)

  test('348 the same client, the same or fewer scopes: yes', () => {
    expect(verdict({})).toBe('yes')
    expect(verdict({ scopes: ['openid'] })).toBe('yes')
    expect(verdict({ offlineAccess: true })).toBe('yes')
  })

  test('348 the same client, more scopes: consent_required', () => {
    expect(verdict({ scopes: ['identity:date_of_birth', 'openid'] })).toBe('consent_required')
    expect(verdict({ email: true })).toBe('consent_required')
    const online = { ...session, offlineAccess: false }
    const wider = { ...request, offlineAccess: true }
    expect(mayAnswer(online, wider, now)).toBe('consent_required')
  })

  test('348 another client: login_required, whatever it asks', () => {
    expect(verdict({ clientId: 'bar-le-centra1' })).toBe('login_required')
    expect(verdict({ clientId: 'other', scopes: ATOMIC_SCOPES })).toBe('login_required')
  })

  test('348 the portrait always asks the phone, granted or not', () => {
    expect(verdict({ scopes: ['identity:photo', 'openid'] })).toBe('login_required')
    const without: SsoSession = { ...session, scopes: ['openid'] }
    expect(mayAnswer(without, { ...request, scopes: ['identity:photo'] }, now)).toBe(
      'consent_required',
    )
  })

  test('46 another person is expected: login_required', () => {
    expect(verdict({ expectedSubs: ['the-sub'] })).toBe('yes')
    expect(verdict({ expectedSubs: ['somebody'] })).toBe('login_required')
    expect(verdict({ expectedSubs: ['the-sub', 'somebody'] })).toBe('login_required')
  })

  test('32 max_age: young enough, too old, and zero which always asks the phone', () => {
    expect(verdict({ maxAge: 10 })).toBe('yes')
    expect(verdict({ maxAge: 10_000 })).toBe('yes')
    expect(verdict({ maxAge: 9 })).toBe('login_required')
    expect(verdict({ maxAge: 0 }, now)).toBe('login_required')
    expect(verdict({ maxAge: 0 }, now - 5)).toBe('login_required')
  })

  test('33 a level above the one that was reached: unmet_authentication_requirements', () => {
    expect(verdict({ minTrustLevel: 2 })).toBe('yes')
    expect(verdict({ minTrustLevel: 3 })).toBe('unmet_authentication_requirements')
  })

  test('348 no request that goes beyond the grant in any way is answered', () => {
    const anyRequest = fc.record<SsoRequest>({
      clientId: fc.constantFrom('bar-le-central', 'other'),
      scopes: fc.subarray([...ATOMIC_SCOPES]),
      offlineAccess: fc.boolean(),
      email: fc.boolean(),
      minTrustLevel: fc.constantFrom(1, 2, 3),
      maxAge: fc.option(fc.nat(20)),
      expectedSubs: fc.subarray(['the-sub', 'somebody']),
    })
    const anyScopes = fc.subarray([...ATOMIC_SCOPES])
    fc.assert(
      fc.property(anyRequest, anyScopes, fc.boolean(), (asked, scopes, flag) => {
        const had: SsoSession = { ...session, scopes, offlineAccess: flag, email: !flag }
        if (mayAnswer(had, asked, now + 10) !== 'yes') return
        expect(asked.clientId).toBe('bar-le-central')
        expect(asked.scopes.filter((scope) => !scopes.includes(scope))).toEqual([])
        expect(asked.scopes).not.toContain('identity:photo')
        expect([asked.offlineAccess && !flag, asked.email && flag]).toEqual([false, false])
        expect(asked.minTrustLevel).toBeLessThanOrEqual(2)
        expect(asked.maxAge ?? 20).toBeGreaterThanOrEqual(10)
        expect(asked.expectedSubs).not.toContain('somebody')
      }),
      { numRuns: 2000 },
    )
  })
})

describe('how many there are', () => {
  const cookie = (number: number, bytes = 500) => ({
    name: `__Host-c${number}` as const,
    bytes,
    session: { issuedAt: now + number },
  })

  test('334 the eight newest stay', () => {
    const ten = [3, 9, 1, 7, 5, 2, 8, 4, 6, 0].map(cookie)
    expect([...overflow(ten)].sort()).toEqual(['__Host-c0', '__Host-c1'])
    expect(overflow(ten.filter(({ name }) => name > '__Host-c1'))).toEqual([])
    expect(overflow([])).toEqual([])
  })

  test('334 and no more than fit together into 10 KiB, the newest first', () => {
    const long = [0, 1, 2, 3].map((number) => cookie(number, 3500))
    expect([...overflow(long)].sort()).toEqual(['__Host-c0', '__Host-c1'])
  })
})
