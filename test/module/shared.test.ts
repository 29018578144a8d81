/** context.shared: what the host keeps open over all versions of a module, and closes at its end. */
import { describe, expect, test } from "bun:test";
import { SharedStore } from "../../src/module/graph/shared";
import { type Hub, reuseHubs, withHub } from "../support/hub";
import { eventually, until } from "../support/until";

const reused = reuseHubs();

/** A module of its own for each number. */
const versionOf = (number: number, definition: string, code = ""): string =>
  `const number = ${number};\n${code}\nexport default ${definition};\n`;

async function reload(hub: Hub, name: string, text: string): Promise<string> {
  hub.write(`modules/${name}.ts`, text);
  return hub.ask("RELOAD\n");
}

const database = (number: number): string =>
  versionOf(
    number,
    `{
      async setup({ shared, log }) {
        const db = await shared.open(
          "db",
          () => { log.info("opened"); const made = new Database(":memory:"); made.run("CREATE TABLE seen (version INTEGER)"); return made; },
          (open) => { log.info("closed by " + number); open.close(); },
        );
        return { db, insert: db.query("INSERT INTO seen VALUES (?)") };
      },
      routes: {
        "ADD": (_m, { state }) => { state.insert.run(number); return "added"; },
        "ALL": (_m, { state }) => state.db.query("SELECT version FROM seen").values().flat().join(" "),
      },
    }`,
    `import { Database } from "bun:sqlite";`,
  );

test("a database is opened once, stays open over 20 versions and is closed by the newest one's function when the server ends", () =>
  reused({ "modules/db.ts": database(1) }, [], async (hub) => {
    expect(await hub.ask("ADD")).toBe("added");
    for (let number = 2; number <= 20; number++) {
      expect(await reload(hub, "db", database(number))).toStartWith(`OK db v${number}`);
      expect(await hub.ask("ADD")).toBe("added");
    }
    expect(await hub.ask("ALL")).toBe(Array.from({ length: 20 }, (_, index) => index + 1).join(" "));
    const { shared } = await hub.status();
    expect(shared).toMatchObject([
      { name: "db", module: "db", openedBy: { module: "db", generation: 1 }, isOpen: true },
    ]);
    expect(Math.abs(Date.parse(shared[0]?.since ?? "") - Date.now())).toBeLessThan(60_000);
    expect(await hub.program.stop()).toBe(0);
    expect(hub.program.output().match(/opened/g)).toHaveLength(1);
    expect(hub.program.output().match(/closed by \d+/g)).toEqual(["closed by 20"]);
  }));

const cache = (number: number): string =>
  versionOf(
    number,
    `{
      setup: async ({ shared }) => ({ cache: await shared.open("cache", () => new Map()) }),
      routes: { "PUT ": (m, { state }) => { state.cache.set(m.text, { number, at: [number] }); return "put"; }, "GET ": (m, { state }) => JSON.stringify([...state.cache]) },
    }`,
  );

test("a Map keeps what versions put into it, until the module is taken away", () =>
  reused({ "modules/cache.ts": cache(1) }, [], async (hub) => {
    expect(await hub.ask("PUT a")).toBe("put");
    await reload(hub, "cache", cache(2));
    expect(await hub.ask("PUT b")).toBe("put");
    expect(JSON.parse(await hub.ask("GET all"))).toEqual([
      ["PUT a", { number: 1, at: [1] }],
      ["PUT b", { number: 2, at: [2] }],
    ]);
    hub.remove("modules/cache.ts");
    expect(await hub.ask("RELOAD\n")).toStartWith("OK cache unloaded");
    await until("what it kept to be closed", async () => (await hub.status()).shared.length === 0);
    await reload(hub, "cache", cache(3));
    expect(await hub.ask("GET all")).toBe("[]");
  }));

test("a server and a timer that are opened so outlive their version", () =>
  reused({ "modules/server.ts": serving(1) }, [], async (hub) => {
    const port = await hub.ask("PORT");
    expect(await reload(hub, "server", serving(2))).not.toContain(" left ");
    expect(await hub.ask("PORT")).toBe(port);
    const ticks = Number(await (await fetch(`http://127.0.0.1:${port}`)).text());
    await until(
      "the timer goes on",
      async () => Number(await (await fetch(`http://127.0.0.1:${port}`)).text()) > ticks + 2,
    );
  }));

function serving(number: number): string {
  return versionOf(
    number,
    `{
      setup: ({ shared }) => shared.open("server", () => {
        let ticks = 0;
        setInterval(() => ticks++, 5);
        return Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response(String(ticks)) });
      }, (server) => server.stop(true)),
      routes: { "PORT": (_m, { state }) => String(state.port) },
    }`,
  );
}

test("names are each module's own, and those of shared.global are everybody's", () => {
  const sharing = (key: string): string =>
    `export default {
      async setup({ shared, name }) { return { own: await shared.open("x", () => ({ by: name })), all: await shared.global.open("x", () => ({ by: name })) }; },
      routes: { "${key}": (_m, { state }) => state.own.by + " " + state.all.by },
    };\n`;
  return reused({ "modules/a.ts": sharing("AAA"), "modules/b.ts": sharing("BBB") }, [], async (hub) => {
    expect([await hub.ask("AAA"), await hub.ask("BBB")]).toEqual(["a a", "b a"]);
    const names = (await hub.status()).shared.map(
      ({ module, name, openedBy }) => `${module} ${name} ${openedBy.module}`,
    );
    expect(names.sort()).toEqual(["a x a", "b x b", "null x a"]);
  });
});

const opening = (number: number, open: string): string =>
  versionOf(
    number,
    `{ setup: async ({ shared }) => ({ value: await shared.open("thing", ${open}) }), routes: { "VALUE": (_m, { state }) => state.value } }`,
  );

test("one that fails to open refuses the version with its reason, and the next one tries again", () =>
  withHub({ "modules/thing.ts": versionOf(1, `{ routes: { "VALUE": () => "old" } }`) }, [], async (hub) => {
    const refused = await reload(hub, "thing", opening(2, `() => { throw new Error("no such disk"); }`));
    expect(refused).toStartWith("ERR");
    expect(refused).toContain("no such disk");
    expect(await hub.ask("VALUE")).toBe("old");
    expect((await hub.status()).shared).toEqual([]);
    expect(
      await reload(hub, "thing", opening(3, `async () => { await 1; throw new Error("no such host"); }`)),
    ).toContain("no such host");
    expect(await reload(hub, "thing", opening(4, `async () => "there"`))).toStartWith("OK");
    expect(await hub.ask("VALUE")).toBe("there");
  }));

test("one that never opens is waited for until loadMs, and the next version does not wait for the same", () =>
  reused(
    { "modules/thing.ts": versionOf(1, `{ routes: { "VALUE": () => "old" } }`) },
    ["--set", "timeouts.loadMs=300"],
    async (hub) => {
      expect(await reload(hub, "thing", opening(2, `() => new Promise(() => {})`))).toContain(
        "setup did not finish within 300 ms",
      );
      expect(await reload(hub, "thing", opening(3, `() => "there"`))).toStartWith("OK");
      expect(await hub.ask("VALUE")).toBe("there");
    },
  ));

test("at the end all are closed, the last opened first, whatever some of them do", () =>
  reused(
    {
      "modules/many.ts": `export default {
        async setup({ shared, log }) {
          await shared.open("first", () => 1, () => log.info("closes first"));
          await shared.open("throws", () => 2, () => { log.info("closes throws"); throw new Error("cannot close"); });
          await shared.open("hangs", () => 3, () => { log.info("closes hangs"); return new Promise(() => {}); });
          await shared.open("plain", () => 4);
          await shared.open("last", async () => 5, async (value) => { await Bun.sleep(5); log.info("closes last " + value); });
        },
        dispose() { console.error("disposed"); },
        routes: { "MANY": () => "" },
      };\n`,
    },
    ["--set", "timeouts.loadMs=200"],
    async (hub) => {
      expect(await hub.program.stop()).toBe(0);
      const output = hub.program.output();
      expect(output.match(/disposed|closes \w+( \d)?/g)).toEqual([
        "disposed",
        "closes last 5",
        "closes hangs",
        "closes throws",
        "closes first",
      ]);
      expect(output).toContain('context.shared "hangs" of many did not close within 200 ms, and is left');
      expect(output).toMatch(/context\.shared "throws" of many could not be closed: Error: cannot close/);
    },
  ));

test("each pool thread has its own, over all versions", () =>
  reused({ "modules/pooled.ts": pooled(1) }, ["--threads", "2"], async (hub) => {
    const before = await instances(hub);
    expect(before.size).toBe(2);
    expect(await reload(hub, "pooled", pooled(2))).toStartWith("OK");
    expect(await instances(hub)).toEqual(before);
    expect((await hub.status()).shared).toEqual([]);
  }));

function pooled(number: number): string {
  return versionOf(
    number,
    `{
      setup: async ({ shared }) => ({ id: await shared.open("id", () => crypto.randomUUID()) }),
      routes: { "ID": { run: "pool", handle: async (_m, { state, host }) => { await Bun.sleep(5); return host + " " + state.id; } } },
    }`,
  );
}

/** Asks until both threads have answered. */
async function instances(hub: Hub): Promise<Set<string>> {
  const seen = new Set<string>();
  for (let round = 0; round < 50 && seen.size < 2; round++) {
    for (const answer of await Promise.all(Array.from({ length: 8 }, () => hub.ask("ID")))) seen.add(answer);
  }
  return new Set([...seen].sort());
}

describe("a store", () => {
  const user = (id: number) => ({ name: "user", generation: id, id });
  const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

  test.each([
    ["Symbol.asyncDispose", Symbol.asyncDispose],
    ["Symbol.dispose", Symbol.dispose],
    ["close", "close"],
  ])("closes a value by its own %s, unless it was told how", async (_, name) => {
    const closed: string[] = [];
    const value = (own: string) => ({ [name]: () => void closed.push(own) });
    const store = new SharedStore(silent);
    const { open } = store.for(user(1));
    await open("own", () => value("own"));
    await open(
      "told",
      () => value("not this one"),
      () => void closed.push("told"),
    );
    await open("plain", () => new Map());
    await open("none", () => null);
    await store.closeOf("user", 1000);
    expect(closed).toEqual(["told", "own"]);
  });

  test("opens once for all who ask at once, and answers all of them alike", async () => {
    const store = new SharedStore(silent);
    let opened = 0;
    const open = async (): Promise<{ n: number }> => {
      await Bun.sleep(5);
      return { n: ++opened };
    };
    const scopes = [store.for(user(1)), store.for(user(2)), store.for(user(1))];
    const values = await Promise.all(scopes.map((shared) => shared.open("x", open)));
    expect(opened).toBe(1);
    expect(new Set(values).size).toBe(1);
  });

  test("closes when it is told to, and opens anew only when that is over", async () => {
    const store = new SharedStore(silent);
    const shared = store.for(user(1));
    const events: string[] = [];
    const closing = Promise.withResolvers<void>();
    const open = (): string => {
      events.push("open");
      return "value";
    };
    await shared.open("x", open, async (value) => {
      await closing.promise;
      events.push(`closed ${value}`);
    });
    expect(await shared.close("y")).toBe(false);
    const closed = shared.close("x");
    const again = shared.open("x", open);
    closing.resolve();
    expect(await closed).toBe(true);
    expect(await again).toBe("value");
    expect(events).toEqual(["open", "closed value", "open"]);
  });

  test("what only a load that is over has waited for is closed once it opens", async () => {
    const store = new SharedStore(silent);
    const slow = Promise.withResolvers<string>();
    const closed = Promise.withResolvers<string>();
    void store.for(user(1)).open("x", () => slow.promise, closed.resolve);
    store.leave(1);
    expect(await store.for(user(2)).open("x", () => "quick")).toBe("quick");
    slow.resolve("late");
    expect(await closed.promise).toBe("late");
    expect(store.snapshot()).toMatchObject([{ name: "x", openedBy: { generation: 2 } }]);
  });

  test("one for which another still waits is not given up", async () => {
    const store = new SharedStore(silent);
    const slow = Promise.withResolvers<string>();
    void store.for(user(1)).open("x", () => slow.promise);
    const waiting = store.for(user(2)).open("x", () => "other");
    store.leave(1);
    slow.resolve("first");
    expect(await waiting).toBe("first");
  });

  test("refuses what is no name or no function, and everything once it is closed", async () => {
    const store = new SharedStore(silent);
    const shared = store.for(user(1));
    const untyped = shared.open as (...given: unknown[]) => Promise<unknown>;
    await expect(untyped(7, () => 1)).rejects.toThrow("takes a name and a function");
    await expect(untyped("x", 7)).rejects.toThrow("takes a name and a function");
    await store.close(100);
    await expect(shared.open("x", () => 1)).rejects.toThrow("the server shuts down");
  });
});

/** Says when its open resource is closed. HOLD answers once there is a file `go` in the project. */
const keeper = (run: string): string => `
import { existsSync } from "node:fs";
export default {
  async setup({ shared, log }) {
    for (const name of ["first", "second"]) await shared.open(name, () => name, (value) => log.info("closed " + value));
    await shared.global.open("bus", () => "bus", (value) => log.info("closed " + value));
  },
  routes: {
    "HOLD": { run: "${run}", handle: async (_, { log }) => { log.info("begun"); while (!existsSync("go")) await Bun.sleep(5); return "done"; } },
  },
};
`;

test.each(["inline", "pool", "process"])(
  "what a module kept is closed in reverse order when it is taken away, behind its last call: run %s",
  (run) =>
    withHub({ "modules/keeper.ts": keeper(run) }, ["--threads", "1"], async (hub) => {
      const closed = (): string => (hub.program.output().match(/closed \w+/g) ?? []).join();
      const held = hub.ask("HOLD");
      await hub.program.waitFor("begun");
      hub.remove("modules/keeper.ts");
      const verdict = await hub.ask("RELOAD\n");
      expect(verdict).toStartWith("OK keeper unloaded (was v1)");
      if (run === "inline") {
        expect(verdict).toContain('context.shared "first", "second" closes when its calls are done');
        expect(verdict).toContain('context.shared.global "bus" stays open, since other modules may use it');
      }
      expect(closed()).toBe("");
      hub.write("go", "");
      expect(await held).toBe("done");
      await until("both to be closed", () => closed() === "closed second,closed first");
      await eventually(async () =>
        expect((await hub.status()).shared.map(({ name }) => name)).toEqual(run === "inline" ? ["bus"] : []),
      );
    }),
);
