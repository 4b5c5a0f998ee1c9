/**
 * The provider that we stand beside: `oidc-provider` in a Node process of its own, with its in-memory store. It signs with ES256
 * and knows one client that proves itself by `client_secret_basic`; what it says of a person is what we say.
 */
/// <reference path="./oidc-provider.d.ts" />
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair } from 'jose'
import Provider from 'oidc-provider'
import { serveParent } from './child.ts'

export type PeerClient = {
  readonly clientId: string
  readonly secret: string
  readonly redirectUri: string
}

const ACCOUNT = { sub: crypto.randomUUID(), given_name: 'Camille', age_over_18: true }
const SCOPE = 'openid identity'

let provider: Provider | undefined
let client: PeerClient | undefined

const calls = {
  start: async (known: PeerClient) => {
    client = known
    const server = createServer()
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const { privateKey } = await generateKeyPair('ES256', { extractable: true })
    const key = { ...(await exportJWK(privateKey)), alg: 'ES256', use: 'sig', kid: 'bench' }
    provider = new Provider(origin, configuration(known, key))
    server.on('request', provider.callback())
    return { origin, pid: process.pid }
  },

  /** `count` authorization codes, as a login and a consent would leave them behind. `challenge`: PKCE, S256. */
  codes: async ({ count, challenge }: { readonly count: number; readonly challenge: string }) => {
    const codes: string[] = []
    for (let i = 0; i < count; i++) codes.push(await makeCode(challenge))
    return codes
  },
}

export type PeerCalls = typeof calls

function configuration({ clientId, secret, redirectUri }: PeerClient, key: object): object {
  return {
    clients: [
      {
        client_id: clientId,
        client_secret: secret,
        redirect_uris: [redirectUri],
        token_endpoint_auth_method: 'client_secret_basic',
        id_token_signed_response_alg: 'ES256',
      },
    ],
    jwks: { keys: [key] },
    scopes: ['openid', 'identity'],
    claims: { openid: ['sub'], identity: ['given_name', 'age_over_18'] },
    // As ours: the claims stand in the id_token too.
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    features: { devInteractions: { enabled: false } },
    cookies: { keys: ['a key of the bench'] },
    findAccount: () => ({ accountId: ACCOUNT.sub, claims: () => ACCOUNT }),
  }
}

async function makeCode(challenge: string): Promise<string> {
  if (provider === undefined || client === undefined) throw new Error('The peer does not run.')
  const known = await provider.Client.find(client.clientId)
  if (known === undefined) throw new Error('The peer does not know its client.')
  const grant = new provider.Grant({ accountId: ACCOUNT.sub, clientId: client.clientId })
  grant.addOIDCScope(SCOPE)
  const grantId = await grant.save()
  const now = Math.floor(Date.now() / 1000)
  const code = new provider.AuthorizationCode({
    accountId: ACCOUNT.sub,
    client: known,
    grantId,
    redirectUri: client.redirectUri,
    scope: SCOPE,
    nonce: crypto.randomUUID(),
    authTime: now,
    codeChallenge: challenge,
    codeChallengeMethod: 'S256',
    gty: 'authorization_code',
  })
  return code.save()
}

serveParent(calls)
