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
import type { ProofVerdict } from './scan-proof.ts'

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

/**
 * How a phone came by a login (2-protocol section 2): it was rung or asked for it, it scanned the browser's QR, or a link in
 * the browser on the same device opened it.
 */
export type Via = 'push' | 'camera' | 'link'

/** How a claim says its phone came by the login, and what the proof is worth that it brought: `null` where none is needed. */
export interface Way {
  readonly via: Via
  readonly proof: ProofVerdict | null
}

/** One try at a login with its own nonce, code and deadline. */
export interface Attempt {
  readonly number: number
  /** Whom it was begun for; `null`: whoever scans it. */
  readonly invited: Addressee | null
  /** Whether the number stood in the page already: then who sits there hasn't said it. */
  readonly hinted: boolean
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
  /** Whom it was begun for, and from the claim on who claimed it; `null` while nobody has scanned it yet. */
  readonly addressee: Addressee | null
  /** How the phone that claimed it came by it; `null` until then. */
  readonly via: Via | null
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
  | 'already_claimed'
  | 'qr_expired'
  | 'trust_required'
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
  /** Service VDS that were withdrawn of late, by `cti`. */
  readonly withdrawnVds: readonly string[]
  /** Services that this person has said to trust. */
  readonly trustedServices: readonly string[]
}

/** What the caller is told of an attempt that is open. */
export interface Started {
  readonly sessionId: string
  readonly attempt: number
  readonly expiresAt: number
  readonly nonce: string
  /** The code; whoever passes it on must be entitled to it. `null` while nobody has scanned the login. */
  readonly code: string | null
  /** Whether the attempt was open already, so that nobody need be told of it again. */
  readonly repeated: boolean
}

/** What the browser that began a hosted login is to see. */
export type Continued =
  /** The result, or the way back without one. */
  | { readonly act: 'onward'; readonly onward: Onward; readonly tokenId: string | null }
  | { readonly act: 'wait'; readonly started: Started }
  /** A phone approved by the QR whose person this browser doesn't know: who looks at it must say that it is he. */
  | { readonly act: 'confirm'; readonly tokenId: string }
  /** A phone approved by the link: what the app opens goes on, and nothing else. */
  | { readonly act: 'return' }
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
  hinted = false,
): Session {
  return {
    ...fixed,
    startedAt: now,
    attempt: attemptOf(1, secrets, { invited: fixed.addressee, hinted }, now),
    earlier: [],
    ...UNDECIDED,
  }
}

const UNDECIDED = {
  state: 'pending',
  via: null,
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

function attemptOf(
  number: number,
  secrets: AttemptSecrets,
  { invited, hinted }: Pick<Attempt, 'invited' | 'hinted'>,
  now: number,
): Attempt {
  return {
    number,
    invited,
    hinted,
    ...secrets,
    deadline: now + ATTEMPT_MS,
    latestDeadline: now + LONGEST_ATTEMPT_MS,
    wrongCodes: 0,
  }
}

/**
 * The next attempt of a hosted login: another number was typed, or its person asks for a new code. It closes the last one
 * (5-security 357). `after` is the attempt that the page in front of the person shows; a form that was sent twice comes
 * from an older page, and gets what the first one got. `asked` may demand more care than it did at first.
 */
export function nextAttempt(
  session: Session,
  next: AttemptSecrets &
    Pick<Attempt, 'invited' | 'hinted'> &
    Pick<Session, 'asked'> & { readonly after: number },
  now: number,
): Result<Session, 'session_resolved' | 'session_not_found' | 'no_more_attempts'> {
  const { asked, invited, hinted, after, ...secrets } = next
  const settled = settle(session, now)
  if (settled.state === 'approved' || isDeclined(settled)) return refuse('session_resolved')
  const samePerson = invited?.tokenId === session.attempt.invited?.tokenId
  if (isOpen(session, now) && samePerson && after < session.attempt.number) return ok(session)
  if (now >= requestEnd(session)) return refuse('session_not_found')
  if (session.attempt.number >= ATTEMPTS) return refuse('no_more_attempts')
  return ok({
    ...session,
    ...UNDECIDED,
    asked,
    addressee: invited,
    attempt: attemptOf(session.attempt.number + 1, secrets, { invited, hinted }, now),
    earlier: addressed(session),
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
 * A phone opens the login. The first to do so binds it: the same phone may ask again and gets the same, every other one is
 * late. A phone that comes by the link at last has come by the link. The deadline moves once, at the first claim
 * (5-security 192, 230, 354).
 */
export function claim(
  session: Session,
  signer: Signer,
  way: Way,
  now: number,
): Result<Session, Fault> {
  const closed = openFault(session, now)
  if (closed !== undefined) return refuse(closed)
  if (!signer.signed || way.proof === 'forged') return refuse('invalid_statement')
  const isFirst = session.state === 'pending'
  const repeats = !isFirst && isAddressed(session, signer) && session.via === way.via
  if (!repeats) {
    // Who has no proof of the page must not even learn that there is a login.
    if (!mayOpen(session, signer, way)) return refuse('session_not_found')
    if (way.proof === 'expired') return refuse('qr_expired')
    if (!isFirst && !isAddressed(session, signer)) return refuse('already_claimed')
  }
  const barred = standingFault(session, signer)
  if (barred !== undefined) return refuse(barred)
  if (signer.seal !== 'stands') return refuse(signer.seal)
  if (mustTrustFirst(session, signer)) return refuse('trust_required')
  // The stricter way counts: what a link brought never goes on in a page that may only have sent the link (5-security 358).
  const isStricter = way.via === 'link' && session.via !== 'link'
  if (!isFirst) return ok(isStricter ? { ...session, via: 'link' } : session)
  const deadline = Math.min(now + ATTEMPT_MS, session.attempt.latestDeadline)
  return ok({
    ...session,
    state: 'claimed',
    addressee: { tokenId: signer.tokenId, thumbprint: signer.thumbprint },
    via: way.via,
    claimedAt: now,
    attempt: { ...session.attempt, deadline },
  })
}

/**
 * Whether this phone may open the login the way it says. Our own pages take whoever scans them; a service that named a person
 * gets that person or nobody. A link leads back to the browser that began, which only our own pages know.
 */
function mayOpen(session: Session, signer: Signer, { via }: Way): boolean {
  if (session.asked.purpose !== 'login') return false
  if (via === 'link' && session.hosted === null) return false
  const { invited } = session.attempt
  const isNamed = session.hosted === null && invited !== null
  // Who has scanned finds the login in his list from then on, and needs no proof to come back to it.
  if (via === 'push') return isOf(invited, signer) || (!isNamed && isAddressed(session, signer))
  return isNamed ? isOf(invited, signer) : true
}

/**
 * A phone answers to the QR of a registration: its person trusts the service from now on, which D1 knows already. The same
 * answer again is answered as the first.
 */
export function register(session: Session, signer: Signer, now: number): Result<Session, Fault> {
  const { addressee, state, asked } = session
  if (asked.purpose !== 'register') return refuse('session_not_found')
  if (state === 'approved' && !isOver(session, now) && isOf(addressee, signer)) return ok(session)
  const closed = openFault(session, now)
  if (closed !== undefined) return refuse(closed)
  if (!signer.signed) return refuse('invalid_statement')
  const { tokenId, thumbprint } = signer
  return ok({
    ...session,
    ...{ state: 'approved', endedAt: now, device: thumbprint },
    addressee: { tokenId, thumbprint },
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
  if (mustTrustFirst(session, signer)) return refusal('trust_required')
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
 *   confirm: who sits there has to say that he is who approved. return: the app's own window goes on.
 *   again: the attempt ran out. completed: the result was taken on already. over: all that is forgotten, or should be.
 */
export type Proceeding =
  | { readonly act: 'go' | 'wait' | 'confirm' | 'return' | 'again' | 'completed' | 'over' }
  | { readonly act: 'refused'; readonly reason: RejectionReason }

/**
 * What continuing does at `now`. `recognised`: this browser has signed in as that person before, or who sits there has
 * just said that it is he (5-security 3.13, 360). What a link claimed goes on in the window that its app opens, because
 * whoever sent the link would else be signed in as who followed it (5-security 358).
 */
export function judgeContinue(session: Session, recognised: boolean, now: number): Proceeding {
  const settled = settle(session, now)
  if (isOver(settled, now)) return { act: 'over' }
  const { state, rejection, continuedAt, result } = settled
  switch (state) {
    case 'pending':
    case 'claimed':
      return { act: 'wait' }
    case 'approved':
      if (continuedAt !== null || result === null) return { act: 'completed' }
      if (settled.via === 'link') return { act: 'return' }
      return { act: mustAskWho(settled) && !recognised ? 'confirm' : 'go' }
    case 'expired':
      return { act: 'again' }
    case 'rejected':
      if (rejection === 'wrong_code') return { act: 'again' }
      return { act: 'refused', reason: rejection ?? 'declined' }
  }
}

/**
 * Whether nobody at the browser that began has said who approves: a phone has scanned the page, or the number stood in it
 * from the start. A browser that doesn't know that person has to ask (5-security 3.13, 360).
 */
export function mustAskWho({ hosted, via, attempt }: Session): boolean {
  return hosted !== null && (via === 'camera' || attempt.hinted)
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
 * cancelling it, by typing another number, or by answering with a phone of his own (5-security 225).
 */
export function isReport(session: Session, { signer, nonce, reason }: Denial): boolean {
  if (reason !== 'not_me' || !signer.signed) return false
  // What another phone has decided takes the word from nobody.
  const isDecided = session.decision !== null && nonce === session.attempt.nonce
  if (isAddressed(session, signer) && (isDecided || session.state === 'approved')) return false
  return addressed(session).some((person) => isOf(person, signer) && person.nonce === nonce)
}

/**
 * `session` after a "not me" that `isReport` takes: the attempt that is open now may be for the same person, who has just
 * said that it isn't his. `undefined` when there is nothing of his to end.
 */
export function endReported(session: Session, signer: Signer, now: number): Session | undefined {
  const isHis = isOf(session.attempt.invited, signer) || isAddressed(session, signer)
  const isClaimedByOther = session.state === 'claimed' && !isAddressed(session, signer)
  return isOpen(session, now) && isHis && !isClaimedByOther
    ? reject(session, 'not_me', null, now)
    : undefined
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
  return isOf(addressee, signer)
}

function isOf(person: Addressee | null, { tokenId, thumbprint }: Signer): boolean {
  return person?.tokenId === tokenId && person.thumbprint === thumbprint
}

/** Everybody whom an attempt of `session` has been addressed to, with the nonce of that attempt. */
function addressed({ earlier, addressee, attempt }: Session): Session['earlier'] {
  const now = [attempt.invited, addressee].filter((person) => person !== null)
  return [...earlier, ...now.map((person) => ({ ...person, nonce: attempt.nonce }))]
}

function standingFault({ asked }: Session, signer: Signer): Fault | undefined {
  if (signer.enrollment !== 'active') return 'token_revoked'
  // A login ends with the Service VDS by which it was begun, as with its service (5-security 170).
  const isWithdrawn = asked.vds !== null && signer.withdrawnVds.includes(asked.vds)
  const isDisabled = signer.disabledServices.includes(asked.service.id)
  return isWithdrawn || isDisabled ? 'service_disabled' : undefined
}

/** Whether the person has to say first that he trusts the service (seed 002, step 2). */
function mustTrustFirst({ asked }: Session, { trustedServices }: Signer): boolean {
  return asked.trustRequired && !trustedServices.includes(asked.service.id)
}
