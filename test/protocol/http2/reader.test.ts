/** Frames: read from bytes that are cut anywhere, and each error that one frame shows by itself. */
import { describe, expect, test } from "bun:test";
import { matchPreface } from "../../../src/protocol/http2/frames/preface";
import { FrameReader, type FrameOwner } from "../../../src/protocol/http2/frames/reader";
import { NEED_MORE } from "../../../src/router/match";
import { blockOf, frame, getFrame, PREFACE } from "../../support/http2";
import { forSeeds } from "../../support/random";

/** Notes the events as text; parts of one DATA frame are joined. */
class Noted implements FrameOwner {
  readonly events: string[] = [];
  #content = "";

  dataBegins(stream: number, payloadBytes: number): void {
    this.events.push(`DATA ${stream} of ${payloadBytes}`);
  }
  data(stream: number, content: Buffer, paddingBytes: number, isLast: boolean, endsStream: boolean): void {
    this.#content += content.toString("latin1");
    if (!isLast) return;
    this.events.push(`content ${stream} "${this.#content}" +${paddingBytes}${endsStream ? " end" : ""}`);
    this.#content = "";
  }
  headers(stream: number, bytes: Buffer, from: number, to: number, endsStream: boolean, isWrong: boolean): void {
    const block = bytes.toString("latin1", from, to);
    this.events.push(`HEADERS ${stream} "${block}"${endsStream ? " end" : ""}${isWrong ? " wrong" : ""}`);
  }
  resets(stream: number, code: number): void {
    this.events.push(`RST_STREAM ${stream} ${code}`);
  }
  configures(bytes: Buffer, from: number, to: number): void {
    this.events.push(`SETTINGS ${bytes.toString("hex", from, to)}`);
  }
  pings(bytes: Buffer, from: number, isAck: boolean): void {
    this.events.push(`PING ${bytes.toString("latin1", from, from + 8)}${isAck ? " ack" : ""}`);
  }
  goesAway(): void {
    this.events.push("GOAWAY");
  }
  windowGrows(stream: number, bytes: number): void {
    this.events.push(`WINDOW_UPDATE ${stream} ${bytes}`);
  }
  ignored(): void {
    this.events.push("ignored");
  }
  streamFails(stream: number, code: number): void {
    this.events.push(`stream ${stream} fails ${code}`);
  }
  fails(code: number): void {
    this.events.push(`fails ${code}`);
  }
}

const SETTINGS = frame(4, 0, 0);

function read(bytes: Uint8Array, ...cuts: number[]): string[] {
  const noted = new Noted();
  const reader = new FrameReader(noted, 16_384, 65_536);
  const whole = Buffer.from(bytes);
  let at = 0;
  for (const cut of [...cuts, whole.length]) {
    reader.read(whole.subarray(at, cut));
    at = cut;
  }
  return noted.events;
}

/** One of each, as RFC 9113 section 6 has them. */
const ALL: [bytes: Buffer, ...events: string[]][] = [
  [frame(4, 0, 0, "\0\x03\0\0\0\x64"), "SETTINGS 000300000064"],
  [frame(4, 1, 0), "ignored"],
  [frame(1, 5, 1, "block"), 'HEADERS 1 "block" end'],
  [frame(1, 4, 3, "block"), 'HEADERS 3 "block"'],
  [frame(1, 0xd, 5, "\x03block\0\0\0"), 'HEADERS 5 "block" end'],
  [frame(1, 0x24, 7, "\x80\0\0\x03\x10block"), 'HEADERS 7 "block"'],
  [frame(1, 0x2c, 9, "\x02\0\0\0\0\x10block\0\0"), 'HEADERS 9 "block"'],
  [frame(1, 0x24, 11, "\0\0\0\x0b\x10block"), 'HEADERS 11 "block" wrong'],
  [
    Buffer.concat([frame(1, 1, 13, "bl"), frame(9, 0, 13, "oc"), frame(9, 0, 13), frame(9, 4, 13, "k")]),
    'HEADERS 13 "block" end',
  ],
  [frame(0, 0, 1, "abc"), "DATA 1 of 3", 'content 1 "abc" +0'],
  [frame(0, 1, 1), "DATA 1 of 0", 'content 1 "" +0 end'],
  [frame(0, 9, 1, "\x03abc\0\0\0"), "DATA 1 of 7", 'content 1 "abc" +4 end'],
  [frame(0, 8, 1, "\x02\0\0"), "DATA 1 of 3", 'content 1 "" +3'],
  [frame(0, 8, 1, "\0abc"), "DATA 1 of 4", 'content 1 "abc" +1'],
  [frame(0, 0xf6, 1, "x"), "DATA 1 of 1", 'content 1 "x" +0'],
  [frame(2, 0, 1, "\0\0\0\x03\x10"), "ignored"],
  [frame(2, 0, 3, "\0\0\0\x03\x10"), "stream 3 fails 1"],
  [frame(2, 0, 3, "1234"), "stream 3 fails 6"],
  [frame(3, 0, 1, "\0\0\0\x08"), "RST_STREAM 1 8"],
  [frame(6, 0, 0, "12345678"), "PING 12345678"],
  [frame(6, 1, 0, "12345678"), "PING 12345678 ack"],
  [frame(7, 0, 0, "\0\0\0\0\0\0\0\0debug"), "GOAWAY"],
  [frame(8, 0, 0, "\x80\0\x01\0"), "WINDOW_UPDATE 0 256"],
  [frame(8, 0, 0x80000001, "\0\0\0\0"), "WINDOW_UPDATE 1 0"],
  [frame(0xbe, 0xff, 5, "unknown"), "ignored"],
  [frame(0xbe, 0, 0), "ignored"],
];

describe("frames", () => {
  const bytes = Buffer.concat(ALL.map(([each]) => each));
  const events = ALL.flatMap(([, ...each]) => each);

  test("are read whole, byte by byte, and split at every point", () => {
    expect(read(bytes)).toEqual(events);
    expect(read(bytes, ...bytes.keys())).toEqual(events);
    for (let at = 0; at <= bytes.length; at++) expect(read(bytes, at)).toEqual(events);
  });

  test("are read the same however they are cut", () => {
    forSeeds(200, (random) => {
      const cuts = random.list(12, () => random.below(bytes.length)).toSorted((a, b) => a - b);
      expect(read(bytes, ...cuts)).toEqual(events);
    });
  });

  const long = "x".repeat(16_385);
  /** By what is wrong: the frames, and the code of the connection error. */
  const WRONG: Record<string, [bytes: Buffer, code: number]> = {
    "a frame above the largest size (4.2)": [frame(0, 0, 1, long), 6],
    "HEADERS above the largest size (4.2)": [frame(1, 4, 1, long), 6],
    "DATA of stream 0 (6.1)": [frame(0, 0, 0, "x"), 1],
    "DATA with more padding than payload (6.1)": [frame(0, 8, 1, "\x03ab"), 1],
    "DATA with as much padding as payload (6.1)": [frame(0, 8, 1, "\x03abc".slice(0, 3)), 1],
    "DATA without the length of its padding": [frame(0, 8, 1), 6],
    "HEADERS of stream 0 (6.2)": [frame(1, 4, 0, "x"), 1],
    "HEADERS with more padding than payload (6.2)": [frame(1, 0xc, 1, "\x03ab"), 1],
    "HEADERS without the length of their padding": [frame(1, 0xc, 1), 6],
    "HEADERS without their priority": [frame(1, 0x24, 1, "1234"), 6],
    "HEADERS whose padding leaves no room for their priority": [frame(1, 0x2c, 1, "\x05\0\0\0\0\0\0\0"), 1],
    "PRIORITY of stream 0 (6.3)": [frame(2, 0, 0, "\0\0\0\x03\x10"), 1],
    "RST_STREAM of stream 0 (6.4)": [frame(3, 0, 0, "\0\0\0\x08"), 1],
    "RST_STREAM of a wrong length (6.4)": [frame(3, 0, 1, "123"), 6],
    "SETTINGS of a stream (6.5)": [frame(4, 0, 1), 1],
    "SETTINGS of a wrong length (6.5)": [frame(4, 0, 0, "12345"), 6],
    "an acknowledgement with a payload (6.5)": [frame(4, 1, 0, "123456"), 6],
    "PUSH_PROMISE of a client (8.4)": [frame(5, 4, 1, "1234"), 1],
    "PING of a stream (6.7)": [frame(6, 0, 1, "12345678"), 1],
    "PING of a wrong length (6.7)": [frame(6, 0, 0, "1234567"), 6],
    "GOAWAY of a stream (6.8)": [frame(7, 0, 1, "12345678"), 1],
    "GOAWAY that is too short (6.8)": [frame(7, 0, 0, "1234567"), 6],
    "WINDOW_UPDATE of a wrong length (6.9)": [frame(8, 0, 0, "123"), 6],
    "CONTINUATION of nothing (6.10)": [frame(9, 4, 1, "x"), 1],
    "CONTINUATION of stream 0": [Buffer.concat([frame(1, 0, 1, "x"), frame(9, 4, 0, "x")]), 1],
    "CONTINUATION behind the end of its block (6.10)": [Buffer.concat([frame(1, 4, 1, "x"), frame(9, 4, 1, "x")]), 1],
    "CONTINUATION of another stream (6.10)": [Buffer.concat([frame(1, 0, 1, "x"), frame(9, 4, 3, "x")]), 1],
    "HEADERS inside a block (6.10)": [Buffer.concat([frame(1, 0, 1, "x"), frame(1, 4, 3, "x")]), 1],
    "PRIORITY inside a block (4.3)": [Buffer.concat([frame(1, 0, 1, "x"), frame(2, 0, 1, "\0\0\0\x03\x10")]), 1],
    "an unknown frame inside a block (5.5)": [Buffer.concat([frame(1, 0, 1, "x"), frame(0xbe, 0, 0)]), 1],
    "a block that is too long": [
      Buffer.concat([frame(1, 0, 1), ...Array.from({ length: 5 }, () => frame(9, 0, 1, long.slice(1)))]),
      11,
    ],
    "a block of too many frames": [
      Buffer.concat([frame(1, 0, 1), ...Array.from({ length: 100 }, () => frame(9, 0, 1))]),
      11,
    ],
  };
  for (const [what, [wrong, code]] of Object.entries(WRONG)) {
    test(`${what} end the connection, wherever they are cut, and nothing behind is read`, () => {
      const all = Buffer.concat([SETTINGS, wrong, frame(6, 0, 0, "12345678")]);
      const found = read(all);
      expect(found.at(-1)).toBe(`fails ${code}`);
      expect(found.filter((event) => event.startsWith("PING"))).toEqual([]);
      const step = Math.max(1, Math.floor(all.length / 200));
      for (let at = 0; at < all.length; at += step) expect(read(all, at).at(-1)).toBe(`fails ${code}`);
    });
  }

  test("must begin with SETTINGS (3.4)", () => {
    expect(read(getFrame(1, "/"))).toEqual(["fails 1"]);
    expect(read(frame(6, 0, 0, "12345678"))).toEqual(["fails 1"]);
  });

  test("of bytes at random, and changed ones, end in an error or in events, and never hang", () => {
    const valid = Buffer.concat([SETTINGS, frame(1, 0, 1, blockOf([[":path", "/"]])), ...ALL.map(([each]) => each)]);
    forSeeds(2000, (random) => {
      const changed = Buffer.from(valid);
      for (let count = random.below(6); count >= 0; count--) changed[random.below(changed.length)] = random.below(256);
      const cuts = random.list(4, () => random.below(changed.length)).toSorted((a, b) => a - b);
      expect(read(changed, ...cuts)).toEqual(read(changed));
    });
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
