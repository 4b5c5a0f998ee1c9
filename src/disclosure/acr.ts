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
