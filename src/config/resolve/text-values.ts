/** Values that are given as text: in a variable, or with `--set`. */
import type * as z from "zod/mini";
import { bareSchema } from "../schema/key-list";
import type { Schema } from "../schema/parts";
import { jsonOrText } from "../variable-names";

/**
 * Reads `text` in the form that `schema` takes: a number, true or false, a list (with commas, or as JSON), JSON for
 * objects, `null` if allowed.
 *
 * @returns `text` itself if it has another form: the schema then refuses it
 */
export function fromText(schema: Schema, text: string): unknown {
  if (text === "null" && schema.safeParse(null).success) return null;
  const bare = bareSchema(schema);
  switch (bare.type) {
    case "number":
      return /^-?\d{1,16}(?:\.\d{1,16})?$/.test(text) ? Number(text) : text;
    case "boolean":
    case "union":
      return text === "true" ? true : text === "false" ? false : text;
    case "array":
      return listFromText((bare as z.ZodMiniArray)._zod.def.element as Schema, text);
    case "object":
    case "record":
      return jsonOrText(text);
    default:
      return text;
  }
}

function listFromText(element: Schema, text: string): unknown {
  if (text.trimStart().startsWith("[")) return jsonOrText(text);
  if (bareSchema(element).type === "object") return text;
  const items = text.split(",").map((item) => item.trim());
  return items.filter((item) => item !== "").map((item) => fromText(element, item));
}
