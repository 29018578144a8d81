/**
 * The duty of a container's first process. Orphans become its children, and an ended one stays in the process table
 * until its parent waits for it. Bun waits only for processes that it started itself.
 */
import { readdirSync, readFileSync } from "node:fs";
import { openLibc } from "./libc";

const FIRST_PROCESS = 1;
const WNOHANG = 1;
const SWEEP_MS = 1000;

/**
 * Waits for ended orphans from now on, once a second. Does nothing unless this is the first process and there is a
 * /proc.
 */
export function reapOrphans(): void {
  if (process.pid !== FIRST_PROCESS || process.platform !== "linux") return;
  const libc = openLibc({ waitpid: { args: ["i32", "ptr", "i32"], returns: "i32" } });
  if (libc === null) return;
  let seenBefore = new Set<number>();
  const sweep = () => {
    const ended = endedChildren();
    // Bun notices the end of its own children within one turn of the event loop. A process that stays ended for a whole
    // sweep is none of them.
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
    // No /proc is mounted.
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
    // The process is gone.
    return false;
  }
}
