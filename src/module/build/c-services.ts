/**
 * The services that a module in C declares, read from its text: for types only. The server itself asks the compiled
 * module. Names and schemas are seen that are texts, or macros for texts. Pure.
 */
import { isName, TYPESCRIPT, typeOf } from "./json-schema";

/** A service in C, as its text has it. */
interface CService {
  readonly name: string;
  /** JSON Schemas. undefined: none, or it cannot be read */
  readonly input: unknown;
  readonly output: unknown;
}

/** A text of C: one or more literals in a row. */
const TEXT = String.raw`(?:"(?:[^"\\\n]|\\.)*"\s*)+`;
const SERVICE = new RegExp(
  String.raw`(?:(\w+)\s*=\s*)?(?:hrmr_\w+\s*\(\s*)*hrmr_service\s*\(\s*\w+\s*,\s*(${TEXT})`,
  "g",
);
const SCHEMA = new RegExp(String.raw`^\s*,\s*(${TEXT}|NULL|0)\s*,\s*(${TEXT}|NULL|0)\s*\)`);

/** @param source  of the file */
export function cServices(source: string): CService[] {
  const code = withTexts(withoutComments(source));
  const services: CService[] = [];
  for (const match of code.matchAll(SERVICE)) {
    const name = valueOf(match[2] ?? "");
    const [input, output] = schemasOf(code, match);
    if (name !== null && !services.some((each) => each.name === name)) services.push({ name, input, output });
  }
  return services;
}

/** The type of the services, for `ModuleServices`. */
export function cServicesType(services: readonly CService[]): string {
  const rows = services.map(({ name, input, output }) => {
    const params = input === undefined ? "input?: unknown" : `input: ${typeOf(input, TYPESCRIPT)}`;
    const result = output === undefined ? "unknown" : typeOf(output, TYPESCRIPT);
    const key = isName(name) ? name : JSON.stringify(name);
    return `      ${key}(${params}, options?: ServiceCallOptions): Promise<${result}>;\n`;
  });
  return `{\n${rows.join("")}    }`;
}

/** Puts the texts that `#define NAME "..."` names in their places. */
function withTexts(source: string): string {
  const code = source.replaceAll(/\\\r?\n/g, " ");
  const texts = new Map(
    [...code.matchAll(new RegExp(String.raw`^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+(${TEXT})$`, "gm"))].map(
      ([, name = "", text = ""]) => [name, text.trim()],
    ),
  );
  if (texts.size === 0) return code;
  return code.replaceAll(
    /"(?:[^"\\\n]|\\.)*"|#[ \t]*define[ \t]+\w+|\b[A-Za-z_]\w*\b/g,
    (part) => texts.get(part) ?? part,
  );
}

/** Comments become spaces; texts stay. */
function withoutComments(source: string): string {
  return source.replaceAll(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g, (part) =>
    part.startsWith("/") ? " " : part,
  );
}

/** The schemas of `hrmr_schema(hrmr_service(...), ...)`, or of `hrmr_schema(variable, ...)`. */
function schemasOf(code: string, { 0: call, 1: variable, index }: RegExpExecArray): [unknown, unknown] {
  const nested = /hrmr_schema\s*\(\s*(?:hrmr_\w+\s*\(\s*)*hrmr_service\b/.test(call);
  const after = nested ? afterCall(code, index + call.indexOf("hrmr_schema")) : afterVariable(code, variable, index);
  const given = after === null ? null : SCHEMA.exec(after);
  return given === null ? [undefined, undefined] : [schemaOf(given[1] ?? ""), schemaOf(given[2] ?? "")];
}

function afterVariable(code: string, variable: string | undefined, from: number): string | null {
  if (variable === undefined) return null;
  const rest = code.slice(from + 1);
  const call = new RegExp(String.raw`\b(?:hrmr_schema\s*\(\s*${variable}\b|${variable}\s*=[^=])`).exec(rest);
  // The variable may get another service before.
  return call?.[0].startsWith("hrmr_schema") === true ? rest.slice(call.index + call[0].length) : null;
}

/** @returns the text behind the first argument of the call that begins at `start` */
function afterCall(code: string, start: number): string | null {
  let depth = 0;
  const parts = /"(?:[^"\\\n]|\\.)*"|[(),]/g;
  parts.lastIndex = start;
  for (let part = parts.exec(code); part !== null; part = parts.exec(code)) {
    if (part[0] === "(") depth++;
    else if (part[0] === ")") depth--;
    else if (part[0] === "," && depth === 1) return code.slice(part.index);
  }
  return null;
}

function schemaOf(text: string): unknown {
  const json = text.startsWith('"') ? valueOf(text) : null;
  try {
    return json === null ? undefined : (JSON.parse(json) as unknown);
  } catch {
    return undefined;
  }
}

/** @returns the text that literals in a row have; null: it has an escape that JSON does not know */
function valueOf(literals: string): string | null {
  const parts = literals.match(/"(?:[^"\\\n]|\\.)*"/g) ?? [];
  try {
    return parts.map((part) => JSON.parse(part.replaceAll(String.raw`\'`, "'")) as string).join("");
  } catch {
    return null;
  }
}
