/** RFC 6455 frame by frame: each case is spoken to the whole server, in one write and byte by byte. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Hub, makeProject, moduleSource } from "../../support/hub";
import { startProgram } from "../../support/program";
import {
  binary,
  close,
  frame,
  more,
  PART,
  ping,
  pong,
  RawWebSocket,
  text,
  type FrameOptions,
} from "../../support/websocket";

const MODULE = moduleSource(`{
  routes: {
    "/echo": { websocket: { message: (socket, data) => socket.send(data) } },
    "/small": { websocket: { maxMessageBytes: 1000, message: (socket, data) => socket.send(data) } },
  },
}`);

let hub: Hub;
beforeAll(async () => {
  const dir = makeProject({ "modules/echo.ts": MODULE });
  hub = new Hub(dir, await startProgram(["--port", "0"], { cwd: dir }));
});
afterAll(() => hub.stop());

/** Longer cases are not sent byte by byte: single bytes do not matter there. */
const MAX_SPLIT_BYTES = 400;

type Case = [name: string, sent: Buffer[], frames: string[], code?: number];

async function speak(path: string, sent: Buffer[], code: number | null, isSplit: boolean): Promise<string[]> {
  const socket = await RawWebSocket.open(hub.port, path);
  try {
    const bytes = Buffer.concat(sent);
    if (isSplit) await socket.sendByteByByte(bytes).catch(() => undefined);
    else await socket.send(bytes);
    if (code === null) return await socket.sync();
    const outcome = await socket.outcome();
    expect(outcome.code).toBe(code);
    return outcome.frames;
  } finally {
    socket.close();
  }
}

async function proveLife(): Promise<void> {
  expect(await speak("/echo", [text("alive")], null, false)).toEqual(["text:alive"]);
}

function check(cases: Case[], path = "/echo"): void {
  // For a case that is shorter than its parameters, bun:test passes a callback.
  test.each(cases.map(([name, sent, frames, code]) => [name, { sent, frames, code: code ?? null }] as const))(
    "%s",
    async (_, told) => {
      const { sent, frames, code } = told;
      expect(await speak(path, sent, code, false)).toEqual(frames);
      const bytes = sent.reduce((sum, { length }) => sum + length, 0);
      if (bytes <= MAX_SPLIT_BYTES) expect(await speak(path, sent, code, true)).toEqual(frames);
      if (code !== null) await proveLife();
    },
  );
}

const hex = (digits: string): Buffer => Buffer.from(digits.replaceAll(" ", ""), "hex");
const repeated = (length: number): string => "0123456789abcdef".repeat(Math.ceil(length / 16)).slice(0, length);
const echoed = (bytes: Uint8Array): string => `binary:${Buffer.from(bytes).toString("hex")}`;

// ---- messages of every length form ----

const lengths = [0, 1, 2, 3, 4, 63, 64, 65, 124, 125, 126, 127, 128, 255, 256, 4095, 65_535, 65_536, 70_001, 1_000_003];
check(
  lengths.map((length): Case => [
    `a text of ${length} bytes comes back`,
    [text(repeated(length))],
    [`text:${repeated(length)}`],
  ]),
);
check(
  lengths.map((length): Case => {
    const bytes = Buffer.from(repeated(length)).map((byte, i) => byte ^ (i & 0xff));
    return [`${length} binary bytes come back`, [binary(bytes)], [echoed(bytes)]];
  }),
);
check([
  ["a length of 5 in the 16-bit form is read", [text("hello", { form: 16 })], ["text:hello"]],
  ["a length of 5 in the 64-bit form is read", [text("hello", { form: 64 })], ["text:hello"]],
  ["a length of 200 in the 64-bit form is read", [text(repeated(200), { form: 64 })], [`text:${repeated(200)}`]],
  ["a length with its highest bit set ends with 1002", [text("x", { form: 64, length: 1n << 63n })], [], 1002],
  ["a length of all ones ends with 1002", [text("x", { form: 64, length: (1n << 64n) - 1n })], [], 1002],
  ["the longest length there is ends with 1009", [text("x", { form: 64, length: (1n << 63n) - 1n })], [], 1009],
  ["a length of 4 GB ends with 1009 before its payload", [binary("", { form: 64, length: 1n << 32n })], [], 1009],
  ["one byte over 16 MiB ends with 1009 before its payload", [binary("", { form: 64, length: 16_777_217 })], [], 1009],
]);

// ---- masks ----

const masks = [
  [0, 0, 0, 0],
  [255, 255, 255, 255],
  [1, 0, 0, 0],
  [0, 0, 0, 128],
  [0x80, 0x81, 0x82, 0x83],
];
check(
  masks.map((mask): Case => [
    `the mask ${mask.join(" ")} is taken off`,
    [text(repeated(131), { mask })],
    [`text:${repeated(131)}`],
  ]),
);
check([
  [
    "many messages in one read come back in order",
    [1, 2, 3, 4, 5].map((n) => text(`m${n}`.repeat(n * 7))),
    [1, 2, 3, 4, 5].map((n) => `text:${`m${n}`.repeat(n * 7)}`),
  ],
  [
    "texts, bytes and pings in one read come back in order",
    [text("a"), binary("b"), ping("c"), text("d".repeat(300)), ping("e"), text("f"), binary("g".repeat(200))],
    [
      "text:a",
      echoed(Buffer.from("b")),
      "pong:c",
      `text:${"d".repeat(300)}`,
      "pong:e",
      "text:f",
      echoed(Buffer.from("g".repeat(200))),
    ],
  ],
  [
    "a thousand texts of 1 KB in one write come back in order",
    Array.from({ length: 1000 }, (_, n) => text(`${n} `.padEnd(1024, "x"))),
    Array.from({ length: 1000 }, (_, n) => `text:${`${n} `.padEnd(1024, "x")}`),
  ],
  [
    "long and short messages in one write come back in order",
    [1, 90_000, 2, 65_537, 65_536, 3, 200_000, 4].map((length) => text(repeated(length))),
    [1, 90_000, 2, 65_537, 65_536, 3, 200_000, 4].map((length) => `text:${repeated(length)}`),
  ],
  [
    "a text of three bytes a character comes back",
    [text("\u20ac".repeat(40)), text("\u20ac".repeat(30_000))],
    [`text:${"\u20ac".repeat(40)}`, `text:${"\u20ac".repeat(30_000)}`],
  ],
  ["a small text that is no UTF-8 ends with 1007", [frame(1, Buffer.from([0x61, 0xff]))], [], 1007],
  ["a text of 100 bytes that is no UTF-8 ends with 1007", [frame(1, Buffer.alloc(100, 0x80))], [], 1007],
  ["a text that is not masked ends with 1002", [text("hello", { mask: null })], [], 1002],
  ["binary that is not masked ends with 1002", [binary("hello", { mask: null })], [], 1002],
  ["an empty text that is not masked ends with 1002", [text("", { mask: null })], [], 1002],
  ["a ping that is not masked ends with 1002", [ping("hello", { mask: null })], [], 1002],
  ["a close that is not masked ends with 1002", [close(1000, "", { mask: null })], [], 1002],
  [
    "messages before a violation come back",
    [text("a"), text("b"), text("c", { mask: null })],
    ["text:a", "text:b"],
    1002,
  ],
  ["nothing behind a violation is looked at", [frame(3), text("late")], [], 1002],
]);

// ---- reserved bits and opcodes ----

const reserved = [1, 2, 3, 4, 5, 6, 7];
check(
  [1, 2, 8, 9, 10].flatMap((opcode) =>
    reserved.map((rsv): Case => [
      `reserved bits ${rsv} on opcode ${opcode} end with 1002`,
      [frame(opcode, "", { rsv })],
      [],
      1002,
    ]),
  ),
);
check(
  [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode): Case => [
    `opcode ${opcode} ends with 1002`,
    [frame(opcode, "x")],
    [],
    1002,
  ]),
);
check([
  ["an unknown opcode behind a message ends with 1002", [text("a"), frame(11, "x"), ping()], ["text:a"], 1002],
  ["a reserved bit on a continuation ends with 1002", [text("a", PART), more("b", { rsv: 4 })], [], 1002],
]);

// ---- control frames ----

check([
  ["a ping is answered with its payload", [ping("are you there")], ["pong:are you there"]],
  ["an empty ping is answered", [ping()], ["pong:"]],
  ["a ping of 125 bytes is answered", [ping(repeated(125))], [`pong:${repeated(125)}`]],
  ["a ping of bytes that are no text is answered", [ping(hex("00ff fe80"))], ["pong:\x00\xff\xfe\x80"]],
  [
    "ten pings are answered in order",
    Array.from({ length: 10 }, (_, i) => ping(`p${i}`)),
    Array.from({ length: 10 }, (_, i) => `pong:p${i}`),
  ],
  ["a pong that nobody asked for is ignored", [pong("hello"), text("a")], ["text:a"]],
  ["an empty pong is ignored", [pong(), text("a")], ["text:a"]],
  ["a pong, then a ping: the ping is answered", [pong("x"), ping("y")], ["pong:y"]],
  ["a ping of 126 bytes ends with 1002", [ping(repeated(126))], [], 1002],
  ["a pong of 126 bytes ends with 1002", [pong(repeated(126))], [], 1002],
  ["a close of 126 bytes ends with 1002", [close(1000, repeated(124))], [], 1002],
  ["a ping of 65536 bytes ends with 1002", [ping(repeated(65_536))], [], 1002],
  ["a ping with a length in the 16-bit form ends with 1002", [ping("x", { form: 16 })], [], 1002],
  ["a fragmented ping ends with 1002", [ping("x", PART)], [], 1002],
  ["a fragmented pong ends with 1002", [pong("x", PART)], [], 1002],
  ["a fragmented close ends with 1002", [close(1000, "", PART)], [], 1002],
  ["a fragmented ping, continued, ends with 1002", [ping("x", PART), more("y")], [], 1002],
]);

// ---- fragments ----

const letters = [..."fragments"];
check([
  ["two fragments make one text", [text("frag", PART), more("ment")], ["text:fragment"]],
  ["two fragments make one binary message", [binary("ab", PART), more("cd")], [echoed(Buffer.from("abcd"))]],
  [
    "nine fragments of a byte make one text",
    [text("f", PART), ...letters.slice(1, -1).map((c) => more(c, PART)), more("s")],
    ["text:fragments"],
  ],
  ["empty fragments make an empty text", [text("", PART), more("", PART), more("")], ["text:"]],
  ["an empty first fragment counts", [text("", PART), more("x")], ["text:x"]],
  ["an empty middle fragment counts", [text("a", PART), more("", PART), more("b")], ["text:ab"]],
  ["an empty last fragment ends a text", [text("a", PART), more("")], ["text:a"]],
  ["empty binary fragments make empty bytes", [binary("", PART), more("")], ["binary:"]],
  ["a ping between fragments is answered at once", [text("a", PART), ping("p"), more("b")], ["pong:p", "text:ab"]],
  [
    "two pings between fragments are answered",
    [text("a", PART), ping("1"), more("b", PART), ping("2"), more("c")],
    ["pong:1", "pong:2", "text:abc"],
  ],
  ["a pong between fragments is ignored", [text("a", PART), pong("p"), more("b")], ["text:ab"]],
  [
    "a long ping between fragments is answered",
    [text("a", PART), ping(repeated(125)), more("b")],
    [`pong:${repeated(125)}`, "text:ab"],
  ],
  ["a close between fragments ends the socket", [text("a", PART), close(1000)], [], 1000],
  [
    "two fragmented messages follow each other",
    [text("a", PART), more("b"), binary("c", PART), more("d")],
    ["text:ab", echoed(Buffer.from("cd"))],
  ],
  [
    "fragments with different masks fit together",
    [text("ab", { fin: false, mask: [1, 2, 3, 4] }), more("cd", { mask: [9, 8, 7, 6] })],
    ["text:abcd"],
  ],
  ["a continuation of nothing ends with 1002", [more("x")], [], 1002],
  ["an unfinished continuation of nothing ends with 1002", [more("x", PART)], [], 1002],
  ["an empty continuation of nothing ends with 1002", [more("")], [], 1002],
  ["a continuation behind a whole message ends with 1002", [text("a"), more("b")], ["text:a"], 1002],
  [
    "a continuation behind a finished message ends with 1002",
    [text("a", PART), more("b"), more("c")],
    ["text:ab"],
    1002,
  ],
  ["a text inside a text ends with 1002", [text("a", PART), text("b")], [], 1002],
  ["binary inside a text ends with 1002", [text("a", PART), binary("b")], [], 1002],
  ["a text inside binary ends with 1002", [binary("a", PART), text("b")], [], 1002],
  ["a fragment of a text inside a text ends with 1002", [text("a", PART), text("b", PART), more("c")], [], 1002],
  [
    "64 KB in fragments of 1000 bytes come back",
    Array.from({ length: 66 }, (_, i) => frame(i === 0 ? 2 : 0, Buffer.alloc(1000, i), { fin: i === 65 })),
    [echoed(Buffer.concat(Array.from({ length: 66 }, (_, i) => Buffer.alloc(1000, i))))],
  ],
  [
    "1 MB in two fragments comes back",
    [text(repeated(500_001), PART), more(repeated(500_000))],
    [`text:${repeated(500_001)}${repeated(500_000)}`],
  ],
]);

// ---- close ----

const good = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3001, 3999, 4000, 4001, 4999];
const bad = [0, 1, 999, 1004, 1005, 1006, 1012, 1013, 1014, 1015, 1016, 1100, 2000, 2999, 5000, 5001, 65_535];
check(good.map((code): Case => [`close code ${code} is echoed`, [close(code)], [], code]));
check(bad.map((code): Case => [`close code ${code} is answered with 1002`, [close(code)], [], 1002]));
check([
  ["a close without a code is answered without one", [close()], [], 1005],
  ["a close with half a code ends with 1002", [frame(8, hex("03"))], [], 1002],
  ["a reason of 123 bytes is read", [close(1000, repeated(123))], [], 1000],
  ["a reason in UTF-8 is read", [close(1000, "Hello-µ@ßöäüàá-UTF-8!!")], [], 1000],
  [
    "a reason that is not UTF-8 ends with 1007",
    [close(1000, hex("ce ba e1 bd b9 cf 83 ce bc ce b5 ed a0 80"))],
    [],
    1007,
  ],
  ["a reason that ends within a character ends with 1007", [close(1000, hex("e2 82"))], [], 1007],
  ["what follows a close is ignored", [close(1000), text("late"), ping("late")], [], 1000],
  ["a second close is ignored", [close(1000), close(1001)], [], 1000],
  ["garbage behind a close is ignored", [close(1000), hex("ff ff ff ff ff ff")], [], 1000],
  ["messages before a close come back", [text("a"), binary("b"), close(4000)], ["text:a", "binary:62"], 4000],
]);

// ---- UTF-8 ----

const valid: [string, string][] = [
  ["two bytes at their least", "c2 80"],
  ["two bytes at their most", "df bf"],
  ["three bytes at their least", "e0 a0 80"],
  ["three bytes at their most", "ef bf bf"],
  ["four bytes at their least", "f0 90 80 80"],
  ["four bytes at their most", "f4 8f bf bf"],
  ["the last before the surrogates", "ed 9f bf"],
  ["the first behind the surrogates", "ee 80 80"],
  ["NUL", "00"],
  ["DEL", "7f"],
  ["a byte order mark", "ef bb bf 61"],
  ["a replacement character", "ef bf bd"],
  ["a noncharacter", "ef bf be"],
  ["the Greek word kosme", "ce ba e1 bd b9 cf 83 ce bc ce b5"],
  ["an emoji of several", "f0 9f 91 a9 e2 80 8d f0 9f 92 bb"],
];
check(
  valid.map(([name, digits]): Case => [
    `${name} is text`,
    [text(hex(digits))],
    [`text:${new TextDecoder("utf-8", { ignoreBOM: true }).decode(hex(digits))}`],
  ]),
);
const invalid: [string, string][] = [
  ["a continuation byte alone", "80"],
  ["the last continuation byte alone", "bf"],
  ["two continuation bytes", "80 bf"],
  ["a two-byte start alone", "c2"],
  ["a two-byte start and a space", "c2 20"],
  ["a three-byte start alone", "e0"],
  ["a three-byte character cut", "e2 82"],
  ["a four-byte character cut", "f0 9f 91"],
  ["a four-byte start and two", "f0 90 80"],
  ["an overlong slash in two bytes", "c0 af"],
  ["an overlong slash in three", "e0 80 af"],
  ["an overlong slash in four", "f0 80 80 af"],
  ["an overlong slash in five", "f8 80 80 80 af"],
  ["an overlong slash in six", "fc 80 80 80 80 af"],
  ["an overlong NUL", "c0 80"],
  ["an overlong DEL", "c1 bf"],
  ["three overlong bytes at their most", "e0 9f bf"],
  ["four overlong bytes at their most", "f0 8f bf bf"],
  ["the first surrogate", "ed a0 80"],
  ["the last surrogate", "ed bf bf"],
  ["a pair of surrogates", "ed a0 80 ed b0 80"],
  ["what is behind the last code point", "f4 90 80 80"],
  ["five bytes", "f8 88 80 80 80"],
  ["six bytes", "fc 84 80 80 80 80"],
  ["FE", "fe"],
  ["FF", "ff"],
  ["FE FE FF FF", "fe fe ff ff"],
  ["a bad byte within good text", "63 65 ed a0 80 65 64"],
];
check(invalid.map(([name, digits]): Case => [`${name} is no text: 1007`, [text(hex(digits))], [], 1007]));
const kosme = hex("ce ba e1 bd b9 cf 83 ce bc ce b5");
check(
  invalid
    .slice(0, 6)
    .map(([name, digits]): Case => [`${name} is fine in binary`, [binary(hex(digits))], [echoed(hex(digits))]]),
);
check([
  [
    "a character over two fragments is text",
    [text(kosme.subarray(0, 3), PART), more(kosme.subarray(3))],
    [`text:${kosme.toString()}`],
  ],
  [
    "a text in fragments of one byte is text",
    [
      text(kosme.subarray(0, 1), PART),
      ...Array.from(kosme.subarray(1), (byte, i) => more(Buffer.from([byte]), { fin: i === 9 })),
    ],
    [`text:${kosme.toString()}`],
  ],
  ["a character over a ping is text", [text(hex("e2 82"), PART), ping("p"), more(hex("ac"))], ["pong:p", "text:€"]],
  ["a character that never ends is no text: 1007", [text(hex("e2"), PART), more(hex("82"))], [], 1007],
  ["a bad byte in a later fragment ends with 1007", [text("good", PART), more(hex("ff"))], [], 1007],
  ["a bad byte in a first fragment ends with 1007", [text(hex("ff"), PART), more("good")], [], 1007],
  [
    "a bad byte behind 64 KB of text ends with 1007",
    [text(Buffer.concat([Buffer.from(repeated(65_537)), hex("80")]))],
    [],
    1007,
  ],
  [
    "a bad byte at each of four places in a word ends with 1007",
    [text(Buffer.concat([Buffer.from(repeated(80)), hex("c3"), Buffer.from(repeated(80))]))],
    [],
    1007,
  ],
  [
    "a long text with one umlaut comes back",
    [text(`${repeated(70_000)}ü${repeated(33)}`)],
    [`text:${repeated(70_000)}ü${repeated(33)}`],
  ],
  ["a long text of nothing but umlauts comes back", [text("äöü€".repeat(9000))], [`text:${"äöü€".repeat(9000)}`]],
]);

// ---- the limit ----

const part = (length: number, options?: FrameOptions): Buffer => more(repeated(length), options);
check(
  [
    ["a message of exactly the limit comes back", [text(repeated(1000))], [`text:${repeated(1000)}`]],
    ["one byte over the limit ends with 1009", [text(repeated(1001))], [], 1009],
    ["binary over the limit ends with 1009", [binary(repeated(1001))], [], 1009],
    [
      "fragments of together the limit come back",
      [text(repeated(500), PART), part(500)],
      [`text:${repeated(500)}${repeated(500)}`],
    ],
    ["fragments of together more end with 1009", [text(repeated(500), PART), part(501)], [], 1009],
    ["a fragment that is announced too long ends with 1009", [text("a", PART), more("", { length: 1000 })], [], 1009],
    [
      "many small fragments over the limit end with 1009",
      [text("", PART), ...Array.from({ length: 11 }, () => part(100, PART))],
      [],
      1009,
    ],
    [
      "pings between fragments do not count",
      [text(repeated(999), PART), ping(repeated(125)), part(1)],
      [`pong:${repeated(125)}`, `text:${repeated(999)}0`],
    ],
    [
      "each message counts for itself",
      [text(repeated(900)), text(repeated(900))],
      [`text:${repeated(900)}`, `text:${repeated(900)}`],
    ],
  ],
  "/small",
);

test("frames that come in the same packet as the request are read", async () => {
  const socket = await RawWebSocket.open(
    hub.port,
    "/echo",
    "",
    Buffer.concat([text("first"), ping("p"), text("second").subarray(0, 9)]),
  );
  try {
    await socket.send(text("second").subarray(9));
    expect(await socket.sync()).toEqual(["text:first", "pong:p", "text:second"]);
  } finally {
    socket.close();
  }
});

test("a socket on which the client ends its side without a close frame is ended", async () => {
  const socket = await RawWebSocket.open(hub.port, "/echo");
  try {
    await socket.send(text("last"));
    socket.client.finish();
    expect(await socket.outcome()).toMatchObject({ frames: ["text:last"], code: null });
  } finally {
    socket.close();
  }
  await proveLife();
});

test("random bytes end the connection and nothing else", async () => {
  let seed = 42;
  const random = (): number => (seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff) >> 16;
  for (let round = 0; round < 60; round++) {
    const socket = await RawWebSocket.open(hub.port, "/echo");
    try {
      const bytes = Buffer.from(Array.from({ length: 1 + (random() % 60) }, () => random() & 0xff));
      await socket.send(bytes);
      await socket.client.finish().waitForEnd();
    } finally {
      socket.close();
    }
  }
  await proveLife();
});
