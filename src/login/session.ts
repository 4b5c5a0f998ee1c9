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
import type { Asked } from './door.ts'

/** How long a code is good for: from the start, and again from the claim. */
export const ATTEMPT_MS = 60_000
/** No claim stretches an attempt beyond this. */
export const LONGEST_ATTEMPT_MS = 120_000
/** How long an outcome can be fetched (a lost socket, a retried request, a code) before the object forgets it. */
export const OUTCOME_MS = 60_000
/** Validly signed approvals with a wrong code that end a login. */
export const WRONG_CODES = 3

export type State = 'pending' | 'claimed' | 'approved' | 'rejected' | 'expired'

export type RejectionReason = 'declined' | 'not_me' | 'wrong_code' | 'revoked' | 'service_disabled'

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

export interface Session {
  readonly sessionId: string
  readonly startedAt: number
  readonly asked: Asked
  readonly addressee: Addressee
  readonly attempt: Attempt
  readonly state: State
  readonly claimedAt: number | null
  readonly endedAt: number | null
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

/** A new session. */
export function open(
  fixed: Pick<Session, 'sessionId' | 'asked' | 'addressee'> & {
    readonly nonce: string
    readonly salt: string
    readonly secretVersion: number
  },
  now: number,
): Session {
  const { sessionId, asked, addressee, nonce, salt, secretVersion } = fixed
  return {
    sessionId,
    startedAt: now,
    asked,
    addressee,
    attempt: {
      number: 1,
      nonce,
      salt,
      secretVersion,
      deadline: now + ATTEMPT_MS,
      latestDeadline: now + LONGEST_ATTEMPT_MS,
      wrongCodes: 0,
    },
    state: 'pending',
    claimedAt: null,
    endedAt: null,
    rejection: null,
    decision: null,
    device: null,
    grantedScopes: [],
    result: null,
    codeHash: null,
    enrollmentId: null,
    pushFailed: false,
  }
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

/** Whether `session` can be forgotten: its outcome has been on offer long enough. */
export function isOver(session: Session, now: number): boolean {
  return session.endedAt !== null && now >= session.endedAt + OUTCOME_MS
}

/** When the object must look at `session` again. */
export function nextLook(session: Session): number {
  return session.endedAt === null ? session.attempt.deadline : session.endedAt + OUTCOME_MS
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
  if (approval.trustLevel < session.asked.minTrustLevel) return refusal('insufficient_trust_level')
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

/** One validly signed approval with a wrong code; the third ends the login (5-security 215). */
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
