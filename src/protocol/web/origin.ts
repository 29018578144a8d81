/**
 * Whether a request comes from a page of another site. A page can make a browser on this machine send requests here,
 * also under a name that leads to this machine (DNS rebinding). The client's address does not show that; Host and
 * Origin do.
 */

/** With or without a port. Browsers write addresses in this form, and lead all names below localhost to loopback. */
const LOCAL_HOST = /^(?:(?:[\w-]+\.)*localhost\.?|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(?::\d*)?$/i;

/**
 * Whether a request's host is a name of this machine: localhost, a name below it, 127.0.0.0/8, [::1], or one of
 * `names`.
 *
 * @param host   with an optional port, as in the Host field
 * @param names  `http.localNames`: without a port, in any case
 */
export function isLocalHost(host: string, names: readonly string[]): boolean {
  if (LOCAL_HOST.test(host)) return true;
  const name = bareName(host.replace(/:\d*$/, ""));
  return names.some((each) => bareName(each) === name);
}

function bareName(name: string): string {
  return name.toLowerCase().replace(/\.$/, "");
}

/**
 * Whether a request was made by a page of another origin (RFC 6454 section 7). "null", which sandboxed pages send, is
 * another one.
 *
 * @param origin  the Origin field; null: there is none. Programs send none, and browsers none with a page's own plain
 *   GET
 * @param host    the request's own host and port. A missing port is the default of the page's scheme. Schemes are not
 *   compared: a proxy that ends TLS in front of this server changes the scheme
 */
export function isForeignOrigin(origin: string | null, host: string): boolean {
  if (origin === null) return false;
  const page = /^https?:\/\/[^/?#@\s]+$/i.test(origin) ? URL.parse(origin) : null;
  return page === null || URL.parse(`${page.protocol}//${host}`)?.host !== page.host;
}
