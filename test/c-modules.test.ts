/** Modules in C, as a client sees them: served, reloaded, broken, crashed. Also run against the binary (HRMR_BIN). */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { type Hub, withHub } from "./support/hub";
import { runProgram } from "./support/program";

/** A module whose handler says its version, and one that TypeScript serves beside it. */
function versionModule(version: string, more = ""): string {
  return `#include "hrmr.h"
static int calls;
static void version(hrmr_request *request) { hrmr_reply_format(request, "${version} %d\\n", ++calls); }
${more}
void hrmr_module(hrmr_setup *setup) {
  hrmr_command(setup, "VERSION", HRMR_LINE, version);
  ${more === "" ? "" : "more(setup);"}
}
`;
}

const NEIGHBOUR = `export default { routes: { NEIGHBOUR: { framing: "line", handle: () => "here\\n" } } };\n`;
const CRASH = `
static void crash(hrmr_request *request) { *(volatile int *)0 = 1; }
static void loop(hrmr_request *request) { for (;;) {} }
static void more(hrmr_setup *setup) {
  hrmr_command(setup, "CRASH", HRMR_LINE, crash);
  hrmr_timeout(hrmr_command(setup, "LOOP", HRMR_LINE, loop), 200);
}`;

const ALL = `#include "hrmr.h"
static const char *refusal;

static void echo(hrmr_request *request) { hrmr_reply(request, request->bytes, request->length); }
static void nothing(hrmr_request *request) {}
static void large(hrmr_request *request) {
  for (int at = 0; at < 300000; at++) hrmr_reply_text(request, "0123456789");
}
static void fail(hrmr_request *request) { hrmr_reply_text(request, "dropped"); hrmr_fail(request, "no such thing"); }
static void client(hrmr_request *request) {
  hrmr_reply_format(request, "%s %s %d", hrmr_client(request), hrmr_config("greeting"), hrmr_client_port(request) > 0);
}
static void show(hrmr_request *request) {
  hrmr_set_header(request, "X-Id", hrmr_param(request, "id"));
  hrmr_reply_format(request, "%s %s ?%s q=%s ua=%s none=%d body=%s", request->method, request->path, request->query,
                    hrmr_query_param(request, "q"), hrmr_header(request, "USER-AGENT"), hrmr_header(request, "x-none") == NULL,
                    request->bytes);
}
static void make(hrmr_request *request) {
  hrmr_status(request, 201);
  hrmr_set_header(request, "Content-Type", "application/json");
  hrmr_reply_format(request, "{\\"bytes\\":%zu}", request->length);
}
static void gone(hrmr_request *request) { hrmr_status(request, 204); }

void hrmr_module(hrmr_setup *setup) {
  hrmr_describe(hrmr_command(setup, "ECHO ", HRMR_LINE, echo), "Says it again");
  hrmr_command(setup, "FRAME", HRMR_LENGTH(2), echo);
  hrmr_command(setup, "LARGE", HRMR_LINE, large);
  hrmr_command(setup, "NOTHING", HRMR_LINE, nothing);
  hrmr_command(setup, "FAIL", HRMR_LINE, fail);
  hrmr_command(setup, "CLIENT", HRMR_LINE, client);
  hrmr_http(setup, "/show/:id", show);
  hrmr_http(setup, "POST /make", make);
  hrmr_http(setup, "GET /gone", gone);
}
`;

async function reloadUntil(hub: Hub, pattern: RegExp): Promise<string> {
  const verdict = await hub.ask("RELOAD\n");
  expect(verdict).toMatch(pattern);
  return verdict;
}

test("a module in C takes messages of all framings", async () => {
  await withHub(
    { "modules/all.c": ALL, "hrmr.json": `{ "modules": { "all": { "greeting": "hi" } } }` },
    [],
    async (hub) => {
      expect(await hub.ask("ECHO a\nECHO h\u00e9llo\n")).toBe("ECHO aECHO h\u00e9llo");
      const frame = Buffer.from("FRAME\0\x03\0\xff\x01", "latin1");
      const client = await hub.connect();
      await client.send(Buffer.concat([frame, Buffer.from("ECHO behind it\n")]));
      await client.waitFor("behind it");
      expect(client.bytes.subarray(0, frame.length)).toEqual(frame);
      expect((await hub.ask("LARGE\n")).length).toBe(3_000_000);
      expect(await hub.ask("NOTHING\nECHO 1\n")).toBe("ECHO 1");
      expect(await hub.ask("CLIENT\n")).toBe("127.0.0.1 hi 1");
      expect(await hub.ask("FAIL\n")).toContain("ERR");
      await hub.program.waitFor("no such thing");
      expect(await hub.ask("HELP\n")).toContain("Says it again");
    },
  );
});

test("a module in C answers HTTP: method, path, parameters, fields and bodies", async () => {
  await withHub({ "modules/all.c": ALL }, [], async (hub) => {
    const shown = await fetch(`${hub.url}/show/a%20b?q=1%2B1&r`, { headers: { "User-Agent": "test" } });
    expect(shown.headers.get("x-id")).toBe("a b");
    expect(shown.headers.get("content-type")).toStartWith("text/plain");
    expect(await shown.text()).toBe("GET /show/a%20b ?q=1%2B1&r q=1+1 ua=test none=1 body=");
    const put = await fetch(`${hub.url}/show/x`, { method: "PUT", body: "h\u00e9", headers: { "User-Agent": "t" } });
    expect(await put.text()).toBe("PUT /show/x ? q=(null) ua=t none=1 body=h\u00e9");
    const made = await fetch(`${hub.url}/make`, { method: "POST", body: "x".repeat(500_000) });
    expect([made.status, made.headers.get("content-type"), await made.json()]).toEqual([
      201,
      "application/json",
      { bytes: 500_000 },
    ]);
    const gone = await fetch(`${hub.url}/gone`);
    expect([gone.status, await gone.text()]).toEqual([204, ""]);
  });
});

test("an edit of a file that is included reloads the module, and an edit of nothing leaves it alone", async () => {
  const source = `#include "lib/version.h"\n${versionModule("x").replace(`"x %d\\n"`, "VERSION_TEXT")}`;
  const header = (version: string): string => `#define VERSION_TEXT "${version} %d\\n"\n`;
  await withHub({ "modules/v.c": source, "modules/lib/version.h": header("one") }, [], async (hub) => {
    expect(await hub.ask("VERSION\nVERSION\n")).toBe("one 1\none 2\n");
    await reloadUntil(hub, /^OK(?!.*swapped)/);
    expect(await hub.ask("VERSION\n")).toBe("one 3\n");
    hub.write("modules/lib/version.h", header("two"));
    await reloadUntil(hub, /^OK v v2 \(was v1\) swapped/m);
    expect(await hub.ask("VERSION\n")).toBe("two 1\n");
    hub.remove("modules/lib/version.h");
    expect(await reloadUntil(hub, /^ERR/)).toContain("include file 'lib/version.h' not found");
    expect(await hub.ask("VERSION\n")).toBe("two 2\n");
    hub.write("modules/lib/version.h", header("three"));
    await reloadUntil(hub, /swapped/);
    expect(await hub.ask("VERSION\n")).toBe("three 1\n");
  });
});

test("state goes to the next version by handoff, and a start that refuses leaves the one before", async () => {
  const keeping = (version: string, refusal = "NULL"): string =>
    versionModule(
      version,
      `static const char *start(const void *handed, size_t length) {
  if (handed != NULL && length == sizeof calls) memcpy(&calls, handed, length);
  hrmr_log(HRMR_INFO, "I am ${version}");
  return ${refusal};
}
static void handoff(hrmr_request *next) { hrmr_reply(next, &calls, sizeof calls); }
static void more(hrmr_setup *setup) { hrmr_on_start(setup, start); hrmr_on_handoff(setup, handoff); }`,
    );
  await withHub({ "modules/v.c": keeping("one") }, [], async (hub) => {
    expect(await hub.ask("VERSION\nVERSION\n")).toBe("one 1\none 2\n");
    await hub.program.waitFor("I am one");
    hub.write("modules/v.c", keeping("two"));
    await reloadUntil(hub, /swapped/);
    expect(await hub.ask("VERSION\n")).toBe("two 3\n");
    hub.write("modules/v.c", keeping("three", '"the disk is full"'));
    expect(await reloadUntil(hub, /^ERR/)).toContain("refused to start: the disk is full");
    expect(await hub.ask("VERSION\n")).toBe("two 4\n");
  });
});

test("a compile error is told with its file, line and code, and the version before goes on", async () => {
  await withHub({ "modules/v.c": versionModule("one"), "modules/n.ts": NEIGHBOUR }, [], async (hub) => {
    hub.write("modules/v.c", versionModule("two", "static int more(hrmr_setup *setup) { return undeclared; }"));
    const verdict = await reloadUntil(hub, /^ERR/);
    expect(verdict).toContain("modules/v.c:4:45: 'undeclared' undeclared");
    expect(verdict).toMatch(/4 \| static int more.*\n +\| {45}\^/);
    expect(await hub.ask("VERSION\n")).toBe("one 1\n");
    hub.write("modules/v.c", versionModule("three"));
    await reloadUntil(hub, /swapped/);
    expect(await hub.ask("VERSION\nNEIGHBOUR\n")).toBe("three 1\nhere\n");
  });
});

test("a segfault, and a loop that never ends, cost their own callers only", async () => {
  await withHub({ "modules/v.c": versionModule("one", CRASH), "modules/n.ts": NEIGHBOUR }, [], async (hub) => {
    const { pid } = hub.program;
    expect(await hub.ask("CRASH\n")).toContain("ERR");
    expect(await hub.ask("NEIGHBOUR\n")).toBe("here\n");
    expect(await hub.ask("VERSION\n")).toBe("one 1\n");
    expect(await hub.ask("LOOP\n")).toContain("ERR");
    expect(await hub.ask("NEIGHBOUR\nVERSION\n")).toBe("here\none 1\n");
    expect(hub.program.output()).toContain("its process was lost: it was ended by SIGSEGV");
    // What the runtime says of its own crashes would send authors to the wrong people.
    expect(hub.program.output()).not.toContain("crashed");
    expect(hub.program.pid).toBe(pid);
  });
});

test.each([
  ["a segfault in hrmr_module", "*(volatile int *)0 = 1;", /SIGSEGV/],
  ["a loop in hrmr_module", "for (;;) {}", /did not give the thread back/],
  ["exit in hrmr_module", "void exit(int); exit(3);", /ended|exit/],
])("%s harms nobody, and the verdict says so", async (_, code, reason) => {
  const config = `{ "timeouts": { "loadMs": 500 } }`;
  await withHub(
    { "modules/v.c": versionModule("one"), "modules/n.ts": NEIGHBOUR, "hrmr.json": config },
    [],
    async (hub) => {
      hub.write("modules/v.c", versionModule("two", `static void more(hrmr_setup *setup) { ${code} }`));
      expect(await reloadUntil(hub, /^ERR/)).toMatch(reason);
      expect(await hub.ask("VERSION\nNEIGHBOUR\n")).toBe("one 1\nhere\n");
    },
  );
});

test("a module in C is sent to a running server, refused with its error, and rolled back", async () => {
  await withHub({ "modules/v.c": versionModule("one"), "work/v.c": versionModule("two") }, [], async (hub) => {
    const run = (...args: string[]) => runProgram(args, { cwd: hub.dir });
    expect((await run("push", "work/v.c")).exitCode).toBe(0);
    expect(await hub.ask("VERSION\n")).toBe("two 1\n");
    expect(await Bun.file(join(hub.dir, "modules/v.c")).text()).toBe(versionModule("two"));
    hub.write("work/v.c", versionModule("three").replace("++calls", "++called"));
    const { exitCode, stdout, stderr } = await run("push", "work/v.c");
    expect([exitCode, stdout + stderr]).toEqual([1, expect.stringContaining("modules/v.c:3:89: 'called' undeclared")]);
    expect(await hub.ask("VERSION\n")).toBe("two 2\n");
    expect((await run("rollback", "v")).exitCode).toBe(0);
    expect(await hub.ask("VERSION\n")).toBe("one 1\n");
  });
});
