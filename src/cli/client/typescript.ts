/** A client in TypeScript: the common part, and the types of these procedures. Pure. */
import { isName, TYPESCRIPT, typeOf } from "../../module/build/json-schema";
import { byModule, type ClientProcedure } from "./procedures";

/** @param runtime the text of client-runtime.ts. @param note a line that says where it comes from */
export function typescriptClient(procedures: readonly ClientProcedure[], runtime: string, note: string): string {
  const modules = byModule(procedures).map(([module, own]) => {
    const methods = own.map((one) => `${commentOf(one.description)}    ${signatureOf(one)}\n`);
    return `  readonly ${isName(module) ? module : JSON.stringify(module)}: {\n${methods.join("")}  };\n`;
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
