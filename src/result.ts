/** What pure code gives back: a value, or a tagged reason that one exhaustive switch turns into an answer. */
export type Result<T, E> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: E }

/** A success that carries `value`. */
export function ok<T>(value: T): { readonly ok: true; readonly value: T } {
  return { ok: true, value }
}

/** A refusal that carries its `reason`. */
export function refuse<E>(reason: E): { readonly ok: false; readonly reason: E } {
  return { ok: false, reason }
}
