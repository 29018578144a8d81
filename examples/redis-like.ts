/**
 * A framing function for an existing protocol: RESP, which clients of Redis speak. A message is an array of words, each
 * with its length in front: `*2\r\n$3\r\nGET\r\n$5\r\ncolor\r\n`. It has four commands, and Redis's own errors for all
 * others: most clients that begin with HELLO, CLIENT or INFO then go on without them (node-redis with RESP: 2). The
 * data survives a reload.
 *
 *   redis-cli -p 8080 set color blue      # OK
 *   redis-cli -p 8080 get color           # blue
 */
import { NEED_MORE, defineModule } from "hrmr";

/** Words are latin1, one character for each byte: Redis's values may be any bytes. */
const toWord = (bytes: Uint8Array) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
const toBytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** @returns the words, and the end of the message; null: it is not complete yet */
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
/** An error is one line, whatever the client sent. */
const error = (text: string) => `-ERR ${text.replace(/[\r\n]/g, " ")}\r\n`;

/** By name: the number of words, its name included, and its answer. */
const COMMANDS: Record<
  string,
  { min: number; max: number; run: (words: string[], data: Map<string, string>) => string }
> = {
  PING: { min: 1, max: 2, run: ([, text]) => (text === undefined ? "+PONG\r\n" : bulk(text)) },
  ECHO: { min: 2, max: 2, run: ([, text]) => bulk(text) },
  GET: { min: 2, max: 2, run: ([, key = ""], data) => bulk(data.get(key)) },
  SET: { min: 3, max: 3, run: ([, key = "", value = ""], data) => (data.set(key, value), "+OK\r\n") },
};

function answer(words: string[], data: Map<string, string>): string {
  const [name = "", ...rest] = words;
  const command = Object.hasOwn(COMMANDS, name.toUpperCase()) ? COMMANDS[name.toUpperCase()] : undefined;
  if (words.length === 0) return "";
  const given = rest.map((word) => `'${word.slice(0, 128)}' `).join("");
  // ioredis begins with INFO. If the error says NOPERM, it continues without it.
  if (name.toUpperCase() === "INFO") return error("unknown command 'INFO' (NOPERM)");
  if (command === undefined)
    return error(`unknown command '${name.slice(0, 128)}', with args beginning with: ${given.slice(0, 128)}`);
  if (words.length < command.min) return error(`wrong number of arguments for '${name.toLowerCase()}' command`);
  return words.length > command.max ? error("syntax error") : command.run(words, data);
}

export default defineModule({
  setup: (_context, handoff): Map<string, string> => new Map(handoff instanceof Map ? handoff : []),
  handoff: (data) => data,
  routes: {
    "*": {
      framing: (bytes) => parse(bytes)?.end ?? NEED_MORE,
      handle: (message, { state }) => toBytes(answer(parse(message.bytes)?.words ?? [], state)),
    },
  },
});
