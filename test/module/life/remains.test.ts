/** Nothing that a version opened, or wired, goes on acting when the version is replaced, refused or gone. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadModule } from "../../../src/module/graph/load";
import { SILENT_LOG, withFixture } from "../../support/module-fixture";
import { until } from "../../support/until";

const HEARD = ((globalThis as Record<string, unknown>)["__heard"] ??= []) as string[];
const folder = mkdtempSync(join(tmpdir(), "hrmr-remains-"));
/** Answers any request with a stream that goes on as long as somebody reads it. */
const streams = new Set<() => void>();
const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  fetch: () =>
    new Response(
      new ReadableStream({
        start(controller) {
          const say = () => {
            try {
              controller.enqueue("x");
            } catch {
              streams.delete(say);
            }
          };
          streams.add(say);
        },
      }),
    ),
});
afterAll(async () => {
  await server.stop(true);
  rmSync(folder, { recursive: true, force: true });
});

const URL_TEXT = `"http://127.0.0.1:${server.port}/"`;
/** Code of `start`, where `heard()` notes that it acts; and what makes it act. */
const OPENED: [what: string, code: string, poke: () => void][] = [
  ["an interval", `setInterval(heard, 5);`, () => {}],
  ["a chain of setImmediate", `const again = () => { heard(); setImmediate(again); }; again();`, () => {}],
  [
    "an interval of node:timers/promises",
    `(async () => { for await (const _ of (await import("node:timers/promises")).setInterval(5)) heard(); })();`,
    () => {},
  ],
  [
    "fs.watch",
    `(await import("node:fs")).watch(${JSON.stringify(folder)}, heard);`,
    () => writeFileSync(join(folder, "a"), String(Math.random())),
  ],
  ["a listener on process", `process.on("SIGWINCH", heard);`, () => void process.emit("SIGWINCH")],
  [
    "a request of node:http by its global agent",
    `(await import("node:http")).get(${URL_TEXT}, (response) => response.on("data", heard));`,
    () => streams.forEach((say) => say()),
  ],
  [
    "a request of fetch",
    `fetch(${URL_TEXT}).then(async ({ body }) => { for await (const _ of body) heard(); });`,
    () => streams.forEach((say) => say()),
  ],
  [
    "a program",
    `const child = Bun.spawn(["sh", "-c", "while echo x; do sleep 0.02; done"], { stdout: "pipe" }); (async () => { for await (const _ of child.stdout) heard(); })();`,
    () => {},
  ],
];

test.each(OPENED)("%s of start ends with its version", (_, code, poke) =>
  withFixture(
    {
      "m.ts": `const heard = () => void globalThis.__heard.push("m");\nexport default { async start() { ${code} } };\n`,
    },
    async (fixture) => {
      HEARD.length = 0;
      const spec = fixture.spec(await fixture.build("m"));
      const errors: unknown[] = [];
      const onError = (error: unknown) => errors.push(error);
      const module = await loadModule(spec, { globals: {}, host: "main", log: SILENT_LOG, onError, timeoutMs: 20_000 });
      await module.start(undefined);
      await module.goLive();
      await until("it acts", () => (poke(), HEARD.length > 2));
      await module.dispose();
      const before = HEARD.length;
      // A module that does the same acts meanwhile: all that would come has come.
      const other = await loadModule(
        { ...spec, id: spec.id + 10_000 },
        { globals: {}, host: "main", log: SILENT_LOG, onError, timeoutMs: 20_000 },
      );
      const beforeOther = HEARD.length;
      expect(beforeOther).toBe(before);
      for (let times = 0; times < 3; times++) {
        poke();
        await Bun.sleep(20);
      }
      expect(HEARD.length).toBe(before);
      await other.start(undefined);
      await other.goLive();
      await until("the other one acts", () => (poke(), HEARD.length > before));
      await other.dispose();
      expect(errors).toEqual([]);
    },
  ),
);

test("Bun.cron of start ends with its version: it keeps no process alive", () =>
  withFixture({ "m.ts": `export default { start() { Bun.cron("* * * * *", () => {}); } };\n` }, async (fixture) => {
    const spec = fixture.spec(await fixture.build("m"));
    const script = join(fixture.root, "script.ts");
    const load = JSON.stringify(join(import.meta.dir, "../../../src/module/graph/load.ts"));
    writeFileSync(
      script,
      `import { loadModule } from ${load};
const log = { debug() {}, info() {}, warn() {}, error() {} };
const module = await loadModule(${JSON.stringify(spec)}, { globals: {}, host: "main", log, onError() {}, timeoutMs: 20_000 });
await module.goLive();
console.log("live");
if (process.argv[2] === "dispose") await module.dispose();
`,
    );
    const run = (word: string) => Bun.spawn([process.execPath, script, word], { stdout: "pipe", stderr: "inherit" });
    const kept = run("keep");
    const disposed = run("dispose");
    try {
      expect(await disposed.stdout.text()).toBe("live\n");
      expect(await disposed.exited).toBe(0);
      await until("the other one to be live", async () => (await kept.stdout.getReader().read()).value !== undefined);
      expect(kept.exitCode).toBeNull();
    } finally {
      kept.kill("SIGKILL");
      disposed.kill("SIGKILL");
    }
  }));
