/** JSON of the version store. Settings of a TOML or YAML file may hold values that JSON cannot express. */

const BIG = "$bigint";
const DATE = "$date";

/** @param space  as for `JSON.stringify` */
export function toJson(value: unknown, space?: number): string {
  return JSON.stringify(value, replace, space);
}

/** @throws SyntaxError for a damaged text */
export function fromJson(text: string): unknown {
  return JSON.parse(text, revive) as unknown;
}

function revive(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (BIG in value && typeof value[BIG] === "string") return BigInt(value[BIG]);
  return DATE in value && typeof value[DATE] === "string" ? new Date(value[DATE]) : value;
}

function replace(this: Record<string, unknown>, key: string, value: unknown): unknown {
  const raw = this[key];
  if (typeof raw === "bigint") return { [BIG]: String(raw) };
  return raw instanceof Date ? { [DATE]: raw.toISOString() } : value;
}
