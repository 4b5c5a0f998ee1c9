/** Who calls the direct door: a back end that proves itself, or a page that has only an origin to show. */
import type { Asked } from '../login/door.ts'
import { ok, type Result, refuse } from '../result.ts'
import { isSecretOf, readBasic } from '../services/authenticate.ts'
import {
  type AssertionFault,
  clientOfAssertion,
  verifyClientAssertion,
} from '../services/client-assertion.ts'
import { signingKeysOf } from '../services/oidc-client.ts'
import { type OneTimeProof, oneTimeProof } from '../services/one-time-proof.ts'
import { mayUseDirectDoor, type Service } from '../services/service.ts'

/** What telling callers apart reaches for. */
export interface CallerHouse {
  readonly issuer: string
  /** Unix seconds. */
  readonly now: () => number
  /** Uses proofs up, and gives the ids of those that nobody had used. */
  readonly useProofs: (proofs: readonly OneTimeProof[]) => Promise<readonly string[]>
  /** By address, for pages. */
  readonly startLimit: RateLimit
  /** By service, for back ends: each call of theirs counts. */
  readonly serviceLimit: RateLimit
}

/** What a request shows of its caller. Nothing of it is proven yet. */
export interface Shown {
  readonly authorization?: string | undefined
  /** A JWT by the service's own key (RFC 7523 section 2.2). */
  readonly clientAssertion?: string | undefined
}

/** What a request to begin a login shows besides. */
export interface ShownAtStart extends Shown {
  readonly origin: string | undefined
  /** The address that it counts for. */
  readonly address: string
}

export interface Caller {
  readonly service: Service
  readonly begunBy: Asked['begunBy']
  /** The origin of the page, or the service's own when a back end calls. */
  readonly origin: string
}

/** Why a caller is refused. `why`: for the log. */
export interface CallerFault {
  readonly code: 'invalid_request' | 'invalid_client' | 'too_many_requests'
  readonly why?: string
}

const STRANGER: CallerFault = { code: 'invalid_client' }

/** Whom the caller says to speak for. */
export function speaksFor({ authorization, clientAssertion }: Shown): string | undefined {
  if (authorization !== undefined) return readBasic(authorization)?.serviceId
  return clientAssertion === undefined ? undefined : clientOfAssertion(clientAssertion)
}

/**
 * Who wants to begin a login of `service` (whatever the registry gave for `serviceId`). Anyone else than its back end and
 * its pages is `invalid_client`, and so is a service that this door isn't for.
 */
export async function identifyCaller(
  house: CallerHouse,
  shown: ShownAtStart,
  serviceId: string,
  service: Service | undefined,
): Promise<Result<Caller, CallerFault>> {
  const { authorization, clientAssertion, address } = shown
  if (authorization !== undefined || clientAssertion !== undefined) {
    const authenticated = await authenticate(house, shown, serviceId, service)
    if (!authenticated.ok) return authenticated
    const own = new URL(authenticated.value.url).origin
    const origin = shown.origin ?? own
    // The phone shows it as the verified domain: not even a service that has proved itself may name another's.
    if (origin !== own && !authenticated.value.origins.includes(origin)) return refuse(STRANGER)
    return ok({ service: authenticated.value, begunBy: 'back-end', origin })
  }
  const { origin } = shown
  const isPage = origin !== undefined && service?.origins.includes(origin) === true
  if (!isPage || !mayUseDirectDoor(service)) return refuse(STRANGER)
  const { success } = await house.startLimit.limit({ key: address })
  if (!success) return refuse({ code: 'too_many_requests' })
  return ok({ service, begunBy: 'page', origin })
}

/**
 * The service `serviceId`, when the caller has proved to be it by exactly what it is registered for: its secret, or its
 * key. An assertion is used up by it.
 */
export async function authenticate(
  house: CallerHouse,
  { authorization, clientAssertion }: Shown,
  serviceId: string,
  service: Service | undefined,
): Promise<Result<Service, CallerFault>> {
  // Two ways at once are none (5-security 56).
  if (authorization !== undefined && clientAssertion !== undefined) {
    return refuse({ code: 'invalid_request' })
  }
  if (service === undefined || !mayUseDirectDoor(service)) return refuse(STRANGER)
  const hasKey = service.oidc?.token_endpoint_auth_method === 'private_key_jwt'
  const isLimited = async () => !(await house.serviceLimit.limit({ key: serviceId })).success
  if (clientAssertion !== undefined) {
    const proof = hasKey ? await readAssertion(house, clientAssertion, service) : OTHER_METHOD
    if (!proof.ok) return refuse({ ...STRANGER, why: `assertion ${proof.reason}` })
    // Each leaves a row for some minutes: not more of them than calls are allowed.
    if (await isLimited()) return refuse({ code: 'too_many_requests' })
    const fresh = await house.useProofs([proof.value])
    const isFresh = fresh.includes(proof.value.id)
    return isFresh ? ok(service) : refuse({ ...STRANGER, why: 'assertion jti used' })
  }
  const credentials = authorization === undefined ? undefined : readBasic(authorization)
  const isRight =
    !hasKey &&
    credentials?.serviceId === serviceId &&
    (await isSecretOf(service, credentials.secret, house.now()))
  if (!isRight) return refuse(STRANGER)
  return (await isLimited()) ? refuse({ code: 'too_many_requests' }) : ok(service)
}

const OTHER_METHOD = refuse('other_method' as const)

/** What `assertion` is remembered by, once it has proved that `service` calls (5-security 62, 63). */
async function readAssertion(
  { issuer, now }: CallerHouse,
  assertion: string,
  { serviceId, oidc }: Service,
): Promise<Result<OneTimeProof, AssertionFault>> {
  const holder = { clientId: serviceId, keys: oidc === undefined ? [] : signingKeysOf(oidc) }
  const read = await verifyClientAssertion(assertion, holder, issuer, now())
  return read.ok ? ok(await oneTimeProof('assertion', serviceId, read.value)) : read
}
