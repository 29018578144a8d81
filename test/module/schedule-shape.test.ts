/** What a module may write as its `schedule`, and what it is told where it is wrong. */
import { expect, test } from "bun:test";
import { readShape } from "../../src/module/shape/shape";

const run = (): void => undefined;
const tasksOf = (schedule: unknown, config = {}) =>
  readShape("clock", { schedule }, undefined, config).tasks.map(({ spec }) => spec);

test("a function under a time is short for a task of that name", () => {
  expect(tasksOf({ "every 10s": run, "*/5 * * * *": run, "@daily": { run, catchUp: true } })).toMatchObject([
    { name: "every 10s", when: "every 10s", catchUp: false, run: "inline", index: 0 },
    { name: "*/5 * * * *", when: "*/5 * * * *", timeZone: null },
    { name: "@daily", when: "@daily", catchUp: true },
  ]);
});

test("an object says when; its key is a name then, whatever it looks like", () => {
  const task = { when: " 0 9 * * MON-FRI ", timeZone: "Europe/Berlin", timeoutMs: 0, description: "a report", run };
  expect(tasksOf({ "report of 9": task, "every 10s": { when: "every 1h", run } })).toMatchObject([
    { name: "report of 9", when: "0 9 * * MON-FRI", timeZone: "Europe/Berlin", timeoutMs: 0, description: "a report" },
    { name: "every 10s", when: "every 1h" },
  ]);
});

test("an empty schedule is no work: the module needs routes", () => {
  expect(() => tasksOf({})).toThrow('"routes" is missing');
});

test("tasks run where start does", () => {
  expect(tasksOf({ "@daily": run }, { run: "process" })).toMatchObject([{ run: "process" }]);
  const { tasks } = readShape("clock", { routes: { A: { run: "process", handle: run } }, schedule: { "@daily": run } });
  expect(tasks[0]?.spec.run).toBe("process");
  const mixed = readShape("clock", { routes: { A: run }, schedule: { "@daily": run } });
  expect(mixed.tasks[0]?.spec.run).toBe("inline");
});

test.each([
  [3, '"schedule" is a number'],
  [[], '"schedule" is an array'],
  [{ tidy: run }, 'task "tidy" does not say when it runs. Write { when:'],
  [{ tidy: { when: "@daily" } }, '"run" is missing, and must be a function'],
  [{ tidy: 7 }, 'task "tidy" is a number'],
  [{ tidy: null }, 'task "tidy" is null'],
  [{ "": run }, "cannot have that name"],
  [{ "a\nb": { when: "@daily", run } }, "cannot have that name"],
  [{ ["a".repeat(129)]: { when: "@daily", run } }, "cannot have that name"],
  [{ "every 10ms": run }, 'task "every 10ms" is no interval'],
  [{ "0 0 31 2 *": run }, 'task "0 0 31 2 *" never comes'],
  [{ tidy: { when: "0 0 31 4 *", run } }, '"when" "0 0 31 4 *" never comes'],
  [{ tidy: { when: "hourly", run } }, '"when" "hourly" is not a cron line'],
  [{ tidy: { when: 10, run } }, '"when" is a number'],
  [{ tidy: { when: "@daily", timeZone: "Berlin", run } }, '"timeZone" "Berlin" is no time zone'],
  [{ tidy: { when: "every 1h", timeZone: "UTC", run } }, '"timeZone" has no meaning for an interval'],
  [{ tidy: { when: "@daily", timeZone: 1, run } }, '"timeZone" is a number'],
  [{ tidy: { when: "@daily", catchup: true, run } }, 'Did you mean "catchUp"?'],
  [{ tidy: { when: "@daily", catchUp: "yes", run } }, '"catchUp" is "yes", and must be true or false'],
  [{ tidy: { when: "@daily", timeoutMs: -1, run } }, '"timeoutMs" is -1'],
])("%p is refused with what to write", (schedule, problem) => {
  expect(() => readShape("clock", { routes: { A: run }, schedule })).toThrow(problem);
});
