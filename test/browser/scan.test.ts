/**
 * Signing in with nothing typed, in a real Chromium: by a QR that moves, by a link on the same device, and trusting a service
 * once. The phone is the virtual one where its screens matter, else a phone without a face.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { must } from '../../dev/login-stage.ts'
import { readText } from '../../dev/phone/links.ts'
import type { Claim } from '../../dev/phone/phone.ts'
import { barRecord, type World } from '../../dev/world.ts'
import { lookOver } from './look-over.ts'
import { filmOf, pasteScreen, readScreen } from './screen.ts'
import {
  launchBrowser,
  meetOwner,
  type Owner,
  openProfile,
  openStage,
  type Stage,
} from './stage.ts'

let stage: Stage
let world: World
let origins: string[]
let faults: string[]
const profiles: BrowserContext[] = []

beforeAll(async () => {
  stage = await openStage()
  world = stage.world
  origins = [world.product, world.bar, world.phone]
})

afterAll(() => stage?.close())

beforeEach(() => {
  faults = []
})

afterEach(async () => {
  for (const profile of profiles.splice(0)) await profile.close()
  expect(faults).toEqual([])
})

/** A page of a fresh browser. */
async function newBrowser(): Promise<Page> {
  const profile = await openProfile(stage.browser, origins, faults)
  profiles.push(profile)
  return profile.newPage()
}

/** A virtual phone with Camille's IDToken, in the profile of `page` or in one of its own. */
async function newPhone(page?: Page): Promise<Page> {
  const phone = page ?? (await newBrowser())
  await phone.goto(world.phone)
  await phone.getByRole('button', { name: 'Make my IDToken' }).click()
  await phone.locator('#screen[data-screen=home]').waitFor()
  return phone
}

/** Has the phone read what `show` gives at that moment, as a picture. */
async function scan(phone: Page, page: Page, selector: string): Promise<void> {
  await phone.getByRole('button', { name: 'Scan a code' }).click()
  await phone.locator('#screen[data-screen=scan]').waitFor()
  await pasteScreen(page.locator(selector), phone)
}

async function paste(phone: Page, text: string): Promise<void> {
  if (!(await phone.locator('#screen[data-screen=scan]').isVisible())) {
    await phone.getByRole('button', { name: 'Scan a code' }).click()
  }
  await phone.locator('#text').fill(text)
  await phone.getByRole('button', { name: 'Open', exact: true }).click()
}

async function approveOn(phone: Page): Promise<void> {
  await phone.getByRole('button', { name: 'Approve & share' }).click()
}

/** The bar's age check, up to its QR. */
async function verifyAge(page: Page): Promise<void> {
  await page.goto(world.bar)
  await page.getByRole('button', { name: 'Verify your age' }).click()
  await page.locator('svg.qr path[d]').waitFor({ state: 'attached' })
}

/** From the bar to our page with the QR. */
async function showQr(page: Page): Promise<void> {
  await page.goto(world.bar)
  await page.getByRole('button', { name: 'Sign in with IDToken' }).click()
  await page.getByRole('button', { name: 'Show a QR code' }).click()
  await page.locator('main#login-scan #qr-path[d]').waitFor({ state: 'attached' })
}

/** The claims that the bar shows, by name. */
async function shared(page: Page): Promise<Record<string, string>> {
  await page.locator('#card[data-state=counter]').waitFor()
  const rows = await page.locator('#card tbody tr').all()
  const pairs = rows.map(async (row) => [
    await row.locator('code').innerText(),
    await row.locator('td').innerText(),
  ])
  return Object.fromEntries(await Promise.all(pairs))
}

async function outcomeOn(phone: Page): Promise<string> {
  await phone.locator('#screen[data-screen=result]').waitFor()
  return phone.locator('#screen h1').innerText()
}

function digits(text: string): string {
  return text.replace(/\D/g, '')
}

/** Somebody else's phone opens the login in `text`. */
async function claimBy(owner: Owner, text: string): Promise<Claim> {
  const read = readText(text, [`${world.product}/l#`])
  if (typeof read === 'string' || read.kind !== 'login') throw new Error(`no login: ${text}`)
  return must('the claim', await owner.phone.claim(read.sessionId, {}, read.way))
}

const CAMILLE = { age_over_18: 'Yes', given_name: 'Camille' }

describe('an age check by scan, at the bar', () => {
  test('seed 002: the phone reads the screen, both show one code, the bar learns the age and no name', async () => {
    const phone = await newPhone()
    const bar = await newBrowser()
    await verifyAge(bar)
    expect(await bar.locator('.code').isVisible()).toBe(false)
    await scan(phone, bar, 'svg.qr')
    await phone.locator('#screen[data-screen=prompt]').waitFor()
    await bar.locator('[data-claimed]').waitFor()
    expect(await bar.locator('svg.qr').isVisible()).toBe(false)
    await bar.locator('.code').filter({ hasText: /\d/ }).waitFor()
    expect(digits(await phone.locator('.code').innerText())).toBe(
      digits(await bar.locator('.code').innerText()),
    )
    expect(await phone.locator('.domain').innerText()).toContain(new URL(world.bar).host)
    expect(await phone.locator('.chips').innerText()).toContain('Date of birth')
    expect(await phone.locator('.context').innerText()).toMatch(/started \d\d:\d\d/)
    await approveOn(phone)
    expect(await shared(bar)).toEqual({ age_over_18: 'Yes' })
  })

  test('192 the code moves; as text it can be pasted, but not when it is too old', async () => {
    const phone = await newPhone()
    const bar = await newBrowser()
    await verifyAge(bar)
    const old = await readScreen(bar.locator('svg.qr'))
    expect(old.startsWith(`${world.product}/l#sess_`)).toBe(true)
    await bar.waitForTimeout(12_500)
    await paste(phone, old)
    expect(await outcomeOn(phone)).toBe('That code was too old')
    await phone.getByRole('button', { name: 'Done' }).click()
    const fresh = await readScreen(bar.locator('svg.qr'))
    expect(fresh).not.toBe(old)
    await paste(phone, fresh)
    await approveOn(phone)
    expect(await shared(bar)).toEqual({ age_over_18: 'Yes' })
  })

  test('the phone that comes second is told so', async () => {
    const phone = await newPhone()
    const bar = await newBrowser()
    await verifyAge(bar)
    const text = await readScreen(bar.locator('svg.qr'))
    const first = await claimBy(await meetOwner(world), text)
    expect(first.scopes).toEqual(['identity:age_over_18'])
    await paste(phone, text)
    expect(await outcomeOn(phone)).toBe('Another phone was quicker')
  })

  test('a reload goes on with the same login, and its code still moves', async () => {
    const bar = await newBrowser()
    await verifyAge(bar)
    const before = await readScreen(bar.locator('svg.qr'))
    await bar.reload()
    await bar.locator('svg.qr path[d]').waitFor({ state: 'attached' })
    const after = await readScreen(bar.locator('svg.qr'))
    expect(after.split('.')[0]).toBe(before.split('.')[0])
    const owner = await meetOwner(world)
    await owner.approve(await claimBy(owner, after))
    expect(await shared(bar)).toEqual({ age_over_18: 'Yes' })
  })

  test('what is no code of ours is told at once, and nothing is opened', async () => {
    const phone = await newPhone()
    for (const [text, fault] of [
      ['hello', /Not an IDToken code/],
      [
        `https://elsewhere.example/l#sess_${'0'.repeat(64)}.${'A'.repeat(22)}`,
        /Not for this phone/,
      ],
    ] as const) {
      await paste(phone, text)
      await phone.locator('#text-fault').filter({ hasText: fault }).waitFor()
    }
    await phone.getByRole('button', { name: 'Cancel' }).click()
    await phone.locator('#screen[data-screen=home]').waitFor()
  })

  test('a link made of a moving code is not taken for a look at the screen', async () => {
    const phone = await newPhone()
    const bar = await newBrowser()
    await verifyAge(bar)
    const text = await readScreen(bar.locator('svg.qr'))
    await phone.goto(`${world.phone}/#${text.split('#')[1]}`)
    expect(await outcomeOn(phone)).toBe('Scan it with the camera')
    expect(phone.url()).toBe(`${world.phone}/`)
  })
})

describe('by scan on our page', () => {
  test('192 the page moves the QR; whoever approves unknown to the browser is confirmed, once', async () => {
    const owner = await meetOwner(world)
    const page = await newBrowser()
    await showQr(page)
    expect(await lookOver(page)).toEqual([])
    const first = await readScreen(page.locator('#qr-code'))
    await expect.poll(() => readScreen(page.locator('#qr-code')), { timeout: 5000 }).not.toBe(first)
    const claim = await claimBy(owner, await readScreen(page.locator('#qr-code')))
    await page.locator('main#login-claimed').waitFor()
    expect(await page.locator('#qr-code').isVisible()).toBe(false)
    expect(digits(await page.locator('#login-code .code').innerText())).toBe(claim.otp)
    expect(await lookOver(page)).toEqual([])
    await owner.approve(claim)
    await page.locator('main#login-confirm').waitFor()
    expect(await page.locator('h1').innerText()).toBe(
      `You are signing in as ••••${owner.tokenId.slice(-4)}`,
    )
    expect(await lookOver(page)).toEqual([])
    await page.getByRole('button', { name: 'Continue' }).click()
    expect(await shared(page)).toEqual(CAMILLE)

    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.locator('#card[data-state=door]').waitFor()
    await showQr(page)
    await owner.approve(await claimBy(owner, await readScreen(page.locator('#qr-code'))))
    expect(await shared(page)).toEqual(CAMILLE)
  })

  test('360 "Not me" on the page ends at the bar without anybody', async () => {
    const owner = await meetOwner(world)
    const page = await newBrowser()
    await showQr(page)
    await owner.approve(await claimBy(owner, await readScreen(page.locator('#qr-code'))))
    await page.locator('main#login-confirm').waitFor()
    await page.getByRole('button', { name: 'Not me' }).click()
    await page.locator('#card .ended[data-reason=access_denied]').waitFor()
  })

  test('the QR can be paused, and the number can still be typed', async () => {
    const owner = await meetOwner(world)
    const page = await newBrowser()
    await showQr(page)
    await page.getByRole('button', { name: 'Pause the QR code' }).click()
    await page.locator('#qr-code').waitFor({ state: 'hidden' })
    await page.getByRole('button', { name: 'Show the QR code again' }).click()
    await page.locator('#qr-code').waitFor()
    await page.getByRole('button', { name: 'Type my number instead' }).click()
    await page.getByLabel('Your IDToken number').fill(owner.tokenId)
    await page.getByRole('button', { name: 'Send to my phone' }).click()
    await owner.approve(await owner.pickUp())
    expect(await shared(page)).toEqual(CAMILLE)
  })

  test('transfer: the code is brought over by typing, or read off the screen', async () => {
    const record = barRecord(world.bar)
    const path = '/operator/services/bar-le-central'
    await world.operator.put(path, { ...record, confirmation: 'transfer' })
    try {
      const phone = await newPhone()
      const page = await newBrowser()
      await showQr(page)
      await scan(phone, page, '#qr-code')
      await page.locator('main#login-claimed').waitFor()
      await page.getByText('Scan it instead of typing').click()
      await page.locator('#digits-path[d]').waitFor({ state: 'attached' })
      expect(await lookOver(page)).toEqual([])
      await phone.getByRole('button', { name: 'Scan it instead' }).click()
      await phone.locator('#screen[data-screen=scan]').waitFor()
      await phone.locator('#text').fill('12345')
      await phone.getByRole('button', { name: 'Open', exact: true }).click()
      expect(await phone.locator('#text-fault').innerText()).toContain('six digits')
      await pasteScreen(page.locator('#digits-code'), phone)
      await phone.locator('#screen[data-screen=prompt]').waitFor()
      expect(await phone.locator('#code').inputValue()).toBe(
        digits(await page.locator('#login-code .code').innerText()),
      )
      await approveOn(phone)
      await page.locator('main#login-confirm').waitFor()
      await page.getByRole('button', { name: 'Continue' }).click()
      expect(await shared(page)).toEqual(CAMILLE)
    } finally {
      await world.operator.put(path, record)
    }
  })

  test('beside a code for a typed number stands the QR, which the same phone may scan instead', async () => {
    const owner = await meetOwner(world)
    const page = await newBrowser()
    await page.goto(world.bar)
    await page.getByRole('button', { name: 'Sign in with IDToken' }).click()
    await page.getByLabel('Your IDToken number').fill(owner.tokenId)
    await page.getByRole('button', { name: 'Send to my phone' }).click()
    await page.locator('main#login-pushing').waitFor()
    await page.getByText('Scan a QR code instead').click()
    await page.locator('#qr-path[d]').waitFor({ state: 'attached' })
    await owner.approve(await claimBy(owner, await readScreen(page.locator('#qr-code'))))
    await page.locator('main#login-confirm').waitFor()
    await page.getByRole('button', { name: 'Continue' }).click()
    expect(await shared(page)).toEqual(CAMILLE)
  })
})

describe('on the same device', () => {
  /** The window that the app opened asks who it is, in a browser that has never seen him. */
  async function confirmIn(page: Page): Promise<void> {
    await page.locator('main#login-confirm').waitFor()
    expect(await page.locator('h1').innerText()).toMatch(/^You are signing in as ••••[0-9a-f]{4}$/)
    expect(await lookOver(page)).toEqual([])
    await page.getByRole('button', { name: 'Continue' }).click()
  }

  /** Has the page that began look again: by its button, unless the end of its socket has made it do so already. */
  async function lookAgain(page: Page): Promise<void> {
    const next = page.locator('main#login-other-window, main#login-completed')
    const button = page.getByRole('button', { name: 'I have approved, continue' })
    const isOn = async () => {
      if (await next.isVisible()) return true
      await button.click({ timeout: 1000 }).catch(() => {})
      return next.isVisible()
    }
    await expect.poll(isOn, { timeout: 20_000 }).toBe(true)
  }

  test('a link opens the phone, and the phone takes the browser back to the bar', async () => {
    const phone = await newPhone()
    const page = await phone.context().newPage()
    await phone.close()
    await showQr(page)
    await page.getByRole('link', { name: 'On this phone? Open the app' }).click()
    await page.locator('main#login-app').waitFor()
    expect(await lookOver(page)).toEqual([])
    await page.getByRole('link', { name: 'Open the app' }).click()
    await page.locator('#screen[data-screen=prompt]').waitFor()
    expect(page.url()).toBe(`${world.phone}/`)
    await approveOn(page)
    await confirmIn(page)
    expect(await shared(page)).toEqual(CAMILLE)
    expect(page.url()).toBe(`${world.bar}/`)

    // It knows him now, and asks nothing.
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.locator('#card[data-state=door]').waitFor()
    await showQr(page)
    await page.getByRole('link', { name: 'On this phone? Open the app' }).click()
    await page.getByRole('link', { name: 'Open the app' }).click()
    await approveOn(page)
    expect(await shared(page)).toEqual(CAMILLE)
  })

  test('the tab that began goes on elsewhere, and a phone without an IDToken makes one first', async () => {
    const page = await newBrowser()
    await showQr(page)
    const link = (await page.locator('#qr-link').getAttribute('href')) ?? ''
    const app = await page.context().newPage()
    await app.goto(link)
    await app.getByRole('link', { name: 'Open the app' }).click()
    await app.getByRole('button', { name: 'Make my IDToken' }).click()
    await app.locator('#screen[data-screen=prompt]').waitFor()
    await page.locator('main#login-claimed').waitFor()
    await approveOn(app)
    await confirmIn(app)
    expect(await shared(app)).toEqual(CAMILLE)
    await page.bringToFront()
    await lookAgain(page)
  })

  test("358 a link that an attacker sends gives him nothing, and the person isn't signed in either", async () => {
    const attacker = await newBrowser()
    await showQr(attacker)
    const link = (await attacker.locator('#qr-link').getAttribute('href')) ?? ''
    const phone = await newPhone()
    await phone.goto(link)
    await phone.getByRole('link', { name: 'Open the app' }).click()
    await phone.locator('#screen[data-screen=prompt]').waitFor()
    await attacker.locator('main#login-claimed').waitFor()
    await approveOn(phone)
    await confirmIn(phone)
    await phone.locator('main#login-foreign').waitFor()
    await lookAgain(attacker)
    await attacker.locator('main#login-other-window').waitFor()
    expect(await attacker.context().cookies(world.bar)).not.toContainEqual(
      expect.objectContaining({ name: 'bar-le-central' }),
    )
  })
})

describe('trust once', () => {
  /** The bar's registration, up to its QR. */
  async function registerAt(bar: Page): Promise<void> {
    await bar.goto(world.bar)
    await bar.getByRole('button', { name: 'Register with IDToken' }).click()
    await bar.locator('svg.qr path[d]').waitFor({ state: 'attached' })
  }

  async function trustOn(phone: Page): Promise<void> {
    await phone.getByRole('button', { name: 'Trust this service' }).click()
    expect(await outcomeOn(phone)).toBe('Service trusted')
    await phone.getByRole('button', { name: 'Done' }).click()
  }

  test('seed 002: the phone shows who it is and the most it may ask, the bar says "Registration complete"', async () => {
    const phone = await newPhone()
    const bar = await newBrowser()
    await registerAt(bar)
    await scan(phone, bar, 'svg.qr')
    await phone.locator('#screen[data-screen=trust]').waitFor()
    expect(await phone.locator('h1').innerText()).toBe('Bar le Central')
    expect(await phone.locator('.domain').innerText()).toContain(new URL(world.bar).host)
    expect(await phone.locator('.ceiling li').allInnerTexts()).toEqual([
      'Whether you are over 18',
      'First name',
    ])
    await trustOn(phone)
    await bar.locator('#card[data-state=registered]').waitFor()
    expect(await bar.locator('h1').innerText()).toBe('Registration complete')

    // It is there after a reload too, can be looked at, and taken back.
    await phone.reload()
    await phone.getByRole('button', { name: /^Bar le Central/ }).click()
    await phone.locator('#screen[data-screen=service]').waitFor()
    await phone.getByRole('button', { name: 'Keep' }).click()
    await phone.getByRole('button', { name: /^Bar le Central/ }).click()
    await phone.getByRole('button', { name: 'Stop trusting it' }).click()
    expect(await outcomeOn(phone)).toBe('No longer trusted')
    await phone.getByRole('button', { name: 'Done' }).click()
    expect(await phone.getByText('Services you trust').count()).toBe(0)
  })

  test('by link, and by the bare text of a poster', async () => {
    const phone = await newPhone()
    const bar = await phone.context().newPage()
    await registerAt(bar)
    const opening = phone.context().waitForEvent('page')
    await bar.getByRole('link', { name: 'On this phone? Open the app' }).click()
    const app = await opening
    await app.getByRole('link', { name: 'Open the app' }).click()
    await trustOn(app)
    await bar.locator('#card[data-state=registered]').waitFor()

    const poster = await bar.request.get(`${world.product}/services/bar-le-central/vds`)
    const { serviceVds } = await poster.json()
    await app.close()
    await phone.bringToFront()
    await paste(phone, serviceVds)
    await phone.getByText('You trust this service already.').waitFor()
    // Of two words of one second the second doesn't count (5-security 352).
    await phone.waitForTimeout(1000)
    await trustOn(phone)
  })

  test('with a camera: what stands before it is read without a press', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'camera-'))
    const answer = await fetch(`${world.product}/services/bar-le-central/vds`)
    const { serviceVds } = (await answer.json()) as { serviceVds: string }
    const film = join(folder, 'poster.y4m')
    writeFileSync(film, filmOf(serviceVds))
    const browser = await launchBrowser([
      '--use-fake-ui-for-media-stream',
      '--use-fake-device-for-media-stream',
      `--use-file-for-fake-video-capture=${film}`,
    ])
    try {
      const profile = await openProfile(browser, origins, faults)
      const phone = await newPhone(await profile.newPage())
      await phone.getByRole('button', { name: 'Scan a code' }).click()
      await trustOn(phone)
    } finally {
      await browser.close()
      rmSync(folder, { recursive: true, force: true })
    }
  })

  test('an altered Service VDS and one that was replaced are told apart, and neither is trusted', async () => {
    const phone = await newPhone()
    const poster = await phone.request.get(`${world.product}/services/bar-le-central/vds`)
    const { serviceVds } = (await poster.json()) as { serviceVds: string }
    const other = serviceVds.at(40) === 'A' ? 'B' : 'A'
    await paste(phone, `${serviceVds.slice(0, 40)}${other}${serviceVds.slice(41)}`)
    expect(await outcomeOn(phone)).toBe('This service proves nothing')
    await phone.getByRole('button', { name: 'Done' }).click()
    await world.operator.post('/operator/services/bar-le-central/vds', { withdrawOthers: true })
    await paste(phone, serviceVds)
    await phone.getByRole('button', { name: 'Trust this service' }).click()
    expect(await outcomeOn(phone)).toBe('This code is no longer good')
  })

  test('a service that demands it: no login before it is trusted, and in plain words', async () => {
    const record = barRecord(world.bar)
    await world.operator.put('/operator/services/bar-le-central', {
      ...record,
      trustRequired: true,
    })
    try {
      const phone = await newPhone()
      const bar = await newBrowser()
      await verifyAge(bar)
      await scan(phone, bar, 'svg.qr')
      expect(await outcomeOn(phone)).toBe('Trust this service first')
      await phone.getByRole('button', { name: 'Done' }).click()
      const other = await bar.context().newPage()
      await registerAt(other)
      await scan(phone, other, 'svg.qr')
      await trustOn(phone)
      await bar.bringToFront()
      await scan(phone, bar, 'svg.qr')
      await approveOn(phone)
      expect(await shared(bar)).toEqual({ age_over_18: 'Yes' })
    } finally {
      await world.operator.put('/operator/services/bar-le-central', record)
    }
  })
})
