/** The examples in C, and what `hrmr new --c` writes. Also run against the binary (HRMR_BIN). */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { withHub } from "../../support/hub";
import { runProgram } from "../../support/program";
import { until } from "../../support/until";

const FOLDER = join(import.meta.dir, "../../..", "examples", "c");
const NAMES = readdirSync(FOLDER);

function example(name: string): string {
  return readFileSync(join(FOLDER, name), "utf8");
}

const EXAMPLES = {
  ...Object.fromEntries(NAMES.map((name) => [`modules/${name}`, example(name)])),
  "hrmr.json": JSON.stringify({ modules: { events: { topics: ["stock.*"], emit: ["delivery.*"] } } }),
};

test("the examples in C do what their heads say", async () => {
  await withHub(EXAMPLES, [], async (hub) => {
    expect((await hub.status()).modules.map(({ name, state }) => `${name} ${state}`)).toEqual(
      expect.arrayContaining(NAMES.map((name) => `${name.slice(0, -2)} serving`)),
    );
    expect(await hub.ask("SUM 1 2 39\nSUM 0.5 x\n")).toBe("42 (sum 1)\nERR not a number: x\n");
    expect(await hub.ask("SUM 1.5 2\n")).toBe("3.5 (sum 2)\n");
    hub.write("modules/sum.c", example("sum.c").replace("(sum %ld)", "(%ld sums)"));
    expect(await hub.ask("RELOAD sum\n")).toStartWith("OK");
    expect(await hub.ask("SUM 1\n")).toBe("1 (3 sums)\n");

    expect(await hub.ask("PRIMES 1000000\nPRIMES 2\nPRIMES 0\n")).toBe(
      "78498 primes up to 1000000\n1 primes up to 2\nERR from 1 to 20000000\n",
    );

    expect(await hub.ask("PAY bank ann 30\nPAY ann bob 10.5\nPAY ann bob 100\nPAY ann\n")).toBe(
      "bank -30, ann 30\nann 19.5, bob 10.5\nERR ann has 19.5\nERR PAY FROM TO AMOUNT\n",
    );

    expect(await hub.ask('CALL stock.put {"item":"tea","count":5}\nCALL stock.take {"item":"tea","count":4}\n')).toBe(
      '{"item":"tea","left":5}\n{"item":"tea","left":1}\n',
    );
    expect(await hub.ask('CALL stock.take {"item":"tea","count":2}\nCALL stock.take {"item":"tea"}\n')).toBe(
      "ERR NOT_ENOUGH the stock has not so many\nERR INVALID_ORDER give an item, and a count above 0\n",
    );
    const client = await hub.connect();
    await client.send("SUBSCRIBE stock.low\n");
    await client.waitFor("OK subscribed");
    expect(await hub.ask('EMIT delivery.tea {"item":"tea","count":9}\n')).toBe("OK\n");
    await until("the delivery is there", async () => {
      return (await hub.ask('CALL stock.take {"item":"tea","count":8}\n')) === '{"item":"tea","left":2}\n';
    });
    await client.waitFor('{"topic":"stock.low","data":{"item":"tea","count":8},"emitter":"stock"');

    const counted = await fetch(`${hub.url}/text/count`, { method: "POST", body: "to be or not to be" });
    expect(await counted.json()).toEqual({ bytes: 18, words: 6, lines: 1 });
    expect(await (await fetch(`${hub.url}/text/hello/bob?times=2`)).text()).toBe("Hello, bob! Hello, bob!\n");
    const refused = await fetch(`${hub.url}/text/hello/bob?times=x`);
    expect([refused.status, await refused.text()]).toEqual([400, "times is from 1 to 100\n"]);
  });
});

test("hrmr new NAME --c writes a module that serves, and the header for editors", async () => {
  await withHub({ "modules/.keep": "" }, [], async (hub) => {
    const { exitCode, stdout } = await runProgram(["new", "greet", "--c"], { cwd: hub.dir });
    expect([exitCode, stdout]).toEqual([0, expect.stringContaining("wrote  modules/greet.c")]);
    expect(existsSync(join(hub.dir, "modules", "hrmr.h"))).toBe(true);
    expect(await hub.ask("RELOAD\n")).toStartWith("OK");
    expect(await hub.ask("GREET bob\n")).toBe("Hello, bob\n");
    const again = await runProgram(["new", "greet"], { cwd: hub.dir });
    expect([again.exitCode, again.stderr]).toEqual([1, expect.stringContaining("modules/greet.c")]);
  });
});
