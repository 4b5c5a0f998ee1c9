import { createHmac, sign as nodeSign } from 'node:crypto'
import fc from 'fast-check'
import { exportJWK, exportPKCS8, exportSPKI } from 'jose'
import { beforeAll, describe, expect, test } from 'vitest'
import {
  CLIENT_ASSERTION_TYPE,
  clientOfAssertion,
  verifyClientAssertion,
} from '../../../src/services/client-assertion.ts'
import type { ClientSigningJwk } from '../../../src/services/client-keys.ts'
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

const ISSUER = 'https://id.example.com'
const NOW = 1_795_000_000
const ACCEPTED = 'accepted'

let signers: Record<Alg, Signer>
let es256: Signer
let keys: readonly ClientSigningJwk[]

beforeAll(async () => {
  const [ES256, PS256, EdDSA] = await Promise.all([
    makeSigner('ES256'),
    makeSigner('PS256'),
    makeSigner('EdDSA'),
  ])
  signers = { ES256, PS256, EdDSA }
  es256 = ES256
  keys = [ES256.registered, PS256.registered, EdDSA.registered]
})

const claims = {
  iss: 'bar',
  sub: 'bar',
  aud: ISSUER,
  exp: NOW + 60,
  iat: NOW,
  jti: 'one',
}

function headerWith(changes: object = {}): object {
  return { alg: 'ES256', kid: 'ES256', typ: 'JWT', ...changes }
}

/** What becomes of `assertion`, sent by client `bar`. */
async function verdict(
  assertion: string,
  client: { keys?: readonly ClientSigningJwk[] } = {},
): Promise<string> {
  const read = await verifyClientAssertion(
    assertion,
    { clientId: 'bar', keys, ...client },
    ISSUER,
    NOW,
  )
  return read.ok ? ACCEPTED : read.reason
}

/** What becomes of an assertion of ES256 that is right but for `changes`. */
async function verdictOnClaims(changes: object): Promise<string> {
  return verdict(await signJws(headerWith(), { ...claims, ...changes }, es256))
}

async function verdictOnHeader(changes: object): Promise<string> {
  return verdict(await signJws(headerWith(changes), claims, es256))
}

test('the type has the name of RFC 7523', () => {
  expect(CLIENT_ASSERTION_TYPE).toBe('urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
})

describe('062 what is accepted', () => {
  test.each<Alg>(['ES256', 'PS256', 'EdDSA'])('%s', async (alg) => {
    const jws = await signJws({ alg, kid: alg }, claims, signers[alg])
    expect(await verdict(jws)).toBe(ACCEPTED)
  })

  test('what has to be remembered, until no clock takes the assertion any more', async () => {
    const read = async (exp: number) =>
      verifyClientAssertion(
        await signJws(headerWith(), { ...claims, exp, jti: 'j'.repeat(256) }, es256),
        { clientId: 'bar', keys },
        ISSUER,
        NOW,
      )
    const value = { jti: 'j'.repeat(256), expiresAt: NOW + 70 }
    expect(await read(NOW + 60)).toEqual({ ok: true, value })
    expect(await read(NOW + 59.5)).toEqual({ ok: true, value })
  })

  test.each<[string, object]>([
    ['no typ', { typ: undefined }],
    ['typ of its own', { typ: 'client-authentication+jwt' }],
    ['hashes of a certificate', { x5t: 'AAAA', 'x5t#S256': 'AAAA' }],
  ])('%s', async (_, changes) => {
    expect(await verdictOnHeader(changes)).toBe(ACCEPTED)
  })

  test('a key whose registration says what it is for', async () => {
    for (const alg of ['ES256', 'PS256', 'EdDSA'] as const) {
      const jws = await signJws({ alg, kid: alg }, claims, signers[alg])
      const key = { ...signers[alg].registered, use: 'sig', alg } as const
      expect(await verdict(jws, { keys: [key as ClientSigningJwk] })).toBe(ACCEPTED)
    }
  })

  test('no iat; claims that nobody knows', async () => {
    expect(await verdictOnClaims({ iat: undefined })).toBe(ACCEPTED)
    expect(await verdictOnClaims({ scope: 'x', htm: 'POST' })).toBe(ACCEPTED)
  })
})

describe('109 111 the algorithm is that of the key', () => {
  test.each<[string, unknown, string]>([
    ['none', 'none', 'wrong_alg'],
    ['None', 'None', 'wrong_alg'],
    ['nOnE', 'nOnE', 'wrong_alg'],
    ['empty', '', 'wrong_alg'],
    ['lower case', 'es256', 'wrong_alg'],
    ['absent', undefined, 'malformed'],
    ['null', null, 'malformed'],
    ['an array', ['ES256'], 'malformed'],
    ['a name every object has', 'constructor', 'wrong_alg'],
  ])('109 alg %s', async (_, alg, fault) => {
    expect(await verdictOnHeader({ alg })).toBe(fault)
  })

  test('062 109 alg none without a signature', async () => {
    const input = `${segment(headerWith({ alg: 'none' }))}.${segment(claims)}`
    expect(await verdict(`${input}.`)).toBe('wrong_alg')
    expect(await verdict(input)).toBe('malformed')
    expect(await verdict(`${segment(headerWith())}.${segment(claims)}.`)).toBe('wrong_signature')
  })

  test('062 110 HS256 with the public key as secret', async () => {
    const spki = Buffer.from(await crypto.subtle.exportKey('spki', es256.publicKey))
    const secrets = [
      await exportSPKI(es256.publicKey),
      spki,
      JSON.stringify(await exportJWK(es256.publicKey)),
    ]
    for (const secret of secrets) {
      for (const alg of ['HS256', 'ES256']) {
        const input = `${segment(headerWith({ alg }))}.${segment(claims)}`
        // HMAC-SHA-512 is as long as an ES256 signature.
        for (const hash of ['sha256', 'sha512']) {
          const mac = createHmac(hash, secret).update(input).digest('base64url')
          expect(await verdict(`${input}.${mac}`)).not.toBe(ACCEPTED)
        }
      }
    }
  })

  test.each([
    'ES384',
    'ES512',
    'ES256K',
    'EdDSA',
    'Ed25519',
    'RS256',
    'PS256',
    'HS256',
    'RSA-OAEP',
    'ECDH-ES',
  ])('111 alg %s though an ES256 key signed it', async (alg) => {
    expect(await verdictOnHeader({ alg })).toBe('wrong_alg')
  })

  test('062 111 RS256 by an RSA key, Ed25519 as the name of EdDSA, PS256 with another salt', async () => {
    const pkcs8 = await exportPKCS8(signers.PS256.privateKey)
    const input = (alg: string) => `${segment({ alg, kid: 'PS256' })}.${segment(claims)}`
    const rs256 = nodeSign('sha256', Buffer.from(input('RS256')), pkcs8).toString('base64url')
    expect(await verdict(`${input('RS256')}.${rs256}`)).toBe('wrong_alg')
    const disguised = nodeSign('sha256', Buffer.from(input('PS256')), pkcs8).toString('base64url')
    expect(await verdict(`${input('PS256')}.${disguised}`)).toBe('wrong_signature')
    for (const saltLength of [0, 20, 64]) {
      const options = { key: pkcs8, padding: 6, saltLength }
      const salted = nodeSign('sha256', Buffer.from(input('PS256')), options)
      expect(await verdict(`${input('PS256')}.${salted.toString('base64url')}`)).toBe(
        'wrong_signature',
      )
    }
    const eddsa = await signJws({ alg: 'Ed25519', kid: 'EdDSA' }, claims, signers.EdDSA)
    expect(await verdict(eddsa)).toBe('wrong_alg')
  })

  test('no key signs for another', async () => {
    for (const alg of ['ES256', 'PS256', 'EdDSA'] as const) {
      for (const kid of ['ES256', 'PS256', 'EdDSA'] as const) {
        const expected = alg === kid ? ACCEPTED : 'wrong_alg'
        expect(await verdict(await signJws({ alg, kid }, claims, signers[alg]))).toBe(expected)
        const lied = await signJws({ alg: kid, kid }, claims, signers[alg])
        expect(await verdict(lied)).toBe(alg === kid ? ACCEPTED : 'wrong_signature')
      }
    }
    const stranger = await makeSigner('ES256')
    expect(await verdict(await signJws(headerWith(), claims, stranger))).toBe('wrong_signature')
  })
})

test.each<[string, unknown, string]>([
  ['absent', undefined, 'malformed'],
  ['unknown', 'other', 'unknown_key'],
  ['a path', '../../x', 'unknown_key'],
  ['SQL', "' OR 1=1--", 'unknown_key'],
  ['empty', '', 'malformed'],
  ['10 KiB', 'k'.repeat(10_240), 'malformed'],
  ['1 KiB', 'k'.repeat(1024), 'malformed'],
  ['an array', ['ES256'], 'malformed'],
  ['an object', { toString: 'ES256' }, 'malformed'],
  ['a number', 0, 'malformed'],
  ['a name every object has', '__proto__', 'unknown_key'],
])('112 kid %s', async (_, kid, fault) => {
  expect(await verdictOnHeader({ kid })).toBe(fault)
})

test('112 a client without keys', async () => {
  expect(await verdict(await signJws(headerWith(), claims, es256), { keys: [] })).toBe(
    'unknown_key',
  )
})

test.each<[string, object]>([
  ['113 jku', { jku: 'https://evil.example/jwks.json' }],
  ['113 jku of our own', { jku: `${ISSUER}/.well-known/jwks.json` }],
  ['113 x5u', { x5u: 'https://evil.example/cert.pem' }],
  ['113 x5c', { x5c: ['MIIB'] }],
  ['113 jwk', { jwk: { kty: 'EC' } }],
  ['114 crit with an unknown name', { crit: ['x'], x: 1 }],
  ['114 crit with a known name', { crit: ['exp'], exp: NOW }],
  ['114 empty crit', { crit: [] }],
  ['114 b64 false', { b64: false, crit: ['b64'] }],
  ['114 b64 true', { b64: true }],
  ['114 cty', { cty: 'JWT' }],
  ['114 zip', { zip: 'DEF' }],
  ['114 enc', { enc: 'A256GCM' }],
  ['114 any other', { nonce: 'x' }],
  ['115 typ dpop+jwt', { typ: 'dpop+jwt' }],
  ['115 typ at+jwt', { typ: 'at+jwt' }],
  ['115 typ logout+jwt', { typ: 'logout+jwt' }],
  ['115 typ of a device statement', { typ: 'idtoken-approve+jwt' }],
  ['115 typ jwt', { typ: 'jwt' }],
  ['115 typ empty', { typ: '' }],
  ['115 typ null', { typ: null }],
  ['115 typ an array', { typ: ['JWT'] }],
])('%s', async (_, changes) => {
  expect(await verdictOnHeader(changes)).toBe('malformed')
})

test('114 members that JSON.stringify does not write', async () => {
  for (const members of [
    '"__proto__":{"alg":"none"}',
    '"constructor":1',
    '"toString":1',
    '"x":1',
  ]) {
    const jws = await signJws(jsonWith(headerWith(), members), claims, es256)
    expect(await verdict(jws), members).toBe('malformed')
  }
  // Of two members of one name the last one counts, for every check alike.
  const twice = await signJws(jsonWith(headerWith(), '"alg":"none"'), claims, es256)
  expect(await verdict(twice)).toBe('wrong_alg')
  const subject = await signJws(headerWith(), jsonWith(claims, '"sub":"other"'), es256)
  expect(await verdict(subject)).toBe('wrong_client')
  expect(clientOfAssertion(subject)).toBe('other')
})

describe('116 long texts are not looked at', () => {
  test('64 KiB, a 16 KiB header, one character above the limit', async () => {
    expect(await verdictOnClaims({ x: 'o'.repeat(64 * 1024) })).toBe('malformed')
    expect(await verdictOnHeader({ x5t: 'k'.repeat(16 * 1024) })).toBe('malformed')
    const filled = async (blanks: number) =>
      signJws(headerWith(), `${JSON.stringify(claims)}${' '.repeat(blanks)}`, es256)
    const room = 8192 - (await filled(0)).length
    const longest = await filled(Math.floor(room * 0.75) - 2)
    expect(longest.length).toBeGreaterThan(8180)
    expect(await verdict(longest)).toBe(ACCEPTED)
    expect(await verdict(await filled(Math.floor(room * 0.75) + 4))).toBe('malformed')
  })

  test('a megabyte costs nothing', async () => {
    const huge = 'A'.repeat(1 << 20)
    expect(clientOfAssertion(huge)).toBeUndefined()
    for (const text of [`${huge}.${huge}.${huge}`, '.'.repeat(1 << 20)]) {
      expect(await verdict(text)).toBe('malformed')
      expect(await costOf(() => verdict(text))).toBeLessThan(2)
    }
  })
})

describe('118 the signature is 64 bytes', () => {
  test('DER, strict and lax', async () => {
    const input = `${segment(headerWith())}.${segment(claims)}`
    const key = await exportPKCS8(es256.privateKey)
    const der = nodeSign('sha256', Buffer.from(input), { key, dsaEncoding: 'der' })
    const squeezed = Buffer.concat([der, Buffer.alloc(64)]).subarray(0, 64)
    for (const signature of [der, Buffer.concat([der, Buffer.of(0)]), squeezed]) {
      expect(await verdict(`${input}.${signature.toString('base64url')}`)).toBe('wrong_signature')
    }
  })

  test.each([0, 1, 63, 65, 96, 128])('%i bytes', async (length) => {
    for (const alg of ['ES256', 'PS256', 'EdDSA'] as const) {
      const input = `${segment({ alg, kid: alg })}.${segment(claims)}`
      const good = await signatureOver(input, signers[alg])
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

  test('a registered key that is no point of its curve has signed nothing', async () => {
    const zero = Buffer.alloc(32).toString('base64url')
    const off = { kty: 'EC', crv: 'P-256', x: zero, y: zero, kid: 'ES256' } as const
    const jws = await signJws(headerWith(), claims, es256)
    expect(await verdict(jws, { keys: [off] })).toBe('wrong_signature')
  })
})

describe('121 times', () => {
  const wrong: [string, string][] = [
    ['absent', ''],
    ['a string', `"${NOW + 60}"`],
    ['1e400', '1e400'],
    ['negative', '-1'],
    ['in milliseconds', `${(NOW + 60) * 1000}`],
    ['null', 'null'],
    ['an array', `[${NOW + 60}]`],
    ['true', 'true'],
  ]
  const without = (name: string) =>
    Object.fromEntries(Object.entries(claims).filter(([n]) => n !== name))

  test.each(wrong)('062 exp %s', async (_, text) => {
    const payload = text === '' ? without('exp') : jsonWith(without('exp'), `"exp":${text}`)
    expect(await verdict(await signJws(headerWith(), payload, es256))).toBe('wrong_claims')
  })

  test.each(wrong.slice(1))('iat and nbf %s', async (_, text) => {
    for (const name of ['iat', 'nbf']) {
      const payload = jsonWith(without('iat'), `"${name}":${text}`)
      expect(await verdict(await signJws(headerWith(), payload, es256))).toBe('wrong_claims')
    }
  })

  test('exp is over at its second', async () => {
    expect(await verdictOnClaims({ exp: NOW - 300 })).toBe('expired')
    expect(await verdictOnClaims({ exp: NOW })).toBe('expired')
    expect(await verdictOnClaims({ exp: NOW + 0.5 })).toBe(ACCEPTED)
    expect(await verdictOnClaims({ exp: NOW + 1 })).toBe(ACCEPTED)
  })

  test('062 exp is at most five minutes ahead, with ten seconds for the clocks', async () => {
    expect(await verdictOnClaims({ exp: NOW + 308 })).toBe(ACCEPTED)
    expect(await verdictOnClaims({ exp: NOW + 310 })).toBe(ACCEPTED)
    expect(await verdictOnClaims({ exp: NOW + 311 })).toBe('expires_too_late')
    expect(await verdictOnClaims({ exp: NOW + 3600 })).toBe('expires_too_late')
  })

  test.each(['iat', 'nbf'])('062 %s 8 s ahead is accepted, 61 s is not', async (name) => {
    expect(await verdictOnClaims({ [name]: NOW + 8 })).toBe(ACCEPTED)
    expect(await verdictOnClaims({ [name]: NOW + 30 })).toBe(ACCEPTED)
    expect(await verdictOnClaims({ [name]: NOW + 31 })).toBe('from_the_future')
    expect(await verdictOnClaims({ [name]: NOW + 61 })).toBe('from_the_future')
    expect(await verdictOnClaims({ [name]: NOW - 3600 })).toBe(ACCEPTED)
  })
})

describe('122 who it is from and for', () => {
  test.each<[string, unknown, string]>([
    ['absent', undefined, 'wrong_claims'],
    ['empty', '', 'wrong_audience'],
    ['other', 'https://other.example', 'wrong_audience'],
    ['an array of us', [ISSUER], 'wrong_claims'],
    ['an array with us', [ISSUER, 'https://other.example'], 'wrong_claims'],
    ['an array without us', ['https://other.example'], 'wrong_claims'],
    ['a prefix of us', 'https://id.example.co', 'wrong_audience'],
    ['with slash', `${ISSUER}/`, 'wrong_audience'],
    ['in other case', 'https://ID.example.com', 'wrong_audience'],
    ['the token endpoint', `${ISSUER}/oidc/token`, 'wrong_audience'],
    ['the PAR endpoint', `${ISSUER}/oidc/par`, 'wrong_audience'],
    ['the client', 'bar', 'wrong_audience'],
  ])('062 aud %s', async (_, aud, fault) => {
    expect(await verdictOnClaims({ aud })).toBe(fault)
  })

  test.each<[string, object, string]>([
    ['iss is another', { iss: 'other' }, 'wrong_client'],
    ['sub is another', { sub: 'other' }, 'wrong_client'],
    ['both are another', { iss: 'other', sub: 'other' }, 'wrong_client'],
    ['iss in other case', { iss: 'Bar' }, 'wrong_client'],
    ['iss with slash', { iss: 'bar/' }, 'wrong_client'],
    ['iss is us', { iss: ISSUER }, 'wrong_client'],
    ['iss absent', { iss: undefined }, 'wrong_claims'],
    ['sub absent', { sub: undefined }, 'wrong_claims'],
    ['sub an array', { sub: ['bar'] }, 'wrong_claims'],
    ['jti absent', { jti: undefined }, 'wrong_claims'],
    ['jti empty', { jti: '' }, 'wrong_claims'],
    ['jti a number', { jti: 1 }, 'wrong_claims'],
    ['jti too long', { jti: 'j'.repeat(257) }, 'wrong_claims'],
  ])('062 %s', async (_, changes, fault) => {
    expect(await verdictOnClaims(changes)).toBe(fault)
  })
})

test.each<[string, object]>([
  ['dir with zip', { alg: 'dir', enc: 'A256GCM', zip: 'DEF' }],
  ['PBES2 with 10⁹ rounds', { alg: 'PBES2-HS256+A128KW', enc: 'A128GCM', p2c: 1e9, p2s: 'AAAA' }],
  ['RSA1_5', { alg: 'RSA1_5', enc: 'A128GCM' }],
])('123 a JWE of five parts: %s', async (_, header) => {
  const jwe = `${segment({ ...header, kid: 'PS256' })}.${segment('{}')}.AAAA.AAAA.AAAA`
  expect(await verdict(jwe)).toBe('malformed')
  expect(await costOf(() => verdict(jwe))).toBeLessThan(10)
})

describe('any text', () => {
  test('is refused and never throws', async () => {
    const part = fc.oneof(
      anyText,
      fc.json({ maxDepth: 2 }).map(segment),
      fc.constantFrom(segment(headerWith()), segment(claims), '', 'e30'),
    )
    const text = fc.oneof(
      anyText,
      fc.array(part, { maxLength: 6 }).map((parts) => parts.join('.')),
    )
    await fc.assert(
      fc.asyncProperty(text, async (jws) => {
        expect(await verdict(jws)).not.toBe(ACCEPTED)
        clientOfAssertion(jws)
      }),
      { numRuns: 200 },
    )
  })

  test('as claims, signed by the right key, is refused and never throws', async () => {
    await fc.assert(
      fc.asyncProperty(fc.json(), async (payload) => {
        const jws = await signJws(headerWith(), payload, es256)
        expect(['malformed', 'wrong_claims']).toContain(await verdict(jws))
      }),
      { numRuns: 50 },
    )
  })

  test('with one character changed, is refused', async () => {
    for (const alg of ['ES256', 'PS256', 'EdDSA'] as const) {
      const jws = await signJws({ alg, kid: alg }, claims, signers[alg])
      expect(await verdict(jws)).toBe(ACCEPTED)
      await fc.assert(
        fc.asyncProperty(anyMutationOf(jws), async (bent) => {
          expect(await verdict(bent)).not.toBe(ACCEPTED)
        }),
        { numRuns: 60 },
      )
      for (const bent of mutationsOf(jws, jws.length - 8)) {
        expect(await verdict(bent)).not.toBe(ACCEPTED)
      }
    }
  })

  test('in another spelling of the same bytes, is refused', async () => {
    const jws = await signJws(headerWith(), claims, es256)
    const [head, body, tail] = jws.split('.')
    const others = [
      `${jws}=`,
      `${jws}==`,
      ` ${jws}`,
      `${jws}\n`,
      `${head}=.${body}.${tail}`,
      `${head}.${body}.${tail}.`,
      `.${jws}`,
      `${head}\n.${body}.${tail}`,
      jws.replaceAll('-', '+').replaceAll('_', '/').concat(' '),
      `${segment(`\ufeff${JSON.stringify(headerWith())}`)}.${body}.${tail}`,
    ]
    for (const other of others) expect(await verdict(other)).toBe('malformed')
  })
})

test('bytes that are no UTF-8 are not read as something like it', async () => {
  const broken = Buffer.concat([Buffer.from('{"x":"'), Buffer.of(0xff), Buffer.from('"}')])
  const body = Buffer.concat([
    Buffer.from(JSON.stringify(claims).slice(0, -1)),
    Buffer.from(',"x":"'),
    Buffer.of(0xc0, 0xaf),
    Buffer.from('"}'),
  ])
  const input = `${segment(headerWith())}.${body.toString('base64url')}`
  const signature = (await signatureOver(input, es256)).toString('base64url')
  expect(await verdict(`${input}.${signature}`)).toBe('malformed')
  expect(clientOfAssertion(`${broken.toString('base64url')}.${segment(claims)}.`)).toBeUndefined()
})

describe('the client an assertion claims to come from', () => {
  test('is its sub, whoever signed it', () => {
    expect(clientOfAssertion(`${segment({})}.${segment({ sub: 'bar' })}.`)).toBe('bar')
    expect(clientOfAssertion(`e30.${segment({ sub: 's'.repeat(256) })}.AAAA`)).toHaveLength(256)
  })

  test.each<[string, unknown]>([
    ['absent', undefined],
    ['empty', ''],
    ['too long', 's'.repeat(257)],
    ['an array', ['bar']],
    ['a number', 1],
    ['null', null],
  ])('is nobody when it is %s', (_, sub) => {
    expect(clientOfAssertion(`e30.${segment({ sub })}.AAAA`)).toBeUndefined()
  })

  test.each(['', '.', '..', 'e30.e30', 'e30.W10.AAAA', 'e30.bnVsbA.AAAA', 'W10.e30.AAAA'])(
    'is nobody in %j',
    (text) => {
      expect(clientOfAssertion(text)).toBeUndefined()
    },
  )

  test('is nobody when the header is no object', () => {
    for (const header of ['W10', 'bnVsbA', 'MQ', '', 'e30=']) {
      expect(clientOfAssertion(`${header}.${segment({ sub: 'bar' })}.AAAA`)).toBeUndefined()
    }
  })

  test('is no member that every object has', () => {
    const payload = '{"__proto__":{"sub":"bar"}}'
    expect(clientOfAssertion(`e30.${segment(payload)}.AAAA`)).toBeUndefined()
  })
})
