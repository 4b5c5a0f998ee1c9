/** The screens of services: who asks to be trusted, whom the person trusts, and what that means. */
import type { TrustedService } from './device.ts'
import { announce, h, icon, show } from './dom.ts'
import type { ServiceCard } from './service-vds.ts'
import { wordsOf } from './words.ts'

/** Asks whether the person trusts the service of a verified Service VDS. `again`: they do already. */
export function askTrust(card: ServiceCard, again: boolean): Promise<boolean> {
  return new Promise((settle) => {
    show(
      'trust',
      h(
        'section',
        { class: 'prompt' },
        heading(card),
        again && h('p', { class: 'quiet' }, 'You trust this service already.'),
        ceiling(card),
        h(
          'p',
          { class: 'quiet' },
          'Nothing is shared now. At each login you still choose what it gets.',
        ),
        policy(card),
        h(
          'div',
          { class: 'actions' },
          h('button', { class: 'primary', onclick: () => settle(true) }, 'Trust this service'),
          h('button', { onclick: () => settle(false) }, 'Not now'),
        ),
      ),
    )
    announce(`${card.name} asks to be trusted.`)
  })
}

/** Shows a service that is trusted; the answer is whether it is not to be any longer. */
export function reviewService(service: TrustedService): Promise<boolean> {
  return new Promise((settle) => {
    const since = new Date(service.since).toLocaleDateString('en-GB', { dateStyle: 'long' })
    show(
      'service',
      h(
        'section',
        { class: 'prompt' },
        heading(service),
        h('p', { class: 'quiet' }, `You have trusted this service since ${since}.`),
        ceiling(service),
        policy(service),
        h(
          'div',
          { class: 'actions' },
          h('button', { class: 'primary', onclick: () => settle(false) }, 'Keep'),
          h('button', { class: 'danger', onclick: () => settle(true) }, 'Stop trusting it'),
        ),
      ),
    )
  })
}

/** The services that the person trusts, each a button that calls `open`. */
export function serviceList(
  services: readonly TrustedService[],
  open: (service: TrustedService) => void,
): HTMLElement {
  const rows = services.map((service) =>
    h(
      'li',
      {},
      h(
        'button',
        { class: 'service', onclick: () => open(service) },
        icon('shield'),
        h('span', {}, service.name, h('small', {}, domainOf(service))),
      ),
    ),
  )
  return h(
    'section',
    { class: 'services', 'aria-labelledby': 'services' },
    h('h2', { class: 'small', id: 'services' }, 'Services you trust'),
    h('ul', {}, ...rows),
  )
}

function heading(card: ServiceCard): HTMLElement {
  return h(
    'div',
    { class: 'asker' },
    h('span', { class: 'avatar', 'aria-hidden': 'true' }, card.name.slice(0, 1)),
    h(
      'div',
      {},
      h('h1', {}, card.name),
      h(
        'p',
        { class: 'domain' },
        icon('shield'),
        h('span', { class: 'visually-hidden' }, 'Verified domain: '),
        domainOf(card),
      ),
    ),
  )
}

function ceiling({ scopes }: ServiceCard): HTMLElement {
  const none = h('p', { class: 'quiet' }, 'Nothing but the fact that it is you.')
  const items = scopes.map((scope) => h('li', {}, icon('tick'), wordsOf(scope)))
  return h(
    'section',
    { class: 'card' },
    h('h2', {}, 'The most it can ask'),
    items.length > 0 ? h('ul', { class: 'ceiling' }, ...items) : none,
  )
}

function policy({ policyUri }: ServiceCard): HTMLElement | undefined {
  if (policyUri === undefined || !/^https?:/.test(policyUri)) return undefined
  const link = { href: policyUri, target: '_blank', rel: 'noopener noreferrer' }
  return h('p', {}, h('a', link, 'Its privacy policy'))
}

function domainOf({ url }: ServiceCard): string {
  return new URL(url).host
}
