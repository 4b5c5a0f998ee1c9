/** A service as the store gives it, for the tests of this folder. */

import * as v from 'valibot'
import type { Result } from '../../../src/result.ts'
import type { OidcClient } from '../../../src/services/oidc-client.ts'
import {
  readMetadata,
  type Service,
  type ServiceMetadata,
  ServiceRegistration,
} from '../../../src/services/service.ts'

export const CALLBACK = 'https://bar.example/cb'

/** What the operator sends, with `oidc` and the `more` of the service itself; `shape` is a fault of the schema. */
export async function register(
  oidc: object | undefined,
  { loopback = false, ...more }: { loopback?: boolean; [member: string]: unknown } = {},
): Promise<Result<ServiceMetadata, string>> {
  const registration = v.safeParse(ServiceRegistration, {
    name: 'Bar le Central',
    url: 'https://bar.example/',
    origins: [],
    allowedScopes: ['identity:name'],
    defaultScopes: [],
    ...(oidc === undefined ? {} : { oidc: { redirect_uris: [CALLBACK], ...oidc } }),
    ...more,
  })
  if (!registration.success) return { ok: false, reason: 'shape' }
  return readMetadata(registration.output, loopback)
}

/** The reason why `oidc` is refused, or `accepted`. */
export async function verdict(
  oidc: object,
  more: { loopback?: boolean; [member: string]: unknown } = {},
): Promise<string> {
  const metadata = await register(oidc, more)
  return metadata.ok ? 'accepted' : metadata.reason
}

/** The client that `oidc` registers. */
export async function clientOf(oidc: object, loopback = false): Promise<OidcClient> {
  const metadata = await register(oidc, { loopback })
  if (!metadata.ok || metadata.value.oidc === undefined) throw new Error(JSON.stringify(metadata))
  return metadata.value.oidc
}

/** The service `bar` with the client that `oidc` registers; without it, a service that is no client. */
export async function serviceOf(
  oidc: object | undefined,
  changes: Partial<Service> = {},
): Promise<Service> {
  const metadata = await register(oidc)
  if (!metadata.ok) throw new Error(metadata.reason)
  return { ...metadata.value, serviceId: 'bar', enabled: true, secretHashes: [], ...changes }
}
