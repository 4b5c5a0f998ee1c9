/**
 * Headers of every answer (5-security 333, 18). A header that the answer has itself stays: pages bring a content security
 * policy of their own (`page.ts`), and whatever brings none may load nothing at all.
 */
export function secured(answer: Response, requestId: string): Response {
  // The answer to a WebSocket handshake can't be copied, and its headers are the protocol's.
  if (answer.status === 101) return answer
  try {
    return withHeaders(answer, requestId)
  } catch {
    // Headers that came over the wire, like those of an object, can't be changed: a copy's can.
    return withHeaders(new Response(answer.body, answer), requestId)
  }
}

function withHeaders(answer: Response, requestId: string): Response {
  const { headers } = answer
  headers.set('X-Request-Id', requestId)
  for (const [name, value] of SECURITY_HEADERS) if (!headers.has(name)) headers.set(name, value)
  return answer
}

const SECURITY_HEADERS = Object.entries({
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'Strict-Transport-Security': 'max-age=63072000; includeSubDomains',
  'X-Content-Type-Options': 'nosniff',
})
