/** What this virtual phone is made of: its keys and identity in IndexedDB, its push service, its passport office. */
import { createPhone, type Phone, type PhoneState } from './phone.ts'
import type { ServiceCard } from './service-vds.ts'

/** The person on the seal, as the development issuer gives them. */
export type Person = {
  readonly id: string
  readonly givenNames: string
  readonly familyName: string
  readonly dateOfBirth: string
  readonly nationality: string
  readonly note: string
}

/** What became of one login, for the list on the home screen. */
export type Past = {
  readonly sessionId: string
  readonly service: string
  readonly outcome: 'approved' | 'declined' | 'reported' | 'failed'
  readonly shared: readonly string[]
  /** ISO 8601. */
  readonly at: string
}

/** A service that the person trusts, as its Service VDS said when they did. */
export type TrustedService = ServiceCard & {
  /** The text of the Service VDS. */
  readonly vds: string
  /** ISO 8601. */
  readonly since: string
}

export type Device = {
  readonly phone: Phone
  readonly fcmToken: string
  readonly person: Person
  /** The issuer URL of the product. */
  readonly issuer: string
  past: readonly Past[]
  trusted: readonly TrustedService[]
}

type Stored = {
  readonly state: PhoneState
  readonly fcmToken: string
  readonly person: Person
  readonly past: readonly Past[]
  /** Absent in a phone of the time before services could be trusted. */
  readonly trusted?: readonly TrustedService[]
}

const MOST_PAST = 20
const api = location.origin

/** The phone as it was left, or `undefined` when it is new. */
export async function loadDevice(): Promise<Device | undefined> {
  const stored = await inStore<Stored | undefined>('readonly', (store) => store.get('device'))
  if (stored === undefined) return undefined
  const { state, fcmToken, person, past, trusted = [] } = stored
  const issuer = await issuerOf()
  const phone = await createPhone({ api, issuer, state })
  // The fake may have been restarted since; the token stays ours.
  await postJson('/device', { token: fcmToken })
  return { phone, fcmToken, person, issuer, past, trusted }
}

/** Stores `device`; keys stay unextractable, the browser clones them as they are. */
export async function saveDevice(device: Device): Promise<void> {
  const { phone, fcmToken, person, past, trusted } = device
  const stored: Stored = { state: phone.state(), fcmToken, person, past, trusted }
  await inStore('readwrite', (store) => store.put(stored, 'device'))
}

/** Forgets keys, identity and past. */
export async function wipeDevice(): Promise<void> {
  await inStore('readwrite', (store) => store.clear())
}

/** What another tab of this phone has stored since `device` was read. */
export async function refresh(device: Device): Promise<void> {
  const stored = await inStore<Stored | undefined>('readonly', (store) => store.get('device'))
  if (stored?.fcmToken !== device.fcmToken) return
  device.past = stored.past
  device.trusted = stored.trusted ?? []
}

/** `device` with one more past login. */
export async function remember(device: Device, past: Past): Promise<void> {
  await refresh(device)
  device.past = [past, ...device.past].slice(0, MOST_PAST)
  await saveDevice(device)
}

/** `device` with `service` among the trusted ones, in the place of what it was before. */
export async function keepTrusted(device: Device, service: TrustedService): Promise<void> {
  await refresh(device)
  device.trusted = [service, ...without(device, service.serviceId)]
  await saveDevice(device)
}

/** `device` without the trusted service `serviceId`. */
export async function dropTrusted(device: Device, serviceId: string): Promise<void> {
  await refresh(device)
  device.trusted = without(device, serviceId)
  await saveDevice(device)
}

function without({ trusted }: Device, serviceId: string): readonly TrustedService[] {
  return trusted.filter((one) => one.serviceId !== serviceId)
}

export async function listPersons(): Promise<readonly Person[]> {
  return (await fetch('/issuer/persons')).json()
}

/** Has a passport sealed for `person` and enrolls this phone. `report` hears when the next of four stages begins. */
export async function enrollDevice(
  person: Person,
  report: (stage: number) => Promise<void>,
): Promise<{ readonly device: Device } | { readonly fault: string }> {
  await report(0)
  const issuer = await issuerOf()
  const phone = await createPhone({ api, issuer })
  await report(1)
  const specimen = await postJson('/issuer/specimen', {
    deviceKeyThumbprint: phone.thumbprint,
    person: person.id,
  })
  const { token: fcmToken = '' } = await postJson('/device', {})
  await report(2)
  const { vds = '', grant } = specimen
  const answer = await phone.enroll({ vds, grant, fcmToken, deviceId: 'virtual-phone' })
  if (!answer.ok) return { fault: answer.code }
  await report(3)
  const device: Device = { phone, fcmToken, person, issuer, past: [], trusted: [] }
  await saveDevice(device)
  return { device }
}

/**
 * Calls `onPush` with the data of each push and `onState` when the line to the push service opens or breaks. The answer stops both.
 */
export function listen(
  device: Device,
  onPush: (data: Readonly<Record<string, string>>) => void,
  onState: (listening: boolean) => void,
): () => void {
  const source = new EventSource(`/inbox/stream?token=${encodeURIComponent(device.fcmToken)}`)
  source.addEventListener('open', () => onState(true))
  source.addEventListener('error', () => {
    onState(false)
    // A fake that was restarted has forgotten us.
    void postJson('/device', { token: device.fcmToken }).catch(() => {})
  })
  source.addEventListener('message', ({ data }) => onPush(JSON.parse(data).data))
  return () => source.close()
}

async function issuerOf(): Promise<string> {
  return (await (await fetch('/config')).json()).issuer
}

async function postJson(path: string, body: object): Promise<Record<string, string>> {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(path, { method: 'POST', headers, body: JSON.stringify(body) })
  if (!response.ok) throw new Error(`${path} answered ${response.status}`)
  return response.json()
}

async function inStore<T>(
  mode: IDBTransactionMode,
  work: (store: IDBObjectStore) => IDBRequest,
): Promise<T> {
  const opening = indexedDB.open('virtual-phone', 1)
  opening.onupgradeneeded = () => opening.result.createObjectStore('device')
  const database = (await settled(opening)) as IDBDatabase
  try {
    return (await settled(work(database.transaction('device', mode).objectStore('device')))) as T
  } finally {
    database.close()
  }
}

function settled(request: IDBRequest): Promise<unknown> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}
