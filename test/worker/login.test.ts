import { createLocalJWKSet, jwtVerify } from 'jose'
import { expect, test } from 'vitest'
import { connect, enrolled, ISSUER, initiate, openBar, send } from './world.ts'

test('213 approve: a valid approval gives exactly the granted claims, once, to the socket of a back end', async () => {
  const bar = await openBar()
  const person = await enrolled()
  const started = await initiate(bar, person.tokenId)
  expect(started.status).toBe(200)
  const browser = await connect(started.body)
  const ready = await browser.event('otp_ready')
  expect(ready.autoPassword).toBe(started.body.autoPassword)

  const claimed = await person.claim(started.body.sessionId)
  expect(claimed.status).toBe(200)
  expect(claimed.body.otp).toBe(ready.autoPassword)
  await browser.event('claimed')

  const approved = await person.approve(started.body.sessionId, claimed.body, {
    payload: { grantedScopes: ['identity:age_over_18'] },
  })
  expect(approved.body).toEqual({ status: 'approved' })
  const { jwt, random } = await browser.event('approved')
  expect(random).toBe(started.body.random)
  const jwks = await send('GET', '/.well-known/jwks.json')
  const { payload } = await jwtVerify(String(jwt), createLocalJWKSet(jwks.body), {
    issuer: ISSUER,
    audience: bar.serviceId,
    algorithms: ['ES256'],
  })
  expect(payload).toMatchObject({ age_over_18: true, nonce: random, scope: 'identity:age_over_18' })
  expect(payload).not.toHaveProperty('given_name')
  expect(await browser.closed).toMatchObject({ code: 1000 })
})
