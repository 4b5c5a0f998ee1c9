/** Reads QR codes out of pictures: by the browser's own reader where it has one, else by the package `qr`. */

/** The text of a QR in what was drawn on `canvas`, or `undefined`. */
export type QrReader = (canvas: HTMLCanvasElement) => Promise<string | undefined>

type Detector = {
  detect(picture: CanvasImageSource): Promise<readonly { readonly rawValue: string }[]>
}
type DetectorClass = {
  new (options: { readonly formats: readonly string[] }): Detector
  getSupportedFormats(): Promise<readonly string[]>
}

/** Wider than this no picture is looked at: the codes of our pages are large. */
const WIDEST = 1280
/** How long one picture may be looked at, in milliseconds. */
const PATIENCE = 400

/** The reader of this browser. */
export async function openQrReader(): Promise<QrReader> {
  // Behind this name on phones and Macs only, and not always with QR among its formats.
  const { BarcodeDetector } = globalThis as { BarcodeDetector?: DetectorClass }
  const formats = (await BarcodeDetector?.getSupportedFormats().catch(() => [])) ?? []
  if (BarcodeDetector !== undefined && formats.includes('qr_code')) {
    const detector = new BarcodeDetector({ formats: ['qr_code'] })
    return async (canvas) => (await detector.detect(canvas).catch(() => []))[0]?.rawValue
  }
  const { default: decodeQR } = await import('qr/decode.js')
  return async (canvas) => {
    const pixels = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height)
    if (pixels === undefined) return undefined
    const { width, height, data } = pixels
    try {
      return decodeQR({ width, height, data: new Uint8Array(data) }, { timeLimit: PATIENCE })
    } catch {
      return undefined
    }
  }
}

/** Draws `picture`, which is `width` by `height`, on `canvas`: made smaller when it is very wide. */
export function draw(
  picture: CanvasImageSource,
  { width, height }: { readonly width: number; readonly height: number },
  canvas: HTMLCanvasElement,
): void {
  const scale = Math.min(1, WIDEST / width)
  canvas.width = Math.round(width * scale)
  canvas.height = Math.round(height * scale)
  const context = canvas.getContext('2d', { willReadFrequently: true })
  context?.drawImage(picture, 0, 0, canvas.width, canvas.height)
}
