/** The demo and the independent token check as a stranger runs them: as programs, judged by output and exit code. */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { CompactSign, calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkToken } from '../../dev/login-stage.ts'

interface Ended {
  readonly code: number | null
  readonly lines: string[]
}

async function run(program: string, args: string[], input = ''): Promise<Ended> {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end(input)
  let output = ''
  child.stdout.on('data', (text) => {
    output += text
  })
  const [code] = await once(child, 'close')
  return { code, lines: output.split('\n').filter((line) => line !== '') }
}

const STEPS = {
  direct: 'start enroll initiate socket push claim approve check',
  oidc: 'start enroll authorize page push claim approve continue token userinfo check',
} as const

test.each([
  ['direct', 'compare'],
  ['direct', 'transfer'],
  ['oidc', 'compare'],
  ['oidc', 'transfer'],
] as const)(
  'demo: a whole login by the door %s and %s, without eyes',
  async (door, confirmation) => {
    // `direct` is what the demo does unasked.
    const asked = door === 'direct' ? [] : ['--door', door]
    const { code, lines } = await run('dev/demo.ts', [
      '--json',
      ...asked,
      ...['--confirmation', confirmation],
    ])
    const steps = lines.map((line) => JSON.parse(line))
    expect(steps.at(-1), lines.at(-1)).toMatchObject({
      result: 'ok',
      claims: { age_over_18: true, given_name: 'Camille' },
    })
    expect(code).toBe(0)
    expect(steps.slice(0, -1).map(({ step }) => step)).toEqual(STEPS[door].split(' '))
  },
)

test('demo: a door that is not there is named plainly', async () => {
  const child = spawn(process.execPath, ['dev/demo.ts', '--door', 'saml'])
  let said = ''
  child.stderr.on('data', (text) => {
    said += text
  })
  const [code] = await once(child, 'close')
  expect(said).toBe('--door takes direct, oidc or scan.\n')
  expect(code).toBe(1)
})

let keys: Server
let issuer: string
/** What discovery answers. */
let metadata: Record<string, unknown>
let signing: CryptoKey
let kid: string

beforeAll(async () => {
  const pair = await generateKeyPair('ES256', { extractable: true })
  signing = pair.privateKey as CryptoKey
  const jwk = await exportJWK(pair.publicKey)
  kid = await calculateJwkThumbprint(jwk)
  const set = { keys: [{ ...jwk, kid, use: 'sig', alg: 'ES256' }] }
  keys = createServer(({ url = '' }, response) => {
    const isDiscovery = url === '/.well-known/openid-configuration'
    response.end(JSON.stringify(isDiscovery ? metadata : set))
  }).listen(0, '127.0.0.1')
  await once(keys, 'listening')
  const address = keys.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  issuer = `http://127.0.0.1:${address.port}`
  metadata = {
    issuer,
    jwks_uri: `${issuer}/keys`,
    id_token_signing_alg_values_supported: ['ES256'],
  }
})

afterAll(() => keys?.close())

async function token(changes: object = {}, header: object = {}): Promise<string> {
  const now = Math.floor(Date.now() / 1000)
  const claims = {
    iss: issuer,
    aud: 'bar',
    nonce: 'n',
    sub: 's',
    iat: now,
    exp: now + 60,
    ...changes,
  }
  return new CompactSign(new TextEncoder().encode(JSON.stringify(claims)))
    .setProtectedHeader({ alg: 'ES256', kid, ...header })
    .sign(signing)
}

function check(jwt: string): Promise<Ended> {
  const expected = ['--issuer', issuer, '--audience', 'bar', '--nonce', 'n']
  return run('dev/check-token.mjs', expected, jwt)
}

test('independent check: accepts a right token', async () => {
  expect((await check(await token())).code).toBe(0)
})

test('independent check: the demo hands over a nonce that begins with a dash, as one in 64 does', async () => {
  const shared = { age_over_18: true, given_name: 'Camille' }
  const answer = { token: await token({ ...shared, nonce: '-n' }), nonce: '-n' }
  const world = { product: issuer, service: { serviceId: 'bar' } }
  const scopes = ['identity:age_over_18', 'identity:given_name']
  const told = checkToken({ world, scopes }, answer)
  expect(await told).toEqual(shared)
})

test.each([
  ['another audience', () => token({ aud: 'other' })],
  ['another issuer', () => token({ iss: 'http://127.0.0.1:1' })],
  ['another nonce', () => token({ nonce: 'm' })],
  ['an expired token', () => token({ exp: 1 })],
  ['a token of two hours', () => token({ exp: Math.floor(Date.now() / 1000) + 7200 })],
  ['an unknown key', () => token({}, { kid: 'other' })],
  [
    'an altered claim',
    async () => (await token()).replace(/\.(.)/, (_, c) => `.${c === 'e' ? 'f' : 'e'}`),
  ],
  ['an altered signature', async () => `${(await token()).slice(0, -8)}AAAAAAAA`],
])('independent check: refuses %s', async (_, make) => {
  const { code, lines } = await check(await make())
  expect(code).toBe(1)
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ ok: false })
})

function checkIdToken(jwt: string, accessToken = 'an access token'): Promise<Ended> {
  const expected = ['--oidc', '--issuer', issuer, '--audience', 'bar', '--nonce', 'n']
  return run('dev/check-token.mjs', expected, `${jwt}\n${accessToken}`)
}

function idToken(changes: object = {}): Promise<string> {
  const digest = createHash('sha256').update('an access token').digest().subarray(0, 16)
  const now = Math.floor(Date.now() / 1000)
  return token({ auth_time: now, at_hash: digest.toString('base64url'), ...changes })
}

test('independent check: accepts a right id_token, with keys from discovery', async () => {
  expect((await checkIdToken(await idToken())).code).toBe(0)
})

test.each([
  ['another access token', async () => checkIdToken(await idToken(), 'another')],
  ['no access token', async () => checkIdToken(await idToken(), '')],
  ['no auth_time', async () => checkIdToken(await idToken({ auth_time: undefined }))],
  ['another authorized party', async () => checkIdToken(await idToken({ azp: 'other' }))],
  [
    'the discovery of another issuer',
    async () => {
      const mine = metadata
      metadata = { ...mine, issuer: 'http://127.0.0.1:1' }
      return checkIdToken(await idToken()).finally(() => {
        metadata = mine
      })
    },
  ],
])('independent check of an id_token: refuses %s', async (_, attempt) => {
  const { code, lines } = await attempt()
  expect(code).toBe(1)
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ ok: false })
})
