/** One whole login, with a fresh person and phone, step by step, each step timed. */
import { AGE_CHECK, SCOPES } from './bar/service.ts'
import { directLogin } from './direct-login.ts'
import type { Delivery } from './fcm/devices.ts'
import { linkLogin } from './link-login.ts'
import {
  type Claims,
  type Confirmation,
  demand,
  enroll,
  Queue,
  type Stage,
  type Step,
  type Stepper,
} from './login-stage.ts'
import { oidcLogin } from './oidc-login.ts'
import { scanLogin } from './scan-login.ts'
import type { World } from './world.ts'

/** The ways to log in, and what the bar asks by each: `scan` and `link` are age checks in which nobody types a number. */
const DOORS = {
  direct: { login: directLogin, scopes: SCOPES },
  oidc: { login: oidcLogin, scopes: SCOPES },
  scan: { login: scanLogin, scopes: AGE_CHECK },
  link: { login: linkLogin, scopes: AGE_CHECK },
} as const satisfies Readonly<
  Record<
    string,
    {
      readonly login: (stage: Stage) => Promise<Claims>
      readonly scopes: readonly string[]
    }
  >
>
export type Door = keyof typeof DOORS

export type Run = { readonly claims: Claims; readonly ms: Record<string, number> }

/**
 * Logs in at the demo service by `door` and gives what it learnt. Throws a sentence at the first thing that isn't as it must be;
 * `report` hears of each step.
 */
export async function runLogin(
  world: World,
  { door, confirmation }: { readonly door: Door; readonly confirmation: Confirmation },
  report: (step: Step) => void,
): Promise<Run> {
  const ms: Record<string, number> = {}
  const step: Stepper = async (name, work, details = () => ({})) => {
    const begin = performance.now()
    const value = await work()
    const took = Math.round(performance.now() - begin)
    ms[name] = took
    report({ step: name, ms: took, ...details(value) })
    return value
  }
  const { phone, fcmToken } = await step(
    'enroll',
    () => enroll(world),
    (enrolled) => ({ tokenId: enrolled.phone.tokenId }),
  )
  const pushes = new Queue<Delivery>()
  const unsubscribe = world.fcm.subscribe(fcmToken, (delivery) => pushes.put(delivery))
  try {
    const { login: logIn, scopes } = DOORS[door]
    const claims = await logIn({ world, confirmation, scopes, phone, pushes, step })
    const { enroll: _enroll, ...login } = ms
    ms.login = Object.values(login).reduce((sum, one) => sum + one, 0)
    demand(world.fcm.violations.length === 0, `the push broke a promise: ${world.fcm.violations}`)
    return { claims, ms }
  } finally {
    unsubscribe()
  }
}
