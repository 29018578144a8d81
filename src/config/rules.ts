import { LISTEN_FORMS, parseListen } from "./listen";
import {
  CLIENT_CERT_POLICIES,
  COMMAND_POLICIES,
  DEFAULT_LIMITS,
  DEFAULT_TIMEOUTS,
  ENDPOINT_POLICIES,
  LOG_FORMATS,
  LOG_LEVELS,
  LOG_ROTATIONS,
  TLS_VERSIONS,
} from "./options";
import { isServerName } from "./server-name";

/** Numbers that flags and the config file share: smallest and largest. */
export const PORT_RANGE = { min: 0, max: 65_535 } as const;
export const THREADS_RANGE = { min: 1, max: 256 } as const;

/** Timers of more than 2^31 - 1 ms would fire at once. */
const MAX_TIMEOUT_MS = 2_147_483_647;

/** What one key of the config file may hold. `path` is made absolute, from the file's folder. */
export type Rule =
  | { type: "string" | "boolean" | "listen" | "strings" | "serverNames" }
  | { type: "path"; nullable?: boolean }
  | { type: "integer"; min: number; max: number }
  | { type: "choice"; choices: readonly string[] }
  | { type: "group"; keys: Record<string, Rule> }
  /** A list of groups; none may lack a key of `required`. */
  | { type: "groups"; keys: Record<string, Rule>; required: readonly string[] };

/** Limits of which 0 means "none"; the others must leave room for one. */
const ZERO_LIMITS = ["maxConnectionsPerAddress", "maxNewConnectionsPerSecond", "maxMessagesPerSecond"];

const limits = Object.keys(DEFAULT_LIMITS).map((name): [string, Rule] => [
  name,
  { type: "integer", min: ZERO_LIMITS.includes(name) ? 0 : 1, max: Number.MAX_SAFE_INTEGER },
]);
const timeouts = Object.keys(DEFAULT_TIMEOUTS).map((name): [string, Rule] => [name, { type: "integer", min: 0, max: MAX_TIMEOUT_MS }]);

const minVersion: Rule = { type: "choice", choices: TLS_VERSIONS };
const tls: Record<string, Rule> = {
  certFile: { type: "path", nullable: true },
  keyFile: { type: "path", nullable: true },
  minVersion,
  sni: {
    type: "groups",
    keys: { serverNames: { type: "serverNames" }, certFile: { type: "path" }, keyFile: { type: "path" }, minVersion },
    required: ["serverNames", "certFile", "keyFile"],
  },
  clientCaFile: { type: "path", nullable: true },
  clientCert: { type: "choice", choices: CLIENT_CERT_POLICIES },
  handshakeTimeoutMs: { type: "integer", min: 0, max: MAX_TIMEOUT_MS },
};

const http2: Record<string, Rule> = {
  enabled: { type: "boolean" },
  maxControlFramesPerSecond: { type: "integer", min: 0, max: Number.MAX_SAFE_INTEGER },
  maxResetsPerSecond: { type: "integer", min: 0, max: Number.MAX_SAFE_INTEGER },
};

/** The config file, key by key. `modules.NAME` is checked by MODULE_RULES. */
export const CONFIG_RULES: Record<string, Rule> = {
  $schema: { type: "string" },
  listen: { type: "listen" },
  modulesDir: { type: "path" },
  staticDir: { type: "path", nullable: true },
  stateDir: { type: "path", nullable: true },
  threads: { type: "integer", ...THREADS_RANGE },
  watch: { type: "boolean" },
  processes: { type: "integer", min: 0, max: 256 },
  pidFile: { type: "path", nullable: true },
  log: {
    type: "group",
    keys: {
      level: { type: "choice", choices: LOG_LEVELS },
      format: { type: "choice", choices: LOG_FORMATS },
      file: { type: "path", nullable: true },
      maxFileBytes: { type: "integer", min: 0, max: Number.MAX_SAFE_INTEGER },
      maxFiles: { type: "integer", min: 0, max: 1000 },
      rotate: { type: "choice", choices: LOG_ROTATIONS },
      access: { type: "boolean" },
      accessSample: { type: "integer", min: 1, max: Number.MAX_SAFE_INTEGER },
    },
  },
  control: {
    type: "group",
    keys: {
      commands: { type: "choice", choices: COMMAND_POLICIES },
      tokenFile: { type: "path", nullable: true },
      socket: { type: "path", nullable: true },
    },
  },
  limits: { type: "group", keys: Object.fromEntries(limits) },
  timeouts: { type: "group", keys: Object.fromEntries(timeouts) },
  http: {
    type: "group",
    keys: {
      health: { type: "choice", choices: ENDPOINT_POLICIES },
      ready: { type: "choice", choices: ENDPOINT_POLICIES },
      stats: { type: "choice", choices: ENDPOINT_POLICIES },
      metrics: { type: "choice", choices: ENDPOINT_POLICIES },
      use: { type: "strings" },
    },
  },
  tls: { type: "group", keys: tls },
  http2: { type: "group", keys: http2 },
};

/** The keys of `modules.NAME` that are the server's; the rest is the module's own. */
export const MODULE_RULES: Record<string, Rule> = { enabled: { type: "boolean" }, external: { type: "strings" } };

/** @returns what is wrong with `value`, as the end of a sentence ("must be ..., not ..."), or null; groups are not looked into */
export function violation(rule: Rule, value: unknown): string | null {
  const expected = expectation(rule);
  return isValid(rule, value) ? null : `must be ${expected}, not ${shown(value)}`;
}

function isValid(rule: Rule, value: unknown): boolean {
  switch (rule.type) {
    case "string":
      return typeof value === "string";
    case "path":
      return (typeof value === "string" && value !== "") || (value === null && rule.nullable === true);
    case "boolean":
      return typeof value === "boolean";
    case "integer":
      return Number.isSafeInteger(value) && Number(value) >= rule.min && Number(value) <= rule.max;
    case "choice":
      return typeof value === "string" && rule.choices.includes(value);
    case "strings":
      return Array.isArray(value) && value.every((item) => typeof item === "string");
    case "serverNames":
      return Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === "string" && isServerName(item));
    case "listen":
      return Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === "string" && parseListen(item) !== null);
    case "group":
      return isGroup(value);
    case "groups":
      return Array.isArray(value) && value.every(isGroup);
  }
}

/** Whether `value` is a JSON object, and neither an array nor null. */
export function isGroup(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function expectation(rule: Rule): string {
  switch (rule.type) {
    case "string":
      return "a text";
    case "path":
      return rule.nullable ? "a path or null" : "a path";
    case "boolean":
      return "true or false";
    case "integer":
      return rule.max === Number.MAX_SAFE_INTEGER ? `a whole number from ${rule.min}` : `a whole number from ${rule.min} to ${rule.max}`;
    case "choice":
      return `one of ${rule.choices.map((choice) => `"${choice}"`).join(", ")}`;
    case "strings":
      return "a list of texts";
    case "serverNames":
      return 'a list of lower-case host names, like "a.example" or "*.b.example"';
    case "listen":
      return `a list of ${LISTEN_FORMS}`;
    case "group":
      return "an object";
    case "groups":
      return "a list of objects";
  }
}

/** The value as JSON, cut so that a mistake stays one line. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
