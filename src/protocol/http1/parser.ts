/**
 * llhttp, pooled: reads a request's head, then a chunked body, both to the exact byte where they end.
 */
import { HTTPParser, methods } from "node:_http_common";
import type { Limits } from "../../config/options";
import { checkHead, checkStartLine, type RequestHead } from "./head";
import { HEAD_TOO_LARGE, MALFORMED, type Refusal, TARGET_TOO_LONG } from "./refusal";

const MAX_POOLED = 64;
const pool: RequestParser[] = [];

// A body is decoded as that of a request which asks for an upgrade: for such a one execute() stops right behind the
// message and says where that is. Otherwise llhttp would go on into the next request.
const CHUNKED_HEAD = Buffer.from("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");

/** kOnHeadersComplete's answer: the head is all; stop behind it. */
const STOP_BEHIND_HEAD = 2;

/** One parser in use. 1.9 KB of native memory, so a connection holds one only while a head or a chunked body arrives. */
export class RequestParser {
  /** Consumed so far of the head, or of the body with its chunk sizes and trailers. */
  consumed = 0;
  /** The head, or the body, was read to its end. */
  isComplete = false;
  /** Decoded parts of the body since they were last taken. Copies, owned by the receiver. */
  chunks: Uint8Array[] = [];

  private readonly llhttp = new HTTPParser();
  private isBody = false;
  /** The first line, as far as it came; null once it was checked. */
  private startLine: string | null = "";
  private fields: string[] = [];
  private rawTarget = "";
  private method = "";
  private minor = 0;
  private keepAlive = false;

  private constructor() {
    this.llhttp[HTTPParser.kOnHeaders | 0] = (fields: string[], target: string) => this.onFields(fields, target);
    this.llhttp[HTTPParser.kOnHeadersComplete | 0] = (...args) => this.onHead(...(args as HeadArguments));
    this.llhttp[HTTPParser.kOnBody | 0] = (chunk: Uint8Array) => void this.chunks.push(chunk);
    this.llhttp[HTTPParser.kOnMessageComplete | 0] = () => void (this.isComplete = true);
  }

  /** A parser at the start of a request's head. Give it back with `release`. */
  static acquire(limits: Limits): RequestParser {
    const parser = pool.pop() ?? new RequestParser();
    parser.isBody = false;
    // Room to spare: the limit is counted here, to the byte; llhttp's is only a net below it.
    parser.restart(limits.maxHeaderBytes + 256);
    parser.startLine = "";
    return parser;
  }

  release(): void {
    this.chunks = [];
    this.fields = [];
    if (pool.length < MAX_POOLED) pool.push(this);
  }

  /**
   * Reads on in the head.
   *
   * @returns the head once it is complete (`consumed` then is its length), null while it is not, or why it is refused
   */
  readHead(bytes: Buffer, from: number, limits: Limits): RequestHead | Refusal | null {
    const refusal = this.startLine === null ? null : this.readStartLine(this.startLine, bytes, from, limits);
    if (refusal !== null) return refusal;
    const result = this.llhttp.execute(from === 0 ? bytes : bytes.subarray(from));
    if (typeof result !== "number") {
      if (result.code !== "HPE_HEADER_OVERFLOW") return MALFORMED;
      return this.startLine === null ? HEAD_TOO_LARGE : TARGET_TOO_LONG;
    }
    this.consumed += result;
    if (this.consumed > limits.maxHeaderBytes) return this.startLine === null ? HEAD_TOO_LARGE : TARGET_TOO_LONG;
    if (!this.isComplete) return null;
    return checkHead(this.method, this.rawTarget, this.fields, this.minor, this.keepAlive, limits);
  }

  /** Turns to the chunked body behind the head. */
  beginChunked(limits: Limits): void {
    this.isBody = true;
    this.restart(limits.maxHeaderBytes);
    this.llhttp.execute(CHUNKED_HEAD);
  }

  /** Reads on in the body; `chunks` has what it decoded. @returns the offset behind what was consumed, or -1 if it is malformed */
  readChunked(bytes: Buffer, from: number): number {
    const result = this.llhttp.execute(from === 0 ? bytes : bytes.subarray(from));
    if (typeof result !== "number") return -1;
    this.consumed += result;
    return from + result;
  }

  private restart(maxHeaderBytes: number): void {
    this.llhttp.initialize(HTTPParser.REQUEST, {}, maxHeaderBytes, 0);
    this.consumed = 0;
    this.isComplete = false;
    this.fields = [];
    this.rawTarget = "";
  }

  private readStartLine(begun: string, bytes: Buffer, from: number, limits: Limits): Refusal | null {
    const end = bytes.indexOf(0x0a, from);
    const line = begun + bytes.latin1Slice(from, end < 0 ? bytes.length : end);
    // Without the target's own limit a long target would be reported as a large header.
    if (line.length > limits.maxHeaderBytes) return TARGET_TOO_LONG;
    this.startLine = end < 0 ? line : null;
    return end < 0 ? null : checkStartLine(line);
  }

  // From 32 fields on they come in batches, and the head's own callback has none; trailers come this way too.
  private onFields(fields: string[], target: string): void {
    if (this.isBody) return;
    for (const text of fields) this.fields.push(text);
    if (target !== "") this.rawTarget = target;
  }

  private onHead(...[, minor, fields, method, target, , , , keepAlive]: HeadArguments): number {
    if (this.isBody) return 0;
    if (fields !== undefined) this.fields = fields;
    if (target !== undefined) this.rawTarget = target;
    this.method = methods[method] ?? "";
    this.minor = minor;
    this.keepAlive = keepAlive;
    this.isComplete = true;
    return STOP_BEHIND_HEAD;
  }
}

/** major, minor, fields, method, target, status, statusText, upgrade, keepAlive. */
type HeadArguments = [number, number, string[] | undefined, number, string | undefined, unknown, unknown, boolean, boolean];
