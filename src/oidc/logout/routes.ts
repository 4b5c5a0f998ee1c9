/** `GET` and `POST /oidc/end-session` (OpenID Connect RP-Initiated Logout), and who is told of the end. */
import { type Context, Hono } from 'hono'
import { toBase64url } from '../../bytes.ts'
import type { Config } from '../../config.ts'
import { readForm } from '../../http/body.ts'
import { expiredCookie, type HostCookieName } from '../../http/cookies.ts'
import { only } from '../../http/method.ts'
import { isOwnNavigation, isTopLevel } from '../../http/navigation.ts'
import { htmlPage, type Page } from '../../http/page.ts'
import { type Parameters, parametersOf } from '../../http/parameters.ts'
import { browserHashOf, browserOf } from '../../login/hosted/browser.ts'
import { answerOnward } from '../../login/hosted/onward.ts'
import type { Service } from '../../services/service.ts'
import { redirectAddress } from '../authorization-error.ts'
import { type Hint, hintOf } from '../hint.ts'
import { errorPage, logoutConfirmPage, logoutDonePage } from '../pages.ts'
import { PATHS } from '../paths.ts'
import { askedByAddress } from '../posted-request.ts'
import type { NoteRefusal } from '../refusal.ts'
import { type SsoSession, ssoCookiesIn } from '../sso.ts'
import type { ClientSession, OidcStore } from '../store.ts'
import {
  type LogoutRequest,
  namedClient,
  openConfirmation,
  readLogoutRequest,
  sealConfirmation,
} from './request.ts'

export interface LogoutHouse {
  readonly config: Config
  readonly store: OidcStore
  readonly recallService: (clientId: string) => Promise<Service | undefined>
  readonly noteRefusal: NoteRefusal
  /** The payload of an id_token of ours, however old; see `KeyRing.readIdToken`. */
  readonly readIdToken: (jws: string) => Promise<Readonly<Record<string, unknown>> | undefined>
  /** Tells the clients of `sessions`; bounded, and never throws. */
  readonly tellClients: (sessions: readonly ClientSession[]) => Promise<void>
  /** Unix seconds. */
  readonly now: () => number
  readonly random: (length: number) => Uint8Array<ArrayBuffer>
}

/** A session of this browser, in the cookie of that name. */
interface Kept {
  readonly name: HostCookieName
  readonly session: SsoSession
}

export function logoutRoutes(house: LogoutHouse): Hono {
  const app = new Hono()
  app
    .get(PATHS.endSession, (c) => {
      const { search } = new URL(c.req.url)
      return endSession(house, c, parametersOf(search.slice(1), ['state']))
    })
    .post(PATHS.endSession, async (c) => {
      const form = await readForm(c.req.raw, undefined, ['state'])
      if (!form.ok) return refuse(house, form.reason)
      const confirmation = form.value.values.get('confirmation')
      if (confirmation !== undefined) return confirmed(house, c, confirmation)
      const again = askedByAddress(house.config.issuer, PATHS.endSession, form.value)
      return again ?? refuse(house, 'too long')
    })
    .all(PATHS.endSession, only('GET, HEAD, POST'))
  return app
}

async function endSession(
  house: LogoutHouse,
  c: Context,
  parameters: Parameters | undefined,
): Promise<Response> {
  if (!isTopLevel(c.req.raw.headers)) return forbid(house)
  if (parameters === undefined) return refuse(house, 'malformed')
  const hint = await readHint(house, parameters)
  const named = hint === 'invalid' ? undefined : namedClient(parameters, hint)
  if (hint === 'invalid' || !named?.ok) return refuse(house, 'id_token_hint')
  const service = named.value === null ? undefined : await house.recallService(named.value)
  const read = readLogoutRequest(parameters, hint, service)
  if (!read.ok) return refuse(house, 'post_logout_redirect_uri or state', service?.serviceId)
  const request = read.value

  const kept = await sessionsIn(house, c)
  const own = kept.filter(({ session }) => session.grant.clientId === hint?.clientId)
  const isExpected = own.every(({ session }) => session.grant.sub === hint?.sub)
  // Whoever shows the id_token of the person who is here need not ask; anybody else must (5-security 93, 98).
  if (hint === undefined || !isExpected) return ask(house, c, request, service)
  return end(house, c, own, request, hint)
}

/** The genuine hint of a request, `undefined` when it has none. */
async function readHint(
  house: LogoutHouse,
  { values }: Parameters,
): Promise<Hint | 'invalid' | undefined> {
  const jws = values.get('id_token_hint')
  if (jws === undefined) return undefined
  return hintOf(await house.readIdToken(jws)) ?? 'invalid'
}

async function ask(
  house: LogoutHouse,
  c: Context,
  { clientId, hint, returnTo, state }: LogoutRequest,
  service: Service | undefined,
): Promise<Response> {
  const { config, now, random } = house
  const browser = await browserOf(c.req.raw.headers.get('Cookie'), random(16))
  const question = {
    // Without a hint the person ends whatever this browser is signed in to.
    clientId: hint === null ? null : clientId,
    ...{ returnTo, state, askedAt: now() },
  }
  const sealed = await sealConfirmation(config.master, question, browser.hash, random(12))
  const page = logoutConfirmPage(sealed, service?.name, returnTo ?? undefined)
  return show(house, page, browser.setCookie === null ? [] : [browser.setCookie])
}

/** The person has said yes, on our own page and in this browser (5-security 99). */
async function confirmed(house: LogoutHouse, c: Context, text: string): Promise<Response> {
  const { headers } = c.req.raw
  const browser = await browserHashOf(headers.get('Cookie'))
  const own = isOwnNavigation(headers, new URL(house.config.issuer).origin) && isTopLevel(headers)
  const confirmation =
    browser === undefined || !own
      ? undefined
      : await openConfirmation(house.config.master, text, browser, house.now())
  if (confirmation === undefined) return forbid(house)
  const { clientId } = confirmation
  const kept = await sessionsIn(house, c)
  const ending = kept.filter(
    ({ session }) => clientId === null || session.grant.clientId === clientId,
  )
  return end(house, c, ending, confirmation)
}

/** Ends the sessions `kept`, and that of the hint; tells their clients after the answer; and leads on. */
async function end(
  house: LogoutHouse,
  c: Context,
  kept: readonly Kept[],
  { returnTo, state }: Pick<LogoutRequest, 'returnTo' | 'state'>,
  hint?: Hint,
): Promise<Response> {
  // The hint may be of an earlier login of the same person than the cookie.
  const named = [...kept.map(({ session }) => session.grant), ...(hint === undefined ? [] : [hint])]
  const ended = new Map(named.map(({ sid, clientId }) => [sid, clientId]))
  const taken: ClientSession[] = []
  for (const [sid, clientId] of ended) {
    const session = await house.store.takeSession(sid, clientId)
    if (session !== undefined) taken.push(session)
  }
  c.executionCtx.waitUntil(house.tellClients(taken))
  const cookies = kept.map(({ name }) => expiredCookie(name))
  if (returnTo === null) return show(house, logoutDonePage(), cookies)
  const address = redirectAddress(returnTo, state === null ? {} : { state })
  return answerOnward({ address }, '', toBase64url(house.random(16)), cookies)
}

/** The sessions that this browser holds, of every client. */
async function sessionsIn({ config, now }: LogoutHouse, c: Context): Promise<readonly Kept[]> {
  const cookies = await ssoCookiesIn(config.master, c.req.raw.headers.get('Cookie'), now())
  return cookies.flatMap(({ name, session }) => (session === undefined ? [] : [{ name, session }]))
}

async function refuse(house: LogoutHouse, why: string, service?: string): Promise<Response> {
  await house.noteRefusal('logout', why, service)
  return show(house, errorPage('error-logout'))
}

/** Not a person's own doing, as far as we can see (5-security 99). */
function forbid(house: LogoutHouse): Promise<Response> {
  return show(house, { ...errorPage('error-logout'), status: 403 })
}

function show(
  { random }: LogoutHouse,
  page: Page,
  cookies: readonly string[] = [],
): Promise<Response> {
  const headers = cookies.map((cookie) => ['Set-Cookie', cookie] as const)
  return htmlPage({ ...page, headers }, toBase64url(random(16)))
}
