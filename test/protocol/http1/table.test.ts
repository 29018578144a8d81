/** Accepted and refused requests: every case by the fast path and by llhttp, in one piece and byte by byte. */
import { expect, test } from "bun:test";
import { GraphResponse } from "../../../src/protocol/web/response";
import { connectRaw, parseReplies, type RawReply, talk } from "../../support/raw-client";
import { type Harness, startHarness } from "../../support/wire-harness";

interface Case {
  request: string;
  status: number;
  /** The expected report of the echo handler, for 200. */
  echo?: Partial<Echo>;
  reply?: (reply: RawReply) => void;
}

interface Echo {
  method: string;
  url: string;
  host: string | null;
  body: string;
  extra: string | null;
}

const HOST = "Host: a.test\r\n";
const LAST = `GET /last HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`;
const CHUNKED = "Transfer-Encoding: chunked\r\n";

/** A GET with these header lines. */
const get = (lines: string, target = "/") => `GET ${target} HTTP/1.1\r\n${lines}\r\n`;
const post = (lines: string, body: string) => `POST / HTTP/1.1\r\n${HOST}${lines}\r\n${body}`;
const url = (target: string) => ({ url: `http://a.test${target}` });

const accepted: Record<string, Case> = {
  "a plain GET": { request: get(HOST), status: 200, echo: { method: "GET", ...url("/"), body: "" } },
  "a path and a query": { request: get(HOST, "/a/b?c=d&e"), status: 200, echo: url("/a/b?c=d&e") },
  "a query with question marks": { request: get(HOST, "/a?b?c"), status: 200, echo: url("/a?b?c") },
  "a fragment, which is cut": { request: get(HOST, "/a?b#c?d"), status: 200, echo: url("/a?b") },
  "all visible characters in a path": {
    request: get(HOST, "/!$&'()*+,-.:;=@_~"),
    status: 200,
    echo: url("/!$&'()*+,-.:;=@_~"),
  },
  "characters that a URL escapes": {
    request: get(HOST, '/"<>^`{|}'),
    status: 200,
    echo: url("/%22%3C%3E%5E%60%7B%7C%7D"),
  },
  "such characters in a query": { request: get(HOST, '/?"<>^`{|}'), status: 200, echo: url('/?"<>^`{|}') },
  "percent-encoding, kept in the URL": { request: get(HOST, "/a%20b"), status: 200, echo: url("/a%20b") },
  "an escape in lower case": { request: get(HOST, "/%c3%a9%2f?%c3"), status: 200, echo: url("/%C3%A9%2F?%c3") },
  "a double slash": { request: get(HOST, "//a//b?//c"), status: 308, reply: leadsTo("/a/b?//c") },
  "a double slash before another host": { request: get(HOST, "//evil.test/%2e"), status: 400, reply: keepsAlive },
  "a dot segment": { request: get(HOST, "/a/../b/./c/..?d"), status: 308, reply: leadsTo("/b/?d") },
  "a letter that is encoded": { request: get(HOST, "/%61b"), status: 308, reply: leadsTo("/ab") },
  "HEAD of a dot segment": { request: `HEAD /a/../b HTTP/1.1\r\n${HOST}\r\n`, status: 308, reply: leadsTo("/b") },
  "POST to a double slash": {
    request: `POST //a HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nhi`,
    status: 400,
    reply: keepsAlive,
  },
  "an absolute target with a double slash": {
    request: get(HOST, "http://b.test//a"),
    status: 308,
    reply: leadsTo("/a"),
  },
  "a backslash": { request: get(HOST, "/a\\..\\b"), status: 400, reply: keepsAlive },
  "an encoded dot segment": { request: get(HOST, "/a/..%2fb"), status: 400, reply: keepsAlive },
  "a host with a port": {
    request: get("Host: a.test:8080\r\n"),
    status: 200,
    echo: { url: "http://a.test:8080/", host: "a.test:8080" },
  },
  "an IPv6 host": { request: get("Host: [::1]:80\r\n"), status: 200, echo: { url: "http://[::1]:80/" } },
  "an IPv4 host": { request: get("Host: 127.0.0.1\r\n"), status: 200, echo: { url: "http://127.0.0.1/" } },
  "a host with an underscore": { request: get("Host: a_b.test\r\n"), status: 200, echo: { url: "http://a_b.test/" } },
  "white space around the host": { request: get("Host: \t a.test \t\r\n"), status: 200, echo: { host: "a.test" } },
  "no space before the host": { request: get("Host:a.test\r\n"), status: 200, echo: { host: "a.test" } },
  "a lower-case host field": { request: get("host: a.test\r\n"), status: 200, echo: { host: "a.test" } },
  "the host as the last field": { request: get(`X-Extra: 1\r\n${HOST}`), status: 200, echo: { extra: "1" } },
  "another field": { request: get(`${HOST}X-Extra: one two\r\n`), status: 200, echo: { extra: "one two" } },
  "a field twice": { request: get(`${HOST}X-Extra: 1\r\nx-extra: 2\r\n`), status: 200, echo: { extra: "1, 2" } },
  "an empty field": { request: get(`${HOST}X-Extra:\r\n`), status: 200, echo: { extra: "" } },
  "white space around a value": {
    request: get(`${HOST}X-Extra: \t x\ty \t\r\n`),
    status: 200,
    echo: { extra: "x\ty" },
  },
  "Latin-1 in a value": { request: get(`${HOST}X-Extra: \xe9\xff\r\n`), status: 200, echo: { extra: "\xe9\xff" } },
  "a colon in a value": { request: get(`${HOST}X-Extra: a:b\r\n`), status: 200, echo: { extra: "a:b" } },
  "odd characters in a field's name": { request: get(`${HOST}!#$%&'*+-.^_\`|~1: a\r\n`), status: 200 },
  "Connection: keep-alive": { request: get(`${HOST}Connection: keep-alive\r\n`), status: 200 },
  "an upgrade that is not offered": {
    request: get(`${HOST}Connection: Upgrade\r\nUpgrade: h2c\r\n`),
    status: 200,
    echo: { method: "GET" },
  },
  "an upgrade with a body": {
    request: post("Connection: Upgrade\r\nUpgrade: foo\r\nContent-Length: 2\r\n", "hi"),
    status: 200,
    echo: { body: "hi" },
  },
  "empty lines before the request": { request: `\r\n\r\n${get(HOST)}`, status: 200, echo: url("/") },
  "99 fields beside the host": { request: get(HOST + "X-Extra: 1\r\n".repeat(99)), status: 200 },
  "40 fields": { request: get(HOST + Array.from({ length: 39 }, (_, i) => `F${i}: v\r\n`).join("")), status: 200 },
  "absolute-form": {
    request: get(HOST, "http://b.test/x?y#z"),
    status: 200,
    echo: { url: "http://b.test/x?y", host: "b.test" },
  },
  "absolute-form with a port": {
    request: get(HOST, "http://b.test:81/x"),
    status: 200,
    echo: { url: "http://b.test:81/x" },
  },
  "absolute-form without a path": { request: get(HOST, "http://b.test"), status: 200, echo: { url: "http://b.test/" } },
  "absolute-form with a query only": {
    request: get(HOST, "http://b.test?q"),
    status: 200,
    echo: { url: "http://b.test/?q" },
  },
  "absolute-form with https": { request: get(HOST, "https://b.test/x"), status: 200, echo: { url: "http://b.test/x" } },
  "OPTIONS *": {
    request: `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`,
    status: 200,
    reply: (reply) => expect(reply.headers.allow).toContain("GET"),
  },
  "OPTIONS of a path": { request: `OPTIONS /x HTTP/1.1\r\n${HOST}\r\n`, status: 200, echo: { method: "OPTIONS" } },
  HEAD: {
    request: `HEAD / HTTP/1.1\r\n${HOST}\r\n`,
    status: 200,
    reply: (reply) => expect(Number(reply.headers["content-length"])).toBeGreaterThan(40),
  },
  "HTTP/1.2": { request: `GET /x HTTP/1.2\r\n${HOST}\r\n`, status: 200, echo: { method: "GET", ...url("/x") } },
  "HTTP/1.9 with a body": {
    request: `POST / HTTP/1.9\r\n${HOST}Content-Length: 2\r\n\r\nhi`,
    status: 200,
    echo: { body: "hi" },
  },
  DELETE: { request: `DELETE / HTTP/1.1\r\n${HOST}\r\n`, status: 200, echo: { method: "DELETE" } },
  "M-SEARCH": { request: `M-SEARCH / HTTP/1.1\r\n${HOST}\r\n`, status: 200, echo: { method: "M-SEARCH" } },
  "a body with its length": {
    request: post("Content-Length: 5\r\n", "hello"),
    status: 200,
    echo: { method: "POST", body: "hello" },
  },
  "PUT with a body": {
    request: post("Content-Length: 5\r\n", "hello").replace("POST", "PUT"),
    status: 200,
    echo: { method: "PUT", body: "hello" },
  },
  "PATCH with a body": {
    request: post("X-Extra: 1\r\nContent-Length: 2\r\nConnection: keep-alive\r\n", "hi").replace("POST", "PATCH"),
    status: 200,
    echo: { method: "PATCH", body: "hi", extra: "1" },
  },
  "white space around a length": { request: post("Content-Length: \t2 \r\n", "hi"), status: 200, echo: { body: "hi" } },
  "a body that is no UTF-8": {
    request: post("Content-Length: 2\r\n", "\xff\xfe"),
    status: 200,
    echo: { body: "\ufffd\ufffd" },
  },
  "an empty body": { request: post("Content-Length: 0\r\n", ""), status: 200, echo: { body: "" } },
  "a POST without a length": { request: post("", ""), status: 200, echo: { body: "" } },
  "a length with leading zeros": {
    request: post("Content-Length: 003\r\n", "abc"),
    status: 200,
    echo: { body: "abc" },
  },
  "a GET with a body": { request: get(`${HOST}Content-Length: 3\r\n`) + "abc", status: 200, echo: { body: "abc" } },
  "a body that looks like a request": {
    request: post(`Content-Length: ${LAST.length}\r\n`, LAST),
    status: 200,
    echo: { body: LAST },
  },
  "a chunked body": {
    request: post(CHUNKED, "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"),
    status: 200,
    echo: { body: "hello!" },
  },
  "an empty chunked body": { request: post(CHUNKED, "0\r\n\r\n"), status: 200, echo: { body: "" } },
  "upper-case chunked": {
    request: post("transfer-encoding: CHUNKED\r\n", "A\r\n0123456789\r\n0\r\n\r\n"),
    status: 200,
    echo: { body: "0123456789" },
  },
  "a chunk extension": {
    request: post(CHUNKED, '3;a=b;c="d"\r\nabc\r\n0\r\n\r\n'),
    status: 200,
    echo: { body: "abc" },
  },
  "leading zeros in a chunk size": {
    request: post(CHUNKED, "0003\r\nabc\r\n000\r\n\r\n"),
    status: 200,
    echo: { body: "abc" },
  },
  trailers: {
    request: post(CHUNKED, "3\r\nabc\r\n0\r\nX-Extra: 1\r\nA: b\r\n\r\n"),
    status: 200,
    echo: { body: "abc", extra: null },
  },
  "a chunked body that looks like requests": {
    request: post(CHUNKED, `${LAST.length.toString(16)}\r\n${LAST}\r\n0\r\n\r\n`),
    status: 200,
    echo: { body: LAST },
  },
  "Expect: 100-continue with the body at once": {
    request: post("Expect: 100-continue\r\nContent-Length: 2\r\n", "hi"),
    status: 200,
    echo: { body: "hi" },
  },
  "Expect: 100-continue without a body": { request: get(`${HOST}Expect: 100-continue\r\n`), status: 200 },
  "/health": { request: get(HOST, "/health"), status: 200, reply: (reply) => expect(reply.body).toBe("fine") },
  "a path with a broken percent sequence": { request: get(HOST, "/a%zz"), status: 400, reply: keepsAlive },
};

function leadsTo(location: string): (reply: RawReply) => void {
  return (reply) => {
    expect(reply.headers.location).toBe(location);
    keepsAlive(reply);
  };
}

function keepsAlive(reply: RawReply): void {
  expect(reply.headers.connection).toBeUndefined();
}

const refused: Record<string, Case> = {
  "no Host": { request: get(""), status: 400 },
  "no Host but another field": { request: get("X-Extra: 1\r\n"), status: 400 },
  "two Hosts": { request: get(HOST + HOST), status: 400 },
  "two Hosts apart": { request: get(`${HOST}A: b\r\nhost: b.test\r\n`), status: 400 },
  "an empty Host": { request: get("Host:\r\n"), status: 400 },
  "a Host with a space": { request: get("Host: a b\r\n"), status: 400 },
  "a Host with a path": { request: get("Host: a/b\r\n"), status: 400 },
  "a Host with a user": { request: get("Host: u@a.test\r\n"), status: 400 },
  "a Host list": { request: get("Host: a.test, b.test\r\n"), status: 400 },
  "a Host with a bad port": { request: get("Host: a.test:x\r\n"), status: 400 },
  "a Host with a port beyond 65535": { request: get("Host: a.test:65536\r\n"), status: 400 },
  "a Host with an open bracket": { request: get("Host: [::1\r\n"), status: 400 },
  "a Host that is no IPv4 address": { request: get("Host: 999.999.999.999\r\n"), status: 400 },
  "a lower-case method": { request: `get / HTTP/1.1\r\n${HOST}\r\n`, status: 501 },
  "a method with one small letter": { request: `GeT / HTTP/1.1\r\n${HOST}\r\n`, status: 501 },
  "an unknown method": { request: `FOO / HTTP/1.1\r\n${HOST}\r\n`, status: 501 },
  "a space before the method": { request: ` GET / HTTP/1.1\r\n${HOST}\r\n`, status: 400 },
  "two spaces before the target": { request: `GET  / HTTP/1.1\r\n${HOST}\r\n`, status: 400 },
  "two spaces behind the target": { request: `GET /  HTTP/1.1\r\n${HOST}\r\n`, status: 400 },
  "a tab for a space": { request: `GET\t/ HTTP/1.1\r\n${HOST}\r\n`, status: 400 },
  "a space in the target": { request: `GET /a b HTTP/1.1\r\n${HOST}\r\n`, status: 400 },
  "a control character in the target": { request: `GET /a\x01 HTTP/1.1\r\n${HOST}\r\n`, status: 400 },
  "a NUL in the target": { request: `GET /a\0 HTTP/1.1\r\n${HOST}\r\n`, status: 400 },
  "a DEL in the target": { request: `GET /a\x7f HTTP/1.1\r\n${HOST}\r\n`, status: 400 },
  "a high byte in the target": { request: `GET /\xe9 HTTP/1.1\r\n${HOST}\r\n`, status: 400 },
  "a target without a slash": { request: `GET a HTTP/1.1\r\n${HOST}\r\n`, status: 400 },
  "GET *": { request: `GET * HTTP/1.1\r\n${HOST}\r\n`, status: 400 },
  "another scheme": { request: get(HOST, "ftp://b.test/"), status: 400 },
  "absolute-form without a host": { request: get(HOST, "http:///x"), status: 400 },
  "absolute-form with a user": { request: get(HOST, "http://u:p@b.test/"), status: 400 },
  "absolute-form without Host": { request: get("", "http://b.test/"), status: 400 },
  CONNECT: { request: `CONNECT a.test:443 HTTP/1.1\r\n${HOST}\r\n`, status: 501 },
  "no version": { request: "GET /\r\n", status: 400 },
  "HTTP/0.9": { request: `GET / HTTP/0.9\r\n${HOST}\r\n`, status: 505 },
  "an unknown method with digits": { request: `F00! / HTTP/1.1\r\n${HOST}\r\n`, status: 501 },
  "HTTP/2.0": { request: `GET / HTTP/2.0\r\n${HOST}\r\n`, status: 505 },
  "HTTP/2's preface": { request: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status: 505 },
  "HTTP/1.10": { request: `GET / HTTP/1.10\r\n${HOST}\r\n`, status: 400 },
  "HTTP/11": { request: `GET / HTTP/11\r\n${HOST}\r\n`, status: 400 },
  "a lower-case protocol": { request: `GET / http/1.1\r\n${HOST}\r\n`, status: 400 },
  "a space behind the version": { request: `GET / HTTP/1.1 \r\n${HOST}\r\n`, status: 400 },
  RTSP: { request: `GET / RTSP/1.0\r\n${HOST}\r\n`, status: 400 },
  "an RTSP method": { request: `DESCRIBE / RTSP/1.0\r\n${HOST}\r\n`, status: 400 },
  ICE: { request: `SOURCE / ICE/1.0\r\n${HOST}\r\n`, status: 400 },
  "a bare LF behind the first line": { request: `GET / HTTP/1.1\n${HOST}\r\n`, status: 400 },
  "a bare LF behind a field": { request: "GET / HTTP/1.1\r\nHost: a.test\n\r\n", status: 400 },
  "a bare CR in a value": { request: get(`${HOST}A: b\rc\r\n`), status: 400 },
  "a NUL in a value": { request: get(`${HOST}A: b\0c\r\n`), status: 400 },
  "a control character in a value": { request: get(`${HOST}A: b\x01c\r\n`), status: 400 },
  "a DEL in a value": { request: get(`${HOST}A: b\x7fc\r\n`), status: 400 },
  "a folded line": { request: get(`${HOST}A: b\r\n c\r\n`), status: 400 },
  "a space before the first field": { request: get(` ${HOST}`), status: 400 },
  "a space before a colon": { request: get(`${HOST}A : b\r\n`), status: 400 },
  "a space before the Host's colon": { request: get("Host : a.test\r\n"), status: 400 },
  "a field without a colon": { request: get(`${HOST}A\r\n`), status: 400 },
  "a field without a name": { request: get(`${HOST}: b\r\n`), status: 400 },
  "a name with a bracket": { request: get(`${HOST}A(: b\r\n`), status: 400 },
  "a high byte in a name": { request: get(`${HOST}A\xe9: b\r\n`), status: 400 },
  "101 fields": { request: get(HOST + "X-Extra: 1\r\n".repeat(100)), status: 431 },
  "a field beyond the limit": { request: get(`${HOST}A: ${"a".repeat(8192)}\r\n`), status: 431 },
  "many fields beyond the limit": { request: get(HOST + `A: ${"a".repeat(500)}\r\n`.repeat(20)), status: 431 },
  "a head one byte over the limit": { request: headOf(8193), status: 431 },
  "a target beyond the limit": { request: get(HOST, `/${"a".repeat(8192)}`), status: 414 },
  "an endless target": { request: `GET /${"a".repeat(20_000)}`, status: 414 },
  "length and chunked": { request: post(`Content-Length: 3\r\n${CHUNKED}`, "0\r\n\r\n"), status: 400 },
  "chunked and length": { request: post(`${CHUNKED}Content-Length: 3\r\n`, "0\r\n\r\n"), status: 400 },
  "two lengths around another field": {
    request: post("Content-Length: 3\r\nA: b\r\ncontent-length: 3\r\n", "abc"),
    status: 400,
  },
  "two lengths": { request: post("Content-Length: 3\r\nContent-Length: 4\r\n", "abc"), status: 400 },
  "two equal lengths": { request: post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), status: 400 },
  "a list of lengths": { request: post("Content-Length: 3, 3\r\n", "abc"), status: 400 },
  "a negative length": { request: post("Content-Length: -1\r\n", ""), status: 400 },
  "a signed length": { request: post("Content-Length: +3\r\n", "abc"), status: 400 },
  "a hexadecimal length": { request: post("Content-Length: 0x3\r\n", "abc"), status: 400 },
  "a length that is a word": { request: post("Content-Length: three\r\n", "abc"), status: 400 },
  "an empty length": { request: post("Content-Length:\r\n", ""), status: 400 },
  "a length beyond 64 bits": { request: post("Content-Length: 18446744073709551616\r\n", ""), status: 400 },
  "a length beyond the limit": { request: post("Content-Length: 1001\r\n", ""), status: 413 },
  "a length far beyond the limit": { request: post("Content-Length: 9007199254740993\r\n", ""), status: 413 },
  "a length beyond the limit, expecting 100": {
    request: post("Expect: 100-continue\r\nContent-Length: 1001\r\n", ""),
    status: 413,
  },
  "a chunked body beyond the limit": { request: post(CHUNKED, `3e9\r\n${"a".repeat(1001)}\r\n0\r\n\r\n`), status: 413 },
  "gzip, chunked": { request: post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), status: 501 },
  gzip: { request: post("Transfer-Encoding: gzip\r\n", ""), status: 400 },
  identity: { request: post("Transfer-Encoding: identity\r\n", ""), status: 400 },
  "chunked, identity": { request: post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), status: 400 },
  "chunked twice in one field": { request: post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), status: 400 },
  "chunked twice": { request: post(CHUNKED + CHUNKED, "0\r\n\r\n"), status: 400 },
  xchunked: { request: post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), status: 400 },
  "an empty Transfer-Encoding": { request: post("Transfer-Encoding:\r\n", ""), status: 400 },
  "a vertical tab before chunked": { request: post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), status: 400 },
  "Transfer-Encoding on HTTP/1.0": { request: `POST / HTTP/1.0\r\n${HOST}${CHUNKED}\r\n0\r\n\r\n`, status: 400 },
  "an unknown expectation": { request: get(`${HOST}Expect: a miracle\r\n`), status: 417 },
  "a chunk size that is no number": { request: post(CHUNKED, "x\r\nabc\r\n0\r\n\r\n"), status: 400 },
  "a chunk size with 0x": { request: post(CHUNKED, "0x3\r\nabc\r\n0\r\n\r\n"), status: 400 },
  "a negative chunk size": { request: post(CHUNKED, "-3\r\nabc\r\n0\r\n\r\n"), status: 400 },
  "a chunk size with a space": { request: post(CHUNKED, "3 \r\nabc\r\n0\r\n\r\n"), status: 400 },
  "an empty chunk size": { request: post(CHUNKED, "\r\nabc\r\n0\r\n\r\n"), status: 400 },
  "a chunk size beyond 64 bits": { request: post(CHUNKED, "fffffffffffffffff\r\nabc"), status: 400 },
  "a chunk that is longer than it says": { request: post(CHUNKED, "2\r\nabc\r\n0\r\n\r\n"), status: 400 },
  "a bare LF behind a chunk size": { request: post(CHUNKED, "3\nabc\r\n0\r\n\r\n"), status: 400 },
  "a bare LF behind a chunk": { request: post(CHUNKED, "3\r\nabc\n0\r\n\r\n"), status: 400 },
  "a length in the trailers": { request: post(CHUNKED, "0\r\nContent-Length: 3\r\n\r\n"), status: 400 },
  "a NUL in the trailers": { request: post(CHUNKED, "0\r\nA: b\0\r\n\r\n"), status: 400 },
  "text that is no request": { request: "hello HTTP/1.1\r\n\r\n", status: 400 },
};

/** A request head of exactly so many bytes. */
function headOf(bytes: number): string {
  const head = get(`${HOST}A: \r\n`);
  return head.replace("A: ", `A: ${"a".repeat(bytes - head.length)}`);
}

function echo(request: Request): Response | Promise<Response> {
  const report = (body: string): Response => {
    const { method, url: address, headers } = request;
    return new GraphResponse(
      JSON.stringify({ method, url: address, host: headers.get("host"), body, extra: headers.get("x-extra") }),
    );
  };
  return request.body === null ? report("") : request.text().then(report);
}

function start(mayBeFast: boolean): Harness {
  const routes = { "/": echo, "GET /last": () => new GraphResponse("last") };
  return startHarness({
    routes,
    limits: { maxBodyBytes: 1000 },
    endpoints: { "/health": () => new Response("fine") },
    mayBeFast,
  });
}

for (const mayBeFast of [true, false]) {
  const reader = mayBeFast ? "the fast path and llhttp" : "llhttp alone";
  for (const [name, { request, status, echo: expected, reply }] of Object.entries(accepted)) {
    test(`${name} is answered by ${reader}, whole and in bytes`, async () => {
      const server = start(mayBeFast);
      try {
        for (const pieceBytes of [1_000_000, 1]) {
          const replies = await talk(server.port, request + LAST, pieceBytes);
          // The marker behind it proves that the request was read to its exact end.
          expect(replies.filter((one) => one.status >= 200).map((one) => one.status)).toEqual([status, 200]);
          const first = replies.find((one) => one.status >= 200) as RawReply;
          if (expected !== undefined)
            expect(JSON.parse(Buffer.from(first.body, "latin1").toString())).toMatchObject(expected);
          reply?.(first);
          expect(replies.at(-1)?.body).toBe("last");
        }
        expect(server.inFlight.size).toBe(0);
      } finally {
        server.stop();
      }
    });
  }

  for (const [name, { request, status }] of Object.entries(refused)) {
    test(`${name} is refused with ${status} by ${reader}, whole and in bytes`, async () => {
      const server = start(mayBeFast);
      try {
        // Only short ones byte by byte: the long ones differ by their length alone.
        for (const pieceBytes of request.length > 1000 ? [1_000_000, 1000] : [1_000_000, 1]) {
          const replies = await talk(server.port, request, pieceBytes);
          expect(replies.map((one) => one.status)).toEqual([status]);
          expect(replies[0]?.headers.connection).toBe("close");
          const alive = await talk(server.port, LAST);
          expect(alive.map((one) => one.body)).toEqual(["last"]);
        }
        expect(server.inFlight.size).toBe(0);
      } finally {
        server.stop();
      }
    });
  }
}

test("a target with a high byte is told what to do about it, by both readers", async () => {
  for (const mayBeFast of [true, false]) {
    const server = start(mayBeFast);
    try {
      const [reply] = await talk(server.port, `GET /caf\xc3\xa9 HTTP/1.1\r\n${HOST}\r\n`);
      expect(reply?.body).toBe("The request target holds bytes over 0x7f. Percent-encode them.\n");
    } finally {
      server.stop();
    }
  }
});

test("a head of HTTP/1.2 of exactly the limit is answered, and one byte more is refused", async () => {
  const server = start(true);
  try {
    for (const pieceBytes of [1_000_000, 4000]) {
      const head = headOf(8192).replace("HTTP/1.1", "HTTP/1.2");
      expect((await talk(server.port, head + LAST, pieceBytes)).map((one) => one.status)).toEqual([200, 200]);
      expect(
        (await talk(server.port, headOf(8193).replace("HTTP/1.1", "HTTP/1.2"), pieceBytes)).map((one) => one.status),
      ).toEqual([431]);
    }
  } finally {
    server.stop();
  }
});

test("a head of exactly the limit is answered, by both readers", async () => {
  for (const mayBeFast of [true, false]) {
    const server = start(mayBeFast);
    try {
      for (const pieceBytes of [1_000_000, 4000]) {
        const replies = await talk(server.port, headOf(8192) + LAST, pieceBytes);
        expect(replies.map((one) => one.status)).toEqual([200, 200]);
      }
      // Alone in its read, which is what the fast path takes.
      const alone = await talk(
        server.port,
        headOf(8192).replace("A: ", "Connection: close\r\nA: ").replace("a".repeat(19), ""),
      );
      expect(alone.map((one) => one.status)).toEqual([200]);
    } finally {
      server.stop();
    }
  }
});

test("each visible character is taken alike in a target by both readers", async () => {
  const fast = start(true);
  const slow = start(false);
  try {
    for (let code = 0x21; code < 0x7f; code++) {
      const request = get(HOST, `/a${String.fromCharCode(code)}b?c${String.fromCharCode(code)}d`);
      const [one, other] = await Promise.all([first(fast.port, request), first(slow.port, request)]);
      expect(one).toEqual(other);
    }
  } finally {
    fast.stop();
    slow.stop();
  }
});

/** The first reply to a request that stands alone in its read. */
async function first(port: number, request: string): Promise<[number, string]> {
  const client = await connectRaw(port);
  try {
    client.write(request);
    await client.waitFor("\r\n\r\n");
    const [reply] = parseReplies(client.received);
    return [reply?.status ?? 0, reply?.body ?? ""];
  } finally {
    client.terminate();
  }
}
