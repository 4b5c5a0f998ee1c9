/**
 * The trust list: who may sign identity seals and enrollment grants, stated in a compact JWS under a key that the
 * configuration pins. Which list is current, and that its sequence never falls, is the store's business.
 */
import { calculateJwkThumbprint, type JWK } from 'jose'
import * as v from 'valibot'
import { ok, type Result, refuse } from '../result.ts'
import { type JwsFault, openJws } from './list-jws.ts'
import { type PublicJwk, publicJwkSchema } from './p256.ts'

export const TRUST_LIST_TYP = 'trustlist+jwt'
const MAX_LENGTH = 1024 * 1024

const seconds = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const listId = v.pipe(v.string(), v.regex(/^[0-9A-Z]{4}$/))
const manifestId = v.pipe(v.string(), v.regex(/^[0-9A-F]{6}$/))

const entrySchema = v.strictObject({
  caId: listId,
  certId: listId,
  key: publicJwkSchema,
  purposes: v.pipe(
    v.array(v.picklist(['identity-seal', 'enrollment-grant', 'issuer-ca'])),
    v.minLength(1),
  ),
  manifests: v.array(manifestId),
  maxTrustLevel: v.picklist([1, 2, 3]),
  status: v.picklist(['active', 'revoked']),
  validity: v.strictObject({ from: seconds, to: seconds }),
})

/** Unknown members are refused: one that we skipped might have been a restriction. */
const contentSchema = v.pipe(
  v.strictObject({
    sequence: seconds,
    issuedAt: seconds,
    nextUpdate: seconds,
    entries: v.array(entrySchema),
    // Published for other readers; our own reading of a payload follows manifest.ts.
    manifests: v.array(v.looseObject({ id: manifestId, version: seconds })),
    revocationList: v.exactOptional(v.pipe(v.string(), v.url(), v.startsWith('https://'))),
  }),
  v.check((list) => list.issuedAt < list.nextUpdate),
)

/** The payload of a trust list as an operator writes it; times are Unix seconds. */
export type TrustListContent = v.InferInput<typeof contentSchema>

/** One trusted key, with its RFC 7638 thumbprint as `kid`. Validity is in Unix seconds, both ends included. */
export type TrustEntry = v.InferOutput<typeof entrySchema> & { readonly kid: string }

export type TrustList = Omit<v.InferOutput<typeof contentSchema>, 'entries'> & {
  readonly entries: readonly TrustEntry[]
}

export type TrustListFault = JwsFault | 'certificate_unsupported' | 'duplicate_entry'

/**
 * The trust list in `jws`, signed by one of `pinnedKeys` (public P-256 JWKs, named by their own `kid` or else by their
 * thumbprint). Entries must carry `key`: one with `certificate` makes the list `certificate_unsupported`, because there
 * is no X.509 reader here yet and skipping the entry would hide it. A signer reference and a key occur once each.
 */
export async function readTrustList(
  jws: string,
  pinnedKeys: readonly JWK[],
): Promise<Result<TrustList, TrustListFault>> {
  const keyOf = (kid: string) => pinnedKey(pinnedKeys, kid)
  const opened = await openJws(jws, { typ: TRUST_LIST_TYP, maxLength: MAX_LENGTH, keyOf })
  if (!opened.ok) return opened
  if (namesCertificate(opened.value)) return refuse('certificate_unsupported')
  const parsed = v.safeParse(contentSchema, opened.value)
  if (!parsed.success) return refuse('bad_payload')

  const entries = await Promise.all(
    parsed.output.entries.map(async (entry) => ({
      ...entry,
      kid: await calculateJwkThumbprint(entry.key, 'sha256'),
    })),
  )
  const references = new Set(entries.map((entry) => entry.caId + entry.certId))
  const kids = new Set(entries.map((entry) => entry.kid))
  if (references.size < entries.length || kids.size < entries.length) {
    return refuse('duplicate_entry')
  }
  return ok({ ...parsed.output, entries })
}

/** The pinned key that `kid` names, if it is a public P-256 key. */
export async function pinnedKey(
  pinnedKeys: readonly JWK[],
  kid: string,
): Promise<PublicJwk | undefined> {
  for (const candidate of pinnedKeys) {
    const parsed = v.safeParse(publicJwkSchema, candidate)
    if (!parsed.success) continue
    if ((candidate.kid ?? (await calculateJwkThumbprint(parsed.output, 'sha256'))) === kid) {
      return parsed.output
    }
  }
  return undefined
}

/** The entry a seal's header names by its 4 + 4 characters, whatever its status or purpose. */
export function signerOf(
  list: TrustList,
  seal: { readonly caId: string; readonly certId: string },
): TrustEntry | undefined {
  return list.entries.find((entry) => entry.caId === seal.caId && entry.certId === seal.certId)
}

/** The key `kid` (RFC 7638 thumbprint) of the CA `caId`, if it may sign enrollment grants at `now`. */
export function grantKey(
  list: TrustList,
  caId: string,
  kid: string,
  now: number,
): TrustEntry | undefined {
  return list.entries.find(
    (entry) =>
      entry.kid === kid &&
      entry.caId === caId &&
      entry.purposes.includes('enrollment-grant') &&
      entry.status === 'active' &&
      withinValidity(entry, now),
  )
}

/** Whether `now` lies in the entry's validity. */
export function withinValidity(entry: TrustEntry, now: number): boolean {
  return entry.validity.from <= now && now <= entry.validity.to
}

export type Freshness = 'fresh' | 'grace' | 'stale'

/** How far past its `nextUpdate` a list is at `now`: not at all, by at most `graceSeconds`, or by more. */
export function listFreshness(
  list: { readonly nextUpdate: number },
  now: number,
  graceSeconds: number,
): Freshness {
  if (now <= list.nextUpdate) return 'fresh'
  return now <= list.nextUpdate + graceSeconds ? 'grace' : 'stale'
}

function namesCertificate(payload: unknown): boolean {
  const shape = v.object({ entries: v.array(v.unknown()) })
  const withCertificate = v.looseObject({ certificate: v.unknown() })
  return v.is(shape, payload) && payload.entries.some((entry) => v.is(withCertificate, entry))
}

/** Whether the CA `caId` may still sign identity seals by some key: a CA that was withdrawn is withdrawn with all its seals. */
export function isTrustedCa({ entries }: TrustList, caId: string): boolean {
  return entries.some(
    (entry) =>
      entry.caId === caId && entry.status === 'active' && entry.purposes.includes('identity-seal'),
  )
}
