/** The people of a run: those who log in are enrolled for real, phone by phone; the rest are rows of the same shape. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import type { Delivery } from '../dev/fcm/devices.ts'
import type { Issuer } from '../dev/issuer.ts'
import { must, type Queue } from '../dev/login-stage.ts'
import { persons } from '../dev/persons.ts'
import { createPhone, type Phone, type PhoneState } from '../dev/phone/phone.ts'
import { ask, fetchWith } from './http.ts'
import { ADDRESS_HEADER, freshAddress } from './visitor.ts'

/** What of a person is the same at every product: the phone's keys, the seal, and where FCM rings. */
export type Enrolled = { readonly state: PhoneState; readonly fcmToken: string }

/** A person at one product. */
export type Person = {
  readonly tokenId: string
  readonly phone: Phone
  readonly pushes: Queue<Pick<Delivery, 'data'>>
  /** How often the person has been rung; a day has ten pushes. */
  logins: number
}

const PUSHES_A_DAY = 10
const DEVICE_KEYS = '/.well-known/device-jwks.json'

/** Seals a made-up grown-up and enrolls a phone of his, from an address of its own. */
export async function enroll(
  origin: string,
  issuer: { readonly url: string; readonly acts: Issuer },
  fcmToken: string,
): Promise<Enrolled> {
  const headers = { [ADDRESS_HEADER]: freshAddress() }
  const phone = await createPhone({ api: origin, issuer: issuer.url, fetch: fetchWith(headers) })
  const [adult] = persons
  if (adult === undefined) throw new Error('Nobody is there to be sealed.')
  const order = { deviceKeyThumbprint: phone.thumbprint, person: adult }
  const { vds, grant } = await issuer.acts.specimen(order)
  must('The enrollment', await phone.enroll({ vds, grant, fcmToken, deviceId: 'bench-phone' }))
  return { state: phone.state(), fcmToken }
}

/** The people at one product, each busy with one login at a time. */
export class Crowd {
  readonly #idle: Person[] = []

  /** `pushesOf` gives the queue of a push token. */
  static async at(
    place: { readonly origin: string; readonly issuer: string },
    enrolled: readonly Enrolled[],
    pushesOf: (fcmToken: string) => Person['pushes'],
  ): Promise<Crowd> {
    const crowd = new Crowd()
    const fetch = await phoneFetch(place.origin)
    for (const { state, fcmToken } of enrolled) {
      const phone = await createPhone({ api: place.origin, issuer: place.issuer, state, fetch })
      const { tokenId = '' } = phone
      crowd.#idle.push({ tokenId, phone, pushes: pushesOf(fcmToken), logins: 0 })
    }
    return crowd
  }

  /** Whoever has waited longest; `undefined` when everybody is busy or has been rung often enough for a day. */
  take(): Person | undefined {
    for (;;) {
      const person = this.#idle.shift()
      if (person === undefined || person.logins < PUSHES_A_DAY) return person
    }
  }

  giveBack(person: Person): void {
    this.#idle.push(person)
  }

  /** Those who aren't busy. */
  get everyone(): readonly Person[] {
    return [...this.#idle]
  }
}

/** A phone keeps the keys by which it knows the server's pushes; it does not fetch them for each. */
async function phoneFetch(origin: string): Promise<typeof fetch & ReturnType<typeof fetchWith>> {
  const { text } = await ask(`${origin}${DEVICE_KEYS}`)
  const send = fetchWith({})
  const remembered = (url: string, init?: RequestInit) =>
    url.endsWith(DEVICE_KEYS) ? Promise.resolve(new Response(text)) : send(url, init)
  return remembered as typeof fetch & ReturnType<typeof fetchWith>
}

/* ---- rows ---- */

/** The file of the D1 database in `store`. */
export function databaseIn(store: string): string {
  const folder = join(store, 'd1', 'miniflare-D1DatabaseObject')
  const [file] = readdirSync(folder).filter((name) => /^[0-9a-f]{64}\.sqlite$/.test(name))
  if (file === undefined) throw new Error(`There is no database in ${store}.`)
  return join(folder, file)
}

/** Brings the database in `store` up to the schema of the product. */
export function migrate(store: string): void {
  const folder = fileURLToPath(new URL('../migrations', import.meta.url))
  const database = new DatabaseSync(databaseIn(store))
  // As wrangler keeps it: the product's own health check looks there.
  database.exec(
    'CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY, name TEXT UNIQUE, applied_at TEXT)',
  )
  for (const name of readdirSync(folder).sort()) {
    database.exec(readFileSync(join(folder, name), 'utf8'))
    database.prepare('INSERT INTO d1_migrations (name) VALUES (?)').run(name)
  }
  database.close()
}

/** Beginning of the push tokens of people who are rows only. */
const ROW_TOKEN = 'row'

/**
 * Fills the database in `store`, whose Worker doesn't run, up to `count` people. The rows are shaped like those that enrollment
 * writes, one of each kind for each person; ids, keys and fingerprints are random, so that they are spread over the indexes as
 * real ones are. All of them share one agreement key, `agreement`, that a push can be sealed to.
 */
export function fill(store: string, count: number, agreement: object): void {
  const database = new DatabaseSync(databaseIn(store))
  database.exec('PRAGMA synchronous = OFF; PRAGMA cache_size = -500000; PRAGMA temp_store = MEMORY')
  const { n } = database.prepare('SELECT count(*) AS n FROM enrollment').get() as { n: number }
  if (count > n) {
    database.exec('BEGIN')
    database.prepare(PEOPLE).run(count - n, JSON.stringify(agreement))
    database.prepare(AUDIT).run(count - n)
    database.exec('COMMIT')
  }
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  database.close()
}

/** 43 characters, as many as base64url needs for 32 bytes. */
const random43 = 'substr(hex(randomblob(22)), 1, 43)'
const randomUuid = `lower(substr(hex(randomblob(4)), 1, 8) || '-' || substr(hex(randomblob(2)), 1, 4) || '-4' ||
  substr(hex(randomblob(2)), 1, 3) || '-a' || substr(hex(randomblob(2)), 1, 3) || '-' || hex(randomblob(6)))`

const PEOPLE = `
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
  INSERT INTO enrollment
    (token_id, enrollment_id, status, ca_id, seal_fingerprint, seal_issued_at, expires_at, trust_level, granted,
     device_id, device_key, device_thumbprint, encryption_key, fcm_token, statement_iat, enrolled_at)
  SELECT ${randomUuid}, ${randomUuid}, 'active', 'IDT1', ${random43}, unixepoch() - 86400, unixepoch() + 157680000, 3, 1,
    'bench-phone', json_object('kty', 'EC', 'crv', 'P-256', 'x', ${random43}, 'y', ${random43}), ${random43}, ?2,
    '${ROW_TOKEN}' || substr(hex(randomblob(10)), 1, 19) || ':APA91b' || ${randomUuid}, unixepoch() - 3600, unixepoch() - 3600
  FROM n`

const AUDIT = `
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
  INSERT INTO audit (at, event, once, detail)
  SELECT unixepoch() - 3600, 'enrolled', NULL, json_object('device', ${random43}, 'granted', json('true'),
    'replaced', json('false'), 'subject', substr(${random43}, 1, 22), 'requestId', ${randomUuid})
  FROM n`
