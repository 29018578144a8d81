/** A client that sends bytes as they are and reads what comes back: for requests that no HTTP library would send. */
import { UNTIL_MS } from "./until";

export interface RawReply {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: string;
}

export interface RawClient {
  /** All bytes received so far, as Latin-1. */
  readonly received: string;
  write(data: string | Uint8Array): void;
  /** Resolves when `received` holds `text`; rejects after 5 s, or when the server ends before. */
  waitFor(text: string): Promise<void>;
  /** Resolves when the server has ended the connection. */
  readonly ended: Promise<void>;
  /** Sends FIN; still reads. */
  endWriting(): void;
  /** Reads no more. */
  pause(): void;
  resume(): void;
  /** Resets the connection. */
  terminate(): void;
}

/** Connects to 127.0.0.1. `terminate` it in `finally`. */
export async function connectRaw(port: number): Promise<RawClient> {
  const end = Promise.withResolvers<void>();
  let parts = "";
  let isEnded = false;
  let waiters: (() => void)[] = [];
  const wake = () => {
    const waiting = waiters;
    waiters = [];
    for (const check of waiting) check();
  };
  const finished = () => {
    isEnded = true;
    end.resolve();
    wake();
  };
  const unsent: Uint8Array[] = [];
  const flush = () => {
    while (unsent.length > 0) {
      const next = unsent[0] as Uint8Array;
      const taken = socket.write(next);
      if (taken < 0) return;
      if (taken < next.length) {
        unsent[0] = next.subarray(taken);
        return;
      }
      unsent.shift();
    }
  };
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    allowHalfOpen: true,
    socket: {
      data(_socket, bytes) {
        parts += Buffer.from(bytes).toString("latin1");
        wake();
      },
      end: finished,
      close: finished,
      drain: flush,
      error: finished,
    },
  });
  return {
    get received() {
      return parts;
    },
    write(data) {
      unsent.push(typeof data === "string" ? Buffer.from(data, "latin1") : data);
      if (unsent.length === 1) flush();
    },
    waitFor(text) {
      return within(
        new Promise((resolve, reject) => {
          const check = () => {
            if (parts.includes(text)) resolve();
            else if (isEnded)
              reject(new Error(`The server ended before it sent ${JSON.stringify(text)}: ${JSON.stringify(parts)}`));
            else waiters.push(check);
          };
          check();
        }),
        `${JSON.stringify(text)} to arrive`,
      );
    },
    get ended() {
      return within(end.promise, "the server to end the connection");
    },
    endWriting: () => void socket.shutdown(),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    terminate: () => socket.terminate(),
  };
}

/** Rejects when `promise` takes longer than 5 s. */
export async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`Waited ${UNTIL_MS} ms for ${what}.`)), UNTIL_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** One turn of the event loop, so that the other side reads the bytes so far as one piece. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Sends `request`, in pieces of `pieceBytes`, reads until the server ends, and takes the replies apart. */
export async function talk(port: number, request: string, pieceBytes = 1_000_000): Promise<RawReply[]> {
  const client = await connectRaw(port);
  try {
    for (let at = 0; at < request.length; at += pieceBytes) {
      client.write(request.slice(at, at + pieceBytes));
      if (pieceBytes < request.length) await nextTurn();
    }
    await client.ended;
    return parseReplies(client.received, request.startsWith("HEAD "));
  } finally {
    client.terminate();
  }
}

/**
 * Takes replies apart by their own framing; throws for bytes that are none. @param isFirstBodiless  the first answers a
 * HEAD
 */
export function parseReplies(text: string, isFirstBodiless = false): RawReply[] {
  const replies: RawReply[] = [];
  let at = 0;
  while (at < text.length) {
    const headEnd = text.indexOf("\r\n\r\n", at);
    const lines = text.slice(at, headEnd).split("\r\n");
    const match = /^HTTP\/1\.1 (\d{3}) /.exec(lines[0] ?? "");
    if (headEnd < 0 || match === null) throw new Error(`No HTTP reply: ${JSON.stringify(text.slice(at, at + 200))}`);
    const headers: Record<string, string> = {};
    for (const line of lines.slice(1)) {
      const name = line.slice(0, line.indexOf(":")).toLowerCase();
      const value = line.slice(line.indexOf(":") + 1).trim();
      headers[name] = headers[name] === undefined ? value : `${headers[name]}; ${value}`;
    }
    at = headEnd + 4;
    const status = Number(match[1]);
    let body = "";
    const isBodiless = (isFirstBodiless && replies.length === 0) || status === 204 || status === 304 || status < 200;
    if (isBodiless) body = "";
    else if (headers["transfer-encoding"] === "chunked") [body, at] = readChunks(text, at);
    else if (headers["content-length"] !== undefined) {
      body = text.slice(at, at + Number(headers["content-length"]));
      at += body.length;
      if (body.length < Number(headers["content-length"]))
        throw new Error(`The body was cut: ${JSON.stringify(body.slice(0, 200))}`);
    } else [body, at] = [text.slice(at), text.length];
    replies.push({ status, headers, body });
  }
  return replies;
}

function readChunks(text: string, from: number): [body: string, end: number] {
  let at = from;
  let body = "";
  for (;;) {
    const lineEnd = text.indexOf("\r\n", at);
    const size = Number.parseInt(text.slice(at, lineEnd), 16);
    if (lineEnd < 0 || Number.isNaN(size)) throw new Error(`No chunk size: ${JSON.stringify(text.slice(at, at + 40))}`);
    body += text.slice(lineEnd + 2, lineEnd + 2 + size);
    at = lineEnd + 2 + size + 2;
    if (size === 0) return [body, at];
  }
}
