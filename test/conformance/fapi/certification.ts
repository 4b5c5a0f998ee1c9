/** Person and clients as they would be registered for a certification. */
import type { World } from '../oidc/world.ts'
import type { ClientAlg } from './keys.ts'
import { type FapiContext, registerFapi } from './party.ts'

/** Two clients with keys of their own, as the plan has them, and more for the other algorithms and the libraries. */
export async function certifyFapi(world: World): Promise<FapiContext> {
  const record = { offline_access: true, claims_in_id_token: false }
  const register = (clientId: string, alg: ClientAlg, more: object = {}) =>
    registerFapi(world, clientId, alg, { ...record, ...more })
  const first = await register('fapi-first', 'ES256')
  // It may return to where the first one does: what keeps their codes apart is then not the address.
  const both = [`${world.party}/fapi-second/cb?kept=as%20it%20is`, first.redirectUri]
  const second = await register('fapi-second', 'ES256', { redirect_uris: both })
  const eddsa = await register('fapi-eddsa', 'EdDSA')
  // openid-client 6 takes the whole query of the address for the answer: there must be none in what is registered.
  const plain = (clientId: string) => ({ redirect_uris: [`${world.party}/${clientId}/cb`] })
  const ps256 = await register('fapi-ps256', 'PS256', plain('fapi-ps256'))
  const library = await register('fapi-library', 'ES256', plain('fapi-library'))
  const person = await world.enroll('camille')
  const { issuer, received } = world
  // Nobody authenticates by form here.
  const shared = { issuer, received, person, post: first, responseMode: 'query' as const }
  return { ...shared, first, second, ps256, eddsa, library }
}
