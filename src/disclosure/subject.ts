/** `sub`: the name that a service gets for a person (1-architecture decision 8). */
import { toBase64url } from '../bytes.ts'
import { hmacSha256 } from '../keys/derive.ts'

export type SubjectType = 'transient' | 'public' | 'pairwise'

export type SubjectRequest =
  | { readonly type: 'public'; readonly tokenId: string }
  | {
      readonly type: 'pairwise'
      readonly tokenId: string
      /** What two clients must share to see the same person under the same name. */
      readonly sector: string
      /** The key of label `pairwise` in its stable version: a `sub` outlives every rotation. */
      readonly pairwiseKey: Uint8Array
    }
  | {
      readonly type: 'transient'
      readonly tokenId?: string
      /** At least 16 fresh random bytes. */
      readonly random: Uint8Array
    }

/**
 * The `sub` for this request: the tokenId itself, a keyed hash of sector and tokenId (43 characters), or the random
 * bytes as base64url. No tokenId can be read from the last two.
 * @throws RangeError when `random` is too short to be anybody's name
 */
export async function subjectFor(request: SubjectRequest): Promise<string> {
  switch (request.type) {
    case 'public':
      return request.tokenId
    case 'pairwise':
      return toBase64url(await hmacSha256(request.pairwiseKey, request.sector, request.tokenId))
    case 'transient':
      if (request.random.length < 16) throw new RangeError('a transient sub needs 128 random bits')
      return toBase64url(request.random)
  }
}
