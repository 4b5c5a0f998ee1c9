import { generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { calculateJwkThumbprint, exportJWK, exportSPKI, generateKeyPair } from 'jose'
import { describe, expect, test } from 'vitest'
import { fromBase64url } from '../../../src/bytes.ts'
import { readDeviceKey, readPublicJwk } from '../../../src/enrollment/device-key.ts'

/** SubjectPublicKeyInfo of P-256 up to the point (RFC 5480). */
const PREFIX = '3059301306072a8648ce3d020106082a8648ce3d030107034200'
const REFUSED = { ok: false, reason: 'invalid_key' }

const { publicKey } = await generateKeyPair('ES256', { extractable: true })
const jwk = await exportJWK(publicKey)
const goodPem = await exportSPKI(publicKey)
const point = Buffer.concat([decoded(jwk.x), decoded(jwk.y)])

function decoded(text: string | undefined): Uint8Array {
  return fromBase64url(text ?? '') ?? new Uint8Array()
}

function pemOf(der: Uint8Array, label = 'PUBLIC KEY'): string {
  const lines = Buffer.from(der).toString('base64').replace(/.{64}/g, '$&\n').replace(/\n$/, '')
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`
}

function spki(lead: number, coordinates: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(PREFIX, 'hex'), Buffer.from([lead]), coordinates])
}

test('129 device key: LF, CRLF and a missing final newline give one thumbprint', async () => {
  const thumbprint = await calculateJwkThumbprint(jwk)
  const forms = [
    goodPem.trim(),
    `${goodPem.trim()}\n`,
    `${goodPem.trim()}\n`.replace(/\n/g, '\r\n'),
  ]
  for (const pem of forms) {
    const key = await readDeviceKey(pem)
    expect(key.ok && key.value.thumbprint).toBe(thumbprint)
    expect(key.ok && key.value.jwk).toEqual({ kty: 'EC', crv: 'P-256', x: jwk.x, y: jwk.y })
  }
})

const body = goodPem.split('\n').slice(1, -1).join('').replace('-----END PUBLIC KEY-----', '')

test.each<[string, string]>([
  ['lower-case label', goodPem.replaceAll('PUBLIC KEY', 'public key')],
  ['a blank inside a line', goodPem.replace(body.slice(10, 12), `${body[10]} ${body[11]}`)],
  ['a blank line', goodPem.replace('KEY-----\n', 'KEY-----\n\n')],
  ['a blank before', ` ${goodPem}`],
  ['text before', `key:\n${goodPem}`],
  ['text after', `${goodPem}\nmore`],
  ['a header inside', goodPem.replace('KEY-----\n', 'KEY-----\nProc-Type: 4,ENCRYPTED\n')],
  ['a NUL', goodPem.replace('\n', '\0\n')],
  [
    'trailing bits that no encoder sets',
    goodPem.replace(/.==\n|.=\n/, (end) => `/${end.slice(1)}`),
  ],
])('129 device key: %s is refused', async (_, pem) => {
  expect(await readDeviceKey(pem)).toEqual(REFUSED)
})

describe('126 device key: a point that is none is refused', () => {
  const offCurve = Buffer.from(point)
  offCurve[63] = (offCurve[63] ?? 0) ^ 1
  const p = Buffer.from('ffffffff00000001000000000000000000000000ffffffffffffffffffffffff', 'hex')

  test.each<[string, Uint8Array]>([
    ['off the curve', spki(4, offCurve)],
    ['all zero', spki(4, new Uint8Array(64))],
    ['hybrid 06', spki(6, point)],
    ['hybrid 07', spki(7, point)],
    ['x = p, y = p', spki(4, Buffer.concat([p, p]))],
    ['infinity', Buffer.from('301a301306072a8648ce3d020106082a8648ce3d03010703020000', 'hex')],
    [
      'compressed',
      Buffer.concat([
        Buffer.from('3039301306072a8648ce3d020106082a8648ce3d030107032200', 'hex'),
        Buffer.from([2 + ((point[63] ?? 0) & 1)]),
        point.subarray(0, 32),
      ]),
    ],
    ['trailing bytes', Buffer.concat([spki(4, point), Buffer.from([0, 0])])],
    ['cut short', spki(4, point).subarray(0, 90)],
    ['empty', new Uint8Array()],
  ])('%s', async (_, der) => {
    expect(await readDeviceKey(pemOf(der))).toEqual(REFUSED)
  })
})

describe('127 device key: a key of another kind is refused', () => {
  const options = { format: 'der', type: 'spki' } as const
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export(options)
  const others: [string, Uint8Array][] = [
    ['P-384', p384],
    ['secp256k1', generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export(options)],
    ['RSA', generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export(options)],
    ['Ed25519', generateKeyPairSync('ed25519').publicKey.export(options)],
    ['X25519', generateKeyPairSync('x25519').publicKey.export(options)],
    ['P-384 labelled as P-256', Buffer.concat([Buffer.from(PREFIX, 'hex'), p384.subarray(23)])],
    ['a P-384 point cut to P-256', spki(4, p384.subarray(24, 88))],
  ]
  test.each(others)('%s', async (_, der) => {
    expect(await readDeviceKey(pemOf(der))).toEqual(REFUSED)
  })
})

describe('128 device key: something else in PEM is refused', () => {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  test.each<[string, string]>([
    ['a private key', pair.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()],
    [
      'a private key of the old form',
      pair.privateKey.export({ format: 'pem', type: 'sec1' }).toString(),
    ],
    [
      'a private key labelled as public',
      pemOf(pair.privateKey.export({ format: 'der', type: 'pkcs8' })),
    ],
    ['a certificate', pemOf(spki(4, point), 'CERTIFICATE')],
    ['two blocks', goodPem + goodPem],
    [
      'a public and a private block',
      goodPem + pair.privateKey.export({ format: 'pem', type: 'pkcs8' }),
    ],
    ['64 KiB', pemOf(new Uint8Array(48 * 1024))],
    ['a million blank lines', `-----BEGIN PUBLIC KEY-----${'\n'.repeat(1e6)}`],
    ['nothing', ''],
    ['bare base64', body],
  ])('%s', async (_, pem) => {
    expect(await readDeviceKey(pem)).toEqual(REFUSED)
  })
})

describe('130 device key: a key that everyone holds is refused', () => {
  const G =
    '6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296' +
    '4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5'
  const minusY = 'b01cbd1c01e58065711814b583f061e9d431cca994cea1313449bf97c840ae0a'
  const published: [string, string, string][] = [
    ['base point G', Buffer.from(G.slice(0, 64), 'hex').toString('base64url'), G.slice(64)],
    ['its negative', Buffer.from(G.slice(0, 64), 'hex').toString('base64url'), minusY],
  ]
  test.each(published)('%s', async (_, x, y) => {
    const der = spki(4, Buffer.concat([decoded(x), Buffer.from(y, 'hex')]))
    expect(await readDeviceKey(pemOf(der))).toEqual(REFUSED)
  })

  test.each([
    [
      'RFC 7515 A.3',
      'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
      'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
    ],
    [
      'RFC 7517 A.1',
      'MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4',
      '4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM',
    ],
    [
      'RFC 6979 A.2.5',
      'YP7UuiVanTHJYet0xjVtaMBJuJI7Yfps5mliLmDyn7Y',
      'eQP-EAi4vE-mkrwiip9cZaepFiR0VyOGLkmMo0tFInc',
    ],
  ])('the example of %s', async (_, x, y) => {
    const der = spki(4, Buffer.concat([decoded(x), decoded(y)]))
    expect(await readDeviceKey(pemOf(der))).toEqual(REFUSED)
  })
})

describe('350 agreement key', () => {
  test('a public P-256 JWK is read; what a public key may carry besides is dropped', async () => {
    const read = await readPublicJwk({ ...jwk, kid: 'mine', use: 'enc', alg: 'ECDH-ES' })
    expect(read).toEqual({
      ok: true,
      value: {
        jwk: { kty: 'EC', crv: 'P-256', x: jwk.x, y: jwk.y },
        thumbprint: await calculateJwkThumbprint(jwk),
      },
    })
  })

  const { x = '', y = '' } = jwk
  test.each<[string, object]>([
    ['a private member', { ...jwk, d: x }],
    ['an empty private member', { ...jwk, d: undefined }],
    ['another curve', { ...jwk, crv: 'P-384' }],
    ['another type', { ...jwk, kty: 'OKP' }],
    ['no y', { kty: 'EC', crv: 'P-256', x }],
    ['a point off the curve', { ...jwk, y: x }],
    // Another spelling would be another thumbprint of the same key.
    ['a padded coordinate', { ...jwk, x: `${x}=` }],
    ['plain base64', { ...jwk, x: Buffer.from(decoded(x)).toString('base64') }],
    ['a blank in a coordinate', { ...jwk, x: `${x} ` }],
    [
      'a coordinate with a leading zero',
      { ...jwk, x: Buffer.concat([Buffer.of(0), decoded(x)]).toString('base64url') },
    ],
    ['a coordinate as array', { ...jwk, x: [x] }],
    ['a coordinate as number', { ...jwk, y: 7 }],
    ['an empty coordinate', { ...jwk, y: '' }],
    ['an object as coordinate', { ...jwk, x: { toString: () => x, valueOf: () => y } }],
  ])('%s is refused', async (_, bent) => {
    expect(await readPublicJwk(bent)).toEqual(REFUSED)
  })

  test('trailing bits that no encoder sets are refused', async () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const spelled = x.slice(0, -1) + alphabet[alphabet.indexOf(x.slice(-1)) | 1]
    expect(await readPublicJwk({ ...jwk, x: spelled })).toEqual(REFUSED)
  })
})

test('126 device key: any text and any JSON object give a Result', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => pemOf(Buffer.from(text))),
      ),
      async (text) => {
        expect(await readDeviceKey(text)).toEqual(REFUSED)
      },
    ),
  )
  await fc.assert(
    fc.asyncProperty(
      fc.record(
        {
          kty: fc.constantFrom('EC', 7),
          crv: fc.constantFrom('P-256', null),
          x: fc.anything(),
          y: fc.anything(),
        },
        { requiredKeys: [] },
      ),
      async (object) => {
        expect(await readPublicJwk(object as object)).toEqual(REFUSED)
      },
    ),
  )
})
