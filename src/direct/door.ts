import { toBase64url } from '../bytes.ts'
import { subjectFor } from '../disclosure/subject.ts'
import { deriveKey, stableVersion } from '../keys/derive.ts'
import type { MasterSecret } from '../keys/master-secret.ts'
import type { Asked, Door, DoorResult, DoorState, Granted } from '../login/door.ts'
import { type Service, sectorOf } from '../services/service.ts'
import { makeCode } from './code.ts'
import { makeLoginHandle } from './login-handle.ts'
import { directClaims, JTI_BYTES } from './token.ts'

export interface DirectHouse {
  readonly issuer: string
  readonly master: MasterSecret
  readonly signToken: (claims: Readonly<Record<string, unknown>>) => Promise<string>
  /** Unix seconds. */
  readonly now: () => number
  readonly random: (length: number) => Uint8Array<ArrayBuffer>
}

/** What the direct door keeps of a request until the approval: all strings and numbers, because it is stored. */
export interface DirectState extends DoorState {
  readonly random: string
  readonly subjectType: Service['subjectType']
  readonly sector: string
  readonly lifetimeSeconds: number
}

/** The state of a login that `service` begins. */
export function directState(service: Service, random: string): DirectState {
  return {
    random,
    subjectType: service.subjectType,
    sector: sectorOf(service),
    lifetimeSeconds: service.tokenLifetimeSeconds,
  }
}

/**
 * The direct door's half of the contract: one JWT per approval. A back end that began gets it on its socket; a login that
 * began by Origin alone gets only a code there, because a script can write any Origin (5-security 3.12).
 */
export function directDoor(house: DirectHouse): Door {
  const finish = async (asked: Asked, granted: Granted, sessionId: string): Promise<DoorResult> => {
    const state = asked.doorState as DirectState
    const now = house.now()
    const claims = directClaims(
      {
        issuer: house.issuer,
        audience: asked.service.id,
        subject: await subjectOf(house, state, granted),
        nonce: state.random,
        jti: toBase64url(house.random(JTI_BYTES)),
        loginHandle: await handleFor(house, state, granted),
        lifetimeSeconds: state.lifetimeSeconds,
      },
      granted,
      now,
    )
    const answer = {
      jwt: await house.signToken(claims),
      random: state.random,
      expiresAt: new Date((now + state.lifetimeSeconds) * 1000).toISOString(),
    }
    if (asked.begunBy === 'back-end') return { delivery: answer, redeemable: null, onward: null }
    const content = { ...granted, vds: asked.vds }
    const code = await makeCode(house.master, sessionId, content, house.random(28))
    return { delivery: { code }, redeemable: { code, answer }, onward: null }
  }
  return { allows: (_asked, service) => service.enabled, finish, refuse: () => null }
}

/** Only a service with pairwise subjects needs one: `public` is the tokenId itself, `transient` people are to stay unknown. */
async function handleFor(
  { master, random }: DirectHouse,
  { subjectType, sector }: DirectState,
  { tokenId }: Granted,
): Promise<string | null> {
  return subjectType === 'pairwise'
    ? makeLoginHandle(master, { tokenId, sector }, random(12))
    : null
}

async function subjectOf(
  { master, random }: DirectHouse,
  { subjectType, sector }: DirectState,
  { tokenId }: Granted,
): Promise<string> {
  switch (subjectType) {
    case 'public':
      return subjectFor({ type: 'public', tokenId })
    case 'transient':
      return subjectFor({ type: 'transient', random: random(16) })
    case 'pairwise': {
      const pairwiseKey = await deriveKey(master, 'pairwise', stableVersion(master))
      return subjectFor({ type: 'pairwise', tokenId, sector, pairwiseKey })
    }
  }
}
