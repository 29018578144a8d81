/** Checks a module's `services` and brings each into one form: a function of an input and a context. */
import type { ServiceContext, StandardSchema } from "../contract";
import type { ServiceSpec } from "../route";
import { ServiceError } from "../service/error";
import { isThenable } from "../graph/returned";
import { isStandardSchema } from "./config";
import { type Fields, isObject, kindOf, refuseUnknown, shapeError, shown, type Wrong } from "./errors";
import type { HostSettings } from "./settings";

/** A service with the author's function. Call it through the graph's `run`. */
export interface ShapedService {
  readonly spec: ServiceSpec;
  /** Checks the input, calls the author's function, and checks what it returns. @throws ServiceError INVALID_INPUT */
  readonly handler: (input: unknown, context: ServiceContext) => unknown;
}

/** The longest time of a timer. In milliseconds. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
const NAME = /^[A-Za-z_$][\w$]*$/;
/** `await` asks every object for it. */
const RESERVED = new Set(["then", "constructor", "prototype", "__proto__"]);
const OPTIONS = ["call", "input", "output", "public", "mcp", "checksAccess", "description", "timeoutMs", "run"];
const EXAMPLE = "services: { get: (key) => rows.get(key) }";
/** At most this many mistakes of an input are named. */
const MAX_ISSUES = 20;

/** @param settings `run` and `timeouts.handlerMs` of the module's settings are the defaults, as for routes */
export function readServices(name: string, services: unknown, settings: HostSettings): ShapedService[] {
  if (services === undefined) return [];
  if (!isObject(services) || Array.isArray(services))
    throw shapeError(name, `"services" is ${kindOf(services)}. Write ${EXAMPLE}`);
  return Object.entries(services).map(([key, service], index) => readService(name, key, service, index, settings));
}

function readService(
  module: string,
  name: string,
  service: unknown,
  index: number,
  settings: HostSettings,
): ShapedService {
  const wrong: Wrong = (problem) => shapeError(module, `service ${shown(name)}${problem}`);
  if (!NAME.test(name) || RESERVED.has(name))
    throw wrong(" cannot have that name. Take letters, digits and _, with no digit in front");
  const options: Fields = typeof service === "function" ? { call: service } : (service as Fields);
  if (!isObject(options)) throw wrong(` is ${kindOf(service)}. Write a function, or an object with "call"`);
  refuseUnknown(wrong, options, OPTIONS);
  if (typeof options.call !== "function") throw wrong(`: "call" is ${kindOf(options.call)}, and must be a function`);
  const input = readSchema(wrong, "input", options.input);
  const output = readSchema(wrong, "output", options.output);
  const described = jsonSchemaOf(input, "input");
  const spec: ServiceSpec = {
    name,
    index,
    run: readRun(wrong, options.run) ?? settings.run ?? "inline",
    timeoutMs: readTimeout(wrong, options.timeoutMs) ?? settings.handlerMs,
    description: readText(wrong, "description", options.description),
    isPublic: readChoice(wrong, "public", options.public, settings),
    checksAccess: readFlag(wrong, "checksAccess", options.checksAccess),
    isMcpTool: readChoice(wrong, "mcp", options.mcp, settings),
    isUndescribed: input !== null && described === null,
    input: described,
    output: jsonSchemaOf(output, "output"),
  };
  // As a method of its definition, since it may use `this`.
  const call = (value: unknown, context: ServiceContext): unknown =>
    (options as unknown as Called).call(value, context);
  return { spec, handler: checked(`${module}.${name}`, call, input, output) };
}

interface Called {
  call(input: unknown, context: ServiceContext): unknown;
}

function readSchema(wrong: Wrong, option: string, schema: unknown): StandardSchema | null {
  if (schema === undefined) return null;
  if (isStandardSchema(schema)) return schema;
  throw wrong(
    `: "${option}" is ${kindOf(schema)}, and must be a Standard Schema, such as z.object({ key: z.string() })`,
  );
}

/** @returns null: it has none, or its library writes no JSON Schema */
function jsonSchemaOf(
  schema: StandardSchema | null,
  direction: "input" | "output",
): Readonly<Record<string, unknown>> | null {
  const write = schema?.["~standard"].jsonSchema?.[direction];
  if (write === undefined) return null;
  try {
    const written: unknown = JSON.parse(JSON.stringify(write({ target: "draft-2020-12" })));
    return isObject(written) ? written : null;
  } catch {
    // A schema with a transformation, for example, has no JSON Schema.
    return null;
  }
}

function checked(
  name: string,
  call: (input: unknown, context: ServiceContext) => unknown,
  input: StandardSchema | null,
  output: StandardSchema | null,
): ShapedService["handler"] {
  if (input === null && output === null) return call;
  const answer = (value: unknown): unknown =>
    output === null ? value : validate(output, value, name, "INVALID_OUTPUT");
  return (given, context) => {
    const value = input === null ? given : validate(input, given, name, "INVALID_INPUT");
    const result = isThenable(value) ? Promise.resolve(value).then((one) => call(one, context)) : call(value, context);
    return isThenable(result) ? Promise.resolve(result).then(answer) : answer(result);
  };
}

/** @returns the schema's value, or a promise of it. @throws ServiceError with the path of each mistake */
function validate(
  schema: StandardSchema,
  value: unknown,
  name: string,
  code: "INVALID_INPUT" | "INVALID_OUTPUT",
): unknown {
  const result = schema["~standard"].validate(value);
  return isThenable(result) ? Promise.resolve(result).then(valueOf) : valueOf(result as Validated);

  function valueOf(done: Validated): unknown {
    if (done.issues === undefined) return done.value;
    const issues = done.issues.slice(0, MAX_ISSUES).map(({ path, message }) => ({ path: pathOf(path), message }));
    const what = code === "INVALID_INPUT" ? `the input of ${name}` : `the result of ${name}`;
    const [first] = issues;
    const where = first === undefined || first.path.length === 0 ? "" : ` at ${first.path.join(".")}`;
    const more = done.issues.length > 1 ? ` (and ${done.issues.length - 1} more)` : "";
    throw new ServiceError(code, `${what} does not fit${where}: ${first?.message ?? "it is not valid"}${more}`, {
      issues,
    });
  }
}

type Validated = Awaited<ReturnType<StandardSchema["~standard"]["validate"]>>;
type IssuePath = NonNullable<Extract<Validated, { issues: unknown }>["issues"]>[number]["path"];

function pathOf(path: IssuePath): (string | number)[] {
  return (path ?? []).map((part) => {
    const key = typeof part === "object" ? part.key : part;
    return typeof key === "number" ? key : String(key);
  });
}

function readRun(wrong: Wrong, run: unknown): ServiceSpec["run"] | undefined {
  if (run === undefined || run === "inline" || run === "pool" || run === "process") return run;
  throw wrong(`: "run" is ${shown(run)}, and must be "inline", "pool" or "process"`);
}

function readTimeout(wrong: Wrong, timeoutMs: unknown): number | undefined {
  if (timeoutMs === undefined) return undefined;
  if (typeof timeoutMs === "number" && timeoutMs >= 0 && timeoutMs <= MAX_TIMEOUT_MS) return timeoutMs;
  throw wrong(`: "timeoutMs" is ${shown(timeoutMs)}, and must be a number from 0 (no limit) to ${MAX_TIMEOUT_MS}`);
}

function readText(wrong: Wrong, option: string, text: unknown): string {
  if (text === undefined) return "";
  if (typeof text === "string") return text;
  throw wrong(`: "${option}" is ${kindOf(text)}, and must be a string`);
}

/** A flag, or a function of the module's settings. */
function readChoice(wrong: Wrong, option: string, flag: unknown, { config }: HostSettings): boolean {
  if (typeof flag !== "function") return readFlag(wrong, option, flag);
  const chosen: unknown = flag(config);
  if (typeof chosen === "boolean") return chosen;
  throw wrong(`: "${option}" returns ${kindOf(chosen)}, and must return true or false`);
}

function readFlag(wrong: Wrong, option: string, flag: unknown): boolean {
  if (flag === undefined || typeof flag === "boolean") return flag ?? false;
  throw wrong(`: "${option}" is ${shown(flag)}, and must be true or false`);
}
