/**
 * QR codes as SVG: one path over white ground, with the quiet zone that scanners need (ISO/IEC 18004 section 5.3.8), dark
 * on light whatever the page's colours. The pages that draw a moving QR run `qrPath` in the browser: see
 * `login/hosted/qr-library.ts`.
 */
import { encodeQR } from 'qr'

/** Modules of light around the symbol. */
const QUIET_ZONE = 4

/**
 * The dark modules of the QR of `text` as path data in a square of `size` by `size` units, one unit a module, quiet zone
 * included. Error correction level M: a screen has no scratches but reflections, and a finer code is harder to read from
 * afar. Texts in capitals, such as `HC1:` texts, take 5.5 bits a character.
 * @throws Error when the text does not fit the largest symbol: 3,391 characters in capitals, else 2,331 bytes
 */
export function qrPath(text: string): { readonly size: number; readonly path: string } {
  const rows = encodeQR(text, 'raw', { ecc: 'medium', border: QUIET_ZONE })
  let path = ''
  rows.forEach((row, y) => {
    for (let x = 0; x < row.length; x++) {
      const start = x
      while (row[x]) x++
      if (x > start) path += `M${start} ${y}h${x - start}v1H${start}z`
    }
  })
  return { size: rows.length, path }
}

/**
 * The QR of `text` as an SVG document named `title` for those who can't see it; `undefined` when the text is too long for
 * a QR. It has no width of its own: whoever shows it gives it at least 200 CSS pixels (6-operations section 2.2).
 */
export function qrSvg(text: string, title: string): string | undefined {
  const drawn = drawnOrNot(text)
  if (drawn === undefined) return undefined
  const { size, path } = drawn
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size} ${size}" role="img" shape-rendering="crispEdges">` +
    `<title>${escapeXml(title)}</title>` +
    `<rect width="${size}" height="${size}" fill="#fff"/><path fill="#000" d="${path}"/></svg>`
  )
}

function drawnOrNot(text: string): ReturnType<typeof qrPath> | undefined {
  try {
    return qrPath(text)
  } catch {
    return undefined
  }
}

/** `text` as character data; what XML 1.0 section 2.2 allows in no form is left out. */
function escapeXml(text: string): string {
  return text
    .replace(/[^\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]/gu, '')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
}
