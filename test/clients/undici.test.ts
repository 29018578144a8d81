/**
 * undici, the client behind node's fetch, as the npm package has it: under node, over HTTP/1.1, HTTP/2 and WebSocket.
 */
import { describe, expect, test } from "bun:test";
import { join, resolve } from "node:path";
import { type Hub, moduleSource, shareHub, withHub } from "../support/hub";
import { pairFiles, serverCertificate, TLS_FLAGS } from "../support/tls";
import { UNTIL_MS } from "../support/until";

const SCRIPT = resolve(import.meta.dir, "../support", "undici.mjs");
const NODE = Bun.which("node");

const APP = moduleSource(`{
  routes: {
    "GET /n/:n": { fetch: (request, { params }) => new Response("VERSION " + params.n) },
    "GET /slow/:n": { fetch: async (request, { params }) => { await Bun.sleep(3); return new Response("VERSION slow " + params.n); } },
    "GET /held": { fetch: async (request, { log }) => {
      log.info("held");
      while (!(await Bun.file(process.cwd() + "/go").exists())) await Bun.sleep(5);
      return new Response("VERSION held");
    } },
    "POST /length": { fetch: async (request) => new Response(String((await request.bytes()).length)) },
    "POST /shout": { fetch: (request) => new Response(request.body.pipeThrough(new TransformStream({
      transform: (bytes, controller) => controller.enqueue(new TextEncoder().encode(new TextDecoder().decode(bytes).toUpperCase())),
    }))) },
    "GET /protocol": { fetch: (request, { client }) => new Response(new URL(request.url).protocol + " " + client.tls?.alpn) },
    "/echo": { websocket: { protocols: ["mine"], message: (socket, data) => socket.send(data === "again" ? "VERSION" : data) } },
  },
}`);
const version = (name: string) => APP.replaceAll("VERSION", name);

/**
 * Runs a scene of undici.mjs. `answer` is called for each of its questions before it goes on. @returns what the scene
 * saw
 */
async function scene(
  hub: Hub,
  name: string,
  url: string,
  answer: (question: string) => Promise<void> = noQuestion,
): Promise<unknown> {
  const command = [NODE ?? "node", SCRIPT, name, url, join(hub.dir, "cert.pem")];
  const child = Bun.spawn(command, { stdin: "pipe", stdout: "pipe", stderr: "pipe", timeout: 3 * UNTIL_MS });
  const errors = child.stderr.text();
  try {
    let rest = "";
    for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + piece).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (/^[[{]/.test(line)) return JSON.parse(line);
        await answer(line);
        child.stdin.write("\n");
        await child.stdin.flush();
      }
    }
    throw new Error(`undici's scene "${name}" ended with ${await child.exited}:\n${await errors}`);
  } finally {
    child.kill();
    await child.exited;
  }
}

const noQuestion = (question: string): Promise<void> => Promise.reject(new Error(`unexpected: ${question}`));

async function reload(hub: Hub, name: string): Promise<void> {
  hub.write("modules/app.ts", version(name));
  expect(await hub.ask("RELOAD")).toMatch(/^OK app v\d+ .* 0 connections dropped/);
}

describe.skipIf(NODE === null)("undici (skipped where there is no node)", () => {
  const FILES = { "modules/app.ts": version("one") };
  const withApp = shareHub(FILES);

  test("gets, posts, and streams uploads of known and unknown length; a reply is streamed back", () =>
    withApp(async (hub) => {
      const replies = await scene(hub, "requests", hub.url);
      const shout = "AAABBBCCCDDDEEE";
      expect(replies).toEqual([
        "200 one 1",
        "200 5",
        "200 1000000",
        expect.stringMatching(/^404 /),
        "200 500000",
        "7",
        shout,
        "5 ",
      ]);
    }));

  test("with pipelining: 10, replies come in order over one connection, the slow ones too", () =>
    withApp(async (hub) => {
      const numbers = Array.from({ length: 50 }, (_, n) => n);
      expect(await scene(hub, "pipelining", hub.url)).toEqual({
        replies: numbers.map((n) => (n % 2 === 0 ? `200 one slow ${n}` : `200 one ${n}`)),
        order: numbers,
        most: 10,
        connects: 1,
      });
    }));

  test("keeps its connections over reloads; what is under way ends on the version it began on", () =>
    withApp(async (hub) => {
      const seen = await scene(hub, "reload", hub.url, async (question) => {
        if (question === "reload") return reload(hub, "two");
        await hub.program.waitFor("held");
        await reload(hub, "three");
        hub.write("go", "");
      });
      expect(seen).toEqual({
        before: ["200 one slow 1", "200 one slow 2"],
        after: ["200 two slow 1", "200 two slow 2"],
        last: ["200 two held", "200 three 3"],
        connects: 2,
        disconnects: [],
      });
      await reload(hub, "one");
    }));

  test("its WebSocket is echoed, compressed, through a reload, and closes with its code", () =>
    withApp(async (hub) => {
      const seen = await scene(hub, "websocket", hub.url, () => reload(hub, "two"));
      expect(seen).toEqual([
        "mine",
        expect.stringContaining("permessage-deflate"),
        "hello",
        40_000,
        "300000 bytes",
        "",
        "two",
        [4002, "done", true],
      ]);
    }));

  test("with allowH2 it speaks HTTP/2 over one TLS connection, through a reload; without, HTTP/1.1", () =>
    withHub({ ...FILES, ...pairFiles(serverCertificate("localhost")) }, TLS_FLAGS, async (hub) => {
      const seen = await scene(hub, "http2", `https://localhost:${hub.port}`, () => reload(hub, "two"));
      const many = Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? `200 one slow ${n}` : `200 one ${n}`));
      expect(seen).toEqual({
        replies: [
          "200 https: h2",
          "200 5",
          "200 1000000",
          ...many,
          "200 two after",
          "200 https: h2",
          "200 https: http/1.1",
        ],
        connects: 1,
        disconnects: [],
      });
    }));
});
