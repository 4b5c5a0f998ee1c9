import { secp256k1 } from '@noble/curves/secp256k1.js'
import fc from 'fast-check'
import { CompactEncrypt, CompactSign, exportJWK, exportSPKI, generateKeyPair, type JWK } from 'jose'
import { describe, expect, it, vi } from 'vitest'
import { fromBase64url, sha256, toBase64url, utf8 } from '../../../src/bytes.ts'
import { openBox } from '../../../src/keys/sealed-box.ts'
import { openSigningKey, type SigningKey, type StoredKey } from '../../../src/keys/signing-key.ts'
import { house, ISSUER, master, NOW, p256Key, rsaKey } from './house.ts'

/** The order of P-256. */
const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n

const rows = {
  es256: await p256Key(),
  retired: await p256Key('retired'),
  rs256: await rsaKey(),
  push: await p256Key('active', 'push'),
}
const keys = {
  es256: await opened(rows.es256),
  retired: await opened(rows.retired),
  rs256: await opened(rows.rs256),
  push: await opened(rows.push),
}
const { ring, state } = house(Object.values(rows))
const stranger = await generateKeyPair('ES256', { extractable: true })
const strangerJwk = await exportJWK(stranger.publicKey)

const CLAIMS = { iss: ISSUER, sub: 's', aud: 'shop', iat: NOW - 10, exp: NOW + 3590, nonce: 'n' }

async function opened(row: StoredKey): Promise<SigningKey> {
  const key = await openSigningKey(master, row)
  if (!key.ok) throw new Error(key.reason)
  return key.value
}

/** The private JWK behind `row`, to sign with it in ways that the ring does not offer. */
async function privateJwkOf({ kid, purpose, wrappedPrivateKey }: StoredKey): Promise<JWK> {
  const box = await openBox(master, 'wrap', wrappedPrivateKey, `signing-key/${purpose}/${kid}`)
  return JSON.parse(new TextDecoder().decode(box))
}

const segment = (value: unknown) =>
  toBase64url(utf8(typeof value === 'string' ? value : JSON.stringify(value)))
const headerOf = (key: SigningKey) => ({ alg: key.alg, kid: key.publicJwk.kid, typ: 'JWT' })

interface Forgery {
  /** Whose private half signs; our own ES256 key unless said. */
  readonly by?: SigningKey
  /** Members that replace those of the true header; `undefined` takes one out. */
  readonly header?: Readonly<Record<string, unknown>>
  /** Likewise for the payload; a text is the payload itself. */
  readonly payload?: Readonly<Record<string, unknown>> | string
  /** Another way to sign. */
  readonly sign?: (signed: Uint8Array<ArrayBuffer>) => Promise<Uint8Array> | Uint8Array
}

/** A token whose signature is genuine unless `sign` says otherwise: whatever refuses it is the thing under test. */
async function forge({ by = keys.es256, header, payload, sign }: Forgery = {}): Promise<string> {
  const head = segment({ ...headerOf(by), ...header })
  const body = segment(typeof payload === 'string' ? payload : { ...CLAIMS, ...payload })
  const signed = utf8(`${head}.${body}`)
  return `${head}.${body}.${toBase64url(await (sign ?? signBy(by))(signed))}`
}

function signBy(by: SigningKey) {
  const algorithm =
    by.alg === 'ES256' ? { name: 'ECDSA', hash: 'SHA-256' } : { name: 'RSASSA-PKCS1-v1_5' }
  return async (signed: Uint8Array<ArrayBuffer>) =>
    new Uint8Array(await crypto.subtle.sign(algorithm, by.privateKey, signed))
}

async function expectRefused(jws: string): Promise<void> {
  expect(await ring.readIdToken(jws)).toBe(undefined)
}

const genuine = await forge()

type Cases = readonly (readonly [what: string, make: () => Promise<string>])[]

describe('id_token_hint: a genuine one', () => {
  it.each([
    ['ES256', keys.es256],
    ['RS256', keys.rs256],
    ['a retired key', keys.retired],
  ] as const)('by %s gives its payload', async (_, by) => {
    expect(await ring.readIdToken(await forge({ by }))).toEqual(CLAIMS)
  })

  it.each(['ES256', 'RS256'] as const)('is what signIdToken makes with %s', async (alg) => {
    expect(await ring.readIdToken(await ring.signIdToken(CLAIMS, alg))).toEqual(CLAIMS)
  })

  it('097 counts when it is expired, even for years', async () => {
    const old = { iat: 10, exp: 20 }
    expect(await ring.readIdToken(await forge({ payload: old }))).toEqual({ ...CLAIMS, ...old })
  })

  it('325 251 is refused at once when its key was removed, though the ring remembers it', async () => {
    const jws = await forge({ by: keys.retired })
    state.removed.push(keys.retired.publicJwk.kid)
    await expectRefused(jws)
    state.removed.pop()
    expect(await ring.readIdToken(jws)).toEqual(CLAIMS)
  })

  it('is refused by the ring of another deployment', async () => {
    const other = house([await p256Key(), rows.rs256, rows.push]).ring
    expect(await other.readIdToken(await forge())).toBe(undefined)
  })

  it('asks no database and no network, whatever it says', async () => {
    const fetched = vi.spyOn(globalThis, 'fetch')
    await ring.readIdToken(await forge())
    const before = state.loads
    for (const kid of ['../../x', "' OR 1=1--", 'https://evil.example/k', '\n{"at":1}']) {
      await expectRefused(await forge({ header: { kid } }))
    }
    await expectRefused(await forge({ header: { jku: `${ISSUER}/.well-known/jwks.json` } }))
    expect([state.loads, fetched.mock.calls]).toEqual([before, []])
    fetched.mockRestore()
  })
})

describe('109 id_token_hint: alg', () => {
  const none = async () => new Uint8Array()
  const cases: Cases = ['none', 'None', 'nOnE', '', undefined, null, ['ES256'], 'es256'].flatMap(
    (alg) => [
      [`${JSON.stringify(alg)} unsigned`, () => forge({ header: { alg }, sign: none })] as const,
      [`${JSON.stringify(alg)} signed`, () => forge({ header: { alg } })] as const,
    ],
  )
  it.each(cases)('%s is refused', async (_, make) => expectRefused(await make()))

  it('of the true header without a signature is refused', async () => {
    await expectRefused(await forge({ sign: none }))
    const [head, body] = (await forge()).split('.')
    await expectRefused(`${head}.${body}`)
  })
})

describe('110 id_token_hint: HS256 with the public key as secret', () => {
  const hmacBy = (secret: Uint8Array<ArrayBuffer>) => async (signed: Uint8Array<ArrayBuffer>) => {
    const algorithm = { name: 'HMAC', hash: 'SHA-256' }
    const key = await crypto.subtle.importKey('raw', secret, algorithm, false, ['sign'])
    return new Uint8Array(await crypto.subtle.sign('HMAC', key, signed))
  }
  const extractable = async (by: SigningKey) => {
    const algorithm =
      by.alg === 'ES256'
        ? { name: 'ECDSA', namedCurve: 'P-256' }
        : { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
    return crypto.subtle.importKey('jwk', { ...by.publicJwk }, algorithm, true, ['verify'])
  }
  const secrets = {
    PEM: async (by: SigningKey) => utf8(await exportSPKI(await extractable(by))),
    'PEM with a final newline': async (by: SigningKey) =>
      utf8(`${await exportSPKI(await extractable(by))}\n`),
    DER: async (by: SigningKey) =>
      new Uint8Array(await crypto.subtle.exportKey('spki', await extractable(by))),
    'JWK text': async (by: SigningKey) => utf8(JSON.stringify(by.publicJwk)),
    'stored JWK text': async (by: SigningKey) =>
      utf8(by === keys.es256 ? rows.es256.publicJwk : rows.rs256.publicJwk),
  }
  const cases: Cases = [keys.es256, keys.rs256].flatMap((by) =>
    Object.entries(secrets).flatMap(([form, secretOf]) =>
      [{ alg: 'HS256' }, {}].map(
        (header) =>
          [
            `${form} of ${by.alg}, header ${JSON.stringify(header)}`,
            async () => forge({ by, header, sign: hmacBy(await secretOf(by)) }),
          ] as const,
      ),
    ),
  )
  it.each(cases)('%s is refused', async (_, make) => expectRefused(await make()))
})

describe('111 id_token_hint: the algorithm is the one of the key record', () => {
  const underAlgorithm =
    (
      row: StoredKey,
      imported: RsaHashedImportParams,
      signing: AlgorithmIdentifier | RsaPssParams,
    ) =>
    async (signed: Uint8Array<ArrayBuffer>) => {
      const { alg: _, ...jwk } = await privateJwkOf(row)
      const key = await crypto.subtle.importKey('jwk', jwk, imported, false, ['sign'])
      return new Uint8Array(await crypto.subtle.sign(signing, key, signed))
    }
  const pss = underAlgorithm(
    rows.rs256,
    { name: 'RSA-PSS', hash: 'SHA-256' },
    { name: 'RSA-PSS', saltLength: 32 },
  )
  const rs384 = underAlgorithm(
    rows.rs256,
    { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-384' },
    { name: 'RSASSA-PKCS1-v1_5' },
  )
  const es384 = async (signed: Uint8Array<ArrayBuffer>) =>
    new Uint8Array(
      await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-384' }, keys.es256.privateKey, signed),
    )
  const es256k = async (signed: Uint8Array<ArrayBuffer>) => {
    const d = fromBase64url((await privateJwkOf(rows.es256)).d ?? '') ?? new Uint8Array()
    return secp256k1.sign(await sha256(signed), d, { prehash: false })
  }
  const eddsa = async (signed: Uint8Array<ArrayBuffer>) => {
    const pair = await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify'])
    if (!('privateKey' in pair)) throw new Error('no pair')
    return new Uint8Array(await crypto.subtle.sign('Ed25519', pair.privateKey, signed))
  }
  const cases: Cases = [
    ['ES384', () => forge({ header: { alg: 'ES384' }, sign: es384 })],
    ['ES384 under the true header', () => forge({ sign: es384 })],
    ['ES256K', () => forge({ header: { alg: 'ES256K' }, sign: es256k })],
    ['ES256K under the true header', () => forge({ sign: es256k })],
    ['EdDSA', () => forge({ header: { alg: 'EdDSA' }, sign: eddsa })],
    ['PS256', () => forge({ by: keys.rs256, header: { alg: 'PS256' }, sign: pss })],
    ['PS256 under the true header', () => forge({ by: keys.rs256, sign: pss })],
    ['RS384 under the true header', () => forge({ by: keys.rs256, sign: rs384 })],
    [
      'RS256 by the RSA key with the kid of the P-256 key',
      () => forge({ by: keys.rs256, header: { kid: keys.es256.publicJwk.kid } }),
    ],
    ['RS256 over a signature of the P-256 key', () => forge({ header: { alg: 'RS256' } })],
    [
      'ES256 with the kid of the RSA key',
      () => forge({ header: { kid: keys.rs256.publicJwk.kid } }),
    ],
    [
      'ES256 over a signature of the RSA key',
      () => forge({ by: keys.rs256, header: { alg: 'ES256' } }),
    ],
    ['the true header of the other key', () => forge({ sign: signBy(keys.rs256) })],
  ]
  it.each(cases)('%s is refused', async (_, make) => expectRefused(await make()))
})

describe('112 id_token_hint: kid', () => {
  const kids: readonly (readonly [string, unknown])[] = [
    ['absent', undefined],
    ['unknown', 'A'.repeat(43)],
    ['cut short', keys.es256.publicJwk.kid.slice(1)],
    ['of another token key', keys.retired.publicJwk.kid],
    ['of the push key', keys.push.publicJwk.kid],
    ['a path', '../../x'],
    ['SQL', "' OR 1=1--"],
    ['of 10 KiB', 'k'.repeat(10_240)],
    ['an array', [keys.es256.publicJwk.kid]],
    ['null', null],
    ['a number', 1],
    ['with a line feed', `${keys.es256.publicJwk.kid}\n`],
  ]
  it.each(kids)('%s is refused', async (_, kid) => expectRefused(await forge({ header: { kid } })))

  it('true, of a token key, but signed by the push key is refused', async () => {
    await expectRefused(await forge({ sign: signBy(keys.push) }))
  })

  it('of the push key with its own signature is refused', async () => {
    await expectRefused(await forge({ by: keys.push }))
  })
})

describe('113 id_token_hint: a key or an address in the header', () => {
  const byStranger = async (signed: Uint8Array<ArrayBuffer>) =>
    new Uint8Array(
      await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, stranger.privateKey, signed),
    )
  const headers: readonly (readonly [string, Readonly<Record<string, unknown>>])[] = [
    ['jku of a stranger', { jku: 'https://evil.example/jwks.json' }],
    ['jku of our own', { jku: `${ISSUER}/.well-known/jwks.json` }],
    ['x5u', { x5u: 'https://evil.example/cert.pem' }],
    ['x5c', { x5c: ['MIIB'] }],
    ['jwk of a stranger', { jwk: strangerJwk }],
    ['jwk of our own', { jwk: keys.es256.publicJwk }],
  ]
  it.each(headers)('%s is refused, whoever signed', async (_, header) => {
    const fetched = vi.spyOn(globalThis, 'fetch')
    await expectRefused(await forge({ header }))
    await expectRefused(await forge({ header, sign: byStranger }))
    await expectRefused(await forge({ header: { ...header, kid: undefined }, sign: byStranger }))
    expect(fetched).not.toHaveBeenCalled()
    fetched.mockRestore()
  })

  it('nothing of it, but the signature of a stranger, is refused', async () => {
    await expectRefused(await forge({ sign: byStranger }))
  })
})

describe('114 id_token_hint: crit and b64', () => {
  it.each([
    ['an unknown name', { crit: ['x'], x: 1 }],
    ['a known name', { crit: ['b64'], b64: true }],
    ['its own alg', { crit: ['alg'] }],
    ['an empty list', { crit: [] }],
    ['no list', { crit: 'exp' }],
    ['b64 false alone', { b64: false }],
  ])('%s is refused', async (_, header) => expectRefused(await forge({ header })))

  it('a payload that is not encoded is refused', async () => {
    const jws = await new CompactSign(utf8('{"iss":1}'))
      .setProtectedHeader({ ...headerOf(keys.es256), b64: true, crit: ['b64'] })
      .sign(keys.es256.privateKey)
    await expectRefused(jws)
    const head = segment({ ...headerOf(keys.es256), b64: false, crit: ['b64'] })
    const raw = JSON.stringify(CLAIMS).replaceAll('.', '-')
    const signature = await signBy(keys.es256)(utf8(`${head}.${raw}`))
    await expectRefused(`${head}.${raw}.${toBase64url(signature)}`)
  })
})

describe('115 id_token_hint: typ', () => {
  it.each([
    'at+jwt',
    'logout+jwt',
    'dpop+jwt',
    'idtoken-push+jwt',
    'idtoken-grant+jwt',
    'jwt',
    'JWT ',
    'application/jwt',
    '',
    undefined,
    null,
    ['JWT'],
  ])('%j is refused', async (typ) => expectRefused(await forge({ header: { typ } })))

  it('a logout token of ours is refused', async () => {
    for (const alg of ['ES256', 'RS256'] as const) {
      await expectRefused(await ring.signLogoutToken(CLAIMS, alg))
    }
  })

  it('a push of ours is refused', async () => expectRefused(await ring.signPush(CLAIMS)))

  it('a device statement is refused', async () => {
    const statement = { aud: ISSUER, iat: NOW, tokenId: '3f6d1c1e-0000-4000-8000-000000000000' }
    for (const payload of [statement, CLAIMS]) {
      const jws = await new CompactSign(utf8(JSON.stringify(payload)))
        .setProtectedHeader({ alg: 'ES256', kid: 'A'.repeat(43), typ: 'idtoken-pending+jwt' })
        .sign(stranger.privateKey)
      await expectRefused(jws)
    }
  })
})

describe('116 id_token_hint: size', () => {
  const filled = (length: number) => forge({ payload: { filling: 'x'.repeat(length) } })

  it('of 16 KiB is read, of one character more refused', async () => {
    const empty = (await filled(0)).length
    const room = Math.floor(((16 * 1024 - empty) * 3) / 4)
    const largest = await filled(room)
    expect(largest.length).toBeGreaterThan(16 * 1024 - 4)
    expect(largest.length).toBeLessThanOrEqual(16 * 1024)
    expect(await ring.readIdToken(largest)).toMatchObject(CLAIMS)
    const larger = await filled(room + 4)
    expect(larger.length).toBeGreaterThan(16 * 1024)
    await expectRefused(larger)
  })

  it('of 64 KiB, or with a header of 16 KiB, is refused before anything is decoded', async () => {
    const large = [await filled(64 * 1024), await forge({ header: { x: 'x'.repeat(16 * 1024) } })]
    const verify = vi.spyOn(crypto.subtle, 'verify')
    const parse = vi.spyOn(JSON, 'parse')
    for (const jws of [...large, '.'.repeat(65_536), 'A'.repeat(65_536)]) await expectRefused(jws)
    expect([verify.mock.calls.length, parse.mock.calls.length]).toEqual([0, 0])
    vi.restoreAllMocks()
  })
})

describe('118 120 id_token_hint: signature', () => {
  const number = (value: bigint) => Buffer.from(value.toString(16).padStart(64, '0'), 'hex')
  const pair = (r: bigint, s: bigint) => async () => Buffer.concat([number(r), number(s)])
  const raw = signBy(keys.es256)
  const der = async (signed: Uint8Array<ArrayBuffer>) => {
    const integers = [0, 32].map(async (at) => {
      const half = (await raw(signed)).slice(at, at + 32)
      const bytes = [...((half[0] ?? 0) >= 0x80 ? [0] : []), ...half]
      return [2, bytes.length, ...bytes]
    })
    const inner = (await Promise.all(integers)).flat()
    return Uint8Array.from([0x30, inner.length, ...inner])
  }
  const cut = (length: number) => async (signed: Uint8Array<ArrayBuffer>) => {
    const whole = new Uint8Array(Math.max(length, 64))
    whole.set(await raw(signed))
    return whole.slice(0, length)
  }
  const rsa = signBy(keys.rs256)
  const modulus = Buffer.from(
    keys.rs256.publicJwk.kty === 'RSA' ? keys.rs256.publicJwk.n : '',
    'base64url',
  )
  const cases: Cases = [
    ['118 DER', () => forge({ sign: der })],
    ...[63, 65, 0, 96, 32, 128].map(
      (length) => [`118 ${length} bytes`, () => forge({ sign: cut(length) })] as const,
    ),
    ['120 r = 0', () => forge({ sign: pair(0n, 1n) })],
    ['120 s = 0', () => forge({ sign: pair(1n, 0n) })],
    ['120 r = s = 0', () => forge({ sign: pair(0n, 0n) })],
    ['120 r = n', () => forge({ sign: pair(N, 1n) })],
    ['120 s = n', () => forge({ sign: pair(1n, N) })],
    ['118 RS256, 0 bytes', () => forge({ by: keys.rs256, sign: async () => new Uint8Array() })],
    [
      '118 RS256, 255 bytes',
      () => forge({ by: keys.rs256, sign: async (signed) => (await rsa(signed)).slice(1) }),
    ],
    [
      '118 RS256, a zero byte before',
      () =>
        forge({
          by: keys.rs256,
          sign: async (signed) => Buffer.concat([Buffer.alloc(1), await rsa(signed)]),
        }),
    ],
    [
      '118 RS256, a zero byte after',
      () =>
        forge({
          by: keys.rs256,
          sign: async (signed) => Buffer.concat([await rsa(signed), Buffer.alloc(1)]),
        }),
    ],
    ['120 RS256, zero', () => forge({ by: keys.rs256, sign: () => new Uint8Array(256) })],
    ['120 RS256, the modulus', () => forge({ by: keys.rs256, sign: () => modulus })],
  ]
  it.each(cases)('%s is refused', async (_, make) => expectRefused(await make()))

  it.each([
    ['ES256', keys.es256],
    ['RS256', keys.rs256],
  ] as const)('a flipped bit anywhere in %s is refused', async (_, by) => {
    const parts = (await forge({ by })).split('.').map((part) => fromBase64url(part))
    const places = fc.tuple(fc.nat(2), fc.nat(10_000), fc.nat(7))
    await fc.assert(
      fc.asyncProperty(places, async ([part, place, bit]) => {
        const changed = parts.map((bytes = new Uint8Array(), i) =>
          i === part
            ? bytes.map((byte, at) => (at === place % bytes.length ? byte ^ (1 << bit) : byte))
            : bytes,
        )
        await expectRefused(changed.map(toBase64url).join('.'))
      }),
    )
  })
})

describe('121 id_token_hint: times', () => {
  const numbers: readonly (readonly [string, string])[] = [
    ['a string', '"1000100"'],
    ['1e400', '1e400'],
    ['negative', '-1'],
    ['milliseconds', String((NOW + 1_800_000_000) * 1000)],
    ['a fraction', '1000000.5'],
    ['null', 'null'],
    ['an array', '[1000000]'],
    ['true', 'true'],
  ]
  const cases: Cases = ['exp', 'iat', 'nbf'].flatMap((member) =>
    numbers.map(([what, text]) => {
      const payload = JSON.stringify({ ...CLAIMS, [member]: '@' }).replace('"@"', text)
      return [`${member} ${what}`, () => forge({ payload })] as const
    }),
  )
  it.each(cases)('%s is refused', async (_, make) => expectRefused(await make()))

  it.each(['exp', 'iat'])('%s absent is refused', async (member) =>
    expectRefused(await forge({ payload: { [member]: undefined } })),
  )

  it.each(['iat', 'nbf'])('%s 8 and 60 s ahead is read, 61 s refused', async (member) => {
    for (const ahead of [8, 60]) {
      const jws = await forge({ payload: { [member]: NOW + ahead } })
      expect(await ring.readIdToken(jws)).toMatchObject({ [member]: NOW + ahead })
    }
    await expectRefused(await forge({ payload: { [member]: NOW + 61 } }))
  })
})

describe('122 id_token_hint: aud, iss and sub', () => {
  const cases: readonly (readonly [string, Readonly<Record<string, unknown>>])[] = [
    ['aud absent', { aud: undefined }],
    ['aud empty', { aud: '' }],
    ['aud an array', { aud: ['shop'] }],
    ['aud an empty array', { aud: [] }],
    ['aud a number', { aud: 7 }],
    ['sub absent', { sub: undefined }],
    ['sub empty', { sub: '' }],
    ['sub an array', { sub: ['s'] }],
    ['iss absent', { iss: undefined }],
    ['iss with a slash', { iss: `${ISSUER}/` }],
    ['iss in other case', { iss: ISSUER.replace('id.', 'ID.') }],
    ['iss a prefix of ours', { iss: ISSUER.slice(0, -1) }],
    ['iss longer than ours', { iss: `${ISSUER}.evil.example` }],
    ['iss an array', { iss: [ISSUER] }],
  ]
  it.each(cases)('%s is refused', async (_, payload) => expectRefused(await forge({ payload })))

  it('aud of another client is given as it is, for the caller to compare', async () => {
    const jws = await forge({ payload: { aud: 'sho' } })
    expect(await ring.readIdToken(jws)).toMatchObject({ aud: 'sho' })
  })
})

describe('123 id_token_hint: a JWE', () => {
  const publicKey = async (jwk: JWK, name: string) =>
    crypto.subtle.importKey('jwk', jwk, { name, hash: 'SHA-256' }, false, ['encrypt', 'wrapKey'])
  const withHeader = (header: object) => `${segment(header)}.QUJD.QUJD.QUJD.QUJD`

  const cases: Cases = [
    [
      'to our own RSA key with a genuine token inside',
      async () => {
        const { alg: _, use: __, kid, ...jwk } = keys.rs256.publicJwk
        return new CompactEncrypt(utf8(await forge()))
          .setProtectedHeader({ alg: 'RSA-OAEP-256', enc: 'A256GCM', kid, cty: 'JWT' })
          .encrypt(await publicKey(jwk, 'RSA-OAEP'))
      },
    ],
    ['zip', async () => withHeader({ alg: 'ECDH-ES', enc: 'A256GCM', zip: 'DEF' })],
    [
      'PBES2 of 10^9 rounds',
      async () =>
        withHeader({ alg: 'PBES2-HS256+A128KW', enc: 'A128GCM', p2s: 'QUJDREVGR0g', p2c: 1e9 }),
    ],
    ['dir', async () => withHeader({ alg: 'dir', enc: 'A256GCM' })],
    ['RSA1_5', async () => withHeader({ alg: 'RSA1_5', enc: 'A128CBC-HS256' })],
    ['the true header and five parts', async () => withHeader(headerOf(keys.es256))],
    ['a genuine token and two parts more', async () => `${await forge()}.QUJD.QUJD`],
    ['a genuine token and a dot more', async () => `${await forge()}.`],
  ]
  it.each(cases)('%s is refused in under 10 ms, without trying to decrypt', async (_, make) => {
    const jws = await make()
    const tried = (['decrypt', 'unwrapKey', 'deriveBits', 'deriveKey', 'verify'] as const).map(
      (act) => vi.spyOn(crypto.subtle, act),
    )
    const times: number[] = []
    for (let i = 0; i < 5; i++) {
      const begun = performance.now()
      await expectRefused(jws)
      times.push(performance.now() - begun)
    }
    expect(Math.min(...times)).toBeLessThan(10)
    expect(tried.map((spy) => spy.mock.calls.length)).toEqual([0, 0, 0, 0, 0])
    vi.restoreAllMocks()
  })
})

describe('id_token_hint: form', () => {
  const [head = '', body = '', tail = ''] = genuine.split('.')
  /** The next letter of the alphabet: decodes to the same bytes where the last bits are not used. */
  const loose = (text: string) =>
    text.slice(0, -1) + String.fromCharCode(text.charCodeAt(text.length - 1) + 1)
  /** A body that is signed as it stands, decodable or not. */
  const signedAs = async (text: string) =>
    `${head}.${text}.${toBase64url(await signBy(keys.es256)(utf8(`${head}.${text}`)))}`

  it.each([
    ['padding', `${genuine}==`],
    ['a blank before', ` ${genuine}`],
    ['a line feed after', `${genuine}\n`],
    ['plain base64', `${head}.${body}.${tail.replaceAll('-', '+').replaceAll('_', '/')}=`],
    ['unused bits of the signature', `${head}.${body}.${loose(tail)}`],
    ['two parts', `${head}.${body}`],
    ['JSON serialization', JSON.stringify({ protected: head, payload: body, signature: tail })],
    ['nothing', ''],
    ['dots', '..'],
  ])('with %s is refused', async (_, jws) => expectRefused(jws))

  it('with the same header spelled otherwise is refused', async () => {
    const { alg, kid, typ } = headerOf(keys.es256)
    for (const text of [
      JSON.stringify({ alg, typ, kid }),
      JSON.stringify({ alg, kid, typ }, null, 1),
      `{"alg":"none",${JSON.stringify({ alg, kid, typ }).slice(1)}`,
      JSON.stringify({ alg, kid, typ, cty: 'JWT' }),
    ]) {
      const other = segment(text)
      const signature = await signBy(keys.es256)(utf8(`${other}.${body}`))
      await expectRefused(`${other}.${body}.${toBase64url(signature)}`)
    }
  })

  it.each([
    ['no JSON', segment('{')],
    ['null', segment('null')],
    ['an array', segment([CLAIMS])],
    ['a text', segment('"x"')],
    ['no UTF-8', toBase64url(Uint8Array.of(0x7b, 0xff, 0x7d))],
    ['a byte order mark', segment(`\ufeff${JSON.stringify(CLAIMS)}`)],
    ['padding', `${segment({ ...CLAIMS, pad: '' })}=`],
    ['nothing', ''],
  ])('with a signed payload of %s is refused', async (_, text) =>
    expectRefused(await signedAs(text)),
  )

  it('of any garbage never throws', async () => {
    const part = fc.oneof(fc.constantFrom(head, body, tail, ''), fc.base64String(), fc.string())
    const garbage = fc.oneof(
      fc.string(),
      fc.array(part, { maxLength: 6 }).map((parts) => parts.join('.')),
    )
    await fc.assert(
      fc.asyncProperty(garbage, async (jws) => {
        fc.pre(jws !== genuine)
        await expectRefused(jws)
      }),
    )
  })
})
