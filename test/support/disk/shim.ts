/** A disk under test: a library that the program is started with (shim.c), which records and spoils what it writes. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const SOURCE = join(import.meta.dir, "shim.c");

/** Why programs cannot be given such a disk here. null: they can. */
export const NO_SHIM: string | null = (() => {
  if (process.platform !== "linux" || process.arch !== "x64") return "the disk under test is for Linux on x86-64";
  return Bun.which("gcc") === null ? "gcc is not there" : null;
})();

/** @returns "full" and the like: see shim.c */
export type Fault = "full" | "readonly" | "sync" | "write";

/** A disk for the programs of one test. */
export class ShimmedDisk {
  /** Added to the environment of a program. */
  readonly env: Record<string, string>;
  /** What the programs have done: see `readTrace`. */
  readonly trace: string;
  readonly #folder: string;
  readonly #fault: string;

  /** @param folder absolute: the disk. It may not exist yet */
  constructor(folder: string) {
    this.#folder = mkdtempSync(join(tmpdir(), "hrmr-disk-"));
    this.trace = join(this.#folder, "trace");
    this.#fault = join(this.#folder, "fault");
    const library = join(this.#folder, "shim.so");
    const { success, stderr } = Bun.spawnSync(["gcc", "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"]);
    if (!success) throw new Error(`gcc: ${stderr.toString()}`);
    this.env = {
      LD_PRELOAD: library,
      HRMR_DISK_FOLDER: folder,
      HRMR_DISK_TRACE: this.trace,
      HRMR_DISK_FAULT: this.#fault,
    };
  }

  /** From now on it fails like this. null: it works again. */
  fail(fault: Fault | null): void {
    if (fault === null) rmSync(this.#fault);
    else writeFileSync(this.#fault, fault);
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true });
  }
}
