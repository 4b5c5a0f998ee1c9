/**
 * The OpenID Connect door against the modules of five certification plans, black box over HTTP: the built product, a browser
 * without script, a virtual phone. docs/standards/openid-connect.md lists module, test and clause.
 */
import { afterAll, beforeAll, describe, test } from 'vitest'
import { certify } from './oidc/certification.ts'
import type { Context } from './oidc/party.ts'
import { PLANS } from './oidc/plans.ts'
import { startOidcWorld, type World } from './oidc/world.ts'

let world: World
let contexts: Readonly<Record<Context['responseMode'], Context>>

beforeAll(async () => {
  world = await startOidcWorld()
  contexts = await certify(world)
})

afterAll(() => world?.stop())

describe.each(PLANS)('$name', ({ modules, responseMode, concurrent = false }) => {
  test.each(Object.entries(modules))('%s', { concurrent }, async (_name, module) => {
    await module(contexts[responseMode])
  })
})
