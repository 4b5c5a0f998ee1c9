import * as v from 'valibot'
import { TokenId } from '../../enrollment/statement.ts'

/**
 * The tokenId that a person typed or pasted: blanks and dashes are theirs to set, capitals too (WCAG 2.2, criterion 3.3.1).
 * `undefined` when it is none; nothing else is guessed (5-security 181).
 */
export function readTypedTokenId(typed: string): string | undefined {
  const digits = typed.replace(/[ -]/g, '').toLowerCase()
  const dashed = digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
  return v.is(TokenId, dashed) ? dashed : undefined
}
