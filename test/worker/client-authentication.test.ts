/** How a client proves itself at the token endpoint, from outside (5-security 4.4). */
import { env } from 'cloudflare:workers'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { hashSecret } from '../../src/services/authenticate.ts'
import { workerWith } from './other-worker.ts'
import { DESCRIPTION, type Landed, landed, landedAt, rowsIn } from './redeemed.ts'
import {
  type Client,
  REDIRECT_URI,
  redeem,
  registerClient,
  token,
  VERIFIER,
} from './relying-party.ts'
import { dumpD1, watchD1 } from './storage.ts'
import { type Answer, enrolled, freshAddress, operator } from './world.ts'

const METHODS = ['client_secret_basic', 'client_secret_post', 'none'] as const
type Method = (typeof METHODS)[number]

/** Redeems by the ways of `method`, whatever the client is registered for. */
function redeemBy(method: Method, { clientId, secret = 'x' }: Client, code: string) {
  switch (method) {
    case 'client_secret_basic':
      return redeem({ clientId, secret, basic: basic(clientId, secret) }, code)
    case 'client_secret_post':
      return redeem(NOBODY, code, { client_id: clientId, client_secret: secret }, {})
    case 'none':
      return redeem(NOBODY, code, { client_id: clientId }, {})
  }
}

const NOBODY: Client = { clientId: '', secret: '', basic: {} }

function basic(id: string, secret: string, scheme = 'Basic'): Record<string, string> {
  const bytes = new TextEncoder().encode(`${id}:${secret}`)
  return { Authorization: `${scheme} ${btoa(String.fromCharCode(...bytes))}` }
}

function expectStranger(answer: Answer, usedHeader: boolean): void {
  expect([answer.status, answer.body.error]).toEqual([401, 'invalid_client'])
  expect(answer.headers.get('Content-Type')).toBe('application/json')
  expect(answer.headers.get('Cache-Control')).toBe('no-store')
  const challenge = usedHeader ? expect.stringMatching(/^Basic realm="[^"]+"/) : null
  expect(answer.headers.get('WWW-Authenticate')).toEqual(challenge)
}

/** The code was not spent by what came before, nor its grant killed. */
async function expectUnspent({ client, code }: Pick<Landed, 'client' | 'code'>): Promise<void> {
  expect((await redeem(client, code)).status).toBe(200)
  expect(await rowsIn('dead_grant')).toBe(0)
}

/** What of an answer a stranger can compare. */
function shape({ status, headers, body }: Answer): unknown {
  const told = [...headers].filter(([name]) => name !== 'x-request-id')
  return { status, told, body }
}

test('056 client: no credentials at all', async () => {
  const login = await landed()
  expectStranger(await redeem(NOBODY, login.code, {}, {}), false)
  expectStranger(await redeem(NOBODY, login.code, { client_id: login.client.clientId }, {}), false)
  // What would be another way to prove oneself is none here.
  const assertion = {
    client_id: login.client.clientId,
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: 'eyJhbGciOiJub25lIn0.e30.',
  }
  expectStranger(await redeem(NOBODY, login.code, assertion, {}), false)
  await expectUnspent(login)
})

describe('who is not the client', () => {
  test.each(['client_secret_basic', 'client_secret_post'] as const)(
    '057 client: wrong, unknown and disabled are one answer (%s)',
    async (method) => {
      const login = await landed({ oidc: { token_endpoint_auth_method: method } })
      const { client, code } = login
      const disabled = await registerClient(
        { token_endpoint_auth_method: method },
        {},
        'closed-bar',
      )
      await registerClient({ token_endpoint_auth_method: method }, { enabled: false }, 'closed-bar')
      const queries = watchD1()
      const asks: number[] = []
      const attempt = async (who: Client) => {
        queries.length = 0
        const answer = await redeemBy(method, who, code)
        asks.push(queries.length)
        return answer
      }
      const answers = [
        await attempt({ ...client, secret: `${client.secret}x` }),
        await attempt({ ...client, secret: client.secret.toLowerCase() }),
        await attempt({ ...client, secret: await hashSecret(client.secret) }),
        await attempt({ ...client, clientId: 'nobody' }),
        await attempt({ ...client, clientId: 'Bar-Le-Central' }),
        await attempt(disabled),
        await attempt({ ...disabled, secret: 'wrong' }),
      ]
      for (const answer of answers) expectStranger(answer, method === 'client_secret_basic')
      expect(new Set(answers.map((answer) => JSON.stringify(shape(answer)))).size).toBe(1)
      // The same work for all of them: one question to D1.
      expect(asks).toEqual(answers.map(() => 1))
      expect((await redeemBy(method, client, code)).status).toBe(200)
      expect(await rowsIn('dead_grant')).toBe(0)
    },
  )

  test('057 client: a service that is no OpenID Connect client', async () => {
    const { code, client } = await landed()
    const { body } = await operator('PUT', '/operator/services/plain', {
      name: 'Plain',
      url: 'http://127.0.0.1:8790/',
      origins: [],
      allowedScopes: [],
      defaultScopes: [],
    })
    const plain = { clientId: 'plain', secret: body.secret, basic: basic('plain', body.secret) }
    for (const method of METHODS) {
      expectStranger(await redeemBy(method, plain, code), method === 'client_secret_basic')
    }
    await expectUnspent({ client, code })
  })

  test('057 client: switched off between the code and its redemption', async () => {
    const { client, code } = await landed()
    await registerClient({}, { enabled: false })
    expectStranger(await redeem(client, code), true)
    await registerClient()
    await expectUnspent({ client, code })
  })

  test('057 client: a stranger learns nothing of grant types, parameters or codes', async () => {
    const { client, code } = await landed()
    const wrong = basic(client.clientId, 'wrong')
    for (const form of [
      {},
      { grant_type: 'password' },
      { grant_type: 'authorization_code' },
      { grant_type: 'authorization_code', code: 'nonsense' },
      { grant_type: 'authorization_code', code, redirect_uri: 'https://evil.example/' },
      { grant_type: 'refresh_token', refresh_token: 'nonsense' },
    ]) {
      expectStranger(await token(form, wrong), true)
    }
    await expectUnspent({ client, code })
  })
})

describe('how it is said', () => {
  test('058 client: two ways at once, or two names', async () => {
    const login = await landed()
    const { clientId, secret, basic: header } = login.client
    const both = [
      { client_id: clientId, client_secret: secret },
      { client_secret: secret },
      { client_id: clientId, client_secret: 'wrong' },
      { client_id: 'other-bar' },
    ]
    for (const more of both) {
      const answer = await redeem(login.client, login.code, more, header)
      expect([answer.status, answer.body.error]).toEqual([400, 'invalid_request'])
    }
    // The same name once more is what many clients send.
    const same = await redeem(login.client, login.code, { client_id: clientId }, header)
    expect(same.status).toBe(200)
  })

  test.each(METHODS)('059 client: registered for %s, no other way is taken', async (registered) => {
    const login = await landed({ oidc: { token_endpoint_auth_method: registered } })
    for (const method of METHODS.filter((other) => other !== registered)) {
      const answer = await redeemBy(method, login.client, login.code)
      expectStranger(answer, method === 'client_secret_basic')
    }
    expect((await redeemBy(registered, login.client, login.code)).status).toBe(200)
  })

  test('060 client: Basic in form encoding, and its scheme in any letters', async () => {
    const login = await landed()
    const { clientId, secret } = login.client
    const encoded = (text: string) =>
      [...new TextEncoder().encode(text)].map((byte) => `%${byte.toString(16)}`).join('')
    const headers = [
      basic(encoded(clientId), encoded(secret)),
      basic(clientId, secret, 'bAsIc'),
      basic(clientId, secret, 'BASIC '),
    ]
    for (const header of headers) {
      const answer = await redeem(login.client, 'nonsense', {}, header)
      expect(answer.body.error).toBe('invalid_grant')
    }
    await expectUnspent(login)
  })

  test.each(['a:b', '50%', 'a+b', 'a b', 'grüße ☃', '%2B', '::', '\u{1f511}'])(
    '060 client: the secret "%s"',
    async (secret) => {
      await registerClient()
      await env.DB.prepare('UPDATE service SET secret_hashes = ?')
        .bind(JSON.stringify([{ hash: await hashSecret(secret) }]))
        .run()
      const form = new URLSearchParams({ secret }).toString().slice('secret='.length)
      const percent = encodeURIComponent(secret)
      for (const spelt of [form, percent]) {
        const answer = await redeem(NOBODY, 'nonsense', {}, basic('bar-le-central', spelt))
        expect(answer.body.error, spelt).toBe('invalid_grant')
      }
    },
  )

  test.each([
    ['no colon', `Basic ${btoa('bar-le-central')}`],
    ['no base64', 'Basic ***'],
    ['no base64 of whole bytes', 'Basic YQ='],
    ['base64url', 'Basic _-__'],
    ['an empty id', `Basic ${btoa(':secret')}`],
    ['an empty secret', `Basic ${btoa('bar-le-central:')}`],
    ['nothing', 'Basic'],
    ['blanks', 'Basic   '],
    ['a broken escape', `Basic ${btoa('bar-le-central:%zz')}`],
    ['bytes that are no UTF-8', `Basic ${btoa('bar-le-central:\xff\xfe')}`],
    ['another scheme', 'Bearer token'],
    ['a digest', 'Digest username="bar-le-central"'],
    ['a colon only', `Basic ${btoa(':')}`],
  ])('061 client: a header with %s is 401', async (_, header) => {
    const login = await landed()
    expectStranger(await redeem(login.client, login.code, {}, { Authorization: header }), true)
    await expectUnspent(login)
  })
})

describe('secrets', () => {
  const SECRET = '/operator/services/bar-le-central/secret'

  /** Whether the secret is one of the client's: then only the code is wrong. */
  async function isTaken(secret: string): Promise<boolean> {
    const { body } = await redeem(NOBODY, 'nonsense', {}, basic('bar-le-central', secret))
    expect(['invalid_grant', 'invalid_client']).toContain(body.error)
    return body.error === 'invalid_grant'
  }

  test('065 client: old and new work side by side for a day, then the new one alone', async () => {
    const { client, code, person } = await landed()
    const { body } = await operator('POST', SECRET, {})
    expect((await redeem(client, code)).status).toBe(200)
    const renewed = { ...client, basic: basic(client.clientId, body.secret) }
    const next = await landedAt(renewed, person)
    expect((await redeem(renewed, next.code)).status).toBe(200)

    const stored = Object.values(await dumpD1()).join()
    for (const secret of [client.secret, body.secret]) {
      expect(stored).not.toContain(secret)
      expect(stored).toContain(await hashSecret(secret))
    }
    onTestFinished(() => {
      vi.useRealTimers()
    })
    vi.setSystemTime(Date.now() + 24 * 3600 * 1000 - 5000)
    expect([await isTaken(client.secret), await isTaken(body.secret)]).toEqual([true, true])
    vi.setSystemTime(Date.now() + 10_000)
    expect([await isTaken(client.secret), await isTaken(body.secret)]).toEqual([false, true])
  })

  test('065 client: a secret that leaked ends at once', async () => {
    const client = await registerClient()
    const { body } = await operator('POST', SECRET, { endOthers: true })
    expect([await isTaken(client.secret), await isTaken(body.secret)]).toEqual([false, true])
  })
})

describe('guessing', () => {
  test('066 client: after ten failures of an address it waits; the client itself does not', async () => {
    const login = await landed()
    const { client } = login
    const other = await registerClient({}, {}, 'other-bar')
    const from = { 'CF-Connecting-IP': freshAddress() }
    const guess = (id: string, i: number) =>
      redeem(client, login.code, {}, { ...basic(id, `guess-${i}`), ...from })
    // The platform counts in windows of a minute, and one may end on the way: then ten more fit, and no more.
    let failures = 0
    let answer = await guess(client.clientId, failures)
    for (; answer.status === 401 && failures < 21; failures++) {
      answer = await guess(client.clientId, failures)
    }
    expect(failures).toBeGreaterThanOrEqual(10)
    expect(failures).toBeLessThanOrEqual(20)
    expect(answer.status).toBe(429)
    expect(answer.headers.get('Retry-After')).toMatch(/^\d+$/)
    expect(answer.headers.get('Cache-Control')).toBe('no-store')
    expect(JSON.stringify(answer.body)).not.toContain(client.clientId)
    expect(answer.body.error_description).toMatch(DESCRIPTION)
    // No client is locked out for it: another one of the same address, and this one from elsewhere, are taken.
    const right = await redeem(client, 'nonsense', {}, { ...other.basic, ...from })
    expect([right.status, right.body.error]).toEqual([400, 'invalid_grant'])
    await expectUnspent(login)
  })

  test('066 client: right answers and refused codes are no failures', async () => {
    const { client } = await landed()
    const from = { ...client.basic, 'CF-Connecting-IP': freshAddress() }
    for (let i = 0; i < 25; i++) {
      expect((await redeem(client, 'nonsense', {}, from)).body.error).toBe('invalid_grant')
    }
  })

  test('016 066 client: an address that the client makes up is none', async () => {
    const { client, code } = await landed()
    const keys: string[] = []
    const limit = async ({ key }: { readonly key: string }) => {
      keys.push(key)
      return { success: true }
    }
    const elsewhere = workerWith({ CLIENT_LIMIT: { limit }, CLIENT_ADDRESS_HEADER: '' })
    const form = new URLSearchParams({ grant_type: 'authorization_code', code }).toString()
    for (const address of ['203.0.113.1', '203.0.113.2', '2001:db8::1']) {
      const answer = await elsewhere.send('POST', '/oidc/token', form, {
        ...basic(client.clientId, 'wrong'),
        'Content-Type': 'application/x-www-form-urlencoded',
        'CF-Connecting-IP': address,
        'X-Forwarded-For': address,
        'True-Client-IP': address,
      })
      expect(answer.status).toBe(401)
    }
    expect(new Set(keys)).toEqual(new Set([`${client.clientId} unknown`, 'unknown']))
  })

  test('257 client: without the limiter the endpoint stays open, and wrong secrets wrong', async () => {
    const { client, code } = await landed()
    const limit = () => Promise.reject(new Error('limiter down'))
    const elsewhere = workerWith({ CLIENT_LIMIT: { limit } })
    const form = new URLSearchParams({
      grant_type: 'authorization_code',
      code,
      redirect_uri: REDIRECT_URI,
      code_verifier: VERIFIER,
    }).toString()
    const ask = (header: Record<string, string>) =>
      elsewhere.send('POST', '/oidc/token', form, {
        ...header,
        'Content-Type': 'application/x-www-form-urlencoded',
      })
    expectStranger(await ask(basic(client.clientId, 'wrong')), true)
    expect((await ask(client.basic)).status).toBe(200)
  })
})

test('a public client proves itself by its verifier alone', async () => {
  const client = await registerClient({ token_endpoint_auth_method: 'none' })
  const person = await enrolled({ push: false })
  expect(client.secret).toBeUndefined()
  const { code } = await landedAt(client, person)
  const wrong = { client_id: client.clientId, code_verifier: `${VERIFIER}x` }
  expect((await redeem(NOBODY, code, wrong, {})).body.error).toBe('invalid_grant')
  expect((await redeemBy('none', client, code)).status).toBe(200)
})
