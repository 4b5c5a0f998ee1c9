/** How a service proves itself: with its secret at the direct door, as its client record says at a token endpoint. */
import { equalText, sha256, toBase64url, utf8 } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'
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
  | { readonly method: 'none'; readonly clientId: string }

/** The parameters of a form that a client may prove itself with. An empty one counts as omitted (RFC 6749 section 3.2). */
export interface ClientForm {
  readonly client_id?: string | undefined
  readonly client_secret?: string | undefined
}

/**
 * The one set of credentials in a request, from its `Authorization` header or its form (RFC 6749 sections 2.3 and 5.2).
 * Two ways at once are `invalid_request`, even if both are right; so is a `client_id` in the form that contradicts the
 * header. No credentials, a header that can't be read, and another scheme are `invalid_client` (5-security 56, 58, 61).
 */
export function readClientCredentials(
  authorization: string | undefined,
  form: ClientForm,
): Result<ClientCredentials, 'invalid_request' | 'invalid_client'> {
  const { client_id: clientId = '', client_secret: secret = '' } = form
  if (authorization === undefined) {
    if (clientId === '') return refuse('invalid_client')
    if (secret === '') return ok({ method: 'none', clientId })
    return ok({ method: 'client_secret_post', clientId, secret })
  }
  if (secret !== '') return refuse('invalid_request')
  const basic = readBasic(authorization)
  if (basic === undefined) return refuse('invalid_client')
  if (clientId !== '' && clientId !== basic.serviceId) return refuse('invalid_request')
  return ok({ method: 'client_secret_basic', clientId: basic.serviceId, secret: basic.secret })
}

/**
 * Whether `credentials` prove that the caller is the client `service` (whatever `findService` gave for `clientId`) at
 * `now` (Unix seconds): an enabled client that uses exactly its registered method. An unknown client, one that is
 * switched off and a wrong secret cost the same work, so that time doesn't tell them apart (5-security 57, 59).
 */
export async function isAuthenticated(
  service: Service | undefined,
  credentials: ClientCredentials,
  now: number,
): Promise<boolean> {
  const secret = credentials.method === 'none' ? '' : credentials.secret
  const proven = await isSecretAmong(service?.secretHashes ?? NOBODYS_HASHES, secret, now)
  return (
    service?.enabled === true &&
    service.serviceId === credentials.clientId &&
    service.oidc?.token_endpoint_auth_method === credentials.method &&
    (proven || credentials.method === 'none')
  )
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
