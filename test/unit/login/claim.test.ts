/** How a phone may come by a login: rung, by the QR, by the link; each way in each state, for each kind of login. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Asked } from '../../../src/login/door.ts'
import type { ProofVerdict } from '../../../src/login/scan-proof.ts'
import {
  type Addressee,
  type Approval,
  ATTEMPT_MS,
  approve,
  claim,
  deny,
  judgeApproval,
  LONGEST_ATTEMPT_MS,
  OUTCOME_MS,
  open,
  register,
  reject,
  type Session,
  type Signer,
  settle,
  type Via,
  type Way,
} from '../../../src/login/session.ts'
import type { Result } from '../../../src/result.ts'

const START = 1_800_000_000_000
const asked: Asked = {
  door: 'oidc',
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
}
const OURS = { browser: 'browser', requestedAt: START }
const ANNA: Addressee = { tokenId: 'anna', thumbprint: 'phone of anna' }
const DECOY: Addressee = { tokenId: 'anna', thumbprint: null }
const REGISTRATION: Asked = { ...asked, purpose: 'register' }

function login(addressee: Addressee | null, hosted: Session['hosted'], more: Partial<Asked> = {}) {
  const fixed = { sessionId: 'sess_1', asked: { ...asked, ...more }, addressee, hosted }
  return open(fixed, { nonce: 'nonce', salt: 'salt', secretVersion: 1 }, START)
}

function phoneOf(tokenId: string, more: Partial<Signer> = {}): Signer {
  return {
    ...{ tokenId, thumbprint: `phone of ${tokenId}`, signed: true },
    ...{
      enrollment: 'active',
      seal: 'stands',
      disabledServices: [],
      withdrawnVds: [],
      trustedServices: [],
    },
    ...more,
  }
}

function way(via: Via, proof: ProofVerdict = 'fresh'): Way {
  return { via, proof: via === 'push' ? null : proof }
}

function must(result: Result<Session, string>): Session {
  if (!result.ok) throw new Error(result.reason)
  return result.value
}

function refusal(reason: string) {
  return { ok: false, reason }
}

/** Which login, which phone, and whether it may open the login by push, by camera and by link. */
const ROWS: readonly [string, Session, string, boolean, boolean, boolean][] = [
  ['ours, for nobody', login(null, OURS), 'anna', false, true, true],
  ['ours, by its person', login(ANNA, OURS), 'anna', true, true, true],
  ['ours, by somebody else', login(ANNA, OURS), 'bruno', false, true, true],
  ['ours, a decoy', login(DECOY, OURS), 'anna', false, true, true],
  ['a service’s, for nobody', login(null, null), 'anna', false, true, false],
  ['a service’s, by its person', login(ANNA, null), 'anna', true, true, false],
  ['a service’s, by somebody else', login(ANNA, null), 'bruno', false, false, false],
  ['a service’s, a decoy', login(DECOY, null), 'anna', false, false, false],
  ['a registration', login(null, null, REGISTRATION), 'anna', false, false, false],
  ['a registration of ours', login(null, OURS, REGISTRATION), 'anna', false, false, false],
]
const CASES = ROWS.flatMap(([name, session, who, ...opens]) =>
  (['push', 'camera', 'link'] as const).map(
    (via, i) => [`${name}, by ${via}`, session, who, via, opens[i] === true] as const,
  ),
)

describe('the first claim', () => {
  test.each(CASES)('192 230 session: %s', (_name, session, who, via, opens) => {
    const claimed = claim(session, phoneOf(who), way(via), START + 1000)
    if (!opens) {
      expect(claimed).toEqual(refusal('session_not_found'))
      return
    }
    expect(claimed).toEqual({
      ok: true,
      value: {
        ...session,
        state: 'claimed',
        addressee: { tokenId: who, thumbprint: `phone of ${who}` },
        via,
        claimedAt: START + 1000,
        attempt: { ...session.attempt, deadline: START + 1000 + ATTEMPT_MS },
      },
    })
  })

  test.each(CASES)('192 358 session: the proof, %s', (_name, session, who, via, opens) => {
    if (via === 'push') return
    // An old QR tells nothing about a login that this phone couldn't have opened with a new one.
    const late = claim(session, phoneOf(who), way(via, 'expired'), START + 1)
    expect(late).toEqual(refusal(opens ? 'qr_expired' : 'session_not_found'))
    const forged = claim(session, phoneOf(who), way(via, 'forged'), START + 1)
    expect(forged).toEqual(refusal('invalid_statement'))
  })

  test.each(CASES)('230 session: unsigned, %s', (_name, session, who, via) => {
    const unsigned = phoneOf(who, { signed: false })
    expect(claim(session, unsigned, way(via), START + 1)).toEqual(refusal('invalid_statement'))
  })

  test('354 session: by a scan too the deadline moves once, and never past 120 s from the start', () => {
    const session = login(null, OURS)
    const first = must(claim(session, phoneOf('anna'), way('camera'), START + ATTEMPT_MS - 1))
    expect(first.attempt.deadline).toBe(START + 2 * ATTEMPT_MS - 1)
    expect(first.attempt.latestDeadline).toBe(START + LONGEST_ATTEMPT_MS)
    const again = claim(first, phoneOf('anna'), way('camera', 'expired'), START + ATTEMPT_MS + 1)
    expect(must(again)).toBe(first)
    const late = claim(session, phoneOf('anna'), way('camera'), START + ATTEMPT_MS)
    expect(late).toEqual(refusal('session_not_found'))
  })
})

describe('the order in which a claim is judged', () => {
  const claimed = must(
    claim(login(ANNA, OURS, { trustRequired: true }), trustful(), way('push'), START),
  )
  function trustful(more: Partial<Signer> = {}): Signer {
    return phoneOf('anna', { trustedServices: ['bar'], ...more })
  }
  const bad = { seal: 'vds_expired', trustedServices: ['pub'] } as const
  // Each has the fault it is named for, and every fault that is asked after it.
  const faults: readonly [string, Session, Signer, Way, number, string][] = [
    [
      'an end',
      reject(claimed, 'declined', null, START),
      phoneOf('bruno', { ...bad, signed: false }),
      way('camera', 'forged'),
      START + 1,
      'session_resolved',
    ],
    [
      'the deadline',
      claimed,
      phoneOf('bruno', { ...bad, signed: false }),
      way('camera', 'forged'),
      START + ATTEMPT_MS,
      'session_not_found',
    ],
    [
      'a signature',
      claimed,
      phoneOf('bruno', { ...bad, signed: false }),
      way('push'),
      START + 1,
      'invalid_statement',
    ],
    [
      'a forged proof',
      claimed,
      phoneOf('bruno', { ...bad, enrollment: 'revoked' }),
      way('camera', 'forged'),
      START + 1,
      'invalid_statement',
    ],
    [
      'the way',
      claimed,
      phoneOf('bruno', { ...bad, enrollment: 'revoked' }),
      way('push'),
      START + 1,
      'session_not_found',
    ],
    [
      'an old proof',
      claimed,
      phoneOf('bruno', { ...bad, enrollment: 'revoked' }),
      way('camera', 'expired'),
      START + 1,
      'qr_expired',
    ],
    [
      'another phone',
      claimed,
      phoneOf('bruno', { ...bad, enrollment: 'revoked' }),
      way('camera'),
      START + 1,
      'already_claimed',
    ],
    [
      'the enrollment',
      claimed,
      phoneOf('anna', { ...bad, enrollment: 'revoked', disabledServices: ['bar'] }),
      way('push'),
      START + 1,
      'token_revoked',
    ],
    [
      'the service',
      claimed,
      phoneOf('anna', { ...bad, disabledServices: ['bar'] }),
      way('push'),
      START + 1,
      'service_disabled',
    ],
    ['the seal', claimed, phoneOf('anna', bad), way('push'), START + 1, 'vds_expired'],
    [
      'the trust',
      claimed,
      phoneOf('anna', { trustedServices: ['pub'] }),
      way('push'),
      START + 1,
      'trust_required',
    ],
  ]
  test.each(faults)('213 session: %s', (_name, session, signer, how, now, reason) => {
    expect(claim(session, signer, how, now)).toEqual(refusal(reason))
  })

  test('session: who trusts the service, or need not, may claim', () => {
    const demanding = login(null, OURS, { trustRequired: true })
    expect(claim(demanding, phoneOf('anna'), way('camera'), START)).toEqual(
      refusal('trust_required'),
    )
    const claimed = must(claim(demanding, trustful(), way('camera'), START))
    expect(claimed).toMatchObject({ state: 'claimed', addressee: ANNA })
    expect(claim(login(null, OURS), phoneOf('anna'), way('camera'), START).ok).toBe(true)
  })
})

const ways = fc.constantFrom<Way>(
  way('push'),
  ...(['fresh', 'expired', 'forged'] as const).flatMap((proof) => [
    way('camera', proof),
    way('link', proof),
  ]),
)

describe('who has claimed keeps it', () => {
  /** What the table says of `who` and `via`, whatever came before. */
  function mayOpen(session: Session, who: string, via: Via): boolean {
    const { asked, hosted, attempt } = session
    const named = attempt.invited
    const found = ROWS.find(
      ([, one, name]) =>
        (one.hosted === null) === (hosted === null) &&
        one.asked.purpose === asked.purpose &&
        JSON.stringify(one.attempt.invited) === JSON.stringify(named) &&
        (named?.thumbprint == null || (name === named.tokenId) === (who === named.tokenId)),
    )
    if (found === undefined) throw new Error('the table lacks a row')
    return found[{ push: 3, camera: 4, link: 5 }[via]] === true
  }

  test('192 session: every second claim of every first one', () => {
    const first = fc.constantFrom(...CASES.filter(([, , , , opens]) => opens))
    const second = fc.record({ who: fc.constantFrom('anna', 'bruno'), how: ways })
    let taken = 0
    fc.assert(
      fc.property(first, second, ([, session, who, via], next) => {
        const claimed = must(claim(session, phoneOf(who), way(via), START + 1))
        const answer = claim(claimed, phoneOf(next.who), next.how, START + 2)
        if (next.how.proof === 'forged') {
          expect(answer).toEqual(refusal('invalid_statement'))
          return
        }
        if (next.who === who && next.how.via === via) {
          // Asked again as before, it gets the same, also when its proof has grown old by now.
          expect(must(answer)).toBe(claimed)
          return
        }
        // Who has scanned finds the login in his list, and comes back to it without a proof.
        const comesBack =
          next.who === who && next.how.via === 'push' && mayOpen(session, who, 'camera')
        if (!comesBack && !mayOpen(session, next.who, next.how.via)) {
          expect(answer).toEqual(refusal('session_not_found'))
        } else if (next.how.proof === 'expired') {
          expect(answer).toEqual(refusal('qr_expired'))
        } else if (next.who !== who) {
          taken += 1
          expect(answer).toEqual(refusal('already_claimed'))
        } else {
          // The same phone by another way: the stricter way counts.
          const strictest = next.how.via === 'link' ? 'link' : via
          expect(must(answer)).toEqual({ ...claimed, via: strictest })
        }
      }),
      { numRuns: 1000 },
    )
    expect(taken).toBeGreaterThan(0)
  })

  test('358 session: who comes by the link at last has come by the link, with the deadline of his first claim', () => {
    for (const via of ['push', 'camera'] as const) {
      const first = must(claim(login(ANNA, OURS), phoneOf('anna'), way(via), START + 1))
      const linked = must(claim(first, phoneOf('anna'), way('link'), START + 9000))
      expect(linked).toEqual({ ...first, via: 'link' })
    }
  })

  test('358 session: a link that was followed stays a link, whatever the phone says afterwards', () => {
    const linked = must(claim(login(ANNA, OURS), phoneOf('anna'), way('link'), START + 1))
    for (const via of ['push', 'camera', 'link'] as const) {
      expect(must(claim(linked, phoneOf('anna'), way(via), START + 2)).via).toBe('link')
    }
  })

  test.each<[string, (session: Session) => Session, string]>([
    ['rejected', (session) => reject(session, 'declined', null, START + 2), 'session_resolved'],
    [
      'wrong codes',
      (session) => reject(session, 'wrong_code', null, START + 2),
      'session_resolved',
    ],
    ['approved', (session) => approve(session, approval(), SEALED, START + 2), 'session_resolved'],
    ['expired', (session) => settle(session, START + ATTEMPT_MS), 'session_not_found'],
    ['late', (session) => session, 'session_not_found'],
  ])('223 session: after its end nobody claims it: %s', (name, end, reason) => {
    const ended = end(login(ANNA, OURS))
    const now = name === 'late' || name === 'expired' ? START + ATTEMPT_MS : START + 3
    fc.assert(
      fc.property(fc.constantFrom('anna', 'bruno'), ways, (who, how) => {
        expect(claim(ended, phoneOf(who), how, now)).toEqual(refusal(reason))
      }),
    )
  })
})

const SEALED = { result: 'sealed', codeHash: 'hash', enrollmentId: 'binding' }

function approval(more: Partial<Approval> = {}): Approval {
  return {
    ...{ signer: phoneOf('anna'), digest: 'approval', nonce: 'nonce', service: 'bar' },
    ...{ origin: 'https://bar.example', otp: '123456', grantedScopes: [], seal: 'valid' },
    ...{ trustLevel: 2, ...more },
  }
}

describe('who scanned decides, and nobody else', () => {
  const scanned = must(claim(login(ANNA, OURS), phoneOf('bruno'), way('camera'), START + 1))
  const bruno = approval({ signer: phoneOf('bruno') })
  const denial = {
    signer: phoneOf('anna'),
    digest: 'd',
    nonce: 'nonce',
    reason: 'declined',
  } as const

  test('230 session: not even whom it was begun for', () => {
    for (const codeIsRight of [true, false]) {
      expect(judgeApproval(scanned, approval(), codeIsRight, START + 2)).toEqual({
        act: 'refuse',
        fault: 'invalid_statement',
      })
    }
    expect(judgeApproval(scanned, bruno, true, START + 2)).toEqual({ act: 'approve' })
    expect(deny(scanned, denial, START + 2)).toEqual(refusal('invalid_statement'))
    const denied = must(deny(scanned, { ...denial, signer: phoneOf('bruno') }, START + 2))
    expect(denied).toMatchObject({ state: 'rejected', device: 'phone of bruno' })
  })

  test('230 session: before anybody has scanned, nobody', () => {
    const unscanned = login(null, OURS)
    for (const who of ['anna', 'bruno', '']) {
      const signer = phoneOf(who)
      expect(judgeApproval(unscanned, approval({ signer }), true, START + 1)).toEqual({
        act: 'refuse',
        fault: 'invalid_statement',
      })
      expect(deny(unscanned, { ...denial, signer }, START + 1)).toEqual(
        refusal('invalid_statement'),
      )
    }
  })
})

describe('a registration', () => {
  const waiting = login(null, null, REGISTRATION)
  const registered = must(register(waiting, phoneOf('anna'), START + 1))

  test('registration: ends with the first phone that answers, without a claim', () => {
    expect(registered).toEqual({
      ...waiting,
      state: 'approved',
      addressee: { tokenId: 'anna', thumbprint: 'phone of anna' },
      device: 'phone of anna',
      endedAt: START + 1,
    })
  })

  test.each<[string, Session, Signer, number, string]>([
    ['a login', login(null, null), phoneOf('anna'), START + 1, 'session_not_found'],
    ['no signature', waiting, phoneOf('anna', { signed: false }), START + 1, 'invalid_statement'],
    ['the deadline', waiting, phoneOf('anna'), START + ATTEMPT_MS, 'session_not_found'],
    ['another phone', registered, phoneOf('bruno'), START + 2, 'session_resolved'],
    ['long ago', registered, phoneOf('anna'), START + 1 + OUTCOME_MS, 'session_not_found'],
    [
      'cancelled',
      reject(waiting, 'service_disabled', null, START),
      phoneOf('anna'),
      START + 1,
      'session_resolved',
    ],
  ])('registration: %s is refused', (_name, session, signer, now, reason) => {
    expect(register(session, signer, now)).toEqual(refusal(reason))
  })

  test('registration: the same phone again is answered as before', () => {
    expect(must(register(registered, phoneOf('anna'), START + 2))).toBe(registered)
  })

  test('registration: nothing but its own statement says anything about it', () => {
    for (const session of [waiting, registered]) {
      fc.assert(
        fc.property(ways, (how) => {
          expect(claim(session, phoneOf('anna'), how, START + 2).ok).toBe(false)
        }),
      )
      expect(judgeApproval(session, approval(), true, START + 2).act).toBe('refuse')
      const denial = { signer: phoneOf('anna'), digest: 'd', nonce: 'nonce' }
      expect(deny(session, { ...denial, reason: 'declined' }, START + 2).ok).toBe(false)
    }
  })
})
