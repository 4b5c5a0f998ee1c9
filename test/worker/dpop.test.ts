/** DPoP from outside: at the token endpoint, at PAR and at userinfo (RFC 9449, 5-security 81 and 82, 4.9 at this place). */
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { sha256, toBase64url, utf8 } from '../../src/bytes.ts'
import {
  asserted,
  type Bend,
  type ClientKey,
  freshNonce,
  type KeyAlg,
  keySet,
  makeKey,
  type ProofAbout,
  proof,
  proven,
  push,
  redeemKeyed,
  registerKeyed,
  sendForm,
  userinfoKeyed,
  visit,
  visitRedeemed,
} from './high-security.ts'
import { expectAuthz, wait } from './hosted.ts'
import { workerWith } from './other-worker.ts'
import { landedAt, rowsIn } from './redeemed.ts'
import {
  authorizationParameters,
  type Client,
  claimsOf,
  REDIRECT_URI,
  RP_ORIGIN,
  redeem,
  registerClient,
  Tab,
  token,
  userinfo,
  VERIFIER,
} from './relying-party.ts'
import { breakD1, dumpD1, watchD1 } from './storage.ts'
import { type Answer, enrolled, freshAddress, ISSUER, now, type Person, send } from './world.ts'

/** A simple client with a secret, which may use DPoP like any other. */
let client: Client
let key: ClientKey

beforeEach(async () => {
  client = await registerClient({ offline_access: true })
  key = await makeKey('ES256', 'proof')
})

/** A code of the simple client. */
async function codeOf(person: Person, request: Record<string, string> = {}): Promise<string> {
  return (await landedAt(client, person, { request })).code
}

/** Redeems with the client's secret and what `headers` add. */
function redeemWith(code: string, headers: Record<string, string>): Promise<Answer> {
  return redeem(client, code, {}, { ...client.basic, ...headers })
}

/** The tokens of a login, bound to `key`. */
async function boundTokens(scope = 'openid identity:name offline_access'): Promise<Answer['body']> {
  const code = await codeOf(await enrolled({ push: false }), { scope })
  const { status, body } = await redeemWith(code, await proven(key))
  expect([status, body.token_type]).toEqual([200, 'DPoP'])
  return body
}

function expectFault({ status, headers, body }: Answer, error: string, what = ''): void {
  expect([status, body.error], what).toEqual([400, error])
  expect(headers.get('Cache-Control')).toBe('no-store')
}

function expectChallenge({ status, headers, body }: Answer, error: string, what = ''): void {
  expect([status, body.error], what).toEqual([401, error])
  expect(headers.get('Cache-Control')).toBe('no-store')
  const challenge = headers.get('WWW-Authenticate') ?? ''
  expect(challenge, what).toMatch(/^DPoP realm="userinfo", algs="ES256 PS256 EdDSA", error="/)
  expect(challenge, what).toContain(`error="${error}"`)
}

/** Where a proof is read. */
interface Place {
  readonly about: ProofAbout
  /** Sends a request that is in order but for its proof, perhaps. */
  readonly ask: (DPoP: string | undefined) => Promise<Answer>
  /** The status and error of a request whose proof was taken. */
  readonly taken: readonly [number, string | undefined]
  readonly refused: 400 | 401
}

function withProof(DPoP: string | undefined): Record<string, string> {
  return DPoP === undefined ? {} : { DPoP }
}

/** What is posted to the token endpoint here has nothing to redeem: that is what is said once the proof was taken. */
function tokenPlace(): Place {
  const about = { path: '/oidc/token' }
  const ask = (DPoP: string | undefined) =>
    sendForm(about.path, { grant_type: 'refresh_token' }, { ...client.basic, ...withProof(DPoP) })
  return { about, ask, taken: [400, 'invalid_request'], refused: 400 }
}

function parPlace(): Place {
  const about = { path: '/oidc/par' }
  const ask = async (DPoP: string | undefined) =>
    sendForm(about.path, await authorizationParameters(), { ...client.basic, ...withProof(DPoP) })
  return { about, ask, taken: [201, undefined], refused: 400 }
}

function userinfoPlace(accessToken: string, method = 'GET'): Place {
  const about = { path: '/oidc/userinfo', method, accessToken }
  const ask = (DPoP: string | undefined) => {
    const headers = { Authorization: `DPoP ${accessToken}`, ...withProof(DPoP) }
    return send(method, about.path, undefined, headers)
  }
  return { about, ask, taken: [200, undefined], refused: 401 }
}

async function places(): Promise<Place[]> {
  const { access_token: accessToken } = await boundTokens()
  return [tokenPlace(), parPlace(), userinfoPlace(accessToken), userinfoPlace(accessToken, 'POST')]
}

async function expectTaken({ about, ask, taken }: Place, bend: Bend, by = key): Promise<void> {
  const answer = await ask(await proof(by, { nonce: await freshNonce(), ...about }, bend))
  expect([answer.status, answer.body.error], about.path).toEqual(taken)
}

function expectRefused(
  place: Place,
  answer: Answer,
  error = 'invalid_dpop_proof',
  what = '',
): void {
  if (place.refused === 401) expectChallenge(answer, error, what)
  else expectFault(answer, error, what)
}

describe('081 what is accepted', () => {
  test.each<[string, () => Bend]>([
    ['nothing special', () => ({})],
    ['iat 10 s ago', () => ({ payload: { iat: now() - 10 } })],
    ['iat 10 s ahead', () => ({ payload: { iat: now() + 10 } })],
    ['iat 55 s ago', () => ({ payload: { iat: now() - 55 } })],
    ['iat 25 s ahead', () => ({ payload: { iat: now() + 25 } })],
    ['iat with a fraction', () => ({ payload: { iat: now() + 0.5 } })],
    ['nbf and exp', () => ({ payload: { nbf: now() - 10, exp: now() + 60 } })],
    ['members that nobody knows', () => ({ header: { x: 1 }, payload: { x: { y: 1 } } })],
    ['a kid, which names nothing', () => ({ header: { kid: '../../x' } })],
    [
      'a jwk with use, alg, kid and ext',
      () => {
        const jwk = { ...key.publicJwk, use: 'sig', alg: 'ES256', kid: 'x', ext: true }
        return { header: { jwk } }
      },
    ],
    ['a jti of 256 characters', () => ({ payload: { jti: 'j'.repeat(256) } })],
  ])('081 dpop: %s', async (_, bend) => {
    for (const place of await places()) {
      // The same name at each place is one name: it is used up by the first.
      const { payload, ...rest } = bend()
      const jti = `${place.about.method}${place.about.path}${payload?.jti ?? ''}`.slice(0, 256)
      await expectTaken(place, { ...rest, payload: { ...payload, jti } })
    }
  })

  test('081 dpop: query and fragment, and another spelling of the same address', async () => {
    for (const place of await places()) {
      const { path = '' } = place.about
      for (const htu of [
        `${ISSUER}${path}?a=b&c`,
        `${ISSUER}${path}#f`,
        `${ISSUER}${path}?a#b`,
        `HTTP://LOCALHOST:8787${path}`,
        `${ISSUER}/./x/..${path}`,
      ]) {
        await expectTaken(place, { payload: { htu } })
      }
    }
  })

  test('081 dpop: the default port of the issuer, written or not', async () => {
    const elsewhere = workerWith({ ISSUER: 'http://localhost' })
    const ask = async (htu: string) => {
      const body = 'grant_type=refresh_token'
      const DPoP = await proof(key, { nonce: await freshNonce() }, { payload: { htu } })
      const answer = await elsewhere.send('POST', 'http://localhost/oidc/token', body, {
        ...{ ...client.basic, DPoP, 'CF-Connecting-IP': freshAddress() },
        'Content-Type': 'application/x-www-form-urlencoded',
      })
      return answer.body.error
    }
    for (const htu of ['http://localhost', 'http://LOCALHOST:80', 'HTTP://localhost']) {
      expect(await ask(`${htu}/oidc/token`), htu).toBe('invalid_request')
    }
    for (const htu of ['http://localhost:443', 'https://localhost', ISSUER]) {
      expect(await ask(`${htu}/oidc/token`), htu).toBe('invalid_dpop_proof')
    }
  })

  test.each<KeyAlg>(['PS256', 'EdDSA'])('081 dpop: %s', async (alg) => {
    key = await makeKey(alg)
    for (const place of await places()) await expectTaken(place, {})
  })
})

describe('081 what is refused', () => {
  const away = (place: Place) =>
    `${ISSUER}${place.about.path === '/oidc/par' ? '/oidc/token' : '/oidc/par'}`

  test.each<[string, (place: Place) => Bend]>([
    ['081 no typ', () => ({ header: { typ: undefined } })],
    ['081 115 typ JWT', () => ({ header: { typ: 'JWT' } })],
    ['081 115 typ at+jwt', () => ({ header: { typ: 'at+jwt' } })],
    ['081 109 no alg', () => ({ header: { alg: undefined } })],
    ['081 109 alg none', () => ({ header: { alg: 'none' } })],
    ['081 109 alg an array', () => ({ header: { alg: ['ES256'] } })],
    ['081 110 alg HS256', () => ({ header: { alg: 'HS256' } })],
    ['081 111 alg RS256', () => ({ header: { alg: 'RS256' } })],
    ['081 111 alg of another key', () => ({ header: { alg: 'EdDSA' } })],
    ['081 no jwk', () => ({ header: { jwk: undefined } })],
    ['081 jwk a text', () => ({ header: { jwk: JSON.stringify(key.publicJwk) } })],
    ['081 jwk empty', () => ({ header: { jwk: {} } })],
    ['081 jwk symmetric', () => ({ header: { jwk: { kty: 'oct', k: 'AAAA' } } })],
    ['081 jwk with d', () => ({ header: { jwk: key.privateJwk } })],
    ['081 jwk with d alone added', () => ({ header: { jwk: { ...key.publicJwk, d: '' } } })],
    [
      '081 jwk off the curve',
      () => ({ header: { jwk: { ...key.publicJwk, y: key.publicJwk.x } } }),
    ],
    ['081 113 jku', () => ({ header: { jku: 'http://127.0.0.1:8790/jwks' } })],
    ['081 113 x5u', () => ({ header: { x5u: 'http://127.0.0.1:8790/cert' } })],
    ['081 113 x5c', () => ({ header: { x5c: ['MIIB'] } })],
    ['081 114 crit', () => ({ header: { crit: ['x'], x: 1 } })],
    ['081 114 b64', () => ({ header: { b64: false, crit: ['b64'] } })],
    ['081 118 no signature', () => ({ signature: () => new Uint8Array() })],
    ['081 118 a short signature', () => ({ signature: (bytes) => bytes.slice(1) })],
    ['081 118 a long signature', () => ({ signature: (bytes) => new Uint8Array([...bytes, 0]) })],
    ['081 120 r and s zero', () => ({ signature: () => new Uint8Array(64) })],
    ['081 a bad signature', () => ({ signature: (bytes) => bytes.reverse() })],
    ['081 no jti', () => ({ payload: { jti: undefined } })],
    ['081 jti empty', () => ({ payload: { jti: '' } })],
    ['081 jti of 257 characters', () => ({ payload: { jti: 'j'.repeat(257) } })],
    ['081 jti a number', () => ({ payload: { jti: 1 } })],
    ['081 no htm', () => ({ payload: { htm: undefined } })],
    ['081 another htm', () => ({ payload: { htm: 'PUT' } })],
    [
      '081 htm in lower case',
      ({ about }) => ({ payload: { htm: about.method?.toLowerCase() ?? 'post' } }),
    ],
    ['081 no htu', () => ({ payload: { htu: undefined } })],
    ['081 another htu', (place) => ({ payload: { htu: away(place) } })],
    ['081 htu the issuer', () => ({ payload: { htu: ISSUER } })],
    [
      '081 htu of another host',
      ({ about }) => ({ payload: { htu: `http://evil.example${about.path}` } }),
    ],
    [
      '081 htu of another scheme',
      ({ about }) => ({ payload: { htu: `https://localhost:8787${about.path}` } }),
    ],
    [
      '081 htu of another port',
      ({ about }) => ({ payload: { htu: `http://localhost:80${about.path}` } }),
    ],
    ['081 htu a path', ({ about }) => ({ payload: { htu: about.path } })],
    ['081 htu with a slash more', ({ about }) => ({ payload: { htu: `${ISSUER}${about.path}/` } })],
    [
      '081 htu with an account',
      ({ about }) => ({ payload: { htu: `http://a@localhost:8787${about.path}` } }),
    ],
    ['081 no iat', () => ({ payload: { iat: undefined } })],
    ['081 121 iat a text', () => ({ payload: { iat: String(now()) } })],
    ['081 121 iat in milliseconds', () => ({ payload: { iat: Date.now() } })],
    ['081 iat 300 s ago', () => ({ payload: { iat: now() - 300 } })],
    ['081 iat 62 s ago', () => ({ payload: { iat: now() - 62 } })],
    ['081 iat 61 s ahead', () => ({ payload: { iat: now() + 61 } })],
    ['081 iat an hour ahead', () => ({ payload: { iat: now() + 3600 } })],
    ['081 nonce a number', () => ({ payload: { nonce: 1 } })],
    ['081 ath a number', () => ({ payload: { ath: 1 } })],
  ])('%s: dpop', async (what, bend) => {
    for (const place of await places()) {
      const about = { nonce: await freshNonce(), ...place.about }
      const spied = vi.spyOn(globalThis, 'fetch')
      const answer = await place.ask(await proof(key, about, bend(place)))
      expect(spied).not.toHaveBeenCalled()
      spied.mockRestore()
      expectRefused(place, answer, 'invalid_dpop_proof', `${what} ${about.path}`)
      // Whoever tries again has what he needs for it.
      expect(answer.headers.get('DPoP-Nonce')).toMatch(/./)
    }
    // What was refused is not remembered: only the login's own proof was used.
    expect(await rowsIn('used_proof')).toBe(1)
  })

  test.each<[string, (accessToken: string) => Promise<unknown>]>([
    ['no ath', async () => undefined],
    ['an empty ath', async () => ''],
    ['the token itself', async (accessToken) => accessToken],
    ['the hash of another', async () => toBase64url(await sha256('other'))],
    ['the hash with padding', async (text) => `${toBase64url(await sha256(text))}=`],
    [
      'half of it, as in an id_token',
      async (text) => toBase64url((await sha256(text)).slice(0, 16)),
    ],
  ])('081 dpop: userinfo with %s', async (_, ath) => {
    const { access_token: accessToken } = await boundTokens()
    const bend = { payload: { ath: await ath(accessToken) } }
    expectChallenge(await userinfoKeyed(key, accessToken, bend), 'invalid_dpop_proof')
    expect((await userinfoKeyed(key, accessToken)).status).toBe(200)
  })

  test('081 dpop: two headers, an empty one, no JWT, five parts', async () => {
    const [head = '', body = '', tail = ''] = (await proof(key)).split('.')
    for (const place of await places()) {
      const about = { nonce: await freshNonce(), ...place.about }
      const twice = `${await proof(key, about)}, ${await proof(key, about)}`
      const none = toBase64url(utf8(JSON.stringify({ typ: 'dpop+jwt', alg: 'none' })))
      for (const text of [
        ...[twice, 'x', '..', 'null', `${head}.${body}`, `${head}.${body}.${tail}.`],
        ...[`${none}.${body}.`, `${head}.${body}.${tail}.${tail}.${tail}`, `Bearer ${twice}`],
      ]) {
        const answer = await place.ask(text)
        expectRefused(place, answer, 'invalid_dpop_proof', text)
      }
    }
  })

  test('081 dpop: two headers of a real request', async () => {
    const headers = new Headers({
      ...client.basic,
      'CF-Connecting-IP': freshAddress(),
      'Content-Type': 'application/x-www-form-urlencoded',
    })
    const about = { nonce: await freshNonce() }
    for (const _ of [1, 2]) headers.append('DPoP', await proof(key, about))
    const body = 'grant_type=refresh_token'
    const answer = await workerWith().fetch('/oidc/token', { method: 'POST', headers, body })
    expect([answer.status, await answer.json()]).toMatchObject([
      400,
      { error: 'invalid_dpop_proof' },
    ])
  })

  test('116 081 dpop: more than 8 KiB is not decoded, more than 16 KiB not even read', async () => {
    for (const place of await places()) {
      const about = { nonce: await freshNonce(), ...place.about }
      const long = (length: number) => ({ payload: { filler: 'x'.repeat(length) } })
      expectRefused(place, await place.ask(await proof(key, about, long(7 * 1024))))
      for (const bend of [long(64 * 1024), { header: { filler: 'x'.repeat(16 * 1024) } }]) {
        expect((await place.ask(await proof(key, about, bend))).status).toBe(400)
      }
      await expectTaken(place, long(5 * 1024))
    }
  })

  test('115 081 dpop: a client assertion, a token of ours, a proof for another place', async () => {
    const keyed = await registerKeyed({}, {}, 'keyed-bar')
    const { client_assertion: text } = await asserted(keyed)
    const { id_token: idToken } = await boundTokens()
    for (const place of await places()) {
      for (const wrong of [text, idToken]) expectRefused(place, await place.ask(wrong))
      for (const other of await places()) {
        const isSame =
          other.about.path === place.about.path && other.about.method === place.about.method
        if (isSame) continue
        const about = { nonce: await freshNonce(), ...other.about }
        expectRefused(place, await place.ask(await proof(key, about)))
      }
    }
  })
})

describe('082 the token and its key', () => {
  test('082 dpop: sent as Bearer, in a form, or in the address', async () => {
    const { access_token: accessToken } = await boundTokens()
    expectChallenge(await userinfo(accessToken), 'invalid_token')
    // With the right proof beside it, it still is no bearer token.
    const asBearer = await userinfoKeyed(key, accessToken, {}, { scheme: 'Bearer' })
    expectChallenge(asBearer, 'invalid_token')
    const about = { method: 'POST', path: '/oidc/userinfo', accessToken }
    const form = { access_token: accessToken }
    const inForm = await sendForm('/oidc/userinfo', form, await proven(key, about))
    expectChallenge(inForm, 'invalid_token')
    const headers = { ...(await proven(key, about)), Authorization: `DPoP ${accessToken}` }
    const inBoth = await sendForm('/oidc/userinfo', form, headers)
    expect([inBoth.status, inBoth.body.error]).toEqual([400, 'invalid_request'])
    const path = `/oidc/userinfo?access_token=${accessToken}`
    const inQuery = await send('GET', path, undefined, headers)
    expect([inQuery.status, inQuery.body.error]).toEqual([400, 'invalid_request'])
    expect((await userinfoKeyed(key, accessToken)).status).toBe(200)
  })

  test('082 dpop: without a proof, and with another key', async () => {
    const { access_token: accessToken } = await boundTokens()
    const bare = { Authorization: `DPoP ${accessToken}` }
    const missing = await send('GET', '/oidc/userinfo', undefined, bare)
    expectChallenge(missing, 'invalid_dpop_proof')
    const other = await makeKey()
    expectChallenge(await userinfoKeyed(other, accessToken), 'invalid_token')
    // One's own key inside, signed by another; and the other way round.
    expectChallenge(await userinfoKeyed(key, accessToken, { key: other }), 'invalid_dpop_proof')
    const swapped = { header: { jwk: key.publicJwk } }
    expectChallenge(await userinfoKeyed(other, accessToken, swapped), 'invalid_dpop_proof')
    expect((await userinfoKeyed(key, accessToken)).status).toBe(200)
  })

  test('082 089 dpop: the scheme in any letters', async () => {
    const { access_token: accessToken } = await boundTokens()
    for (const scheme of ['dpop', 'DPOP', 'dPoP']) {
      const answer = await userinfoKeyed(key, accessToken, {}, { scheme })
      expect(answer.status, scheme).toBe(200)
    }
  })

  test('082 dpop: a token that is bound to no key, with a proof', async () => {
    const code = await codeOf(await enrolled({ push: false }))
    const { body } = await redeemWith(code, {})
    expect(body.token_type).toBe('Bearer')
    expectChallenge(await userinfoKeyed(key, body.access_token), 'invalid_token')
    // A proof that nobody asked for changes nothing.
    const answer = await userinfoKeyed(key, body.access_token, {}, { scheme: 'Bearer' })
    expect(answer.status).toBe(200)
  })

  test('086 dpop: a token that is none, ended, or withdrawn', async () => {
    onTestFinished(() => {
      vi.useRealTimers()
    })
    const { access_token: accessToken } = await boundTokens()
    expectChallenge(await userinfoKeyed(key, 'nonsense'), 'invalid_token')
    expectChallenge(await userinfoKeyed(key, `${accessToken.slice(0, -1)}_`), 'invalid_token')
    wait(3599)
    expect((await userinfoKeyed(key, accessToken)).status).toBe(200)
    wait(2)
    expectChallenge(await userinfoKeyed(key, accessToken), 'invalid_token')
  })

  test('082 dpop: a signed access token names the key, and so does introspection', async () => {
    const resource = 'https://api.example/'
    client = await registerClient({ resources: [resource] }, {}, 'api-bar')
    const code = await codeOf(await enrolled({ push: false }), { resource })
    const { body } = await redeemWith(code, await proven(key))
    expect(body.token_type).toBe('DPoP')
    expect(claimsOf(body.access_token).cnf).toEqual({ jkt: key.thumbprint })
    const about = { token: body.access_token }
    const asked = await sendForm('/oidc/introspect', about, client.basic)
    expect(asked.body).toMatchObject({ token_type: 'DPoP', cnf: { jkt: key.thumbprint } })
  })
})

describe('the nonce', () => {
  beforeEach(() => {
    onTestFinished(() => {
      vi.useRealTimers()
    })
  })

  test('081 dpop: without one it is told, and the next request passes', async () => {
    for (const place of await places()) {
      const answer = await place.ask(await proof(key, place.about))
      expectRefused(place, answer, 'use_dpop_nonce')
      const nonce = answer.headers.get('DPoP-Nonce') ?? ''
      expect(nonce).toMatch(/^[\x21\x23-\x5b\x5d-\x7e]+$/)
      const again = await place.ask(await proof(key, { ...place.about, nonce }))
      expect([again.status, again.body.error]).toEqual(place.taken)
    }
  })

  test('081 dpop: the question for it uses up neither code nor assertion nor jti', async () => {
    const keyed = await registerKeyed({ profile: 'fapi2' })
    const { code } = await visit(keyed, await enrolled({ push: false }))
    const assertion = await asserted(keyed)
    const payload = { jti: 'the-same' }
    const before = await dumpD1()
    const first = await redeemKeyed(keyed, code, assertion, {
      DPoP: await proof(keyed.dpop, {}, { payload }),
    })
    expectFault(first, 'use_dpop_nonce')
    expect(await dumpD1()).toEqual(before)
    const nonce = first.headers.get('DPoP-Nonce') ?? ''
    const DPoP = await proof(keyed.dpop, { nonce }, { payload })
    expect((await redeemKeyed(keyed, code, assertion, { DPoP })).status).toBe(200)
  })

  test('081 dpop: good for five minutes, then told anew', async () => {
    // At the beginning of a minute, so that the clock of the test can't cross one.
    const [place] = [tokenPlace()]
    vi.setSystemTime(Math.ceil(Date.now() / 60_000) * 60_000)
    const nonce = await freshNonce()
    wait(5 * 60 + 50)
    const kept = await place.ask(await proof(key, { nonce }))
    expect(kept.body.error).toBe('invalid_request')
    wait(15)
    const late = await place.ask(await proof(key, { nonce }))
    expectFault(late, 'use_dpop_nonce')
    expect(late.headers.get('DPoP-Nonce')).not.toBe(nonce)
  })

  test('081 dpop: of another secret, altered, made up', async () => {
    const MASTER_SECRET = toBase64url(crypto.getRandomValues(new Uint8Array(32)))
    const elsewhere = workerWith({ MASTER_SECRET })
    const { headers } = await elsewhere.send('POST', '/oidc/token', '', { DPoP: 'x' })
    const foreign = headers.get('DPoP-Nonce') ?? ''
    const own = await freshNonce()
    const [minute = '', mac = ''] = own.split('.')
    expect(foreign.split('.')).toHaveLength(2)
    for (const place of await places()) {
      for (const nonce of [
        ...[foreign, '', minute, `${minute}.`, `${minute}.${'A'.repeat(43)}`, `.${mac}`],
        ...[`${Number(minute) + 1}.${mac}`, `${Number(minute) - 1}.${mac}`, `0${own}`, `${own} `],
        ...[own.toUpperCase(), 'x'.repeat(4096), '__proto__'],
      ]) {
        const answer = await place.ask(await proof(key, { ...place.about, nonce }))
        expectRefused(place, answer, 'use_dpop_nonce', nonce)
      }
    }
  })

  test('081 dpop: is told with every answer to who sends a proof, and to nobody else', async () => {
    const nonced = await places()
    for (const place of nonced) {
      const good = await place.ask(await proof(key, { nonce: await freshNonce(), ...place.about }))
      const bad = await place.ask('nonsense')
      for (const { headers } of [good, bad]) expect(headers.get('DPoP-Nonce')).toMatch(/./)
      expect((await place.ask(undefined)).headers.has('DPoP-Nonce')).toBe(false)
    }
    const DPoP = 'nonsense'
    for (const answer of [
      await sendForm('/oidc/token', {}, { DPoP }),
      await sendForm('/oidc/par', {}, { DPoP }),
      await sendForm('/oidc/token', {}, { DPoP, Authorization: 'Basic eDp5' }),
      await sendForm('/oidc/par', { client_id: 'nobody', client_secret: 'x' }, { DPoP }),
      await sendForm('/oidc/token', { filler: 'x'.repeat(20_000) }, { DPoP }),
      await send('POST', '/oidc/token', '{}', { DPoP, 'Content-Type': 'application/json' }),
      await send('GET', '/oidc/userinfo', undefined, { DPoP }),
      await send('GET', '/oidc/userinfo?access_token=x', undefined, { DPoP }),
    ]) {
      expect(answer.status).toBeGreaterThanOrEqual(400)
      expect(answer.headers.get('DPoP-Nonce')).toMatch(/./)
    }
    // Introspection and revocation have no use for proofs.
    for (const path of ['/oidc/introspect', '/oidc/revoke']) {
      expect((await sendForm(path, {}, { DPoP })).headers.has('DPoP-Nonce')).toBe(false)
    }
  })
})

describe('once', () => {
  test('081 dpop: a proof again, at once and later; the same jti signed anew', async () => {
    onTestFinished(() => {
      vi.useRealTimers()
    })
    for (const [i, place] of (await places()).entries()) {
      const about = { nonce: await freshNonce(), ...place.about }
      const payload = { jti: `jti-${i}`, iat: now() + 25 }
      const text = await proof(key, about, { payload })
      const first = await place.ask(text)
      expect([first.status, first.body.error]).toEqual(place.taken)
      expectRefused(place, await place.ask(text))
      const anew = await proof(key, about, { payload: { ...payload, iat: now() } })
      expectRefused(place, await place.ask(anew))
      wait(60)
      // Something else sweeps what has ended.
      await expectTaken(place, {})
      expectRefused(place, await place.ask(text))
      // Of another key it is another proof.
      if (place.refused === 400) {
        await expectTaken(place, { payload: { jti: `jti-${i}` } }, await makeKey())
      }
    }
  })

  test('081 dpop: of twenty at the same moment one passes', async () => {
    for (const place of await places()) {
      const text = await proof(key, { nonce: await freshNonce(), ...place.about })
      const answers = await Promise.all(Array.from({ length: 20 }, () => place.ask(text)))
      const taken = answers.filter(({ body }) => body.error !== 'invalid_dpop_proof')
      expect(taken.map(({ status, body }) => [status, body.error])).toEqual([place.taken])
    }
  })

  test('081 dpop: one name at two places is one name', async () => {
    const [first, second] = [tokenPlace(), parPlace()]
    const bend = { payload: { jti: 'the-same' } }
    await expectTaken(first, bend)
    const about = { nonce: await freshNonce(), ...second.about }
    expectRefused(second, await second.ask(await proof(key, about, bend)))
  })

  test('081 dpop: one row for each proof, without its jti, swept when it has ended', async () => {
    onTestFinished(() => {
      vi.useRealTimers()
    })
    const place = tokenPlace()
    const iat = now()
    await expectTaken(place, { payload: { jti: 'jti-in-the-clear', iat } })
    const stored = await dumpD1()
    expect(JSON.parse(stored.used_proof ?? '')).toEqual([
      { proof: expect.stringMatching(/^[\w-]{43}$/), expires_at: iat + 70 },
    ])
    expect(JSON.stringify(stored)).not.toContain('jti-in-the-clear')
    expect(JSON.stringify(stored)).not.toContain(key.thumbprint)
    wait(72)
    await expectTaken(place, {})
    expect(await rowsIn('used_proof')).toBe(1)
  })

  test('302 081 dpop: D1 that fails is 503, and the proof is good afterwards', async () => {
    for (const place of await places()) {
      const text = await proof(key, { nonce: await freshNonce(), ...place.about })
      for (const fault of ['error', 'disconnected'] as const) {
        const heal = breakD1((sql) => sql.includes('used_proof'), fault)
        const answer = await place.ask(text)
        heal()
        expect(answer.status).toBe(503)
        expect(answer.headers.get('Retry-After')).toMatch(/^\d+$/)
      }
      const { status, body } = await place.ask(text)
      expect([status, body.error]).toEqual(place.taken)
    }
  })

  test('budget: a proof costs one batch', async () => {
    const place = userinfoPlace((await boundTokens()).access_token)
    const queries = watchD1()
    await expectTaken(place, {})
    const kinds = queries.map(({ sql }) => sql.split(' ')[0])
    expect(kinds.sort()).toEqual(['DELETE', 'INSERT', 'SELECT', 'SELECT'])
  })
})

describe('the code', () => {
  async function expectBoundCode(code: string): Promise<void> {
    const other = await makeKey()
    for (const headers of [{}, await proven(other)]) {
      expectFault(await redeemWith(code, headers), 'invalid_grant')
    }
    const { status, body } = await redeemWith(code, await proven(key))
    expect([status, body.token_type]).toEqual([200, 'DPoP'])
    expectChallenge(await userinfoKeyed(other, body.access_token), 'invalid_token')
    expect((await userinfoKeyed(key, body.access_token)).status).toBe(200)
    expect(await rowsIn('dead_grant')).toBe(0)
  }

  test('081 dpop: is bound by dpop_jkt in the address', async () => {
    await expectBoundCode(
      await codeOf(await enrolled({ push: false }), { dpop_jkt: key.thumbprint }),
    )
  })

  test('081 dpop: is bound by dpop_jkt that was pushed, by a proof at PAR, or by both', async () => {
    const keyed = await registerKeyed({ profile: 'fapi2' })
    const person = await enrolled({ push: false })
    const other = await makeKey()
    const proofed = () => proven(keyed.dpop, { path: '/oidc/par' })
    for (const [changes, headers] of [
      [{ dpop_jkt: keyed.dpop.thumbprint }, {}],
      [{}, await proofed()],
      [{ dpop_jkt: keyed.dpop.thumbprint }, await proofed()],
    ] as const) {
      const { code } = await visit(keyed, person, changes, headers)
      expectFault(await redeemKeyed(keyed, code, {}, await proven(other)), 'invalid_grant')
      expect((await redeemKeyed(keyed, code)).body.token_type).toBe('DPoP')
    }
  })

  test('081 dpop: dpop_jkt of one key and a proof of another are refused at PAR', async () => {
    const keyed = await registerKeyed({ profile: 'fapi2' })
    const { thumbprint: dpop_jkt } = await makeKey()
    const headers = await proven(keyed.dpop, { path: '/oidc/par' })
    expectFault(await push(keyed, { dpop_jkt }, headers), 'invalid_dpop_proof')
  })

  test.each(['x', 'A'.repeat(42), 'A'.repeat(44), `${'A'.repeat(42)}B`, `${'A'.repeat(42)}=`])(
    '081 dpop: dpop_jkt=%s is no thumbprint',
    async (dpop_jkt) => {
      expectAuthz(await new Tab().authorize({ dpop_jkt }), 'invalid_request')
      const about = await authorizationParameters({ dpop_jkt })
      expectFault(await sendForm('/oidc/par', about, client.basic), 'invalid_request')
    },
  )

  test('038 dpop: dpop_jkt twice', async () => {
    const query = new URLSearchParams(await authorizationParameters())
    for (const _ of [1, 2]) query.append('dpop_jkt', key.thumbprint)
    expectAuthz(await new Tab().send('GET', `/oidc/authorize?${query}`), 'invalid_request')
  })

  test('081 dpop: a client that must prove a key and sends no proof', async () => {
    const keyed = await registerKeyed({ profile: 'fapi2' })
    const { code } = await visit(keyed, await enrolled({ push: false }))
    expectFault(await redeemKeyed(keyed, code, {}, {}), 'invalid_dpop_proof')
    expectFault(await redeemKeyed(keyed, code, {}, { DPoP: '' }), 'invalid_dpop_proof')
    expect((await redeemKeyed(keyed, code)).status).toBe(200)
    expect(await rowsIn('dead_grant')).toBe(0)
  })

  test('081 dpop: the obligation counts from the moment it is registered', async () => {
    const person = await enrolled({ push: false })
    const code = await codeOf(person)
    await registerClient({ offline_access: true, dpop_bound_access_tokens: true })
    expectFault(await redeemWith(code, {}), 'invalid_dpop_proof')
    expect((await redeemWith(code, await proven(key))).body.token_type).toBe('DPoP')
  })

  test('074 081 dpop: of twenty proofs for one code one buys tokens', async () => {
    const code = await codeOf(await enrolled({ push: false }))
    const nonce = await freshNonce()
    const answers = await Promise.all(
      Array.from({ length: 20 }, async () =>
        redeemWith(code, { DPoP: await proof(key, { nonce }) }),
      ),
    )
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
  })
})

describe('refreshing', () => {
  const refresh = (refresh_token: string, headers: Record<string, string>): Promise<Answer> =>
    token({ grant_type: 'refresh_token', refresh_token }, { ...client.basic, ...headers })

  test('081 dpop: is bound to the key, in every generation', async () => {
    const tokens = await boundTokens()
    const other = await makeKey()
    let text = tokens.refresh_token
    for (let generation = 0; generation < 3; generation++) {
      expectFault(await refresh(text, {}), 'invalid_grant')
      expectFault(await refresh(text, await proven(other)), 'invalid_grant')
      const { status, body } = await refresh(text, await proven(key))
      expect([status, body.token_type]).toEqual([200, 'DPoP'])
      expectChallenge(await userinfo(body.access_token), 'invalid_token')
      expect((await userinfoKeyed(key, body.access_token)).status).toBe(200)
      // The one before is still good inside its grace, and only with the key.
      expectFault(await refresh(text, await proven(other)), 'invalid_grant')
      text = (await refresh(text, await proven(key))).body.refresh_token
    }
    // Wrong keys have killed nothing.
    expect([await rowsIn('dead_grant'), await rowsIn('refresh_family')]).toEqual([0, 1])
  })

  test('081 dpop: of the high profile, bound to client and key', async () => {
    const keyed = await registerKeyed({ profile: 'fapi2', offline_access: true })
    const scope = 'openid offline_access'
    const { tokens } = await visitRedeemed(keyed, await enrolled({ push: false }), { scope })
    const form = {
      ...{ grant_type: 'refresh_token', refresh_token: tokens.refresh_token },
      ...{ code: undefined, redirect_uri: undefined, code_verifier: undefined },
    }
    const second = await registerKeyed({ profile: 'fapi2', offline_access: true }, {}, 'other-bar')
    const asSecond = { ...second, dpop: keyed.dpop }
    expectFault(await redeemKeyed(asSecond, undefined, form), 'invalid_grant')
    expectFault(await redeemKeyed(keyed, undefined, form, {}), 'invalid_grant')
    const stranger = await redeemKeyed(keyed, undefined, {
      ...{ ...form, client_assertion: undefined, client_assertion_type: undefined },
      client_id: keyed.clientId,
    })
    expect([stranger.status, stranger.body.error]).toEqual([401, 'invalid_client'])
    expect((await redeemKeyed(keyed, undefined, form)).body.token_type).toBe('DPoP')
  })

  test('081 dpop: what began without a key may be refreshed with one', async () => {
    const code = await codeOf(await enrolled({ push: false }), { scope: 'openid offline_access' })
    const { body: plain } = await redeemWith(code, {})
    const { body: bound } = await refresh(plain.refresh_token, await proven(key))
    expect([plain.token_type, bound.token_type]).toEqual(['Bearer', 'DPoP'])
    expectChallenge(await userinfo(bound.access_token), 'invalid_token')
    expect((await userinfoKeyed(key, bound.access_token)).status).toBe(200)
  })
})

describe('other clients', () => {
  test('a simple client with a proof gets a bound token, without one a bearer token', async () => {
    const person = await enrolled({ push: false })
    const bearer = await redeemWith(await codeOf(person), {})
    const bound = await redeemWith(await codeOf(person), await proven(key))
    expect(bearer.body.token_type).toBe('Bearer')
    expect(bound.body.token_type).toBe('DPoP')
    expect((await userinfo(bearer.body.access_token)).status).toBe(200)
    const info = await userinfoKeyed(key, bound.body.access_token)
    expect(info.body).toEqual((await userinfo(bearer.body.access_token)).body)
  })

  test('a public client: code and refresh token are worth nothing without its key', async () => {
    const record = { token_endpoint_auth_method: 'none', offline_access: true }
    client = await registerClient({ ...record, dpop_bound_access_tokens: true }, {}, 'public-bar')
    const person = await enrolled({ push: false })
    const about = { client_id: client.clientId }
    const send = (form: Record<string, string>, headers: Record<string, string>) =>
      token({ ...about, ...form }, headers)
    const code = await codeOf(person, {
      ...{ scope: 'openid offline_access', dpop_jkt: key.thumbprint },
    })
    const grant = {
      ...{ grant_type: 'authorization_code', code },
      ...{ redirect_uri: REDIRECT_URI, code_verifier: VERIFIER },
    }
    const other = await makeKey()
    expectFault(await send(grant, {}), 'invalid_grant')
    expectFault(await send(grant, await proven(other)), 'invalid_grant')
    const { body } = await send(grant, await proven(key))
    expect(body.token_type).toBe('DPoP')
    const refreshed = { grant_type: 'refresh_token', refresh_token: body.refresh_token }
    expectFault(await send(refreshed, {}), 'invalid_grant')
    expectFault(await send(refreshed, await proven(other)), 'invalid_grant')
    expect((await send(refreshed, await proven(key))).body.token_type).toBe('DPoP')
  })

  test('the key of assertion and proof may be one and the same', async () => {
    const own = await makeKey('ES256', 'both')
    const keyed = await registerKeyed({ profile: 'fapi2', jwks: keySet(own) })
    const both = { ...keyed, key: own, dpop: own }
    const { tokens } = await visitRedeemed(both, await enrolled({ push: false }))
    expect((await userinfoKeyed(own, tokens.access_token)).status).toBe(200)
  })

  test('081 dpop: whoever is not the client is told nothing of his proof', async () => {
    for (const DPoP of ['nonsense', await proof(key)]) {
      const wrong = await sendForm('/oidc/token', { client_id: 'x', client_secret: 'y' }, { DPoP })
      expect([wrong.status, wrong.body.error]).toEqual([401, 'invalid_client'])
    }
    expect(await rowsIn('used_proof')).toBe(0)
  })
})

describe('pages of the client', () => {
  test.each(['/oidc/token', '/oidc/par', '/oidc/userinfo'])(
    '092 338 dpop: a page may send a proof to %s and read the nonce',
    async (path) => {
      const preflight = (origin: string) =>
        send('OPTIONS', path, undefined, {
          ...{ Origin: origin, 'Access-Control-Request-Method': 'POST' },
          'Access-Control-Request-Headers': 'dpop,content-type',
        })
      const { status, headers } = await preflight(RP_ORIGIN)
      expect([status, headers.get('Access-Control-Allow-Origin')]).toEqual([204, RP_ORIGIN])
      const allowed = headers.get('Access-Control-Allow-Headers')?.toLowerCase().split(/, */)
      expect(allowed).toEqual(expect.arrayContaining(['dpop', 'content-type', 'authorization']))
      expect((await preflight('https://evil.example')).status).toBe(403)

      const answer = await send('POST', path, '', { Origin: RP_ORIGIN, DPoP: 'x' })
      expect(answer.headers.get('Access-Control-Allow-Origin')).toBe(RP_ORIGIN)
      expect(answer.headers.get('DPoP-Nonce')).toMatch(/./)
      expect(answer.headers.get('Access-Control-Expose-Headers')).toContain('DPoP-Nonce')
      const foreign = await send('POST', path, '', { Origin: 'https://evil.example', DPoP: 'x' })
      expect(foreign.headers.get('Access-Control-Allow-Origin')).toBeNull()
      expect(foreign.headers.get('Access-Control-Expose-Headers')).toBeNull()
    },
  )
})

test('081 dpop: a code that was bound to no key is bound to the first that brings it', async () => {
  const keyed = await registerKeyed({ profile: 'fapi2' })
  const { code } = await visit(keyed, await enrolled({ push: false }))
  const other = await makeKey()
  const { body } = await redeemKeyed(keyed, code, {}, await proven(other))
  expectChallenge(await userinfoKeyed(keyed.dpop, body.access_token), 'invalid_token')
  expect((await userinfoKeyed(other, body.access_token)).status).toBe(200)
})
