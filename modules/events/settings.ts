/** `modules.events` of hrmr.json. index.ts lists all settings. */
import { matchesTopic, type StandardSchema } from "hrmr";

// A type, and no interface: `context.config` takes any keys.
export type Settings = {
  /** Patterns of the topics that clients may receive. */
  readonly topics: readonly string[];
  /** Patterns of the topics that clients may emit. */
  readonly emit: readonly string[];
  readonly heartbeatMs: number;
};

const MAX_HEARTBEAT_MS = 3_600_000;

interface Issue {
  readonly message: string;
  readonly path: readonly (string | number)[];
}

const patterns = { oneOf: [{ const: "*" }, { type: "array", items: { type: "string" } }], default: [] };
const properties = {
  topics: patterns,
  emit: patterns,
  heartbeatMs: { type: "number", minimum: 10, maximum: MAX_HEARTBEAT_MS, default: 15_000 },
};

/** The schema that hrmr checks the settings by: a mistake is told with its line of hrmr.json. */
export const SETTINGS: StandardSchema<Settings> = {
  "~standard": {
    version: 1,
    vendor: "hrmr",
    validate(value) {
      const given = value as Record<string, unknown>;
      const issues = Object.keys(given).flatMap((name) => mistakesIn(name, given[name]));
      if (issues.length > 0) return { issues };
      const { topics, emit, heartbeatMs = 15_000 } = given;
      return { value: { topics: patternsOf(topics), emit: patternsOf(emit), heartbeatMs: heartbeatMs as number } };
    },
    jsonSchema: {
      input: () => ({ type: "object", properties, additionalProperties: false }),
      output: () => ({ type: "object", properties }),
    },
  },
};

function mistakesIn(name: string, value: unknown): Issue[] {
  switch (name) {
    case "topics":
    case "emit":
      return patternMistakes(name, value);
    case "heartbeatMs":
      if (typeof value === "number" && value >= 10 && value <= MAX_HEARTBEAT_MS) return [];
      return [{ message: `must be a number of milliseconds from 10 to ${MAX_HEARTBEAT_MS}`, path: [name] }];
    default:
      return [{ message: `is not a setting: use one of ${Object.keys(properties).join(", ")}`, path: [name] }];
  }
}

function patternMistakes(name: string, value: unknown): Issue[] {
  if (value === "*") return [];
  if (!Array.isArray(value))
    return [{ message: 'must be a list of topics such as ["user.*", "order.>"], or "*" for all', path: [name] }];
  return (value as unknown[]).flatMap((each, at) =>
    typeof each === "string" && isPattern(each)
      ? []
      : [{ message: `must be a topic such as "user.created", "user.*" or "user.>"`, path: [name, at] }],
  );
}

/** A valid pattern matches the topic that has "x" in place of each wildcard. */
function isPattern(text: string): boolean {
  return matchesTopic(text, text.replaceAll(/[*>]/g, "x"));
}

function patternsOf(value: unknown): readonly string[] {
  return value === "*" ? [">"] : ((value ?? []) as readonly string[]);
}
