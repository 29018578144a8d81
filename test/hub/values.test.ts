/** Values between modules, and how far calls may go. Without a server. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deadlineOf, refusedChain } from "../../src/hub/chain";
import { CallTotals } from "../../src/hub/totals";
import { ServiceFrame } from "../../src/module/service/context";
import type { CallFrame } from "../../src/module/service/frame";
import { callsServices } from "../../src/module/service/framed";
import { Carried, decodeValue, encodeValue } from "../../src/module/service/values";

class Point {
  x = 1;
}
const shared = { one: 1 };
const cycle: Record<string, unknown> = {};
cycle["self"] = cycle;
let deep: unknown = "end";
for (let level = 0; level < 10_000; level++) deep = [deep];

const VALUES: Record<string, unknown> = {
  nothing: undefined,
  null: null,
  text: "grüße 🎈 \ud800 \0",
  number: 1.5,
  "negative zero": -0,
  NaN: Number.NaN,
  infinity: -Infinity,
  bigint: 12345678901234567890n,
  date: new Date(5),
  bytes: new Uint8Array([0, 255, 10]),
  map: new Map([["a", { b: [1] }]]),
  set: new Set([1]),
  error: new RangeError("too much"),
  "plain data": { a: [1, "two", null, { c: true }], "": {} },
  "undefined within": { a: undefined, b: [undefined] },
  "a hole": [1, , 3], // eslint-disable-line no-sparse-arrays
  cycle,
  "two references": [shared, shared],
  "own __proto__": JSON.parse('{"__proto__": {"polluted": true}}'),
  toJSON: { toJSON: 3, a: 1 },
  "many parts": Array.from({ length: 20_000 }, (_, at) => at),
};

describe("a value that crosses", () => {
  test.each(Object.entries(VALUES))("%s is copied as structuredClone does it", (_, value) => {
    const expected = structuredClone(value);
    for (const copy of [
      Carried.of(value).copy(),
      decodeValue(encodeValue(value)),
      Carried.encoded(encodeValue(value)).copy(),
    ]) {
      expect(copy).toEqual(expected);
      expect(Bun.inspect(copy)).toBe(Bun.inspect(expected));
      if (typeof value === "object" && value !== null) expect(copy).not.toBe(value);
    }
  });

  test("the text on its way has one character for each byte", () => {
    for (const value of Object.values(VALUES)) expect(/[^\0-\xff]/.test(encodeValue(value))).toBe(false);
  });

  test("an object of a class loses it, and a prototype cannot be set", () => {
    expect(Object.getPrototypeOf(Carried.of(new Point()).copy())).toBe(Object.prototype);
    const copy = Carried.of(VALUES["own __proto__"]).copy() as object;
    expect(Object.getPrototypeOf(copy)).toBe(Object.prototype);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  test.each([
    ["a function", () => 1],
    ["a function within", { call: () => 1 }],
    ["a symbol", Symbol("x")],
  ])("%s is refused", (_, value) => {
    expect(() => Carried.of(value).copy()).toThrow();
    expect(() => encodeValue(value)).toThrow();
  });

  test("10,000 levels are copied or refused, and nothing else happens", () => {
    for (const copy of [() => Carried.of(deep).copy(), () => decodeValue(encodeValue(deep))]) {
      try {
        expect(copy()).toBeArray();
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
    }
  });
});

const frame = (chain: string[], deadlineAt = Infinity): CallFrame => ({
  chain,
  deadlineAt,
  client: null,
  identity: null,
  cancellation: () => null,
});

describe("a chain of services", () => {
  test("may be deep, but not endless", () => {
    const names = Array.from({ length: 32 }, (_, at) => `a.s${at}`);
    expect(refusedChain(null, "a.b")).toBeNull();
    expect(refusedChain(frame(names.slice(0, 31)), "a.b")).toBeNull();
    expect(refusedChain(frame(names), "a.b")).toContain("at depth 33");
  });

  test("may not wait for itself through another, but a service may call itself", () => {
    expect(refusedChain(frame(["a.x", "b.y"]), "a.x")).toBe("a.x waits for itself: a.x -> b.y -> a.x");
    expect(refusedChain(frame(["t.walk", "t.walk"]), "t.walk")).toBeNull();
  });

  test("has the least time of all limits", () => {
    expect(deadlineOf(100, null, 0, undefined)).toBe(Infinity);
    expect(deadlineOf(100, null, 50, 30)).toBe(130);
    expect(deadlineOf(100, frame([], 110), 50, 30)).toBe(110);
  });
});

describe("what a call inherits", () => {
  test("has the services above it and its own name, made when somebody asks", () => {
    const above = new ServiceFrame({ caller: "a", parent: null, name: "b.one", deadlineAt: Infinity });
    const own = new ServiceFrame({ caller: "b", parent: above, name: "c.two", deadlineAt: Infinity });
    expect(own.chain).toEqual(["b.one", "c.two"]);
    expect(new ServiceFrame({ caller: "", parent: above, name: null, deadlineAt: 1 }).chain).toEqual(["b.one"]);
  });

  test("is kept for each module that may call services, and for no other", () => {
    const dir = mkdtempSync(join(tmpdir(), "hrmr-frames-"));
    const mayCall = (bundle: string, hasServices: boolean): boolean => {
      const file = join(dir, "module.js");
      writeFileSync(file, bundle);
      return callsServices(file, hasServices);
    };
    try {
      expect(mayCall("export default { routes: {} }", false)).toBe(false);
      expect(mayCall("handle: (_, { services }) => services.kv.get()", false)).toBe(true);
      expect(mayCall("export default { services: { get: (key) => key } }", true)).toBe(false);
      expect(mayCall("services: { get: (key, { services: all }) => all.kv.get(key) }", true)).toBe(true);
      expect(mayCall("services: { get: (key, context) => context.services.kv.get(key) }", true)).toBe(true);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});

test("a timed call counts for the untimed ones before it, and each call is counted", () => {
  const totals = new CallTotals();
  const order = { caller: { module: "a", generation: 1 }, module: "kv", service: "get" } as never;
  totals.add(order, null, false);
  totals.add(order, null, true);
  totals.add(order, 2, false);
  totals.add(order, 1, false);
  const [total] = totals.snapshot();
  expect(total).toEqual({ caller: "a", callee: "kv.get", calls: 4, errors: 1, totalSeconds: expect.closeTo(0.007, 9) });
});
