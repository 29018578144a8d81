/** Errors of PostgreSQL and of Bun.SQL, as the store's callers get them. Pure. */
import type { Failure } from "./dialect";

type Known = readonly [code: string, advice: string];

/** By SQLSTATE, or its first two letters. https://www.postgresql.org/docs/current/errcodes-appendix.html */
const STATES: Readonly<Record<string, Known>> = {
  "28P01": ["UNAVAILABLE", "it refuses the user's password. Correct it in `store.url`: best as ${NAME}, from .env"],
  "28": ["UNAVAILABLE", "it does not let this user in. Correct user and password in `store.url`, or its pg_hba.conf"],
  "3D000": ["UNAVAILABLE", "it has no such database. Make it (createdb NAME), or correct the name in `store.url`"],
  "42501": [
    "READ_ONLY",
    "the user may not do this. GRANT it the rights on the tables hrmr_*, and CREATE on the schema",
  ],
  "25006": ["READ_ONLY", "it is read-only, as a standby is. Name the primary in `store.url`"],
  "42P01": ["UNAVAILABLE", "tables of the store are gone. Restore a backup, or restart hrmr for an empty store"],
  "42703": ["NOT_A_STORE", "a table hrmr_* there is none of hrmr's. Name another database in `store.url`"],
  "22P05": ["UNAVAILABLE", "its encoding is not UTF8. Make the database with it: createdb -E UTF8 -T template0 NAME"],
  "53100": ["FULL", "there is no space on its disk. Make room; it goes on by itself"],
  "53300": [
    "UNAVAILABLE",
    "it has too many connections. Raise its max_connections, or set a lower ?max= in `store.url`",
  ],
  "53": ["UNAVAILABLE", "it lacks resources"],
  "57014": ["BUSY", "the statement took longer than SECONDS seconds, or was cancelled"],
  "57P04": ["UNAVAILABLE", "the database was dropped"],
  "55P03": ["BUSY", "another transaction has it locked"],
  "40": ["BUSY", "another transaction was in the way. Try again"],
  "58": ["UNAVAILABLE", "its disk failed"],
  XX: ["UNAVAILABLE", "it failed inside. See its log"],
};
/** States in which the session has ended: the server shuts down, starts, or has lost the connection. */
const LOST = /^(?:08|57P0[1235]|25P03)/;

/** @param statementMs the longest time of a statement */
export function postgresFailure(error: unknown, statementMs: number): Failure {
  const { code, errno } = error as { code?: unknown; errno?: unknown };
  const message = error instanceof Error ? error.message : String(error);
  const state = typeof errno === "string" ? errno : null;
  if (state !== null && LOST.test(state))
    return { code: "UNAVAILABLE", text: `it is not there at the moment (${state}: ${message})`, isLost: true };
  if (state !== null) {
    const [kind, advice] = STATES[state] ?? STATES[state.slice(0, 2)] ?? (["FAILED", ""] as const);
    const text = advice === "" ? message : `${advice.replace("SECONDS", String(statementMs / 1000))} (${message})`;
    return { code: kind, text: `${text} (${state})`, isLost: false };
  }
  if (typeof code !== "string") return { code: "FAILED", text: message, isLost: false };
  if (code.startsWith("ERR_POSTGRES_CONNECTION") || code.endsWith("_TIMEOUT"))
    return { code: "UNAVAILABLE", text: `it cannot be reached: ${message} (${code})`, isLost: true };
  // What remains is the beginning of a connection (TLS, the login), or a fault of the protocol.
  return { code: "UNAVAILABLE", text: `the connection failed: ${message} (${code})`, isLost: true };
}
