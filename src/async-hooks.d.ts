/** The one class of `node:async_hooks` that we use; the platform has it, its type package does not name it. */
declare module 'node:async_hooks' {
  export class AsyncLocalStorage<T> {
    run<R>(store: T, callback: () => R): R
    getStore(): T | undefined
  }
}
