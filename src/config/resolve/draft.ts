/**
 * A configuration in the making: the values of file, environment and flags, one over the other, and the origin of each.
 */
import { CONFIG_KEYS, flattenOptions } from "../schema/key-list";
import { formatPath, type KeyPath, valueAt } from "../key-path";
import { isGroup } from "../quoted";
import { type ConfigFile, mistakesError, withPositions, setPaths } from "./load";
import type { Mistake } from "../mistakes";
import { findContradictions } from "./contradictions";
import type { Options } from "../options";
import { placesOf } from "../places";
import type { ResolvedConfig } from "./resolved";
import { CONFIG_SCHEMA } from "../schema/schema";
import type { UserError } from "../user-error";
import { type FilledText, textsAt } from "./variables";

export class ConfigDraft {
  readonly #file: ConfigFile | null;
  readonly #value: Record<string, unknown>;
  readonly #origins = new Map<string, string>();
  /** By key: the texts of the file that a value comes from, if they have variables. */
  readonly #variables = new Map<string, readonly FilledText[]>();
  readonly notes: string[] = [];

  constructor(file: ConfigFile | null) {
    this.#file = file;
    this.#value = structuredClone(file?.value ?? {});
    if (file === null) return;
    for (const path of setPaths(file.value)) {
      this.#origins.set(formatPath(path), file.originOf(path));
      const texts = textsAt(file.variables, path);
      if (texts.length > 0) this.#variables.set(formatPath(path), texts);
    }
  }

  /** The value so far; undefined: none. It may not fit the schema. */
  get(name: string): unknown {
    return valueAt(this.#value, CONFIG_KEYS.get(name)?.path ?? [name]);
  }

  /** The value so far at a path that need not be a key's; undefined: none. */
  at(path: readonly string[]): unknown {
    return valueAt(this.#value, path);
  }

  /** Whether the value at `path` has this origin. */
  isFrom(path: readonly string[], origin: string): boolean {
    return this.#origins.get(flatName(path)) === origin;
  }

  /** Replaces an earlier value. `origin` is for people: "HRMR_PORT", "--port". */
  set(path: readonly string[], value: unknown, origin: string): void {
    let group = this.#value;
    for (const step of path.slice(0, -1)) {
      const inner = Object.hasOwn(group, step) ? group[step] : undefined;
      group = isGroup(inner) ? inner : define(group, step, {});
    }
    define(group, path.at(-1) ?? "", value);
    const name = flatName(path);
    for (const kept of [this.#origins, this.#variables])
      for (const old of kept.keys()) if (old === name || old.startsWith(`${name}.`)) kept.delete(old);
    this.#origins.set(name, origin);
  }

  /**
   * Checks the whole configuration.
   *
   * @param environment the variables of .env, which go to the modules
   * @throws UserError BAD_CONFIG with every mistake of the file, and every pair of keys that do not agree
   */
  finish(environment: Readonly<Record<string, string>> = {}): ResolvedConfig {
    const ofFile = this.#file?.mistakes ?? [];
    const { data, error } = CONFIG_SCHEMA.safeParse(this.#value);
    if (ofFile.length > 0 || error !== undefined) throw this.#error(ofFile);
    const { $schema: _, ...keys } = data;
    const places = placesOf(keys.modules, (path) => this.#placeOf(path));
    const options: Options = {
      ...keys,
      ...(Object.keys(environment).length === 0 ? null : { environment }),
      ...(Object.keys(places).length === 0 ? null : { places }),
    };
    const file = this.#file?.path ?? null;
    return { options, file, origins: this.#allOrigins(options), variables: this.#variables, notes: this.notes };
  }

  /** Flags and variables have been checked before, so mistakes other than `ofFile` are keys that do not agree. */
  #error(ofFile: readonly Mistake[]): UserError {
    const file = this.#file;
    const contradictions = findContradictions(this.#value).map(({ path, message }) => {
      const origin = this.#origins.get(formatPath(path)) ?? null;
      const isInFile = file !== null && origin === file.originOf(path);
      return { isInFile, position: isInFile ? file.positionOf(path) : origin, message };
    });
    const isOfFile = file !== null && (ofFile.length > 0 || contradictions.some(({ isInFile }) => isInFile));
    return mistakesError(
      [...(file === null ? [] : withPositions(file, ofFile)), ...contradictions],
      isOfFile ? file.path : null,
    );
  }

  /** `hrmr.json:12:5`, or the flag or variable that says it. */
  #placeOf(path: KeyPath): string {
    const own = path.filter((step) => typeof step === "string");
    const flat = own.slice(0, own[2] === "timeouts" ? 4 : 3);
    const origin = this.#origins.get(formatPath(flat));
    const isOfFile = this.#file !== null && (origin === undefined || origin === this.#file.originOf(flat));
    return isOfFile ? (this.#file as ConfigFile).positionOf(path) : (origin ?? "hrmr.json");
  }

  #allOrigins(options: Options): Map<string, string> {
    const originOf = (name: string) => this.#origins.get(name) ?? this.#origins.get(parentOf(name)) ?? "default";
    return new Map([...flattenOptions(options).keys()].map((name) => [name, originOf(name)]));
  }
}

/** By definition and not by assignment: a module may be called `__proto__`. */
function define<T>(group: Record<string, unknown>, name: string, value: T): T {
  Object.defineProperty(group, name, { value, enumerable: true, writable: true, configurable: true });
  return value;
}

/**
 * The name that `flattenOptions` gives to a value at `path`. Each of a module's own settings is one value, however
 * deep.
 */
function flatName(path: readonly string[]): string {
  const depth = path[0] !== "modules" ? path.length : path[2] === "timeouts" ? 4 : 3;
  return formatPath(path.slice(0, depth));
}

function parentOf(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf(".")));
}
