/**
 * "Bar le Central", the demo service: a site with its own back end and its own sessions, which lets IDToken tell it a first name and
 * whether the guest is of age. It keeps everything in memory and nothing longer than an evening.
 */
import { randomBytes } from 'node:crypto'
import type { JWTPayload } from 'jose'
import { type Server, serve } from '../serve.ts'
import { answerFile, type Site, toOneAddress } from '../site.ts'
import {
  type BarService,
  beginLogin,
  type Fault,
  makeTokenCheck,
  REQUIRED_SCOPES,
  redeem,
  SCOPES,
} from './service.ts'

const COOKIE = 'bar-le-central'
const MOST_OPEN_LOGINS = 1000

/** Members of a token that are about the token, not about the guest. */
const ABOUT_THE_TOKEN = new Set('iss aud sub iat exp jti nonce auth_time acr amr scope'.split(' '))

type Guest = { readonly claims: Record<string, unknown>; readonly token: Record<string, unknown> }

/** Serves until closed. */
export function serveBar(service: BarService & { readonly port: number }): Promise<Server> {
  const bar = new Bar(service)
  return serve((request) => bar.answer(request), service.port)
}

class Bar {
  readonly #service: BarService
  readonly #site: Site
  readonly #check: (jwt: string, random: string) => Promise<JWTPayload>
  /** The `random` of each login that we began and nobody finished yet, by sessionId. */
  readonly #open = new Map<string, string>()
  readonly #guests = new Map<string, Guest>()

  constructor(service: BarService) {
    this.#service = service
    this.#check = makeTokenCheck(service)
    this.#site = {
      folder: new URL('./', import.meta.url),
      files: ['index.html', 'style.css', 'icon.svg', 'page.ts', 'login.ts', 'words.ts'],
      connect: [service.issuer, service.issuer.replace(/^http/, 'ws')],
    }
  }

  async answer(request: Request): Promise<Response> {
    const { pathname, origin } = new URL(request.url)
    if (request.method === 'GET') {
      if (pathname === '/config') return this.#config()
      if (pathname === '/me') return this.#me(request)
      return (
        toOneAddress(request, '127.0.0.1') ??
        (await answerFile(this.#site, pathname)) ??
        new Response('Not found', { status: 404 })
      )
    }
    // Another site must not log a guest in or out.
    if (request.headers.get('origin') !== origin) return problem({ status: 403, code: 'forbidden' })
    const body = ((await request.json().catch(() => null)) ?? {}) as Record<string, unknown>
    if (pathname === '/login/start') return this.#start(String(body.tokenId))
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
    const begun = await beginLogin(this.#service, tokenId)
    if (!begun.ok) return problem(begun.fault)
    // `random` stays here: a token that answers another login must not pass.
    const { random, ...forPage } = begun.value
    this.#open.set(begun.value.sessionId, random)
    const [oldest] = this.#open.keys()
    if (this.#open.size > MOST_OPEN_LOGINS && oldest !== undefined) this.#open.delete(oldest)
    return Response.json(forPage)
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
    const members = Object.entries(payload)
    const guest = {
      claims: Object.fromEntries(members.filter(([name]) => !ABOUT_THE_TOKEN.has(name))),
      token: Object.fromEntries(members.filter(([name]) => ABOUT_THE_TOKEN.has(name))),
    }
    const id = randomBytes(24).toString('base64url')
    this.#guests.set(id, guest)
    // No `Secure`: the demo is served over http, and some browsers refuse it there even on loopback.
    const cookie = `${COOKIE}=${id}; HttpOnly; SameSite=Lax; Path=/; Max-Age=28800`
    return Response.json(guest, { headers: { 'set-cookie': cookie } })
  }

  #me(request: Request): Response {
    const guest = this.#guests.get(guestId(request))
    const headers = { 'cache-control': 'no-store' }
    return guest ? Response.json(guest, { headers }) : Response.json(null, { headers })
  }

  #logout(request: Request): Response {
    this.#guests.delete(guestId(request))
    const cookie = `${COOKIE}=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0`
    return new Response(null, { status: 204, headers: { 'set-cookie': cookie } })
  }
}

function guestId(request: Request): string {
  const cookies = request.headers.get('cookie') ?? ''
  return new RegExp(`(?:^|;\\s*)${COOKIE}=([\\w-]+)`).exec(cookies)?.[1] ?? ''
}

function problem({ status, code }: Fault): Response {
  return Response.json({ code }, { status })
}
