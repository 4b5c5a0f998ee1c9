/**
 * The QR of a login that a service draws itself (2-protocol section 4): the text of this moment, and its picture. For browser
 * and Node.
 */
import { encodeQR } from 'qr'

/** What the provider gives for a QR that moves. `now` is its clock, Unix milliseconds. */
export type MovingQr = { readonly url: string; readonly key: string; readonly now: number }

/** The text changes every so many milliseconds. */
export const STEP = 2000

/** Gives the text to show at a time of the provider's clock, in Unix milliseconds. */
export async function movingText({
  url,
  key,
}: Pick<MovingQr, 'url' | 'key'>): Promise<(now: number) => Promise<string>> {
  const hmac = { name: 'HMAC', hash: 'SHA-256' }
  const imported = await crypto.subtle.importKey('raw', fromBase64url(key), hmac, false, ['sign'])
  return async (now) => {
    const step = new TextEncoder().encode(String(Math.floor(now / STEP)))
    const mac = await crypto.subtle.sign('HMAC', imported, step)
    return url + toBase64url(new Uint8Array(mac, 0, 16))
  }
}

/** The modules of the QR of `text`, row by row, `true` for dark; four light ones around it, as scanners need them. */
export function modulesOf(text: string): boolean[][] {
  return encodeQR(text, 'raw', { ecc: 'medium', border: 4 })
}

function fromBase64url(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
  return Uint8Array.from(binary, (letter) => letter.charCodeAt(0))
}

function toBase64url(bytes: Uint8Array): string {
  const text = btoa(String.fromCharCode(...bytes))
  return text.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}
