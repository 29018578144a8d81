/** The schema as JSON Schema (draft 2020-12): editors check and complete a config file with it. */
import * as z from "zod/mini";
import { isGroup } from "../quoted";
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
  return { ...(withVariables(schema) as typeof schema), title: "hrmr", description: "Configuration of hrmr" };
}

type Json = Readonly<Record<string, unknown>>;

/** A text that is one variable, which stands for any value. */
const VARIABLE: Json = { type: "string", pattern: "^\\$\\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\\}$" };

/** Lets a variable stand for each value of a key that takes no text. */
function withVariables(json: Json): Json {
  const { properties, additionalProperties: others } = json;
  if (json["type"] !== "object") return withVariable(json);
  return {
    ...json,
    ...(isGroup(properties) ? { properties: mapValues(properties, (each) => withVariables(each as Json)) } : null),
    ...(isGroup(others) ? { additionalProperties: withVariables(others) } : null),
  };
}

function withVariable(json: Json): Json {
  const { description, default: initial, ...form } = json;
  const { anyOf } = form;
  // It takes anything.
  if (Object.keys(form).length === 0) return json;
  const forms = (Array.isArray(anyOf) ? anyOf : [form]) as Json[];
  if (forms.some(({ type, enum: choices }) => type === "string" && choices === undefined)) return json;
  const about = {
    ...(description === undefined ? null : { description }),
    ...("default" in json ? { default: initial } : null),
  };
  return { ...about, anyOf: [...forms, VARIABLE] };
}

function mapValues(group: Json, change: (value: unknown) => unknown): Json {
  return Object.fromEntries(Object.entries(group).map(([name, value]) => [name, change(value)]));
}

function describe({ description, unit, restart }: KeyFacts): string {
  const unitText = unit === "ms" ? ["In milliseconds"] : unit === "bytes" ? ["In bytes"] : [];
  const sentences = [description, ...unitText, ...(restart === true ? ["A change needs a restart"] : [])];
  // An editor does not have the pages behind the links.
  return `${sentences.join(". ")}.`.replaceAll(/ \(see \[.*?\]\(.*?\)\)/g, "");
}
