/** `modules.store` of hrmr.json. index.ts explains the settings. */
import { matchesTopic, type StandardResult, type StandardSchema } from "hrmr";
import { type JsonSchema, objectOf, schemaOf } from "./schema";

export interface Settings {
  /** Whether clients of Redis are served. */
  readonly resp: boolean;
  /** Patterns of the topics that clients of Redis may hear. */
  readonly topics: readonly string[];
  /** Patterns of the topics that they may emit. */
  readonly emit: readonly string[];
  /** Whether /store is, with its watches as server-sent events. */
  readonly http: boolean;
  /** Whether clients may call the procedures `store.*`. */
  readonly rpc: boolean;
  /** Whether AI agents may. */
  readonly mcp: boolean;
  /** How often a silent stream of events gets a comment, so that a lost client is noticed. */
  readonly heartbeatMs: number;
}

/** As it is written: "*" for all. */
type Patterns = readonly string[] | "*";
type Given = Omit<Settings, "topics" | "emit"> & { readonly topics: Patterns; readonly emit: Patterns };

const PATTERNS: JsonSchema = { anyOf: [{ const: "*" }, { type: "array", items: { type: "string" } }], default: [] };

const { vendor, validate, jsonSchema } = schemaOf<Given>(
  objectOf({
    resp: { type: "boolean", default: true },
    topics: PATTERNS,
    emit: PATTERNS,
    http: { type: "boolean", default: true },
    rpc: { type: "boolean", default: true },
    mcp: { type: "boolean", default: false },
    heartbeatMs: { type: "number", minimum: 10, maximum: 3_600_000, default: 15_000 },
  }),
)["~standard"];

export const SETTINGS: StandardSchema<Settings> = {
  "~standard": {
    version: 1,
    vendor,
    ...(jsonSchema === undefined ? null : { jsonSchema }),
    validate(value): StandardResult<Settings> {
      const result = validate(value) as StandardResult<Given>;
      if (result.issues !== undefined) return result;
      const { topics, emit, ...others } = result.value;
      const issues = [...mistakesIn("topics", topics), ...mistakesIn("emit", emit)];
      if (issues.length > 0) return { issues };
      return { value: { ...others, topics: patternsOf(topics), emit: patternsOf(emit) } };
    },
  },
};

function mistakesIn(name: string, patterns: Patterns): { message: string; path: PropertyKey[] }[] {
  return patternsOf(patterns).flatMap((each, at) =>
    // A valid pattern matches the topic that has "x" in place of each wildcard.
    matchesTopic(each, each.replaceAll(/[*>]/g, "x"))
      ? []
      : [{ message: 'must be a topic such as "user.created", "user.*" or "user.>"', path: [name, at] }],
  );
}

function patternsOf(patterns: Patterns): readonly string[] {
  return patterns === "*" ? [">"] : patterns;
}
