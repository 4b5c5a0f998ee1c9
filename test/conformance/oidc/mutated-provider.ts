/**
 * A reverse proxy in front of the product that makes it a worse provider: it changes what comes through by one mutation at a time. It
 * has a signing key of its own in the JWKS, so that a changed id_token is still a signed one.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { decodeJwt, exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose'
import { textOf } from './world.ts'

/** A request on its way in. */
export interface Question {
  readonly method: string
  /** Path and query under the issuer. */
  readonly url: URL
  readonly headers: Headers
  readonly body: string
}

/** An answer on its way out. */
export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly body: string
}

/** What is done to the traffic; each part left out leaves it as it is. */
export interface Mutation {
  readonly question?: (question: Question) => Question
  readonly reply?: (reply: Reply, question: Question, tools: Tools) => Reply | Promise<Reply>
}

export interface Tools {
  /** Signs `claims` with the proxy's own key. */
  readonly sign: (claims: JWTPayload) => Promise<string>
}

export interface MutatedProvider {
  readonly issuer: string
  /** From now on; `{}` is an honest proxy. */
  mutate(mutation: Mutation): void
  readonly stop: () => Promise<void>
}

const KID = 'key-of-the-mutant'
/** Of one hop, or wrong once the body has been read. */
const HOP_HEADERS = ['connection', 'keep-alive', 'transfer-encoding', 'content-length', 'host']

export async function mutatedProvider(product: string): Promise<MutatedProvider> {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const jwk = { ...(await exportJWK(publicKey)), kid: KID, use: 'sig', alg: 'ES256' }
  const tools: Tools = {
    sign: (claims) =>
      new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: KID }).sign(privateKey),
  }
  let mutation: Mutation = {}

  const pass = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const asked = await questionOf(request, product)
    const question = mutation.question?.(asked) ?? asked
    const reply = withKey(await forward(question), question, jwk)
    const changed = (await mutation.reply?.(reply, question, tools)) ?? reply
    for (const cookie of changed.headers.getSetCookie()) response.appendHeader('Set-Cookie', cookie)
    for (const [name, value] of changed.headers) {
      if (name !== 'set-cookie') response.setHeader(name, value)
    }
    response.writeHead(changed.status).end(changed.body)
  }
  const server = createServer((request, response) => {
    pass(request, response).catch((fault) => response.writeHead(502).end(String(fault)))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    issuer: `http://localhost:${address.port}`,
    mutate(next) {
      mutation = next
    },
    async stop() {
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
    },
  }
}

async function questionOf(request: IncomingMessage, product: string): Promise<Question> {
  const headers = new Headers()
  for (const [name, value] of Object.entries(request.headers)) {
    if (typeof value === 'string' && !HOP_HEADERS.includes(name)) headers.set(name, value)
  }
  return {
    method: request.method ?? 'GET',
    url: new URL(request.url ?? '/', product),
    headers,
    body: await textOf(request),
  }
}

async function forward({ method, url, headers, body }: Question): Promise<Reply> {
  const init = { method, headers, redirect: 'manual' } as const
  const response = await fetch(url, method === 'POST' ? { ...init, body } : init)
  const kept = new Headers(response.headers)
  for (const name of [...HOP_HEADERS, 'content-encoding']) kept.delete(name)
  return { status: response.status, headers: kept, body: await response.text() }
}

function withKey(reply: Reply, { url }: Question, jwk: object): Reply {
  if (url.pathname !== '/.well-known/jwks.json') return reply
  return withJson(reply, (set) => ({ keys: [...(set.keys as object[]), jwk] }))
}

/** `reply` with its JSON changed. */
export function withJson(
  reply: Reply,
  change: (json: Readonly<Record<string, unknown>>) => object,
): Reply {
  return { ...reply, body: JSON.stringify(change(JSON.parse(reply.body))) }
}

/** `reply` with the parameters changed that go to the relying party at `party`. */
export function withLocation(
  reply: Reply,
  party: string,
  change: (parameters: URLSearchParams) => void,
): Reply {
  const location = reply.headers.get('Location')
  if (location === null || !location.startsWith(party)) return reply
  const [address = '', query = ''] = location.split('?')
  const parameters = new URLSearchParams(query)
  change(parameters)
  const headers = new Headers(reply.headers)
  // What was registered keeps its spelling.
  const text = parameters.toString().replaceAll('+', '%20')
  headers.set('Location', text === '' ? address : `${address}?${text}`)
  return { ...reply, headers }
}

/** `reply` of the token endpoint with the claims of its id_token changed, and signed again. */
export async function withClaims(
  reply: Reply,
  { url }: Question,
  { sign }: Tools,
  change: (claims: JWTPayload) => JWTPayload,
): Promise<Reply> {
  if (url.pathname !== '/oidc/token' || reply.status !== 200) return reply
  const { id_token } = JSON.parse(reply.body)
  const changed = await sign(change(decodeJwt(id_token)))
  return withJson(reply, (json) => ({ ...json, id_token: changed }))
}

/** `question` without a parameter of its query or form. */
export function without(question: Question, name: string): Question {
  const url = new URL(question.url)
  url.searchParams.delete(name)
  return { ...question, url }
}
