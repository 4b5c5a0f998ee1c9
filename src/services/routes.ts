/** `GET /services/{serviceId}/vds`: the Service VDS of a service, as text or as a QR (3-seal section 2). */
import { type Context, Hono } from 'hono'
import { only } from '../http/method.ts'
import { json, problem } from '../http/problem.ts'
import { qrSvg } from '../http/qr.ts'
import type { StoredVds } from './store.ts'

export interface ServiceRoutesHouse {
  /** The Service VDS of a service that is in force. */
  readonly findVds: (serviceId: string) => Promise<StoredVds | undefined>
}

export function serviceRoutes(house: ServiceRoutesHouse): Hono {
  const app = new Hono()
  const path = '/services/:serviceId/vds'
  return app.get(path, (c) => show(house, c)).all(path, only('GET, HEAD'))
}

/** Public: it is shown to everybody anyway. Not kept by caches, because a withdrawn one is gone at once (5-security 170). */
async function show({ findVds }: ServiceRoutesHouse, c: Context): Promise<Response> {
  const format = c.req.query('format') ?? 'json'
  if (format !== 'json' && format !== 'svg') return problem('invalid_request', { member: 'format' })
  const vds = await findVds(c.req.param('serviceId') ?? '')
  if (vds === undefined) return problem('not_found')
  const answer = format === 'svg' ? svg(vds) : json(shown(vds))
  answer.headers.set('Access-Control-Allow-Origin', '*')
  return answer
}

function shown({ text, expiresAt }: StoredVds) {
  return { serviceVds: text, expiresAt: new Date(expiresAt * 1000).toISOString() }
}

function svg({ serviceId, text }: StoredVds): Response {
  const picture = qrSvg(text, `Service VDS of ${serviceId}`)
  if (picture === undefined) return problem('not_found')
  const headers = { 'Content-Type': 'image/svg+xml', 'Cache-Control': 'no-store' }
  return new Response(picture, { headers })
}
