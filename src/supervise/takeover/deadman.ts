/**
 * Ends a server process whose event loop hangs. Without its master, nobody else would, and its port would stay in
 * use.
 */
import type { Options } from "../../config/options";
import { openLibc } from "../../system/libc";

/** A process that hangs for so long has lost all its clients. */
const LEAST_SECONDS = 60;
const REARM_MS = 5000;

/**
 * Lets the kernel end this process by SIGALRM unless the event loop keeps postponing it (alarm(2)). Does nothing
 * without that call.
 */
export function armDeadman({ timeouts }: Options): void {
  const libc = openLibc({ alarm: { args: ["u32"], returns: "u32" } });
  if (libc === null) return;
  // A handler may block for as long as handlerMs.
  const seconds = Math.max(LEAST_SECONDS, Math.ceil((2 * timeouts.handlerMs) / 1000));
  libc.alarm(seconds);
  setInterval(() => libc.alarm(seconds), REARM_MS).unref();
}
