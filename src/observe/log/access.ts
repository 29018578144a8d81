/** The access log: one line for each answered message or request, through the server's log. */
import type { AccessEntry } from "./fields";
import type { ServerLog } from "./log";

/** Takes an entry. `dispatch.access` is one if there is an access log. */
export type AccessLog = (entry: AccessEntry) => void;

/** Characters of a path, a method or a key that are shown. */
const MAX_SHOWN_CHARS = 256;

/**
 * @param sample one of this many entries is logged, beginning with the first. Default 1: each
 * @returns a function that logs entries, at the level info
 */
export function createAccessLog(log: ServerLog, { sample = 1 }: { sample?: number } = {}): AccessLog {
  let untold = 0;
  return (entry) => {
    if (untold > 0) {
      untold--;
      return;
    }
    untold = sample - 1;
    if (log.shows("info")) tell(log, entry);
  };
}

function tell(log: ServerLog, { module, generation, connection, ...entry }: AccessEntry): void {
  const access = shown(entry);
  const fields = { connection, access, ...(module !== null && { module }), ...(generation !== null && { generation }) };
  log.withFields(fields).info(accessText(access));
}

type Access = Omit<AccessEntry, "module" | "generation" | "connection">;

function shown({ address, protocol, key, method, path, status, bytes, ms }: Access): Access {
  return {
    address,
    protocol,
    key: key === null ? null : cut(key),
    ...(method !== undefined && { method: cut(method) }),
    ...(path !== undefined && { path: cut(pathOnly(path)) }),
    ...(status !== undefined && { status }),
    bytes,
    // More digits than the clock is precise to only make the log longer.
    ms: Math.round(ms * 1000) / 1000,
  };
}

/**
 * `GET /hello 200 1234 bytes 0.42 ms http/1.1 from 10.0.0.7`; for a raw message its key: `"hello " 6 bytes 0.03 ms raw
 * from unix`.
 */
function accessText({ address, protocol, key, method, path, status, bytes, ms }: Access): string {
  const what =
    method === undefined ? (key === null ? "unknown" : JSON.stringify(key)) : `${word(method)} ${word(path ?? "*")}`;
  return `${what} ${status === undefined ? "" : `${status} `}${bytes} bytes ${ms} ms ${protocol} from ${address}`;
}

/**
 * Leaves out the part behind "?", and the part before a target's host, which may be a secret:
 * `http://user:secret@host/path`.
 */
function pathOnly(target: string): string {
  const from = /^[a-z][a-z\d+.-]*:\/\/[^/?#]*/i.exec(target)?.[0].length ?? 0;
  const length = target.slice(from).search(/[?#]/);
  return length < 0 ? target.slice(from) : target.slice(from, from + length);
}

/** Escapes a space of the peer's: it must not look like the end of the word. */
function word(text: string): string {
  return text.replace(/[\s"\\]/g, (char) => (char === " " ? "\\x20" : JSON.stringify(char).slice(1, -1)));
}

function cut(text: string): string {
  return text.length > MAX_SHOWN_CHARS ? `${text.slice(0, MAX_SHOWN_CHARS)}…` : text;
}
