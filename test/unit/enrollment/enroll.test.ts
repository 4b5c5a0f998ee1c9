import { describe, expect, test } from 'vitest'
import {
  type Binding,
  type Enrollment,
  type EnrollmentRequest,
  judge,
} from '../../../src/enrollment/enroll.ts'

const REVOKED_AT = 2000
const asked: EnrollmentRequest = {
  tokenId: 'T',
  caId: 'IDT1',
  sealFingerprint: 'new',
  sealIssuedAt: 3000,
  thumbprint: 'new key',
  granted: true,
}
const active: Enrollment = {
  tokenId: 'T',
  enrollmentId: 'E',
  status: 'active',
  caId: 'IDT1',
  sealFingerprint: 'old',
  sealIssuedAt: 1000,
  expiresAt: 9000,
  trustLevel: 2,
  granted: true,
  deviceId: 'phone',
  deviceKey: { jwk: { kty: 'EC', crv: 'P-256', x: 'x', y: 'y' }, thumbprint: 'old key' },
  encryptionKey: null,
  fcmToken: null,
  statementIat: 1500,
  enrolledAt: 1500,
  revokedAt: null,
}
const revoked: Enrollment = { ...active, status: 'revoked', revokedAt: REVOKED_AT }
const same = { thumbprint: 'old key', sealFingerprint: 'old', sealIssuedAt: 1000 }

function outcome(
  enrollment: Enrollment | undefined,
  changes: Partial<EnrollmentRequest> = {},
  binding: Partial<Binding> = {},
): string {
  const judgement = judge(
    { ...asked, ...changes },
    { keyOwner: undefined, sealRevokedBy: undefined, enrollment, ...binding },
  )
  return judgement.act === 'refuse' ? judgement.code : judgement.act
}

test('137 enroll: the first binds, the same again repeats', () => {
  expect(outcome(undefined)).toBe('bind')
  expect(outcome(active, same)).toBe('repeat')
  // A binding with a grant is not lost by a retry that leaves the grant out.
  expect(outcome(active, { ...same, granted: false })).toBe('repeat')
})

describe('142 enroll: an active tokenId', () => {
  test('with a grant it stays with its key, whatever the other brings', () => {
    expect(outcome(active)).toBe('already_enrolled')
    expect(outcome(active, { granted: false })).toBe('already_enrolled')
    expect(outcome(active, { sealFingerprint: 'old', sealIssuedAt: 1000 })).toBe('already_enrolled')
  })
  test('without a grant it gives way to one with, and to no other', () => {
    const poor = { ...active, granted: false }
    expect(
      judge(asked, { enrollment: poor, keyOwner: undefined, sealRevokedBy: undefined }),
    ).toEqual({
      act: 'bind',
      replaces: poor,
    })
    expect(outcome(poor, { granted: false })).toBe('already_enrolled')
    expect(outcome(poor, same)).toBe('bind')
  })
  test('its own key may bring a newer seal, not an older one, and not without the grant it had', () => {
    expect(outcome(active, { thumbprint: 'old key' })).toBe('bind')
    expect(outcome(active, { thumbprint: 'old key', sealIssuedAt: 1000 })).toBe('already_enrolled')
    expect(outcome(active, { thumbprint: 'old key', sealIssuedAt: 999 })).toBe('already_enrolled')
    expect(outcome(active, { thumbprint: 'old key', granted: false })).toBe('already_enrolled')
  })
})

describe('144 enroll: a revoked tokenId', () => {
  test('351 comes back with a seal issued after the revocation, replacing nothing', () => {
    expect(
      judge(
        { ...asked, sealIssuedAt: REVOKED_AT + 1 },
        { enrollment: revoked, keyOwner: undefined, sealRevokedBy: undefined },
      ),
    ).toEqual({ act: 'bind', replaces: undefined })
  })
  test('does not with a seal issued before it, or in its second', () => {
    expect(outcome(revoked, same)).toBe('token_revoked')
    expect(outcome(revoked, { sealIssuedAt: REVOKED_AT })).toBe('token_revoked')
    expect(outcome(revoked, { sealIssuedAt: REVOKED_AT }, { sealRevokedBy: 'list' })).toBe(
      'token_revoked',
    )
  })
  test('does not with the revoked seal itself, though its clock ran ahead of ours', () => {
    const ahead = { ...revoked, sealIssuedAt: REVOKED_AT + 200 }
    const changes = { sealFingerprint: 'old', sealIssuedAt: REVOKED_AT + 200 }
    expect(outcome(ahead, changes, { sealRevokedBy: 'operator' })).toBe('token_revoked')
    // Nor when another seal has taken its place meanwhile.
    const replaced = {
      ...active,
      granted: false,
      sealFingerprint: 'next',
      sealIssuedAt: 2300,
      revokedAt: REVOKED_AT,
    }
    expect(outcome(replaced, changes, { sealRevokedBy: 'operator' })).toBe('token_revoked')
  })
  test('a grant lets no seal through that a former revocation ended', () => {
    const again = { ...active, granted: false, sealIssuedAt: 2500, revokedAt: REVOKED_AT }
    expect(outcome(again, { sealIssuedAt: 1999 })).toBe('token_revoked')
    expect(outcome(again, { sealIssuedAt: 2001 })).toBe('bind')
  })
})

test('157 enroll: a seal on the imported list is refused, also when it is bound already', () => {
  expect(outcome(undefined, {}, { sealRevokedBy: 'list' })).toBe('invalid_vds')
  expect(outcome(revoked, {}, { sealRevokedBy: 'list' })).toBe('invalid_vds')
  expect(outcome(active, same, { sealRevokedBy: 'list' })).toBe('invalid_vds')
})

test('356 enroll: a tokenId belongs to the CA that enrolled it first, active or revoked', () => {
  expect(outcome(active, { caId: 'IDT2' })).toBe('already_enrolled')
  expect(outcome(revoked, { caId: 'IDT2' })).toBe('already_enrolled')
  expect(outcome({ ...active, granted: false }, { caId: 'IDT2' })).toBe('already_enrolled')
  expect(outcome(active, { ...same, caId: 'IDT2' })).toBe('already_enrolled')
})

test('enroll: one key answers for one tokenId', () => {
  expect(outcome(undefined, {}, { keyOwner: 'U' })).toBe('key_in_use')
  expect(outcome(revoked, {}, { keyOwner: 'U' })).toBe('key_in_use')
  expect(outcome(revoked, {}, { keyOwner: 'T' })).toBe('bind')
})

test('2-protocol 3: when several checks fail, the first in the order names the answer', () => {
  const all = { keyOwner: 'U', sealRevokedBy: 'list' } as const
  expect(outcome(active, { sealIssuedAt: 1 }, all)).toBe('already_enrolled')
  expect(outcome(revoked, { sealIssuedAt: 1 }, all)).toBe('token_revoked')
  expect(outcome(revoked, {}, all)).toBe('invalid_vds')
  expect(outcome(undefined, {}, all)).toBe('invalid_vds')
})
