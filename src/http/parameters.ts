/** The parameters of a query or of a form body: text of `application/x-www-form-urlencoded`, read strictly. */
export interface Parameters {
  /** Name -> value as decoded; of a parameter that was sent twice, the first value. */
  readonly values: ReadonlyMap<string, string>
  /** Names that came more than once, even with equal values (RFC 6749 section 3.1 forbids that). */
  readonly repeated: ReadonlySet<string>
}

/**
 * The parameters in `text` (a query without its `?`, or a form body), or `undefined` when any name or value is not
 * percent-encoded well-formed UTF-8 or holds a C0 control or DEL (5-security 13). `+` is a space. A parameter without a
 * value counts as omitted (RFC 6749 section 3.1). `multiline` names parameters whose values may hold controls other than
 * NUL: a `claims` of indented JSON, a `state` that only has to come back as it went.
 */
export function parametersOf(
  text: string,
  multiline: readonly string[] = [],
): Parameters | undefined {
  const values = new Map<string, string>()
  const repeated = new Set<string>()
  for (const pair of text.split('&')) {
    const cut = pair.indexOf('=')
    const name = decode(cut < 0 ? pair : pair.slice(0, cut))
    const value = decode(cut < 0 ? '' : pair.slice(cut + 1))
    if (name === undefined || CONTROL.test(name)) return undefined
    if (value === undefined || (multiline.includes(name) ? NUL : CONTROL).test(value)) {
      return undefined
    }
    if (value === '') continue
    if (values.has(name)) repeated.add(name)
    else values.set(name, value)
  }
  return { values, repeated }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: controls are what is refused
const CONTROL = /[\u0000-\u001f\u007f]/
// biome-ignore lint/suspicious/noControlCharactersInRegex: controls are what is refused
const NUL = /\u0000/

/** One name or value. `decodeURIComponent` refuses stray `%`, overlong forms and encoded surrogates, but lets a raw lone one pass. */
function decode(text: string): string | undefined {
  if (!text.isWellFormed()) return undefined
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return undefined
  }
}
