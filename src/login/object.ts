import { DurableObject } from 'cloudflare:workers'
import type { Audit } from '../audit/store.ts'
import { equalText, fromBase64url, sha256, toBase64url, utf8 } from '../bytes.ts'
import { deriveKey, hmacSha256, stableVersion } from '../keys/derive.ts'
import type { MasterSecret } from '../keys/master-secret.ts'
import { openBox, sealBox } from '../keys/sealed-box.ts'
import { ok, type Result, refuse } from '../result.ts'
import type { LoginEnd } from './budget.ts'
import { endedEvent, endOf } from './conclusion.ts'
import type { Asked, DoorResult, Doors, Granted } from './door.ts'
import { CLOSE, FRAME_LIMIT, type SocketEvent, stateEvents } from './events.ts'
import type { PhoneInboxObject } from './inbox.ts'
import { deriveCode } from './otp.ts'
import {
  type Addressee,
  type Approval,
  approve,
  claim,
  countWrongCode,
  type Denial,
  deny,
  type Fault,
  isOpen,
  isOver,
  judgeApproval,
  judgeRedemption,
  nextLook,
  open,
  type RejectionReason,
  reject,
  type Session,
  type Signer,
  settle,
} from './session.ts'
import { close, closedSocket } from './socket.ts'

/** What the object needs from the composition. Times are Unix milliseconds. */
export interface LoginHouse {
  readonly issuer: string
  readonly master: MasterSecret
  readonly audit: Audit
  readonly doors: Doors
  readonly now: () => number
  readonly random: (length: number) => Uint8Array<ArrayBuffer>
  readonly inboxOf: (tokenId: string) => Promise<DurableObjectStub<PhoneInboxObject>>
  /** Whether the enrollment and the service of an approved login are still good, by D1's primary. */
  readonly stillStands: (approved: Session) => Promise<boolean>
}

/** What a door's caller is told of a login that has just begun. */
export interface Started {
  readonly sessionId: string
  readonly expiresAt: number
  readonly nonce: string
  /** The code; whoever passes it on must be entitled to it. */
  readonly code: string
}

/** What a phone learns when it opens a login. */
export interface Claimed {
  readonly asked: Asked
  readonly nonce: string
  /** Absent in transfer mode: there the person brings it over. */
  readonly code: string | null
  readonly startedAt: number
  readonly expiresAt: number
}

/** The room's version of what is stored, so that two versions of the code that live side by side can tell. */
const SCHEMA = 1
/** When storage is emptied at the latest, whatever happens (5-security 309). */
const LONGEST_LIFE_MS = 14 * 60_000
const RETRY_MS = 60_000

interface Loaded {
  readonly session: Session
  readonly version: number
}

/**
 * The `LoginSession` Durable Object: one login. It alone decides what becomes of it. Every method loads, awaits whatever
 * it needs, loads again, and then, with no await in between, decides and makes the one conditional write.
 */
export abstract class LoginSessionObject extends DurableObject<Env> {
  /** Handed in by the composition. */
  protected abstract readonly house: LoginHouse
  /** Whether this instance has seen the audit row stored; after an eviction it is simply written again. */
  #audited = false
  /** Whether this instance has written the line of the log, which a second try at the row must not repeat. */
  #logged = false

  /** Begins the login. Called once, on a fresh id. */
  async create(asked: Asked, addressee: Addressee): Promise<Started> {
    const { master, random, now } = this.house
    const session = open(
      {
        sessionId: sessionIdOf(this.ctx.id),
        asked,
        addressee,
        nonce: toBase64url(random(16)),
        salt: toBase64url(random(16)),
        secretVersion: master.current,
      },
      now(),
    )
    const code = await this.#codeOf(session)
    const { sql } = this.ctx.storage
    sql.exec(
      'CREATE TABLE login (id INTEGER PRIMARY KEY CHECK (id = 1), schema INTEGER NOT NULL, version INTEGER NOT NULL, session TEXT NOT NULL) STRICT',
    )
    sql.exec('INSERT INTO login VALUES (1, ?, 1, ?)', SCHEMA, JSON.stringify(session))
    await this.ctx.storage.setAlarm(nextLook(session))
    const { sessionId, attempt } = session
    return { sessionId, expiresAt: attempt.deadline, nonce: attempt.nonce, code }
  }

  /** A phone opens the login; see `claim` in session.ts. */
  async claim(signer: Signer): Promise<Result<Claimed, Fault>> {
    const before = this.#load()
    if (before === undefined) return refuse('session_not_found')
    const code = await this.#codeOf(before.session)

    const loaded = this.#load()
    if (loaded === undefined) return refuse('session_not_found')
    const claimed = claim(loaded.session, signer, this.house.now())
    if (!claimed.ok) return claimed
    const session = claimed.value
    if (session !== loaded.session) {
      this.#save(loaded, session)
      this.#send([{ type: 'claimed' }])
    }
    const { asked, attempt, startedAt } = session
    return ok({
      asked,
      nonce: attempt.nonce,
      code: asked.confirmation === 'compare' ? code : null,
      startedAt,
      expiresAt: attempt.deadline,
    })
  }

  /**
   * A phone approves; see `judgeApproval` in session.ts. `granted` is what the seal gives for the granted scopes, `null`
   * when the seal gives nothing.
   */
  async approve(approval: Approval, granted: Granted | null): Promise<Result<null, Fault>> {
    const before = this.#load()
    if (before === undefined) return refuse('session_not_found')
    const code = await this.#codeOf(before.session)
    const codeIsRight = equalText(code, approval.otp)
    const first = judgeApproval(before.session, approval, codeIsRight, this.house.now())
    const prepared =
      first.act === 'approve' && granted !== null
        ? await this.#prepare(before.session, granted)
        : undefined

    const loaded = this.#load()
    if (loaded === undefined) return refuse('session_not_found')
    const now = this.house.now()
    const judgement = judgeApproval(loaded.session, approval, codeIsRight, now)
    switch (judgement.act) {
      case 'repeat':
        return ok(null)
      case 'refuse':
        return refuse(judgement.fault)
      case 'count_wrong_code': {
        const counted = countWrongCode(loaded.session, now)
        this.#save(loaded, counted)
        if (counted.state === 'rejected') this.#conclude(counted, null)
        return refuse('invalid_otp')
      }
      case 'reject': {
        const rejected = reject(loaded.session, judgement.reason, null, now)
        this.#save(loaded, rejected)
        this.#conclude(rejected, null)
        return refuse(judgement.fault)
      }
      case 'approve': {
        if (prepared === undefined) return refuse('invalid_vds')
        const approved = approve(loaded.session, approval, prepared.sealed, now)
        this.#save(loaded, approved)
        this.#conclude(approved, prepared.result.delivery)
        return ok(null)
      }
    }
  }

  /** A phone declines; see `deny` in session.ts. Answers only when "not me" has taken effect in the person's inbox. */
  async deny(denial: Denial): Promise<Result<null, Fault>> {
    const loaded = this.#load()
    if (loaded === undefined) return refuse('session_not_found')
    const denied = deny(loaded.session, denial, this.house.now())
    if (!denied.ok) return denied
    if (denied.value !== loaded.session) {
      this.#save(loaded, denied.value)
      this.#conclude(denied.value, null)
    }
    if (denial.reason === 'not_me') await this.#tellInbox(denied.value, 'not_me')
    return ok(null)
  }

  /** Ends an open login from outside: its person or service was withdrawn. */
  async cancel(reason: RejectionReason): Promise<void> {
    const loaded = this.#load()
    const now = this.house.now()
    if (loaded === undefined || !isOpen(loaded.session, now)) return
    const rejected = reject(loaded.session, reason, null, now)
    this.#save(loaded, rejected)
    this.#conclude(rejected, null)
  }

  /** Gives the result for `code` to the back end of `serviceId`, once. The code and the result are gone with it. */
  async redeem(
    serviceId: string,
    code: string,
  ): Promise<Result<Readonly<Record<string, string>>, Fault>> {
    const asked = { serviceId, codeHash: toBase64url(await sha256(code)) }
    const before = this.#load()
    if (before === undefined) return refuse('session_not_found')
    const kept = await this.#openResult(before.session)

    const loaded = this.#load()
    if (loaded === undefined) return refuse('session_not_found')
    const redeemed = judgeRedemption(loaded.session, asked, this.house.now())
    if (!redeemed.ok) return redeemed
    const answer = kept?.redeemable?.answer
    if (answer === undefined) return refuse('session_not_found')
    // One conditional write spends the code; the rest of the object goes when the audit row is known to be stored.
    this.#save(loaded, { ...loaded.session, codeHash: null, result: null })
    return ok(answer)
  }

  /** FCM could not reach the phone, and whoever began may know. */
  async pushFailed(): Promise<void> {
    const loaded = this.#load()
    if (loaded === undefined || !isOpen(loaded.session, this.house.now())) return
    if (loaded.session.pushFailed) return
    this.#save(loaded, { ...loaded.session, pushFailed: true })
    this.#send([{ type: 'push_failed' }])
  }

  /** Whether the phone may still answer. */
  async isOpen(): Promise<boolean> {
    const loaded = this.#load()
    return loaded !== undefined && isOpen(loaded.session, this.house.now())
  }

  /** The socket of the browser that began. The Worker has checked the token; the Origin is checked here. */
  override async fetch(request: Request): Promise<Response> {
    let before = this.#load()
    if (before === undefined) return closedSocket(request, CLOSE.noSuchSession, 'no such session')
    if (!this.#mayConnect(before.session, request.headers.get('Origin'))) {
      return closedSocket(request, CLOSE.badToken, 'origin not registered')
    }
    // A result that waits is asked about again like a code that is redeemed: the person or the service may be gone.
    if (before.session.state === 'approved' && !(await this.house.stillStands(before.session))) {
      return closedSocket(request, CLOSE.noSuchSession, 'no such session')
    }
    const code = await this.#codeOf(before.session)
    let kept = await this.#openResult(before.session)

    let loaded = this.#load()
    // An approval that came in between has told the sockets there were, and this one was not yet among them.
    while (loaded !== undefined && loaded.session.result !== before.session.result) {
      before = loaded
      kept = await this.#openResult(before.session)
      loaded = this.#load()
    }
    if (loaded === undefined) return closedSocket(request, CLOSE.noSuchSession, 'no such session')
    const session = settle(loaded.session, this.house.now())
    const delivery = kept?.delivery ?? null
    // A result that the back end has fetched is gone, and the login with it.
    const redeemed = session.state === 'approved' && delivery === null
    if (redeemed || isOver(session, this.house.now())) {
      return closedSocket(request, CLOSE.noSuchSession, 'no such session')
    }
    for (const socket of this.ctx.getWebSockets()) close(socket, CLOSE.replaced, 'replaced')
    const { 0: client, 1: server } = new WebSocketPair()
    this.ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair('ping', 'pong'))
    this.ctx.acceptWebSocket(server)
    for (const event of stateEvents(session, code, delivery)) server.send(JSON.stringify(event))
    if (session.endedAt !== null) close(server, CLOSE.resolved, 'resolved')
    return new Response(null, {
      status: 101,
      webSocket: client,
      headers: { 'Sec-WebSocket-Protocol': 'idtoken.v1' },
    })
  }

  /** A browser has nothing to say but `ping`, which never wakes the object (5-security 203 to 206). */
  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    if (typeof message !== 'string') close(socket, CLOSE.unsupportedData, 'text only')
    else if (utf8(message).length > FRAME_LIMIT) close(socket, CLOSE.tooBig, 'frame too big')
    else close(socket, CLOSE.policyViolation, 'ping only')
  }

  override async webSocketClose(socket: WebSocket, code: number): Promise<void> {
    // 1005, 1006 and 1015 are never sent on the wire (RFC 6455 section 7.4.1); sending one throws.
    close(socket, code === 1005 || code === 1006 || code === 1015 ? CLOSE.resolved : code, '')
  }

  /** The broom: it settles what has expired, and empties the object when its outcome has been on offer long enough. */
  override async alarm(): Promise<void> {
    const loaded = this.#load()
    if (loaded === undefined) return
    const now = this.house.now()
    const session = settle(loaded.session, now)
    if (session !== loaded.session) {
      this.#save(loaded, session)
      this.#conclude(session, null)
    }
    if (isOver(session, now)) await this.#forget(session, now)
    else if (session === loaded.session) await this.ctx.storage.setAlarm(nextLook(session))
  }

  #load(): Loaded | undefined {
    const { sql } = this.ctx.storage
    // An object that was never created, or is empty again, must not grow a table by being asked (5-security 355).
    const exists = sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'login'").toArray().length > 0
    if (!exists) return undefined
    const row = sql
      .exec<{ version: number; session: string }>('SELECT version, session FROM login')
      .toArray()[0]
    return row === undefined
      ? undefined
      : { version: row.version, session: JSON.parse(row.session) }
  }

  /**
   * The one conditional write. Nothing can come between load and save, since nothing awaits; the condition makes a
   * future mistake about that loud.
   */
  #save({ version }: Loaded, session: Session): void {
    const written = this.ctx.storage.sql.exec(
      'UPDATE login SET version = version + 1, session = ? WHERE id = 1 AND version = ?',
      JSON.stringify(session),
      version,
    ).rowsWritten
    if (written !== 1) throw new Error('the login has moved on')
  }

  async #codeOf(session: Session): Promise<string> {
    const { attempt, addressee, asked, sessionId } = session
    const salt = fromBase64url(attempt.salt)
    if (salt === undefined) throw new Error('the salt is not base64url')
    return deriveCode(await deriveKey(this.house.master, 'otp', attempt.secretVersion), {
      salt,
      tokenId: addressee.tokenId,
      serviceId: asked.service.id,
      sessionId,
    })
  }

  async #prepare(
    session: Session,
    granted: Granted,
  ): Promise<{
    readonly result: DoorResult
    readonly sealed: Pick<Session, 'result' | 'codeHash' | 'enrollmentId'>
  }> {
    const { doors, master, random } = this.house
    const result = await doors[session.asked.door](session.asked, granted, session.sessionId)
    const sealed = await sealBox(
      master,
      'session',
      JSON.stringify(result),
      session.sessionId,
      random(12),
    )
    const code = result.redeemable?.code
    const codeHash = code === undefined ? null : toBase64url(await sha256(code))
    const { enrollmentId } = granted
    return { result, sealed: { result: sealed, codeHash, enrollmentId } }
  }

  async #openResult(session: Session): Promise<DoorResult | undefined> {
    if (session.result === null) return undefined
    const opened = await openBox(this.house.master, 'session', session.result, session.sessionId)
    return opened && JSON.parse(new TextDecoder().decode(opened))
  }

  #mayConnect({ asked }: Session, origin: string | null): boolean {
    // A script can leave Origin out; only a service that has authenticated may hand its token to such a client.
    if (origin === null) return asked.begunBy === 'back-end'
    return asked.socketOrigins.includes(origin) || origin === new URL(this.house.issuer).origin
  }

  /** Everything that follows from a final transition: the browsers, the person's inbox, the audit. */
  #conclude(session: Session, delivery: Readonly<Record<string, string>> | null): void {
    this.#send(stateEvents(session, '', delivery))
    for (const socket of this.ctx.getWebSockets()) close(socket, CLOSE.resolved, 'resolved')
    const how = endOf(session)
    // "Not me" is awaited by its caller; an expiry needs no word, the inbox knows the deadline.
    if (how !== undefined && how !== 'not_me') this.ctx.waitUntil(this.#tellInbox(session, how))
    this.ctx.waitUntil(this.#audit(session))
    // The next look replaces the one at the deadline, which would find nothing to do: every alarm is a request.
    this.ctx.waitUntil(this.ctx.storage.setAlarm(nextLook(session)))
  }

  async #tellInbox({ addressee, sessionId }: Session, how: LoginEnd): Promise<void> {
    const inbox = await this.house.inboxOf(addressee.tokenId)
    await inbox.end(sessionId, how)
  }

  /** Writes the audit row, at least once; the row itself is insert-or-ignore. `false` when D1 would not take it. */
  async #audit(session: Session): Promise<boolean> {
    if (this.#audited) return true
    const line = !this.#logged
    this.#logged = true
    try {
      await this.house.audit.record(await endedEvent(session), { line })
      this.#audited = true
      return true
    } catch {
      return false
    }
  }

  async #forget(session: Session, now: number): Promise<void> {
    const stored = await this.#audit(session)
    if (!stored && now < session.startedAt + LONGEST_LIFE_MS) {
      await this.ctx.storage.setAlarm(now + RETRY_MS)
      return
    }
    await this.ctx.storage.deleteAlarm()
    await this.ctx.storage.deleteAll()
  }

  #send(events: readonly SocketEvent[]): void {
    for (const socket of this.ctx.getWebSockets()) {
      for (const event of events) {
        try {
          socket.send(JSON.stringify(event))
        } catch {
          // The socket is closing; its browser will connect again and get the state.
        }
      }
    }
  }
}

/** The public name of the object `id`. */
export function sessionIdOf(id: DurableObjectId): string {
  return `sess_${id.toString()}`
}

/**
 * The object of `sessionId`, or `undefined` for an id that was never issued: ids carry a MAC of the platform, so a forged
 * one is known without waking anything (5-security 355).
 */
export function sessionStub<T extends LoginSessionObject>(
  namespace: DurableObjectNamespace<T>,
  sessionId: string,
): DurableObjectStub<T> | undefined {
  const hex = /^sess_([0-9a-f]{64})$/.exec(sessionId)?.[1]
  if (hex === undefined) return undefined
  try {
    return namespace.get(namespace.idFromString(hex))
  } catch {
    return undefined
  }
}

/** The name of the inbox of `tokenId`: a keyed hash, so that names of objects tell nobody who is enrolled. */
export async function inboxName(master: MasterSecret, tokenId: string): Promise<string> {
  const key = await deriveKey(master, 'inbox', stableVersion(master))
  return toBase64url(await hmacSha256(key, tokenId))
}
