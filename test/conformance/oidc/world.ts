/** The product with people and clients, set up from outside as an operator would, and the relying party's own server. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findPerson } from '../../../dev/persons.ts'
import { createPhone, type Phone } from '../../../dev/phone/phone.ts'
import { freePorts } from '../../../dev/ports.ts'
import { startWorld } from '../../../dev/world.ts'

export interface Client {
  readonly clientId: string
  readonly secret: string
  readonly method: 'client_secret_basic' | 'client_secret_post' | 'none'
  readonly alg: 'ES256' | 'RS256'
  readonly redirectUri: string
  readonly returnUri: string
}

/** A person with an enrolled phone. */
export interface Person {
  readonly tokenId: string
  /** Opens the login and approves it, with all that is asked or with less. */
  readonly approve: (sessionId: string, grantedScopes?: readonly string[]) => Promise<void>
  readonly decline: (sessionId: string) => Promise<void>
}

/** A request that reached the relying party's server. */
export interface Received {
  readonly method: string
  readonly path: string
  readonly type: string
  readonly body: string
}

export interface World {
  readonly issuer: string
  /** Where the relying parties live. */
  readonly party: string
  readonly received: readonly Received[]
  readonly enroll: (personId: string) => Promise<Person>
  /** `oidc` is the client record, with addresses of its own or without; `changes` go to the service around it. */
  readonly register: (
    clientId: string,
    oidc?: Readonly<Record<string, unknown>>,
    changes?: Readonly<Record<string, unknown>>,
  ) => Promise<Client>
  readonly stop: () => Promise<void>
}

export interface WorldOrder {
  /** The issuer URL when it isn't the product's own address; `before` is told where the product will be. */
  readonly before?: (product: string) => Promise<{ issuer: string; stop: () => Promise<void> }>
}

const SCOPES = [
  'identity:name',
  'identity:date_of_birth',
  'identity:nationality',
  'identity:age_over_18',
  'identity:age_over_21',
  'identity:trust_level',
]

export async function startOidcWorld({ before }: WorldOrder = {}): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'oidc-'))
  const [port = 0, phonePort = 0, barPort = 0] = await freePorts(3)
  const product = `http://localhost:${port}`
  const front = await before?.(product)
  const issuer = front?.issuer ?? product
  const world = await startWorld({
    ...{ folder, port, phonePort, barPort },
    settings: { ISSUER: issuer, CLIENT_ADDRESS_HEADER: 'X-Client-Address' },
  })
  const server = await serveParty()
  return {
    issuer,
    party: server.origin,
    received: server.received,
    async enroll(personId) {
      const phone = await createPhone({ api: product, issuer })
      const person = findPerson(personId)
      const { vds } = await world.issuer.specimen({
        deviceKeyThumbprint: phone.thumbprint,
        person,
      })
      // Without a grant: the issuer makes them for the product's own address only.
      const enrolled = await phone.enroll({ vds, deviceId: `phone of ${personId}` })
      if (!enrolled.ok) throw new Error(`enrollment: ${enrolled.code}`)
      return personWith(phone, enrolled.body.tokenId)
    },
    async register(clientId, oidc = {}, changes = {}) {
      const [redirectUri = `${server.origin}/${clientId}/cb?kept=as%20it%20is`] =
        (oidc.redirect_uris as string[] | undefined) ?? []
      const returnUri = `${server.origin}/${clientId}/signed-out`
      const { secret } = await world.operator.put(`/operator/services/${clientId}`, {
        name: `Bar ${clientId}`,
        url: `${server.origin}/`,
        origins: [server.origin],
        allowedScopes: SCOPES,
        defaultScopes: [],
        ...changes,
        oidc: {
          redirect_uris: [redirectUri],
          post_logout_redirect_uris: [returnUri],
          ...oidc,
        },
      })
      const { token_endpoint_auth_method: method, id_token_signed_response_alg: alg } = oidc
      return {
        ...{ clientId, redirectUri, returnUri },
        secret: String(secret),
        method: (method as Client['method'] | undefined) ?? 'client_secret_basic',
        alg: alg === 'RS256' ? 'RS256' : 'ES256',
      }
    },
    async stop() {
      await world.stop()
      await front?.stop()
      await server.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function personWith(phone: Phone, tokenId: string): Person {
  const opened = async (sessionId: string) => {
    const claim = await phone.claim(sessionId)
    if (!claim.ok) throw new Error(`claim: ${claim.code}`)
    return claim.body
  }
  return {
    tokenId,
    async approve(sessionId, grantedScopes) {
      const claim = await opened(sessionId)
      const approved = await phone.approve(claim, { grantedScopes: grantedScopes ?? claim.scopes })
      if (!approved.ok) throw new Error(`approval: ${approved.code}`)
    },
    async decline(sessionId) {
      const denied = await phone.deny(await opened(sessionId), 'declined')
      if (!denied.ok) throw new Error(`denial: ${denied.code}`)
    },
  }
}

async function serveParty() {
  const received: Received[] = []
  const server = createServer(async (request, response) => {
    received.push({
      method: request.method ?? '',
      path: request.url ?? '',
      type: request.headers['content-type'] ?? '',
      body: await textOf(request),
    })
    response.writeHead(200, { 'Cache-Control': 'no-store' }).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    received,
    origin: `http://127.0.0.1:${address.port}`,
    stop: async () => {
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
    },
  }
}

/** The whole body of a request to a server of ours. */
export async function textOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part)
  return Buffer.concat(parts).toString()
}
