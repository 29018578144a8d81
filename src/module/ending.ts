/** The end of a module's graph: everything that the module opened goes with it, and what that was is told. */
import { statSync } from "node:fs";
import { globalsOf, removeListenersOf } from "./globals-watch";
import type { GraphTimers } from "./graph-timers";
import type { LeftBehind } from "./leaks";
import type { Mark } from "./running";

/** A graph, and what is kept about it. */
export interface GraphParts {
  readonly graph: Bun.ModuleGraph;
  readonly mark: Mark;
  readonly timers: GraphTimers;
}

/** @param ownsProcess it is on the process's main thread: beside a busy one, who closes what cannot be told */
export function endGraph({ graph, mark, timers }: GraphParts, ownsProcess: boolean): LeftBehind {
  const armed = timers.armed;
  const before = ownsProcess ? countDescriptors() : 0;
  // All within this call: this thread opens and closes nothing else between the two looks.
  graph.dispose();
  const descriptors = ownsProcess ? Math.max(0, before - countDescriptors()) : 0;
  timers.forget();
  mark.drop();
  return { listeners: removeListenersOf(graph), globals: globalsOf(mark.number), timers: armed, descriptors };
}

/** @returns 0 where it cannot be told: without /proc, and before Linux 6.2 */
function countDescriptors(): number {
  try {
    return statSync("/proc/self/fd").size;
  } catch {
    return 0;
  }
}
