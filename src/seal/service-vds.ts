/**
 * The Service VDS: the issuer's signed word on who a service is and the most it may ask (3-seal 2). It is a public text
 * and proves nothing about who brings it. This file owns its content, its form and its signature; whether one was
 * withdrawn and its service is enabled, the caller knows.
 */
import type { CBORType } from '@levischuck/tiny-cbor'
import * as v from 'valibot'
import { type Bytes, fromBase64url, toBase64url } from '../bytes.ts'
import { type AtomicScope, expandScopes } from '../disclosure/scopes.ts'
import { isLoopback, isPublicOrigin, isPublicUrl } from '../http/public-address.ts'
import { ok, type Result, refuse } from '../result.ts'
import {
  byteString,
  type CoseFault,
  type CoseSigner,
  decodeCbor,
  encodeCbor,
  integerMap,
  makeCoseSign1,
  readCoseSign1,
} from './cose-sign1.ts'
import { type Hc1Fault, readHc1, writeHc1 } from './hc1.ts'
import { type PublicJwk, publicJwkSchema, verifyP256 } from './p256.ts'

/** How far the clocks of who made it and who reads it may lie apart, in seconds. */
const SKEW = 60
/** The most seconds from `issuedAt` to `expiresAt`: a year, also a leap year. */
export const MAX_SERVICE_VDS_LIFE = 366 * 86_400

/** The claim that holds the service: of the range that the CWT registry leaves for private use. */
const SERVICE_CLAIM = -65601

/* ---- content: the rules are those of a registration ---- */

// Printable ASCII without a fragment: `URL` would drop blanks and newlines, and we keep the text as it was written.
const address = v.pipe(v.string(), v.maxLength(512), v.regex(/^[\x21\x22\x24-\x7e]+$/), v.url())
const seconds = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const bytesAsText = (length: number) =>
  v.pipe(
    v.string(),
    v.check((text) => fromBase64url(text)?.length === length),
  )

const contentSchema = v.strictObject({
  issuer: address,
  serviceId: v.pipe(v.string(), v.regex(/^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/)),
  issuedAt: seconds,
  expiresAt: seconds,
  cti: bytesAsText(16),
  key: v.nullable(publicJwkSchema),
  name: v.pipe(v.string(), v.minLength(1), v.maxLength(80), v.regex(/^[^\p{Cc}\p{Cs}]+$/u)),
  url: address,
  logoUri: v.exactOptional(address),
  logoDigest: v.exactOptional(bytesAsText(32)),
  scopes: v.pipe(v.array(v.string()), v.maxLength(32)),
  origins: v.pipe(v.array(v.pipe(v.string(), v.maxLength(256))), v.maxLength(16)),
  policyUri: v.exactOptional(address),
})

/** What a Service VDS says. Times are Unix seconds. */
export interface ServiceVdsContent {
  /** The issuer URL of the deployment. */
  readonly issuer: string
  readonly serviceId: string
  readonly issuedAt: number
  readonly expiresAt: number
  /** Base64url of 16 random bytes: the name by which it is withdrawn. */
  readonly cti: string
  /** The service's own key, if it has one. That the point is on the curve shows when the key is used. */
  readonly key: PublicJwk | null
  readonly name: string
  readonly url: string
  readonly logoUri?: string
  /** Base64url SHA-256 of the logo's bytes; only with a `logoUri`. */
  readonly logoDigest?: string
  /** The ceiling: atoms, sorted and unique. */
  readonly scopes: readonly AtomicScope[]
  /** Origins whose pages may show it. */
  readonly origins: readonly string[]
  readonly policyUri?: string
}

export type ContentFault = 'too_long_lived' | `bad_${keyof ServiceVdsContent}`

/** `stated` when every member keeps its rule, else the first fault. */
function checkContent(stated: unknown): Result<ServiceVdsContent, ContentFault | 'bad_claims'> {
  const parsed = v.safeParse(contentSchema, stated)
  if (!parsed.success) return refuse(faultAt(parsed.issues[0].path?.[0].key))
  const { scopes: names, ...content } = parsed.output

  const issuer = new URL(content.issuer)
  const loopback = issuer.protocol === 'http:' && isLoopback(issuer.hostname)
  if (issuer.protocol !== 'https:' && !loopback) return refuse('bad_issuer')
  for (const member of ['url', 'logoUri', 'policyUri'] as const) {
    const url = content[member]
    if (url !== undefined && !isPublicUrl(url, loopback)) return refuse(`bad_${member}` as const)
  }
  if (content.logoDigest !== undefined && content.logoUri === undefined) {
    return refuse('bad_logoDigest')
  }
  if (!content.origins.every((origin) => isPublicOrigin(origin, loopback)))
    return refuse('bad_origins')

  const scopes = expandScopes(names)
  // Atoms, sorted and unique, are what expands to itself.
  if (!scopes.ok || scopes.value.join(' ') !== names.join(' ')) return refuse('bad_scopes')
  if (content.expiresAt <= content.issuedAt) return refuse('bad_expiresAt')
  if (content.expiresAt - content.issuedAt > MAX_SERVICE_VDS_LIFE) return refuse('too_long_lived')
  return ok({ ...content, scopes: scopes.value })
}

function faultAt(member: unknown): ContentFault | 'bad_claims' {
  const names = Object.keys(contentSchema.entries) as (keyof ServiceVdsContent)[]
  const name = names.find((one) => one === member)
  return name === undefined ? 'bad_claims' : `bad_${name}`
}

/* ---- claims: CWT (RFC 8392) with the proof key of RFC 8747 and a claim of our own ---- */

const claimsSchema = integerMap({
  1: v.string(),
  2: v.string(),
  4: v.number(),
  6: v.number(),
  7: byteString,
  8: v.exactOptional(
    integerMap({
      1: integerMap({
        1: v.literal(2),
        '-1': v.literal(1),
        '-2': v.pipe(byteString, v.length(32)),
        '-3': v.pipe(byteString, v.length(32)),
      }),
    }),
  ),
  [SERVICE_CLAIM]: integerMap({
    1: v.string(),
    2: v.string(),
    3: v.exactOptional(v.string()),
    4: v.array(v.string()),
    5: v.exactOptional(byteString),
    6: v.array(v.string()),
    7: v.exactOptional(v.string()),
  }),
})

function readClaims(payload: Bytes): Result<ServiceVdsContent, ContentFault | 'bad_claims'> {
  const parsed = v.safeParse(claimsSchema, decodeCbor(payload))
  if (!parsed.success) return refuse('bad_claims')
  const claims = parsed.output
  const service = claims[SERVICE_CLAIM]
  const coseKey = claims[8]?.[1]
  return checkContent({
    issuer: claims[1],
    serviceId: claims[2],
    issuedAt: claims[6],
    expiresAt: claims[4],
    cti: toBase64url(claims[7]),
    key:
      coseKey === undefined
        ? null
        : { kty: 'EC', crv: 'P-256', x: toBase64url(coseKey[-2]), y: toBase64url(coseKey[-3]) },
    name: service[1],
    url: service[2],
    ...(service[3] !== undefined && { logoUri: service[3] }),
    ...(service[5] !== undefined && { logoDigest: toBase64url(service[5]) }),
    scopes: service[4],
    origins: service[6],
    ...(service[7] !== undefined && { policyUri: service[7] }),
  })
}

/** The claims of `content`, which keeps its rules: keys in the order of their bytes, as deterministic CBOR has them. */
function writeClaims(content: ServiceVdsContent): Bytes {
  const { key } = content
  const cnf =
    key &&
    mapOf([
      [
        1,
        mapOf([
          [1, 2],
          [-1, 1],
          [-2, binary(key.x)],
          [-3, binary(key.y)],
        ]),
      ],
    ])
  const service = mapOf([
    [1, content.name],
    [2, content.url],
    [3, content.logoUri],
    [4, [...content.scopes]],
    [5, binary(content.logoDigest)],
    [6, [...content.origins]],
    [7, content.policyUri],
  ])
  return encodeCbor(
    mapOf([
      [1, content.issuer],
      [2, content.serviceId],
      [4, content.expiresAt],
      [6, content.issuedAt],
      [7, binary(content.cti)],
      [8, cnf ?? undefined],
      [SERVICE_CLAIM, service],
    ]),
  )
}

/** A map without the members that are `undefined`. */
function mapOf(entries: readonly (readonly [number, CBORType])[]): Map<number, CBORType> {
  return new Map(entries.filter(([, value]) => value !== undefined))
}

function binary(text: string | undefined): Bytes | undefined {
  return text === undefined ? undefined : fromBase64url(text)
}

/* ---- text ---- */

/** A Service VDS taken apart, its form right, trusted by nobody yet. */
export interface ServiceVds {
  readonly content: ServiceVdsContent
  /** Base64url of 8 bytes: names the key it must be verified with. */
  readonly kid: string
  /** Raw r‖s, 64 bytes. */
  readonly signature: Bytes
  /** What the signature is over. */
  readonly signedBytes: Bytes
}

export type ServiceVdsFormFault = Hc1Fault | CoseFault | ContentFault | 'bad_claims'

/** The Service VDS in `text`, or the first fault of its form, for the log; any text gives a `Result`. */
export async function readServiceVds(
  text: string,
): Promise<Result<ServiceVds, ServiceVdsFormFault>> {
  const bytes = await readHc1(text)
  if (!bytes.ok) return bytes
  const message = readCoseSign1(bytes.value)
  if (!message.ok) return message
  const content = readClaims(message.value.payload)
  if (!content.ok) return content
  const { kid, signature, signedBytes } = message.value
  return ok({ content: content.value, kid: toBase64url(kid), signature, signedBytes })
}

/** What a Service VDS is verified against. */
export interface ServiceVdsRule {
  /** The issuer URL of this deployment. */
  readonly issuer: string
  /** Unix seconds. */
  readonly now: number
  /** The public key that `kid` (base64url of 8 bytes) names **among the service-seal keys**, and no key of another purpose. */
  readonly keyOf: (kid: string) => Promise<PublicJwk | undefined>
}

export type ServiceVdsFault =
  | ServiceVdsFormFault
  | 'unknown_key'
  | 'bad_signature'
  | 'other_issuer'
  | 'issued_ahead'
  | 'expired'

/**
 * The content of `vds` when its signature, issuer and times hold, else the fault for the log; `expired` only when nothing
 * else is wrong. Clocks may differ by 60 s. Left to the caller: withdrawn (`cti`), service disabled. 3-seal 2.2, 3 to 5.
 */
export async function verifyServiceVds(
  { content, kid, signature, signedBytes }: ServiceVds,
  { issuer, now, keyOf }: ServiceVdsRule,
): Promise<Result<ServiceVdsContent, ServiceVdsFault>> {
  const key = await keyOf(kid)
  if (key === undefined) return refuse('unknown_key')
  if (!(await verifyP256(key, signature, signedBytes))) return refuse('bad_signature')
  if (content.issuer !== issuer) return refuse('other_issuer')
  if (content.issuedAt > now + SKEW) return refuse('issued_ahead')
  if (content.expiresAt <= now - SKEW) return refuse('expired')
  return ok(content)
}

/** What the caller of the API may know of a fault. */
export function serviceVdsCode(fault: ServiceVdsFault): 'invalid_service_vds' | 'vds_expired' {
  return fault === 'expired' ? 'vds_expired' : 'invalid_service_vds'
}

/**
 * The text of a Service VDS with `content`, signed by the service-seal key that `kid` (8 bytes) names. A refusal is what
 * the reader would refuse it for: `too_long` for a service whose names and addresses don't fit 4 KiB of text.
 */
export async function makeServiceVds(
  content: ServiceVdsContent,
  sign: CoseSigner,
  kid: Bytes,
): Promise<Result<string, ServiceVdsFormFault>> {
  const checked = checkContent(content)
  if (!checked.ok) return checked
  const text = await writeHc1(await makeCoseSign1(writeClaims(checked.value), kid, sign))
  const read = await readServiceVds(text)
  return read.ok ? ok(text) : read
}
