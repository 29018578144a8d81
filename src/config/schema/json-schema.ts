/** The schema as JSON Schema (draft 2020-12): editors check and complete a config file with it. */
import * as z from "zod/mini";
import { type KeyFacts, KEYS } from "./parts";
import { KEY_SCHEMA } from "./schema";

/** The name of the file that `hrmr init` writes beside hrmr.json. */
export const JSON_SCHEMA_FILE = "hrmr.schema.json";

/**
 * @returns a fresh object. `hrmr validate` checks the rules that JSON Schema cannot express (the form of a listen URL,
 *   keys that must agree)
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
      // A nested schema is visited twice. The second time its text is complete.
      if (description !== undefined && !description.endsWith("."))
        json.description = describe({ description, unit, restart });
      // A group needs no default: its keys have theirs.
      if (json.type === "object" && Bun.deepEquals(initial, {})) delete json.default;
    },
  });
  return { ...schema, title: "hrmr", description: "Configuration of hrmr" };
}

function describe({ description, unit, restart }: KeyFacts): string {
  const unitText = unit === "ms" ? ["In milliseconds"] : unit === "bytes" ? ["In bytes"] : [];
  const sentences = [description, ...unitText, ...(restart === true ? ["A change needs a restart"] : [])];
  // An editor does not have the pages behind the links.
  return `${sentences.join(". ")}.`.replaceAll(/ \(see \[.*?\]\(.*?\)\)/g, "");
}
