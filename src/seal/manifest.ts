/**
 * The typed manifest `0A0001`: what the values of an IDToken identity seal mean, by position. It is published inside the
 * signed trust list, so that a phone or another verifier can read our seals without this source.
 */

export type FieldName =
  | 'gn'
  | 'fn'
  | 'dob'
  | 'nat'
  | 'doc'
  | 'tid'
  | 'exp'
  | 'photo'
  | 'face'
  | 'level'
  | 'state'
  | 'sex'
  | 'type'
  | 'source'

/**
 * One value. `max` counts characters of a `str`, bytes of a `bin`, and is the highest value of a `uint`. `CONSENT`: may
 * leave the server in a claim the person granted. `NEVER`: no claim, no page, no log.
 */
export interface ManifestField {
  readonly name: FieldName
  readonly type: 'str' | 'bin' | 'uint'
  readonly max: number
  readonly visibility: 'CONSENT' | 'NEVER'
  readonly required: boolean
}

export interface Manifest {
  readonly id: string
  readonly version: number
  readonly name: string
  readonly fields: readonly ManifestField[]
  /** How many leading fields a payload has when it omits the tail. */
  readonly shortForm: number
  readonly authorizedUsage: { readonly uuid: string; readonly oid: string }
}

/** The OID is the UUID under arc 2.25 (ITU-T X.667), which needs no registration. */
export const IDENTITY_MANIFEST: Manifest = {
  id: '0A0001',
  version: 1,
  name: 'IDToken identity',
  shortForm: 9,
  fields: [
    { name: 'gn', type: 'str', max: 39, visibility: 'CONSENT', required: true },
    { name: 'fn', type: 'str', max: 39, visibility: 'CONSENT', required: true },
    { name: 'dob', type: 'str', max: 10, visibility: 'CONSENT', required: true },
    { name: 'nat', type: 'str', max: 3, visibility: 'CONSENT', required: true },
    { name: 'doc', type: 'str', max: 22, visibility: 'CONSENT', required: true },
    { name: 'tid', type: 'bin', max: 16, visibility: 'CONSENT', required: true },
    { name: 'exp', type: 'str', max: 10, visibility: 'CONSENT', required: true },
    { name: 'photo', type: 'bin', max: 2048, visibility: 'CONSENT', required: false },
    { name: 'face', type: 'bin', max: 140, visibility: 'NEVER', required: false },
    { name: 'level', type: 'uint', max: 3, visibility: 'CONSENT', required: true },
    { name: 'state', type: 'str', max: 3, visibility: 'CONSENT', required: true },
    { name: 'sex', type: 'str', max: 1, visibility: 'CONSENT', required: false },
    { name: 'type', type: 'str', max: 2, visibility: 'CONSENT', required: true },
    { name: 'source', type: 'bin', max: 32, visibility: 'NEVER', required: false },
  ],
  authorizedUsage: {
    uuid: 'eeb0f707-9fd1-42dc-bb67-b4691b1c9e86',
    oid: '2.25.317275117603142444782041375235192430214',
  },
}
