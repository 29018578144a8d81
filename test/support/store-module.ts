/** A module that runs what a test sends it on `context.store`. */
import type { Hub } from "./hub";
import { until } from "./until";

/**
 * Offers `RUN <code>`: the code is the body of an async function, and its answer one line of JSON.
 *
 * @param rest further keys of the definition, each with a comma behind it
 */
export const storeModule = (rest: string, run = "inline"): string => `
  import { defineModule, StoreError } from "hrmr";
  const shared = {};
  const AsyncFunction = (async () => {}).constructor;
  export default defineModule({ ${rest} routes: { "RUN ": { framing: "line",${run === "inline" ? "" : ` run: "${run}",`} 
    async handle(message, context) {
    try {
      const run = new AsyncFunction("store", "context", "shared", "StoreError", message.text.slice(4));
      const value = await run(context.store, context, shared, StoreError);
      return JSON.stringify({ value }) + "\\n";
    } catch (error) {
      return JSON.stringify({ code: error.code ?? error.name, message: error.message }) + "\\n";
    }
  } } } });
`;

export const STORE_MODULE = storeModule("");

interface Outcome {
  readonly value?: unknown;
  readonly code?: string;
  readonly message?: string;
}

/** @returns what the code returns; or the code and the message of its error */
export async function runOnStore(hub: Pick<Hub, "ask">, code: string): Promise<Outcome> {
  return JSON.parse(await hub.ask(`RUN ${code.replaceAll(/\s*\n\s*/g, " ")}\n`)) as Outcome;
}

/**
 * Runs code on many connections at once, again and again until so many processes of the server have run it: a process
 * that is quicker may take all connections of a moment.
 *
 * @param code  without errors; returns `process.pid`
 * @returns how often it ran
 */
export async function runInProcesses(
  hub: Pick<Hub, "ask">,
  processes: number,
  atOnce: number,
  code: string,
): Promise<number> {
  const pids = new Set<unknown>();
  let total = 0;
  await until(`runs in ${processes} processes`, async () => {
    const outcomes = await Promise.all(Array.from({ length: atOnce }, () => runOnStore(hub, code)));
    for (const { value, message } of outcomes) {
      if (message !== undefined) throw new Error(message);
      pids.add(value);
    }
    total += atOnce;
    return pids.size >= processes;
  });
  return total;
}

/** Waits until so many processes of the server answer: one that started later gets its first connections later. */
export async function untilProcessesAnswer(hub: Pick<Hub, "ask">, count: number): Promise<void> {
  const pids = new Set<unknown>();
  await until(`answers of ${count} processes`, async () => {
    pids.add((await runOnStore(hub, "return process.pid;")).value);
    return pids.size === count;
  });
}
