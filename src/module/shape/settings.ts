/** `modules.NAME` of the config for loading: the server's part of it, and whether two of them are equal. */
import type { ModuleSettings } from "../../config/options";
import type { RunsOn } from "../route";

/** The settings of a module that the config does not name. */
export const NO_SETTINGS: ModuleSettings = Object.freeze({});

/** The server's part of a module's settings. undefined: not set. */
export interface HostSettings {
  /** All of them, as the config file has them. */
  readonly config: Readonly<Record<string, unknown>>;
  /** For routes without a `run` that can run elsewhere. */
  readonly run: RunsOn | undefined;
  /** Overrides the module's own. */
  readonly reload: "swap" | "exclusive" | undefined;
  /** For routes without a `timeoutMs`. In milliseconds. 0 waits for ever. */
  readonly handlerMs: number | undefined;
  /** In milliseconds. 0 waits for ever. */
  readonly loadMs: number | undefined;
  /** In milliseconds. 0 waits for ever. */
  readonly drainMs: number | undefined;
  /** For its process. 0: no limit. */
  readonly maxMemoryMb: number | undefined;
  /** Crashes within `crashWindowMs` that put it in quarantine. 0: never. */
  readonly maxCrashes: number | undefined;
  /** In milliseconds. */
  readonly crashWindowMs: number | undefined;
}

/**
 * Reads the server's part of a module's settings.
 *
 * @param config the config was checked when it was read: values of a wrong type are ignored
 */
export function hostSettings(config: Readonly<Record<string, unknown>>): HostSettings {
  const { run, reload, timeouts } = config;
  const times: object = typeof timeouts === "object" && timeouts !== null ? timeouts : {};
  return {
    config,
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

/** Whether two modules' settings are equal, in any order. */
export function isSameSettings(
  one: Readonly<Record<string, unknown>>,
  other: Readonly<Record<string, unknown>>,
): boolean {
  // A config that was not read again is the same object.
  return one === other || canonical(one) === canonical(other);
}

/** @returns the identity of a version: the bundle's hash and, if there are settings, a digest of them */
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
