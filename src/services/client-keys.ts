/**
 * The public keys in a client's record: which ones it may register, and what each may be used for. EC and RSA keys without
 * `use` and `alg` serve both ends, Ed25519 signs only.
 */
import { importJWK } from 'jose'
import * as v from 'valibot'
import { fromBase64url, toBase64url } from '../bytes.ts'

export const ENCRYPTION_ALGS = ['ECDH-ES', 'ECDH-ES+A256KW', 'RSA-OAEP', 'RSA-OAEP-256'] as const
/** What a client may sign with. RS256 is not among them: FAPI 2 forbids it (4-oidc trap 3). */
export const CLIENT_SIGNING_ALGS = ['ES256', 'PS256', 'EdDSA'] as const

export type IdTokenEncryptionAlg = (typeof ENCRYPTION_ALGS)[number]
export type ClientSigningAlg = (typeof CLIENT_SIGNING_ALGS)[number]

interface P256 {
  readonly kty: 'EC'
  readonly crv: 'P-256'
  readonly x: string
  readonly y: string
}

interface Rsa {
  readonly kty: 'RSA'
  readonly n: string
  readonly e: string
}

interface Ed25519 {
  readonly kty: 'OKP'
  readonly crv: 'Ed25519'
  readonly x: string
}

/** A public key of a client to encrypt to. */
export type ClientEncryptionJwk = (P256 | Rsa) & {
  readonly kid: string
  readonly use?: 'enc'
  readonly alg?: IdTokenEncryptionAlg
}

/** A public key that a client signs with. */
export type ClientSigningJwk = (P256 | Rsa | Ed25519) & {
  readonly kid: string
  readonly use?: 'sig'
  readonly alg?: ClientSigningAlg
}

/** A public key of a client. It holds no member but these. */
export type ClientJwk = ClientEncryptionJwk | ClientSigningJwk

const SIGNING_ALG_OF = { EC: 'ES256', RSA: 'PS256', OKP: 'EdDSA' } as const satisfies Readonly<
  Record<ClientSigningJwk['kty'], ClientSigningAlg>
>

/** The one algorithm that `key` signs with: it comes from the kind of the key, never from a header (5-security 111). */
export function signingAlgOf(key: ClientSigningJwk): ClientSigningAlg {
  return SIGNING_ALG_OF[key.kty]
}

/** Whether signatures may be verified with `key`: nothing in it says that it is for encryption. */
export function isSigningKey(key: ClientJwk): key is ClientSigningJwk {
  return key.use !== 'enc' && (key.alg === undefined || key.alg === SIGNING_ALG_OF[key.kty])
}

/** Whether an id_token may be encrypted to `key` with `alg`. */
export function isKeyFor(key: ClientJwk, alg: IdTokenEncryptionAlg): key is ClientEncryptionJwk {
  const fits = alg.startsWith('ECDH-ES') ? key.kty === 'EC' : key.kty === 'RSA'
  return fits && key.use !== 'sig' && (key.alg === undefined || key.alg === alg)
}

/** The members that only a private or a shared key has (RFC 7518 section 6). */
const SECRET_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']

/**
 * The public keys in `jwks`, each with no member but those we know, or `undefined` when one can't be used or two share a
 * `kid`.
 */
export async function readKeys(
  jwks: readonly Readonly<Record<string, unknown>>[],
): Promise<readonly ClientJwk[] | undefined> {
  const keys = await Promise.all(jwks.map(readKey))
  const good = keys.filter((key) => key !== undefined)
  const distinct = new Set(good.map(({ kid }) => kid)).size
  return good.length === jwks.length && distinct === jwks.length ? good : undefined
}

const keyNames = {
  kid: v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,128}$/)),
  use: v.exactOptional(v.picklist(['enc', 'sig'])),
}
const bytesOf = (least: number, most: number) =>
  v.pipe(
    v.string(),
    v.maxLength(1024),
    v.check((text) => {
      const length = fromBase64url(text)?.length ?? -1
      return length >= least && length <= most
    }),
  )

// The points of small order of Curve25519, without the sign bit: under such a "key" anybody's signature verifies.
const WEAK_POINTS: ReadonlySet<string> = new Set([
  'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
  'AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
  'JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_AU',
  'xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA3o',
  '7P_______________________________________38',
  '7f_______________________________________38',
  '7v_______________________________________38',
])

function isWeakPoint(x: string): boolean {
  const signless = fromBase64url(x)?.map((byte, index) => (index === 31 ? byte & 0x7f : byte))
  return signless !== undefined && WEAK_POINTS.has(toBase64url(signless))
}

const ClientKey = v.variant('kty', [
  v.object({
    kty: v.literal('EC'),
    crv: v.literal('P-256'),
    x: bytesOf(32, 32),
    y: bytesOf(32, 32),
    alg: v.exactOptional(v.picklist(['ECDH-ES', 'ECDH-ES+A256KW', 'ES256'])),
    ...keyNames,
  }),
  v.object({
    kty: v.literal('RSA'),
    // 2048 to 4096 bits: the first bit of a modulus is set. A longer one, or a long exponent, is work for us to do.
    n: v.pipe(bytesOf(256, 512), v.regex(/^[g-z0-9_-]/)),
    e: v.literal('AQAB'),
    alg: v.exactOptional(v.picklist(['RSA-OAEP', 'RSA-OAEP-256', 'PS256'])),
    ...keyNames,
  }),
  v.object({
    kty: v.literal('OKP'),
    crv: v.literal('Ed25519'),
    x: v.pipe(
      bytesOf(32, 32),
      v.check((x) => !isWeakPoint(x)),
    ),
    alg: v.exactOptional(v.literal('EdDSA')),
    ...keyNames,
  }),
])

async function readKey(jwk: Readonly<Record<string, unknown>>): Promise<ClientJwk | undefined> {
  if (SECRET_MEMBERS.some((member) => Object.hasOwn(jwk, member))) return undefined
  const read = v.safeParse(ClientKey, jwk)
  if (!read.success) return undefined
  // What the schema doesn't say is whether `use` and `alg` agree: one where they don't serves neither end.
  const key = read.output as ClientJwk
  if (!isSigningKey(key) && !ENCRYPTION_ALGS.some((alg) => isKeyFor(key, alg))) return undefined
  try {
    // Only the import tells a point of the curve from two numbers.
    await importJWK({ ...key }, key.alg ?? SIGNING_ALG_OF[key.kty])
  } catch {
    return undefined
  }
  return key
}
