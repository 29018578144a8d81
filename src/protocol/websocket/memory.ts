/** Memory of reads. */

/** For smaller reads the memory is not worth the call. */
export const MIN_FREED_BYTES = 8192;

/**
 * Frees a read's memory at once and not at the next collection, so that the next read finds it warm. The bytes must not
 * be used afterwards.
 */
export function freeRead({ buffer, length }: Uint8Array): void {
  if (buffer.byteLength === length && buffer instanceof ArrayBuffer) buffer.transfer(0);
}
