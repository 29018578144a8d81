/** `needs`: the order of modules, and those whose needs are not met. */
import { expect, test } from "bun:test";
import { inOrderOfNeeds, unmetNeeds, withWaiting } from "../../src/reload/life/needs";
import { orderFor } from "../../src/reload/order";
import { withFixture } from "../support/module-fixture";
import { answering, TestProcess, told } from "../support/registry";

const module = (name: string, ...needs: string[]) => ({ name, needs });
const order = (...modules: ReturnType<typeof module>[]) => inOrderOfNeeds(modules).map(({ name }) => name);

test("a module comes behind those that it needs, and otherwise stays where it was", () => {
  expect(order(module("a"), module("b"), module("c"))).toEqual(["a", "b", "c"]);
  expect(order(module("a", "c"), module("b"), module("c"))).toEqual(["c", "a", "b"]);
  expect(order(module("a", "b"), module("b", "c", "d"), module("c"), module("d"))).toEqual(["c", "d", "b", "a"]);
  expect(order(module("a", "nobody"), module("b", "a"))).toEqual(["a", "b"]);
  expect(order(module("a", "b"), module("b", "a")).sort()).toEqual(["a", "b"]);
});

test("a missing need is named, and so is the whole of a circle", () => {
  const unmet = (...modules: ReturnType<typeof module>[]) =>
    Object.fromEntries([...unmetNeeds(modules)].map(([name, { text }]) => [name, text]));
  expect(unmet(module("a", "b"), module("b"))).toEqual({});
  expect(unmet(module("a", "kv"))).toEqual({ a: 'it needs the module "kv", which does not serve' });
  expect(unmet(module("a", "b"), module("b", "c"), module("c", "a"), module("d", "a"))).toEqual({
    a: "it needs itself in a circle: a -> b -> c -> a",
    b: "it needs itself in a circle: b -> c -> a -> b",
    c: "it needs itself in a circle: c -> a -> b -> c",
  });
});

test("modules that wait for one that is loaded are loaded with it, and so are those that wait for them", () => {
  const lacking = new Map([
    ["page", "app"],
    ["app", "kv"],
    ["other", "db"],
  ]);
  expect([...withWaiting(["kv"], lacking)].sort()).toEqual(["app", "kv", "page"]);
  expect([...withWaiting(["page"], lacking)]).toEqual(["page"]);
});

const needing = (name: string, needs: string) => answering(name, `needs: ["${needs}"],`);

test("a module is refused without the one that it needs, and loaded once that is there", () =>
  withFixture({ "app.ts": needing("app", "kv") }, async (fixture) => {
    const server = new TestProcess(fixture);
    expect(told(await server.registry.reload())).toEqual([
      'app failed vnull: it needs the module "kv", which does not serve: there is no such module',
    ]);
    fixture.write("kw.ts", answering("kw"));
    expect(told(await server.registry.reload())).toEqual([
      'app failed vnull: it needs the module "kv", which does not serve: did you mean "kw"?',
      "kw loaded v1",
    ]);
    await Bun.file(`${fixture.modules}/kw.ts`).delete();
    fixture.write("kv.ts", answering("kv", "setup() { throw new Error('no disk'); },"));
    expect(told(await server.registry.reload())).toEqual([
      'app failed vnull: it needs the module "kv", which does not serve',
      expect.stringContaining("no disk"),
      "kw unloaded vnull",
    ]);
    fixture.write("kv.ts", answering("kv"));
    // A reload of the one brings the other.
    expect(told(await server.registry.reload(orderFor(["kv"])))).toEqual(["app loaded v1", "kv loaded v1"]);
    // The version that serves goes on without it.
    fixture.remove();
    await server.registry.close();
  }));

test("a process in the place of a lost one serves what the others serve, whatever is missing", () =>
  withFixture({ "app.ts": needing("app", "kv"), "kv.ts": answering("kv") }, async (fixture) => {
    const server = new TestProcess(fixture);
    await server.registry.reload();
    await Bun.file(`${fixture.modules}/kv.ts`).delete();
    expect(told(await server.registry.reload())).toEqual(["app unchanged v1", "kv unloaded vnull"]);
    const other = new TestProcess(fixture);
    expect(told(await other.registry.load(server.registry.approved()))).toEqual(["app loaded v1"]);
    expect(other.ask("APP")).toBe("app");
    await server.registry.close();
    await other.registry.close();
  }));

test("setups run in the order of needs, and a version that makes a circle is refused", () =>
  withFixture(
    {
      "a.ts": answering("a", `needs: ["b"], setup() { (globalThis.__order ??= []).push("a"); },`),
      "b.ts": answering("b", `setup() { (globalThis.__order ??= []).push("b"); },`),
    },
    async (fixture) => {
      const server = new TestProcess(fixture);
      await server.registry.reload();
      expect(Reflect.get(globalThis, "__order")).toEqual(["b", "a"]);
      Reflect.deleteProperty(globalThis, "__order");
      fixture.write("b.ts", needing("b", "a"));
      expect(told(await server.registry.reload())).toEqual([
        "a unchanged v1",
        "b failed v1: it needs itself in a circle: b -> a -> b",
      ]);
      expect(server.versions).toEqual(["a v1", "b v1"]);
      await server.registry.close();
    },
  ));
