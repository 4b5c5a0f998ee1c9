import type { Session } from './session.ts'

/** What the server tells a browser over the socket (2-protocol section 4). */
export type SocketEvent =
  | { readonly type: 'otp_ready'; readonly autoPassword: string; readonly expiresAt: string }
  | { readonly type: 'claimed' }
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
 * The last event of an ended login is final.
 */
export function stateEvents(
  session: Session,
  code: string,
  delivery: Readonly<Record<string, string>> | null,
): readonly SocketEvent[] {
  switch (session.state) {
    case 'pending':
    case 'claimed': {
      const events: SocketEvent[] = [
        {
          type: 'otp_ready',
          autoPassword: code,
          expiresAt: new Date(session.attempt.deadline).toISOString(),
        },
      ]
      if (session.state === 'claimed') events.push({ type: 'claimed' })
      if (session.pushFailed) events.push({ type: 'push_failed' })
      return events
    }
    case 'approved':
      return delivery === null ? [] : [{ ...delivery, type: 'approved' }]
    case 'rejected':
      return [{ type: 'rejected', reason: rejectionWord(session) }]
    case 'expired':
      return [{ type: 'expired' }]
  }
}

/** The reason as the browser may learn it: "not me" and a revocation are the person's business, not the page's. */
function rejectionWord({ rejection }: Session): string {
  return rejection === 'wrong_code' ? 'wrong_code' : 'declined'
}
