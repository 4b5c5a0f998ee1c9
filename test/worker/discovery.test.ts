/** Discovery against behaviour (5-security 322, 326, 327): what is listed works in a login, and nothing else does. */
import { env } from 'cloudflare:workers'
import { compactDecrypt, createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose'
import { beforeEach, describe, expect, test } from 'vitest'
import { utf8 } from '../../src/bytes.ts'
import {
  asserted,
  credentialsBy,
  type KeyAlg,
  type KeyedClient,
  makeKey,
  open,
  proven,
  registerKeyed,
  sendForm,
  userinfoKeyed,
} from './high-security.ts'
import { workerWith } from './other-worker.ts'
import { landedAt, loggedIn } from './redeemed.ts'
import {
  approve,
  authorizationParameters,
  type Client,
  claimsOf,
  formIn,
  landingOf,
  pageId,
  REDIRECT_URI,
  redeem,
  registerClient,
  Tab,
  token,
  userinfo,
  VERIFIER,
} from './relying-party.ts'
import { watchD1, watchObjects } from './storage.ts'
import { type Answer, enrolled, ISSUER, operator, type Person, send } from './world.ts'

const ADDRESSES = [
  '/.well-known/openid-configuration',
  '/.well-known/oauth-authorization-server',
] as const

/** The names in IANA's registry of authorization server metadata that a server like this one may use. */
const REGISTERED = new Set([
  ...['issuer', 'authorization_endpoint', 'token_endpoint', 'jwks_uri', 'registration_endpoint'],
  ...['scopes_supported', 'response_types_supported', 'response_modes_supported'],
  ...['grant_types_supported', 'token_endpoint_auth_methods_supported'],
  ...['token_endpoint_auth_signing_alg_values_supported', 'service_documentation'],
  ...['ui_locales_supported', 'op_policy_uri', 'op_tos_uri', 'revocation_endpoint'],
  ...['introspection_endpoint', 'code_challenge_methods_supported', 'userinfo_endpoint'],
  ...['acr_values_supported', 'subject_types_supported', 'id_token_signing_alg_values_supported'],
  ...['id_token_encryption_alg_values_supported', 'id_token_encryption_enc_values_supported'],
  ...['display_values_supported', 'claim_types_supported', 'claims_supported'],
  ...['claims_locales_supported', 'claims_parameter_supported', 'request_parameter_supported'],
  ...['request_uri_parameter_supported', 'require_request_uri_registration'],
  ...['prompt_values_supported', 'authorization_response_iss_parameter_supported'],
  ...['end_session_endpoint', 'backchannel_logout_supported'],
  ...['backchannel_logout_session_supported', 'pushed_authorization_request_endpoint'],
  // RFC 8414
  ...[
    'introspection_endpoint_auth_methods_supported',
    'revocation_endpoint_auth_methods_supported',
  ],
  'introspection_endpoint_auth_signing_alg_values_supported',
  'revocation_endpoint_auth_signing_alg_values_supported',
  // RFC 9126, RFC 9449
  ...['require_pushed_authorization_requests', 'dpop_signing_alg_values_supported'],
])

const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const API = 'https://api.example/'

/** A picture that passes for a WebP. */
const PHOTO = new Uint8Array([
  ...utf8('RIFF'),
  ...[12, 0, 0, 0],
  ...utf8('WEBPVP8 '),
  ...[0, 0, 0, 0],
])
const EVERYTHING = {
  allowedScopes: [
    ...['identity:full_with_photo', 'identity:given_name', 'identity:family_name'],
    ...['identity:name_initial', 'identity:age_over_18', 'identity:age_over_21'],
    ...['identity:age_over_25', 'identity:age_range', 'identity:is_eu_citizen'],
  ],
  restrictedScopes: ['identity:document', 'identity:photo'],
}
const ABLE = { offline_access: true, alias_domain: 'alias.example' }

let metadata: Record<string, unknown>
const listed = (name: string) => metadata[name] as readonly string[]

beforeEach(async () => {
  metadata = (await send('GET', ADDRESSES[0])).body
})

/** A client that may ask everything, and a person who has everything. */
async function world(oidc = {}): Promise<{ client: Client; person: Person }> {
  const client = await registerClient({ ...ABLE, ...oidc }, EVERYTHING)
  const person = await enrolled({ push: false, identity: { photo: PHOTO, trustLevel: 3 } })
  return { client, person }
}

function register(changes: object, about: object = {}): Promise<Answer> {
  return operator('PUT', '/operator/services/probe', {
    ...{ name: 'Probe', url: 'http://127.0.0.1:8790/', origins: [], allowedScopes: [] },
    ...{ defaultScopes: [], oidc: { redirect_uris: [REDIRECT_URI], ...changes }, ...about },
  })
}

describe('the document', () => {
  test('322 discovery: the same at both addresses, the issuer to the byte, registered names only', async () => {
    const texts = await Promise.all(
      ADDRESSES.map(async (path) => (await workerWith().fetch(path)).text()),
    )
    expect(texts[0]).toBe(texts[1])
    expect(texts[0]).toContain(`"issuer":"${ISSUER}"`)
    expect(metadata.issuer).toBe(env.ISSUER)
    for (const name of Object.keys(metadata)) expect(REGISTERED, name).toContain(name)
    for (const [name, value] of Object.entries(metadata)) {
      // No member is empty or null: what there is not is absent.
      expect(value, name).not.toBeNull()
      if (Array.isArray(value)) expect(new Set(value).size, name).toBe(value.length)
      if (Array.isArray(value)) expect(value.length, name).toBeGreaterThan(0)
    }
  })

  test('322 discovery: is what it was decided to be', () => {
    expect(metadata).toMatchObject({
      issuer: ISSUER,
      authorization_endpoint: `${ISSUER}/oidc/authorize`,
      token_endpoint: `${ISSUER}/oidc/token`,
      userinfo_endpoint: `${ISSUER}/oidc/userinfo`,
      jwks_uri: `${ISSUER}/.well-known/jwks.json`,
      end_session_endpoint: `${ISSUER}/oidc/end-session`,
      response_types_supported: ['code'],
      response_modes_supported: ['query', 'form_post'],
      pushed_authorization_request_endpoint: `${ISSUER}/oidc/par`,
      introspection_endpoint: `${ISSUER}/oidc/introspect`,
      revocation_endpoint: `${ISSUER}/oidc/revoke`,
      grant_types_supported: ['authorization_code', 'refresh_token', TOKEN_EXCHANGE],
      token_endpoint_auth_methods_supported: [
        ...['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'],
      ],
      // RS256 is forbidden there by FAPI 2.
      token_endpoint_auth_signing_alg_values_supported: ['ES256', 'PS256', 'EdDSA'],
      dpop_signing_alg_values_supported: ['ES256', 'PS256', 'EdDSA'],
      require_pushed_authorization_requests: false,
      subject_types_supported: ['public', 'pairwise'],
      id_token_signing_alg_values_supported: ['ES256', 'RS256'],
      code_challenge_methods_supported: ['S256'],
      request_parameter_supported: false,
      request_uri_parameter_supported: false,
      claims_parameter_supported: true,
      authorization_response_iss_parameter_supported: true,
      backchannel_logout_supported: true,
      backchannel_logout_session_supported: true,
    })
    for (const scope of [
      ...['openid', 'profile', 'email', 'identity:name', 'identity:date_of_birth'],
      ...['identity:nationality', 'identity:age_over_18', 'identity:age_over_21'],
      'identity:trust_level',
    ]) {
      expect(listed('scopes_supported'), scope).toContain(scope)
    }
    for (const claim of [
      ...['sub', 'name', 'given_name', 'family_name', 'birthdate', 'nationality'],
      ...['age_over_18', 'age_over_21', 'trust_level'],
    ]) {
      expect(listed('claims_supported'), claim).toContain(claim)
    }
  })

  test('319 discovery: another issuer, other addresses; never those of the request', async () => {
    const elsewhere = workerWith({ ISSUER: 'http://127.0.0.1:8787/tenant' })
    const answer = await elsewhere.send('GET', ADDRESSES[0], null, {
      Host: 'evil.example',
      'X-Forwarded-Host': 'evil.example',
      'X-Forwarded-Proto': 'http',
    })
    expect(JSON.stringify(answer.body)).not.toMatch(/evil|localhost/)
    expect(answer.body.issuer).toBe('http://127.0.0.1:8787/tenant')
    expect(answer.body.token_endpoint).toBe('http://127.0.0.1:8787/tenant/oidc/token')
  })

  test('322 discovery: every endpoint answers, and no other is there', async () => {
    const ask = async (name: string, method = 'GET') =>
      (await send(method, String(metadata[name]).slice(ISSUER.length))).status
    expect(await ask('authorization_endpoint')).toBe(400)
    expect(await ask('token_endpoint', 'POST')).toBe(400)
    expect(await ask('userinfo_endpoint')).toBe(401)
    expect(await ask('jwks_uri')).toBe(200)
    expect(await ask('end_session_endpoint')).toBe(200)
    for (const name of ['pushed_authorization_request', 'introspection', 'revocation']) {
      expect(await ask(`${name}_endpoint`, 'POST'), name).toBe(400)
      expect(await ask(`${name}_endpoint`), name).toBe(405)
    }
    const endpoints = Object.keys(metadata).filter((name) => /_(endpoint|uri)$/.test(name))
    expect(endpoints.sort()).toEqual([
      ...['authorization_endpoint', 'end_session_endpoint', 'introspection_endpoint', 'jwks_uri'],
      ...['pushed_authorization_request_endpoint', 'revocation_endpoint', 'token_endpoint'],
      'userinfo_endpoint',
    ])
    for (const path of [
      ...['/oidc/register', '/oidc/device', '/oidc/bc-authorize', '/oidc/challenge', '/oidc/nonce'],
      ...['/oidc/par/', '/oidc/request', '/oidc/introspection', '/oidc/revocation'],
      ...['/oidc/check-session', '/oidc', '/oidc/', '/oidc/token/', '/oidc/authorize/x'],
      ...['/.well-known/webfinger', '/.well-known/openid-configuration/', '/.well-known/x'],
    ]) {
      for (const method of ['GET', 'POST']) {
        expect((await send(method, path)).status, `${method} ${path}`).toBe(404)
      }
    }
  })
})

describe('what is listed', () => {
  test('322 discovery: every scope can be granted, and gives what a scope gives', async () => {
    const { client, person } = await world()
    for (const scope of listed('scopes_supported')) {
      const { code } = await landedAt(client, person, { request: { scope: `openid ${scope}` } })
      const { body } = await redeem(client, code)
      expect(body.scope.split(' '), scope).toContain(scope)
      const claims = Object.keys((await userinfo(body.access_token)).body)
      const gives = !['openid', 'offline_access'].includes(scope)
      expect(claims.length > 1, scope).toBe(gives)
      expect('refresh_token' in body, scope).toBe(scope === 'offline_access')
      for (const name of claims) expect(listed('claims_supported'), scope).toContain(name)
    }
  }, 30_000)

  test('322 discovery: every claim can be asked by its name, and came from a login', async () => {
    const { client, person } = await world()
    const claims = Object.fromEntries(listed('claims_supported').map((name) => [name, null]))
    const { code } = await landedAt(client, person, {
      request: { scope: 'openid', claims: JSON.stringify({ userinfo: claims, id_token: claims }) },
    })
    const { body } = await redeem(client, code)
    const idToken = claimsOf(body.id_token)
    const info = (await userinfo(body.access_token)).body
    for (const name of listed('claims_supported')) {
      const ofTheLogin = ['acr', 'amr', 'auth_time'].includes(name)
      expect(idToken, name).toHaveProperty(name)
      expect(name in info, name).toBe(!ofTheLogin)
    }
    const protocol = ['iss', 'aud', 'exp', 'iat', 'nonce', 'at_hash', 'sid']
    const unlisted = Object.keys({ ...idToken, ...info }).filter(
      (name) => !listed('claims_supported').includes(name) && !protocol.includes(name),
    )
    expect(unlisted).toEqual([])
  })

  test('322 discovery: every response mode is a way back, for errors too', async () => {
    const { client, person } = await world()
    for (const mode of listed('response_modes_supported')) {
      for (const prompt of [undefined, 'none']) {
        const tab = new Tab()
        const request = { response_mode: mode, prompt, scope: 'openid' }
        const answer =
          prompt === undefined ? await finished(tab, person, request) : await tab.authorize(request)
        const parameters =
          mode === 'query' ? landingOf(answer).parameters : formIn(answer.body, REDIRECT_URI)
        expect(parameters).toMatchObject({ iss: ISSUER, state: 'random-csrf-token' })
        if (prompt === 'none') expect(parameters.error).toBe('login_required')
        else expect((await redeem(client, parameters.code)).status).toBe(200)
      }
    }
  })

  test('322 discovery: every grant type', async () => {
    const { client, person } = await world({ resources: [API] })
    const { code } = await landedAt(client, person, { request: { scope: 'openid offline_access' } })
    let tokens = { access_token: '', refresh_token: '' }
    const shown: Record<string, () => Record<string, string>> = {
      authorization_code: () => ({ code, redirect_uri: REDIRECT_URI, code_verifier: VERIFIER }),
      refresh_token: () => ({ refresh_token: tokens.refresh_token }),
      [TOKEN_EXCHANGE]: () => ({
        ...{ subject_token: tokens.access_token, subject_token_type: ACCESS_TOKEN, resource: API },
      }),
    }
    expect(Object.keys(shown)).toEqual(listed('grant_types_supported'))
    for (const type of listed('grant_types_supported')) {
      const { status, body } = await token({ grant_type: type, ...shown[type]?.() }, client.basic)
      expect(status, type).toBe(200)
      expect(body.access_token, type).not.toBe(tokens.access_token)
      tokens = body
    }
  })

  test('322 discovery: every subject type and signature', async () => {
    const { person } = await world()
    const jwks = createLocalJWKSet((await send('GET', '/jwks')).body)
    for (const subjectType of listed('subject_types_supported')) {
      for (const alg of listed('id_token_signing_alg_values_supported')) {
        const client = await registerClient(
          { id_token_signed_response_alg: alg },
          { subjectType },
          `${subjectType}-${alg.toLowerCase()}`,
        )
        const { code } = await landedAt(client, person)
        const { body } = await redeem(client, code)
        const verified = await jwtVerify(body.id_token, jwks, { algorithms: [alg], issuer: ISSUER })
        expect(verified.payload.sub === person.tokenId).toBe(subjectType === 'public')
      }
    }
  }, 30_000)

  test('322 discovery: every way to encrypt', async () => {
    const { person } = await world()
    for (const alg of listed('id_token_encryption_alg_values_supported')) {
      const pair = await generateKeyPair(alg, {
        ...(alg.startsWith('ECDH') && { crv: 'P-256' }),
        extractable: true,
      })
      const keys = [{ ...(await exportJWK(pair.publicKey)), kid: 'k' }]
      for (const enc of listed('id_token_encryption_enc_values_supported')) {
        const client = await registerClient(
          {
            id_token_encrypted_response_alg: alg,
            id_token_encrypted_response_enc: enc,
            jwks: { keys },
          },
          {},
          'secret-bar',
        )
        const { basic } = await renewed(client)
        const { code } = await landedAt({ ...client, basic }, person)
        const { body } = await redeem({ ...client, basic }, code)
        const { protectedHeader } = await compactDecrypt(body.id_token, pair.privateKey)
        expect([protectedHeader.alg, protectedHeader.enc]).toEqual([alg, enc])
      }
    }
  }, 30_000)

  test('322 discovery: every way for a client to prove itself', async () => {
    const { person } = await world()
    for (const method of listed('token_endpoint_auth_methods_supported')) {
      const client = await registerBy(method)
      const ask = async (path: string, form: Record<string, string>) => {
        const by = await credentialsBy(method, client)
        return sendForm(path, { ...by.form, ...form }, by.headers)
      }
      const request = await authorizationParameters({ client_id: client.clientId })
      const pushed = await ask('/oidc/par', request)
      expect(pushed.status, method).toBe(201)
      const tab = new Tab()
      const page = await open(tab, client.clientId, pushed.body.request_uri)
      const answer = await approvedFrom(tab, page, person)
      const redeemed = await ask('/oidc/token', {
        ...{ grant_type: 'authorization_code', code: landingOf(answer).parameters.code ?? '' },
        ...{ redirect_uri: REDIRECT_URI, code_verifier: VERIFIER },
      })
      expect(redeemed.status, method).toBe(200)

      const token = redeemed.body.access_token
      const asked = await ask('/oidc/introspect', { token })
      const mayAsk = listed('introspection_endpoint_auth_methods_supported').includes(method)
      expect([asked.status, asked.body.active], method).toEqual(
        mayAsk ? [200, true] : [401, undefined],
      )
      const revoked = await ask('/oidc/revoke', { token })
      const mayRevoke = listed('revocation_endpoint_auth_methods_supported').includes(method)
      expect([mayRevoke, revoked.status], method).toEqual([true, 200])
      expect((await userinfo(token)).status, method).toBe(401)
    }
  })

  test('322 discovery: every signature of a client, at every endpoint that lists it', async () => {
    for (const alg of listed('token_endpoint_auth_signing_alg_values_supported')) {
      const key = await makeKey(alg as KeyAlg)
      for (const registered of [{}, { token_endpoint_auth_signing_alg: alg }]) {
        const client = await registerKeyed(registered, {}, `${alg.toLowerCase()}-bar`, key)
        const ask = async (path: string, form: Record<string, string>) =>
          (await sendForm(path, { ...(await asserted(client)), ...form })).status
        const request = await authorizationParameters({ client_id: client.clientId })
        expect(await ask('/oidc/par', request), alg).toBe(201)
        expect(await ask('/oidc/introspect', { token: 'nonsense' }), alg).toBe(200)
        expect(await ask('/oidc/revoke', { token: 'nonsense' }), alg).toBe(200)
        expect(await ask('/oidc/token', { grant_type: 'refresh_token' }), alg).toBe(400)
      }
    }
    for (const where of ['introspection', 'revocation']) {
      expect(listed(`${where}_endpoint_auth_signing_alg_values_supported`)).toEqual(
        listed('token_endpoint_auth_signing_alg_values_supported'),
      )
    }
  })

  test('322 discovery: every signature of a DPoP proof', async () => {
    const { client, person } = await world()
    for (const alg of listed('dpop_signing_alg_values_supported')) {
      const key = await makeKey(alg as KeyAlg)
      const { code } = await landedAt(client, person)
      const headers = { ...client.basic, ...(await proven(key)) }
      const { status, body } = await redeem(client, code, {}, headers)
      expect([status, body.token_type], alg).toEqual([200, 'DPoP'])
      expect((await userinfoKeyed(key, body.access_token)).status, alg).toBe(200)
    }
  })

  test('322 discovery: every acr is a minimum that this person reaches', async () => {
    const { client, person } = await world()
    const values = listed('acr_values_supported')
    for (const acr of [...values, values.join(' ')]) {
      const { code } = await landedAt(client, person, { request: { acr_values: acr } })
      const { id_token } = (await redeem(client, code)).body
      expect(values).toContain(claimsOf(id_token).acr)
      expect(claimsOf(id_token).acr).toBe(values.at(-1))
    }
  })

  test('322 discovery: every prompt, display and language', async () => {
    await world()
    for (const prompt of listed('prompt_values_supported')) {
      const answer = await new Tab().authorize({ prompt })
      if (prompt === 'none') expect(landingOf(answer).parameters.error).toBe('login_required')
      else expect(pageId(answer), prompt).toBe('login-start')
    }
    for (const display of listed('display_values_supported')) {
      expect(pageId(await new Tab().authorize({ display })), display).toBe('login-start')
    }
    for (const language of listed('ui_locales_supported')) {
      const { body } = await new Tab().authorize({ ui_locales: language })
      expect(body).toContain(`<html lang="${language}"`)
    }
  })

  test('322 discovery: back-channel logout with a sid', async () => {
    const { tokens } = await loggedIn({
      oidc: { backchannel_logout_uri: 'http://127.0.0.1:8790/logout' },
    })
    expect(claimsOf(tokens.id_token).sid).toEqual(expect.any(String))
    const row = await env.DB.prepare('SELECT sid FROM client_session').first()
    expect(row).toEqual({ sid: claimsOf(tokens.id_token).sid })
  })

  /** A login up to the page that sends the browser back. */
  async function finished(
    tab: Tab,
    person: Person,
    request: Record<string, string | undefined>,
  ): Promise<Answer> {
    return approvedFrom(tab, await tab.authorize(request), person)
  }

  /** The same from its first page. */
  async function approvedFrom(tab: Tab, page: Answer, person: Person): Promise<Answer> {
    const waiting = await tab.type(page, person.tokenId)
    await approve(person, waiting)
    return tab.press(waiting, '/login/continue')
  }

  /** A client that proves itself by `method`. */
  async function registerBy(method: string): Promise<Client | KeyedClient> {
    const clientId = method.replaceAll('_', '-')
    return method === 'private_key_jwt'
      ? registerKeyed({}, {}, clientId)
      : registerClient({ token_endpoint_auth_method: method }, {}, clientId)
  }

  /** The client with a secret that we know: the first registration alone shows one. */
  async function renewed(client: Client): Promise<Client> {
    const path = `/operator/services/${client.clientId}/secret`
    const { body } = await operator('POST', path, { endOthers: true })
    const basic = { Authorization: `Basic ${btoa(`${client.clientId}:${body.secret}`)}` }
    return { ...client, secret: body.secret, basic }
  }
})

describe('what is not listed', () => {
  async function errorOf(request: Record<string, string | undefined>): Promise<unknown> {
    const answer = await new Tab().authorize(request)
    return answer.status === 303 ? landingOf(answer).parameters.error : pageId(answer)
  }

  test('322 discovery: scopes', async () => {
    const { client, person } = await world()
    expect(await errorOf({ scope: 'openid identity:unknown' })).toBe('invalid_scope')
    const scope = 'openid address phone groups OPENID'
    const { code } = await landedAt(client, person, { request: { scope } })
    const { body } = await redeem(client, code)
    expect(body.scope).toBe('openid')
    expect((await userinfo(body.access_token)).body).toEqual({ sub: person.tokenId })
  })

  test('322 discovery: claims', async () => {
    const { client, person } = await world()
    const names = ['address', 'phone_number', 'zoneinfo', 'gender', 'updated_at', 'tokenId', 'jti']
    const asked = Object.fromEntries(names.map((name) => [name, { essential: true }]))
    const claims = JSON.stringify({ userinfo: asked, id_token: asked })
    const { code } = await landedAt(client, person, { request: { scope: 'openid', claims } })
    const { body } = await redeem(client, code)
    const info = (await userinfo(body.access_token)).body
    for (const name of names) {
      expect({ ...info, ...claimsOf(body.id_token) }).not.toHaveProperty(name)
    }
  })

  test('322 discovery: parameters of a request', async () => {
    await world()
    const wrong = {
      response_type: ['token', 'id_token', 'code id_token', 'code token', 'none'],
      response_mode: ['fragment', 'jwt', 'query.jwt', 'web_message'],
      prompt: ['create', 'None', 'banana'],
      code_challenge_method: ['plain', 's256', 'S512'],
      request: ['eyJhbGciOiJub25lIn0.e30.'],
      request_uri: ['https://127.0.0.1:8790/request', 'urn:example:request', '/request'],
      registration: ['{}'],
    }
    const errors = {
      ...{ response_type: 'unsupported_response_type', response_mode: 'invalid_request' },
      ...{ prompt: 'invalid_request', code_challenge_method: 'invalid_request' },
      ...{ request: 'request_not_supported', request_uri: 'request_uri_not_supported' },
      registration: 'registration_not_supported',
    }
    for (const [name, values] of Object.entries(wrong)) {
      for (const value of values) {
        const error = await errorOf({ [name]: value })
        expect(error, `${name}=${value}`).toBe(errors[name as keyof typeof errors])
      }
    }
    const request_uri = 'urn:ietf:params:oauth:request_uri:x'
    expect(await errorOf({ request_uri })).toBe('error-request-uri')
  })

  test('322 discovery: a signature that no list has', async () => {
    const client = await registerKeyed({})
    const { body: tokens } = await sendForm('/oidc/token', {
      ...(await asserted(client, { header: { alg: 'RS256' } })),
    })
    expect(tokens.error).toBe('invalid_client')
    for (const alg of ['RS256', 'ES384', 'Ed25519', 'HS256', 'none']) {
      const { DPoP } = await proven(client.dpop, {}, { header: { alg } })
      const { body } = await sendForm('/oidc/token', await asserted(client), { DPoP })
      expect(body.error, alg).toBe('invalid_dpop_proof')
    }
  })

  test('322 discovery: an acr that no level has is no minimum, and none is made up', async () => {
    const { client, person } = await world()
    const { code } = await landedAt(client, person, {
      request: { acr_values: 'urn:mace:incommon:iap:gold 5' },
    })
    const { acr } = claimsOf((await redeem(client, code)).body.id_token)
    expect(listed('acr_values_supported')).toContain(acr)
  })

  test("322 discovery: what a client can't be registered with", async () => {
    const ec = await generateKeyPair('ECDH-ES', { crv: 'P-256', extractable: true })
    const rsa = await generateKeyPair('RSA-OAEP', { extractable: true })
    const jwks = {
      keys: [
        { ...(await exportJWK(ec.publicKey)), kid: 'ec' },
        { ...(await exportJWK(rsa.publicKey)), kid: 'rsa' },
      ],
    }
    const values = {
      token_endpoint_auth_method: [
        ...['client_secret_jwt', 'tls_client_auth', 'self_signed_tls_client_auth'],
        'attest_jwt_client_auth',
      ],
      token_endpoint_auth_signing_alg: ['RS256', 'HS256', 'ES384', 'PS384', 'Ed25519', 'none'],
      id_token_signed_response_alg: ['none', 'HS256', 'PS256', 'ES384', 'EdDSA', 'es256'],
      id_token_encrypted_response_alg: ['RSA1_5', 'dir', 'A128KW', 'ECDH-ES+A128KW', 'none'],
      id_token_encrypted_response_enc: ['A128GCM', 'A256CBC-HS512', 'none'],
    }
    for (const [name, refused] of Object.entries(values)) {
      for (const value of refused) {
        const encryption = name.endsWith('enc')
          ? { id_token_encrypted_response_alg: 'RSA-OAEP' }
          : {}
        const signing = name.endsWith('signing_alg')
          ? { token_endpoint_auth_method: 'private_key_jwt' }
          : {}
        const { status } = await register({ jwks, ...encryption, ...signing, [name]: value })
        expect(status, `${name}=${value}`).toBe(400)
      }
    }
    for (const subjectType of ['transient', 'ephemeral']) {
      expect((await register({}, { subjectType })).status, subjectType).toBe(400)
    }
    expect((await register({ jwks })).status).toBe(201)
  })
})

describe('as a document', () => {
  test.each(ADDRESSES)('326 %s: tagged, cacheable, readable by every page', async (path) => {
    const answer = await workerWith().fetch(path, { headers: { Origin: 'https://any.example' } })
    const text = await answer.text()
    expect(answer.status).toBe(200)
    expect(answer.headers.get('Content-Type')).toBe('application/json')
    expect(answer.headers.get('Content-Length')).toBe(String(utf8(text).length))
    expect(answer.headers.get('Access-Control-Allow-Origin')).toBe('*')
    expect(answer.headers.get('Access-Control-Allow-Credentials')).toBeNull()
    expect(answer.headers.get('Cache-Control')).toMatch(/^public, max-age=\d+/)
    expect(answer.headers.get('Set-Cookie')).toBeNull()
    const etag = answer.headers.get('ETag') ?? ''
    expect(etag).toMatch(/^"[\w-]{43}"$/)

    for (const tag of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
      const again = await send('GET', path, undefined, { 'If-None-Match': tag })
      expect([again.status, again.body, again.headers.get('ETag')]).toEqual([304, '', etag])
      expect(again.headers.get('Access-Control-Allow-Origin')).toBe('*')
    }
    expect((await send('GET', path, undefined, { 'If-None-Match': '"x"' })).status).toBe(200)

    const head = await send('HEAD', path)
    expect([head.status, head.body, head.headers.get('ETag')]).toEqual([200, '', etag])
    const asked = await send('OPTIONS', path, undefined, {
      Origin: 'https://any.example',
      'Access-Control-Request-Method': 'GET',
      'Access-Control-Request-Headers': 'if-none-match',
    })
    expect(asked.status).toBe(204)
    expect(asked.headers.get('Access-Control-Allow-Origin')).toBe('*')
    expect(asked.headers.get('Access-Control-Allow-Methods')).toBe('GET, HEAD')
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
      const refused = await send(method, path)
      expect([refused.status, refused.headers.get('Allow')]).toEqual([405, 'GET, HEAD, OPTIONS'])
    }
  })

  test('326 documents: no other answer is for every page', async () => {
    for (const path of [
      ...['/oidc/authorize', '/oidc/token', '/oidc/userinfo', '/oidc/end-session'],
      ...['/login/address', '/auth/initiate', '/operator/services/x', '/revoke', '/health', '/x'],
    ]) {
      for (const method of ['GET', 'POST', 'OPTIONS']) {
        const { headers } = await send(method, path, undefined, { Origin: 'https://any.example' })
        expect(headers.get('Access-Control-Allow-Origin'), `${method} ${path}`).toBeNull()
      }
    }
  })

  test('327 documents: come from memory', async () => {
    for (const path of [...ADDRESSES, '/jwks']) await send('GET', path)
    const queries = watchD1()
    const calls = watchObjects()
    for (let i = 0; i < 50; i++) {
      for (const path of [...ADDRESSES, '/jwks', '/.well-known/jwks.json']) {
        expect((await send('GET', path)).status).toBe(200)
      }
    }
    expect([queries, calls]).toEqual([[], []])
  })
})
