/** What `import ... from "hrmr"` gives at run time. */
import { nativeModule } from "./c/native";

/** A framing function's answer while later bytes could still change it. */
const NEED_MORE = -1;

const exports = {
  NEED_MORE,
  defineModule<T>(definition: T): T {
    return definition;
  },
};

let isRegistered = false;

/**
 * Makes the virtual module "hrmr" importable in this thread; every Worker needs its own call. Idempotent. It stands
 * before a package of that name and before tsconfig paths, so these may hold the types.
 */
export function registerHrmrModule(): void {
  if (isRegistered) return;
  isRegistered = true;
  Bun.plugin({
    name: "hrmr",
    setup(build) {
      build.module("hrmr", () => ({ loader: "object", exports }));
      // For the bundles of modules in C, which are the only ones to import it.
      build.module("hrmr/native", () => ({ loader: "object", exports: { nativeModule } }));
    },
  });
}
