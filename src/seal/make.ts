/**
 * What an issuer makes: seals, grants and the two lists. The Worker that verifies never imports this; issuing tools and
 * tests do. Faults here are the caller's own mistakes and throw.
 */
import { CompactSign, type CryptoKey, type JWK } from 'jose'
import { type Bytes, concat, sha256, toBase64url, utf8 } from '../bytes.ts'
import { encodeBase45 } from './base45.ts'
import { encodeC40 } from './c40.ts'
import { GRANT_TYP } from './grant.ts'
import { IDENTITY_MANIFEST } from './manifest.ts'
import { type StatedIdentity, writeIdentity } from './payload.ts'
import { REVOCATION_LIST_TYP, type RevocationList } from './revocation-list.ts'
import { TRUST_LIST_TYP, type TrustListContent } from './trust-list.ts'

/** Signs the 49 bytes of a seal: ECDSA, P-256, SHA-256, 64 bytes r‖s. A wrapped key, an HSM or a remote signer. */
export type SealSigner = (signedBytes: Bytes) => Promise<Bytes>

export interface SealOrder {
  /** 4 characters, digits or A-Z. */
  readonly caId: string
  /** 4 characters, digits or A-Z. */
  readonly certId: string
  /** Unix seconds. */
  readonly createdAt: number
  readonly identity: StatedIdentity
  readonly sign: SealSigner
}

export interface MadeSeal {
  readonly bytes: Bytes
  readonly base45: string
  readonly base64url: string
  readonly fingerprint: string
}

/** A signed seal of manifest `0A0001` in both text forms. Throws `RangeError` for an order that has no such seal. */
export async function makeSeal(order: SealOrder): Promise<MadeSeal> {
  const payload = writeIdentity(order.identity)
  const header = sealHeader(order, payload.length)
  const signature = await order.sign(concat(header, await sha256(payload)))
  if (signature.length !== 64) throw new RangeError('a signature is 64 bytes, r‖s')
  const bytes = concat(header, payload, signature)
  return {
    bytes,
    base45: encodeBase45(bytes),
    base64url: toBase64url(bytes),
    fingerprint: toBase64url(await sha256(concat(header, payload))),
  }
}

/** The 17 header bytes of 3-seal 1.1. Throws `RangeError`. */
export function sealHeader(
  { caId, certId, createdAt }: Pick<SealOrder, 'caId' | 'certId' | 'createdAt'>,
  payloadLength: number,
): Bytes {
  const signer = caId.length === 4 ? encodeC40(`${caId}${certId}0`) : undefined
  if (signer === undefined) throw new RangeError('ids are 4 characters each, digits or A-Z')
  if (!Number.isInteger(createdAt) || createdAt < 0 || createdAt > 0xffffffff) {
    throw new RangeError('creation time does not fit 32 bits')
  }
  if (payloadLength > 0xffff) throw new RangeError('payload does not fit 16 bits')
  const header = new Uint8Array(17)
  header.set([0xde, 0x02])
  header.set(signer, 2)
  const view = new DataView(header.buffer)
  const manifest = Number.parseInt(IDENTITY_MANIFEST.id, 16)
  view.setUint8(8, manifest >> 16)
  view.setUint16(9, manifest & 0xffff)
  view.setUint32(11, createdAt)
  view.setUint16(15, payloadLength)
  return header
}

/** The private half of a list or grant key, and the `kid` its verifier looks up. */
export interface SigningKey {
  readonly key: CryptoKey | JWK
  readonly kid: string
}

/** A trust list as compact JWS. */
export async function makeTrustList(
  content: TrustListContent,
  signer: SigningKey,
): Promise<string> {
  return signJson(content, TRUST_LIST_TYP, signer)
}

/** A revocation list as compact JWS; the fingerprints are sorted and made unique here. */
export async function makeRevocationList(
  content: RevocationList,
  signer: SigningKey,
): Promise<string> {
  const fingerprints = [...new Set(content.fingerprints)].sort()
  return signJson({ ...content, fingerprints }, REVOCATION_LIST_TYP, signer)
}

export interface GrantOrder {
  readonly caId: string
  /** The issuer URL of the deployment that enrolls. */
  readonly issuer: string
  readonly fingerprint: string
  readonly deviceThumbprint: string
  /** Unix seconds, at most 10 minutes ahead. */
  readonly expiresAt: number
}

/** An enrollment grant as compact JWS; `kid` is the RFC 7638 thumbprint of the grant key. */
export async function makeGrant(order: GrantOrder, signer: SigningKey): Promise<string> {
  const payload = {
    iss: order.caId,
    aud: order.issuer,
    sub: order.fingerprint,
    jkt: order.deviceThumbprint,
    exp: order.expiresAt,
  }
  return signJson(payload, GRANT_TYP, signer)
}

async function signJson(payload: unknown, typ: string, { key, kid }: SigningKey): Promise<string> {
  return new CompactSign(utf8(JSON.stringify(payload)))
    .setProtectedHeader({ alg: 'ES256', typ, kid })
    .sign(key)
}
