/** The rules of one login, by example and by random histories against a model. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Approval,
  ATTEMPT_MS,
  approve,
  claim,
  countWrongCode,
  type Denial,
  deny,
  isOpen,
  isOver,
  judgeApproval,
  judgeRedemption,
  LONGEST_ATTEMPT_MS,
  nextLook,
  OUTCOME_MS,
  open,
  reject,
  type Session,
  type Signer,
  settle,
  type Way,
  WRONG_CODES,
} from '../../../src/login/session.ts'

const START = 1_800_000_000_000
const TOKEN_ID = '11111111-2222-4333-8444-555555555555'

const started = open(
  {
    sessionId: `sess_${'0'.repeat(64)}`,
    asked: {
      door: 'direct',
      doorState: {},
      service: { id: 'bar', name: 'Bar', url: 'https://bar.example/', logo: null },
      origin: 'https://bar.example',
      returnTo: null,
      socketOrigins: ['https://bar.example'],
      begunBy: 'page',
      vds: null,
      purpose: 'login',
      trustRequired: false,
      scopes: ['identity:age_over_18', 'identity:given_name'],
      requiredScopes: ['identity:age_over_18'],
      minTrustLevel: 2,
      confirmation: 'compare',
      context: { browser: null, country: null },
    },
    addressee: { tokenId: TOKEN_ID, thumbprint: 'phone' },
    hosted: null,
  },
  { nonce: 'nonce', salt: 'salt', secretVersion: 1 },
  START,
)

const phone: Signer = {
  tokenId: TOKEN_ID,
  thumbprint: 'phone',
  signed: true,
  enrollment: 'active',
  seal: 'stands',
  disabledServices: [],
  withdrawnVds: [],
  trustedServices: [],
}

/** Rung, or found in the list of open logins: there is nothing to prove. */
const PUSHED: Way = { via: 'push', proof: null }

const approval: Approval = {
  signer: phone,
  digest: 'approval',
  nonce: 'nonce',
  service: 'bar',
  origin: 'https://bar.example',
  otp: '123456',
  grantedScopes: ['identity:age_over_18'],
  seal: 'valid',
  trustLevel: 2,
}

const denial: Denial = { signer: phone, digest: 'denial', nonce: 'nonce', reason: 'declined' }
const sealed = { result: 'sealed', codeHash: 'hash', enrollmentId: 'binding' }

/** A session as the object leaves it after one act: what `object.ts` does with a judgement, and the answer. */
function act(session: Session, approval: Approval, codeIsRight: boolean, now: number) {
  const judgement = judgeApproval(session, approval, codeIsRight, now)
  switch (judgement.act) {
    case 'approve':
      return { session: approve(session, approval, sealed, now), answer: 'ok' }
    case 'repeat':
      return { session, answer: 'ok' }
    case 'count_wrong_code':
      return { session: countWrongCode(session, now), answer: 'invalid_otp' }
    case 'reject':
      return { session: reject(session, judgement.reason, null, now), answer: judgement.fault }
    case 'refuse':
      return { session, answer: judgement.fault }
  }
}

/** The same login where only who trusts the service may come, and a person who does. */
const demanding: Session = { ...started, asked: { ...started.asked, trustRequired: true } }
const trusting: Signer = { ...phone, trustedServices: ['pub', 'bar'] }

function faultOf(changes: Partial<Approval>, codeIsRight = true, now = START + 1) {
  const given = { ...approval, signer: trusting, ...changes }
  return judgeApproval(demanding, given, codeIsRight, now)
}

describe('claim', () => {
  test('354 session: the deadline moves once, at the first claim, and never past 120 s from the start', () => {
    const first = claim(started, phone, PUSHED, START + 59_000)
    if (!first.ok) throw new Error(first.reason)
    expect(first.value.attempt.deadline).toBe(START + 119_000)
    const again = claim(first.value, phone, PUSHED, START + 100_000)
    expect(again).toEqual({ ok: true, value: first.value })
    expect(again.ok && again.value).toBe(first.value)
  })

  test('230 session: only the addressed device may claim', () => {
    const cases: [Partial<Signer>, string][] = [
      [{ signed: false }, 'invalid_statement'],
      [{ thumbprint: 'another' }, 'session_not_found'],
      [{ tokenId: '99999999-2222-4333-8444-555555555555' }, 'session_not_found'],
      [{ enrollment: 'revoked' }, 'token_revoked'],
      [{ disabledServices: ['bar'] }, 'service_disabled'],
      [{ seal: 'invalid_vds' }, 'invalid_vds'],
      [{ seal: 'vds_expired' }, 'vds_expired'],
    ]
    for (const [change, reason] of cases) {
      expect(claim(started, { ...phone, ...change }, PUSHED, START + 1)).toEqual({
        ok: false,
        reason,
      })
    }
  })

  test('178 session: a decoy can be neither claimed, approved nor denied', () => {
    const { sessionId, asked, hosted } = started
    const addressee = { tokenId: TOKEN_ID, thumbprint: null }
    const secrets = { nonce: 'nonce', salt: 'salt', secretVersion: 1 }
    const decoy = open({ sessionId, asked, hosted, addressee }, secrets, START)
    expect(claim(decoy, phone, PUSHED, START)).toMatchObject({ reason: 'session_not_found' })
    expect(deny(decoy, denial, START)).toMatchObject({ reason: 'invalid_statement' })
    expect(judgeApproval(decoy, approval, true, START)).toMatchObject({ act: 'refuse' })
  })
})

describe('the order in which an approval is judged', () => {
  // Each has the fault it is named for, and every fault that is asked after it.
  const faults: [string, Partial<Approval>, boolean, object][] = [
    [
      'a signature',
      { signer: { ...phone, signed: false } },
      false,
      { act: 'refuse', fault: 'invalid_statement' },
    ],
    ['a nonce', { nonce: 'other' }, false, { act: 'refuse', fault: 'invalid_statement' }],
    ['a service', { service: 'other' }, false, { act: 'refuse', fault: 'invalid_statement' }],
    ['an origin', { origin: 'https://o' }, false, { act: 'refuse', fault: 'invalid_statement' }],
    ['the code', {}, false, { act: 'count_wrong_code' }],
    [
      'the enrollment',
      { signer: { ...phone, enrollment: 'revoked' }, seal: 'mismatch' },
      true,
      { act: 'reject', reason: 'revoked', fault: 'token_revoked' },
    ],
    [
      'the service',
      { signer: { ...phone, disabledServices: ['bar'] }, seal: 'mismatch' },
      true,
      { act: 'reject', reason: 'service_disabled', fault: 'service_disabled' },
    ],
    [
      'the trust',
      { signer: { ...phone, trustedServices: ['pub'] }, seal: 'mismatch' },
      true,
      { act: 'refuse', fault: 'trust_required' },
    ],
    [
      'the fingerprint',
      { seal: 'mismatch', grantedScopes: ['x'] },
      true,
      { act: 'refuse', fault: 'credential_mismatch' },
    ],
    [
      'the seal',
      { seal: 'invalid_vds', grantedScopes: ['x'] },
      true,
      { act: 'refuse', fault: 'invalid_vds' },
    ],
    [
      'its expiry',
      { seal: 'vds_expired', grantedScopes: ['x'] },
      true,
      { act: 'reject', reason: 'revoked', fault: 'vds_expired' },
    ],
    [
      'a scope too many',
      { grantedScopes: ['identity:age_over_18', 'identity:photo'], trustLevel: 1 },
      true,
      { act: 'refuse', fault: 'invalid_scope' },
    ],
    [
      'a required scope',
      { grantedScopes: [], trustLevel: 1 },
      true,
      { act: 'refuse', fault: 'invalid_scope' },
    ],
    [
      'the trust level',
      { trustLevel: 1 },
      true,
      {
        act: 'reject',
        reason: 'insufficient_trust_level',
        fault: 'insufficient_trust_level',
      },
    ],
    ['nothing', {}, true, { act: 'approve' }],
  ]
  test.each(faults)('213 session: %s', (_name, changes, codeIsRight, judgement) => {
    expect(faultOf(changes, codeIsRight)).toEqual(judgement)
  })

  test('232 session: at the deadline everything is over, whatever the approval says', () => {
    expect(faultOf({}, true, START + ATTEMPT_MS - 1)).toEqual({ act: 'approve' })
    expect(faultOf({}, true, START + ATTEMPT_MS)).toEqual({
      act: 'refuse',
      fault: 'session_not_found',
    })
  })
})

describe('outcomes', () => {
  test('215 session: the third wrong code ends the login, and its reason is told', () => {
    let session = started
    for (let i = 1; i < WRONG_CODES; i++) {
      session = countWrongCode(session, START + i)
      expect(session.state).toBe('pending')
    }
    session = countWrongCode(session, START + 9)
    expect(session).toMatchObject({
      state: 'rejected',
      rejection: 'wrong_code',
      endedAt: START + 9,
    })
    expect(act(session, approval, true, START + 10).answer).toBe('session_resolved')
  })

  test('222 session: an identical approval is answered again while the outcome is on offer', () => {
    const { session } = act(started, approval, true, START + 1)
    expect(act(session, approval, true, START + OUTCOME_MS)).toEqual({ session, answer: 'ok' })
    expect(act(session, approval, true, START + 1 + OUTCOME_MS).answer).toBe('session_not_found')
    const other = { ...approval, digest: 'another' }
    expect(act(session, other, true, START + 2).answer).toBe('session_resolved')
    const stranger = { ...approval, signer: { ...phone, signed: false } }
    expect(act(session, stranger, true, START + 2).answer).toBe('session_resolved')
  })

  test('223 session: the first outcome stands', () => {
    const approved = act(started, approval, true, START + 1).session
    expect(deny(approved, denial, START + 2)).toMatchObject({ reason: 'session_resolved' })
    const denied = deny(started, denial, START + 1)
    if (!denied.ok) throw new Error(denied.reason)
    expect(act(denied.value, approval, true, START + 2).answer).toBe('session_resolved')
    expect(deny(denied.value, denial, START + 3)).toEqual(denied)
    // Whoever has merely seen the decision doesn't get its answer.
    const stranger = { ...denial, signer: { ...phone, signed: false } }
    expect(deny(denied.value, stranger, START + 3)).toMatchObject({ reason: 'session_resolved' })
  })

  test('359 session: a code is redeemed by its service, once approved, until it is over', () => {
    const asked = { serviceId: 'bar', codeHash: 'hash' }
    const refused = { ok: false, reason: 'session_not_found' }
    expect(judgeRedemption(started, asked, START + 1)).toEqual(refused)
    const { session } = act(started, approval, true, START + 1)
    expect(judgeRedemption(session, asked, START + 2)).toEqual({ ok: true, value: 'sealed' })
    expect(judgeRedemption(session, { ...asked, serviceId: 'pub' }, START + 2)).toEqual(refused)
    expect(judgeRedemption(session, { ...asked, codeHash: 'guess' }, START + 2)).toEqual(refused)
    expect(judgeRedemption(session, asked, START + 1 + OUTCOME_MS)).toEqual(refused)
    const spent = { ...session, codeHash: null, result: null }
    expect(judgeRedemption(spent, asked, START + 2)).toEqual(refused)
  })

  test('210 session: an unanswered attempt expires at its deadline and is forgotten a minute later', () => {
    const deadline = START + ATTEMPT_MS
    expect(settle(started, deadline - 1)).toBe(started)
    expect(nextLook(started)).toBe(deadline)
    const expired = settle(started, deadline + 300_000)
    expect(expired).toMatchObject({ state: 'expired', endedAt: deadline })
    expect(nextLook(expired)).toBe(deadline + OUTCOME_MS)
    expect(isOver(expired, deadline + OUTCOME_MS)).toBe(true)
  })
})

/* ---- random histories ---- */

type Act =
  | { readonly kind: 'claim'; readonly signer: Signer; readonly way: Way }
  | { readonly kind: 'approve'; readonly approval: Approval; readonly right: boolean }
  | { readonly kind: 'deny'; readonly denial: Denial }
  | { readonly kind: 'cancel' }

const signers = fc.record({
  tokenId: fc.constantFrom(TOKEN_ID, TOKEN_ID, TOKEN_ID, 'another'),
  thumbprint: fc.constantFrom('phone', 'phone', 'phone', 'another'),
  signed: fc.constantFrom(true, true, true, false),
  enrollment: fc.constantFrom('active', 'active', 'active', 'active', 'revoked' as const),
  seal: fc.constantFrom('stands', 'stands', 'vds_expired'),
  disabledServices: fc.constantFrom([], [], [], ['bar']),
  withdrawnVds: fc.constantFrom([], [], [], ['vds']),
  trustedServices: fc.constantFrom([], ['bar']),
})
const ways = fc.constantFrom<Way>(
  PUSHED,
  PUSHED,
  { via: 'camera', proof: 'fresh' },
  { via: 'camera', proof: 'expired' },
  { via: 'camera', proof: 'forged' },
  { via: 'link', proof: 'fresh' },
)
const approvals = fc.record({
  signer: signers,
  digest: fc.constantFrom('approval', 'another approval'),
  nonce: fc.constantFrom('nonce', 'nonce', 'nonce', 'stale'),
  service: fc.constant('bar'),
  origin: fc.constant('https://bar.example'),
  otp: fc.constant('123456'),
  grantedScopes: fc.constantFrom(['identity:age_over_18'], ['identity:photo']),
  seal: fc.constantFrom('valid', 'valid', 'valid', 'mismatch', 'invalid_vds' as const),
  trustLevel: fc.constantFrom(1, 2, 2, 3 as const),
})
const acts: fc.Arbitrary<Act> = fc.oneof(
  fc.record({ kind: fc.constant('claim' as const), signer: signers, way: ways }),
  fc.record({ kind: fc.constant('approve' as const), approval: approvals, right: fc.boolean() }),
  fc.record({
    kind: fc.constant('deny' as const),
    denial: fc.record({
      signer: signers,
      digest: fc.constantFrom('denial', 'another denial'),
      nonce: fc.constantFrom('nonce', 'nonce', 'stale'),
      reason: fc.constantFrom('declined', 'not_me' as const),
    }),
  }),
  fc.record({ kind: fc.constant('cancel' as const) }),
)
const histories = fc.array(fc.tuple(fc.integer({ min: 0, max: 40_000 }), acts), { maxLength: 14 })

/** One act at `now`, as the object performs it. */
function perform(session: Session, deed: Act, now: number): { session: Session; answer: string } {
  switch (deed.kind) {
    case 'approve':
      return act(session, deed.approval, deed.right, now)
    case 'claim':
    case 'deny': {
      const done =
        deed.kind === 'claim'
          ? claim(session, deed.signer, deed.way, now)
          : deny(session, deed.denial, now)
      return done.ok ? { session: done.value, answer: 'ok' } : { session, answer: done.reason }
    }
    case 'cancel':
      return isOpen(session, now)
        ? { session: reject(session, 'revoked', null, now), answer: 'ok' }
        : { session, answer: 'closed' }
  }
}

function isAuthentic({ signer, nonce }: Approval | Denial): boolean {
  return (
    signer.signed &&
    signer.tokenId === TOKEN_ID &&
    signer.thumbprint === 'phone' &&
    nonce === 'nonce'
  )
}

describe('any history', () => {
  test('234 session: has one outcome at most, and nothing is accepted after the deadline', () => {
    fc.assert(
      fc.property(histories, (history) => {
        let session = started
        let now = START
        let outcome: Session | undefined
        for (const [wait, deed] of history) {
          now += wait
          const before = session
          const { session: after, answer } = perform(before, deed, now)

          expect(after.attempt.deadline).toBeLessThanOrEqual(START + LONGEST_ATTEMPT_MS)
          if (after.attempt.deadline !== before.attempt.deadline) {
            expect([before.state, after.state]).toEqual(['pending', 'claimed'])
          }
          // Only an open login changes, and an ended one never again.
          if (after !== before) expect(now).toBeLessThan(before.attempt.deadline)
          if (outcome !== undefined) expect(after).toBe(outcome)
          if (after.endedAt !== null) outcome = after
          // Nothing but a repetition of the decision itself is answered "ok" once the deadline is over.
          if (answer === 'ok' && now >= before.attempt.deadline) {
            const digest =
              deed.kind === 'approve'
                ? deed.approval.digest
                : deed.kind === 'deny'
                  ? deed.denial.digest
                  : undefined
            expect(digest).toBe(before.decision)
          }
          session = after
        }
      }),
      { numRuns: 500 },
    )
  })

  test('215 session: counts exactly the validly signed approvals with a wrong code', () => {
    fc.assert(
      fc.property(histories, (history) => {
        let session = started
        let now = START
        let wrong = 0
        for (const [wait, deed] of history) {
          now += wait
          const counts =
            deed.kind === 'approve' &&
            isOpen(session, now) &&
            isAuthentic(deed.approval) &&
            !deed.right
          if (counts) wrong += 1
          session = perform(session, deed, now).session
          expect(session.attempt.wrongCodes).toBe(wrong)
          expect(wrong).toBeLessThanOrEqual(WRONG_CODES)
          if (wrong === WRONG_CODES) expect(session.state).toBe('rejected')
        }
      }),
      { numRuns: 500 },
    )
  })

  test('222 session: answers an identical retry of a decision as it answered the first', () => {
    fc.assert(
      fc.property(histories, fc.integer({ min: 0, max: OUTCOME_MS - 1 }), (history, later) => {
        let session = started
        let now = START
        for (const [wait, deed] of history) {
          now += wait
          const first = perform(session, deed, now)
          const decided = session.endedAt === null && first.session.decision !== null
          session = first.session
          if (decided) {
            expect(perform(session, deed, now + later)).toEqual({ session, answer: 'ok' })
          }
        }
      }),
      { numRuns: 500 },
    )
  })
})
