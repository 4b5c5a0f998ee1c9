/**
 * The recipes of `docs/integrations` that say "run in CI": the code in the page is started as a program and a person logs in
 * through it, with nothing between the two but HTTP.
 */
import { generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { freePorts } from '../../dev/ports.ts'
import { startWorld, type World } from '../../dev/world.ts'
import { Browser } from './integrations/browser.ts'
import { registerCaller } from './integrations/caller.ts'
import { decide, enrollPerson, logIn } from './integrations/person.ts'
import { type App, type Changes, startRecipe } from './integrations/recipe.ts'

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium'

let folder: string
let world: World
const apps: App[] = []

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'integrations-'))
  const [port = 0, phonePort = 0, barPort = 0] = await freePorts(3)
  world = await startWorld({
    ...{ folder, port, phonePort, barPort },
    // Starts are limited by address; each browser has one of its own.
    settings: { CLIENT_ADDRESS_HEADER: 'X-Client-Address' },
  })
})

afterEach(() => {
  for (const app of apps.splice(0)) app.stop()
})

afterAll(async () => {
  await world?.stop()
  rmSync(folder, { recursive: true, force: true })
})

async function startApp(name: string, changes: Changes): Promise<App> {
  const app = await startRecipe(world, name, changes)
  apps.push(app)
  return app
}

test('hono.md: login, what the person did not share, declining, logout', async () => {
  const { origin } = await startApp('hono', { clientId: 'my-hono-app' })
  const phone = await enrollPerson(world)
  const browser = new Browser()

  const home = await logIn(browser, await browser.open(`${origin}/login`), phone)
  expect(home.url).toBe(`${origin}/`)
  const user = JSON.parse(home.body)
  expect(user).toEqual({ sub: expect.any(String), name: 'Camille Martin', adult: true })
  expect(user.sub).not.toBe(phone.tokenId)

  const granted = ['identity:name']
  const less = await logIn(browser, await browser.open(`${origin}/login`), phone, { granted })
  expect(JSON.parse(less.body)).toEqual({ ...user, adult: false })

  const out = await browser.post(`${origin}/logout`)
  expect(out.way.map((url) => new URL(url).pathname)).toEqual(['/logout', '/oidc/end-session', '/'])
  expect(out.body).toContain('Sign in with your phone')

  const start = await browser.open(`${origin}/login`)
  const declined = await logIn(browser, start, phone, { granted: null })
  expect([declined.status, declined.body]).toEqual([
    403,
    'You declined on your phone, or cancelled.',
  ])

  const forged = await new Browser().open(`${origin}/callback?code=x&state=y`)
  expect(forged.status).toBe(400)
})

test('express.md: claims from userinfo, secret in the form', async () => {
  const { origin } = await startApp('express', { clientId: 'my-express-app' })
  const phone = await enrollPerson(world)
  const browser = new Browser()
  const home = await logIn(browser, await browser.open(`${origin}/login`), phone)
  expect(JSON.parse(home.body)).toEqual({
    sub: expect.any(String),
    acr: 'urn:idtokenseal:acr:face-oob-high',
    name: 'Camille Martin',
    adult: true,
    nationality: 'FRA',
  })
})

test('auth-js.md: a session without e-mail that knows the person again', async () => {
  const { origin } = await startApp('auth-js', { clientId: 'my-authjs-app' })
  const phone = await enrollPerson(world)
  const users = []
  for (const browser of [new Browser(), new Browser()]) {
    const choice = await browser.open(`${origin}/auth/signin`)
    const home = await logIn(browser, await browser.submit(choice, '/auth/signin/idtoken'), phone)
    expect(new URL(home.url).origin).toBe(origin)
    const session = await browser.open(`${origin}/auth/session`)
    users.push(JSON.parse(session.body).user)
  }
  expect(users[0]).toEqual({ id: expect.any(String), name: 'Camille Martin', adult: true })
  expect(users[1]).toEqual(users[0])

  const browser = new Browser()
  const choice = await browser.open(`${origin}/auth/signin`)
  const start = await browser.submit(choice, '/auth/signin/idtoken')
  const declined = await logIn(browser, start, phone, { granted: null })
  expect(declined.url).toBe(`${origin}/auth/signin?error=OAuthCallbackError`)
})

const classic = { aliases: { 'openid-client': 'openid-client-5' } }

test('openid-client-5.md: the classic client with RS256', async () => {
  const { origin } = await startApp('openid-client-5', { clientId: 'my-older-app', ...classic })
  const phone = await enrollPerson(world)
  const browser = new Browser()
  const claims = await logIn(browser, await browser.open(`${origin}/login`), phone)
  expect(JSON.parse(claims.body)).toMatchObject({
    iss: world.product,
    aud: 'my-older-app',
    sub: phone.tokenId,
    name: 'Camille Martin',
  })
})

test('openid-client-5.md: registered with ES256 and not told so, it fails as the page says', async () => {
  const oidc = { id_token_signed_response_alg: 'ES256' }
  const changes = { clientId: 'my-older-es256-app', ...classic, oidc }
  const { origin } = await startApp('openid-client-5', changes)
  const browser = new Browser()
  const login = await browser.open(`${origin}/login`)
  const failed = await logIn(browser, login, await enrollPerson(world))
  expect(failed.body).toBe('unexpected JWT alg received, expected RS256, got: ES256')
})

test('fapi-2.md: a key, a pushed request, bound tokens; logout ends them', async () => {
  const { origin } = await startApp('fapi-2', { clientId: 'my-fapi-app' })
  const phone = await enrollPerson(world)
  const browser = new Browser()

  const start = await browser.open(`${origin}/login`)
  const asked = new URL(start.url)
  expect([...asked.searchParams.keys()].toSorted()).toEqual(['client_id', 'request_uri'])
  const home = await logIn(browser, start, phone)
  expect(home.url).toBe(`${origin}/`)
  const user = JSON.parse(home.body)
  expect(user).toEqual({ sub: expect.any(String), name: 'Camille Martin', adult: true })

  // The same request once more, as the back button sends it.
  expect((await browser.open(start.url)).body).toContain('<main id="error-request-uri">')

  const granted = ['identity:name']
  const less = await logIn(browser, await browser.open(`${origin}/login`), phone, { granted })
  expect(JSON.parse(less.body)).toEqual({ ...user, adult: false })

  const out = await browser.post(`${origin}/logout`)
  expect(out.body).toContain('Sign in with your phone')

  const again = await browser.open(`${origin}/login`)
  const declined = await logIn(browser, again, phone, { granted: null })
  expect([declined.status, declined.body]).toEqual([
    403,
    'You declined on your phone, or cancelled.',
  ])
})

test('fapi-2.md: another key than the registered one proves nothing', async () => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwks = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'another' }] }
  const { origin } = await startApp('fapi-2', { clientId: 'my-other-fapi-app', oidc: { jwks } })
  expect((await new Browser().open(`${origin}/login`)).status).toBe(500)
})

test('api.md: tokens for it and for nobody else, what was shared, and how the person signed in', async () => {
  const { origin } = await startApp('api', { clientId: 'my-api' })
  const caller = await registerCaller(world, 'an-app', origin)
  const phone = await enrollPerson(world)

  const { access_token: good, id_token: idToken } = await caller.signIn(phone, origin)
  const me = await caller.call(good, 'GET', `${origin}/me`)
  expect(await me.json()).toEqual({ sub: expect.any(String), app: 'an-app' })
  const bar = await caller.call(good, 'GET', `${origin}/bar`)
  expect(await bar.json()).toEqual({ adult: true })
  const transfer = await caller.call(good, 'POST', `${origin}/transfer`)
  expect(await transfer.json()).toEqual({ done: true })

  const { access_token: opaque } = await caller.signIn(phone)
  const forAnother = await registerCaller(world, 'another-app', `${origin}/another`)
  const { access_token: foreign } = await forAnother.signIn(phone, `${origin}/another`)
  for (const token of [idToken, opaque, foreign, `${good.slice(0, -4)}AAAA`]) {
    const refused = await caller.call(token, 'GET', `${origin}/me`)
    expect(refused.status).toBe(401)
    expect(refused.headers.get('WWW-Authenticate')).toContain('error="invalid_token"')
  }
  const nobody = await fetch(`${origin}/me`)
  expect(nobody.headers.get('WWW-Authenticate')).toBe(
    `Bearer realm="${origin}", DPoP algs="ES256 PS256 EdDSA", realm="${origin}"`,
  )

  const less = await caller.signIn(phone, origin, { granted: [] })
  const unshared = await caller.call(less.access_token, 'GET', `${origin}/bar`)
  expect(unshared.status).toBe(403)
  expect(unshared.headers.get('WWW-Authenticate')).toContain('scope="identity:age_over_18"')

  const selfIssued = await enrollPerson(world, { isGranted: false })
  const low = await caller.signIn(selfIssued, origin)
  const stepUp = await caller.call(low.access_token, 'POST', `${origin}/transfer`)
  expect(stepUp.status).toBe(401)
  expect(stepUp.headers.get('WWW-Authenticate')).toContain(
    'error="insufficient_user_authentication", acr_values="urn:idtokenseal:acr:face-oob-substantial"',
  )
})

test('api.md: what was revoked is good alone until its end, and not where the issuer is asked', async () => {
  const { origin } = await startApp('api', { clientId: 'my-asking-api' })
  const caller = await registerCaller(world, 'a-leaving-app', origin)
  const { access_token: token } = await caller.signIn(await enrollPerson(world), origin)
  expect((await caller.call(token, 'POST', `${origin}/transfer`)).status).toBe(200)
  await caller.revoke(token)
  expect((await caller.call(token, 'GET', `${origin}/me`)).status).toBe(200)
  expect((await caller.call(token, 'POST', `${origin}/transfer`)).status).toBe(401)
})

test('api.md: a bound token with a proof, and no other way', async () => {
  const { origin } = await startApp('api', { clientId: 'my-bound-api' })
  const bound = { dpop_bound_access_tokens: true }
  const caller = await registerCaller(world, 'a-bound-app', origin, bound)
  const { access_token: token } = await caller.signIn(await enrollPerson(world), origin)
  expect((await caller.call(token, 'GET', `${origin}/me`)).status).toBe(200)
  expect((await caller.call(token, 'POST', `${origin}/transfer`)).status).toBe(200)
  expect((await caller.call(token, 'GET', `${origin}/me`)).status).toBe(200)
  expect((await caller.copy(`${origin}/me`)).status).toBe(401)
  // A proof that was made for somebody else and that nobody has used here.
  await caller.call(token, 'GET', `${world.product}/health`)
  expect((await caller.copy(`${origin}/me`)).status).toBe(401)

  const thief = await registerCaller(world, 'a-thief', origin, bound)
  expect((await thief.call(token, 'GET', `${origin}/me`)).status).toBe(401)
  for (const scheme of ['Bearer', 'DPoP']) {
    const Authorization = `${scheme} ${token}`
    const copied = await fetch(`${origin}/me`, { headers: { Authorization } })
    expect(copied.status).toBe(401)
  }
})

// As for the browser tests: without a Chromium they are skipped, unless one is required.
test.skipIf(!existsSync(CHROMIUM))(
  'oidc-client-ts.md: a page without a back end, in Chromium',
  async () => {
    const { origin } = await startApp('oidc-client-ts', { clientId: 'my-page' })
    const phone = await enrollPerson(world)
    const chrome = await chromium.launch({
      executablePath: CHROMIUM,
      args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
    })
    try {
      const page = await chrome.newPage()
      const said: string[] = []
      // Chromium asks every site for an icon; neither has one.
      page.on('console', (message) => {
        if (!message.location().url.endsWith('/favicon.ico')) said.push(message.text())
      })
      await page.goto(`${origin}/`)
      await page.locator('#login').click()
      await page.locator('#token-id').fill(phone.tokenId ?? '')
      await page.getByRole('button', { name: 'Send to my phone' }).click()
      await page.locator('#login-pushing').waitFor()
      await decide(phone, await page.content())
      // The page of the product hears of it by its socket and goes on by itself.
      await page.waitForURL(`${origin}/`)
      const user = page.locator('#user')
      await user.filter({ hasText: 'Camille' }).waitFor()
      expect(JSON.parse(await user.innerText())).toEqual({
        sub: expect.any(String),
        name: 'Camille Martin',
        age_over_18: true,
      })

      const [renewal] = await Promise.all([
        page.waitForResponse((response) => response.url().endsWith('/oidc/token')),
        page.locator('#renew').click(),
      ])
      expect(renewal.status()).toBe(200)
      expect(renewal.request().postData()).toContain('grant_type=refresh_token')

      await page.locator('#logout').click()
      await page.locator('#login').waitFor()
      expect(page.url()).toBe(`${origin}/`)
      expect(said).toEqual([])
    } finally {
      await chrome.close()
    }
  },
)
