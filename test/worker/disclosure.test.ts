/**
 * Every scope of 2-protocol section 5, from the phone's grant to what a service reads: the same claims in the direct JWT,
 * the id_token and userinfo, and not one more.
 */
import { decodeJwt } from 'jose'
import { beforeEach, describe, expect, test } from 'vitest'
import { utf8 } from '../../src/bytes.ts'
import { SCOPE_NAMES } from '../../src/disclosure/scopes.ts'
import {
  approve,
  claimsOf,
  landingOf,
  REDIRECT_URI,
  RP_ORIGIN,
  redeem,
  Tab,
  userinfo,
} from './relying-party.ts'
import { type Bar, connect, enrolled, initiate, operator, type Person, trustList } from './world.ts'

const PHOTO = new Uint8Array([
  ...utf8('RIFF'),
  ...[44, 0, 0, 0],
  ...utf8('WEBPVP8 '),
  ...[32, 0, 0, 0],
  ...utf8('a-face-like-no-other-4711-ABCDEF'),
])
const PICTURE = `data:image/webp;base64,${btoa(String.fromCharCode(...PHOTO))}`

const BORN = `${new Date().getUTCFullYear() - 40}-01-01`
const WHO = {
  givenNames: 'Zoë Marie',
  familyName: 'Dupont',
  dateOfBirth: BORN,
  nationality: 'FRA',
  documentNumber: '12AB34567',
  photo: PHOTO,
}

const NAME = { given_name: 'Zoë Marie', family_name: 'Dupont', name: 'Zoë Marie Dupont' }
const FULL = {
  ...NAME,
  birthdate: BORN,
  nationality: 'FRA',
  document_number: '12AB34567',
  trust_level: 2,
}

/** The table of 2-protocol section 5, written out. */
const TABLE: Record<string, Record<string, unknown>> = {
  openid: {},
  'identity:name': NAME,
  'identity:given_name': { given_name: 'Zoë Marie' },
  'identity:family_name': { family_name: 'Dupont' },
  'identity:name_initial': { name_initial: 'Z. D.' },
  'identity:date_of_birth': { birthdate: BORN },
  'identity:nationality': { nationality: 'FRA' },
  'identity:document': { document_number: '12AB34567' },
  'identity:photo': { picture: PICTURE },
  'identity:trust_level': { trust_level: 2 },
  'identity:age_over_18': { age_over_18: true },
  'identity:age_over_21': { age_over_21: true },
  'identity:age_over_25': { age_over_25: true },
  'identity:age_range': { age_range: '35-49' },
  'identity:is_eu_citizen': { is_eu_citizen: true },
  profile: NAME,
  'identity:basic': { ...NAME, trust_level: 2 },
  'identity:age_verification': { ...NAME, age_over_18: true },
  'identity:full': FULL,
  'identity:full_with_photo': { ...FULL, picture: PICTURE },
}
const SCOPES = Object.keys(TABLE)

/** Members of a token that say nothing of the person but `sub`. */
const FRAME = [
  ...['iss', 'aud', 'sub', 'iat', 'exp', 'jti', 'nonce', 'auth_time', 'acr', 'amr', 'scope'],
  ...['azp', 'at_hash', 'c_hash', 'sid', 'typ'],
]

let service: Bar
let person: Person
beforeEach(async () => {
  await operator('PUT', '/operator/trust-list', { trustList: await trustList() })
  const { status, body } = await operator('PUT', '/operator/services/bar-le-central', {
    name: 'Bar le Central',
    url: `${RP_ORIGIN}/`,
    origins: [RP_ORIGIN],
    allowedScopes: SCOPES.filter((scope) => scope !== 'openid'),
    restrictedScopes: ['identity:document', 'identity:photo'],
    defaultScopes: [],
    subjectType: 'public',
    oidc: { redirect_uris: [REDIRECT_URI] },
  })
  expect(status, JSON.stringify(body)).toBe(201)
  const basic = { Authorization: `Basic ${btoa(`bar-le-central:${body.secret}`)}` }
  service = { serviceId: 'bar-le-central', secret: body.secret, basic }
  person = await enrolled({ push: false, identity: WHO })
})

/** What a service learns from `claims`. */
function learned(claims: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(claims).filter(([name]) => !FRAME.includes(name)))
}

/** What the direct JWT says when `scopes` are asked and `granted`. */
async function byJwt(scopes: string[], granted?: string[]): Promise<Record<string, unknown>> {
  const { status, body } = await initiate(service, person.tokenId, { scopes })
  expect(status, JSON.stringify(body)).toBe(200)
  const browser = await connect(body, { origin: RP_ORIGIN })
  const { body: claimed } = await person.claim(body.sessionId)
  const bend = granted === undefined ? {} : { payload: { grantedScopes: granted } }
  expect((await person.approve(body.sessionId, claimed, bend)).status).toBe(200)
  const { jwt = '' } = await browser.event('approved')
  return decodeJwt(jwt)
}

/** The same by OpenID Connect. */
async function byOidc(
  scopes: string[],
  granted?: string[],
): Promise<{ idToken: Record<string, unknown>; info: Record<string, unknown>; scope: string }> {
  const tab = new Tab()
  const scope = ['openid', ...scopes].join(' ')
  const waiting = await tab.begin(person.tokenId, { scope })
  await approve(person, waiting, granted)
  const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
  const { body } = await redeem(
    { clientId: service.serviceId, secret: service.secret, basic: service.basic },
    parameters.code,
  )
  const info = await userinfo(body.access_token)
  expect(info.status).toBe(200)
  return { idToken: claimsOf(body.id_token), info: info.body, scope: body.scope }
}

/** That a service learns exactly `claims`, whichever way it asks. */
async function expectLearned(
  claims: Record<string, unknown>,
  scopes: string[],
  granted?: string[],
): Promise<void> {
  const jwt = await byJwt(scopes, granted)
  expect(learned(jwt)).toEqual(claims)
  const { idToken, info } = await byOidc(scopes, granted)
  expect(learned(idToken)).toEqual(claims)
  expect(learned(info)).toEqual(claims)
  expect([jwt.sub, idToken.sub, info.sub]).toEqual(Array(3).fill(person.tokenId))
}

test('disclosure: the table names every scope there is', () => {
  expect([...SCOPES].sort()).toEqual([...SCOPE_NAMES].sort())
})

describe('one scope', () => {
  test.each(SCOPES.filter((scope) => scope !== 'openid'))(
    'disclosure: %s gives its claims in JWT, id_token and userinfo alike, and no other',
    async (scope) => {
      await expectLearned(TABLE[scope] ?? {}, [scope])
    },
  )

  test('disclosure: openid alone gives `sub`', async () => {
    const { idToken, info, scope } = await byOidc([])
    expect(scope).toBe('openid')
    expect(learned(idToken)).toEqual({})
    expect(info).toEqual({ sub: person.tokenId })
  })
})

describe('the person shares less', () => {
  test.each([
    ['nothing', [], {}],
    ['the age of a verification', ['identity:age_over_18'], { age_over_18: true }],
    [
      'two of everything',
      ['identity:document', 'identity:photo'],
      {
        document_number: '12AB34567',
        picture: PICTURE,
      },
    ],
    ['the level', ['identity:trust_level'], { trust_level: 2 }],
  ])('disclosure: %s', async (_name, granted, claims) => {
    const scopes = ['identity:full_with_photo', 'identity:age_verification']
    await expectLearned(claims, scopes, granted)
    const { scope } = await byOidc(scopes, granted)
    expect(scope).toBe(['openid', ...granted].join(' '))
  })

  test('disclosure: a name as such, and by its parts, is asked and refused by itself', async () => {
    const scopes = ['identity:name', 'identity:given_name']
    await expectLearned({ given_name: 'Zoë Marie' }, scopes, ['identity:given_name'])
  })
})

describe('what a document does not say', () => {
  // On that day everybody born in a year has had his birthday, and nothing is uncertain.
  const lastDay = new Date().toISOString().slice(5, 10) === '12-31'

  test.skipIf(lastDay)(
    'disclosure: no age that isn’t sure, no given name, no picture',
    async () => {
      const { photo: _photo, ...rest } = WHO
      const dateOfBirth = String(new Date().getUTCFullYear() - 21)
      const identity = {
        ...rest,
        ...{ givenNames: '', familyName: 'Suharto', dateOfBirth, nationality: 'USA' },
      }
      person = await enrolled({ push: false, identity })
      const scopes = SCOPES.filter((scope) => scope !== 'openid')
      await expectLearned(
        {
          family_name: 'Suharto',
          name: 'Suharto',
          birthdate: dateOfBirth,
          nationality: 'USA',
          document_number: '12AB34567',
          trust_level: 2,
          // Twenty or twenty-one.
          age_over_18: true,
          age_over_25: false,
          is_eu_citizen: false,
        },
        scopes,
      )
    },
  )
})

describe('what nobody may ask', () => {
  test('174 182 disclosure: outside the registered ceiling, alone or inside a composite', async () => {
    await operator('PUT', '/operator/services/bar-le-central', {
      name: 'Bar le Central',
      url: `${RP_ORIGIN}/`,
      origins: [RP_ORIGIN],
      allowedScopes: ['identity:name', 'identity:age_over_18'],
      defaultScopes: [],
      subjectType: 'public',
      oidc: { redirect_uris: [REDIRECT_URI] },
    })
    const inside = ['identity:name', 'profile', 'identity:age_verification', 'identity:age_over_18']
    const outside = SCOPES.filter((scope) => ![...inside, 'openid'].includes(scope))
    expect(outside.length).toBeGreaterThan(12)
    for (const scope of outside) {
      const { status, body } = await initiate(service, person.tokenId, { scopes: [scope] })
      expect([status, body.code], scope).toEqual([422, 'invalid_scope'])
      const refused = await new Tab().authorize({ scope: `openid ${scope}` })
      expect(landingOf(refused).parameters.error, scope).toBe('invalid_scope')
    }
    await expectLearned(TABLE['identity:age_verification'] ?? {}, ['identity:age_verification'])
  })

  test('182 disclosure: what isn’t in the table', async () => {
    for (const scope of ['identity:everything', 'constructor', 'identity:', 'IDENTITY:NAME']) {
      const { status, body } = await initiate(service, person.tokenId, { scopes: [scope] })
      expect([status, body.code]).toEqual([422, 'invalid_scope'])
    }
  })

  test('217 disclosure: a grant of more than was asked', async () => {
    const { body } = await initiate(service, person.tokenId, { scopes: ['identity:basic'] })
    const { body: claimed } = await person.claim(body.sessionId)
    const asked = ['openid', 'profile', 'identity:basic', 'identity:name', 'identity:trust_level']
    for (const scope of SCOPES.filter((each) => !asked.includes(each))) {
      const refused = await person.approve(body.sessionId, claimed, {
        payload: { grantedScopes: ['identity:name', scope].sort() },
      })
      expect([401, 422], scope).toContain(refused.status)
    }
    expect((await person.approve(body.sessionId, claimed)).status).toBe(200)
  })
})
