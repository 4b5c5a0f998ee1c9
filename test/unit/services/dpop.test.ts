import { createHash, createHmac, sign as nodeSign } from 'node:crypto'
import fc from 'fast-check'
import { calculateJwkThumbprint, exportJWK, exportPKCS8, exportSPKI, generateKeyPair } from 'jose'
import { beforeAll, describe, expect, test } from 'vitest'
import { type ExpectedProof, isJkt, verifyDpopProof } from '../../../src/services/dpop.ts'
import {
  type Alg,
  anyMutationOf,
  anyText,
  costOf,
  jsonWith,
  makeSigner,
  mutationsOf,
  type Signer,
  segment,
  signatureOver,
  signJws,
} from './jws.ts'

const NOW = 1_795_000_000
const URL_OF_TOKEN = 'https://id.example.com/oidc/token'
const ACCEPTED = 'accepted'
const ACCESS_TOKEN = 'Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU'

let signers: Record<Alg, Signer>
let es256: Signer

beforeAll(async () => {
  const [ES256, PS256, EdDSA] = await Promise.all([
    makeSigner('ES256'),
    makeSigner('PS256'),
    makeSigner('EdDSA'),
  ])
  signers = { ES256, PS256, EdDSA }
  es256 = ES256
})

const claims = { jti: 'one', htm: 'POST', htu: URL_OF_TOKEN, iat: NOW, nonce: 'fresh' }

const expected: ExpectedProof = {
  method: 'POST',
  url: URL_OF_TOKEN,
  now: NOW,
  isNonce: async (nonce) => nonce === 'fresh',
}

function headerWith(changes: object = {}): object {
  return { typ: 'dpop+jwt', alg: 'ES256', jwk: es256.jwk, ...changes }
}

/** What becomes of `proof`: `accepted`, or the error and why. */
async function verdict(proof: string, changes: Partial<ExpectedProof> = {}): Promise<string> {
  const read = await verifyDpopProof(proof, { ...expected, ...changes })
  if (read.ok) return ACCEPTED
  const { error, why } = read.reason
  return error === 'invalid_dpop_proof' ? why : `${error}: ${why}`
}

async function verdictOnHeader(changes: object): Promise<string> {
  return verdict(await signJws(headerWith(changes), claims, es256))
}

async function verdictOnClaims(
  changes: object,
  request: Partial<ExpectedProof> = {},
): Promise<string> {
  return verdict(await signJws(headerWith(), { ...claims, ...changes }, es256), request)
}

describe('081 what is accepted', () => {
  test.each<Alg>(['ES256', 'PS256', 'EdDSA'])('%s, with the thumbprint of its key', async (alg) => {
    const { jwk } = signers[alg]
    const proof = await signJws({ typ: 'dpop+jwt', alg, jwk }, claims, signers[alg])
    const jkt = await calculateJwkThumbprint(jwk)
    expect(isJkt(jkt)).toBe(true)
    expect(await verifyDpopProof(proof, expected)).toEqual({
      ok: true,
      value: { jkt, jti: 'one', expiresAt: NOW + 70 },
    })
  })

  test('the thumbprint is that of the public members alone', async () => {
    const more = { ...es256.jwk, kid: 'x', use: 'enc', alg: 'RS256', key_ops: ['sign'], ext: true }
    const proof = await signJws(headerWith({ jwk: more }), claims, es256)
    expect(await verifyDpopProof(proof, expected)).toMatchObject({
      value: { jkt: await calculateJwkThumbprint(es256.jwk) },
    })
  })

  test('members of header and claims that nobody knows (RFC 9449 section 4.2)', async () => {
    expect(await verdictOnHeader({ kid: '../x', cty: 'x', foo: { bar: 1 } })).toBe(ACCEPTED)
    expect(await verdictOnClaims({ nbf: NOW, exp: NOW + 300, foo: 'bar', ath: 'x' })).toBe(ACCEPTED)
  })

  test('a jti of 256 characters', async () => {
    expect(await verdictOnClaims({ jti: 'j'.repeat(256) })).toBe(ACCEPTED)
  })
})

describe('RFC 9449', () => {
  // Figure 2, without the line breaks.
  const example = [
    'eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6Ik',
    'VDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR',
    'nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JE',
    'QSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIj',
    'oiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwia',
    'WF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg',
    '4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg',
  ].join('')
  const request = { url: 'https://server.example.com/token', now: 1_562_262_616 }

  test('its example proof lacks nothing but a nonce', async () => {
    expect(await verdict(example, request)).toBe('use_dpop_nonce: no_nonce')
    expect(await verdict(example, { ...request, now: NOW })).toBe('wrong_time')
    expect(await verdict(example, { ...request, url: URL_OF_TOKEN })).toBe('wrong_url')
    expect(await verdict(`${example.slice(0, -2)}Ag`, request)).toBe('wrong_signature')
  })

  test('the hash of its example token is the one in its example claims (section 7.1)', async () => {
    const ath = 'fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo'
    expect(await verdictOnClaims({ ath }, { accessToken: ACCESS_TOKEN })).toBe(ACCEPTED)
  })
})

describe('RFC 9449 section 4.3', () => {
  test('1: two headers, joined', async () => {
    const proof = await signJws(headerWith(), claims, es256)
    for (const value of [`${proof}, ${proof}`, `${proof},${proof}`, `${proof},`, `,${proof}`]) {
      expect(await verdict(value)).toBe('malformed')
    }
  })

  test.each(['', ' ', '.', '..', '...', 'x', 'Bearer x', 'e30.e30.e30', 'bnVsbA.bnVsbA.AAAA'])(
    '2: no JWT: %j',
    async (text) => {
      expect(await verdict(text)).toBe('malformed')
    },
  )

  test.each(['jti', 'htm', 'htu', 'iat'])(
    '3: claim %s absent, null or of another type',
    async (name) => {
      for (const value of [undefined, null, [], {}, true, name === 'iat' ? `${NOW}` : 1]) {
        expect(await verdictOnClaims({ [name]: value })).toBe('wrong_claims')
      }
    },
  )

  test('3: jti empty or too long; nonce or ath that are no text', async () => {
    for (const changes of [{ jti: '' }, { jti: 'j'.repeat(257) }, { nonce: 1 }, { ath: null }]) {
      expect(await verdictOnClaims(changes)).toBe('wrong_claims')
    }
  })

  test.each<[string, unknown]>([
    ['absent', undefined],
    ['null', null],
    ['JWT', 'JWT'],
    ['at+jwt', 'at+jwt'],
    ['client-authentication+jwt', 'client-authentication+jwt'],
    ['a device statement', 'idtoken-approve+jwt'],
    ['upper case', 'DPOP+JWT'],
    ['with application/', 'application/dpop+jwt'],
    ['an array', ['dpop+jwt']],
  ])('4: 115 typ %s', async (_, typ) => {
    expect(await verdictOnHeader({ typ })).toBe('malformed')
  })

  test.each(['none', 'None', 'nOnE', '', 'es256', 'HS256', 'RS256', 'PS256', 'ES384', 'ES256K'])(
    '5: 081 109 111 alg %j with an ES256 key',
    async (alg) => {
      expect(await verdictOnHeader({ alg })).toBe('wrong_key')
    },
  )

  test('5: 109 alg absent or an array; none without a signature', async () => {
    for (const alg of [undefined, null, ['ES256'], 1]) {
      expect(await verdictOnHeader({ alg })).toBe('malformed')
    }
    const input = `${segment(headerWith({ alg: 'none' }))}.${segment(claims)}`
    expect(await verdict(`${input}.`)).toBe('wrong_key')
    expect(await verdict(`${segment(headerWith())}.${segment(claims)}.`)).toBe('wrong_signature')
  })

  test('5: 111 RS256 with an RSA key, Ed25519 as the name of EdDSA, an encryption algorithm', async () => {
    const verdictOf = async (alg: string, signer: Signer) =>
      verdict(await signJws({ typ: 'dpop+jwt', alg, jwk: signer.jwk }, claims, signer))
    for (const alg of ['RS256', 'PS384', 'RSA-OAEP', 'ES256']) {
      expect(await verdictOf(alg, signers.PS256)).toBe('wrong_key')
    }
    for (const alg of ['Ed25519', 'ES256', 'Ed448']) {
      expect(await verdictOf(alg, signers.EdDSA)).toBe('wrong_key')
    }
    for (const alg of ['ECDH-ES', 'EdDSA']) expect(await verdictOf(alg, es256)).toBe('wrong_key')
    const header = { typ: 'dpop+jwt', alg: 'PS256', jwk: signers.PS256.jwk }
    const input = `${segment(header)}.${segment(claims)}`
    const pkcs1 = nodeSign(
      'sha256',
      Buffer.from(input),
      await exportPKCS8(signers.PS256.privateKey),
    )
    expect(await verdict(`${input}.${pkcs1.toString('base64url')}`)).toBe('wrong_signature')
  })

  test('5: 081 110 HS256, with a symmetric key inside or the public one as secret', async () => {
    const k = Buffer.alloc(32, 7).toString('base64url')
    const spki = Buffer.from(await crypto.subtle.exportKey('spki', es256.publicKey))
    const secrets = [
      Buffer.alloc(32, 7),
      await exportSPKI(es256.publicKey),
      spki,
      JSON.stringify(es256.jwk),
    ]
    for (const secret of secrets) {
      for (const jwk of [{ kty: 'oct', k }, es256.jwk]) {
        for (const alg of ['HS256', 'ES256']) {
          const input = `${segment(headerWith({ alg, jwk }))}.${segment(claims)}`
          const mac = createHmac('sha256', secret).update(input).digest('base64url')
          expect(['wrong_key', 'wrong_signature']).toContain(await verdict(`${input}.${mac}`))
        }
      }
    }
  })

  test('6: signed by another key than the one inside', async () => {
    const other = await makeSigner('ES256')
    expect(await verdict(await signJws(headerWith(), claims, other))).toBe('wrong_signature')
    expect(await verdictOnHeader({ jwk: other.jwk })).toBe('wrong_signature')
  })

  test('7: 081 a private key, or any member of one', async () => {
    for (const signer of Object.values(signers)) {
      const header = { typ: 'dpop+jwt', alg: signer.alg, jwk: await exportJWK(signer.privateKey) }
      expect(await verdict(await signJws(header, claims, signer))).toBe('wrong_key')
    }
    for (const member of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']) {
      for (const value of ['AAAA', null, '']) {
        const jwk = { ...es256.jwk, [member]: value }
        expect(await verdictOnHeader({ jwk }), member).toBe('wrong_key')
      }
    }
  })

  test.each(['post', 'Post', 'GET', '', 'POST ', 'PUT'])('8: 081 htm %j', async (htm) => {
    expect(await verdictOnClaims({ htm })).toBe('wrong_method')
  })

  test.each([
    URL_OF_TOKEN,
    `${URL_OF_TOKEN}?a=b`,
    `${URL_OF_TOKEN}#c`,
    `${URL_OF_TOKEN}?a=b#c`,
    `${URL_OF_TOKEN}?`,
    `${URL_OF_TOKEN}?u=https://other.example/@`,
    'HTTPS://ID.EXAMPLE.COM/oidc/token',
    'https://id.example.com:443/oidc/token',
    'https://id.example.com:/oidc/token',
    'https://id.example.com/x/../oidc/./token',
  ])('9: htu %s', async (htu) => {
    expect(await verdictOnClaims({ htu })).toBe(ACCEPTED)
    expect(await verdictOnClaims({ htu }, { url: `${URL_OF_TOKEN}?q=1` })).toBe(ACCEPTED)
  })

  test.each([
    '',
    '/oidc/token',
    'id.example.com/oidc/token',
    '//id.example.com/oidc/token',
    'https://id.example.com',
    'https://id.example.com/oidc/token/',
    'https://id.example.com/OIDC/token',
    'https://id.example.com/oidc/par',
    'https://id.example.com/oidc//token',
    'https://id.example.com/oidc/token%20',
    'https://id.example.com/oidc/token;x',
    'http://id.example.com/oidc/token',
    'https://id.example.com:8443/oidc/token',
    'https://id.example.com:80/oidc/token',
    'https://id.example.com./oidc/token',
    'https://other.example/oidc/token',
    'https://id.example.com.evil.example/oidc/token',
    'https://id.example.com@evil.example/oidc/token',
    'https://evil.example\\@id.example.com/oidc/token',
    'https://user@id.example.com/oidc/token',
    'https://:@id.example.com/oidc/token',
    'https:id.example.com/oidc/token',
    'https:/id.example.com/oidc/token',
    'https:///id.example.com/oidc/token',
    'https:\\\\id.example.com\\oidc\\token',
    'https://id.example.com\\oidc\\token',
    'https://id.exa\tmple.com/oidc/token',
    'https://id.example.com/oidc/to\nken',
    ' https://id.example.com/oidc/token',
    'https://id.example.com/oidc/token ',
    'https://id.example.com/oidc/token\u0000',
    'https://ｉd.example.com/oidc/token',
    'https://id%2eexample.com/oidc/token',
    'https://id.example.com:99999/oidc/token',
    'javascript://id.example.com/oidc/token',
    'data:text/plain,https://id.example.com/oidc/token',
    `${URL_OF_TOKEN}, ${URL_OF_TOKEN}`,
  ])('9: 081 htu %j', async (htu) => {
    expect(await verdictOnClaims({ htu })).toBe('wrong_url')
  })

  test('9: a loopback issuer with its port', async () => {
    const url = 'http://127.0.0.1:8787/oidc/token'
    expect(await verdictOnClaims({ htu: url }, { url })).toBe(ACCEPTED)
    for (const htu of ['http://127.0.0.1/oidc/token', 'http://localhost:8787/oidc/token']) {
      expect(await verdictOnClaims({ htu }, { url })).toBe('wrong_url')
    }
  })

  test('9: two addresses that can not be read are not the same', async () => {
    expect(await verdictOnClaims({ htu: 'nonsense' }, { url: 'nonsense' })).toBe('wrong_url')
  })

  describe('10: the nonce', () => {
    test('missing, old or of somebody else', async () => {
      expect(await verdictOnClaims({ nonce: undefined })).toBe('use_dpop_nonce: no_nonce')
      for (const nonce of ['', 'old', 'n'.repeat(1000)]) {
        expect(await verdictOnClaims({ nonce })).toBe('use_dpop_nonce: old_nonce')
      }
    })

    test('is only asked for when everything else is in order', async () => {
      const isNonce = async (): Promise<boolean> => {
        throw new Error('asked')
      }
      const accessToken = ACCESS_TOKEN
      const faults: [object, string][] = [
        [{ jti: '' }, 'wrong_claims'],
        [{ htm: 'GET' }, 'wrong_method'],
        [{ htu: 'https://other.example' }, 'wrong_url'],
        [{ iat: NOW - 3600 }, 'wrong_time'],
        [{ iat: NOW + 3600 }, 'wrong_time'],
        [{ ath: 'x' }, 'wrong_token'],
      ]
      for (const [fault, why] of faults) {
        for (const nonce of [undefined, 'old', 'fresh']) {
          const request = { isNonce, accessToken }
          expect(await verdictOnClaims({ ...fault, nonce }, request)).toBe(why)
        }
      }
      const stranger = await makeSigner('ES256')
      const forged = await signJws(headerWith(), { ...claims, nonce: undefined }, stranger)
      expect(await verdict(forged, { isNonce })).toBe('wrong_signature')
    })
  })

  test('11: 081 121 iat', async () => {
    for (const off of [-60, -10, -0.5, 0, 0.5, 8, 10, 30]) {
      expect(await verdictOnClaims({ iat: NOW + off }), `${off}`).toBe(ACCEPTED)
    }
    for (const off of [-3600, -300, -61, -60.5, 30.5, 31, 61, 3600]) {
      expect(await verdictOnClaims({ iat: NOW + off }), `${off}`).toBe('wrong_time')
    }
    const { iat, ...rest } = claims
    for (const text of ['1e400', '-1', `${iat * 1000}`, `"${iat}"`, 'null']) {
      const proof = await signJws(headerWith(), jsonWith(rest, `"iat":${text}`), es256)
      expect(await verdict(proof), text).toBe('wrong_claims')
    }
  })

  test('11: its jti is remembered longer than it is good for', async () => {
    for (const iat of [NOW - 60, NOW - 0.5, NOW + 30]) {
      const proof = await signJws(headerWith(), { ...claims, iat }, es256)
      const read = await verifyDpopProof(proof, expected)
      const until = read.ok ? read.value.expiresAt : 0
      expect(Number.isInteger(until)).toBe(true)
      expect(await verdict(proof, { now: until - 9 })).toBe('wrong_time')
      expect(await verdict(proof, { now: until - 11 })).toBe(ACCEPTED)
    }
  })

  test('12: 081 ath', async () => {
    const accessToken = ACCESS_TOKEN
    const hashOf = (text: string) => createHash('sha256').update(text).digest()
    const ath = hashOf(accessToken).toString('base64url')
    expect(await verdictOnClaims({ ath }, { accessToken })).toBe(ACCEPTED)
    const wrong = [
      undefined,
      '',
      accessToken,
      `${ath}=`,
      ath.toUpperCase(),
      hashOf(accessToken).toString('hex'),
      hashOf(`${accessToken} `).toString('base64url'),
      hashOf('').toString('base64url'),
    ]
    for (const each of wrong) {
      expect(await verdictOnClaims({ ath: each }, { accessToken })).toBe('wrong_token')
    }
    expect(await verdictOnClaims({ ath }, { accessToken: '' })).toBe('wrong_token')
  })
})

describe('the key', () => {
  const verdictOnKey = (jwk: unknown) => verdictOnHeader({ jwk })

  test('absent, or no object', async () => {
    for (const jwk of [undefined, null, 'x', 1]) expect(await verdictOnKey(jwk)).toBe('malformed')
    for (const jwk of [[], {}, [es256.jwk]]) expect(await verdictOnKey(jwk)).toBe('wrong_key')
  })

  test('of another kind or curve', async () => {
    const p384 = await generateKeyPair('ES384', { extractable: true })
    const x25519 = await generateKeyPair('ECDH-ES', { extractable: true, crv: 'X25519' })
    const keys = [
      await exportJWK(p384.publicKey),
      { ...(await exportJWK(p384.publicKey)), crv: 'P-256' },
      await exportJWK(x25519.publicKey),
      { ...es256.jwk, crv: 'secp256k1' },
      { ...es256.jwk, crv: 'P-384' },
      { ...es256.jwk, kty: 'OKP' },
      { ...es256.jwk, kty: 'ec' },
      { ...es256.jwk, kty: undefined },
    ]
    for (const jwk of keys) expect(await verdictOnKey(jwk)).toBe('wrong_key')
  })

  test('off the curve, all zero, or in another spelling: one key has one thumbprint', async () => {
    const { x, y } = es256.jwk as { x: string; y: string }
    const zero = Buffer.alloc(32).toString('base64url')
    const bytes = Buffer.from(x, 'base64url')
    const long = Buffer.concat([Buffer.of(0), bytes]).toString('base64url')
    const wrong = [
      { x: zero, y: zero },
      { x, y: x },
      { x: y, y: x },
      { x: long, y },
      { x: `${x}=`, y },
      { x: `${x} `, y },
      { x: bytes.toString('base64'), y: `${y}=` },
      { x: bytes.subarray(1).toString('base64url'), y },
      { x, y: undefined },
      { x: [x], y },
    ]
    for (const each of wrong)
      expect(await verdictOnKey({ ...es256.jwk, ...each })).toBe('wrong_key')
  })

  test('RSA of 2048 to 4096 bits with the exponent 65537, before any work is done', async () => {
    const verdictOnRsa = (bits: number, e = 'AQAB', first = 0xc1) => {
      const n = Buffer.alloc(bits / 8, 0xa5)
      n[0] = first
      const jwk = { kty: 'RSA', n: n.toString('base64url'), e }
      return verdictOnHeader({ alg: 'PS256', jwk })
    }
    for (const bits of [2048, 3072, 4096]) {
      expect(await verdictOnRsa(bits)).toBe('wrong_signature')
    }
    for (const bits of [0, 512, 1024, 2040, 4104]) {
      expect(await verdictOnRsa(bits)).toBe('wrong_key')
    }
    expect(await verdictOnRsa(2048, 'AQAB', 0x7f)).toBe('wrong_key')
    expect(await verdictOnRsa(2056, 'AQAB', 0)).toBe('wrong_key')
    for (const e of ['Aw', 'AAEAAQ', 'AQ', '', 'AQABAQABAQABAQAB', 'AQAB=']) {
      expect(await verdictOnRsa(2048, e)).toBe('wrong_key')
    }
  })

  test('a modulus of 16 KiB is not even read', async () => {
    const n = Buffer.alloc(16 * 1024, 0xa5).toString('base64url')
    const header = headerWith({ alg: 'PS256', jwk: { kty: 'RSA', n, e: 'AQAB' } })
    const proof = await signJws(header, claims, es256)
    expect(await verdict(proof)).toBe('malformed')
    expect(await costOf(() => verdict(proof))).toBeLessThan(2)
  })
})

test.each<[string, object]>([
  ['113 jku', { jku: 'https://evil.example/jwks.json' }],
  ['113 x5u', { x5u: 'https://evil.example/cert.pem' }],
  ['113 x5c', { x5c: ['MIIB'] }],
  ['114 crit with an unknown name', { crit: ['x'], x: 1 }],
  ['114 crit with a known name', { crit: ['exp'], exp: NOW }],
  ['114 empty crit', { crit: [] }],
  ['114 crit null', { crit: null }],
  ['114 b64 false', { b64: false, crit: ['b64'] }],
  ['114 b64 alone', { b64: true }],
])('%s', async (_, changes) => {
  expect(await verdictOnHeader(changes)).toBe('malformed')
})

test('112 a kid names nothing here', async () => {
  for (const kid of [undefined, '../../x', "' OR 1=1--", ['x'], 'k'.repeat(1024)]) {
    expect(await verdictOnHeader({ kid })).toBe(ACCEPTED)
  }
  expect(await verdictOnHeader({ kid: 'k'.repeat(10_240) })).toBe('malformed')
})

test('114 members that JSON.stringify does not write', async () => {
  const header = headerWith({ jwk: undefined })
  const proto = jsonWith(header, `"__proto__":${JSON.stringify({ jwk: es256.jwk })}`)
  expect(await verdict(await signJws(proto, claims, es256))).toBe('malformed')
  const jwk = jsonWith(header, `"jwk":{"__proto__":${JSON.stringify(es256.jwk)}}`)
  expect(await verdict(await signJws(jwk, claims, es256))).toBe('wrong_key')
})

test('116 64 KiB, a 16 KiB header', async () => {
  expect(await verdictOnClaims({ x: 'o'.repeat(64 * 1024) })).toBe('malformed')
  expect(await verdictOnHeader({ x: 'k'.repeat(16 * 1024) })).toBe('malformed')
})

describe('118 the signature', () => {
  test('DER, strict and lax', async () => {
    const input = `${segment(headerWith())}.${segment(claims)}`
    const key = await exportPKCS8(es256.privateKey)
    const der = nodeSign('sha256', Buffer.from(input), { key, dsaEncoding: 'der' })
    const squeezed = Buffer.concat([der, Buffer.alloc(64)]).subarray(0, 64)
    for (const signature of [der, Buffer.concat([der, Buffer.of(0)]), squeezed]) {
      expect(await verdict(`${input}.${signature.toString('base64url')}`)).toBe('wrong_signature')
    }
  })

  test.each([0, 63, 65, 96])('%i bytes', async (length) => {
    for (const signer of Object.values(signers)) {
      const header = { typ: 'dpop+jwt', alg: signer.alg, jwk: signer.jwk }
      const input = `${segment(header)}.${segment(claims)}`
      const good = await signatureOver(input, signer)
      const bent = Buffer.concat([good, Buffer.alloc(64)]).subarray(0, length)
      expect(await verdict(`${input}.${bent.toString('base64url')}`)).toBe('wrong_signature')
    }
  })

  test('120 r or s zero, or the order of the curve', async () => {
    const n = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex')
    const input = `${segment(headerWith())}.${segment(claims)}`
    const good = await signatureOver(input, es256)
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
      const signature = Buffer.concat(halves).toString('base64url')
      expect(await verdict(`${input}.${signature}`)).toBe('wrong_signature')
    }
  })
})

test.each<[string, object]>([
  ['dir with zip', { alg: 'dir', enc: 'A256GCM', zip: 'DEF' }],
  ['PBES2 with 10⁹ rounds', { alg: 'PBES2-HS256+A128KW', enc: 'A128GCM', p2c: 1e9, p2s: 'AAAA' }],
  ['RSA1_5', { alg: 'RSA1_5', enc: 'A128GCM' }],
])('123 a JWE of five parts: %s', async (_, header) => {
  const jwe = `${segment({ ...header, typ: 'dpop+jwt' })}.${segment('{}')}.AAAA.AAAA.AAAA`
  expect(await verdict(jwe)).toBe('malformed')
  expect(await costOf(() => verdict(jwe))).toBeLessThan(10)
})

describe('any text', () => {
  test('is refused and never throws', async () => {
    const part = fc.oneof(
      anyText,
      fc.json({ maxDepth: 2 }).map(segment),
      fc.constantFrom('', 'e30', segment(claims)),
    )
    const text = fc.oneof(
      anyText,
      fc.array(part, { maxLength: 6 }).map((parts) => parts.join('.')),
    )
    await fc.assert(
      fc.asyncProperty(text, async (proof) => {
        expect(await verdict(proof)).not.toBe(ACCEPTED)
      }),
      { numRuns: 200 },
    )
  })

  test('as key or as claims, signed, is refused and never throws', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        expect(['malformed', 'wrong_key']).toContain(await verdictOnHeader({ jwk: value }))
        expect(['malformed', 'wrong_claims']).toContain(
          await verdict(await signJws(headerWith(), JSON.stringify(value), es256)),
        )
      }),
      { numRuns: 50 },
    )
  })

  test('as htu is refused and never throws', async () => {
    const htu = fc.oneof(
      anyText,
      anyText.map((text) => `https://${text}/oidc/token`),
      anyText.map((text) => `https://id.example.com/${text}`),
    )
    await fc.assert(
      fc.asyncProperty(htu, async (each) => {
        expect(await verdictOnClaims({ htu: each })).toBe('wrong_url')
      }),
      { numRuns: 100 },
    )
  })

  test('with one character changed, is refused', async () => {
    for (const signer of Object.values(signers)) {
      const header = { typ: 'dpop+jwt', alg: signer.alg, jwk: signer.jwk }
      const proof = await signJws(header, claims, signer)
      expect(await verdict(proof)).toBe(ACCEPTED)
      await fc.assert(
        fc.asyncProperty(anyMutationOf(proof), async (bent) => {
          expect(await verdict(bent)).not.toBe(ACCEPTED)
        }),
        { numRuns: 60 },
      )
      for (const bent of mutationsOf(proof, proof.length - 8)) {
        expect(await verdict(bent)).not.toBe(ACCEPTED)
      }
    }
  })
})

describe('dpop_jkt', () => {
  test('is 32 bytes in their one spelling', () => {
    expect(isJkt('0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I')).toBe(true)
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 30, maxLength: 34 }), (bytes) => {
        expect(isJkt(Buffer.from(bytes).toString('base64url'))).toBe(bytes.length === 32)
      }),
    )
  })

  test.each([
    '',
    'A'.repeat(42),
    'A'.repeat(44),
    `${'A'.repeat(42)}B`,
    `${'A'.repeat(42)}=`,
    `${'A'.repeat(43)}=`,
    `${'A'.repeat(42)}\n`,
    `${'A'.repeat(43)}\n`,
    `${'A'.repeat(41)}+A`,
    ` ${'A'.repeat(42)}`,
  ])('is not %j', (text) => {
    expect(isJkt(text)).toBe(false)
  })

  test('is no other text', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        expect(isJkt(text)).toBe(/^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/.test(text))
      }),
    )
  })
})
