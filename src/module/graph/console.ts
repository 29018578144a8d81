/**
 * Makes log lines of the text that modules print. Printed directly, it would break a log in JSON and would not name its
 * module.
 */
import { Console } from "node:console";
import type { Log } from "../contract";
import { logWith } from "../../observe/log/fields";
import { moduleOnStack } from "./marks";

type Level = "debug" | "info" | "warn" | "error";

/** Methods whose lines are not of the level "info". */
const LEVELS: Partial<Record<string, Level>> = { debug: "debug", warn: "warn", error: "error", assert: "error" };

/**
 * The `console` of a module. `debug`, `warn` and `error` log at the level of that name, `assert` at error, all others
 * at info.
 *
 * @param log  the module's own
 */
export function moduleConsole(log: Log): object {
  let level: Level = "info";
  const stream = {
    write: (text: string) => {
      log[level](text.endsWith("\n") ? text.slice(0, -1) : text);
      return true;
    },
    on: () => stream,
    once: () => stream,
    removeListener: () => stream,
    listenerCount: () => 0,
  };
  const formatting = new Console({ stdout: stream as never, stderr: stream as never, colorMode: false });
  const methods = Object.entries(formatting).filter((entry): entry is [string, (...args: unknown[]) => unknown] => {
    return (
      typeof entry[1] === "function" && typeof (console as unknown as Record<string, unknown>)[entry[0]] === "function"
    );
  });
  const wrapped = methods.map(([name, method]) => [
    name,
    (...args: unknown[]): unknown => {
      level = LEVELS[name] ?? "info";
      // An error alone keeps its stack and causes as fields of the line.
      if (args.length === 1 && args[0] instanceof Error) return log[level](args[0]);
      return method(...args);
    },
  ]);
  const write = (...texts: unknown[]): void => void stream.write(texts.map(String).join(""));
  const trace = (...values: unknown[]): void => {
    const { stack = "" } = new Error();
    log.info("Trace:", ...values, `\n${stack.split("\n").slice(2).join("\n")}`);
  };
  // Methods that only Bun has (profile, takeHeapSnapshot) print nothing, so they stay.
  return Object.assign(Object.create(console) as object, Object.fromEntries(wrapped), { write, trace });
}

/**
 * Turns `process.stdout.write` and `process.stderr.write` of this thread into log lines of the module whose code is on
 * the stack.
 */
export function catchPrints(log: Log): void {
  for (const [stream, level] of [
    [process.stdout, "info"],
    [process.stderr, "warn"],
  ] as const) {
    stream.write = ((chunk: unknown, encoding?: unknown, done?: unknown): boolean => {
      const text = typeof chunk === "string" ? chunk : Buffer.from(chunk as Uint8Array).toString();
      logWith(log, moduleOnStack() ?? {})[level](text.endsWith("\n") ? text.slice(0, -1) : text);
      const callback = [encoding, done].find((each) => typeof each === "function") as (() => void) | undefined;
      if (callback !== undefined) queueMicrotask(callback);
      return true;
    }) as typeof stream.write;
  }
}
