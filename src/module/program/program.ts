/**
 * The program of a module: started with its version, asked by its routes and services, started again when it ends, and
 * ended with its version.
 */
import { Backoff } from "../../system/backoff";
import { asHost } from "../../system/leave-graph";
import type { Log } from "../contract";
import { Child } from "./child";
import { type Codec, type Heard, JSON_RPC, LINES, type Question } from "./codec";
import { ProgramError } from "./error";
import { MAX_LINE_BYTES } from "./lines";
import { settled } from "./settle";

export interface ProgramSpec {
  readonly command: readonly string[];
  readonly protocol: "lines" | "json-rpc";
  /** For one call, from the ask to the answer. In milliseconds. 0: no limit. */
  readonly timeoutMs: number;
}

/** The parts of a module that its program needs. */
interface ProgramHome {
  readonly name: string;
  /** The folder of the module's file. */
  readonly dir: string;
  readonly log: Log;
  /** Calls a service for the program. */
  readonly call: (module: string, service: string, input: unknown) => Promise<unknown>;
}

interface Call {
  readonly id: number;
  readonly question: Question;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: ProgramError) => void;
  timer: Timer | null;
  /** By performance.now(). */
  sentAt: number;
  /** Nobody waits for it any more; a program that talks in lines still owes its answer. */
  isLeft: boolean;
}

/** A program is given so long to come to rest; one that ends before is refused, with its version. In milliseconds. */
const SETTLE_MS = 3000;
/** Calls wait for a program that is started again so soon; otherwise they fail at once. In milliseconds. */
const WAIT_MS = 1000;
const MAX_WAITING = 1000;
/** Requests of the program that are under way, until it has read the answers. */
const MAX_ASKED = 100;
/** The same with those that are refused. Further ones get no answer. */
const MAX_ANSWERING = 1000;

export class Program {
  readonly #spec: ProgramSpec;
  readonly #home: ProgramHome;
  readonly #codec: Codec;
  readonly #backoff = new Backoff();
  readonly #waiting: Call[] = [];
  /** By id, in the order of their sending. */
  readonly #sent = new Map<number, Call>();
  #child: Child | null = null;
  #restart: { readonly timer: Timer; readonly atMs: number; readonly why: string } | null = null;
  #lastId = 0;
  #heardAt = 0;
  /** Requests of the child that are under way, and all whose answers it has not read. */
  #load = { asked: 0, answering: 0 };
  #isEnding = false;
  /** Told of the end while it starts for the first time. */
  #firstEnd: ((how: string) => void) | null = null;

  constructor(spec: ProgramSpec, home: ProgramHome) {
    this.#spec = spec;
    this.#home = home;
    this.#codec = spec.protocol === "lines" ? LINES : JSON_RPC;
  }

  /** Starts it. @throws ProgramError if it cannot be started, or ends at once; nothing of it is left then */
  async start(): Promise<void> {
    const child = this.#spawn();
    let why: string | null = null;
    this.#firstEnd = (how) => (why = how);
    let hasEnded = false;
    void child.exited.then(() => (hasEnded = true));
    await settled(child.pid, SETTLE_MS, () => hasEnded);
    // Its last output is read first.
    if (hasEnded) await child.gone;
    this.#firstEnd = null;
    if (!hasEnded) return;
    await this.end();
    throw new ProgramError("UNAVAILABLE", `its program ${this.#shown} ended at its start: ${why}`);
  }

  /**
   * Asks it.
   *
   * @param signal nobody waits any more
   * @returns bytes without a line end, or JSON's value. Rejects with a ProgramError
   */
  ask(question: Question, signal: AbortSignal): Promise<unknown> {
    const refused = this.#refusal();
    if (refused !== null) return Promise.reject(refused);
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const id = ++this.#lastId;
    const call: Call = { id, question, resolve, reject, timer: null, sentAt: 0, isLeft: false };
    const { timeoutMs } = this.#spec;
    if (timeoutMs > 0) call.timer = asHost(() => setTimeout(() => this.#late(call), timeoutMs));
    const leave = (): void => this.#leave(call);
    signal.addEventListener("abort", leave, { once: true });
    this.#waiting.push(call);
    this.#feed();
    return promise.finally(() => {
      signal.removeEventListener("abort", leave);
      // A program that still owes the answer keeps its deadline.
      if (!this.#sent.has(id)) clearTimer(call);
    });
  }

  /** Ends it, and fails what is under way. Idempotent. Never rejects. */
  async end(): Promise<void> {
    this.#isEnding = true;
    if (this.#restart !== null) clearTimeout(this.#restart.timer);
    this.#restart = null;
    await this.#child?.end();
    this.#failAll(new ProgramError("UNAVAILABLE", `the program of module "${this.#home.name}" was ended`));
  }

  // ---- the process ----

  #spawn(): Child {
    const { dir, log } = this.#home;
    try {
      const child = new Child({
        command: this.#spec.command,
        cwd: dir,
        log,
        answered: (line, isCut) => this.#heard(line, isCut),
        ended: (which, how) => this.#ended(which, how),
      });
      this.#child = child;
      this.#load = { asked: 0, answering: 0 };
      return child;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new ProgramError("UNAVAILABLE", `its program ${this.#shown} cannot be started: ${why}`);
    }
  }

  #ended(child: Child, how: string): void {
    this.#child = null;
    const { name, log } = this.#home;
    const open = [...this.#sent.values()];
    this.#sent.clear();
    for (const call of open) {
      clearTimer(call);
      call.reject(new ProgramError("UNAVAILABLE", `the program of module "${name}" gave no answer: ${how}`));
    }
    if (this.#isEnding || this.#firstEnd !== null) return void this.#firstEnd?.(how);
    const delayMs = this.#startLater(performance.now() - child.startedAt, how);
    log.warn(`its program is gone: ${how}; it is started again ${delayMs === 0 ? "now" : `in ${delayMs / 1000} s`}`);
  }

  #startLater(livedMs: number, why: string): number {
    const delayMs = this.#backoff.next(livedMs);
    const timer = asHost(() => setTimeout(() => this.#startAgain(), delayMs));
    this.#restart = { timer, atMs: performance.now() + delayMs, why };
    if (delayMs > WAIT_MS) this.#failAll(this.#refusal() as ProgramError);
    return delayMs;
  }

  #startAgain(): void {
    this.#restart = null;
    try {
      this.#spawn();
      this.#feed();
    } catch (error) {
      const why = (error as Error).message;
      const delayMs = this.#startLater(0, why);
      this.#home.log.error(`${why}; it is tried again in ${delayMs / 1000} s`);
    }
  }

  #failAll(error: ProgramError): void {
    const all = [...this.#waiting.splice(0), ...this.#sent.values()];
    this.#sent.clear();
    for (const call of all) {
      clearTimer(call);
      call.reject(error);
    }
  }

  /** @returns why a call cannot be taken; null: it can */
  #refusal(): ProgramError | null {
    const { name } = this.#home;
    if (this.#isEnding) return new ProgramError("UNAVAILABLE", `the program of module "${name}" was ended`);
    if (this.#waiting.length >= MAX_WAITING)
      return new ProgramError("BUSY", `${MAX_WAITING} calls wait for the program of module "${name}"`);
    if (this.#restart === null) return null;
    const leftMs = this.#restart.atMs - performance.now();
    if (leftMs <= WAIT_MS) return null;
    const when = `it is started again in ${Math.ceil(leftMs / 1000)} s`;
    return new ProgramError(
      "UNAVAILABLE",
      `the program of module "${name}" does not run: ${this.#restart.why}; ${when}`,
    );
  }

  get #shown(): string {
    return JSON.stringify(this.#spec.command.join(" "));
  }

  // ---- calls ----

  #feed(): void {
    while (this.#child !== null && this.#sent.size < this.#codec.concurrency) {
      const call = this.#waiting.shift();
      if (call === undefined) return;
      try {
        const line = this.#codec.encode(call.id, call.question);
        call.sentAt = performance.now();
        this.#sent.set(call.id, call);
        void this.#child.send(line);
      } catch (error) {
        call.reject(error as ProgramError);
      }
    }
  }

  #leave(call: Call): void {
    call.isLeft = true;
    const at = this.#waiting.indexOf(call);
    if (at >= 0) this.#waiting.splice(at, 1);
    else this.#cancel(call);
    call.reject(new ProgramError("CANCELLED", "nobody waits for the answer any more"));
  }

  /** A program that talks in lines still owes the answer: its place stays taken until then. */
  #cancel(call: Call): void {
    const message = this.#codec.cancel(call.id);
    if (message === null || !this.#sent.delete(call.id)) return;
    void this.#child?.send(message);
    this.#feed();
  }

  #late(call: Call): void {
    const { name } = this.#home;
    const within = `within ${this.#spec.timeoutMs} ms`;
    const at = this.#waiting.indexOf(call);
    if (at >= 0) {
      this.#waiting.splice(at, 1);
      return call.reject(new ProgramError("BUSY", `the program of module "${name}" could not be asked ${within}`));
    }
    const text = `the program of module "${name}" did not answer ${within}`;
    call.reject(new ProgramError("TIMEOUT", text));
    // Whatever comes next could be the late answer; and a program that says nothing at all hangs.
    const hangs = this.#codec.concurrency === 1 || this.#heardAt < call.sentAt;
    this.#cancel(call);
    if (hangs) this.#child?.kill(`it did not answer ${within}`);
  }

  /** @returns whether somebody waits for the line */
  #heard(line: Buffer, isCut: boolean): boolean {
    this.#heardAt = performance.now();
    if (this.#codec.concurrency === 1) return this.#answer(this.#sent.keys().next().value, line, isCut);
    const heard: Heard = isCut ? { kind: "rubbish" } : this.#codec.decode(line);
    switch (heard.kind) {
      case "answer":
        return this.#answer(heard.id ?? 0, heard.value, false);
      case "failure":
        return this.#settle(heard.id, (call) => call.reject(heard.error));
      case "request":
        // It does not read its answers: they would pile up.
        if (this.#load.answering >= MAX_ANSWERING) return false;
        void this.#serve(heard);
        return true;
      case "rubbish":
        return false;
    }
  }

  #answer(id: number | undefined, value: unknown, isCut: boolean): boolean {
    if (id === undefined) return false;
    return this.#settle(id, (call) => {
      if (!isCut) return call.resolve(value);
      const text = `the program of module "${this.#home.name}" answered with more than ${MAX_LINE_BYTES} bytes`;
      call.reject(new ProgramError("FAILED", text));
    });
  }

  #settle(id: number, settle: (call: Call) => void): boolean {
    const call = this.#sent.get(id);
    // A call that was cancelled may be answered all the same.
    if (call === undefined) return id > 0 && id <= this.#lastId;
    this.#sent.delete(id);
    clearTimer(call);
    settle(call);
    this.#feed();
    return true;
  }

  // ---- requests of the program ----

  async #serve({ id, method, params }: Extract<Heard, { kind: "request" }>): Promise<void> {
    const child = this.#child;
    const load = this.#load;
    const [, module = "", service = ""] = /^([^.]+)\.(.+)$/.exec(method) ?? [];
    const isTaken = module !== "" && load.asked < MAX_ASKED;
    load.answering++;
    if (isTaken) load.asked++;
    let answer: object;
    if (module === "") answer = { error: { code: -32601, message: `There is no ${method}: write module.service` } };
    else if (!isTaken)
      answer = { error: { code: -32000, message: `${MAX_ASKED} requests are under way`, data: { code: "BUSY" } } };
    else answer = await this.#callFor(module, service, params);
    // The answer is for the child that has asked, and no later one.
    if (id !== null && this.#child === child) await child?.send(JSON.stringify({ jsonrpc: "2.0", id, ...answer }));
    load.answering--;
    if (isTaken) load.asked--;
  }

  async #callFor(module: string, service: string, params: unknown): Promise<object> {
    try {
      const result = (await this.#home.call(module, service, params)) ?? null;
      // What JSON cannot write fails here.
      JSON.stringify(result);
      return { result };
    } catch (error) {
      const { message, code = "FAILED", data } = error as Error & { code?: string; data?: unknown };
      return { error: { code: code === "INVALID_INPUT" ? -32602 : -32000, message, data: data ?? { code } } };
    }
  }
}

function clearTimer(call: Call): void {
  if (call.timer !== null) clearTimeout(call.timer);
}
