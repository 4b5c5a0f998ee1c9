/** The demo and the independent token check as a stranger runs them: as programs, judged by output and exit code. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { CompactSign, calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'

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

test.each(['compare', 'transfer'])(
  'demo: a whole login by %s, without eyes',
  async (confirmation) => {
    const { code, lines } = await run('dev/demo.ts', ['--json', '--confirmation', confirmation])
    const steps = lines.map((line) => JSON.parse(line))
    expect(steps.at(-1)).toMatchObject({
      result: 'ok',
      claims: { age_over_18: true, given_name: 'Camille' },
    })
    expect(code).toBe(0)
    expect(steps.slice(0, -1).map(({ step }) => step)).toEqual([
      'start',
      'enroll',
      'initiate',
      'socket',
      'push',
      'claim',
      'approve',
      'check',
    ])
  },
)

let keys: Server
let issuer: string
let signing: CryptoKey
let kid: string

beforeAll(async () => {
  const pair = await generateKeyPair('ES256', { extractable: true })
  signing = pair.privateKey as CryptoKey
  const jwk = await exportJWK(pair.publicKey)
  kid = await calculateJwkThumbprint(jwk)
  const set = JSON.stringify({ keys: [{ ...jwk, kid, use: 'sig', alg: 'ES256' }] })
  keys = createServer((_request, response) => response.end(set)).listen(0, '127.0.0.1')
  await once(keys, 'listening')
  const address = keys.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  issuer = `http://127.0.0.1:${address.port}`
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
