/**
 * When a new program has come to rest: it has begun, and waits for something. One with a mistake in its text has ended
 * by then, however slow the machine is.
 */
import { readFileSync } from "node:fs";

const POLL_MS = 50;
/** At rest: nothing of it has run in so many looks, one after another. */
const QUIET_LOOKS = 4;

/**
 * Resolves when the process and its children have come to rest, or after `maxMs`. Without a /proc, it is the time alone
 * that counts.
 *
 * @param hasEnded asked at each look; ends the wait
 */
export async function settled(pid: number, maxMs: number, hasEnded: () => boolean): Promise<void> {
  const until = performance.now() + maxMs;
  let before = "";
  let quiet = 0;
  while (!hasEnded() && performance.now() < until) {
    const now = activityOf(pid);
    // null: something of it runs, or waits for the disk.
    quiet = now !== null && now === before ? quiet + 1 : 0;
    if (quiet >= QUIET_LOOKS) return;
    before = now ?? "";
    await Bun.sleep(POLL_MS);
  }
}

/** @returns the processes and the time that each has run. null: one of them runs just now, or /proc does not tell */
function activityOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // proc(5): the name stands in brackets and may hold any character; state is the field behind it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields[0] !== "S") return null;
    const parts = [pid, fields[11], fields[12], ...childrenOf(pid).map(activityOf)];
    return parts.includes(null) ? null : parts.join(" ");
  } catch {
    return null;
  }
}

/** Empty where the kernel does not tell. */
function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}
