/** Reloads under load: nobody is refused, nobody is closed, and nobody who saw a new version sees an old one again. */
import { expect, test } from "bun:test";
import { type Hub, moduleSource, withHub } from "../support/hub";
import { until } from "../support/until";

/** More of them: npm run test:long. */
const RELOADS = Number(process.env["HRMR_TEST_RELOADS"] ?? 8);
const CONNECTIONS = 64;

const inline = (version: number) =>
  moduleSource(`{
    routes: {
      "VER": { framing: "line", handle: () => "v${version}.\\n" },
      "LATER": { framing: "line", handle: async () => { await Bun.sleep(1); return "v${version}.\\n"; } },
      "GET /ver": { fetch: () => new Response("v${version}.\\n") },
      "POST /later": { fetch: async (request) => { await request.text(); await Bun.sleep(1); return new Response("v${version}.\\n"); } },
    },
  }`);
const pool = (version: number) =>
  moduleSource(`{
    routes: {
      "VER": { framing: "line", run: "pool", handle: () => "v${version}.\\n" },
      "LATER": { framing: "line", run: "pool", handle: async () => { await Bun.sleep(1); return "v${version}.\\n"; } },
      "GET /ver": { fetch: () => new Response("v${version}.\\n") },
      "POST /later": { fetch: async () => { await Bun.sleep(1); return new Response("v${version}.\\n"); } },
    },
  }`);

/** Three of four connections pause so long before they ask again: the machine is for the server. In milliseconds. */
const PAUSE_MS = 5;
/** So many replies to text commands come before the first request, on connections that use both. */
const TEXT_REPLIES = 20;
const REQUESTS = [
  "VER\n",
  "GET /ver HTTP/1.1\r\nHost: x\r\n\r\n",
  "LATER\n",
  "POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
];

/** One connection that asks, waits for the answer, asks again. */
class Loop {
  readonly seen = new Set<number>();
  replies = 0;
  problem: string | null = null;
  #last = 0;
  #text = "";
  #isStopping = false;
  #at: number;
  #socket: Bun.Socket | null = null;
  readonly #stopped = Promise.withResolvers<void>();

  constructor(at: number) {
    this.#at = at;
  }

  async start(port: number): Promise<this> {
    this.#socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, bytes) => this.#receive(bytes.toString()),
        close: () => this.#closed(),
        error: () => this.#closed(),
      },
    });
    this.#ask();
    return this;
  }

  /** After the reply that is under way. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#stopped.promise;
    this.#socket?.terminate();
  }

  #ask(): void {
    // Half of the connections stay with one request. The others ask by text, then by HTTP, which a connection speaks
    // until it ends.
    const [one, other] = this.replies < TEXT_REPLIES ? [0, 2] : [1, 3];
    const kind = this.#at % 8 < 4 ? this.#at % 4 : this.replies % 2 === 0 ? one : other;
    this.#socket?.write(REQUESTS[kind] as string);
  }

  #receive(text: string): void {
    this.#text += text;
    const reply = /^(?:HTTP\/1\.1 200 OK\r\n[^]*?\r\n\r\n)?v(\d+)\.\n$/.exec(this.#text);
    if (reply === null) {
      if (/ERR|HTTP\/1\.1 [345]/.test(this.#text)) this.#fail(`answered ${JSON.stringify(this.#text)}`);
      return;
    }
    const version = Number(reply[1]);
    this.#text = "";
    this.replies++;
    this.seen.add(version);
    if (version < this.#last) this.#fail(`v${version} after v${this.#last}`);
    this.#last = version;
    if (this.#isStopping) this.#stopped.resolve();
    else if (this.#at % 4 === 0) this.#ask();
    else setTimeout(() => this.#ask(), PAUSE_MS);
  }

  #closed(): void {
    if (!this.#isStopping) this.#fail("closed by the server");
    this.#stopped.resolve();
  }

  #fail(problem: string): void {
    this.problem ??= problem;
    this.#stopped.resolve();
  }
}

async function reloadUnderLoad(hub: Hub, source: (version: number) => string): Promise<void> {
  const loops = await Promise.all(Array.from({ length: CONNECTIONS }, (_, at) => new Loop(at).start(hub.port)));
  const isSeen = (version: number) => loops.some((loop) => loop.seen.has(version) || loop.problem !== null);
  await until("the load meets v1", () => isSeen(1));
  for (let version = 2; version <= RELOADS + 1; version++) {
    hub.write("modules/ver.ts", source(version));
    const verdict = await hub.ask("RELOAD\n");
    expect(verdict).toMatch(
      new RegExp(`^OK ver v${version} \\(was v${version - 1}\\) swapped in .* 0 connections dropped`),
    );
    await until(`the load meets v${version}`, () => isSeen(version));
  }
  await Promise.all(loops.map((loop) => loop.stop()));
  expect(loops.flatMap(({ problem }, at) => (problem === null ? [] : [`connection ${at}: ${problem}`]))).toEqual([]);
  const seen = new Set(loops.flatMap((loop) => [...loop.seen]));
  // There was load, and it met the versions as they came.
  expect([...seen].sort((a, b) => a - b)).toEqual(Array.from({ length: RELOADS + 1 }, (_, at) => at + 1));
  expect(loops.filter(({ replies }) => replies === 0)).toEqual([]);
  const status = await hub.status();
  expect([status.errors, status.modules.find((module) => module.name === "ver")?.generation]).toEqual([0, RELOADS + 1]);
}

test(`${CONNECTIONS} connections lose nothing over ${RELOADS} reloads of an inline module`, () =>
  withHub({ "modules/ver.ts": inline(1) }, [], (hub) => reloadUnderLoad(hub, inline)));

test(`${CONNECTIONS} connections lose nothing over ${RELOADS} reloads of a module on the pool`, () =>
  withHub({ "modules/ver.ts": pool(1) }, ["--threads", "2"], (hub) => reloadUnderLoad(hub, pool)));

test("broken versions between good ones cost the load nothing", () =>
  withHub({ "modules/ver.ts": inline(1) }, [], async (hub) => {
    const loops = await Promise.all(Array.from({ length: 16 }, (_, at) => new Loop(at).start(hub.port)));
    for (let round = 2; round <= 4; round++) {
      for (const broken of ["export default {", 'throw new Error("at load")', "export default { routes: { X: 5 } };"]) {
        hub.write("modules/ver.ts", `// ${round}\n${broken}`);
        expect(await hub.ask("RELOAD\n")).toStartWith("ERR ");
      }
      hub.write("modules/ver.ts", inline(round));
      expect(await hub.ask("RELOAD\n")).toStartWith(`OK ver v${round} `);
    }
    await until("the load meets the last version", () =>
      loops.some(({ seen, problem }) => seen.has(4) || problem !== null),
    );
    await Promise.all(loops.map((loop) => loop.stop()));
    expect(loops.map(({ problem }) => problem).filter((problem) => problem !== null)).toEqual([]);
    expect(Math.max(...loops.flatMap((loop) => [...loop.seen]))).toBe(4);
  }));
