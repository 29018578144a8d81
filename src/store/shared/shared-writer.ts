/** The commits of a process that may write itself, or have another one write. */
import type { Awaitable, Commit, CommitResult, Turn } from "../../module/store/port";
import type { Writer } from "../writer";
import type { Outbox } from "./outbox";

interface Sender {
  readonly outbox: Pick<Outbox, "size" | "whenEmpty">;
  /** Whether this process writes itself. Once it does, it does for good. */
  readonly isOpenHere: boolean;
  send(commit: Commit): Promise<CommitResult>;
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
    return this.#here()?.commit(commit) ?? this.#sender.send(commit);
  }

  read<T>(read: () => Awaitable<T>): Awaitable<T> {
    const own = this.#here();
    return own === null ? read() : own.read(read);
  }

  enterTurn(): Awaitable<Turn | null> {
    return this.#here()?.enterTurn() ?? null;
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

  #here(): Writer | null {
    if (this.#own === null && this.#sender.isOpenHere) this.#own = this.#make();
    return this.#own;
  }
}
