/** The Service VDS of the bar: what its operator does with it, and its insides as other tools see them. */
import { decodeBase45, encodeBase45 } from '../../src/seal/base45.ts'
import { readServiceVds, type ServiceVds } from '../../src/seal/service-vds.ts'
import {
  type Answer,
  BAR_ORIGIN,
  BAR_REGISTRATION,
  freshAddress,
  operator,
  post,
  send,
} from './world.ts'

/** Where the operator finds the bar. */
export const SERVICE = '/operator/services/bar-le-central'

export function showVds(serviceId = 'bar-le-central', query = ''): Promise<Answer> {
  return send('GET', `/services/${serviceId}/vds${query}`)
}

/** The text that is in force. */
export async function currentVds(serviceId?: string): Promise<string> {
  const { status, body } = await showVds(serviceId)
  if (status !== 200) throw new Error(`no Service VDS: ${JSON.stringify(body)}`)
  return body.serviceVds
}

/** Changes the registration of the bar. */
export function changeBar(changes: Record<string, unknown> = {}): Promise<Answer> {
  return operator('PUT', SERVICE, { ...BAR_REGISTRATION, ...changes })
}

export function reissue(body: object = {}): Promise<Answer> {
  return operator('POST', `${SERVICE}/vds`, body)
}

export function withdraw(): Promise<Answer> {
  return operator('POST', `${SERVICE}/vds/withdraw`, {})
}

/**
 * A text by keys that are in force for days: what an isolate remembers of keys outlives the tables of a test, until the
 * clock moves on.
 */
export async function lastingVds(): Promise<string> {
  await send('GET', '/health')
  return (await reissue({ withdrawOthers: true })).body.serviceVds
}

/** The status of an answer, and the code of its problem. */
export function codeOf({ status, body }: Answer): [number, string] {
  return [status, body.code]
}

/** Whoever shows `headers` presents `serviceVds`. */
export function presentBy(
  headers: Record<string, string>,
  serviceVds: string,
  more: object = {},
): Promise<Answer> {
  return post('/auth/initiate', { serviceVds, ...more }, headers)
}

/** A page presents it. */
export function presentFromPage(
  serviceVds: string,
  origin = BAR_ORIGIN,
  more: object = {},
): Promise<Answer> {
  const headers = { Origin: origin, 'CF-Connecting-IP': freshAddress() }
  return presentBy(headers, serviceVds, more)
}

/** `text` taken apart. */
export async function read(text: string): Promise<ServiceVds> {
  const vds = await readServiceVds(text)
  if (!vds.ok) throw new Error(vds.reason)
  return vds.value
}

/** The COSE message inside `text`. */
export function unpack(text: string): Promise<Uint8Array<ArrayBuffer>> {
  const packed = decodeBase45(text.slice('HC1:'.length)) ?? new Uint8Array()
  return through(packed, new DecompressionStream('deflate'))
}

/** A text with any bytes inside. */
export async function pack(bytes: Uint8Array): Promise<string> {
  return `HC1:${encodeBase45(await through(bytes, new CompressionStream('deflate')))}`
}

async function through(
  bytes: Uint8Array,
  stream: TransformStream,
): Promise<Uint8Array<ArrayBuffer>> {
  const passed = new Blob([bytes]).stream().pipeThrough(stream)
  return new Uint8Array(await new Response(passed).arrayBuffer())
}
