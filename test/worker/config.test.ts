/** Secrets and configuration at boot, in the running Worker (5-security 4.25). */
import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { buildHouse } from '../../src/app.ts'
import { toBase64url } from '../../src/bytes.ts'
import { EXAMPLE_MASTER_SECRET } from '../../src/keys/master-secret.ts'
import { LoginSessionObject } from '../../src/login/object.ts'
import { type OtherWorker, workerWith } from './other-worker.ts'
import {
  type Bar,
  Browser,
  connect,
  enrolled,
  freshAddress,
  initiate,
  openBar,
  Person,
  storedLogin,
} from './world.ts'

const PATHS = ['/health', '/jwks', '/auth/initiate', '/enroll', '/operator/trust-list', '/nowhere']

/** Everything written to the console from now on. */
function overhear(): string[] {
  const lines: string[] = []
  for (const name of ['log', 'info', 'warn', 'error'] as const) {
    const spy = vi.spyOn(console, name).mockImplementation((...parts) => {
      lines.push(parts.map(String).join(' '))
    })
    onTestFinished(() => spy.mockRestore())
  }
  return lines
}

describe('a configuration that cannot serve', () => {
  const short = toBase64url(crypto.getRandomValues(new Uint8Array(31)))
  const account = JSON.parse(env.FCM_SERVICE_ACCOUNT)

  test.each<[number, string, Record<string, unknown>]>([
    [317, 'no secret', { MASTER_SECRET: undefined }],
    [317, 'a secret of 31 bytes', { MASTER_SECRET: short }],
    [317, 'a secret of zeros', { MASTER_SECRET: 'A'.repeat(43) }],
    [317, "the README's secret", { MASTER_SECRET: EXAMPLE_MASTER_SECRET }],
    [
      317,
      'an old version that is too short',
      { MASTER_SECRET: `2:${env.MASTER_SECRET},1:${short}` },
    ],
    [319, 'a plain http issuer', { ISSUER: 'http://id.example.com' }],
    [319, 'an issuer with a slash', { ISSUER: 'https://id.example.com/' }],
    [319, 'an issuer with a query', { ISSUER: 'https://id.example.com?tenant=1' }],
    [319, 'an issuer with a fragment', { ISSUER: 'https://id.example.com#x' }],
    [319, 'no issuer', { ISSUER: '' }],
    [
      319,
      'a broken service account',
      { FCM_SERVICE_ACCOUNT: JSON.stringify({ ...account, type: 'x' }) },
    ],
    [319, 'an unknown confirmation', { CONFIRMATION: 'none' }],
    [319, 'an unknown grant rule', { ENROLLMENT_GRANT: 'off' }],
    [319, 'an operator hash that is a token', { OPERATOR_TOKEN_SHA256: 'correct horse battery' }],
    [319, 'a private pinned key', { TRUST_LIST_KEYS: '[{"kty":"oct","k":"c2VjcmV0"}]' }],
  ])(
    '%i config: %s: nothing is served, one plain sentence, no value printed',
    async (_, __, changes) => {
      const lines = overhear()
      const worker = workerWith(changes)
      for (const path of PATHS) {
        for (const method of ['GET', 'POST']) {
          const answer = await worker.send(method, path, method === 'POST' ? '{}' : undefined, {
            'Content-Type': 'application/json',
          })
          expect([answer.status, answer.body.code]).toEqual([503, 'unavailable'])
          expect(answer.body.detail).toMatch(/^[A-Z].*\.$/)
          expect(
            answer.body.detail
              .split(/[ :]/)
              .some((word: string) => word in changes || word.replace(/\W/g, '') in changes),
          ).toBe(true)
          expect(answer.headers.get('Retry-After')).toBeTruthy()
          expect(answer.headers.get('X-Request-Id')).toBeTruthy()
          for (const value of secretParts(changes)) {
            expect(JSON.stringify(answer.body)).not.toContain(value)
          }
        }
      }
      // Said once for the operator, and not for each request.
      expect(lines).toHaveLength(1)
      expect(JSON.parse(lines[0] ?? '')).toMatchObject({ event: 'misconfigured' })
      for (const value of secretParts(changes)) expect(lines[0]).not.toContain(value)
    },
  )

  /** The values of settings and the longer parts of them. */
  function secretParts(changes: Record<string, unknown>): string[] {
    const values = Object.values(changes).filter((value) => typeof value === 'string')
    return values
      .flatMap((value) => [value, ...value.split(/[",:{} ]/)])
      .filter((part) => part.length > 12)
  }

  test('319 config: loopback http is an issuer, under any loopback name', async () => {
    for (const ISSUER of ['http://localhost:8787', 'http://127.0.0.1:1', 'http://[::1]:8787']) {
      expect((await workerWith({ ISSUER }).send('GET', '/jwks')).status).toBe(200)
    }
  })

  test('319 config: an origin list with a wildcard is refused at registration', async () => {
    const bar = await openBar()
    expect(bar.secret).toBeTruthy()
    for (const origins of [['*'], ['https://*.example.com'], ['https://*'], ['null']]) {
      await expect(openBar({ origins }, 'open-bar').then(({ secret }) => secret)).resolves.toBe(
        undefined,
      )
    }
  })
})

describe('318 a stored signing key that is no good', () => {
  /** A deployment with a secret of its own: what this isolate remembers of keys is remembered per secret. */
  function ownDeployment() {
    const secret = toBase64url(crypto.getRandomValues(new Uint8Array(32)))
    return workerWith({
      MASTER_SECRET: secret,
      ISSUER: `http://localhost:${8788 + Math.floor(Math.random() * 50_000)}`,
    })
  }

  const SPOIL: [what: string, sql: string][] = [
    ['it does not unwrap', "UPDATE signing_key SET wrapped_private_key = '1.AAAA'"],
    [
      'its wrapping is of another key',
      "UPDATE signing_key SET wrapped_private_key = (SELECT k.wrapped_private_key FROM signing_key k WHERE k.purpose = 'push') WHERE purpose = 'token'",
    ],
    [
      'its public half is of another key',
      "UPDATE signing_key SET public_jwk = (SELECT k.public_jwk FROM signing_key k WHERE k.purpose = 'push') WHERE purpose = 'token'",
    ],
    [
      'its public half is no P-256 point',
      "UPDATE signing_key SET public_jwk = json_set(public_jwk, '$.x', 'AAAA')",
    ],
    [
      'its public half says P-384',
      "UPDATE signing_key SET public_jwk = json_set(public_jwk, '$.crv', 'P-384')",
    ],
    ['its kid is not its thumbprint', "UPDATE signing_key SET kid = kid || 'x'"],
  ]

  test.each(SPOIL)('318 health is 503 before a login needs the key: %s', async (_, sql) => {
    const worker = ownDeployment()
    expect((await worker.send('GET', '/health')).status).toBe(200)
    const [good] = (await worker.send('GET', '/jwks')).body.keys
    await env.DB.prepare(sql).run()
    const health = await worker.send('GET', '/health')
    expect(health).toMatchObject({
      status: 503,
      body: { status: 'failing', checks: { signingKeys: 'failing' } },
    })
    // It is neither published nor signed with: the whole document is refused, a cache would keep an empty one.
    const jwks = await worker.send('GET', '/jwks')
    expect([jwks.status, jwks.body.code]).toEqual([503, 'unavailable'])
    expect(JSON.stringify([health.body, jwks.body])).not.toContain(good.kid)
  })

  test('318 323 what stands beside the public members of a stored key is not published', async () => {
    const worker = ownDeployment()
    await worker.send('GET', '/health')
    await env.DB.prepare(
      "UPDATE signing_key SET public_jwk = json_set(public_jwk, '$.d', 'AAAA')",
    ).run()
    for (const path of ['/jwks', '/.well-known/device-jwks.json']) {
      const [key] = (await worker.send('GET', path)).body.keys
      expect(Object.keys(key).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'])
    }
  })

  test('318 another deployment on the same database sees that the keys are not its own', async () => {
    expect((await ownDeployment().send('GET', '/health')).status).toBe(200)
    const other = ownDeployment()
    expect((await other.send('GET', '/health')).body.checks.signingKeys).toBe('failing')
    expect((await other.send('GET', '/jwks')).status).toBe(503)
  })
})

describe('321 a new secret while the old one is still listed', () => {
  let bar: Bar
  let person: Person
  const NEW = toBase64url(crypto.getRandomValues(new Uint8Array(32)))
  const rotated = { MASTER_SECRET: `2:${NEW},1:${env.MASTER_SECRET}` }

  beforeEach(async () => {
    bar = await openBar()
    person = await enrolled()
  })
  afterEach(() => {
    vi.restoreAllMocks()
  })

  async function socketAt(worker: OtherWorker, login: { sessionId: string; wsToken: string }) {
    const { webSocket } = await worker.fetch(`/ws/session/${login.sessionId}`, {
      headers: {
        Upgrade: 'websocket',
        'Sec-WebSocket-Protocol': `idtoken.v1, ${login.wsToken}`,
        'CF-Connecting-IP': freshAddress(),
      },
    })
    if (webSocket === null) throw new Error('no socket')
    return new Browser(webSocket)
  }

  /** From now on objects live under `changes` as well: each call finds the house of the new deployment. */
  function rotateObjects(): void {
    const house = buildHouse({ ...env, ...rotated })
    if (!house.ok) throw new Error(house.reason)
    for (const method of ['create', 'claim', 'approve', 'deny', 'redeem', 'fetch'] as const) {
      const real = LoginSessionObject.prototype[method]
      const spy = vi.spyOn(LoginSessionObject.prototype, method as 'fetch')
      spy.mockImplementation(function (this: LoginSessionObject, ...args: unknown[]) {
        Reflect.set(this, 'house', house.value.login)
        return Reflect.apply(real as () => never, this, args)
      })
    }
  }

  test('321 a login begun before goes on: same code, same socket token, one result', async () => {
    const { body } = await initiate(bar, person.tokenId)
    const before = await connect(body)
    const { autoPassword } = await before.event('otp_ready')

    rotateObjects()
    const worker = workerWith(rotated)
    const after = await socketAt(worker, body)
    expect((await after.event('otp_ready')).autoPassword).toBe(autoPassword)
    const statement = await person.sign('idtoken-claim+jwt', {
      tokenId: person.tokenId,
      sessionId: body.sessionId,
      via: 'push',
    })
    const claimed = await worker.post('/auth/claim', { statement })
    expect(claimed.body.otp).toBe(autoPassword)
    const approval = await person.approval(body.sessionId, claimed.body)
    const approved = await worker.post('/auth/verify', approval)
    expect(approved).toMatchObject({ status: 200, body: { status: 'approved' } })
    expect((await storedLogin(body.sessionId))?.attempt.secretVersion).toBe(1)
  })

  test('321 an enrollment challenge handed out before is still good', async () => {
    const newcomer = await Person.make({ push: false })
    const body = await newcomer.enrollBody()
    const address = { 'CF-Connecting-IP': freshAddress() }
    expect((await workerWith(rotated).post('/enroll', body, address)).status).toBe(200)
  })

  test('321 a new login uses the new version', async () => {
    rotateObjects()
    const worker = workerWith(rotated)
    const initiated = { serviceId: bar.serviceId, tokenId: person.tokenId }
    const { body } = await worker.post('/auth/initiate', initiated, bar.basic)
    await worker.settled()
    expect((await storedLogin(body.sessionId))?.attempt.secretVersion).toBe(2)
    // The person's inbox keeps its name, or every limit would begin anew.
    const claimed = await person.claim(body.sessionId)
    const pending = await person.pending()
    expect([claimed.status, pending.body.length]).toEqual([200, 1])
  })

  test('321 the signing keys stay while the old version is listed, and are refused without it', async () => {
    const OLD = toBase64url(crypto.getRandomValues(new Uint8Array(32)))
    const before = await workerWith({ MASTER_SECRET: OLD }).send('GET', '/jwks')
    expect(before.status).toBe(200)
    const both = workerWith({ MASTER_SECRET: `2:${NEW},1:${OLD}` })
    expect((await both.send('GET', '/jwks')).body).toEqual(before.body)
    expect((await both.send('GET', '/health')).status).toBe(200)
    const { body } = await initiate(bar, person.tokenId)
    const alone = workerWith({ MASTER_SECRET: `2:${NEW}` })
    expect(await (await socketAt(alone, body)).closed).toMatchObject({ code: 4001 })
    expect((await alone.send('GET', '/jwks')).status).toBe(503)
    expect((await alone.send('GET', '/health')).status).toBe(503)
  })
})
