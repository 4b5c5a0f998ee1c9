import { describe, expect, test } from 'vitest'
import type { RejectionReason } from '../../../src/login/door.ts'
import { claimEvents, stateEvents } from '../../../src/login/events.ts'
import { open, reject, type Session, settle } from '../../../src/login/session.ts'

const START = Date.UTC(2026, 10, 21, 12)

const pending: Session = open(
  {
    sessionId: `sess_${'0'.repeat(64)}`,
    asked: {
      door: 'direct',
      doorState: {},
      service: { id: 'bar', name: 'Bar', url: 'https://bar.example/', logo: null },
      origin: 'https://bar.example',
      returnTo: null,
      socketOrigins: [],
      begunBy: 'page',
      vds: null,
      purpose: 'login',
      trustRequired: false,
      scopes: [],
      requiredScopes: [],
      minTrustLevel: 1,
      confirmation: 'compare',
      context: { browser: null, country: null },
    },
    addressee: { tokenId: '11111111-2222-4333-8444-555555555555', thumbprint: 'phone' },
    hosted: null,
  },
  { nonce: 'nonce', salt: 'salt', secretVersion: 1 },
  START,
)
const ready = {
  type: 'otp_ready',
  autoPassword: '012345',
  expiresAt: '2026-11-21T12:01:00.000Z',
}

describe('what a socket that has just connected is told', () => {
  test('200 events: while pending the code, then how far the login has come, in this order', () => {
    expect(stateEvents(pending, '012345', null)).toEqual([ready])
    const claimed: Session = { ...pending, state: 'claimed', pushFailed: true }
    expect(stateEvents(claimed, '012345', null)).toEqual([
      ready,
      { type: 'claimed' },
      { type: 'push_failed' },
    ])
  })

  test('200 events: before anybody has scanned it nothing is to be told, then first that, then the code', () => {
    const nobody: Session = { ...pending, addressee: null }
    expect(stateEvents(nobody, null, null)).toEqual([])
    expect(stateEvents({ ...nobody, pushFailed: true }, null, null)).toEqual([
      { type: 'push_failed' },
    ])
    expect(claimEvents({ ...pending, state: 'claimed' }, '012345')).toEqual([
      { type: 'claimed' },
      ready,
    ])
    // Whoever was named has had his code from the start.
    expect(claimEvents({ ...pending, state: 'claimed' }, null)).toEqual([{ type: 'claimed' }])
  })

  test('events: a registration ends with one word, and never with a delivery', () => {
    const asked = { ...pending.asked, purpose: 'register' } as const
    const registration: Session = { ...pending, asked, addressee: null }
    expect(stateEvents(registration, null, null)).toEqual([])
    const trusted: Session = { ...registration, state: 'approved', endedAt: START }
    expect(stateEvents(trusted, null, null)).toEqual([{ type: 'trusted' }])
    expect(stateEvents(trusted, null, { code: 'c' })).toEqual([{ type: 'trusted' }])
    expect(stateEvents(settle(registration, START + 60_000), null, null)).toEqual([
      { type: 'expired' },
    ])
  })

  test('202 events: once approved the delivery, and never a code', () => {
    const approved: Session = { ...pending, state: 'approved', endedAt: START }
    expect(stateEvents(approved, '012345', { code: 'c' })).toEqual([
      { type: 'approved', code: 'c' },
    ])
    // Nothing that a door delivers can pass for another event.
    expect(stateEvents(approved, null, { type: 'rejected' })).toEqual([{ type: 'approved' }])
    expect(stateEvents(approved, '012345', null)).toEqual([])
  })

  test.each<[RejectionReason, string]>([
    ['declined', 'declined'],
    ['not_me', 'declined'],
    ['revoked', 'declined'],
    ['service_disabled', 'declined'],
    ['wrong_code', 'wrong_code'],
  ])('201 events: %s is told as %s', (reason, told) => {
    const rejected = reject(pending, reason, null, START)
    expect(stateEvents(rejected, '012345', null)).toEqual([{ type: 'rejected', reason: told }])
  })

  test('210 events: after the deadline one expired', () => {
    const expired = settle(pending, START + 60_000)
    expect(stateEvents(expired, '012345', null)).toEqual([{ type: 'expired' }])
  })
})
