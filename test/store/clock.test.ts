import { afterEach, expect, setSystemTime, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JsonBackend } from "../../src/store/backends/json/backend";
import { SqliteBackend } from "../../src/store/backends/sqlite/sqlite";
import { StoreClock } from "../../src/store/clock";
import { backendOptions, set, valueOf, write } from "../support/store/subject";

const HOUR_MS = 3_600_000;

afterEach(() => void setSystemTime());

test("the store's clock goes on when the system's is set back, and follows it when it is set forward", () => {
  const clock = new StoreClock();
  const before = clock.now();
  setSystemTime(new Date(before - HOUR_MS));
  expect(clock.now()).toBeWithin(before, before + HOUR_MS / 2);
  setSystemTime(new Date(before + HOUR_MS));
  expect(clock.now()).toBeGreaterThanOrEqual(before + HOUR_MS);
});

test.each(["sqlite", "json"])(
  "%s: after a restart with the clock set back, no document comes back, and none ends early",
  async (kind) => {
    const folder = mkdtempSync(join(tmpdir(), "hrmr-clock-"));
    const open = async () => {
      const clock = new StoreClock();
      const options = backendOptions({ now: clock.now, raiseClock: clock.raise });
      const path = join(folder, `hub.${kind}`);
      const backend = kind === "sqlite" ? new SqliteBackend(path, options) : new JsonBackend(path, options);
      await backend.open();
      return { backend, clock };
    };
    try {
      const first = await open();
      const start = first.clock.now();
      await write(first.backend, set("short", 1, { expiresAt: { inMs: HOUR_MS } }));
      await write(first.backend, set("long", 1, { expiresAt: { inMs: 3 * HOUR_MS } }));
      setSystemTime(new Date(start + 2 * HOUR_MS));
      expect(await valueOf(first.backend, "short")).toBe(undefined);
      await write(first.backend, set("other", 1));
      await first.backend.close();

      setSystemTime(new Date(start));
      const { backend, clock } = await open();
      expect(clock.now()).toBeGreaterThanOrEqual(start + 2 * HOUR_MS);
      expect([await valueOf(backend, "short"), await valueOf(backend, "long")]).toEqual([undefined, 1]);
      await write(backend, set("next", 1, { expiresAt: { inMs: HOUR_MS } }));
      expect(await valueOf(backend, "next")).toBe(1);
      await backend.close();
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);
