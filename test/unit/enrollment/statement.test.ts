import { createHmac, sign as nodeSign } from 'node:crypto'
import fc from 'fast-check'
import { calculateJwkThumbprint, exportJWK, exportPKCS8, exportSPKI, generateKeyPair } from 'jose'
import { describe, expect, test } from 'vitest'
import { fromBase64url } from '../../../src/bytes.ts'
import type { DeviceKey } from '../../../src/enrollment/device-key.ts'
import {
  isFresh,
  isSignedBy,
  readStatement,
  STATEMENT_LIMIT,
  type StatementType,
} from '../../../src/enrollment/statement.ts'

const ISSUER = 'https://id.example.com'
const NOW = 1_795_000_000
const TYP = 'idtoken-approve+jwt'
const REFUSED = { ok: false, reason: 'invalid_statement' }

const pair = await generateKeyPair('ES256', { extractable: true })
const publicJwk = await exportJWK(pair.publicKey)
const { x = '', y = '' } = publicJwk
const thumbprint = await calculateJwkThumbprint(publicJwk)
const key: DeviceKey = { jwk: { kty: 'EC', crv: 'P-256', x, y }, thumbprint }
const privatePem = await exportPKCS8(pair.privateKey)

const digest = 'A'.repeat(43)
const tokenId = '0b5c1e1e-2f6a-4a7d-9a3c-6f0e5d4c3b2a'
const sessionId = `sess_${'a'.repeat(64)}`
const approval = {
  aud: ISSUER,
  iat: NOW,
  tokenId,
  sessionId,
  nonce: 'nonce',
  otp: '012345',
  service: 'bar-le-central',
  origin: 'https://bar.example',
  grantedScopes: ['identity:age_over_18', 'identity:given_name'],
  seal: digest,
}

function segment(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString(
    'base64url',
  )
}

async function signed(header: unknown, payload: unknown): Promise<string> {
  const input = `${segment(header)}.${segment(payload)}`
  const signature = await crypto.subtle.sign(
    { name: 'ECDSA', hash: 'SHA-256' },
    pair.privateKey,
    Buffer.from(input),
  )
  return `${input}.${Buffer.from(signature).toString('base64url')}`
}

function headerWith(changes: object): object {
  return { alg: 'ES256', typ: TYP, kid: thumbprint, ...changes }
}

/** Whether the server takes `jws` for an approval of this device. */
async function accepted(jws: string, typ: StatementType = TYP): Promise<boolean> {
  const read = readStatement(jws, typ, ISSUER)
  if (!read.ok) {
    expect(read).toEqual(REFUSED)
    return false
  }
  return isSignedBy(read.value, key)
}

async function acceptedWith(header: object, payload: object = {}): Promise<boolean> {
  return accepted(await signed(headerWith(header), { ...approval, ...payload }))
}

test('213 statement: the good one is read as it was signed', async () => {
  const jws = await signed(headerWith({}), approval)
  const read = readStatement(jws, TYP, ISSUER)
  expect(read.ok && read.value.payload).toEqual(approval)
  expect(await accepted(jws)).toBe(true)
})

test.each<[string, unknown]>([
  ['none', 'none'],
  ['None', 'None'],
  ['nOnE', 'nOnE'],
  ['empty', ''],
  ['absent', undefined],
  ['null', null],
  ['an array', ['ES256']],
  ['lower case', 'es256'],
])('109 statement: alg %s is refused', async (_, alg) => {
  expect(await acceptedWith({ alg })).toBe(false)
})

test('109 statement: without signature', async () => {
  const input = `${segment(headerWith({ alg: 'none' }))}.${segment(approval)}`
  expect(await accepted(`${input}.`)).toBe(false)
  expect(await accepted(input)).toBe(false)
})

test('110 statement: HS256 with the public key as secret is refused', async () => {
  const spki = Buffer.from(await crypto.subtle.exportKey('spki', pair.publicKey))
  const secrets = [await exportSPKI(pair.publicKey), spki, JSON.stringify(publicJwk)]
  for (const secret of secrets) {
    const input = `${segment(headerWith({ alg: 'HS256' }))}.${segment(approval)}`
    const mac = createHmac('sha256', secret).update(input).digest()
    expect(await accepted(`${input}.${mac.toString('base64url')}`)).toBe(false)
    // HMAC-SHA-512 is as long as an ES256 signature.
    const long = createHmac('sha512', secret).update(input).digest()
    expect(await accepted(`${input}.${long.toString('base64url')}`)).toBe(false)
  }
})

test.each(['ES384', 'ES512', 'ES256K', 'EdDSA', 'RS256', 'PS256', 'HS256', 'dir', 'ECDH-ES'])(
  '111 statement: alg %s is refused though the key signed it',
  async (alg) => {
    expect(await acceptedWith({ alg })).toBe(false)
  },
)

test.each<[string, unknown]>([
  ['absent', undefined],
  ['unknown', 'B'.repeat(43)],
  ['a name', 'my-phone'],
  ['a path', '../../x'],
  ['SQL', "' OR 1=1--"],
  ['10 KiB', 'k'.repeat(10_240)],
  ['an array', [thumbprint]],
  ['an object', { toString: thumbprint }],
  ['the thumbprint and a newline', `${thumbprint}\n`],
  ['empty', ''],
])('112 statement: kid %s is refused', async (_, kid) => {
  expect(await acceptedWith({ kid })).toBe(false)
})

test.each<[string, object]>([
  ['jku', { jku: 'https://evil.example/jwks.json' }],
  ['jku of our own', { jku: `${ISSUER}/.well-known/jwks.json` }],
  ['x5u', { x5u: 'https://evil.example/cert.pem' }],
  ['x5c', { x5c: ['MIIB'] }],
  ['x5t', { x5t: 'AAAA' }],
  ['jwk', { jwk: publicJwk }],
])('113 statement: %s in the header is refused', async (_, header) => {
  expect(await acceptedWith(header)).toBe(false)
})

test.each<[string, object]>([
  ['crit with an unknown name', { crit: ['x'], x: 1 }],
  ['crit with a known name', { crit: ['exp'], exp: NOW }],
  ['empty crit', { crit: [] }],
  ['b64 false', { b64: false, crit: ['b64'] }],
  ['b64 true', { b64: true }],
  ['cty', { cty: 'JWT' }],
  ['zip', { zip: 'DEF' }],
  ['__proto__', JSON.parse('{"__proto__": {"alg": "none"}}')],
])('114 statement: %s is refused', async (_, header) => {
  const text = JSON.stringify(headerWith({})).replace('}', `,${JSON.stringify(header).slice(1)}`)
  expect(await accepted(await signed(text, approval))).toBe(false)
})

test.each<[string, unknown]>([
  ['absent', undefined],
  ['JWT', 'JWT'],
  ['at+jwt', 'at+jwt'],
  ['dpop+jwt', 'dpop+jwt'],
  ['another act', 'idtoken-deny+jwt'],
  ['yet another act', 'idtoken-trust+jwt'],
  ['an act we do not have', 'idtoken-face+jwt'],
  ['upper case', TYP.toUpperCase()],
  ['with application/', `application/${TYP}`],
  ['an array', [TYP]],
])('115 statement: typ %s is refused', async (_, typ) => {
  expect(await acceptedWith({ typ })).toBe(false)
})

test('115 statement: no act passes for another', async () => {
  const always = { aud: ISSUER, iat: NOW, tokenId }
  const payloads: Record<StatementType, object> = {
    'idtoken-enroll+jwt': { aud: ISSUER, iat: NOW, challenge: 'c', seal: digest, deviceId: 'd' },
    'idtoken-pending+jwt': always,
    'idtoken-claim+jwt': { ...always, sessionId, via: 'push' },
    'idtoken-approve+jwt': approval,
    'idtoken-deny+jwt': { ...always, sessionId, nonce: 'n', reason: 'declined' },
    'idtoken-trust+jwt': { ...always, service: 'bar', vds: digest, trusted: true },
    'idtoken-update+jwt': always,
  }
  const types = Object.keys(payloads) as StatementType[]
  for (const stated of types) {
    const jws = await signed(headerWith({ typ: stated }), payloads[stated])
    for (const place of types) {
      expect(await accepted(jws, place), `${stated} at ${place}`).toBe(stated === place)
    }
  }
})

test('116 statement: 64 KiB, a 16 KiB header, one character above the limit', async () => {
  const long = await signed(headerWith({}), { ...approval, origin: 'o'.repeat(64 * 1024) })
  expect(await accepted(long)).toBe(false)
  expect(await acceptedWith({ kid: 'k'.repeat(16 * 1024) })).toBe(false)
  const filled = await signed(headerWith({}), `${JSON.stringify(approval)}${' '.repeat(5300)}`)
  expect(filled.length).toBeLessThan(STATEMENT_LIMIT)
  expect(await accepted(filled)).toBe(true)
  const over = await signed(headerWith({}), `${JSON.stringify(approval)}${' '.repeat(6000)}`)
  expect(over.length).toBeGreaterThan(STATEMENT_LIMIT)
  expect(await accepted(over)).toBe(false)
})

describe('118 statement: the signature is 64 bytes r‖s', () => {
  const input = `${segment(headerWith({}))}.${segment(approval)}`

  test('131 DER, strict and lax', async () => {
    const der = nodeSign('sha256', Buffer.from(input), { key: privatePem, dsaEncoding: 'der' })
    const lax = Buffer.concat([der, Buffer.of(0)])
    for (const signature of [der, lax]) {
      expect(await accepted(`${input}.${signature.toString('base64url')}`)).toBe(false)
    }
    // A DER signature that happens to fill 64 bytes must not verify either.
    const squeezed = Buffer.concat([der, Buffer.alloc(64)]).subarray(0, 64)
    expect(await accepted(`${input}.${squeezed.toString('base64url')}`)).toBe(false)
  })

  test.each([0, 1, 63, 65, 96, 128])('%i bytes', async (length) => {
    const good = Buffer.from(
      (await signed(headerWith({}), approval)).split('.')[2] ?? '',
      'base64url',
    )
    const bent = Buffer.concat([good, Buffer.alloc(64)]).subarray(0, length)
    // Refused by its form, before any key is asked.
    expect(readStatement(`${input}.${bent.toString('base64url')}`, TYP, ISSUER)).toEqual(REFUSED)
    expect(await accepted(`${input}.${bent.toString('base64url')}`)).toBe(false)
  })

  test('120 r or s zero, or the order of the curve', async () => {
    const n = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex')
    const good = Buffer.from(
      (await signed(headerWith({}), approval)).split('.')[2] ?? '',
      'base64url',
    )
    const [r, s, zero] = [good.subarray(0, 32), good.subarray(32), Buffer.alloc(32)]
    const bent = [
      [zero, s],
      [r, zero],
      [zero, zero],
      [n, s],
      [r, n],
      [n, n],
    ]
    for (const halves of bent) {
      expect(await accepted(`${input}.${Buffer.concat(halves).toString('base64url')}`)).toBe(false)
    }
  })

  test('each flipped bit', async () => {
    const good = fromBase64url((await signed(headerWith({}), approval)).split('.')[2] ?? '')
    for (let bit = 0; bit < 512; bit += 7) {
      const bent = Buffer.from(good ?? [])
      bent[bit >> 3] = (bent[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      expect(await accepted(`${input}.${bent.toString('base64url')}`)).toBe(false)
    }
  })
})

test.each<[string, unknown]>([
  ['absent', undefined],
  ['a string', String(NOW)],
  ['1e400', '@1e400'],
  ['negative', -1],
  ['milliseconds', NOW * 1000],
  ['a fraction', NOW + 0.5],
  ['null', null],
])('121 statement: iat %s is refused', async (_, iat) => {
  const text = JSON.stringify({ ...approval, iat }).replace('"@1e400"', '1e400')
  expect(await accepted(await signed(headerWith({}), text))).toBe(false)
})

test('220 statement: fresh is 30 s off at most, either way', () => {
  expect([-31, -30, -29, 0, 29, 30, 31].map((off) => isFresh(NOW + off, NOW))).toEqual([
    false,
    true,
    true,
    true,
    true,
    true,
    false,
  ])
})

test.each<[string, unknown]>([
  ['absent', undefined],
  ['empty', ''],
  ['other', 'https://id.example.net'],
  ['an array with us', [ISSUER]],
  ['a prefix of us', 'https://id.example.co'],
  ['us with a slash', `${ISSUER}/`],
  ['us in another case', 'https://ID.example.com'],
  ['us and a newline', `${ISSUER}\n`],
])('122 statement: aud %s is refused', async (_, aud) => {
  expect(await acceptedWith({}, { aud })).toBe(false)
})

test('123 statement: an encrypted one is refused unopened', async () => {
  const headers = [
    { alg: 'dir', enc: 'A256GCM', zip: 'DEF' },
    { alg: 'PBES2-HS256+A128KW', enc: 'A128GCM', p2c: 1e9, p2s: 'AAAA' },
    { alg: 'RSA1_5', enc: 'A128CBC-HS256' },
  ]
  for (const header of headers) expect(await accepted(`${segment(header)}.AA.AA.AA.AA`)).toBe(false)
})

test.each<[string, object]>([
  ['a member its typ does not have', { face: true }],
  ['exp', { exp: NOW + 60 }],
  ['sub', { sub: tokenId }],
  ['__proto__', JSON.parse('{"__proto__": {}}')],
  ['constructor', { constructor: 'x' }],
  ['no nonce', { nonce: undefined }],
  ['no service', { service: undefined }],
  ['no otp', { otp: undefined }],
  ['no grantedScopes', { grantedScopes: undefined }],
  ['no seal', { seal: undefined }],
  ['no origin', { origin: undefined }],
  ['no tokenId', { tokenId: undefined }],
  ['no sessionId', { sessionId: undefined }],
  ['grantedScopes unsorted', { grantedScopes: ['identity:name', 'identity:age_over_18'] }],
  ['grantedScopes twice', { grantedScopes: ['openid', 'openid'] }],
  ['grantedScopes as string', { grantedScopes: 'openid' }],
  ['grantedScopes of numbers', { grantedScopes: [1] }],
])('136 statement: %s is refused', async (_, payload) => {
  const spread = { ...approval }
  for (const [name, value] of Object.entries(payload)) {
    Object.defineProperty(spread, name, { value, enumerable: true })
  }
  expect(await accepted(await signed(headerWith({}), spread))).toBe(false)
})

const PROOF = 'Az09-_'.repeat(4).slice(0, 22)

describe('192 statement: how a phone says that it came by a login', () => {
  const always = { aud: ISSUER, iat: NOW, tokenId, sessionId }
  const readOf = async (payload: object) => {
    const typ = 'idtoken-claim+jwt'
    return readStatement(await signed(headerWith({ typ }), { ...always, ...payload }), typ, ISSUER)
  }

  test.each<object>([
    { via: 'push' },
    { via: 'camera', proof: PROOF },
    { via: 'link', proof: PROOF },
  ])('%j', async (payload) => {
    const read = await readOf(payload)
    expect(read.ok && read.value.payload).toEqual({ ...always, ...payload })
  })

  test.each<object>([
    {},
    { proof: PROOF },
    { via: 'push', proof: PROOF },
    { via: 'camera' },
    { via: 'link' },
    { via: 'nfc', proof: PROOF },
    { via: 'Camera', proof: PROOF },
    { via: ['camera'], proof: PROOF },
    { via: 'camera', proof: null },
    { via: 'camera', proof: [PROOF] },
    { via: 'camera', proof: '' },
    { via: 'camera', proof: PROOF.slice(1) },
    { via: 'camera', proof: `${PROOF}A` },
    { via: 'camera', proof: `${PROOF}\n` },
    { via: 'camera', proof: `${PROOF.slice(1)}+` },
    { via: 'camera', proof: PROOF, attempt: 1 },
  ])('%j is refused', async (payload) => {
    expect(await readOf(payload)).toEqual(REFUSED)
  })
})

describe('352 statement: what a person says of a service', () => {
  const said = { aud: ISSUER, iat: NOW, tokenId, service: 'bar', vds: digest, trusted: true }
  const readOf = async (payload: object) => {
    const typ = 'idtoken-trust+jwt'
    const text = await signed(headerWith({ typ }), { ...said, ...payload })
    return readStatement(text, typ, ISSUER)
  }

  test.each<object>([{}, { trusted: false }, { sessionId }])('%j', async (payload) => {
    const read = await readOf(payload)
    expect(read.ok && read.value.payload).toEqual({ ...said, ...payload })
  })

  test.each<object>([
    { trusted: undefined },
    { trusted: 'true' },
    { trusted: 1 },
    { vds: undefined },
    { vds: 'A'.repeat(42) },
    { vds: 'HC1:...' },
    { service: undefined },
    { service: '' },
    { tokenId: undefined },
    { sessionId: 'sess_1' },
    { sessionId: null },
    { nonce: 'n' },
  ])('%j is refused', async (payload) => {
    expect(await readOf(payload)).toEqual(REFUSED)
  })
})

test.each<[string, unknown]>([
  ['a number', 12345],
  ['full-width digits', '０１２３４５'],
  ['Arabic digits', '٠١٢٣٤٥'],
  ['a leading plus', '+12345'],
  ['a space', '01234 '],
  ['five digits', '01234'],
  ['seven digits', '0123456'],
  ['1e5', '1e5'],
  ['a newline', '000000\n'],
  ['NUL', '00000\0'],
])('010 statement: otp as %s is refused', async (_, otp) => {
  expect(await acceptedWith({}, { otp })).toBe(false)
})

test('010 statement: leading zeros of a code are kept', async () => {
  const read = readStatement(
    await signed(headerWith({}), { ...approval, otp: '000007' }),
    TYP,
    ISSUER,
  )
  expect(read.ok && read.value.payload.otp).toBe('000007')
})

test('008 statement: of a member stated twice the last one counts, everywhere', async () => {
  const text = JSON.stringify(approval).replace('{', '{"otp":"999999",')
  const read = readStatement(await signed(headerWith({}), text), TYP, ISSUER)
  expect(read.ok && read.value.payload.otp).toBe(approval.otp)
})

test.each<[string, unknown]>([
  ['upper case', tokenId.toUpperCase()],
  ['NUL', `${tokenId.slice(0, -1)}\0`],
  ['a lone surrogate', `${tokenId.slice(0, -1)}\ud800`],
  ['an array', [tokenId]],
  ['a newline', `${tokenId}\n`],
])('013 statement: tokenId with %s is refused', async (_, bent) => {
  expect(await acceptedWith({}, { tokenId: bent })).toBe(false)
})

describe('013 statement: the bytes', () => {
  test.each<[string, Uint8Array]>([
    ['invalid UTF-8', Buffer.from('{"aud":"\xff"}', 'latin1')],
    ['an overlong form', Buffer.from([0x22, 0xc0, 0xaf, 0x22])],
    [
      'a byte order mark',
      Buffer.concat([Buffer.of(0xef, 0xbb, 0xbf), Buffer.from(JSON.stringify(approval))]),
    ],
    ['UTF-16', Buffer.from(JSON.stringify(approval), 'utf16le')],
  ])('%s', async (_, bytes) => {
    const input = `${segment(headerWith({}))}.${Buffer.from(bytes).toString('base64url')}`
    const signature = await crypto.subtle.sign(
      { name: 'ECDSA', hash: 'SHA-256' },
      pair.privateKey,
      Buffer.from(input),
    )
    expect(await accepted(`${input}.${Buffer.from(signature).toString('base64url')}`)).toBe(false)
  })
})

test('statement: one text form only', async () => {
  const jws = await signed(headerWith({}), approval)
  const bent = [
    `${jws}.`,
    `.${jws}`,
    `${jws}=`,
    ` ${jws}`,
    `${jws}\n`,
    jws.replace('.', '..'),
    jws.replaceAll('.', ','),
  ]
  for (const text of bent) expect(await accepted(text)).toBe(false)
})

test('statement: any text gives a Result and is refused', () => {
  const types = [
    'idtoken-enroll+jwt',
    'idtoken-pending+jwt',
    'idtoken-claim+jwt',
    TYP,
    'idtoken-deny+jwt',
    'idtoken-trust+jwt',
    'idtoken-update+jwt',
  ] as const
  const near = fc
    .tuple(fc.json(), fc.json(), fc.uint8Array({ minLength: 64, maxLength: 64 }))
    .map(
      ([head, body, tail]) =>
        `${segment(head)}.${segment(body)}.${Buffer.from(tail).toString('base64url')}`,
    )
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.string({ unit: 'binary' }), near),
      fc.constantFrom(...types),
      (text, typ) => {
        expect(readStatement(text, typ, ISSUER)).toEqual(REFUSED)
      },
    ),
  )
})

test('statement: random members in place of the right ones give a Result', async () => {
  const names = Object.keys(approval) as (keyof typeof approval)[]
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...names), fc.jsonValue(), async (name, value) => {
      fc.pre(JSON.stringify(value) !== JSON.stringify(approval[name]))
      const read = readStatement(
        await signed(headerWith({}), { ...approval, [name]: value }),
        TYP,
        ISSUER,
      )
      // What is read is exactly what was said: nothing is coerced.
      if (read.ok) expect(read.value.payload).toEqual({ ...approval, [name]: value })
      else expect(read).toEqual(REFUSED)
    }),
  )
})
