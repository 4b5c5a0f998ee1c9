/** The little that the page needs to build its screens. */

type Child = Node | string | undefined | false
type Properties = Readonly<Record<string, unknown>>

/**
 * An element with `properties` and `children`. `onclick` and the like take functions; `true` sets a bare attribute, `false` and `undefined`
 * leave it out.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value as EventListener)
    else if (value === true) element.setAttribute(name, '')
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value))
  }
  element.append(...children.filter((child) => child !== undefined && child !== false))
  return element
}

/** Replaces what the phone shows. Focus goes to the heading, so that it is read out and Tab starts there. */
export function show(name: string, ...children: readonly Child[]): void {
  const screen = document.querySelector('#screen')
  if (!(screen instanceof HTMLElement)) return
  screen.dataset.screen = name
  screen.replaceChildren(...children.filter((child) => child !== undefined && child !== false))
  screen.scrollTo(0, 0)
  window.scrollTo(0, 0)
  const heading = screen.querySelector('h1')
  heading?.setAttribute('tabindex', '-1')
  heading?.focus({ preventScroll: true })
}

/** Says `text` to whoever can't see the screen change. */
export function announce(text: string): void {
  const status = document.querySelector('#status')
  if (status) status.textContent = text
}

/** A picture in text: drawn, not read out. */
export function icon(name: 'tick' | 'cross' | 'clock' | 'shield'): HTMLElement {
  return h('span', { class: `icon icon-${name}`, 'aria-hidden': 'true' })
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((wake) => setTimeout(wake, milliseconds))
}
