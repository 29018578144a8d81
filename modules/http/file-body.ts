/** A file, or a piece of one, as the body of a reply. */
import { closeSync, fstatSync, read } from "node:fs";
import { promisify } from "node:util";
import { isSame, openToRead, type FileFacts } from "./disk";

const CHUNK_BYTES = 256 * 1024;

/**
 * The file behind a stream, for a server that can send a file without reading it. On the frozen init of a reply: the
 * file with the bytes of its body.
 */
export const FILE = Symbol.for("hrmr.file");

const readAt = promisify(read);

/**
 * Files that are being sent, by their stat. Clients of one file share one descriptor: each read names its place in the
 * file, so clients do not disturb each other.
 */
const opened = new Map<string, { readonly fd: number; users: number }>();
const keys = new Map<number, string>();

/** The bytes from `start` to before `end` of a file in the state of one stat. */
export class FilePiece {
  /** The stream has exactly these bytes. */
  readonly isWhole = true;

  constructor(
    readonly path: string,
    readonly facts: FileFacts,
    readonly start: number,
    readonly end: number,
  ) {}

  /**
   * @returns a descriptor, shared by all replies with this state of the file: return it by `close`. Throws if the file
   *   is gone or was replaced: the name may now lead outside.
   */
  open(): number {
    const { dev, ino, size, mtimeMs, ctimeMs } = this.facts;
    const key = [dev, ino, size, mtimeMs, ctimeMs].join(" ");
    const known = opened.get(key);
    if (known !== undefined) {
      known.users++;
      return known.fd;
    }
    const fd = openToRead(this.path);
    try {
      if (!isSame(this.facts, fstatSync(fd))) throw this.changed();
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    opened.set(key, { fd, users: 1 });
    keys.set(fd, key);
    return fd;
  }

  close(fd: number): void {
    const key = keys.get(fd) ?? "";
    const known = opened.get(key);
    if (known === undefined || --known.users > 0) return;
    opened.delete(key);
    keys.delete(fd);
    closeSync(fd);
  }

  /**
   * Throws if the file was written to since: bytes read before this call may belong to another version. Deleting it, or
   * replacing it by a rename, is no change: the descriptor still leads to the old file.
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
    return withFile(toStream(this.read()), this);
  }

  async *read(): AsyncGenerator<Uint8Array, void> {
    const fd = this.open();
    try {
      for (let position = this.start; position < this.end;) {
        // A new buffer each time: the one before may still wait to be sent.
        const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, this.end - position));
        const { bytesRead } = await readAt(fd, buffer, 0, buffer.length, position);
        // The announced length is no longer true. Only a broken connection tells the client so.
        if (bytesRead === 0) throw this.changed();
        this.check(fd);
        position += bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      this.close(fd);
    }
  }
}

/** Attaches its file to a stream, for the server. */
export function withFile(stream: ReadableStream<Uint8Array>, file: object): ReadableStream<Uint8Array> {
  return Object.assign(stream, { [FILE]: file });
}

/** @param chunks runs only as far as the reader reads */
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
