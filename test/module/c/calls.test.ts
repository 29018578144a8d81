/** Modules in C that call services of other modules, and emit events. */
import { expect, test } from "bun:test";
import { type Hub, shareHub } from "../../support/hub";
import { until } from "../../support/until";

const HOSTS = ["inline", "pool", "process"] as const;

/** Calls what the message says: "ASK module.service json", and writes the outcome as JSON. */
const CALLER = `#include "hrmr.h"
static char first[300];

static void tell(hrmr_request *request, hrmr_result result) {
  if (result.ok) {
    hrmr_reply(request, result.json, result.length);
    hrmr_reply_text(request, "\\n");
    return;
  }
  hrmr_reply_text(request, "{\\"code\\":");
  hrmr_reply_json(request, result.code);
  hrmr_reply_text(request, ",\\"message\\":");
  hrmr_reply_json(request, result.message);
  hrmr_reply_format(request, ",\\"data\\":%s}\\n", result.data == NULL ? "null" : result.data);
}

/* Cuts "WORD target json" into its parts. */
static hrmr_result call(const char *text, int limit) {
  static char target[100];
  const char *input = strchr(text, ' ');
  size_t length = input == NULL ? strlen(text) : (size_t)(input - text);
  memcpy(target, text, length);
  target[length] = 0;
  input = input == NULL ? NULL : input + 1;
  return limit == 0 ? hrmr_call(target, input) : hrmr_call_within(limit, target, input);
}

static void ask(hrmr_request *request) { tell(request, call(strchr(request->bytes, ' ') + 1, 0)); }
static void brief(hrmr_request *request) { tell(request, call(strchr(request->bytes, ' ') + 1, 50)); }
static void get(hrmr_request *request) { tell(request, call(hrmr_query_param(request, "q"), 0)); }
static void post(hrmr_request *request) { tell(request, call(request->bytes, 0)); }
static void relay(hrmr_request *request) {
  hrmr_result result = hrmr_call(hrmr_json(request->bytes, "to"), hrmr_json(request->bytes, "input"));
  if (result.ok) hrmr_reply(request, result.json, result.length);
  else hrmr_refuse(request, result.code, result.message);
}
static void emit(hrmr_request *request) {
  char *topic = strdup(strchr(request->bytes, ' ') + 1);
  char *data = strchr(topic, ' ');
  if (data != NULL) *data++ = 0;
  tell(request, hrmr_emit(topic, data));
  free(topic);
}
static void many(hrmr_request *request) {
  int count = atoi(strchr(request->bytes, ' ')), at, right = 0;
  for (at = 0; at < count; at++) {
    char input[20];
    hrmr_result result;
    snprintf(input, sizeof input, "%d", at);
    result = hrmr_call("callee_inline.echo", input);
    right += result.ok && strcmp(result.json, input) == 0;
    hrmr_release(result.json);
  }
  hrmr_reply_format(request, "%d\\n", right);
}
static void show_first(hrmr_request *request) { hrmr_reply_format(request, "%s\\n", first); }

static const char *start(const void *handed, size_t length) {
  hrmr_result result = hrmr_call("callee_inline.facts", NULL);
  snprintf(first, sizeof first, "start %s; ", result.ok ? hrmr_json(result.json, "caller") : result.code);
  return NULL;
}
static const char *live(void) {
  hrmr_result result = hrmr_call("callee_inline.facts", NULL);
  snprintf(first + strlen(first), sizeof first - strlen(first), "live %s", result.ok ? hrmr_json(result.json, "caller") : result.code);
  return NULL;
}
static void on_please(hrmr_request *request) { hrmr_call("callee_inline.keep", request->bytes); }

void hrmr_module(hrmr_setup *setup) {
  hrmr_result early = hrmr_call("callee_inline.facts", NULL);
  hrmr_needs(setup, "callee_inline");
  hrmr_command(setup, "ASK ", HRMR_LINE, ask);
  hrmr_timeout(hrmr_command(setup, "SHORT ", HRMR_LINE, ask), 300);
  hrmr_command(setup, "BRIEF ", HRMR_LINE, brief);
  hrmr_http(setup, "GET /ask", get);
  hrmr_http(setup, "POST /ask", post);
  hrmr_service(setup, "relay", relay);
  hrmr_command(setup, "EMIT ", HRMR_LINE, emit);
  hrmr_command(setup, "MANY ", HRMR_LINE, many);
  hrmr_command(setup, "FIRST", HRMR_LINE, show_first);
  hrmr_describe(hrmr_command(setup, "EARLY", HRMR_LINE, show_first), early.ok ? "?" : early.code);
  hrmr_on_start(setup, start);
  hrmr_on_live(setup, live);
  hrmr_on_event(setup, "please.*", on_please);
}
`;

function callee(run: string): string {
  return `
import { defineModule, ServiceError } from "hrmr";
const kept = [];
const own = (call) => ({ run: "${run}", call });
export default defineModule({ services: {
  echo: own((value) => value),
  nothing: own(() => {}),
  later: own(async (value) => { await Bun.sleep(1); return value; }),
  facts: own((_, context) => ({ caller: context.caller, identity: context.identity })),
  refuses: own(() => { throw new ServiceError("NO_FUNDS", "there is no money", { missing: 3 }); }),
  throws: own(() => { throw new TypeError("a bug"); }),
  hangs: own((name, context) => new Promise((resolve, reject) => {
    kept.push("began " + name);
    context.signal.addEventListener("abort", () => { kept.push("ended " + name); reject(context.signal.reason); });
  })),
  keep: own((value) => { kept.push(value); }),
  kept: own(() => kept),
  count: own(async function* (n) { for (let i = 0; i < n; i++) yield { i }; }),
  back: own(async (to, context) => { const [module, service] = to.split("."); return await context.services[module][service]({ to: "callee_${run}.echo", input: 1 }); }),
  big: own((n) => 10n),
} });`;
}

const NATIVE = `#include "hrmr.h"
static void echo(hrmr_request *request) { hrmr_reply(request, request->bytes, request->length); }
static void crash(hrmr_request *request) { *(volatile int *)0 = 1; }
static void back(hrmr_request *request) {
  hrmr_result result = hrmr_call("caller.relay", "{\\"to\\":\\"native.echo\\",\\"input\\":\\"1\\"}");
  if (result.ok) hrmr_reply(request, result.json, result.length);
  else hrmr_refuse(request, result.code, result.message);
}
void hrmr_module(hrmr_setup *setup) {
  hrmr_service(setup, "echo", echo);
  hrmr_service(setup, "crash", crash);
  hrmr_service(setup, "back", back);
}
`;

const files: Record<string, string> = {
  "modules/caller.c": CALLER,
  "modules/native.c": NATIVE,
  "modules/neighbour.ts": `export default { routes: { NEIGHBOUR: () => "here" } };\n`,
  "hrmr.json": '{ "threads": 1 }',
};
for (const run of HOSTS) files[`modules/callee_${run}.ts`] = callee(run);
const onHub = shareHub(files);

async function ask(hub: Hub, question: string, word = "ASK"): Promise<unknown> {
  return JSON.parse(await hub.ask(`${word} ${question}\n`));
}

test.each([...HOSTS])("C calls a service and has its result (%s)", (run) =>
  onHub(async (hub) => {
    const callee = `callee_${run}`;
    const input = { text: 'h\u00e9llo "\\\n', list: [1, 2.5, null, true], deep: { x: {} } };
    expect(await ask(hub, `${callee}.echo ${JSON.stringify(input)}`)).toEqual(input);
    expect(await ask(hub, `${callee}.later 1`)).toBe(1);
    expect(await ask(hub, `${callee}.nothing`)).toBeNull();
    expect(await ask(hub, `${callee}.echo`)).toBeNull();
    expect(await ask(hub, `${callee}.facts`)).toEqual({ caller: "caller", identity: null });
    const large = "\u00e9x".repeat(25_000);
    expect(await ask(hub, `${callee}.echo ${JSON.stringify(large)}`)).toBe(large);
  }),
);

test("C calls services from commands, HTTP with and without a body, services, events and hooks", () =>
  onHub(async (hub) => {
    const got = await fetch(`${hub.url}/ask?q=${encodeURIComponent('callee_inline.later {"a":1}')}`);
    expect(await got.json()).toEqual({ a: 1 });
    const large = JSON.stringify("x".repeat(900_000));
    const posted = await fetch(`${hub.url}/ask`, { method: "POST", body: `callee_process.echo ${large}` });
    const echoed = (await posted.text()).trimEnd();
    expect([echoed.length, echoed.slice(0, 300)]).toEqual([large.length, large.slice(0, 300)]);
    expect(await ask(hub, 'callee_inline.back "caller.relay"')).toMatchObject({ code: "DEPTH" });
    // At the server's start no module serves before all have started.
    expect(await hub.ask("FIRST\n")).toBe("start UNAVAILABLE; live caller\n");
    expect(await ask(hub, "please.keep 7", "EMIT")).toBeNull();
    await until("the handler has called", async () =>
      JSON.stringify(await ask(hub, "callee_inline.kept")).includes("7"),
    );
  }));

test("C calls a service in C", () =>
  onHub(async (hub) => {
    expect(await ask(hub, "native.echo [1]")).toEqual([1]);
  }));

test.each([
  ["nobody.echo", "MODULE_MISSING", 'there is no module "nobody"'],
  ["callee_inline.missing", "SERVICE_MISSING", "it has echo"],
  ["echo", "INVALID_INPUT", '"echo" is not a service'],
  ["callee_inline.echo {oops", "INVALID_INPUT", "the text is not JSON"],
  ["callee_inline.throws", "FAILED", "a bug"],
  ["callee_pool.throws", "FAILED", "a bug"],
  ["callee_inline.count 3", "INVALID_OUTPUT", "streams its result"],
  ["callee_inline.big", "FAILED", "BigInt"],
  ["native.crash", "UNAVAILABLE", ""],
])("%s gives C %s", (question, code, message) =>
  onHub(async (hub) => {
    expect(await ask(hub, question)).toEqual({ code, message: expect.stringContaining(message), data: null });
    expect(await ask(hub, "callee_inline.echo 1")).toBe(1);
    expect(await hub.ask("NEIGHBOUR")).toBe("here");
  }),
);

test("C gets code, message and data of a failure that is the service's own", () =>
  onHub(async (hub) => {
    for (const run of HOSTS)
      expect(await ask(hub, `callee_${run}.refuses`)).toEqual({
        code: "NO_FUNDS",
        message: "there is no money",
        data: { missing: 3 },
      });
  }));

test("hrmr_call in hrmr_module is refused", () =>
  onHub(async (hub) => {
    expect(await hub.ask("HELP\n")).toMatch(/EARLY.*UNAVAILABLE/);
  }));

test("a call that would wait for itself is refused and not hung", () =>
  onHub(async (hub) => {
    const itself = await ask(hub, 'caller.relay {"to":"callee_inline.echo"}');
    expect(itself).toMatchObject({ code: "DEPTH", message: expect.stringContaining('"caller" waits for an answer') });
    for (const run of HOSTS) {
      const round = await ask(hub, `callee_${run}.back "caller.relay"`);
      expect(round).toMatchObject({ code: "DEPTH", message: expect.stringContaining("caller.relay") });
    }
    expect(await ask(hub, "native.back")).toMatchObject({ code: "DEPTH" });
    expect(await ask(hub, "callee_inline.echo 1")).toBe(1);
  }));

test("a call ends with its own limit, and the service is told", () =>
  onHub(async (hub) => {
    expect(await ask(hub, 'callee_inline.hangs "brief"', "BRIEF")).toMatchObject({ code: "TIMEOUT" });
    expect(await hub.ask("NEIGHBOUR")).toBe("here");
    await until("it has ended", async () =>
      ((await ask(hub, "callee_inline.kept")) as string[]).includes("ended brief"),
    );
  }));

test.each([...HOSTS])("a call has the time of the handler that calls (%s)", (run) =>
  onHub(async (hub) => {
    expect(await hub.ask(`SHORT callee_${run}.hangs "short"\n`)).toMatch(/ERR|TIMEOUT/);
    expect(await ask(hub, "callee_inline.echo 1")).toBe(1);
    await until("it has ended", async () =>
      ((await ask(hub, `callee_${run}.kept`)) as string[]).includes("ended short"),
    );
  }),
);

test("while C waits, others are served; when its client leaves, the call is cancelled and C goes on", () =>
  onHub(async (hub) => {
    const kept = async (word: string): Promise<void> => {
      await until(`it has ${word}`, async () => (await listed()).includes(word));
    };
    const listed = async (): Promise<string> => (await hub.ask("KEPT\n")).trim();
    hub.write(
      "modules/spy.ts",
      `export default { routes: { "KEPT": { framing: "line", handle: async (_, context) => JSON.stringify(await context.services.callee_inline.kept()) + "\\n" } } };\n`,
    );
    expect(await hub.ask("RELOAD spy\n")).toStartWith("OK");
    const client = await hub.connect();
    await client.send('ASK callee_inline.hangs "left"\n');
    await kept("began left");
    expect(await hub.ask("NEIGHBOUR")).toBe("here");
    client.close();
    await kept("ended left");
    expect(await ask(hub, "callee_inline.echo 1")).toBe(1);
    for (const how of ["posted", "got"]) {
      const abort = new AbortController();
      const question = `callee_inline.hangs "${how}"`;
      const url = how === "got" ? `${hub.url}/ask?q=${encodeURIComponent(question)}` : `${hub.url}/ask`;
      const init = how === "got" ? {} : { method: "POST", body: question };
      const left = fetch(url, { ...init, signal: abort.signal }).catch(() => null);
      await kept(`began ${how}`);
      abort.abort();
      await kept(`ended ${how}`);
      await left;
      expect(await ask(hub, "callee_inline.echo 1")).toBe(1);
    }
  }));

test("an emitted event has the data, and a wrong topic or wrong JSON a code", () =>
  onHub(async (hub) => {
    expect(await ask(hub, 'please.two {"id":"two"}', "EMIT")).toBeNull();
    await until("it has come", async () => JSON.stringify(await ask(hub, "callee_inline.kept")).includes('"id":"two"'));
    expect(await ask(hub, "a..b 1", "EMIT")).toMatchObject({ code: "INVALID_INPUT" });
    expect(await ask(hub, "a.b {", "EMIT")).toMatchObject({ code: "INVALID_INPUT" });
  }));

test("10,000 calls leave the memory of the process as it was", () =>
  onHub(async (hub) => {
    const memory = async (): Promise<number> => {
      const pid = (await hub.status()).modules.find(({ name }) => name === "caller")?.processes[0]?.pid ?? 0;
      const { exitCode, stdout } = Bun.spawnSync(["ps", "-o", "rss=", "-p", String(pid)]);
      expect(exitCode).toBe(0);
      return Number(stdout.toString()) / 1024;
    };
    expect(await hub.ask("MANY 3000\n")).toBe("3000\n");
    const before = await memory();
    expect(await hub.ask("MANY 10000\n")).toBe("10000\n");
    for (let at = 0; at < 200; at++) expect(await ask(hub, "callee_inline.echo 1")).toBe(1);
    expect((await memory()) - before).toBeLessThan(40);
  }));
