/**
 * services/ owns the registry of relying parties: what is known of a service, which scopes it may ask, where its pages
 * live, and how it proves itself. It knows nothing of a login.
 */
import * as v from 'valibot'
import { type AtomicScope, expandScopes, isRestricted } from '../disclosure/scopes.ts'
import type { SubjectType } from '../disclosure/subject.ts'
import { isPublicOrigin, isPublicUrl } from '../http/public-address.ts'
import { ok, type Result, refuse } from '../result.ts'
import { type OidcClient, OidcRegistration, readOidcClient, redirectHosts } from './oidc-client.ts'

/** What the operator registers. Scope lists hold what was written (composites allowed); `ceilingOf` gives atoms. */
export interface ServiceMetadata {
  readonly name: string
  /** The service's own page; its origin is what the phone shows as verified domain. */
  readonly url: string
  readonly logoUri?: string
  /** Origins whose pages may start a login and open its socket. */
  readonly origins: readonly string[]
  readonly allowedScopes: readonly string[]
  readonly defaultScopes: readonly string[]
  readonly requiredScopes: readonly string[]
  /** Restricted scopes that the operator has expressly granted. */
  readonly restrictedScopes: readonly string[]
  readonly subjectType: SubjectType
  /** The sector of a pairwise subject; the host of `url` when absent. */
  readonly sectorIdentifier?: string
  readonly confirmation?: 'compare' | 'transfer'
  /** Its privacy policy; the Service VDS says it. */
  readonly policyUri?: string
  /** Whether a login at the direct door must present the Service VDS (5-security 173); absent: no. */
  readonly vdsRequired?: boolean
  /** Whether only who trusts the service may log in; absent: as the deployment has it. */
  readonly trustRequired?: boolean
  readonly tokenLifetimeSeconds: number
  /** Present when the service is an OpenID Connect client too. */
  readonly oidc?: OidcClient
}

/** Base64url SHA-256 of a secret; two stand side by side while a service changes over. */
export interface SecretHash {
  readonly hash: string
  /** Unix seconds; absent = no end. */
  readonly expiresAt?: number
}

export interface Service extends ServiceMetadata {
  readonly serviceId: string
  readonly enabled: boolean
  readonly secretHashes: readonly SecretHash[]
}

export const ServiceId = v.pipe(v.string(), v.regex(/^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/))

const scopeList = v.pipe(v.array(v.pipe(v.string(), v.maxLength(64))), v.maxLength(32))
// Printable ASCII without a fragment: `URL` would drop blanks and newlines, and we keep the text as it was written.
const httpsUrl = v.pipe(v.string(), v.maxLength(512), v.regex(/^[\x21\x22\x24-\x7e]+$/), v.url())
// Control characters would travel to phones, pages and logs; everything else is a name somebody may have.
const displayName = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(80),
  v.regex(/^[^\p{Cc}\p{Cs}]+$/u),
)

export const ServiceRegistration = v.strictObject({
  name: displayName,
  url: httpsUrl,
  logoUri: v.optional(httpsUrl),
  origins: v.pipe(v.array(v.pipe(v.string(), v.maxLength(256))), v.maxLength(16)),
  allowedScopes: scopeList,
  defaultScopes: scopeList,
  requiredScopes: v.optional(scopeList, []),
  restrictedScopes: v.optional(scopeList, []),
  subjectType: v.optional(v.picklist(['transient', 'public', 'pairwise'])),
  sectorIdentifier: v.optional(v.pipe(v.string(), v.regex(/^[a-z0-9.-]{1,253}$/))),
  confirmation: v.optional(v.picklist(['compare', 'transfer'])),
  policyUri: v.exactOptional(httpsUrl),
  vdsRequired: v.exactOptional(v.boolean()),
  trustRequired: v.exactOptional(v.boolean()),
  tokenLifetimeSeconds: v.optional(
    v.pipe(v.number(), v.integer(), v.minValue(60), v.maxValue(3600)),
    3600,
  ),
  oidc: v.exactOptional(OidcRegistration),
  enabled: v.optional(v.boolean(), true),
})

type Registration = v.InferOutput<typeof ServiceRegistration>

/** A member of a registration, named to the operator who must mend it. */
export type RegistrationMember = keyof Registration | `oidc.${keyof OidcClient}`

/**
 * The metadata in a registration that has the right shape, or the member at fault. One validator for create and update
 * (5-security 166). `loopback` says whether the issuer itself is loopback http.
 */
export async function readMetadata(
  registration: Registration,
  loopback: boolean,
): Promise<Result<ServiceMetadata, RegistrationMember>> {
  if (!isPublicUrl(registration.url, loopback)) return refuse('url')
  if (registration.logoUri !== undefined && !isPublicUrl(registration.logoUri, loopback)) {
    return refuse('logoUri')
  }
  if (registration.policyUri !== undefined && !isPublicUrl(registration.policyUri, loopback)) {
    return refuse('policyUri')
  }
  if (!registration.origins.every((origin) => isPublicOrigin(origin, loopback)))
    return refuse('origins')

  const restricted = expandScopes(registration.restrictedScopes)
  if (!restricted.ok) return refuse('restrictedScopes')
  const allowed = expandScopes(registration.allowedScopes)
  if (!allowed.ok) return refuse('allowedScopes')
  const inside = allowed.value.every(
    (scope) => !isRestricted(scope) || restricted.value.includes(scope),
  )
  if (!inside) return refuse('allowedScopes')
  for (const member of ['defaultScopes', 'requiredScopes'] as const) {
    const scopes = expandScopes(registration[member])
    if (!scopes.ok || !scopes.value.every((scope) => allowed.value.includes(scope))) {
      return refuse(member)
    }
  }

  const client = await readClient(registration, loopback)
  if (!client.ok) return client
  const {
    enabled: _enabled,
    subjectType: _subjectType,
    oidc: _oidc,
    logoUri,
    sectorIdentifier,
    confirmation,
    ...rest
  } = registration
  return ok({
    ...rest,
    ...client.value,
    ...(logoUri === undefined ? {} : { logoUri }),
    ...(sectorIdentifier === undefined ? {} : { sectorIdentifier }),
    ...(confirmation === undefined ? {} : { confirmation }),
  })
}

/** The client in a registration, if it is one, and the subject type that goes with it. */
async function readClient(
  {
    oidc,
    subjectType = oidc === undefined ? 'transient' : 'public',
    sectorIdentifier,
  }: Registration,
  loopback: boolean,
): Promise<Result<Pick<ServiceMetadata, 'subjectType' | 'oidc'>, RegistrationMember>> {
  if (oidc === undefined) return ok({ subjectType })
  const client = await readOidcClient(oidc, (address) => isPublicUrl(address, loopback))
  if (!client.ok) return refuse(`oidc.${client.reason}` as const)
  // A client knows the person again by `sub`: in userinfo, after a refresh, at logout.
  if (subjectType === 'transient') return refuse('subjectType')
  // With several hosts nothing says which of them the sector would be (OIDC Core section 8.1).
  const isSplit = redirectHosts(client.value).size > 1
  if (subjectType === 'pairwise' && isSplit && sectorIdentifier === undefined) {
    return refuse('sectorIdentifier')
  }
  return ok({ subjectType, oidc: client.value })
}

/**
 * The disclosures in a list of scopes: composites expanded, sorted, `undefined` when one is unknown. `openid` is no
 * disclosure: it means `sub`, which every token has.
 */
export function disclosuresIn(scopes: readonly string[]): readonly AtomicScope[] | undefined {
  const atoms = expandScopes(scopes)
  return atoms.ok ? atoms.value.filter((scope) => scope !== 'openid') : undefined
}

/** The disclosures that `service` may ever ask: what it is allowed, less restricted ones that nobody granted it. */
export function ceilingOf(service: ServiceMetadata): readonly AtomicScope[] {
  const granted = disclosuresIn(service.restrictedScopes) ?? []
  return (disclosuresIn(service.allowedScopes) ?? []).filter(
    (scope) => !isRestricted(scope) || granted.includes(scope),
  )
}

/**
 * Whether `service` may use the direct door, whose requests aren't pushed and whose tokens are bearer tokens: not when it
 * is registered for more than that, for nobody may choose the lesser way in its name.
 */
export function mayUseDirectDoor({ oidc }: ServiceMetadata): boolean {
  return !oidc?.require_pushed_authorization_requests && !oidc?.dpop_bound_access_tokens
}

/** The sector of a pairwise subject at `service` (OIDC Core section 8.1). */
export function sectorOf(service: ServiceMetadata): string {
  return service.sectorIdentifier ?? new URL(service.url).hostname
}
