/** A connection of bytes: plain, TLS or unix. One question at a time. */
import type { Socket } from "bun";

export type Target = { readonly port: number; readonly isTls?: boolean } | { readonly unix: string };

/** The server ended the connection before it had answered. */
export class Ended extends Error {}

/** How long an answer may take: longer than any handler here, and than a pause of a loaded machine. */
const DEADLINE_MS = 10_000;

export class Link {
  hasEnded = false;
  #text = "";
  #socket: Socket | null = null;
  #changed = Promise.withResolvers<void>();

  private constructor() {}

  static async open(target: Target): Promise<Link> {
    const link = new Link();
    const shaken = Promise.withResolvers<void>();
    const end = () => {
      link.hasEnded = true;
      shaken.reject(new Ended("ended in the TLS handshake"));
      link.#tell();
    };
    const socket = {
      data: (_: Socket, bytes: Uint8Array) => {
        link.#text += Buffer.from(bytes).toString("latin1");
        link.#tell();
      },
      handshake: () => shaken.resolve(),
      end,
      close: end,
      error: end,
    };
    shaken.promise.catch(() => {});
    const isTls = "port" in target && target.isTls === true;
    if ("unix" in target) link.#socket = await Bun.connect({ unix: target.unix, socket });
    else {
      const tls = isTls ? { tls: { rejectUnauthorized: false } } : null;
      link.#socket = await Bun.connect({ hostname: "127.0.0.1", port: target.port, socket, ...tls });
    }
    if (isTls) await within(shaken.promise, "TLS handshake");
    return link;
  }

  /**
   * Sends, and waits for bytes that are a whole answer.
   *
   * @param whole @returns how long the answer is; null: not all of it is here
   * @throws Ended, or Error when nothing comes
   */
  async ask(question: string | Uint8Array, whole: (text: string) => number | null): Promise<string> {
    await this.#send(typeof question === "string" ? Buffer.from(question) : question);
    for (;;) {
      const length = whole(this.#text);
      if (length !== null) {
        const answer = this.#text.slice(0, length);
        this.#text = this.#text.slice(length);
        return answer;
      }
      if (this.hasEnded)
        throw new Ended(this.#text === "" ? "ended without an answer" : "ended in the middle of an answer");
      await within(this.#changed.promise, "answer");
    }
  }

  /** Without waiting for anything. */
  write(bytes: string | Uint8Array): void {
    this.#socket?.write(bytes);
  }

  /** Reads no more. */
  pause(): void {
    this.#socket?.pause();
  }

  close(): void {
    this.#socket?.terminate();
  }

  async #send(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    while (rest.length > 0) {
      const taken = this.#socket?.write(rest) ?? -1;
      if (taken < 0 || this.hasEnded) throw new Ended("ended before the question was sent");
      rest = rest.subarray(taken);
      if (rest.length > 0) await Bun.sleep(1);
    }
  }

  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** @throws Error after a deadline, which names the missing answer */
export async function within<T>(promise: Promise<T>, what: string, ms: number = DEADLINE_MS): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no ${what} in ${ms} ms`)), ms);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Up to and with the first line feed. */
export function wholeLine(text: string): number | null {
  const end = text.indexOf("\n");
  return end === -1 ? null : end + 1;
}
