import { env } from 'cloudflare:workers'
import { decodeJwt } from 'jose'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { OPERATOR_TOKEN } from './bindings.ts'
import {
  type Answer,
  BAR_REGISTRATION,
  type Bar,
  connect,
  deployment,
  enrolled,
  freshAddress,
  initiate,
  initiateFromPage,
  now,
  openBar,
  operator,
  type Person,
  post,
  revocationList,
  send,
  trustList,
} from './world.ts'

const SERVICE = '/operator/services/bar-le-central'

const ENDPOINTS = [
  ['PUT', SERVICE],
  ['POST', `${SERVICE}/secret`],
  ['POST', `${SERVICE}/vds`],
  ['POST', `${SERVICE}/vds/withdraw`],
  ['PUT', '/operator/trust-list'],
  ['PUT', '/operator/revocation-list'],
  ['POST', '/revoke'],
] as const

/** Lists of these tests are all different, so each has a number of its own. */
let sequence = 413_000

async function audits(event: string): Promise<Record<string, unknown>[]> {
  const { results } = await env.DB.prepare('SELECT detail FROM audit WHERE event = ? ORDER BY id')
    .bind(event)
    .all<{ detail: string }>()
  return results.map(({ detail }) => JSON.parse(detail))
}

/** Every row of every table, as text. */
async function dump(): Promise<string> {
  const { results } = await env.DB.prepare(
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_cf%' ESCAPE '\\'",
  ).all<{ name: string }>()
  const tables = await Promise.all(
    results.map(
      async ({ name }) => (await env.DB.prepare(`SELECT * FROM "${name}"`).all()).results,
    ),
  )
  return JSON.stringify(tables)
}

function revoke(tokenId: string, reason: unknown = 'lost phone'): Promise<Answer> {
  return operator('POST', '/revoke', { tokenId, reason })
}

afterEach(() => {
  vi.useRealTimers()
})

describe('258 operator: who is not the operator', () => {
  const tokens: [string, () => Promise<string | undefined>][] = [
    ['no token', async () => undefined],
    ['261 a wrong bootstrap token', async () => `Bearer ${OPERATOR_TOKEN}x`],
    ['261 its first half', async () => `Bearer ${OPERATOR_TOKEN.slice(0, 17)}`],
    ['261 the stored hash', async () => `Bearer ${env.OPERATOR_TOKEN_SHA256}`],
    ['another scheme', async () => `Basic ${btoa(`operator:${OPERATOR_TOKEN}`)}`],
    ['no scheme', async () => OPERATOR_TOKEN],
    ['an empty token', async () => 'Bearer '],
    ['two tokens', async () => `Bearer ${OPERATOR_TOKEN} ${OPERATOR_TOKEN}`],
    ['115 an unsigned JWT', async () => `Bearer ${unsignedToken()}`],
    ["a service's secret", async () => `Bearer ${(await openBar()).secret}`],
    [
      "a person's statement",
      async () => {
        const person = await enrolled({ push: false })
        return `Bearer ${await person.sign('idtoken-pending+jwt', { tokenId: person.tokenId })}`
      },
    ],
  ]
  test.each(tokens)('%s', async (_, make) => {
    await openBar()
    const authorization = await make()
    const before = await dump()
    for (const [method, path] of ENDPOINTS) {
      const answer = await send(method, path, '{}', {
        'Content-Type': 'application/json',
        ...(authorization === undefined ? {} : { Authorization: authorization }),
      })
      expect(answer.body, path).toMatchObject({ status: 401, code: 'invalid_token' })
      expect(answer.headers.get('WWW-Authenticate')).toBe('Bearer')
    }
    expect(await dump()).toBe(before)
  })

  test('learns nothing of what there is: an unknown path is 401 as well', async () => {
    for (const path of ['/operator/nothing', '/operator/services/none', '/operator/audit']) {
      expect((await send('GET', path)).status).toBe(401)
    }
  })

  test('261 while no operator is set, no token is right', async () => {
    const closed = deployment({ OPERATOR_TOKEN_SHA256: '' })
    for (const token of [OPERATOR_TOKEN, '', 'undefined-undefined', '0'.repeat(43)]) {
      const headers = { Authorization: `Bearer ${token}` }
      const body = { tokenId: crypto.randomUUID(), reason: 'x' }
      expect((await closed('/revoke', body, headers)).status).toBe(401)
    }
  })

  test('261 the token is stored nowhere and logged nowhere', async () => {
    const lines = ['log', 'error', 'warn', 'info'].map((name) => vi.spyOn(console, name as 'log'))
    const { secret } = await openBar()
    await revoke(crypto.randomUUID())
    const logged = JSON.stringify(lines.flatMap(({ mock }) => mock.calls))
    for (const line of lines) line.mockRestore()
    expect(logged).toContain('service_changed')
    for (const text of [logged, await dump()]) {
      expect(text).not.toContain(OPERATOR_TOKEN)
      expect(text).not.toContain(secret)
    }
  })
})

function unsignedToken(): string {
  const part = (value: object) => btoa(JSON.stringify(value)).replaceAll('=', '')
  const payload = { iss: env.ISSUER, aud: 'operator', sub: 'root', exp: now() + 60 }
  return `${part({ alg: 'none' })}.${part(payload)}.`
}

describe('operator: the method and the body', () => {
  const auth = { Authorization: `Bearer ${OPERATOR_TOKEN}` }

  test.each(ENDPOINTS)('001 %s %s alone is allowed', async (allowed, path) => {
    for (const method of ['GET', 'PUT', 'POST', 'DELETE', 'PATCH']) {
      if (method === allowed) continue
      const answer = await send(method, path, method === 'GET' ? undefined : '{', auth)
      expect(answer.body).toMatchObject({ status: 405, code: 'method_not_allowed' })
      expect(answer.headers.get('Allow')).toBe(allowed)
    }
  })

  test.each(ENDPOINTS)('002 004 013 %s %s', async (method, path) => {
    const type = { 'Content-Type': 'application/json' }
    const before = await dump()
    for (const headers of [
      {},
      { 'Content-Type': 'text/plain' },
      { ...type, 'Content-Encoding': 'gzip' },
    ]) {
      const answer = await send(method, path, new TextEncoder().encode('{}'), {
        ...auth,
        ...headers,
      })
      expect(answer.body).toMatchObject({ status: 415, code: 'unsupported_media_type' })
    }
    for (const body of [
      '',
      '{',
      '{}{}',
      '[]',
      '[{}]',
      '"x"',
      'null',
      '{"a":NaN}',
      new Uint8Array([0x22, 0xff, 0x22]),
    ]) {
      const answer = await send(method, path, body, { ...auth, ...type })
      expect(answer.body, path).toMatchObject({ status: 400, code: 'invalid_request' })
    }
    expect(await dump()).toBe(before)
  })

  test('271 audit rows can be neither deleted nor changed', async () => {
    await openBar()
    const before = await audits('service_changed')
    expect(before).toHaveLength(1)
    for (const method of ['DELETE', 'PATCH', 'PUT']) {
      expect((await send(method, '/operator/audit', '{}', auth)).status).toBe(404)
    }
    await expect(env.DB.prepare('DELETE FROM audit').run()).rejects.toThrow(/append-only/)
    await expect(env.DB.prepare("UPDATE audit SET detail = '{}'").run()).rejects.toThrow(
      /append-only/,
    )
    expect(await audits('service_changed')).toEqual(before)
  })
})

describe('operator: registering a service', () => {
  function put(changes: Record<string, unknown>, path = SERVICE): Promise<Answer> {
    return operator('PUT', path, { ...BAR_REGISTRATION, ...changes })
  }

  async function services(): Promise<number> {
    const row = await env.DB.prepare('SELECT count(*) AS n FROM service').first<{ n: number }>()
    return row?.n ?? -1
  }

  test('267 the secret is shown once, at creation; only its hash is stored', async () => {
    const created = await put({})
    expect(created.status).toBe(201)
    expect(created.headers.get('Cache-Control')).toBe('no-store')
    const { secret } = created.body
    expect(secret).toMatch(/^[A-Za-z0-9_-]{43}$/)
    expect(await dump()).not.toContain(secret)
    const updated = await put({ name: 'Bar du Coin' })
    expect(updated.status).toBe(200)
    expect(updated.body).not.toHaveProperty('secret')
    expect(updated.body.name).toBe('Bar du Coin')
    for (const body of [created.body, updated.body]) {
      expect(JSON.stringify(body)).not.toMatch(/hash/i)
    }
    // The secret goes on: an update is no rotation.
    await operator('PUT', '/operator/trust-list', { trustList: await trustList() })
    const person = await enrolled({ push: false })
    const basic = { Authorization: `Basic ${btoa(`bar-le-central:${secret}`)}` }
    const bar: Bar = { serviceId: 'bar-le-central', secret, basic }
    expect((await initiate(bar, person.tokenId)).status).toBe(200)
    expect(await audits('service_changed')).toMatchObject([
      { service: 'bar-le-central', change: 'created', actor: 'bootstrap' },
      { service: 'bar-le-central', change: 'updated', actor: 'bootstrap' },
    ])
  })

  test('267 of ten creations at once one shows a secret, and it is the right one', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => put({})))
    const created = answers.filter(({ status }) => status === 201)
    expect(created).toHaveLength(1)
    expect(answers.filter(({ body }) => 'secret' in body)).toHaveLength(1)
    const basic = { Authorization: `Basic ${btoa(`bar-le-central:${created[0]?.body.secret}`)}` }
    const answer = await post(
      '/auth/initiate',
      { serviceId: 'bar-le-central', tokenId: crypto.randomUUID() },
      basic,
    )
    expect(answer.body.code).toBe('not_found')
  })

  async function vds(): Promise<Record<string, unknown>[]> {
    return (await env.DB.prepare('SELECT * FROM service_vds ORDER BY issued_at').all()).results
  }

  const badAddresses = [
    'http://bar.example/',
    'https://*.bar.example/',
    'https://bar.example/#top',
    'https://bar.example/#',
    'javascript:alert(1)',
    'data:text/html,x',
    'ftp://bar.example/',
    'https://user:pass@bar.example/',
    'https://user@bar.example/',
    'https://10.0.0.1/',
    'https://192.168.1.1/',
    'https://169.254.169.254/',
    'https://127.0.0.1/',
    'https://2130706433/',
    'https://0x7f.1/',
    'https://[::1]/',
    'https://[fe80::1]/',
    'https://[::ffff:10.0.0.1]/',
    'https://localhost/',
    'https://localhost./',
    'https://bar.localhost/',
    'https://bar.local/',
    'https://intranet/',
    'http://192.168.1.1/',
    'http://localhost.evil.example/',
    'https://bar.example/\n',
    'https://bar.example/a\tb',
    ' https://bar.example/',
    '//bar.example/',
    'bar.example',
    '',
  ]

  test.each(badAddresses)('166 url %j', async (url) => {
    const answer = await put({ url })
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_request', member: 'url' })
    expect(await services()).toBe(0)
  })

  test.each(badAddresses)('167 logoUri %j', async (logoUri) => {
    const answer = await put({ logoUri })
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_request', member: 'logoUri' })
    expect(await services()).toBe(0)
  })

  test.each(badAddresses)('167 policyUri %j', async (policyUri) => {
    const answer = await put({ policyUri })
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_request', member: 'policyUri' })
    expect(await services()).toBe(0)
  })

  test.each([
    ...badAddresses.map((address) => address.replace(/\/$/, '')),
    'https://bar.example/',
    'https://bar.example/path',
    'https://bar.example?x',
    'https://BAR.example',
    'https://bar.example:443',
    'https://bar.example:99999',
    'https://bár.example',
    'null',
    '*',
  ])('166 origin %j', async (origin) => {
    const answer = await put({ origins: ['https://bar.example', origin] })
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_request', member: 'origins' })
    expect(await services()).toBe(0)
  })

  test('166 an update is judged as a creation is, and a refused one changes nothing', async () => {
    await openBar()
    const before = await dump()
    for (const changes of [
      { url: 'http://bar.example/' },
      { origins: ['https://*.bar.example'] },
    ]) {
      expect((await put(changes)).status).toBe(400)
    }
    expect(await dump()).toBe(before)
  })

  test('166 what is right is accepted; loopback http only since the issuer is loopback http', async () => {
    const accepted = [
      { url: 'https://bar.example', origins: ['https://bar.example', 'https://bar.example:8443'] },
      { url: 'https://xn--br-xka.example/path?x=1', origins: [] },
      { url: 'http://localhost:3000/', origins: ['http://127.0.0.1:3000', 'http://[::1]:3000'] },
    ]
    for (const changes of accepted) expect([200, 201]).toContain((await put(changes)).status)
  })

  test.each<[string, unknown]>([
    ['client_secret_hash', 'x'],
    ['secretHashes', []],
    ['secret', 'mine'],
    ['is_super', true],
    ['created_at', 0],
    ['serviceId', 'other'],
    ['__proto__', { enabled: false }],
    ['constructor', 'x'],
  ])('265 the unknown member %s', async (name, value) => {
    const text = JSON.stringify(BAR_REGISTRATION).replace(
      '{',
      `{"${name}":${JSON.stringify(value)},`,
    )
    const answer = await send('PUT', SERVICE, text, {
      'Content-Type': 'application/json',
      Authorization: `Bearer ${OPERATOR_TOKEN}`,
    })
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_request' })
    expect(answer.body).not.toHaveProperty('member')
    expect(await services()).toBe(0)
  })

  test.each<[string, string, unknown]>([
    ['009 a name as number', 'name', 7],
    ['013 a name with a control', 'name', 'Bar\u0007'],
    ['013 a name with a lone surrogate', 'name', 'Bar\ud800'],
    ['a name of 81 characters', 'name', 'n'.repeat(81)],
    ['an empty name', 'name', ''],
    ['009 scopes as string', 'allowedScopes', 'identity:name'],
    ['an unknown scope', 'allowedScopes', ['identity:everything']],
    ['a scope that every object has', 'allowedScopes', ['constructor']],
    [
      'a restricted scope that nobody granted',
      'allowedScopes',
      ['identity:photo', 'identity:age_over_18', 'identity:given_name'],
    ],
    [
      'a composite with a restricted scope',
      'allowedScopes',
      ['identity:full', 'identity:age_over_18', 'identity:given_name'],
    ],
    ['a default that is not allowed', 'defaultScopes', ['identity:date_of_birth']],
    ['a requirement that is not allowed', 'requiredScopes', ['identity:date_of_birth']],
    ['an unknown subject type', 'subjectType', 'email'],
    ['an unknown confirmation', 'confirmation', 'none'],
    ['a token of a day', 'tokenLifetimeSeconds', 86_400],
    ['a token of a fraction', 'tokenLifetimeSeconds', 60.5],
    [
      'too many origins',
      'origins',
      Array.from({ length: 17 }, (_, i) => `https://${i}.example.com`),
    ],
    ['enabled as string', 'enabled', 'false'],
    ['a flag as string', 'vdsRequired', 'true'],
    ['a flag as number', 'trustRequired', 1],
    ['a flag that is null', 'trustRequired', null],
  ])('%s is refused by its member', async (_, member, value) => {
    const answer = await put({ [member]: value })
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_request', member })
    expect(await services()).toBe(0)
    expect(await vds()).toEqual([])
  })

  test('170 every service has a Service VDS; a new one is made when it would say something else', async () => {
    await put({})
    const [first, ...more] = await vds()
    expect(more).toEqual([])
    expect(first).toMatchObject({ service_id: 'bar-le-central', withdrawn_at: null })
    // Said again, or something that it doesn't say: the one in force stays.
    await put({})
    await put({ confirmation: 'transfer', vdsRequired: true, trustRequired: true })
    expect(await vds()).toEqual([first])
    await put({ policyUri: 'https://bar.example/privacy' })
    expect(await vds()).toHaveLength(2)
    const { body } = await send('GET', '/services/bar-le-central/vds')
    expect((await vds()).map(({ text }) => text)).toContain(body.serviceVds)
    // What is refused makes none.
    await put({ policyUri: 'http://bar.example/' })
    expect(await vds()).toHaveLength(2)
  })

  test('166 a service that does not fit into a Service VDS is refused', async () => {
    // Random, so that it can't be compressed.
    const letters = (length: number) =>
      [...crypto.getRandomValues(new Uint8Array(length))]
        .map((byte) => (byte % 32).toString(32))
        .join('')
    const hosts = Array.from({ length: 16 }, () => [1, 2, 3].map(() => letters(60)).join('.'))
    const path = () => letters(450)
    const answer = await put({
      origins: hosts.map((host) => `https://${host}.example`),
      policyUri: `https://bar.example/${path()}`,
      logoUri: `https://bar.example/${path()}`,
    })
    expect([answer.status, answer.body.member]).toEqual([400, 'serviceVds'])
    expect(await services()).toBe(0)
  })

  test('325 a Service VDS whose key was removed is replaced at the next registration', async () => {
    // The isolate may remember keys of an earlier test, which this database doesn't hold.
    await send('GET', '/health')
    await put({})
    // Under the name that the public document shows.
    const { keys } = (await send('GET', '/.well-known/device-jwks.json')).body
    const removed = keys.find(({ kid }: { kid: string }) => kid.length === 11)
    await put({})
    expect(await vds()).toHaveLength(1)
    const path = `/operator/keys/${removed.kid}/remove`
    expect((await operator('POST', path, { reason: 'leaked' })).status).toBe(200)
    await put({})
    expect(await vds()).toHaveLength(2)
  })

  test('a restricted scope needs the express grant', async () => {
    const scopes = ['identity:photo', ...BAR_REGISTRATION.allowedScopes]
    expect(
      (await put({ allowedScopes: scopes, restrictedScopes: ['identity:photo'] })).status,
    ).toBe(201)
  })

  test.each([
    'Bar',
    'bar_le',
    '-bar',
    'bar-',
    'b a',
    'b%00r',
    'a'.repeat(65),
    "' OR 1=1--",
    '%2e%2e',
  ])('the serviceId %s is none', async (serviceId) => {
    const path = `/operator/services/${encodeURIComponent(serviceId).replaceAll('%25', '%')}`
    const answer = await put({}, path)
    if (serviceId === 'bar_le') return expect(answer.status).toBe(201)
    expect(answer.status).toBe(404)
    expect(await services()).toBe(0)
  })

  test('170 a service that is switched off starts no login', async () => {
    const bar = await openBar()
    const person = await enrolled({ push: false })
    const { status, body } = await put({ enabled: false })
    expect(status).toBe(200)
    expect(body.enabled).toBe(false)
    const answer = await initiate(bar, person.tokenId)
    expect(answer.body).toMatchObject({ status: 403, code: 'service_disabled' })
  })

  test('origins are replaced, not added', async () => {
    await openBar()
    await put({ origins: ['https://bar.example'] })
    const { results } = await env.DB.prepare('SELECT origin FROM service_origin').all()
    expect(results).toEqual([{ origin: 'https://bar.example' }])
  })
})

describe('065 operator: a service changes its secret', () => {
  let bar: Bar

  beforeEach(async () => {
    bar = await openBar()
  })

  function newSecret(): Promise<Answer> {
    return operator('POST', `${SERVICE}/secret`, {})
  }

  /** Whether `secret` is one of the bar's: then the tokenId is looked at, and not found. */
  async function works(secret: string): Promise<boolean> {
    const answer = await post(
      '/auth/initiate',
      { serviceId: bar.serviceId, tokenId: crypto.randomUUID() },
      { Authorization: `Basic ${btoa(`${bar.serviceId}:${secret}`)}` },
    )
    expect(['not_found', 'invalid_client']).toContain(answer.body.code)
    return answer.body.code === 'not_found'
  }

  test('both work for a day, then the new one alone', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const { status, body } = await newSecret()
    expect(status).toBe(200)
    expect(body).toEqual({ serviceId: bar.serviceId, secret: expect.stringMatching(/^[\w-]{43}$/) })
    expect(await works(bar.secret)).toBe(true)
    expect(await works(body.secret)).toBe(true)
    expect(await works(`${body.secret}x`)).toBe(false)
    expect(await dump()).not.toContain(body.secret)
    vi.setSystemTime(Date.now() + 24 * 3_600_000 - 1000)
    expect(await works(bar.secret)).toBe(true)
    vi.setSystemTime(Date.now() + 2000)
    expect(await works(bar.secret)).toBe(false)
    expect(await works(body.secret)).toBe(true)
    expect(await audits('service_changed')).toMatchObject([
      { change: 'created' },
      { change: 'secret_rotated', actor: 'bootstrap' },
    ])
  })

  test('a second change does not lengthen the life of the first', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const second = (await newSecret()).body.secret
    vi.setSystemTime(Date.now() + 23 * 3_600_000)
    const third = (await newSecret()).body.secret
    vi.setSystemTime(Date.now() + 2 * 3_600_000)
    expect(await works(bar.secret)).toBe(false)
    expect(await works(second)).toBe(true)
    expect(await works(third)).toBe(true)
    // What has ended is forgotten at the next change.
    await newSecret()
    const row = await env.DB.prepare('SELECT secret_hashes AS hashes FROM service').first<{
      hashes: string
    }>()
    expect(JSON.parse(row?.hashes ?? '')).toHaveLength(3)
  })

  test('a secret that leaked ends at once when the operator says so', async () => {
    const { body } = await operator('POST', `${SERVICE}/secret`, { endOthers: true })
    expect(await works(bar.secret)).toBe(false)
    expect(await works(body.secret)).toBe(true)
    const answer = await operator('POST', `${SERVICE}/secret`, { endOthers: 'yes' })
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_request', member: 'endOthers' })
  })

  test('of five changes at once no shown secret is lost', async () => {
    const answers = await Promise.all(Array.from({ length: 5 }, () => newSecret()))
    for (const { body } of answers) expect(await works(body.secret)).toBe(true)
    expect(await works(bar.secret)).toBe(true)
  })

  test('an unknown service is 404, an unknown member 400', async () => {
    expect((await operator('POST', '/operator/services/none/secret', {})).status).toBe(404)
    const answer = await operator('POST', `${SERVICE}/secret`, { secret: 'mine' })
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_request' })
  })
})

describe('operator: the trust list', () => {
  async function put(list: string): Promise<Answer> {
    return operator('PUT', '/operator/trust-list', { trustList: list })
  }

  async function inForce(): Promise<unknown> {
    const answer = await send('GET', '/.well-known/trust-list')
    return answer.status === 404 ? undefined : answer.body
  }

  test('its sequence never falls, and one number is one list', async () => {
    const [low, first, other, high] = [sequence + 1, sequence + 2, sequence + 2, sequence + 3]
    sequence += 3
    const list = await trustList({ sequence: first })
    expect((await put(list)).body).toEqual({ sequence: first })
    // ECDSA never signs twice alike: the same words, other bytes.
    expect((await put(await trustList({ sequence: other }))).body.code).toBe('stale_list')
    expect((await put(await trustList({ sequence: low }))).status).toBe(409)
    expect(await inForce()).toBe(list)
    expect((await put(list)).status).toBe(200)
    const next = await trustList({ sequence: high })
    expect((await put(next)).status).toBe(200)
    expect((await put(list)).status).toBe(409)
    expect(await inForce()).toBe(next)
    expect(await audits('trust_list_accepted')).toMatchObject([
      { sequence: first, actor: 'bootstrap' },
      { sequence: first },
      { sequence: high },
    ])
  })

  test('of ten at once the newest stands', async () => {
    const first = sequence + 1
    sequence += 10
    const lists = await Promise.all(
      Array.from({ length: 10 }, (_, i) => trustList({ sequence: first + ((i * 7) % 10) })),
    )
    await Promise.all(lists.map(put))
    const { sequence: standing } = decodeJwt<{ sequence: number }>(String(await inForce()))
    expect(standing).toBe(sequence)
  })

  test('of another signer, altered, or no list at all: 400, and the old one stands', async () => {
    sequence += 1
    const list = await trustList({ sequence })
    await put(list)
    sequence += 1
    const [head, body, tail = ''] = (await trustList({ sequence })).split('.')
    const bad = [
      await trustList({ sequence, signedBy: 'other' }),
      `${head}.${body}.${tail.slice(1)}${tail[0]}`,
      `${head}.${body}.`,
      await revocationList(sequence, []),
      await trustList({ sequence, issuedAt: now(), nextUpdate: now() - 1 }),
      'x',
      '',
    ]
    for (const text of bad) {
      expect((await put(text)).body).toMatchObject({ status: 400, code: 'invalid_request' })
    }
    expect(await inForce()).toBe(list)
    expect(await audits('trust_list_accepted')).toHaveLength(1)
  })

  test('a body of more than 1 MiB is refused', async () => {
    expect((await put('x'.repeat(1024 * 1024 + 1024))).status).toBe(413)
  })
})

describe('operator: the revocation list', () => {
  async function put(list: string): Promise<Answer> {
    return operator('PUT', '/operator/revocation-list', { revocationList: list })
  }

  async function revokedSeals(): Promise<string[]> {
    const { results } = await env.DB.prepare(
      'SELECT fingerprint FROM revoked_seal ORDER BY fingerprint',
    ).all<{ fingerprint: string }>()
    return results.map(({ fingerprint }) => fingerprint)
  }

  const [a, b, c] = ['A', 'B', 'C'].map((first) => `${first}${'A'.repeat(42)}`) as [
    string,
    string,
    string,
  ]

  test('157 its sequence never falls, and a seal revoked once stays so', async () => {
    const second = await revocationList(2, [a, b])
    expect((await put(second)).body).toEqual({ sequence: 2, seals: 2 })
    expect((await put(second)).status).toBe(200)
    expect((await put(await revocationList(2, [c]))).body).toMatchObject({
      status: 409,
      code: 'stale_list',
    })
    expect((await put(await revocationList(1, [c]))).status).toBe(409)
    expect(await revokedSeals()).toEqual([a, b])
    expect((await put(await revocationList(3, [c]))).status).toBe(200)
    expect(await revokedSeals()).toEqual([a, b, c])
    expect((await put(second)).status).toBe(409)
    expect(await audits('revocation_list_accepted')).toMatchObject([
      { sequence: 2, seals: 2, actor: 'bootstrap' },
      { sequence: 2 },
      { sequence: 3, seals: 1 },
    ])
  })

  test('157 a list of thousands is put in force at once', async () => {
    const many = await Promise.all(
      Array.from({ length: 5000 }, async () =>
        btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32))))
          .replaceAll('+', '-')
          .replaceAll('/', '_')
          .replace(/=+$/, ''),
      ),
    )
    expect((await put(await revocationList(1, many))).body).toEqual({ sequence: 1, seals: 5000 })
    expect(await revokedSeals()).toHaveLength(5000)
  })

  test('a trust list, an altered list, garbage: 400 and nothing is revoked', async () => {
    const [head, body, tail = ''] = (await revocationList(1, [a])).split('.')
    const bad = [
      await trustList(),
      `${head}.${body}.${tail.slice(1)}${tail[0]}`,
      `${head}.${body}.`,
      'x',
      '',
    ]
    for (const text of bad) {
      expect((await put(text)).body).toMatchObject({ status: 400, code: 'invalid_request' })
    }
    expect(await revokedSeals()).toEqual([])
  })
})

describe('/revoke', () => {
  let bar: Bar
  let person: Person

  beforeEach(async () => {
    bar = await openBar()
    person = await enrolled({ push: false })
  })

  test('244 after its answer nothing of the person goes on, at once and on every isolate', async () => {
    const pending = await initiate(bar, person.tokenId)
    const claimedLogin = await initiate(bar, person.tokenId)
    const claimed = await person.claim(claimedLogin.body.sessionId)
    const answer = await revoke(person.tokenId)
    expect(answer.body).toEqual({ revoked: true, tokenId: person.tokenId })

    const another = deployment({})
    const claim = await person.sign('idtoken-claim+jwt', {
      tokenId: person.tokenId,
      sessionId: pending.body.sessionId,
      via: 'push',
    })
    for (const call of [post, another]) {
      const claiming = await call('/auth/claim', { statement: claim })
      expect(claiming.status).toBe(409)
      expect(['token_revoked', 'session_resolved']).toContain(claiming.body.code)
      const approval = await person.approval(claimedLogin.body.sessionId, claimed.body)
      const verifying = await call('/auth/verify', approval)
      expect(verifying.status).toBe(409)
      expect(['token_revoked', 'session_resolved']).toContain(verifying.body.code)
      const enrolling = await call('/enroll', await person.enrollBody(), {
        'CF-Connecting-IP': freshAddress(),
      })
      expect(enrolling.body).toMatchObject({ status: 409, code: 'token_revoked' })
      const starting = await call(
        '/auth/initiate',
        { serviceId: bar.serviceId, tokenId: person.tokenId },
        bar.basic,
      )
      expect(starting.body).toMatchObject({ status: 403, code: 'enrollment_revoked' })
      const statement = await person.sign('idtoken-pending+jwt', { tokenId: person.tokenId })
      expect((await call('/device/pending', { statement })).body.code).toBe('invalid_statement')
    }
    const row = await env.DB.prepare('SELECT status, fcm_token FROM enrollment').first()
    expect(row).toEqual({ status: 'revoked', fcm_token: null })
  })

  test('244 a login that no inbox knows is refused by the binding alone', async () => {
    const started = await initiate(bar, person.tokenId)
    // As if the start had been registered only after the revocation had looked.
    await env.DB.prepare("UPDATE enrollment SET status = 'revoked', revoked_at = ?")
      .bind(now())
      .run()
    const claiming = await person.claim(started.body.sessionId)
    expect(claiming.body).toMatchObject({ status: 409, code: 'token_revoked' })
  })

  test('244 a code that was not redeemed is worth nothing', async () => {
    const started = await initiateFromPage(
      person.tokenId,
      {},
      { 'CF-Connecting-IP': freshAddress() },
    )
    const browser = await connect(started.body)
    const claimed = await person.claim(started.body.sessionId)
    expect((await person.approve(started.body.sessionId, claimed.body)).status).toBe(200)
    const { code } = await browser.event('approved')
    await revoke(person.tokenId)
    const { sessionId } = started.body
    const redeeming = await post('/auth/result', { sessionId, code }, bar.basic)
    expect(redeeming.body).toMatchObject({ status: 404, code: 'session_not_found' })
  })

  test('244 a page learns nothing: its login is a decoy', async () => {
    await revoke(person.tokenId)
    const headers = { 'CF-Connecting-IP': freshAddress() }
    const started = await initiateFromPage(person.tokenId, {}, headers)
    expect(started.status).toBe(200)
    expect((await person.claim(started.body.sessionId)).status).toBe(404)
  })

  test('245 open logins end with the event rejected, and no table ever lists a live login', async () => {
    const before = await dump()
    const logins = await Promise.all([1, 2, 3].map(() => initiate(bar, person.tokenId)))
    const bystander = await enrolled({ push: false })
    const other = await initiate(bar, bystander.tokenId)
    const browsers = await Promise.all(logins.map(({ body }) => connect(body)))
    const otherBrowser = await connect(other.body)
    await person.claim(logins[0]?.body.sessionId)
    const live = await dump()
    for (const { body } of logins) expect(live).not.toContain(body.sessionId.slice(5))
    expect(live).not.toContain('"login":"')
    expect(before).not.toBe(live)

    expect((await revoke(person.tokenId)).status).toBe(200)
    for (const browser of browsers) {
      // The reason is the person's business, not the page's.
      expect(await browser.event('rejected')).toEqual({ type: 'rejected', reason: 'declined' })
      expect(await browser.closed).toMatchObject({ code: 1000 })
    }
    await vi.waitFor(async () => expect(await audits('login')).toHaveLength(3), 2000)
    expect(await audits('login')).toMatchObject(
      Array(3).fill({ outcome: 'rejected', reason: 'revoked' }),
    )
    // Nobody else's login ends.
    expect(otherBrowser.events.map(({ type }) => type)).not.toContain('rejected')
    expect((await bystander.claim(other.body.sessionId)).status).toBe(200)
  })

  test('246 twice: 200 both, one change, both audited', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    expect((await revoke(person.tokenId)).status).toBe(200)
    const first = await env.DB.prepare('SELECT * FROM enrollment').first()
    vi.setSystemTime(Date.now() + 5000)
    const again = await revoke(person.tokenId)
    expect(again.body).toEqual({ revoked: true, tokenId: person.tokenId })
    expect(await env.DB.prepare('SELECT * FROM enrollment').first()).toEqual(first)
    expect(await audits('revoked')).toMatchObject([
      { changed: true, reason: 'lost phone', actor: 'bootstrap' },
      { changed: false },
    ])
  })

  test('246 an unknown tokenId is 404', async () => {
    const answer = await revoke(crypto.randomUUID())
    expect(answer.body).toMatchObject({ status: 404, code: 'not_found' })
    expect(await audits('revoked')).toEqual([])
  })

  test.each<[string, object]>([
    ['246 without reason', { reason: undefined }],
    ['246 an empty reason', { reason: '' }],
    ['a reason of 201 characters', { reason: 'r'.repeat(201) }],
    ['013 a reason with a control', { reason: 'a\nb' }],
    ['009 a reason as array', { reason: ['lost'] }],
    ['009 tokenId as object', { tokenId: {} }],
    ['009 tokenId as number', { tokenId: 7 }],
    ['262 a pattern as tokenId', { tokenId: '%' }],
    ['262 SQL as tokenId', { tokenId: "%' OR 1=1--" }],
    ['013 NUL in tokenId', { tokenId: '0b5c1e1e-2f6a-4a7d-9a3c-6f0e5d4c3b2\0' }],
    ['012 an unknown member', { enrollmentId: 'x' }],
  ])('%s is 400', async (_, changes) => {
    const body = { tokenId: person.tokenId, reason: 'lost', ...changes }
    const answer = await operator('POST', '/revoke', body)
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_request' })
    const row = await env.DB.prepare('SELECT status FROM enrollment').first()
    expect(row?.status).toBe('active')
  })

  test('247 there is no way back by API', async () => {
    await revoke(person.tokenId)
    const auth = { Authorization: `Bearer ${OPERATOR_TOKEN}` }
    for (const method of ['DELETE', 'PUT', 'PATCH']) {
      expect((await send(method, '/revoke', '{}', auth)).status).toBe(405)
    }
    for (const path of [
      '/unrevoke',
      '/operator/enrollments',
      `/operator/enrollments/${person.tokenId}`,
    ]) {
      const answer = await operator('POST', path, { tokenId: person.tokenId, reason: 'found' })
      expect([404, 405]).toContain(answer.status)
    }
    const list = await revocationList(1, [])
    await operator('PUT', '/operator/revocation-list', { revocationList: list })
    const body = await person.enrollBody()
    const answer = await post('/enroll', body, { 'CF-Connecting-IP': freshAddress() })
    expect(answer.body).toMatchObject({ status: 409, code: 'token_revoked' })
  })

  test('it answers only when open logins have ended; a retry finishes what failed', async () => {
    const started = await initiate(bar, person.tokenId)
    const browser = await connect(started.body)
    const broken = {
      getByName: () => ({
        revoke: async () => {
          throw Object.assign(new Error('overloaded'), { overloaded: true })
        },
      }),
    }
    const body = { tokenId: person.tokenId, reason: 'lost' }
    const headers = { Authorization: `Bearer ${OPERATOR_TOKEN}` }
    const failed = await deployment({ PHONE_INBOX: broken })('/revoke', body, headers)
    expect(failed.body).toMatchObject({ status: 503, code: 'unavailable' })
    // What was done stays done.
    const row = await env.DB.prepare('SELECT status FROM enrollment').first()
    expect(row?.status).toBe('revoked')
    expect((await revoke(person.tokenId)).status).toBe(200)
    await browser.event('rejected')
  })

  test('the tokenId is in no audit row', async () => {
    await revoke(person.tokenId)
    const { results } = await env.DB.prepare('SELECT * FROM audit').all()
    expect(results.length).toBeGreaterThan(2)
    expect(JSON.stringify(results)).not.toContain(person.tokenId)
  })
})
