/** HTTP and input hygiene of the JSON endpoints (5-security 4.1), the public documents (4.26), and CORS (338). */
import { env } from 'cloudflare:workers'
import { CompactSign } from 'jose'
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { utf8 } from '../../src/bytes.ts'
import { OPERATOR_TOKEN } from './bindings.ts'
import { workerWith } from './other-worker.ts'
import { dumpD1, watchD1, watchObjects } from './storage.ts'
import {
  type Answer,
  BAR_ORIGIN,
  type Bar,
  connect,
  enrolled,
  freshAddress,
  ISSUER,
  initiate,
  initiateFromPage,
  openBar,
  operator,
  Person,
  post,
  send,
  storedLogin,
} from './world.ts'

const POSTS = [
  '/auth/initiate',
  '/auth/claim',
  '/auth/verify',
  '/auth/reject',
  '/auth/result',
  '/device/pending',
  '/device/trust',
  '/device/update',
  '/enroll/challenge',
  '/enroll',
  '/revoke',
  '/operator/services/bar-le-central/secret',
  '/operator/services/bar-le-central/vds',
  '/operator/services/bar-le-central/vds/withdraw',
]
const PUTS = ['/operator/services/other-bar', '/operator/trust-list', '/operator/revocation-list']
const BODIES = [...POSTS, ...PUTS]
const GETS = [
  '/.well-known/trust-list',
  '/health',
  '/ws/session/sess_0',
  '/services/bar-le-central/vds',
  '/login/qr.js',
  '/l',
]

const JSON_TYPE = { 'Content-Type': 'application/json' }

let bar: Bar

beforeEach(async () => {
  bar = await openBar()
})

function isOperators(path: string): boolean {
  return path === '/revoke' || path.startsWith('/operator/')
}

/** What a rightful caller of `path` sends beside the body. */
function credentials(path: string): Record<string, string> {
  const address = { 'CF-Connecting-IP': freshAddress() }
  if (isOperators(path)) return { ...address, Authorization: `Bearer ${OPERATOR_TOKEN}` }
  return path.startsWith('/auth/') ? { ...address, ...bar.basic } : address
}

function methodOf(path: string): string {
  return PUTS.includes(path) ? 'PUT' : 'POST'
}

/** Sends `body` to `path` as its rightful caller. */
function sendBody(
  path: string,
  body: BodyInit | null,
  headers: Record<string, string> = JSON_TYPE,
): Promise<Answer> {
  return send(methodOf(path), path, body, { ...credentials(path), ...headers })
}

function expectProblem(answer: Answer, status: number, code: string): void {
  expect([answer.status, answer.body.code]).toEqual([status, code])
  expect(answer.headers.get('Content-Type')).toBe('application/problem+json')
  expect(answer.headers.get('Cache-Control')).toBe('no-store')
  expect(answer.headers.get('X-Request-Id')).toMatch(/^[0-9a-f-]{36}$/)
  expect(answer.headers.get('X-Content-Type-Options')).toBe('nosniff')
}

/** Runs `act` and holds it to having changed nothing: no row, no object asked, no push. */
async function nothingChanges(act: () => Promise<void>): Promise<void> {
  const before = await dumpD1()
  const objects = watchObjects()
  await act()
  await scheduler.wait(20)
  expect(objects).toEqual([])
  expect(await dumpD1()).toEqual(before)
}

describe('methods and types', () => {
  test.each(BODIES)('001 %s: any other method is 405, and no body is read', async (path) => {
    await nothingChanges(async () => {
      for (const method of ['GET', 'PUT', 'DELETE', 'PATCH', 'POST', 'OPTIONS']) {
        if (method === methodOf(path)) continue
        if (method === 'OPTIONS' && path === '/auth/initiate') continue
        const answer = await send(method, path, method === 'GET' ? null : '{}', {
          ...credentials(path),
          ...JSON_TYPE,
        })
        expectProblem(answer, 405, 'method_not_allowed')
        expect(answer.headers.get('Allow')).toBe(methodOf(path))
      }
    })
    let pulls = 0
    const unread = new ReadableStream(
      {
        pull() {
          pulls += 1
        },
      },
      { highWaterMark: 0 },
    )
    const headers = { ...credentials(path), ...JSON_TYPE }
    expect((await workerWith().send('PATCH', path, unread, headers)).status).toBe(405)
    expect(pulls).toBe(0)
  })

  test.each(GETS)('001 %s: only GET and HEAD exist', async (path) => {
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
      const answer = await send(method, path, '{}', JSON_TYPE)
      expectProblem(answer, 405, 'method_not_allowed')
      expect(answer.headers.get('Allow')).toBe('GET, HEAD')
    }
  })

  test.each(BODIES)(
    '002 %s: valid JSON under any other Content-Type, or none, is 415',
    async (path) => {
      const valid = { serviceId: bar.serviceId, tokenId: crypto.randomUUID(), reason: 'lost' }
      await nothingChanges(async () => {
        for (const type of [
          'text/plain',
          'text/plain; application/json',
          'multipart/form-data; boundary=x',
          'application/x-www-form-urlencoded',
          'application/jsonp',
          'application/json-patch+json',
          '',
        ]) {
          // Bytes have no Content-Type of their own.
          const headers: Record<string, string> = type === '' ? {} : { 'Content-Type': type }
          const answer = await sendBody(path, utf8(JSON.stringify(valid)), headers)
          expectProblem(answer, 415, 'unsupported_media_type')
        }
      })
    },
  )

  test('002 initiate: what a form of a foreign page can send starts no login and no push', async () => {
    const person = await enrolled()
    await nothingChanges(async () => {
      const answer = await send(
        'POST',
        '/auth/initiate',
        JSON.stringify({ serviceId: bar.serviceId, tokenId: person.tokenId }),
        { Origin: BAR_ORIGIN, 'Content-Type': 'text/plain' },
      )
      expectProblem(answer, 415, 'unsupported_media_type')
    })
    expect(await person.pushes()).toEqual([])
  })

  test.each(BODIES)('017 %s: a compressed body is 415 and never opened', async (path) => {
    const bomb = await new Response(
      new Response('0'.repeat(1_000_000)).body?.pipeThrough(new CompressionStream('gzip')),
    ).arrayBuffer()
    await nothingChanges(async () => {
      for (const encoding of ['gzip', 'br', 'deflate', 'identity', 'gzip, gzip']) {
        const answer = await workerWith().send(methodOf(path), path, bomb, {
          ...credentials(path),
          ...JSON_TYPE,
          'Content-Encoding': encoding,
        })
        expectProblem(answer, 415, 'unsupported_media_type')
      }
    })
  })
})

describe('bodies', () => {
  const MALFORMED = [
    '',
    ' ',
    '{',
    '{"a":1',
    '{}{}',
    '{"a":1,}',
    "{'a':1}",
    'NaN',
    '{"a":NaN}',
    '[]',
    '[{}]',
    '"text"',
    'null',
    'true',
    '1',
    '\uFEFF{}',
    '{"needle-7f3a":',
  ]

  test.each(BODIES)(
    '004 %s: what is no JSON object is 400, without echo or stack',
    async (path) => {
      await nothingChanges(async () => {
        for (const body of MALFORMED) {
          const answer = await sendBody(path, body)
          expectProblem(answer, 400, 'invalid_request')
          expect(JSON.stringify(answer.body)).not.toMatch(/needle|JSON at|position|Error|\.ts/)
        }
      })
    },
  )

  test.each(BODIES)(
    '006 %s: nested 10,000 deep or with 100,000 members is 400 or 413, and life goes on',
    async (path) => {
      const deep = '['.repeat(10_000)
      const members = Array.from({ length: 100_000 }, (_, i) => `"k${i}":0`).join(',')
      for (const body of [
        deep,
        `${deep}${']'.repeat(10_000)}`,
        `{"statement":${'['.repeat(7000)}${']'.repeat(7000)}}`,
        `${'{"a":'.repeat(3000)}0${'}'.repeat(3000)}`,
        `{${members}}`,
      ]) {
        const answer = await sendBody(path, body)
        expect([400, 413]).toContain(answer.status)
      }
      expect((await post('/enroll/challenge', {})).status).toBe(200)
    },
  )

  test.each([...POSTS.filter((path) => path !== '/enroll'), '/operator/services/other-bar'])(
    '%s: one byte over 16 KiB is 413, whatever Content-Length says',
    async (path) => {
      const body = (size: number) => `{"x":"${'y'.repeat(size - 8)}"}`
      expectProblem(await sendBody(path, body(16 * 1024)), 400, 'invalid_request')
      expectProblem(await sendBody(path, body(16 * 1024 + 1)), 413, 'payload_too_large')
      const bytes = utf8(body(16 * 1024 + 1))
      const stream = new ReadableStream({
        start(controller) {
          for (let i = 0; i < bytes.length; i += 1000) controller.enqueue(bytes.slice(i, i + 1000))
          controller.close()
        },
      })
      expectProblem(await sendBody(path, stream), 413, 'payload_too_large')
    },
  )

  test('enroll: one byte over 64 KiB is 413', async () => {
    const body = (size: number) => `{"x":"${'y'.repeat(size - 8)}"}`
    expectProblem(await sendBody('/enroll', body(64 * 1024)), 400, 'invalid_request')
    expectProblem(await sendBody('/enroll', body(64 * 1024 + 1)), 413, 'payload_too_large')
  })

  test('a body without end is cut at the limit', async () => {
    let sent = 0
    const endless = new ReadableStream({
      pull(controller) {
        sent += 1024
        controller.enqueue(new Uint8Array(1024).fill(0x20))
      },
    })
    const answer = await workerWith().send('POST', '/auth/claim', endless, JSON_TYPE)
    expectProblem(answer, 413, 'payload_too_large')
    expect(sent).toBeLessThan(64 * 1024)
  })

  test.each(BODIES)('012 %s: an unknown member is 400 and is not named back', async (path) => {
    await nothingChanges(async () => {
      for (const name of ['needle7f3a', '__proto__', 'constructor', 'toString', '']) {
        const answer = await sendBody(path, `{${JSON.stringify(name)}:{"isAdmin":true}}`)
        expectProblem(answer, 400, 'invalid_request')
        expect(answer.body.member ?? '').not.toBe(name || 'x')
      }
    })
    expect(Object.hasOwn(Object.prototype, 'isAdmin')).toBe(false)
  })

  test('012 initiate: a whole request with one member too many is refused', async () => {
    const person = await enrolled()
    await nothingChanges(async () => {
      for (const more of [{ callbackUrl: 'https://evil.example' }, { nonce: '1' }]) {
        expectProblem(await initiate(bar, person.tokenId, more), 400, 'invalid_request')
      }
    })
  })

  const WRONG: [path: string, member: string, values: unknown[]][] = [
    ['/auth/initiate', 'tokenId', [{}, [], 1, true, null, '']],
    ['/auth/initiate', 'serviceId', [{}, [], 1, true, null, '', '../x', 'A']],
    ['/auth/initiate', 'scopes', ['identity:name', {}, 1, [1], [null]]],
    ['/auth/initiate', 'requiredScopes', ['identity:name', {}, 1, [1]]],
    ['/auth/initiate', 'minTrustLevel', ['2', 0, 4, 1.5, true, null]],
    ['/auth/initiate', 'confirmation', ['none', 1, null, true]],
    ['/auth/initiate', 'serviceVds', [{}, [], 1, true, null, '']],
    ['/auth/initiate', 'purpose', ['Login', 'trust', 1, null, true, {}]],
    ['/auth/claim', 'statement', [{}, [], 1, true, null]],
    ['/auth/verify', 'statement', [{}, [], 1, true, null]],
    ['/auth/verify', 'vdsData', [{}, [], 1, true, null, '']],
    ['/auth/reject', 'statement', [{}, [], 1, true, null]],
    ['/auth/result', 'sessionId', [{}, [], 1, true, null, 'sess_1']],
    ['/auth/result', 'code', [{}, [], 1, true, null, '', 'a b']],
    ['/device/pending', 'statement', [{}, [], 1, true, null]],
    ['/device/trust', 'statement', [{}, [], 1, true, null]],
    ['/device/trust', 'serviceVds', [{}, [], 1, true, null, 'x'.repeat(4097)]],
    ['/device/update', 'statement', [{}, [], 1, true, null]],
    ['/device/update', 'fcmToken', [{}, [], 1, true, null, '']],
    ['/enroll', 'vdsData', [{}, [], 1, true, null, '']],
    ['/enroll', 'publicKeyPem', [{}, [], 1, true, null]],
    ['/enroll', 'deviceId', [{}, [], 1, true, null, '', 'a\nb', 'x'.repeat(129)]],
    ['/enroll', 'fcmToken', [{}, [], 1, true, null, 'a b']],
    ['/enroll', 'encryptionKey', ['x', 1, true, null]],
    ['/enroll', 'enrollmentGrant', [{}, [], 1, true, null]],
    ['/enroll', 'statement', [{}, [], 1, true, null]],
    ['/revoke', 'tokenId', [{}, [], 1, true, null, '']],
    ['/revoke', 'reason', [{}, [], 1, true, null, '', '\n', '\u0000']],
    ['/operator/trust-list', 'trustList', [{}, [], 1, true, null]],
    ['/operator/revocation-list', 'revocationList', [{}, [], 1, true, null]],
    ['/operator/services/other-bar', 'name', [{}, [], 1, true, null, '']],
    ['/operator/services/other-bar', 'origins', ['https://a.example', {}, 1, [1], ['*']]],
    ['/operator/services/other-bar', 'enabled', ['true', 1, null]],
    ['/operator/services/other-bar', 'vdsRequired', ['true', 1, null]],
    ['/operator/services/other-bar', 'trustRequired', ['true', 1, null]],
    ['/operator/services/bar-le-central/vds', 'withdrawOthers', ['true', 1, null]],
  ]

  /** A right body of `path`, to be spoiled. */
  async function rightBody(path: string): Promise<Record<string, unknown>> {
    const person = await enrolled()
    const sessionId = `sess_${'0'.repeat(64)}`
    const bodies: Record<string, () => unknown> = {
      '/auth/initiate': () => ({ serviceId: bar.serviceId, tokenId: person.tokenId }),
      '/auth/claim': () => ({ statement: 'x' }),
      '/auth/verify': () => ({ statement: 'x', vdsData: 'x' }),
      '/auth/reject': () => ({ statement: 'x' }),
      '/auth/result': () => ({ sessionId, code: 'x' }),
      '/device/pending': () => ({ statement: 'x' }),
      '/device/trust': () => ({ statement: 'x' }),
      '/device/update': () => ({ statement: 'x', fcmToken: 'x' }),
      '/enroll': async () => (await Person.make()).enrollBody(),
      '/revoke': () => ({ tokenId: person.tokenId, reason: 'lost' }),
      '/operator/trust-list': () => ({ trustList: 'x' }),
      '/operator/revocation-list': () => ({ revocationList: 'x' }),
      '/operator/services/bar-le-central/vds': () => ({}),
      '/operator/services/other-bar': () => ({
        name: 'Other',
        url: 'https://other.example/',
        origins: [],
        allowedScopes: [],
        defaultScopes: [],
      }),
    }
    return (await bodies[path]?.()) as Record<string, unknown>
  }

  test.each(WRONG)(
    '009 %s: %s of a wrong type is 400 and names the member only',
    async (path, member, values) => {
      const right = await rightBody(path)
      await nothingChanges(async () => {
        for (const value of values) {
          const answer = await sendBody(path, JSON.stringify({ ...right, [member]: value }))
          expectProblem(answer, 400, 'invalid_request')
          // Of a list the entry as well.
          expect(answer.body.member.replace(/\[\d+\]$/, '')).toBe(member)
          expect(Object.keys(answer.body).sort()).toEqual([
            'code',
            'member',
            'status',
            'title',
            'type',
          ])
        }
      })
    },
  )

  test('008 a member twice: the last value counts, everywhere', async () => {
    const person = await enrolled()
    const stranger = crypto.randomUUID()
    const twice = (first: string, last: string) =>
      `{"serviceId":"bar-le-central","tokenId":"${first}","tokenId":"${last}"}`
    expect((await sendBody('/auth/initiate', twice(person.tokenId, stranger))).status).toBe(404)
    const started = await sendBody('/auth/initiate', twice(stranger, person.tokenId))
    expect(started.status).toBe(200)
    expect((await storedLogin(started.body.sessionId))?.addressee?.tokenId).toBe(person.tokenId)

    const { sessionId } = started.body
    const statement = await person.sign('idtoken-claim+jwt', {
      tokenId: person.tokenId,
      sessionId,
      via: 'push',
    })
    const spoilt = await sendBody('/auth/claim', `{"statement":"${statement}","statement":"x"}`)
    expectProblem(spoilt, 401, 'invalid_statement')
    const right = await sendBody('/auth/claim', `{"statement":"x","statement":"${statement}"}`)
    expect(right.status).toBe(200)
  })

  test('008 a member twice in a signed payload: the code that is compared is the one that is used', async () => {
    const person = await enrolled()
    const { body } = await initiate(bar, person.tokenId)
    const claimed = await person.claim(body.sessionId)
    const wrong = claimed.body.otp === '000000' ? '000001' : '000000'
    const sign = async (first: string, last: string) => {
      const payload = {
        tokenId: person.tokenId,
        sessionId: body.sessionId,
        nonce: claimed.body.nonce,
        otp: last,
        service: bar.serviceId,
        origin: claimed.body.origin,
        grantedScopes: claimed.body.scopes,
        seal: person.seal.fingerprint,
        aud: ISSUER,
        iat: Math.floor(Date.now() / 1000),
      }
      const text = JSON.stringify(payload).replace('"otp":', `"otp":"${first}","otp":`)
      const statement = await new CompactSign(utf8(text))
        .setProtectedHeader({ alg: 'ES256', typ: 'idtoken-approve+jwt', kid: person.thumbprint })
        .sign(person.keyPair.privateKey)
      return post('/auth/verify', { statement, vdsData: person.seal.base64url })
    }
    expectProblem(await sign(claimed.body.otp, wrong), 401, 'invalid_otp')
    expect((await sign(wrong, claimed.body.otp)).status).toBe(200)
  })

  const TEXTS: [what: string, bytes: number[]][] = [
    ['invalid UTF-8', [0xff]],
    ['an overlong slash', [0xc0, 0xaf]],
    ['half a surrogate in UTF-8', [0xed, 0xa0, 0x80]],
    ['a lone surrogate', [...utf8('\\ud800')]],
    ['NUL', [...utf8('\\u0000')]],
    ['a raw NUL', [0]],
    ['a raw line feed', [10]],
    ['an escaped line feed', [...utf8('\\n')]],
    ['escape', [...utf8('\\u001b[31m')]],
    ['DEL', [0x7f]],
  ]
  const PLACES: [path: string, member: string][] = [
    ['/auth/initiate', 'tokenId'],
    ['/auth/initiate', 'serviceId'],
    ['/enroll', 'deviceId'],
    ['/enroll', 'fcmToken'],
    ['/revoke', 'tokenId'],
    ['/revoke', 'reason'],
    ['/operator/services/other-bar', 'name'],
  ]

  test.each(PLACES)(
    '013 %s: %s with bytes that no text has is 400, and nothing of it is stored',
    async (path, member) => {
      const right = await rightBody(path)
      await nothingChanges(async () => {
        for (const [what, bytes] of TEXTS) {
          const [head = '', tail = ''] = JSON.stringify({ ...right, [member]: 'a#b' }).split('a#b')
          const body = new Uint8Array([...utf8(`${head}a`), ...bytes, ...utf8(`b${tail}`)])
          const answer = await sendBody(path, body)
          expect([what, answer.status, answer.body.code]).toEqual([what, 400, 'invalid_request'])
        }
      })
    },
  )
})

describe('headers', () => {
  const HOSTS = [
    'https://evil.example',
    'http://evil.example:8787',
    'http://localhost.evil.example:8787',
  ]

  test.each(HOSTS)(
    '015 under %s every address still comes from the configuration',
    async (host) => {
      const { send: sendTo } = workerWith()
      const person = await enrolled()
      const forwarded = {
        Host: 'evil.example',
        'X-Forwarded-Host': 'evil.example',
        'X-Forwarded-Proto': 'https',
        Forwarded: 'host=evil.example;proto=https',
        'X-Original-URL': 'https://evil.example/',
      }
      const started = await sendTo(
        'POST',
        `${host}/auth/initiate`,
        JSON.stringify({ serviceId: bar.serviceId, tokenId: person.tokenId }),
        { ...JSON_TYPE, ...bar.basic, ...forwarded },
      )
      expect(started.status).toBe(200)
      const browser = await connect(started.body)
      const statement = await person.sign('idtoken-claim+jwt', {
        tokenId: person.tokenId,
        sessionId: started.body.sessionId,
        via: 'push',
      })
      const claimed = await sendTo('POST', `${host}/auth/claim`, JSON.stringify({ statement }), {
        ...JSON_TYPE,
        ...forwarded,
      })
      expect(claimed.body.origin).toBe(BAR_ORIGIN)
      const approved = await sendTo(
        'POST',
        `${host}/auth/verify`,
        JSON.stringify(await person.approval(started.body.sessionId, claimed.body)),
        { ...JSON_TYPE, ...forwarded },
      )
      expect(approved.status).toBe(200)
      const { jwt } = await browser.event('approved')
      const [, payload = ''] = String(jwt).split('.')
      const { iss } = JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/')))
      expect(iss).toBe(ISSUER)
      expect(JSON.stringify([started, claimed, approved, browser.events])).not.toContain('evil')
      // A statement for the other name is no statement for us.
      const foreign = await person.sign('idtoken-pending+jwt', {
        tokenId: person.tokenId,
        aud: host,
      })
      expectProblem(await post('/device/pending', { statement: foreign }), 401, 'invalid_statement')
    },
  )

  const INVENTED = [
    'X-Forwarded-For',
    'CF-Connecting-IP',
    'True-Client-IP',
    'X-Real-IP',
    'Forwarded',
  ]

  test.each(INVENTED)(
    '016 %s: without a trusted source inventing addresses gives nobody a quota of his own',
    async (header) => {
      const keys = new Map<string, number>()
      const START_LIMIT: RateLimit = {
        limit: async ({ key }) => {
          keys.set(key, (keys.get(key) ?? 0) + 1)
          return { success: (keys.get(key) ?? 0) <= 10 }
        },
      }
      const worker = workerWith({ CLIENT_ADDRESS_HEADER: '', START_LIMIT })
      const person = await enrolled()
      const statuses: number[] = []
      for (let i = 1; i <= 12; i++) {
        const answer = await worker.post(
          '/auth/initiate',
          { serviceId: bar.serviceId, tokenId: person.tokenId },
          { Origin: BAR_ORIGIN, [header]: `203.0.113.${i}` },
        )
        statuses.push(answer.status)
        if (answer.status === 429) expect(answer.headers.get('Retry-After')).toMatch(/^\d+$/)
      }
      await worker.settled()
      expect(statuses).toEqual([...Array(10).fill(200), 429, 429])
      expect(keys.size).toBe(1)
    },
  )

  test('016 enroll: the same, for the hourly limit that D1 counts', async () => {
    const worker = workerWith({ CLIENT_ADDRESS_HEADER: '' })
    const statuses: number[] = []
    for (let i = 1; i <= 6; i++) {
      const body = await (await Person.make({ push: false })).enrollBody()
      const header = INVENTED[i % INVENTED.length] ?? ''
      statuses.push((await worker.post('/enroll', body, { [header]: `203.0.113.${i}` })).status)
    }
    expect(statuses).toEqual([200, 200, 200, 200, 200, 429])
  })

  test('016 with a trusted source only its header counts', async () => {
    const keys: string[] = []
    const START_LIMIT: RateLimit = {
      limit: async ({ key }) => {
        keys.push(key)
        return { success: false }
      },
    }
    const worker = workerWith({ START_LIMIT })
    const body = { serviceId: bar.serviceId, tokenId: crypto.randomUUID() }
    const headers = { Origin: BAR_ORIGIN, 'CF-Connecting-IP': '198.18.0.7' }
    for (const header of INVENTED.filter((name) => name !== 'CF-Connecting-IP')) {
      const answer = await worker.post('/auth/initiate', body, {
        ...headers,
        [header]: '203.0.113.9',
      })
      expectProblem(answer, 429, 'too_many_requests')
    }
    expect(new Set(keys)).toEqual(new Set(['198.18.0.7']))
  })

  test('019 an address of 20 KiB, a header of 17 KiB, 200 cookies: refused or ignored, and life goes on', async () => {
    const long = 'x'.repeat(20 * 1024)
    await nothingChanges(async () => {
      for (const path of [
        `/${long}`,
        `/auth/initiate?${long}`,
        `/ws/session/${long}`,
        `/jwks?${long}`,
      ]) {
        expectProblem(await send('POST', path, '{}', JSON_TYPE), 400, 'invalid_request')
      }
      for (const name of ['Authorization', 'Origin', 'User-Agent', 'X-Anything', 'Cookie']) {
        const answer = await send('POST', '/auth/initiate', '{}', {
          ...JSON_TYPE,
          [name]: 'y'.repeat(17 * 1024),
        })
        expectProblem(answer, 400, 'invalid_request')
      }
    })
    const Cookie = Array.from({ length: 200 }, (_, i) => `c${i}=1`).join('; ')
    const answer = await post('/enroll/challenge', {}, { Cookie })
    expect(answer.status).toBe(200)
    expect((await post('/enroll/challenge', {})).status).toBe(200)
  })

  test('every answer has its own request id, and a caller cannot choose it', async () => {
    const ids = new Set<string | null>()
    for (const path of ['/', '/health', '/jwks', '/auth/claim', '/nowhere']) {
      const { headers } = await send('GET', path, undefined, { 'X-Request-Id': 'chosen' })
      ids.add(headers.get('X-Request-Id'))
    }
    expect(ids.size).toBe(5)
    expect(ids).not.toContain('chosen')
    expect(ids).not.toContain(null)
  })
})

describe('a fault of ours', () => {
  const BOOM = 'no such column: needle_7f3a of env.DB'

  test('018 an exception in any handler is 500 with id and headers, and tells nothing', async () => {
    const person = await enrolled()
    const { body } = await initiate(bar, person.tokenId)
    const { tokenId } = person
    const { sessionId } = body
    const claimed = (await person.claim(sessionId)).body
    const acts: [string, unknown][] = [
      ['/auth/initiate', { serviceId: bar.serviceId, tokenId }],
      [
        '/auth/claim',
        { statement: await person.sign('idtoken-claim+jwt', { tokenId, sessionId, via: 'push' }) },
      ],
      ['/auth/verify', await person.approval(sessionId, claimed)],
      [
        '/auth/reject',
        {
          statement: await person.sign('idtoken-deny+jwt', {
            tokenId,
            sessionId,
            nonce: claimed.nonce,
            reason: 'declined',
          }),
        },
      ],
      ['/auth/result', { sessionId, code: 'x' }],
      ['/device/pending', { statement: await person.sign('idtoken-pending+jwt', { tokenId }) }],
      [
        '/device/update',
        { statement: await person.sign('idtoken-update+jwt', { tokenId }), fcmToken: 'x' },
      ],
      ['/enroll', await (await Person.make()).enrollBody()],
      ['/revoke', { tokenId, reason: 'lost' }],
      ['/operator/services/bar-le-central/secret', {}],
    ]
    const fail = () => {
      throw new TypeError(BOOM)
    }
    const worker = workerWith({ DB: { prepare: fail, batch: fail } })
    const lines = vi.spyOn(console, 'log')
    onTestFinished(() => lines.mockRestore())
    const answers: Answer[] = []
    for (const [path, content] of acts)
      answers.push(await worker.post(path, content, credentials(path)))
    answers.push(await worker.send('GET', '/.well-known/trust-list'))
    answers.push(await worker.send('OPTIONS', '/auth/initiate', undefined, { Origin: BAR_ORIGIN }))
    for (const answer of answers) {
      expectProblem(answer, 500, 'internal')
      expect(JSON.stringify([answer.body, ...answer.headers])).not.toMatch(
        /needle|env|DB|column|\.ts/,
      )
      expect(answer.headers.get('Content-Security-Policy')).toContain("default-src 'none'")
      expect(answer.headers.get('Strict-Transport-Security')).toMatch(/max-age=\d+/)
    }
    // The operator finds the request, and still no text that a query may have put into the message.
    const ids = lines.mock.calls.map(([line]) => JSON.parse(String(line)).requestId)
    expect(ids).toEqual(answers.map(({ headers }) => headers.get('X-Request-Id')))
    expect(JSON.stringify(lines.mock.calls)).not.toContain('needle')
  })

  test('018 a challenge that cannot be made is 500 as well', async () => {
    const spy = vi.spyOn(crypto, 'getRandomValues').mockImplementation(() => {
      throw new Error(BOOM)
    })
    const answer = await post('/enroll/challenge', {})
    spy.mockRestore()
    expectProblem(answer, 500, 'internal')
  })
})

describe('public documents', () => {
  const DOCUMENTS = ['/.well-known/jwks.json', '/jwks', '/.well-known/device-jwks.json']

  test('327 JWKS: once warm, hundreds of requests ask neither D1 nor an object', async () => {
    for (const path of DOCUMENTS) await send('GET', path)
    const queries = watchD1()
    const objects = watchObjects()
    for (let i = 0; i < 100; i++) {
      for (const answer of await Promise.all(DOCUMENTS.map((path) => send('GET', path)))) {
        expect(answer.status).toBe(200)
      }
    }
    expect([queries, objects]).toEqual([[], []])
  })

  test.each(DOCUMENTS)(
    '326 %s through the Worker: ETag, 304, HEAD, readable by any page',
    async (path) => {
      const got = await send('GET', path)
      const etag = got.headers.get('ETag') ?? ''
      expect(etag).toMatch(/^"[\w-]{43}"$/)
      expect(got.headers.get('Access-Control-Allow-Origin')).toBe('*')
      const again = await send('GET', path, undefined, { 'If-None-Match': etag })
      expect([again.status, again.body]).toEqual([304, ''])
      const head = await send('HEAD', path)
      expect([head.status, head.headers.get('ETag')]).toEqual([200, etag])
      expect(got.headers.get('X-Request-Id')).toBeTruthy()
    },
  )

  test('323 JWKS: public members only, the two sets apart', async () => {
    const [tokens, device] = [await send('GET', '/jwks'), await send('GET', DOCUMENTS[2] ?? '')]
    for (const key of [...tokens.body.keys, ...device.body.keys]) {
      const members = key.kty === 'RSA' ? ['e', 'n'] : ['crv', 'x', 'y']
      expect(Object.keys(key).sort()).toEqual(['alg', 'kid', 'kty', 'use', ...members].sort())
    }
    const kids = (answer: Answer) => answer.body.keys.map((key: { kid: string }) => key.kid)
    expect(kids(tokens).filter((kid: string) => kids(device).includes(kid))).toEqual([])
  })
})

describe('CORS', () => {
  const preflight = (origin: string, path = '/auth/initiate') =>
    send('OPTIONS', path, undefined, {
      Origin: origin,
      'Access-Control-Request-Method': 'POST',
      'Access-Control-Request-Headers': 'content-type',
    })

  test('338 a registered origin may begin, without credentials, and caches keep origins apart', async () => {
    const asked = await preflight(BAR_ORIGIN)
    expect(asked.status).toBe(204)
    expect(asked.headers.get('Access-Control-Allow-Origin')).toBe(BAR_ORIGIN)
    expect(asked.headers.get('Access-Control-Allow-Methods')).toBe('POST')
    expect(asked.headers.get('Access-Control-Allow-Headers')).toBe('Content-Type')
    const person = await enrolled()
    const address = { 'CF-Connecting-IP': freshAddress() }
    const started = await initiateFromPage(person.tokenId, {}, address)
    const refused = await initiateFromPage(person.tokenId, { scopes: ['identity:x'] }, address)
    expect([started.status, refused.status]).toEqual([200, 422])
    for (const { headers } of [asked, started, refused]) {
      expect(headers.get('Access-Control-Allow-Origin')).toBe(BAR_ORIGIN)
      expect(headers.get('Access-Control-Allow-Credentials')).toBeNull()
      expect(headers.get('Vary')).toBe('Origin')
    }
  })

  test.each([
    'null',
    'https://evil.example',
    `${BAR_ORIGIN}.evil.example`,
    BAR_ORIGIN.toUpperCase(),
    `${BAR_ORIGIN}/`,
    '*',
    '',
  ])('338 the origin %j is reflected nowhere and begins nothing', async (origin) => {
    const asked = await preflight(origin)
    const person = await enrolled()
    const body = { serviceId: bar.serviceId, tokenId: person.tokenId }
    const objects = watchObjects()
    const started = await post('/auth/initiate', body, { Origin: origin })
    expect([asked.status, started.status]).toEqual([403, 401])
    expect(objects).toEqual([])
    for (const { headers } of [asked, started]) {
      expect(headers.get('Access-Control-Allow-Origin')).toBeNull()
      expect(headers.get('Access-Control-Allow-Credentials')).toBeNull()
      expect(headers.get('Vary')).toBe('Origin')
    }
  })

  test("338 another service's origin is not this service's", async () => {
    await operator('PUT', '/operator/services/other-bar', {
      name: 'Other',
      url: 'https://other.example/',
      origins: ['https://other.example'],
      allowedScopes: ['identity:name'],
      defaultScopes: [],
    })
    const person = await enrolled()
    const body = { serviceId: bar.serviceId, tokenId: person.tokenId }
    const started = await post('/auth/initiate', body, { Origin: 'https://other.example' })
    expectProblem(started, 401, 'invalid_client')
    expect(started.headers.get('Access-Control-Allow-Origin')).toBeNull()
  })

  test('338 nothing else answers a page: no CORS on phone, result, operator', async () => {
    for (const path of BODIES.filter((path) => path !== '/auth/initiate')) {
      const asked = await preflight(BAR_ORIGIN, path)
      const answered = await sendBody(path, '{}', { ...JSON_TYPE, Origin: BAR_ORIGIN })
      expect(asked.status).toBeGreaterThanOrEqual(400)
      for (const { headers } of [asked, answered]) {
        expect([path, headers.get('Access-Control-Allow-Origin')]).toEqual([path, null])
      }
    }
  })
})

test('env: the tests of this file ran with the configured address header', () => {
  expect(env.CLIENT_ADDRESS_HEADER).toBe('CF-Connecting-IP')
})
