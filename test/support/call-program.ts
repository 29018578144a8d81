/**
 * Runs a command of hrmr inside the test's own process, for the many cases of one command: a start of the program costs
 * a hundred times as much. Each test file that uses it also starts the real program (see program.ts), which shows that
 * a command reaches the user alike.
 */
import { inspect } from "node:util";
import { childEnvironment, type ProgramOptions, type ProgramResult, ROOT } from "./program";
import { UNTIL_MS } from "./until";
import { runCli } from "../../src/cli/run";
import { systemError, UserError } from "../../src/config/user-error";
import { FOLDER_VARIABLE, workingFolder } from "../../src/config/working-folder";

/** The exit code of src/cli/fail.ts for a bug. */
const EXIT_BUG = 70;

const SIGNALS = ["SIGHUP", "SIGINT", "SIGTERM"] as const;

/** There is no stdin to be read. */
export type CallOptions = Omit<ProgramOptions, "command">;

let last: Promise<unknown> = Promise.resolve();

/**
 * As `runProgram`: the same options and the same result. Calls run one after another, since the working folder, the
 * environment and the console belong to the whole process. Only for commands that return: not `start` with right
 * usage. A command's handlers of signals are removed when it has returned.
 */
export function callProgram(args: string[], options: CallOptions = {}): Promise<ProgramResult> {
  const result = last.then(() => call(args, options));
  last = result.catch(() => {});
  return result;
}

async function call(args: string[], options: CallOptions): Promise<ProgramResult> {
  const output = { stdout: "", stderr: "" };
  const restore = takeOver(output, options);
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`hrmr ${args.join(" ")} did not end in time.\n${output.stdout}${output.stderr}`)),
    options.deadlineMs ?? UNTIL_MS,
  );
  try {
    const ended = runCli(args).catch((thrown: unknown) => {
      const { text, exitCode } = told(thrown);
      output.stderr += text;
      return exitCode;
    });
    return { exitCode: await Promise.race([ended, late.promise]), ...output };
  } finally {
    clearTimeout(timer);
    restore();
  }
}

/** The output of `fail` in src/cli/fail.ts, and its exit code. */
function told(thrown: unknown): { text: string; exitCode: number } {
  const error = systemError(thrown) ?? thrown;
  if (!(error instanceof UserError)) {
    return {
      text: `This is a bug in hrmr. Please report it with these lines:\n${inspect(error)}\n`,
      exitCode: EXIT_BUG,
    };
  }
  const lines = error.hint === undefined ? [error.message] : [error.message, error.hint];
  return { text: lines.map((line) => `${line}\n`).join(""), exitCode: error.exitCode };
}

/** Gives the command its folder, environment and output. @returns what undoes it */
function takeOver(output: { stdout: string; stderr: string }, options: CallOptions): () => void {
  const { log, error } = console;
  const { write } = Bun;
  const cwd = process.cwd();
  const env = { ...process.env };
  const decoder = new TextDecoder();
  console.log = (...words: unknown[]) => void (output.stdout += `${words.map(String).join(" ")}\n`);
  console.error = (...words: unknown[]) => void (output.stderr += `${words.map(String).join(" ")}\n`);
  const toStdout = async (piece: Uint8Array) => (
    (output.stdout += decoder.decode(piece, { stream: true })),
    piece.length
  );
  Bun.write = ((target: unknown, piece: Uint8Array, ...more: []) =>
    target === Bun.stdout ? toStdout(piece) : write(target as string, piece, ...more)) as typeof write;
  const handlers = new Map(SIGNALS.map((signal) => [signal, process.listeners(signal)]));
  const folder = options.cwd ?? ROOT;
  process.chdir(folder);
  setEnvironment(childEnvironment(options.env));
  // A command asks for the folder once and keeps the answer. The next command has another one.
  workingFolder({ [FOLDER_VARIABLE]: folder });
  return () => {
    for (const [signal, before] of handlers) {
      for (const added of process.listeners(signal)) if (!before.includes(added)) process.off(signal, added);
    }
    Object.assign(console, { log, error });
    Bun.write = write;
    process.chdir(cwd);
    setEnvironment(env);
  };
}

function setEnvironment(wanted: Record<string, string | undefined>): void {
  for (const name of Object.keys(process.env)) if (wanted[name] === undefined) delete process.env[name];
  Object.assign(process.env, wanted);
}
