/** `--watch`: saved files are loaded, wherever they are, and also after their folder was replaced. */
import { expect, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Hub, makeProject, withHub } from "../support/hub";
import { program } from "../support/program";
import { until } from "../support/until";

const saying = (text: string): string =>
  `export default { routes: { "GET /m": { fetch: () => new Response(${JSON.stringify(text)}) } } };\n`;
const importing = (from: string): string =>
  `import { v } from "${from}";\nexport default { routes: { "GET /m": { fetch: () => new Response(v) } } };\n`;

async function said(hub: Hub): Promise<string> {
  const response = await fetch(`${hub.url}/m`, { headers: { connection: "close" } });
  return response.ok ? await response.text() : "";
}

/** Until every process says so. */
function untilSaid(hub: Hub, text: string): Promise<boolean> {
  return until(`${text} to be said`, async () => {
    const answers = new Set(await Promise.all(Array.from({ length: 8 }, () => said(hub))));
    return answers.size === 1 && answers.has(text);
  });
}

for (const processes of ["1", "2"]) {
  const args = ["--watch", "-w", processes];

  test(`a modules folder that is replaced is watched again, in ${processes} processes`, () =>
    withHub({ "modules/m.ts": saying("one") }, args, async (hub) => {
      await untilSaid(hub, "one");
      hub.write("modules/m.ts", saying("two"));
      await untilSaid(hub, "two");
      for (const round of ["a", "b"]) {
        hub.write("fresh/m.ts", saying(`replaced ${round}`));
        renameSync(join(hub.dir, "modules"), join(hub.dir, `old-${round}`));
        renameSync(join(hub.dir, "fresh"), join(hub.dir, "modules"));
        await untilSaid(hub, `replaced ${round}`);
        hub.write("modules/m.ts", saying(`edited ${round}`));
        await untilSaid(hub, `edited ${round}`);
      }
      expect(hub.program.output()).not.toContain("a bug in hrmr");
    }));

  test(`an import outside of the modules folder, and one that comes later, are watched, in ${processes} processes`, () =>
    withHub(
      { "modules/m.ts": importing("../shared/v"), "shared/v.ts": `export const v = "one";\n` },
      args,
      async (hub) => {
        await untilSaid(hub, "one");
        hub.write("shared/v.ts", `export const v = "two";\n`);
        await untilSaid(hub, "two");
        hub.write("elsewhere/deep/w.ts", `export const v = "three";\n`);
        hub.write("modules/m.ts", importing("../elsewhere/deep/w"));
        await untilSaid(hub, "three");
        hub.write("elsewhere/deep/w.ts", `export const v = "four";\n`);
        await untilSaid(hub, "four");
      },
    ));
}

test("a modules folder that is made later is watched, and so is one that was removed for a while", () =>
  withHub({}, ["--watch"], async (hub) => {
    expect(await said(hub)).toBe("");
    hub.write("modules/m.ts", saying("made later"));
    await untilSaid(hub, "made later");
    rmSync(join(hub.dir, "modules"), { recursive: true });
    await until("its absence to be noticed", () => hub.program.output().includes("there is no such folder"));
    hub.write("modules/m.ts", saying("back"));
    await untilSaid(hub, "back");
    hub.write("modules/m.ts", saying("back, edited"));
    await untilSaid(hub, "back, edited");
  }));

test("a link on the way to the modules, or among imports, that is switched", async () => {
  const files = Object.fromEntries(
    [1, 2].flatMap((n) => [
      [`releases/${n}/modules/m.ts`, importing("../../../current/v")],
      [`releases/${n}/v.ts`, `export const v = "release ${n}";\n`],
    ]),
  );
  const point = (dir: string, n: number): void => {
    symlinkSync(`releases/${n}`, join(dir, "current.new"));
    renameSync(join(dir, "current.new"), join(dir, "current"));
  };
  await withHub(
    { ...files, "modules/m.ts": importing("../current/v"), "hrmr.json": "{}" },
    ["--watch"],
    async (hub) => {
      point(hub.dir, 1);
      hub.write("modules/m.ts", `${importing("../current/v")}// saved again\n`);
      await untilSaid(hub, "release 1");
      point(hub.dir, 2);
      await untilSaid(hub, "release 2");
    },
  );
});

test("hrmr.json is watched: a saved setting holds, a mistake is reported and changes nothing, and a file made later is read", () => {
  const module = `export default { routes: { "GET /m": { fetch: (_, { config }) => new Response(String(config.word)) } } };\n`;
  return withHub({ "modules/m.ts": module }, ["--watch"], async (hub) => {
    await untilSaid(hub, "undefined");
    hub.write("hrmr.json", `{ "modules": { "m": { "word": "first" } } }`);
    await untilSaid(hub, "first");
    hub.write("hrmr.json", `{ "modules": { "m": { "word": `);
    await until("the mistake to be told", () => /ERR .*hrmr\.json/.test(hub.program.output()));
    expect(await said(hub)).toBe("first");
    hub.write("hrmr.json.new", `{ "modules": { "m": { "word": "second" } } }`);
    renameSync(join(hub.dir, "hrmr.json.new"), join(hub.dir, "hrmr.json"));
    await untilSaid(hub, "second");
  });
});

const canUnshare =
  Bun.spawnSync(["unshare", "-Ur", "sh", "-c", "echo 0 > /proc/sys/user/max_inotify_instances"], { stderr: "ignore" })
    .exitCode === 0;

for (const limit of ["max_inotify_instances", "max_inotify_watches"]) {
  test.skipIf(!canUnshare)(
    `with no ${limit} left the server starts, says that it cannot watch, and RELOAD works (needs user namespaces)`,
    async () => {
      const dir = makeProject({});
      const write = (text: string): void => {
        mkdirSync(dirname(join(dir, "modules/m.ts")), { recursive: true });
        writeFileSync(join(dir, "modules/m.ts"), saying(text));
      };
      write("one");
      const command = [...program(), "start", "--port", "0", "--watch"].map((word) => `'${word}'`).join(" ");
      const shell = `echo 0 > /proc/sys/user/${limit}; exec ${command}`;
      const child = Bun.spawn(["unshare", "-Ur", "sh", "-c", shell], {
        cwd: dir,
        env: { ...process.env, NO_COLOR: "1", PWD: dir },
        stdout: "pipe",
        stderr: "pipe",
      });
      let output = "";
      const gather = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> => {
        for await (const piece of stream.pipeThrough(new TextDecoderStream())) output += piece;
      };
      const gathered = Promise.all([gather(child.stdout), gather(child.stderr)]);
      try {
        const port = await until("the server to listen", () => /127\.0\.0\.1:(\d+)/.exec(output)?.[1]);
        await until("the log to say so", () => /Cannot watch .*(?:EMFILE|ENOSPC).*Send RELOAD/.test(output));
        expect(output).not.toContain("bug in hrmr");
        write("two");
        const url = `http://127.0.0.1:${port}`;
        const socket = await Bun.connect({
          hostname: "127.0.0.1",
          port: Number(port),
          socket: { data() {}, open: (each) => void each.write("RELOAD\n") },
        });
        await until("two to be said", async () => (await (await fetch(`${url}/m`)).text()) === "two");
        socket.end();
      } catch (error) {
        throw new Error(`${String(error)}\n--- the server said:\n${output}`, { cause: error });
      } finally {
        child.kill("SIGTERM");
        await child.exited;
        await gathered;
        rmSync(dir, { recursive: true });
      }
    },
  );
}
