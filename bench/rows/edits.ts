/** Modules that are edited while they are served, and the commands that reload them. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Control } from "../control";
import { moduleSource } from "../project";

/** The time of one RELOAD: at the client, and in the verdict. In milliseconds. */
export interface ReloadTime {
  readonly clientMs: number;
  readonly serverMs: number;
}

/** Always the same number of digits, so that the replies of all versions have one length. */
export function padVersion(version: number): string {
  return String(version).padStart(6, "0");
}

/** Answers a line and an HTTP path with its version. */
export function versionModule(version: number, run: "inline" | "pool" = "inline"): string {
  return moduleSource(`{
  routes: {
    VERSION: { framing: "line", run: "${run}", handle: () => "v${padVersion(version)}\\n" },
    "/version": { fetch: () => new Response("v${padVersion(version)}") },
  },
}`);
}

export const VERSION_PATTERN = "v\\d{6}";

/** Measures the longest stall of the event loop, with a timer each millisecond. STALL answers it, and starts again. */
export const STALL_MODULE = moduleSource(`{
  setup() {
    const state = { last: performance.now(), longest: 0 };
    setInterval(() => {
      const now = performance.now();
      state.longest = Math.max(state.longest, now - state.last);
      state.last = now;
    }, 1);
    return state;
  },
  routes: {
    STALL: {
      framing: "line",
      handle: (message, { state }) => {
        const longest = state.longest;
        state.longest = 0;
        return longest.toFixed(2) + "\\n";
      },
    },
    COLLECT: { framing: "line", handle: () => (Bun.gc(true), "done\\n") },
  },
}`);

/** @returns milliseconds between two timer ticks at the longest, since the last time this was asked */
export async function longestStall(control: Control): Promise<number> {
  return Number((await control.ask("STALL")).reply);
}

/** Writes the next version, sends RELOAD (or `command`) and checks the verdict. @throws Error if the module was not swapped */
export async function editAndReload(
  control: Control,
  dir: string,
  name: string,
  text: string,
  command = "RELOAD",
): Promise<ReloadTime> {
  writeFileSync(join(dir, "modules", `${name}.ts`), text);
  const { reply, ms } = await control.ask(command);
  const told = new RegExp(`^OK ${name} v\\d+ \\(was v\\d+\\) swapped in ([\\d.]+) ms, 0 connections dropped`).exec(
    reply,
  )?.[1];
  if (told === undefined) throw new Error(`${command} after an edit of ${name}: ${reply}`);
  return { clientMs: ms, serverMs: Number(told) };
}

/** The version that serves must be the one that was loaded last. @throws Error if it is not */
export async function mustServe(control: Control, version: number): Promise<void> {
  const { reply } = await control.ask("VERSION");
  if (reply !== `v${padVersion(version)}\n`)
    throw new Error(`VERSION after the reload of version ${version}: ${reply}`);
}
