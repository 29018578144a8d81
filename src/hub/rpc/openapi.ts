/** GET /openapi.json: the procedures as an OpenAPI document (version 3.1), for POST /rpc/NAME. Pure. */
import { version } from "../../../package.json";
import type { Procedure } from "./procedures";

/** @param procedures those that the client may call. @returns the document as JSON */
export function openApi(procedures: readonly Procedure[]): string {
  return JSON.stringify({
    openapi: "3.1.0",
    info: { title: "hrmr", version },
    paths: Object.fromEntries(procedures.map((each) => [`/rpc/${each.name}`, { post: operationOf(each) }])),
    components: {
      schemas: { Error: ERROR },
      responses: {
        Error: { description: "The call failed", content: { "application/json": { schema: { $ref: ERROR_REF } } } },
      },
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
    },
    security: [{}, { token: [] }],
  });
}

const ERROR_REF = "#/components/schemas/Error";
const ERROR = {
  type: "object",
  required: ["error"],
  properties: {
    error: {
      type: "object",
      required: ["code", "message"],
      properties: { code: { type: "integer" }, message: { type: "string" }, data: { type: "object" } },
    },
  },
};

function operationOf({ name, service: { service } }: Procedure): object {
  const { input, output, description } = service;
  const isOptional = input === null;
  return {
    operationId: name,
    tags: [name.slice(0, name.lastIndexOf("."))],
    ...(description === "" ? null : { description }),
    requestBody: {
      required: !isOptional,
      content: { "application/json": { schema: schemaOf(input, `${name}:input`) } },
    },
    responses: {
      200: {
        description: "The result",
        content: { "application/json": { schema: schemaOf(output, `${name}:output`) } },
      },
      default: { $ref: "#/components/responses/Error" },
    },
  };
}

/** References of a schema mean its own parts: it needs an id of its own (OpenAPI 3.1, section 4.6). */
function schemaOf(schema: Readonly<Record<string, unknown>> | null, id: string): object {
  if (schema === null) return {};
  const { $schema: _, ...rest } = schema;
  return JSON.stringify(rest).includes('"$ref"') ? { $id: `urn:hrmr:${id}`, ...rest } : rest;
}
