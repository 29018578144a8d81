/**
 * Memory for frames that are sent at once: one piece, used again for every read. A buffer of its own for each message
 * of 16 KB makes the collector run every hundred messages, which is a third of an echo's time.
 */
import type { Wire } from "../wire";

const ARENA_BYTES = 262_144;
/** A larger frame gets memory of its own. */
const MAX_FRAME_BYTES = 65_536;

let arena = Buffer.allocUnsafeSlow(ARENA_BYTES);
let used = 0;
const wires: Wire[] = [];

/**
 * Call it where no frame can be on its way within a cork: at the start of a read. What was written before has then been
 * sent, or is kept by a wire that has something queued.
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

/** Of smaller reads the memory is not worth the call. */
export const MIN_FREED_BYTES = 8192;

/**
 * Gives a read's memory back at once, so that the next read finds it warm, and not after the next collection. Nobody
 * may look at the bytes any more.
 */
export function freeRead({ buffer, length }: Uint8Array): void {
  if (buffer.byteLength === length && buffer instanceof ArrayBuffer) buffer.transfer(0);
}
