/**
 * HRMR_ variables: HRMR_LIMITS_MAX_BODY_BYTES is `limits.maxBodyBytes`.
 */
import { type ConfigKey, CONFIG_KEYS } from "../schema/key-list";
import { violation } from "../mistakes";
import { suggest } from "../nearest";
import { MODULE_PREFIX } from "../variable-names";
import { withAbsolutePaths } from "../paths";
import { fromText } from "./text-values";

export type Environment = Readonly<Record<string, string | undefined>>;

const PREFIX = "HRMR_";
/** These stand for flags, not for keys: `--config`, `--host`, `--port`. */
const FLAG_VARIABLES = ["HRMR_CONFIG", "HRMR_HOST", "HRMR_PORT"];
/** For processes of hrmr among themselves, and for its tests. Names with HRMR_INTERNAL_ are reserved, too. */
const RESERVED = ["HRMR_ROLE", "HRMR_CONTROL", "HRMR_BIN"];

/** `limits.maxBodyBytes` to HRMR_LIMITS_MAX_BODY_BYTES. */
function variableOf(key: string): string {
  return (
    PREFIX +
    key
      .replaceAll(".", "_")
      .replaceAll(/(?<=[a-z0-9])[A-Z]/g, "_$&")
      .toUpperCase()
  );
}

/** Each variable that sets a key, and the key: all keys but lists of objects. */
export const VARIABLES: ReadonlyMap<string, ConfigKey> = new Map(
  [...CONFIG_KEYS.values()]
    .filter(({ takes }) => takes !== "a list of objects")
    .map((key) => [variableOf(key.name), key]),
);

interface EnvironmentValues {
  /** `origin` is for people: "HRMR_WATCH", "HRMR_WATCH in .env". */
  values: { origin: string; key: ConfigKey; value: unknown }[];
  /** A line for each variable whose value does not fit its key. */
  mistakes: string[];
  /** A line for each HRMR_ variable that sets nothing. */
  notes: string[];
  /** Those that set a module's setting. */
  ofModules: ModuleVariable[];
}

/** HRMR_MODULES_NAME_KEY, before its module is known. */
export interface ModuleVariable {
  readonly variable: string;
  readonly text: string;
  /** For people, as that of a key. */
  readonly origin: string;
  /** "the environment" or ".env". */
  readonly where: string;
}

/**
 * Reads the variables that set keys. An empty one does not count. Relative paths start at `cwd`.
 *
 * @param ofFile the variables that come from .env
 */
export function readEnvironment(env: Environment, cwd: string, ofFile: Environment = {}): EnvironmentValues {
  const found: EnvironmentValues = { values: [], mistakes: [], notes: [], ofModules: [] };
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith(PREFIX) || text === undefined || text === "" || isForOthers(variable)) continue;
    const isOfFile = Object.hasOwn(ofFile, variable);
    const where = isOfFile ? ".env" : "the environment";
    const key = VARIABLES.get(variable);
    if (key === undefined && variable.startsWith(MODULE_PREFIX)) {
      found.ofModules.push({ variable, text, origin: isOfFile ? `${variable} in .env` : variable, where });
      continue;
    }
    if (key === undefined) {
      const known = suggest(variable, [...VARIABLES.keys(), ...FLAG_VARIABLES]);
      found.notes.push(`${variable} in ${where} is no setting of hrmr, and is ignored. ${known}`.trim());
      continue;
    }
    const value = fromText(key.schema, text);
    const wrong = violation(key.schema, value);
    const origin = isOfFile ? `${variable} in .env` : variable;
    if (wrong === null) found.values.push({ origin, key, value: withAbsolutePaths(value, key.schema, cwd) });
    else found.mistakes.push(`${variable} in ${where} ${wrong}.`);
  }
  return found;
}

function isForOthers(variable: string): boolean {
  return FLAG_VARIABLES.includes(variable) || RESERVED.includes(variable) || variable.startsWith("HRMR_INTERNAL_");
}

/** Whether .env cannot set it: hrmr's own, and variables that say which file is read or what this program is. */
export function isReserved(variable: string): boolean {
  return RESERVED.includes(variable) || /^(?:HRMR_CONFIG|HRMR_INTERNAL_.*|BUN_BE_BUN|NODE_CHANNEL_.*)$/.test(variable);
}
