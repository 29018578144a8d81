/**
 * Lets the second of two signals end a server whose event loop is blocked. The event loop calls listeners of
 * `process.on`, so a blocked loop handles no signal, while the kernel counts it as handled.
 */
import { openLibc } from "../system/libc";

const NUMBERS = { SIGINT: 2, SIGTERM: 15 } as const;
/**
 * The flags of `struct sigaction` lie behind the handler and the mask. The mask has 128 bytes in glibc and musl, and 4
 * in macOS.
 */
const LAYOUT =
  process.platform === "darwin"
    ? { bytes: 16, flagsAt: 12, resetHand: 0x4 }
    : { bytes: 152, flagsAt: 136, resetHand: 0x8000_0000 };

const SYMBOLS = { sigaction: { args: ["i32", "ptr", "ptr"], returns: "i32" } } as const;
let libc: ReturnType<typeof openLibc<typeof SYMBOLS>> | undefined;

/**
 * Makes the next signal of this kind the last one for the event loop (SA_RESETHAND): the kernel ends the process at the
 * one after it. Call it when there is a listener, and again in the listener: A running event loop then gets all
 * signals. Does nothing without sigaction(2).
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

/** The runtime's own signal actions, with the flag added. */
const installedOnes = new Map<keyof typeof NUMBERS, Uint8Array>();

function read(signal: keyof typeof NUMBERS, { sigaction }: NonNullable<typeof libc>): Uint8Array | null {
  const action = new Uint8Array(LAYOUT.bytes);
  if (sigaction(NUMBERS[signal], null, action) !== 0) return null;
  const view = new DataView(action.buffer);
  // The runtime has no handler: leave SIG_DFL (0) and SIG_IGN (1) unchanged.
  if (view.getBigUint64(0, true) <= 1n) return null;
  view.setUint32(LAYOUT.flagsAt, (view.getUint32(LAYOUT.flagsAt, true) | LAYOUT.resetHand) >>> 0, true);
  return action;
}
