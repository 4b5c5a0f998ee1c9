/**
 * Signing in by OpenID Connect in a real Chromium: the bar sends its guest to the hosted pages, a phone answers, the guest is
 * back. With script and without, with keys only, and when it is declined, cancelled, or gone wrong.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { BrowserContext, BrowserContextOptions, Page, WebSocketRoute } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { RelyingParty } from '../../dev/bar/relying-party.ts'
import type { World } from '../../dev/world.ts'
import { lookOver } from './look-over.ts'
import { meetOwner, type Owner, openProfile, openStage, type Stage } from './stage.ts'

let stage: Stage
let world: World
let owner: Owner
let context: BrowserContext
let page: Page
let faults: string[]

beforeAll(async () => {
  stage = await openStage()
  world = stage.world
})

afterAll(() => stage?.close())

beforeEach(async () => {
  faults = []
  // A person of its own for each test: the pushes of one count together.
  owner = await meetOwner(world)
  context = await openProfile(stage.browser, [world.product, world.bar], faults)
  page = await context.newPage()
})

afterEach(async () => {
  await context.close()
  // No policy was violated, no script failed, and nobody but the bar and the product was asked for anything.
  expect(faults).toEqual([])
})

/** Starts over in a fresh profile of another kind. */
async function reopen(
  options: BrowserContextOptions,
  origins: readonly string[] = [world.product, world.bar],
): Promise<void> {
  await context.close()
  context = await openProfile(stage.browser, origins, faults, options)
  page = await context.newPage()
}

/** From the bar to the page that asks for the number. */
async function goToSignIn(): Promise<void> {
  await page.goto(world.bar)
  await page.getByRole('button', { name: 'Sign in with IDToken' }).click()
  await page.locator('main#login-start').waitFor()
}

/** From the bar to the page that waits for the phone; gives the code on it. */
async function signIn(): Promise<string> {
  await goToSignIn()
  await page.getByLabel('Your IDToken number').fill(owner.tokenId)
  await page.getByRole('button', { name: 'Send to my phone' }).click()
  return codeShown()
}

async function codeShown(): Promise<string> {
  // A quick phone may have connected by now: the code is there all the same.
  await page.locator('#login-code .code').waitFor()
  return digits(await page.locator('#login-code .code').innerText())
}

/** The claims that the bar shows, by name. */
async function shared(): Promise<Record<string, string>> {
  await page.locator('#card[data-state=counter]').waitFor()
  const rows = await page.locator('#card tbody tr').all()
  const pairs = rows.map(async (row) => [
    await row.locator('code').innerText(),
    await row.locator('td').innerText(),
  ])
  return Object.fromEntries(await Promise.all(pairs))
}

const CAMILLE = { age_over_18: 'Yes', given_name: 'Camille' }

test('seed 003: "Sign in" at the bar, the code on both screens, back with a name', async () => {
  const phone = await stage.browser.newPage()
  await phone.goto(world.phone)
  await phone.getByRole('radio', { name: 'Camille Martin' }).check()
  await phone.getByRole('button', { name: 'Make my IDToken' }).click()
  await phone.locator('#screen[data-screen=home]').waitFor()
  owner = { ...owner, tokenId: (await phone.locator('#token-id').innerText()).trim() }

  const code = await signIn()
  await phone.locator('#screen[data-screen=prompt]').waitFor()
  expect(digits(await phone.locator('.code').innerText())).toBe(code)
  await page.locator('main#login-claimed').waitFor()
  expect(await page.locator('h1').innerText()).toBe('Continue on your phone')
  await phone.getByRole('button', { name: 'Approve & share' }).click()
  expect(await shared()).toEqual(CAMILLE)
  expect(page.url()).toBe(`${world.bar}/`)
  await phone.context().close()
})

test('without script: forms and a button, and the button says when the phone has not answered', async () => {
  await reopen({ javaScriptEnabled: false })
  await page.goto(world.bar)
  await page.getByRole('link', { name: 'sign in' }).click()
  await page.getByLabel('Your IDToken number').fill(owner.tokenId)
  await page.getByRole('button', { name: 'Send to my phone' }).click()
  const code = await codeShown()
  const claim = await owner.pickUp()
  expect(claim.otp).toBe(code)
  await page.getByRole('button', { name: 'I have approved, continue' }).click()
  await page.getByRole('alert').filter({ hasText: 'has not answered yet' }).waitFor()
  expect(await codeShown()).toBe(code)
  await owner.approve(claim)
  await page.getByRole('button', { name: 'I have approved, continue' }).click()
  await page.waitForURL(`${world.bar}/`)
  await page.getByRole('link', { name: 'what the bar knows of you' }).click()
  const { claims } = JSON.parse(await page.locator('body').innerText())
  expect(claims).toEqual({ age_over_18: true, given_name: 'Camille' })
})

test('declining on the phone ends at the bar, in plain words', async () => {
  await signIn()
  const claim = await owner.pickUp()
  await owner.phone.deny(claim, 'declined')
  await page.locator('#card[data-state=ended]').waitFor()
  expect(await page.locator('#card').getAttribute('data-reason')).toBeNull()
  expect(await page.locator('#card .ended').getAttribute('data-reason')).toBe('access_denied')
  expect(await page.locator('#card').innerText()).toMatch(
    /You did not sign in\s+You declined or cancelled\. We learnt nothing about you\./,
  )
  await page.getByRole('button', { name: 'Try again' }).click()
  await page.locator('main#login-start').waitFor()
})

test.each(['login-start', 'login-pushing'])('"Cancel" on %s ends at the bar', async (id) => {
  if (id === 'login-start') await goToSignIn()
  else await signIn()
  await page.getByRole('button', { name: 'Cancel' }).click()
  await page.locator('#card .ended[data-reason=access_denied]').waitFor()
})

test('"Cancel" goes back once, though the socket hears of it first', async () => {
  await signIn()
  const left: string[] = []
  page.on('request', (request) => {
    if (request.method() === 'POST') left.push(new URL(request.url()).pathname)
  })
  await page.route(`${world.product}/login/cancel`, async (route) => {
    const answer = await route.fetch({ maxRedirects: 0 })
    await new Promise((resolve) => setTimeout(resolve, 1000))
    await route.fulfill({ response: answer })
  })
  await page.getByRole('button', { name: 'Cancel' }).click()
  await page.locator('#card .ended[data-reason=access_denied]').waitFor()
  expect(left).toEqual(['/login/cancel'])
})

test('a number that is none is told at its field, which keeps it', async () => {
  await goToSignIn()
  const field = page.getByLabel('Your IDToken number')
  await field.fill('1234')
  await page.getByRole('button', { name: 'Send to my phone' }).click()
  await page.getByRole('alert').waitFor()
  expect(await field.inputValue()).toBe('1234')
  expect(await field.getAttribute('aria-invalid')).toBe('true')
  const [described] = (await field.getAttribute('aria-describedby'))?.split(' ') ?? []
  expect(await page.locator(`#${described}`).innerText()).toMatch(/^Copy the number/)
})

test('three wrong codes: nothing is lost, the next code is another one and works', async () => {
  const code = await signIn()
  const claim = await owner.pickUp()
  const otp = code === '000000' ? '000001' : '000000'
  for (let attempt = 0; attempt < 3; attempt++) {
    await owner.phone.approve({ ...claim, otp }, { grantedScopes: claim.scopes })
  }
  await page.locator('main#login-failed').waitFor()
  await page.getByRole('button', { name: 'Try again' }).click()
  const next = await codeShown()
  expect(next).not.toBe(code)
  await owner.approve(await owner.pickUp())
  expect(await shared()).toEqual(CAMILLE)
})

test('"Get a new code" brings the next code, and the first one is worth nothing', async () => {
  const code = await signIn()
  const first = await owner.pickUp()
  await page.getByRole('button', { name: 'Get a new code' }).click()
  await expect.poll(codeShown).not.toBe(code)
  const late = await owner.phone.approve(first, { grantedScopes: first.scopes })
  expect(late.ok).toBe(false)
  await owner.approve(await owner.pickUp())
  expect(await shared()).toEqual(CAMILLE)
})

test('form_post: the answer is posted, with script and by its button', async () => {
  const posted: string[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (text) => {
      body += text
    })
    request.on('end', () => {
      if (request.method === 'POST') posted.push(`${request.url}?${body}`)
      response.setHeader('content-type', 'text/html').end('<title>Landed</title>')
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const { secret } = await world.operator.put('/operator/services/form-shop', {
    name: 'Form Shop',
    url: `${origin}/`,
    origins: [],
    allowedScopes: ['identity:given_name', 'identity:age_over_18'],
    defaultScopes: [],
    oidc: { redirect_uris: [`${origin}/callback`] },
  })
  const service = { issuer: world.product, serviceId: 'form-shop', secret: String(secret) }
  const shop = new RelyingParty(service, origin)
  try {
    for (const javaScriptEnabled of [true, false]) {
      await reopen({ javaScriptEnabled }, [world.product, origin])
      const { address, signIn } = await shop.begin()
      await page.goto(`${address}&response_mode=form_post`)
      await page.getByLabel('Your IDToken number').fill(owner.tokenId)
      await page.getByRole('button', { name: 'Send to my phone' }).click()
      await codeShown()
      await owner.approve(await owner.pickUp())
      if (!javaScriptEnabled) {
        await page.getByRole('button', { name: 'I have approved, continue' }).click()
        await page.getByRole('button', { name: 'Continue', exact: true }).click()
      }
      await page.waitForURL(`${origin}/callback`)
      expect(posted).toEqual([expect.stringMatching(/^\/callback\?code=/)])
      const [answer = ''] = posted.splice(0)
      const { claims } = await shop.finish(answer.slice('/callback'.length), signIn)
      expect(claims.given_name).toBe('Camille')
    }
  } finally {
    server.close()
  }
})

test.each([true, false])(
  '340 after the login no way back shows the code (script: %s)',
  async (javaScriptEnabled) => {
    await reopen({ javaScriptEnabled })
    await page.goto(`${world.bar}/login/oidc`)
    await page.getByLabel('Your IDToken number').fill(owner.tokenId)
    await page.getByRole('button', { name: 'Send to my phone' }).click()
    const code = await codeShown()
    await owner.approve(await owner.pickUp())
    if (!javaScriptEnabled) {
      await page.getByRole('button', { name: 'I have approved, continue' }).click()
    }
    await page.waitForURL(`${world.bar}/`)
    const seen: string[] = []
    for (let back = 0; back < 2; back++) {
      // The page that was posted for can't be shown again: the browser says so, and the step fails.
      await page.goBack().catch(() => null)
      // One that is shown from memory has no load to wait for.
      await page.waitForTimeout(300)
      seen.push(page.url(), (await page.locator('html').innerText()).replace(/\D/g, ''))
    }
    expect(seen.join(' ')).not.toContain(code)
    // It was a way back, as far as the page where it began.
    expect(seen).toContainEqual(expect.stringContaining('/oidc/authorize?'))
  },
)

test('a reload of the waiting page goes on with the same code, and rings nobody again', async () => {
  const code = await signIn()
  const claim = await owner.pickUp()
  await page.locator('main#login-claimed').waitFor()
  await page.reload()
  await page.locator('main#login-claimed').waitFor()
  expect(digits(await page.locator('#login-code .code').innerText())).toBe(code)
  await owner.approve(claim)
  expect(await shared()).toEqual(CAMILLE)
  expect(owner.rung()).toBe(1)
})

test('200 a socket that drops is opened again, and the login ends well', async () => {
  const sockets: WebSocketRoute[] = []
  await page.routeWebSocket(/\/ws\/session\//, (socket) => {
    sockets.push(socket)
    socket.connectToServer()
  })
  await signIn()
  const claim = await owner.pickUp()
  await sockets[0]?.close({ code: 1012, reason: 'deployed' })
  await page.getByText('Reconnecting…').waitFor()
  await page.locator('main#login-claimed').waitFor()
  await owner.approve(claim)
  expect(await shared()).toEqual(CAMILLE)
})

test('the time left is told once, before it is over', async () => {
  await page.clock.install()
  await signIn()
  const status = page.locator('#warning[role=status]')
  expect(await status.innerText()).toBe('')
  await page.clock.runFor(25_000)
  expect(await page.locator('#left').innerText()).toMatch(/^3[45]$/)
  expect(await status.innerText()).toBe('')
  // A tab in the background wakes up late.
  await page.clock.fastForward(20_000)
  await page.clock.runFor(1000)
  const told = await status.innerText()
  expect(told).toMatch(/^1\d seconds left$/)
  await page.clock.runFor(5000)
  expect(await status.innerText()).toBe(told)
})

test('signed out at the bar, the provider forgets the session as well', async () => {
  await signIn()
  await owner.approve(await owner.pickUp())
  await shared()
  expect(await sessionCookies()).toHaveLength(1)
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.locator('#card[data-state=door]').waitFor()
  expect(page.url()).toBe(`${world.bar}/`)
  expect(await sessionCookies()).toEqual([])
  expect(await guest()).toBeNull()
})

test('signed out at the provider, the bar is told by a logout token', async () => {
  await signIn()
  await owner.approve(await owner.pickUp())
  await shared()
  await page.goto(`${world.product}/oidc/end-session`)
  await page.locator('main#logout-confirm').waitFor()
  expect(await guest()).not.toBeNull()
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.locator('main#logout-done').waitFor()
  await expect.poll(guest).toBeNull()
})

test('the bar takes no answer that it did not ask for, and no logout token that is none', async () => {
  await page.goto(`${world.bar}/callback?code=x&state=y&iss=${world.product}`)
  await page.locator('#card .ended[data-reason=unknown_login]').waitFor()
  const form = { logout_token: 'e30.e30.e30' }
  const answer = await page.request.post(`${world.bar}/backchannel-logout`, { form })
  expect(answer.status()).toBe(400)
})

/** The cookies by which the product remembers who was here. */
async function sessionCookies(): Promise<string[]> {
  const names = (await context.cookies(world.product)).map(({ name }) => name)
  return names.filter((name) => name.startsWith('__Host-sso-'))
}

/** Whom the bar takes this browser for. */
async function guest(): Promise<unknown> {
  return (await page.request.get(`${world.bar}/me`)).json()
}

function digits(text: string): string {
  return text.replace(/\D/g, '')
}

test('by keyboard alone: every control is reached in reading order, and is seen to be', async () => {
  await goToSignIn()
  expect(await tabThrough(4)).toEqual(['Show a QR code', 'input', 'Send to my phone', 'Cancel'])
  await page.getByLabel('Your IDToken number').focus()
  await page.keyboard.type(owner.tokenId)
  await page.keyboard.press('Enter')
  await page.locator('main#login-pushing').waitFor()
  expect(await tabThrough(5)).toEqual([
    ...['Scan a QR code instead', 'I have approved, continue'],
    ...['Get a new code', 'Use another number', 'Cancel'],
  ])
  await page.keyboard.press('Shift+Tab')
  await page.keyboard.press('Shift+Tab')
  await page.keyboard.press('Shift+Tab')
  await page.keyboard.press('Enter')
  await page.getByRole('alert').waitFor()
  await owner.approve(await owner.pickUp())
  expect(await shared()).toEqual(CAMILLE)
})

/** Presses Tab `times` times; gives what has the focus each time, which must show it. */
async function tabThrough(times: number): Promise<string[]> {
  const reached: string[] = []
  for (let press = 0; press < times; press++) {
    await page.keyboard.press('Tab')
    const { name, outline } = await page.evaluate(() => {
      const element = document.activeElement ?? document.body
      const { outlineStyle, outlineWidth } = getComputedStyle(element)
      return {
        name: element.textContent?.trim() || element.localName,
        outline: `${outlineStyle} ${outlineWidth}`,
      }
    })
    expect(outline, name).toBe('solid 3px')
    reached.push(name)
  }
  return reached
}

test.each(['light', 'dark'] as const)(
  'at 320 px, %s: nothing is cut off, and everything can be read, named and hit',
  async (colorScheme) => {
    await reopen({ colorScheme, viewport: { width: 320, height: 640 } })
    await goToSignIn()
    expect(await lookOver(page)).toEqual([])
    await page.getByLabel('Your IDToken number').fill('1234')
    await page.getByRole('button', { name: 'Send to my phone' }).click()
    await page.getByRole('alert').waitFor()
    expect(await lookOver(page)).toEqual([])
    await page.getByLabel('Your IDToken number').fill(owner.tokenId)
    await page.getByRole('button', { name: 'Send to my phone' }).click()
    const code = await codeShown()
    expect(await lookOver(page)).toEqual([])
    // Readers hear digits, not a number of six figures.
    const spoken = [...code].join(' ').replace(/^(.{5}) /, '$1, ')
    expect(await page.locator('#login-code').ariaSnapshot()).toContain(spoken)
    const claim = await owner.pickUp()
    await page.locator('main#login-claimed').waitFor()
    expect(await lookOver(page)).toEqual([])
    const otp = code === '000000' ? '000001' : '000000'
    for (let attempt = 0; attempt < 3; attempt++) {
      await owner.phone.approve({ ...claim, otp }, { grantedScopes: claim.scopes })
    }
    await page.locator('main#login-failed').waitFor()
    expect(await lookOver(page)).toEqual([])
    await page.goto(`${world.product}/oidc/end-session`)
    await page.locator('main#logout-confirm').waitFor()
    expect(await lookOver(page)).toEqual([])
    await page.goto(`${world.product}/oidc/authorize?client_id=nobody`)
    await page.locator('main#error-client').waitFor()
    expect(await lookOver(page)).toEqual([])
  },
)
