/**
 * The configuration of a server: defaults, config file, environment and flags put together. A reload compares it with
 * the one before; `hrmr config` shows it.
 */
import { CONFIG_KEYS, flattenOptions, modulePaths } from "../schema/key-list";
import { formatPath, type KeyPath, valueAt } from "../key-path";
import type { Options } from "../options";
import { MASK, maskUrls } from "../quoted";
import { maskSetting } from "./secrets";
import { type FilledText, isBareVariable, withoutVariables } from "./variables";

export interface ResolvedConfig {
  readonly options: Options;
  /** The config file's absolute path; null: there is none. */
  readonly file: string | null;
  /**
   * By key, "limits.maxBodyBytes": "default", "hrmr.json:12", "environment variable NAME (hrmr.json:12)", "HRMR_PORT" or
   * "--port".
   */
  readonly origins: ReadonlyMap<string, string>;
  /** By key: the texts in the config file that the value comes from, if they have variables. */
  readonly variables: ReadonlyMap<string, readonly FilledText[]>;
  /** Hints about odd settings that are no mistakes, a line each. */
  readonly notes: readonly string[];
}

/** A text among a module's settings that comes from variables. */
interface SecretSetting {
  /** In the module's settings. */
  readonly path: KeyPath;
  readonly value: string;
  /** With the variables: `${MAIL_PASSWORD}`. */
  readonly text: string;
}

/** The modules' texts that come from variables: by `${NAME}` in the file, or HRMR_MODULES_NAME_KEY. */
export function secretSettings({ options, origins, variables }: ResolvedConfig): SecretSetting[] {
  const inFile = [...variables.values()].flat().map(({ path, text }) => ({ path, text }));
  const named = modulePaths(options.modules).flatMap((path) => {
    const variable = /^(HRMR_MODULES_\w+)(?: in \.env)?$/.exec(origins.get(formatPath(path)) ?? "")?.[1];
    return variable === undefined ? [] : [{ path, text: `\${${variable}}` }];
  });
  return [...inFile, ...named].flatMap(({ path, text }) => {
    const value = valueAt(options, path);
    return path[0] === "modules" && typeof value === "string" && value !== ""
      ? [{ path: path.slice(2), value, text }]
      : [];
  });
}

/** The output of `hrmr config --origins --json`. */
export interface EffectiveConfig {
  file: string | null;
  /** By key, in the order of the schema, modules last. A value that may be a secret is "***". */
  values: Record<string, { value: unknown; origin: string }>;
}

/**
 * All values with their origins.
 *
 * @param withSecrets false: shows only module settings that are known to be harmless, and no value of a variable
 */
export function effectiveConfig(
  { options, file, origins, variables }: ResolvedConfig,
  withSecrets = false,
): EffectiveConfig {
  const shown = (path: readonly string[], value: unknown): unknown => {
    if (withSecrets) return value;
    if (variables.has(formatPath(path))) return MASK;
    return path[0] === "modules" ? maskSetting(path, value) : maskUrls(value);
  };
  const paths = [...[...CONFIG_KEYS.values()].map(({ path }) => path), ...modulePaths(options.modules)];
  const entries = paths.map((path): [string, { value: unknown; origin: string }] => {
    const name = formatPath(path);
    return [name, { value: shown(path, valueAt(options, path)), origin: origins.get(name) ?? "default" }];
  });
  return { file, values: Object.fromEntries(entries) };
}

/**
 * The configuration in the form of a config file: the output of `hrmr config --json`. `hrmr start --config` with this
 * file gives the same configuration.
 *
 * @param withSecrets  false: leaves out module settings that may be secret. A reader of the file would take a mask for
 *   a value. Of a value that is a variable, only its name is written: `"${NAME}"`.
 * @returns the file, and the names of the omitted settings: `modules.mail.password`
 */
export function configFileOf(
  { options, variables }: ResolvedConfig,
  withSecrets: boolean,
): { config: Omit<Options, "environment" | "places">; leftOut: string[] } {
  const { environment: _, places: _places, ...keys } = options;
  const config = withoutVariables(keys);
  const leftOut: string[] = [];
  if (withSecrets) return { config, leftOut };
  for (const path of [...[...CONFIG_KEYS.values()].map((key) => key.path), ...modulePaths(config.modules)]) {
    const name = formatPath(path);
    const texts = variables.get(name);
    const value = valueAt(config, path);
    const isShown = path[0] !== "modules" || path.length < 3 || Bun.deepEquals(maskSetting(path, value), value, true);
    if (texts === undefined && isShown) continue;
    const group = (path.length === 1 ? config : valueAt(config, path.slice(0, -1))) as Record<string, unknown>;
    const text = texts?.find((each) => Bun.deepEquals(each.path, path))?.text ?? "";
    // A relative path in a variable starts at the file's folder, and the new file may lie elsewhere.
    if (isBareVariable(text) && CONFIG_KEYS.get(name)?.isPath !== true) group[path.at(-1) ?? ""] = text;
    else {
      delete group[path.at(-1) ?? ""];
      leftOut.push(name);
    }
  }
  return { config, leftOut };
}

/** The keys whose values differ: `limits.maxBodyBytes`, `modules.greet.greeting`. */
export function changedKeys(old: Options, next: Options): string[] {
  const [before, after] = [flattenOptions(old), flattenOptions(next)];
  const names = new Set([...before.keys(), ...after.keys()]);
  return [...names].filter(
    (name) => before.has(name) !== after.has(name) || !Bun.deepEquals(before.get(name), after.get(name), true),
  );
}

/** The changed keys that a reload cannot apply: they need a restart. */
export function restartOnlyChanges(old: Options, next: Options): string[] {
  return changedKeys(old, next).filter((name) => CONFIG_KEYS.get(name)?.restart === true);
}

/**
 * Writes the keys that a reload may change into `options`, in place. Keys that need a restart stay: the caller has
 * refused such changes (`restartOnlyChanges` of the configuration).
 */
export function applyOptions(options: Options, next: Options): void {
  Object.assign(options.limits, next.limits);
  Object.assign(options.timeouts, next.timeouts);
  Object.assign(options.access, next.access);
  Object.assign(options.schedule, next.schedule);
  Object.assign(options.store, next.store);
  Object.assign(options.http, next.http);
  Object.assign(options.log, next.log);
  Object.assign(options.tls, next.tls);
  Object.assign(options.versions, next.versions);
  const { commands, tokenFile, maxUploadBytes, maxUploadFiles } = next.control;
  Object.assign(options.control, { commands, tokenFile, maxUploadBytes, maxUploadFiles });
  options.watch = next.watch;
  options.environment = next.environment ?? {};
  options.places = next.places ?? {};
  for (const name of Object.keys(options.modules)) delete options.modules[name];
  Object.assign(options.modules, next.modules);
}
