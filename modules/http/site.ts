/** The folder, and its files that are kept in memory. */
import { isUtf8 } from "node:buffer";
import type { Stats } from "node:fs";
import { type Entry, factsOf, isSame, openInside, stat, type FileFacts } from "./disk";
import { FILE, FilePiece } from "./file-body";
import { encodeName } from "./names";
import { meansFolder, segments } from "./paths";
import { cacheControlOf, type Settings } from "./settings";
import { contentCoding, contentType, isCompressible } from "./types";

/** The supported content codings (RFC 9110 section 8.4.1, RFC 7932, RFC 8878). */
export type Coding = "br" | "zstd" | "gzip";

/**
 * A page's last look at the disk. While a page is asked for again and again, one look serves all requests of the next
 * millisecond: a reply is then at most that far behind the disk, less than a request's way here. Fewer requests have a
 * look each.
 */
export interface Look {
  /** The first of this millisecond, by performance.now(). In milliseconds. */
  at: number;
  /** Requests since then, that one included. */
  asked: number;
  /** Until then no request needs another look. By performance.now(), in milliseconds. 0: each needs one. */
  until: number;
}

/**
 * The mark on an init for the server: until `Look.until`, the same request gets the same reply, and the server may
 * repeat it without asking this module.
 */
const REPEATABLE = Symbol.for("hrmr.repeatable");

export interface Site {
  readonly settings: Settings;
  /** By decoded path, oldest first. */
  readonly cache: Map<string, Page>;
  cachedBytes: number;
}

/** One representation of a file: unchanged, or in one coding. */
export interface Form {
  /** The file that holds its bytes; for a form compressed here, the original file. */
  readonly path: string;
  /** The stat of that file. */
  readonly facts: FileFacts;
  /** The length of its bytes. */
  readonly bytes: number;
  readonly type: string;
  /**
   * RFC 9110 section 8.8.3: strong (size and mtime), weak while the file is so young that a second edit could have the
   * same mtime.
   */
  readonly etag: string;
  readonly lastModified: string;
  /** Made once and frozen, so that the server may cache its header lines: a reply costs no more than its Response. */
  readonly init: {
    readonly headers: Readonly<Record<string, string>>;
    readonly [REPEATABLE]: Look;
    readonly [FILE]: FilePiece | undefined;
  };
  /**
   * null: streamed from the disk. Short text is a string, which the server sends in one write with the head; a Blob's
   * bytes are never copied.
   */
  readonly body: string | Blob | null;
}

/** A file with all the forms it can be sent in. */
export interface Page {
  /** Its key in the cache; null if it is not kept. */
  readonly key: string | null;
  /** Below the root, with its slash: "/assets/app.js". */
  readonly name: string;
  readonly look: Look;
  plain: Form;
  /** The Vary header: what a reply depends on besides the path. "" for nothing. */
  vary: string;
  readonly isCompressible: boolean;
  /** Compressed files beside it, as found by the last look. */
  siblings: ReadonlyMap<Coding, FileFacts>;
  /** Date.now() of that look. */
  siblingsSeenAt: number;
  /** The forms of siblings that were requested. */
  readonly siblingForms: Map<Coding, Form>;
  /** Compressed here. null: not worth it. */
  readonly packed: Map<Coding, Form | null | Promise<Form | null>>;
  /** The memory that it counts for. In bytes. */
  cost: number;
}

/**
 * Younger than this, a file may change again without a new mtime (clocks of file systems tick at up to 2 s; 10 ms
 * here).
 */
const SETTLE_MS = 1000;
/** Memory of a page besides its bodies, roughly. Without it, a million empty files would count as nothing. In bytes. */
const PAGE_OVERHEAD_BYTES = 1024;
/** How long one look at the disk may serve. In milliseconds. */
const LOOK_MS = 1;
/**
 * From this request of a millisecond on, its look serves the next millisecond. One client that changes a file and asks
 * for it, turn by turn, is slower: it always gets its change.
 */
const HOT_REQUESTS = 6;
/** This many for one look are enough to go on so. */
const WARM_REQUESTS = 3;
const NO_SIBLINGS: ReadonlyMap<Coding, FileFacts> = new Map();
/** Longer texts cost less as a Blob: a Response copies its string. */
const MAX_STRING_BYTES = 16_384;
const FALLBACK_KEY = "\0fallback";

export function openSite(settings: Settings): Site {
  if (!stat(settings.root)?.isDirectory()) {
    throw new Error(
      `The http module's folder ${settings.root} does not exist.\nCreate it, or set modules.http.root in hrmr.json.`,
    );
  }
  return { settings, cache: new Map(), cachedBytes: 0 };
}

/** @returns the page that is kept for a path, if its file is unchanged */
export function cachedPage(site: Site, key: string): Page | undefined {
  const page = site.cache.get(key);
  if (page === undefined || !needsLook(page.look, performance.now())) return page;
  if (isSame(page.plain.facts, stat(page.plain.path))) return page;
  forget(site, page);
  return undefined;
}

/**
 * Counts a request.
 *
 * @param now  by performance.now()
 * @returns false if the last look serves for this request, too
 */
export function needsLook(look: Look, now: number): boolean {
  look.asked++;
  if (now < look.until) return false;
  if (now - look.at < LOOK_MS) {
    if (look.asked >= HOT_REQUESTS) look.until = now + LOOK_MS;
    return true;
  }
  const goesOn = look.asked > WARM_REQUESTS && now - look.until < LOOK_MS;
  look.until = goesOn ? now + LOOK_MS : 0;
  look.at = now;
  look.asked = 1;
  return true;
}

/** The target of a path. `folder`: it exists, and has no index. */
export type Found = { page: Page } | { redirect: string } | { folder: string; name: string } | null;

/** @param path  decoded; its spelling does not matter */
export function find(site: Site, path: string): Found {
  const names = segments(path);
  if (names === null) return null;
  const { root, index } = site.settings;
  const name = `/${names.join("/")}`;
  if (!meansFolder(path)) {
    const file = root + name;
    const stats = stat(file);
    // The path is built again from its segments, so that "//evil.example" cannot lead to another host (CWE-601).
    if (stats?.isDirectory()) return isFolder(root, file) ? { redirect: `/${names.map(encodeName).join("/")}/` } : null;
    return pageAt(site, name, name, file, stats);
  }
  const folder = names.length === 0 ? "/" : `${name}/`;
  const file = root + folder + index;
  const found = pageAt(site, folder, folder + index, file, stat(file));
  if (found !== null) return found;
  return isFolder(root, root + folder) ? { folder: root + folder, name: folder } : null;
}

function isFolder(root: string, path: string): boolean {
  using entry = openInside(root, path);
  return entry !== null && entry.stats.isDirectory();
}

/**
 * The page in `fallback`. It is kept apart from the same file under its own path, since its replies depend on Accept.
 */
export function fallbackPage(site: Site): Page | null {
  const kept = cachedPage(site, FALLBACK_KEY);
  if (kept !== undefined) return kept;
  const names = segments(site.settings.fallback);
  if (names === null) return null;
  const name = `/${names.join("/")}`;
  return load(site, FALLBACK_KEY, name, site.settings.root + name, stat(site.settings.root + name), "Accept");
}

function pageAt(site: Site, key: string, name: string, file: string, stats: Stats | undefined): Found {
  // Another spelling of a kept path gets that page, so that spellings cannot fill the cache.
  const kept = site.cache.get(key);
  if (kept !== undefined && isSame(kept.plain.facts, stats)) return { page: kept };
  const page = load(site, key, name, file, stats, "");
  return page === null ? null : { page };
}

/** @param seen the stat of the path; undefined: it does not exist. It may be out of date. */
function load(site: Site, key: string, name: string, path: string, seen: Stats | undefined, vary: string): Page | null {
  const { settings } = site;
  if (!seen?.isFile()) return null;
  using entry = openInside(settings.root, path);
  // Pipes and devices would block the reader.
  if (entry === null || !entry.stats.isFile()) return null;
  const { stats } = entry;
  const type = contentType(path);
  const body = readBody(settings, entry, type);
  if (body === undefined) return null;
  const mayPack = settings.compress === true && contentCoding(path) === null && isCompressible(type);
  const isWorthIt = mayPack && stats.size >= settings.compressMinBytes && stats.size <= settings.compressMaxBytes;
  const dependsOn = isWorthIt ? joinNames(vary, "Accept-Encoding") : vary;
  const facts = factsOf(stats);
  const look: Look = { at: 0, asked: 0, until: 0 };
  const plain = describe(settings, { path, facts, name, type, body, vary: dependsOn, coding: null, look });
  const isKept = isSettled(facts) && PAGE_OVERHEAD_BYTES + sizeInMemory(body) <= settings.cacheBytes;
  const page: Page = {
    key: isKept ? key : null,
    name,
    look,
    plain,
    vary: dependsOn,
    isCompressible: isWorthIt,
    siblings: NO_SIBLINGS,
    siblingsSeenAt: 0,
    siblingForms: new Map(),
    packed: new Map(),
    cost: 0,
  };
  if (isKept) keep(site, key, page);
  return page;
}

/** @returns null if it is streamed; undefined if it cannot be read */
export function readBody(settings: Settings, entry: Entry, type: string): Form["body"] | undefined {
  const { size } = entry.stats;
  if (size > settings.cacheFileBytes) return entry.isReadable() ? null : undefined;
  const body = entry.read();
  if (body === null) return undefined;
  return size <= MAX_STRING_BYTES && type.endsWith("charset=utf-8") && isUtf8(body)
    ? body.toString()
    : new Blob([body]);
}

/** The source of a form. */
interface FormSource {
  readonly path: string;
  readonly facts: FileFacts;
  /** The page's name. It decides about Cache-Control for all forms. */
  readonly name: string;
  readonly type: string;
  readonly body: Form["body"];
  readonly vary: string;
  /** The negotiated coding; null: none, the file unchanged. */
  readonly coding: Coding | null;
  /** The page's. */
  readonly look: Look;
  /** Default: the file's size. */
  readonly bytes?: number;
}

export function describe(settings: Settings, source: FormSource): Form {
  const { path, facts, name, type, body, vary, coding, look } = source;
  const etag = etagOf(facts, coding);
  // Not later than now: RFC 9110 section 8.8.2.1.
  const lastModified = new Date(Math.min(facts.mtimeMs, Date.now())).toUTCString();
  const headers: Record<string, string> = { "content-type": type, etag, "last-modified": lastModified };
  headers["cache-control"] = cacheControlOf(settings, name);
  headers["x-content-type-options"] = "nosniff";
  if (vary !== "") headers["vary"] = vary;
  // Only the plain form has ranges, so that a client never combines parts of two codings.
  if (coding === null) headers["accept-ranges"] = "bytes";
  const sentAs = coding ?? contentCoding(path);
  if (sentAs !== null) headers["content-encoding"] = sentAs;
  const bytes = source.bytes ?? facts.size;
  // Text that is compressed here has no file of its own.
  const file = source.bytes === undefined ? new FilePiece(path, facts, 0, bytes) : undefined;
  return {
    path,
    facts,
    bytes,
    type,
    etag,
    lastModified,
    init: Object.freeze({ headers: Object.freeze(headers), [REPEATABLE]: look, [FILE]: file }),
    body,
  };
}

function etagOf(facts: FileFacts, coding: Coding | null): string {
  const version = `${facts.size.toString(16)}-${Math.round(facts.mtimeMs * 1000).toString(16)}`;
  const strong = coding === null ? `"${version}"` : `"${version}-${coding}"`;
  return isSettled(facts) ? strong : `W/${strong}`;
}

/** From now on replies depend on Accept-Encoding: a compressed file has appeared beside it. */
export function makeNegotiated(site: Site, page: Page): void {
  if (page.vary.includes("Accept-Encoding")) return;
  page.vary = joinNames(page.vary, "Accept-Encoding");
  const { path, facts, type, body } = page.plain;
  const { name, vary, look } = page;
  page.plain = describe(site.settings, { path, facts, name, type, body, vary, coding: null, look });
}

function joinNames(first: string, second: string): string {
  return first === "" ? second : `${first}, ${second}`;
}

function isSettled(facts: FileFacts): boolean {
  return Date.now() - facts.mtimeMs > SETTLE_MS;
}

export function isKept(site: Site, page: Page): boolean {
  return page.key !== null && site.cache.get(page.key) === page;
}

/**
 * Counts more memory for a page that is kept, and makes room for it. @returns false if the whole cache is too small for
 * it
 */
export function charge(site: Site, page: Page, bytes: number): boolean {
  if (page.cost + bytes > site.settings.cacheBytes) return false;
  for (const oldest of site.cache.values()) {
    if (site.cachedBytes + bytes <= site.settings.cacheBytes) break;
    if (oldest !== page) forget(site, oldest);
  }
  page.cost += bytes;
  site.cachedBytes += bytes;
  return true;
}

function keep(site: Site, key: string, page: Page): void {
  const former = site.cache.get(key);
  if (former !== undefined) forget(site, former);
  if (charge(site, page, PAGE_OVERHEAD_BYTES + sizeInMemory(page.plain.body))) site.cache.set(key, page);
}

function forget(site: Site, page: Page): void {
  if (page.key !== null && site.cache.delete(page.key)) site.cachedBytes -= page.cost;
}

/**
 * In bytes. Twice its length: the server also keeps frequent replies as one message, and a letter of a string may take
 * two bytes.
 */
export function sizeInMemory(body: Form["body"]): number {
  if (body === null) return 0;
  return 2 * (typeof body === "string" ? body.length : body.size);
}
