/** The parts of the home screen: the identity, and what became of the latest logins. */
import type { Past, Person } from './device.ts'
import { announce, h } from './dom.ts'

export function identityCard(person: Person, tokenId: string): HTMLElement {
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

export function pastList(past: readonly Past[]): HTMLElement {
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

export function nameOf({ givenNames, familyName }: Person): string {
  return `${givenNames} ${familyName}`.trim()
}

/** Asks before everything is forgotten; `wipe` does it. */
export function confirmWipe(wipe: () => void): void {
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
        {
          class: 'danger',
          onclick: () => {
            dialog.close()
            wipe()
          },
        },
        'Forget everything',
      ),
      h('button', { onclick: () => dialog.close() }, 'Keep'),
    ),
  )
  document.body.append(dialog)
  dialog.showModal()
}

/** For browsers that don't let a page write to the clipboard. */
function select(element: HTMLElement): void {
  getSelection()?.selectAllChildren(element)
}
