/** A WebSocket client that sends any frames, right or wrong, and reads the replies frame by frame. */
import { expect } from "bun:test";
import { constants, inflateRawSync } from "node:zlib";
import { RawClient } from "./client";

export const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
export const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const TAIL = Buffer.from([0, 0, 255, 255]);

export interface FrameOptions {
  fin?: boolean;
  /** Bits 4 (RSV1), 2 and 1. */
  rsv?: number;
  /** Default: a key that is not 0. null: not masked. */
  mask?: readonly number[] | null;
  /** Announced instead of the payload's length. */
  length?: number | bigint;
  /** How the length is written. Default: the shortest form. */
  form?: 7 | 16 | 64;
}

/** A client's frame. */
export function frame(opcode: number, payload: string | Uint8Array = "", options: FrameOptions = {}): Buffer {
  const bytes = typeof payload === "string" ? Buffer.from(payload) : Buffer.from(payload);
  const { fin = true, rsv = 0, mask = [0x37, 0xfa, 0x21, 0x3d], length = bytes.length } = options;
  const form = options.form ?? (length < 126 ? 7 : length < 65_536 ? 16 : 64);
  const head = [
    (fin ? 0x80 : 0) | (rsv << 4) | opcode,
    (mask === null ? 0 : 0x80) | (form === 7 ? Number(length) : form === 16 ? 126 : 127),
  ];
  const extended = Buffer.alloc(form === 7 ? 0 : form / 8);
  if (form === 16) extended.writeUInt16BE(Number(length));
  if (form === 64) extended.writeBigUInt64BE(BigInt(length));
  if (mask !== null) for (let i = 0; i < bytes.length; i++) bytes[i] = (bytes[i] as number) ^ (mask[i % 4] as number);
  return Buffer.concat([Buffer.from(head), extended, Buffer.from(mask ?? []), bytes]);
}

export const text = (payload: string | Uint8Array, options?: FrameOptions): Buffer => frame(1, payload, options);
export const binary = (payload: string | Uint8Array, options?: FrameOptions): Buffer => frame(2, payload, options);
export const more = (payload: string | Uint8Array, options?: FrameOptions): Buffer => frame(0, payload, options);
export const ping = (payload: string | Uint8Array = "", options?: FrameOptions): Buffer => frame(9, payload, options);
export const pong = (payload: string | Uint8Array = "", options?: FrameOptions): Buffer => frame(10, payload, options);
/** Not the last fragment. */
export const PART = { fin: false };

export function close(code?: number, reason: string | Uint8Array = "", options?: FrameOptions): Buffer {
  if (code === undefined) return frame(8, "", options);
  return frame(8, Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason)]), options);
}

export interface ServerFrame {
  readonly opcode: number;
  readonly rsv: number;
  readonly payload: Buffer;
}

/**
 * Takes the server's bytes apart. Fails on frames that no server may send: masks, fragments of ours, long control
 * frames.
 */
export function parseFrames(bytes: Buffer): { frames: ServerFrame[]; rest: Buffer } {
  const frames: ServerFrame[] = [];
  let at = 0;
  while (bytes.length - at >= 2) {
    const first = bytes[at] as number;
    const second = bytes[at + 1] as number;
    if ((first & 0x80) === 0 || second >= 0x80)
      throw new Error(`The server sent a fragment or a mask: ${bytes.toString("hex", at, at + 8)}`);
    let length = second;
    let from = at + 2;
    if (second === 126) {
      if (bytes.length - at < 4) break;
      length = bytes.readUInt16BE(at + 2);
      from = at + 4;
      expect(length).toBeGreaterThanOrEqual(126);
    } else if (second === 127) {
      if (bytes.length - at < 10) break;
      length = Number(bytes.readBigUInt64BE(at + 2));
      from = at + 10;
      expect(length).toBeGreaterThanOrEqual(65_536);
    }
    if (bytes.length < from + length) break;
    const opcode = first & 15;
    if (opcode >= 8) expect(length).toBeLessThanOrEqual(125);
    frames.push({ opcode, rsv: (first >> 4) & 7, payload: bytes.subarray(from, from + length) });
    at = from + length;
  }
  return { frames, rest: bytes.subarray(at) };
}

/** The result of a conversation: messages ("text:…", "binary:hex"), pongs, and the close code. */
export interface Outcome {
  readonly frames: string[];
  /** The code of the server's close frame; 1005 if it had none; null if there was no close frame. */
  readonly code: number | null;
  readonly reason: string;
}

export class RawWebSocket {
  readonly client: RawClient;
  readonly head: string;
  #headBytes: number;

  private constructor(client: RawClient, head: string) {
    this.client = client;
    this.head = head;
    this.#headBytes = head.length;
  }

  /** Opens a socket, or fails with the server's answer. @param extra  further header lines, each with its CR LF */
  static async open(
    port: number,
    path: string,
    extra = "",
    behind: Uint8Array = new Uint8Array(0),
  ): Promise<RawWebSocket> {
    const client = await RawClient.connect(port);
    const request = upgradeRequest(path, extra);
    await client.send(Buffer.concat([Buffer.from(request), behind]));
    await client.waitFor("\r\n\r\n");
    const end = client.bytes.indexOf("\r\n\r\n") + 4;
    const head = client.bytes.toString("latin1", 0, end);
    if (!head.startsWith("HTTP/1.1 101 ")) {
      client.close();
      throw new Error(`no WebSocket: ${client.text}`);
    }
    return new RawWebSocket(client, head);
  }

  get #frames(): ServerFrame[] {
    return parseFrames(this.client.bytes.subarray(this.#headBytes)).frames;
  }

  /** Forgets the frames so far. */
  clear(): void {
    this.client.clear();
    this.#headBytes = 0;
  }

  /** All frames so far, as text. */
  get frames(): string[] {
    return this.#frames.filter(({ opcode }) => opcode !== 8).map(showFrame);
  }

  /** The same, unread. */
  get raw(): ServerFrame[] {
    return this.#frames;
  }

  send(bytes: Uint8Array): Promise<RawClient> {
    return this.client.send(bytes);
  }

  async sendByteByByte(bytes: Uint8Array): Promise<void> {
    for (let i = 0; i < bytes.length; i++) {
      await this.client.send(bytes.subarray(i, i + 1));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Sends a ping last and waits for its pong: all earlier replies have then come. */
  async sync(): Promise<string[]> {
    const marker = `sync${Math.random()}`;
    await this.send(ping(marker));
    await this.client.waitFor(marker);
    return this.frames.filter((shown) => shown !== `pong:${marker}`);
  }

  /** Resolves once there are `count` frames, close frames not counted. */
  async waitForFrames(count: number): Promise<string[]> {
    let have = this.client.bytes.length;
    while (this.frames.length < count) {
      await this.client.waitForBytes(have + 1);
      have = this.client.bytes.length;
    }
    return this.frames;
  }

  /** Waits until the server has ended the connection. */
  async outcome(): Promise<Outcome> {
    await this.client.waitForEnd();
    const { frames, rest } = parseFrames(this.client.bytes.subarray(this.#headBytes));
    expect(rest.length).toBe(0);
    const at = frames.findIndex(({ opcode }) => opcode === 8);
    const closing = frames[at];
    // Nothing follows a close frame.
    if (closing !== undefined) expect(at).toBe(frames.length - 1);
    const payload = closing?.payload ?? Buffer.alloc(0);
    return {
      frames: this.frames,
      code: closing === undefined ? null : payload.length === 0 ? 1005 : payload.readUInt16BE(0),
      reason: payload.toString("utf8", 2),
    };
  }

  close(): void {
    this.client.close();
  }
}

export function upgradeRequest(path: string, extra = ""): string {
  return (
    `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
    `Sec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n${extra}\r\n`
  );
}

function showFrame({ opcode, rsv, payload: sent }: ServerFrame): string {
  const payload =
    rsv === 4 ? inflateRawSync(Buffer.concat([sent, TAIL]), { finishFlush: constants.Z_SYNC_FLUSH }) : sent;
  if (opcode === 1) return `text:${new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(payload)}`;
  if (opcode === 2) return `binary:${payload.toString("hex")}`;
  return `${opcode === 9 ? "ping" : opcode === 10 ? "pong" : `opcode ${opcode}`}:${payload.toString("latin1")}`;
}
