/** Media types by extension. */

/** For a file's name or path; bytes for what is unknown. */
export function contentType(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const dot = name.lastIndexOf(".");
  const type = dot < 0 ? undefined : TYPES.get(name.slice(dot + 1).toLowerCase());
  if (type === undefined) return "application/octet-stream";
  return TEXT.test(type) ? `${type}; charset=utf-8` : type;
}

/** Whether compressing files of this type is worth it: pictures, films and archives are compressed already. */
export function isCompressible(type: string): boolean {
  return type.endsWith("charset=utf-8") || COMPRESSIBLE.has(type);
}

const TEXT = /^text\/|[/+]xml$|[/+]json$|^application\/javascript$/;
const COMPRESSIBLE = new Set(["application/wasm", "font/ttf", "font/otf", "image/bmp", "image/x-icon"]);

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
    zst: "application/zstd",
    tar: "application/x-tar",
    epub: "application/epub+zip",
  }),
);
