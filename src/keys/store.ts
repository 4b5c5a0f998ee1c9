/** The signing keys in D1 (table `signing_key`), and the key ring over them. */
import { type KeyRing, type KeySnapshot, keyRing } from './key-ring.ts'
import type { MasterSecret } from './master-secret.ts'
import type { KeyPurpose, KeyStatus, StoredKey } from './signing-key.ts'

/** What the isolate remembers of its keys: opened keys as plain values, never promises and nothing of a request. */
const memory = new Map<string, KeySnapshot>()

/** The key ring of a deployment; may be made anew for each request. `now` is Unix seconds. */
export function createKeyRing(parts: {
  readonly db: D1Database
  readonly master: MasterSecret
  readonly issuer: string
  readonly now: () => number
}): KeyRing {
  const { db, master, issuer, now } = parts
  return keyRing({
    master,
    issuer,
    now,
    load: () => loadKeys(db),
    insert: (key) => insertKey(db, key),
    isRemoved: (kid) => isRemoved(db, kid),
    random12: () => crypto.getRandomValues(new Uint8Array(12)),
    memory,
  })
}

interface Row {
  readonly kid: string
  readonly purpose: KeyPurpose
  readonly alg: string
  readonly status: KeyStatus
  readonly public_jwk: string
  readonly wrapped_private_key: string
  readonly created_at: number
}

/** Every key that isn't removed, newest first. @throws when D1 does */
export async function loadKeys(db: D1Database): Promise<readonly StoredKey[]> {
  const { results } = await db
    .prepare("SELECT * FROM signing_key WHERE status <> 'removed' ORDER BY created_at DESC, kid")
    .all<Row>()
  return results.map((row) => ({
    kid: row.kid,
    purpose: row.purpose,
    alg: row.alg,
    status: row.status,
    publicJwk: row.public_jwk,
    wrappedPrivateKey: row.wrapped_private_key,
    createdAt: row.created_at,
  }))
}

/** Stores `key` unless its kind (purpose and alg) has an active key already, or its `kid` is taken. @throws when D1 does */
export async function insertKey(db: D1Database, key: StoredKey): Promise<void> {
  await db
    .prepare(
      `INSERT INTO signing_key
         (kid, purpose, alg, status, public_jwk, wrapped_private_key, created_at)
       VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    )
    .bind(
      key.kid,
      key.purpose,
      key.alg,
      key.status,
      key.publicJwk,
      key.wrappedPrivateKey,
      key.createdAt,
    )
    .run()
}

async function isRemoved(db: D1Database, kid: string): Promise<boolean> {
  const row = await db
    .prepare("SELECT 1 FROM signing_key WHERE kid = ? AND status = 'removed'")
    .bind(kid)
    .first()
  return row !== null
}

/**
 * A statement that takes the key `kid` away for good, because it leaked: its private half is gone, it leaves the public
 * documents and signs nothing more, in this isolate after `KeyRing.check`, in others within a minute.
 */
export function removeKey(db: D1Database, kid: string): D1PreparedStatement {
  return db
    .prepare(
      "UPDATE signing_key SET status = 'removed', wrapped_private_key = '' WHERE kid = ? AND status <> 'removed'",
    )
    .bind(kid)
}
