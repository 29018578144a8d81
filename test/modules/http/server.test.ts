/** The static site through hrmr itself: curl as its client, and raw connections where a broken reply has to be seen. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, readlinkSync, renameSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Hub, moduleSource, reuseHubs } from "../../support/hub";
import { until } from "../../support/until";

const reused = reuseHubs({ isMemoryMeasured: true });

const OLD_SECONDS = 1_600_000_000;
const LARGE_BYTES = 3_000_000;
const TEXT = "All work and no play makes Jack a dull boy.\n".repeat(100);
const MODULE = { "modules/ping.ts": moduleSource(`{ routes: { PING: () => "PONG\\n" } }`) };

function config(http: Record<string, unknown>): Record<string, string> {
  return { "hrmr.json": JSON.stringify({ modules: { http } }) };
}

/** Writes a file that was last changed long ago. @returns its path */
function put(hub: Hub, name: string, content: string | Uint8Array): string {
  const file = join(hub.dir, "static_html", name);
  writeFileSync(file, content);
  utimesSync(file, OLD_SECONDS, OLD_SECONDS);
  return file;
}

function noise(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 31) ^ (index >> 8));
}

async function curl(...args: string[]): Promise<Buffer> {
  const child = Bun.spawn(["curl", "-sS", "--max-time", "8", ...args], { stdout: "pipe", stdin: "ignore" });
  return Buffer.from(await new Response(child.stdout).bytes());
}

/** How many descriptors of the server lead to a file of this name. */
function openFiles(hub: Hub, name: string): number {
  const folder = `/proc/${hub.program.pid}/fd`;
  return readdirSync(folder).filter((fd) => {
    try {
      return readlinkSync(join(folder, fd)).endsWith(name);
    } catch {
      return false;
    }
  }).length;
}

/** Asks for a path on eight connections at once, again and again, until `isDone` says so of a reply. */
async function hammer(hub: Hub, path: string, isDone: (body: string) => boolean): Promise<void> {
  const request = `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
  const done = Promise.withResolvers<void>();
  const sockets = await Promise.all(
    Array.from({ length: 8 }, () =>
      Bun.connect<{ text: string }>({
        hostname: "127.0.0.1",
        port: hub.port,
        data: { text: "" },
        socket: {
          data(socket, bytes) {
            socket.data.text += bytes.toString("latin1");
            const end = socket.data.text.indexOf("\r\n\r\n") + 4;
            const length = Number(/content-length: (\d+)/i.exec(socket.data.text)?.[1]);
            if (end < 4 || socket.data.text.length < end + length) return;
            const body = socket.data.text.slice(end);
            socket.data.text = "";
            if (isDone(body)) done.resolve();
            else socket.write(request);
          },
          close: () => done.reject(new Error("The server closed a connection.")),
          error: (_, error) => done.reject(error),
        },
      }),
    ),
  );
  for (const socket of sockets) socket.write(request);
  try {
    await done.promise;
  } finally {
    done.promise.catch(() => undefined);
    for (const socket of sockets) socket.terminate();
  }
}

describe("over hrmr", () => {
  test("a file that changes while many ask for it is sent in its new version, and in no other", async () => {
    await reused({ ...MODULE, "static_html/index.html": "home" }, [], async (hub) => {
      const versions = ["first", "second, longer", "third"];
      for (const [index, version] of versions.entries()) {
        const file = put(hub, "next.txt", version);
        // In one step, as a deployment does it: each reply is of one version.
        renameSync(file, join(hub.dir, "static_html", "hot.txt"));
        let count = 0;
        await hammer(hub, "/hot.txt", (body) => {
          expect(versions.slice(0, index + 1)).toContain(body);
          // Enough to be repeated, and then the new one.
          return ++count > 300 && body === version;
        });
      }
    });
  });

  test("a file of 100 KB that many ask for is whole in each version, and closed when nobody asks", async () => {
    await reused({ ...MODULE, "static_html/index.html": "home" }, [], async (hub) => {
      const versions = ["first", "second", "third"].map((word) => `${word} `.repeat(30_000).slice(0, 102_400));
      for (const [index, version] of versions.entries()) {
        renameSync(put(hub, "next.txt", version), join(hub.dir, "static_html", "hot.txt"));
        let count = 0;
        await hammer(hub, "/hot.txt", (body) => {
          expect(versions.slice(0, index + 1).includes(body)).toBe(true);
          return ++count > 150 && body === version;
        });
      }
      await until("the file is closed", () => openFiles(hub, "hot.txt") === 0);
    });
  });

  test("middleware in front of the site sees each request, however many there are", async () => {
    const guard = moduleSource(`{
      setup: () => ({ seen: 0 }),
      middleware: (request, { state }, next) => { state.seen++; return next(); },
      routes: { SEEN: (message, { state }) => state.seen + "\\n" },
    }`);
    const files = { "modules/guard.ts": guard, "hrmr.json": JSON.stringify({ http: { use: ["guard"] } }) };
    await reused({ ...files, "static_html/index.html": "home" }, [], async (hub) => {
      put(hub, "hot.txt", "hot");
      let count = 0;
      await hammer(hub, "/hot.txt", () => ++count > 400);
      expect(Number(await hub.ask("SEEN"))).toBeGreaterThanOrEqual(count);
    });
  });

  test("curl --compressed gets every coding, unpacked the same", async () => {
    await reused({ ...MODULE, "static_html/index.html": "home" }, [], async (hub) => {
      put(hub, "a.txt", TEXT);
      put(hub, "app.js", noise(1000).toString().repeat(100));
      for (const coding of ["gzip", "br", "zstd", "identity", "gzip;q=0.1, br"]) {
        for (const name of ["a.txt", "app.js"]) {
          const sent = await curl("--compressed", "-H", `Accept-Encoding: ${coding}`, `${hub.url}/${name}`);
          expect(sent.equals(readFileSync(join(hub.dir, "static_html", name)))).toBe(true);
        }
      }
      const head = (await curl("-I", "-H", "Accept-Encoding: br", `${hub.url}/a.txt`)).toString();
      expect(head).toMatch(/^content-encoding: br\r$/im);
      expect(head).toMatch(/^vary: Accept-Encoding\r$/im);
      const length = (await curl("-H", "Accept-Encoding: br", `${hub.url}/a.txt`)).length;
      expect(head).toMatch(new RegExp(`^content-length: ${length}\r$`, "im"));
    });
  });

  test("curl puts a large file together from ranges, and resumes one", async () => {
    await reused({ ...MODULE, "static_html/index.html": "home" }, [], async (hub) => {
      const bytes = noise(LARGE_BYTES);
      put(hub, "large.bin", bytes);
      const url = `${hub.url}/large.bin`;
      const pieces = await Promise.all(
        ["0-999999", "1000000-1999999", "2000000-"].map((range) => curl("-r", range, url)),
      );
      expect(Buffer.concat(pieces).equals(bytes)).toBe(true);
      expect((await curl("-r", "-5", url)).equals(Buffer.from(bytes.slice(-5)))).toBe(true);
      const several = (await curl("-r", "0-9,2999990-", "-D", "-", url)).toString("latin1");
      expect(several).toMatch(/^HTTP\/1\.1 206 /);
      expect(several).toContain(Buffer.from(bytes.slice(0, 10)).toString("latin1"));
      expect(several).toContain(`Content-Range: bytes 2999990-2999999/${LARGE_BYTES}`);
      const part = join(hub.dir, "part.bin");
      writeFileSync(part, bytes.slice(0, 1_234_567));
      await curl("-C", "-", "-o", part, url);
      expect(readFileSync(part).equals(bytes)).toBe(true);
      expect((await curl("-w", "%{http_code}", "-r", `${LARGE_BYTES}-`, url)).toString()).toBe("416");
    });
  });

  test("curl revalidates by tag and by time", async () => {
    await reused({ ...MODULE, "static_html/index.html": "home" }, [], async (hub) => {
      const file = put(hub, "a.txt", TEXT);
      const tags = join(hub.dir, "tags");
      const code = async (...args: string[]) =>
        (await curl("-o", "/dev/null", "-w", "%{http_code}", ...args, `${hub.url}/a.txt`)).toString();
      expect(await code("--etag-save", tags)).toBe("200");
      expect(await code("--etag-compare", tags)).toBe("304");
      expect(await code("-z", file)).toBe("304");
      put(hub, "a.txt", "changed");
      expect(await code("--etag-compare", tags)).toBe("200");
    });
  });

  test("settings of hrmr.json reach it: listing, fallback, Cache-Control", async () => {
    const settings = config({ listing: true, fallback: "/index.html", cacheControl: { "*.txt": "max-age=7" } });
    await reused(
      { ...MODULE, ...settings, "static_html/index.html": "home", "static_html/f/a.txt": "a" },
      [],
      async (hub) => {
        expect((await curl(`${hub.url}/f/`)).toString()).toContain('href="./a.txt"');
        expect((await curl(`${hub.url}/some/page`)).toString()).toBe("home");
        expect((await curl("-I", `${hub.url}/f/a.txt`)).toString()).toMatch(/^cache-control: max-age=7\r$/im);
      },
    );
  });
});

describe("a file that is being sent", () => {
  /** Big enough for the kernel's buffers not to take it all while the client does not read. */
  const HUGE_BYTES = 40_000_000;

  /** Takes the first bytes of a huge file, lets `change` happen to it, then reads on. */
  async function readAcross(hub: Hub, change: (file: string) => void): Promise<{ bytes: number; error: unknown }> {
    const file = put(hub, "huge.bin", new Uint8Array(HUGE_BYTES));
    const response = await fetch(`${hub.url}/huge.bin`);
    const reader = response.body!.getReader();
    let bytes = (await reader.read()).value?.length ?? 0;
    change(file);
    try {
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        bytes += part.value.length;
      }
    } catch (error) {
      return { bytes, error };
    }
    return { bytes, error: null };
  }

  test.each([
    ["cut short", (file: string) => truncateSync(file, 1_000_000)],
    ["written over", (file: string) => writeFileSync(file, new Uint8Array(HUGE_BYTES).fill(1))],
  ])("and is %s meanwhile ends the connection: nobody takes two halves for a whole", async (_, change) => {
    await reused({ ...MODULE, "static_html/index.html": "home" }, [], async (hub) => {
      const { bytes, error } = await readAcross(hub, change);
      expect(error).not.toBeNull();
      expect(bytes).toBeLessThan(HUGE_BYTES);
      await until("the huge file is closed again", () => openFiles(hub, "huge.bin") === 0);
      await hub.program.waitFor("was changed while it was being sent");
      expect((await curl(`${hub.url}/`)).toString()).toBe("home");
    });
  });

  test("and is replaced by another meanwhile is sent to its end", async () => {
    await reused({ ...MODULE, "static_html/index.html": "home" }, [], async (hub) => {
      const { bytes, error } = await readAcross(hub, (file) =>
        Bun.spawnSync(["sh", "-c", `echo new > "$1.new" && mv "$1.new" "$1"`, "sh", file]),
      );
      expect([bytes, error]).toEqual([HUGE_BYTES, null]);
    });
  });

  test("to a client that leaves is closed, and memory stays flat under slow clients", async () => {
    await reused({ ...MODULE, "static_html/index.html": "home" }, [], async (hub) => {
      put(hub, "huge.bin", new Uint8Array(HUGE_BYTES));
      const resident = (): number =>
        Number(readFileSync(`/proc/${hub.program.pid}/statm`, "latin1").split(" ")[1]) * 4096;
      const before = resident();
      const leave = new AbortController();
      const responses = await Promise.all(
        Array.from({ length: 8 }, () => fetch(`${hub.url}/huge.bin`, { signal: leave.signal })),
      );
      const readers = responses.map((response) => response.body!.getReader());
      for (const reader of readers) await reader.read();
      // One for all of them.
      expect(openFiles(hub, "huge.bin")).toBe(1);
      expect((await curl(`${hub.url}/`)).toString()).toBe("home");
      // Eight times forty megabytes are under way; a few hundred kilobytes of each may wait in the server.
      expect(resident() - before).toBeLessThan(80_000_000);
      leave.abort();
      await until("the huge file is closed again", () => openFiles(hub, "huge.bin") === 0);
    });
  });
});
