/** What a camera would see of a page: its pixels, and the QR in them. */
import type { Locator, Page } from 'playwright-core'
import { encodeQR } from 'qr'
import decodeQR from 'qr/decode.js'

/** The text of the QR that `part` of a page shows, read from a screenshot of it. */
export async function readScreen(part: Locator): Promise<string> {
  const png = (await part.screenshot()).toString('base64')
  const { width, height, pixels } = await part.page().evaluate(pixelsOf, png)
  return decodeQR({ width, height, data: new Uint8Array(Buffer.from(pixels, 'base64')) })
}

/** Pastes a screenshot of `part` into `page`, as somebody does whose phone and browser are one machine. */
export async function pasteScreen(part: Locator, page: Page): Promise<void> {
  const png = (await part.screenshot()).toString('base64')
  await page.evaluate((text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))
    const clipboardData = new DataTransfer()
    clipboardData.items.add(new File([bytes], 'screen.png', { type: 'image/png' }))
    document.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true }))
  }, png)
}

/** A film of one picture, the QR of `text`, as Chromium plays it to a page that asks for the camera (YUV4MPEG2). */
export function filmOf(text: string): Buffer {
  const rows = encodeQR(text, 'raw', { ecc: 'medium', border: 4 })
  const scale = 8
  const width = rows.length * scale
  const luma = Buffer.alloc(width * width)
  for (let at = 0; at < luma.length; at++) {
    const row = rows[Math.floor(at / width / scale)]
    luma[at] = row?.[Math.floor((at % width) / scale)] === true ? 16 : 235
  }
  const chroma = Buffer.alloc((width * width) / 2, 128)
  const head = `YUV4MPEG2 W${width} H${width} F10:1 Ip A1:1 C420jpeg\nFRAME\n`
  return Buffer.concat([Buffer.from(head), luma, chroma])
}

/** RGBA of a PNG, both in Base64. Runs in a page, which reads pictures anyway. */
async function pixelsOf(
  png: string,
): Promise<{ readonly width: number; readonly height: number; readonly pixels: string }> {
  const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0))
  const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }))
  const { width, height } = bitmap
  const context = new OffscreenCanvas(width, height).getContext('2d')
  if (context === null) throw new Error('no canvas')
  context.drawImage(bitmap, 0, 0)
  let pixels = ''
  for (const value of context.getImageData(0, 0, width, height).data) {
    pixels += String.fromCharCode(value)
  }
  return { width, height, pixels: btoa(pixels) }
}
