/** A disk that is full, read-only or broken under a running server. Also run against the binary (HRMR_BIN). */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type Fault, NO_SHIM, ShimmedDisk } from "../support/disk/shim";
import { Hub, makeProject } from "../support/hub";
import { runProgram, startProgram } from "../support/program";
import { runOnStore, STORE_MODULE } from "../support/store-module";
import { until } from "../support/until";

/** What a write is answered. */
const CODES: Record<Fault, { readonly context: readonly string[]; readonly resp: RegExp }> = {
  full: { context: ["FULL"], resp: /^-OOM .*no space/ },
  readonly: { context: ["READ_ONLY"], resp: /^-READONLY .*its disk is read-only/ },
  write: { context: ["UNAVAILABLE"], resp: /^-UNAVAILABLE .*its disk failed/ },
  // Nobody knows whether the first one is on the disk.
  sync: { context: ["UNKNOWN", "UNAVAILABLE"], resp: /^-(UNKNOWN|UNAVAILABLE) .*/ },
};

const KINDS = ["sqlite", "json"] as const;
/** Longer than what a file has room for without growing. */
const LONG = `"x".repeat(200000)`;

function settings(kind: string, file = "hub"): string {
  return JSON.stringify({ modules: { store: {} }, store: { url: `${kind}://data/${file}.${kind}` } });
}

async function withDisk(kind: string, check: (hub: Hub, disk: ShimmedDisk) => Promise<void>): Promise<void> {
  const dir = makeProject({ "modules/probe.ts": STORE_MODULE, "hrmr.json": settings(kind) });
  const disk = new ShimmedDisk(join(dir, "data"));
  const hub = new Hub(dir, await startProgram(["--port", "0"], { cwd: dir, env: disk.env }));
  try {
    await check(hub, disk);
  } catch (error) {
    throw new Error(`${String(error)}\n--- the server said:\n${hub.program.output()}`, { cause: error });
  } finally {
    await hub.stop();
    disk.remove();
  }
}

async function valueOf(hub: Hub, code: string): Promise<unknown> {
  const { value, message } = await runOnStore(hub, code);
  if (message !== undefined) throw new Error(message);
  return value;
}

function set(hub: Hub, key: string, value = "1") {
  return runOnStore(hub, `return await store.collection("a").set("${key}", ${value})`);
}

const keys = (hub: Hub): Promise<unknown> =>
  valueOf(hub, `return (await store.collection("a").list({})).map(({ key }) => key)`);

async function failAndRecover(hub: Hub, disk: ShimmedDisk, fault: Fault): Promise<void> {
  expect(await set(hub, `before-${fault}`)).toMatchObject({ value: expect.any(Number) });
  const there = await keys(hub);
  hub.program.forgetOutput();
  disk.fail(fault);
  for (let write = 0; write < 5; write++)
    expect(CODES[fault].context).toContain((await set(hub, "no", LONG)).code ?? "");
  const transaction = `return await store.transaction((tx) => tx.collection("a").set("no", ${LONG}))`;
  expect(CODES[fault].context).toContain((await runOnStore(hub, transaction)).code ?? "");
  expect(await hub.ask(`*3\r\n$3\r\nSET\r\n$2\r\nno\r\n$200000\r\n${"x".repeat(200_000)}\r\n`)).toMatch(
    CODES[fault].resp,
  );
  // Fresh clients are served, and read all that was answered.
  expect(await keys(hub)).toEqual(there);
  expect(await hub.ask("*2\r\n$3\r\nGET\r\n$2\r\nno\r\n")).toBe("$-1\r\n");
  disk.fail(null);
  expect(await set(hub, `after-${fault}`, LONG)).toMatchObject({ value: expect.any(Number) });
  const lines = hub.program.output().match(/ error store: /g) ?? [];
  expect(lines.length).toBeLessThan(4);
  expect(hub.program.output()).toContain("store: it is written again");
}

describe.skipIf(NO_SHIM !== null)(`a disk${NO_SHIM === null ? "" : ` (skipped: ${NO_SHIM})`}`, () => {
  test.each(KINDS)("%s: that takes no write makes them fail with its code, and they work again when it does", (kind) =>
    withDisk(kind, async (hub, disk) => {
      for (const fault of Object.keys(CODES) as Fault[]) await failAndRecover(hub, disk, fault);
      const watched = `
        const versions = [];
        for await (const { version, key } of store.collection("a").watch({ after: 0 })) {
          versions.push(version);
          if (key === "after-sync") return versions;
        }`;
      expect(await valueOf(hub, watched)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
      await hub.program.stop();
      const checked = await runProgram(["store", "check"], { cwd: hub.dir });
      expect([checked.stdout + checked.stderr, checked.exitCode]).toEqual([expect.any(String), 0]);
      const listed = await runProgram(["store", "ls", "a"], { cwd: hub.dir });
      expect(listed.stdout.match(/(?:before|after)-\w+/g)?.toSorted()).toEqual(
        Object.keys(CODES)
          .flatMap((fault) => [`after-${fault}`, `before-${fault}`])
          .toSorted(),
      );
    }),
  );

  test.each(KINDS)("%s: that is full at the opening is told, and the store opens when there is room", (kind) =>
    withDisk(kind, async (hub, disk) => {
      await set(hub, "first");
      for (const fault of ["full", "readonly"] as const) {
        hub.write("hrmr.json", settings(kind, fault));
        disk.fail(fault);
        expect(await hub.ask("RELOAD\n")).toStartWith("OK");
        expect([await set(hub, "k"), await runOnStore(hub, `return await store.collection("a").get("k")`)]).toEqual([
          { code: CODES[fault].context[0], message: expect.any(String) },
          { code: CODES[fault].context[0], message: expect.any(String) },
        ]);
        const told = await runProgram(["store", "set", "a", "k", "1", "--url", `${kind}://data/cli.${kind}`], {
          cwd: hub.dir,
          env: disk.env,
        });
        expect([told.stderr, told.exitCode]).toEqual([expect.stringMatching(/space|read-only/), expect.any(Number)]);
        expect(told.exitCode).not.toBe(0);
        disk.fail(null);
        await until("the store to open", async () => (await set(hub, "k")).value === 1);
      }
    }),
  );
});
