/**
 * The way out of a module's graph. What is opened while a module's code is on the stack belongs to the module and ends
 * with its version (Bun.ModuleGraph): a timer of the server that is made there would stop at the next reload.
 */
import { AsyncLocalStorage } from "node:async_hooks";

/**
 * Calls `fn` in the server's own context, wherever the caller stands. One a thread, made when the server's code is
 * loaded.
 */
export const asHost: <R>(fn: () => R) => R = AsyncLocalStorage.snapshot();
