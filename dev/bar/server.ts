/**
 * "Bar le Central", the demo service: a site with its own back end and its own sessions, which lets IDToken tell it a first name and
 * whether the guest is of age. It keeps everything in memory and nothing longer than an evening.
 */
import { randomBytes } from 'node:crypto'
import type { JWTPayload } from 'jose'
import { AuthorizationResponseError } from 'openid-client'
import { type Server, serve } from '../serve.ts'
import { answerFile, type Site, toOneAddress } from '../site.ts'
import { Guests } from './guests.ts'
import { RelyingParty, type SignIn } from './relying-party.ts'
import {
  type BarService,
  beginAgeCheck,
  beginLogin,
  beginRegistration,
  type Fault,
  makeTokenCheck,
  REQUIRED_SCOPES,
  redeem,
  SCOPES,
} from './service.ts'

/** The session of a guest. */
const COOKIE = 'bar-le-central'
/** The browser that went to sign in at the provider: only there may its answer come back. */
const WAY_OUT = 'bar-le-central-sign-in'
const MOST_OPEN_LOGINS = 1000

/** Serves until closed. */
export function serveBar(service: BarService & { readonly port: number }): Promise<Server> {
  const bar = new Bar(service, `http://127.0.0.1:${service.port}`)
  return serve((request) => bar.answer(request), service.port)
}

class Bar {
  readonly #service: BarService
  readonly #site: Site
  readonly #check: (jwt: string, random: string) => Promise<JWTPayload>
  readonly #provider: RelyingParty
  /** The `random` of each login that we began and nobody finished yet, by sessionId. */
  readonly #open = new Map<string, string>()
  /** The sign-ins that left for the provider and aren't back yet, by their `state`. */
  readonly #away = new Map<string, SignIn & { readonly browser: string }>()
  readonly #guests = new Guests()

  constructor(service: BarService, origin: string) {
    this.#service = service
    this.#check = makeTokenCheck(service)
    this.#provider = new RelyingParty(service, origin)
    this.#site = {
      folder: new URL('./', import.meta.url),
      files: [
        ...['index.html', 'style.css', 'icon.svg', 'page.ts', 'login.ts', 'words.ts'],
        ...['dom.ts', 'register.ts', 'qr.ts', 'qr-picture.ts'],
      ],
      connect: [service.issuer, service.issuer.replace(/^http/, 'ws')],
    }
  }

  async answer(request: Request): Promise<Response> {
    const { pathname, origin } = new URL(request.url)
    if (request.method === 'GET') {
      if (pathname === '/config') return this.#config()
      if (pathname === '/me') return this.#me(request)
      if (pathname === '/login/oidc') return this.#signIn(request)
      if (pathname === '/callback') return this.#comeBack(request)
      return (
        toOneAddress(request, '127.0.0.1') ??
        (await answerFile(this.#site, pathname)) ??
        new Response('Not found', { status: 404 })
      )
    }
    // The provider's own message: no browser sends it, its token says whether it is true.
    if (pathname === '/backchannel-logout') return this.#expel(request)
    // Another site must not log a guest in or out.
    if (request.headers.get('origin') !== origin) return problem({ status: 403, code: 'forbidden' })
    const body = ((await request.json().catch(() => null)) ?? {}) as Record<string, unknown>
    if (pathname === '/login/start') return this.#start(String(body.tokenId))
    if (pathname === '/login/scan') return this.#scan()
    if (pathname === '/register/start') return this.#register()
    if (pathname === '/login/finish') return this.#finish(String(body.sessionId), String(body.jwt))
    if (pathname === '/login/redeem') return this.#redeem(String(body.sessionId), String(body.code))
    if (pathname === '/logout') return this.#logout(request)
    return problem({ status: 404, code: 'not_found' })
  }

  #config(): Response {
    const { issuer, serviceId, confirmation } = this.#service
    return Response.json({
      issuer,
      serviceId,
      scopes: SCOPES,
      requiredScopes: REQUIRED_SCOPES,
      confirmation: confirmation ?? 'compare',
    })
  }

  async #start(tokenId: string): Promise<Response> {
    return this.#begun(await beginLogin(this.#service, tokenId))
  }

  async #scan(): Promise<Response> {
    return this.#begun(await beginAgeCheck(this.#service))
  }

  #begun(begun: Awaited<ReturnType<typeof beginLogin>>): Response {
    if (!begun.ok) return problem(begun.fault)
    // `random` stays here: a token that answers another login must not pass.
    const { random, ...forPage } = begun.value
    remember(this.#open, begun.value.sessionId, random)
    return Response.json(forPage)
  }

  async #register(): Promise<Response> {
    const begun = await beginRegistration(this.#service)
    return begun.ok ? Response.json(begun.value) : problem(begun.fault)
  }

  async #finish(sessionId: string, jwt: string): Promise<Response> {
    const random = this.#open.get(sessionId)
    if (random === undefined) return problem({ status: 409, code: 'unknown_login' })
    this.#open.delete(sessionId)
    return this.#admit(jwt, random)
  }

  async #redeem(sessionId: string, code: string): Promise<Response> {
    const redeemed = await redeem(this.#service, sessionId, code)
    if (!redeemed.ok) return problem(redeemed.fault)
    return this.#admit(redeemed.value.jwt, redeemed.value.random)
  }

  async #admit(jwt: string, random: string): Promise<Response> {
    let payload: JWTPayload
    try {
      payload = await this.#check(jwt, random)
    } catch {
      return problem({ status: 401, code: 'token_refused' })
    }
    const { id, guest } = this.#guests.admit(payload)
    return Response.json(guest, { headers: { 'set-cookie': cookie(COOKIE, id) } })
  }

  /** "Sign in": off to the provider. A second tab gets a sign-in of its own. */
  async #signIn(request: Request): Promise<Response> {
    const hint = new URL(request.url).searchParams.get('tokenId') ?? ''
    try {
      const { address, signIn } = await this.#provider.begin(hint)
      const browser = cookieIn(request, WAY_OUT) || randomBytes(24).toString('base64url')
      remember(this.#away, signIn.state, { ...signIn, browser })
      return redirect(address, cookie(WAY_OUT, browser))
    } catch {
      return redirect('/?end=unreachable')
    }
  }

  /** Back from the provider, with a code or with the reason why there is none. */
  async #comeBack(request: Request): Promise<Response> {
    const { search, searchParams } = new URL(request.url)
    const state = searchParams.get('state') ?? ''
    const signIn = this.#away.get(state)
    if (signIn === undefined || signIn.browser !== cookieIn(request, WAY_OUT)) {
      return redirect('/?end=unknown_login')
    }
    this.#away.delete(state)
    try {
      const { claims, idToken } = await this.#provider.finish(search, signIn)
      return redirect('/', cookie(COOKIE, this.#guests.admit(claims, idToken).id))
    } catch (fault) {
      const end = fault instanceof AuthorizationResponseError ? fault.error : 'token_refused'
      return redirect(`/?${new URLSearchParams({ end })}`)
    }
  }

  #me(request: Request): Response {
    const guest = this.#guests.find(cookieIn(request, COOKIE)) ?? null
    return Response.json(guest, { headers: { 'cache-control': 'no-store' } })
  }

  /** Ends the session here. `farewell` is where the page goes on to, so that the provider ends it too. */
  async #logout(request: Request): Promise<Response> {
    const idToken = this.#guests.leave(cookieIn(request, COOKIE))
    const farewell =
      idToken === undefined ? null : await this.#provider.farewell(idToken).catch(() => null)
    return Response.json({ farewell }, { headers: { 'set-cookie': cookie(COOKIE, '', 0) } })
  }

  async #expel(request: Request): Promise<Response> {
    const headers = { 'cache-control': 'no-store' }
    const form = new URLSearchParams(await request.text())
    try {
      this.#guests.expel(await this.#provider.readLogoutToken(form.get('logout_token') ?? ''))
    } catch {
      return Response.json({ error: 'invalid_request' }, { status: 400, headers })
    }
    return new Response(null, { status: 200, headers })
  }
}

/** Keeps `value`, and lets go of the oldest when there are too many. */
function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.set(key, value)
  const [oldest] = map.keys()
  if (map.size > MOST_OPEN_LOGINS && oldest !== undefined) map.delete(oldest)
}

function cookieIn(request: Request, name: string): string {
  const cookies = request.headers.get('cookie') ?? ''
  return new RegExp(`(?:^|;\\s*)${name}=([\\w-]+)`).exec(cookies)?.[1] ?? ''
}

/** No `Secure`: the demo is served over http, and some browsers refuse it there even on loopback. */
function cookie(name: string, value: string, maxAge = 28_800): string {
  return `${name}=${value}; HttpOnly; SameSite=Lax; Path=/; Max-Age=${maxAge}`
}

function redirect(location: string, setCookie?: string): Response {
  const headers = new Headers({ location, 'cache-control': 'no-store' })
  if (setCookie !== undefined) headers.set('set-cookie', setCookie)
  return new Response(null, { status: 303, headers })
}

function problem({ status, code }: Fault): Response {
  return Response.json({ code }, { status })
}
