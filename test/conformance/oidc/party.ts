/** A relying party without a library: what one module sends, and the person who answers on the phone. */
import { createHash, randomBytes } from 'node:crypto'
import { expect } from 'vitest'
import type { Arrival, Browser, Landing, Page } from './browser.ts'
import type { Client, Person, Received } from './world.ts'

/** What a test plan works with. */
export interface Context {
  readonly issuer: string
  readonly person: Person
  /** Three clients, as for a certification: two that authenticate by Basic, one by form. */
  readonly first: Client
  readonly second: Client
  readonly post: Client
  /** Sent with every authorization request when it is `form_post`. */
  readonly responseMode: 'query' | 'form_post'
  /** What reached the relying party's server, oldest first. */
  readonly received: readonly Received[]
}

export type Metadata = Readonly<Record<string, unknown>>
export type Parameters = Readonly<Record<string, string>>
/** `undefined` drops a parameter. */
export type Changes = Readonly<Record<string, string | undefined>>

/** An answer of an endpoint that clients call. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  /** `undefined` when the body is no JSON object. */
  readonly body: Readonly<Record<string, unknown>> | undefined
}

export function randomText(length = 43): string {
  return randomBytes(length).toString('base64url').slice(0, length)
}

/** The address of an endpoint, from discovery. */
export function endpoint(metadata: Metadata, name: string): string {
  const address = metadata[name]
  if (typeof address !== 'string') throw new Error(`discovery has no ${name}`)
  return address
}

/** The authorization request that most modules send, changed. */
export function requestOf(context: Context, client: Client, changes: Changes = {}): Parameters {
  return presentIn({
    response_type: 'code',
    client_id: client.clientId,
    redirect_uri: client.redirectUri,
    scope: 'openid',
    state: randomText(),
    nonce: randomText(),
    response_mode: context.responseMode === 'query' ? undefined : context.responseMode,
    ...changes,
  })
}

export function presentIn(changes: Changes): Parameters {
  return Object.fromEntries(
    Object.entries(changes).filter((entry): entry is [string, string] => entry[1] !== undefined),
  )
}

export function urlWith(address: string, parameters: Parameters): string {
  return `${address}?${new URLSearchParams(parameters)}`
}

export function challengeOf(verifier: string): string {
  return createHash('sha256').update(verifier).digest('base64url')
}

/** Asserts that the browser shows the page `id` with its sentence, which ends the way of the request. */
export function expectPage(arrival: Arrival, id: string, sentence: string | RegExp): Page {
  expect(arrival.at, `page ${id}: the browser stays at the provider`).toBe('page')
  const page = arrival as Page
  expect(page.id, `page ${id}: its id`).toBe(id)
  expect(page.text, `page ${id}: its sentence`).toMatch(sentence)
  return page
}

/** Asserts that the browser was sent on to a relying party. */
export function expectLanding(arrival: Arrival): Landing {
  const where = arrival.at === 'page' ? `the page ${arrival.id}` : arrival.url
  expect(arrival.at, `answer: goes to the client, not to ${where}`).toBe('party')
  return arrival as Landing
}

/** The first page of a login. */
export function expectLoginPage(arrival: Arrival): Page {
  return expectPage(arrival, 'login-start', /Sign in to .+ with your phone/)
}

export interface Decision {
  readonly grantedScopes?: readonly string[]
  readonly declined?: boolean
}

/** The person types the number into the login page, decides on the phone and continues. */
export async function answerLogin(
  browser: Browser,
  person: Person,
  arrival: Arrival,
  { grantedScopes, declined = false }: Decision = {},
): Promise<Landing> {
  const start = expectLoginPage(arrival)
  const waiting = await browser.submit(start, '/login/address', { tokenId: person.tokenId })
  const page = expectPage(waiting, 'login-pushing', /Approve on your phone/)
  const sessionId = /data-session="([^"]*)"/.exec(page.html)?.[1] ?? ''
  if (declined) await person.decline(sessionId)
  else await person.approve(sessionId, grantedScopes)
  return expectLanding(await browser.submit(page, '/login/continue'))
}

/** Sends `form` to the token endpoint with the authentication of `client`. */
export function callToken(metadata: Metadata, client: Client, form: Changes): Promise<Answer> {
  const { clientId, secret, method } = client
  const inBody = {
    client_secret_basic: {},
    client_secret_post: { client_id: clientId, client_secret: secret },
    none: { client_id: clientId },
  }[method]
  const basic = { Authorization: `Basic ${btoa(`${clientId}:${secret}`)}` }
  return call(endpoint(metadata, 'token_endpoint'), {
    method: 'POST',
    headers: method === 'client_secret_basic' ? basic : {},
    body: new URLSearchParams({ ...presentIn(form), ...inBody }),
  })
}

export function callUserinfo(metadata: Metadata, accessToken: string): Promise<Answer> {
  return call(endpoint(metadata, 'userinfo_endpoint'), {
    headers: { Authorization: `Bearer ${accessToken}` },
  })
}

export async function call(address: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(address, { redirect: 'manual', ...init })
  const body: unknown = await response.json().catch(() => undefined)
  const isObject = typeof body === 'object' && body !== null && !Array.isArray(body)
  return {
    status: response.status,
    headers: response.headers,
    body: isObject ? (body as Readonly<Record<string, unknown>>) : undefined,
  }
}
