/**
 * The static site: GET and HEAD for the files below one folder.
 *
 * Settings, `modules.http` of hrmr.json:
 *   root            the folder, absolute. The server sets it: `static_html` beside the modules folder.
 *   index           what a folder answers with. Default "index.html".
 *   notFound        the page for what is missing, a path below the folder. Default "404.html"; a line of text if there is none.
 *   cacheControl    the Cache-Control header. Default "no-cache": browsers ask each time and mostly get a 304, so an edit shows at once.
 *   cacheBytes      memory for files that are kept ready. In bytes. Default 33554432. 0 keeps none.
 *   cacheFileBytes  the largest file that is kept ready; larger ones are streamed. In bytes. Default 65536.
 *
 * What is asked for often costs one Map lookup, one stat and one Response. Links are followed as long as they stay in the folder;
 * names that begin with a dot are not served, but for `.well-known`.
 */
import { constants, accessSync, readFileSync, realpathSync, statSync, type Stats } from "node:fs";
import { isUtf8 } from "node:buffer";
import { open } from "node:fs/promises";
import { defineModule } from "hrmr";

type Settings = Record<string, unknown>;

interface Site {
  readonly root: string;
  readonly index: string;
  readonly notFound: string;
  readonly cacheControl: string;
  readonly cacheBytes: number;
  readonly cacheFileBytes: number;
  /** By decoded path, oldest first. */
  readonly cache: Map<string, Page>;
  cachedBytes: number;
}

/** A file as one stat saw it. */
interface Page {
  readonly path: string;
  readonly stats: Stats;
  /** RFC 9110 section 8.8.3: strong (size and mtime), weak while the file is so young that a second edit could have the same mtime. */
  readonly etag: string;
  readonly lastModified: string;
  /** Made once, so that a reply costs no more than its Response. Not to be changed. */
  readonly init: { readonly headers: Readonly<Record<string, string>> };
  /** null: streamed from the disk. Text is kept as a string, which the server can send in one write with the head. */
  readonly body: string | Buffer | null;
}

/** Younger than this, a file may change again without a new mtime (clocks of file systems tick at up to 2 s; 10 ms here). */
const SETTLE_MS = 1000;
const CHUNK_BYTES = 256 * 1024;
/** What a cached page takes besides its body, roughly: without it a million empty files would count as nothing. */
const PAGE_OVERHEAD_BYTES = 1024;
const STAT_OPTIONS = { throwIfNoEntry: false } as const;

export default defineModule<Site>({
  setup: (context) => openSite(context.config),
  routes: {
    "/": { description: "the files of static_html", fetch: (request, context) => answer(context.state, request) },
  },
});

function openSite(settings: Settings): Site {
  const root = text(settings, "root", "static_html");
  if (!stat(root)?.isDirectory()) {
    throw new Error(`The http module's folder ${root} does not exist.\nCreate it, or set modules.http.root in hrmr.json.`);
  }
  return {
    root,
    index: text(settings, "index", "index.html"),
    notFound: text(settings, "notFound", "404.html"),
    cacheControl: text(settings, "cacheControl", "no-cache"),
    cacheBytes: bytes(settings, "cacheBytes", 32 * 1024 * 1024),
    cacheFileBytes: bytes(settings, "cacheFileBytes", 64 * 1024),
    cache: new Map(),
    cachedBytes: 0,
  };
}

function text(settings: Settings, name: string, fallback: string): string {
  const value = settings[name] ?? fallback;
  if (typeof value !== "string" || value === "")
    throw new Error(`modules.http.${name} is not a text: ${JSON.stringify(value)}. Give it as "${fallback}".`);
  return value;
}

function bytes(settings: Settings, name: string, fallback: number): number {
  const value = settings[name] ?? fallback;
  if (typeof value !== "number" || !(value >= 0))
    throw new Error(`modules.http.${name} is not a number of bytes: ${JSON.stringify(value)}. Give it as ${fallback}.`);
  return value;
}

function answer(site: Site, request: Request): Response {
  const { method, url } = request;
  if (method !== "GET" && method !== "HEAD") return plain(405, `${method} is not possible here\n`, { allow: "GET, HEAD" });
  // Slicing costs a tenth of `new URL`. 8 is behind "http://" and inside "https://x".
  const begin = url.indexOf("/", 8);
  const query = url.indexOf("?", begin);
  let path = query < 0 ? url.slice(begin) : url.slice(begin, query);
  if (path.includes("%")) {
    const decoded = decode(path);
    if (decoded === null) return missing(site, method);
    path = decoded;
  }
  const cached = site.cache.get(path);
  if (cached !== undefined) {
    if (isSame(cached.stats, stat(cached.path))) return reply(cached, request, method);
    forget(site, path, cached);
  }
  const found = find(site, path);
  if (found === null) return missing(site, method);
  if (typeof found === "string") {
    return plain(308, "", { location: query < 0 ? found : found + url.slice(query), "cache-control": site.cacheControl });
  }
  return reply(found, request, method);
}

/** One decoding only: what was encoded twice stays a literal "%2e". An encoded separator is no separator (RFC 3986 section 2.2): such a name cannot exist. */
function decode(path: string): string | null {
  if (/%(?:2f|5c|00)/i.test(path)) return null;
  try {
    return decodeURIComponent(path);
  } catch {
    return null;
  }
}

/** @returns the file's page, where to redirect to (a folder without its slash), or null */
function find(site: Site, path: string): Page | string | null {
  const names = segments(path);
  if (names === null) return null;
  const canonical = "/" + names.join("/");
  const last = path.slice(path.lastIndexOf("/") + 1);
  if (last !== "" && last !== "." && last !== "..") {
    const file = site.root + canonical;
    const stats = stat(file);
    // The path is built anew from its segments: "//evil.example" could not leave this host (CWE-601).
    if (stats?.isDirectory()) return isInside(site.root, file) ? `/${names.map(encodeURIComponent).join("/")}/` : null;
    return load(site, file, stats, canonical === path ? path : null);
  }
  const folder = names.length === 0 ? "/" : canonical + "/";
  const file = site.root + folder + site.index;
  return load(site, file, stat(file), folder === path ? path : null);
}

/** Resolves dot segments without ever rising above the root. null: a name that is never served. */
function segments(path: string): string[] | null {
  const names: string[] = [];
  for (const name of path.split("/")) {
    if (name === "" || name === ".") continue;
    if (name === "..") names.pop();
    else if ((name.startsWith(".") && name !== ".well-known") || /[\\\0]/.test(name)) return null;
    else names.push(name);
  }
  return names;
}

/** @param key  where to cache it; null for another spelling of the path, so that spellings cannot fill the cache */
function load(site: Site, path: string, stats: Stats | undefined, key: string | null): Page | null {
  // Pipes and devices would block the reader.
  if (!stats?.isFile() || !isInside(site.root, path)) return null;
  const isSmall = stats.size <= site.cacheFileBytes;
  let body: Page["body"] = null;
  try {
    if (isSmall) body = readFileSync(path);
    else accessSync(path, constants.R_OK);
  } catch {
    return null;
  }
  const type = contentType(path);
  if (body !== null && type.endsWith("charset=utf-8") && isUtf8(body)) body = body.toString();
  const isSettled = Date.now() - stats.mtimeMs > SETTLE_MS;
  const page = describe(site, path, stats, type, body, isSettled);
  if (isSmall && isSettled && key !== null) keep(site, key, page);
  return page;
}

function describe(site: Site, path: string, stats: Stats, type: string, body: Page["body"], isSettled: boolean): Page {
  const strong = `"${stats.size.toString(16)}-${Math.round(stats.mtimeMs * 1000).toString(16)}"`;
  const etag = isSettled ? strong : `W/${strong}`;
  // Not later than now: RFC 9110 section 8.8.2.1.
  const lastModified = new Date(Math.min(stats.mtimeMs, Date.now())).toUTCString();
  // Frozen, so that the server may remember what it made of them.
  const headers = Object.freeze({
    "content-type": type,
    etag,
    "last-modified": lastModified,
    "accept-ranges": "bytes",
    "cache-control": site.cacheControl,
    "x-content-type-options": "nosniff",
  });
  return { path, stats, etag, lastModified, init: { headers }, body };
}

function keep(site: Site, key: string, page: Page): void {
  const cost = page.stats.size + PAGE_OVERHEAD_BYTES;
  if (cost > site.cacheBytes) return;
  for (const [oldest, old] of site.cache) {
    if (site.cachedBytes + cost <= site.cacheBytes) break;
    forget(site, oldest, old);
  }
  site.cache.set(key, page);
  site.cachedBytes += cost;
}

function forget(site: Site, key: string, page: Page): void {
  if (site.cache.delete(key)) site.cachedBytes -= page.stats.size + PAGE_OVERHEAD_BYTES;
}

/** The status of a conditional or a range request (RFC 9110 section 13.2.2 gives the order of these tests), else the whole file. */
function reply(page: Page, request: Request, method: string): Response {
  const { headers } = request;
  const wanted = headers.get("if-match");
  const unmodified = headers.get("if-unmodified-since");
  if (wanted !== null) {
    if (!matches(wanted, page.etag, true)) return plain(412, "");
  } else if (unmodified !== null && seconds(page.lastModified) > seconds(unmodified)) {
    return plain(412, "");
  }
  const known = headers.get("if-none-match");
  const since = headers.get("if-modified-since");
  if (known === null ? since !== null && isCurrent(page, since) : matches(known, page.etag, false)) return notModified(page);
  if (method === "HEAD") return withLength(page, null, 200, page.stats.size);
  const range = headers.get("range");
  if (range !== null) {
    const partial = rangeReply(page, range, headers.get("if-range"));
    if (partial !== null) return partial;
  }
  if (page.body !== null) return new Response(page.body, page.init);
  return withLength(page, stream(page, 0, page.stats.size), 200, page.stats.size);
}

/** A list of entity tags, or `*`. Strong comparison takes no weak tag (RFC 9110 section 8.8.3.2). */
function matches(list: string, etag: string, isStrong: boolean): boolean {
  if (list.trim() === "*") return true;
  const opaque = etag.replace(/^W\//, "");
  if (isStrong && opaque !== etag) return false;
  for (const [tag] of list.matchAll(/(?:W\/)?"[^"]*"/g)) {
    if (tag === opaque || (!isStrong && tag === `W/${opaque}`)) return true;
  }
  return false;
}

function isCurrent(page: Page, since: string): boolean {
  return since === page.lastModified || seconds(page.lastModified) <= seconds(since);
}

/** The three forms of RFC 9110 section 5.6.7. NaN for anything else, with which every comparison is false: the header is ignored. */
function seconds(date: string): number {
  if (/^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}$/.test(date)) return Date.parse(`${date} GMT`);
  return /^\w+, .* GMT$/.test(date) ? Date.parse(date) : Number.NaN;
}

function notModified(page: Page): Response {
  const headers = { etag: page.etag, "last-modified": page.lastModified, "cache-control": page.init.headers["cache-control"] ?? "" };
  return new Response(null, { status: 304, headers });
}

/** @returns 206 or 416; null if the whole file is the answer: several ranges, another unit, bad syntax, a changed file (RFC 9110 section 14.2) */
function rangeReply(page: Page, range: string, condition: string | null): Response | null {
  const { size } = page.stats;
  const match = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(range);
  if (match === null || size === 0) return null;
  const isSameFile = condition === null || condition === page.lastModified || condition === page.etag;
  // A weak tag, or a date that is as young as the file, does not prove that the parts belong together (RFC 9110 section 13.1.5).
  if (!isSameFile || (condition !== null && page.etag.startsWith("W/"))) return null;
  const [, first = "", last = ""] = match;
  if (first === "" && last === "") return null;
  if (first !== "" && last !== "" && Number(last) < Number(first)) return null;
  const start = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  if (start >= size) return plain(416, "", { "content-range": `bytes */${size}` });
  const end = first === "" || last === "" ? size : Math.min(size, Number(last) + 1);
  const body = page.body === null ? stream(page, start, end) : toBytes(page.body).subarray(start, end);
  return withLength(page, body, 206, end - start, { "content-range": `bytes ${start}-${end - 1}/${size}` });
}

function toBytes(body: string | Buffer): Buffer {
  return typeof body === "string" ? Buffer.from(body) : body;
}

function withLength(page: Page, body: ConstructorParameters<typeof Response>[0], status: number, length: number, more?: Record<string, string>): Response {
  return new Response(body, { status, headers: { ...page.init.headers, "content-length": String(length), ...more } });
}

/** The bytes from `start` to before `end`. The file is opened at the first read and closed at the end, on an error and on cancel. */
function stream(page: Page, start: number, end: number): ReadableStream<Uint8Array> {
  const chunks = read(page, start, end);
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await chunks.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      // Waits for a read under way, then runs the generator's `finally`.
      async cancel() {
        await chunks.return();
      },
    },
    { highWaterMark: 0 },
  );
}

async function* read(page: Page, start: number, end: number): AsyncGenerator<Uint8Array, void> {
  const file = await open(page.path);
  try {
    if (!isSame(page.stats, await file.stat())) throw new Error(`${page.path} was changed while it was about to be sent.`);
    for (let position = start; position < end;) {
      // A new buffer each time: the one before may still wait to be sent.
      const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, end - position));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
      // The promised length can no longer be kept. Only a broken connection tells the client so.
      if (bytesRead === 0) throw new Error(`${page.path} was cut short while it was being sent: ${position} of ${end} bytes were there.`);
      position += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

function missing(site: Site, method: string): Response {
  const page = find(site, "/" + site.notFound);
  if (page === null || typeof page === "string") return plain(404, "Not found\n");
  const headers = {
    "content-type": contentType(page.path),
    "content-length": String(page.stats.size),
    "cache-control": site.cacheControl,
    "x-content-type-options": "nosniff",
  };
  const body = method === "HEAD" ? null : (page.body ?? stream(page, 0, page.stats.size));
  return new Response(body, { status: 404, headers });
}

function plain(status: number, body: string, headers: Record<string, string> = {}): Response {
  return new Response(body, {
    status,
    headers: { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff", ...headers },
  });
}

/** Whether `path` is in the folder once all links are resolved. The folder is resolved too, each time: it may be a link to the current release. */
function isInside(root: string, path: string): boolean {
  try {
    const folder = realpathSync(root);
    const real = realpathSync(path);
    return real === folder || real.startsWith(folder.endsWith("/") ? folder : folder + "/");
  } catch {
    return false;
  }
}

/** undefined for whatever cannot be had: absent, a file in place of a folder, a name that is too long, no permission. */
function stat(path: string): Stats | undefined {
  try {
    return statSync(path, STAT_OPTIONS);
  } catch {
    return undefined;
  }
}

/** ctime as well: mtime can be set back. The inode and device: a link may point elsewhere now. */
function isSame(known: Stats, now: Stats | undefined): boolean {
  return (
    now !== undefined &&
    now.mtimeMs === known.mtimeMs &&
    now.ctimeMs === known.ctimeMs &&
    now.size === known.size &&
    now.ino === known.ino &&
    now.dev === known.dev
  );
}

function contentType(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const dot = name.lastIndexOf(".");
  const type = dot < 0 ? undefined : TYPES.get(name.slice(dot + 1).toLowerCase());
  if (type === undefined) return "application/octet-stream";
  return TEXT.test(type) ? `${type}; charset=utf-8` : type;
}

const TEXT = /^text\/|[/+]xml$|[/+]json$|^application\/javascript$/;

const TYPES = new Map<string, string>(
  Object.entries({
    html: "text/html",
    htm: "text/html",
    css: "text/css",
    js: "text/javascript",
    mjs: "text/javascript",
    txt: "text/plain",
    log: "text/plain",
    md: "text/markdown",
    csv: "text/csv",
    ics: "text/calendar",
    vtt: "text/vtt",
    json: "application/json",
    map: "application/json",
    jsonld: "application/ld+json",
    webmanifest: "application/manifest+json",
    xml: "application/xml",
    rss: "application/rss+xml",
    atom: "application/atom+xml",
    svg: "image/svg+xml",
    png: "image/png",
    jpg: "image/jpeg",
    jpeg: "image/jpeg",
    gif: "image/gif",
    webp: "image/webp",
    avif: "image/avif",
    ico: "image/x-icon",
    bmp: "image/bmp",
    woff: "font/woff",
    woff2: "font/woff2",
    ttf: "font/ttf",
    otf: "font/otf",
    mp3: "audio/mpeg",
    m4a: "audio/mp4",
    ogg: "audio/ogg",
    opus: "audio/ogg",
    wav: "audio/wav",
    flac: "audio/flac",
    mp4: "video/mp4",
    webm: "video/webm",
    mov: "video/quicktime",
    pdf: "application/pdf",
    wasm: "application/wasm",
    zip: "application/zip",
    gz: "application/gzip",
    tar: "application/x-tar",
    epub: "application/epub+zip",
  }),
);
