import { createExecutionContext, waitOnExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { exportJWK, generateKeyPair } from 'jose'
import { describe, expect, test } from 'vitest'
import { buildHouse, createApp, serve } from '../../src/app.ts'
import { signingKeysOf } from '../../src/services/oidc-client.ts'
import { findService } from '../../src/services/store.ts'
import { OPERATOR_TOKEN } from './bindings.ts'
import {
  type Answer,
  BAR_REGISTRATION,
  enrolled,
  initiate,
  openBar,
  operator,
  send,
} from './world.ts'

const SERVICE = '/operator/services/bar-le-central'
const OIDC = { redirect_uris: ['https://bar.example/cb'] }
const PUBLIC_NATIVE = {
  redirect_uris: ['com.example.bar:/cb', 'http://127.0.0.1/cb'],
  application_type: 'native',
  token_endpoint_auth_method: 'none',
}

function put(oidc: unknown, changes: object = {}): Promise<Answer> {
  return operator('PUT', SERVICE, { ...BAR_REGISTRATION, oidc, ...changes })
}

async function rows(): Promise<unknown[]> {
  return (await env.DB.prepare('SELECT * FROM service').all()).results
}

describe('registering a client', () => {
  test('267 a confidential one: defaults are told, the secret once, and it is read back', async () => {
    const created = await put(OIDC)
    expect(created.status).toBe(201)
    const { secret, ...shown } = created.body
    expect(secret).toMatch(/^[\w-]{43}$/)
    expect(shown).toMatchObject({
      serviceId: 'bar-le-central',
      subjectType: 'public',
      oidc: {
        ...OIDC,
        application_type: 'web',
        token_endpoint_auth_method: 'client_secret_basic',
        require_pkce: true,
      },
    })
    const service = await findService(env.DB, 'bar-le-central')
    expect(service?.oidc).toEqual(shown.oidc)
    expect(service).toMatchObject({ enabled: true, subjectType: 'public' })

    const updated = await put({ ...OIDC, id_token_ttl: 60 }, { enabled: false })
    expect(updated.status).toBe(200)
    expect(updated.body).not.toHaveProperty('secret')
    expect(await findService(env.DB, 'bar-le-central')).toMatchObject({
      enabled: false,
      oidc: { id_token_ttl: 60 },
      secretHashes: service?.secretHashes,
    })
  })

  test('267 a public one is given no secret', async () => {
    const created = await put(PUBLIC_NATIVE)
    expect(created.status).toBe(201)
    expect(created.body).not.toHaveProperty('secret')
    expect(created.body.oidc).toMatchObject(PUBLIC_NATIVE)
    expect((await put(PUBLIC_NATIVE)).body).not.toHaveProperty('secret')
  })

  test('a service without it is no client, and stops being one when it is left out', async () => {
    const plain = await openBar()
    expect(await findService(env.DB, plain.serviceId)).not.toHaveProperty('oidc')
    await put(OIDC)
    expect(await findService(env.DB, plain.serviceId)).toHaveProperty('oidc')
    expect((await put(undefined)).body).toMatchObject({ subjectType: 'transient' })
    expect(await findService(env.DB, plain.serviceId)).not.toHaveProperty('oidc')
  })

  test('the direct door still serves it, and refuses it when it is switched off', async () => {
    const bar = await openBar({ oidc: OIDC })
    const person = await enrolled({ push: false })
    expect((await initiate(bar, person.tokenId)).status).toBe(200)
    await put(OIDC, { enabled: false })
    expect((await initiate(bar, person.tokenId)).body).toMatchObject({ code: 'service_disabled' })
  })

  test('its keys are checked by the platform too', async () => {
    const pair = await generateKeyPair('ECDH-ES', { extractable: true })
    const key = { ...(await exportJWK(pair.publicKey)), kid: 'k1' }
    const encrypted = { ...OIDC, id_token_encrypted_response_alg: 'ECDH-ES' }
    const off = { ...key, y: key.x }
    expect((await put({ ...encrypted, jwks: { keys: [off] } })).body).toMatchObject({
      status: 400,
      member: 'oidc.jwks',
    })
    const secret = { ...(await exportJWK(pair.privateKey)), kid: 'k1' }
    const answer = await put({ ...encrypted, jwks: { keys: [secret] } })
    expect(answer.body).toMatchObject({ status: 400, member: 'oidc.jwks' })
    expect(JSON.stringify(answer.body)).not.toContain(secret.d)
    const rsa = await generateKeyPair('RSA-OAEP-256', { extractable: true })
    const keys = [key, { ...(await exportJWK(rsa.publicKey)), kid: 'k2' }]
    expect((await put({ ...encrypted, jwks: { keys } })).body.oidc).toMatchObject({
      id_token_encrypted_response_enc: 'A256GCM',
      jwks: { keys },
    })
  })
})

describe('registering a client of high security', () => {
  const publicKey = async (alg: string, kid: string) => {
    const pair = await generateKeyPair(alg, { extractable: true })
    return { ...(await exportJWK(pair.publicKey)), kid }
  }

  test('062 the profile fapi2 is told, stored and read back as its single rules', async () => {
    const jwks = { keys: [await publicKey('ES256', 'k1')] }
    const created = await put({ ...OIDC, profile: 'fapi2', jwks })
    expect(created.status).toBe(201)
    expect(created.body.oidc).toMatchObject({
      ...OIDC,
      profile: 'fapi2',
      application_type: 'web',
      token_endpoint_auth_method: 'private_key_jwt',
      id_token_signed_response_alg: 'ES256',
      require_pkce: true,
      require_pushed_authorization_requests: true,
      dpop_bound_access_tokens: true,
      jwks,
    })
    const service = await findService(env.DB, 'bar-le-central')
    expect(service?.oidc).toEqual(created.body.oidc)
    // What was shown can be sent back as it is.
    expect((await put(created.body.oidc)).body.oidc).toEqual(created.body.oidc)
  })

  test('062 its keys are checked by the platform too, one algorithm for each kind', async () => {
    const keys = await Promise.all(
      ['ES256', 'PS256', 'EdDSA'].map(async (alg) => ({
        ...(await publicKey(alg, alg)),
        use: 'sig',
        alg,
      })),
    )
    const registration = {
      ...OIDC,
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'EdDSA',
    }
    expect((await put({ ...registration, jwks: { keys } })).status).toBe(201)
    const client = (await findService(env.DB, 'bar-le-central'))?.oidc
    expect(client?.jwks?.keys).toEqual(keys)
    expect(client && signingKeysOf(client)).toEqual([keys[2]])

    const [ec, ...others] = keys
    expect((await put({ ...registration, jwks: { keys: [ec] } })).body).toMatchObject({
      status: 400,
      member: 'oidc.jwks',
    })
    const off = { ...ec, y: ec?.x }
    expect((await put({ ...registration, jwks: { keys: [off, ...others] } })).body).toMatchObject({
      status: 400,
      member: 'oidc.jwks',
    })
  })

  test('166 the members for tokens of APIs come back as they were sent', async () => {
    const members = {
      require_pushed_authorization_requests: true,
      dpop_bound_access_tokens: true,
      default_max_age: 300,
      resources: ['https://api.bar.example', 'urn:bar:orders', 'http://localhost:4000/api'],
      resource: 'https://bar.example/me',
      claims_in_access_token: true,
    }
    expect((await put({ ...OIDC, ...members })).body.oidc).toMatchObject(members)
    expect((await findService(env.DB, 'bar-le-central'))?.oidc).toMatchObject(members)
    const plain = await put(OIDC)
    expect(Object.keys(plain.body.oidc as object)).not.toEqual(
      expect.arrayContaining([expect.stringMatching(/^(?:resource|dpop|default_max|profile)/)]),
    )
    for (const change of [{ resources: members.resources }, { resource: members.resources[2] }]) {
      const [member] = Object.keys(change)
      expect(await putUnder('https://id.example', { oidc: { ...OIDC, ...change } })).toMatchObject({
        status: 400,
        member: `oidc.${member}`,
      })
    }
  })
})

/** What is refused of every registration, creation or change, and how its member is named. */
const REFUSED: [string, object, string][] = [
  ...[
    'http://bar.example/cb',
    'https://*.bar.example/cb',
    'https://bar.example/*',
    'https://bar.example/cb#f',
    'https://bar.example/cb#',
    'javascript:alert(1)',
    'data:text/html,x',
    'https://10.0.0.1/cb',
    'https://192.168.0.1/cb',
    'https://169.254.169.254/latest',
    'https://[fe80::1]/cb',
    'https://app.localhost/cb',
    'https://bar.local/cb',
    'https://user:pass@bar.example/cb',
    'https://@bar.example/cb',
    'com.example.bar:/cb',
    'https://bar.example/cb\n',
    '',
  ].flatMap((address): [string, object, string][] => [
    [
      `166 redirect ${JSON.stringify(address)}`,
      { redirect_uris: [...OIDC.redirect_uris, address] },
      '.redirect_uris',
    ],
    [
      `166 logout to ${JSON.stringify(address)}`,
      { post_logout_redirect_uris: [address] },
      '.post_logout_redirect_uris',
    ],
    [
      `100 tell ${JSON.stringify(address)}`,
      { backchannel_logout_uri: address },
      '.backchannel_logout_uri',
    ],
  ]),
  [
    '166 a scheme without a dot',
    { ...PUBLIC_NATIVE, redirect_uris: ['bar:/cb'] },
    '.redirect_uris',
  ],
  ['a public client without PKCE', { ...PUBLIC_NATIVE, require_pkce: false }, '.require_pkce'],
  [
    'enc without alg',
    { id_token_encrypted_response_enc: 'A256GCM' },
    '.id_token_encrypted_response_enc',
  ],
  ['alg without a key', { id_token_encrypted_response_alg: 'RSA-OAEP' }, '.jwks'],
  ['an alias domain in capitals', { alias_domain: 'Bar.example' }, '.alias_domain'],
  ['062 private_key_jwt without a key', { token_endpoint_auth_method: 'private_key_jwt' }, '.jwks'],
  [
    '062 a signing algorithm without private_key_jwt',
    { token_endpoint_auth_signing_alg: 'ES256' },
    '.token_endpoint_auth_signing_alg',
  ],
  ['fapi2 without a key', { profile: 'fapi2' }, '.jwks'],
  ...Object.entries({
    application_type: 'native',
    token_endpoint_auth_method: 'client_secret_basic',
    id_token_signed_response_alg: 'RS256',
    require_pkce: false,
    require_pushed_authorization_requests: false,
    dpop_bound_access_tokens: false,
  }).map(([member, value]): [string, object, string] => [
    `fapi2 with ${member} ${value}`,
    { profile: 'fapi2', [member]: value },
    `.${member}`,
  ]),
  ...[
    'http://api.bar.example/',
    'https://api.bar.example/#a',
    'https://*.bar.example/',
    'https://user@api.bar.example/',
    'javascript:alert(1)',
    'bar-le-central',
    'urn:bar:',
    '',
  ].flatMap((name): [string, object, string][] => [
    [`166 a resource ${JSON.stringify(name)}`, { resource: name }, '.resource'],
    [
      `166 resources with ${JSON.stringify(name)}`,
      { resources: ['urn:bar:a', name] },
      '.resources',
    ],
  ]),
  ['101 a public resource', { ...PUBLIC_NATIVE, resource: 'https://bar.example/me' }, '.resource'],
  ['a list of no resources', { resources: [] }, '.resources'],
  ['a max age of more than a year', { default_max_age: 31_536_001 }, '.default_max_age'],
  ['another profile', { profile: 'fapi1' }, '.profile'],
  ['no redirect address', { redirect_uris: [] }, '.redirect_uris'],
  ['265 an unknown member', { client_secret: 'mine' }, ''],
  ['265 __proto__', JSON.parse('{"__proto__": {"require_pkce": false}}'), ''],
  [
    'an unknown method',
    { token_endpoint_auth_method: 'tls_client_auth' },
    '.token_endpoint_auth_method',
  ],
  ['009 a list as text', { redirect_uris: 'https://bar.example/cb' }, '.redirect_uris'],
  ['a key without kid', { jwks: { keys: [{ kty: 'EC' }] } }, '.jwks.keys[0].kid'],
  ['keys without their set', { jwks: [{ kty: 'EC', kid: '1' }] }, '.jwks.keys'],
]

describe('166, 100 what is refused', () => {
  test.each(REFUSED)('%s', async (_, oidc, member) => {
    const fault = { status: 400, code: 'invalid_request', member: `oidc${member}` }
    const merged = { ...OIDC, ...oidc }
    expect((await put(merged)).body).toMatchObject(fault)
    expect(await rows()).toEqual([])

    await put(OIDC)
    const before = await rows()
    expect((await put(merged)).body).toMatchObject(fault)
    expect(await rows()).toEqual(before)
  })

  test('a subject that is not the same twice, and a sector that nobody named', async () => {
    const split = { redirect_uris: ['https://bar.example/cb', 'https://shop.example/cb'] }
    const cases: [object, object, string][] = [
      [OIDC, { subjectType: 'transient' }, 'subjectType'],
      [split, { subjectType: 'pairwise' }, 'sectorIdentifier'],
    ]
    for (const [oidc, changes, member] of cases) {
      expect((await put(oidc, changes)).body).toMatchObject({ status: 400, member })
    }
    expect(await rows()).toEqual([])
    const sector = { subjectType: 'pairwise', sectorIdentifier: 'bar.example' }
    expect((await put(split, sector)).status).toBe(201)
  })

  test('166, 100 loopback http of a web client, unless the issuer is loopback http itself', async () => {
    const loopback = {
      redirect_uris: ['http://localhost:3000/cb', 'http://127.0.0.1:3000/cb'],
      backchannel_logout_uri: 'http://localhost:3000/out',
    }
    expect((await put(loopback)).status).toBe(201)
    const elsewhere = await putUnder('https://id.example', { oidc: loopback })
    expect(elsewhere).toMatchObject({ status: 400, member: 'oidc.redirect_uris' })
    const told = { ...loopback, ...OIDC }
    expect(await putUnder('https://id.example', { oidc: told })).toMatchObject({
      status: 400,
      member: 'oidc.backchannel_logout_uri',
    })
    expect(await putUnder('https://id.example', { oidc: PUBLIC_NATIVE })).toMatchObject({
      oidc: PUBLIC_NATIVE,
    })
  })
})

/** The answer of a deployment whose issuer is `issuer` to the registration of another service. */
async function putUnder(issuer: string, changes: object): Promise<unknown> {
  // Under such an issuer the push service is a public one too.
  const account = {
    ...JSON.parse(env.FCM_SERVICE_ACCOUNT),
    token_uri: 'https://fcm.example/token',
    messaging_endpoint: 'https://fcm.example',
  }
  const altered = { ...env, ISSUER: issuer, FCM_SERVICE_ACCOUNT: JSON.stringify(account) } as Env
  const house = buildHouse(altered)
  if (!house.ok) throw new Error(house.reason)
  const ctx = createExecutionContext()
  const request = new Request(`${issuer}/operator/services/elsewhere`, {
    method: 'PUT',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${OPERATOR_TOKEN}` },
    body: JSON.stringify({
      ...BAR_REGISTRATION,
      url: 'https://bar.example/',
      origins: [],
      ...changes,
    }),
  })
  const response = await serve(createApp(house.value), request, altered, ctx)
  await waitOnExecutionContext(ctx)
  return response.json()
}

test('258 a client is not registered without the operator', async () => {
  const answer = await send('PUT', SERVICE, JSON.stringify({ ...BAR_REGISTRATION, oidc: OIDC }), {
    'Content-Type': 'application/json',
  })
  expect(answer.status).toBe(401)
  expect(await rows()).toEqual([])
})
