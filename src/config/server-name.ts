/** Names that a TLS client may ask for (RFC 6066 section 3). */

const LABEL = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/;
const MAX_NAME_BYTES = 253;

/**
 * @returns whether `name` is a host name in lower-case ASCII, or one with "*." in front; false for an IP address in
 *   brackets
 */
export function isServerName(name: string): boolean {
  const host = name.startsWith("*.") ? name.slice(2) : name;
  return host.length > 0 && name.length <= MAX_NAME_BYTES && host.split(".").every((label) => LABEL.test(label));
}
