/** A page that lists a folder, for `listing: true`. */
import { readdirSync, type Dirent } from "node:fs";
import { join } from "node:path";
import { isInside, stat } from "./disk";
import { isHidden } from "./paths";
import { plainReply } from "./reply";
import { ASK_EACH_TIME } from "./settings";
import type { Site } from "./site";

/** Each entry costs a look at the disk. Beyond this the page says that there are more. */
const MAX_ENTRIES = 2000;

interface Entry {
  readonly name: string;
  readonly isFolder: boolean;
  readonly bytes: number;
}

/**
 * @param folder  on the disk
 * @param name  its path in URLs, decoded: "/docs/"
 */
export function listFolder(site: Site, folder: string, name: string, method: string): Response {
  let dirents: Dirent[];
  try {
    dirents = readdirSync(folder, { withFileTypes: true });
  } catch {
    return plainReply(403, "This folder cannot be read\n");
  }
  const shown = dirents.filter((dirent) => !isHidden(dirent.name) && !dirent.name.startsWith("."));
  shown.sort((a, b) => (a.name < b.name ? -1 : 1));
  const entries = shown.slice(0, MAX_ENTRIES).flatMap((dirent) => look(site, folder, dirent));
  const html = render(name, entries, shown.length - MAX_ENTRIES);
  const headers = {
    "content-type": "text/html; charset=utf-8",
    "content-length": String(Buffer.byteLength(html)),
    "cache-control": ASK_EACH_TIME,
    "x-content-type-options": "nosniff",
    // A name that got past the escaping still could not run anything.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
  };
  return new Response(method === "HEAD" ? null : html, { headers });
}

/** @returns nothing for what would not be served: pipes, devices, links that lead out of the root */
function look(site: Site, folder: string, dirent: Dirent): Entry[] {
  const path = join(folder, dirent.name);
  if (dirent.isSymbolicLink() && !isInside(site.settings.root, path)) return [];
  const stats = stat(path);
  if (stats === undefined || !(stats.isFile() || stats.isDirectory())) return [];
  return [{ name: dirent.name, isFolder: stats.isDirectory(), bytes: stats.size }];
}

function render(name: string, entries: readonly Entry[], missing: number): string {
  const title = `Index of ${Bun.escapeHTML(name)}`;
  const up = name === "/" ? "" : row("../", "../", "");
  const rows = entries.map((entry) => {
    const slash = entry.isFolder ? "/" : "";
    // "./" keeps a name like "a:b" from being read as a URL of its own.
    return row(
      `./${encodeURIComponent(entry.name)}${slash}`,
      Bun.escapeHTML(entry.name) + slash,
      entry.isFolder ? "" : String(entry.bytes),
    );
  });
  const more = missing > 0 ? `<p>${missing} more are not shown.</p>\n` : "";
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;margin:2rem}td+td{text-align:right;padding-left:2rem}</style>
<h1>${title}</h1>
<table>
${up}${rows.join("")}</table>
${more}</html>
`;
}

/** @param text  escaped */
function row(href: string, text: string, bytes: string): string {
  return `<tr><td><a href="${href}">${text}</a></td><td>${bytes}</td></tr>\n`;
}
