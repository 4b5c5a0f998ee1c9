/**
 * oidc/ is the OpenID Connect door: discovery, authorize, token, userinfo, logout. It owns what OAuth parameters mean and
 * what its tokens say. How a person is authenticated it leaves to login/. This file is its half of that contract.
 */
import { toBase64url } from '../bytes.ts'
import { type AtomicScope, isSubset } from '../disclosure/scopes.ts'
import { type SubjectType, subjectFor } from '../disclosure/subject.ts'
import { deriveKey, stableVersion } from '../keys/derive.ts'
import type { MasterSecret } from '../keys/master-secret.ts'
import { careOf } from '../login/care.ts'
import type {
  Asked,
  BrowserContext,
  Door,
  DoorResult,
  DoorState,
  Granted,
  Onward,
  RejectionReason,
} from '../login/door.ts'
import { matchesRedirectUri } from '../services/oidc-client.ts'
import { ceilingOf, disclosuresIn, type Service, sectorOf } from '../services/service.ts'
import {
  type AuthorizationAnswer,
  type AuthorizationError,
  authorizationParameters,
  redirectAddress,
} from './authorization-error.ts'
import type { AuthorizationRequest, ResponseMode } from './authorization-request.ts'
import { CODE_RANDOM_BYTES, makeCode } from './code.ts'
import { GRANT_ID_BYTES, type Grant, sessionSid } from './grant.ts'
import { grantedScope } from './scope.ts'
import { sealSso } from './sso.ts'

export interface OidcDoorHouse {
  readonly issuer: string
  readonly master: MasterSecret
  /** Unix seconds. */
  readonly now: () => number
  readonly random: (length: number) => Uint8Array<ArrayBuffer>
}

/** What the door keeps of a request until the approval. */
export interface OidcState extends DoorState {
  readonly redirectUri: string
  readonly responseMode: ResponseMode
  readonly state: string | null
  readonly nonce: string | null
  readonly codeChallenge: string | null
  readonly dpopJkt: string | null
  readonly resource: string | null
  /** Whether the client pushed the request itself (RFC 9126). */
  readonly pushed: boolean
  readonly requestedScopes: readonly string[]
  readonly offlineAccess: boolean
  readonly idTokenClaims: readonly string[]
  /** Who must approve; empty: anybody. */
  readonly expectedSubs: readonly string[]
  readonly subjectType: SubjectType
  readonly sector: string
  /** The domain of the e-mail alias, when it is asked for. */
  readonly aliasDomain: string | null
  /** The session that is answered again without asking the phone; `null` for a new login. */
  readonly sid: string | null
}

/** What a redeemed code brings: the object keeps it encrypted until then. */
export interface Kept {
  readonly grant: Grant
  readonly nonce: string | null
  readonly idTokenClaims: readonly string[]
  readonly offlineAccess: boolean
}

/** What `request` asks of login/. `pushed`, `expectedSubs` and `sid` as in `OidcState`. */
export function askedBy(
  request: AuthorizationRequest,
  service: Service,
  about: {
    readonly pushed: boolean
    readonly expectedSubs: readonly string[]
    readonly sid: string | null
    readonly context: BrowserContext
    readonly confirmation: Asked['confirmation']
    readonly trustRequired: boolean
  },
): Asked {
  const required = disclosuresIn(service.requiredScopes) ?? []
  const state: OidcState = {
    redirectUri: request.redirectUri,
    responseMode: request.responseMode,
    state: request.state,
    nonce: request.nonce,
    codeChallenge: request.codeChallenge,
    dpopJkt: request.dpopJkt,
    resource: request.resource,
    pushed: about.pushed,
    requestedScopes: request.requestedScopes,
    offlineAccess: request.offlineAccess,
    idTokenClaims: request.idTokenClaims,
    expectedSubs: about.expectedSubs,
    subjectType: service.subjectType,
    sector: sectorOf(service),
    aliasDomain: request.email ? (service.oidc?.alias_domain ?? null) : null,
    sid: about.sid,
  }
  return {
    door: 'oidc',
    doorState: state,
    service: {
      id: service.serviceId,
      name: service.name,
      url: service.url,
      logo: service.logoUri ?? null,
    },
    origin: originOf(request.redirectUri, service.url),
    returnTo: request.redirectUri,
    socketOrigins: [],
    begunBy: 'page',
    vds: null,
    purpose: 'login',
    // A request is in its visitor's hands: what the service always needs, he can't take out of it.
    scopes: scopesAsked(request, service),
    requiredScopes: required,
    minTrustLevel: request.minTrustLevel,
    ...careOf(service, about),
    context: about.context,
  }
}

/** The disclosures that `request` asks, with those that `service` never does without. */
export function scopesAsked(
  request: Pick<AuthorizationRequest, 'scopes'>,
  service: Service,
): readonly AtomicScope[] {
  const required = disclosuresIn(service.requiredScopes) ?? []
  return [...new Set([...request.scopes, ...required])].sort()
}

/** The door: an approval becomes a code for the service and a cookie for the browser. */
export function oidcDoor(house: OidcDoorHouse): Door {
  return {
    allows,
    finish: (asked, granted, sessionId) => finish(house, asked, granted, sessionId),
    refuse: (asked, reason) =>
      onwardTo(house.issuer, asked.doorState as OidcState, { error: ERRORS[reason] }),
  }
}

/** Whether `service`, as it is registered now, may have what was asked of it before. */
export function allows({ doorState, scopes, minTrustLevel }: Asked, service: Service): boolean {
  const { redirectUri, pushed, codeChallenge } = doorState as OidcState
  const { oidc: client, enabled } = service
  return (
    enabled &&
    client !== undefined &&
    matchesRedirectUri(client, redirectUri) &&
    (pushed || !client.require_pushed_authorization_requests) &&
    (codeChallenge !== null || !client.require_pkce) &&
    minTrustLevel >= client.min_trust_level &&
    isSubset(scopes, ceilingOf(service))
  )
}

/** What the service is told of a login that ended without a grant. */
const ERRORS: Readonly<Record<RejectionReason, AuthorizationError>> = {
  declined: 'access_denied',
  not_me: 'access_denied',
  wrong_code: 'access_denied',
  revoked: 'access_denied',
  cancelled: 'access_denied',
  service_disabled: 'unauthorized_client',
  insufficient_trust_level: 'unmet_authentication_requirements',
}

async function finish(
  house: OidcDoorHouse,
  asked: Asked,
  granted: Granted,
  sessionId: string,
): Promise<DoorResult> {
  const { issuer, master, random, now } = house
  const state = asked.doorState as OidcState
  const delivery = { continue: '/login/continue' }
  const sub = await subjectOf(master, state, granted.tokenId)
  if (!state.expectedSubs.every((expected) => expected === sub)) {
    // Somebody else has approved than the service sent here (5-security 46).
    const onward = onwardTo(issuer, state, { error: 'login_required' })
    return { delivery, redeemable: null, onward }
  }
  const grant = await grantOf(house, asked, granted, sub, sessionId)
  const kept: Kept = {
    grant,
    nonce: state.nonce,
    idTokenClaims: state.idTokenClaims,
    offlineAccess: state.offlineAccess,
  }
  const { tokenId, enrollmentId, grantId, clientId, trustLevel } = grant
  const { redirectUri, codeChallenge, dpopJkt, resource } = state
  const code = await makeCode(
    master,
    sessionId,
    {
      ...{ tokenId, enrollmentId, grantId, clientId, trustLevel },
      ...{ redirectUri, codeChallenge, dpopJkt, resource },
      issuedAt: now(),
    },
    random(CODE_RANDOM_BYTES),
  )
  const session = {
    grant,
    scopes: granted.scopes,
    offlineAccess: state.offlineAccess,
    email: state.aliasDomain !== null,
    issuedAt: now(),
  }
  // An answer from a cookie leaves that cookie as it is: its eight hours don't begin again.
  const cookie = state.sid === null ? await sealSso(master, session, random(12)) : undefined
  return {
    delivery,
    redeemable: { code, answer: { kept: JSON.stringify(kept) } },
    onward: {
      ...onwardTo(issuer, state, { code }),
      ...(cookie === undefined ? {} : { keepsake: cookie }),
    },
  }
}

async function grantOf(
  { random }: OidcDoorHouse,
  asked: Asked,
  granted: Granted,
  sub: string,
  sessionId: string,
): Promise<Grant> {
  const state = asked.doorState as OidcState
  const { tokenId, enrollmentId, trustLevel, approvedAt, scopes } = granted
  const email = state.aliasDomain !== null
  return {
    grantId: toBase64url(random(GRANT_ID_BYTES)),
    clientId: asked.service.id,
    tokenId,
    enrollmentId,
    sub,
    scope: grantedScope(state.requestedScopes, scopes, {
      offlineAccess: state.offlineAccess,
      email,
    }),
    claims: {
      ...granted.claims,
      // A passport holds no address: this is a name for gateways that insist on one (2-protocol section 5).
      ...(email && { email: `${sub}@${state.aliasDomain}`, email_verified: false }),
    },
    trustLevel,
    authTime: approvedAt,
    sid: state.sid ?? (await sessionSid(sessionId)),
  }
}

/** The `sub` of the person `tokenId` at the client of `state`. */
async function subjectOf(
  master: MasterSecret,
  { subjectType, sector }: Pick<OidcState, 'subjectType' | 'sector'>,
  tokenId: string,
): Promise<string> {
  if (subjectType !== 'pairwise') return subjectFor({ type: 'public', tokenId })
  const pairwiseKey = await deriveKey(master, 'pairwise', stableVersion(master))
  return subjectFor({ type: 'pairwise', tokenId, sector, pairwiseKey })
}

/** The `sub` of the person `tokenId` at `service`. */
export function subjectAt(
  master: MasterSecret,
  service: Service,
  tokenId: string,
): Promise<string> {
  const { subjectType } = service
  return subjectOf(master, { subjectType, sector: sectorOf(service) }, tokenId)
}

/** The way to the client of a request with `answer`, in the mode that it asked for. */
export function onwardTo(
  issuer: string,
  request: Pick<OidcState, 'redirectUri' | 'responseMode' | 'state'>,
  answer: AuthorizationAnswer,
): Onward {
  const { redirectUri, responseMode, state } = request
  const parameters = authorizationParameters(answer, { issuer, state })
  return responseMode === 'form_post'
    ? { address: redirectUri, fields: parameters }
    : { address: redirectAddress(redirectUri, parameters) }
}

/** The origin that the phone shows: that of the address, or the service's own for an app's private scheme. */
function originOf(redirectUri: string, serviceUrl: string): string {
  const { protocol, origin } = new URL(redirectUri)
  return protocol === 'https:' || protocol === 'http:' ? origin : new URL(serviceUrl).origin
}
