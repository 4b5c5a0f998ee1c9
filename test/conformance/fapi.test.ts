/**
 * The FAPI 2.0 security profile, module by module of its certification plan, black box over HTTP: the built product, a browser
 * without script, a virtual phone, clients with keys. docs/standards/fapi2.md lists module, test and clause.
 */
import { afterAll, beforeAll, describe, test, vi } from 'vitest'
import { certifyFapi } from './fapi/certification.ts'
import { LIBRARIES } from './fapi/libraries.ts'
import type { FapiContext } from './fapi/party.ts'
import { BEYOND, MODULES, PLAN, PREFIX } from './fapi/plan.ts'
import { type Bench, PROOF_LIST, setUpBench, tryProof } from './fapi/proofs.ts'
import { startOidcWorld, type World } from './oidc/world.ts'

// Some modules let codes and references get old in real time: the others run meanwhile.
const PATIENCE = 150_000
vi.setConfig({ maxConcurrency: 8, testTimeout: PATIENCE })

let world: World
let context: FapiContext

beforeAll(async () => {
  world = await startOidcWorld()
  context = await certifyFapi(world)
})

afterAll(() => world?.stop())

describe.concurrent(PLAN, () => {
  const modules = Object.values(MODULES).flatMap((ofFile) => Object.entries(ofFile))
  test.each(modules)(`${PREFIX}%s`, async (_name, module) => {
    await module(context)
  })

  describe.concurrent(`${PREFIX}dpop-negative-tests`, () => {
    let bench: Bench
    beforeAll(async () => {
      bench = await setUpBench(context)
    })
    test.each(PROOF_LIST)('$title', async (proof) => {
      await tryProof(bench, proof)
    })
  })
})

describe.concurrent('beyond the plan', () => {
  test.each(Object.entries(BEYOND))('%s', async (_name, module) => {
    await module(context)
  })
})

describe.concurrent.each(Object.entries(LIBRARIES))('%s', (_library, tests) => {
  test.each(Object.entries(tests))('%s', async (_name, run) => {
    await run(context)
  })
})
