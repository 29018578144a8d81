/** The position of each key in a config file's text. `JSONC.parse` and the other parsers do not give it. */
import type { KeyPath } from "../key-path";

/** Both begin at 1. A column counts UTF-16 units. */
interface Position {
  line: number;
  column: number;
}

/** Collects the positions of keys and list items while a scanner goes through the text once. */
export class Positions {
  readonly #found = new Map<string, Position>();
  readonly #lineStarts: number[] = [0];
  /** Keys that occur twice in one object. In some formats the last one wins silently. */
  readonly duplicates: { path: KeyPath; first: Position; second: Position }[] = [];
  /** The position of text behind the end of the value; null if there is none. */
  trailing: Position | null = null;

  constructor(text: string) {
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) this.#lineStarts.push(at + 1);
  }

  /**
   * Notes that `path` begins at `offset`. A second time is a duplicate, unless the format allows to name a key again.
   */
  note(path: KeyPath, offset: number, mayRepeat = false): void {
    const key = keyOf(path);
    const position = this.at(offset);
    const first = this.#found.get(key);
    if (first === undefined) this.#found.set(key, position);
    else if (!mayRepeat) this.duplicates.push({ path, first, second: position });
  }

  /** @returns where `path` begins, or the innermost known thing around it; null if none is known */
  find(path: KeyPath): Position | null {
    for (let length = path.length; length > 0; length--) {
      const position = this.#found.get(keyOf(path.slice(0, length)));
      if (position !== undefined) return position;
    }
    return null;
  }

  at(offset: number): Position {
    let low = 0;
    let high = this.#lineStarts.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#lineStarts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: offset - (this.#lineStarts[low] ?? 0) + 1 };
  }
}

/** In practice no key holds this byte. */
function keyOf(path: KeyPath): string {
  return path.join("\0");
}

/** Reads a text pattern by pattern, and notes what it finds in `positions`. */
export class Scanner {
  protected at = 0;

  constructor(
    protected readonly text: string,
    protected readonly positions: Positions,
  ) {}

  /** @param pattern sticky. @returns the match, which is behind it then; null if there is none */
  protected take(pattern: RegExp): string | null {
    pattern.lastIndex = this.at;
    const [found] = pattern.exec(this.text) ?? [];
    if (found === undefined) return null;
    this.at += found.length;
    return found;
  }
}
