import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CLAIM_NAMES, scopeOfClaim } from '../../../src/disclosure/claims.ts'
import { type ClaimsRequest, readClaimsParameter } from '../../../src/oidc/claims-parameter.ts'

const NOTHING: ClaimsRequest = {
  disclosures: [],
  email: false,
  idTokenClaims: [],
  minTrustLevel: null,
  expectedSubject: null,
}
const [LOW, SUBSTANTIAL, HIGH] = ['low', 'substantial', 'high'].map(
  (level) => `urn:idtokenseal:acr:face-oob-${level}`,
)
const INVALID = { ok: false, reason: 'invalid_request' }

function read(claims: unknown) {
  return readClaimsParameter(JSON.stringify(claims))
}

function asked(claims: unknown): ClaimsRequest {
  const answer = read(claims)
  if (!answer.ok) throw new Error(answer.reason)
  return answer.value
}

describe('the claims parameter (OIDC Core section 5.5)', () => {
  it.each([
    ['absent', undefined],
    ['an empty object', '{}'],
    ['empty members', '{"userinfo":{},"id_token":{}}'],
    ['other members', '{"verified":{"name":null},"x":[1],"y":"z","__proto__":{"userinfo":1}}'],
  ])('%s asks nothing', (_name, text) => {
    expect(readClaimsParameter(text)).toEqual({ ok: true, value: NOTHING })
  })

  it.each([
    ['', 'no text'],
    ['{', 'truncated'],
    ['{}{}', 'doubled'],
    ["{'userinfo':{}}", 'not JSON'],
    ['{"userinfo":{},}', 'a comma too many'],
    ['\ufeff{}', 'a byte order mark'],
    ['null', 'null'],
    ['[]', 'an array'],
    ['"{}"', 'a string'],
    ['NaN', 'NaN'],
    ['{"userinfo":null}', 'userinfo null'],
    ['{"userinfo":[]}', 'userinfo an array'],
    ['{"id_token":"name"}', 'id_token a string'],
    ['{"userinfo":{"name":true}}', 'a claim true'],
    ['{"userinfo":{"name":[]}}', 'a claim an array'],
    ['{"id_token":{"sub":"x"}}', 'sub a string'],
    ['{"id_token":{"unknown":"x"}}', 'an unknown claim a string'],
    ['{"id_token":{"sub":{"value":7}}}', 'a sub of the wrong type'],
    ['{"id_token":{"sub":{"value":null}}}', 'a sub of null'],
    ['{"id_token":{"sub":{"value":"a"}},"userinfo":{"sub":{"value":"b"}}}', 'two subs'],
    ['{"id_token":{"acr":{"essential":"true"}}}', 'essential as text'],
    ['{"id_token":{"acr":{"values":"x"}}}', 'acr values as text'],
    ['{"id_token":{"acr":{"values":null}}}', 'acr values null'],
    ['{"id_token":{"acr":{"values":[1]}}}', 'acr values of the wrong type'],
    ['{"id_token":{"acr":{"value":1}}}', 'an acr value of the wrong type'],
    ['['.repeat(4096), 'nested deep'],
  ])('035 authorize: %s is malformed (%s)', (text) => {
    expect(readClaimsParameter(text)).toEqual(INVALID)
  })

  it('035 authorize: 4 KiB of UTF-8 are read, a byte more is refused', () => {
    const text = (fill: string) => `{"userinfo":{"name":{"value":"${fill}"}}}`
    const room = 4096 - text('').length
    expect(readClaimsParameter(text('x'.repeat(room))).ok).toBe(true)
    expect(readClaimsParameter(text('x'.repeat(room + 1)))).toEqual(INVALID)
    expect(readClaimsParameter(text(`${'x'.repeat(room - 1)}é`))).toEqual(INVALID)
  })

  it.each([
    ['name', 'identity:name'],
    ['given_name', 'identity:given_name'],
    ['family_name', 'identity:family_name'],
    ['name_initial', 'identity:name_initial'],
    ['birthdate', 'identity:date_of_birth'],
    ['nationality', 'identity:nationality'],
    ['picture', 'identity:photo'],
    ['document_number', 'identity:document'],
    ['age_over_18', 'identity:age_over_18'],
    ['age_over_21', 'identity:age_over_21'],
    ['age_over_25', 'identity:age_over_25'],
    ['age_range', 'identity:age_range'],
    ['is_eu_citizen', 'identity:is_eu_citizen'],
    ['trust_level', 'identity:trust_level'],
  ])('the claim %s asks for %s in every shape and in both members', (claim, scope) => {
    for (const shape of [null, {}, { essential: true }, { value: 'x' }, { values: [1, 'x'] }]) {
      expect(asked({ userinfo: { [claim]: shape } })).toEqual({ ...NOTHING, disclosures: [scope] })
      expect(asked({ id_token: { [claim]: shape } })).toEqual({
        ...NOTHING,
        disclosures: [scope],
        idTokenClaims: [claim],
      })
    }
  })

  it.each(['email', 'email_verified'])('the claim %s asks for email', (claim) => {
    expect(asked({ userinfo: { [claim]: null } })).toEqual({ ...NOTHING, email: true })
    expect(asked({ id_token: { [claim]: null } })).toEqual({
      ...NOTHING,
      email: true,
      idTokenClaims: [claim],
    })
  })

  it('unknown claims are ignored, names of Object.prototype and arrays among them', () => {
    const names = [
      '__proto__',
      'constructor',
      'toString',
      'hasOwnProperty',
      'phone',
      'identity:name',
    ]
    const members = names.map((name) => `"${name}":{"value":"name","values":["sub"]}`).join(',')
    const more = '"auth_time":{"essential":true},"verified_claims":[{"claims":{"name":null}}]'
    const text = `{"userinfo":{${members},${more}},"id_token":{${members},${more}}}`
    expect(readClaimsParameter(text)).toEqual({ ok: true, value: NOTHING })
    expect(({} as Record<string, unknown>).value).toBeUndefined()
  })

  it('008 authorize: of a member that comes twice the last counts, everywhere', () => {
    const text = '{"userinfo":{"picture":null},"userinfo":{"name":null}}'
    expect(readClaimsParameter(text)).toEqual({
      ok: true,
      value: { ...NOTHING, disclosures: ['identity:name'] },
    })
  })

  it('a value of sub names the one expected person, in either member', () => {
    const sub = { value: 'person' }
    for (const claims of [
      { id_token: { sub } },
      { userinfo: { sub } },
      { id_token: { sub }, userinfo: { sub: { value: 'person', essential: true } } },
      { id_token: { sub }, userinfo: { sub: null } },
    ]) {
      expect(asked(claims)).toEqual({ ...NOTHING, expectedSubject: 'person' })
    }
    expect(asked({ id_token: { sub: null } })).toEqual(NOTHING)
    expect(asked({ id_token: { sub: { essential: true } } })).toEqual(NOTHING)
  })
})

describe('033 authorize: the acr claim asks a minimum', () => {
  it.each([
    [null, null],
    [{}, null],
    [{ essential: true }, null],
    [{ value: HIGH }, 3],
    [{ essential: true, value: SUBSTANTIAL }, 2],
    [{ essential: true, values: [HIGH, SUBSTANTIAL] }, 2],
    [{ essential: true, values: ['1', HIGH, ''] }, 3],
    [{ essential: true, value: HIGH, values: [LOW] }, 1],
    [{ values: ['unknown'] }, null],
    [{ essential: false, value: 'unknown' }, null],
    [{ values: [] }, null],
  ])('%j: %j', (acr, minTrustLevel) => {
    expect(asked({ id_token: { acr } })).toEqual({ ...NOTHING, minTrustLevel })
    expect(asked({ userinfo: { acr } })).toEqual({ ...NOTHING, minTrustLevel })
  })

  it('asked in both members, both must be met', () => {
    const claims = (one: unknown, other: unknown) => ({
      userinfo: { acr: { value: one } },
      id_token: { acr: { value: other } },
    })
    expect(asked(claims(LOW, HIGH)).minTrustLevel).toBe(3)
    expect(asked(claims(SUBSTANTIAL, LOW)).minTrustLevel).toBe(2)
  })

  it.each([
    [{ essential: true, value: 'urn:other' }],
    [{ essential: true, values: ['urn:other', 'constructor', '__proto__'] }],
    [{ essential: true, values: [] }],
    [{ essential: true, value: `${HIGH} ` }],
  ])('%j can be met by nobody', (acr) => {
    expect(read({ id_token: { acr } })).toEqual({
      ok: false,
      reason: 'unmet_authentication_requirements',
    })
  })
})

describe('whatever is sent', () => {
  const claimRequest = fc.oneof(
    fc.constant(null),
    fc.jsonValue(),
    fc.record(
      { essential: fc.boolean(), value: fc.string(), values: fc.array(fc.string()) },
      { requiredKeys: [] },
    ),
  )
  const claimName = fc.oneof(
    fc.constantFrom(...CLAIM_NAMES, 'sub', 'acr', 'email', '__proto__', 'constructor', 'valueOf'),
    fc.string(),
  )
  const members = fc.dictionary(claimName, claimRequest, { maxKeys: 6 })
  const claims = fc.record({ userinfo: members, id_token: members }, { requiredKeys: [] })

  it('any text is read or refused, never thrown at', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: fc.constantFrom(...'&=%+<>"\\#?/\0\r\n éß\u202e𐐀aZ09.:') }),
          fc.json(),
        ),
        (text) => {
          const answer = readClaimsParameter(text)
          if (!answer.ok) expect(answer).toEqual(INVALID)
        },
      ),
    )
  })

  it('035 authorize: exactly the scopes of the claims that were named come out', () => {
    fc.assert(
      fc.property(claims, (value) => {
        const answer = readClaimsParameter(JSON.stringify(value))
        if (!answer.ok) {
          expect(['invalid_request', 'unmet_authentication_requirements']).toContain(answer.reason)
          return
        }
        const named = [value.userinfo, value.id_token].flatMap((one) => Object.keys(one ?? {}))
        const scopes = named.map(scopeOfClaim).filter((scope) => scope !== undefined)
        expect(answer.value.disclosures).toEqual([...new Set(scopes)].sort())
        expect(Object.keys(value.id_token ?? {})).toEqual(
          expect.arrayContaining([...answer.value.idTokenClaims]),
        )
      }),
    )
  })
})
