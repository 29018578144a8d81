/**
 * Addresses as text, as Bun reports them or a user writes them. Pure functions.
 */

const MAPPED = "::ffff:";
/**
 * The first groups of an IPv6 address name a network. Its owner may choose the rest freely (RFC 4291 section 2.5.4, RFC
 * 7934).
 */
const NETWORK_GROUPS = 4;

/**
 * An IPv4 client of an IPv6 socket is `::ffff:192.0.2.1` (RFC 4291 section 2.5.5.2). @returns `192.0.2.1`; other
 * addresses unchanged
 */
export function plainAddress(address: string): string {
  return address.startsWith(MAPPED) && address.includes(".") ? address.slice(MAPPED.length) : address;
}

const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;
const IPV6_LETTERS = /^[\d.:a-f]+$/i;
const ZONE = /%[\w.:-]+$/;

/**
 * Like `isIP` of node:net, which takes some milliseconds to load at the start.
 *
 * @param host  a name or an address, an IPv6 address without brackets
 * @returns 4 or 6 for an address, 0 for a name
 */
export function ipVersion(host: string): 0 | 4 | 6 {
  if (IPV4.test(host)) return 4;
  const address = host.replace(ZONE, "");
  return address.includes(":") && IPV6_LETTERS.test(address) && URL.canParse(`http://[${address}]/`) ? 6 : 0;
}

/** @returns whether an address is a loopback one (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3) */
export function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.") || address.startsWith(`${MAPPED}127.`);
}

/**
 * The network that one client's limits hold for: an IPv4 address, or the /64 of an IPv6 address, which has one owner.
 *
 * @param address as Bun reports it
 * @returns `192.0.2.1`, `2001:db8:0:1::/64`
 */
export function networkOf(address: string): string {
  const plain = plainAddress(address);
  if (!plain.includes(":")) return plain;
  const groups = groupsOf(plain.split("%", 1)[0] as string);
  return `${groups
    .slice(0, NETWORK_GROUPS)
    .map((group) => group.toString(16))
    .join(":")}::/64`;
}

/** The eight numbers of an IPv6 address (RFC 4291 section 2.2). `text` is one. */
export function groupsOf(text: string): number[] {
  // The last four bytes may be written as an IPv4 address.
  const plain = text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) =>
    [Number(a) * 256 + Number(b), Number(c) * 256 + Number(d)].map((group) => group.toString(16)).join(":"),
  );
  const [front = "", back] = plain.split("::");
  const read = (part: string) => (part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16)));
  const head = read(front);
  const tail = back === undefined ? [] : read(back);
  return [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail];
}
