/**
 * What is on a disk after a power failure: from a trace of what programs have done (shim.c). Bytes are there for sure
 * once their file is synced, and names once their folder is. The rest is there, or not, or in part.
 */
import type { Random } from "../random";

/** One line of the trace. */
type Step =
  | { readonly kind: "create" | "folder" | "remove" | "sync" | "syncFolder"; readonly path: string }
  | { readonly kind: "write"; readonly path: string; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: "truncate"; readonly path: string; readonly size: number }
  | { readonly kind: "rename"; readonly path: string; readonly from: string };

const KINDS = { C: "create", M: "folder", U: "remove", S: "sync", D: "syncFolder" } as const;
const NEWLINE = 0x0a;

export function readTrace(bytes: Buffer): Step[] {
  const steps: Step[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf(NEWLINE, at);
    const line = bytes.toString("utf8", at, end);
    const [letter = "", ...words] = line.split(" ");
    const rest = (skipped: number): string => words.slice(skipped).join(" ");
    at = end + 1;
    if (letter === "W") {
      const length = Number(words[1]);
      steps.push({ kind: "write", path: rest(2), at: Number(words[0]), bytes: bytes.subarray(at, at + length) });
      at += length;
    } else if (letter === "T") steps.push({ kind: "truncate", path: rest(1), size: Number(words[0]) });
    else if (letter === "R") {
      const [from = "", path = ""] = rest(0).split("\t");
      steps.push({ kind: "rename", path, from });
    } else steps.push({ kind: KINDS[letter as keyof typeof KINDS], path: rest(0) });
  }
  return steps;
}

/** How much of what is not synced is there after the crash. */
export type Loss =
  /** Nothing. */
  | "all"
  /** All. */
  | "none"
  /** All before one moment, whose write is torn at any byte. */
  | "end"
  /** Any of it, in any order, and torn in sectors. */
  | "any";

export const LOSSES: readonly Loss[] = ["all", "none", "end", "any"];

const SECTOR_BYTES = 512;

type Change = Extract<Step, { kind: "write" | "truncate" }>;

/** The bytes of a file. */
class Content {
  #space: Uint8Array;
  #size: number;

  constructor(bytes: Uint8Array = new Uint8Array()) {
    this.#space = bytes.slice();
    this.#size = bytes.length;
  }

  get bytes(): Uint8Array {
    return this.#space.subarray(0, this.#size);
  }

  /** @param sectors what is there of a write: the others have the bytes before, or zeros. Default: all */
  apply(change: Change, sectors?: readonly boolean[]): void {
    if (change.kind === "truncate") return this.#resize(change.size);
    this.#resize(Math.max(this.#size, change.at + change.bytes.length));
    if (sectors === undefined) return this.#space.set(change.bytes, change.at);
    for (const [sector, isThere] of sectors.entries()) {
      const at = sector * SECTOR_BYTES;
      if (isThere) this.#space.set(change.bytes.subarray(at, at + SECTOR_BYTES), change.at + at);
    }
  }

  #resize(size: number): void {
    if (size > this.#space.length) {
      const space = new Uint8Array(size * 2);
      space.set(this.bytes);
      this.#space = space;
    }
    if (size < this.#size) this.#space.fill(0, size, this.#size);
    this.#size = size;
  }
}

/** A file, or a folder, by whatever name. */
class Node {
  readonly isFolder: boolean;
  readonly synced = new Content();
  /** Since it was synced, with their places in the trace. */
  changes: { readonly number: number; readonly change: Change }[] = [];

  constructor(isFolder: boolean) {
    this.isFolder = isFolder;
  }

  sync(): void {
    for (const { change } of this.changes) this.synced.apply(change);
    this.changes = [];
  }
}

type Names = Map<string, Node>;

interface NameChange {
  readonly number: number;
  readonly folder: string;
  readonly apply: (names: Names) => void;
}

export class CrashableDisk {
  readonly #root: string;
  readonly #names: Names = new Map();
  readonly #syncedNames: Names = new Map();
  #nameChanges: NameChange[] = [];
  #number = 0;

  /** @param root the folder of the trace; it was there before */
  constructor(root: string) {
    this.#root = root;
  }

  do(step: Step): void {
    this.#number++;
    const { path } = step;
    switch (step.kind) {
      case "create":
      case "folder": {
        const node = new Node(step.kind === "folder");
        return this.#rename(path, (names) => names.set(path, node));
      }
      case "remove":
        return this.#rename(path, (names) => names.delete(path));
      case "rename": {
        const node = this.#node(step.from);
        return this.#rename(path, (names) => {
          names.delete(step.from);
          names.set(path, node);
        });
      }
      case "sync":
        return this.#names.get(path)?.sync();
      case "syncFolder":
        for (const { folder, apply } of this.#nameChanges) if (folder === path) apply(this.#syncedNames);
        this.#nameChanges = this.#nameChanges.filter(({ folder }) => folder !== path);
        return;
      case "write":
      case "truncate":
        // A file that is removed already has another path.
        this.#names.get(path)?.changes.push({ number: this.#number, change: step });
    }
  }

  /** @returns what a program finds after it: the bytes of files by path, from the root on; null is a folder */
  crash(loss: Loss, random: Random): Map<string, Uint8Array | null> {
    const oldest = Math.min(
      ...this.#nameChanges.map(({ number }) => number),
      ...[...this.#names.values()].flatMap(({ changes }) => changes.map(({ number }) => number)),
      this.#number,
    );
    const end = oldest + random.below(this.#number - oldest + 1);
    const names = new Map(this.#syncedNames);
    // Names change in their order.
    const lastName = { all: 0, none: this.#number, end, any: end }[loss];
    for (const { number, apply } of this.#nameChanges) if (number <= lastName) apply(names);
    const found = new Map<string, Uint8Array | null>();
    for (const [path, node] of [...names].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const folder = path.slice(0, path.lastIndexOf("/"));
      if (folder !== this.#root && found.get(folder.slice(this.#root.length)) !== null) continue;
      found.set(path.slice(this.#root.length), node.isFolder ? null : bytesAfter(node, loss, end, random));
    }
    return found;
  }

  #node(path: string): Node {
    const node = this.#names.get(path);
    if (node === undefined) throw new Error(`The trace has not made ${path}.`);
    return node;
  }

  #rename(path: string, apply: (names: Names) => unknown): void {
    apply(this.#names);
    this.#nameChanges.push({ number: this.#number, folder: path.slice(0, path.lastIndexOf("/")), apply });
  }
}

function bytesAfter({ synced, changes }: Node, loss: Loss, end: number, random: Random): Uint8Array {
  const content = new Content(synced.bytes);
  for (const { number, change } of changes) {
    if (loss === "none" || (loss === "end" && number < end)) content.apply(change);
    else if (loss === "end" && number === end) content.apply(cut(change, random));
    else if (loss === "any") applySome(content, change, random);
  }
  return content.bytes;
}

/** The beginning of a write. */
function cut(change: Change, random: Random): Change {
  if (change.kind === "truncate") return change;
  return { ...change, bytes: change.bytes.subarray(0, random.below(change.bytes.length + 1)) };
}

/** Nothing, all, or some sectors. */
function applySome(content: Content, change: Change, random: Random): void {
  const kind = random.below(3);
  if (kind === 0) return;
  if (kind === 1 || change.kind === "truncate") return content.apply(change);
  const sectors = Math.ceil(change.bytes.length / SECTOR_BYTES);
  content.apply(
    change,
    Array.from({ length: sectors }, () => random.below(2) === 0),
  );
}
