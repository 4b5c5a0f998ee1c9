/** The two ends of a browser's socket that the object and the routes share. What is said over it stands in `events.ts`. */

/** The subprotocols that the handshake `request` offers, in its order (RFC 6455 section 4.1). */
export function offeredProtocols(request: Request): readonly string[] {
  const header = request.headers.get('Sec-WebSocket-Protocol') ?? ''
  return header.split(',').map((protocol) => protocol.trim())
}

/** The answer to the handshake `request` that ends at once with `code`. */
export function closedSocket(request: Request, code: number, reason: string): Response {
  const { 0: client, 1: server } = new WebSocketPair()
  server.accept()
  server.close(code, reason)
  const offered = offeredProtocols(request)
  // A browser gives up on a protocol that it didn't offer, and never learns the code (RFC 6455 section 4.1).
  const headers = new Headers(
    offered.includes('idtoken.v1') ? { 'Sec-WebSocket-Protocol': 'idtoken.v1' } : {},
  )
  return new Response(null, { status: 101, webSocket: client, headers })
}

/** Closes `socket`; one that is closed already stays so. */
export function close(socket: WebSocket, code: number, reason: string): void {
  try {
    socket.close(code, reason)
  } catch {
    // Closed already.
  }
}
