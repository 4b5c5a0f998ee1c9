/**
 * The recipes of `docs/integrations` that say "run in CI": the code in the page is started as a program and a person logs in
 * through it, with nothing between the two but HTTP.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { freePorts } from '../../dev/ports.ts'
import { startWorld, type World } from '../../dev/world.ts'
import { Browser } from './integrations/browser.ts'
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
