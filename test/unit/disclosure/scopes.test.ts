import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  ATOMIC_SCOPES,
  type AtomicScope,
  expandScopes,
  intersect,
  isRestricted,
  isSubset,
  SCOPE_NAMES,
} from '../../../src/disclosure/scopes.ts'

const ATOMS: readonly AtomicScope[] = [
  'identity:age_over_18',
  'identity:age_over_21',
  'identity:age_over_25',
  'identity:age_range',
  'identity:date_of_birth',
  'identity:document',
  'identity:family_name',
  'identity:given_name',
  'identity:is_eu_citizen',
  'identity:name',
  'identity:name_initial',
  'identity:nationality',
  'identity:photo',
  'identity:trust_level',
  'openid',
]
const atoms = fc.subarray([...ATOMS])

describe('scopes (2-protocol section 5)', () => {
  it.each(ATOMS)('%s stands for itself', (scope) => {
    expect(expandScopes([scope])).toEqual({ ok: true, value: [scope] })
  })

  it.each([
    ['profile', ['identity:name']],
    ['identity:basic', ['identity:name', 'identity:trust_level']],
    ['identity:age_verification', ['identity:age_over_18', 'identity:name']],
    [
      'identity:full',
      [
        'identity:date_of_birth',
        'identity:document',
        'identity:name',
        'identity:nationality',
        'identity:trust_level',
      ],
    ],
    [
      'identity:full_with_photo',
      [
        'identity:date_of_birth',
        'identity:document',
        'identity:name',
        'identity:nationality',
        'identity:photo',
        'identity:trust_level',
      ],
    ],
  ])('%s expands to its atoms', (scope, members) => {
    expect(expandScopes([scope])).toEqual({ ok: true, value: members })
  })

  it('gives sorted and unique atoms, whatever the order', () => {
    fc.assert(
      fc.property(
        fc.shuffledSubarray([...ATOMS, 'profile', 'identity:full', 'profile']),
        (scopes) => {
          const expanded = expandScopes(scopes)
          const value = expanded.ok ? expanded.value : []
          expect(value).toEqual([...new Set(value)].sort())
          expect(expandScopes(value)).toEqual(expanded)
          expect(expandScopes([...scopes].reverse())).toEqual(expanded)
        },
      ),
    )
  })

  it.each([
    ['email'],
    ['identity:'],
    ['identity:Name'],
    [' openid'],
    ['identity:face'],
    ['__proto__'],
    ['constructor'],
    ['toString'],
    [''],
    ['offline_access'],
  ])('refuses %j and names it', (scope) => {
    expect(expandScopes(['openid', scope])).toEqual({ ok: false, reason: { unknown: scope } })
  })

  it('the names of the catalogue, in the order of its table', () => {
    expect([...ATOMIC_SCOPES].sort()).toEqual(ATOMS)
    expect(SCOPE_NAMES).toEqual([
      ...ATOMIC_SCOPES,
      'profile',
      'identity:basic',
      'identity:age_verification',
      'identity:full',
      'identity:full_with_photo',
    ])
    expect(SCOPE_NAMES[0]).toBe('openid')
    expect(expandScopes(SCOPE_NAMES)).toEqual({ ok: true, value: ATOMS })
  })

  it('nothing asked is nothing', () => {
    expect(expandScopes([])).toEqual({ ok: true, value: [] })
  })

  it('document and photo are the restricted ones', () => {
    expect(ATOMS.filter(isRestricted)).toEqual(['identity:document', 'identity:photo'])
  })

  it('the ceiling is inside each of its parts and holds all they share', () => {
    fc.assert(
      fc.property(atoms, atoms, atoms, (registered, requested, granted) => {
        const ceiling = intersect(registered, requested, granted)
        for (const part of [registered, requested, granted])
          expect(isSubset(ceiling, part)).toBe(true)
        const shared = ATOMS.filter((atom) =>
          [registered, requested, granted].every((part) => part.includes(atom)),
        )
        expect(ceiling).toEqual(shared)
      }),
    )
  })

  it('a subset is one, and a widened one is not', () => {
    expect(isSubset([], [])).toBe(true)
    expect(isSubset(['openid'], ['identity:name', 'openid'])).toBe(true)
    expect(isSubset(['identity:given_name'], ['identity:name'])).toBe(false)
  })
})
