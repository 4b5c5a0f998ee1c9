/** Which pages may read the answers of the token endpoint and userinfo: those of registered web origins (4-oidc section 3.1). */

export interface WebOrigins {
  /** The answer to a preflight for `methods`. */
  preflight(request: Request, methods: string): Promise<Response>
  /**
   * What `respond` answers, readable for the page that asked if its origin is registered. Who sends no Origin costs no
   * look-up; who sends one is looked up first, so that nothing has been spent when D1 doesn't answer.
   */
  allow(request: Request, respond: () => Promise<Response>): Promise<Response>
}

export function webOrigins(isRegistered: (origin: string) => Promise<boolean>): WebOrigins {
  return {
    async preflight(request, methods) {
      const origin = request.headers.get('Origin')
      if (origin === null || !(await isRegistered(origin))) {
        return new Response(null, { status: 403, headers: { Vary: 'Origin' } })
      }
      return new Response(null, {
        status: 204,
        headers: {
          'Access-Control-Allow-Origin': origin,
          'Access-Control-Allow-Methods': methods,
          'Access-Control-Allow-Headers': 'Authorization, Content-Type, DPoP',
          'Access-Control-Max-Age': '7200',
          Vary: 'Origin',
        },
      })
    },
    async allow(request, respond) {
      const origin = request.headers.get('Origin')
      const registered = origin !== null && (await isRegistered(origin))
      const answer = await respond()
      answer.headers.set('Vary', 'Origin')
      if (registered) {
        answer.headers.set('Access-Control-Allow-Origin', origin)
        answer.headers.set('Access-Control-Expose-Headers', 'WWW-Authenticate, DPoP-Nonce')
      }
      return answer
    },
  }
}
