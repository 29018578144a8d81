/** Frames on the wire (RFC 6455 section 5): the parts that both directions share, and writing. */

import type { Wire } from "../wire";
import { frameMemory } from "./memory";

// The values of `readyState` in the WebSocket API (its section 2.2). There is no CONNECTING on this side.
export const OPEN = 1;
export const CLOSING = 2;
export const CLOSED = 3;

// Opcodes (section 5.2). From 8 on they are control frames.
export const CONTINUATION = 0;
export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

export const FIN = 0x80;
/** On the first frame of a message: its payload is compressed (RFC 7692 section 6). */
export const RSV1 = 0x40;
/** A control frame's payload (section 5.5). In bytes. */
export const MAX_CONTROL_BYTES = 125;
/** The room for a close reason in a control frame's payload. In bytes. */
export const MAX_REASON_BYTES = MAX_CONTROL_BYTES - 2;

// Close codes (section 7.4.1).
export const NORMAL = 1000;
export const GOING_AWAY = 1001;
export const PROTOCOL_ERROR = 1002;
/** Never on the wire: the peer's close frame had no code. */
export const NO_STATUS = 1005;
/** Never on the wire: the connection ended without a close frame. */
export const ABNORMAL = 1006;
export const INVALID_DATA = 1007;
export const POLICY = 1008;
export const TOO_BIG = 1009;
export const SERVER_ERROR = 1011;

/** Whether a client may send this close code (section 7.4). Only a server may send 1012 to 1014. */
export function isValidFromClient(code: number): boolean {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1011) || (code >= 3000 && code <= 4999);
}

/** Whether this server may send it. */
export function isSendable(code: number): boolean {
  return isValidFromClient(code) || (code >= 1012 && code <= 1014);
}

/**
 * @param flags  the first byte: FIN, RSV1 and the opcode
 * @param wire the frame is written to it at once and not kept; null: the frame may be kept
 */
export function encodeFrame(flags: number, payload: Uint8Array, wire: Wire | null = null): Buffer {
  const length = payload.length;
  const frame = allocate(wire, headerBytes(length) + length);
  frame.set(payload, writeHeader(frame, flags, length));
  return frame;
}

/**
 * A whole, uncompressed text message, written into its frame without a copy in between. @param wire  as for
 * `encodeFrame`
 */
export function encodeText(text: string, wire: Wire | null = null): Buffer {
  const length = Buffer.byteLength(text);
  const frame = allocate(wire, headerBytes(length) + length);
  const at = writeHeader(frame, FIN | TEXT, length);
  // If there are as many bytes as characters, all are ASCII.
  if (length === text.length) frame.latin1Write(text, at);
  else frame.utf8Write(text, at);
  return frame;
}

/** @param reason cut to the size of a control frame, at a character's end */
export function encodeClose(code: number, reason: string): Buffer {
  let text = Buffer.from(reason);
  if (text.length > MAX_REASON_BYTES) {
    let end = MAX_REASON_BYTES;
    while (end > 0 && ((text[end] as number) & 0xc0) === 0x80) end--;
    text = text.subarray(0, end);
  }
  const payload = Buffer.allocUnsafe(2 + text.length);
  payload.writeUInt16BE(code, 0);
  payload.set(text, 2);
  return encodeFrame(FIN | CLOSE, payload);
}

function allocate(wire: Wire | null, bytes: number): Buffer {
  return wire === null ? Buffer.allocUnsafe(bytes) : frameMemory(wire, bytes);
}

function headerBytes(length: number): number {
  return length < 126 ? 2 : length < 65_536 ? 4 : 10;
}

/** @returns where the payload begins */
function writeHeader(frame: Buffer, flags: number, length: number): number {
  frame[0] = flags;
  if (length < 126) {
    frame[1] = length;
    return 2;
  }
  if (length < 65_536) {
    frame[1] = 126;
    frame[2] = length >>> 8;
    frame[3] = length & 0xff;
    return 4;
  }
  frame[1] = 127;
  frame.writeUInt32BE(Math.floor(length / 0x1_0000_0000), 2);
  frame.writeUInt32BE(length >>> 0, 6);
  return 10;
}
