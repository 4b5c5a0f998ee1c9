import { env } from 'cloudflare:workers'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { describe, expect, it } from 'vitest'
import type { KeyRing } from '../../../src/keys/key-ring.ts'
import { createKeyRing, insertKey, loadKeys } from '../../../src/keys/store.ts'
import { secretOf } from './secret.ts'

let worlds = 0

/** A ring that remembers nothing of another test's: what an isolate keeps is kept per issuer. */
function freshRing(db: D1Database = env.DB): KeyRing {
  worlds += 1
  const issuer = `https://ring-${worlds}.example.com`
  return createKeyRing({ db, master: secretOf(1), issuer, now: () => 1_000_000 })
}

/** The database, counting the statements prepared on it. */
function counted(db: D1Database) {
  const count = { statements: 0 }
  const proxy = new Proxy(db, {
    get: (target, property) => {
      if (property === 'prepare') count.statements += 1
      const value: unknown = Reflect.get(target, property)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  return { db: proxy, count }
}

describe('key ring over D1', () => {
  it('ten first needs at once end with one key per purpose, and all sign with it', async () => {
    const rings = Array.from({ length: 10 }, () => freshRing())
    const tokens = await Promise.all(rings.map((ring) => ring.signToken({ sub: 'x' })))
    const rows = await loadKeys(env.DB)
    expect(rows.map((row) => `${row.purpose} ${row.status}`).sort()).toEqual([
      'push active',
      'token active',
    ])

    const jwks = createLocalJWKSet({ keys: [...(await freshRing().tokenJwks()).keys] })
    for (const token of tokens) {
      const { protectedHeader } = await jwtVerify(token, jwks)
      expect(protectedHeader.kid).toBe(rows.find((row) => row.purpose === 'token')?.kid)
    }
  })

  it('a second active key of a purpose is not stored', async () => {
    await freshRing().check()
    const [first] = await loadKeys(env.DB)
    if (first === undefined) throw new Error('no key was made')
    await insertKey(env.DB, { ...first, kid: 'another' })
    await insertKey(env.DB, { ...first, status: 'retired' })
    expect((await loadKeys(env.DB)).length).toBe(2)
  })

  it('318 a key that does not unwrap: the check refuses, nothing is signed, published or replaced', async () => {
    await freshRing().check()
    const before = await loadKeys(env.DB)
    await env.DB.prepare(
      "UPDATE signing_key SET wrapped_private_key = '1.AAAA' WHERE purpose = 'token'",
    ).run()
    const ring = freshRing()
    expect(await ring.check()).toEqual({ ok: false, reason: 'unwrap_failed' })
    await expect(ring.signToken({ sub: 'x' })).rejects.toThrow('token key: unwrap_failed')
    await expect(ring.tokenJwks()).rejects.toThrow('token key: unwrap_failed')
    expect(await ring.signPush({ aud: 'phone' })).toMatch(/^ey/)
    expect((await loadKeys(env.DB)).map((row) => row.kid)).toEqual(before.map((row) => row.kid))
  })

  it('318 another master secret opens nothing', async () => {
    await freshRing().check()
    const parts = { db: env.DB, issuer: 'https://other.example.com', now: () => 1_000_000 }
    const ring = createKeyRing({ ...parts, master: secretOf(2) })
    expect(await ring.check()).toEqual({ ok: false, reason: 'unwrap_failed' })
    await expect(ring.signToken({})).rejects.toThrow('unwrap_failed')
  })

  it('318 a database without the table is unreadable, not a crash', async () => {
    await env.DB.prepare('DROP TABLE signing_key').run()
    expect(await freshRing().check()).toEqual({ ok: false, reason: 'unreadable' })
  })

  it('327 a thousand signatures and documents read the database once', async () => {
    await freshRing().check()
    const { db, count } = counted(env.DB)
    const ring = freshRing(db)
    await ring.tokenJwks()
    for (let i = 0; i < 1000; i++) await (i % 2 ? ring.tokenJwks() : ring.signToken({ i }))
    expect(count.statements).toBe(1)
  })

  it('no private half is readable in the database', async () => {
    await freshRing().check()
    for (const row of await loadKeys(env.DB)) {
      expect(Object.keys(JSON.parse(row.publicJwk)).sort()).toEqual(['crv', 'kty', 'x', 'y'])
      expect(row.wrappedPrivateKey).toMatch(/^1\.[A-Za-z0-9_-]+$/)
    }
  })
})
