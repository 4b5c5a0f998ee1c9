import { deflateSync, inflateSync } from 'node:zlib'
import { Sign1 } from '@auth0/cose'
import { decode, encode, Tagged } from 'cborg'
import fc from 'fast-check'
import { CompactSign } from 'jose'
import * as v from 'valibot'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type Bytes, fromBase64url, toBase64url, utf8 } from '../../../src/bytes.ts'
import { ATOMIC_SCOPES } from '../../../src/disclosure/scopes.ts'
import { decodeBase45, encodeBase45 } from '../../../src/seal/base45.ts'
import type { PublicJwk } from '../../../src/seal/p256.ts'
import {
  MAX_SERVICE_VDS_LIFE,
  makeServiceVds,
  readServiceVds,
  type ServiceVdsContent,
  type ServiceVdsFault,
  type ServiceVdsRule,
  serviceVdsCode,
  verifyServiceVds,
} from '../../../src/seal/service-vds.ts'
import { readMetadata, ServiceRegistration } from '../../../src/services/service.ts'
import { DAY, ISSUER, type KeyPair, malleated, NOW, newKey, sealText } from './world.ts'

const serviceSeal = await newKey()
const push = await newKey()

/** The device keys of a deployment: the key behind a `kid`, if it seals services. */
const deviceKeys = new Map([
  [kidOf(serviceSeal), { purpose: 'service-seal', key: serviceSeal.jwk as PublicJwk }],
  [kidOf(push), { purpose: 'push', key: push.jwk as PublicJwk }],
])

const rule: ServiceVdsRule = {
  issuer: ISSUER,
  now: NOW,
  keyOf: async (kid) => {
    const found = deviceKeys.get(kid)
    return found?.purpose === 'service-seal' ? found.key : undefined
  },
}

const small: ServiceVdsContent = {
  issuer: ISSUER,
  serviceId: 'portal',
  issuedAt: NOW - DAY,
  expiresAt: NOW + 364 * DAY,
  cti: toBase64url(new Uint8Array(16).map((_, i) => i + 1)),
  key: null,
  name: 'Portal',
  url: 'https://portal.example/',
  scopes: [],
  origins: [],
}

/** Every member there is. Its text by another implementation stands below. */
const whole: ServiceVdsContent = {
  ...small,
  key: {
    kty: 'EC',
    crv: 'P-256',
    x: 'd857ulzHYk-pL0noXpcMqtC1MMHV44IaGd18684fENA',
    y: 'YGl8eoajXGjEBuf_2lJ45IekbO7u-LBxTWA7fvGNisA',
  },
  name: 'Government Portal – France',
  logoUri: 'https://portal.example/logo.png',
  logoDigest: 'NZjOb5ZbJIH-JjFsBrMJUMRqx_jnIp8QSqePV5mXZo0',
  scopes: ['identity:age_over_18', 'identity:name'],
  origins: ['https://portal.example'],
  policyUri: 'https://portal.example/privacy',
}

/** Made once with cborg, zlib and OpenSSL's ECDSA, and nothing of ours. */
const VECTOR = {
  kid: 'YvDuHt-tj8k',
  key: {
    kty: 'EC',
    crv: 'P-256',
    x: 'YEyuvxj6IFKGP2qrdwufzC_ZOPa4XZM26wh_jZ9RjxM',
    y: '2dkHrDby6hd6DZfBMK8S0H8IL81pxUZwz34Mqh2j0HQ',
  },
  text: [
    'HC1:6BFOXN%TSMAHN-HDO4TUO1NNDTDK0A-AHS$P*3QYXIEIAN7AP.K.7K/OKAKBXBJLCIKRPK.AE2C/NI4UO2/I1FSNK0SWARFWR*0P10K%43$2$*6H ',
    '16*5Y$3N+7%80X*G9M9%FJ023PJ4YSP*%AFLH-3KI8O1ESJ$8JXE3YA/0NLS3EVV.B97TUK1QRTE+B0WWI8O2$G6/QLQ*2NTCPECTAW1-A:/OD5VQE7P8',
    'SQFRCIT98C4EVDBNT8G%H0QTG.MEKC1YFVFRMZPKC-R-YNS G9CMKO29X6X-ACL59$P:+9.G5Y975RSSCJ82VVO5DHE6.S8ALGWTX+SLTM**I03LY6TAWC',
    '*TA8Y4K9LTRGRFHK%M* GC4T67T8OM.5573QJ5J0X51:K/7K6CC6XRY4Q4L4-9PCS76MJFIS-ZNOZF4.U /BN2PZ%T*IMZHPS8EQB8B.C2KCN$CXYOQGFE',
    'SIM16FPTIMMG NQDVG-OY8DM:FME91TTP5RS%7CRB49WDB4MBEK:MM$9J.9L1AMZTZMP -0:SJ-04J2BG2C 9BFJR.QB+MB 00KLNF1',
  ].join(''),
} as const

function kidOf(key: KeyPair): string {
  return toBase64url(kidBytes(key))
}

/** The first 8 bytes of the thumbprint. */
function kidBytes({ kid }: KeyPair): Bytes {
  return (fromBase64url(kid) ?? new Uint8Array()).slice(0, 8)
}

async function made(content: ServiceVdsContent = whole, key = serviceSeal): Promise<string> {
  const text = await makeServiceVds(content, key.sign, kidBytes(key))
  if (!text.ok) throw new Error(text.reason)
  return text.value
}

/** The content, or the fault. */
async function outcome(
  text: string,
  change: Partial<ServiceVdsRule> = {},
): Promise<ServiceVdsContent | ServiceVdsFault> {
  const read = await readServiceVds(text)
  if (!read.ok) return read.reason
  const verified = await verifyServiceVds(read.value, { ...rule, ...change })
  return verified.ok ? verified.value : verified.reason
}

/* ---- an issuer of its own, with other tools ---- */

function pack(bytes: Uint8Array): string {
  return `HC1:${encodeBase45(deflateSync(bytes))}`
}

function unpack(text: string): Bytes {
  return new Uint8Array(inflateSync(decodeBase45(text.slice(4)) ?? new Uint8Array()))
}

const strict = { strict: true, rejectDuplicateMapKeys: true, useMaps: true }

type Claims = Map<unknown, unknown>

/** The claims inside `text`, as cborg reads them. */
function claimsIn(text: string): Claims {
  const message = decode(unpack(text), { ...strict, tags: Tagged.preserve(18) })
  return decode(message.value[2], strict)
}

/** A text over `payload`, rightly signed, with parts of the message changed afterwards or before. */
async function forged(
  payload: Uint8Array,
  change: { readonly head?: Claims; readonly unprotected?: Claims; readonly key?: KeyPair } = {},
): Promise<string> {
  const key = change.key ?? serviceSeal
  const head = encode(change.head ?? new Map<unknown, unknown>([...alg, [4, kidBytes(key)]]))
  const signature = await key.sign(encode(['Signature1', head, new Uint8Array(), payload]))
  return pack(encode(new Tagged(18, [head, change.unprotected ?? new Map(), payload, signature])))
}

const alg: [unknown, unknown][] = [[1, -7]]

/** The fault of a Service VDS whose claims `alter` changed before an honest signature. */
async function faultOfClaims(
  alter: (claims: Claims, service: Claims) => unknown,
): Promise<unknown> {
  const claims = claimsIn(await made())
  alter(claims, claims.get(-65601) as Claims)
  return outcome(await forged(encode(claims)))
}

const outside = vi.fn()
beforeEach(() => void vi.stubGlobal('fetch', outside))
afterEach(() => {
  expect(outside).not.toHaveBeenCalled()
  vi.unstubAllGlobals()
})

describe('a genuine Service VDS', () => {
  test('what is made is read', async () => {
    expect(await outcome(await made(whole))).toStrictEqual(whole)
    expect(await outcome(await made(small))).toStrictEqual(small)
  })

  test('the text that other tools made is read, and ours is the same but for the signature', async () => {
    const keyOf = async (kid: string) => (kid === VECTOR.kid ? VECTOR.key : undefined)
    expect(await outcome(VECTOR.text, { keyOf })).toStrictEqual(whole)
    const genuine = await readServiceVds(VECTOR.text)
    if (!genuine.ok) throw new Error(genuine.reason)
    const sign = async () => genuine.value.signature
    const kid = fromBase64url(VECTOR.kid) ?? new Uint8Array()
    const again = await makeServiceVds(whole, sign, kid)
    expect(again.ok && unpack(again.value)).toEqual(unpack(VECTOR.text))
  })

  test('@auth0/cose verifies it, and cborg reads the claims where 3-seal says', async () => {
    const text = await made()
    const theirs = Sign1.decode(unpack(text))
    await expect(theirs.verify(serviceSeal.publicKey)).resolves.toBeUndefined()
    expect(theirs.kid && new Uint8Array(theirs.kid)).toEqual(kidBytes(serviceSeal))
    const claims = claimsIn(text)
    expect([...claims.keys()]).toEqual([1, 2, 4, 6, 7, 8, -65601])
    expect(claims.get(1)).toBe(ISSUER)
    expect(claims.get(2)).toBe('portal')
    expect(claims.get(4)).toBe(whole.expiresAt)
    expect(claims.get(6)).toBe(whole.issuedAt)
    expect(claims.get(7)).toEqual(fromBase64url(whole.cti))
    const key = (claims.get(8) as Claims).get(1)
    expect(key).toEqual(
      new Map<number, unknown>([
        [1, 2],
        [-1, 1],
        [-2, fromBase64url(whole.key?.x ?? '')],
        [-3, fromBase64url(whole.key?.y ?? '')],
      ]),
    )
    const service = [...(claims.get(-65601) as Claims)]
    expect(service).toEqual([
      [1, whole.name],
      [2, whole.url],
      [3, whole.logoUri],
      [4, whole.scopes],
      [5, fromBase64url(whole.logoDigest ?? '')],
      [6, whole.origins],
      [7, whole.policyUri],
    ])
  })

  test('what @auth0/cose signs is read', async () => {
    const payload = encode(claimsIn(await made()))
    const head: [1, -7][] = [[1, -7]]
    const theirs = await Sign1.sign(
      [...head, [4, kidBytes(serviceSeal)]],
      undefined,
      payload,
      serviceSeal.key,
    )
    expect(await outcome(pack(theirs.encode()))).toStrictEqual(whole)
  })

  test('any content survives the round trip', async () => {
    const names = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
    const path = fc.stringMatching(/^[a-z0-9/._~-]{0,40}$/)
    const url = path.map((text) => `https://portal.example/${text}`)
    const content = fc.record<ServiceVdsContent>(
      {
        issuer: fc.constant(ISSUER),
        serviceId: fc.stringMatching(/^[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?$/),
        issuedAt: fc.integer({ min: NOW - DAY, max: NOW }),
        expiresAt: fc.integer({ min: NOW + 1, max: NOW + 300 * DAY }),
        cti: fc.uint8Array({ minLength: 16, maxLength: 16 }).map(toBase64url),
        key: fc.constantFrom(null, whole.key),
        name: names.filter((text) => !/[\p{Cc}\p{Cs}]/u.test(text)),
        url,
        logoUri: url,
        scopes: fc.subarray([...ATOMIC_SCOPES]).map((scopes) => scopes.sort()),
        origins: fc.subarray(['https://a.example', 'https://b.example:8443']),
        policyUri: url,
      },
      {
        noNullPrototype: true,
        requiredKeys: [
          'issuer',
          'serviceId',
          'issuedAt',
          'expiresAt',
          'cti',
          'key',
          'name',
          'url',
          'scopes',
          'origins',
        ],
      },
    )
    await fc.assert(
      fc.asyncProperty(content, async (one) => {
        expect(await outcome(await made(one))).toStrictEqual(one)
      }),
      { numRuns: 50 },
    )
  })

  test('the sizes are those of 3-seal section 6', async () => {
    const some = {
      ...small,
      name: whole.name,
      logoUri: 'https://portal.example/logo.png',
      scopes: whole.scopes,
    }
    const sizes = [(await made(some)).length, (await made(whole)).length]
    for (const [i, figure] of [369, 573].entries()) {
      expect(sizes[i]).toBeGreaterThan(figure * 0.9)
      expect(sizes[i]).toBeLessThan(figure * 1.1)
    }
  })
})

describe('169 what was tampered with, or is something else', () => {
  // Every bit of a message is flipped in cose-sign1.test.ts, where no stream stands between.
  test('169 a flipped bit in any byte is refused', async () => {
    const bytes = unpack(await made(small))
    for (let at = 0; at < bytes.length; at++) {
      const flipped = bytes.slice()
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (at & 7))
      expect(await outcome(pack(flipped)), `byte ${at}`).toBeTypeOf('string')
    }
  })

  test('169 every changed character of the text is refused', async () => {
    const text = await made(small)
    for (let at = 0; at < text.length; at++) {
      const other = text[at] === '0' ? '1' : '0'
      const changed = `${text.slice(0, at)}${other}${text.slice(at + 1)}`
      expect(await outcome(changed), `character ${at}`).toBeTypeOf('string')
    }
  })

  test('169 unknown key', async () => {
    expect(await outcome(await made(whole, await newKey()))).toBe('unknown_key')
  })

  test('169 `kid` wrong though the signature is right', async () => {
    const payload = encode(claimsIn(await made()))
    const head = new Map<unknown, unknown>([...alg, [4, new Uint8Array(8)]])
    expect(await outcome(await forged(payload, { head }))).toBe('unknown_key')
    const named = new Map<unknown, unknown>([...alg, [4, kidBytes(push)]])
    expect(await outcome(await forged(payload, { head: named }))).toBe('unknown_key')
  })

  test('169 `kid` right though the signature is of another key', async () => {
    const payload = encode(claimsIn(await made()))
    const head = new Map<unknown, unknown>([...alg, [4, kidBytes(serviceSeal)]])
    expect(await outcome(await forged(payload, { head, key: push }))).toBe('bad_signature')
  })

  test('169 a key of another purpose', async () => {
    expect(await outcome(await made(whole, push))).toBe('unknown_key')
  })

  test('169 `kid` missing, or unprotected', async () => {
    const payload = encode(claimsIn(await made()))
    const head = new Map(alg)
    expect(await outcome(await forged(payload, { head }))).toBe('bad_protected')
    const unprotected = new Map([[4, kidBytes(serviceSeal)]])
    expect(await outcome(await forged(payload, { head, unprotected }))).toBe('bad_protected')
    expect(await outcome(await forged(payload, { unprotected }))).toBe('bad_unprotected')
  })

  test('169 an empty or a wrong signature', async () => {
    const message = decode(unpack(await made()), { ...strict, tags: Tagged.preserve(18) })
    const [head, unprotected, payload, signature] = message.value
    const signed = (other: Uint8Array) =>
      outcome(pack(encode(new Tagged(18, [head, unprotected, payload, other]))))
    expect(await signed(new Uint8Array())).toBe('bad_signature')
    expect(await signed(new Uint8Array(64))).toBe('bad_signature')
    expect(await signed(new Uint8Array(64).fill(0xff))).toBe('bad_signature')
    expect(await signed(await serviceSeal.sign(payload))).toBe('bad_signature')
    expect(await signed(signature)).toStrictEqual(whole)
    // The same signature in its other form says the same: nothing here takes a signature for an identity.
    expect(await signed(malleated(new Uint8Array(signature)))).toStrictEqual(whole)
  })

  test('169 an identity seal, in both its forms', async () => {
    const seal = await sealText()
    const base45 = encodeBase45(fromBase64url(seal) ?? new Uint8Array())
    expect(await outcome(seal)).toBe('bad_prefix')
    expect(await outcome(base45)).toBe('bad_prefix')
    expect(await outcome(`HC1:${base45}`)).toBe('not_compressed')
    expect(await outcome(pack(fromBase64url(seal) ?? new Uint8Array()))).toBe('not_cbor')
  })

  test('169 a JWT of the same key', async () => {
    const jwt = await new CompactSign(utf8(JSON.stringify({ iss: ISSUER, sub: 'portal' })))
      .setProtectedHeader({ alg: 'ES256', kid: kidOf(serviceSeal) })
      .sign(serviceSeal.key)
    expect(await outcome(jwt)).toBe('bad_prefix')
    expect(await outcome(`HC1:${jwt}`)).toBe('bad_base45')
    expect(await outcome(pack(utf8(jwt)))).toBe('not_cbor')
  })

  test('169 a wrapped one: no tag, tag 61', async () => {
    const bytes = unpack(await made())
    expect(await outcome(pack(bytes.subarray(1)))).toBe('not_sign1')
    expect(await outcome(pack(new Uint8Array([0xd8, 61, ...bytes])))).toBe('not_sign1')
  })
})

describe('176 hostile texts', () => {
  test('176 Base45 with illegal characters', async () => {
    const text = await made()
    expect(await outcome(text.toLowerCase())).toBe('bad_prefix')
    expect(await outcome(`HC1:${text.slice(4).toLowerCase()}`)).toBe('bad_base45')
    expect(await outcome(`${text}\u0000`)).toBe('bad_base45')
  })

  test('176 100 KiB', async () => {
    expect(await outcome(`HC1:${'6'.repeat(100 * 1024)}`)).toBe('too_long')
  })

  test('176 an inflation bomb, and one that nests to the bottom', async () => {
    expect(await outcome(pack(new Uint8Array(2_000_000)))).toBe('too_large')
    expect(await outcome(pack(new Uint8Array(60_000).fill(0x81)))).toBe('not_cbor')
    expect(await outcome(await forged(new Uint8Array(60_000).fill(0xa1)))).toBe('bad_claims')
  })

  test('prefix wrong or doubled', async () => {
    const text = await made()
    expect(await outcome(text.slice(4))).toBe('bad_prefix')
    expect(await outcome(`HC2:${text.slice(4)}`)).toBe('bad_prefix')
    expect(serviceVdsCode((await outcome(`HC1:${text}`)) as ServiceVdsFault)).toBe(
      'invalid_service_vds',
    )
    expect(await outcome(`HC1:${text}`)).toMatch(/^bad_base45$|^not_compressed$/)
  })
})

describe('177 whose it is, and when', () => {
  test('177 a Service VDS of another deployment', async () => {
    const text = await made({ ...whole, issuer: 'https://other.example' })
    expect(await outcome(text)).toBe('other_issuer')
    expect(await outcome(text, { issuer: 'https://other.example' })).toBeTypeOf('object')
    expect(await outcome(await made({ ...whole, issuer: `${ISSUER}/` }))).toBe('other_issuer')
    expect(await outcome(text, { now: whole.expiresAt + DAY })).toBe('other_issuer')
  })

  test('the clock before `iat`: 60 seconds are forgiven', async () => {
    const text = await made()
    expect(await outcome(text, { now: whole.issuedAt - 60 })).toBeTypeOf('object')
    expect(await outcome(text, { now: whole.issuedAt - 61 })).toBe('issued_ahead')
  })

  test('169 the clock after `exp`: 60 seconds are forgiven', async () => {
    const text = await made()
    expect(await outcome(text, { now: whole.expiresAt + 59 })).toBeTypeOf('object')
    expect(await outcome(text, { now: whole.expiresAt + 60 })).toBe('expired')
  })

  test('169 only an expired one that is good otherwise is `vds_expired`', async () => {
    const late = { now: whole.expiresAt + DAY }
    const codeAt = async (text: string) =>
      serviceVdsCode((await outcome(text, late)) as ServiceVdsFault)
    expect(await codeAt(await made())).toBe('vds_expired')
    expect(await codeAt(await made(whole, push))).toBe('invalid_service_vds')
    expect(await codeAt('HC1:')).toBe('invalid_service_vds')
  })

  test('a life of a leap year and no second more', async () => {
    const longest = { ...whole, issuedAt: NOW, expiresAt: NOW + MAX_SERVICE_VDS_LIFE }
    expect(MAX_SERVICE_VDS_LIFE).toBe(366 * 86_400)
    expect(await outcome(await made(longest))).toStrictEqual(longest)
    expect(
      await faultOfClaims((claims) => claims.set(4, whole.issuedAt + MAX_SERVICE_VDS_LIFE + 1)),
    ).toBe('too_long_lived')
    expect(await faultOfClaims((claims) => claims.set(4, whole.issuedAt))).toBe('bad_expiresAt')
  })
})

describe('claims, honestly signed and yet refused', () => {
  const b16 = new Uint8Array(16)
  test.each<[string, string, (claims: Claims, service: Claims) => unknown]>([
    ...[1, 2, 4, 6, 7, -65601].map((key): [string, string, (claims: Claims) => unknown] => [
      `claim ${key} missing`,
      'bad_claims',
      (claims) => claims.delete(key),
    ]),
    ...[1, 2, 4, 6].map((key): [string, string, (claims: Claims, service: Claims) => unknown] => [
      `member ${key} of the service missing`,
      'bad_claims',
      (_, service) => service.delete(key),
    ]),
    ['a claim more', 'bad_claims', (claims) => claims.set(5, NOW)],
    ['a claim under a text', 'bad_claims', (claims) => claims.set('1', ISSUER)],
    ['a member more', 'bad_claims', (_, service) => service.set(8, 'x')],
    ['a fraction of a second', 'bad_issuedAt', (claims) => claims.set(6, NOW - 0.5)],
    ['a time before 1970', 'bad_issuedAt', (claims) => claims.set(6, -1)],
    ['a time as text', 'bad_claims', (claims) => claims.set(4, `${NOW}`)],
    ['a time that is no safe integer', 'bad_claims', (claims) => claims.set(4, 2n ** 60n)],
    ['an issuer that is no address', 'bad_issuer', (claims) => claims.set(1, 'id.example')],
    ['an issuer over http', 'bad_issuer', (claims) => claims.set(1, 'http://id.example')],
    ['a service id with a capital', 'bad_serviceId', (claims) => claims.set(2, 'Portal')],
    ['a service id of nothing', 'bad_serviceId', (claims) => claims.set(2, '')],
    ['a cti of 15 bytes', 'bad_cti', (claims) => claims.set(7, new Uint8Array(15))],
    ['a cti of 17 bytes', 'bad_cti', (claims) => claims.set(7, new Uint8Array(17))],
    ['a cti as text', 'bad_claims', (claims) => claims.set(7, whole.cti)],
    ['cnf null', 'bad_claims', (claims) => claims.set(8, null)],
    ['cnf by kid only', 'bad_claims', (claims) => claims.set(8, new Map([[3, b16]]))],
    ['a key of another curve', 'bad_claims', (claims) => keyIn(claims).set(-1, 2)],
    ['a key of another type', 'bad_claims', (claims) => keyIn(claims).set(1, 1)],
    ['a private key', 'bad_claims', (claims) => keyIn(claims).set(-4, new Uint8Array(32))],
    ['a compressed point', 'bad_claims', (claims) => keyIn(claims).set(-3, true)],
    ['a short coordinate', 'bad_claims', (claims) => keyIn(claims).set(-2, new Uint8Array(31))],
    ['an empty name', 'bad_name', (_, service) => service.set(1, '')],
    ['a name of 81 characters', 'bad_name', (_, service) => service.set(1, 'x'.repeat(81))],
    ['a control in the name', 'bad_name', (_, service) => service.set(1, 'Portal\n')],
    ['a url over http', 'bad_url', (_, service) => service.set(2, 'http://portal.example/')],
    ['a url with a fragment', 'bad_url', (_, service) => service.set(2, `${whole.url}#a`)],
    ['a script', 'bad_url', (_, service) => service.set(2, 'javascript:alert(1)')],
    [
      'a logo at a literal address',
      'bad_logoUri',
      (_, service) => service.set(3, 'https://10.0.0.1/a'),
    ],
    [
      'a policy with credentials',
      'bad_policyUri',
      (_, service) => service.set(7, 'https://a@b.example/'),
    ],
    [
      'a policy with a newline',
      'bad_policyUri',
      (_, service) => service.set(7, 'https://b.example/\n'),
    ],
    ['a digest of 31 bytes', 'bad_logoDigest', (_, service) => service.set(5, new Uint8Array(31))],
    ['a digest of no logo', 'bad_logoDigest', (_, service) => service.delete(3)],
    ['an unknown scope', 'bad_scopes', (_, service) => service.set(4, ['identity:all'])],
    ['a scope of the prototype', 'bad_scopes', (_, service) => service.set(4, ['constructor'])],
    ['a composite scope', 'bad_scopes', (_, service) => service.set(4, ['identity:full'])],
    [
      'two scopes in one',
      'bad_scopes',
      (_, service) => service.set(4, ['identity:age_over_18 identity:name']),
    ],
    [
      'scopes out of order',
      'bad_scopes',
      (_, service) => service.set(4, [...whole.scopes].reverse()),
    ],
    [
      'a scope twice',
      'bad_scopes',
      (_, service) => service.set(4, ['identity:name', 'identity:name']),
    ],
    ['scopes as one text', 'bad_claims', (_, service) => service.set(4, 'identity:name')],
    [
      'an origin with a slash',
      'bad_origins',
      (_, service) => service.set(6, ['https://portal.example/']),
    ],
    ['an origin "null"', 'bad_origins', (_, service) => service.set(6, ['null'])],
    [
      'an origin with a star',
      'bad_origins',
      (_, service) => service.set(6, ['https://*.example.com']),
    ],
    [
      '17 origins',
      'bad_origins',
      (_, service) => service.set(6, Array(17).fill('https://a.example')),
    ],
  ])('%s', async (_, fault, alter) => {
    expect(await faultOfClaims(alter)).toBe(fault)
  })

  test('a broken CWT: no CBOR, no map, an over-long integer, bytes after it', async () => {
    const payload = encode(claimsIn(await made()))
    expect(await outcome(await forged(payload))).toStrictEqual(whole)
    const broken = [
      utf8('{"iss":"https://id.example"}'),
      encode([1, 2, 3]),
      encode(new Tagged(61, decode(payload, strict))),
      payload.slice(0, -1),
      new Uint8Array([...payload, 0]),
      new Uint8Array([0xb8, 7, ...payload.subarray(1)]),
      new Uint8Array([0xbf, ...payload.subarray(1), 0xff]),
      new Uint8Array([0xa8, ...payload.subarray(1), ...encode(2), ...encode('other')]),
    ]
    for (const [i, bytes] of broken.entries()) {
      expect(await outcome(await forged(bytes)), `${i}`).toBe('bad_claims')
    }
  })

  function keyIn(claims: Claims): Claims {
    return (claims.get(8) as Claims).get(1) as Claims
  }
})

describe('what cannot be made', () => {
  async function faultOf(
    change: Partial<Record<keyof ServiceVdsContent, unknown>>,
  ): Promise<string> {
    const sign = vi.fn(serviceSeal.sign)
    const content = { ...whole, ...change } as ServiceVdsContent
    const result = await makeServiceVds(content, sign, kidBytes(serviceSeal))
    return result.ok ? 'none' : `${result.reason}${sign.mock.calls.length > 0 ? ', signed' : ''}`
  }

  test('content that would be refused is not signed', async () => {
    expect(await faultOf({ name: 'a\ud800b' })).toBe('bad_name')
    expect(await faultOf({ key: { ...whole.key, d: 'x' } })).toBe('bad_key')
    expect(await faultOf({ cti: `${whole.cti}==` })).toBe('bad_cti')
    expect(await faultOf({ expiresAt: NOW + 2 * 366 * DAY })).toBe('too_long_lived')
    expect(await faultOf({ origins: ['https://localhost:1'] })).toBe('bad_origins')
    expect(await faultOf({ secret: 'x' } as never)).toBe('bad_claims')
  })

  test('names and addresses that do not fit the text', async () => {
    const noise = (length: number) => toBase64url(crypto.getRandomValues(new Uint8Array(length)))
    const long = { url: `${whole.url}${noise(360)}`, logoUri: `${whole.url}${noise(360)}` }
    expect(await faultOf({ ...long, policyUri: `${whole.url}${noise(360)}` })).toBe('none')
    const label = () => noise(40).toLowerCase().replaceAll(/[-_]/g, 'x')
    const origins = Array.from(
      { length: 16 },
      () => `https://${label()}.${label()}.${label()}.example`,
    )
    const origin = { ...long, origins, policyUri: `${whole.url}${noise(360)}` }
    expect(await faultOf(origin)).toBe('too_long, signed')
  })

  test('a signer that gives no 64 bytes, a `kid` of no 8', async () => {
    const short = await makeServiceVds(whole, async () => new Uint8Array(63), kidBytes(serviceSeal))
    expect(short).toEqual({ ok: false, reason: 'bad_signature' })
    const kid = await makeServiceVds(whole, serviceSeal.sign, new Uint8Array(7))
    expect(kid).toEqual({ ok: false, reason: 'bad_protected' })
  })
})

describe('the registry and a Service VDS agree on what a service may be', () => {
  async function registers(change: object, loopback: boolean): Promise<boolean> {
    const { name, url, origins, scopes } = whole
    const said = { name, url, origins, allowedScopes: scopes, defaultScopes: [], ...change }
    const parsed = v.safeParse(ServiceRegistration, said)
    return parsed.success && (await readMetadata(parsed.output, loopback)).ok
  }

  async function seals(change: object, loopback: boolean): Promise<boolean> {
    const issuer = loopback ? 'http://localhost:8787' : ISSUER
    const content = { ...small, issuer, ...change }
    return (await makeServiceVds(content, serviceSeal.sign, kidBytes(serviceSeal))).ok
  }

  const addresses = [
    ...['https://a.example', 'https://a.example/', 'https://a.example:8443/b?c=d', 'https://a.b.c'],
    ...[
      'http://a.example',
      'http://localhost:3000',
      'http://127.0.0.1',
      'http://[::1]:1',
      'ftp://a.b',
    ],
    ...[
      'https://localhost',
      'https://127.0.0.1',
      'https://[::1]',
      'https://a.localhost',
      'https://x.local',
    ],
    ...[
      'https://x.internal',
      'https://a.example.',
      'https://single',
      'https://0x7f.1',
      'https://2130706433',
    ],
    ...['https://*.example.com', 'https://a;b.example', 'https://a,b.example', 'https://ä.example'],
    ...['https://A.example', 'https://u:p@a.example', 'https://u@a.example', 'https://a.example#b'],
    ...[
      'https://a.example/ b',
      'https://a.example/\tb',
      'https://a_b.example',
      'https:a.example',
      '',
    ],
    ...[
      'null',
      'javascript:alert(1)',
      'data:,x',
      `https://a.example/${'x'.repeat(600)}`,
      '//a.example',
    ],
  ]

  test.each([false, true])('addresses and origins, loopback %s', async (loopback) => {
    for (const address of addresses) {
      for (const change of [{ url: address }, { logoUri: address }, { origins: [address] }]) {
        const said = `${Object.keys(change)[0]} ${address.slice(0, 40)}`
        expect(await seals(change, loopback), said).toBe(await registers(change, loopback))
      }
    }
    expect(await seals({ url: 'http://localhost:3000' }, loopback)).toBe(loopback)
  })

  test('names', async () => {
    const names = [
      '',
      ' ',
      'x'.repeat(80),
      'x'.repeat(81),
      'Ünï 政府 😀',
      'a\u0000',
      'a\u007f',
      '\u0085',
      '\ud800',
      '\u202ex',
    ]
    for (const name of names) {
      expect(await seals({ name }, false), JSON.stringify(name)).toBe(
        await registers({ name }, false),
      )
    }
  })
})
