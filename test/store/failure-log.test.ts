import { expect, test } from "bun:test";
import { StoreError } from "../../src/module/store/error";
import { FailureLog } from "../../src/store/failure-log";

test("a failure that goes on is told once a minute with its count, and its end", () => {
  const lines: string[] = [];
  let now = 0;
  const note = (line: unknown): void => void lines.push(String(line));
  const failures = new FailureLog({ error: note, info: note }, () => now);
  const full = new StoreError("FULL", "no space");
  failures.worked();
  for (let write = 0; write < 1000; write++) failures.failed(full);
  now += 60_000;
  failures.failed(full);
  failures.failed(full);
  failures.failed(new StoreError("READ_ONLY", "postgres://bot:secret@host/db is read-only"));
  failures.worked();
  failures.worked();
  failures.failed(full);
  expect(lines).toEqual([
    "store: FULL: no space",
    "store: FULL: no space (999 more like the last one)",
    expect.stringMatching(/^store: READ_ONLY: (?!.*secret).* \(1 more like the last one\)$/),
    "store: it is written again",
    "store: FULL: no space",
  ]);
});
