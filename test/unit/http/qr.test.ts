import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { qrPath, qrSvg } from '../../../src/http/qr.ts'
import { modulesOf, readQr } from '../qr-reader.ts'

/** Base45 letters, of which a Service VDS is made. */
const CAPITALS = [...'0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:']
const VDS = `HC1:${CAPITALS.join('').repeat(13).slice(0, 569)}`
const URL = `https://id.example.com/l#sess_${'0123456789abcdef'.repeat(4)}.AbCdEfGhIjKlMnOpQrSt_-`

function partsOf(svg: string | undefined) {
  const pattern =
    /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 (\d+) (\d+)" role="img" shape-rendering="crispEdges"><title>([^<]*)<\/title><rect width="(\d+)" height="(\d+)" fill="#fff"\/><path fill="#000" d="([^"]*)"\/><\/svg>$/
  const [, width, height, title, ...rest] = pattern.exec(svg ?? '') ?? []
  return { width, height, title, rest, size: Number(width), path: rest[2] ?? '' }
}

describe('qrPath', () => {
  test.each([VDS, URL, 'ä€😀', ' ', '0', VDS + URL])('%s is read back', (text) => {
    const { size, path } = qrPath(text)
    expect(readQr(size, path)).toBe(text)
  })

  test('any text is read back', () => {
    fc.assert(
      fc.property(
        fc.string({ minLength: 1, maxLength: 120, unit: fc.constantFrom(...CAPITALS, 'a', 'é') }),
        (text) => {
          const { size, path } = qrPath(text)
          expect(readQr(size, path)).toBe(text)
        },
      ),
      { numRuns: 20 },
    )
  })

  test('four modules around the symbol are light', () => {
    const { size, path } = qrPath(URL)
    const rows = modulesOf(size, path)
    const dark = rows.flatMap((row, y) => row.flatMap((one, x) => (one ? [[x, y]] : [])))
    const edges = dark.flatMap(([x = 0, y = 0]) => [x, y])
    expect(Math.min(...edges)).toBe(4)
    expect(Math.max(...edges)).toBe(size - 5)
  })

  test('a text in capitals takes a smaller symbol, and the page has modules of four pixels and more', () => {
    expect(qrPath(VDS).size).toBe(77 + 8)
    expect(qrPath(VDS.toLowerCase()).size).toBeGreaterThan(77 + 8)
    expect(240 / qrPath(URL).size).toBeGreaterThan(4)
  })

  test('15 of 100 code words may be unreadable, not only 7', () => {
    // Version 7 holds 122 bytes at level M and 154 at level L (ISO/IEC 18004 table 7).
    expect(qrPath('a'.repeat(122)).size).toBe(45 + 8)
    expect(qrPath('a'.repeat(123)).size).toBe(49 + 8)
  })
})

describe('qrSvg', () => {
  test('is an image with a name, one path on white ground', () => {
    const { width, height, title, rest, size, path } = partsOf(qrSvg(VDS, 'Service VDS of Bar'))
    expect([width, ...rest.slice(0, 2)]).toEqual([height, width, height])
    expect(title).toBe('Service VDS of Bar')
    expect(readQr(size, path)).toBe(VDS)
  })

  test.each([
    ['Tom & Jerry <script>', 'Tom &amp; Jerry &lt;script&gt;'],
    [
      ']]></title><script>alert(1)</script>',
      ']]&gt;&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;',
    ],
    ['a\u0000\u001b\ud800b\ufffe😀', 'ab😀'],
  ])('333 the title %j is text', (title, written) => {
    expect(partsOf(qrSvg('X', title)).title).toBe(written)
  })

  test('a text beyond the largest symbol has none', () => {
    expect(qrSvg('A'.repeat(3_391), 'x')).toBeDefined()
    expect(qrSvg('A'.repeat(3_392), 'x')).toBeUndefined()
    expect(qrSvg('a'.repeat(2_332), 'x')).toBeUndefined()
  })
})
