/**
 * What a signed token must not say in the clear but we must know when it comes back: whom it belongs to here. It is the
 * `jti` of every access token for a resource, and of the id_token of a client that may exchange it: unique as a `jti` must
 * be, opaque to everybody else, and nothing at rest.
 */
import * as v from 'valibot'
import type { MasterSecret } from '../keys/master-secret.ts'
import { sealBox } from '../keys/sealed-box.ts'
import { type Grant, openContent, sealedText } from './grant.ts'

export interface TokenReference
  extends Pick<
    Grant,
    'grantId' | 'clientId' | 'tokenId' | 'enrollmentId' | 'trustLevel' | 'scope'
  > {
  /** The client that the person approved, where `clientId` has the token by exchange. */
  readonly grantedTo?: string
}

/** A reference, with the thumbprint of the key that the token is bound to where its text can't say it: in an id_token. */
interface SealedReference extends TokenReference {
  readonly jkt?: string
}

const CONTEXT = 'oidc token reference'

const contentSchema = v.strictObject({
  grantId: sealedText,
  clientId: sealedText,
  tokenId: sealedText,
  enrollmentId: sealedText,
  trustLevel: v.picklist([1, 2, 3]),
  scope: sealedText,
  grantedTo: v.exactOptional(sealedText),
  jkt: v.exactOptional(sealedText),
}) satisfies v.GenericSchema<unknown, SealedReference>

/** The `jti` of a token that belongs to `reference`. `random12`: twelve fresh random bytes. */
export async function sealReference(
  master: MasterSecret,
  reference: SealedReference,
  random12: Uint8Array,
): Promise<string> {
  const { grantId, clientId, tokenId, enrollmentId, trustLevel, scope, grantedTo, jkt } = reference
  const plaintext = JSON.stringify({
    ...{ grantId, clientId, tokenId, enrollmentId, trustLevel, scope, grantedTo, jkt },
  })
  return sealBox(master, 'token', plaintext, CONTEXT, random12)
}

/** Whom the token with this `jti` belongs to, or `undefined`. The caller has verified the token around it. */
export async function openReference(
  master: MasterSecret,
  jti: unknown,
): Promise<SealedReference | undefined> {
  return typeof jti === 'string'
    ? openContent(master, 'token', jti, CONTEXT, contentSchema)
    : undefined
}
