/** What may lie in the place of a store's file. The server tells it, goes on, and serves the next store. */
import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { callProgram } from "../support/call-program";
import { type Hub, withHub } from "../support/hub";
import { runOnStore, STORE_MODULE } from "../support/store-module";

interface Bad {
  readonly what: string;
  /** @param good a store of the same kind */
  readonly make: (path: string, good: Buffer) => void;
  readonly code: string;
  readonly says: RegExp;
}

/** In place of a part of a file. */
function spoiled(bytes: Buffer, from: number, to: number): Buffer {
  const copy = Buffer.from(bytes);
  return copy.fill(0x5a, from, to);
}

const ANY: readonly Bad[] = [
  {
    what: "text",
    make: (path) => writeFileSync(path, "I am a letter.\n".repeat(500)),
    code: "NOT_A_STORE",
    says: /no SQLite database.*store\.url|first line is not/,
  },
  {
    what: "bytes",
    make: (path) => writeFileSync(path, Buffer.from(Array.from({ length: 5000 }, (_, at) => (at * 7919) & 255))),
    code: "NOT_A_STORE",
    says: /no SQLite database.*store\.url|first line is not/,
  },
  { what: "a folder", make: (path) => mkdirSync(path), code: "NOT_A_STORE", says: /is a folder.*store\.url/ },
  {
    what: "a pipe",
    make: (path) => void Bun.spawnSync(["mkfifo", path]),
    code: "NOT_A_STORE",
    says: /is no file.*store\.url/,
  },
  {
    what: "a device",
    make: (path) => symlinkSync("/dev/zero", path),
    code: "NOT_A_STORE",
    says: /is no file.*store\.url/,
  },
  {
    what: "a link to a disk that is not mounted",
    make: (path) => symlinkSync("/no/such/disk/hub", path),
    code: "UNAVAILABLE",
    says: /is a link to \/no\/such\/disk\/hub.*Mount its disk/,
  },
  { what: "a link to itself", make: (path) => symlinkSync(path, path), code: "UNAVAILABLE", says: /in a circle/ },
];

const BAD: Record<string, readonly Bad[]> = {
  sqlite: [
    ...ANY,
    {
      what: "a half of a store",
      make: (path, good) => writeFileSync(path, good.subarray(0, good.length / 2)),
      code: "UNAVAILABLE",
      says: /is damaged.*backup/,
    },
    {
      what: "a store with a damaged head",
      make: (path, good) => writeFileSync(path, spoiled(good, 0, 60)),
      code: "NOT_A_STORE",
      says: /no SQLite database/,
    },
    {
      what: "a store of a newer version",
      make: (path, good) => {
        writeFileSync(path, good);
        const db = new Database(path);
        db.run("PRAGMA user_version = 99");
        db.close();
      },
      code: "NEWER_SCHEMA",
      says: /newer version of hrmr.*Use that version/,
    },
    {
      what: "another program's database",
      make: (path) => {
        const db = new Database(path);
        db.run("CREATE TABLE mine (a)");
        db.close();
      },
      code: "NOT_A_STORE",
      says: /no store of hrmr.*store\.url/,
    },
  ],
  json: [
    ...ANY,
    {
      what: "a half of a store",
      make: (path, good) => writeFileSync(path, good.subarray(0, good.length / 2)),
      code: "FAILED",
      says: /cannot be read from line \d+ on.*backup/,
    },
    {
      what: "a store with a damaged line",
      make: (path, good) => writeFileSync(path, spoiled(good, 200, 400)),
      code: "FAILED",
      says: /line \d+.*backup|second time/,
    },
    {
      what: "a store of a newer version",
      make: (path, good) => writeFileSync(path, good.toString().replace('"format":1', '"format":9')),
      code: "NEWER_SCHEMA",
      says: /newer version of hrmr.*Use that version/,
    },
    {
      what: "another program's file",
      make: (path) => writeFileSync(path, '{"name":"x","version":"1.0.0"}\n'),
      code: "NOT_A_STORE",
      says: /first line is not/,
    },
  ],
};

function useStore(hub: Hub, url: string): Promise<string> {
  hub.write("hrmr.json", JSON.stringify({ store: { url } }));
  return hub.ask("RELOAD\n");
}

describe.each(Object.keys(BAD))("%s: a store that is really", (kind) => {
  test("something else is told with what to do, by the server and by hrmr store, and stays as it is", () =>
    withHub({ "modules/probe.ts": STORE_MODULE }, [], async (hub) => {
      const goodUrl = `${kind}://data/good.${kind}`;
      await useStore(hub, goodUrl);
      const fill = `for (let at = 0; at < 300; at++) await store.collection("a").set("k" + at, "x".repeat(100))`;
      expect(await runOnStore(hub, fill)).toEqual({});
      await callProgram(["backup", "good.copy"], { cwd: hub.dir });
      const good = readFileSync(join(hub.dir, "good.copy"));
      for (const [at, { what, make, code, says }] of (BAD[kind] as readonly Bad[]).entries()) {
        const url = `${kind}://data/bad${at}`;
        make(join(hub.dir, `data/bad${at}`), good);
        expect(await useStore(hub, url)).toStartWith("OK");
        for (const use of [`get("k1")`, `set("k1", 1)`]) {
          const outcome = await runOnStore(hub, `return await store.collection("a").${use}`);
          expect([what, outcome]).toEqual([what, { code, message: expect.stringMatching(says) }]);
        }
        const { exitCode, stderr } = await callProgram(["store", "ls"], { cwd: hub.dir });
        expect([what, exitCode, stderr]).toEqual([what, 1, expect.stringMatching(says)]);
      }
      await useStore(hub, `${kind}://data/good.${kind}/below`);
      expect(await runOnStore(hub, `return await store.collection("a").get("k1")`)).toEqual({
        code: "UNAVAILABLE",
        message: expect.stringContaining("no folder"),
      });
      await useStore(hub, goodUrl);
      expect(await runOnStore(hub, `return (await store.collection("a").get("k1")).value.length`)).toEqual({
        value: 100,
      });
    }));
});
