/** The fast path takes only requests that llhttp reads the same way: the bytes themselves, without a socket. */
import { expect, test } from "bun:test";
import { DEFAULT_LIMITS } from "../../../src/config/options";
import { plainBody, readPlainBody, readPlainGet } from "../../../src/protocol/http1/fast";
import type { RequestHead } from "../../../src/protocol/http1/head";
import { RequestParser } from "../../../src/protocol/http1/parser";
import { OwnReply } from "../../../src/protocol/web/own-reply";
import { LightHeaders } from "../../../src/protocol/web/request";
import { forSeeds, type Random } from "../../support/random";

const LIMITS = { ...DEFAULT_LIMITS, maxHeaderBytes: 400, maxHeaderFields: 8, maxBodyBytes: 20 };

/** A head as plain data, and where it ends. */
function plain(head: RequestHead, end: number): object {
  const headers = [...new LightHeaders(head.fields)].map(([name, value]) => `${name}: ${value}`);
  return { ...head, fields: headers.sort(), end };
}

/** @returns null if the fast path leaves it to llhttp */
function fast(bytes: Buffer): object | null {
  const get = readPlainGet(bytes, 0, LIMITS);
  if (get !== null) return plain(get, bytes.length);
  const head = readPlainBody(bytes, 0, LIMITS);
  return head && plain(head, plainBody.start);
}

/** @returns null if it is refused, or incomplete */
function slow(bytes: Buffer): object | null {
  const parser = RequestParser.acquire(LIMITS);
  try {
    const head = parser.readHead(bytes, 0, LIMITS);
    return head === null || head instanceof OwnReply ? null : plain(head, parser.consumed);
  } finally {
    parser.release();
  }
}

const HOST = "Host: a.test\r\n";
const LENGTH = "Content-Length: 5\r\n";
const post = (lines: string, body = "hello", method = "POST") => `${method} /a?b HTTP/1.1\r\n${lines}\r\n${body}`;

test.each([
  ["POST", post(HOST + LENGTH)],
  ["PUT", post(HOST + LENGTH, "hello", "PUT")],
  ["PATCH", post(HOST + LENGTH, "hello", "PATCH")],
  ["fields on both sides of the length", post(`${HOST}A: b\r\n${LENGTH}C: d\r\nContent-Type: text/plain\r\n`)],
  ["Connection: keep-alive", post(`${HOST}Connection: keep-alive\r\n${LENGTH}`)],
  ["Connection: keep-alive behind the length", post(`${HOST}${LENGTH}Connection: keep-alive\r\n`)],
  ["a length in small letters", post(`${HOST}content-length: 5\r\n`)],
  ["a length without a space", post(`${HOST}Content-Length:5\r\n`)],
  ["leading zeros", post(`${HOST}Content-Length: 005\r\n`)],
  ["no body", post(`${HOST}Content-Length: 0\r\n`, "")],
  ["a body that is a request", post(`${HOST}Content-Length: 18\r\n`, "GET / HTTP/1.1\r\n\r\n")],
  ["another request behind it", `${post(HOST + LENGTH)}GET / HTTP/1.1\r\n${HOST}\r\n`],
  ["a body with an empty line", post(`${HOST}Content-Length: 8\r\n`, "\r\n\r\n\r\n\r\n")],
  ["a field whose name contains the length's", post(`${HOST}X-Content-Length: 9\r\n${LENGTH}`)],
])("a request with a body is taken by the fast path: %s", (_, text) => {
  const bytes = Buffer.from(text, "latin1");
  // The second time the head is known by its text.
  for (let time = 0; time < 2; time++) {
    expect(fast(bytes)).not.toBeNull();
    expect(fast(bytes)).toEqual(slow(bytes));
  }
});

test.each([
  ["a body that is not complete", post(HOST + LENGTH, "hell")],
  ["two lengths", post(HOST + LENGTH + LENGTH)],
  ["two lengths apart", post(`${HOST}${LENGTH}A: b\r\ncontent-length: 4\r\n`)],
  ["a list of lengths", post(`${HOST}Content-Length: 5, 5\r\n`)],
  ["a signed length", post(`${HOST}Content-Length: +5\r\n`)],
  ["a space behind the length", post(`${HOST}Content-Length: 5 \r\n`)],
  ["a tab before the length", post(`${HOST}Content-Length:\t5\r\n`)],
  ["a hexadecimal length", post(`${HOST}Content-Length: 0x5\r\n`)],
  ["a length that is no exact number", post(`${HOST}Content-Length: 0000000000000005\r\n`)],
  ["a length beyond the limit", post(`${HOST}Content-Length: 21\r\n`, "a".repeat(21))],
  ["no length", post(HOST, "")],
  ["Transfer-Encoding behind the length", post(`${HOST}${LENGTH}Transfer-Encoding: chunked\r\n`)],
  ["Transfer-Encoding before the length", post(`${HOST}transfer-encoding: chunked\r\n${LENGTH}`)],
  ["an empty Transfer-Encoding", post(`${HOST}${LENGTH}Transfer-Encoding:\r\n`)],
  ["Expect", post(`${HOST}Expect: 100-continue\r\n${LENGTH}`)],
  ["Upgrade", post(`${HOST}Upgrade: h2c\r\n${LENGTH}`)],
  ["Connection: close", post(`${HOST}Connection: close\r\n${LENGTH}`)],
  ["Connection: keep-alive, close", post(`${HOST}Connection: keep-alive, close\r\n${LENGTH}`)],
  ["Connection: content-length", post(`${HOST}Connection: content-length\r\n${LENGTH}`)],
  ["two Hosts", post(HOST + LENGTH + HOST)],
  ["no Host", post(LENGTH)],
  ["the Host behind the length", post(LENGTH + HOST)],
  ["a folded length", post(`${HOST}Content-Length:\r\n 5\r\n`)],
  ["a folded field behind the length", post(`${HOST}${LENGTH} 6\r\n`)],
  ["a space before the length's colon", post(`${HOST}Content-Length : 5\r\n`)],
  ["a bare LF behind the length", post(`${HOST}Content-Length: 5\n`)],
  ["a NUL in a value", post(`${HOST}${LENGTH}A: \0\r\n`)],
  ["HTTP/1.0", post(HOST + LENGTH).replace("/1.1", "/1.0")],
  ["HTTP/1.2", post(HOST + LENGTH).replace("/1.1", "/1.2")],
  ["a protocol in small letters", post(HOST + LENGTH).replace("HTTP", "http")],
  ["a method in small letters", post(HOST + LENGTH, "hello", "post")],
  ["a method with one small letter", post(HOST + LENGTH, "hello", "PUt")],
  ["a method that begins alike", post(HOST + LENGTH, "hello", "POSTS")],
  ["PROPFIND", post(HOST + LENGTH, "hello", "PROPFIND")],
  ["GET with a body", post(HOST + LENGTH, "hello", "GET")],
  ["an absolute target", post(HOST + LENGTH).replace("/a?b", "http://b.test/")],
  ["an asterisk", post(HOST + LENGTH).replace("/a?b", "*")],
  ["too many fields", post(HOST + "A: b\r\n".repeat(7) + LENGTH)],
  ["a head beyond the limit", post(`${HOST}A: ${"a".repeat(400)}\r\n${LENGTH}`)],
  ["an empty line before it", `\r\n${post(HOST + LENGTH)}`],
])("a request with a body is left to llhttp: %s", (_, text) => {
  // The plain one before it is remembered, and must not answer for it.
  expect(fast(Buffer.from(post(HOST + LENGTH), "latin1"))).not.toBeNull();
  expect(fast(Buffer.from(text, "latin1"))).toBeNull();
});

test("a known head is told from its beginning, and from a head that goes on", () => {
  const text = post(HOST + LENGTH);
  const whole = Buffer.from(text, "latin1");
  for (let end = 0; end < whole.length; end++) {
    expect(fast(whole)).not.toBeNull();
    expect(fast(whole.subarray(0, end))).toBeNull();
  }
  const longer = Buffer.from(post(`${HOST}${LENGTH}A: b\r\n`), "latin1");
  expect(fast(longer)).toEqual(slow(longer));
});

test("other limits are asked for a known head, too", () => {
  const bytes = Buffer.from(post(HOST + LENGTH), "latin1");
  expect(readPlainBody(bytes, 0, LIMITS)).not.toBeNull();
  expect(readPlainBody(bytes, 0, { ...LIMITS, maxBodyBytes: 4 })).toBeNull();
  expect(readPlainBody(bytes, 0, { ...LIMITS, maxHeaderBytes: 40 })).toBeNull();
});

const PIECES = [
  HOST,
  LENGTH,
  "Content-Length: 3\r\n",
  "content-length:0\r\n",
  "Content-Length: 05\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Connection: keep-alive\r\n",
  "Connection: close\r\n",
  "connection:keep-alive\r\n",
  "Expect: 100-continue\r\n",
  "Upgrade: x\r\n",
  "A: b\r\n",
  "A:\r\n",
  "A: \xe9\t\r\n",
  " A: b\r\n",
  "A\r\n",
  "\r\n",
];
const STARTS = ["POST / HTTP/1.1\r\n", "PUT /a//b HTTP/1.1\r\n", "PATCH /%61?x#y HTTP/1.1\r\n", "GET /a HTTP/1.1\r\n"];

function randomRequest(random: Random): string {
  const lines = random.list(5, () => random.pick(PIECES)).join("");
  const text = `${random.pick(STARTS)}${random.below(4) > 0 ? HOST : ""}${lines}\r\n${random.text("ab\r\n", 7)}`;
  if (random.below(2) === 0) return text;
  // One byte is another, is gone, or comes twice.
  const at = random.below(text.length);
  const other = random.pick(["", " ", "\t", "\r", "\n", "\0", ":", ",", "0", "9", "A", "\x7f", "\xff"]);
  return text.slice(0, at) + other + text.slice(at + random.below(2));
}

test("whatever the fast path takes, llhttp reads alike", () => {
  let taken = 0;
  forSeeds(20_000, (random) => {
    const bytes = Buffer.from(randomRequest(random), "latin1");
    const found = fast(bytes);
    if (found === null) return;
    taken++;
    expect(found).toEqual(slow(bytes) as object);
  });
  if (process.env["HRMR_SEED"] === undefined) expect(taken).toBeGreaterThan(200);
});
