/**
 * Modules in C that call libraries, and machines that have neither a compiler nor headers. Also run against the binary
 * (HRMR_BIN).
 */
import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ask } from "../../support/client";
import { makeProject, reuseHubs, shareHub, withHub } from "../../support/hub";
import { program } from "../../support/program";

const reused = reuseHubs();

const LIBRARY_FOLDERS = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/lib"];
const hasZlib = LIBRARY_FOLDERS.some((folder) => namesIn(folder).some((name) => name.startsWith("libz.so")));

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** crc32 of zlib, whose prototype is the module's own. */
function crcModule(pragma: string): string {
  return `#include "hrmr.h"
${pragma}
unsigned long crc32(unsigned long crc, const unsigned char *bytes, unsigned length);
static void crc(hrmr_request *request) {
  hrmr_reply_format(request, "%08lx\\n", crc32(0, (const unsigned char *)request->bytes + 4, request->length - 4));
}
void hrmr_module(hrmr_setup *setup) { hrmr_command(setup, "CRC ", HRMR_LINE, crc); }
`;
}

describe.skipIf(!hasZlib)(`zlib${hasZlib ? "" : " (is not installed)"}`, () => {
  test("is linked where a #pragma asks for it, its development files installed or not", async () => {
    await reused({ "modules/crc.c": crcModule('#pragma hrmr link "z"') }, [], async (hub) => {
      expect(await hub.ask("CRC 123456789\n")).toBe("cbf43926\n");
    });
  });

  test("is linked where the config asks for it, and a reload of the config takes that in", async () => {
    await reused({ "modules/crc.c": crcModule(""), "hrmr.json": "{}" }, [], async (hub) => {
      await hub.program.waitFor(/crc32 is declared, and defined nowhere\. Is it in a library\?/);
      hub.write("hrmr.json", `{ "modules": { "crc": { "libs": ["z"] } } }`);
      hub.program.signal("SIGHUP");
      await hub.program.waitFor(/crc v1 .*loaded/);
      expect(await hub.ask("CRC 123456789\n")).toBe("cbf43926\n");
    });
  });
});

test("a library of one's own is linked by its path, and folders with headers are searched and watched", async () => {
  const source = `#include "hrmr.h"
#pragma hrmr include "../vendor"
#include <answer.h>
static void answer(hrmr_request *request) { hrmr_reply_format(request, "%d\\n", ANSWER); }
void hrmr_module(hrmr_setup *setup) { hrmr_command(setup, "ANSWER", HRMR_LINE, answer); }
`;
  await reused({ "modules/answer.c": source, "vendor/answer.h": "#define ANSWER 41\n" }, [], async (hub) => {
    expect(await hub.ask("ANSWER\n")).toBe("41\n");
    hub.write("vendor/answer.h", "#define ANSWER 42\n");
    expect(await hub.ask("RELOAD\n")).toMatch(/answer v2 .*swapped/);
    expect(await hub.ask("ANSWER\n")).toBe("42\n");
    hub.write("modules/answer.c", `#pragma hrmr link "../vendor/libanswer.so"\n${source}`);
    const verdict = await hub.ask("RELOAD\n");
    expect(verdict).toMatch(/modules\/answer\.c:1.*cannot link ".*\/vendor\/libanswer\.so": .*No such file/i);
    expect(await hub.ask("ANSWER\n")).toBe("42\n");
  });
});

test("a library that is not there is told with the line that asks for it", async () => {
  await reused({ "modules/crc.c": crcModule('#pragma hrmr link "nonesuch"') }, [], async (hub) => {
    await hub.program.waitFor(/modules\/crc\.c:2:\d+: cannot link "nonesuch": there is no libnonesuch in /);
  });
});

test("warnings are logged and refuse nothing; a function without a prototype is refused", async () => {
  const source = (code: string): string => `#include "hrmr.h"
static void odd(hrmr_request *request) { ${code} hrmr_reply_text(request, "odd"); }
void hrmr_module(hrmr_setup *setup) { hrmr_command(setup, "ODD", HRMR_LINE, odd); }
`;
  await withHub({ "modules/odd.c": source('const char *text = "a"; char *other = text;') }, [], async (hub) => {
    expect(await hub.ask("ODD\n")).toBe("odd");
    await hub.program.waitFor("modules/odd.c:2: assignment discards qualifiers");
    hub.write("modules/odd.c", source("char *text = memrchr(request->bytes, 'O', 1);"));
    expect(await hub.ask("RELOAD\n")).toContain("modules/odd.c:2:55: memrchr is not declared");
    expect(await hub.ask("ODD\n")).toBe("odd");
  });
});

/**
 * In a namespace of its own, as on a machine without libc6-dev: an empty folder lies over the headers, and over each
 * folder of libraries another one that links to all but what only compilers want. With an empty PATH.
 */
const HIDE_DEVELOPMENT_FILES = `
set -e
dir=$0
mkdir "$dir/empty"
mount --bind "$dir/empty" /usr/include
count=0
for folder in ${LIBRARY_FOLDERS.join(" ")}; do
  folder=$(readlink -f "$folder" || true)
  [ -e "$folder/libc.so" ] || continue
  count=$((count + 1))
  real=$dir/real$count shown=$dir/shown$count
  mkdir "$real" "$shown"
  mount --bind "$folder" "$real"
  ln -s "$real"/* "$shown/"
  rm -f "$shown"/libc.so "$shown"/libm.so "$shown"/*.a "$shown"/*crt?.o
  mount --bind "$shown" "$folder"
  ! [ -e "$folder/libc.so" ]
done
! [ -e /usr/include/stdio.h ]
export PATH=/nowhere
exec "$@"`;
const mayUnshare = Bun.spawnSync(["unshare", "-m", "true"]).exitCode === 0;

const STANDARD = `#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include "hrmr.h"
static void root(hrmr_request *request) { hrmr_reply_format(request, "%.3f\\n", sqrt(strtod(request->bytes + strlen("ROOT "), NULL))); }
void hrmr_module(hrmr_setup *setup) { hrmr_command(setup, "ROOT ", HRMR_LINE, root); }
`;

/** Memory that the C library has allocated is the C library's to free. */
const BORROWED = `#include "hrmr.h"
static void copy(hrmr_request *request) {
  int at;
  for (at = 0; at < 1000; at++) {
    char *text = strdup(request->bytes);
    char *more = realloc(text, 5000);
    free(more);
    free(calloc(3, 5));
    free(malloc(at));
  }
  void (*release)(void *) = free;
  release(strdup("a"));
  hrmr_reply_text(request, "copied\\n");
}
void hrmr_module(hrmr_setup *setup) { hrmr_command(setup, "COPY", HRMR_LINE, copy); }
`;

describe("one server", () => {
  const withAll = shareHub({
    "modules/root.c": STANDARD,
    "modules/own.c": BORROWED,
    "modules/std.c": `#include <stdlib.h>\n#include <string.h>\n${BORROWED.replace('"COPY"', '"STD"')}`,
  });

  test("standard headers may be included beside hrmr.h", () =>
    withAll(async (hub) => expect(await hub.ask("ROOT 2\n")).toBe("1.414\n")));

  test("what the C library has allocated may be freed, with its headers and without", () =>
    withAll(async (hub) => {
      expect(await hub.ask("COPY\n")).toBe("copied\n");
      expect(await hub.ask("STD\n")).toBe("copied\n");
    }));
});

/** Of a hub under `HIDE_DEVELOPMENT_FILES`; ended with it. */
async function withHiddenFiles(files: Record<string, string>, work: (port: number) => Promise<void>): Promise<void> {
  // A blank in the path of what the compiler reads.
  const dir = makeProject({ ...files, "hidden files/tmp/.keep": "" });
  const hidden = join(dir, "hidden files");
  const child = Bun.spawn(["unshare", "-m", "sh", "-c", HIDE_DEVELOPMENT_FILES, hidden, ...program(), "--port", "0"], {
    cwd: dir,
    env: { ...process.env, TMPDIR: join(hidden, "tmp") },
    stdout: "pipe",
    stderr: "inherit",
  });
  try {
    let text = "";
    for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (/http:\S+:\d+\//.test(text)) break;
    }
    await work(Number(/http:\S+:(\d+)\//.exec(text)?.[1]));
  } finally {
    child.kill();
    await child.exited;
  }
}

test.skipIf(!mayUnshare)(
  `modules are compiled without compiler, headers and libc.so${mayUnshare ? "" : " (no namespaces here)"}`,
  async () => {
    const files: Record<string, string> = { "modules/root.c": STANDARD, "modules/own.c": BORROWED };
    if (hasZlib) files["modules/crc.c"] = crcModule('#pragma hrmr link "z"');
    await withHiddenFiles(files, async (port) => {
      expect(await ask(port, "ROOT 2\n")).toBe("1.414\n");
      expect(await ask(port, "COPY\n")).toBe("copied\n");
      if (hasZlib) expect(await ask(port, "CRC 123456789\n")).toBe("cbf43926\n");
    });
  },
);
