/** What this virtual phone is made of: its keys and identity in IndexedDB, its push service, its passport office. */
import { createPhone, type Phone, type PhoneState } from './phone.ts'

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

export type Device = {
  readonly phone: Phone
  readonly fcmToken: string
  readonly person: Person
  past: readonly Past[]
}

type Stored = {
  readonly state: PhoneState
  readonly fcmToken: string
  readonly person: Person
  readonly past: readonly Past[]
}

const MOST_PAST = 20
const api = location.origin

/** The phone as it was left, or `undefined` when it is new. */
export async function loadDevice(): Promise<Device | undefined> {
  const stored = await inStore<Stored | undefined>('readonly', (store) => store.get('device'))
  if (stored === undefined) return undefined
  const { state, fcmToken, person, past } = stored
  const phone = await createPhone({ api, issuer: await issuerOf(), state })
  // The fake may have been restarted since; the token stays ours.
  await postJson('/device', { token: fcmToken })
  return { phone, fcmToken, person, past }
}

/** Stores `device`; keys stay unextractable, the browser clones them as they are. */
export async function saveDevice({ phone, fcmToken, person, past }: Device): Promise<void> {
  const stored: Stored = { state: phone.state(), fcmToken, person, past }
  await inStore('readwrite', (store) => store.put(stored, 'device'))
}

/** Forgets keys, identity and past. */
export async function wipeDevice(): Promise<void> {
  await inStore('readwrite', (store) => store.clear())
}

/** `device` with one more past login. */
export async function remember(device: Device, past: Past): Promise<void> {
  device.past = [past, ...device.past].slice(0, MOST_PAST)
  await saveDevice(device)
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
  const phone = await createPhone({ api, issuer: await issuerOf() })
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
  const device: Device = { phone, fcmToken, person, past: [] }
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
