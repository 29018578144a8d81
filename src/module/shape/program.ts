/** Reads a module's `program`, and makes routes and services of it that ask the program. */
import type { Message, ModuleContext, ServiceContext } from "../contract";
import { ProgramError } from "../program/error";
import { Program, type ProgramSpec } from "../program/program";
import { ServiceError } from "../service/error";
import { type Fields, isObject, kindOf, refuseUnknown, shapeError, shown, type Wrong } from "./errors";
import type { HostSettings } from "./settings";

const OPTIONS = ["command", "protocol", "routes", "services", "timeoutMs", "description"];
const EXAMPLE = 'program: { command: ["python3", "bot.py"], protocol: "lines", routes: ["BOT "] }';
/** They make or use a state. With a program, the program holds the state. */
const NOT_BESIDE = ["setup", "check", "handoff", "dispose"];
const DEFAULT_TIMEOUT_MS = 30_000;
/** The longest time of a timer. In milliseconds. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

interface Parts {
  readonly spec: ProgramSpec;
  readonly routes: readonly string[];
  readonly services: readonly string[];
  readonly description: string;
}

/**
 * @returns the definition with the program's routes and services among its own, and a `setup` and a `dispose` that start
 *   and end it. The same definition, if there is no program
 * @throws Error for a wrong `program`
 */
export function withProgram(name: string, definition: Fields, settings: HostSettings): Fields {
  if (definition.program === undefined) return definition;
  const { spec, routes, services, description } = readProgram(name, definition, settings);
  let program: Program | null = null;
  const ask = (question: Parameters<Program["ask"]>[0], signal: AbortSignal): Promise<unknown> => {
    if (program === null) throw new ProgramError("UNAVAILABLE", `the program of module "${name}" is not running yet`);
    return program.ask(question, signal);
  };
  const isRpc = spec.protocol === "json-rpc";
  const own = { timeoutMs: 0, description, run: "inline" };
  const handle = isRpc
    ? async (message: Message) => replyOf(await ask(rpcQuestion(message), message.signal))
    : async (message: Message) => lineOf(await ask(lineQuestion(message), message.signal));
  // Inherits the rest: an instance of a class may have getters.
  return Object.assign(Object.create(definition) as Fields, {
    routes: merged(name, "route", definition.routes, routes, { ...own, framing: "line", handle }),
    services: mergedServices(name, definition.services, services, (service) => ({
      ...own,
      call: (input: unknown, { signal }: ServiceContext) => served(ask(serviceQuestion(service, input), signal)),
    })),
    async setup(context: ModuleContext) {
      const { dir, log } = context;
      const call = callerOf(context);
      program = new Program(spec, { name, dir, log, call });
      await program.start();
    },
    dispose: () => program?.end(),
  });
}

function readProgram(name: string, definition: Fields, settings: HostSettings): Parts {
  const wrong: Wrong = (problem) => shapeError(name, `"program"${problem}`);
  const { program } = definition;
  if (!isObject(program) || Array.isArray(program)) throw wrong(` is ${kindOf(program)}. Write ${EXAMPLE}`);
  refuseUnknown(wrong, program, OPTIONS);
  const { command, protocol, timeoutMs = settings.handlerMs ?? DEFAULT_TIMEOUT_MS, description = "" } = program;
  if (protocol !== "lines" && protocol !== "json-rpc")
    throw wrong(`: "protocol" is ${shown(protocol)}, and must be "lines" or "json-rpc"`);
  if (typeof timeoutMs !== "number" || !(timeoutMs >= 0 && timeoutMs <= MAX_TIMEOUT_MS))
    throw wrong(`: "timeoutMs" is ${shown(timeoutMs)}, and must be a number from 0 (no limit) to ${MAX_TIMEOUT_MS}`);
  if (typeof description !== "string") throw wrong(`: "description" is ${kindOf(description)}, and must be a string`);
  const words = texts(wrong, "command", command);
  if (words.length === 0) throw wrong(`: "command" is empty. Write ${EXAMPLE}`);
  const routes = texts(wrong, "routes", program.routes ?? []);
  const services = texts(wrong, "services", program.services ?? []);
  if (protocol === "lines" && services.length > 0)
    throw wrong(': "services" need protocol: "json-rpc": a line has no room for the name of a service');
  const beside = NOT_BESIDE.find((hook) => definition[hook] !== undefined);
  if (beside !== undefined)
    throw shapeError(name, `"${beside}" cannot stand beside "program". Write it in another module, or in the program`);
  return { spec: { command: words, protocol, timeoutMs }, routes, services, description };
}

function texts(wrong: Wrong, option: string, list: unknown): string[] {
  if (!Array.isArray(list)) throw wrong(`: "${option}" is ${kindOf(list)}, and must be a list of texts`);
  const bad: unknown = (list as unknown[]).find(
    (each) => typeof each !== "string" || each === "" || each.includes("\0"),
  );
  if (bad !== undefined) throw wrong(`: "${option}" holds ${shown(bad)}, and must hold texts that are not empty`);
  return [...new Set(list as string[])];
}

/** A value that is not an object is returned unchanged: its own check reports it. */
function merged(name: string, what: string, own: unknown, keys: readonly string[], part: object): unknown {
  if (own !== undefined && !isObject(own)) return own;
  const twice = keys.find((key) => own !== undefined && Object.hasOwn(own, key));
  if (twice !== undefined)
    throw shapeError(name, `the ${what} ${shown(twice)} is both the module's own and its program's. Leave one out`);
  return { ...own, ...Object.fromEntries(keys.map((key) => [key, part])) };
}

function mergedServices(
  name: string,
  own: unknown,
  keys: readonly string[],
  make: (service: string) => object,
): unknown {
  return keys.reduce((all, key) => merged(name, "service", all, [key], make(key)), own);
}

function lineQuestion({ bytes }: Message): Parameters<Program["ask"]>[0] {
  return { line: bytes, method: "", params: undefined };
}

function rpcQuestion({ text, client, session }: Message): Parameters<Program["ask"]>[0] {
  const { address, port, connection } = client;
  const from = { address, port, connection, identity: session.identity };
  return { line: NO_BYTES, method: "message", params: { text, client: from } };
}

function serviceQuestion(service: string, input: unknown): Parameters<Program["ask"]>[0] {
  return { line: NO_BYTES, method: service, params: input };
}

const NO_BYTES = new Uint8Array();

function lineOf(answer: unknown): Uint8Array {
  return Buffer.concat([answer as Uint8Array, LINE_END]);
}

const LINE_END = Buffer.from("\n");

/** A text is the reply's line; anything else is written as JSON; null is no reply. */
function replyOf(result: unknown): string | undefined {
  if (result === null || result === undefined) return undefined;
  const text = typeof result === "string" ? result : JSON.stringify(result);
  return text.endsWith("\n") ? text : `${text}\n`;
}

async function served(answer: Promise<unknown>): Promise<unknown> {
  try {
    return await answer;
  } catch (error) {
    throw error instanceof ProgramError ? new ServiceError(error.code, error.message, error.data) : error;
  }
}

/** Calls of the program itself: `context.services`, by names. */
function callerOf({ services }: ModuleContext): (module: string, service: string, input: unknown) => Promise<unknown> {
  const all = services as Record<string, Record<string, (input: unknown) => Promise<unknown>>>;
  return async (module, service, input) => await all[module]?.[service]?.(input);
}
