/** Unmasking by each way there is, against the definition of RFC 6455 section 5.3. */
import { expect, test } from "bun:test";
import {
  HIGH_BITS,
  readKey,
  unmask,
  unmaskApart,
  unmaskByWords,
  unmaskBySimd,
} from "../../../src/protocol/websocket/mask";
import { makeSimd, type Simd, SIMD_BYTES } from "../../../src/protocol/websocket/mask-simd";
import { forSeeds, type Random } from "../../support/random";

const simd = makeSimd() as Simd;

/** A payload inside other bytes, at any alignment. */
interface Case {
  bytes: Buffer;
  from: number;
  to: number;
  mask: number[];
}

function make(random: Random, length: number): Case {
  const from = random.below(20);
  const bytes = Buffer.alloc(from + length + random.below(20));
  const top = random.pick([128, 128, 256]);
  for (let at = 0; at < bytes.length; at++) bytes[at] = random.below(top);
  return { bytes, from, to: from + length, mask: Array.from({ length: 4 }, () => random.below(top)) };
}

/** The bytes behind it all, and whether the payload is ASCII. */
function expected({ bytes, from, to, mask }: Case): { bytes: Buffer; isAscii: boolean } {
  const result = Buffer.from(bytes);
  for (let at = from; at < to; at++) result[at] = (bytes[at] as number) ^ (mask[(at - from) % 4] as number);
  return { bytes: result, isAscii: result.subarray(from, to).every((byte) => byte < 0x80) };
}

type Way = (bytes: Buffer, from: number, to: number, key: number) => number;

const WAYS: Record<string, Way> = {
  "the one for the length": unmask,
  "32-bit words": unmaskByWords,
  SIMD: (...args) => unmaskBySimd(simd, ...args),
};

function check(way: Way, one: Case): void {
  const { isAscii, bytes } = expected(one);
  const given = Buffer.from(one.bytes);
  const seen = way(given, one.from, one.to, readKey(Buffer.from(one.mask), 0));
  expect([given.equals(bytes), (seen & HIGH_BITS) === 0]).toEqual([true, isAscii]);
}

test.each(Object.entries(WAYS))("%s unmasks a payload of any length at any place, and nothing beside it", (_, way) => {
  forSeeds(1500, (random) => check(way, make(random, 3 + random.below(random.pick([20, 100, 1100, 3000])))));
});

test.each(Object.entries(WAYS))("%s unmasks payloads longer than the memory of WebAssembly", (_, way) => {
  forSeeds(3, (random) => check(way, make(random, random.pick([1, 2, 3]) * SIMD_BYTES + random.below(3) - 1)));
});

test("a text that is unmasked apart leaves the bytes of the read as they are", () => {
  let apart = 0;
  forSeeds(1500, (random) => {
    const one = make(random, random.below(random.pick([80, 300, 5000])));
    const before = Buffer.from(one.bytes);
    const found = unmaskApart(one.bytes, one.from, one.to, readKey(Buffer.from(one.mask), 0));
    expect(one.bytes.equals(before)).toBe(true);
    if (found === null) return;
    apart++;
    const { bytes, isAscii } = expected(one);
    const content = found.bytes.subarray(0, one.to - one.from);
    expect([content.equals(bytes.subarray(one.from, one.to)), found.isAscii]).toEqual([true, isAscii]);
  });
  if (process.env["HRMR_SEED"] === undefined) expect(apart).toBeGreaterThan(500);
});

test("a single byte that is no ASCII is seen, wherever it stands", () => {
  for (const length of [64, 65, 79, 80, 200])
    for (let at = 0; at < length; at++) {
      const bytes = Buffer.alloc(length, "a");
      bytes[at] = 0xe9;
      const key = 0x01020304;
      expect([length, at, unmaskApart(bytes, 0, length, key)?.isAscii]).toEqual([length, at, false]);
      expect([length, at, unmaskBySimd(simd, bytes, 0, length, key) & HIGH_BITS]).not.toEqual([length, at, 0]);
    }
});

test("what an earlier payload left in memory does not count", () => {
  const high = Buffer.alloc(256, 0xff);
  const plain = Buffer.alloc(70, "a");
  for (let round = 0; round < 3; round++) {
    expect(unmaskApart(high, 0, high.length, 0)?.isAscii).toBe(false);
    expect(unmaskApart(plain, 0, plain.length, 0)?.isAscii).toBe(true);
    expect(unmaskBySimd(simd, plain, 0, 3, 0) & HIGH_BITS).toBe(0);
  }
});
