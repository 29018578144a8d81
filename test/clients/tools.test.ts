/**
 * The clients that people have at hand for everything that is not HTTP: nc, redis-cli, hrmr send; and the HTTP clients
 * of Bun and Node.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { program } from "../support/program";
import { type Hub, moduleSource, shareHub } from "../support/hub";
import { UNTIL_MS } from "../support/until";

const ROOT = resolve(import.meta.dir, "../..");
const example = (name: string) => readFileSync(join(ROOT, "examples", name), "utf8");
const NC = Bun.which("nc");
const REDIS = Bun.which("redis-cli");
const NODE = Bun.which("node");
/**
 * A Python that has the package redis. The system's comes first: a shim of a version manager knows nothing of Debian's
 * packages.
 */
const PYTHON = ["/usr/bin/python3", "python3"].find((path) => {
  const found = Bun.which(path);
  return found !== null && Bun.spawnSync([found, "-c", "import redis"], { stdout: "ignore", stderr: "ignore" }).success;
});
const HTTP = moduleSource(`{
  routes: {
    "GET /n/:n": { fetch: (request, context) => new Response("n" + context.params.n) },
    "POST /n": { fetch: async (request) => new Response("got " + (await request.text()).length) },
    "GET /slow": { fetch: async () => { await Bun.sleep(20); return new Response("slow"); } },
  },
}`);

/** One server for all. A test that changes a module puts it back. */
const withTools = shareHub({
  "modules/greet.ts": example("greet.ts"),
  "modules/redis.ts": example("redis-like.ts"),
  "modules/web.ts": HTTP,
});

/** Writes an example, changed as it may be, and has it served. @returns the verdict */
async function reload(hub: Hub, name: string, change: (text: string) => string = (text) => text): Promise<string> {
  const file = name === "redis" ? "redis-like.ts" : `${name}.ts`;
  hub.write(`modules/${name}.ts`, change(example(file)));
  return await hub.ask("RELOAD");
}

async function run(command: string[], stdin: string | null, hub: Hub): Promise<{ out: string; code: number }> {
  const child = Bun.spawn(command, {
    cwd: hub.dir,
    stdin: stdin === null ? "ignore" : new Blob([stdin]),
    stdout: "pipe",
    stderr: "pipe",
    timeout: 3 * UNTIL_MS,
  });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { out: out + err, code: await child.exited };
}

const shell = (script: string, hub: Hub) => run(["sh", "-c", script.replaceAll("PORT", String(hub.port))], null, hub);

describe.skipIf(NC === null)("nc", () => {
  test("prints the reply and ends at once with -N, in the time of prefixWaitMs without it and a line end, and by CLOSE", () =>
    withTools(async (hub) => {
      expect((await shell("printf 'PING' | nc -N 127.0.0.1 PORT", hub)).out).toBe("PONG\n");
      expect((await shell("printf 'GREET bob\\nGREET eve\\r\\n' | nc -N 127.0.0.1 PORT", hub)).out).toBe(
        "Hello, bob\nHello, eve\n",
      );
      // nc stays connected without -N; the reply is there all the same.
      expect((await shell("printf 'PING' | nc -w 1 127.0.0.1 PORT", hub)).out).toBe("PONG\n");
      expect(await shell("printf 'GREET bob\\nCLOSE\\n' | nc 127.0.0.1 PORT", hub)).toEqual({
        out: "Hello, bob\n",
        code: 0,
      });
      expect((await shell("printf 'HELP' | nc -N 127.0.0.1 PORT", hub)).out).toContain('"GREET "');
      expect((await shell("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc 127.0.0.1 PORT", hub)).out).toStartWith(
        "HTTP/1.1 200 OK\r\n",
      );
      expect((await shell("printf 'NOPE' | nc -N 127.0.0.1 PORT", hub)).out).toBe('ERR no module is bound to "NOPE"\n');
    }));

  test("a person who types is served line by line, with RELOAD in the middle of it", () =>
    withTools(async (hub) => {
      const child = Bun.spawn(["nc", "127.0.0.1", String(hub.port)], {
        stdin: "pipe",
        stdout: "pipe",
        stderr: "ignore",
      });
      const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
      let seen = "";
      const type = async (line: string, reply: RegExp) => {
        child.stdin.write(line);
        await child.stdin.flush();
        seen = "";
        while (!reply.test(seen)) {
          const { done, value } = await reader.read();
          if (done) throw new Error(`nc ended after ${JSON.stringify(seen)}`);
          seen += value;
        }
      };
      try {
        await type("PING\n", /^PONG\n$/);
        await type("GREET ada\n", /^Hello, ada\n$/);
        hub.write("modules/greet.ts", example("greet.ts").replaceAll("Hello, ", "Goodbye, "));
        await type("RELOAD\n", /^OK greet v\d+ .*\n$/);
        await type("GREET ada\n", /^Goodbye, ada\n$/);
        await type("what?\n", /^ERR .*\n$/);
        await type("PING\n", /^PONG\n$/);
      } finally {
        child.kill();
        await child.exited;
      }
      expect(await reload(hub, "greet")).toStartWith("OK greet v");
    }));
});

describe.skipIf(REDIS === null)("redis-cli", () => {
  const cli = (hub: Hub, ...args: string[]) =>
    run(["redis-cli", "-h", "127.0.0.1", "-p", String(hub.port), ...args], null, hub);

  test("speaks with examples/redis-like.ts, whose data outlives a reload", () =>
    withTools(async (hub) => {
      expect((await cli(hub, "PING")).out).toBe("PONG\n");
      expect((await cli(hub, "SET", "color", "blue grün")).out).toBe("OK\n");
      expect((await cli(hub, "--raw", "GET", "color")).out).toBe("blue grün\n");
      expect((await cli(hub, "GET", "nothing")).out).toBe("\n");
      expect((await cli(hub, "--raw", "ECHO", "a\r\nb")).out).toBe("a\r\nb\n");
      expect((await cli(hub, "NONSENSE")).out).toContain("ERR unknown command");
      expect(await reload(hub, "redis", (text) => text.replace("+PONG", "+PONG2"))).toStartWith("OK redis v2 (was v1)");
      expect((await cli(hub, "PING")).out).toBe("PONG2\n");
      expect((await cli(hub, "--raw", "GET", "color")).out).toBe("blue grün\n");
      expect(await reload(hub, "redis")).toStartWith("OK redis v3 (was v2)");
    }));

  test("a pipeline of commands on stdin is answered in order", () =>
    withTools(async (hub) => {
      const lines = Array.from({ length: 500 }, (_, at) => `SET k${at} v${at}\nGET k${at}\n`).join("");
      const { out } = await run(["redis-cli", "-p", String(hub.port)], lines, hub);
      expect(out).toBe(Array.from({ length: 500 }, (_, at) => `OK\nv${at}\n`).join(""));
    }));

  test("--pipe, which ends with an ECHO of random bytes, gets them back", () =>
    withTools(async (hub) => {
      const raw = Array.from(
        { length: 20_000 },
        (_, at) => `*3\r\n$3\r\nSET\r\n$6\r\n${100_000 + at}\r\n$1\r\nx\r\n`,
      ).join("");
      const { out } = await run(["redis-cli", "-p", String(hub.port), "--pipe", "--pipe-timeout", "30"], raw, hub);
      expect(out).toContain("errors: 0, replies: 20000");
      expect((await cli(hub, "GET", "119999")).out).toBe("x\n");
    }));
});

describe.skipIf(PYTHON === undefined)("redis-py", () => {
  test("speaks with examples/redis-like.ts, and gets Redis's errors for the rest", () =>
    withTools(async (hub) => {
      const script = `
import redis
r = redis.Redis(host="127.0.0.1", port=${hub.port})
print(r.ping(), r.set("k", b"\\xff\\r\\n"), r.get("k"), r.get("none"), r.echo("x"))
for ask in (r.info, r.client_list, lambda: r.execute_command("HELLO", 3), lambda: r.execute_command("NONSENSE", "x")):
    try: ask()
    except redis.ResponseError as error: print(str(error).split(",")[0])
pipe = r.pipeline(transaction=False)
for n in range(100): pipe.set(f"n{n}", n)
print(pipe.execute() == [True] * 100, r.get("n99"))
`;
      const { out } = await run([PYTHON as string, "-c", script], null, hub);
      expect(out.split("\n")).toEqual([
        "True True b'\\xff\\r\\n' None b'x'",
        "unknown command 'INFO' (NOPERM)",
        "unknown command 'CLIENT'",
        "unknown command 'HELLO'",
        "unknown command 'NONSENSE'",
        "True b'99'",
        "",
      ]);
    }));
});

describe("hrmr send", () => {
  test("asks text commands, HTTP and RELOAD", () =>
    withTools(async (hub) => {
      const send = (text: string) => run([...program(), "send", `127.0.0.1:${hub.port}`, text], null, hub);
      expect(await send("PING")).toEqual({ out: "PONG\n", code: 0 });
      expect(await send("GREET bob")).toEqual({ out: "Hello, bob\n", code: 0 });
      expect((await send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")).out).toStartWith("HTTP/1.1 200 OK\r\n");
      hub.write("modules/greet.ts", example("greet.ts").replaceAll("Hello, ", "Goodbye, "));
      expect((await send("RELOAD")).out).toMatch(/^OK greet v\d+ \(was v\d+\) swapped in /);
      expect(await send("GREET bob")).toEqual({ out: "Goodbye, bob\n", code: 0 });
      expect(await reload(hub, "greet")).toStartWith("OK greet v");
    }));
});

describe("fetch of Bun", () => {
  test("1,000 requests over kept connections are each answered with their own reply", () =>
    withTools(async (hub) => {
      const wrong: string[] = [];
      const loop = async (from: number) => {
        for (let n = from; n < from + 50; n++) {
          const text = await (await fetch(`${hub.url}/n/${n}`)).text();
          if (text !== `n${n}`) wrong.push(`${n}: ${text}`);
          const posted = await (await fetch(`${hub.url}/n`, { method: "POST", body: "y".repeat(n * 97) })).text();
          if (posted !== `got ${n * 97}`) wrong.push(`post ${n}: ${posted}`);
        }
      };
      await Promise.all(Array.from({ length: 10 }, (_, at) => loop(at * 50)));
      expect(wrong).toEqual([]);
    }));
});

describe.skipIf(NODE === null)("http of node", () => {
  const SCRIPT = `
    const http = require("node:http");
    const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
    const port = Number(process.argv[1]);
    const ask = (options, body) => new Promise((resolve, reject) => {
      const request = http.request({ host: "127.0.0.1", port, agent, ...options }, (response) => {
        let text = ""; response.setEncoding("utf8").on("data", (piece) => (text += piece)).on("end", () => resolve(text));
      });
      request.on("error", reject);
      if (typeof body === "function") body(request); else request.end(body);
    });
    (async () => {
      const texts = await Promise.all(Array.from({ length: 200 }, (_, n) => ask({ path: "/n/" + n })));
      texts.forEach((text, n) => { if (text !== "n" + n) throw new Error(n + ": " + text); });
      const chunked = await ask({ path: "/n", method: "POST" }, async (request) => {
        for (let n = 0; n < 100; n++) { request.write("z".repeat(1000)); await new Promise(setImmediate); }
        request.end();
      });
      const expecting = await ask({ path: "/n", method: "POST", headers: { expect: "100-continue", "content-length": 5 } }, (request) => {
        request.on("continue", () => request.end("12345"));
        request.flushHeaders();
      });
      const slow = await Promise.all(Array.from({ length: 20 }, () => ask({ path: "/slow" })));
      console.log([chunked, expecting, slow.length, Object.values(agent.freeSockets).flat().length].join("|"));
      agent.destroy();
    })().catch((error) => { console.log("failed", error); process.exit(1); });`;

  test("an agent with four kept connections does 200 GETs, a chunked upload and one that waits for 100 Continue", () =>
    withTools(async (hub) => {
      expect((await run([NODE ?? "node", "-e", SCRIPT, String(hub.port)], null, hub)).out).toBe(
        "got 100000|got 5|20|4\n",
      );
    }));
});
