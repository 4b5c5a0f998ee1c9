import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parametersOf } from '../../../src/http/parameters.ts'
import { sealBox } from '../../../src/keys/sealed-box.ts'
import { type Hint, hintOf } from '../../../src/oidc/hint.ts'
import {
  type Confirmation,
  namedClient,
  openConfirmation,
  readLogoutRequest,
  sealConfirmation,
} from '../../../src/oidc/logout/request.ts'
import type { OidcClient } from '../../../src/services/oidc-client.ts'
import type { Service } from '../../../src/services/service.ts'
import { secretOf } from '../keys/secrets.ts'

const OUT = 'https://bar.example/out'
const hint: Hint = { clientId: 'bar', sub: 'the-sub', sid: 'the-sid' }
const client: OidcClient = {
  redirect_uris: ['https://bar.example/cb'],
  application_type: 'web',
  token_endpoint_auth_method: 'client_secret_basic',
  id_token_signed_response_alg: 'ES256',
  id_token_ttl: 3600,
  require_pkce: true,
  claims_in_id_token: true,
  offline_access: false,
  post_logout_redirect_uris: [OUT, `${OUT}?tenant=1`],
  min_trust_level: 1,
}
const service: Service = {
  serviceId: 'bar',
  enabled: true,
  name: 'Bar',
  url: 'https://bar.example/',
  origins: [],
  allowedScopes: [],
  defaultScopes: [],
  requiredScopes: [],
  restrictedScopes: [],
  subjectType: 'public',
  tokenLifetimeSeconds: 3600,
  secretHashes: [],
  oidc: client,
}
const { oidc: _oidc, ...notAClient } = service

function parameters(pairs: Record<string, string> | string[][]) {
  const read = parametersOf(new URLSearchParams(pairs).toString(), ['state'])
  if (read === undefined) throw new Error('not parameters')
  return read
}

describe('the hint', () => {
  test('is client, subject and session of the token', () => {
    expect(hintOf({ aud: 'bar', sub: 'a', sid: 'b', iss: 'x', name: 'Jean' })).toEqual({
      clientId: 'bar',
      sub: 'a',
      sid: 'b',
    })
  })

  test.each([
    [undefined],
    [{}],
    [{ sub: 'a', sid: 'b' }],
    [{ aud: 'bar', sid: 'b' }],
    [{ aud: ['bar'], sub: 'a', sid: 'b' }],
    [{ aud: 'bar', sub: 'a', sid: 7 }],
    // The direct door signs tokens of the same kind, without a session.
    [{ aud: 'bar', sub: 'a' }],
  ])('95 %j is none', (payload) => {
    expect(hintOf(payload)).toBeUndefined()
  })
})

describe('who asks', () => {
  test.each<[string, Record<string, string>, Hint | undefined, string | null | 'invalid']>([
    ['nobody said', {}, undefined, null],
    ['client_id', { client_id: 'bar' }, undefined, 'bar'],
    ['the hint', {}, hint, 'bar'],
    ['both, the same', { client_id: 'bar' }, hint, 'bar'],
    ['both, not the same', { client_id: 'cinema' }, hint, 'invalid'],
    ['both, in another case', { client_id: 'Bar' }, hint, 'invalid'],
  ])('95 %s', (_, pairs, of, expected) => {
    const named = namedClient(parameters(pairs), of)
    expect(named.ok ? named.value : named.reason).toBe(expected)
  })
})

describe('the request', () => {
  test('94 its parts; nothing is needed', () => {
    const asked = { post_logout_redirect_uri: OUT, state: 'a b', client_id: 'bar', more: 'x' }
    expect(readLogoutRequest(parameters(asked), hint, service)).toEqual({
      ok: true,
      value: { clientId: 'bar', hint, returnTo: OUT, state: 'a b' },
    })
    expect(readLogoutRequest(parameters({}), undefined, undefined)).toEqual({
      ok: true,
      value: { clientId: null, hint: null, returnTo: null, state: null },
    })
  })

  test('95 an address: exactly a registered one', () => {
    const verdict = (address: string) =>
      readLogoutRequest(parameters({ post_logout_redirect_uri: address }), hint, service).ok
    expect([OUT, `${OUT}?tenant=1`].map(verdict)).toEqual([true, true])
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme-ascii', minLength: 1 }),
        fc.nat(OUT.length),
        (text, at) => {
          const bent = OUT.slice(0, at) + text + OUT.slice(at)
          fc.pre(bent !== `${OUT}?tenant=1`)
          expect(verdict(bent)).toBe(false)
          expect(verdict(text)).toBe(false)
        },
      ),
    )
  })

  test.each<[string, Service | undefined]>([
    ['nobody', undefined],
    ['a disabled service', { ...service, enabled: false }],
    ['a service that is no client', notAClient],
  ])('95 an address of %s: invalid; without one there is nothing to refuse', (_, whose) => {
    const asked = parameters({ post_logout_redirect_uri: OUT })
    expect(readLogoutRequest(asked, undefined, whose)).toEqual({ ok: false, reason: 'invalid' })
    expect(readLogoutRequest(parameters({}), undefined, whose).ok).toBe(true)
  })

  test('37 a state of 4 KiB in UTF-8, and not one byte more', () => {
    const verdict = (state: string) => readLogoutRequest(parameters({ state }), hint, service).ok
    expect(['s'.repeat(4096), `${'€'.repeat(1365)}s`].map(verdict)).toEqual([true, true])
    expect(['s'.repeat(4097), '€'.repeat(1366)].map(verdict)).toEqual([false, false])
  })

  test.each(['id_token_hint', 'client_id', 'post_logout_redirect_uri', 'state'])(
    '38 %s twice: invalid, even with the same value',
    (name) => {
      const twice = parameters([
        [name, OUT],
        [name, OUT],
      ])
      expect(readLogoutRequest(twice, hint, service).ok).toBe(false)
    },
  )

  test('12 what is not known here may come twice', () => {
    const twice = parameters([
      ['ui_locales', 'se'],
      ['ui_locales', 'fr'],
    ])
    expect(readLogoutRequest(twice, hint, service).ok).toBe(true)
  })
})

describe('99 the confirmation', () => {
  const master = secretOf([1, 1])
  const random12 = new Uint8Array(12).map((_, i) => i)
  const askedAt = 1_705_312_800
  const question: Confirmation = { clientId: 'bar', returnTo: OUT, state: 'a', askedAt }

  test('99 comes back as it went, whatever the state holds', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.option(fc.string({ unit: 'binary' })),
        fc.option(fc.constant(OUT)),
        fc.option(fc.constant('bar')),
        async (state, returnTo, clientId) => {
          const asked = { clientId, returnTo, state, askedAt }
          const sealed = await sealConfirmation(master, asked, 'browser', random12)
          expect(await openConfirmation(master, sealed, 'browser', askedAt)).toEqual(asked)
        },
      ),
      { numRuns: 20 },
    )
  })

  test('99 only in the browser that was asked, for ten minutes', async () => {
    const sealed = await sealConfirmation(master, question, 'browser', random12)
    const open = (browser: string, later: number) =>
      openConfirmation(master, sealed, browser, askedAt + later)
    expect(await open('browser', 599)).toEqual(question)
    expect(await open('browser', 600)).toBeUndefined()
    for (const other of ['', 'Browser', 'browser ', 'another']) {
      expect(await open(other, 0)).toBeUndefined()
    }
  })

  test('99 every altered character is refused', async () => {
    const sealed = await sealConfirmation(master, question, 'browser', random12)
    for (let i = 0; i < sealed.length; i++) {
      const other = sealed[i] === 'A' ? 'B' : 'A'
      const bent = sealed.slice(0, i) + other + sealed.slice(i + 1)
      expect(await openConfirmation(master, bent, 'browser', askedAt), `at ${i}`).toBeUndefined()
    }
  })

  test('99 what another version sealed, or for another purpose, is none', async () => {
    const seal = (content: unknown, context = 'oidc logout browser') =>
      sealBox(master, 'cookie', JSON.stringify(content), context, random12)
    const open = async (text: Promise<string>) =>
      openConfirmation(master, await text, 'browser', askedAt)
    expect(await open(seal(question))).toEqual(question)
    for (const content of [
      { ...question, more: 1 },
      { ...question, askedAt: '1' },
      { ...question, returnTo: undefined },
      [],
      null,
    ]) {
      expect(await open(seal(content)), JSON.stringify(content)).toBeUndefined()
    }
    expect(await open(seal(question, 'oidc sso browser'))).toBeUndefined()
    const session = sealBox(
      master,
      'session',
      JSON.stringify(question),
      'oidc logout browser',
      random12,
    )
    expect(await open(session)).toBeUndefined()
  })
})
