/** The second argument of a service: the module's context with the facts of one call. */
import type { Client, ServiceContext } from "../contract";
import type { CallFrame } from "./frame";

/** The facts of the call, in every host. */
export interface CallFacts {
  readonly caller: string;
  readonly identity: string | null;
  readonly asker: ServiceContext["asker"];
  /** Made at its first use. */
  readonly signal: AbortSignal;
}

type ContextClass = new (facts: CallFacts) => ServiceContext;

// One class for each generation: an Object.create() for each call costs more.
const classes = new WeakMap<object, ContextClass>();

/** @param context the module's own, which it inherits from */
export function serviceContext(context: object, facts: CallFacts): ServiceContext {
  const known = classes.get(context);
  if (known !== undefined) return new known(facts);
  const made = makeClass(context);
  classes.set(context, made);
  return new made(facts);
}

function makeClass(context: object): ContextClass {
  class ServiceContextOfModule {
    readonly #facts: CallFacts;

    constructor(facts: CallFacts) {
      this.#facts = facts;
    }

    get caller(): string {
      return this.#facts.caller;
    }

    get identity(): string | null {
      return this.#facts.identity;
    }

    get asker(): ServiceContext["asker"] {
      return this.#facts.asker;
    }

    get signal(): AbortSignal {
      return this.#facts.signal;
    }
  }
  Object.setPrototypeOf(ServiceContextOfModule.prototype, context);
  return ServiceContextOfModule as unknown as ContextClass;
}

interface FrameFacts {
  readonly caller: string;
  /** The caller's. null: it has none. */
  readonly parent: CallFrame | null;
  /** "kv.get". null: it is not a service. */
  readonly name: string | null;
  /** By performance.now(); Infinity: never. */
  readonly deadlineAt: number;
}

/** @param name "kv.get"; null: nothing is added. @returns the services that wait, the first caller's first */
export function chainBelow(parent: CallFrame | null, name: string | null): readonly string[] {
  const above = parent === null ? NOTHING : parent.chain;
  return name === null ? above : [...above, name];
}

const NOTHING: readonly string[] = [];

/** One call of a service, as its context and its own calls see it. */
export class ServiceFrame implements CallFrame, CallFacts {
  readonly caller: string;
  readonly deadlineAt: number;
  readonly #parent: CallFrame | null;
  readonly #name: string | null;
  #chain: readonly string[] | null = null;
  #controller: AbortController | null = null;
  #reason: Error | null = null;

  constructor({ caller, parent, name, deadlineAt }: FrameFacts) {
    this.caller = caller;
    this.#parent = parent;
    this.#name = name;
    this.deadlineAt = deadlineAt;
  }

  /** The services above it, and its own name as the last: its own calls come below all of them. */
  get chain(): readonly string[] {
    return (this.#chain ??= chainBelow(this.#parent, this.#name));
  }

  get client(): Client | null {
    return this.#parent?.client ?? null;
  }

  get identity(): string | null {
    return this.#parent?.identity ?? null;
  }

  get asker(): ServiceContext["asker"] {
    return this.#parent?.direct ?? null;
  }

  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController();
      if (this.#reason !== null) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  cancellation(): AbortSignal {
    return this.signal;
  }

  /** The result is no longer needed. Runs the module's listeners: call it inside the module's graph. */
  abort(reason: Error): void {
    this.#reason ??= reason;
    this.#controller?.abort(this.#reason);
  }
}
