import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ACR_VALUES, acrOf, levelOfAcr, lowestLevelOf } from '../../../src/disclosure/acr.ts'
import {
  type Attributes,
  CLAIM_NAMES,
  claimsFor,
  scopeOfClaim,
} from '../../../src/disclosure/claims.ts'
import { isEuCitizen } from '../../../src/disclosure/eu.ts'
import type { AtomicScope } from '../../../src/disclosure/scopes.ts'

const jean: Attributes = {
  givenNames: 'Jean Marie',
  familyName: 'Dupont',
  dateOfBirth: '1985-06-15',
  nationality: 'FRA',
  documentNumber: '12AB34567',
  photo: new Uint8Array([0x52, 0x49, 0xfb, 0xff]),
}
const on = { today: '2026-06-15', trustLevel: 3 } as const

const GIVEN: Readonly<Record<AtomicScope, Readonly<Record<string, unknown>>>> = {
  openid: {},
  'identity:name': { given_name: 'Jean Marie', family_name: 'Dupont', name: 'Jean Marie Dupont' },
  'identity:given_name': { given_name: 'Jean Marie' },
  'identity:family_name': { family_name: 'Dupont' },
  'identity:name_initial': { name_initial: 'J. D.' },
  'identity:date_of_birth': { birthdate: '1985-06-15' },
  'identity:nationality': { nationality: 'FRA' },
  'identity:document': { document_number: '12AB34567' },
  'identity:photo': { picture: 'data:image/webp;base64,Ukn7/w==' },
  'identity:trust_level': { trust_level: 3 },
  'identity:age_over_18': { age_over_18: true },
  'identity:age_over_21': { age_over_21: true },
  'identity:age_over_25': { age_over_25: true },
  'identity:age_range': { age_range: '35-49' },
  'identity:is_eu_citizen': { is_eu_citizen: true },
}
const atoms = Object.keys(GIVEN) as AtomicScope[]

describe('claims (2-protocol section 5)', () => {
  it.each(atoms)('%s gives its claims and no others', (scope) => {
    expect(claimsFor(jean, [scope], on)).toEqual(GIVEN[scope])
  })

  it('any set of scopes gives the claims of each, and nothing that was not granted', () => {
    fc.assert(
      fc.property(fc.subarray(atoms), (scopes) => {
        expect(claimsFor(jean, scopes, on)).toEqual(
          Object.assign({}, ...scopes.map((s) => GIVEN[s])),
        )
      }),
    )
  })

  it('derived scopes alone show nothing that they are derived from', () => {
    const derived = atoms.filter((atom) => /age|is_eu|trust/.test(atom))
    const text = JSON.stringify(claimsFor(jean, derived, on))
    expect(text).not.toMatch(/1985|06-15|FRA|Dupont|12AB34567/)
  })

  it('a person with one name has family_name and name only', () => {
    const one = { ...jean, givenNames: '', familyName: 'Sukarno' }
    const scopes: AtomicScope[] = ['identity:given_name', 'identity:name', 'identity:name_initial']
    expect(claimsFor(one, scopes, on)).toEqual({ family_name: 'Sukarno', name: 'Sukarno' })
  })

  it('what the seal does not have is absent, not null', () => {
    const { photo: _, ...rest } = jean
    const bare = { ...rest, dateOfBirth: '2005', nationality: 'XXX', documentNumber: '' }
    const claims = claimsFor(bare, atoms, on)
    expect(Object.keys(claims).sort()).toEqual([
      'age_over_18',
      'age_over_25',
      'birthdate',
      'family_name',
      'given_name',
      'name',
      'name_initial',
      'nationality',
      'trust_level',
    ])
    expect(claims.birthdate).toBe('2005')
    expect(claims.age_over_18).toBe(true)
    expect(claimsFor({ ...jean, photo: new Uint8Array() }, ['identity:photo'], on)).toEqual({})
  })

  it('an age claim changes with the UTC day and is false, not absent, for a child', () => {
    const child = { ...jean, dateOfBirth: '2008-06-15' }
    const claim = (today: string) => claimsFor(child, ['identity:age_over_18'], { ...on, today })
    expect(claim('2026-06-14')).toEqual({ age_over_18: false })
    expect(claim('2026-06-15')).toEqual({ age_over_18: true })
  })

  it('162 names are carried unchanged', () => {
    const name = 'A\u202Eb\u200D<script>"\u0301'
    const claims = claimsFor({ ...jean, givenNames: name }, ['identity:given_name'], on)
    expect(claims).toEqual({ given_name: name })
  })

  it.each([
    ['Élodie', "d'Arc", 'É. D.'],
    ["'t", 'Hooft', 'T. H.'],
    ['Ωμέγα', 'Жук', 'Ω. Ж.'],
    ['𐐨𐐨', 'X', '𐐀. X.'],
    ['---', 'Doe', undefined],
  ])('initials of %s %s', (givenNames, familyName, initials) => {
    const claims = claimsFor({ ...jean, givenNames, familyName }, ['identity:name_initial'], on)
    expect(claims.name_initial).toBe(initials)
  })

  it('a picture is decoded to the same bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 50 }), (bytes) => {
        const { picture } = claimsFor(
          { ...jean, photo: new Uint8Array(bytes) },
          ['identity:photo'],
          on,
        )
        const [head, body] = String(picture).split(',')
        expect(head).toBe('data:image/webp;base64')
        expect(body).toBe(Buffer.from(bytes).toString('base64'))
      }),
    )
  })
})

describe('which scope gives a claim', () => {
  it('every claim that claimsFor gives has a name here, and no other has', () => {
    expect(CLAIM_NAMES).toEqual(Object.keys(claimsFor(jean, atoms, on)).sort())
  })

  it.each(CLAIM_NAMES)('%s is given by its scope, and by none that gives fewer claims', (claim) => {
    const claimsOf = (scope: AtomicScope) => Object.keys(claimsFor(jean, [scope], on))
    const scope = scopeOfClaim(claim) ?? 'openid'
    expect(claimsOf(scope)).toContain(claim)
    const others = atoms.filter((atom) => claimsOf(atom).includes(claim))
    expect(Math.min(...others.map((atom) => claimsOf(atom).length))).toBe(claimsOf(scope).length)
  })

  it.each(['sub', 'acr', 'email', 'Name', '', '__proto__', 'constructor', 'identity:name'])(
    '%j is given by none',
    (claim) => {
      expect(scopeOfClaim(claim)).toBeUndefined()
    },
  )
})

describe('citizens of the European Union', () => {
  it('27 states today, Croatia since 2013, the United Kingdom until January 2020', () => {
    const letters = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZ']
    const codes = letters.flatMap((a) => letters.flatMap((b) => letters.map((c) => a + b + c)))
    const members = (today: string) => codes.filter((code) => isEuCitizen(code, today) === true)
    expect(members('2026-06-15').join(' ')).toBe(
      'AUT BEL BGR CYP CZE DEU DNK ESP EST FIN FRA GRC HRV HUN IRL ITA LTU LUX LVA MLT NLD POL PRT ROU SVK SVN SWE',
    )
    expect(members('2020-01-31').length).toBe(28)
    expect(members('2013-06-30')).not.toContain('HRV')
  })

  it.each([
    ['CHE', false],
    ['GBR', false],
    ['RKS', false],
    ['XXA', false],
    ['XXB', undefined],
    ['XXX', undefined],
    ['UNO', undefined],
    ['EUE', undefined],
    ['UKR', false],
    ['UNX', false],
    ['fra', undefined],
    ['FR', undefined],
    ['', undefined],
  ])('%j is %s', (nationality, expected) => {
    expect(isEuCitizen(nationality, '2026-06-15')).toBe(expected)
  })
})

it('acr names the level that the issuer vouches for (decision 15)', () => {
  expect([acrOf(1), acrOf(2), acrOf(3)]).toEqual([
    'urn:idtokenseal:acr:face-oob-low',
    'urn:idtokenseal:acr:face-oob-substantial',
    'urn:idtokenseal:acr:face-oob-high',
  ])
})

it('levelOfAcr is the way back, and knows nothing else', () => {
  expect(ACR_VALUES).toEqual([acrOf(1), acrOf(2), acrOf(3)])
  expect(ACR_VALUES.map(levelOfAcr)).toEqual([1, 2, 3])
  for (const acr of ['', '1', 'constructor', `${acrOf(3)} `, acrOf(3).toUpperCase()]) {
    expect(levelOfAcr(acr)).toBeUndefined()
  }
})

it('the lowest level among several, whatever stands beside them', () => {
  expect(lowestLevelOf([acrOf(3), 'x', acrOf(2)])).toBe(2)
  expect(lowestLevelOf([acrOf(3)])).toBe(3)
  expect(lowestLevelOf(['1', '__proto__'])).toBeUndefined()
  expect(lowestLevelOf([])).toBeUndefined()
})
