/** Finds the modules to load, from the modules folder and the settings, and the modules that are gone. */
import { describeFailure } from "./verdict/failure-text";
import { existsSync } from "node:fs";
import { type Discovered, discoverModules } from "../module/build/discover";
import { leadsTo } from "../module/build/links";
import type { ModuleSet } from "./module-set";
import { entryFor, type FoundModule } from "./entry";
import { failure, isAsked, isUsed, type Run } from "./state";

/** Fills `run.files` and `run.removed`. @throws UserError as `discoverModules` */
export async function look(run: Run): Promise<void> {
  const { options } = run.registry;
  // Follow the links on the folder's path again: one may have been switched to another release.
  const own = isAwaited(options) ? NOTHING : await discoverModules(leadsTo(options.modulesDir) || options.modulesDir);
  options.mayLackModulesDir &&= own.modules.length === 0;
  run.files = filesOf(run, own);
  noteRefused(run, own);
  noteRemoved(run);
  noteUnknown(run);
  run.registry.overlooked(own.overlooked);
}

const NOTHING: Discovered = { modules: [], refused: [], overlooked: [] };

function filesOf({ wanted }: Run, { modules, refused }: Discovered): FoundModule[] {
  const isOn = (name: string): boolean => wanted.settings[name]?.enabled !== false;
  const found: FoundModule[] = modules.filter(({ name }) => isOn(name)).map((file) => ({ ...file, isImplicit: false }));
  const names = new Set([...modules, ...refused].map((file) => file.name));
  return [...found, ...wanted.shipped.filter(({ name }) => isOn(name) && !names.has(name))];
}

/** An unreadable or ambiguous module fails alone. Its serving version stays. */
function noteRefused(run: Run, { refused }: Discovered): void {
  for (const { name, file, error } of refused) {
    if (!isAsked(run, name) || run.wanted.settings[name]?.enabled === false || Object.hasOwn(run.order.versions, name))
      continue;
    entryFor(run.registry, { name, file, isImplicit: false });
    const code = error.code === "MODULE_NAME_TWICE" ? "conflict" : "broken";
    run.failures.set(name, failure(describeFailure(error), code));
  }
}

/**
 * The default folder may appear later (`hrmr init .`). Once it existed, its absence is a mistake and unloads nothing.
 */
function isAwaited({ modulesDir, mayLackModulesDir }: ModuleSet["options"]): boolean {
  return mayLackModulesDir && !existsSync(modulesDir);
}

function noteRemoved(run: Run): void {
  const { registry, removed, failures, files } = run;
  const there = new Set(files.map((file) => file.name));
  for (const [name, entry] of registry.entries) {
    // A module that gets a stored version does not depend on its file.
    if (there.has(name) || failures.has(name) || !isAsked(run, name) || Object.hasOwn(run.order.versions, name))
      continue;
    // Deleting the file of a guard must not remove the protection.
    if (isUsed(run, name)) failures.set(name, failure(goneText(run, name)));
    else removed.add(entry);
  }
  for (const name of run.wanted.use ?? []) {
    if (!there.has(name) && !registry.entries.has(name))
      failures.set(name, failure("there is no such module, and http.use names it", "unknown"));
  }
}

function goneText({ wanted }: Run, name: string): string {
  return wanted.settings[name]?.enabled === false
    ? `modules.${name}.enabled is false, and http.use names it. Switch it on, or take it out of http.use.`
    : "its file is gone, and http.use names it. Put it back, or take it out of http.use.";
}

/** RELOAD NAME of a module that neither exists nor is loaded. */
function noteUnknown({ registry, names, files, failures }: Run): void {
  for (const name of names ?? []) {
    const isKnown = registry.entries.has(name) || files.some((file) => file.name === name);
    if (!isKnown && !failures.has(name)) failures.set(name, failure(`there is no module "${name}"`, "unknown"));
  }
}
