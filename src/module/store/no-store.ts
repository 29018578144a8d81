/** The store where there is none: in hosts and tests that were given none. */
import { StoreError } from "./error";
import type { StorePort } from "./port";

export const NO_STORE: StorePort = {
  get: refuse,
  list: refuse,
  find: refuse,
  count: refuse,
  commit: refuse,
  sql: refuse,
  watch(_version, _wish, sink) {
    sink.end("UNAVAILABLE", "there is no store here");
    return () => {};
  },
};

function refuse(): never {
  throw new StoreError("UNAVAILABLE", "there is no store here");
}
