/** Which modules there are to load, by the modules folder and the settings, and which are gone. */
import { existsSync } from "node:fs";
import { discoverModules, type ModuleFile } from "./discover";
import type { ModuleSet } from "./module-set";
import { failure, isAsked, isUsed, type Run } from "./run";

export type FoundModule = ModuleFile & { readonly isImplicit: boolean };

/** Notes what is there in `run.files`, and what is not any more. @throws UserError as `discoverModules` */
export async function look(run: Run): Promise<void> {
  run.files = await findFiles(run);
  noteRemoved(run);
  noteUnknown(run);
}

async function findFiles({ registry: { options }, wanted }: Run): Promise<FoundModule[]> {
  const own = isAwaited(options) ? [] : await discoverModules(options.modulesDir);
  options.mayLackModulesDir &&= own.length === 0;
  const isOn = (name: string): boolean => wanted.settings[name]?.enabled !== false;
  const found: FoundModule[] = own.filter(({ name }) => isOn(name)).map((file) => ({ ...file, isImplicit: false }));
  const names = new Set(own.map((file) => file.name));
  return [...found, ...wanted.shipped.filter(({ name }) => isOn(name) && !names.has(name))];
}

/** The default folder may come later (`hrmr init .`); once it was there, its absence is a mistake and unloads nothing. */
function isAwaited({ modulesDir, mayLackModulesDir }: ModuleSet["options"]): boolean {
  return mayLackModulesDir && !existsSync(modulesDir);
}

function noteRemoved(run: Run): void {
  const { registry, removed, failures, files } = run;
  const there = new Set(files.map((file) => file.name));
  for (const [name, entry] of registry.entries) {
    // One that gets a stored version does not go by its file.
    if (there.has(name) || !isAsked(run, name) || Object.hasOwn(run.order.versions, name)) continue;
    // Taking a guard away by deleting its file would open every door.
    if (isUsed(run, name)) failures.set(name, failure(goneText(run, name)));
    else removed.add(entry);
  }
  for (const name of run.wanted.use ?? []) {
    if (!there.has(name) && !registry.entries.has(name)) failures.set(name, failure("there is no such module, and http.use names it"));
  }
}

function goneText({ wanted }: Run, name: string): string {
  return wanted.settings[name]?.enabled === false
    ? `modules.${name}.enabled is false, and http.use names it. Switch it on, or take it out of http.use.`
    : "its file is gone, and http.use names it. Put it back, or take it out of http.use.";
}

/** RELOAD NAME of what is neither there nor loaded. */
function noteUnknown({ registry, names, files, failures }: Run): void {
  for (const name of names ?? []) {
    const isKnown = registry.entries.has(name) || files.some((file) => file.name === name);
    if (!isKnown && !failures.has(name)) failures.set(name, failure(`there is no module "${name}"`));
  }
}
