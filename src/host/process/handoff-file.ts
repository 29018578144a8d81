/**
 * Passes the state of a version from its process to the next version's, in a nameless file that both have open. Through
 * the server, copying it would block the event loop.
 */
import { readSync, writeSync } from "node:fs";
import { deserialize, serialize } from "bun:jsc";

/** The content of the file. */
export interface StoredState {
  readonly bytes: number;
}

export class HandoffFile {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** @param data structured-cloneable. @throws Error if there is no room, or it cannot be copied */
  store(data: unknown): StoredState {
    const buffer = serialize(data, { binaryType: "nodebuffer" });
    // By explicit position: the processes share the descriptor's own.
    for (let at = 0; at < buffer.length;) at += writeSync(this.#fd, buffer, at, buffer.length - at, at);
    return { bytes: buffer.length };
  }

  load({ bytes }: StoredState): unknown {
    const buffer = Buffer.allocUnsafeSlow(bytes);
    for (let at = 0; at < bytes;) {
      const got = readSync(this.#fd, buffer, at, bytes - at, at);
      if (got === 0) throw new Error("the state that was handed over is not whole");
      at += got;
    }
    return deserialize(buffer);
  }
}
