/** The pages of a hosted login over HTTP: every step is a form of ours, bound to the browser that began. */
import { type Context, Hono } from 'hono'
import { toBase64url } from '../../bytes.ts'
import type { Config } from '../../config.ts'
import { addressBucket } from '../../http/address.ts'
import { BODY_LIMIT, readForm } from '../../http/body.ts'
import { only } from '../../http/method.ts'
import { isOwnNavigation, isTopLevel } from '../../http/navigation.ts'
import { htmlPage, type Page } from '../../http/page.ts'
import type { Parameters } from '../../http/parameters.ts'
import type { TrustLists } from '../../seal/store.ts'
import type { Service } from '../../services/service.ts'
import { loginId } from '../conclusion.ts'
import type { Asked, DoorName, Doors, Onward } from '../door.ts'
import type { LoginSessionObject } from '../object.ts'
import { type Continued, type Hosted, REQUEST_MS, type Started } from '../session.ts'
import { socketToken } from '../socket-token.ts'
import { type Afterwards, addresseeOf, announce, type StartHouse } from '../start.ts'
import { isStanding, standingOf } from '../store.ts'
import { browserHashOf, browserOf, isDone, rememberDone } from './browser.ts'
import { answerOnward } from './onward.ts'
import { againPage, type Carried, endPage, startPage, waitPage } from './pages.ts'
import { openTicket, sealTicket, type Ticket } from './ticket.ts'
import { readTypedTokenId } from './typed.ts'

/** What the hosted pages reach for; the composition hands it in. */
export interface HostedHouse {
  readonly config: Config
  readonly db: D1Database
  readonly trust: TrustLists
  readonly start: StartHouse
  readonly doors: Doors
  /** The service as it was a moment ago. */
  readonly recallService: (serviceId: string) => Promise<Service | undefined>
  readonly sessionOf: (sessionId: string) => DurableObjectStub<LoginSessionObject> | undefined
  /** An id that no login has had. */
  readonly newSessionId: () => string
  /** The `Set-Cookie` headers by which a browser keeps what a door wants it to remember. */
  readonly keep: (
    door: DoorName,
    keepsake: NonNullable<Onward['keepsake']>,
    cookieHeader: string | null,
  ) => Promise<readonly string[]>
  /** Unix milliseconds. */
  readonly now: () => number
  readonly random: (length: number) => Uint8Array<ArrayBuffer>
  readonly startLimit: RateLimit
}

/**
 * Shows the first page of a login that a door asks for. `hint`: what may already stand in the field. `sessionId`: the id of
 * the login, where the door has promised one already.
 */
export type ShowLogin = (
  request: Request,
  asked: Asked,
  hint: string | null,
  sessionId: string | null,
) => Promise<Response>

/** `/login/address`, `/login/continue` and `/login/cancel`. */
export function hostedRoutes(house: HostedHouse): Hono {
  const app = new Hono()
  app.post('/login/address', (c) => address(house, c)).all('/login/address', only('POST'))
  app.post('/login/continue', (c) => proceed(house, c)).all('/login/continue', only('POST'))
  app.post('/login/cancel', (c) => cancel(house, c)).all('/login/cancel', only('POST'))
  return app
}

/** What a form of ours holds beside its ticket is short, even when every character of it is escaped. */
const LONGEST_TICKET = BODY_LIMIT.page - 4096

/** The first page: nothing is stored yet, everything is in its ticket. */
export function loginShower(house: HostedHouse): ShowLogin {
  return async (request, asked, hint, promised) => {
    // Framed or fetched ahead, a page of ours could be played with (5-security 339).
    if (!isTopLevel(request.headers)) return show(house, endPage('login-browser'))
    const browser = await browserOf(request.headers.get('Cookie'), house.random(16))
    const sessionId = promised ?? house.newSessionId()
    const ticket = { sessionId, asked, requestedAt: house.now() }
    const sealed = await sealTicket(house.config.master, ticket, browser.hash, house.random(12))
    // Better refused now than by the form that would have to carry it.
    if (sealed.length > LONGEST_TICKET) return show(house, endPage('error-request'))
    const tokenId = readTypedTokenId(hint ?? '') ?? ''
    const page = startPage({ asked, ticket: sealed, tokenId })
    return show(house, page, browser.setCookie === null ? [] : [browser.setCookie])
  }
}

async function address(house: HostedHouse, c: Context): Promise<Response> {
  const step = await readStep(house, c)
  if (!step.ok) return step.answer
  const { ticket, form, browser } = step
  const { asked, sessionId, requestedAt } = ticket
  const typed = form.values.get('tokenId') ?? ''
  const tokenId = readTypedTokenId(typed)
  const carried = { asked, ticket: form.values.get('ticket') ?? '', tokenId: tokenId ?? typed }
  // No number at all: the person wants to type another one. The field itself never sends an empty one.
  if (tokenId === undefined) return show(house, startPage(carried, typed !== ''))

  if (await isDone(browser.cookies, sessionId)) return show(house, endPage('login-completed'))
  if (house.now() >= requestedAt + REQUEST_MS) return show(house, endPage('login-over'))
  const bucket = addressBucket(c.req.raw.headers, house.config.clientAddressHeader)
  const { success } = await house.startLimit.limit({ key: bucket })
  if (!success) return show(house, endPage('login-limited'), [], { 'Retry-After': '60' })

  const login = await loginId(sessionId)
  const standing = await standingOf(house.db, house.trust, tokenId, asked.service.id, login)
  const { service, enrollment, loginEnded } = standing
  // The object is gone with its outcome, and a browser may forget that it was there: a login never begins a second time.
  if (loginEnded) return show(house, endPage('login-completed'))
  // What was asked ten minutes ago must still be allowed: the registry is asked at every step.
  if (service === undefined || !house.doors[asked.door].allows(asked, service)) {
    return show(house, endPage('error-client'))
  }
  // A number that can't log in gets a login that nobody can approve: the page looks the same.
  const stands = isStanding(standing, enrollment?.enrollmentId, Math.floor(house.now() / 1000))
  const person = { tokenId, enrollment: stands ? enrollment : undefined }
  const hosted: Hosted = { browser: browser.hash, requestedAt }
  const after = Number(/^\d{1,2}$/.exec(form.values.get('after') ?? '')?.[0] ?? '0')
  const session = house.sessionOf(sessionId)
  const attempt = await session?.attempt(asked, addresseeOf(person), hosted, after)
  if (attempt === undefined || !attempt.ok) {
    const completed = attempt?.ok === false && attempt.reason === 'session_resolved'
    return show(house, endPage(completed ? 'login-completed' : 'login-over'))
  }
  const started = attempt.value
  const afterwards: Afterwards | undefined = started.repeated
    ? undefined
    : await announce(house.start, asked, person, started)
  const answer = await showWait(house, carried, started)
  // Not before the answer is ready: the work of a push would show in its time.
  if (afterwards) c.executionCtx.waitUntil(scheduler.wait(0).then(afterwards))
  return answer
}

async function proceed(house: HostedHouse, c: Context): Promise<Response> {
  const step = await readStep(house, c)
  if (!step.ok) return step.answer
  const { ticket, form, browser } = step
  const session = house.sessionOf(ticket.sessionId)
  const continued = (await session?.continue(browser.hash)) ?? { act: 'unknown' }
  const { asked } = ticket
  const tokenId = readTypedTokenId(form.values.get('tokenId') ?? '') ?? ''
  const carried = { asked, ticket: form.values.get('ticket') ?? '', tokenId }
  switch (continued.act) {
    case 'wait':
      return showWait(house, carried, continued.started, true)
    case 'again':
      return show(house, againPage(carried, continued))
    default:
      return leave(house, step, continued)
  }
}

async function cancel(house: HostedHouse, c: Context): Promise<Response> {
  const step = await readStep(house, c)
  if (!step.ok) return step.answer
  const { ticket, browser } = step
  const session = house.sessionOf(ticket.sessionId)
  const abandoned = (await session?.abandon(browser.hash)) ?? { act: 'unknown' }
  const done = await isDone(browser.cookies, ticket.sessionId)
  const onward = abandoned.act === 'unknown' && !done ? await wayBack(house, ticket) : null
  return leave(house, step, onward === null ? abandoned : { act: 'onward', onward })
}

/** Where a login leads that is cancelled before anybody typed a number, so that there is no object to ask. */
async function wayBack(house: HostedHouse, { asked }: Ticket): Promise<Onward | null> {
  const service = await house.recallService(asked.service.id)
  const door = house.doors[asked.door]
  return service !== undefined && door.allows(asked, service)
    ? door.refuse(asked, 'cancelled')
    : null
}

interface Step {
  readonly ok: true
  readonly form: Parameters
  readonly ticket: Ticket
  readonly browser: { readonly hash: string; readonly cookies: string | null }
}

/** The form of a step, or the page that says why it isn't one of this browser's (5-security 48, 99, 339). */
async function readStep(
  house: HostedHouse,
  c: Context,
): Promise<Step | { readonly ok: false; readonly answer: Response }> {
  const { raw } = c.req
  const refused = async (id: 'login-browser' | 'error-request') => ({
    ok: false as const,
    answer: await show(house, endPage(id)),
  })
  const foreign = () => refused('login-browser')
  const cookies = raw.headers.get('Cookie')
  const { origin } = new URL(house.config.issuer)
  if (!isOwnNavigation(raw.headers, origin) || !isTopLevel(raw.headers)) return foreign()
  const hash = await browserHashOf(cookies)
  if (hash === undefined) return foreign()
  const form = await readForm(raw, BODY_LIMIT.page)
  if (!form.ok) return refused('error-request')
  const ticket = await openTicket(house.config.master, form.value.values.get('ticket') ?? '', hash)
  if (ticket === undefined) return foreign()
  return { ok: true, form: form.value, ticket, browser: { hash, cookies } }
}

/** Sends the browser back to the service, or says why there is nothing to send it with. */
async function leave(house: HostedHouse, step: Step, continued: Continued): Promise<Response> {
  const { ticket, browser } = step
  if (continued.act !== 'onward') {
    const done = continued.act === 'completed' || (await isDone(browser.cookies, ticket.sessionId))
    return show(house, endPage(done ? 'login-completed' : 'login-over'))
  }
  const { keepsake } = continued.onward
  const { asked } = ticket
  const kept = keepsake === undefined ? [] : await house.keep(asked.door, keepsake, browser.cookies)
  const cookies = [await rememberDone(browser.cookies, ticket.sessionId), ...kept]
  const nonce = toBase64url(house.random(16))
  return answerOnward(continued.onward, asked.service.name, nonce, cookies)
}

async function showWait(
  house: HostedHouse,
  carried: Carried,
  started: Started,
  early = false,
): Promise<Response> {
  const token = await socketToken(house.config.master, started.sessionId)
  return show(house, waitPage(carried, started, token, house.now(), early))
}

function show(
  house: HostedHouse,
  page: Page,
  cookies: readonly string[] = [],
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  return htmlPage(
    {
      ...page,
      headers: [
        ...Object.entries(headers),
        ...cookies.map((cookie) => ['Set-Cookie', cookie] as const),
      ],
    },
    toBase64url(house.random(16)),
    { issuer: house.config.issuer },
  )
}
