/** Plugins of the bundler: bundled code still knows the file that it was written in. */
import { statSync } from "node:fs";
import { basename, dirname, join } from "node:path";

const META_KEYS = ["dir", "dirname", "path", "filename", "file", "url", "resolve"];
const META_PREFIX = "__hrmr_meta_";
const META_MODULE = "hrmr-meta:";

/**
 * Replacements for `import.meta.KEY`. Merged into one file, every input would get the bundle's path. Each value
 * therefore becomes a name that `importMetaPlugin` defines for each file. `import.meta.main` is false: a module is
 * never the started program.
 */
export const IMPORT_META_DEFINES: Record<string, string> = {
  ...Object.fromEntries(META_KEYS.map((key) => [`import.meta.${key}`, META_PREFIX + key])),
  "import.meta.main": "false",
  // The bundler would write the value of the build's environment. It may come from .env, and change.
  "process.env.NODE_ENV": "Bun.env.NODE_ENV",
};

/**
 * Whether a bundle made without `importMetaPlugin` needs it. Most do not, and their build needs no calls from the
 * bundler's threads.
 */
export function needsImportMeta(bundle: string): boolean {
  return bundle.includes(META_PREFIX);
}

/**
 * Imports the names of IMPORT_META_DEFINES into each file that uses `import.meta`, behind its last line, so that no
 * line or column moves.
 */
export const importMetaPlugin: Bun.BunPlugin = {
  name: "hrmr import.meta",
  setup(build) {
    build.onLoad({ filter: /\.[cm]?[jt]sx?$/ }, async ({ path, loader }) => {
      const text = await Bun.file(path).text();
      if (!text.includes("import.meta")) return undefined;
      const names = META_KEYS.map((key) => META_PREFIX + key).join(", ");
      return {
        loader,
        contents: `${text}${IMPORT_MARK}import { ${names} } from ${JSON.stringify(META_MODULE + path)};`,
      };
    });
    build.onResolve({ filter: /^hrmr-meta:/ }, ({ path }) => ({ path, namespace: "hrmr-meta" }));
    // The prefix stays part of the path: the bundler takes equal paths of two namespaces for one file.
    build.onLoad({ filter: /^/, namespace: "hrmr-meta" }, ({ path }) => ({
      loader: "js",
      contents: metaModule(path.slice(META_MODULE.length)),
    }));
  },
};

const IMPORT_MARK = "\n/* hrmr */ ";

/** @returns the author's text */
export function withoutAddedImport(text: string): string {
  const at = text.lastIndexOf(IMPORT_MARK + "import { " + META_PREFIX);
  return at < 0 ? text : text.slice(0, at);
}

function metaModule(path: string): string {
  const values: Record<string, string> = {
    dir: JSON.stringify(dirname(path)),
    dirname: JSON.stringify(dirname(path)),
    path: JSON.stringify(path),
    filename: JSON.stringify(path),
    file: JSON.stringify(basename(path)),
    url: JSON.stringify(Bun.pathToFileURL(path).href),
    resolve: `(specifier) => Bun.pathToFileURL(Bun.resolveSync(specifier, ${JSON.stringify(dirname(path))})).href`,
  };
  return META_KEYS.map((key) => `export const ${META_PREFIX}${key} = ${values[key]};`).join("\n");
}

/**
 * Leaves packages and native addons out of the bundle, and imports them by absolute path: their names do not resolve
 * from the state folder.
 *
 * @param external package names; they include their subpaths
 * @param used gets the files of the imported ones, and the package.json of each
 */
export function externalPlugin(external: readonly string[], used: Set<string>): Bun.BunPlugin {
  const names = external.map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const filter = new RegExp([...names.map((name) => `^${name}(/|$)`), "\\.node$"].join("|"));
  return {
    name: "hrmr external",
    setup(build) {
      build.onResolve({ filter }, ({ path, importer }) => {
        const file = resolveFrom(path, dirname(importer));
        // Not found: the bundler reports it with file, line and column.
        if (file === null) return undefined;
        used.add(file);
        const manifest = nearestManifest(file);
        if (manifest !== null) used.add(manifest);
        return { path: file, external: true };
      });
    },
  };
}

function resolveFrom(specifier: string, folder: string): string | null {
  try {
    return Bun.resolveSync(specifier, folder);
  } catch {
    return null;
  }
}

function nearestManifest(file: string): string | null {
  for (let folder = dirname(file); folder !== dirname(folder); folder = dirname(folder)) {
    const manifest = join(folder, "package.json");
    if (statSync(manifest, { throwIfNoEntry: false }) !== undefined) return manifest;
  }
  return null;
}
