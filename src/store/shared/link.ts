/** A connection between two processes of a server, over which they send each other flat arrays. */
import { deserialize } from "bun:jsc";
import type { Socket } from "bun";
import { frameOf, MessageReader } from "../../host/process/channel";
import { type Flat, FlatReader } from "../../host/store/flat";
import { asHost } from "../../system/leave-graph";

interface LinkOwner {
  /** @throws TypeError for a message of another form: the link is closed then */
  received(message: FlatReader): void;
  /** The other side is gone. Called once, also after `close`. */
  closed(): void;
}

/** The other side does not read: it is cut off, and asks again for what it has missed when it is back. */
const MAX_UNSENT_BYTES = 134_217_728;

/** Joins all that is sent in one turn of the loop into one write. */
export class Link {
  readonly #owner: LinkOwner;
  readonly #reader: MessageReader;
  #socket: Socket<Link> | null = null;
  #unsent: Uint8Array[] = [];
  #unsentBytes = 0;
  #isFlushScheduled = false;
  #isEnding = false;
  #isClosed = false;
  #isOver = false;

  constructor(owner: LinkOwner) {
    this.#owner = owner;
    this.#reader = new MessageReader((bytes) => {
      if (!this.#isClosed) owner.received(new FlatReader(deserialize(bytes) as unknown[]));
    });
  }

  /** The handlers of its socket. */
  static readonly handlers: Bun.SocketHandler<Link> = {
    open: (socket) => socket.data.opened(socket),
    data: (socket, bytes) => socket.data.#read(bytes),
    drain: (socket) => socket.data.#flush(),
    close: (socket) => socket.data.over(),
    end: (socket) => void socket.end(),
    error: () => {},
    connectError: (socket) => socket.data.over(),
  };

  opened(socket: Socket<Link>): void {
    this.#socket = socket;
    if (this.#isClosed) socket.terminate();
    else this.#flush();
  }

  send(message: Flat): void {
    if (this.#isClosed) return;
    const frame = frameOf(message);
    this.#unsent.push(frame);
    this.#unsentBytes += frame.length;
    if (this.#unsentBytes > MAX_UNSENT_BYTES) return this.close();
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    asHost(() => setImmediate(() => this.#flush()));
  }

  /** Closes it when all is sent. */
  end(): void {
    this.#isEnding = true;
    this.#flush();
  }

  /** Idempotent. */
  close(): void {
    this.#isClosed = true;
    this.#unsent = [];
    this.#reader.close();
    this.#socket?.terminate();
  }

  /** The connection has ended, or was never there. */
  over(): void {
    this.#isClosed = true;
    if (this.#isOver) return;
    this.#isOver = true;
    this.#owner.closed();
  }

  #read(bytes: Uint8Array): void {
    if (this.#isClosed) return;
    try {
      this.#reader.read(new Uint8Array(bytes));
    } catch {
      // A process of another version, or a damaged one: it connects again, or its calls end in time.
      this.close();
    }
  }

  #flush(): void {
    this.#isFlushScheduled = false;
    if (this.#socket === null || this.#isClosed) return;
    if (this.#unsent.length > 0) {
      const all = this.#unsent.length === 1 ? (this.#unsent[0] as Uint8Array) : Buffer.concat(this.#unsent);
      const taken = Math.max(0, this.#socket.write(all));
      this.#unsent = taken < all.length ? [all.subarray(taken)] : [];
      this.#unsentBytes = all.length - taken;
    }
    if (this.#isEnding && this.#unsent.length === 0) this.#socket.end();
  }
}
