/** Shows an error to the module's author: the reason and the lines of their own code, without the server's. */
import { OWN_ROOT } from "../../system/own-root";

const FRAME_PATH = /(?:\(|at )((?:file:\/\/)?\/[^()]*:\d+)/;

/**
 * @param thrown anything
 * @returns the reason, then a line for each frame outside the server; causes likewise behind it
 */
export function authorStack(thrown: unknown): string {
  if (!(thrown instanceof Error)) return `threw ${Bun.inspect(thrown)}, which is no Error`;
  const frames = String(thrown.stack ?? "")
    .split("\n")
    .filter((line) => /^\s+at /.test(line) && !isServers(line))
    .map((line) => `  ${line.trim()}`);
  const text = [`${thrown.name}: ${thrown.message}`, ...frames].join("\n");
  return thrown.cause === undefined ? text : `${text}\ncaused by ${authorStack(thrown.cause)}`;
}

function isServers(frame: string): boolean {
  const path = FRAME_PATH.exec(frame)?.[1];
  return path === undefined || path.includes(OWN_ROOT) || path.includes("/$bunfs/");
}
