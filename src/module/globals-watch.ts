/** What module code does to things it shares with the server: the `process` object and the global object. */

interface Listener {
  readonly event: string | symbol;
  readonly listener: (...args: unknown[]) => void;
}

// Weak, so that the note itself keeps no graph: a listener kept on `process` keeps its whole version in memory.
const listeners = new WeakMap<Bun.ModuleGraph, Listener[]>();
let isWatching = false;

/**
 * Notes which graph puts which listener on `process`, and refuses to end the process for module code. Once a thread; idempotent.
 */
export function watchSharedObjects(): void {
  if (isWatching) return;
  isWatching = true;
  process.on("newListener", noteListener);
  refuse("exit");
  refuse("reallyExit");
  refuse("abort");
}

function noteListener(event: string | symbol, listener: (...args: unknown[]) => void): void {
  const graph = Bun.ModuleGraph.current;
  if (graph === undefined) return;
  const noted = listeners.get(graph) ?? [];
  noted.push({ event, listener });
  listeners.set(graph, noted);
}

// On the object itself rather than on a stand-in in the graph's globals: `node:process` and `globalThis.process` lead here too.
function refuse(name: "exit" | "reallyExit" | "abort"): void {
  const original: unknown = Reflect.get(process, name);
  if (typeof original !== "function") return;
  Reflect.set(process, name, function (this: unknown, ...args: unknown[]): unknown {
    if (Bun.ModuleGraph.current === undefined) return original.apply(process, args);
    throw new Error(`process.${name}(${args.map(String).join(", ")}) was called: a module cannot end the server`);
  });
}

/** Takes the graph's listeners off `process`. Without it they would go on being called, and keep the graph in memory. */
export function removeListenersOf(graph: Bun.ModuleGraph): void {
  for (const { event, listener } of listeners.get(graph) ?? []) process.off(event, listener);
  listeners.delete(graph);
}

/** The names on the global object now; hand them to `newGlobals` later. */
export function globalNames(): ReadonlySet<string | symbol> {
  return new Set(Reflect.ownKeys(globalThis));
}

/** Names on the global object that were not in `before`. What they refer to is never freed. */
export function newGlobals(before: ReadonlySet<string | symbol>): string[] {
  return Reflect.ownKeys(globalThis)
    .filter((name) => !before.has(name))
    .map(String);
}
