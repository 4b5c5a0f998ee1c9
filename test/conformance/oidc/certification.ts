/** Person and clients as they would be registered for a certification. */
import type { Context } from './party.ts'
import type { World } from './world.ts'

/** What a client of a certification needs: a secret, no PKCE by rule, claims in userinfo only (4-oidc section 1, 4 and 8). */
const RECORD = {
  require_pkce: false,
  claims_in_id_token: false,
  offline_access: true,
  alias_domain: 'people.example',
}

/** The contexts of the two response modes. In each another algorithm signs for the first client. */
export async function certify(
  world: World,
): Promise<Readonly<Record<Context['responseMode'], Context>>> {
  const register = (clientId: string, oidc: Readonly<Record<string, unknown>>) =>
    world.register(clientId, {
      ...RECORD,
      backchannel_logout_uri: `${world.party}/${clientId}/logout`,
      ...oidc,
    })
  const es256 = await register('certified-es256', {})
  const rs256 = await register('certified-rs256', { id_token_signed_response_alg: 'RS256' })
  const post = await register('certified-post', {
    token_endpoint_auth_method: 'client_secret_post',
  })
  const person = await world.enroll('camille')
  const { issuer, received } = world
  const shared = { issuer, received, person, post }
  return {
    query: { ...shared, first: es256, second: rs256, responseMode: 'query' },
    form_post: { ...shared, first: rs256, second: es256, responseMode: 'form_post' },
  }
}
