/** `start` and `stop` where the module runs: the main thread, its process, C. */
import { expect, test } from "bun:test";
import { type Hub, shareHub } from "../../support/hub";
import { lifeModule, stepsIn } from "../../support/life";
import { runProgram } from "../../support/program";
import { until } from "../../support/until";

const shared = shareHub({ "modules/_keep/x.txt": "" });

/** Writes the module, reloads it and waits for its start. */
async function loaded(hub: Hub, file: string, source: string): Promise<void> {
  const name = file.replace(/\..*/, "");
  const starts = () => stepsIn(hub).filter(({ text }) => text.startsWith(`${name} start`)).length;
  const before = starts();
  hub.write(`modules/${file}`, source);
  expect(await hub.ask(`RELOAD ${name}\n`)).toStartWith("OK");
  await until(`the start of ${name}`, () => starts() > before);
}

const of = (hub: Hub, name: string) =>
  stepsIn(hub)
    .filter(({ text }) => text.startsWith(`${name} `))
    .map(({ text, pid }) => ({ text: text.slice(name.length + 1), pid }));

const handle = (run: string, key: string) =>
  `"${key}": { framing: "line", run: "${run}", handle: (_, c) => process.pid + " " + c.host + "\\n" }`;

test("a module whose routes are on the pool starts once, in the main thread", () =>
  shared(async (hub) => {
    await loaded(hub, "pooled.ts", lifeModule("pooled", { routes: handle("pool", "POOLED") }));
    const steps = of(hub, "pooled");
    expect(steps.filter(({ text }) => text === "start v1")).toEqual([{ text: "start v1", pid: hub.program.pid }]);
    expect(steps.filter(({ text }) => text === "setup").length).toBeGreaterThan(1);
  }));

test("a module in a process starts there, again in the process that takes its place, and stops there", () =>
  shared(async (hub) => {
    await loaded(hub, "apart.ts", lifeModule("apart", { routes: handle("process", "APART") }));
    const [pid = 0] = (await hub.ask("APART\n")).split(" ").map(Number);
    expect(pid).not.toBe(hub.program.pid);
    expect(of(hub, "apart").at(-1)).toEqual({ text: "start v1", pid });
    process.kill(pid, "SIGKILL");
    await until(
      "a start in the next process",
      () => of(hub, "apart").filter(({ text }) => text === "start v1").length === 2,
    );
    const next = of(hub, "apart").at(-1)?.pid as number;
    expect(Number((await hub.ask("APART\n")).split(" ")[0])).toBe(next);
    await loaded(
      hub,
      "apart.ts",
      lifeModule("apart", { routes: handle("process", "APART"), options: `unavailable: "x",` }),
    );
    expect(of(hub, "apart")).toContainEqual({ text: "stop v1 replaced", pid: next });
    expect(of(hub, "apart").find(({ text }) => text === "start v2")?.pid ?? next).not.toBe(next);
  }));

test("a module without routes runs in a process if its settings say so", () =>
  shared(async (hub) => {
    hub.write("hrmr.json", `{ "modules": { "bare": { "run": "process" } } }`);
    hub.write("modules/bare.ts", lifeModule("bare"));
    expect(await hub.ask("RELOAD\n")).toStartWith("OK");
    await until("its start", () => of(hub, "bare").some(({ text }) => text === "start v1"));
    expect(of(hub, "bare").map(({ pid }) => pid)).not.toContain(hub.program.pid);
    const module = (await hub.status()).modules.find(({ name }) => name === "bare");
    expect(module).toMatchObject({
      state: "serving",
      routes: [],
      life: { state: "started", error: null },
      processes: [{ state: "running" }],
    });
    hub.remove("modules/bare.ts");
    hub.remove("hrmr.json");
    expect(await hub.ask("RELOAD\n")).toStartWith("OK");
    await until("it to be disposed", () => of(hub, "bare").at(-1)?.text === "dispose");
    const texts = of(hub, "bare").map(({ text }) => text);
    expect(texts).toEqual(["setup", "check", "start v1", "stop v1 removed", "dispose"]);
  }));

test("a module that is removed stops acting after the drain, whoever reads its streams", () =>
  shared(async (hub) => {
    const stream = `"TICKS": { framing: "line", async *handle() { for (;;) { yield "tick\\n"; await Bun.sleep(10); } } }`;
    const start = `setInterval(() => note("ticks acts"), 20);`;
    const set = (drainMs: number) =>
      hub.write("hrmr.json", JSON.stringify({ modules: { ticks: { timeouts: { drainMs } } } }));
    set(300);
    hub.write("modules/ticks.ts", lifeModule("ticks", { routes: stream, start }));
    expect(await hub.ask("RELOAD\n")).toStartWith("OK");
    const old = await hub.connect();
    await old.send("TICKS\n");
    await old.waitFor("tick\n");
    hub.write("modules/ticks.ts", lifeModule("ticks", { routes: stream, start, options: `unavailable: "x",` }));
    expect(await hub.ask("RELOAD\n")).toStartWith("OK");
    const client = await hub.connect();
    await client.send("TICKS\n");
    await client.waitFor("tick\n");
    // The old version outlives its deadline, since its stream has no end.
    await hub.program.waitFor(/ticks v2/);
    hub.remove("modules/ticks.ts");
    hub.remove("hrmr.json");
    expect(await hub.ask("RELOAD\n")).toStartWith("OK");
    await until("both streams to be cut", () => client.hasEnded && old.hasEnded);
    await until(
      "both versions to be disposed",
      () => of(hub, "ticks").filter(({ text }) => text === "dispose").length === 2,
    );
    const before = of(hub, "ticks").length;
    await Bun.sleep(60);
    expect(of(hub, "ticks").length).toBe(before);
  }));

const c = (version: string, live = "NULL") => `#include "hrmr.h"
#include <stdio.h>
static void note(const char *step, const char *more) {
  FILE *file = fopen("life.txt", "a");
  fprintf(file, "inc %s${version}%s 0\\n", step, more);
  fclose(file);
}
static const char *live(void) { note("start ", ""); return ${live}; }
static void leave(const char *reason) { note("stop ", reason); }
void hrmr_module(hrmr_setup *setup) {
  hrmr_on_live(setup, live);
  hrmr_on_leave(setup, leave);
  hrmr_needs(setup, "kv");
}
`;

test("a module in C goes live and leaves, without routes, after the module that it needs", () =>
  shared(async (hub) => {
    hub.write("modules/inc.c", c("one"));
    expect(await hub.ask("RELOAD inc\n")).toContain('it needs the module "kv", which does not serve');
    await loaded(hub, "kv.ts", lifeModule("kv"));
    await until("its start", () => of(hub, "inc").length === 1);
    await loaded(hub, "inc.c", c("two", `"no device"`));
    await until("its failure", async () => {
      const module = (await hub.status()).modules.find(({ name }) => name === "inc");
      return module?.life?.state === "failed" && module.life.error?.includes("no device");
    });
    await loaded(hub, "inc.c", c("three"));
    const texts = of(hub, "inc").map(({ text }) => text);
    expect(texts.filter((text, at) => text !== texts[at - 1])).toEqual([
      "start one",
      "stop onereplaced",
      "start two",
      "start three",
    ]);
    hub.remove("modules/inc.c");
    expect(await hub.ask("RELOAD inc\n")).toStartWith("OK");
    await until("its stop", () => of(hub, "inc").at(-1)?.text === "stop threeremoved");
  }));

test("a start that fails is told by the verdict, the status, /ready, hrmr status and the metrics, and the module serves", () =>
  shared(async (hub) => {
    const source = lifeModule("gate", { routes: handle("inline", "GATE"), start: `throw new Error("no gateway");` });
    hub.write("modules/gate.ts", source);
    expect(await hub.ask("RELOAD gate\n")).toMatch(
      /^OK gate v1.*; its start is tried again: .*start failed: no gateway/,
    );
    expect(await hub.ask("GATE\n")).toContain("main");
    const status = await hub.status();
    expect(status.state).toBe("degraded");
    expect(status.processes).toMatchObject([{ isBackground: true }]);
    expect(status.modules.find(({ name }) => name === "gate")).toMatchObject({
      state: "degraded",
      generation: 1,
      life: { error: expect.stringContaining("no gateway") },
    });
    const ready = await fetch(`${hub.url}/ready`);
    expect(ready.status).toBe(200);
    expect(await ready.json()).toMatchObject({
      isReady: true,
      notes: [expect.stringMatching(/^module "gate" serves, but its start fails: .*no gateway/)],
    });
    expect(await (await fetch(`${hub.url}/metrics`)).text()).toContain('hrmr_module_start_failed{module="gate"} 1');
    const { stdout } = await runProgram(["status"], { cwd: hub.dir });
    expect(stdout).toMatch(
      /the start of gate failed, and is (tried again (in \d+ s|now)|being tried); v1 serves: .*no gateway/,
    );
    await loaded(hub, "gate.ts", lifeModule("gate", { routes: handle("inline", "GATE") }));
    expect(await (await fetch(`${hub.url}/metrics`)).text()).toContain('hrmr_module_start_failed{module="gate"} 0');
  }));
