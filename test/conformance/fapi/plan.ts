/** The plan, as its test, the test of the tests and the page docs/standards/fapi2.md see it. */
import { AUTHORIZATION } from './authorization.ts'
import { CLIENTS, MORE_CLIENTS } from './clients.ts'
import type { FapiModule } from './party.ts'
import { MORE_PROOFS, PROOFS } from './proofs.ts'
import { MORE_PUSHED, PUSHED } from './pushed.ts'
import { TOKENS } from './tokens.ts'

/** Its name in the certification suite, and what the names of its modules begin with there. */
export const PLAN = 'fapi2-security-profile-final-test-plan'
export const PREFIX = 'fapi2-security-profile-final-'

/** The modules by the file that has them, those that wait first. `dpop-negative-tests` is the list of proofs.ts. */
export const MODULES: Readonly<Record<string, Readonly<Record<string, FapiModule>>>> = {
  'tokens.ts': TOKENS,
  'pushed.ts': PUSHED,
  'authorization.ts': AUTHORIZATION,
  'clients.ts': CLIENTS,
  'proofs.ts': PROOFS,
}

/** What the plan doesn't look at. */
export const BEYOND: Readonly<Record<string, FapiModule>> = {
  ...MORE_CLIENTS,
  ...MORE_PROOFS,
  ...MORE_PUSHED,
}
