import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  ATOMIC_SCOPES,
  type AtomicScope,
  expandScopes,
  isSubset,
  SCOPE_NAMES,
} from '../../../src/disclosure/scopes.ts'
import { grantedScope, readScope, SUPPORTED_SCOPES } from '../../../src/oidc/scope.ts'

const disclosures = ATOMIC_SCOPES.filter((scope) => scope !== 'openid')
const everything = { ceiling: disclosures, offlineAccess: true }
const none = { offlineAccess: false, email: false }

function atomsOf(names: readonly string[]): readonly AtomicScope[] {
  const atoms = expandScopes(names)
  return atoms.ok ? atoms.value.filter((scope) => scope !== 'openid') : []
}

describe('the scope of a request', () => {
  it.each([
    [undefined],
    [''],
    ['identity:name'],
    ['OpenID'],
    ['openid\tprofile'],
    ['openid\u00a0profile'],
    ['email offline_access'],
  ])('028 authorize: %j has no openid', (text) => {
    expect(readScope(text, everything)).toEqual({ ok: false, reason: 'invalid_scope' })
  })

  it.each([['identity:'], ['identity:Name'], ['identity:face'], ['identity:name,identity:photo']])(
    '028 authorize: the unknown scope %s is refused',
    (scope) => {
      expect(readScope(`openid ${scope}`, everything)).toEqual({
        ok: false,
        reason: 'invalid_scope',
      })
    },
  )

  it.each([
    ['address'],
    ['phone'],
    ['groups'],
    ['IDENTITY:photo'],
    ['__proto__'],
    ['constructor'],
    ['\r\nSet-Cookie:'],
  ])('028 authorize: the unknown scope %j is ignored', (scope) => {
    expect(readScope(`${scope} openid profile`, everything)).toEqual(
      readScope('openid profile', everything),
    )
  })

  it.each([
    ['identity:photo', ['identity:name']],
    ['identity:full_with_photo', disclosures.filter((scope) => scope !== 'identity:photo')],
    ['profile', []],
    ['identity:name', ['identity:given_name', 'identity:family_name']],
  ] as const)('028 authorize: %s beyond the ceiling is refused', (scope, ceiling) => {
    const answer = readScope(`openid ${scope}`, { ceiling, offlineAccess: false })
    expect(answer).toEqual({ ok: false, reason: 'invalid_scope' })
  })

  it('028 authorize: openid alone asks nothing else', () => {
    expect(readScope('openid', { ceiling: [], offlineAccess: false })).toEqual({
      ok: true,
      value: { requestedScopes: ['openid'], disclosures: [], offlineAccess: false, email: false },
    })
  })

  it('offline_access counts only for a client that may have it, and is no error for another', () => {
    const text = 'openid offline_access'
    expect(readScope(text, everything)).toMatchObject({
      value: { requestedScopes: ['openid', 'offline_access'], offlineAccess: true },
    })
    expect(readScope(text, { ...everything, offlineAccess: false })).toMatchObject({
      value: { requestedScopes: ['openid'], offlineAccess: false },
    })
  })

  it('email is always accepted and discloses nothing of a seal', () => {
    expect(readScope('openid email', { ceiling: [], offlineAccess: false })).toMatchObject({
      value: { requestedScopes: ['openid', 'email'], disclosures: [], email: true },
    })
  })

  it('030 authorize: order, duplicates and double spaces make no difference', () => {
    fc.assert(
      fc.property(
        fc.subarray([...SUPPORTED_SCOPES]),
        fc.infiniteStream(fc.nat()),
        (scopes, dice) => {
          const canonical = SUPPORTED_SCOPES.filter((s) => s === 'openid' || scopes.includes(s))
          const shuffled = [...canonical, ...scopes]
            .map((scope) => ({ scope, at: dice.next().value ?? 0 }))
            .sort((one, other) => one.at - other.at)
            .map(({ scope, at }) => `${scope}${' '.repeat((at % 3) + 1)}`)
          const answer = readScope(shuffled.join(''), everything)
          expect(answer).toEqual(readScope(canonical.join(' '), everything))
          expect(answer).toMatchObject({ ok: true, value: { requestedScopes: canonical } })
        },
      ),
    )
  })

  it('whatever is sent: no throw, and nothing unknown or above the ceiling comes out', () => {
    const words = fc.oneof(
      fc.constantFrom(...SUPPORTED_SCOPES),
      fc.string({ unit: fc.constantFrom(...'&=%+<>"\\#?/\0\r\n éß\u202e𐐀aZ09.:') }),
    )
    fc.assert(
      fc.property(
        fc.array(words),
        fc.subarray([...disclosures]),
        fc.boolean(),
        (sent, ceiling, offlineAccess) => {
          const answer = readScope(['openid', ...sent].join(' '), { ceiling, offlineAccess })
          if (!answer.ok) return
          expect(isSubset(answer.value.disclosures, ceiling)).toBe(true)
          expect(isSubset(answer.value.requestedScopes, SUPPORTED_SCOPES)).toBe(true)
          expect(answer.value.offlineAccess && !offlineAccess).toBe(false)
        },
      ),
    )
  })
})

describe('the scope of the token answer', () => {
  it('067 token: the example of the source document, in its order', () => {
    const asked = readScope('identity:age_over_18 identity:name openid', everything)
    const requested = asked.ok ? asked.value.requestedScopes : []
    expect(grantedScope(requested, ['identity:age_over_18', 'identity:name'], none)).toBe(
      'openid identity:name identity:age_over_18',
    )
  })

  it.each<[string, readonly string[], readonly AtomicScope[], string]>([
    ['a whole composite stays as named', ['profile'], ['identity:name'], 'openid profile'],
    [
      'a partly granted composite becomes its granted atoms',
      ['openid', 'identity:full'],
      ['identity:trust_level', 'identity:name'],
      'openid identity:name identity:trust_level',
    ],
    ['a denied scope is gone', ['openid', 'identity:photo'], [], 'openid'],
    ['a denied composite is gone', ['openid', 'profile'], [], 'openid'],
    [
      'what only claims asked is an atom',
      ['openid', 'profile'],
      ['identity:name', 'identity:nationality'],
      'openid identity:nationality profile',
    ],
    [
      'an atom that a kept composite covers is not said twice',
      ['openid', 'profile', 'identity:basic'],
      ['identity:name'],
      'openid profile',
    ],
    [
      'but is when it was asked by its own name',
      ['openid', 'identity:name', 'profile'],
      ['identity:name'],
      'openid identity:name profile',
    ],
  ])('078 token: %s', (_name, requested, granted, text) => {
    expect(grantedScope(requested, granted, none)).toBe(text)
  })

  it('email and offline_access come when they give something, asked by scope or by claim', () => {
    const requested = ['openid', 'email', 'offline_access']
    expect(grantedScope(requested, [], none)).toBe('openid')
    expect(grantedScope(requested, [], { offlineAccess: true, email: true })).toBe(
      'openid email offline_access',
    )
    expect(grantedScope(['openid'], [], { offlineAccess: false, email: true })).toBe('openid email')
  })

  it('078 token: the text stands for exactly what was granted, in canonical order', () => {
    fc.assert(
      fc.property(
        fc.shuffledSubarray([...SUPPORTED_SCOPES, 'constructor']),
        fc.shuffledSubarray([...disclosures]),
        fc.boolean(),
        fc.boolean(),
        (requested, granted, offlineAccess, email) => {
          const names = grantedScope(requested, granted, { offlineAccess, email }).split(' ')
          const known = names.filter((name) => SCOPE_NAMES.includes(name))
          expect(atomsOf(known)).toEqual([...granted].sort())
          expect(names[0]).toBe('openid')
          expect(names).toEqual(SUPPORTED_SCOPES.filter((name) => names.includes(name)))
          expect([names.includes('email'), names.includes('offline_access')]).toEqual([
            email,
            offlineAccess,
          ])
        },
      ),
    )
  })
})
