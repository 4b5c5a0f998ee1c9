/** One login by OpenID Connect: the bar as a client of its library, and a browser without script on the hosted pages. */
import { isDeepStrictEqual } from 'node:util'
import { RelyingParty, type SignIn } from './bar/relying-party.ts'
import {
  approve,
  type Claims,
  checkToken,
  claim,
  demand,
  detailsOf,
  openPush,
  personIn,
  type Stage,
} from './login-stage.ts'
import { type Page, PlainBrowser } from './plain-browser.ts'

/** Logs in and gives what the bar learnt. Throws a sentence at the first thing that isn't as it must be. */
export async function oidcLogin(stage: Stage): Promise<Claims> {
  const { world, phone, step } = stage
  const bar = barOf(stage)
  const browser = new PlainBrowser(world.product)

  const { signIn, start } = await step('authorize', async () => {
    const begun = await bar.begin()
    const page = await browser.open(begun.address)
    expectPage(page, 'login-start')
    return { signIn: begun.signIn, start: page }
  })
  const { waiting, code } = await step('page', async () => {
    const page = await browser.submit(start, '/login/address', { tokenId: phone.tokenId ?? '' })
    expectPage(page, 'login-pushing')
    return { waiting: page, code: codeOn(page) }
  })
  const sessionId = await step('push', () => openPush(stage))
  const claimed = await step('claim', () => claim(stage, sessionId, code), detailsOf)
  await step('approve', () => approve(stage, claimed, code))
  const query = await step('continue', async () =>
    backAtBar(stage, await browser.submit(waiting, '/login/continue')),
  )
  return finishAtBar(stage, bar, query, signIn)
}

/** The bar as a client of its library. */
export function barOf({ world }: Stage): RelyingParty {
  return new RelyingParty({ issuer: world.product, ...world.service }, world.bar)
}

/** The query with which the answer `page` sends the browser back to the bar. */
export function backAtBar({ world }: Stage, { status, location = '' }: Page): string {
  const landed = status === 303 && location.startsWith(`${world.bar}/callback?`)
  demand(landed, `the browser was not sent back to the bar, but answered ${status} ${location}`)
  return new URL(location).search
}

/** The bar redeems the code in `query`, asks userinfo, and has the id_token judged; gives what it learnt. */
export async function finishAtBar(
  stage: Stage,
  bar: RelyingParty,
  query: string,
  signIn: SignIn,
): Promise<Claims> {
  const { scopes, step } = stage
  const { idToken, accessToken, claims } = await step('token', () => bar.finish(query, signIn))
  await step('userinfo', async () => {
    const info = await bar.userinfo(accessToken, claims.sub)
    const agrees = isDeepStrictEqual(personIn(info, scopes), personIn(claims, scopes))
    demand(agrees, 'userinfo and id_token disagree')
  })
  const answer = { token: idToken, nonce: signIn.nonce, accessToken }
  return step(
    'check',
    () => checkToken(stage, answer),
    (shared) => ({ claims: shared }),
  )
}

/** Demands that the browser was shown the page `expected`. */
export function expectPage({ id, status }: Page, expected: string): void {
  demand(id === expected, `the browser was shown ${id ?? status} instead of ${expected}`)
}

/** The six digits, as the page shows them in two groups. */
export function codeOn({ text }: Page): string {
  const code = [...text.matchAll(/<span>(\d{3})<\/span>/g)].map(([, digits]) => digits).join('')
  demand(code.length === 6, 'the page shows no code')
  return code
}
