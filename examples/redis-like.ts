/**
 * A protocol of one's own by a framing function: the part of Redis's RESP that its clients use. The data survives a reload.
 *
 *   redis-cli -p 8080 set color blue
 *   redis-cli -p 8080 get color
 */
import { NEED_MORE, defineModule } from "hrmr";

/** Words are latin1, a character a byte: Redis's values are any bytes. */
type State = Map<string, string>;
const toWord = (bytes: Uint8Array) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
const toBytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** Splits *2\r\n$3\r\nGET\r\n$1\r\na\r\n, an array of bulk strings. Lengths count bytes. null: it is not complete yet. */
function parse(bytes: Uint8Array): { words: string[]; end: number } | null {
  let at = 0;
  const length = (mark: string) => {
    const end = bytes.indexOf(13, at);
    if (end === -1 || end + 1 >= bytes.length) return null;
    const line = toWord(bytes.subarray(at, end));
    // Throwing ends the connection: behind broken framing nobody knows where the next message begins.
    if (line[0] !== mark || !/^\d{1,7}$/.test(line.slice(1))) throw new Error(`expected ${mark} and a length`);
    at = end + 2;
    return Number(line.slice(1));
  };
  const count = length("*");
  const words: string[] = [];
  while (count !== null && words.length < count) {
    const size = length("$");
    if (size === null || at + size + 2 > bytes.length) return null;
    words.push(toWord(bytes.subarray(at, at + size)));
    at += size + 2;
  }
  return count === null ? null : { words, end: at };
}

const bulk = (word: string | undefined) => (word === undefined ? "$-1\r\n" : `$${word.length}\r\n${word}\r\n`);

function run([command = "", key, value]: string[], data: State): string {
  const name = command.toUpperCase();
  if (name === "PING") return key === undefined ? "+PONG\r\n" : bulk(key);
  if (name === "COMMAND") return "*0\r\n";
  if (name === "ECHO" && key !== undefined) return bulk(key);
  if (name === "GET" && key !== undefined) return bulk(data.get(key));
  if (name === "SET" && key !== undefined && value !== undefined) return data.set(key, value) && "+OK\r\n";
  return `-ERR unknown command or too few arguments: ${JSON.stringify(command)}\r\n`;
}

export default defineModule<State>({
  setup: (_context, handoff) => new Map(handoff instanceof Map ? handoff : []),
  handoff: (data) => data,
  routes: {
    "*": {
      framing: (bytes) => parse(bytes)?.end ?? NEED_MORE,
      handle: (message, { state }) => toBytes(run(parse(message.bytes)?.words ?? [], state)),
    },
  },
});
