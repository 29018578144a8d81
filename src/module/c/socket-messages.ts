/**
 * Events of WebSockets on the way to the process of a module in C, and what its handler does on the way back. Both are
 * one message each, one character for each byte. Pure.
 */

/** In the order of the enum in hrmr.h. */
export const SOCKET_EVENT = { open: 1, text: 2, binary: 3, drain: 4, closed: 5 } as const;

export interface SocketEventHead {
  readonly event: number;
  /** Its number. Above 0. */
  readonly socket: number;
  /** Of the closing; 0: it is not closed. */
  readonly code: number;
}

/** @param payload one character for each byte */
export function socketEventText({ event, socket, code }: SocketEventHead, payload: string): string {
  return `${event} ${socket} ${code}\0${payload}`;
}

/** @param text  of `socketEventText` */
export function readSocketEvent(text: string): { readonly head: SocketEventHead; readonly payload: string } {
  const end = text.indexOf("\0");
  const [event = 0, socket = 0, code = 0] = text.slice(0, end).split(" ").map(Number);
  return { head: { event, socket, code }, payload: text.slice(end + 1) };
}

/** Something that a handler does. The letters are those of `hrmr__socket_act`. */
export interface SocketAct {
  readonly what: "t" | "b" | "c" | "+" | "-" | "T" | "B";
  /** A topic, or the code of a close. */
  readonly name: string;
  readonly bytes: Buffer;
}

const HEADER_BYTES = 4;

/** @param reply  the message that the handler replies; empty: none. @param acts  as bridge.c wrote them */
export function socketReply(reply: Uint8Array, acts: Uint8Array): Buffer {
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header.writeUInt32LE(reply.length);
  return Buffer.concat([header, reply, acts]);
}

/** @param bytes  of `socketReply`. @returns the acts, in their order, and the reply */
export function readSocketReply(bytes: Buffer): { readonly reply: Buffer; readonly acts: readonly SocketAct[] } {
  const actsAt = HEADER_BYTES + bytes.readUInt32LE(0);
  const acts: SocketAct[] = [];
  for (let at = actsAt; at < bytes.length;) {
    const nameAt = at + 1 + HEADER_BYTES;
    const nameEnd = nameAt + bytes.readUInt32LE(at + 1);
    const bytesAt = nameEnd + HEADER_BYTES;
    const end = bytesAt + bytes.readUInt32LE(nameEnd);
    const what = String.fromCharCode(bytes[at] ?? 0) as SocketAct["what"];
    acts.push({ what, name: bytes.toString("utf8", nameAt, nameEnd), bytes: bytes.subarray(bytesAt, end) });
    at = end;
  }
  return { reply: bytes.subarray(HEADER_BYTES, actsAt), acts };
}

/** The key of a route's `websocket` for its events elsewhere: `(message) => bytes`. */
export const EVENTS_ELSEWHERE = Symbol.for("hrmr.socketEvents");
