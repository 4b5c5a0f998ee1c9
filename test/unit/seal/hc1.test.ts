import { deflateRawSync, deflateSync, gzipSync, inflateSync } from 'node:zlib'
import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { type Bytes, concat, utf8 } from '../../../src/bytes.ts'
import { decodeBase45, encodeBase45 } from '../../../src/seal/base45.ts'
import { readHc1, writeHc1 } from '../../../src/seal/hc1.ts'

const plain = utf8('who a service is, who a service is')

/** The text of bytes that are compressed already, or should be. */
function textOf(packed: Uint8Array): string {
  return `HC1:${encodeBase45(packed)}`
}

async function faultOf(text: string): Promise<string> {
  const read = await readHc1(text)
  return read.ok ? 'none' : read.reason
}

afterEach(() => void vi.unstubAllGlobals())

test('a text begins as those of the product do, and another zlib reads it', async () => {
  const text = await writeHc1(plain)
  expect(text).toMatch(/^HC1:6BF[0-9A-Z $%*+./:-]+$/)
  const packed = decodeBase45(text.slice(4)) ?? new Uint8Array()
  expect(new Uint8Array(inflateSync(packed))).toEqual(plain)
  expect(await readHc1(text)).toEqual({ ok: true, value: plain })
})

test('what another zlib wrote, at any level, is read', async () => {
  for (const level of [0, 1, 6, 9]) {
    const packed = deflateSync(plain, { level })
    expect(await readHc1(textOf(packed)), `level ${level}`).toEqual({ ok: true, value: plain })
  }
})

test('any bytes survive the round trip', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 1200 }), async (bytes) => {
      const text = await writeHc1(new Uint8Array(bytes))
      expect(await readHc1(text)).toEqual({ ok: true, value: new Uint8Array(bytes) })
    }),
    { numRuns: 50 },
  )
})

test('any text gives a Result', async () => {
  const character = fc.constantFrom(...'0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:')
  const hostile = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.string({ unit: character, maxLength: 60 }).map((text) => `HC1:${text}`),
    fc.uint8Array({ maxLength: 60 }).map((bytes) => textOf(concat(utf8('x'), bytes))),
    fc.uint8Array({ maxLength: 60 }).map((bytes) => textOf(concat(zlibHead, bytes))),
  )
  await fc.assert(
    fc.asyncProperty(hostile, async (text) => {
      expect(await readHc1(text)).toHaveProperty('ok')
    }),
    { numRuns: 100 },
  )
})

const zlibHead: Bytes = new Uint8Array([0x78, 0x9c])

describe('the negative cases of a text', () => {
  test('wrong or doubled prefix', async () => {
    const text = await writeHc1(plain)
    const body = text.slice(4)
    for (const other of ['', 'HC1', 'hc1:', 'HC2:', 'HC1 :', ' HC1:', 'HC1:HC', '\ufeffHC1:']) {
      const fault = await faultOf(other + body)
      expect(['bad_prefix', 'bad_base45', 'not_compressed'], other).toContain(fault)
    }
    expect(await faultOf(`hc1:${body}`)).toBe('bad_prefix')
    expect(await faultOf(`HC1:${text}`)).not.toBe('none')
    expect(await faultOf('')).toBe('bad_prefix')
    expect(await faultOf('HC1:')).toBe('not_compressed')
  })

  test('176 Base45 with illegal characters, a bad length or an overflow', async () => {
    const text = await writeHc1(plain)
    for (const bad of ['a', '_', 'é', '\n', '😀', '\0', '=']) {
      expect(await faultOf(`${text.slice(0, 10)}${bad}${text.slice(11)}`), bad).toBe('bad_base45')
    }
    expect(await faultOf('HC1:GGW')).toBe('bad_base45')
    expect(await faultOf('HC1::::')).toBe('bad_base45')
    expect(await faultOf('HC1:6')).toBe('bad_base45')
    expect(await faultOf(`${text}\n`)).toBe('bad_base45')
  })

  test('176 100 KiB, and one character above 4 KiB', async () => {
    expect(await faultOf(`HC1:${'0'.repeat(100 * 1024)}`)).toBe('too_long')
    expect(await faultOf(`HC1:${'0'.repeat(4093)}`)).toBe('too_long')
    expect(await faultOf(`HC1:${'0'.repeat(4092)}`)).toBe('not_compressed')
  })

  test('missing compression, or another one', async () => {
    expect(await faultOf(textOf(plain))).toBe('not_compressed')
    expect(await faultOf(textOf(gzipSync(plain)))).toBe('not_compressed')
    expect(await faultOf(textOf(deflateRawSync(plain)))).toBe('not_compressed')
    const smallWindow = deflateSync(plain, { windowBits: 9 })
    expect(smallWindow[0]).not.toBe(0x78)
    expect(await faultOf(textOf(smallWindow))).toBe('not_compressed')
  })

  test('broken compression', async () => {
    const packed = new Uint8Array(deflateSync(plain))
    for (let length = 1; length < packed.length; length++) {
      const fault = await faultOf(textOf(packed.subarray(0, length)))
      expect(fault, `cut to ${length}`).toBe('bad_compression')
    }
    const wrongSum = packed.map((byte, i) => (i === packed.length - 1 ? byte ^ 1 : byte))
    expect(await faultOf(textOf(wrongSum))).toBe('bad_compression')
    const preset = deflateSync(plain, { dictionary: Buffer.from('who a service is') })
    expect(await faultOf(textOf(preset))).toBe('bad_compression')
  })

  test('anything after the stream: a byte, another stream', async () => {
    const packed = deflateSync(plain)
    for (const more of [[0], [0x78], packed]) {
      const text = textOf(concat(packed, new Uint8Array(more)))
      expect(await faultOf(text)).toBe('bad_compression')
    }
  })

  test('176 exactly 64 KiB are read, one byte more is not', async () => {
    const most = new Uint8Array(64 * 1024)
    const read = await readHc1(textOf(deflateSync(most)))
    expect(read.ok && Buffer.compare(read.value, most)).toBe(0)
    const more = new Uint8Array(64 * 1024 + 1)
    expect(await faultOf(textOf(deflateSync(more)))).toBe('too_large')
  })

  test('176 an inflation bomb stops at the cap', async () => {
    const bomb = deflateSync(new Uint8Array(2_500_000), { level: 9 })
    const text = textOf(bomb)
    expect(text.length).toBeLessThanOrEqual(4096)
    expect(inflateSync(bomb).length).toBe(2_500_000)

    let inflated = 0
    const Genuine = DecompressionStream
    const counted = class {
      readonly readable: ReadableStream<Uint8Array>
      readonly writable: WritableStream<BufferSource>
      constructor(format: 'deflate') {
        const inner = new Genuine(format)
        const count = (chunk: Uint8Array, out: TransformStreamDefaultController<Uint8Array>) => {
          inflated += chunk.length
          out.enqueue(chunk)
        }
        this.writable = inner.writable
        this.readable = inner.readable.pipeThrough(new TransformStream({ transform: count }))
      }
    }
    vi.stubGlobal('DecompressionStream', counted)
    expect(await faultOf(text)).toBe('too_large')
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(inflated).toBeGreaterThan(64 * 1024)
    expect(inflated).toBeLessThan(256 * 1024)
  })
})
