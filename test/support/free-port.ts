/** Ports for servers that must be told their port before they start. Others take port 0. */

/**
 * Below the range from which Linux hands out ports for port 0 and for clients (32768 to 60999): no other test can get
 * such a port by chance between this choice and the server's start.
 */
const FIRST = 20_000;
const COUNT = 10_000;

// Test files run in several processes at once: each begins at another place.
let next = (process.pid * 101) % COUNT;

/** @returns a TCP port that nobody listens on, neither by IPv4 nor by IPv6. Each call of a process gives another one */
export function freePort(): number {
  for (let tries = 0; tries < COUNT; tries++) {
    const port = FIRST + (next++ % COUNT);
    if (canListen("0.0.0.0", port) && canListen("::", port)) return port;
  }
  throw new Error(`All ports from ${FIRST} to ${FIRST + COUNT - 1} are in use.`);
}

function canListen(hostname: string, port: number): boolean {
  try {
    Bun.listen({ hostname, port, socket: { data: () => {} } }).stop(true);
    return true;
  } catch (error) {
    // A machine without IPv6.
    return (error as { code?: unknown }).code === "EAFNOSUPPORT";
  }
}
