/** The picture of a QR on the bar's page: one that stands, or one that moves with the provider's clock. */
import { type MovingQr, modulesOf, movingText, STEP } from './qr.ts'

const SVG = 'http://www.w3.org/2000/svg'

/** A QR that moves, and how far the provider's clock is ahead of this machine's, in milliseconds. */
export type ClockedQr = MovingQr & { readonly ahead: number }

/** A picture without a code yet, read out as `title`. */
export function makePicture(title: string): SVGSVGElement {
  const svg = document.createElementNS(SVG, 'svg')
  svg.setAttribute('class', 'qr')
  svg.setAttribute('role', 'img')
  svg.setAttribute('shape-rendering', 'crispEdges')
  const name = document.createElementNS(SVG, 'title')
  name.textContent = title
  const ground = document.createElementNS(SVG, 'rect')
  for (const [attribute, value] of [
    ['width', '100%'],
    ['height', '100%'],
    ['fill', '#fff'],
  ] as const) {
    ground.setAttribute(attribute, value)
  }
  svg.append(name, ground, document.createElementNS(SVG, 'path'))
  return svg
}

/** Draws the code of `text` into `picture`. */
export function drawCode(picture: SVGSVGElement, text: string): void {
  const rows = modulesOf(text)
  const runs = rows.flatMap((row, y) =>
    row.flatMap((dark, x) => (dark ? [`M${x} ${y}h1v1h-1z`] : [])),
  )
  picture.setAttribute('viewBox', `0 0 ${rows.length} ${rows.length}`)
  picture.querySelector('path')?.setAttribute('d', runs.join(''))
}

/** Draws the code of the moment into `picture`, every two seconds. The answer stops it. */
export function keepDrawing(picture: SVGSVGElement, qr: ClockedQr): () => void {
  let stopped = false
  let timer: ReturnType<typeof setTimeout> | undefined
  const clock = () => Date.now() + qr.ahead
  const run = async () => {
    const textAt = await movingText(qr)
    const draw = async () => {
      const text = await textAt(clock())
      if (stopped) return
      drawCode(picture, text)
      timer = setTimeout(() => void draw(), STEP - (clock() % STEP))
    }
    await draw()
  }
  void run()
  return () => {
    stopped = true
    clearTimeout(timer)
  }
}
