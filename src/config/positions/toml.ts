/**
 * Finds the keys of TOML 1.0. The text has been parsed before. This scanner only finds positions, and stops at syntax
 * that it does not know.
 */
import type { KeyPath } from "../key-path";
import { Positions, Scanner } from "./index";

export function locateToml(text: string): Positions {
  const positions = new Positions(text);
  new TomlScanner(text, positions).document();
  return positions;
}

const BARE_KEY = /[A-Za-z0-9_-]+/y;
const QUOTED_KEY = /"(?:[^"\\\n]|\\.)*"|'[^'\n]*'/y;
const STRING = /"""[\s\S]*?(?<!\\)"""+|'''[\s\S]*?'''+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'/y;

class TomlScanner extends Scanner {
  /** How many tables each [[name]] has so far. */
  readonly #tables = new Map<string, number>();

  document(): void {
    let table: KeyPath = [];
    for (;;) {
      const start = this.#skip();
      if (start >= this.text.length) return;
      const open = this.take(/\[\[?/y);
      if (open === null) {
        if (!this.#pair(table)) return;
        continue;
      }
      const header = this.#header(start, open === "[[");
      if (header === null) return;
      table = header;
    }
  }

  /** The rest of `[a.b]` or `[[a.b]]`. @returns where its keys belong */
  #header(start: number, isList: boolean): KeyPath | null {
    const names = this.#dottedKey();
    if (names === null || this.take(isList ? /[ \t]*\]\]/y : /[ \t]*\]/y) === null) return null;
    let path: KeyPath = [];
    for (const [at, { name, offset }] of names.entries()) {
      path = [...path, name];
      const key = path.join("\0");
      const isLast = at === names.length - 1;
      this.positions.note(path, offset, true);
      if (isList && isLast) this.#tables.set(key, (this.#tables.get(key) ?? 0) + 1);
      const count = this.#tables.get(key);
      if (count !== undefined) path = [...path, count - 1];
    }
    this.positions.note(path, start, true);
    return path;
  }

  /** `a.b = value` */
  #pair(table: KeyPath): boolean {
    const names = this.#dottedKey();
    if (names === null || this.take(/[ \t]*=[ \t]*/y) === null) return false;
    let path = table;
    for (const { name, offset } of names) {
      path = [...path, name];
      this.positions.note(path, offset, true);
    }
    return this.#value(path);
  }

  #dottedKey(): { name: string; offset: number }[] | null {
    const names: { name: string; offset: number }[] = [];
    do {
      this.take(/[ \t]+/y);
      const offset = this.at;
      const quoted = this.take(QUOTED_KEY);
      const name = quoted?.slice(1, -1) ?? this.take(BARE_KEY);
      if (name === null) return null;
      names.push({ name, offset });
    } while (this.take(/[ \t]*\./y) !== null);
    return names;
  }

  #value(path: KeyPath): boolean {
    if (this.take(/\[/y) !== null) return this.#list(/\]/y, (index) => this.#item([...path, index]));
    if (this.take(/\{/y) !== null) return this.#list(/\}/y, () => this.#pair(path));
    return (this.take(STRING) ?? this.take(/[^\n,\]}#]+/y)) !== null;
  }

  #item(path: KeyPath): boolean {
    this.positions.note(path, this.at, true);
    return this.#value(path);
  }

  #list(end: RegExp, one: (index: number) => boolean): boolean {
    for (let index = 0; ; index++) {
      this.#skip();
      if (this.take(end) !== null) return true;
      if (!one(index)) return false;
      this.#skip();
      this.take(/,/y);
    }
  }

  /** Skips spaces, line ends and comments. @returns the position behind them */
  #skip(): number {
    this.take(/(?:[\s\ufeff]+|#[^\n]*)*/y);
    return this.at;
  }
}
