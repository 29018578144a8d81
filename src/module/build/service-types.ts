/**
 * `hrmr-env.d.ts` in the modules folder: the types of the project's services, for editors and `hrmr check`. It is text
 * for TypeScript alone. The server does not read it.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { cServices, cServicesType } from "./c-services";
import { discoverModules, type ModuleFile } from "./discover";

export const TYPES_FILE = "hrmr-env.d.ts";

const HEAD = `// Written by hrmr: the services of this folder's modules, for context.services. \`hrmr types\` writes it again, and so
// do \`--watch\` and a reload. Keep it in version control.
`;

/** A module that may offer services. */
interface TypedModule {
  readonly name: string;
  /** The type of its services, as text. */
  readonly type: string;
}

/**
 * @param modules sorted by name
 * @returns the whole text of the file
 */
export function serviceTypes(modules: readonly TypedModule[]): string {
  const rows = modules.map(({ name, type }) => `    readonly ${JSON.stringify(name)}: ${type};\n`);
  const hasC = modules.some(({ type }) => type.startsWith("{"));
  return `${HEAD}import type { ${hasC ? "ServiceCallOptions, " : ""}ServicesOf } from "hrmr";

declare module "hrmr" {
  interface ModuleServices {
${rows.join("")}  }
}
`;
}

/** @returns null: it has no services, or no types for them */
function typedModule({ name, file }: ModuleFile): TypedModule | null {
  const source = readFileSync(file, "utf8");
  if (file.endsWith(".c")) {
    const services = cServices(source);
    return services.length === 0 ? null : { name, type: cServicesType(services) };
  }
  if (!TYPED.test(file) || !source.includes("services")) return null;
  return { name, type: `ServicesOf<typeof import(${JSON.stringify(importOf({ name, file }))}).default>` };
}

/** The specifier that TypeScript resolves from the modules folder. */
function importOf({ name, file }: Pick<ModuleFile, "name" | "file">): string {
  const isFolder = basename(dirname(file)) === name && basename(file).startsWith("index.");
  const path = isFolder ? `./${name}/${basename(file)}` : `./${basename(file)}`;
  return path.replace(/\.tsx?$/, "").replace(/\.([mc])ts$/, ".$1js");
}

/** JavaScript has no types of its own: its services can be called without. */
const TYPED = /\.[cm]?tsx?$/;

/** The file as it is now. */
export interface WrittenTypes {
  readonly path: string;
  /** The names of the modules in it. */
  readonly modules: readonly string[];
  readonly hasChanged: boolean;
}

/**
 * Writes the file, if its text has changed.
 *
 * @param modulesDir must exist
 * @returns Rejects if the folder cannot be read or written
 */
export async function writeServiceTypes(modulesDir: string): Promise<WrittenTypes> {
  const path = join(modulesDir, TYPES_FILE);
  const { modules } = await discoverModules(modulesDir);
  const able = modules.map(typedModule).filter((module) => module !== null);
  const text = serviceTypes(able);
  const hasChanged = !existsSync(path) || readFileSync(path, "utf8") !== text;
  if (hasChanged) writeFileSync(path, text);
  return { path, modules: able.map(({ name }) => name), hasChanged };
}

/** Whether the project has the file, so that reloads keep it as the modules are. */
export function hasServiceTypes(modulesDir: string): boolean {
  return existsSync(join(modulesDir, TYPES_FILE));
}
