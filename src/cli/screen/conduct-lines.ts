/**
 * The lines of `hrmr status` about harmful modules: blocked event loops, versions that stay in memory, shared
 * resources.
 */
import type { ServerStatus } from "../../observe/snapshot";
import { cleanText, formatDuration, type Paint, plural } from "./terminal";

/** @param nowMs milliseconds since 1970 */
export function conductLines({ blocked, leaked, shared }: ServerStatus, paint: Paint, nowMs: number): string[] {
  const age = (since: string): string => formatDuration((nowMs - Date.parse(since)) / 1000);
  return [
    ...blocked.map(({ module, count, longestMs }) => {
      const who = module === null ? "something" : cleanText(module);
      return `${paint(`${who} blocked the event loop`, "yellow")} ${plural(count, "time")}, for ${(longestMs / 1000).toFixed(1)} s at most`;
    }),
    ...leaked.map(({ module, generation, since, why }) => {
      const what = `${cleanText(module)} v${generation} was disposed ${age(since)} ago and is still in memory`;
      return `${paint(what, "yellow")}: ${cleanText(why)}`;
    }),
    ...shared.map(({ module, name, openedBy, since, isOpen }) => {
      const whose = module === null ? "all modules" : cleanText(module);
      const opener = `${cleanText(openedBy.module)} v${openedBy.generation}`;
      return `${whose}: "${cleanText(name)}" is ${isOpen ? "open" : "being opened"}, by ${opener}, ${age(since)} ago`;
    }),
  ];
}
