import { equalText, sha256, toBase64url, utf8 } from '../bytes.ts'
import type { Service } from './service.ts'

export interface BasicCredentials {
  readonly serviceId: string
  readonly secret: string
}

/**
 * The credentials of an `Authorization: Basic` header, form-encoded as RFC 6749 section 2.3.1 demands, or `undefined`
 * when there are none that can be read (5-security 60, 61).
 */
export function readBasic(authorization: string): BasicCredentials | undefined {
  const encoded = /^Basic +([A-Za-z0-9+/]+={0,2})$/i.exec(authorization)?.[1]
  if (encoded === undefined) return undefined
  try {
    const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0))
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    const colon = text.indexOf(':')
    if (colon < 1) return undefined
    return {
      serviceId: formDecode(text.slice(0, colon)),
      secret: formDecode(text.slice(colon + 1)),
    }
  } catch {
    return undefined
  }
}

/** Base64url SHA-256 of a service's secret: the only form in which one is kept. */
export async function hashSecret(secret: string): Promise<string> {
  return toBase64url(await sha256(utf8(secret)))
}

/** Whether `secret` is one of the secrets that `service` may use at `now` (Unix seconds). */
export async function isSecretOf(service: Service, secret: string, now: number): Promise<boolean> {
  const hash = await hashSecret(secret)
  return service.secretHashes.some(
    (known) =>
      equalText(known.hash, hash) && (known.expiresAt === undefined || now < known.expiresAt),
  )
}

function formDecode(text: string): string {
  return decodeURIComponent(text.replaceAll('+', ' '))
}
