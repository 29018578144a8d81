/**
 * The way out of a module's graph. A resource that is opened while a module's code is on the stack belongs to the
 * module and ends with its version (Bun.ModuleGraph). A timer of the server made there would stop at the next reload.
 */
import { AsyncLocalStorage } from "node:async_hooks";

/**
 * Calls `fn` in the server's own context, from any caller. Made once for each thread, when the server's code is loaded.
 */
export const asHost: <R>(fn: () => R) => R = AsyncLocalStorage.snapshot();
