/**
 * The built Worker on a loopback port, as a program of its own, so that a test can kill it at any moment and start it again
 * on the same folder. Arguments: one JSON object `{ bundle, port, folder, vars }`.
 */
import { join } from 'node:path'
import { readD1Migrations } from '@cloudflare/vitest-plugin'
import { convertV4MiniflareOptions, Miniflare } from 'miniflare'

interface Order {
  /** Folder of `wrangler deploy --dry-run --outdir`. */
  readonly bundle: string
  readonly port: number
  /** Where D1 and the objects live; survives the program. */
  readonly folder: string
  readonly vars: Readonly<Record<string, string>>
}

const order: Order = JSON.parse(process.argv[2] ?? '')
const limit = { simple: { limit: 1_000_000, period: 60 } } as const

const miniflare = new Miniflare(
  convertV4MiniflareOptions({
    modules: [{ type: 'ESModule', path: join(order.bundle, 'index.js') }],
    modulesRoot: order.bundle,
    compatibilityDate: '2026-10-01',
    host: '127.0.0.1',
    port: order.port,
    cf: false,
    resourcePersistencePath: join(order.folder, 'state'),
    bindings: { ...order.vars },
    durableObjects: {
      LOGIN_SESSION: { className: 'LoginSession', useSQLite: true },
      PHONE_INBOX: { className: 'PhoneInbox', useSQLite: true },
    },
    d1Databases: { DB: 'kill-test' },
    ratelimits: {
      START_LIMIT: { ...limit, namespace_id: '1' },
      SERVICE_LIMIT: { ...limit, namespace_id: '2' },
      SOCKET_LIMIT: { ...limit, namespace_id: '3' },
    },
  }),
)
await miniflare.ready

// The migrations of this checkout, once: the folder remembers.
const db = await miniflare.getD1Database('DB')
const table = "SELECT 1 FROM sqlite_master WHERE name = 'd1_migrations'"
if ((await db.prepare(table).first()) === null) {
  const migrations = await readD1Migrations(join(import.meta.dirname, '../../../migrations'))
  const record = 'CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY, name TEXT)'
  const statements = migrations.flatMap(({ name, queries }) => [
    ...queries.map((query) => db.prepare(query)),
    db.prepare('INSERT INTO d1_migrations (name) VALUES (?)').bind(name),
  ])
  await db.batch([db.prepare(record), ...statements])
}
process.send?.('ready')
