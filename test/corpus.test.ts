/** Modules that are wrong when they load or go, beside one that is right. Also run against the binary (HRMR_BIN). */
import { expect, test } from "bun:test";
import { BAD_CALLS, BAD_FLOODS, BAD_LOADS } from "./support/corpus";
import { testCorpus } from "./support/corpus-run";

test("the corpus has at least 40 bad modules, each with a title of its own", () => {
  const corpus = [...BAD_LOADS, ...BAD_CALLS, ...BAD_FLOODS];
  expect(corpus.length).toBeGreaterThanOrEqual(40);
  expect(new Set(corpus.map(({ title }) => title)).size).toBe(corpus.length);
});

testCorpus(BAD_LOADS);
