/** The variables of .env in `process.env`, where modules read them. Each thread and process has its own. */

import { readFileSync } from "node:fs";

const applied = new Map<string, string>();

/**
 * Removes the variables that this process was not started with: Bun itself has read them from .env, .env.local and
 * more, before any code ran. Does nothing without /proc.
 */
export function dropVariablesOfBun(): void {
  let given: string;
  try {
    given = readFileSync("/proc/self/environ", "latin1");
  } catch {
    return;
  }
  const names = new Set(given.split("\0").map((variable) => variable.split("=", 1)[0]));
  for (const name of Object.keys(process.env)) if (isPlain(name) && !names.has(name)) delete process.env[name];
}

/** Other names have other bytes in /proc, and no .env holds them. */
function isPlain(name: string): boolean {
  return /^[\w.-]+$/.test(name);
}

/** The highest number of a load whose variables were applied. */
let newest = 0;

/**
 * Puts these variables into `process.env`, and removes variables of an earlier call that are no longer there.
 *
 * @param load the number of the load that they come with. A thread that is started again loads old versions too, in any
 *   order: the variables of the newest one hold. Default: they hold in any case
 */
export function applyEnvironment(values: Readonly<Record<string, string>> = {}, load: number = newest): void {
  if (load < newest) return;
  newest = load;
  for (const name of applied.keys()) if (!Object.hasOwn(values, name)) delete process.env[name];
  applied.clear();
  for (const [name, value] of Object.entries(values)) {
    process.env[name] = value;
    applied.set(name, value);
  }
}

/** @returns a copy of `process.env` without the variables of .env: for a process that reads .env itself */
export function outerEnvironment(): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(process.env).filter(([name, value]) => applied.get(name) !== value));
}
