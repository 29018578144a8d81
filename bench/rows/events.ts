/** Events of one module to 1,000 WebSockets of two processes, and Bun's own `publish` to as many. */
import type { Socket } from "bun";
import type { Row } from "../bench";
import { compareLoads, type Loaded } from "../compare";
import { makeProject } from "../project";
import { startBaseline, startProcess, type Started } from "../server";
import { comparisonLine } from "../table";
import { startArguments } from "./start-arguments";
import { OPENING } from "./websocket";

const SOCKETS = 1000;
/** Fewer than the listen backlog. */
const CONNECTS_AT_ONCE = 100;
/** Of one burst. */
const EVENTS = 50;
const DEADLINE_MS = 30_000;

/** Each event in a turn of its own. */
const EMITTER = `import { defineModule } from "hrmr";
export default defineModule({ routes: { "GET /go": { async fetch(_, { events }) {
  for (let n = 0; n < ${EVENTS}; n++) {
    events.emit("bench.x", { n, text: "some words of an event" });
    await new Promise((resolve) => setImmediate(resolve));
  }
  return new Response("told\\n");
} } } });`;

/** A socket that counts the frames that it gets. */
class Counter {
  frames = 0;
  isOpen = false;
  socket: Socket | null = null;
  /** Bytes of the present frame that are still to come. */
  #left = 0;
  #rest: Buffer = Buffer.alloc(0);

  receive(bytes: Buffer): void {
    if (!this.isOpen) {
      this.isOpen = bytes.includes("\r\n\r\n");
      return;
    }
    let at = 0;
    while (at < bytes.length) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, bytes.length - at);
        this.#left -= taken;
        at += taken;
        continue;
      }
      this.#rest = Buffer.concat([this.#rest, bytes.subarray(at, at + 1)]);
      at++;
      const length = (this.#rest[1] ?? 0) & 127;
      if (this.#rest.length < 2 || (length === 126 && this.#rest.length < 4)) continue;
      this.#left = length === 126 ? this.#rest.readUInt16BE(2) : length;
      this.#rest = Buffer.alloc(0);
      this.frames++;
    }
  }
}

async function openCounters(port: number, path: string): Promise<Counter[]> {
  const counters = Array.from({ length: SOCKETS }, () => new Counter());
  const request = OPENING.request.replace("GET / ", `GET ${path} `);
  for (let at = 0; at < SOCKETS; at += CONNECTS_AT_ONCE)
    await Promise.all(
      counters.slice(at, at + CONNECTS_AT_ONCE).map(async (counter) => {
        counter.socket = await Bun.connect({
          hostname: "127.0.0.1",
          port,
          socket: { open: (socket) => void socket.write(request), data: (_, bytes) => counter.receive(bytes) },
        });
      }),
    );
  await all(counters, ({ isOpen }) => isOpen, "are open");
  return counters;
}

async function all(counters: readonly Counter[], isRight: (counter: Counter) => boolean, what: string): Promise<void> {
  const until = performance.now() + DEADLINE_MS;
  while (!counters.every(isRight)) {
    if (performance.now() > until)
      throw new Error(`only ${counters.filter(isRight).length} of ${SOCKETS} sockets ${what}`);
    await Bun.sleep(2);
  }
}

/** Bursts, one after another. Each socket must get each event. */
function loadOf(server: Started, counters: readonly Counter[]): Loaded {
  return {
    server,
    async run(ms) {
      const beganAt = performance.now();
      let bursts = 0;
      do {
        const wanted = (counters[0]?.frames ?? 0) + EVENTS;
        await (await fetch(`http://127.0.0.1:${server.port}/go`)).text();
        await all(counters, ({ frames }) => frames === wanted, `got ${EVENTS} events`);
        bursts++;
      } while (performance.now() - beganAt < ms);
      return { requests: bursts * EVENTS * SOCKETS, elapsedMs: performance.now() - beganAt };
    },
  };
}

export const eventsRow: Row = {
  name: "events-websockets",
  async run(bench) {
    const project = makeProject({
      "modules/emitter.ts": EMITTER,
      "hrmr.json": JSON.stringify({ processes: 2, modules: { events: { topics: "*" } } }),
    });
    const server = await startProcess("hrmr", startArguments(bench), project);
    let bound: Started | null = null;
    const opened: Counter[] = [];
    try {
      bound = await startBaseline("publish.ts", String(EVENTS));
      const ours = await openCounters(server.port, "/events?topic=bench.x");
      const theirs = await openCounters(bound.port, "/");
      opened.push(...ours, ...theirs);
      const compared = await compareLoads(bench.rounds, loadOf(server, ours), loadOf(bound, theirs));
      return [comparisonLine(`event to ${SOCKETS} WebSockets : Bun publish`, compared, 1.2)];
    } finally {
      for (const { socket } of opened) socket?.terminate();
      await server.stop();
      await bound?.stop();
    }
  },
};
