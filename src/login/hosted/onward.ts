/** The way back to a service as an HTTP answer. */
import { htmlPage } from '../../http/page.ts'
import type { Onward } from '../door.ts'
import { postPage } from './pages.ts'

/**
 * Sends the browser to `onward`: by 303, so that what was posted here is not posted on (5-security 40), or by a page with a
 * form for it. `nonce` as in `htmlPage`; `cookies` are `Set-Cookie` headers.
 */
export async function answerOnward(
  { address, fields }: Onward,
  service: string,
  nonce: string,
  cookies: readonly string[] = [],
): Promise<Response> {
  if (fields === undefined) {
    const headers = new Headers({ Location: address, 'Cache-Control': 'no-store' })
    for (const cookie of cookies) headers.append('Set-Cookie', cookie)
    return new Response(null, { status: 303, headers })
  }
  const headers = cookies.map((cookie) => ['Set-Cookie', cookie] as const)
  return htmlPage({ ...postPage(service, address, fields), headers }, nonce)
}
