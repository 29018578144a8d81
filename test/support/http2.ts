/** HTTP/2 as bytes, and a client that asks for one thing after the other or many at once. */
import http2 from "node:http2";
import { HpackDecoder } from "../../src/protocol/http2/hpack/decoder";
import { RawClient } from "./client";

export const PREFACE: Buffer = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
/** A client's first bytes: the preface and empty SETTINGS. */
export const OPENING: Buffer = Buffer.concat([PREFACE, frame(4, 0, 0)]);

/** One frame (RFC 9113 section 4.1). */
export function frame(type: number, flags: number, stream: number, payload: Uint8Array | string = ""): Buffer {
  const content = typeof payload === "string" ? Buffer.from(payload, "latin1") : payload;
  const head = Buffer.alloc(9);
  head.writeUIntBE(content.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, content]);
}

/** A GET, or a POST whose body follows. */
export function getFrame(stream: number, path: string, endsStream = true): Buffer {
  const fields = {
    ":method": endsStream ? "GET" : "POST",
    ":scheme": "http",
    ":authority": "a.example",
    ":path": path,
  };
  return headersFrame(stream, Object.entries(fields), endsStream);
}

export type Fields = readonly (readonly [name: string, value: string])[];

/** HEADERS with END_HEADERS. */
export function headersFrame(stream: number, fields: Fields, endsStream = true): Buffer {
  return frame(1, endsStream ? 0x5 : 0x4, stream, blockOf(fields));
}

/** A header block that needs no Huffman code and no table: fields as literals (RFC 7541 section 6.2.2). */
export function blockOf(fields: Fields): Buffer {
  return Buffer.concat(fields.map(([name, value]) => Buffer.concat([Buffer.from([0]), text(name), text(value)])));
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  const length: number[] = [];
  if (bytes.length < 127) length.push(bytes.length);
  else {
    let rest = bytes.length - 127;
    for (length.push(127); rest >= 128; rest >>>= 7) length.push((rest & 127) | 128);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}

/** The replies in `frames`, by stream: what came of each so far, and how it ended. */
export function repliesIn(frames: readonly Frame[]): Map<number, FrameReply> {
  const decoder = new HpackDecoder();
  const replies = new Map<number, FrameReply>();
  for (const { type, flags, stream, payload } of frames) {
    if (stream === 0 || type === 8) continue;
    const reply = replies.get(stream) ?? { status: 0, fields: {}, body: "", trailers: null, end: null };
    replies.set(stream, reply);
    if (type === 3) reply.end = payload.readUInt32BE(0);
    else if ((flags & 1) === 1) reply.end = "whole";
    if (type === 0) reply.body += payload.toString();
    if (type !== 1) continue;
    const { fields } = decoder.decode(payload, 0, payload.length, 1_000_000, 1_000_000);
    const record: Record<string, string> = {};
    for (let at = 0; at < fields.length; at += 2) record[fields[at] as string] = fields[at + 1] as string;
    if (reply.status < 200) {
      reply.status = Number(record[":status"]);
      reply.fields = record;
    } else reply.trailers = record;
  }
  return replies;
}

export interface FrameReply {
  status: number;
  fields: Record<string, string>;
  body: string;
  trailers: Record<string, string> | null;
  /** "whole", or the code of its RST_STREAM; null: it goes on. */
  end: "whole" | number | null;
}

export interface Frame {
  type: number;
  flags: number;
  stream: number;
  payload: Buffer;
}

/** The whole frames in `bytes`. */
export function framesIn(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  let at = 0;
  while (at + 9 <= bytes.length) {
    const length = bytes.readUIntBE(at, 3);
    if (at + 9 + length > bytes.length) break;
    const payload = bytes.subarray(at + 9, at + 9 + length);
    frames.push({
      type: bytes[at + 3] ?? 0,
      flags: bytes[at + 4] ?? 0,
      stream: bytes.readUInt32BE(at + 5) & 0x7fffffff,
      payload,
    });
    at += 9 + length;
  }
  return frames;
}

/** The error codes of the GOAWAY frames in `bytes`. */
export function goawayCodes(bytes: Buffer): number[] {
  return framesIn(bytes).flatMap(({ type, payload }) => (type === 7 ? [payload.readUInt32BE(4)] : []));
}

/** A connection of frames; close it. */
export async function connectFrames(port: number, opening: Uint8Array = OPENING): Promise<RawClient> {
  const client = await RawClient.connect(port);
  await client.send(opening);
  return client;
}

/** Resolves once frames that satisfy `isThere` have come; fails at the client's deadline. */
export async function waitForFrames(client: RawClient, isThere: (frames: Frame[]) => boolean): Promise<Frame[]> {
  for (let count = 9; ; count = client.bytes.length + 1) {
    await client.waitForBytes(count);
    const frames = framesIn(client.bytes);
    if (isThere(frames)) return frames;
  }
}

export interface Reply {
  status: number;
  headers: Record<string, string>;
  body: Buffer;
}

export interface Ask {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  /** Sent behind the body. */
  trailers?: Record<string, string>;
}

/** One HTTP/2 connection with the client of node:http2. */
export class Http2Client {
  readonly session: http2.ClientHttp2Session;
  /** Error codes of the GOAWAY frames so far. */
  readonly goaways: number[] = [];
  readonly closed: Promise<void>;

  constructor(url: string) {
    this.session = http2.connect(url);
    this.session.on("goaway", (code) => this.goaways.push(code));
    this.session.on("error", () => {});
    this.closed = new Promise((resolve) => this.session.once("close", () => resolve()));
  }

  /** Begins a request; the caller ends and reads it. */
  begin(path: string, { method = "GET", headers = {} }: Ask = {}): http2.ClientHttp2Stream {
    return this.session.request({ ":path": path, ":method": method, ...headers }, { endStream: false });
  }

  async ask(path: string, ask: Ask = {}): Promise<Reply> {
    const { method = ask.body === undefined ? "GET" : "POST", headers = {}, body, trailers } = ask;
    const options = { endStream: body === undefined, waitForTrailers: trailers !== undefined };
    const stream = this.session.request({ ":path": path, ":method": method, ...headers }, options);
    if (trailers !== undefined) stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    const reply = readReply(stream);
    if (body !== undefined) stream.end(body);
    return reply;
  }

  /** Closes the connection at once. */
  destroy(): void {
    this.session.destroy();
  }
}

/** @returns the whole reply; rejects when the stream is reset */
export function readReply(stream: http2.ClientHttp2Stream): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let head: Record<string, string> = {};
    stream.on("response", (headers) => (head = headers as unknown as Record<string, string>));
    stream.on("data", (part: Buffer) => parts.push(part));
    stream.on("error", reject);
    stream.on("end", () => {
      const { ":status": status = 0, ...headers } = head;
      resolve({ status: Number(status), headers, body: Buffer.concat(parts) });
    });
    stream.on("close", () => reject(new Error(`The stream was closed (${stream.rstCode}) before its end.`)));
  });
}

/** Runs `use` with a client that is closed afterwards. */
export async function withHttp2<T>(url: string, use: (client: Http2Client) => Promise<T>): Promise<T> {
  const client = new Http2Client(url);
  try {
    return await use(client);
  } finally {
    client.destroy();
  }
}
