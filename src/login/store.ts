import { type Enrollment, type EnrollmentRow, enrollmentOf } from '../enrollment/store.ts'
import type { TrustLists } from '../seal/store.ts'
import { isTrustedCa } from '../seal/trust-list.ts'
import type { Service } from '../services/service.ts'
import { type ServiceRow, serviceOf, WITHDRAWN_SECONDS } from '../services/store.ts'

/** Everything a step of a login must ask of D1's primary, in one query: who asks, who answers, and what was withdrawn. */
export interface Standing {
  readonly service: Service | undefined
  readonly enrollment: Enrollment | undefined
  /** Whether the enrolled seal is on the revocation list. */
  readonly sealRevoked: boolean
  /** Whether the CA of the enrolled seal is on the trust list in force. */
  readonly caTrusted: boolean
  /** Sequence of the trust list in force. */
  readonly trustSequence: number | null
  readonly disabledServices: readonly string[]
  /** Service VDS that were withdrawn while a login begun by them may be open, by `cti`. */
  readonly withdrawnVds: readonly string[]
  /** Services that the person has said to trust. */
  readonly trustedServices: readonly string[]
  /** Whether the login that was asked about has ended for good: its audit row is there, though its object may be gone. */
  readonly loginEnded: boolean
  /** Whether the Service VDS that was asked about is one of the service's own and hasn't been withdrawn. */
  readonly vdsStands: boolean
}

type StandingRow = { [K in keyof EnrollmentRow]: EnrollmentRow[K] | null } & {
  [K in keyof ServiceRow]: ServiceRow[K] | null
} & {
  readonly seal_revoked: number
  readonly trust_sequence: number | null
  readonly disabled_services: string
  readonly withdrawn_vds: string
  readonly trusted_services: string
  readonly login_ended: number
  readonly vds_stands: number
}

/**
 * The standing of `tokenId`, and of `serviceId` where the step knows it (a claim doesn't: the service is in the object).
 * `login` is the id under which the audit knows a login; see `loginId`. `cti` names a Service VDS that was presented.
 * No decision rests on a cache (5-security 3.15), and no step costs more than this one query: the trust list in memory
 * counts only while it is the one in force.
 */
export async function standingOf(
  db: D1Database,
  trust: TrustLists,
  tokenId: string,
  serviceId: string | null = null,
  login: string | null = null,
  cti: string | null = null,
): Promise<Standing> {
  const row = await db
    .prepare(
      `SELECT s.service_id, s.enabled, s.metadata, s.secret_hashes, e.*,
         EXISTS (SELECT 1 FROM revoked_seal r WHERE r.fingerprint = e.seal_fingerprint) AS seal_revoked,
         (SELECT sequence FROM trust_list WHERE id = 1) AS trust_sequence,
         (SELECT json_group_array(service_id) FROM service WHERE enabled = 0) AS disabled_services,
         (SELECT json_group_array(cti) FROM service_vds WHERE withdrawn_at > unixepoch() - ${WITHDRAWN_SECONDS}) AS withdrawn_vds,
         (SELECT json_group_array(t.service_id) FROM service_trust t
          WHERE t.token_id = ?2 AND t.trusted = 1 AND t.device = e.device_thumbprint) AS trusted_services,
         EXISTS (SELECT 1 FROM audit WHERE once = ?3) AS login_ended,
         EXISTS (SELECT 1 FROM service_vds WHERE cti = ?4 AND service_id = ?1 AND withdrawn_at IS NULL) AS vds_stands
       FROM (SELECT 1)
       LEFT JOIN service s ON s.service_id = ?1
       LEFT JOIN enrollment e ON e.token_id = ?2`,
    )
    .bind(serviceId, tokenId, login, cti)
    .first<StandingRow>()
  if (row === null) throw new Error('the standing query always has one row')
  const enrollment = hasEnrollment(row) ? enrollmentOf(row) : undefined
  const list = enrollment === undefined ? undefined : await trust.at(row.trust_sequence)
  return {
    service: hasService(row) ? serviceOf(row) : undefined,
    enrollment,
    caTrusted: list !== undefined && enrollment !== undefined && isTrustedCa(list, enrollment.caId),
    sealRevoked: row.seal_revoked === 1,
    trustSequence: row.trust_sequence,
    disabledServices: JSON.parse(row.disabled_services),
    withdrawnVds: JSON.parse(row.withdrawn_vds),
    trustedServices: JSON.parse(row.trusted_services),
    loginEnded: row.login_ended === 1,
    vdsStands: row.vds_stands === 1,
  }
}

/**
 * Whether what the binding `enrollmentId` approved may still be handed out at `now` (Unix seconds): the one question of a
 * redeemed code and of a socket that comes back for its result. `vds`: the `cti` of the Service VDS that began it, if any.
 */
export function isStanding(
  { service, enrollment, sealRevoked, caTrusted, withdrawnVds }: Standing,
  enrollmentId: string | null | undefined,
  now: number,
  vds: string | null = null,
): boolean {
  return (
    (vds === null || !withdrawnVds.includes(vds)) &&
    service?.enabled === true &&
    enrollment?.status === 'active' &&
    enrollment.enrollmentId === enrollmentId &&
    !sealRevoked &&
    caTrusted &&
    now <= enrollment.expiresAt
  )
}

function hasService(row: StandingRow): row is StandingRow & ServiceRow {
  return row.service_id !== null
}

function hasEnrollment(row: StandingRow): row is StandingRow & EnrollmentRow {
  return row.token_id !== null
}
