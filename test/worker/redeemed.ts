/** What most tests of the token endpoint and userinfo begin with: a client, a person, and a login whose code was redeemed. */
import { env } from 'cloudflare:workers'
import { createLocalJWKSet, type JWTVerifyResult, jwtVerify } from 'jose'
import {
  type Client,
  type Landing,
  REDIRECT_URI,
  redeem,
  registerClient,
  Tab,
} from './relying-party.ts'
import { type Answer, enrolled, ISSUER, type Person, send } from './world.ts'

/** What a test may want otherwise. */
export interface About {
  /** Of the client record. */
  readonly oidc?: Record<string, unknown>
  /** Of the registration around it. */
  readonly service?: Record<string, unknown>
  readonly clientId?: string
  /** Of the authorization request. */
  readonly request?: Record<string, string | undefined>
  /** What the person grants; everything when absent. */
  readonly granted?: readonly string[]
  readonly person?: Person
  readonly identity?: Parameters<typeof enrolled>[0]
}

/** A login up to the client's own address. */
export interface Landed {
  readonly client: Client
  readonly person: Person
  readonly tab: Tab
  readonly landing: Landing
  readonly code: string
}

export interface LoggedIn extends Landed {
  /** The body of the token answer. */
  readonly tokens: Answer['body']
}

/** Registers the client, enrolls the person and logs in. */
export async function landed(about: About = {}): Promise<Landed> {
  const client = await registerClient(about.oidc, about.service, about.clientId)
  const person = about.person ?? (await enrolled({ push: false, ...about.identity }))
  return landedAt(client, person, about)
}

/** Another login of `person` at `client`, in a browser of its own. */
export async function landedAt(
  client: Client,
  person: Person,
  about: Pick<About, 'request' | 'granted'> = {},
): Promise<Landed> {
  const tab = new Tab()
  const request = { client_id: client.clientId, ...about.request }
  const landing = await tab.login(person, request, about.granted)
  const { code } = landing.parameters
  if (code === undefined) throw new Error(`no code: ${JSON.stringify(landing)}`)
  return { client, person, tab, landing, code }
}

/** The same with its code redeemed, in the way that the client is registered for. */
export async function loggedIn(about: About = {}): Promise<LoggedIn> {
  const login = await landed(about)
  const { client, code } = login
  const answer = await redeemAs(client, code, about)
  if (answer.status !== 200) throw new Error(`no tokens: ${JSON.stringify(answer.body)}`)
  return { ...login, tokens: answer.body }
}

/** Brings `code` to the token endpoint as the client record of `about` says. */
export function redeemAs(
  client: Client,
  code: string,
  { oidc = {}, request = {} }: Pick<About, 'oidc' | 'request'> = {},
): Promise<Answer> {
  const { clientId, secret } = client
  const same = { redirect_uri: request.redirect_uri ?? REDIRECT_URI }
  switch (oidc.token_endpoint_auth_method) {
    case 'none':
      return redeem(client, code, { ...same, client_id: clientId }, {})
    case 'client_secret_post':
      return redeem(client, code, { ...same, client_id: clientId, client_secret: secret }, {})
    default:
      return redeem(client, code, same)
  }
}

/** `idToken` verified with what the JWKS serves, as a relying party does it. */
export async function verified(
  idToken: string,
  audience = 'bar-le-central',
  algorithm = 'ES256',
): Promise<JWTVerifyResult> {
  const jwks = createLocalJWKSet((await send('GET', '/.well-known/jwks.json')).body)
  const currentDate = new Date()
  return jwtVerify(idToken, jwks, {
    ...{ issuer: ISSUER, audience, algorithms: [algorithm], typ: 'JWT', currentDate },
  })
}

/** How many rows a table has. */
export async function rowsIn(table: string): Promise<number> {
  const row = await env.DB.prepare(`SELECT count(*) AS n FROM ${table}`).first<{ n: number }>()
  return row?.n ?? -1
}

/** The text that nothing of ours may leave (5-security 20). */
export const DESCRIPTION = /^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/
