import { problem } from './problem.ts'

/**
 * The answer for every method that a path doesn't serve: 405 with `allow`, before any body is read (5-security 1). A route
 * names what it serves and leaves the rest to this: `app.post(path, handler).all(path, only('POST'))`.
 */
export function only(allow: string): () => Response {
  return () => problem('method_not_allowed', { allow })
}
