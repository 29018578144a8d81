/** The end of a module's graph: closes everything that the module opened, and reports it. */
import { readdirSync, readlinkSync, statSync } from "node:fs";
import { globalsOf, removeListenersOf } from "./globals-watch";
import type { GraphTimers } from "./timers";
import type { LeftBehind } from "./leaks";
import type { Mark } from "./marks";

/** A graph and the records about it. */
export interface GraphParts {
  readonly graph: Bun.ModuleGraph;
  readonly mark: Mark;
  readonly timers: GraphTimers;
}

const DESCRIPTORS = "/proc/self/fd";
/**
 * With more open descriptors they are not compared: each takes some microseconds, and the loop stands still meanwhile.
 */
const MAX_DESCRIPTORS = 1000;
/** Bun's threads read sources, folders and /proc at any time. */
const SOURCE = /\.(?:[cm]?[jt]sx?|json)$/;

/**
 * @param ownsProcess whether it runs on the process's main thread. On another one, a busy main thread may have closed
 *   descriptors
 */
export function endGraph({ graph, mark, timers }: GraphParts, ownsProcess: boolean): LeftBehind {
  const armed = timers.armed;
  const before = ownsProcess ? openDescriptors() : [];
  // In one synchronous call: this thread opens and closes nothing else between the two looks.
  graph.dispose();
  const descriptors = before.filter(([number, target]) => targetOf(number) !== target && !isTransient(target)).length;
  timers.forget();
  mark.drop();
  return { listeners: removeListenersOf(graph), globals: globalsOf(mark.number), timers: armed, descriptors };
}

/** @returns number and target of each: `socket:[4711]`, the path of a file. Empty if they cannot be listed */
function openDescriptors(): [number: string, target: string][] {
  try {
    const numbers = readdirSync(DESCRIPTORS);
    if (numbers.length > MAX_DESCRIPTORS) return [];
    return numbers.map((number) => [number, targetOf(number)]);
  } catch {
    return [];
  }
}

/** @returns "" if it is not open */
function targetOf(number: string): string {
  try {
    return readlinkSync(`${DESCRIPTORS}/${number}`);
  } catch {
    return "";
  }
}

/** Whether another thread may have had it open for a moment, or it was closed before the look. */
function isTransient(target: string): boolean {
  if (target === "" || target.startsWith("/proc/") || SOURCE.test(target)) return true;
  return target.startsWith("/") && statSync(target, { throwIfNoEntry: false })?.isDirectory() === true;
}
