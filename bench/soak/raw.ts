/**
 * Clients of raw lines, chunks, the pool, `connect` streams, WebSockets and datagrams. Their protocols cannot tell them
 * that the server will end.
 */
import { Ended, Link, within, wholeLine } from "./link";
import type { Protocol, Session } from "./protocol";
import { checkAnswer, type World } from "./world";

class LineSession implements Session {
  pid: number | null = null;
  readonly #world: World;
  readonly #link: Link;
  readonly #key: string;

  constructor(world: World, link: Link, key: string) {
    this.#world = world;
    this.#link = link;
    this.#key = key;
  }

  get isOver(): boolean {
    return this.#link.hasEnded;
  }

  async ask(n: number): Promise<string | null> {
    const least = this.#world.least.asked;
    const text = await this.#link.ask(`${this.#key} ${n}${this.#key === "CHUNK" ? "" : "\n"}`, wholeLine);
    const { problem, pid } = checkAnswer(this.#world, "asked", text.trimEnd(), String(n), least);
    this.pid = pid ?? this.pid;
    return problem;
  }

  close(): void {
    this.#link.close();
  }
}

/** One connection over many reloads: its lines are counted by the server, and the count must go on. */
class TalkSession implements Session {
  pid: number | null = null;
  #lines = 0;
  readonly #world: World;
  readonly #link: Link;

  constructor(world: World, link: Link) {
    this.#world = world;
    this.#link = link;
    link.write("TALK\n");
  }

  get isOver(): boolean {
    return this.#link.hasEnded;
  }

  async ask(n: number): Promise<string | null> {
    const text = await this.#link.ask(`${n}\n`, wholeLine);
    // The old handler finishes the line that it has read, so an old version may still answer here.
    const { problem, pid } = checkAnswer(this.#world, "talk", text.trimEnd(), `${n}/${++this.#lines}`, 0);
    this.pid = pid ?? this.pid;
    return problem;
  }

  close(): void {
    this.#link.close();
  }
}

class SocketSession implements Session {
  pid: number | null = null;
  isOver = false;
  readonly #world: World;
  readonly #socket: WebSocket;
  #waiting: PromiseWithResolvers<string> | null = null;

  constructor(world: World, socket: WebSocket) {
    this.#world = world;
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#waiting?.resolve(String(data));
    socket.onclose = ({ code }) => {
      this.isOver = true;
      this.#waiting?.reject(new Ended(`closed with ${code}`));
    };
  }

  async ask(n: number): Promise<string | null> {
    const least = this.#world.least.talk;
    this.#waiting = Promise.withResolvers();
    this.#socket.send(String(n));
    const text = await within(this.#waiting.promise, "WebSocket message");
    const { problem, pid } = checkAnswer(this.#world, "talk", text.trimEnd(), String(n), least);
    this.pid = pid ?? this.pid;
    return problem;
  }

  close(): void {
    this.#socket.terminate();
  }
}

class DatagramSession implements Session {
  // Each datagram may go to another process.
  readonly pid = null;
  readonly isOver = false;
  readonly #world: World;
  readonly #socket: Bun.udp.ConnectedSocket<"buffer">;
  readonly #waiting = new Map<string, PromiseWithResolvers<string>>();

  constructor(world: World, socket: Bun.udp.ConnectedSocket<"buffer">, arrivals: { receive: (text: string) => void }) {
    this.#world = world;
    this.#socket = socket;
    arrivals.receive = (text) => this.#waiting.get(text.split(" ")[0] ?? "")?.resolve(text);
  }

  async ask(n: number): Promise<string | null> {
    const least = this.#world.least.asked;
    const waiting = Promise.withResolvers<string>();
    this.#waiting.set(String(n), waiting);
    try {
      this.#socket.send(`ASK ${n}`);
      return checkAnswer(
        this.#world,
        "asked",
        (await within(waiting.promise, "datagram", 3000)).trimEnd(),
        String(n),
        least,
      ).problem;
    } finally {
      this.#waiting.delete(String(n));
    }
  }

  close(): void {
    this.#socket.close();
  }
}

export function rawProtocols(world: World): Protocol[] {
  const tcp = { port: world.port };
  const line = (key: string) => async () => new LineSession(world, await Link.open(tcp), key);
  const unix = async () => new LineSession(world, await Link.open({ unix: world.project.socket }), "ASK");
  const all: Omit<Protocol, "isTold">[] = [
    { name: "raw lines", clients: 4, pauseMs: 5, open: line("ASK") },
    { name: "raw chunks", clients: 1, pauseMs: 10, open: line("CHUNK") },
    { name: "raw pool", clients: 2, pauseMs: 10, open: line("POOL") },
    { name: "raw unix", clients: 1, pauseMs: 10, open: unix },
    {
      name: "connect streams",
      clients: 2,
      pauseMs: 10,
      open: async () => new TalkSession(world, await Link.open(tcp)),
    },
    { name: "websocket", clients: 3, pauseMs: 10, open: () => openSocket(world, `ws://127.0.0.1:${world.port}/echo`) },
    {
      name: "websocket tls",
      clients: 1,
      pauseMs: 20,
      open: () => openSocket(world, `wss://127.0.0.1:${world.port}/echo`),
    },
    { name: "udp", clients: 1, pauseMs: 10, open: () => openDatagrams(world) },
  ];
  return all.map((protocol) => ({ ...protocol, isTold: false }));
}

async function openSocket(world: World, url: string): Promise<Session> {
  // Bun's own option: the certificate is our own.
  const socket = new WebSocket(url, { tls: { rejectUnauthorized: false } } as unknown as string[]);
  const opened = Promise.withResolvers<void>();
  socket.onopen = () => opened.resolve();
  socket.onclose = ({ code }) => opened.reject(new Ended(`not opened, closed with ${code}`));
  await within(opened.promise, "WebSocket");
  return new SocketSession(world, socket);
}

async function openDatagrams(world: World): Promise<Session> {
  const arrivals = { receive: (_text: string) => {} };
  const socket = await Bun.udpSocket({
    connect: { hostname: "127.0.0.1", port: world.udpPort },
    socket: { data: (_, bytes) => arrivals.receive(bytes.toString()) },
  });
  return new DatagramSession(world, socket, arrivals);
}
