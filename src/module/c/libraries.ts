/** Libraries of the system that a module in C calls. */
import { closeSync, openSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cc, CString, type Pointer } from "bun:ffi";
import { libraryError } from "./compile-errors";
import type { CSources } from "./sources";

/** Every process has these. */
const ALWAYS_THERE = new Set(["c", "m", "pthread", "dl", "rt"]);

const FOLDERS: Partial<Record<NodeJS.Architecture, string>> = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" };

/**
 * An empty linker script that stands in for "libc.so". The compiler gives up without that file, and only libc6-dev has
 * it. The real library is libc.so.6, which this process has loaded. Every machine uses the script, so a module compiles
 * on all or on none.
 */
const NO_LIBRARY = "GROUP ( )\n";

/**
 * Calls the compiler, on a machine with or without the C library's development files.
 *
 * @param folder   the script is written here
 * @param compile  gets the flags for `cc`
 */
export function withCLibrary<T>(folder: string, compile: (flags: string[]) => T): T {
  if (process.platform !== "linux") return compile([]);
  writeFileSync(join(folder, "libc.so"), NO_LIBRARY);
  // A space would end the flag, and the temporary folder's path may have one.
  const fd = openSync(folder, "r");
  try {
    return compile([`-L/proc/self/fd/${fd}`]);
  } finally {
    closeSync(fd);
  }
}

/**
 * Loads the libraries that the sources name, for all later compilations in this process. The compiler's own search
 * needs files of development packages ("libz.so" without a number).
 *
 * @param folder for a temporary file of the compiler
 * @throws ModuleError for a library that is missing, or cannot be loaded
 */
export function linkLibraries(sources: CSources, folder: string): void {
  const wanted = sources.libs.filter(({ name }) => !ALWAYS_THERE.has(name));
  if (wanted.length === 0) return;
  const loader = openLoader(folder);
  try {
    for (const lib of wanted) {
      const reason = load(loader.open, lib.name);
      if (reason !== null) throw libraryError(sources, lib, reason);
    }
  } finally {
    loader.close();
  }
}

/** @returns why it could not be loaded; null: it is loaded */
function load(open: (path: string) => string | null, name: string): string | null {
  if (name.includes("/")) return open(name);
  const folders = libraryFolders();
  const paths = folders.flatMap((folder) => filesOf(folder, name));
  // One of them may be of another architecture, or a linker's script.
  let reason: string | null = null;
  for (const path of paths) {
    const failed = open(path);
    if (failed === null) return null;
    reason ??= failed;
  }
  return reason ?? `there is no lib${name} in ${folders.join(", ")}. Install it, or name its file`;
}

function libraryFolders(): string[] {
  const own = FOLDERS[process.arch];
  const named = (process.env["LD_LIBRARY_PATH"] ?? "").split(":").filter((folder) => folder.startsWith("/"));
  if (process.platform === "darwin") return [...named, "/opt/homebrew/lib", "/usr/local/lib", "/usr/lib"];
  const multiarch = own === undefined ? [] : [`/usr/lib/${own}`, `/lib/${own}`];
  return [...named, "/usr/local/lib", ...multiarch, "/usr/lib64", "/lib64", "/usr/lib", "/lib"];
}

/** libz.so.1 before libz.so: the latter may be a script for linkers. */
function filesOf(folder: string, name: string): string[] {
  const pattern = new RegExp(`^lib${RegExp.escape(name)}(?:\\.so(?:\\.\\d+)*|(?:\\.\\d+)*\\.dylib)$`);
  let entries: string[];
  try {
    entries = readdirSync(folder);
  } catch {
    // The machine does not have this folder.
    return [];
  }
  const found = entries.filter((entry) => pattern.test(entry)).sort((a, b) => b.length - a.length || (a < b ? 1 : -1));
  return found.map((entry) => join(folder, entry));
}

/** `dlopen` of bun:ffi loads a library privately. Code that is compiled later finds only global ones. */
const LOADER = `
void *dlopen(const char *path, int how);
const char *dlerror(void);
const char *hrmr__load(const char *path, int how) { return dlopen(path, how) ? 0 : dlerror(); }
`;
const RTLD_NOW_GLOBAL = process.platform === "darwin" ? 0x0a : 0x102;

function openLoader(folder: string): { open: (path: string) => string | null; close: () => void } {
  const source = join(folder, "loader.c");
  writeFileSync(source, LOADER);
  const symbols = { hrmr__load: { args: ["buffer", "int"], returns: "ptr" } } as const;
  const lib = withCLibrary(folder, (flags) => cc({ source, symbols, flags }));
  return {
    open: (path) => {
      const reason = lib.symbols.hrmr__load(Buffer.from(`${path}\0`), RTLD_NOW_GLOBAL);
      return reason === null ? null : new CString(reason as Pointer).toString();
    },
    close: () => lib.close(),
  };
}
