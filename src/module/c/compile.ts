/**
 * Compiles the sources of a module into functions, with TinyCC by `cc` of bun:ffi. Only in the module's own process.
 */
import { messageOf } from "../../config/user-error";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { cc, type Library } from "bun:ffi";
import { assetPath } from "../../config/assets";
import type { ModuleError } from "../graph/describe-error";
import { compileError, warnings } from "./compile-errors";
import { linkLibraries, withCLibrary } from "./libraries";
import { type CSources, sourcesError } from "./sources";

/** The functions of bridge.c. */
const SYMBOLS = {
  hrmr__open: { args: ["ptr", "ptr", "ptr"], returns: "ptr" },
  hrmr__declared: { args: [], returns: "int" },
  hrmr__hooks: { args: [], returns: "int" },
  hrmr__call: { args: ["int", "ptr", "int"], returns: "int" },
  hrmr__fetch: { args: ["int", "ptr", "int", "int", "int", "int"], returns: "int" },
  hrmr__start: { args: ["ptr", "int"], returns: "int" },
  hrmr__handoff: { args: [], returns: "int" },
  hrmr__needed: { args: [], returns: "int" },
  hrmr__live: { args: [], returns: "int" },
  hrmr__leave: { args: ["buffer"], returns: "void" },
  hrmr__stop: { args: [], returns: "void" },
} as const;

/**
 * Before all headers: makes memory the C library's own. Otherwise `malloc` and `free` are the JavaScript engine's, and
 * freeing memory that a library has allocated (strdup, getline) ends the process. bridge.c has the other half.
 */
const MEMORY = `#ifdef __APPLE__
#define hrmr__named(name) __asm__("_hrmr__" name)
#else
#define hrmr__named(name) __asm__("hrmr__" name)
#endif
void *malloc(__SIZE_TYPE__ size) hrmr__named("malloc");
void *calloc(__SIZE_TYPE__ count, __SIZE_TYPE__ size) hrmr__named("calloc");
void *realloc(void *block, __SIZE_TYPE__ size) hrmr__named("realloc");
void free(void *block) hrmr__named("free");
int posix_memalign(void **block, __SIZE_TYPE__ alignment, __SIZE_TYPE__ size) hrmr__named("posix_memalign");
`;

/** Headers of the C library for machines without them. hrmr.h declares their content. */
const STANDARD_HEADERS = ["ctype.h", "math.h", "stdint.h", "stdio.h", "stdlib.h", "string.h", "strings.h"];

export interface Compiled {
  readonly lib: Library<typeof SYMBOLS>;
  /** The compiler's warnings, one line each. */
  readonly warnings: readonly string[];
}

/** @throws ModuleError for a mistake in the sources, and for a library that cannot be linked */
export function compileSources(sources: CSources): Compiled {
  const folder = writeUnit(sources);
  try {
    linkLibraries(sources, folder);
    return compileUnit(sources, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Writes the unit and the sources into a new folder: the compiler reads only files. @returns the folder */
function writeUnit(sources: CSources): string {
  let folder: string | null = null;
  try {
    folder = mkdtempSync(join(tmpdir(), "hrmr-c-"));
    const own = {
      "hrmr.h": readFileSync(assetPath("src/module/hrmr.h")),
      "bridge.c": readFileSync(assetPath("src/module/c/bridge.c")),
    };
    for (const [name, text] of Object.entries(own)) writeFileSync(join(folder, name), text);
    mkdirSync(join(folder, "standard"));
    for (const name of STANDARD_HEADERS) writeFileSync(join(folder, "standard", name), '#include "hrmr.h"\n');
    for (const [name, text] of Object.entries(sources.files)) {
      const path = join(folder, "src", name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text, "latin1");
    }
    // The bridge comes first, before the author's macros.
    writeFileSync(
      join(folder, "unit.c"),
      `${MEMORY}#include "hrmr.h"\n#include "bridge.c"\n#include "src/${sources.entry}"\n`,
    );
    return folder;
  } catch (cause) {
    if (folder !== null) rmSync(folder, { recursive: true, force: true });
    const reason = messageOf(cause);
    throw sourcesError(sources, `the compiler needs a temporary folder: ${reason}`, cause);
  }
}

function compileUnit(sources: CSources, folder: string): Compiled {
  try {
    return { lib: callCompiler(sources, folder, []), warnings: [] };
  } catch (cause) {
    const text = messageOf(cause);
    const error = compileError(sources, text, join(folder, "src"));
    if (error !== null) throw error;
    const odd = warnings(sources, text, join(folder, "src"));
    // A warning makes `cc` fail unless warnings are off.
    return { lib: callQuietly(sources, folder), warnings: odd };
  }
}

function callQuietly(sources: CSources, folder: string): Library<typeof SYMBOLS> {
  try {
    return callCompiler(sources, folder, ["-w"]);
  } catch (cause) {
    const text = messageOf(cause);
    const whole = (): ModuleError => sourcesError(sources, text, cause);
    throw compileError(sources, text, join(folder, "src")) ?? whole();
  }
}

function callCompiler({ include, root }: CSources, folder: string, flags: string[]): Library<typeof SYMBOLS> {
  // First the files that were read, then the other files of those folders.
  const copies = include.map((path) => join(folder, "src", relative(root, path)));
  const standard = existsSync("/usr/include/stdio.h") ? [] : [join(folder, "standard")];
  const source = join(folder, "unit.c");
  const searched = [folder, ...copies, ...include, ...standard];
  return withCLibrary(folder, (linking) =>
    cc({ source, symbols: SYMBOLS, include: searched, flags: [...flags, ...linking] }),
  );
}
