/**
 * The recipes of docs/cookbook.md, each with the clients that it is for. They share a server of two processes, so each
 * recipe is right with several.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ServerWebSocket } from "bun";
import type { Hub } from "./support/hub";
import { shareHub } from "./support/hub";
import { callProgram } from "./support/call-program";
import { printedCommands } from "./support/page-commands";
import { ROOT, runProgram } from "./support/program";
import { until } from "./support/until";

const RECIPES = ["tally", "report", "webhook", "gateway", "rates", "length-prefixed", "diary", "lobby", "figures"];
const read = (name: string): string => readFileSync(join(ROOT, "examples", `${name}.ts`), "utf8");

/** The services of others that the recipes talk to. */
const world = {
  reports: [] as { orders: Record<string, number> }[],
  /** For each request for rates: the key, and its answer. */
  rates: [] as (PromiseWithResolvers<Response> & { key: string })[],
  bots: [] as ServerWebSocket[],
  heard: [] as string[],
};
const others = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  async fetch(request, server) {
    const { pathname } = new URL(request.url);
    if (pathname === "/bots") return server.upgrade(request) ? undefined : new Response(null, { status: 400 });
    if (pathname === "/reports") {
      world.reports.push((await request.json()) as (typeof world.reports)[number]);
      return new Response();
    }
    const answer = Promise.withResolvers<Response>();
    world.rates.push({ ...answer, key: pathname.slice("/rates/".length) });
    return answer.promise;
  },
  websocket: {
    open: (socket) => void world.bots.push(socket),
    message: (_, data) => void world.heard.push(String(data)),
    close: (socket) => void (world.bots = world.bots.filter((each) => each !== socket)),
  },
});
afterAll(() => others.stop(true));

const SECRET = "a secret of the test, long enough";
const settings = {
  webhook: { secret: `whsec_${Buffer.from(SECRET).toString("base64")}` },
  report: { url: `${others.url}reports` },
  rates: { url: `${others.url}rates`, freshMs: 0 },
  gateway: { url: `ws://127.0.0.1:${others.port}/bots` },
};

/** Another module, which calls a recipe's service, and tells the process that serves a connection. */
const CALLER = `import { defineModule } from "hrmr";
export default defineModule({
  routes: {
    "VISIT\\n": async (_message, { services }) => (await services.tally.add({ name: "visits", by: 10 })) + "\\n",
    "PID\\n": () => process.pid + "\\n",
  },
});
`;
const withHub = shareHub(
  {
    ...Object.fromEntries(RECIPES.map((name) => [`modules/${name}.ts`, read(name)])),
    "modules/figures.py": readFileSync(join(ROOT, "examples/figures.py"), "utf8"),
    "modules/caller.ts": CALLER,
    "hrmr.json": JSON.stringify({ modules: settings }),
  },
  ["--processes", "2"],
);

/** A call of JSON-RPC on a raw connection of its own. */
async function call(hub: Hub, method: string, params: unknown): Promise<Record<string, unknown>> {
  return JSON.parse(await hub.ask(`${JSON.stringify({ jsonrpc: "2.0", id: 1, method, params })}\n`));
}

/** Raw clients of both processes, one of each. */
async function clientOfEach(hub: Hub) {
  const byPid = new Map<string, Awaited<ReturnType<Hub["connect"]>>>();
  await until("a connection to each process", async () => {
    const client = await hub.connect();
    await client.send("PID\n");
    byPid.set(await client.waitFor("\n"), client);
    client.clear();
    return byPid.size === 2;
  });
  return [...byPid.values()] as [Awaited<ReturnType<Hub["connect"]>>, Awaited<ReturnType<Hub["connect"]>>];
}

describe("a shared counter", () => {
  test("counts for raw clients, HTTP, JSON-RPC and other modules, in all processes and over a reload", () =>
    withHub(async (hub) => {
      for (const [at, client] of (await clientOfEach(hub)).entries()) {
        await client.send("TALLY visits\n");
        expect(await client.waitFor("\n")).toBe(`${at + 1}\n`);
      }
      expect(await (await fetch(`${hub.url}/tally/visits`, { method: "POST" })).text()).toBe("3\n");
      expect(await call(hub, "tally.add", { name: "visits", by: 2 })).toMatchObject({ result: 5 });
      expect(await hub.ask('CALL tally.add {"name":"visits","by":0}\n')).toBe("5\n");
      const headers = { "content-type": "application/json" };
      const body = JSON.stringify({ name: "visits", by: 0 });
      expect(await (await fetch(`${hub.url}/rpc/tally.add`, { method: "POST", headers, body })).json()).toBe(5);
      expect(await hub.ask("VISIT\n")).toBe("15\n");
      hub.write("modules/tally.ts", `${read("tally")}// edited\n`);
      expect(await hub.ask("RELOAD tally\n")).toStartWith("OK");
      expect(await hub.ask("TALLY visits\n")).toBe("16\n");
    }));

  test("refuses what is no name and no number, and counts on", () =>
    withHub(async (hub) => {
      for (const params of [undefined, {}, { name: "" }, { name: "x".repeat(101) }, { name: "n", by: "1" }, [1]]) {
        expect(await call(hub, "tally.add", params)).toMatchObject({ error: { data: { code: "BAD_INPUT" } } });
      }
      expect(await call(hub, "tally.add", { name: "n" })).toMatchObject({ result: 1 });
    }));
});

describe("a scheduled report", () => {
  const reported = () => {
    const sums: Record<string, number> = {};
    for (const { orders } of world.reports)
      for (const [thing, count] of Object.entries(orders)) sums[thing] = (sums[thing] ?? 0) + count;
    return sums;
  };

  test("has the orders of all processes, each once, when hrmr run asks for it", () =>
    withHub(async (hub) => {
      for (const client of await clientOfEach(hub)) {
        await client.send("ORDER tea\nORDER cake\n");
        await client.waitFor("ordered\nordered\n");
      }
      // Events may be on their way yet.
      await until("a report of all orders", async () => {
        const run = await callProgram(["run", "report", "daily"], { cwd: hub.dir });
        expect(run).toMatchObject({ exitCode: 0 });
        return (reported()["tea"] ?? 0) + (reported()["cake"] ?? 0) >= 4;
      });
      expect(reported()).toEqual({ tea: 2, cake: 2 });
      await callProgram(["run", "report", "daily"], { cwd: hub.dir });
      expect(world.reports.at(-1)?.orders).toEqual({});
    }));
});

describe("a webhook", () => {
  const now = () => Math.floor(Date.now() / 1000);
  const sign = (id: string, at: number, body: string, secret = SECRET) =>
    `v1,${createHmac("sha256", secret).update(`${id}.${at}.${body}`).digest("base64")}`;
  const post = async (hub: Hub, message: { id: string; at: number; body: string; signature: string }) => {
    const headers = {
      "webhook-id": message.id,
      "webhook-timestamp": String(message.at),
      "webhook-signature": message.signature,
    };
    const reply = await fetch(`${hub.url}/webhook`, { method: "POST", headers, body: message.body });
    return [reply.status, await reply.text()];
  };

  test("takes a signed message once, also with a second key's signature before its own", () =>
    withHub(async (hub) => {
      const body = '{ "paid":  1.50, "to": "Zoë" }';
      const at = now();
      const right = sign("m1", at, body);
      const message = { id: "m1", at, body, signature: `${sign("m1", at, body, "the old secret")} ${right}` };
      expect(await post(hub, message)).toEqual([200, "taken\n"]);
      // Whichever process gets it.
      for (let count = 0; count < 6; count++) expect(await post(hub, message)).toEqual([200, "taken before\n"]);
    }));

  test("refuses other bodies, ids, times and secrets, and what is too old", () =>
    withHub(async (hub) => {
      const at = now();
      const good = { id: "m2", at, body: "{}", signature: sign("m2", at, "{}") };
      const wrong = [401, "the signature is wrong\n"];
      expect(await post(hub, { ...good, body: "{ }" })).toEqual(wrong);
      expect(await post(hub, { ...good, id: "m3" })).toEqual(wrong);
      expect(await post(hub, { ...good, at: at + 1 })).toEqual(wrong);
      expect(await post(hub, { ...good, signature: sign("m2", at, "{}", "another") })).toEqual(wrong);
      for (const signature of ["", "v1,", "v1,AAAA", `v2,${good.signature.slice(3)}`, "v1,!", "x".repeat(4000)])
        expect(await post(hub, { ...good, signature })).toEqual(wrong);
      for (const off of [-301, 400]) {
        const old = { ...good, at: at + off, signature: sign("m2", at + off, "{}") };
        expect(await post(hub, old)).toEqual([401, "the message is too old, or of the future\n"]);
      }
      expect(await post(hub, good)).toEqual([200, "taken\n"]);
    }));

  test("does not load without a secret", () =>
    withHub(async (hub) => {
      hub.write("hrmr.json", JSON.stringify({ modules: { ...settings, webhook: {} } }));
      expect(await hub.ask("RELOAD\n")).toContain("set modules.webhook.secret");
      hub.write("hrmr.json", JSON.stringify({ modules: settings }));
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
    }));
});

describe("a bot gateway", () => {
  test("keeps one connection over reloads, with the answers of the newest version, and connects again", () =>
    withHub(async (hub) => {
      const bot = () => until("the bot's one connection", () => (world.bots.length === 1 ? world.bots[0] : null));
      const first = await bot();
      first.send("my name is ada");
      await until("the bot's answer", () => world.heard.includes("Hello, ada"));
      hub.write("modules/gateway.ts", read("gateway").replace("Hello, ", "Good day, "));
      expect(await hub.ask("RELOAD gateway\n")).toStartWith("OK");
      first.send("my name is bob");
      await until("the new version's answer", () => world.heard.includes("Good day, bob"));
      expect(world.bots).toEqual([first]);
      expect(world.heard).not.toContain("Hello, bob");

      first.terminate();
      const second = await until("a new connection", () => world.bots.find((each) => each !== first));
      second.send("my name is eve");
      await until("the answer on it", () => world.heard.includes("Good day, eve"));
      for (const client of await clientOfEach(hub)) {
        await client.send("BOT SAY hi\n");
        await client.waitFor("the bot is told\n");
      }
      await until(
        "what both processes had the bot say",
        () => world.heard.filter((text) => text === "hi").length === 2,
      );
      hub.remove("modules/gateway.ts");
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
      await until("the end of the connection", () => world.bots.length === 0);
      hub.write("modules/gateway.ts", read("gateway"));
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
      await bot();
    }));
});

describe("an API of others with a cache", () => {
  test("asks once for all that wait, answers what is stale at once, and fetches it anew behind the answer", () =>
    withHub(async (hub) => {
      const client = await hub.connect();
      const ask = async (count: number): Promise<unknown[]> => {
        const batch = Array.from({ length: count }, (_, id) => ({
          jsonrpc: "2.0",
          id,
          method: "rates.get",
          params: { key: "EUR" },
        }));
        client.clear();
        await client.send(`${JSON.stringify(batch)}\n`);
        return (JSON.parse(await client.waitFor("\n")) as { result?: unknown; error?: unknown }[]).map(
          ({ result, error }) => result ?? error,
        );
      };
      const waiting = ask(20);
      await until("the request", () => world.rates.length > 0);
      world.rates[0]?.resolve(Response.json({ usd: 1 }));
      expect(await waiting).toEqual(Array(20).fill({ usd: 1 }));
      expect(world.rates).toHaveLength(1);
      // It is stale at once. The answer does not wait for the second request, which is one for all.
      expect(await ask(20)).toEqual(Array(20).fill({ usd: 1 }));
      await until("the second request", () => world.rates.length === 2);
      expect(await ask(1)).toEqual([{ usd: 1 }]);
      expect(world.rates).toHaveLength(2);
      // A failure behind the answer leaves what is there; the next client tries again.
      world.rates[1]?.resolve(new Response(null, { status: 500 }));
      await until("another try", async () => {
        expect(await ask(1)).toEqual([{ usd: 1 }]);
        return world.rates.length === 3;
      });
      world.rates[2]?.resolve(Response.json({ usd: 2 }));
      await until("the new value", async () => Bun.deepEquals(await ask(1), [{ usd: 2 }]));
      for (const late of world.rates.slice(3)) late.resolve(Response.json({ usd: 2 }));
      // Another key: nothing is there to answer with.
      const missing = fetch(`${hub.url}/rates/XXX`);
      await until("the request for it", () => world.rates.some(({ key }) => key === "XXX"));
      for (const late of world.rates) late.resolve(new Response(null, { status: 404 }));
      expect((await missing).status).toBe(503);
      expect((await fetch(`${hub.url}/rates/x`)).status).toBe(400);
    }));
});

describe("a binary protocol", () => {
  test("answers whole messages however they are cut, and one after another", () =>
    withHub(async (hub) => {
      const message = Buffer.from([...Buffer.from("SUM!"), 0, 0, 0, 4, 0, 1, 0, 2]);
      const reply = Buffer.from([...Buffer.from("SUM!"), 0, 0, 0, 4, 0, 0, 0, 3]);
      const client = await hub.connect();
      for (const byte of message) await client.send(Uint8Array.of(byte));
      await client.send(Buffer.concat([message, message]));
      await until("three replies", () => client.bytes.length >= 3 * reply.length);
      expect(client.bytes).toEqual(Buffer.concat([reply, reply, reply]));
    }));
});

describe("a login for raw clients", () => {
  test("gives each name its own diary, for the connection, until its token is revoked", () =>
    withHub(async (hub) => {
      const token = async (name: string, scope: string) =>
        (await callProgram(["token", "add", name, "--scope", scope], { cwd: hub.dir })).stdout.trim();
      const tokens = { ada: await token("ada", "app:diary"), eve: await token("eve", "app:other") };
      expect(await hub.ask("DIARY rain\n")).toBe("ERR show a token with AUTH first\n");
      const ada = await hub.connect();
      await ada.send(`AUTH ${tokens.ada}\nDIARY rain\nDIARY sun\nDIARY\n`);
      expect(await ada.waitFor(".\n")).toBe("OK ada\nOK\nOK\nrain\nsun\n.\n");
      expect(await hub.ask(`AUTH ${tokens.eve}\nDIARY\n`)).toBe("OK eve\nERR your token has not the scope app:diary\n");
      await callProgram(["token", "revoke", "ada"], { cwd: hub.dir });
      await until("the end of the session", async () => {
        ada.clear();
        await ada.send("DIARY\n");
        return (await ada.waitFor("\n")).startsWith("ERR show a token");
      });
    }));
});

describe("a chat over WebSocket and TCP", () => {
  test("reaches all, in all processes, and goes on in the next version", () =>
    withHub(async (hub) => {
      const [ada, bob] = await clientOfEach(hub);
      await ada.send("LOBBY ada\n");
      await ada.waitFor("* ada came in\n");
      await bob.send("LOBBY bob\n");
      await ada.waitFor("* bob came in\n");
      const heard: string[] = [];
      const eve = new WebSocket(`ws://127.0.0.1:${hub.port}/lobby?name=eve`);
      eve.onmessage = ({ data }) => void heard.push(String(data));
      for (const client of [ada, bob]) await client.waitFor("* eve came in\n");
      const talk = async (round: number) => {
        await bob.send(`hi ${round}\n`);
        for (const client of [ada, bob]) await client.waitFor(`bob: hi ${round}\n`);
        await until("it at the WebSocket", () => heard.includes(`bob: hi ${round}`));
        eve.send(`ho ${round}`);
        for (const client of [ada, bob]) await client.waitFor(`eve: ho ${round}\n`);
      };
      await talk(1);
      hub.write("modules/lobby.ts", `${read("lobby")}// edited\n`);
      expect(await hub.ask("RELOAD lobby\n")).toStartWith("OK");
      await talk(2);
      await ada.send("/bye\n");
      await bob.waitFor("* ada left\n");
      eve.close();
      await bob.waitFor("* eve left\n");
      for (const text of ["eve came in", "ada left", "eve left"]) expect(bob.text.split(text)).toHaveLength(2);
      expect(heard.filter((text) => text === "bob: hi 1")).toHaveLength(1);
      expect(await hub.ask("LOBBY a b\n")).toStartWith("ERR a name");
    }));
});

describe("a program in Python", () => {
  test("answers raw clients, HTTP and other modules, its errors too, and is replaced when its file changes", () =>
    withHub(async (hub) => {
      const post = async (body: string) => {
        const reply = await fetch(`${hub.url}/figures`, { method: "POST", body });
        return [reply.status, await reply.json()];
      };
      expect(await hub.ask("FIGURES 3 1 2\n")).toBe('{"mean": 2.0, "median": 2.0}\n');
      expect(await post("[1, 2, 6]")).toEqual([200, { mean: 3, median: 2 }]);
      expect(await post('["1"]')).toEqual([400, { error: "send a list of numbers" }]);
      expect(await post("{")).toEqual([400, { error: expect.any(String) }]);
      expect(await hub.ask("FIGURES x\n")).toStartWith("ERR ");
      const program = readFileSync(join(ROOT, "examples/figures.py"), "utf8");
      hub.write("modules/figures.py", program.replace('"median":', '"middle":'));
      expect(await hub.ask("RELOAD figures\n")).toStartWith("OK");
      expect(await post("[1, 2, 6]")).toEqual([200, { mean: 3, middle: 2 }]);
    }));
});

describe("hrmr new", () => {
  const kinds = ["kv", "chat", "cron", "gateway", "rpc", "hono", "program"];

  test.each(kinds.filter((kind) => kind !== "chat"))("--%s writes a module whose printed commands work", (kind) =>
    withHub(async (hub) => {
      const name = `my-${kind}`;
      const made = await (kind === "kv" ? runProgram : callProgram)(["new", name, `--${kind}`], { cwd: hub.dir });
      expect(made).toMatchObject({ exitCode: 0, stderr: "" });
      expect(made.stdout).toStartWith(`wrote  modules/${name}.ts\n`);
      expect(readFileSync(join(hub.dir, `modules/${name}.ts`), "utf8")).not.toMatch(/\b(?:COMMAND|NAME)\b/);
      const lines = printedCommands(made.stdout).map(({ text }) => text.split("  #")[0]?.trim() ?? "");
      const [reload, ...commands] = lines.filter((line) => line !== "hrmr add hono");
      expect(reload).toBe("hrmr reload");
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
      const answers: string[] = [];
      for (const command of commands) {
        const [program = "", ...words] = [...command.matchAll(/'([^']*)'|(\S+)/g)].map(
          ([, quoted, plain]) => quoted ?? plain ?? "",
        );
        if (program === "curl") {
          answers.push(await (await fetch(`${hub.url}/${words[0]?.replace(/^[^/]*\//, "")}`)).text());
          continue;
        }
        const run = await callProgram(words, { cwd: hub.dir });
        expect([command, run.stderr, run.exitCode]).toEqual([command, "", 0]);
        answers.push(run.stdout);
      }
      expect({ [kind]: answers }).toMatchObject(
        {
          kv: { kv: ["OK\n", "blue\n"] },
          cron: { cron: [expect.stringContaining("my-cron")] },
          gateway: { gateway: ["OK\n"] },
          rpc: { rpc: ["3\n"] },
          hono: { hono: ["Hello from my-hono\n"] },
          program: { program: ["Hello, bob\n"] },
        }[kind] ?? {},
      );
    }),
  );

  test("--chat writes a chat that reaches the clients of all processes", () =>
    withHub(async (hub) => {
      await callProgram(["new", "my-chat", "--chat"], { cwd: hub.dir });
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
      const [ada, bob] = await clientOfEach(hub);
      await ada.send("MY-CHAT ada\n");
      await ada.waitFor("* ada came in\n");
      await bob.send("MY-CHAT bob\n");
      await ada.waitFor("* bob came in\n");
      hub.write("modules/my-chat.ts", `${readFileSync(join(hub.dir, "modules/my-chat.ts"), "utf8")}// edited\n`);
      expect(await hub.ask("RELOAD my-chat\n")).toStartWith("OK");
      await bob.send("hi\n");
      for (const client of [ada, bob]) await client.waitFor("bob: hi\n");
      await ada.send("/bye\n");
      await bob.waitFor("* ada left\n");
    }));

  test("--gateway writes a module that connects, and connects again, under its own name", () =>
    withHub(async (hub) => {
      const before = new Set(world.bots);
      const added = () => world.bots.find((each) => !before.has(each));
      await callProgram(["new", "other-bot", "--gateway"], { cwd: hub.dir });
      const modules = { ...settings, "other-bot": { url: settings.gateway.url } };
      hub.write("hrmr.json", JSON.stringify({ modules }));
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
      const first = await until("its connection", added);
      for (const client of await clientOfEach(hub)) {
        await client.send("OTHER-BOT hello there\n");
        await client.waitFor("OK\n");
      }
      await until("both messages", () => world.heard.filter((text) => text === "hello there").length === 2);
      hub.write("modules/other-bot.ts", `${readFileSync(join(hub.dir, "modules/other-bot.ts"), "utf8")}// edited\n`);
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
      expect(added()).toBe(first);
      before.add(first);
      first.terminate();
      await until("another connection", added);
      hub.remove("modules/other-bot.ts");
      hub.write("hrmr.json", JSON.stringify({ modules: settings }));
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
      await until("its end", () => added() === undefined);
    }));

  test("refuses two kinds at once, and writes nothing", () =>
    withHub(async (hub) => {
      const { exitCode, stderr } = await callProgram(["new", "two", "--kv", "--c"], { cwd: hub.dir });
      expect([exitCode, stderr]).toEqual([2, expect.stringContaining("--c and --kv exclude each other.")]);
      expect(readdirSync(join(hub.dir, "modules")).filter((entry) => entry.startsWith("two"))).toEqual([]);
    }));
});

describe("hrmr examples", () => {
  test("all that need no package pass hrmr validate with the recipes", () =>
    withHub(async (hub) => {
      for (const name of ["greet", "grpc", "sse", "websocket", "chat", "redis-like"])
        expect(await callProgram(["examples", name], { cwd: hub.dir })).toMatchObject({ exitCode: 0 });
      const { exitCode, stdout, stderr } = await callProgram(["validate", "--port", "0"], { cwd: hub.dir });
      expect([exitCode, stdout + stderr]).toEqual([0, expect.stringContaining("\n0 errors, 0 warnings\n")]);
      for (const name of [...RECIPES, "greet", "grpc", "sse", "websocket", "chat", "redis-like"])
        expect(stdout).toMatch(new RegExp(`^ok +module ${name} `, "m"));
    }));

  test("lists each example with a title, and writes it as it is, never over another", () =>
    withHub(async (hub) => {
      const list = JSON.parse((await callProgram(["examples", "--json"], { cwd: hub.dir })).stdout) as {
        name: string;
        file: string;
        title: string;
      }[];
      const files = ["examples", "examples/c"].flatMap((folder) => readdirSync(join(ROOT, folder)));
      expect(list.map(({ file }) => file).sort()).toEqual(files.filter((file) => /\.(?:ts|c)$/.test(file)).sort());
      expect(list.filter(({ title }) => !/^[A-Zg].{3,90}$/.test(title))).toEqual([]);
      const written = await runProgram(["examples", "sse", "--modules", "."], { cwd: hub.dir });
      expect(written.stdout).toStartWith("wrote  sse.ts\n");
      expect(readFileSync(join(hub.dir, "sse.ts"), "utf8")).toBe(read("sse").replaceAll("8080", String(hub.port)));
      expect(written.stdout).toContain(`localhost:${hub.port}/events`);
      const made = await callProgram(["new", "planet", "--chat"], { cwd: hub.dir });
      expect(made.stdout).toContain(`nc -N localhost ${hub.port}`);
      // Without a server the config file tells.
      hub.write("data/apart/hrmr.json", '{ "listen": ["tcp://127.0.0.1:9123"] }');
      hub.write("data/apart/modules/.keep", "");
      const apart = await callProgram(["examples", "sse"], { cwd: join(hub.dir, "data/apart") });
      expect(apart.stdout).toContain("localhost:9123/events");
      const both = await callProgram(["examples", "figures", "--modules", "."], { cwd: hub.dir });
      expect(both.stdout).toStartWith("wrote  figures.ts\nwrote  figures.py\n");
      const again = await callProgram(["examples", "tally"], { cwd: hub.dir });
      expect([again.exitCode, again.stderr]).toEqual([1, expect.stringContaining('"tally" already: modules/tally.ts')]);
      const wrong = await callProgram(["examples", "taly"], { cwd: hub.dir });
      expect([wrong.exitCode, wrong.stderr]).toEqual([2, expect.stringContaining("Did you mean hrmr examples tally?")]);
    }));
});
