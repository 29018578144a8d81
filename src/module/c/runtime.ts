/** Calls a compiled module, and passes values between JavaScript and C. The other side is bridge.c. */
import { isAscii } from "node:buffer";
import { CString, JSCallback, ptr, toArrayBuffer, type Pointer } from "bun:ffi";
import type { Log, Message, ModuleContext, RequestContext, StopReason } from "../contract";
import { messageOf } from "../../config/user-error";
import type { ServiceCallsNow } from "../service/calls";
import { ServiceError } from "../service/error";
import type { StoreNow } from "../store/port";
import { callService, emitEvent } from "./acts";
import type { Compiled } from "./compile";
import { answerOf, type Current, type HubCall, jsonAt, QUESTIONS, SocketCall, targetOf } from "./questions";
import { type CRoute, readRoutes } from "./routes";
import { readSocketEvent, socketReply } from "./socket-messages";
import { askStore } from "./store";

/** Makes a Response of the module's own class, for which hosts have shortcuts. */
export type Respond = (
  body: string | Uint8Array<ArrayBuffer> | null,
  init?: { status: number; headers: [string, string][] },
) => Response;

/** `hrmr__shared`, in its order. */
const SHARED = { reply: 0, moves: 1, replyRoom: 2, headLength: 3, status: 4, failure: 5, code: 6, result: 7 } as const;
/** The fields of `hrmr_result` and `hrmr_stored`, from SHARED.result on. */
const RESULT = { json: 0, length: 1, code: 2, message: 3, data: 4, version: 5, expiresAt: 6 } as const;
const SHARED_BYTES = 14 * 8;

/** The values of `what` for `hrmr__act`, in the order of its enum. */
const ACTS = ["call", "emit", "release", "store"] as const;

const LEVELS = ["debug", "info", "warn", "error"] as const satisfies (keyof Log)[];

const INPUT_BYTES = 65_536;
/** A larger buffer is freed after the message that needed it. In bytes. */
const KEPT_INPUT_BYTES = 1_048_576;
/** From this length on, checking the bytes is cheaper than checking the text. */
const LONG_REPLY_BYTES = 256;

/** What the server does for C, which cannot await. */
export interface ServerNow {
  readonly calls: ServiceCallsNow;
  readonly store: StoreNow;
}

export class CRuntime {
  readonly #lib: Compiled["lib"];
  readonly #symbols: Compiled["lib"]["symbols"];
  readonly #shared: Float64Array;
  readonly #ask: JSCallback;
  readonly #say: JSCallback;
  readonly #act: JSCallback;
  readonly #calls: ServerNow["calls"];
  readonly #store: ServerNow["store"];
  #context: ModuleContext | null = null;
  #current: Current | null = null;
  /** The request of a call by HTTP. */
  #request: Request | null = null;
  /** Texts that C may use until the end of its call, by their addresses. */
  readonly #lent = new Map<number, Buffer>();
  /** Texts that C may keep, by its question. */
  readonly #given = new Map<string, Buffer>();
  #input = Buffer.allocUnsafeSlow(INPUT_BYTES);
  #inputAt = ptr(this.#input);
  /** C's memory, valid while `moves` is unchanged. */
  #reply = Buffer.alloc(0);
  #moves = -1;

  constructor({ lib }: Compiled, { calls, store }: ServerNow) {
    this.#calls = calls;
    this.#store = store;
    this.#lib = lib;
    this.#symbols = lib.symbols;
    this.#ask = new JSCallback(
      (what: number, name: Pointer | null, more: Pointer | null) => this.#answer(what, name, more),
      { args: ["i32", "ptr", "ptr"], returns: "ptr" },
    );
    this.#say = new JSCallback((level: number, text: Pointer | null) => this.#log(level, text), {
      args: ["i32", "ptr"],
      returns: "void",
    });
    this.#act = new JSCallback(
      (what: number, name: Pointer | null, json: Pointer | null, number: number) => this.#do(what, name, json, number),
      { args: ["i32", "ptr", "ptr", "i32"], returns: "i32" },
    );
    const shared = lib.symbols.hrmr__open(this.#ask.ptr, this.#say.ptr, this.#act.ptr) as Pointer;
    this.#shared = new Float64Array(toArrayBuffer(shared, 0, SHARED_BYTES));
  }

  /** After `declare`. */
  get hooks(): {
    readonly handoff: boolean;
    readonly live: boolean;
    readonly leave: boolean;
    readonly inEach: boolean;
  } {
    const bits = this.#symbols.hrmr__hooks();
    return { handoff: (bits & 1) !== 0, live: (bits & 2) !== 0, leave: (bits & 4) !== 0, inEach: (bits & 8) !== 0 };
  }

  /** The modules that it needs. After `declare`. */
  get needs(): string[] {
    const length = this.#end(this.#symbols.hrmr__needed());
    return length === 0 ? [] : this.#bytes(length).toString().split("\0").slice(0, -1);
  }

  /** Runs `hrmr_module`. Once. */
  declare(): CRoute[] {
    return readRoutes(this.#bytes(this.#end(this.#symbols.hrmr__declared())).toString());
  }

  /**
   * @param handed the result of another version's `handoff`; any other value: nothing was handed over
   * @throws Error with the module's reason, if it refuses to start
   */
  start(context: ModuleContext, handed: unknown): void {
    this.#context = context;
    const bytes = handed instanceof Uint8Array ? handed : null;
    if (bytes !== null) {
      this.#makeRoom(bytes.length);
      this.#input.set(bytes);
    }
    this.#end(this.#symbols.hrmr__start(this.#inputAt, bytes?.length ?? -1));
  }

  /** @throws Error if the handler called hrmr_fail */
  call(route: number, message: Message): string | Uint8Array | undefined {
    const latin1 = latin1Of(message);
    const { length } = latin1;
    this.#makeRoom(length);
    this.#input.latin1Write(latin1, 0);
    this.#input[length] = 0;
    this.#current = message;
    const replied = this.#end(this.#symbols.hrmr__call(route, this.#inputAt, length));
    return replied === 0 ? undefined : this.#value(replied);
  }

  /** @param body  null: none */
  fetch(route: number, request: Request, body: Uint8Array | null, context: RequestContext, respond: Respond): Response {
    const { path, query } = targetOf(request.url);
    const head = `${request.method}\0${path}\0${query}\0`;
    const queryAt = head.length - query.length - 1;
    const length = body?.length ?? 0;
    this.#makeRoom(head.length + length);
    this.#input.latin1Write(head, 0);
    if (body !== null) this.#input.set(body, head.length);
    this.#input[head.length + length] = 0;
    this.#current = context;
    this.#request = request;
    const pathAt = request.method.length + 1;
    const replied = this.#end(this.#symbols.hrmr__fetch(route, this.#inputAt, pathAt, queryAt, head.length, length));
    return this.#response(replied, respond);
  }

  /**
   * Calls a service, a handler of events, or a task.
   *
   * @param value C gets it as JSON.stringify writes it
   * @returns the reply. @throws ServiceError that C meant for its caller; Error if it called hrmr_fail
   */
  callWithJson(route: number, value: unknown, current: HubCall): string {
    const text = inputOf(value);
    const length = Buffer.byteLength(text);
    this.#makeRoom(length);
    this.#input.utf8Write(text, 0);
    this.#input[length] = 0;
    this.#current = current;
    return this.#bytes(this.#end(this.#symbols.hrmr__call(route, this.#inputAt, length))).toString();
  }

  /** An event of a WebSocket. @returns for `readSocketReply` */
  socketEvent(route: number, message: Message): Uint8Array {
    const { head, payload } = readSocketEvent(latin1Of(message));
    const { length } = payload;
    this.#makeRoom(length);
    this.#input.latin1Write(payload, 0);
    this.#input[length] = 0;
    this.#current = new SocketCall(message, head);
    const replied = this.#end(this.#symbols.hrmr__call(route, this.#inputAt, length));
    const acted = this.#shared[SHARED.headLength] as number;
    return socketReply(this.#bytes(replied), this.#bytes(acted, replied));
  }

  handoff(): Uint8Array {
    return new Uint8Array(this.#bytes(this.#end(this.#symbols.hrmr__handoff())));
  }

  /** @throws Error with the module's reason, if it fails */
  live(): void {
    this.#end(this.#symbols.hrmr__live());
  }

  leave(reason: StopReason): void {
    this.#symbols.hrmr__leave(Buffer.from(`${reason}\0`));
    this.#end(0);
  }

  stop(): void {
    this.#symbols.hrmr__stop();
    this.#end(0);
  }

  /** After this, call nothing. */
  close(): void {
    this.#lib.close();
    this.#ask.close();
    this.#say.close();
    this.#act.close();
  }

  #makeRoom(length: number): void {
    // One more byte for the 0 at the end.
    const isTooSmall = length >= this.#input.length;
    if (!isTooSmall && this.#input.length <= KEPT_INPUT_BYTES) return;
    // Not from Buffer's pool: C gets its address once, so it must not move or be shared.
    this.#input = Buffer.allocUnsafeSlow(Math.max(INPUT_BYTES, length + 1));
    this.#inputAt = ptr(this.#input);
  }

  /** @param result the result of a function of bridge.c: the reply's length, or -1. @throws Error */
  #end(result: number): number {
    this.#current = null;
    this.#request = null;
    if (this.#lent.size > 0) this.#lent.clear();
    if (result >= 0) return result;
    const reason = new CString(this.#shared[SHARED.failure] as Pointer).toString();
    const code = this.#shared[SHARED.code] as number;
    throw code === 0 ? new Error(reason) : new ServiceError(new CString(code as Pointer).toString(), reason);
  }

  /** The first bytes of the reply, in C's memory: valid until the next call. */
  #bytes(length: number, from = 0): Buffer {
    const moves = this.#shared[SHARED.moves] as number;
    if (moves !== this.#moves) {
      this.#moves = moves;
      const room = this.#shared[SHARED.replyRoom] as number;
      this.#reply =
        room === 0 ? Buffer.alloc(0) : Buffer.from(toArrayBuffer(this.#shared[SHARED.reply] as Pointer, 0, room));
    }
    return this.#reply.subarray(from, from + length);
  }

  /** Text crosses to the server faster than bytes. ASCII is the same as both. */
  #value(length: number): string | Uint8Array<ArrayBuffer> {
    const bytes = this.#bytes(length);
    if (length >= LONG_REPLY_BYTES) return isAscii(bytes) ? bytes.latin1Slice() : new Uint8Array(bytes);
    const text = bytes.latin1Slice();
    return /[\x80-\xff]/.test(text) ? new Uint8Array(bytes) : text;
  }

  #response(length: number, respond: Respond): Response {
    const status = this.#shared[SHARED.status] as number;
    const headers = this.#headers(length);
    const value = length === 0 ? null : this.#value(length);
    if (value instanceof Uint8Array && !headers.some(([name]) => name.toLowerCase() === "content-type")) {
      headers.push(["Content-Type", "text/plain;charset=utf-8"]);
    }
    // Most replies are plain. A Response without options is made in half the time.
    return status === 200 && headers.length === 0 ? respond(value) : respond(value, { status, headers });
  }

  /** They follow the reply: name, value, name, value, each ended by a 0 byte. */
  #headers(replyLength: number): [string, string][] {
    const headLength = this.#shared[SHARED.headLength] as number;
    if (headLength === 0) return [];
    const texts = this.#bytes(headLength, replyLength).latin1Slice().split("\0");
    const pairs: [string, string][] = [];
    for (let at = 0; at + 1 < texts.length; at += 2) pairs.push([texts[at] ?? "", texts[at + 1] ?? ""]);
    return pairs;
  }

  #answer(what: number, name: Pointer | null, more: Pointer | null): Pointer | null {
    const question = QUESTIONS[what];
    const named = textAt(name);
    if (question === undefined) return null;
    if (question === "config" || question === "dataDir") return this.#give(question, named);
    if (question === "json") return this.#lend(jsonAt(named, textAt(more)));
    return this.#current === null ? null : this.#lend(answerOf(this.#current, this.#request, question, named));
  }

  /** @returns 1: it succeeded */
  #do(what: number, name: Pointer | null, json: Pointer | null, number: number): number {
    const act = ACTS[what];
    if (act === "release") return this.#lent.delete(name ?? 0) ? 1 : 0;
    if (act === "store") return this.#askStore(name, number);
    const text = json === null ? null : textAt(json);
    const result =
      act === "emit"
        ? emitEvent(this.#context, textAt(name), text)
        : callService(this.#calls, this.#context, { name: textAt(name), json: text, timeoutMs: number });
    this.#tell("json" in result ? { json: result.json } : result);
    return "json" in result ? 1 : 0;
  }

  /** @param order `length` bytes of JSON */
  #askStore(order: Pointer | null, length: number): 0 | 1 {
    const isReady = this.#context !== null && order !== null;
    const outcome = askStore(this.#store, isReady ? new Uint8Array(toArrayBuffer(order, 0, length)) : null);
    this.#tell(outcome);
    this.#shared[SHARED.result + RESULT.version] = "json" in outcome ? outcome.version : 0;
    this.#shared[SHARED.result + RESULT.expiresAt] = "json" in outcome ? (outcome.expiresAt ?? 0) : 0;
    return "json" in outcome ? 1 : 0;
  }

  /** Writes the texts of an outcome where C reads them. */
  #tell(texts: { readonly [field in "json" | "code" | "message" | "data"]?: string | null }): void {
    for (const field of ["json", "code", "message", "data"] as const)
      this.#shared[SHARED.result + RESULT[field]] = this.#lend(texts[field] ?? null) ?? 0;
    this.#shared[SHARED.result + RESULT.length] = texts.json == null ? 0 : Buffer.byteLength(texts.json);
  }

  #lend(text: string | null): Pointer | null {
    if (text === null) return null;
    const buffer = Buffer.from(`${text}\0`);
    const at = ptr(buffer);
    this.#lent.set(at, buffer);
    return at;
  }

  #give(ask: "config" | "dataDir", name: string): Pointer | null {
    if (this.#context === null) return null;
    const key = `${ask} ${name}`;
    const known = this.#given.get(key);
    if (known !== undefined) return ptr(known);
    const value = ask === "dataDir" ? this.#context.dataDir : this.#context.config[name];
    if (value === undefined) return null;
    const buffer = Buffer.from(`${typeof value === "string" ? value : JSON.stringify(value)}\0`);
    this.#given.set(key, buffer);
    return ptr(buffer);
  }

  #log(level: number, text: Pointer | null): void {
    const line = textAt(text);
    const name = LEVELS[level] ?? "info";
    // hrmr_module runs before there is a context. Its lines go to the same place as printf.
    if (this.#context === null) console.log(line);
    else this.#context.log[name](line);
  }
}

function textAt(pointer: Pointer | null): string {
  return pointer === null ? "" : new CString(pointer).toString();
}

/** @throws ServiceError */
function inputOf(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "null";
  } catch (error) {
    throw new ServiceError("INVALID_INPUT", `the input cannot be written as JSON, which C gets: ${messageOf(error)}`);
  }
}

/** A message from another process has the text already. */
function latin1Of(message: Message): string {
  if ("latin1" in message && typeof message.latin1 === "string") return message.latin1;
  const { bytes } = message;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).latin1Slice();
}
