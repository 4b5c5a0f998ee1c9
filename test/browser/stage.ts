/** A development world with a Chromium before it, and what a page does there that no page should. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  chromium,
} from 'playwright-core'
import type { Delivery } from '../../dev/fcm/devices.ts'
import { enroll, must, Queue } from '../../dev/login-stage.ts'
import type { Claim, Phone } from '../../dev/phone/phone.ts'
import { freePorts } from '../../dev/ports.ts'
import { startWorld, type World } from '../../dev/world.ts'

export interface Stage {
  readonly world: World
  readonly browser: Browser
  readonly close: () => Promise<void>
}

/** Where the product reads a visitor's address here: each profile is a visitor of its own to its rate limits. */
const ADDRESS_HEADER = 'x-address-of-the-test'
let profiles = 0

/** A browser that keeps pages for the back button, as browsers do. */
export function launchBrowser(more: readonly string[] = []): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      ...more,
    ],
  })
}

/** A world of its own with a browser before it. */
export async function openStage(): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), 'browser-'))
  const [port = 0, phonePort = 0, barPort = 0] = await freePorts(3)
  const settings = { CLIENT_ADDRESS_HEADER: ADDRESS_HEADER }
  const world = await startWorld({ folder, port, phonePort, barPort, settings })
  const browser = await launchBrowser()
  const close = async () => {
    await browser.close()
    await world.stop()
    rmSync(folder, { recursive: true, force: true })
  }
  return { world, browser, close }
}

/** A fresh profile. `faults` hears of violated policies, errors of scripts, and requests to anybody but `origins`. */
export async function openProfile(
  browser: Browser,
  origins: readonly string[],
  faults: string[],
  options: BrowserContextOptions = {},
): Promise<BrowserContext> {
  const context = await browser.newContext({
    viewport: { width: 460, height: 820 },
    extraHTTPHeaders: { [ADDRESS_HEADER]: `192.0.2.${++profiles}` },
    ...options,
  })
  await context.addInitScript(() => {
    addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => {
      console.error(`policy: ${violatedDirective} ${blockedURI}`)
    })
  })
  context.on('console', (message) => {
    // An answer that isn't 200 may well be right; the tests look at the page that it shows.
    const isStatus = message.text().startsWith('Failed to load resource: the server responded')
    if (['error', 'warning'].includes(message.type()) && !isStatus) faults.push(message.text())
  })
  context.on('weberror', (fault) => faults.push(fault.error().message))
  context.on('request', (request) => {
    const origin = new URL(request.url()).origin.replace(/^ws/, 'http')
    if (!origins.includes(origin)) faults.push(`request to ${request.url()}`)
  })
  return context
}

/** Somebody with a phone in the hand. */
export interface Owner {
  readonly phone: Phone
  readonly tokenId: string
  /** Opens the login that the next push announces. */
  readonly pickUp: () => Promise<Claim>
  readonly approve: (claim: Claim) => Promise<void>
  /** How often the phone has rung. */
  readonly rung: () => number
}

/** A person whose phone is enrolled and rings. */
export async function meetOwner(world: World): Promise<Owner> {
  const { phone, fcmToken } = await enroll(world)
  const pushes = new Queue<Delivery>()
  let rung = 0
  world.fcm.subscribe(fcmToken, (delivery) => {
    rung++
    pushes.put(delivery)
  })
  return {
    phone,
    tokenId: phone.tokenId ?? '',
    pickUp: async () => {
      const opened = await phone.openPush((await pushes.take('push')).data)
      if (opened.kind !== 'prompt') throw new Error(`the push was ${opened.kind}`)
      return must('the claim', await phone.claim(opened.prompt.sessionId))
    },
    approve: async (claim) => {
      must('the approval', await phone.approve(claim, { grantedScopes: claim.scopes }))
    },
    rung: () => rung,
  }
}
