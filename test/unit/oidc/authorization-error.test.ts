import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  AUTHORIZATION_ERRORS,
  type AuthorizationAnswer,
  authorizationParameters,
  descriptionOf,
  redirectAddress,
} from '../../../src/oidc/authorization-error.ts'

const issuer = 'https://auth.example'
const CALLBACK = 'https://bar.example/cb'

describe('the parameters of an authorization answer', () => {
  it('the errors of RFC 6749, RFC 8707, OpenID Connect Core and RFC 9470, and no others', () => {
    expect([...AUTHORIZATION_ERRORS].sort()).toEqual([
      'access_denied',
      'account_selection_required',
      'consent_required',
      'interaction_required',
      'invalid_request',
      'invalid_request_object',
      'invalid_request_uri',
      'invalid_scope',
      'invalid_target',
      'login_required',
      'registration_not_supported',
      'request_not_supported',
      'request_uri_not_supported',
      'server_error',
      'temporarily_unavailable',
      'unauthorized_client',
      'unmet_authentication_requirements',
      'unsupported_response_type',
    ])
  })

  it.each(AUTHORIZATION_ERRORS)(
    '020 authorize: the text of %s is of RFC 6749 characters',
    (error) => {
      expect(error).toMatch(/^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/)
      expect(descriptionOf(error)).toMatch(/^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/)
    },
  )

  it('020 authorize: an invalid request names the parameter, other errors say enough', () => {
    expect(descriptionOf('invalid_request', 'code_challenge')).toBe(
      'The parameter code_challenge is missing, repeated or malformed.',
    )
    expect(descriptionOf('invalid_scope', 'scope')).toBe(descriptionOf('invalid_scope'))
  })

  it.each<[AuthorizationAnswer, Readonly<Record<string, string>>]>([
    [{ code: 'c' }, { code: 'c' }],
    [
      { error: 'access_denied' },
      { error: 'access_denied', error_description: descriptionOf('access_denied') },
    ],
  ])('039 authorize: %j carries iss, and state only when there was one', (answer, result) => {
    expect(authorizationParameters(answer, { issuer, state: 's' })).toEqual({
      ...result,
      state: 's',
      iss: issuer,
    })
    expect(authorizationParameters(answer, { issuer, state: null })).toEqual({
      ...result,
      iss: issuer,
    })
  })
})

describe('the address an answer is redirected to', () => {
  it.each([
    [CALLBACK, `${CALLBACK}?code=a%20b&iss=i`],
    ['https://bar.example', 'https://bar.example?code=a%20b&iss=i'],
    [`${CALLBACK}?x=%7E+%2B&&y`, `${CALLBACK}?x=%7E+%2B&&y&code=a%20b&iss=i`],
    [`${CALLBACK}?`, `${CALLBACK}?code=a%20b&iss=i`],
    [`${CALLBACK}?x=1&`, `${CALLBACK}?x=1&code=a%20b&iss=i`],
    ['HTTPS://Bar.Example:443/a/../cb', 'HTTPS://Bar.Example:443/a/../cb?code=a%20b&iss=i'],
    ['com.example:/cb', 'com.example:/cb?code=a%20b&iss=i'],
    ['com.example.app:/cb?x=1', 'com.example.app:/cb?x=1&code=a%20b&iss=i'],
    ['http://127.0.0.1:51004/cb', 'http://127.0.0.1:51004/cb?code=a%20b&iss=i'],
    ['http://[::1]:7/cb', 'http://[::1]:7/cb?code=a%20b&iss=i'],
  ])('%s keeps what was registered', (registered, address) => {
    expect(redirectAddress(registered, { code: 'a b', iss: 'i' })).toBe(address)
  })

  it('036 authorize: a hostile state of 1 KiB comes back identical, encoded once', () => {
    const state = '&=%+<>"\'#?/\\ %26é\u202e𐐀'.repeat(64).slice(0, 1024)
    const address = redirectAddress(CALLBACK, { state })
    expect(address).toMatch(/^[\x21-\x7e]+$/)
    expect(new URL(address).searchParams.getAll('state')).toEqual([state])
    expect([...new URL(address).searchParams.keys()]).toEqual(['state'])
    expect(address).not.toMatch(/[<>"\\]/)
  })

  it('336 authorize: line breaks stay inside the parameter', () => {
    const state = '\r\nSet-Cookie: a=b\r\n\r\n<script>\0'
    const address = redirectAddress(CALLBACK, { state })
    expect(address).toMatch(/^[\x21-\x7e]+$/)
    expect(new URL(address).searchParams.get('state')).toBe(state)
  })

  it('any values come back as they were, whatever the address, and none is added', () => {
    const text = fc.string({ unit: fc.constantFrom(...'&=%+<>"\\#?/\0\r\n éß\u202e𐐀aZ09.:') })
    const registered = fc.constantFrom(CALLBACK, `${CALLBACK}?tenant=a%2Fb`, 'com.example:/cb?q')
    const values = fc.record({ code: text, state: text })
    fc.assert(
      fc.property(registered, values, (uri, parameters) => {
        const address = redirectAddress(uri, parameters)
        expect(address.startsWith(uri)).toBe(true)
        expect(address).toMatch(/^[\x21-\x7e]+$/)
        const own = [...new URL(uri).searchParams]
        expect([...new URL(address).searchParams]).toEqual([...own, ...Object.entries(parameters)])
      }),
    )
  })

  it('half a surrogate pair is replaced, not thrown at', () => {
    expect(redirectAddress(CALLBACK, { state: '\ud800' })).toBe(`${CALLBACK}?state=%EF%BF%BD`)
  })
})
