/**
 * Finds the keys of JSON with comments. The text has been parsed before. This scanner only finds positions, and stops
 * at syntax that it does not know.
 */
import type { KeyPath } from "../key-path";
import { Positions, Scanner } from "./index";

export function locateJson(text: string): Positions {
  const positions = new Positions(text);
  const scanner = new JsonScanner(text, positions);
  if (scanner.value([])) {
    const end = scanner.skip();
    if (end < text.length) positions.trailing = positions.at(end);
  }
  return positions;
}

class JsonScanner extends Scanner {
  /** Skips spaces and comments. @returns the position behind them */
  skip(): number {
    this.take(/(?:[\s\ufeff]+|\/\/[^\n]*|\/\*[\s\S]*?\*\/)*/y);
    return this.at;
  }

  /** Skips one value. @returns false if it was not understood */
  value(path: KeyPath): boolean {
    const first = this.text[this.skip()];
    if (first === "{") return this.#members(path);
    if (first === "[") return this.#items(path);
    return this.take(/"(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'|[^\s,\]}/]+/y) !== null;
  }

  #members(path: KeyPath): boolean {
    this.at++;
    for (;;) {
      const start = this.skip();
      if (this.take(/\}/y) !== null) return true;
      const name = this.take(/"(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'/y);
      if (name === null) return false;
      const inner = [...path, decode(name)];
      this.positions.note(inner, start);
      this.skip();
      if (this.take(/:/y) === null || !this.value(inner)) return false;
      this.skip();
      this.take(/,/y);
    }
  }

  #items(path: KeyPath): boolean {
    this.at++;
    for (let index = 0; ; index++) {
      const start = this.skip();
      if (this.take(/\]/y) !== null) return true;
      this.positions.note([...path, index], start);
      if (!this.value([...path, index])) return false;
      this.skip();
      this.take(/,/y);
    }
  }
}

function decode(quoted: string): string {
  try {
    return JSON.parse(quoted) as string;
  } catch {
    // In single quotes, or with a raw control character: the text between the quotes is close enough.
    return quoted.slice(1, -1);
  }
}
