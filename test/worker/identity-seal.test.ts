import { env } from 'cloudflare:workers'
import { Encoder } from '@msgpack/msgpack'
import { decodeJwt } from 'jose'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { concat, sha256, toBase64url } from '../../src/bytes.ts'
import { sealHeader } from '../../src/seal/make.ts'
import type { TrustListContent } from '../../src/seal/trust-list.ts'
import type { TestKey } from './bindings.ts'
import {
  type Answer,
  type Bar,
  type Browser,
  connect,
  enrolled,
  freshAddress,
  initiate,
  initiateFromPage,
  now,
  openBar,
  operator,
  Person,
  post,
  revocationList,
  specimen,
  trustList,
} from './world.ts'

const issuerKeys: Record<'seal' | 'other', TestKey> = JSON.parse(env.TEST_ISSUER)

/** Trust lists of these tests are all different, so each has a number of its own. */
let sequence = 412_000

/** Puts a trust list in force whose entry for the seal signer differs in `changes`. */
async function installTrust(
  changes: Partial<TrustListContent['entries'][number]>,
  list: { nextUpdate?: number; issuedAt?: number } = {},
): Promise<void> {
  sequence += 1
  const { entries } = decodeJwt<TrustListContent>(await trustList())
  const [signer, ...rest] = entries
  const bent = [{ ...signer, ...changes } as TrustListContent['entries'][number], ...rest]
  const { status } = await operator('PUT', '/operator/trust-list', {
    trustList: await trustList({ sequence, entries: bent, ...list }),
  })
  expect(status).toBe(200)
}

function enroll(body: unknown): Promise<Answer> {
  return post('/enroll', body, { 'CF-Connecting-IP': freshAddress() })
}

/** What `/enroll` says to a right request, but for its seal. */
async function enrollWith(person: Person, vdsData: string): Promise<Answer> {
  return enroll({ ...(await person.enrollBody()), vdsData })
}

async function enrollments(): Promise<number> {
  const row = await env.DB.prepare('SELECT count(*) AS n FROM enrollment').first<{ n: number }>()
  return row?.n ?? -1
}

async function expectNoEnrollment(answer: Answer, code = 'invalid_vds'): Promise<void> {
  expect(answer.body).toMatchObject({ status: 400, code })
  expect(answer.status).toBe(400)
  expect(await enrollments()).toBe(0)
}

/** A login that waits for its approval. */
interface Waiting {
  readonly sessionId: string
  readonly browser: Browser
  readonly claimed: Parameters<Person['approval']>[1]
}

async function waitingLogin(bar: Bar, person: Person): Promise<Waiting> {
  const { body } = await initiate(bar, person.tokenId)
  const browser = await connect(body)
  const { body: claimed } = await person.claim(body.sessionId)
  return { sessionId: body.sessionId, browser, claimed }
}

/** Approves with `vdsData` in place of the enrolled seal, and `seal` as the fingerprint that the statement names. */
async function approveWith(
  person: Person,
  login: Waiting,
  seal: { readonly base64url: string; readonly fingerprint: string },
): Promise<Answer> {
  const { statement } = await person.approval(login.sessionId, login.claimed, {
    payload: { seal: seal.fingerprint },
  })
  return post('/auth/verify', { statement, vdsData: seal.base64url })
}

function hasApproved({ browser }: Waiting): boolean {
  return browser.events.some(({ type }) => type === 'approved')
}

let bar: Bar

beforeEach(async () => {
  bar = await openBar()
})

afterEach(() => {
  vi.useRealTimers()
})

describe('153 identity seal: a flipped bit', () => {
  test('in each byte is refused at enrollment', async () => {
    const person = await Person.make({ push: false })
    const body = await person.enrollBody()
    for (let i = 0; i < person.seal.bytes.length; i++) {
      const bent = Uint8Array.from(person.seal.bytes)
      bent[i] = (bent[i] ?? 0) ^ (1 << (i % 8))
      const answer = await enroll({ ...body, vdsData: toBase64url(bent) })
      expect(answer.body, `byte ${i}`).toMatchObject({ status: 400, code: 'invalid_vds' })
    }
    expect(await enrollments()).toBe(0)
    expect((await enroll(body)).status).toBe(200)
  })

  test('is refused at approval too, and the login goes on', async () => {
    const person = await enrolled({ push: false })
    const login = await waitingLogin(bar, person)
    for (const [at, code] of [
      [3, 'credential_mismatch'],
      [30, 'credential_mismatch'],
      [-1, 'invalid_vds'],
      [-64, 'invalid_vds'],
    ] as const) {
      const bent = Uint8Array.from(person.seal.bytes)
      const i = at < 0 ? bent.length + at : at
      bent[i] = (bent[i] ?? 0) ^ 1
      const seal = { base64url: toBase64url(bent), fingerprint: person.seal.fingerprint }
      const answer = await approveWith(person, login, seal)
      // A header that can't be read any more has no fingerprint to compare.
      const codes = code === 'credential_mismatch' ? [code, 'invalid_vds'] : [code]
      expect(codes, `byte ${at}`).toContain(answer.body.code)
    }
    expect(hasApproved(login)).toBe(false)
    expect((await person.approve(login.sessionId, login.claimed)).status).toBe(200)
  })
})

describe('154 identity seal: the signer', () => {
  test('an unknown certificate reference, and an unknown key under a known one', async () => {
    const fetched = vi.spyOn(globalThis, 'fetch')
    for (const options of [{ certId: '0002' }, { caId: 'IDT9' }, { signedBy: 'other' as const }]) {
      const person = await Person.make({ push: false, ...options })
      const body = await person.enrollBody({ grant: false })
      await expectNoEnrollment(await enroll(body))
    }
    expect(fetched).not.toHaveBeenCalled()
    fetched.mockRestore()
  })

  test('the grant key signs no seals', async () => {
    const person = await Person.make({ push: false, certId: 'G001' })
    await expectNoEnrollment(await enroll(await person.enrollBody()))
  })

  const bends: [string, () => Partial<TrustListContent['entries'][number]>][] = [
    ['revoked', () => ({ status: 'revoked' })],
    ['expired', () => ({ validity: { from: now() - 86_400, to: now() - 1 } })],
    ['not valid yet', () => ({ validity: { from: now() + 60, to: now() + 86_400 } })],
    ['outside its usage', () => ({ purposes: ['issuer-ca'] })],
    ['without the manifest', () => ({ manifests: ['0A0002'] })],
  ]
  test.each(bends)('%s: at enrollment', async (_, bend) => {
    await installTrust(bend())
    const person = await Person.make({ push: false })
    await expectNoEnrollment(await enroll(await person.enrollBody()))
  })

  test.each(bends)('%s: at approval, by the list in force then', async (_, bend) => {
    const person = await enrolled({ push: false })
    const login = await waitingLogin(bar, person)
    await installTrust(bend())
    const answer = await person.approve(login.sessionId, login.claimed)
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_vds' })
    expect(hasApproved(login)).toBe(false)
  })

  test('a list past its day enrolls nobody, and carries logins for the grace only', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const person = await enrolled({ push: false })
    await installTrust({}, { issuedAt: now() - 100, nextUpdate: now() + 10 })
    vi.setSystemTime(Date.now() + 20_000)
    const other = await Person.make({ push: false })
    const refused = await enroll(await other.enrollBody())
    expect(refused.body).toMatchObject({ status: 400, code: 'invalid_vds' })
    const login = await waitingLogin(bar, person)
    expect((await person.approve(login.sessionId, login.claimed)).status).toBe(200)

    vi.setSystemTime(Date.now() + 86_400_000)
    const late = await waitingLogin(bar, person)
    const answer = await person.approve(late.sessionId, late.claimed)
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_vds' })
  })

  test('without any list nobody enrolls', async () => {
    await env.DB.prepare('DELETE FROM trust_list').run()
    const person = await Person.make({ push: false })
    await expectNoEnrollment(await enroll(await person.enrollBody()))
  })
})

test('155 identity seal: issued 5:01 min ahead is refused, 4:59 accepted', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const early = await Person.make({ push: false, createdAt: now() + 301 })
  await expectNoEnrollment(await enroll(await early.enrollBody()))
  const late = await Person.make({ push: false, createdAt: now() + 299 })
  expect((await enroll(await late.enrollBody())).status).toBe(200)
})

describe('156 identity seal: expiry', () => {
  /** The last second of today in UTC, to which the clock is set. */
  function untilMidnight(): number {
    vi.useFakeTimers({ toFake: ['Date'] })
    return Math.ceil((Date.now() + 1000) / 86_400_000) * 86_400_000
  }

  test('an expired one is refused at enrollment', async () => {
    const yesterday = new Date(Date.now() - 86_400_000).toISOString().slice(0, 10)
    const person = await Person.make({ push: false, identity: { expiresOn: yesterday } })
    await expectNoEnrollment(await enroll(await person.enrollBody()), 'vds_expired')
  })

  test('one that expires between enrollment and login', async () => {
    const midnight = untilMidnight()
    const expiresOn = new Date(midnight - 1).toISOString().slice(0, 10)
    vi.setSystemTime(midnight - 50_000)
    await installTrust({})
    const person = await enrolled({ push: false, identity: { expiresOn } })
    const login = await waitingLogin(bar, person)

    vi.setSystemTime(midnight + 1000)
    const answer = await person.approve(login.sessionId, login.claimed)
    expect(answer.body).toMatchObject({ status: 403, code: 'vds_expired' })
    await login.browser.event('rejected')
    expect(hasApproved(login)).toBe(false)

    const byService = await initiate(bar, person.tokenId)
    expect(byService.body).toMatchObject({ status: 403, code: 'vds_expired' })
    await expectDecoy(person)
  })
})

/** A page that begins a login for `person` learns nothing, and nobody can approve it. */
async function expectDecoy(person: Person): Promise<void> {
  const real = await initiateFromPage((await enrolled({ push: false })).tokenId)
  const decoy = await initiateFromPage(person.tokenId, {}, { 'CF-Connecting-IP': freshAddress() })
  expect(decoy.status).toBe(200)
  expect(Object.keys(decoy.body)).toEqual(Object.keys(real.body))
  const claimed = await person.claim(decoy.body.sessionId)
  expect(claimed.body).toMatchObject({ status: 404, code: 'session_not_found' })
}

describe('157 identity seal: on the imported revocation list', () => {
  test('after enrollment: no login begins, and one that waits gives nothing', async () => {
    const person = await enrolled({ push: false })
    const login = await waitingLogin(bar, person)
    const list = await revocationList(1, [person.seal.fingerprint])
    await operator('PUT', '/operator/revocation-list', { revocationList: list })

    const answer = await person.approve(login.sessionId, login.claimed)
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_vds' })
    expect(hasApproved(login)).toBe(false)
    const byService = await initiate(bar, person.tokenId)
    expect(byService.body).toMatchObject({ status: 403, code: 'enrollment_revoked' })
    await expectDecoy(person)
  })

  test('a repeated enrollment with it is refused as well', async () => {
    const person = await enrolled({ push: false })
    const list = await revocationList(1, [person.seal.fingerprint])
    await operator('PUT', '/operator/revocation-list', { revocationList: list })
    const answer = await enroll(await person.enrollBody())
    expect(answer.body).toMatchObject({ status: 400, code: 'invalid_vds' })
  })
})

describe('159 identity seal: the text', () => {
  test('hex, Base32, padded or plain Base64 are refused', async () => {
    const person = await Person.make({ push: false })
    const { bytes, base64url, base45 } = person.seal
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
    const base64 = btoa(String.fromCharCode(...bytes))
    const texts = [
      hex,
      hex.toUpperCase(),
      base32(bytes),
      `${base64url}=`,
      `${base64.replace(/=+$/, '')}==`,
      base64.includes('+') || base64.includes('/') ? base64 : `${base64}+`,
      ` ${base64url}`,
      `${base64url}\n`,
      `data:;base64,${base64url}`,
      `HC1:${base45}`,
      base45.toLowerCase(),
      'x',
    ]
    for (const text of texts) await expectNoEnrollment(await enrollWith(person, text))
    expect((await enrollWith(person, base45)).status).toBe(200)
  })

  test('more than 4 KiB, or none', async () => {
    const person = await Person.make({ push: false })
    for (const text of ['A'.repeat(4097), '']) {
      const answer = await enrollWith(person, text)
      expect(answer.body).toMatchObject({ code: 'invalid_request', member: 'vdsData' })
    }
    await expectNoEnrollment(await enrollWith(person, 'A'.repeat(4096)))
  })
})

function base32(bytes: Uint8Array): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('')
  return (bits.match(/.{1,5}/g) ?? [])
    .map((five) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[Number.parseInt(five.padEnd(5, '0'), 2)])
    .join('')
}

describe('161 identity seal: a signed payload outside its profile', () => {
  test.each<[string, object]>([
    ['a birth date that is none', { dateOfBirth: '2023-02-30' }],
    ['a birth date in the future', { dateOfBirth: '2099-01-01' }],
    ['nationality in lower case', { nationality: 'fr' }],
    ['nationality of two letters', { nationality: 'FR' }],
    ['a name of 40 characters', { givenNames: 'a'.repeat(40) }],
    ['no family name', { familyName: '' }],
    ['an expiry that is no date', { expiresOn: '2034-13-01' }],
    ['a trust level of 4', { trustLevel: 4 }],
    ['a document number with a blank', { documentNumber: '12 34' }],
    ['162 NUL in a name', { givenNames: 'Je\0an' }],
    ['162 a control in a name', { familyName: 'Du\u0007pont' }],
    ['162 a newline in a name', { familyName: 'Du\npont' }],
  ])('%s', async (_, identity) => {
    const person = await Person.make({ push: false, identity })
    await expectNoEnrollment(await enroll(await person.enrollBody()))
  })

  test('a given name as array', async () => {
    const person = await Person.make({ push: false })
    const tokenId = new Uint8Array(16).fill(7)
    const values = [
      ['Jean'],
      'Dupont',
      '1988-02-29',
      'FRA',
      '12AB',
      tokenId,
      '2034-05-31',
      null,
      null,
    ]
    await expectNoEnrollment(await enrollWith(person, await sealOf(values)))
    // The same seal with a plain name is refused for its statement only: the payload was the reason.
    const plain = await enrollWith(person, await sealOf(['Jean', ...values.slice(1)]))
    expect(plain.body).toMatchObject({ status: 401, code: 'invalid_statement' })
  })
})

/** A rightly signed seal around any values. */
async function sealOf(values: readonly unknown[]): Promise<string> {
  const encoder = new Encoder()
  const payload = concat(...values.map((value) => encoder.encode(value)))
  const header = sealHeader({ caId: 'IDT1', certId: '0001', createdAt: now() - 60 }, payload.length)
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
  const jwk = issuerKeys.seal.privateJwk as JsonWebKey
  const key = await crypto.subtle.importKey('jwk', jwk, algorithm, false, ['sign'])
  const signature = await crypto.subtle.sign(
    { name: 'ECDSA', hash: 'SHA-256' },
    key,
    concat(header, await sha256(payload)),
  )
  return toBase64url(concat(header, payload, new Uint8Array(signature)))
}

test.each([
  ['right-to-left override', 'Jean\u202eneJ'],
  ['zero-width characters', 'Je\u200ban\u200d'],
  ['markup', '<script>alert(1)</script>'],
  ['an emoji', 'Jean 👩‍🚀'],
  ['39 characters, most of them combining marks', `J${'\u0332'.repeat(38)}`],
  ['quotes', `O'"&`],
])('162 identity seal: a name with %s is carried unchanged', async (_, givenNames) => {
  const person = await enrolled({ push: false, identity: { givenNames } })
  const login = await waitingLogin(bar, person)
  expect((await person.approve(login.sessionId, login.claimed)).status).toBe(200)
  const { jwt } = await login.browser.event('approved')
  expect(decodeJwt(String(jwt)).given_name).toBe(givenNames)
})

describe('164 identity seal: in the approval', () => {
  test('another person’s, and the same document issued again', async () => {
    const person = await enrolled({ push: false })
    const other = await enrolled({ push: false })
    const login = await waitingLogin(bar, person)
    const reissued = await specimen(person.tokenId, { createdAt: now() - 60 })
    for (const seal of [other.seal, reissued]) {
      const named = await approveWith(person, login, seal)
      expect(named.body).toMatchObject({ status: 403, code: 'credential_mismatch' })
      const unnamed = await approveWith(person, login, {
        base64url: seal.base64url,
        fingerprint: person.seal.fingerprint,
      })
      expect(unnamed.body).toMatchObject({ status: 403, code: 'credential_mismatch' })
    }
    // And the enrolled seal under another one's name.
    const misnamed = { base64url: person.seal.base64url, fingerprint: other.seal.fingerprint }
    const answer = await approveWith(person, login, misnamed)
    expect(answer.body).toMatchObject({ status: 403, code: 'credential_mismatch' })
    expect(hasApproved(login)).toBe(false)
    expect((await person.approve(login.sessionId, login.claimed)).status).toBe(200)
    await login.browser.event('approved')
  })

  test('with its signature as (r, n−s) it is the enrolled one, at enrollment and at approval', async () => {
    const person = await enrolled({ push: false })
    const bent = malleated(person.seal.bytes)
    expect(toBase64url(bent)).not.toBe(person.seal.base64url)
    const repeated = await enrollWith(person, toBase64url(bent))
    expect(repeated.status).toBe(200)
    expect(await enrollments()).toBe(1)

    const login = await waitingLogin(bar, person)
    const seal = { base64url: toBase64url(bent), fingerprint: person.seal.fingerprint }
    expect((await approveWith(person, login, seal)).status).toBe(200)
    await login.browser.event('approved')
  })
})

/** `bytes` with the last 32 of them, the s of a signature, replaced by n − s. */
function malleated(bytes: Uint8Array): Uint8Array {
  const n = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  const hex = [...bytes.slice(-32)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  const s = (n - BigInt(`0x${hex}`)).toString(16).padStart(64, '0')
  const pairs = s.match(/../g) ?? []
  return concat(
    bytes.slice(0, -32),
    Uint8Array.from(pairs.map((pair) => Number.parseInt(pair, 16))),
  )
}

test.each([0, 1, 32, 63])('165 identity seal: a signature of %i bytes', async (length) => {
  const person = await Person.make({ push: false })
  const bytes = person.seal.bytes
  const cut = bytes.slice(0, bytes.length - 64 + length)
  await expectNoEnrollment(await enrollWith(person, toBase64url(cut)))
})

test('165 identity seal: a signature of another algorithm, or of zeros', async () => {
  const person = await Person.make({ push: false })
  const body = person.seal.bytes.slice(0, -64)
  const pair = (await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-384' }, true, [
    'sign',
    'verify',
  ])) as CryptoKeyPair
  const p384 = new Uint8Array(
    await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-384' }, pair.privateKey, body),
  )
  for (const signature of [p384, new Uint8Array(64), new Uint8Array(64).fill(255)]) {
    await expectNoEnrollment(await enrollWith(person, toBase64url(concat(body, signature))))
  }
})

test('141 identity seal: the level is the lower of seal, signer and binding, at the login too', async () => {
  await installTrust({ maxTrustLevel: 2 })
  const person = await enrolled({ push: false, identity: { trustLevel: 3 } })
  const row = await env.DB.prepare('SELECT trust_level AS level FROM enrollment').first()
  expect(row?.level).toBe(2)
  const asked = await initiate(bar, person.tokenId, { minTrustLevel: 3 })
  const claimed = await person.claim(asked.body.sessionId)
  const answer = await person.approve(asked.body.sessionId, claimed.body)
  expect(answer.body).toMatchObject({ status: 403, code: 'insufficient_trust_level' })
})
