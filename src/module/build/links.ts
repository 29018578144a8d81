/**
 * The symbolic links that a module's imports pass. If a link is switched to another release, the next build differs
 * although no file has changed. Bun follows a link once, and remembers its target for the life of the process.
 */
import { existsSync, lstatSync, readFileSync, realpathSync } from "node:fs";
import { dirname, extname, join, parse, resolve, sep } from "node:path";

/** One import in its author's words. */
export interface Import {
  /** Absolute path of the file with the import. */
  readonly importer: string;
  readonly specifier: string;
  /** Absolute path of the file that Bun found; null: not known, or none. */
  readonly target: string | null;
}

/** A link and its target. */
export interface Link {
  /** Absolute path of the link, in the names of the import. */
  readonly path: string;
  /** Absolute path without links; "" for a dead link. */
  readonly leadsTo: string;
  /** Folders behind the link, in the same names, the outermost first. */
  readonly behind: readonly string[];
}

/** Endings that are tried for an import without one, in this order. */
const ENDINGS = ["", ".ts", ".tsx", ".js", ".jsx", ".mts", ".cts", ".mjs", ".cjs", ".json"];

/**
 * Finds the links among imports. If the target has the path in the specifier, the import passes no link. No file is
 * read then.
 *
 * @param homeOf  finds the folder of the package that a specifier names, from a folder; null: it names no package, or
 *   none is installed
 * @param aliases  folders that tsconfig.json's `paths` and `baseUrl` name
 */
export function findLinks(
  imports: Iterable<Import>,
  homeOf: (specifier: string, folder: string) => string | null,
  aliases: Iterable<string>,
): Map<string, Link> {
  const links = new Map<string, Link>();
  const seen = new Set<string>();
  const add = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const link of linksOn(path)) {
      const known = links.get(link.path);
      links.set(
        link.path,
        known === undefined ? link : { ...known, behind: [...new Set([...known.behind, ...link.behind])] },
      );
    }
  };
  for (const { importer, specifier, target } of imports) {
    if (/^\.{0,2}\//.test(specifier) || specifier === "." || specifier === "..") {
      const named = resolve(dirname(importer), specifier);
      if (target === null || !isPlainly(named, target)) for (const ending of ENDINGS) add(named + ending);
    } else {
      const home = homeOf(specifier, dirname(importer));
      if (home !== null && target?.startsWith(home + sep) !== true) add(behindHome(home, target));
    }
  }
  for (const folder of aliases) add(folder);
  return links;
}

/**
 * Whether the target has the path of the name: words.ts for `./words` and `./words.js`, words/index.ts for `./words`.
 */
function isPlainly(named: string, target: string): boolean {
  if (target.startsWith(named)) return [undefined, ".", sep].includes(target[named.length]);
  const ending = extname(named);
  return ending !== "" && target.startsWith(named.slice(0, -ending.length) + ".");
}

/**
 * @returns the target's path through the package's folder, or that folder if the target is not known or lies elsewhere
 */
function behindHome(home: string, target: string | null): string {
  const real = leadsTo(home);
  return real !== "" && target?.startsWith(real + sep) === true ? home + target.slice(real.length) : home;
}

/** The links among a path's folders and the path itself. */
export function linksOn(path: string): Link[] {
  const { root } = parse(path);
  const names = path.slice(root.length).split(sep);
  const found: Link[] = [];
  let at = root;
  for (const [index, name] of names.entries()) {
    at = join(at, name);
    let isLink: boolean | undefined;
    try {
      isLink = lstatSync(at, { throwIfNoEntry: false })?.isSymbolicLink();
    } catch {
      // A file in place of a folder, or an unreadable folder: the build reports it.
    }
    if (isLink === undefined) break;
    if (!isLink) continue;
    const behind = names.slice(index + 1, -1).map((_, count) => join(at, ...names.slice(index + 1, index + 2 + count)));
    found.push({ path: at, leadsTo: leadsTo(at), behind });
  }
  return found;
}

/** @returns the path without links; "" if it does not exist */
export function leadsTo(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return "";
  }
}

/** The folders where a tsconfig.json looks up imports. None if the file cannot be read. */
export function aliasFolders(file: string): string[] {
  // Most folders have none, and an exception would take longer than the look.
  if (!existsSync(file)) return [];
  try {
    const config = Bun.JSONC.parse(readFileSync(file, "utf8")) as {
      compilerOptions?: { baseUrl?: unknown; paths?: unknown };
    } | null;
    const { baseUrl, paths } = config?.compilerOptions ?? {};
    const base = resolve(dirname(file), typeof baseUrl === "string" ? baseUrl : ".");
    const targets = Object.values(typeof paths === "object" && paths !== null ? paths : {}).flat();
    const named = targets
      .filter((target) => typeof target === "string")
      .map((target) => resolve(base, target.split("*", 1)[0] ?? ""));
    return [...(typeof baseUrl === "string" ? [base] : []), ...named];
  } catch {
    // Half written, or broken: the bundler reports it or ignores it.
    return [];
  }
}
