/** The token keys as relying parties meet them, in every phase of a rotation (5-security 242, 323). */
import { env } from 'cloudflare:workers'
import {
  calculateJwkThumbprint,
  createLocalJWKSet,
  decodeProtectedHeader,
  type JWK,
  jwtVerify,
} from 'jose'
import { expect, onTestFinished, test, vi } from 'vitest'
import { fromBase64url, toBase64url } from '../../src/bytes.ts'
import { workerWith } from './other-worker.ts'
import { landed } from './redeemed.ts'
import {
  authorizationParameters,
  landingOf,
  REDIRECT_URI,
  redeem,
  VERIFIER,
} from './relying-party.ts'
import { ISSUER, operator, post, send } from './world.ts'

const JWKS = ['/.well-known/jwks.json', '/jwks'] as const
const MEMBERS = {
  EC: ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'],
  RSA: ['alg', 'e', 'kid', 'kty', 'n', 'use'],
}

async function keys(): Promise<JWK[]> {
  const [one, other] = await Promise.all(JWKS.map((path) => send('GET', path)))
  expect(one?.body).toEqual(other?.body)
  return one?.body.keys
}

/** Each key is named by its thumbprint; `short`: those that are named by its first eight bytes, as a Service VDS can say. */
async function expectPublic(set: readonly JWK[], short: readonly JWK[] = []): Promise<void> {
  for (const key of set) {
    expect(Object.keys(key).sort()).toEqual(MEMBERS[key.kty as 'EC' | 'RSA'])
    const thumbprint = fromBase64url(await calculateJwkThumbprint(key)) ?? new Uint8Array()
    expect(key.kid).toBe(toBase64url(short.includes(key) ? thumbprint.slice(0, 8) : thumbprint))
    expect([key.use, key.alg]).toEqual(['sig', key.kty === 'EC' ? 'ES256' : 'RS256'])
    if (key.kty === 'RSA') expect(key.n).toHaveLength(342)
  }
  expect(new Set(set.map(({ kid }) => kid)).size).toBe(set.length)
}

test('323 jwks: two keys, one for each algorithm, public halves only', async () => {
  const set = await keys()
  await expectPublic(set)
  expect(set.map(({ alg }) => alg)).toEqual(['ES256', 'RS256'])
  const device = (await send('GET', '/.well-known/device-jwks.json')).body.keys as JWK[]
  expect(device).toHaveLength(2)
  await expectPublic(device, device.slice(1))
  const kids = new Set(set.map(({ kid }) => kid))
  for (const { kid, kty } of device) expect([kids.has(kid), kty]).toEqual([false, 'EC'])
})

test.each(['ES256', 'RS256'])(
  '323 242 jwks: %s is rotated: old tokens verify, new ones by the new key',
  async (alg) => {
    const { client, code, tab } = await landed({
      oidc: { id_token_signed_response_alg: alg, offline_access: true },
      request: { scope: 'openid offline_access' },
    })
    // Another list of secrets is another memory of keys: what this Worker knows is what D1 holds.
    const second = toBase64url(crypto.getRandomValues(new Uint8Array(32)))
    const own = workerWith({ MASTER_SECRET: `1:${env.MASTER_SECRET},2:${second}` })
    const ask = async (form: Record<string, string>) => {
      const headers = { ...client.basic, 'Content-Type': 'application/x-www-form-urlencoded' }
      const text = new URLSearchParams(form).toString()
      return (await own.send('POST', '/oidc/token', text, headers)).body
    }
    const served = async () => (await own.send('GET', '/jwks')).body.keys as JWK[]
    const tokens = await ask({
      ...{ grant_type: 'authorization_code', code, redirect_uri: REDIRECT_URI },
      code_verifier: VERIFIER,
    })
    const before = await served()
    const retire =
      "UPDATE signing_key SET status = 'retired' WHERE alg = ? AND purpose = 'token' RETURNING kid"
    const { results } = await env.DB.prepare(retire).bind(alg).all()
    expect(results).toHaveLength(1)
    onTestFinished(() => {
      vi.useRealTimers()
    })
    vi.setSystemTime(Date.now() + 301_000)
    const { id_token: fresh } = await ask({
      ...{ grant_type: 'refresh_token', refresh_token: tokens.refresh_token },
    })
    const after = await served()
    await expectPublic(after)
    expect(after).toHaveLength(before.length + 1)
    expect(after).toEqual(expect.arrayContaining(before))
    const set = createLocalJWKSet({ keys: after })
    const options = { currentDate: new Date(), algorithms: [alg], issuer: ISSUER }
    const kids = await Promise.all(
      [tokens.id_token, fresh].map(
        async (token) => (await jwtVerify(token, set, options)).protectedHeader.kid,
      ),
    )
    expect(kids[0]).toBe(results[0]?.kid)
    expect(before.map(({ kid }) => kid)).not.toContain(kids[1])
    // The old token is still a hint of ours.
    const query = new URLSearchParams(
      await authorizationParameters({ prompt: 'none', id_token_hint: tokens.id_token }),
    )
    const hinted = await own.fetch(`/oidc/authorize?${query}`, {
      redirect: 'manual',
      headers: { Cookie: tab.cookieHeader },
    })
    expect(landingOf(hinted).parameters.error).toBe('consent_required')
  },
)

test('325 251 jwks: a key that leaked is removed: its tokens are refused here at once, also by a warm isolate', async () => {
  // The isolate may remember keys of an earlier test, which this database doesn't hold.
  await send('GET', '/health')
  const { client, code, tab } = await landed()
  const { body } = await redeem(client, code)
  const hint = body.id_token
  const { kid } = decodeProtectedHeader(hint)
  const other = workerWith({})
  const query = new URLSearchParams({ id_token_hint: hint })
  const logout = async (send: typeof other.send) =>
    (await send('GET', `/oidc/end-session?${query}`)).status
  expect([await logout(send), await logout(other.send)]).toEqual([200, 200])

  const path = `/operator/keys/${kid}/remove`
  expect((await post(path, { reason: 'leaked' })).status).toBe(401)
  expect((await operator('POST', path, {})).status).toBe(400)
  expect((await operator('POST', '/operator/keys/nobody/remove', { reason: 'x' })).status).toBe(404)
  const removed = await operator('POST', path, { reason: 'leaked' })
  expect([removed.status, removed.body]).toEqual([200, { removed: true, kid }])

  const set = await keys()
  await expectPublic(set)
  expect(set.map(({ alg }) => alg)).toEqual(['ES256', 'RS256'])
  expect(set.map((key) => key.kid)).not.toContain(kid)
  expect([await logout(send), await logout(other.send)]).toEqual([400, 400])
  const asked = await tab.authorize({ prompt: 'none', id_token_hint: hint })
  expect(landingOf(asked).parameters).toMatchObject({ error: 'invalid_request' })

  // The next login is signed by the key that took its place.
  const silent = landingOf(await tab.authorize({ prompt: 'none' }))
  const next = (await redeem(client, silent.parameters.code)).body.id_token
  await jwtVerify(next, createLocalJWKSet({ keys: set }))
  expect((await operator('POST', path, { reason: 'again' })).status).toBe(404)
  const { results } = await env.DB.prepare(
    "SELECT status, wrapped_private_key AS secret, (SELECT count(*) FROM audit WHERE event = 'signing_key_removed') AS rows FROM signing_key WHERE kid = ?",
  )
    .bind(kid)
    .all()
  expect(results).toEqual([{ status: 'removed', secret: '', rows: 1 }])
})
