import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import {
  authenticate,
  type ClientCredentials,
  hashSecret,
  readClientCredentials,
} from '../../../src/services/authenticate.ts'
import type { Service } from '../../../src/services/service.ts'
import { serviceOf } from './clients.ts'

const NOW = 1_800_000_000
const SECRET = 'right'

/** Any character, those that Basic and forms give a meaning more often than others; also half a pair. */
const character = fc.oneof(
  fc.constantFrom(':', '%', '+', '&', '=', ' ', 'ä', '😀'),
  fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code)),
)

/** RFC 6749 section 2.3.1: form-encoded, joined by a colon, Base64 of its UTF-8. */
function basic(id: string, secret: string, scheme = 'Basic'): string {
  const encode = (text: string) => new URLSearchParams([['', text]]).toString().slice(1)
  return `${scheme} ${Buffer.from(`${encode(id)}:${encode(secret)}`).toString('base64')}`
}

type SecretMethod = Exclude<ClientCredentials['method'], 'private_key_jwt'>

async function client(method: SecretMethod, changes: Partial<Service> = {}): Promise<Service> {
  return serviceOf(
    { token_endpoint_auth_method: method },
    { secretHashes: [{ hash: await hashSecret(SECRET) }], ...changes },
  )
}

async function isAuthenticated(
  service: Service | undefined,
  credentials: ClientCredentials,
  now: number,
): Promise<boolean> {
  const issuer = 'https://login.example'
  return (await authenticate(service, credentials, { issuer, now })).ok
}

function shown(method: SecretMethod, secret = SECRET): ClientCredentials {
  return method === 'none' ? { method, clientId: 'bar' } : { method, clientId: 'bar', secret }
}

describe('the credentials in a request', () => {
  it('056 no credentials are invalid_client', () => {
    const reason = 'invalid_client'
    expect(readClientCredentials(undefined, {})).toMatchObject({ ok: false, reason })
    expect(readClientCredentials(undefined, { client_id: '' })).toMatchObject({ ok: false, reason })
    expect(readClientCredentials(undefined, { client_secret: 's' })).toMatchObject({
      ok: false,
      reason,
    })
  })

  it('reads each method as what it is', () => {
    expect(readClientCredentials(basic('bar', 's'), {})).toEqual({
      ok: true,
      value: { method: 'client_secret_basic', clientId: 'bar', secret: 's' },
    })
    expect(readClientCredentials(undefined, { client_id: 'bar', client_secret: 's' })).toEqual({
      ok: true,
      value: { method: 'client_secret_post', clientId: 'bar', secret: 's' },
    })
    for (const form of [{ client_id: 'bar' }, { client_id: 'bar', client_secret: '' }]) {
      expect(readClientCredentials(undefined, form)).toEqual({
        ok: true,
        value: { method: 'none', clientId: 'bar' },
      })
    }
  })

  it('058 a header beside a secret in the body is invalid_request, whatever they say', () => {
    for (const header of [basic('bar', 's'), 'Basic %', 'Bearer x', '']) {
      for (const form of [{ client_id: 'bar', client_secret: 's' }, { client_secret: 's' }]) {
        expect(readClientCredentials(header, form)).toMatchObject({
          ok: false,
          reason: 'invalid_request',
        })
      }
    }
  })

  it('058 client_id beside Basic is accepted when it is the same, and only then', () => {
    const header = basic('bar', 's')
    for (const client_id of ['bar', '']) {
      expect(readClientCredentials(header, { client_id })).toMatchObject({ ok: true })
    }
    for (const client_id of ['Bar', 'bar ', 'other']) {
      expect(readClientCredentials(header, { client_id })).toMatchObject({
        ok: false,
        reason: 'invalid_request',
      })
    }
  })

  it('060 any id and secret come through Basic, form-encoded, under any spelling of the scheme', () => {
    const text = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
      .filter((each) => each.isWellFormed())
    fc.assert(
      fc.property(text, text, fc.constantFrom('Basic', 'bAsIc', 'BASIC '), (id, secret, scheme) => {
        expect(readClientCredentials(basic(id, secret, scheme), {})).toEqual({
          ok: true,
          value: { method: 'client_secret_basic', clientId: id, secret },
        })
      }),
    )
    expect(readClientCredentials(basic('ä:%+ b', '%:+ß&='), {})).toMatchObject({
      value: { clientId: 'ä:%+ b', secret: '%:+ß&=' },
    })
  })

  it.each([
    ['nothing', ''],
    ['the scheme alone', 'Basic'],
    ['no colon', `Basic ${btoa('bar')}`],
    ['an empty id', `Basic ${btoa(':s')}`],
    ['bad Base64', 'Basic ***'],
    ['Base64 of a wrong length', 'Basic YmFyO'],
    ['blanks inside', 'Basic YmFy OnM='],
    ['no UTF-8', `Basic ${btoa('bar:\xff')}`],
    ['an overlong form', `Basic ${btoa('bar:\xc0\xaf')}`],
    ['a stray %', `Basic ${btoa('bar:%')}`],
    ['an encoded surrogate', `Basic ${btoa('bar:%ED%A0%80')}`],
    ['another scheme', 'Bearer abc'],
    ['DPoP', 'DPoP abc'],
  ])('061 %s in the header is invalid_client', (_, header) => {
    const refusal = { ok: false, reason: 'invalid_client' }
    expect(readClientCredentials(header, {})).toEqual(refusal)
    expect(readClientCredentials(header, { client_id: 'bar' })).toEqual(refusal)
  })

  it('061 nothing that is sent makes it throw', () => {
    fc.assert(
      fc.property(fc.string({ unit: character }), fc.string(), (text, id) => {
        for (const header of [
          text,
          `Basic ${text}`,
          `Basic ${Buffer.from(text).toString('base64')}`,
        ])
          expect(typeof readClientCredentials(header, { client_id: id }).ok).toBe('boolean')
      }),
    )
  })
})

describe('whether they prove the client', () => {
  const METHODS = ['client_secret_basic', 'client_secret_post', 'none'] as const

  it('059 the registered method, and exactly that', async () => {
    for (const registered of METHODS) {
      for (const used of METHODS) {
        expect(await isAuthenticated(await client(registered), shown(used), NOW)).toBe(
          used === registered,
        )
      }
    }
  })

  it('056 a confidential client without a secret is nobody', async () => {
    expect(await isAuthenticated(await client('client_secret_post'), shown('none'), NOW)).toBe(
      false,
    )
    const empty = shown('client_secret_basic', '')
    expect(await isAuthenticated(await client('client_secret_basic'), empty, NOW)).toBe(false)
  })

  it.each(METHODS)(
    '057 %s: unknown, switched off, no client at all, another id',
    async (method) => {
      const right = await client(method)
      expect(await isAuthenticated(right, shown(method), NOW)).toBe(true)
      expect(await isAuthenticated(undefined, shown(method), NOW)).toBe(false)
      expect(await isAuthenticated({ ...right, enabled: false }, shown(method), NOW)).toBe(false)
      expect(await isAuthenticated({ ...right, serviceId: 'other' }, shown(method), NOW)).toBe(
        false,
      )
      const direct = await serviceOf(undefined, { secretHashes: right.secretHashes })
      expect(await isAuthenticated(direct, shown(method), NOW)).toBe(false)
    },
  )

  it('057 a wrong secret', async () => {
    const right = await client('client_secret_basic')
    for (const secret of ['', 'righ', 'right ', 'Right', await hashSecret(SECRET)]) {
      const wrong = shown('client_secret_basic', secret)
      expect(await isAuthenticated(right, wrong, NOW)).toBe(false)
    }
  })

  it('057 unknown, switched off, wrong secret and wrong method cost the same work', async () => {
    const digest = vi.spyOn(crypto.subtle, 'digest')
    const work: number[] = []
    const measure = async (service: Service | undefined, credentials: ClientCredentials) => {
      digest.mockClear()
      await isAuthenticated(service, credentials, NOW)
      work.push(digest.mock.calls.length)
    }
    const right = await client('client_secret_basic')
    const wrong = shown('client_secret_basic', 'wrong')
    await measure(right, shown('client_secret_basic'))
    await measure(right, wrong)
    await measure(undefined, wrong)
    await measure({ ...right, enabled: false }, wrong)
    await measure(right, shown('client_secret_post'))
    digest.mockRestore()
    expect(work).toEqual([1, 1, 1, 1, 1])
  })

  it('065 two secrets during a rotation; the old one ends', async () => {
    const rotating = await client('client_secret_basic', {
      secretHashes: [
        { hash: await hashSecret('new') },
        { hash: await hashSecret('old'), expiresAt: NOW },
      ],
    })
    const works = (secret: string, at: number) =>
      isAuthenticated(rotating, shown('client_secret_basic', secret), at)
    expect([await works('old', NOW - 1), await works('new', NOW - 1)]).toEqual([true, true])
    expect([await works('old', NOW), await works('new', NOW)]).toEqual([false, true])
  })
})
