/**
 * The channel between the server and a module's process. The process uses Bun's IPC. The server has its own code for
 * the same protocol: Bun's reserves memory for any announced size, so one broken process could fill the server's
 * memory. Here the size is checked first.
 *
 * On the wire: a byte for the kind, the length in four bytes (little-endian), then as many bytes of a structured clone.
 */
import { messageOf } from "../../config/user-error";
import { closeSync } from "node:fs";
import type { Socket } from "bun";
import { ptr } from "bun:ffi";
import { deserialize, serialize } from "bun:jsc";
import { asHost } from "../../system/leave-graph";
import { openLibc } from "../../system/libc";

/** The largest message that a process may send. In bytes. */
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

interface ChannelOwner {
  received(message: unknown): void;
  /**
   * The process sent bytes that are no message. Nothing more is read. Called at most once, never from within `send`.
   */
  broken(reason: string): void;
}

const HEADER_BYTES = 5;
/** Each side sends this first. Its length field holds the protocol's version, and no body follows. */
const KIND_VERSION = 1;
const KIND_MESSAGE = 2;
const VERSION = 1;

const AF_UNIX = 1;
const SOCK_STREAM = 1;
/** The value on Linux. */
const SOCK_CLOEXEC = 0o2000000;
const SYMBOLS = { socketpair: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" } } as const;

/** Bun.connect takes a connected descriptor too, though its types don't say so. */
type ConnectOnDescriptor = (options: {
  fd: number;
  socket: Bun.SocketHandler<undefined>;
}) => Promise<Socket<undefined>>;

export class ProcessChannel {
  /** The process's end of the channel. `given` closes our copy. */
  readonly processFd: number;
  /** Resolves when the process's end is closed and all its messages were received. */
  readonly ended: Promise<void>;
  readonly #owner: ChannelOwner;
  readonly #reader: MessageReader;
  #socket: Socket<undefined> | null = null;
  #unsent: Uint8Array[] = [];
  #isOver = false;

  /** @throws Error if there is no descriptor left */
  constructor(owner: ChannelOwner) {
    this.#owner = owner;
    this.#reader = new MessageReader((bytes) => owner.received(deserialize(bytes)));
    const [own, processFd] = openPair();
    this.processFd = processFd;
    const ended = Promise.withResolvers<void>();
    this.ended = ended.promise;
    this.#unsent.push(headerOf(KIND_VERSION, VERSION));
    const socket: Bun.SocketHandler<undefined> = {
      data: (_, bytes) => this.#read(bytes),
      drain: () => this.#flush(),
      close: () => ended.resolve(),
      end: (each) => void each.end(),
      error: () => {},
    };
    const opened = asHost(() => (Bun.connect as unknown as ConnectOnDescriptor)({ fd: own, socket }));
    opened.then(
      (each) => {
        this.#socket = each;
        if (this.#isOver) each.terminate();
        this.#flush();
      },
      () => ended.resolve(),
    );
  }

  /** Closes our copy of the process's end: the process has its own copy now, or could not be started. */
  given(): void {
    closeSync(this.processFd);
  }

  /** @param message structured-cloneable; lost if the process is gone. @throws DataCloneError */
  send(message: unknown): void {
    const bytes = serialize(message, { binaryType: "nodebuffer" });
    if (this.#isOver) return;
    this.#unsent.push(headerOf(KIND_MESSAGE, bytes.length), bytes);
    this.#flush();
  }

  close(): void {
    this.#isOver = true;
    this.#unsent = [];
    this.#reader.close();
    this.#socket?.terminate();
  }

  #read(bytes: Uint8Array): void {
    if (this.#isOver) return;
    try {
      this.#reader.read(bytes);
    } catch (error) {
      this.close();
      this.#owner.broken(messageOf(error));
    }
  }

  #flush(): void {
    if (this.#socket === null || this.#unsent.length === 0) return;
    const all = this.#unsent.length === 1 ? (this.#unsent[0] as Uint8Array) : Buffer.concat(this.#unsent);
    const taken = Math.max(0, this.#socket.write(all));
    this.#unsent = taken < all.length ? [all.subarray(taken)] : [];
  }
}

/** Cuts the received bytes into messages. */
export class MessageReader {
  readonly #received: (message: Uint8Array) => void;
  /** Pieces of the incomplete message. */
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  /** Length of the message that is arriving. 0: its header is not complete. In bytes. */
  #wanted = 0;

  /** @param received  gets the bytes of one message. `read` passes its errors on. */
  constructor(received: (message: Uint8Array) => void) {
    this.#received = received;
  }

  /** @throws Error if the bytes are no message, or one that is too large. Do not call it again after that. */
  read(bytes: Uint8Array): void {
    let rest = bytes;
    for (;;) {
      const needed = (this.#wanted === 0 ? HEADER_BYTES : this.#wanted) - this.#heldBytes;
      if (rest.length < needed) return this.#hold(rest);
      const whole = this.#join(rest.subarray(0, needed));
      rest = rest.subarray(needed);
      if (this.#wanted === 0) this.#wanted = lengthOf(whole);
      else {
        this.#wanted = 0;
        this.#received(whole);
      }
    }
  }

  close(): void {
    this.#held = [];
    this.#heldBytes = 0;
  }

  #hold(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#held.push(piece);
    this.#heldBytes += piece.length;
  }

  #join(last: Uint8Array): Uint8Array {
    if (this.#heldBytes === 0) return last;
    const whole = Buffer.concat([...this.#held, last]);
    this.close();
    return whole;
  }
}

/** @returns 0: nothing follows. @throws Error */
function lengthOf(header: Uint8Array): number {
  const length = new DataView(header.buffer, header.byteOffset).getUint32(1, true);
  if (header[0] === KIND_VERSION && length <= 0xff) return 0;
  if (header[0] !== KIND_MESSAGE || length === 0)
    throw new Error("it sent bytes that are no message over its channel to the server");
  if (length <= MAX_MESSAGE_BYTES) return length;
  throw new Error(
    `it announced a message of ${Math.ceil(length / 1_048_576)} MB to the server, and the limit is ${MAX_MESSAGE_BYTES / 1_048_576} MB`,
  );
}

/** @param message structured-cloneable. @returns a whole message. @throws DataCloneError */
export function frameOf(message: unknown): Uint8Array {
  const bytes = serialize(message, { binaryType: "nodebuffer" });
  return Buffer.concat([headerOf(KIND_MESSAGE, bytes.length), bytes]);
}

function headerOf(kind: number, length: number): Uint8Array {
  const header = Buffer.alloc(HEADER_BYTES);
  header[0] = kind;
  header.writeUInt32LE(length, 1);
  return header;
}

let libc: ReturnType<typeof openLibc<typeof SYMBOLS>> = null;

/** @returns two connected sockets. @throws Error */
function openPair(): [number, number] {
  const pair = new Int32Array(2);
  const kind = process.platform === "linux" ? SOCK_STREAM | SOCK_CLOEXEC : SOCK_STREAM;
  libc ??= openLibc(SYMBOLS);
  if (libc === null) throw new Error("the C library was not found");
  if (libc.socketpair(AF_UNIX, kind, 0, ptr(pair)) !== 0)
    throw new Error("no socket could be opened for it: too many files are open");
  return [pair[0] as number, pair[1] as number];
}
