/** Everything that the OpenID Connect door answers over HTTP. */
import { Hono } from 'hono'
import { cookie, expiredCookie, type HostCookieName } from '../http/cookies.ts'
import { DOCUMENT_METHODS, publicDocument, publicPreflight } from '../http/document.ts'
import { only } from '../http/method.ts'
import type { MasterSecret } from '../keys/master-secret.ts'
import { type AuthorizeHouse, authorizeRoutes } from './authorize/routes.ts'
import { metadataOf } from './discovery.ts'
import { type IntrospectHouse, introspectRoutes } from './introspect/routes.ts'
import { type LogoutHouse, logoutRoutes } from './logout/routes.ts'
import { type ParHouse, parRoutes } from './par/routes.ts'
import { type RevokeHouse, revokeRoutes } from './revoke/routes.ts'
import { overflow, SSO_SECONDS, ssoCookiesIn } from './sso.ts'
import { type TokenRoutesHouse, tokenRoutes } from './token/routes.ts'
import { type UserinfoHouse, userinfoRoutes } from './userinfo/routes.ts'

export type OidcHouse = AuthorizeHouse &
  ParHouse &
  TokenRoutesHouse &
  IntrospectHouse &
  RevokeHouse &
  UserinfoHouse &
  LogoutHouse

/** Changes only with a deployment. */
const CACHE_CONTROL = 'public, max-age=300, stale-while-revalidate=600, stale-if-error=86400'

/** Discovery at both addresses, and `/oidc/*`. */
export function oidcRoutes(house: OidcHouse): Hono {
  const app = new Hono()
  const metadata = metadataOf(house.config.issuer)
  for (const path of [
    '/.well-known/openid-configuration',
    '/.well-known/oauth-authorization-server',
  ]) {
    app
      .get(path, (c) => publicDocument(c.req.raw, metadata, { cacheControl: CACHE_CONTROL }))
      .options(path, () => publicPreflight())
      .all(path, only(DOCUMENT_METHODS))
  }
  app.route('/', authorizeRoutes(house))
  app.route('/', parRoutes(house))
  app.route('/', tokenRoutes(house))
  app.route('/', introspectRoutes(house))
  app.route('/', revokeRoutes(house))
  app.route('/', userinfoRoutes(house))
  app.route('/', logoutRoutes(house))
  return app
}

/**
 * The `Set-Cookie` headers by which a browser keeps its newest session, and lets go of those beyond the eight newest and
 * of those that mean nothing any more (1-architecture decision 9). `now` in Unix seconds.
 */
export async function keepSession(
  master: MasterSecret,
  keepsake: { readonly name: HostCookieName; readonly value: string },
  cookieHeader: string | null,
  now: number,
): Promise<readonly string[]> {
  const others = (await ssoCookiesIn(master, cookieHeader, now)).filter(
    ({ name }) => name !== keepsake.name,
  )
  const meaningless = others.filter(({ session }) => session === undefined)
  const bytes = keepsake.name.length + keepsake.value.length
  const newest = { name: keepsake.name, bytes, session: { issuedAt: now + 1 } }
  const standing = others.flatMap(({ session, ...rest }) =>
    session === undefined ? [] : [{ ...rest, session }],
  )
  const expired = [...meaningless.map(({ name }) => name), ...overflow([newest, ...standing])]
  return [
    cookie(keepsake.name, keepsake.value, { maxAge: SSO_SECONDS }),
    ...expired.map(expiredCookie),
  ]
}
