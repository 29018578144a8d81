/**
 * The configuration of a server: defaults, config file, environment and flags put together. What is compared at a reload, and shown.
 */
import { CONFIG_KEYS, flattenOptions } from "./key-list";
import type { Options } from "./options";
import { maskSecrets } from "./secrets";

export interface ResolvedConfig {
  readonly options: Options;
  /** The config file's absolute path; null: there is none. */
  readonly file: string | null;
  /** By key, "limits.maxBodyBytes": "default", "hrmr.json:12", "HRMR_PORT" or "--port". */
  readonly origins: ReadonlyMap<string, string>;
  /** What is odd and no mistake, a line each. */
  readonly notes: readonly string[];
}

/** What `hrmr config --json` prints. */
export interface EffectiveConfig {
  file: string | null;
  /** By key, in the order of the schema, modules last. Secrets are "***". */
  values: Record<string, { value: unknown; origin: string }>;
}

/** All values with their origins; secrets masked. */
export function effectiveConfig({ options, file, origins }: ResolvedConfig): EffectiveConfig {
  const entries = [...flattenOptions(options)].map(([name, value]): [string, { value: unknown; origin: string }] => {
    const shown = CONFIG_KEYS.has(name) ? value : maskSecrets(name.slice(name.lastIndexOf(".") + 1), value);
    return [name, { value: shown, origin: origins.get(name) ?? "default" }];
  });
  return { file, values: Object.fromEntries(entries) };
}

/** The keys whose values differ: `limits.maxBodyBytes`, `modules.greet.greeting`. */
export function changedKeys(old: Options, next: Options): string[] {
  const [before, after] = [flattenOptions(old), flattenOptions(next)];
  const names = new Set([...before.keys(), ...after.keys()]);
  return [...names].filter((name) => before.has(name) !== after.has(name) || !Bun.deepEquals(before.get(name), after.get(name), true));
}

/** Those of the changed keys that a reload cannot change: the server must be started anew for them. */
export function restartOnlyChanges(old: Options, next: Options): string[] {
  return changedKeys(old, next).filter((name) => CONFIG_KEYS.get(name)?.restart === true);
}
