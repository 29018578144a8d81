import { expect, test } from "bun:test";
import { moduleSource, shareHub } from "../../support/hub";
import { connectRaw } from "../../support/raw-client";
import { until } from "../../support/until";

const withServer = shareHub({
  "modules/bank.ts": `
import { defineModule, ServiceError } from "hrmr";
import { z } from "zod";
let ended = 0;
let made = 0;
export default defineModule({
  routes: { "PING": () => "PONG\\n", "ENDED": () => ended + "\\n", "MADE": () => made + "\\n" },
  services: {
    echo: { public: true, input: z.looseObject({ text: z.string().optional() }), call: (input) => input },
    caller: { public: true, call: (_, { caller, identity }) => ({ caller, identity }) },
    slow: { public: true, call: async (_, { signal }) => { await new Promise((done) => signal.addEventListener("abort", done)); ended++; } },
    later: { public: true, call: async ({ ms }) => (await Bun.sleep(ms), ms) },
    broke: { public: true, call: () => { throw new ServiceError("NO_FUNDS", "the account is empty", { left: 0 }); } },
    bug: { public: true, call: () => { throw new Error("secret words"); } },
    big: { public: true, call: () => ({ rows: [{ id: 1n }] }) },
    cycle: { public: true, call: () => { const a = {}; a.self = a; return a; } },
    nothing: { public: true, call: () => undefined },
    count: { public: true, call: async function* ({ to }) { try { for (let i = 1; i <= to; i++) yield i; } finally { ended++; } } },
    flood: { public: true, call: async function* () { try { for (;;) { made++; yield "x".repeat(65536); } } finally { ended++; } } },
    hidden: (input) => input,
  },
});
`,
  "modules/far.ts": moduleSource(`{
  settings: {},
  services: {
    pool: { public: true, run: "pool", call: (input) => input },
    stream: { public: true, run: "pool", call: async function* () { yield "a"; yield { b: 1 }; } },
  },
}`).replace("settings: {},", ""),
});

test("a line with a request is answered by a line", () =>
  withServer(async (hub) => {
    expect(await hub.ask('{"jsonrpc":"2.0","method":"bank.echo","params":{"text":"hi","a":[1,"ü"]},"id":1}\n')).toBe(
      '{"jsonrpc":"2.0","result":{"text":"hi","a":[1,"ü"]},"id":1}\n',
    );
    expect(await hub.ask('{"jsonrpc":"2.0","method":"far.pool","params":[1,{"a":null}],"id":"x"}')).toBe(
      '{"jsonrpc":"2.0","result":[1,{"a":null}],"id":"x"}\n',
    );
  }));

test("answers come when they are there, and raw replies keep their order", () =>
  withServer(async (hub) => {
    const slow = '{"jsonrpc":"2.0","method":"bank.later","params":{"ms":100},"id":"slow"}\n';
    const fast = '{"jsonrpc":"2.0","method":"bank.later","params":{"ms":1},"id":"fast"}\n';
    const lines = (await hub.ask(`${slow}${fast}PING\n`)).split("\n");
    expect(lines).toEqual([
      "PONG",
      '{"jsonrpc":"2.0","result":1,"id":"fast"}',
      '{"jsonrpc":"2.0","result":100,"id":"slow"}',
      "",
    ]);
  }));

test("a batch that cancels its own calls is answered", () =>
  withServer(async (hub) => {
    const slow = [1, 2].map((id) => `{"jsonrpc":"2.0","method":"bank.slow","id":${id}}`);
    const cancel = [1, 2].map((id) => `{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":${id}}}`);
    const lines = (await hub.ask(`[${[...slow, ...cancel].join(",")}]\n`)).split("\n");
    const answers = JSON.parse(lines[0] ?? "") as { id: number; error: { code: number } }[];
    expect(answers.map(({ id, error }) => [id, error.code])).toEqual([
      [1, -32006],
      [2, -32006],
    ]);
  }));

test("a client that has left ends its calls", () =>
  withServer(async (hub) => {
    const before = Number(await hub.ask("ENDED\n"));
    const client = await hub.connect();
    await client.send('{"jsonrpc":"2.0","method":"bank.slow","id":1}\nPING\n');
    await client.waitFor("PONG\n");
    client.close();
    await until("the call has ended", async () => Number(await hub.ask("ENDED\n")) > before);
  }));

test("an endless result waits for a client that does not read, and ends with it", () =>
  withServer(async (hub) => {
    const before = Number(await hub.ask("ENDED\n"));
    const client = await connectRaw(hub.port);
    client.write('{"jsonrpc":"2.0","method":"bank.flood","id":1}\n');
    await client.waitFor("$/next");
    client.pause();
    let last = -1;
    await until("nothing more is made", async () => {
      const made = Number(await hub.ask("MADE\n"));
      await Bun.sleep(50);
      return made === last || ((last = made), false);
    });
    expect(last).toBeLessThan(1000);
    client.terminate();
    await until("the result has ended", async () => Number(await hub.ask("ENDED\n")) === before + 1);
  }));

test("a client has at most half of the places for calls, and a fresh one is served", () =>
  withServer(async (hub) => {
    const client = await hub.connect();
    const lines = Array.from({ length: 600 }, (_, id) => `{"jsonrpc":"2.0","method":"bank.slow","id":${id}}\n`);
    await client.send(lines.join(""));
    expect(JSON.parse((await client.waitFor(/\n/)).split("\n")[0] ?? "")).toMatchObject({
      error: { code: -32003, data: { code: "BUSY" }, message: expect.stringContaining("512 calls of this client") },
      id: 512,
    });
    const waiting = '[{"jsonrpc":"2.0","method":"bank.later","params":{"ms":1},"id":1}]\n';
    expect(await hub.ask(waiting)).toContain('"result":1');
    const before = Number(await hub.ask("ENDED\n"));
    client.close();
    await until("its calls have ended", async () => Number(await hub.ask("ENDED\n")) === before + 512);
    expect(await hub.ask(waiting)).toContain('"result":1');
  }));

test("a call in flight goes on over a reload of its module, and the next one gets the new version", () =>
  withServer(async (hub) => {
    const source = (text: string) =>
      moduleSource(`{ services: { get: { public: true, call: async ({ ms }) => (await Bun.sleep(ms), "${text}") } } }`);
    hub.write("modules/swapped.ts", source("old"));
    expect(await hub.ask("RELOAD")).toStartWith("OK");
    const client = await hub.connect();
    await client.send('{"jsonrpc":"2.0","method":"swapped.get","params":{"ms":500},"id":1}\n');
    hub.write("modules/swapped.ts", source("new"));
    expect(await hub.ask("RELOAD")).toStartWith("OK");
    await client.send('{"jsonrpc":"2.0","method":"swapped.get","params":{"ms":0},"id":2}\n');
    await client.waitFor('"result":"new","id":2');
    await client.waitFor('"result":"old","id":1');
  }));

/** Lines of a client, and the lines of the answer, in which "…" stands for any text. */
const TABLE: Record<string, [sent: string, answered: string]> = {
  "cut JSON": [
    '{"jsonrpc":"2.0","me',
    '{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error: …"},"id":null}',
  ],
  NaN: ['{"jsonrpc":"2.0","method":"bank.echo","params":[NaN],"id":1}', '…"code":-32700…"id":null}'],
  "a text that is not UTF-8": ['{"jsonrpc":"2.0","method":"bank.echo","params":["\xff"],"id":1}', "…-32700…UTF-8…"],
  "another version": ['{"jsonrpc":"1.0","method":"bank.echo","id":7}', '…"code":-32600…"id":7}'],
  "a method that is no text": ['{"jsonrpc":"2.0","method":1,"id":7}', '…"code":-32600…"id":7}'],
  "params that are no structure": ['{"jsonrpc":"2.0","method":"bank.echo","params":"bar","id":7}', "…-32600…"],
  "an id that is an object": ['{"jsonrpc":"2.0","method":"bank.echo","id":{}}', '…-32600…"id":null}'],
  "an id that JSON cannot carry": ['{"jsonrpc":"2.0","method":"bank.echo","id":12345678901234567890}', "…-32600…"],
  "no such procedure": ['{"jsonrpc":"2.0","method":"bank.ehco","id":1}', "…-32601…Did you mean bank.echo?…"],
  "a service that is not public": ['{"jsonrpc":"2.0","method":"bank.hidden","id":1}', "…-32601…"],
  "a name that is not public is not suggested": [
    '{"jsonrpc":"2.0","method":"bank.hiddem","id":1}',
    '…"bank.hiddem\\""},"id":1}',
  ],
  "no module": ['{"jsonrpc":"2.0","method":"echo","id":1}', "…-32601…"],
  "an input that does not fit": [
    '{"jsonrpc":"2.0","method":"bank.echo","params":{"text":1},"id":1}',
    '…"code":-32602…"data":{"issues":[{"path":["text"],…}],"code":"INVALID_INPUT"}},"id":1}',
  ],
  "the service's own error": [
    '{"jsonrpc":"2.0","method":"bank.broke","id":1}',
    '{"jsonrpc":"2.0","error":{"code":-32000,"message":"the account is empty","data":{"left":0,"code":"NO_FUNDS"}},"id":1}',
  ],
  "an error that nobody meant": [
    '{"jsonrpc":"2.0","method":"bank.bug","id":1}',
    '{"jsonrpc":"2.0","error":{"code":-32603,"message":"Internal error: bank.bug failed; the server\'s log says why"},"id":1}',
  ],
  "a BigInt": ['{"jsonrpc":"2.0","method":"bank.big","id":1}', '…-32603…a BigInt at \\"rows.0.id\\"…'],
  "a cycle": ['{"jsonrpc":"2.0","method":"bank.cycle","id":1}', '…-32603…a cycle at \\"self\\"…'],
  "no result": ['{"jsonrpc":"2.0","method":"bank.nothing","id":1}', '{"jsonrpc":"2.0","result":null,"id":1}'],
  "the id null": ['{"jsonrpc":"2.0","method":"bank.nothing","id":null}', '{"jsonrpc":"2.0","result":null,"id":null}'],
  "who calls": ['{"jsonrpc":"2.0","method":"bank.caller","id":1}', '…{"caller":"rpc","identity":null}…'],
  "a lone surrogate": [
    '{"jsonrpc":"2.0","method":"far.pool","params":["\\ud800"],"id":1}',
    '…"result":["\\ud800"],"id":1}',
  ],
  "a key __proto__": [
    '{"jsonrpc":"2.0","method":"far.pool","params":{"__proto__":{"a":1}},"id":1}',
    '{"jsonrpc":"2.0","result":{"__proto__":{"a":1}},"id":1}',
  ],
  "a notification": ['{"jsonrpc":"2.0","method":"bank.echo"}', ""],
  "a notification that fails": ['{"jsonrpc":"2.0","method":"nobody.there"}', ""],
  "an empty batch": ["[]", '{"jsonrpc":"2.0","error":{"code":-32600…"id":null}'],
  "a batch of nonsense": ["[1,2]", '[{…-32600…"id":null},{…-32600…"id":null}]'],
  "a batch": [
    '[{"jsonrpc":"2.0","method":"bank.later","params":{"ms":5},"id":1},{"jsonrpc":"2.0","method":"bank.echo"},{"jsonrpc":"2.0","method":"far.pool","params":[2],"id":2}]',
    '[…"result":…]',
  ],
  "a batch of notifications": ['[{"jsonrpc":"2.0","method":"bank.echo"}]', ""],
  "an id twice in a batch": [
    '[{"jsonrpc":"2.0","method":"far.pool","params":[1],"id":1},{"jsonrpc":"2.0","method":"far.pool","params":[2],"id":1}]',
    '[{…-32600…the id 1 is in the batch twice…"id":null},{"jsonrpc":"2.0","result":[1],"id":1}]',
  ],
  "a batch that is too large": [`[${"1,".repeat(9999)}1]`, '{…-32600…10000…"id":null}'],
  "a deep value": [
    `{"jsonrpc":"2.0","method":"far.pool","params":${"[".repeat(10_000)}${"]".repeat(10_000)},"id":1}`,
    '{…-32600…1000 levels…"id":null}',
  ],
  "a stream": [
    '{"jsonrpc":"2.0","method":"far.stream","id":5}',
    '{"jsonrpc":"2.0","method":"$/next","params":{"id":5,"value":"a"}}\n{"jsonrpc":"2.0","method":"$/next","params":{"id":5,"value":{"b":1}}}\n{"jsonrpc":"2.0","result":null,"id":5}',
  ],
  "an id that is under way": [
    '{"jsonrpc":"2.0","method":"bank.later","params":{"ms":50},"id":1}\n{"jsonrpc":"2.0","method":"bank.caller","id":1}',
    '{…-32600…the id 1 is still under way…"id":null}\n{"jsonrpc":"2.0","result":50,"id":1}',
  ],
  "a call that is cancelled": [
    '{"jsonrpc":"2.0","method":"bank.slow","id":1}\n{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":1}}',
    '{…"code":-32006…"data":{"code":"CANCELLED"}},"id":1}',
  ],
};

for (const [name, [sent, answered]] of Object.entries(TABLE))
  test(`${name} has one clear answer`, () =>
    withServer(async (hub) => {
      const pattern = answered
        .split("…")
        .map((part) => RegExp.escape(part))
        .join("[^\n]*");
      const reply = await hub.ask(Buffer.from(`${sent}\n`, sent.includes("\xff") ? "latin1" : "utf8"));
      expect(reply).toMatch(new RegExp(`^${pattern}${answered === "" ? "" : "\n"}$`));
      expect(await hub.ask("PING\n")).toBe("PONG\n");
    }));
