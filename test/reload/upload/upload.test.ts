/** Modules sent to a running server: as `hrmr push` and plain curl do it. */
import { describe, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { ModuleFiles, PushReport } from "../../../src/reload/operations";
import { ask as askRaw } from "../../support/client";
import { type Hub, moduleSource, withHub } from "../../support/hub";
import { callProgram } from "../../support/call-program";
import { type ProgramResult, runProgram, startProgram } from "../../support/program";

/** A module that answers GREET with `text`. */
const greet = (text: string): string =>
  moduleSource(`{ routes: { "GREET": { framing: "line", handle: () => "${text}\\n" } } }`);
const BROKEN = 'export default { routes: { "GREET": () => "v3\\n" } ;\n';

/** Writes a file that will be sent to a folder `out` beside the modules folder. @returns the path */
function draft(hub: Hub, name: string, text: string | Uint8Array): string {
  const path = join(hub.dir, "out", name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

/** In this process; the first test of each command starts the program. */
function run(hub: Hub, ...args: string[]): Promise<ProgramResult> {
  return callProgram(args, { cwd: hub.dir });
}

interface Answer<Body> {
  readonly status: number;
  readonly body: Body;
}
type Refusal = { error: string; hint: string };

async function ask<Body = PushReport>(
  hub: Hub,
  method: string,
  route: string,
  init: RequestInit = {},
): Promise<Answer<Body>> {
  const unix = join(hub.dir, ".hrmr/control.sock");
  const response = await fetch(`http://hrmr${route}`, { ...init, unix, method } as RequestInit);
  return { status: response.status, body: (await response.json()) as Body };
}

const CURL = Bun.which("curl");

async function curl(hub: Hub, ...args: string[]): Promise<Answer<PushReport & Refusal>> {
  const command = [
    CURL ?? "",
    "-s",
    "-w",
    "\n%{http_code}",
    "--unix-socket",
    join(hub.dir, ".hrmr/control.sock"),
    ...args,
  ];
  const text = await Bun.spawn(command, { cwd: join(hub.dir, "out"), stdout: "pipe" }).stdout.text();
  const [body = "", status] = text.trim().split(/\n(?=\d+$)/);
  return { status: Number(status), body: JSON.parse(body) as PushReport & Refusal };
}

/** Kind, rights, time, inode and content of all that is in the modules folder. */
function everything(hub: Hub): Record<string, string> {
  const dir = join(hub.dir, "modules");
  const entries = readdirSync(dir, { recursive: true }).map(String).sort();
  return Object.fromEntries(
    entries.map((entry) => {
      const { mode, mtimeMs, ino } = lstatSync(join(dir, entry));
      const isFile = lstatSync(join(dir, entry)).isFile();
      return [entry, `${mode.toString(8)} ${mtimeMs} ${ino} ${isFile ? readFileSync(join(dir, entry), "latin1") : ""}`];
    }),
  );
}

/** A body as `curl -F` makes it, of parts with these filenames. */
function multipart(...names: string[]): RequestInit {
  const parts = names.map(
    (name) => `--xX\r\nContent-Disposition: form-data; name="file"; filename="${name}"\r\n\r\n${greet("x")}\r\n`,
  );
  return { headers: { "Content-Type": "multipart/form-data; boundary=xX" }, body: `${parts.join("")}--xX--\r\n` };
}

const audit = (hub: Hub) =>
  readFileSync(join(hub.dir, ".hrmr/audit.log"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe("hrmr push", () => {
  test("sends a new module, which serves when the command ends", () =>
    withHub({ "modules/other.ts": moduleSource('{ routes: { "O": () => "o" } }') }, [], async (hub) => {
      const ran = await runProgram(["push", draft(hub, "greet.ts", greet("v1"))], { cwd: hub.dir });
      expect(ran).toEqual({
        exitCode: 0,
        stderr: "",
        stdout: expect.stringMatching(/^OK greet v1 loaded in \d+ ms, 0 connections dropped\n$/),
      });
      expect(await hub.ask("GREET\n")).toBe("v1\n");
      expect(readFileSync(join(hub.dir, "modules/greet.ts"), "utf8")).toBe(greet("v1"));
      expect(readdirSync(join(hub.dir, "modules")).sort()).toEqual(["greet.ts", "other.ts"]);
    }));

  test("of one that is broken tells file, line, column and code, exits with 1, and changes nothing", () =>
    withHub(
      { "modules/greet.ts": greet("v1"), "modules/big/index.ts": moduleSource("{ routes: { BIG: () => 'b' } }") },
      [],
      async (hub) => {
        utimesSync(join(hub.dir, "modules/greet.ts"), 1_600_000_000, 1_600_000_000);
        const was = everything(hub);
        const before = await hub.status();
        const ran = await runProgram(["push", draft(hub, "greet.ts", BROKEN)], { cwd: hub.dir });
        expect([ran.exitCode, ran.stdout]).toEqual([1, ""]);
        expect(ran.stderr).toStartWith("ERR 1 module failed");
        expect(ran.stderr).toContain('modules/greet.ts:1:52: Expected "}" but found ";"');
        expect(ran.stderr).toContain(
          '1 | export default { routes: { "GREET": () => "v3\\n" } ;\n      |                                                    ^\n',
        );
        expect(ran.stderr).toContain("v1, loaded at ");
        expect(ran.stderr).toEndWith("No file was changed: the modules folder is as it was before.\n");
        expect(await hub.ask("GREET\n")).toBe("v1\n");
        expect(everything(hub)).toEqual(was);
        const { modules } = await hub.status();
        const facts = ({ modules: all }: typeof before) =>
          all.map(({ name, state, generation, hash, error }) => [name, state, generation, hash, error]);
        expect(facts({ ...before, modules })).toEqual(facts(before));
        // A reload finds nothing to do, and a push of a right file goes on with the next number.
        expect((await run(hub, "reload")).stdout).toContain("unchanged");
        expect((await run(hub, "push", draft(hub, "greet.ts", greet("v2")))).stdout).toStartWith(
          "OK greet v2 (was v1) swapped",
        );
      },
    ));

  test.each([
    ["throws at its top", 'throw new Error("at the top");', "at the top"],
    ["imports what is not there", 'import x from "./nothing"; export default x;', "nothing"],
    ["has no routes", "export default 1;", "modules/greet.ts"],
    [
      "fails its check",
      'export default { routes: { CHECKED: () => "x" }, check() { throw new Error("not fit"); } };',
      "not fit",
    ],
    ["claims what another has", 'export default { routes: { OTHER: () => "x" } };', "other.ts"],
  ])("of one that %s changes nothing, and a new one leaves no file", (_, text, told) =>
    withHub(
      { "modules/greet.ts": greet("v1"), "modules/other.ts": moduleSource('{ routes: { OTHER: () => "o" } }') },
      [],
      async (hub) => {
        const was = everything(hub);
        for (const name of ["greet", "fresh"]) {
          const ran = await run(hub, "push", draft(hub, `${name}.ts`, text));
          expect([ran.exitCode, ran.stderr.replaceAll("fresh", "greet")]).toEqual([1, expect.stringContaining(told)]);
          expect(everything(hub)).toEqual(was);
        }
        expect(await hub.ask("GREET\n")).toBe("v1\n");
        expect((await hub.status()).modules.map(({ name }) => name)).not.toContain("fresh");
      },
    ),
  );

  test("sends a folder without its packages, and says so; the packages on the server stay", () =>
    withHub(
      {
        "modules/chat/index.ts": moduleSource('{ routes: { CHAT: () => "old" } }'),
        "modules/chat/old.txt": "gone afterwards",
        "modules/chat/node_modules/words/index.js": 'export const word = "from a package";',
        "modules/chat/node_modules/words/package.json": '{ "name": "words", "version": "1.0.0", "main": "index.js" }',
      },
      [],
      async (hub) => {
        draft(hub, "chat/package.json", '{ "dependencies": { "words": "1.0.0" } }');
        draft(hub, "chat/lib/here.ts", 'export const here = "and here";');
        draft(hub, "chat/data.bin", new Uint8Array([0, 255, 13, 10, 45, 45]));
        draft(hub, "chat/.env", "SECRET=1");
        draft(hub, "chat/node_modules/words/index.js", "export const word = 'not this one';");
        draft(
          hub,
          "chat/index.ts",
          'import { word } from "words"; import { here } from "./lib/here"; export default { routes: { CHAT: () => `${word} ${here}` } };',
        );
        const ran = await run(hub, "push", "out/chat");
        expect(ran).toMatchObject({ exitCode: 0, stderr: "chat: not sent: chat/.env, chat/node_modules\n" });
        expect(await hub.ask("CHAT")).toBe("from a package and here");
        const files = readdirSync(join(hub.dir, "modules/chat"), { recursive: true }).map(String).sort();
        expect(files.filter((file) => !file.startsWith("node_modules/"))).toEqual([
          "data.bin",
          "index.ts",
          "lib",
          "lib/here.ts",
          "node_modules",
          "package.json",
        ]);
        expect(new Uint8Array(readFileSync(join(hub.dir, "modules/chat/data.bin")))).toEqual(
          new Uint8Array([0, 255, 13, 10, 45, 45]),
        );

        // And a broken one puts all of it back, packages too.
        const was = everything(hub);
        draft(hub, "chat/index.ts", BROKEN);
        expect((await run(hub, "push", "out/chat")).exitCode).toBe(1);
        expect(everything(hub)).toEqual(was);
        expect(await hub.ask("CHAT")).toBe("from a package and here");

        // The files that come back are the sent ones.
        expect((await run(hub, "pull", "chat", "back")).stdout).toBe(
          "back/chat/data.bin\nback/chat/index.ts\nback/chat/lib/here.ts\nback/chat/package.json\n",
        );
        for (const file of ["data.bin", "package.json", "lib/here.ts"]) {
          expect(readFileSync(join(hub.dir, "back/chat", file))).toEqual(readFileSync(join(hub.dir, "out/chat", file)));
        }
      },
    ));

  test("sends several, each with its verdict, and fails if one does", () =>
    withHub({ "modules/b.ts": moduleSource('{ routes: { B: () => "old" } }') }, [], async (hub) => {
      draft(hub, "a.ts", moduleSource('{ routes: { A: () => "a" } }'));
      draft(hub, "b.ts", BROKEN);
      draft(hub, "c/index.ts", moduleSource('{ routes: { C: () => "c" } }'));
      const ran = await run(hub, "push", "out");
      expect(ran.exitCode).toBe(1);
      expect(ran.stdout).toMatch(/^OK a v1 loaded.*\nOK c v1 loaded/);
      expect(ran.stderr).toContain("b was not loaded");
      expect([await hub.ask("A"), await hub.ask("B"), await hub.ask("C")]).toEqual(["a", "old", "c"]);
      const json = await run(hub, "push", "out/a.ts", "out/c", "--json");
      expect((JSON.parse(json.stdout) as PushReport[]).map(({ ok, modules }) => [ok, modules])).toEqual([
        [true, []],
        [true, []],
      ]);
    }));

  test("replaces a file by a folder, and the other way round", () =>
    withHub({ "modules/m.js": 'export default { routes: { M: () => "file" } };' }, [], async (hub) => {
      draft(hub, "m/index.ts", moduleSource('{ routes: { M: () => "folder" } }'));
      expect((await run(hub, "push", "out/m")).exitCode).toBe(0);
      expect([readdirSync(join(hub.dir, "modules")), await hub.ask("M")]).toEqual([["m"], "folder"]);
      draft(hub, "m.ts", moduleSource('{ routes: { M: () => "file again" } }'));
      expect((await run(hub, "push", "out/m.ts")).exitCode).toBe(0);
      expect([readdirSync(join(hub.dir, "modules")), await hub.ask("M")]).toEqual([["m.ts"], "file again"]);
    }));

  test("of what is not a module says so before it asks any server", () =>
    withHub({ "modules/greet.ts": greet("v1") }, [], async (hub) => {
      draft(hub, "notes.txt", "x");
      draft(hub, "m/index.ts", greet("x"));
      mkdirSync(join(hub.dir, "empty"));
      for (const [path, told] of [
        ["out/nothing.ts", "there is no such file"],
        ["out/notes.txt", "its name is not that of a module"],
        ["empty", "it holds no index.ts and no modules"],
        ["out/m/index.ts", "Push its folder."],
      ] as const) {
        const { exitCode, stderr } = await run(hub, "push", "modules/greet.ts", path);
        expect([exitCode === 0, stderr]).toEqual([false, expect.stringContaining(told)]);
      }
      expect(existsSync(join(hub.dir, ".hrmr/audit.log"))).toBe(false);
    }));
});

describe("a push", () => {
  test("under load gives nobody a wrong answer: the old version or the new one, and the new one once it is told", () =>
    withHub({ "modules/greet.ts": greet("v0") }, [], async (hub) => {
      const wrong: string[] = [];
      let told = 0;
      let sent = 0;
      let count = 0;
      let isOver = false;
      const askOn = async (): Promise<void> => {
        const client = await hub.connect();
        while (!isOver) {
          const least = told;
          await client.clear().send("GREET\n");
          const answer = await client.waitFor("\n");
          const version = Number(/^v(\d+)\n$/.exec(answer)?.[1] ?? Number.NaN);
          if (!(version >= least && version <= sent))
            wrong.push(`${JSON.stringify(answer)} between v${least} and v${sent}`);
          count++;
          // A push has to build meanwhile.
          await Bun.sleep(2);
        }
      };
      const asking = Promise.all([askOn(), askOn(), askOn(), askOn()]);
      for (let version = 1; version <= 8; version++) {
        sent = version;
        const { status, body } = await ask(hub, "POST", "/v1/modules/greet", { body: greet(`v${version}`) });
        expect([status, body.ok]).toEqual([200, true]);
        told = version;
        expect((await ask(hub, "POST", "/v1/modules/greet", { body: BROKEN })).status).toBe(422);
      }
      isOver = true;
      await asking;
      expect(wrong).toEqual([]);
      expect(count).toBeGreaterThan(40);
    }));

  test("waits for the one before it: of many at once each has its own verdict, and the last files are those that serve", () =>
    withHub({ "modules/greet.ts": greet("v0") }, [], async (hub) => {
      const bodies = [greet("a"), BROKEN, greet("b"), BROKEN, greet("c")];
      const answers = await Promise.all(bodies.map((body) => ask(hub, "POST", "/v1/modules/greet", { body })));
      expect(answers.map(({ status }) => status)).toEqual([200, 422, 200, 422, 200]);
      const served = await hub.ask("GREET\n");
      expect(readFileSync(join(hub.dir, "modules/greet.ts"), "utf8")).toBe(greet(served.trim()));
    }));

  test("reaches all processes or none", () =>
    withHub({ "modules/greet.ts": greet("v1") }, ["--processes", "2"], async (hub) => {
      const answers = async () => new Set(await Promise.all(Array.from({ length: 24 }, () => hub.ask("GREET\n"))));
      expect((await run(hub, "push", draft(hub, "greet.ts", greet("v2")))).stdout).toContain("in 2 processes");
      expect(await answers()).toEqual(new Set(["v2\n"]));
      const was = everything(hub);
      const ran = await run(hub, "push", draft(hub, "greet.ts", BROKEN));
      expect([ran.exitCode, ran.stderr]).toEqual([1, expect.stringContaining("modules/greet.ts:1:52")]);
      expect(await answers()).toEqual(new Set(["v2\n"]));
      expect(everything(hub)).toEqual(was);
      expect((await run(hub, "remove", "greet")).exitCode).toBe(0);
      expect(await answers()).toEqual(new Set(['ERR no module is bound to "GREET"\n']));
    }));

  test("with --watch is loaded once, and a broken one is not seen by the watcher", () =>
    withHub({ "modules/greet.ts": greet("v1") }, ["--watch"], async (hub) => {
      expect((await run(hub, "push", draft(hub, "greet.ts", greet("v2")))).exitCode).toBe(0);
      expect((await run(hub, "push", draft(hub, "greet.ts", BROKEN))).exitCode).toBe(1);
      // The watcher speaks after a while: a change that it does load comes behind all that it could have to say of the
      // pushes.
      hub.write("modules/marker.ts", moduleSource('{ routes: { MARK: () => "m" } }'));
      await hub.program.waitFor("marker v1 loaded");
      const lines = hub.program.output().match(/(?:OK|ERR) .*/g) ?? [];
      expect(lines.filter((line) => line.startsWith("OK greet"))).toHaveLength(1);
      expect(lines.filter((line) => line.startsWith("ERR"))).toHaveLength(1);
      expect((await hub.status()).modules.find(({ name }) => name === "greet")).toMatchObject({
        generation: 2,
        state: "serving",
      });
    }));

  test("that a kill -9 cuts short leaves the old files at the next start", () =>
    withHub(
      { "modules/greet.ts": greet("v1"), "modules/chat/index.ts": moduleSource('{ routes: { CHAT: () => "c1" } }') },
      [],
      async (hub) => {
        utimesSync(join(hub.dir, "modules/greet.ts"), 1_600_000_000, 1_600_000_000);
        const was = everything(hub);
        // It comes as far as its setup, and stays there until the server is killed.
        const stuck = (key: string, word: string) =>
          `export default { routes: { ${key}: () => "new" }, setup() { console.log("${word}"); return new Promise(() => {}); } };`;
        const children = [hub.program];
        for (const [at, key] of ["greet", "chat"].entries()) {
          const server = children[at];
          if (server === undefined) throw new Error("There is no server.");
          const file = key === "greet" ? "greet.ts" : "index.ts";
          const pushed = ask(hub, "POST", `/v1/modules/${key}?file=${file}`, {
            body: stuck(key.toUpperCase(), `in setup of ${key}`),
          });
          pushed.catch(() => {});
          await server.waitFor(`in setup of ${key}`);
          expect(everything(hub)).not.toEqual(was);
          server.signal("SIGKILL");
          await server.exited;
          children.push(await startProgram(["--port", "0"], { cwd: hub.dir }));
          expect(children.at(-1)?.output()).toContain(`An upload of "${key}" was under way when the server was killed`);
          expect(everything(hub)).toEqual(was);
        }
        const last = children.at(-1);
        try {
          const port = last?.port ?? 0;
          expect([await askRaw(port, "GREET\n"), await askRaw(port, "CHAT")]).toEqual(["v1\n", "c1"]);
          expect(readdirSync(join(hub.dir, ".hrmr"))).not.toContain("upload.json");
        } finally {
          await last?.stop();
        }
      },
    ));

  test("of a version that was rolled back from brings it back, and a broken one leaves the rollback as it is", () =>
    withHub({ "modules/greet.ts": greet("v1") }, [], async (hub) => {
      const two = draft(hub, "greet.ts", greet("v2"));
      expect((await run(hub, "push", two)).exitCode).toBe(0);
      expect((await run(hub, "rollback", "greet")).exitCode).toBe(0);
      expect(await hub.ask("GREET\n")).toBe("v1\n");
      expect((await run(hub, "push", draft(hub, "broken/index.ts", BROKEN), "--json")).exitCode).not.toBe(0);
      expect((await ask(hub, "POST", "/v1/modules/greet", { body: BROKEN })).status).toBe(422);
      expect(await hub.ask("GREET\n")).toBe("v1\n");
      expect((await run(hub, "push", two)).exitCode).toBe(0);
      expect(await hub.ask("GREET\n")).toBe("v2\n");
      expect((await run(hub, "versions", "greet")).stdout).toContain("push");
    }));
});

describe("hrmr remove and hrmr pull", () => {
  test("take a module away, and fetch it", () =>
    withHub(
      { "modules/greet.ts": greet("v1"), "modules/keep.ts": moduleSource('{ routes: { K: () => "k" } }') },
      [],
      async (hub) => {
        expect(await runProgram(["pull", "greet"], { cwd: hub.dir })).toEqual({
          exitCode: 0,
          stdout: "greet.ts\n",
          stderr: "",
        });
        expect(readFileSync(join(hub.dir, "greet.ts"), "utf8")).toBe(greet("v1"));
        const ran = await runProgram(["remove", "greet"], { cwd: hub.dir });
        expect(ran).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^OK greet unloaded \(was v1\)/) });
        expect(readdirSync(join(hub.dir, "modules"))).toEqual(["keep.ts"]);
        expect(await hub.ask("GREET\n")).toContain("ERR no module");
        for (const command of ["remove", "pull"]) {
          const again = await run(hub, command, "greet");
          expect([again.exitCode, again.stderr]).toEqual([1, expect.stringContaining('There is no module "greet"')]);
        }
        expect((await run(hub, "push", "greet.ts")).exitCode).toBe(0);
        expect(await hub.ask("GREET\n")).toBe("v1\n");
      },
    ));

  test("a pull writes over nothing that is different, unless it is told to, and through no link", () =>
    withHub({ "modules/greet.ts": greet("v1"), "greet.ts": "mine" }, [], async (hub) => {
      const ran = await run(hub, "pull", "greet");
      expect([ran.exitCode, ran.stderr]).toEqual([1, expect.stringContaining("greet.ts is there, and is different.")]);
      expect(readFileSync(join(hub.dir, "greet.ts"), "utf8")).toBe("mine");
      expect((await run(hub, "pull", "greet", "--force")).exitCode).toBe(0);
      expect((await run(hub, "pull", "greet")).exitCode).toBe(0);
      expect(readFileSync(join(hub.dir, "greet.ts"), "utf8")).toBe(greet("v1"));
    }));

  test("a module that every request passes cannot be removed: its files are back", () =>
    withHub(
      {
        "modules/guard.ts":
          'export const middleware = (request, context, next) => next();\nexport default { routes: { GUARD: () => "g" } };',
        "hrmr.json": '{ "http": { "use": ["guard"] } }',
      },
      [],
      async (hub) => {
        const was = everything(hub);
        const ran = await run(hub, "remove", "guard");
        expect([ran.exitCode, ran.stderr]).toEqual([1, expect.stringContaining("http.use names it")]);
        expect(everything(hub)).toEqual(was);
        expect(await hub.ask("GUARD")).toBe("g");
      },
    ));
});

describe.skipIf(CURL === null)("curl (is it installed?)", () => {
  test("sends a file with -F and with --data-binary", () =>
    withHub({ "modules/greet.ts": greet("v1") }, [], async (hub) => {
      draft(hub, "greet.ts", greet("v2"));
      const form = await curl(hub, "-F", "file=@greet.ts", "http://hrmr/v1/modules/greet");
      expect(form).toMatchObject({
        status: 200,
        body: { ok: true, modules: [{ name: "greet", outcome: "swapped", version: 2 }] },
      });
      expect(form.body.hash).toBe((await hub.status()).modules.find(({ name }) => name === "greet")?.hash ?? "");
      expect(form.body.sha256).toMatch(/^[0-9a-f]{64}$/);
      draft(hub, "greet.ts", greet("v3"));
      const raw = await curl(hub, "--data-binary", "@greet.ts", "http://hrmr/v1/modules/greet");
      expect([raw.status, await hub.ask("GREET\n")]).toEqual([200, "v3\n"]);
      draft(hub, "greet.ts", BROKEN);
      const broken = await curl(hub, "-F", "file=@greet.ts", "http://hrmr/v1/modules/greet");
      expect(broken).toMatchObject({
        status: 422,
        body: { ok: false, modules: [{ error: expect.stringContaining("modules/greet.ts:1:52") }] },
      });
      expect(await hub.ask("GREET\n")).toBe("v3\n");
    }));

  test("sends a folder's files with their paths, fetches and deletes", () =>
    withHub({ "modules/greet.ts": greet("v1") }, [], async (hub) => {
      draft(hub, "index.ts", 'import { w } from "./lib/w"; export default { routes: { CHAT: () => w } };');
      draft(hub, "lib/w.ts", 'export const w = "ü -- \\r\\n";\r\n--xX--\r\n'.replace("--xX--", "// --xX--"));
      const form = ["-F", "file=@index.ts", "-F", "file=@lib/w.ts;filename=lib/w.ts"];
      expect((await curl(hub, ...form, "http://hrmr/v1/modules/chat")).status).toBe(200);
      expect(await hub.ask("CHAT")).toBe("ü -- \r\n");
      const { body } = await ask<ModuleFiles>(hub, "GET", "/v1/modules/chat/files");
      expect(body).toEqual({
        module: "chat",
        files: [
          { path: "chat/index.ts", encoding: "utf8", content: readFileSync(join(hub.dir, "out/index.ts"), "utf8") },
          { path: "chat/lib/w.ts", encoding: "utf8", content: readFileSync(join(hub.dir, "out/lib/w.ts"), "utf8") },
        ],
        skipped: [],
      });
      const raw = await curl(
        hub,
        "--data-binary",
        "@index.ts",
        "-H",
        "X-File-Name: index.ts",
        "http://hrmr/v1/modules/two",
      );
      expect(raw).toMatchObject({ status: 422, body: { modules: [{ error: expect.stringContaining("./lib/w") }] } });
      expect((await curl(hub, "-X", "DELETE", "http://hrmr/v1/modules/chat")).status).toBe(200);
      expect(readdirSync(join(hub.dir, "modules"))).toEqual(["greet.ts"]);
    }));
});

describe("an upload is refused, and nothing is touched,", () => {
  const tricks: [string, string, RequestInit, number, string][] = [
    ["for a name with dots", "/v1/modules/%2e%2e%2fx", { body: "x" }, 400, "not a name for a module"],
    ["for a name that is a path", "/v1/modules/..%2f..%2fetc%2fx", { body: "x" }, 400, "not a name for a module"],
    ["for a name with a NUL", "/v1/modules/greet%00", { body: "x" }, 400, "not a name for a module"],
    ["for a name that is not encoded well", "/v1/modules/%ff", { body: "x" }, 400, "not encoded well"],
    ["for a reserved name", "/v1/modules/lib", { body: "x" }, 400, "not a name for a module"],
    ["for a helper's name", "/v1/modules/_helper", { body: "x" }, 400, "not a name for a module"],
    [
      "for a name that differs in case",
      "/v1/modules/Greet",
      { body: "x" },
      422,
      "differs only in upper and lower case",
    ],
    ["for a path with ..", "/v1/modules/greet", multipart("index.ts", "../other.ts"), 400, "dots in place"],
    ["for a path with .. behind the name", "/v1/modules/greet", multipart("greet/../other.ts"), 400, "dots in place"],
    ["for an absolute path", "/v1/modules/greet", multipart("/tmp/greet.ts"), 400, "begins or ends with a slash"],
    ["for a path of Windows", "/v1/modules/greet", multipart("lib\\\\other.ts"), 400, "not every system"],
    ["for a drive of Windows", "/v1/modules/greet", multipart("C:greet.ts"), 400, "not every system"],
    ["for a device of Windows", "/v1/modules/greet", multipart("index.ts", "aux.ts"), 400, "device"],
    ["for a NUL in a path", "/v1/modules/greet", multipart("greet.ts\0.png"), 400, "not every system"],
    ["for a line end in a path", "/v1/modules/greet?file=a%0ab.ts", { body: "x" }, 400, "not every system"],
    [
      "for packages",
      "/v1/modules/greet",
      multipart("index.ts", "node_modules/p/index.js"),
      400,
      "packages are not sent",
    ],
    ["for a hidden file", "/v1/modules/greet", multipart("index.ts", ".env"), 400, "begins with a dot"],
    ["for two files that differ in case", "/v1/modules/greet", multipart("index.ts", "a.ts", "A.ts"), 400, "one file"],
    ["for another module's file", "/v1/modules/greet", multipart("other.ts"), 400, "not the module greet"],
    ["for a link in the file's place", "/v1/modules/linked", { body: "x" }, 422, "symbolic link"],
    [
      "for a part without a filename",
      "/v1/modules/greet",
      {
        headers: { "Content-Type": "multipart/form-data; boundary=xX" },
        body: '--xX\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--xX--\r\n',
      },
      400,
      'the part "file" has no filename',
    ],
    [
      "for a body without its end",
      "/v1/modules/greet",
      {
        headers: { "Content-Type": "multipart/form-data; boundary=xX" },
        body: '--xX\r\nContent-Disposition: form-data; name="file"; filename="greet.ts"\r\n\r\nx',
      },
      400,
      "its end is missing",
    ],
    [
      "for a body without a boundary",
      "/v1/modules/greet",
      { headers: { "Content-Type": "multipart/form-data" }, body: "x" },
      400,
      "names no boundary",
    ],
    [
      "for a body with nothing in it",
      "/v1/modules/greet",
      { headers: { "Content-Type": "multipart/form-data; boundary=xX" }, body: "--xX--\r\n" },
      400,
      "There is no file in it",
    ],
    ["for a module that is switched off", "/v1/modules/off", { body: greet("x") }, 422, "modules.off.enabled is false"],
    ["for too many bytes", "/v1/modules/greet", { body: "x".repeat(5001) }, 413, "larger than 5000 bytes"],
    [
      "for too many bytes of unknown number",
      "/v1/modules/greet",
      { body: new Blob(["x".repeat(9000)]).stream() },
      413,
      "larger than 5000 bytes",
    ],
    [
      "for too many bytes in parts",
      "/v1/modules/greet",
      multipart("index.ts", ...Array.from({ length: 40 }, (_, at) => `${at}.ts`)),
      413,
      "more than 20 files",
    ],
    [
      "for too many files",
      "/v1/modules/greet",
      multipart(...Array.from({ length: 21 }, (_, at) => `${at}.ts`)),
      413,
      "more than 20 files",
    ],
  ];
  const config = { control: { maxUploadBytes: 5000, maxUploadFiles: 20 }, modules: { off: { enabled: false } } };

  test("by all of these tricks", () =>
    withHub(
      {
        "modules/greet.ts": greet("v1"),
        "modules/other.ts": moduleSource('{ routes: { O: () => "o" } }'),
        "victim.ts": "x",
        "hrmr.json": JSON.stringify(config),
      },
      [],
      async (hub) => {
        symlinkSync(join(hub.dir, "victim.ts"), join(hub.dir, "modules/linked.ts"));
        const was = everything(hub);
        const around = () => readdirSync(hub.dir).sort();
        const beside = around();
        for (const [what, route, init, status, told] of tricks) {
          const answer = await ask<Refusal>(hub, "POST", route, init);
          expect([what, answer.status, answer.body.error + answer.body.hint]).toEqual([
            what,
            status,
            expect.stringContaining(told),
          ]);
          expect([what, everything(hub), around()]).toEqual([what, was, beside]);
        }
        expect(readFileSync(join(hub.dir, "victim.ts"), "utf8")).toBe("x");
        expect([await hub.ask("GREET\n"), await hub.ask("O")]).toEqual(["v1\n", "o"]);
        expect((await ask(hub, "POST", "/v1/modules/greet", { body: greet("v2") })).status).toBe(200);
      },
    ));

  test("when a file has the name of the folder that it needs", () =>
    withHub({ "modules/greet.ts": greet("v1") }, [], async (hub) => {
      writeFileSync(join(hub.dir, "modules/.hrmr"), "");
      const { status, body } = await ask<Refusal>(hub, "POST", "/v1/modules/greet", { body: greet("v2") });
      expect([status, body.error]).toEqual([422, expect.stringContaining("modules/.hrmr is in the way")]);
      expect(await hub.ask("GREET\n")).toBe("v1\n");
    }));
});

describe("the audit log", () => {
  test("has a line for each push, removal, reload and stop, with who, what and how it went", () =>
    withHub({ "modules/greet.ts": greet("v1") }, [], async (hub) => {
      const pushed = await ask(hub, "POST", "/v1/modules/greet", { body: greet("v2") });
      await ask(hub, "POST", "/v1/modules/greet", { body: BROKEN });
      await ask(hub, "POST", "/v1/modules/lib", { body: "x" });
      await ask(hub, "GET", "/v1/status");
      // Neither finds anything new, and both are left out.
      await run(hub, "reload");
      await hub.ask("RELOAD\n");
      hub.write("modules/greet.ts", greet("v3"));
      await run(hub, "reload");
      hub.write("modules/greet.ts", greet("v4"));
      await hub.ask("RELOAD\n");
      await ask(hub, "DELETE", "/v1/modules/greet");
      await run(hub, "stop");
      const lines = audit(hub);
      expect(lines.map(({ action, modules, ok }) => [action, modules, ok])).toEqual([
        ["push", ["greet"], true],
        ["push", ["greet"], false],
        ["push", ["lib"], false],
        ["reload", null, true],
        ["reload", null, true],
        ["remove", ["greet"], true],
        ["stop", null, true],
      ]);
      const who = process.platform === "linux" ? `uid ${process.getuid?.()} by the control socket` : "control socket";
      expect(lines.map(({ by }) => by)).toEqual([
        who,
        who,
        who,
        who,
        expect.stringMatching(/^RELOAD of 127\.0\.0\.1 \(#\d+\)$/),
        who,
        who,
      ]);
      expect(lines[0]).toMatchObject({
        hash: pushed.body.hash,
        upload: pushed.body.sha256,
        verdict: expect.stringMatching(/^OK greet v2 \(was v1\) swapped/),
      });
      expect(lines[1]).toMatchObject({
        hash: pushed.body.hash,
        verdict: 'modules/greet.ts:1:52: Expected "}" but found ";"',
      });
      expect(lines[5]).toMatchObject({ hash: null, upload: null });
      for (const { time } of lines) expect(Date.parse(String(time))).toBeGreaterThan(Date.now() - 60_000);
      expect((statSync(join(hub.dir, ".hrmr/audit.log")).mode & 0o777).toString(8)).toBe("600");
    }));
});
