/**
 * JSON of the version store. Settings of a TOML or YAML file may hold values that JSON cannot express, and settings that
 * come from variables are secrets: their form in the config file is written, and filled in again when it is read.
 */
import { formatPath, type KeyPath } from "../../config/key-path";
import { isGroup } from "../../config/quoted";
import type { Environment } from "../../config/resolve/environment";
import { type ResolvedConfig, secretSettings } from "../../config/resolve/resolved";
import { filledText } from "../../config/resolve/variables";
import { outerEnvironment } from "../../system/environment";

const BIG = "$bigint";
const DATE = "$date";
const FILLED = "$variables";

/** Texts with variables, by `secretKey`. */
const texts = new Map<string, string>();
let variables: Environment = {};

/**
 * Call it before the store is opened, and when the configuration has changed. It keeps what earlier calls have told, for
 * the life of the process.
 */
export function keepSecrets(config: ResolvedConfig): void {
  // Earlier versions have earlier values, and are written again with the later ones.
  for (const { path, value, text } of secretSettings(config)) texts.set(secretKey(path, value), text);
  variables = { ...config.options.environment, ...outerEnvironment() };
}

/** @param path in the module's settings. Its name is not in an index */
function secretKey(path: KeyPath, value: string): string {
  return `${formatPath(path)}\0${value}`;
}

/** @param space  as for `JSON.stringify` */
export function toJson(value: unknown, space?: number): string {
  return JSON.stringify(value, replace, space);
}

/** @throws SyntaxError for a damaged text */
export function fromJson(text: string): unknown {
  return JSON.parse(text, revive) as unknown;
}

function revive(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (BIG in value && typeof value[BIG] === "string") return BigInt(value[BIG]);
  // A variable that is missing by now stays as it is written.
  if (FILLED in value && typeof value[FILLED] === "string") return filledText(value[FILLED], variables);
  return DATE in value && typeof value[DATE] === "string" ? new Date(value[DATE]) : value;
}

function replace(this: Record<string, unknown>, key: string, value: unknown): unknown {
  const raw = this[key];
  if (typeof raw === "bigint") return { [BIG]: String(raw) };
  if (key === "config" && texts.size > 0) return withoutSecrets(value, []);
  return raw instanceof Date ? { [DATE]: raw.toISOString() } : value;
}

function withoutSecrets(value: unknown, path: KeyPath): unknown {
  if (typeof value === "string") {
    const text = texts.get(secretKey(path, value));
    return text === undefined ? value : { [FILLED]: text };
  }
  if (Array.isArray(value)) return value.map((item, at) => withoutSecrets(item, [...path, at]));
  return isGroup(value)
    ? Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, withoutSecrets(inner, [...path, name])]))
    : value;
}
