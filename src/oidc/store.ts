/** What the OpenID Connect door keeps in D1: refresh families, dead grants, sessions at clients. Never an attribute. */
import { type Standing, standingOf } from '../login/store.ts'
import type { TrustLists } from '../seal/store.ts'
import type { OneTimeProof } from '../services/one-time-proof.ts'
import { useProofs } from '../services/store.ts'
import type { RefreshFamily } from './refresh-token.ts'

/** A session of a person at a client that registered a back-channel logout address. */
export interface ClientSession {
  readonly sid: string
  readonly clientId: string
  readonly tokenId: string
}

/** Times in Unix seconds. Every method throws when D1 does. */
export interface OidcStore {
  /** The one question about person and client at a step of this door, and about a login by its `loginId`. */
  standing(tokenId: string, clientId: string, login?: string): Promise<Standing>
  /** See `useProofs`. */
  useProofs(proofs: readonly OneTimeProof[], now: number): Promise<readonly string[]>
  /** Whether the grant was killed because its code, or a refresh token, came again. */
  isDead(grantId: string): Promise<boolean>
  /** Kills a grant: its refresh family goes, its access tokens are refused until `until`. */
  kill(grantId: string, until: number, now: number): Promise<void>
  /** Unless the grant is dead already: the code may have come twice at the same moment. */
  beginFamily(family: {
    readonly familyId: string
    readonly grantId: string
    readonly startedAt: number
    readonly expiresAt: number
  }): Promise<void>
  findFamily(
    familyId: string,
  ): Promise<(RefreshFamily & { readonly startedAt: number }) | undefined>
  /** The one conditional write of a rotation: `false` when the family is no longer at `from`. */
  rotate(familyId: string, from: number, now: number, expiresAt: number): Promise<boolean>
  rememberSession(session: ClientSession, expiresAt: number, now: number): Promise<void>
  /** Takes the session out, so that its client is told once; `undefined` when there is none. */
  takeSession(sid: string, clientId: string): Promise<ClientSession | undefined>
  /** Takes out every session of a person. */
  takeSessionsOf(tokenId: string): Promise<readonly ClientSession[]>
}

interface SessionRow {
  readonly sid: string
  readonly client_id: string
  readonly token_id: string
}

export function oidcStore(db: D1Database, trust: TrustLists): OidcStore {
  return {
    standing: (tokenId, clientId, login) => standingOf(db, trust, tokenId, clientId, login),

    useProofs: (proofs, now) => useProofs(db, proofs, now),

    async isDead(grantId) {
      const row = await db
        .prepare('SELECT 1 FROM dead_grant WHERE grant_id = ?')
        .bind(grantId)
        .first()
      return row !== null
    },

    async kill(grantId, until, now) {
      await db.batch([
        db
          .prepare('INSERT OR IGNORE INTO dead_grant (grant_id, expires_at) VALUES (?, ?)')
          .bind(grantId, until),
        db.prepare('DELETE FROM refresh_family WHERE grant_id = ?').bind(grantId),
        db.prepare('DELETE FROM dead_grant WHERE expires_at < ?').bind(now),
      ])
    },

    async beginFamily({ familyId, grantId, startedAt, expiresAt }) {
      await db.batch([
        db
          .prepare(
            `INSERT INTO refresh_family (family_id, grant_id, generation, rotated_at, started_at, expires_at)
             SELECT ?1, ?2, 0, ?3, ?3, ?4 WHERE NOT EXISTS (SELECT 1 FROM dead_grant WHERE grant_id = ?2)`,
          )
          .bind(familyId, grantId, startedAt, expiresAt),
        db.prepare('DELETE FROM refresh_family WHERE expires_at < ?').bind(startedAt),
      ])
    },

    async findFamily(familyId) {
      const row = await db
        .prepare(
          'SELECT generation, rotated_at, started_at, expires_at FROM refresh_family WHERE family_id = ?',
        )
        .bind(familyId)
        .first<Record<'generation' | 'rotated_at' | 'started_at' | 'expires_at', number>>()
      if (row === null) return undefined
      const { generation, rotated_at: rotatedAt, started_at: startedAt } = row
      return { generation, rotatedAt, startedAt, expiresAt: row.expires_at }
    },

    async rotate(familyId, from, now, expiresAt) {
      const { meta } = await db
        .prepare(
          `UPDATE refresh_family SET generation = generation + 1, rotated_at = ?3, expires_at = ?4
           WHERE family_id = ?1 AND generation = ?2`,
        )
        .bind(familyId, from, now, expiresAt)
        .run()
      return meta.changes === 1
    },

    async rememberSession({ sid, clientId, tokenId }, expiresAt, now) {
      await db.batch([
        db
          .prepare(
            `INSERT INTO client_session (sid, client_id, token_id, expires_at) VALUES (?, ?, ?, ?)
             ON CONFLICT DO NOTHING`,
          )
          .bind(sid, clientId, tokenId, expiresAt),
        db.prepare('DELETE FROM client_session WHERE expires_at < ?').bind(now),
      ])
    },

    async takeSession(sid, clientId) {
      const row = await db
        .prepare('DELETE FROM client_session WHERE sid = ? AND client_id = ? RETURNING *')
        .bind(sid, clientId)
        .first<SessionRow>()
      return row === null ? undefined : sessionOf(row)
    },

    async takeSessionsOf(tokenId) {
      const { results } = await db
        .prepare('DELETE FROM client_session WHERE token_id = ? RETURNING *')
        .bind(tokenId)
        .all<SessionRow>()
      return results.map(sessionOf)
    },
  }
}

function sessionOf({ sid, client_id: clientId, token_id: tokenId }: SessionRow): ClientSession {
  return { sid, clientId, tokenId }
}
