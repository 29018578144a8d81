/** The preface and frame headers, read from bytes that are cut anywhere. */
import { describe, expect, test } from "bun:test";
import { DEFAULT_HTTP2 } from "../../../src/config/options";
import { ReceivedFrames } from "../../../src/protocol/http2/floods";
import { FrameReader, goawayFrame, SentFrames } from "../../../src/protocol/http2/frames";
import { matchPreface } from "../../../src/protocol/http2/preface";
import { NEED_MORE } from "../../../src/router/match";
import { frame, getFrame, PREFACE } from "../../support/http2";

class Noted extends FrameReader {
  readonly frames: [type: number, contentBytes: number, stream: number][] = [];

  constructor(skip = 0) {
    super(skip);
  }

  protected frame(type: number, contentBytes: number, stream: number): void {
    this.frames.push([type, contentBytes, stream]);
  }
}

const ALL = Buffer.concat([
  frame(4, 0, 0, "\0\x03\0\0\0\x64"),
  frame(1, 5, 1, "headers"),
  frame(0, 0, 1),
  frame(0, 8, 0x7fffffff, "\x03abc\0\0\0"),
  frame(0, 8, 1, "\x02\0\0"),
  frame(0, 8, 1),
  frame(6, 0, 0, "12345678"),
  frame(0, 1, 0x01020304, Buffer.alloc(300)),
  frame(8, 0, 0x80000000, "\0\0\0\x01"),
]);
const EXPECTED = [
  [4, 6, 0],
  [1, 7, 1],
  [0, 0, 1],
  [0, 3, 0x7fffffff],
  [0, 0, 1],
  [0, -1, 1],
  [6, 8, 0],
  [0, 300, 0x01020304],
  [8, 4, 0],
];

describe("frame headers", () => {
  test("are read from all bytes at once, byte by byte, and split at every point", () => {
    for (let at = 0; at <= ALL.length; at++) {
      const noted = new Noted();
      noted.read(ALL.subarray(0, at));
      noted.read(ALL.subarray(at));
      expect(noted.frames.map(([type, bytes, stream]) => [type, Math.max(bytes, -1), stream])).toEqual(EXPECTED);
      expect(noted.isBetweenFrames).toBe(true);
    }
    const noted = new Noted();
    for (const byte of ALL) noted.read(Uint8Array.of(byte));
    expect(noted.frames.map(([type, bytes, stream]) => [type, Math.max(bytes, -1), stream])).toEqual(EXPECTED);
  });

  test("the reader knows whether it stands between frames", () => {
    const ends = new Set<number>();
    for (let at = 0, next = 0; at < EXPECTED.length; at++) ends.add((next += 9 + ALL.readUIntBE(next, 3)));
    for (let at = 1; at <= ALL.length; at++) {
      const noted = new Noted();
      noted.read(ALL.subarray(0, at));
      expect([at, noted.isBetweenFrames]).toEqual([at, ends.has(at)]);
    }
  });

  test("bytes before the first frame are skipped", () => {
    const noted = new Noted(PREFACE.length);
    noted.read(Buffer.concat([PREFACE.subarray(0, 5)]));
    noted.read(Buffer.concat([PREFACE.subarray(5), frame(6, 0, 0, "12345678")]));
    expect(noted.frames).toEqual([[6, 8, 0]]);
  });

  test("GOAWAY has the last stream and the code", () => {
    expect(goawayFrame(0x7ffffffd, 11)).toEqual(frame(7, 0, 0, "\x7f\xff\xff\xfd\0\0\0\x0b"));
  });
});

describe("the limits", () => {
  const limits = { ...DEFAULT_HTTP2, maxControlFramesPerSecond: 10, maxResetsPerSecond: 3 };
  const many = (one: Buffer, count: number): Buffer => Buffer.concat(Array.from({ length: count }, () => one));
  const begun = (sent = new SentFrames()): ReceivedFrames => {
    const received = new ReceivedFrames(limits, sent);
    expect(received.excess(PREFACE, 0)).toBeNull();
    return received;
  };
  const PING = frame(6, 0, 0, "12345678");

  test("count by the second", () => {
    const received = begun();
    for (let second = 0; second < 5; second++) expect(received.excess(many(PING, 10), second * 1000)).toBeNull();
    expect(received.excess(many(PING, 1), 4500)).toBe("11 frames without content within a second");
  });

  test("leave to a request, and to a DATA frame of a reply, what belongs to them", () => {
    const sent = new SentFrames();
    const received = begun(sent);
    expect(received.excess(many(getFrame(1, "/"), 5), 0)).toBeNull();
    expect(received.excess(many(PING, 30), 0)).toBeNull();
    sent.read(many(frame(0, 0, 1, "x"), 2));
    expect(received.excess(many(PING, 8), 0)).toBeNull();
    expect(received.excess(PING, 0)).not.toBeNull();
    expect(received.lastStream).toBe(1);
  });

  test("are not touched by frames with content", () => {
    expect(begun().excess(many(frame(0, 0, 1, "x"), 1000), 0)).toBeNull();
  });

  test("of resets are their own", () => {
    const received = begun();
    expect(received.excess(many(frame(3, 0, 1, "\0\0\0\x08"), 3), 0)).toBeNull();
    expect(received.excess(frame(3, 0, 1, "\0\0\0\x08"), 0)).toBe("4 streams reset within a second");
  });
});

describe("the preface", () => {
  test("is told at every length, and not taken for anything else", () => {
    for (let length = 1; length < PREFACE.length; length++) {
      expect(matchPreface(PREFACE.subarray(0, length), 0)).toBe(NEED_MORE);
      const changed = Buffer.from(PREFACE);
      changed[length] = 0;
      expect(matchPreface(changed, 0)).toBe(false);
    }
    expect(matchPreface(PREFACE, 0)).toBe(true);
    expect(matchPreface(Buffer.concat([Buffer.from("PING"), PREFACE, Buffer.from("more")]), 4)).toBe(true);
    expect(matchPreface(Buffer.from("POST / HTTP/1.1"), 0)).toBe(false);
  });
});
