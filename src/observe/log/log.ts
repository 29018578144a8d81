/**
 * The log: one event, one line: `2026-11-20T12:00:00.000Z warn  greet v2 #17 message`, or an object in JSON.
 *
 * In text, further lines (a stack, a code frame) are indented, so that only an event's first line begins with a time.
 * Control characters from any source are escaped here.
 */
import { asHost } from "../../system/leave-graph";
import { createConsola, type ConsolaInstance, type LogObject } from "consola/core";
import { DEFAULT_LOG, type LogFormat, type LogLevel, type LogOptions } from "../../config/options";
import { kindOfError, type Log, type LogFields, tagsOf } from "./fields";
import { LogFile, type LogFileRole } from "./file";
import { formatEvent, type LogEvent } from "./format";
import { stderrSink } from "./stderr";
import { LogThrottle, suppressedText } from "./throttle";

/**
 * The server's log. Values are joined by a space: text unchanged, errors with their stack and cause, the rest as in a
 * console.
 */
export interface ServerLog extends Log {
  /** A log whose events carry these fields too: `log.withFields({ module: "greet", generation: 2 })`. */
  withFields(fields: LogFields): ServerLog;
  /**
   * A log whose lines carry `tag` behind this log's own tag, for subjects that have no field. In JSON it is the field
   * `tag`.
   */
  withTag(tag: string): ServerLog;
  /**
   * For events that a client can cause without end. The first of a kind are logged; further ones are counted, and their
   * number is logged once a second (see log-throttle).
   *
   * @param kind events with the same kind, level, module and version share a limit. Only its first line counts
   * @returns a function that logs the event; null if it was counted
   */
  bounded(level: LogLevel, kind: string): ((...values: unknown[]) => void) | null;
  /** Logs the numbers of counted events now. */
  flush(): void;
  /** For an event that is about to end the server. */
  critical(...values: unknown[]): void;
  /** For a connection's changes of state. */
  trace(...values: unknown[]): void;
  /** Whether events of this level are logged. Ask before you compose a costly event. */
  shows(level: LogLevel): boolean;
}

/** The one log of a process, with its destination. All other logs are made from it. */
export interface ProcessLog extends ServerLog {
  setLevel(level: LogLevel): void;
  /**
   * Takes over new settings; missing ones get their defaults. Fields and tags stay, and so does a missing role.
   *
   * @throws UserError LOG_FILE if the new file cannot be opened; the old settings then stay
   */
  reconfigure(options: Partial<LogSettings>): void;
  /** Opens the log file again: at SIGHUP, after logrotate has renamed it, and after another process has rotated it. */
  reopen(): void;
  /** @param callback called after each rotation by this process */
  onRotate(callback: () => void): void;
  /** Closes the file; later events go to stderr. No event waits to be written to a file. */
  close(): void;
}

/** The `log` group of the options, and settings that are not the user's. */
interface LogSettings extends Omit<LogOptions, "access" | "accessSample"> {
  /** Whether this process rotates the file; of several that write to it, one does. Default "owner". */
  role: LogFileRole;
}

interface NewLogSettings extends Partial<LogSettings> {
  /** Fields of all events, such as this process's number. */
  fields?: LogFields;
  /** Whether to use colours on stderr. Default: it is a terminal. NO_COLOR (any text but the empty one) wins. */
  isTty?: boolean;
  /** Gets each event's text, with its newline. Default: stderr. */
  write?: (text: string) => void;
}

/** The levels in their order: consola's numbers, and -1 for `critical`. */
const LEVELS: Record<LogLevel, number> = { critical: -1, error: 0, warn: 1, info: 3, debug: 4, trace: 5 };
/** Levels that have another name in consola. */
const NAMES = { critical: "fatal" } as const;

/**
 * Makes the one log of a process. Make the others from it with `withFields`.
 *
 * @throws UserError LOG_FILE when the file cannot be opened
 */
export function createLog({ fields = {}, isTty, write, ...settings }: NewLogSettings = {}): ProcessLog {
  const output = new LogOutput(
    isTty ?? (write === undefined && process.stderr.isTTY === true),
    write ?? ((text) => stderrSink().write(text)),
    fields,
  );
  if (write === undefined) {
    stderrSink().describeDropped = (count) =>
      output.event("warn", `${count} events were left out here: nobody read stderr`);
  }
  output.reconfigure(settings);
  return {
    ...boundLog(output, { fields, tags: tagsOf(fields), tag: "" }),
    setLevel: (level) => output.setLevel(level),
    reconfigure: (options) => output.reconfigure(options),
    reopen: () => output.reopen(),
    onRotate: (callback) => output.rotateCallbacks.push(callback),
    close: () => output.close(),
  };
}

/** Logs an error that no code caught. */
export function tellStray(log: ServerLog, error: unknown): void {
  log.bounded("error", kindOfError(error))?.(
    "a bug in hrmr; the server goes on. Please report it with these lines:",
    error,
  );
}

type Binding = Pick<LogEvent, "fields" | "tags" | "tag">;

/** A little more than a second, so that the second is over. In milliseconds. */
const FLUSH_MS = 1010;

/** The destination and form of a process's events. */
class LogOutput {
  readonly rotateCallbacks: (() => void)[] = [];
  readonly #consola: ConsolaInstance;
  readonly #fields: LogFields;
  #level = LEVELS.info;
  readonly #isTty: boolean;
  readonly #write: (text: string) => void;
  #format: LogFormat = "text";
  #file: LogFile | null = null;
  #role: LogFileRole = "owner";
  readonly #throttle = new LogThrottle();
  #timer: Timer | null = null;

  /** @param fields of all events */
  constructor(isTty: boolean, write: (text: string) => void, fields: LogFields) {
    this.#fields = fields;
    this.#isTty = isTty;
    this.#write = write;
    // consola folds equal lines that come fast, which loses their times and connections. Throttle 0 lets each through.
    this.#consola = createConsola({
      reporters: [{ log: (entry: LogObject) => this.#report(entry) }],
      throttle: 0,
      throttleMin: Infinity,
      level: Infinity,
    });
  }

  reconfigure({ level, format, file, maxFileBytes, maxFiles, rotate, role = this.#role }: Partial<LogSettings>): void {
    const path = file ?? null;
    const settings = {
      path: path ?? "",
      role,
      maxFileBytes: maxFileBytes ?? DEFAULT_LOG.maxFileBytes,
      maxFiles: maxFiles ?? DEFAULT_LOG.maxFiles,
      rotate: rotate ?? DEFAULT_LOG.rotate,
    };
    if (path !== null && path === this.#file?.path) this.#file.configure(settings);
    else {
      const next = path === null ? null : new LogFile(settings, this);
      this.#file?.close();
      this.#file = next;
    }
    this.#role = role;
    this.#format = format ?? DEFAULT_LOG.format;
    this.setLevel(level ?? DEFAULT_LOG.level);
  }

  setLevel(level: LogLevel): void {
    this.#level = LEVELS[level];
  }

  shows(level: LogLevel): boolean {
    return LEVELS[level] <= this.#level;
  }

  /** One object for consola: it would take a module's `{ message, args }` for an entry of its own. */
  print(level: LogLevel, binding: Binding, values: readonly unknown[]): void {
    if (this.shows(level)) this.#consola[level === "critical" ? NAMES.critical : level]({ ...binding, args: [values] });
  }

  /** @returns whether to log this event */
  admits(level: LogLevel, { module, generation }: LogFields, kind: string): boolean {
    if (!this.shows(level)) return false;
    const isTold = this.#throttle.admit({ level, module, generation, text: kind }, performance.now());
    this.#timer ??= asHost(() => setTimeout(() => this.flush(false), FLUSH_MS)).unref();
    return isTold;
  }

  /** Logs the numbers of counted events. @param isEnd  true: also those of the current second */
  flush(isEnd: boolean): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    for (const suppressed of this.#throttle.flush(performance.now(), isEnd)) {
      const { level, module, generation } = suppressed.event;
      const fields = {
        ...this.#fields,
        ...(module === undefined ? null : { module }),
        ...(generation === undefined ? null : { generation }),
      };
      this.print(level, { fields, tags: tagsOf(fields), tag: "" }, [suppressedText(suppressed)]);
    }
    if (!this.#throttle.isIdle) this.#timer = asHost(() => setTimeout(() => this.flush(false), FLUSH_MS)).unref();
  }

  reopen(): void {
    this.#file?.reopen();
  }

  close(): void {
    this.flush(true);
    this.#file?.close();
    this.#file = null;
  }

  /** @returns an event about the log itself, for stderr */
  event(level: "warn" | "info", text: string): string {
    return formatEvent(
      { time: new Date(), level, tags: "", tag: "", fields: {}, values: [text] },
      this.#format,
      this.#hasColours,
    );
  }

  // ---- LogFileOwner ----

  fallback(text: string): void {
    this.#write(text);
  }

  tell(level: "warn" | "info", text: string): void {
    this.#write(this.event(level, text));
  }

  rotated(): void {
    for (const callback of this.rotateCallbacks) callback();
  }

  get #hasColours(): boolean {
    return this.#isTty && !process.env.NO_COLOR;
  }

  #report(entry: LogObject): void {
    const { fields, tags, tag } = entry as unknown as Binding;
    const level = entry.type === NAMES.critical ? "critical" : (entry.type as LogLevel);
    const event: LogEvent = { time: entry.date, level, fields, tags, tag, values: entry.args[0] as unknown[] };
    if (this.#file === null) this.#write(formatEvent(event, this.#format, this.#hasColours));
    else this.#file.write(formatEvent(event, this.#format, false));
  }
}

function boundLog(output: LogOutput, binding: Binding): ServerLog {
  return {
    critical: (...values) => output.print("critical", binding, values),
    trace: (...values) => output.print("trace", binding, values),
    debug: (...values) => output.print("debug", binding, values),
    info: (...values) => output.print("info", binding, values),
    warn: (...values) => output.print("warn", binding, values),
    error: (...values) => output.print("error", binding, values),
    withFields: (fields) =>
      boundLog(output, {
        ...binding,
        fields: { ...binding.fields, ...fields },
        tags: joined(binding.tags, tagsOf(fields)),
      }),
    withTag: (tag) => boundLog(output, { ...binding, tags: joined(binding.tags, tag), tag: joined(binding.tag, tag) }),
    bounded: (level, kind) =>
      output.admits(level, binding.fields, kind) ? (...values) => output.print(level, binding, values) : null,
    flush: () => output.flush(true),
    shows: (level) => output.shows(level),
  };
}

function joined(tags: string, more: string): string {
  if (more === "") return tags;
  return tags === "" ? more : `${tags} ${more}`;
}
