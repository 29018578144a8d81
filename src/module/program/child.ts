/** One process of a program: started in a group of its own, read to its end, and ended with its children. */
import type { Subprocess } from "bun";
import { LineBudget, readLines } from "../../observe/log/output";
import { asHost } from "../../system/leave-graph";
import type { Log } from "../contract";
import { LineReader } from "./lines";

interface ChildStart {
  readonly command: readonly string[];
  readonly cwd: string;
  readonly log: Log;
  /**
   * Gets each line of its standard output.
   *
   * @returns whether somebody waits for it; the others are logged, within a limit
   */
  readonly answered: (line: Buffer, isCut: boolean) => boolean;
  /** @param how "it ended with exit code 1" */
  readonly ended: (child: Child, how: string) => void;
}

/** How long a program may take to end after SIGTERM. In milliseconds. */
const TERM_MS = 2000;
/** How long the last output of an ended program is read: another process may hold its pipes. In milliseconds. */
const LAST_WORDS_MS = 500;
/** So much output that nobody waits for is read in a tick. */
const TICK_BYTES = 1_048_576;
const TICK_MS = 100;
/** How long one turn of the loop may go on with a program's output. In milliseconds. */
const MAX_TURN_MS = 2;
/** How much of a line that nobody waits for is logged. */
const SHOWN_LETTERS = 200;
/** Variables that only the server's own process may use. */
const NOT_PASSED = /^(?:NOTIFY_SOCKET|WATCHDOG_|LISTEN_|HRMR_ROLE$)/;

/** Process groups that are to end with this process. */
const groups = new Set<number>();
let isWatchingExit = false;

export class Child {
  readonly startedAt = performance.now();
  readonly #start: ChildStart;
  readonly #process: Subprocess<"pipe", "pipe", "pipe">;
  readonly #budget: LineBudget;
  readonly #followed: Promise<void>;
  #unasked = 0;
  #why: string | null = null;

  /** @throws Error if it cannot be started */
  constructor(start: ChildStart) {
    this.#start = start;
    const { command, cwd, log } = start;
    this.#budget = new LineBudget((count) =>
      log.warn(`${count} lines of its program were left out: it prints too much`),
    );
    const passed = Object.entries(process.env).filter(([name]) => !NOT_PASSED.test(name));
    this.#process = asHost(() =>
      Bun.spawn([...command], {
        cwd,
        // Python would keep its lines until 8 KB are full.
        env: { PYTHONUNBUFFERED: "1", ...Object.fromEntries(passed) },
        stdio: ["pipe", "pipe", "pipe"],
        // A group of its own: a terminal's Ctrl-C must not reach it, and its children end with it.
        detached: true,
      }),
    );
    groups.add(this.#process.pid);
    watchExit();
    this.#followed = asHost(() => this.#follow());
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Resolves when it has ended, its output is read and `ended` was called. */
  get gone(): Promise<void> {
    return this.#followed;
  }

  /** Resolves when it has ended. */
  get exited(): Promise<unknown> {
    return this.#process.exited;
  }

  /** Never rejects. @returns resolves when the program's pipe has taken the line; perhaps never, if the program ends */
  async send(line: string | Uint8Array): Promise<void> {
    try {
      const { stdin } = this.#process;
      stdin.write(line);
      stdin.write("\n");
      await stdin.flush();
    } catch {
      // It has just ended, and `#follow` tells it.
    }
  }

  /** Ends it at once. @param why for `ended` */
  kill(why: string): void {
    this.#why ??= why;
    this.#signal("SIGKILL");
  }

  /** SIGTERM and the end of its input, then SIGKILL. Resolves when it and its children have ended. */
  async end(): Promise<void> {
    this.#why ??= "it was ended";
    try {
      void Promise.resolve(this.#process.stdin.end()).catch(() => undefined);
    } catch {
      // It has ended.
    }
    this.#signal("SIGTERM");
    const timer = asHost(() => setTimeout(() => this.#signal("SIGKILL"), TERM_MS));
    await this.#followed;
    clearTimeout(timer);
  }

  #signal(signal: NodeJS.Signals): void {
    try {
      process.kill(-this.#process.pid, signal);
    } catch {
      // The group is gone.
    }
  }

  async #follow(): Promise<void> {
    const { stdout, stderr, exited } = this.#process;
    const { log, ended } = this.#start;
    const read = Promise.all([this.#read(stdout), readLines(stderr, this.#budget, (line) => log.info(line))]);
    await exited;
    // Children that it leaves behind.
    this.#signal("SIGKILL");
    groups.delete(this.#process.pid);
    await Promise.race([read, Bun.sleep(LAST_WORDS_MS)]);
    this.#budget.flush();
    ended(this, this.#why ?? this.#exitText());
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const lines = new LineReader((line, isCut) => {
      if (!this.#start.answered(line, isCut)) this.#tellUnasked(line);
    });
    let turnAt = performance.now();
    try {
      for await (const piece of stream) {
        lines.add(piece);
        // A program that never stops must not keep everything else waiting.
        if (performance.now() - turnAt > MAX_TURN_MS) {
          await asHost(() => new Promise((resolve) => setImmediate(resolve)));
          turnAt = performance.now();
        }
        if (this.#unasked < TICK_BYTES) continue;
        // Its pipe fills meanwhile, and it has to wait.
        await Bun.sleep(TICK_MS);
        this.#unasked = 0;
      }
    } catch {
      // It is gone with its last output.
    }
  }

  #tellUnasked(line: Buffer): void {
    this.#unasked += line.length + 1;
    if (!this.#budget.take()) return;
    const text = line.subarray(0, SHOWN_LETTERS).toString();
    this.#start.log.warn(
      `its program printed what nobody had asked for: ${JSON.stringify(text)}, ${line.length} bytes`,
    );
  }

  #exitText(): string {
    const { exitCode, signalCode } = this.#process;
    return signalCode === null ? `it ended with exit code ${exitCode}` : `it was ended by ${signalCode}`;
  }
}

/** A process that ends without disposing its modules leaves no program behind. */
function watchExit(): void {
  if (isWatchingExit) return;
  isWatchingExit = true;
  // As the module's listener it would be removed with its version.
  asHost(() => process.on("exit", killGroups));
}

function killGroups(): void {
  for (const pid of groups) {
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      // The group is gone.
    }
  }
}
