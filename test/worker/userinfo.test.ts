/** Userinfo, what passes for an access token and what doesn't, and who may read it across origins (5-security 4.6, 4.9). */
import { env } from 'cloudflare:workers'
import { CompactEncrypt, exportJWK, generateKeyPair } from 'jose'
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { toBase64url, utf8 } from '../../src/bytes.ts'
import { parseMasterSecret } from '../../src/keys/master-secret.ts'
import { createKeyRing } from '../../src/keys/store.ts'
import { workerWith } from './other-worker.ts'
import { DESCRIPTION, type LoggedIn, landedAt, loggedIn, rowsIn } from './redeemed.ts'
import { claimsOf, RP_ORIGIN, redeem, registerClient, userinfo } from './relying-party.ts'
import { dumpD1, watchD1, watchObjects } from './storage.ts'
import { type Answer, freshAddress, ISSUER, now, send } from './world.ts'

const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' }
const OFFLINE = {
  oidc: { offline_access: true },
  request: { scope: 'openid identity:name offline_access' },
}

let login: LoggedIn
let access: string

beforeEach(async () => {
  login = await loggedIn(OFFLINE)
  access = login.tokens.access_token
})

function bearer(token: string, scheme = 'Bearer'): Record<string, string> {
  return { Authorization: `${scheme} ${token}` }
}

function expectChallenge(answer: Answer, status: number, error?: string): void {
  expect(answer.status).toBe(status)
  const challenge = answer.headers.get('WWW-Authenticate') ?? ''
  expect(challenge).toMatch(/^Bearer\b/)
  expect(answer.headers.get('Cache-Control')).toBe('no-store')
  if (error === undefined) {
    expect(challenge).not.toContain('error')
    expect(answer.body).toBe('')
    return
  }
  expect(challenge).toContain(`error="${error}"`)
  expect(/error_description="([^"]*)"/.exec(challenge)?.[1]).toMatch(DESCRIPTION)
  expect(answer.body).toEqual({ error, error_description: expect.stringMatching(DESCRIPTION) })
}

describe('the token', () => {
  test('091 userinfo: GET, POST with header, POST with form: one answer, with the sub of the id_token', async () => {
    const answers = [
      await userinfo(access),
      await send('POST', '/oidc/userinfo', undefined, bearer(access)),
      await send('POST', '/oidc/userinfo', '', { ...FORM, ...bearer(access) }),
      await send('POST', '/oidc/userinfo', `access_token=${encodeURIComponent(access)}`, FORM),
      await send('POST', '/oidc/userinfo', '{}', {
        'Content-Type': 'application/json',
        ...bearer(access),
      }),
      await send('POST', '/oidc/userinfo', `access_token=${access}&a=b`, {
        'Content-Type': 'application/x-www-form-urlencoded; charset=utf-8',
      }),
    ]
    for (const { status, headers, body } of answers) {
      expect(status).toBe(200)
      expect(headers.get('Content-Type')).toBe('application/json')
      expect(headers.get('Cache-Control')).toBe('no-store')
      expect(body).toEqual({
        sub: claimsOf(login.tokens.id_token).sub,
        given_name: 'Jean',
        family_name: 'Dupont',
        name: 'Jean Dupont',
      })
    }
  })

  test('091 userinfo: HEAD has the headers of GET and no body', async () => {
    const [get, head] = [
      await userinfo(access),
      await send('HEAD', '/oidc/userinfo', undefined, bearer(access)),
    ]
    expect([head.status, head.body]).toEqual([200, ''])
    const told = ({ headers }: Answer) =>
      [...headers].filter(([name]) => !['x-request-id', 'content-length'].includes(name))
    expect(told(head)).toEqual(told(get))
    expect((await send('HEAD', '/oidc/userinfo')).status).toBe(401)
  })

  test('001 userinfo: other methods are 405', async () => {
    for (const method of ['PUT', 'DELETE', 'PATCH']) {
      const answer = await send(method, '/oidc/userinfo', undefined, bearer(access))
      expect([answer.status, answer.headers.get('Allow')]).toEqual([405, 'GET, HEAD, POST'])
    }
  })

  test('091 userinfo: reads no store of attributes and writes nothing', async () => {
    const before = await dumpD1()
    const queries = watchD1()
    const calls = watchObjects()
    expect((await userinfo(access)).status).toBe(200)
    expect(calls).toEqual([])
    expect(queries.length).toBeLessThanOrEqual(2)
    for (const { sql, written } of queries) {
      expect(sql).toMatch(/\b(FROM dead_grant|LEFT JOIN enrollment)\b/)
      expect(written).toBe(0)
    }
    expect(await dumpD1()).toEqual(before)
  })

  test('091 userinfo: good to its last second', async () => {
    const at = now()
    onTestFinished(() => {
      vi.useRealTimers()
    })
    vi.setSystemTime((at + 3595) * 1000)
    expect((await userinfo(access)).status).toBe(200)
    vi.setSystemTime((at + 3601) * 1000)
    expectChallenge(await userinfo(access), 401, 'invalid_token')
  })

  test.each([
    ['GET', undefined, {}],
    ['POST', undefined, {}],
    ['POST', 'a=b', FORM],
    ['POST', 'access_token=', FORM],
    ['POST', '', FORM],
    ['POST', '{"access_token":"x"}', { 'Content-Type': 'application/json' }],
  ])(
    '085 userinfo: %s %s without a token is told the scheme and no error',
    async (method, body, headers) => {
      expectChallenge(await send(method, '/oidc/userinfo', body, headers), 401)
    },
  )

  test('086 userinfo: garbage, and one character changed anywhere', async () => {
    for (const bad of [
      ...['x', '.', '1.', '1.x', '9.AAAA', 'null', 'undefined', '%00', '"', 'a b', 'é'],
      ...[`${access}A`, access.slice(0, -1), access.slice(1), `${access}.`, `0${access}`],
      ...[`${access} ${access}`, access.toLowerCase(), access.toUpperCase(), `${access}==`],
    ]) {
      const answer = await send('GET', '/oidc/userinfo', undefined, {
        Authorization: `Bearer ${encodeURI(bad)}`,
      })
      expectChallenge(answer, 401, 'invalid_token')
    }
    for (let at = 0; at < access.length; at += 7) {
      const letter = access[at] === 'A' ? 'B' : 'A'
      const bent = access.slice(0, at) + letter + access.slice(at + 1)
      expect((await userinfo(bent)).status, `character ${at}`).toBe(401)
    }
  })

  test.each([
    ['revoked', "UPDATE enrollment SET status = 'revoked'"],
    ['bound anew', "UPDATE enrollment SET enrollment_id = 'another'"],
    ['past the end of the seal', 'UPDATE enrollment SET expires_at = 1'],
    ['gone', 'DELETE FROM enrollment'],
  ])('086 userinfo: the token of an enrollment that is %s', async (_, sql) => {
    await env.DB.prepare(sql).run()
    expectChallenge(await userinfo(access), 401, 'invalid_token')
  })

  test('086 userinfo: the token of a client that was switched off', async () => {
    await registerClient({}, { enabled: false })
    expectChallenge(await userinfo(access), 401, 'invalid_token')
  })

  test('086 userinfo: of two people, each token tells of its own', async () => {
    const other = await loggedIn({ ...OFFLINE, clientId: 'other-bar' })
    expect((await userinfo(access)).body.sub).toBe(login.person.tokenId)
    expect((await userinfo(other.tokens.access_token)).body.sub).toBe(other.person.tokenId)
  })

  test('087 userinfo: never in the address, never twice; and not in the log', async () => {
    const lines: string[] = []
    const spy = vi.spyOn(console, 'log').mockImplementation((...parts) => {
      lines.push(parts.map(String).join(' '))
    })
    onTestFinished(() => spy.mockRestore())
    const query = `/oidc/userinfo?access_token=${access}`
    const inForm = `access_token=${access}`
    for (const answer of [
      await send('GET', query),
      await send('GET', query, undefined, bearer(access)),
      await send('GET', '/oidc/userinfo?access_token=', undefined, bearer(access)),
      await send('POST', query),
      await send('POST', query, inForm, FORM),
      await send('POST', '/oidc/userinfo', inForm, { ...FORM, ...bearer(access) }),
      await send('POST', '/oidc/userinfo', 'access_token=x', { ...FORM, ...bearer(access) }),
      await send('POST', '/oidc/userinfo', `${inForm}&${inForm}`, FORM),
    ]) {
      expectChallenge(answer, 400, 'invalid_request')
      expect(JSON.stringify([...answer.headers, answer.body])).not.toContain(access)
    }
    expect(lines.join('\n')).not.toContain(access.slice(0, 40))
  })

  test('089 userinfo: the scheme in any letters, and no other scheme', async () => {
    for (const scheme of ['bEaReR', 'bearer', 'BEARER']) {
      const answer = await send('GET', '/oidc/userinfo', undefined, bearer(access, scheme))
      expect(answer.status, scheme).toBe(200)
    }
    for (const scheme of ['Token', 'Basic', 'DPoP:', 'Bearer:', 'Bearerx', '']) {
      const answer = await send('GET', '/oidc/userinfo', undefined, bearer(access, scheme))
      expectChallenge(answer, 401)
    }
    for (const header of [access, 'Bearer', 'Bearer ']) {
      const answer = await send('GET', '/oidc/userinfo', undefined, { Authorization: header })
      expectChallenge(answer, 401)
    }
  })
})

test('082 userinfo: a token that is bound to no key is none for the scheme DPoP', async () => {
  for (const scheme of ['DPoP', 'dpop']) {
    const answer = await send('GET', '/oidc/userinfo', undefined, bearer(access, scheme))
    expect([answer.status, answer.body.error]).toEqual([401, 'invalid_token'])
    const challenge = answer.headers.get('WWW-Authenticate')
    expect(challenge).toMatch(/^DPoP realm="userinfo", algs="ES256 PS256 EdDSA", error="invalid_/)
  }
})

describe('what is no access token', () => {
  test('115 userinfo: everything else that we sign or seal', async () => {
    const { client, person, tokens, tab } = login
    const { code } = await landedAt(client, person)
    const master = parseMasterSecret(env.MASTER_SECRET)
    if (!master.ok) throw new Error(master.reason)
    const ring = createKeyRing({ db: env.DB, master: master.value, issuer: ISSUER, now })
    const claims = { iss: ISSUER, sub: person.tokenId, aud: client.clientId, exp: now() + 100 }
    const cookies = Object.fromEntries(tab.cookies)
    const sso = Object.entries(cookies).find(([name]) => name.startsWith('__Host-sso-'))?.[1]
    const page = await tab.authorize()
    const ticket = /name="ticket" value="([^"]*)"/.exec(page.body)?.[1]
    const others = {
      'id token': tokens.id_token,
      'refresh token': tokens.refresh_token,
      code,
      'single sign-on cookie': sso,
      'browser cookie': cookies['__Host-browser'],
      ticket,
      'logout token': await ring.signLogoutToken(claims, 'ES256'),
      push: await ring.signPush(claims),
      'direct token': await ring.signToken({ ...claims, scope: 'openid' }),
      'device statement': await person.sign('idtoken-pending+jwt', { tokenId: person.tokenId }),
      'client secret': client.secret,
    }
    for (const [name, text] of Object.entries(others)) {
      expect(text, name).toEqual(expect.any(String))
      const answer = await userinfo(text ?? '')
      expect([answer.status, answer.body.error], name).toEqual([401, 'invalid_token'])
    }
    // And an access token is no code.
    const asCode = await redeem(client, access)
    expect([asCode.status, asCode.body.error]).toEqual([400, 'invalid_grant'])
    expect(await rowsIn('dead_grant')).toBe(0)
    expect((await redeem(client, code)).status).toBe(200)
  })

  test('116 userinfo: 64 KiB are refused before anything is decoded', async () => {
    const opened = vi.spyOn(crypto.subtle, 'decrypt')
    onTestFinished(() => opened.mockRestore())
    const huge = `1.${'A'.repeat(64 * 1024)}`
    const answers = [
      await userinfo(huge),
      await send('POST', '/oidc/userinfo', `access_token=${huge}`, FORM),
      await send('GET', `/oidc/userinfo?access_token=${huge}`),
      await userinfo(`1.${'A'.repeat(16 * 1024 - 8)}`),
    ]
    expect(answers.map(({ status }) => status)).toEqual([400, 400, 400, 400])
    expect((await userinfo(`1.${'A'.repeat(16 * 1024 - 20)}`)).status).toBe(401)
    expect(opened.mock.calls.length).toBeLessThanOrEqual(1)
    expect((await userinfo(access)).status).toBe(200)
  })

  test('123 userinfo: a JWE of any kind is refused by its shape, and no key is touched', async () => {
    const part = (length: number) => toBase64url(crypto.getRandomValues(new Uint8Array(length)))
    const jwe = (header: object) =>
      [toBase64url(utf8(JSON.stringify(header))), part(32), part(12), part(400), part(16)].join('.')
    const pair = await generateKeyPair('ECDH-ES')
    const real = await new CompactEncrypt(utf8(login.tokens.id_token))
      .setProtectedHeader({ alg: 'ECDH-ES', enc: 'A256GCM' })
      .encrypt(pair.publicKey)
    const tokens = [
      jwe({ alg: 'dir', enc: 'A256GCM' }),
      jwe({ alg: 'dir', enc: 'A256GCM', zip: 'DEF' }),
      jwe({ alg: 'RSA1_5', enc: 'A128CBC-HS256' }),
      jwe({ alg: 'PBES2-HS256+A128KW', enc: 'A256GCM', p2c: 1e9, p2s: part(16) }),
      jwe({ alg: 'ECDH-ES', enc: 'A256GCM', epk: await exportJWK(pair.publicKey) }),
      real,
      `1.${jwe({ alg: 'dir', enc: 'A256GCM' })}`,
    ]
    const spies = (['decrypt', 'importKey', 'deriveBits', 'unwrapKey'] as const).map((name) =>
      vi.spyOn(crypto.subtle, name),
    )
    onTestFinished(() => {
      for (const spy of spies) spy.mockRestore()
    })
    for (const token of tokens) expect((await userinfo(token)).status).toBe(401)
    expect(spies.map((spy) => spy.mock.calls.length)).toEqual([0, 0, 0, 0])
    expect((await userinfo(access)).status).toBe(200)
    expect(spies[0]?.mock.calls.length).toBe(1)
  })

  test('086 userinfo: a token of another deployment', async () => {
    const secret = toBase64url(crypto.getRandomValues(new Uint8Array(32)))
    const elsewhere = workerWith({ MASTER_SECRET: secret })
    const answer = await elsewhere.send('GET', '/oidc/userinfo', null, bearer(access))
    expectChallenge(answer, 401, 'invalid_token')
  })
})

describe('pages of other origins', () => {
  const PATHS = ['/oidc/token', '/oidc/userinfo'] as const
  const EVIL = ['https://evil.example', 'null', `${RP_ORIGIN}.evil.example`, `${RP_ORIGIN}/`, '*']

  /** What a page at `origin` would be shown of the endpoint's answer. */
  function asked(path: string, origin: string): Promise<Answer> {
    const headers = { Origin: origin, 'CF-Connecting-IP': freshAddress() }
    if (path === '/oidc/userinfo') return userinfo(access, headers)
    return send('POST', path, 'grant_type=password', {
      ...FORM,
      ...login.client.basic,
      ...headers,
    })
  }

  function preflight(path: string, origin: string): Promise<Answer> {
    return send('OPTIONS', path, undefined, {
      Origin: origin,
      'Access-Control-Request-Method': 'POST',
      'Access-Control-Request-Headers': 'authorization,content-type',
    })
  }

  test.each(PATHS)(
    '092 338 %s: a registered origin reads it, errors too, and without credentials',
    async (path) => {
      const before = await preflight(path, RP_ORIGIN)
      expect(before.status).toBe(204)
      expect(Object.fromEntries(before.headers)).toMatchObject({
        'access-control-allow-origin': RP_ORIGIN,
        'access-control-allow-methods': expect.stringContaining('POST'),
        'access-control-allow-headers': expect.stringMatching(/authorization/i),
        vary: 'Origin',
      })
      const bad = await send('POST', path, undefined, { Origin: RP_ORIGIN })
      for (const answer of [await asked(path, RP_ORIGIN), bad]) {
        expect(answer.headers.get('Access-Control-Allow-Origin')).toBe(RP_ORIGIN)
        expect(answer.headers.get('Vary')).toBe('Origin')
      }
      for (const answer of [before, bad]) {
        expect(answer.headers.get('Access-Control-Allow-Credentials')).toBeNull()
      }
    },
  )

  test.each(PATHS)('092 338 %s: no other origin does', async (path) => {
    for (const origin of EVIL) {
      const before = await preflight(path, origin)
      expect(before.status, origin).toBe(403)
      for (const answer of [before, await asked(path, origin)]) {
        expect(answer.headers.get('Access-Control-Allow-Origin'), origin).toBeNull()
        expect(answer.headers.get('Access-Control-Allow-Credentials'), origin).toBeNull()
        expect(answer.headers.get('Vary'), origin).toBe('Origin')
      }
    }
    const nobody = await send('OPTIONS', path)
    expect([nobody.status, nobody.headers.get('Access-Control-Allow-Origin')]).toEqual([403, null])
  })

  test.each(PATHS)(
    '092 %s: nor the origin of a service that was switched off, at once',
    async (path) => {
      expect((await preflight(path, RP_ORIGIN)).status).toBe(204)
      await registerClient({}, { enabled: false })
      expect((await preflight(path, RP_ORIGIN)).status).toBe(403)
      expect((await asked(path, RP_ORIGIN)).headers.get('Access-Control-Allow-Origin')).toBeNull()
    },
  )

  test('092 userinfo: who is told why may read why', async () => {
    const answer = await userinfo('nonsense', { Origin: RP_ORIGIN })
    expect(answer.headers.get('Access-Control-Expose-Headers')).toBe('WWW-Authenticate, DPoP-Nonce')
  })

  test('338 authorize and logout are for nobody else to read', async () => {
    for (const path of ['/oidc/authorize', '/oidc/end-session', '/login/address', '/revoke']) {
      for (const method of ['OPTIONS', 'GET', 'POST']) {
        const { headers } = await send(method, path, undefined, { Origin: RP_ORIGIN })
        expect(headers.get('Access-Control-Allow-Origin'), `${method} ${path}`).toBeNull()
      }
    }
  })
})
