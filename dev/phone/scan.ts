/**
 * The screen that reads a code: with the camera where there is one, from another window or a pasted picture of it where phone and
 * browser are one machine, or from pasted text.
 */
import { announce, h, pause, show } from './dom.ts'
import { draw, openQrReader, type QrReader } from './qr-reader.ts'

/** Between two looks, in milliseconds: ten seconds is all that a moving code is good for. */
const BETWEEN_LOOKS = 150

/** What the screen makes of a text: it is taken, or there is something wrong with it, as a sentence. */
export type Judge<T> = (text: string) => { readonly taken: T } | { readonly complaint: string }

/** Shows the screen until a code was read that `judge` takes; `undefined` when the person or `signal` ends it. */
export function scanCode<T>(judge: Judge<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((settle) => {
    const over = new AbortController()
    const screen = makeScreen({
      paste: (text) => hear(text),
      look: () => void look(() => navigator.mediaDevices.getDisplayMedia({ video: true })),
      cancel: () => end(undefined),
    })
    const end = (found: T | undefined) => {
      over.abort()
      settle(found)
    }
    const hear = (text: string) => {
      if (over.signal.aborted) return
      const judged = judge(text)
      if ('taken' in judged) end(judged.taken)
      else screen.complain(judged.complaint)
    }
    const reader = openQrReader()
    const look = (open: () => Promise<MediaStream>) =>
      watch(open, reader, screen, hear, over.signal)
    const onPaste = (event: ClipboardEvent) => {
      const picture = [...(event.clipboardData?.files ?? [])].find(({ type }) =>
        type.startsWith('image/'),
      )
      if (picture === undefined) return
      event.preventDefault()
      void readPicture(picture, reader).then((text) =>
        text === undefined ? screen.complain('There is no code in that picture.') : hear(text),
      )
    }
    document.addEventListener('paste', onPaste, { signal: over.signal })
    signal.addEventListener('abort', () => end(undefined), { signal: over.signal })
    if (signal.aborted) return end(undefined)
    show('scan', screen.element)
    void look(() =>
      navigator.mediaDevices.getUserMedia({
        video: { facingMode: 'environment', width: { ideal: 1280 } },
      }),
    )
  })
}

type Screen = {
  readonly element: HTMLElement
  readonly video: HTMLVideoElement
  readonly complain: (text: string) => void
  readonly tell: (text: string) => void
}

function makeScreen(acts: {
  readonly paste: (text: string) => void
  readonly look: () => void
  readonly cancel: () => void
}): Screen {
  const video = h('video', { muted: true, playsinline: true, hidden: true, 'aria-label': 'Camera' })
  // The attribute alone doesn't silence what is already there.
  video.muted = true
  const state = h('p', { class: 'quiet', id: 'camera' }, 'Looking for a camera…')
  const fault = h('p', { class: 'fault', id: 'text-fault' })
  const input = h('input', {
    id: 'text',
    autocomplete: 'off',
    spellcheck: 'false',
    autocapitalize: 'off',
    'aria-describedby': 'text-fault',
  })
  const canLook = typeof navigator.mediaDevices?.getDisplayMedia === 'function'
  const form = h(
    'form',
    {
      class: 'card paste',
      novalidate: true,
      onsubmit: (event: Event) => {
        event.preventDefault()
        acts.paste(input.value)
      },
    },
    h('label', { for: 'text' }, 'No camera? Paste the link, or a picture of the code'),
    input,
    fault,
    h('button', { type: 'submit' }, 'Open'),
  )
  const element = h(
    'section',
    { class: 'scanner' },
    h('h1', {}, 'Scan a code'),
    h('div', { class: 'viewfinder' }, video, state),
    form,
    h(
      'div',
      { class: 'actions' },
      canLook && h('button', { type: 'button', onclick: acts.look }, 'Look at another window'),
      h('button', { type: 'button', onclick: acts.cancel }, 'Cancel'),
    ),
  )
  const complain = (text: string) => {
    fault.textContent = text
    input.setAttribute('aria-invalid', 'true')
    announce(text)
  }
  const tell = (text: string) => {
    state.textContent = text
    state.hidden = text === ''
  }
  return { element, video, complain, tell }
}

/** Looks at the pictures of a stream and says what it reads, until `signal` ends it. The stream is closed then. */
async function watch(
  open: () => Promise<MediaStream>,
  reader: Promise<QrReader>,
  { video, tell }: Screen,
  hear: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  let stream: MediaStream
  try {
    stream = await open()
  } catch {
    // No camera, no leave to use it, or no way to it in this browser: there are other ways.
    if (video.hidden) tell('There is no camera to look with.')
    return
  }
  const close = () => {
    for (const track of stream.getTracks()) track.stop()
  }
  if (signal.aborted) return close()
  signal.addEventListener('abort', close)
  const before = video.srcObject
  if (before instanceof MediaStream) for (const track of before.getTracks()) track.stop()
  video.srcObject = stream
  video.hidden = false
  tell('')
  const canvas = document.createElement('canvas')
  let last = ''
  try {
    await video.play()
    const read = await reader
    while (!signal.aborted && video.srcObject === stream) {
      const { videoWidth: width, videoHeight: height } = video
      if (width > 0) {
        draw(video, { width, height }, canvas)
        const text = await read(canvas)
        // What was complained about needn't be complained about again while it stays in sight.
        if (text !== undefined && text !== last) hear(text)
        last = text ?? last
      }
      await pause(BETWEEN_LOOKS)
    }
  } catch {
    // The picture was taken from us: another stream came, or the screen is gone.
  }
}

async function readPicture(picture: Blob, reader: Promise<QrReader>): Promise<string | undefined> {
  try {
    const bitmap = await createImageBitmap(picture)
    const canvas = document.createElement('canvas')
    draw(bitmap, bitmap, canvas)
    return await (await reader)(canvas)
  } catch {
    return undefined
  }
}
