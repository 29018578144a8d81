/**
 * The duty of a container's first process: orphans become its children, and each that ends stays in the process table
 * until it is waited for. Bun waits for what it started itself, and for nothing else.
 */
import { readdirSync, readFileSync } from "node:fs";
import { openLibc } from "./libc";

const FIRST_PROCESS = 1;
const WNOHANG = 1;
const SWEEP_MS = 1000;

/**
 * Has ended orphans waited for from here on, once a second. Does nothing in a process that is not the first one, nor
 * where there is no /proc.
 */
export function reapOrphans(): void {
  if (process.pid !== FIRST_PROCESS || process.platform !== "linux") return;
  const libc = openLibc({ waitpid: { args: ["i32", "ptr", "i32"], returns: "i32" } });
  if (libc === null) return;
  let seenBefore = new Set<number>();
  const sweep = () => {
    const ended = endedChildren();
    // Of its own children Bun takes note within one turn of the event loop: what has been there for a whole sweep is no
    // such one.
    for (const pid of ended) if (seenBefore.has(pid)) libc.waitpid(pid, null, WNOHANG);
    seenBefore = new Set(ended);
  };
  setInterval(sweep, SWEEP_MS).unref();
}

/** Children of this process that have ended and were not waited for. */
function endedChildren(): number[] {
  try {
    return readdirSync("/proc").filter(isEndedChild).map(Number);
  } catch {
    // No /proc is mounted here: nothing can be known.
    return [];
  }
}

/**
 * proc(5), stat: the state and the parent's id follow the name, which stands in brackets and may hold any character.
 */
function isEndedChild(pid: string): boolean {
  if (!/^\d+$/.test(pid)) return false;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return state === "Z" && parent === String(process.pid);
  } catch {
    // It is gone.
    return false;
  }
}
