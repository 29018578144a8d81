/** The run-time side of `import ... from "hrmr"`. */
import { matchesTopic, patternMistake, topicMistake } from "./event/topics";
import { ServiceError } from "./service/error";
import { StoreError } from "./store/error";
import { nativeModule } from "./c/native";

/** A framing function's answer while later bytes could still change it. */
const NEED_MORE = -1;

const exports = {
  NEED_MORE,
  ServiceError,
  StoreError,
  matchesTopic(pattern: string, topic: string): boolean {
    return patternMistake(pattern) === null && topicMistake(topic) === null && matchesTopic(pattern, topic);
  },
  service<T>(options: T): T {
    return options;
  },
  defineModule<T>(definition: T): T {
    return definition;
  },
};

let isRegistered = false;

/**
 * Makes the virtual module "hrmr" importable in this thread; every Worker needs its own call. Idempotent. It wins over
 * a package of that name and over tsconfig paths, so these may hold the types.
 */
export function registerHrmrModule(): void {
  if (isRegistered) return;
  isRegistered = true;
  Bun.plugin({
    name: "hrmr",
    setup(build) {
      build.module("hrmr", () => ({ loader: "object", exports }));
      // Only the bundles of modules in C import it.
      build.module("hrmr/native", () => ({ loader: "object", exports: { nativeModule } }));
    },
  });
}
