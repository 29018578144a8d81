/** The shipped module store: clients of Redis, as they are. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { TOKENS_FILE, writeTokens } from "../../../src/hub/access/token-file";
import { hashOf, makeToken } from "../../../src/hub/access/tokens";
import { type Hub, shareHub } from "../../support/hub";
import { runOnStore, STORE_MODULE } from "../../support/store-module";
import { addToken, revokeToken } from "../../support/tokens";
import { until } from "../../support/until";

const onHub = shareHub({ "modules/any.ts": STORE_MODULE, "hrmr.json": JSON.stringify({ modules: { store: {} } }) });

/** What redis-cli prints for one command, or for the lines that it reads. */
async function cli(hub: Hub, args: readonly string[], input = ""): Promise<string> {
  const program = Bun.spawn(["redis-cli", "-p", String(hub.port), ...args], {
    stdin: Buffer.from(input),
    stdout: "pipe",
    stderr: "inherit",
  });
  const text = await program.stdout.text();
  await program.exited;
  return text.trimEnd();
}

async function withClient(hub: Hub, path: string, work: (client: Bun.RedisClient) => Promise<void>): Promise<void> {
  const client = new Bun.RedisClient(`redis://127.0.0.1:${hub.port}${path}`, { autoReconnect: false });
  try {
    await work(client);
  } finally {
    client.close();
  }
}

describe("a client of Redis", () => {
  test("writes documents that modules read, and reads theirs", () =>
    onHub(async (hub) => {
      expect(await cli(hub, ["SET", "greeting", "hällo"])).toBe("OK");
      expect(await cli(hub, ["-n", "7", "INCRBY", "visits", "41"])).toBe("41");
      const read = `return [await store.collection("0").get("greeting"), await store.collection("7").get("visits")]`;
      expect(await runOnStore(hub, read)).toMatchObject({ value: [{ value: "hällo" }, { value: 41 }] });
      await runOnStore(hub, `await store.collection("scores").set("ann", { wins: 3, tags: ["a"] })`);
      expect(await cli(hub, [], "SELECT scores\nHGET ann wins\nHGET ann tags\n")).toBe('OK\n3\n["a"]');
    }));

  test("counts the documents of its collection, also within MULTI", () =>
    onHub(async (hub) => {
      const lines = "SELECT sized\nMSET a 1 b 2 c 3\nDEL a\nDBSIZE\nMULTI\nSET d 4\nDBSIZE\nEXEC\n";
      expect(await cli(hub, [], lines)).toBe("OK\nOK\n1\n2\nOK\nQUEUED\nQUEUED\nOK\n3");
    }));

  test("gets its own kind of reply in RESP3", () =>
    onHub(async (hub) => {
      await cli(hub, ["HSET", "three", "f", "1"]);
      expect(await cli(hub, ["-3", "--json", "HGETALL", "three"])).toBe('{"f":"1"}');
      expect(await cli(hub, ["-2", "--json", "HGETALL", "three"])).toBe('["f","1"]');
    }));

  test("keeps bytes that are no text", () =>
    onHub((hub) =>
      withClient(hub, "", async (client) => {
        const bytes = Buffer.from([0, 255, 13, 10, 128]);
        await client.set("bytes", bytes);
        expect(Buffer.from((await client.getBuffer("bytes")) as Uint8Array)).toEqual(bytes);
      }),
    ));

  test("gets the replies of a pipeline in order, each seeing the writes before it", () =>
    onHub((hub) =>
      withClient(hub, "/8", async (client) => {
        const sent = Array.from({ length: 3000 }, (_, at) => (at % 3 === 2 ? client.get("n") : client.incr("n")));
        const replies = await Promise.all(sent);
        const expected = replies.map((_, at) => {
          const increments = Math.floor(at / 3) * 2 + Math.min(2, (at % 3) + 1);
          return at % 3 === 2 ? String(increments) : increments;
        });
        expect(replies).toEqual(expected as typeof replies);
      }),
    ));

  test("gets an error for a command in the middle of a pipeline, and the others run", () =>
    onHub(async (hub) => {
      const client = await hub.connect();
      await client.send("*1\r\n$4\r\nPING\r\n");
      await client.waitFor("+PONG");
      await client.send("SET mid text\r\nINCR mid\r\nNOPE a\r\nGET mid\r\nQUIT\r\n");
      expect(await client.waitForEnd()).toBe(
        "+PONG\r\n+OK\r\n-ERR value is not an integer or out of range\r\n" +
          "-ERR unknown command 'NOPE', with args beginning with: 'a' \r\n$4\r\ntext\r\n+OK\r\n",
      );
    }));

  test("gets each reply of commands that are all alike, and an error for those that fail", () =>
    onHub(async (hub) => {
      const command = (...words: string[]): string =>
        `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join("")}`;
      const big = "x".repeat(1_100_000);
      const names = Array.from({ length: 150 }, (_, at) => `alike${at}`);
      const client = await hub.connect();
      await client.send(names.map((name) => command("SET", name, `"${name}\\`)).join(""));
      await client.waitFor("+OK\r\n".repeat(150));
      await client.send(["a", "b", "c"].map((name) => command("SET", name, name === "b" ? big : name)).join(""));
      await client.waitFor("are possible\r\n+OK\r\n");
      await client.send(command("SET", "d", "1") + command("SET", "d", "2", "NX") + command("SET", "d", "3", "GET"));
      await client.waitFor("$-1\r\n$1\r\n1\r\n");
      const before = client.text.length;
      const sets = [command("MSET", "m", "1", "n", "2"), command("MSET", "m", "3"), command("MSET", "n", "4", "o")];
      await client.send(`${sets.join("")}${command("MSET", "m", "5", "p", big)}${command("MGET", "m", "n", "o", "p")}`);
      await client.waitFor("*4\r\n$1\r\n3\r\n$1\r\n2\r\n$-1\r\n$-1\r\n");
      const errors = client.text.slice(before).split("\r\n");
      expect(errors.slice(0, 3)).toEqual(["+OK", "+OK", "-ERR wrong number of arguments for 'mset' command"]);
      expect(errors[3]).toStartWith("-TOO_LARGE");
      const from = client.text.length;
      const gone = Buffer.from(command("GET", "k\xff"), "latin1");
      await client.send(
        Buffer.concat([
          Buffer.from(names.map((name) => command("GET", name)).join("") + command("GET", "none")),
          gone,
          Buffer.from(command("GET", "b") + command("GET", "d") + command("QUIT")),
        ]),
      );
      const replies = names.map((name) => `$${name.length + 2}\r\n"${name}\\\r\n`).join("");
      const rest = "$-1\r\n-INVALID_KEY the key is not UTF-8\r\n$-1\r\n$1\r\n3\r\n+OK\r\n";
      expect((await client.waitForEnd()).slice(from)).toBe(replies + rest);
    }));

  test("goes on over a reload of the module, in the middle of a command and of a transaction", () =>
    onHub(async (hub) => {
      const client = await hub.connect();
      await client.send(
        "*2\r\n$6\r\nSELECT\r\n$4\r\nkept\r\n*1\r\n$5\r\nMULTI\r\nSET k 1\r\nINCR k\r\n*2\r\n$4\r\nINCR\r\n$1\r",
      );
      await client.waitFor("+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n");
      hub.write("hrmr.json", JSON.stringify({ modules: { store: { resp: true } } }));
      expect(await hub.ask("RELOAD\n")).toContain("store");
      await client.send("\nk\r\nEXEC\r\nQUIT\r\n");
      expect(await client.waitForEnd()).toEndWith("+QUEUED\r\n*3\r\n+OK\r\n:2\r\n:3\r\n+OK\r\n");
      expect(await runOnStore(hub, `return (await store.collection("kept").get("k")).value`)).toEqual({ value: 3 });
    }));
});

describe("a transaction of a client of Redis", () => {
  test("is not run if a watched key has changed", () =>
    onHub(async (hub) => {
      const client = await hub.connect();
      await client.send("*3\r\n$3\r\nSET\r\n$1\r\nw\r\n$1\r\n1\r\nWATCH w\r\nMULTI\r\nSET w 2\r\n");
      await client.waitFor("+QUEUED\r\n");
      await cli(hub, ["SET", "w", "3"]);
      await client.send("EXEC\r\nGET w\r\nWATCH w\r\nMULTI\r\nSET w 4\r\nEXEC\r\nGET w\r\nQUIT\r\n");
      const ends = "*-1\r\n$1\r\n3\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n$1\r\n4\r\n+OK\r\n";
      expect(await client.waitForEnd()).toEndWith(ends);
    }));
});

describe("where tokens are needed", () => {
  const token = makeToken();
  const reader = makeToken();
  const onGuarded = shareHub({
    "hrmr.json": JSON.stringify({ modules: { store: {} }, access: { required: true } }),
  });

  function giveTokens(hub: Hub): void {
    const made = { created: new Date().toISOString(), expires: null };
    writeTokens(join(hub.dir, "data", TOKENS_FILE), [
      { name: "bot", scopes: ["store:0:*"], hash: hashOf(token).toString("hex"), ...made },
      { name: "eye", scopes: ["store:0:read"], hash: hashOf(reader).toString("hex"), ...made },
    ]);
  }

  test("a client does nothing without one, and with one what its scopes allow", () =>
    onGuarded(async (hub) => {
      giveTokens(hub);
      expect(await cli(hub, ["SET", "a", "1"])).toStartWith("NOAUTH");
      expect(await cli(hub, ["--no-auth-warning", "-a", token, "SET", "a", "1"])).toBe("OK");
      expect(await cli(hub, ["--no-auth-warning", "-a", reader], "GET a\nSET a 2\nSELECT other\n")).toMatch(
        /^1\nNOPERM .*store:0:write.*\n+NOPERM .*store:other:read/,
      );
      const guesser = await hub.connect();
      await guesser.send("*2\r\n$4\r\nAUTH\r\n$5\r\nwrong\r\nGET a\r\n");
      expect(await guesser.waitForEnd()).toBe("-WRONGPASS invalid username-password pair or user is disabled.\r\n");
      await withClient(hub, "", async (client) => expect(client.get("a")).rejects.toThrow("NOAUTH"));
    }));

  test("a client has in each collection the rights of that collection, behind MULTI too", () =>
    onGuarded(async (hub) => {
      const both = await addToken(hub, "both", "store:mine:*", "store:theirs:read");
      const tell = async (token: string, ...lines: string[]): Promise<string> => {
        const client = await hub.connect();
        await client.send(`*2\r\n$4\r\nAUTH\r\n$${token.length}\r\n${token}\r\n${[...lines, "QUIT"].join("\r\n")}\r\n`);
        return await client.waitForEnd();
      };
      const refused = await tell(both, "SELECT mine", "MULTI", "SELECT theirs", "SET k 1", "EXEC", "GET k");
      expect(refused).toContain('-NOPERM the token "both" has no scope for "store:theirs:write"');
      expect(refused).toContain("-EXECABORT");
      const read = await tell(
        both,
        "SELECT mine",
        "SET k 7",
        "MULTI",
        "SELECT theirs",
        "GET k",
        "SELECT mine",
        "INCR k",
        "EXEC",
      );
      expect(read).toEndWith("*4\r\n+OK\r\n$-1\r\n+OK\r\n:8\r\n+OK\r\n");
      const owner = await addToken(hub, "owner", "store:*");
      expect(await tell(owner, "SELECT hrmr.migrations", "GET a", "SET a 1")).toContain(
        "-NOPERM hrmr.migrations belongs to the server",
      );
    }));

  test("a client whose token is revoked does nothing more, not even EXEC", () =>
    onGuarded(async (hub) => {
      const token = await addToken(hub, "leaver", "store:0:*");
      const client = await hub.connect();
      await client.send(`*2\r\n$4\r\nAUTH\r\n$${token.length}\r\n${token}\r\nMULTI\r\nSET left 1\r\n`);
      await client.waitFor("+QUEUED");
      revokeToken(hub, "leaver");
      await until("the server knows it", async () => {
        client.clear();
        await client.send("PING\r\n");
        return (await client.waitFor("\r\n")).startsWith("-NOAUTH");
      });
      client.clear();
      await client.send("EXEC\r\nGET left\r\n");
      await client.waitFor("-NOAUTH Authentication required.\r\n-NOAUTH Authentication required.\r\n");
    }));
});
