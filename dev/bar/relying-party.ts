/** The bar as an OpenID Connect client, with the library that most services would take: what it asks, and what it accepts. */
import { createRemoteJWKSet, jwtVerify } from 'jose'
import * as client from 'openid-client'
import { type BarService, SCOPES } from './service.ts'

/** What must be known again when the browser comes back. It stays with the back end. */
export type SignIn = { readonly state: string; readonly nonce: string; readonly verifier: string }

/** What a code was worth. `claims` are those of the id_token, which has been verified. */
export type Tokens = {
  readonly idToken: string
  readonly accessToken: string
  readonly claims: client.IDToken
}

/** Whose session has ended, as a logout token names it. */
export type Departure = { readonly sid: string | undefined; readonly sub: string | undefined }

const LOGOUT_EVENT = 'http://schemas.openid.net/event/backchannel-logout'

/** What the operator registers for the bar at `origin`, under the names of RFC 7591. */
export function clientRecord(origin: string) {
  return {
    redirect_uris: [`${origin}/callback`],
    post_logout_redirect_uris: [`${origin}/`],
    backchannel_logout_uri: `${origin}/backchannel-logout`,
  }
}

export class RelyingParty {
  readonly #service: BarService
  readonly #origin: string
  readonly #keys: ReturnType<typeof createRemoteJWKSet>
  #discovered: Promise<client.Configuration> | undefined

  /** `origin` is the bar's own. Nothing is asked of the provider before it is needed. */
  constructor(service: BarService, origin: string) {
    this.#service = service
    this.#origin = origin
    this.#keys = createRemoteJWKSet(new URL(`${service.issuer}/.well-known/jwks.json`))
  }

  /** Where to send a browser that wants to sign in. `hint` may fill the provider's field; `scopes` is what we ask. */
  async begin(
    hint = '',
    scopes: readonly string[] = SCOPES,
  ): Promise<{ readonly address: string; readonly signIn: SignIn }> {
    const provider = await this.#provider()
    const verifier = client.randomPKCECodeVerifier()
    const signIn = { state: client.randomState(), nonce: client.randomNonce(), verifier }
    const address = client.buildAuthorizationUrl(provider, {
      redirect_uri: `${this.#origin}/callback`,
      scope: ['openid', ...scopes].join(' '),
      state: signIn.state,
      nonce: signIn.nonce,
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      ...(hint === '' ? {} : { login_hint: hint }),
    })
    return { address: address.href, signIn }
  }

  /** Redeems what came back in `query` (with its `?`). Throws `AuthorizationResponseError` when the provider said no. */
  async finish(query: string, { state, nonce, verifier }: SignIn): Promise<Tokens> {
    const provider = await this.#provider()
    const answer = await client.authorizationCodeGrant(
      provider,
      new URL(`${this.#origin}/callback${query}`),
      { expectedState: state, expectedNonce: nonce, pkceCodeVerifier: verifier },
    )
    const claims = answer.claims()
    if (answer.id_token === undefined || claims === undefined) throw new Error('no id_token came')
    return { idToken: answer.id_token, accessToken: answer.access_token, claims }
  }

  /** What userinfo says of the person `sub`. */
  async userinfo(accessToken: string, sub: string): Promise<Readonly<Record<string, unknown>>> {
    return client.fetchUserInfo(await this.#provider(), accessToken, sub)
  }

  /** Where to send a browser that signs out, so that the provider forgets it as well. */
  async farewell(idToken: string): Promise<string> {
    const parameters = { id_token_hint: idToken, post_logout_redirect_uri: `${this.#origin}/` }
    return client.buildEndSessionUrl(await this.#provider(), parameters).href
  }

  /** Who has left, by a logout token (OpenID Connect Back-Channel Logout section 2.6). Throws unless it is one, for us, now. */
  async readLogoutToken(logoutToken: string): Promise<Departure> {
    const { issuer, serviceId } = this.#service
    const { payload } = await jwtVerify(logoutToken, this.#keys, {
      algorithms: ['ES256'],
      typ: 'logout+jwt',
      issuer,
      audience: serviceId,
      requiredClaims: ['iat', 'exp', 'jti', 'events'],
    })
    const { events, sid, sub, nonce } = payload
    const isLogout = typeof events === 'object' && events !== null && LOGOUT_EVENT in events
    if (!isLogout || nonce !== undefined) throw new Error('not a logout token')
    if (sub === undefined && sid === undefined) throw new Error('nobody is named')
    return { sid: typeof sid === 'string' ? sid : undefined, sub }
  }

  /** The provider's metadata; asked for again after a failure. */
  #provider(): Promise<client.Configuration> {
    this.#discovered ??= this.#discover().catch((fault) => {
      this.#discovered = undefined
      throw fault
    })
    return this.#discovered
  }

  #discover(): Promise<client.Configuration> {
    const { issuer, serviceId, secret } = this.#service
    return client.discovery(
      new URL(issuer),
      serviceId,
      { id_token_signed_response_alg: 'ES256' },
      client.ClientSecretBasic(secret),
      {
        execute: [
          // The id_token comes straight from the provider; its signature is checked all the same.
          client.enableNonRepudiationChecks,
          ...(issuer.startsWith('http://') ? [client.allowInsecureRequests] : []),
        ],
      },
    )
  }
}
