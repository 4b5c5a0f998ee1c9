/** A login as a browser sees it: its socket, held open until there is an end. */

/** What a page needs of a login that has begun. */
export type Begun = {
  readonly sessionId: string
  readonly wsToken: string
  readonly expiresAt: string
}

/** What the socket tells. `end` is the last thing it says. */
export type LoginNews =
  | { readonly kind: 'code'; readonly code: string; readonly expiresAt: string }
  | { readonly kind: 'claimed' }
  | { readonly kind: 'trusted' }
  | { readonly kind: 'push_failed' }
  | { readonly kind: 'offline' | 'online' }
  | { readonly kind: 'approved'; readonly jwt?: string; readonly code?: string }
  | { readonly kind: 'end'; readonly reason: string }

type SocketEvent = Readonly<Record<string, string>> & { readonly type: string }

const FIRST_RETRY = 500
const LONGEST_RETRY = 8000
/** No login is open for longer than this, in milliseconds, whatever the socket says. */
const LONGEST_LOGIN = 150_000
const LAST_NEWS: readonly LoginNews['kind'][] = ['approved', 'trusted', 'end']
/** Closed for good, and why. */
const FINAL_CLOSES: Readonly<Record<number, string>> = {
  4001: 'gone',
  4004: 'gone',
  4009: 'elsewhere',
}

/** Follows a login and reports; connects again whenever the line drops while it is open. The answer stops it. */
export function followLogin(
  provider: string,
  { sessionId, wsToken }: Begun,
  report: (news: LoginNews) => void,
): () => void {
  const url = `${provider.replace(/^http/, 'ws')}/ws/session/${sessionId}`
  const giveUpAt = Date.now() + LONGEST_LOGIN
  let over = false
  let retry = FIRST_RETRY
  let socket: WebSocket | undefined
  let timer: ReturnType<typeof setTimeout> | undefined

  const finish = (news: LoginNews) => {
    if (over) return
    over = true
    report(news)
  }
  const connect = () => {
    socket = new WebSocket(url, ['idtoken.v1', wsToken])
    // A login that nobody has scanned yet has nothing else to say.
    socket.addEventListener('open', () => {
      if (!over) report({ kind: 'online' })
    })
    socket.addEventListener('message', ({ data }) => {
      retry = FIRST_RETRY
      const news = read(JSON.parse(data))
      if (news && LAST_NEWS.includes(news.kind)) finish(news)
      else if (news && !over) report(news)
    })
    socket.addEventListener('close', ({ code }) => {
      if (over) return
      const reason = FINAL_CLOSES[code]
      if (reason !== undefined) return finish({ kind: 'end', reason })
      if (Date.now() > giveUpAt) return finish({ kind: 'end', reason: 'expired' })
      report({ kind: 'offline' })
      timer = setTimeout(connect, retry)
      retry = Math.min(retry * 2, LONGEST_RETRY)
    })
  }
  connect()
  return () => {
    over = true
    clearTimeout(timer)
    socket?.close()
  }
}

function read(event: SocketEvent): LoginNews | undefined {
  switch (event.type) {
    case 'otp_ready':
      return { kind: 'code', code: event.autoPassword ?? '', expiresAt: event.expiresAt ?? '' }
    case 'claimed':
    case 'trusted':
    case 'push_failed':
      return { kind: event.type }
    case 'approved': {
      const { jwt, code } = event
      return { kind: 'approved', ...(jwt ? { jwt } : {}), ...(code ? { code } : {}) }
    }
    case 'rejected':
      return { kind: 'end', reason: event.reason ?? 'declined' }
    case 'expired':
      return { kind: 'end', reason: 'expired' }
    default:
      // News of a later version of the protocol.
      return undefined
  }
}
