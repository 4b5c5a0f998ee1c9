/** What the Service VDS of a registered service says (3-seal section 2). The seal room makes and reads its text. */
import type { ServiceVdsContent } from '../seal/service-vds.ts'
import { signingKeysOf } from './oidc-client.ts'
import { ceilingOf, type Service } from './service.ts'

/** How long one is good, in seconds. */
const LIFETIME = 365 * 86_400
/** One that ends sooner than this is replaced when its service is registered again. */
const RENEWAL = 60 * 86_400

/** What is asked of whoever makes one. */
export interface Issuance {
  readonly issuer: string
  /** Unix seconds. */
  readonly now: number
  /** Base64url of 16 fresh random bytes. */
  readonly cti: string
}

/** The content of a new Service VDS of `service`: the most that it may ask as it is registered now. */
export function vdsContentOf(service: Service, { issuer, now, cti }: Issuance): ServiceVdsContent {
  const { serviceId, name, url, logoUri, origins, policyUri } = service
  return {
    ...{ issuer, serviceId, issuedAt: now, expiresAt: now + LIFETIME, cti, key: keyOf(service) },
    ...{ name, url, scopes: ceilingOf(service), origins },
    ...(logoUri === undefined ? {} : { logoUri }),
    ...(policyUri === undefined ? {} : { policyUri }),
  }
}

/** Whether `current` says of its service what a new one would say, and for long enough. */
export function isUpToDate(current: ServiceVdsContent, next: ServiceVdsContent): boolean {
  const said = ({ issuedAt: _from, expiresAt: _until, cti: _cti, ...rest }: ServiceVdsContent) =>
    JSON.stringify(Object.entries(rest).sort(([a], [b]) => (a < b ? -1 : 1)))
  return said(current) === said(next) && current.expiresAt > next.issuedAt + RENEWAL
}

/** The service's own P-256 key, where it has registered one that signs. */
function keyOf({ oidc }: Service): ServiceVdsContent['key'] {
  const key = oidc && signingKeysOf(oidc).find(({ kty }) => kty === 'EC')
  return key?.kty === 'EC' ? { kty: 'EC', crv: 'P-256', x: key.x, y: key.y } : null
}
