/** Procedures that say `mcp: true`, as tools of the Model Context Protocol (modelcontextprotocol.io). Pure. */
import type { RpcFailure } from "../../hub/rpc/failure";
import type { Procedure } from "../../hub/rpc/procedures";
import { isTool, type ServiceSpec } from "../../module/route";

/** A tool, as `tools/list` describes it. */
interface Tool {
  readonly name: string;
  readonly description?: string;
  readonly inputSchema: ObjectSchema;
  readonly outputSchema?: ObjectSchema;
}

interface ObjectSchema {
  readonly type: "object";
  readonly [key: string]: unknown;
}

/** The answer to `tools/call`. */
export interface ToolResult {
  readonly content: readonly { readonly type: "text"; readonly text: string }[];
  readonly structuredContent?: Readonly<Record<string, unknown>>;
  readonly isError?: true;
  readonly [key: string]: unknown;
}

type Schema = Readonly<Record<string, unknown>>;

/** @param procedures those that the client may call */
export function toolsOf(procedures: readonly Procedure[]): Tool[] {
  return procedures.flatMap(({ name, service: { service } }) => {
    if (!isTool(service)) return [];
    const { description, input, output } = service;
    const outputSchema = outputOf(output);
    return {
      name,
      ...(description === "" ? null : { description }),
      inputSchema: inputOf(input),
      ...(outputSchema === null ? null : { outputSchema }),
    };
  });
}

function inputOf(schema: Schema | null): ObjectSchema {
  return schema === null ? { type: "object" } : (plain(schema) as ObjectSchema);
}

/** @returns null: the results have no schema that the protocol allows */
function outputOf(schema: Schema | null): ObjectSchema | null {
  if (schema === null) return null;
  if (schema.type === "object") return plain(schema) as ObjectSchema;
  // Its references would point to nowhere.
  if (JSON.stringify(schema).includes('"$ref"')) return null;
  return { type: "object", properties: { result: plain(schema) }, required: ["result"] };
}

/** Clients do not know every dialect, and every one of them knows the part that is used here. */
function plain(schema: Schema): Schema {
  const rest: Record<string, unknown> = { ...schema };
  delete rest.$schema;
  return rest;
}

/** @param json the result of the call */
export function resultOf({ output }: ServiceSpec, json: string): ToolResult {
  const value: unknown = JSON.parse(json);
  const text = typeof value === "string" ? value : json;
  const schema = outputOf(output);
  if (schema === null) return { content: [{ type: "text", text }] };
  const structuredContent = output?.type === "object" ? (value as Record<string, unknown>) : { result: value };
  return { content: [{ type: "text", text }], structuredContent };
}

/** The agent reads it, and may correct its call. */
export function errorOf({ word, message, data }: RpcFailure): ToolResult {
  const { code: _, ...rest } = data ?? {};
  const more = Object.keys(rest).length === 0 ? "" : `\n${jsonOf(rest)}`;
  return { content: [{ type: "text", text: `${word}: ${message}${more}` }], isError: true };
}

/** @param parts of a streamed result, as JSON */
export function partsOf(parts: readonly string[]): ToolResult {
  return { content: [{ type: "text", text: `[${parts.join(",")}]` }] };
}

/** The data is the service's own, and may hold a BigInt. */
function jsonOf(data: unknown): string {
  try {
    return JSON.stringify(data);
  } catch {
    return "";
  }
}
