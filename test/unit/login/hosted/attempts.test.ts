/** The rules of a login on our own pages: its attempts, and what its browser may do; by example and by random histories. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { RejectionReason } from '../../../../src/login/door.ts'
import {
  type Approval,
  ATTEMPT_MS,
  ATTEMPTS,
  abandon,
  approve,
  claim,
  countWrongCode,
  deny,
  isFinal,
  isOpen,
  isOver,
  isReport,
  judgeApproval,
  judgeContinue,
  judgeRedemption,
  LONGEST_ATTEMPT_MS,
  nextAttempt,
  nextLook,
  OUTCOME_MS,
  open,
  openApproved,
  REQUEST_MS,
  reject,
  type Session,
  type Signer,
  settle,
  type Way,
  WRONG_CODES,
} from '../../../../src/login/session.ts'
import type { Result } from '../../../../src/result.ts'

const START = 1_800_000_000_000
const ANNA = '11111111-2222-4333-8444-555555555555'
const BRUNO = '22222222-2222-4333-8444-555555555555'

const fixed = {
  sessionId: `sess_${'0'.repeat(64)}`,
  asked: {
    door: 'oidc',
    doorState: {},
    service: { id: 'bar', name: 'Bar', url: 'https://bar.example/', logo: null },
    origin: 'https://bar.example',
    returnTo: 'https://bar.example/cb',
    socketOrigins: [],
    begunBy: 'page',
    vds: null,
    purpose: 'login',
    trustRequired: false,
    scopes: ['identity:name'],
    requiredScopes: [],
    minTrustLevel: 1,
    confirmation: 'compare',
    context: { browser: null, country: null },
  },
  addressee: { tokenId: ANNA, thumbprint: ANNA },
  hosted: { browser: 'browser', requestedAt: START },
} as const

function secrets(number: number) {
  return { nonce: `nonce ${number}`, salt: `salt ${number}`, secretVersion: 1 }
}

const started: Session = open(fixed, secrets(1), START)

/** The next attempt from the page that showed attempt `after`. */
function next(
  session: Session,
  now: number,
  after = session.attempt.number,
  tokenId: string | null = ANNA,
) {
  const invited = tokenId === null ? null : { tokenId, thumbprint: tokenId }
  const wanted = { asked: session.asked, invited, hinted: false, after }
  return nextAttempt(session, { ...secrets(session.attempt.number + 1), ...wanted }, now)
}

function must(result: Result<Session, string>): Session {
  if (!result.ok) throw new Error(result.reason)
  return result.value
}

function signerOf(tokenId: string): Signer {
  return {
    tokenId,
    thumbprint: tokenId,
    signed: true,
    enrollment: 'active',
    seal: 'stands',
    withdrawnVds: [],
    disabledServices: [],
    trustedServices: [],
  }
}

/** Rung, or found in the list of open logins. */
const PUSHED: Way = { via: 'push', proof: null }
const SCANNED: Way = { via: 'camera', proof: 'fresh' }

/** The phone that may decide, or one that would like to. */
function phoneOf({ addressee }: Session): Signer {
  return signerOf(addressee?.tokenId ?? ANNA)
}

function approvalOf(session: Session): Approval {
  return {
    signer: phoneOf(session),
    digest: `approval ${session.attempt.number}`,
    nonce: session.attempt.nonce,
    service: 'bar',
    origin: 'https://bar.example',
    otp: '123456',
    grantedScopes: [],
    seal: 'valid',
    trustLevel: 2,
  }
}

const sealed = { result: 'sealed', codeHash: 'hash', enrollmentId: 'binding' }
const approved = approve(started, approvalOf(started), sealed, START + 1)

function rejectedFor(reason: RejectionReason): Session {
  return reject(started, reason, null, START + 1)
}

const WILLFUL = [
  'declined',
  'not_me',
  'revoked',
  'service_disabled',
  'insufficient_trust_level',
  'cancelled',
] as const

describe('the next attempt', () => {
  test('357 session: begins anew, with its own nonce, salt and minute', () => {
    const claimed = claim(started, signerOf(ANNA), PUSHED, START + 1000)
    if (!claimed.ok) throw new Error(claimed.reason)
    const wrong = countWrongCode({ ...claimed.value, pushFailed: true }, START + 2000)
    const second = must(next(wrong, START + 40_000))
    expect(second).toEqual({
      ...started,
      attempt: {
        number: 2,
        invited: started.addressee,
        hinted: false,
        ...secrets(2),
        deadline: START + 40_000 + ATTEMPT_MS,
        latestDeadline: START + 40_000 + LONGEST_ATTEMPT_MS,
        wrongCodes: 0,
      },
      earlier: second.earlier,
    })
    // Whoever the closed attempt was addressed to, and nobody else.
    const addressed = { ...started.addressee, nonce: started.attempt.nonce }
    expect(new Set(second.earlier.map((one) => JSON.stringify(one)))).toEqual(
      new Set([JSON.stringify(addressed)]),
    )
  })

  test('357 session: what was signed for the closed attempt is worth nothing', () => {
    const second = must(next(started, START + 1))
    for (const codeIsRight of [true, false]) {
      expect(judgeApproval(second, approvalOf(started), codeIsRight, START + 2)).toEqual({
        act: 'refuse',
        fault: 'invalid_statement',
      })
    }
    const denial = {
      signer: signerOf(ANNA),
      digest: 'd',
      nonce: 'nonce 1',
      reason: 'not_me',
    } as const
    expect(deny(second, denial, START + 2)).toEqual({ ok: false, reason: 'invalid_statement' })
    expect(judgeApproval(second, approvalOf(second), true, START + 2)).toEqual({ act: 'approve' })
  })

  test('357 session: a form that was sent twice gets what the first one got', () => {
    expect(must(next(started, START + 1, 0))).toBe(started)
    const second = must(next(started, START + 1))
    expect(must(next(second, START + 2, 1))).toBe(second)
    expect(must(next(second, START + 2, 0))).toBe(second)
    expect(must(next(second, START + 2, 2)).attempt.number).toBe(3)
    // An older page still begins the next one once that attempt is over.
    expect(must(next(second, START + 2 + ATTEMPT_MS, 0)).attempt.number).toBe(3)
  })

  test('357 session: another number is another attempt, from whichever page', () => {
    const second = must(next(started, START + 1, 0, BRUNO))
    expect(second).toMatchObject({ addressee: { tokenId: BRUNO }, attempt: { number: 2 } })
    expect(claim(second, signerOf(ANNA), PUSHED, START + 2)).toMatchObject({
      reason: 'session_not_found',
    })
    expect(claim(second, signerOf(BRUNO), PUSHED, START + 2)).toMatchObject({ ok: true })
  })

  test('357 session: from a number to the QR and back, from whichever page, and the phone that scanned is out', () => {
    const scanned = must(claim(started, signerOf(BRUNO), SCANNED, START + 1))
    const byQr = must(next(scanned, START + 2, 0, null))
    expect(byQr).toMatchObject({
      ...{ state: 'pending', addressee: null, via: null, claimedAt: null },
      attempt: { number: 2, invited: null },
    })
    expect(claim(byQr, signerOf(BRUNO), PUSHED, START + 3)).toMatchObject({ ok: false })
    // The same form once more finds the attempt that it began, whoever has scanned it since.
    expect(must(next(byQr, START + 3, 1, null))).toBe(byQr)
    const taken = must(claim(byQr, signerOf(BRUNO), SCANNED, START + 3))
    expect(must(next(taken, START + 4, 1, null))).toBe(taken)
    expect(must(next(taken, START + 4, 2, null)).addressee).toBeNull()
    const byNumber = must(next(taken, START + 4, 1, ANNA))
    expect(byNumber).toMatchObject({ addressee: { tokenId: ANNA }, attempt: { number: 3 } })
    expect(judgeApproval(byNumber, approvalOf(taken), true, START + 5)).toMatchObject({
      fault: 'invalid_statement',
    })
  })

  test('357 session: the form of a number goes by whom the attempt was begun for, not by who scanned it', () => {
    const scanned = must(claim(started, signerOf(BRUNO), SCANNED, START + 1))
    expect(must(next(scanned, START + 2, 0, ANNA))).toBe(scanned)
    expect(must(next(scanned, START + 2, 0, BRUNO)).attempt.number).toBe(2)
  })

  test('225 session: whom a closed attempt was for and who scanned it may both still say "not me"', () => {
    const scanned = must(claim(started, signerOf(BRUNO), SCANNED, START + 1))
    const second = must(next(scanned, START + 2, 1, null))
    for (const tokenId of [ANNA, BRUNO]) {
      const denial = {
        ...{ signer: signerOf(tokenId), digest: 'd', nonce: 'nonce 1' },
        reason: 'not_me' as const,
      }
      expect(isReport(scanned, denial)).toBe(true)
      expect(isReport(second, denial)).toBe(true)
      expect(isReport(second, { ...denial, nonce: 'nonce 2' })).toBe(false)
      expect(isReport(second, { ...denial, reason: 'declined' })).toBe(false)
      const forged = { ...denial.signer, signed: false }
      expect(isReport(second, { ...denial, signer: forged })).toBe(false)
      const other = { ...denial.signer, thumbprint: 'another phone' }
      expect(isReport(second, { ...denial, signer: other })).toBe(false)
    }
    const stranger = { signer: signerOf('stranger'), digest: 'd', nonce: 'nonce 1' }
    expect(isReport(second, { ...stranger, reason: 'not_me' })).toBe(false)
  })

  test('357 session: the first and ten more', () => {
    let session = started
    for (let number = 2; number <= ATTEMPTS; number++) session = must(next(session, START + number))
    expect(session.attempt.number).toBe(11)
    expect(next(session, START + 20)).toEqual({ ok: false, reason: 'no_more_attempts' })
    expect(next(session, START + 20, 10)).toEqual({ ok: true, value: session })
  })

  test('357 session: none ten minutes after the request, whenever the first began', () => {
    const end = START + REQUEST_MS
    expect(must(next(started, end - 1)).attempt.number).toBe(2)
    expect(next(started, end)).toEqual({ ok: false, reason: 'session_not_found' })
    const late = open(fixed, secrets(1), end - 1)
    expect(next(late, end)).toEqual({ ok: false, reason: 'session_not_found' })
    // What is open stays open to the page that shows it.
    expect(next(late, end, 0)).toEqual({ ok: true, value: late })
  })

  test('357 session: a login that a service draws itself has one', () => {
    const direct = open({ ...fixed, hosted: null }, secrets(1), START)
    expect(next(direct, START)).toEqual({ ok: false, reason: 'session_not_found' })
    expect(next(direct, START + ATTEMPT_MS)).toEqual({ ok: false, reason: 'session_not_found' })
  })

  test('044 session: none after an outcome that somebody wanted; wrong codes are no such outcome', () => {
    for (const session of [approved, ...WILLFUL.map(rejectedFor)]) {
      expect(next(session, START + 2)).toEqual({ ok: false, reason: 'session_resolved' })
      expect(next(session, START + 2, 0, BRUNO)).toMatchObject({ reason: 'session_resolved' })
    }
    expect(must(next(rejectedFor('wrong_code'), START + 2))).toMatchObject({
      state: 'pending',
      rejection: null,
      endedAt: null,
    })
  })
})

describe('what continuing does', () => {
  const claimed = { ...started, state: 'claimed' } as const
  const cases: [string, Session, number, object][] = [
    ['nobody has answered', started, START + 1, { act: 'wait' }],
    ['the phone is connected', claimed, START + 1, { act: 'wait' }],
    ['the minute is over', started, START + ATTEMPT_MS, { act: 'again' }],
    ['three codes were wrong', rejectedFor('wrong_code'), START + 2, { act: 'again' }],
    ['it was approved', approved, START + 2, { act: 'go' }],
    ['taken on', { ...approved, continuedAt: START + 2 }, START + 3, { act: 'completed' }],
    ['thrown away', { ...approved, result: null }, START + 3, { act: 'completed' }],
    ['approved long ago', approved, START + 1 + OUTCOME_MS, { act: 'over' }],
    ['expired for good', started, START + REQUEST_MS, { act: 'over' }],
    ...WILLFUL.map((reason): [string, Session, number, object] => [
      reason,
      rejectedFor(reason),
      START + 2,
      { act: 'refused', reason },
    ]),
  ]
  test.each(cases)('043 044 session: %s', (_name, session, now, proceeding) => {
    // Whom the browser knows matters only to what was approved after a scan.
    for (const recognised of [true, false]) {
      expect(judgeContinue(session, recognised, now)).toEqual(proceeding)
    }
  })

  const via = (way: Way['via'] | null): Session => ({ ...approved, via: way })
  const taken = { continuedAt: START + 2 }
  test.each<[string, Session, string, string]>([
    ['360 nobody claimed it', via(null), 'go', 'go'],
    ['360 the phone was rung', via('push'), 'go', 'go'],
    ['360 the phone scanned', via('camera'), 'go', 'confirm'],
    ['358 the link was followed', via('link'), 'return', 'return'],
    ['043 scanned, and taken on', { ...via('camera'), ...taken }, 'completed', 'completed'],
    ['043 scanned, and thrown away', { ...via('camera'), result: null }, 'completed', 'completed'],
    ['043 by a link, and taken on', { ...via('link'), ...taken }, 'completed', 'completed'],
    ['043 by a link, thrown away', { ...via('link'), result: null }, 'completed', 'completed'],
  ])('%s', (_name, session, known, unknown) => {
    expect(judgeContinue(session, true, START + 2)).toEqual({ act: known })
    expect(judgeContinue(session, false, START + 2)).toEqual({ act: unknown })
    const late = START + 1 + OUTCOME_MS
    expect(judgeContinue(session, true, late)).toEqual({ act: 'over' })
  })
})

describe('what cancelling does', () => {
  test('044 session: it ends what is open, and what might be tried again', () => {
    for (const session of [started, rejectedFor('wrong_code')]) {
      expect(abandon(session, START + 5)).toEqual({
        ...session,
        state: 'rejected',
        rejection: 'cancelled',
        endedAt: START + 5,
        decision: null,
      })
    }
    const late = START + ATTEMPT_MS + 5
    expect(abandon(started, late)).toMatchObject({ rejection: 'cancelled', endedAt: late })
  })

  test('043 session: a grant that nobody took on is thrown away, with its code', () => {
    const thrown = abandon(approved, START + 2)
    expect(thrown).toEqual({ ...approved, result: null, codeHash: null })
    if (thrown === undefined) throw new Error('nothing was thrown away')
    const asked = { serviceId: 'bar', codeHash: 'hash' }
    expect(judgeRedemption(approved, asked, START + 3)).toMatchObject({ ok: true })
    expect(judgeRedemption(thrown, asked, START + 3)).toMatchObject({ ok: false })
    expect(abandon(thrown, START + 3)).toBeUndefined()
  })

  test('043 session: what was taken on, or ended by somebody, is left as it is', () => {
    expect(abandon({ ...approved, continuedAt: START + 2 }, START + 3)).toBeUndefined()
    for (const reason of WILLFUL) expect(abandon(rejectedFor(reason), START + 3)).toBeUndefined()
  })
})

describe('when it has ended for good', () => {
  test('332 session: an attempt that ran out is final only with its request', () => {
    const expired = settle(started, START + ATTEMPT_MS)
    const failed = rejectedFor('wrong_code')
    for (const session of [expired, failed]) {
      expect(isFinal(session, START + REQUEST_MS - 1)).toBe(false)
      expect(isFinal(session, START + REQUEST_MS)).toBe(true)
      expect(nextLook(session)).toBe(START + REQUEST_MS)
      expect(isOver(session, START + REQUEST_MS - 1)).toBe(false)
      expect(isOver(session, START + REQUEST_MS)).toBe(true)
    }
    for (const session of [approved, ...WILLFUL.map(rejectedFor)]) {
      expect(isFinal(session, START + 1)).toBe(true)
      expect(nextLook(session)).toBe(START + 1 + OUTCOME_MS)
    }
    expect([isFinal(started, START), nextLook(started)]).toEqual([false, START + ATTEMPT_MS])
  })

  test('210 session: an outcome at the end of the request is on offer for a minute all the same', () => {
    const late = open(fixed, secrets(1), START + REQUEST_MS - 1)
    const expired = settle(late, START + REQUEST_MS + ATTEMPT_MS)
    expect(nextLook(expired)).toBe(START + REQUEST_MS - 1 + ATTEMPT_MS + OUTCOME_MS)
    expect(isFinal(expired, START + REQUEST_MS + ATTEMPT_MS)).toBe(true)
  })

  test('210 session: a login that a service draws itself ends with its attempt', () => {
    const direct = settle(open({ ...fixed, hosted: null }, secrets(1), START), START + ATTEMPT_MS)
    expect(isFinal(direct, START + ATTEMPT_MS)).toBe(true)
    expect(nextLook(direct)).toBe(START + ATTEMPT_MS + OUTCOME_MS)
  })
})

test('348 session: an answer without a phone is approved and taken on as it begins', () => {
  const granted = { ...sealed, grantedScopes: ['identity:name'] } as const
  const session = openApproved(fixed, secrets(1), granted, START)
  expect(session).toMatchObject({ state: 'approved', endedAt: START, continuedAt: START })
  expect(judgeContinue(session, false, START + 1)).toEqual({ act: 'completed' })
  expect(abandon(session, START + 1)).toBeUndefined()
  expect(isOpen(session, START + 1)).toBe(false)
  expect(judgeApproval(session, approvalOf(session), true, START + 1)).toMatchObject({
    act: 'refuse',
  })
  const asked = { serviceId: 'bar', codeHash: 'hash' }
  expect(judgeRedemption(session, asked, START + OUTCOME_MS - 1)).toMatchObject({ ok: true })
  expect(judgeRedemption(session, asked, START + OUTCOME_MS)).toMatchObject({ ok: false })
})

/* ---- random histories ---- */

type Deed =
  | { readonly kind: 'next'; readonly after: number; readonly tokenId: string | null }
  | { readonly kind: 'claim'; readonly tokenId: string; readonly way: Way }
  | { readonly kind: 'approve'; readonly attempt: number; readonly right: boolean }
  | { readonly kind: 'deny'; readonly attempt: number }
  | { readonly kind: 'continue'; readonly recognised: boolean }
  | { readonly kind: 'cancel' | 'alarm' }

const people = fc.constantFrom(ANNA, ANNA, ANNA, BRUNO)
const ways = fc.constantFrom<Way>(PUSHED, SCANNED, { via: 'link', proof: 'fresh' })
/** How many attempts ago a page or a statement was made. */
const ago = fc.constantFrom(0, 0, 0, 1, 2)
const deeds: fc.Arbitrary<Deed> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('next' as const),
      after: ago,
      tokenId: fc.oneof({ weight: 3, arbitrary: people }, fc.constant(null)),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('approve' as const),
      attempt: ago,
      right: fc.constantFrom(true, false, false),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('deny' as const), attempt: ago }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('claim' as const), tokenId: people, way: ways }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('continue' as const), recognised: fc.boolean() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constantFrom('alarm' as const, 'cancel' as const) }),
  },
)
const histories = fc.array(fc.tuple(fc.integer({ min: 0, max: 50_000 }), deeds), {
  minLength: 1,
  maxLength: 40,
})

/** One deed at `now` as the object performs it; the word says what came of it. */
function perform(session: Session, deed: Deed, now: number): { session: Session; did: string } {
  switch (deed.kind) {
    case 'next': {
      const result = next(session, now, session.attempt.number - deed.after, deed.tokenId)
      if (!result.ok) return { session, did: result.reason }
      return { session: result.value, did: result.value === session ? 'same' : 'next' }
    }
    case 'approve': {
      const number = session.attempt.number - deed.attempt
      const approval = { ...approvalOf(session), nonce: `nonce ${number}` }
      const judgement = judgeApproval(session, approval, deed.right, now)
      if (judgement.act === 'approve') {
        return { session: approve(session, approval, sealed, now), did: 'approve' }
      }
      if (judgement.act === 'count_wrong_code') {
        return { session: countWrongCode(session, now), did: 'wrong' }
      }
      return { session, did: judgement.act }
    }
    case 'deny': {
      const nonce = `nonce ${session.attempt.number - deed.attempt}`
      const signer = phoneOf(session)
      const denied = deny(session, { signer, digest: 'd', nonce, reason: 'declined' }, now)
      if (!denied.ok) return { session, did: denied.reason }
      return { session: denied.value, did: denied.value === session ? 'same' : 'deny' }
    }
    case 'claim': {
      const claimed = claim(session, signerOf(deed.tokenId), deed.way, now)
      return claimed.ok
        ? { session: claimed.value, did: 'claim' }
        : { session, did: claimed.reason }
    }
    case 'continue': {
      const { act } = judgeContinue(session, deed.recognised, now)
      return { session: act === 'go' ? { ...session, continuedAt: now } : session, did: act }
    }
    case 'cancel': {
      const abandoned = abandon(session, now)
      return { session: abandoned ?? session, did: abandoned ? 'cancel' : 'nothing' }
    }
    case 'alarm':
      return { session: settle(session, now), did: 'alarm' }
  }
}

describe('a number that stood in the page', () => {
  const now = START + 2000
  function approved(hinted: boolean): Session {
    const opened = open(fixed, secrets(1), START, hinted)
    const claimed = must(claim(opened, signerOf(ANNA), PUSHED, START + 1000))
    return { ...claimed, state: 'approved', endedAt: now, result: 'a result' }
  }

  test('360 session: nobody here has said it, so an unknown person is asked about', () => {
    expect(judgeContinue(approved(true), false, now).act).toBe('confirm')
    expect(judgeContinue(approved(true), true, now).act).toBe('go')
    expect(judgeContinue(approved(false), false, now).act).toBe('go')
  })

  test('360 session: each attempt for itself', () => {
    const hinted = open(fixed, secrets(1), START, true)
    expect(must(next(hinted, START + 1)).attempt.hinted).toBe(false)
  })
})

describe('any history', () => {
  /** Plays `history` until the object is emptied, and shows each step. */
  function play(
    history: readonly (readonly [number, Deed])[],
    check: (step: {
      readonly before: Session
      readonly after: Session
      readonly did: string
      readonly now: number
    }) => void,
  ): void {
    let session = started
    let now = START
    for (const [pause, deed] of history) {
      now += pause
      if (isOver(settle(session, now), now)) return
      const { session: after, did } = perform(session, deed, now)
      check({ before: session, after, did, now })
      session = after
    }
  }

  test('357 session: attempts are counted, one is open at a time, and only it can be answered', () => {
    fc.assert(
      fc.property(histories, (history) =>
        play(history, ({ before, after, did, now }) => {
          const step = after.attempt.number - before.attempt.number
          expect(step).toBe(did === 'next' ? 1 : 0)
          expect(after.attempt.number).toBeLessThanOrEqual(ATTEMPTS)
          expect(after.attempt.nonce).toBe(`nonce ${after.attempt.number}`)
          if (did === 'next') expect(now).toBeLessThan(START + REQUEST_MS)
          if (did === 'next') expect(after.attempt.deadline).toBe(now + ATTEMPT_MS)
          if (did === 'approve') expect(after.decision).toBe(`approval ${after.attempt.number}`)
          if (did === 'approve' || did === 'wrong') expect(isOpen(before, now)).toBe(true)
          expect(after.attempt.wrongCodes).toBeLessThanOrEqual(WRONG_CODES)
          // Who has claimed an attempt keeps it: only another attempt is another person's. He may come by the link at last.
          if (before.claimedAt !== null && did !== 'next') {
            expect(after.addressee).toEqual(before.addressee)
            if (after.via !== before.via) expect([did, after.via]).toEqual(['claim', 'link'])
          }
          if (did === 'next')
            expect([after.addressee, after.via]).toEqual([after.attempt.invited, null])
          if (did === 'approve' || did === 'wrong') expect(after.addressee).not.toBeNull()
          if (did === 'go') expect(before.via).not.toBe('link')
          if (did === 'confirm') expect(before.via).toBe('camera')
        }),
      ),
      { numRuns: 500 },
    )
  })

  test('243 session: one outcome for good, and one browser that takes it on, once', () => {
    fc.assert(
      fc.property(histories, (history) => {
        let goes = 0
        let final: Session | undefined
        play(history, ({ before, after, did }) => {
          if (did === 'go') {
            goes += 1
            expect(before.state).toBe('approved')
          }
          expect(goes).toBeLessThanOrEqual(1)
          if (final !== undefined) {
            const { continuedAt: _c, result: _r, codeHash: _h, ...kept } = after
            expect(final).toMatchObject(kept)
            expect(['approve', 'deny', 'wrong', 'next', 'claim']).not.toContain(did)
          }
          const willful = after.state === 'rejected' && after.rejection !== 'wrong_code'
          if (after.state === 'approved' || willful) final ??= after
          // What was thrown away stays away, and what was taken on can't be thrown away.
          if (before.state === 'approved' && before.result === null) expect(after.result).toBeNull()
          if (before.continuedAt !== null) expect(after.result).toBe(before.result)
        })
      }),
      { numRuns: 500 },
    )
  })

  test('309 session: storage is empty fifteen minutes after the request, even if alarms are a little late', () => {
    fc.assert(
      fc.property(histories, (history) =>
        play(history, ({ after }) => {
          expect(nextLook(after)).toBeLessThanOrEqual(
            START + REQUEST_MS + LONGEST_ATTEMPT_MS + OUTCOME_MS,
          )
          expect(after.attempt.deadline).toBeLessThanOrEqual(
            START + REQUEST_MS + LONGEST_ATTEMPT_MS,
          )
        }),
      ),
      { numRuns: 500 },
    )
  })
})
