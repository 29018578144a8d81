/** `rpc.discover`: the procedures as an OpenRPC document (spec.open-rpc.org, version 1.3). */
import { version } from "../../../package.json";
import type { RpcFailure } from "./failure";
import type { RpcCaller } from "./caller";
import type { Procedure, Procedures } from "./procedures";

export const DISCOVER = "rpc.discover";

/** @returns the document as JSON, with the procedures that the client may call; or why it may not ask */
export function discover(procedures: Procedures, caller: RpcCaller): string | RpcFailure {
  const refused = procedures.refusalOf(caller, DISCOVER);
  // A client with a token sees its own procedures, whatever its scopes are.
  if (refused !== null && refused.status !== 403) return refused;
  const methods = procedures.list(caller).map(methodOf);
  return JSON.stringify({ openrpc: "1.3.2", info: { title: "hrmr", version }, methods });
}

function methodOf({ name, service: { service } }: Procedure): object {
  const { input, output, description } = service;
  const properties = isObject(input?.properties) ? input.properties : null;
  const isList = input?.type === "array";
  return {
    name,
    ...(description === "" ? null : { description }),
    paramStructure: isList ? "by-position" : properties === null ? "either" : "by-name",
    params: properties === null ? [] : paramsOf(properties, input?.required, input?.$defs),
    ...(input === null ? null : { "x-input": input }),
    result: { name: "result", schema: output ?? {} },
  };
}

function paramsOf(properties: Record<string, unknown>, required: unknown, defs: unknown): object[] {
  const needed = new Set(Array.isArray(required) ? required : []);
  const rest = isObject(defs) ? { $defs: defs } : null;
  const params = Object.entries(properties).map(([name, schema]) => ({
    name,
    required: needed.has(name),
    schema: isObject(schema) ? { ...schema, ...rest } : schema,
  }));
  // Optional ones must come last (section "Method Object").
  return [...params.filter((each) => each.required), ...params.filter((each) => !each.required)];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
