/** Paths of the endpoints under the issuer (4-oidc section 2.1). */
export const PATHS = {
  authorize: '/oidc/authorize',
  par: '/oidc/par',
  token: '/oidc/token',
  introspect: '/oidc/introspect',
  revoke: '/oidc/revoke',
  userinfo: '/oidc/userinfo',
  endSession: '/oidc/end-session',
} as const
