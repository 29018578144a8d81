/**
 * Files whose replies are repeated: their descriptors stay open while they are asked for, so that the kernel sends them
 * without a look at the name.
 */
import { asHost } from "../../system/leave-graph";
import type { Dispatch } from "../wire";
import type { FilePiece } from "./response";

interface Kept {
  readonly fd: number;
  readonly files: Dispatch["files"];
  /** By performance.now(), in milliseconds. */
  until: number;
}

const MAX_KEPT = 16;
/** How long a file may stay open that nobody asks for. In milliseconds. */
const SWEEP_MS = 100;

const kept = new Map<FilePiece, Kept>();
let isSweeping = false;

/**
 * Opens a file, or checks that the open one is unchanged.
 *
 * @param until  it is not closed before. By performance.now(), in milliseconds
 * @returns a descriptor, which is not the caller's to close; -1: send the file from memory
 */
export function keepOpen(file: FilePiece, until: number, files: Dispatch["files"]): number {
  const known = kept.get(file);
  try {
    if (known === undefined) return openNew(file, until, files);
    file.check(known.fd);
    known.until = Math.max(known.until, until);
    return known.fd;
  } catch {
    // It was changed or deleted. The next look of the module finds that out.
    return -1;
  }
}

function openNew(file: FilePiece, until: number, files: Dispatch["files"]): number {
  if (kept.size >= MAX_KEPT || files?.takeFile() === false) return -1;
  try {
    const fd = file.open();
    kept.set(file, { fd, files, until });
    sweepLater();
    return fd;
  } catch (error) {
    files?.giveFile();
    throw error;
  }
}

function sweepLater(): void {
  if (isSweeping) return;
  isSweeping = true;
  asHost(() => setTimeout(sweep, SWEEP_MS)).unref();
}

function sweep(): void {
  isSweeping = false;
  const now = performance.now();
  for (const [file, { fd, files, until }] of kept) {
    if (now < until) continue;
    kept.delete(file);
    file.close(fd);
    files?.giveFile();
  }
  if (kept.size > 0) sweepLater();
}
