/** The payload of manifest `0A0001`: a person's identity as 9 or 14 MessagePack values, read strictly (3-seal 1.2, 1.4). */
import * as v from 'valibot'
import type { Bytes } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'
import { type FieldName, IDENTITY_MANIFEST } from './manifest.ts'
import { decodeValues, encodeValues } from './values.ts'

export type TrustLevel = 1 | 2 | 3

/** Who a person is, as a seal's issuer states it. An absent member was `nil`, or its value was not written. */
export interface Identity {
  /** Empty for a person with one name, who has `familyName` only. */
  readonly givenNames: string
  readonly familyName: string
  /** `YYYY-MM-DD`, or `YYYY-MM` or `YYYY` where the document knows no more. */
  readonly dateOfBirth: string
  /** ISO 3166 alpha-3. */
  readonly nationality: string
  readonly documentNumber: string
  /** Lower-case UUID text. */
  readonly tokenId: string
  /** Last valid day in UTC, `YYYY-MM-DD`. */
  readonly expiresOn: string
  /** Unix seconds of 23:59:59Z of that day. */
  readonly expiresAt: number
  /** WebP. */
  readonly photo?: Bytes
  /** Opaque face template, 140 bytes: no claim, no page, no log. */
  readonly face?: Bytes
  readonly trustLevel?: TrustLevel
  readonly issuingState?: string
  readonly sex?: 'M' | 'F' | 'X'
  /** As in the MRZ: `P`, `I` ... */
  readonly documentType?: string
  /** SHA-256 of the chip's SOD, 32 bytes. */
  readonly sourceHash?: Bytes
}

/** What an issuer states; the end of the last valid day follows from it. */
export type StatedIdentity = Omit<Identity, 'expiresAt'>

export type PayloadFault = 'not_messagepack' | 'value_count' | 'not_minimal' | `bad_${FieldName}`

const FIELDS = IDENTITY_MANIFEST.fields

/** Controls, lone surrogates and noncharacters: no XML and no terminal can carry them, and no name has one. */
const UNCARRIABLE = /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/u

const name = v.pipe(
  v.string(),
  v.check((text) => [...text].length <= 39 && !UNCARRIABLE.test(text)),
)
const date = v.pipe(v.string(), v.regex(/^\d{4}-\d\d-\d\d$/), v.check(isRealDate))
const threeLetters = v.pipe(v.string(), v.regex(/^[A-Z]{3}$/))
const bin = v.instance(Uint8Array<ArrayBuffer>)

const head = [
  v.pipe(
    name,
    v.check((text) => text === '' || text.trim() !== ''),
  ),
  v.pipe(
    name,
    v.check((text) => text.trim() !== ''),
  ),
  v.pipe(v.string(), v.regex(/^\d{4}(-\d\d(-\d\d)?)?$/), v.check(isRealDate)),
  threeLetters,
  v.pipe(v.string(), v.regex(/^[A-Z0-9]{1,22}$/)),
  v.pipe(bin, v.length(16)),
  date,
  v.nullable(
    v.pipe(
      bin,
      v.maxLength(2048),
      v.check((photo) => isWebp(photo)),
    ),
  ),
  v.nullable(
    v.pipe(
      bin,
      v.length(140),
      v.check((face) => face[0] === 0x00 && face[1] === 0x3f),
    ),
  ),
] as const
const tail = [
  v.picklist([1, 2, 3]),
  threeLetters,
  v.nullable(v.picklist(['M', 'F', 'X'])),
  v.pipe(v.string(), v.regex(/^[A-Z][A-Z0-9]?$/)),
  v.nullable(v.pipe(bin, v.length(32))),
] as const
const short = v.strictTuple([...head])
const full = v.strictTuple([...head, ...tail])

/**
 * The identity in `payload`, or the first fault. `today` is the UTC date `YYYY-MM-DD`: nobody is born after it. The
 * encoding must be the shortest one, which re-encoding shows; that also refuses broken UTF-8 and integers sent as floats.
 */
export function readIdentity(payload: Bytes, today: string): Result<Identity, PayloadFault> {
  const values = decodeValues(payload)
  if (values === undefined) return refuse('not_messagepack')
  const isShort = values.length === IDENTITY_MANIFEST.shortForm
  if (!isShort && values.length !== FIELDS.length) return refuse('value_count')
  const parsed = v.safeParse(isShort ? short : full, values)
  if (!parsed.success) return refuse(faultAt(parsed.issues[0].path?.[0]?.key))

  const [gn, fn, dob, nat, doc, tid, exp, photo, face, level, state, sex, type, source] =
    parsed.output as Partial<v.InferOutput<typeof full>> & v.InferOutput<typeof short>
  if (!sameBytes(encodeValues(parsed.output), payload)) return refuse('not_minimal')
  // A partial date sorts before every day it may mean.
  if (dob > today) return refuse('bad_dob')

  return ok({
    givenNames: gn,
    familyName: fn,
    dateOfBirth: dob,
    nationality: nat,
    documentNumber: doc,
    tokenId: uuidText(tid),
    expiresOn: exp,
    expiresAt: Date.parse(`${exp}T23:59:59Z`) / 1000,
    ...(photo && { photo: new Uint8Array(photo) }),
    ...(face && { face: new Uint8Array(face) }),
    ...(level && { trustLevel: level }),
    ...(state && { issuingState: state }),
    ...(sex && { sex }),
    ...(type && { documentType: type }),
    ...(source && { sourceHash: new Uint8Array(source) }),
  })
}

/**
 * The payload bytes of `identity`: 14 values when it states a trust level, else 9. Names are written in NFC. It writes
 * what it is given and checks no limit (an issuer verifies its own output); it throws only for a tail without issuing
 * state or document type, or a tokenId that is no UUID.
 */
export function writeIdentity(identity: StatedIdentity): Bytes {
  const short = [
    identity.givenNames.normalize('NFC'),
    identity.familyName.normalize('NFC'),
    identity.dateOfBirth,
    identity.nationality,
    identity.documentNumber,
    uuidBytes(identity.tokenId),
    identity.expiresOn,
    identity.photo ?? null,
    identity.face ?? null,
  ]
  const { trustLevel, issuingState, sex, documentType, sourceHash } = identity
  if (trustLevel === undefined && issuingState === undefined && documentType === undefined) {
    return encodeValues(short)
  }
  if (trustLevel === undefined || issuingState === undefined || documentType === undefined) {
    throw new TypeError('trustLevel, issuingState and documentType come together')
  }
  const tail = [trustLevel, issuingState, sex ?? null, documentType, sourceHash ?? null]
  return encodeValues([...short, ...tail])
}

/** The fault of the value at a tuple position. */
function faultAt(position: unknown): PayloadFault {
  const field = typeof position === 'number' ? FIELDS[position] : undefined
  return field ? `bad_${field.name}` : 'value_count'
}

/** Whether `YYYY[-MM[-DD]]` names a date that exists. */
function isRealDate(text: string): boolean {
  const day = `${text}-01-01`.slice(0, 10)
  const time = Date.parse(`${day}T00:00:00Z`)
  return (
    !text.startsWith('0000') && !Number.isNaN(time) && new Date(time).toISOString().startsWith(day)
  )
}

function isWebp(bytes: Uint8Array): boolean {
  return String.fromCharCode(...bytes.subarray(0, 4), ...bytes.subarray(8, 12)) === 'RIFFWEBP'
}

function uuidText(bytes: Uint8Array): string {
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

function uuidBytes(text: string): Bytes {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)) throw new TypeError('no UUID')
  const pairs = text.replaceAll('-', '').match(/../g) ?? []
  return new Uint8Array(pairs.map((pair) => Number.parseInt(pair, 16)))
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}
