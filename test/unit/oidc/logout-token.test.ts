import { expect, test } from 'vitest'
import { logoutTokenClaims } from '../../../src/oidc/logout-token.ts'

test('logout token: exactly the claims of Back-Channel Logout 2.4, and no nonce', () => {
  const about = {
    issuer: 'https://auth.example',
    clientId: 'bar-le-central',
    sub: 'sub',
    sid: 'sid',
    jti: 'jti',
  }
  expect(logoutTokenClaims({ ...about, ...{ nonce: 'n' } }, 1_705_312_800)).toEqual({
    iss: 'https://auth.example',
    aud: 'bar-le-central',
    sub: 'sub',
    sid: 'sid',
    iat: 1_705_312_800,
    exp: 1_705_312_920,
    jti: 'jti',
    events: { 'http://schemas.openid.net/event/backchannel-logout': {} },
  })
})
