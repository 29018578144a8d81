/**
 * `--watch`: reloads when something in the modules folder changed, once things are quiet again.
 */
import { watch } from "node:fs";
import { sep } from "node:path";

/** An editor truncates and writes, or writes beside and renames: one save is several events within a few milliseconds. */
const QUIET_MS = 50;
/** A folder that changes all the time (a log in it, say) is still reloaded now and then. */
const MAX_WAIT_MS = 1000;

export interface Watcher {
  close(): void;
}

/**
 * @param onChange called after the last of a burst of changes; calls don't overlap unless it returns early
 * @param onError  the folder itself is gone or cannot be watched any more
 */
export function watchModules(dir: string, onChange: () => void, onError: (error: Error) => void): Watcher {
  let quiet: ReturnType<typeof setTimeout> | null = null;
  let firstAt = 0;
  const fire = () => {
    quiet = null;
    onChange();
  };
  // The folder, never a single file: a watch on a file ends with the first save by rename.
  const watcher = watch(dir, { recursive: true }, (_event, name) => {
    if (typeof name === "string" && isIgnored(name)) return;
    const now = performance.now();
    if (quiet === null) firstAt = now;
    else clearTimeout(quiet);
    quiet = setTimeout(fire, now - firstAt > MAX_WAIT_MS ? 0 : QUIET_MS);
  });
  watcher.on("error", onError);
  return {
    close: () => {
      if (quiet !== null) clearTimeout(quiet);
      watcher.close();
    },
  };
}

/** What an editor or a package manager writes beside the modules is no change of a module. */
function isIgnored(path: string): boolean {
  const parts = path.split(sep);
  const name = parts.at(-1) ?? "";
  return parts.includes(".hrmr") || parts.includes("node_modules") || parts.includes(".git") || name.endsWith("~") || name.endsWith(".swp");
}
