/**
 * Says whose code this thread is running, in memory that the watchdog's thread can read while this one is blocked.
 * Every call of a module writes it, with plain stores of some 3 ns.
 */

// Words of `MARKS`.
/** The number of the module whose code is on the stack; 0: none. */
export const MODULE = 0;
/** The route, if the code is a route's. */
export const ROUTE = 1;
/** The module that is being loaded, started or disposed, whose code may go on after an await; 0: none. */
export const WORK = 2;
const HEADER_WORDS = 3;

/** `MARKS[ROUTE]`, where it is no index in the module's `routes`. */
export const NO_ROUTE = -1;
export const TIMER = -2;

/** How many modules have their open calls counted. Further ones do not. */
const SEATS = 256;
/** Behind the header, for each seat: the module's number, and the number of its open calls. */
const SEAT_WORDS = 2;

export const MARKS = new Int32Array(new SharedArrayBuffer(4 * (HEADER_WORDS + SEATS * SEAT_WORDS)));
MARKS[ROUTE] = NO_ROUTE;

/** The module behind a number. Structured-cloneable. */
export interface MarkedModule {
  readonly module: string;
  readonly generation: number;
  /** Keys of its routes, by index. Empty until it is loaded. */
  readonly routes: readonly string[];
}

/** Called for each module of this thread: before its load, when its routes are known, and (null) when it is gone. */
type MarkListener = (number: number, marked: MarkedModule | null) => void;

const known = new Map<number, MarkedModule>();
const listeners = new Set<MarkListener>();
const freeSeats = Array.from({ length: SEATS }, (_, seat) => HEADER_WORDS + (SEATS - 1 - seat) * SEAT_WORDS);
let lastNumber = 0;

/** One load of a module in this thread. */
export class Mark {
  /** Unique among the loads of this thread. */
  readonly number = ++lastNumber;
  readonly #seat = freeSeats.pop();
  readonly #module: Omit<MarkedModule, "routes">;

  constructor({ module, generation }: Omit<MarkedModule, "routes">) {
    this.#module = { module, generation };
    if (this.#seat !== undefined) MARKS[this.#seat] = this.number;
    this.nameRoutes([]);
  }

  nameRoutes(routes: readonly string[]): void {
    tell(this.number, { ...this.#module, routes });
  }

  /** @param count the number of calls that have not answered yet: their code may continue at any time */
  noteUnderWay(count: number): void {
    if (this.#seat !== undefined) MARKS[this.#seat + 1] = count;
  }

  /** Calls `fn`, which is code of the module. @param route an index in its routes, or NO_ROUTE or TIMER */
  run<A extends unknown[], R>(route: number, fn: (...args: A) => R, args: A): R {
    const before = MARKS[MODULE] as number;
    MARKS[ROUTE] = route;
    MARKS[MODULE] = this.number;
    try {
      return fn(...args);
    } finally {
      MARKS[MODULE] = before;
      MARKS[ROUTE] = NO_ROUTE;
    }
  }

  /** Marks work of the module that may wait in between. As a rule, such works follow one another. */
  async during<R>(work: () => Promise<R>): Promise<R> {
    const before = MARKS[WORK] as number;
    MARKS[WORK] = this.number;
    try {
      return await work();
    } finally {
      // Another load may have begun meanwhile.
      if (MARKS[WORK] === this.number) MARKS[WORK] = before;
    }
  }

  /** The module is gone. Once. */
  drop(): void {
    if (this.#seat !== undefined) {
      MARKS.fill(0, this.#seat, this.#seat + SEAT_WORDS);
      freeSeats.push(this.#seat);
    }
    tell(this.number, null);
  }
}

/** The module of this thread whose code is on the stack. null: none, or code that continues after an await. */
export function moduleOnStack(): Omit<MarkedModule, "routes"> | null {
  const marked = known.get((MARKS[MODULE] as number) || (MARKS[WORK] as number));
  return marked === undefined ? null : { module: marked.module, generation: marked.generation };
}

/** Numbers of the modules with calls under way. */
export function underWay(marks: Int32Array): number[] {
  const numbers: number[] = [];
  for (let at = HEADER_WORDS; at < marks.length; at += SEAT_WORDS)
    if (marks[at + 1] !== 0) numbers.push(marks[at] as number);
  return numbers;
}

/** Reports all present marks, then each change. @returns a function that ends it */
export function watchMarks(listener: MarkListener): () => void {
  for (const [number, marked] of known) listener(number, marked);
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

function tell(number: number, marked: MarkedModule | null): void {
  if (marked === null) known.delete(number);
  else known.set(number, marked);
  for (const listener of listeners) listener(number, marked);
}
