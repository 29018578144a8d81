/** `context.services`: an object of all modules' services, whatever modules there are. */
import type { ModuleServices, ServiceCallOptions } from "../contract";
import type { ServiceCaller, ServiceCalls } from "./calls";
import { ServiceError } from "./error";
import { currentFrame } from "./frame";
import { Carried } from "./values";

type ServiceFunction = (input?: unknown, options?: ServiceCallOptions) => Promise<unknown>;

/** Asked for by `await`, by the console and by tests of equality. No module and no service has these names. */
const NO_NAMES = new Set(["then", "toJSON", "constructor", "prototype", "$$typeof", "asymmetricMatch", "nodeType"]);

const MAX_NAMES = 1000;

/** @param calls carries the calls */
export function servicesFor(caller: ServiceCaller, calls: ServiceCalls): ModuleServices {
  return named((module) => named((service) => serviceFunction({ caller, calls, module, service }))) as ModuleServices;
}

/** @returns an object that makes the value of each name at its first use */
function named<T>(make: (name: string) => T): Readonly<Record<string, T>> {
  const made = new Map<string, T>();
  const target = Object.freeze(Object.create(null) as Record<string, T>);
  return new Proxy(target, {
    get(_, name) {
      if (typeof name === "symbol" || NO_NAMES.has(name)) return undefined;
      const known = made.get(name);
      if (known !== undefined) return known;
      const value = make(name);
      // A name may come from a client.
      if (made.size < MAX_NAMES) made.set(name, value);
      return value;
    },
  });
}

interface Target {
  readonly caller: ServiceCaller;
  readonly calls: ServiceCalls;
  readonly module: string;
  readonly service: string;
}

function serviceFunction({ caller, calls, module, service }: Target): ServiceFunction {
  return (input, options) => {
    const { timeoutMs, signal } = options ?? NO_OPTIONS;
    if (timeoutMs !== undefined && !(typeof timeoutMs === "number" && timeoutMs > 0))
      return refused(`"timeoutMs" is ${Bun.inspect(timeoutMs)}, and must be a number of milliseconds above 0`);
    if (signal !== undefined && !(signal instanceof AbortSignal))
      return refused(`"signal" is ${Bun.inspect(signal, { depth: 0 })}, and must be an AbortSignal`);
    return calls.call({ caller, module, service, input: Carried.of(input), frame: currentFrame(), timeoutMs, signal });
  };

  function refused(problem: string): Promise<never> {
    return Promise.reject(new ServiceError("INVALID_INPUT", `${module}.${service}: the option ${problem}`));
  }
}

const NO_OPTIONS: ServiceCallOptions = Object.freeze({});
