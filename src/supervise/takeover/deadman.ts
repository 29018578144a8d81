/**
 * Ends a server process whose event loop hangs: with its supervisor gone nobody else would, and its port would stay in
 * use.
 */
import type { Options } from "../../config/options";
import { openLibc } from "../../system/libc";

/** Whoever stands still for that long has lost all its clients anyway. */
const LEAST_SECONDS = 60;
const REARM_MS = 5000;

/**
 * Has the kernel send SIGALRM, which ends this process, unless the event loop comes by again and again to put it off
 * (alarm(2)). Does nothing where there is no such call.
 */
export function armDeadman({ timeouts }: Options): void {
  const libc = openLibc({ alarm: { args: ["u32"], returns: "u32" } });
  if (libc === null) return;
  // A handler that may block for as long as handlerMs must not be ended by this.
  const seconds = Math.max(LEAST_SECONDS, Math.ceil((2 * timeouts.handlerMs) / 1000));
  libc.alarm(seconds);
  setInterval(() => libc.alarm(seconds), REARM_MS).unref();
}
