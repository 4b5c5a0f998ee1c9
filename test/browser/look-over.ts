/** What an accessibility checker would find first on a page of ours, looked up by hand. */
import type { Page } from 'playwright-core'

/** The faults of `page` as sentences; none is what we want. */
export function lookOver(page: Page): Promise<string[]> {
  // The function runs in the page and can't reach anything outside itself.
  return page.evaluate(() => {
    const faults: string[] = []
    const all = (selector: string) => [...document.querySelectorAll<HTMLElement>(selector)]
    const demand = (holds: boolean, fault: string) => {
      if (!holds) faults.push(fault)
    }
    demand(document.documentElement.lang === 'en', 'the language is not told')
    demand(document.title !== '', 'there is no title')
    demand(all('h1').length === 1, 'there is not one h1')
    demand(all('main').length === 1, 'there is not one main')
    const { scrollWidth, clientWidth } = document.documentElement
    demand(scrollWidth === clientWidth, `it is ${scrollWidth} px wide in ${clientWidth}`)
    const ids = all('[id]').map(({ id }) => id)
    demand(new Set(ids).size === ids.length, `an id is there twice: ${ids}`)
    for (const element of all('[aria-describedby]')) {
      for (const id of (element.getAttribute('aria-describedby') ?? '').split(' ')) {
        demand(document.getElementById(id) !== null, `nothing is called ${id}`)
      }
    }
    for (const input of all('input:not([type=hidden])')) {
      const { labels, autocomplete } = input as HTMLInputElement
      demand((labels?.[0]?.textContent ?? '') !== '', 'an input has no label')
      demand(autocomplete === 'username', 'the number is not offered by password managers')
    }
    for (const control of all('button, a, summary, input:not([type=hidden])')) {
      if (!control.checkVisibility()) continue
      const { height, width } = control.getBoundingClientRect()
      const name = control.textContent || control.localName
      demand(height >= 44 && width >= 44, `${name} is ${width} x ${height} px`)
      demand(control.localName === 'input' || name.trim() !== '', 'a control has no name')
    }

    /** Relative luminance and contrast of WCAG 2.2. */
    const channels = (color: string) => (color.match(/[\d.]+/g) ?? []).map(Number)
    const luminance = (color: string) => {
      const [red = 0, green = 0, blue = 0] = channels(color).map((value) => {
        const part = value / 255
        return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
      })
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue
    }
    const ground = (element: Element | null): string => {
      if (element === null) return 'rgb(255, 255, 255)'
      const { backgroundColor } = getComputedStyle(element)
      return channels(backgroundColor)[3] === 0 ? ground(element.parentElement) : backgroundColor
    }
    const words = 'h1, p, label, button, a, summary, strong, span, input:not([type=hidden])'
    for (const element of all(words)) {
      if (!element.checkVisibility()) continue
      const pair = [luminance(getComputedStyle(element).color), luminance(ground(element))]
      const contrast = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)
      const text = element.textContent?.trim().slice(0, 30)
      demand(contrast >= 7, `"${text}" has a contrast of ${contrast.toFixed(1)}`)
    }
    return faults
  })
}
