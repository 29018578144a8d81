/**
 * The seam between a connection and the protocols spoken on it. `server/connection/connection.ts` implements Wire; a
 * protocol that needs more than one read (HTTP/1.1 in the middle of a message, a `connect` handler) implements
 * Protocol.
 */
import type { Limits } from "../config/options";
import type { CallServer } from "../host/inline";
import type { Client, Session } from "../module/contract";
import type { AccessControl } from "../hub/access/access-control";
import type { Routing } from "./routing";

/** Shared by all connections of a server. */
export interface Dispatch extends CallServer {
  /** Replaced as a whole by a reload; never keep it over an await. */
  routing: Routing;
  readonly limits: Limits;
  /** Whether TLS clients are offered HTTP/2. Default false. */
  readonly offersHttp2?: boolean;
  /** True once the server drains: HTTP/1.1 replies say `Connection: close`. */
  isDraining: boolean;
  /** The value of the Date header (RFC 9110 section 6.6.1), renewed each second. */
  httpDate: string;
  /**
   * The same for a reply after which an HTTP/1.1 connection stays open. If `timeouts.idleMs` is short, the line
   * `Keep-Alive: timeout=N` follows, so that clients do not send into a connection that is being closed. Default:
   * `httpDate`.
   */
  keepAliveDate?: string;
  readonly counters: Counters;
  /** Finds the sessions of clients. Default: all are anonymous. */
  readonly sessions?: AccessControl;
  /** Default: files are not counted. */
  readonly files?: FileBudget;
}

/** Counts the files that are being sent against the limit of descriptors. */
interface FileBudget {
  /** @returns false: no descriptor is left */
  takeFile(): boolean;
  giveFile(): void;
}

/** A reply needs a file, and no descriptor is left for it: 503. */
export class OutOfDescriptors extends Error {
  constructor(cause?: unknown) {
    super("No descriptor is left for the file: too many files are open.", { cause });
  }
}

/** By the last protocol, which may change. "new" and "tls" have sent no message yet. */
const CONNECTION_KINDS = ["new", "tls", "raw", "http1", "http2", "websocket", "connect"] as const;
export type ConnectionKind = (typeof CONNECTION_KINDS)[number];

interface Counters {
  messages: number;
  httpRequests: number;
  errors: number;
  /** Datagrams dropped because too many calls were running. */
  datagramsDropped: number;
  /** Datagrams without an answer: they matched nothing, or did not hold exactly one message. */
  datagramsIgnored: number;
  /** Open connections. */
  readonly open: Record<ConnectionKind, number>;
}

export function newCounters(): Counters {
  const open = { new: 0, tls: 0, raw: 0, http1: 0, http2: 0, websocket: 0, connect: 0 };
  return { messages: 0, httpRequests: 0, errors: 0, datagramsDropped: 0, datagramsIgnored: 0, open };
}

/** A protocol's view of its connection. */
export interface Wire {
  readonly client: Client;
  /** Who the client has shown to be, with AUTH. */
  readonly session: Session;
  readonly dispatch: Dispatch;
  /** The peer uses TLS: URLs are https, and only `write` may write to its socket. */
  readonly isSecure: boolean;
  /** True once the socket is gone; writes are dropped silently. */
  readonly isClosed: boolean;
  /** True once the peer sent FIN. Replies can still be written. */
  readonly hasEnded: boolean;
  /** Bytes that the kernel has not taken yet. */
  readonly queuedBytes: number;
  /**
   * Sends, or queues behind earlier writes. Strings go out as UTF-8. Writes within one `receive` leave in one system
   * call.
   * @returns false above maxWriteBufferBytes: wait for `Protocol.drained` (or `waitForDrain`) before writing more
   */
  write(data: string | Uint8Array): boolean;
  /**
   * Sends at once, behind earlier writes. The memory stays the caller's: bytes that the kernel does not take are copied.
   * @returns as `write` does
   */
  writeShared(bytes: Uint8Array): boolean;
  /**
   * The same for a message that `encode` writes straight into the memory that is sent: without a buffer of its own.
   *
   * @param maxBytes  the most that `encode` writes. In bytes
   * @param encode    writes `value` into the memory from `at` on, and returns its end there. Must not throw
   * @returns the number of bytes; 0: there is no room now, and nothing was written; use `write`
   */
  writeInPlace<T>(maxBytes: number, encode: Encode<T>, value: T): number;
  /**
   * The same for a message whose bytes from `headBytes` on are those of an open file: the kernel takes them from there,
   * if it can. Only with `canSendFile`.
   */
  writeFile(message: Buffer, headBytes: number, fd: number): boolean;
  /** Whether `sendFile` and `writeFile` can be used. */
  readonly canSendFile: boolean;
  /** Sends a piece of an open file without reading it. `check` is called before its last bytes; its error is thrown. */
  sendFile(fd: number, start: number, end: number, check: () => void): Promise<void>;
  /** Resolves when the queue is below its mark again, or when the socket is gone. */
  waitForDrain(): Promise<void>;
  /** Stops reading; TCP slows the peer down. Idempotent. */
  pause(): void;
  resume(): void;
  /**
   * Lets the kernel probe a peer that is silent for a minute, to notice one that vanished. For connections without a
   * deadline.
   */
  probePeer(): void;
  /** From now on bytes go to `protocol`, until `release`. */
  take(protocol: Protocol): void;
  /** The message is over and answered: later bytes (`rest`, may be empty) are routed again. Ends `take`. */
  release(rest: Uint8Array): void;
  /** Arms the one deadline of this connection; the protocol's `expired` is called. 0: none. Replaces the former one. */
  armDeadline(ms: number): void;
  /**
   * Sends queued bytes, then FIN. Discards the peer's bytes until its FIN, so that the reply is not lost to a reset.
   */
  finish(): void;
  /** Drops queued bytes and resets the connection. */
  abort(): void;
}

/** See `Wire.writeInPlace`. */
export type Encode<T> = (memory: Buffer, at: number, value: T) => number;

/** Takes a connection's bytes for as long as a message, or a handed-over connection, lasts. */
export interface Protocol {
  readonly speaks: ConnectionKind;
  /** Bytes from the socket, in order. Not reused, so they may be kept. */
  receive(bytes: Uint8Array): void;
  /** The peer's FIN. */
  ended(): void;
  /** The write queue is below its mark again. */
  drained(): void;
  /** The socket is gone. Called once, last. */
  closed(): void;
  /** The deadline of `armDeadline` has passed. */
  expired(): void;
  /** The server drains: finish open work, begin nothing new. */
  draining(): void;
}

/** Bytes from a socket are a Buffer already. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
