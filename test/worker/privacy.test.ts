/**
 * "No user database" as a fact (1-architecture section 2): a person with unmistakable data goes through all that can
 * happen, then everything that is stored, logged, sent and named is searched for that person and for every secret.
 */
import { listDurableObjectIds } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { expect, onTestFinished, test, vi } from 'vitest'
import { sha256, toBase64url, utf8 } from '../../src/bytes.ts'
import { dumpD1, dumpObject, dumpObjects, knownObjects } from './storage.ts'
import {
  type Answer,
  type Bar,
  connect,
  enrolled,
  freshAddress,
  inboxObject,
  initiate,
  initiateFromPage,
  loginObject,
  openBar,
  operator,
  type Person,
  post,
  send,
} from './world.ts'

/** A tiny WebP whose picture bytes are found nowhere else. */
const FACE = new Uint8Array([
  ...utf8('RIFF'),
  ...[44, 0, 0, 0],
  ...utf8('WEBPVP8 '),
  ...[32, 0, 0, 0],
  ...utf8('a-face-like-no-other-4711-ABCDEF'),
])

const WHO = {
  givenNames: 'Xanthippe',
  familyName: 'Quetzalcoatl',
  dateOfBirth: '1931-07-13',
  nationality: 'LIE',
  documentNumber: 'ZZ9QX7K42',
  photo: FACE,
}

const SCOPES = ['identity:full_with_photo', 'identity:age_over_18']
const RESTRICTED = ['identity:document', 'identity:photo']

/** What nothing may hold, by what it is. */
type Secrets = Record<string, readonly string[]>

/** How `text` may stand in something written: as it is, inside JSON, hexadecimal, or within Base64 at any alignment. */
function spellings(text: string | Uint8Array): string[] {
  const bytes = typeof text === 'string' ? utf8(text) : text
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  const inBase64 = [0, 1, 2].flatMap((offset) => {
    const encoded = toBase64url(new Uint8Array([...new Uint8Array(offset), ...bytes]))
    // The first and last characters also depend on the neighbours.
    const steady = encoded.slice(offset === 0 ? 0 : offset + 1, -2)
    return [steady, steady.replaceAll('-', '+').replaceAll('_', '/')]
  })
  return [...(typeof text === 'string' ? [text] : []), hex, hex.toUpperCase(), ...inBase64]
}

/** Three letters stand in any long text; as a value of JSON they mean the nationality. */
const PERSON: Secrets = {
  'given names': spellings(WHO.givenNames),
  'family name': spellings(WHO.familyName),
  'birth date': [...spellings(WHO.dateOfBirth), '19310713', '310713'],
  nationality: ['"LIE"', '\\"LIE\\"'],
  document: spellings(WHO.documentNumber),
  face: spellings(FACE.slice(20)),
}

/** The names of the secrets that `text` holds. */
function found(text: string, secrets: Secrets): string[] {
  return Object.entries(secrets)
    .filter(([, ways]) => ways.some((way) => way.length > 0 && text.includes(way)))
    .map(([name]) => name)
}

/** Everything written to the console and every request that left, from now on. */
function overhear(): { readonly lines: string[]; readonly requests: string[] } {
  const lines: string[] = []
  const requests: string[] = []
  for (const name of ['log', 'info', 'warn', 'error', 'debug'] as const) {
    const spy = vi.spyOn(console, name).mockImplementation((...parts) => {
      lines.push(parts.map(String).join(' '))
    })
    onTestFinished(() => spy.mockRestore())
  }
  const real = fetch
  const spy = vi.spyOn(globalThis, 'fetch').mockImplementation((input, init) => {
    // The hands of the tests on the fake aren't the product's.
    if (!/\/(device|inbox|script)\b/.test(String(input))) {
      requests.push(`${String(input)} ${String(init?.body)}`)
    }
    return real(input, init)
  })
  onTestFinished(() => spy.mockRestore())
  return { lines, requests }
}

function openCuriousBar(): Promise<Bar> {
  return openBar({
    allowedScopes: SCOPES,
    defaultScopes: SCOPES,
    requiredScopes: [],
    restrictedScopes: RESTRICTED,
  })
}

interface Claimed {
  readonly sessionId: string
  readonly claimed: Parameters<Person['approval']>[1]
  readonly browser: Awaited<ReturnType<typeof connect>>
  /** The secrets of this login. */
  readonly secrets: Secrets
}

/** A login up to the claim. */
async function claimed(started: Answer, person: Person): Promise<Claimed> {
  const { sessionId, wsToken } = started.body
  const browser = await connect(started.body)
  const { autoPassword = '' } = await browser.event('otp_ready')
  const answer = await person.claim(sessionId)
  expect(answer.status).toBe(200)
  return {
    sessionId,
    claimed: answer.body,
    browser,
    // Six digits may be part of a longer number.
    secrets: {
      code: [`"${autoPassword}"`, `\\"${autoPassword}\\"`, ` ${autoPassword}`],
      wsToken: [wsToken],
    },
  }
}

test('309 331 privacy: nothing that is stored, logged, named or sent out holds the person or a secret', async () => {
  const known = await knownObjects()
  const bar = await openCuriousBar()
  const { lines, requests } = overhear()
  const person = await enrolled({ identity: WHO })
  const fromPage = () =>
    initiateFromPage(person.tokenId, {}, { 'CF-Connecting-IP': freshAddress() })
  const secrets: Secrets = {
    ...PERSON,
    'seal text': [person.seal.base64url.slice(0, 60), person.seal.base64url.slice(-60)],
    'seal in Base45': [person.seal.base45.slice(10, 60)],
  }
  const perLogin: Secrets[] = []

  const { serviceVds } = (await send('GET', `/services/${bar.serviceId}/vds`)).body
  const said = { service: bar.serviceId, vds: toBase64url(await sha256(serviceVds)), trusted: true }
  const statement = await person.sign('idtoken-trust+jwt', { tokenId: person.tokenId, ...said })
  expect((await post('/device/trust', { statement, serviceVds })).status).toBe(200)

  const approved = await claimed(await fromPage(), person)
  expect((await person.approve(approved.sessionId, approved.claimed)).status).toBe(200)
  const { code } = await approved.browser.event('approved')
  perLogin.push({ ...approved.secrets, 'result code': [String(code)] })

  // Approved and not yet fetched: the one moment at which the claims are kept at all.
  const waiting = await dumpObject(loginObject(approved.sessionId))
  expect(waiting).toContain('"approved')
  expect(found(waiting, { ...secrets, ...perLogin[0] })).toEqual([])
  expect(waiting).not.toMatch(/eyJ[\w-]+\.eyJ/)

  const result = await post('/auth/result', { sessionId: approved.sessionId, code }, bar.basic)
  const { jwt } = result.body
  // The search itself is able to find: what the service got holds everything.
  expect(found(jwt, PERSON)).toEqual(
    expect.arrayContaining(['given names', 'family name', 'birth date', 'document']),
  )
  perLogin.push({ jwt: [jwt, jwt.split('.')[1], jwt.split('.')[2]] })

  const delivered = await claimed(await initiate(bar, person.tokenId), person)
  await person.approve(delivered.sessionId, delivered.claimed)
  const handed = await delivered.browser.event('approved')
  perLogin.push(delivered.secrets, {
    jwt: [String(handed.jwt), String(handed.jwt).split('.')[1] ?? ''],
  })
  expect(found(await dumpObject(loginObject(delivered.sessionId)), secrets)).toEqual([])

  const declined = await claimed(await fromPage(), person)
  await person.deny(declined.sessionId, declined.claimed.nonce)
  perLogin.push(declined.secrets)

  const wrong = await claimed(await fromPage(), person)
  const otp = wrong.claimed.otp === '000000' ? '000001' : '000000'
  for (let i = 0; i < 3; i++) {
    const bend = { payload: { otp, iat: Math.floor(Date.now() / 1000) - i } }
    await person.approve(wrong.sessionId, wrong.claimed, bend)
  }
  perLogin.push(wrong.secrets)

  const mistaken = await claimed(await fromPage(), person)
  await person.approve(mistaken.sessionId, mistaken.claimed, {
    payload: { grantedScopes: ['identity:email'] },
  })
  perLogin.push(mistaken.secrets)
  await scheduler.wait(200)

  const stored = { ...(await dumpD1()), ...(await dumpObjects(known)) }
  const everySecret = [secrets, ...perLogin]
  for (const [place, text] of Object.entries(stored)) {
    for (const some of everySecret) expect(found(text, some), place).toEqual([])
    if (place !== 'enrollment') expect(text, place).not.toContain(person.fcmToken)
  }
  // The dump does see: the binding is where it belongs, and a login in progress knows whom it addresses.
  expect(stored.enrollment).toContain(person.fcmToken)
  expect(stored.enrollment).toContain(person.tokenId)
  expect(stored.service_trust).toContain(person.tokenId)
  expect(stored[`login ${mistaken.sessionId.slice(5)}`]).toContain(person.tokenId)
  for (const [place, text] of Object.entries(stored)) {
    const mayKnow =
      place === 'enrollment' || place === 'service_trust' || place.startsWith('login ')
    if (!mayKnow) expect(text, place).not.toContain(person.tokenId)
  }

  await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
  await scheduler.wait(200)
  const after = await dumpD1()
  expect(Object.values(after).join('\n')).not.toContain(person.fcmToken)
  for (const text of Object.values(after)) {
    for (const some of everySecret) expect(found(text, some)).toEqual([])
  }

  expect(lines.filter((line) => line.includes('"event":"login"'))).toHaveLength(5)
  expect(requests.length).toBeGreaterThan(0)
  const everywhere = [...everySecret, { tokenId: [person.tokenId] }]
  for (const some of [...everywhere, { 'push token': [person.fcmToken ?? ''] }]) {
    expect(found(lines.join('\n'), some)).toEqual([])
  }
  for (const some of everywhere) expect(found(requests.join('\n'), some)).toEqual([])

  const ids = (await listDurableObjectIds(env.PHONE_INBOX)).map(String)
  expect(ids).toContain(String((await inboxObject(person.tokenId)).id))
  expect(ids).not.toContain(env.PHONE_INBOX.idFromName(person.tokenId).toString())
})

test('309 privacy: an expired login and one that nobody answered leave nothing but their audit row', async () => {
  const known = await knownObjects()
  await openCuriousBar()
  const person = await enrolled({ identity: WHO })
  const started = await initiateFromPage(person.tokenId, {}, { 'CF-Connecting-IP': freshAddress() })
  const { sessionId, claimed: opened, secrets } = await claimed(started, person)
  onTestFinished(() => {
    vi.useRealTimers()
  })
  vi.setSystemTime(Date.now() + 121_000)
  const late = await person.approve(sessionId, opened)
  expect(late).toMatchObject({ status: 404, body: { code: 'session_not_found' } })
  for (const [place, text] of Object.entries({
    ...(await dumpD1()),
    ...(await dumpObjects(known)),
  })) {
    expect(found(text, { ...PERSON, ...secrets }), place).toEqual([])
  }
})

test('privacy: an answer never holds more of the person than was granted', async () => {
  const bar = await openCuriousBar()
  const person = await enrolled({ identity: WHO })
  const {
    sessionId,
    claimed: opened,
    browser,
  } = await claimed(await initiate(bar, person.tokenId), person)
  const answer = await person.approve(sessionId, opened, {
    payload: { grantedScopes: ['identity:age_over_18'] },
  })
  const event = await browser.event('approved')
  expect(found(JSON.stringify([answer.body, event, opened]), PERSON)).toEqual([])
})
