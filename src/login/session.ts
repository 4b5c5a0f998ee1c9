/**
 * login/ owns one login by phone, whichever door it came from. This file is its rules: the states of a login and every
 * transition between them, as functions from a session, facts and the time to the next session. `object.ts` loads, asks
 * here, saves with one conditional write, and performs. Times are Unix milliseconds.
 *
 *   pending -> claimed -> approved -> (redeemed: the object is gone)
 *   pending | claimed -> rejected | expired
 */
import { isSubset } from '../disclosure/scopes.ts'
import { ok, type Result, refuse } from '../result.ts'
import type { Asked, Onward, RejectionReason } from './door.ts'

/** How long a code is good for: from the start, and again from the claim. */
export const ATTEMPT_MS = 60_000
/** No claim stretches an attempt beyond this. */
export const LONGEST_ATTEMPT_MS = 120_000
/** How long an outcome can be fetched (a lost socket, a retried request, a code) before the object forgets it. */
export const OUTCOME_MS = 60_000
/** Validly signed approvals with a wrong code that end an attempt. */
export const WRONG_CODES = 3
/** How long a login on our own pages may go on with new attempts, from the request of the door. */
export const REQUEST_MS = 10 * 60_000
/** The first attempt and ten more (WCAG 2.2, criterion 2.2.1). */
export const ATTEMPTS = 11

export type State = 'pending' | 'claimed' | 'approved' | 'rejected' | 'expired'

/** One try at a login with its own nonce, code and deadline. */
export interface Attempt {
  readonly number: number
  readonly nonce: string
  /** Salt of the code, base64url of 16 bytes, and the version of the master secret it goes with. */
  readonly salt: string
  readonly secretVersion: number
  readonly deadline: number
  readonly latestDeadline: number
  readonly wrongCodes: number
}

/** Whom a login is addressed to. A decoy (`thumbprint: null`) looks the same from outside and can't be approved. */
export interface Addressee {
  readonly tokenId: string
  readonly thumbprint: string | null
}

/** A login on our own pages: it belongs to one browser, and lives through several attempts. */
export interface Hosted {
  /** SHA-256 of the browser's cookie, base64url. */
  readonly browser: string
  /** When the door was asked. */
  readonly requestedAt: number
}

export interface Session {
  readonly sessionId: string
  readonly startedAt: number
  /** `null` where the service draws its own page. */
  readonly hosted: Hosted | null
  readonly asked: Asked
  readonly addressee: Addressee
  readonly attempt: Attempt
  /** Whom closed attempts were addressed to: a "not me" about one of them still counts. */
  readonly earlier: readonly (Addressee & { readonly nonce: string })[]
  readonly state: State
  readonly claimedAt: number | null
  readonly endedAt: number | null
  /** When the browser that began took the result of a hosted login on; it does so once. */
  readonly continuedAt: number | null
  readonly rejection: RejectionReason | null
  /** Digest of the deciding statement: an identical one gets the identical answer. */
  readonly decision: string | null
  readonly device: string | null
  readonly grantedScopes: readonly string[]
  /** The encrypted `DoorResult`, and the SHA-256 of its code when it has one. */
  readonly result: string | null
  readonly codeHash: string | null
  /** The binding that approved: its result is worth nothing once that binding has ended. */
  readonly enrollmentId: string | null
  readonly pushFailed: boolean
}

export type Fault =
  | 'session_not_found'
  | 'session_resolved'
  | 'invalid_statement'
  | 'invalid_otp'
  | 'token_revoked'
  | 'service_disabled'
  | 'credential_mismatch'
  | 'invalid_vds'
  | 'vds_expired'
  | 'invalid_scope'
  | 'insufficient_trust_level'

/** What the Worker has found out about the signer of a statement, before it asks the object. */
export interface Signer {
  readonly tokenId: string
  /** The key that the statement names. */
  readonly thumbprint: string
  /** Whether the enrolled key of `tokenId` is that key and signed the statement. */
  readonly signed: boolean
  readonly enrollment: 'active' | 'revoked' | 'absent'
  /** What the enrolled seal is worth now, as far as D1 knows: an approval brings the seal itself and is judged by it. */
  readonly seal: 'stands' | 'invalid_vds' | 'vds_expired'
  /** Services that are switched off now. */
  readonly disabledServices: readonly string[]
}

/** What the caller is told of an attempt that is open. */
export interface Started {
  readonly sessionId: string
  readonly attempt: number
  readonly expiresAt: number
  readonly nonce: string
  /** The code; whoever passes it on must be entitled to it. */
  readonly code: string
  /** Whether the attempt was open already, so that nobody need be told of it again. */
  readonly repeated: boolean
}

/** What the browser that began a hosted login is to see. */
export type Continued =
  /** The result, or the way back without one. */
  | { readonly act: 'onward'; readonly onward: Onward }
  | { readonly act: 'wait'; readonly started: Started }
  /** The attempt ran out; another may follow `after` it. */
  | { readonly act: 'again'; readonly after: number; readonly failed: boolean }
  | { readonly act: 'completed' }
  /** There is no such login: it has not begun, or is forgotten. */
  | { readonly act: 'unknown' }

/** What is fresh in each attempt. */
export type AttemptSecrets = Pick<Attempt, 'nonce' | 'salt' | 'secretVersion'>

/** A new session with its first attempt. */
export function open(
  fixed: Pick<Session, 'sessionId' | 'asked' | 'addressee' | 'hosted'>,
  secrets: AttemptSecrets,
  now: number,
): Session {
  return {
    ...fixed,
    startedAt: now,
    attempt: attemptOf(1, secrets, now),
    earlier: [],
    ...UNDECIDED,
  }
}

const UNDECIDED = {
  state: 'pending',
  claimedAt: null,
  endedAt: null,
  continuedAt: null,
  rejection: null,
  decision: null,
  device: null,
  grantedScopes: [],
  result: null,
  codeHash: null,
  enrollmentId: null,
  pushFailed: false,
} as const satisfies Partial<Session>

function attemptOf(number: number, secrets: AttemptSecrets, now: number): Attempt {
  return {
    number,
    ...secrets,
    deadline: now + ATTEMPT_MS,
    latestDeadline: now + LONGEST_ATTEMPT_MS,
    wrongCodes: 0,
  }
}

/**
 * The next attempt of a hosted login: another number was typed, or its person asks for a new code. It closes the last one
 * (5-security 357). `after` is the attempt that the page in front of the person shows; a form that was sent twice comes
 * from an older page, and gets what the first one got.
 */
export function nextAttempt(
  session: Session,
  next: AttemptSecrets & { readonly addressee: Addressee; readonly after: number },
  now: number,
): Result<Session, 'session_resolved' | 'session_not_found' | 'no_more_attempts'> {
  const { addressee, after, ...secrets } = next
  const settled = settle(session, now)
  if (settled.state === 'approved' || isDeclined(settled)) return refuse('session_resolved')
  const samePerson = addressee.tokenId === session.addressee.tokenId
  if (isOpen(session, now) && samePerson && after < session.attempt.number) return ok(session)
  if (now >= requestEnd(session)) return refuse('session_not_found')
  if (session.attempt.number >= ATTEMPTS) return refuse('no_more_attempts')
  return ok({
    ...session,
    ...UNDECIDED,
    addressee,
    attempt: attemptOf(session.attempt.number + 1, secrets, now),
    earlier: [...session.earlier, { ...session.addressee, nonce: session.attempt.nonce }],
  })
}

/** When no further attempt may begin; a login that a service draws itself has one attempt only. */
function requestEnd({ hosted, startedAt }: Session): number {
  return hosted === null ? startedAt : hosted.requestedAt + REQUEST_MS
}

/** Whether the login was ended by somebody's will, and not by the clock or by wrong codes. */
function isDeclined({ state, rejection }: Session): boolean {
  return state === 'rejected' && rejection !== 'wrong_code'
}

/** Whether `session` has ended for good: an attempt that ran out on our own pages may have a successor. */
export function isFinal(session: Session, now: number): boolean {
  if (session.state === 'approved' || isDeclined(session)) return true
  return session.endedAt !== null && now >= requestEnd(session)
}

/** Whether the end of `session` was the end of its login too: no attempt could follow it. */
export function endedForGood(session: Session): boolean {
  return session.endedAt !== null && isFinal(session, session.endedAt)
}

/** Whether an approval or a denial may still come. */
export function isOpen(session: Session, now: number): boolean {
  return isUndecided(session) && now < session.attempt.deadline
}

function isUndecided({ state }: Session): boolean {
  return state === 'pending' || state === 'claimed'
}

/** `session` as it stands at `now`: an attempt whose deadline has passed has expired, alarm or no alarm. */
export function settle(session: Session, now: number): Session {
  if (!isUndecided(session) || now < session.attempt.deadline) return session
  return { ...session, state: 'expired', endedAt: session.attempt.deadline }
}

/** Whether `session` can be forgotten: its outcome has been on offer long enough, and no attempt may follow. */
export function isOver(session: Session, now: number): boolean {
  return session.endedAt !== null && now >= nextLook(session)
}

/** When the object must look at `session` again. */
export function nextLook(session: Session): number {
  if (session.endedAt === null) return session.attempt.deadline
  const offered = session.endedAt + OUTCOME_MS
  return endedForGood(session) ? offered : Math.max(offered, requestEnd(session))
}

/** The session must be open: the first fault of every act (2-protocol section 4). */
function openFault(session: Session, now: number): Fault | undefined {
  if (isOpen(session, now)) return undefined
  const ended = session.state === 'approved' || session.state === 'rejected'
  return ended && !isOver(session, now) ? 'session_resolved' : 'session_not_found'
}

/**
 * A phone opens the login. The same phone may ask again and gets the same; the deadline moves once, at the first claim
 * (5-security 230, 354).
 */
export function claim(session: Session, signer: Signer, now: number): Result<Session, Fault> {
  const closed = openFault(session, now)
  if (closed !== undefined) return refuse(closed)
  if (!signer.signed) return refuse('invalid_statement')
  if (!isAddressed(session, signer)) return refuse('session_not_found')
  const barred = standingFault(session, signer)
  if (barred !== undefined) return refuse(barred)
  if (signer.seal !== 'stands') return refuse(signer.seal)
  if (session.state === 'claimed') return ok(session)
  const deadline = Math.min(now + ATTEMPT_MS, session.attempt.latestDeadline)
  return ok({
    ...session,
    state: 'claimed',
    claimedAt: now,
    attempt: { ...session.attempt, deadline },
  })
}

/** An approval as it arrived, with what was found out about it. */
export interface Approval {
  readonly signer: Signer
  readonly digest: string
  readonly nonce: string
  readonly service: string
  readonly origin: string
  readonly otp: string
  readonly grantedScopes: readonly string[]
  /** `mismatch`: another seal than the enrolled one. */
  readonly seal: 'valid' | 'mismatch' | 'invalid_vds' | 'vds_expired'
  readonly trustLevel: 1 | 2 | 3
}

export type ApprovalJudgement =
  | { readonly act: 'approve' }
  | { readonly act: 'repeat' }
  | { readonly act: 'count_wrong_code' }
  | { readonly act: 'reject'; readonly reason: RejectionReason; readonly fault: Fault }
  | { readonly act: 'refuse'; readonly fault: Fault }

/**
 * What to do with `approval`: faults are named in the order of 2-protocol section 4. `codeIsRight` is the comparison with
 * the code of this attempt.
 */
export function judgeApproval(
  session: Session,
  approval: Approval,
  codeIsRight: boolean,
  now: number,
): ApprovalJudgement {
  const { signer } = approval
  const authentic = signer.signed && isAddressed(session, signer)
  if (session.state === 'approved' && !isOver(session, now) && authentic) {
    if (session.decision === approval.digest) return { act: 'repeat' }
  }
  const closed = openFault(session, now)
  if (closed !== undefined) return refusal(closed)
  if (!authentic || !isAbout(session, approval)) return refusal('invalid_statement')
  if (!codeIsRight) return { act: 'count_wrong_code' }
  const barred = standingFault(session, signer)
  if (barred !== undefined) {
    const reason = barred === 'service_disabled' ? 'service_disabled' : 'revoked'
    return { act: 'reject', reason, fault: barred }
  }
  if (approval.seal === 'mismatch') return refusal('credential_mismatch')
  if (approval.seal === 'vds_expired') {
    return { act: 'reject', reason: 'revoked', fault: 'vds_expired' }
  }
  if (approval.seal === 'invalid_vds') return refusal('invalid_vds')
  if (
    !isSubset(approval.grantedScopes, session.asked.scopes) ||
    !isSubset(session.asked.requiredScopes, approval.grantedScopes)
  ) {
    return refusal('invalid_scope')
  }
  if (approval.trustLevel < session.asked.minTrustLevel) {
    // The person can do nothing about it on the phone; the browser is told, and the service behind it.
    return { act: 'reject', reason: 'insufficient_trust_level', fault: 'insufficient_trust_level' }
  }
  return { act: 'approve' }
}

function refusal(fault: Fault): ApprovalJudgement {
  return { act: 'refuse', fault }
}

function isAbout(session: Session, approval: Approval): boolean {
  return (
    approval.nonce === session.attempt.nonce &&
    approval.service === session.asked.service.id &&
    approval.origin === session.asked.origin
  )
}

/** One validly signed approval with a wrong code; the third ends the attempt (5-security 215). */
export function countWrongCode(session: Session, now: number): Session {
  const wrongCodes = session.attempt.wrongCodes + 1
  const counted = { ...session, attempt: { ...session.attempt, wrongCodes } }
  return wrongCodes < WRONG_CODES ? counted : reject(counted, 'wrong_code', null, now)
}

/** The one transition to `approved`. */
export function approve(
  session: Session,
  approval: Approval,
  sealed: Pick<Session, 'result' | 'codeHash' | 'enrollmentId'>,
  now: number,
): Session {
  return {
    ...session,
    state: 'approved',
    endedAt: now,
    decision: approval.digest,
    device: approval.signer.thumbprint,
    grantedScopes: approval.grantedScopes,
    ...sealed,
  }
}

/**
 * A login that needs no phone: what was granted to the same service in the same browser is given once more. It is over as
 * it begins, and only its code is left to redeem.
 */
export function openApproved(
  fixed: Pick<Session, 'sessionId' | 'asked' | 'addressee' | 'hosted'>,
  secrets: AttemptSecrets,
  granted: Pick<Session, 'grantedScopes' | 'result' | 'codeHash' | 'enrollmentId'>,
  now: number,
): Session {
  const opened = open(fixed, secrets, now)
  return { ...opened, ...granted, state: 'approved', endedAt: now, continuedAt: now }
}

/** A denial as it arrived. */
export interface Denial {
  readonly signer: Signer
  readonly digest: string
  readonly nonce: string
  readonly reason: 'declined' | 'not_me'
}

/** The person declines; the same denial again is answered as the first (5-security 223 to 225). */
export function deny(session: Session, denial: Denial, now: number): Result<Session, Fault> {
  const authentic = denial.signer.signed && isAddressed(session, denial.signer)
  if (session.state === 'rejected' && !isOver(session, now) && authentic) {
    if (session.decision === denial.digest) return ok(session)
  }
  const closed = openFault(session, now)
  if (closed !== undefined) return refuse(closed)
  if (!authentic || denial.nonce !== session.attempt.nonce) return refuse('invalid_statement')
  return ok({
    ...reject(session, denial.reason, denial.digest, now),
    device: denial.signer.thumbprint,
  })
}

/**
 * What the browser that began is to see when it wants to continue, or to cancel (5-security 43, 44, 243).
 *   go: the result, once. refused: back to the service without a grant. wait: nobody has decided yet.
 *   again: the attempt ran out. completed: the result was taken on already. over: all that is forgotten, or should be.
 */
export type Proceeding =
  | { readonly act: 'go' | 'wait' | 'again' | 'completed' | 'over' }
  | { readonly act: 'refused'; readonly reason: RejectionReason }

/** What continuing does at `now`. */
export function judgeContinue(session: Session, now: number): Proceeding {
  const settled = settle(session, now)
  if (isOver(settled, now)) return { act: 'over' }
  const { state, rejection, continuedAt, result } = settled
  switch (state) {
    case 'pending':
    case 'claimed':
      return { act: 'wait' }
    case 'approved':
      return { act: continuedAt !== null || result === null ? 'completed' : 'go' }
    case 'expired':
      return { act: 'again' }
    case 'rejected':
      if (rejection === 'wrong_code') return { act: 'again' }
      return { act: 'refused', reason: rejection ?? 'declined' }
  }
}

/**
 * `session` after its browser cancelled it; `undefined` when there is nothing left to cancel. A grant that nobody took on
 * is thrown away.
 */
export function abandon(session: Session, now: number): Session | undefined {
  const settled = settle(session, now)
  if (settled.state === 'approved') {
    if (settled.continuedAt !== null || settled.result === null) return undefined
    return { ...settled, result: null, codeHash: null }
  }
  return isDeclined(settled) ? undefined : reject(settled, 'cancelled', null, now)
}

/**
 * Whether `denial` is the "not me" of somebody whom an attempt of `session` was addressed to, and who has not decided about
 * it, whatever became of the attempt meanwhile. Whoever begins a login could else take the word from its victim by
 * cancelling it, or by typing another number (5-security 225).
 */
export function isReport(session: Session, { signer, nonce, reason }: Denial): boolean {
  const decided = session.decision !== null && nonce === session.attempt.nonce
  if (reason !== 'not_me' || !signer.signed || decided || session.state === 'approved') return false
  const attempts = [...session.earlier, { ...session.addressee, nonce: session.attempt.nonce }]
  return attempts.some(
    (attempt) =>
      attempt.tokenId === signer.tokenId &&
      attempt.thumbprint === signer.thumbprint &&
      attempt.nonce === nonce,
  )
}

/** `session`, ended without a grant. */
export function reject(
  session: Session,
  reason: RejectionReason,
  decision: string | null,
  now: number,
): Session {
  return { ...session, state: 'rejected', rejection: reason, endedAt: now, decision }
}

/**
 * Whether the back end of `serviceId` may have the result for the code that hashes to `codeHash`. Everything else, also a
 * right code of another service, is the same `session_not_found` (5-security 359).
 */
export function judgeRedemption(
  session: Session,
  asked: { readonly serviceId: string; readonly codeHash: string },
  now: number,
): Result<string, Fault> {
  const right =
    session.state === 'approved' &&
    !isOver(session, now) &&
    session.asked.service.id === asked.serviceId &&
    session.codeHash === asked.codeHash
  return right && session.result !== null ? ok(session.result) : refuse('session_not_found')
}

function isAddressed({ addressee }: Session, signer: Signer): boolean {
  return addressee.tokenId === signer.tokenId && addressee.thumbprint === signer.thumbprint
}

function standingFault(session: Session, signer: Signer): Fault | undefined {
  if (signer.enrollment !== 'active') return 'token_revoked'
  if (signer.disabledServices.includes(session.asked.service.id)) return 'service_disabled'
  return undefined
}
