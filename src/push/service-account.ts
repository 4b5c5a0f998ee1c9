/**
 * The service account of a Firebase project, as Google hands it out in JSON: the one secret of this room. `FCM_SERVICE_ACCOUNT`
 * holds it. What can be read wrong is refused here, once, with a tag that an operator can act on and that holds nothing
 * of the secret.
 */
import * as v from 'valibot'
import { ok, type Result, refuse } from '../result.ts'

/** Who we are to Google. `privateKey` is one PKCS #8 PEM block; never log or serialise this object. */
export type ServiceAccount = {
  readonly projectId: string
  readonly clientEmail: string
  readonly privateKeyId: string
  readonly privateKey: string
  /** Where assertions are exchanged, and the `aud` of them, letter by letter. */
  readonly tokenEndpoint: string
  /** Origin of FCM, without a path. */
  readonly messagingEndpoint: string
}

export type ServiceAccountFault = 'not_json' | 'wrong_shape' | 'not_an_rsa_key' | 'endpoint_refused'

const MESSAGING_ENDPOINT = 'https://fcm.googleapis.com'

const accountShape = v.object({
  type: v.literal('service_account'),
  // Starts with a letter, so it can be no `..`: it becomes a part of a path.
  project_id: v.pipe(v.string(), v.regex(/^[a-z][a-z0-9.:-]{1,61}[a-z0-9]$/)),
  private_key_id: v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,128}$/)),
  private_key: v.pipe(v.string(), v.maxLength(16_384)),
  client_email: v.pipe(v.string(), v.regex(/^[\x21-\x7e]{3,320}$/)),
  token_uri: v.string(),
  messaging_endpoint: v.optional(v.string(), MESSAGING_ENDPOINT),
})

/**
 * Reads Google's service account JSON. `messaging_endpoint` is an extra member of ours: a development account names its
 * fake FCM there. Both endpoints must be https; `loopbackAllowed` (the issuer itself is loopback http) admits loopback http too.
 */
export function parseServiceAccount(
  text: string,
  { loopbackAllowed }: { readonly loopbackAllowed: boolean },
): Result<ServiceAccount, ServiceAccountFault> {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    return refuse('not_json')
  }
  const parsed = v.safeParse(accountShape, json)
  if (!parsed.success) return refuse('wrong_shape')
  const account = parsed.output
  if (!isRsaPkcs8(account.private_key)) return refuse('not_an_rsa_key')
  const tokenUri = readEndpoint(account.token_uri, loopbackAllowed)
  const messaging = readEndpoint(account.messaging_endpoint, loopbackAllowed)
  if (!tokenUri || !messaging || messaging.pathname !== '/') return refuse('endpoint_refused')
  return ok({
    projectId: account.project_id,
    clientEmail: account.client_email,
    privateKeyId: account.private_key_id,
    privateKey: account.private_key,
    tokenEndpoint: account.token_uri,
    messagingEndpoint: messaging.origin,
  })
}

function readEndpoint(text: string, loopbackAllowed: boolean): URL | undefined {
  if (!URL.canParse(text)) return undefined
  const url = new URL(text)
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    return undefined
  const loopback = ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname)
  const allowed =
    url.protocol === 'https:' || (url.protocol === 'http:' && loopback && loopbackAllowed)
  return allowed ? url : undefined
}

/** AlgorithmIdentifier of RSA in a PKCS #8 key (RFC 5208): SEQUENCE, OID 1.2.840.113549.1.1.1, NULL. */
const RSA_ALGORITHM = '\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00'

function isRsaPkcs8(pem: string): boolean {
  const body =
    /^\s*-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END PRIVATE KEY-----\s*$/.exec(pem)?.[1]
  if (body === undefined) return false
  try {
    // The outer header and the version come first: the identifier starts within the first ten bytes.
    return atob(body.replace(/\s/g, '')).slice(0, 32).includes(RSA_ALGORITHM)
  } catch {
    return false
  }
}
