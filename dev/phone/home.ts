/** The phone of an enrolled person: its home screen, what rings it, what it scans, and in which order that is shown. */
import { confirmWipe, identityCard, pastList } from './cards.ts'
import { type Device, listen, refresh, wipeDevice } from './device.ts'
import { announce, h, show } from './dom.ts'
import { readText, type Scanned, type TextFault, type Way } from './links.ts'
import { answerLogin, type Place } from './login.ts'
import { tellFault } from './prompt.ts'
import { scanCode } from './scan.ts'
import { serviceList } from './services.ts'
import { meetService, reviewTrust } from './trust.ts'
import { sentenceOfFault } from './words.ts'

type Waiting = { readonly sessionId: string; readonly expiresAt: string }

/** The phone of an enrolled person. One login at a time has the screen. */
export class Home {
  readonly #device: Device
  readonly #stopListening: () => void
  readonly #onWiped: () => Promise<void>
  #listening = false
  #busy = false
  #note = ''
  /** Attempts that were shown: a new code for the same login is another one. */
  readonly #seen = new Set<string>()
  /** Logins that nobody has looked at yet, the newest last. */
  #waiting: readonly Waiting[] = []
  /** What the person has asked for and nobody has begun yet; each has the screen to itself. */
  #wishes: readonly (() => Promise<void>)[] = []
  /** Ends the screen that scans: something else wants the phone. */
  #leaveScan = new AbortController()

  /** `onWiped` takes over when the person has had everything forgotten. */
  constructor(device: Device, onWiped: () => Promise<void>) {
    this.#device = device
    this.#onWiped = onWiped
    const onVisible = () => void this.#showAgain()
    document.addEventListener('visibilitychange', onVisible)
    const stop = listen(
      device,
      (data) => void this.#onPush(data),
      (listening) => {
        this.#listening = listening
        this.#drawLine()
      },
    )
    this.#stopListening = () => {
      document.removeEventListener('visibilitychange', onVisible)
      stop()
    }
  }

  /** Shows the home screen, and whatever waits since the phone was last looked at. */
  open(): void {
    this.#draw()
    void this.#work()
  }

  /** Another tab may have been this phone in the meantime. */
  async #showAgain(): Promise<void> {
    if (document.hidden) return
    await refresh(this.#device)
    this.#draw()
  }

  /** Follows the text that the phone was opened with. */
  follow(text: string): void {
    this.#leaveScan.abort()
    this.#wish(() => this.#follow(this.#read(text, true)))
  }

  #wish(work: () => Promise<void>): void {
    this.#wishes = [...this.#wishes, work]
    void this.#work()
  }

  #read(text: string, opened = false): Scanned | TextFault {
    return readText(text, [`${this.#device.issuer}/l#`, `${location.origin}/#`], opened)
  }

  async #onPush(data: Readonly<Record<string, string>>): Promise<void> {
    const opened = await this.#device.phone.openPush(data)
    if (opened.kind === 'ignored') return
    if (opened.kind === 'prompt') {
      const { sessionId, exp } = opened.prompt
      this.#await([{ sessionId, expiresAt: new Date(Number(exp) * 1000).toISOString() }])
    }
    this.#leaveScan.abort()
    await this.#work()
  }

  /** A push may come twice, and the list names it again; a login is shown once. */
  #await(logins: readonly Waiting[]): void {
    const fresh = logins.filter(
      (login) => !this.#seen.has(attemptOf(login)) && !this.#isPast(login.sessionId),
    )
    const known = this.#waiting.filter((one) =>
      fresh.every(({ sessionId }) => sessionId !== one.sessionId),
    )
    this.#waiting = [...known, ...fresh].sort((a, b) => a.expiresAt.localeCompare(b.expiresAt))
  }

  /** Does what was asked for, then shows what waits, the newest first, until nothing does. */
  async #work(): Promise<void> {
    if (this.#busy) return
    this.#busy = true
    let number = 0
    let shown = false
    try {
      for (;;) {
        if (this.#wishes.length === 0) await this.#look()
        const [wish, ...later] = this.#wishes
        const login = this.#waiting.at(-1)
        if (wish === undefined && login === undefined) break
        shown = true
        this.#note = ''
        if (wish !== undefined) {
          this.#wishes = later
          await wish()
        } else if (login !== undefined) {
          this.#waiting = this.#waiting.slice(0, -1)
          this.#seen.add(attemptOf(login))
          number += 1
          const place = { number, total: number + this.#waiting.length }
          await this.#answer(login.sessionId, { via: 'push' }, place)
        }
      }
    } finally {
      this.#busy = false
      if (shown) this.#draw()
    }
  }

  async #scan(): Promise<void> {
    this.#leaveScan = new AbortController()
    const judge = (text: string) => {
      const read = this.#read(text)
      return typeof read === 'string' ? { complaint: sentenceOfFault(read) } : { taken: read }
    }
    const scanned = await scanCode(judge, this.#leaveScan.signal)
    if (scanned !== undefined) await this.#follow(scanned)
  }

  async #follow(scanned: Scanned | TextFault): Promise<void> {
    if (typeof scanned === 'string') return tellFault(scanned)
    const { sessionId } = scanned
    if (scanned.kind === 'service') return meetService(this.#device, scanned.vds, sessionId)
    return this.#answer(scanned.sessionId, scanned.way, { number: 1, total: 1 })
  }

  #answer(sessionId: string, way: Way, place: Place): Promise<void> {
    // From its claim on the list of open logins names it as well.
    const opened = (login: Waiting) => void this.#seen.add(attemptOf(login))
    return answerLogin(this.#device, { sessionId, way, place, opened })
  }

  /** Learns which logins are open: of one person only one is pushed at a time, and some are over before they were looked at. */
  async #look(): Promise<void> {
    const before = new Set(this.#waiting)
    const pending = await this.#device.phone.pending()
    if (!pending.ok) return
    // What was pushed meanwhile may be younger than the answer.
    this.#waiting = this.#waiting.filter((login) => !before.has(login))
    this.#await(pending.body)
  }

  /** The same by hand: says what it found, and opens again what was opened in vain. */
  async #check(): Promise<void> {
    const pending = await this.#device.phone.pending()
    if (!pending.ok) {
      return this.#tell(sentenceOfFault(pending.code))
    }
    const fresh = pending.body.filter(({ sessionId }) => !this.#isPast(sessionId))
    if (fresh.length === 0) return this.#tell('No login is waiting.')
    for (const login of fresh) this.#seen.delete(attemptOf(login))
    await this.#work()
  }

  /** Whether the person has decided; a login whose time ran out may come again with a new code. */
  #isPast(sessionId: string): boolean {
    return this.#device.past.some(
      (past) => past.sessionId === sessionId && past.outcome !== 'failed',
    )
  }

  #tell(note: string): void {
    this.#note = note
    announce(note)
    this.#drawLine()
  }

  #draw(): void {
    if (this.#busy) return
    const { person, past, trusted } = this.#device
    show(
      'home',
      h('h1', { class: 'visually-hidden' }, 'Your IDToken'),
      identityCard(person, this.#device.phone.tokenId ?? ''),
      h(
        'section',
        { class: 'card line' },
        h('p', { id: 'line' }),
        h(
          'div',
          { class: 'actions' },
          h(
            'button',
            { class: 'primary', onclick: () => this.#wish(() => this.#scan()) },
            'Scan a code',
          ),
          h('button', { onclick: () => void this.#check() }, 'Check for logins'),
        ),
        h('p', { id: 'note', class: 'quiet' }),
      ),
      trusted.length > 0 &&
        serviceList(trusted, (service) => this.#wish(() => reviewTrust(this.#device, service))),
      past.length > 0 && pastList(past),
      h(
        'p',
        { class: 'foot' },
        h(
          'button',
          { class: 'link', onclick: () => confirmWipe(() => void this.#wipe()) },
          'Start over',
        ),
      ),
    )
    this.#drawLine()
    announce(this.#note)
  }

  #drawLine(): void {
    const line = document.querySelector('#line')
    line?.replaceChildren(
      h('span', { class: this.#listening ? 'dot on' : 'dot', 'aria-hidden': 'true' }),
      this.#listening ? 'Ready. Logins appear here.' : 'No push service. Check by hand.',
    )
    const note = document.querySelector('#note')
    if (note) note.textContent = this.#note
  }

  async #wipe(): Promise<void> {
    this.#stopListening()
    await wipeDevice()
    await this.#onWiped()
  }
}

/** Names one attempt of a login: its deadline, in the whole seconds that a push knows. */
function attemptOf({ sessionId, expiresAt }: Waiting): string {
  return `${sessionId} ${Math.floor(Date.parse(expiresAt) / 1000)}`
}
