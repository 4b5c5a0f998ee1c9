/** The screens of one login: the question, the face check, and what became of it. */
import type { Person } from './device.ts'
import { announce, h, icon, pause, show } from './dom.ts'
import type { Claim } from './phone.ts'
import { type Judge, scanCode } from './scan.ts'
import { isInDocument, notReceived, wordsOf, wordsOfContext, wordsOfFault } from './words.ts'

/** What the person decided. `lapsed`: they didn't, in time. */
export type Decision =
  | {
      readonly kind: 'approved'
      readonly grantedScopes: readonly string[]
      readonly otp: string | undefined
    }
  | { readonly kind: 'declined' }
  | { readonly kind: 'not_me' }
  | { readonly kind: 'lapsed' }

const WARN_AT = 20
const FACE_MILLISECONDS = 1800

/** What a question needs besides the claim. */
export type Circumstances = {
  readonly person: Person
  /** Which of how many requests it is. */
  readonly number: number
  readonly total: number
  /** Stands at the code field after a wrong code. */
  readonly complaint?: string | undefined
}

/** Asks the person. */
export function ask(claim: Claim, circumstances: Circumstances): Promise<Decision> {
  const { person, number, total, complaint } = circumstances
  return new Promise((settle) => {
    const stopClock = startClock(claim, () => decide({ kind: 'lapsed' }))
    const over = new AbortController()
    const decide = (decision: Decision) => {
      stopClock()
      over.abort()
      settle(decision)
    }
    const scanDigits = async () => {
      const found = await scanCode(judgeDigits, over.signal)
      if (!over.signal.aborted) show('prompt', form)
      return found
    }
    const code = claim.otp === undefined ? codeField(scanDigits, complaint) : codeCard(claim.otp)
    const toggles = scopeToggles(claim, person)
    const form = h(
      'form',
      {
        class: 'prompt',
        novalidate: true,
        onsubmit: (event: Event) => {
          event.preventDefault()
          const otp = code.read()
          if (otp !== null) decide({ kind: 'approved', grantedScopes: toggles.read(), otp })
        },
      },
      total > 1 && h('p', { class: 'quiet' }, `Request ${number} of ${total}`),
      h(
        'div',
        { class: 'asker' },
        h('span', { class: 'avatar', 'aria-hidden': 'true' }, claim.service.name.slice(0, 1)),
        h(
          'div',
          {},
          h('h1', {}, claim.service.name),
          h(
            'p',
            { class: 'domain' },
            icon('shield'),
            h('span', { class: 'visually-hidden' }, 'Verified domain: '),
            new URL(claim.origin).host,
          ),
        ),
        h('p', { class: 'timer', role: 'timer', id: 'timer', 'aria-live': 'off' }),
      ),
      code.element,
      toggles.element,
      h('p', { class: 'quiet context' }, icon('clock'), wordsOfContext(claim.context)),
      h(
        'div',
        { class: 'actions' },
        h('button', { class: 'primary', type: 'submit' }, 'Approve & share'),
        h('button', { type: 'button', onclick: () => decide({ kind: 'declined' }) }, 'Decline'),
        h(
          'button',
          { type: 'button', class: 'danger', onclick: () => decide({ kind: 'not_me' }) },
          'Not me',
        ),
      ),
    )
    show('prompt', form)
    form.querySelector<HTMLInputElement>('input[aria-invalid]')?.focus()
    tick(claim)
  })
}

type CodeArea = { readonly element: HTMLElement; readonly read: () => string | undefined | null }

/** Compare mode: the person looks from one screen to the other. */
function codeCard(otp: string): CodeArea {
  const digits = h(
    'p',
    { class: 'code', 'aria-label': [...otp].join(' ') },
    h('span', {}, otp.slice(0, 3)),
    h('span', {}, otp.slice(3)),
  )
  const element = h(
    'section',
    { class: 'card code-card' },
    h('h2', {}, 'Does your browser show this code?'),
    digits,
    h(
      'p',
      { class: 'quiet' },
      'If it shows another code, decline. If you did not start this, press Not me.',
    ),
  )
  return { element, read: () => undefined }
}

const judgeDigits: Judge<string> = (text) => {
  const digits = text.replace(/\s/g, '')
  return /^\d{6}$/.test(digits)
    ? { taken: digits }
    : { complaint: 'That is not the code of six digits.' }
}

/**
 * Transfer mode: `read` gives `null`, and complains, unless six digits were typed, or read off the browser's screen by `scan`
 * (WCAG 2.2, criterion 3.3.8: nobody has to copy them).
 */
function codeField(scan: () => Promise<string | undefined>, complaint?: string): CodeArea {
  const fault = h('p', { class: 'fault', id: 'code-fault' }, complaint ?? '')
  const input = h('input', {
    id: 'code',
    class: 'code-input',
    inputmode: 'numeric',
    autocomplete: 'one-time-code',
    maxlength: 7,
    placeholder: '––– –––',
    'aria-describedby': 'code-fault',
    'aria-invalid': complaint === undefined ? undefined : 'true',
  })
  const read = () => {
    const digits = input.value.replace(/\s/g, '')
    if (/^\d{6}$/.test(digits)) return digits
    fault.textContent = 'The code has six digits.'
    input.setAttribute('aria-invalid', 'true')
    input.focus()
    return null
  }
  const bring = async () => {
    const found = await scan()
    if (found === undefined) return
    input.value = found
    input.removeAttribute('aria-invalid')
    fault.textContent = ''
    announce('The code was read.')
  }
  const element = h(
    'section',
    { class: 'card code-card' },
    h('label', { for: 'code' }, 'Type the code your browser shows'),
    input,
    fault,
    h('button', { type: 'button', onclick: bring }, 'Scan it instead'),
  )
  return { element, read }
}

function scopeToggles(
  { service, scopes, requiredScopes }: Claim,
  person: Person,
): {
  readonly element: HTMLElement
  readonly read: () => string[]
} {
  const boxes = scopes.map((scope) =>
    h('input', {
      type: 'checkbox',
      role: 'switch',
      value: scope,
      checked: true,
      disabled: requiredScopes.includes(scope),
    }),
  )
  const withheld = h('ul', { class: 'chips' })
  const read = () => boxes.filter((box) => box.checked).map((box) => box.value)
  const refresh = () =>
    withheld.replaceChildren(
      ...notReceived(read().filter((scope) => isInDocument(scope, person))).map((words) =>
        h('li', {}, icon('cross'), words),
      ),
    )
  refresh()
  const rows = boxes.map((box) =>
    h(
      'label',
      { class: 'toggle' },
      h(
        'span',
        {},
        wordsOf(box.value),
        box.disabled && h('small', {}, 'Needed for this login'),
        !isInDocument(box.value, person) && h('small', {}, '(not in your document)'),
      ),
      box,
    ),
  )
  const none = h('p', { class: 'quiet' }, 'Nothing but the fact that it is you.')
  const element = h(
    'section',
    { class: 'card' },
    h(
      'fieldset',
      { onchange: refresh },
      h('legend', {}, `${service.name} will receive`),
      ...(rows.length > 0 ? rows : [none]),
    ),
    h('h2', { class: 'small' }, 'It will not receive'),
    withheld,
  )
  return { element, read }
}

/** Runs until the claim ends, then calls `onEnd`. The answer stops it. */
function startClock(claim: Claim, onEnd: () => void): () => void {
  let warned = false
  const timer = setInterval(() => {
    const left = tick(claim)
    if (left <= WARN_AT && !warned) {
      warned = true
      announce(`${left} seconds left.`)
    }
    if (left <= 0) onEnd()
  }, 250)
  return () => clearInterval(timer)
}

function tick({ expiresAt }: Claim): number {
  const left = Math.max(0, Math.ceil((Date.parse(expiresAt) - Date.now()) / 1000))
  const element = document.querySelector('#timer')
  if (element) {
    element.textContent = `${left} s`
    element.setAttribute('aria-label', `${left} seconds left`)
    element.classList.toggle('late', left <= WARN_AT)
  }
  return left
}

/** Plays the face check, which this phone only pretends. */
export async function playFaceCheck(): Promise<void> {
  show(
    'face',
    h(
      'section',
      { class: 'center' },
      h('h1', {}, 'Look at the phone'),
      h('div', { class: 'face', 'aria-hidden': 'true' }, h('span', { class: 'scan' })),
      h('p', { class: 'tag' }, 'Simulated face check'),
    ),
  )
  await pause(FACE_MILLISECONDS)
}

/** Shows what became of a login, until the person closes it. */
export function tellOutcome(
  tone: 'good' | 'neutral' | 'bad',
  title: string,
  text: string,
  shared: readonly string[] = [],
): Promise<void> {
  return new Promise((close) => {
    show(
      'result',
      h(
        'section',
        { class: 'center' },
        h(
          'div',
          { class: `mark ${tone}` },
          icon(tone === 'good' ? 'tick' : tone === 'bad' ? 'clock' : 'cross'),
        ),
        h('h1', {}, title),
        h('p', { class: 'quiet' }, text),
        shared.length > 0 &&
          h('ul', { class: 'chips' }, ...shared.map((one) => h('li', {}, icon('tick'), one))),
        h(
          'div',
          { class: 'actions' },
          h('button', { class: 'primary', onclick: () => close() }, 'Done'),
        ),
      ),
    )
    announce([`${title}. ${text}`, ...shared].join(' '))
  })
}

/** Shows what went wrong, by the code of the wire or of the phone itself. */
export function tellFault(code: string): Promise<void> {
  const { title, text } = wordsOfFault(code)
  return tellOutcome('bad', title, text)
}
