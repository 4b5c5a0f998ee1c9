/** The trust level as an authentication context class (1-architecture decision 15). */

/**
 * 1 self-issued, 2 operator-verified, 3 read from the chip. It comes from the issuer of the seal and from what issuance
 * proved, never from the app.
 */
export type TrustLevel = 1 | 2 | 3

const ACR = {
  1: 'urn:idtokenseal:acr:face-oob-low',
  2: 'urn:idtokenseal:acr:face-oob-substantial',
  3: 'urn:idtokenseal:acr:face-oob-high',
} as const satisfies Readonly<Record<TrustLevel, string>>

export type Acr = (typeof ACR)[TrustLevel]

/** The `acr` of a login that reached `level`. */
export function acrOf(level: TrustLevel): Acr {
  return ACR[level]
}

const LEVELS: ReadonlyMap<string, TrustLevel> = new Map(
  ([1, 2, 3] as const).map((level) => [ACR[level], level]),
)

/** Every value, the lowest level first. */
export const ACR_VALUES: readonly string[] = [...LEVELS.keys()]

/** The level that `acr` stands for; `undefined` for a value that is not ours. */
export function levelOfAcr(acr: string): TrustLevel | undefined {
  return LEVELS.get(acr)
}

/**
 * `amr` of every login (RFC 8176), which says only what the server saw: a key was used (`pop`), a person acted (`user`),
 * over two channels (`mca`). No `face`, because no face reaches the server; no `hwk`, because nothing attests the key.
 */
export const AMR = ['pop', 'user', 'mca'] as const

/** The lowest level among those of `acrs` that are ours: what is asked at least. `undefined` when none is. */
export function lowestLevelOf(acrs: readonly string[]): TrustLevel | undefined {
  return [...LEVELS].find(([acr]) => acrs.includes(acr))?.[1]
}
