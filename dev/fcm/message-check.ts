/**
 * What the real FCM refuses in a message. Members may be spelt in snake_case or camelCase, as Google's JSON mapping allows;
 * keys of maps (`data`, headers, payload) are taken as they are.
 */
import type { FieldFault } from './answers.ts'

type Members = Readonly<Record<string, unknown>>

const messageMembers =
  'name data notification android webpush apns fcm_options token topic condition'
const androidMembers =
  'collapse_key priority ttl restricted_package_name data notification fcm_options direct_boot_ok'
const webpushMembers = 'headers data notification fcm_options'
const apnsMembers = 'headers payload fcm_options live_activity_token'
const MOST_DATA_BYTES = 4096
const LONGEST_TTL = 2_419_200

/** Faults of one `message`, in reading order; `now` in Unix seconds. An empty list means FCM takes it. */
export function checkMessage(message: unknown, now: number): FieldFault[] {
  if (!isObject(message)) return [{ field: 'message', description: 'Message is not set.' }]
  const faults = unknownMembers('message', message, messageMembers)
  const targets = ['token', 'topic', 'condition'].filter((name) => message[name] !== undefined)
  if (targets.length !== 1) {
    faults.push({
      field: 'message',
      description: 'Exactly one of token, topic or condition is required.',
    })
  } else if (typeof message[targets[0] ?? ''] !== 'string') {
    faults.push({ field: `message.${targets[0]}`, description: 'Not a string.' })
  }
  faults.push(...checkData('message.data', message.data))
  faults.push(...checkAndroid(message.android), ...checkApns(message.apns, now))
  faults.push(...checkWebpush(message.webpush))
  return faults
}

function checkData(field: string, data: unknown): FieldFault[] {
  if (data === undefined) return []
  if (!isObject(data)) return [{ field, description: 'Not a map.' }]
  const faults: FieldFault[] = []
  let size = 0
  for (const [index, [key, value]] of Object.entries(data).entries()) {
    if (/^(from|gcm|message_type)$|^(google|gcm)\./.test(key)) {
      faults.push({ field: `${field}[${index}].key`, description: `Reserved key "${key}".` })
    }
    if (typeof value !== 'string') {
      faults.push({ field: `${field}[${index}].value`, description: 'Not a string.' })
    }
    size += byteLength(key) + byteLength(String(value))
  }
  if (size > MOST_DATA_BYTES) faults.push({ field, description: 'Android message is too big.' })
  return faults
}

function checkAndroid(android: unknown): FieldFault[] {
  const field = 'message.android'
  if (android === undefined) return []
  if (!isObject(android)) return [{ field, description: 'Not an object.' }]
  const faults = unknownMembers(field, android, androidMembers)
  if (
    android.priority !== undefined &&
    !/^(HIGH|NORMAL|high|normal)$/.test(String(android.priority))
  ) {
    faults.push({
      field: `${field}.priority`,
      description: 'Not a member of AndroidMessagePriority.',
    })
  }
  const ttl = readTtl(android.ttl)
  if (android.ttl !== undefined && (ttl === undefined || ttl > LONGEST_TTL)) {
    faults.push({ field: `${field}.ttl`, description: 'Not a duration between 0s and 2419200s.' })
  }
  const packageName = member(android, 'restricted_package_name')
  if (packageName !== undefined && typeof packageName !== 'string') {
    faults.push({ field: `${field}.restricted_package_name`, description: 'Not a string.' })
  }
  return [...faults, ...checkData(`${field}.data`, android.data)]
}

function checkApns(apns: unknown, now: number): FieldFault[] {
  const field = 'message.apns'
  if (apns === undefined) return []
  if (!isObject(apns)) return [{ field, description: 'Not an object.' }]
  const faults = unknownMembers(field, apns, apnsMembers)
  const headers = apns.headers ?? {}
  faults.push(...checkHeaders(`${field}.headers`, headers))
  const payload = apns.payload ?? {}
  if (!isObject(payload) || (payload.aps !== undefined && !isObject(payload.aps))) {
    return [...faults, { field: `${field}.payload.aps`, description: 'Not an object.' }]
  }
  if (byteLength(JSON.stringify(payload)) > MOST_DATA_BYTES) {
    faults.push({ field: `${field}.payload`, description: 'APNs payload is too big.' })
  }
  if (!isObject(headers)) return faults
  return [...faults, ...checkApnsHeaders(headers, isObject(payload.aps) ? payload.aps : {}, now)]
}

function checkApnsHeaders(headers: Members, aps: Members, now: number): FieldFault[] {
  const faults: FieldFault[] = []
  const refuseHeader = (name: string, description: string) =>
    faults.push({ field: `message.apns.headers[${name}]`, description })
  const type = headers['apns-push-type']
  const priority = headers['apns-priority']
  const rings = ['alert', 'sound', 'badge'].some((name) => aps[name] !== undefined)
  const silent = aps['content-available'] === 1 && !rings
  if (type !== undefined && type !== (silent ? 'background' : 'alert')) {
    refuseHeader('apns-push-type', 'Does not agree with the payload.')
  }
  if (type === 'alert' && !rings)
    refuseHeader('apns-push-type', 'An alert needs alert, sound or badge.')
  if (priority !== undefined && !/^(1|5|10)$/.test(String(priority))) {
    refuseHeader('apns-priority', 'Not 1, 5 or 10.')
  }
  if (silent && priority === '10') refuseHeader('apns-priority', 'A background push needs 5.')
  const expiration = headers['apns-expiration']
  if (expiration !== undefined && expiration !== '0') {
    const future = /^\d{1,12}$/.test(String(expiration)) && Number(expiration) > now
    if (!future) refuseHeader('apns-expiration', 'Not a time in the future.')
  }
  if (byteLength(String(headers['apns-collapse-id'] ?? '')) > 64) {
    refuseHeader('apns-collapse-id', 'Longer than 64 bytes.')
  }
  return faults
}

function checkWebpush(webpush: unknown): FieldFault[] {
  const field = 'message.webpush'
  if (webpush === undefined) return []
  if (!isObject(webpush)) return [{ field, description: 'Not an object.' }]
  const headers = webpush.headers ?? {}
  const faults = [
    ...unknownMembers(field, webpush, webpushMembers),
    ...checkHeaders(`${field}.headers`, headers),
    ...checkData(`${field}.data`, webpush.data),
  ]
  if (!isObject(headers)) return faults
  if (headers.TTL !== undefined && !/^\d{1,10}$/.test(String(headers.TTL))) {
    faults.push({ field: `${field}.headers[TTL]`, description: 'Not a number of seconds.' })
  }
  if (
    headers.Urgency !== undefined &&
    !/^(very-low|low|normal|high)$/.test(String(headers.Urgency))
  ) {
    faults.push({ field: `${field}.headers[Urgency]`, description: 'Not an urgency of RFC 8030.' })
  }
  return faults
}

function checkHeaders(field: string, headers: unknown): FieldFault[] {
  if (!isObject(headers)) return [{ field, description: 'Not a map.' }]
  return Object.entries(headers)
    .filter(([, value]) => typeof value !== 'string')
    .map(([name]) => ({ field: `${field}[${name}]`, description: 'Not a string.' }))
}

/** Seconds of a duration like `55s` or `3.5s`, or `undefined`. */
export function readTtl(ttl: unknown): number | undefined {
  if (typeof ttl !== 'string') return undefined
  const digits = /^(\d{1,12}(?:\.\d{1,9})?)s$/.exec(ttl)?.[1]
  return digits === undefined ? undefined : Number(digits)
}

/** A member in either spelling. */
export function member(object: Members, snakeName: string): unknown {
  return object[snakeName] ?? object[camelCase(snakeName)]
}

export function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function unknownMembers(field: string, object: Members, known: string): FieldFault[] {
  const names = known.split(' ')
  return Object.keys(object)
    .filter((name) => !names.includes(name) && !names.some((one) => camelCase(one) === name))
    .map((name) => ({ field, description: `Unknown name "${name}": Cannot find field.` }))
}

function camelCase(snakeName: string): string {
  return snakeName.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

function byteLength(text: string): number {
  return new TextEncoder().encode(text).length
}
