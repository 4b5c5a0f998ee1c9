import { DurableObject } from 'cloudflare:workers'
import type { Audit } from '../audit/store.ts'
import { equalText, fromBase64url, sha256, toBase64url, utf8 } from '../bytes.ts'
import { deriveKey, hmacSha256, stableVersion } from '../keys/derive.ts'
import type { MasterSecret } from '../keys/master-secret.ts'
import { openBox, sealBox } from '../keys/sealed-box.ts'
import { ok, type Result, refuse } from '../result.ts'
import type { LoginEnd } from './budget.ts'
import { makeCompletion } from './completion.ts'
import { endedEvent, endOf } from './conclusion.ts'
import type { Asked, DoorResult, Doors, Granted, Onward, RejectionReason } from './door.ts'
import { CLOSE, claimEvents, FRAME_LIMIT, type SocketEvent, stateEvents } from './events.ts'
import { browserHashOf, knownPeople, personMark } from './hosted/browser.ts'
import type { PhoneInboxObject } from './inbox.ts'
import { deriveCode } from './otp.ts'
import { judgeProof } from './scan-proof.ts'
import {
  type Addressee,
  type Approval,
  type AttemptSecrets,
  abandon,
  approve,
  type Continued,
  claim,
  countWrongCode,
  type Denial,
  deny,
  endedForGood,
  endReported,
  type Fault,
  type Hosted,
  isOpen,
  isOver,
  isReport,
  judgeApproval,
  judgeContinue,
  judgeRedemption,
  mustAskWho,
  nextAttempt,
  nextLook,
  open,
  openApproved,
  register,
  reject,
  type Session,
  type Signer,
  type Started,
  settle,
  type Via,
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

/** What a phone learns when it opens a login. */
export interface Claimed {
  readonly asked: Asked
  readonly nonce: string
  /** Absent in transfer mode: there the person brings it over. */
  readonly code: string | null
  readonly startedAt: number
  readonly expiresAt: number
}

/** How a phone says that it came by a login, with the proof from the QR or the link. */
export interface ClaimedWay {
  readonly via: Via
  readonly proof?: string | undefined
}

/** By what a browser may know the person who approved. */
export interface Recognition {
  /** Of everybody who has signed in here, see `personMark`. */
  readonly marks: readonly string[]
  /** Whether who sits there has just said that it is he. */
  readonly confirmed: boolean
}

/** What becomes of a completion code. */
export type Completed =
  | {
      readonly act: 'onward'
      readonly onward: Onward
      readonly tokenId: string | null
      readonly asked: Asked
    }
  /** Not by the browser that began, or not with the right code. */
  | { readonly act: 'foreign' }
  | { readonly act: 'completed' }
  | { readonly act: 'unknown' }

/** What a socket is told of an approval; `null`: nothing. */
type Told = Readonly<Record<string, string>> | null

/** A result while it waits. `completion`: what the app's window must bring when a link claimed the login. */
type Waiting = DoorResult & { readonly completion: string | null }

/** The room's version of what is stored, so that two versions of the code that live side by side can tell. */
const SCHEMA = 3
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
  /** Whether this instance saw the login's storage go: a request that was on its way may not begin it anew. */
  #gone = false
  /** What is stored, once it was read or written: nobody else writes here, and a write that fails takes the instance with it. */
  #loaded: Loaded | undefined
  /** The code of the attempt with this salt and for this person, once it was derived. */
  #code: { readonly salt: string; readonly tokenId: string; readonly code: string } | undefined

  /** Begins the login. Called once, on a fresh id. */
  async create(asked: Asked, addressee: Addressee | null): Promise<Started> {
    return this.#begin(asked, addressee, null)
  }

  /** Begins a hosted login with its first attempt, or opens its next one; see `nextAttempt` in session.ts. */
  async attempt(
    asked: Asked,
    addressee: Addressee | null,
    hosted: Hosted,
    { after, hinted }: { readonly after: number; readonly hinted: boolean },
  ): Promise<Result<Started, 'session_resolved' | 'session_not_found' | 'no_more_attempts'>> {
    const loaded = this.#load()
    if (loaded === undefined) {
      if (this.#gone) return refuse('session_resolved')
      return ok(await this.#begin(asked, addressee, hosted, hinted))
    }
    const { session: last } = loaded
    if (last.hosted?.browser !== hosted.browser) return refuse('session_not_found')
    const wanted = { asked, invited: addressee, hinted, after }
    const next = nextAttempt(last, { ...this.#secrets(), ...wanted }, this.house.now())
    if (!next.ok) return next
    if (next.value === last) return ok({ ...(await this.#startedOf(last)), repeated: true })
    this.#save(loaded, next.value)
    for (const socket of this.ctx.getWebSockets()) close(socket, CLOSE.resolved, 'next attempt')
    await this.ctx.storage.setAlarm(nextLook(next.value))
    return ok(await this.#startedOf(next.value))
  }

  /**
   * Gives the browser what was granted to the same service in it before, without asking a phone: one code, and `null` if
   * this login has begun in any way. The caller has made sure that the grant still stands.
   */
  async resume(
    asked: Asked,
    addressee: Addressee,
    hosted: Hosted,
    granted: Granted,
  ): Promise<Onward | null> {
    const fixed = { sessionId: sessionIdOf(this.ctx.id), asked, addressee, hosted }
    const now = this.house.now()
    const secrets = this.#secrets()
    const { result, sealed } = await this.#prepare(open(fixed, secrets, now), granted)
    const grantedScopes = granted.scopes
    const session = openApproved(fixed, secrets, { ...sealed, grantedScopes }, now)
    if (this.#gone || this.#load() !== undefined) return null
    this.#create(session)
    this.ctx.waitUntil(this.#audit(session))
    // Whether the row gets stored isn't known yet: not at the time that would say so.
    await this.ctx.storage.setAlarm(nextLook(session) + 1)
    return result.onward
  }

  /**
   * The browser that began wants to go on; see `judgeContinue` in session.ts. It gets the result once. Whether the grant
   * still stands is asked when its code is redeemed, which is the only thing the code is good for.
   */
  async continue(browser: string, recognition: Recognition): Promise<Continued> {
    const before = this.#load()
    if (before?.session.hosted?.browser !== browser) return { act: 'unknown' }
    const kept = await this.#openResult(before.session)
    const started = await this.#startedOf(before.session)
    const recognised = recognition.confirmed || (await isKnown(before.session, recognition.marks))

    const loaded = this.#load()
    if (loaded === undefined) return { act: 'unknown' }
    const { session } = loaded
    // Something came in between, like the approval: what was opened above is not the session's any more.
    if (session.result !== before.session.result) return this.continue(browser, recognition)
    const now = this.house.now()
    const proceeding = judgeContinue(session, recognised, now)
    switch (proceeding.act) {
      case 'go': {
        const onward = kept?.onward
        if (onward == null) return { act: 'completed' }
        this.#save(loaded, { ...session, continuedAt: now })
        return { act: 'onward', onward, tokenId: session.addressee?.tokenId ?? null }
      }
      case 'confirm':
        return { act: 'confirm', tokenId: session.addressee?.tokenId ?? '' }
      case 'return':
        return { act: 'return' }
      case 'refused':
        return this.#refused(session, proceeding.reason)
      case 'wait':
        return { act: 'wait', started: { ...started, repeated: true } }
      case 'again': {
        const failed = session.rejection === 'wrong_code'
        return { act: 'again', after: session.attempt.number, failed }
      }
      case 'completed':
        return { act: 'completed' }
      case 'over':
        return { act: 'unknown' }
    }
  }

  /**
   * The window that the app opened brings `completion`: the result of a login that a link claimed goes to the browser that
   * began, and to nobody who only sent the link (2-protocol section 4, 5-security 358). `isMe` is `false` when who sits
   * there says that somebody else has approved: then the grant is thrown away.
   */
  async complete(browser: string, completion: string, isMe: boolean): Promise<Completed> {
    const before = this.#load()
    if (before === undefined) return { act: 'unknown' }
    const kept = await this.#openResult(before.session)

    const loaded = this.#load()
    if (loaded === undefined) return { act: 'unknown' }
    const { session } = loaded
    const now = this.house.now()
    const isOwn = session.hosted?.browser === browser
    // It gave the grant up, or its service has fetched it: the browser that began may know that.
    if (isOwn && session.state === 'approved' && session.result === null) {
      return { act: 'completed' }
    }
    const isMeant =
      isOwn &&
      session.result === before.session.result &&
      kept?.completion != null &&
      equalText(kept.completion, completion)
    if (!isMeant) return { act: 'foreign' }
    if (isOver(session, now)) return { act: 'unknown' }
    const { continuedAt, addressee, asked } = session
    if (continuedAt !== null || kept.onward === null || addressee === null) {
      return { act: 'completed' }
    }
    if (!isMe) {
      const abandoned = await this.abandon(browser)
      return abandoned.act === 'onward' ? { ...abandoned, asked } : { act: 'completed' }
    }
    this.#save(loaded, { ...session, continuedAt: now })
    return { act: 'onward', onward: kept.onward, tokenId: addressee.tokenId, asked }
  }

  /** The browser that began gives up; see `abandon` in session.ts. */
  async abandon(browser: string): Promise<Continued> {
    const loaded = this.#load()
    if (loaded?.session.hosted?.browser !== browser) return { act: 'unknown' }
    const abandoned = abandon(loaded.session, this.house.now())
    if (abandoned === undefined) {
      const { state, rejection } = loaded.session
      if (state !== 'rejected') return { act: 'completed' }
      return this.#refused(loaded.session, rejection ?? 'declined')
    }
    this.#save(loaded, abandoned)
    if (abandoned.state === 'rejected') this.#conclude(abandoned, null)
    return this.#refused(abandoned, 'cancelled')
  }

  /** A phone opens the login; see `claim` in session.ts. */
  async claim(signer: Signer, { via, proof }: ClaimedWay): Promise<Result<Claimed, Fault>> {
    const before = this.#load()
    if (before === undefined) return refuse('session_not_found')
    const { attempt: judged, sessionId } = before.session
    // Only for who has signed: a proof of long ago is looked for among many.
    const worth =
      via === 'push' || !signer.signed
        ? null
        : await judgeProof(
            this.house.master,
            { sessionId, attempt: judged.number },
            via,
            proof ?? null,
            this.house.now(),
          )
    const code = await this.#codeFor(before.session, signer.tokenId)

    const loaded = this.#load()
    if (loaded === undefined) return refuse('session_not_found')
    // Another attempt has begun in between: what was judged and derived above is not its own.
    if (loaded.session.attempt.number !== judged.number) return this.claim(signer, { via, proof })
    const claimed = claim(loaded.session, signer, { via, proof: worth }, this.house.now())
    if (!claimed.ok) return claimed
    const session = claimed.value
    const isNamed = loaded.session.addressee?.tokenId === signer.tokenId
    const isFirst = session.state !== loaded.session.state
    if (session !== loaded.session) this.#save(loaded, session)
    if (isFirst) this.#send(claimEvents(session, isNamed ? null : code))
    // Who was named is in his inbox from the start; who scanned gets in there now, so that a revocation finds the login.
    if (session.attempt.invited?.tokenId !== signer.tokenId) await this.#enterInbox(session)
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
  async approve(
    approval: Approval,
    granted: Granted | null,
  ): Promise<Result<{ readonly completion: string | null }, Fault>> {
    const before = this.#load()
    if (before === undefined) return refuse('session_not_found')
    const code = await this.#codeOf(before.session)
    const codeIsRight = code !== null && equalText(code, approval.otp)
    const kept = await this.#openResult(before.session)
    const first = judgeApproval(before.session, approval, codeIsRight, this.house.now())
    const prepared =
      first.act === 'approve' && granted !== null
        ? await this.#prepare(before.session, granted)
        : undefined

    const loaded = this.#load()
    if (loaded === undefined) return refuse('session_not_found')
    // It came by the link meanwhile: what was prepared above has no completion code.
    if (loaded.session.via !== before.session.via) return this.approve(approval, granted)
    const now = this.house.now()
    const judgement = judgeApproval(loaded.session, approval, codeIsRight, now)
    // An identical approval was decided in between: what it got is what this one gets.
    if (judgement.act === 'repeat' && loaded.session.result !== before.session.result) {
      return this.approve(approval, granted)
    }
    switch (judgement.act) {
      case 'repeat':
        return ok({ completion: kept?.completion ?? null })
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
        this.#conclude(approved, prepared.told)
        return ok({ completion: prepared.result.completion })
      }
    }
  }

  /** A phone answers to a registration; see `register` in session.ts. D1 knows already that its person trusts the service. */
  async register(signer: Signer, serviceId: string): Promise<Result<null, Fault>> {
    const loaded = this.#load()
    if (loaded?.session.asked.service.id !== serviceId) return refuse('session_not_found')
    const registered = register(loaded.session, signer, this.house.now())
    if (!registered.ok) return registered
    if (registered.value !== loaded.session) {
      this.#save(loaded, registered.value)
      this.#conclude(registered.value, null)
    }
    return ok(null)
  }

  /** A phone declines; see `deny` in session.ts. Answers only when "not me" has taken effect in the person's inbox. */
  async deny(denial: Denial): Promise<Result<null, Fault>> {
    const loaded = this.#load()
    if (loaded === undefined) return refuse('session_not_found')
    const denied = deny(loaded.session, denial, this.house.now())
    if (denied.ok && denied.value !== loaded.session) {
      this.#save(loaded, denied.value)
      this.#conclude(denied.value, null)
    }
    const report = denied.ok ? denial.reason === 'not_me' : isReport(loaded.session, denial)
    const reported =
      report && !denied.ok
        ? endReported(loaded.session, denial.signer, this.house.now())
        : undefined
    if (reported !== undefined) {
      this.#save(loaded, reported)
      this.#conclude(reported, null)
    }
    if (report) await this.#tellInbox(denial.signer.tokenId, 'not_me')
    return denied.ok || report ? ok(null) : denied
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
    // One conditional write spends the code. When the audit row is known to be stored, nothing is left to do, and the
    // object goes at once; else the alarm sees to both.
    if (this.#audited) {
      this.#end(loaded)
      this.ctx.waitUntil(this.#empty())
    } else {
      this.#save(loaded, { ...loaded.session, codeHash: null, result: null })
    }
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

  /** The id of the service that asks. */
  async askingService(): Promise<string | null> {
    return this.#load()?.session.asked.service.id ?? null
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
    if (!(await this.#mayConnect(before.session, request.headers))) {
      return closedSocket(request, CLOSE.badToken, 'not the page that began')
    }
    // A result that waits is asked about again like a code that is redeemed: the person or the service may be gone.
    if (mayWait(before.session) && !(await this.house.stillStands(before.session))) {
      return closedSocket(request, CLOSE.noSuchSession, 'no such session')
    }
    const marks = knownPeople(request.headers.get('Cookie'))
    let code = await this.#codeOf(before.session)
    let kept = await this.#openResult(before.session)
    let told = await toldOf(before.session, kept, marks)

    let loaded = this.#load()
    // What came in between has told the sockets there were, and this one was not yet among them.
    while (loaded !== undefined && loaded.version !== before.version) {
      before = loaded
      code = await this.#codeOf(before.session)
      kept = await this.#openResult(before.session)
      told = await toldOf(before.session, kept, marks)
      loaded = this.#load()
    }
    if (loaded === undefined) return closedSocket(request, CLOSE.noSuchSession, 'no such session')
    const session = settle(loaded.session, this.house.now())
    // A result that the back end has fetched is gone, and the login with it.
    const redeemed = mayWait(session) && kept === undefined
    if (redeemed || isOver(session, this.house.now())) {
      return closedSocket(request, CLOSE.noSuchSession, 'no such session')
    }
    for (const socket of this.ctx.getWebSockets()) close(socket, CLOSE.replaced, 'replaced')
    const { 0: client, 1: server } = new WebSocketPair()
    this.ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair('ping', 'pong'))
    this.ctx.acceptWebSocket(server)
    server.serializeAttachment(marks)
    for (const event of stateEvents(session, code, told)) server.send(JSON.stringify(event))
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
  override async alarm(rung?: AlarmInvocationInfo): Promise<void> {
    const loaded = this.#load()
    if (loaded === undefined) return
    const now = this.house.now()
    const session = settle(loaded.session, now)
    if (session !== loaded.session) {
      this.#save(loaded, session)
      this.#conclude(session, null)
    }
    // Only who knew the row to be stored has put the sweep at just this time, see `#sweepLater`.
    if (endedForGood(session) && rung?.scheduledTime === nextLook(session)) this.#audited = true
    if (isOver(session, now)) await this.#forget(session, now)
    else if (session === loaded.session) await this.#sweepLater(session)
  }

  #load(): Loaded | undefined {
    if (this.#loaded !== undefined) return this.#loaded
    const { sql } = this.ctx.storage
    // An object that was never created, or is empty again, must not grow a table by being asked (5-security 355).
    const exists = sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'login'").toArray().length > 0
    if (!exists) return undefined
    const row = sql
      .exec<{ version: number; session: string }>('SELECT version, session FROM login')
      .toArray()[0]
    return row === undefined ? undefined : this.#remember(row.version, row.session)
  }

  /** What is stored as version `version`; read from its text, so that it is the same before and after an eviction. */
  #remember(version: number, stored: string): Loaded {
    const read = JSON.parse(stored)
    // What schemas 1 and 2 didn't have yet: their logins were all drawn by their services, or all by number.
    const session: Session = {
      ...{ hosted: null, continuedAt: null, earlier: [], via: null },
      ...read,
      asked: { purpose: 'login', trustRequired: false, vds: null, ...read.asked },
      attempt: { invited: read.addressee, hinted: false, ...read.attempt },
    }
    this.#loaded = { version, session }
    return this.#loaded
  }

  async #begin(
    asked: Asked,
    addressee: Addressee | null,
    hosted: Hosted | null,
    hinted = false,
  ): Promise<Started> {
    const fixed = { sessionId: sessionIdOf(this.ctx.id), asked, addressee, hosted }
    const session = open(fixed, this.#secrets(), this.house.now(), hinted)
    this.#create(session)
    await this.ctx.storage.setAlarm(nextLook(session))
    return this.#startedOf(session)
  }

  #secrets(): AttemptSecrets {
    const { master, random } = this.house
    return {
      nonce: toBase64url(random(16)),
      salt: toBase64url(random(16)),
      secretVersion: master.current,
    }
  }

  async #startedOf(session: Session): Promise<Started> {
    const { sessionId, attempt } = session
    const { number, deadline: expiresAt, nonce } = attempt
    const code = await this.#codeOf(session)
    return { sessionId, attempt: number, expiresAt, nonce, code, repeated: false }
  }

  #refused({ asked }: Session, reason: RejectionReason): Continued {
    const onward = this.house.doors[asked.door].refuse(asked, reason)
    return onward === null ? { act: 'completed' } : { act: 'onward', onward, tokenId: null }
  }

  #create(session: Session): void {
    const { sql } = this.ctx.storage
    sql.exec(
      'CREATE TABLE login (id INTEGER PRIMARY KEY CHECK (id = 1), schema INTEGER NOT NULL, version INTEGER NOT NULL, session TEXT NOT NULL) STRICT',
    )
    const stored = JSON.stringify(session)
    sql.exec('INSERT INTO login VALUES (1, ?, 1, ?)', SCHEMA, stored)
    this.#remember(1, stored)
  }

  /**
   * The one conditional write. Nothing can come between load and save, since nothing awaits; the condition makes a
   * future mistake about that loud.
   */
  #save({ version }: Loaded, session: Session): void {
    const stored = JSON.stringify(session)
    const written = this.ctx.storage.sql.exec(
      'UPDATE login SET version = version + 1, session = ? WHERE id = 1 AND version = ?',
      stored,
      version,
    ).rowsWritten
    if (written !== 1) throw new Error('the login has moved on')
    this.#remember(version + 1, stored)
  }

  /** The same for the last write there is. */
  #end({ version }: Loaded): void {
    const { sql } = this.ctx.storage
    const { rowsWritten } = sql.exec('DELETE FROM login WHERE id = 1 AND version = ?', version)
    if (rowsWritten !== 1) throw new Error('the login has moved on')
    this.#loaded = undefined
    this.#gone = true
  }

  /** Takes the alarm along, as it does since the compatibility date 2026-02-24. */
  async #empty(): Promise<void> {
    this.#gone = true
    this.#loaded = undefined
    await this.ctx.storage.deleteAll()
  }

  /** The code for whom the login is addressed to, `null` while that is nobody. */
  #codeOf(session: Session): Promise<string | null> {
    const { addressee } = session
    return addressee === null ? Promise.resolve(null) : this.#codeFor(session, addressee.tokenId)
  }

  async #codeFor({ attempt, asked, sessionId }: Session, tokenId: string): Promise<string> {
    const known = this.#code
    if (known?.salt === attempt.salt && known.tokenId === tokenId) return known.code
    const salt = fromBase64url(attempt.salt)
    if (salt === undefined) throw new Error('the salt is not base64url')
    const key = await deriveKey(this.house.master, 'otp', attempt.secretVersion)
    const serviceId = asked.service.id
    const code = await deriveCode(key, { salt, tokenId, serviceId, sessionId })
    this.#code = { salt: attempt.salt, tokenId, code }
    return code
  }

  async #prepare(
    session: Session,
    granted: Granted,
  ): Promise<{
    readonly result: Waiting
    readonly told: Told
    readonly sealed: Pick<Session, 'result' | 'codeHash' | 'enrollmentId'>
  }> {
    const { doors, master, random } = this.house
    const made = await doors[session.asked.door].finish(session.asked, granted, session.sessionId)
    const { hosted, via, sessionId } = session
    const { service, origin } = session.asked
    const { tokenId } = granted
    const completion =
      hosted === null || via !== 'link'
        ? null
        : await makeCompletion(
            master,
            sessionId,
            { browser: hosted.browser, tokenId, service: service.name, origin },
            random(28),
          )
    const result: Waiting = { ...made, completion }
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
    const marks = this.ctx.getWebSockets().flatMap((socket) => socket.deserializeAttachment() ?? [])
    const told = await toldOf(session, result, marks)
    return { result, told, sealed: { result: sealed, codeHash, enrollmentId } }
  }

  async #openResult(session: Session): Promise<Waiting | undefined> {
    if (session.result === null) return undefined
    const opened = await openBox(this.house.master, 'session', session.result, session.sessionId)
    // What a version of before kept has no completion code.
    return opened && { completion: null, ...JSON.parse(new TextDecoder().decode(opened)) }
  }

  async #mayConnect({ asked, hosted }: Session, headers: Headers): Promise<boolean> {
    const origin = headers.get('Origin')
    if (hosted !== null) {
      const own = origin === new URL(this.house.issuer).origin
      return own && (await browserHashOf(headers.get('Cookie'))) === hosted.browser
    }
    // A script can leave Origin out; only a service that has authenticated may hand its token to such a client.
    if (origin === null) return asked.begunBy === 'back-end'
    return asked.socketOrigins.includes(origin) || origin === new URL(this.house.issuer).origin
  }

  /** Everything that follows from a final transition: the browsers, the person's inbox, the audit. */
  #conclude(session: Session, told: Told): void {
    this.#send(stateEvents(session, null, told))
    for (const socket of this.ctx.getWebSockets()) close(socket, CLOSE.resolved, 'resolved')
    const how = endOf(session)
    // "Not me" is awaited by its caller; an expiry needs no word, the inbox knows the deadline.
    for (const tokenId of how === undefined ? [] : peopleOf(session)) {
      // What another phone decided is no word of who was named: it neither gives his pushes back nor lets the next one ring.
      const said = tokenId === session.addressee?.tokenId ? how : 'cancelled'
      if (said !== undefined && said !== 'not_me') {
        this.ctx.waitUntil(this.#tellInbox(tokenId, said))
      }
    }
    // The next look replaces the one at the deadline, which would find nothing to do: every alarm is a request. A result
    // that waits for its back end takes the alarm along when it is fetched, long before the deadline as a rule.
    if (session.codeHash === null) this.ctx.waitUntil(this.#sweepLater(session))
    else this.ctx.waitUntil(this.#audit(session))
  }

  /**
   * Puts the next look into the diary. For a login that has ended, the audit row comes first: a look at `nextLook` and not
   * a millisecond later says that it is stored, to an instance that doesn't remember any more. Until then the look at the
   * deadline stands.
   */
  async #sweepLater(session: Session): Promise<void> {
    const stored = !endedForGood(session) || (await this.#audit(session))
    // Swept meanwhile: nothing is left to look after.
    if (this.#gone) return
    await this.ctx.storage.setAlarm(stored ? nextLook(session) : this.house.now() + RETRY_MS + 1)
  }

  async #enterInbox({ asked, addressee, attempt, sessionId }: Session): Promise<void> {
    if (addressee === null) return
    const { begunBy } = asked
    const inbox = await this.house.inboxOf(addressee.tokenId)
    await inbox.start({ sessionId, deadline: attempt.deadline, begunBy, pushable: false })
  }

  async #tellInbox(tokenId: string, how: LoginEnd): Promise<void> {
    const inbox = await this.house.inboxOf(tokenId)
    await inbox.end(sessionIdOf(this.ctx.id), how)
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
    // Whoever ended the login wrote its line at once, though this instance may not be the same any more.
    if (endedForGood(session)) this.#logged = true
    const stored = await this.#audit(session)
    const begun = session.hosted?.requestedAt ?? session.startedAt
    if (!stored && now < begun + LONGEST_LIFE_MS) {
      await this.ctx.storage.setAlarm(now + RETRY_MS)
      return
    }
    await this.#empty()
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

/** Whether a result of `session` may be waiting: a registration has none. */
function mayWait({ state, asked }: Session): boolean {
  return state === 'approved' && asked.purpose === 'login'
}

/** Whose inboxes have the attempt in front of us: who was named, and who claimed it. */
function peopleOf({ attempt, addressee }: Session): readonly string[] {
  const people = [attempt.invited, addressee].filter((person) => person !== null)
  return [...new Set(people.map(({ tokenId }) => tokenId))]
}

/**
 * What the page of a browser that knows the people of `marks` is told of the approval whose result is `kept`. Whom it
 * doesn't know it is to ask about, before it goes on (5-security 360). After a link no socket learns anything: the browser
 * that began may not be the person's (358).
 */
async function toldOf(
  session: Session,
  kept: Waiting | undefined,
  marks: readonly string[],
): Promise<Told> {
  if (kept === undefined || kept.completion !== null) return null
  if (!mustAskWho(session) || (await isKnown(session, marks))) return kept.delivery
  return { ...kept.delivery, confirm: session.addressee?.tokenId.slice(-4) ?? '' }
}

async function isKnown({ hosted, addressee }: Session, marks: readonly string[]): Promise<boolean> {
  if (hosted === null || addressee === null) return false
  return marks.includes(await personMark(hosted.browser, addressee.tokenId))
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
