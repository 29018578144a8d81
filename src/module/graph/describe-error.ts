/** Errors of a module, with their position: one class for builds, loads and lifecycle functions. */
import { existsSync, readFileSync } from "node:fs";
import { isAbsolute, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { OWN_ROOT } from "../../system/self";

/**
 * A position in an author's file. `file` is for people (relative to the working folder if it lies there); lines and
 * columns count from 1.
 */
export interface SourcePosition {
  readonly file: string;
  /** undefined: the file as a whole. */
  readonly line: number | undefined;
  readonly column: number | undefined;
  /** The line before, the line, and a caret below it; "" if there is nothing to show. */
  readonly frame: string;
}

/** A ModuleError's fields, to cross from one thread to another. */
export interface ModuleErrorData extends SourcePosition {
  readonly module: string;
  readonly message: string;
  readonly others: readonly string[];
}

/**
 * A version of a module that cannot be used. `message` is the reason alone; `describeError` adds the position and the
 * code.
 */
export class ModuleError extends Error {
  readonly module: string;
  readonly file: string;
  readonly line: number | undefined;
  readonly column: number | undefined;
  readonly frame: string;
  /** Further errors of the same build, one line each. */
  readonly others: readonly string[];

  constructor(
    module: string,
    message: string,
    position: SourcePosition,
    others: readonly string[] = [],
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "ModuleError";
    this.module = module;
    this.file = position.file;
    this.line = position.line;
    this.column = position.column;
    this.frame = position.frame;
    this.others = others;
  }

  /** file:line:column, as far as known. */
  get position(): string {
    return formatPosition(this);
  }

  toData(): ModuleErrorData {
    const { module, message, file, line, column, frame, others } = this;
    return { module, message, file, line, column, frame, others };
  }

  static fromData(data: ModuleErrorData): ModuleError {
    return new ModuleError(data.module, data.message, data, data.others);
  }
}

/** @returns the path relative to the working folder if it lies in it, otherwise unchanged */
export function displayPath(path: string): string {
  const short = relative(process.cwd(), path);
  return short === "" || short.startsWith("..") || isAbsolute(short) ? path : short;
}

/** Several lines for a person: position and reason, the code frame, further errors. Not ended by a newline. */
export function describeError(error: unknown): string {
  if (!(error instanceof ModuleError)) return messageOf(error);
  const lines = [`${error.position}: ${error.message}`];
  if (error.frame !== "") lines.push(error.frame);
  return [...lines, ...error.others].join("\n");
}

/** An error about the module's file as a whole. */
export function wholeFileError(module: string, source: string, message: string, cause?: unknown): ModuleError {
  return new ModuleError(
    module,
    message,
    { file: displayPath(source), line: undefined, column: undefined, frame: "" },
    [],
    cause,
  );
}

/** The log of `Bun.build` as one error: the first entry is the error, the rest are `others`. */
export function buildLogsError(
  module: string,
  source: string,
  logs: readonly (BuildMessage | ResolveMessage)[],
): ModuleError {
  const errors = logs.filter((log) => log.level === "error");
  const [first, ...rest] = errors.length > 0 ? errors : logs;
  if (first === undefined) return wholeFileError(module, source, "the build failed and gave no reason");
  const others = rest.map((log) => `${formatPosition(logPosition(source, log))}: ${buildMessage(log.message)}`);
  return new ModuleError(module, buildMessage(first.message), logPosition(source, first), others, first);
}

/**
 * An error thrown by an author's code, placed at the newest stack frame in one of the author's files; without one (a
 * thrown string, an error made elsewhere) at the module's file as a whole.
 *
 * @param doing put before the reason: "setup failed"; "" for none
 */
export function thrownError(module: string, source: string, thrown: unknown, doing: string): ModuleError {
  if (thrown instanceof ModuleError) return thrown;
  const reason = thrown instanceof Error ? messageOf(thrown) : `threw ${Bun.inspect(thrown)}, which is not an Error`;
  const message = doing === "" ? reason : `${doing}: ${reason}`;
  // The thrown value is not kept as the cause: it would keep the version's whole graph in memory.
  return new ModuleError(module, message, thrownPosition(source, thrown));
}

function messageOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return Bun.inspect(thrown);
  const text = thrown.message === "" ? thrown.name : thrown.message;
  const named = thrown.name === "Error" || text.startsWith(thrown.name) ? text : `${thrown.name}: ${text}`;
  return thrown.cause instanceof Error ? `${named} (caused by ${messageOf(thrown.cause)})` : named;
}

function formatPosition({ file, line, column }: SourcePosition): string {
  if (line === undefined) return file;
  return column === undefined ? `${file}:${line}` : `${file}:${line}:${column}`;
}

function logPosition(source: string, log: BuildMessage | ResolveMessage): SourcePosition {
  const position = log.position;
  if (position === null || position.file === "" || position.line < 1) {
    return { file: displayPath(source), line: undefined, column: undefined, frame: "" };
  }
  return positionAt(position.file, position.line, Math.max(1, position.column), position.lineText);
}

/** The specifier that a build's message reports as not found; undefined for other messages. */
export function unresolvedSpecifier(message: string): string | undefined {
  return /^Could not resolve: "(.+?)"/.exec(message)?.[1];
}

function buildMessage(message: string): string {
  const specifier = unresolvedSpecifier(message);
  if (specifier === undefined) return message;
  if (/^[./]/.test(specifier)) return `Cannot find "${specifier}"`;
  const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
  return `Cannot find package "${specifier}": install it in the module's folder or above (hrmr add ${name}, or npm install ${name})`;
}

function thrownPosition(source: string, thrown: unknown): SourcePosition {
  const stack = thrown instanceof Error ? String(thrown.stack) : "";
  for (const [, path, line, column] of stack.matchAll(/^\s+at .*?((?:file:\/\/)?\/[^()\n]*?):(\d+):(\d+)\)?$/gm)) {
    const file = path?.startsWith("file://") ? fileURLToPath(path) : path;
    if (file === undefined || file.includes("/node_modules/") || !isAuthorsFile(file)) continue;
    return positionAt(file, Number(line), Number(column));
  }
  return { file: displayPath(source), line: undefined, column: undefined, frame: "" };
}

// False for the bundle (in a stack without a mapping) and for the server's own files, compiled or not.
function isAuthorsFile(file: string): boolean {
  return (
    !file.startsWith(OWN_ROOT) &&
    !file.startsWith("/$bunfs/") &&
    !/\/bundles\/[^/]+\/[0-9a-f]{12}\.js$/.test(file) &&
    existsSync(file)
  );
}

function positionAt(path: string, line: number, column: number, lineText?: string): SourcePosition {
  return { file: displayPath(path), line, column, frame: codeFrame(path, line, column, lineText) };
}

/**
 * A position in a file's text at the time of the read.
 *
 * @param column  undefined: not known; the frame has no caret then
 */
export function positionInText(path: string, text: string, line: number, column: number | undefined): SourcePosition {
  const lines = text.split(/\r?\n/);
  return { file: displayPath(path), line, column, frame: frameOf(lines, lines[line - 1], line, column) };
}

function codeFrame(path: string, line: number, column: number, lineText: string | undefined): string {
  const lines = readLines(path);
  return frameOf(lines, lineText ?? lines[line - 1], line, column);
}

const MAX_FRAME_COLUMNS = 120;

function frameOf(lines: readonly string[], text: string | undefined, line: number, column = 0): string {
  if (text === undefined) return "";
  // A minified line would fill the screen: show the part around the column.
  const start = column > MAX_FRAME_COLUMNS - 20 ? column - MAX_FRAME_COLUMNS / 2 : 0;
  const cut = (full: string): string => full.slice(start, start + MAX_FRAME_COLUMNS).replace(/[^\P{Cc}\t]/gu, "\uFFFD");
  const width = String(line).length;
  const caret = cut(text)
    .slice(0, Math.max(0, column - 1 - start))
    .replace(/[^\t]/g, " ");
  const before =
    line > 1 && lines[line - 2]?.trim() ? [`${String(line - 1).padStart(width)} | ${cut(lines[line - 2] ?? "")}`] : [];
  const marked = column === 0 ? [] : [`${" ".repeat(width)} | ${caret}^`];
  return [...before, `${line} | ${cut(text)}`, ...marked].join("\n");
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, "utf8").split(/\r?\n/);
  } catch {
    // The file is gone: the error has no code frame.
    return [];
  }
}

const FRAME_PATH = /(?:\(|at )((?:file:\/\/)?\/[^()]*:\d+)/;

/** So many causes of causes are shown: an error may be its own cause. */
const MAX_CAUSES = 8;

/**
 * @param thrown anything. Never throws itself
 * @returns the reason, then a line for each frame outside the server; causes likewise behind it
 */
export function authorStack(thrown: unknown): string {
  try {
    return stackOf(thrown, MAX_CAUSES);
  } catch {
    // A getter or a proxy of the module.
    return "threw a value that cannot be shown";
  }
}

function stackOf(thrown: unknown, causes: number): string {
  if (!(thrown instanceof Error)) return `threw ${Bun.inspect(thrown)}, which is not an Error`;
  const frames = String(thrown.stack ?? "")
    .split("\n")
    .filter((line) => /^\s+at /.test(line) && !isServers(line))
    .map((line) => `  ${line.trim()}`);
  const text = [`${thrown.name}: ${thrown.message}`, ...frames].join("\n");
  return thrown.cause === undefined || causes === 0 ? text : `${text}\ncaused by ${stackOf(thrown.cause, causes - 1)}`;
}

function isServers(frame: string): boolean {
  const path = FRAME_PATH.exec(frame)?.[1];
  return path === undefined || path.includes(OWN_ROOT) || path.includes("/$bunfs/");
}
