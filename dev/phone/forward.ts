/** Hands a request of the phone to the product and its answer back, byte for byte. */

/** What concerns one connection only (RFC 9110 section 7.6.1), and what `fetch` has undone already. */
const NOT_PASSED_ON = new Set([
  'connection',
  'content-encoding',
  'content-length',
  'host',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
])

/** The paths of the wire that a phone uses. */
export function isForwarded(pathname: string): boolean {
  return /^\/(enroll(\/|$)|device\/|auth\/|services\/|\.well-known\/)/.test(pathname)
}

/** The product's answer to `request`; 502 in problem details when the product can't be reached. */
export async function forward(request: Request, product: string): Promise<Response> {
  const { pathname, search } = new URL(request.url)
  const headers = passedOn(request.headers)
  headers.set('accept-encoding', 'identity')
  const hasBody = request.method !== 'GET' && request.method !== 'HEAD'
  try {
    const answer = await fetch(`${product}${pathname}${search}`, {
      method: request.method,
      headers,
      redirect: 'manual',
      ...(hasBody ? { body: await request.arrayBuffer() } : {}),
    })
    const { status } = answer
    return new Response(answer.body, { status, headers: passedOn(answer.headers) })
  } catch {
    const body = { title: 'The product does not answer.', status: 502, code: 'unreachable' }
    return Response.json(body, {
      status: 502,
      headers: { 'content-type': 'application/problem+json' },
    })
  }
}

function passedOn(headers: Headers): Headers {
  return new Headers([...headers].filter(([name]) => !NOT_PASSED_ON.has(name)))
}
