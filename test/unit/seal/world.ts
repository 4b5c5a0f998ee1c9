/** A small world of issuers for the seal tests: keys, a trust list, people, and seals signed over any payload. */
import { calculateJwkThumbprint, type JWK } from 'jose'
import { type Bytes, concat, sha256, toBase64url } from '../../../src/bytes.ts'
import { makeSeal, makeTrustList, type SigningKey, sealHeader } from '../../../src/seal/make.ts'
import type { StatedIdentity } from '../../../src/seal/payload.ts'
import { parseSeal, type Seal } from '../../../src/seal/seal.ts'
import {
  readTrustList,
  type TrustList,
  type TrustListContent,
} from '../../../src/seal/trust-list.ts'
import type { Verification } from '../../../src/seal/verify.ts'

/** 2026-11-21T00:00:00Z: the creation time of the header example, and the tests' present. */
export const NOW = 1795219200
export const DAY = 86_400
export const ISSUER = 'https://id.example'

export interface KeyPair extends SigningKey {
  readonly key: CryptoKey
  readonly kid: string
  readonly jwk: JWK
  readonly publicKey: CryptoKey
  readonly sign: (bytes: Bytes) => Promise<Bytes>
}

export async function newKey(): Promise<KeyPair> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
  const pair = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const jwk = (await crypto.subtle.exportKey('jwk', pair.publicKey)) as JWK
  return {
    key: pair.privateKey,
    publicKey: pair.publicKey,
    jwk,
    kid: await calculateJwkThumbprint(jwk),
    sign: async (bytes) => {
      const digest = { name: 'ECDSA', hash: 'SHA-256' }
      return new Uint8Array(await crypto.subtle.sign(digest, pair.privateKey, bytes))
    },
  }
}

export const listKey = await newKey()
export const sealKey = await newKey()
export const grantKey = await newKey()

export type Entry = TrustListContent['entries'][number]

export function entry(key: KeyPair, change: Partial<Entry> = {}): Entry {
  return {
    caId: 'IDT1',
    certId: '0001',
    key: key.jwk as Entry['key'],
    purposes: ['identity-seal'],
    manifests: ['0A0001'],
    maxTrustLevel: 3,
    status: 'active',
    validity: { from: NOW - 30 * DAY, to: NOW + 30 * DAY },
    ...change,
  }
}

export function content(change: Partial<TrustListContent> = {}): TrustListContent {
  return {
    sequence: 1,
    issuedAt: NOW - DAY,
    nextUpdate: NOW + DAY,
    entries: [
      entry(sealKey),
      entry(grantKey, { certId: 'G001', purposes: ['enrollment-grant'], manifests: [] }),
    ],
    manifests: [{ id: '0A0001', version: 1 }],
    ...change,
  }
}

/** The list as a store would hold it: signed, then read back. */
export async function trustList(change: Partial<TrustListContent> = {}): Promise<TrustList> {
  const read = await readTrustList(await makeTrustList(content(change), listKey), [listKey.jwk])
  if (!read.ok) throw new Error(read.reason)
  return read.value
}

export const ada: StatedIdentity = {
  givenNames: 'Ada',
  familyName: 'Lovelace',
  dateOfBirth: '1990-12-10',
  nationality: 'GBR',
  documentNumber: 'C01X00T47',
  tokenId: '7f3d2a10-5b6c-8d7e-9f80-a1b2c3d4e5f6',
  expiresOn: '2027-11-21',
}

export const face: Bytes = concat(new Uint8Array([0x00, 0x3f]), new Uint8Array(138).fill(7))
export const photo: Bytes = new Uint8Array(Buffer.from('RIFF\x0c\0\0\0WEBPVP8 abcd', 'latin1'))

export const adaInFull: StatedIdentity = {
  ...ada,
  photo,
  face,
  trustLevel: 3,
  issuingState: 'GBR',
  sex: 'F',
  documentType: 'P',
  sourceHash: new Uint8Array(32).fill(9),
}

interface SealChange {
  readonly caId?: string
  readonly certId?: string
  readonly createdAt?: number
  readonly key?: KeyPair
}

/** The base64url text of a seal that `makeSeal` makes for `identity`. */
export async function sealText(
  identity: StatedIdentity = ada,
  { caId = 'IDT1', certId = '0001', createdAt = NOW - DAY, key = sealKey }: SealChange = {},
): Promise<string> {
  return (await makeSeal({ caId, certId, createdAt, identity, sign: key.sign })).base64url
}

/** A rightly signed seal over any payload bytes, after `alter` changed its header. */
export async function sealOver(
  payload: Bytes,
  alter: (header: Bytes) => void = () => {},
): Promise<string> {
  const ids = { caId: 'IDT1', certId: '0001', createdAt: NOW - DAY }
  const header = sealHeader(ids, payload.length)
  alter(header)
  const signature = await sealKey.sign(concat(header, await sha256(payload)))
  return toBase64url(concat(header, payload, signature))
}

export async function parsed(text: string): Promise<Seal> {
  const seal = await parseSeal(text)
  if (!seal.ok) throw new Error(seal.reason)
  return seal.value
}

export async function against(change: Partial<Verification> = {}): Promise<Verification> {
  const trust = change.trust ?? (await trustList())
  return { now: NOW, revoked: false, graceSeconds: 3600, use: 'enrollment', ...change, trust }
}

const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n

/** The other signature (r, n−s) that verifies wherever (r, s) does. */
export function malleated(signature: Bytes): Bytes {
  const s = BigInt(`0x${Buffer.from(signature.subarray(32)).toString('hex')}`)
  const other = Buffer.from((ORDER - s).toString(16).padStart(64, '0'), 'hex')
  return concat(signature.subarray(0, 32), other)
}
