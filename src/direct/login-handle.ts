import type { MasterSecret } from '../keys/master-secret.ts'
import { openBox, sealBox } from '../keys/sealed-box.ts'

/** Whom a login handle names, and to whom: all services of one sector, as with a pairwise subject. */
export interface LoginHandle {
  readonly tokenId: string
  readonly sector: string
}

/**
 * A login handle: by it a service that knows people by pairwise subjects has one of them rung again, without ever learning
 * his tokenId (seed 002, services with a user table). Sealed to ourselves, and new in each token, so that it is no
 * identifier by itself. `random12`: twelve fresh bytes.
 */
export function makeLoginHandle(
  master: MasterSecret,
  { tokenId, sector }: LoginHandle,
  random12: Uint8Array<ArrayBuffer>,
): Promise<string> {
  return sealBox(master, 'token', JSON.stringify({ tokenId, sector }), CONTEXT, random12)
}

/** What `handle` names, or `undefined` when it is none of ours. Whether its sector is the caller's is for him to see to. */
export async function readLoginHandle(
  master: MasterSecret,
  handle: string,
): Promise<LoginHandle | undefined> {
  const opened = await openBox(master, 'token', handle, CONTEXT)
  return opened && JSON.parse(new TextDecoder().decode(opened))
}

const CONTEXT = 'login handle'
