/** The subject of an event: fields in JSON, tags before the message in text. */

/** Writes lines of one source: the server's counterpart of a module's `context.log` (module/contract.d.ts). */
export interface Log {
  debug(...values: unknown[]): void;
  info(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
}

export interface LogFields {
  /** A module's name. Text: `greet`. */
  readonly module?: string;
  /** Its version. Text: `v2`. */
  readonly generation?: number;
  /** A connection's number. Text: `#17`. */
  readonly connection?: number;
  /**
   * A process's number among several, 1 to N; 0 is the master, or a server of one process. Text: `[3]`; none for 0.
   */
  readonly slot?: number;
  /** The thrown value, if the message has it in other words. JSON only: an object beside the message's first line. */
  readonly error?: unknown;
  /** An answered request. JSON only. */
  readonly access?: Omit<AccessEntry, "module" | "generation" | "connection">;
}

/** An error in JSON. */
interface ErrorData {
  readonly name: string;
  readonly message: string;
  readonly stack: string;
  readonly cause?: ErrorData;
}

/** How many nested causes are shown. */
const MAX_CAUSES = 4;

/** @returns the tags before a message: "greet v2 #17"; "" for none */
export function tagsOf({ slot, module, generation, connection }: LogFields): string {
  const tags: string[] = [];
  if (slot !== undefined && slot > 0) tags.push(`[${slot}]`);
  if (module !== undefined) tags.push(module);
  if (generation !== undefined) tags.push(`v${generation}`);
  if (connection !== undefined) tags.push(`#${connection}`);
  return tags.join(" ");
}

/**
 * @returns a log whose events carry the fields, if `log` is the server's; otherwise one that puts them before its
 *   messages
 */
export function logWith(log: Log, fields: LogFields): Log {
  if ("withFields" in log && typeof log.withFields === "function") return log.withFields(fields) as Log;
  const tags = tagsOf(fields);
  if (tags === "") return log;
  return {
    debug: (...values) => log.debug(tags, ...values),
    info: (...values) => log.info(tags, ...values),
    warn: (...values) => log.warn(tags, ...values),
    error: (...values) => log.error(tags, ...values),
  };
}

/**
 * @returns a function that logs the event; null if it was only counted (see `ServerLog.bounded`). A log that cannot
 *   count logs every event
 */
export function boundedWith(
  log: Log,
  fields: LogFields,
  level: "info" | "warn" | "error",
  kind: string,
): ((...values: unknown[]) => void) | null {
  const own = logWith(log, fields);
  if (!("bounded" in own) || typeof own.bounded !== "function") return own[level];
  return own.bounded(level, kind) as ((...values: unknown[]) => void) | null;
}

/**
 * The kind of a failure, for `ServerLog.bounded`. Does not read the stack: at thousands of failures a second that would
 * be the main cost. Never throws.
 */
export function kindOfError(thrown: unknown): string {
  try {
    return thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : `threw ${typeof thrown}`;
  } catch {
    return "threw a value that cannot be shown";
  }
}

/** Never throws, whatever was thrown. */
export function errorData(thrown: unknown, depth = 0): ErrorData {
  try {
    if (!isErrorLike(thrown)) return { name: typeof thrown, message: String(thrown), stack: "" };
    const { name, message, stack, cause } = thrown;
    const data = { name: String(name), message: String(message), stack: String(stack ?? "") };
    return cause === undefined || depth >= MAX_CAUSES ? data : { ...data, cause: errorData(cause, depth + 1) };
  } catch {
    return { name: "unknown", message: "It cannot be shown: reading it throws.", stack: "" };
  }
}

/** Errors of another realm, and errors copied between threads, are not instances. */
function isErrorLike(value: unknown): value is Error {
  return (
    value instanceof Error || (typeof value === "object" && value !== null && "message" in value && "stack" in value)
  );
}

/**
 * The protocol of a message: "raw" is a text or binary message without HTTP, "websocket" the opening of a WebSocket.
 */
export type AccessProtocol = "raw" | "http/1.1" | "h2" | "websocket";

/**
 * One answered message or request. Text from the peer (method, path) is unchanged: the access log escapes and cuts it.
 */
export interface AccessEntry {
  /** The client's address; "unix" for a unix socket. */
  readonly address: string;
  /** The connection's number. */
  readonly connection: number;
  /** null: no route took it (404, "no module is bound"). */
  readonly module: string | null;
  /** The module's version; null: as above. */
  readonly generation: number | null;
  readonly protocol: AccessProtocol;
  /** The route's key; null: no route. */
  readonly key: string | null;
  /** Of HTTP only. */
  readonly method?: string;
  /** HTTP only: the target, unchanged. The log leaves out the part behind "?", since it may hold secrets. */
  readonly path?: string;
  /** Of HTTP only. */
  readonly status?: number;
  /** Bytes sent, with the head if its size is known. */
  readonly bytes: number;
  /** From the message's last byte, or a request's head, until the system has the reply's last byte. In milliseconds. */
  readonly ms: number;
}
