import * as v from 'valibot'
import type { OneTimeProof } from './one-time-proof.ts'
import type { SecretHash, Service, ServiceMetadata } from './service.ts'

/** A row of the table `service` as D1 gives it. */
export interface ServiceRow {
  readonly service_id: string
  readonly enabled: number
  readonly metadata: string
  readonly secret_hashes: string
}

const SecretHashes = v.array(v.object({ hash: v.string(), expiresAt: v.optional(v.number()) }))

/** The service in a row. Metadata was validated when it was written and is ours alone to write. */
export function serviceOf(row: ServiceRow): Service {
  const metadata: ServiceMetadata = JSON.parse(row.metadata)
  const secretHashes = v
    .parse(SecretHashes, JSON.parse(row.secret_hashes))
    .map(({ hash, expiresAt }) => (expiresAt === undefined ? { hash } : { hash, expiresAt }))
  return { ...metadata, serviceId: row.service_id, enabled: row.enabled === 1, secretHashes }
}

/** The service `serviceId`, enabled or not, or `undefined`. */
export async function findService(db: D1Database, serviceId: string): Promise<Service | undefined> {
  const row = await db
    .prepare(
      'SELECT service_id, enabled, metadata, secret_hashes FROM service WHERE service_id = ?',
    )
    .bind(serviceId)
    .first<ServiceRow>()
  return row === null ? undefined : serviceOf(row)
}

/** Services as they were a moment ago, for pages that give nothing away: every step that does asks D1 again. */
export interface ServiceMemory {
  /** The service, at most `MEMORY_SECONDS` old. */
  recall(serviceId: string): Promise<Service | undefined>
  /** Looks again at the next need: the operator has changed it. */
  forget(serviceId: string): void
}

const MEMORY_SECONDS = 60
const MEMORY_SERVICES = 500

/** The memory of one isolate: plain values with an age. `now` is Unix seconds. */
export function serviceMemory(db: D1Database, now: () => number): ServiceMemory {
  const known = new Map<string, { readonly service: Service; readonly freshUntil: number }>()
  return {
    async recall(serviceId) {
      const last = known.get(serviceId)
      if (last !== undefined && now() < last.freshUntil) return last.service
      const service = await findService(db, serviceId)
      known.delete(serviceId)
      // An unknown id is not remembered: strangers could fill the memory with them.
      if (service !== undefined) {
        known.set(serviceId, { service, freshUntil: now() + MEMORY_SECONDS })
        const [oldest] = known.keys()
        if (known.size > MEMORY_SERVICES && oldest !== undefined) known.delete(oldest)
      }
      return service
    },
    forget(serviceId) {
      known.delete(serviceId)
    },
  }
}

/** Whether any enabled service has registered `origin`: all that a CORS preflight can ask (it names no service). */
export async function isRegisteredOrigin(db: D1Database, origin: string): Promise<boolean> {
  const row = await db
    .prepare(
      'SELECT 1 FROM service_origin o JOIN service s USING (service_id) WHERE o.origin = ? AND s.enabled = 1 LIMIT 1',
    )
    .bind(origin)
    .first()
  return row !== null
}

/** Statements that create `serviceId` with its first secret, or change its metadata and leave its secrets alone. */
export function putService(
  db: D1Database,
  service: {
    readonly serviceId: string
    readonly enabled: boolean
    readonly metadata: ServiceMetadata
  },
  firstSecret: SecretHash,
  now: number,
): readonly D1PreparedStatement[] {
  const { serviceId, enabled, metadata } = service
  return [
    db
      .prepare(
        `INSERT INTO service (service_id, enabled, metadata, secret_hashes, updated_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (service_id) DO UPDATE SET enabled = ?2, metadata = ?3, updated_at = ?5
         RETURNING secret_hashes`,
      )
      .bind(
        serviceId,
        enabled ? 1 : 0,
        JSON.stringify(metadata),
        JSON.stringify([firstSecret]),
        now,
      ),
    db.prepare('DELETE FROM service_origin WHERE service_id = ?').bind(serviceId),
    ...metadata.origins.map((origin) =>
      db
        .prepare('INSERT OR IGNORE INTO service_origin (origin, service_id) VALUES (?, ?)')
        .bind(origin, serviceId),
    ),
  ]
}

/**
 * A statement that gives `serviceId` the secret `next` at `now` (Unix seconds); its present ones live `overlap` seconds
 * longer. One statement, so that two rotations at once can't lose a secret that was shown.
 */
export function rotateSecret(
  db: D1Database,
  serviceId: string,
  next: SecretHash,
  overlap: number,
  now: number,
): D1PreparedStatement {
  return db
    .prepare(
      `UPDATE service SET secret_hashes = (
         SELECT json_group_array(json(entry)) FROM (
           SELECT ?2 AS entry
           UNION ALL
           SELECT json_set(value, '$.expiresAt', min(coalesce(json_extract(value, '$.expiresAt'), ?3), ?3))
           FROM json_each(service.secret_hashes)
           WHERE coalesce(json_extract(value, '$.expiresAt'), ?3) > ?4
         )
       ) WHERE service_id = ?1 RETURNING service_id`,
    )
    .bind(serviceId, JSON.stringify(next), now + overlap, now)
}

/**
 * Uses `proofs` up at `now` (Unix seconds) and returns the ids of those that nobody had used: one statement decides, however
 * many isolates are asked at once (5-security 63, 81).
 */
export async function useProofs(
  db: D1Database,
  proofs: readonly OneTimeProof[],
  now: number,
): Promise<readonly string[]> {
  const [used] = await db.batch<{ readonly proof: string }>([
    db
      .prepare(
        `INSERT INTO used_proof (proof, expires_at)
         SELECT json_extract(value, '$.id'), json_extract(value, '$.expiresAt') FROM json_each(?1) WHERE true
         ON CONFLICT DO NOTHING RETURNING proof`,
      )
      .bind(JSON.stringify(proofs)),
    db.prepare('DELETE FROM used_proof WHERE expires_at < ?').bind(now),
  ])
  return (used?.results ?? []).map(({ proof }) => proof)
}

/** A Service VDS as it is kept. Times in Unix seconds. */
export interface StoredVds {
  readonly cti: string
  readonly serviceId: string
  readonly text: string
  /** Base64url SHA-256 of the text: by it a person says what he trusts. */
  readonly digest: string
  /** Of the key that signed it. */
  readonly kid: string
  readonly issuedAt: number
  readonly expiresAt: number
}

/** The Service VDS of `serviceId` that is in force at `now` (Unix seconds), the newest; `undefined` when there is none. */
export async function findVds(
  db: D1Database,
  serviceId: string,
  now: number,
): Promise<StoredVds | undefined> {
  const row = await db
    .prepare(
      `SELECT v.cti, v.text, v.digest, v.kid, v.issued_at, v.expires_at FROM service_vds v JOIN service s USING (service_id)
       WHERE v.service_id = ? AND s.enabled = 1 AND v.withdrawn_at IS NULL AND v.expires_at > ?
       ORDER BY v.issued_at DESC, v.cti LIMIT 1`,
    )
    .bind(serviceId, now)
    .first<
      Record<'cti' | 'text' | 'digest' | 'kid', string> & Record<'issued_at' | 'expires_at', number>
    >()
  if (row === null) return undefined
  const { issued_at: issuedAt, expires_at: expiresAt, ...named } = row
  return { ...named, serviceId, issuedAt, expiresAt }
}

/** How long a Service VDS is remembered as withdrawn, in seconds: no login that was begun by it is open after that. */
export const WITHDRAWN_SECONDS = 3600

/**
 * Statements that put `vds` in force (the first changes no row when its key was removed meanwhile), and take out those of
 * its service that have ended, and all that were withdrawn long ago.
 */
export function putVds(db: D1Database, vds: StoredVds): readonly D1PreparedStatement[] {
  const { cti, serviceId, text, digest, kid, issuedAt, expiresAt } = vds
  return [
    db
      .prepare(
        `INSERT INTO service_vds (cti, service_id, text, digest, kid, issued_at, expires_at)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
         WHERE NOT EXISTS (SELECT 1 FROM signing_key WHERE kid = ?5 AND status = 'removed')`,
      )
      .bind(cti, serviceId, text, digest, kid, issuedAt, expiresAt),
    db
      .prepare('DELETE FROM service_vds WHERE service_id = ? AND expires_at < ?')
      .bind(serviceId, issuedAt),
    db.prepare('DELETE FROM service_vds WHERE withdrawn_at < ?').bind(issuedAt - WITHDRAWN_SECONDS),
  ]
}

/** A statement that withdraws every Service VDS of `serviceId` but that of `except`. */
export function withdrawVds(
  db: D1Database,
  serviceId: string,
  now: number,
  except: string | null = null,
): D1PreparedStatement {
  return db
    .prepare(
      'UPDATE service_vds SET withdrawn_at = ?2 WHERE service_id = ?1 AND withdrawn_at IS NULL AND cti IS NOT ?3',
    )
    .bind(serviceId, now, except)
}

/** A statement that forgets whom `tokenId` trusts: who enrolls it again, if anybody, begins anew. */
export function forgetTrust(db: D1Database, tokenId: string): D1PreparedStatement {
  return db.prepare('DELETE FROM service_trust WHERE token_id = ?').bind(tokenId)
}

/** A statement that withdraws every Service VDS that the key `kid` has signed: it leaked, so they say nothing any more. */
export function withdrawVdsOfKey(db: D1Database, kid: string, now: number): D1PreparedStatement {
  return db
    .prepare('UPDATE service_vds SET withdrawn_at = ?2 WHERE kid = ?1 AND withdrawn_at IS NULL')
    .bind(kid, now)
}

/** What a person has signed about a service. */
export interface TrustSaid {
  readonly tokenId: string
  readonly serviceId: string
  readonly trusted: boolean
  /** The digest of the Service VDS that is meant. */
  readonly vds: string
  /** Thumbprint of the device key that says it. */
  readonly device: string
  /** Unix seconds. */
  readonly saidAt: number
}

/**
 * A statement, one conditional write: that a person trusts a service counts only when it is about the Service VDS in force,
 * from a key that is enrolled, and younger than what was said before; that he takes it back, whatever became of the service,
 * when it is younger (5-security 352). It changes one row exactly when it counts. `now` in Unix seconds.
 */
export function sayTrust(db: D1Database, said: TrustSaid, now: number): D1PreparedStatement {
  const { tokenId, serviceId, trusted, vds, device, saidAt } = said
  if (!trusted) {
    return db
      .prepare(
        'UPDATE service_trust SET trusted = 0, said_at = ?3 WHERE token_id = ?1 AND service_id = ?2 AND said_at < ?3',
      )
      .bind(tokenId, serviceId, saidAt)
  }
  return db
    .prepare(
      `INSERT INTO service_trust (token_id, service_id, trusted, vds, device, said_at)
       SELECT ?1, ?2, 1, ?3, ?6, ?4 WHERE ?3 = (
         SELECT v.digest FROM service_vds v JOIN service s USING (service_id)
         WHERE v.service_id = ?2 AND s.enabled = 1 AND v.withdrawn_at IS NULL AND v.expires_at > ?5
         ORDER BY v.issued_at DESC, v.cti LIMIT 1)
       AND EXISTS (SELECT 1 FROM enrollment WHERE token_id = ?1 AND device_thumbprint = ?6 AND status = 'active')
       ON CONFLICT (token_id, service_id) DO UPDATE SET trusted = 1, vds = ?3, device = ?6, said_at = ?4 WHERE said_at < ?4`,
    )
    .bind(tokenId, serviceId, vds, saidAt, now, device)
}

/** A query, with its one value, that has a row exactly when `said` counts: for what is written along with it. */
export function trustStands({ tokenId, serviceId, trusted, saidAt }: TrustSaid) {
  return {
    query: `SELECT 1 FROM (SELECT ? AS said) JOIN service_trust t ON t.token_id = json_extract(said, '$[0]')
      AND t.service_id = json_extract(said, '$[1]') AND t.trusted = json_extract(said, '$[2]') AND t.said_at = json_extract(said, '$[3]')`,
    value: JSON.stringify([tokenId, serviceId, trusted ? 1 : 0, saidAt]),
  }
}
