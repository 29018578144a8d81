/**
 * The log's own way out of a module's graph: `observe` may not import `module/host-context`, which says why it is
 * needed.
 */
import { AsyncLocalStorage } from "node:async_hooks";

/**
 * Calls `fn` as if no module's code were on the stack: what it opens or arms outlives the version that happened to log.
 */
export const outsideModules: <R>(fn: () => R) => R = AsyncLocalStorage.snapshot();
