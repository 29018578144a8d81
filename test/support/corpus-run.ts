/**
 * One server, and the bad modules of corpus.ts one after another. A good module beside them answers all the time, the
 * cause is named, and the process is the same at the end. Also run against the binary (HRMR_BIN).
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { basename, extname } from "node:path";
import { ask, RawClient } from "./client";
import { type BadModule, NEAR } from "./corpus";
import { Hub, makeProject } from "./hub";
import { startProgram } from "./program";
import { until, UNTIL_MS } from "./until";

/** The result of the load on the neighbours. */
interface Tally {
  answered: number;
  wrong: string[];
}

/** Between two questions of one client, so that the server has the machine. In milliseconds. */
const PACE_MS = 20;

/** Defines the tests of one file: one server, and all of `corpus` one after another. */
export function testCorpus(corpus: readonly BadModule[]): void {
  let hub: Hub;
  let near: NearClients;

  beforeAll(async () => {
    const settings = corpus
      .filter((module) => module.settings !== undefined)
      .map((module) => [nameOf(module), module.settings]);
    const config = { timeouts: { drainMs: 300 }, modules: Object.fromEntries(settings) as object };
    const files = {
      "modules/near.ts": NEAR,
      "modules/lib/words.ts": "export const a = 1;\n",
      "hrmr.json": JSON.stringify(config),
    };
    const dir = makeProject(files);
    try {
      hub = new Hub(dir, await startProgram(["--port", "0", "--threads", "2"], { cwd: dir }));
    } catch (error) {
      rmSync(dir, { recursive: true, force: true });
      throw error;
    }
    near = await NearClients.start(hub);
  });

  afterAll(async () => {
    await near?.stop();
    await hub?.stop();
  });

  describe("the module next door answers, and the cause is told:", () => {
    test.each(corpus.map((module) => [module.title, module] as const))("%s", async (_, module) => {
      const before = near.answered;
      const said = hub.program.output().length;
      hub.write(`modules/${module.file}`, module.source);
      try {
        const verdict = await hub.ask(`RELOAD ${nameOf(module)}\n`);
        expect(verdict).toMatch(module.verdict);
        if (verdict.startsWith("ERR")) expect(verdict).toContain(nameOf(module));
        for (const [question, reply] of module.asked ?? []) expect(await answerTo(hub, question)).toMatch(reply);
        if (module.log !== undefined) await saidSince(hub, said, module.log);
      } catch (error) {
        // The next module must not find anything that this one left.
        await takeAway(hub, module);
        throw error;
      }
      expect(await takeAway(hub, module)).toStartWith("OK");
      if (module.logAfter !== undefined) await saidSince(hub, said, module.logAfter);
      await near.oneMoreThan(before);
      expect(near.wrong).toEqual([]);
    });
  });

  test("after all of them the server is the same process, serves only what is right, and no question was answered wrongly", async () => {
    await near.stop();
    const status = await hub.status();
    expect(await hub.ask("NEARPID\n")).toBe(`${hub.program.pid}\n`);
    expect(status.pid).toBe(hub.program.pid);
    expect(status.restarts).toBe(0);
    expect(status.modules.map(({ name, state, generation }) => `${name} v${generation} ${state}`)).toContain(
      "near v1 serving",
    );
    expect(status.modules.filter(({ name }) => name.startsWith("bad"))).toEqual([]);
    expect(near.wrong).toEqual([]);
    expect(near.answered).toBeGreaterThan(corpus.length);
  });
}

function nameOf({ file }: BadModule): string {
  return basename(file, extname(file));
}

/** @returns the verdict of the reload without it */
function takeAway(hub: Hub, { file }: BadModule): Promise<string> {
  hub.remove(`modules/${file}`);
  return hub.ask("RELOAD\n");
}

/** A line's reply; of a path, the status and how many bytes came. */
async function answerTo(hub: Hub, question: string): Promise<string> {
  if (!question.startsWith("/")) return await ask(hub.port, `${question}\n`);
  const response = await fetch(`${hub.url}${question}`);
  return `${response.status} ${(await response.bytes()).length}`;
}

/** Resolves once the log, from `from` on, has it. */
async function saidSince(hub: Hub, from: number, pattern: RegExp): Promise<void> {
  await until(`the log says ${pattern}`, () => pattern.test(hub.program.output().slice(from)));
}

/** Two clients that ask the neighbour all the time: on one raw connection, and by HTTP. */
class NearClients implements Tally {
  answered = 0;
  readonly wrong: string[] = [];
  #isStopped = false;
  #loops: Promise<void>[] = [];

  static async start({ port, url }: Hub): Promise<NearClients> {
    const clients = new NearClients();
    const raw = await RawClient.connect(port);
    const line = async (n: number): Promise<string> => {
      await raw.clear().send(`NEAR ${n}\n`);
      return (await raw.waitFor("\n")).trim();
    };
    const path = async (n: number): Promise<string> => {
      const response = await fetch(`${url}/near?${n}`, { signal: AbortSignal.timeout(UNTIL_MS) });
      return (await response.text()).replace("?", "");
    };
    clients.#loops = [clients.#ask(line).finally(() => raw.close()), clients.#ask(path)];
    return clients;
  }

  async #ask(question: (n: number) => Promise<string>): Promise<void> {
    for (let n = 0; !this.#isStopped; n++) {
      const answer = await question(n).catch(String);
      if (answer === `here ${n}`) this.answered++;
      else this.wrong.push(`${n}: ${answer}`);
      // The log tells once of a cut client, not again and again.
      if (this.wrong.length > 10) return;
      await Bun.sleep(PACE_MS);
    }
  }

  /** Resolves when more questions than `count` were answered, or some wrongly. */
  async oneMoreThan(count: number): Promise<void> {
    await until("the module next door answers", () => this.answered > count || this.wrong.length > 0);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#loops);
  }
}
