/** The commits of a process that may write itself, or have another one write. */
import type { Awaitable, Commit, CommitResult, Hold, Turn } from "../../module/store/port";
import type { Writer } from "../writer";
import type { Outbox } from "./outbox";

interface Sender {
  readonly outbox: Pick<Outbox, "size" | "whenEmpty">;
  /** Whether this process has the database open. Once it has, it has for good. */
  readonly isOpenHere: boolean;
  /** Whether another process commits for this one. */
  readonly mustSend: boolean;
  send(commit: Commit): Promise<CommitResult>;
  hold(): Promise<Hold | null>;
}

export class SharedWriter implements Writer {
  readonly #sender: Sender;
  readonly #make: () => Writer;
  #own: Writer | null = null;

  /** @param make the writer of a process that writes itself. Once */
  constructor(sender: Sender, make: () => Writer) {
    this.#sender = sender;
    this.#make = make;
  }

  commit(commit: Commit): Awaitable<CommitResult> {
    return this.#toWriteHere()?.commit(commit) ?? this.#sender.send(commit);
  }

  read<T>(read: () => Awaitable<T>): Awaitable<T> {
    const own = this.#here();
    return own === null ? read() : own.read(read);
  }

  enterTurn(): Awaitable<Turn | null> {
    return this.#toWriteHere()?.enterTurn() ?? null;
  }

  hold(): Awaitable<Hold | null> {
    return this.#toWriteHere()?.hold() ?? this.#sender.hold();
  }

  async between<T>(work: () => Awaitable<T>): Promise<T> {
    const own = this.#here();
    return await (own === null ? work() : own.between(work));
  }

  async idle(): Promise<void> {
    await this.#sender.outbox.whenEmpty();
    await this.#here()?.idle();
  }

  get waiting(): number {
    return this.#sender.outbox.size + (this.#own?.waiting ?? 0);
  }

  /** null: another process commits for this one. */
  #toWriteHere(): Writer | null {
    return this.#sender.mustSend ? null : this.#here();
  }

  #here(): Writer | null {
    if (this.#own === null && this.#sender.isOpenHere) this.#own = this.#make();
    return this.#own;
  }
}
