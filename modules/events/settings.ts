/** Reads and checks `modules.events` of hrmr.json. index.ts lists all settings. */
import { matchesTopic } from "hrmr";

export interface Settings {
  /** Patterns of the topics that clients may receive. */
  readonly topics: readonly string[];
  /** Patterns of the topics that clients may emit. */
  readonly emit: readonly string[];
  readonly heartbeatMs: number;
}

const KEYS = ["topics", "emit", "heartbeatMs"];
/** The server's own settings of a module. */
const SERVERS = ["enabled", "run", "timeouts", "limits", "reload", "drainMs", "maxMemoryMb"];
const MAX_HEARTBEAT_MS = 3_600_000;

/** @throws Error that names the setting and shows a right value */
export function readSettings(config: Record<string, unknown>): Settings {
  const unknown = Object.keys(config).find((key) => !KEYS.includes(key) && !SERVERS.includes(key));
  if (unknown !== undefined)
    throw new Error(`modules.events.${unknown} is not a setting. Use one of ${KEYS.join(", ")}.`);
  const { heartbeatMs = 15_000 } = config;
  if (typeof heartbeatMs !== "number" || !(heartbeatMs >= 10 && heartbeatMs <= MAX_HEARTBEAT_MS))
    throw refused("heartbeatMs", heartbeatMs, `a number of milliseconds from 10 to ${MAX_HEARTBEAT_MS}`, 15_000);
  return { topics: readPatterns(config, "topics"), emit: readPatterns(config, "emit"), heartbeatMs };
}

function readPatterns(config: Record<string, unknown>, name: "topics" | "emit"): readonly string[] {
  const value = config[name] ?? [];
  if (value === "*") return [">"];
  const isList = Array.isArray(value) && value.every((each) => typeof each === "string" && isPattern(each));
  if (!isList) throw refused(name, value, 'a list of topics, or "*" for all', ["user.*", "order.>"]);
  return value as string[];
}

/** A valid pattern matches the topic that has "x" in place of each wildcard. */
function isPattern(text: string): boolean {
  return matchesTopic(text, text.replaceAll(/[*>]/g, "x"));
}

function refused(name: string, value: unknown, what: string, example: unknown): Error {
  return new Error(
    `modules.events.${name} is not ${what}: ${JSON.stringify(value)}.\nGive it as ${JSON.stringify(example)}.`,
  );
}
