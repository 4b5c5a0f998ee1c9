import type { Session } from './session.ts'

/** What the server tells a browser over the socket (2-protocol section 4). */
export type SocketEvent =
  | { readonly type: 'otp_ready'; readonly autoPassword: string; readonly expiresAt: string }
  | { readonly type: 'claimed' }
  | { readonly type: 'trusted' }
  | { readonly type: 'push_failed' }
  | { readonly type: 'approved'; readonly [member: string]: string }
  | { readonly type: 'rejected'; readonly reason: string }
  | { readonly type: 'expired' }

/** Close codes of the socket. */
export const CLOSE = {
  resolved: 1000,
  unsupportedData: 1003,
  policyViolation: 1008,
  tooBig: 1009,
  badToken: 4001,
  noSuchSession: 4004,
  replaced: 4009,
} as const

/** The largest frame a browser may send, in bytes. */
export const FRAME_LIMIT = 4096

/**
 * Everything a socket that has just connected must know of `session`: the code again, and how far the login has come.
 * The last event of an ended login is final. `told`: what this socket may learn of an approval.
 */
export function stateEvents(
  session: Session,
  code: string | null,
  told: Readonly<Record<string, string>> | null,
): readonly SocketEvent[] {
  switch (session.state) {
    case 'pending':
    case 'claimed': {
      const events: SocketEvent[] = code === null ? [] : [otpReady(session, code)]
      if (session.state === 'claimed') events.push({ type: 'claimed' })
      if (session.pushFailed) events.push({ type: 'push_failed' })
      return events
    }
    case 'approved':
      if (session.asked.purpose === 'register') return [{ type: 'trusted' }]
      return told === null ? [] : [{ ...told, type: 'approved' }]
    case 'rejected':
      return [{ type: 'rejected', reason: rejectionWord(session) }]
    case 'expired':
      return [{ type: 'expired' }]
  }
}

/** What is told when a phone has opened `session`; a code that is known from that moment only comes along. */
export function claimEvents(session: Session, newCode: string | null): readonly SocketEvent[] {
  return [{ type: 'claimed' }, ...(newCode === null ? [] : [otpReady(session, newCode)])]
}

function otpReady({ attempt }: Session, code: string): SocketEvent {
  const expiresAt = new Date(attempt.deadline).toISOString()
  return { type: 'otp_ready', autoPassword: code, expiresAt }
}

/** The reason as the browser may learn it: "not me" and a revocation are the person's business, not the page's. */
function rejectionWord({ rejection }: Session): string {
  return rejection === 'wrong_code' ? 'wrong_code' : 'declined'
}
