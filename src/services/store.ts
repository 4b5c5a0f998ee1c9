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
