/** `hrmr client`: the clients that it writes call a running server, and have types. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pythonClient } from "../../../src/cli/client/python";
import { typescriptClient } from "../../../src/cli/client/typescript";
import { callProgram } from "../../support/call-program";
import { type Hub, shareHub } from "../../support/hub";
import { UNTIL_MS } from "../../support/until";

const ACCOUNTS = `import { defineModule, service, ServiceError } from "hrmr";
import { z } from "zod";
const rows = new Map();
export default defineModule({ services: {
  deposit: service({
    public: true,
    description: "adds */ to an account",
    input: z.object({ name: z.string(), amount: z.number(), note: z.string().optional() }),
    output: z.object({ name: z.string(), balance: z.number() }),
    call({ name, amount }) {
      if (amount < 0) throw new ServiceError("NEGATIVE", "an amount is not below 0", { amount });
      rows.set(name, (rows.get(name) ?? 0) + amount);
      return { name, balance: rows.get(name) };
    },
  }),
  count: { public: true, async *call({ to }) { for (let n = 1; n <= to; n++) yield n; } },
  forever: { public: true, async *call() { try { for (let n = 0; ; n++) { yield n; await Bun.sleep(1); } } finally { rows.set("left", 1); } } },
  whose: { public: true, call: (_, context) => ({ identity: context.identity, left: rows.get("left") ?? 0 }) },
  hangs: { public: true, call: () => new Promise(() => {}) },
  hidden: () => 1,
} });
`;
const onHub = shareHub({ "modules/accounts.ts": ACCOUNTS });

const SCRIPT = `
const hub = connect({ port: PORT });
const out = [];
out.push(await hub.accounts.deposit({ name: "ann", amount: 5 }));
out.push(...await Promise.all([1, 2, 3].map((amount) => hub.accounts.deposit({ name: "bob", amount }))));
try { await hub.accounts.deposit({ name: "ann", amount: -1 }); } catch (error) { out.push([error.code, error.message, error.data.amount]); }
try { await hub.accounts.deposit({ name: 3 }); } catch (error) { out.push([error.code, error.data.issues.length]); }
try { await hub.accounts.hidden(); } catch (error) { out.push(error.rpcCode); }
try { await hub.accounts.hangs(undefined, { timeoutMs: 20 }); } catch (error) { out.push(error.code); }
out.push(await hub.accounts.count({ to: 3 }));
const parts = [];
for await (const part of hub.stream("accounts.forever")) { parts.push(part); if (parts.length === 3) break; }
out.push(parts);
while ((await hub.accounts.whose()).left !== 1);
hub.close();
try { await hub.accounts.whose(); } catch (error) { out.push(error.code); }
console.log(JSON.stringify(out));
`;
const ANSWERS = [
  { name: "ann", balance: 5 },
  { name: "bob", balance: 1 },
  { name: "bob", balance: 3 },
  { name: "bob", balance: 6 },
  ["NEGATIVE", "an amount is not below 0", -1],
  ["INVALID_INPUT", 2],
  -32601,
  "TIMEOUT",
  [1, 2, 3],
  [0, 1, 2],
  "DISCONNECTED",
];

async function runOwn(command: string[], cwd: string): Promise<{ stdout: string; stderr: string }> {
  const child = Bun.spawn(command, { cwd, stdin: "ignore", stdout: "pipe", stderr: "pipe", timeout: UNTIL_MS });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  await child.exited;
  return { stdout, stderr };
}

async function write(hub: Hub, lang: string, file: string): Promise<void> {
  const { exitCode, stderr } = await callProgram(["client", "--lang", lang, "--out", join(hub.dir, file)], {
    cwd: hub.dir,
  });
  expect(stderr).toBe("");
  expect(exitCode).toBe(0);
}

describe("a written client", () => {
  test("in TypeScript runs in Bun, and its types fit", () =>
    onHub(async (hub) => {
      await write(hub, "ts", "client.ts");
      writeFileSync(
        join(hub.dir, "bot.ts"),
        `import { connect } from "./client";\n${SCRIPT.replace("PORT", String(hub.port))}`,
      );
      const { stdout, stderr } = await runOwn([process.execPath, "bot.ts"], hub.dir);
      expect(stderr).toBe("");
      expect(JSON.parse(stdout)).toEqual(ANSWERS);
      writeFileSync(
        join(hub.dir, "typed.ts"),
        `import { connect, CallError } from "./client";
        const hub = connect({ token: "x" });
        export const balance: Promise<{ name: string; balance: number }> = hub.accounts.deposit({ name: "ann", amount: 1 });
        // @ts-expect-error a text is no number
        void hub.accounts.deposit({ name: "ann", amount: "1" });
        // @ts-expect-error there is none
        void hub.accounts.hidden();
        export const code: string = new CallError("A", "b").code;\n`,
      );
      writeFileSync(
        join(hub.dir, "tsconfig.json"),
        JSON.stringify({
          compilerOptions: {
            strict: true,
            noEmit: true,
            target: "ESNext",
            lib: ["ESNext", "DOM"],
            module: "Preserve",
            moduleResolution: "bundler",
            types: ["node"],
            skipLibCheck: true,
          },
          include: ["typed.ts"],
        }),
      );
      const checked = await runOwn([process.execPath, "check", "--no-script"], hub.dir);
      expect(checked.stdout + checked.stderr).toContain("No type errors");
    }));

  test("in JavaScript runs in node", () =>
    onHub(async (hub) => {
      await write(hub, "js", "client.mjs");
      const script = SCRIPT.replace("PORT", String(hub.port)).replaceAll('"ann"', '"eve"').replaceAll('"bob"', '"dan"');
      writeFileSync(join(hub.dir, "bot.mjs"), `import { connect } from "./client.mjs";\n${script}`);
      const { stdout, stderr } = await runOwn(["node", "bot.mjs"], hub.dir);
      expect(stderr).toBe("");
      expect(JSON.stringify(JSON.parse(stdout)).replaceAll("eve", "ann").replaceAll("dan", "bob")).toBe(
        JSON.stringify(ANSWERS),
      );
    }));

  test("runs in a page of a browser, over a WebSocket and with a token", () =>
    onHub(async (hub) => {
      await write(hub, "js", "page.mjs");
      const made = await callProgram(["token", "add", "page", "--scope", "rpc:accounts.*", "--json"], { cwd: hub.dir });
      const { token } = JSON.parse(made.stdout) as { token: string };
      const page = { protocol: "http:", host: `127.0.0.1:${hub.port}`, hostname: "127.0.0.1" };
      writeFileSync(
        join(hub.dir, "in-page.mjs"),
        `import { connect } from "./page.mjs";
globalThis.document = {};
globalThis.location = ${JSON.stringify(page)};
const hub = connect({ token: "${token}" });
const out = [(await hub.accounts.whose()).identity, await hub.accounts.count({ to: 3 })];
for await (const part of hub.stream("accounts.forever")) if (part === 2) break;
const more = hub.accounts.hangs();
hub.close();
out.push(await more.catch((error) => error.code));
for (const options of [{ token: "wrong" }, { url: "ws://127.0.0.1:${hub.port}/none" }])
  out.push(await connect(options).accounts.whose().catch((error) => error.code));
console.log(JSON.stringify(out));
`,
      );
      const { stdout, stderr } = await runOwn([process.execPath, "in-page.mjs"], hub.dir);
      expect(stderr).toBe("");
      expect(JSON.parse(stdout)).toEqual(["page", [1, 2, 3], "DISCONNECTED", "UNAUTHORIZED", "DISCONNECTED"]);
    }));

  test.skipIf(Bun.which("python3") === null)("in Python runs in python3, with a token, over a lost connection", () =>
    onHub(async (hub) => {
      await write(hub, "python", "hub_client.py");
      const made = await callProgram(["token", "add", "bot", "--scope", "rpc:accounts.*", "--json"], { cwd: hub.dir });
      const { token } = JSON.parse(made.stdout) as { token: string };
      writeFileSync(
        join(hub.dir, "bot.py"),
        `import json
from hub_client import CallError, Hub
hub = Hub(port=${hub.port}, token="${token}")
out = [hub.accounts.deposit(name="zoe", amount=5), hub.accounts.whose()["identity"]]
try:
    hub.accounts.deposit(name="zoe", amount=-1)
except CallError as error:
    out.append([error.code, error.message, error.data["amount"]])
try:
    hub.call("accounts.hangs", timeout=0.02)
except CallError as error:
    out.append(error.code)
out.append(hub.accounts.count(to=3))
parts = []
for part in hub.stream("accounts.forever"):
    parts.append(part)
    if len(parts) == 3:
        break
out.append(parts)
hub.close()
out.append(hub.accounts.deposit({"name": "zoe", "amount": 1})["balance"])
try:
    Hub(port=${hub.port}, token="wrong").accounts.whose()
except CallError as error:
    out.append(error.code)
print(json.dumps(out))
`,
      );
      const { stdout, stderr } = await runOwn(["python3", "bot.py"], hub.dir);
      expect(stderr).toBe("");
      expect(JSON.parse(stdout)).toEqual([
        { name: "zoe", balance: 5 },
        "bot",
        ["NEGATIVE", "an amount is not below 0", -1],
        "TIMEOUT",
        [1, 2, 3],
        [0, 1, 2],
        6,
        "UNAUTHORIZED",
      ]);
    }),
  );

  test("comes from a file or standard input, too, and says what is wrong with it", () =>
    onHub(async (hub) => {
      hub.write("openrpc.json", JSON.stringify({ methods: [{ name: "a.b" }] }));
      const told = await callProgram(["client", "--from", "openrpc.json"], { cwd: hub.dir });
      expect(told.stdout).toContain("b(input?: unknown, options?: CallOptions): Promise<unknown>;");
      hub.write("wrong.json", "{}");
      expect((await callProgram(["client", "--from", "wrong.json"], { cwd: hub.dir })).stderr).toContain(
        `hrmr call HOST:PORT rpc.discover`,
      );
      expect((await callProgram(["client", "--lang", "perl"], { cwd: hub.dir })).stderr).toContain("ts, js, python");
    }));
});

describe("a schema as a type", () => {
  const names = (kind: "ts" | "python", input: unknown): string => {
    const procedures = [{ module: "m", service: "s", description: "", input, output: undefined }];
    const text = kind === "ts" ? typescriptClient(procedures, "", "") : pythonClient(procedures, "", "");
    return /s\((.*?)(?:, options|\) ->)/.exec(text)?.[1] ?? "";
  };

  test.each([
    [{ type: "string" }, "input: string", "self, params: str"],
    [{ enum: ["a", 1, null] }, 'input: "a" | 1 | null', 'self, params: Union[Literal["a"], Literal[1], None]'],
    [{ type: ["integer", "null"] }, "input: number | null", "self, params: Union[int, None]"],
    [{ type: "array", items: { type: "boolean" } }, "input: readonly (boolean)[]", "self, params: List[bool]"],
    [
      { type: "array", prefixItems: [{ type: "string" }, {}] },
      "input: readonly [string, unknown]",
      "self, params: Tuple[str, Any]",
    ],
    [
      { type: "object", additionalProperties: { type: "number" } },
      "input: Readonly<Record<string, number>>",
      "self, params: Dict[str, float]",
    ],
    [
      { type: "object", properties: { "a-b": { type: "string" }, c: {} }, required: ["c"] },
      'input: { "a-b"?: string; c: unknown }',
      "self, params: Dict[str, Any]",
    ],
    [
      { properties: { a: { type: "string" }, b: { const: 3 } }, required: ["a"] },
      "input: { a: string; b?: 3 }",
      "self, *, a: str, b: Literal[3] = ...",
    ],
    [{ allOf: [{ type: "string" }, { const: "x" }] }, 'input: (string) & ("x")', "self, params: Any"],
    [true, "input: unknown", "self, params: Any"],
  ])("%j", (schema, ts, python) => {
    expect(names("ts", schema)).toBe(ts);
    expect(names("python", schema)).toBe(python);
  });

  test("a type that refers to itself ends", () => {
    const tree = {
      $ref: "#/$defs/tree",
      $defs: { tree: { type: "object", properties: { next: { $ref: "#/$defs/tree" } } } },
    };
    expect(names("ts", tree)).toContain("next?: { next?: ");
  });
});
