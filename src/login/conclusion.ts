/** What an ended login means to the rooms that are told of it: the person's inbox and the audit. */
import type { LoginEnded } from '../audit/events.ts'
import { sha256, toBase64url } from '../bytes.ts'
import type { LoginEnd } from './budget.ts'
import type { Session } from './session.ts'

/** How the inbox is told of `session`; `undefined` for an expiry, whose time it knows itself. */
export function endOf(session: Session): LoginEnd | undefined {
  // A registration is no login: it neither gives the person's pushes back nor lifts quiet mode.
  if (session.state === 'approved') return session.asked.purpose === 'login' ? 'approved' : 'ended'
  if (session.state !== 'rejected') return undefined
  const { rejection } = session
  if (rejection === 'declined' || rejection === 'not_me' || rejection === 'cancelled') {
    return rejection
  }
  return 'ended'
}

/** The id under which the audit knows the login `sessionId`: it names the login without being a handle to it. */
export async function loginId(sessionId: string): Promise<string> {
  return toBase64url(await sha256(sessionId))
}

/** The audit event of `session`, which has ended. */
export async function endedEvent(session: Session): Promise<LoginEnded> {
  const { state, startedAt, endedAt } = session
  return {
    event: 'login',
    login: await loginId(session.sessionId),
    outcome: state === 'approved' || state === 'rejected' ? state : 'expired',
    reason: session.rejection,
    door: session.asked.door,
    purpose: session.asked.purpose,
    service: session.asked.service.id,
    ...(session.addressee === null ? {} : { tokenId: session.addressee.tokenId }),
    device: session.device,
    scopes: session.grantedScopes,
    startedAt,
    claimedAt: session.claimedAt,
    endedAt: endedAt ?? startedAt,
    pushFailed: session.pushFailed,
  }
}
