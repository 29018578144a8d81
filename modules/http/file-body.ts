/** A file, or a piece of one, as the body of a reply. */
import { closeSync, fstatSync } from "node:fs";
import { open } from "node:fs/promises";
import { isSame, openToRead, READ_FLAGS, type FileFacts } from "./disk";
import { diskPath } from "./names";

const CHUNK_BYTES = 256 * 1024;

/** Where a server that can send a file without reading it finds the file behind a stream. */
const FILE = Symbol.for("hrmr.file");

/** Bytes `start` to before `end` of a file, as one stat saw it. */
export class FilePiece {
  constructor(
    readonly path: string,
    readonly facts: FileFacts,
    readonly start: number,
    readonly end: number,
  ) {}

  /**
   * @returns a descriptor, which the caller closes. Throws when the file is gone, or is another by now: the name may have become a
   * link to the outside.
   */
  open(): number {
    const fd = openToRead(this.path);
    try {
      this.checkOpened(fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    return fd;
  }

  checkOpened(fd: number): void {
    if (!isSame(this.facts, fstatSync(fd))) throw this.changed();
  }

  /**
   * Throws when the file was written to since: bytes read before this call may belong to another version. Being deleted, or
   * replaced by a rename as a careful deployment does it, is no change: the descriptor still leads to the old file.
   */
  check(fd: number): void {
    const { size, mtimeMs } = fstatSync(fd);
    if (size !== this.facts.size || mtimeMs !== this.facts.mtimeMs) throw this.changed();
  }

  changed(): Error {
    return new Error(
      `${this.path} was changed while it was being sent. The connection ends, so that nobody takes the two halves for a whole.`,
    );
  }

  /** The file is opened at the first read and closed at the end, on an error and on cancel. */
  stream(): ReadableStream<Uint8Array> {
    return Object.assign(toStream(this.read()), { [FILE]: this });
  }

  async *read(): AsyncGenerator<Uint8Array, void> {
    const file = await open(diskPath(this.path), READ_FLAGS);
    try {
      this.checkOpened(file.fd);
      for (let position = this.start; position < this.end;) {
        // A new buffer each time: the one before may still wait to be sent.
        const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, this.end - position));
        const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
        // The promised length can no longer be kept. Only a broken connection tells the client so.
        if (bytesRead === 0) throw this.changed();
        this.check(file.fd);
        position += bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await file.close();
    }
  }
}

/** @param chunks  runs only as far as the reader asks */
export function toStream(chunks: AsyncGenerator<Uint8Array, void>): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await chunks.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      // Waits for a read under way, then runs the generator's `finally`.
      async cancel() {
        await chunks.return();
      },
    },
    { highWaterMark: 0 },
  );
}
