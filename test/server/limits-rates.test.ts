/** Limits of rates, on a clock of the test's own. */
import { describe, expect, test } from "bun:test";
import { AddressRates, SecondWindow } from "../../src/protocol/rates";

describe("a second's window", () => {
  test("lets the limit pass, then names the milliseconds until the next second", () => {
    const rate = new SecondWindow();
    expect([rate.take(2, 5000), rate.take(2, 5100)]).toEqual([0, 0]);
    expect([rate.take(2, 5100), rate.take(2, 5400.5), rate.take(2, 5999.9)]).toEqual([900, 600, 1]);
    expect([rate.take(2, 6000), rate.take(2, 6000), rate.take(2, 6001)]).toEqual([0, 0, 999]);
  });

  test("begins with the first message after the last one was over, and not with the clock's seconds", () => {
    const rate = new SecondWindow();
    expect([rate.take(1, 900), rate.take(1, 1100), rate.take(1, 1900), rate.take(1, 2899), rate.take(1, 2900)]).toEqual(
      [0, 800, 0, 1, 0],
    );
  });

  test("a refused message is not counted: whoever keeps asking gets its share of the next second", () => {
    const rate = new SecondWindow();
    rate.take(3, 0);
    for (let at = 0; at < 1000; at++) rate.take(3, at);
    expect([rate.take(3, 1000), rate.take(3, 1000), rate.take(3, 1000), rate.take(3, 1000)]).toEqual([0, 0, 0, 1000]);
  });

  test("asking counts nothing", () => {
    const rate = new SecondWindow();
    expect([rate.waitMs(1, 0), rate.waitMs(1, 0), rate.take(1, 0), rate.waitMs(1, 250)]).toEqual([0, 0, 0, 750]);
  });

  test("a limit that is raised or lowered by a reload counts from the next message on", () => {
    const rate = new SecondWindow();
    expect([rate.take(1, 0), rate.take(1, 1), rate.take(5, 2), rate.take(2, 3)]).toEqual([0, 999, 0, 997]);
  });
});

describe("addresses", () => {
  test("each has a count of its own, and a new second forgives", () => {
    const rates = new AddressRates();
    expect([rates.take("a", 2, 0), rates.take("a", 2, 1), rates.take("a", 2, 2), rates.take("b", 2, 3)]).toEqual([
      true,
      true,
      false,
      true,
    ]);
    expect([rates.take("a", 2, 999), rates.take("a", 2, 1000)]).toEqual([false, true]);
  });

  test("a second's addresses are forgotten with it, and there are never more than the bound", () => {
    const rates = new AddressRates(100);
    for (let at = 0; at < 100_000; at++) rates.take(`2001:db8::${at.toString(16)}`, 1, 0);
    expect(rates.size).toBe(100);
    expect(rates.take("2001:db8::1869f", 1, 1)).toBe(false);
    rates.take("b", 1, 1000);
    expect(rates.size).toBe(1);
  });
});
