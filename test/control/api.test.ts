import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UserError } from "../../src/config/user-error";
import { EVERYTHING } from "../../src/reload/order";
import { controlRequest } from "../../src/control/client";
import { controlPath, shortFolder, temporaryPath } from "../../src/control/paths";
import { openControlSocket } from "../../src/control/server";
import { fakeOperations, MODULE, NO_AUDIT, STATUS, withControl } from "../support/control-fixture";
import { RawClient } from "../support/client";

interface Reply {
  status: number;
  type: string;
  body: string;
  headers: Headers;
}

async function ask(path: string, method: string, route: string, body?: string): Promise<Reply> {
  const response = await fetch(`http://hrmr${route}`, { unix: path, method, ...(body === undefined ? {} : { body }) });
  return {
    status: response.status,
    type: response.headers.get("Content-Type") ?? "",
    body: await response.text(),
    headers: response.headers,
  };
}

async function codeOf(act: () => Promise<unknown>): Promise<string> {
  try {
    await act();
  } catch (error) {
    if (error instanceof UserError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "nothing thrown";
}

const inodeOf = (path: string): number => lstatSync(path).ino;

describe("the control socket's API", () => {
  test("tells status, modules and configuration as JSON, a line each", () =>
    withControl({}, async ({ path }) => {
      const status = await ask(path, "GET", "/v1/status");
      expect(status).toMatchObject({
        status: 200,
        type: "application/json; charset=utf-8",
        body: `${JSON.stringify(STATUS)}\n`,
      });
      expect(status.headers.get("Server")).toBe("hrmr");
      expect(JSON.parse((await ask(path, "GET", "/v1/modules")).body)).toEqual(STATUS.modules);
      expect(JSON.parse((await ask(path, "GET", "/v1/config")).body)).toEqual({ limits: { maxBodyBytes: 1 } });
    }));

  test("tells the metrics as Prometheus reads them", () =>
    withControl({}, async ({ path }) => {
      expect(await ask(path, "GET", "/v1/metrics")).toMatchObject({
        status: 200,
        type: "text/plain; version=0.0.4; charset=utf-8",
        body: "# TYPE hrmr_up gauge\nhrmr_up 1\n",
      });
    }));

  test("tells with 200 or 503 whether the server is ready", async () => {
    await withControl({}, async ({ path }) => expect((await ask(path, "GET", "/v1/ready")).status).toBe(200));
    const readiness = { isReady: false, reasons: ["draining"], modules: [] };
    await withControl({ readiness: async () => readiness }, async ({ path }) => {
      const reply = await ask(path, "GET", "/v1/ready");
      expect([reply.status, JSON.parse(reply.body)]).toEqual([503, readiness]);
    });
  });

  test("answers HEAD where it answers GET", () =>
    withControl({}, async ({ path }) =>
      expect(await ask(path, "HEAD", "/v1/status")).toMatchObject({ status: 200, body: "" }),
    ));

  test("reloads all for an empty body, {} and null, and else the modules that are named", () =>
    withControl({}, async ({ path, asked }) => {
      for (const body of [undefined, "", " {} ", '{"modules": null}', '{"modules": ["a", "b c"]}']) {
        const reply = await ask(path, "POST", "/v1/reload", body);
        expect([reply.status, JSON.parse(reply.body)]).toEqual([
          200,
          { ok: true, text: "OK 1 module unchanged (1 ms)\n", modules: [], elapsedMs: 1, dropped: 0 },
        ]);
      }
      expect(asked).toEqual(["reload all", "reload all", "reload all", "reload all", "reload a b c"]);
    }));

  test("answers 422 with the report when a reload or an upgrade failed", async () => {
    const report = { ok: false, text: "ERR 1 module failed\n", modules: [], elapsedMs: 2, dropped: 0 };
    await withControl({ reload: async () => report }, async ({ path, asked }) => {
      const reload = await ask(path, "POST", "/v1/reload");
      expect([reload.status, JSON.parse(reload.body)]).toEqual([422, report]);
      expect((await ask(path, "POST", "/v1/restart")).status).toBe(200);
      expect(await ask(path, "POST", "/v1/upgrade")).toMatchObject({
        status: 422,
        body: expect.stringContaining("ERR the new process"),
      });
      expect(asked).toEqual(["reload all", "restart", "upgrade"]);
    });
  });

  test("begins to stop, gently or by force, and answers at once with the process to wait for", () =>
    withControl({}, async ({ path, asked }) => {
      for (const body of [undefined, '{"force": false}', '{"force": true}']) {
        const reply = await ask(path, "POST", "/v1/stop", body);
        expect([reply.status, JSON.parse(reply.body)]).toEqual([202, { ok: true, pid: process.pid }]);
      }
      expect(asked).toEqual(["stop hrmr stop", "stop hrmr stop", "stop hrmr stop, force"]);
    }));

  test.each([
    ["GET", "/", undefined, 404, "There is no /.", "/v1/status, "],
    ["GET", "/v1/statsu", undefined, 404, "There is no /v1/statsu.", "Did you mean /v1/status?"],
    ["GET", "/v2/status", undefined, 404, "There is no /v2/status.", "/v1/status"],
    ["POST", "/constructor", undefined, 404, "There is no /constructor.", "/v1/reload"],
    ["POST", "/v1/status", undefined, 405, "/v1/status does not take POST.", "Send GET."],
    ["GET", "/v1/stop", undefined, 405, "/v1/stop does not take GET.", "Send POST."],
    ["DELETE", "/v1/modules", undefined, 405, "/v1/modules does not take DELETE.", "Send GET."],
    ["POST", "/v1/stop", "{", 400, "The body is not JSON: ", "Send an object"],
    ["POST", "/v1/stop", "true", 400, "The body is not a JSON object.", "Send an object"],
    ["POST", "/v1/stop", '["force"]', 400, "The body is not a JSON object.", "Send an object"],
    ["POST", "/v1/stop", '{"force": 1}', 400, '"force" is neither true nor false.', "Leave it out"],
    [
      "POST",
      "/v1/stop",
      '{"forced": true}',
      400,
      'The body has a key that is not known, "forced".',
      "Did you mean force?",
    ],
    ["POST", "/v1/restart", '{"now": true}', 400, 'The body has a key that is not known, "now".', "It takes none."],
    ["POST", "/v1/reload", '{"modules": "greet"}', 400, '"modules" is not a list of names.', '{"modules": ["greet"]}'],
    ["POST", "/v1/reload", '{"modules": []}', 400, '"modules" is not a list of names.', "leave it out to reload all"],
    ["POST", "/v1/reload", '{"modules": [""]}', 400, '"modules" is not a list of names.', "leave it out to reload all"],
    [
      "POST",
      "/v1/reload",
      JSON.stringify({ modules: ["x".repeat(65_536)] }),
      413,
      "The body is larger than 65536 bytes.",
      "Name fewer",
    ],
  ])("refuses %s %s with body %j, and does nothing", (method, route, body, status, error, hint) =>
    withControl({}, async ({ path, asked, logged }) => {
      const reply = await ask(path, method, route, body);
      const told = JSON.parse(reply.body) as { error: string; hint: string };
      expect(reply.status).toBe(status);
      expect(told).toEqual({ error: expect.stringContaining(error), hint: expect.stringContaining(hint) });
      if (status === 405) expect(reply.headers.get("Allow")).toBe(route === "/v1/stop" ? "POST" : "GET, HEAD");
      expect([asked, logged]).toEqual([[], []]);
      expect((await ask(path, "GET", "/v1/status")).status).toBe(200);
    }),
  );

  test("reads no more of a body without a length than it takes", () =>
    withControl({}, async ({ path, asked }) => {
      const client = await RawClient.connect(path);
      await client.send("POST /v1/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
      const chunk = `2000\r\n${"x".repeat(0x2000)}\r\n`;
      for (let sent = 0; sent < 9; sent++) await client.send(chunk);
      await client.waitFor("The body is larger than 65536 bytes.");
      client.close();
      expect(asked).toEqual([]);
    }));

  test("tells what an operation could not do, and for a bug nothing but that it is one", async () => {
    const failing = {
      restart: () => Promise.reject(new UserError("It is draining.", { code: "X", hint: "Wait." })),
      status: () => Promise.reject(new Error("secret")),
    };
    await withControl(failing, async ({ path, logged }) => {
      expect(await ask(path, "POST", "/v1/restart")).toMatchObject({
        status: 422,
        body: '{"error":"It is draining.","hint":"Wait."}\n',
      });
      expect(logged).toEqual([]);
      const bug = await ask(path, "GET", "/v1/status");
      expect([bug.status, bug.body.includes("secret")]).toEqual([500, false]);
      expect(logged).toEqual(["control socket:", expect.objectContaining({ message: "secret" })]);
    });
  });

  test("ends the connection of what is no HTTP, and serves on", () =>
    withControl({}, async ({ path }) => {
      const client = await RawClient.connect(path);
      await client.send("RELOAD\n\0\xff\r\n\r\n");
      await client.waitForEnd();
      client.close();
      expect((await ask(path, "GET", "/v1/ready")).status).toBe(200);
    }));

  test("answers others while a reload takes its time", () => {
    const done = Promise.withResolvers<void>();
    const reload = async () => {
      await done.promise;
      return { ok: true, text: "OK\n", modules: [], elapsedMs: 1, dropped: 0 };
    };
    return withControl({ reload }, async ({ path }) => {
      const reply = ask(path, "POST", "/v1/reload");
      expect((await ask(path, "GET", "/v1/status")).status).toBe(200);
      done.resolve();
      expect((await reply).status).toBe(200);
    });
  });
});

describe("the control socket's file", () => {
  test("is for its owner alone, and gone after close", () =>
    withControl({}, async ({ path, server }) => {
      expect(lstatSync(path).isSocket()).toBe(true);
      expect((lstatSync(path).mode & 0o777).toString(8)).toBe("600");
      expect(existsSync(temporaryPath(path))).toBe(false);
      await Promise.all([server.close(), server.close()]);
      expect(existsSync(path)).toBe(false);
    }));

  test("of a server that was killed is replaced", () =>
    withControl({}, async ({ dir }) => {
      const path = join(dir, "stale.sock");
      const bind = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
      await Bun.spawn([process.execPath, "-e", bind]).exited;
      expect(lstatSync(path).isSocket()).toBe(true);
      const server = await openControlSocket({
        path,
        operations: fakeOperations({}),
        log: { error: () => {} },
        audit: NO_AUDIT,
      });
      expect((await ask(path, "GET", "/v1/status")).status).toBe(200);
      await server.close();
    }));

  test("is another server's when that has taken its place: the old one leaves it there, and answers what it was asked", () => {
    const done = Promise.withResolvers<void>();
    const upgrade = async () => {
      await done.promise;
      return { ok: true, text: "OK\n", pid: 1 };
    };
    return withControl({ upgrade }, async ({ path, server }) => {
      const asked = ask(path, "POST", "/v1/upgrade");
      await ask(path, "GET", "/v1/ready");
      const before = inodeOf(path);
      const successor = await openControlSocket({
        path,
        operations: fakeOperations({ config: () => "the new one" }),
        log: { error: () => {} },
        audit: NO_AUDIT,
      });
      expect(inodeOf(path)).not.toBe(before);
      const closed = server.close();
      done.resolve();
      expect((await asked).status).toBe(200);
      await closed;
      expect(JSON.parse((await ask(path, "GET", "/v1/config")).body)).toBe("the new one");
      await successor.close();
      expect(existsSync(path)).toBe(false);
    });
  });

  test("never is missing or dead while servers take it over from each other", () =>
    withControl({}, async ({ path, server }) => {
      let isOver = false;
      const looking = (async () => {
        let count = 0;
        for (; !isOver; count++) expect((await ask(path, "GET", "/v1/ready")).status).toBe(200);
        return count;
      })();
      let current = server;
      for (let round = 0; round < 20; round++) {
        const next = await openControlSocket({
          path,
          operations: fakeOperations({}),
          log: { error: () => {} },
          audit: NO_AUDIT,
        });
        await ask(path, "GET", "/v1/ready");
        await current.close();
        current = next;
      }
      isOver = true;
      expect(await looking).toBeGreaterThan(0);
      await current.close();
    }));

  test("does not replace a file that is no socket, nor a folder or a link", () =>
    withControl({}, async ({ dir }) => {
      const [file, folder, link] = ["file", "folder", "link"].map((name) => join(dir, name)) as [
        string,
        string,
        string,
      ];
      writeFileSync(file, "precious");
      mkdirSync(folder);
      symlinkSync(file, link);
      for (const path of [file, folder, link]) {
        expect(
          await codeOf(() =>
            openControlSocket({ path, operations: fakeOperations({}), log: { error: () => {} }, audit: NO_AUDIT }),
          ),
        ).toBe(`CANNOT_CONTROL: Cannot open the control socket ${path}: a file that is not a socket is there.`);
      }
      expect(readFileSync(file, "utf8")).toBe("precious");
    }));

  test("in a folder that is missing is refused by that folder's name", () =>
    withControl({}, async ({ dir }) => {
      const path = join(dir, "missing", "c.sock");
      expect(
        await codeOf(() =>
          openControlSocket({ path, operations: fakeOperations({}), log: { error: () => {} }, audit: NO_AUDIT }),
        ),
      ).toBe(`CANNOT_CONTROL: Cannot open the control socket ${path}: there is no folder ${join(dir, "missing")}.`);
    }));

  test("with a path as long as can be works, and a longer one is put in a folder of this user's", async () => {
    const longest = `${"x".repeat(103 - PREFIX_BYTES - ".sock".length)}.sock`;
    await withControl(
      {},
      async ({ path }) => {
        expect(Buffer.byteLength(path)).toBe(103);
        expect(controlPath("/x", undefined, path)).toBe(path);
        expect((await ask(path, "GET", "/v1/ready")).status).toBe(200);
      },
      longest,
    );
    const path = controlPath(`/tmp/${"x".repeat(100)}`);
    expect(path).toMatch(new RegExp(`^${shortFolder()}/[0-9a-f]{16}\\.sock$`));
    const server = await openControlSocket({
      path,
      operations: fakeOperations({}),
      log: { error: () => {} },
      audit: NO_AUDIT,
    });
    expect((lstatSync(shortFolder()).mode & 0o777).toString(8)).toBe("700");
    expect((await controlRequest(path, "GET", "/v1/ready")).status).toBe(200);
    await server.close();
  });
});

/** Of the folder that `withControl` makes, with its slash. */
const PREFIX_BYTES = ((): number => {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-ctl-"));
  rmSync(dir, { recursive: true });
  return Buffer.byteLength(dir) + 1;
})();

describe("the control socket's place", () => {
  test("is the state folder, the first runtime directory before it, and what was configured before that", () => {
    expect(controlPath("/srv/hub/.hrmr")).toBe("/srv/hub/.hrmr/control.sock");
    expect(controlPath("/srv/hub/.hrmr", "")).toBe("/srv/hub/.hrmr/control.sock");
    expect(controlPath("/srv/hub/.hrmr", "/run/hrmr")).toBe("/run/hrmr/control.sock");
    expect(controlPath("/srv/hub/.hrmr", "/run/hrmr:/run/other")).toBe("/run/hrmr/control.sock");
    expect(controlPath("/srv/hub/.hrmr", "/run/hrmr", "/run/my.sock")).toBe("/run/my.sock");
    expect(controlPath("/srv/hub/.hrmr", undefined, null)).toBe("/srv/hub/.hrmr/control.sock");
  });

  test("is the same each time where it has to be short, another for each state folder and user", () => {
    const long = `/srv/${"x".repeat(120)}`;
    expect(controlPath(long)).toBe(controlPath(long));
    expect(controlPath(long)).not.toBe(controlPath(`${long}y`));
    expect(controlPath(long, undefined, null, 4711)).toStartWith("/tmp/hrmr-4711/");
    expect(Buffer.byteLength(controlPath(long))).toBeLessThanOrEqual(103);
  });

  test("is refused, and not moved, when it was configured too long", async () => {
    const configured = `/run/${"é".repeat(50)}.sock`;
    expect(await codeOf(async () => controlPath("/x", undefined, configured))).toStartWith(
      `CONTROL_PATH_LONG: The control socket's path ${configured} is too long`,
    );
  });

  test("has room for the temporary name, also when its own is shorter", () => {
    const path = `/run/${"x".repeat(90)}/c`;
    expect(Buffer.byteLength(path)).toBeLessThan(103);
    expect(() => controlPath("/x", undefined, path)).toThrow("too long");
  });
});

describe("a request to the control socket", () => {
  test("that is refused throws the server's words", () =>
    withControl({}, async ({ path }) => {
      expect(await codeOf(() => controlRequest(path, "GET", "/v1/nothing"))).toBe(
        "CONTROL_REFUSED: There is no /v1/nothing.",
      );
    }));

  test("returns a report of what failed as it is", () =>
    withControl({}, async ({ path }) => {
      expect(await controlRequest<{ ok: boolean }>(path, "POST", "/v1/upgrade", {})).toMatchObject({
        status: 422,
        body: { ok: false },
      });
    }));

  test("says that there is no server where there is no file", async () => {
    expect(await codeOf(() => controlRequest("/nowhere/c.sock", "GET", "/v1/status"))).toBe(
      "NO_SERVER: No hrmr server runs here: there is no control socket at /nowhere/c.sock.",
    );
  });

  test("says that a killed server has left its socket", () =>
    withControl({}, async ({ dir }) => {
      const path = join(dir, "dead.sock");
      const bind = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
      await Bun.spawn([process.execPath, "-e", bind]).exited;
      expect(await codeOf(() => controlRequest(path, "GET", "/v1/status"))).toStartWith(
        `SERVER_DEAD: No hrmr server runs here: nobody answers at ${path}`,
      );
    }));

  test.each([
    ["a plain file", (path: string) => writeFileSync(path, "")],
    ["a folder", (path: string) => void mkdirSync(path)],
  ])("says that %s is not hrmr", (_, make) =>
    withControl({}, async ({ dir }) => {
      const path = join(dir, "other");
      make(path);
      expect(await codeOf(() => controlRequest(path, "GET", "/v1/status"))).toBe(
        `NOT_HRMR: The socket ${path} is not the control socket of hrmr.`,
      );
    }),
  );

  test("says that another program's HTTP is not hrmr", () =>
    withControl({}, async ({ dir }) => {
      const path = join(dir, "docker.sock");
      const other = Bun.serve({ unix: path, fetch: () => Response.json({ ok: true }) });
      try {
        expect(await codeOf(() => controlRequest(path, "POST", "/v1/stop"))).toStartWith("NOT_HRMR: ");
      } finally {
        await other.stop(true);
      }
    }));

  test("says that the connection was lost when nothing was answered", () =>
    withControl({}, async ({ dir }) => {
      const path = join(dir, "mute.sock");
      const other = Bun.listen({ unix: path, socket: { data: (socket) => void socket.terminate() } });
      try {
        expect(await codeOf(() => controlRequest(path, "GET", "/v1/status"))).toStartWith("CONTROL_LOST: ");
      } finally {
        other.stop(true);
      }
    }));

  test("gives up on a server that hangs", () =>
    withControl({ status: () => new Promise(() => {}) }, async ({ path }) => {
      expect(await codeOf(() => controlRequest(path, "GET", "/v1/status", undefined, { timeoutMs: 50 }))).toBe(
        `CONTROL_TIMEOUT: The server at ${path} did not answer in 0.05 s.`,
      );
    }));

  test("returns what is not JSON as text", () =>
    withControl({}, async ({ path }) => {
      expect((await controlRequest<string>(path, "GET", "/v1/metrics")).body).toStartWith("# TYPE");
    }));
});

describe("docs/control.md", () => {
  const page = readFileSync(join(import.meta.dir, "../../docs/control.md"), "utf8");

  /** The first cells of the table under a heading. */
  const keysOf = (heading: string): string[] => {
    const rest = page.slice(page.indexOf(`\n${heading}\n`) + heading.length + 2);
    const end = rest.search(/^##/m);
    return [...(end < 0 ? rest : rest.slice(0, end)).matchAll(/^\| `([^`]+)`/gm)].map(([, key = ""]) => key);
  };

  test("has every path of the API, and shows requests to no other", () =>
    withControl({}, async ({ path }) => {
      const { hint } = JSON.parse((await ask(path, "GET", "/")).body) as { hint: string };
      const paths: string[] = hint.match(/\/v1\/[\w/]+/g) ?? [];
      expect(keysOf("## Requests")).toEqual(paths);
      const shown = [...page.matchAll(/^curl .* http:\/\/hrmr(\S+)$/gm)].map(([, route = ""]) => route);
      expect(shown.length).toBeGreaterThan(2);
      expect(
        shown.filter(
          (route) =>
            !paths.includes(
              route.replace(/^(\/v1\/modules)\/[^/?]+|\?.*$/g, (_, modules) =>
                modules === undefined ? "" : `${modules}/NAME`,
              ),
            ),
        ),
      ).toEqual([]);
    }));

  test("has every key of the status, of a module and of a report", async () => {
    expect(keysOf("## The status").sort()).toEqual(Object.keys(STATUS).sort());
    expect(keysOf("### A module").sort()).toEqual(Object.keys(MODULE).sort());
    // Set only where a reload changed something besides the modules.
    const report = { ...(await fakeOperations({}).reload(EVERYTHING)), hasChanged: true };
    expect(keysOf("## Reports").sort()).toEqual(Object.keys(report).sort());
  });
});

const CANNOT_SWITCH = process.getuid?.() !== 0 || Bun.which("setpriv") === null;

test.skipIf(CANNOT_SWITCH)(
  "another user is refused by the kernel, and told who may (becoming one takes root, and setpriv)",
  () =>
    withControl({}, async ({ dir, path }) => {
      chmodSync(dir, 0o755);
      const runAsNobody = async (source: string): Promise<string> => {
        const command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", process.execPath, "-e", source];
        const child = Bun.spawn(command, { env: { HOME: dir }, cwd: "/", stderr: "inherit", stdout: "pipe" });
        return (await child.stdout.text()).trim();
      };
      const client = JSON.stringify(join(import.meta.dir, "../../src/control/client.ts"));
      const request = `const { controlRequest } = await import(${client});
await controlRequest(${JSON.stringify(path)}, "GET", "/v1/status").catch((error) => console.log(error.code));`;
      expect(await runAsNobody(request)).toBe("CONTROL_DENIED");
      // Not only by the look beforehand.
      const connect = `require("node:net").connect(${JSON.stringify(path)}, () => process.exit()).on("error", ({ code }) => console.log(code));`;
      expect(await runAsNobody(connect)).toBe("EACCES");
    }),
);
