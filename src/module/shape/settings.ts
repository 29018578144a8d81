/**
 * `modules.NAME` of the config as loading looks at it: what of it is the server's, and whether two of them are the
 * same.
 */
import type { ModuleSettings } from "../../config/options";
import type { RunsOn } from "../route";

/** Of a module that the config does not name. */
export const NO_SETTINGS: ModuleSettings = Object.freeze({});

/** The server's part of a module's settings. undefined: they don't say it. */
export interface HostSettings {
  /** Of routes that can run elsewhere and don't say where they run. */
  readonly run: RunsOn | undefined;
  /** Instead of the module's own. */
  readonly reload: "swap" | "exclusive" | undefined;
  /** Of routes without a `timeoutMs`. In milliseconds. 0 waits for ever. */
  readonly handlerMs: number | undefined;
  /** In milliseconds. 0 waits for ever. */
  readonly loadMs: number | undefined;
  /** In milliseconds. 0 waits for ever. */
  readonly drainMs: number | undefined;
  /** Of its process. 0: no limit. */
  readonly maxMemoryMb: number | undefined;
  /** Within `crashWindowMs`, before it is put in quarantine. 0: it never is. */
  readonly maxCrashes: number | undefined;
  /** In milliseconds. */
  readonly crashWindowMs: number | undefined;
}

/**
 * Reads the server's part of a module's settings.
 *
 * @param config  checked where the config was read: what has the wrong type here counts as not said
 */
export function hostSettings(config: Readonly<Record<string, unknown>>): HostSettings {
  const { run, reload, timeouts } = config;
  const times: object = typeof timeouts === "object" && timeouts !== null ? timeouts : {};
  return {
    run: run === "inline" || run === "pool" || run === "process" ? run : undefined,
    reload: reload === "swap" || reload === "exclusive" ? reload : undefined,
    handlerMs: numberIn(times, "handlerMs"),
    loadMs: numberIn(times, "loadMs"),
    drainMs: numberIn(times, "drainMs"),
    maxMemoryMb: numberIn(config, "maxMemoryMb"),
    maxCrashes: numberIn(config, "maxCrashes"),
    crashWindowMs: numberIn(config, "crashWindowMs"),
  };
}

function numberIn(times: object, name: string): number | undefined {
  const value: unknown = Reflect.get(times, name);
  return typeof value === "number" && value >= 0 ? value : undefined;
}

/** Whether two modules' settings hold the same, in whatever order. */
export function isSameSettings(
  one: Readonly<Record<string, unknown>>,
  other: Readonly<Record<string, unknown>>,
): boolean {
  // A config that was not read anew is the same object.
  return one === other || canonical(one) === canonical(other);
}

/** @returns what tells one version from another: the bundle's hash and, if there are settings, a digest of them */
export function identityOf(hash: string, config: Readonly<Record<string, unknown>>): string {
  const text = canonical(config);
  return text === "{}" ? hash : `${hash}+${new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 8)}`;
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => {
    if (typeof part === "bigint") return String(part);
    if (typeof part !== "object" || part === null || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
