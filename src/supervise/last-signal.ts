/**
 * Lets the second of two signals end a server whose event loop is blocked. A listener of `process.on` is called by the event loop, so that
 * a blocked one hears of no signal, and the kernel takes it for handled.
 */
import { openLibc } from "./libc";

const NUMBERS = { SIGINT: 2, SIGTERM: 15 } as const;
/** Where `struct sigaction` has its flags: behind the handler and the mask, which has 128 bytes in glibc and musl, and 4 in macOS. */
const LAYOUT =
  process.platform === "darwin" ? { bytes: 16, flagsAt: 12, resetHand: 0x4 } : { bytes: 152, flagsAt: 136, resetHand: 0x8000_0000 };

const SYMBOLS = { sigaction: { args: ["i32", "ptr", "ptr"], returns: "i32" } } as const;
let libc: ReturnType<typeof openLibc<typeof SYMBOLS>> | undefined;

/**
 * The next signal of this kind is the last that goes to the event loop (SA_RESETHAND): the kernel ends the process at the one after it.
 * Call it once there is a listener, and in the listener again: as long as the event loop comes by, it gets them all. Does nothing where
 * there is no sigaction(2).
 */
export function letSecondSignalEnd(signal: keyof typeof NUMBERS): void {
  if (process.platform === "win32") return;
  libc ??= openLibc(SYMBOLS);
  if (libc === null) return;
  const installed = installedOnes.get(signal) ?? read(signal, libc);
  if (installed === null) return;
  installedOnes.set(signal, installed);
  libc.sigaction(NUMBERS[signal], installed, null);
}

/** What the runtime has installed for its listeners, with the flag. */
const installedOnes = new Map<keyof typeof NUMBERS, Uint8Array>();

function read(signal: keyof typeof NUMBERS, { sigaction }: NonNullable<typeof libc>): Uint8Array | null {
  const action = new Uint8Array(LAYOUT.bytes);
  if (sigaction(NUMBERS[signal], null, action) !== 0) return null;
  const view = new DataView(action.buffer);
  // No handler of the runtime's: SIG_DFL (0) or SIG_IGN (1) stay as they are.
  if (view.getBigUint64(0, true) <= 1n) return null;
  view.setUint32(LAYOUT.flagsAt, (view.getUint32(LAYOUT.flagsAt, true) | LAYOUT.resetHand) >>> 0, true);
  return action;
}
