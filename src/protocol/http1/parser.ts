/** llhttp, pooled: reads a request's head up to its exact last byte. */
import { HTTPParser } from "node:_http_common";
import type { Limits } from "../../config/options";
import { HTTP_METHODS } from "../../router/sniff";
import { checkHead, type RequestHead } from "./head";
import { OwnReply } from "../web/own-reply";
import {
  BAD_START_LINE,
  HEAD_TOO_LARGE,
  MALFORMED,
  NOT_ENCODED,
  TARGET_TOO_LONG,
  UNKNOWN_METHOD,
  WRONG_VERSION,
} from "./refusal";

const LF = 0x0a;
const CR = 0x0d;

const MAX_POOLED = 64;
const pool: RequestParser[] = [];

/** kOnHeadersComplete's answer: stop behind the head. */
const STOP_BEHIND_HEAD = 2;

/** One parser in use. 1.9 KB of native memory, so a connection holds one only while a head arrives. */
export class RequestParser {
  /** Bytes taken so far, empty lines before the head included. */
  consumed = 0;

  private readonly llhttp = new HTTPParser();
  private headBytes = 0;
  private isComplete = false;
  /** The first line, as far as it came; null once it was checked. */
  private startLine: string | null = "";
  private fields: string[] = [];
  private rawTarget = "";
  private method = "";
  private minor = 0;
  private keepAlive = false;

  private constructor() {
    this.llhttp[HTTPParser.kOnHeaders | 0] = (fields: string[], target: string) => this.onFields(fields, target);
    this.llhttp[HTTPParser.kOnHeadersComplete | 0] = (...args: unknown[]) =>
      this.onHead(...(args as unknown as HeadArguments));
  }

  /** A parser at the start of a request's head. Give it back with `release`. */
  static acquire(limits: Limits): RequestParser {
    const parser = pool.pop() ?? new RequestParser();
    // The exact limit is counted here; llhttp's larger one is only a safety net.
    parser.llhttp.initialize(HTTPParser.REQUEST, {}, limits.maxHeaderBytes + 256, 0);
    parser.consumed = 0;
    parser.headBytes = 0;
    parser.isComplete = false;
    parser.startLine = "";
    parser.rawTarget = "";
    parser.method = "";
    return parser;
  }

  /**
   * Whether the method is HEAD, known once the first line is complete. A reply to HEAD has no body, and neither has a
   * refusal of HEAD.
   */
  get isHead(): boolean {
    return this.method === "HEAD";
  }

  release(): void {
    this.fields = [];
    if (pool.length < MAX_POOLED) pool.push(this);
  }

  /**
   * Reads more of the head.
   *
   * @returns the head once it is complete (`consumed` is then its length), null before, or the refusal
   */
  readHead(bytes: Buffer, from: number, limits: Limits): RequestHead | OwnReply | null {
    let at = from;
    if (this.startLine !== null) {
      // Empty lines before a request are ignored (RFC 9112 section 2.2).
      while (this.startLine === "" && (bytes[at] === CR || bytes[at] === LF)) at++;
      this.consumed += at - from;
      const behind = this.readStartLine(this.startLine, bytes, at, limits);
      if (behind instanceof OwnReply || this.startLine !== null) return behind instanceof OwnReply ? behind : null;
      this.consumed += behind - at;
      at = behind;
    }
    const result = this.llhttp.execute(at === 0 ? bytes : bytes.subarray(at));
    if (typeof result !== "number") return result.code === "HPE_HEADER_OVERFLOW" ? HEAD_TOO_LARGE : MALFORMED;
    this.consumed += result;
    this.headBytes += result;
    if (this.headBytes > limits.maxHeaderBytes) return HEAD_TOO_LARGE;
    if (!this.isComplete) return null;
    return checkHead(this.method, this.rawTarget, this.fields, this.minor, this.keepAlive, limits);
  }

  /**
   * Holds bytes back from llhttp until the first line is complete and judged. llhttp's own errors say less, and depend
   * on the split.
   *
   * @returns the offset at which llhttp reads on
   */
  private readStartLine(begun: string, bytes: Buffer, from: number, limits: Limits): OwnReply | number {
    const end = bytes.indexOf(LF, from);
    const line = begun + bytes.latin1Slice(from, end < 0 ? bytes.length : end);
    if (line.length > limits.maxHeaderBytes) return TARGET_TOO_LONG;
    if (end < 0) {
      this.startLine = line;
      this.consumed += bytes.length - from;
      return bytes.length;
    }
    this.startLine = null;
    // Not from llhttp's number: node's list of names has a gap, and lacks QUERY.
    this.method = line.slice(0, line.indexOf(" "));
    const minor = readStartLine(line);
    if (minor instanceof OwnReply) return minor;
    if (begun === "" && minor <= 1) return from;
    // llhttp refuses HTTP/1.2, so it gets 1.1 (RFC 9110 section 2.5).
    const known = minor <= 1 ? line : line.replace(/\d\r$/, "1\r");
    this.headBytes = line.length + 1;
    this.llhttp.execute(Buffer.from(`${known}\n`, "latin1"));
    return end + 1;
  }

  // From 32 fields on they come in batches, and the head's own callback has none.
  private onFields(fields: string[], target: string): void {
    for (const text of fields) this.fields.push(text);
    if (target !== "") this.rawTarget = target;
  }

  private onHead(...[, minor, fields, , target, , , , keepAlive]: HeadArguments): number {
    if (fields !== undefined) this.fields = fields;
    if (target !== undefined) this.rawTarget = target;
    this.minor = minor;
    this.keepAlive = keepAlive;
    this.isComplete = true;
    return STOP_BEHIND_HEAD;
  }
}

/** major, minor, fields, method, target, status, statusText, upgrade, keepAlive. */
type HeadArguments = [
  number,
  number,
  string[] | undefined,
  number,
  string | undefined,
  unknown,
  unknown,
  boolean,
  boolean,
];

// ---- the first line (RFC 9112 section 3), judged before llhttp sees it ----

// A method is a token (RFC 9110 sections 9.1 and 5.6.2).
const START_LINE = /^([!#$%&'*+.^_`|~\w-]+) ([!-~\x80-\xff]+) ([A-Z]+)\/(\d)\.(\d)\r$/;

/**
 * Judges the first line without its LF. llhttp lets other protocols (RTSP, ICE), other versions and runs of spaces
 * pass, and reads a line without a version as HTTP/0.9.
 *
 * @param line  latin1, a character a byte
 * @returns the refusal, or the minor version as sent. HTTP/1.2 and later are served as 1.1 (RFC 9110 section 2.5).
 */
function readStartLine(line: string): OwnReply | number {
  const parts = START_LINE.exec(line);
  if (parts === null) return BAD_START_LINE;
  const [, method = "", target = "", protocol, major, minor] = parts;
  if (protocol !== "HTTP") return MALFORMED;
  // No HTTP/2 comes here: its preface, `PRI * HTTP/2.0`, is recognised before.
  if (major !== "1") return WRONG_VERSION;
  if (!HTTP_METHODS.has(method)) return UNKNOWN_METHOD;
  return /[\x80-\xff]/.test(target) ? NOT_ENCODED : Number(minor);
}
