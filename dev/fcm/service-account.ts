/** Service accounts of the fake: made by it, in the JSON that Google hands out, so that the product is configured as for Google. */

/** Google's JSON, and `messaging_endpoint`, by which a development account says where its FCM is. */
export type ServiceAccountJson = {
  readonly type: 'service_account'
  readonly project_id: string
  readonly private_key_id: string
  readonly private_key: string
  readonly client_email: string
  readonly client_id: string
  readonly token_uri: string
  readonly messaging_endpoint: string
}

/** A new account of `projectId` whose endpoints are at `origin`, with a fresh RSA key. */
export async function makeServiceAccount(
  origin: string,
  projectId: string,
): Promise<ServiceAccountJson> {
  const algorithm = {
    name: 'RSASSA-PKCS1-v1_5',
    modulusLength: 2048,
    publicExponent: new Uint8Array([1, 0, 1]),
    hash: 'SHA-256',
  }
  const pair = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey('pkcs8', pair.privateKey))
  const lines =
    Buffer.from(pkcs8)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return {
    type: 'service_account',
    project_id: projectId,
    private_key_id: crypto.randomUUID().replaceAll('-', ''),
    private_key: `-----BEGIN PRIVATE KEY-----\n${lines.join('\n')}\n-----END PRIVATE KEY-----\n`,
    client_email: `push@${projectId}.iam.gserviceaccount.com`,
    client_id: '100000000000000000001',
    token_uri: `${origin}/token`,
    messaging_endpoint: origin,
  }
}

/** The public half of an account's key, for RS256. */
export async function publicKeyOf(account: ServiceAccountJson): Promise<CryptoKey> {
  const body = account.private_key.replace(/-----[A-Z ]+-----|\s/g, '')
  const algorithm = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
  const bytes = Uint8Array.from(Buffer.from(body, 'base64'))
  const key = await crypto.subtle.importKey('pkcs8', bytes, algorithm, true, ['sign'])
  const { kty, n, e } = await crypto.subtle.exportKey('jwk', key)
  const publicJwk = { kty: kty ?? '', n: n ?? '', e: e ?? '' }
  return crypto.subtle.importKey('jwk', publicJwk, algorithm, false, ['verify'])
}
