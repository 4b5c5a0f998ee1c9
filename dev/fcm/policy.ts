/**
 * What IDToken Edge promises about its pushes and the real FCM wouldn't notice. A broken promise is recorded, not refused, so that
 * a test sees both what the product did and what Google would have said.
 */
import { isObject, member, readTtl } from './message-check.ts'

type Members = Readonly<Record<string, unknown>>

/** Opens a JWE with the device's key, verifies the JWS inside, gives its claims; throws when either fails. */
export type OpenPrompt = (jwe: string) => Promise<Readonly<Record<string, unknown>>>

const LONGEST_JWE = 2560

/** Broken promises of one message that FCM took, as sentences; `now` in Unix seconds. */
export async function findViolations(
  message: Members,
  now: number,
  open: OpenPrompt | undefined,
): Promise<string[]> {
  const android = isObject(message.android) ? message.android : {}
  const apns = isObject(message.apns) ? message.apns : {}
  const webpush = isObject(message.webpush) ? message.webpush : {}
  const data = isObject(message.data) ? message.data : {}
  const broken = [...checkHurry(android, apns, now)]
  if (member(android, 'collapse_key') !== undefined) broken.push('collapse_key is set')
  if ([message, android, webpush].some((part) => part.notification !== undefined)) {
    broken.push('there is a notification block')
  }
  if (data.v !== '1' || !['login', 'replaced'].includes(String(data.t))) {
    broken.push('data is not {v: "1", t: "login" or "replaced"}')
  }
  for (const key of Object.keys(data)) {
    if (!['v', 't', 'jwe'].includes(key)) broken.push(`data carries "${key}" in clear`)
  }
  const clear = clearText(message)
  if (/(?<![\w-])\d{6}(?![\w-])/.test(clear)) broken.push('six digits stand in clear')
  broken.push(...checkAlert(apns))
  if (data.jwe !== undefined) broken.push(...(await checkJwe(String(data.jwe), clear, open)))
  return broken
}

function checkHurry(android: Members, apns: Members, now: number): string[] {
  const broken: string[] = []
  if (String(android.priority).toUpperCase() !== 'HIGH') broken.push('android.priority is not HIGH')
  const headers = isObject(apns.headers) ? apns.headers : {}
  const secondsLeft = Number(headers['apns-expiration']) - now
  const ttl = readTtl(android.ttl)
  if (ttl === undefined) broken.push('there is no android.ttl: four weeks')
  else if (!(ttl <= secondsLeft)) broken.push(`ttl of ${ttl} s with ${secondsLeft} s left`)
  return broken
}

/** The text of an alert may come from the app's own catalogue only: no word of ours passes Apple in clear. */
function checkAlert(apns: Members): string[] {
  const payload = isObject(apns.payload) ? apns.payload : {}
  const aps = isObject(payload.aps) ? payload.aps : {}
  const broken = Object.keys(payload).filter((name) => name !== 'aps')
  if (isObject(aps.alert)) {
    broken.push(
      ...Object.keys(aps.alert).filter((name) => !/^(title-|subtitle-)?loc-key$/.test(name)),
    )
  } else if (aps.alert !== undefined) broken.push('alert')
  return broken.map((name) => `the apns payload carries "${name}" in clear`)
}

async function checkJwe(
  jwe: string,
  clear: string,
  open: OpenPrompt | undefined,
): Promise<string[]> {
  const broken: string[] = []
  if (jwe.length > LONGEST_JWE) broken.push(`jwe of ${jwe.length} bytes`)
  // Direct agreement has an empty second part (RFC 7518 section 4.6).
  if (!/^[\w-]+\.\.[\w-]+\.[\w-]+\.[\w-]+$/.test(jwe))
    broken.push('jwe is not a compact JWE by ECDH-ES')
  if (!open) return broken
  try {
    const secrets = leaves(await open(jwe)).filter((text) => text.length > 2)
    for (const secret of secrets) {
      if (clear.includes(secret)) broken.push(`"${secret}" of the prompt stands in clear`)
    }
  } catch (fault) {
    broken.push(`jwe does not open: ${fault instanceof Error ? fault.message : String(fault)}`)
  }
  return broken
}

/** All that Google can read of a message, its address aside. */
function clearText(message: Members): string {
  const data = isObject(message.data) ? { ...message.data, jwe: undefined } : undefined
  return JSON.stringify({ ...message, token: undefined, data })
}

function leaves(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  if (typeof value !== 'object' || value === null) return []
  return Object.values(value).flatMap(leaves)
}
