import type { DeviceKey } from './device-key.ts'
import type { Binding, Enrollment } from './enroll.ts'

export type { Enrollment } from './enroll.ts'

/** A row of the table `enrollment` as D1 gives it. */
export interface EnrollmentRow {
  readonly token_id: string
  readonly enrollment_id: string
  readonly status: 'active' | 'revoked'
  readonly ca_id: string
  readonly seal_fingerprint: string
  readonly seal_issued_at: number
  readonly expires_at: number
  readonly trust_level: 1 | 2 | 3
  readonly granted: number
  readonly device_id: string
  readonly device_key: string
  readonly device_thumbprint: string
  readonly encryption_key: string | null
  readonly fcm_token: string | null
  readonly statement_iat: number
  readonly enrolled_at: number
  readonly revoked_at: number | null
}

/** The enrollment in a row. Keys were checked when they were written and are ours alone to write. */
export function enrollmentOf(row: EnrollmentRow): Enrollment {
  return {
    tokenId: row.token_id,
    enrollmentId: row.enrollment_id,
    status: row.status,
    caId: row.ca_id,
    sealFingerprint: row.seal_fingerprint,
    sealIssuedAt: row.seal_issued_at,
    expiresAt: row.expires_at,
    trustLevel: row.trust_level,
    granted: row.granted === 1,
    deviceId: row.device_id,
    deviceKey: { jwk: JSON.parse(row.device_key), thumbprint: row.device_thumbprint },
    encryptionKey: row.encryption_key === null ? null : JSON.parse(row.encryption_key),
    fcmToken: row.fcm_token,
    statementIat: row.statement_iat,
    enrolledAt: row.enrolled_at,
    revokedAt: row.revoked_at,
  }
}

/** The state that decides whether `tokenId` may be bound to the key `thumbprint` with the seal `fingerprint`. */
export async function findBinding(
  db: D1Database,
  asked: { readonly tokenId: string; readonly thumbprint: string; readonly fingerprint: string },
): Promise<Binding> {
  const row = await db
    .prepare(
      `SELECT e.*, k.token_id AS key_owner,
         (SELECT source FROM revoked_seal WHERE fingerprint = ?3) AS seal_revoked_by
       FROM (SELECT 1)
       LEFT JOIN enrollment e ON e.token_id = ?1
       LEFT JOIN enrollment k ON k.device_thumbprint = ?2`,
    )
    .bind(asked.tokenId, asked.thumbprint, asked.fingerprint)
    .first<
      Partial<EnrollmentRow> & {
        key_owner: string | null
        seal_revoked_by: 'operator' | 'list' | null
      }
    >()
  return {
    enrollment: isRow(row) ? enrollmentOf(row) : undefined,
    keyOwner: row?.key_owner ?? undefined,
    sealRevokedBy: row?.seal_revoked_by ?? undefined,
  }
}

function isRow<T extends Partial<EnrollmentRow>>(row: T | null): row is T & EnrollmentRow {
  return typeof row?.token_id === 'string'
}

/** The enrollment of `tokenId`, active or revoked. */
export async function findEnrollment(
  db: D1Database,
  tokenId: string,
): Promise<Enrollment | undefined> {
  const row = await db
    .prepare('SELECT * FROM enrollment WHERE token_id = ?')
    .bind(tokenId)
    .first<EnrollmentRow>()
  return row === null ? undefined : enrollmentOf(row)
}

/**
 * Statements that bind `next`, in this order: the one conditional insert (it returns a row exactly when it bound), the
 * removal of the push token from any other tokenId (it returns those), and the address mark. Run them in one batch.
 *
 * The insert replaces a row only when the same CA's seal is newer than the revocation, or when a granted binding meets
 * one without grant, or when the enrolled key brings a newer seal; and never with a seal that was revoked
 * meanwhile, nor when `address` has enrolled `limit` people in the last hour. Two enrollments at once, or an enrollment
 * beside a revocation, are decided here and nowhere else (5-security 142, 149, 238, 351, 356).
 */
export function bind(
  db: D1Database,
  next: Enrollment,
  address: string,
  limit: number,
): readonly [D1PreparedStatement, D1PreparedStatement, D1PreparedStatement, D1PreparedStatement] {
  const insert = db
    .prepare(
      `INSERT INTO enrollment (token_id, enrollment_id, status, ca_id, seal_fingerprint, seal_issued_at, expires_at,
         trust_level, granted, device_id, device_key, device_thumbprint, encryption_key, fcm_token, statement_iat,
         enrolled_at, revoked_at)
       SELECT ?1, ?2, 'active', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, NULL
       WHERE NOT EXISTS (SELECT 1 FROM revoked_seal WHERE fingerprint = ?4)
         AND (SELECT count(*) FROM enrollment_by_address WHERE address = ?16 AND enrolled_at > ?15 - 3600) < ?17
       ON CONFLICT (token_id) DO UPDATE SET
         enrollment_id = excluded.enrollment_id, status = 'active', seal_fingerprint = excluded.seal_fingerprint,
         seal_issued_at = excluded.seal_issued_at, expires_at = excluded.expires_at,
         trust_level = excluded.trust_level, granted = excluded.granted, device_id = excluded.device_id,
         device_key = excluded.device_key, device_thumbprint = excluded.device_thumbprint,
         encryption_key = excluded.encryption_key, fcm_token = excluded.fcm_token,
         statement_iat = excluded.statement_iat, enrolled_at = excluded.enrolled_at
       WHERE enrollment.ca_id = excluded.ca_id AND (
         (enrollment.status = 'revoked' AND excluded.seal_issued_at > enrollment.revoked_at)
         OR (enrollment.status = 'active' AND enrollment.granted = 0 AND excluded.granted = 1
             AND excluded.seal_issued_at > coalesce(enrollment.revoked_at, -1))
         OR (enrollment.status = 'active' AND enrollment.device_thumbprint = excluded.device_thumbprint
             AND excluded.granted >= enrollment.granted AND excluded.seal_issued_at > enrollment.seal_issued_at))
       RETURNING token_id`,
    )
    .bind(
      next.tokenId,
      next.enrollmentId,
      next.caId,
      next.sealFingerprint,
      next.sealIssuedAt,
      next.expiresAt,
      next.trustLevel,
      next.granted ? 1 : 0,
      next.deviceId,
      JSON.stringify(next.deviceKey.jwk),
      next.deviceKey.thumbprint,
      next.encryptionKey === null ? null : JSON.stringify(next.encryptionKey),
      next.fcmToken,
      next.statementIat,
      next.enrolledAt,
      address,
      limit,
    )
  return [
    insert,
    // Conditional on this very binding, so that a refused one moves nothing.
    releaseFcmToken(db, next.tokenId, next.fcmToken, next.enrollmentId),
    db
      .prepare('DELETE FROM enrollment_by_address WHERE enrolled_at <= ?')
      .bind(next.enrolledAt - 3600),
    db
      .prepare(
        `INSERT INTO enrollment_by_address (address, enrolled_at)
         SELECT ?, ? WHERE EXISTS (SELECT 1 FROM enrollment WHERE enrollment_id = ?)`,
      )
      .bind(address, next.enrolledAt, next.enrollmentId),
  ]
}

/** Whether `address` has enrolled `limit` or more people in the hour before `now`. */
export async function isOverLimit(
  db: D1Database,
  address: string,
  limit: number,
  now: number,
): Promise<boolean> {
  const row = await db
    .prepare(
      'SELECT count(*) AS n FROM enrollment_by_address WHERE address = ? AND enrolled_at > ?',
    )
    .bind(address, now - 3600)
    .first<{ n: number }>()
  return (row?.n ?? 0) >= limit
}

/**
 * Statements that change the push token or agreement key of an active binding, in one batch: `null` leaves a value as it
 * is. The first returns a row exactly when `iat` exceeds the stored one (5-security 352).
 */
export function updateDevice(
  db: D1Database,
  enrollment: Enrollment,
  change: {
    readonly iat: number
    readonly fcmToken: string | null
    readonly encryptionKey: DeviceKey['jwk'] | null
  },
): readonly [D1PreparedStatement, D1PreparedStatement] {
  return [
    db
      .prepare(
        `UPDATE enrollment SET statement_iat = ?3, fcm_token = coalesce(?4, fcm_token),
           encryption_key = coalesce(?5, encryption_key)
         WHERE token_id = ?1 AND enrollment_id = ?2 AND status = 'active' AND statement_iat < ?3
         RETURNING token_id`,
      )
      .bind(
        enrollment.tokenId,
        enrollment.enrollmentId,
        change.iat,
        change.fcmToken,
        change.encryptionKey === null ? null : JSON.stringify(change.encryptionKey),
      ),
    releaseFcmToken(db, enrollment.tokenId, change.fcmToken, enrollment.enrollmentId),
  ]
}

/**
 * Takes `fcmToken` from every tokenId but the one whose binding now holds it: one phone app, one person
 * (5-security 148). Returns the tokenIds that lost it.
 */
function releaseFcmToken(
  db: D1Database,
  tokenId: string,
  fcmToken: string | null,
  enrollmentId: string,
): D1PreparedStatement {
  return db
    .prepare(
      `UPDATE enrollment SET fcm_token = NULL
       WHERE fcm_token = ?2 AND token_id <> ?1
         AND EXISTS (SELECT 1 FROM enrollment WHERE enrollment_id = ?3 AND fcm_token = ?2)
       RETURNING token_id`,
    )
    .bind(tokenId, fcmToken, enrollmentId)
}

/** Forgets a push token that FCM called dead, if it is still the stored one; the enrollment goes on without push. */
export async function clearFcmToken(
  db: D1Database,
  tokenId: string,
  fcmToken: string,
): Promise<void> {
  await db
    .prepare('UPDATE enrollment SET fcm_token = NULL WHERE token_id = ? AND fcm_token = ?')
    .bind(tokenId, fcmToken)
    .run()
}

/**
 * Statements that revoke `tokenId` at `now` and its seal with it, for one batch with the audit row: the first returns a
 * row when the tokenId is known; `changed` is 1 when this call revoked it.
 */
export function revoke(
  db: D1Database,
  tokenId: string,
  now: number,
): readonly [D1PreparedStatement, D1PreparedStatement] {
  return [
    db
      .prepare(
        `INSERT OR IGNORE INTO revoked_seal (fingerprint, source, revoked_at)
         SELECT seal_fingerprint, 'operator', ?2 FROM enrollment WHERE token_id = ?1 AND status = 'active'`,
      )
      .bind(tokenId, now),
    db
      .prepare(
        `UPDATE enrollment SET status = 'revoked', revoked_at = ?2, fcm_token = NULL
         WHERE token_id = ?1 AND status = 'active' RETURNING token_id`,
      )
      .bind(tokenId, now),
  ]
}
