/** `start` and `stop` of a module: their order around the swap, and what failures do. */
import { expect, test } from "bun:test";
import { withHub } from "../../support/hub";
import { lifeModule, textsIn } from "../../support/life";
import { until } from "../../support/until";

test("a version starts once it serves, stops before the next one starts, and stops at the end", async () => {
  let steps: () => string[] = () => [];
  let last: string[] = [];
  await withHub({ "modules/gate.ts": lifeModule("gate") }, [], async (hub) => {
    steps = () => textsIn(hub);
    await until("the start of v1", () => steps().includes("gate start v1"));
    expect(steps()).toEqual(["gate setup", "gate check", "gate start v1"]);
    hub.write("modules/gate.ts", lifeModule("gate", { options: "/* changed */" }));
    expect(await hub.ask("RELOAD\n")).toStartWith("OK gate v2 (was v1) swapped");
    expect(steps().slice(3, 7)).toEqual(["gate setup", "gate check", "gate stop v1 replaced", "gate start v2"]);
    await until("v1 to be disposed", () => steps().includes("gate dispose"));
    await hub.program.stop();
    last = steps().slice(8);
  });
  expect(last).toEqual(["gate stop v2 shutdown", "gate dispose"]);
});
