/**
 * What is no access token of ours though it looks like one (5-security 4.9), presented where signed access tokens are read.
 * Unless a case is about the signature it is genuine: our own key has signed, so it must be something else that is refused.
 */
import { env } from 'cloudflare:workers'
import { CompactEncrypt, exportJWK, exportSPKI, generateKeyPair, importJWK, type JWK } from 'jose'
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { type Bytes, concat, toBase64url, utf8 } from '../../src/bytes.ts'
import { type ClientKey, makeKey, signed } from './high-security.ts'
import { workerWith } from './other-worker.ts'
import { loggedIn } from './redeemed.ts'
import { type Client, claimsOf } from './relying-party.ts'
import {
  ACCESS_TOKEN,
  API,
  AT_API,
  exchange,
  freshKeys,
  introspect,
  LEDGER,
  ourKey,
  registerApi,
} from './resource-tokens.ts'
import { ISSUER, now, send } from './world.ts'

/** The order of P-256. */
const N = '/////wAAAAD//////////7zm+q2nF56E87nKwvxjJVE='

let client: Client
let api: Client
let genuine: string
/** Our own key, as a test signs with it. */
let ours: ClientKey
let header: Record<string, unknown>
let claims: Record<string, unknown>

beforeEach(async () => {
  await freshKeys()
  const login = await loggedIn(AT_API)
  client = login.client
  api = await registerApi()
  genuine = login.tokens.access_token
  ours = { ...(await makeKey()), ...(await ourKey()) }
  header = JSON.parse(atob(genuine.split('.')[0] ?? ''))
  claims = claimsOf(genuine)
})

/** Members of header and payload that differ; `undefined` takes one out. A text is a whole payload. */
interface Bent {
  readonly header?: Record<string, unknown>
  readonly payload?: Record<string, unknown> | string
  readonly signature?: (signature: Bytes) => Uint8Array
  readonly by?: ClientKey
}

function forge({ header: bent = {}, payload = {}, signature, by = ours }: Bent = {}) {
  const said = typeof payload === 'string' ? payload : { ...claims, ...payload }
  return signed({ ...header, ...bent }, said, by, signature)
}

/** Refused by client and resource at introspection, and as a subject token. */
async function expectRefused(text: string, what = ''): Promise<void> {
  for (const caller of [client, api]) {
    const { status, body } = await introspect(caller, text)
    expect([status, body], what).toEqual([200, { active: false }])
  }
  const exchanged = await exchange(api, text)
  expect([exchanged.status, exchanged.body.error], what).toEqual([400, 'invalid_request'])
}

async function expectTaken(text: string, what = ''): Promise<void> {
  for (const caller of [client, api]) {
    expect((await introspect(caller, text)).body.active, what).toBe(true)
  }
  expect((await exchange(api, text)).status, what).toBe(200)
}

const segment = (value: unknown) =>
  toBase64url(utf8(typeof value === 'string' ? value : JSON.stringify(value)))

test('introspection: what the forger makes is taken when it is bent in nothing', async () => {
  await expectTaken(genuine)
  await expectTaken(await forge())
})

describe('the header', () => {
  test('109 introspection: alg none, in any letters, absent or a list, signed or not', async () => {
    for (const alg of ['none', 'None', 'nOnE', '', undefined, null, ['ES256'], 'es256']) {
      await expectRefused(await forge({ header: { alg } }), `${alg} signed`)
      const unsigned = await forge({ header: { alg }, signature: () => new Uint8Array() })
      await expectRefused(unsigned, `${alg} unsigned`)
    }
    const [head, body] = genuine.split('.')
    await expectRefused(`${head}.${body}.`)
    await expectRefused(`${head}.${body}`)
  })

  test('110 introspection: HS256 with our public key as secret', async () => {
    const jwk: JWK = (await send('GET', '/jwks')).body.keys.find(
      ({ kid }: JWK) => kid === header.kid,
    )
    const key = (await importJWK(jwk, 'ES256', { extractable: true })) as CryptoKey
    const spki = new Uint8Array((await crypto.subtle.exportKey('spki', key)) as ArrayBuffer)
    const pem = await exportSPKI(key)
    const secrets = [utf8(pem), utf8(`${pem}\n`), spki, utf8(JSON.stringify(jwk))]
    for (const secret of secrets) {
      for (const alg of ['HS256', 'ES256']) {
        const hmac = { name: 'HMAC', hash: 'SHA-256' }
        const macKey = await crypto.subtle.importKey('raw', secret, hmac, false, ['sign'])
        const text = `${segment({ ...header, alg })}.${segment(claims)}`
        const mac = new Uint8Array(await crypto.subtle.sign('HMAC', macKey, utf8(text)))
        await expectRefused(`${text}.${toBase64url(mac)}`, alg)
      }
    }
  })

  test('111 introspection: the algorithm is the one of the key, whatever the header says', async () => {
    for (const alg of ['ES384', 'ES256K', 'EdDSA', 'RS256', 'PS256', 'HS256']) {
      await expectRefused(await forge({ header: { alg } }), alg)
    }
    const { kid } = await ourKey('RS256')
    await expectRefused(await forge({ header: { alg: 'RS256', kid } }))
    await expectRefused(await forge({ header: { kid } }))
    for (const alg of ['PS256', 'EdDSA'] as const) {
      await expectRefused(await forge({ header: { alg }, by: await makeKey(alg) }), alg)
    }
  })

  test('112 introspection: kid absent, unknown, an attack, a list', async () => {
    const stranger = await makeKey()
    const kids = [
      ...[undefined, null, '', 'unknown', stranger.thumbprint, '../../x', "' OR 1=1--"],
      ...[`${header.kid}=`, [header.kid], { kid: header.kid }, '\n{"at":1}', 'k'.repeat(6000)],
    ]
    const fetched = vi.spyOn(globalThis, 'fetch')
    onTestFinished(() => fetched.mockRestore())
    for (const kid of kids) await expectRefused(await forge({ header: { kid } }), String(kid))
    // And by a stranger under the name of our key.
    await expectRefused(await forge({ by: stranger }))
    expect(fetched).not.toHaveBeenCalled()
  })

  test('113 introspection: a key or an address in the header, even our own', async () => {
    const stranger = await makeKey()
    const fetched = vi.spyOn(globalThis, 'fetch')
    onTestFinished(() => fetched.mockRestore())
    for (const more of [
      { jwk: stranger.publicJwk },
      { jku: 'https://evil.example/jwks' },
      { jku: `${ISSUER}/.well-known/jwks.json` },
      { x5u: 'https://evil.example/x5u' },
      { x5c: ['MIIB'] },
    ]) {
      await expectRefused(await forge({ header: more }), JSON.stringify(more))
      await expectRefused(await forge({ header: more, by: stranger }), JSON.stringify(more))
    }
    expect(fetched).not.toHaveBeenCalled()
  })

  test('114 introspection: crit and b64', async () => {
    for (const more of [
      { crit: [] },
      { crit: ['exp'] },
      { crit: ['b64'], b64: true },
      { crit: ['b64'], b64: false },
      { b64: false },
      { zip: 'DEF' },
    ]) {
      await expectRefused(await forge({ header: more }), JSON.stringify(more))
    }
  })

  test('115 introspection: another type, or ours spelled otherwise', async () => {
    for (const typ of [
      ...['JWT', 'jwt', 'AT+JWT', 'application/at+jwt', 'logout+jwt', 'dpop+jwt', undefined, ''],
      ...['idtoken-push+jwt', 'client-authentication+jwt', ['at+jwt']],
    ]) {
      await expectRefused(await forge({ header: { typ } }), String(typ))
    }
    // The same members in another order are none of our spelling.
    const { alg, kid, typ } = header
    const other = await signed({ typ, kid, alg }, claims, ours)
    await expectRefused(other)
  })

  test('116 introspection: long ones are refused before anything is verified', async () => {
    const verify = vi.spyOn(crypto.subtle, 'verify')
    onTestFinished(() => verify.mockRestore())
    const [head, body] = genuine.split('.')
    for (const text of [`${head}.${body}.${'A'.repeat(64 * 1024)}`, 'A'.repeat(64 * 1024)]) {
      const { status, body: answer } = await introspect(client, text)
      expect([status, answer.error]).toEqual([413, 'invalid_request'])
    }
    const wide = segment({ ...header, more: 'm'.repeat(9000) })
    expect((await introspect(client, `${wide}.${body}.AAAA`)).body).toEqual({ active: false })
    expect(verify).not.toHaveBeenCalled()
  })
})

describe('the signature', () => {
  const bytes = (base64: string) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))

  test('118 introspection: DER, and every wrong length', async () => {
    const der = (raw: Bytes) => {
      const int = (half: Uint8Array) => {
        const padded = (half[0] ?? 0) > 127 ? concat(Uint8Array.of(0), half) : half
        return concat(Uint8Array.of(2, padded.length), padded)
      }
      const body = concat(int(raw.subarray(0, 32)), int(raw.subarray(32)))
      return concat(Uint8Array.of(0x30, body.length), body)
    }
    await expectRefused(await forge({ signature: der }), 'DER')
    for (const length of [0, 1, 32, 63]) {
      const cut = await forge({ signature: (raw) => raw.subarray(0, length) })
      await expectRefused(cut, `${length} bytes`)
    }
    for (const more of [1, 32, 64]) {
      const long = await forge({ signature: (raw) => concat(raw, new Uint8Array(more)) })
      await expectRefused(long, `${64 + more} bytes`)
    }
  })

  test('120 introspection: r and s of nothing and of the order', async () => {
    const n = bytes(N)
    const zero = new Uint8Array(32)
    for (const [name, at, value] of [
      ['r = 0', 0, zero],
      ['s = 0', 32, zero],
      ['r = n', 0, n],
      ['s = n', 32, n],
    ] as const) {
      const signature = (raw: Bytes) => {
        const bent = new Uint8Array(raw)
        bent.set(value, at)
        return bent
      }
      await expectRefused(await forge({ signature }), name)
    }
    await expectRefused(await forge({ signature: () => new Uint8Array(64) }), 'both 0')
    await expectRefused(await forge({ signature: () => concat(n, n) }), 'both n')
  })

  test('118 introspection: one bit in any byte of any part', async () => {
    const parts = genuine.split('.')
    for (const [place, part] of parts.entries()) {
      for (let at = 0; at < part.length; at += 23) {
        const letter = part[at] === 'A' ? 'B' : 'A'
        const bent = parts.with(place, part.slice(0, at) + letter + part.slice(at + 1)).join('.')
        const { body } = await introspect(client, bent)
        expect(body, `part ${place}, character ${at}`).toEqual({ active: false })
      }
    }
  }, 30_000)
})

describe('the claims', () => {
  test('121 introspection: times that are none', async () => {
    for (const payload of [
      { exp: undefined },
      { exp: null },
      { exp: String(claims.exp) },
      { exp: -1 },
      { exp: 0 },
      { exp: Date.now() },
      { exp: now() },
      { exp: now() + 0.5 },
      { iat: undefined },
      { iat: String(claims.iat) },
      { iat: Date.now() },
      { iat: now() + 70 },
      { nbf: now() + 70 },
      { auth_time: undefined },
      { auth_time: 'now' },
    ]) {
      await expectRefused(await forge({ payload }), JSON.stringify(payload))
    }
    const huge = JSON.stringify({ ...claims, exp: '@' }).replace('"@"', '1e400')
    await expectRefused(await forge({ payload: huge }), 'exp 1e400')
    for (const payload of [{ iat: now() + 8 }, { nbf: now() + 8 }]) {
      await expectTaken(await forge({ payload }), JSON.stringify(payload))
    }
  })

  test('122 introspection: aud and iss', async () => {
    for (const payload of [
      { aud: undefined },
      { aud: '' },
      { aud: [] },
      { aud: [API] },
      { aud: [API, LEDGER] },
      { aud: null },
      { iss: undefined },
      { iss: `${ISSUER}/` },
      { iss: ISSUER.toUpperCase() },
      { iss: 'https://evil.example' },
      { iss: [ISSUER] },
    ]) {
      await expectRefused(await forge({ payload }), JSON.stringify(payload))
    }
    // Signed by us for somebody else: the client may ask about it, and this resource may not.
    for (const aud of [LEDGER, API.slice(0, -1), `${API}/`, 'api', 'bar-le-central', ISSUER]) {
      const text = await forge({ payload: { aud } })
      expect((await introspect(api, text)).body, aud).toEqual({ active: false })
      expect((await exchange(api, text)).status, aud).toBe(400)
    }
  })

  test('115 introspection: without a reference of ours it is nobody’s', async () => {
    const master = { ...claims }
    const { jti } = master
    for (const bad of [
      ...[undefined, null, '', 'x', 1, [jti], `${jti}A`, `2${String(jti).slice(1)}`],
      ...[String(jti).toLowerCase(), genuine],
    ]) {
      await expectRefused(await forge({ payload: { jti: bad } }), String(bad).slice(0, 40))
    }
    for (const payload of [{ sub: '' }, { sub: undefined }, { scope: 7 }, { acr: 'high' }]) {
      await expectRefused(await forge({ payload }), JSON.stringify(payload))
    }
    for (const payload of [{ cnf: {} }, { cnf: 'x' }, { act: {} }, { act: [] }, { act: null }]) {
      await expectRefused(await forge({ payload }), JSON.stringify(payload))
    }
  })

  test('introspection: payloads that are no JSON object', async () => {
    for (const payload of ['', 'null', '[]', '"x"', '1', '{', '{}', `${JSON.stringify(claims)}x`]) {
      await expectRefused(await forge({ payload }), payload.slice(0, 20))
    }
  })

  test('123 introspection: a JWE of any kind: nothing is decrypted', async () => {
    const part = (length: number) => toBase64url(crypto.getRandomValues(new Uint8Array(length)))
    const jwe = (members: object) =>
      [segment(members), part(32), part(12), part(400), part(16)].join('.')
    const pair = await generateKeyPair('ECDH-ES')
    const texts = [
      jwe({ alg: 'dir', enc: 'A256GCM', zip: 'DEF' }),
      jwe({ alg: 'RSA1_5', enc: 'A128CBC-HS256' }),
      jwe({ alg: 'PBES2-HS256+A128KW', enc: 'A256GCM', p2c: 1e9, p2s: part(16) }),
      jwe({ alg: 'ECDH-ES', enc: 'A256GCM', epk: await exportJWK(pair.publicKey) }),
      jwe(header),
      await new CompactEncrypt(utf8(genuine))
        .setProtectedHeader({ alg: 'ECDH-ES', enc: 'A256GCM', cty: 'JWT' })
        .encrypt(pair.publicKey),
      `${genuine}.AAAA.AAAA`,
    ]
    const spies = (['decrypt', 'verify', 'deriveBits', 'unwrapKey'] as const).map((name) =>
      vi.spyOn(crypto.subtle, name),
    )
    onTestFinished(() => {
      for (const spy of spies) spy.mockRestore()
    })
    for (const text of texts) {
      expect((await introspect(client, text)).body).toEqual({ active: false })
      const asSubject = await exchange(api, text, { subject_token_type: ACCESS_TOKEN })
      expect(asSubject.body.error).toBe('invalid_request')
    }
    expect(spies.map((spy) => spy.mock.calls.length)).toEqual([0, 0, 0, 0])
  })

  test('122 introspection: signed by another deployment of the same code', async () => {
    const secret = toBase64url(crypto.getRandomValues(new Uint8Array(32)))
    const elsewhere = workerWith({
      MASTER_SECRET: `1:${env.MASTER_SECRET},2:${secret}`,
      ISSUER: 'http://localhost:8788',
    })
    const body = new URLSearchParams({ token: genuine }).toString()
    const headers = { ...client.basic, 'Content-Type': 'application/x-www-form-urlencoded' }
    const answer = await elsewhere.send(
      'POST',
      'http://localhost:8788/oidc/introspect',
      body,
      headers,
    )
    expect([answer.status, answer.body]).toEqual([200, { active: false }])
  })
})
