/**
 * The files of a module's program: the texts of a `command` that name a file in the module's folder, such as "bot.py".
 * They are inputs of the build, and their content is a part of the version.
 */
import { readFileSync, statSync } from "node:fs";
import { basename, dirname, relative, resolve, sep } from "node:path";

/** The lists after `command:`. */
const COMMANDS = /\bcommand["']?\s*:\s*\[([^\]]*)\]/g;
const TEXTS = /(["'`])((?:(?!\1)[^\\\n]){1,200})\1/g;
const MAX_FILE_BYTES = 16_777_216;
const SOURCE_MAP = "\n//# sourceMappingURL=";

/**
 * @param text   the bundle
 * @param source the module's file, absolute
 * @returns the bundle with a line for each file, and the files
 */
export function withProgramFiles(text: string, source: string): { text: string; files: string[] } {
  if (!text.includes("command")) return { text, files: [] };
  const mapAt = text.lastIndexOf(SOURCE_MAP);
  const code = mapAt < 0 ? text : text.slice(0, mapAt);
  const files = filesNamedIn(code, source);
  const lines = files.map((file) => `\n// program: ${JSON.stringify(basename(file))} ${hashOf(file)}`).join("");
  // Behind the code: the source map stays right.
  return { text: code + lines + (mapAt < 0 ? "" : text.slice(mapAt)), files };
}

function filesNamedIn(code: string, source: string): string[] {
  const folder = dirname(source);
  const named = new Set(
    [...code.matchAll(COMMANDS)]
      .flatMap(([, list = ""]) => [...list.matchAll(TEXTS)])
      .map(([, , path = ""]) => resolve(folder, path)),
  );
  return [...named].filter((path) => isOwnFile(path, folder) && path !== source).sort();
}

function isOwnFile(path: string, folder: string): boolean {
  const inside = relative(folder, path);
  if (inside === "" || inside === ".." || inside.startsWith(`..${sep}`)) return false;
  try {
    const stats = statSync(path, { throwIfNoEntry: false });
    return stats?.isFile() === true && stats.size <= MAX_FILE_BYTES;
  } catch {
    // A name in the middle is no folder, or is too long.
    return false;
  }
}

function hashOf(path: string): string {
  try {
    return new Bun.CryptoHasher("sha256").update(readFileSync(path)).digest("hex");
  } catch {
    return "unreadable";
  }
}
