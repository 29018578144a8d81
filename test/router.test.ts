import { describe, expect, test } from "bun:test";
import { escapeBytes, noModuleError } from "../src/router/escape";
import { NEED_MORE, NO_MATCH } from "../src/router/match";
import { looksLikeHttp, looksLikeTls, mayBecomeMethod } from "../src/router/sniff";
import { PrefixTrie } from "../src/router/trie";
import { bytesOf, forSeeds, type Random } from "./support/random";

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
        for (let end = 0; end < bytes.length && answer === NEED_MORE; end += step) answer = trie.match(bytes.subarray(0, end), 0, false);
        if (answer === NEED_MORE) answer = trie.match(bytes, 0, true);
        expect(answer).toBe(whole);
      }
    });
  });
});

describe("what looks like HTTP", () => {
  const HTTP = [
    ..."GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH".split(" ").map((method) => `${method} /`),
    "GET \n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "get / HTTP/1.1\r\n",
    "PROPFIND /dav HTTP/1.1",
    "\x00\xffHTTP/",
    `${"x".repeat(8187)}HTTP/`,
  ];
  const NOT_HTTP = [
    "PING\n",
    "GETS\n",
    "GET\n",
    "GET\t/\n",
    "HTTP\n/",
    "http/1.1\n",
    "PING\nGET / HTTP/1.1\n",
    `${"x".repeat(8188)}HTTP/`,
    "\n",
  ];

  test.each(HTTP)("%j does", (text) => {
    expect(looksLikeHttp(bytesOf(text), 0, false)).toBe(true);
    expect(looksLikeHttp(bytesOf(`HTTP/${text}`), 5, true)).toBe(true);
  });

  test.each(NOT_HTTP)("%j does not", (text) => {
    expect(looksLikeHttp(bytesOf(text), 0, false)).toBe(false);
    expect(looksLikeHttp(bytesOf(`GET ${text}`), 4, true)).toBe(false);
  });

  test.each(["", "G", "GET", "PRI * HTTP", "PING", "x".repeat(8191)])("%j may yet", (text) => {
    expect(looksLikeHttp(bytesOf(text), 0, false)).toBe(NEED_MORE);
    expect(looksLikeHttp(bytesOf(text), 0, true)).toBe(false);
  });

  test("is not told from what stands before the message", () => {
    expect(looksLikeHttp(bytesOf("HTTP/\n"), 1, true)).toBe(false);
    expect(looksLikeHttp(bytesOf("HTTP/\n"), 4, true)).toBe(false);
    expect(looksLikeHttp(bytesOf("GET /\n"), 1, true)).toBe(false);
  });

  test("is the same byte by byte as whole", () => {
    for (const text of [...HTTP, ...NOT_HTTP].filter((text) => text.length < 100)) {
      const bytes = bytesOf(text);
      let answer: boolean | typeof NEED_MORE = NEED_MORE;
      for (let end = 0; end <= bytes.length && answer === NEED_MORE; end++) answer = looksLikeHttp(bytes.subarray(0, end), 0, false);
      expect(answer).toBe(HTTP.includes(text));
    }
  });

  test("a method and a space that have begun are told from what can no longer be one", () => {
    for (const text of ["G", "GET", "P", "OPTIONS"]) expect(mayBecomeMethod(bytesOf(text), 0)).toBe(true);
    for (const text of ["", "GET ", "g", "GREET", "PING"]) expect(mayBecomeMethod(bytesOf(text), 0)).toBe(false);
    expect(mayBecomeMethod(bytesOf("xxPU"), 2)).toBe(true);
  });
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
