/**
 * Storage under watch: what goes to D1 and to the objects' SQLite, counted where it passes, so that nothing the product
 * does can slip by; D1 cut off; and everything that is stored, as text. All of it ends with the test that asked for it.
 */
import { listDurableObjectIds, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { onTestFinished, vi } from 'vitest'
import { PhoneInboxObject } from '../../src/login/inbox.ts'
import { LoginSessionObject } from '../../src/login/object.ts'

// biome-ignore lint/suspicious/noExplicitAny: the platform's own classes, whose insides have no types
type Anything = any

/** One statement that reached D1. */
export interface D1Query {
  readonly sql: string
  /** Rows written, those of indexes included, as D1 bills them. */
  readonly written: number
}

/** The class behind every D1 binding of this isolate, in the Worker and in the objects. */
function d1Session(): Anything {
  let prototype = Object.getPrototypeOf(Reflect.get(env.DB, 'alwaysPrimarySession'))
  while (!Object.hasOwn(prototype, '_send')) prototype = Object.getPrototypeOf(prototype)
  return prototype
}

/** Every statement from now on, in the order in which their answers came. */
export function watchD1(): D1Query[] {
  const queries: D1Query[] = []
  const prototype = d1Session()
  const send = prototype._send
  prototype._send = async function (endpoint: string, sql: string | string[], ...rest: unknown[]) {
    const answer: Anything = await Reflect.apply(send, this, [endpoint, sql, ...rest])
    for (const [i, text] of [sql].flat().entries()) {
      queries.push({ sql: text, written: [answer].flat()[i].meta.rows_written })
    }
    return answer
  }
  onTestFinished(() => {
    prototype._send = send
  })
  return queries
}

/** How D1 fails: it answers with an error (a timeout, an overload), or the way to it is cut. */
export type D1Fault = 'error' | 'disconnected'

/** From now on D1 fails for the statements that `hits` picks; the answer ends it. */
export function breakD1(
  hits: (sql: string) => boolean = () => true,
  fault: D1Fault = 'error',
): () => void {
  const prototype = d1Session()
  const real = prototype._wrappedFetch
  prototype._wrappedFetch = async function (url: string, init: { readonly body: string }) {
    const sql = [JSON.parse(init.body)].flat().map((query: { sql: string }) => query.sql)
    if (!sql.some(hits)) return Reflect.apply(real, this, [url, init])
    if (fault === 'disconnected') {
      throw Object.assign(new Error('Network connection lost.'), { retryable: true })
    }
    const error = 'D1 DB storage operation exceeded timeout which caused object to be reset.'
    return Response.json({ success: false, error }, { status: 500 })
  }
  const heal = () => {
    prototype._wrappedFetch = real
  }
  onTestFinished(heal)
  return heal
}

const METHODS = [
  [
    LoginSessionObject.prototype,
    'login',
    'create attempt resume continue complete abandon claim approve register deny cancel redeem',
  ],
  [LoginSessionObject.prototype, 'login', 'pushFailed isOpen askingService fetch alarm'],
  [PhoneInboxObject.prototype, 'inbox', 'start end pending revoke alarm'],
] as const

/** Requests that objects got (calls, sockets, alarms), like `login.create`. */
export function watchObjects(): string[] {
  const requests: string[] = []
  for (const [prototype, name, methods] of METHODS) {
    for (const method of methods.split(' ')) {
      const real: Anything = Reflect.get(prototype, method)
      const spy = vi.spyOn(prototype as Anything, method)
      spy.mockImplementation(function (this: unknown, ...args: unknown[]) {
        requests.push(`${name}.${method}`)
        return Reflect.apply(real, this, args)
      })
      onTestFinished(() => spy.mockRestore())
    }
  }
  return requests
}

/** One write of an object, and the rows it is billed as. */
export interface ObjectWrite {
  readonly what: string
  readonly rows: number
}

/**
 * Every write of the objects from now on. Rows of statements are SQLite's own count, DDL included; `setAlarm` is billed as
 * one row. The price list doesn't name `deleteAll`: here it counts the rows that go, for SQLite counts none when a table is
 * dropped. An alarm that has rung is gone, so that there is nothing for `deleteAlarm` to write.
 */
export async function watchObjectWrites(): Promise<ObjectWrite[]> {
  const writes: ObjectWrite[] = []
  const note = (what: string, rows: number) => {
    if (rows > 0) writes.push({ what, rows })
  }
  const [storage, sql]: Anything[] = await runInDurableObject(
    env.LOGIN_SESSION.get(env.LOGIN_SESSION.newUniqueId()),
    (_, { storage }) => [Object.getPrototypeOf(storage), Object.getPrototypeOf(storage.sql)],
  )
  const { exec } = sql
  const { setAlarm, deleteAll, put } = storage
  sql.exec = function (text: string, ...bindings: unknown[]) {
    const cursor: Anything = Reflect.apply(exec, this, [text, ...bindings])
    note(text.replace(/\s+/g, ' ').slice(0, 48), cursor.rowsWritten)
    return cursor
  }
  storage.setAlarm = function (...args: unknown[]) {
    note('setAlarm', 1)
    return Reflect.apply(setAlarm, this, args)
  }
  storage.deleteAll = async function () {
    const ask = (query: string): Anything => Reflect.apply(exec, this.sql, [query])
    for (const { name } of ask(TABLES).toArray()) {
      note(`deleteAll ${name}`, ask(`SELECT count(*) AS n FROM ${name}`).one().n)
    }
    return Reflect.apply(deleteAll, this, [])
  }
  storage.put = () => {
    throw new Error('a write that this watch does not count')
  }
  onTestFinished(() => {
    sql.exec = exec
    Object.assign(storage, { setAlarm, deleteAll, put })
  })
  return writes
}

const TABLES =
  "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\'"

/** Everything that D1 holds: each row of each table, as text. */
export async function dumpD1(): Promise<Record<string, string>> {
  const { results } = await env.DB.prepare(TABLES).all<{ name: string }>()
  const dump: Record<string, string> = {}
  for (const { name } of results) {
    const rows = await env.DB.prepare(`SELECT * FROM "${name}"`).all()
    dump[name] = JSON.stringify(rows.results)
  }
  return dump
}

/** Everything that one object holds, as text; the empty string when it holds nothing. */
export function dumpObject(
  stub: DurableObjectStub<LoginSessionObject> | DurableObjectStub<PhoneInboxObject>,
): Promise<string> {
  return runInDurableObject(stub as DurableObjectStub, async (_: Anything, { storage }) => {
    const tables = storage.sql.exec<{ name: string }>(TABLES).toArray()
    const rows = tables.map(({ name }) => [
      name,
      storage.sql.exec(`SELECT * FROM "${name}"`).toArray(),
    ])
    const entries = [...(await storage.list())]
    return rows.length + entries.length === 0 ? '' : JSON.stringify([rows, entries])
  })
}

/** The ids of all objects so far, those of earlier tests among them: no reset takes them off the list. */
export async function knownObjects(): Promise<ReadonlySet<string>> {
  const lists = [env.LOGIN_SESSION, env.PHONE_INBOX].map((namespace) =>
    listDurableObjectIds(namespace as DurableObjectNamespace),
  )
  return new Set((await Promise.all(lists)).flat().map(String))
}

/** Everything that objects hold which are not in `known`, each with its id. */
export async function dumpObjects(known: ReadonlySet<string>): Promise<Record<string, string>> {
  const dump: Record<string, string> = {}
  for (const id of await listDurableObjectIds(env.LOGIN_SESSION)) {
    if (!known.has(String(id))) dump[`login ${id}`] = await dumpObject(env.LOGIN_SESSION.get(id))
  }
  for (const id of await listDurableObjectIds(env.PHONE_INBOX)) {
    if (!known.has(String(id))) dump[`inbox ${id}`] = await dumpObject(env.PHONE_INBOX.get(id))
  }
  return dump
}
