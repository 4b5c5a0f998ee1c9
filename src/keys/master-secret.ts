/**
 * keys/ owns everything that is secret about this server: the one master secret and what is derived from it, the signing
 * keys with their wrapping, and the public documents about them. It offers one function per purpose and no general
 * `sign`. It does not own what a token says, who may have one, or the keys of phones, services and seal issuers.
 *
 * This file reads `MASTER_SECRET` (1-architecture decision 12).
 */
import { type Bytes, fromBase64url } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'

/** The input of every derived key. Never logged, never sent anywhere, and only keys/ looks inside. */
export interface MasterSecret {
  /** The version that new things are made with: the first one listed. */
  readonly current: number
  /** Every version that is still accepted, at least 32 bytes each. */
  readonly versions: ReadonlyMap<number, Bytes>
}

export type MasterSecretFault = 'missing' | 'malformed' | 'short' | 'weak'

/** The value that the README shows in its place; refused like every other text that holds `REPLACE-ME`. */
export const EXAMPLE_MASTER_SECRET = 'REPLACE-ME-REPLACE-ME-REPLACE-ME-REPLACE-ME'

const MIN_BYTES = 32
/** 32 random bytes with fewer distinct values than this do not happen; a repeated pattern has them. */
const MIN_DISTINCT_BYTES = 8

/**
 * Reads `2:<base64>,1:<base64>` (first = current, all accepted) or one bare base64 value, which is version 1. Base64url
 * and plain base64 are both read, padded or not, because `openssl rand -base64 32` is what people have at hand.
 * @returns a reason that holds no part of the value (5-security 317)
 */
export function parseMasterSecret(
  text: string | undefined,
): Result<MasterSecret, MasterSecretFault> {
  const listed = text?.trim() ?? ''
  if (listed === '') return refuse('missing')
  if (listed.toUpperCase().includes('REPLACE-ME')) return refuse('weak')

  const versions = new Map<number, Bytes>()
  let current: number | undefined
  for (const entry of listed.includes(':') ? listed.split(',') : [`1:${listed}`]) {
    const [, version, value] = /^([1-9]\d{0,3}):([A-Za-z0-9+/_-]*)={0,2}$/.exec(entry) ?? []
    if (version === undefined || value === undefined) return refuse('malformed')
    const bytes = fromBase64url(value.replaceAll('+', '-').replaceAll('/', '_'))
    if (bytes === undefined || versions.has(Number(version))) return refuse('malformed')
    if (bytes.length < MIN_BYTES) return refuse('short')
    if (new Set(bytes).size < MIN_DISTINCT_BYTES) return refuse('weak')
    versions.set(Number(version), bytes)
    current ??= Number(version)
  }
  return current === undefined ? refuse('missing') : ok({ current, versions })
}
