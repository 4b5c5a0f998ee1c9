/** How a client proves itself with its key, from outside (5-security 4.4 and 4.9 at this place). */
import fc from 'fast-check'
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { toBase64url, utf8 } from '../../src/bytes.ts'
import {
  ASSERTION_TYPE,
  asserted,
  assertion,
  type Bend,
  type ClientKey,
  type KeyAlg,
  type KeyedClient,
  keySet,
  makeKey,
  proof,
  proven,
  pushed,
  redeemKeyed,
  registerKeyed,
  sendForm,
  signed,
  visit,
} from './high-security.ts'
import { untouched, wait } from './hosted.ts'
import { workerWith } from './other-worker.ts'
import { rowsIn } from './redeemed.ts'
import { authorizationParameters, registerClient } from './relying-party.ts'
import { breakD1, dumpD1, watchD1 } from './storage.ts'
import { type Answer, enrolled, freshAddress, ISSUER, now } from './world.ts'

/** A client that proves itself with its key and does nothing else of the high profile. */
const KEYED = { require_pkce: true }

let client: KeyedClient

beforeEach(async () => {
  client = await registerKeyed(KEYED)
})

/** Brings an assertion to the token endpoint with nothing to redeem: what comes after it is `invalid_request`. */
function bring(
  client_assertion: string,
  more: Record<string, string | undefined> = {},
): Promise<Answer> {
  return sendForm('/oidc/token', {
    ...{ client_assertion_type: ASSERTION_TYPE, client_assertion },
    ...{ grant_type: 'refresh_token', ...more },
  })
}

function expectTaken({ status, body }: Answer, what = ''): void {
  expect([status, body.error], what).toEqual([400, 'invalid_request'])
}

function expectStranger({ status, headers, body }: Answer, what = ''): void {
  expect([status, body.error], what).toEqual([401, 'invalid_client'])
  expect(headers.get('Content-Type')).toBe('application/json')
  expect(headers.get('Cache-Control')).toBe('no-store')
  expect(headers.get('WWW-Authenticate')).toBeNull()
}

/** Refused, with nothing written and nobody called; what was right about it was not used up. */
async function expectRefused(text: string, what = ''): Promise<void> {
  expectStranger(await untouched(() => bring(text)), what)
}

/** The endpoints where a client proves itself, each with a request that is otherwise in order. */
async function doors(): Promise<[string, Record<string, string>, number][]> {
  return [
    ['/oidc/token', { grant_type: 'refresh_token' }, 400],
    ['/oidc/par', await authorizationParameters(), 201],
    ['/oidc/introspect', { token: 'nonsense' }, 200],
    ['/oidc/revoke', { token: 'nonsense' }, 200],
  ]
}

function statuses(answers: readonly Answer[]): Record<number, number> {
  const counts: Record<number, number> = {}
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1
  return counts
}

describe('what is no proof', () => {
  test('056 private_key_jwt: no assertion, half of one, or an empty one', async () => {
    const login = await visit(client, await enrolled({ push: false }))
    const about = { client_id: client.clientId }
    const text = await assertion(client)
    for (const credentials of [
      ...[{}, about, { ...about, client_assertion_type: ASSERTION_TYPE }],
      ...[{ client_assertion: text }, { ...about, client_assertion: text }],
      ...[{ ...about, client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:' }],
      {
        client_assertion: text,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:saml2-bearer',
      },
      { client_assertion: text, client_assertion_type: ASSERTION_TYPE.toUpperCase() },
      { client_assertion: '.', client_assertion_type: ASSERTION_TYPE },
    ]) {
      const none = { client_assertion: undefined, client_assertion_type: undefined }
      expectStranger(await redeemKeyed(client, login.code, { ...none, ...credentials }, {}))
    }
    // Neither the code nor the assertion was spent by any of it.
    const right = { client_assertion: text, client_assertion_type: ASSERTION_TYPE }
    expect((await redeemKeyed(client, login.code, right, {})).status).toBe(200)
  })

  test('057 private_key_jwt: an unknown client, one that is off and a wrong key are one answer', async () => {
    const off = await registerKeyed(KEYED, {}, 'closed-bar')
    await registerKeyed(KEYED, { enabled: false }, 'closed-bar', off.key)
    const other = await makeKey('ES256', client.key.kid)
    const nobody = { ...client, clientId: 'nobody' }
    const queries = watchD1()
    const asks: number[] = []
    const shapes: string[] = []
    for (const text of [
      await assertion(client, { key: other }),
      await assertion(client, { header: { kid: 'unknown' } }),
      await assertion(nobody),
      await assertion({ ...client, clientId: 'Bar-Le-Central' }),
      await assertion(off),
      await assertion(off, { key: other }),
    ]) {
      queries.length = 0
      const answer = await bring(text)
      expectStranger(answer)
      asks.push(queries.length)
      const told = [...answer.headers].filter(([name]) => name !== 'x-request-id')
      shapes.push(JSON.stringify([told, answer.body]))
    }
    expect(new Set(shapes).size).toBe(1)
    expect(asks).toEqual(asks.map(() => 1))
  })

  test('058 private_key_jwt: an assertion beside a secret, however right both are', async () => {
    const before = await registerClient({}, {}, 'with-secret')
    const both = await registerKeyed(KEYED, {}, 'with-secret')
    const text = await assertion(both)
    const form = { client_assertion_type: ASSERTION_TYPE, client_assertion: text }
    for (const [more, headers] of [
      [{}, before.basic],
      [{ client_id: both.clientId }, before.basic],
      [{ client_secret: before.secret }, {}],
      [{ client_id: both.clientId, client_secret: 'wrong' }, {}],
      [{ client_secret: before.secret }, before.basic],
      [{}, { Authorization: 'Bearer x' }],
    ] as const) {
      for (const [path, parameters] of await doors()) {
        const whole = { ...parameters, client_id: undefined, ...form, ...more }
        const { status, body } = await untouched(() => sendForm(path, whole, headers))
        expect([status, body.error], path).toEqual([400, 'invalid_request'])
      }
    }
    expectTaken(await bring(text))
  })

  test('011 private_key_jwt: an assertion that comes twice', async () => {
    const [one, two] = [await assertion(client), await assertion(client)]
    for (const texts of [
      [one, two],
      [one, one],
    ]) {
      const body = new URLSearchParams({ client_assertion_type: ASSERTION_TYPE })
      for (const text of texts) body.append('client_assertion', text)
      for (const [path] of await doors()) {
        const answer = await workerWith().send('POST', path, body.toString(), {
          'Content-Type': 'application/x-www-form-urlencoded',
        })
        expect([answer.status, answer.body.error], path).toEqual([400, 'invalid_request'])
      }
    }
    expectTaken(await bring(one))
    expectTaken(await bring(two))
  })

  test('059 private_key_jwt: registered for it, no other way is taken', async () => {
    // Its secret from before is still known by its hash: only the method stands against it.
    const before = await registerClient({}, {}, 'with-secret')
    const both = await registerKeyed(KEYED, {}, 'with-secret')
    const login = await visit(both, await enrolled({ push: false }))
    const none = { client_assertion: undefined, client_assertion_type: undefined }
    const basic = await redeemKeyed(both, login.code, none, before.basic)
    expect([basic.status, basic.body.error]).toEqual([401, 'invalid_client'])
    expect(basic.headers.get('WWW-Authenticate')).toMatch(/^Basic realm="/)
    const { clientId: client_id, secret: client_secret } = before
    expectStranger(await redeemKeyed(both, login.code, { ...none, client_id, client_secret }, {}))
    expectStranger(await redeemKeyed(both, login.code, { ...none, client_id }, {}))
    expect((await redeemKeyed(both, login.code, {}, {})).status).toBe(200)
    expect(await rowsIn('dead_grant')).toBe(0)
  })

  test.each(['client_secret_basic', 'client_secret_post', 'none'])(
    '059 private_key_jwt: registered for %s, an assertion is not taken',
    async (token_endpoint_auth_method) => {
      const key = await makeKey('ES256', 'k')
      const other = await registerKeyed({ token_endpoint_auth_method }, {}, 'other-bar', key)
      for (const [path, parameters] of await doors()) {
        const about = { ...parameters, client_id: other.clientId }
        const answer = await sendForm(path, { ...about, ...(await asserted(other)) })
        expectStranger(answer, path)
      }
      expect(await rowsIn('used_proof')).toBe(0)
    },
  )
})

describe('062 what is accepted', () => {
  test.each<KeyAlg>(['ES256', 'PS256', 'EdDSA'])('062 private_key_jwt: %s', async (alg) => {
    const own = await registerKeyed(KEYED, {}, 'bar-le-central', await makeKey(alg))
    expectTaken(await bring(await assertion(own)))
    expectTaken(await bring(await assertion(own), { client_id: own.clientId }))
    expectStranger(await bring(await assertion(own, { key: client.key })))
  })

  test.each<[string, () => Bend]>([
    ['iat 8 s ahead', () => ({ payload: { iat: now() + 8 } })],
    ['nbf 8 s ahead', () => ({ payload: { nbf: now() + 8 } })],
    ['no iat', () => ({ payload: { iat: undefined } })],
    ['exp five minutes ahead', () => ({ payload: { exp: now() + 300 } })],
    ['exp with a fraction', () => ({ payload: { exp: now() + 60.5 } })],
    ['no typ', () => ({ header: { typ: undefined } })],
    ['the typ of its own', () => ({ header: { typ: 'client-authentication+jwt' } })],
    ['a hash of a certificate', () => ({ header: { x5t: 'x', 'x5t#S256': 'x' } })],
    ['a jti of 256 characters', () => ({ payload: { jti: 'j'.repeat(256) } })],
    ['claims that nobody knows', () => ({ payload: { scope: 'openid', cnf: {} } })],
  ])('062 private_key_jwt: %s', async (_, bend) => {
    expectTaken(await bring(await assertion(client, bend())))
  })

  test('062 private_key_jwt: of two keys the one that it names', async () => {
    const keys = [await makeKey('ES256', 'a'), await makeKey('PS256', 'b')] as const
    await registerKeyed({ ...KEYED, jwks: keySet(...keys) })
    for (const key of keys) expectTaken(await bring(await assertion({ ...client, key })))
    const crossed = { ...client, key: { ...keys[0], kid: 'b' } }
    await expectRefused(await assertion(crossed))
    // The key of before is gone from the record, and counts no more from that moment on.
    await expectRefused(await assertion(client))
  })

  test('062 111 private_key_jwt: with an algorithm registered, a key of another signs nothing', async () => {
    const keys = [await makeKey('ES256', 'a'), await makeKey('PS256', 'b')] as const
    const record = { token_endpoint_auth_signing_alg: 'PS256', jwks: keySet(...keys) }
    await registerKeyed({ ...KEYED, ...record })
    expectTaken(await bring(await assertion({ ...client, key: keys[1] })))
    await expectRefused(await assertion({ ...client, key: keys[0] }))
  })

  test('062 private_key_jwt: a key for encryption signs nothing', async () => {
    const [signing, enc] = [await makeKey('ES256', 'a'), await makeKey('ES256', 'b')]
    const keys = [
      { ...signing.publicJwk, kid: 'a' },
      { ...enc.publicJwk, kid: 'b', use: 'enc' },
    ]
    await registerKeyed({ ...KEYED, jwks: { keys } })
    expectTaken(await bring(await assertion({ ...client, key: signing })))
    await expectRefused(await assertion({ ...client, key: enc }))
  })
})

describe('what is refused, with nothing done', () => {
  test.each<[string, () => Bend]>([
    ['062 111 alg RS256', () => ({ header: { alg: 'RS256' } })],
    ['062 111 alg PS256', () => ({ header: { alg: 'PS256' } })],
    ['062 111 alg EdDSA', () => ({ header: { alg: 'EdDSA' } })],
    ['062 111 alg ES384', () => ({ header: { alg: 'ES384' } })],
    ['062 111 alg ES256K', () => ({ header: { alg: 'ES256K' } })],
    ['062 109 alg none', () => ({ header: { alg: 'none' } })],
    ['062 109 alg nOnE', () => ({ header: { alg: 'nOnE' } })],
    ['062 109 alg empty', () => ({ header: { alg: '' } })],
    ['062 109 alg absent', () => ({ header: { alg: undefined } })],
    ['062 109 alg an array', () => ({ header: { alg: ['ES256'] } })],
    ['062 110 alg HS256', () => ({ header: { alg: 'HS256' } })],
    ['112 kid absent', () => ({ header: { kid: undefined } })],
    ['112 kid unknown', () => ({ header: { kid: 'other' } })],
    ['112 kid the thumbprint', () => ({ header: { kid: client.key.thumbprint } })],
    ['112 kid a path', () => ({ header: { kid: '../../x' } })],
    ['112 kid SQL', () => ({ header: { kid: "' OR 1=1--" } })],
    ['112 kid of 10 KiB', () => ({ header: { kid: 'k'.repeat(10_240) } })],
    ['112 kid an array', () => ({ header: { kid: [client.key.kid] } })],
    ['112 kid __proto__', () => ({ header: { kid: '__proto__' } })],
    ['113 jwk', () => ({ header: { jwk: client.key.publicJwk } })],
    ['113 jku', () => ({ header: { jku: 'http://127.0.0.1:8790/jwks' } })],
    ['113 jku our own', () => ({ header: { jku: `${ISSUER}/.well-known/jwks.json` } })],
    ['113 x5u', () => ({ header: { x5u: 'http://127.0.0.1:8790/cert' } })],
    ['113 x5c', () => ({ header: { x5c: ['MIIB'] } })],
    ['114 crit unknown', () => ({ header: { crit: ['x'], x: 1 } })],
    ['114 crit known', () => ({ header: { crit: ['exp'] } })],
    ['114 crit empty', () => ({ header: { crit: [] } })],
    ['114 b64 false', () => ({ header: { b64: false, crit: ['b64'] } })],
    ['114 b64 true', () => ({ header: { b64: true } })],
    ['115 typ dpop+jwt', () => ({ header: { typ: 'dpop+jwt' } })],
    ['115 typ at+jwt', () => ({ header: { typ: 'at+jwt' } })],
    ['115 typ logout+jwt', () => ({ header: { typ: 'logout+jwt' } })],
    ['115 typ of a device statement', () => ({ header: { typ: 'idtoken-approve+jwt' } })],
    ['115 typ a number', () => ({ header: { typ: 1 } })],
    ['a header member that nobody knows', () => ({ header: { zip: 'DEF' } })],
    ['118 no signature', () => ({ signature: () => new Uint8Array() })],
    ['118 63 bytes', () => ({ signature: (bytes) => bytes.slice(1) })],
    ['118 65 bytes', () => ({ signature: (bytes) => new Uint8Array([...bytes, 0]) })],
    ['118 96 bytes', () => ({ signature: (bytes) => new Uint8Array([...bytes, ...ZEROS]) })],
    ['118 DER', () => ({ signature: derOf })],
    ['120 r and s zero', () => ({ signature: () => new Uint8Array(64) })],
    ['120 r zero', () => ({ signature: (bytes) => bytes.fill(0, 0, 32) })],
    ['120 s zero', () => ({ signature: (bytes) => bytes.fill(0, 32) })],
    ['120 r = n', () => ({ signature: (bytes) => new Uint8Array([...N, ...bytes.slice(32)]) })],
    ['120 s = n', () => ({ signature: (bytes) => new Uint8Array([...bytes.slice(0, 32), ...N]) })],
    ['a signature over something else', () => ({ signature: (bytes) => bytes.reverse() })],
    ['062 121 no exp', () => ({ payload: { exp: undefined } })],
    ['062 121 exp five minutes ago', () => ({ payload: { exp: now() - 300 } })],
    ['062 121 exp now', () => ({ payload: { exp: now() } })],
    ['062 exp more than five minutes ahead', () => ({ payload: { exp: now() + 320 } })],
    ['121 exp a text', () => ({ payload: { exp: String(now() + 60) } })],
    ['121 exp negative', () => ({ payload: { exp: -1 } })],
    ['121 exp in milliseconds', () => ({ payload: { exp: Date.now() + 60_000 } })],
    ['121 exp null', () => ({ payload: { exp: null } })],
    ['062 121 iat 61 s ahead', () => ({ payload: { iat: now() + 61 } })],
    ['062 121 nbf 61 s ahead', () => ({ payload: { nbf: now() + 61 } })],
    ['121 iat a text', () => ({ payload: { iat: 'now' } })],
    ['062 iss is not sub', () => ({ payload: { iss: 'other-bar' } })],
    ['062 sub is not iss', () => ({ payload: { sub: 'other-bar' } })],
    ['no sub', () => ({ payload: { sub: undefined } })],
    ['no iss', () => ({ payload: { iss: undefined } })],
    ['122 iss with a slash', () => ({ payload: { iss: 'bar-le-central/' } })],
    ['122 iss in other case', () => ({ payload: { iss: 'Bar-Le-Central' } })],
    ['062 122 no aud', () => ({ payload: { aud: undefined } })],
    ['062 122 aud empty', () => ({ payload: { aud: '' } })],
    ['062 122 aud another', () => ({ payload: { aud: 'https://other.example' } })],
    ['062 122 aud with a slash', () => ({ payload: { aud: `${ISSUER}/` } })],
    ['062 122 aud a prefix', () => ({ payload: { aud: ISSUER.slice(0, -1) } })],
    ['062 122 aud in other case', () => ({ payload: { aud: ISSUER.toUpperCase() } })],
    ['062 122 aud a list of us alone', () => ({ payload: { aud: [ISSUER] } })],
    ['062 122 aud a list with us', () => ({ payload: { aud: [ISSUER, 'https://other.example'] } })],
    ['062 122 aud a list without us', () => ({ payload: { aud: ['https://other.example'] } })],
    ['062 122 aud an empty list', () => ({ payload: { aud: [] } })],
    ['062 122 aud the token endpoint', () => ({ payload: { aud: `${ISSUER}/oidc/token` } })],
    ['062 122 aud the PAR endpoint', () => ({ payload: { aud: `${ISSUER}/oidc/par` } })],
    ['062 122 aud the client', () => ({ payload: { aud: 'bar-le-central' } })],
    ['063 no jti', () => ({ payload: { jti: undefined } })],
    ['063 jti empty', () => ({ payload: { jti: '' } })],
    ['063 jti of 257 characters', () => ({ payload: { jti: 'j'.repeat(257) } })],
    ['063 jti a number', () => ({ payload: { jti: 1 } })],
  ])('%s: private_key_jwt', async (what, bend) => {
    const whole = { client_id: client.clientId }
    const text = await assertion(client, bend())
    expectStranger(await untouched(() => bring(text, whole)), what)
    await expectRefused(text, what)
  })

  test('109 110 123 private_key_jwt: what was never signed by it', async () => {
    const [head = '', body = '', tail = ''] = (await assertion(client)).split('.')
    const header = (changes: object) =>
      toBase64url(utf8(JSON.stringify({ alg: 'ES256', kid: client.key.kid, ...changes })))
    const jwe = (changes: object) => `${header({ enc: 'A256GCM', ...changes })}.AAAA.AAAA.AAAA.AAAA`
    const secrets = [JSON.stringify(client.key.publicJwk), JSON.stringify(keySet(client.key))]
    for (const text of [
      `${header({ alg: 'none' })}.${body}.`,
      `${header({ alg: 'none' })}.${body}`,
      `${head}.${body}.`,
      `${head}.${body}`,
      `${head}.${body}.${tail}.`,
      `${head}.${body}.${tail}=`,
      ` ${head}.${body}.${tail}`,
      `${head}.${body}.${tail.slice(0, -1)}`,
      ...(await Promise.all(secrets.map((secret) => hmac(header({ alg: 'HS256' }), body, secret)))),
      jwe({ alg: 'dir', zip: 'DEF' }),
      jwe({ alg: 'PBES2-HS256+A128KW', p2s: 'AAAA', p2c: 1_000_000_000 }),
      jwe({ alg: 'RSA1_5' }),
    ]) {
      await expectRefused(text, text)
      expectStranger(await bring(text, { client_id: client.clientId }), text)
    }
  })

  test('121 private_key_jwt: numbers that JSON.stringify does not write, and a member twice', async () => {
    const { kid, alg } = client.key
    const base = `"iss":"bar-le-central","sub":"bar-le-central","aud":"${ISSUER}","jti":"j"`
    for (const more of ['"exp":1e400', '"exp":-1e400', `"exp":${now() + 60},"iat":1e400`]) {
      await expectRefused(await signed({ alg, kid }, `{${base},${more}}`, client.key), more)
    }
    // The last one counts, for every check alike (5-security 8).
    const twice = `{${base},"exp":${now() + 60},"aud":"https://other.example"}`
    await expectRefused(await signed({ alg, kid }, twice, client.key))
    for (const payload of ['[]', 'null', '1', '"x"', '{', '', '{}']) {
      await expectRefused(await signed({ alg, kid }, payload, client.key), payload)
    }
  })

  test('116 private_key_jwt: 64 KiB, a header of 16 KiB; what fits the form is not decoded', async () => {
    const long = (length: number): Promise<string> =>
      assertion(client, { payload: { filler: 'x'.repeat(length) } })
    for (const text of [
      await long(64 * 1024),
      await assertion(client, { header: { filler: 'x'.repeat(16 * 1024) } }),
    ]) {
      const { status, body } = await untouched(() => bring(text))
      expect([status, body.error]).toEqual([413, 'invalid_request'])
    }
    await expectRefused(await long(8 * 1024))
  })

  test('115 private_key_jwt: what else of us or of the client is signed', async () => {
    const person = await enrolled({ push: false })
    const login = await visit(client, person)
    const { body } = await redeemKeyed(client, login.code, {}, {})
    const others = {
      'id token': body.id_token,
      'access token': body.access_token,
      'DPoP proof': await proof(client.key),
      'device statement': await person.sign('idtoken-pending+jwt', {}),
      code: login.code,
      'pushed request': await pushed(client),
    }
    for (const [what, text] of Object.entries(others)) {
      expectStranger(await bring(text), what)
      expectStranger(await bring(text, { client_id: client.clientId }), what)
    }
  })

  test('private_key_jwt: any text at all is 401', async () => {
    const genuine = await assertion(client)
    const text = fc.oneof(
      fc.string({ unit: 'binary', minLength: 1, maxLength: 200 }),
      fc
        .tuple(fc.nat(genuine.length - 1), fc.constantFrom('.', '-', 'A', '=', '~', '\u00e9'))
        .map(([at, other]) => genuine.slice(0, at) + other + genuine.slice(at + 1))
        .filter((bent) => bent !== genuine),
    )
    await fc.assert(
      fc.asyncProperty(text, async (bent) => {
        const { status } = await bring(bent.toWellFormed())
        // A control in a form is no form.
        expect([400, 401]).toContain(status)
        if (status === 400) expect(bent).toMatch(/\p{Cc}/u)
      }),
      { numRuns: 60 },
    )
    expect(await rowsIn('used_proof')).toBe(0)
    expectTaken(await bring(genuine))
  })
})

describe('for whom it speaks', () => {
  test('059 private_key_jwt: another client_id beside it', async () => {
    const other = await registerKeyed(KEYED, {}, 'other-bar')
    const text = await assertion(client)
    for (const client_id of ['other-bar', 'nobody', 'Bar-Le-Central', 'bar-le-central ']) {
      expectStranger(await untouched(() => bring(text, { client_id })), client_id)
    }
    // Client 2's name in the form and in the assertion, by the key of client 1 (FAPI 2: client-id-in-token-endpoint).
    const forged = { clientId: other.clientId, key: client.key }
    const underHisName = { clientId: other.clientId, key: { ...client.key, kid: other.key.kid } }
    for (const who of [forged, underHisName]) {
      const client_id = other.clientId
      expectStranger(await untouched(async () => bring(await assertion(who), { client_id })))
    }
    expectTaken(await bring(text, { client_id: client.clientId }))
  })

  test('private_key_jwt: one key in two records is two clients', async () => {
    const other = await registerKeyed(KEYED, {}, 'other-bar', client.key)
    const login = await visit(client, await enrolled({ push: false }))
    const answer = await redeemKeyed(other, login.code, {}, {})
    expect([answer.status, answer.body.error]).toEqual([400, 'invalid_grant'])
    expect((await redeemKeyed(client, login.code, {}, {})).status).toBe(200)
  })

  test('private_key_jwt: a key that was taken out counts no more, at once', async () => {
    const renewed = await registerKeyed(KEYED)
    await expectRefused(await assertion(client))
    expectTaken(await bring(await assertion(renewed)))
  })
})

describe('063 once', () => {
  beforeEach(() => {
    onTestFinished(() => {
      vi.useRealTimers()
    })
  })

  test('063 private_key_jwt: again at once, later, and as long as it would be good', async () => {
    const text = await assertion(client, { payload: { exp: now() + 290 } })
    expectTaken(await bring(text))
    expectStranger(await bring(text))
    for (const seconds of [1, 60, 120, 100]) {
      wait(seconds)
      // Others come in between and sweep what has ended.
      expectTaken(await bring(await assertion(client)))
      expectStranger(await bring(text), `${seconds}`)
    }
    wait(20)
    expectStranger(await bring(text))
  })

  test('063 private_key_jwt: signed anew with the same jti, it is the same', async () => {
    const jti = 'the-same'
    expectTaken(await bring(await assertion(client, { payload: { jti } })))
    expectStranger(await bring(await assertion(client, { payload: { jti, exp: now() + 100 } })))
    const second = await makeKey('ES256', 'second')
    await registerKeyed({ ...KEYED, jwks: keySet(client.key, second) })
    expectStranger(await bring(await assertion({ ...client, key: second }, { payload: { jti } })))
  })

  test('063 private_key_jwt: from one endpoint to another', async () => {
    for (const [first, form, status] of await doors()) {
      const credentials = await asserted(client)
      expect((await sendForm(first, { ...credentials, ...form })).status, first).toBe(status)
      for (const [second, again] of await doors()) {
        const answer = await sendForm(second, { ...credentials, ...again })
        expectStranger(answer, `${first} ${second}`)
      }
    }
  })

  test('063 private_key_jwt: of twenty at the same moment one passes', async () => {
    const text = await assertion(client)
    const answers = await Promise.all(Array.from({ length: 20 }, () => bring(text)))
    expect(statuses(answers)).toEqual({ 400: 1, 401: 19 })
  })

  test('063 private_key_jwt: of twenty at all endpoints at the same moment one passes', async () => {
    const credentials = await asserted(client)
    const all = await doors()
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => {
        const [path, form] = all[i % all.length] ?? ['', {}]
        return sendForm(path, { ...credentials, ...form })
      }),
    )
    expect(statuses(answers)[401]).toBe(19)
  })

  test('063 private_key_jwt: the same jti of another client, or of a DPoP proof, is another', async () => {
    const other = await registerKeyed(KEYED, {}, 'other-bar')
    const payload = { jti: 'the-same' }
    expectTaken(await bring(await assertion(client, { payload })))
    expectTaken(await bring(await assertion(other, { payload })))
    const form = { ...(await asserted(client)), grant_type: 'refresh_token' }
    const answer = await sendForm('/oidc/token', form, await proven(client.key, {}, { payload }))
    expectTaken(answer)
    expect(await rowsIn('used_proof')).toBe(4)
  })

  test('063 private_key_jwt: what a refused request brought is spent too, once the client was proved', async () => {
    const login = await visit(client, await enrolled({ push: false }))
    const credentials = await asserted(client)
    const wrong = await redeemKeyed(client, login.code, { ...credentials, code_verifier: 'x' }, {})
    expect(wrong.body.error).toBe('invalid_grant')
    expectStranger(await redeemKeyed(client, login.code, credentials, {}))
    expect((await redeemKeyed(client, login.code, {}, {})).status).toBe(200)
  })
})

describe('what is kept of it', () => {
  async function proofs(): Promise<{ proof: string; expires_at: number }[]> {
    return JSON.parse((await dumpD1()).used_proof ?? '[]')
  }

  test('063 private_key_jwt: one row, without a name in the clear, until nobody takes it', async () => {
    const exp = now() + 60
    expectTaken(await bring(await assertion(client, { payload: { exp, jti: 'jti-in-the-clear' } })))
    const rows = await proofs()
    expect(rows).toEqual([{ proof: expect.stringMatching(/^[\w-]{43}$/), expires_at: exp + 10 }])
    expect(JSON.stringify(await dumpD1())).not.toContain('jti-in-the-clear')
    // A fraction of a second is rounded to where it is remembered longer.
    expectTaken(await bring(await assertion(client, { payload: { exp: exp + 0.5 } })))
    expect((await proofs()).map(({ expires_at }) => expires_at).sort()).toEqual([
      exp + 10,
      exp + 11,
    ])
  })

  test('063 private_key_jwt: swept by the next one when it has ended', async () => {
    onTestFinished(() => {
      vi.useRealTimers()
    })
    for (let i = 0; i < 5; i++) expectTaken(await bring(await assertion(client)))
    expect(await proofs()).toHaveLength(5)
    wait(69)
    expectTaken(await bring(await assertion(client)))
    expect(await proofs()).toHaveLength(6)
    wait(5)
    expectTaken(await bring(await assertion(client)))
    expect(await proofs()).toHaveLength(2)
  })

  test('budget: private_key_jwt costs one question and one batch; a secret no row', async () => {
    const plain = await registerClient({}, {}, 'plain-bar')
    const queries = watchD1()
    expectTaken(await bring(await assertion(client)))
    expect(queries.map(({ sql }) => sql.split(' ')[0])).toEqual(['SELECT', 'INSERT', 'DELETE'])
    queries.length = 0
    await sendForm('/oidc/token', { grant_type: 'refresh_token' }, plain.basic)
    expect(queries.map(({ written }) => written)).toEqual([0])
  })
})

describe('when something fails', () => {
  test.each(['error', 'disconnected'] as const)(
    '302 private_key_jwt: D1 %s is 503 everywhere, and uses nothing up',
    async (fault) => {
      const login = await visit(client, await enrolled({ push: false }))
      const credentials = await asserted(client)
      for (const hits of [
        (sql: string) => sql.includes('used_proof'),
        (sql: string) => sql.includes('FROM service'),
        () => true,
      ]) {
        const heal = breakD1(hits, fault)
        const answers = [await redeemKeyed(client, login.code, credentials, {})]
        for (const [path, form] of await doors()) {
          answers.push(await sendForm(path, { ...credentials, ...form }))
        }
        heal()
        for (const { status, headers } of answers) {
          expect(status).toBe(503)
          expect(headers.get('Retry-After')).toMatch(/^\d+$/)
        }
        expect(await rowsIn('used_proof')).toBe(1)
      }
      expect((await redeemKeyed(client, login.code, credentials, {})).status).toBe(200)
    },
  )

  test('066 private_key_jwt: wrong assertions are counted by client and address; right ones are not', async () => {
    const keys: string[] = []
    const limit = async ({ key }: { readonly key: string }) => {
      keys.push(key)
      return { success: false }
    }
    const elsewhere = workerWith({ CLIENT_LIMIT: { limit } })
    const address = freshAddress()
    const ask = async (key: ClientKey) => {
      const form = { ...(await asserted({ ...client, key })), grant_type: 'refresh_token' }
      return elsewhere.send('POST', '/oidc/token', new URLSearchParams(form).toString(), {
        'Content-Type': 'application/x-www-form-urlencoded',
        'CF-Connecting-IP': address,
      })
    }
    expectTaken(await ask(client.key))
    expect(keys).toEqual([])
    const wrong = await ask(await makeKey('ES256', client.key.kid))
    expect([wrong.status, wrong.headers.get('Retry-After')]).toEqual([429, '60'])
    expect(keys).toEqual([`${client.clientId} ${address}`, address])
  })
})

const ZEROS = new Uint8Array(32)

/** The order of P-256. */
const N = Uint8Array.from(
  'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551'.match(/../g) ?? [],
  (hex) => Number.parseInt(hex, 16),
)

/** An ECDSA signature as ASN.1 DER has it. */
function derOf(signature: Uint8Array): Uint8Array {
  const integer = (bytes: Uint8Array) => {
    const trimmed = bytes.slice(bytes.findIndex((byte) => byte !== 0))
    const body = (trimmed[0] ?? 0) > 127 ? [0, ...trimmed] : [...trimmed]
    return [2, body.length, ...body]
  }
  const body = [...integer(signature.slice(0, 32)), ...integer(signature.slice(32))]
  return new Uint8Array([0x30, body.length, ...body])
}

async function hmac(head: string, body: string, secret: string): Promise<string> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' }
  const key = await crypto.subtle.importKey('raw', utf8(secret), algorithm, false, ['sign'])
  const mac = await crypto.subtle.sign(algorithm, key, utf8(`${head}.${body}`))
  return `${head}.${body}.${toBase64url(new Uint8Array(mac))}`
}
