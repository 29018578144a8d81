/** Programs as modules: in Python, asked by real clients, with all that can go wrong. */
import { describe, expect, test } from "bun:test";
import { type Hub, shareHub } from "../support/hub";
import { runProgram } from "../support/program";
import { eventually, until } from "../support/until";

/** What the programs need, and nothing else: a start of a shim costs seconds on a busy machine. */
const PYTHON = Bun.which("python3", { PATH: "/usr/bin:/bin:/usr/local/bin" }) ?? "python3";
const module = (options: string) => `export default { program: { command: ["${PYTHON}", "-S", ${options} } };\n`;

const LINES = `import os, sys, time, subprocess
for line in sys.stdin:
    word, _, rest = line.rstrip("\\n").partition(" ")
    if rest == "die": os._exit(7)
    if rest == "hang": time.sleep(1000)
    if rest == "rubbish":
        for i in range(20000): print("rubbish", i)
    if rest == "long": print("x" * 3000000); continue
    if rest == "pid": print(os.getpid()); continue
    if rest == "child":
        print(subprocess.Popen(["sleep", "1000"]).pid); continue
    if rest == "log": print("to the log", file=sys.stderr)
    print("v1", word, rest)
`;

const RPC = `import json, sys
def send(message): print(json.dumps({"jsonrpc": "2.0", **message}))
waiting = {}
for line in sys.stdin:
    message = json.loads(line)
    if "method" not in message:
        send({"id": waiting.pop(message["id"]), "result": message.get("result", message.get("error"))})
        continue
    id, method, params = message.get("id"), message["method"], message.get("params")
    if method == "ask": send({"id": id, "result": {"got": params}})
    elif method == "later": held = id
    elif method == "release":
        send({"id": id, "result": "second"}); send({"id": held, "result": "first"})
    elif method == "refuse": send({"id": id, "error": {"code": -32000, "message": "no money", "data": {"missing": 3}}})
    elif method == "back":
        waiting["r1"] = id; send({"id": "r1", "method": "kv.get", "params": params})
    elif method == "wrong":
        waiting["r2"] = id; send({"id": "r2", "method": "nobody.get"})
    elif method == "rubbish": print("{not json"); print("[]"); print("7"); send({"id": id, "result": "after"})
    elif method == "message": send({"id": id, "result": params["text"].upper()})
    elif method == "silent": pass
    elif id is not None: send({"id": id, "error": {"code": -32601, "message": "no such method"}})
`;

/** Asks, and reads no answer meanwhile. */
const CHATTY = `import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "method" not in message: continue
    for i in range(20000): print('{"jsonrpc":"2.0","id":%d,"method":"nonsense"}' % i)
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": "done"}))
`;

const onHub = shareHub({
  "modules/chatty.ts": module(`"chatty.py"], protocol: "json-rpc", services: ["go"]`),
  "modules/chatty.py": CHATTY,
  "modules/bot.ts": module(`"bot.py"], protocol: "lines", routes: ["BOT "], timeoutMs: 20000`),
  "modules/bot.py": LINES,
  "modules/brief.ts": module(`"brief.py"], protocol: "lines", routes: ["BRIEF "], timeoutMs: 400`),
  "modules/brief.py": LINES,
  "modules/talk.ts": module(
    `"talk.py"], protocol: "json-rpc", routes: ["TALK "], services: ["ask", "later", "release", "refuse", "back", "wrong", "rubbish", "missing"]`,
  ),
  "modules/talk.py": RPC,
  "modules/mute.ts": module(`"mute.py"], protocol: "json-rpc", services: ["silent", "ask"], timeoutMs: 400`),
  "modules/mute.py": RPC,
  "modules/kv.ts": "export default { services: { get: ([key]) => ({ key, value: 7 }) } };\n",
  "modules/caller.ts": `export default { routes: { "CALL_ ": { framing: "line", handle: async ({ text }, { services }) => {
    const [, target, json = "null"] = text.split(/ (?=\\S+ ?)/, 3);
    const [module, service] = target.split(".");
    try { return JSON.stringify(await services[module][service](JSON.parse(json))) + "\\n"; }
    catch (error) { return JSON.stringify({ code: error.code, message: error.message, data: error.data ?? null }) + "\\n"; }
  } } } };\n`,
});

async function call(hub: Hub, target: string, input?: unknown): Promise<unknown> {
  const text = input === undefined ? "" : ` ${JSON.stringify(input)}`;
  return JSON.parse(await hub.ask(`CALL_ ${target}${text}\n`));
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe("a program that talks in lines", () => {
  test("answers each line by a line, in order, for many clients at once", () =>
    onHub(async (hub) => {
      expect(await hub.ask("BOT a\nBOT b\nBOT c\n")).toBe("v1 BOT a\nv1 BOT b\nv1 BOT c\n");
      const all = await Promise.all(Array.from({ length: 30 }, (_, at) => hub.ask(`BOT ${at}\n`)));
      expect(all).toEqual(Array.from({ length: 30 }, (_, at) => `v1 BOT ${at}\n`));
      expect(await hub.ask("BOT grüße 🎈\r\n")).toBe("v1 BOT grüße 🎈\n");
    }));

  test("logs by its standard error, with the module's name", () =>
    onHub(async (hub) => {
      await hub.ask("BOT log\n");
      await eventually(() => expect(hub.program.output()).toMatch(/info +bot v\d+ to the log/));
    }));

  test("is started again when it dies, and the call under way gets an error of its own", () =>
    onHub(async (hub) => {
      const pid = Number(await hub.ask("BOT pid\n"));
      const died = await hub.ask("BOT die\n");
      expect(died).toBe('ERR the program of module "bot" gave no answer: it ended with exit code 7\n');
      expect(await hub.ask("BOT back\n")).toBe("v1 BOT back\n");
      expect(Number(await hub.ask("BOT pid\n"))).not.toBe(pid);
      process.kill(Number(await hub.ask("BOT pid\n")), "SIGKILL");
      await until("it is back", async () => (await hub.ask("BOT again\n")) === "v1 BOT again\n");
    }));

  test("is killed when it hangs, and the next call is answered by a new one", () =>
    onHub(async (hub) => {
      expect(await hub.ask("BRIEF hang\n")).toBe('ERR the program of module "brief" did not answer within 400 ms\n');
      await until("it answers again", async () => (await hub.ask("BRIEF x\n")) === "v1 BRIEF x\n");
      expect(await hub.ask("BOT x\n")).toBe("v1 BOT x\n");
    }));

  test("that prints rubbish is cut and counted in the log, and nobody else notices", () =>
    onHub(async (hub) => {
      expect(await hub.ask("BRIEF rubbish\n")).toBe("rubbish 0\n");
      await eventually(() => expect(hub.program.output()).toMatch(/\d+ lines of its program were left out/));
      expect(hub.program.output()).toContain("its program printed what nobody had asked for");
      expect(await hub.ask("BOT x\n")).toBe("v1 BOT x\n");
      const long = await hub.ask("BOT long\n");
      expect(long).toBe('ERR the program of module "bot" answered with more than 1048576 bytes\n');
      expect(await hub.ask("BOT x\n")).toBe("v1 BOT x\n");
    }));

  test("is reloaded when its own file changes; the old one ends, with its children", () =>
    onHub(async (hub) => {
      const pid = Number(await hub.ask("BOT pid\n"));
      const child = Number(await hub.ask("BOT child\n"));
      expect(lives(child)).toBe(true);
      hub.write("modules/bot.py", LINES.replace('"v1"', '"v2"'));
      expect(await hub.ask("RELOAD")).toMatch(/^OK bot v\d+ \(was/);
      expect(await hub.ask("BOT a\n")).toBe("v2 BOT a\n");
      await until("the old one and its child have ended", () => !lives(pid) && !lives(child));
    }));

  test("that cannot start is refused with its version, and the old one goes on", () =>
    onHub(async (hub) => {
      hub.write("modules/bot.py", "x = (\n");
      const verdict = await hub.ask("RELOAD");
      expect(verdict).toStartWith("ERR");
      expect(verdict).toContain("it ended with exit code 1");
      expect(await hub.ask("BOT a\n")).toBe("v2 BOT a\n");
      hub.write("modules/bot.py", LINES);
      expect(await hub.ask("RELOAD")).toStartWith("OK");
      hub.write(
        "modules/none.ts",
        `export default { program: { command: ["no-such-program"], protocol: "lines" } };\n`,
      );
      expect(await hub.ask("RELOAD")).toContain('its program "no-such-program" cannot be started');
      hub.remove("modules/none.ts");
      expect(await hub.ask("RELOAD")).not.toContain("ERR");
    }));

  test("that takes no notice of SIGTERM ends all the same when its module is deleted", () =>
    onHub(async (hub) => {
      const deaf = `import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for line in sys.stdin: print(os.getpid())
while True: time.sleep(1)
`;
      hub.write("modules/deaf.py", deaf);
      hub.write("modules/deaf.ts", module(`"deaf.py"], protocol: "lines", routes: ["DEAF"]`));
      expect(await hub.ask("RELOAD")).toStartWith("OK");
      const pid = Number(await hub.ask("DEAF\n"));
      hub.remove("modules/deaf.ts");
      expect(await hub.ask("RELOAD")).toStartWith("OK");
      await until("it has ended", () => !lives(pid));
    }));
});

describe("a program that talks JSON-RPC", () => {
  test("offers services, several at a time, in any order", () =>
    onHub(async (hub) => {
      expect(await call(hub, "talk.ask", { a: [1, null, "ü"] })).toEqual({ got: { a: [1, null, "ü"] } });
      expect(await call(hub, "talk.ask", 5)).toEqual({ got: [5] });
      const first = call(hub, "talk.later");
      await until("the first is under way", async () => {
        const { modules } = await hub.status();
        return (modules.find(({ name }) => name === "talk")?.inFlight ?? 0) > 0;
      });
      expect(await call(hub, "talk.release")).toBe("second");
      expect(await first).toBe("first");
      expect(await hub.ask("TALK hello\n")).toBe("TALK HELLO\n");
    }));

  test("gives errors with their data, and unknown methods a code", () =>
    onHub(async (hub) => {
      expect(await call(hub, "talk.refuse")).toEqual({ code: "FAILED", message: "no money", data: { missing: 3 } });
      expect(await call(hub, "talk.missing")).toMatchObject({ code: "SERVICE_MISSING", message: "no such method" });
    }));

  test("calls services of other modules", () =>
    onHub(async (hub) => {
      expect(await call(hub, "talk.back", ["x"])).toEqual({ key: "x", value: 7 });
      expect(await call(hub, "talk.wrong")).toMatchObject({ data: { code: "MODULE_MISSING" } });
    }));

  test("may print what is no message: it is logged, and the answer behind it counts", () =>
    onHub(async (hub) => {
      expect(await call(hub, "talk.rubbish")).toBe("after");
      await eventually(() => expect(hub.program.output()).toContain("{not json"));
    }));

  test("requests whose answers it does not read are left out, and it goes on", () =>
    onHub(async (hub) => {
      for (let time = 0; time < 2; time++) {
        const flood = call(hub, "chatty.go");
        expect(await call(hub, "talk.ask", { a: 1 })).toEqual({ got: { a: 1 } });
        expect(await flood).toBe("done");
      }
      const line = /chatty v1.*its program printed what nobody had asked for: .*nonsense/;
      await eventually(() => expect(hub.program.output()).toMatch(line));
    }));

  test("a call that it does not answer fails in time, and a program that says nothing at all is started again", () =>
    onHub(async (hub) => {
      expect(await call(hub, "mute.silent")).toMatchObject({ code: "TIMEOUT" });
      await eventually(() => expect(hub.program.output()).toContain("it did not answer within 400 ms"));
      await until("it answers again", async () => {
        const answer = (await call(hub, "mute.ask", 1)) as { got?: unknown };
        return answer.got !== undefined;
      });
    }));
});

test("hrmr new NAME --program writes one in Python that runs", () =>
  onHub(async (hub) => {
    const { stdout, exitCode } = await runProgram(["new", "shout", "--program"], { cwd: hub.dir });
    expect(stdout).toContain("modules/shout.py");
    expect(exitCode).toBe(0);
    expect(await hub.ask("RELOAD")).toContain("shout v1");
    expect(await hub.ask("SHOUT bob\n")).toBe("Hello, bob\n");
  }));
