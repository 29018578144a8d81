/** HTTP/2 clients of node:http2: with prior knowledge, and over TLS. */
import http2 from "node:http2";
import { within } from "./link";
import type { Protocol, Session } from "./protocol";
import { checkAnswer, type World } from "./world";

class Http2Session implements Session {
  pid: number | null = null;
  isOver = false;
  readonly #world: World;
  readonly #session: http2.ClientHttp2Session;

  constructor(world: World, session: http2.ClientHttp2Session) {
    this.#world = world;
    this.#session = session;
    // After it a request needs another connection.
    for (const event of ["goaway", "close", "error"]) session.on(event, () => void (this.isOver = true));
  }

  /** Three at once. */
  async ask(n: number): Promise<string | null> {
    const least = this.#world.least.asked;
    const texts = await Promise.all(
      ["a", "b", "c"].map((letter) => within(this.#get(`/ask/${n}${letter}`), "HTTP/2 reply")),
    );
    const answers = texts.map((text, at) =>
      checkAnswer(this.#world, "asked", text.trimEnd(), `${n}${"abc"[at]}`, least),
    );
    this.pid = answers[0]?.pid ?? this.pid;
    return answers.find(({ problem }) => problem !== null)?.problem ?? null;
  }

  close(): void {
    this.#session.destroy();
  }

  #get(path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const stream = this.#session.request({ ":path": path });
      let text = "";
      let status: unknown;
      stream.on("response", (headers) => (status = headers[":status"]));
      stream.on("data", (part: Buffer) => (text += part.toString()));
      stream.on("error", reject);
      stream.on("end", () => (status === 200 ? resolve(text) : reject(new Error(`status ${status}`))));
      stream.on("close", () => reject(new Error(`the stream was closed (${stream.rstCode})`)));
    });
  }
}

/** A request that crosses the GOAWAY is not handled, and is sent again. */
export function http2Protocols(world: World): Protocol[] {
  const open = (url: string) => () =>
    within(
      new Promise<Session>((resolve, reject) => {
        const session = http2.connect(url, { rejectUnauthorized: false });
        session.once("error", reject);
        session.once("connect", () => resolve(new Http2Session(world, session)));
      }),
      "HTTP/2 connection",
    );
  return [
    { name: "http2", clients: 2, pauseMs: 15, isTold: false, open: open(`http://127.0.0.1:${world.port}`) },
    { name: "http2 tls", clients: 1, pauseMs: 20, isTold: false, open: open(`https://127.0.0.1:${world.port}`) },
  ];
}
