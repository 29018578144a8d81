/** The parts of `store.watch`: messages as over HTTP, with the same values. */
import type { Collection } from "hrmr";
import { mustBeAllowed } from "../access";
import { Refusal } from "../refusal";
import { ClientWatch, type Told } from "../watch/client-watch";
import { type Asked, serviceError } from "./call";

export interface WatchInput {
  readonly collection: string;
  readonly key?: string;
  readonly prefix?: string;
  readonly after?: number;
  readonly full?: boolean;
}

/** @throws Refusal */
export function watchParts(input: WatchInput, context: Asked, collection: Collection<string>) {
  const { key = null, prefix = "", after = null, full = false } = input;
  if (key !== null && prefix !== "") throw new Refusal(400, "INVALID_VALUE", "prefix goes without key");
  const { access, asker } = context;
  const watch = new ClientWatch({
    collection,
    wish: { key, prefix, after, isFull: full },
    guards: context.state.guards,
    check: () =>
      asker === null ? undefined : mustBeAllowed(access, asker, { name: input.collection, action: "read" }),
  });
  context.signal.addEventListener("abort", () => watch.close(), { once: true });
  return new Parts(watch);
}

/** A generator would wait for its next change before it ends. */
class Parts implements AsyncIterableIterator<unknown> {
  readonly #watch: ClientWatch<string>;
  readonly #told: AsyncGenerator<Told<string>, void>;

  constructor(watch: ClientWatch<string>) {
    this.#watch = watch;
    this.#told = watch[Symbol.asyncIterator]();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<unknown, undefined>> {
    try {
      const next = await this.#told.next();
      return next.done === true ? DONE : { done: false, value: partOf(next.value) };
    } catch (error) {
      throw serviceError(error);
    }
  }

  return(): Promise<IteratorResult<unknown, undefined>> {
    this.#watch.close();
    return Promise.resolve(DONE);
  }
}

const DONE = { done: true, value: undefined } as const;

function partOf(told: Told<string>): object {
  if (told.kind === "ready" || told.kind === "gone") return told;
  const { kind, key, value, version } = told;
  return { kind, key, value: value === null ? null : (JSON.parse(value) as unknown), version };
}
