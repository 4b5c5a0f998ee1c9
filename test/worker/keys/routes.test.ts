import { env } from 'cloudflare:workers'
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose'
import { beforeEach, describe, expect, it } from 'vitest'
import { jwksRoutes } from '../../../src/keys/routes.ts'
import { createKeyRing, insertKey } from '../../../src/keys/store.ts'
import { rsaKey } from './rsa-key.ts'
import { secretOf } from './secret.ts'

const PATHS = ['/.well-known/jwks.json', '/jwks', '/.well-known/device-jwks.json']
let worlds = 0

function world() {
  worlds += 1
  const issuer = `https://jwks-${worlds}.example.com`
  const ring = createKeyRing({ db: env.DB, master: secretOf(1), issuer, now: () => 1_000_000 })
  const app = jwksRoutes(() => ring)
  const ask = (path: string, init?: RequestInit) => app.fetch(new Request(`${issuer}${path}`, init))
  return { issuer, ring, ask }
}

beforeEach(async () => {
  await insertKey(env.DB, await rsaKey())
})

describe('JWKS documents', () => {
  it('323 are equal at both addresses, public, and hold no push key; the device document holds no token key', async () => {
    const { ask } = world()
    const [wellKnown, short, device] = await Promise.all(
      PATHS.map(async (path) => (await ask(path)).json<JSONWebKeySet>()),
    )
    expect(wellKnown).toEqual(short)
    const kids = [...(wellKnown?.keys ?? []), ...(device?.keys ?? [])].map((key) => key.kid)
    expect(new Set(kids).size).toBe(4)
    const text = expect.stringMatching(/^[A-Za-z0-9_-]+$/)
    const kid = expect.stringMatching(/^[A-Za-z0-9_-]{43}$/)
    const p256 = { kty: 'EC', crv: 'P-256', x: text, y: text, kid, use: 'sig', alg: 'ES256' }
    const rsa = { kty: 'RSA', n: text, e: 'AQAB', kid, use: 'sig', alg: 'RS256' }
    // What signs a Service VDS is named as a Service VDS can name it, by eight bytes.
    const service = { ...p256, kid: expect.stringMatching(/^[A-Za-z0-9_-]{11}$/) }
    expect([wellKnown, device]).toEqual([{ keys: [p256, rsa] }, { keys: [p256, service] }])
  })

  it('323 tokens verify against what is served; pushes never do', async () => {
    const { ask, ring, issuer } = world()
    const served = createLocalJWKSet(await (await ask('/jwks')).json<JSONWebKeySet>())
    const claims = { iss: issuer, aud: 'shop', sub: 's', iat: 1_000_000, exp: 1_003_600 }
    const now = new Date(1_000_001_000)
    const token = await ring.signToken(claims)
    const { payload } = await jwtVerify(token, served, {
      issuer,
      audience: 'shop',
      currentDate: now,
    })
    expect(payload).toEqual(claims)
    for (const alg of ['ES256', 'RS256'] as const) {
      const wanted = { issuer, audience: 'shop', currentDate: now, algorithms: [alg] }
      const idToken = await jwtVerify(await ring.signIdToken(claims, alg), served, wanted)
      expect(idToken.payload).toEqual(claims)
      const logout = await ring.signLogoutToken(claims, alg)
      await jwtVerify(logout, served, { ...wanted, typ: 'logout+jwt' })
    }

    const push = await ring.signPush(claims)
    await expect(jwtVerify(push, served, { currentDate: now })).rejects.toThrow()
    const device = createLocalJWKSet(
      await (await ask('/.well-known/device-jwks.json')).json<JSONWebKeySet>(),
    )
    const opened = await jwtVerify(push, device, { currentDate: now, typ: 'idtoken-push+jwt' })
    expect(opened.payload).toEqual(claims)
  })

  it.each(PATHS)(
    '326 GET %s: cacheable JSON with a strong tag, readable by any page',
    async (path) => {
      const { ask } = world()
      const answer = await ask(path)
      const body = await answer.text()
      expect(answer.status).toBe(200)
      expect(answer.headers.get('Cache-Control')).toBe(
        'public, max-age=300, s-maxage=60, stale-while-revalidate=600, stale-if-error=86400',
      )
      expect(answer.headers.get('Content-Type')).toBe('application/json')
      expect(answer.headers.get('Access-Control-Allow-Origin')).toBe('*')
      expect(answer.headers.get('ETag')).toMatch(/^"[A-Za-z0-9_-]{43}"$/)
      expect(answer.headers.get('Content-Length')).toBe(String(body.length))
      expect(answer.headers.get('Set-Cookie')).toBeNull()
    },
  )

  it('326 HEAD has the headers of GET and no body', async () => {
    const { ask } = world()
    const [get, head] = [await ask('/jwks'), await ask('/jwks', { method: 'HEAD' })]
    expect(head.status).toBe(200)
    expect(await head.text()).toBe('')
    expect(Object.fromEntries(head.headers)).toEqual(Object.fromEntries(get.headers))
  })

  it('326 If-None-Match: 304 for who has it, 200 for others', async () => {
    const { ask } = world()
    const etag = (await ask('/jwks')).headers.get('ETag') ?? ''
    const status = async (tags: string, method = 'GET') => {
      const answer = await ask('/jwks', { method, headers: { 'If-None-Match': tags } })
      expect(answer.headers.get('ETag')).toBe(etag)
      expect(answer.headers.get('Access-Control-Allow-Origin')).toBe('*')
      expect(answer.headers.get('Cache-Control')).toMatch(/^public, max-age=300/)
      if (answer.status === 304) expect(await answer.text()).toBe('')
      return answer.status
    }
    expect(await status(etag)).toBe(304)
    expect(await status(etag, 'HEAD')).toBe(304)
    expect(await status(`W/${etag}`)).toBe(304)
    expect(await status(`"other", ${etag}`)).toBe(304)
    expect(await status('*')).toBe(304)
    expect(await status('"other"')).toBe(200)
    expect(await status(etag.slice(1, -1))).toBe(200)
  })

  it.each(['POST', 'PUT', 'DELETE', 'PATCH'])('%s is 405 and says what exists', async (method) => {
    const { ask } = world()
    for (const path of PATHS) {
      const answer = await ask(path, { method })
      expect(answer.status).toBe(405)
      expect(answer.headers.get('Allow')).toBe('GET, HEAD, OPTIONS')
      expect(answer.headers.get('Cache-Control')).toBe('no-store')
    }
  })

  it('326 a page that revalidates may', async () => {
    const { ask } = world()
    const headers = {
      Origin: 'https://shop.example',
      'Access-Control-Request-Method': 'GET',
      'Access-Control-Request-Headers': 'if-none-match',
    }
    const answer = await ask('/jwks', { method: 'OPTIONS', headers })
    expect(answer.status).toBe(204)
    expect(answer.headers.get('Access-Control-Allow-Origin')).toBe('*')
    expect(answer.headers.get('Access-Control-Allow-Headers')).toBe('If-None-Match')
    expect(answer.headers.get('Access-Control-Allow-Methods')).toBe('GET, HEAD')
  })

  it.each(["purpose = 'token'", "alg = 'RS256'", "purpose = 'token' AND alg = 'ES256'"])(
    '318 a broken key (%s) is an error, not a set without it that caches would keep',
    async (which) => {
      await world().ring.check()
      await env.DB.prepare(`UPDATE signing_key SET wrapped_private_key = '' WHERE ${which}`).run()
      const { ask } = world()
      const answer = await ask('/jwks')
      expect(answer.status).toBe(500)
      expect(answer.headers.get('Cache-Control')).toBeNull()
      expect((await ask('/.well-known/device-jwks.json')).status).toBe(200)
    },
  )
})
