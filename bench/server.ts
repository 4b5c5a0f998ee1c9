/**
 * A Worker in the fast way of serving: Miniflare with a socket straight into workerd, so that no request passes Node. Never the
 * development server, which sends each request through two more processes.
 */
import { readFileSync } from 'node:fs'
import {
  convertV4MiniflareOptions,
  Log,
  LogLevel,
  Miniflare,
  type V4WorkerOptions,
} from 'miniflare'
import { unstable_getMiniflareWorkerOptions as workerOptionsOf } from 'wrangler'
import { serveParent } from './child.ts'
import { LIMITS } from './limits.ts'
import { childrenOf } from './process.ts'

export type ServerOrder = {
  /** The Worker's `wrangler.toml`. */
  readonly config: string
  /** Its bundle, as a deployment would upload it. */
  readonly bundle: string
  /** Where D1 and the objects are kept. */
  readonly store: string
  readonly port: number
  readonly variables: Readonly<Record<string, string>>
  /** Whose rate limits: counters in memory as the platform has them, or Miniflare's own. */
  readonly limits: 'memory' | 'miniflare'
}

/** What both Workers have in their configuration. */
type WorkerSettings = Required<
  Pick<
    V4WorkerOptions,
    'bindings' | 'compatibilityDate' | 'durableObjects' | 'd1Databases' | 'ratelimits'
  >
>

let worker: Miniflare | undefined
let lines = 0

const calls = {
  /** Starts the Worker. `pid` is that of workerd. */
  start: async ({ config, bundle, store, port, variables, limits }: ServerOrder) => {
    // Wrangler gives it in the older form of Miniflare's options, without types.
    const workerOptions = workerOptionsOf(config).workerOptions as WorkerSettings
    const { bindings, compatibilityDate, durableObjects, d1Databases, ratelimits } = workerOptions
    const counters = Object.entries(ratelimits).map(([binding, { simple }]) => {
      const { name, entrypoint } = LIMITS
      return [binding, { name, entrypoint, props: { binding, ...simple } }] as const
    })
    worker = new Miniflare(
      convertV4MiniflareOptions({
        workers: [
          {
            name: 'worker',
            ...{ compatibilityDate, durableObjects, d1Databases },
            modules: true,
            script: readFileSync(bundle, 'utf8'),
            bindings: { ...bindings, ...variables },
            ...(limits === 'memory'
              ? { serviceBindings: Object.fromEntries(counters) }
              : { ratelimits }),
            unsafeDirectSockets: [{ host: '127.0.0.1', port }],
          },
          { name: LIMITS.name, compatibilityDate, modules: true, script: LIMITS.script },
        ],
        resourcePersistencePath: store,
        cf: false,
        logRequests: false,
        log: new Log(LogLevel.ERROR),
        // The product's own lines are counted and go nowhere.
        handleStructuredLogs: () => {
          lines += 1
        },
      }),
    )
    await worker.ready
    const database = await worker.getD1Database('DB')
    // The file is there once something was asked of it.
    await database.prepare('SELECT 1').first()
    const [pid] = childrenOf(process.pid)
    if (pid === undefined) throw new Error('workerd is not to be found.')
    return { pid }
  },
  /** How many lines the Worker has logged so far. */
  lines: () => lines,
}

export type ServerCalls = typeof calls

serveParent(calls, () => worker?.dispose())
