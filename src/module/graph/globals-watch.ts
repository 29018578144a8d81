/** What module code does to things it shares with the server: the `process` object and the global object. */

interface Listener {
  readonly event: string | symbol;
  readonly listener: (...args: unknown[]) => void;
}

// Weak, so that the note itself keeps no graph: a listener kept on `process` keeps its whole version in memory.
const listeners = new WeakMap<Bun.ModuleGraph, Listener[]>();
let isWatching = false;

/**
 * Notes which graph puts which listener on `process`, and refuses to end the process for module code. Once a thread;
 * idempotent.
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

// On the object itself rather than on a stand-in in the graph's globals: `node:process` and `globalThis.process` lead
// here too.
function refuse(name: "exit" | "reallyExit" | "abort"): void {
  const original: unknown = Reflect.get(process, name);
  if (typeof original !== "function") return;
  Reflect.set(process, name, function (this: unknown, ...args: unknown[]): unknown {
    if (Bun.ModuleGraph.current === undefined) return original.apply(process, args);
    throw new Error(`process.${name}(${args.map(String).join(", ")}) was called: a module cannot end the server`);
  });
}

/**
 * Takes the graph's listeners off `process`. Without it they would go on being called, and keep the graph in memory.
 *
 * @returns the events that they were there for, one a listener; those that the module took off itself are not among
 *   them
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
 * What the global object has beside the standard things, as far as it can be looked at without running code of others.
 */
type GlobalsSeen = ReadonlyMap<string | symbol, unknown>;

// What was there before any module.
let standard: ReadonlySet<string | symbol> | null = null;
/** By name: which load set it last, and to what. Objects weakly: a note must not be what keeps them. */
const owners = new Map<string | symbol, { readonly owner: number; readonly value: unknown }>();

export function globalsNow(): GlobalsSeen {
  standard ??= new Set(Reflect.ownKeys(globalThis));
  const seen = new Map<string | symbol, unknown>();
  for (const name of Reflect.ownKeys(globalThis)) if (!standard.has(name)) seen.set(name, valueOf(name));
  return seen;
}

/**
 * Takes down what has changed on the global object since `before` as that load's doing.
 *
 * @param owner the load's number
 * @returns names that were not there before
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
 * Names on the global object that still have what this load set there, for a version that goes. What nobody is known to
 * have set is put down to it too.
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
