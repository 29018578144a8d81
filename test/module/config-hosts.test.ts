/** `config: schema` of modules in a running server: in each host, at a start, at a reload and in `hrmr validate`. */
import { expect, test } from "bun:test";
import { shareHub, withHub } from "../support/hub";
import { runProgram } from "../support/program";

/** Answers with its settings. */
function mailer(key: string, run: string, more = ""): string {
  return `import { defineModule } from "hrmr";
import { z } from "zod";
export default defineModule({
  config: z.object({ port: z.number().default(25), host: z.string().transform((host) => host.toUpperCase()) }),
  setup: ({ config }) => config.host,
  routes: {
    "${key}": { framing: "line", run: "${run}", handle: (message, { config, state }) => JSON.stringify({ ...config, state }) + "\\n" },
  },${more}
});
`;
}

const GOOD = `{
  "modules": {
    "here": { "host": "a" },
    "there": { "host": "a", "port": 1, "run": "inline" },
    "away": { "host": "a" },
    "plain": { "port": "as it is" }
  }
}`;

const FILES = {
  "hrmr.json": GOOD,
  "modules/here.ts": mailer("HERE", "inline"),
  "modules/there.ts": mailer("THERE", "pool"),
  "modules/away.ts": mailer("AWAY", "process"),
  "modules/app.ts": `import { z } from "zod";
export const config = z.object({ name: z.string().default("app") });
export default { fetch: (request, { config }) => new Response(config.name) };
`,
  // Of another framework.
  "modules/other.ts":
    'export const config = { runtime: "edge" };\nexport default { routes: { "OTHER": () => "other\\n" } };\n',
  "modules/plain.ts": 'export default { routes: { "PLAIN": (_, { config }) => JSON.stringify(config) + "\\n" } };\n',
};
const run = shareHub(FILES);

const answerOf = (port: number, host: string) => `${JSON.stringify({ port, host, state: host })}\n`;

test("context.config is the schema's output in every host, and the settings as they are without one", () =>
  run(async (hub) => {
    expect(await hub.ask("HERE\n")).toBe(answerOf(25, "A"));
    expect(await hub.ask("THERE\n")).toBe(answerOf(1, "A"));
    expect(await hub.ask("AWAY\n")).toBe(answerOf(25, "A"));
    expect(await hub.ask("PLAIN\n")).toBe('{"port":"as it is"}\n');
    expect(await (await fetch(`${hub.url}/any`)).text()).toBe("app");
    expect(await hub.ask("OTHER\n")).toBe("other\n");
  }));

test("settings that do not fit refuse the version at a reload, with file, line and path, and the old one serves", () =>
  run(async (hub) => {
    const wrong = GOOD.replace('"here": { "host": "a" }', '"here": { "host": 3, "port": "hunter2" }').replace(
      '"away": { "host": "a" }',
      '"away": { "port": 1 }',
    );
    hub.write("hrmr.json", wrong);
    const verdict = await hub.ask("RELOAD");
    expect(verdict).toMatch(/^ERR/);
    expect(verdict).toContain("hrmr.json:3:26: modules.here.port: Invalid input: expected number, received string");
    expect(verdict).toContain("hrmr.json:3:15: modules.here.host: Invalid input: expected string, received number");
    // A missing key is told at the module.
    expect(verdict).toContain("hrmr.json:5:5: modules.away.host: Invalid input: expected string, received undefined");
    expect(verdict).not.toContain("hunter2");
    expect(await hub.ask("HERE\n")).toBe(answerOf(25, "A"));
    expect(await hub.ask("AWAY\n")).toBe(answerOf(25, "A"));

    hub.write("hrmr.json", GOOD.replaceAll('"host": "a"', '"host": "b"'));
    expect(await hub.ask("RELOAD")).toMatch(/^OK/);
    expect(await hub.ask("HERE\n")).toBe(answerOf(25, "B"));
    expect(await hub.ask("AWAY\n")).toBe(answerOf(25, "B"));
  }));

test("a changed schema refuses the version, too", () =>
  run(async (hub) => {
    const before = await hub.ask("HERE\n");
    hub.write(
      "modules/here.ts",
      mailer("HERE", "inline").replace("z.string().transform", "z.string().min(9).transform"),
    );
    const verdict = await hub.ask("RELOAD here\n");
    expect(verdict).toMatch(/^ERR/);
    expect(verdict).toMatch(/hrmr\.json:3:15: modules\.here\.host: Too small/);
    expect(await hub.ask("HERE\n")).toBe(before);
    hub.write("modules/here.ts", mailer("HERE", "inline"));
    expect(await hub.ask("RELOAD here\n")).toMatch(/^OK/);
  }));

test("a start serves the other modules and tells the mistake, and hrmr validate tells it too", () =>
  withHub(
    {
      ...FILES,
      ".env": "HRMR_MODULES_HERE_PORT=77\nHRMR_MODULES_THERE_PROT=1\n",
      "hrmr.json": '{ "modules": { "here": { "host": "a" }, "there": { "host": "a" },\n "away": { "port": "1" } } }',
    },
    [],
    async (hub) => {
      const told = "hrmr.json:2:12: modules.away.port: Invalid input: expected number, received string";
      expect(hub.program.output()).toContain(told);
      const unknown = "HRMR_MODULES_THERE_PROT in .env: modules.there has no setting for this variable";
      expect(hub.program.output()).toContain(unknown);
      expect(await hub.ask("HERE\n")).toBe(answerOf(77, "A"));
      const { exitCode, stdout, stderr } = await runProgram(["validate"], { cwd: hub.dir });
      expect(exitCode).toBe(1);
      expect(stdout + stderr).toContain(told);
      expect(stdout + stderr).toContain("hrmr.json:2:2: modules.away.host: Invalid input");
    },
  ));
