import { createExecutionContext, waitOnExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { exportJWK, generateKeyPair } from 'jose'
import { describe, expect, test } from 'vitest'
import { buildHouse, createApp, serve } from '../../src/app.ts'
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
  ['no redirect address', { redirect_uris: [] }, ''],
  ['265 an unknown member', { client_secret: 'mine' }, ''],
  ['265 __proto__', JSON.parse('{"__proto__": {"require_pkce": false}}'), ''],
  ['an unknown method', { token_endpoint_auth_method: 'tls_client_auth' }, ''],
  ['009 a list as text', { redirect_uris: 'https://bar.example/cb' }, ''],
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
