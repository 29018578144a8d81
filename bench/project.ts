/** Temporary project folders for hrmr to serve. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

const PACKAGES = resolve(import.meta.dir, "..", "node_modules");
const folders = new Set<string>();

/** @param files text by path in the project. @returns the folder; `removeProjects` takes it away */
export function makeProject(files: Record<string, string>): string {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), "hrmr-bench-")));
  folders.add(dir);
  // Lets the modules import hono and zod.
  symlinkSync(PACKAGES, join(dir, "node_modules"));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), text);
  }
  return dir;
}

export function removeProjects(): void {
  for (const dir of folders) rmSync(dir, { recursive: true, force: true });
  folders.clear();
}

/** A module's source around its definition. */
export function moduleSource(definition: string): string {
  return `import { defineModule } from "hrmr";\nexport default defineModule(${definition});\n`;
}
