/** How a service proves itself: with its secret at the direct door, as its client record says at a token endpoint. */
import { equalText, sha256, toBase64url, utf8 } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'
import {
  type AssertionFault,
  CLIENT_ASSERTION_TYPE,
  clientOfAssertion,
  verifyClientAssertion,
} from './client-assertion.ts'
import { signingKeysOf } from './oidc-client.ts'
import type { SecretHash, Service } from './service.ts'

export interface BasicCredentials {
  readonly serviceId: string
  readonly secret: string
}

/**
 * The credentials of an `Authorization: Basic` header, form-encoded as RFC 6749 section 2.3.1 demands, or `undefined`
 * when there are none that can be read (5-security 60, 61).
 */
export function readBasic(authorization: string): BasicCredentials | undefined {
  const encoded = /^Basic +([A-Za-z0-9+/]+={0,2})$/i.exec(authorization)?.[1]
  if (encoded === undefined) return undefined
  try {
    const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0))
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    const colon = text.indexOf(':')
    if (colon < 1) return undefined
    return {
      serviceId: formDecode(text.slice(0, colon)),
      secret: formDecode(text.slice(colon + 1)),
    }
  } catch {
    return undefined
  }
}

/** Base64url SHA-256 of a service's secret: the only form in which one is kept. */
export async function hashSecret(secret: string): Promise<string> {
  return toBase64url(await sha256(utf8(secret)))
}

/** Whether `secret` is one of the secrets that `service` may use at `now` (Unix seconds). */
export function isSecretOf(service: Service, secret: string, now: number): Promise<boolean> {
  return isSecretAmong(service.secretHashes, secret, now)
}

/** What a client shows at an OAuth endpoint, by the method it chose. Nothing of it is proven yet. */
export type ClientCredentials =
  | {
      readonly method: 'client_secret_basic' | 'client_secret_post'
      readonly clientId: string
      readonly secret: string
    }
  | { readonly method: 'private_key_jwt'; readonly clientId: string; readonly assertion: string }
  | { readonly method: 'none'; readonly clientId: string }

/** The parameters of a form that a client may prove itself with. An empty one counts as omitted (RFC 6749 section 3.2). */
export interface ClientForm {
  readonly client_id?: string | undefined
  readonly client_secret?: string | undefined
  readonly client_assertion?: string | undefined
  readonly client_assertion_type?: string | undefined
}

/**
 * The one set of credentials in a request, from its `Authorization` header or its form (RFC 6749 sections 2.3 and 5.2,
 * RFC 7521 section 4.2). Two ways at once are `invalid_request`, even if both are right; so is a `client_id` in the form
 * that contradicts the header. No credentials, ones that can't be read, and another scheme or type of assertion are
 * `invalid_client` (5-security 56, 58, 61). Without `client_id` an assertion speaks for whom it names.
 */
export function readClientCredentials(
  authorization: string | undefined,
  form: ClientForm,
): Result<ClientCredentials, 'invalid_request' | 'invalid_client'> {
  const { client_id: clientId = '', client_secret: secret = '', client_assertion: assertion } = form
  const asserts = assertion !== undefined || form.client_assertion_type !== undefined
  const ways = [authorization !== undefined, secret !== '', asserts].filter((way) => way)
  if (ways.length > 1) return refuse('invalid_request')
  if (authorization !== undefined) {
    const basic = readBasic(authorization)
    if (basic === undefined) return refuse('invalid_client')
    if (clientId !== '' && clientId !== basic.serviceId) return refuse('invalid_request')
    return ok({ method: 'client_secret_basic', clientId: basic.serviceId, secret: basic.secret })
  }
  if (asserts) {
    if (assertion === undefined || form.client_assertion_type !== CLIENT_ASSERTION_TYPE) {
      return refuse('invalid_client')
    }
    const asserted = clientId === '' ? clientOfAssertion(assertion) : clientId
    if (asserted === undefined) return refuse('invalid_client')
    return ok({ method: 'private_key_jwt', clientId: asserted, assertion })
  }
  if (clientId === '') return refuse('invalid_client')
  if (secret === '') return ok({ method: 'none', clientId })
  return ok({ method: 'client_secret_post', clientId, secret })
}

/** Why a client is not believed: for the log. The client always reads `invalid_client`. */
export type AuthenticationFault =
  | 'unknown_client'
  | 'other_method'
  | 'wrong_secret'
  | `assertion ${AssertionFault}`

/** A client that has proved who it is. */
export interface Authenticated {
  /** What its assertion is known by, which must not be accepted a second time; `null` when it used none. */
  readonly assertion: { readonly jti: string; readonly expiresAt: number } | null
}

/**
 * What `credentials` prove of the client `service` (whatever `findService` gave for `clientId`): that an enabled client
 * calls by exactly its registered method. An unknown client, one that is switched off and a wrong secret cost the same
 * work, so that time doesn't tell them apart (5-security 57, 59). `now` in Unix seconds.
 */
export async function authenticate(
  service: Service | undefined,
  credentials: ClientCredentials,
  { issuer, now }: { readonly issuer: string; readonly now: number },
): Promise<Result<Authenticated, AuthenticationFault>> {
  const secret = 'secret' in credentials ? credentials.secret : ''
  const isSecret = await isSecretAmong(service?.secretHashes ?? NOBODYS_HASHES, secret, now)
  const client = service?.oidc
  if (client === undefined || !service?.enabled || service.serviceId !== credentials.clientId) {
    return refuse('unknown_client')
  }
  if (client.token_endpoint_auth_method !== credentials.method) return refuse('other_method')
  switch (credentials.method) {
    case 'none':
      return ok({ assertion: null })
    case 'private_key_jwt': {
      const { clientId, assertion } = credentials
      const holder = { clientId, keys: signingKeysOf(client) }
      const read = await verifyClientAssertion(assertion, holder, issuer, now)
      return read.ok ? ok({ assertion: read.value }) : refuse(`assertion ${read.reason}` as const)
    }
    default:
      return isSecret ? ok({ assertion: null }) : refuse('wrong_secret')
  }
}

/** Compared with in place of an unknown client's: as long as a hash is, and none that a secret has. */
const NOBODYS_HASHES: readonly SecretHash[] = [{ hash: '-'.repeat(43), expiresAt: 0 }]

async function isSecretAmong(
  hashes: readonly SecretHash[],
  secret: string,
  now: number,
): Promise<boolean> {
  const hash = await hashSecret(secret)
  // Every one is compared: where the right one stands must not show.
  const right = hashes.filter(
    (known) =>
      equalText(known.hash, hash) && (known.expiresAt === undefined || now < known.expiresAt),
  )
  return right.length > 0
}

function formDecode(text: string): string {
  return decodeURIComponent(text.replaceAll('+', ' '))
}
