/**
 * The server's side of a module's process, which is this program in its role "module" (process-main.ts). A crash, an
 * endless loop or a lack of memory ends that process and nothing else.
 */
import { closeSync } from "node:fs";
import type { Subprocess } from "bun";
import type { Log } from "../../module/contract";
import { asHost } from "../../system/leave-graph";
import { hostSettings } from "../../module/shape/settings";
import type { CallBatch, ReplyBatch, FromPlace, ToPlace } from "../remote/messages";
import type { OpenPlace, Place, PlaceOwner, PlaceFacts } from "../remote/place";
import { isC } from "../../module/c/sources";
import { TOLD_FIELDS, type ToldBatch } from "../services/messages";
import type { Flat } from "../store/flat";
import { ASK } from "../store/messages";
import { ProcessChannel } from "./channel";
import { MAX_MEMORY_MB, MemoryWatch } from "./memory";
import { LineBudget, readLines } from "../../observe/log/output";
import type { LoadSpec } from "../../module/version";
import { outerEnvironment } from "../../system/environment";
import { mapShared, openSharedFile } from "./shared-file";

/** How to start this program as a module's process. */
export interface ProcessStart {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The first message of the process: it listens. */
export const READY = "ready";
/** The descriptor of the shared memory in the process: the first behind stdin, stdout and stderr. */
export const SHARED_FD = 3;
/** The file for handoffs between versions. */
export const HANDOFF_FD = 4;
/** The channel to the server, by Bun's IPC. */
const CHANNEL_FD = 5;
/** For modules in C: the channel for calls that hold the process until they are answered (inside/blocking). */
export const CALLS_FD = 6;
/**
 * How long the last messages of an ended process are read. Another process may hold its channel open for ever. In
 * milliseconds.
 */
const LAST_WORDS_MS = 500;
/** Variables that a module's process does not get: only systemd's own child may use them. */
const NOT_PASSED = /^(?:NOTIFY_SOCKET|WATCHDOG_|LISTEN_)/;
const MB = 1_048_576;

type Posted = CallBatch | ToPlace;

/**
 * @param handoffFd see HandoffFile; it belongs to the caller, and stays open as long as there are places
 * @param log with the module's fields: it gets the process's output
 */
export function processPlaces(spec: LoadSpec, start: ProcessStart, handoffFd: number, log: Log): OpenPlace {
  const { maxMemoryMb = MAX_MEMORY_MB } = hostSettings(spec.config);
  // Code in C reads the environment that its process is started with.
  const inner = { ...start, env: { ...spec.environment, ...start.env } };
  return (_index, loadTimeoutMs, owner) =>
    new ProcessPlace({ start: inner, handoffFd, isC: isC(spec.source), log, loadTimeoutMs, maxMemoryMb, owner });
}

interface ProcessPlaceOptions {
  readonly start: ProcessStart;
  readonly handoffFd: number;
  readonly isC: boolean;
  readonly log: Log;
  readonly loadTimeoutMs: number;
  /** 0: no limit. */
  readonly maxMemoryMb: number;
  readonly owner: PlaceOwner;
}

class ProcessPlace implements Place {
  readonly shared: Place["shared"];
  readonly #options: ProcessPlaceOptions;
  readonly #process: Subprocess<"ignore", "pipe", "pipe">;
  readonly #channel: ProcessChannel;
  /** null: the module is not in C. */
  #calls: ProcessChannel | null = null;
  /** The call that holds the process until it is answered. null: none. */
  #held: number | null = null;
  readonly #memory: MemoryWatch;
  readonly #budget: LineBudget;
  readonly #ended: Promise<void>;
  /** Messages posted before it listened; null: it listens. */
  #waiting: Posted[] | null = [];
  #onReady: (() => void) | null = null;
  #isGone = false;
  /** Why the server ended it; null: it did not. */
  #killReason: string | null = null;

  constructor(options: ProcessPlaceOptions) {
    const { start, log, loadTimeoutMs, maxMemoryMb } = options;
    this.#options = options;
    this.#budget = new LineBudget((count) =>
      log.warn(`${count} lines that its process printed were left out: it prints too much`),
    );
    const fd = openSharedFile();
    try {
      this.shared = mapShared(fd);
      const received = (message: unknown): void => this.#receive(message as ReplyBatch | FromPlace | typeof READY);
      const broken = (reason: string): void => this.#kill(reason);
      this.#channel = new ProcessChannel({ received, broken });
      try {
        if (options.isC) this.#calls = new ProcessChannel({ received, broken });
        this.#process = asHost(() => this.#spawn(start, fd));
      } catch (error) {
        this.#closeChannels();
        throw error;
      } finally {
        this.#channel.given();
        this.#calls?.given();
      }
    } finally {
      closeSync(fd);
    }
    this.#post({ type: "init", shared: null, host: "process", loadTimeoutMs, maxMemoryMb });
    this.#memory = new MemoryWatch(this.#process.pid, maxMemoryMb * MB, (bytes) => {
      this.#kill(`it was over its memory limit: ${Math.round(bytes / MB)} MB, and maxMemoryMb is ${maxMemoryMb}`);
    });
    this.#ended = this.#follow();
  }

  post(data: Posted): void {
    this.#memory.noteWork();
    this.#post(data);
  }

  whenReady(fn: () => void): void {
    if (this.#waiting === null) fn();
    else this.#onReady = fn;
  }

  end(): Promise<void> {
    this.#kill("it was ended");
    return this.#ended;
  }

  facts(): PlaceFacts {
    return { pid: this.#process.pid, memoryBytes: this.#memory.bytes };
  }

  #spawn({ command, env }: ProcessStart, fd: number): Subprocess<"ignore", "pipe", "pipe"> {
    const passed = Object.entries({ ...outerEnvironment(), ...env }).filter(([name]) => !NOT_PASSED.test(name));
    return Bun.spawn([...command], {
      env: {
        ...Object.fromEntries(passed),
        // Its process ends when this one ends, even by SIGKILL.
        BUN_FEATURE_FLAG_NO_ORPHANS: "1",
        NODE_CHANNEL_FD: String(CHANNEL_FD),
        NODE_CHANNEL_SERIALIZATION_MODE: "advanced",
      },
      stdio: [
        "ignore",
        "pipe",
        "pipe",
        fd,
        this.#options.handoffFd,
        this.#channel.processFd,
        ...(this.#calls === null ? [] : [this.#calls.processFd]),
      ],
      // A separate group: a terminal's Ctrl-C must reach only the server, which lets the process finish its calls.
      // Killing the group also ends the programs that the process has started.
      detached: true,
    }) as Subprocess<"ignore", "pipe", "pipe">;
  }

  #receive(message: ReplyBatch | FromPlace | typeof READY): void {
    if (message === READY) return this.#listens();
    if (!Array.isArray(message)) this.#noteHeld(message);
    this.#options.owner.received(message);
  }

  /** Blocking calls have negative numbers. */
  #noteHeld(message: FromPlace): void {
    const ask =
      message.type === "asks" ? message.asks[0] : message.type === "storeAsks" ? blockingAsk(message.asks) : 0;
    if ((ask as number) < 0) this.#held = ask as number;
    else if (message.type === "askCancel" && message.ask === this.#held) this.#held = null;
  }

  /** A process that is held reads its channel for calls alone. @returns the part for the other channel; null: none */
  #tellHeld(data: Posted): Posted | null {
    if (this.#calls === null || Array.isArray(data)) return data;
    if (data.type === "storeTold" && (data.told[0] as number) < 0) return this.#tellStored(data);
    if (this.#held === null) return data;
    // It reads this one again later, when the call has ended already.
    if (data.type === "cancel") this.#calls.send(data);
    if (data.type !== "told") return data;
    const [blocking, others] = partsOf(data.told);
    if (blocking.length === 0) return data;
    this.#held = null;
    this.#calls.send({ type: "told", told: blocking });
    return others.length === 0 ? null : { type: "told", told: others };
  }

  /** Each answer of the store to a process that is held has a message of its own. */
  #tellStored(data: Extract<ToPlace, { type: "storeTold" }>): null {
    // It may have given up.
    if (data.told[0] !== this.#held) return null;
    this.#held = null;
    this.#calls?.send(data);
    return null;
  }

  #listens(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    for (const data of waiting) this.#post(data);
    this.#onReady?.();
    this.#onReady = null;
  }

  #post(data: Posted): void {
    if (this.#waiting !== null) return void this.#waiting.push(data);
    try {
      const rest = this.#tellHeld(data);
      if (rest !== null) this.#channel.send(rest);
    } catch (error) {
      // The message cannot be cloned: its sender must know. Otherwise the process has just ended, and `#follow` reports
      // it.
      if (error instanceof Error && error.name === "DataCloneError") throw error;
    }
  }

  #kill(reason: string): void {
    if (this.#isGone) return;
    this.#killReason ??= reason;
    try {
      process.kill(-this.#process.pid, "SIGKILL");
    } catch {
      // The process has no group yet, or is gone.
      this.#process.kill("SIGKILL");
    }
  }

  #closeChannels(): void {
    this.#channel.close();
    this.#calls?.close();
  }

  async #follow(): Promise<void> {
    const { stdout, stderr, exited } = this.#process;
    const { log, owner } = this.#options;
    const read = Promise.all([
      readLines(stdout, this.#budget, (line) => log.info(line)),
      readLines(stderr, this.#budget, (line) => log.warn(line)),
    ]);
    await exited;
    await Promise.race([this.#channel.ended, Bun.sleep(LAST_WORDS_MS)]);
    this.#closeChannels();
    this.#isGone = true;
    this.#memory.stop();
    owner.ended(this.#killReason ?? this.#exitText());
    await read;
    this.#budget.flush();
  }

  #exitText(): string {
    const { exitCode, signalCode } = this.#process;
    const { maxMemoryMb } = this.#options;
    const how = signalCode === null ? `it exited with code ${exitCode}` : `it was ended by ${signalCode}`;
    const megabytes = Math.round(this.#memory.bytes / MB);
    return maxMemoryMb > 0 && megabytes > maxMemoryMb / 2
      ? `${how}, with ${megabytes} of its ${maxMemoryMb} MB in use`
      : how;
  }
}

/** @returns the number of what a process that is held asks the store. 0: it is not held */
function blockingAsk(asks: Flat): number {
  const at = asks[1] === ASK.taken ? 2 : 0;
  const number = asks[at];
  return typeof number === "number" && number < 0 ? number : 0;
}

/** @returns the answers of blocking calls, and the others */
function partsOf(told: ToldBatch): [ToldBatch, ToldBatch] {
  const blocking: ToldBatch = [];
  const others: ToldBatch = [];
  for (let at = 0; at < told.length; at += TOLD_FIELDS)
    ((told[at] as number) < 0 ? blocking : others).push(...told.slice(at, at + TOLD_FIELDS));
  return [blocking, others];
}
