/** Public P-256 keys as JWK, and the one ECDSA check (SHA-256, raw r‖s) that seals, lists and grants share. */
import * as v from 'valibot'
import type { Bytes } from '../bytes.ts'

const coordinate = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/))

/** A public P-256 JWK; members beside the four are dropped, a private key is refused. */
export const publicJwkSchema = v.pipe(
  v.looseObject({
    kty: v.literal('EC'),
    crv: v.literal('P-256'),
    x: coordinate,
    y: coordinate,
  }),
  v.check((key) => !('d' in key), 'a private key'),
  v.transform(({ kty, crv, x, y }) => ({ kty, crv, x, y })),
)

export type PublicJwk = v.InferOutput<typeof publicJwkSchema>

/**
 * Whether `signature` (64 bytes, r‖s) over `data` verifies under `key`: ECDSA, P-256, SHA-256. A point off the curve, or
 * any other fault of the key, is `false`.
 */
export async function verifyP256(key: PublicJwk, signature: Bytes, data: Bytes): Promise<boolean> {
  if (signature.length !== 64) return false
  const curve = { name: 'ECDSA', namedCurve: 'P-256' }
  try {
    const imported = await crypto.subtle.importKey('jwk', key, curve, false, ['verify'])
    return await crypto.subtle.verify({ name: 'ECDSA', hash: 'SHA-256' }, imported, signature, data)
  } catch {
    return false
  }
}
