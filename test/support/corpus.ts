/**
 * Modules that do everything a module must not do, with the right message of the server for each. Each runs in the
 * cheapest host that contains it: on the event loop, else on the pool, else in a process of its own.
 */

/** One bad module. */
export interface BadModule {
  /** The mistake. */
  readonly title: string;
  /** Its file in the modules folder. */
  readonly file: string;
  readonly source: string;
  /** `modules.NAME` of the config. */
  readonly settings?: Record<string, unknown>;
  /** RELOAD's answer. It begins with OK for a module that loads, whose mistake shows later. */
  readonly verdict: RegExp;
  /**
   * Questions once it serves, each on a connection of its own, with the right answer: "/path" by HTTP, else a
   * line.
   */
  readonly asked?: readonly (readonly [string, RegExp])[];
  /** The log at that time. */
  readonly log?: RegExp;
  /** The log after its file is gone and RELOAD was sent. */
  readonly logAfter?: RegExp;
}

type Host = "inline" | "pool" | "process";
type Rest = Partial<Omit<BadModule, "title" | "source">>;

/** The time limit of handlers that never answer. In milliseconds. */
const HANDLER_MS = 300;
/** The time limit of all other handlers: they answer or end, on a loaded machine too. */
const PATIENT_MS = 20_000;
const OK = /^OK/;
const FAILED = /^ERR "BAD" failed$/m;
const LATE = new RegExp(`^ERR "BAD" did not answer within ${HANDLER_MS} ms$`, "m");
/** The time limit of loads that never end. A thread or a process must be able to start in this time. */
const IMPATIENT = { timeouts: { loadMs: 1000 } };
/** The same for an endless loop, which takes a core for that time. */
const BRIEF = { timeouts: { loadMs: 400 } };
/** The same for a module that must load on a loaded machine, before its dispose uses up the limit. */
const PATIENT = { timeouts: { loadMs: 3000 } };
const SMALL = { maxMemoryMb: 200, maxCrashes: 100 };

let lastNumber = 0;

function bad(title: string, source: string, rest: Rest & { verdict: RegExp }): BadModule {
  return { title, source, file: `bad${++lastNumber}.ts`, ...rest };
}

/** A definition that is refused. */
function refused(title: string, definition: string, verdict: RegExp, rest: Rest = {}): BadModule {
  return bad(title, `export default ${definition};\n`, {
    verdict: new RegExp(`^ERR[^]*${verdict.source}`, verdict.flags),
    ...rest,
  });
}

/** A module that loads, and whose BAD does harm. `before` stands above its definition, `more` in it. */
function harmful(
  title: string,
  host: Host,
  handler: string,
  reply: RegExp,
  log: RegExp | null,
  rest: Rest & { before?: string; more?: string } = {},
): BadModule {
  const { before = "", more = "", ...others } = rest;
  const timeoutMs = reply === LATE ? HANDLER_MS : PATIENT_MS;
  const route = `{ framing: "line", run: "${host}", timeoutMs: ${timeoutMs}, handle: ${handler} }`;
  const source = `import { defineModule } from "hrmr";\n${before}\nexport default defineModule({ ${more} routes: { BAD: ${route} } });\n`;
  return bad(title, source, { verdict: OK, asked: [["BAD", reply]], ...(log === null ? {} : { log }), ...others });
}

function inC(title: string, body: string, verdict: RegExp, rest: Rest = {}): BadModule {
  const source = `#include "hrmr.h"\n${body}\n`;
  return { title, source, file: `bad${++lastNumber}.c`, verdict, ...rest };
}

/** A module with a right route beside its mistake. */
const beside = (wrong: string): string => `{ ${wrong}, routes: { BAD: () => "bad\\n" } }`;
const optioned = (option: string): string => `{ routes: { BAD: { ${option}, handle: () => "bad\\n" } } }`;

const SOURCES: readonly BadModule[] = [
  bad("a syntax error", `export default { routes: { BAD: () => "x" } ;\n`, {
    verdict: /^ERR[^]*:1:\d+: Expected "}" but found ";"/,
  }),
  bad("an import of a file that is not there", `import "./nowhere";\nexport default {};\n`, {
    verdict: /^ERR[^]*nowhere/,
  }),
  bad("an import of a package that is not installed", `import "not-a-package-here";\nexport default {};\n`, {
    verdict: /^ERR[^]*not-a-package-here/,
  }),
  bad(
    "an import of what a file does not export",
    `import { b } from "./lib/words";\nexport default { routes: { BAD: () => b } };\n`,
    {
      verdict: /^ERR[^]*No matching export[^]*"b"/,
    },
  ),
  bad("a throw at top level", `throw new Error("not today");\n`, { verdict: /^ERR[^]*:1:\d+: (Error: )?not today/ }),
  bad("a throw of a string at top level", `throw "only words";\n`, { verdict: /^ERR[^]*only words/ }),
  bad(
    "a rejected promise at top level",
    `Promise.reject(new Error("left alone"));\nexport default { routes: { BAD: () => "bad\\n" } };\n`,
    {
      verdict: /^OK|^ERR[^]*left alone/,
      log: /left alone/,
    },
  ),
  bad("a top-level await that never ends", "await new Promise(() => {});\nexport default {};\n", {
    verdict: /^ERR[^]*within 1000 ms/,
    settings: IMPATIENT,
  }),
  bad("an endless loop at load", "for (;;);\nexport default {};\n", {
    verdict: /^ERR[^]*(400 ms|loop)/,
    settings: BRIEF,
  }),
];

const SHAPES: readonly BadModule[] = [
  bad("no default export", `export const routes = { BAD: () => "bad" };\n`, { verdict: /^ERR[^]*default/ }),
  refused("a number for a module", "42", /number|42/),
  refused("nothing for a module", "null", /null|default/),
  refused("no routes", "{}", /routes/),
  refused("routes that are a list", `{ routes: [() => "bad"] }`, /routes/),
  refused("a text for a handler", `{ routes: { BAD: "bad" } }`, /"BAD"/),
  refused("a route without a handler", "{ routes: { BAD: {} } }", /BAD[^]*handle/),
  refused("an option that there is not", beside(`onLoad() {}`), /onLoad/),
  refused("an option that is mistyped", optioned(`frameing: "line"`), /framing/),
  refused("a framing that there is not", optioned(`framing: "word"`), /framing/),
  refused("a time that is none", optioned(`timeoutMs: "soon"`), /timeoutMs/),
  refused("a kind of reload that there is not", beside(`reload: "later"`), /reload/),
  refused("a setup that is no function", beside("setup: 7"), /setup/),
  refused("a getter that throws in the definition", `{ get routes() { throw new Error("no look"); } }`, /no look/),
  refused(
    "a Proxy that throws for a definition",
    `new Proxy({}, { get() { throw new Error("no look"); } })`,
    /no look/,
  ),
  refused("the key of a built-in command", `{ routes: { RELOAD: () => "bad" } }`, /RELOAD/),
  refused("a key of another module", `{ routes: { "NEAR ": () => "bad" } }`, /near/),
  refused("a path of another module", `{ routes: { "/near": { fetch: () => new Response("bad") } } }`, /near/),
  refused("an empty key", `{ routes: { "": () => "bad" } }`, /key|""/),
];

const HOOKS: readonly BadModule[] = [
  refused("a setup that throws", beside(`setup() { throw new TypeError("not set up"); }`), /not set up/),
  refused("a setup that never ends", beside("setup: () => new Promise(() => {})"), /1000 ms/, { settings: IMPATIENT }),
  refused("a setup that loops in a process", beside("setup() { for (;;); }"), /give the thread back|400 ms/, {
    settings: { ...BRIEF, run: "process" },
  }),
  refused("a check that returns false", beside("check: () => false"), /check/),
  refused("a check that throws", beside(`check() { throw new Error("not checked"); }`), /not checked/),
  refused("a check that never ends", beside("check: () => new Promise(() => {})"), /1000 ms/, { settings: IMPATIENT }),
  harmful("a dispose that throws", "inline", `() => "bad\\n"`, /^bad$/m, null, {
    more: `dispose() { throw new Error("not disposed"); },`,
    logAfter: /not disposed/,
  }),
  harmful("a dispose that never ends", "inline", `() => "bad\\n"`, /^bad$/m, null, {
    more: "dispose: () => new Promise(() => {}),",
    settings: PATIENT,
    logAfter: /dispose[^]*3000 ms/,
  }),
];

const CANNOT_END = /a module cannot end the server/;

const ENDINGS: readonly BadModule[] = [
  bad("process.exit at top level", "process.exit(0);\n", { verdict: /^ERR[^]*cannot end the server/ }),
  bad("globalThis.process.exit at top level", "globalThis.process.exit(0);\n", {
    verdict: /^ERR[^]*cannot end the server/,
  }),
  bad("exit of node:process at top level", `import { exit } from "node:process";\nexit(0);\n`, {
    verdict: /^ERR[^]*cannot end the server/,
  }),
  harmful("process.exit in a handler", "inline", "() => process.exit(0)", FAILED, CANNOT_END),
  harmful("globalThis.process.exit in a handler", "inline", "() => globalThis.process.exit(0)", FAILED, CANNOT_END),
  harmful("exit of node:process in a handler", "inline", "() => exit(0)", FAILED, CANNOT_END, {
    before: `import { exit } from "node:process";`,
  }),
  harmful("process.exit on the pool", "pool", "() => process.exit(0)", FAILED, CANNOT_END),
  harmful("process.exit in a process", "process", "() => process.exit(0)", FAILED, CANNOT_END),
  harmful(
    "kill -9 of its own process",
    "process",
    `() => { process.kill(process.pid, "SIGKILL"); return new Promise(() => {}); }`,
    FAILED,
    /ended by SIGKILL/,
  ),
  harmful("an abort of its own process", "process", "() => process.abort()", /^ERR "BAD"/m, /ended by SIG|cannot end/),
];

const CALLS: readonly BadModule[] = [
  harmful("an endless loop on the pool", "pool", "() => { for (;;); }", LATE, /did not give the thread back/),
  harmful("an endless loop in a process", "process", "() => { for (;;); }", LATE, /did not give the thread back/),
  harmful(
    "a catastrophic regular expression",
    "pool",
    `() => String(/^(a+)+$/.test("a".repeat(40) + "!"))`,
    LATE,
    /did not answer within|give the thread back/,
  ),
  harmful(
    "a recursion without end",
    "inline",
    "function again() { return again() + 1; }",
    FAILED,
    /Maximum call stack/,
  ),
  harmful("a promise that never settles", "inline", "() => new Promise(() => {})", LATE, /did not answer within/),
  harmful("a throw of nothing", "inline", "() => { throw undefined; }", FAILED, /bad\d+ .*undefined/),
  harmful(
    "an unhandled rejection",
    "inline",
    `() => { Promise.reject(new Error("let go")); return "bad\\n"; }`,
    /^bad$/m,
    /let go/,
  ),
  harmful(
    "a throw in a timer",
    "inline",
    `() => { setTimeout(() => { throw new Error("too late"); }); return "bad\\n"; }`,
    /^bad$/m,
    /too late/,
  ),
  harmful("a number for a reply", "inline", "() => 42", FAILED, /number|42/),
  harmful(
    "a throw of a Proxy that throws",
    "inline",
    `async () => { throw new Proxy({}, { get() { throw new Error("no look"); } }); }`,
    FAILED,
    /bad\d+ v1 .*threw/,
  ),
  harmful(
    "a Proxy for a reply",
    "inline",
    `() => new Proxy({}, { get() { throw new Error("no look"); } })`,
    FAILED,
    /bad\d+ .*(no look|object)/i,
  ),
  harmful(
    "a reply whose stream throws half way",
    "inline",
    `async function* () { yield "begun "; throw new Error("half way"); }`,
    /^begun /,
    /half way/,
  ),
  bad("a Response that is none", `export default { routes: { "/bad": { fetch: () => ({ status: 200 }) } } };\n`, {
    verdict: OK,
    asked: [["/bad", /^500 /]],
    log: /Response/,
  }),
  bad(
    "a framing that throws",
    `export default { routes: { BAD: { framing() { throw new Error("no frame"); }, handle: () => "bad" } } };\n`,
    {
      verdict: OK,
      asked: [["BAD", /^ERR/m]],
      log: /no frame/,
    },
  ),
  bad(
    "a framing that answers nonsense",
    `export default { routes: { BAD: { framing: () => Number.NaN, handle: () => "bad" } } };\n`,
    {
      verdict: OK,
      asked: [["BAD", /^ERR/m]],
      log: /framing|length/,
    },
  ),
];

const LEAKS: readonly BadModule[] = [
  harmful(
    "listeners on process",
    "inline",
    `() => { process.on("SIGUSR2", () => {}); return "bad\\n"; }`,
    /^bad$/m,
    null,
    {
      logAfter: /listener[^]*SIGUSR2; removed/,
    },
  ),
  harmful("intervals", "inline", `() => { setInterval(() => {}, 10); return "bad\\n"; }`, /^bad$/m, null, {
    logAfter: /timer \(stopped\)/,
  }),
  harmful(
    "names on globalThis",
    "inline",
    `() => { globalThis.badKept = new Array(1000); return "bad\\n"; }`,
    /^bad$/m,
    null,
    {
      logAfter: /globalThis\.badKept/,
    },
  ),
  harmful(
    "a server",
    "inline",
    `() => { Bun.serve({ port: 0, fetch: () => new Response() }); return "bad\\n"; }`,
    /^bad$/m,
    null,
    {
      logAfter: /open sockets? or files? \(closed\)/,
    },
  ),
  harmful(
    "sockets",
    "inline",
    `async ({ client }) => { for (let i = 0; i < 5; i++) await Bun.connect({ ...server, socket: { data() {} } }); return "bad\\n"; }`,
    /^bad$/m,
    null,
    {
      before: `const own = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });\nconst server = { hostname: "127.0.0.1", port: own.port };`,
      logAfter: /open sockets? or files? \(closed\)/,
    },
  ),
  harmful("a handoff of a function", "inline", `() => "bad\\n"`, /^bad$/m, null, {
    more: "setup: () => 1, handoff: () => () => {},",
  }),
];

const LARGE_MB = 32;
const LARGE_BYTES = LARGE_MB * 1024 * 1024;

const FLOODS: readonly BadModule[] = [
  bad(
    `a stream of ${LARGE_MB} MB`,
    `const piece = new Uint8Array(1 << 20);
export default { routes: { "/bad": { fetch: () => {
  let left = ${LARGE_MB};
  return new Response(new ReadableStream({ pull(controller) { if (left-- > 0) controller.enqueue(piece); else controller.close(); } }));
} } } };\n`,
    { verdict: OK, asked: [["/bad", new RegExp(`^200 ${LARGE_BYTES}$`)]] },
  ),
  bad(
    `a reply of ${LARGE_MB} MB in one piece`,
    `export default { routes: { "/bad": { fetch: () => new Response("x".repeat(${LARGE_BYTES})) } } };\n`,
    {
      verdict: OK,
      asked: [["/bad", new RegExp(`^200 ${LARGE_BYTES}$`)]],
    },
  ),
  harmful(
    "a flood of log lines",
    "process",
    `(m, { log }) => { for (let i = 0; i < 10_000; i++) log.warn("flood " + i); return "bad\\n"; }`,
    /^(bad|ERR "BAD".*)$/m,
    /\d+ lines .* were left out/,
  ),
  harmful(
    "writes to stdout without end",
    "process",
    `() => { for (;;) process.stdout.write("flood\\n"); }`,
    LATE,
    /\d+ lines .* were left out/,
  ),
  harmful(
    "1 GB of memory at once",
    "process",
    "() => String(new Uint8Array(1 << 30).fill(1).length)",
    /^ERR "BAD"/m,
    /over its memory limit|Out of memory/,
    { settings: SMALL },
  ),
  bad(
    "1 GB of memory bit by bit",
    `function bad() { const kept = []; for (let i = 0; i < 1024; i++) kept.push(new Uint8Array(1 << 20).fill(1)); for (;;); }
export default { routes: { BAD: { framing: "line", run: "process", timeoutMs: 8000, handle: bad } } };\n`,
    { verdict: OK, asked: [["BAD", FAILED]], log: /over its memory limit|Out of memory/, settings: SMALL },
  ),
];

const commandInC = (body: string, more = "", timeoutMs = PATIENT_MS): string =>
  `static void bad(hrmr_request *request) { ${body} }\nvoid hrmr_module(hrmr_setup *setup) { hrmr_timeout(hrmr_command(setup, "BAD", HRMR_LINE, bad), ${timeoutMs}); ${more} }`;

const C: readonly BadModule[] = [
  inC("C that does not compile", commandInC("request->nothing = 1;"), /^ERR[^]*\.c:2:\d+: field not found: nothing/),
  inC(
    "C that wants a library that is not there",
    `#pragma hrmr link "nosuchlib"\n${commandInC("")}`,
    /^ERR[^]*nosuchlib/,
  ),
  inC("C without hrmr_module", "int nothing;", /^ERR[^]*hrmr_module/),
  inC("C that writes to address 0", commandInC("*(volatile int *)0 = 1;"), OK, {
    asked: [["BAD", FAILED]],
    log: /SIGSEGV/,
  }),
  inC("C that loops", commandInC("for (;;) {}", "", HANDLER_MS), OK, {
    asked: [["BAD", LATE]],
    log: /did not give the thread back/,
  }),
  inC("C that calls _exit", `void _exit(int code);\n${commandInC("_exit(0);")}`, OK, {
    asked: [["BAD", FAILED]],
    log: /its process was lost/,
  }),
  inC(
    "C that crashes at its start",
    `static const char *start(const void *handed, size_t n) { *(volatile int *)0 = 1; return NULL; }\n${commandInC("", "hrmr_on_start(setup, start);")}`,
    /^ERR[^]*SIGSEGV/,
  ),
];

/** Mistakes in files, definitions, setup and dispose, and things left over. */
export const BAD_LOADS: readonly BadModule[] = [...SOURCES, ...SHAPES, ...HOOKS, ...LEAKS];

/** Bad handlers, and ends of the process. */
export const BAD_CALLS: readonly BadModule[] = [...ENDINGS, ...CALLS];

/** Floods of bytes, lines and memory, and modules in C. */
export const BAD_FLOODS: readonly BadModule[] = [...FLOODS, ...C];

/** The good module: it answers a line with the text behind its key, and a path likewise. */
export const NEAR = `export default { routes: {
  "NEAR ": { framing: "line", handle: (message) => "here " + message.text.slice(5) + "\\n" },
  "/near": { fetch: (request) => new Response("here " + new URL(request.url).search) },
  NEARPID: { framing: "line", handle: () => process.pid + "\\n" },
} };\n`;
