/** What a Service VDS is worth to whoever presents it (5-security 4.13). */
import { calculateJwkThumbprint, type JWK } from 'jose'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { fromBase64url } from '../../src/bytes.ts'
import { makeServiceVds, type ServiceVdsContent } from '../../src/seal/service-vds.ts'
import { OPERATOR_TOKEN } from './bindings.ts'
import { untouched, wait } from './hosted.ts'
import { workerWith } from './other-worker.ts'
import { scan } from './scan.ts'
import {
  changeBar,
  codeOf,
  currentVds,
  lastingVds,
  pack,
  presentBy,
  presentFromPage,
  read,
  SERVICE,
  showVds,
  unpack,
  withdraw,
} from './service-texts.ts'
import {
  type Answer,
  BAR_ORIGIN,
  BAR_REGISTRATION,
  type Bar,
  connect,
  enrolled,
  eventually,
  freshAddress,
  ISSUER,
  openBar,
  type Person,
  post,
  send,
} from './world.ts'

const DAY = 86_400
const DISABLED = [403, 'service_disabled']
const NOT_FOUND = [404, 'not_found']
const INVALID = [400, 'invalid_service_vds']

let bar: Bar
let person: Person
/** The Service VDS that the bar got when it was registered. */
let text: string
beforeEach(async () => {
  bar = await openBar()
  person = await enrolled()
  text = await currentVds()
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

/** The bar's back end presents `serviceVds`. */
function present(serviceVds: string, more: object = {}, headers = bar.basic): Promise<Answer> {
  return presentBy(headers, serviceVds, more)
}

/** `bytes` with one bit of the byte at `index` changed. */
function flipped(bytes: Uint8Array, index: number): Uint8Array {
  return bytes.map((byte, i) => (i === index ? byte ^ 1 : byte))
}

/** A text over `content` by a key of somebody else, who names it `kid`. */
async function forged(content: ServiceVdsContent, kid: Uint8Array<ArrayBuffer>): Promise<string> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
  const pair = (await crypto.subtle.generateKey(algorithm, false, [
    'sign',
    'verify',
  ])) as CryptoKeyPair
  const sign = async (bytes: Uint8Array<ArrayBuffer>) =>
    new Uint8Array(
      await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, pair.privateKey, bytes),
    )
  const made = await makeServiceVds(content, sign, kid)
  if (!made.ok) throw new Error(made.reason)
  return made.value
}

async function kidOf(serviceVds: string): Promise<Uint8Array<ArrayBuffer>> {
  return fromBase64url((await read(serviceVds)).kid) ?? new Uint8Array()
}

describe('a text that is none', () => {
  test('169 176 vds: any bit of the message flipped', async () => {
    const bytes = await unpack(text)
    expect(bytes.length).toBeGreaterThan(200)
    expect((await present(await pack(bytes))).status).toBe(200)
    await untouched(async () => {
      for (let i = 0; i < bytes.length; i += 5) {
        const refused = await present(await pack(flipped(bytes, i)), { tokenId: person.tokenId })
        expect(codeOf(refused), `byte ${i}`).toEqual(INVALID)
      }
    })
  })

  test.each<[string, () => Promise<string> | string]>([
    ['169 vds: an identity seal, Base45', () => person.seal.base45],
    ['169 vds: an identity seal behind the prefix', () => `HC1:${person.seal.base45}`],
    ['169 vds: an identity seal, Base64url', () => person.seal.base64url],
    ['169 vds: a JWT', () => person.sign('JWT', { iss: ISSUER, sub: 'bar-le-central' })],
    ['169 vds: without its prefix', () => text.slice(4)],
    ['169 vds: in lower case', () => text.toLowerCase()],
    ['169 vds: cut', () => text.slice(0, -3)],
    ['169 vds: with something behind it', () => `${text}AAA`],
    ['169 vds: with a blank before it', () => ` ${text}`],
    [
      '176 vds: characters that aren’t Base45',
      () => `HC1:${text.slice(4, 40)}ab_;${text.slice(44)}`,
    ],
    ['176 vds: Base45 of nothing', () => 'HC1:'],
    ['176 vds: three characters beyond two bytes', () => 'HC1::::'],
    ['176 vds: 5 KiB', () => `HC1:${'A'.repeat(5120)}`],
    ['176 vds: an inflation bomb', () => pack(new Uint8Array(2_000_000))],
    [
      '169 vds: an unknown key',
      async () => forged((await read(text)).content, new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8])),
    ],
    [
      '169 vds: our key’s name under another’s signature',
      async () => forged((await read(text)).content, await kidOf(text)),
    ],
    [
      '169 vds: the push key’s name',
      async () => {
        const { keys } = (await send('GET', '/.well-known/device-jwks.json')).body
        const push = keys.find(({ kid }: JWK) => fromBase64url(kid ?? '')?.length !== 8)
        const kid = fromBase64url(await calculateJwkThumbprint(push))?.slice(0, 8)
        return forged((await read(text)).content, kid ?? new Uint8Array())
      },
    ],
    [
      '177 vds: the text of a deployment under another address, with the very same keys',
      async () => {
        const own = await read(await lastingVds())
        const elsewhere = workerWith({ ISSUER: 'http://localhost:9999' })
        const answer = await elsewhere.send('POST', `${SERVICE}/vds`, '{}', {
          'Content-Type': 'application/json',
          Authorization: `Bearer ${OPERATOR_TOKEN}`,
        })
        expect(answer.status).toBe(200)
        const foreign = await read(answer.body.serviceVds)
        expect(foreign.content.issuer).toBe('http://localhost:9999')
        expect(foreign.kid).toBe(own.kid)
        return answer.body.serviceVds
      },
    ],
    [
      '177 vds: of another deployment, by its key',
      async () =>
        forged(
          { ...(await read(text)).content, issuer: 'http://localhost:9999' },
          new Uint8Array(8).fill(7),
        ),
    ],
  ])('%s', async (_name, make) => {
    const presented = await make()
    for (const more of [{}, { tokenId: person.tokenId }, { serviceId: bar.serviceId }]) {
      const refused = await untouched(() => present(presented, more))
      expect(codeOf(refused)).toEqual(INVALID)
      expect(refused.headers.get('Access-Control-Allow-Origin')).toBeNull()
    }
    expect(codeOf(await untouched(() => presentFromPage(presented)))).toEqual(INVALID)
  })

  test('176 vds: 100 KiB is not read', async () => {
    const refused = await untouched(() => present(`HC1:${'A'.repeat(100 * 1024)}`))
    expect(codeOf(refused)).toEqual([413, 'payload_too_large'])
  })

  test('176 vds: what inflates is no more than it needs', async () => {
    const real = DecompressionStream
    let inflated = 0
    vi.stubGlobal(
      'DecompressionStream',
      class {
        readonly readable: ReadableStream
        readonly writable: WritableStream
        constructor(format: 'deflate') {
          const inner = new real(format)
          const counter = new TransformStream<Uint8Array, Uint8Array>({
            transform(chunk, controller) {
              inflated += chunk.length
              controller.enqueue(chunk)
            },
          })
          this.writable = inner.writable
          this.readable = inner.readable.pipeThrough(counter)
        }
      },
    )
    const bomb = await pack(new Uint8Array(2_500_000))
    expect(bomb.length).toBeLessThan(4096)
    expect(codeOf(await present(bomb))).toEqual(INVALID)
    vi.unstubAllGlobals()
    expect(inflated).toBeGreaterThan(64 * 1024)
    expect(inflated).toBeLessThan(1_000_000)
  })

  test.each(['', 7, null, [], {}])('009 vds: %j is no text', async (serviceVds) => {
    const refused = await untouched(() => post('/auth/initiate', { serviceVds }, bar.basic))
    expect(codeOf(refused)).toEqual([400, 'invalid_request'])
  })

  test.each([0, 30, 61, 40 * DAY])('169 vds: expired, %i s ago', async (seconds) => {
    text = await lastingVds()
    const { expiresAt } = (await read(text)).content
    wait(expiresAt + seconds - Date.now() / 1000 + 0.01)
    const refused = await untouched(() => present(text))
    expect(codeOf(refused)).toEqual([400, 'vds_expired'])
    expect(codeOf(await showVds())).toEqual(NOT_FOUND)
  })
})

describe('who presents it', () => {
  let cinema: Bar
  beforeEach(async () => {
    cinema = await openBar({ origins: ['https://cinema.example'] }, 'cinema')
  })

  test('171 vds: by its service it begins a login, without the name or with it', async () => {
    for (const more of [{}, { serviceId: bar.serviceId }]) {
      const { status, body } = await present(text, { ...more, scopes: ['identity:age_over_18'] })
      expect(status).toBe(200)
      const browser = await connect(body)
      const { body: claimed } = await scan(person, body.qr)
      expect(claimed.service).toMatchObject({ id: bar.serviceId, name: 'Bar le Central' })
      await person.approve(body.sessionId, claimed)
      expect(await browser.event('approved')).toHaveProperty('jwt')
    }
  })

  test('171 vds: from anybody else a copy is worth nothing', async () => {
    const wrong = { Authorization: `Basic ${btoa(`${bar.serviceId}:${cinema.secret}`)}` }
    const copies: Record<string, string>[] = [
      {},
      cinema.basic,
      wrong,
      { Authorization: 'Bearer x' },
      { Origin: 'https://evil.example' },
      { Origin: 'null' },
      { Origin: 'https://cinema.example' },
      { ...cinema.basic, Origin: BAR_ORIGIN },
    ]
    for (const headers of copies) {
      const refused = await untouched(() => present(text, { tokenId: person.tokenId }, headers))
      expect(codeOf(refused), JSON.stringify(headers)).toEqual([401, 'invalid_client'])
    }
  })

  test('171 vds: with a forged Origin it is an anonymous login: a code that nobody else can redeem', async () => {
    const started = await presentFromPage(text)
    expect(started.status).toBe(200)
    const { sessionId } = started.body
    const browser = await connect(started.body)
    const { body: claimed } = await scan(person, started.body.qr)
    await person.approve(sessionId, claimed)
    const approved = await browser.event('approved')
    expect(Object.keys(approved).sort()).toEqual(['code', 'type'])
    const { code } = approved
    const body = { sessionId, code }
    expect(codeOf(await post('/auth/result', body))).toEqual([401, 'invalid_client'])
    expect(codeOf(await post('/auth/result', body, { Origin: BAR_ORIGIN }))).toEqual([
      401,
      'invalid_client',
    ])
    const others = await post('/auth/result', body, cinema.basic)
    expect(codeOf(others)).toEqual([404, 'session_not_found'])
    expect((await post('/auth/result', body, bar.basic)).status).toBe(200)
    expect(JSON.stringify(browser.events)).not.toContain('eyJ')
  })

  test('171 180 vds: and it learns nothing of a number', async () => {
    const known = await presentFromPage(text, BAR_ORIGIN, { tokenId: person.tokenId })
    const unknown = await presentFromPage(text, BAR_ORIGIN, { tokenId: crypto.randomUUID() })
    expect([known.status, unknown.status]).toEqual([200, 200])
    expect(Object.keys(known.body)).toEqual(Object.keys(unknown.body))
    const told = await present(text, { tokenId: crypto.randomUUID() })
    expect(codeOf(told)).toEqual(NOT_FOUND)
  })

  test('171 vds: a page that only the registry names may begin by the registry alone', async () => {
    const origin = 'https://bar.example'
    await changeBar({ origins: [BAR_ORIGIN, origin] })
    const byOld = await untouched(() => presentFromPage(text, origin))
    expect(codeOf(byOld)).toEqual([401, 'invalid_client'])
    expect((await presentFromPage(await currentVds(), origin)).status).toBe(200)
    const headers = { Origin: origin, 'CF-Connecting-IP': freshAddress() }
    const byName = await post('/auth/initiate', { serviceId: bar.serviceId }, headers)
    expect(byName.status).toBe(200)
    // And a page that the registry has dropped, by nothing.
    await changeBar({ origins: [origin] })
    expect(codeOf(await presentFromPage(text))).toEqual([401, 'invalid_client'])
  })

  test('172 vds: with the name of another service', async () => {
    const body = { serviceId: 'cinema', serviceVds: text, tokenId: person.tokenId }
    for (const headers of [bar.basic, cinema.basic, {}]) {
      const refused = await untouched(() => post('/auth/initiate', body, headers))
      expect(codeOf(refused)).toEqual([400, 'invalid_request'])
    }
  })

  test('172 vds: neither of them', async () => {
    const refused = await untouched(() =>
      post('/auth/initiate', { tokenId: person.tokenId }, bar.basic),
    )
    expect(codeOf(refused)).toEqual([400, 'invalid_request'])
  })

  test('173 vds: a service that must present it, and doesn’t', async () => {
    await changeBar({ vdsRequired: true })
    const page = { Origin: BAR_ORIGIN, 'CF-Connecting-IP': freshAddress() }
    for (const headers of [bar.basic, page]) {
      for (const more of [{}, { tokenId: person.tokenId }, { purpose: 'register' }]) {
        const bare = { serviceId: bar.serviceId, ...more }
        const refused = await untouched(() => post('/auth/initiate', bare, headers))
        expect(codeOf(refused)).toEqual([403, 'service_vds_required'])
      }
    }
    expect(await person.pushes()).toEqual([])
    expect((await present(text, { tokenId: person.tokenId })).status).toBe(200)
    expect(await eventually(() => person.pushes())).toHaveLength(1)
    expect((await presentFromPage(text)).status).toBe(200)
    await withdraw()
    expect(codeOf(await untouched(() => present(text)))).toEqual(DISABLED)
  })
})

describe('the smaller ceiling', () => {
  const LESS = ['identity:given_name', 'identity:age_over_18']
  const MORE = [...BAR_REGISTRATION.allowedScopes, 'identity:age_over_21']

  test('174 vds: registered since, but not in the text', async () => {
    await changeBar({ allowedScopes: MORE })
    const scopes = ['identity:age_over_21']
    const refused = await untouched(() => present(text, { scopes }))
    expect(codeOf(refused)).toEqual([422, 'invalid_scope'])
    const required = await untouched(() => present(text, { requiredScopes: scopes }))
    expect(codeOf(required)).toEqual([422, 'invalid_scope'])
    expect((await present(await currentVds(), { scopes })).status).toBe(200)
    expect(
      (await post('/auth/initiate', { serviceId: bar.serviceId, scopes }, bar.basic)).status,
    ).toBe(200)
  })

  test('174 175 vds: in the text, but no longer registered: at once', async () => {
    await changeBar({ allowedScopes: LESS })
    for (const scopes of [['identity:name'], ['profile'], ['identity:nationality']]) {
      const refused = await untouched(() => present(text, { scopes }))
      expect(codeOf(refused)).toEqual([422, 'invalid_scope'])
    }
    const { status, body } = await present(text, { scopes: LESS })
    expect(status).toBe(200)
    const { body: claimed } = await scan(person, body.qr)
    expect(claimed.scopes).toEqual([...LESS].sort())
  })

  test('174 vds: what is in both is granted, and nothing else can be', async () => {
    // Registered: name, nationality, over 21. In the text: what was registered before.
    await changeBar({
      allowedScopes: [
        'identity:name',
        'identity:nationality',
        'identity:age_over_18',
        'identity:age_over_21',
      ],
      defaultScopes: [],
      requiredScopes: [],
    })
    const both = ['identity:age_over_18', 'identity:name', 'identity:nationality']
    const { status, body } = await present(text, { scopes: both })
    expect(status).toBe(200)
    const { body: claimed } = await scan(person, body.qr)
    expect(claimed.scopes).toEqual(both)
    const more = await person.approve(body.sessionId, claimed, {
      payload: { grantedScopes: ['identity:age_over_18', 'identity:age_over_21'] },
    })
    expect(codeOf(more)).toEqual([422, 'invalid_scope'])
    for (const scopes of [['identity:age_over_21'], ['identity:given_name']]) {
      expect(codeOf(await present(text, { scopes }))).toEqual([422, 'invalid_scope'])
    }
  })
})
