/** What the floor does for one login: as many requests, calls, new objects and queries as the product, in the same order. */
import { DatabaseSync } from 'node:sqlite'
import type { Door } from '../doors.ts'
import { databaseIn } from '../people.ts'

/**
 * The floor of the budget, request by request. Every object call counts as an empty one but the one that makes the login's object;
 * every query as the read of one row. By the doors: 7 requests, 8 object requests, 5 queries; 4 requests, 7 object requests, 4
 * queries. An alarm counts as a call of its object.
 */
export const FLOOR: Readonly<Record<Door, readonly string[]>> = {
  oidc: [
    '/',
    '/?reads=1&objects=1&calls=1',
    '/?calls=1',
    '/?reads=1&calls=1',
    '/?reads=2&calls=2',
    '/?calls=1',
    '/?reads=1&calls=1',
  ],
  direct: ['/?reads=1&objects=1&calls=1', '/?calls=1', '/?reads=1&calls=1', '/?reads=2&calls=3'],
}

/** The same with the rows that a login must write: every call but that of the socket writes one, and one query inserts. */
export const FLOOR_WITH_ROWS: Readonly<Record<Door, readonly string[]>> = {
  oidc: [
    '/',
    '/?reads=1&objects=1&writes=1',
    '/?calls=1',
    '/?reads=1&writes=1',
    '/?reads=1&inserts=1&writes=2',
    '/?writes=1',
    '/?reads=1&writes=1',
  ],
  direct: [
    '/?reads=1&objects=1&writes=1',
    '/?calls=1',
    '/?reads=1&writes=1',
    '/?reads=1&inserts=1&writes=3',
  ],
}

/** Not in the floor: what a rate limit of Miniflare's own would cost, in whose place `limits.ts` counts. */
export const LIMIT_PART = "rate limit, Miniflare's own"

/** The floor's parts, one in a request of its own. */
export const FLOOR_PARTS = {
  'empty request': '/',
  'object call': '/?calls=1',
  'object call, one row written': '/?writes=1',
  'new object, one row written': '/?objects=1',
  'D1 read': '/?reads=1',
  'D1 insert, two rows': '/?inserts=1',
  [LIMIT_PART]: '/?limits=1',
} as const

/** How much of each a round of `paths` makes. */
export function totalsOf(paths: readonly string[]) {
  const all = (...names: readonly string[]) =>
    paths
      .map((path) => new URL(path, 'http://floor').searchParams)
      .flatMap((query) => names.map((name) => Number(query.get(name) ?? 0)))
      .reduce((sum, n) => sum + n, 0)
  return {
    workerRequests: paths.length,
    objectRequests: all('calls', 'writes', 'objects'),
    objectRows: all('writes', 'objects'),
    d1Queries: all('reads', 'inserts'),
  }
}

/** `count` objects by name, each with one row: asked again after a while they have to be woken. */
export function namedObjects(count: number): readonly string[] {
  return Array.from({ length: count }, (_, i) => `/?named=sleeper-${i}`)
}

/** Makes the floor's tables in the database of `store`. */
export function layFloor(store: string): void {
  const database = new DatabaseSync(databaseIn(store))
  database.exec(`
    CREATE TABLE thing (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
    CREATE TABLE note (id INTEGER PRIMARY KEY, once TEXT UNIQUE, body TEXT NOT NULL) STRICT;
    WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
    INSERT INTO thing SELECT 'thing-' || i, hex(randomblob(300)) FROM n`)
  database.close()
}
