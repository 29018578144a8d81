/**
 * Reports the server's state to systemd, by the datagrams of sd_notify(3): ready, reloading, a line of status, alive,
 * stopping.
 */
import { openLibc } from "../../system/libc";
import { AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOL_SOCKET } from "../../system/sockets";

// Linux, all architectures that Bun runs on.
const SO_SNDTIMEO = 21;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const CLOCK_MONOTONIC = 1;

/** sizeof(sockaddr_un.sun_path), less its NUL. */
const MAX_PATH_BYTES = 107;
/** How long a message that must not be lost may wait for room in systemd's queue. */
const MAX_WAIT_SECONDS = 5n;
const USEC_PER_MS = 1000;
/** A status is one line of `systemctl status`. */
const MAX_STATUS_CHARACTERS = 500;

/** Variables of a unit that are only for the process that systemd started. */
const SYSTEMD_VARIABLES = [
  "NOTIFY_SOCKET",
  "WATCHDOG_USEC",
  "WATCHDOG_PID",
  "LISTEN_FDS",
  "LISTEN_PID",
  "LISTEN_PIDFDID",
  "LISTEN_FDNAMES",
] as const;

type Environment = Readonly<Record<string, string | undefined>>;

const SYMBOLS = {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
  sendto: { args: ["i32", "ptr", "u64", "i32", "ptr", "u32"], returns: "i64" },
  close: { args: ["i32"], returns: "i32" },
  clock_gettime: { args: ["i32", "ptr"], returns: "i32" },
} as const;

type Libc = NonNullable<ReturnType<typeof openLibc<typeof SYMBOLS>>>;

/** @returns a copy of `env` for a child process: a message of its to systemd would count as the server's */
export function withoutSystemd(env: Environment): Record<string, string | undefined> {
  const kept = { ...env };
  for (const name of SYSTEMD_VARIABLES) delete kept[name];
  return kept;
}

/**
 * @returns a copy of `env` for the process that takes this one's place in an upgrade: it may talk to systemd. Removes
 *   variables with this process's id; without WATCHDOG_PID, the watchdog's interval holds for any process.
 */
export function systemdForSuccessor(env: Environment): Record<string, string | undefined> {
  const kept = withoutSystemd(env);
  for (const name of ["NOTIFY_SOCKET", "WATCHDOG_USEC"]) if (env[name] !== undefined) kept[name] = env[name];
  return kept;
}

/** The connection to systemd. Without one (`isActive` false) every method does nothing. Never throws. */
export class Notifier {
  readonly #libc: Libc | null;
  readonly #address: Uint8Array;
  readonly #watchdogMs: number;
  readonly #warn: (text: string) => void;
  #fd = -1;
  #hasWarned = false;
  #timer: Timer | undefined;

  private constructor(libc: Libc | null, address: Uint8Array, watchdogMs: number, warn: (text: string) => void) {
    this.#libc = libc;
    this.#address = address;
    this.#watchdogMs = watchdogMs;
    this.#warn = warn;
  }

  /**
   * Reads NOTIFY_SOCKET (a path, or "@" and an abstract name), WATCHDOG_USEC and WATCHDOG_PID.
   *
   * @param warn called once if systemd cannot be reached
   */
  static fromEnvironment(env: Environment, warn: (text: string) => void = () => {}): Notifier {
    const name = env["NOTIFY_SOCKET"];
    if (!name) return new Notifier(null, new Uint8Array(), 0, warn);
    const address = socketAddress(name);
    const libc = address === null || process.platform !== "linux" ? null : openLibc(SYMBOLS);
    if (libc === null || address === null) {
      warn(`NOTIFY_SOCKET is ${JSON.stringify(name)}, which cannot be reached here: systemd is told nothing.`);
      return new Notifier(null, new Uint8Array(), 0, warn);
    }
    return new Notifier(libc, address, watchdogMs(env), warn);
  }

  get isActive(): boolean {
    return this.#libc !== null;
  }

  /** In milliseconds. 0: systemd does not watch. */
  get watchdogMs(): number {
    return this.#watchdogMs;
  }

  /** The server serves. Also ends a reload; the status has its result. */
  ready(status: string): void {
    this.#send(`READY=1\n${statusLine(status)}`, true);
  }

  /** A reload begins. The time is in the same message, since systemd ignores one that is older than its signal. */
  reloading(): void {
    if (this.#libc !== null) this.#send(`RELOADING=1\nMONOTONIC_USEC=${monotonicUsec(this.#libc)}`, true);
  }

  /** The line that `systemctl status` shows. */
  status(text: string): void {
    this.#send(statusLine(text), false);
  }

  /** The server drains. */
  stopping(status: string): void {
    this.#send(`STOPPING=1\n${statusLine(status)}`, true);
  }

  /** From now on `pid` is the service's main process. Sent before this process may end. */
  mainPid(pid: number): void {
    this.#send(`MAINPID=${pid}`, true);
  }

  /**
   * Gives the current step (start, reload or stop) this much time from now. Send it again before the time has passed.
   */
  extendTimeout(ms: number): void {
    this.#send(`EXTEND_TIMEOUT_USEC=${Math.ceil(ms * USEC_PER_MS)}`, true);
  }

  /**
   * Sends "alive" at once and at each half of systemd's interval, as long as `isAlive` is true. After an interval of
   * silence systemd kills and restarts the server. A stuck event loop is silent by itself. Does nothing if systemd does
   * not watch.
   */
  startWatchdog(isAlive: () => boolean): void {
    if (this.#watchdogMs === 0 || this.#timer !== undefined) return;
    const tell = () => {
      if (isAlive()) this.#send("WATCHDOG=1", false);
    };
    tell();
    this.#timer = setInterval(tell, this.#watchdogMs / 2);
    this.#timer.unref();
  }

  /** Ends the watchdog's messages and closes the socket. */
  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#fd >= 0) this.#libc?.close(this.#fd);
    this.#fd = -1;
  }

  /** @param mustArrive waits for room in systemd's queue, if a lost message would make the service count as failed */
  #send(message: string, mustArrive: boolean): void {
    const libc = this.#libc;
    if (libc === null) return;
    // Kept open: a server without free descriptors must still be able to say that it is alive.
    if (this.#fd < 0) this.#fd = openSocket(libc);
    const bytes = Buffer.from(message);
    const flags = MSG_NOSIGNAL | (mustArrive ? 0 : MSG_DONTWAIT);
    const sent = libc.sendto(this.#fd, bytes, bytes.length, flags, this.#address, this.#address.length);
    if (Number(sent) === bytes.length || this.#hasWarned) return;
    this.#hasWarned = true;
    this.#warn(
      `systemd was not reached: ${JSON.stringify(message.split("\n", 1)[0])} could not be sent to NOTIFY_SOCKET.`,
    );
  }
}

function openSocket(libc: Libc): number {
  const fd = libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  // struct timeval of 64-bit Linux. Without it a hung systemd would hang the server.
  if (fd >= 0) libc.setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, new BigInt64Array([MAX_WAIT_SECONDS, 0n]), 16);
  return fd;
}

/**
 * struct sockaddr_un; an abstract name ("@") has no end mark. @returns null if it is neither an absolute path nor such
 * a name
 */
function socketAddress(name: string): Uint8Array | null {
  const path = Buffer.from(name);
  const isAbstract = name.startsWith("@");
  if ((!isAbstract && !name.startsWith("/")) || path.length < 2 || path.length > MAX_PATH_BYTES) return null;
  if (isAbstract) path[0] = 0;
  const address = new Uint8Array(2 + path.length + (isAbstract ? 0 : 1));
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(path, 2);
  return address;
}

/** @returns 0 if systemd does not watch, or watches another process */
function watchdogMs(env: Environment): number {
  const usec = env["WATCHDOG_USEC"] ?? "";
  const pid = env["WATCHDOG_PID"];
  const isOurs = pid === undefined || pid === "" || pid === String(process.pid);
  return isOurs && /^\d{1,15}$/.test(usec) ? Number(usec) / USEC_PER_MS : 0;
}

/** Removes line ends, which would begin another assignment. */
function statusLine(text: string): string {
  return `STATUS=${text
    .replace(/\p{Cc}+/gu, " ")
    .trim()
    .slice(0, MAX_STATUS_CHARACTERS)}`;
}

/** systemd's clock. process.hrtime has another starting point. */
function monotonicUsec(libc: Libc): bigint {
  const timespec = new BigInt64Array(2);
  libc.clock_gettime(CLOCK_MONOTONIC, timespec);
  const [seconds = 0n, nanoseconds = 0n] = timespec;
  return seconds * 1_000_000n + nanoseconds / 1000n;
}
