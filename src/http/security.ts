/**
 * Headers of every answer (5-security 333, 18). A header that the answer has itself stays: pages bring a content security
 * policy of their own (`page.ts`), and whatever brings none may load nothing at all.
 */
export function secured(answer: Response, requestId: string): Response {
  // The answer to a WebSocket handshake can't be copied, and its headers are the protocol's.
  if (answer.status === 101) return answer
  const headers = new Headers(answer.headers)
  for (const [name, value] of Object.entries(SECURITY_HEADERS)) {
    if (!headers.has(name)) headers.set(name, value)
  }
  headers.set('X-Request-Id', requestId)
  return new Response(answer.body, { status: answer.status, headers })
}

const SECURITY_HEADERS = {
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'Strict-Transport-Security': 'max-age=63072000; includeSubDomains',
  'X-Content-Type-Options': 'nosniff',
}
