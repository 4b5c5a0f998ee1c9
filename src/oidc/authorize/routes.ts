/** `GET` and `POST /oidc/authorize` (OpenID Connect Core section 3.1.2). */
import { type Context, Hono } from 'hono'
import { toBase64url } from '../../bytes.ts'
import type { Config } from '../../config.ts'
import { readForm } from '../../http/body.ts'
import { readCookie } from '../../http/cookies.ts'
import { only } from '../../http/method.ts'
import { htmlPage } from '../../http/page.ts'
import { type Parameters, parametersOf } from '../../http/parameters.ts'
import { loginId } from '../../login/conclusion.ts'
import { readContext } from '../../login/context.ts'
import type { Asked, Granted, Onward } from '../../login/door.ts'
import { browserOf } from '../../login/hosted/browser.ts'
import { answerOnward } from '../../login/hosted/onward.ts'
import { isStanding } from '../../login/store.ts'
import { ok, type Result, refuse } from '../../result.ts'
import { matchesRedirectUri } from '../../services/oidc-client.ts'
import type { Service } from '../../services/service.ts'
import type { AuthorizationError } from '../authorization-error.ts'
import {
  type AuthorizationRequest,
  clientIdOf,
  MULTILINE_PARAMETERS,
  readAuthorizationRequest,
} from '../authorization-request.ts'
import { allows, askedBy, onwardTo, scopesAsked } from '../door.ts'
import { expectedSubs } from '../expected.ts'
import { claimsWithin } from '../grant.ts'
import { type ErrorPage, errorPage } from '../pages.ts'
import { PATHS } from '../paths.ts'
import { askedByAddress } from '../posted-request.ts'
import { isPushedReference, openPushedRequest } from '../pushed-request.ts'
import type { NoteRefusal } from '../refusal.ts'
import { mayAnswer, openSso, type SsoSession, ssoCookieName } from '../sso.ts'
import type { OidcStore } from '../store.ts'

export interface AuthorizeHouse {
  readonly config: Config
  readonly store: OidcStore
  /** The client as it was a moment ago: every step that gives something asks D1 again. */
  readonly recallService: (clientId: string) => Promise<Service | undefined>
  /** The payload of an id_token of ours, however old; see `KeyRing.readIdToken`. */
  readonly readIdToken: (jws: string) => Promise<Readonly<Record<string, unknown>> | undefined>
  /** Shows the first page of a hosted login, under the id `sessionId` if it has one already. login/ hands it in. */
  readonly showLogin: (
    request: Request,
    asked: Asked,
    hint: string | null,
    sessionId: string | null,
  ) => Promise<Response>
  /** Gives what was granted once more, without a phone; `null` when that login is over. login/ hands it in. */
  readonly resume: (
    asked: Asked,
    granted: Granted,
    browser: string,
    sessionId: string | null,
  ) => Promise<Onward | null>
  readonly startLimit: RateLimit
  readonly noteRefusal: NoteRefusal
  /** Unix seconds. */
  readonly now: () => number
  readonly random: (length: number) => Uint8Array<ArrayBuffer>
}

export function authorizeRoutes(house: AuthorizeHouse): Hono {
  const app = new Hono()
  app
    .get(PATHS.authorize, (c) => {
      const { search } = new URL(c.req.url)
      return authorize(house, c, parametersOf(search.slice(1), MULTILINE_PARAMETERS))
    })
    .post(PATHS.authorize, (c) => posted(house, c))
    .all(PATHS.authorize, only('GET, HEAD, POST'))
  return app
}

async function posted(house: AuthorizeHouse, c: Context): Promise<Response> {
  const form = await readForm(c.req.raw, undefined, MULTILINE_PARAMETERS)
  const again = form.ok
    ? askedByAddress(house.config.issuer, PATHS.authorize, form.value)
    : undefined
  return again ?? refuseUnread(house)
}

/** A request of which not even the client can be read. */
async function refuseUnread(house: AuthorizeHouse): Promise<Response> {
  await house.noteRefusal('authorize', 'error-request unreadable')
  return showError(house, 'error-request')
}

/** A request that was read, whichever way it came. */
interface Incoming {
  readonly request: AuthorizationRequest
  readonly service: Service
  /** See `OidcState`. */
  readonly expectedSubs: readonly string[]
  /** The login that a pushed request belongs to; `null`: it gets a new one. */
  readonly sessionId: string | null
}

async function authorize(
  house: AuthorizeHouse,
  c: Context,
  parameters: Parameters | undefined,
): Promise<Response> {
  if (parameters === undefined) return refuseUnread(house)
  const requestUri = parameters.values.get('request_uri')
  const isPushed = isPushedReference(requestUri) && !parameters.repeated.has('request_uri')
  const incoming = isPushed
    ? await readPushed(house, parameters, requestUri)
    : await readBrought(house, parameters)
  return incoming.ok ? proceed(house, c, incoming.value) : incoming.reason
}

/** What the client pushed before: of what the browser brings, only `client_id` counts (RFC 9126 section 4). */
async function readPushed(
  house: AuthorizeHouse,
  parameters: Parameters,
  requestUri: string,
): Promise<Result<Incoming, Response>> {
  const clientId = clientIdOf(parameters)
  const pushed = await openPushedRequest(house.config.master, requestUri, house.now())
  if (pushed === undefined || pushed.request.clientId !== clientId) {
    await house.noteRefusal('authorize', 'error-request-uri ended or foreign')
    return refuse(await showError(house, 'error-request-uri'))
  }
  const { sessionId } = pushed
  const { service, loginEnded } = await house.store.standing('', clientId, await loginId(sessionId))
  if (service?.oidc === undefined || !service.enabled) {
    await house.noteRefusal('authorize', 'error-client', clientId)
    return refuse(await showError(house, 'error-client'))
  }
  // Since the request was pushed the address may have been taken out of the record: nobody is sent there any more.
  if (!matchesRedirectUri(service.oidc, pushed.request.redirectUri)) {
    await house.noteRefusal('authorize', 'error-redirect-uri', clientId)
    return refuse(await showError(house, 'error-redirect-uri'))
  }
  if (loginEnded) {
    await house.noteRefusal('authorize', 'error-request-uri used', clientId)
    return refuse(await showError(house, 'error-request-uri'))
  }
  return ok({ ...pushed, service })
}

/** What the browser brings in its address. */
async function readBrought(
  house: AuthorizeHouse,
  parameters: Parameters,
): Promise<Result<Incoming, Response>> {
  const clientId = clientIdOf(parameters)
  const service = clientId === undefined ? undefined : await house.recallService(clientId)
  const read = readAuthorizationRequest(parameters, service)
  if (!read.ok) {
    const { reason } = read
    if (reason.kind === 'page') {
      await house.noteRefusal('authorize', reason.page, service?.serviceId)
      return refuse(await showError(house, reason.page))
    }
    const { error, parameter } = reason
    await house.noteRefusal('authorize', `${error} ${parameter ?? ''}`.trim(), service?.serviceId)
    const onward = onwardTo(house.config.issuer, reason, { error, parameter })
    return refuse(await leave(house, onward, service))
  }
  if (service === undefined) return refuse(await showError(house, 'error-client'))
  const request = read.value
  const expected = await expectedSubs(request, house.readIdToken)
  if (!expected.ok) {
    await house.noteRefusal('authorize', `${expected.reason} id_token_hint`, service.serviceId)
    const error = { error: expected.reason, parameter: 'id_token_hint' }
    return refuse(await leave(house, onwardTo(house.config.issuer, request, error), service))
  }
  return ok({ request, service, expectedSubs: expected.value, sessionId: null })
}

async function proceed(house: AuthorizeHouse, c: Context, incoming: Incoming): Promise<Response> {
  const { request, service } = incoming
  const silent = request.prompts.includes('none')
  if (silent || (request.maxAge !== null && request.prompts.length === 0)) {
    const onward = await answerFromCookie(house, c, incoming)
    if (onward.ok) return leave(house, onward.value, service)
    if (silent) return sendBack(house, request, onward.reason, service)
  }
  const asked = askedBy(request, service, {
    pushed: incoming.sessionId !== null,
    expectedSubs: incoming.expectedSubs,
    sid: null,
    context: readContext(c.req.header('User-Agent') ?? null, c.req.raw.cf?.country),
    confirmation: house.config.confirmation,
    trustRequired: house.config.trustRequired,
  })
  return house.showLogin(c.req.raw, asked, request.loginHint, incoming.sessionId)
}

/** 4-oidc section 3.2: what was granted to this client in this browser may be given once more, and nothing else. */
async function answerFromCookie(
  house: AuthorizeHouse,
  c: Context,
  { request, service, expectedSubs: subs, sessionId }: Incoming,
): Promise<Result<Onward, AuthorizationError>> {
  const { clientId, offlineAccess, email, minTrustLevel } = request
  // A client's own limit counts for a silent answer; alone it is no reason not to ask the phone.
  const maxAge = request.maxAge ?? service.oidc?.default_max_age ?? null
  const cookies = c.req.raw.headers.get('Cookie')
  const session = await sessionIn(house, cookies, clientId)
  if (session === undefined) return refuse('login_required')
  const scopes = scopesAsked(request, service)
  const verdict = mayAnswer(
    session,
    { ...{ clientId, scopes, offlineAccess, email, minTrustLevel, maxAge }, expectedSubs: subs },
    house.now(),
  )
  if (verdict !== 'yes') return refuse(verdict)
  const { tokenId, enrollmentId, trustLevel, authTime, sid, claims } = session.grant
  // Each answer is an object and an audit row: no more of them from one session than logins from one address.
  const { success } = await house.startLimit.limit({ key: `session ${sid}` })
  if (!success) return refuse('temporarily_unavailable')
  const standing = await house.store.standing(tokenId, clientId)
  if (!isStanding(standing, enrollmentId, house.now())) return refuse('login_required')

  const asked = askedBy(request, service, {
    pushed: sessionId !== null,
    expectedSubs: subs,
    sid,
    context: { browser: null, country: null },
    confirmation: house.config.confirmation,
    trustRequired: house.config.trustRequired,
  })
  // The client was recalled from memory: what it may have is asked of D1 like everything that gives something.
  if (standing.service === undefined || !allows(asked, standing.service)) {
    return refuse('login_required')
  }
  const granted: Granted = {
    ...{ tokenId, enrollmentId, trustLevel, scopes },
    claims: claimsWithin(claims, scopes, false),
    approvedAt: authTime,
  }
  const browser = await browserOf(cookies, house.random(16))
  const onward = await house.resume(asked, granted, browser.hash, sessionId)
  return onward === null ? refuse('server_error') : ok(onward)
}

async function sessionIn(
  { config, now }: AuthorizeHouse,
  cookies: string | null,
  clientId: string,
): Promise<SsoSession | undefined> {
  const name = await ssoCookieName(clientId)
  const value = readCookie(cookies, name)
  return value === undefined ? undefined : openSso(config.master, name, value, now())
}

function sendBack(
  house: AuthorizeHouse,
  request: Pick<AuthorizationRequest, 'redirectUri' | 'responseMode' | 'state'>,
  error: AuthorizationError,
  service: Service | undefined,
): Promise<Response> {
  return leave(house, onwardTo(house.config.issuer, request, { error }), service)
}

function leave(
  { random }: AuthorizeHouse,
  onward: Onward,
  service: Service | undefined,
): Promise<Response> {
  return answerOnward(onward, service?.name ?? '', toBase64url(random(16)))
}

function showError({ random }: AuthorizeHouse, page: ErrorPage): Promise<Response> {
  return htmlPage(errorPage(page), toBase64url(random(16)))
}
