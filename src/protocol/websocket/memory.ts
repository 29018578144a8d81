/**
 * Memory for frames that are sent at once: one piece, used again for every read. A buffer of its own for each message
 * of 16 KB makes the collector run every hundred messages, which is a third of an echo's time.
 */
import type { Wire } from "../wire";

const ARENA_BYTES = 262_144;
/** A larger frame gets its own memory. */
const MAX_FRAME_BYTES = 65_536;

let arena = Buffer.allocUnsafeSlow(ARENA_BYTES);
let used = 0;
const wires: Wire[] = [];

/**
 * Call it when no frame can be inside a cork: at the start of a read. Earlier frames are then sent, or queued by their
 * wire.
 */
export function reuseFrameMemory(): void {
  if (used === 0) return;
  if (wires.some((wire) => wire.queuedBytes > 0)) arena = Buffer.allocUnsafeSlow(ARENA_BYTES);
  used = 0;
  wires.length = 0;
}

/** Room for one frame, to be written to `wire` now and not to be kept. */
export function frameMemory(wire: Wire, bytes: number): Buffer {
  if (bytes > MAX_FRAME_BYTES) return Buffer.allocUnsafeSlow(bytes);
  if (used + bytes > ARENA_BYTES) {
    arena = Buffer.allocUnsafeSlow(ARENA_BYTES);
    used = 0;
    wires.length = 0;
  }
  if (wires[wires.length - 1] !== wire) wires.push(wire);
  const from = used;
  used += bytes;
  return arena.subarray(from, used);
}

/** For smaller reads the memory is not worth the call. */
export const MIN_FREED_BYTES = 8192;

/**
 * Frees a read's memory at once and not at the next collection, so that the next read finds it warm. The bytes must not
 * be used afterwards.
 */
export function freeRead({ buffer, length }: Uint8Array): void {
  if (buffer.byteLength === length && buffer instanceof ArrayBuffer) buffer.transfer(0);
}
