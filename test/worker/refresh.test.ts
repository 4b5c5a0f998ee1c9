/** Refresh tokens from outside (5-security 83, 4-oidc 3.1): rotation with grace, replay, and what a refreshed answer may say. */
import { env } from 'cloudflare:workers'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import {
  FAMILY_IDLE_SECONDS,
  FAMILY_LONGEST_SECONDS,
  GRACE_SECONDS,
} from '../../src/oidc/refresh-token.ts'
import { workerWith } from './other-worker.ts'
import {
  type About,
  type LoggedIn,
  landed,
  landedAt,
  loggedIn,
  rowsIn,
  verified,
} from './redeemed.ts'
import {
  approve,
  type Client,
  claimsOf,
  redeem,
  registerClient,
  Tab,
  token,
  userinfo,
  waitingIn,
} from './relying-party.ts'
import { dumpD1 } from './storage.ts'
import { type Answer, enrolled, freshAddress, operator } from './world.ts'

const OFFLINE: About = {
  oidc: { offline_access: true },
  request: { scope: 'openid identity:name identity:age_over_18 offline_access' },
}
/** Rounds of a race; the nightly run may take twenty times as many. */
const ROUNDS = 10

function later(seconds: number): void {
  onTestFinished(() => {
    vi.useRealTimers()
  })
  vi.setSystemTime(Date.now() + seconds * 1000)
}

function refresh(
  client: Pick<Client, 'basic'>,
  refreshToken: string,
  more: Record<string, string> = {},
): Promise<Answer> {
  const form = { grant_type: 'refresh_token', refresh_token: refreshToken, ...more }
  return token(form, client.basic)
}

function expectRefused(answer: Answer, error = 'invalid_grant'): void {
  expect([answer.status, answer.body.error]).toEqual([400, error])
  expect(answer.headers.get('Cache-Control')).toBe('no-store')
}

async function generation(): Promise<number | undefined> {
  const row = await env.DB.prepare('SELECT generation FROM refresh_family').first<{
    generation: number
  }>()
  return row?.generation
}

describe('who gets one', () => {
  test.each([
    ['the client may not', { offline_access: false }, 'openid identity:name offline_access'],
    ['it was not asked', { offline_access: true }, 'openid identity:name'],
  ])('refresh: none when %s', async (_, oidc, scope) => {
    const { tokens } = await loggedIn({ oidc, request: { scope } })
    expect(tokens).not.toHaveProperty('refresh_token')
    expect(tokens.scope).toBe('openid identity:name')
    expect(await rowsIn('refresh_family')).toBe(0)
  })

  test('refresh: one who asks and may; the scope says so, and D1 holds no word of the person', async () => {
    const { tokens, person } = await loggedIn(OFFLINE)
    expect(tokens.refresh_token).toEqual(expect.any(String))
    expect(tokens.scope).toBe('openid identity:name identity:age_over_18 offline_access')
    const { refresh_family: family = '' } = await dumpD1()
    expect(JSON.parse(family)).toEqual([
      {
        family_id: expect.stringMatching(/^[\w-]{22}$/),
        grant_id: expect.stringMatching(/^[\w-]{22}$/),
        generation: 0,
        rotated_at: expect.any(Number),
        started_at: expect.any(Number),
        expires_at: expect.any(Number),
      },
    ])
    expect(family).not.toContain(person.tokenId)
    expect(tokens.refresh_token).not.toContain(person.tokenId)
  })

  test('refresh: a client that lost the right loses its tokens with it', async () => {
    const { client, tokens } = await loggedIn(OFFLINE)
    await registerClient({ offline_access: false })
    expectRefused(await refresh(client, tokens.refresh_token), 'unauthorized_client')
    await registerClient({ offline_access: true })
    expect((await refresh(client, tokens.refresh_token)).status).toBe(200)
  })

  test('refresh: a public client may have them too, each for one use', async () => {
    const about = { ...OFFLINE, oidc: { offline_access: true, token_endpoint_auth_method: 'none' } }
    const { client, tokens } = await loggedIn(about)
    const form = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token }
    const first = await token({ ...form, client_id: client.clientId })
    expect(first.status).toBe(200)
    later(GRACE_SECONDS + 1)
    expectRefused(await token({ ...form, client_id: client.clientId }))
  })
})

describe('the answer', () => {
  test('083 refresh: same person, same login, no nonce; tokens that work', async () => {
    const { client, tokens } = await loggedIn(OFFLINE)
    const before = claimsOf(tokens.id_token)
    later(10)
    const answer = await refresh(client, tokens.refresh_token)
    expect(answer.status).toBe(200)
    expect(answer.headers.get('Cache-Control')).toBe('no-store')
    expect(answer.body).toEqual({
      access_token: expect.any(String),
      token_type: 'Bearer',
      expires_in: 3600,
      id_token: expect.any(String),
      refresh_token: expect.any(String),
      scope: tokens.scope,
    })
    const { payload } = await verified(answer.body.id_token)
    const { nonce: _, ...stays } = before
    expect(payload).toEqual({
      ...stays,
      iat: Number(before.iat) + (Number(payload.iat) - Number(before.iat)),
      exp: Number(payload.iat) + 3600,
      at_hash: expect.any(String),
    })
    expect(payload).not.toHaveProperty('nonce')
    expect(Number(payload.iat)).toBeGreaterThanOrEqual(Number(before.iat) + 9)
    expect(payload.at_hash).not.toBe(before.at_hash)
    expect(new Set([answer.body.access_token, tokens.access_token]).size).toBe(2)
    expect(new Set([answer.body.refresh_token, tokens.refresh_token]).size).toBe(2)
    const [old, fresh] = [
      await userinfo(tokens.access_token),
      await userinfo(answer.body.access_token),
    ]
    expect([old.status, fresh.status]).toEqual([200, 200])
    expect(fresh.body).toEqual(old.body)
  })

  test('refresh: an RS256 client goes on with RS256, and what the record says now counts', async () => {
    const { client, tokens } = await loggedIn({
      ...OFFLINE,
      oidc: { offline_access: true, id_token_signed_response_alg: 'RS256' },
    })
    await verified(tokens.id_token, 'bar-le-central', 'RS256')
    const again = await refresh(client, tokens.refresh_token)
    await verified(again.body.id_token, 'bar-le-central', 'RS256')
    await registerClient({ offline_access: true, id_token_ttl: 60, claims_in_id_token: false })
    const { body } = await refresh(client, again.body.refresh_token)
    const { payload } = await verified(body.id_token)
    expect(Number(payload.exp) - Number(payload.iat)).toBe(60)
    expect(payload).not.toHaveProperty('given_name')
    expect((await userinfo(body.access_token)).body).toHaveProperty('given_name')
  })

  test('refresh: a narrower scope gives fewer claims, for this answer only', async () => {
    const { client, tokens } = await loggedIn(OFFLINE)
    const narrow = await refresh(client, tokens.refresh_token, {
      scope: 'identity:age_over_18 openid',
    })
    expect(narrow.body.scope).toBe('openid identity:age_over_18')
    expect((await userinfo(narrow.body.access_token)).body).toEqual({
      sub: claimsOf(tokens.id_token).sub,
      age_over_18: true,
    })
    expect(claimsOf(narrow.body.id_token)).not.toHaveProperty('given_name')
    const whole = await refresh(client, narrow.body.refresh_token)
    expect(whole.body.scope).toBe(tokens.scope)
    expect((await userinfo(whole.body.access_token)).body).toHaveProperty('given_name', 'Jean')
  })

  test.each([
    'openid identity:date_of_birth',
    'openid identity:photo',
    'openid profile',
    'openid unknown',
    'OPENID',
    'email',
    'identity:name,openid',
  ])(
    'refresh: the scope "%s" is more than was granted: invalid_scope, nothing is spent',
    async (scope) => {
      const { client, tokens } = await loggedIn(OFFLINE)
      expectRefused(await refresh(client, tokens.refresh_token, { scope }), 'invalid_scope')
      expect(await generation()).toBe(0)
      later(GRACE_SECONDS + 1)
      expect((await refresh(client, tokens.refresh_token)).status).toBe(200)
    },
  )

  test('refresh: what the person had switched off does not come back', async () => {
    const { client, tokens } = await loggedIn({ ...OFFLINE, granted: ['identity:age_over_18'] })
    expectRefused(
      await refresh(client, tokens.refresh_token, { scope: 'openid identity:name' }),
      'invalid_scope',
    )
    const { body } = await refresh(client, tokens.refresh_token)
    expect(body.scope).toBe('openid identity:age_over_18 offline_access')
    expect(Object.keys((await userinfo(body.access_token)).body)).toEqual(['age_over_18', 'sub'])
  })

  test('090 refresh: without openid there is no id_token, and userinfo is 403', async () => {
    const { client, tokens } = await loggedIn(OFFLINE)
    const { status, body } = await refresh(client, tokens.refresh_token, { scope: 'identity:name' })
    expect([status, body.scope]).toEqual([200, 'identity:name'])
    expect(body).not.toHaveProperty('id_token')
    const info = await userinfo(body.access_token)
    expect([info.status, info.body.error]).toEqual([403, 'insufficient_scope'])
    expect(info.headers.get('WWW-Authenticate')).toMatch(
      /^Bearer realm="[^"]+", error="insufficient_scope"/,
    )
    expect(JSON.stringify(info.body)).not.toContain('Jean')
    const whole = await refresh(client, body.refresh_token)
    expect((await userinfo(whole.body.access_token)).status).toBe(200)
  })
})

describe('rotation', () => {
  test('083 refresh: inside its grace the last token still gets the one successor', async () => {
    const { client, tokens } = await loggedIn(OFFLINE)
    // The clock stands still from here, or a second that ends between two calls would be one too many.
    later(0)
    const first = await refresh(client, tokens.refresh_token)
    later(GRACE_SECONDS)
    const again = await refresh(client, tokens.refresh_token)
    expect([first.status, again.status, await generation()]).toEqual([200, 200, 1])
    // Both are one and the same generation: using the one ends the other, a grace later.
    const next = await refresh(client, again.body.refresh_token)
    expect([next.status, await generation()]).toEqual([200, 2])
    expect((await refresh(client, first.body.refresh_token)).status).toBe(200)
    expect(await generation()).toBe(2)
    later(GRACE_SECONDS + 1)
    expectRefused(await refresh(client, first.body.refresh_token))
    expectRefused(await refresh(client, next.body.refresh_token))
  })

  test('083 refresh: after the grace a copy is about, and the whole family dies', async () => {
    const { client, tokens } = await loggedIn(OFFLINE)
    const { body } = await refresh(client, tokens.refresh_token)
    later(GRACE_SECONDS + 1)
    expectRefused(await refresh(client, tokens.refresh_token))
    expectRefused(await refresh(client, body.refresh_token))
    expect(await rowsIn('refresh_family')).toBe(0)
    for (const token of [tokens.access_token, body.access_token]) {
      expect((await userinfo(token)).status).toBe(401)
    }
    const audited = () =>
      env.DB.prepare("SELECT detail FROM audit WHERE event = 'replayed'").all<{ detail: string }>()
    const { results } = await audited()
    expect(results.map(({ detail }) => JSON.parse(detail))).toEqual([
      {
        service: 'bar-le-central',
        what: 'refresh_token',
        grant: expect.stringMatching(/^[\w-]{22}$/),
        requestId: expect.any(String),
      },
    ])
    // Again and again changes nothing.
    expectRefused(await refresh(client, tokens.refresh_token))
    expect((await audited()).results).toHaveLength(1)
  })

  test('083 refresh: the token before the last is a copy even inside the grace', async () => {
    const { client, tokens } = await loggedIn(OFFLINE)
    const first = await refresh(client, tokens.refresh_token)
    const second = await refresh(client, first.body.refresh_token)
    expectRefused(await refresh(client, tokens.refresh_token))
    expectRefused(await refresh(client, second.body.refresh_token))
  })

  test('083 refresh: 20 uses at once lead to one successor, never to two branches', async () => {
    const { client, tokens } = await loggedIn(OFFLINE)
    let current: string = tokens.refresh_token
    for (let round = 1; round <= ROUNDS; round++) {
      const answers = await Promise.all(Array.from({ length: 20 }, () => refresh(client, current)))
      expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200))
      expect([await generation(), await rowsIn('refresh_family')]).toEqual([round, 1])
      current = answers[round % 20]?.body.refresh_token
    }
  }, 60_000)

  test('083 refresh: the same from two Workers', async () => {
    const { client, tokens } = await loggedIn(OFFLINE)
    const workers = [workerWith(), workerWith()]
    const form = new URLSearchParams({
      grant_type: 'refresh_token',
      refresh_token: tokens.refresh_token,
    }).toString()
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        workers[i % 2]?.send('POST', '/oidc/token', form, {
          ...client.basic,
          'Content-Type': 'application/x-www-form-urlencoded',
        }),
      ),
    )
    expect(answers.map((answer) => answer?.status)).toEqual(answers.map(() => 200))
    expect(await generation()).toBe(1)
  })

  test('083 refresh: use and replay at once never leave two branches', async () => {
    const { client, person } = await loggedIn(OFFLINE)
    for (let round = 0; round < ROUNDS; round++) {
      const { code } = await landedAt(client, person, OFFLINE)
      const { body } = await redeem(client, code)
      const first = await refresh(client, body.refresh_token)
      const second = await refresh(client, first.body.refresh_token)
      const [used] = await Promise.all([
        refresh(client, second.body.refresh_token),
        refresh(client, body.refresh_token),
      ])
      // The copy has killed the family, whatever the honest use got first.
      expectRefused(await refresh(client, used.body.refresh_token ?? second.body.refresh_token))
    }
    expect(await rowsIn('refresh_family')).toBe(1)
  }, 30_000)
})

describe('what it is bound to', () => {
  test('083 refresh: another client gets nothing, and the token stays good for its own', async () => {
    const { client, tokens } = await loggedIn(OFFLINE)
    const other = await registerClient({ offline_access: true }, {}, 'other-bar')
    expectRefused(await refresh(other, tokens.refresh_token))
    expect(await generation()).toBe(0)
    expect((await refresh(client, tokens.refresh_token)).status).toBe(200)
  })

  test('083 refresh: without the client nobody is asked', async () => {
    const { client, tokens } = await loggedIn(OFFLINE)
    const form = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token }
    const wrong = { Authorization: `Basic ${btoa('bar-le-central:wrong')}` }
    for (const answer of [
      await token(form),
      await token({ ...form, client_id: client.clientId }),
      await token(form, wrong),
    ]) {
      expect([answer.status, answer.body.error]).toEqual([401, 'invalid_client'])
    }
    expect(await generation()).toBe(0)
  })

  test('refresh: a token that is none of ours, altered, or of another kind', async () => {
    const { client, tokens, tab } = await loggedIn(OFFLINE)
    const { refresh_token: good } = tokens
    const middle = Math.floor(good.length / 2)
    const letter = good[middle] === 'A' ? 'B' : 'A'
    const { code } = await landed({ ...OFFLINE, clientId: 'other-bar' })
    const sso = [...tab.cookies].find(([name]) => name.startsWith('__Host-sso-'))?.[1]
    expect(sso).toBeDefined()
    for (const bad of [
      'nonsense',
      `${good}A`,
      good.slice(0, -1),
      good.slice(0, middle) + letter + good.slice(middle + 1),
      good.toUpperCase(),
      tokens.access_token,
      tokens.id_token,
      code,
      sso ?? '',
    ]) {
      expectRefused(await refresh(client, bad))
    }
    expect(await generation()).toBe(0)
    expect((await refresh(client, good)).status).toBe(200)
  })

  test.each([
    ['revoked', "status = 'revoked'"],
    ['bound to another phone', "enrollment_id = 'another'"],
    ['past its end', 'expires_at = 1'],
  ])('refresh: an enrollment that is %s ends it', async (_, change) => {
    const { client, tokens } = await loggedIn(OFFLINE)
    await env.DB.prepare(`UPDATE enrollment SET ${change}`).run()
    expectRefused(await refresh(client, tokens.refresh_token))
    expect((await userinfo(tokens.access_token)).status).toBe(401)
  })

  test('refresh: a seal on the revocation list ends it', async () => {
    const { client, tokens, person } = await loggedIn(OFFLINE)
    await env.DB.prepare("INSERT INTO revoked_seal VALUES (?, 'list', 1)")
      .bind(person.seal.fingerprint)
      .run()
    expectRefused(await refresh(client, tokens.refresh_token))
    expect((await userinfo(tokens.access_token)).status).toBe(401)
  })

  test('refresh: a family ends when nobody uses it, and half a year after it began', async () => {
    const { client, tokens } = await loggedIn(OFFLINE)
    const lone = await landedAt(client, await enrolled({ push: false }), OFFLINE)
    const unused = (await redeem(client, lone.code)).body.refresh_token
    let current = tokens.refresh_token
    for (let spent = 0; spent + FAMILY_IDLE_SECONDS < FAMILY_LONGEST_SECONDS; ) {
      later(FAMILY_IDLE_SECONDS - 5)
      spent += FAMILY_IDLE_SECONDS - 5
      const answer = await refresh(client, current)
      expect(answer.status, `after ${spent} s`).toBe(200)
      current = answer.body.refresh_token
    }
    expectRefused(await refresh(client, unused))
    later(FAMILY_IDLE_SECONDS - 5)
    expectRefused(await refresh(client, current))
  }, 30_000)

  test('refresh: a rotated master secret opens what the old one sealed', async () => {
    const { client, tokens, person } = await loggedIn(OFFLINE)
    const secret = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32))))
    const rotated = workerWith({ MASTER_SECRET: `2:${secret},1:${env.MASTER_SECRET}` })
    const headers = {
      ...client.basic,
      'Content-Type': 'application/x-www-form-urlencoded',
      'CF-Connecting-IP': freshAddress(),
    }
    const form = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token }
    const text = new URLSearchParams(form).toString()
    const answer = await rotated.send('POST', '/oidc/token', text, headers)
    expect(answer.status).toBe(200)
    expect(claimsOf(answer.body.id_token).sub).toBe(person.tokenId)
    expect(answer.body.refresh_token).toMatch(/^2\./)
    // A Worker that doesn't know the new secret yet refuses it, and what it belongs to stays.
    expectRefused(await refresh(client, answer.body.refresh_token))
    const alone = workerWith({ MASTER_SECRET: `2:${secret}` })
    expect((await alone.send('POST', '/oidc/token', text, headers)).status).toBe(400)
  })
})

describe('when the operator takes something away', () => {
  test('175 refresh: a lower ceiling counts at once, for the tokens that are out too', async () => {
    const { client, tokens } = await loggedIn(OFFLINE)
    await registerClient({ offline_access: true }, { allowedScopes: ['identity:age_over_18'] })
    expect((await userinfo(tokens.access_token)).body).toEqual({
      sub: expect.any(String),
      age_over_18: true,
    })
    const { body } = await refresh(client, tokens.refresh_token)
    expect(body.scope).toBe('openid identity:age_over_18 offline_access')
    expect(claimsOf(body.id_token)).not.toHaveProperty('given_name')
    expect(JSON.stringify((await userinfo(body.access_token)).body)).not.toContain('Jean')
    const wider = await refresh(client, body.refresh_token, { scope: 'openid identity:name' })
    expectRefused(wider, 'invalid_scope')
    // It was taken from the client, not from the grant.
    await registerClient({ offline_access: true })
    const again = await refresh(client, body.refresh_token)
    expect((await userinfo(again.body.access_token)).body).toHaveProperty('name', 'Jean Dupont')
  })

  test('175 refresh: restricted scopes that were taken back, and the alias domain', async () => {
    const service = {
      allowedScopes: ['identity:document', 'identity:nationality'],
      restrictedScopes: ['identity:document'],
    }
    const { client, tokens } = await loggedIn({
      oidc: { offline_access: true, alias_domain: 'alias.example' },
      service,
      request: { scope: 'openid identity:document identity:nationality email offline_access' },
    })
    const before = (await userinfo(tokens.access_token)).body
    expect(Object.keys(before).sort()).toEqual([
      ...['document_number', 'email', 'email_verified', 'nationality', 'sub'],
    ])
    await registerClient({ offline_access: true }, { allowedScopes: ['identity:nationality'] })
    const { body } = await refresh(client, tokens.refresh_token)
    expect(body.scope).toBe('openid identity:nationality offline_access')
    for (const token of [tokens.access_token, body.access_token]) {
      expect(Object.keys((await userinfo(token)).body).sort()).toEqual(['nationality', 'sub'])
    }
  })

  test('refresh: a trust level that is demanded by now ends what is below it', async () => {
    const { client, tokens } = await loggedIn(OFFLINE)
    await registerClient({ offline_access: true, min_trust_level: 3 })
    expectRefused(await refresh(client, tokens.refresh_token))
    await registerClient({ offline_access: true, min_trust_level: 2 })
    expect((await refresh(client, tokens.refresh_token)).status).toBe(200)
  })
})

describe('after a cookie has answered', () => {
  test('refresh: a session answered for without a phone begins a family of its own, with the same auth_time', async () => {
    const client = await registerClient({ offline_access: true })
    const person = await enrolled({ push: false })
    const tab = new Tab()
    const scope = 'openid identity:name offline_access'
    const waiting = await tab.begin(person.tokenId, { scope })
    await approve(person, waiting)
    const landing = await tab.press(waiting, '/login/continue')
    const code = new URL(landing.headers.get('Location') ?? '').searchParams.get('code')
    const first = (await redeem(client, code ?? '')).body
    later(100)
    const silent = await tab.authorize({ scope, prompt: 'none' })
    const next = new URL(silent.headers.get('Location') ?? '').searchParams.get('code')
    const second = (await redeem(client, next ?? '')).body
    expect(await rowsIn('refresh_family')).toBe(2)
    const { body } = await refresh(client, second.refresh_token)
    const [old, fresh] = [claimsOf(first.id_token), claimsOf(body.id_token)]
    for (const name of ['sub', 'aud', 'iss', 'auth_time', 'sid', 'acr']) {
      expect(fresh[name], name).toBe(old[name])
    }
    expect(waitingIn(waiting).sessionId).toMatch(/^sess_/)
  })

  test('244 refresh: a revoked person is refused at every family', async () => {
    const login: LoggedIn = await loggedIn(OFFLINE)
    const { client, person, tokens } = login
    const rotated = await refresh(client, tokens.refresh_token)
    await operator('POST', '/revoke', { tokenId: person.tokenId, reason: 'lost' })
    expectRefused(await refresh(client, rotated.body.refresh_token))
    expectRefused(await refresh(client, tokens.refresh_token))
  })
})
