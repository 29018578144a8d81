/** The procedures of an OpenRPC document, as far as a client needs them. */
import { UserError } from "../../config/user-error";

export interface ClientProcedure {
  readonly module: string;
  readonly service: string;
  readonly description: string;
  /** JSON Schema. undefined: anything, or nothing */
  readonly input: unknown;
  readonly output: unknown;
}

/** How a document is fetched from any server that can be reached. */
const HOW_TO_FETCH = "hrmr call HOST:PORT rpc.discover --token-file FILE > openrpc.json";

/** @param document of `rpc.discover`. @throws UserError NO_OPENRPC: it is not an OpenRPC document */
export function readProcedures(document: unknown): ClientProcedure[] {
  const methods = (document as { readonly methods?: unknown } | null)?.methods;
  if (!Array.isArray(methods)) {
    throw new UserError("This is not an OpenRPC document: it has no list of methods.", {
      code: "NO_OPENRPC",
      hint: `Get one from a running server: ${HOW_TO_FETCH}`,
    });
  }
  return methods.flatMap((method: Readonly<Record<string, unknown>>) => {
    const [module, service] = String(method.name).split(".");
    if (module === undefined || service === undefined || module === "rpc") return [];
    const result = method.result as { readonly schema?: unknown } | undefined;
    const description = typeof method.description === "string" ? method.description : "";
    return [{ module, service, description, input: method["x-input"], output: result?.schema }];
  });
}

/** By module, in the order of their names. */
export function byModule(procedures: readonly ClientProcedure[]): [module: string, own: readonly ClientProcedure[]][] {
  const groups = Map.groupBy(procedures, ({ module }) => module);
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1));
}
