/** How far calls between modules may go. Pure. */
import type { CallFrame } from "../module/service/frame";

/** The longest chain of services that wait for each other. A service that calls itself may fill it. */
const MAX_DEPTH = 32;

/**
 * @param name "kv.get", which is about to be called
 * @returns the reason to refuse the call; null: it is allowed
 */
export function refusedChain(frame: CallFrame | null, name: string): string | null {
  if (frame === null || frame.chain.length === 0) return null;
  const { chain } = frame;
  const module = name.slice(0, name.lastIndexOf("."));
  if (chain.includes(module))
    return `${name} waits for itself: "${module}" waits for an answer to its own call, and code in C runs one call at a time: ${shortened([...chain, name])}`;
  const at = chain.indexOf(name);
  // A service that calls itself, such as one that walks a tree, is counted only.
  if (at >= 0 && chain.slice(at).some((each) => each !== name))
    return `${name} waits for itself: ${[...chain.slice(at), name].join(" -> ")}`;
  const depth = chain.reduce((count, each) => (each.includes(".") ? count + 1 : count), 0);
  if (depth < MAX_DEPTH) return null;
  return `${name} would wait at depth ${depth + 1} of services that call each other, and the limit is ${MAX_DEPTH}: ${shortened(chain)}`;
}

function shortened(chain: readonly string[]): string {
  return chain.length <= 6
    ? chain.join(" -> ")
    : `${chain.slice(0, 3).join(" -> ")} -> … -> ${chain.slice(-2).join(" -> ")}`;
}

/**
 * The time that a call has, the least of all limits.
 *
 * @param now     by performance.now()
 * @param own     the callee's limit. In milliseconds from now; 0: none
 * @param callers the caller's, likewise. Default: none
 * @returns when it is over, by performance.now(); Infinity: never
 */
export function deadlineOf(now: number, frame: CallFrame | null, own: number, callers?: number): number {
  const inherited = frame === null ? Infinity : frame.deadlineAt;
  const at = own > 0 ? Math.min(inherited, now + own) : inherited;
  return callers !== undefined && callers > 0 ? Math.min(at, now + callers) : at;
}
