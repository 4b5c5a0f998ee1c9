/**
 * Discovery (OpenID Connect Discovery section 3, RFC 8414): derived from what this door does, so that nothing is listed
 * that does not work and nothing works that is not listed (5-security 322). Only registered members.
 */
import { ACR_VALUES } from '../disclosure/acr.ts'
import { CLAIM_NAMES } from '../disclosure/claims.ts'
import {
  CLIENT_AUTH_METHODS,
  CLIENT_SIGNING_ALGS,
  ENCRYPTION_ALGS,
  ENCRYPTION_ENCS,
  SIGNING_ALGS,
} from '../services/oidc-client.ts'
import { RESPONSE_MODES } from './authorization-request.ts'
import { PATHS } from './paths.ts'
import { SUPPORTED_SCOPES } from './scope.ts'
import { GRANT_TYPES } from './token/pipeline.ts'

/** The metadata of the provider `issuer`. */
export function metadataOf(issuer: string): Readonly<Record<string, unknown>> {
  return {
    issuer,
    authorization_endpoint: `${issuer}${PATHS.authorize}`,
    pushed_authorization_request_endpoint: `${issuer}${PATHS.par}`,
    token_endpoint: `${issuer}${PATHS.token}`,
    introspection_endpoint: `${issuer}${PATHS.introspect}`,
    revocation_endpoint: `${issuer}${PATHS.revoke}`,
    userinfo_endpoint: `${issuer}${PATHS.userinfo}`,
    jwks_uri: `${issuer}/.well-known/jwks.json`,
    end_session_endpoint: `${issuer}${PATHS.endSession}`,
    scopes_supported: SUPPORTED_SCOPES,
    response_types_supported: ['code'],
    response_modes_supported: RESPONSE_MODES,
    grant_types_supported: GRANT_TYPES,
    subject_types_supported: ['public', 'pairwise'],
    id_token_signing_alg_values_supported: SIGNING_ALGS,
    id_token_encryption_alg_values_supported: ENCRYPTION_ALGS,
    id_token_encryption_enc_values_supported: ENCRYPTION_ENCS,
    token_endpoint_auth_methods_supported: CLIENT_AUTH_METHODS,
    token_endpoint_auth_signing_alg_values_supported: CLIENT_SIGNING_ALGS,
    // A client that proves nothing may give its own tokens back, and asks about none.
    introspection_endpoint_auth_methods_supported: CLIENT_AUTH_METHODS.filter(
      (method) => method !== 'none',
    ),
    introspection_endpoint_auth_signing_alg_values_supported: CLIENT_SIGNING_ALGS,
    revocation_endpoint_auth_methods_supported: CLIENT_AUTH_METHODS,
    revocation_endpoint_auth_signing_alg_values_supported: CLIENT_SIGNING_ALGS,
    dpop_signing_alg_values_supported: CLIENT_SIGNING_ALGS,
    // What some clients must do is in their records.
    require_pushed_authorization_requests: false,
    claims_supported: [
      ...['sub', ...CLAIM_NAMES, 'email', 'email_verified'],
      ...['acr', 'amr', 'auth_time'],
    ],
    claims_parameter_supported: true,
    code_challenge_methods_supported: ['S256'],
    acr_values_supported: ACR_VALUES,
    prompt_values_supported: ['none', 'login', 'consent', 'select_account'],
    display_values_supported: ['page', 'popup'],
    ui_locales_supported: ['en'],
    request_parameter_supported: false,
    // True when absent (OpenID Connect Discovery section 3).
    request_uri_parameter_supported: false,
    authorization_response_iss_parameter_supported: true,
    backchannel_logout_supported: true,
    backchannel_logout_session_supported: true,
  }
}
