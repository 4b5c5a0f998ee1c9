import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateKeyPair } from 'jose'
import { describe, expect, it } from 'vitest'
import { readConfig } from '../../src/config.ts'
import { isLoopback } from '../../src/http/public-address.ts'
import { EXAMPLE_MASTER_SECRET } from '../../src/keys/master-secret.ts'

const secret = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('base64url')
const account = {
  type: 'service_account',
  project_id: 'idtoken-test',
  private_key_id: 'k1',
  private_key: await rsaKey(),
  client_email: 'push@idtoken-test.iam.gserviceaccount.com',
  token_uri: 'https://oauth2.googleapis.com/token',
}

const RIGHT = {
  ISSUER: 'https://id.example.com',
  MASTER_SECRET: secret,
  FCM_SERVICE_ACCOUNT: JSON.stringify(account),
  OPERATOR_TOKEN_SHA256: '',
  TRUST_LIST_KEYS: '[]',
  TRUST_LIST_GRACE_SECONDS: '86400',
  ENROLLMENT_GRANT: 'required',
  ENROLLMENTS_PER_HOUR: '5',
  CONFIRMATION: 'compare',
  CLIENT_ADDRESS_HEADER: 'CF-Connecting-IP',
}

async function rsaKey(): Promise<string> {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true })
  const der = Buffer.from(await crypto.subtle.exportKey('pkcs8', privateKey))
  return `-----BEGIN PRIVATE KEY-----\n${der.toString('base64')}\n-----END PRIVATE KEY-----\n`
}

function sentence(changes: Record<string, unknown>): string {
  const read = readConfig({ ...RIGHT, ...changes })
  return read.ok ? 'accepted' : read.reason
}

describe('readConfig', () => {
  it('reads what an operator sets', () => {
    const read = readConfig(RIGHT)
    expect(read).toMatchObject({
      ok: true,
      value: {
        issuer: 'https://id.example.com',
        loopback: false,
        master: { current: 1 },
        enrollmentsPerHour: 5,
        trustListGraceSeconds: 86400,
        confirmation: 'compare',
        enrollmentGrant: 'required',
        trustRequired: false,
        appUrl: null,
      },
    })
  })

  it('reads what a deployment may leave out', () => {
    const development = { ISSUER: 'http://localhost:8787', APP_URL: 'http://127.0.0.1:8790/' }
    expect(readConfig({ ...RIGHT, TRUST_REQUIRED: 'yes', ...development })).toMatchObject({
      ok: true,
      value: { trustRequired: true, appUrl: 'http://127.0.0.1:8790/' },
    })
    // A deployment would send whoever opens a link of ours to whatever stands there.
    expect(sentence({ APP_URL: 'https://app.example/' })).toMatch(/^APP_URL .*\.$/)
    expect(readConfig({ ...RIGHT, TRUST_REQUIRED: 'no', APP_URL: '' })).toEqual(readConfig(RIGHT))
  })

  it('takes nothing from the environment but the settings it knows', () => {
    const read = readConfig({
      ...RIGHT,
      DEBUG: '1',
      SKIP_SIGNATURE_CHECKS: 'true',
      NODE_ENV: 'test',
    })
    const plain = readConfig(RIGHT)
    expect(read).toEqual(plain)
  })

  it.each([
    ['nothing', undefined],
    ['an empty text', ''],
    ['31 bytes', secret.slice(0, 41)],
    ['zeros', 'A'.repeat(43)],
    ['one byte again and again', Buffer.alloc(32, 7).toString('base64url')],
    ['a short pattern', Buffer.from('abcd'.repeat(8)).toString('base64url')],
    ["the README's example", EXAMPLE_MASTER_SECRET],
    ['an old version of zeros', `2:${secret},1:${'A'.repeat(43)}`],
    ['a number', 12],
  ])(
    '317 secret: %s is refused with a sentence that names the setting and no value',
    (_, value) => {
      const said = sentence({ MASTER_SECRET: value })
      expect(said).toMatch(/^MASTER_SECRET .*\.$/)
      if (typeof value === 'string' && value !== '') expect(said).not.toContain(value)
    },
  )

  it.each([
    'http://id.example.com',
    'http://localhost.example.com',
    'http://127.0.0.1.example.com',
    'http://0.0.0.0',
    'http://10.0.0.1',
    'ftp://id.example.com',
    'javascript:alert(1)',
    'id.example.com',
    '',
    'https://id.example.com/',
    'https://id.example.com/tenant/',
    'https://id.example.com?x=1',
    'https://id.example.com?',
    'https://id.example.com#x',
    'https://id.example.com#',
    'https://user@id.example.com',
    'https://user:pass@id.example.com',
  ])('319 issuer %j is refused', (ISSUER) => {
    expect(sentence({ ISSUER })).toMatch(/^ISSUER .*\.$/)
  })

  it.each([
    'https://ID.example.com',
    'https://id.example.com:443',
    'HTTPS://id.example.com',
    ' https://id.example.com',
    'https://id.example.com\n',
    'https://id.exam\tple.com',
    'https://id.example.com/a/../b',
    'https://id.example.com\\tenant',
    'https://bücher.example',
  ])(
    '319 issuer %j, which a URL parser would rewrite, is refused: it is compared letter by letter',
    (ISSUER) => {
      expect(sentence({ ISSUER })).toMatch(/^ISSUER .*\.$/)
    },
  )

  it.each([
    'https://id.example.com',
    'https://id.example.com/tenant',
    'http://localhost:8787',
    'http://127.0.0.1',
    'http://[::1]:1',
  ])('319 issuer %j is accepted as it is', (ISSUER) => {
    const read = readConfig({ ...RIGHT, ISSUER })
    expect(read).toMatchObject({
      ok: true,
      value: { issuer: ISSUER, loopback: ISSUER.startsWith('http:') },
    })
  })

  it.each([
    ['CONFIRMATION', 'none'],
    ['CONFIRMATION', undefined],
    ['ENROLLMENT_GRANT', 'off'],
    ['ENROLLMENTS_PER_HOUR', '-1'],
    ['ENROLLMENTS_PER_HOUR', 'many'],
    ['KIOSK_ADDRESSES', '*'],
    ['KIOSK_ADDRESSES', '192.0.2.1,'],
    ['KIOSK_ENROLLMENTS_PER_HOUR', '-1'],
    ['ENROLLMENTS_PER_HOUR', '1e9'],
    ['TRUST_LIST_GRACE_SECONDS', ''],
    ['TRUST_LIST_KEYS', 'not JSON'],
    ['TRUST_LIST_KEYS', '{}'],
    ['TRUST_LIST_KEYS', '[{"kty":"oct","k":"AAAA","kid":"1"}]'],
    ['TRUST_LIST_KEYS', '[{"kty":"EC","crv":"P-384","x":"a","y":"b","kid":"1"}]'],
    ['OPERATOR_TOKEN_SHA256', 'the token itself'],
    ['CLIENT_ADDRESS_HEADER', 'X-Real-IP: 1'],
    ['TRUST_REQUIRED', 'true'],
    ['TRUST_REQUIRED', ''],
    ['APP_URL', 'app'],
    ['APP_URL', 'javascript:alert(1)'],
    ['APP_URL', 'idtoken://login'],
  ])('319 %s = %j is refused by name', (name, value) => {
    expect(sentence({ [name]: value })).toBe(`Malformed or missing setting: ${name}.`)
  })

  it.each([
    ['no JSON', 'x'],
    ['another kind of account', JSON.stringify({ ...account, type: 'authorized_user' })],
    [
      'a token endpoint on plain http',
      JSON.stringify({ ...account, token_uri: 'http://127.0.0.1:1/token' }),
    ],
    [
      'an FCM on plain http',
      JSON.stringify({ ...account, messaging_endpoint: 'http://127.0.0.1:1' }),
    ],
    ['no key', JSON.stringify({ ...account, private_key: 'secret-key-text' })],
  ])('319 a service account with %s is refused, and nothing of it is printed', (_, value) => {
    const said = sentence({ FCM_SERVICE_ACCOUNT: value })
    expect(said).toBe('FCM_SERVICE_ACCOUNT is not the JSON key of a Firebase service account.')
  })

  it('a fake FCM on loopback http belongs to a loopback issuer only', () => {
    const FCM_SERVICE_ACCOUNT = JSON.stringify({
      ...account,
      token_uri: 'http://127.0.0.1:8788/token',
      messaging_endpoint: 'http://127.0.0.1:8788',
    })
    expect(sentence({ FCM_SERVICE_ACCOUNT })).not.toBe('accepted')
    expect(sentence({ FCM_SERVICE_ACCOUNT, ISSUER: 'http://localhost:8787' })).toBe('accepted')
  })
})

describe('isLoopback', () => {
  it.each(['localhost', '127.0.0.1', '[::1]'])('%s is this machine', (name) => {
    expect(isLoopback(name)).toBe(true)
  })
  it.each([
    '',
    'localhost.',
    'localhost.example',
    '127.0.0.2',
    '0.0.0.0',
    '[::]',
    '::1',
    'LOCALHOST',
  ])('%j is not taken for this machine', (name) => {
    expect(isLoopback(name)).toBe(false)
  })
})

describe('320 the product', () => {
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.tsx?$/.test(name))
    .map((name) => ({ name, text: readFileSync(join('src', name), 'utf8') }))

  it('320 has source files to look at', () => {
    expect(files.length).toBeGreaterThan(40)
  })

  it.each(files)(
    '320 $name mentions nothing of the development world, and knows no mode',
    ({ text }) => {
      expect(text).not.toMatch(/\bdev\/|\bbench\/|['"][./]*test\//)
      expect(text).not.toMatch(
        /NODE_ENV|import\.meta\.env|process\.env|\bisDev|isDevelopment|__DEV__/,
      )
      expect(text).not.toMatch(/skip[A-Z_]\w*(check|verif|signature)|disable\w*(check|verif)|mock/i)
      expect(text).not.toMatch(/['"`]\d{6}['"`]/)
    },
  )
})

it('330 config: the platform writes no line of its own about a request, whose query would be in it', () => {
  const settings = readFileSync(new URL('../../wrangler.toml', import.meta.url), 'utf8')
  expect(settings).toMatch(/^\[observability\.logs\]\nenabled = true\ninvocation_logs = false$/m)
})
