/**
 * The schema as JSON Schema (draft 2020-12), by which editors check and complete a config file.
 */
import * as z from "zod/mini";
import { type KeyFacts, KEYS } from "./parts";
import { KEY_SCHEMA } from "./schema";

/** The name under which `hrmr init` writes it, beside hrmr.json. */
export const JSON_SCHEMA_FILE = "hrmr.schema.json";

/**
 * @returns a fresh object; what cannot be said in JSON Schema (the form of a listen URL, keys that must agree) is left
 * to `hrmr validate`
 */
export function jsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(KEY_SCHEMA, {
    target: "draft-2020-12",
    io: "input",
    metadata: KEYS,
    override: ({ jsonSchema: json }) => {
      const { unit, restart, description, default: initial } = json as typeof json & Partial<KeyFacts>;
      delete json["unit"];
      delete json["restart"];
      // A schema inside another one comes by twice, the second time with its text done.
      if (description !== undefined && !description.endsWith("."))
        json.description = describe({ description, unit, restart });
      // Of a group: its keys tell their defaults.
      if (json.type === "object" && Bun.deepEquals(initial, {})) delete json.default;
    },
  });
  return { ...schema, title: "hrmr", description: "Configuration of hrmr" };
}

function describe({ description, unit, restart }: KeyFacts): string {
  const unitText = unit === "ms" ? ["In milliseconds"] : unit === "bytes" ? ["In bytes"] : [];
  const sentences = [description, ...unitText, ...(restart === true ? ["A change needs a restart"] : [])];
  // The links lead to pages that an editor does not have.
  return `${sentences.join(". ")}.`.replaceAll(/ \(see \[.*?\]\(.*?\)\)/g, "");
}
