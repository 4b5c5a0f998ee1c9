/** An age check by scan at the direct door: nobody types a number, the phone reads the moving QR off the bar's page. */
import decodeQR from 'qr/decode.js'
import { type MovingQr, modulesOf, movingText } from './bar/qr.ts'
import { beginAgeCheck } from './bar/service.ts'
import { openSocket } from './direct-login.ts'
import {
  approve,
  type Claims,
  checkToken,
  claimText,
  compareCodes,
  demand,
  detailsOf,
  type Stage,
} from './login-stage.ts'

/** Pixels a module is wide in the picture that the phone looks at. */
const SCALE = 4

/** Logs in and gives what the bar learnt. Throws a sentence at the first thing that isn't as it must be. */
export async function scanLogin(stage: Stage): Promise<Claims> {
  const { step } = stage
  const begun = await step('initiate', async () => {
    const { product, service } = stage.world
    const confirmation = stage.confirmation === 'transfer' ? stage.confirmation : undefined
    const answer = await beginAgeCheck({ issuer: product, ...service, confirmation })
    if (!answer.ok) throw new Error(`The start of the login was refused: ${answer.fault.code}.`)
    demand(answer.value.autoPassword === undefined, 'there is a code before anybody has scanned')
    return answer.value
  })
  const { socket, expect } = openSocket(stage, begun)
  try {
    const text = await step('scan', () => lookAtScreen(begun.qr))
    const claimed = await step('claim', () => claimText(stage, text), detailsOf)
    const code = await step('socket', async () => {
      await expect('claimed')
      const { autoPassword } = await expect('otp_ready')
      compareCodes(stage, claimed, String(autoPassword))
      return String(autoPassword)
    })
    const approved = await step('approve', async () => {
      await approve(stage, claimed, code)
      return expect('approved')
    })
    const answer = { token: String(approved.jwt), nonce: begun.random }
    return await step(
      'check',
      () => checkToken(stage, answer),
      (claims) => ({ claims }),
    )
  } finally {
    socket.close()
  }
}

/** Draws the QR of this moment, as the bar's page does, and reads the picture, as a phone's camera does. */
async function lookAtScreen(qr: MovingQr): Promise<string> {
  const textAt = await movingText(qr)
  const drawn = await textAt(qr.now)
  const rows = modulesOf(drawn)
  const width = rows.length * SCALE
  const data = new Uint8Array(width * width * 4)
  for (let y = 0; y < width; y++) {
    for (let x = 0; x < width; x++) {
      const dark = rows[Math.floor(y / SCALE)]?.[Math.floor(x / SCALE)] === true
      data.set(dark ? [0, 0, 0, 255] : [255, 255, 255, 255], (y * width + x) * 4)
    }
  }
  const read = decodeQR({ width, height: width, data })
  demand(read === drawn, 'the phone read another text than the page drew')
  return read
}
