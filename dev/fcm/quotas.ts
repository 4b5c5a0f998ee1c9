/** FCM's rate limits: per project, per device, and the bucket for collapsible messages. Times in Unix seconds. */

export type QuotaLimits = {
  readonly projectPerMinute: number
  readonly devicePerMinute: number
  readonly devicePerHour: number
  /** Collapsible messages of one device at once; one more comes back every three minutes. */
  readonly collapsibleBurst: number
}

export const googleLimits: QuotaLimits = {
  projectPerMinute: 600_000,
  devicePerMinute: 240,
  devicePerHour: 5000,
  collapsibleBurst: 20,
}

const COLLAPSIBLE_REFILL = 180

/** Counts sends. `count...` gives the seconds to wait when the limit is passed (nothing is counted then), else `undefined`. */
export class QuotaBook {
  readonly #limits: QuotaLimits
  readonly #windows = new Map<string, { start: number; count: number }>()
  readonly #buckets = new Map<string, { level: number; at: number }>()

  constructor(limits: QuotaLimits) {
    this.#limits = limits
  }

  countProject(projectId: string, now: number): number | undefined {
    return this.#count(`project ${projectId}`, 60, this.#limits.projectPerMinute, now)
  }

  countDevice(token: string, collapsible: boolean, now: number): number | undefined {
    return (
      this.#count(`minute ${token}`, 60, this.#limits.devicePerMinute, now) ??
      this.#count(`hour ${token}`, 3600, this.#limits.devicePerHour, now) ??
      (collapsible ? this.#drain(token, now) : undefined)
    )
  }

  #count(key: string, seconds: number, limit: number, now: number): number | undefined {
    const start = now - (now % seconds)
    const window = this.#windows.get(key)
    const count = window?.start === start ? window.count : 0
    if (count >= limit) return Math.ceil(start + seconds - now)
    this.#windows.set(key, { start, count: count + 1 })
    return undefined
  }

  #drain(token: string, now: number): number | undefined {
    const full = this.#limits.collapsibleBurst
    const bucket = this.#buckets.get(token) ?? { level: full, at: now }
    const level = Math.min(full, bucket.level + (now - bucket.at) / COLLAPSIBLE_REFILL)
    if (level < 1) return Math.ceil((1 - level) * COLLAPSIBLE_REFILL)
    this.#buckets.set(token, { level: level - 1, at: now })
    return undefined
  }
}
