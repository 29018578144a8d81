import { describe, expect, test } from "bun:test";
import { NEED_MORE } from "../../../src/router/match";
import { HelloReader, MALFORMED } from "../../../src/server/tls/hello";
import { buildHello, captureHello, extension, inRecords, serverNameExtension, uint16 } from "../../support/tls";

const MAX_HELLO_BYTES = 16_384;
const MAX_RECORDS = 16;

const readServerName = (bytes: Uint8Array) => new HelloReader().read(bytes);

const NAMED = buildHello({
  extensions: [extension(10, uint16(0)), serverNameExtension("A.Example"), extension(43, Buffer.from([2, 3, 4]))],
});

describe("the server name of a ClientHello", () => {
  test("is read from what real clients send, in lower case", async () => {
    expect(readServerName(await captureHello({ servername: "Www.B.example" }))).toBe("www.b.example");
    expect(readServerName(await captureHello())).toBe("");
    const options = { servername: "a.example", maxVersion: "TLSv1.2", ALPNProtocols: ["h2", "http/1.1"] } as const;
    expect(readServerName(await captureHello(options))).toBe("a.example");
  });

  test("is asked for again until the last byte is there, wherever the bytes are split", () => {
    const bytes = inRecords(NAMED);
    for (let length = 0; length < bytes.length; length++)
      expect(readServerName(bytes.subarray(0, length))).toBe(NEED_MORE);
    expect(readServerName(bytes)).toBe("a.example");
  });

  test("is the same in records of any size, of which there are 16 at most", () => {
    for (let size = 1; size <= NAMED.length; size++) {
      const bytes = inRecords(NAMED, size);
      const isTooMany = Math.ceil(NAMED.length / size) > MAX_RECORDS;
      expect(readServerName(bytes)).toBe(isTooMany ? MALFORMED : "a.example");
      if (!isTooMany) expect(readServerName(bytes.subarray(0, -1))).toBe(NEED_MORE);
    }
  });

  test("is refused as soon as one record too many is complete", () => {
    const bytes = inRecords(buildHello({ extensions: [extension(21, Buffer.alloc(1000))] }), 1);
    const recordBytes = 6;
    expect(readServerName(bytes.subarray(0, MAX_RECORDS * recordBytes - 1))).toBe(NEED_MORE);
    expect(readServerName(bytes.subarray(0, MAX_RECORDS * recordBytes))).toBe(MALFORMED);
  });

  test("is read from pieces with the same result, wherever it is cut", () => {
    for (const size of [7, 13, NAMED.length]) {
      const bytes = inRecords(NAMED, size);
      for (let cut = 1; cut < bytes.length; cut++) {
        const reader = new HelloReader();
        expect(reader.read(bytes.subarray(0, cut))).toBe(NEED_MORE);
        // Another buffer, as when the held bytes have grown.
        expect(reader.read(Buffer.from(bytes))).toBe("a.example");
      }
      const reader = new HelloReader();
      const answers = Array.from(bytes, (_, at) => reader.read(Buffer.from(bytes.subarray(0, at + 1))));
      expect(answers.pop()).toBe("a.example");
      expect(new Set(answers)).toEqual(new Set([NEED_MORE]));
    }
  });

  test("costs no more work when it comes byte by byte", () => {
    const bytes = inRecords(buildHello({ extensions: [extension(21, Buffer.alloc(15_000))] }), 1100);
    let touched = 0;
    const reader = new HelloReader();
    for (let length = 1; length < bytes.length; length++) {
      const counted = countingReads(bytes.subarray(0, length), (count) => (touched += count));
      expect(reader.read(counted)).toBe(NEED_MORE);
    }
    // Each record's header is looked at again while its body comes, and its body copied once.
    expect(touched).toBeLessThan(8 * bytes.length);
  });

  test("has no dot at its end", () => {
    const named = (name: string) => readServerName(inRecords(buildHello({ extensions: [serverNameExtension(name)] })));
    expect(named("A.example.")).toBe("a.example");
    expect(named(".")).toBe("");
    expect(named("a.example..")).toBe("a.example.");
  });

  test("is not looked for behind the ClientHello", () => {
    expect(readServerName(Buffer.concat([inRecords(NAMED), Buffer.from([20, 3, 3, 0, 1, 1])]))).toBe("a.example");
  });

  test("is empty where there is no extension for it, or none at all", () => {
    expect(readServerName(inRecords(buildHello()))).toBe("");
    expect(readServerName(inRecords(withLength(buildHello().subarray(4, -2))))).toBe("");
  });

  test.each<[string, Buffer]>([
    ["another record type", Buffer.from([23, 3])],
    ["another major version", Buffer.from([22, 2])],
    ["another handshake message", Buffer.from([22, 3, 1, 0, 4, 2])],
    ["an empty record", Buffer.from([22, 3, 1, 0, 0])],
    ["a record over 16384 bytes", Buffer.from([22, 3, 1, 0x40, 1])],
    ["a message over the limit, at its length already", Buffer.from([22, 3, 1, 0, 9, 1, 0, 0x40, 0])],
    ["a message over 65535 bytes", Buffer.from([22, 3, 1, 0, 9, 1, 1, 0, 0])],
    ["a byte behind the message in its record", inRecords(Buffer.concat([NAMED, Buffer.alloc(1)]))],
    ["a message without a body", inRecords(Buffer.from([1, 0, 0, 0]))],
    ["a body that ends in the random", inRecords(withLength(Buffer.alloc(33, 3)))],
    ["a session id over 32 bytes", inRecords(buildHello({ sessionId: Buffer.alloc(33) }))],
    ["no cipher suite", inRecords(buildHello({ suites: Buffer.alloc(0) }))],
    ["half a cipher suite", inRecords(buildHello({ suites: Buffer.alloc(3) }))],
    ["a byte behind the extensions", inRecords(withLength(Buffer.concat([buildHello().subarray(4), Buffer.alloc(1)])))],
    ["half an extension", inRecords(buildHello({ extensions: [Buffer.from([0, 0, 0])] }))],
    ["an extension longer than all", inRecords(buildHello({ extensions: [Buffer.from([0, 9, 0, 9, 1])] }))],
    [
      "two names in two extensions",
      inRecords(buildHello({ extensions: [serverNameExtension("a"), serverNameExtension("b")] })),
    ],
    [
      "two extensions of any one type",
      inRecords(buildHello({ extensions: [extension(9, uint16(1)), extension(9, uint16(1))] })),
    ],
    [
      "two names in one list",
      inRecords(buildHello({ extensions: [extension(0, Buffer.from([0, 8, 0, 0, 1, 97, 0, 0, 1, 98]))] })),
    ],
    ["a name of another type", inRecords(buildHello({ extensions: [extension(0, Buffer.from([0, 4, 1, 0, 1, 97]))] }))],
    ["an empty list", inRecords(buildHello({ extensions: [extension(0, Buffer.from([0, 0]))] }))],
    ["an empty name", inRecords(buildHello({ extensions: [serverNameExtension("")] }))],
    ["a name with NUL", inRecords(buildHello({ extensions: [serverNameExtension("a\0b")] }))],
    ["a name with a line end", inRecords(buildHello({ extensions: [serverNameExtension("a\nb")] }))],
    ["a name that is not ASCII", inRecords(buildHello({ extensions: [serverNameExtension("bücher.example")] }))],
    ["a name over 255 bytes", inRecords(buildHello({ extensions: [serverNameExtension("a".repeat(256))] }))],
  ])("%s is refused", (_, bytes) => {
    expect(readServerName(bytes)).toBe(MALFORMED);
  });

  test("does not let a client have more held than the limit, in however small records", () => {
    const endless = inRecords(Buffer.concat([Buffer.from([1, 0, 0x3f, 0xf0]), Buffer.alloc(17_000)]), 16_384);
    expect(readServerName(endless.subarray(0, MAX_HELLO_BYTES - 1))).toBe(NEED_MORE);
    expect(readServerName(endless.subarray(0, MAX_HELLO_BYTES))).toBe(MALFORMED);
  });

  test("survives any byte changed in it", () => {
    const bytes = inRecords(NAMED);
    for (let at = 0; at < bytes.length; at++) {
      for (const value of [0, 1, 0x7f, 0xff]) {
        const changed = Buffer.from(bytes);
        changed[at] = value;
        expect(["string", "symbol"]).toContain(typeof readServerName(changed));
      }
    }
  });
});

/** @param touch  told of each byte that is read, and of each that is copied */
function countingReads(bytes: Uint8Array, touch: (count: number) => void): Uint8Array {
  return new Proxy(bytes, {
    get(target, name) {
      if (typeof name === "string" && /^\d+$/.test(name)) touch(1);
      const value = Reflect.get(target, name) as unknown;
      if (typeof value !== "function") return value;
      return (...args: number[]) => {
        const result = (value as (...args: number[]) => Uint8Array).apply(target, args);
        touch(result.length);
        return result;
      };
    },
  });
}

/** A ClientHello of this body, whatever it is. */
function withLength(body: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([1, 0]), uint16(body.length), body]);
}
