/** The variables of .env in process.env, one set after the other. */
import { afterEach, expect, test } from "bun:test";
import { applyEnvironment, outerEnvironment } from "../../src/system/environment";

afterEach(() => applyEnvironment({}));

const here = () => [process.env["HRMR_TEST_A"], process.env["HRMR_TEST_B"]];

test("the next set replaces the one before, and is not part of the outer environment", () => {
  applyEnvironment({ HRMR_TEST_A: "1", HRMR_TEST_B: "2" });
  expect(here()).toEqual(["1", "2"]);
  expect(outerEnvironment()).not.toContainKey("HRMR_TEST_A");
  applyEnvironment({ HRMR_TEST_B: "3" });
  expect(here()).toEqual([undefined, "3"]);
  applyEnvironment();
  expect(here()).toEqual([undefined, undefined]);
  expect(outerEnvironment()).toContainKey("PATH");
});

test("a variable that code has changed since is the code's own", () => {
  applyEnvironment({ HRMR_TEST_A: "1" });
  process.env["HRMR_TEST_A"] = "mine";
  expect(outerEnvironment()["HRMR_TEST_A"]).toBe("mine");
});

test("with the numbers of loads, those of the newest load hold, in whatever order the loads come", () => {
  applyEnvironment({ HRMR_TEST_A: "of 7" }, 1_000_007);
  applyEnvironment({ HRMR_TEST_A: "of 5", HRMR_TEST_B: "of 5" }, 1_000_005);
  expect(here()).toEqual(["of 7", undefined]);
  applyEnvironment({ HRMR_TEST_B: "of 9" }, 1_000_009);
  expect(here()).toEqual([undefined, "of 9"]);
});
