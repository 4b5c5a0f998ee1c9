/**
 * Who calls an endpoint for clients, proven: the one place where credentials, a DPoP proof and the registry meet. Every
 * such endpoint, and every grant type of the token endpoint, comes through here first.
 */
import type { MasterSecret } from '../../keys/master-secret.ts'
import type { Standing } from '../../login/store.ts'
import { ok, type Result, refuse } from '../../result.ts'
import { authenticate, type ClientCredentials } from '../../services/authenticate.ts'
import { verifyDpopProof } from '../../services/dpop.ts'
import { isDpopNonce } from '../../services/dpop-nonce.ts'
import type { OidcClient } from '../../services/oidc-client.ts'
import { type OneTimeProof, oneTimeProof } from '../../services/one-time-proof.ts'
import type { Service } from '../../services/service.ts'
import type { OidcStore } from '../store.ts'
import { type TokenFault, tokenFault } from '../token-error.ts'

export interface ClientHouse {
  readonly issuer: string
  readonly master: MasterSecret
  readonly store: OidcStore
  /** Unix seconds. */
  readonly now: () => number
}

/** The parameters of a form; of one that came twice, the first. */
export type Form = ReadonlyMap<string, string>

/** What was posted to an endpoint for clients. Nothing of it is proven yet. */
export interface ClientRequest {
  /** Of the endpoint, under the issuer. */
  readonly path: string
  readonly credentials: ClientCredentials
  readonly form: Form
  /** The names that came more than once, where the endpoint allows that at all. */
  readonly repeated: ReadonlySet<string>
  /** The header `DPoP` as it came. */
  readonly dpop: string | undefined
}

/** A service that is an OpenID Connect client. */
export interface ClientService extends Service {
  readonly oidc: OidcClient
}

export interface Admitted {
  readonly service: ClientService
  /** Of the client, and of the person that was asked about along with it. */
  readonly standing: Standing
  /** The thumbprint of the key whose possession the client has proved; `null` when it sent no proof. */
  readonly jkt: string | null
  /** The proof of a public client, good but not used up yet; see `spend`. */
  readonly unspent: OneTimeProof | null
}

/**
 * The client of `request`, by one question to D1 that also tells of the person `tokenId`. Everything is verified first;
 * then what may be used once is used up, so that an assertion or a proof that was seen on its way buys nothing. Only the
 * proof of a public client is left: anybody can name one and make keys, and would fill the table with what he made up.
 */
export async function admit(
  house: ClientHouse,
  request: ClientRequest,
  tokenId: string,
): Promise<Result<Admitted, TokenFault>> {
  const { issuer, store } = house
  const { credentials } = request
  const now = house.now()
  const standing = await store.standing(tokenId, credentials.clientId)
  const authenticated = await authenticate(standing.service, credentials, { issuer, now })
  // One answer for every way not to be the client (5-security 57); the log tells them apart.
  if (!authenticated.ok) return refuse(tokenFault('invalid_client', authenticated.reason))
  const service = clientOf(standing.service)
  if (service === undefined) return refuse(tokenFault('invalid_client', 'unknown_client'))

  const proof = await readProof(house, request, now)
  if (!proof.ok) return proof
  const { assertion } = authenticated.value
  const asserted = assertion && (await oneTimeProof('assertion', service.serviceId, assertion))
  const proved = proof.value && (await oneTimeProof('dpop', proof.value.jkt, proof.value))
  const jkt = proof.value?.jkt ?? null
  if (credentials.method === 'none') return ok({ service, standing, jkt, unspent: proved })
  const replayed = await useUp(house, { asserted, proved }, now)
  return replayed === undefined ? ok({ service, standing, jkt, unspent: null }) : refuse(replayed)
}

/**
 * Uses up what `admit` left: once the request has shown something that only a client of a person can have.
 * @returns the fault when it was used before
 */
export async function spend(
  house: ClientHouse,
  { unspent: proved }: Admitted,
): Promise<TokenFault | undefined> {
  return useUp(house, { asserted: null, proved }, house.now())
}

/** Uses up what the client has proved itself with; the fault when one of the two was used before. */
async function useUp(
  { store }: ClientHouse,
  { asserted, proved }: Readonly<Record<'asserted' | 'proved', OneTimeProof | null>>,
  now: number,
): Promise<TokenFault | undefined> {
  const proofs = [asserted, proved].filter((each) => each !== null)
  const fresh = proofs.length === 0 ? [] : await store.useProofs(proofs, now)
  if (asserted && !fresh.includes(asserted.id)) {
    return tokenFault('invalid_client', 'assertion jti used')
  }
  return proved && !fresh.includes(proved.id)
    ? tokenFault('invalid_dpop_proof', 'jti used')
    : undefined
}

async function readProof({ issuer, master }: ClientHouse, request: ClientRequest, now: number) {
  if (request.dpop === undefined) return ok(null)
  const proof = await verifyDpopProof(request.dpop, {
    method: 'POST',
    url: `${issuer}${request.path}`,
    now,
    isNonce: (nonce) => isDpopNonce(master, nonce, now),
  })
  return proof.ok ? proof : refuse(tokenFault(proof.reason.error, proof.reason.why))
}

function clientOf(service: Service | undefined): ClientService | undefined {
  return service?.oidc === undefined ? undefined : { ...service, oidc: service.oidc }
}
