/** Stores of several processes, here in one: each has handles, locks and sockets of its own. */
import { storeFor } from "../../../src/module/store/store";
import { StoreEngine } from "../../../src/store/engine";

export interface TestEngine {
  readonly engine: StoreEngine;
  readonly store: ReturnType<typeof storeFor>;
  /** What was logged as a warning or an error. */
  readonly log: string[];
}

/** @param stateDir where the engines meet. @param url of the store, with an absolute path */
export function testEngine(stateDir: string, url: string): TestEngine {
  const log: string[] = [];
  const say = (...values: unknown[]): void => void log.push(values.join(" "));
  const options = {
    settings: () => ({ url, durability: "full", maxValueBytes: 1 << 20, keptChanges: 10_000 }),
    dataDir: stateDir,
    stateDir,
    log: { debug: () => {}, info: () => {}, warn: say, error: say },
    background: { isHere: false, watch: () => {} },
  };
  const engine = new StoreEngine(options as unknown as ConstructorParameters<typeof StoreEngine>[0]);
  return { engine, store: storeFor({ id: 1, module: "m" }, engine), log };
}
