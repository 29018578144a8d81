/** Reads and checks `modules.http` of hrmr.json. index.ts lists all settings. */

import { shownName } from "./names";

/** The allowed compression: all, only sending the files beside a file, or none. */
export type Compress = true | false | "siblings";

/** One line of `cacheControl`. */
interface CacheRule {
  readonly glob: Bun.Glob;
  readonly value: string;
}

export interface Settings {
  readonly root: string;
  readonly index: string;
  readonly notFound: string;
  /** "" for none. */
  readonly fallback: string;
  readonly listing: boolean;
  readonly cacheControl: readonly CacheRule[];
  readonly cacheBytes: number;
  readonly cacheFileBytes: number;
  readonly compress: Compress;
  readonly compressMinBytes: number;
  readonly compressMaxBytes: number;
}

/** Browsers ask each time and mostly get a 304, so an edit shows at once. Replies about missing files carry it too. */
export const ASK_EACH_TIME = "no-cache";

/** @throws Error that names the setting and shows a right value */
export function readSettings(config: Record<string, unknown>): Settings {
  return {
    root: readText(config, "root", "static_html"),
    index: readText(config, "index", "index.html"),
    notFound: readText(config, "notFound", "404.html"),
    fallback: readFallback(config),
    listing: readFlag(config, "listing", false),
    cacheControl: readCacheControl(config["cacheControl"] ?? ASK_EACH_TIME),
    cacheBytes: readBytes(config, "cacheBytes", 32 * 1024 * 1024),
    cacheFileBytes: readBytes(config, "cacheFileBytes", 256 * 1024),
    compress: readCompress(config["compress"] ?? true),
    compressMinBytes: readBytes(config, "compressMinBytes", 1024),
    compressMaxBytes: readBytes(config, "compressMaxBytes", 4 * 1024 * 1024),
  };
}

/** @param path  of the file below the root: "/assets/app.js" */
export function cacheControlOf(settings: Settings, path: string): string {
  return settings.cacheControl.find((rule) => rule.glob.match(shownName(path)))?.value ?? ASK_EACH_TIME;
}

function refused(name: string, value: unknown, what: string, example: unknown): Error {
  return new Error(
    `modules.http.${name} is not ${what}: ${JSON.stringify(value)}.\nGive it as ${JSON.stringify(example)}.`,
  );
}

function readText(config: Record<string, unknown>, name: string, fallback: string): string {
  const value = config[name] ?? fallback;
  if (typeof value !== "string" || value === "") throw refused(name, value, "a text", fallback);
  return value;
}

function readFlag(config: Record<string, unknown>, name: string, fallback: boolean): boolean {
  const value = config[name] ?? fallback;
  if (typeof value !== "boolean") throw refused(name, value, "true or false", fallback);
  return value;
}

function readBytes(config: Record<string, unknown>, name: string, fallback: number): number {
  const value = config[name] ?? fallback;
  if (typeof value !== "number" || !(value >= 0)) throw refused(name, value, "a number of bytes", fallback);
  return value;
}

function readFallback(config: Record<string, unknown>): string {
  const value = config["fallback"] ?? "";
  if (value === "" || value === false) return "";
  if (typeof value !== "string") throw refused("fallback", value, "a path below the folder", "/index.html");
  return value.startsWith("/") ? value : `/${value}`;
}

function readCompress(value: unknown): Compress {
  if (typeof value === "boolean" || value === "siblings") return value;
  throw refused("compress", value, 'true, false or "siblings"', true);
}

function readCacheControl(value: unknown): CacheRule[] {
  if (typeof value === "string") return [cacheRule("**", value)];
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw refused("cacheControl", value, "a text, or an object of pattern and text", {
      "/assets/**": "public, max-age=31536000, immutable",
    });
  return Object.entries(value).map(([pattern, text]) => cacheRule(pattern, text));
}

function cacheRule(pattern: string, value: unknown): CacheRule {
  // A header value of one line (RFC 9110 section 5.5): checked here, and not by the first request.
  if (typeof value !== "string" || !/^[ -~]+$/.test(value))
    throw refused(`cacheControl[${JSON.stringify(pattern)}]`, value, "a text", ASK_EACH_TIME);
  // "*.css" matches at every depth, as in an ignore file; "assets/**" from the root.
  const anchored = pattern.startsWith("/") ? pattern : pattern.includes("/") ? `/${pattern}` : `/**/${pattern}`;
  return { glob: new Bun.Glob(anchored), value };
}
