/** What a module may write as its `program`, and what it is told where it is wrong. */
import { expect, test } from "bun:test";
import { JSON_RPC, LINES } from "../../src/module/program/codec";
import { LineReader, MAX_LINE_BYTES } from "../../src/module/program/lines";
import { readShape } from "../../src/module/shape/shape";

const lines = { command: ["python3", "bot.py"], protocol: "lines", routes: ["BOT "] };
const rpc = { command: ["python3", "bot.py"], protocol: "json-rpc", services: ["ask"] };

test("a program's routes and services stand beside the module's own", () => {
  const own = { routes: { A: () => "a" }, services: { own: () => 1 }, schedule: { "@daily": () => undefined } };
  const shape = readShape("bot", { ...own, program: { ...rpc, routes: ["BOT "] } });
  expect(shape.routes.map(({ spec: { key } }) => key)).toEqual(["A", "BOT "]);
  expect(shape.services.map(({ spec: { name } }) => name)).toEqual(["own", "ask"]);
  expect(shape.tasks).toHaveLength(1);
  expect(readShape("bot", { program: lines }, undefined, { run: "process" }).routes[0]?.spec.run).toBe("inline");
});

test.each([
  [{ program: 3 }, '"program" is a number'],
  [{ program: {} }, '"protocol" is undefined, and must be "lines" or "json-rpc"'],
  [{ program: { ...lines, protocol: "http" } }, '"protocol" is "http"'],
  [{ program: { ...lines, command: "python3 bot.py" } }, '"command" is a string, and must be a list of texts'],
  [{ program: { ...lines, command: [] } }, '"command" is empty'],
  [{ program: { ...lines, command: ["a", 1] } }, '"command" holds 1'],
  [{ program: { ...lines, routes: [""] } }, '"routes" holds ""'],
  [{ program: { ...lines, routes: ["/x"] } }, "is an HTTP path"],
  [{ program: { ...lines, services: ["ask"] } }, '"services" need protocol: "json-rpc"'],
  [{ program: { ...lines, timeoutMs: -1 } }, '"timeoutMs" is -1'],
  [{ program: { ...lines, route: [] } }, 'Did you mean "routes"?'],
  [{ program: { ...rpc, services: ["then"] } }, "cannot have that name"],
  [{ program: lines, routes: { "BOT ": () => "" } }, 'the route "BOT " is both'],
  [{ program: lines, setup: () => 1 }, '"setup" cannot stand beside "program"'],
])("%p is refused with what to write", (definition, problem) => {
  expect(() => readShape("bot", definition)).toThrow(problem);
});

test("lines come whole from pieces of any size, and a long one is cut", () => {
  const text = "one\n\ntwo\r\nüü\n";
  for (let size = 1; size <= text.length; size++) {
    const got: string[] = [];
    const reader = new LineReader((line) => got.push(line.toString()));
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at += size) reader.add(bytes.subarray(at, at + size));
    expect(got).toEqual(["one", "", "two", "üü"]);
  }
  const cut: [number, boolean][] = [];
  const reader = new LineReader((line, isCut) => cut.push([line.length, isCut]));
  reader.add(Buffer.alloc(MAX_LINE_BYTES, 65));
  reader.add(Buffer.from("BC\nshort\n"));
  expect(cut).toEqual([
    [MAX_LINE_BYTES, true],
    [5, false],
  ]);
});

test("JSON-RPC takes what the specification allows, and calls the rest rubbish", () => {
  const heard = (line: string) => JSON_RPC.decode(Buffer.from(line));
  expect(heard('{"jsonrpc":"2.0","id":1,"result":null}')).toEqual({ kind: "answer", id: 1, value: null });
  expect(heard('{"id":"a","method":"kv.get"}')).toMatchObject({ kind: "request", id: "a", method: "kv.get" });
  expect(heard('{"method":"note"}')).toMatchObject({ kind: "request", id: null });
  expect(heard('{"id":2,"error":{"code":-32602,"message":"bad"}}')).toMatchObject({ kind: "failure", id: 2 });
  for (const rubbish of ["", "x", "7", "null", "[]", "{}", '{"id":1}', '{"id":"a","result":1}', '{"id":1,"error":7}'])
    expect(heard(rubbish)).toEqual({ kind: "rubbish" });
  expect(heard(`${"[".repeat(100_000)}`)).toEqual({ kind: "rubbish" });
});

test("a message with a line end inside, and an input that JSON cannot hold, are refused", () => {
  const question = { line: Buffer.from("a\nb"), method: "m", params: 1n };
  expect(() => LINES.encode(1, question)).toThrow("must be one line");
  expect(() => JSON_RPC.encode(1, question)).toThrow("cannot be written as JSON");
});
