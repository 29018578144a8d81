/**
 * Every command that a page, a comment of a module or the program itself tells a reader to type is typed here, as it
 * stands, in a project of its own. Only the port is another one.
 */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import {
  commentCommands,
  fencedCommands,
  htmlCommands,
  type PageCommand,
  PageShell,
  printedCommands,
  quotedCommands,
} from "./support/page-commands";
import { RawClient } from "./support/client";
import { runProgram } from "./support/program";
import { POSTGRES_MISSING, startPostgres } from "./support/store/postgres";
import { processesIn } from "./support/supervised";
import { until } from "./support/until";
import { callProgram } from "./support/call-program";

const ROOT = resolve(import.meta.dir, "..");
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");
const filesIn = (folder: string, ending: RegExp): string[] =>
  readdirSync(join(ROOT, folder))
    .filter((name) => ending.test(name))
    .map((name) => `${folder}/${name}`);

/** Commands that no test types, each with its reason. A command that stands on no page any more must go from here. */
const NOT_TYPED = new Map<string, string>(
  Object.entries({
    "npm install && npm start": "test/docs.test.ts asks the server of the checkout, and CI installs",
    "npm install && npm test": "it is what runs this test",
    "npm run build": "CI builds the program that this test types",
    "docker build":
      "there is no Docker in CI; test/supervise/container-image.test.ts looks at what the image would hold",
    "docker run": "as above",
    "install -m 755 hrmr /usr/local/bin/hrmr": "it needs root, and changes the machine",
    "hrmr init /srv/hub && cd /srv/hub": "as above",
    "hrmr service --user hrmr --install":
      "as above; test/supervise/systemd/service.test.ts installs into a folder of its own",
    "hrmr service --install": "as above",
    systemctl: "there is no systemd in CI",
    "hrmr push greet.ts --server tls://hub.example":
      "the host is an example; test/reload/upload/tcp.test.ts pushes over TLS",
    "hrmr status --server tls://hub.example": "as above",
    'curl -H "Authorization: Bearer $(cat token)" -F file=@greet.ts https://hub.example': "as above",
    "hrmr rollback greet v5": "the number is an example; test/reload/versions/rollback.test.ts goes back to one",
    "hrmr reload --json | jq": "jq may be missing; test/control/cli.test.ts looks at the JSON",
    "hrmr status --json | jq": "as above",
    "nc -N localhost 8080 # in two terminals": "it waits for a person; test/examples.test.ts talks in this room",
  }),
);

function reasonNot(text: string): string | undefined {
  const plain = text.replaceAll(/\s+/g, " ");
  const key = [...NOT_TYPED.keys()].find((each) => plain.startsWith(each));
  return key === undefined ? undefined : NOT_TYPED.get(key);
}

/** Types all of them in order; the reply that the page shows must be in the output. */
async function typeAll(shell: PageShell, commands: readonly PageCommand[]): Promise<void> {
  for (const { text, reply } of commands) {
    if (reasonNot(text) !== undefined) continue;
    const output = await shell.type(text);
    if (reply !== null) expect(`${text}\n${withoutNumbers(output)}`).toContain(withoutNumbers(reply));
  }
}

/** Times and counts are others each time; those of a reply that is all number are looked at. */
function withoutNumbers(text: string): string {
  const line = text.replaceAll(/\s+/g, " ");
  return /^(?:OK|ERR) /.test(line) ? line.replaceAll(/\d+/g, "N").replaceAll("modules", "module") : line;
}

function nameOf(pid: number): string {
  return readFileSync(`/proc/${pid}/comm`, "utf8");
}

async function withShell(
  files: Record<string, string>,
  start: string | null,
  run: (shell: PageShell) => Promise<void>,
): Promise<void> {
  const shell = new PageShell(files);
  try {
    if (start !== null) await shell.type(start);
    await run(shell);
  } finally {
    await shell.close();
  }
}

const SHIPPED = Object.fromEntries(
  [...filesIn("modules", /\.ts$/), ...filesIn("static_html", /./)].map((path): [string, string] => [path, read(path)]),
);
const GREET = { "modules/greet.ts": read("examples/init/modules/greet.ts") };
/** The module of the README's picture. */
const GREET_LINE = `import { defineModule } from "hrmr";

export default defineModule({
  routes: { "GREET ": { framing: "line", handle: (message) => \`Hello, \${message.text.slice(6)}\\n\` } },
});
`;
const VERSION_2 = GREET["modules/greet.ts"].replace("Hello,", "Good day,");

/** Asks GREET bob over and over on one connection, each time as soon as it has its answer. */
class Asker {
  #isOver = false;
  readonly #answers: Promise<Set<string>>;

  constructor(port: number) {
    this.#answers = this.#ask(port);
    // A failure is for `end` to tell.
    this.#answers.catch(() => {});
  }

  async #ask(port: number): Promise<Set<string>> {
    const client = await RawClient.connect(port);
    const answers = new Set<string>();
    try {
      while (!this.#isOver) {
        await client.send("GREET bob\n");
        answers.add(await client.waitFor("\n"));
        client.clear();
      }
    } finally {
      client.close();
    }
    return answers;
  }

  /** @returns the different answers, in the order of their first coming */
  async end(): Promise<string[]> {
    this.#isOver = true;
    return [...(await this.#answers)];
  }
}

describe("the commands of", () => {
  test("README.md", () =>
    withShell(SHIPPED, "hrmr start", async (shell) => {
      const [, , minute = []] = fencedCommands(read("README.md"));
      expect(minute.length).toBeGreaterThan(4);
      await typeAll(shell, minute);
    }));

  test("README.md's picture of a reload, while clients ask without a pause", () =>
    withShell({ ...SHIPPED, "modules/greet.ts": GREET_LINE }, "hrmr start", async (shell) => {
      const picture = /^```text\n([\s\S]*?)^```/m.exec(read("README.md"))?.[1] ?? "";
      const shown = picture.split(/^ +\$ /m).slice(1);
      expect(shown).toHaveLength(2);
      const askers = Array.from({ length: 10 }, () => new Asker(shell.port));
      for (const block of shown) {
        const [command = "", ...lines] = block.split("\n").map((line) => line.trim());
        const output = withoutNumbers(`OK ${await shell.type(command)}`);
        const replies = lines.filter((line) => line !== "" && !/^\d+ s /.test(line));
        expect(replies.length).toBeGreaterThan(0);
        for (const reply of replies) expect(output).toContain(withoutNumbers(`OK ${reply}`).slice("OK ".length));
      }
      for (const asker of askers) expect(await asker.end()).toEqual(["Hello, bob\n", "Good day, bob\n"]);
    }));

  test("docs/start.md, up to a project of one's own", () =>
    withShell(SHIPPED, "hrmr start", async (shell) => {
      const [minute = [], reload = [], own = []] = fencedCommands(read("docs/start.md"));
      expect(minute.length).toBeGreaterThan(3);
      await typeAll(shell, [...minute, ...reload]);
      await typeAll(
        shell,
        quotedCommands("`hrmr send RELOAD`").map((text) => ({ text, reply: "OK" })),
      );
      expect(own.length).toBeGreaterThan(1);
      await shell.type("hrmr stop");
      await typeAll(shell, own);
    }));

  test("docs/start.md, about TLS and running it for others", () =>
    withShell({}, null, async (shell) => {
      await shell.type("hrmr init .");
      const [, , , tls = [], operating = []] = fencedCommands(read("docs/start.md"));
      expect(tls.map(({ text }) => text.split(" ")[0])).toEqual(["hrmr", "hrmr", "curl"]);
      await typeAll(shell, tls);
      await shell.type("hrmr stop");
      expect(operating.length).toBeGreaterThan(5);
      await typeAll(shell, operating);
    }));

  const settingsIn = (source: string): string[] =>
    [...source.slice(0, source.indexOf("*/")).matchAll(/^ \*\s+("(?:http|modules)": \{.*\}),?$/gm)].map(
      (match) => match[1] ?? "",
    );
  const commented = [...filesIn("modules", /\.ts$/), ...filesIn("examples", /\.ts$/), ...filesIn("examples/c", /\.c$/)];

  /** With the settings that the comments tell of. */
  const typeComments = (paths: readonly string[]): Promise<void> => {
    const sources = paths.map((path): [string, string] => [path, read(path)]);
    const settings = sources.flatMap(([, source]) => settingsIn(source));
    const programs = filesIn("examples", /\.py$/).map((path): [string, string] => [
      `modules/${basename(path)}`,
      read(path),
    ]);
    const files = sources.map(([path, source]): [string, string] => [`modules/${basename(path)}`, source]);
    return withShell(
      { ...Object.fromEntries([...files, ...programs]), "hrmr.json": `{ ${settings.join(", ")} }` },
      "hrmr start",
      async (shell) => {
        for (const [path, source] of sources) {
          const commands = commentCommands(source);
          expect([path, commands.length > 0]).toEqual([path, true]);
          await typeAll(shell, commands);
        }
      },
    );
  };

  test("the modules and examples, all in one server", () =>
    typeComments(commented.filter((path) => settingsIn(read(path)).length === 0)));

  test.each(commented.filter((path) => settingsIn(read(path)).length > 0))("%s, with its settings", (path) =>
    typeComments([path]),
  );

  test("hrmr init, its modules, its page and hrmr new", () =>
    withShell({}, null, async (shell) => {
      const [start, ...next] = printedCommands(await shell.type("hrmr init 'my hub'"));
      expect(start?.text).toStartWith("cd 'my hub' && hrmr ");
      expect(next.map(({ text }) => text.split(" # ")[0]?.trim())).toEqual(["hrmr send HELLO", "hrmr new NAME"]);
      await shell.type("cd 'my hub'");
      await shell.type(start?.text.replace("cd 'my hub' && ", "") ?? "");
      await typeAll(shell, next);
      for (const path of filesIn("examples/init/modules", /\.ts$/)) await typeAll(shell, commentCommands(read(path)));
      const page = htmlCommands(read("examples/init/static_html/index.html"));
      expect(page.length).toBeGreaterThan(3);
      await typeAll(shell, page);
      const added = printedCommands(await shell.type("hrmr new wave"));
      expect(added.map(({ text }) => text.split(" # ")[0]?.trim())).toEqual(["hrmr reload", "hrmr send 'WAVE bob'"]);
      await typeAll(shell, added);
      await typeAll(shell, printedCommands(await shell.type("hrmr new sea --c")));
    }));

  test("docs/tutorial.md, from the first command to the last", () =>
    withShell({}, null, async (shell) => {
      const [page = "", move = ""] = read("docs/tutorial.md").split(/^(?=## Move to PostgreSQL)/m);
      const commands = fencedCommands(page).flat();
      expect(commands.length).toBeGreaterThan(15);
      await typeAll(shell, commands);
      if (POSTGRES_MISSING === null) await moveToPostgres(shell, move);
    }));

  /** Types the last section of the tutorial, with a PostgreSQL of the test. The bot must lose no point. */
  async function moveToPostgres(shell: PageShell, page: string): Promise<void> {
    const server = await startPostgres();
    try {
      const url = await server.fresh();
      const sql = /```sql\n([\s\S]*?)```/.exec(page)?.[1] ?? "";
      for (const statement of sql.split(";\n").filter((each) => each.trim() !== "")) await server.ask(url, statement);
      const { port } = new URL(url);
      const moves = fencedCommands(page).flat();
      expect(moves.length).toBeGreaterThan(7);
      await typeAll(
        shell,
        moves.map(({ text, reply }) => ({ text: text.replace("@localhost/", `@127.0.0.1:${port}/`), reply })),
      );
      const log = (): string => shell.read("hub/ada.log");
      const played = log().length;
      await until("the bot to play on", () => /'points'/.test(log().slice(played)));
      expect(log()).not.toContain("Traceback");
      const points = [...log().matchAll(/'points': (\d+)/g)].map(([, found]) => Number(found));
      expect(points).toEqual([...new Set(points)].toSorted((a, b) => a - b));
      const asked = `SELECT text FROM hrmr_documents WHERE collection = 'scores' AND convert_from(id, 'UTF8') = 'ada'`;
      const [row] = await server.ask(url.replace(/\/postgres\?.*/, "/hub"), asked);
      expect((JSON.parse(String(row?.["text"])) as { points: number }).points).toBeGreaterThanOrEqual(
        points.at(-1) ?? 0,
      );
    } finally {
      // The bot plays on.
      for (const pid of processesIn(join(shell.dir, "hub")).filter((each) => nameOf(each).startsWith("python")))
        process.kill(pid);
      await shell.type("hrmr stop --force").catch(() => {});
      await server.remove();
    }
  }

  test("static_html/index.html", () =>
    withShell(SHIPPED, "hrmr start", async (shell) => {
      const commands = htmlCommands(read("static_html/index.html"));
      expect(commands.map(({ text }) => text)).toContain("cd hub && hrmr --port 8081");
      await typeAll(
        shell,
        commands.filter(({ text }) => !text.includes("cd hub")),
      );
      // The second server, beside the first one.
      const second = new PageShell();
      try {
        await typeAll(
          second,
          commands.filter(({ text }) => /init|cd hub/.test(text)),
        );
      } finally {
        await second.close();
      }
    }));

  /** The reader's earlier steps, by the number of the block. */
  type Before = Record<number, (shell: PageShell) => Promise<unknown>>;
  const CHAT = VERSION_2.replaceAll("GREET ", "CHAT ").replaceAll("FIB ", "CHATFIB ");
  const PAGES: [page: string, files: Record<string, string>, before: Before][] = [
    ["docs/access.md", GREET, {}],
    [
      "docs/c-modules.md",
      {},
      // The mistake that the page shows.
      {
        1: async (shell) =>
          shell.write("modules/hello.c", shell.read("modules/hello.c").replace("request->bytes", "request->byte")),
      },
    ],
    ["docs/control.md", GREET, { 1: (shell) => shell.ended().then(() => shell.type("hrmr start")) }],
    // The module that the page shows.
    ["docs/mcp.md", { "modules/weather.ts": /```ts\n([\s\S]*?)```/.exec(read("docs/mcp.md"))?.[1] ?? "" }, {}],
    ["docs/operating.md", GREET, {}],
    // As above.
    ["docs/rpc.md", { "modules/kv.ts": /```ts\n([\s\S]*?)```/.exec(read("docs/rpc.md"))?.[1] ?? "" }, {}],
    ["docs/store.md", { "modules/scores.ts": /```ts\n([\s\S]*?)```/.exec(read("docs/store.md"))?.[1] ?? "" }, {}],
    ["docs/store-http.md", { "hrmr.json": /```json\n([\s\S]*?)```/.exec(read("docs/store-http.md"))?.[1] ?? "" }, {}],
    ["docs/store-resp.md", { "hrmr.json": /```json\n([\s\S]*?)```/.exec(read("docs/store-resp.md"))?.[1] ?? "" }, {}],
    ["docs/store-rpc.md", { "hrmr.json": /```json\n([\s\S]*?)```/.exec(read("docs/store-rpc.md"))?.[1] ?? "" }, {}],
    ["docs/systemd.md", GREET, {}],
    [
      "docs/upload.md",
      { ...GREET, "greet.ts": VERSION_2, "index.ts": CHAT, "lib/words.json": "{}", "chat/index.ts": CHAT },
      {},
    ],
    ["docs/versions.md", { ...GREET, "greet.ts": VERSION_2 }, { 0: (shell) => shell.type("hrmr push greet.ts") }],
  ];

  /** Debian's redis-tools may be missing on a reader's machine; CI installs it. */
  const runnable = PAGES.filter(([page]) => page !== "docs/store-resp.md" || Bun.which("redis-cli") !== null);

  test.each(runnable)("%s", async (page, files, before) => {
    const blocks = fencedCommands(read(page));
    expect(blocks.flat().length).toBeGreaterThan(1);
    await withShell({ ...files, "modules/_lib.ts": "" }, "hrmr start", async (shell) => {
      for (const [at, block] of blocks.entries()) {
        await before[at]?.(shell);
        await typeAll(shell, block);
      }
    });
  });

  test("every page that has commands is above", () => {
    const withCommands = filesIn("docs", /\.md$/).filter((path) => fencedCommands(read(path)).flat().length > 0);
    expect(withCommands.sort()).toEqual([...PAGES.map(([page]) => page), "docs/start.md", "docs/tutorial.md"].sort());
  });

  test("the examples in all helps are existing commands", async () => {
    const all = (await runProgram(["help"])).stdout;
    expect((await callProgram(["help"])).stdout).toBe(all);
    const names = [...(all.split("COMMANDS")[1] ?? "").matchAll(/^ {2}(\w+) /gm)].map((match) => match[1] ?? "");
    for (const name of names) {
      const quoted = quotedCommands((await callProgram(["help", name])).stdout.replaceAll(/\s+/g, " "));
      expect(quoted.filter((text) => !names.includes(text.split(" ")[1] ?? "start"))).toEqual([]);
    }
  });

  test("the list of commands that are not run has no stale entries", () => {
    const onPages = ["README.md", ...filesIn("docs", /\.md$/)].flatMap((path) => fencedCommands(read(path)).flat());
    const inComments = [...filesIn("examples", /\.ts$/), ...filesIn("modules", /\.ts$/)].flatMap((path) =>
      commentCommands(read(path)),
    );
    const plain = [...onPages, ...inComments].map(({ text }) => text.replaceAll(/\s+/g, " "));
    expect([...NOT_TYPED.keys()].filter((key) => !plain.some((text) => text.startsWith(key)))).toEqual([]);
  });
});

test("no page and no comment tells nc without -N, which waits for ever on Debian", () => {
  const paths = ["README.md", "src/module/hrmr.h", ...filesIn("docs", /\.md$/), ...filesIn("static_html", /\.html$/)];
  for (const folder of ["modules", "examples", "examples/c", "examples/init/modules", "examples/init/static_html"]) {
    paths.push(...filesIn(folder, /\.(?:ts|c|html)$/));
  }
  const wrong = paths.flatMap((path) =>
    [...read(path).matchAll(/(?:\||^|\s)nc +(?!.*-N)[\w<-].*/gm)]
      .filter(([line]) => /\d{4}|data-port/.test(line))
      .map(([line]) => `${path}: ${line}`),
  );
  expect(wrong).toEqual([]);
});
