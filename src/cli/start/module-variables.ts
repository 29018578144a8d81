/** HRMR_MODULES_NAME_KEY: settings of modules from the environment. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { assetFiles } from "../../config/assets";
import { violation } from "../../config/mistakes";
import { withAbsolutePaths } from "../../config/paths";
import { isGroup } from "../../config/quoted";
import type { ConfigDraft } from "../../config/resolve/draft";
import type { ModuleVariable } from "../../config/resolve/environment";
import { HARMLESS_SETTINGS } from "../../config/resolve/secrets";
import { fromText } from "../../config/resolve/text-values";
import { MODULE_KEYS } from "../../config/schema/key-list";
import { isForKey, isOfModule, jsonOrText, variableFor } from "../../config/variable-names";
import { discoverModules } from "../../module/build/discover";

/** A module, as far as it is known before it is loaded. */
interface KnownModule {
  readonly name: string;
  /** Its known keys: the server's, and those in the config file. `timeouts.loadMs` is one. */
  readonly keys: readonly string[];
  /** Whether its code may have a config schema with further keys. */
  readonly mayHaveSchema: boolean;
}

/**
 * The setting that a variable stands for.
 *
 * @returns module and key; the variable's own name as the key if only the module's schema can tell, which its load then
 *   asks; a text: the mistake, without the variable's name in front
 */
export function findSetting(variable: string, modules: readonly KnownModule[]): { name: string; key: string } | string {
  const candidates = modules.filter(({ name }) => isOfModule(variable, name));
  if (candidates.length === 0) {
    const names = modules.map(({ name }) => name).sort();
    return `fits no module. ${names.length === 0 ? "There is none" : `There are ${names.join(", ")}`}`;
  }
  const fits = candidates.flatMap(({ name, keys }) =>
    keys.filter((key) => isForKey(variable, name, key)).map((key) => ({ name, key })),
  );
  const [first, second] = fits;
  if (first !== undefined && second === undefined) return first;
  if (first !== undefined && second !== undefined)
    return `fits both modules.${first.name}.${first.key} and modules.${second.name}.${second.key}. Write it in the config file`;
  const [one, other] = candidates.filter(({ mayHaveSchema }) => mayHaveSchema);
  if (one !== undefined && other !== undefined)
    return `may be a setting of ${one.name} or of ${other.name}. Write it in the config file`;
  if (one !== undefined) return { name: one.name, key: variable };
  const [{ name, keys } = { name: "", keys: [] }] = candidates;
  return `fits no setting of the module ${name}. Known are ${keys.map((key) => variableFor(name, key)).join(", ")}`;
}

/**
 * Sets the variables' values in `draft`, under those of `--set`.
 *
 * @param folder  where `modules` is if no key says it
 * @returns a line for each mistake
 */
export async function applyModuleVariables(
  draft: ConfigDraft,
  variables: readonly ModuleVariable[],
  folder: string,
): Promise<string[]> {
  const modules = await knownModules(draft, folder);
  return variables.flatMap(({ variable, text, origin, where }) => {
    const found = findSetting(variable, modules);
    if (typeof found === "string") return [`${variable} in ${where} ${found}.`];
    const path = ["modules", found.name, ...found.key.split(".")];
    const isServers = MODULE_KEYS.has(found.key);
    const at = isServers ? path : ["modules", found.name, found.key];
    if (draft.isFrom(at, "--set")) return [];
    const { value, wrong } = valueOf(found.key, text, draft.at(at), folder);
    if (wrong !== null) return [`${variable} in ${where} ${wrong}.`];
    draft.set(at, value, origin);
    return [];
  });
}

/** @param old the value in the config file: a text stays a text */
function valueOf(key: string, text: string, old: unknown, folder: string): { value: unknown; wrong: string | null } {
  const own = MODULE_KEYS.get(key);
  if (own === undefined)
    return { value: key.startsWith("HRMR_") || typeof old === "string" ? text : jsonOrText(text), wrong: null };
  const value = fromText(own.schema, text);
  return { value: withAbsolutePaths(value, own.schema, folder), wrong: violation(own.schema, value) };
}

async function knownModules(draft: ConfigDraft, folder: string): Promise<KnownModule[]> {
  const dir = String(draft.get("modulesDir") ?? join(folder, "modules"));
  const files = existsSync(dir) ? (await discoverModules(dir)).modules : [];
  const settings = draft.at(["modules"]);
  const inFile = isGroup(settings) ? settings : {};
  const shipped = new Set(assetFiles("modules").map(([path]) => path.replace(/(?:\.ts$|\/).*/, "")));
  const names = new Set([...files.map(({ name }) => name), ...shipped, ...Object.keys(inFile)]);
  return [...names].map((name) => {
    const file = files.find((each) => each.name === name)?.file;
    const own = inFile[name];
    return {
      name,
      keys: [
        ...MODULE_KEYS.keys(),
        ...(isGroup(own) ? Object.keys(own).filter((key) => !MODULE_KEYS.has(key) && key !== "timeouts") : []),
        ...(shipped.has(name) && file === undefined ? shippedKeys(name, isGroup(own) ? own : {}) : []),
      ],
      // C has no schema. A module that is not there yet may come later.
      mayHaveSchema: file === undefined ? !shipped.has(name) : !file.endsWith(".c"),
    };
  });
}

function shippedKeys(name: string, inFile: Record<string, unknown>): string[] {
  const keys = [...(HARMLESS_SETTINGS[name] ?? []), ...(name === "access" ? ["tokens"] : [])];
  return keys.filter((key) => !Object.hasOwn(inFile, key));
}
