/**
 * audit/ owns the list of business events. Each writes one JSON line; those that an auditor must find later
 * also write one row, a login exactly one, at its final transition. It decides nothing and never throws into
 * the act it records. Nothing personal is in an event: a person is a keyed hash of the tokenId (5-security 331).
 */

/** One login at its end, with the times of all its steps (5-security 332). Times are Unix milliseconds. */
export interface LoginEnded {
  readonly event: 'login'
  /** SHA-256 of the sessionId, base64url: names the login without being a handle to it. */
  readonly login: string
  readonly outcome: 'approved' | 'rejected' | 'expired'
  readonly reason: string | null
  readonly door: string
  /** `register`: what was approved is that the person trusts the service. */
  readonly purpose: 'login' | 'register'
  readonly service: string
  /** Absent when nobody was named and nobody came. */
  readonly tokenId?: string
  /** Thumbprint of the device key that approved or declined. */
  readonly device: string | null
  readonly scopes: readonly string[]
  readonly startedAt: number
  readonly claimedAt: number | null
  readonly endedAt: number
  readonly pushFailed: boolean
}

export type AuditEvent =
  | LoginEnded
  | {
      readonly event: 'enrolled'
      readonly tokenId: string
      readonly device: string
      readonly granted: boolean
      readonly replaced: boolean
    }
  | { readonly event: 'enrollment_refused'; readonly tokenId: string; readonly reason: string }
  /** A person said that he trusts a service, or no longer does. */
  | {
      readonly event: 'trust_said'
      readonly tokenId: string
      readonly service: string
      readonly trusted: boolean
    }
  | { readonly event: 'push_token_moved'; readonly tokenId: string }
  | { readonly event: 'device_updated'; readonly tokenId: string }
  | {
      readonly event: 'revoked'
      readonly tokenId: string
      readonly reason: string
      readonly changed: boolean
      readonly actor: string
    }
  | {
      readonly event: 'service_changed'
      readonly service: string
      readonly change: 'created' | 'updated' | 'secret_rotated' | 'vds_issued' | 'vds_withdrawn'
      readonly actor: string
    }
  | {
      readonly event: 'signing_key_removed'
      readonly kid: string
      readonly reason: string
      readonly actor: string
    }
  | { readonly event: 'trust_list_accepted'; readonly sequence: number; readonly actor: string }
  | {
      readonly event: 'revocation_list_accepted'
      readonly sequence: number
      readonly seals: number
      readonly actor: string
    }
  | {
      /** A code or refresh token that was used before came again: what came of it has ended. */
      readonly event: 'replayed'
      readonly service: string
      /** Names the grant; nothing can be had for it. */
      readonly grant: string
      readonly what: 'code' | 'refresh_token'
    }
  | {
      /** `service` got a token to act for a person at `resource`, for one that `from` had been given. */
      readonly event: 'token_exchanged'
      readonly service: string
      readonly grant: string
      readonly from: string
      readonly resource: string
    }
  /** A service gave back what a person granted it. */
  | { readonly event: 'grant_ended'; readonly service: string; readonly grant: string }
  | { readonly event: 'service_told'; readonly service: string; readonly outcome: string }
  | { readonly event: 'push_failed'; readonly reason: string }
  | {
      readonly event: 'refused'
      readonly where: string
      readonly reason: string
      readonly service?: string | undefined
    }

/** Events that are kept as rows; the rest are lines only. */
const KEPT: ReadonlySet<AuditEvent['event']> = new Set<AuditEvent['event']>([
  'login',
  'enrolled',
  'enrollment_refused',
  'trust_said',
  'push_token_moved',
  'device_updated',
  'revoked',
  'service_changed',
  'trust_list_accepted',
  'revocation_list_accepted',
  'replayed',
  'token_exchanged',
  'grant_ended',
  'signing_key_removed',
])

/** Whether `event` becomes an audit row. */
export function isKept(event: AuditEvent): boolean {
  return KEPT.has(event.event)
}

/**
 * `event` as it is written anywhere: the tokenId is replaced by its keyed hash `subject`. JSON escapes every control
 * character, so one event is one line whatever a name holds (5-security 329).
 */
export function recordOf(event: AuditEvent, subject: string | undefined): Record<string, unknown> {
  const { event: _name, ...fields } = event
  const record: Record<string, unknown> = { ...fields }
  delete record.tokenId
  if (subject !== undefined) record.subject = subject
  return record
}
