/** A short run of `bun run chaos`. Also run against the binary (HRMR_BIN). */
import { expect, test } from "bun:test";
import { runChaos } from "../bench/chaos/run";
import { Random } from "./support/random";

/** `npm run test:long` makes more of them. */
const OPERATIONS = Number(process.env["HRMR_TEST_OPERATIONS"] ?? 12);
const SEED = 5;

test("random operations and kills under load: what runs is what was acknowledged last, and no answer is wrong", async () => {
  const { operations, problems, load } = await runChaos(OPERATIONS, new Random(SEED), 2);
  expect(problems).toEqual([]);
  expect(load.wrong).toEqual([]);
  expect([...operations.values()].reduce((sum, { count }) => sum + count, 0)).toBe(OPERATIONS);
  expect(load.answered).toBeGreaterThan(OPERATIONS);
});
