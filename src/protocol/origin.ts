/**
 * Whether a request comes from a page of another site. A browser of this machine sends whatever a page has it send, and a page's name may
 * have been made to lead to this machine (DNS rebinding): the client's address tells nothing then, Host and Origin do.
 */

/** With or without a port. Browsers write addresses in this form, and lead all names below localhost to loopback. */
const LOCAL_HOST = /^(?:(?:[\w-]+\.)*localhost\.?|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(?::\d*)?$/i;

/**
 * Whether a request's host is a name of this machine: localhost, a name below it, 127.0.0.0/8, [::1], or one of `names`.
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
 * Whether a request was made by a page of another origin (RFC 6454 section 7). "null", which sandboxed pages send, is another one.
 *
 * @param origin  the Origin field; null: there is none, as with all programs that are no browser, and with a page's own plain GET
 * @param host    the request's own host and port. Its scheme is not compared: who ends TLS in front of this server changes it. A default port is that of the page's scheme
 */
export function isForeignOrigin(origin: string | null, host: string): boolean {
  if (origin === null) return false;
  const page = /^https?:\/\/[^/?#@\s]+$/i.test(origin) ? URL.parse(origin) : null;
  return page === null || URL.parse(`${page.protocol}//${host}`)?.host !== page.host;
}
