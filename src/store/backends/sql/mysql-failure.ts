/** Errors of MySQL, MariaDB and of Bun.SQL, as the store's callers get them. Pure. */
import type { Failure } from "./dialect";

type Known = readonly [code: string, advice: string];

const PASSWORD: Known = [
  "UNAVAILABLE",
  "it refuses the user's password. Correct it in `store.url`: best as ${NAME}, from .env",
];
const RIGHTS: Known = ["READ_ONLY", "the user may not do this. GRANT it ALL on this database"];
const STANDBY: Known = ["READ_ONLY", "it is read-only, as a replica is. Name the primary in `store.url`"];
const CONNECTIONS: Known = [
  "UNAVAILABLE",
  "it has too many connections. Raise its max_connections, or set a lower ?max= in `store.url`",
];
const SLOW: Known = ["BUSY", "the statement took too long, or was cancelled"];
const FULL: Known = ["FULL", "there is no space on its disk. Make room; it goes on by itself"];

/** By the number of the error. https://mariadb.com/kb/en/mariadb-error-code-reference/ */
const NUMBERS: Readonly<Record<number, Known>> = {
  1021: FULL,
  1040: CONNECTIONS,
  1044: RIGHTS,
  1045: PASSWORD,
  1049: ["UNAVAILABLE", "it has no such database. Make it (CREATE DATABASE NAME), or correct the name in `store.url`"],
  1054: ["NOT_A_STORE", "a table hrmr_* there is none of hrmr's. Name another database in `store.url`"],
  1114: FULL,
  1129: ["UNAVAILABLE", "it has blocked this host. FLUSH HOSTS there"],
  1130: ["UNAVAILABLE", "it does not let this host in. Correct user and host there"],
  1142: RIGHTS,
  1143: RIGHTS,
  1146: ["UNAVAILABLE", "tables of the store are gone. Restore a backup, or restart hrmr for an empty store"],
  1153: ["FAILED", "the write is larger than its max_allowed_packet. Raise that, or write less at once"],
  1203: CONNECTIONS,
  1205: ["BUSY", "another transaction has it locked"],
  1213: ["BUSY", "another transaction was in the way. Try again"],
  1226: CONNECTIONS,
  1227: RIGHTS,
  1290: STANDBY,
  1317: SLOW,
  1698: PASSWORD,
  1792: STANDBY,
  1836: STANDBY,
  1969: SLOW,
  3024: SLOW,
};
/** The session has ended: the server shuts down, or has ended the connection. */
const LOST = new Set([1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 4031]);
/** The file system's own error, in the text: "Got error 28 'No space left on device' from InnoDB". */
const NO_SPACE = /\b(?:errno|error):? 28\b/i;

export function mysqlFailure(error: unknown): Failure {
  const { code, errno } = error as { code?: unknown; errno?: unknown };
  const message = error instanceof Error ? error.message : String(error);
  if (typeof errno === "number" && LOST.has(errno))
    return { code: "UNAVAILABLE", text: `it is not there at the moment (${errno}: ${message})`, isLost: true };
  if (typeof errno === "number") {
    const [kind, advice] = NO_SPACE.test(message) ? FULL : (NUMBERS[errno] ?? (["FAILED", ""] as const));
    return { code: kind, text: `${advice === "" ? message : `${advice} (${message})`} (${errno})`, isLost: false };
  }
  if (typeof code !== "string") return { code: "FAILED", text: message, isLost: false };
  const what =
    code.startsWith("ERR_MYSQL_CONNECTION") || code.endsWith("_TIMEOUT")
      ? "it cannot be reached"
      : "the connection failed";
  return { code: "UNAVAILABLE", text: `${what}: ${message} (${code})`, isLost: true };
}
