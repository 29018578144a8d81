/** The end of a module's graph: everything that the module opened goes with it, and what that was is told. */
import { statSync } from "node:fs";
import { globalsOf, removeListenersOf } from "./globals-watch";
import type { GraphTimers } from "./graph-timers";
import type { LeftBehind } from "./leaks";
import type { Mark } from "./running";

/** @param timers of the same graph */
export function endGraph(graph: Bun.ModuleGraph, mark: Mark, timers: GraphTimers): LeftBehind {
  const armed = timers.armed;
  const before = countDescriptors();
  // All within this call: nobody else opens or closes anything between the two looks.
  graph.dispose();
  const descriptors = Math.max(0, before - countDescriptors());
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
