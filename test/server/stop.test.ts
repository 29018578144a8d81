/** The built-in commands and the ways to stop. */
import { expect, test } from "bun:test";
import { moduleSource, withHub } from "../support/hub";

const SLOW = moduleSource(`{ routes: {
  "SLOW": { framing: "line", handle: async () => { console.log("began"); await Bun.sleep(400); return "done\\n"; } },
  "NEVER": { framing: "line", handle: () => { console.log("began"); return new Promise(() => {}); } },
  "PING": { description: "answers PONG", handle: () => "PONG\\n" },
  "/slow": { fetch: async () => { console.log("began"); await Bun.sleep(400); return new Response("done"); } },
  "CHAT": { async connect(c) { for await (const line of c.lines()) await c.write(line + "\\n"); await c.write("bye\\n"); } },
} }`);
const FILES = { "modules/slow.ts": SLOW };

test("HELP lists every route with its module and description", () =>
  withHub(FILES, [], async (hub) => {
    const help = await hub.ask("HELP");
    expect(help).toMatch(/^"PING" +slow +answers PONG$/m);
    expect(help).toMatch(/^"\/slow" +slow$/m);
    expect(help).toMatch(/^"RELOAD" +hrmr /m);
    expect(help).toMatch(/^"\/" +http /m);
  }));

test("STATUS is JSON with the modules and their versions", () =>
  withHub(FILES, [], async (hub) => {
    const status = await hub.status();
    expect(status.modules).toContainEqual(
      expect.objectContaining({ name: "slow", generation: 1, state: "serving", inFlight: 0, draining: [] }),
    );
    expect(status.openConnections).toBe(1);
  }));

test("commands are answered with and without a line end, in any case of arrival", () =>
  withHub(FILES, [], async (hub) => {
    for (const command of ["HELP", "HELP\n", "HELP\r\n"]) {
      const client = await hub.connect();
      await client.send(command);
      await client.waitFor('"PING"');
      client.clear();
      await client.send("PING");
      expect(await client.waitFor("\n")).toBe("PONG\n");
    }
    expect(await hub.ask("HELP me\n")).toBe('ERR no module is bound to "HELP me"\n');
    expect(await hub.ask("HELPER\n")).toBe('ERR no module is bound to "HELPER"\n');
  }));

test("CLOSE closes the connection behind the replies that are owed", () =>
  withHub(FILES, [], async (hub) => {
    const client = await hub.connect();
    await client.send("SLOW\nPING");
    await client.waitFor("PONG");
    client.clear();
    await client.send("SLOW\nCLOSE\n");
    expect(await client.waitForEnd()).toBe("done\n");
  }));

test("with --commands off there are none, and no module may take their place", () =>
  withHub(FILES, ["--commands", "off"], async (hub) => {
    expect(await hub.ask("STATUS\n")).toBe('ERR no module is bound to "STATUS"\n');
    expect(await hub.ask("SHUTDOWN\n")).toBe('ERR no module is bound to "SHUTDOWN"\n');
    expect(await hub.ask("HELP\n")).toBe('ERR no module is bound to "HELP"\n');
    expect(await hub.ask("PING")).toBe("PONG\n");
    hub.write("modules/taker.ts", moduleSource(`{ routes: { "STATUS": () => "mine" } }`));
    hub.program.signal("SIGHUP");
    await hub.program.waitFor("built-in command");
  }));

test("SHUTDOWN answers, finishes what is under way, asks connect handlers to end, and exits 0", () =>
  withHub(FILES, [], async (hub) => {
    const slow = await hub.connect();
    await slow.send("SLOW\n");
    const chat = await hub.connect();
    await chat.send("CHAT\n");
    await chat.waitFor("CHAT\n");
    const idle = await hub.connect();
    const web = fetch(`${hub.url}/slow`);
    await hub.program.waitFor(/began[\s\S]*began/);
    expect(await hub.ask("SHUTDOWN")).toBe("OK shutting down\n");
    expect(await slow.waitForEnd()).toBe("done\n");
    expect(await chat.waitForEnd()).toBe("CHAT\nbye\n");
    expect(await (await web).text()).toBe("done");
    expect(await idle.waitForEnd()).toBe("");
    expect(await hub.program.exited).toBe(0);
  }));

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(`${signal} drains and exits 0`, () =>
    withHub(FILES, [], async (hub) => {
      const slow = await hub.connect();
      await slow.send("SLOW\n");
      await hub.program.waitFor("began");
      hub.program.signal(signal);
      expect(await slow.waitForEnd()).toBe("done\n");
      expect(await hub.program.exited).toBe(0);
    }));
}

test("what is still under way at drainMs is cut, and the server exits", () =>
  withHub({ ...FILES, "hrmr.json": '{ "timeouts": { "drainMs": 300 } }' }, [], async (hub) => {
    const never = await hub.connect();
    await never.send("NEVER\n");
    await hub.program.waitFor("began");
    hub.program.signal("SIGTERM");
    await never.waitForEnd();
    expect(await hub.program.exited).toBe(0);
  }));

test("a second signal ends at once", () =>
  withHub(FILES, [], async (hub) => {
    const never = await hub.connect();
    await never.send("NEVER\n");
    await hub.program.waitFor("began");
    hub.program.signal("SIGTERM");
    await hub.program.waitFor("a second one ends at once");
    hub.program.signal("SIGTERM");
    expect(await hub.program.exited).toBe(143);
  }));

test("SIGHUP reloads", () =>
  withHub(FILES, [], async (hub) => {
    hub.write("modules/slow.ts", SLOW.replaceAll("PONG", "PANG"));
    hub.program.signal("SIGHUP");
    await hub.program.waitFor("slow v2 (was v1) swapped");
    expect(await hub.ask("PING")).toBe("PANG\n");
  }));
