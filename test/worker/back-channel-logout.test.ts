/** Back-channel logout: who is told that a session has ended, what exactly, and how often we try. */
import { env } from 'cloudflare:workers'
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { RECEIVER_ORIGIN, type Received, type ReceiverScript } from './back-channel.ts'
import {
  type Client,
  claimsOf,
  landingOf,
  pageId,
  redeem,
  registerClient,
  Tab,
  userinfo,
} from './relying-party.ts'
import { CINEMA, signIn } from './sessions.ts'
import { type Answer, enrolled, ISSUER, operator, type Person, send } from './world.ts'

const END = '/oidc/end-session'
const EVENT = 'http://schemas.openid.net/event/backchannel-logout'

/* ---- the receiver ---- */

/** A path of the receiver that no test has used. */
function newPath(): string {
  return `/told/${crypto.randomUUID()}`
}

async function scripted(...script: ReceiverScript[]): Promise<string> {
  const path = newPath()
  const body = JSON.stringify({ path, script })
  await fetch(`${RECEIVER_ORIGIN}/control/script`, { method: 'POST', body })
  return path
}

async function received(path: string): Promise<Received[]> {
  const response = await fetch(`${RECEIVER_ORIGIN}/control/received?path=${path}`)
  return response.json()
}

/** What came to `path` once there are `count`; fewer when they don't come. */
async function awaited(path: string, count = 1): Promise<Received[]> {
  for (let looks = 0; ; looks++) {
    const all = await received(path)
    if (all.length >= count || looks === 100) return all
    await pause(20)
  }
}

/** Unlike `scheduler.wait`, which a test may hurry. */
function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}

/** The logout token in a request. */
function tokenIn({ body }: Received | undefined = { method: '', headers: {}, body: '' }): string {
  return new URLSearchParams(body).get('logout_token') ?? ''
}

/* ---- the world ---- */

/** A client that is told at `path`. */
function toldAt(
  path: string,
  oidc: Record<string, unknown> = {},
  changes: Record<string, unknown> = {},
  clientId = 'bar-le-central',
): Promise<Client> {
  const backchannel_logout_uri = `${RECEIVER_ORIGIN}${path}`
  return registerClient({ backchannel_logout_uri, ...oidc }, changes, clientId)
}

function leave(tab: Tab, idToken?: string): Promise<Answer> {
  return tab.send('GET', idToken === undefined ? END : `${END}?id_token_hint=${idToken}`)
}

function revoke({ tokenId }: Person): Promise<Answer> {
  return operator('POST', '/revoke', { tokenId, reason: 'lost' })
}

async function rows(): Promise<Record<string, unknown>[]> {
  const { results } = await env.DB.prepare('SELECT * FROM client_session ORDER BY client_id').all()
  return results
}

/** The outcomes of telling services, as they are logged from now on. */
function overhear(): Record<string, unknown>[] {
  const lines: Record<string, unknown>[] = []
  const spy = vi.spyOn(console, 'log').mockImplementation((line) => {
    const record = JSON.parse(String(line))
    if (record.event === 'service_told') lines.push(record)
  })
  onTestFinished(() => spy.mockRestore())
  return lines
}

async function outcome(lines: readonly Record<string, unknown>[]): Promise<unknown> {
  for (let looks = 0; lines.length === 0 && looks < 200; looks++) await pause(20)
  return lines.map((line) => line.outcome)
}

/** Pauses and deadlines of the Worker pass faster, and are noted. */
function hurry(deadline = 150): { readonly pauses: number[]; readonly deadlines: number[] } {
  const [pauses, deadlines]: [number[], number[]] = [[], []]
  const realWait = scheduler.wait.bind(scheduler)
  const wait = vi.spyOn(scheduler, 'wait').mockImplementation((milliseconds, options) => {
    if (milliseconds >= 500) pauses.push(milliseconds)
    return realWait(Math.min(milliseconds, 10), options)
  })
  const realTimeout = AbortSignal.timeout.bind(AbortSignal)
  const timeout = vi.spyOn(AbortSignal, 'timeout').mockImplementation((milliseconds) => {
    deadlines.push(milliseconds)
    return realTimeout(Math.min(milliseconds, deadline))
  })
  onTestFinished(() => {
    wait.mockRestore()
    timeout.mockRestore()
  })
  return { pauses, deadlines }
}

/* ---- what is told ---- */

describe('the logout token', () => {
  test.each([
    ['ES256', 'public'],
    ['RS256', 'public'],
    ['ES256', 'pairwise'],
  ])(
    '100 back-channel: of a client with %s and %s subject: exactly what the standard says',
    async (alg, subjectType) => {
      const path = newPath()
      const client = await toldAt(path, { id_token_signed_response_alg: alg }, { subjectType })
      const person = await enrolled({ push: false })
      const tab = new Tab()
      const idToken = await signIn(client, person, tab)
      expect(pageId(await leave(tab, idToken))).toBe('logout-done')

      const [request, ...more] = await awaited(path)
      expect(more).toEqual([])
      expect(request?.method).toBe('POST')
      expect(request?.headers['content-type']).toBe('application/x-www-form-urlencoded')
      for (const name of ['cookie', 'authorization'])
        expect(request?.headers).not.toHaveProperty(name)
      expect([...new URLSearchParams(request?.body).keys()]).toEqual(['logout_token'])

      const logoutToken = tokenIn(request)
      const header = decodeProtectedHeader(logoutToken)
      expect(header).toEqual({ alg, kid: expect.any(String), typ: 'logout+jwt' })
      expect(header.kid).toBe(decodeProtectedHeader(idToken).kid)
      const jwks = (await send('GET', '/.well-known/jwks.json')).body
      const { payload } = await jwtVerify(logoutToken, createLocalJWKSet(jwks), {
        issuer: ISSUER,
        audience: client.clientId,
        algorithms: [alg],
        typ: 'logout+jwt',
        maxTokenAge: 60,
      })
      const { sub, sid } = claimsOf(idToken)
      expect(payload).toEqual({
        iss: ISSUER,
        aud: 'bar-le-central',
        ...{ sub, sid },
        iat: expect.any(Number),
        exp: expect.any(Number),
        jti: expect.stringMatching(/^[\w-]{22}$/),
        events: { [EVENT]: {} },
      })
      expect([sub, sid]).toEqual([expect.any(String), expect.any(String)])
      const [iat = 0, exp = 0] = [payload.iat, payload.exp]
      expect(exp - iat).toBe(120)
      if (subjectType === 'pairwise') {
        expect(sub).not.toBe(person.tokenId)
        expect(JSON.stringify(payload)).not.toContain(person.tokenId)
      } else expect(sub).toBe(person.tokenId)
    },
  )

  test('115 back-channel: it is neither hint nor access token', async () => {
    const path = newPath()
    const client = await toldAt(path)
    const tab = new Tab()
    await leave(tab, await signIn(client, await enrolled({ push: false }), tab))
    const [request] = await awaited(path)
    const asHint = await leave(tab, tokenIn(request))
    expect([asHint.status, pageId(asHint)]).toEqual([400, 'error-logout'])
    expect((await userinfo(tokenIn(request))).status).toBe(401)
    const silent = await tab.authorize({ prompt: 'none', id_token_hint: tokenIn(request) })
    expect(landingOf(silent).parameters.error).toBe('invalid_request')
  })
})

describe('who is told', () => {
  test('100 back-channel: by a hint: the session of that client; then the way back, then login_required', async () => {
    const [path, other] = [newPath(), newPath()]
    const out = `${RECEIVER_ORIGIN}/out`
    const client = await toldAt(path, { post_logout_redirect_uris: [out] })
    const cinema = await toldAt(other, {}, {}, CINEMA)
    const person = await enrolled({ push: false })
    const tab = new Tab()
    const idToken = await signIn(client, person, tab)
    await signIn(cinema, person, tab)
    expect(await rows()).toHaveLength(2)
    const query = new URLSearchParams({
      id_token_hint: idToken,
      post_logout_redirect_uri: out,
      state: 'a',
    })
    const answer = await tab.send('GET', `${END}?${query}`)
    expect(answer.headers.get('Location')).toBe(`${out}?state=a`)
    expect(await awaited(path)).toHaveLength(1)
    const silent = landingOf(await tab.authorize({ prompt: 'none' }))
    expect(silent.parameters.error).toBe('login_required')
    expect((await rows()).map(({ client_id }) => client_id)).toEqual([CINEMA])
    expect(await received(other)).toEqual([])
  })

  test('100 back-channel: by a hint from another place: the session that it names, once', async () => {
    const path = newPath()
    const client = await toldAt(path)
    const person = await enrolled({ push: false })
    const idToken = await signIn(client, person)
    await leave(new Tab(), idToken)
    await leave(new Tab(), idToken)
    const [request] = await awaited(path)
    expect(claimsOf(tokenIn(request))).toMatchObject({ sid: claimsOf(idToken).sid })
    await pause(100)
    expect(await received(path)).toHaveLength(1)
  })

  test('100 back-channel: by a yes: every client of this browser, and of no other', async () => {
    const [path, other] = [newPath(), newPath()]
    const client = await toldAt(path)
    const cinema = await toldAt(other, {}, {}, CINEMA)
    const person = await enrolled({ push: false })
    const tab = new Tab()
    const atBar = await signIn(client, person, tab)
    const atCinema = await signIn(cinema, person, tab)
    const elsewhere = await signIn(client, person)
    const page = await leave(tab)
    await pause(50)
    expect([await received(path), await received(other)]).toEqual([[], []])
    await tab.press(page, END)
    expect(claimsOf(tokenIn((await awaited(path))[0]))).toMatchObject({
      aud: 'bar-le-central',
      sid: claimsOf(atBar).sid,
    })
    expect(claimsOf(tokenIn((await awaited(other))[0]))).toMatchObject({
      aud: CINEMA,
      sid: claimsOf(atCinema).sid,
    })
    expect(await rows()).toEqual([
      expect.objectContaining({ client_id: 'bar-le-central', sid: claimsOf(elsewhere).sid }),
    ])
  })

  test('100, 244 back-channel: by revocation: every session at every client, and nobody of another person', async () => {
    const [path, other] = [newPath(), newPath()]
    const client = await toldAt(path, { id_token_signed_response_alg: 'RS256' })
    const cinema = await toldAt(other, {}, { subjectType: 'pairwise' }, CINEMA)
    const person = await enrolled({ push: false })
    const neighbour = await enrolled({ push: false })
    const ofNeighbour = await signIn(client, neighbour)
    const sids = [await signIn(client, person), await signIn(client, person)].map(
      (idToken) => claimsOf(idToken).sid,
    )
    const atCinema = claimsOf(await signIn(cinema, person))
    expect((await revoke(person)).body).toEqual({ revoked: true, tokenId: person.tokenId })

    const atBar = (await awaited(path, 2)).map((request) => claimsOf(tokenIn(request)))
    expect(atBar.map(({ sid }) => sid).sort()).toEqual(sids.sort())
    expect(atBar.map(({ sub }) => sub)).toEqual([person.tokenId, person.tokenId])
    expect(atBar[0]?.jti).not.toBe(atBar[1]?.jti)
    const [request] = await awaited(other)
    const { sub, sid } = atCinema
    expect(claimsOf(tokenIn(request))).toMatchObject({ sub, sid, aud: CINEMA })
    expect(decodeProtectedHeader(tokenIn(request)).alg).toBe('ES256')
    expect(await rows()).toEqual([
      expect.objectContaining({ token_id: neighbour.tokenId, sid: claimsOf(ofNeighbour).sid }),
    ])
    // Once more changes nothing, and nobody hears of it twice.
    expect((await revoke(person)).status).toBe(200)
    await pause(100)
    expect([await received(path), await received(other)].map(({ length }) => length)).toEqual([
      2, 1,
    ])
  })

  test('100 back-channel: a session that the cookie answered again is still one session', async () => {
    const path = newPath()
    const client = await toldAt(path)
    const person = await enrolled({ push: false })
    const tab = new Tab()
    const idToken = await signIn(client, person, tab)
    const silent = landingOf(await tab.authorize({ prompt: 'none' }))
    expect((await redeem(client, silent.parameters.code)).status).toBe(200)
    expect(await rows()).toHaveLength(1)
    await leave(tab, idToken)
    expect(await awaited(path)).toHaveLength(1)
    expect(await rows()).toEqual([])
  })

  test('100 back-channel: two logouts at once: told once', async () => {
    const path = newPath()
    const client = await toldAt(path)
    const tab = new Tab()
    const idToken = await signIn(client, await enrolled({ push: false }), tab)
    const answers = await Promise.all([leave(tab, idToken), leave(tab, idToken)])
    expect(answers.map(pageId)).toEqual(['logout-done', 'logout-done'])
    await awaited(path)
    await pause(100)
    expect(await received(path)).toHaveLength(1)
  })

  test('100 back-channel: a client that has no address any more, or another one by now', async () => {
    const [old, path] = [newPath(), newPath()]
    const client = await toldAt(old)
    const person = await enrolled({ push: false })
    const [first, second] = [await signIn(client, person), await signIn(client, person)]
    const lines = overhear()
    await registerClient()
    await leave(new Tab(), first)
    await toldAt(path)
    await leave(new Tab(), second)
    expect(await awaited(path)).toHaveLength(1)
    expect(await outcome(lines)).toEqual(['delivered'])
    expect(await received(old)).toEqual([])
  })

  test('098 back-channel: the question alone tells nobody, nor does a request that is refused', async () => {
    const path = newPath()
    const client = await toldAt(path)
    const tab = new Tab()
    const idToken = await signIn(client, await enrolled({ push: false }), tab)
    await leave(tab)
    await leave(tab, `${idToken.slice(0, -4)}AAAA`)
    const query = new URLSearchParams({ id_token_hint: idToken, post_logout_redirect_uri: 'x' })
    await tab.send('GET', `${END}?${query}`)
    await tab.send('GET', `${END}?id_token_hint=${idToken}`, null, { 'Sec-Fetch-Dest': 'image' })
    await pause(100)
    expect(await received(path)).toEqual([])
    expect(await rows()).toHaveLength(1)
  })
})

/* ---- the rows ---- */

describe('the row of a session', () => {
  test('100 back-channel: is written at redemption, only for a client with an address, and holds no attribute', async () => {
    const client = await toldAt(newPath())
    const silentClient = await registerClient({}, {}, CINEMA)
    const person = await enrolled({ push: false })
    await signIn(silentClient, person)
    expect(await rows()).toEqual([])
    const tab = new Tab()
    const { parameters } = await tab.login(person)
    expect(await rows()).toEqual([])
    const { body } = await redeem(client, parameters.code)
    const { sid, auth_time: authTime } = claimsOf(body.id_token)
    expect(await rows()).toEqual([
      {
        sid,
        client_id: 'bar-le-central',
        token_id: person.tokenId,
        expires_at: Number(authTime) + 8 * 3600,
      },
    ])
  })

  test('100 back-channel: a refresh writes none', async () => {
    const client = await toldAt(newPath(), { offline_access: true })
    const scope = 'openid offline_access'
    const { parameters } = await new Tab().login(await enrolled({ push: false }), { scope })
    const { body } = await redeem(client, parameters.code)
    await env.DB.prepare('DELETE FROM client_session').run()
    const form = { grant_type: 'refresh_token', refresh_token: body.refresh_token }
    const answer = await send('POST', '/oidc/token', new URLSearchParams(form).toString(), {
      'Content-Type': 'application/x-www-form-urlencoded',
      ...client.basic,
    })
    expect(answer.status).toBe(200)
    expect(await rows()).toEqual([])
  })

  test('100 back-channel: goes when it has expired, with the next one that is written', async () => {
    const client = await toldAt(newPath())
    const person = await enrolled({ push: false })
    const now = Math.floor(Date.now() / 1000)
    const insert = env.DB.prepare('INSERT INTO client_session VALUES (?, ?, ?, ?)')
    await env.DB.batch([
      insert.bind('over', CINEMA, 'somebody', now - 1),
      insert.bind('open', CINEMA, 'somebody', now + 600),
    ])
    const idToken = await signIn(client, person)
    const sids = (await rows()).map(({ sid }) => sid)
    expect(sids.sort()).toEqual(['open', String(claimsOf(idToken).sid)].sort())
  })
})

/* ---- how it is sent ---- */

describe('100 back-channel: what the receiver answers', () => {
  test.each<[string, ReceiverScript[], number, string]>([
    ['200', [200], 1, 'delivered'],
    ['204', [204], 1, 'delivered'],
    ['an endless 200', ['endless'], 1, 'delivered'],
    ['400: it has understood, and refuses', [400], 1, 'refused'],
    ['500, then 200', [500, 200], 2, 'delivered'],
    ['500, 503, then 204', [500, 503, 204], 3, 'delivered'],
    ['500, then 400', [500, 400], 2, 'refused'],
    ['500 for ever', [500], 3, 'failed'],
    ['404', [404], 3, 'failed'],
    ['silence', ['hang'], 3, 'failed'],
    ['silence, then 200', ['hang', 200], 2, 'delivered'],
    ['a redirect', ['redirect'], 3, 'failed'],
  ])('100 back-channel: %s', async (_, script, tries, expected) => {
    const path = await scripted(...script)
    const client = await toldAt(path)
    const tab = new Tab()
    const person = await enrolled({ push: false })
    const idToken = await signIn(client, person, tab)
    const lines = overhear()
    const { pauses, deadlines } = hurry()
    expect(pageId(await leave(tab, idToken))).toBe('logout-done')

    expect(await outcome(lines)).toEqual([expected])
    const all = await received(path)
    expect(all).toHaveLength(tries)
    // Each try brings the same token, so that the receiver knows it again.
    expect(new Set(all.map(tokenIn)).size).toBe(1)
    expect(pauses).toEqual([1000, 4000].slice(0, tries - 1))
    expect(deadlines).toEqual(Array(tries).fill(5000))
    expect(await received(`${path}/moved`)).toEqual([])
    // It has been taken, whatever came of it: nothing is tried again later.
    expect(await rows()).toEqual([])
    expect(lines[0]).toMatchObject({ service: 'bar-le-central' })
    expect(JSON.stringify(lines)).not.toContain(person.tokenId)
  })

  test('100 back-channel: the pauses are real', { timeout: 15_000 }, async () => {
    const path = await scripted(500, 200)
    const client = await toldAt(path)
    const tab = new Tab()
    const idToken = await signIn(client, await enrolled({ push: false }), tab)
    const lines = overhear()
    const begun = Date.now()
    await leave(tab, idToken)
    expect(await outcome(lines)).toEqual(['delivered'])
    expect(Date.now() - begun).toBeGreaterThanOrEqual(1000)
  })

  test('100 back-channel: neither logout nor revocation nor a login waits for a receiver that hangs', async () => {
    const path = await scripted('hang')
    const client = await toldAt(path)
    const person = await enrolled({ push: false })
    const [tab, other] = [new Tab(), new Tab()]
    const idToken = await signIn(client, person, tab)
    await signIn(client, person, other)
    const lines = overhear()
    hurry(1500)

    expect(pageId(await leave(tab, idToken))).toBe('logout-done')
    expect(await awaited(path)).toHaveLength(1)
    expect((await revoke(person)).status).toBe(200)
    expect(await awaited(path, 2)).toHaveLength(2)
    expect(await signIn(client, await enrolled({ push: false }))).toEqual(expect.any(String))
    // Both receivers still hang: nobody has given up yet.
    expect(lines).toEqual([])
    for (let looks = 0; lines.length < 2 && looks < 300; looks++) await pause(20)
    expect(lines.map((line) => line.outcome)).toEqual(['failed', 'failed'])
  }, 15_000)

  test('100 back-channel: one that hangs does not keep the others from hearing', async () => {
    const [path, other] = [await scripted('hang'), newPath()]
    const client = await toldAt(path)
    const cinema = await toldAt(other, {}, {}, CINEMA)
    const person = await enrolled({ push: false })
    await signIn(client, person)
    await signIn(cinema, person)
    const lines = overhear()
    hurry(1500)
    await revoke(person)
    expect(await awaited(other)).toHaveLength(1)
    expect(await outcome(lines)).toEqual(['delivered'])
    for (let looks = 0; lines.length < 2 && looks < 300; looks++) await pause(20)
  }, 15_000)

  test.each([
    'https://10.0.0.1/out',
    'https://192.168.1.1/out',
    'https://169.254.169.254/latest/meta-data/',
    'https://[::1]/out',
    'https://[fd00::1]/out',
    'https://localhost/out',
    'http://bar.example/out',
    'ftp://bar.example/out',
    'https://bar.example/out#there',
    'https://somebody@bar.example/out',
  ])('100 back-channel: the address %s is refused at registration', async (address) => {
    const { status, body } = await operator('PUT', '/operator/services/bar-le-central', {
      name: 'Bar le Central',
      url: `${RECEIVER_ORIGIN}/`,
      origins: [],
      allowedScopes: [],
      defaultScopes: [],
      oidc: {
        redirect_uris: [`${RECEIVER_ORIGIN}/cb`],
        backchannel_logout_uri: address,
      },
    })
    expect([status, body.code, body.member]).toEqual([
      400,
      'invalid_request',
      'oidc.backchannel_logout_uri',
    ])
  })
})
