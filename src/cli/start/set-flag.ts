/**
 * `--set key.path=value`: any key of the configuration from the command line.
 */
import type { ConfigDraft } from "../../config/resolve/draft";
import { CONFIG_KEYS, fieldsOf, MODULE_KEYS, modulePaths, schemaAt } from "../../config/schema/key-list";
import { valueAt } from "../../config/key-path";
import { suggestKey, violation } from "../../config/mistakes";
import { nearest } from "../../config/nearest";
import { withAbsolutePaths } from "../../config/paths";
import { isGroup, quoted } from "../../config/quoted";
import { fromText } from "../../config/resolve/text-values";
import { jsonOrText } from "../../config/variable-names";
import { badValue } from "../flags";

const ORIGIN = "--set";

/**
 * Puts every `key.path=value` into `draft`, in order. Relative paths start at `cwd`.
 *
 * @throws UserError BAD_VALUE with all mistakes, exit code 2
 */
export function applySet(draft: ConfigDraft, given: readonly string[], cwd: string): void {
  const mistakes = given.flatMap((text) => setOne(draft, text, cwd) ?? []);
  if (mistakes.length === 0) return;
  throw badValue(mistakes.join("\n"), "`hrmr config` lists the keys; modules.NAME.KEY is a setting of a module.");
}

/** @returns the mistake; null: it was set */
function setOne(draft: ConfigDraft, given: string, cwd: string): string | null {
  const equals = given.indexOf("=");
  if (equals < 1)
    return `--set takes KEY=VALUE, such as limits.maxBodyBytes=5000, not ${quoted(given.replace(/[:= ].*$/s, "..."))}.`;
  const name = given.slice(0, equals);
  const text = given.slice(equals + 1);
  const path = name.split(".");
  if (path.includes("")) return `--set ${name}: there is no such key.`;
  if (path[0] === "modules") return setForModule(draft, path, text, cwd);
  const key = CONFIG_KEYS.get(name);
  if (key === undefined) return unknown(path);
  const value = fromText(key.schema, text);
  const wrong = violation(key.schema, value);
  if (wrong !== null) return `--set ${name} ${wrong}.`;
  draft.set(path, withAbsolutePaths(value, key.schema, cwd), ORIGIN);
  return null;
}

/**
 * A module's own settings take any value: JSON, or a text if it is not JSON. The server's settings of a module are
 * checked.
 */
function setForModule(draft: ConfigDraft, path: string[], text: string, cwd: string): string | null {
  const name = path.join(".");
  if (path.length < 2) return "--set modules: name a module and a key of it, such as modules.greet.enabled=false.";
  const schema = schemaAt(path);
  const isUnknown = schema === null && path[2] === "timeouts";
  if (isUnknown) return unknown(path);
  const value = schema === null ? jsonOrText(text) : fromText(schema, text);
  const wrong = schema === null ? null : violation(schema, value);
  if (wrong !== null) return `--set ${name} ${wrong}.`;
  if (path.length === 2 && isGroup(value)) setWhole(draft, path, value);
  else draft.set(path, schema === null ? value : withAbsolutePaths(value, schema, cwd), ORIGIN);
  return null;
}

/** `modules.greet={"greeting": "Hi"}`: sets key by key, so that each has its origin, and the file's other keys stay. */
function setWhole(draft: ConfigDraft, path: string[], settings: Record<string, unknown>): void {
  const name = path[1] ?? "";
  const whole = { [name]: settings };
  for (const inner of modulePaths(whole)) {
    if (inner.length > 2) draft.set(inner, valueAt({ modules: whole }, inner), ORIGIN);
    else draft.set(inner, {}, ORIGIN);
  }
}

function unknown(path: string[]): string {
  const name = path.join(".");
  const schema = schemaAt(path);
  const [first] = Object.keys((schema === null ? null : fieldsOf(schema)) ?? {});
  if (first !== undefined) return `--set ${name}: this is a group of keys. Name one of them, such as ${name}.${first}.`;
  const module = path.slice(0, 2).join(".");
  const known = path[0] === "modules" ? [...MODULE_KEYS.keys()].map((key) => `${module}.${key}`) : CONFIG_KEYS.keys();
  const near = nearest(name, known);
  const meant = near === null ? suggestKey([], path.at(-1) ?? "") : `Did you mean ${near}?`;
  return `--set ${name}: there is no such key. ${meant}`.trim();
}
