/** The little that the bench uses of `oidc-provider`, which brings no types. */
declare module 'oidc-provider' {
  import type { RequestListener } from 'node:http'

  type Saved = { save(): Promise<string> }

  export default class Provider {
    constructor(issuer: string, configuration: object)
    callback(): RequestListener
    readonly Client: { find(clientId: string): Promise<object | undefined> }
    readonly Grant: new (of: {
      readonly accountId: string
      readonly clientId: string
    }) => Saved & { addOIDCScope(scope: string): void }
    readonly AuthorizationCode: new (
      content: object,
    ) => Saved
  }
}
