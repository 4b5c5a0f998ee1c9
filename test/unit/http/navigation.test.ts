import { describe, expect, it } from 'vitest'
import { isOwnNavigation, isTopLevel } from '../../../src/http/navigation.ts'

const ORIGIN = 'https://id.example.com'

describe('isOwnNavigation', () => {
  it.each<Record<string, string>>([
    {},
    { Origin: ORIGIN },
    { Origin: 'null' },
    { 'Sec-Fetch-Site': 'same-origin' },
    { 'Sec-Fetch-Site': 'same-origin', Origin: 'null' },
    { 'Sec-Fetch-Site': 'same-origin', Origin: ORIGIN },
  ])('takes %j', (headers) => {
    expect(isOwnNavigation(new Headers(headers), ORIGIN)).toBe(true)
  })

  it.each<Record<string, string>>([
    { 'Sec-Fetch-Site': 'cross-site' },
    { 'Sec-Fetch-Site': 'same-site' },
    { 'Sec-Fetch-Site': 'none' },
    { 'Sec-Fetch-Site': '' },
    { 'Sec-Fetch-Site': 'cross-site', Origin: ORIGIN },
    { 'Sec-Fetch-Site': 'cross-site', Origin: 'null' },
    { 'Sec-Fetch-Site': 'same-origin', Origin: 'https://evil.example' },
    { 'Sec-Fetch-Site': 'same-origin, cross-site' },
    { Origin: 'https://evil.example' },
    { Origin: 'http://id.example.com' },
    { Origin: 'https://id.example.com:8443' },
    { Origin: 'https://id.example.com.evil' },
    { Origin: 'https://ID.example.com' },
    { Origin: '' },
  ])('048 refuses %j', (headers) => {
    expect(isOwnNavigation(new Headers(headers), ORIGIN)).toBe(false)
  })
})

describe('isTopLevel', () => {
  it.each<Record<string, string>>([
    {},
    { 'Sec-Fetch-Dest': 'document' },
    { 'Sec-Fetch-Dest': 'document', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Site': 'cross-site' },
  ])('takes %j', (headers) => {
    expect(isTopLevel(new Headers(headers))).toBe(true)
  })

  it.each<Record<string, string>>([
    { 'Sec-Fetch-Dest': 'iframe' },
    { 'Sec-Fetch-Dest': 'frame' },
    { 'Sec-Fetch-Dest': 'object' },
    { 'Sec-Fetch-Dest': 'empty' },
    { 'Sec-Fetch-Dest': 'image' },
    { 'Sec-Fetch-Dest': '' },
    { 'Sec-Purpose': 'prefetch' },
    { 'Sec-Purpose': 'prefetch;prerender', 'Sec-Fetch-Dest': 'document' },
    { 'Sec-Purpose': 'prerender' },
    { Purpose: 'prefetch' },
    { 'X-Moz': 'Prefetch' },
    { 'X-Purpose': 'preview' },
  ])('339 refuses %j', (headers) => {
    expect(isTopLevel(new Headers(headers))).toBe(false)
  })
})
