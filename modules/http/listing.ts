/** A page that lists a folder, for `listing: true`. */
import { readdirSync } from "node:fs";
import { openInside, type Entry } from "./disk";
import { encodeName, nameOf, shownName } from "./names";
import { isHidden } from "./paths";
import { plainReply } from "./reply";
import { ASK_EACH_TIME } from "./settings";
import type { Site } from "./site";

/** Each entry costs a look at the disk. Beyond this the page says that there are more. */
const MAX_ENTRIES = 2000;

interface Row {
  readonly name: string;
  readonly isFolder: boolean;
  readonly bytes: number;
}

/**
 * @param folder  on the disk
 * @param name  its path in URLs, decoded: "/docs/"
 */
export function listFolder(site: Site, folder: string, name: string, method: string): Response {
  const { root } = site.settings;
  using opened = openInside(root, folder);
  const names = opened === null ? null : namesIn(opened);
  if (opened === null || names === null) return plainReply(403, "This folder cannot be read\n");
  const shown = names.filter((each) => !isHidden(each) && !each.startsWith("."));
  shown.sort((a, b) => (a < b ? -1 : 1));
  const rows = shown.slice(0, MAX_ENTRIES).flatMap((each) => look(root, opened, each));
  const html = render(name, rows, shown.length - MAX_ENTRIES);
  const headers = {
    "content-type": "text/html; charset=utf-8",
    "content-length": String(Buffer.byteLength(html)),
    "cache-control": ASK_EACH_TIME,
    "x-content-type-options": "nosniff",
    // Even a name that escaped the escaping could not run a script.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
  };
  return new Response(method === "HEAD" ? null : html, { headers });
}

/** @returns null if it is no folder, or cannot be read */
function namesIn(folder: Entry): string[] | null {
  try {
    return readdirSync(folder.path, { encoding: "buffer" }).map(nameOf);
  } catch {
    return null;
  }
}

/** @returns an empty list for entries that are not served: pipes, devices, links that lead out of the root */
function look(root: string, folder: Entry, name: string): Row[] {
  using entry = folder.below(root, name);
  if (entry === null || !(entry.stats.isFile() || entry.stats.isDirectory())) return [];
  return [{ name, isFolder: entry.stats.isDirectory(), bytes: entry.stats.size }];
}

function render(name: string, entries: readonly Row[], missing: number): string {
  const title = `Index of ${Bun.escapeHTML(shownName(name))}`;
  const up = name === "/" ? "" : row("../", "../", "");
  const rows = entries.map((entry) => {
    const slash = entry.isFolder ? "/" : "";
    // Without "./", a name like "a:b" would be read as a complete URL.
    return row(
      `./${encodeName(entry.name)}${slash}`,
      Bun.escapeHTML(shownName(entry.name)) + slash,
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
