/** The script of the moving QR, run without a browser: what it draws is read back and judged by the server's rules. */
import { Script } from 'node:vm'
import { beforeEach, describe, expect, test } from 'vitest'
import { qrPath } from '../../../src/http/qr.ts'
import type { MasterSecret } from '../../../src/keys/master-secret.ts'
import { SCAN_SCRIPT, scanPart } from '../../../src/login/hosted/scan-script.ts'
import { judgeProof, linkOf, qrOf } from '../../../src/login/scan-proof.ts'
import { readQr } from '../qr-reader.ts'

const ISSUER = 'https://id.example.com'
const START = 1_800_000_000_700
const UNTIL = START + 60_000
const screen = { sessionId: `sess_${'0123456789abcdef'.repeat(4)}`, attempt: 3 }
const versions = new Map([[1, Uint8Array.from({ length: 32 }, (_, i) => i + 1)]])
const master: MasterSecret = { current: 1, versions }

interface Element {
  readonly id: string
  readonly dataset: Record<string, string>
  hidden: boolean
  textContent: string
  readonly attributes: Record<string, string>
  setAttribute(name: string, value: string): void
  onclick?: () => void
}

function elementOf(tag: string): Element {
  const attributes: Record<string, string> = {}
  const dataset: Record<string, string> = {}
  for (const [, name = '', value = ''] of tag.matchAll(/([\w-]+)="([^"]*)"/g)) {
    attributes[name] = value
    if (name.startsWith('data-')) {
      dataset[name.slice(5).replace(/-(.)/g, (_, one: string) => one.toUpperCase())] = value
    }
  }
  return {
    id: attributes.id ?? '',
    dataset,
    hidden: / hidden\b/.test(tag),
    textContent: '',
    attributes,
    setAttribute: (name, value) => {
      attributes[name] = value
    },
  }
}

let markup: string
beforeEach(async () => {
  const qr = await qrOf(master, ISSUER, screen, START)
  markup = (await scanPart(qr, await linkOf(master, ISSUER, screen), UNTIL)).toString()
})

/** A page that was begun at `responseStart` ms of its own clock and whose script runs `late` ms after. */
function open({ responseStart = 150, late = 40 } = {}) {
  const elements = new Map(
    [...markup.matchAll(/<[a-z]+ [^>]*>/g)]
      .map(([tag]) => elementOf(tag))
      .filter(({ id }) => id !== '')
      .map((element) => [element.id, element]),
  )
  let now = responseStart + late
  const timers = new Map<number, { readonly act: () => void; readonly at: number }>()
  planned = timers
  let count = 0
  const globals = {
    document: { getElementById: (id: string) => elements.get(id) ?? null },
    performance: { now: () => now, getEntriesByType: () => [{ responseStart }] },
    setTimeout: (act: () => void, delay: number) => {
      timers.set(++count, { act, at: now + delay })
      return count
    },
    clearTimeout: (timer: number) => timers.delete(timer),
    library: async () => ({ qrPath }),
    ...{ crypto, atob, btoa, TextEncoder },
  }
  const text = SCAN_SCRIPT.replace("import('/login/qr.js')", 'library()')
  new Script(text).runInNewContext(globals)
  const get = (id: string): Element => {
    const element = elements.get(id)
    if (element === undefined) throw new Error(`no #${id}`)
    return element
  }
  return {
    get,
    /** The time of the server. */
    time: () => START + now - responseStart,
    pending: () => timers.size,
    /** Until the next thing that the script has planned. */
    async goOn(): Promise<number> {
      const [[id, timer] = []] = [...timers].sort(([, a], [, b]) => a.at - b.at)
      if (id === undefined || timer === undefined) throw new Error('nothing is planned')
      const waited = timer.at - now
      timers.delete(id)
      now = timer.at
      timer.act()
      await settled()
      return waited
    },
    wait(ms: number): void {
      now += ms
    },
    /** What a phone would read. */
    shown(): string {
      const [, size] = /^0 0 (\d+) \1$/.exec(get('qr-code').attributes.viewBox ?? '') ?? []
      return readQr(Number(size), get('qr-path').attributes.d ?? '')
    },
  }
}

/** What the script of the page at hand has planned. */
let planned: ReadonlyMap<number, unknown> = new Map()

/** The script awaits WebCrypto, which answers from another thread: until it has planned its next turn, if it ever does. */
async function settled(): Promise<void> {
  for (let looks = 0; looks < 50; looks++) {
    await new Promise((done) => setTimeout(done, 10))
    if (planned.size > 0) return
  }
}

function judge(text: string, now: number) {
  const prefix = `${ISSUER}/l#${screen.sessionId}.`
  expect(text.startsWith(prefix)).toBe(true)
  return judgeProof(master, screen, 'camera', text.slice(prefix.length), now)
}

describe('the markup', () => {
  test('without script there is the link alone', () => {
    expect(markup).toMatch(/<div id="qr" hidden>/)
    expect(markup).toMatch(
      /href="https:\/\/id\.example\.com\/l#sess_[0-9a-f]{64}\.[\w-]{22}\.link"/,
    )
    expect(markup).not.toMatch(/\bstyle=|\bon[a-z]+=/)
  })

  test('the code is wide enough, dark on light, and has a name', () => {
    const [, width, height] = /<svg [^>]*width="(\d+)" height="(\d+)" role="img"/.exec(markup) ?? []
    expect(Number(width)).toBeGreaterThanOrEqual(200)
    expect(height).toBe(width)
    expect(markup).toMatch(
      /<title>[^<]+<\/title>\s*<rect [^>]*fill="#fff"\/>\s*<path [^>]*fill="#000"/,
    )
  })
})

describe('192 the moving QR', () => {
  test('192 what it draws is fresh, and another every two seconds', async () => {
    const page = open()
    await settled()
    const seen = new Set<string>()
    for (let i = 0; i < 6; i++) {
      expect(page.get('qr').hidden).toBe(false)
      expect(page.get('qr-moving').hidden).toBe(false)
      const text = page.shown()
      seen.add(text)
      // It is the step of this moment: not one of the ten seconds that the server allows besides.
      expect(await judge(text, page.time() + 8_000)).toBe('fresh')
      expect(await judge(text, page.time() + 10_001)).toBe('expired')
      const waited = await page.goOn()
      expect(waited).toBeLessThanOrEqual(2_000)
      if (i > 0) expect(waited).toBe(2_000)
      expect(page.time() % 2_000).toBe(0)
    }
    expect(seen.size).toBe(6)
  })

  test('192 a script that came late goes by the server all the same', async () => {
    const page = open({ responseStart: 3_000, late: 15_000 })
    await settled()
    expect(await judge(page.shown(), page.time())).toBe('fresh')
    expect(await judge(page.shown(), START)).toBe('forged')
  })

  test('a browser that does not tell when the page came', async () => {
    const page = open({ responseStart: 0, late: 900 })
    await settled()
    expect(await judge(page.shown(), START)).toBe('fresh')
  })

  test('it ends with the attempt', async () => {
    const page = open()
    await settled()
    let turns = 0
    while (page.pending() > 0 && turns++ < 100) await page.goOn()
    expect(page.time()).toBe(UNTIL)
    expect(page.get('scan').hidden).toBe(true)
    expect(turns).toBe(31)
  })

  test('it ends when the page hides it', async () => {
    const page = open()
    await settled()
    const before = page.shown()
    page.get('scan').hidden = true
    await page.goOn()
    expect(page.pending()).toBe(0)
    expect(page.shown()).toBe(before)
  })
})

describe('the Pause button', () => {
  test('hides the QR and leaves the link', async () => {
    const page = open()
    await settled()
    const before = page.shown()
    page.get('qr-pause').onclick?.()
    expect(page.get('qr-moving').hidden).toBe(true)
    expect(page.get('qr').hidden).toBe(false)
    expect(page.get('qr-link').hidden).toBe(false)
    expect(page.get('qr-pause').textContent).toBe('Show the QR code again')
    await page.goOn()
    expect(page.get('qr-moving').hidden).toBe(true)
    expect(page.shown()).toBe(before)
    expect(page.pending()).toBe(1)
  })

  test('192 shows at once a fresh one again, never the one of before', async () => {
    const page = open()
    await settled()
    page.get('qr-pause').onclick?.()
    page.wait(20_000)
    page.get('qr-pause').onclick?.()
    // Until it is drawn the old one stays hidden.
    expect(page.get('qr-moving').hidden).toBe(true)
    await settled()
    expect(page.get('qr-moving').hidden).toBe(false)
    expect(page.get('qr-pause').textContent).toBe('Pause the QR code')
    expect(await judge(page.shown(), page.time())).toBe('fresh')
    expect(page.pending()).toBe(1)
  })

  test('pressed twice in a hurry there is still one clock', async () => {
    const page = open()
    page.get('qr-pause')
    await settled()
    for (let i = 0; i < 4; i++) page.get('qr-pause').onclick?.()
    await settled()
    expect(page.pending()).toBe(1)
    expect(page.get('qr-moving').hidden).toBe(false)
  })
})
