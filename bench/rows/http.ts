/** HTTP: the same handlers in hrmr and on Bun's own server. */
import { utimesSync } from "node:fs";
import { join } from "node:path";
import type { Bench, Line, Row } from "../bench";
import { compare } from "../compare";
import { makeProject, moduleSource } from "../project";
import { exactly } from "../reply";
import { startBaseline, startProcess, type Started } from "../server";
import { comparisonLine } from "../table";
import { startArguments } from "./start-arguments";

const CONNECTIONS = 64;
/** The Content-Type of a Response with a string. */
export const TEXT_TYPE = "text/plain;charset=utf-8";

export const HELLO_TEXT = "Hello, World!";
/** A module with one reply to every path. */
export const HELLO = moduleSource(`{ routes: { "/": { fetch: () => new Response("${HELLO_TEXT}") } } }`);

const HONO = `import { Hono } from "hono";

const app = new Hono();
app.get("/text", (c) => c.text("Hello, World!"));
app.get("/json", (c) => c.json({ message: "Hello, World!" }));
export default app;
`;

/** The request of a plain client. */
export function httpRequest(path: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: hrmr-bench\r\nAccept: */*\r\n\r\n`;
}

/** The handlers of baseline/rest.ts, as a module. */
const REST = moduleSource(`{ routes: {
  "POST /json": { fetch: async (request) => new Response("id " + (await request.json()).id) },
  "POST /text": { fetch: async (request) => new Response("n " + (await request.text()).length) },
  "POST /ignore": { fetch: () => new Response("${HELLO_TEXT}") },
  "GET /x/:id": { fetch: (request, { params }) => new Response("id " + params.id) },
} }`);
const JSON_BODY = '{"id":12345,"name":"a name","tags":["one","two"],"isOn":true}';

/** The POST of a plain client, with a body of JSON. */
export function postRequest(path: string, body: string): string {
  const fields = `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`;
  return `${httpRequest(path).replace("GET", "POST").slice(0, -2)}${fields}\r\n${body}`;
}

interface Case {
  title: string;
  files: Record<string, string>;
  baseline: [script: string, ...args: string[]];
  request: string;
  type: string;
  body: string;
  /** null: no target. */
  most: number | null;
  /** Requests in one write. Default 1. */
  pipeline?: number;
}

async function againstServe(
  bench: Bench,
  { title, files, baseline, request, type, body, most, pipeline = 1 }: Case,
): Promise<Line[]> {
  const server = await startProcess("hrmr", startArguments(bench), makeProject(files));
  let bound: Started | null = null;
  try {
    bound = await startBaseline(...baseline);
    const spec = {
      connections: CONNECTIONS,
      request,
      reply: { http: { type }, pattern: exactly(body) },
      pipeline,
    };
    return [comparisonLine(title, await compare(bench, { server, spec }, { server: bound, spec }), most)];
  } finally {
    await Promise.all([server.stop(), bound?.stop()]);
  }
}

export const helloRow: Row = {
  name: "http-hello",
  run: (bench) =>
    againstServe(bench, {
      title: "HTTP hello, fetch module : Bun.serve",
      files: { "modules/hello.ts": HELLO },
      baseline: ["hello.ts"],
      request: httpRequest("/"),
      type: TEXT_TYPE,
      body: HELLO_TEXT,
      most: 1,
    }),
};

export const pipelinedRow: Row = {
  name: "http-pipelined",
  isExtra: true,
  run: (bench) =>
    againstServe(bench, {
      title: "HTTP hello, 16 pipelined : Bun.serve",
      files: { "modules/hello.ts": HELLO },
      baseline: ["hello.ts"],
      request: httpRequest("/"),
      type: TEXT_TYPE,
      body: HELLO_TEXT,
      most: null,
      pipeline: 16,
    }),
};

export const honoTextRow: Row = {
  name: "hono-text",
  isExtra: true,
  run: (bench) =>
    againstServe(bench, {
      title: "hono c.text : hono on Bun.serve",
      files: { "modules/app.ts": HONO },
      baseline: ["hono.ts"],
      request: httpRequest("/text"),
      type: TEXT_TYPE,
      body: HELLO_TEXT,
      most: 1.05,
    }),
};

export const honoJsonRow: Row = {
  name: "hono-json",
  run: (bench) =>
    againstServe(bench, {
      title: "hono c.json : hono on Bun.serve",
      files: { "modules/app.ts": HONO },
      baseline: ["hono.ts"],
      request: httpRequest("/json"),
      type: "application/json",
      body: '{"message":"Hello, World!"}',
      most: 1.15,
    }),
};

export const postJsonRow: Row = {
  name: "post-json",
  run: (bench) =>
    againstServe(bench, {
      title: "POST json, read by the handler : Bun.serve",
      files: { "modules/rest.ts": REST },
      baseline: ["rest.ts"],
      request: postRequest("/json", JSON_BODY),
      type: TEXT_TYPE,
      body: "id 12345",
      most: 1.15,
    }),
};

export const postIgnoredRow: Row = {
  name: "post-ignored",
  isExtra: true,
  run: (bench) =>
    againstServe(bench, {
      title: "POST, the body is not read : Bun.serve",
      files: { "modules/rest.ts": REST },
      baseline: ["rest.ts"],
      request: postRequest("/ignore", JSON_BODY),
      type: TEXT_TYPE,
      body: HELLO_TEXT,
      most: 1.15,
    }),
};

export const parameterRow: Row = {
  name: "http-parameter",
  run: (bench) =>
    againstServe(bench, {
      title: "GET /x/:id : Bun.serve with routes",
      files: { "modules/rest.ts": REST },
      baseline: ["rest.ts"],
      request: httpRequest("/x/a1b2c3d4"),
      type: TEXT_TYPE,
      body: "id a1b2c3d4",
      most: 1,
    }),
};

const FILE_TEXT = "0123456789abcde\n".repeat(64);

export const staticRow: Row = {
  name: "static",
  async run(bench) {
    const files = {
      "modules/other.ts": moduleSource(`{ routes: { PING: () => "PONG\\n" } }`),
      "static_html/file.txt": FILE_TEXT,
    };
    const dir = makeProject(files);
    const path = join(dir, "static_html", "file.txt");
    // A file that was written just now is not cached, for it may still be being written.
    utimesSync(path, new Date("2026-01-01"), new Date("2026-01-01"));
    const server = await startProcess("hrmr", startArguments(bench), dir);
    let bound: Started | null = null;
    try {
      bound = await startBaseline("file.ts", path);
      const spec = {
        connections: CONNECTIONS,
        request: httpRequest("/file.txt"),
        reply: { http: { type: TEXT_TYPE }, pattern: FILE_TEXT },
      };
      const result = await compare(bench, { server, spec }, { server: bound, spec });
      return [comparisonLine("static file of 1 KB : Bun.serve with Bun.file", result, 0.6)];
    } finally {
      await Promise.all([server.stop(), bound?.stop()]);
    }
  },
};
