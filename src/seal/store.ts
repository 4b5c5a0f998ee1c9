import type { JWK } from 'jose'
import { sha256, toBase64url } from '../bytes.ts'
import type { RevocationList } from './revocation-list.ts'
import { readTrustList, type TrustList } from './trust-list.ts'

/** The trust list in force, as far as this isolate knows it. */
export interface TrustLists {
  /**
   * The verified list with `sequence`, which the caller has just read from D1's primary: the copy in memory is used only
   * when it is that very list. `undefined` when there is none or it doesn't verify with the pinned keys.
   */
  at(sequence: number | null): Promise<TrustList | undefined>
  /** The list in force now. */
  current(): Promise<TrustList | undefined>
}

/** Reads trust lists from `db`; only lists signed by one of `pinnedKeys` count. */
export function trustListsOf(db: D1Database, pinnedKeys: readonly JWK[]): TrustLists {
  let held: TrustList | undefined

  async function at(sequence: number | null): Promise<TrustList | undefined> {
    if (sequence === null) return undefined
    if (held?.sequence === sequence) return held
    const row = await db.prepare('SELECT jws FROM trust_list WHERE id = 1').first<{ jws: string }>()
    const list = row === null ? undefined : await readTrustList(row.jws, pinnedKeys)
    held = list?.ok ? list.value : undefined
    return held
  }

  async function current(): Promise<TrustList | undefined> {
    const row = await db
      .prepare('SELECT sequence FROM trust_list WHERE id = 1')
      .first<{ sequence: number }>()
    return at(row?.sequence ?? null)
  }

  return { at, current }
}

/** The signed text of the list in force: what phones download to check seals alone. */
export async function currentTrustListText(db: D1Database): Promise<string | undefined> {
  const row = await db.prepare('SELECT jws FROM trust_list WHERE id = 1').first<{ jws: string }>()
  return row?.jws
}

/**
 * A statement that puts the verified `list` in force. It returns a row exactly when the list is newer than the one in
 * force, or byte for byte the same.
 */
export function acceptTrustList(
  db: D1Database,
  list: TrustList,
  jws: string,
  now: number,
): D1PreparedStatement {
  return db
    .prepare(
      `INSERT INTO trust_list (id, sequence, jws, accepted_at) VALUES (1, ?1, ?2, ?3)
       ON CONFLICT (id) DO UPDATE SET sequence = ?1, jws = ?2, accepted_at = ?3
       WHERE trust_list.sequence < ?1 OR (trust_list.sequence = ?1 AND trust_list.jws = ?2)
       RETURNING sequence`,
    )
    .bind(list.sequence, jws, now)
}

/**
 * Puts the verified revocation `list` in force: `false` when a newer one is. Its fingerprints are added only if the list
 * was accepted, in the same batch; a seal that was revoked once stays revoked.
 */
export async function acceptRevocationList(
  db: D1Database,
  list: RevocationList,
  jws: string,
  now: number,
): Promise<boolean> {
  const digest = toBase64url(await sha256(jws))
  const [accepted] = await db.batch([
    db
      .prepare(
        `INSERT INTO revocation_list (id, sequence, digest, next_update, accepted_at) VALUES (1, ?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET sequence = ?1, digest = ?2, next_update = ?3, accepted_at = ?4
         WHERE revocation_list.sequence < ?1 OR (revocation_list.sequence = ?1 AND revocation_list.digest = ?2)
         RETURNING sequence`,
      )
      .bind(list.sequence, digest, list.nextUpdate, now),
    db
      .prepare(
        `INSERT OR IGNORE INTO revoked_seal (fingerprint, source, revoked_at)
         SELECT value, 'list', ?2 FROM json_each(?1)
         WHERE EXISTS (SELECT 1 FROM revocation_list WHERE digest = ?3)`,
      )
      .bind(JSON.stringify(list.fingerprints), now, digest),
  ])
  return (accepted?.results.length ?? 0) === 1
}

/** Until when the revocation list in force is fresh (Unix seconds); `undefined` when none was ever accepted. */
export async function findRevocationList(
  db: D1Database,
): Promise<{ readonly nextUpdate: number } | undefined> {
  const row = await db
    .prepare('SELECT next_update FROM revocation_list WHERE id = 1')
    .first<{ next_update: number }>()
  return row === null ? undefined : { nextUpdate: row.next_update }
}
