/** The virtual phone's page: who it belongs to, what rings it, and what happens then. */
import {
  type Device,
  enrollDevice,
  listen,
  listPersons,
  loadDevice,
  type Past,
  type Person,
  remember,
  wipeDevice,
} from './device.ts'
import { announce, h, icon, pause, show } from './dom.ts'
import type { Answer, Claim } from './phone.ts'
import { ask, playFaceCheck, tellOutcome } from './prompt.ts'
import { isInDocument, wordsOf, wordsOfFault } from './words.ts'

const STAGES = [
  'Making keys that never leave this phone',
  'Reading the passport (simulated)',
  'Registering with the identity provider',
]
/** Each stage stays long enough to be read. */
const STAGE_MILLISECONDS = 350
/** The wrong code that ends a login (2-protocol); the server counts, the phone tells. */
const LAST_TRY = 3

async function welcome(fault?: string): Promise<void> {
  announce('')
  const persons = await listPersons()
  const form = h(
    'form',
    {
      onsubmit: (event: Event) => {
        event.preventDefault()
        const chosen = new FormData(form).get('person')
        const person = persons.find(({ id }) => id === chosen)
        if (person) void enroll(person)
      },
    },
    h(
      'fieldset',
      { class: 'persons' },
      h('legend', {}, 'Whose passport do you hold against it?'),
      ...persons.map((person, index) =>
        h(
          'label',
          { class: 'person' },
          h('input', { type: 'radio', name: 'person', value: person.id, checked: index === 0 }),
          h('span', {}, nameOf(person), h('small', {}, person.note)),
        ),
      ),
    ),
    h(
      'div',
      { class: 'actions' },
      h('button', { class: 'primary', type: 'submit' }, 'Make my IDToken'),
    ),
  )
  show(
    'welcome',
    h('h1', {}, 'Make your IDToken'),
    h(
      'p',
      { class: 'quiet' },
      'A phone for the development world. The people are made up, the signatures are real.',
    ),
    fault !== undefined && h('p', { class: 'fault', role: 'alert' }, fault),
    form,
  )
}

async function enroll(person: Person): Promise<void> {
  const items = STAGES.map((text) => h('li', {}, icon('tick'), text))
  show('enrolling', h('h1', {}, 'Making your IDToken'), h('ol', { class: 'stages' }, ...items))
  try {
    const done = await enrollDevice(person, async (stage) => {
      items.forEach((item, index) => {
        item.className = index < stage ? 'done' : index === stage ? 'now' : ''
      })
      await pause(STAGE_MILLISECONDS)
    })
    if ('device' in done) return new Home(done.device).open()
    const { title, text } = wordsOfFault(done.fault)
    await welcome(`${title}. ${text}`)
  } catch {
    await welcome('The development world does not answer. Is it still running?')
  }
}

type Waiting = { readonly sessionId: string; readonly expiresAt: string }
type Place = { readonly number: number; readonly total: number }

/** The phone of an enrolled person. One login at a time has the screen. */
class Home {
  readonly #device: Device
  readonly #stopListening: () => void
  #listening = false
  #busy = false
  #note = ''
  /** Attempts that were shown: a new code for the same login is another one. */
  readonly #seen = new Set<string>()
  /** Logins that nobody has looked at yet, the newest last. */
  #waiting: readonly Waiting[] = []

  constructor(device: Device) {
    this.#device = device
    this.#stopListening = listen(
      device,
      (data) => void this.#onPush(data),
      (listening) => {
        this.#listening = listening
        this.#drawLine()
      },
    )
  }

  /** Shows the home screen, and whatever waits since the phone was last looked at. */
  open(): void {
    this.#draw()
    void this.#work()
  }

  async #onPush(data: Readonly<Record<string, string>>): Promise<void> {
    const opened = await this.#device.phone.openPush(data)
    if (opened.kind === 'ignored') return
    if (opened.kind === 'prompt') {
      const { sessionId, exp } = opened.prompt
      this.#await([{ sessionId, expiresAt: new Date(Number(exp) * 1000).toISOString() }])
    }
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

  /** Shows what waits, the newest first, until nothing does. */
  async #work(): Promise<void> {
    if (this.#busy) return
    this.#busy = true
    let number = 0
    try {
      for (;;) {
        await this.#look()
        const login = this.#waiting.at(-1)
        if (login === undefined) break
        this.#waiting = this.#waiting.slice(0, -1)
        this.#seen.add(attemptOf(login))
        this.#note = ''
        number += 1
        await this.#handle(login.sessionId, { number, total: number + this.#waiting.length })
      }
    } finally {
      this.#busy = false
      if (number > 0) this.#draw()
    }
  }

  async #handle(sessionId: string, place: Place): Promise<void> {
    const claimed = await this.#device.phone.claim(sessionId)
    if (!claimed.ok) return tellFault(claimed)
    const claim = claimed.body
    const name = claim.service.name
    const { person } = this.#device
    let complaint: string | undefined
    for (let attempt = 1; ; attempt += 1) {
      announce(`${name} asks you to sign in.`)
      const decision = await ask(claim, { person, complaint, ...place })
      if (decision.kind === 'lapsed') {
        await this.#remember(claim, 'failed')
        return tellOutcome(
          'bad',
          'Time ran out',
          'Nothing was shared. Start again in your browser.',
        )
      }
      if (decision.kind !== 'approved') return this.#deny(claim, decision.kind)
      await playFaceCheck()
      const answer = await this.#device.phone.approve(claim, decision)
      if (answer.ok) {
        const shared = decision.grantedScopes
          .filter((scope) => isInDocument(scope, person))
          .map(wordsOf)
        await this.#remember(claim, 'approved', shared)
        const text = shared.length > 0 ? 'You shared:' : 'You shared nothing from your document.'
        return tellOutcome('good', 'Approved', text, shared)
      }
      if (answer.code !== 'invalid_otp') {
        await this.#remember(claim, 'failed')
        return tellFault(answer)
      }
      const { title, text } = wordsOfFault('invalid_otp')
      if (attempt === LAST_TRY) {
        await this.#remember(claim, 'failed')
        const end = 'That was the third wrong code. Start again in your browser.'
        return tellOutcome('bad', title, end)
      }
      complaint = attempt === LAST_TRY - 1 ? `${text} One try left.` : text
    }
  }

  async #deny(claim: Claim, reason: 'declined' | 'not_me'): Promise<void> {
    const answer = await this.#device.phone.deny(claim, reason)
    if (!answer.ok) return tellFault(answer)
    await this.#remember(claim, reason === 'declined' ? 'declined' : 'reported')
    return reason === 'declined'
      ? tellOutcome('neutral', 'Declined', 'Nothing was shared.')
      : tellOutcome(
          'neutral',
          'Reported',
          'Nothing was shared. For a while nobody can ring this phone by typing your number.',
        )
  }

  async #remember(
    { sessionId, service }: Claim,
    outcome: Past['outcome'],
    shared: readonly string[] = [],
  ): Promise<void> {
    const at = new Date().toISOString()
    await remember(this.#device, { sessionId, service: service.name, outcome, shared, at })
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
      const { title, text } = wordsOfFault(pending.code)
      return this.#tell(`${title}. ${text}`)
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
    const { person, past } = this.#device
    show(
      'home',
      h('h1', { class: 'visually-hidden' }, 'Your IDToken'),
      identityCard(person, this.#device.phone.tokenId ?? ''),
      h(
        'section',
        { class: 'card line' },
        h('p', { id: 'line' }),
        h('button', { onclick: () => void this.#check() }, 'Check for logins'),
        h('p', { id: 'note', class: 'quiet' }),
      ),
      past.length > 0 && pastList(past),
      h(
        'p',
        { class: 'foot' },
        h('button', { class: 'link', onclick: () => this.#confirmWipe() }, 'Start over'),
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

  #confirmWipe(): void {
    const dialog = h(
      'dialog',
      { 'aria-labelledby': 'wipe-title', onclose: () => dialog.remove() },
      h('h2', { id: 'wipe-title' }, 'Start over?'),
      h('p', {}, 'This forgets the keys and the identity on this virtual phone.'),
      h(
        'div',
        { class: 'actions' },
        h(
          'button',
          { class: 'danger', onclick: () => void this.#wipe(dialog) },
          'Forget everything',
        ),
        h('button', { onclick: () => dialog.close() }, 'Keep'),
      ),
    )
    document.body.append(dialog)
    dialog.showModal()
  }

  async #wipe(dialog: HTMLDialogElement): Promise<void> {
    dialog.close()
    this.#stopListening()
    await wipeDevice()
    await welcome()
  }
}

function identityCard(person: Person, tokenId: string): HTMLElement {
  const copy = h('button', { class: 'copy', type: 'button' }, 'Copy')
  copy.addEventListener('click', async () => {
    await navigator.clipboard.writeText(tokenId).catch(() => select(number))
    copy.textContent = 'Copied'
    announce('Number copied.')
    setTimeout(() => {
      copy.textContent = 'Copy'
    }, 2000)
  })
  const number = h('code', { id: 'token-id' }, tokenId)
  return h(
    'section',
    { class: 'identity', 'aria-label': 'Your identity' },
    h('p', { class: 'holder' }, nameOf(person)),
    h('p', { class: 'nation' }, `${person.nationality} · born ${person.dateOfBirth}`),
    h('div', { class: 'number' }, h('p', {}, 'Your IDToken number'), number, copy),
  )
}

/** Names one attempt of a login: its deadline, in the whole seconds that a push knows. */
function attemptOf({ sessionId, expiresAt }: Waiting): string {
  return `${sessionId} ${Math.floor(Date.parse(expiresAt) / 1000)}`
}

function pastList(past: readonly Past[]): HTMLElement {
  const words = {
    approved: 'Approved',
    declined: 'Declined',
    reported: 'Reported',
    failed: 'Not completed',
  }
  return h(
    'section',
    { class: 'past' },
    h('h2', { class: 'small' }, 'Recent'),
    h(
      'ul',
      {},
      ...past
        .slice(0, 5)
        .map(({ service, outcome, shared, at }) =>
          h(
            'li',
            {},
            h('span', {}, service, h('small', {}, shared.join(', ') || 'Nothing shared')),
            h(
              'span',
              { class: outcome },
              words[outcome],
              h('small', {}, new Date(at).toLocaleTimeString('en-GB', { timeStyle: 'short' })),
            ),
          ),
        ),
    ),
  )
}

function tellFault(answer: Answer<unknown> & { readonly ok: false }): Promise<void> {
  const { title, text } = wordsOfFault(answer.code)
  return tellOutcome('bad', title, text)
}

function nameOf({ givenNames, familyName }: Person): string {
  return `${givenNames} ${familyName}`.trim()
}

/** For browsers that don't let a page write to the clipboard. */
function select(element: HTMLElement): void {
  getSelection()?.selectAllChildren(element)
}

async function main(): Promise<void> {
  const device = await loadDevice().catch(() => undefined)
  if (device) new Home(device).open()
  else await welcome()
}

main().catch(() => {
  show(
    'broken',
    h('h1', {}, 'The development world does not answer'),
    h('p', {}, 'Start it with npm start, then reload.'),
  )
})
