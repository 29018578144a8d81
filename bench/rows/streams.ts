/**
 * WebSockets and event streams that stay open over reloads: after each reload, each of them hears from the newest
 * version.
 */
import type { Socket } from "bun";
import type { Row } from "../bench";
import { Control } from "../control";
import { makeProject, moduleSource } from "../project";
import { startProcess } from "../server";
import { figureLine } from "../table";
import { editAndReload, padVersion } from "./edits";
import { startArguments } from "./start-arguments";
import { frame, OPENING, TEXT } from "./websocket";

const WEBSOCKETS = 1000;
const STREAMS = 100;
const RELOADS = 200;
/** Fewer than the listen backlog. */
const CONNECTS_AT_ONCE = 200;
const DEADLINE_MS = 10_000;

/** Answers WebSockets with its version, and NEWS sends the version to all event streams. */
function editedModule(version: number): string {
  return moduleSource(`{
  routes: {
    "/": { websocket: { message: (socket) => socket.send("v${padVersion(version)}") } },
    NEWS: {
      framing: "line",
      handle() {
        for (const stream of globalThis.benchStreams) stream.enqueue(Buffer.from("data: v${padVersion(version)}\\n\\n"));
        return "told\\n";
      },
    },
  },
}`);
}

/** Holds the event streams. Two modules have nothing in common but globalThis. */
function streamsModule(version: number): string {
  return moduleSource(`{
  routes: {
    "GET /events": {
      description: "version ${version}",
      fetch() {
        let own;
        const streams = (globalThis.benchStreams ??= new Set());
        const body = new ReadableStream({ start: (controller) => void streams.add((own = controller)), cancel: () => void streams.delete(own) });
        return new Response(body, { headers: { "content-type": "text/event-stream" } });
      },
    },
  },
}`);
}

/** A client that says what it expects next, and waits for it. */
class Listener {
  isClosed = false;
  #socket: Socket | null = null;
  #text = "";
  #expected = /^$/;
  #heard = Promise.withResolvers<void>();

  /** Connects and sends a request. */
  async open(port: number, request: string, reply: RegExp): Promise<void> {
    this.#socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, bytes) => this.#receive(Buffer.from(bytes).toString("latin1")),
        close: () => this.#closed(),
        error: () => this.#closed(),
      },
    });
    const heard = this.expect(reply);
    this.say(request);
    await heard;
  }

  /** @param expected pattern for the end of all bytes that come from now on */
  expect(expected: RegExp): Promise<void> {
    this.#text = "";
    this.#expected = expected;
    this.#heard = Promise.withResolvers();
    return this.#heard.promise;
  }

  say(latin1: string): void {
    this.#socket?.write(Buffer.from(latin1, "latin1"));
  }

  close(): void {
    this.#socket?.terminate();
  }

  /** The bytes that came instead, for a message. */
  get heard(): string {
    return JSON.stringify(this.#text.slice(0, 200));
  }

  #receive(text: string): void {
    this.#text += text;
    if (this.#expected.test(this.#text)) this.#heard.resolve();
  }

  #closed(): void {
    this.isClosed = true;
    // Counted, and no reason to wait.
    this.#heard.resolve();
  }
}

/** @throws Error that shows what one of them heard instead, if not all heard what they expect in time */
async function allHear(listeners: Listener[], heard: Promise<void>[], expected: RegExp): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(async () => {
    const states = await Promise.all(
      heard.map((promise) => Promise.race([promise.then(() => true), Promise.resolve(false)])),
    );
    const missing = listeners.filter((_, i) => !states[i]);
    late.reject(
      new Error(
        `${missing.length} of ${listeners.length} did not hear ${expected}, the first of them ${missing[0]?.heard}`,
      ),
    );
  }, DEADLINE_MS);
  await Promise.race([Promise.all(heard), late.promise]).finally(() => clearTimeout(timer));
}

async function openAll(count: number, port: number, request: string, reply: RegExp): Promise<Listener[]> {
  const all = Array.from({ length: count }, () => new Listener());
  for (let at = 0; at < count; at += CONNECTS_AT_ONCE) {
    const some = all.slice(at, at + CONNECTS_AT_ONCE);
    await allHear(
      some,
      some.map((one) => one.open(port, request, reply)),
      reply,
    );
  }
  return all;
}

const EVENTS_REQUEST = "GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n";
const QUESTION = frame(TEXT, Buffer.from("version"), [1, 2, 3, 4]);

/** Every WebSocket asks for the version. Every event stream gets it. */
async function hearVersion(control: Control, sockets: Listener[], streams: Listener[], version: number): Promise<void> {
  const answer = new RegExp(`^${frame(TEXT, Buffer.from(`v${padVersion(version)}`), null)}$`);
  const event = new RegExp(`^f\\r\\ndata: v${padVersion(version)}\\n\\n\\r\\n$`);
  const answered = sockets.map((socket) => socket.expect(answer));
  const told = streams.map((stream) => stream.expect(event));
  for (const socket of sockets) socket.say(QUESTION);
  await control.ask("NEWS");
  await allHear(sockets, answered, answer);
  await allHear(streams, told, event);
}

export const streamsRow: Row = {
  name: "streams-reloads",
  async run(bench) {
    const config = JSON.stringify({ limits: { maxConnections: WEBSOCKETS + STREAMS + 50 } });
    const files = { "modules/edited.ts": editedModule(0), "modules/streams.ts": streamsModule(0), "hrmr.json": config };
    const dir = makeProject(files);
    const server = await startProcess("hrmr", startArguments(bench), dir);
    const control = await Control.connect(server.port);
    const sockets: Listener[] = [];
    const streams: Listener[] = [];
    try {
      sockets.push(...(await openAll(WEBSOCKETS, server.port, OPENING.request, /^HTTP\/1\.1 101 [^]*\r\n\r\n$/)));
      streams.push(...(await openAll(STREAMS, server.port, EVENTS_REQUEST, /^HTTP\/1\.1 200 [^]*\r\n\r\n$/)));
      // So that the streams belong to a version that is replaced already. More than maxLiveGenerations of their own
      // would cut them.
      await editAndReload(control, dir, "streams", streamsModule(1));
      const startedAt = performance.now();
      for (let version = 1; version <= RELOADS; version++) {
        await editAndReload(control, dir, "edited", editedModule(version));
        await hearVersion(control, sockets, streams, version);
      }
      const seconds = (performance.now() - startedAt) / 1000;
      return [
        figureLine({
          title: `${WEBSOCKETS} WebSockets, ${STREAMS} SSE, ${RELOADS} reloads: closed`,
          value: [...sockets, ...streams].filter(({ isClosed }) => isClosed).length,
          most: 0,
          unit: "",
          digits: 0,
          hrmr: `${(WEBSOCKETS + STREAMS) * RELOADS} right, ${seconds.toFixed(1)} s`,
        }),
      ];
    } finally {
      for (const listener of [...sockets, ...streams]) listener.close();
      control.close();
      await server.stop();
    }
  },
};
