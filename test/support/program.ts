/**
 * Starts hrmr as a child process: from source, or the binary that HRMR_BIN names, so that one test covers both.
 */
import { resolve } from "node:path";

/**
 * Deadline for a start, a stop or a whole run. Long, for a loaded machine: it decides no test otherwise. In
 * milliseconds.
 */
const PROGRAM_MS = 60_000;

/** The repository. */
export const ROOT = resolve(import.meta.dir, "..", "..");

export interface ProgramOptions {
  /** The child's working directory. Default: the repository's root. */
  cwd?: string;
  /** Added to the environment. HRMR_* and NODE_ENV of the test run are not passed on. */
  env?: Record<string, string>;
  /** The test looks at the memory of the program: it gets the allocator's settings of users. Default: false. */
  isMemoryMeasured?: boolean;
  /** In milliseconds. Default 60000. */
  deadlineMs?: number;
  /** The command that runs hrmr. Default: `program()`. */
  command?: readonly string[];
}

export interface RunOptions extends ProgramOptions {
  /** The program's stdin. Default: closed. */
  stdin?: string;
}

export interface ProgramResult {
  /** null when a signal ended it. */
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

export interface StartedProgram {
  readonly pid: number;
  /** The port of the first TCP listener; 0 if there is none. */
  readonly port: number;
  /** The listeners that it prints: `tcp://127.0.0.1:40001`, one for each listener. */
  readonly listening: string[];
  /** stdout and stderr so far, in the order of arrival. */
  output(): string;
  /** From now on `output` and `waitFor` look only at what comes. */
  forgetOutput(): void;
  /** Resolves once `pattern` is in the output; fails with the output when the deadline passes or the program ends. */
  waitFor(pattern: RegExp | string): Promise<void>;
  signal(signal: NodeJS.Signals): void;
  /** How it ended: the exit code, or 128 and the signal's number. */
  readonly exited: Promise<number>;
  /** SIGTERM. Resolves with how it ended; rejects after the deadline, with SIGKILL. Safe to call twice. */
  stop(): Promise<number>;
}

/** The argv prefix that runs hrmr from source, whatever HRMR_BIN says. */
export const SOURCE_PROGRAM: readonly string[] = [process.execPath, resolve(ROOT, "src/main.ts")];

/** @returns the argv prefix that runs hrmr: the interpreter and src/main.ts, or the binary in HRMR_BIN */
export function program(): string[] {
  const binary = process.env.HRMR_BIN;
  return binary ? [resolve(ROOT, binary)] : [...SOURCE_PROGRAM];
}

/** Runs hrmr to its end. Fails when it does not end by the deadline. */
export async function runProgram(args: string[], options: RunOptions = {}): Promise<ProgramResult> {
  const child = Bun.spawn([...(options.command ?? program()), ...args], {
    cwd: options.cwd ?? ROOT,
    env: childEnvironment(options.env, options.isMemoryMeasured),
    stdin: options.stdin === undefined ? "ignore" : new Blob([options.stdin]),
    stdout: "pipe",
    stderr: "pipe",
  });
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    child.kill("SIGKILL");
  }, options.deadlineMs ?? PROGRAM_MS);
  try {
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    await child.exited;
    if (isLate) throw new Error(`hrmr ${args.join(" ")} did not end in time.\n${stdout}${stderr}`);
    return { exitCode: child.exitCode, stdout, stderr };
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Starts hrmr and resolves once it says what it listens on; fails with its output when it ends before or takes too
 * long.
 */
export async function startProgram(args: string[], options: ProgramOptions = {}): Promise<StartedProgram> {
  const deadlineMs = options.deadlineMs ?? PROGRAM_MS;
  const child = Bun.spawn([...(options.command ?? program()), ...args], {
    cwd: options.cwd ?? ROOT,
    env: childEnvironment(options.env, options.isMemoryMeasured),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  let text = "";
  let changed = Promise.withResolvers<void>();
  const tell = () => {
    changed.resolve();
    changed = Promise.withResolvers<void>();
  };
  const gather = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
      text += piece;
      tell();
    }
  };
  const drained = Promise.all([gather(child.stdout), gather(child.stderr)]);
  let hasEnded = false;
  const exited = Promise.all([child.exited, drained]).then(([code]) => {
    hasEnded = true;
    tell();
    return code;
  });

  const waitFor = async (pattern: RegExp | string) => {
    const isThere = () => (typeof pattern === "string" ? text.includes(pattern) : pattern.test(text));
    const late = Promise.withResolvers<"late">();
    const timer = setTimeout(() => late.resolve("late"), deadlineMs);
    try {
      while (!isThere()) {
        if (hasEnded)
          throw new Error(`hrmr ${args.join(" ")} ended with ${await exited} before ${pattern} was seen.\n${text}`);
        if ((await Promise.race([changed.promise, late.promise])) === "late" && !isThere()) {
          throw new Error(`hrmr ${args.join(" ")}: ${pattern} was not seen in ${deadlineMs} ms.\n${text}`);
        }
      }
    } finally {
      clearTimeout(timer);
    }
  };

  const stop = async () => {
    if (!hasEnded) child.kill("SIGTERM");
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      child.kill("SIGKILL");
    }, deadlineMs);
    const code = await exited;
    clearTimeout(timer);
    if (isLate) throw new Error(`hrmr ${args.join(" ")} did not end in ${deadlineMs} ms after SIGTERM.\n${text}`);
    return code;
  };

  try {
    // The summary is on the line of the last listener.
    await waitFor(/^(?:hrmr \S+| +) {2}\S+:\/\/.*ready in [\d.]+ ms\b/m);
  } catch (error) {
    await stop();
    throw error;
  }
  const listening = listenersIn(text);
  const port = listening.map((url) => /^tcp:\/\/.*:(\d+)$/.exec(url)?.[1]).find((digits) => digits !== undefined);
  return {
    pid: child.pid,
    port: Number(port ?? 0),
    listening,
    output: () => text,
    forgetOutput: () => void (text = ""),
    waitFor,
    signal: (signal) => child.kill(signal),
    exited,
    stop,
  };
}

/**
 * The listeners that a start has printed, as `listen` of hrmr.json names them: `tcp://127.0.0.1:8080` for
 * `http://127.0.0.1:8080/`.
 */
export function listenersIn(output: string): string[] {
  const urls = [...output.matchAll(/^(?:hrmr \S+| +) {2}(\w+:\/\/\S+?)\/?(?=\s|$)/gm)].map((match) => match[1] ?? "");
  return urls.map((url) => url.replace(/^http:/, "tcp:").replace(/^https:/, "tls:"));
}

/**
 * Settings of Bun's allocator that spare a start most of its page faults, and so about a third of its CPU time: huge
 * pages, and no memory is given back. The programs of most tests end soon. package.json gives them to the processes that
 * run the tests, too.
 */
const QUICK_MEMORY = { MIMALLOC_ALLOW_THP: "1", MIMALLOC_PURGE_DELAY: "-1" };

/**
 * The environment of the program under test: that of the test run without its HRMR_*, MIMALLOC_*, NODE_ENV and CI, and
 * `added`.
 */
export function childEnvironment(added: Record<string, string> = {}, isMemoryMeasured = false): Record<string, string> {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(?:HRMR_|MIMALLOC_)/.test(name) && name !== "NODE_ENV" && name !== "CI",
  );
  return {
    ...(Object.fromEntries(kept) as Record<string, string>),
    NO_COLOR: "1",
    ...(isMemoryMeasured ? {} : QUICK_MEMORY),
    ...added,
  };
}
