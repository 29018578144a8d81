/** The messages about mistakes that the author of a module sees, from source and in the binary alike (HRMR_BIN). */
import { expect, test } from "bun:test";
import { moduleSource, withHub } from "../../support/hub";

const MODULE = moduleSource(`{
  routes: {
    "THROW": () => { throw new Error("on purpose"); },
    "GET /throw": { fetch: () => deeper() },
    "GET /late": { fetch: async () => { await 1; throw new TypeError("too late", { cause: new Error("the cause") }); } },
    "GET /nothing": { fetch: () => undefined },
    "GET /file": { fetch: () => new Response(Bun.file("no/such/file")) },
    "POOL": { framing: "line", run: "pool", handle: () => { throw new Error("on the pool"); } },
    "DONE": () => { console.log("all was asked"); return "ok"; },
  },
}) as never;
function deeper(): Response { throw new RangeError("deeper down"); }
export const unused = (undefined`);

test("the log shows the lines of the module, none of the server's own", () =>
  withHub({ "modules/faulty.ts": MODULE }, [], async (hub) => {
    expect(await hub.ask("THROW")).toBe('ERR "THROW" failed\n');
    for (const path of ["throw", "late", "nothing", "file"]) {
      const response = await fetch(`${hub.url}/${path}`);
      expect([path, response.status, await response.text()]).toEqual([path, 500, "Internal Server Error\n"]);
    }
    expect(await hub.ask("POOL\n")).toBe('ERR "POOL" failed\n');
    await hub.ask("DONE");
    await hub.program.waitFor("all was asked");
    const output = hub.program.output();
    for (const reason of [
      "on purpose",
      "deeper down",
      "too late",
      "the cause",
      "on the pool",
      "fetch returned undefined",
      "no/such/file",
    ]) {
      expect(output).toContain(reason);
    }
    const frames = output.split("\n").filter((line) => /^\s+at /.test(line));
    expect(frames.length).toBeGreaterThanOrEqual(4);
    expect(frames.filter((frame) => !frame.includes("modules/faulty.ts"))).toEqual([]);
    expect(output).toMatch(/at deeper \(.*modules\/faulty\.ts:\d+:\d+\)/);
  }));
