/** A connection to the process that leads, from one that does not. */
import { type Flat, type FlatReader, pushCommit, readChange, readResult } from "../../host/store/flat";
import { StoreError } from "../../module/store/error";
import type { StoredChange } from "../../module/store/port";
import { asHost } from "../../system/leave-graph";
import { Link } from "./link";
import { FROM_LEADER, PROTOCOL, TO_LEADER } from "./messages";
import type { Outbox, Outcome } from "./outbox";
import type { RemoteReads } from "./reads";

interface FollowerOwner {
  readonly outbox: Outbox;
  readonly reads: RemoteReads;
  /** @param version of the newest change */
  welcomed(version: number): void;
  /** The store has changes. None: the database has them. */
  changed(changes: readonly StoredChange[]): void;
  /** Changes are not kept any more that this process has not seen. */
  lost(): void;
  /** The leader is about to leave, and is asked for nothing more. */
  leaving(): void;
  /** A connection that was welcomed has ended. */
  gone(): void;
}

/** A process whose loop stands still accepts connections, and does not answer. In milliseconds. */
const WELCOME_MS = 2000;

export class FollowerSide {
  readonly #owner: FollowerOwner;
  readonly #link: Link;
  readonly #welcome = Promise.withResolvers<void>();
  #isWelcome = false;
  #mayAsk = false;
  #isFlushScheduled = false;

  private constructor(owner: FollowerOwner) {
    this.#owner = owner;
    this.#link = new Link({ received: (message) => this.#receive(message), closed: () => this.#closed() });
  }

  /**
   * Connects to the process that leads, and sends it what has no answer.
   *
   * @param seen the version of the newest change that this process has seen; null: it needs none of before
   * @returns when it is welcome. Rejects if the other process is not there, or does not answer
   */
  static async connect(path: string, seen: number | null, owner: FollowerOwner): Promise<FollowerSide> {
    const side = new FollowerSide(owner);
    side.#link.send([TO_LEADER.hello, PROTOCOL, seen]);
    const late = asHost(() => setTimeout(() => side.close(), WELCOME_MS));
    try {
      const opened = asHost(() => Bun.connect<Link>({ unix: path, data: side.#link, socket: Link.handlers }));
      // The link tells of an end before it is welcome.
      opened.catch(() => side.#link.over());
      await side.#welcome.promise;
      return side;
    } finally {
      clearTimeout(late);
    }
  }

  get isGone(): boolean {
    return !this.#isWelcome;
  }

  /** Sends what waits, with all else of this turn of the loop. */
  flushSoon(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    asHost(() =>
      setImmediate(() => {
        this.#isFlushScheduled = false;
        this.#flush();
      }),
    );
  }

  #flush(): void {
    if (!this.#mayAsk) return;
    const { outbox } = this.#owner;
    for (let batch = outbox.next(); batch !== null; batch = outbox.next()) {
      const message: Flat = [TO_LEADER.commits, batch.number, batch.hold, batch.commits.length];
      for (const commit of batch.commits) pushCommit(message, commit);
      this.#link.send(message);
    }
  }

  /** Asks now, if it may; else the next leader is asked. */
  read(message: Flat): void {
    if (this.#mayAsk) this.#link.send(message);
  }

  /** This process has written to the database itself. */
  wrote(): void {
    this.#link.send([TO_LEADER.wrote]);
  }

  unhold(hold: number): void {
    this.#link.send([TO_LEADER.unhold, hold]);
  }

  /** Whether it may ask: it is connected, and the leader is not about to leave. */
  get mayAsk(): boolean {
    return this.#mayAsk;
  }

  close(): void {
    this.#link.close();
    this.#link.over();
  }

  #closed(): void {
    this.#mayAsk = false;
    if (this.#isWelcome) {
      this.#isWelcome = false;
      this.#owner.gone();
    } else this.#welcome.reject(new StoreError("UNAVAILABLE", "the process that has the store does not answer"));
  }

  #receive(message: FlatReader): void {
    const { outbox, reads } = this.#owner;
    switch (message.number()) {
      case FROM_LEADER.welcome:
        return this.#welcomed(message.number());
      case FROM_LEADER.changes:
        return this.#owner.changed(message.many(readChange));
      case FROM_LEADER.lost:
        return this.#owner.lost();
      case FROM_LEADER.done:
        return outbox.answered(message.number(), message.many(readOutcome));
      case FROM_LEADER.answer:
        return reads.answered(message.number(), message);
      case FROM_LEADER.refusal:
        return reads.refused(message.number(), new StoreError(message.text(), message.text()));
      case FROM_LEADER.leaving:
        this.#mayAsk = false;
        this.#link.send([TO_LEADER.left]);
        return this.#owner.leaving();
    }
  }

  #welcomed(version: number): void {
    if (this.#isWelcome) return;
    this.#isWelcome = true;
    this.#mayAsk = true;
    this.#owner.welcomed(version);
    this.#welcome.resolve();
    this.#flush();
    for (const message of this.#owner.reads.open()) this.#link.send(message);
  }
}

function readOutcome(reader: FlatReader): Outcome {
  return reader.number() === 1 ? readResult(reader) : new StoreError(reader.text(), reader.text());
}
