/**
 * Rate limits as the platform has them: counters in the machine's memory, windows by the clock. Miniflare's own keep each counter in
 * a database on disk and look through all of them for every new address, which no deployment pays. The text of a Worker beside
 * the one under test; the binding's `props` say how many in which time.
 */
export const LIMITS = {
  name: 'limits',
  entrypoint: 'Limit',
  script: `import { WorkerEntrypoint } from 'cloudflare:workers'
const windows = new Map()
export class Limit extends WorkerEntrypoint {
  limit({ key }) {
    const { binding, limit, period } = this.ctx.props
    const now = Math.floor(Date.now() / 1000 / period)
    const known = windows.get(binding)
    const { counts } = known?.now === now ? known : { counts: new Map() }
    const count = (counts.get(key) ?? 0) + 1
    counts.set(key, count)
    windows.set(binding, { now, counts })
    return { success: count <= limit }
  }
}
export default { fetch: () => new Response(null, { status: 404 }) }
`,
} as const

/** How many limits a login asks, by either door: one where it begins, one at its socket. */
export const LIMITS_ASKED = 2
