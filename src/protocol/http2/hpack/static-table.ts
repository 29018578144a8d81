/** The static table of HPACK (RFC 7541 appendix A). */

const LINES =
  ":authority|:method: GET|:method: POST|:path: /|:path: /index.html|:scheme: http|:scheme: https|:status: 200|" +
  ":status: 204|:status: 206|:status: 304|:status: 400|:status: 404|:status: 500|accept-charset|" +
  "accept-encoding: gzip, deflate|accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|" +
  "authorization|cache-control|content-disposition|content-encoding|content-language|content-length|" +
  "content-location|content-range|content-type|cookie|date|etag|expect|expires|from|host|if-match|" +
  "if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|link|location|max-forwards|" +
  "proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|server|set-cookie|" +
  "strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate";

const fields = LINES.split("|").map((line) => {
  const at = line.indexOf(": ");
  return at < 0 ? { name: line, value: "" } : { name: line.slice(0, at), value: line.slice(at + 2) };
});

/** Index 0 is unused: the first entry has index 1 (RFC 7541 section 2.3.3). */
export const STATIC_NAMES: readonly string[] = ["", ...fields.map(({ name }) => name)];
/** The same for the values; "" where an entry has none. */
export const STATIC_VALUES: readonly string[] = ["", ...fields.map(({ value }) => value)];
/** The number of entries. The dynamic table's newest entry has the index behind it. */
export const STATIC_ENTRIES: number = fields.length;

/** The first index of each name. */
export const STATIC_INDEX: ReadonlyMap<string, number> = new Map(
  STATIC_NAMES.flatMap((name, index): [string, number][] =>
    index > 0 && STATIC_NAMES.indexOf(name) === index ? [[name, index]] : [],
  ),
);
