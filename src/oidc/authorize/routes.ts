/** `GET` and `POST /oidc/authorize` (OpenID Connect Core section 3.1.2). */
import { type Context, Hono } from 'hono'
import { toBase64url } from '../../bytes.ts'
import type { Config } from '../../config.ts'
import { readForm } from '../../http/body.ts'
import { readCookie } from '../../http/cookies.ts'
import { only } from '../../http/method.ts'
import { htmlPage } from '../../http/page.ts'
import { type Parameters, parametersOf } from '../../http/parameters.ts'
import { readContext } from '../../login/context.ts'
import type { Asked, Granted, Onward } from '../../login/door.ts'
import { browserOf } from '../../login/hosted/browser.ts'
import { answerOnward } from '../../login/hosted/onward.ts'
import { isStanding } from '../../login/store.ts'
import { ok, type Result, refuse } from '../../result.ts'
import type { Service } from '../../services/service.ts'
import type { AuthorizationError } from '../authorization-error.ts'
import {
  type AuthorizationRequest,
  clientIdOf,
  MULTILINE_PARAMETERS,
  readAuthorizationRequest,
} from '../authorization-request.ts'
import { allows, askedBy, onwardTo, scopesAsked } from '../door.ts'
import { claimsWithin } from '../grant.ts'
import { hintOf } from '../hint.ts'
import { type ErrorPage, errorPage } from '../pages.ts'
import { PATHS } from '../paths.ts'
import { askedByAddress } from '../posted-request.ts'
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
  /** Shows the first page of a hosted login. login/ hands it in. */
  readonly showLogin: (request: Request, asked: Asked, hint: string | null) => Promise<Response>
  /** Gives what was granted once more, without a phone. login/ hands it in. */
  readonly resume: (asked: Asked, granted: Granted, browser: string) => Promise<Onward | null>
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

async function authorize(
  house: AuthorizeHouse,
  c: Context,
  parameters: Parameters | undefined,
): Promise<Response> {
  if (parameters === undefined) return refuseUnread(house)
  const clientId = clientIdOf(parameters)
  const service = clientId === undefined ? undefined : await house.recallService(clientId)
  const read = readAuthorizationRequest(parameters, service)
  if (!read.ok) {
    const { reason } = read
    if (reason.kind === 'page') {
      await house.noteRefusal('authorize', reason.page, service?.serviceId)
      return showError(house, reason.page)
    }
    const { error, parameter } = reason
    await house.noteRefusal('authorize', `${error} ${parameter ?? ''}`.trim(), service?.serviceId)
    return leave(house, onwardTo(house.config.issuer, reason, { error, parameter }), service)
  }
  if (service === undefined) return showError(house, 'error-client')
  const request = read.value
  const expected = await expectedSubs(house, request)
  if (!expected.ok) {
    await house.noteRefusal('authorize', `${expected.reason} id_token_hint`, service.serviceId)
    const error = { error: expected.reason, parameter: 'id_token_hint' }
    return leave(house, onwardTo(house.config.issuer, request, error), service)
  }

  const silent = request.prompts.includes('none')
  if (silent || (request.maxAge !== null && request.prompts.length === 0)) {
    const onward = await answerFromCookie(house, c, request, service, expected.value)
    if (onward.ok) return leave(house, onward.value, service)
    if (silent) return sendBack(house, request, onward.reason, service)
  }
  const asked = askedBy(request, service, {
    expectedSubs: expected.value,
    sid: null,
    context: readContext(c.req.header('User-Agent') ?? null, c.req.raw.cf?.country),
    confirmation: house.config.confirmation,
  })
  return house.showLogin(c.req.raw, asked, request.loginHint)
}

/** Who must answer. A hint names somebody and logs nobody in (5-security 46). */
async function expectedSubs(
  house: AuthorizeHouse,
  { idTokenHint, expectedSubject, clientId }: AuthorizationRequest,
): Promise<Result<readonly string[], AuthorizationError>> {
  const subs = expectedSubject === null ? [] : [expectedSubject]
  if (idTokenHint === null) return ok(subs)
  const hint = hintOf(await house.readIdToken(idTokenHint))
  return hint?.clientId === clientId ? ok([...subs, hint.sub]) : refuse('invalid_request')
}

/** 4-oidc section 3.2: what was granted to this client in this browser may be given once more, and nothing else. */
async function answerFromCookie(
  house: AuthorizeHouse,
  c: Context,
  request: AuthorizationRequest,
  service: Service,
  subs: readonly string[],
): Promise<Result<Onward, AuthorizationError>> {
  const { clientId, offlineAccess, email, minTrustLevel, maxAge } = request
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
    expectedSubs: subs,
    sid,
    context: { browser: null, country: null },
    confirmation: house.config.confirmation,
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
  const onward = await house.resume(asked, granted, browser.hash)
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
