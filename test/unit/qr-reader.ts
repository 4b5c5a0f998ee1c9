/** Reads a QR back from the path data that we draw, as a camera would: by its pixels. */
import decodeQR from 'qr/decode.js'

/** Pixels a module is wide. */
const SCALE = 4

/** The dark modules that `path` fills in a square of `size`, row by row. Throws at anything but runs of modules. */
export function modulesOf(size: number, path: string): boolean[][] {
  const rows = Array.from({ length: size }, () => Array<boolean>(size).fill(false))
  const rest = path.replace(
    /M(\d+) (\d+)h(\d+)v1H(\d+)z/g,
    (_, x: string, y: string, length: string, back: string) => {
      if (x !== back) throw new Error(`a run that doesn't close: ${x} ${back}`)
      const row = rows[Number(y)]
      if (row === undefined || Number(x) + Number(length) > size) throw new Error('outside')
      row.fill(true, Number(x), Number(x) + Number(length))
      return ''
    },
  )
  if (rest !== '') throw new Error(`not a run of modules: ${rest.slice(0, 40)}`)
  return rows
}

/** The text of the QR that `path` draws in a square of `size`. */
export function readQr(size: number, path: string): string {
  const rows = modulesOf(size, path)
  const width = size * SCALE
  const data = new Uint8Array(width * width * 4)
  for (let y = 0; y < width; y++) {
    for (let x = 0; x < width; x++) {
      const dark = rows[Math.floor(y / SCALE)]?.[Math.floor(x / SCALE)] === true
      data.set(dark ? [0, 0, 0, 255] : [255, 255, 255, 255], (y * width + x) * 4)
    }
  }
  return decodeQR({ width, height: width, data })
}
