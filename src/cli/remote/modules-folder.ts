/** The modules folder that a command works on, without a server. */
import { join, resolve } from "node:path";
import { loadConfig } from "../../config/resolve/load";
import { projectFolder } from "./project-folder";

/**
 * @param named the flag `--modules`; undefined: the folder that the project's configuration names
 * @returns absolute; it need not exist
 */
export async function modulesFolder(named: string | undefined): Promise<{ project: string; folder: string }> {
  const project = projectFolder(process.cwd());
  if (named !== undefined) return { project, folder: resolve(named) };
  return { project, folder: (await loadConfig(project)).options.modulesDir ?? join(project, "modules") };
}
