/** Modules in C, as a client sees them: served, reloaded, broken, crashed. Also run against the binary (HRMR_BIN). */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { Hub, makeProject } from "../../support/hub";
import { runProgram, startProgram } from "../../support/program";

/** A module whose command `name` is answered with its version and the number of calls. */
function versionModule(name: string, version: string, more = ""): string {
  return `#include "hrmr.h"
static int calls;
static void version(hrmr_request *request) { hrmr_reply_format(request, "${version} %d\\n", ++calls); }
${more}
void hrmr_module(hrmr_setup *setup) {
  hrmr_command(setup, "${name}", HRMR_LINE, version);
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

/** How long a module may take to load that is cut for it: enough for a right one on a loaded machine. */
const BRIEF = { timeouts: { loadMs: 1500 } };

/** One server for all tests, each with modules of its own: their commands are named like their files. */
let hub: Hub;
beforeAll(async () => {
  const modules = { all: { greeting: "hi" }, "bad-crash": BRIEF, "bad-loop": BRIEF, "bad-exit": BRIEF };
  const dir = makeProject({
    "modules/all.c": ALL,
    "modules/neighbour.ts": NEIGHBOUR,
    "hrmr.json": JSON.stringify({ modules }),
  });
  hub = new Hub(dir, await startProgram(["--port", "0"], { cwd: dir }));
});
afterAll(() => hub?.stop());

/** Writes a module and has it served. */
async function load(name: string, source: string): Promise<void> {
  hub.write(`modules/${name}.c`, source);
  await reload(new RegExp(`^OK[^]*\\b${name} v1`));
}

async function reload(pattern: RegExp): Promise<string> {
  const verdict = await hub.ask("RELOAD\n");
  expect(verdict).toMatch(pattern);
  return verdict;
}

/** Takes a module away that does not load, so that the verdicts of later tests are about theirs. */
async function remove(name: string): Promise<void> {
  hub.remove(`modules/${name}.c`);
  await reload(/^OK/);
}

test("a module in C takes messages of all framings", async () => {
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
});

test("a module in C answers HTTP: method, path, parameters, fields and bodies", async () => {
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

test("an edit of a file that is included reloads the module, and an edit of nothing leaves it alone", async () => {
  const source = `#include "lib/version.h"\n${versionModule("EDIT", "x").replace(`"x %d\\n"`, "VERSION_TEXT")}`;
  const header = (version: string): string => `#define VERSION_TEXT "${version} %d\\n"\n`;
  hub.write("modules/lib/version.h", header("one"));
  await load("edit", source);
  expect(await hub.ask("EDIT\nEDIT\n")).toBe("one 1\none 2\n");
  await reload(/^OK(?!.*swapped)/);
  expect(await hub.ask("EDIT\n")).toBe("one 3\n");
  hub.write("modules/lib/version.h", header("two"));
  await reload(/^OK edit v2 \(was v1\) swapped/m);
  expect(await hub.ask("EDIT\n")).toBe("two 1\n");
  hub.remove("modules/lib/version.h");
  expect(await reload(/^ERR/)).toContain("include file 'lib/version.h' not found");
  expect(await hub.ask("EDIT\n")).toBe("two 2\n");
  hub.write("modules/lib/version.h", header("three"));
  await reload(/swapped/);
  expect(await hub.ask("EDIT\n")).toBe("three 1\n");
});

test("state goes to the next version by handoff, and a start that refuses leaves the one before", async () => {
  const keeping = (version: string, refusal = "NULL"): string =>
    versionModule(
      "KEEP",
      version,
      `static const char *start(const void *handed, size_t length) {
  if (handed != NULL && length == sizeof calls) memcpy(&calls, handed, length);
  hrmr_log(HRMR_INFO, "I am ${version}");
  return ${refusal};
}
static void handoff(hrmr_request *next) { hrmr_reply(next, &calls, sizeof calls); }
static void more(hrmr_setup *setup) { hrmr_on_start(setup, start); hrmr_on_handoff(setup, handoff); }`,
    );
  await load("keep", keeping("one"));
  expect(await hub.ask("KEEP\nKEEP\n")).toBe("one 1\none 2\n");
  await hub.program.waitFor("I am one");
  hub.write("modules/keep.c", keeping("two"));
  await reload(/swapped/);
  expect(await hub.ask("KEEP\n")).toBe("two 3\n");
  hub.write("modules/keep.c", keeping("three", '"the disk is full"'));
  expect(await reload(/^ERR/)).toContain("refused to start: the disk is full");
  expect(await hub.ask("KEEP\n")).toBe("two 4\n");
  await remove("keep");
});

test("a compile error is told with its file, line and code, and the version before goes on", async () => {
  await load("mend", versionModule("MEND", "one"));
  hub.write(
    "modules/mend.c",
    versionModule("MEND", "two", "static int more(hrmr_setup *setup) { return undeclared; }"),
  );
  const verdict = await reload(/^ERR/);
  expect(verdict).toContain("modules/mend.c:4:45: 'undeclared' undeclared");
  expect(verdict).toMatch(/4 \| static int more.*\n +\| {45}\^/);
  expect(await hub.ask("MEND\n")).toBe("one 1\n");
  hub.write("modules/mend.c", versionModule("MEND", "three"));
  await reload(/swapped/);
  expect(await hub.ask("MEND\nNEIGHBOUR\n")).toBe("three 1\nhere\n");
});

test("a segfault, and a loop that never ends, cost their own callers only", async () => {
  await load("frail", versionModule("FRAIL", "one", CRASH));
  const { pid } = await hub.status();
  expect(await hub.ask("CRASH\n")).toContain("ERR");
  expect(await hub.ask("NEIGHBOUR\n")).toBe("here\n");
  expect(await hub.ask("FRAIL\n")).toBe("one 1\n");
  expect(await hub.ask("LOOP\n")).toContain("ERR");
  expect(await hub.ask("NEIGHBOUR\nFRAIL\n")).toBe("here\none 1\n");
  await hub.program.waitFor("its process was lost: it was ended by SIGSEGV");
  // The runtime's own crash report would send authors to the wrong people.
  expect(hub.program.output()).not.toContain("crashed");
  expect((await hub.status()).pid).toBe(pid);
});

test.each([
  ["a segfault in hrmr_module", "bad-crash", "*(volatile int *)0 = 1;", /SIGSEGV/],
  ["a loop in hrmr_module", "bad-loop", "for (;;) {}", /did not give the thread back/],
  ["exit in hrmr_module", "bad-exit", "void exit(int); exit(3);", /ended|exit/],
])("%s harms nobody, and the verdict says so", async (_, name, code, reason) => {
  const command = name.toUpperCase();
  await load(name, versionModule(command, "one"));
  hub.write(`modules/${name}.c`, versionModule(command, "two", `static void more(hrmr_setup *setup) { ${code} }`));
  expect(await reload(/^ERR/)).toMatch(reason);
  expect(await hub.ask(`${command}\nNEIGHBOUR\n`)).toBe("one 1\nhere\n");
  await remove(name);
});

test("a module in C is sent to a running server, refused with its error, and rolled back", async () => {
  await load("sent", versionModule("SENT", "one"));
  hub.write("work/sent.c", versionModule("SENT", "two"));
  const run = (...args: string[]) => runProgram(args, { cwd: hub.dir });
  expect((await run("push", "work/sent.c")).exitCode).toBe(0);
  expect(await hub.ask("SENT\n")).toBe("two 1\n");
  expect(await Bun.file(join(hub.dir, "modules/sent.c")).text()).toBe(versionModule("SENT", "two"));
  hub.write("work/sent.c", versionModule("SENT", "three").replace("++calls", "++called"));
  const { exitCode, stdout, stderr } = await run("push", "work/sent.c");
  expect([exitCode, stdout + stderr]).toEqual([1, expect.stringContaining("modules/sent.c:3:89: 'called' undeclared")]);
  expect(await hub.ask("SENT\n")).toBe("two 2\n");
  expect((await run("rollback", "sent")).exitCode).toBe(0);
  expect(await hub.ask("SENT\n")).toBe("one 1\n");
});
