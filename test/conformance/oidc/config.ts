/** The one module of the Config plan (4-oidc section 5.3). */
import { expect } from 'vitest'
import type { Module } from './basic.ts'
import { checkKeys } from './checks.ts'
import { call, type Metadata } from './party.ts'

/** Registered at IANA for RFC 8414 and OpenID Connect Discovery; a member that isn't draws a warning. */
const REGISTERED = [
  ...['issuer', 'authorization_endpoint', 'token_endpoint', 'userinfo_endpoint', 'jwks_uri'],
  ...['scopes_supported', 'response_types_supported', 'response_modes_supported'],
  ...['grant_types_supported', 'acr_values_supported', 'subject_types_supported'],
  ...['id_token_signing_alg_values_supported', 'id_token_encryption_alg_values_supported'],
  ...['id_token_encryption_enc_values_supported', 'userinfo_signing_alg_values_supported'],
  ...['token_endpoint_auth_methods_supported', 'token_endpoint_auth_signing_alg_values_supported'],
  ...['display_values_supported', 'claim_types_supported', 'claims_supported'],
  ...['service_documentation', 'ui_locales_supported', 'claims_parameter_supported'],
  ...['request_parameter_supported', 'request_uri_parameter_supported', 'op_policy_uri'],
  ...['op_tos_uri', 'code_challenge_methods_supported', 'prompt_values_supported'],
  ...['authorization_response_iss_parameter_supported', 'end_session_endpoint'],
  ...['backchannel_logout_supported', 'backchannel_logout_session_supported'],
  ...['introspection_endpoint', 'introspection_endpoint_auth_methods_supported'],
  'introspection_endpoint_auth_signing_alg_values_supported',
  ...['revocation_endpoint', 'revocation_endpoint_auth_methods_supported'],
  'revocation_endpoint_auth_signing_alg_values_supported',
  ...['pushed_authorization_request_endpoint', 'require_pushed_authorization_requests'],
  ...['dpop_signing_alg_values_supported', 'claims_locales_supported'],
]

export const CONFIG: Readonly<Record<string, Module>> = {
  async 'oidcc-discovery-endpoint-verification'({ issuer }) {
    const { status, headers, body } = await call(`${issuer}/.well-known/openid-configuration`)
    expect(status, 'discovery: status').toBe(200)
    expect(headers.get('Content-Type'), 'discovery: JSON').toMatch(/^application\/json/)
    const metadata = body ?? {}
    expect(metadata.issuer, 'discovery: issuer is exact').toBe(issuer)
    checkAddresses(metadata, issuer)
    checkLists(metadata)
    await checkKeys(metadata)
    expect(
      Object.keys(metadata).filter((member) => !REGISTERED.includes(member)),
      'discovery: registered members only',
    ).toEqual([])
    // Where it isn't listed there is nothing to say about its algorithms.
    expect(metadata, 'discovery: no request objects').not.toHaveProperty(
      'request_object_signing_alg_values_supported',
    )
    const oauth = await call(`${issuer}/.well-known/oauth-authorization-server`)
    expect(oauth.body, 'discovery: RFC 8414 says the same').toEqual(metadata)
  },
}

/** https, or http on this machine, where the product runs for these tests. */
function checkAddresses(metadata: Metadata, issuer: string): void {
  const { protocol, hostname, search, hash } = new URL(issuer)
  const isFine = protocol === 'https:' || hostname === 'localhost'
  expect(isFine && search === '' && hash === '', 'discovery: issuer is an https URL').toBe(true)
  for (const name of [
    'authorization_endpoint',
    'token_endpoint',
    'userinfo_endpoint',
    'jwks_uri',
  ]) {
    expect(metadata[name], `discovery: ${name}`).toBeTypeOf('string')
  }
  const addresses = Object.entries(metadata).filter(
    ([name]) => name.endsWith('_endpoint') || name === 'jwks_uri',
  )
  for (const [name, address] of addresses) {
    expect(new URL(String(address)).origin, `discovery: ${name} is the provider's`).toBe(
      new URL(issuer).origin,
    )
  }
}

function checkLists(metadata: Metadata): void {
  const lists = Object.entries(metadata).filter(([name]) =>
    /_(?:values|types|modes|methods|scopes|locales)_supported$|^(?:scopes|claims)_supported$/.test(
      name,
    ),
  )
  for (const [name, list] of lists) {
    expect(list, `discovery: ${name} is a list of texts`).toSatisfy(
      (texts: unknown) =>
        Array.isArray(texts) && texts.length > 0 && texts.every((text) => typeof text === 'string'),
    )
  }
  expect(metadata.response_types_supported, 'discovery: code').toContain('code')
  for (const type of metadata.subject_types_supported as string[]) {
    expect(['public', 'pairwise'], 'discovery: subject types').toContain(type)
  }
  expect(metadata.id_token_signing_alg_values_supported, 'discovery: RS256 is listed').toContain(
    'RS256',
  )
  expect(metadata.scopes_supported, 'discovery: openid').toContain('openid')
  for (const scope of metadata.scopes_supported as string[]) {
    expect(scope, 'discovery: scope syntax').toMatch(/^[\x21\x23-\x5b\x5d-\x7e]+$/)
  }
  for (const locale of metadata.ui_locales_supported as string[]) {
    expect(Intl.getCanonicalLocales(locale), 'discovery: locale syntax').toEqual([locale])
  }
  expect(metadata.claims_supported, 'discovery: claims').toContain('sub')
  expect(metadata.grant_types_supported, 'discovery: grants').toContain('authorization_code')
  expect(metadata.code_challenge_methods_supported, 'discovery: S256').toContain('S256')
}
