/** Reads the declarations of `hrmr_module`. */
import type { Framing } from "../contract";

/** In the order of the enum in bridge.c. */
const KINDS = ["command", "http", "service", "event", "task", "websocket"] as const;

/** A route, a service, a handler of events, or a task. */
export interface CRoute {
  readonly kind: (typeof KINDS)[number];
  /** The key, name or pattern. */
  readonly key: string;
  /** Of a command. */
  readonly framing: Framing;
  /** In milliseconds. 0: no limit. undefined: not declared. */
  readonly timeoutMs: number | undefined;
  readonly description: string;
  readonly hasHandler: boolean;
  readonly takesHttp: boolean;
  readonly isPublic: boolean;
  readonly isMcpTool: boolean;
  readonly catchUp: boolean;
  /** Of a service: the schemas of its input and its result. Of a task: its times, and their zone. "": none. */
  readonly texts: readonly [string, string];
}

const PARTS = 10;
/** Bits of `flags` in bridge.c. */
const TAKES_HTTP = 1;
const PUBLIC = 2;
const MCP = 4;
const CATCH_UP = 8;

/** @param text  for each route its parts, each ended by a 0 byte: see `hrmr__declared` */
export function readRoutes(text: string): CRoute[] {
  const parts = text.split("\0");
  const routes: CRoute[] = [];
  for (let at = 0; at + PARTS < parts.length; at += PARTS) routes.push(readRoute(parts.slice(at, at + PARTS)));
  return routes;
}

function readRoute(parts: readonly string[]): CRoute {
  const [kind = 0, framing = 0, timeoutMs = 0, offset = 0, hasHandler, flags = 0] = parts.slice(0, 6).map(Number);
  const [key = "", description = "", first = "", second = ""] = parts.slice(6);
  return {
    kind: KINDS[kind] ?? "command",
    key,
    framing: readFraming(framing, offset),
    timeoutMs: timeoutMs < 0 ? undefined : timeoutMs,
    description,
    hasHandler: hasHandler === 1,
    takesHttp: (flags & TAKES_HTTP) !== 0,
    isPublic: (flags & PUBLIC) !== 0,
    isMcpTool: (flags & MCP) !== 0,
    catchUp: (flags & CATCH_UP) !== 0,
    texts: [first, second],
  };
}

/** @returns the function of hrmr.h that was called for a route of a kind that it does not fit; null: none */
export function misuseOf({ kind, takesHttp, isPublic, isMcpTool, catchUp, timeoutMs, texts }: CRoute): string | null {
  if (takesHttp && kind !== "command") return "hrmr_takes_http";
  if (isPublic && kind !== "service") return "hrmr_public";
  if (isMcpTool && kind !== "service") return "hrmr_mcp";
  if (catchUp && kind !== "task") return "hrmr_catch_up";
  if (timeoutMs !== undefined && kind === "event") return "hrmr_timeout";
  if (texts[0] !== "" && kind !== "service" && kind !== "task") return "hrmr_schema";
  if (texts[1] !== "" && kind !== "service" && kind !== "task") return "hrmr_time_zone";
  return null;
}

/** Flags of a length prefix, as in hrmr.h. */
const LITTLE_ENDIAN = 4;
const INCLUDES_PREFIX = 8;

/** @param framing as hrmr.h makes it: 0, 1, or a length prefix with its flags; the shape's check refuses wrong sizes */
function readFraming(framing: number, offset: number): Framing {
  if (framing === 0) return "chunk";
  if (framing === 1) return "line";
  return {
    length: {
      prefixBytes: (framing >> 8) as 1 | 2 | 4 | 8,
      endian: (framing & LITTLE_ENDIAN) === 0 ? "big" : "little",
      includesPrefix: (framing & INCLUDES_PREFIX) !== 0,
      ...(offset < 0 ? null : { offset }),
    },
  };
}
