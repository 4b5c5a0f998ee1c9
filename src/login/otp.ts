import { type Bytes, utf8 } from '../bytes.ts'

/** What a code is bound to (2-protocol section 4). */
export interface CodeBinding {
  readonly salt: Bytes
  readonly tokenId: string
  readonly serviceId: string
  readonly sessionId: string
}

/**
 * The six-digit code of one attempt: HKDF-SHA256 with the OTP key, the attempt's 16-byte salt, and
 * info = "otp" ‖ tokenId ‖ serviceId ‖ sessionId. tokenId and sessionId have fixed lengths, so no two bindings join to the
 * same bytes. Reduced without bias: 8-byte blocks of the output above the last multiple of 10^6 are skipped.
 */
export async function deriveCode(otpKey: Bytes, binding: CodeBinding): Promise<string> {
  const info = utf8(`otp${binding.tokenId}${binding.serviceId}${binding.sessionId}`)
  const key = await crypto.subtle.importKey('raw', otpKey, 'HKDF', false, ['deriveBits'])
  const parameters = { name: 'HKDF', hash: 'SHA-256', salt: binding.salt, info }
  const output = new Uint8Array(await crypto.subtle.deriveBits(parameters, key, 512))
  return reduce(output)
}

const CODES = 1_000_000n
const BLOCKS = 1n << 64n
const UNBIASED = BLOCKS - (BLOCKS % CODES)

function reduce(output: Bytes): string {
  const view = new DataView(output.buffer)
  for (let offset = 0; offset < output.length; offset += 8) {
    const block = view.getBigUint64(offset)
    if (block < UNBIASED) return String(block % CODES).padStart(6, '0')
  }
  // Eight blocks in a row above the limit: a chance of about 10^-105. Any fixed answer is as good as any other.
  return String(view.getBigUint64(0) % CODES).padStart(6, '0')
}
