/** Commits on their way to the process that writes, without sockets. */
import { expect, test } from "bun:test";
import { StoreError } from "../../src/module/store/error";
import type { Commit, CommitResult } from "../../src/module/store/port";
import { Outbox } from "../../src/store/shared/outbox";

function set(key: string, text = "1"): Commit {
  return {
    checks: [],
    mutations: [{ kind: "set", collection: "c", key, ifVersion: null, text, expiresAt: null }],
  };
}

const DONE: CommitResult = { ok: true, mutated: [] };
const REFUSED: CommitResult = { ok: false, code: "CONFLICT", message: "changed", at: -1 };

async function codeOf(result: Promise<CommitResult>): Promise<string> {
  try {
    return (await result).ok ? "done" : "refused";
  } catch (error) {
    return (error as StoreError).code;
  }
}

test("what waits is sent together, in order, and each commit gets its own outcome", async () => {
  const outbox = new Outbox();
  const results = ["a", "b", "c"].map((key) => codeOf(outbox.add(set(key), 100)));
  const batch = outbox.next();
  expect(batch?.commits).toEqual([set("a"), set("b"), set("c")]);
  expect(outbox.next()).toBe(null);
  outbox.answered((batch?.number ?? 0) + 1, [DONE, DONE, DONE]);
  outbox.answered(batch?.number ?? 0, [DONE, REFUSED, new StoreError("FULL", "no space")]);
  expect(await Promise.all(results)).toEqual(["done", "refused", "FULL"]);
  expect(outbox.isEmpty).toBe(true);
});

test("after the end of a connection what was sent is unknown, and what was not goes to the next process", async () => {
  const outbox = new Outbox();
  const sent = codeOf(outbox.add(set("sent"), 100));
  const before = outbox.next();
  const waiting = codeOf(outbox.add(set("waiting"), 100));
  outbox.lost();
  expect(await sent).toBe("UNKNOWN");
  const after = outbox.next();
  expect(after?.commits).toEqual([set("waiting")]);
  outbox.answered(before?.number ?? 0, [DONE]);
  expect(outbox.isEmpty).toBe(false);
  outbox.answered(after?.number ?? 0, [DONE]);
  expect(await waiting).toBe("done");
});

test("a process that writes itself from now on does what was not sent", async () => {
  const outbox = new Outbox();
  const results = ["a", "b"].map((key) => codeOf(outbox.add(set(key), 100)));
  const done: Commit[] = [];
  const empty = outbox.whenEmpty();
  outbox.handOver((commit) => {
    done.push(commit);
    return done.length === 1 ? Promise.resolve(DONE) : Promise.reject(new StoreError("READ_ONLY", "no"));
  });
  expect(await Promise.all(results)).toEqual(["done", "READ_ONLY"]);
  expect(done).toEqual([set("a"), set("b")]);
  await empty;
});

test("commits that wait too long are given up: those that were sent may have been done", async () => {
  const outbox = new Outbox();
  const sent = codeOf(outbox.add(set("sent"), 100));
  outbox.next();
  const waiting = codeOf(outbox.add(set("waiting"), 100));
  const patient = codeOf(outbox.add(set("patient"), 200));
  outbox.expire(99);
  outbox.expire(100);
  expect(await Promise.all([sent, waiting])).toEqual(["UNKNOWN", "UNAVAILABLE"]);
  expect(outbox.isEmpty).toBe(false);
  outbox.close();
  expect(await patient).toBe("UNAVAILABLE");
  await outbox.whenEmpty();
});

test("large commits leave in several messages, and too much is refused", async () => {
  const outbox = new Outbox();
  const large = "x".repeat(3_000_000);
  const results = ["a", "b"].map((key) => codeOf(outbox.add(set(key, large), 100)));
  expect(outbox.next()?.commits.length).toBe(1);
  expect(outbox.next()?.commits.length).toBe(1);
  expect(() => outbox.add(set("c", "x".repeat(31_000_000)), 100)).toThrow(
    expect.objectContaining({ code: "TOO_LARGE" }),
  );
  const thrown: unknown[] = [];
  for (let n = 0; n < 30 && thrown.length === 0; n++)
    try {
      results.push(codeOf(outbox.add(set(`${n}`, large), 100)));
    } catch (error) {
      thrown.push(error);
    }
  expect(thrown).toEqual([expect.objectContaining({ code: "BUSY" })]);
  outbox.close();
  expect(new Set(await Promise.all(results))).toEqual(new Set(["UNKNOWN", "UNAVAILABLE"]));
});
