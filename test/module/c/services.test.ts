/** Services, handlers of events and tasks of modules in C, as other modules and clients see them. */
import { expect, test } from "bun:test";
import { runProgram } from "../../support/program";
import { type Hub, shareHub } from "../../support/hub";
import { until } from "../../support/until";

const HOSTS = ["inline", "pool", "process"] as const;

const CALLEE = `#include "hrmr.h"
static int calls;

static void echo(hrmr_request *request) { hrmr_reply(request, request->bytes, request->length); }
static void count(hrmr_request *request) { hrmr_reply_format(request, "%d", ++calls); }
static void nothing(hrmr_request *request) {}
static void no_json(hrmr_request *request) { hrmr_reply_text(request, "{oops"); }
static void fails(hrmr_request *request) { hrmr_fail(request, "the disk is full"); }
static void refuses(hrmr_request *request) {
  hrmr_reply_text(request, "1");
  hrmr_refuse(request, "NO_FUNDS", "there is no money");
}
static void facts(hrmr_request *request) {
  hrmr_reply_text(request, "{\\"caller\\":");
  hrmr_reply_json(request, hrmr_caller(request));
  hrmr_reply_text(request, ",\\"identity\\":");
  hrmr_reply_json(request, hrmr_identity(request));
  hrmr_reply_text(request, ",\\"topic\\":");
  hrmr_reply_json(request, hrmr_topic(request));
  hrmr_reply_text(request, ",\\"client\\":");
  hrmr_reply_json(request, hrmr_client(request));
  hrmr_reply_text(request, "}");
}
static void read_json(hrmr_request *request) {
  hrmr_reply_json(request, hrmr_json(hrmr_json(request->bytes, "in"), hrmr_json(request->bytes, "path")));
}
static void crash(hrmr_request *request) { *(volatile int *)0 = 1; }
static void loop(hrmr_request *request) { for (;;) {} }

static char seen[1000];
static void on_user(hrmr_request *request) {
  snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%s %s;", hrmr_topic(request), request->bytes);
  hrmr_reply_text(request, "no JSON, and nobody reads it");
}
static void show_seen(hrmr_request *request) { hrmr_reply_json(request, seen); }

static char last_run[200];
static void tidy(hrmr_request *request) {
  snprintf(last_run, sizeof last_run, "%s %s", hrmr_json(request->bytes, "task"), hrmr_json(request->bytes, "why"));
}
static void show_run(hrmr_request *request) { hrmr_reply_json(request, last_run); }

void hrmr_module(hrmr_setup *setup) {
  hrmr_route *sum;
  hrmr_public(hrmr_service(setup, "echo", echo));
  hrmr_service(setup, "count", count);
  hrmr_service(setup, "nothing", nothing);
  hrmr_service(setup, "no_json", no_json);
  hrmr_service(setup, "fails", fails);
  hrmr_public(hrmr_service(setup, "refuses", refuses));
  hrmr_public(hrmr_service(setup, "facts", facts));
  hrmr_service(setup, "read_json", read_json);
  hrmr_service(setup, "crash", crash);
  hrmr_timeout(hrmr_service(setup, "loop", loop), 200);
  hrmr_service(setup, "seen", show_seen);
  hrmr_service(setup, "last_run", show_run);
  sum = hrmr_service(setup, "sum", echo);
  hrmr_public(sum);
  hrmr_describe(sum, "Adds numbers");
  hrmr_schema(sum, "{\\"type\\":\\"array\\",\\"items\\":{\\"type\\":\\"number\\"}}", "{\\"type\\":\\"number\\"}");
  hrmr_on_event(setup, "user.*", on_user);
  hrmr_describe(hrmr_schedule(setup, "tidy", "0 3 * * *", tidy), "Tidies up");
}
`;

/** Calls what the message says: "ASK_run service json". */
function caller(run: string): string {
  return `
export default { routes: { "ASK_${run} ": { run: "${run}", framing: "line", handle: async (message, context) => {
  const [, service, json] = /^\\S+ (\\S+) ?(.*)$/s.exec(message.text);
  try {
    const result = await context.services.callee[service](json === "" ? undefined : JSON.parse(json));
    return JSON.stringify(result === undefined ? "undefined" : result) + "\\n";
  } catch (error) {
    return JSON.stringify({ code: error.code, message: error.message }) + "\\n";
  }
} } } };
`;
}

const EMITTER = `export default { routes: { "EMIT ": { framing: "line", handle: (message, context) => {
  const [, topic, json] = message.text.split(" ");
  context.events.emit(topic, JSON.parse(json));
  return "sent\\n";
} }, NEIGHBOUR: () => "here" } };
`;

const files: Record<string, string> = { "modules/callee.c": CALLEE, "modules/emitter.ts": EMITTER };
for (const run of HOSTS) files[`modules/asker_${run}.ts`] = caller(run);
const onHub = shareHub(files);

async function ask(hub: Hub, question: string, run = "inline"): Promise<unknown> {
  return JSON.parse(await hub.ask(`ASK_${run} ${question}\n`));
}

test.each([...HOSTS])("a service in C is called from a module (%s)", (run) =>
  onHub(async (hub) => {
    const input = { text: 'h\u00e9llo "\\\n', list: [1, 2.5, null, true], deep: { x: {} } };
    expect(await ask(hub, `echo ${JSON.stringify(input)}`, run)).toEqual(input);
    expect(await ask(hub, "echo", run)).toBeNull();
    expect(await ask(hub, "nothing", run)).toBe("undefined");
    expect(await ask(hub, "facts", run)).toEqual({
      caller: `asker_${run}`,
      identity: null,
      topic: null,
      client: "127.0.0.1",
    });
  }),
);

test("a service in C keeps its variables, and large values come whole", () =>
  onHub(async (hub) => {
    const first = (await ask(hub, "count")) as number;
    expect(await ask(hub, "count")).toBe(first + 1);
    const large = "\u00e9".repeat(30_000);
    expect(await ask(hub, `echo ${JSON.stringify(large)}`)).toBe(large);
    expect(await ask(hub, "echo 1")).toBe(1);
  }));

test("the failures of a service in C have codes: its own, a failure, and a result that is not JSON", () =>
  onHub(async (hub) => {
    expect(await ask(hub, "refuses")).toEqual({ code: "NO_FUNDS", message: "there is no money" });
    expect(await ask(hub, "fails")).toEqual({ code: "FAILED", message: expect.stringContaining("the disk is full") });
    expect(await ask(hub, "no_json")).toEqual({
      code: "INVALID_OUTPUT",
      message: expect.stringContaining('the result "{oops" is not JSON'),
    });
    expect(await ask(hub, "missing")).toEqual({
      code: "SERVICE_MISSING",
      message: expect.stringContaining("it has echo, count"),
    });
    expect(await ask(hub, "echo 1")).toBe(1);
  }));

test.each([
  ["", "[1,2]", "[1,2]"],
  ["a.b", '{"a":{"b":"text"}}', "text"],
  ["rows.1.id", '{"rows":[{},{"id":7}]}', "7"],
  ["rows.2", '{"rows":[]}', null],
  ["length", '"text"', null],
  ["__proto__", "{}", null],
  ["x", "{oops", null],
])("hrmr_json finds %p in %s", (path, json, found) =>
  onHub(async (hub) => {
    expect(await ask(hub, `read_json ${JSON.stringify({ path, in: json })}`)).toBe(found);
  }),
);

test("clients call a public service in C, and only that", () =>
  onHub(async (hub) => {
    const call = (method: string, params: unknown) =>
      hub.ask(`${JSON.stringify({ jsonrpc: "2.0", id: 1, method, params })}\n`).then((text) => JSON.parse(text));
    expect(await call("callee.echo", [1, "two"])).toEqual({ jsonrpc: "2.0", id: 1, result: [1, "two"] });
    expect(await call("callee.refuses", [])).toMatchObject({ error: { data: { code: "NO_FUNDS" } } });
    expect(await call("callee.count", [])).toMatchObject({ error: { code: -32601 } });
    expect((await call("callee.facts", [])).result).toMatchObject({ caller: "rpc", client: "127.0.0.1" });
    expect(await hub.ask('CALL callee.echo {"a":1}\n')).toBe('{"a":1}\n');
    const posted = await fetch(`${hub.url}/rpc/callee.echo`, {
      method: "POST",
      body: "[3]",
      headers: { "Content-Type": "application/json" },
    });
    expect(await posted.json()).toEqual([3]);
    const { result } = await call("rpc.discover", []);
    const sum = result.methods.find(({ name }: { name: string }) => name === "callee.sum");
    expect(JSON.stringify(sum)).toContain("Adds numbers");
    expect(JSON.stringify(sum)).toContain('"type":"number"');
  }));

test("a service in C that crashes or loops gives its caller a code, and nobody else notices", () =>
  onHub(async (hub) => {
    expect(await ask(hub, "crash")).toMatchObject({ code: "UNAVAILABLE" });
    expect(await hub.ask("NEIGHBOUR")).toBe("here");
    expect(await ask(hub, "echo 1")).toBe(1);
    expect(await ask(hub, "loop")).toMatchObject({ code: "TIMEOUT" });
    expect(await hub.ask("NEIGHBOUR")).toBe("here");
    expect(await ask(hub, "echo 2")).toBe(2);
  }));

test("a handler of events in C gets the events of its topics, in order", () =>
  onHub(async (hub) => {
    await ask(hub, "echo 1");
    for (const topic of ["user.made", "other.made", "user.gone"])
      expect(await hub.ask(`EMIT ${topic} {"id":"${topic}"}\n`)).toBe("sent\n");
    await until("both have come", async () => String(await ask(hub, "seen")).split(";").length > 2);
    expect(await ask(hub, "seen")).toBe('user.made {"id":"user.made"};user.gone {"id":"user.gone"};');
  }));

test("a task in C is in the status, and runs when it is asked to", () =>
  onHub(async (hub) => {
    const { exitCode, stdout, stderr } = await runProgram(["run", "callee", "tidy"], { cwd: hub.dir });
    expect([exitCode, stderr]).toEqual([0, ""]);
    expect(stdout).toContain("tidy");
    expect(await ask(hub, "last_run")).toBe("tidy asked");
    const module = (await hub.status()).modules.find(({ name }) => name === "callee");
    expect(JSON.stringify(module)).toContain("0 3 * * *");
  }));

test.each([
  [
    "two of one name",
    'hrmr_service(setup, "a", echo); hrmr_service(setup, "a", echo);',
    'two services have the name "a"',
  ],
  ["no handler", 'hrmr_service(setup, "a", NULL);', 'the service "a" has NULL for a handler'],
  ["a name with a dot", 'hrmr_service(setup, "a.b", echo);', 'service "a.b" cannot have that name'],
  ["a schema that is not JSON", 'hrmr_schema(hrmr_service(setup, "a", echo), "{", NULL);', "is not a JSON object"],
  ["a wrong time", 'hrmr_schedule(setup, "a", "every day", echo);', 'task "a"'],
  ["a wrong pattern", 'hrmr_on_event(setup, "a..b", echo);', '"on"'],
  ["a public route", 'hrmr_public(hrmr_http(setup, "/a", echo));', 'hrmr_public has no meaning for the route "/a"'],
  ["nothing at all", "", "hrmr_module declares nothing"],
])("a declaration with %s is refused, with the reason", (_, code, reason) =>
  onHub(async (hub) => {
    hub.write(
      "modules/wrong.c",
      `#include "hrmr.h"\nstatic void echo(hrmr_request *request) {}\nvoid hrmr_module(hrmr_setup *setup) { ${code} }\n`,
    );
    const verdict = await hub.ask("RELOAD wrong\n");
    hub.remove("modules/wrong.c");
    expect(verdict).toStartWith("ERR");
    expect(verdict).toContain(reason);
    expect(await ask(hub, "echo 1")).toBe(1);
  }),
);
