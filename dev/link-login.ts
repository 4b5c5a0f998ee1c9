/**
 * An age check on one device, on the hosted pages: a link opens the phone, and what the phone opens takes the browser that
 * began back to the bar. A browser without script follows it all.
 */
import {
  approve,
  type Claims,
  claimText,
  compareCodes,
  demand,
  detailsOf,
  type Stage,
} from './login-stage.ts'
import { backAtBar, barOf, codeOn, expectPage, finishAtBar } from './oidc-login.ts'
import { type Page, PlainBrowser } from './plain-browser.ts'

/** Logs in and gives what the bar learnt. Throws a sentence at the first thing that isn't as it must be. */
export async function linkLogin(stage: Stage): Promise<Claims> {
  const { world, step } = stage
  const bar = barOf(stage)
  const browser = new PlainBrowser(world.product)

  const { signIn, start } = await step('authorize', async () => {
    const begun = await bar.begin('', stage.scopes)
    const page = await browser.open(begun.address)
    expectPage(page, 'login-start')
    return { signIn: begun.signIn, start: page }
  })
  const { waiting, link } = await step('link', async () => {
    const page = await browser.submit(start, '/login/scan')
    expectPage(page, 'login-scan')
    return { waiting: page, link: linkOn(page) }
  })
  await step('open', async () => {
    // Without an app that takes the link, the browser shows where the development world's is.
    const page = await browser.open(link)
    expectPage(page, 'login-app')
    demand(page.text.includes(`href="${world.phone}/"`), 'the page does not lead to the phone')
  })
  const claimed = await step('claim', () => claimText(stage, link), detailsOf)
  const { code, before } = await step('code', async () => {
    const page = await browser.submit(waiting, '/login/continue')
    expectPage(page, 'login-pushing')
    compareCodes(stage, claimed, codeOn(page))
    return { code: codeOn(page), before: page }
  })
  const returnTo = await step('approve', async () => {
    const window = await approve(stage, claimed, code)
    demand(window !== undefined, 'the phone was told nothing to open')
    return window
  })
  const query = await step('return', async () => {
    expectPage(await browser.submit(before, '/login/continue'), 'login-other-window')
    return backAtBar(stage, await comeBack(browser, returnTo))
  })
  return finishAtBar(stage, bar, query, signIn)
}

/** The address that opens the app on this device. */
function linkOn({ text }: Page): string {
  const link = /<a id="qr-link" href="([^"]+)"/.exec(text)?.[1] ?? ''
  demand(link.endsWith('.link'), 'the page has no link that opens the app')
  return link
}

/**
 * Opens the page at `returnTo` and presses "Continue", which posts what stands behind the `#`: this browser has never seen
 * the person, so the page asks.
 */
async function comeBack(browser: PlainBrowser, returnTo: string): Promise<Page> {
  const page = await browser.open(returnTo)
  expectPage(page, 'login-finish')
  const [, sessionId = '', completion = ''] = /^#([^.]*)\.(.*)$/.exec(new URL(returnTo).hash) ?? []
  return browser.submit(page, '/login/return', { sessionId, completion, confirmed: 'yes' })
}
