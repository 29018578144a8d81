import { describe, expect, test } from "bun:test";
import { escapeBytes, noModuleError } from "../../src/router/escape";
import { NEED_MORE, NO_MATCH } from "../../src/router/match";
import {
  beginsWithMethod,
  endsLikeRequest,
  HTTP,
  LINE_PENDING,
  looksLikeField,
  looksLikeTls,
  mayBecomeAnyMethod,
  mayBecomeMethod,
  NOT_HTTP,
  readOpening,
  UNDECIDED,
} from "../../src/router/sniff";
import { PrefixTrie } from "../../src/router/trie";
import { bytesOf, forSeeds, type Random } from "../support/random";

interface Key {
  text: string;
  isWord: boolean;
}

function trieOf(keys: readonly Key[]): PrefixTrie<string> {
  return PrefixTrie.build(keys.map(({ text, isWord }) => ({ key: bytesOf(text), value: text, isWord })));
}

function plain(...texts: string[]): PrefixTrie<string> {
  return trieOf(texts.map((text) => ({ text, isWord: false })));
}

function word(text: string): Key {
  return { text, isWord: true };
}

/** The rule in so many words: the longest key that fits the whole input. */
function longestPrefix(keys: readonly Key[], input: string): string | typeof NO_MATCH {
  const fitting = keys.filter(({ text, isWord }) => {
    if (!input.startsWith(text)) return false;
    return !isWord || input.length === text.length || " \r\n".includes(input.charAt(text.length));
  });
  return fitting.sort((a, b) => b.text.length - a.text.length)[0]?.text ?? NO_MATCH;
}

/** Whether two continuations of `input` would be answered differently, found by trying them. */
function isUndecided(keys: readonly Key[], input: string): boolean {
  const continuations = [
    "",
    ...keys.filter(({ text }) => text.startsWith(input)).flatMap(({ text }) => [text.slice(input.length)]),
    "~",
    " ",
  ];
  return new Set(continuations.map((more) => longestPrefix(keys, input + more))).size > 1;
}

function someKeys(random: Random): Key[] {
  const texts = new Set(random.list(8, () => random.text("AB \n\xff", 5)).filter((text) => text !== ""));
  return [...texts].map((text) => ({ text, isWord: random.below(3) === 0 }));
}

/** Alphabet of the keys, and one byte that no key has. */
function someInput(random: Random): string {
  return random.text("ABA \n\xffz", 8);
}

describe("the prefix trie", () => {
  test("gives the longest key that the input begins with", () => {
    const trie = plain("P", "PING", "PINGPONG");
    expect(trie.match(bytesOf("PINGPO!"), 0, true)).toBe("PING");
    expect(trie.match(bytesOf("PINGPONG"), 0, false)).toBe("PINGPONG");
    expect(trie.match(bytesOf("QING"), 0, false)).toBe(NO_MATCH);
    expect(trie.match(bytesOf("xxPIXG"), 2, false)).toBe("P");
  });

  test("waits while a longer key could win, and takes the longest so far when nothing more will come", () => {
    const trie = plain("PING", "PINGPONG");
    expect(trie.match(bytesOf(""), 0, false)).toBe(NEED_MORE);
    expect(trie.match(bytesOf("PI"), 0, false)).toBe(NEED_MORE);
    expect(trie.match(bytesOf("PI"), 0, true)).toBe(NO_MATCH);
    expect(trie.match(bytesOf("PINGP"), 0, false)).toBe(NEED_MORE);
    expect(trie.match(bytesOf("PINGP"), 0, true)).toBe("PING");
    expect(trie.match(bytesOf("xx"), 2, true)).toBe(NO_MATCH);
  });

  test("takes a word only where it ends", () => {
    const trie = trieOf([word("CLOSE"), { text: "CL", isWord: false }]);
    for (const end of [" now", "\r\n", "\n"]) expect(trie.match(bytesOf(`CLOSE${end}`), 0, false)).toBe("CLOSE");
    expect(trie.match(bytesOf("CLOSE"), 0, false)).toBe(NEED_MORE);
    expect(trie.match(bytesOf("CLOSE"), 0, true)).toBe("CLOSE");
    expect(trie.match(bytesOf("CLOSED"), 0, false)).toBe("CL");
    expect(trie.match(bytesOf("CLOSE\t"), 0, true)).toBe("CL");
  });

  test("without keys matches nothing, at once", () => {
    const trie = plain();
    expect(trie.match(bytesOf(""), 0, false)).toBe(NO_MATCH);
    expect(trie.match(bytesOf("A"), 0, false)).toBe(NO_MATCH);
    expect(trie.mayStartWith(0x41)).toBe(false);
  });

  test("with an empty key matches everything", () => {
    const trie = plain("", "PING");
    expect(trie.match(bytesOf("x"), 0, false)).toBe("");
    expect(trie.match(bytesOf("P"), 0, false)).toBe(NEED_MORE);
    expect(trie.match(bytesOf("P"), 0, true)).toBe("");
    expect(trie.mayStartWith(0x78)).toBe(true);
  });

  test("tells the bytes that a match can begin with", () => {
    const trie = plain("\0", "M", "\xff");
    const bytes = Array.from({ length: 256 }, (_, byte) => byte);
    expect(bytes.filter((byte) => trie.mayStartWith(byte))).toEqual([0, 0x4d, 0xff]);
  });

  test("holds the first of two equal keys", () => {
    const trie = PrefixTrie.build([1, 2].map((value) => ({ key: bytesOf("A"), value })));
    expect(trie.match(bytesOf("A"), 0, true)).toBe(1);
  });

  test("agrees with trying every key, for any keys and input", () => {
    forSeeds(3000, (random) => {
      const keys = someKeys(random);
      const input = someInput(random);
      expect(trieOf(keys).match(bytesOf(`##${input}`), 2, true)).toBe(longestPrefix(keys, input));
    });
  });

  test("asks for more exactly while what follows could change the answer", () => {
    forSeeds(3000, (random) => {
      const keys = someKeys(random);
      const input = someInput(random);
      const expected = isUndecided(keys, input) ? NEED_MORE : longestPrefix(keys, input);
      expect(trieOf(keys).match(bytesOf(input), 0, false)).toBe(expected);
    });
  });

  test("answers the same whole and in pieces, however they are cut", () => {
    forSeeds(2000, (random) => {
      const keys = someKeys(random);
      const trie = trieOf(keys);
      const bytes = bytesOf(someInput(random));
      const whole = trie.match(bytes, 0, true);
      for (let step = 1; step <= 3; step++) {
        let answer: ReturnType<typeof trie.match> = NEED_MORE;
        for (let end = 0; end < bytes.length && answer === NEED_MORE; end += step)
          answer = trie.match(bytes.subarray(0, end), 0, false);
        if (answer === NEED_MORE) answer = trie.match(bytes, 0, true);
        expect(answer).toBe(whole);
      }
    });
  });
});

describe("the opening of a message", () => {
  const OPENINGS: Record<string, ReturnType<typeof readOpening>> = {
    "GET / HTTP/1.1\r\n": HTTP,
    "STATUS / HTTP/1.1\r\n": HTTP,
    "STATUS / HTTP/1.1\n": HTTP,
    "SAY /a b c HTTP/1.0\r\nHost: x": HTTP,
    "say http://x/ HTTP/1.1\r\n": HTTP,
    "SAY x-1+a.b:c HTTP/9.9\n": HTTP,
    "SAY * HTTP/1.1\r\n": HTTP,
    "SAY  \t/ HTTP/1.1 \r\n": HTTP,
    "!#$%&'*+-.^_`|~0 / HTTP/1.1\r\n": HTTP,
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": HTTP,
    "CONNECT a:1 HTTP/1.1\r\n": HTTP,
    "CONNECT no target HTTP/\n": HTTP,
    "GET x HTTP/": HTTP,
    "GET x HTTP/ y\n": HTTP,
    "GET / HTTP/1.1": HTTP,
    "SAY I like HTTP/2\n": NOT_HTTP,
    "SAY HTTP/1.1\n": NOT_HTTP,
    "SAY x HTTP/1.1\n": NOT_HTTP,
    "SAY : HTTP/1.1\n": NOT_HTTP,
    "SAY ?q HTTP/1.1\n": NOT_HTTP,
    "SAY / HTTP/1.11\n": NOT_HTTP,
    "SAY / HTTP/1\n": NOT_HTTP,
    "SAY / HTTP/11.1\n": NOT_HTTP,
    "SAY /HTTP/1.1\n": NOT_HTTP,
    "SAY / http/1.1\n": NOT_HTTP,
    "SAY /x\nSAY / HTTP/1.1\n": NOT_HTTP,
    "GET x\n HTTP/1.1": NOT_HTTP,
    "GET HTTP/1.1\n": HTTP,
    "PING\n": NOT_HTTP,
    "PING\r\nGET / HTTP/1.1\r\n": NOT_HTTP,
    "*2\r\n$4\r\n": NOT_HTTP,
    '{"jsonrpc": "2.0"}\n': NOT_HTTP,
    " / HTTP/1.1\n": NOT_HTTP,
    "\x16\x03\x01": NOT_HTTP,
    "SAY\t/ HTTP/1.1\n": NOT_HTTP,
    "SAY (": NOT_HTTP,
    "SAY hello there": NOT_HTTP,
    "SAY /": LINE_PENDING,
    "SAY / HTTP/1.1": LINE_PENDING,
    "SAY / HTTP/1.1\r": LINE_PENDING,
    "SAY *": LINE_PENDING,
    "SAY a:": LINE_PENDING,
    "CONNECT ": LINE_PENDING,
    "CONNECT x y": LINE_PENDING,
    "GET ": LINE_PENDING,
    "GET /x": LINE_PENDING,
    "": UNDECIDED,
    PING: UNDECIDED,
    "SAY ": UNDECIDED,
    "SAY hello": UNDECIDED,
    "GET hello there": UNDECIDED,
  };

  test.each(Object.entries(OPENINGS))("%j is told by its first line", (text, opening) => {
    expect(readOpening(bytesOf(text), 0)).toBe(opening);
    expect(readOpening(bytesOf(`/ HTTP/1.1 ${text}`), 11)).toBe(opening);
  });

  test("gets the same answer byte by byte, once there is one", () => {
    for (const [text, whole] of Object.entries(OPENINGS)) {
      const bytes = bytesOf(text);
      let judged: ReturnType<typeof readOpening> = UNDECIDED;
      for (let end = 0; end <= bytes.length && judged !== HTTP && judged !== NOT_HTTP; end++)
        judged = readOpening(bytes.subarray(0, end), 0);
      expect([text, judged]).toEqual([text, whole]);
    }
  });

  test("skips bytes that are known to hold no line end", () => {
    const bytes = bytesOf("SAY /a HTTP/1.1\r\n");
    for (let scanned = 0; scanned < bytes.length; scanned++) expect(readOpening(bytes, 0, scanned)).toBe(HTTP);
  });

  test("is HTTP by one of nine methods alone if no raw key fits", () => {
    for (const method of "GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH".split(" "))
      expect(beginsWithMethod(bytesOf(`${method} x`), 0)).toBe(true);
    for (const text of ["GET", "GETS ", "get ", "SUBSCRIBE ", "PROPFIND ", "PING "])
      expect(beginsWithMethod(bytesOf(text), 0)).toBe(false);
    expect(beginsWithMethod(bytesOf("xxGET "), 2)).toBe(true);
  });

  test("a method and a space that have begun are told from what can no longer be one", () => {
    for (const text of ["G", "GET", "P", "OPTIONS", "PRI * HTTP/2.0", "PRI * HTTP/2.0\r"])
      expect(mayBecomeMethod(bytesOf(text), 0)).toBe(true);
    for (const text of ["", "GET ", "g", "GREET", "PING", "PROPF"])
      expect(mayBecomeMethod(bytesOf(text), 0)).toBe(false);
    expect(mayBecomeMethod(bytesOf("xxPU"), 2)).toBe(true);
    for (const text of ["G", "PROPF", "M-SEARCH"]) expect(mayBecomeAnyMethod(bytesOf(text), 0)).toBe(true);
    for (const text of ["", "GET ", "STAT", "PING"]) expect(mayBecomeAnyMethod(bytesOf(text), 0)).toBe(false);
  });
});

test("a malformed request is told by the end of its line", () => {
  for (const text of [" GET / HTTP/1.1\r\n", "GET\t/\tHTTP/1.1\n", "hello HTTP/1.1 \r\nHost"])
    expect(endsLikeRequest(bytesOf(text), 0)).toBe(true);
  for (const text of ["", "hello HTTP/1.1", "I like HTTP/2\n", "HTTP/1.1\n", "a\nb HTTP/1.1\n", "a http/1.1\n"])
    expect(endsLikeRequest(bytesOf(text), 0)).toBe(false);
});

test("a line that reads like a header field is told by its name and colon", () => {
  for (const text of ["Host: x\n", "Content-Length:5", "x:"]) expect(looksLikeField(bytesOf(text), 0)).toBe(true);
  for (const text of ["", ":", "Host", "Host : x", "a b:", '{"a": 1}'])
    expect(looksLikeField(bytesOf(text), 0)).toBe(false);
});

test("a TLS record is told by its first byte, and by its second if that has come", () => {
  expect(looksLikeTls(bytesOf("\x16"), 0)).toBe(true);
  expect(looksLikeTls(bytesOf("\x16\x03\x01"), 0)).toBe(true);
  expect(looksLikeTls(bytesOf("ab\x16\x03"), 2)).toBe(true);
  expect(looksLikeTls(bytesOf("\x16\x04"), 0)).toBe(false);
  expect(looksLikeTls(bytesOf("\x17\x03"), 0)).toBe(false);
  expect(looksLikeTls(bytesOf(""), 0)).toBe(false);
});

describe("a peer's bytes in errors", () => {
  test("are printable and cut", () => {
    expect(escapeBytes(bytesOf('a"\\\r\n\t\0\x1b\x7f\xff~'), 99)).toBe('a\\"\\\\\\r\\n\\t\\x00\\x1b\\x7f\\xff~');
    expect(escapeBytes(bytesOf("0123456789abcdef"))).toBe("0123456789abcdef");
    expect(escapeBytes(bytesOf("0123456789abcdefg"))).toBe("0123456789abcdef…");
    expect(escapeBytes(bytesOf("abc"), 2)).toBe("ab…");
    expect(escapeBytes(bytesOf(""))).toBe("");
  });

  test("stand in the reply to a message that no module takes", () => {
    expect(noModuleError(bytesOf("XYZ"))).toBe('ERR no module is bound to "XYZ"\n');
    expect(noModuleError(bytesOf("XYZ 1\n"))).toBe('ERR no module is bound to "XYZ 1\\n"\n');
  });
});
