/** Frames on the wire (RFC 6455 section 5): the parts that both directions share, and writing. */

import type { Encode } from "../wire";

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
export const SERVICE_RESTART = 1012;
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

/** @param flags  the first byte: FIN, RSV1 and the opcode */
export function encodeFrame(flags: number, payload: Uint8Array): Buffer {
  const length = payload.length;
  const frame = Buffer.allocUnsafe(headerBytes(length) + length);
  frame.set(payload, writeHeader(frame, 0, flags, length));
  return frame;
}

/** A whole, uncompressed text message, written into its frame without a copy in between. */
export function encodeText(text: string): Buffer {
  const length = Buffer.byteLength(text);
  const frame = Buffer.allocUnsafe(headerBytes(length) + length);
  writeText(frame, 0, text, length);
  return frame;
}

/** A frame's bytes besides its payload are at most so many. */
export const MAX_HEADER_BYTES = 10;

/** A text message's frame, for `Wire.writeInPlace`: at most 3 bytes for each character, and its header. */
export const encodeTextAt: Encode<string> = (memory, at, text) => writeText(memory, at, text, Buffer.byteLength(text));

/** The frame of a message of bytes, for `Wire.writeInPlace`. */
export const encodeBinaryAt: Encode<Uint8Array> = (memory, at, payload) => {
  const begin = writeHeader(memory, at, FIN | BINARY, payload.length);
  memory.set(payload, begin);
  return begin + payload.length;
};

/** @param length  of the text in UTF-8. In bytes. @returns the frame's end */
function writeText(memory: Buffer, at: number, text: string, length: number): number {
  const begin = writeHeader(memory, at, FIN | TEXT, length);
  // If there are as many bytes as characters, all are ASCII.
  if (length === text.length) memory.latin1Write(text, begin);
  else memory.utf8Write(text, begin);
  return begin + length;
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

function headerBytes(length: number): number {
  return length < 126 ? 2 : length < 65_536 ? 4 : 10;
}

/** @returns where the payload begins */
function writeHeader(memory: Buffer, at: number, flags: number, length: number): number {
  memory[at] = flags;
  if (length < 126) {
    memory[at + 1] = length;
    return at + 2;
  }
  if (length < 65_536) {
    memory[at + 1] = 126;
    memory[at + 2] = length >>> 8;
    memory[at + 3] = length & 0xff;
    return at + 4;
  }
  memory[at + 1] = 127;
  memory.writeUInt32BE(Math.floor(length / 0x1_0000_0000), at + 2);
  memory.writeUInt32BE(length >>> 0, at + 6);
  return at + 10;
}
