/**
 * The two pages a newcomer sees, in a real Chromium over the real protocol: the virtual phone enrolls and approves, the bar
 * shows the code and then who came in.
 */
import type { BrowserContext, Page, WebSocketRoute } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import type { World } from '../../dev/world.ts'
import { openStage, type Stage } from './stage.ts'

let stage: Stage
let world: World
let context: BrowserContext
let phone: Page
let bar: Page
const outside: string[] = []

beforeAll(async () => {
  stage = await openStage()
  world = stage.world
})

afterAll(() => stage?.close())

beforeEach(async () => {
  context = await stage.browser.newContext({ viewport: { width: 460, height: 820 } })
  context.on('request', (request) => {
    const { hostname } = new URL(request.url())
    if (!['localhost', '127.0.0.1', ''].includes(hostname)) outside.push(request.url())
  })
  phone = await context.newPage()
  bar = await context.newPage()
})

afterEach(() => context.close())

/** Makes an IDToken in the phone and gives its number. */
async function enroll(person = 'Camille Martin'): Promise<string> {
  await phone.goto(world.phone)
  await phone.getByRole('radio', { name: person }).check()
  await phone.getByRole('button', { name: 'Make my IDToken' }).click()
  await phone.locator('#screen[data-screen=home]').waitFor()
  return (await phone.locator('#token-id').innerText()).trim()
}

/** Types the number into the bar and gives the code that the page shows. */
async function signIn(
  tokenId: string,
  way: 'Send to my phone' | 'page only',
  page = bar,
): Promise<string> {
  await page.goto(world.bar)
  await page.locator('#token-id').fill(tokenId)
  await page.getByRole('button', { name: way }).click()
  await page.locator('#card[data-state=waiting]').waitFor()
  await page.locator('.code').filter({ hasText: /\d/ }).waitFor()
  return digits(await page.locator('.code').innerText())
}

function digits(text: string): string {
  return text.replace(/\D/g, '')
}

/** The claims that the bar shows, by name. */
async function shared(): Promise<Record<string, string>> {
  await bar.locator('#card[data-state=counter]').waitFor()
  const rows = await bar.locator('#card tbody tr').all()
  return Object.fromEntries(
    await Promise.all(
      rows.map(async (row) => [
        await row.locator('code').innerText(),
        await row.locator('td').innerText(),
      ]),
    ),
  )
}

test.each(['Send to my phone', 'page only'] as const)(
  'login (%s): the same code on both screens, and the bar learns exactly the granted claims',
  async (way) => {
    const tokenId = await enroll()
    const code = await signIn(tokenId, way)
    await phone.locator('#screen[data-screen=prompt]').waitFor()
    expect(digits(await phone.locator('.code').innerText())).toBe(code)
    await bar.locator('[data-claimed]').waitFor()
    await phone.getByRole('button', { name: 'Approve & share' }).click()
    expect(await shared()).toEqual({ age_over_18: 'Yes', given_name: 'Camille' })
    await phone.locator('#screen[data-screen=result]').waitFor()
    expect(outside).toEqual([])
  },
)

test('213 a scope that is switched off is not shared', async () => {
  await signIn(await enroll(), 'Send to my phone')
  await phone.getByRole('switch', { name: 'First name' }).uncheck()
  await phone.getByRole('button', { name: 'Approve & share' }).click()
  expect(await shared()).toEqual({ age_over_18: 'Yes' })
})

test.each([
  ['Decline', /declined/i],
  ['Not me', /declined/i],
])('224 225 "%s" ends the login in the browser', async (button, heading) => {
  await signIn(await enroll(), 'Send to my phone')
  await phone.locator('#screen[data-screen=prompt]').waitFor()
  await phone.getByRole('button', { name: button, exact: true }).click()
  await bar.locator('#card[data-state=ended]').waitFor()
  expect(await bar.locator('#card h1').innerText()).toMatch(heading)
})

test('200 a page whose socket drops connects again, shows the same code, and ends well', async () => {
  const sockets: WebSocketRoute[] = []
  await bar.routeWebSocket(/\/ws\/session\//, (socket) => {
    sockets.push(socket)
    socket.connectToServer()
  })
  const code = await signIn(await enroll(), 'Send to my phone')
  await phone.locator('#screen[data-screen=prompt]').waitFor()
  await sockets[0]?.close({ code: 1012, reason: 'deployed' })
  await expect.poll(() => sockets.length, { timeout: 15_000 }).toBe(2)
  expect(digits(await bar.locator('.code').innerText())).toBe(code)
  await phone.getByRole('button', { name: 'Approve & share' }).click()
  expect(await shared()).toMatchObject({ given_name: 'Camille' })
})

test('the bar survives a reload while it waits, and forgets the sign-in at its end', async () => {
  const code = await signIn(await enroll(), 'Send to my phone')
  await bar.reload()
  await bar.locator('#card[data-state=waiting] .code').filter({ hasText: /\d/ }).waitFor()
  expect(digits(await bar.locator('.code').innerText())).toBe(code)
  await phone.getByRole('button', { name: 'Approve & share' }).click()
  expect(await shared()).toMatchObject({ given_name: 'Camille' })
  expect(await bar.evaluate(() => sessionStorage.length)).toBe(0)
})

test('of several logins the phone shows the newest first', async () => {
  const tokenId = await enroll()
  await phone.goto('about:blank')
  const older = await signIn(tokenId, 'Send to my phone')
  // Their deadlines, in whole milliseconds, tell which one is newer.
  await bar.waitForTimeout(50)
  const newer = await signIn(tokenId, 'page only', await context.newPage())
  await phone.goto(world.phone)
  for (const [code, place] of [
    [newer, 'Request 1 of 2'],
    [older, 'Request 2 of 2'],
  ] as const) {
    await phone.getByText(place).waitFor()
    expect(digits(await phone.locator('.code').innerText())).toBe(code)
    await phone.getByRole('button', { name: 'Decline', exact: true }).click()
    await phone.getByRole('button', { name: 'Done' }).click()
  }
})

test('what the document does not hold is not called shared', async () => {
  await signIn(await enroll('Suryani'), 'Send to my phone')
  await phone.getByText('(not in your document)').waitFor()
  await phone.getByRole('button', { name: 'Approve & share' }).click()
  expect(await shared()).toEqual({ age_over_18: 'Yes' })
  const received = phone.locator('#screen[data-screen=result] li')
  await received.first().waitFor()
  expect(await received.allInnerTexts()).toEqual(['Whether you are over 18'])
})

test.each([
  [320, 640],
  [460, 820],
  [1000, 820],
])('at %i x %i nothing is cut off', async (width, height) => {
  await phone.setViewportSize({ width, height })
  await bar.setViewportSize({ width, height })
  await signIn(await enroll(), 'Send to my phone')
  await phone.locator('#screen[data-screen=prompt]').waitFor()
  for (const name of ['Approve & share', 'Decline', 'Not me']) {
    const box = await phone.getByRole('button', { name, exact: true }).boundingBox()
    expect((box?.y ?? height) + (box?.height ?? 0), name).toBeLessThanOrEqual(height)
  }
  for (const page of [phone, bar]) {
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(width)
  }
})

test('the phone survives a reload, and finds a login that no push announced', async () => {
  const tokenId = await enroll()
  await phone.goto('about:blank')
  const code = await signIn(tokenId, 'Send to my phone')
  await phone.goto(world.phone)
  await phone.locator('#screen[data-screen=prompt]').waitFor()
  expect(digits(await phone.locator('.code').innerText())).toBe(code)
})

test('127 the phone keeps no key that can be taken out of it', async () => {
  await enroll()
  const extractable = await phone.evaluate(async () => {
    const names = (await indexedDB.databases()).map(({ name }) => name ?? '')
    const found: boolean[] = []
    for (const name of names) {
      const database = await new Promise<IDBDatabase>((resolve) => {
        const request = indexedDB.open(name)
        request.onsuccess = () => resolve(request.result)
      })
      for (const store of database.objectStoreNames) {
        const values = await new Promise<unknown[]>((resolve) => {
          const request = database.transaction(store).objectStore(store).getAll()
          request.onsuccess = () => resolve(request.result)
        })
        const look = (value: unknown): void => {
          if (value instanceof CryptoKey && value.type === 'private') found.push(value.extractable)
          else if (typeof value === 'object' && value !== null) Object.values(value).forEach(look)
        }
        values.forEach(look)
      }
    }
    return found
  })
  expect(extractable).toEqual([false, false])
})
