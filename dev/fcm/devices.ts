/** The phones that the fake knows: their tokens, what FCM is told to do with them, and what was delivered. Times in Unix seconds. */
import { isObject, readTtl } from './message-check.ts'
import type { OpenPrompt } from './policy.ts'
import { readScript, type Script } from './scripts.ts'

/** A message as the phone's push service gets it. */
export type Delivery = {
  readonly messageId: string
  readonly token: string
  readonly data: Readonly<Record<string, string>>
  readonly priority: string
  readonly ttl: number
  readonly sentAt: number
  readonly deliveredAt: number
  /** The whole message as it was sent, for a phone that plays an iPhone. */
  readonly message: Readonly<Record<string, unknown>>
}

/** What a device is registered with; `open` lets the fake check the sealed prompt. */
export type DeviceOptions = { readonly open?: OpenPrompt; readonly projectId?: string }

const DEFAULT_TTL = 2_419_200
const DEFAULT_LATENESS = 120

export class Device {
  readonly token: string
  options: DeviceOptions = {}
  registered = true
  readonly inbox: Delivery[] = []
  readonly listeners = new Set<(delivery: Delivery) => void>()
  #scripts: Script[] = []

  constructor(token: string) {
    this.token = token
  }

  setScripts(scripts: readonly Script[]): void {
    this.#scripts = [...scripts]
  }

  /** The script of the next send; the last one stays. */
  nextScript(): Script {
    const next = this.#scripts.length > 1 ? this.#scripts.shift() : this.#scripts[0]
    return next ?? 'ok'
  }

  /**
   * What reaches the phone of a message sent `now` under `script`: nothing, one or two deliveries. A message that comes after its
   * time to live is dropped; one without lives four weeks.
   */
  arrivals(
    messageId: string,
    message: Readonly<Record<string, unknown>>,
    script: Script,
    now: number,
  ): Delivery[] {
    const [name, amount] = readScript(script)
    const android = isObject(message.android) ? message.android : {}
    const ttl = readTtl(android.ttl) ?? DEFAULT_TTL
    const lateness = name === 'late' ? (amount ?? DEFAULT_LATENESS) : 0
    if (name === 'drop' || lateness > ttl) return []
    const delivery: Delivery = {
      messageId,
      token: this.token,
      data: stringMembers(message.data),
      priority: String(android.priority ?? 'NORMAL').toUpperCase(),
      ttl,
      sentAt: now,
      deliveredAt: now + lateness,
      message,
    }
    return name === 'duplicate' ? [delivery, delivery] : [delivery]
  }

  receive(delivery: Delivery): void {
    this.inbox.push(delivery)
    for (const listener of this.listeners) listener(delivery)
  }
}

function stringMembers(value: unknown): Readonly<Record<string, string>> {
  if (!isObject(value)) return {}
  return Object.fromEntries(Object.entries(value).map(([key, text]) => [key, String(text)]))
}
