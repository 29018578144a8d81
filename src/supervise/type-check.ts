/**
 * Types while authors work: keeps the file with the services' types, and with `--watch` checks the project after each
 * reload. A service's change that breaks a caller is then told at once, though the server runs on without types.
 */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import type { ServerLog } from "../observe/log/log";
import { hasServiceTypes, writeServiceTypes } from "../module/build/service-types";
import { ownBun } from "../system/self";

/** At most this many errors of one check are told. */
const MAX_TOLD = 10;
/** The checker ends by itself; one that does not is ended. In milliseconds. */
const CHECK_MS = 60_000;

export class TypeCheck {
  readonly #log: ServerLog;
  #child: Bun.Subprocess<"ignore", "pipe", "ignore"> | null = null;
  #told = "";

  constructor(log: ServerLog) {
    this.#log = log;
  }

  /** A reload has ended. Returns at once. @param isWatched also check the types */
  reloaded(modulesDir: string, isWatched: boolean): void {
    if (!hasServiceTypes(modulesDir)) return;
    void this.#renew(modulesDir, isWatched).catch((error: Error) =>
      this.#log.bounded("warn", "types of services")?.(`the types of services were not written: ${error.message}`),
    );
  }

  close(): void {
    this.#child?.kill();
    this.#child = null;
  }

  async #renew(modulesDir: string, isWatched: boolean): Promise<void> {
    // The sender of the reload gets the answer first.
    await new Promise((resolve) => setImmediate(resolve));
    await writeServiceTypes(modulesDir);
    if (isWatched) await this.#check(dirname(modulesDir));
  }

  async #check(project: string): Promise<void> {
    if (!existsSync(join(project, "tsconfig.json"))) return;
    // The files have changed again: what the last check finds is of no use.
    this.close();
    const { command, env } = ownBun(["check", "--no-script", "--no-pretty"]);
    const options = {
      cwd: project,
      env,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "ignore",
      timeout: CHECK_MS,
    } as const;
    const child = Bun.spawn([...command], options);
    this.#child = child;
    const text = await child.stdout.text();
    await child.exited;
    if (this.#child !== child) return;
    this.#child = null;
    this.#tell(typeErrors(text));
  }

  #tell(errors: readonly string[]): void {
    const text = errors.join("\n");
    if (text === this.#told) return;
    this.#told = text;
    if (errors.length === 0) return this.#log.info("types: all errors are mended");
    const more = errors.length > MAX_TOLD ? [`… and ${errors.length - MAX_TOLD} more: hrmr check shows all`] : [];
    for (const line of [...errors.slice(0, MAX_TOLD), ...more]) this.#log.warn(`types: ${line}`);
  }
}

/** The lines of a check's output that are errors: `modules/a.ts(3,4): error TS2345: ...`. */
export function typeErrors(output: string): string[] {
  return output.split("\n").filter((line) => /^\S.*\(\d+,\d+\): error TS\d+: /.test(line));
}
