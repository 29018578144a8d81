/** HPACK: the examples of RFC 7541 appendix C, its errors, and bytes at random. */
import { describe, expect, test } from "bun:test";
import { HpackDecoder, HpackError } from "../../../src/protocol/http2/hpack/decoder";
import { encodeField, encodeLines, encodeStatus } from "../../../src/protocol/http2/hpack/encoder";
import { decodeHuffman } from "../../../src/protocol/http2/hpack/huffman";
import { forSeeds } from "../../support/random";

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

function decode(decoder: HpackDecoder, block: Buffer, maxBytes = 65_536): string[] {
  const { fields } = decoder.decode(block, 0, block.length, maxBytes, 10 * maxBytes);
  return fields.flatMap((field, at) => (at % 2 === 0 ? [`${field}: ${fields[at + 1]}`] : []));
}

const PAGE = (authority: string, path = "/", scheme = "http"): string[] => [
  ":method: GET",
  `:scheme: ${scheme}`,
  `:path: ${path}`,
  `:authority: ${authority}`,
];

/** By section of appendix C: blocks on one connection, and their fields. */
const EXAMPLES: Record<string, [block: string, fields: string[]][]> = {
  "C.2.1": [["400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", ["custom-key: custom-header"]]],
  "C.2.2": [["040c 2f73 616d 706c 652f 7061 7468", [":path: /sample/path"]]],
  "C.2.3": [["1008 7061 7373 776f 7264 0673 6563 7265 74", ["password: secret"]]],
  "C.2.4": [["82", [":method: GET"]]],
  "C.3": [
    ["8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", PAGE("www.example.com")],
    ["8286 84be 5808 6e6f 2d63 6163 6865", [...PAGE("www.example.com"), "cache-control: no-cache"]],
    [
      "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
      [...PAGE("www.example.com", "/index.html", "https"), "custom-key: custom-value"],
    ],
  ],
  "C.4": [
    ["8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", PAGE("www.example.com")],
    ["8286 84be 5886 a8eb 1064 9cbf", [...PAGE("www.example.com"), "cache-control: no-cache"]],
    [
      "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
      [...PAGE("www.example.com", "/index.html", "https"), "custom-key: custom-value"],
    ],
  ],
};

describe("a block", () => {
  for (const [section, blocks] of Object.entries(EXAMPLES)) {
    test(`is decoded as RFC 7541 ${section} says`, () => {
      const decoder = new HpackDecoder();
      for (const [block, fields] of blocks) expect(decode(decoder, hex(block))).toEqual(fields);
    });
  }

  test("may evict entries of a small table, as in RFC 7541 C.5 and C.6", () => {
    const replies: Record<string, string[]> = {
      "C.5": [
        "3fe1 01 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
      ],
      "C.6": [
        "3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
      ],
    };
    const rest = (second: number) => [
      "cache-control: private",
      `date: Mon, 21 Oct 2013 20:13:2${second} GMT`,
      "location: https://www.example.com",
    ];
    for (const blocks of Object.values(replies)) {
      // The examples use a table of 256 bytes: the blocks begin with its size.
      const decoder = new HpackDecoder();
      const [first = [], second = [], third = []] = blocks.map((block) => decode(decoder, hex(block)));
      expect(first).toEqual([":status: 302", ...rest(1)]);
      expect(second).toEqual([":status: 307", ...rest(1)]);
      expect(third).toEqual([
        ":status: 200",
        ...rest(2),
        "content-encoding: gzip",
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
      ]);
      // Of the older entries only three have room beside the new ones.
      expect(() => decode(decoder, hex("c1"))).toThrow(HpackError);
    }
  });

  test("of any cut is an error and never a hang", () => {
    for (const [block] of Object.values(EXAMPLES).flat()) {
      const whole = hex(block);
      for (let at = 1; at < whole.length; at++) {
        try {
          decode(new HpackDecoder(), whole.subarray(0, at));
        } catch (error) {
          expect(error).toBeInstanceOf(HpackError);
        }
      }
    }
  });

  const WRONG: Record<string, string> = {
    "index 0 (6.1)": "80",
    "an index without an entry (2.3.3)": "be",
    "a name's index without an entry": "7f00 01 61",
    "a size update above the setting (6.3)": "3fe2 1f",
    "a size update behind a field (4.2)": "82 20",
    "a number without an end (5.1)": "ffff ffff ffff ffff",
    "a number that is cut": "ff",
    "a string that is longer than the block (5.2)": "0005 6162",
    "a string that is missing": "00",
    "padding of 8 bits (5.2)": "0082 1fff 00",
    "padding that is not the beginning of EOS": "0081 18 00",
    "EOS in a string": "0084 ffff ffff 00",
  };
  for (const [what, block] of Object.entries(WRONG)) {
    test(`with ${what} is an error`, () => {
      expect(() => decode(new HpackDecoder(), hex(block))).toThrow(HpackError);
    });
  }

  test("with an entry larger than the table empties it, and is no error (RFC 7541 4.4)", () => {
    const decoder = new HpackDecoder();
    decode(decoder, hex("4001 6101 62"));
    expect(decode(decoder, hex("be"))).toEqual(["a: b"]);
    const large = Buffer.concat([hex("4001 61 7f81 1f"), Buffer.alloc(4096, "x")]);
    expect(decode(decoder, large)).toHaveLength(1);
    expect(() => decode(decoder, hex("be"))).toThrow(HpackError);
  });

  test("above maxBytes keeps its first fields, and changes the table as it must; above stopBytes it is not read on", () => {
    const decoder = new HpackDecoder();
    const block = Buffer.concat([hex("4001 6101 62"), hex("be".repeat(100))]);
    const list = decoder.decode(block, 0, block.length, 64, 10_000);
    expect(list).toEqual({ fields: ["a", "b"], bytes: 101 * 34 });
    expect(decode(decoder, hex("be"))).toEqual(["a: b"]);
    expect(decoder.decode(block, 0, block.length, 64, 200).bytes).toBe(34 * 6);
  });

  test("without an insertion or a size update leaves the table as it is", () => {
    const decoder = new HpackDecoder();
    decode(decoder, hex("8286 8404 0161 1001 6101 62"));
    expect(decoder.changes).toBe(0);
    decode(decoder, hex("4001 6101 62"));
    expect(decoder.changes).toBe(1);
    decode(decoder, hex("be 82"));
    expect(decoder.changes).toBe(1);
    decode(decoder, hex("3f e1 01"));
    expect(decoder.changes).toBe(2);
  });

  test("of bytes at random is decoded or refused, and memory stays in its bounds", () => {
    forSeeds(300, (random) => {
      const decoder = new HpackDecoder();
      for (let count = 0; count < 20; count++) {
        const block = Buffer.from(random.list(60, () => random.below(256)));
        try {
          expect(decoder.decode(block, 0, block.length, 10_000, 100_000).bytes).toBeLessThan(200_000);
        } catch (error) {
          expect(error).toBeInstanceOf(HpackError);
          break;
        }
      }
    });
  });
});

describe("what the encoder makes", () => {
  test("is read back as it was, whatever its length", () => {
    for (const length of [0, 1, 14, 15, 126, 127, 128, 254, 255, 256, 5000]) {
      const value = "v".repeat(length);
      for (const name of ["x-own", "server", ":status", "www-authenticate", "n".repeat(Math.max(1, length))])
        expect(decode(new HpackDecoder(), encodeField(name, value))).toEqual([`${name}: ${value}`]);
    }
    for (const status of [200, 204, 206, 301, 304, 400, 404, 418, 500, 599, 999])
      expect(decode(new HpackDecoder(), encodeStatus(status))).toEqual([`:status: ${status}`]);
  });

  test("of header lines has their names in lower case and their values as they are, also a second time", () => {
    for (let round = 0; round < 600; round++) {
      const lines = `Content-Type: text/plain\r\nX-Number: ${round % 300}\r\nX-Text:  ä: b \r\nset-cookie: a=1\r\nset-cookie: b=2\r\n`;
      expect(decode(new HpackDecoder(), encodeLines(lines))).toEqual([
        "content-type: text/plain",
        `x-number: ${round % 300}`,
        "x-text: ä: b",
        "set-cookie: a=1",
        "set-cookie: b=2",
      ]);
    }
    expect(encodeLines("")).toHaveLength(0);
  });
});

test("every symbol has the code of RFC 7541 appendix B", () => {
  // Some of each length: the code in bits, as the appendix prints it.
  const codes: Record<string, string> = {
    "0": "00000",
    a: "00011",
    " ": "010100",
    ":": "1011100",
    "&": "11111000",
    "!": "1111111000",
    "#": "111111111010",
    "\\": "1111111111111110000",
    "\0": "1111111111000",
    "\u0001": "11111111111111111011000",
    "\n": "111111111111111111111111111100",
    "\u00ff": "11111111111111111111101110",
  };
  for (const [symbol, code] of Object.entries(codes)) {
    const padded = code.padEnd(Math.ceil(code.length / 8) * 8, "1");
    const bytes = Uint8Array.from(padded.match(/.{8}/g) ?? [], (bits) => Number.parseInt(bits, 2));
    expect([symbol, decodeHuffman(bytes, 0, bytes.length)]).toEqual([symbol, symbol]);
  }
});
