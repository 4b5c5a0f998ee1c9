import { env } from 'cloudflare:workers'
import { CompactSign, exportJWK, exportSPKI, generateKeyPair, type JWK } from 'jose'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { fromBase64url, toBase64url, utf8 } from '../../src/bytes.ts'
import {
  type Answer,
  type Bar,
  connect,
  enrolled,
  freshAddress,
  ISSUER,
  initiate,
  now,
  openBar,
  operator,
  Person,
  post,
  type Statement,
  trustList,
} from './world.ts'

/** SubjectPublicKeyInfo of P-256 up to the point, in base64 (RFC 5480). */
const PREFIX = 'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA'

function enroll(body: unknown): Promise<Answer> {
  return post('/enroll', body, { 'CF-Connecting-IP': freshAddress() })
}

async function count(table: 'enrollment' | 'audit'): Promise<number> {
  const row = await env.DB.prepare(`SELECT count(*) AS n FROM ${table}`).first<{ n: number }>()
  return row?.n ?? -1
}

function pem(label: string, base64: string): string {
  return `-----BEGIN ${label}-----\n${base64.replace(/.{64}(?=.)/g, '$&\n')}\n-----END ${label}-----\n`
}

/** The base64 of the person's SPKI, without armour. */
async function spkiOf(person: Person): Promise<string> {
  return (await person.publicKeyPem()).split('\n').slice(1, -2).join('')
}

describe('the key of an enrollment', () => {
  let person: Person

  beforeEach(async () => {
    await operator('PUT', '/operator/trust-list', { trustList: await trustList() })
    person = await Person.make({ push: false })
  })

  async function expectRefused(publicKeyPem: string): Promise<void> {
    const before = await count('audit')
    const answer = await enroll({ ...(await person.enrollBody()), publicKeyPem })
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_key' })
    expect(await count('enrollment')).toBe(0)
    expect(await count('audit')).toBe(before)
  }

  test.each([
    ['off the curve', `${PREFIX}E${'q'.repeat(86)}`],
    ['all zero', `${PREFIX}E${'A'.repeat(86)}`],
    ['hybrid', `${PREFIX}G${'q'.repeat(86)}`],
    ['infinity', 'MBowEwYHKoZIzj0CAQYIKoZIzj0DAQcDAgAA'],
    ['empty', 'AAAA'],
  ])('126 device key: a point that is %s', async (_, base64) => {
    await expectRefused(pem('PUBLIC KEY', base64))
  })

  test('126 device key: compressed, hybrid and trailing forms of the very key', async () => {
    const base64 = await spkiOf(person)
    const der = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))
    const trailing = btoa(String.fromCharCode(...der, 0, 0))
    const hybrid = Uint8Array.from(der)
    hybrid[26] = 6 + ((der[90] ?? 0) & 1)
    const compressed = [
      0x30,
      0x39,
      ...der.slice(2, 24),
      0x22,
      0x00,
      2 + ((der[90] ?? 0) & 1),
      ...der.slice(27, 59),
    ]
    for (const bytes of [hybrid, compressed]) {
      await expectRefused(pem('PUBLIC KEY', btoa(String.fromCharCode(...bytes))))
    }
    await expectRefused(pem('PUBLIC KEY', trailing))
  })

  test.each(['ES384', 'RS256', 'EdDSA', 'ECDH-ES'])(
    '127 device key: of another kind, %s',
    async (alg) => {
      const options =
        alg === 'ECDH-ES' ? { crv: 'X25519', extractable: true } : { extractable: true }
      const { publicKey } = await generateKeyPair(alg, options)
      await expectRefused(await exportSPKI(publicKey as CryptoKey))
    },
  )

  test('127 device key: P-384 labelled as P-256', async () => {
    const { publicKey } = await generateKeyPair('ES384', { extractable: true })
    const spki = new Uint8Array((await crypto.subtle.exportKey('spki', publicKey)) as ArrayBuffer)
    const prefix = Uint8Array.from(atob(`${PREFIX}=`), (c) => c.charCodeAt(0))
    const bytes = [...prefix.slice(0, 26), ...spki.slice(-97)]
    await expectRefused(pem('PUBLIC KEY', btoa(String.fromCharCode(...bytes))))
  })

  test('128 device key: a private key is refused, and its text is in no log and no table', async () => {
    const log = vi.spyOn(console, 'log')
    const pkcs8 = await crypto.subtle.exportKey('pkcs8', person.keyPair.privateKey)
    const base64 = btoa(String.fromCharCode(...new Uint8Array(pkcs8 as ArrayBuffer)))
    await expectRefused(pem('PRIVATE KEY', base64))
    await expectRefused(pem('PUBLIC KEY', base64))
    const { d = '' } = await exportJWK(person.keyPair.privateKey)
    const jwk = { ...(await person.agreementJwk()), d }
    const answer = await enroll({ ...(await person.enrollBody()), encryptionKey: jwk })
    expect(answer.body.code).toBe('invalid_key')
    const logged = JSON.stringify(log.mock.calls)
    log.mockRestore()
    expect(logged).not.toContain(base64.slice(40, 80))
    expect(logged).not.toContain(d)
    expect(JSON.stringify(answer.body)).not.toContain(d)
    const { results } = await env.DB.prepare('SELECT * FROM audit').all()
    expect(JSON.stringify(results)).not.toContain(d)
  })

  test('128 device key: a certificate, two blocks, 64 KiB', async () => {
    const own = await person.publicKeyPem()
    const base64 = await spkiOf(person)
    await expectRefused(pem('CERTIFICATE', base64))
    await expectRefused(own + own)
    await expectRefused(pem('PUBLIC KEY', 'A'.repeat(48 * 1024)))
    const large = await enroll({ ...(await person.enrollBody()), publicKeyPem: 'A'.repeat(65_536) })
    expect(large.body).toMatchObject({ status: 413, code: 'payload_too_large' })
    expect(await count('enrollment')).toBe(0)
  })

  test('129 device key: CRLF and no final newline are the same key', async () => {
    const own = await person.publicKeyPem()
    for (const form of [own, own.trim(), own.replaceAll('\n', '\r\n')]) {
      const answer = await enroll({ ...(await person.enrollBody()), publicKeyPem: form })
      expect(answer.status).toBe(200)
    }
    expect(await count('enrollment')).toBe(1)
    const row = await env.DB.prepare('SELECT device_thumbprint AS kid FROM enrollment').first()
    expect(row?.kid).toBe(person.thumbprint)
  })

  test('129 device key: a lower-case label and inner blanks are refused', async () => {
    const own = await person.publicKeyPem()
    await expectRefused(own.replaceAll('PUBLIC KEY', 'public key'))
    await expectRefused(own.replace(/(.{10})/, '$1').replace(/\n(.{20})/, '\n$1 '))
  })

  test.each([
    [
      'the base point',
      'axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY',
      'T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU',
    ],
    [
      'RFC 7515 A.3',
      'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
      'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
    ],
  ])('130 device key: %s', async (_, x, y) => {
    const prefix = Uint8Array.from(atob(`${PREFIX}=`), (c) => c.charCodeAt(0)).slice(0, 26)
    const bytes = [...prefix, 4, ...(fromBase64url(x) ?? []), ...(fromBase64url(y) ?? [])]
    await expectRefused(pem('PUBLIC KEY', btoa(String.fromCharCode(...bytes))))
    const encryptionKey = { kty: 'EC', crv: 'P-256', x, y }
    const answer = await enroll({ ...(await person.enrollBody()), encryptionKey })
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_key' })
  })

  describe('350 agreement key', () => {
    const bad: [string, () => Promise<JWK>][] = [
      ['equal to the signing key', async () => publicOf(await exportJWK(person.keyPair.publicKey))],
      [
        'the signing key in another spelling',
        async () => {
          const own = publicOf(await exportJWK(person.keyPair.publicKey))
          return { ...own, x: `${own.x}=` }
        },
      ],
      ['private', () => exportJWK(person.agreement.privateKey)],
      [
        'of another curve',
        async () => {
          const options = { crv: 'P-384', extractable: true }
          return exportJWK((await generateKeyPair('ECDH-ES', options)).publicKey)
        },
      ],
      [
        'of another type',
        async () => {
          const options = { crv: 'X25519', extractable: true }
          return exportJWK((await generateKeyPair('ECDH-ES', options)).publicKey)
        },
      ],
      ['empty', async () => ({}) as JWK],
    ]
    test.each(bad)('%s', async (_, make) => {
      const encryptionKey = await make()
      const answer = await enroll({ ...(await person.enrollBody()), encryptionKey })
      expect(answer.body).toMatchObject({ status: 400, code: 'invalid_key' })
      expect(await count('enrollment')).toBe(0)
    })

    test('what a public key may carry besides is not stored', async () => {
      const encryptionKey = {
        ...(await person.agreementJwk()),
        kid: 'mine',
        use: 'enc',
        x5u: 'https://x.example',
      }
      expect((await enroll({ ...(await person.enrollBody()), encryptionKey })).status).toBe(200)
      const row = await env.DB.prepare('SELECT encryption_key AS jwk FROM enrollment').first<{
        jwk: string
      }>()
      expect(JSON.parse(row?.jwk ?? '')).toEqual(await person.agreementJwk())
    })
  })
})

function publicOf({ kty, crv, x, y }: JWK): JWK {
  return { kty, crv, x, y } as JWK
}

describe('statements over HTTP', () => {
  let bar: Bar
  let person: Person

  beforeEach(async () => {
    bar = await openBar()
    person = await enrolled({ push: false })
  })

  const acts: [string, (sessionId: string, bend: Statement) => Promise<Answer>][] = [
    ['claim', (sessionId, bend) => person.claim(sessionId, bend)],
    ['deny', (sessionId, bend) => person.deny(sessionId, 'nonce', 'declined', bend)],
    ['pending', (_, bend) => person.pending(bend)],
    [
      'approve',
      (sessionId, bend) =>
        person.approve(
          sessionId,
          { nonce: 'n', otp: '000000', service: { id: 'x' }, origin: 'x', scopes: [] },
          bend,
        ),
    ],
  ]
  const bends: [string, () => Promise<Statement> | Statement][] = [
    ['115 typ absent', () => ({ header: { typ: undefined } })],
    ['112 kid absent', () => ({ header: { kid: undefined } })],
    ['112 kid of SQL', () => ({ header: { kid: "' OR 1=1--" } })],
    ['112 kid of 10 KiB', () => ({ header: { kid: 'k'.repeat(10_240) } })],
    ['113 jku of our own', () => ({ header: { jku: `${ISSUER}/.well-known/jwks.json` } })],
    [
      '113 a key of the sender',
      async () => {
        const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
        return { header: { jwk: await exportJWK(publicKey) }, key: privateKey as CryptoKey }
      },
    ],
    ['122 aud other', () => ({ payload: { aud: 'https://id.example.net' } })],
    ['122 aud an array', () => ({ payload: { aud: [ISSUER] } })],
    ['136 a member too many', () => ({ payload: { face: true } })],
    ['136 iat in milliseconds', () => ({ payload: { iat: Date.now() } })],
    ['121 iat absent', () => ({ payload: { iat: undefined } })],
    ['009 iat a string', () => ({ payload: { iat: String(now()) } })],
    [
      '214 another key',
      async () => ({ key: (await Person.make({ push: false })).keyPair.privateKey }),
    ],
  ]

  test.each(bends)('%s: refused at every act, and no address in it is fetched', async (_, bend) => {
    const started = await initiate(bar, person.tokenId)
    const fetched = vi.spyOn(globalThis, 'fetch')
    for (const [act, run] of acts) {
      const answer = await run(started.body.sessionId, await bend())
      expect(answer.body, act).toMatchObject({ status: 401, code: 'invalid_statement' })
    }
    expect(fetched).not.toHaveBeenCalled()
    fetched.mockRestore()
    // Nothing was counted and nothing changed: the login goes on.
    const claimed = await person.claim(started.body.sessionId)
    expect((await person.approve(started.body.sessionId, claimed.body)).status).toBe(200)
  })

  test('131 statement: a DER signature is refused', async () => {
    const started = await initiate(bar, person.tokenId)
    const good = await person.sign('idtoken-claim+jwt', {
      tokenId: person.tokenId,
      sessionId: started.body.sessionId,
      via: 'push',
    })
    const [head, body, tail = ''] = good.split('.')
    const raw = fromBase64url(tail) ?? new Uint8Array(64)
    const integer = (bytes: Uint8Array) => {
      const lead = (bytes[0] ?? 0) >= 0x80 ? [0] : []
      return [2, lead.length + bytes.length, ...lead, ...bytes]
    }
    const inner = [...integer(raw.slice(0, 32)), ...integer(raw.slice(32))]
    const strict = [0x30, inner.length, ...inner]
    const lax = [0x30, 0x81, inner.length, ...inner, 0]
    for (const der of [strict, lax]) {
      const statement = `${head}.${body}.${toBase64url(Uint8Array.from(der))}`
      const answer = await post('/auth/claim', { statement })
      expect(answer.body).toMatchObject({ status: 401, code: 'invalid_statement' })
    }
    expect((await post('/auth/claim', { statement: good })).status).toBe(200)
  })

  test.each([
    ['without a statement', false],
    ['beside a statement', true],
  ])('132 statement: the older form %s', async (_, beside) => {
    const started = await initiate(bar, person.tokenId)
    const claimed = await person.claim(started.body.sessionId)
    const good = await person.approval(started.body.sessionId, claimed.body)
    const old = {
      sessionId: started.body.sessionId,
      signatureBase64: 'AAAA',
      timestamp: now(),
      otp: claimed.body.otp,
    }
    const body = beside ? { ...good, ...old } : { ...old, vdsData: good.vdsData }
    const answer = await post('/auth/verify', body)
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_request' })
    expect((await post('/auth/verify', good)).status).toBe(200)
  })

  test('133 statement: an approval sent again with a malleated signature is the same approval', async () => {
    const started = await initiate(bar, person.tokenId)
    const browser = await connect(started.body)
    const claimed = await person.claim(started.body.sessionId)
    const good = await person.approval(started.body.sessionId, claimed.body)
    const first = await post('/auth/verify', good)
    const [head, body, tail = ''] = String(good.statement).split('.')
    const bent = malleated(fromBase64url(tail) ?? new Uint8Array(64))
    const again = await post('/auth/verify', {
      ...good,
      statement: `${head}.${body}.${toBase64url(bent)}`,
    })
    expect(again.status).toBe(200)
    expect(again.body).toEqual(first.body)
    await browser.closed
    expect(browser.events.filter(({ type }) => type === 'approved')).toHaveLength(1)
    const logins = await env.DB.prepare(
      "SELECT count(*) AS n FROM audit WHERE event = 'login'",
    ).first()
    expect(logins?.n).toBe(1)
  })

  test.each([
    ['number', 7],
    ['array', ['x']],
    ['object', {}],
    ['null', null],
  ])('009 statement: as %s is named as member', async (_, statement) => {
    for (const path of ['/auth/claim', '/auth/reject', '/device/pending', '/device/update']) {
      const answer = await post(path, { statement })
      expect(answer.body, path).toMatchObject({ code: 'invalid_request', member: 'statement' })
      expect(answer.status).toBe(400)
    }
  })

  test('115 statement: one act is not another’s', async () => {
    const statement = await new CompactSign(
      utf8(JSON.stringify({ aud: ISSUER, iat: now(), tokenId: person.tokenId })),
    )
      .setProtectedHeader({ alg: 'ES256', typ: 'idtoken-update+jwt', kid: person.thumbprint })
      .sign(person.keyPair.privateKey)
    const answer = await post('/device/pending', { statement })
    expect(answer.body).toMatchObject({ status: 401, code: 'invalid_statement' })
    const operatorAnswer = await post(
      '/revoke',
      { tokenId: person.tokenId, reason: 'x' },
      { Authorization: `Bearer ${statement}` },
    )
    expect(operatorAnswer.body).toMatchObject({ status: 401, code: 'invalid_token' })
  })

  test('220 pending: 31 s off is refused, 29 s off accepted; a claim has no clock', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    try {
      for (const [off, status] of [
        [-31, 401],
        [31, 401],
        [-29, 200],
        [29, 200],
      ] as const) {
        expect((await person.pending({ payload: { iat: now() + off } })).status).toBe(status)
      }
      const started = await initiate(bar, person.tokenId)
      // 312: a phone whose clock is ten minutes off can claim, approve and deny all the same.
      for (const iat of [now() - 600, now() + 600]) {
        const claimed = await person.claim(started.body.sessionId, { payload: { iat } })
        expect(claimed.status).toBe(200)
      }
    } finally {
      vi.useRealTimers()
    }
  })
})

/** The other signature (r, n−s) that verifies as well. */
function malleated(signature: Uint8Array): Uint8Array {
  const n = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  const hex = [...signature.slice(32)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  const s = (n - BigInt(`0x${hex}`)).toString(16).padStart(64, '0')
  const bent = Uint8Array.from(signature)
  for (let i = 0; i < 32; i++) bent[32 + i] = Number.parseInt(s.slice(2 * i, 2 * i + 2), 16)
  return bent
}
