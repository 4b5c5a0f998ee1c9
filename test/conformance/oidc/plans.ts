/** The five plans, as the test of the tests and the page docs/standards/openid-connect.md see them. */
import { BASIC, type Module } from './basic.ts'
import { CONFIG } from './config.ts'
import { BACK_CHANNEL, LOGOUT } from './logout.ts'
import type { Context } from './party.ts'

export interface Plan {
  /** Its name in the page of this standard. */
  readonly title: string
  /** Its name in the certification suite. A test is called by the plan's name and the module's. */
  readonly name: string
  readonly modules: Readonly<Record<string, Module>>
  readonly responseMode: Context['responseMode']
  /** Its modules don't see one another: several may run at once, which spares their waits. */
  readonly concurrent?: boolean
}

export const PLANS: readonly Plan[] = [
  {
    title: 'Basic',
    name: 'oidcc-basic-certification-test-plan',
    modules: BASIC,
    responseMode: 'query',
    concurrent: true,
  },
  {
    title: 'Config',
    name: 'oidcc-config-certification-test-plan',
    modules: CONFIG,
    responseMode: 'query',
  },
  {
    title: 'Form Post',
    name: 'oidcc-formpost-basic-certification-test-plan',
    modules: BASIC,
    responseMode: 'form_post',
    concurrent: true,
  },
  {
    title: 'RP-Initiated Logout',
    name: 'oidcc-rp-initiated-logout-certification-test-plan',
    modules: LOGOUT,
    responseMode: 'query',
  },
  {
    title: 'Back-Channel Logout',
    name: 'oidcc-backchannel-rp-initiated-logout-certification-test-plan',
    modules: BACK_CHANNEL,
    responseMode: 'query',
  },
]

/**
 * Modules that don't apply to this provider: they need dynamic registration or a scope that it doesn't have. Their tests
 * look that nothing of the kind is advertised.
 */
export const NOT_APPLICABLE: readonly string[] = [
  'oidcc-idtoken-signature',
  'oidcc-idtoken-unsigned',
  'oidcc-scope-address',
  'oidcc-scope-phone',
  'oidcc-scope-all',
  'oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported',
]
