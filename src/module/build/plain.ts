/**
 * Modules that need no bundler: one file that imports nothing but "hrmr" and built-in modules. The transpiler alone makes
 * the same of it in a twentieth of the time. Everything unusual is left to the bundler, mistakes included: it words them.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { mappingsOf } from "./align";
import { foldersUpward } from "./inputs";
import type { SourceMap } from "./prebuilt";

interface PlainBundle {
  readonly code: string;
  readonly map: SourceMap;
}

/** Larger files are left to the bundler. In UTF-16 units. */
const MAX_LENGTH = 131_072;
const LOADERS: Partial<Record<string, "ts" | "js">> = { ".ts": "ts", ".mts": "ts", ".js": "js", ".mjs": "js" };
/**
 * Words that the bundler treats in a way of its own: paths of the file, CommonJS, computed imports, constants that it
 * puts in, comments that it reads.
 */
const UNUSUAL =
  /\bimport\s*(?:\(|\.|defer\b|source\b)|\brequire\b|\bexports\b|\bmodule\b|__(?:dir|file)name|\bNODE_ENV\b|\beval\b|^#!|@bun\b|@jsx|sourceMappingURL|\bmacro\b|\benum\b|\bnamespace\b|<!--|-->/;
/** Its members depend on settings of tsconfig.json. */
const CLASS = /\bclass\b/;
const DECORATOR = /@[\p{ID_Start}$_(]/u;
// Without dead code elimination, constants stay where they are. With it, they would be put in where they are used.
const OPTIONS = { target: "bun", deadCodeElimination: false } as const;
const PLAIN = new Bun.Transpiler({ ...OPTIONS, loader: "js" });
const TYPED = new Bun.Transpiler({ ...OPTIONS, loader: "ts", trimUnusedImports: true });
const TYPED_AS_WRITTEN = new Bun.Transpiler({ ...OPTIONS, loader: "ts", trimUnusedImports: false });
/** Settings that change how a file is compiled. With others, the result is the same. */
const COMPILING = [
  "experimentalDecorators",
  "emitDecoratorMetadata",
  "useDefineForClassFields",
  "importsNotUsedAsValues",
  "preserveValueImports",
];

/**
 * Transpiles a module that needs no bundler.
 *
 * @param path the module's file, absolute, without links
 * @returns null: it needs the bundler. Never throws
 */
export function transpilePlain(path: string): PlainBundle | null {
  const loader = LOADERS[extname(path)];
  if (loader === undefined) return null;
  try {
    const source = readFileSync(path, "utf8");
    if (source.length > MAX_LENGTH || UNUSUAL.test(source)) return null;
    const keepsImports = importsStay(dirname(path), CLASS.test(source));
    if (keepsImports === null || (CLASS.test(source) && DECORATOR.test(source))) return null;
    const transpiler = loader === "ts" ? (keepsImports ? TYPED_AS_WRITTEN : TYPED) : PLAIN;
    if (!transpiler.scanImports(source).every(({ path: imported }) => /^(?:hrmr$|node:|bun:)/.test(imported)))
      return null;
    const code = transpiler.transformSync(source);
    if (mayAssignToImport(code)) return null;
    const mappings = mappingsOf(source, code);
    if (mappings === null) return null;
    // The first line tells Bun that nothing is left to transpile.
    const map = { version: 3, sources: [path], sourcesContent: [source], names: [], mappings: `;${mappings}` };
    return { code: `// @bun\n${code}`, map };
  } catch {
    // A mistake in the file, or no file: the bundler says so.
    return null;
  }
}

/** The bundler refuses assignments to imports. The transpiler leaves them to fail when they run. */
function mayAssignToImport(code: string): boolean {
  for (const { 0: statement } of code.matchAll(/^import\s[^"']*/gm)) {
    for (const { 0: name } of statement.replaceAll(/[\w$]+\s+as\s+/g, "").matchAll(/[\p{L}$_][\p{L}\d$_]*/gu)) {
      if (name === "import" || name === "from") continue;
      const escaped = name.replaceAll("$", "\\$");
      const assigned =
        `(?<![.\\w$])${escaped}\\s*(?:[-+*/%&|^?<>]{0,3}=(?![=>])|\\+\\+|--|\\s(?:of|in)\\b)` +
        `|(?:\\+\\+|--)\\s*${escaped}(?![\\w$])|(?<![\\w$])${escaped}(?![\\w$])[^;=(]*[\\]}]\\s*=(?![=>])`;
      if (new RegExp(assigned).test(code)) return true;
    }
  }
  return false;
}

/**
 * Whether tsconfig.json keeps imports of which no value is used.
 *
 * @returns null: its settings are not for the transpiler
 */
function importsStay(folder: string, hasClass: boolean): boolean | null {
  for (const each of foldersUpward(folder)) {
    for (const name of ["tsconfig.json", "jsconfig.json"]) {
      const text = textOf(join(each, name));
      if (text === null) continue;
      const config = Bun.JSONC.parse(text) as { extends?: unknown; compilerOptions?: Record<string, unknown> };
      const options = config.compilerOptions ?? {};
      if (config.extends !== undefined || COMPILING.some((key) => key in options)) return null;
      if (hasClass && "target" in options && !/^esnext$/i.test(String(options["target"]))) return null;
      return options["verbatimModuleSyntax"] === true;
    }
  }
  return false;
}

/** @returns null: there is none */
function textOf(path: string): string | null {
  // Most folders have none, and an exception would take longer than the look.
  return existsSync(path) ? readFileSync(path, "utf8") : null;
}
