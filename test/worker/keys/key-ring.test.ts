import { applyD1Migrations, reset } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { describe, expect, it } from 'vitest'
import { fromBase64url, toBase64url } from '../../../src/bytes.ts'
import type { KeyRing } from '../../../src/keys/key-ring.ts'
import type { StoredKey } from '../../../src/keys/signing-key.ts'
import { createKeyRing, insertKey, loadKeys } from '../../../src/keys/store.ts'
import { isSchemaCurrent } from '../../../src/operator/store.ts'
import { rsaKey } from './rsa-key.ts'
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

const KINDS = [
  'push ES256 active',
  'service ES256 active',
  'token ES256 active',
  'token RS256 active',
]

function kindOf({ purpose, alg, status }: StoredKey): string {
  return `${purpose} ${alg} ${status}`
}

/** A ring that has all its keys; the slow one was made before. */
async function checkedRing(): Promise<KeyRing> {
  await insertKey(env.DB, await rsaKey())
  const ring = freshRing()
  expect(await ring.check()).toEqual({ ok: true, value: undefined })
  return ring
}

describe('key ring over D1', () => {
  it('ten first needs at once end with one key per purpose and algorithm, and all sign with them', async () => {
    const rings = Array.from({ length: 10 }, () => freshRing())
    const tokens = await Promise.all(
      rings.map((ring, i) => ring.signIdToken({ sub: 'x' }, i % 2 ? 'ES256' : 'RS256')),
    )
    const rows = await loadKeys(env.DB)
    expect(rows.map(kindOf).sort()).toEqual(KINDS)

    const jwks = createLocalJWKSet({ keys: [...(await freshRing().tokenJwks()).keys] })
    const kids = new Set<unknown>()
    for (const token of tokens) kids.add((await jwtVerify(token, jwks)).protectedHeader.kid)
    const tokenRows = rows.filter((row) => row.purpose === 'token')
    expect([...kids].sort()).toEqual(tokenRows.map((row) => row.kid).sort())
  })

  it('a second active key of a purpose and algorithm is not stored', async () => {
    await checkedRing()
    const rows = await loadKeys(env.DB)
    expect(rows.map(kindOf).sort()).toEqual(KINDS)
    for (const row of rows) {
      await insertKey(env.DB, { ...row, kid: `${row.kid}2` })
      await insertKey(env.DB, { ...row, status: 'retired' })
    }
    expect(await loadKeys(env.DB)).toEqual(rows)
    for (const row of rows) {
      await insertKey(env.DB, { ...row, kid: `${row.kid}2`, status: 'retired' })
    }
    expect((await loadKeys(env.DB)).length).toBe(8)
  })

  it('the table takes RS256 for tokens only, and no third algorithm', async () => {
    const key = await rsaKey()
    for (const wrong of [
      { purpose: 'push' } as const,
      { purpose: 'service' } as const,
      { alg: 'PS256' },
      { alg: 'ES384' },
    ]) {
      await expect(insertKey(env.DB, { ...key, ...wrong })).rejects.toThrow('CHECK')
    }
    await insertKey(env.DB, key)
    expect(await loadKeys(env.DB)).toEqual([key])
  })

  it('318 a key that does not unwrap: the check refuses, nothing is signed, published or replaced', async () => {
    await checkedRing()
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
    await checkedRing()
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
    await checkedRing()
    const { db, count } = counted(env.DB)
    const ring = freshRing(db)
    await ring.tokenJwks()
    for (let i = 0; i < 1000; i++) await (i % 2 ? ring.tokenJwks() : ring.signToken({ i }))
    for (let i = 0; i < 100; i++) await ring.readIdToken(await ring.signIdToken({ i }, 'RS256'))
    expect(count.statements).toBe(1)
  })

  it('no private half is readable in the database', async () => {
    await checkedRing()
    for (const row of await loadKeys(env.DB)) {
      const members = row.alg === 'ES256' ? ['crv', 'kty', 'x', 'y'] : ['e', 'kty', 'n']
      expect(Object.keys(JSON.parse(row.publicJwk)).sort()).toEqual(members)
      expect(row.wrappedPrivateKey).toMatch(/^1\.[A-Za-z0-9_-]+$/)
    }
  })
})

describe('migration 0002', () => {
  it('keeps the keys of 0001, which go on signing, and lets RS256 in beside them', async () => {
    await checkedRing()
    const es256 = (await loadKeys(env.DB)).filter(
      (row) => row.alg === 'ES256' && row.purpose !== 'service',
    )
    const [token] = es256.filter((row) => row.purpose === 'token')
    const retired = { ...es256[0], kid: 'retired', status: 'retired' } as StoredKey

    await reset()
    await applyD1Migrations(env.DB, env.TEST_MIGRATIONS.slice(0, 1))
    expect(await isSchemaCurrent(env.DB)).toBe(false)
    for (const row of [...es256, retired]) await insertKey(env.DB, row)
    await expect(insertKey(env.DB, await rsaKey())).rejects.toThrow('CHECK')
    const before = await loadKeys(env.DB)
    expect(before.length).toBe(3)

    await applyD1Migrations(env.DB, env.TEST_MIGRATIONS)
    expect(await isSchemaCurrent(env.DB)).toBe(true)
    expect(await loadKeys(env.DB)).toEqual(before)
    await insertKey(env.DB, { ...before[0], kid: 'second', status: 'active' } as StoredKey)
    expect((await loadKeys(env.DB)).length).toBe(3)

    await env.DB.prepare("DELETE FROM signing_key WHERE kid = 'retired'").run()
    await insertKey(env.DB, await rsaKey())
    const ring = freshRing()
    expect(await ring.check()).toEqual({ ok: true, value: undefined })
    expect((await ring.tokenJwks()).keys.map((key) => key.alg)).toEqual(['ES256', 'RS256'])
    expect((await ring.tokenJwks()).keys[0]?.kid).toBe(token?.kid)
  })
})

describe('migration 0004', () => {
  it('keeps the keys of 0003, the removed ones too, and lets the key of Service VDS in beside them', async () => {
    await checkedRing()
    const all = await loadKeys(env.DB)
    const service = all.filter((row) => row.purpose === 'service')
    const old = all.filter((row) => row.purpose !== 'service')
    const retired = { ...old[0], kid: 'retired', status: 'retired' } as StoredKey
    const rows = async () =>
      (await env.DB.prepare('SELECT * FROM signing_key ORDER BY kid').all()).results

    await reset()
    await applyD1Migrations(env.DB, env.TEST_MIGRATIONS.slice(0, 3))
    expect(await isSchemaCurrent(env.DB)).toBe(false)
    for (const row of [...old, retired]) await insertKey(env.DB, row)
    await env.DB.prepare(
      "INSERT INTO signing_key SELECT 'removed', purpose, alg, 'removed', public_jwk, '', 1 FROM signing_key WHERE kid = 'retired'",
    ).run()
    for (const row of service) await expect(insertKey(env.DB, row)).rejects.toThrow('CHECK')
    const before = await rows()
    expect(before).toHaveLength(5)

    await applyD1Migrations(env.DB, env.TEST_MIGRATIONS)
    expect(await isSchemaCurrent(env.DB)).toBe(true)
    expect(await rows()).toEqual(before)
    // A second active key of a kind is still none.
    await insertKey(env.DB, { ...old[0], kid: 'second' } as StoredKey)
    expect(await rows()).toEqual(before)

    await env.DB.prepare("DELETE FROM signing_key WHERE kid = 'retired'").run()
    const ring = freshRing()
    expect(await ring.check()).toEqual({ ok: true, value: undefined })
    expect((await loadKeys(env.DB)).map(kindOf).sort()).toEqual(KINDS)
    const kids = (await ring.tokenJwks()).keys.map((key) => key.kid)
    const tokens = old.filter((row) => row.purpose === 'token').map((row) => row.kid)
    expect([...kids].sort()).toEqual([...tokens].sort())
  })
})

describe('id_token_hint in the runtime of the product', () => {
  const NOW = 1_000_000

  /** A ring whose issuer is known, and what it signed with `alg`. */
  async function signed(alg: 'ES256' | 'RS256') {
    await checkedRing()
    const issuer = 'https://hint.example.com'
    const parts = { db: env.DB, master: secretOf(1), issuer: `${issuer}/${worlds}` }
    const ring = createKeyRing({ ...parts, now: () => NOW })
    const claims = { iss: parts.issuer, sub: 's', aud: 'shop', iat: NOW + 8, exp: NOW - 9 }
    return { ring, claims, jws: await ring.signIdToken(claims, alg) }
  }

  it.each(['ES256', 'RS256'] as const)('097 %s is read back, expired or not', async (alg) => {
    const { ring, claims, jws } = await signed(alg)
    expect(await ring.readIdToken(jws)).toEqual(claims)
    expect(await ring.readIdToken(await ring.signLogoutToken(claims, alg))).toBe(undefined)
    expect(await ring.readIdToken(await ring.signPush(claims))).toBe(undefined)
  })

  it.each(['ES256', 'RS256'] as const)(
    '118 120 %s: no signature of any length or value but the true one',
    async (alg) => {
      const { ring, jws } = await signed(alg)
      const [head = '', body = '', tail = ''] = jws.split('.')
      const genuine = fromBase64url(tail) ?? new Uint8Array()
      const length = genuine.length
      const order = Uint8Array.from(
        'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551'.match(/../g) ?? [],
        (pair) => Number.parseInt(pair, 16),
      )
      const wrong = [
        new Uint8Array(),
        genuine.slice(1),
        genuine.slice(0, -1),
        Uint8Array.of(...genuine, 0),
        Uint8Array.of(0, ...genuine),
        new Uint8Array(96),
        new Uint8Array(length),
        new Uint8Array(length).fill(255),
        Uint8Array.of(...order, ...genuine.slice(32)),
        Uint8Array.of(...genuine.slice(0, 32), ...order),
        Uint8Array.of(...new Uint8Array(32), ...genuine.slice(32)),
        Uint8Array.of(...genuine.slice(0, 32), ...new Uint8Array(length - 32)),
        ...[...genuine.keys()].map((at) => genuine.map((byte, i) => (i === at ? byte ^ 1 : byte))),
      ]
      for (const signature of wrong) {
        expect(await ring.readIdToken(`${head}.${body}.${toBase64url(signature)}`)).toBe(undefined)
      }
      expect(await ring.readIdToken(jws)).not.toBe(undefined)
    },
  )
})
