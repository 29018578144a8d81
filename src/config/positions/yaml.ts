/**
 * Finds the keys of YAML 1.2 in block style. The text has been parsed before. This scanner only finds positions. A
 * value in brackets is found as a whole; unknown syntax is skipped.
 */
import type { KeyPath } from "../key-path";
import { Positions } from "./index";

export function locateYaml(text: string): Positions {
  const positions = new Positions(text);
  const scanner = new YamlScanner(positions);
  let offset = 0;
  for (const line of text.split("\n")) {
    scanner.line(line.replace(/\r$/, ""), offset);
    offset += line.length + 1;
  }
  return positions;
}

/** A mapping or a list that is open, and the column of its keys or dashes. */
interface Frame {
  readonly kind: "map" | "list";
  readonly column: number;
  readonly path: KeyPath;
  /** The last key, or the last index in the list. */
  step: string | number;
}

const KEY =
  /^(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)'|([^\s"'#&*!|>%@`{}[\],?-][^:#]*?|[?-][^\s:#][^:#]*?))\s*:(?=\s|$)/;
/** Marks before a value: `&anchor`, `!tag`. */
const PROPERTIES = /^(?:[&!]\S*\s+)*/;

class YamlScanner {
  readonly #positions: Positions;
  #frames: Frame[] = [];
  /** Lines that are indented more belong to a text after | or >; null: there is none. */
  #textColumn: number | null = null;
  /** The closing signs that a value in brackets or quotes still needs, innermost last. */
  #open: string[] = [];

  constructor(positions: Positions) {
    this.#positions = positions;
  }

  line(line: string, offset: number): void {
    if (this.#open.length > 0) return this.#scanFlow(line);
    const column = line.search(/[^ \ufeff]/);
    if (column < 0) return;
    if (this.#textColumn !== null && column > this.#textColumn) return;
    this.#textColumn = null;
    if (/^(?:#|%|---(?:\s|$)|\.\.\.(?:\s|$))/.test(line.slice(column))) return;
    this.#node(line, column, offset);
  }

  /** Reads a line from `column` on: `- ` and more, `key: value`, or the rest of a longer text. */
  #node(line: string, column: number, offset: number): void {
    const rest = line.slice(column);
    const dash = /^-(?:[ \t]+|$)/.exec(rest)?.[0];
    if (dash !== undefined) {
      this.#dash(column, offset);
      if (column + dash.length < line.length) this.#node(line, column + dash.length, offset);
      return;
    }
    const key = KEY.exec(rest);
    if (key === null) return this.#value(rest, this.#frames.at(-1)?.column ?? 0);
    this.#key(key[1] ?? key[2]?.replaceAll("''", "'") ?? key[3] ?? "", column, offset);
    this.#value(rest.slice(key[0].length), column);
  }

  #dash(column: number, offset: number): void {
    // A map of the same column stays open: the list may belong to its last key.
    this.#close((frame) => frame.column > column);
    let frame = this.#frames.at(-1);
    if (frame?.kind === "list" && frame.column === column) frame.step = Number(frame.step) + 1;
    else {
      frame = { kind: "list", column, path: this.#here(), step: 0 };
      this.#frames.push(frame);
    }
    this.#positions.note([...frame.path, frame.step], offset + column, true);
  }

  #key(name: string, column: number, offset: number): void {
    this.#close((frame) => frame.column > column || (frame.column === column && frame.kind === "list"));
    let frame = this.#frames.at(-1);
    if (frame?.kind === "map" && frame.column === column) frame.step = name;
    else {
      frame = { kind: "map", column, path: this.#here(), step: name };
      this.#frames.push(frame);
    }
    if (name !== "<<") this.#positions.note([...frame.path, name], offset + column);
  }

  /** @param column  of the key that the value belongs to */
  #value(rest: string, column: number): void {
    const value = rest.trimStart().replace(PROPERTIES, "");
    if (/^[|>]/.test(value)) this.#textColumn = column;
    else if (/^["'[{]/.test(value)) this.#scanFlow(value);
  }

  /** Reads brackets and quotes until all are closed or the line ends. */
  #scanFlow(line: string): void {
    for (let at = 0; at < line.length; at++) {
      const sign = line[at] ?? "";
      const open = this.#open.at(-1);
      if (open === '"' && sign === "\\") at++;
      else if (sign === open) this.#open.pop();
      else if (open === '"' || open === "'") continue;
      else if (sign === "#" && /\s/.test(line[at - 1] ?? " ")) return;
      else if ((sign === '"' || sign === "'") && /[\s[{,:]/.test(line[at - 1] ?? " ")) this.#open.push(sign);
      else if (sign === "[") this.#open.push("]");
      else if (sign === "{") this.#open.push("}");
      if (this.#open.length === 0) return;
    }
  }

  #close(isOver: (frame: Frame) => boolean): void {
    for (let frame = this.#frames.at(-1); frame !== undefined && isOver(frame); frame = this.#frames.at(-1))
      this.#frames.pop();
  }

  #here(): KeyPath {
    const frame = this.#frames.at(-1);
    return frame === undefined ? [] : [...frame.path, frame.step];
  }
}
