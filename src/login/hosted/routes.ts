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
import { careOf } from '../care.ts'
import { readCompletion } from '../completion.ts'
import { loginId } from '../conclusion.ts'
import type { Asked, DoorName, Doors, Onward } from '../door.ts'
import type { LoginSessionObject } from '../object.ts'
import { linkOf, qrOf } from '../scan-proof.ts'
import { type Continued, type Hosted, REQUEST_MS, type Started } from '../session.ts'
import { socketToken } from '../socket-token.ts'
import { type Afterwards, addresseeOf, announce, type StartHouse } from '../start.ts'
import { isStanding, standingOf } from '../store.ts'
import {
  browserHashOf,
  browserOf,
  isDone,
  knownPeople,
  personMark,
  rememberDone,
  rememberPerson,
} from './browser.ts'
import { answerOnward } from './onward.ts'
import {
  againPage,
  appPage,
  type Carried,
  confirmPage,
  elsewherePage,
  endPage,
  returnConfirmPage,
  returnPage,
  startPage,
  waitPage,
} from './pages.ts'
import { QR_LIBRARY } from './qr-library.ts'
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

/** The forms of a hosted login, the script of its QR, and what an app opens or is opened by. */
export function hostedRoutes(house: HostedHouse): Hono {
  const app = new Hono()
  app.post('/login/scan', (c) => scan(house, c)).all('/login/scan', only('POST'))
  app
    .get('/login/return', (c) =>
      show(house, returnPage(knownPeople(c.req.raw.headers.get('Cookie')))),
    )
    .post('/login/return', (c) => complete(house, c))
    .all('/login/return', only('GET, HEAD, POST'))
  app.get('/login/qr.js', () => qrModule()).all('/login/qr.js', only('GET, HEAD'))
  app.get('/l', () => show(house, appPage(house.config.appUrl))).all('/l', only('GET, HEAD'))
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
    const tokenId = readTypedTokenId(hint ?? '') ?? null
    const ticket = { sessionId, asked, hint: tokenId, requestedAt: house.now() }
    const sealed = await sealTicket(house.config.master, ticket, browser.hash, house.random(12))
    // Better refused now than by the form that would have to carry it.
    if (sealed.length > LONGEST_TICKET) return show(house, endPage('error-request'))
    const page = startPage({ asked, ticket: sealed, tokenId: tokenId ?? '' })
    return show(house, page, browser.setCookie === null ? [] : [browser.setCookie])
  }
}

async function address(house: HostedHouse, c: Context): Promise<Response> {
  const step = await readStep(house, c)
  if (!step.ok) return step.answer
  const { form, ticket } = step
  const typed = form.values.get('tokenId') ?? ''
  const tokenId = readTypedTokenId(typed)
  if (tokenId !== undefined) return attempt(house, c, step, tokenId)
  const carried = { asked: ticket.asked, ticket: form.values.get('ticket') ?? '', tokenId: typed }
  // No number at all: the person wants to type another one. The field itself never sends an empty one.
  return show(house, startPage(carried, typed !== ''))
}

/** No number: whoever scans the QR, or follows the link on this device. */
async function scan(house: HostedHouse, c: Context): Promise<Response> {
  const step = await readStep(house, c)
  return step.ok ? attempt(house, c, step, null) : step.answer
}

/** The first attempt of a login, or the next one. `tokenId`: whom it is for; `null`: whoever scans it. */
async function attempt(
  house: HostedHouse,
  c: Context,
  { ticket, form, browser }: Step,
  tokenId: string | null,
): Promise<Response> {
  const { sessionId, requestedAt, hint } = ticket
  if (await isDone(browser.cookies, sessionId)) return show(house, endPage('login-completed'))
  if (house.now() >= requestedAt + REQUEST_MS) return show(house, endPage('login-over'))
  const bucket = addressBucket(c.req.raw.headers, house.config.clientAddressHeader)
  const { success } = await house.startLimit.limit({ key: bucket })
  if (!success) return show(house, endPage('login-limited'), [], { 'Retry-After': '60' })

  const login = await loginId(sessionId)
  const { id: serviceId } = ticket.asked.service
  const standing = await standingOf(house.db, house.trust, tokenId ?? '', serviceId, login)
  const { service, enrollment, loginEnded } = standing
  // The object is gone with its outcome, and a browser may forget that it was there: a login never begins a second time.
  if (loginEnded) return show(house, endPage('login-completed'))
  // What was asked ten minutes ago must still be allowed: the registry is asked at every step.
  if (service === undefined || !house.doors[ticket.asked.door].allows(ticket.asked, service)) {
    return show(house, endPage('error-client'))
  }
  const asked = { ...ticket.asked, ...careOf(service, house.config) }
  // A number that can't log in gets a login that nobody can approve: the page looks the same.
  const stands = isStanding(standing, enrollment?.enrollmentId, Math.floor(house.now() / 1000))
  const person = tokenId === null ? null : { tokenId, enrollment: stands ? enrollment : undefined }
  const hosted: Hosted = { browser: browser.hash, requestedAt }
  const after = Number(/^\d{1,2}$/.exec(form.values.get('after') ?? '')?.[0] ?? '0')
  const session = house.sessionOf(sessionId)
  const addressee = person === null ? null : addresseeOf(person)
  const hinted = tokenId !== null && tokenId === hint
  const opened = await session?.attempt(asked, addressee, hosted, { after, hinted })
  if (opened === undefined || !opened.ok) {
    const completed = opened?.ok === false && opened.reason === 'session_resolved'
    return show(house, endPage(completed ? 'login-completed' : 'login-over'))
  }
  const started = opened.value
  const afterwards: Afterwards | undefined =
    started.repeated || person === null
      ? undefined
      : await announce(house.start, asked, person, started)
  const carried = { asked, ticket: form.values.get('ticket') ?? '', tokenId: tokenId ?? '' }
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
  const recognition = {
    marks: knownPeople(browser.cookies),
    confirmed: form.values.get('confirmed') === 'yes',
  }
  const continued = (await session?.continue(browser.hash, recognition)) ?? { act: 'unknown' }
  const { asked } = ticket
  const tokenId = readTypedTokenId(form.values.get('tokenId') ?? '') ?? ''
  const carried = { asked, ticket: form.values.get('ticket') ?? '', tokenId }
  switch (continued.act) {
    case 'wait':
      return showWait(house, carried, continued.started, true)
    case 'again':
      return show(house, againPage(carried, continued))
    case 'confirm':
      return show(house, confirmPage(carried, continued.tokenId))
    case 'return':
      return show(house, elsewherePage(carried))
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
  const back = onward === null ? abandoned : { act: 'onward' as const, onward, tokenId: null }
  return leave(house, step, back)
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

/**
 * The window that the app opened. It belongs to the browser that began the login or it gets nothing: whoever sent the link
 * has another cookie (5-security 358).
 */
async function complete(house: HostedHouse, c: Context): Promise<Response> {
  const { headers } = c.req.raw
  const { origin } = new URL(house.config.issuer)
  if (!isOwnNavigation(headers, origin) || !isTopLevel(headers)) {
    return show(house, endPage('login-foreign'))
  }
  const form = await readForm(c.req.raw)
  if (!form.ok) return show(house, endPage('error-request'))
  const { values } = form.value
  const sessionId = values.get('sessionId') ?? ''
  const completion = values.get('completion') ?? ''
  const cookies = headers.get('Cookie')
  const hash = await browserHashOf(cookies)
  const session = house.sessionOf(sessionId)
  if (session === undefined) return show(house, endPage('login-over'))
  const content = await readCompletion(house.config.master, sessionId, completion)
  if (hash === undefined || content?.browser !== hash) return show(house, endPage('login-foreign'))
  const isMe = values.get('confirmed') !== 'no'
  const isSaid = !isMe || values.get('confirmed') === 'yes'
  // Whoever had the link could have approved in his own name, and sent this browser here.
  if (!isSaid && !knownPeople(cookies).includes(await personMark(hash, content.tokenId))) {
    return show(house, returnConfirmPage(content, { sessionId, completion }))
  }
  const completed = await session.complete(hash, completion, isMe)
  switch (completed.act) {
    case 'onward':
      return leaveWith(house, { hash, cookies }, { ...completed, sessionId })
    case 'foreign':
      return show(house, endPage('login-foreign'))
    case 'completed':
      return show(house, endPage('login-completed'))
    case 'unknown': {
      const done = await isDone(cookies, sessionId)
      return show(house, endPage(done ? 'login-completed' : 'login-over'))
    }
  }
}

/** Sends the browser back to the service, or says why there is nothing to send it with. */
async function leave(house: HostedHouse, step: Step, continued: Continued): Promise<Response> {
  const { ticket, browser } = step
  if (continued.act !== 'onward') {
    const done = continued.act === 'completed' || (await isDone(browser.cookies, ticket.sessionId))
    return show(house, endPage(done ? 'login-completed' : 'login-over'))
  }
  return leaveWith(house, browser, { ...continued, ...ticket })
}

/** The way back, with what this browser is to remember: that this login is over, who signed in, and what the door wants. */
async function leaveWith(
  house: HostedHouse,
  browser: Step['browser'],
  {
    onward,
    tokenId,
    asked,
    sessionId,
  }: Pick<Ticket, 'asked' | 'sessionId'> & {
    readonly onward: Onward
    readonly tokenId: string | null
  },
): Promise<Response> {
  const { hash, cookies } = browser
  const { keepsake } = onward
  const kept = keepsake === undefined ? [] : await house.keep(asked.door, keepsake, cookies)
  const known = tokenId === null ? [] : [await rememberPerson(cookies, hash, tokenId)]
  const all = [await rememberDone(cookies, sessionId), ...known, ...kept]
  return answerOnward(onward, asked.service.name, toBase64url(house.random(16)), all)
}

/** The encoder of the QR, which the pages' own script loads: nothing personal is in it. */
function qrModule(): Response {
  return new Response(QR_LIBRARY, {
    headers: {
      'Content-Type': 'text/javascript; charset=utf-8',
      'Cache-Control': 'public, max-age=86400',
      'Cross-Origin-Resource-Policy': 'same-origin',
    },
  })
}

async function showWait(
  house: HostedHouse,
  carried: Carried,
  started: Started,
  early = false,
): Promise<Response> {
  const { master, issuer } = house.config
  const { sessionId, attempt: number } = started
  const screen = { sessionId, attempt: number }
  const now = house.now()
  const [token, qr, link] = await Promise.all([
    socketToken(master, sessionId),
    qrOf(master, issuer, screen, now),
    linkOf(master, issuer, screen),
  ])
  return show(house, waitPage(carried, { started, qr, link, socketToken: token, now, early }))
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
