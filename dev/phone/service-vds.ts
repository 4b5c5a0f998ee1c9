/**
 * How the phone reads a Service VDS (3-seal section 2): `HC1:`, Base45, zlib, COSE_Sign1, CWT. It shares no code with the
 * product, so that the two agree by what is written and not by what is the same. For browser and Node.
 */
import { CBORTag, type CBORType, decodeCBOR, encodeCBOR } from '@levischuck/tiny-cbor'
import { base64url, type JWK } from 'jose'

/** What a verified Service VDS says of its service. */
export type ServiceCard = {
  readonly serviceId: string
  readonly name: string
  readonly url: string
  /** The most that the service may ask. */
  readonly scopes: readonly string[]
  readonly policyUri: string | undefined
  /** Unix seconds. */
  readonly expiresAt: number
}

export type CardFault = 'invalid_service_vds' | 'service_vds_expired' | 'other_provider'

/** The claim that holds the service, and the clocks' difference that is borne, in seconds. */
const SERVICE_CLAIM = -65601
const SKEW = 60
const BASE45 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:'

/** Whom `text` speaks for, once the provider's signature and the times hold. `keys` are those of `device-jwks.json`. */
export async function verifyServiceVds(
  text: string,
  {
    issuer,
    keys,
    now,
  }: { readonly issuer: string; readonly keys: readonly JWK[]; readonly now: number },
): Promise<ServiceCard | CardFault> {
  try {
    const [head, payload, signature] = partsOf(await inflate(decodeBase45(text.slice(4))))
    const kid = base64url.encode(bytesIn(mapIn(decodeCBOR(head)).get(4)))
    const key = keys.find((one) => one.kid === kid)
    if (key === undefined || !(await isSigned(key, head, payload, signature))) {
      return 'invalid_service_vds'
    }
    const claims = mapIn(decodeCBOR(payload))
    if (claims.get(1) !== issuer) return 'other_provider'
    const card = cardOf(claims)
    return card.expiresAt + SKEW > now ? card : 'service_vds_expired'
  } catch {
    return 'invalid_service_vds'
  }
}

function cardOf(claims: ReadonlyMap<unknown, CBORType>): ServiceCard {
  const service = mapIn(claims.get(SERVICE_CLAIM))
  const policyUri = service.get(7)
  return {
    serviceId: textIn(claims.get(2)),
    name: textIn(service.get(1)),
    url: textIn(service.get(2)),
    scopes: listIn(service.get(4)).map(textIn),
    policyUri: policyUri === undefined ? undefined : textIn(policyUri),
    expiresAt: Number(claims.get(4)),
  }
}

type Bytes = Uint8Array<ArrayBuffer>

/** Protected header, payload and signature of a COSE_Sign1. */
function partsOf(message: Bytes): readonly [head: Bytes, payload: Bytes, signature: Bytes] {
  const item = decodeCBOR(message)
  if (!(item instanceof CBORTag) || item.tag !== 18) throw new Error('not a COSE_Sign1')
  const [head, , payload, signature] = listIn(item.value)
  return [bytesIn(head), bytesIn(payload), bytesIn(signature)]
}

async function isSigned(
  { kty = '', crv = '', x = '', y = '' }: JWK,
  head: Bytes,
  payload: Bytes,
  signature: Bytes,
): Promise<boolean> {
  const es256 = mapIn(decodeCBOR(head)).get(1) === -7
  const curve = { name: 'ECDSA', namedCurve: 'P-256' }
  const jwk = { kty, crv, x, y }
  const key = await crypto.subtle.importKey('jwk', jwk, curve, false, ['verify'])
  const signed = bytesIn(encodeCBOR(['Signature1', head, new Uint8Array(), payload]))
  const algorithm = { name: 'ECDSA', hash: 'SHA-256' }
  return es256 && crypto.subtle.verify(algorithm, key, signature, signed)
}

function decodeBase45(text: string): Bytes {
  const bytes: number[] = []
  for (let i = 0; i < text.length; i += 3) {
    const group = [...text.slice(i, i + 3)].map((letter) => BASE45.indexOf(letter))
    if (group.includes(-1) || group.length === 1) throw new Error('not Base45')
    const [first = 0, second = 0, third] = group
    const value = first + 45 * second + 2025 * (third ?? 0)
    if (value > (third === undefined ? 0xff : 0xffff)) throw new Error('not Base45')
    bytes.push(...(third === undefined ? [value] : [value >> 8, value & 0xff]))
  }
  return new Uint8Array(bytes)
}

async function inflate(packed: Bytes): Promise<Bytes> {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'))
  return new Uint8Array(await new Response(stream).arrayBuffer())
}

function bytesIn(item: CBORType | undefined): Bytes {
  if (!(item instanceof Uint8Array)) throw new Error('not bytes')
  return new Uint8Array(item)
}

function mapIn(item: CBORType | undefined): ReadonlyMap<unknown, CBORType> {
  if (!(item instanceof Map)) throw new Error('not a map')
  return item
}

function listIn(item: CBORType | undefined): readonly CBORType[] {
  if (!Array.isArray(item)) throw new Error('not a list')
  return item
}

function textIn(item: CBORType | undefined): string {
  if (typeof item !== 'string') throw new Error('not a text')
  return item
}
