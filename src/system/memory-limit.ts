/** The kernel keeps this limit, even while the server is too busy to check its processes' memory. */
import { ptr } from "bun:ffi";
import { readFileSync } from "node:fs";
import { openLibc } from "./libc";

/** A constant of setrlimit: private memory that can be written to. Reserved addresses do not count. */
const RLIMIT_DATA = 2;
const SYMBOLS = { setrlimit: { args: ["i32", "ptr"], returns: "i32" } } as const;

/**
 * Lets this process take twice that much memory beyond its present size: programs ask for memory that they never use.
 * An allocation beyond the limit fails with a JavaScript error, or ends the process. Does nothing if the kernel is not
 * Linux.
 */
export function limitOwnMemory(maxMemoryMb: number): void {
  const hasKb = Number(/^VmData:\s+(\d+) kB/m.exec(readStatus())?.[1] ?? Number.NaN);
  const libc = Number.isNaN(hasKb) ? null : openLibc(SYMBOLS);
  if (libc === null) return;
  const bytes = BigInt(hasKb) * 1024n + BigInt(Math.round(maxMemoryMb)) * 2n * 1_048_576n;
  libc.setrlimit(RLIMIT_DATA, ptr(new BigUint64Array([bytes, bytes])));
}

function readStatus(): string {
  try {
    return readFileSync("/proc/self/status", "latin1");
  } catch {
    return "";
  }
}
