/**
 * A source map between a file and its transpiled text, which Bun's transpiler does not give. The printer keeps the words
 * of the source in their order and leaves out types, so the two texts are aligned token by token.
 */

interface Tokens {
  readonly texts: readonly string[];
  /** Where each begins, in UTF-16 units. */
  readonly starts: readonly number[];
}

/** Comments, strings, words, numbers, and single marks. */
const TOKEN =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\[\s\S])*"|'(?:[^'\\\n]|\\[\s\S])*'|[\p{ID_Start}$_#][\p{ID_Continue}$\u200c\u200d]*|\d[\w.]*|[^\s;`]/gu;
const WORD = /^[\p{ID_Start}$_#"\d]/u;
/** At most this share of the transpiled text's words may not be found in the source: the printer changes a few. */
const MAX_SHARE = 0.1;
/** In a short text, as many may always be changed. */
const MAX_CHANGED = 3;
/** The largest table for an exact alignment of a part without unique tokens. */
const MAX_CELLS = 10_000;

function tokensOf(text: string): Tokens {
  const texts: string[] = [];
  const starts: number[] = [];
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    if (token.startsWith("//") || token.startsWith("/*")) continue;
    const isQuoted = token.length > 1 && (token.startsWith('"') || token.startsWith("'"));
    // The printer chooses quotes and escapes of its own.
    texts.push(isQuoted ? (token.includes("\\") ? '"' : `"${token.slice(1, -1)}`) : token);
    starts.push(index);
  }
  return { texts, starts };
}

/**
 * @param source the author's text
 * @param code its transpiled text
 * @returns the `mappings` of a source map with one source; null: the texts are too different
 */
export function mappingsOf(source: string, code: string): string | null {
  const from = tokensOf(source);
  const to = tokensOf(code);
  const matches = new Int32Array(to.texts.length).fill(-1);
  align(
    from.texts,
    to.texts,
    { fromStart: 0, fromEnd: from.texts.length, toStart: 0, toEnd: to.texts.length },
    matches,
  );
  let words = 0;
  let found = 0;
  for (const [at, text] of to.texts.entries()) {
    if (!WORD.test(text)) continue;
    words++;
    if (matches[at] !== -1) found++;
  }
  return words - found > Math.max(MAX_CHANGED, words * MAX_SHARE)
    ? null
    : encode(source, from.starts, code, to.starts, matches);
}

/** A part of both texts, in tokens. The ends are exclusive. */
interface Part {
  readonly fromStart: number;
  readonly fromEnd: number;
  readonly toStart: number;
  readonly toEnd: number;
}

/** Patience diff: equal ends, then tokens that are unique in both, then the parts between them. */
function align(from: readonly string[], to: readonly string[], part: Part, matches: Int32Array): void {
  let { fromStart, fromEnd, toStart, toEnd } = part;
  while (fromStart < fromEnd && toStart < toEnd && from[fromStart] === to[toStart]) matches[toStart++] = fromStart++;
  while (fromStart < fromEnd && toStart < toEnd && from[fromEnd - 1] === to[toEnd - 1]) matches[--toEnd] = --fromEnd;
  if (fromStart === fromEnd || toStart === toEnd) return;
  const inner = { fromStart, fromEnd, toStart, toEnd };
  const anchors = increasing(uniquePairs(from, to, inner));
  if (anchors.length === 0) return alignExactly(from, to, inner, matches);
  for (const [fromAt, toAt] of [...anchors, [fromEnd, toEnd] as const]) {
    align(from, to, { fromStart, fromEnd: fromAt, toStart, toEnd: toAt }, matches);
    if (toAt < toEnd) matches[toAt] = fromAt;
    fromStart = fromAt + 1;
    toStart = toAt + 1;
  }
}

/** The tokens that are there once in both parts, in the order of `to`. */
function uniquePairs(from: readonly string[], to: readonly string[], part: Part): [from: number, to: number][] {
  const inFrom = placesOf(from, part.fromStart, part.fromEnd);
  const pairs: [number, number][] = [];
  for (const [token, toAt] of placesOf(to, part.toStart, part.toEnd)) {
    const fromAt = inFrom.get(token) ?? TWICE;
    if (toAt !== TWICE && fromAt !== TWICE) pairs.push([fromAt, toAt]);
  }
  return pairs.sort((a, b) => a[1] - b[1]);
}

const TWICE = -1;

function placesOf(tokens: readonly string[], start: number, end: number): Map<string, number> {
  const places = new Map<string, number>();
  for (let at = start; at < end; at++) {
    const token = tokens[at] as string;
    places.set(token, places.has(token) ? TWICE : at);
  }
  return places;
}

/** The longest part of the pairs that increases in both numbers. */
function increasing(pairs: readonly [number, number][]): [number, number][] {
  // For each length, the index of the pair that ends such a row with the least number.
  const ends: number[] = [];
  const before: number[] = [];
  for (const [index, [fromAt]] of pairs.entries()) {
    let low = 0;
    let high = ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((pairs[ends[middle] as number] as [number, number])[0] < fromAt) low = middle + 1;
      else high = middle;
    }
    before.push(low === 0 ? -1 : (ends[low - 1] as number));
    ends[low] = index;
  }
  const row: [number, number][] = [];
  for (let index = ends.at(-1) ?? -1; index !== -1; index = before[index] as number)
    row.push(pairs[index] as [number, number]);
  return row.reverse();
}

/** The longest common subsequence. Nothing for a part that is too large. */
function alignExactly(from: readonly string[], to: readonly string[], part: Part, matches: Int32Array): void {
  const rows = part.fromEnd - part.fromStart;
  const columns = part.toEnd - part.toStart;
  if (rows * columns > MAX_CELLS) return;
  const width = columns + 1;
  const lengths = new Int32Array((rows + 1) * width);
  const isEqual = (row: number, column: number): boolean => from[part.fromStart + row] === to[part.toStart + column];
  for (let row = rows - 1; row >= 0; row--) {
    for (let column = columns - 1; column >= 0; column--) {
      const [below, right, both] = [
        (row + 1) * width + column,
        row * width + column + 1,
        (row + 1) * width + column + 1,
      ];
      lengths[row * width + column] = isEqual(row, column)
        ? (lengths[both] as number) + 1
        : Math.max(lengths[below] as number, lengths[right] as number);
    }
  }
  for (let row = 0, column = 0; row < rows && column < columns;) {
    if (isEqual(row, column)) matches[part.toStart + column++] = part.fromStart + row++;
    else if ((lengths[(row + 1) * width + column] as number) >= (lengths[row * width + column + 1] as number)) row++;
    else column++;
  }
}

/** Reads positions of ascending offsets as line and column. */
class Lines {
  line = 0;
  #lineStart = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** @param offset not less than the one before @returns its column */
  columnOf(offset: number): number {
    for (;;) {
      const end = this.#text.indexOf("\n", this.#lineStart);
      if (end < 0 || end >= offset) return offset - this.#lineStart;
      this.line++;
      this.#lineStart = end + 1;
    }
  }
}

function encode(
  source: string,
  fromStarts: readonly number[],
  code: string,
  toStarts: readonly number[],
  matches: Int32Array,
): string {
  const original = new Lines(source);
  const generated = new Lines(code);
  let mappings = "";
  let [line, lastColumn, lastLine, lastOriginal] = [0, 0, 0, 0];
  for (const [at, fromAt] of matches.entries()) {
    if (fromAt === -1) continue;
    const column = generated.columnOf(toStarts[at] as number);
    const originalColumn = original.columnOf(fromStarts[fromAt] as number);
    const isNewLine = generated.line > line;
    if (isNewLine) {
      mappings += ";".repeat(generated.line - line);
      line = generated.line;
      lastColumn = 0;
    } else if (mappings !== "") mappings += ",";
    mappings += vlq(column - lastColumn) + "A" + vlq(original.line - lastLine) + vlq(originalColumn - lastOriginal);
    [lastColumn, lastLine, lastOriginal] = [column, original.line, originalColumn];
  }
  return mappings;
}

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** A number as in source maps: five bits a digit, the lowest first, the sign in the first bit. */
function vlq(value: number): string {
  let rest = value < 0 ? (-value << 1) | 1 : value << 1;
  let text = "";
  do {
    const digit = rest & 31;
    rest >>>= 5;
    text += DIGITS[rest > 0 ? digit | 32 : digit];
  } while (rest > 0);
  return text;
}
