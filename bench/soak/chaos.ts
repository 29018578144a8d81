/** Events for the server under load, one after another, drawn by a seed. */
import type { Random } from "../../test/support/random";
import { MISCHIEF } from "./hostile";
import { Link, wholeLine } from "./link";
import { configText, type Edited, EDITED, MOST_BODY_BYTES } from "./project";
import { lives, type SoakServer, until } from "./server";
import type { World } from "./world";

const BROKEN = [
  "export default {",
  'throw new Error("at top level");\n',
  'import "./nowhere";\nexport default {};\n',
  "export default 42;\n",
  'import { defineModule } from "hrmr";\nexport default defineModule({ setup() { throw new Error("in setup"); }, routes: { "ASK ": () => "" } });\n',
];

export interface ChaosOptions {
  readonly server: SoakServer;
  readonly world: World;
  readonly random: Random;
  readonly processes: number;
}

export class Chaos {
  /** The number of events, by name. */
  readonly counts = new Map<string, number>();
  /** The failures. */
  readonly problems: string[] = [];
  kills = 0;
  /** From a kill to the full number of processes, in milliseconds. */
  readonly recoveriesMs: number[] = [];
  readonly #options: ChaosOptions;
  #extra = 0;

  constructor(options: ChaosOptions) {
    this.#options = options;
    options.server.expect(/^process \d+ \(pid \d+\) ended: SIGKILL/);
    // Bad clients cause it.
    options.server.expect(/there is no module "nobody"/);
  }

  /** One thing, drawn. @param isCalm whether no process is replaced meanwhile */
  async step(isCalm: boolean): Promise<void> {
    const { random, processes } = this.#options;
    const calm: [string, () => Promise<void>][] = [
      ["edit and reload", () => this.#edit()],
      ["edit and reload", () => this.#edit()],
      ["broken module", () => this.#break()],
      ["module comes and goes", () => this.#comeAndGo()],
      ["SIGHUP", () => this.#hangUp()],
      ["bad clients", () => this.#beBad()],
      ["bad clients", () => this.#beBad()],
      ["bad clients", () => this.#beBad()],
    ];
    const rough: typeof calm = [
      ...(processes > 1
        ? ([
            ["kill -9", () => this.#kill()],
            ["kill -9, broken file", () => this.#killWithBrokenFile()],
          ] as typeof calm)
        : []),
      ["restart", () => this.#restart()],
      ["upgrade", () => this.#upgrade()],
    ];
    const [name, act] = random.pick(isCalm ? calm : [...calm, ...rough, ...rough]);
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    try {
      await act();
    } catch (error) {
      this.problems.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  // ---- modules ----

  async #edit(name: Edited = this.#options.random.pick(EDITED)): Promise<void> {
    const { world } = this.#options;
    const version = ++world.newest[name];
    world.project.edit(name, version);
    const verdict = await this.#reload();
    if (verdict.startsWith("OK")) world.least[name] = version;
    else this.problems.push(`an edit was refused: ${verdict}`);
  }

  async #break(): Promise<void> {
    const { world, random } = this.#options;
    const name = random.pick(EDITED);
    world.project.write(`modules/${name}.ts`, random.pick(BROKEN));
    this.#options.server.expect(new RegExp(`ERR[\\s\\S]*${name}`));
    const verdict = await this.#reload();
    if (!verdict.startsWith("ERR")) this.problems.push(`a broken module was taken: ${verdict}`);
    await this.#edit(name);
  }

  async #comeAndGo(): Promise<void> {
    const { world } = this.#options;
    const file = `modules/extra${++this.#extra}.ts`;
    world.project.write(file, `export default { routes: { "EXTRA${this.#extra} ": () => "here\\n" } };\n`);
    await this.#mustReload();
    world.project.remove(file);
    await this.#mustReload();
  }

  async #mustReload(): Promise<void> {
    const verdict = await this.#reload();
    if (!verdict.startsWith("OK")) this.problems.push(`a reload was refused: ${verdict}`);
  }

  /** In one of several ways. @returns the verdict's first line */
  async #reload(): Promise<string> {
    const { server, world, random } = this.#options;
    const way = random.below(3);
    if (way === 0) return (await server.order("reload")).text.split("\n", 1)[0] ?? "";
    if (way === 1) return await this.#signalReload();
    const link = await Link.open({ port: world.port });
    try {
      return await link.ask("RELOAD\n", wholeLine);
    } finally {
      link.close();
    }
  }

  async #signalReload(): Promise<string> {
    const { server } = this.#options;
    const { inCharge } = await server.pids();
    const line = server.nextLine(/^SIGHUP: (OK|ERR)/);
    process.kill(inCharge, "SIGHUP");
    return (await line).replace("SIGHUP: ", "");
  }

  async #hangUp(): Promise<void> {
    const { world, random } = this.#options;
    world.project.write("hrmr.json", configText(MOST_BODY_BYTES + random.below(1000)));
    const verdict = await this.#signalReload();
    if (!verdict.startsWith("OK")) this.problems.push(`a SIGHUP was refused: ${verdict}`);
  }

  // ---- processes ----

  async #kill(): Promise<void> {
    const { server, world, random, processes } = this.#options;
    const victim = random.pick((await server.pids()).serving);
    world.fates.kill(victim);
    this.kills++;
    const killedAt = performance.now();
    process.kill(victim, "SIGKILL");
    await until(async () => {
      const { serving } = await server.pids();
      return serving.length === processes && !serving.includes(victim);
    }, `${processes} processes`);
    this.recoveriesMs.push(performance.now() - killedAt);
  }

  /** The replacement of a lost process must serve the same as the others. */
  async #killWithBrokenFile(): Promise<void> {
    const { world, random } = this.#options;
    const name = random.pick(EDITED);
    world.project.write(`modules/${name}.ts`, random.pick(BROKEN));
    await this.#kill();
    await this.#edit(name);
  }

  async #restart(): Promise<void> {
    const { server, world } = this.#options;
    const { serving } = await server.pids();
    const ended = world.fates.leave(serving);
    const { ok, text } = await server.order("restart");
    if (!ok) throw new Error(text);
    await until(() => !serving.some(lives), "the end of the replaced processes");
    ended();
  }

  async #upgrade(): Promise<void> {
    const { server, world, random } = this.#options;
    const { inCharge, all } = await server.pids();
    const ended = world.fates.leave(all);
    if (random.below(2) === 0) process.kill(inCharge, "SIGUSR2");
    else await server.order("upgrade");
    await until(() => !all.some(lives), "the end of the old server");
    ended();
    await until(async () => (await server.pids()).inCharge !== inCharge, "the new server's control socket");
  }

  // ---- clients ----

  async #beBad(): Promise<void> {
    const { world, random } = this.#options;
    const [name, act] = random.pick(Object.entries(MISCHIEF));
    this.counts.set(`bad clients: ${name}`, (this.counts.get(`bad clients: ${name}`) ?? 0) + 1);
    await act(world);
  }
}
