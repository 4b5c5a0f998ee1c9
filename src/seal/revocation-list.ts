/** The revocation list: fingerprints of seals that end before their time, under the keys that sign the trust list. */
import type { JWK } from 'jose'
import * as v from 'valibot'
import { fromBase64url } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'
import { type JwsFault, openJws } from './list-jws.ts'
import { pinnedKey } from './trust-list.ts'

export const REVOCATION_LIST_TYP = 'revocationlist+jwt'
/** About 17,000 fingerprints: what one request body and one bound parameter of D1 take with room to spare. */
const MAX_LENGTH = 1024 * 1024

const seconds = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const fingerprint = v.pipe(
  v.string(),
  v.check((text) => fromBase64url(text)?.length === 32),
)

const contentSchema = v.pipe(
  v.strictObject({
    sequence: seconds,
    issuedAt: seconds,
    nextUpdate: seconds,
    fingerprints: v.pipe(
      v.array(fingerprint),
      v.check((texts) => isSortedUnique(texts)),
    ),
  }),
  v.check((list) => list.issuedAt < list.nextUpdate),
)

/** `fingerprints` are base64url SHA-256, ascending by their text and each once; times are Unix seconds. */
export type RevocationList = v.InferOutput<typeof contentSchema>

/** The revocation list in `jws`, signed by one of `pinnedKeys` (see `readTrustList`). 3-seal 3.3. */
export async function readRevocationList(
  jws: string,
  pinnedKeys: readonly JWK[],
): Promise<Result<RevocationList, JwsFault>> {
  const keyOf = (kid: string) => pinnedKey(pinnedKeys, kid)
  const opened = await openJws(jws, { typ: REVOCATION_LIST_TYP, maxLength: MAX_LENGTH, keyOf })
  if (!opened.ok) return opened
  const parsed = v.safeParse(contentSchema, opened.value)
  return parsed.success ? ok(parsed.output) : refuse('bad_payload')
}

function isSortedUnique(texts: readonly string[]): boolean {
  return texts.every((text, i) => i === 0 || (texts[i - 1] ?? '') < text)
}
