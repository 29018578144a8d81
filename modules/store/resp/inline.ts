/** A line of words, as people type them: `SET name "two words\n"`. Pure. */

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", b: "\b", a: "\x07" };
const SPACE = /[ \n\r\t\v\f\0]/;

/**
 * @param line one character for each byte
 * @returns its words; null: a quote is not closed, or something follows it
 */
export function splitLine(line: string): string[] | null {
  const words: string[] = [];
  for (let at = 0; ;) {
    while (at < line.length && SPACE.test(line[at] as string)) at++;
    if (at >= line.length) return words;
    const word = readWord(line, at);
    if (word === null) return null;
    words.push(word.text);
    at = word.end;
  }
}

function readWord(line: string, from: number): { text: string; end: number } | null {
  let text = "";
  for (let at = from; at < line.length; at++) {
    const letter = line[at] as string;
    if (SPACE.test(letter)) return { text, end: at };
    if (letter !== '"' && letter !== "'") {
      text += letter;
      continue;
    }
    const quoted = letter === '"' ? readDouble(line, at + 1) : readSingle(line, at + 1);
    if (quoted === null || (quoted.end < line.length && !SPACE.test(line[quoted.end] as string))) return null;
    return { text: text + quoted.text, end: quoted.end };
  }
  return { text, end: line.length };
}

function readDouble(line: string, from: number): { text: string; end: number } | null {
  let text = "";
  for (let at = from; at < line.length; at++) {
    const letter = line[at] as string;
    if (letter === '"') return { text, end: at + 1 };
    if (letter !== "\\" || at + 1 >= line.length) {
      text += letter;
      continue;
    }
    const hex = /^x([0-9a-fA-F]{2})/.exec(line.slice(at + 1, at + 4));
    const next = line[at + 1] as string;
    text += hex === null ? (ESCAPES[next] ?? next) : String.fromCharCode(Number.parseInt(hex[1] as string, 16));
    at += hex === null ? 1 : 3;
  }
  return null;
}

function readSingle(line: string, from: number): { text: string; end: number } | null {
  let text = "";
  for (let at = from; at < line.length; at++) {
    const letter = line[at] as string;
    if (letter === "'") return { text, end: at + 1 };
    const isQuote = letter === "\\" && line[at + 1] === "'";
    text += isQuote ? "'" : letter;
    if (isQuote) at++;
  }
  return null;
}
