import {
  calculateJwkThumbprint,
  compactVerify,
  createLocalJWKSet,
  decodeProtectedHeader,
  exportJWK,
  generateKeyPair,
  type JWK,
} from 'jose'
import { describe, expect, it } from 'vitest'
import { openBox, sealBox } from '../../../src/keys/sealed-box.ts'
import { openSigningKey, type StoredKey } from '../../../src/keys/signing-key.ts'
import { house, ISSUER, master, p256Key, random12, rsaKey, withPrivateJwk } from './house.ts'
import { secretOf } from './secrets.ts'

const rsa = await rsaKey()
const otherRsa = await rsaKey()
const pushKey = await p256Key('active', 'push')
const serviceKey = await p256Key('active', 'service')

/** The name by which a Service VDS and the device document know a service key: eight bytes of its thumbprint. */
function shortKid({ kid }: { readonly kid: string }): string {
  return Buffer.from(kid, 'base64url').subarray(0, 8).toString('base64url')
}

/** The private half in a stored key of ours. */
async function privateJwkOf({ kid, purpose, wrappedPrivateKey }: StoredKey): Promise<JWK> {
  const opened = await openBox(master, 'wrap', wrappedPrivateKey, `signing-key/${purpose}/${kid}`)
  return JSON.parse(new TextDecoder().decode(opened))
}

/** An RSA key as the ring would never make it, stored as if it had. */
async function foreignRsaKey(modulusLength: number, exponent: number): Promise<StoredKey> {
  const pair = await crypto.subtle.generateKey(
    {
      name: 'RSASSA-PKCS1-v1_5',
      hash: 'SHA-256',
      modulusLength,
      publicExponent: new Uint8Array(exponent === 3 ? [3] : [1, 0, 1]),
    },
    true,
    ['sign', 'verify'],
  )
  return storedAs(await exportJWK(pair.publicKey), await exportJWK(pair.privateKey))
}

async function storedAs(publicJwk: JWK, privateJwk: JWK): Promise<StoredKey> {
  const kid = await calculateJwkThumbprint(publicJwk)
  return withPrivateJwk({ ...rsa, kid, publicJwk: JSON.stringify(publicJwk) }, privateJwk)
}

describe('318 a stored key that must not sign', () => {
  const broken: Readonly<
    Record<string, readonly [reason: string, make: () => Promise<StoredKey>]>
  > = {
    'does not unwrap': [
      'unwrap_failed',
      async () => ({ ...(await p256Key()), wrappedPrivateKey: '1.AAAA' }),
    ],
    'was wrapped for another purpose': [
      'unwrap_failed',
      async () => ({ ...(await p256Key('active', 'push')), purpose: 'token' }),
    ],
    'was wrapped for another kid': [
      'unwrap_failed',
      async () => ({
        ...(await p256Key()),
        wrappedPrivateKey: (await p256Key()).wrappedPrivateKey,
      }),
    ],
    'has another box of this server in place of its own': [
      'unwrap_failed',
      async () => {
        const key = await p256Key()
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
        const key = await p256Key()
        const box = await sealBox(master, 'wrap', 'no', `signing-key/token/${key.kid}`, random12())
        return { ...key, wrappedPrivateKey: box }
      },
    ],
    'is a P-384 key': [
      'not_p256',
      async () => {
        const pair = await generateKeyPair('ES384', { extractable: true })
        const key = await withPrivateJwk(await p256Key(), await exportJWK(pair.privateKey))
        return { ...key, publicJwk: JSON.stringify(await exportJWK(pair.publicKey)) }
      },
    ],
    'is off the curve': [
      'not_p256',
      async () => {
        const x = Buffer.alloc(32, 1).toString('base64url')
        const publicJwk = { kty: 'EC', crv: 'P-256', x, y: x }
        const kid = await calculateJwkThumbprint(publicJwk)
        const key = { ...(await p256Key()), kid, publicJwk: JSON.stringify(publicJwk) }
        return withPrivateJwk(key, { ...publicJwk, d: x })
      },
    ],
    'holds the public half only': [
      'not_p256',
      async () => {
        const key = await p256Key()
        return withPrivateJwk(key, JSON.parse(key.publicJwk))
      },
    ],
    'is an RSA key': ['not_p256', async () => ({ ...otherRsa, alg: 'ES256' })],
    'says an algorithm we do not have': [
      'unknown_kind',
      async () => ({ ...(await p256Key()), alg: 'ES384' }),
    ],
    'has a broken public half': [
      'not_p256',
      async () => ({ ...(await p256Key()), publicJwk: '{' }),
    ],
    'shows the public half of another key': [
      'kid_mismatch',
      async () => ({ ...(await p256Key()), publicJwk: (await p256Key()).publicJwk }),
    ],
    'has the private half of another key': [
      'halves_differ',
      async () => {
        const pair = await generateKeyPair('ES256', { extractable: true })
        return withPrivateJwk(await p256Key(), await exportJWK(pair.privateKey))
      },
    ],
  }

  it.each(Object.entries(broken))('%s', async (_, [reason, make]) => {
    const key = await make()
    const active = key.alg === 'ES256' ? [] : [{ ...(await p256Key()), wrappedPrivateKey: '' }]
    const { ring, stored } = house([
      key,
      ...active,
      rsa,
      await p256Key('active', 'push'),
      serviceKey,
    ])
    const before = stored.length
    expect(await openSigningKey(master, key)).toEqual({ ok: false, reason })
    expect(await ring.check()).toEqual({ ok: false, reason })
    await expect(ring.signToken({ sub: 'x' })).rejects.toThrow(`ES256 token key: ${reason}`)
    await expect(ring.signIdToken({ sub: 'x' }, 'ES256')).rejects.toThrow(reason)
    await expect(ring.tokenJwks()).rejects.toThrow(reason)
    expect(stored.length).toBe(before)
  })

  const brokenRsa: Readonly<
    Record<string, readonly [reason: string, make: () => Promise<StoredKey>]>
  > = {
    'does not unwrap': ['unwrap_failed', async () => ({ ...rsa, wrappedPrivateKey: '1.AAAA' })],
    'was wrapped for another kid': [
      'unwrap_failed',
      async () => ({ ...rsa, wrappedPrivateKey: otherRsa.wrappedPrivateKey }),
    ],
    'is a P-256 key': ['not_rsa', async () => ({ ...(await p256Key()), alg: 'RS256' })],
    'has 1024 bits': ['not_rsa', () => foreignRsaKey(1024, 65537)],
    'has 2040 bits': ['not_rsa', () => foreignRsaKey(2040, 65537)],
    'has the exponent 3': ['not_rsa', () => foreignRsaKey(2048, 3)],
    'has a modulus that begins with a zero byte': [
      'not_rsa',
      async () => {
        const jwk = await privateJwkOf(rsa)
        const n = Buffer.concat([Buffer.alloc(1), Buffer.from(jwk.n ?? '', 'base64url')])
        const publicJwk = { kty: 'RSA', n: n.toString('base64url'), e: 'AQAB' }
        return storedAs(publicJwk, { ...jwk, ...publicJwk })
      },
    ],
    'has a modulus in plain base64': [
      'not_rsa',
      async () => {
        const { n, ...jwk } = JSON.parse(rsa.publicJwk)
        return { ...rsa, publicJwk: JSON.stringify({ ...jwk, n: `${n}=` }) }
      },
    ],
    'holds the public half only': [
      'not_rsa',
      async () => withPrivateJwk(rsa, JSON.parse(rsa.publicJwk)),
    ],
    'lacks a prime': [
      'not_rsa',
      async () => {
        const { q: _, ...jwk } = await privateJwkOf(rsa)
        return withPrivateJwk(rsa, jwk)
      },
    ],
    'has a prime that is no text': [
      'not_rsa',
      async () => withPrivateJwk(rsa, { ...(await privateJwkOf(rsa)), q: 7 }),
    ],
    'has a small private half in its box': [
      'not_rsa',
      async () => withPrivateJwk(rsa, await privateJwkOf(await foreignRsaKey(1024, 65537))),
    ],
    'has no public half': ['not_rsa', async () => ({ ...rsa, publicJwk: 'null' })],
    'shows the public half of another key': [
      'kid_mismatch',
      async () => ({ ...rsa, publicJwk: otherRsa.publicJwk }),
    ],
    'has the private half of another key': [
      'halves_differ',
      async () => withPrivateJwk(rsa, await privateJwkOf(otherRsa)),
    ],
  }

  it.each(Object.entries(brokenRsa))('of RSA: %s', async (_, [reason, make]) => {
    const key = await make()
    const { ring, stored } = house([await p256Key(), key, pushKey, serviceKey])
    expect(await openSigningKey(master, key)).toEqual({ ok: false, reason })
    expect(await ring.check()).toEqual({ ok: false, reason })
    await expect(ring.signIdToken({}, 'RS256')).rejects.toThrow(`RS256 token key: ${reason}`)
    await expect(ring.signLogoutToken({}, 'RS256')).rejects.toThrow(`RS256 token key: ${reason}`)
    await expect(ring.tokenJwks()).rejects.toThrow(`RS256 token key: ${reason}`)
    // What does not need it goes on.
    expect(await ring.signIdToken({}, 'ES256')).toMatch(/^ey/)
    expect(stored.length).toBe(4)
  })

  it('of RSA: has the secret members of another key beside its own modulus', async () => {
    const { n } = await privateJwkOf(rsa)
    const mixed = await withPrivateJwk(rsa, { ...(await privateJwkOf(otherRsa)), n })
    const opened = await openSigningKey(master, mixed)
    // Some runtimes refuse the import, the others sign with the wrong key: neither may pass.
    expect(opened.ok || ['not_rsa', 'halves_differ'].includes(opened.reason)).toBe(true)
    expect(opened.ok).toBe(false)
  })

  it('of RSA: is said to be for pushes', async () => {
    const { kid, publicJwk } = rsa
    const box = await withPrivateJwk({ ...rsa, purpose: 'push' }, await privateJwkOf(rsa))
    expect(await openSigningKey(master, box)).toEqual({ ok: false, reason: 'unknown_kind' })
    const { ring } = house([box, await p256Key(), await p256Key('active', 'push'), otherRsa])
    expect(JSON.stringify(await ring.deviceJwks())).not.toContain(kid)
    expect(JSON.stringify(await ring.tokenJwks())).not.toContain(JSON.parse(publicJwk).n)
  })

  it('has a d that is not of its own coordinates', async () => {
    const key = await p256Key()
    const pair = await generateKeyPair('ES256', { extractable: true })
    const { d } = await exportJWK(pair.privateKey)
    const mixed = await withPrivateJwk(key, { ...JSON.parse(key.publicJwk), d })
    const opened = await openSigningKey(master, mixed)
    // Some runtimes refuse the import, the others sign with the wrong key: neither may pass.
    expect(opened.ok || ['not_p256', 'halves_differ'].includes(opened.reason)).toBe(true)
    expect(opened.ok).toBe(false)
  })

  it('has its kid twice: neither row is used', async () => {
    const key = await p256Key()
    const push = await p256Key('active', 'push')
    const { ring } = house([key, { ...key, status: 'retired' }, rsa, push])
    expect(await ring.check()).toEqual({ ok: false, reason: 'kid_twice' })
    await expect(ring.signToken({})).rejects.toThrow('kid_twice')
  })

  it('a retired row that somebody else wrote into the database is not published', async () => {
    const pair = await generateKeyPair('ES256', { extractable: true })
    const publicJwk = await exportJWK(pair.publicKey)
    const good = await p256Key()
    const forged: StoredKey = {
      ...(await p256Key('retired')),
      kid: await calculateJwkThumbprint(publicJwk),
      publicJwk: JSON.stringify(publicJwk),
    }
    const { ring } = house([good, forged, rsa, await p256Key('active', 'push')])
    expect((await ring.tokenJwks()).keys.map((key) => key.kid)).toEqual([good.kid, rsa.kid])
    expect(await ring.check()).toEqual({ ok: false, reason: 'unwrap_failed' })
  })

  it('while the database is away the check says so and signing goes on with the last good copy', async () => {
    const { ring, state } = house([rsa])
    const before = await ring.tokenJwks()
    state.fail = true
    state.time += 301
    expect(await ring.tokenJwks()).toEqual(before)
    expect(await ring.check()).toEqual({ ok: false, reason: 'unreadable' })
    expect(await ring.signToken({})).toMatch(/^ey/)
  })

  it('with nothing remembered and the database away nothing is signed', async () => {
    const { ring, state } = house([rsa])
    state.fail = true
    await expect(ring.signToken({})).rejects.toThrow('D1 is away')
  })
})

const KINDS = [
  'push ES256 active',
  'service ES256 active',
  'token ES256 active',
  'token RS256 active',
]

describe('key ring', () => {
  const kinds = (stored: readonly StoredKey[]) =>
    stored.map((key) => `${key.purpose} ${key.alg} ${key.status}`).sort()

  it('makes one key per purpose and algorithm on first need and keeps to it', async () => {
    const { ring, stored } = house()
    expect(await ring.check()).toEqual({ ok: true, value: undefined })
    await ring.signToken({})
    await ring.signIdToken({}, 'RS256')
    await ring.signPush({})
    await ring.signServiceVds()
    expect(kinds(stored)).toEqual(KINDS)
  })

  it('a deployment that has ES256 keys gets the RS256 key beside them', async () => {
    const [token, push] = [await p256Key(), await p256Key('active', 'push')]
    const { ring, stored } = house([token, push])
    const { keys } = await ring.tokenJwks()
    expect(keys.map((key) => key.alg)).toEqual(['ES256', 'RS256'])
    expect(keys[0]?.kid).toBe(token.kid)
    expect(stored.slice(0, 2)).toEqual([token, push])
    expect(kinds(stored)).toEqual(KINDS)
  })

  it('of a missing active key only that one is made: a retired key does not count', async () => {
    const retired = { ...rsa, status: 'retired' } as const
    const { ring, stored } = house([await p256Key(), pushKey, serviceKey, retired])
    const jws = await ring.signIdToken({}, 'RS256')
    expect(stored.length).toBe(5)
    expect(decodeProtectedHeader(jws).kid).toBe(stored[4]?.kid)
    expect((await ring.tokenJwks()).keys.map((key) => key.kid)).toContain(rsa.kid)
  })

  it('signs exactly the claims, each purpose with its own key and type', async () => {
    const { ring } = house([rsa])
    const tokens = createLocalJWKSet({ keys: [...(await ring.tokenJwks()).keys] })
    const pushes = createLocalJWKSet({ keys: [...(await ring.deviceJwks()).keys] })
    const claims = { iss: ISSUER, sub: 's', exp: 5, name: 'Ana' }

    const token = await compactVerify(await ring.signToken(claims), tokens)
    expect(JSON.parse(new TextDecoder().decode(token.payload))).toEqual(claims)
    const [tokenJwk] = (await ring.tokenJwks()).keys
    expect(token.protectedHeader).toEqual({ alg: 'ES256', kid: tokenJwk?.kid, typ: 'JWT' })

    for (const alg of ['ES256', 'RS256'] as const) {
      const jwk = (await ring.tokenJwks()).keys.find((key) => key.alg === alg)
      const idToken = await compactVerify(await ring.signIdToken(claims, alg), tokens)
      expect(JSON.parse(new TextDecoder().decode(idToken.payload))).toEqual(claims)
      expect(idToken.protectedHeader).toEqual({ alg, kid: jwk?.kid, typ: 'JWT' })
      const logout = await compactVerify(await ring.signLogoutToken(claims, alg), tokens)
      expect(JSON.parse(new TextDecoder().decode(logout.payload))).toEqual(claims)
      expect(logout.protectedHeader).toEqual({ alg, kid: jwk?.kid, typ: 'logout+jwt' })
    }

    const push = await ring.signPush({ aud: 'phone' })
    expect((await compactVerify(push, pushes)).protectedHeader.typ).toBe('idtoken-push+jwt')
    await expect(compactVerify(push, tokens)).rejects.toThrow()
  })

  it('169 a Service VDS is signed raw, by its own key, which eight bytes name', async () => {
    const retired = await p256Key('retired', 'service')
    const { ring } = house([await p256Key(), rsa, pushKey, retired, serviceKey])
    const { kid, sign } = await ring.signServiceVds()
    const name = Buffer.from(kid).toString('base64url')
    expect([kid.length, name]).toEqual([8, shortKid(serviceKey)])
    const bytes = new Uint8Array([1, 2, 3])
    const signature = await sign(bytes)
    expect(signature.length).toBe(64)
    const jwk = await ring.serviceVdsKey(name)
    const { kty, crv, x, y } = JSON.parse(serviceKey.publicJwk)
    expect(jwk).toMatchObject({ kty, crv, x, y })
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
    const publicKey = await crypto.subtle.importKey('jwk', { kty, crv, x, y }, algorithm, false, [
      'verify',
    ])
    expect(await crypto.subtle.verify(algorithm, publicKey, signature, bytes)).toBe(true)
    // What was signed before a rotation is still read; a key of another purpose never is.
    expect(await ring.serviceVdsKey(shortKid(retired))).toBeDefined()
    for (const other of [pushKey.kid, shortKid(pushKey), rsa.kid, '', 'AAAA']) {
      expect(await ring.serviceVdsKey(other)).toBeUndefined()
    }
  })

  it('318 a broken service key signs nothing and hides the device document, tokens go on', async () => {
    const broken = { ...serviceKey, wrappedPrivateKey: '1.AAAA' }
    const { ring, stored } = house([await p256Key(), rsa, pushKey, broken])
    expect(await ring.check()).toEqual({ ok: false, reason: 'unwrap_failed' })
    await expect(ring.signServiceVds()).rejects.toThrow('unwrap_failed')
    await expect(ring.deviceJwks()).rejects.toThrow('unwrap_failed')
    expect(await ring.serviceVdsKey(shortKid(serviceKey))).toBeUndefined()
    expect(await ring.signPush({})).toMatch(/^ey/)
    expect((await ring.tokenJwks()).keys).toHaveLength(2)
    expect(stored.length).toBe(4)
  })

  it('323 in every phase of rotation only public members, kid = thumbprint, one purpose per document', async () => {
    const [old, next, push] = [
      await p256Key('retired'),
      await p256Key(),
      await p256Key('active', 'push'),
    ]
    for (const phase of [
      [rsa],
      [{ ...old, status: 'active' } as const, push, rsa],
      [old, push, rsa, next],
      [{ ...rsa, status: 'retired' } as const, otherRsa, next, push],
      [next, push, rsa],
    ]) {
      const { ring } = house([...phase])
      const jwks = await ring.tokenJwks()
      const kidsOf = (alg: string) =>
        phase.filter((key) => key.purpose === 'token' && key.alg === alg).map((key) => key.kid)
      const shownOf = (alg: string) =>
        jwks.keys.filter((key) => key.alg === alg).map((key) => key.kid)
      if (kidsOf('ES256').length > 0) expect(shownOf('ES256')).toEqual(kidsOf('ES256'))
      expect(shownOf('RS256')).toEqual(kidsOf('RS256'))
      expect(jwks.keys[0]?.alg).toBe('ES256')
      const device = await ring.deviceJwks()
      expect(device.keys.map((key) => key.alg)).toEqual(['ES256', 'ES256'])
      // Push keys first; what signs a Service VDS is shown under the eight bytes that a Service VDS can say.
      expect(device.keys.map(({ kid }) => kid.length)).toEqual([43, 11])
      for (const jwk of [...jwks.keys, ...device.keys]) {
        const text = expect.stringMatching(/^[A-Za-z0-9_-]+$/)
        expect(jwk).toEqual(
          jwk.alg === 'ES256'
            ? { kty: 'EC', crv: 'P-256', x: text, y: text, kid: text, use: 'sig', alg: 'ES256' }
            : { kty: 'RSA', n: text, e: 'AQAB', kid: text, use: 'sig', alg: 'RS256' },
        )
        const thumbprint = await calculateJwkThumbprint({ ...jwk })
        const isService = jwk.kid.length === 11
        expect(jwk.kid).toBe(isService ? shortKid({ kid: thumbprint }) : thumbprint)
      }
      expect(jwks.keys.filter((key) => device.keys.some((other) => other.kid === key.kid))).toEqual(
        [],
      )
      for (const alg of ['ES256', 'RS256'] as const) {
        const { kid } = decodeProtectedHeader(await ring.signIdToken({}, alg))
        const active = phase.find(
          (key) => key.purpose === 'token' && key.alg === alg && key.status === 'active',
        )
        expect(kid).toBe(active?.kid ?? shownOf(alg)[0])
      }
    }
  })

  it('323 members that the stored public half must not have are not published', async () => {
    const stored = [await p256Key(), rsa].map((key) => {
      const more = { d: 'AA', k: 'AA', p: 'AA', qi: 'AA', oth: [], x5u: 'http://x', y: 'AA' }
      return { ...key, publicJwk: JSON.stringify({ ...more, ...JSON.parse(key.publicJwk) }) }
    })
    const { keys } = await house(stored).ring.tokenJwks()
    expect(keys.map((key) => Object.keys(key).sort())).toEqual([
      ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'],
      ['alg', 'e', 'kid', 'kty', 'n', 'use'],
    ])
  })

  it('321 after a rotation of the secret the keys still open while the old version is listed', async () => {
    const { ring, ringOf } = house([rsa])
    const before = await ring.tokenJwks()
    expect(await ringOf(secretOf([2, 2], [1, 1])).tokenJwks()).toEqual(before)
    const without = ringOf(secretOf([2, 2]))
    expect(await without.check()).toEqual({ ok: false, reason: 'unwrap_failed' })
    await expect(without.signToken({})).rejects.toThrow('unwrap_failed')
  })

  it('327 reads the database once a minute', async () => {
    const { ring, state } = house([await p256Key(), rsa, pushKey, serviceKey])
    for (let i = 0; i < 500; i++) await ring.tokenJwks()
    await ring.signToken({})
    expect(state.loads).toBe(1)
    state.time += 59
    await ring.tokenJwks()
    expect(state.loads).toBe(1)
    state.time += 1
    await Promise.all([ring.tokenJwks(), ring.deviceJwks(), ring.signToken({})])
    expect(state.loads).toBe(2)
  })

  it('looks again sooner after a fault, so that a repair is noticed', async () => {
    const key = await p256Key()
    const { ring, state, stored } = house([
      { ...key, wrappedPrivateKey: '' },
      rsa,
      pushKey,
      serviceKey,
    ])
    await expect(ring.signToken({})).rejects.toThrow('unwrap_failed')
    stored[0] = key
    state.time += 30
    expect(await ring.signToken({})).toMatch(/^ey/)
  })
})
