/** HTTP/1.1 clients: kept alive, fresh, TLS, unix, the pool, bodies, files, event streams. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { splitHead } from "../reply";
import { Ended, Link, type Target } from "./link";
import type { Protocol, Session } from "./protocol";
import { EVENTS_EACH, FILE_BYTES } from "./project";
import { checkAnswer, type World } from "./world";

interface Exchange {
  readonly request: string;
  /**
   * @returns the mistake in the body, or null; the process that answered; whether the server ended the reply too early
   */
  check(body: string): { readonly problem: string | null; readonly pid: number | null; readonly isCut?: boolean };
}

type MakeExchange = (n: number) => Exchange;

class HttpSession implements Session {
  pid: number | null = null;
  #isLast = false;
  readonly #link: Link;
  readonly #make: MakeExchange;
  readonly #isFresh: boolean;

  constructor(link: Link, make: MakeExchange, isFresh: boolean) {
    this.#link = link;
    this.#make = make;
    this.#isFresh = isFresh;
  }

  get isOver(): boolean {
    return this.#isLast || this.#link.hasEnded;
  }

  async ask(n: number): Promise<string | null> {
    const { request, check } = this.#make(n);
    const text = await this.#link.ask(
      this.#isFresh ? request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n") : request,
      wholeReply,
    );
    const head = splitHead(text);
    if (head === null || !head.statusLine.startsWith("HTTP/1.1 200 ")) return `status line ${head?.statusLine}`;
    if (head.headers.get("connection")?.toLowerCase() === "close") this.#isLast = true;
    const body = Number.isNaN(head.length) ? unchunk(text.slice(head.end)) : text.slice(head.end);
    const { problem, pid, isCut } = check(body);
    this.pid = pid ?? this.pid;
    if (isCut === true) throw new Ended("ended before its last event");
    return problem;
  }

  close(): void {
    this.#link.close();
  }
}

const LAST_CHUNK = "0\r\n\r\n";

/** By Content-Length, or else chunked: the end mark of chunks occurs nowhere else in these replies. */
function wholeReply(text: string): number | null {
  const head = splitHead(text);
  if (head === null) return null;
  if (!Number.isNaN(head.length)) return text.length >= head.end + head.length ? head.end + head.length : null;
  const end = text.indexOf(`\r\n${LAST_CHUNK}`, head.end - 2);
  return end === -1 ? null : end + 2 + LAST_CHUNK.length;
}

function unchunk(text: string): string {
  let body = "";
  for (let at = 0; at < text.length;) {
    const lineEnd = text.indexOf("\r\n", at);
    const bytes = Number.parseInt(text.slice(at, lineEnd), 16);
    body += text.slice(lineEnd + 2, lineEnd + 2 + bytes);
    at = lineEnd + 2 + bytes + 2;
  }
  return body;
}

function get(path: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: soak.example\r\n\r\n`;
}

/**
 * All HTTP/1.1 protocols. `Connection: close` tells a client that is kept alive, so nothing may be lost when a process
 * leaves.
 */
export function httpProtocols(world: World): Protocol[] {
  const ask = (path: string) => (n: number) => {
    const least = world.least.asked;
    return {
      request: get(`${path}/${n}`),
      check: (body: string) => checkAnswer(world, "asked", body.trimEnd(), String(n), least),
    };
  };
  const post = (n: number) => {
    const least = world.least.asked;
    const body = "b".repeat((n * 7919) % 100_000);
    const request = `POST /length/${n} HTTP/1.1\r\nHost: soak.example\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    return {
      request,
      check: (text: string) => checkAnswer(world, "asked", text.trimEnd(), `${n}/${body.length}`, least),
    };
  };
  const content = readFileSync(join(world.project.dir, "static_html", "file.bin"), "latin1");
  const file = () => ({
    request: get("/file.bin"),
    check: (body: string) => ({
      problem: body === content ? null : `a file of ${body.length} bytes, not ${FILE_BYTES}`,
      pid: null,
    }),
  });
  const events = (n: number) => ({
    request: get(`/events/${n}`),
    check: (body: string) => checkEvents(world, body, n),
  });
  const tcp = { port: world.port };
  const tls = { port: world.port, isTls: true };
  const unix = { unix: world.project.socket };
  return [
    http("http keep-alive", 4, 5, tcp, ask("/ask")),
    http("http fresh", 3, 10, tcp, ask("/ask"), true),
    http("http pool", 2, 10, tcp, ask("/pool")),
    http("http bodies", 1, 30, tcp, post),
    http("http file", 1, 100, tcp, file),
    http("http tls", 2, 10, tls, ask("/ask")),
    http("http tls fresh", 1, 50, tls, ask("/ask"), true),
    http("http unix", 1, 10, unix, ask("/ask")),
    http("http unix fresh", 1, 20, unix, ask("/ask"), true),
    // A server that ends does not wait for event streams: their clients come back by themselves.
    { ...http("event streams", 2, 50, tcp, events), isTold: false },
  ];
}

function http(
  name: string,
  clients: number,
  pauseMs: number,
  target: Target,
  make: MakeExchange,
  isFresh = false,
): Protocol {
  const open = async () => new HttpSession(await Link.open(target), make, isFresh);
  return { name, clients, pauseMs, isTold: true, open };
}

function checkEvents(world: World, body: string, n: number): ReturnType<Exchange["check"]> {
  const events = body.split("\n\n").slice(0, -1);
  const answers = events.map((event, at) => checkAnswer(world, null, event.replace("data: ", ""), `${n}/${at + 1}`, 0));
  const problem = answers.find((answer) => answer.problem !== null)?.problem ?? null;
  return { problem, pid: answers[0]?.pid ?? null, isCut: events.length < EVENTS_EACH };
}
