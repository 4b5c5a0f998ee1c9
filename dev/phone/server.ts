/**
 * The virtual phone on a port of its own: its page, the fake FCM that rings it, the issuer that seals its owner, and the way
 * through to the product, so that the page talks to one origin only.
 */
import { control, isControlPath } from '../fcm/control.ts'
import type { FakeFcm } from '../fcm/fake-fcm.ts'
import { answerIssuer, type Issuer } from '../issuer.ts'
import { type Server, serve } from '../serve.ts'
import { answerFile, type Site, toOneAddress } from '../site.ts'
import { forward, isForwarded } from './forward.ts'

export type PhoneServerOptions = {
  readonly port: number
  /** The issuer URL of the product. */
  readonly product: string
  readonly fcm: FakeFcm
  readonly issuer: Issuer
}

const site: Site = {
  folder: new URL('./', import.meta.url),
  files: [
    'index.html',
    'style.css',
    'icon.svg',
    'page.ts',
    'home.ts',
    'cards.ts',
    'login.ts',
    'trust.ts',
    'phone.ts',
    'service-vds.ts',
    'device.ts',
    'dom.ts',
    'prompt.ts',
    'links.ts',
    'scan.ts',
    'qr-reader.ts',
    'services.ts',
    'words.ts',
  ],
}

/** Serves until closed. */
export function servePhone({ port, product, fcm, issuer }: PhoneServerOptions): Promise<Server> {
  return serve(async (request) => {
    const { pathname } = new URL(request.url)
    if (isForwarded(pathname)) return forward(request, product)
    if (isControlPath(pathname)) return control(fcm, request)
    if (pathname === '/token' || pathname.startsWith('/v1/')) return fcm.handle(request)
    if (pathname === '/config') return Response.json({ issuer: product })
    return (
      toOneAddress(request, 'localhost') ??
      (await answerIssuer(issuer, request)) ??
      (await answerFile(site, pathname)) ??
      new Response('Not found', { status: 404 })
    )
  }, port)
}
