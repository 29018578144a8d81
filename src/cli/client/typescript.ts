/** A client in TypeScript: the common part, and the types of these procedures. Pure. */
import { type TypeWriter, typeOf } from "./json-schema";
import { byModule, type ClientProcedure } from "./procedures";

const quoted = (value: unknown): string => JSON.stringify(value) ?? "unknown";
const isName = (name: string): boolean => /^[A-Za-z_$][\w$]*$/.test(name);

const TYPESCRIPT: TypeWriter = {
  unknown: "unknown",
  null: "null",
  boolean: "boolean",
  number: "number",
  integer: "number",
  string: "string",
  literal: (value) => (typeof value === "object" && value !== null ? "unknown" : quoted(value)),
  list: (item) => `readonly (${item})[]`,
  tuple: (items) => `readonly [${items.join(", ")}]`,
  map: (value) => `Readonly<Record<string, ${value}>>`,
  object: (fields) =>
    `{ ${fields.map(({ name, type, isRequired }) => `${isName(name) ? name : quoted(name)}${isRequired ? "" : "?"}: ${type}`).join("; ")} }`,
  union: (types) => [...new Set(types)].join(" | ") || "never",
  intersection: (types) => types.map((type) => `(${type})`).join(" & "),
};

/** @param runtime the text of client-runtime.ts. @param note a line that says where it comes from */
export function typescriptClient(procedures: readonly ClientProcedure[], runtime: string, note: string): string {
  const modules = byModule(procedures).map(([module, own]) => {
    const methods = own.map((one) => `${commentOf(one.description)}    ${signatureOf(one)}\n`);
    return `  readonly ${isName(module) ? module : quoted(module)}: {\n${methods.join("")}  };\n`;
  });
  return `// ${note}
${runtime}
/** The procedures of the server, by module. */
export interface Procedures {
${modules.join("")}}

export type Hub = Client & Procedures;

/** @example const hub = connect({ port: 8080 }); console.log(await hub.call("kv.get", { key: "a" })); */
export function connect(options: ClientOptions = {}): Hub {
  return withProcedures(new Client(options)) as unknown as Hub;
}
`;
}

function signatureOf({ service, input, output }: ClientProcedure): string {
  const params = input === undefined ? "input?: unknown" : `input: ${typeOf(input, TYPESCRIPT)}`;
  return `${service}(${params}, options?: CallOptions): Promise<${typeOf(output, TYPESCRIPT)}>;`;
}

function commentOf(description: string): string {
  return description === "" ? "" : `    /** ${description.replaceAll("*/", "* /").replaceAll(/\s+/g, " ")} */\n`;
}
