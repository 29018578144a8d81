/**
 * Makes the bundler look again. For the life of the process, Bun remembers what it saw of a folder: its names, its
 * package.json and tsconfig.json, and missing files (oven-sh/bun#40105, open in 1.4.4). It would not see a package that
 * is installed after a failed build, or replaced by another version, until a restart.
 */
import { readdirSync, statSync } from "node:fs";
import { dirname, join, resolve, sep } from "node:path";
import { foldersUpward, type InputSet, packageName, signatureAt } from "./inputs";
import { leadsTo, type Link } from "./links";

// For the whole process, like Bun's memory.
const configs = new Map<string, { governs: string; signature: string }>();
const folders = new Map<string, { signature: string; names: string }>();
const links = new Map<string, { leadsTo: string; behind: Set<string> }>();

/** Records the inputs of a successful build. */
export function rememberView(inputs: InputSet): void {
  for (const [path, governs] of inputs.configs) configs.set(path, { governs, signature: inputs.files.get(path) ?? "" });
  rememberLinks(inputs.links.values());
  for (const path of inputs.files.keys()) if (!inputs.configs.has(path)) rememberFolder(dirname(path));
}

/** @returns the links that are new or lead elsewhere than before */
function rememberLinks(found: Iterable<Link>): Link[] {
  const news: Link[] = [];
  for (const link of found) {
    const known = links.get(link.path);
    if (known?.leadsTo !== link.leadsTo) news.push(link);
    links.set(link.path, { leadsTo: link.leadsTo, behind: new Set([...(known?.behind ?? []), ...link.behind]) });
  }
  return news;
}

/**
 * Makes Bun follow these links again, if they are new or lead elsewhere than before.
 *
 * @returns whether a build could give another result now
 */
export function followAgain(found: Iterable<Link>): boolean {
  const news = rememberLinks(found);
  forget(new Set(news.flatMap(({ path, behind }) => [dirname(path), path, ...behind])));
  return news.length > 0;
}

function rememberFolder(folder: string): void {
  if (!folders.has(folder)) folders.set(folder, { signature: signatureAt(folder), names: namesIn(folder) });
}

/**
 * Before a build: forgets the folders whose names have changed, all folders below a changed package.json or
 * tsconfig.json, and all behind a switched link.
 */
export function refreshView(): void {
  const stale = new Set<string>();
  for (const [path, config] of configs) {
    const signature = signatureAt(path);
    if (signature === config.signature) continue;
    config.signature = signature;
    for (const folder of foldersBelow(config.governs)) stale.add(folder);
    // A package that was just installed: list the folders above it again, too.
    for (const folder of foldersUpward(config.governs)) stale.add(folder);
  }
  for (const [folder, seen] of folders) {
    const signature = signatureAt(folder);
    if (signature === seen.signature) continue;
    seen.signature = signature;
    const names = namesIn(folder);
    if (names !== seen.names) stale.add(folder);
    seen.names = names;
  }
  for (const [path, link] of links) {
    const now = leadsTo(path);
    if (now === link.leadsTo) continue;
    link.leadsTo = now;
    for (const folder of [dirname(path), path, ...link.behind]) stale.add(folder);
  }
  forget(stale);
}

/**
 * After a build that did not find an import: forgets every folder where it could be.
 *
 * @param importer  absolute path of the file with the import
 */
export function forgetFoldersOf(importer: string, specifier: string): void {
  const from = dirname(importer);
  const name = packageName(specifier);
  const possible = foldersUpward(from).flatMap((folder) => {
    const packages = join(folder, "node_modules");
    return name === null
      ? [folder]
      : [folder, packages, join(packages, name), join(packages, specifier), dirname(join(packages, specifier))];
  });
  const relative = resolve(from, specifier);
  // Known folders too: the specifier may be an alias of tsconfig's `paths`.
  forget(new Set([...possible, relative, ...foldersUpward(dirname(relative)), ...folders.keys()]));
}

// From the top down: Bun lists a forgotten folder at once, and uses its memory of the folder above.
function forget(stale: ReadonlySet<string>): void {
  for (const folder of [...stale].sort((a, b) => a.length - b.length)) {
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) continue;
    try {
      // This always fails. Bun then forgets the importer's folder and tries once more.
      Bun.resolveSync("./.hrmr-no-such-file", folder);
    } catch {
      // Expected.
    }
  }
}

function foldersBelow(top: string): Set<string> {
  const below = new Set<string>([top]);
  const prefix = top.endsWith(sep) ? top : top + sep;
  for (const folder of folders.keys()) {
    for (let at = folder; at.startsWith(prefix); at = dirname(at)) below.add(at);
  }
  return below;
}

function namesIn(folder: string): string {
  try {
    return readdirSync(folder).sort().join("/");
  } catch {
    // The folder is gone with all its names.
    return "";
  }
}
