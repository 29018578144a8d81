/** Watches what module code does to objects that it shares with the server: `process` and the global object. */

interface Listener {
  readonly event: string | symbol;
  readonly listener: (...args: unknown[]) => void;
}

// Weak, so that the note itself keeps no graph: a listener kept on `process` keeps its whole version in memory.
const listeners = new WeakMap<Bun.ModuleGraph, Listener[]>();
let isWatching = false;

/**
 * Records which graph puts which listener on `process`, and refuses to let module code end the process. Once for each
 * thread; idempotent.
 */
export function watchSharedObjects(): void {
  if (isWatching) return;
  isWatching = true;
  globalsNow();
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

// On the object itself and not on a copy in the graph's globals: `node:process` and `globalThis.process` lead here too.
function refuse(name: "exit" | "reallyExit" | "abort"): void {
  const original: unknown = Reflect.get(process, name);
  if (typeof original !== "function") return;
  Reflect.set(process, name, function (this: unknown, ...args: unknown[]): unknown {
    if (Bun.ModuleGraph.current === undefined) return original.apply(process, args);
    throw new Error(`process.${name}(${args.map(String).join(", ")}) was called: a module cannot end the server`);
  });
}

/**
 * Removes the graph's listeners from `process`. Otherwise they would still be called, and keep the graph in memory.
 *
 * @returns the event of each removed listener. Listeners that the module has removed itself are not included
 */
export function removeListenersOf(graph: Bun.ModuleGraph): string[] {
  const left: string[] = [];
  for (const { event, listener } of listeners.get(graph) ?? []) {
    const countBefore = process.listenerCount(event);
    process.off(event, listener);
    if (process.listenerCount(event) < countBefore) left.push(String(event));
  }
  listeners.delete(graph);
  return left;
}

/**
 * The properties of the global object beside the standard ones, as far as they can be read without running foreign
 * code.
 */
type GlobalsSeen = ReadonlyMap<string | symbol, unknown>;

// The names before any module was loaded.
let standard: ReadonlySet<string | symbol> | null = null;
/**
 * By name: the load that set it last, and its value. Objects are held weakly, so that the record does not keep them in
 * memory.
 */
const owners = new Map<string | symbol, { readonly owner: number; readonly value: unknown }>();

export function globalsNow(): GlobalsSeen {
  standard ??= new Set(Reflect.ownKeys(globalThis));
  const seen = new Map<string | symbol, unknown>();
  for (const name of Reflect.ownKeys(globalThis)) if (!standard.has(name)) seen.set(name, valueOf(name));
  return seen;
}

/**
 * Records changes of the global object since `before` as made by that load.
 *
 * @param owner the load's number
 * @returns the new names
 */
export function claimGlobals(owner: number, before: GlobalsSeen): string[] {
  const added: string[] = [];
  for (const [name, value] of globalsNow()) {
    if (before.has(name) && before.get(name) === value) continue;
    owners.set(name, { owner, value: weakly(value) });
    if (!before.has(name)) added.push(String(name));
  }
  return added.filter(isAuthors);
}

/**
 * Names on the global object that still have this load's values, for a version that leaves. Names of unknown origin are
 * included.
 */
export function globalsOf(owner: number): string[] {
  const left: string[] = [];
  for (const [name, value] of globalsNow()) {
    const known = owners.get(name) ?? { owner, value: weakly(value) };
    owners.set(name, known);
    if (known.owner === owner && strongly(known.value) === value) left.push(String(name));
  }
  return left;
}

/**
 * Packages share one object among their copies, under names with "__" (zod) or symbols. The module's author cannot
 * change that.
 */
export function isAuthors(name: string): boolean {
  return !name.startsWith("__") && !name.startsWith("Symbol(");
}

function valueOf(name: string | symbol): unknown {
  const { value, get } = Reflect.getOwnPropertyDescriptor(globalThis, name) ?? {};
  return get ?? value;
}

function weakly(value: unknown): unknown {
  return (typeof value === "object" && value !== null) || typeof value === "function" ? new WeakRef(value) : value;
}

function strongly(value: unknown): unknown {
  return value instanceof WeakRef ? value.deref() : value;
}
