import {
  calculateJwkThumbprint,
  compactVerify,
  createLocalJWKSet,
  exportJWK,
  generateKeyPair,
} from 'jose'
import { describe, expect, it } from 'vitest'
import { type KeyRing, type KeySnapshot, keyRing } from '../../../src/keys/key-ring.ts'
import type { MasterSecret } from '../../../src/keys/master-secret.ts'
import { sealBox } from '../../../src/keys/sealed-box.ts'
import {
  makeSigningKey,
  openSigningKey,
  type StoredKey,
  wrapPrivateJwk,
} from '../../../src/keys/signing-key.ts'
import { secretOf } from './secrets.ts'

const master = secretOf([1, 1])
let drawn = 0

/** Never the same twelve bytes twice. */
function random12(): Uint8Array {
  drawn += 1
  return new Uint8Array(12).fill(drawn % 256).with(0, drawn >> 8)
}

/** A table of keys in memory with the rule of the unique index, and a ring over it. */
function house(stored: StoredKey[] = [], secret: MasterSecret = master) {
  const state = { time: 1_000_000, loads: 0, fail: false }
  const memory = new Map<string, KeySnapshot>()
  const ringOf = (of: MasterSecret): KeyRing =>
    keyRing({
      master: of,
      issuer: 'https://id.example.com',
      now: () => state.time,
      load: async () => {
        state.loads += 1
        if (state.fail) throw new Error('D1 is away')
        return [...stored]
      },
      insert: async (key) => {
        const taken = stored.some(
          (each) => each.purpose === key.purpose && each.status === 'active',
        )
        if (!taken) stored.push(key)
      },
      random12,
      memory,
    })
  return { state, stored, ring: ringOf(secret), ringOf }
}

async function tokenKey(
  status: 'active' | 'retired' = 'active',
  purpose: 'token' | 'push' = 'token',
) {
  return { ...(await makeSigningKey(master, purpose, random12(), 1)), status }
}

/** A key whose private half was replaced; the box is as genuine as any. */
async function withPrivateJwk(key: StoredKey, privateJwk: object): Promise<StoredKey> {
  const wrappedPrivateKey = await wrapPrivateJwk(
    master,
    key.purpose,
    key.kid,
    privateJwk,
    random12(),
  )
  return { ...key, wrappedPrivateKey }
}

describe('318 a stored key that must not sign', () => {
  const broken: Readonly<
    Record<string, readonly [reason: string, make: () => Promise<StoredKey>]>
  > = {
    'does not unwrap': [
      'unwrap_failed',
      async () => ({ ...(await tokenKey()), wrappedPrivateKey: '1.AAAA' }),
    ],
    'was wrapped for another purpose': [
      'unwrap_failed',
      async () => ({ ...(await tokenKey('active', 'push')), purpose: 'token' }),
    ],
    'was wrapped for another kid': [
      'unwrap_failed',
      async () => ({
        ...(await tokenKey()),
        wrappedPrivateKey: (await tokenKey()).wrappedPrivateKey,
      }),
    ],
    'has another box of this server in place of its own': [
      'unwrap_failed',
      async () => {
        const key = await tokenKey()
        const box = await sealBox(
          master,
          'cookie',
          '{}',
          `signing-key/token/${key.kid}`,
          random12(),
        )
        return { ...key, wrappedPrivateKey: box }
      },
    ],
    'has no JSON inside': [
      'not_p256',
      async () => {
        const key = await tokenKey()
        const box = await sealBox(master, 'wrap', 'no', `signing-key/token/${key.kid}`, random12())
        return { ...key, wrappedPrivateKey: box }
      },
    ],
    'is a P-384 key': [
      'not_p256',
      async () => {
        const pair = await generateKeyPair('ES384', { extractable: true })
        const key = await withPrivateJwk(await tokenKey(), await exportJWK(pair.privateKey))
        return { ...key, publicJwk: JSON.stringify(await exportJWK(pair.publicKey)) }
      },
    ],
    'is off the curve': [
      'not_p256',
      async () => {
        const x = Buffer.alloc(32, 1).toString('base64url')
        const publicJwk = { kty: 'EC', crv: 'P-256', x, y: x }
        const kid = await calculateJwkThumbprint(publicJwk)
        const key = { ...(await tokenKey()), kid, publicJwk: JSON.stringify(publicJwk) }
        return withPrivateJwk(key, { ...publicJwk, d: x })
      },
    ],
    'holds the public half only': [
      'not_p256',
      async () => {
        const key = await tokenKey()
        return withPrivateJwk(key, JSON.parse(key.publicJwk))
      },
    ],
    'says another algorithm': ['not_p256', async () => ({ ...(await tokenKey()), alg: 'RS256' })],
    'has a broken public half': [
      'not_p256',
      async () => ({ ...(await tokenKey()), publicJwk: '{' }),
    ],
    'shows the public half of another key': [
      'kid_mismatch',
      async () => ({ ...(await tokenKey()), publicJwk: (await tokenKey()).publicJwk }),
    ],
    'has the private half of another key': [
      'halves_differ',
      async () => {
        const pair = await generateKeyPair('ES256', { extractable: true })
        return withPrivateJwk(await tokenKey(), await exportJWK(pair.privateKey))
      },
    ],
  }

  it.each(Object.entries(broken))('%s', async (_, [reason, make]) => {
    const key = await make()
    const { ring, stored } = house([key, await tokenKey('active', 'push')])
    expect(await openSigningKey(master, key)).toEqual({ ok: false, reason })
    expect(await ring.check()).toEqual({ ok: false, reason })
    await expect(ring.signToken({ sub: 'x' })).rejects.toThrow(`token key: ${reason}`)
    await expect(ring.tokenJwks()).rejects.toThrow(reason)
    expect(stored.length).toBe(2)
  })

  it('has a d that is not of its own coordinates', async () => {
    const key = await tokenKey()
    const pair = await generateKeyPair('ES256', { extractable: true })
    const { d } = await exportJWK(pair.privateKey)
    const mixed = await withPrivateJwk(key, { ...JSON.parse(key.publicJwk), d })
    const opened = await openSigningKey(master, mixed)
    // Some runtimes refuse the import, the others sign with the wrong key: neither may pass.
    expect(opened.ok || ['not_p256', 'halves_differ'].includes(opened.reason)).toBe(true)
    expect(opened.ok).toBe(false)
  })

  it('has its kid twice: neither row is used', async () => {
    const key = await tokenKey()
    const { ring } = house([key, { ...key, status: 'retired' }, await tokenKey('active', 'push')])
    expect(await ring.check()).toEqual({ ok: false, reason: 'kid_twice' })
    await expect(ring.signToken({})).rejects.toThrow('kid_twice')
  })

  it('a retired row that somebody else wrote into the database is not published', async () => {
    const pair = await generateKeyPair('ES256', { extractable: true })
    const publicJwk = await exportJWK(pair.publicKey)
    const good = await tokenKey()
    const forged: StoredKey = {
      ...(await tokenKey('retired')),
      kid: await calculateJwkThumbprint(publicJwk),
      publicJwk: JSON.stringify(publicJwk),
    }
    const { ring } = house([good, forged, await tokenKey('active', 'push')])
    expect((await ring.tokenJwks()).keys.map((key) => key.kid)).toEqual([good.kid])
    expect(await ring.check()).toEqual({ ok: false, reason: 'unwrap_failed' })
  })

  it('while the database is away the check says so and signing goes on with the last good copy', async () => {
    const { ring, state } = house()
    const before = await ring.tokenJwks()
    state.fail = true
    state.time += 301
    expect(await ring.tokenJwks()).toEqual(before)
    expect(await ring.check()).toEqual({ ok: false, reason: 'unreadable' })
    expect(await ring.signToken({})).toMatch(/^ey/)
  })

  it('with nothing remembered and the database away nothing is signed', async () => {
    const { ring, state } = house()
    state.fail = true
    await expect(ring.signToken({})).rejects.toThrow('D1 is away')
  })
})

describe('key ring', () => {
  it('makes one key per purpose on first need and keeps to it', async () => {
    const { ring, stored } = house()
    expect(await ring.check()).toEqual({ ok: true, value: undefined })
    await ring.signToken({})
    await ring.signPush({})
    expect(stored.map((key) => key.purpose).sort()).toEqual(['push', 'token'])
  })

  it('signs exactly the claims, each purpose with its own key and type', async () => {
    const { ring } = house()
    const tokens = createLocalJWKSet({ keys: [...(await ring.tokenJwks()).keys] })
    const pushes = createLocalJWKSet({ keys: [...(await ring.deviceJwks()).keys] })
    const claims = { iss: 'https://id.example.com', sub: 's', exp: 5, name: 'Ana' }

    const token = await compactVerify(await ring.signToken(claims), tokens)
    expect(JSON.parse(new TextDecoder().decode(token.payload))).toEqual(claims)
    const [tokenJwk] = (await ring.tokenJwks()).keys
    expect(token.protectedHeader).toEqual({ alg: 'ES256', kid: tokenJwk?.kid, typ: 'JWT' })

    const push = await ring.signPush({ aud: 'phone' })
    expect((await compactVerify(push, pushes)).protectedHeader.typ).toBe('idtoken-push+jwt')
    await expect(compactVerify(push, tokens)).rejects.toThrow()
  })

  it('323 in every phase of rotation only public members, kid = thumbprint, one purpose per document', async () => {
    const [old, next, push] = [
      await tokenKey('retired'),
      await tokenKey(),
      await tokenKey('active', 'push'),
    ]
    for (const phase of [
      [],
      [{ ...old, status: 'active' } as const, push],
      [old, next, push],
      [next, push],
    ]) {
      const { ring } = house([...phase])
      const jwks = await ring.tokenJwks()
      const wanted = phase.filter((key) => key.purpose === 'token').map((key) => key.kid)
      if (wanted.length > 0) expect(jwks.keys.map((key) => key.kid)).toEqual(wanted)
      const device = await ring.deviceJwks()
      for (const jwk of [...jwks.keys, ...device.keys]) {
        expect(Object.keys(jwk).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'])
        expect({ ...jwk, x: '', y: '', kid: '' }).toEqual({
          kty: 'EC',
          crv: 'P-256',
          x: '',
          y: '',
          kid: '',
          use: 'sig',
          alg: 'ES256',
        })
        expect(jwk.kid).toBe(await calculateJwkThumbprint({ ...jwk }))
      }
      expect(jwks.keys.filter((key) => device.keys.some((other) => other.kid === key.kid))).toEqual(
        [],
      )
      const header = JSON.parse(
        Buffer.from((await ring.signToken({})).split('.')[0] ?? '', 'base64url').toString(),
      )
      const active = phase.find((key) => key.purpose === 'token' && key.status === 'active')
      expect(header.kid).toBe(active?.kid ?? jwks.keys[0]?.kid)
    }
  })

  it('323 members that the stored public half must not have are not published', async () => {
    const key = await tokenKey()
    const publicJwk = JSON.stringify({
      ...JSON.parse(key.publicJwk),
      d: 'AA',
      k: 'AA',
      x5u: 'http://x',
    })
    const { ring } = house([{ ...key, publicJwk }])
    expect(JSON.stringify(await ring.tokenJwks())).not.toMatch(/"(d|k|x5u)"/)
  })

  it('321 after a rotation of the secret the keys still open while the old version is listed', async () => {
    const { ring, ringOf } = house()
    const before = await ring.tokenJwks()
    expect(await ringOf(secretOf([2, 2], [1, 1])).tokenJwks()).toEqual(before)
    const without = ringOf(secretOf([2, 2]))
    expect(await without.check()).toEqual({ ok: false, reason: 'unwrap_failed' })
    await expect(without.signToken({})).rejects.toThrow('unwrap_failed')
  })

  it('327 reads the database once in 300 seconds', async () => {
    const { ring, state } = house([await tokenKey(), await tokenKey('active', 'push')])
    for (let i = 0; i < 500; i++) await ring.tokenJwks()
    await ring.signToken({})
    expect(state.loads).toBe(1)
    state.time += 299
    await ring.tokenJwks()
    expect(state.loads).toBe(1)
    state.time += 1
    await Promise.all([ring.tokenJwks(), ring.deviceJwks(), ring.signToken({})])
    expect(state.loads).toBe(2)
  })

  it('looks again sooner after a fault, so that a repair is noticed', async () => {
    const key = await tokenKey()
    const { ring, state, stored } = house([
      { ...key, wrappedPrivateKey: '' },
      await tokenKey('active', 'push'),
    ])
    await expect(ring.signToken({})).rejects.toThrow('unwrap_failed')
    stored[0] = key
    state.time += 30
    expect(await ring.signToken({})).toMatch(/^ey/)
  })
})
