/** The little that the bar's page needs to build its views and to talk to its back end. */

/** Replaces what the card shows. Focus goes to the heading, so that it is read out. */
export function show(state: string, view: HTMLElement): void {
  const card = find(document, HTMLElement, '#card')
  card.dataset.state = state
  card.replaceChildren(view)
  find(view, HTMLElement, 'h1').focus({ preventScroll: true })
}

/** Says `text` to whoever can't see the card change. */
export function announce(text: string): void {
  find(document, HTMLElement, '#status').textContent = text
}

/** The one element in `source`, which is always a text of these files and never holds anything from outside. */
export function html(source: string): HTMLElement {
  const template = document.createElement('template')
  template.innerHTML = source.trim()
  return template.content.firstElementChild as HTMLElement
}

/** The element at `selector`, which is there. */
export function find<T extends Element>(root: ParentNode, type: new () => T, selector: string): T {
  const element = root.querySelector(selector)
  if (!(element instanceof type)) throw new Error(`no ${selector}`)
  return element
}

/** POSTs JSON; `body` is an object whatever came back. No cookie goes to another origin. */
export async function send(url: string, content: object): Promise<{ ok: boolean; body: unknown }> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(content),
      credentials: 'same-origin',
    })
    return { ok: response.ok, body: await response.json().catch(() => ({})) }
  } catch {
    return { ok: false, body: { code: 'unreachable' } }
  }
}
