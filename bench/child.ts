/** Programs of the bench run as processes of their own, and are called over Node's channel between parent and child. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** What a program does for its parent, by name. */
export type Calls = Readonly<Record<string, (argument: never) => unknown>>

/** A program that runs; `Its` are the calls it serves. */
export type Child<Its extends Calls> = {
  readonly pid: number
  readonly call: <Name extends keyof Its & string>(
    name: Name,
    argument: Parameters<Its[Name]>[0],
  ) => Promise<Awaited<ReturnType<Its[Name]>>>
  /** Ends the program and returns when it is gone. */
  readonly stop: () => Promise<void>
}

type Question = { readonly id: number; readonly name: string; readonly argument: unknown }
type Answer = { readonly id: number; readonly value?: unknown; readonly fault?: string }

const GRACE = 10_000

/** Starts `program` (a file beside this one). What it prints goes to standard error: standard output is the report. */
export function startChild<Its extends Calls>(
  program: string,
  environment: Readonly<Record<string, string>> = {},
): Child<Its> {
  const file = fileURLToPath(new URL(program, import.meta.url))
  const child = fork(file, {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    execArgv: ['--disable-warning=ExperimentalWarning'],
    // Wrangler, where it is asked for a configuration, has nothing to tell that is wrong here.
    env: { ...process.env, WRANGLER_LOG: 'error', ...environment },
    // Ctrl-C is for the parent: a child that went first would look like a fault.
    detached: true,
  })
  const waiting = new Map<
    number,
    { done: (value: never) => void; failed: (fault: Error) => void }
  >()
  let last = 0
  child.on('message', ({ id, value, fault }: Answer) => {
    const { done, failed } = waiting.get(id) ?? {}
    waiting.delete(id)
    if (fault === undefined) done?.(value as never)
    else failed?.(new Error(fault))
  })
  child.on('exit', (code, signal) => {
    for (const { failed } of waiting.values()) {
      failed(new Error(`${program} has ended by itself (${signal ?? code}).`))
    }
    waiting.clear()
  })
  return {
    pid: child.pid ?? 0,
    call: (name, argument) => {
      const id = ++last
      return new Promise((done, failed) => {
        if (!child.connected) return failed(new Error(`${program} has ended.`))
        waiting.set(id, { done, failed })
        child.send({ id, name, argument } satisfies Question)
      })
    },
    stop: () => stop(child),
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  if (child.connected) child.disconnect()
  const timer = setTimeout(() => child.kill('SIGKILL'), GRACE)
  await ended
  clearTimeout(timer)
}

/** Serves `calls` to the parent until it goes; then runs `end` and leaves. */
export function serveParent(calls: Calls, end: () => unknown = () => {}): void {
  const answer = (words: Answer) => {
    // A parent that has gone meanwhile wants no answer.
    if (process.connected) process.send?.(words)
  }
  process.on('message', async ({ id, name, argument }: Question) => {
    try {
      answer({ id, value: await calls[name]?.(argument as never) })
    } catch (fault) {
      const words = fault instanceof Error ? (fault.stack ?? fault.message) : String(fault)
      answer({ id, fault: words })
    }
  })
  process.once('disconnect', async () => {
    try {
      await end()
    } finally {
      process.exit(0)
    }
  })
}
