/** The calls that a place was sent, by number: the same as a Map that keeps their order. */
import { expect, test } from "bun:test";
import type { RemoteCall } from "../../src/host/remote/call";
import { OpenCalls } from "../../src/host/remote/sequence";
import { forSeeds } from "../support/random";

const callOf = (seq: number): RemoteCall => ({ seq }) as unknown as RemoteCall;

test("calls come and go like the entries of a Map, however long some of them stay", () => {
  forSeeds(200, (random) => {
    const calls = new OpenCalls();
    const expected = new Map<number, RemoteCall>();
    // Near the end of 31 bits, and of 32: numbers wrap.
    let next = random.pick([1, 0x7fff_ff00, -200, 1000]);
    for (let step = 0; step < 600; step++) {
      if (expected.size === 0 || random.below(5) < 3) {
        const call = callOf(next);
        calls.add(call);
        expected.set(next, call);
        next = (next + 1) | 0;
      } else {
        const keys = [...expected.keys()];
        // Mostly the oldest, sometimes any: a slow handler stays behind.
        const seq = random.below(4) > 0 ? (keys[0] as number) : random.pick(keys);
        calls.delete(seq);
        expected.delete(seq);
      }
      expect(calls.size).toBe(expected.size);
    }
    expect(calls.list()).toEqual([...expected.values()]);
    for (const [seq, call] of expected) expect(calls.get(seq)).toBe(call);
    for (let seq = -300; seq < 300; seq++) expect(calls.has((next + seq) | 0)).toBe(expected.has((next + seq) | 0));
    calls.clear();
    expect([calls.size, calls.list(), calls.has((next - 1) | 0)]).toEqual([0, [], false]);
  });
});

test("an unknown number finds no call and deletes none, whatever a broken process has sent", () => {
  const calls = new OpenCalls();
  calls.add(callOf(5));
  for (const seq of [Number.NaN, Infinity, 5.5, 2 ** 40, -1, 5 + 256, 5 - 256]) {
    calls.delete(seq);
    expect([seq, calls.get(seq), calls.size]).toEqual([seq, undefined, 1]);
  }
});
