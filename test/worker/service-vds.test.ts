/** The Service VDS from its issue to its withdrawal (5-security 4.13). */
import { Sign1 } from '@auth0/cose'
import { decode } from 'cborg'
import { calculateJwkThumbprint, importJWK, type JWK } from 'jose'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { fromBase64url, toBase64url } from '../../src/bytes.ts'
import { readQr } from '../unit/qr-reader.ts'
import { untouched, wait } from './hosted.ts'
import { scan } from './scan.ts'
import {
  changeBar,
  codeOf,
  currentVds,
  lastingVds,
  presentBy,
  presentFromPage,
  read,
  reissue,
  SERVICE,
  showVds,
  unpack,
  withdraw,
} from './service-texts.ts'
import { dumpD1 } from './storage.ts'
import {
  type Answer,
  BAR_ORIGIN,
  BAR_REGISTRATION,
  type Bar,
  connect,
  enrolled,
  ISSUER,
  openBar,
  operator,
  type Person,
  post,
  send,
} from './world.ts'

const DAY = 86_400
const DISABLED = [403, 'service_disabled']
const NOT_FOUND = [404, 'not_found']

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

describe('what is shown', () => {
  test('vds: the text and its end, to anybody, kept by no cache', async () => {
    const { status, headers, body } = await showVds()
    expect(status).toBe(200)
    expect(Object.keys(body).sort()).toEqual(['expiresAt', 'serviceVds'])
    expect(body.serviceVds).toMatch(/^HC1:6BF[0-9A-Z $%*+./:-]+$/)
    const days = (Date.parse(body.expiresAt) - Date.now()) / (DAY * 1000)
    expect(days).toBeGreaterThan(364)
    expect(days).toBeLessThanOrEqual(365.001)
    expect(headers.get('Access-Control-Allow-Origin')).toBe('*')
    expect(headers.get('Cache-Control')).toBe('no-store')
  })

  test('vds: it says what is registered, and nothing more', async () => {
    const policyUri = 'https://bar.example/privacy'
    const logoUri = 'https://bar.example/logo.png'
    await changeBar({
      policyUri,
      logoUri,
      allowedScopes: ['profile', 'identity:given_name', 'identity:age_over_18'],
    })
    const { issuedAt, expiresAt, cti, ...content } = (await read(await currentVds())).content
    expect(content).toEqual({
      issuer: ISSUER,
      serviceId: 'bar-le-central',
      key: null,
      name: 'Bar le Central',
      url: `${BAR_ORIGIN}/`,
      logoUri,
      policyUri,
      // Atoms, sorted.
      scopes: ['identity:age_over_18', 'identity:given_name', 'identity:name'],
      origins: [BAR_ORIGIN],
    })
    expect(expiresAt - issuedAt).toBe(365 * DAY)
    expect(fromBase64url(cti)).toHaveLength(16)
  })

  test('vds: its QR, which a camera reads back', async () => {
    const { status, headers, body } = await showVds(bar.serviceId, '?format=svg')
    expect(status).toBe(200)
    expect(headers.get('Content-Type')).toBe('image/svg+xml')
    expect(headers.get('Cache-Control')).toBe('no-store')
    const [, size = ''] = /viewBox="0 0 (\d+) \1"/.exec(body) ?? []
    const [, path = ''] = /<path fill="#000" d="([^"]+)"\/>/.exec(body) ?? []
    expect(readQr(Number(size), path)).toBe(text)
    expect(body).not.toMatch(/<script|onload|href/)
  })

  test('vds: another format, method or service', async () => {
    expect(codeOf(await showVds(bar.serviceId, '?format=png'))).toEqual([400, 'invalid_request'])
    expect(codeOf(await showVds('nobody'))).toEqual(NOT_FOUND)
    expect((await send('POST', '/services/bar-le-central/vds', '{}')).status).toBe(405)
    expect((await send('HEAD', '/services/bar-le-central/vds')).status).toBe(200)
  })

  test('vds: a phone verifies it alone, with the device keys and COSE tools that aren’t ours', async () => {
    const { keys } = (await send('GET', '/.well-known/device-jwks.json')).body as { keys: JWK[] }
    const message = Sign1.decode(await unpack(text))
    const kid = toBase64url(new Uint8Array(message.kid ?? []))
    expect(fromBase64url(kid)).toHaveLength(8)
    const [jwk, ...others] = keys.filter((key) => key.kid === kid)
    if (jwk === undefined) throw new Error('no such key')
    expect(others).toEqual([])
    expect(jwk).not.toHaveProperty('d')
    const thumbprint = fromBase64url(await calculateJwkThumbprint(jwk)) ?? new Uint8Array()
    expect(kid).toBe(toBase64url(thumbprint.slice(0, 8)))
    await expect(message.verify(await importJWK(jwk, 'ES256'))).resolves.toBeUndefined()
    const claims = decode(message.payload, { useMaps: true }) as Map<number, unknown>
    expect([claims.get(1), claims.get(2)]).toEqual([ISSUER, 'bar-le-central'])

    // No other key of ours has signed it, and this one is none of those for tokens.
    for (const other of keys.filter((key) => key !== jwk)) {
      await expect(message.verify(await importJWK(other, 'ES256'))).rejects.toThrow()
    }
    for (const path of ['/jwks', '/.well-known/jwks.json']) {
      const tokens = (await send('GET', path)).body.keys as JWK[]
      expect(tokens.map(({ x }) => x)).not.toContain(jwk.x)
    }
  })
})

describe('when there is a new one', () => {
  test('vds: a registration that says the same keeps the text', async () => {
    const rows = (await dumpD1()).service_vds
    expect((await changeBar()).status).toBe(200)
    expect((await changeBar({ confirmation: 'transfer', tokenLifetimeSeconds: 60 })).status).toBe(
      200,
    )
    expect(await currentVds()).toBe(text)
    expect((await dumpD1()).service_vds).toBe(rows)
  })

  test.each<[string, Record<string, unknown>]>([
    ['name', { name: 'Bar du Nord' }],
    ['url', { url: `${BAR_ORIGIN}/other` }],
    ['origins', { origins: [BAR_ORIGIN, 'https://bar.example'] }],
    ['scopes', { allowedScopes: [...BAR_REGISTRATION.allowedScopes, 'identity:age_over_21'] }],
    ['logo', { logoUri: 'https://bar.example/logo.png' }],
    ['policy', { policyUri: 'https://bar.example/privacy' }],
  ])('vds: a changed %s is in the next text, at once', async (_name, changes) => {
    expect((await changeBar(changes)).status).toBe(200)
    const next = await currentVds()
    expect(next).not.toBe(text)
    const { scopes: _scopes, ...content } = (await read(next)).content
    const { allowedScopes: _allowed, ...said } = changes
    expect(content).toMatchObject(said)
    // The last one still stands: it was said of the same service, and only lowers.
    expect((await present(text)).status).toBe(200)
  })

  test('vds: a refused registration issues none', async () => {
    const before = await dumpD1()
    expect(
      (await changeBar({ name: 'Bar du Nord', policyUri: 'javascript:alert(1)' })).status,
    ).toBe(400)
    expect(await dumpD1()).toEqual(before)
  })

  test('vds: shortly before its end a registration renews it', async () => {
    text = await lastingVds()
    wait(304 * DAY)
    await changeBar()
    expect(await currentVds()).toBe(text)
    wait(2 * DAY)
    await changeBar()
    expect(await currentVds()).not.toBe(text)
  })

  test('vds: issued anew: the newest is in force, the last still stands', async () => {
    const { status, body } = await reissue()
    expect(status).toBe(200)
    expect(body).toEqual({
      serviceId: 'bar-le-central',
      serviceVds: expect.stringMatching(/^HC1:6BF/),
      expiresAt: expect.any(String),
    })
    expect(body.serviceVds).not.toBe(text)
    expect((await showVds()).body).toEqual({
      serviceVds: body.serviceVds,
      expiresAt: body.expiresAt,
    })
    for (const one of [text, body.serviceVds]) expect((await present(one)).status).toBe(200)
    const audited = (await dumpD1()).audit
    expect(audited).toContain('vds_issued')
    expect(audited).not.toContain('HC1:')
  })

  test('vds: of several within one second the last is in force', async () => {
    wait(0)
    for (let i = 0; i < 12; i++) {
      const { body } = await reissue()
      expect(await currentVds()).toBe(body.serviceVds)
    }
    await changeBar({ name: 'Bar du Nord' })
    expect((await read(await currentVds())).content.name).toBe('Bar du Nord')
  })

  test('170 vds: issued anew without the others: they are refused at once', async () => {
    const [first, second] = [text, (await reissue()).body.serviceVds]
    const { body } = await reissue({ withdrawOthers: true })
    for (const old of [first, second]) {
      const refused = await untouched(() => present(old, { tokenId: person.tokenId }))
      expect(codeOf(refused)).toEqual(DISABLED)
    }
    expect((await present(body.serviceVds)).status).toBe(200)
    expect(await currentVds()).toBe(body.serviceVds)
  })

  test('vds: only the operator, about a service there is, with what there is to say', async () => {
    const json = { 'Content-Type': 'application/json' }
    for (const path of [`${SERVICE}/vds`, `${SERVICE}/vds/withdraw`]) {
      for (const headers of [json, { ...json, ...bar.basic }]) {
        expect((await untouched(() => send('POST', path, '{}', headers))).status).toBe(401)
      }
      const nobody = path.replace('bar-le-central', 'nobody')
      expect(codeOf(await operator('POST', nobody, {}))).toEqual(NOT_FOUND)
      expect((await operator('POST', path, { unknown: true })).status).toBe(400)
    }
    expect((await reissue({ withdrawOthers: 'yes' })).status).toBe(400)
    expect(await currentVds()).toBe(text)
  })
})

describe('what a registration may name', () => {
  const bad = [
    ['data:', 'data:image/svg+xml,<svg onload="alert(1)"/>'],
    ['javascript:', 'javascript:alert(1)'],
    ['http', 'http://bar.example/logo.svg'],
    ['a private address', 'https://10.0.0.1/logo.png'],
    ['the cloud’s own', 'https://169.254.169.254/latest/meta-data'],
    ['this machine', 'https://localhost/logo.png'],
    ['an inner name', 'https://logo.internal/'],
    ['IPv6 of this machine', 'https://[::1]/logo.png'],
    ['a fragment', 'https://bar.example/#x'],
    ['userinfo', 'https://bar@bar.example/'],
    ['a relative one', '/logo.png'],
  ]
  for (const member of ['policyUri', 'logoUri']) {
    test.each(bad)(`167 vds: ${member} of %s`, async (_name, value) => {
      const refused = await untouched(() => changeBar({ [member]: value }))
      expect(refused.body).toMatchObject({ status: 400, code: 'invalid_request', member })
      expect(await currentVds()).toBe(text)
    })
  }

  test.each([
    'https://sector.example',
    'javascript:alert(1)',
    'data:,x',
    'sector.example/path',
    'sector.example:443',
    '',
  ])('167 vds: a sector %j is no host, and none is ever fetched', async (sectorIdentifier) => {
    const refused = await untouched(() => changeBar({ sectorIdentifier }))
    expect(refused.body).toMatchObject({
      ...{ status: 400, code: 'invalid_request', member: 'sectorIdentifier' },
    })
  })

  test('167 vds: what is right is taken, and nobody calls there', async () => {
    const fetched = vi.spyOn(globalThis, 'fetch')
    const answer = await changeBar({
      policyUri: 'https://bar.example/privacy',
      logoUri: 'https://bar.example/logo.svg',
      sectorIdentifier: 'sector.example',
    })
    expect(answer.status).toBe(200)
    await currentVds()
    await present(await currentVds())
    expect(fetched).not.toHaveBeenCalled()
    fetched.mockRestore()
  })
})

describe('switched off, withdrawn', () => {
  test('170 vds: a disabled service: refused at once, and its text is shown no more', async () => {
    await changeBar({ enabled: false })
    const attempts = [
      () => present(text, { tokenId: person.tokenId }),
      () => present(text),
      () => presentFromPage(text),
      () => post('/auth/initiate', { serviceId: bar.serviceId }, bar.basic),
      () => present(text, { purpose: 'register' }),
    ]
    for (const attempt of attempts) expect(codeOf(await untouched(attempt))).toEqual(DISABLED)
    expect(codeOf(await showVds())).toEqual(NOT_FOUND)
    expect(codeOf(await showVds(bar.serviceId, '?format=svg'))).toEqual(NOT_FOUND)
    await changeBar({ enabled: true })
    expect((await present(text)).status).toBe(200)
  })

  test('170 vds: withdrawn while unexpired', async () => {
    const { status, body } = await withdraw()
    expect([status, body]).toEqual([200, { serviceId: 'bar-le-central', withdrawn: 1 }])
    for (const attempt of [() => present(text), () => presentFromPage(text)]) {
      expect(codeOf(await untouched(attempt))).toEqual(DISABLED)
    }
    expect(codeOf(await showVds())).toEqual(NOT_FOUND)
    expect((await dumpD1()).audit).toContain('vds_withdrawn')
    // The service itself is as good as before, by its name.
    expect((await post('/auth/initiate', { serviceId: bar.serviceId }, bar.basic)).status).toBe(200)
    expect((await withdraw()).body.withdrawn).toBe(0)

    const { serviceVds } = (await reissue()).body
    expect((await present(serviceVds)).status).toBe(200)
    expect(codeOf(await present(text))).toEqual(DISABLED)
    expect(await currentVds()).toBe(serviceVds)
  })

  test('170 vds: the text of one service is not withdrawn with another’s', async () => {
    await openBar({ name: 'Cinema' }, 'cinema')
    await withdraw()
    expect((await read(await currentVds('cinema'))).content.name).toBe('Cinema')
  })

  test('170 vds: open logins of a disabled service are refused at their next step', async () => {
    const scanned = (await present(text)).body
    const claimed = (await present(text)).body
    const approved = (await presentFromPage(text)).body
    const { body: toApprove } = await scan(person, claimed.qr)
    const { body: done } = await scan(person, approved.qr)
    const page = await connect(approved)
    await person.approve(approved.sessionId, done)
    const { code } = await page.event('approved')
    const watching = await connect(claimed)
    await changeBar({ enabled: false })

    const phone = await enrolled({ push: false })
    expect(codeOf(await scan(phone, scanned.qr))).toEqual(DISABLED)
    expect(codeOf(await person.approve(claimed.sessionId, toApprove))).toEqual(DISABLED)
    expect((await watching.event('rejected')).reason).toBe('declined')
    const redeemed = await post('/auth/result', { sessionId: approved.sessionId, code }, bar.basic)
    expect(codeOf(redeemed)).toEqual(DISABLED)
    expect(watching.events.map(({ type }) => type)).not.toContain('approved')
  })

  test('170 vds: open logins begun by a withdrawn one are refused at their next step, others go on', async () => {
    const scanned = (await present(text)).body
    const claimed = (await present(text)).body
    const approved = (await presentFromPage(text)).body
    const byName = (await post('/auth/initiate', { serviceId: bar.serviceId }, bar.basic)).body
    const { body: toApprove } = await scan(person, claimed.qr)
    const { body: done } = await scan(person, approved.qr)
    await person.approve(approved.sessionId, done)
    const { code } = await (await connect(approved)).event('approved')
    const watching = await connect(claimed)
    const { serviceVds } = (await reissue({ withdrawOthers: true })).body
    const after = (await present(serviceVds)).body

    const phone = await enrolled({ push: false })
    expect(codeOf(await scan(phone, scanned.qr))).toEqual(DISABLED)
    expect(codeOf(await person.approve(claimed.sessionId, toApprove))).toEqual(DISABLED)
    expect((await watching.event('rejected')).reason).toBe('declined')
    expect((await (await connect(approved)).closed).code).toBe(4004)
    const redeemed = await post('/auth/result', { sessionId: approved.sessionId, code }, bar.basic)
    expect(codeOf(redeemed)).toEqual([404, 'session_not_found'])
    for (const login of [byName, after]) {
      const { body } = await scan(phone, login.qr)
      expect((await phone.approve(login.sessionId, body)).status).toBe(200)
    }
  })

  test('170 vds: what was withdrawn long ago is forgotten, and refused all the same', async () => {
    await reissue({ withdrawOthers: true })
    wait(3601)
    await reissue()
    expect((await dumpD1()).service_vds).not.toContain(text)
    expect(codeOf(await untouched(() => present(text)))).toEqual(DISABLED)
  })
})
