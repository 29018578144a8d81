/** Reads the declarations of `hrmr_module`. */
import type { Framing } from "../contract";

export interface CRoute {
  readonly key: string;
  readonly isHttp: boolean;
  readonly framing: Framing;
  /** In milliseconds. 0: no limit. undefined: not declared. */
  readonly timeoutMs: number | undefined;
  readonly description: string;
  readonly hasHandler: boolean;
  readonly takesHttp: boolean;
}

const PARTS = 8;

/** @param text  for each route its parts, each ended by a 0 byte: see `hrmr__declared` */
export function readRoutes(text: string): CRoute[] {
  const parts = text.split("\0");
  const routes: CRoute[] = [];
  for (let at = 0; at + PARTS < parts.length; at += PARTS) {
    const [isHttp, framing, timeoutMs, offset, hasHandler, takesHttp, key = "", description = ""] = parts.slice(
      at,
      at + PARTS,
    );
    routes.push({
      key,
      isHttp: isHttp === "1",
      framing: readFraming(Number(framing), Number(offset)),
      timeoutMs: Number(timeoutMs) < 0 ? undefined : Number(timeoutMs),
      description,
      hasHandler: hasHandler === "1",
      takesHttp: takesHttp === "1",
    });
  }
  return routes;
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
