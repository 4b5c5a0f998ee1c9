/** The fake on a real port: Google's paths and the control's. */
import { type Server, serve } from '../serve.ts'
import { control, isControlPath } from './control.ts'
import type { FakeFcm } from './fake-fcm.ts'

/** Listens on loopback; port 0 takes any free one. */
export function serveFakeFcm(fake: FakeFcm, port: number): Promise<Server> {
  return serve(async (request) => {
    const { pathname } = new URL(request.url)
    return isControlPath(pathname) ? control(fake, request) : fake.handle(request)
  }, port)
}
