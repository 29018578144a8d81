/** What a module may write as its `migrations`, and what it is told where it is wrong. */
import { expect, test } from "bun:test";
import { remoteShapeOf } from "../../src/module/graph/remote";
import { readShape } from "../../src/module/shape/shape";

const run = (): void => undefined;
const shapeOf = (migrations: unknown) =>
  readShape("scores", { routes: { A: { run: "process", handle: run } }, migrations });

test("migrations keep the order in which they are written", () => {
  const { migrations } = shapeOf({ "002-b": run, "001-a": run, "10-c": run });
  expect(migrations.map(({ name }) => name)).toEqual(["002-b", "001-a", "10-c"]);
  expect(shapeOf(undefined).migrations).toEqual([]);
});

test("a module of a process that has migrations is loaded in the main thread, too: they run there", () => {
  expect(remoteShapeOf(shapeOf(undefined)).isWhole).toBe(true);
  expect(remoteShapeOf(shapeOf({ "001-a": run })).isWhole).toBe(false);
});

test.each([
  [3, '"migrations" is a number. Write migrations: {'],
  [[run], '"migrations" is an array'],
  [{ "001-a": "UPDATE" }, 'migration "001-a" is a string, and must be a function'],
  [{ "": run }, 'migration "" cannot have that name'],
  [{ "a\nb": run }, "cannot have that name"],
  [{ ["a".repeat(129)]: run }, "cannot have that name"],
  [{ "1": run }, 'migration "1" is only a number, and JavaScript would put it before all others'],
  [
    Object.fromEntries(Array.from({ length: 1001 }, (_, n) => [`m${n}`, run])),
    '"migrations" has 1001 functions; at most 1000 are possible',
  ],
])("migrations %#: what is wrong is refused with what to write", (migrations, problem) => {
  expect(() => shapeOf(migrations)).toThrow(problem);
});
